"""How often each value stands in a column of Parquet files, from the footers wherever they tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.arrow import to_numpy, unnested
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
        return count_box_sizes(
            parquet.read(columns=[f"{column}.box", f"{column}.polygon"], use_threads=False)
        )
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
        found = parquet.read_row_groups(unread, columns=[column], use_threads=False)[column].value_counts()
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
        boxes, polygons = _Lists.of(objects.field("box")), _Lists.of(objects.field("polygon"))
        alone = (polygons.lengths >= 6) & (polygons.lengths % 2 == 0) & ~boxes.have(*polygons.places())
        sides = np.sqrt(np.concatenate([_box_areas(boxes), _polygon_areas(polygons, alone)]))
        classes = np.searchsorted(SIZE_EDGES, sides[np.isfinite(sides)], side="right") - 1
        found, numbers = np.unique(classes, return_counts=True)
        counts.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
    return counts


@dataclass(frozen=True, slots=True)
class _Lists:
    """Lists of numbers in the lists of rows, as NumPy has them: pyarrow.compute takes 10 MB and looks for pandas.

    Attributes:
        per_row: Lists of each row, shape (rows,).
        lengths: Numbers of each list, shape (lists,); -1 where it is null.
        numbers: All of them, shape (sum of lengths,).
    """

    per_row: NDArray[np.int64]
    lengths: NDArray[np.int64]
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, column: pa.Array) -> _Lists:
        per_row, lists = unnested(column, 0)
        lengths, numbers = unnested(lists, -1)
        return cls(per_row, lengths, to_numpy(numbers, np.nan).astype(np.float64))

    def starts(self) -> NDArray[np.int64]:
        """Where the numbers of each list begin."""
        sizes = np.maximum(self.lengths, 0)
        return np.cumsum(sizes) - sizes

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row of each list, and its place in it."""
        rows = np.repeat(np.arange(len(self.per_row)), self.per_row)
        first = np.cumsum(self.per_row) - self.per_row
        return rows, np.arange(len(rows)) - first[rows]

    def have(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a row has a list at a place that is not null."""
        found = places < self.per_row[rows]
        first = np.cumsum(self.per_row) - self.per_row
        found[found] = self.lengths[(first[rows] + places)[found]] >= 0
        return found


def _box_areas(boxes: _Lists) -> NDArray[np.float64]:
    """Areas of boxes, shape (n,), of those with four numbers."""
    corners = boxes.numbers[boxes.starts()[boxes.lengths == 4][:, None] + np.arange(4)]
    sides = corners[:, 2:] - corners[:, :2]
    areas: NDArray[np.float64] = np.abs(sides[:, 0] * sides[:, 1])
    return areas


def _polygon_areas(polygons: _Lists, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Areas of the wanted polygons, shape (n,), by the shoelace formula."""
    if not wanted.any():
        return np.empty(0)
    sizes = np.maximum(polygons.lengths, 0)
    corners = sizes[wanted] // 2
    ends = np.cumsum(corners)
    starts = ends - corners
    x, y = polygons.numbers[np.repeat(wanted, sizes)].reshape(-1, 2).T
    following = np.arange(1, len(x) + 1)
    following[ends - 1] = starts
    cross = x * y[following] - x[following] * y
    areas: NDArray[np.float64] = np.abs(np.add.reduceat(cross, starts)) / 2
    return areas
