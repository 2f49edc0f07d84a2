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
from irtd_datasets.rows.image_column import ImageBuffer, ImageColumn
from irtd_datasets.schema import FILE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredShard
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.spec import Member

__all__ = [
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


def count_rows(batch: pa.RecordBatch, counts: RecordCounts) -> None:
    """Count the issues and the rounds of rows."""
    for entry in pc.list_flatten(batch.column(TEXTS.get_field_index("issues"))).value_counts():
        counts.flagged[entry["values"].as_py()] += entry["counts"].as_py()
    messages = pc.list_flatten(batch.column(TEXTS.get_field_index("messages")))
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
        self._known: dict[tuple[str, str, int, str | None], int] = {}
        for buffer in self._buffers[0].values():
            buffer.clear()

    def add(self, piece: Piece) -> Iterator[RowGroup]:
        """Take rows; yields the row groups that are full."""
        columns = []
        sizes = _text_bytes(piece.texts)
        for name in FILE_FIELDS:
            offsets, lengths = (places[piece.rows] for places in piece.shard.places(name))
            sizes = sizes + np.maximum(lengths, 0)
            names = piece.names.get(name) or [None] * len(piece.rows)
            columns.append((name, offsets.tolist(), lengths.tolist(), names))
        begin = 0
        with FileIO(piece.shard.file) as file:
            for at, size in enumerate(sizes.tolist()):
                if self._rows and (self._rows >= GROUP_ROWS or self._bytes + size > GROUP_BYTES):
                    self._texts.append(piece.texts.slice(begin, at - begin))
                    begin = at
                    yield from self.rest()
                for name, offsets, lengths, names in columns:
                    self._add_file(file, piece, name, (offsets[at], lengths[at], names[at]))
                self._rows += 1
                self._bytes += size
        self._texts.append(piece.texts.slice(begin))

    def _add_file(self, file: FileIO, piece: Piece, column: str, place: tuple[int, int, str | None]) -> None:
        offset, length, name = place
        if offset < 0:
            self._image_of[column].append(-1)
            return
        key = (column, str(piece.shard.file), offset, name)
        position = self._known.get(key)
        if position is None:
            buffer = self._buffers[0][column]
            position = self._known[key] = len(buffer)
            room = buffer.room(length)
            _read_into(file, offset, room, piece.shard)
            buffer.append(room)
            self._names[column].append(name)
        self._image_of[column].append(position)

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
