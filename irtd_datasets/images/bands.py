"""TIFF files that Pillow does not open: many bands, floats of 16 and 64 bits, their predictor, and BigTIFF.

Nothing is decompressed here. A file whose bands stand pixel by pixel holds the same bytes as a grey image of 8 bits
that is as many times as wide as a pixel has bytes, and one whose bands stand one after another is so many grey
images. A directory that says so is put behind the file's bytes, and Pillow reads that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.images.values import shown_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["BandFile", "preview", "read_directory", "unread"]

# Tags of TIFF 6.0, and of its supplements for sample formats and tiles.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _FORMAT = 322, 323, 324, 325, 339
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # BYTE, SHORT, LONG, LONG8 of BigTIFF
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_DTYPES = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"})
_COMPRESSIONS = {
    1: "",
    5: "LZW",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_KINDS = {1: "u", 2: "i", 3: "f"}
_MAX_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class BandFile:
    """What the directory of a TIFF of many bands says.

    Attributes:
        order: ``<`` or ``>``.
        tags: Values of its tags.
        width: Pixels.
        height: Pixels.
        bands: Bands.
        dtype: Type of a value, such as ``u2``, in native order.
    """

    order: str
    tags: dict[int, tuple[int, ...]]
    width: int
    height: int
    bands: int
    dtype: str

    @property
    def interleaved(self) -> bool:
        """Whether the bands of a pixel stand together."""
        return self._one(_PLANAR, 1) == 1

    def _one(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    def as_grey(self, data: bytes | memoryview) -> list[bytes]:
        """Files that Pillow reads: one of all bands side by side, or one for each band."""
        tiled = _TILES in self.tags
        offsets, counts = (_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)
        pieces = len(self.tags[offsets])
        width = int(self.dtype[1]) * (self.bands if self.interleaved else 1)
        common = {
            _WIDTH: (self.width * width,),
            _HEIGHT: (self.height,),
            _BITS: (8,),
            _COMPRESSION: (self._one(_COMPRESSION, 1),),
            _PHOTOMETRIC: (1,),
            _SAMPLES: (1,),
            _PLANAR: (1,),
        }
        if tiled:
            common[_TILE_WIDTH] = (self._one(_TILE_WIDTH, 0) * width,)
            common[_TILE_HEIGHT] = (self._one(_TILE_HEIGHT, 0),)
        else:
            common[_STRIP_ROWS] = (min(self._one(_STRIP_ROWS, self.height), self.height),)
        if self.interleaved:
            ranges = [slice(0, pieces)]
        else:
            each = pieces // self.bands
            ranges = [slice(band * each, (band + 1) * each) for band in range(self.bands)]
        return [
            _with_directory(
                data,
                {**common, offsets: self.tags[offsets][part], counts: self.tags[counts][part]},
                self.order,
            )
            for part in ranges
        ]

    def assemble(self, images: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Values of all bands from what Pillow read.

        Args:
            images: The grey images as arrays.

        Returns:
            Shape (height, width, bands).
        """
        shape = (self.height, self.width, self.bands if self.interleaved else 1)
        stored = np.dtype(f"{self.order}{self.dtype}")
        pixels = [np.ascontiguousarray(image) for image in images]
        if self._one(_PREDICTOR, 1) == 3:
            stored = np.dtype(f">{self.dtype}")
            pixels = [self._unpredicted(image) for image in pixels]
        planes = [image.view(stored).reshape(shape) for image in pixels]
        values: NDArray[Any] = np.concatenate(planes, axis=-1).astype(self.dtype)
        if self._one(_PREDICTOR, 1) == 2:  # differences to the pixel before, from the edge of each piece on
            step = self._one(_TILE_WIDTH, self.width)
            for start in range(0, self.width, step):
                part = values[:, start : start + step]
                part[:] = np.cumsum(part, axis=1, dtype=part.dtype)
        return values

    def _unpredicted(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Floats in the usual order of bytes, from differences of all first bytes, then of all second ones ..."""
        size, bands = int(self.dtype[1]), self.bands if self.interleaved else 1
        found = np.empty_like(rows)
        step = self._one(_TILE_WIDTH, self.width) * bands * size
        for start in range(0, rows.shape[1], step):
            part = rows[:, start : start + step]
            height, length = part.shape
            sums = np.cumsum(part.reshape(height, -1, bands), axis=1, dtype=np.uint8).reshape(
                height, size, -1
            )
            found[:, start : start + length] = sums.transpose(0, 2, 1).reshape(height, length)
        return found


_BROKEN = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    ArithmeticError,
)  # also offsets of 64 bits that no file has


def read_directory(data: bytes | memoryview, max_values: int) -> BandFile | None:
    """Read the directory of a TIFF; None when it is not one that can be read here.

    Args:
        data: The file.
        max_values: Most values (width times height times bands) that are taken.
    """
    try:
        return _read(memoryview(data), max_values)
    except _BROKEN:
        return None


def unread(data: bytes | memoryview) -> str:
    """What a TIFF has that is not read here or by Pillow; empty where its file is no whole TIFF.

    Args:
        data: The file.
    """
    try:
        _, tags = _tags(memoryview(data))
        offsets, counts = (_TILES, _TILE_BYTES) if _TILES in tags else (_STRIPS, _STRIP_BYTES)
        ends = [sum(pair) for pair in zip(tags[offsets], tags[counts], strict=True)]
        if not ends or max(ends) > len(data):
            return ""
        bits = tags.get(_BITS, (1,))[0]
        kind = {3: "floats", 2: "signed whole numbers"}.get(tags.get(_FORMAT, (1,))[0], "whole numbers")
        number = tags.get(_COMPRESSION, (1,))[0]
    except _BROKEN:
        return ""
    compression = _COMPRESSIONS.get(number, f"compression {number}")
    predictor = tags.get(_PREDICTOR, (1,))[0]
    told = (f"{bits}-bit {kind}", compression, f"predictor {predictor}" if predictor > 1 else "")
    return f"a {'Big' if b'+' in bytes(data[:4]) else ''}TIFF of {', '.join(filter(None, told))}"


def _tags(view: memoryview) -> tuple[str, dict[int, tuple[int, ...]]]:
    """Byte order and tags of the first directory of a TIFF, of either kind."""
    order, big = {b"II*\0": ("<", 0), b"MM\0*": (">", 0), b"II+\0": ("<", 1), b"MM\0+": (">", 1)}[
        bytes(view[:4])
    ]
    position = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, 8 if big else 4)[0]
    count = struct.unpack_from(f"{order}Q" if big else f"{order}H", view, position)[0]
    head, room = (8, 8) if big else (2, 4)
    word = "Q" if big else "I"
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(min(count, 4096)):
        entry = position + head + (4 + 2 * room) * index
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", view, entry)
        if kind not in _SIZES or not 0 < number <= _MAX_VALUES:
            continue
        at = entry + 4 + room
        if _SIZES[kind] * number > room:
            at = struct.unpack_from(f"{order}{word}", view, at)[0]
        tags[tag] = struct.unpack_from(f"{order}{number}{_CODES[kind]}", view, at)
    return order, tags


def _read(view: memoryview, max_values: int) -> BandFile | None:
    order, tags = _tags(view)
    width, height, bands = tags[_WIDTH][0], tags[_HEIGHT][0], tags.get(_SAMPLES, (1,))[0]
    bits, formats = set(tags[_BITS]), set(tags.get(_FORMAT, (1,)))
    predictor = tags.get(_PREDICTOR, (1,))[0]
    known = len(bits) == len(formats) == 1 and bits <= {8, 16, 32, 64} and formats <= set(_KINDS)
    if not known or not 0 < width * height * bands <= max_values or predictor not in {1, 2, 3}:
        return None
    dtype = f"{_KINDS[formats.pop()]}{bits.pop() // 8}"
    tiled = _TILES in tags
    offsets = _TILES if tiled else _STRIPS
    planes = bands if tags.get(_PLANAR, (1,))[0] == 2 else 1
    counts = tags[_TILE_BYTES if tiled else _STRIP_BYTES]
    sides = (tags[_TILE_WIDTH][0], tags[_TILE_HEIGHT][0]) if tiled else tags.get(_STRIP_ROWS, (1,))
    if dtype not in _DTYPES or (predictor == 2 and dtype[0] == "f") or (predictor == 3 and dtype[0] != "f"):
        return None
    if predictor == 3 and tiled and width % sides[0]:  # the bytes of tiles over the edge are needed, too
        return None
    if len(tags[offsets]) % planes or len(tags[offsets]) != len(counts) or not all(sides):
        return None
    if max(tags[offsets]) >= 1 << 32:
        return None
    return BandFile(order, tags, width, height, bands, dtype)


def _with_directory(data: bytes | memoryview, tags: dict[int, tuple[int, ...]], order: str) -> bytes:
    """A file with another directory behind its bytes."""
    start = len(data) + len(data) % 2
    entries, behind = b"", b""
    room = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) == 1:
            value = packed
        else:
            value = struct.pack(f"{order}I", room + len(behind))
            behind += packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + value
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return b"".join([head, data[8:], bytes(len(data) % 2), directory, behind])


def preview(values: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """An 8-bit image of values of any kind, and a sentence on what it shows.

    Three bands become red, green and blue: the fourth, third and second where there are 12 or 13 of them, as Sentinel-2
    orders them, else the first three. Values of 8 bits without sign stay as they are; others are scaled band by band.

    Args:
        values: Shape (height, width) or (height, width, bands).

    Returns:
        Shape (height, width) or (height, width, 3), and the sentence.

    Example:
        >>> preview(np.array([[0.0, 0.5], [1.0, float("nan")]], np.float32))[0].tolist()
        [[0, 128], [255, 0]]
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim == 2:
        chosen, shown = [values], f"{_name(values)} values"
    else:
        bands = values.shape[2]
        numbers = [3, 2, 1] if bands in {12, 13} else [0, 1, 2] if bands > 2 else [0]
        chosen = [values[:, :, number] for number in numbers]
        shown = f"bands {', '.join(str(number + 1) for number in numbers)} of {bands} ({_name(values)})"
    if values.dtype == np.uint8:
        scaled, how = chosen, ""
    else:
        scaled, how = [_scaled(band) for band in chosen], ", scaled from the 2nd to the 98th percentile"
    image = scaled[0] if len(scaled) == 1 else np.stack(scaled, axis=-1)
    return np.ascontiguousarray(image, np.uint8), f"8-bit preview of {shown}{how}"


def _name(values: NDArray[Any]) -> str:
    return str(values.dtype.newbyteorder("=").name)


def _scaled(band: NDArray[Any]) -> NDArray[np.uint8]:
    wide = band.astype(np.float64)
    valid, low, high = shown_range(wide, (2, 98))
    if not valid.any():
        return np.zeros(band.shape, np.uint8)
    scaled = np.where(valid, (wide - low) / ((high - low) or 1.0), 0.0)
    levels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return levels
