"""Files that are no healthy image: each is refused with a code, and nothing but ImageError comes out."""

import io
import json
import pickle
import struct
import sys
import threading
import warnings
import zipfile
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import (
    PNG_START,
    after_start,
    chunk,
    encode,
    exif,
    exif_directory,
    mpo,
    oriented_jpeg,
    pillow_decodes,
    png_of_layout,
    profile,
    rgb16_tiff,
    sample_image,
    segment,
)
from PIL import Image, ImageFile

from irtd_datasets.errors import ImageError
from irtd_datasets.images import headers, opening
from irtd_datasets.images.files import MAX_PIXELS, inspect_image, prepare_image, viewable_image

SMALL = (16, 16)
THUMBNAIL = encode(sample_image(size=(8, 8)), "JPEG")
JPEG = encode(sample_image(size=SMALL), "JPEG")


@cache
def samples():
    small = sample_image(size=SMALL)
    return {
        "jpeg": JPEG,
        "jpeg with thumbnail": after_start(
            JPEG, segment(0xE1, b"Exif\0\0" + exif(6, thumbnail=THUMBNAIL)), segment(0xE2, THUMBNAIL)
        ),
        "jpeg progressive": encode(small, "JPEG", progressive=True),
        "jpeg restart": encode(small, "JPEG", restart_marker_blocks=1),
        "jpeg photoshop": after_start(JPEG, segment(0xED, b"Photoshop 3.0\0" + bytes(20) + THUMBNAIL)),
        "mpo": mpo(small, sample_image(size=(8, 8))),
        "png": encode(small, "PNG"),
        "png 16": encode(sample_image("I;16", SMALL), "PNG"),
        "png palette": encode(sample_image("P", SMALL), "PNG", transparency=3),
        "png metadata": encode(small, "PNG", exif=exif(6), icc_profile=profile()),
        "png late metadata": png_of_layout(8, 0, behind=[chunk(b"eXIf", exif(5)), chunk(b"tEXt", b"a\0b")]),
        "tiff": encode(small, "TIFF"),
        "tiff lzw": encode(small, "TIFF", compression="tiff_lzw"),
        "tiff 16": rgb16_tiff(SMALL),
        "bmp": encode(small, "BMP"),
        "gif": encode(sample_image("P", SMALL), "GIF"),
        "webp": encode(small, "WEBP"),
        "pgm": encode(sample_image("L", SMALL), "PPM"),
        "jpeg 2000": encode(small, "JPEG2000"),
    }


def code_of(data, name="x.jpg", **options):
    with pytest.raises(ImageError) as caught:
        inspect_image(data, name, **options)
    assert name in str(caught.value)
    assert caught.value.remedy
    return caught.value.code


def refused(data):
    """The error, or None for an accepted file; anything else than ImageError fails the test by itself."""
    try:
        inspect_image(data, "cut")
    except ImageError as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["jpeg", "png", "jpeg with thumbnail", "png palette", "mpo", "bmp"])
def test_cut_at_every_byte(kind):
    """However a file is cut, it is accepted only if Pillow decodes it, and otherwise called truncated."""
    data = samples()[kind]
    for length in range(1, len(data)):
        error = refused(data[:length])
        assert error is not None or pillow_decodes(data[:length]), length
        if error is not None and kind != "bmp":
            assert error.code == "image-truncated", (length, str(error))
        if pillow_decodes(data[:length]):
            assert error is None, (length, str(error))


