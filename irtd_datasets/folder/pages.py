"""Where the values of an uncompressed binary column lie inside a Parquet file, found by walking its page headers.

Parquet stores a plain ``BYTE_ARRAY`` value as four bytes of length (little endian) and the value itself, one after
another, in data pages; a dictionary page holds each distinct value once in the same form. The headers of the pages are
structs in Thrift's compact protocol. Both are read here in pure Python: no value is copied, and of an image only its
length is touched. See the Parquet format's `Encodings.md`, `parquet.thrift` and Thrift's
`thrift-compact-protocol.md`.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.errors import AnnotationError
from irtd_datasets.folder.thrift import I32, I64, STRUCT, read_fields, read_signed, read_unsigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Buffer = bytes | bytearray | memoryview

__all__ = ["ColumnChunk", "PageError", "chunk_of", "locate_in_file", "locate_values"]

_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 1, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_ENCODINGS = {4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
_READ = 4096  # bytes of a column chunk that are sooner read than mapped
_LENGTH = struct.Struct("<I")


class PageError(AnnotationError):
    """A column chunk in which values cannot be located: compressed, encoded otherwise, or damaged."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where a column chunk lies in its file, from the footer.

    Attributes:
        start: Byte of its first page header.
        stop: Byte behind its last page.
        values: Number of values, nulls included: its rows, for a column without lists.
        max_definition: Level at which a value is there; 0 for a column that is required all the way.
        codec: Compression as the footer names it.
    """

    start: int
    stop: int
    values: int
    max_definition: int
    codec: str


def chunk_of(metadata: Any, row_group: int, column: int) -> ColumnChunk:  # noqa: ANN401 - pyarrow has no types
    """Read the place of a column chunk from a footer.

    Args:
        metadata: A ``pyarrow.parquet.FileMetaData``.
        row_group: Which row group.
        column: Which leaf column.

    Raises:
        PageError: The column is no binary column without lists.
    """
    chunk = metadata.row_group(row_group).column(column)
    leaf = metadata.schema.column(column)
    if chunk.physical_type != "BYTE_ARRAY" or leaf.max_repetition_level:
        raise PageError(
            f"column {chunk.path_in_schema!r} is {chunk.physical_type}"
            f"{' in a list' if leaf.max_repetition_level else ''}, expected one BYTE_ARRAY per row"
        )
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return ColumnChunk(
        start,
        start + chunk.total_compressed_size,
        chunk.num_values,
        leaf.max_definition_level,
        chunk.compression,
    )


def locate_in_file(descriptor: int, chunk: ColumnChunk) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the bytes of each row's value in a file on disk, of which no more than the column chunk is mapped.

    A map counts as memory of the process for every page that is looked at or lies near, and these are all. See
    `locate_values`.
    """
    size = os.fstat(descriptor).st_size
    first = chunk.start - chunk.start % mmap.ALLOCATIONGRANULARITY
    if not 0 <= chunk.start < chunk.stop <= size:
        return locate_values(b"", chunk, size)  # says so
    if chunk.stop - chunk.start <= _READ and hasattr(os, "pread"):  # as of a column without images
        return locate_values(os.pread(descriptor, chunk.stop - chunk.start, chunk.start), chunk, chunk.start)
    with (
        mmap.mmap(descriptor, chunk.stop - first, access=mmap.ACCESS_READ, offset=first) as data,
        memoryview(data) as view,
    ):
        return locate_values(view, chunk, first)


