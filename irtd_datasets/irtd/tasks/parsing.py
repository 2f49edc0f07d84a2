"""What a task's parser returns, and the option grammar that several tasks share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.rows.pending import Message, PendingRow

if TYPE_CHECKING:
    from irtd_datasets.rows.pending import Correction, Regions

__all__ = ["Parser", "TaskReading", "options", "split_options", "unexpected"]


@dataclass(slots=True)  # not frozen, which makes it slower to make; nobody changes one
class TaskReading:
    """What one task makes of one question and its answer.

    Attributes:
        question: The question without its options, known slips of the template mended.
        answer: The answer without markup.
        choices: Options in letter order.
        regions: Places that the answer names, in the frame of the text.
        issues: Codes for the row's ``issues``.
        quirks: Codes of file-wide defects that the record shows.
        corrections: Right values that are certain.
    """

    question: str | None
    answer: str | None
    choices: tuple[str, ...] = ()
    regions: tuple[Regions, ...] = ()
    issues: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()

    def as_row(self, question: str, answer: str, **facts: Any) -> PendingRow:  # noqa: ANN401 - fields of the row
        """The row of a record with these texts; ``facts`` are what the reading does not say, or otherwise."""
        messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
        return PendingRow(messages=messages, **{**dict(zip(_READ, _read(self), strict=True)), **facts})


_READ = tuple(field.name for field in fields(TaskReading))
_read = attrgetter(*_READ)


Parser = Callable[[str, str], TaskReading]
"""Question and answer as released, without the image token, to a reading; raises `RecordError`."""

_OPTION = re.compile(r"\(([A-Z])\) ([^(\n]+?)(?= \(|$)")


def options(text: str) -> list[tuple[str, str]]:
    """Letters and words of a line of options.

    Example:
        >>> options("(A) scooter (B) other vehicle (D) hydrant")
        [('A', 'scooter'), ('B', 'other vehicle'), ('D', 'hydrant')]
    """
    return _OPTION.findall(text)


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    r"""Separate the question from its line of options, which must be lettered A, B, C, ... without a gap.

    Raises:
        RecordError: There is no line of options, or its letters have a gap.

    Example:
        >>> split_options("What is it?\n(A) cat (B) dog")
        ('What is it?', ('cat', 'dog'))
    """
    stem, _, line = question.partition("\n")
    found = options(line)
    if [letter for letter, _ in found] != [chr(ord("A") + i) for i in range(len(found))] or len(found) < 2:
        raise unexpected(
            "question", question, "a question, a new line, and options (A) .. (B) .. in letter order"
        )
    return stem.strip(), tuple(word for _, word in found)


def unexpected(part: str, text: str, expected: str) -> RecordError:
    """The error for a text that does not follow its task's template."""
    shown = text if len(text) <= 120 else text[:117] + "..."
    return RecordError(f"the {part} is {shown!r}; expected {expected}", code=f"{part}-template")
