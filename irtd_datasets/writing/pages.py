"""Parquet pages of image columns, and the footer that names them, put together without an encoder.

A Parquet file stores a value of an uncompressed, plain-encoded ``binary`` column as its length in four bytes and its
bytes. A buffer in which images lie like that is a page's payload as it is: no Arrow array is made of it, no encoder
copies it, and each row group takes the encoding that suits it, where a Parquet writer fixes one for the whole file.
All other columns are pyarrow's, who writes a file without the image bytes; `splice` then puts the image columns into
its footer.

Only what image columns need is here: optional values inside an optional struct, no repetition, no compression, no
statistics, one data page, and at most one dictionary. Names and numbers are those of ``parquet.thrift`` (format 2.6)
and of the Thrift compact protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from irtd_datasets.rows.image_column import ImageColumn

__all__ = ["MAGIC", "ImageChunk", "encode_chunk", "splice"]

MAGIC = b"PAR1"

# Types of the compact protocol.
_I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 4, 5, 6, 8, 9, 12
# Bytes of values of a type in a list: booleans, a byte, a double. As fields, booleans are part of the field's head.
_BOOLEANS = (1, 2)
_FIXED = {1: 1, 2: 1, 3: 1, 7: 8}
# Parquet's enumerations.
_BYTE_ARRAY = 6
_UNCOMPRESSED = 0
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8

# Definition levels of a value inside a struct, both optional: the struct is missing, its value is, nothing is.
_PRESENT = 2
_LEVEL_BITS = 2


@dataclass(frozen=True, slots=True)
class ImageChunk:
    """The column chunk of one image column in one row group.

    Attributes:
        size: Its bytes.
        values: Rows of the row group.
        dictionary_size: Bytes of the dictionary page with its header; 0 without one.
    """

    size: int
    values: int
    dictionary_size: int

    def metadata(self, path: Sequence[str], offset: int, index: tuple[int, int]) -> bytes:
        """The chunk's entry in the footer.

        Args:
            path: Name of the column, from the root.
            offset: Where its bytes begin in the file.
            index: Where its offset index begins in the file, and its length.
        """
        repeated = self.dictionary_size > 0
        encodings = (_PLAIN, _RLE, _RLE_DICTIONARY) if repeated else (_PLAIN, _RLE)
        stats = [(_DATA_PAGE, _RLE_DICTIONARY if repeated else _PLAIN)]
        stats += [(_DICTIONARY_PAGE, _PLAIN)] if repeated else []
        pages = [
            _struct((1, _I32, page), (2, _I32, encoding), (3, _I32, 1)) for page, encoding in reversed(stats)
        ]
        return _struct(
            (2, _I64, 0),
            (
                3,
                _STRUCT,
                _struct(
                    (1, _I32, _BYTE_ARRAY),
                    (2, _LIST, _list(_I32, [_zigzag(encoding) for encoding in encodings])),
                    (3, _LIST, _list(_BINARY, [_binary(name.encode()) for name in path])),
                    (4, _I32, _UNCOMPRESSED),
                    (5, _I64, self.values),
                    (6, _I64, self.size),
                    (7, _I64, self.size),
                    (9, _I64, offset + self.dictionary_size),
                    *([(11, _I64, offset)] if repeated else []),
                    (13, _LIST, _list(_STRUCT, pages)),
                ),
            ),
            (4, _I64, index[0]),
            (5, _I32, index[1]),
        )

    def offset_index(self, offset: int) -> bytes:
        """The page index of a chunk whose bytes begin at ``offset``: its only data page."""
        page = _struct(
            (1, _I64, offset + self.dictionary_size),
            (2, _I32, self.size - self.dictionary_size),
            (3, _I64, 0),
        )
        return _struct((1, _LIST, _list(_STRUCT, [page])))


def encode_chunk(column: ImageColumn) -> tuple[ImageChunk, Sequence[bytes | memoryview]]:
    """Encode an image column of a row group, each image once where that takes fewer bytes.

    Args:
        column: The images, and which row shows which.

    Returns:
        The chunk, and its bytes one after another; they may be views of the caller's images.
    """
    rows = column.rows
    levels = _levels(rows)
    repeated = column.repeated()
    if repeated is None:
        values = _plain(column)
        payload = sum(map(len, values))
        data = _page(_DATA_PAGE, len(levels) + payload, len(rows), _PLAIN) + levels
        return ImageChunk(len(data) + payload, len(rows), 0), (data, *values)
    images = repeated.images.framed()
    dictionary = _page(_DICTIONARY_PAGE, len(images), len(repeated.images), _PLAIN)
    indices = _indices(repeated.rows[repeated.rows >= 0], len(repeated.images))
    body = levels + indices
    data = _page(_DATA_PAGE, len(body), len(rows), _RLE_DICTIONARY) + body
    first = len(dictionary) + len(images)
    return ImageChunk(first + len(data), len(rows), first), (dictionary, images, data)


def _plain(column: ImageColumn) -> list[bytes | memoryview]:
    """The images of all rows that have one, each behind its length."""
    images, rows = column.images, column.rows
    if column.in_order:
        return [images.framed()] if len(images) else []
    return [images.framed(index) for index in rows[rows >= 0].tolist()]


def _levels(rows: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> bytes:
    """Definition levels in runs, behind their length in four bytes."""
    present = np.count_nonzero(rows >= 0)
    if len(rows) and present in (0, len(rows)):
        runs = _varint(len(rows) << 1) + bytes([_PRESENT if present else 0])
    else:
        runs = b"".join(
            _varint(len(list(run)) << 1) + bytes([_PRESENT if shown else 0])
            for shown, run in groupby((rows >= 0).tolist())
        )
    return struct.pack("<I", len(runs)) + runs


def _indices(rows: np.ndarray[tuple[int, ...], np.dtype[np.int32]], count: int) -> bytes:
    """Positions in a dictionary: their width in bits, then one run of packed bits."""
    width = max((count - 1).bit_length(), 1)
    padded = np.zeros(-(-len(rows) // 8) * 8, dtype=np.int64)
    padded[: len(rows)] = rows
    bits = (padded[:, None] >> np.arange(width)) & 1
    packed = np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    return bytes([width]) + _varint(len(padded) // 8 << 1 | 1) + packed


def _page(kind: int, size: int, values: int, encoding: int) -> bytes:
    """A page's header."""
    if kind == _DICTIONARY_PAGE:
        inner = (7, _STRUCT, _struct((1, _I32, values), (2, _I32, encoding)))
    else:
        levels = ((3, _I32, _RLE), (4, _I32, _RLE))
        inner = (5, _STRUCT, _struct((1, _I32, values), (2, _I32, encoding), *levels))
    return _struct((1, _I32, kind), (2, _I32, size), (3, _I32, size), inner)


