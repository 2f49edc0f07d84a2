"""A fair sample of a dataset folder's rows: counts of all rows, and a seeded choice balanced over tasks and sources.

The counts come from the columns of short text, read one row group at a time. Images are read only in the row groups
that hold a chosen row, so that memory is that of one row group, whatever the size of the folder.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.row_groups import RowGroupRef, folder_files, read_groups
from irtd_datasets.schema import FIELDS, MAY_BE_MISSING, MODALITIES, TASKS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

__all__ = ["Chosen", "Survey", "choose", "read_chosen", "survey"]

_TEXT = ("task", "source", "modality", "issues", "image.path")
_SPARE = 4
"""Candidates kept for each place of a stratum, so that rows of one image can make way for those of another."""


class Stratum(NamedTuple):
    """What rows are balanced over."""

    task: str
    source: str
    split: str


class Chosen(NamedTuple):
    """A row that was drawn.

    Attributes:
        draw: Its random number; the smallest of a stratum win.
        group: The row group that holds it.
        row: Its position there.
        task: Its task.
        split: Its split.
        image: Name of its image.
    """

    draw: float
    group: RowGroupRef
    row: int
    task: str
    split: str
    image: str


class Smallest:
    """The rows with the smallest random numbers of all that were added.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[Chosen] = []
        self.bound = math.inf
        """A row whose number is not below this one has no chance."""

    def add(self, row: Chosen) -> None:
        """Add a row; twice as many as wanted are held before those too many are forgotten."""
        self._rows.append(row)
        if len(self._rows) == 2 * self._limit:
            self._rows = self.ordered()
            self.bound = self._rows[-1].draw

    def ordered(self) -> list[Chosen]:
        """The rows, the smallest number first."""
        return sorted(self._rows, key=lambda one: one.draw)[: self._limit]


@dataclass(slots=True)
class Survey:
    """What the rows of a folder are, counted, with candidates for a sample.

    Attributes:
        rows: All rows.
        strata: Rows by task, source and split.
        modalities: Rows by kind of sensor.
        issues: Rows by issue code.
        row_groups: Row groups looked at.
        candidates: Rows of each stratum that may be chosen.
        with_issue: Rows of each issue that may be.
    """

    rows: int = 0
    strata: Counter[Stratum] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    issues: Counter[str] = field(default_factory=Counter)
    row_groups: int = 0
    candidates: dict[Stratum, Smallest] = field(default_factory=dict)
    with_issue: dict[str, Smallest] = field(default_factory=dict)

    def counts(self, what: str) -> Counter[str]:
        """Rows by ``task``, ``source`` or ``split``, in the order first seen."""
        found: Counter[str] = Counter()
        for stratum, count in self.strata.items():
            found[getattr(stratum, what)] += count
        return found


def survey(
    folder: str | os.PathLike[str],
    configs: Sequence[str] = (),
    *,
    splits: Sequence[str] = (),
    rows: int = 120,
    seed: int = 0,
) -> Survey:
    """Count the rows of a folder and draw candidates.

    Args:
        folder: A dataset folder.
        configs: Its configs; none means all. Files that several configs share count once.
        splits: Its splits; none means all.
        rows: Rows that are to be chosen later.
        seed: Of the draw. A row's random number depends on the seed and its place, not on what else is read.

    Raises:
        ReleaseNotFoundError: There is no dataset folder, or files are missing.
        UnknownNameError: There is no such config or split.
        AnnotationError: A file is damaged or has other columns.
    """
    files = folder_files(folder, configs)
    present = dict.fromkeys(files.values())
    for split in splits:
        if split not in present:
            raise UnknownNameError(
                f"there is no split {split!r}",
                where=str(folder),
                remedy=f"The splits are {', '.join(present)}.",
            )
    found = Survey()
    root = Path(folder).resolve()
    for file, split in files.items():
        if not splits or split in splits:
            place = f"{seed}/{file.resolve().relative_to(root).as_posix()}"
            for group, table in read_groups([file], _TEXT):
                _count(found, table, split)
                _draw(found, group, table, split, rows, zlib.crc32(f"{place}/{group.index}".encode()))
    return found


def _names(numbers: Iterable[int | None], names: Sequence[str]) -> list[str]:
    return [
        "unknown" if number is None else names[number] if 0 <= number < len(names) else str(number)
        for number in numbers
    ]


