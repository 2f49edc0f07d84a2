"""Each kind of damage does what it says, to the records it says, and to nothing else."""

import gzip
import json
import shutil
import sys
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.testing import MARKER, DamageKind, damage, write_sample_release
from irtd_datasets.testing.irtd_text import PREFIX

LOCATION = "json_sft/Location.json"
KINDS = list(DamageKind)
ARCHIVES = [kind for kind in KINDS if kind.value.endswith(("-zip", "-bomb", "part", "parts"))]
TEXTS = [
    *(
        "json-cut",
        "empty-file",
        "unknown-task-file",
        "wrong-types",
        "no-image",
        "two-images",
        "duplicate-ids",
    ),
    *("dotdot-path", "foreign-path"),
]
IMAGES = [kind for kind in KINDS if kind not in ARCHIVES and kind.value not in TEXTS]


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    root = tmp_path_factory.mktemp("masters")
    return {
        form: write_sample_release("irtd", root / form, rows=40, seed=2, form=form)
        for form in ("zip", "folder")
    }


@pytest.fixture
def fresh(masters, tmp_path):
    def copy(form="zip"):
        folder = tmp_path / f"{form} release"
        shutil.copytree(masters[form].folder, folder)
        return folder

    return copy


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def texts(folder):
    """Bytes of the task files, from either form."""
    if (folder / "json_sft.zip").is_file():
        with zipfile.ZipFile(folder / "json_sft.zip") as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return {f"json_sft/{path.name}": path.read_bytes() for path in (folder / "json_sft").iterdir()}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not DamageKind.ZIP_BOMB])
