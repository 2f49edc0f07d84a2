"""How many records of each task come from which source.

The paper gives 37K rows for nine tasks and no numbers below that (its appendix on the construction was not found), so
the division in ``targets.csv`` is chosen here: by what the test and validation parts of the named sources can give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from irtd_datasets.sources import SourceRow

__all__ = ["OTHER_SOURCES", "TOTAL", "Target", "targets", "wanted"]

TOTAL = 37_000
"""Rows of the benchmark when all its sources are present (paper, section 1: "37K+ test samples")."""

OTHER_SOURCES = 300
"""Most rows of a task from each source that the table does not name; they are not part of the 37,000."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one source is to give to one task.

    Attributes:
        task: Name from the task vocabulary.
        source: Name in the table of sources.
        rows: Most records.
        splits: Splits of the source that they are taken from; ``all`` for every image. Of a source that does not
            divide itself one fifth is taken, unless it is ``all``.
        view: ``ground`` or ``aerial``.
        reason: Why so many.
        listed: Whether it stands in the table.
    """

    task: str
    source: str
    rows: int
    splits: tuple[str, ...]
    view: str
    reason: str = ""
    listed: bool = True


@lru_cache(maxsize=1)
def targets() -> tuple[Target, ...]:
    """The table, in its order.

    Example:
        >>> sum(target.rows for target in targets()) == TOTAL
        True
    """
    return tuple(
        Target(
            row["task"],
            row["source"],
            int(row["rows"]),
            tuple(row["splits"].split()) or ("test", "validation"),
            row["view"],
            row["reason"],
        )
        for row in read_table("irtd_datasets.construct", "targets.csv")
    )


def wanted(row: SourceRow, tasks: tuple[str, ...], *, others: bool) -> dict[str, Target]:
    """What a source is to give, by task.

    Args:
        row: The source.
        tasks: The tasks asked for.
        others: Whether a source gives to tasks for which the table does not name it.

    A source that the table does not name gives its test and validation parts; one that has scenes alone and no division
    gives all its images, as RGBNIR does in the table, since nothing is trained on it.
    """
    found = {
        target.task: target for target in targets() if target.source == row.name and target.task in tasks
    }
    if not others or any(target.source == row.name for target in targets()):
        return found
    view = "aerial" if "aerial_counting" in row.tasks else "ground"
    undivided = not row.splits and "{split" not in row.infrared
    splits = ("all",) if undivided and set(row.tasks) <= {"scene", "caption"} else ("test", "validation")
    return {
        task: Target(task, row.name, OTHER_SOURCES, splits, view, listed=False)
        for task in tasks
        if task in row.tasks
    }
