"""The check that every image passes on its way from a release into a Parquet shard.

`datasets` copies image bytes without opening them, so that an HTML error page named ``.jpg`` is counted,
published, and fails at the first read. Here each file's header is read before it is stored. Clean JPEG and
PNG, which are nearly all files of the three releases, are read with `struct` alone; whatever is unusual about
a file is left to Pillow, so that the answer is Pillow's (and with it that of `datasets`) in every case.
Pixels are decoded only where the header cannot tell whether they are whole.

The released bytes are kept as they are, with three exceptions that a row's note states: pixels that EXIF says
to turn are turned (boxes made on the file would no longer fit what `datasets` shows), a copy in another layout
than the released one is brought to it by one of `PIXEL_TRANSFORMS`, and a file that no viewer shows (floats, many
bands) is kept beside an 8-bit preview of it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from irtd_datasets.errors import BoxError, ImageError, UnknownNameError
from irtd_datasets.images.bands import preview, read_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

__all__ = [
    "MAX_PIXELS",
    "PIXEL_TRANSFORMS",
    "ImageInfo",
    "PreparedImage",
    "encode_lossless",
    "inspect_image",
    "orientation_matrix",
    "prepare_image",
    "read_size",
    "turn_boxes",
    "turn_points",
    "viewable_image",
    "without_metadata",
]

MAX_PIXELS = 178_956_970
"""Largest number of pixels accepted; above it Pillow, and with it every reader, refuses by default."""

# What a release may hold and `datasets` can decode. Left out on purpose: formats whose reading starts another
# program (EPS) or whose pixels lie in another file. MPO is opened as JPEG.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_LFS_START = b"version https://git-lfs.github.com/spec/"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_GET_AGAIN = (
    "Copy, extract or download the file again; where the release itself has it so, leave its records out."
)


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


class PreparedImage(NamedTuple):
    """An image as it goes into a shard.

    Attributes:
        data: The file's bytes; the very object that was passed in when nothing had to be changed.
        width: Pixels, of the upright image.
        height: Pixels, of the upright image.
        bit_depth: Bits per channel: 1, 8, 16 or 32.
        mode: Pillow mode of `data`.
        note: What was changed, such as ``exif-orientation-6 applied, stored as PNG``; empty when nothing was.
        released: The header of the file as released. Its orientation and stored size are what `turn_points`
            needs for coordinates that were made on the stored pixels.
        original: The released file where `data` is a preview of it; else None.
    """

    data: bytes | memoryview
    width: int
    height: int
    bit_depth: int
    mode: str
    note: str
    released: ImageInfo
    original: bytes | memoryview | None = None


@dataclass(frozen=True, slots=True)
class _Doubt:
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


def _suspicion(reason: str, *, cut: bool = False) -> _Doubt:
    return _Doubt(reason, decode=True, cut=cut, notes=(reason,))


def inspect_image(
    data: bytes | memoryview,
    name: str,
    *,
    verify: Literal["header", "decode"] = "header",
    max_pixels: int = MAX_PIXELS,
) -> ImageInfo:
    """Read an image's header and make sure that its pixels are there.

    A JPEG or PNG whose end is missing is decoded in full, and accepted when nothing of it is lost. With
    ``verify="header"`` damage in the middle of a file stays unseen.

    Args:
        data: The whole file.
        name: Name of the file for messages; its suffix is not looked at.
        verify: ``decode`` decodes every file in full, at a hundred times the cost.
        max_pixels: Largest number of pixels accepted, compared with the header before anything is allocated.
            Pillow keeps its own limit beside this one (`PIL.Image.MAX_IMAGE_PIXELS`).

    Returns:
        The header's facts.

    Raises:
        ImageError: With code ``image-empty``, ``image-lfs-pointer``, ``image-not-an-image``,
            ``image-truncated``, ``image-too-large`` or ``image-unreadable``.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("I;16", (640, 512)).save(file, "PNG")
        >>> info = inspect_image(file.getvalue(), "FLIR_00006.png")
        >>> info.format, info.mode, info.width, info.height, info.bit_depth
        ('PNG', 'I;16', 640, 512, 16)
        >>> inspect_image(b"<html>404", "FLIR_6.jpg")
        Traceback (most recent call last):
        ...
        irtd_datasets.errors.ImageError: FLIR_6.jpg: not an image but an HTML page, beginning with '<html>404'
        It is probably the error page of a failed download; get the file again.
    """
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    answer: ImageInfo | _Doubt
    if view[:3] == _JPEG_START:
        answer = _read_jpeg(view)
    elif view[:8] == _PNG_START:
        answer = _read_png(view)
    else:
        _refuse_foreign(view, name)
        answer = _Doubt("")
    if isinstance(answer, ImageInfo):
        _refuse_large(answer.width, answer.height, name, max_pixels)
        if verify == "decode":
            _ask_pillow(view, name, _Doubt("", decode=True), max_pixels)
        return answer
    if verify == "decode":
        answer = replace(answer, decode=True)
    return _ask_pillow(view, name, answer, max_pixels)


def read_size(head: bytes) -> tuple[int, int, int] | None:
    """Size of a picture from the beginning of its file, where that is certain.

    Args:
        head: The first 64 KiB or so.

    Returns:
        Width and height of the upright picture in pixels, and its EXIF orientation; None where only
        `inspect_image` of the whole file can tell.

    Example:
        >>> read_size(b"BM6") is None
        True
    """
    if head[:8] == _PNG_START:
        if head[12:16] != b"IHDR" or len(head) < 33 or b"eXIf" in head:
            return None
        width, height = struct.unpack_from(">II", head, 16)
        return (width, height, 1) if width and height else None
    if head[:3] != _JPEG_START:
        return None
    try:
        found = _walk_jpeg_header(head)
    except (IndexError, struct.error):
        return None
    if isinstance(found, _Doubt) or found.ask:
        return None
    width, height, _, orientation = found[:4]
    return (height, width, orientation) if orientation >= 5 else (width, height, orientation)


def prepare_image(
    data: bytes | memoryview,
    name: str,
    *,
    transform: str | None = None,
    verify: Literal["header", "decode"] = "header",
    max_pixels: int = MAX_PIXELS,
) -> PreparedImage:
    """Check an image and bring it into the form in which it is stored: upright, and in the released layout.

    Pixels that have to be turned or transformed are stored without loss: as PNG, or as TIFF where PNG cannot
    hold the mode (CMYK, 32-bit). The colour profile is kept, other metadata (EXIF with its place and camera)
    is not. Of a file with several frames the first is kept, as that is what `datasets` shows, and the note
    says so. 16-bit colour cannot be turned without loss in Pillow; such a file is left as it is, to be turned
    by the reader (`datasets` does), and the note says so. The same input gives the same bytes on the same
    Pillow.

    Args:
        data: The whole file.
        name: Name of the file for messages.
        transform: A name of `PIXEL_TRANSFORMS`, applied after turning the image upright.
        verify: As for `inspect_image`.
        max_pixels: As for `inspect_image`.

    Returns:
        The image to store, with sizes of the stored form.

    Raises:
        ImageError: As for `inspect_image`, and ``image-unexpected-layout`` from a transform.
        UnknownNameError: `transform` is no name of `PIXEL_TRANSFORMS`.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> exif = Image.Exif()
        >>> exif[0x0112] = 6
        >>> Image.new("L", (60, 40)).save(file, "JPEG", exif=exif)
        >>> prepared = prepare_image(file.getvalue(), "DJI_0001.jpg")
        >>> prepared.width, prepared.height, prepared.note
        (40, 60, 'exif-orientation-6 applied, stored as PNG')
    """
    if transform is not None and transform not in PIXEL_TRANSFORMS:
        known = ", ".join(sorted(PIXEL_TRANSFORMS))
        raise UnknownNameError(f"no pixel transform {transform!r}", where=name, remedy=f"There are: {known}.")
    info = inspect_image(data, name, verify=verify, max_pixels=max_pixels)
    if transform is None and info.orientation == 1:
        return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, "", info)
    return _change_pixels(data, name, info, transform)


def viewable_image(
    data: bytes | memoryview,
    name: str,
    *,
    transform: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> PreparedImage:
    """Prepare an image as `prepare_image` does, and see to it that it can be shown.

    What neither JPEG nor PNG can hold is shown nowhere, and one such picture takes the preview of a whole dataset
    away. Of 32-bit floats, and of a TIFF of many bands, the stored image is an 8-bit preview, and `original` has the
    file. 32-bit whole numbers that fit are stored as 16-bit PNG, without loss.

    Args:
        data: The whole file.
        name: Name of the file for messages.
        transform: As for `prepare_image`.
        max_pixels: As for `inspect_image`; of a TIFF of many bands, pixels times bands.

    Raises:
        ImageError: As for `prepare_image`.
        UnknownNameError: As for `prepare_image`.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.fromarray(np.linspace(20, 30, 64, dtype=np.float32).reshape(8, 8)).save(file, "TIFF")
        >>> prepared = viewable_image(file.getvalue(), "radiance.tif")
        >>> prepared.mode, prepared.bit_depth, prepared.original == file.getvalue()
        ('L', 8, True)
    """
    try:
        prepared = prepare_image(data, name, transform=transform, max_pixels=max_pixels)
    except ImageError as error:
        shown = _preview_of_bands(data, name, max_pixels) if error.code == "image-unreadable" else None
        if shown is None:
            raise
        if transform is not None:
            raise _unexpected_layout(f"a TIFF of {shown.released.channels} bands", name, transform) from error
        return shown
    return _with_preview(prepared, data, name) if prepared.mode in _UNSHOWN else prepared


# ------------------------------------------------------------------------------------------------------------
# JPEG and PNG without Pillow. Both readers mirror what Pillow's plugins accept; anything else becomes a
# doubt.

_U16 = struct.Struct(">H").unpack_from
_FRAME = struct.Struct(">BHHB").unpack_from  # precision, height, width, components (ITU-T T.81, B.2.2)
_CHUNK = struct.Struct(">I4s").unpack_from  # length, type (PNG specification, 5.3)
_IHDR = struct.Struct(">IIBBBBBI").unpack_from
_U32 = struct.Struct(">I").unpack_from
# Frames but JPG (C8), DHT, DRI, DQT, SOS, application segments, COM; libjpeg or Pillow has its own mind about
# the rest.
_JPEG_SEGMENTS = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE} - {0xC8, 0xCC})
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
# Pillow's own rule, applied here for all versions of Pillow: up to 11.0 it did not look into a JPEG's XMP.
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Bit depth and colour type to Pillow mode, bit depth as reported, channels of the mode. 16-bit grey with
# alpha is left to Pillow, whose mode for it depends on the version.
_PNG_MODES = {
    (1, 0): ("1", 1, 1),
    (2, 0): ("L", 8, 1),
    (4, 0): ("L", 8, 1),
    (8, 0): ("L", 8, 1),
    (16, 0): ("I;16", 16, 1),
    (8, 2): ("RGB", 8, 3),
    (16, 2): ("RGB", 16, 3),
    (1, 3): ("P", 8, 1),
    (2, 3): ("P", 8, 1),
    (4, 3): ("P", 8, 1),
    (8, 3): ("P", 8, 1),
    (8, 4): ("LA", 8, 2),
    (8, 6): ("RGBA", 8, 4),
    (16, 6): ("RGBA", 16, 4),
}
# Chunks that Pillow reads without a chance to fail when they have these lengths, and that say nothing of
# orientation.
_PNG_PLAIN_CHUNKS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7}
_PNG_IGNORED_CHUNKS = frozenset({b"bKGD", b"sBIT", b"hIST"})
_PNG_TRANSPARENCY_LENGTHS = {"1": 2, "L": 2, "I;16": 2, "RGB": 6}
_PNG_EXIF_KEYS = (b"exif\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0", b"xmp\0", b"icc_profile\0")


def _trailing(count: int) -> str:
    return f"{count} byte{'s' * (count != 1)} of trailing data"


def _read_jpeg(view: bytes | memoryview) -> ImageInfo | _Doubt:
    try:
        found = _walk_jpeg_header(view)
    except (IndexError, struct.error):
        return _suspicion("it ends within its header", cut=True)
    notes: tuple[str, ...] = ()
    if view[-2:] != _JPEG_END:
        # Cameras and recovery tools pad to block sizes; entropy-coded data never holds an end marker (T.81,
        # B.1.1.5).
        tail = bytes(view[-4096:])
        image_end = len(tail.rstrip(b"\0\xff\r\n"))
        if not tail[:image_end].endswith(_JPEG_END):
            return _end_missing(view, found)
        notes = (_trailing(len(tail) - image_end),)
    if isinstance(found, _Doubt):
        return replace(found, notes=found.notes + notes) if notes else found
    if found.ask:
        return _Doubt(found.ask, notes=notes)
    width, height, components, orientation = found[:4]
    mode = _JPEG_MODES[components]
    if orientation >= 5:
        return ImageInfo("JPEG", mode, height, width, width, height, orientation, 8, components, notes)
    return ImageInfo("JPEG", mode, width, height, width, height, orientation, 8, components, notes)


def _end_missing(view: bytes | memoryview, found: _JpegHeader | _Doubt) -> _Doubt:
    missing = "no end-of-image marker at its end"
    if isinstance(found, _Doubt):
        return replace(found, decode=True, cut=True, notes=(*found.notes, missing))
    end = bytes(view).find(_JPEG_END, found.scan)
    if end < 0:
        return _suspicion(missing, cut=True)
    return _suspicion(_trailing(len(view) - end - 2))


class _JpegHeader(NamedTuple):
    width: int
    height: int
    components: int
    orientation: int
    scan: int  # where the first scan's data begin
    ask: str  # why Pillow has to read the metadata; empty where it need not


def _walk_jpeg_header(view: bytes | memoryview) -> _JpegHeader | _Doubt:  # noqa: C901, PLR0912
    """Walk the marker segments up to the first scan."""
    # One function with many branches on purpose: it runs once per image, and each call inside costs a
    # twentieth of the total.
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None  # None without EXIF, 0 where EXIF does not say
    xmp_orientation = 0
    ask = ""
    position = 2
    while True:
        if view[position] != 0xFF:
            return _suspicion("bytes between its header segments")
        marker = view[position + 1]
        while marker == 0xFF:  # fill bytes (T.81, B.1.1.2)
            position += 1
            marker = view[position + 1]
        length = _U16(view, position + 2)[0]
        if length < 2 or marker not in _JPEG_SEGMENTS:
            return _suspicion(f"an unexpected marker 0xFF{marker:02X} in its header")
        start = position + 4
        position = start + length - 2
        if marker == 0xDA:
            break
        if marker <= 0xCF and marker != 0xC4:
            precision, height, width, components = _FRAME(view, start)
            if precision != 8:
                return _suspicion(f"samples of {precision} bits")
            if (
                frame is not None
                or marker > 0xC2
                or components not in _JPEG_MODES
                or length != 8 + 3 * components
            ):
                return _suspicion(f"an unusual frame (marker 0xFF{marker:02X}, {components} components)")
            frame = width, height, components
        elif marker == 0xDB:
            if (length - 2) % 65 or max(view[start:position:65], default=0) > 3:
                return _suspicion("an unusual quantization table")
        elif marker == 0xE1:
            opening = view[start : start + 6]
            if opening == b"Exif\0\0":
                if orientation is not None:
                    ask = "two EXIF segments"
                orientation = _exif_orientation(view[start + 6 : position])
                if orientation < 0:
                    ask = "an unusual EXIF segment"
            elif opening == b"http:/" and view[start : start + len(_XMP_START)] == _XMP_START:
                said = _XMP_ORIENTATION.search(view[start:position])
                xmp_orientation = int(said[1]) if said else 0
        elif marker == 0xE2:
            opening = view[start : start + 4]
            if opening == b"MPF\0" or (opening == b"ICC_" and length < 16):
                ask = "several pictures or an unusual colour profile"
        elif (marker == 0xE0 and length < 16) or (marker == 0xEE and length < 14) or marker == 0xED:
            # Pillow parses JFIF, Adobe and Photoshop segments, and refuses the file where they are cut short.
            ask = "application segments that need parsing"
    if len(view) <= position:
        return _suspicion("it ends within its header", cut=True)
    if frame is None or not frame[0] or not frame[1]:
        return _suspicion("no frame size before its first scan")
    if not orientation:  # XMP is asked where EXIF says nothing
        orientation = xmp_orientation if xmp_orientation <= 8 else 1
    return _JpegHeader(*frame, orientation or 1, position, ask)


def _exif_orientation(exif: bytes | memoryview) -> int:
    """Orientation in an EXIF block's first directory (EXIF 2.32, 4.6.4); 0 without, -1 to ask Pillow."""
    if exif[:4] == b"II*\0":
        order = "<"
    elif exif[:4] == b"MM\0*":
        order = ">"
    else:
        return -1
    if len(exif) < 8:
        return -1
    directory = struct.unpack_from(order + "I", exif, 4)[0]
    if directory < 8 or directory + 2 > len(exif):
        return -1
    count = struct.unpack_from(order + "H", exif, directory)[0]
    entries = exif[directory + 2 : directory + 2 + 12 * count]
    if len(entries) != 12 * count:
        return -1
    orientation = 0
    for tag, kind, values, value in struct.iter_unpack(order + "HHIH2x", entries):
        if tag == 0x0112:
            if kind != 3 or values != 1:
                return -1
            orientation = value if 1 <= value <= 8 else 1
        elif tag == 0x011A and (kind != 5 or values != 1):  # Pillow reads the resolution on opening
            return -1
    return orientation


