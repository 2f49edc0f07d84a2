"""Rows of stored shards on their way into new ones: read row group by row group, and joined within the limits anew.

The bytes of images go from the file into the buffer that the writer writes; nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from irtd_datasets.arrow import from_numpy, to_numpy
from irtd_datasets.errors import AnnotationError, BuildError
from irtd_datasets.folder.stored import TEXTS, conformed
from irtd_datasets.rows.groups import GROUP_BYTES, GROUP_ROWS, RowGroup, text_columns
from irtd_datasets.rows.image_column import FRAME, ImageBuffer, ImageColumn
from irtd_datasets.schema import FILE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredShard
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.spec import Member

__all__ = [
    "COUNTED",
    "ROW_BYTES",
    "CopyJob",
    "Edit",
    "GroupJoiner",
    "Piece",
    "count_rows",
    "edited",
    "read_pieces",
    "stored_columns",
]

Edit = Callable[[dict[str, Any]], Mapping[str, Any] | str]
"""What becomes of the columns of a row that are no files: changed, or the reason why the row is left out."""

COUNTED = ("issues", "messages.list.element.role")
"""Leaves that `count_rows` needs."""

_WINDOW = 16  # row groups whose texts are read at once
ROW_BYTES = 2048
"""Of a row without its texts and files, as a build counts them."""

_MESSAGE_BYTES = 4


@dataclass(frozen=True, slots=True)
class CopyJob:
    """One shard: its rows by shard and by number in that shard.

    Attributes:
        member: Its part.
        split: Its split.
        index: Its number.
        shards: Shards of the parents that have rows of the part.
        shard: Position in ``shards`` of each row, int32.
        row: Its number there, int64.
        image_bytes: Bytes of its images.
        fingerprint: Identity of everything that decides its bytes.
    """

    member: Member
    split: str
    index: int
    shards: Sequence[StoredShard]
    shard: NDArray[np.int32]
    row: NDArray[np.int64]
    image_bytes: int
    fingerprint: str

    @property
    def is_whole(self) -> bool:
        """Whether its rows are all those of one shard, as they lie there."""
        first = int(self.shard[0])
        count = self.shards[first].rows
        return bool(
            len(self.row) == count and (self.shard == first).all() and (self.row == np.arange(count)).all()
        )


def stored_columns(shard: StoredShard) -> list[str]:
    """The columns without files that a shard has."""
    return shard.present(TEXTS.names)


@dataclass(slots=True)
class Piece:
    """Rows of one row group of a parent.

    Attributes:
        shard: The shard that they are of.
        rows: Their numbers in it.
        texts: Their columns that are no files.
        names: By file column the name of each row's image.
    """

    shard: StoredShard
    rows: NDArray[np.int64]
    texts: pa.RecordBatch
    names: dict[str, list[str | None]]


def read_pieces(job: CopyJob) -> Iterator[Piece]:
    """The rows of a shard that is to be written, row group by row group of the parents."""
    group = np.empty(len(job.row), np.int64)
    firsts = {number: np.cumsum([0, *job.shards[number].groups]) for number in {*job.shard.tolist()}}
    for number, first in firsts.items():
        mine = job.shard == number
        group[mine] = np.searchsorted(first, job.row[mine], side="right") - 1
    ends = np.flatnonzero((np.diff(group) != 0) | (np.diff(job.shard) != 0)) + 1
    bounds = [0, *ends.tolist(), len(job.row)]
    stretches = [
        (int(job.shard[begin]), int(group[begin]), job.row[begin:end]) for begin, end in pairwise(bounds)
    ]
    for at in range(0, len(stretches), _WINDOW):
        window = stretches[at : at + _WINDOW]
        tables = {}
        for number in {number for number, _, _ in window}:
            shard = job.shards[number]
            groups = sorted({one for other, one, _ in window if other == number})
            table, start = shard.read(groups, [*stored_columns(shard), *_stored_names(shard)]), 0
            for one in groups:
                tables[number, one] = table.slice(start, shard.groups[one])
                start += shard.groups[one]
        for number, one, rows in window:
            shard, table = job.shards[number], tables[number, one]
            inside = rows - firsts[number][one]
            if len(inside) < len(table):
                table = table.take(from_numpy(inside))
            names = {
                leaf.partition(".")[0]: _paths(table[leaf.partition(".")[0]]) for leaf in _stored_names(shard)
            }
            yield Piece(shard, rows, conformed(table), names)


def _stored_names(shard: StoredShard) -> list[str]:
    return [f"{name}.path" for name in shard.present(FILE_FIELDS)]


def _paths(column: pa.ChunkedArray) -> list[str | None]:
    return [path for chunk in column.chunks for path in pc.struct_field(chunk, "path").to_pylist()]


def edited(piece: Piece, edit: Edit) -> pa.RecordBatch:
    """The columns of rows after they were changed."""
    rows = []
    for row in piece.texts.to_pylist():
        changed = edit(row)
        if isinstance(changed, str):
            raise BuildError(
                f"row {row['id']!r:.200} was to be kept when it was looked at, and is to be left out now ({changed})",
                where=str(piece.shard.file),
                remedy="Let the function return the same for the same row.",
            )
        rows.append(changed)
    return text_columns(rows, TEXTS, str(piece.shard.file))


def count_rows(rows: pa.RecordBatch | pa.Table, counts: RecordCounts) -> None:
    """Count the issues and the rounds of rows, of which nothing but the leaves `COUNTED` is needed."""
    for entry in pc.list_flatten(rows["issues"]).value_counts():
        counts.flagged[entry["values"].as_py()] += entry["counts"].as_py()
    messages = pc.list_flatten(rows["messages"])
    answers = pc.equal(pc.struct_field(messages, "role"), "assistant")
    counts.rounds_kept += pc.sum(answers).as_py() or 0


def _text_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """At least the bytes of each row without its files, as `irtd_datasets.rows.groups` counts them."""
    messages = batch.column(TEXTS.get_field_index("messages"))
    contents = pc.struct_field(pc.list_flatten(messages), "content")
    lengths = to_numpy(pc.binary_length(contents), 0)
    parents = to_numpy(pc.list_parent_indices(messages), 0)
    sums = np.bincount(parents, weights=lengths, minlength=len(batch)).astype(np.int64)
    return ROW_BYTES + _MESSAGE_BYTES * sums


class GroupJoiner:
    """Joins rows of several row groups into row groups within the limits, each image once.

    The bytes of images go from the file into the buffer that the writer writes. There are two of each column, in turn:
    while the row group of one is written, that of the other is filled.
    """

    def __init__(self) -> None:
        self._buffers = [{name: ImageBuffer() for name in FILE_FIELDS} for _ in range(2)]
        self._begin()

    def _begin(self) -> None:
        self._buffers.reverse()
        self._texts: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._names: dict[str, list[str | None]] = {name: [] for name in FILE_FIELDS}
        self._image_of: dict[str, list[int]] = {name: [] for name in FILE_FIELDS}
        self._known: dict[tuple[str, Path], dict[tuple[int, str | None], int]] = {}
        for buffer in self._buffers[0].values():
            buffer.clear()

    def add(self, piece: Piece) -> Iterator[RowGroup]:
        """Take rows; yields the row groups that are full."""
        places = {
            name: tuple(column[piece.rows] for column in piece.shard.places(name)) for name in FILE_FIELDS
        }
        sizes = _text_bytes(piece.texts) + sum(np.maximum(lengths, 0) for _, lengths in places.values())
        ends = np.cumsum(sizes)
        begin = 0
        with FileIO(piece.shard.file) as file:
            while begin < len(ends):
                before = int(ends[begin - 1]) if begin else 0
                fitting = int(np.searchsorted(ends, before + GROUP_BYTES - self._bytes, side="right"))
                end = min(begin + GROUP_ROWS - self._rows, fitting)
                if end <= begin and self._rows:
                    yield from self.rest()
                    continue
                end = max(end, begin + 1)  # a single row may be larger than the limit
                for name, (offsets, lengths) in places.items():
                    self._add_files(file, piece, name, slice(begin, end), offsets, lengths)
                self._texts.append(piece.texts.slice(begin, end - begin))
                self._rows += end - begin
                self._bytes += int(ends[end - 1]) - before
                begin = end

    def _add_files(
        self,
        file: FileIO,
        piece: Piece,
        column: str,
        rows: slice,
        offsets: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> None:
        """Take the files of some rows; those that are new to the row group are read, neighbours at once."""
        image_of, buffer = self._image_of[column], self._buffers[0][column]
        if (offsets[rows] < 0).all():
            image_of += [-1] * (rows.stop - rows.start)
            return
        known = self._known.setdefault((column, piece.shard.file), {})
        names = piece.names.get(column) or [None] * len(offsets)
        new: list[tuple[int, int]] = []
        for offset, length, name in zip(
            offsets[rows].tolist(), lengths[rows].tolist(), names[rows], strict=True
        ):
            if offset < 0:
                image_of.append(-1)
                continue
            position = known.get((offset, name))
            if position is None:
                position = known[offset, name] = len(self._names[column])
                self._names[column].append(name)
                new.append((offset, length))
            image_of.append(position)
        if not new:
            return
        room, done = buffer.frames([length for _, length in new]), 0
        for offset, size in _stretches(new):
            _read_into(file, offset, room[done : done + size], piece.shard)
            done += size
        sizes = np.array([length for _, length in new])
        starts = np.cumsum(sizes + FRAME) - sizes - FRAME
        stored = np.frombuffer(room, np.uint8)[starts[:, None] + np.arange(FRAME)].view("<u4")[:, 0]
        if (stored != sizes).any():
            raise AnnotationError(
                "an image does not lie where the index says",
                where=str(piece.shard.file),
                remedy="Build it again.",
            )

    def rest(self) -> Iterator[RowGroup]:
        """Yield the last row group, if there is one."""
        if not self._rows:
            return
        images = {}
        for name, buffer in self._buffers[0].items():
            images[name] = (
                ImageColumn.of(buffer.batch(self._names[name]), self._image_of[name])
                if len(buffer)
                else ImageColumn.null(self._rows)
            )
        texts = pa.Table.from_batches(self._texts, TEXTS).combine_chunks().to_batches()[0]
        yield RowGroup(texts, images)
        self._begin()


def _stretches(files: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where files with the lengths before them lie, as first byte and number of bytes; neighbours as one."""
    begin, end = files[0][0] - FRAME, files[0][0] - FRAME
    for offset, length in files:
        if offset - FRAME != end:
            yield begin, end - begin
            begin = offset - FRAME
        end = offset + length
    yield begin, end - begin


def _read_into(file: FileIO, offset: int, room: memoryview, shard: StoredShard) -> None:
    file.seek(offset)
    done = 0
    while done < len(room):
        read = file.readinto(room[done:])
        if not read:
            raise AnnotationError(
                "the file ended where an image should be", where=str(shard.file), remedy="Build it again."
            )
        done += read
