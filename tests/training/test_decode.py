"""Images as arrays: channels, sizes, depths and turns, and rows whose places follow."""

import io
import pickle
import platform

import numpy as np
import pytest
from PIL import Image
from processes import python

from irtd_datasets.errors import BoxError, ImageError, UnknownNameError
from irtd_datasets.training.decode import Decoder, FixedRange, Percentile, decode_row, has_fast_decoder

BACKENDS = [
    "pillow",
    pytest.param("simplejpeg", marks=pytest.mark.skipif(not has_fast_decoder(), reason="no simplejpeg")),
]
BOX = (160, 96, 320, 224)  # in an image of 640 x 512


def scene(size=(640, 512), colour=(255, 255, 255)):
    """A dark gradient with a filled rectangle where `BOX` says."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:] = np.linspace(0, 60, width).astype(np.uint8)[None, :, None]
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = colour
    return Image.fromarray(pixels)


def saved(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("mode", "modality", "channels"),
    [
        ("auto", "infrared", 1),
        ("auto", "sar", 1),
        ("auto", "optical", 3),
        ("auto", None, 3),
        ("luminance", "optical", 1),
        ("rgb", "infrared", 3),
    ],
)
@pytest.mark.parametrize("stored", ["L", "RGB"])
def test_channels(backend, mode, modality, channels, stored):
    """Infrared comes as luminance unless RGB is asked for; a grey file fills three equal channels where it is."""
    decoder = Decoder(mode, backend=backend)
    found = decoder.decode(saved(scene().convert(stored)), modality)
    assert found.pixels.dtype == np.uint8
    assert found.pixels.shape == ((512, 640) if channels == 1 else (512, 640, 3))
    assert (found.width, found.height) == found.size == (640, 512)
    if channels == 3:
        assert np.abs(np.diff(found.pixels.astype(int), axis=2)).max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_are_those_of_pillow(backend):
    """At full size the pixels are what Pillow's own luminance and RGB of the file are, within rounding."""
    saved_image = saved(scene(colour=(200, 40, 90)))
    with Image.open(io.BytesIO(saved_image)) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
    with Image.open(io.BytesIO(saved_image)) as image:
        image.draft("L", None)
        grey = np.asarray(image.convert("L")).astype(int)
    assert np.abs(Decoder("rgb", backend=backend).decode(saved_image).pixels - rgb).max() <= 1
    assert np.abs(Decoder("luminance", backend=backend).decode(saved_image).pixels - grey).max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("max_side", [640, 639, 448, 320, 160, 97])
