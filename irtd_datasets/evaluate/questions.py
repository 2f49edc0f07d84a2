"""Rows of a dataset folder as questions with their gold answers, round by round."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.boxes.frames import Frame, convert
from irtd_datasets.errors import AnnotationError, UnknownNameError, did_you_mean
from irtd_datasets.evaluate.places import Place, enclosing, read_places
from irtd_datasets.evaluate.tasks import SCORED_TASKS, TASK_METRICS
from irtd_datasets.folder.row_groups import config_files, config_names, read_groups
from irtd_datasets.irtd.tasks.parsing import options
from irtd_datasets.mmrs_1m.records import Round, asked_class, read_rounds
from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SCORED_TASKS",
    "Objects",
    "Question",
    "Selection",
    "gold_answers",
    "pool_references",
    "question_type",
    "read_questions",
    "row_questions",
]

_COLUMNS = (
    "id",
    "task",
    "choices",
    "answer",
    "objects",
    "box_frame",
    "width",
    "height",
    "messages",
    "source",
    "modality",
    "issues",
    "corrections",
    "image.path",
)
_NO_OBJECTS = re.compile(r"\b(?:no|none|not any|zero|0|nothing)\b", re.IGNORECASE)
_TYPES = (
    ("count", re.compile(r"\bhow many\b|\b(?:number|amount|count) of\b", re.IGNORECASE)),
    (
        "comparison",
        re.compile(
            r"\b(?:more|less|fewer|larger|smaller|greater|bigger)\b.*\bthan\b|\bequal\b", re.IGNORECASE
        ),
    ),
    ("area", re.compile(r"\barea\b", re.IGNORECASE)),
    ("rural_urban", re.compile(r"\brural\b.*\burban\b|\burban\b.*\brural\b", re.IGNORECASE)),
    (
        "presence",
        re.compile(
            r"^\W*(?:is|are) there\b"
            r"|^\W*(?:is|are|does|do|has|have)\b.*\b(?:present|exist|contain|visible|any|include)\w*\b",
            re.IGNORECASE,
        ),
    ),
    ("yes_no", re.compile(r"^\W*(?:is|are|was|were|does|do|did|has|have|can|could|will)\b", re.IGNORECASE)),
)


def question_type(question: str) -> str:
    """The type of a VQA question, by its words: the types of RSVQA, ``yes_no`` and ``other``.

    Example:
        >>> [question_type(text) for text in ("How many roads are there?", "Are there more roads than ships?",
        ...  "Is there a ship?", "Is it a rural or an urban area?", "What colour is the roof?")]
        ['count', 'comparison', 'presence', 'rural_urban', 'other']
    """
    if _TYPES[3][1].search(question):
        return "rural_urban"
    return next((name for name, pattern in _TYPES if pattern.search(question)), "other")


@dataclass(frozen=True, slots=True)
class Objects:
    """What a detection question wants found.

    Attributes:
        labels: Class of each, in small letters.
        boxes: In pixels; shape (N, 4), or (N, 8) where they are ``oriented``.
        oriented: Whether the question asks for oriented boxes.
        asked: The one class that the question asks for; empty when it asks for all.
    """

    labels: tuple[str, ...]
    boxes: NDArray[np.float64]
    oriented: bool
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A scored round of a row.

    Attributes:
        id: Of the row.
        task: A key of `irtd_datasets.evaluate.tasks.TASK_METRICS`.
        choices: Options in letter order, or classes; empty where there are none.
        gold: The right answer: a set of positions (scene, recognition, security), a truth value (relationship), a whole
            number (Re-ID, counts), boxes in pixels of the image (grounding), points in 0 to 1000 (location), `Objects`
            (detection), the text (all others).
        text: The gold answer as released, with its markup.
        frame: Frame of the numbers in the released text; pixels where it has none. Where it is not known, numbers are
            compared as they stand, on an image of 1 x 1.
        width: Of the image, in pixels.
        height: Likewise.
        image: What the row's image is called; rows of one image are drawn together.
        round: Number of the round in its conversation, from 0.
        rounds: How many rounds of the row are scored.
        split: Of the row.
        source: Component dataset.
        modality: Kind of sensor.
        kind: Type of a VQA question.
        references: Texts that are right, for captions and conversation.
        issues: Codes of the row's known defects.
    """

    id: str
    task: str
    choices: tuple[str, ...]
    gold: Any
    text: str
    frame: Frame
    width: int
    height: int
    image: str
    round: int = 0
    rounds: int = 1
    split: str = ""
    source: str = ""
    modality: str = ""
    kind: str = ""
    references: tuple[str, ...] = ()
    issues: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What its answer is filed under: the id, and the round behind ``#`` where the row has several."""
        return self.id if self.rounds == 1 else f"{self.id}#{self.round}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are scored; an empty field selects all."""

    splits: Collection[str] = ()
    tasks: Collection[str] = ()
    sources: Collection[str] = ()
    modalities: Collection[str] = ()

    def reason(self, split: str, task: str, source: str, modality: str) -> str:
        """Why a row is left out; empty when it is not."""
        for name, wanted, value in (
            ("split", self.splits, split),
            ("task", self.tasks, task),
            ("source", self.sources, source),
            ("modality", self.modalities, modality),
        ):
            if wanted and value not in wanted:
                return f"{name} not selected"
        return ""


