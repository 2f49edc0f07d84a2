"""One shard of a dataset folder, open for reading: its text by row group, its images one by one.

On a disk an image is one ``pread`` at the place that the index or the page headers tell. Memory maps were measured to
be a third faster, but their pages count as memory of the process, and a file that is cut short ends the process
instead of raising. From afar the text columns of a row group and the images that are wanted of it are fetched
together, in as few requests as possible.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.arrow import to_numpy
from irtd_datasets.errors import AnnotationError
from irtd_datasets.folder.index import ShardEntry, footer_digest, image_columns, leaf_columns
from irtd_datasets.folder.pages import PageError, chunk_of, locate_in_file, locate_values
from irtd_datasets.training.range_cache import shard_key
from irtd_datasets.training.range_file import RangeFile
from irtd_datasets.training.rows import value_reader
from irtd_datasets.training.storage import LocalStorage, Storage, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.training.range_cache import RangeCache

__all__ = ["GroupReader", "OpenShard", "RangeFile", "ShardRef", "read_footer"]

_TAIL = 64 << 10
_END = 8  # four bytes of the footer's length, and the magic number
_MAGIC = b"PAR1"
_CHECKED_SECONDS = (
    60.0  # after which a file is looked at again, where its server does not tell with each answer
)
_INODE = " inode "  # behind it, in the token of a file on a disk: a copy has another one


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A shard as a source knows it, before it is opened.

    Attributes:
        name: Relative to the folder.
        size: Its bytes.
        sha256: If known; else empty.
        token: Changes when the file is replaced, see `FileFacts`.
        groups: Rows of each row group.
        group_bytes: Bytes of each row group where the footer was read; else empty.
        footer: SHA-256 of its footer.
        index: Name of the index file that knows it; empty for none.
        index_group: Which row group of the index is about it.
        images: Image columns of which the index knows the places.
        tail: Its footer, where the index has it.
    """

    name: str
    size: int
    sha256: str
    token: str
    groups: tuple[int, ...]
    group_bytes: tuple[int, ...]
    footer: str
    index: str = ""
    index_group: int = 0
    images: tuple[str, ...] = ()
    tail: bytes = field(default=b"", repr=False)

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(self.groups)

    @property
    def identity(self) -> str:
        """What tells its bytes from any others': size and SHA-256.

        Where nobody wrote the SHA-256 down, footer and time stand for it: a footer holds no value of most columns, so
        that a corrected label can leave it as it was.
        """
        return f"{self.size} {self.sha256 or f'{self.footer} {self.token.partition(_INODE)[0]}'}"

    @classmethod
    def of_entry(cls, entry: ShardEntry, token: str, index: str, index_group: int) -> ShardRef:
        """A shard that an index knows."""
        return cls(
            entry.file,
            entry.size,
            entry.sha256,
            token,
            entry.groups,
            (),
            entry.footer,
            index,
            index_group,
            entry.images,
            entry.tail,
        )


def read_footer(storage: Storage, name: str, size: int, tail_size: int | None = None) -> tuple[Any, str]:
    """Read the footer of a shard.

    Args:
        storage: Where it lies.
        name: Its name.
        size: Its bytes.
        tail_size: So many bytes are read at first; the rest only where the footer is larger.

    Returns:
        The ``pyarrow.parquet.FileMetaData``, and the footer's SHA-256.

    Raises:
        AnnotationError: The file is no Parquet file.
    """
    start = max(size - (tail_size or _TAIL), 0)
    tail = bytes(storage.read(name, start, size, size=size))
    length = int.from_bytes(tail[-_END:-4], "little")
    if len(tail) < _END + 4 or tail[-4:] != _MAGIC or length > size - _END - 4:
        raise AnnotationError(
            f"it is no Parquet file: it ends with {bytes(tail[-4:])!r}",
            where=storage.where(name),
            remedy="Build or download this file again.",
        )
    if length + _END > len(tail):
        begin = size - _END - length
        tail = bytes(storage.read(name, begin, start, size=size)) + tail
    footer = bytes(tail[-_END - length : -_END])
    try:
        metadata = parse_footer(footer)
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(
            f"its footer cannot be read: {error}",
            where=storage.where(name),
            remedy="Build or download this file again.",
        ) from error
    return metadata, footer_digest(footer)