def test_smaller_images_keep_their_shape_and_places(backend, kind, max_side):
    """The long side is `max_side`, the shape stays within rounding, and the box holds the rectangle after scaling."""
    decoder = Decoder("auto", max_side=max_side, backend=backend)
    row = {
        "id": "a",
        "image": {"bytes": saved(scene(), kind), "path": None},
        "modality": "infrared",
        "width": 640,
        "height": 512,
        "objects": {
            "label": ["car"],
            "box": [list(map(float, BOX))],
            "polygon": [],
            "point": [[240.0, 160.0]],
        },
        "messages": [{"role": "assistant", "content": f"<box>[{list(BOX)}]</box>"}],
        "box_frame": "pixel",
    }
    found = decode_row(row, decoder)
    height, width = found["image"].shape
    assert (max(width, height), width) == (max_side, max_side)
    assert abs(height - 512 * max_side / 640) <= 0.5
    assert (found["width"], found["height"]) == (width, height)
    left, top, right, bottom = np.round(found["objects"]["box"][0]).astype(int)
    inside = found["image"][top + 2 : bottom - 2, left + 2 : right - 2]
    assert inside.min() > 235
    ring = np.ones((height, width), bool)
    ring[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
    assert found["image"][ring].max() < 80
    x, y = found["objects"]["point"][0]
    assert found["image"][int(y), int(x)] > 235
    text = found["messages"][0]["content"]
    numbers = [int(one) for one in text.removeprefix("<box>[[").removesuffix("]]</box>").split(",")]
    assert np.abs(np.array(numbers) - found["objects"]["box"][0]).max() <= 0.5
    assert row["messages"][0]["content"] == f"<box>[{list(BOX)}]</box>"


def test_small_images_are_not_made_larger():
    """`max_side` is a limit, not a size."""
    saved_image = saved(scene())
    assert Decoder("rgb", max_side=2000).decode(saved_image).size == (640, 512)


def test_extreme_shapes_keep_a_pixel():
    """An image of one line stays one line."""
    assert Decoder(max_side=10).decode(saved(Image.new("L", (500, 1)), "PNG")).size == (10, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side", [None, 200])
def test_turned_images_come_upright(backend, orientation, max_side):
    """Every EXIF orientation gives the array of the upright image, also where it is decoded small."""
    upright = Image.fromarray(
        np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((100, 100), np.uint8))
    )
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[
        orientation
    ]  # Pillow's Transpose that undoes each turn
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, exif=exif)
    expected = Decoder("luminance", max_side=max_side).decode(saved(upright)).pixels.astype(int)
    found = Decoder("luminance", max_side=max_side, backend=backend).decode(data)
    assert (found.width, found.height) == (400, 300)
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels - expected).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_mapped_not_cut(kind):
    """16-bit infrared is spread over 8 bits by percentiles or by a declared range; Pillow would cut it at 255."""
    values = np.linspace(20_000, 30_000, 640 * 512).reshape(512, 640).astype(np.uint16)
    data = saved(Image.fromarray(values), kind)
    spread = Decoder("luminance").decode(data).pixels
    assert spread.min() == 0
    assert spread.max() == 255
    assert abs(int(np.median(spread)) - 128) <= 1
    fixed = Decoder("rgb", wide=FixedRange(20_000, 40_000)).decode(data).pixels
    assert fixed.shape == (512, 640, 3)
    assert (fixed.min(), int(fixed.max())) == (0, 128)
    flat = saved(Image.fromarray(np.full((8, 8), 9_000, np.uint16)), kind)
    assert Decoder("luminance").decode(flat).pixels.max() == 0
    assert Decoder("luminance", wide=FixedRange(0, 18_000)).decode(flat).pixels.max() == 128


def test_float_images_with_holes():
    """A 32-bit float image is mapped, too; what is not a number counts as the coldest."""
    values = np.linspace(-5, 5, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, :5] = np.nan
    found = (
        Decoder("luminance", wide=Percentile(0, 100)).decode(saved(Image.fromarray(values), "TIFF")).pixels
    )
    assert found[0, 0] == 0
    assert found[-1, -1] == 255


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["CMYK", "P", "LA", "RGBA", "1"])
def test_other_modes(backend, mode):
    """Palettes, transparency, bilevel and CMYK become luminance or RGB as Pillow converts them."""
    image = scene().convert(mode)
    data = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    assert Decoder("rgb", backend=backend).decode(data).pixels.shape == (512, 640, 3)
    if mode == "CMYK":
        data = saved(image, "JPEG")
        assert Decoder("luminance", backend=backend).decode(data).pixels.shape == (512, 640)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", saved(scene())[:3000], saved(scene(), "PNG")[:900]],
    ids=["empty", "html", "jpeg", "png"],
)
def test_unreadable_images_are_named(backend, data):
    """What cannot be decoded is an error with the name of the row."""
    with pytest.raises(ImageError, match="irtd/instruct/7"):
        Decoder(backend=backend).decode(data, name="irtd/instruct/7")


def test_texts_follow_the_frame_asked_for():
    """Numbers in the text are brought to `box_frame`; a text of an unknown frame stays; positions stay positions."""
    row = {
        "image": saved(scene()),
        "messages": [{"role": "user", "content": "[64, 51.2, 320, 256]"}],
        "box_frame": 0,
    }
    found = decode_row(row, Decoder(), box_frame="per_mille")
    assert found["messages"][0]["content"] == "[100, 100, 500, 500]"
    assert found["box_frame"] == 2
    unknown = decode_row(row | {"box_frame": "unknown"}, Decoder(max_side=100), box_frame="per_mille")
    assert unknown["messages"] == row["messages"]
    assert unknown["box_frame"] == "unknown"
    with pytest.raises(BoxError, match="permille"):
        decode_row(row, Decoder(), box_frame="permille")


