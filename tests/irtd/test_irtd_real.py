"""The released texts with 36 of the frames they are about."""

import csv
import json
import re
import zipfile
from collections import Counter

import pyarrow.parquet as pq
import pytest

from irtd_datasets.catalog import open_release
from irtd_datasets.irtd.corrections import fits_several
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks.generation import cell
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.spec import read_table
from irtd_datasets.writing.engine import build

WIDTH, HEIGHT = 640, 512
FLIR = "63-FLIR_ADAS/training/PreviewData"
PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"


@pytest.fixture(scope="module")
def places(real):
    """Root of the release and where its frames lie."""
    root, frames = real / "irtd_json_sft", real / "roadscene" / "infrared"
    if not (root / "json_sft.zip").is_file() or not frames.is_dir():
        pytest.skip("json_sft.zip or the RoadScene frames are not here")
    return root, {FLIR: str(frames)}


@pytest.fixture(scope="module")
def result(places, tmp_path_factory):
    return build("irtd", ["instruct"], absolute_options(*places), tmp_path_factory.mktemp("real") / "irtd")


@pytest.fixture(scope="module")
def rows(result):
    return [
        row
        for path in sorted(result.folder.glob("instruct/*/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


@pytest.fixture(scope="module")
def released(places):
    """Records of the released files by name."""
    with zipfile.ZipFile(places[0] / "json_sft.zip") as archive:
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode().strip()
            for name in archive.namelist()
            if name.endswith(".json")
        }
    return {
        name: json.loads(text if text.startswith("[") else f"[{text.rstrip(',')}]")
        for name, text in texts.items()
    }


def points_of(records):
    """The points of each Location record, by image and label."""
    points = {}
    for record in records:
        label, numbers = re.fullmatch(
            r"<ref>(\w+)</ref> at <pos>\[(.*)\]</pos>", record["conversations"][1]["value"]
        ).groups()
        found = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", numbers)]
        points[record["image"][0], label] = found
    return points


def test_rows_of_the_frames(result):
    """36 frames give 126 rows: location 61, security 34, relationship 21, grounding 10."""
    assert {part: count for part, count in result.rows.items() if count} == {
        "instruct/location": 61,
        "instruct/security": 34,
        "instruct/relationship": 21,
        "instruct/grounding": 10,
    }


def test_the_ledger_sums_to_all_records(result):
    """40,200 records found, 126 kept, the rest without an image; the defects are those of the table."""
    totals = result.ledger.totals()
    assert (totals["released"], totals["found"], totals["absent"]) == (40_200, 40_200, 0)
    assert (totals["kept"], totals["dropped"], totals["image_missing"]) == (126, 0, 40_074)
    lines = {line.file: line.record_counts for line in result.ledger.lines}
    assert all(record_counts.balanced for record_counts in lines.values())
    for issue in SPEC.issues:
        if issue.count is not None and issue.scope == "file":
            record_counts = lines[issue.file]
            assert (record_counts.repairs if issue.kind == "format" else record_counts.quirks)[
                issue.code
            ] == issue.count


def test_the_doctor_says_the_same(places):
    """The doctor counts the same rows without reading an image."""
    diagnosis = examine(open_release("irtd", absolute_options(*places)))
    assert diagnosis.configs["instruct"] == 126
    assert diagnosis.configs["pretrain"] == diagnosis.configs["benchmark"] == 0
    assert [file.problem for file in diagnosis.files if file.problem] == []
    assert {folder.folder: folder.found for folder in diagnosis.folders if folder.found} == {FLIR: 34}


def test_images_are_the_frames(rows, places):
    """Each image is the file of the frame, its bytes untouched, found as the PNG that it is."""
    for row in rows:
        name = row["image"]["path"].rpartition("/")[2].replace(".jpeg", ".png")
        with open(f"{places[1][FLIR]}/{name}", "rb") as file:  # noqa: PTH123 - one line
            assert row["image"]["bytes"] == file.read()
        assert row["image_note"] == f"found as {name}"
        assert (row["width"], row["height"]) == (WIDTH, HEIGHT)


def test_points_lie_in_the_boxes_of_their_objects(rows, real):
    """Every location point lies inside a box of its class, where boxes of that frame are known."""
    table = real / "roadscene" / "_derived" / "boxes.csv"
    if not table.is_file():
        pytest.skip("no boxes here")
    boxes = {}
    classes = {"bicycle": "bike"}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, width, height = (int(row[name]) for name in ("x", "y", "w", "h"))
            key = row["frame"], classes.get(row["class"], row["class"])
            boxes.setdefault(key, []).append((x, y, x + width, y + height))
    frames, inside = {frame for frame, _ in boxes}, 0
    for row in rows:
        frame = row["image"]["path"].rpartition("/")[2].partition(".")[0]
        for label, (x, y) in zip(row["objects"]["label"], row["objects"]["point"], strict=False):
            if frame in frames:
                # The point is the centre, moved by the rounding to thousandths by half a thousandth at most.
                of = [
                    box
                    for box in boxes[frame, label]
                    if abs((box[0] + box[2]) / 2 - x) <= 0.33 and abs((box[1] + box[3]) / 2 - y) <= 0.27
                ]
                assert of, (row["id"], label, x, y)
                assert all(x_min <= x <= x_max and y_min <= y <= y_max for x_min, y_min, x_max, y_max in of)
                inside += 1
    assert inside == 233


def test_the_corrections_are_derived_from_the_release_alone(released):
    """The table of 211 centres follows from the released files, and no record has two candidates.

    For each "A located to the left of B" the centre of the released box is the Location point of B, or, for one class,
    of the right one of two; then exactly one object is left that can be meant.
    """
    points = points_of(released["Location.json"])
    derived = []
    for record in released["Detection.json"]:
        question, answer = (turn["value"] for turn in record["conversations"])
        relation = re.search(r"of the (\w+) located to the left of the (\w+)\.", question)
        if relation is None:
            continue
        asked, reference = relation.groups()
        box = tuple(map(int, re.search(r"\[\[(-?\d+), (-?\d+), (-?\d+), (-?\d+)\]\]", answer).groups()))
        centre = (
            round((box[0] + box[2]) / 2 / WIDTH * 1000),
            round((box[1] + box[3]) / 2 / HEIGHT * 1000),
        )
        image = record["image"][0]
        others = points[image, reference]
        assert centre in others, record["id"]
        candidates = [point for point in points[image, asked] if not (asked == reference and point == centre)]
        if asked == reference:
            assert len(others) == 2
            assert centre == max(others)
        assert len(candidates) == 1, record["id"]
        derived.append(
            {
                "id": record["id"],
                "image": image.removeprefix(PREFIX),
                **{
                    name: str(value)
                    for name, value in zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True)
                },
                "target_x": str(candidates[0][0]),
                "target_y": str(candidates[0][1]),
            }
        )
    assert len(derived) == 211
    assert derived == read_table("irtd_datasets.irtd", "corrections.csv")


def test_the_ambiguous_phrases_are_derived_from_the_release_alone(released):
    """The table of 282 phrases follows from the released files: two Location points or more lie in the place named.

    A record becomes ambiguous in its draft, and no other record does.
    """
    points = points_of(released["Location.json"])
    derived = []
    for record in released["Detection.json"]:
        question, answer = (turn["value"] for turn in record["conversations"])
        phrase = re.search(r"of the (\w+) located at the (.+) of the image\.", question)
        if phrase is None:
            continue
        box = re.search(r"\[\[(-?\d+), (-?\d+), (-?\d+), (-?\d+)\]\]", answer).groups()
        image = record["image"][0]
        there = [point for point in points[image, phrase[1]] if cell(*point, 1000, 1000) == phrase[2]]
        assert fits_several(image.removeprefix(PREFIX), box) == (len(there) > 1)
        if len(there) > 1:
            corners = zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True)
            named = {"id": record["id"], "image": image.removeprefix(PREFIX), **dict(corners)}
            derived.append({**named, "objects": str(len(there))})
    assert len(derived) == 282
    assert derived == read_table("irtd_datasets.irtd", "ambiguous.csv")


