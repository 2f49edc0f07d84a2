"""Average precision of detections, as the COCO evaluation computes it, for horizontal and oriented boxes.

The rule is that of ``pycocotools`` (``COCOeval``, all areas): in each image and class, detections in the order of
their confidence take the free object of greatest overlap; precision is made monotonic and read at 101 recalls; classes
without an object are left out. The evaluation of DOTA (``DOTA_devkit``) matches alike at an overlap of 0.5, by
polygons. Models that answer in words give no confidence: their order stands for it, the first box of each answer
before the second of any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from irtd_datasets.evaluate.overlaps import box_parts, pair_iou, polygon_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["THRESHOLDS", "Detections", "Matches", "match", "numbered", "overlap"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps at which a detection counts, of which AP is the mean (``COCOeval``)."""

_RECALLS = np.linspace(0, 1, 101)
_CHUNK = 1 << 17  # pairs whose overlap is computed at a time


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of many images.

    Attributes:
        image: Number of the image of each box, from 0.
        label: Number of its class.
        boxes: Shape (N, 4), or (N, 8) for corners.
        score: Confidence; higher comes first. Not looked at for objects.
    """

    image: Ints
    label: Ints
    boxes: Floats
    score: Floats


@dataclass(frozen=True, slots=True)
class Matches:
    """Which detections are right, in the order of their confidence.

    Attributes:
        image: Of each detection.
        label: Likewise.
        right: Shape (thresholds, N).
        objects_image: Image of each object.
        objects_label: Class of each object.
    """

    image: Ints
    label: Ints
    right: NDArray[np.bool_]
    objects_image: Ints
    objects_label: Ints

    def average_precision(self, times: Ints | None = None) -> Floats:
        """AP at each of the thresholds, the mean over classes that have objects; NaN when none has.

        Args:
            times: How often each image counts; None counts each once. For resampling.
        """
        found = []
        order = np.argsort(self.label, kind="stable")
        labels, image, right = self.label[order], self.image[order], self.right[:, order]
        for label in np.unique(self.objects_label):
            inside = slice(*np.searchsorted(labels, [label, label + 1]))
            weight = np.ones(1) if times is None else times[image[inside]].astype(np.float64)
            objects = self.objects_image[self.objects_label == label]
            total = float(len(objects) if times is None else times[objects].sum())
            if total > 0:
                found.append(_precision(right[:, inside] * weight, ~right[:, inside] * weight, total))
        out: Floats = np.mean(found, axis=0) if found else np.full(len(self.right), np.nan)
        return out

    def counts(self, threshold: int = 0) -> Floats:
        """Right detections, detections and objects of each image at one of the thresholds, shape (images, 3)."""
        size = int(max(self.image.max(initial=-1), self.objects_image.max(initial=-1))) + 1
        right = np.bincount(self.image, weights=self.right[threshold], minlength=size)
        counts = (np.bincount(self.image, minlength=size), np.bincount(self.objects_image, minlength=size))
        return np.stack([right, *counts], axis=1).astype(np.float64)


def _precision(right: Floats, wrong: Floats, total: float) -> Floats:
    """Interpolated precision, the mean of 101 recalls, at each threshold."""
    hits, misses = np.cumsum(right, axis=1), np.cumsum(wrong, axis=1)
    recall = hits / total
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.zeros(len(right))
    for index in range(len(right)):
        place = np.searchsorted(recall[index], _RECALLS, side="left")
        reached = place < precision.shape[1]
        out[index] = precision[index, place[reached]].sum() / len(_RECALLS)
    return out


def match(
    found: Detections, objects: Detections, thresholds: Floats = THRESHOLDS, most: int | None = None
) -> Matches:
    """Match detections to objects in every image and class.

    Args:
        found: What was detected.
        objects: What is there.
        thresholds: Least overlaps.
        most: Most detections of an image and class that count, as ``maxDets``; None counts all.

    A box without area overlaps nothing but its equal.
    """
    order = np.argsort(-found.score, kind="stable")
    order = order[np.lexsort((np.arange(len(order)), found.label[order], found.image[order]))]
    by_object = np.lexsort((np.arange(len(objects.image)), objects.label, objects.image))
    labels = int(max(found.label.max(initial=0), objects.label.max(initial=0))) + 1
    key, object_key = (
        side.image[index] * labels + side.label[index]
        for side, index in ((found, order), (objects, by_object))
    )
    if most is not None and len(key):
        rank = np.arange(len(key)) - np.searchsorted(key, key)
        order, key = order[rank < most], key[rank < most]
    first = np.searchsorted(object_key, key, "left")
    candidates = np.searchsorted(object_key, key, "right") - first
    right = np.zeros((len(thresholds), len(order)), dtype=np.bool_)
    taken = np.zeros((len(thresholds), len(by_object)), dtype=np.bool_)
    steps = np.flatnonzero(candidates)
    least = min(float(np.min(thresholds)), 1 - 1e-10)
    start = 0
    while start < len(steps):
        ends = np.cumsum(candidates[steps[start:]])
        stop = start + max(int(np.searchsorted(ends, _CHUNK, "right")), 1)
        part = steps[start:stop]
        one = np.repeat(part, candidates[part])
        before = np.cumsum(candidates[part]) - candidates[part]
        two = first[one] + np.arange(len(one)) - np.repeat(before, candidates[part])
        pairs = _near(one, two, found.boxes[order[one]], objects.boxes[by_object[two]], least)
        _match_some(*pairs, thresholds, right, taken)
        start = stop
    final = np.argsort(-found.score[order], kind="stable")
    chosen = order[final]
    return Matches(found.image[chosen], found.label[chosen], right[:, final], objects.image, objects.label)


def _near(one: Ints, two: Ints, boxes: Floats, others: Floats, least: float) -> tuple[Ints, Ints, Floats]:
    """The pairs that overlap enough, with their overlap."""
    near = _bound(boxes, others) >= least
    one, two = one[near], two[near]
    found = overlap(boxes[near], others[near])
    worth = found >= least
    return one[worth], two[worth], found[worth]


def _match_some(
    one: Ints,
    two: Ints,
    overlap: Floats,
    thresholds: Floats,
    right: NDArray[np.bool_],
    taken: NDArray[np.bool_],
) -> None:
    """Match the detections ``one``, which stand in the order in which they choose, to the objects ``two``."""
    # Where a detection and an object meet nobody else, no choice is to be made.
    alone = (np.bincount(one, minlength=1)[one] == 1) & (np.bincount(two, minlength=1)[two] == 1)
    if len(one):
        free = ~taken[:, two[alone]] & (overlap[alone] >= np.minimum(thresholds, 1 - 1e-10)[:, None])
        right[:, one[alone]] = free
        taken[:, two[alone]] |= free
    one, two, overlap = one[~alone], two[~alone], overlap[~alone]
    bounds = np.flatnonzero(np.diff(one, prepend=-1, append=-1)) if len(one) else np.zeros(0, np.int64)
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=False):
        _choose(int(one[start]), two[start:stop], overlap[start:stop], thresholds, right, taken)


def _choose(
    index: int,
    objects: Ints,
    overlap: Floats,
    thresholds: Floats,
    right: NDArray[np.bool_],
    taken: NDArray[np.bool_],
) -> None:
    order = np.argsort(overlap, kind="stable")[::-1]  # of equal overlaps the last object, as COCOeval chooses
    for row, threshold in enumerate(thresholds.tolist()):
        for place in order.tolist():
            if overlap[place] < min(threshold, 1 - 1e-10):
                break
            if not taken[row, objects[place]]:
                taken[row, objects[place]] = right[row, index] = True
                break


def _bound(one: Floats, two: Floats) -> Floats:
    """No less than the overlap, and cheaper: of oriented boxes, that of the boxes around them."""
    around = [one, two]
    if one.shape[1] == 8:
        corners = [boxes.reshape(-1, 4, 2) for boxes in around]
        around = [np.concatenate([points.min(1), points.max(1)], axis=1) for points in corners]
    shared, _ = box_parts(*around)
    areas = [_areas(boxes) for boxes in (one, two)]
    largest = np.maximum(*areas)
    flat = np.minimum(*areas) <= 0
    out: Floats = np.divide(shared, largest, out=np.ones_like(shared), where=~flat)
    return out


def _areas(boxes: Floats) -> Floats:
    if boxes.shape[1] == 4:
        out: Floats = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        return out
    x, y = boxes[:, ::2], boxes[:, 1::2]
    twice: Floats = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1))
    return twice / 2


def overlap(one: Floats, two: Floats) -> Floats:
    """Intersection over union pair by pair, of boxes (N, 4) or corners (N, 8); one without area overlaps its equal."""
    parts = box_parts(one, two) if one.shape[1] == 4 else polygon_parts(one, two)
    found = pair_iou(parts)
    flat = parts[1] <= 0
    if flat.any():
        found[flat] = np.all(one[flat] == two[flat], axis=1)
    return found


def numbered(names: Sequence[str], known: dict[str, int]) -> Ints:
    """Numbers of names, new ones given the next."""
    return np.fromiter((known.setdefault(name, len(known)) for name in names), np.int64, len(names))
