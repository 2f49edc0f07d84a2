"""Rows of IR-TD read once more, with the same text or another one; see `irtd_datasets.rows.rereading`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.irtd.corrections import AMBIGUOUS, ISSUE
from irtd_datasets.irtd.tasks import PARSERS, counting, dialogue, grounding, location, relationship, security
from irtd_datasets.irtd.tasks.parsing import unexpected
from irtd_datasets.rows.pending import PendingRow
from irtd_datasets.rows.rereading import facts_of, rounds_of
from irtd_datasets.schema import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.irtd.tasks.parsing import Parser, TaskReading
    from irtd_datasets.rows.pending import Message
    from irtd_datasets.rows.rereading import Rereader

__all__ = ["rereaders"]


def rereaders(row: Mapping[str, Any]) -> list[Rereader]:
    """The ways in which a row of IR-TD may have been read: as a released record, or as a constructed one."""
    task = TASKS[row["task"]]
    if task in dialogue.DIALOGUES:
        return [partial(_talk, row)]
    released = PARSERS.get(task)
    if released is None:
        return []
    size = (row["width"], row["height"])
    readers: dict[str, Parser] = {
        "grounding": partial(grounding.read, size=size, released=False),
        "location": partial(location.read, size=size),
        "relationship": partial(relationship.read, released=False),
        "security": partial(security.read, labelled=frozenset()),
        "aerial_counting": counting.read,
    }
    constructed = readers.get(task, released)
    found = [released, constructed]
    if task == "grounding":
        found.append(partial(grounding.read, size=size))
    return [partial(_record, row, parser, constructed) for parser in found]


def _talk(row: Mapping[str, Any], messages: Sequence[Message]) -> PendingRow:
    rounds_of(messages)
    return PendingRow(messages=tuple(messages), **facts_of(row))


def _record(
    row: Mapping[str, Any], parser: Parser, of_people: Parser, messages: Sequence[Message]
) -> PendingRow:
    """The row with these messages; what is known to be wrong with released answers is not so of a person's."""
    ((question, answer),) = _one_round(messages)
    old_question, old_answer = (one["content"] for one in row["messages"])
    changed = answer != old_answer
    parsed = (of_people if changed else parser)(question, answer)
    issues, corrections = parsed.issues, parsed.corrections
    if changed and TASKS[row["task"]] == "location":
        _check_points(question, parsed)
    if AMBIGUOUS in row["issues"] and question == old_question:
        issues = (*issues, AMBIGUOUS)
    if ISSUE in issues and question != old_question:
        raise RecordError("its box is known to be another object's: mend the box, too", code=ISSUE)
    facts = {**facts_of(row), "issues": issues, "corrections": corrections}
    return parsed.as_row(question, answer, **facts)


def _one_round(messages: Sequence[Message]) -> list[tuple[str, str]]:
    rounds = rounds_of(messages)
    if len(rounds) != 1:
        raise RecordError(f"it has {len(rounds)} rounds, expected one", code="turn-count")
    return rounds


def _check_points(question: str, parsed: TaskReading) -> None:
    """Refuse points of another class than is asked for, and such as are not in the order that is asked for."""
    (regions,) = parsed.regions
    if f" {regions.labels[0]} from left to right" not in question:
        raise unexpected("answer", str(regions.labels[0]), f"the class of the question, {question.strip()!r}")
    points = list(regions.numbers)
    if [x for x, _ in points] != sorted(x for x, _ in points):
        raise unexpected("answer", str(points), "points from left to right")