def test_parts_of_the_image_do_not_change_with_its_size():
    """Numbers of 0 to 1000 are the same at any size, byte for byte."""
    text = "<ref>car</ref> at <pos>[(5, 995),  (7,8)]</pos>"
    row = {
        "image": saved(scene()),
        "messages": [{"role": "assistant", "content": text}],
        "box_frame": "per_mille",
    }
    assert decode_row(row, Decoder(max_side=77))["messages"][0]["content"] == text


def test_rows_without_images_pass():
    """A row without an image comes back as it is; the visible partner is decoded as RGB."""
    assert decode_row({"id": "a", "image": None, "width": 4}, Decoder()) == {
        "id": "a",
        "image": None,
        "width": 4,
    }
    found = decode_row(
        {"image": {"bytes": saved(scene())}, "visible": saved(scene()), "modality": 0}, Decoder()
    )
    assert found["image"].shape == (512, 640)
    assert found["visible"].shape == (512, 640, 3)


def test_many_images_keep_their_order():
    """Threads give the results of one thread, in order, and an error of any is raised."""
    images = [saved(scene((640, 300 + n))) for n in range(12)]
    one = Decoder().decode_many(images, ["infrared", "optical"] * 6)
    two = Decoder(threads=3).decode_many(images, ["infrared", "optical"] * 6)
    assert [found.size for found in two] == [(640, 300 + n) for n in range(12)]
    assert all((a.pixels == b.pixels).all() for a, b in zip(one, two, strict=True))
    with pytest.raises(ImageError):
        Decoder(threads=3).decode_many([*images, b"bad"])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about the memory of glibc")
def test_memory_of_an_image_is_used_for_the_next():
    """The system is not asked for new pages with each image, which takes longer than decoding it."""
    program = """
import io, resource, sys
import numpy as np
from PIL import Image
from irtd_datasets.training import Decoder
file = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 640), np.uint8)).save(file, "JPEG")
decoder = Decoder("rgb")
for count in (5, 40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        decoder.decode(file.getvalue())
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // count)
"""
    own = {
        "MALLOC_TRIM_THRESHOLD_": None,
        "MALLOC_MMAP_THRESHOLD_": None,
    }  # Dask sets them, and then they hold
    done = python(program, env=own)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50  # the array alone has 240 pages


def test_decoders_can_be_sent_to_workers():
    """A decoder is a value: it can be pickled, compared and printed."""
    decoder = Decoder("rgb", max_side=3, wide=FixedRange(1, 2), threads=2)
    decoder.decode_many([saved(scene())] * 3)
    assert pickle.loads(pickle.dumps(decoder)) == decoder


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "gray"}, UnknownNameError, "unknown decoding 'gray'"),
        ({"backend": "turbo"}, UnknownNameError, "unknown decoder 'turbo'"),
        ({"max_side": 0}, ImageError, "max_side is 0"),
        ({"threads": 0}, ImageError, "threads is 0"),
        ({"wide": FixedRange(3, 3)}, ImageError, "empty range"),
    ],
)
def test_bad_settings_are_refused_at_once(options, error, words):
    """A decoder with an impossible setting is never made."""
    with pytest.raises(error, match=words):
        Decoder(**options)


def test_missing_fast_decoder_is_told(monkeypatch):
    """Asking for simplejpeg where it is not installed says how to get it; `auto` takes Pillow."""
    monkeypatch.setattr("irtd_datasets.training.decode.has_fast_decoder", lambda: False)
    with pytest.raises(UnknownNameError, match=r"pip install simplejpeg"):
        Decoder(backend="simplejpeg")
    assert Decoder(backend="auto").decode(saved(scene())).size == (640, 512)
