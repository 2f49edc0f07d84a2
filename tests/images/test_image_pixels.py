"""Pixels that change on the way: turned upright as EXIF says, or brought to the released layout."""

import io
import re
import struct

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from image_samples import (
    after_start,
    chunk,
    encode,
    exif,
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
from PIL import Image

from irtd_datasets.errors import BoxError, ImageError, UnknownNameError
from irtd_datasets.images.files import (
    PIXEL_TRANSFORMS,
    inspect_image,
    orientation_matrix,
    prepare_image,
    turn_boxes,
    turn_points,
)

ORIENTATIONS = range(1, 9)
TURNED = range(2, 9)
RED = (230, 20, 30)


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def same_pixels(one, other):
    return (one.mode, one.size, one.tobytes(), one.getpalette()) == (
        other.mode,
        other.size,
        other.tobytes(),
        other.getpalette(),
    )


TURNABLE = {
    "jpeg": oriented_jpeg,
    "jpeg grey": lambda n: oriented_jpeg(n, sample_image("L")),
    "jpeg progressive": lambda n: oriented_jpeg(n, progressive=True),
    "jpeg cmyk": lambda n: oriented_jpeg(n, sample_image("CMYK")),
    "jpeg in XMP": lambda n: after_start(
        encode(sample_image(), "JPEG"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>%d</tiff:Orientation>" % n),
    ),
    "mpo": lambda n: mpo(sample_image(), sample_image(seed=1), exif=b"Exif\0\0" + exif(n)),
    "png": lambda n: encode(sample_image(), "PNG", exif=exif(n)),
    "png late": lambda n: png_of_layout(8, 0, behind=[chunk(b"eXIf", exif(n))]),
    "png 16": lambda n: encode(sample_image("I;16"), "PNG", exif=exif(n)),
    "png palette": lambda n: encode(sample_image("P"), "PNG", exif=exif(n), transparency=bytes(range(256))),
    "png bilevel": lambda n: encode(sample_image("1"), "PNG", exif=exif(n)),
    "png alpha": lambda n: encode(sample_image("RGBA"), "PNG", exif=exif(n)),
    "tiff": lambda n: encode(sample_image(), "TIFF", tiffinfo={0x0112: n}),
    "tiff 16": lambda n: encode(sample_image("I;16"), "TIFF", tiffinfo={0x0112: n}),
    "tiff 16 big-endian": lambda n: encode(sample_image("I;16B"), "TIFF", tiffinfo={0x0112: n}),
    "tiff int32": lambda n: encode(sample_image("I"), "TIFF", tiffinfo={0x0112: n}),
    "tiff float32": lambda n: encode(sample_image("F"), "TIFF", tiffinfo={0x0112: n}),
    "tiff cmyk": lambda n: encode(sample_image("CMYK"), "TIFF", tiffinfo={0x0112: n}),
    "tiff pages": lambda n: encode(
        sample_image(), "TIFF", tiffinfo={0x0112: n}, save_all=True, append_images=[sample_image("L", (9, 9))]
    ),
    "webp": lambda n: encode(sample_image(), "WEBP", lossless=True, exif=exif(n)),
}
AS_TIFF = {"jpeg cmyk", "tiff int32", "tiff float32", "tiff cmyk"}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", TURNABLE)
def test_turned_pixels_are_what_readers_show(kind, orientation):
    """Stored pixels equal, in value, mode and depth, what a reader shows of the original."""
    if "XMP" in kind and not pillow_reads_xmp():
        pytest.skip("this version of Pillow does not read XMP")
    data = TURNABLE[kind](orientation)
    prepared = prepare_image(data, kind)
    stored = opened(prepared.data)
    shown = upright(data)
    if kind == "tiff 16 big-endian":
        assert (np.asarray(stored) == np.asarray(shown)).all()
        assert stored.mode == "I;16"
    else:
        assert same_pixels(stored, shown)
    assert (prepared.width, prepared.height) == stored.size == shown.size
    assert prepared.mode == stored.mode
    assert prepared.released == inspect_image(data, kind)
    assert prepared.bit_depth == prepared.released.bit_depth
    assert prepared.released.orientation == orientation
    container = "TIFF" if kind in AS_TIFF else "PNG"
    frames = ", first of 2 frames" if kind in {"mpo", "tiff pages"} else ""
    assert prepared.note == f"exif-orientation-{orientation} applied{frames}, stored as {container}"


@pytest.mark.parametrize("kind", TURNABLE)
def test_datasets_shows_the_sizes_reported(kind):
    """`datasets` decodes the stored bytes, and the released ones, to the width and height reported."""
    feature = datasets.Image()
    data = TURNABLE[kind](6)
    prepared = prepare_image(data, kind)
    # A Pillow that does not look into XMP shows the released file lying on its side: the reason to store it turned.
    released = [] if "XMP" in kind and not pillow_reads_xmp() else [data]
    for shown in (prepared.data, *released):
        assert feature.decode_example({"path": None, "bytes": shown}).size == (
            prepared.width,
            prepared.height,
        )


@pytest.mark.parametrize("kind", TURNABLE)
def test_turned_images_are_not_turned_again(kind):
    """Preparing what was prepared changes nothing: no orientation is left in the file."""
    once = prepare_image(TURNABLE[kind](6), kind)
    again = prepare_image(once.data, kind)
    assert again.data is once.data
    assert again.note == ""
    assert again.released.orientation == 1
    assert (again.width, again.height, again.mode, again.bit_depth) == (
        once.width,
        once.height,
        once.mode,
        once.bit_depth,
    )


@pytest.mark.parametrize("kind", TURNABLE)
def test_same_image_same_bytes(kind):
    """Encoding again gives identical bytes: no time, no name, no state of the process goes in."""
    assert prepare_image(TURNABLE[kind](6), "a").data == prepare_image(TURNABLE[kind](6), "b").data


def test_colour_profile_stays_and_personal_metadata_go():
    """A turned image keeps its ICC profile and transparency, and nothing of EXIF, comment or text."""
    icc = profile()
    secret = b"48.1371 N"
    for data in (
        encode(sample_image(), "JPEG", icc_profile=icc, exif=b"Exif\0\0" + exif(6) + secret, comment=secret),
        encode(sample_image(), "PNG", icc_profile=icc, exif=exif(6) + secret, transparency=(1, 2, 3)),
        encode(sample_image("CMYK"), "TIFF", icc_profile=icc, tiffinfo={0x0112: 6, 0x013B: secret.decode()}),
    ):
        prepared = prepare_image(data, "x")
        stored = opened(prepared.data)
        assert stored.info["icc_profile"] == icc
        assert stored.info.get("transparency") == opened(data).info.get("transparency")
        assert secret in data
        assert secret not in prepared.data
        assert 0x0112 not in stored.getexif()


@pytest.mark.parametrize(
    "data",
    [rgb16_tiff(orientation=6), png_of_layout(16, 2, before=[chunk(b"eXIf", exif(6))])],
    ids=["tiff", "png"],
)
def test_16_bit_colour_is_left_to_the_reader(data):
    """Where Pillow would cut 16 bits to 8, the bytes stay and the note says who has to turn them."""
    prepared = prepare_image(data, "x")
    assert prepared.data is data
    assert prepared.note == "exif-orientation-6 left to the reader (16-bit colour)"
    assert (prepared.width, prepared.height) == upright(data).size
    assert prepared.bit_depth == 16
    with pytest.raises(ImageError, match="cut to 8 bits"):
        prepare_image(data, "x", transform="grey")


def drone_vehicle(mode="RGB", border=255, inside=None):
    """An 840x712 image whose inner 640x512 pixels are dark or as given, in a border of 100 pixels."""
    image = Image.new(mode, (840, 712), border if mode == "L" else (border,) * 3)
    image.paste(inside or sample_image(mode, (640, 512)), (100, 100))
    return image


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_border_is_cut_off(mode):
    """Of an original DroneVehicle image exactly the inner 640x512 pixels are stored, without loss."""
    inside = sample_image(mode, (640, 512), seed=5)
    prepared = prepare_image(
        encode(drone_vehicle(mode, inside=inside), "PNG"), "x", transform="crop-border-100"
    )
    assert same_pixels(opened(prepared.data), inside)
    assert (prepared.width, prepared.height) == (640, 512)
    assert prepared.note == "crop-border-100 applied, stored as PNG"


def test_border_of_a_jpeg_counts_as_white():
    """Compression carries the image a few pixels into the border; that is still the known layout."""
    data = encode(drone_vehicle(inside=Image.new("RGB", (640, 512))), "JPEG", quality=60)
    prepared = prepare_image(data, "x", transform="crop-border-100")
    assert same_pixels(opened(prepared.data), opened(data).crop((100, 100, 740, 612)))


def test_image_without_border_stays():
    """A copy of the released size is passed through, the same object, without a note."""
    data = encode(sample_image("RGB", (640, 512)), "JPEG")
    prepared = prepare_image(data, "x", transform="crop-border-100")
    assert prepared.data is data
    assert prepared.note == ""


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (sample_image("RGB", (712, 840)), "712x840"),
        (sample_image("RGB", (640, 480)), "640x480"),
        (sample_image("RGB", (840, 712)), "of its border"),
        (drone_vehicle(border=0), "only 0% of its border"),
        (drone_vehicle(inside=sample_image("RGB", (640, 612))), "of its border"),
        (sample_image("I;16", (840, 712)), "mode I;16"),
    ],
)
def test_border_is_only_cut_where_there_is_one(image, words):
    """Another size, or a border that is not white, is refused and not cut."""
    with pytest.raises(ImageError, match=re.escape(words)) as caught:
        prepare_image(encode(image, "PNG"), "val/00001.jpg", transform="crop-border-100")
    assert caught.value.code == "image-unexpected-layout"
    assert caught.value.where == "val/00001.jpg"


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "I", "F"])
def test_one_channel_stays_grey(mode):
    """An image with one channel, of any depth, is passed through as it is."""
    data = encode(sample_image(mode), "TIFF")
    assert prepare_image(data, "x", transform="grey").data is data


