"""Sources on disk: every kind of layout read, broken copies reported, nothing lost silently."""

import io
import os
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
import sample_sources as samples
from PIL import Image

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, UnknownNameError, UnsafePathError
from irtd_datasets.mmrs_1m.spec import COMPONENTS
from irtd_datasets.sources import (
    CODES,
    COLUMNS,
    READER_DOCS,
    READERS,
    TABLE,
    SourceOptions,
    check_source,
    find_sources,
    get,
    merge_tables,
    open_source,
    read_table,
)
from irtd_datasets.sources.patterns import Folders, Pattern
from irtd_datasets.sources.problems import Problems
from irtd_datasets.sources.table import Splits

BUILDERS = {
    "LLVIP": samples.llvip,
    "VisDrone-DroneVehicle": samples.drone_vehicle,
    "VEDAI": samples.vedai,
    "FLIR_ADAS": samples.flir,
    "FLIR": samples.flir,
    "IRSTD-1k": samples.small_targets,
    "MFNet": samples.mfnet,
    "RGBTCrowdCounting": samples.rgbt_cc,
    "DroneRGBT": samples.drone_rgbt,
    "LasHeR": samples.lasher,
    "LSOTB-TIR": samples.lsotb,
    "SYSU-MM01": samples.sysu,
    "LLCM": samples.llcm,
    "RGBNIR": samples.scenes,
    "NWPU-RESISC45": samples.resisc,
    "EuroSAT": samples.class_folders("2750/AnnualCrop", "2750/SeaLake"),
    "WHU-RS19": samples.class_folders("Airport", "footballField"),
    "NWPU-Captions": samples.nwpu_captions,
    "FloodNet": samples.floodnet,
    "FAIR1M": samples.fair1m,
    "AIR-SARShip-2.0": samples.air_sarship,
    "HRRSD": samples.hrrsd,
    "RSOD": samples.rsod,
    "UCAS-AOD": samples.ucas,
    "VisDrone": samples.visdrone,
    "MAR20": samples.mar20,
}
EXPECTED = {  # images, objects, pairs, splits
    "LLVIP": (4, 4, 4, {"train", "test"}),
    "VisDrone-DroneVehicle": (2, 2, 2, {"train"}),
    "VEDAI": (2, 2, 2, {"train", "test"}),
    "FLIR_ADAS": (6, 6, 0, {"train", "validation"}),
    "FLIR": (6, 6, 0, {"train", "validation"}),
    "IRSTD-1k": (2, 4, 0, {None}),
    "MFNet": (1, 1, 1, {"train"}),
    "RGBTCrowdCounting": (2, 4, 2, {"train", "test"}),
    "DroneRGBT": (2, 3, 2, {"train"}),
    "LasHeR": (6, 4, 6, {"train", "test"}),
    "LSOTB-TIR": (2, 2, 0, {"train"}),
    "SYSU-MM01": (12, 0, 0, {"train", "test"}),
    "LLCM": (2, 0, 0, {"train", "test"}),
    "RGBNIR": (4, 0, 4, {None}),
    "NWPU-RESISC45": (3, 0, 0, {"train", "validation", "test"}),
    "EuroSAT": (2, 0, 0, {None}),
    "WHU-RS19": (2, 0, 0, {None}),
    "NWPU-Captions": (2, 0, 0, {"train", "test"}),
    "FloodNet": (3, 0, 0, {"train", "validation", "test"}),
    "FAIR1M": (2, 2, 0, {"train"}),
    "AIR-SARShip-2.0": (1, 1, 0, {None}),
    "HRRSD": (3, 3, 0, {"train", "validation", "test"}),
    "RSOD": (2, 2, 0, {None}),
    "UCAS-AOD": (2, 2, 0, {None}),
    "VisDrone": (3, 6, 0, {"train", "validation", "test"}),
    "MAR20": (2, 2, 0, {"train", "test"}),
}


def read(name, folder, **options):
    source = open_source(name, folder, options=SourceOptions(**options))
    return source, list(source.images())


