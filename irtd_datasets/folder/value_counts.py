"""How often each value stands in a column of Parquet files, from the footers wherever they tell."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["BOX_SIZES", "SIZE_EDGES", "count_box_sizes", "count_values"]

BOX_SIZES = "objects"
"""Column that is counted by the sizes of its boxes."""

SIZE_EDGES = (0, 4, 8, 16, 32, 64, 128, 256, 512)
"""Lower ends of the classes of box sizes, in pixels: the side of a square of the same area."""


def count_values(files: Iterable[Path], column: str) -> Counter[Any]:
    """Count the values of a column; null is counted as None.

    A row group of one value, as nearly all are that hold one component dataset, is counted from its statistics; of the
    others the column is read.

    Args:
        files: Parquet files.
        column: Name of a column of the top level, of whole numbers or strings; or `BOX_SIZES`, of which the boxes
            are counted by class of size, see `count_box_sizes`.

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
    if column == BOX_SIZES:
        return count_box_sizes(parquet.read(columns=[f"{column}.box", f"{column}.polygon"]))
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


def count_box_sizes(table: pa.Table) -> Counter[int]:
    """Count the boxes of rows by class of size; where an object has a polygon alone, the area of that counts.

    Args:
        table: Rows with the column ``objects``.

    Returns:
        Boxes by position in `SIZE_EDGES`; classes without any are left out.
    """
    counts: Counter[int] = Counter()
    for objects in table[BOX_SIZES].chunks:
        boxes, polygons = objects.field("box"), objects.field("polygon")
        areas = [_box_areas(pc.list_flatten(boxes))]
        if pc.list_flatten(polygons).null_count < len(pc.list_flatten(polygons)):
            have = pc.fill_null(pc.list_value_length(boxes), 0)
            alone = [pc.list_flatten(polygons.filter(pc.equal(have, 0)))]
            both = pc.equal(have, pc.fill_null(pc.list_value_length(polygons), 0))
            lacking = pc.is_null(pc.list_flatten(boxes.filter(both)))
            alone.append(pc.list_flatten(polygons.filter(both)).filter(lacking))
            areas += map(_polygon_areas, alone)
        sides = np.sqrt(np.concatenate(areas))
        classes = np.searchsorted(SIZE_EDGES, sides[np.isfinite(sides)], side="right") - 1
        found, numbers = np.unique(classes, return_counts=True)
        counts.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
    return counts


def _box_areas(boxes: pa.Array) -> NDArray[np.float64]:
    """Areas of boxes, shape (n,), of those with four numbers."""
    whole = boxes.filter(pc.equal(pc.list_value_length(boxes), 4).fill_null(False))
    corners = np.asarray(pc.list_flatten(whole), np.float64).reshape(-1, 4)
    return np.abs((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))


def _polygon_areas(polygons: pa.Array) -> NDArray[np.float64]:
    """Areas of polygons, shape (n,), of those with three corners or more, by the shoelace formula."""
    lengths = pc.list_value_length(polygons)
    whole = polygons.filter(pc.greater_equal(lengths, 6).fill_null(False))
    if not len(whole):
        return np.empty(0)
    corners = np.asarray(pc.list_value_length(whole), np.int64) // 2
    ends = np.cumsum(corners)
    starts = ends - corners
    x, y = np.asarray(pc.list_flatten(whole), np.float64).reshape(-1, 2).T
    following = np.arange(1, len(x) + 1)
    following[ends - 1] = starts
    cross = x * y[following] - x[following] * y
    return np.abs(np.add.reduceat(cross, starts)) / 2
