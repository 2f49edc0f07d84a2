"""Small images in every shape that releases come in, made with Pillow or by hand where Pillow cannot."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

PNG_START = b"\x89PNG\r\n\x1a\n"


def sample_image(mode="RGB", size=(48, 32), seed=0):
    """A smooth image with some noise, so that every codec has something to do."""
    width, height = size
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2) % 200
    grey = (ramp + rng.integers(0, 40, (height, width))).astype(np.uint8)
    if mode in {"I;16", "I;16B"}:
        values = grey.astype(np.uint16) * 257 + 1
        return Image.fromarray(values if mode == "I;16" else values.astype(">u2"))
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 70_000)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 7 - 3)
    if mode == "L":
        return Image.fromarray(grey)
    colour = Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2))
    if mode in {"RGBA", "LA"}:
        colour.putalpha(Image.fromarray(grey))
    return colour.convert(mode)


def encode(image, container, **options):
    file = io.BytesIO()
    image.save(file, container, **options)
    return file.getvalue()


def exif(orientation=None, *, endian="<", padding=0, thumbnail=b""):
    """A complete EXIF block, with maker, and optionally an orientation, blank bytes and an embedded JPEG."""
    entries = [(0x010F, 2, 4, b"ABC\0")]
    if orientation is not None:
        entries.append((0x0112, 3, 1, struct.pack(endian + "HH", orientation, 0)))
    first = struct.pack(endian + "H", len(entries))
    first += b"".join(struct.pack(endian + "HHI", *entry[:3]) + entry[3] for entry in entries)
    start = 8 + len(first) + 4
    second = struct.pack(endian + "H", 2)
    second += struct.pack(endian + "HHII", 0x0201, 4, 1, start + 2 + 24 + 4)
    second += struct.pack(endian + "HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    head = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "I", 8)
    block = head + first + struct.pack(endian + "I", start if thumbnail else 0)
    return block + (second + thumbnail if thumbnail else b"") + bytes(padding)


def exif_directory(entries, endian="<"):
    """An EXIF block with these 12-byte entries."""
    start = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "IH", 8, len(entries))
    return start + b"".join(entries) + bytes(4)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def after_start(jpeg, *inserts):
    """The JPEG with bytes put behind its start-of-image marker."""
    return jpeg[:2] + b"".join(inserts) + jpeg[2:]


def oriented_jpeg(orientation, image=None, **options):
    """A JPEG with an EXIF segment of its own, before any other."""
    jpeg = encode(image or sample_image(), "JPEG", **options)
    return after_start(jpeg, segment(0xE1, b"Exif\0\0" + exif(orientation)))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows, width, height, depth, colour, *, before=(), behind=(), interlace=0):
    """A PNG from unfiltered rows (each without its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", data), *behind, chunk(b"IEND", b"")]
    return PNG_START + b"".join(chunks)


def png_of_layout(depth, colour, size=(16, 8), **options):
    """A PNG of any bit depth and colour type, with a palette where it needs one."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stride = (size[0] * channels * depth + 7) // 8
    rows = [bytes((row * 31 + i * 7) % 251 for i in range(stride)) for row in range(size[1])]
    before = list(options.pop("before", ()))
    if colour == 3:
        before.append(chunk(b"PLTE", bytes(range(256)) * 3 if depth == 8 else bytes(3 * 2**depth)))
    return png(rows, *size, depth, colour, before=before, **options)


def interlaced_png():
    """An 8x8 grey Adam7 PNG: seven passes, each with its own rows (PNG specification, 8.2)."""
    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
    rows = [bytes(range(width)) for width, height in passes for _ in range(height)]
    return png(rows, 8, 8, 8, 0, interlace=1)


def mpo(*images, **options):
    first, *others = images
    return encode(first, "MPO", save_all=True, append_images=others, **options)


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rgb16_tiff(size=(12, 10), orientation=None):
    """An uncompressed TIFF with three channels of 16 bits, which Pillow reads and cannot write."""
    width, height = size
    pixels = np.arange(width * height * 3, dtype="<u2").tobytes()
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    if orientation:
        entries.append((274, 3, 1, orientation))
    end = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [(258, 3, 3, end), (273, 4, 1, end + 6)]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16) + pixels


def pillow_decodes(data):
    """Whether Pillow decodes pixels and EXIF, with the settings that readers have by default."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                image.getexif()
        except Exception:  # noqa: BLE001 - plugins raise anything
            return False
    return True


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def pillow_reads_xmp():
    """Whether this Pillow looks for an orientation in a JPEG's XMP; old ones do not."""
    data = after_start(encode(sample_image(), "JPEG"), segment(0xE1, XMP))
    with Image.open(io.BytesIO(data)) as image:
        return 0x0112 in image.getexif()


def upright(data):
    """What `datasets` shows of the bytes: loaded, then turned as EXIF says."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return ImageOps.exif_transpose(image)