def test_damage_touches_only_what_it_names(fresh, kind):
    """All files but the one named (two for swapped parts) keep their bytes, and that one changes."""
    folder = fresh()
    before = contents(folder)
    done = damage(folder, kind.value)
    after = contents(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert done.kind is kind
    assert done.detail
    if kind.value in TEXTS:
        assert changed == {"json_sft.zip"}
    elif kind is DamageKind.SWAPPED_PARTS:
        assert changed == {done.path, done.detail.removeprefix("swapped with ")}
    elif kind in (DamageKind.PALETTE_IMAGE, DamageKind.GREY16_IMAGE):
        assert changed == {done.path, done.image}
    else:
        assert changed == {done.path}


@pytest.mark.parametrize("form", ["zip", "folder"])
@pytest.mark.parametrize("kind", TEXTS)
def test_text_damage_works_in_both_forms(masters, fresh, form, kind):
    """The same task file is damaged alike inside the zip and in the folder; the others keep their bytes."""
    folder = fresh(form)
    before = texts(masters[form].folder)
    done = damage(folder, kind)
    after = texts(folder)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {
        done.path
    }


def records(folder):
    return json.loads(texts(folder)[LOCATION])


def test_archives_are_broken_as_named(fresh):
    """A cut or replaced zip no longer opens."""
    for kind in ("truncated-zip", "html-zip"):
        folder = fresh()
        damage(folder, kind)
        with pytest.raises(zipfile.BadZipFile):
            zipfile.ZipFile(folder / "json_sft.zip")
        shutil.rmtree(folder)


def test_zip_bomb_inflates_a_thousandfold(fresh):
    """The bomb is a correct small zip with half a gigabyte of blanks; other files stay."""
    folder = fresh()
    before = texts(folder)
    damage(folder, "zip-bomb")
    with zipfile.ZipFile(folder / "json_sft.zip") as archive:
        entry = archive.getinfo(LOCATION)
        assert entry.file_size == 512 << 20
        assert entry.compress_size * 200 < entry.file_size
        assert (folder / "json_sft.zip").stat().st_size < 4 << 20
        with archive.open(LOCATION) as member:
            assert member.read(1000) == b" " * 1000
        assert all(archive.read(name) == content for name, content in before.items() if name != LOCATION)


@pytest.mark.parametrize("kind", ["truncated-last-part", "missing-part", "swapped-parts"])
def test_joined_parts_no_longer_unpack(masters, fresh, kind):
    """The parts joined in the order of their names are no gzip stream any more."""
    names = [path.name for path in masters["zip"].archives if ".tar.gz" in path.name]
    gzip.decompress(b"".join((masters["zip"].folder / name).read_bytes() for name in names))
    folder = fresh()
    damage(folder, kind)
    left = b"".join((folder / name).read_bytes() for name in names if (folder / name).exists())
    with pytest.raises((EOFError, zlib.error, gzip.BadGzipFile)):
        gzip.decompress(left)


def test_files_are_broken_as_named(fresh):
    """A cut file is no JSON, an empty one has no byte, an added one is there."""
    folder = fresh()
    damage(folder, "json-cut")
    with pytest.raises(json.JSONDecodeError, match="Unterminated string"):
        records(folder)
    damage(folder, "empty-file")
    assert texts(folder)["json_sft/Recognition.json"] == b""
    damage(folder, "unknown-task-file")
    assert json.loads(texts(folder)["json_sft/Tracking.json"])


@pytest.mark.parametrize("kind", ["no-image", "two-images", "duplicate-ids", "dotdot-path", "foreign-path"])
def test_one_record_is_broken_as_named(fresh, kind):
    """The record named, and no other, has the fault."""
    folder = fresh()
    before = records(folder)
    done = damage(folder, kind)
    after = records(folder)
    assert done.records == ((LOCATION, "1"),)
    assert [index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [1]
    image = after[1]["image"]
    assert done.image == before[1]["image"][0].removeprefix(PREFIX)
    assert {
        "no-image": image == [],
        "two-images": len(image) == 2,
        "duplicate-ids": after[1]["id"] == after[0]["id"],
        "dotdot-path": ".." in image[0] if image else False,
        "foreign-path": bool(image) and image[0].startswith("/") and PREFIX not in image[0],
    }[kind]


def test_wrong_types_are_four(fresh):
    """Four records have another type in id, image, conversations and value."""
    folder = fresh()
    done = damage(folder, DamageKind.WRONG_TYPES)
    after = records(folder)
    assert done.records == tuple((LOCATION, str(index)) for index in (1, 2, 3, 4))
    assert isinstance(after[1]["id"], int)
    assert isinstance(after[2]["image"], str)
    assert isinstance(after[3]["conversations"], dict)
    assert after[4]["conversations"][1]["value"] is None


@pytest.mark.parametrize("kind", IMAGES)
def test_records_of_a_damaged_image_are_named(masters, fresh, kind):
    """A damaged image lists all records about it, in every task file."""
    done = damage(fresh(), kind)
    about = {
        (file, record.id)
        for file, listed in masters["zip"].records.items()
        for record in listed
        if record.image == done.image
    }
    assert set(done.records) == about
    assert len(about) >= 2


@pytest.mark.parametrize("kind", ["html-image", "zero-byte-image", "missing-image", "truncated-image"])
def test_unreadable_images(fresh, kind):
    """Such an image cannot be decoded."""
    folder = fresh()
    done = damage(folder, kind)
    with (
        pytest.raises((UnidentifiedImageError, FileNotFoundError, OSError)),
        Image.open(folder / done.path) as opened,
    ):
        opened.load()


@pytest.mark.parametrize("layouts", [(), ("png",)])
def test_huge_image_declares_its_size(tmp_path, layouts):
    """The header says 65,000 x 65,000, in JPEG and PNG."""
    write_sample_release("irtd", tmp_path / "r", rows=24, captions=0, layouts=layouts)
    done = damage(tmp_path / "r", "huge-image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(Image.DecompressionBombError, match="4225000000"):
            Image.open(tmp_path / "r" / done.path)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_symlink_leads_out_of_the_release(masters, fresh):
    """The link points to the unharmed image, outside."""
    folder = fresh()
    done = damage(folder, "symlink")
    link = folder / done.path
    assert link.is_symlink()
    assert not link.resolve().is_relative_to(folder.resolve())
    assert link.read_bytes() == (masters["zip"].folder / done.path).read_bytes()


@pytest.mark.parametrize(
    ("kind", "mode", "form"),
    [
        ("cmyk-image", "CMYK", "JPEG"),
        ("palette-image", "P", "PNG"),
        ("grey16-image", "I;16", "PNG"),
        ("wrong-extension", "L", "PNG"),
        ("mpo-image", "RGB", "MPO"),
    ],
)
def test_unusual_images_show_the_same_scene(masters, fresh, kind, mode, form):
    """Mode and container are as named, and the warm pixels are where they were."""
    folder = fresh()
    done = damage(folder, kind)
    image = masters["zip"].images[done.image]
    with Image.open(folder / done.path) as opened:
        assert (opened.mode, opened.format, opened.size) == (mode, form, (640, 512))
        assert getattr(opened, "n_frames", 1) == (2 if form == "MPO" else 1)
        if mode == "I;16":
            counts = np.asarray(opened)
            assert counts.max() > 255
            pixels = (counts.astype(int) - 7000) // 24
        else:
            pixels = np.asarray(opened.convert("RGB").convert("L"))
    for item in image.objects:
        assert pixels[int(item.centre[1]), int(item.centre[0])] > 180


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_makes_the_boxes_fit(masters, fresh, orientation):
    """Upright, the image is 640x512 and nearly the original; as stored it is turned."""
    folder = fresh()
    done = damage(folder, f"exif-{orientation}")
    with Image.open(masters["zip"].folder / done.path) as original:
        expected = np.asarray(original).astype(int)
    with Image.open(folder / done.path) as opened:
        assert opened.getexif()[0x0112] == orientation
        assert opened.size == ((512, 640) if orientation >= 5 else (640, 512))
        stored = np.asarray(opened).astype(int)
        upright = np.asarray(ImageOps.exif_transpose(opened)).astype(int)
    assert abs(upright - expected).mean() < 4
    if 2 <= orientation <= 4:
        assert abs(stored - expected).mean() > 8
    for item in masters["zip"].images[done.image].objects:
        assert upright[int(item.centre[1]), int(item.centre[0])] > 185


def test_image_can_be_chosen_in_any_layout(tmp_path):
    """Images in other layouts and outside the release are found by the name that the records use."""
    sample = write_sample_release(
        "irtd",
        tmp_path / "r",
        rows=24,
        captions=0,
        form="folder",
        image_folder=tmp_path / "p",
        layouts=["flir-v1.3", "rgbt-cc", "dronevehicle"],
    )
    for file in ("Location", "PedestrianCounting", "AerialCounting", "Recognition", "ReID"):
        record = sample.records[f"json_sft/{file}.json"][0]
        done = damage(tmp_path / "r", "zero-byte-image", image=record.image, image_folder=tmp_path / "p")
        assert (record.file, record.id) in done.records
        assert (tmp_path / "p" / sample.images[record.image].path).read_bytes() == b""


def test_folders_that_are_no_sample_are_left_alone(fresh):
    """Without the marker nothing is changed; a real release is safe."""
    folder = fresh()
    (folder / MARKER).unlink()
    before = contents(folder)
    for kind in KINDS:
        with pytest.raises(ReleaseNotFoundError, match="no sample release"):
            damage(folder, kind)
    assert contents(folder) == before


def test_what_cannot_be_damaged_is_said(tmp_path):
    """An unknown kind lists the known ones; a sample without the thing to damage says what it lacks."""
    write_sample_release("irtd", tmp_path / "r", rows=24, captions=0, images=False, form="folder")
    with pytest.raises(UnknownNameError, match="Kinds: truncated-zip, "):
        damage(tmp_path / "r", "melted")
    for kind in ("truncated-zip", "html-zip", "zip-bomb"):
        with pytest.raises(ReleaseNotFoundError, match=r"needs form='zip'"):
            damage(tmp_path / "r", kind)
    with pytest.raises(ReleaseNotFoundError, match="0 parts"):
        damage(tmp_path / "r", "missing-part")
    with pytest.raises(ReleaseNotFoundError, match="no image"):
        damage(tmp_path / "r", "cmyk-image")
    with pytest.raises(ReleaseNotFoundError, match="no record is about"):
        damage(tmp_path / "r", "cmyk-image", image="63-FLIR_ADAS/nothing.jpeg")


def test_same_damage_twice_gives_the_same_bytes(masters, tmp_path):
    """Damage is deterministic."""
    for kind in KINDS:
        if kind in (DamageKind.ZIP_BOMB, DamageKind.SYMLINK):
            continue
        results = []
        for _ in range(2):
            shutil.copytree(masters["zip"].folder, tmp_path / "r")
            damage(tmp_path / "r", kind)
            results.append(contents(tmp_path / "r"))
            shutil.rmtree(tmp_path / "r")
        assert results[0] == results[1], kind