@pytest.mark.parametrize("name", BUILDERS)
def test_a_source_in_its_usual_layout_is_read_whole(name, tmp_path):
    """Images, objects, pairs and splits of each kind of source arrive, twice in the same order."""
    source, images = read(name, BUILDERS[name](tmp_path / name))
    objects = sum(len(image.objects) for image in images)
    pairs = sum(image.visible is not None for image in images)
    assert (len(images), objects, pairs, {image.split for image in images}) == EXPECTED[name]
    assert list(source.images()) == images
    assert all(image.source == name for image in images)
    unexpected = set(source.problems.counts) - {
        "class-left-out",
        "image-without-pair",
        "split-list-missing",
        "object-ignored",
    }
    assert not unexpected, source.problems.counts


@pytest.mark.parametrize(
    "name", ["LLVIP", "VEDAI", "FLIR_ADAS", "IRSTD-1k", "VisDrone-DroneVehicle", "MFNet"]
)
def test_the_pixels_under_a_box_are_those_of_the_object(name, tmp_path):
    """The image that a source hands out is bright inside each box and dark elsewhere, after every transform."""
    source, images = read(name, BUILDERS[name](tmp_path / name))
    for image in images:
        pixels = np.asarray(Image.open(io.BytesIO(source.image_bytes(image))).convert("L")).astype(float)
        assert pixels.shape == (image.height, image.width)
        outside = np.ones(pixels.shape, bool)
        for item in image.objects:
            x_min, y_min, x_max, y_max = (round(value) for value in item.box)
            assert pixels[y_min:y_max, x_min:x_max].mean() > 150
            outside[y_min:y_max, x_min:x_max] = False
        assert pixels[outside].mean() < 100


def test_what_sets_of_remote_sensing_say_beside_boxes_arrives(tmp_path):
    """Scenes, captions and questions, and classes that a folder or a number names."""
    read_of = {
        name: read(name, BUILDERS[name](tmp_path / name))[1]
        for name in ("EuroSAT", "NWPU-Captions", "FloodNet", "UCAS-AOD", "VisDrone")
    }
    assert {image.scene for image in read_of["EuroSAT"]} == {"annual crop", "sea or lake"}
    assert {(image.image, image.scene, image.captions) for image in read_of["NWPU-Captions"]} == {
        (f"NWPU_images/{scene}/1.jpg", scene, ("A pond .", "Water .", "Blue ."))
        for scene in ("beach", "lake")
    }
    for image in read_of["FloodNet"]:
        assert image.questions == (("How many buildings?", "4"), ("Is it flooded?", "4"))
    assert {(image.image[:3], image.objects[0].label) for image in read_of["UCAS-AOD"]} == {
        ("CAR", "car"),
        ("PLA", "airplane"),
    }
    for image in read_of["VisDrone"]:
        assert [item.label for item in image.objects] == ["car", "person"]
        assert image.doubts
    _, arranged = read("UCAS-AOD", samples.ucas_arranged(tmp_path / "arranged"))
    assert [(image.split, image.objects[0].label, image.objects[0].box) for image in arranged] == [
        (split, "airplane", (10, 20, 30, 40)) for split in ("train", "validation", "test")
    ]


def test_every_component_of_mmrs_1m_has_a_row():
    """The 34 sets of MMRS-1M, and those that EarthGPT is tested on, can be looked up."""
    for one in COMPONENTS:
        assert get(one.title).name
    for name in ("CLRS", "NaSC-TG2", "MAR20", "RSVQA-HR"):
        assert get(name).access


def test_drone_vehicle_loses_its_border_and_its_misspelt_classes(tmp_path):
    """Boxes move with the border of 100 pixels that is cut off; `feright car` is put right and `*` left out."""
    source, images = read("VisDrone-DroneVehicle", samples.drone_vehicle(tmp_path))
    (item,) = images[0].objects
    assert (item.label, item.box, images[0].width, images[0].height) == (
        "freight car",
        (100, 50, 160, 90),
        640,
        512,
    )
    assert images[0].visible_objects[0].box == item.box
    assert source.problems.counts == {"class-left-out": 4}
    assert Image.open(io.BytesIO(source.visible_bytes(images[0]))).size == (640, 512)


