"""Images are found where users have them, and each alias that changes pixels is recorded in the row."""

import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from irtd_datasets.catalog import open_release
from irtd_datasets.errors import AmbiguousImageError
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.rows.assembly import release_groups
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import Layout, write_sample_release
from irtd_datasets.writing.engine import build

ROWS = 40
LAYOUTS = {
    "released": (),
    "flir-v1.3": ("flir-v1.3",),
    "rgbt-cc": ("rgbt-cc",),
    "dronevehicle": ("dronevehicle",),
    "png": ("png",),
    "all": ("flir-v1.3", "rgbt-cc", "dronevehicle", "png"),
}
# What the row says of an image found under another name or changed, by task.
NOTES = {
    "rgbt-cc": {"pedestrian_counting": "found as {stem}_T.jpg; grey applied, stored as PNG"},
    "dronevehicle": {"aerial_counting": "crop-border-100 applied, stored as PNG"},
    "png": "found as {name}.png",
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Samples of the same scenes in every layout, with the images in a folder of their own."""
    root = tmp_path_factory.mktemp("layouts")
    return {
        name: write_sample_release(
            "irtd",
            root / name / "release",
            rows=ROWS,
            captions=0,
            form="folder",
            layouts=layouts,
            image_folder=root / name / "images",
        )
        for name, layouts in LAYOUTS.items()
    }


def rows_of(root, images=None):
    """All rows of ``instruct`` by id, read from the release."""
    release = open_release("irtd", absolute_options(root, images))
    policy, rows, record_counts = DefectPolicy(SPEC, {}), {}, RecordCounts()
    for member in SPEC.config("instruct").members:
        for group in release_groups(release, member, policy, record_counts):
            column = group.images["image"]
            for row, image, name in zip(group.rows, column.rows.tolist(), column.names(), strict=True):
                rows[row["id"]] = {**row, "bytes": bytes(column.images[image]), "name": name}
    assert record_counts.balanced
    return rows


def together(sample, folder):
    """A release with its images inside."""
    shutil.copytree(sample.folder, folder)
    shutil.copytree(sample.image_folder, folder, dirs_exist_ok=True)
    return folder


def without_notes(rows):
    return {
        key: {name: value for name, value in row.items() if name not in {"image_note", "bytes"}}
        for key, row in rows.items()
    }


@pytest.fixture(scope="module")
def released(samples, tmp_path_factory):
    return rows_of(together(samples["released"], tmp_path_factory.mktemp("released") / "release"))


def check_notes(layout, rows):
    for row in rows.values():
        task = row["id"].split("/")[2]
        name = row["name"].rpartition("/")[2].rpartition(".")[0]
        if layout == "all":
            continue  # each note on its own is tested with the layout that has it
        expected = NOTES.get(layout, "")
        if isinstance(expected, dict):
            expected = expected.get(task, "")
        if layout == "png" and task == "reid":
            expected = ""  # mosaics are the authors' own
        assert row["image_note"] == expected.format(name=name, stem=name.partition("_")[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_in_the_release(layout, samples, released, tmp_path):
    """Each known layout under the release gives all rows, and the rows say what was found and changed."""
    rows = rows_of(together(samples[layout], tmp_path / "release"))
    assert len(rows) == ROWS
    assert without_notes(rows) == without_notes(released)
    check_notes(layout, rows)


def packed(samples, layout, kind, folder):
    """--images for every folder that the records name, as folders or as archives of one folder each."""
    images = {}
    for name, path in samples[layout].image_dirs.items():
        if kind == "folder":
            images[name] = str(path)
            continue
        target = folder / f"{name.replace('/', '-')}.{kind}"
        folder.mkdir(exist_ok=True)
        if kind == "zip":
            with zipfile.ZipFile(target, "w") as archive:
                for file in sorted(path.rglob("*")):
                    archive.write(file, file.relative_to(path).as_posix())
        else:
            with tarfile.open(target, "w") as archive:
                archive.add(path, arcname=path.name)
        images[name] = str(target)
    return images


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
@pytest.mark.parametrize("layout", ["released", "rgbt-cc", "all"])
def test_images_named_one_by_one(kind, layout, samples, released, tmp_path):
    """--images FOLDER=PATH takes a folder, a zip or a tar with the files themselves, in any layout."""
    images = packed(samples, layout, kind, tmp_path / "archives")
    rows = rows_of(samples[layout].folder, images)
    assert without_notes(rows) == without_notes(released)
    check_notes(layout, rows)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_images_named_all_at_once(kind, samples, released, tmp_path):
    """One place that has all project folders, alone or below one more folder, is enough: --images PATH."""
    root = samples["all"].image_folder
    place = root
    if kind == "zip":
        place = tmp_path / "all.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for file in sorted(root.rglob("*.*")):
                archive.write(file, file.relative_to(root).as_posix())
    elif kind == "tar":
        place = tmp_path / "all.tar"
        with tarfile.open(place, "w") as archive:
            archive.add(root, arcname="Data4MLLM")
    rows = rows_of(samples["all"].folder, {"": str(place)})
    assert without_notes(rows) == without_notes(released)


@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("63-FLIR_ADAS/training/PreviewData", "63-FLIR_ADAS/train/thermal_8_bit"),
        ("63-FLIR_ADAS/training", "63-FLIR_ADAS"),
        ("63-FLIR_ADAS", "63-FLIR_ADAS"),
        ("FLIR_ADAS", "63-FLIR_ADAS"),
        ("FLIR_ADAS", ""),
        ("63-FLIR_ADAS/", "63-FLIR_ADAS"),
    ],
)
def test_a_place_may_be_named_at_any_level(name, below, samples, tmp_path):
    """The folder of the files, the project, the project without its number, or the tree above it: all are found."""
    sample = samples["flir-v1.3"]
    images = {name: str(sample.image_folder / below)}
    rows = rows_of(sample.folder, images)
    flir = [key for key in rows if key.split("/")[2] in {"grounding", "location", "relationship", "security"}]
    expected = [
        len(sample.records[f"json_sft/{name}.json"])
        for name in ("Detection", "Location", "Relationship", "Security")
    ]
    assert len(flir) == sum(expected)
    assert len(rows) == len(flir)


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"), dtype=float)


def test_the_border_of_dronevehicle_is_cut_off(samples, released, tmp_path):
    """840x712 with a white border becomes the 640x512 image inside, pixel for pixel."""
    rows = rows_of(together(samples["dronevehicle"], tmp_path / "release"))
    aerial = [row for row in rows.values() if "/aerial_counting/" in row["id"]]
    assert aerial
    for row in aerial:
        file = samples["dronevehicle"].images[row["name"]]
        with Image.open(samples["dronevehicle"].image_folder / file.path) as found:
            assert found.size == (840, 712)
            inner = found.crop((100, 100, 740, 612))
        assert (row["width"], row["height"]) == (640, 512)
        assert np.array_equal(pixels(row["bytes"]), np.asarray(inner.convert("L"), dtype=float))
        assert np.abs(pixels(row["bytes"]) - pixels(released[row["id"]]["bytes"])).mean() < 5


def test_an_image_without_the_border_is_not_cut(samples, tmp_path):
    """Images of the released size under the same name are taken as they are, without a note."""
    rows = rows_of(together(samples["released"], tmp_path / "release"))
    aerial = [row for row in rows.values() if "/aerial_counting/" in row["id"]]
    assert {(row["width"], row["height"], row["image_note"]) for row in aerial} == {(640, 512, "")}


def test_thermal_images_of_rgbt_cc_become_grey(samples, tmp_path):
    """The coloured <n>_T.jpg stands in for <n>_Grey.jpg with one channel, and the row says so."""
    rows = rows_of(together(samples["rgbt-cc"], tmp_path / "release"))
    crowd = [row for row in rows.values() if "/pedestrian_counting/" in row["id"]]
    assert crowd
    for row in crowd:
        with Image.open(io.BytesIO(row["bytes"])) as image:
            assert (image.mode, image.format) == ("L", "PNG")
        assert "grey applied" in row["image_note"]


def test_two_candidates_are_named(samples, tmp_path):
    """The released layout and the v1.3 layout of one image side by side: the error names both files."""
    folder = together(samples["released"], tmp_path / "release")
    shutil.copytree(
        samples["flir-v1.3"].image_folder / "63-FLIR_ADAS", folder / "63-FLIR_ADAS", dirs_exist_ok=True
    )
    with pytest.raises(AmbiguousImageError) as caught:
        build("irtd", ["instruct-location"], absolute_options(folder), tmp_path / "irtd")
    line = str(caught.value).splitlines()[0]
    assert "63-FLIR_ADAS/training/PreviewData/FLIR_" in line
    assert "63-FLIR_ADAS/train/thermal_8_bit/FLIR_" in line


def test_two_extensions_of_one_stem_are_named(samples, tmp_path):
    """Two other extensions of a stem are ambiguous; beside the released name they do not matter."""
    folder = together(samples["released"], tmp_path / "release")
    flir = folder / "63-FLIR_ADAS" / "training" / "PreviewData"
    name = samples["released"].records["json_sft/Location.json"][0].image.rpartition("/")[2]
    path = flir / name
    for suffix in (".png", ".bmp"):
        shutil.copy(path, path.with_suffix(suffix))
    assert len(rows_of(folder)) == ROWS
    path.unlink()
    with pytest.raises(AmbiguousImageError, match=r"\.bmp.*\.png"):
        rows_of(folder)


def test_mosaics_are_never_looked_for_in_the_source_sets(samples, tmp_path):
    """Re-ID images are the authors' mosaics: a file of the same name in a source set's own layout is not one."""
    folder = together(samples["released"], tmp_path / "release")
    moved = folder / "53-LLCM" / "nir"
    shutil.move(folder / "53-LLCM" / "train", moved)
    rows = rows_of(folder)
    needed = [
        r for r in samples["released"].records["json_sft/ReID.json"] if r.image.startswith("53-LLCM/train/")
    ]
    assert needed
    assert len(rows) == ROWS - len(needed)


def test_the_doctor_tells_what_was_found(samples, tmp_path):
    """The report names folder, count, place and kind of alias, and counts rows as the build does."""
    sample = samples["all"]
    images = packed(samples, "all", "folder", tmp_path)
    del images["23-RGBTCrowdCounting/train"]
    release = open_release("irtd", absolute_options(sample.folder, images))
    diagnosis = examine(release)
    rows = build("irtd", ["instruct"], absolute_options(sample.folder, images), tmp_path / "irtd").rows
    assert diagnosis.configs["instruct"] == sum(rows.values())
    folders = {folder.folder: folder for folder in diagnosis.folders}
    crowd = folders["23-RGBTCrowdCounting/train"]
    assert (crowd.found, len(crowd.missing)) == (0, min(crowd.needed, 3))
    flir = folders["63-FLIR_ADAS/training/PreviewData"]
    assert flir.found == flir.needed > 0
    assert flir.notes == {"under another file name": flir.found}
    json.dumps(diagnosis.as_dict())


def test_every_layout_of_the_generator_is_tried():
    """Each layout that samples can have stands in the table above."""
    assert {layout.value for layout in Layout} == set(LAYOUTS["all"])