def _read_png(view: bytes | memoryview) -> ImageInfo | _Doubt:
    try:
        return _walk_png(view)
    except (IndexError, struct.error):
        return _suspicion("it ends before its end chunk", cut=True)


def _walk_png(view: bytes | memoryview) -> ImageInfo | _Doubt:  # noqa: C901, PLR0912
    """Walk all chunks, to the end chunk; checksums are tested up to the pixels, as Pillow does."""
    length, kind = _CHUNK(view, 8)
    if kind != b"IHDR" or length != 13:
        return _suspicion("its first chunk is no IHDR")
    width, height, depth, colour, compression, filtering, interlace, checksum = _IHDR(view, 16)
    if zlib.crc32(view[12:29]) != checksum:
        return _suspicion("its IHDR fails its checksum")
    layout = _PNG_MODES.get((depth, colour))
    if layout is None or not width or not height or compression or filtering or interlace > 1:
        return _suspicion(f"an unusual IHDR (bit depth {depth}, colour type {colour})")
    mode, bit_depth, channels = layout
    palette_missing = mode == "P"
    metadata = ""
    late = False  # metadata behind the pixels, which Pillow finds while decoding them
    pixels = 0  # 1 while in the pixels, 2 behind them
    position = 33
    while True:
        length, kind = _CHUNK(view, position)
        start = position + 8
        position = start + length + 4
        if kind == b"IDAT":
            if pixels == 2:
                return _suspicion("its pixels are in two places")
            pixels = 1
            continue
        if kind == b"IEND":
            break
        if pixels == 1:
            pixels = 2
        elif pixels == 0 and zlib.crc32(view[start - 4 : start + length]) != _U32(view, start + length)[0]:
            return _suspicion(f"its {kind.decode('latin-1')} chunk fails its checksum")
        if kind == b"PLTE":
            if pixels or length % 3 or not 0 < length <= 768:
                return _suspicion("an unusual palette")
            palette_missing = False
        elif kind == b"tRNS":
            if pixels or (
                length != _PNG_TRANSPARENCY_LENGTHS.get(mode) and not (mode == "P" and length <= 256)
            ):
                return _suspicion("an unusual tRNS chunk")
        elif kind == b"tEXt":
            if bytes(view[start : start + 24]).startswith(_PNG_EXIF_KEYS):
                metadata, late = "EXIF in a text chunk", late or bool(pixels)
        elif _PNG_PLAIN_CHUNKS.get(kind) != length and kind not in _PNG_IGNORED_CHUNKS:
            if not kind.isalpha():
                return _suspicion("a broken chunk")
            metadata, late = f"a {kind.decode('latin-1')} chunk of {length} bytes", late or bool(pixels)
    if not pixels or length or palette_missing:
        return _suspicion("no pixels or no palette before its end chunk")
    if position > len(view):
        return _suspicion("it ends within its end chunk", cut=True)
    notes = (_trailing(len(view) - position),) if position < len(view) else ()
    if metadata:
        return _Doubt(metadata, decode=late, notes=notes)
    return ImageInfo("PNG", mode, width, height, width, height, 1, bit_depth, channels, notes)