def locate_values(
    data: Buffer, chunk: ColumnChunk, first: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the bytes of each row's value.

    Args:
        data: The file, or a part of it that holds the column chunk.
        chunk: Which part of the file is the column chunk.
        first: Where in the file ``data`` begins.

    Returns:
        Offsets in the file, int64, and lengths in bytes, int32, both of shape (values,); -1 where the value is null.
        Rows that share an entry of the dictionary share its offset.

    Raises:
        PageError: The pages are compressed, have another encoding than plain or dictionary, or are damaged.

    Example:
        >>> import io, pyarrow as pa, pyarrow.parquet as pq
        >>> file = io.BytesIO()
        >>> table = pa.table({"image": pa.array([b"one", None, b"three"])})
        >>> pq.write_table(table, file, compression="none", use_dictionary=False)
        >>> data = file.getvalue()
        >>> offsets, lengths = locate_values(data, chunk_of(pq.read_metadata(file), 0, 0))
        >>> lengths.tolist(), data[offsets[2] : offsets[2] + lengths[2]]
        ([3, -1, 5], b'three')
    """
    if chunk.codec != "UNCOMPRESSED":
        raise PageError(
            f"the pages are compressed with {chunk.codec}, so that no value lies in the file as it is",
            remedy="Stream the folder, or write its images without compression: `irtd build` does.",
        )
    if not first <= chunk.start <= chunk.stop <= first + len(data) or chunk.values < 0:
        raise PageError(
            f"the footer places the pages at {chunk.start} to {chunk.stop} of {first + len(data)} bytes",
            remedy="Build or download this file again.",
        )
    here = replace(chunk, start=chunk.start - first, stop=chunk.stop - first)
    try:
        offsets, lengths = _walk(memoryview(data), here)
        return np.where(offsets < 0, offsets, offsets + first), lengths
    except (struct.error, IndexError, OverflowError, ValueError, RecursionError) as error:
        if isinstance(error, PageError):
            raise
        raise PageError(
            f"a page is damaged ({error})", remedy="Build or download this file again."
        ) from error


def _walk(data: memoryview, chunk: ColumnChunk) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    offsets = np.full(chunk.values, -1, np.int64)
    lengths = np.full(chunk.values, -1, np.int32)
    dictionary: tuple[NDArray[np.int64], NDArray[np.int32]] | None = None
    position, row = chunk.start, 0
    while row < chunk.values:
        if position >= chunk.stop:
            raise _damaged(f"{row} of {chunk.values} values at the end of the pages")
        header, body = _header(data, position, chunk.stop)
        end = body + _number(header, 3)
        if end > chunk.stop:
            raise _damaged(f"a page ends at byte {end}, the column at {chunk.stop}")
        kind = header.get(1)
        if kind == _DICTIONARY_PAGE:
            inner = _part(header, 7)
            _check_encoding(_number(inner, 2), {_PLAIN, _PLAIN_DICTIONARY}, "the dictionary page")
            dictionary = _plain(data, body, end, _number(inner, 1))
        elif kind in (_DATA_PAGE, _DATA_PAGE_V2):
            count = _number(_part(header, 5 if kind == _DATA_PAGE else 8), 1)
            if count > chunk.values - row:
                raise _damaged(f"a page of {count} values where {chunk.values - row} are left")
            present, start, encoding = _levels(data, body, end, header, chunk.max_definition)
            found = count if present is None else int(present.sum())
            if encoding == _PLAIN:
                places = _plain(data, start, end, found)
            else:
                _check_encoding(encoding, {_PLAIN_DICTIONARY, _RLE_DICTIONARY}, "a data page")
                places = _dictionary_values(data, start, end, found, dictionary)
            target: Any = slice(row, row + count)
            if present is not None:
                target = row + np.flatnonzero(present)
            offsets[target], lengths[target] = places
            row += count
        elif kind != _INDEX_PAGE:
            raise _damaged(f"a page of kind {kind!r:.40}")
        position = end
    return offsets, lengths


def _levels(
    data: memoryview, start: int, end: int, header: dict[int, Any], max_definition: int
) -> tuple[NDArray[np.bool_] | None, int, int]:
    """Which values of a data page are there (None: all), where they begin, and their encoding."""
    width = max_definition.bit_length()
    if header[1] == _DATA_PAGE:
        inner = _part(header, 5)
        count, encoding = _number(inner, 1), _number(inner, 2)
        if not max_definition:
            return None, start, encoding
        if (levels_encoding := _number(inner, 3)) != _RLE:
            raise PageError(
                f"definition levels are encoded as {_ENCODINGS.get(levels_encoding, levels_encoding)}, expected RLE",
                remedy="Write the file again with a current Parquet writer.",
            )
        size = int(_LENGTH.unpack_from(data, start)[0])
        start += _LENGTH.size
    else:
        inner = _part(header, 8)
        count, encoding = _number(inner, 1), _number(inner, 4)
        start += _number(inner, 6)  # repetition levels, none for a column without lists
        size = _number(inner, 5)
    if start + size > end:
        raise _damaged(f"definition levels of {size} bytes in a page of {end - start}")
    if not max_definition:
        return None, start + size, encoding
    levels = _hybrid(data, start, start + size, width, count)
    if (levels == max_definition).all():
        return None, start + size, encoding
    return levels == max_definition, start + size, encoding


def _plain(
    data: memoryview, position: int, end: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if count * _LENGTH.size > end - position:
        raise _damaged(f"{count} values in {end - position} bytes")
    offsets, lengths = [0] * count, [0] * count
    unpack = _LENGTH.unpack_from
    for index in range(count):
        (length,) = unpack(data, position)
        position += 4
        offsets[index], lengths[index] = position, length
        position += length
        if position > end:
            raise _damaged(f"a value ends at byte {position}, its page at {end}")
    return np.array(offsets, np.int64), np.array(lengths, np.int32)


def _dictionary_values(
    data: memoryview,
    start: int,
    end: int,
    count: int,
    dictionary: tuple[NDArray[np.int64], NDArray[np.int32]] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    if dictionary is None:
        raise _damaged("a page refers to a dictionary that is not there")
    width = data[start]
    entries = _hybrid(data, start + 1, end, width, count)
    if len(entries) and int(entries.max()) >= len(dictionary[0]):
        raise _damaged(f"entry {int(entries.max())} of a dictionary of {len(dictionary[0])}")
    return dictionary[0][entries], dictionary[1][entries]


def _hybrid(data: memoryview, position: int, end: int, width: int, count: int) -> NDArray[np.int64]:
    """Decode the hybrid of run lengths and bit-packed groups of eight (Encodings.md, RLE)."""
    if width > 32:
        raise _damaged(f"numbers of {width} bits")
    found = np.zeros(count, np.int64)
    done = 0
    while done < count and position < end:
        head, position = read_unsigned(data, position)
        if head & 1:
            size = (head >> 1) * width
            if position + size > end and position + -(-(count - done) * width // 8) > end:
                raise _damaged("a run of numbers longer than its page")
            packed = np.frombuffer(data[position : min(position + size, end)], np.uint8)
            bits = np.unpackbits(packed, bitorder="little")
            values = bits[: len(bits) // width * width].reshape(-1, width) if width else bits.reshape(0, 1)
            numbers = values.astype(np.int64) @ (1 << np.arange(width, dtype=np.int64)) if width else None
            take = min((head >> 1) * 8, count - done)
            if numbers is not None:
                found[done : done + take] = numbers[:take]
            position += size
        else:
            size = (width + 7) // 8
            if position + size > end:
                raise _damaged("a run of numbers longer than its page")
            take = min(head >> 1, count - done)
            found[done : done + take] = int.from_bytes(data[position : position + size], "little")
            position += size
            if not take:
                raise _damaged("an empty run of numbers")
        done += take
    if done < count:
        raise _damaged(f"{done} numbers of {count}")
    return found


def _header(data: memoryview, position: int, end: int) -> tuple[dict[int, Any], int]:
    """A page header as {field id: value}, and where it ends; texts and lists are of no use here."""
    found = read_fields(data[:end], position)
    values: dict[int, Any] = {}
    for number, (begin, _, kind) in found.spans.items():
        if kind == STRUCT:
            values[number], _ = _header(data, begin, end)
        elif kind in {I32, I64}:
            values[number], _ = read_signed(data, begin)
    return values, found.end


def _number(fields: dict[int, Any], field: int) -> int:
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _damaged(f"field {field} of a page header is {value!r:.40}")
    return value


def _part(fields: dict[int, Any], field: int) -> dict[int, Any]:
    value = fields.get(field)
    if not isinstance(value, dict):
        raise _damaged(f"a page header without its part {field}")
    return value


def _check_encoding(encoding: int, known: Sequence[int] | set[int], what: str) -> None:
    if encoding not in known:
        raise PageError(
            f"{what} has encoding {_ENCODINGS.get(encoding, encoding)}, expected plain or dictionary",
            remedy="Stream the folder, or build it again.",
        )


def _damaged(what: str) -> PageError:
    return PageError(f"a page is damaged: {what}", remedy="Build or download this file again.")
