"""Images that no viewer shows: read whatever their layout, kept whole, and shown by a preview."""

import io
import struct
import zlib

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irtd_datasets.errors import ImageError
from irtd_datasets.images.bands import preview, read_directory
from irtd_datasets.images.files import viewable_image
from irtd_datasets.rows.groups import GroupCutter
from irtd_datasets.schema import features
from irtd_datasets.writing.shards import open_shard

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4")
KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(values, *, order="<", planar=1, deflate=False, rows=7, tile=None, predictor=1):
    """A TIFF of values (height, width, bands), written byte by byte after TIFF 6.0."""
    height, width, bands = values.shape
    kind, size = values.dtype.kind, values.dtype.itemsize
    planes = [values] if planar == 1 else [values[:, :, band : band + 1] for band in range(bands)]
    pieces = []
    for plane in planes:
        for top in range(0, height, tile or rows):
            for left in range(0, width, tile or width):
                piece = plane[top : top + (tile or rows), left : left + (tile or width)]
                if tile:
                    pad = ((0, tile - piece.shape[0]), (0, tile - piece.shape[1]), (0, 0))
                    piece = np.pad(piece, pad)
                if predictor == 3:  # bytes of one order after those of the next, as differences along the row
                    high, wide, deep = piece.shape
                    split = piece.astype(piece.dtype.newbyteorder(">")).view(np.uint8)
                    split = split.reshape(high, wide * deep, size).transpose(0, 2, 1).reshape(high, -1, deep)
                    data = (split - np.pad(split, ((0, 0), (1, 0), (0, 0)))[:, :-1]).tobytes()
                    pieces.append(zlib.compress(data) if deflate else data)
                    continue
                if predictor == 2:
                    before = np.zeros_like(piece)
                    before[:, 1:] = piece[:, :-1]
                    piece = piece - before
                data = piece.astype(piece.dtype.newbyteorder(order)).tobytes()
                pieces.append(zlib.compress(data) if deflate else data)
    entries = {
        256: [width],
        257: [height],
        258: [8 * size] * bands,
        259: [8 if deflate else 1],
        262: [1],
        277: [bands],
        284: [planar],
        317: [predictor],
        339: [KINDS[kind]] * bands,
    }
    offsets, position = [], 8
    for piece in pieces:
        offsets.append(position)
        position += len(piece)
    if tile:
        entries |= {322: [tile], 323: [tile], 324: offsets, 325: [len(piece) for piece in pieces]}
    else:
        entries |= {273: offsets, 278: [rows], 279: [len(piece) for piece in pieces]}
    directory, behind = struct.pack(f"{order}H", len(entries)), b""
    room = position + 2 + 12 * len(entries) + 4
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        value = packed if len(numbers) == 1 else struct.pack(f"{order}I", room + len(behind))
        behind += b"" if len(numbers) == 1 else packed
        directory += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", position)
    return b"".join([head, *pieces, directory, bytes(4), behind])


def random_values(dtype, shape=(20, 33, 12), seed=0):
    generator = np.random.default_rng(seed)
    if dtype == "f4":
        return generator.normal(0, 100, shape).astype(np.float32)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def read(data):
    found = read_directory(data, 1 << 30)
    assert found is not None
    images = []
    for file in found.as_grey(data):
        with Image.open(io.BytesIO(file)) as image:
            images.append(np.asarray(image))
    return found.assemble(images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("deflate", [False, True])
def test_values_come_back_bit_by_bit(dtype, order, planar, deflate):
    """Every type, byte order and arrangement of the bands, compressed or not, gives the values written."""
    values = random_values(dtype)
    found = read(tiff(values, order=order, planar=planar, deflate=deflate))
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_tiles_come_back(planar, deflate, dtype):
    """Tiles, those that stand over the edge included."""
    values = random_values(dtype, (40, 50, 5))
    assert np.array_equal(read(tiff(values, planar=planar, deflate=deflate, tile=16)), values)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_the_predictor_is_undone(planar, tile, dtype):
    """Differences to the pixel before (predictor 2), which start anew with each row and tile."""
    values = random_values(dtype, (40, 50, 6))
    data = tiff(values, planar=planar, tile=tile, deflate=True, predictor=2)
    assert np.array_equal(read(data), values)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 6000), spot=st.integers(8, 5000), value=st.integers(0, 255))
