"""How many records of each task come from which source.

For `instruct` each source gives at most as many records of a task as the release has of it. For the benchmark the paper
gives 37K rows for nine tasks and no numbers below that (its appendix on the construction was not found), so the
division in ``targets.csv`` is chosen here: by what the test and validation parts of the named sources can give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks.dialogue import DIALOGUES
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from irtd_datasets.sources import SourceRow

__all__ = ["OTHER_SOURCES", "TOTAL", "Target", "instructed", "targets", "training_rows", "wanted"]

TOTAL = 37_000
"""Rows of the benchmark when all its sources are present (paper, section 1: "37K+ test samples")."""

OTHER_SOURCES = 300
"""Most rows of a task from each source that the table does not name; they are not part of the 37,000."""


SCENES = 1_000
"""Most rows of Scene for training from each source; the release has none."""

DESCRIBED = 10_000
"""Most images of each source that a language model is asked about for `instruct`; the paper gives no number."""


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


def training_rows(task: str) -> int:
    """Most records of a task of `instruct` from each source: those that the release has, where it has any.

    Example:
        >>> training_rows("reid"), training_rows("scene"), training_rows("conversation")
        (3733, 1000, 10000)
    """
    released = SPEC.part("instruct", task).records
    return released if released is not None else DESCRIBED if task in DIALOGUES else SCENES


def instructed(row: SourceRow, tasks: tuple[str, ...], *, others: bool) -> dict[str, Target]:
    """What a source is to give to `instruct`, by task.

    Its splits are those that the benchmark takes, so that all others are for training.

    Args:
        row: The source.
        tasks: The tasks asked for; of `DIALOGUES` the first stands for the images that a model is asked about.
        others: As `wanted`.
    """
    held = wanted(row, tuple(row.tasks), others=True)
    listed = any(target.source == row.name for target in targets())
    if not (listed or others):
        return {}
    aerial = "aerial" if "aerial_counting" in row.tasks else "ground"
    splits, view = next(
        ((target.splits, target.view) for target in held.values()), (("test", "validation"), aerial)
    )
    fed = (
        {*row.tasks, *DIALOGUES[:1]} if {"caption", "captioning", *_PLACED} & set(row.tasks) else {*row.tasks}
    )
    return {
        task: Target(task, row.name, training_rows(task), splits, view, listed=listed)
        for task in tasks
        if task in fed
    }


_PLACED = ("grounding", "location", "relationship", "security", "aerial_counting", "pedestrian_counting")
"""Tasks whose sources say what is in an image, so that a model can be told."""