# ------------------------------------------------------------------------------------------------------------
# Everything else, with Pillow.

_PILLOW_DEPTHS = {"1": 1, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16, "I": 32, "F": 32}
# Beginnings of what Pillow may read, longest first per format; a file that has one and fails is a broken
# image.
_OTHER_STARTS = (
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)
_ARCHIVE_STARTS = {
    b"PK\x03\x04": "a ZIP archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB 5.0": "a MATLAB file",
}
_MARKUP_STARTS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<head": "an HTML page",
    b"<body": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML document",
}


class _StrictPillow:
    """Make Pillow refuse cut files and keep its warnings to itself, for as long as one thread is inside.

    Training programs set ``LOAD_TRUNCATED_IMAGES``, with which a half-downloaded picture decodes to one with
    a grey bottom. That flag and the warning filters belong to the whole process: threads share one change of
    them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changes = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._changes.callback(
                    setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES
                )
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                # Which writes to standard error about every TIFF of many bands.
                logger = logging.getLogger("PIL.TiffImagePlugin")
                self._changes.callback(setattr, logger, "disabled", logger.disabled)
                logger.disabled = True
                self._changes.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._changes.close()


_strict_pillow = _StrictPillow()


@contextlib.contextmanager
def _opened(view: bytes | memoryview, name: str, doubt: _Doubt) -> Iterator[Image.Image]:
    """Open with Pillow; whatever Pillow raises while the file is open comes out as an `ImageError`."""
    try:
        with _strict_pillow, Image.open(io.BytesIO(view), formats=_FORMATS) as image:
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(str(error), name) from error
    except (
        Exception
    ) as error:  # damaged bytes bring out anything in Pillow's plugins, from KeyError to zlib.error
        raise _refusal(view, name, doubt, error) from error


def _ask_pillow(view: bytes | memoryview, name: str, doubt: _Doubt, max_pixels: int) -> ImageInfo:
    with _opened(view, name, doubt) as image:
        container = str(image.format)
        mode, channels = image.mode, len(image.getbands())
        width, height = _stored_size(image)
        _refuse_large(width, height, name, max_pixels)
        decode = doubt.decode or _looks_cut(image, view)
        if decode and container == "PNG":
            image.load()  # metadata may stand behind the pixels
        # The plugin's own getexif decodes every PNG without EXIF; what stands before the pixels is known
        # already.
        orientation = Image.Image.getexif(image).get(0x0112, 1)
        orientation = int(orientation) if orientation in _TURNS else 1
        bit_depth = _bit_depth(image, view, mode)
        if decode:
            image.load()
    upright = (height, width) if orientation >= 5 else (width, height)
    return ImageInfo(container, mode, *upright, width, height, orientation, bit_depth, channels, doubt.notes)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    tags = getattr(image, "tag_v2", None)
    if (
        image.format == "TIFF" and tags is not None
    ):  # Pillow announces the size of an upright TIFF before turning it
        return int(tags[256]), int(tags[257])
    return image.size


def _bit_depth(image: Image.Image, view: bytes | memoryview, mode: str) -> int:
    depth = _PILLOW_DEPTHS.get(mode, 8)
    if depth == 8 and image.format == "PNG":
        return max(8, view[24])
    if depth == 8 and image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return 16 if max(bits) == 16 else 8
    return depth


def _looks_cut(image: Image.Image, view: bytes | memoryview) -> bool:
    """Whether the header promises more bytes than there are, or says too little to tell without decoding."""
    size = len(view)
    if image.format == "BMP":
        return int.from_bytes(view[2:6], "little") > size
    if image.format == "GIF":
        return view[-1] != 0x3B
    if image.format == "WEBP":
        return int.from_bytes(view[4:8], "little") + 8 > size
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        offsets = tags.get(273) or tags.get(324) or ()
        counts = tags.get(279) or tags.get(325) or ()
        ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
        return len(offsets) != len(counts) or not ends or max(ends) > size
    return image.format in {"PPM", "JPEG2000"}


def _refuse_large(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_large(
            f"{width}x{height} are {width * height:,} pixels, at most {max_pixels:,} are read", name
        )


def _too_large(problem: str, name: str) -> ImageError:
    return ImageError(
        problem,
        code="image-too-large",
        where=name,
        remedy="If the picture is really this large, cut it into tiles: by default readers refuse it too.",
    )


def _refuse_foreign(view: bytes | memoryview, name: str) -> None:
    """Say what a file is that is neither JPEG nor PNG, where its first bytes tell, before Pillow sees it."""
    if not len(view):
        raise ImageError("the file is empty (0 bytes)", code="image-empty", where=name, remedy=_GET_AGAIN)
    head = bytes(view[:512])
    if head.startswith(_LFS_START):
        raise ImageError(
            f"not the image but a Git LFS pointer to it, beginning with {_quote(head)}",
            code="image-lfs-pointer",
            where=name,
            remedy="Run `git lfs pull` in the repository that the file comes from.",
        )
    if _JPEG_START.startswith(head) or _PNG_START.startswith(head):
        raise ImageError(
            f"it ends after {len(head)} bytes", code="image-truncated", where=name, remedy=_GET_AGAIN
        )
    markup = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, what in _MARKUP_STARTS.items():
        if markup.startswith(start):
            if what == "an HTML page":
                remedy = "It is probably the error page of a failed download; get the file again."
            else:
                remedy = "See whether the file name is right; the release may hold the image beside it."
            raise _not_an_image(what, head, name, remedy)
    for start, what in _ARCHIVE_STARTS.items():
        if head.startswith(start):
            raise _not_an_image(
                what, head, name, "See whether it has to be unpacked, or the file name is wrong."
            )


def _refusal(view: bytes | memoryview, name: str, doubt: _Doubt, error: Exception) -> ImageError:
    """The error for what Pillow refused."""
    head = bytes(view[:512])
    if isinstance(error, UnidentifiedImageError) and not head.startswith(
        (_JPEG_START, _PNG_START, *_OTHER_STARTS)
    ):
        if not head.strip(b"\0"):
            return _not_an_image("zero bytes", head, name, _GET_AGAIN)
        what = "a text" if _is_text(head) else "data of no known image format"
        return _not_an_image(what, head, name, "See whether the file name is right; then get the file again.")
    cause = "" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
    why = "; ".join(part for part in (doubt.reason, cause) if part) or "no decoder takes it"
    if doubt.cut or "truncated" in cause.lower():
        return ImageError(
            f"the image is cut off ({why})", code="image-truncated", where=name, remedy=_GET_AGAIN
        )
    return ImageError(
        f"Pillow cannot read it ({why})", code="image-unreadable", where=name, remedy=_GET_AGAIN
    )


def _not_an_image(what: str, head: bytes, name: str, remedy: str) -> ImageError:
    return ImageError(
        f"not an image but {what}, beginning with {_quote(head)}",
        code="image-not-an-image",
        where=name,
        remedy=remedy,
    )


def _quote(head: bytes) -> str:
    return repr(head[:40].decode("latin-1"))


def _is_text(head: bytes) -> bool:
    # The last character may be cut in two.
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) > len(head) - 4 and all(
        letter.isprintable() or letter in "\t\r\n" for letter in text
    )


# ------------------------------------------------------------------------------------------------------------
# Changing pixels.

_PNG_CAN_HOLD = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def _change_pixels(
    data: bytes | memoryview, name: str, info: ImageInfo, transform: str | None
) -> PreparedImage:
    if info.bit_depth == 16 and _PILLOW_DEPTHS.get(info.mode, 8) == 8:
        if transform is not None:
            raise _unexpected_layout(f"16-bit {info.mode} would be cut to 8 bits", name, transform)
        note = f"exif-orientation-{info.orientation} left to the reader (16-bit colour)"
        return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, note, info)
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    with _opened(view, name, _Doubt("")) as image:
        upright: Image.Image = image
        if info.orientation != 1:
            image.load()
            # A TIFF turns itself while it is loaded.
            upright = image.copy() if info.format == "TIFF" else image.transpose(_TURNS[info.orientation])
        changed = upright if transform is None else PIXEL_TRANSFORMS[transform](upright, name)
        if changed is image:
            return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, "", info)
        profile = image.info.get("icc_profile") if changed.mode == image.mode else None
        plain = without_metadata(changed)
        stored, container = encode_lossless(plain, profile)
        steps = []
        if info.orientation != 1:
            steps.append(f"exif-orientation-{info.orientation} applied")
        if changed is not upright:
            steps.append(f"{transform} applied")
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            steps.append(f"first of {frames} frames")
        note = ", ".join([*steps, f"stored as {container}"])
        bit_depth = _PILLOW_DEPTHS.get(plain.mode, 8)
    return PreparedImage(stored, *plain.size, bit_depth, plain.mode, note, info)


def without_metadata(image: Image.Image) -> Image.Image:
    """The image without metadata but transparent colours; 16-bit grey in native order, as PNG wants it."""
    if image.mode in {"I;16B", "I;16L", "I;16N"}:
        plain = Image.fromarray(np.asarray(image).astype(np.uint16))
    else:
        plain = image.copy()
    plain.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return plain


def encode_lossless(image: Image.Image, profile: bytes | None) -> tuple[bytes, str]:
    """Encode without loss: bytes and container, ``PNG``, or ``TIFF`` where PNG cannot hold the mode."""
    file = io.BytesIO()
    if image.mode in _PNG_CAN_HOLD:
        image.save(file, "PNG", icc_profile=profile)
        return file.getvalue(), "PNG"
    image.save(file, "TIFF", compression="tiff_adobe_deflate", icc_profile=profile)
    return file.getvalue(), "TIFF"


# Modes that Pillow saves neither as JPEG nor as PNG, which is what the Hub's viewer tries; a test asks Pillow.
_UNSHOWN = frozenset({"F", "I", "LAB", "HSV", "PA", "La", "RGBa"})


def _with_preview(prepared: PreparedImage, data: bytes | memoryview, name: str) -> PreparedImage:
    """A picture that can be shown in place of one that cannot."""
    with _opened(prepared.data, name, _Doubt("", decode=True)) as image:
        if prepared.mode in {"F", "I"}:
            values = np.asarray(image)
            if prepared.mode == "I" and values.min() >= 0 and values.max() <= 0xFFFF:
                stored, _ = encode_lossless(Image.fromarray(values.astype(np.uint16)), None)
                note = ", ".join(
                    part for part in (prepared.note, "32-bit whole numbers stored as 16-bit PNG") if part
                )
                return prepared._replace(data=stored, bit_depth=16, mode="I;16", note=note)
            pixels, what = preview(values)
            shown = Image.fromarray(pixels)
        else:
            shown, what = _to_rgb(image), f"8-bit preview of mode {prepared.mode}"
        stored, _ = encode_lossless(shown, None)
    note = ", ".join(part for part in (prepared.note, f"{what}; the file is in original") if part)
    return prepared._replace(data=stored, bit_depth=8, mode=shown.mode, note=note, original=data)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return ImageCms.profileToProfile(  # type: ignore[return-value]  # None only with inPlace
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return image.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


def _preview_of_bands(data: bytes | memoryview, name: str, max_pixels: int) -> PreparedImage | None:
    """A preview of a TIFF of many bands; None when it is none, or not one that can be read."""
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    bands = read_directory(view, max_pixels)
    if bands is None:
        return None
    pictures = []
    try:
        for file in bands.as_grey(view):
            with _opened(file, name, _Doubt("", decode=True)) as image:
                pictures.append(np.asarray(image))
        pixels, what = preview(bands.assemble(pictures))
    except (ImageError, ValueError):
        return None
    shown = Image.fromarray(pixels)
    stored, _ = encode_lossless(shown, None)
    depth = 8 * int(bands.dtype[1])
    size = (bands.width, bands.height)
    info = ImageInfo("TIFF", f"{bands.bands} bands", *size, *size, 1, depth, bands.bands)
    return PreparedImage(stored, *size, 8, shown.mode, f"{what}; the file is in original", info, data)


def _unexpected_layout(problem: str, name: str, transform: str) -> ImageError:
    return ImageError(
        f"{transform}: {problem}",
        code="image-unexpected-layout",
        where=name,
        remedy="See which copy of the source it is from: it is neither the released one nor the known other.",
    )


def _crop_border_100(image: Image.Image, name: str) -> Image.Image:
    """Cut the white border of 100 pixels off an original DroneVehicle picture (840x712 to 640x512)."""
    if image.size == (640, 512):
        return image
    if image.size != (840, 712):
        raise _unexpected_layout(
            f"it has {image.width}x{image.height} pixels, expected 840x712 or 640x512",
            name,
            "crop-border-100",
        )
    if _PILLOW_DEPTHS.get(image.mode, 8) != 8:
        raise _unexpected_layout(f"expected an 8-bit picture, not mode {image.mode}", name, "crop-border-100")
    darkest = np.asarray(image.convert("RGB")).min(axis=2)
    border = np.ones(darkest.shape, bool)
    # JPEG blocks of 8 straddle the inner edge of the border and carry the picture into it.
    border[96:-96, 96:-96] = False
    white = float(np.mean(darkest[border] >= 224))
    if white < 0.98:
        raise _unexpected_layout(
            f"only {white:.0%} of its border of 100 pixels is white, expected all of it",
            name,
            "crop-border-100",
        )
    return image.crop((100, 100, 740, 612))


def _grey(image: Image.Image, name: str) -> Image.Image:
    """Bring a colour copy of a grey picture back to one channel.

    Where all channels are equal, one of them is taken; otherwise luminance as in Pillow
    (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B).
    """
    if image.mode in {"L", *_PILLOW_DEPTHS}:
        return image
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if "A" in image.getbands():
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise _unexpected_layout(
                "it has an alpha channel that is not opaque and would be lost", name, "grey"
            )
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "L":
        return image
    colour = image.convert("RGB")
    red, green, blue = colour.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return colour.convert("L")


PIXEL_TRANSFORMS: dict[str, Callable[[Image.Image, str], Image.Image]] = {
    "crop-border-100": _crop_border_100,
    "grey": _grey,
}
"""Ways from a user's copy of an image to the layout of the released one.