@pytest.mark.parametrize("kind", samples())
def test_cut_anywhere_in_any_format(kind):
    """No cut of any format is accepted that Pillow cannot decode."""
    data = samples()[kind]
    step = max(1, len(data) // 150)
    for length in [*range(1, len(data), step), *range(max(1, len(data) - 16), len(data))]:
        assert refused(data[:length]) is not None or pillow_decodes(data[:length]), length


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_zero_filled_end(kind):
    """A download that reserved its space and stopped half-way is not taken for a whole file with padding."""
    data = samples()[kind]
    half = data[: len(data) * 2 // 3]
    filled = half + bytes(5000)
    assert refused(filled) is not None or pillow_decodes(filled)


def test_jpeg_without_end_marker_that_decodes_is_kept():
    """Where only the end is missing and nothing is lost, the file is accepted and says so."""
    lost_iend = samples()["png"][:-12]
    assert pillow_decodes(lost_iend)
    assert inspect_image(lost_iend, "x.png").notes == ("it ends before its end chunk",)
    assert prepare_image(lost_iend, "x.png").data is lost_iend
    lost_checksum = samples()["png"][:-2]
    assert inspect_image(lost_checksum, "x.png").notes == ("it ends within its end chunk",)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_lenient_setting_of_a_training_program_changes_nothing(kind, monkeypatch):
    """LOAD_TRUNCATED_IMAGES neither lets a cut file pass, nor is it lost."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = samples()[kind]
    assert code_of(data[: len(data) * 3 // 4]) == "image-truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_strict_setting_holds_for_all_threads(monkeypatch):
    """Threads that check cut files at once all refuse them, and the process gets its setting back."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    cut = encode(sample_image(size=(256, 256)), "JPEG")[:-200]
    accepted = []

    def check():
        accepted.extend(round_ for round_ in range(40) if refused(cut) is None)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not accepted
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("0.jpg", JPEG)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "image-empty", "0 bytes"),
        (b"<!DOCTYPE html><html><title>404</title>", "image-not-an-image", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML><body>", "image-not-an-image", "an HTML page"),
        (b'<?xml version="1.0"?><annotation>', "image-not-an-image", "an XML document"),
        (b"<svg xmlns=", "image-not-an-image", "an SVG drawing"),
        (json.dumps({"error": "not found"}).encode(), "image-not-an-image", "a text"),
        ("Datei fehlt: müßig".encode(), "image-not-an-image", "a text"),
        (bytes(4096), "image-not-an-image", "zero bytes"),
        (bytes(range(128, 256)), "image-not-an-image", "no known image format"),
        (zipped(), "image-not-an-image", "a ZIP archive"),
        (b"Rar!\x1a\x07", "image-not-an-image", "a RAR archive"),
        (b"%PDF-1.7", "image-not-an-image", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image-not-an-image", "a text"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "image-lfs-pointer",
            "git lfs pull",
        ),
        (b"\xff", "image-truncated", "1 byte"),
        (PNG_START[:5], "image-truncated", "5 bytes"),
        (JPEG[:-5], "image-truncated", "no end-of-image marker"),
        (b"II*\0\x08\0\0\0", "image-unreadable", "Pillow cannot read it"),
        (b"BM" + bytes(60), "image-unreadable", "Pillow cannot read it"),
    ],
)
def test_what_is_no_image_is_named(data, code, words):
    """The code and the words say what the file really is, and the message quotes how it begins."""
    with pytest.raises(ImageError) as caught:
        inspect_image(data, "a/b.jpg")
    assert caught.value.code == code
    assert caught.value.where == "a/b.jpg"
    assert words in str(caught.value)
    if code == "image-not-an-image":
        assert repr(data[:40].decode("latin-1")) in str(caught.value)


def with_frame(marker=0xC0, precision=8, size=(16, 16)):
    """The small JPEG with another frame header."""
    at = JPEG.index(b"\xff\xc0")
    return (
        JPEG[:at]
        + bytes([0xFF, marker])
        + JPEG[at + 2 : at + 4]
        + struct.pack(">BHH", precision, size[1], size[0])
        + JPEG[at + 9 :]
    )


# Pillow reads the resolution on opening, and an empty text where two numbers should be stops it.
NO_RESOLUTION = struct.pack("<HHII", 0x011A, 2, 1, 0)
UNIT = struct.pack("<HHIHH", 0x0128, 3, 1, 2, 0)


def png_header(size, depth=8, colour=0):
    return PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))