def parse_footer(footer: bytes) -> Any:  # noqa: ANN401 - pyarrow has no types
    """The ``pyarrow.parquet.FileMetaData`` of a footer that was read before."""
    return pq.read_metadata(pa.BufferReader(footer + len(footer).to_bytes(4, "little") + _MAGIC))


class OpenShard:
    """A shard open in this process.

    Args:
        storage: Where it lies.
        ref: Which shard.

    Raises:
        ShardChangedError: It is not the file that the reference means.
    """

    def __init__(self, storage: Storage, ref: ShardRef) -> None:
        self.storage = storage
        self.ref = ref
        self.where = storage.where(ref.name)
        self._descriptor = -1
        self._lock = threading.RLock()
        self._checked = -_CHECKED_SECONDS
        if isinstance(storage, LocalStorage):
            self._descriptor = os.open(storage.path(ref.name), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.check()
        if storage.remote and ref.tail:
            self.metadata, self.footer = parse_footer(ref.tail), ref.footer
        else:
            self.metadata, self.footer = read_footer(storage, ref.name, ref.size)
        if ref.footer and self.footer != ref.footer:
            raise changed(self.where, "its footer is another one")
        self.schema = self.metadata.schema.to_arrow_schema()
        self.image_names = image_columns(self.schema)
        self.leaves = leaf_columns(self.metadata, self.image_names)
        self._starts = np.concatenate([[0], np.cumsum(ref.groups)]).astype(np.int64)
        self._places: dict[str, tuple[memoryview, memoryview]] = {}
        self._index: pa.Table | None = None
        self._parquet: pq.ParquetFile | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self._parquet is not None:
            self._parquet.close()
            self._parquet = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        try:  # noqa: SIM105 - `contextlib` may be gone, too
            self.close()
        except Exception:  # noqa: BLE001, S110 - it was never open, or the interpreter ends and has no modules left
            pass

    def check(self) -> None:
        """Refuse the file if it was replaced since it was first seen.

        Raises:
            ShardChangedError: Its size, its time or what its server says of it differs.
        """
        if self.storage.remote:
            now = time.monotonic()
            if self.storage.compares or not self.ref.token or now - self._checked < _CHECKED_SECONDS:
                return
            self._checked = now
        facts = self.storage.facts(self.ref.name)
        if facts.size != self.ref.size:
            raise changed(self.where, f"it has {facts.size} bytes, {self.ref.size} were expected")
        # Azure puts a mark between quotes in an answer, and not in a listing.
        if self.ref.token and facts.token.strip('"') != self.ref.token.strip('"'):
            raise changed(self.where, f"it was written again ({facts.token}, before {self.ref.token})")

    # Images -------------------------------------------------------------------------------------------------------

    def places(self, image: str) -> tuple[memoryview, memoryview]:
        """Offsets (int64) and lengths (int32) of all images of a column, from the index or from the page headers.

        Raises:
            PageError: The images do not lie in the file as they are.
        """
        with self._lock:
            if image not in self._places:
                if image in self.ref.images:
                    offsets, lengths = self._indexed(image)
                else:
                    groups = [group for group, rows in enumerate(self.ref.groups) if rows]
                    pairs = [self.walk(image, group) for group in groups]
                    offsets = np.concatenate([pair[0] for pair in pairs] or [np.empty(0, np.int64)])
                    lengths = np.concatenate([pair[1] for pair in pairs] or [np.empty(0, np.int32)])
                self._places[image] = (np.ascontiguousarray(offsets).data, np.ascontiguousarray(lengths).data)
            return self._places[image]

    def group_places(self, image: str, group: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The same for one row group; the other row groups are not looked at where there is no index."""
        if image in self.ref.images or image in self._places:
            offsets, lengths = self.places(image)
            part = slice(int(self._starts[group]), int(self._starts[group + 1]))
            return np.asarray(offsets[part]), np.asarray(lengths[part])
        return self.walk(image, group)

    def row_places(self, image: str, group: int, rows: NDArray[np.int64]) -> dict[int, tuple[int, int]]:
        """First byte and length of the images of some rows of a row group; rows without one are left out."""
        offsets, lengths = self.group_places(image, group)
        return {row: (int(offsets[row]), int(lengths[row])) for row in rows.tolist() if offsets[row] >= 0}

    def walls(
        self, images: Sequence[str], group: int, wanted: Mapping[str, Mapping[int, tuple[int, int]]]
    ) -> list[int]:
        """Where the images of a row group begin that are not wanted; see `joined`."""
        found: set[int] = set()
        for name in images:
            offsets, _ = self.group_places(name, group)
            found.update(offsets[offsets >= 0].tolist())
        for places in wanted.values():
            found.difference_update(start for start, _ in places.values())
        return sorted(found)

    def check_length(self, data: bytes | memoryview, start: int, size: int) -> None:
        """Refuse bytes that no image of a size begins with: its length stands before it.

        Raises:
            ShardChangedError: They are of another place or file.
        """
        if int.from_bytes(data[:4], "little") != size:
            raise changed(self.where, f"no image of {size} bytes begins at byte {start}")

    def walk(self, image: str, group: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Find the images of a row group by its page headers."""
        chunk = chunk_of(self.metadata, group, self.leaves[image])
        try:
            if self._descriptor >= 0:
                return locate_in_file(self._descriptor, chunk)
            if chunk.codec != "UNCOMPRESSED":
                locate_values(b"", chunk)  # says so
            block = self.storage.read(self.ref.name, chunk.start, chunk.stop, size=self.ref.size)
            return locate_values(block, chunk, chunk.start)
        except PageError as error:
            raise PageError(
                error.problem, where=f"{self.where}, column {image!r}, row group {group}", remedy=error.remedy
            ) from error

    def _indexed(self, image: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        if self._index is None:
            self._index = read_index_group(self.storage, self.ref)
        columns = [self._index[f"{image}.{part}"] for part in ("offset", "length")]
        offsets, lengths = (to_numpy(_one_chunk(column), -1) for column in columns)
        inside = offsets < 0
        inside |= (offsets >= 4) & (lengths >= 0) & (offsets + lengths <= self.ref.size)
        if len(offsets) != self.ref.rows or not inside.all():
            raise AnnotationError(
                f"its index {self.ref.index} names places outside of the file",
                where=self.where,
                remedy="Remove the index file; the places are then found in the shard itself.",
            )
        return offsets, lengths

    def image(self, offset: int, length: int) -> bytes:
        """Read one image from the disk.

        Raises:
            ShardChangedError: The file ends before it.
        """
        data = os.pread(self._descriptor, length, offset) if _HAS_PREAD else self._read_at(length, offset)
        if len(data) != length:
            raise changed(self.where, f"it ends before byte {offset + length}")
        return data

    def _read_at(self, length: int, offset: int) -> bytes:  # Windows
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, length)

    # Text -----------------------------------------------------------------------------------------------------------

    def text_columns(self, columns: Sequence[str]) -> list[str]:
        """What to ask pyarrow for: columns, and of image columns the names alone."""
        return [f"{name}.path" if name in self.image_names else name for name in columns]

    def read_text(self, group: int | None, columns: Sequence[str], parts: Any = ()) -> pa.Table:  # noqa: ANN401
        """Read all that is not an image, of one row group or of all; from afar in as few requests as it takes.

        Args:
            group: Which row group; None reads all.
            columns: Columns that are wanted; of images the names alone.
            parts: From afar: what was fetched of it, as for `RangeFile`.
        """
        wanted = self.text_columns(columns)
        if self._descriptor < 0 and not parts:
            groups = range(self.metadata.num_row_groups) if group is None else [group]
            ranges = [found for number in groups for found in self.text_ranges(number, columns)]
            blocks = self.storage.read_ranges(self.ref.name, ranges, self.ref.size) if ranges else []
            parts = [(start, block) for (start, _), block in zip(ranges, blocks, strict=True)]
        try:
            if self._descriptor >= 0:
                if self._parquet is None:
                    self._parquet = pq.ParquetFile(self.storage.path(self.ref.name), metadata=self.metadata)  # type: ignore[attr-defined]
                parquet = self._parquet
            else:
                file = RangeFile(self.storage, self.ref.name, self.ref.size, parts)
                # What it needs is in memory: pyarrow's own reading ahead would ask for what lies between, too.
                parquet = pq.ParquetFile(file, metadata=self.metadata, pre_buffer=False)
            if group is None:
                return parquet.read(columns=wanted, use_threads=False)
            return parquet.read_row_group(group, columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, AnnotationError) or not isinstance(error, (pa.ArrowException, EOFError)):
                raise
            raise AnnotationError(
                f"row group {group} cannot be read: {error}",
                where=self.where,
                remedy="Build or download this file again.",
            ) from error

    def text_ranges(self, group: int, columns: Sequence[str]) -> list[tuple[int, int]]:
        """Where the text columns of a row group lie."""
        return _spans(self.metadata, group, self.text_columns(columns))

    def group(
        self,
        group: int,
        columns: Sequence[str],
        rows: NDArray[np.int64],
        *,
        cache: RangeCache | None = None,
    ) -> GroupReader:
        """Open some rows of a row group.

        Args:
            group: Which row group.
            columns: Columns that are wanted.
            rows: Rows that are wanted, as numbers in the row group.
            cache: From afar: where what other rows need, too, is left for those who read them.
        """
        return GroupReader(self, group, columns, rows, cache)


class GroupReader:
    """Some rows of a row group: the text in memory; the images in memory too where they come from afar.

    Args:
        shard: The open shard.
        group: Which row group.
        columns: Columns that are wanted.
        rows: Rows of it that are wanted, int, sorted or not. From afar each is read once.
        cache: From afar: where what other rows need, too, is left for those who read them.

    Attributes:
        fetched: Bytes that came for it from afar.
    """

    def __init__(
        self,
        shard: OpenShard,
        group: int,
        columns: Sequence[str],
        rows: NDArray[np.int64],
        cache: RangeCache | None = None,
    ) -> None:
        self.fetched = 0
        images = [name for name in columns if name in shard.image_names]
        parts: Sequence[tuple[int, bytes | memoryview]] = ()
        if shard.storage.remote:
            parts, image_data, self.fetched = _fetch(shard, group, columns, images, rows, cache)
        else:
            image_data = {name: _on_disk(shard, name, group) for name in images}
        self._images: dict[str, Callable[[int], bytes | None]] = image_data
        self._take_text(shard.read_text(group, columns, parts), columns)

    def _take_text(self, table: pa.Table, columns: Sequence[str]) -> None:
        self._values = {name: value_reader(_one_chunk(table.column(name))) for name in columns}

    def row(self, row: int) -> dict[str, Any]:
        """A row by its number in the row group; images as ``{"bytes": ..., "path": ...}`` or None."""
        values = {name: read(row) for name, read in self._values.items()}
        for name, read in self._images.items():
            image = values[name]
            if image is not None:
                values[name] = {"bytes": read(row), "path": image["path"]}
        return values


_HAS_PREAD = hasattr(os, "pread")


def _on_disk(shard: OpenShard, image: str, group: int) -> Callable[[int], bytes | None]:
    try:
        offsets, lengths = shard.group_places(image, group)
    except PageError:
        return _decoded(shard, image, group, ())
    starts, sizes = offsets.tolist(), lengths.tolist()

    def read(row: int) -> bytes | None:
        start = starts[row]
        return None if start < 0 else shard.image(start, sizes[row])

    return read


def _decoded(shard: OpenShard, image: str, group: int, parts: Any) -> Callable[[int], bytes | None]:  # noqa: ANN401
    """Images of a column that Arrow has to decompress or decode: all of the row group in memory."""
    if shard.storage.remote:
        file: Any = RangeFile(shard.storage, shard.ref.name, shard.ref.size, parts)
    else:
        file = shard.storage.path(shard.ref.name)  # type: ignore[attr-defined]
    with pq.ParquetFile(file, metadata=shard.metadata) as parquet:
        table = parquet.read_row_group(group, columns=[f"{image}.bytes"], use_threads=False)
    array = _one_chunk(table.column(image)).field("bytes")

    def read(row: int) -> bytes | None:
        value: bytes | None = array[row].as_py()
        return value

    return read


def _fetch(
    shard: OpenShard,
    group: int,
    columns: Sequence[str],
    images: Sequence[str],
    rows: NDArray[np.int64],
    cache: RangeCache | None,
) -> tuple[list[tuple[int, bytes | memoryview]], dict[str, Callable[[int], bytes | None]], int]:
    """Fetch text and images of a row group together: all of it by one request where all its rows are wanted."""
    ranges = shard.text_ranges(group, columns)
    places: dict[str, dict[int, tuple[int, int]]] = {}
    whole = []
    for name in images:
        if name not in shard.ref.images or len(rows) == shard.ref.groups[group]:
            whole.append((name, chunk_of(shard.metadata, group, shard.leaves[name])))
        else:
            places[name] = shard.row_places(name, group, rows)
    # With the four bytes before it, which tell its length: a file that was exchanged does not pass for the right one.
    image_data = sorted(
        {(start - 4, start + size) for found in places.values() for start, size in found.values()}
    )
    asked = [*ranges, *image_data, *((chunk.start, chunk.stop) for _, chunk in whole)]
    common = set(ranges) if cache is not None else set()
    if cache is not None:
        for name in places:
            offsets, _ = shard.group_places(name, group)
            starts = np.sort(offsets)
            several = set(starts[1:][starts[1:] == starts[:-1]].tolist())
            common |= {span for span in image_data if span[0] + 4 in several}
    by_start = _read(shard, asked, shard.walls(list(places), group, places), common, cache)
    parts = [(start, by_start[start, stop]) for start, stop in ranges]
    readers: dict[str, Callable[[int], bytes | None]] = {}
    for name, found in places.items():
        for start, size in found.values():
            shard.check_length(by_start[start - 4, start + size], start, size)
        readers[name] = _from_memory(rows, found, lambda start, size: by_start[start - 4, start + size][4:])
    for name, chunk in whole:
        block = by_start[chunk.start, chunk.stop]
        try:
            offsets, lengths = locate_values(block, chunk, chunk.start)
        except PageError:
            readers[name] = _decoded(shard, name, group, [(chunk.start, block)])
            continue
        found = {
            row: (int(offsets[row]) - chunk.start, int(lengths[row]))
            for row in rows.tolist()
            if offsets[row] >= 0
        }
        readers[name] = _from_memory(rows, found, partial(_cut, memoryview(block)))
    return parts, readers, sum(stop - start for start, stop in set(asked))


def _read(
    shard: OpenShard,
    asked: Sequence[tuple[int, int]],
    walls: Sequence[int],
    common: set[tuple[int, int]],
    cache: RangeCache | None,
) -> dict[tuple[int, int], bytes | memoryview]:
    """Ranges of a shard; those that others need, too, from the cache, or for it."""
    storage, ref = shard.storage, shard.ref
    if not asked:
        return {}
    if cache is None:
        blocks = storage.read_ranges(ref.name, asked, ref.size, walls)
        return dict(zip(asked, blocks, strict=True))
    key = shard_key(storage, ref)
    with cache.alone(key, min(common, default=asked[0])[0]):
        found: dict[tuple[int, int], bytes | memoryview] = {}
        for start, stop in common:
            data = cache.get(key, start, stop)
            if data is not None:
                found[start, stop] = data
        # What is there is not fetched between two others, either.
        lacking = [span for span in asked if span not in found]
        walls = sorted({*walls, *(start for start, _ in found)})
        blocks = storage.read_ranges(ref.name, lacking, ref.size, walls) if lacking else ()
        for span, block in zip(lacking, blocks, strict=True):
            found[span] = block
            if span in common:
                cache.put(key, span[0], block)
    return found


def _cut(data: memoryview, start: int, size: int) -> memoryview:
    return data[start : start + size]


def _from_memory(
    rows: NDArray[np.int64],
    places: Mapping[int, tuple[int, int]],
    take: Callable[[int, int], bytes | memoryview],
) -> Callable[[int], bytes | None]:
    """Images that are handed out once: each is let go of when the last row that has it was given."""
    data = {start: bytes(take(start, size)) for start, size in dict.fromkeys(places.values())}
    found = {row: data[places[row][0]] if row in places else None for row in rows.tolist()}
    return found.pop


def _spans(metadata: Any, group: int, columns: Sequence[str]) -> list[tuple[int, int]]:  # noqa: ANN401
    """Where the leaves of some columns lie in a row group."""
    row_group = metadata.row_group(group)
    found = []
    for leaf in range(row_group.num_columns):
        chunk = row_group.column(leaf)
        path = chunk.path_in_schema
        if any(path == name or path.startswith(f"{name}.") for name in columns):
            found.append(_span(chunk))
    return found


def _span(chunk: Any) -> tuple[int, int]:  # noqa: ANN401 - pyarrow has no types
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def read_index_group(storage: Storage, ref: ShardRef, columns: Sequence[str] | None = None) -> pa.Table:
    """What the index says of a shard: one row per row of it."""
    if columns is None:
        columns = [f"{name}.{part}" for name in ref.images for part in ("offset", "length")]
    return open_index(storage, ref.index).read(ref.index_group, columns)


_SMALL_INDEX = 1 << 20
_INDEX_TAIL = 256 << 10
_KEPT_INDEXES = 64
_indexes: dict[tuple[str, str, int], IndexFile] = {}


class IndexFile:
    """An index file: all of it where it is small or lies on a disk, else its footer.

    Args:
        storage: Where the folder lies.
        name: The file.
        size: Its bytes; None where they are not known.
    """

    def __init__(self, storage: Storage, name: str, size: int | None) -> None:
        self._storage, self._name = storage, name
        self._whole: bytes | None = None
        if size is None:
            size = storage.facts(name).size
        self._size = size
        if not storage.remote or size <= _SMALL_INDEX:
            self._whole = bytes(storage.read(name, 0, size, size=size))
            self.metadata = pq.read_metadata(pa.BufferReader(self._whole))
        else:
            self.metadata, _ = read_footer(storage, name, size, _INDEX_TAIL)

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of a row group, which is about one shard."""
        if self._whole is not None:
            file: Any = pa.BufferReader(self._whole)
        else:
            ranges = _spans(self.metadata, group, columns)
            blocks = self._storage.read_ranges(self._name, ranges, self._size)
            parts = [(start, block) for (start, _), block in zip(ranges, blocks, strict=True)]
            file = RangeFile(self._storage, self._name, self._size, parts)
        parquet = pq.ParquetFile(file, metadata=self.metadata, pre_buffer=False)
        return parquet.read_row_group(group, columns=list(columns), use_threads=False)


def open_index(storage: Storage, name: str, size: int | None = None, *, fresh: bool = False) -> IndexFile:
    """Open an index file, once in a process.

    Args:
        storage: Where the folder lies.
        name: The index file.
        size: Its bytes, if they are known.
        fresh: Open it anew: it may be another file than before.
    """
    key = (storage.place, name, os.getpid())
    if fresh or key not in _indexes:
        _indexes.pop(key, None)
        found = IndexFile(storage, name, size)
        while len(_indexes) >= _KEPT_INDEXES:
            with contextlib.suppress(KeyError, StopIteration):  # another thread was quicker
                _indexes.pop(next(iter(_indexes)))
        _indexes[key] = found
        return found
    return _indexes[key]