@dataclass(slots=True)
class _Reader:
    """What is found while rows are read."""

    selection: Selection
    left_out: Counter[str]
    seen: dict[str, set[str]] = field(
        default_factory=lambda: {"task": set(), "source": set(), "modality": set()}
    )
    words: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)


def read_questions(
    folder: str | os.PathLike[str],
    config: str | None = None,
    selection: Selection | None = None,
    left_out: Counter[str] | None = None,
) -> list[Question]:
    """Read the scored rounds of a config, from its text columns only.

    Args:
        folder: A dataset folder.
        config: Name of the config; None takes ``benchmark`` where the folder has it, else the default one.
        selection: Which rows.
        left_out: Filled with the numbers of rows or rounds that are not scored, by reason.

    Raises:
        ReleaseNotFoundError: This is no dataset folder.
        UnknownNameError: There is no such config, split, task, source or modality, or none of the rows is scored.
        AnnotationError: The gold answer of a row of IR-TD cannot be read.
    """
    if config is None and "benchmark" in config_names(folder):
        config = "benchmark"
    reader = _Reader(selection or Selection(), Counter() if left_out is None else left_out)
    splits = config_files(folder, config)
    _check_names("split", reader.selection.splits, splits, str(folder))
    found: list[Question] = []
    for split, files in splits.items():
        for reference, table in read_groups(files, _COLUMNS):
            for row in table.to_pylist():
                found += _checked(row, split, reader, str(reference.file))
    for name, wanted in (
        ("task", reader.selection.tasks),
        ("source", reader.selection.sources),
        ("modality", reader.selection.modalities),
    ):
        _check_names(name, wanted, reader.seen[name], str(folder))
    if not found:
        reasons = (
            ", ".join(f"{reason}: {count:,}" for reason, count in reader.left_out.items()) or "it has no rows"
        )
        raise UnknownNameError(
            f"no row of config {config!r} is scored ({reasons})",
            where=str(folder),
            remedy=f"Select others; the configs are {', '.join(config_names(folder))}.",
        )
    return pool_references(found)


def row_questions(row: Mapping[str, Any], split: str = "") -> list[Question]:
    """The scored rounds of one row; empty where none is.

    Args:
        row: With the columns of the schema; its image may be left out.
        split: Of the row.

    Raises:
        AnnotationError: As `read_questions`.
    """
    image = row.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    return _checked(
        {**row, "image": {"path": path or row["id"]}}, split, _Reader(Selection(), Counter()), "row"
    )


def gold_answers(questions: Sequence[Question]) -> dict[str, str]:
    """The dataset's own answers as predictions: the best value of every metric, or the metric is wrong."""
    return {one.key: one.text for one in questions}


def _check_names(what: str, wanted: Collection[str], known: Collection[str], where: str) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise UnknownNameError(
            f"there is no {what} {unknown[0]!r} in this config",
            where=where,
            remedy=f"{did_you_mean(unknown[0], known)}Take one of: {', '.join(sorted(known))}.",
        )


def _checked(row: dict[str, Any], split: str, reader: _Reader, file: str) -> list[Question]:
    try:
        return list(_questions_of(row, split, reader))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AnnotationError(
            f"the gold answer {row['answer']!r:.100} of {TASKS[row['task']]} cannot be read: {error}",
            where=f"{file}, row {row['id']}",
            remedy="Build the dataset folder again with this version.",
        ) from error


def _questions_of(row: dict[str, Any], split: str, reader: _Reader) -> Iterator[Question]:
    task, source = TASKS[row["task"]], row["source"] or ""
    modality = "" if row["modality"] is None else MODALITIES[row["modality"]]
    for name, value in (("task", task), ("source", source), ("modality", modality)):
        reader.seen[name].add(value)
    reason = reader.selection.reason(split, task, source, modality)
    if task not in TASK_METRICS:
        reason = f"{task} is not scored"
    if reason:
        reader.left_out[reason] += 1
        return
    frame, width, height = Frame.PIXEL, row["width"], row["height"]
    if row["box_frame"] is not None:
        name = BOX_FRAMES[row["box_frame"]]
        frame, width, height = (Frame.UNIT, 1, 1) if name == "unknown" else (Frame(name), width, height)
    path = (row["image"] or {}).get("path") or row["id"]
    choices = reader.words.setdefault(choices := tuple(row["choices"] or ()), choices)
    issues = reader.words.setdefault(issues := tuple(row["issues"] or ()), issues)
    base = Question(
        row["id"], task, choices, None, "", frame, width, height, path,
        split=split, source=source, modality=modality, issues=issues,
    )  # fmt: skip
    talk = [message["content"] for message in row["messages"] or () if message["role"] != "system"]
    rounds = list(zip(talk[::2], talk[1::2], strict=False))
    if task in SCORED_TASKS and (task != "grounding" or row["id"].startswith("irtd/")):
        if row["answer"] is None:
            reader.left_out["no answer in the row"] += 1
            return
        yield replace(
            base, gold=_gold(row, task, choices, frame), text=rounds[-1][1] if rounds else row["answer"]
        )
        return
    if task == "captioning" and len({question for question, _ in rounds}) == 1:
        references = tuple(dict.fromkeys([*(answer for _, answer in rounds), *_more_references(row)]))
        yield replace(base, gold=rounds[0][1], text=rounds[0][1], references=references)
        return
    for index, (question, answer) in enumerate(rounds):
        one = replace(base, text=answer, gold=answer, round=index, rounds=len(rounds))
        new = _ROUNDS.get(task, _text_round)(one, question)
        if isinstance(new, str):
            reader.left_out[new] += 1
        else:
            yield new


