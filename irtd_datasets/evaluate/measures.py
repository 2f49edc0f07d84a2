"""Figures of a task as functions of sums over rows, so that resampling them costs a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from irtd_datasets.evaluate.answers import normal_words
from irtd_datasets.evaluate.detection import Detections, Matches, match, numbered, overlap
from irtd_datasets.evaluate.metrics import average_precision, point_distance
from irtd_datasets.evaluate.overlaps import box_parts
from irtd_datasets.evaluate.readings import equals_gold
from irtd_datasets.evaluate.texts import (
    ORDERS,
    bleu_statistics,
    bleu_value,
    cider,
    make_corpus,
    rouge_l,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.evaluate.questions import Question
    from irtd_datasets.evaluate.readings import Reading

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["COUNTED", "ERRORS", "Measure", "Measured", "measure_task"]

ERRORS = ("location", "aerial_counting", "pedestrian_counting")
"""Tasks whose metric is an error: less is better, and they add up to nsum."""

COUNTED = ("aerial_counting", "pedestrian_counting")

_MOST_DRAWS = 20_000_000  # detections times resamples


class Measure:
    """One figure, or several from the same sums.

    Args:
        names: Of the figures.
        rows: What is summed, shape (rows, columns).
        value: From sums of shape (..., columns) to figures of shape (..., names).
    """

    def __init__(self, names: Sequence[str], rows: Floats, value: Callable[[Floats], Floats]) -> None:
        self.names = tuple(names)
        self._rows, self._value = rows, value

    def values(self) -> Floats:
        """The figures over all rows."""
        return self._value(self._rows.sum(axis=0))

    def draw(self, image: Ints, times: Sequence[Ints]) -> Floats:
        """The figures of resamples, shape (resamples, names).

        Args:
            image: Of each row.
            times: How often each image counts, for each resample.
        """
        used, place = np.unique(image, return_inverse=True)
        columns = [np.bincount(place, weights=column, minlength=len(used)) for column in self._rows.T]
        sums = np.stack(columns, axis=1)
        return self._value(np.stack([count[used] @ sums for count in times]))


class _Precision(Measure):
    """Average precision, which is no function of sums."""

    def __init__(self, names: Sequence[str], matches: Matches, questions: Ints) -> None:
        self.names = tuple(names)
        self._matches, self._questions = matches, questions

    def values(self) -> Floats:
        found = 100 * self._matches.average_precision()
        return np.array([found[0], found.mean()])

    def draw(self, image: Ints, times: Sequence[Ints]) -> Floats:
        most = max(_MOST_DRAWS // max(len(self._matches.image), 1), 25)
        rows = [
            100 * self._matches.average_precision(count[image[self._questions]].astype(np.int64))
            for count in times[:most]
        ]
        return np.array([[row[0], row.mean()] for row in rows])


@dataclass(slots=True)
class Measured:
    """A task's figures and the value of each of its rows.

    Attributes:
        measures: Its figures.
        values: Of the rows, for details and groups: per cent, or an error; NaN for one left out of the mean.
        confusion: For classification: how often each class was answered with each, ``""`` for no answer.
    """

    measures: list[Measure]
    values: Floats
    confusion: dict[str, dict[str, int]] | None = None


def measure_task(
    task: str, questions: Sequence[Question], readings: Sequence[Reading], unreadable: str, cutoff: float
) -> Measured:
    """Measure the rows of one task.

    Args:
        task: Its name.
        questions: Its rows.
        readings: What was answered.
        unreadable: How what cannot be read enters an error: ``nothing``, ``worst`` or ``drop``.
        cutoff: Greatest error of one point of Location.
    """
    if task == "grounding":
        return _grounding(questions, readings)
    if task == "detection":
        return _detection(questions, readings)
    if task in ERRORS:
        values = _errors(task, questions, readings, unreadable, cutoff)
        return Measured([_mean("distance" if task == "location" else "error", values)], values)
    if questions[0].references:
        return _texts(questions, readings)
    right = [
        not reading.problem and equals_gold(one, reading.said)
        for one, reading in zip(questions, readings, strict=True)
    ]
    values = 100.0 * np.array(right, dtype=np.float64)
    measures = [_mean("accuracy", values)]
    if task == "classification":
        measures.append(
            _mean_of_groups("class_accuracy", values, [normal_words(one.text) for one in questions])
        )
        return Measured(measures, values, _confusion(questions, readings))
    if task == "vqa":
        measures.append(_mean_of_groups("average_accuracy", values, [one.kind for one in questions]))
        measures += _count_error(questions, readings, unreadable)
    return Measured(measures, values)


def _ratio(sums: Floats) -> Floats:
    total, count = sums[..., 0], sums[..., 1]
    out: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return out[..., None]


def _mean(name: str, values: Floats) -> Measure:
    counted = ~np.isnan(values)
    return Measure(
        [name], np.stack([np.where(counted, values, 0), counted], axis=1).astype(np.float64), _ratio
    )


def _mean_of_groups(name: str, values: Floats, groups: Sequence[str]) -> Measure:
    known: dict[str, int] = {}
    number = numbered(groups, known)
    rows = np.zeros((len(values), 2 * len(known)))
    rows[np.arange(len(values)), number] = values
    rows[np.arange(len(values)), len(known) + number] = 1

    def value(sums: Floats) -> Floats:
        total, count = sums[..., : len(known)], sums[..., len(known) :]
        means = np.divide(total, count, out=np.zeros(np.shape(total)), where=count > 0)
        there = np.maximum((count > 0).sum(axis=-1), 1)
        out: Floats = (means.sum(axis=-1) / there)[..., None]
        return out

    return Measure([name], rows, value)


def _errors(
    task: str, questions: Sequence[Question], readings: Sequence[Reading], unreadable: str, cutoff: float
) -> Floats:
    largest = max(one.gold for one in questions) if task in COUNTED else 0
    values = np.empty(len(questions))
    for index, (one, reading) in enumerate(zip(questions, readings, strict=True)):
        if reading.problem:
            worst = cutoff if task == "location" else _not_read(one.gold, largest, unreadable)
            values[index] = np.nan if unreadable == "drop" else worst
        elif task == "location":
            values[index] = point_distance(reading.said, one.gold, cutoff)
        else:
            values[index] = abs(reading.said - one.gold)
    return values


def _not_read(gold: int, largest: int, unreadable: str) -> float:
    if unreadable == "drop":
        return float("nan")
    return float(max(gold, largest - gold, 1) if unreadable == "worst" else max(gold, 1))


def _count_error(
    questions: Sequence[Question], readings: Sequence[Reading], unreadable: str
) -> list[Measure]:
    """The error of "how many" questions whose gold answer is a number."""
    gold = [
        int(one.text) if one.kind == "count" and one.text.strip().isdecimal() and len(one.text) < 10 else None
        for one in questions
    ]
    counted = [number for number in gold if number is not None]
    if not counted:
        return []
    largest = max(counted)
    values = np.full(len(questions), np.nan)
    for index, (number, reading) in enumerate(zip(gold, readings, strict=True)):
        if number is not None:
            said = reading.said
            is_number = isinstance(said, int) and not isinstance(said, bool)
            values[index] = abs(said - number) if is_number else _not_read(number, largest, unreadable)
    return [_mean("count_error", values)]


def _confusion(questions: Sequence[Question], readings: Sequence[Reading]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for one, reading in zip(questions, readings, strict=True):
        said = reading.said
        name = one.choices[said] if isinstance(said, int) else said or ""
        row = counts.setdefault(normal_words(one.text), {})
        row[normal_words(name)] = row.get(normal_words(name), 0) + 1
    return counts


def _texts(questions: Sequence[Question], readings: Sequence[Reading]) -> Measured:
    known: dict[str, str] = {}
    cached: dict[str, list[str]] = {}

    def words(text: str) -> list[str]:
        if text not in cached:
            cached[text] = tokens(text, known)
        return cached[text]

    said = [tokens(one.said, known) if isinstance(one.said, str) else [] for one in readings]
    references = [[words(text) for text in one.references] for one in questions]
    cached.clear()
    corpus = make_corpus(said, references)
    rouge = 100 * rouge_l(said, references)
    statistics = bleu_statistics(corpus)
    # Where no reference has four words, there is nothing that BLEU-4 could measure.
    longest = max(len(reference) for many in references for reference in many)
    orders = min(max(longest, 1), ORDERS)
    bleu = Measure(
        [f"bleu{order}" for order in range(1, orders + 1)],
        statistics,
        lambda sums: 100 * bleu_value(sums)[..., :orders],
    )
    consensus = 100 * cider(corpus)
    return Measured([bleu, _mean("rouge_l", rouge), _mean("cider", consensus)], rouge)


def _grounding(questions: Sequence[Question], readings: Sequence[Reading]) -> Measured:
    precision = np.zeros(len(questions))
    shared, union = np.zeros(len(questions)), np.zeros(len(questions))
    iou = np.zeros(len(questions))
    for index, (one, reading) in enumerate(zip(questions, readings, strict=True)):
        areas = np.prod(one.gold[:, 2:] - one.gold[:, :2], axis=1)
        union[index] = areas.max()
        if reading.problem:
            continue
        precision[index] = 100 * average_precision(reading.said, one.gold)
        first = np.repeat(reading.said[:1], len(one.gold), axis=0)
        overlaps = overlap(first, one.gold)
        best = int(overlaps.argmax())
        iou[index] = overlaps[best]
        parts = box_parts(first[best], one.gold[best])
        shared[index], union[index] = parts[0][0], parts[1][0]
        if iou[index] == 1 and len(one.gold) == len(reading.said) == 1:
            precision[index] = 100.0  # a box without area is found by its equal
    thresholds = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    hits = 100.0 * (iou[:, None] >= thresholds)
    rows = np.concatenate([hits, 100 * iou[:, None], np.ones((len(iou), 1))], axis=1)
    means = Measure(
        ["pr50", "pr60", "pr70", "pr80", "pr90", "miou"],
        rows,
        lambda sums: sums[..., :-1] / np.maximum(sums[..., -1:], 1),
    )
    flat = union <= 0
    cumulative = np.stack([100 * np.where(flat, iou, shared), np.where(flat, 1.0, union)], axis=1)
    return Measured([_mean("map", precision), means, Measure(["ciou"], cumulative, _ratio)], 100 * iou)


def _detection(questions: Sequence[Question], readings: Sequence[Reading]) -> Measured:
    measures: list[Measure] = []
    counts = np.zeros((len(questions), 3))
    for oriented, names in ((False, ("ap50", "ap")), (True, ("obb_ap50", "obb_ap"))):
        chosen = np.array(
            [i for i, one in enumerate(questions) if one.gold.oriented == oriented], dtype=np.int64
        )
        if not len(chosen):
            continue
        known: dict[str, int] = {}
        objects = _side(
            [(questions[i].gold.labels, questions[i].gold.boxes, None) for i in chosen], known, oriented
        )
        found = _side(
            [
                ((), np.zeros((0, 8 if oriented else 4)), None)
                if readings[i].problem
                else (readings[i].said.labels, readings[i].said.boxes, readings[i].said.scores)
                for i in chosen
            ],
            known,
            oriented,
        )
        matches = match(found, objects)
        own = matches.counts()
        counts[chosen[: len(own)]] = own
        measures.append(_Precision(names, matches, chosen))

    def f1(sums: Floats) -> Floats:
        size = sums[..., 1] + sums[..., 2]
        out: Floats = np.divide(200 * sums[..., 0], size, out=np.full(np.shape(size), np.nan), where=size > 0)
        return out[..., None]

    values = f1(counts)[:, 0]
    nothing = counts[:, 1:].sum(axis=1) == 0
    values[nothing] = [0.0 if readings[i].problem else 100.0 for i in np.flatnonzero(nothing).tolist()]
    measures.append(Measure(["f1"], counts, f1))
    return Measured(measures, values)


def _side(
    rows: Sequence[tuple[Sequence[str], Floats, Any]], known: dict[str, int], oriented: bool
) -> Detections:
    lengths = [len(labels) for labels, _, _ in rows]
    boxes = np.concatenate([boxes for _, boxes, _ in rows]) if rows else np.zeros((0, 8 if oriented else 4))
    # Without a confidence, the place in the answer stands for it: all first boxes come before all second ones.
    scores = [
        score
        for labels, _, scores in rows
        for score in (scores if scores is not None else range(0, -len(labels), -1))
    ]
    return Detections(
        np.repeat(np.arange(len(rows)), lengths),
        numbered([label for labels, _, _ in rows for label in labels], known),
        boxes,
        np.array(scores, dtype=np.float64),
    )
