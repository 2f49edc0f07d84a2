"""Overlap of pairs of boxes, horizontal and oriented."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["box_parts", "pair_iou", "polygon_parts"]


def box_parts(one: ArrayLike, two: ArrayLike) -> tuple[Floats, Floats]:
    """Area of the intersection and of the union of boxes pair by pair, edges half-open.

    Args:
        one: Shape (N, 4).
        two: Likewise.

    Example:
        >>> [part.tolist() for part in box_parts([[0, 0, 10, 10]], [[5, 0, 15, 10]])]
        [[50.0], [150.0]]
    """
    a, b = (np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (one, two))
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    shared: Floats = sides[:, 0] * sides[:, 1]
    areas = sum(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (a, b))
    return shared, areas - shared


def polygon_parts(one: ArrayLike, two: ArrayLike) -> tuple[Floats, Floats]:
    """Area of the intersection and of the union of four-cornered polygons pair by pair.

    The rule is that of DOTA_devkit's ``polyiou.cpp``: a polygon is the signed sum of the triangles between a point and
    its edges, so corners may go round either way and need not be convex; a polygon may not cross itself.

    Args:
        one: Corners, shape (N, 8).
        two: Likewise.

    Example:
        >>> square, diamond = [0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 2, 1, 1, 2, 0, 1]
        >>> [part.tolist() for part in polygon_parts([square], [diamond])]
        [[2.0], [4.0]]
    """
    a, b = (np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2) for corners in (one, two))
    middle = a.mean(axis=1, keepdims=True)  # small numbers lose fewer digits
    a, b = a - middle, b - middle
    shared = np.zeros(len(a))
    areas = np.zeros(len(a))
    for corners in (a, b):
        areas += np.abs(sum(_twice(corners[:, [0, i, i + 1]]) for i in (1, 2))) / 2
    for i in (1, 2):
        for j in (1, 2):
            first, second = a[:, [0, i, i + 1]], b[:, [0, j, j + 1]]
            turn = np.sign(_twice(first)) * np.sign(_twice(second))
            shared += turn * _clipped(_counter(first), _counter(second))
    shared = np.minimum(np.abs(shared), areas / 2)
    return shared, areas - shared


def pair_iou(parts: tuple[Floats, Floats]) -> Floats:
    """Intersection over union of what `box_parts` or `polygon_parts` gives; 0 where both are without area."""
    shared, union = parts
    out: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return out


def _twice(triangle: Floats) -> Floats:
    """Twice the signed area, shape (N, 3, 2) to (N,)."""
    one, two = triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    out: Floats = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    return out


def _counter(triangle: Floats) -> Floats:
    """The corners in the order in which the signed area is positive."""
    return np.where(_twice(triangle)[:, None, None] < 0, triangle[:, ::-1], triangle)


def _clipped(subject: Floats, clip: Floats) -> Floats:
    """Area of the intersection of triangles (Sutherland and Hodgman 1974), all pairs at once.

    Every corner stands in a row of its own with a mark whether it is there: clipping by a line keeps a corner, adds
    one before it, or drops it, so three lines make of three corners at most six.
    """
    corners = subject
    there: NDArray[np.bool_] = np.ones(subject.shape[:2], dtype=np.bool_)
    for edge in range(3):
        start, end = clip[:, edge], clip[:, (edge + 1) % 3]
        direction = end - start
        away = direction[:, None, 0] * (corners[..., 1] - start[:, None, 1])
        away = away - direction[:, None, 1] * (corners[..., 0] - start[:, None, 0])
        # The corner before each one, among those that are there.
        count = corners.shape[1]
        index = np.where(there, np.arange(count), -1)
        latest = np.maximum.accumulate(index, axis=1)
        before = np.concatenate([latest[:, -1:], latest[:, :-1]], axis=1)
        before = np.where(before < 0, latest[:, -1:], before)
        before = np.maximum(before, 0)
        old = np.take_along_axis(corners, before[..., None], axis=1)
        old_away = np.take_along_axis(away, before, axis=1)
        crosses = there & ((away >= 0) != (old_away >= 0))
        step = old_away - away
        part = np.divide(old_away, step, out=np.zeros_like(step), where=crosses & (step != 0))
        crossing = old + part[..., None] * (corners - old)
        keeps = there & (away >= 0)
        corners = np.stack([crossing, corners], axis=2).reshape(len(corners), 2 * count, 2)
        there = np.stack([crosses, keeps], axis=2).reshape(len(there), 2 * count)
        corners, there = _packed(corners, there)
    return _area(corners, there)


def _packed(corners: Floats, there: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """The same corners without gaps, in no more rows than the fullest polygon needs."""
    most = max(int(there.sum(axis=1).max(initial=0)), 1)
    order = np.argsort(~there, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(corners, order[..., None], axis=1), np.take_along_axis(there, order, axis=1)


def _area(corners: Floats, there: NDArray[np.bool_]) -> Floats:
    """Area of polygons whose missing corners stand at the end."""
    last = np.maximum(there.sum(axis=1) - 1, 0)
    filled = np.where(there[..., None], corners, np.take_along_axis(corners, last[:, None, None], axis=1))
    x, y = filled[..., 0], filled[..., 1]
    twice = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    out: Floats = np.where(there.sum(axis=1) > 2, np.abs(twice) / 2, 0.0)
    return out