@pytest.mark.parametrize(
    "data",
    [
        with_frame(size=(65_000, 65_000)),
        png_header((65_000, 65_000)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""),
        png_header((2**32 - 1, 2**31)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""),
        png_header((65_000, 65_000)) + chunk(b"eXIf", exif(6)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""),
        png_header((65_000, 65_000)) + chunk(b"IDAT", b"x"),
        with_frame(size=(65_000, 65_000))[:-9],
        b"P5 65000 65000 255\n",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 65_000, 65_000, 1, 24, 0, 0, 1, 1, 0, 0),
        encode(sample_image(), "TIFF").replace(
            struct.pack("<HHII", 256, 4, 1, 48), struct.pack("<HHII", 256, 4, 1, 2**27)
        ),
    ],
    ids=["jpeg", "png", "png max", "png metadata", "png cut", "jpeg cut", "pgm", "bmp", "tiff"],
)
@pytest.mark.parametrize("verify", ["header", "decode"])
def test_bombs_are_refused_by_their_header(data, verify, monkeypatch):
    """A declared size above the limit is refused before any pixel is allocated."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    assert code_of(data, verify=verify) == "image-too-large"


def test_limit_is_inclusive_and_can_be_lowered():
    """As many pixels as the limit are accepted, one more is not; Pillow's paths and the fast ones agree."""
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    for data in (JPEG, samples()["png"], samples()["png metadata"], samples()["tiff"], samples()["bmp"]):
        assert inspect_image(data, "x", max_pixels=256).width == 16
        assert code_of(data, max_pixels=255) == "image-too-large"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_frame(precision=12), "samples of 12 bits"),
        (with_frame(marker=0xC3), "marker 0xFFC3"),
        (with_frame(size=(16, 0)), "no frame size"),
        (after_start(JPEG, segment(0xC0, b"\x08\0\x10\0\x10\x02\x01\x11\0\x02\x11\0")), "2 components"),
        (after_start(JPEG, b"\xff\xd8"), "unexpected marker 0xFFD8"),
        (png_header(SMALL, 8, 1) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""), "colour type 1"),
        (png_header((0, 5)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""), "an unusual IHDR"),
        (png_header(SMALL) + chunk(b"IEND", b""), "no pixels"),
        (png_header(SMALL, 8, 3) + chunk(b"PLTE", bytes(5)) + chunk(b"IEND", b""), "an unusual palette"),
        (PNG_START + samples()["png"][8:20] + b"\xff" + samples()["png"][21:], "checksum"),
        (after_start(JPEG, segment(0xE0, b"JFIF\0")), "application segments"),
        (after_start(JPEG, segment(0xEE, b"Adobe\0")), "application segments"),
        (after_start(JPEG, segment(0xED, b"Photoshop 3.0\x008BIM\0\0")), "application segments"),
        (after_start(JPEG, segment(0xE2, b"ICC_PROFILE\0")), "unusual colour profile"),
        (after_start(JPEG, segment(0xDB, bytes(60))), "quantization table"),
        (
            after_start(JPEG, segment(0xE1, b"Exif\0\0" + exif_directory([NO_RESOLUTION, UNIT]))),
            "unusual EXIF",
        ),
    ],
)
def test_unreadable_files_name_the_reason(data, words):
    """What no reader decodes is refused, with the odd part of the file named."""
    with pytest.raises(ImageError, match="Pillow cannot read it") as caught:
        inspect_image(data, "odd.jpg")
    assert caught.value.code == "image-unreadable"
    assert words in str(caught.value)
    assert not pillow_decodes(data)


def test_end_marker_inside_the_header_is_no_end():
    """A file cut within its scan header is truncated, also if its last two bytes look like an end marker."""
    scan = JPEG.index(b"\xff\xda")
    assert code_of(JPEG[: scan + 4] + b"\xff\xd9") == "image-truncated"


