"""Headers of healthy images: every field as Pillow says it, without Pillow where the file is plain."""

import contextlib
import io
import re
import struct
import warnings
import zlib

import pytest
from image_samples import (
    XMP,
    after_start,
    chunk,
    encode,
    exif,
    exif_directory,
    interlaced_png,
    mpo,
    oriented_jpeg,
    pillow_reads_xmp,
    png_of_layout,
    profile,
    rgb16_tiff,
    sample_image,
    segment,
    upright,
)
from PIL import Image, ImageFile

from irtd_datasets.errors import ImageError
from irtd_datasets.images import headers
from irtd_datasets.images.files import inspect_image, prepare_image

THUMBNAIL = encode(sample_image(size=(20, 12)), "JPEG")
JPEG = encode(sample_image(), "JPEG")
FRAME = JPEG.index(b"\xff\xc0")
TABLE = JPEG[JPEG.index(b"\xff\xdb") :][:69]

# Read with struct alone.
PLAIN = {
    "baseline": JPEG,
    "grey": encode(sample_image("L"), "JPEG"),
    "cmyk with Adobe marker": encode(sample_image("CMYK"), "JPEG"),
    "progressive": encode(sample_image(), "JPEG", progressive=True),
    "restart markers": encode(sample_image(), "JPEG", restart_marker_blocks=1),
    "subsampled": encode(sample_image(size=(47, 31)), "JPEG", subsampling=2),
    "colour profile": encode(sample_image(), "JPEG", icc_profile=profile()),
    "colour profile in two segments": encode(sample_image(), "JPEG", icc_profile=bytes(90_000)),
    "comment": encode(sample_image(), "JPEG", comment=b"\xff\xd9 and \xff\xc0"),
    "thumbnail in EXIF": after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif(1, thumbnail=THUMBNAIL))),
    "thumbnail in APP2": after_start(JPEG, segment(0xE2, b"other\0" + THUMBNAIL)),
    "EXIF of 60 kB": after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif(6, padding=60_000))),
    "EXIF big-endian": after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif(8, endian=">"))),
    "EXIF without orientation": after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif())),
    "EXIF orientation 0": oriented_jpeg(0),
    "EXIF orientation 9": oriented_jpeg(9),
    "EXIF and XMP disagree": after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif(3)), segment(0xE1, XMP)),
    "orientation in XMP alone": after_start(JPEG, segment(0xE1, XMP)),
    "orientation in XMP, EXIF silent": after_start(
        JPEG, segment(0xE1, b"Exif\0\0" + exif()), segment(0xE1, XMP)
    ),
    "orientation 0 in XMP": after_start(JPEG, segment(0xE1, XMP.replace(b"6", b"0"))),
    "orientation 9 in XMP": after_start(JPEG, segment(0xE1, XMP.replace(b"6", b"9"))),
    "later XMP without": after_start(JPEG, segment(0xE1, XMP), segment(0xE1, XMP.split(b"<rdf")[0])),
    "XMP extension": after_start(JPEG, segment(0xE1, XMP.replace(b"xap/1.0", b"xmp/extension"))),
    "fill bytes before markers": JPEG[:FRAME] + b"\xff\xff\xff" + JPEG[FRAME:],
    "application segments": after_start(JPEG, *(segment(0xE0 + n, bytes(999)) for n in (3, 4, 9, 15))),
    "zero padding": JPEG + bytes(512),
    **{f"orientation {n}": oriented_jpeg(n) for n in range(1, 9)},
    "png": encode(sample_image(), "PNG"),
    "png optimized": encode(sample_image("L"), "PNG", optimize=True),
    "png palette": encode(sample_image("P"), "PNG"),
    "png palette with transparency": encode(sample_image("P"), "PNG", transparency=3),
    "png bilevel": encode(sample_image("1"), "PNG"),
    "png alpha": encode(sample_image("RGBA"), "PNG"),
    "png grey alpha": encode(sample_image("LA"), "PNG"),
    "png 16 bit": encode(sample_image("I;16"), "PNG"),
    "png resolution": encode(sample_image(), "PNG", dpi=(300, 300)),
    "png interlaced": interlaced_png(),
    "png trailing": encode(sample_image(), "PNG") + b"behind",
    "png ancillary": png_of_layout(
        8,
        2,
        before=[
            chunk(b"gAMA", struct.pack(">I", 45455)),
            chunk(b"cHRM", bytes(32)),
            chunk(b"sRGB", b"\0"),
            chunk(b"tEXt", b"Software\0scanner"),
            chunk(b"sBIT", b"\x08\x08\x08"),
            chunk(b"bKGD", bytes(6)),
            chunk(b"tRNS", bytes(6)),
        ],
        behind=[chunk(b"tIME", bytes(7)), chunk(b"tEXt", b"date:create\0yesterday")],
    ),
    "trailing data": JPEG + b"a camera's own index",
    **{
        f"png depth {depth} colour type {colour}": png_of_layout(depth, colour)
        for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8,), 6: (8, 16)}.items()
        for depth in depths
    },
}

