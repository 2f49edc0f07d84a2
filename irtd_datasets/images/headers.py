"""Headers of JPEG and PNG, read with `struct` alone.

Both readers mirror what Pillow's plugins accept; anything else becomes a doubt, which Pillow answers.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from irtd_datasets.images.info import JPEG_END, JPEG_START, PNG_START, Doubt, ImageInfo, suspicion

__all__ = ["read_jpeg", "read_png", "read_size"]


def read_size(head: bytes) -> tuple[int, int, int] | None:
    """Size of an image from the beginning of its file, where that is certain.

    Args:
        head: The first 64 KiB or so.

    Returns:
        Width and height of the upright image in pixels, and its EXIF orientation; None where only
        `inspect_image` of the whole file can tell.

    Example:
        >>> read_size(b"BM6") is None
        True
    """
    if head[:8] == PNG_START:
        if head[12:16] != b"IHDR" or len(head) < 33 or b"eXIf" in head:
            return None
        width, height = struct.unpack_from(">II", head, 16)
        return (width, height, 1) if width and height else None
    if head[:3] != JPEG_START:
        return None
    try:
        found = _walk_jpeg_header(head)
    except (IndexError, struct.error):
        return None
    if isinstance(found, Doubt) or found.ask:
        return None
    width, height, _, orientation = found[:4]
    return (height, width, orientation) if orientation >= 5 else (width, height, orientation)


_U16 = struct.Struct(">H").unpack_from
_FRAME = struct.Struct(">BHHB").unpack_from  # precision, height, width, components (ITU-T T.81, B.2.2)
_CHUNK = struct.Struct(">I4s").unpack_from  # length, type (PNG specification, 5.3)
_IHDR = struct.Struct(">IIBBBBBI").unpack_from
_U32 = struct.Struct(">I").unpack_from
# Frames but JPG (C8), DHT, DRI, DQT, SOS, application segments, COM; libjpeg or Pillow has its own mind about
# the rest.
_JPEG_SEGMENTS = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE} - {0xC8, 0xCC})
_SCAN_SEGMENTS = _JPEG_SEGMENTS | {0xDC}
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


def read_jpeg(view: bytes | memoryview) -> ImageInfo | Doubt:
    """What the header of a JPEG says; a doubt where only Pillow can tell."""
    try:
        found = _jpeg_header(view)
    except (IndexError, struct.error):
        return suspicion("it ends within its header", cut=True)
    notes: tuple[str, ...] = ()
    if view[-2:] != JPEG_END:
        # Cameras and recovery tools pad to block sizes; entropy-coded data never holds an end marker (T.81,
        # B.1.1.5).
        tail = bytes(view[-4096:])
        image_end = len(tail.rstrip(b"\0\xff\r\n"))
        if tail[:image_end].endswith(JPEG_END):
            notes = (_trailing(len(tail) - image_end),)
        else:
            end = _end_elsewhere(view, found)
            if isinstance(end, Doubt):
                return end
            notes = end
    if isinstance(found, Doubt):
        return replace(found, notes=found.notes + notes) if notes else found
    if found.ask:
        return Doubt(found.ask, notes=notes)
    width, height, components, orientation = found[:4]
    mode = _JPEG_MODES[components]
    if orientation >= 5:
        return ImageInfo("JPEG", mode, height, width, width, height, orientation, 8, components, notes)
    return ImageInfo("JPEG", mode, width, height, width, height, orientation, 8, components, notes)


def _end_elsewhere(view: bytes | memoryview, found: _JpegHeader | Doubt) -> Doubt | tuple[str, ...]:
    """A note of the bytes behind the end of a JPEG, as thermal cameras, phones and editors write them, or a doubt."""
    missing = "no end-of-image marker at its end"
    if isinstance(found, Doubt):
        return replace(found, decode=True, cut=True, notes=(*found.notes, missing))
    end = _scans_end(view, found.scan)
    return suspicion(missing, cut=True) if end < 0 else (_trailing(len(view) - end),)


def _scans_end(data: bytes | memoryview, scan: int) -> int:
    """Where a JPEG ends whose first scan's data begin at `scan`; -1 where no end is found.

    In entropy-coded data 0xFF is followed by 0 or a restart number (T.81, B.1.1.5), so that the next other marker is
    real: the end, or a segment before the next scan.
    """
    values = np.frombuffer(data, np.uint8)
    segments = 0
    for start in range(scan, len(data), _SEARCHED):
        part = values[start : start + _SEARCHED + 1]
        marked = (part[:-1] == 0xFF) & (part[1:] != 0)
        first = int(marked.argmax()) if len(marked) else 0
        # Mostly the first is the end, and to list all of them would take as long again.
        only = start + first >= scan and part[first : first + 2].tobytes() == JPEG_END
        for place in [first] if only else np.flatnonzero(marked).tolist():
            position = start + place
            marker = data[position + 1]
            if position < scan or marker == 0xFF or 0xD0 <= marker <= 0xD7:
                continue  # inside a segment, fill, or a restart
            if marker == JPEG_END[1]:
                return int(position) + 2
            segments += 1
            if marker not in _SCAN_SEGMENTS or len(data) < position + 4 or segments > _MOST_SEGMENTS:
                return -1
            scan = position + 2 + int(_U16(data, position + 2)[0])
    return -1


_SEARCHED = 1 << 20


class _JpegHeader(NamedTuple):
    width: int
    height: int
    components: int
    orientation: int
    scan: int  # where the first scan's data begin
    ask: str  # why Pillow has to read the metadata; empty where it need not


_MOST_SEGMENTS = 4096
"""Most segments of a JPEG's header, and bytes that fill a place in it; a colour profile takes 255 at most."""
_MOST_CHUNKS = 1 << 16
_REMEMBERED = 4096  # bytes of a header, at most; with a colour profile it has ten times as many
_last_header: tuple[bytes, _JpegHeader] | None = None


