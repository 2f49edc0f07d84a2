"""Conversation, detailed description and reasoning (instruct): texts of a language model about an image's labels.

The paper has question-answer pairs of a language model beside those of rules; none was released. Here they are made in
the manner of LLaVA's three prompts (arXiv 2304.08485, section 3) from the caption and the boxes of an image; nothing of
them is scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irtd_datasets.irtd.tasks.parsing import TaskReading
from irtd_datasets.rows.pending import Message, PendingRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.annotations.conversations import Turn

__all__ = ["DIALOGUES", "read", "row_of"]

DIALOGUES = ("conversation", "detailed_description", "reasoning")
"""The tasks; a record of them can have several rounds."""


def read(question: str, answer: str) -> TaskReading:  # noqa: ARG001 - the signature of every task's parser
    """A dialogue has no scored part."""
    return TaskReading(question=None, answer=None)


def row_of(turns: Sequence[Turn], **facts: Any) -> PendingRow:  # noqa: ANN401 - fields of the row
    """The row of a record with these turns; ``facts`` are its other fields."""
    messages = tuple(Message(role=turn.role, content=turn.text) for turn in turns)
    return PendingRow(messages=messages, rounds=sum(turn.role == "user" for turn in turns), **facts)