@pytest.mark.parametrize("container", ["PNG", "BMP", "TIFF", "palette", "alpha", "LA", "CMYK"])
def test_equal_channels_become_one_without_loss(container):
    """A grey image stored in colour gives back exactly its grey values."""
    grey = sample_image("L")
    colour = Image.merge("RGB", [grey] * 3)
    data = {
        "palette": lambda: encode(colour.quantize(256), "PNG"),
        "alpha": lambda: encode(colour.convert("RGBA"), "PNG"),
        "LA": lambda: encode(grey.convert("LA"), "PNG"),
        "CMYK": lambda: encode(colour.convert("CMYK"), "TIFF"),
    }.get(container, lambda: encode(colour, container))()
    expected = colour.quantize(256).convert("RGB").getchannel(0) if container == "palette" else grey
    prepared = prepare_image(data, "x", transform="grey")
    assert same_pixels(opened(prepared.data), expected)
    assert (prepared.mode, prepared.bit_depth, prepared.note) == ("L", 8, "grey applied, stored as PNG")


def test_colour_becomes_luminance():
    """Unequal channels give ITU-R BT.601 luminance, within one, and lose the colour profile."""
    data = encode(sample_image(), "PNG", icc_profile=profile())
    stored = opened(prepare_image(data, "x", transform="grey").data)
    expected = np.asarray(sample_image(), float) @ [0.299, 0.587, 0.114]
    assert np.abs(np.asarray(stored, float) - expected).max() <= 1
    assert "icc_profile" not in stored.info


