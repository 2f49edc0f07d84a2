"""Stored rows read once more: what the rules by which a row was made read in its text, or in another one.

A row does not say which rules those were. So a dataset names the `Rereader` functions that may have made it, and
`read_again` believes the first that gives the row's own columns for the row's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.boxes import Frame
from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.images.files import ImageInfo, PreparedImage
from irtd_datasets.rows.llava import FileReading, TextFrame, read_record
from irtd_datasets.rows.pending import Message, PendingRow, finish
from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["READ", "Reread", "Rereader", "facts_of", "of_llava", "read_again", "rounds_of"]

Rereader: TypeAlias = Callable[[Sequence[Message]], PendingRow]
"""From the messages of a row to what is read in them; raises `RecordError` where they do not follow the rules."""

READ = ("question", "choices", "answer", "objects", "box_frame")
"""Columns that are read from the text."""

_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


@dataclass(frozen=True, slots=True)
class Reread:
    """How a row is read, and what is read in its own text.

    Attributes:
        read: From messages to columns; raises `RecordError`.
        before: The columns that the text of the row gives.
    """

    read: Callable[[Sequence[Message]], dict[str, Any]]
    before: dict[str, Any]


def read_again(row: Mapping[str, Any], rereaders: Iterable[Rereader]) -> Reread | None:
    """The way in which a row was read; None where none of these gives its own columns.

    Args:
        row: Its columns as stored.
        rereaders: The ways in question.
    """
    size = (row["width"], row["height"])
    info = ImageInfo("", "", *size, *size, 1, row["bit_depth"], 0)
    image = PreparedImage(b"", *size, row["bit_depth"], "", "", info)
    for reread in rereaders:

        def read(messages: Sequence[Message], reread: Rereader = reread) -> dict[str, Any]:
            pending = reread(messages)
            if [dict(one) for one in pending.messages] != [dict(one) for one in messages]:
                raise RecordError("it has blanks or an image token at its ends", code="record-form")
            return finish(pending, image)

        try:
            before = read([Message(role=one["role"], content=one["content"]) for one in row["messages"]])
        except IrtdDatasetsError:
            continue
        if all(_same(row[name], before[name]) for name in READ) and set(before["issues"]) <= set(
            row["issues"]
        ):
            return Reread(read, before)
    return None


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - values of a row
    if isinstance(one, dict):
        return one["label"] == other["label"] and all(
            _close(one[kind], other[kind]) for kind in other if kind != "label"
        )
    return bool(one == other or (not one and not other))


def _close(one: Sequence[Any] | None, other: Sequence[Any]) -> bool:
    one = one or []  # stored as float32
    return len(one) == len(other) and all(
        (left is None) == (right is None)
        and (
            left is None or (len(left) == len(right) and bool(np.allclose(left, right, rtol=1e-6, atol=1e-4)))
        )
        for left, right in zip(one, other, strict=True)
    )


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a `PendingRow` has and no text tells: from the row."""
    return {
        "id": row["id"],
        "image": "image",
        "task": TASKS[row["task"]],
        "modality": MODALITIES[row["modality"]],
        "source": row["source"],
    }


def rounds_of(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Questions with their answers.

    Raises:
        RecordError: Questions and answers do not take turns.
    """
    talk = [one for one in messages if one["role"] != "system"]
    if [one["role"] for one in talk] != ["user", "assistant"] * (len(talk) // 2) or not talk:
        raise RecordError("questions and answers do not take turns", code="turn-order")
    texts = [one["content"] for one in talk]
    return list(zip(texts[::2], texts[1::2], strict=True))


def of_llava(row: Mapping[str, Any]) -> list[Rereader]:
    """The ways in which a record in the style of LLaVA is read: as a conversation, or as a question of a test."""
    number = row["box_frame"]
    known = number is not None and BOX_FRAMES[number] != "unknown"
    facts = facts_of(row)
    reading = FileReading(
        row["id"],
        row["id"],
        facts["task"],
        TextFrame(Frame(BOX_FRAMES[number]) if known else None),
        facts["modality"],
    )

    def conversation(messages: Sequence[Message]) -> PendingRow:
        turns = [{"from": _SPEAKERS[one["role"]], "value": one["content"]} for one in messages]
        return read_record({"image": "image", "conversations": turns}, 0, reading)

    def question(messages: Sequence[Message]) -> PendingRow:
        asked, told = (one["content"] for one in messages)
        return read_record({"question_id": 0, "image": "image", "text": asked, "answer": told}, 0, reading)

    return [conversation, *([question] if len(row["messages"]) == 2 else [])]