def _jpeg_header(view: bytes | memoryview) -> _JpegHeader | Doubt:
    """The header of a JPEG; that of the one before where it has the same bytes.

    The images of a source mostly come from one encoder with one table and one size: of 16 real sources seven have
    one or two headers for all their images.
    """
    global _last_header  # noqa: PLW0603 - replaced as a whole, so that threads may do so at the same time
    last = _last_header
    if last is not None and len(view) > last[1].scan and bytes(view[: last[1].scan]) == last[0]:
        return last[1]
    found = _walk_jpeg_header(view)
    if isinstance(found, _JpegHeader) and found.scan <= _REMEMBERED:
        _last_header = bytes(view[: found.scan]), found
    return found


def _walk_jpeg_header(view: bytes | memoryview) -> _JpegHeader | Doubt:  # noqa: C901, PLR0912
    """Walk the marker segments up to the first scan."""
    # One function with many branches on purpose: it runs once per image, and each call inside costs a
    # twentieth of the total.
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None  # None without EXIF, 0 where EXIF does not say
    xmp_orientation = 0
    ask = ""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        if view[position] != 0xFF:
            return suspicion("bytes between its header segments")
        marker = view[position + 1]
        if marker == 0xFF:  # fill bytes (T.81, B.1.1.2)
            filled = bytes(view[position : position + _MOST_SEGMENTS])
            position += len(filled) - len(filled.lstrip(b"\xff")) - 1
            marker = view[position + 1]
        length = _U16(view, position + 2)[0]
        if length < 2 or marker not in _JPEG_SEGMENTS:
            return suspicion(f"an unexpected marker 0xFF{marker:02X} in its header")
        start = position + 4
        position = start + length - 2
        if marker == 0xDA:
            break
        if marker <= 0xCF and marker != 0xC4:
            precision, height, width, components = _FRAME(view, start)
            if precision != 8:
                return suspicion(f"samples of {precision} bits")
            if (
                frame is not None
                or marker > 0xC2
                or components not in _JPEG_MODES
                or length != 8 + 3 * components
            ):
                return suspicion(f"an unusual frame (marker 0xFF{marker:02X}, {components} components)")
            frame = width, height, components
        elif marker == 0xDB:
            if (length - 2) % 65 or max(view[start:position:65], default=0) > 3:
                return suspicion("an unusual quantization table")
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
                ask = "several images or an unusual colour profile"
        elif (marker == 0xE0 and length < 16) or (marker == 0xEE and length < 14) or marker == 0xED:
            # Pillow parses JFIF, Adobe and Photoshop segments, and refuses the file where they are cut short.
            ask = "application segments that need parsing"
    else:
        return suspicion("no end of its header")
    if len(view) <= position:
        return suspicion("it ends within its header", cut=True)
    if frame is None or not frame[0] or not frame[1]:
        return suspicion("no frame size before its first scan")
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