def test_every_row_of_the_table_is_used(released):
    """Each of the 211 corrections reaches the draft of its record, and no other record gets one."""
    release_rows = Counter()
    from irtd_datasets.irtd.corrections import ISSUE, target_centre

    for row in read_table("irtd_datasets.irtd", "corrections.csv"):
        box = tuple(int(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
        centre = target_centre(row["image"], box)
        assert json.loads(centre.value) == [
            [int(row["target_x"]) * WIDTH / 1000, int(row["target_y"]) * HEIGHT / 1000]
        ]
        release_rows[centre.issue] += 1
    assert release_rows == {ISSUE: 211}


def test_every_released_record_can_be_read(places):
    """All 40,200 records of the release parse, each with an id of its own."""
    from irtd_datasets.rows.parsing import parse_file
    from irtd_datasets.rows.record_counts import RecordCounts

    release = open_release("irtd", absolute_options(*places))
    ids, record_counts = set(), RecordCounts()
    for member in SPEC.config("instruct").members:
        for file in release.files(member):
            for pending in parse_file(release, file, record_counts):
                ids.add(pending.id)
                assert not pending.image.startswith("/")
                assert "<image>" not in "".join(message["content"] for message in pending.messages)
    assert record_counts.found == len(ids) == 40_200
    assert not record_counts.dropped