# Left to Pillow.
UNUSUAL = {
    "EXIF without TIFF header": after_start(JPEG, segment(0xE1, b"Exif\0\0no TIFF header")),
    "EXIF orientation of 32 bits": after_start(
        JPEG,
        segment(0xE1, b"Exif\0\0" + exif_directory([struct.pack(">HHII", 0x0112, 4, 1, 6)], ">")),
    ),
    "EXIF orientation twice in one": after_start(
        JPEG, segment(0xE1, b"Exif\0\0" + exif_directory([struct.pack("<HHIHH", 0x0112, 3, 2, 6, 8)]))
    ),
    "two EXIF segments": after_start(
        JPEG, segment(0xE1, b"Exif\0\0" + exif(6)), segment(0xE1, b"Exif\0\0" + exif(3))
    ),
    "Photoshop segment": after_start(JPEG, segment(0xED, b"Photoshop 3.0\0")),
    "bytes between segments": JPEG[:FRAME] + b"\0\0" + JPEG[FRAME:],
    "16-bit quantization": JPEG.replace(
        TABLE, segment(0xDB, b"\x10" + b"".join(bytes([0, value]) for value in TABLE[5:]))
    ),
    "mpo": mpo(sample_image(), sample_image("RGB", (24, 16))),
    "mpo turned": mpo(sample_image(), sample_image(), exif=b"Exif\0\0" + exif(6)),
    "png eXIf": encode(sample_image(), "PNG", exif=exif(6)),
    "png eXIf behind the pixels": png_of_layout(8, 0, behind=[chunk(b"eXIf", exif(5))]),
    "png XMP": png_of_layout(
        8, 2, before=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.split(b"\0")[1])]
    ),
    "png EXIF in text": png_of_layout(
        8, 0, before=[chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 99\n" + exif(8).hex().encode())]
    ),
    "png EXIF in compressed text": png_of_layout(
        8,
        0,
        behind=[
            chunk(
                b"zTXt",
                b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 99\n" + exif(7).hex().encode()),
            )
        ],
    ),
    "png profile": encode(sample_image(), "PNG", icc_profile=profile()),
    "png 16-bit grey alpha": png_of_layout(16, 4),
    "png animation": encode(sample_image(), "PNG", save_all=True, append_images=[sample_image(seed=1)]),
    "png private chunk": png_of_layout(8, 0, before=[chunk(b"prVt", b"secret")]),
    "tiff": encode(sample_image(), "TIFF"),
    "tiff grey": encode(sample_image("L"), "TIFF"),
    "tiff 16 bit": encode(sample_image("I;16"), "TIFF"),
    "tiff 16 bit big-endian": encode(sample_image("I;16B"), "TIFF"),
    "tiff 16-bit colour": rgb16_tiff(),
    "tiff int32": encode(sample_image("I"), "TIFF"),
    "tiff float32": encode(sample_image("F"), "TIFF"),
    "tiff cmyk": encode(sample_image("CMYK"), "TIFF"),
    "tiff lzw": encode(sample_image(), "TIFF", compression="tiff_lzw"),
    "tiff pages": encode(sample_image("L"), "TIFF", save_all=True, append_images=[sample_image("L", (8, 8))]),
    "tiff turned": encode(sample_image("I;16"), "TIFF", tiffinfo={0x0112: 6}),
    "bmp": encode(sample_image(), "BMP"),
    "bmp grey": encode(sample_image("L"), "BMP"),
    "bmp bilevel": encode(sample_image("1"), "BMP"),
    "gif": encode(sample_image("P"), "GIF"),
    "gif animation": encode(
        sample_image("P"), "GIF", save_all=True, append_images=[sample_image("P", seed=2)]
    ),
    "webp": encode(sample_image(), "WEBP"),
    "webp lossless with EXIF": encode(sample_image("RGBA"), "WEBP", lossless=True, exif=exif(4)),
    "pgm": encode(sample_image("L"), "PPM"),
    "jpeg 2000": encode(sample_image(), "JPEG2000"),
}
DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}
DEEP_COLOUR = {
    "png depth 16 colour type 2",
    "png depth 16 colour type 6",
    "png 16-bit grey alpha",
    "tiff 16-bit colour",
}


def pillow_facts(data):
    """Format, mode, upright size, stored size, orientation, channels, all from Pillow decoding everything."""
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        image = stack.enter_context(Image.open(io.BytesIO(data)))
        container, mode, bands = image.format, image.mode, len(image.getbands())
        stored = image.size
        late = container == "PNG"  # metadata behind the pixels is known after decoding
        if late:
            image.load()
        orientation = image.getexif().get(0x0112, 1)
        orientation = orientation if orientation in range(1, 9) else 1
        if container == "TIFF":  # whose size is that of the upright image, in newer versions of Pillow
            stored = image.tag_v2[256], image.tag_v2[257]
        return container, mode, upright(data).size, stored, orientation, bands


def facts(info):
    return (
        info.format,
        info.mode,
        (info.width, info.height),
        (info.stored_width, info.stored_height),
        info.orientation,
        info.channels,
    )


