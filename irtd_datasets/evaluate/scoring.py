"""Scores of a model's answers on any of the datasets, task by task, with intervals.

What each task is measured by, and where the rule of each metric stands, is the table `irtd_datasets.evaluate.tasks`.
For IR-TD, ``psum`` adds the six tasks of which more is better, in per cent, ``nsum`` the three errors (IRGPT, section
5.1). Where a paper leaves a metric open, the choice made here has a name and can be switched:

- *mAP*: average precision of each question, boxes in the order written, averaged over questions (`average_precision`).
- *Location*: OSPA distance in thousandths of width and height with a cutoff of 100 (`point_distance`).
- *An answer that cannot be read* is wrong, and counts: in an error it enters by ``unreadable``.
- *Detection without confidences*: the place of a box in its answer stands for one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from irtd_datasets.boxes.frames import Frame, as_frame
from irtd_datasets.errors import AnnotationError, UnknownNameError, summarize
from irtd_datasets.evaluate.detection import overlap
from irtd_datasets.evaluate.measures import ERRORS, measure_task
from irtd_datasets.evaluate.predictions import read_predictions
from irtd_datasets.evaluate.questions import Question, Selection, gold_answers, read_questions
from irtd_datasets.evaluate.readings import Found, Reading, read_answer
from irtd_datasets.evaluate.released import RELEASED
from irtd_datasets.evaluate.tasks import SCORED_TASKS, TASK_METRICS, headline, paper_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.evaluate.measures import Measured

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = [
    "ERRORS",
    "GOLD",
    "UNREADABLE",
    "Interval",
    "Scores",
    "ScoringOptions",
    "TaskScore",
    "paper_table",
    "score",
    "score_file",
]

GOLD = "gold"
"""In place of a file of predictions: the dataset's own answers."""

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