def test_the_fourth_channel_of_mfnet_is_infrared(tmp_path):
    """Infrared is taken from where others have alpha, colour stays untouched, and a converted copy is refused."""
    source, (image,) = read("MFNet", samples.mfnet(tmp_path))
    infrared = Image.open(io.BytesIO(source.image_bytes(image)))
    colour = Image.open(io.BytesIO(source.visible_bytes(image)))
    assert infrared.mode == "L"
    assert infrared.getpixel((15, 15)) == samples.BRIGHT
    assert colour.mode == "RGB"
    assert colour.getpixel((15, 15)) == (10, 20, 30)
    assert image.objects[0].label == "person"
    assert "region" in image.objects[0].attributes
    Image.open(tmp_path / image.image).convert("RGB").save(tmp_path / image.image)
    with pytest.raises(ValueError, match=r"fourth|four channels"):
        source.image_bytes(image)


def test_videos_keep_absent_targets_and_pairs_by_place(tmp_path):
    """A frame whose target is absent stays, without an object; frames i001 and v001 are one pair; boxes differ."""
    _, images = read("LasHeR", samples.lasher(tmp_path))
    first, absent, _ = images[:3]
    assert absent.objects == ()
    assert absent.frame == 1
    assert absent.label_file.endswith("infrared.txt")
    assert first.visible.endswith("v000.jpg")
    assert first.sequence == "10phone_boy"
    assert first.objects[0].box == (1, 2, 11, 12)
    assert first.visible_objects[0].box == (2, 3, 12, 13)
    assert first.objects[0].identity == "10phone_boy"


def test_persons_have_identity_and_camera(tmp_path):
    """Infrared crops come first, then the visible ones, each with person, camera and the split of the person."""
    _, images = read("SYSU-MM01", samples.sysu(tmp_path))
    assert [image.modality for image in images] == ["infrared"] * 8 + ["optical"] * 4
    assert {(image.identity, image.split) for image in images} == {("0001", "train"), ("0002", "test")}
    assert {image.camera for image in images if image.modality == "infrared"} == {"3", "6"}
    _, (near, _) = read("LLCM", samples.llcm(tmp_path / "llcm"))
    assert (near.identity, near.camera) == ("0001", "03")


def test_classes_of_a_video_come_from_its_name(tmp_path):
    """LSOTB-TIR names the class in the folder of the sequence."""
    _, images = read("LSOTB-TIR", samples.lsotb(tmp_path))
    assert {image.objects[0].label for image in images} == {"airplane"}


# ------------------------------------------------------------------------------------------------------------
# Bad input.


@pytest.mark.parametrize("depth", ["two too deep", "one too deep", "one too shallow", "in a zip"])
def test_a_source_on_another_level_is_found(depth, tmp_path):
    """Unpacked into a folder of its own name, pointed at one level too low, or not unpacked at all: read alike."""
    expected = read("LLVIP", samples.llvip(tmp_path / "LLVIP"))[1]
    place = tmp_path / "LLVIP"
    if depth.endswith("too deep"):
        target = tmp_path / "deep" / "LLVIP" if depth == "one too deep" else tmp_path / "deep" / "a" / "LLVIP"
        target.parent.mkdir(parents=True)
        shutil.copytree(place, target)
        place = tmp_path / "deep"
    elif depth == "one too shallow":
        place = place / "infrared"
    else:
        with zipfile.ZipFile(tmp_path / "LLVIP.zip", "w") as archive:
            for path in sorted(place.rglob("*.*")):
                archive.write(path, f"LLVIP/{path.relative_to(place)}")
        place = tmp_path / "LLVIP.zip"
    source, images = read("LLVIP", place)
    assert images == expected
    assert source.image_bytes(images[0]) == (tmp_path / "LLVIP" / images[0].image).read_bytes()


def test_labels_and_images_without_each_other_are_counted(tmp_path):
    """A label without its image, an image without its label and without its pair are each reported by name."""
    root = samples.llvip(tmp_path)
    (root / "Annotations/010001.xml").unlink()
    (root / "infrared/train/010002.jpg").unlink()
    (root / "visible/test/190001.jpg").unlink()
    source, images = read("LLVIP", root)
    assert source.problems.counts == {
        "label-without-image": 1,
        "image-without-label": 1,
        "image-without-pair": 1,
    }
    assert [image.image[-10:] for image in images] == ["190001.jpg", "190002.jpg"]
    source, images = read("LLVIP", root, unlabelled=True)
    unlabelled = next(image for image in images if image.label_file is None)
    assert unlabelled.image == "infrared/train/010001.jpg"
    assert not unlabelled.exhaustive


