"""Images: released bytes, stored once, upright, and with boxes and points on the objects that are there."""

import io
import zipfile

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import damage
from irtd_datasets.writing.engine import build

EXIF_ORIENTATION = 0x0112


def rows_of(folder, part):
    return [
        row for path in sorted((folder / part).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def build_instruct(folder, out, configs=("instruct",), **options):
    return build("irtd", configs, absolute_options(folder, **options), out)


def grey(data):
    """An image as plain `datasets` shows it, as float pixels."""
    shown = datasets.Image().decode_example({"bytes": data, "path": None})
    return np.asarray(shown.convert("L"), dtype=float)


def truth(sample, row):
    """What is really there: the record that a row comes from, with the objects drawn for it."""
    _, subset, task, identifier = row["id"].split("/")
    name = {"grounding": "Detection", "location": "Location"}[task]
    return sample.record(f"{'json_sft' if subset == 'instruct' else subset}/{name}.json", identifier)


def inside(pixels, box):
    x_min, y_min, x_max, y_max = (round(value) for value in box)
    return pixels[max(y_min, 0) : y_max, max(x_min, 0) : x_max]


def around(pixels, box, margin=12):
    """Mean of a frame around a box, without the box."""
    x_min, y_min, x_max, y_max = (round(value) for value in box)
    mask = np.zeros(pixels.shape, dtype=bool)
    mask[max(y_min - margin, 0) : y_max + margin, max(x_min - margin, 0) : x_max + margin] = True
    mask[max(y_min, 0) : y_max, max(x_min, 0) : x_max] = False
    return pixels[mask].mean()


def warm(pixels, box):
    """Whether a box holds an object: the scenes draw all objects warmer than what is around them."""
    return inside(pixels, box).mean() > around(pixels, box) + 5


def released_bytes(sample):
    """Bytes of every written image of the sample's own files and of the mosaics, by released name."""
    with zipfile.ZipFile(sample.folder / "reid_datasets.zip") as mosaics:
        return {
            name: mosaics.read(image.path.partition("!")[2])
            if image.path.startswith("reid_datasets.zip!")
            else (sample.folder / image.path).read_bytes()
            for name, image in sample.images.items()
            if image.path and not image.path.startswith("IR-TD")
        }


def test_stored_bytes_are_the_released_bytes(sample, built):
    """Every image in the built folder is the file of the release byte for byte, under its released name."""
    released = released_bytes(sample)
    seen = set()
    for path in [*built.glob("instruct/*/*.parquet"), *built.glob("benchmark/*/*.parquet")]:
        for row in pq.read_table(path, columns=["image", "image_note"]).to_pylist():
            assert row["image_note"] == ""
            assert row["image"]["bytes"] == released[row["image"]["path"]]
            seen.add(row["image"]["path"])
    assert seen == set(released)


def test_caption_images_are_those_of_the_archive(unpacked, built):
    """Images that came through the cut archive are the same bytes as those of its unpacked folder."""
    rows = rows_of(built, "pretrain/captioning")
    assert len(rows) == 18
    for row in rows:
        path = unpacked.images[row["image"]["path"]].path
        assert row["image"]["bytes"] == (unpacked.folder / path).read_bytes()


def test_an_image_is_stored_once_in_a_row_group(tmp_path, release):
    """Many questions on one image cost its bytes once, and any reader sees plain rows."""
    import json

    folder = release("folder")
    path = folder / "json_sft" / "Location.json"
    records = json.loads(path.read_text())
    first = records[0]
    repeated = [{**first, "id": str(1000 + number)} for number in range(60)]
    path.write_text(json.dumps([*repeated, *records]))
    build_instruct(folder, tmp_path / "irtd", ["instruct-location"])
    (shard,) = (tmp_path / "irtd" / "instruct" / "location").iterdir()
    rows = pq.read_table(shard).to_pylist()
    sizes = {row["image"]["path"]: len(row["image"]["bytes"]) for row in rows}
    assert len(rows) == len(records) + 60
    assert sum(len(row["image"]["bytes"]) for row in rows) > 4 * sum(sizes.values())
    file = pq.ParquetFile(shard)
    for group in range(file.num_row_groups):
        images = file.read_row_group(group, columns=["image"]).to_pylist()
        distinct = {image["image"]["path"]: len(image["image"]["bytes"]) for image in images}
        metadata = file.metadata.row_group(group)
        columns = [metadata.column(index) for index in range(metadata.num_columns)]
        (stored,) = [column for column in columns if column.path_in_schema == "image.bytes"]
        assert stored.total_compressed_size < sum(distinct.values()) + 10_000
    assert {
        tuple(row["image"].values()) for row in rows if row["image"]["path"] == rows[0]["image"]["path"]
    } == {tuple(rows[0]["image"].values())}


def test_boxes_and_points_lie_on_the_objects(sample, built):
    """Golden pixels: each box is that of a drawn object, each point its centre, and both are warm in the image."""
    boxes = points = 0
    for part in ("instruct/grounding", "benchmark/grounding"):
        for row in rows_of(built, part):
            record, pixels = truth(sample, row), grey(row["image"]["bytes"])
            (box,) = row["objects"]["box"]
            if "box-outside-image" in row["issues"]:
                continue  # planted: wider than the object and than the image
            # The planted wrong labels have the box of the reference object; all others that of the target.
            shown = record.objects[1 if "label-reference-object" in row["issues"] else 0]
            assert tuple(box) == shown.box
            assert warm(pixels, box)
            boxes += 1
    for part in ("instruct/location", "benchmark/location"):
        for row in rows_of(built, part):
            record, pixels = truth(sample, row), grey(row["image"]["bytes"])
            assert row["objects"]["label"] == [item.label for item in record.objects]
            for (x, y), item in zip(row["objects"]["point"], record.objects, strict=True):
                assert abs(x - item.centre[0]) <= 0.64 / 2 + 1e-3  # half a thousandth of the width
                assert abs(y - item.centre[1]) <= 0.512 / 2 + 1e-3
                assert item.box[0] <= x <= item.box[2]
                assert item.box[1] <= y <= item.box[3]
                assert warm(pixels, item.box)
                points += 1
    assert boxes > 5
    assert points > 40


def test_a_wrong_box_is_seen(sample, built):
    """The golden pixel check can fail: the box of a row shifted off its object is not warm."""
    rows = [row for row in rows_of(built, "instruct/grounding") if not row["issues"]]
    (row,) = rows[:1]
    x_min, y_min, x_max, _ = row["objects"]["box"][0]
    assert not warm(grey(row["image"]["bytes"]), (x_min, y_min - 140, x_max, y_min - 100))


def test_the_certain_centre_lies_on_the_object_asked_for(sample, built):
    """A wrong label keeps its released box; what is certain stands beside it and is not put in its place."""
    flagged = [
        row for row in rows_of(built, "instruct/grounding") if "label-reference-object" in row["issues"]
    ]
    assert flagged
    for row in flagged:
        record = truth(sample, row)
        assert row["objects"]["label"] == [record.objects[0].label]
        assert tuple(row["objects"]["box"][0]) == record.objects[1].box
        if record.objects[0].label != record.objects[1].label:
            offered = [(item["field"], item["value"]) for item in row["corrections"]]
            assert ("objects.label", record.objects[1].label) in offered


@pytest.fixture(scope="module")
def upright(sample, tmp_path_factory):
    """Rows of Grounding and Location of the undamaged sample, by id."""
    folder = tmp_path_factory.mktemp("upright") / "irtd"
    build_instruct(sample.folder, folder, ["instruct-grounding", "instruct-location"])
    parts = ("instruct/grounding", "instruct/location")
    return {row["id"]: row for part in parts for row in rows_of(folder, part)}


def damaged_rows(release, out, kind):
    folder = release()
    done = damage(folder, kind)
    build_instruct(folder, out, ["instruct-grounding", "instruct-location"])
    rows = [row for part in ("instruct/grounding", "instruct/location") for row in rows_of(out, part)]
    return done, rows


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stored_turned_is_shown_upright(upright, release, tmp_path, orientation):
    """EXIF 1-8: the stored image is upright without the EXIF entry, and boxes and points fit as before."""
    done, rows = damaged_rows(release, tmp_path / "irtd", f"exif-{orientation}")
    touched = [row for row in rows if row["image"]["path"] == done.image]
    assert touched
    assert {row["id"] for row in rows} == set(upright)
    for row in touched:
        before = upright[row["id"]]
        with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
            assert stored.getexif().get(EXIF_ORIENTATION, 1) == 1
            assert stored.size == (row["width"], row["height"]) == (640, 512)
        assert np.abs(grey(row["image"]["bytes"]) - grey(before["image"]["bytes"])).mean() < 4
        assert row["objects"] == before["objects"]
        assert row["issues"] == before["issues"]
        if orientation == 1:
            assert row["image_note"] == ""
        else:
            assert row["image_note"] == f"exif-orientation-{orientation} applied, stored as PNG"


@pytest.mark.parametrize("orientation", range(5, 9))
def test_numbers_made_on_stored_pixels_turn_with_them(upright, release, tmp_path, orientation):
    """A 640x512 frame whose EXIF turns it: boxes and points turn along, and the row says that its text does not."""
    folder = release()
    name = next(
        row["image"]["path"] for row in upright.values() if row["objects"]["box"] and not row["issues"]
    )
    path = folder / name
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        image.save(path, "JPEG", quality=95, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("L"), dtype=float)
    build_instruct(folder, tmp_path / "irtd", ["instruct-grounding", "instruct-location"])
    rows = [
        row
        for part in ("instruct/grounding", "instruct/location")
        for row in rows_of(tmp_path / "irtd", part)
        if row["image"]["path"] == name
    ]
    assert {bool(row["objects"]["box"]) for row in rows} == {True, False}
    for row in rows:
        before, pixels = upright[row["id"]], grey(row["image"]["bytes"])
        assert (row["width"], row["height"]) == (512, 640)
        assert np.array_equal(pixels, expected)
        assert row["issues"] == [*before["issues"], "turned-text"]
        assert row["messages"] == before["messages"]
        first = grey(before["image"]["bytes"])
        for old, new in zip(before["objects"]["box"], row["objects"]["box"], strict=True):
            # The turned box shows the same pixels, up to the loss of encoding them once more.
            assert inside(pixels, new).shape == inside(first, old).T.shape
            assert abs(inside(pixels, new).mean() - inside(first, old).mean()) < 2
            assert warm(pixels, new)
        for (x, y), (new_x, new_y) in zip(before["objects"]["point"], row["objects"]["point"], strict=True):
            spot = inside(first, (x - 4, y - 4, x + 4, y + 4)).mean()
            assert abs(inside(pixels, (new_x - 4, new_y - 4, new_x + 4, new_y + 4)).mean() - spot) < 8


def test_sixteen_bits_stay_sixteen_bits(upright, release, tmp_path):
    """A 16-bit frame keeps its bytes and its values above 255, in the folder and in what `datasets` decodes."""
    folder = release()
    done = damage(folder, "grey16-image")
    build_instruct(folder, tmp_path / "irtd", ["instruct-location"])
    rows = [
        row for row in rows_of(tmp_path / "irtd", "instruct/location") if row["image"]["path"] == done.image
    ]
    assert rows
    for row in rows:
        assert row["image"]["bytes"] == (folder / done.path).read_bytes()
        assert (row["bit_depth"], row["width"], row["height"]) == (16, 640, 512)
        assert row["image_note"] == f"found as {done.path.rpartition('/')[2]}"
    loaded = datasets.load_dataset(
        str(tmp_path / "irtd"), "instruct-location", split="train", cache_dir=tmp_path / "cache"
    )
    (index, *_) = [
        i for i, row in enumerate(rows_of(tmp_path / "irtd", "instruct/location")) if row["bit_depth"] == 16
    ]
    image = loaded[index]["image"]
    assert image.mode.startswith("I")
    assert np.asarray(image).min() >= 7000
    raw = datasets.load_dataset(
        "irtd", "instruct-location", data_dir=str(folder), split="train", streaming=True
    )
    depths = [np.asarray(row["image"]).max() > 255 for row in raw]
    assert sum(depths) == len(rows)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("cmyk-image", "CMYK"), ("palette-image", "P"), ("mpo-image", "RGB"), ("wrong-extension", "L")],
)
def test_unusual_images_keep_their_bytes(upright, release, tmp_path, kind, mode):
    """CMYK, palette, MPO and a PNG called .jpeg are stored as found, decode, and their boxes fit."""
    folder = release()
    done = damage(folder, kind)
    build_instruct(folder, tmp_path / "irtd", ["instruct-grounding", "instruct-location"])
    touched = [
        row
        for part in ("instruct/grounding", "instruct/location")
        for row in rows_of(tmp_path / "irtd", part)
        if row["image"]["path"] == done.image
    ]
    assert touched
    for row in touched:
        before = upright[row["id"]]
        assert row["image"]["bytes"] == (folder / done.path).read_bytes()
        assert row["objects"] == before["objects"]
        shown = datasets.Image().decode_example(row["image"])
        assert shown.size == (640, 512)
        assert shown.mode == mode
        assert np.abs(grey(row["image"]["bytes"]) - grey(before["image"]["bytes"])).mean() < 6