def test_palette_that_is_missing_is_noted():
    """A palette image without palette, which Pillow shows all the same, is decoded first and says so."""
    rows = samples()["png palette"]
    start, end = rows.index(b"PLTE") - 4, rows.index(b"tRNS") - 4
    data = rows[:start] + rows[end:]
    assert pillow_decodes(data)
    assert inspect_image(data, "x").notes == ("no pixels or no palette before its end chunk",)


def test_errors_survive_a_process_boundary():
    """Code, file and remedy arrive unharmed when a worker's error is pickled to its parent."""
    with pytest.raises(ImageError) as caught:
        inspect_image(JPEG[:300], "cut.jpg")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, str(again)) == (caught.value.code, str(caught.value))


@pytest.mark.parametrize("verify", ["header", "decode"])
def test_damage_in_the_middle_is_found_by_decoding_only(verify):
    """Broken pixels inside a whole file are found by decoding; the header check does not look."""
    data = bytearray(encode(sample_image(size=(200, 200)), "PNG"))
    at = data.index(b"IDAT") + 4000
    data[at : at + 200] = bytes(200)
    if verify == "decode":
        assert code_of(bytes(data), verify=verify) == "image-unreadable"
    else:
        assert inspect_image(bytes(data), "x", verify=verify).width == 200


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(list(samples().values()))))
    for _ in range(draw(st.integers(1, 6))):
        # Headers are where damage is interesting; they lie in the first bytes of these small files.
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, 700, 10**6]))) - 1))
        action = draw(st.sampled_from(["set", "flip", "delete", "insert", "cut"]))
        if action == "set":
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF]))
        elif action == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif action == "delete":
            del data[at : at + draw(st.integers(1, 9))]
        elif action == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=9))
        else:
            del data[max(1, at) :]
        if not data:
            return b"\0"
    return bytes(data)


# A damaged size below the limit makes Pillow allocate that many pixels; a low limit keeps the tests quick.
LIMIT = 1_000_000


@settings(deadline=None, database=None, max_examples=400)
@given(damaged())
def test_damage_brings_out_nothing_but_image_errors(data):
    """Whatever happens to a file's bytes, it is answered or refused with ImageError."""
    for verify in ("header", "decode"):
        try:
            info = inspect_image(data, "fuzz", verify=verify, max_pixels=LIMIT)
        except ImageError:
            continue
        assert 1 <= info.orientation <= 8
        assert info.width * info.height == info.stored_width * info.stored_height > 0


@settings(deadline=None, database=None, max_examples=400)
@given(damaged())
def test_damaged_headers_agree_with_pillow(data):
    """A file accepted by its header opens in Pillow, with the very size, mode and orientation reported."""
    try:
        info = inspect_image(data, "fuzz", max_pixels=LIMIT)
    except ImageError:
        return
    if info.format not in {"JPEG", "MPO", "PNG"}:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            orientation = Image.Image.getexif(image).get(0x0112, 1)
            opened = image.format, image.mode, image.size
    assert opened == (info.format, info.mode, (info.stored_width, info.stored_height))
    if info.format != "PNG":  # a PNG may have its EXIF behind the pixels
        assert info.orientation == (orientation if orientation in range(1, 9) else 1)


@settings(deadline=None, database=None, max_examples=150)
@given(damaged(), st.sampled_from([None, "grey", "crop-border-100"]))
def test_preparing_damaged_files_brings_out_nothing_but_image_errors(data, transform):
    """Turning and transforming damaged pixels is answered or refused with ImageError."""
    try:
        prepared = prepare_image(data, "fuzz", transform=transform, max_pixels=LIMIT)
    except ImageError:
        return
    assert (prepared.data is data) == (prepared.note == "" or "left to the reader" in prepared.note)


@settings(deadline=None, database=None, max_examples=300)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", PNG_START, b"II*\0", b"BM", b"GIF89a", b"P5 "]),
)
def test_any_bytes_bring_out_nothing_but_image_errors(tail, start):
    """Arbitrary bytes, alone or behind the start of a format, are answered or refused with ImageError."""
    refused(start + tail)