def test_empty_and_broken_label_files_are_counted(tmp_path):
    """An empty XML file and one that is cut make their image unlabelled; an empty text file says `no object`."""
    root = samples.llvip(tmp_path / "a")
    (root / "Annotations/010001.xml").write_bytes(b"")
    (root / "Annotations/010002.xml").write_bytes(b"<annotation><object>")
    source, images = read("LLVIP", root)
    assert len(images) == 2
    assert source.problems.counts == {"label-empty": 1, "label-unreadable": 1, "image-without-label": 2}
    root = samples.vedai(tmp_path / "b")
    (root / "Annotations512/00000000.txt").write_bytes(b"")
    source, images = read("VEDAI", root)
    assert [len(image.objects) for image in images] == [0, 1]
    assert source.problems.counts == {"label-empty": 1}
    assert "car" in images[0].exhaustive


def test_classes_in_another_case_and_unknown_ones(tmp_path):
    """`Person` is read as `person`; a class that the table does not have is kept as it stands; both are counted."""
    root = samples.llvip(tmp_path)
    box = (10, 12, 30, 40)
    labels = samples.voc("x", (80, 64), [("Person", box), ("camel", box)])
    samples.put(root, "Annotations/010001.xml", labels)
    source, images = read("LLVIP", root)
    assert [item.label for item in images[2].objects] == ["person", "camel"]
    assert source.problems.counts == {"class-other-case": 1, "class-unknown": 1}


def test_boxes_that_leave_the_image(tmp_path):
    """A box over the edge is cut and marked, one outside and one without area are left out; all are counted."""
    root = samples.llvip(tmp_path)
    boxes = [(-5, 12, 30, 40), (70, 50, 90, 70), (100, 100, 120, 120), (10, 10, 10, 20), (30, 20, 10, 5)]
    samples.put(
        root, "Annotations/010001.xml", samples.voc("x", (80, 64), [("person", box) for box in boxes])
    )
    source, images = read("LLVIP", root)
    kept = images[2].objects
    assert [item.box for item in kept] == [(0, 12, 30, 40), (70, 50, 80, 64)]
    assert all("clipped" in item.attributes for item in kept)
    assert source.problems.counts == {"box-clipped": 2, "box-empty": 2, "box-outside": 1}


def test_sizes_that_the_labels_have_wrong(tmp_path):
    """A wrong size whose boxes fit is overruled by the image; where they do not fit the image is left out."""
    root = samples.llvip(tmp_path)
    samples.put(root, "Annotations/010001.xml", samples.voc("x", (64, 80), [("person", (1, 2, 30, 40))]))
    samples.put(
        root, "Annotations/010002.xml", samples.voc("x", (1280, 1024), [("person", (900, 2, 1000, 90))])
    )
    source, images = read("LLVIP", root)
    assert source.problems.counts == {"size-contradicts": 1, "size-differs": 1}
    assert len(images) == 3
    assert (images[2].width, images[2].height) == (80, 64)


def test_git_lfs_pointers_and_error_pages_are_no_images(tmp_path):
    """A pointer, an error page and an empty file in place of an image are reported by name and left out."""
    root = samples.llvip(tmp_path)
    (root / "infrared/train/010001.jpg").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    (root / "infrared/train/010002.jpg").write_bytes(b"<html>404</html>")
    (root / "infrared/test/190001.jpg").write_bytes(b"")
    source, images = read("LLVIP", root)
    assert len(images) == 1
    (problem,) = source.problems
    assert (problem.code, problem.count) == ("image-unreadable", 3)
    assert "image-lfs-pointer" in "".join(problem.examples)
    assert "190001.jpg" in "".join(problem.examples)


def test_masks_of_another_size_are_not_believed(tmp_path):
    """A mask that was not made for its image gives no boxes; the image counts as unlabelled."""
    root = samples.small_targets(tmp_path)
    samples.put(root, "IRSTD1k_Label/XDU0.png", samples.sample_image(32, 24))
    source, images = read("IRSTD-1k", root)
    assert len(images) == 1
    assert source.problems.counts == {"mask-size-differs": 1, "image-without-label": 1}


