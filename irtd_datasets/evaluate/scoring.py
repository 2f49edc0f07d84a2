"""Scores of a model's answers: the nine metrics of the IRGPT paper (section 5.1) with their sums and intervals.

Accuracy for Scene, Recognition, Relationship, Re-ID and Security; mAP at an intersection over union of 0.5 for
Grounding; mean absolute error for Location and the two counts. ``psum`` adds the six of which more is better, in per
cent, ``nsum`` the three errors. Where the paper leaves a metric open, the choice made here has a name and can be
switched:

- *mAP*: average precision of each question, boxes in the order written, averaged over questions (`average_precision`).
- *Location*: OSPA distance in thousandths of width and height with a cutoff of 100 (`point_distance`).
- *An answer that cannot be read* is wrong, and counts: in an error it enters by ``unreadable``.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from irtd_datasets.boxes.frames import Frame, as_frame, convert
from irtd_datasets.errors import AnnotationError, UnknownNameError, summarize
from irtd_datasets.evaluate.answers import (
    read_boxes,
    read_choices,
    read_count,
    read_ordinal,
    read_points,
    read_yes_no,
)
from irtd_datasets.evaluate.metrics import average_precision, point_distance
from irtd_datasets.evaluate.predictions import read_predictions
from irtd_datasets.evaluate.questions import SCORED_TASKS, Question, read_questions
from irtd_datasets.evaluate.released import RELEASED

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = [
    "ERRORS",
    "UNREADABLE",
    "Scores",
    "ScoringOptions",
    "TaskScore",
    "paper_table",
    "score",
    "score_file",
]

ERRORS = ("location", "aerial_counting", "pedestrian_counting")
"""Tasks whose metric is an error: less is better, and they add up to nsum."""

UNREADABLE = {
    "nothing": "as if the answer named nothing: the gold count, at least 1; for Location the cutoff",
    "worst": "as the worst answer within the range of the gold counts; for Location the cutoff",
    "drop": "left out of the errors, as the released counting scorer does; still wrong elsewhere",
}
"""How an answer that cannot be read enters an error."""

MISSING = ("error", "wrong", "skip")

_BETTER = tuple(task for task in SCORED_TASKS if task not in ERRORS)


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How answers are scored.

    Attributes:
        frame: Frame of the numbers in the predictions; None takes that of the question's own text, which is pixels for
            Grounding and 0 to 1000 for Location.
        unreadable: A name of `UNREADABLE`.
        missing: What a question without a prediction is: ``error``, ``wrong``, or ``skip`` (left out).
        cutoff: Of the Location distance, in thousandths.
        resamples: Of the bootstrap; 0 leaves the intervals out.
        level: Of the intervals.
        seed: Of the bootstrap.
    """

    frame: Frame | str | None = None
    unreadable: Literal["nothing", "worst", "drop"] = "nothing"
    missing: Literal["error", "wrong", "skip"] = "error"
    cutoff: float = 100.0
    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.frame is not None:
            as_frame(self.frame)
        for name, value, known in (
            ("unreadable", self.unreadable, tuple(UNREADABLE)),
            ("missing", self.missing, MISSING),
        ):
            if value not in known:
                raise UnknownNameError(f"{name} is {value!r}", remedy=f"Take one of {', '.join(known)}.")
        if self.cutoff <= 0 or self.resamples < 0 or not 0 < self.level < 1:
            raise UnknownNameError(
                "the cutoff must be positive, the number of resamples not negative, the level between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class TaskScore:
    """The score of one task.

    Attributes:
        value: Per cent, or an error.
        low: Lower end of the confidence interval; NaN without one.
        high: Upper end.
        questions: Rows scored.
        unreadable: Of them, answers that could not be read.
        missing: Of them, rows without a prediction.
        released: What the released scorer of this task reports; empty where there is none.
    """

    value: float
    low: float
    high: float
    questions: int
    unreadable: int
    missing: int
    released: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": _finite(self.value),
            "interval": [_finite(self.low), _finite(self.high)],
            "questions": self.questions,
            "unreadable": self.unreadable,
            "missing": self.missing,
            "released": {name: _finite(value) for name, value in self.released.items()},
        }


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one file of predictions.

    Attributes:
        tasks: By name, in the order of the paper's table, tasks without rows left out.
        psum: Sum of the six metrics of which more is better, with its interval; NaN unless all six are there.
        nsum: Sum of the three errors, likewise.
        details: For each row: id, task, value, what was read of the answer, and what is wrong with it.
        suspicions: Sentences about predictions whose numbers do not look like the frame that was declared.
        skipped: Rows left out because they have no prediction.
        options: How it was scored.
    """

    tasks: Mapping[str, TaskScore]
    psum: tuple[float, float, float]
    nsum: tuple[float, float, float]
    details: Sequence[Mapping[str, Any]]
    suspicions: Sequence[str]
    skipped: int
    options: ScoringOptions

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the details."""
        return {
            "tasks": {name: task.as_dict() for name, task in self.tasks.items()},
            "psum": {
                "value": _finite(self.psum[0]),
                "interval": [_finite(self.psum[1]), _finite(self.psum[2])],
            },
            "nsum": {
                "value": _finite(self.nsum[0]),
                "interval": [_finite(self.nsum[1]), _finite(self.nsum[2])],
            },
            "suspicions": list(self.suspicions),
            "skipped": self.skipped,
            "options": {
                "frame": str(self.options.frame) if self.options.frame else None,
                "unreadable": self.options.unreadable,
                "missing": self.options.missing,
                "cutoff": self.options.cutoff,
                "resamples": self.options.resamples,
                "level": self.options.level,
                "seed": self.options.seed,
            },
        }