def test_orientation_of_a_cut_file_is_not_trusted():
    """A turned JPEG whose pixels are cut is refused before it is turned."""
    with pytest.raises(ImageError) as caught:
        prepare_image(oriented_jpeg(6)[:-40], "cut.jpg")
    assert caught.value.code == "image-truncated"


HOSTILE = {
    "jpeg of zeros": (b"\xff\xd8\xff", b"\0"),
    "jpeg of fill bytes": (b"\xff\xd8\xff", b"\xff"),
    "jpeg of escapes": (b"\xff\xd8\xff", b"\xff\0"),
    "jpeg of starts": (b"\xff\xd8", b"\xff\xd8"),
    "jpeg of comments": (b"\xff\xd8", b"\xff\xfe\0\2"),
    "jpeg of comments behind its scan": (JPEG[:-2], b"\xff\xfe\0\2"),
    "jpeg of zeros behind a segment": (b"\xff\xd8" + segment(0xE0, b"JFIF\0" + bytes(9)), b"\0"),
    "gif of zeros": (b"GIF89a", b"\0"),
    "gif of extensions": (b"GIF89a\1\0\1\0\0\0\0", b"!\xfe\1a\0"),
    "gif of one comment": (b"GIF89a\1\0\1\0\0\0\0!\xfe", b"\x02aa"),
    "ppm of blanks": (b"P6", b" "),
    "ppm of one comment": (b"P6\n#", b"a"),
    "pgm of comments": (b"P2\n10 10 255\n", b"#\n"),
    "jpeg 2000 of boxes": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x08abcd"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_looked_at_no_longer_when_it_is_longer(name, monkeypatch):
    """Eight times as many senseless bytes cost no more reads of Pillow and no more steps of our own readers."""
    start, filling = HOSTILE[name]
    costs, file_class = [], opening.BoundedFile
    for length in (1 << 18, 1 << 21):
        data, cost = start + filling * (length // len(filling)), 0

        class Counted(file_class):
            def read(self, size=-1, /):
                nonlocal cost
                cost += 1
                return super().read(size)

        def step(frame, _event, _value):
            nonlocal cost
            if frame.f_code.co_filename != headers.__file__:
                return None
            cost += 1
            return step

        monkeypatch.setattr(opening, "BoundedFile", Counted)
        before = sys.gettrace()
        sys.settrace(step)
        try:
            assert refused(data) is None or refused(data).code in {"image-unreadable", "image-truncated"}
        finally:
            sys.settrace(before)
        costs.append(cost)
    assert costs[1] <= 1.2 * costs[0] + 5000


def test_long_headers_of_real_programs_are_read():
    """Images with 255 pieces of a colour profile, a kilobyte of filling, or a chunk for each byte are read."""
    filled = JPEG[:2] + b"\xff" * 1000 + JPEG[2:]
    pieces = [segment(0xE2, b"ICC_PROFILE\0" + bytes((k, 255)) + bytes(20)) for k in range(1, 256)]
    assert inspect_image(after_start(JPEG, *pieces), "profile.jpg").format == "JPEG"
    assert inspect_image(filled, "filled.jpg").format == "JPEG"
    file = io.BytesIO()
    Image.new("L", (3, 3000)).save(file, "PNG")
    png = file.getvalue()
    at = png.index(b"IDAT") - 4
    size = int.from_bytes(png[at : at + 4], "big")
    parts = b"".join(chunk(b"IDAT", png[at + 8 + k : at + 9 + k]) for k in range(size))
    assert inspect_image(png[:at] + parts + png[at + 12 + size :], "rows.png", verify="decode").height == 3000


@pytest.mark.parametrize("start", [b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"])
def test_a_tiff_whose_directory_lies_beyond_all_files_is_refused(start):
    """Offsets of 64 bits that no machine can address are a broken image and nothing else."""
    assert code_of(start + b"\xff" * 56, "x.tif") == "image-unreadable"
    with pytest.raises(ImageError):
        viewable_image(start + b"\xff" * 56, "x.tif")