def test_frames_sequences_and_identities_in_two_splits(tmp_path):
    """What stands in two splits is reported: a frame that two lists name, a video, a person."""
    root = samples.vedai(tmp_path / "a")
    samples.put(root, "Annotations512/fold01test.txt", "00000057\n00000000\n")
    source, images = read("VEDAI", root)
    assert source.problems.counts == {"image-in-two-splits": 1}
    assert min((image.image, image.split) for image in images)[1] == "test"
    assert len(images) == 3
    root = samples.sysu(tmp_path / "b")
    samples.put(root, "exp/test_id.txt", "1,2")
    assert read("SYSU-MM01", root)[0].problems.counts["identity-in-two-splits"] == 6
    root = samples.lasher(tmp_path / "c")
    shutil.copytree(root / "trainingset/boycome", root / "testingset/boycome")
    source, images = read("LasHeR", root)
    assert len(images) == 9
    assert source.problems.counts == {"sequence-in-two-splits": 3}


def test_one_image_under_two_names_in_two_splits(tmp_path):
    """Frames that were copied from one split to another under a new name are found by their bytes when asked."""
    root = samples.llvip(tmp_path)
    shutil.copy(root / "infrared/train/010001.jpg", root / "infrared/test/190001.jpg")
    assert "same-image-in-two-splits" not in read("LLVIP", root)[0].problems.counts
    (problem,) = check_source(open_source("LLVIP", root, options=SourceOptions(check_contents=True))).problems
    assert (problem.code, problem.count) == ("same-image-in-two-splits", 1)


def test_windows_paths_and_missing_extensions_in_label_files(tmp_path):
    """Names that label files write are compared by their stem, whatever path or extension they carry."""
    root = samples.flir(tmp_path)
    path = root / "val/thermal_annotations.json"
    text = path.read_text().replace("thermal_8_bit/FLIR_00001.jpeg", "C:\\\\data\\\\val\\\\FLIR_00001.png")
    path.write_text(text.replace("thermal_8_bit/FLIR_00002.jpeg", "FLIR_00002"))
    source, images = read("FLIR_ADAS", root)
    assert len(images) == 6
    assert source.problems.counts == {"image-without-pair": 6}


def test_folders_in_another_case_are_the_same_folders(tmp_path):
    """A copy whose folders and extensions are spelled in other letters is read like the original."""
    expected = read("LLVIP", samples.llvip(tmp_path / "a"))[1]
    root = samples.llvip(tmp_path / "b")
    for old, new in (
        ("infrared", "Infrared"),
        ("visible/train", "visible/TRAIN"),
        ("visible", "VISIBLE"),
        ("Annotations", "annotations"),
    ):
        (root / old).rename(root / new)
    (root / "Infrared/test/190001.jpg").rename(root / "Infrared/test/190001.JPG")
    source, images = read("LLVIP", root)
    assert not source.problems.counts
    assert [image.image.lower() for image in images] == [image.image for image in expected]
    assert [image.objects for image in images] == [image.objects for image in expected]
    flir = samples.flir(tmp_path / "c")
    (flir / "val/thermal_8_bit").rename(flir / "val/Thermal_8_bit")
    assert len(read("FLIR_ADAS", flir)[1]) == 6