def test_damage_is_an_error_of_the_image(cut, spot, value):
    """A file that is cut or changed anywhere gives an image or an `ImageError`, and nothing else."""
    data = bytearray(tiff(random_values("u2", (9, 11, 7)), planar=2, deflate=True))
    if spot < len(data):
        data[spot] = value
    try:
        prepared = viewable_image(bytes(data[: max(8, len(data) - cut)]), "x.tif")
    except ImageError:
        return
    assert prepared.width * prepared.height > 0


def test_sizes_are_limited_before_memory_is_taken():
    """A directory that promises more values than are read is refused, whatever its file holds."""
    data = tiff(np.zeros((4, 4, 5), np.uint8))
    huge = data.replace(struct.pack("<HHII", 256, 4, 1, 4), struct.pack("<HHII", 256, 4, 1, 1 << 30))
    assert huge != data
    with pytest.raises(ImageError) as caught:
        viewable_image(huge, "x.tif")
    assert caught.value.code in {"image-unreadable", "image-too-large"}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bands", [1, 3])
def test_floats_of_every_size_come_back(dtype, order, bands):
    """16- and 64-bit floats, and the bytes of floats in the order of predictor 3, give the values written."""
    values = np.random.default_rng(0).normal(20, 5, (9, 16, bands)).astype(dtype)
    assert np.array_equal(read(tiff(values, order=order, deflate=True)), values)
    data = tiff(values, order=order, deflate=True, predictor=3)
    assert np.array_equal(read(data), values)
    assert viewable_image(data, "celsius.tif").original is data


def test_a_whole_file_that_is_not_read_is_not_called_damaged():
    """A TIFF whose bytes are all there and that no decoder takes is to be converted, not to be fetched again."""
    data = tiff(np.ones((8, 8, 1), np.uint8)).replace(
        struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 34712)
    )
    with pytest.raises(ImageError, match=r"JPEG 2000(.|\n)*has all its bytes") as caught:
        viewable_image(data, "x.tif")
    assert "again" not in str(caught.value)


@pytest.mark.parametrize("mark", [-9999, -3.4e38, 3.4e38, 1e20, np.nan, np.inf])
def test_pixels_without_data_do_not_decide_what_is_shown(mark):
    """A mark for pixels without data, of a tenth of them, leaves the others their whole range, and is black."""
    values = np.linspace(20, 30, 1000, dtype=np.float32).reshape(20, 50)
    values[:2] = mark
    shown, _ = preview(values)
    assert not shown[:2].any()
    assert (shown[2:].min(), shown[2:].max()) == (0, 255)
    assert 100 < shown[2:].mean() < 155


def test_twelve_bands_are_kept_with_a_preview():
    """The stored image is a PNG of bands 4, 3, 2; the file is kept whole; the note says all of it."""
    values = random_values("u1")
    data = tiff(values)
    prepared = viewable_image(data, "S2.tif")
    assert (prepared.width, prepared.height, prepared.bit_depth, prepared.mode) == (33, 20, 8, "RGB")
    assert prepared.original is data
    assert prepared.note == "8-bit preview of bands 4, 3, 2 of 12 (uint8); the file is in original"
    with Image.open(io.BytesIO(prepared.data)) as shown:
        assert shown.format == "PNG"
        assert np.array_equal(np.asarray(shown), values[:, :, [3, 2, 1]])
    assert viewable_image(data, "S2.tif").data == prepared.data


def test_floats_are_kept_with_a_preview():
    """A float TIFF is shown scaled, with what is not a number in black, and is kept bit by bit."""
    values = np.linspace(-5, 40, 32 * 24, dtype=np.float32).reshape(24, 32)
    values[0, 0] = np.nan
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    prepared = viewable_image(file.getvalue(), "radiance.tif")
    assert prepared.original == file.getvalue()
    assert "float32" in prepared.note
    shown = np.asarray(Image.open(io.BytesIO(prepared.data)))
    assert shown.dtype == np.uint8
    assert (shown[0, 0], shown[0, 1], shown[-1, -1]) == (0, 0, 255)
    assert (np.diff(shown.ravel()[1:].astype(int)) >= 0).all()


