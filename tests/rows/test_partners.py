"""`--visible`: released records get the partner of their image, cut to its view, or a reason why not."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from pair_scenes import LEFT, SCALE, TOP, encoded, scene, wide_pair
from PIL import Image
from processes import irtd_here

from irtd_datasets.errors import AmbiguousImageError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.preview import write_contact_sheet, write_preview
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training import stream, table
from irtd_datasets.writing.engine import build

FLIR = "63-FLIR_ADAS/training/PreviewData"


def mirrored(data):
    return encoded(np.asarray(Image.open(io.BytesIO(data)))[:, ::-1])


class Pairs:
    """Records of one folder of the release, images for them, and a partner of its own kind for each."""

    def __init__(self, folder):
        self.release = write_sample_release(
            "irtd", folder / "r", rows=60, captions=0, images=False, form="folder"
        ).folder
        self.images, self.visible = folder / "T", folder / "V"
        self.images.mkdir()
        self.visible.mkdir()
        (records,) = self.release.rglob("Location.json")
        names = [record["image"][0].split(FLIR + "/")[-1] for record in json.loads(records.read_text())]
        self.names = list(dict.fromkeys(name for name in names if "/" not in name))
        kinds = ["wide", "mirrored", "narrow", "tiny", "broken", "none"]
        self.kinds = {name: kinds[min(index, 5)] for index, name in enumerate(self.names)}
        for seed, (name, kind) in enumerate(self.kinds.items()):
            infrared, wide = wide_pair(seed)
            made = {
                "wide": lambda: wide,  # noqa: B023 - called at once
                "mirrored": lambda: mirrored(wide),  # noqa: B023
                "narrow": lambda: encoded(np.asarray(Image.open(io.BytesIO(wide)))[150:500, 200:700]),  # noqa: B023
                "tiny": lambda: encoded(np.zeros((1, 1, 3), np.uint8)),
                "broken": lambda: b"<html>404</html>",
            }
            (self.images / name).write_bytes(infrared)
            if kind != "none":
                (self.visible / f"{name.rpartition('.')[0]}.jpg").write_bytes(made[kind]())

    def options(self, **more):
        places = {"images": {FLIR: self.images}, "visible": {FLIR: self.visible}} | more
        return absolute_options(self.release, **places)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return Pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def built(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    arguments = ["--images", f"{FLIR}={pairs.images}", "--visible", f"{FLIR}={pairs.visible}"]
    done = irtd_here(
        *("build", "irtd", "instruct-location", "--release", pairs.release, *arguments),
        *("--out", folder / "irtd", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "irtd"


def rows_of(folder):
    rows = [
        row for file in sorted(folder.rglob("train-*.parquet")) for row in pq.read_table(file).to_pylist()
    ]
    return [row for row in rows if row["image"]["path"].startswith(FLIR)]


def test_partners_are_cut_to_the_infrared_view(pairs, built, tmp_path):
    """A wider visible image is cut to the view of the infrared one; image and boxes are those of a build without."""
    build("irtd", ["instruct-location"], pairs.options(visible={}), tmp_path / "plain")
    plain = {row["id"]: row for row in rows_of(tmp_path / "plain")}
    rows = rows_of(built)
    assert len(rows) == len(plain)
    seen = set()
    for row in rows:
        before = plain[row["id"]]
        for column in ("image", "objects", "messages", "width", "height"):
            assert row[column] == before[column]
        assert before["registration"]["status"] == "none"
        kind = pairs.kinds[row["image"]["path"].rpartition("/")[2]]
        found = row["registration"]
        expected = {
            "wide": "cropped",
            "mirrored": "refused-not-sure",
            "narrow": "refused-smaller-view",
            "tiny": "refused-too-small",
            "broken": "refused-image-not-an-image",
            "none": "none",
        }
        assert found["status"] == expected[kind]
        assert (row["visible"] is None) == (kind != "wide")
        seen.add(kind)
        if kind == "wide":
            truth = np.array([1 / SCALE, 0, -LEFT, 0, 1 / SCALE, -TOP])
            corners = np.array([[x, y, 1] for x in (0, 800) for y in (0, 640)])
            given = np.array(found["transform"]).reshape(2, 3) - truth.reshape(2, 3)
            assert np.abs(corners @ given.T).max() < 4
            low, top, high, bottom = found["visible_box"]
            assert Image.open(io.BytesIO(row["visible"]["bytes"])).size == (high - low, bottom - top)
            assert row["visible"]["path"] == found["partner"]
            assert found["method"] == "images"
            assert found["quality"] > 0.5
    assert seen == set(pairs.kinds.values())
    ledger = {one["file"]: one for one in json.loads((built / "ledger.json").read_text())["files"]}
    partners = ledger["Location.json"]["partners"]
    assert sum(partners.values()) == ledger["Location.json"]["kept"]
    assert {"cropped", "none", "refused-smaller-view"} <= set(partners)
    assert "## Pairs" in (built / "README.md").read_text()


def test_every_reader_knows_the_second_image(built, tmp_path):
    """Tables, streams, decoding, pages, sheets, checks and plain `datasets` take the partner like the image."""
    from datasets import load_dataset

    name = f"{built}:instruct-location"
    rows = [row for row in table(name, decode="rgb", max_side=320) if row["visible"] is not None]
    assert rows
    for row in rows:
        assert row["visible"].ndim == 3
        assert max(row["visible"].shape[:2]) <= 320
    streamed = [row for row in stream(name) if row["visible"] is not None]
    assert {row["id"] for row in streamed} == {row["id"] for row in rows}
    assert check_folder(built, images="all", hashes=True).errors == ()
    write_preview(built, tmp_path / "page.html")
    assert 'data-show="checkerboard"' in (tmp_path / "page.html").read_text()
    write_contact_sheet(built, tmp_path / "sheet.png")
    loaded = load_dataset(str(built), "instruct-location", split="train", cache_dir=str(tmp_path / "c"))
    pair = next(row for row in loaded if row["visible"] is not None)
    assert pair["visible"].size[0] > 640
    assert pair["registration"]["status"] == "cropped"


def test_the_partner_of_an_image_is_stored_once(built):
    """Rows of one image share the bytes of both images in the file."""
    rows = [row for row in rows_of(built) if row["visible"] is not None]
    images = {row["visible"]["path"] for row in rows}
    (file,) = built.rglob("train-*.parquet")
    metadata = pq.read_metadata(file)
    stored = sum(
        metadata.row_group(group).column(leaf).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for leaf in range(metadata.num_columns)
        if metadata.schema.column(leaf).path == "visible.bytes"
    )
    once = {row["visible"]["path"]: len(row["visible"]["bytes"]) for row in rows}
    assert len(once) == len(images)
    assert stored < sum(once.values()) + 4096


def test_reading_the_release_gives_the_same_pairs(pairs, built, tmp_path):
    """`load_dataset` with ``visible`` gives the rows of the build."""
    from irtd_datasets import load_dataset

    loaded = load_dataset(
        "irtd",
        "instruct-location",
        data_dir=pairs.release,
        images={FLIR: pairs.images},
        visible={FLIR: pairs.visible},
        split="train",
        cache_dir=str(tmp_path),
    )
    status = {row["id"]: row["registration"]["status"] for row in rows_of(built)}
    assert {row["id"]: row["registration"]["status"] for row in loaded if row["id"] in status} == status


def test_places_are_checked_as_those_of_images(pairs, tmp_path):
    """A path with nothing at it, a folder that no record names and two partners of one name are errors that say so."""
    target = tmp_path / "out"
    with pytest.raises(ReleaseNotFoundError, match="visible images of"):
        build("irtd", ["instruct-location"], pairs.options(visible={FLIR: tmp_path / "gone"}), target)
    with pytest.raises(UnknownNameError, match=f"Did you mean `--visible {FLIR}="):
        build("irtd", ["instruct-location"], pairs.options(visible={FLIR + "x": pairs.visible}), target)
    both = shutil.copytree(pairs.visible, tmp_path / "both")
    first = next(both.iterdir())
    shutil.copy(first, first.with_suffix(".png"))
    with pytest.raises(AmbiguousImageError, match=r"--visible"):
        build("irtd", ["instruct-location"], pairs.options(visible={FLIR: both}), target)


def test_a_pair_that_is_declared_aligned_keeps_its_bytes(tmp_path):
    """What the table of sources declares aligned is not decoded, and any format, depth or EXIF is as for images."""
    from irtd_datasets.images.pairs.partner import fit_partner

    image = encoded(scene(1, (320, 256)).clip(0, 255).astype(np.uint8))
    other = encoded(scene(2, (640, 512)).clip(0, 255).astype(np.uint8), "JPEG")
    found = fit_partner(image, other, "v.jpg", "aligned")
    assert (found["status"], found["method"]) == ("aligned", "declared")
    assert found["transform"] == [0.5, 0, 0, 0, 0.5, 0]
    assert fit_partner(image, encoded(np.zeros((256, 256), np.uint8)), "v.png", "aligned")["status"] == (
        "refused-not-sure"
    )