class Interval(NamedTuple):
    """A figure with its confidence interval; the ends are NaN where there is none."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"value": _finite(self.value), "interval": [_finite(self.low), _finite(self.high)]}


@dataclass(frozen=True, slots=True)
class TaskScore:
    """The score of one task.

    Attributes:
        metrics: Its figures by name (`irtd_datasets.evaluate.tasks.METRICS`).
        headline: The name of the one that stands for the task in its paper.
        questions: Rows or rounds scored.
        unreadable: Of them, answers that could not be read.
        missing: Of them, those without a prediction.
        problems: What is wrong with the unreadable ones, by code.
        groups: Means of the rows' values and numbers of rows, by ``source``, ``modality``, ``type`` (of VQA questions),
            ``size`` (of the object: area below 32 x 32, 96 x 96 pixels, or above) and ``issue``.
        confusion: For classification: how often each class was answered with each.
        released: What the released scorer of this task reports; empty where there is none.
    """

    metrics: Mapping[str, Interval]
    headline: str
    questions: int
    unreadable: int
    missing: int
    problems: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, tuple[float, int]]] = field(default_factory=dict)
    confusion: Mapping[str, Mapping[str, int]] | None = None
    released: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Of the headline metric: per cent, or an error."""
        return self.metrics[self.headline].value

    @property
    def low(self) -> float:
        """Lower end of its interval; NaN without one."""
        return self.metrics[self.headline].low

    @property
    def high(self) -> float:
        """Upper end."""
        return self.metrics[self.headline].high

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.metrics[self.headline].as_dict(),
            "headline": self.headline,
            "metrics": {name: one.as_dict() for name, one in self.metrics.items()},
            "questions": self.questions,
            "unreadable": self.unreadable,
            "missing": self.missing,
            "problems": dict(self.problems),
            "groups": {
                what: {name: {"mean": _finite(mean), "rows": rows} for name, (mean, rows) in groups.items()}
                for what, groups in self.groups.items()
            },
            "confusion": self.confusion,
            "released": {name: _finite(value) for name, value in self.released.items()},
        }


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one file of predictions.

    Attributes:
        tasks: By name, in the order of the table, tasks without rows left out.
        psum: Sum of the six metrics of IR-TD of which more is better; NaN unless all six are there.
        nsum: Sum of its three errors, likewise.
        suspicions: Sentences about predictions whose numbers do not look like the frame that was declared.
        skipped: Rows left out because they have no prediction.
        left_out: What is not scored, by reason: rows, rounds, and lines of the predictions.
        options: How it was scored.
        questions: What was asked, in the order of the rows.
        answers: What the model wrote; None where there is no prediction.
        readings: What was read of it.
        values: Of each: per cent, or an error; NaN for one that is left out of its task's mean.
    """

    tasks: Mapping[str, TaskScore]
    psum: Interval
    nsum: Interval
    suspicions: Sequence[str]
    skipped: int
    left_out: Mapping[str, int]
    options: ScoringOptions
    questions: Sequence[Question]
    answers: Sequence[str | None]
    readings: Sequence[Reading]
    values: Floats

    @property
    def dataset(self) -> str:
        """Name of the dataset, from the ids of its rows."""
        return self.questions[0].id.partition("/")[0]

    @property
    def details(self) -> Iterator[dict[str, Any]]:
        """For each row or round: id, task, value, what was read of the answer, and what is wrong with it."""
        for one, reading, value in zip(self.questions, self.readings, self.values.tolist(), strict=True):
            yield _detail(one, reading, value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the details."""
        return {
            "tasks": {name: task.as_dict() for name, task in self.tasks.items()},
            "psum": self.psum.as_dict(),
            "nsum": self.nsum.as_dict(),
            "suspicions": list(self.suspicions),
            "skipped": self.skipped,
            "left_out": dict(self.left_out),
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


def score_file(
    predictions: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    config: str | None = None,
    options: ScoringOptions | None = None,
    selection: Selection | None = None,
) -> Scores:
    """Score a file of predictions against a dataset folder.

    Args:
        predictions: A file as `read_predictions` reads it, or ``"gold"`` for the dataset's own answers.
        folder: A dataset folder; its images are not read.
        config: Name of the config; None takes ``benchmark`` where the folder has it, else the default one.
        options: How to score.
        selection: Which rows; None takes all.

    Raises:
        AnnotationError: The predictions cannot be read, none of their ids is in the config, or some rows of a task
            have predictions and others have none, see ``missing``.
        ReleaseNotFoundError: There is no such file or dataset folder.
        UnknownNameError: There is no such config or selected name, or none of its rows is scored.
    """
    left_out: Counter[str] = Counter()
    answers = None if str(predictions) == GOLD else read_predictions(predictions)
    questions = read_questions(folder, config, selection, left_out)
    return score(
        gold_answers(questions) if answers is None else answers,
        questions,
        options,
        where=str(predictions),
        left_out=left_out,
    )


def score(
    answers: Mapping[str, str],
    questions: Sequence[Question],
    options: ScoringOptions | None = None,
    *,
    where: str = "",
    left_out: Counter[str] | None = None,
) -> Scores:
    """Score answers by id.

    Args:
        answers: What the model wrote, by the row's id, or id and round as `Question.key` joins them.
        questions: The rows with their gold answers.
        options: How to score.
        where: Name of the predictions, for messages.
        left_out: What was left out before, by reason; more is added.

    Raises:
        AnnotationError: No id is known, or some rows of a task and split have no answer, others have, and ``missing``
            is ``error``. A task and split without any answer is left out and counted.
    """
    options = options or ScoringOptions()
    left_out = Counter() if left_out is None else left_out
    said = _matched(answers, questions, left_out, where)
    predicted = {(one.split, one.task) for one, text in zip(questions, said, strict=True) if text is not None}
    kept = []
    for index, one in enumerate(questions):
        if said[index] is None and options.missing != "wrong" and (one.split, one.task) not in predicted:
            left_out[
                f"nothing predicted of {one.task}" + (f" in split {one.split}" if one.split else "")
            ] += 1
        elif said[index] is not None or options.missing != "skip":
            kept.append(index)
    asked = [questions[index] for index in kept]
    texts = [said[index] for index in kept]
    missing = [one.key for one, text in zip(asked, texts, strict=True) if text is None]
    if missing and options.missing == "error":
        raise AnnotationError(
            f"{len(missing):,} of {len(questions):,} rows have no prediction:\n{summarize(missing, 5)}",
            where=where,
            remedy="Predict them, or choose: --missing wrong counts them as wrong, --missing skip leaves them out.",
        )
    skipped = 0
    if options.missing == "skip":
        skipped = sum(
            1
            for one, text in zip(questions, said, strict=True)
            if text is None and (one.split, one.task) in predicted
        )
    readings = [read_answer(one, text, options.frame) for one, text in zip(asked, texts, strict=True)]
    return _scored(asked, texts, readings, options, skipped, left_out)


def _scored(
    asked: Sequence[Question],
    texts: Sequence[str | None],
    readings: Sequence[Reading],
    options: ScoringOptions,
    skipped: int,
    left_out: Counter[str],
) -> Scores:
    images: dict[str, int] = {}
    image = np.array([images.setdefault(one.image, len(images)) for one in asked])
    times = _resamples(len(images), options)
    values = np.full(len(asked), np.nan)
    tasks: dict[str, TaskScore] = {}
    drawn: dict[str, Floats] = {}
    for task in TASK_METRICS:
        index = np.array([i for i, one in enumerate(asked) if one.task == task], dtype=np.int64)
        if not len(index):
            continue
        rows, read = [asked[i] for i in index], [readings[i] for i in index]
        measured = measure_task(task, rows, read, options.unreadable, options.cutoff)
        values[index] = measured.values
        metrics, draws = _intervals(measured, image[index], times, options.level)
        name = headline(task, rows[0].id.partition("/")[0], tuple(metrics))
        if name in draws:
            drawn[task] = draws[name]
        released = {}
        if task in RELEASED and rows[0].id.startswith("irtd/") | (task != "grounding"):
            released = RELEASED[task]([texts[i] or "" for i in index], [one.text for one in rows])
        problems = Counter(one.problem for one in read if one.problem)
        missing = problems.pop("missing", 0)
        tasks[task] = TaskScore(
            metrics, name, len(index), sum(problems.values()), missing, problems,
            _groups(rows, measured.values), measured.confusion, released,
        )  # fmt: skip
    means = {task: one.value for task, one in tasks.items()}
    irtd = asked[0].id.partition("/")[0] not in {"mmrs_1m", "rs_gpt4v"}
    psum, nsum = (
        _summed(names, means if irtd else {}, drawn, options.level)
        for names in ([task for task in SCORED_TASKS if task not in ERRORS], ERRORS)
    )
    suspicions = _suspicions(asked, readings, options)
    return Scores(tasks, psum, nsum, suspicions, skipped, left_out, options, asked, texts, readings, values)


def _matched(
    answers: Mapping[str, str], questions: Sequence[Question], left_out: Counter[str], where: str
) -> list[str | None]:
    """The answer to each question; what answers no question is counted by reason."""
    dataset = questions[0].id.partition("/")[0]
    rounds = {one.id: one.rounds for one in questions}
    known = {one.key for one in questions}
    known.update(f"{name}#0" for name, count in rounds.items() if count == 1)
    by_key: dict[str, str] = {}
    unknown = []
    for name, text in answers.items():
        for key in (name, f"{dataset}/{name}"):
            if key in known:
                by_key[key.removesuffix("#0") if rounds.get(key.removesuffix("#0")) == 1 else key] = text
                left_out["ids without the name of the dataset, completed"] += key != name
                break
            if rounds.get(key, 1) > 1:
                left_out["predictions without a round, of rows that have several"] += 1
                break
        else:
            unknown.append(name)
    if not by_key:
        raise AnnotationError(
            f"{len(unknown):,} of {len(answers):,} ids are not in this config:\n{summarize(unknown, 5)}"
            if unknown
            else f"none of {len(answers):,} predictions can be told from the others of its row"
            if answers
            else "there is no prediction in it",
            where=where,
            remedy=f"Ids look like {questions[0].id!r}"
            + (", with the number of the round, from 0, under 'round'" if questions[0].rounds > 1 else "")
            + ". Name the config and split that were predicted.",
        )
    if unknown:
        left_out["predictions whose id is not among the rows"] += len(unknown)
    for reason in [reason for reason, count in left_out.items() if not count]:
        del left_out[reason]
    return [by_key.get(one.key) for one in questions]


# ------------------------------------------------------------------------------------------------------------
# Intervals


def metric_draws(
    answers: Mapping[str, str], questions: Sequence[Question], options: ScoringOptions
) -> dict[tuple[str, str], tuple[float, Floats, int]]:
    """Value, resampled values and rows of each task and metric; the same questions and seed give the same images."""
    said = _matched(answers, questions, Counter(), "")
    images: dict[str, int] = {}
    image = np.array([images.setdefault(one.image, len(images)) for one in questions])
    times = _resamples(len(images), options)
    found = {}
    for task in dict.fromkeys(one.task for one in questions):
        index = np.array([i for i, one in enumerate(questions) if one.task == task])
        rows = [questions[i] for i in index]
        read = [read_answer(one, said[i], options.frame) for one, i in zip(rows, index, strict=True)]
        measured = measure_task(task, rows, read, options.unreadable, options.cutoff)
        metrics, draws = _intervals(measured, image[index], times, options.level)
        found.update(
            {
                (task, name): (one.value, draws.get(name, np.zeros(0)), len(rows))
                for name, one in metrics.items()
            }
        )
    return found


def _resamples(images: int, options: ScoringOptions) -> list[Ints]:
    """How often each image counts in each resample; rows of one image are drawn together, in all tasks at once."""
    generator = np.random.default_rng(options.seed)
    kind = np.uint8 if images < 1 << 24 else np.uint16  # one image is never drawn 255 times out of so many
    return [
        np.bincount(generator.integers(0, images, images), minlength=images).astype(kind)
        for _ in range(options.resamples)
    ]


def _intervals(
    measured: Measured, image: Ints, times: Sequence[Ints], level: float
) -> tuple[dict[str, Interval], dict[str, Floats]]:
    found: dict[str, Interval] = {}
    draws: dict[str, Floats] = {}
    for measure in measured.measures:
        values = measure.values()
        drawn = measure.draw(image, times) if times else np.zeros((0, len(values)))
        for column, name in enumerate(measure.names):
            if len(drawn):
                draws[name] = drawn[:, column]
            found[name] = Interval(float(values[column]), *interval(drawn[:, column], level))
    there = {name: one for name, one in found.items() if not np.isnan(one.value)}
    return there or dict(list(found.items())[:1]), draws


def resample(values: Floats, images: Sequence[str], options: ScoringOptions) -> Floats:
    """Resampled means of values, those of one image drawn together."""
    number: dict[str, int] = {}
    image = np.array([number.setdefault(name, len(number)) for name in images])
    sums = np.bincount(image, weights=values), np.bincount(image).astype(np.float64)
    drawn: Floats = np.array(
        [float(times @ sums[0]) / float(times @ sums[1]) for times in _resamples(len(number), options)]
    )
    return drawn


def interval(drawn: Floats, level: float) -> tuple[float, float]:
    """The ends of the confidence interval of resampled figures; NaN without any."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _summed(
    names: Sequence[str], means: Mapping[str, float], drawn: Mapping[str, Floats], level: float
) -> Interval:
    if any(name not in means for name in names):
        return Interval(float("nan"), float("nan"), float("nan"))
    total = sum(means[name] for name in names)
    if any(name not in drawn for name in names):
        return Interval(total, float("nan"), float("nan"))
    return Interval(total, *interval(np.sum([drawn[name] for name in names], axis=0), level))


# ------------------------------------------------------------------------------------------------------------
# What is told about single answers and groups of them


def _groups(questions: Sequence[Question], values: Floats) -> dict[str, dict[str, tuple[float, int]]]:
    names: dict[str, list[Sequence[str]]] = {
        "source": [(one.source,) for one in questions],
        "modality": [(one.modality,) for one in questions],
        "type": [(one.kind,) for one in questions],
        "size": [(_size(one),) for one in questions],
        "issue": [one.issues for one in questions],
    }
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for what, labels in names.items():
        rows: dict[str, list[float]] = {}
        for own, value in zip(labels, values.tolist(), strict=True):
            for name in own:
                if name and not np.isnan(value):
                    rows.setdefault(name, []).append(value)
        if rows:
            found[what] = {name: (sum(own) / len(own), len(own)) for name, own in sorted(rows.items())}
    return found


def _size(one: Question) -> str:
    """Size of the object of a grounding question, by the areas of the COCO evaluation."""
    if one.task != "grounding":
        return ""
    area = float(np.prod(one.gold[0, 2:] - one.gold[0, :2]))
    if (one.width, one.height) == (1, 1):
        return ""
    return "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _detail(question: Question, reading: Reading, value: float) -> dict[str, Any]:
    said = reading.said
    if isinstance(said, Found):
        said = [
            {"label": label, "box": [round(number, 3) for number in box]}
            for label, box in zip(said.labels, said.boxes.tolist(), strict=True)
        ]
    elif isinstance(said, np.ndarray):
        said = [[round(number, 3) for number in row] for row in said.tolist()]
    elif isinstance(said, frozenset):
        said = [question.choices[position] for position in sorted(said)]
    elif question.task == "classification" and isinstance(said, int):
        said = question.choices[said]
    return {
        "id": question.id,
        "round": question.round,
        "task": question.task,
        "value": _finite(value),
        "read": said,
        "problem": reading.problem,
        "gold": question.text,
    }


def _suspicions(
    questions: Sequence[Question], readings: Sequence[Reading], options: ScoringOptions
) -> list[str]:
    """Sentences about tasks most of whose numbers cannot be in the frame that they are read in."""
    found = []
    for task in ("grounding", "location", "detection"):
        rows = [(q, r) for q, r in zip(questions, readings, strict=True) if q.task == task and r.written]
        if not rows:
            continue
        frame = as_frame(options.frame) if options.frame is not None else rows[0][0].frame
        found += _wrong_frame(task, rows, frame)
        if task == "grounding":
            found += _exchanged(rows)
    return found


def _wrong_frame(task: str, rows: Sequence[tuple[Question, Reading]], frame: Frame) -> list[str]:
    largest = np.array([max(max(place) for place in r.written) for _, r in rows])
    unit = frame in {Frame.UNIT, Frame.SQUARE_UNIT}
    share_small, share_large = float((largest <= 1.0).mean()), float((largest > 1.5).mean())
    if not unit and share_small > 0.5:
        return [
            (
                f"{task}: {share_small:.0%} of the answers count from 0 to 1, and were read as {frame.value}; "
                f"set the frame to unit or square_unit if the model writes that"
            )
        ]
    if unit and share_large > 0.5:
        return [
            f"{task}: {share_large:.0%} of the answers have numbers above 1, and were read as {frame.value}"
        ]
    if frame is Frame.PIXEL:
        sides = np.array([max(q.width, q.height) for q, _ in rows])
        share = float((largest > 1.05 * sides).mean())
        if share > 0.2:
            return [
                (
                    f"{task}: {share:.0%} of the answers lie outside the image when read as pixels; "
                    f"set the frame to per_mille if the model counts from 0 to 1000"
                )
            ]
    return []


def _exchanged(rows: Sequence[tuple[Question, Reading]]) -> list[str]:
    """Whether boxes with x and y exchanged would fit the gold answers far better."""
    one = np.array([r.said[0] for _, r in rows])
    gold = np.array([q.gold[0] for q, _ in rows])
    sizes = np.array([(q.width, q.height) for q, _ in rows], dtype=np.float64)
    # Exchanged as written, in parts of the sides: 0 to 1000 of both sides is what such models count.
    other = (one / np.tile(sizes, 2))[:, [1, 0, 3, 2]] * np.tile(sizes, 2)
    best = np.maximum(overlap(one[:, [1, 0, 3, 2]], gold), overlap(other, gold)).mean()
    now = overlap(one, gold).mean()
    if len(rows) >= 5 and best > 0.3 and best > 2 * now:
        return [
            (
                f"grounding: the boxes fit with x and y exchanged (mean IoU {best:.2f} instead of {now:.2f}); "
                f"the model writes y first, so exchange them before scoring"
            )
        ]
    return []