def paper_table() -> list[dict[str, str]]:
    """Table 2 of the IRGPT paper, one mapping for each row: model, training, the nine metrics, psum, nsum.

    Example:
        >>> paper_table()[-1]["model"], paper_table()[-1]["psum"]
        ('IRGPT CL', '485.79')
    """
    text = resources.files("irtd_datasets.evaluate").joinpath("paper_table.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def score_file(
    predictions: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    config: str | None = None,
    options: ScoringOptions | None = None,
) -> Scores:
    """Score a file of predictions against a dataset folder.

    Args:
        predictions: JSON lines with ``id`` and ``answer``, see `read_predictions`.
        folder: A dataset folder of IR-TD; its images are not read.
        config: Name of the config; None takes ``benchmark`` where the folder has it, else the default one.
        options: How to score.

    Raises:
        AnnotationError: The predictions cannot be read, have unknown ids, or lack some, see ``missing``.
        ReleaseNotFoundError: There is no such file or dataset folder.
        UnknownNameError: There is no such config, or none of its rows is scored.
    """
    answers = read_predictions(predictions)
    return score(answers, read_questions(folder, config), options, where=str(predictions))


def score(
    answers: Mapping[str, str],
    questions: Sequence[Question],
    options: ScoringOptions | None = None,
    *,
    where: str = "",
) -> Scores:
    """Score answers by id.

    Args:
        answers: What the model wrote, by the row's id.
        questions: The rows with their gold answers.
        options: How to score.
        where: Name of the predictions, for messages.

    Raises:
        AnnotationError: An id is unknown, or rows have no answer and ``missing`` is ``error``.
    """
    options = options or ScoringOptions()
    _check_ids(answers, questions, options, where)
    asked = [one for one in questions if one.id in answers or options.missing != "skip"]
    if not asked:
        raise AnnotationError(
            "no row has a prediction", where=where, remedy="See that the ids are those of the rows."
        )
    readings = [_read(one, answers.get(one.id), options) for one in asked]
    values = _values(asked, readings, options)
    images: dict[str, int] = {}
    image = np.array([images.setdefault(one.image, len(images)) for one in asked])
    of_task = {
        task: np.array([i for i, one in enumerate(asked) if one.task == task]) for task in SCORED_TASKS
    }
    of_task = {task: index for task, index in of_task.items() if len(index)}
    means = {task: _mean(values[index]) for task, index in of_task.items()}
    drawn = _bootstrap(values, image, len(images), of_task, options)
    tasks = {}
    for task, index in of_task.items():
        low, high = _interval(drawn[task], options.level) if task in drawn else (np.nan, np.nan)
        released = {}
        if task in RELEASED:
            released = RELEASED[task](
                [answers.get(asked[i].id, "") for i in index], [asked[i].text for i in index]
            )
        problems = Counter(readings[i].problem for i in index)
        missing = problems.pop("missing", 0)
        problems.pop("", None)
        tasks[task] = TaskScore(means[task], low, high, len(index), sum(problems.values()), missing, released)
    return Scores(
        tasks,
        _summed(_BETTER, means, drawn, options.level),
        _summed(ERRORS, means, drawn, options.level),
        [_detail(*row) for row in zip(asked, readings, values, strict=True)],
        _suspicions(asked, readings, options),
        len(questions) - len(asked),
        options,
    )