# ------------------------------------------------------------------------------------------------------------
# The footer.


def splice(
    footer: bytes,
    template: bytes,
    images: Mapping[int, Sequence[str]],
    row_groups: Sequence[tuple[int, Mapping[int, tuple[int, ImageChunk]]]],
    position: int,
) -> bytes:
    """The end of a file: page indexes of image columns, and the footer with these columns in it.

    Args:
        footer: Footer of the file as pyarrow wrote it, without the image bytes.
        template: Footer of an empty file of the whole schema, whose schema and metadata are taken.
        images: Position among the leaves of the whole schema to the name of each image column.
        row_groups: Where each row group begins in the file, and by position where each image chunk does, and the chunk.
        position: Where in the file the result will begin.

    Returns:
        The bytes from ``position`` to the end of the file.

    Raises:
        BuildError: The offsets in ``footer`` are not those of the file.
    """
    indexes: list[bytes] = []
    whole, ours = _fields(template), _fields(footer, lists={4: _row_group})
    groups = []
    for (start, chunks), group in zip(row_groups, ours.lists.get(4, ()), strict=True):
        if _number(footer, group.spans[5][0]) != start:
            raise BuildError(
                "this version of pyarrow does not take the position of the file for that of its pages",
                remedy="Use a version of pyarrow that the library is tested with, and report this one.",
            )
        columns: list[bytes | memoryview] = [footer[begin:end] for begin, end in group.lists[1]]
        for leaf, path in sorted(images.items()):
            offset, chunk = chunks[leaf]
            index = chunk.offset_index(offset)
            columns.insert(leaf, chunk.metadata(path, offset, (position, len(index))))
            indexes.append(index)
            position += len(index)
        added = sum(chunk.size for _, chunk in chunks.values())
        fields: list[tuple[int, int, int | bytes]] = [(1, _LIST, _list(_STRUCT, columns))]
        for number, (value, end, kind) in group.spans.items():
            if number in (2, 6):  # total_byte_size, total_compressed_size
                fields.append((number, kind, _number(footer, value) + added))
            elif number != 1:
                fields.append((number, kind, footer[value:end]))
        groups.append(_struct(*fields))
    replaced = {4: _list(_STRUCT, groups)}
    if 3 in ours.spans:
        replaced[3] = footer[ours.spans[3][0] : ours.spans[3][1]]  # num_rows
    merged = _struct(
        *(
            (number, kind, replaced.get(number, template[value:end]))
            for number, (value, end, kind) in whole.spans.items()
        )
    )
    return b"".join([*indexes, merged, struct.pack("<I", len(merged)), MAGIC])