def test_turned_images_turn_their_labels(tmp_path):
    """Labels made on the stored pixels of an image that EXIF turns are turned with it."""
    root = samples.llvip(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "infrared/train/010001.jpg"
    Image.open(path).save(path, exif=exif)
    samples.put(root, "Annotations/010001.xml", samples.voc("x", (80, 64), [("person", (0, 0, 10, 5))]))
    source, images = read("LLVIP", root)
    assert source.problems.counts == {"image-turned": 1}
    turned = images[2]
    assert (turned.width, turned.height, turned.objects[0].box) == (64, 80, (59, 0, 64, 10))


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_video_takes_bounded_memory(count, tmp_path):
    """A video of 100,000 frames is listed once and read frame by frame, in less than a kilobyte a frame."""
    frames = tmp_path / "boycome" / "infrared"
    frames.mkdir(parents=True)
    first = frames / "000000.jpg"
    first.write_bytes(samples.sample_image(8, 8, form="JPEG"))
    for number in range(1, count):
        if number % 50_000 == 0:  # file systems limit the links to one file
            first = frames / f"{number:06d}.jpg"
            first.write_bytes(samples.sample_image(8, 8, form="JPEG"))
            continue
        os.link(first, frames / f"{number:06d}.jpg")
    (tmp_path / "boycome" / "infrared.txt").write_text("1,2,3,4\n" * count)
    tracemalloc.start()
    source = open_source("LasHeR", tmp_path, options=SourceOptions(check_images=False))
    found = sum(1 for _ in source.images())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == count
    assert peak < 2 * 2**20 + 1024 * count


def test_an_unknown_folder_says_what_was_looked_for(tmp_path):
    """Where nothing of the source lies, the message shows the pattern, what is there, and the way on."""
    (tmp_path / "holiday").mkdir()
    with pytest.raises(ReleaseNotFoundError, match=r"infrared/\{split.*holiday/"):
        open_source("LLVIP", tmp_path)
    with pytest.raises(ReleaseNotFoundError, match=r"no such"):
        open_source("LLVIP", tmp_path / "absent")
    with pytest.raises(UnknownNameError, match="CDFAG"):
        open_source("CDFAG", tmp_path)
    with pytest.raises(UnknownNameError, match="no sources called 'LVIP'"):
        open_source("LVIP", tmp_path)


def test_names_from_outside_stay_inside(tmp_path):
    """No name leads out of the folder of a source."""
    source, _ = read("LLVIP", samples.llvip(tmp_path))
    for call in (source.read, source.path, source.open):
        with pytest.raises(UnsafePathError):
            call("../secret.txt")
    assert source.path("Annotations/010001.xml").is_file()


# ------------------------------------------------------------------------------------------------------------
# The table, patterns, finding.


def test_the_table_has_all_63_entries():
    """40 named sources, 19 unnamed ones and 4 numbers that the list leaves out; readers named or said to be unknown."""
    listed = [row for row in TABLE if row.index is not None]
    assert [row.index for row in listed] == list(range(1, 64))
    statuses = [row.status for row in listed]
    assert (statuses.count("named"), statuses.count("unnamed"), statuses.count("missing")) == (40, 19, 4)
    for row in TABLE:
        if row.status in {"named", "other"}:
            assert row.name
            assert row.what
            assert row.confidence in {"H", "M", "L"}
            assert row.readable or (row.reader == "unknown" and row.note), row.name
            assert not row.readable or set(row.readers) <= set(READERS)
            assert row.index is None or row.project_dir == f"{row.index}-{row.name}"
        else:
            assert not row.readable
    assert set(READER_DOCS) == set(READERS)


def test_labels_that_count_as_exhaustive_are_labels_that_the_row_gives():
    """A row cannot promise that a class is labelled exhaustively without ever giving that label."""
    for row in TABLE:
        given = set(row.class_map.values()) | ({row.label} if row.label else set())
        assert row.exhaustive <= given, row.name


def test_sources_are_found_under_their_names(tmp_path):
    """Usual names, those of IR-TD, others in any spelling, archives, and folders of folders are recognised."""
    samples.llvip(tmp_path / "1-LLVIP")
    samples.drone_vehicle(tmp_path / "drone vehicle")
    samples.small_targets(tmp_path / "infrared" / "IRSTD-1K")
    (tmp_path / "sirst_aug").mkdir()
    (tmp_path / "holiday").mkdir()
    shutil.make_archive(str(tmp_path / "MFNet"), "zip", samples.mfnet(tmp_path / "holiday" / "x"))
    found = {one.row.name: one for one in find_sources(tmp_path)}
    assert set(found) == {"LLVIP", "VisDrone-DroneVehicle", "IRSTD-1k", "sirst_aug", "MFNet"}
    assert [name for name, one in found.items() if not one.readable] == ["sirst_aug"]
    assert [one.row.name for one in find_sources(tmp_path / "1-LLVIP")] == ["LLVIP"]
    assert check_source(found["MFNet"]).labels == {"person": 1}


def test_a_user_adds_a_source_with_one_row(tmp_path):
    """A row in a CSV file is enough for a source of one's own; it may replace a row of the table."""
    table = tmp_path / "mine.csv"
    table.write_text(
        'name,reader,infrared,labels,classes\nMine,yolo,frames/{stem}.*,frames/{stem}.txt,"0=car,1=-"\n'
    )
    samples.put(tmp_path, "data/frames/1.png", samples.sample_image(100, 50))
    samples.put(tmp_path, "data/frames/1.txt", "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    rows = merge_tables(read_table(table))
    source = open_source("Mine", tmp_path / "data", table=rows)
    (image,) = source.images()
    assert image.objects[0].label == "car"
    assert image.objects[0].box == pytest.approx((40, 20, 60, 30))
    assert len(merge_tables([get("LLVIP")])) == len(TABLE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nome,reader\na,b\n", "unknown columns: nome"),
        ("reader\nvoc\n", "no column 'name'"),
        ("name,infrared,reader\na,{stem,voc\n", "unclosed"),
        ("name,infrared,reader\na,../x/{stem}.*,voc\n", "climbs"),
        ("name,infrared,reader,splits\na,{stem}.*,voc,train=dev\n", "dev"),
        ("name,infrared,visible,reader\na,{stem}.*;{stem}.*,a;b;c,voc\n", "alternatives"),
        ("name,infrared,reader\na,b,c,d\n", "more cells"),
        ("name,modality\na,x-ray\n", "x-ray"),
        ("name,index\na,one\n", "invalid literal"),
        ('name\n"a\n', "CSV"),
        ("name,infrared,labels,reader\na,{stem}.*,,voc\n", "labels"),
    ],
)
def test_mistakes_in_a_table_are_messages(text, says, tmp_path):
    """A malformed table names file, line and what was expected."""
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"mine\.csv") as caught:
        read_table(path)
    assert says in str(caught.value)
    with pytest.raises(ReleaseNotFoundError):
        read_table(tmp_path / "absent.csv")