Each takes an upright image and its name, returns the very same image where there is nothing to do, and raises
`ImageError` (``image-unexpected-layout``) where the copy is neither of the two.
"""


# ------------------------------------------------------------------------------------------------------------
# Coordinates.


def orientation_matrix(
    orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """The affine map from the stored pixels to the upright image.

    Coordinates lie between pixels: x runs from 0 at the left edge to the width at the right edge, y
    downwards.

    Args:
        orientation: EXIF orientation, 1 to 8 (EXIF 2.32, tag 0x0112).
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (3, 3); multiplies column vectors (x, y, 1).

    Raises:
        BoxError: `orientation` is not in 1 to 8.

    Example:
        >>> orientation_matrix(6, 60, 40).tolist()
        [[0.0, -1.0, 40.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if orientation not in _AXES:
        raise BoxError(
            f"no EXIF orientation {orientation!r}, expected 1 to 8",
            remedy="Pass ImageInfo.orientation of the image.",
        )
    swap, flip_x, flip_y = _AXES[orientation]
    width, height = (stored_height, stored_width) if swap else (stored_width, stored_height)
    matrix = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) if swap else np.eye(3)
    flip = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0])
    flip[0, 2] = width if flip_x else 0.0
    flip[1, 2] = height if flip_y else 0.0
    turned: npt.NDArray[np.float64] = flip @ matrix
    return turned + 0.0  # no negative zeros