def read_png(view: bytes | memoryview) -> ImageInfo | Doubt:
    """What the header of a PNG says; a doubt where only Pillow can tell."""
    try:
        return _walk_png(view)
    except (IndexError, struct.error):
        return suspicion("it ends before its end chunk", cut=True)


def _walk_png(view: bytes | memoryview) -> ImageInfo | Doubt:  # noqa: C901, PLR0912
    """Walk all chunks, to the end chunk; checksums are tested up to the pixels, as Pillow does."""
    length, kind = _CHUNK(view, 8)
    if kind != b"IHDR" or length != 13:
        return suspicion("its first chunk is no IHDR")
    width, height, depth, colour, compression, filtering, interlace, checksum = _IHDR(view, 16)
    if zlib.crc32(view[12:29]) != checksum:
        return suspicion("its IHDR fails its checksum")
    layout = _PNG_MODES.get((depth, colour))
    if layout is None or not width or not height or compression or filtering or interlace > 1:
        return suspicion(f"an unusual IHDR (bit depth {depth}, colour type {colour})")
    mode, bit_depth, channels = layout
    palette_missing = mode == "P"
    metadata = ""
    late = False  # metadata behind the pixels, which Pillow finds while decoding them
    pixels = 0  # 1 while in the pixels, 2 behind them
    position = 33
    for _ in range(_MOST_CHUNKS):
        length, kind = _CHUNK(view, position)
        start = position + 8
        position = start + length + 4
        if kind == b"IDAT":
            if pixels == 2:
                return suspicion("its pixels are in two places")
            pixels = 1
            continue
        if kind == b"IEND":
            break
        if pixels == 1:
            pixels = 2
        elif pixels == 0 and zlib.crc32(view[start - 4 : start + length]) != _U32(view, start + length)[0]:
            return suspicion(f"its {kind.decode('latin-1')} chunk fails its checksum")
        if kind == b"PLTE":
            if pixels or length % 3 or not 0 < length <= 768:
                return suspicion("an unusual palette")
            palette_missing = False
        elif kind == b"tRNS":
            if pixels or (
                length != _PNG_TRANSPARENCY_LENGTHS.get(mode) and not (mode == "P" and length <= 256)
            ):
                return suspicion("an unusual tRNS chunk")
        elif kind == b"tEXt":
            if bytes(view[start : start + 24]).startswith(_PNG_EXIF_KEYS):
                metadata, late = "EXIF in a text chunk", late or bool(pixels)
        elif _PNG_PLAIN_CHUNKS.get(kind) != length and kind not in _PNG_IGNORED_CHUNKS:
            if not kind.isalpha():
                return suspicion("a broken chunk")
            metadata, late = f"a {kind.decode('latin-1')} chunk of {length} bytes", late or bool(pixels)
    else:
        return suspicion("no end of its chunks")
    if not pixels or length or palette_missing:
        return suspicion("no pixels or no palette before its end chunk")
    if position > len(view):
        return suspicion("it ends within its end chunk", cut=True)
    notes = (_trailing(len(view) - position),) if position < len(view) else ()
    if metadata:
        return Doubt(metadata, decode=late, notes=notes)
    return ImageInfo("PNG", mode, width, height, width, height, 1, bit_depth, channels, notes)
