"""The sample release has the texts, layouts and defects of the real one, and its truth agrees with them."""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irtd_datasets import testing
from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.testing import (
    IRTD_DEFECTS,
    MARKER,
    Layout,
    SampleRecord,
    register_sample_writer,
    sample_names,
    write_sample_release,
)
from irtd_datasets.testing.irtd_plan import RELEASED, task_counts
from irtd_datasets.testing.irtd_text import ABSENT_WORDS, PREFIX, RECOGNITION_WORDS, SECURITY_WORDS, file_text

REAL = Path(os.environ.get("IRTD_REAL", Path(__file__).resolve().parents[2] / ".." / "shared" / "real"))

FLIR = r"63-FLIR_ADAS/training/PreviewData/FLIR_\d{5}\.jpeg"
PATHS = {
    "Recognition.json": r"6-LSOTB-TIR/Training_Dataset/TrainingData/TIR_training_00\d/\w+_\d{3}/\d{8}\.jpg",
    "Detection.json": FLIR,
    "Location.json": FLIR,
    "Relationship.json": FLIR,
    "Security.json": FLIR,
    "ReID.json": (
        r"(53-LLCM/(train|valid)|55-SYSU-MM01/train[12]|54-RegDB/train|56-ThermalWorld/train)/\d{4}\.jpg"
    ),
    "AerialCounting.json": r"4-VEDAI/train/trainimgr/\d{5}\.jpg",
    "PedestrianCounting.json": r"23-RGBTCrowdCounting/train/\d+_Grey\.jpg",
}
OPTION = re.compile(r"\(([A-D])\) ([^(\n]+?)(?= \(|$)")
OPTIONS = r"\(A\) [a-z ]+ \(B\) [a-z ]+ \(C\) [a-z ]+ \(D\) [a-z ]+"
CELL = r"(?:top |bottom )?(?:left|center|right)"
QUESTIONS = {
    "Recognition.json": rf"<image>\nWhat is the object in the picture\?\n{OPTIONS}",
    "Detection.json": (
        rf"<image>\nDetect the bounding box of the (?:nearest (\w+) located at the {CELL}\.|"
        rf"(\w+) located at the {CELL} of the image\.|(\w+) located to the (?:left|right) of the (\w+)\.)"
    ),
    "Location.json": r"<image>\n Locate all (car|person|bike) from left to right\.",
    "Relationship.json": (
        r"<image>\nIs there an? (.+?) "
        r"(on the left side of|on the right side of|in front of|behind|near to|far from) "
        r"the the (\w+) (\w+) from left to right\?"
    ),
    "Security.json": rf"<image>\nWhat object does not appear in the picture\?\n{OPTIONS}",
    "ReID.json": (
        r"<image>\nWhich person has the same identity with the person in the upper left corner\? "
        r"Answer the ordinal numbers and the order will be\n1234\n5678"
    ),
    "AerialCounting.json": r"<image>\nCalculate the number of cars in the picture\.",
    "PedestrianCounting.json": r"<image>\nCalculate the number of pedestrians in the picture\.",
}
BOX = re.compile(r"^The target bounding box is <box>\[\[(-?\d+), (-?\d+), (-?\d+), (-?\d+)\]\]</box>\.$")
POINTS = re.compile(r"^<ref>(\w+)</ref> at <pos>(\[.*\])</pos>$")
ANSWERS = {
    "Recognition.json": r"\([A-D]\) [a-z ]+",
    "Detection.json": BOX.pattern,
    "Location.json": POINTS.pattern,
    "Relationship.json": r"yes|no",
    "Security.json": r"\([A-D]\) [a-z ]+( \([A-D]\) [a-z ]+)*",
    "ReID.json": r"[2-8]",
    "AerialCounting.json": r"<num>(\d+)</num>",
    "PedestrianCounting.json": r"<num>(\d+)</num>",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample_release(
        "irtd", tmp_path_factory.mktemp("sample") / "release", rows=200, seed=5, benchmark=True
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_sample_release(
        "irtd", tmp_path_factory.mktemp("large") / "release", rows=5000, seed=1, images=False
    )


def tasks(sample, folder="json_sft"):
    return {name: sample.records[f"{folder}/{name}"] for name in RELEASED}


def repaired(text):
    stripped = text.strip()
    return json.loads(stripped if stripped.startswith("[") else f"[{stripped.rstrip(',')}]")


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def cell(x, y, width=640, height=512):
    column = "left" if x < width / 3 else "center" if x < 2 * width / 3 else "right"
    return ("top " if y < height / 3 else "" if y < 2 * height / 3 else "bottom ") + column


# ------------------------------------------------------------------------------------------------ files


def test_files_of_the_release_are_there(sample):
    """The archives, the texts, the image directories and the marker have their released names."""
    names = {path.name for path in sample.folder.iterdir()}
    parts = {f"IR-TD-version250724.tar.gz{part:02d}" for part in range(5)}
    folders = {"63-FLIR_ADAS", "6-LSOTB-TIR", "4-VEDAI", "23-RGBTCrowdCounting", "51-RGBNIR", "benchmark"}
    assert names == {"json_sft.zip", "reid_datasets.zip", "new_relative.json", MARKER} | parts | folders
    assert "SYNTHETIC SAMPLE" in (sample.folder / MARKER).read_text()
    assert "SYNTHETIC SAMPLE" in (sample.folder / "benchmark" / MARKER).read_text()


def test_files_say_what_the_sample_says(sample):
    """Every task file, read from the zip, has the records returned, with released keys and ids from 0."""
    with zipfile.ZipFile(sample.folder / "json_sft.zip") as archive:
        assert archive.namelist() == ["json_sft/", *(f"json_sft/{name}" for name in RELEASED)]
        for name, records in tasks(sample).items():
            read = repaired(archive.read(f"json_sft/{name}").decode("ascii"))
            assert [list(record) for record in read] == [["id", "image", "conversations"]] * len(records)
            assert [record["id"] for record in read] == [str(index) for index in range(len(records))]
            for record, known in zip(read, records, strict=True):
                assert record["image"] == [PREFIX + known.image]
                assert record["conversations"] == [
                    {"from": "human", "value": known.question},
                    {"from": "gpt", "value": known.answer},
                ]


def test_detection_is_broken_as_released(sample):
    """Detection.json has no brackets and fails where the real one does; the others are valid."""
    with zipfile.ZipFile(sample.folder / "json_sft.zip") as archive:
        for name in RELEASED:
            text = archive.read(f"json_sft/{name}").decode()
            if name == "Detection.json":
                with pytest.raises(json.JSONDecodeError, match=r"Extra data: line 16 column 2"):
                    json.loads(text)
                assert text.endswith("},\n")
            else:
                json.loads(text)


@pytest.mark.skipif(not (REAL / "irtd_json_sft").is_dir(), reason="the real json_sft.zip is not here")
def test_layout_of_the_real_files_is_reproduced_byte_for_byte():
    """Writing the real records with the sample's writer gives the real files."""
    with zipfile.ZipFile(REAL / "irtd_json_sft" / "json_sft.zip") as archive:
        for name, count in RELEASED.items():
            text = archive.read(f"json_sft/{name}").decode()
            records = [
                SampleRecord(
                    name,
                    record["id"],
                    record["image"][0].removeprefix(PREFIX),
                    record["conversations"][0]["value"],
                    record["conversations"][1]["value"],
                )
                for record in repaired(text)
            ]
            assert len(records) == count
            assert file_text(name, records) == text
            for record in records:
                assert re.fullmatch(PATHS[name], record.image) or name == "Recognition.json"
                assert re.fullmatch(QUESTIONS[name], record.question)
                assert re.fullmatch(ANSWERS[name], record.answer)


@pytest.mark.parametrize("folder", ["json_sft", "benchmark"])
def test_every_record_matches_the_released_templates(sample, large, folder):
    """Questions, answers and paths have the exact released wording."""
    for source in (sample, large):
        for name in RELEASED:
            for record in source.records.get(f"{folder}/{name}", ()):
                assert re.fullmatch(QUESTIONS[name], record.question), record.question
                assert re.fullmatch(ANSWERS[name], record.answer), record.answer
                assert re.fullmatch(PATHS[name], record.image), record.image


def test_record_counts_follow_the_release():
    """Counts sum to the rows asked for, keep the proportions, and are the released ones for 40,200."""
    assert task_counts(40200) == RELEASED
    for rows in (60, 61, 100, 200, 999, 5000):
        counts = task_counts(rows)
        assert sum(counts.values()) == rows
        assert min(counts.values()) >= 3
        assert all(abs(counts[name] - rows * RELEASED[name] / 40200) <= 4 for name in RELEASED)


def test_large_sample_has_the_rows_asked_for(large):
    """All planned records are written, also where Location depends on what the frames show."""
    assert sum(large.counts[f"json_sft/{name}"] for name in RELEASED) == 5000
    assert large.images_written == ()
    assert not (large.folder / "63-FLIR_ADAS").exists()


@pytest.mark.parametrize("rows", [-5, 0, 24, 40])
def test_small_sample_has_every_task(tmp_path, rows):
    """However few rows are asked for, each task has three records."""
    sample = write_sample_release("irtd", tmp_path / "r", rows=rows, images=False)
    assert all(len(records) >= 3 for records in tasks(sample).values())


# ------------------------------------------------------------------------------------------------- truth


def test_grounding_boxes_are_the_named_objects(large):
    """The box of each description is the drawn object: class, cell, unique or lowest there, side."""
    families = Counter()
    for record in tasks(large)["Detection.json"]:
        box = tuple(map(int, BOX.match(record.answer).groups()))
        target = record.objects[0]
        labels = Counter(item.label for item in large.images[record.image].objects if item.annotated)
        families[record.family] += 1
        if record.family.endswith("-class"):
            side, kind = record.family.split("-")[:2]
            reference = record.objects[1]
            assert (target.centre[0] < reference.centre[0]) == (side == "left")
            assert (target.label == reference.label) == (kind == "same")
            assert f"the {target.label} located to the {side} of the {reference.label}." in record.question
            assert box == (reference if side == "left" else target).box
            assert labels[target.label] == (2 if kind == "same" else 1)
            continue
        place = cell((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        in_cell = [
            item
            for item in large.images[record.image].objects
            if item.label == target.label and item.annotated and cell(*item.centre) == place
        ]
        if record.family == "nearest":
            assert f"nearest {target.label} located at the {place}." in record.question
            assert labels[target.label] > 1
            assert target.centre[1] == max(item.centre[1] for item in in_cell)
        else:
            assert f"the {target.label} located at the {place} of the image." in record.question
            assert in_cell == [target]
        assert box == (target.box if box[2] <= 640 else (0, 145, 641, 401))
    assert set(families) == {
        "nearest",
        "only",
        *(f"{a}-{b}-class" for a in ("left", "right") for b in ("same", "cross")),
    }


def test_location_points_are_the_objects_of_the_class(large):
    """Points are all annotated objects of the class, rounded half to even per axis, sorted by x."""
    for record in tasks(large)["Location.json"]:
        label, listed = POINTS.match(record.answer).groups()
        points = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", listed)]
        objects = [i for i in large.images[record.image].objects if i.label == label and i.annotated]
        assert f" Locate all {label} " in record.question
        assert points == sorted(points)
        assert points == sorted(
            (round(x / 640 * 1000), round(y / 512 * 1000)) for x, y in (i.centre for i in objects)
        )


def test_location_knows_one_to_three_classes_of_every_frame(large):
    """Location and Security are about the same frames; Grounding and Relationship about some of them."""
    found = {name: {record.image for record in records} for name, records in tasks(large).items()}
    assert found["Location.json"] == found["Security.json"]
    assert found["Detection.json"] < found["Location.json"]
    assert found["Relationship.json"] < found["Location.json"]
    per_image = Counter(record.image for record in tasks(large)["Location.json"])
    assert set(per_image.values()) == {1, 2, 3}
    for name in ("Security.json", "Detection.json", "Relationship.json"):
        assert len(found[name]) == len(tasks(large)[name])


def test_relationship_judges_the_known_pair(large):
    """The answer follows the measured rules for the hidden pair; the ordinal counts from the left."""
    relations, answers = Counter(), Counter()
    for record in tasks(large)["Relationship.json"]:
        label, relation, ordinal, other = re.fullmatch(
            QUESTIONS["Relationship.json"], record.question
        ).groups()
        target, reference = record.objects
        assert (target.label, reference.label) == (label, other)
        assert label != other
        row = sorted(
            (i for i in large.images[record.image].objects if i.label == other and i.annotated),
            key=lambda i: i.centre,
        )
        words = ["first", "second", "third", "fourth", "fifth", *(f"{n}th" for n in range(6, 50))]
        assert row[words.index(ordinal)] == reference
        dx, dy = (a - b for a, b in zip(target.centre, reference.centre, strict=True))
        holds = {
            "on the left side of": dx < 0,
            "on the right side of": dx > 0,
            "in front of": dy < 0,
            "behind": dy > 0,
            "near to": np.hypot(dx, dy) < 160,
            "far from": np.hypot(dx, dy) > 320,
        }[relation]
        assert record.answer == ("yes" if holds else "no")
        relations[relation] += 1
        answers[record.answer] += 1
    assert len(relations) == 6
    assert min(answers.values()) > 0.2 * answers.total()


def test_security_agrees_with_the_annotation(large):
    """Absent options are exactly those not annotated; one of each kind at least, all from the 15 words."""
    for record in tasks(large)["Security.json"]:
        asked = OPTION.findall(record.question.rpartition("\n")[2])
        answered = OPTION.findall(record.answer)
        present = {item.label for item in large.images[record.image].objects if item.annotated}
        assert [pair for pair in asked if pair[1] not in present] == answered
        assert 1 <= len(answered) <= 3
        assert len({word for _, word in asked}) == 4
        assert {word for _, word in asked} <= set(SECURITY_WORDS)


def test_recognition_shows_its_answer(large):
    """The right option is the one object drawn; the others are different words of the vocabulary."""
    assert len(RECOGNITION_WORDS) == len(set(RECOGNITION_WORDS)) == 47
    for record in tasks(large)["Recognition.json"]:
        asked = OPTION.findall(record.question.rpartition("\n")[2])
        assert OPTION.findall(record.answer)[0] in asked
        assert [item.label for item in large.images[record.image].objects] == [
            OPTION.findall(record.answer)[0][1]
        ]
        assert len({word for _, word in asked}) == 4


def test_counts_are_the_objects_drawn(large):
    """The counting answers are the numbers of drawn objects, an empty image among them."""
    for name, low, high in (("AerialCounting.json", 0, 141), ("PedestrianCounting.json", 10, 701)):
        answers = [int(re.fullmatch(ANSWERS[name], record.answer)[1]) for record in tasks(large)[name]]
        assert answers == [len(large.images[record.image].objects) for record in tasks(large)[name]]
        assert low <= min(answers) <= max(answers) <= high
    assert "<num>0</num>" in {record.answer for record in tasks(large)["AerialCounting.json"]}


def test_reid_answer_is_the_other_slot_of_the_identity(large):
    """Exactly one other slot has the identity of the query, and it is the answer."""
    for record in tasks(large)["ReID.json"]:
        identities = [item.identity for item in large.images[record.image].objects]
        assert [slot for slot in range(2, 9) if identities[slot - 1] == identities[0]] == [int(record.answer)]
    numbers = [int(r.image[-8:-4]) for r in tasks(large)["ReID.json"] if r.image.startswith("53-LLCM/train/")]
    assert numbers == list(range(1, len(numbers) + 1))


# ----------------------------------------------------------------------------------------------- images


def pixels_of(sample, name):
    """Read an image from wherever the sample says it is."""
    place, _, member = sample.images[name].path.partition("!")
    if not member:
        content = (sample.image_folder / place).read_bytes()
    elif place.endswith(".zip"):
        with zipfile.ZipFile(sample.folder / place) as archive:
            content = archive.read(member)
    else:
        content = caption_members(sample)[member]
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("L"), image.mode, image.format


def caption_members(sample):
    parts = [path for path in sample.archives if ".tar.gz" in path.name]
    joined = b"".join(path.read_bytes() for path in parts)
    with tarfile.open(fileobj=io.BytesIO(joined), mode="r:gz") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}


def test_golden_pixels_of_every_point_and_box(sample):
    """Each Location point in pixels and each Grounding box's middle is warm in the written image."""
    checked = 0
    for record in tasks(sample)["Location.json"]:
        opened, mode, kind = pixels_of(sample, record.image)
        assert (opened.size, mode, kind) == ((640, 512), "L", "JPEG")
        for x, y in re.findall(r"\((\d+), (\d+)\)", record.answer):
            assert opened.getpixel((int(int(x) * 0.64), int(int(y) * 0.512))) > 188
            checked += 1
    for record in tasks(sample)["Detection.json"]:
        opened = pixels_of(sample, record.image)[0]
        x_min, y_min, x_max, y_max = map(int, BOX.match(record.answer).groups())
        assert opened.getpixel(((x_min + x_max) // 2, (y_min + y_max) // 2)) > 188
    assert checked > 74


def test_all_images_are_written_with_their_size(sample):
    """Every image that a record names opens in its place with the stated size and carries the remark."""
    assert len(sample.images_written) == len(sample.images)
    members = caption_members(sample)
    for name, image in sample.images.items():
        if image.path.startswith("IR-TD"):
            with Image.open(io.BytesIO(members[image.path.partition("!")[2]])) as opened:
                assert opened.size == (image.width, image.height)
                assert "no real data" in str(opened.info)
            continue
        assert pixels_of(sample, name)[0].size == (image.width, image.height)


def test_image_dirs_lead_to_the_images(sample):
    """The directories by which a user gives places hold the images, or are the archive of the mosaics."""
    for record in [record for records in tasks(sample).values() for record in records]:
        place = next(
            path for directory, path in sample.image_dirs.items() if record.image.startswith(directory + "/")
        )
        assert place.name == "reid_datasets.zip" or place.is_dir()


def test_caption_archive_is_cut_anywhere_and_joins_again(sample):
    """Five parts, no one an archive of its own, join to a gzip tar with all captioned images."""
    parts = [path for path in sample.archives if ".tar.gz" in path.name]
    assert len(parts) == 5
    for path in parts[1:]:
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(path.read_bytes())
    captions = json.loads((sample.folder / "new_relative.json").read_text())
    assert [list(record) for record in captions] == [["image_path", "description"]] * len(captions)
    root = "Data4MLLM/IR-TD-version250724/"
    assert {root + record["image_path"] for record in captions} == set(caption_members(sample))
    assert {Path(record["image_path"]).suffix for record in captions} == {".jpg", ".jpeg", ".png"}
    assert all(re.match(r"The image (shows|depicts) ", record["description"]) for record in captions)


def test_caption_counts_what_is_drawn(sample):
    """The first sentence of a caption names each class that is drawn."""
    for record in sample.records["new_relative.json"]:
        first = record.answer.partition(".")[0]
        labels = {item.label for item in sample.images[record.image].objects}
        assert all(label in first or (label == "person" and "people" in first) for label in labels)


def test_unpacked_form_has_the_same_content(sample, tmp_path):
    """form='folder' writes the same texts and images without archives."""
    unpacked = write_sample_release("irtd", tmp_path / "r", rows=200, seed=5, benchmark=True, form="folder")
    assert unpacked.archives == ()
    assert unpacked.records == sample.records
    with zipfile.ZipFile(sample.folder / "json_sft.zip") as archive:
        for name in RELEASED:
            assert (unpacked.folder / "json_sft" / name).read_bytes() == archive.read(f"json_sft/{name}")
    with zipfile.ZipFile(sample.folder / "reid_datasets.zip") as archive:
        for member in archive.namelist():
            assert (unpacked.folder / member).read_bytes() == archive.read(member)
    for member, content in caption_members(sample).items():
        assert (unpacked.folder / member).read_bytes() == content


def test_other_layouts_move_the_images_not_the_text(tmp_path):
    """Each layout writes the images where and as its users have them, and leaves the records alone."""
    usual = write_sample_release("irtd", tmp_path / "usual", rows=60, captions=0, images=False)
    layouts = {Layout.FLIR_V13, "rgbt-cc", Layout.DRONEVEHICLE}
    moved = write_sample_release("irtd", tmp_path / "moved", rows=60, captions=0, layouts=layouts)
    assert moved.records == usual.records
    for name, image in moved.images.items():
        if name.startswith("63-"):
            assert image.path == name.replace("training/PreviewData", "train/thermal_8_bit")
        elif name.startswith("23-"):
            assert image.path == name.replace("_Grey", "_T")
            assert pixels_of(moved, name)[1] == "RGB"
        elif name.startswith("4-"):
            assert image.path == name.replace("4-VEDAI", "14-VisDrone-DroneVehicle")
            opened = pixels_of(moved, name)[0]
            assert opened.size == (840, 712)
            assert image.border == 100
            assert opened.getpixel((50, 50)) > 245
            assert all(
                opened.getpixel((int(x) + 100, int(y) + 100)) > 188
                for x, y in (i.centre for i in image.objects)
            )
    for directory, path in moved.image_dirs.items():
        assert path.exists(), directory


def test_png_layout_keeps_the_stem(tmp_path):
    """The layout png changes the extension of images on disk only."""
    sample = write_sample_release("irtd", tmp_path / "r", rows=24, captions=0, layouts=["png"])
    for name, image in sample.images.items():
        if not image.path.startswith("reid"):
            assert image.path == name.rpartition(".")[0] + ".png"
            assert pixels_of(sample, name)[2] == "PNG"


def test_images_can_stand_elsewhere(tmp_path):
    """image_folder keeps the image directories out of the release."""
    sample = write_sample_release(
        "irtd", tmp_path / "r", rows=24, captions=0, image_folder=tmp_path / "images"
    )
    assert sorted(path.name for path in sample.folder.iterdir()) == [
        MARKER,
        "json_sft.zip",
        "reid_datasets.zip",
    ]
    assert (
        tmp_path / "images" / sample.images[sample.record("json_sft/Location.json", "0").image].path
    ).is_file()


# ------------------------------------------------------------------------------------------------ defects


def test_each_defect_is_planted(sample, large):
    """Every code has a meaning and occurs; a small sample has all defects of single records, too."""
    assert {defect.code for defect in sample.defects} == set(IRTD_DEFECTS)
    assert {defect.code for defect in large.defects} == set(IRTD_DEFECTS)
    for defect in sample.defects:
        if defect.id is not None:
            assert sample.record(defect.file, defect.id).image == defect.image


def test_defects_are_where_the_sample_says(large):  # noqa: C901 - one branch for each defect
    """The records listed for a defect have it and no other record does."""
    expected = {code: set() for code in IRTD_DEFECTS}
    for record in tasks(large)["Detection.json"]:
        if "641" in BOX.match(record.answer)[3]:
            expected["box-outside-image"].add(record.id)
        if record.family in {"left-cross-class", "left-same-class"}:
            expected["label-reference-object"].add(record.id)
    for record in tasks(large)["Relationship.json"]:
        if " 22th " in record.question:
            expected["text-ordinal"].add(record.id)
    for record in tasks(large)["Security.json"]:
        absent = {word for _, word in OPTION.findall(record.answer)}
        if absent & ABSENT_WORDS:
            expected["absence-unverified"].add(record.id)
        if absent & {item.label for item in large.images[record.image].objects}:
            expected["absence-false"].add(record.id)
    for record in tasks(large)["Recognition.json"]:
        gold = OPTION.findall(record.answer)[0][1]
        if not record.image.split("/")[4].startswith(f"{gold}_"):
            expected["gold-not-folder-class"].add(record.id)
    for code, ids in expected.items():
        if ids:
            assert {defect.id for defect in large.defects_of(code)} == ids, code
    assert len(expected["box-outside-image"]) == len(expected["text-ordinal"]) == 1


def test_released_counts_of_known_defects(tmp_path):
    """40,200 records of text are quick and have the released counts of the counted defects."""
    sample = write_sample_release("irtd", tmp_path / "r", rows=40200, images=False, captions=0)
    assert {name: len(records) for name, records in tasks(sample).items()} == RELEASED
    counts = Counter(defect.code for defect in sample.defects)
    assert counts["label-reference-object"] == 63 + 148
    assert counts["box-outside-image"] == counts["text-ordinal"] == 1
    assert counts["absence-unverified"] == 7859


def test_near_duplicates_share_caption_and_scene(sample):
    """A next frame has the caption of the frame before it and other bytes."""
    captions = {record.image: record.answer for record in sample.records["new_relative.json"]}
    found = [image for image in sample.images.values() if image.near_duplicate_of]
    members = caption_members(sample)
    assert found
    for image in found:
        before = sample.images[image.near_duplicate_of]
        assert captions[image.name] == captions[before.name]
        assert image.objects == before.objects
        assert members[image.path.partition("!")[2]] != members[before.path.partition("!")[2]]


def test_benchmark_is_disjoint_and_has_a_scene_task(sample):
    """The benchmark names no image of the instruction files and has four-option Scene questions."""
    trained = {record.image for records in tasks(sample).values() for record in records}
    tested = {r.image for file, rs in sample.records.items() if file.startswith("benchmark/") for r in rs}
    assert tested
    assert not trained & tested
    for record in sample.records["benchmark/Scene.json"]:
        assert re.fullmatch(
            rf"<image>\nIdentify the type of scene in the image\.\n{OPTIONS}", record.question
        )
        assert OPTION.findall(record.answer)[0] in OPTION.findall(record.question.rpartition("\n")[2])
    assert repaired((sample.folder / "benchmark" / "Detection.json").read_text())


# -------------------------------------------------------------------------------------------- determinism


def test_same_arguments_give_the_same_bytes(tmp_path):
    """Two runs write byte-identical files, whatever the folder; another seed writes others."""
    first, second, other = (
        write_sample_release("irtd", tmp_path / name, rows=40, seed=seed, benchmark=True)
        for name, seed in (("first", 7), ("a second one", 7), ("other", 8))
    )
    assert digests(first.folder) == digests(second.folder)
    same = digests(first.folder).items() & digests(other.folder).items()
    assert not same


def test_more_parts_of_a_release_leave_the_others_alone(tmp_path):
    """Asking for the benchmark or for more captions does not change the instruction files."""
    plain = write_sample_release("irtd", tmp_path / "plain", rows=40, images=False, captions=0)
    more = write_sample_release("irtd", tmp_path / "more", rows=40, images=False, captions=30, benchmark=True)
    assert tasks(plain) == tasks(more)
    assert (plain.folder / "json_sft.zip").read_bytes() == (more.folder / "json_sft.zip").read_bytes()


# ------------------------------------------------------------------------------------------------- errors


def test_folder_with_other_content_is_left_alone(tmp_path):
    """A folder that holds anything is refused; only an earlier sample is replaced, and only when asked."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "json_sft.zip").write_bytes(b"real")
    for overwrite in (False, True):
        with pytest.raises(BuildError, match="not empty"):
            write_sample_release("irtd", real, images=False, overwrite=overwrite)
    assert (real / "json_sft.zip").read_bytes() == b"real"
    write_sample_release("irtd", tmp_path / "s", rows=24, captions=0)
    with pytest.raises(BuildError, match="not empty"):
        write_sample_release("irtd", tmp_path / "s", rows=24)
    write_sample_release("irtd", tmp_path / "s", rows=24, captions=0, images=False, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [MARKER, "json_sft.zip"]


def test_file_in_place_of_a_folder_is_an_error(tmp_path):
    """A file where the folder should be is reported as such."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BuildError, match="cannot be made"):
        write_sample_release("irtd", tmp_path / "file")


def test_unknown_names_list_the_known_ones(tmp_path):
    """A wrong dataset, form, layout or record says what exists."""
    with pytest.raises(UnknownNameError, match=r"Known: .*irtd"):
        write_sample_release("nothing", tmp_path / "a")
    with pytest.raises(UnknownNameError, match="Forms: zip, folder"):
        write_sample_release("irtd", tmp_path / "b", form="tar")
    with pytest.raises(UnknownNameError, match=r"Layouts: flir-v1\.3"):
        write_sample_release("irtd", tmp_path / "c", layouts=["flir-v9"])
    assert list(tmp_path.iterdir()) == []
    sample = write_sample_release("irtd", tmp_path / "d", images=False)
    with pytest.raises(UnknownNameError, match=r"Location\.json"):
        sample.record("json_sft/Location.json", "99999")


def test_other_datasets_can_register_a_writer(tmp_path, monkeypatch):
    """A registered writer is called with the common arguments and its own."""
    monkeypatch.setattr(testing, "_WRITERS", dict(testing._WRITERS))
    seen = {}

    def writer(folder, **options):
        seen.update(options, folder=folder)
        return "written"

    register_sample_writer("other", writer)
    assert "other" in sample_names()
    assert write_sample_release("other", tmp_path, rows=3, form="folder", extra=1) == "written"
    assert seen == {"folder": tmp_path, "rows": 3, "seed": 0, "form": "folder", "extra": 1}