def test_patterns_match_what_they_fill():
    """A name that a pattern fills in is matched by it, with the same parts, in any case; others are not."""
    pattern = Pattern("{set:set[0-9]+}/{video}/lwir/{stem}.*")
    fields = pattern.match("Set00/V001/LWIR/I00001.JPG")
    assert fields == {"set": "Set00", "video": "V001", "stem": "I00001"}
    assert pattern.fill(fields) == "Set00/V001/lwir/I00001.*"
    assert pattern.fill({"set": "set00"}) is None
    for name in (
        "set00/V001/visible/1.jpg",
        "setx/V001/lwir/1.jpg",
        "set00/lwir/1.jpg",
        "set00/V001/lwir/1.txt",
    ):
        assert pattern.match(name) is None
    twice = Pattern("nir/{identity}/{identity}_c{camera:[0-9]+}_{stem}.*")
    assert twice.match("nir/0001/0001_c03_a.jpg")["camera"] == "03"
    assert twice.match("nir/0001/0002_c03_a.jpg") is None


def test_listings_are_not_kept(tmp_path):
    """Only the last few folders stay in memory, so that a set of any number of videos can be walked."""
    from irtd_datasets.releases.containers import open_container

    for number in range(30):
        samples.put(tmp_path, f"v{number}/1.png", b"")
    folders = Folders(open_container(tmp_path), kept=4)
    assert len(list(Pattern("{seq}/{stem}.*").walk(folders))) == 30
    assert len(folders._listings) == 4
    assert not folders.container._listed
    assert folders.find("V3/1.*") == "V3/1.png" or folders.find("v3/1.*") == "v3/1.png"


def test_splits_notation():
    """Values, regular expressions, lists and one split for all."""
    assert Splits.parse("").of({"split": "Val"}) == "validation"
    assert Splits.parse("{set}: set0[0-5]=train, .*=test").of({"set": "set11"}) == "test"
    assert Splits.parse("test").of({}) == "test"
    assert Splits.parse("@a.txt=train").lists == (("a.txt", "train"),)
    assert Splits.parse("").of({"split": "extra"}) is None


def test_every_problem_has_a_meaning():
    """A code that the documentation does not explain cannot be counted; examples are limited."""
    problems = Problems()
    with pytest.raises(KeyError):
        problems.add("no-such-code", "a")
    for number in range(100):
        problems.add("box-empty", f"{number}.xml")
    (problem,) = problems
    assert problem.count == 100
    assert len(problem.examples) == 20
    assert problem.meaning == CODES["box-empty"]
    assert "what" in COLUMNS
