"""Side tables of scores: numbers for the rows of a dataset, joined by ``id``.

Scores belong to an encoder, not to the dataset. A side table is a Parquet file with the column ``id`` and one column of
numbers for each score; any program can write one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from irtd_datasets.arrow import to_array, to_numpy
from irtd_datasets.errors import ArrayError, BuildError, ReleaseNotFoundError, summarize

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    Ids: TypeAlias = Sequence[str] | Any  # or an array of Arrow, which has no types

__all__ = ["join_scores", "read_scores", "write_scores"]


def write_scores(path: str | os.PathLike[str], ids: Sequence[str], **columns: npt.ArrayLike) -> None:
    """Write scores as a side table of a dataset: a Parquet file with ``id`` and one column for each score.

    Args:
        path: File to write; it appears when it is complete.
        ids: (N,) values of the column ``id`` of the dataset.
        columns: (N,) numbers each.

    Raises:
        ArrayError: Lengths differ, no scores, or an id twice.
        BuildError: The file cannot be written.
    """
    if not columns:
        raise ArrayError("no scores given")
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    if wrong := [name for name, values in arrays.items() if values.shape != (len(ids),)]:
        raise ArrayError(f"{len(ids):,} ids, but {wrong[0]!r} has the shape {arrays[wrong[0]].shape}")
    keys = _text(ids)
    _refuse_repeated(keys, "ids")
    table = pa.table({"id": keys, **{name: pa.array(values) for name, values in arrays.items()}})
    target = Path(path)
    staged = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, staged, write_page_checksum=True)
        staged.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise BuildError(f"cannot write the scores: {error.strerror or error}", where=str(target)) from error


def read_scores(
    path: str | os.PathLike[str], ids: Ids, columns: Sequence[str] | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """Read scores of a side table for some rows, joined by ``id``.

    Args:
        path: A file of `write_scores`, or another with a column ``id`` and columns of numbers.
        ids: Ids of the rows, in the order in which scores are wanted; the table may have more.
        columns: Scores that are wanted; None takes all.

    Returns:
        (N,) scores by name.

    Raises:
        ReleaseNotFoundError: No such file.
        ArrayError: Not such a table, no such score, an id twice in it, or rows without a score; the message names some.
    """
    name = str(path)
    try:
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise ReleaseNotFoundError("no such file", where=name) from error
    except (pa.ArrowException, OSError) as error:
        raise ArrayError("not a Parquet file that can be read", where=name) from error
    if "id" not in table.column_names:
        raise ArrayError(f"no column id among {', '.join(table.column_names)}", where=name)
    known = [column for column in table.column_names if column != "id"]
    wanted = known if columns is None else list(columns)
    if unknown := [column for column in wanted if column not in known]:
        raise ArrayError(
            f"no score {unknown[0]!r}", where=name, remedy=f"It has {', '.join(known) or 'none'}."
        )
    numbers: dict[str, npt.NDArray[np.float64]] = {}
    for column in wanted:
        values = table.column(column)
        try:
            numbers[column] = to_numpy(values.cast(pa.float64()).combine_chunks(), np.nan)
        except (pa.ArrowException, ValueError) as error:
            raise ArrayError(
                f"the column {column!r} has {values.type}, expected numbers",
                where=name,
                remedy="Leave it out, or name the scores that are wanted.",
            ) from error
    rows = _rows(table.column("id"), ids, name)
    return {column: values[rows] for column, values in numbers.items()}


def join_scores(scores: Mapping[str, float], ids: Ids) -> npt.NDArray[np.float64]:
    """Scores of some rows, joined by ``id``.

    Args:
        scores: Numbers by id; it may have more than are wanted.
        ids: Ids of the rows.

    Returns:
        (N,) scores.

    Raises:
        ArrayError: Rows have no score; the message names some.

    Example:
        >>> join_scores({"a": 1.0, "b": 2.0}, ["b", "a"]).tolist()
        [2.0, 1.0]
    """
    values = np.fromiter(scores.values(), np.float64, len(scores))
    joined: npt.NDArray[np.float64] = values[_rows(list(scores), ids, "")]
    return joined


def _rows(known: Ids, ids: Ids, where: str) -> npt.NDArray[Any]:
    """Which row of a side table each id has."""
    keys, wanted = _text(known), _text(ids)
    _refuse_repeated(keys, where)
    found = pc.index_in(wanted, value_set=keys)
    if found.null_count:
        missing = wanted.filter(pc.is_null(found))
        raise ArrayError(
            f"{len(missing):,} of {len(wanted):,} rows have no score:\n{summarize(missing.to_pylist())}",
            where=where,
            remedy="Score them, or leave them out with a filter.",
        )
    return to_numpy(found, -1)


def _text(ids: Ids) -> pa.Array:
    if not isinstance(ids, (pa.Array, pa.ChunkedArray)):
        return to_array(list(ids), pa.string())
    ids = ids.cast(pa.string())  # other programs write large_string, or a dictionary
    return ids if isinstance(ids, pa.Array) else ids.combine_chunks()


def _refuse_repeated(ids: pa.Array, where: str) -> None:
    counts = pc.value_counts(ids)
    if len(counts) == len(ids):
        return
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    raise ArrayError(f"{len(repeated):,} ids come twice:\n{summarize(repeated.to_pylist())}", where=where)
