"""How often each value stands in a column of Parquet files, from the footers wherever they tell."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["count_values"]


def count_values(files: Iterable[Path], column: str) -> Counter[Any]:
    """Count the values of a column; null is counted as None.

    A row group of one value, as nearly all are that hold one component dataset, is counted from its statistics; of the
    others the column is read.

    Args:
        files: Parquet files.
        column: Name of a column of the top level, of whole numbers or strings.

    Raises:
        AnnotationError: A file is no Parquet file, is damaged, or lacks the column.
    """
    counts: Counter[Any] = Counter()
    for file in files:
        counts += _of_file(file, column)
    return counts


def _of_file(file: Path, column: str) -> Counter[Any]:
    try:
        with pq.ParquetFile(file) as parquet:
            return _count(parquet, column)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: no such column
        raise AnnotationError(
            f"column {column!r} cannot be read: {error}",
            where=str(file),
            remedy="Build or download this file again.",
        ) from error


def _count(parquet: pq.ParquetFile, column: str) -> Counter[Any]:
    metadata = parquet.metadata
    position = [metadata.schema.column(index).path for index in range(metadata.num_columns)].index(column)
    counts: Counter[Any] = Counter()
    unread = []
    for index in range(metadata.num_row_groups):
        rows = metadata.row_group(index).num_rows
        statistics = metadata.row_group(index).column(position).statistics
        if statistics is not None and statistics.null_count == rows:
            counts[None] += rows
        elif (
            statistics is not None
            and statistics.null_count == 0
            and statistics.has_min_max
            and statistics.min == statistics.max
        ):
            counts[statistics.min] += rows
        else:
            unread.append(index)
    if unread:
        found = parquet.read_row_groups(unread, columns=[column])[column].value_counts()
        counts.update({entry["values"].as_py(): entry["counts"].as_py() for entry in found})
    return counts
