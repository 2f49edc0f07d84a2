"""Rows of MMRS-1M read once more, with the same text or another one; see `irtd_datasets.rows.rereading`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from irtd_datasets.mmrs_1m.records import Round, read_rounds
from irtd_datasets.rows.pending import PendingRow
from irtd_datasets.rows.rereading import facts_of, rounds_of
from irtd_datasets.schema import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.rows.pending import Message
    from irtd_datasets.rows.rereading import Rereader

__all__ = ["rereaders"]


def rereaders(row: Mapping[str, Any]) -> list[Rereader]:
    """The one way in which the rounds of a record are read."""
    return [partial(_record, row, TASKS[row["task"]])]


def _record(row: Mapping[str, Any], task: str, messages: Sequence[Message]) -> PendingRow:
    parsed = read_rounds(task, [Round(*one) for one in rounds_of(messages)])
    return PendingRow(
        messages=tuple(messages),
        question=parsed.question,
        choices=parsed.choices,
        answer=parsed.answer,
        regions=parsed.regions,
        issues=parsed.issues,
        **facts_of(row),
    )
