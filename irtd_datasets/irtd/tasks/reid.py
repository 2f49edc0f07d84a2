"""Re-ID: which of the crops 2 to 8 of a 2x4 mosaic shows the person of crop 1 (upper left)."""

from __future__ import annotations

from irtd_datasets.irtd.tasks.reading import TaskReading, unexpected

__all__ = ["ORDINALS", "read"]

ORDINALS = tuple(str(number) for number in range(2, 9))
"""Possible answers; the crops are numbered row by row from 1, which is the query."""


def read(question: str, answer: str) -> TaskReading:
    """Read a mosaic question; the answer is an ordinal number from 2 to 8."""
    if answer.strip() not in ORDINALS:
        raise unexpected("answer", answer, f"one of {', '.join(ORDINALS)}")
    return TaskReading(question=question.strip(), answer=answer.strip())