@pytest.mark.parametrize("kind", [*PLAIN, *UNUSUAL])
def test_every_field_is_what_pillow_says(kind):
    """Format, mode, sizes, orientation and channels are Pillow's for every kind of file."""
    data = {**PLAIN, **UNUSUAL}[kind]
    if "XMP" in kind and not pillow_reads_xmp():
        pytest.skip("this version of Pillow does not read XMP")
    info = inspect_image(data, kind)
    assert facts(info) == pillow_facts(data)
    assert info.bit_depth == (16 if kind in DEEP_COLOUR else DEPTHS.get(info.mode, 8))


@pytest.mark.parametrize("kind", [*PLAIN, *UNUSUAL])
def test_decoding_changes_no_answer(kind):
    """Verifying by decoding gives the same facts as the header alone."""
    data = {**PLAIN, **UNUSUAL}[kind]
    assert inspect_image(data, kind, verify="decode") == inspect_image(data, kind)


@pytest.mark.parametrize("kind", [*PLAIN, *UNUSUAL])
def test_views_of_any_kind_are_read_like_bytes(kind):
    """A memoryview, also a signed or read-only one into a larger buffer, gives the answer that bytes give."""
    data = {**PLAIN, **UNUSUAL}[kind]
    buffer = memoryview(bytearray(b"before" + data + b"behind"))
    inside = buffer[6 : 6 + len(data)]
    for view in (inside, inside.toreadonly(), inside.cast("b")):
        assert inspect_image(view, kind) == inspect_image(data, kind)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_files_need_no_pillow(kind, monkeypatch):
    """Clean JPEG and PNG are read without opening them with Pillow."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened with Pillow"))
    inspect_image(PLAIN[kind], kind)


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_files_are_left_to_pillow(kind):
    """What is unusual about a JPEG or PNG is noticed, and Pillow is asked."""
    data = UNUSUAL[kind]
    read = {b"\xff\xd8": headers.read_jpeg, b"\x89P": headers.read_png}.get(data[:2])
    assert read is None or isinstance(read(data), headers.Doubt)


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if not re.search("orientation|EXIF|XMP", kind)])
def test_upright_bytes_stay_the_same_object(kind):
    """Nothing is copied on the way: the very object passed in is what is stored."""
    view = memoryview(PLAIN[kind])
    prepared = prepare_image(view, kind)
    assert prepared.data is view
    assert prepared.note == ""


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("baseline", ()),
        ("png", ()),
        ("zero padding", ("512 bytes of trailing data",)),
        ("trailing data", ("20 bytes of trailing data",)),
        ("png trailing", ("6 bytes of trailing data",)),
        ("bytes between segments", ("bytes between its header segments",)),
    ],
)
def test_oddities_are_noted(kind, notes):
    """What is odd about a healthy file stands in its notes; a clean file has none."""
    assert inspect_image({**PLAIN, **UNUSUAL}[kind], kind).notes == notes


def test_only_the_header_of_a_plain_tiff_is_read(monkeypatch):
    """Formats with sizes in their headers are not decoded when all bytes are there."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    for kind in ("tiff", "tiff lzw", "bmp", "gif", "mpo", "png profile", "png XMP"):
        inspect_image(UNUSUAL[kind], kind)


def test_warnings_of_pillow_reach_nobody():
    """A large image and broken EXIF bring no warning of Pillow, and leave the filters as they were."""
    large = png_of_layout(8, 0, size=(10_000, 1), before=[chunk(b"prVt", b"")])
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    large = large.replace(large[12:33], chunk(b"IHDR", header)[4:])
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inspect_image(large, "large.png").width == 10_000
    assert list(warnings.filters) == before


def test_a_header_seen_before_is_no_reason_not_to_look():
    """Images after one with the same header are told apart from those whose header differs or is all they have."""
    first = encode(sample_image("L"), "JPEG")
    start = headers._walk_jpeg_header(first).scan
    assert (inspect_image(first, "a.jpg").width, inspect_image(first, "a.jpg").mode) == (
        sample_image("L").width,
        "L",
    )
    other = first[: start + 9] + first[start + 9 :].replace(b"\0", b"\1", 1)
    assert inspect_image(other, "b.jpg") == inspect_image(first, "a.jpg")
    wider = bytearray(first)
    wider[first.index(b"\xff\xc0") + 8] ^= 1
    assert inspect_image(bytes(wider), "c.jpg").width == sample_image("L").width ^ 1
    for cut in (start - 1, start, start + 1):
        inspect_image(first, "a.jpg")
        with pytest.raises(ImageError, match="the image is cut off"):
            inspect_image(first[:cut], "d.jpg")
    for length in range(len(first)):
        assert headers._jpeg_header(first) == headers._walk_jpeg_header(first)
        try:
            expected = headers._walk_jpeg_header(first[:length])
        except (IndexError, struct.error) as error:
            with pytest.raises(type(error)):
                headers._jpeg_header(first[:length])
        else:
            assert headers._jpeg_header(first[:length]) == expected