def _more_references(row: dict[str, Any]) -> list[str]:
    """The other right answers of a row, which its builder keeps beside it."""
    values = [one["value"] for one in row["corrections"] or () if one["field"] == "record.answer"]
    return [text for value in values for text in json.loads(value) if isinstance(text, str)]


def pool_references(questions: list[Question]) -> list[Question]:
    """Captions of one image are references of each other, in whatever rows they stand."""
    texts: dict[tuple[str, str], dict[str, None]] = {}
    for one in questions:
        if one.task == "captioning":
            texts.setdefault((one.split, one.image), {}).update(dict.fromkeys(one.references))
    pooled = {key: tuple(found) for key, found in texts.items()}
    return [
        replace(one, references=pooled[one.split, one.image]) if one.task == "captioning" else one
        for one in questions
    ]


def _text_round(one: Question, _: str) -> Question | str:
    return replace(one, references=(one.text,)) if one.text.strip() else "empty answer in the row"


def _vqa_round(one: Question, question: str) -> Question | str:
    return replace(one, kind=question_type(question)) if one.text.strip() else "empty answer in the row"


def _class_round(one: Question, question: str) -> Question | str:
    if one.choices or not one.text.strip():
        return one if one.text.strip() else "empty answer in the row"
    return replace(one, choices=read_rounds("classification", (Round(question, one.text),)).choices)


def _grounding_round(one: Question, _: str) -> Question | str:
    boxes = [enclosing(place.numbers) for place in read_places(one.text) if place.kind != "point"]
    if not boxes:
        return "box of the row cannot be read"
    return replace(one, gold=_pixels(np.array(boxes, dtype=np.float64), one))


def _detection_round(one: Question, question: str) -> Question | str:
    places = [place for place in read_places(one.text) if place.kind != "point"]
    if not places and not _NO_OBJECTS.search(one.text):
        return "box of the row cannot be read"
    asked = asked_class(question).casefold()
    oriented = any(place.kind == "polygon" for place in places) or "oriented" in question
    boxes = corners_of(places) if oriented else boxes_of(places)
    labels = tuple((place.label or asked).casefold() for place in places)
    return replace(one, gold=Objects(labels, _pixels(boxes, one), oriented, asked))


_ROUNDS = {
    "vqa": _vqa_round,
    "classification": _class_round,
    "grounding": _grounding_round,
    "detection": _detection_round,
}


def boxes_of(places: Sequence[Place]) -> NDArray[np.float64]:
    """The boxes around places, shape (N, 4)."""
    return np.array([enclosing(place.numbers) for place in places], dtype=np.float64).reshape(-1, 4)


def corners_of(places: Sequence[Place]) -> NDArray[np.float64]:
    """The corners of places, shape (N, 8)."""
    rows = [
        place.numbers
        if place.kind == "polygon"
        else tuple(place.numbers[i] for i in (0, 1, 2, 1, 2, 3, 0, 3))
        for place in places
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 8)


def _pixels(boxes: NDArray[np.float64], one: Question) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = convert(boxes, one.frame, Frame.PIXEL, one.width, one.height)
    return moved


def _gold(row: dict[str, Any], task: str, choices: tuple[str, ...], frame: Frame) -> Any:  # noqa: ANN401 - by task
    answer = row["answer"]
    if task in {"scene", "recognition", "security"}:
        letters = [letter for letter, _ in options(answer)]
        if not letters:
            raise ValueError("it names no option")
        positions = frozenset(ord(letter) - ord("A") for letter in letters)
        if max(positions) >= len(choices):
            raise ValueError(f"there are {len(choices)} options")
        return positions
    if task == "relationship":
        return {"yes": True, "no": False}[answer]
    if task == "grounding":
        return np.array(row["objects"]["box"], dtype=np.float64).reshape(-1, 4)
    if task == "location":
        points = np.array(json.loads(answer), dtype=np.float64).reshape(-1, 2)
        if frame is Frame.PIXEL:
            points = np.array(row["objects"]["point"], dtype=np.float64).reshape(-1, 2)
        return convert(points, frame, Frame.PER_MILLE, row["width"], row["height"])
    return int(answer)
