"""What is said of an image file: its facts, and the doubts of a reader that cannot give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

__all__ = [
    "JPEG_END",
    "JPEG_START",
    "MAX_PIXELS",
    "PILLOW_DEPTHS",
    "PNG_START",
    "TURNS",
    "Doubt",
    "ImageInfo",
    "suspicion",
]


MAX_PIXELS = 178_956_970
"""Largest number of pixels accepted; above it Pillow, and with it every reader, refuses by default."""

JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings the stored pixels upright, by EXIF orientation."""


class ImageInfo(NamedTuple):
    """What the header of an image says.

    Attributes:
        format: Container as Pillow names it: ``JPEG``, ``PNG``, ``MPO``, ``TIFF``, ``BMP`` ...
        mode: Pillow mode after opening: ``L``, ``RGB``, ``I;16`` ...
        width: Pixels, of the upright image.
        height: Pixels, of the upright image.
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.
        orientation: EXIF orientation, 1 to 8. Values outside of this are ignored by all readers and reported
            as 1.
        bit_depth: Bits per channel in the file: 1 (bilevel), 8, 16 or 32; fewer than 8 bits of grey or
            palette, which every reader widens, count as 8. A 16-bit RGB file is 16 here although Pillow opens
            it as 8-bit ``RGB``.
        channels: Channels of `mode`.
        notes: Harmless oddities, such as ``12 bytes of trailing data``; empty for a clean file.
    """

    format: str
    mode: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    orientation: int
    bit_depth: int
    channels: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a fast reader gives no answer.

    Attributes:
        reason: What is unusual about the file, as a part of a sentence.
        decode: Only decoding the pixels can tell whether they are whole.
        cut: The file's end is missing, as far as one can see.
        notes: What `ImageInfo.notes` says if the pixels turn out to be whole.
    """

    reason: str
    decode: bool = False
    cut: bool = False
    notes: tuple[str, ...] = ()


def suspicion(reason: str, *, cut: bool = False) -> Doubt:
    """A doubt that only decoding can settle."""
    return Doubt(reason, decode=True, cut=cut, notes=(reason,))


PILLOW_DEPTHS = {"1": 1, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16, "I": 32, "F": 32}