def test_whole_numbers_that_fit_need_no_preview():
    """32-bit whole numbers up to 65535 become 16-bit PNG without loss; others a preview."""
    values = np.arange(60_000, dtype=np.int32).reshape(200, 300)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    prepared = viewable_image(file.getvalue(), "counts.tif")
    assert (prepared.mode, prepared.bit_depth, prepared.original) == ("I;16", 16, None)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(prepared.data))), values)
    file = io.BytesIO()
    Image.fromarray(values - 7).save(file, "TIFF")
    assert viewable_image(file.getvalue(), "counts.tif").original == file.getvalue()


def test_ordinary_images_are_untouched():
    """What can be shown is stored as the very bytes that came, 16-bit grey included."""
    for image, form in (
        (Image.new("RGB", (9, 8)), "JPEG"),
        (Image.new("I;16", (9, 8)), "PNG"),
        (Image.fromarray(np.ones((8, 9), np.uint16)), "TIFF"),
        (Image.new("CMYK", (9, 8)), "TIFF"),
    ):
        file = io.BytesIO()
        image.save(file, form)
        data = file.getvalue()
        prepared = viewable_image(data, "x")
        assert prepared.data is data
        assert prepared.original is None


@pytest.mark.parametrize("values", [np.full((4, 5), np.nan, np.float32), np.full((4, 5), 3.5, np.float32)])
def test_flat_and_empty_values_have_a_preview(values):
    """An image of one value, or of none at all, is black and no error."""
    assert not preview(values)[0].any()


def row(number):
    return {
        "id": f"irtd/x/{number}", "modality": 0, "task": 1, "source": None,
        "messages": [{"role": "user", "content": "?"}], "question": None, "choices": [], "answer": None,
        "objects": {"label": [], "box": [], "polygon": [], "point": []}, "box_frame": None, "width": 33,
        "height": 20, "bit_depth": 8, "image_note": "", "issues": [], "corrections": [],
    }  # fmt: skip


def write(path, *images):
    """Write one row group of images with their rows."""
    cutter = GroupCutter()
    with open_shard(path) as writer:
        for image in images:
            assert not list(cutter.add(*image))
        for group in cutter.rest():
            writer.write(group)


def test_the_file_goes_through_a_shard_once_and_comes_back(tmp_path):
    """Rows of one image share its file; plain `datasets` gives it back, mapped, streamed and interleaved."""
    data = tiff(random_values("u2", (200, 330, 12)))
    shown = viewable_image(data, "S2.tif")
    beside = {"bytes": data, "path": "S2.tif"}
    plain = viewable_image(shown.data, "plain.png")
    path = tmp_path / "train-00000-of-00001.parquet"
    with_file = [{**row(number), "original": data} for number in range(2)]
    write(path, ("S2.tif", with_file, shown.data), ("plain.png", [row(2)], plain.data))
    write(tmp_path / "other.parquet", ("plain.png", [row(3)], plain.data))
    assert path.stat().st_size < len(data) * 1.5
    stored = pq.read_table(path)["original"].to_pylist()
    assert stored == [beside, beside, None]
    for streaming in (False, True):
        loaded = [
            datasets.load_dataset(
                "parquet", data_files=str(file), split="train", streaming=streaming, cache_dir=str(tmp_path)
            )
            for file in (path, tmp_path / "other.parquet")
        ]
        assert loaded[0].features == features()
        mixed = list(datasets.interleave_datasets(loaded, stopping_strategy="all_exhausted"))
        assert {one["id"] for one in mixed} == {f"irtd/x/{number}" for number in range(4)}
        kept = {one["id"]: (one["original"] or {}).get("bytes") for one in mixed}
        assert kept["irtd/x/0"] == kept["irtd/x/1"] == data
        assert kept["irtd/x/2"] is kept["irtd/x/3"] is None