def _check_ids(
    answers: Mapping[str, str], questions: Sequence[Question], options: ScoringOptions, where: str
) -> None:
    known = {one.id for one in questions}
    unknown = [name for name in answers if name not in known]
    if unknown:
        raise AnnotationError(
            f"{len(unknown):,} of {len(answers):,} ids are not in this config:\n{summarize(unknown, 5)}",
            where=where,
            remedy=f"Ids look like {questions[0].id!r}. Name the config that was predicted, or leave these lines out.",
        )
    missing = [one.id for one in questions if one.id not in answers]
    if missing and options.missing == "error":
        raise AnnotationError(
            f"{len(missing):,} of {len(questions):,} rows have no prediction:\n{summarize(missing, 5)}",
            where=where,
            remedy="Predict them, or choose: --missing wrong counts them as wrong, --missing skip leaves them out.",
        )


# ------------------------------------------------------------------------------------------------------------
# One answer


@dataclass(frozen=True, slots=True)
class _Reading:
    """What an answer says, in the terms of the gold answer; what is wrong with it; the numbers as written."""

    said: Any
    problem: str
    written: tuple[tuple[float, ...], ...] = ()


def _read(question: Question, answer: str | None, options: ScoringOptions) -> _Reading:
    if answer is None:
        return _Reading(None, "missing")
    if not answer.strip():
        return _Reading(None, "empty")
    task = question.task
    if task in {"grounding", "location"}:
        return _read_places(question, answer, options)
    said: Any
    if task in {"scene", "recognition", "security"}:
        said = read_choices(answer, question.choices)
        if said is not None and task != "security" and len(said) != 1:
            return _Reading(None, "several-options" if said else "no-option")
    elif task == "relationship":
        said = read_yes_no(answer)
    elif task == "reid":
        said = read_ordinal(answer)
    else:
        said = read_count(answer)
    return _Reading(said, "" if said is not None else "unreadable")


def _read_places(question: Question, answer: str, options: ScoringOptions) -> _Reading:
    grounding = question.task == "grounding"
    places = read_boxes(answer) if grounding else read_points(answer)
    if places is None:
        return _Reading(None, "unreadable")
    frame = as_frame(options.frame) if options.frame is not None else question.frame
    target = Frame.PIXEL if grounding else Frame.PER_MILLE
    array = np.array(places, dtype=np.float64).reshape(-1, 4 if grounding else 2)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e9:
        return _Reading(None, "unreadable")
    return _Reading(convert(array, frame, target, question.width, question.height), "", tuple(places))


def _values(questions: Sequence[Question], readings: Sequence[_Reading], options: ScoringOptions) -> Floats:
    """Per cent or error of each row; NaN for one that is left out of its task's mean."""
    largest: dict[str, int] = {}
    for one in questions:
        if one.task in ERRORS[1:]:
            largest[one.task] = max(largest.get(one.task, 0), one.gold)
    values = np.empty(len(questions))
    for index, (one, reading) in enumerate(zip(questions, readings, strict=True)):
        if one.task in ERRORS:
            if reading.problem:
                values[index] = _unreadable(one, options, largest.get(one.task, 0))
            elif one.task == "location":
                values[index] = point_distance(reading.said, one.gold, options.cutoff)
            else:
                values[index] = abs(reading.said - one.gold)
        elif one.task == "grounding":
            values[index] = 0.0 if reading.problem else 100 * average_precision(reading.said, one.gold)
        else:
            values[index] = 100.0 * (not reading.problem and reading.said == one.gold)
    return values


