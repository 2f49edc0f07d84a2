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
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.errors import BuildError
from irtd_datasets.folder.thrift import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    Fields,
    binary,
    list_of,
    read_fields,
    read_signed,
    skip,
    struct_of,
    varint,
    zigzag,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.rows.image_column import ImageColumn

__all__ = ["MAGIC", "ImageChunk", "encode_chunk", "splice"]

MAGIC = b"PAR1"

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
            struct_of((1, I32, page), (2, I32, encoding), (3, I32, 1)) for page, encoding in reversed(stats)
        ]
        return struct_of(
            (2, I64, 0),
            (
                3,
                STRUCT,
                struct_of(
                    (1, I32, _BYTE_ARRAY),
                    (2, LIST, list_of(I32, [zigzag(encoding) for encoding in encodings])),
                    (3, LIST, list_of(BINARY, [binary(name.encode()) for name in path])),
                    (4, I32, _UNCOMPRESSED),
                    (5, I64, self.values),
                    (6, I64, self.size),
                    (7, I64, self.size),
                    (9, I64, offset + self.dictionary_size),
                    *([(11, I64, offset)] if repeated else []),
                    (13, LIST, list_of(STRUCT, pages)),
                ),
            ),
            (4, I64, index[0]),
            (5, I32, index[1]),
        )

    def offset_index(self, offset: int) -> bytes:
        """The page index of a chunk whose bytes begin at ``offset``: its only data page."""
        page = struct_of(
            (1, I64, offset + self.dictionary_size),
            (2, I32, self.size - self.dictionary_size),
            (3, I64, 0),
        )
        return struct_of((1, LIST, list_of(STRUCT, [page])))


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
        runs = varint(len(rows) << 1) + bytes([_PRESENT if present else 0])
    else:
        runs = b"".join(
            varint(len(list(run)) << 1) + bytes([_PRESENT if shown else 0])
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
    return bytes([width]) + varint(len(padded) // 8 << 1 | 1) + packed


def _page(kind: int, size: int, values: int, encoding: int) -> bytes:
    """A page's header."""
    if kind == _DICTIONARY_PAGE:
        inner = (7, STRUCT, struct_of((1, I32, values), (2, I32, encoding)))
    else:
        levels = ((3, I32, _RLE), (4, I32, _RLE))
        inner = (5, STRUCT, struct_of((1, I32, values), (2, I32, encoding), *levels))
    return struct_of((1, I32, kind), (2, I32, size), (3, I32, size), inner)


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
    whole, ours = read_fields(template), read_fields(footer, lists={4: _row_group})
    groups = []
    for (start, chunks), group in zip(row_groups, ours.lists.get(4, ()), strict=True):
        if read_signed(footer, group.spans[5][0])[0] != start:
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
        fields: list[tuple[int, int, int | bytes]] = [(1, LIST, list_of(STRUCT, columns))]
        for number, (value, end, kind) in group.spans.items():
            if number in (2, 6):  # total_byte_size, total_compressed_size
                fields.append((number, kind, read_signed(footer, value)[0] + added))
            elif number != 1:
                fields.append((number, kind, footer[value:end]))
        groups.append(struct_of(*fields))
    replaced = {4: list_of(STRUCT, groups)}
    if 3 in ours.spans:
        replaced[3] = footer[ours.spans[3][0] : ours.spans[3][1]]  # num_rows
    merged = struct_of(
        *(
            (number, kind, replaced.get(number, template[value:end]))
            for number, (value, end, kind) in whole.spans.items()
        )
    )
    return b"".join([*indexes, merged, struct.pack("<I", len(merged)), MAGIC])


def _row_group(data: bytes, position: int) -> tuple[Fields, int]:
    fields = read_fields(data, position, {1: _column})
    return fields, fields.end


def _column(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    end = skip(data, position, STRUCT)
    return (position, end), end
