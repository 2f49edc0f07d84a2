"""The rows of several dataset folders in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from irtd_datasets.arrow import to_numpy
from irtd_datasets.curation.places import open_place
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.writing.rewrite import Rewriting, rewrite

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredFolder, StoredShard
    from irtd_datasets.writing.progress import Progress
    from irtd_datasets.writing.rewrite import RewriteReport

__all__ = ["SAME_ID", "merge"]

SAME_ID = "has the id of a row of an earlier folder"
"""Why a row is left out of a merge."""


def merge(
    places: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> RewriteReport:
    """Make a dataset folder of the rows of several folders of one dataset.

    A row whose id an earlier folder has already is left out and counted. Folders of older schemas are taken as well;
    the result has the columns of this version, and the report says which of them a folder has nothing in.

    Args:
        places: ``FOLDER`` or ``FOLDER:CONFIG``, at least two.
        out: The folder to make.
        progress: Told what goes on.

    Raises:
        UnknownNameError: One folder alone, folders of several datasets, or no such config.
        ReleaseNotFoundError: There is no dataset folder.
        BuildError: The folder cannot be written, or a parent has columns that this version does not know.
    """
    if len(places) < 2:
        raise UnknownNameError(
            "there is one folder, and nothing to merge it with",
            remedy="Name two or more; `irtd subset` makes a folder of one.",
        )
    parents = [open_place(place) for place in places]
    verdicts, notes = _same_ids(parents)

    def choose(number: int, shard: StoredShard) -> NDArray[np.int16]:
        return verdicts.get((number, shard.name), np.zeros(shard.rows, np.int16))

    return rewrite(parents, out, Rewriting("merge", choose, (SAME_ID,), notes=notes), progress=progress)


def _same_ids(
    parents: Sequence[StoredFolder],
) -> tuple[dict[tuple[int, str], NDArray[np.int16]], tuple[str, ...]]:
    """Rows whose id an earlier folder has; and whether they have other texts."""
    verdicts: dict[tuple[int, str], NDArray[np.int16]] = {}
    twice = other = 0
    keys = [{shard.part.key for shard in parent.shards} for parent in parents]
    for key in dict.fromkeys(key for own in keys for key in own):
        seen: list[tuple[StoredShard, pa.Array]] = []
        for number, parent in enumerate(parents):
            mine = [
                (shard, shard.column("id").combine_chunks())
                for shard in parent.shards
                if shard.part.key == key and sum(key in own for own in keys) > 1
            ]
            known = pa.chunked_array([ids for _, ids in seen], pa.string())
            for shard, ids in mine:
                hit = to_numpy(pc.is_in(ids, known), missing=False)
                if hit.any():
                    verdicts[number, shard.name] = np.where(hit, -1, 0).astype(np.int16)
                    twice += int(hit.sum())
                    other += _differing(shard, ids, hit, seen)
            seen += mine
    if not twice:
        return verdicts, ()
    told = f"{twice:,} rows have the id of a row of an earlier folder and are left out"
    told += (
        f"; {other:,} of them have other texts, of which those of the first folder are kept" if other else ""
    )
    return verdicts, (told,)


def _differing(
    shard: StoredShard,
    ids: pa.Array,
    hit: NDArray[np.bool_],
    seen: Sequence[tuple[StoredShard, pa.Array]],
) -> int:
    """How many of the rows that were met before have other texts than then."""
    mine = {ids[at].as_py(): text for at, text in _texts(shard, np.flatnonzero(hit))}
    wanted = pa.array(list(mine), pa.string())
    differing = 0
    for earlier, known in seen:
        rows = np.flatnonzero(to_numpy(pc.is_in(known, wanted), missing=False))
        for at, text in _texts(earlier, rows):
            differing += mine.pop(known[at].as_py(), text) != text
    return differing


def _texts(shard: StoredShard, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """A hash of the conversation of some rows, with their numbers."""
    if not len(rows):
        return []
    table = pc.take(shard.column("messages"), pa.array(rows))
    return [(int(at), hash(repr(value))) for at, value in zip(rows, table.to_pylist(), strict=True)]