def _unreadable(question: Question, options: ScoringOptions, largest: int) -> float:
    if options.unreadable == "drop":
        return float("nan")
    if question.task == "location":
        return options.cutoff
    if options.unreadable == "worst":
        return float(max(question.gold, largest - question.gold, 1))
    return float(max(question.gold, 1))


def _mean(values: Floats) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


# ------------------------------------------------------------------------------------------------------------
# Intervals


def _bootstrap(
    values: Floats,
    image: NDArray[np.int64],
    images: int,
    of_task: Mapping[str, NDArray[np.int64]],
    options: ScoringOptions,
) -> dict[str, Floats]:
    """Means of each task in resamples of the images; rows of one image are drawn together, in all tasks at once."""
    if not options.resamples:
        return {}
    sums = np.zeros((len(of_task), images))
    counts = np.zeros((len(of_task), images))
    for place, index in enumerate(of_task.values()):
        counted = index[~np.isnan(values[index])]
        sums[place] = np.bincount(image[counted], weights=values[counted], minlength=images)
        counts[place] = np.bincount(image[counted], minlength=images)
    generator = np.random.default_rng(options.seed)
    drawn = np.full((len(of_task), options.resamples), np.nan)
    both = np.concatenate([sums, counts])
    for number in range(options.resamples):
        times = np.bincount(generator.integers(0, images, images), minlength=images)
        totals = both @ times
        total, count = totals[: len(of_task)], totals[len(of_task) :]
        np.divide(total, count, out=drawn[:, number], where=count > 0)
    return dict(zip(of_task, drawn, strict=True))


def _interval(drawn: Floats, level: float) -> tuple[float, float]:
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _summed(
    names: Sequence[str], means: Mapping[str, float], drawn: Mapping[str, Floats], level: float
) -> tuple[float, float, float]:
    if any(name not in means for name in names):
        return float("nan"), float("nan"), float("nan")
    total = sum(means[name] for name in names)
    if not drawn:
        return total, float("nan"), float("nan")
    return (total, *_interval(np.sum([drawn[name] for name in names], axis=0), level))


# ------------------------------------------------------------------------------------------------------------
# What is told about single answers


def _detail(question: Question, reading: _Reading, value: float) -> dict[str, Any]:
    said = reading.said
    if isinstance(said, np.ndarray):
        said = [[round(number, 3) for number in row] for row in said.tolist()]
    elif isinstance(said, frozenset):
        said = [question.choices[position] for position in sorted(said)]
    return {
        "id": question.id,
        "task": question.task,
        "value": _finite(value),
        "read": said,
        "problem": reading.problem,
        "gold": question.text,
    }


def _suspicions(
    questions: Sequence[Question], readings: Sequence[_Reading], options: ScoringOptions
) -> list[str]:
    """Sentences about tasks most of whose numbers cannot be in the frame that they are read in."""
    found = []
    for task in ("grounding", "location"):
        rows = [(q, r) for q, r in zip(questions, readings, strict=True) if q.task == task and r.written]
        if not rows:
            continue
        largest = np.array([max(max(place) for place in r.written) for _, r in rows])
        frame = as_frame(options.frame) if options.frame is not None else rows[0][0].frame
        unit = frame in {Frame.UNIT, Frame.SQUARE_UNIT}
        share_small, share_large = float((largest <= 1.0).mean()), float((largest > 1.5).mean())
        if not unit and share_small > 0.5:
            found.append(
                f"{task}: {share_small:.0%} of the answers count from 0 to 1, and were read as {frame.value}; "
                f"set the frame to unit or square_unit if the model writes that"
            )
        elif unit and share_large > 0.5:
            found.append(
                f"{task}: {share_large:.0%} of the answers have numbers above 1, and were read as {frame.value}"
            )
        elif frame is Frame.PIXEL:
            sides = np.array([max(q.width, q.height) for q, _ in rows])
            share = float((largest > 1.05 * sides).mean())
            if share > 0.2:
                found.append(
                    f"{task}: {share:.0%} of the answers lie outside the image when read as pixels; "
                    f"set the frame to per_mille if the model counts from 0 to 1000"
                )
    return found
