"""How a dataset is declared: frozen specifications, with the numbers that a reading is checked against.

A dataset's folder holds one `DatasetSpec` and its tables; only its parsing is code.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Literal

from irtd_datasets.errors import UnknownNameError

__all__ = ["DatasetSpec", "IssueSpec", "SubsetSpec", "TaskSpec", "read_table"]


def read_table(package: str, name: str) -> list[dict[str, str]]:
    """Read a CSV table that lies beside the code of ``package``, one dictionary a row."""
    with resources.files(package).joinpath(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of one subset: the file that holds its records and how many records were released.

    Attributes:
        task: Name from the task vocabulary.
        file: Name of the annotation file in the release.
        records: Records in the released file; None where nothing was released.
        image_dirs: Folders, as the records name them, that hold its pictures.
        title: The task's name in the paper.
    """

    task: str
    file: str
    records: int | None
    image_dirs: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class SubsetSpec:
    """One subset: a config of its own, with one more config for each of its tasks.

    Attributes:
        name: Config name, such as ``instruct``.
        split: Its only split.
        tasks: Its tasks, in the order in which the rows of the subset's config follow each other.
        order: ``by-image``: images in seeded random order, the rows of one image together;
            ``as-released``: the order of the annotation file (of the archive, when pictures come from one).
        summary: One sentence.
        available: What is public today and where.
    """

    name: str
    split: str
    tasks: tuple[TaskSpec, ...]
    order: Literal["by-image", "as-released"]
    summary: str
    available: str

    @property
    def records(self) -> int | None:
        """Released records of all tasks together; None when nothing was released."""
        known = [task.records for task in self.tasks if task.records is not None]
        return sum(known) if known else None

    def config_names(self) -> tuple[str, ...]:
        """The subset's own config and one per task (a single task adds none).

        Example:
            >>> from irtd_datasets.irtd.spec import SPEC
            >>> SPEC.subset("pretrain").config_names()
            ('pretrain',)
        """
        if len(self.tasks) == 1:
            return (self.name,)
        return (self.name, *(f"{self.name}-{task.task}" for task in self.tasks))


@dataclass(frozen=True, slots=True)
class IssueSpec:
    """A known defect of a release.

    Attributes:
        code: What stands in the ``issues`` column, or in the ledger alone when ``scope`` is ``file``.
        file: Annotation file that has it; empty when any file can.
        scope: ``row``: stands in ``issues`` of each row it concerns; ``file``: a property of the whole file, which
            would say nothing about a single row, so it is counted and documented only.
        kind: ``label`` (the label is wrong or suspect: what ``on_defect`` acts on), ``text`` (wording), ``caveat`` (a
            limit of what the label can mean), ``format`` (of the file).
        count: Records of the released file that have it; None where it depends on the user's copy.
        meaning: One sentence.
        evidence: How it is known.
    """

    code: str
    file: str
    scope: Literal["row", "file"]
    kind: Literal["label", "text", "caveat", "format"]
    count: int | None
    meaning: str
    evidence: str


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: its names, subsets, known defects, terms and the way to get it."""

    name: str
    title: str
    version: str
    release_notes: dict[str, str]
    modality: str
    summary: str
    paper: str
    homepage: str
    licence: str
    licence_id: str
    terms: str
    obtain: tuple[str, ...]
    not_released: tuple[str, ...]
    citation: str
    subsets: tuple[SubsetSpec, ...]
    issues: tuple[IssueSpec, ...]
    default_config: str

    def subset(self, name: str) -> SubsetSpec:
        """The subset called ``name``.

        Raises:
            UnknownNameError: No subset has that name.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        raise UnknownNameError(
            f"{self.name} has no subset {name!r}", remedy=f"Its subsets are {', '.join(s.name for s in self.subsets)}."
        )

    @cached_property
    def configs(self) -> dict[str, tuple[SubsetSpec, tuple[TaskSpec, ...]]]:
        """Every config name with its subset and the tasks it shows."""
        configs: dict[str, tuple[SubsetSpec, tuple[TaskSpec, ...]]] = {}
        for subset in self.subsets:
            own, *per_task = subset.config_names()
            configs[own] = (subset, subset.tasks)
            for name, task in zip(per_task, subset.tasks, strict=True):
                configs[name] = (subset, (task,))
        return configs

    def config(self, name: str) -> tuple[SubsetSpec, tuple[TaskSpec, ...]]:
        """Subset and tasks of the config called ``name``.

        Raises:
            UnknownNameError: No config has that name; the message lists them, the closest first.
        """
        if name in self.configs:
            return self.configs[name]
        import difflib

        close = difflib.get_close_matches(name, self.configs, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise UnknownNameError(
            f"{self.name} has no config {name!r}", remedy=f"{hint}Its configs are {', '.join(self.configs)}."
        )

    def issue(self, code: str) -> IssueSpec | None:
        """The issue called ``code``, None when the table has none."""
        return next((issue for issue in self.issues if issue.code == code), None)


def issues_from_table(package: str, name: str = "issues.csv") -> tuple[IssueSpec, ...]:
    """Read the table of known defects that lies beside a dataset's code."""
    return tuple(
        IssueSpec(
            code=row["code"],
            file=row["file"],
            scope="row" if row["scope"] == "row" else "file",
            kind=row["kind"],  # type: ignore[arg-type]  # a test compares the table with the Literal
            count=int(row["count"]) if row["count"] else None,
            meaning=row["meaning"],
            evidence=row["evidence"],
        )
        for row in read_table(package, name)
    )
