"""What names tell: split, task, component and origin, from the tables beside this module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from irtd_datasets.annotations.outline import outline_of
from irtd_datasets.boxes import parse_boxes
from irtd_datasets.rows.frame_report import has_boxes
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from irtd_datasets.annotations.outline import RecordOutline

__all__ = [
    "Derivative",
    "FileRules",
    "derivative_of",
    "foreign_image",
    "rules_for",
    "source_of",
    "split_of",
    "task_of",
]

_PACKAGE = "irtd_datasets.rs_gpt4v"
_SHORT = 5
"""Most words of a short answer: counts, classes, yes and no, "0.35 square kilometres"."""


@dataclass(frozen=True, slots=True)
class Derivative:
    """What a file is that others made from RS-GPT4V.

    Attributes:
        origin: What it is.
        refused: Whether it is read on request only.
        meaning: Why it is not RS-GPT4V.
    """

    origin: str
    refused: bool
    meaning: str


@cache
def _table(name: str) -> tuple[dict[str, str], ...]:
    return tuple(read_table(_PACKAGE, name))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


@cache
def _word(text: str) -> re.Pattern[str]:
    """The pattern as a whole word of a path, where words end at everything but letters."""
    return re.compile(rf"(?<![a-z])(?:{text})(?![a-z])", re.IGNORECASE)


def split_of(path: str) -> str | None:
    """Split that the name of an annotation file, or else the nearest of its folders, names; None when none does.

    Example:
        >>> split_of("RS-GPT4V/test/RSICD.jsonl"), split_of("rs_gpt4v_train_991k.json"), split_of("all.json")
        ('test', 'train', None)
    """
    for part in reversed(path.split("/")):
        named = {row["split"] for row in _table("splits.csv") if _word(row["pattern"]).search(part)}
        if len(named) == 1:
            return named.pop()
    return None


def task_of(path: str) -> str | None:
    """Task that the name of an annotation file tells; None when it tells none, or several.

    Example:
        >>> task_of("test/NWPU-Captions.jsonl"), task_of("Conversation_Complex_Reasoning.jsonl")
        ('captioning', None)
    """
    stem = path.rpartition("/")[2].partition(".")[0]
    rows = (row for row in _table("tasks.csv") if row["kind"] == "file")
    named = {row["task"] for row in rows if _pattern(row["pattern"]).search(stem)}
    return named.pop() if len(named) == 1 else None


def source_of(*names: str) -> str | None:
    """Component that the first of several names tells, such as an image's and its annotation file's.

    Example:
        >>> source_of("images/RSVQA_LR/Images_LR/12.tif"), source_of("images/12.tif", "test/RSICD.jsonl")
        ('RSVQA-LR', 'RSICD')
        >>> source_of("images/12.tif") is None
        True
    """
    for name in names:
        for row in _table("sources.csv"):
            if _word(row["pattern"]).search(name):
                return row["source"]
    return None


def derivative_of(path: str) -> Derivative | None:
    """What a file is by its name, when it is not the authors' own.

    Example:
        >>> derivative_of("json/RS-GPT4V_EarthGPT.json").refused
        True
    """
    folder, _, name = path.rpartition("/")
    for row in _table("derivatives.csv"):
        where = {"name": name, "folder": folder}.get(row["kind"])
        if where is not None and _pattern(row["pattern"]).search(where):
            return Derivative(row["origin"], row["action"] == "refuse", row["meaning"])
    return None


def foreign_image(image: str) -> Derivative | None:
    """What a file is that names this image, when no image of RS-GPT4V has such a name.

    Example:
        >>> foreign_image("data/detection/SARV2/1.png").origin
        'RS-GPT4V merged with MMRS-1M'
        >>> foreign_image("DIOR-RSVG/JPEGImages/00001.jpg") is None
        True
    """
    for row in _table("derivatives.csv"):
        if row["kind"] == "image" and _pattern(row["pattern"]).search(image):
            return Derivative(row["origin"], row["action"] == "refuse", row["meaning"])
    return None


@dataclass(frozen=True, slots=True)
class FileRules:
    """How the records of one file are told apart; the same on every reading.

    Attributes:
        split: Split that its name tells.
        task: Task that its name tells.
    """

    split: str | None
    task: str | None

    def classify(self, record: Mapping[str, object]) -> tuple[str, str, str] | None:
        """Split and task of a record, and the rule that gave the task; None for no record of this dataset.

        Example:
            >>> rules = rules_for("all.json")
            >>> rules.classify({"question_id": 1, "text": "Is there a road?", "answer": "yes", "image": "1.tif"})
            ('test', 'vqa', 'every answer has at most five words')
        """
        seen = outline_of(record)
        return None if seen is None else self.place(record, seen)

    def place(self, record: Mapping[str, object], seen: RecordOutline) -> tuple[str, str, str] | None:
        """As `classify`, for a record that was looked at already."""
        if seen.form == "caption" or not seen.questions:
            return None
        stated = record.get("split")
        split = split_of(stated) if isinstance(stated, str) else None
        split = split or self.split or ("train" if seen.form == "conversation" else "test")
        if self.task is not None:
            return split, self.task, "the name of the file"
        return (split, *_task(seen))


def rules_for(path: str) -> FileRules:
    """The rules for the annotation file at a path below the release."""
    return FileRules(split_of(path), task_of(path))


def _task(seen: RecordOutline) -> tuple[str, str]:
    for holds, task, meaning in _record_rules():
        if holds(seen):
            return task, meaning
    raise AssertionError("the last row of tasks.csv holds for every record")  # a test reads the table


@cache
def _record_rules() -> tuple[tuple[Callable[[RecordOutline], bool], str, str], ...]:
    """The rules for single records in the order of the table."""
    rows = (row for row in _table("tasks.csv") if row["kind"] != "file")
    return tuple((_rule(row["kind"], row["pattern"]), row["task"], row["meaning"]) for row in rows)


def _rule(kind: str, pattern: str) -> Callable[[RecordOutline], bool]:
    if kind == "category":
        matches = _pattern(pattern).fullmatch
        return lambda seen: bool(seen.category) and matches(seen.category) is not None
    if kind == "question":
        search = _pattern(pattern).search
        return lambda seen: all(map(search, seen.questions))
    return _SHAPES[pattern]


def _has_box(text: str) -> bool:
    return has_boxes(text) and bool(parse_boxes(text).spans)


_SHAPES: dict[str, Callable[[RecordOutline], bool]] = {
    "answer-box": lambda seen: any(map(_has_box, seen.answers)),
    "question-box": lambda seen: any(map(_has_box, seen.questions)),
    "short-answers": lambda seen: all(len(answer.split()) <= _SHORT for answer in seen.answers),
    "several-rounds": lambda seen: len(seen.questions) > 1,
    "one-round": lambda seen: True,  # noqa: ARG005 - one signature for all
}
