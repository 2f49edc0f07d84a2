"""A part of the rows of a dataset folder: by task, source, sensor and known issues, and a number of them by chance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from irtd_datasets.curation.places import open_place
from irtd_datasets.errors import UnknownNameError, did_you_mean
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.schema import MODALITIES, TASKS
from irtd_datasets.training.source import Filters
from irtd_datasets.writing.rewrite import Rewriting, rewrite

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredFolder, StoredShard
    from irtd_datasets.writing.progress import Progress
    from irtd_datasets.writing.rewrite import RewriteReport

__all__ = ["subset"]

_REASONS = (
    "of another task",
    "of another source",
    "of another sensor",
    "has a known issue",
    "not drawn",
)
_LABELS = {"task": TASKS, "modality": MODALITIES}


def subset(  # noqa: PLR0913 - each is an option of the command
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tasks: Sequence[str] = (),
    sources: Sequence[str] = (),
    modalities: Sequence[str] = (),
    without_issues: bool | Sequence[str] = False,
    rows: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> RewriteReport:
    """Make a dataset folder of some rows of another.

    Args:
        place: ``FOLDER`` or ``FOLDER:CONFIG``.
        out: The folder to make.
        tasks: Names of tasks; none takes all.
        sources: Names of component datasets; none takes all.
        modalities: Names of sensors; none takes all.
        without_issues: True for rows without a known issue, or the codes of which a row may have none.
        rows: How many to draw of those that are left; None takes all. Which ones depends on the seed and their ids
            alone, so that a larger number has the rows of a smaller one.
        seed: Of the draw.
        progress: Told what goes on.

    Raises:
        UnknownNameError: There is no such config, task, source or sensor.
        ReleaseNotFoundError: There is no dataset folder.
        BuildError: No row is left, or the folder cannot be written.
    """
    parent = open_place(place)
    _check_labels("task", tasks, TASKS)
    _check_labels("modality", modalities, MODALITIES)
    _check_sources(parent, sources)
    filters = [
        Filters.of(tasks=tasks or None),
        Filters.of(sources=sources or None),
        Filters.of(modalities=modalities or None),
        Filters.of(without_issues=without_issues),
    ]
    verdicts = {shard.name: _filter(shard, filters) for shard in parent.shards}
    notes = _draw(parent, verdicts, rows, seed) if rows is not None else ()
    words = [
        *(f"--task {','.join(tasks)}" for _ in tasks[:1]),
        *(f"--source {','.join(sources)}" for _ in sources[:1]),
        *(f"--modality {','.join(modalities)}" for _ in modalities[:1]),
        *(["--without-issues"] if without_issues is True else []),
        *([f"--without-issues {','.join(without_issues)}"] if not isinstance(without_issues, bool) else []),
        *([f"--rows {rows} --seed {seed}"] if rows is not None else []),
    ]
    how = Rewriting(
        " ".join(["subset", *words]), lambda _, shard: verdicts[shard.name], _REASONS, notes=notes
    )
    return rewrite([parent], out, how, progress=progress)


def _check_labels(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UnknownNameError(
                f"there is no {what} {name!r}",
                remedy=f"{did_you_mean(name, known)}Known: {', '.join(known)}.",
            )


def _check_sources(parent: StoredFolder, wanted: Sequence[str]) -> None:
    if not wanted:
        return
    known: Counter[str | None] = Counter()
    for shard in parent.shards:
        for entry in shard.facts["source"].value_counts():
            known[entry["values"].as_py()] += entry["counts"].as_py()
    names = sorted(name for name in known if name is not None)
    for name in wanted:
        if name not in known:
            raise UnknownNameError(
                f"no row is of the source {name!r}",
                where=parent.name,
                remedy=f"{did_you_mean(name, names)}Its sources are {', '.join(names) or 'not named'}.",
            )


def _filter(shard: StoredShard, filters: Sequence[Filters]) -> NDArray[np.int16]:
    facts = shard.facts
    verdict = np.zeros(shard.rows, np.int16)
    for number, one in enumerate(filters):
        if one.columns:
            verdict[(verdict == 0) & ~one.mask(facts, _LABELS)] = -1 - number
    shard.forget()
    return verdict


def _draw(
    parent: StoredFolder, verdicts: dict[str, NDArray[np.int16]], rows: int, seed: int
) -> tuple[str, ...]:
    """Leave out all but some of the rows that are left, and say so where there are fewer."""
    keys, places = [], []
    for shard in parent.shards:
        left = np.flatnonzero(verdicts[shard.name] == 0)
        ids = pc.take(shard.column("id"), left).to_pylist() if len(left) else []
        keys.append(np.array([int.from_bytes(draw_key(seed, one), "big") for one in ids], np.uint64))
        places.append(left)
    whole = np.concatenate([np.empty(0, np.uint64), *keys])
    if len(whole) <= rows:
        return (
            (f"{len(whole):,} rows are left, fewer than the {rows:,} asked for",) if len(whole) < rows else ()
        )
    last = np.partition(whole, rows - 1)[rows - 1]
    for shard, own, left in zip(parent.shards, keys, places, strict=True):
        verdicts[shard.name][left[own > last]] = -1 - _REASONS.index("not drawn")
    return ()