# Transpose first, then flip left to right, flip top to bottom.
_AXES = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turn_points(
    points: npt.ArrayLike, orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """Where points on the stored pixels lie on the upright image.

    Corners of half-open boxes and polygons and other positions between pixels are turned as they are; the
    index of a pixel stands for its centre, half a pixel to the right and below.

    Args:
        points: Shape (..., 2), x and y in pixels of the image as stored.
        orientation: EXIF orientation, 1 to 8.
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (..., 2), x and y in pixels of the upright image.

    Raises:
        BoxError: The last axis has not 2 numbers, or `orientation` is not in 1 to 8.

    Example:
        >>> turn_points([[0, 0], [10, 5]], 6, 60, 40).tolist()
        [[40.0, 0.0], [35.0, 10.0]]
    """
    array = np.asarray(points, np.float64)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise BoxError(
            f"points of shape {array.shape}, expected (..., 2)",
            remedy="Use turn_boxes for boxes, reshape polygons.",
        )
    matrix = orientation_matrix(orientation, stored_width, stored_height)
    turned: npt.NDArray[np.float64] = array @ matrix[:2, :2].T + matrix[:2, 2]
    return turned


def turn_boxes(
    boxes: npt.ArrayLike, orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """Where boxes on the stored pixels lie on the upright image.

    Args:
        boxes: Shape (..., 4), x_min, y_min, x_max, y_max in pixels of the image as stored, half-open.
        orientation: EXIF orientation, 1 to 8.
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (..., 4), x_min, y_min, x_max, y_max in pixels of the upright image, half-open.

    Raises:
        BoxError: The last axis has not 4 numbers, or `orientation` is not in 1 to 8.

    Example:
        >>> turn_boxes([0, 0, 10, 5], 6, 60, 40).tolist()
        [35.0, 0.0, 40.0, 10.0]
    """
    array = np.asarray(boxes, np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise BoxError(
            f"boxes of shape {array.shape}, expected (..., 4)", remedy="Use turn_points for polygons."
        )
    corners = turn_points(array.reshape(*array.shape[:-1], 2, 2), orientation, stored_width, stored_height)
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)