@dataclass(slots=True)
class _Fields:
    """The fields of a struct.

    Attributes:
        spans: Number to where the value begins and ends, and its type.
        lists: Number to the elements of a list that was looked into.
        end: Where the struct ends.
    """

    spans: dict[int, tuple[int, int, int]]
    lists: dict[int, list[Any]]
    end: int


def _fields(
    data: bytes, position: int = 0, lists: Mapping[int, Callable[[bytes, int], tuple[Any, int]]] | None = None
) -> _Fields:
    """Read a struct; each byte is looked at once, also of the lists that are looked into.

    Args:
        data: The struct and what lies around it.
        position: Where it begins.
        lists: Number of a list of structs to what reads one of them: told where it begins, gives what it makes of it,
            and where it ends.
    """
    fields = _Fields({}, {}, 0)
    number = 0
    while head := data[position]:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = _signed(data, position)
        begin, kind = position, head & 15
        if lists and number in lists:
            fields.lists[number] = found = []
            count, position = (
                _unsigned(data, begin + 1) if data[begin] >> 4 == 15 else (data[begin] >> 4, begin + 1)
            )
            for _ in range(count):
                element, position = lists[number](data, position)
                found.append(element)
        elif kind not in _BOOLEANS:
            position = _skip(data, position, kind)
        fields.spans[number] = (begin, position, kind)
    fields.end = position + 1
    return fields


def _row_group(data: bytes, position: int) -> tuple[_Fields, int]:
    fields = _fields(data, position, {1: _column})
    return fields, fields.end


def _column(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    end = _skip(data, position, _STRUCT)
    return (position, end), end


def _number(data: bytes, position: int) -> int:
    return _signed(data, position)[0]


def _signed(data: bytes, position: int) -> tuple[int, int]:
    value, position = _unsigned(data, position)
    return (value >> 1) ^ -(value & 1), position


def _unsigned(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def _skip(data: bytes, position: int, kind: int) -> int:  # noqa: C901, PLR0912 - runs for every value of a footer
    """Where a value ends."""
    if kind == _STRUCT:
        while head := data[position]:
            position += 1
            if head < 16:  # the number follows
                position = _skip(data, position, _I64)
            kind = head & 15
            if kind == 5 or kind == 6:  # noqa: PLR1714 - most of them; half the time of a look into a set
                while data[position] > 127:
                    position += 1
                position += 1
            elif kind > 2:
                position = _skip(data, position, kind)
        return position + 1
    if kind == _LIST:
        count, kind = data[position] >> 4, data[position] & 15
        position += 1
        if count == 15:
            count, position = _unsigned(data, position)
        if kind == _BINARY:
            for _ in range(count):
                size = data[position]
                position += size + 1 if size < 128 else _skip(data, position, _BINARY) - position
        elif kind in (_I16, _I32, _I64):
            for _ in range(count):
                while data[position] > 127:
                    position += 1
                position += 1
        else:
            for _ in range(count):
                position = _skip(data, position, kind)
        return position
    if kind == _BINARY:
        size, position = _unsigned(data, position)
        return position + size
    if _I16 <= kind <= _I64:
        while data[position] > 127:
            position += 1
        return position + 1
    if kind in _FIXED:
        return position + _FIXED[kind]
    raise ValueError(f"type {kind} does not occur in Parquet's footers")


# ------------------------------------------------------------------------------------------------------------
# The compact protocol.


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1)  # nothing here is negative


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _list(kind: int, elements: Sequence[bytes | memoryview]) -> bytes:
    count = len(elements)
    head = bytes([count << 4 | kind]) if count < 15 else bytes([15 << 4 | kind]) + _varint(count)
    return head + b"".join(elements)


def _struct(*fields: tuple[int, int, int | bytes]) -> bytes:
    """A struct of fields in ascending order: number, type, and a number or an encoded value."""
    parts = []
    last = 0
    for number, kind, value in fields:
        parts.append(bytes([(number - last) << 4 | kind]))
        parts.append(_zigzag(value) if isinstance(value, int) else value)
        last = number
    return b"".join([*parts, b"\0"])