def _count(found: Survey, table: pa.Table, split: str) -> None:
    found.rows += table.num_rows
    found.row_groups += 1
    pairs = table.group_by(["task", "source"]).aggregate([([], "count_all")]).to_pydict()
    tasks = _names(pairs["task"], TASKS)
    for task, source, count in zip(tasks, pairs["source"], pairs["count_all"], strict=True):
        found.strata[Stratum(task, source or "unknown", split)] += count
    for entry in pc.value_counts(table["modality"]).to_pylist():
        (name,) = _names([entry["values"]], MODALITIES)
        found.modalities[name] += entry["counts"]
    for entry in pc.value_counts(pc.list_flatten(table["issues"])).to_pylist():
        found.issues[entry["values"]] += entry["counts"]


def _draw(found: Survey, group: RowGroupRef, table: pa.Table, split: str, rows: int, seed: int) -> None:
    """Offer the rows of a row group to the candidates of their stratum and of their issues."""
    draws = np.random.default_rng(seed).random(table.num_rows).tolist()
    tasks = _names(table["task"].to_pylist(), TASKS)
    sources = table["source"].to_pylist()
    issues = table["issues"].to_pylist()
    images = table["image"].combine_chunks().field("path")
    for row, (draw, task, source, codes) in enumerate(zip(draws, tasks, sources, issues, strict=True)):
        stratum = Stratum(task, source or "unknown", split)
        lists = [found.candidates.setdefault(stratum, Smallest(rows * _SPARE))]
        lists += [found.with_issue.setdefault(code, Smallest(_SPARE)) for code in codes or ()]
        for kept in lists:
            if draw < kept.bound:
                kept.add(Chosen(draw, group, row, task, split, images[row].as_py() or ""))


def choose(found: Survey, rows: int) -> list[Chosen]:
    """Choose rows, balanced over tasks, within a task over sources, within a source over splits.

    Each known issue is shown as well, in up to a quarter of the places. Rows of an image that is shown already come
    last.

    Args:
        found: The survey, made for at least as many rows.
        rows: Rows to choose; all of them where there are fewer.
    """
    images: set[str] = set()
    special: dict[tuple[RowGroupRef, int], Chosen] = {}
    for code in sorted(found.with_issue)[: rows // 4]:
        flawed = found.with_issue[code].ordered()
        one = next((one for one in flawed if one.image not in images), flawed[0])
        images.add(one.image)
        special[one.group, one.row] = one
    tree: dict[str, dict[str, list[Iterable[Chosen]]]] = {}
    for stratum, candidates in sorted(found.candidates.items()):
        waiting = _new_images_first(candidates.ordered(), images)
        tree.setdefault(stratum.task, {}).setdefault(stratum.source, []).append(waiting)
    by_task = [_in_turn([_in_turn(splits) for splits in sources.values()]) for sources in tree.values()]
    others = (one for one in _in_turn(by_task) if (one.group, one.row) not in special)
    return _spread(list(islice(others, max(0, rows - len(special)))), list(special.values()))


def _new_images_first(rows: Iterable[Chosen], shown: set[str]) -> Iterator[Chosen]:
    """Rows in order, those of an image that was shown meanwhile, in this list or another, at the end."""
    later = []
    for one in rows:
        if one.image in shown:
            later.append(one)
        else:
            shown.add(one.image)
            yield one
    yield from later


def _in_turn(lists: Sequence[Iterable[Chosen]]) -> Iterator[Chosen]:
    """One of each list, again and again, until all are used up."""
    waiting = deque(iter(one) for one in lists)
    while waiting:
        one = waiting.popleft()
        for value in one:
            yield value
            waiting.append(one)
            break


def _spread(rows: list[Chosen], between: list[Chosen]) -> list[Chosen]:
    """Put the second list evenly between the first."""
    step = max(1, len(rows) // (len(between) + 1))
    result = []
    waiting = deque(between)
    for index, one in enumerate(rows, 1):
        result.append(one)
        if index % step == 0 and waiting:
            result.append(waiting.popleft())
    return [*result, *waiting]


def read_chosen(chosen: Sequence[Chosen]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read rows with their images, each row group once.

    Yields:
        The row's position in ``chosen`` and the row, in the order in which they lie on disk.

    Raises:
        AnnotationError: A file is damaged or has other columns.
    """
    by_group: dict[RowGroupRef, list[tuple[int, int]]] = {}
    for position, one in enumerate(chosen):
        by_group.setdefault(one.group, []).append((position, one.row))
    for group in sorted(by_group, key=lambda group: (str(group.file), group.index)):
        table = group.read([name for name in FIELDS if name not in MAY_BE_MISSING], optional=MAY_BE_MISSING)
        for position, row in sorted(by_group[group], key=lambda pair: pair[1]):
            yield position, {**dict.fromkeys(FIELDS), **table.slice(row, 1).to_pylist()[0]}
