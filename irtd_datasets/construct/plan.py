"""What a construction is asked, what it finds, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.construct.exclusion import LIKE_OTHER_SUBSET
from irtd_datasets.construct.targets import Target, targets
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.irtd.tasks import BENCHMARK_TASKS
from irtd_datasets.irtd.tasks.making import Rules

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.build.engine import BuildReport
    from irtd_datasets.construct.survey import Survey
    from irtd_datasets.sources import Source

__all__ = ["RULE_CAPTIONS", "Construction", "Gathering", "Options", "TaskResult"]

RULE_CAPTIONS = 106_000
"""Rule captions of the paper, about (section 3.2); not split by source."""


@dataclass(frozen=True)
class Options:
    """How a subset is constructed.

    Attributes:
        tasks: Tasks of the benchmark; all by default.
        rules: The choices of the tasks.
        seed: Of everything drawn.
        limit: Most records of each task; None for the targets.
        other_sources: Whether sources that the table of targets does not name give records, too.
        exclude: Further dataset folders none of whose training pictures may be in the benchmark.
        max_distance: Bits up to which a picture counts as one of another subset.
        table: A table of sources in addition to the library's own.
    """

    tasks: tuple[str, ...] = BENCHMARK_TASKS
    rules: Rules = field(default_factory=Rules)
    seed: int = 0
    limit: int | None = None
    other_sources: bool = True
    exclude: tuple[Path, ...] = ()
    max_distance: int = LIKE_OTHER_SUBSET
    table: Path | None = None

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in (*BENCHMARK_TASKS, "captioning"):
                raise UnknownNameError(
                    f"the benchmark has no task {task!r}",
                    remedy=f"Its tasks are {', '.join(BENCHMARK_TASKS)}.",
                )


@dataclass(slots=True)
class TaskResult:
    """What one source gave to one task.

    Attributes:
        target: What it was to give.
        candidates: Records that its labels allow, after the thinning of videos.
        chosen: Records taken.
        rejected: Candidates that were not taken, by reason.
    """

    target: Target
    candidates: int = 0
    chosen: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Gathering:
    """The candidates of all sources.

    Attributes:
        surveys: What each source can give.
        sources: The sources, opened.
        absent: Targets whose source is not there or cannot be read.
        problems: Sources that could not be read, with the reason.
    """

    surveys: list[Survey] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    wants: dict[str, dict[str, Target]] = field(default_factory=dict)
    absent: list[Target] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Construction:
    """What was constructed.

    Attributes:
        subset: The subset.
        results: For each task what each source gave.
        absent: Targets whose source is not there.
        left_out: For each source the pictures that were not asked about, by reason.
        problems: Sources that could not be read.
        label_problems: For each source what was not as it should be in its labels, by code.
        excluded: Dataset folders whose pictures were kept out.
        build: What the build did; None where nothing was built.
    """

    subset: str
    results: dict[str, list[TaskResult]]
    absent: list[Target]
    left_out: dict[str, Counter[str]]
    problems: dict[str, str]
    label_problems: dict[str, dict[str, int]]
    excluded: list[str]
    build: BuildReport | None = None

    def state(self, task: str) -> str:
        """``complete``, ``partial`` or ``absent``: whether a task has all records that the table of targets wants."""
        chosen = sum(one.chosen for one in self.results.get(task, ()))
        listed = sum(one.chosen for one in self.results.get(task, ()) if one.target.listed)
        if not chosen:
            return "absent"
        return "complete" if listed >= self.target(task) else "partial"

    def target(self, task: str) -> int:
        """Records that a task has when all listed sources are there."""
        if task == "captioning":
            return RULE_CAPTIONS
        return sum(target.rows for target in targets() if target.task == task)

    @property
    def rows(self) -> int:
        """Records of all tasks."""
        return sum(one.chosen for results in self.results.values() for one in results)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "subset": self.subset,
            "rows": self.rows,
            "tasks": {
                task: {
                    "state": self.state(task),
                    "target": self.target(task),
                    "rows": sum(one.chosen for one in results),
                    "sources": {
                        one.target.source: {
                            "target": one.target.rows,
                            "listed": one.target.listed,
                            "candidates": one.candidates,
                            "rows": one.chosen,
                            "rejected": dict(sorted(one.rejected.items())),
                        }
                        for one in results
                    },
                    "absent_sources": [t.source for t in self.absent if t.task == task],
                }
                for task, results in self.results.items()
            },
            "left_out": {name: dict(sorted(counts.items())) for name, counts in self.left_out.items()},
            "problems": self.problems,
            "label_problems": self.label_problems,
            "excluded": self.excluded,
            "folder": str(self.build.folder) if self.build else None,
        }