@pytest.mark.parametrize(
    "data",
    [
        encode(sample_image("RGBA"), "PNG"),
        encode(sample_image("LA"), "PNG"),
        encode(sample_image("P"), "PNG", transparency=bytes(range(256))),
        encode(Image.new("RGB", (4, 4)), "PNG", transparency=(0, 0, 0)),
    ],
    ids=["RGBA", "LA", "palette", "colour key"],
)
def test_an_alpha_channel_with_content_is_not_thrown_away(data):
    """Alpha that is not opaque everywhere may be a thermal channel: refused, not dropped."""
    with pytest.raises(ImageError, match="alpha channel") as caught:
        prepare_image(data, "x", transform="grey")
    assert caught.value.code == "image-unexpected-layout"


@pytest.mark.parametrize("orientation", TURNED)
def test_transform_sees_the_upright_image(orientation):
    """A stored image is turned first and cropped then, so that the layout is judged as a viewer sees it."""
    inside = Image.new("RGB", (640, 512), "black")
    inside.paste(RED, (10, 20, 200, 100))
    whole = drone_vehicle(inside=inside)
    stored = whole.transpose(INVERSE[orientation]) if INVERSE[orientation] is not None else whole
    prepared = prepare_image(encode(stored, "PNG", exif=exif(orientation)), "x", transform="crop-border-100")
    assert same_pixels(opened(prepared.data), inside)
    assert prepared.note == f"exif-orientation-{orientation} applied, crop-border-100 applied, stored as PNG"


def test_turning_alone_when_the_transform_has_nothing_to_do():
    """A turned copy in the released layout is only turned, and its note names only that."""
    data = oriented_jpeg(6, sample_image("L"))
    prepared = prepare_image(data, "x", transform="grey")
    assert prepared.note == "exif-orientation-6 applied, stored as PNG"
    assert same_pixels(opened(prepared.data), upright(data))


def test_unknown_transform_lists_the_known():
    """A name that is not in the table is refused with those that are, before the file is looked at."""
    with pytest.raises(UnknownNameError, match="crop-border-100, grey"):
        prepare_image(b"", "x", transform="crop")
    assert list(PIXEL_TRANSFORMS) == sorted(PIXEL_TRANSFORMS)


# What has to be done to an upright image to store it with that orientation.
_T = Image.Transpose
INVERSE = {
    1: None,
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_90,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_270,
}


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (1, 7)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_box_cuts_out_the_same_colour(orientation, size):
    """A rectangle filled on the stored pixels fills exactly its turned box of the upright image."""
    width, height = size
    box = (width // 5, height // 4, max(width // 2, width // 5 + 1), max(height // 3, height // 4 + 1))
    stored = Image.new("RGB", size)
    stored.paste(RED, box)
    turned = opened(prepare_image(encode(stored, "PNG", exif=exif(orientation)), "x").data)
    if orientation != 1:
        assert turned.size == (size if orientation < 5 else size[::-1])
        found = turned
    else:
        found = stored
    new_box = turn_boxes(box, orientation, width, height).astype(int)
    inside = np.zeros((found.height, found.width), bool)
    inside[new_box[1] : new_box[3], new_box[0] : new_box[2]] = True
    red = (np.asarray(found) == RED).all(axis=2)
    assert inside.any()
    assert (inside == red).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(7, 4), (4, 7)])
def test_every_pixel_centre_moves_with_its_pixel(orientation, size):
    """Turning the centres of all pixels agrees, pixel by pixel, with turning the image in Pillow."""
    width, height = size
    stored = Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width))
    shown = np.asarray(upright(encode(stored, "PNG", exif=exif(orientation))))
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    centres = np.stack([columns, rows], axis=-1) + 0.5
    turned = turn_points(centres, orientation, width, height) - 0.5
    assert (turned == turned.astype(int)).all()
    x, y = turned.astype(int)[..., 0], turned.astype(int)[..., 1]
    assert (shown[y, x] == np.asarray(stored)).all()


POINTS = arrays.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(-1e4, 1e4))
SIDES = st.integers(1, 5000)
# 6 and 8 undo each other, all others undo themselves.
BACK = {n: n for n in ORIENTATIONS} | {6: 8, 8: 6}


@given(POINTS, st.sampled_from(ORIENTATIONS), SIDES, SIDES)
def test_turning_back_returns_the_points(points, orientation, width, height):
    """Turning and turning back returns every point, within rounding."""
    turned = turn_points(points, orientation, width, height)
    size = (width, height) if orientation < 5 else (height, width)
    back = turn_points(turned, BACK[orientation], *size)
    np.testing.assert_allclose(back, points, atol=1e-8)


@given(POINTS, st.sampled_from(ORIENTATIONS), SIDES, SIDES)
def test_points_follow_the_matrix(points, orientation, width, height):
    """The matrix maps points as turn_points does and keeps all distances."""
    matrix = orientation_matrix(orientation, width, height)
    homogeneous = np.c_[points, np.ones(len(points))]
    np.testing.assert_allclose(
        (homogeneous @ matrix.T)[:, :2], turn_points(points, orientation, width, height), atol=1e-8
    )
    assert abs(np.linalg.det(matrix)) == 1


@given(st.sampled_from(ORIENTATIONS), SIDES, SIDES)
def test_the_whole_image_stays_the_whole_image(orientation, width, height):
    """The box of all stored pixels becomes the box of all upright pixels, exactly."""
    size = (width, height) if orientation < 5 else (height, width)
    assert turn_boxes([0, 0, width, height], orientation, width, height).tolist() == [0, 0, *size]


def test_shapes_are_kept():
    """Any leading axes pass through, none at all and empty ones too."""
    assert turn_points(np.zeros((2, 3, 4, 2)), 7, 9, 5).shape == (2, 3, 4, 2)
    assert turn_points(np.zeros((0, 2)), 7, 9, 5).shape == (0, 2)
    assert turn_boxes(np.zeros((0, 4)), 7, 9, 5).shape == (0, 4)
    assert turn_boxes(np.zeros((3, 1, 4)), 7, 9, 5).shape == (3, 1, 4)


@pytest.mark.parametrize("orientation", [0, 9, -1, None])
def test_orientations_that_do_not_exist_are_refused(orientation):
    """Only 1 to 8 are orientations; the message says so."""
    with pytest.raises(BoxError, match="expected 1 to 8"):
        orientation_matrix(orientation, 4, 5)


@pytest.mark.parametrize(
    ("turn", "shape"), [(turn_points, (3, 4)), (turn_boxes, (3, 2)), (turn_points, ()), (turn_boxes, ())]
)
def test_wrong_shapes_are_refused(turn, shape):
    """Boxes given as points, points given as boxes, and single numbers are refused."""
    with pytest.raises(BoxError, match="expected"):
        turn(np.zeros(shape), 1, 4, 5)


def test_float_tiff_keeps_its_bits():
    """Radiometric float32 values, also special ones, survive turning bit by bit."""
    values = np.array([[0.1, -0.0, np.inf], [1e-40, np.nan, 3e38]], np.float32)
    data = encode(Image.fromarray(values), "TIFF", tiffinfo={0x0112: 3})
    stored = np.asarray(opened(prepare_image(data, "x").data))
    assert stored.tobytes() == values[::-1, ::-1].tobytes()
    assert struct.calcsize("f") * 8 == inspect_image(data, "x").bit_depth
