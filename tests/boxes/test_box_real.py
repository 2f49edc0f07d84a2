"""Boxes of real annotation files through the transform and back, and every released text of IR-TD.

The files are not part of the project; without them these tests are skipped.
"""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ET
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from irtd_datasets.boxes import (
    Boxes,
    check_frames,
    pad_and_normalize,
    parse_boxes,
    rewrite_text,
    rounding_bound,
    undo_pad_and_normalize,
)

REAL = Path(os.environ.get("IRTD_REAL") or Path(__file__).resolve().parents[3] / "shared" / "real")


def real(*parts):
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the real file {'/'.join(parts)}")
    return path


def corners(cx, cy, w, h, angle):
    across = np.array([math.cos(angle), math.sin(angle)]) * w / 2
    down = np.array([-math.sin(angle), math.cos(angle)]) * h / 2
    centre = np.array([cx, cy])
    return np.concatenate(
        [centre - across - down, centre + across - down, centre + across + down, centre - across + down]
    ).tolist()


def numbers(element, *names):
    return [float(element.findtext(name)) for name in names]


def dota():
    """Corners and classes of DOTA; the example images are mostly absent, so the labels bound the size."""
    for path in sorted(real("dota").rglob("label*/*.txt")):
        rows = [line.split() for line in path.read_text().splitlines() if len(line.split()) >= 9]
        boxes = [[float(value) for value in row[:8]] for row in rows]
        if boxes:
            table = np.array(boxes)
            size = (math.ceil(table[:, ::2].max()) + 1, math.ceil(table[:, 1::2].max()) + 1)
            yield size, [(row[8], box) for row, box in zip(rows, boxes, strict=True)]


def dior_r():
    ends = ("left_top", "right_top", "right_bottom", "left_bottom")
    names = [f"{axis}_{end}" for end in ends for axis in "xy"]
    for path in sorted(real("mmrotate", "tests", "data", "dior").rglob("*.xml")):
        root = ET.parse(path).getroot()
        objects = [
            (one.findtext("name"), numbers(one.find("robndbox"), *names)) for one in root.iter("object")
        ]
        yield tuple(map(int, numbers(root.find("size"), "width", "height"))), objects


def hrsc():
    names = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")
    for path in sorted(real("mmrotate", "tests", "data", "hrsc").rglob("*.xml")):
        root = ET.parse(path).getroot()
        objects = [("ship", corners(*numbers(one, *names))) for one in root.iter("HRSC_Object")]
        yield tuple(map(int, numbers(root, "Img_SizeWidth", "Img_SizeHeight"))), objects


def hit_uav_oriented():
    for path in sorted(real("hit-uav", "rotate_xml").rglob("*.xml")):
        root = ET.parse(path).getroot()
        objects = [
            (one.findtext("name"), corners(*numbers(one.find("robndbox"), "cx", "cy", "w", "h", "angle")))
            for one in root.iter("object")
        ]
        yield tuple(map(int, numbers(root.find("size"), "width", "height"))), objects


def hit_uav_horizontal():
    for path in sorted(real("hit-uav", "normal_xml").rglob("*.xml")):
        root = ET.parse(path).getroot()
        objects = []
        for one in root.iter("object"):
            x0, y0, x1, y1 = numbers(one.find("bndbox"), "xmin", "ymin", "xmax", "ymax")
            objects.append((one.findtext("name"), [x0, y0, x1 - x0, y1 - y0]))
        yield tuple(map(int, numbers(root.find("size"), "width", "height"))), objects


def coco(*parts):
    record = json.loads(real(*parts).read_text())
    names = {one["id"]: one["name"] for one in record["categories"]}
    by_image = defaultdict(list)
    for one in record["annotations"]:
        by_image[one["image_id"]].append((names[one["category_id"]], [float(value) for value in one["bbox"]]))
    for image in record["images"]:
        yield (image["width"], image["height"]), by_image[image["id"]]


def nwpu_vhr10():
    return coco("nwpu-vhr10", "NWPU VHR-10_dataset_coco", "annotations.json")


def ssdd():
    return coco("ssdd-coco", "SSDD.json")


def hrsid():
    return coco("hrsid", "modified-HRSID", "Annotations", "inshore", "inshore_test.json")


def simd():
    for path in sorted(real("simd", "images").glob("*.txt")):
        objects = []
        for line in path.read_text().splitlines():
            label, cx, cy, w, h = map(float, line.split())
            objects.append(
                (f"class {label:.0f}", [(cx - w / 2) * 1024, (cy - h / 2) * 768, w * 1024, h * 768])
            )
        yield (1024, 768), objects


SOURCES = [dota, dior_r, hrsc, hit_uav_oriented, hit_uav_horizontal, nwpu_vhr10, ssdd, hrsid, simd]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_annotations_through_text_and_back(source):
    """Real boxes written as MMRS-1M writes them come back to their pixels within the rounding bound."""
    seen = 0
    for (width, height), objects in source():
        if not objects:
            continue
        groups = []
        for _, box in objects:
            normalized = pad_and_normalize(box, width, height)
            assert undo_pad_and_normalize(normalized, width, height) == pytest.approx(box, abs=1e-8)
            groups.append(",".join(f"{value:.2f}" for value in normalized))
        text = f"There are <p>{len(groups)} objects</p>[{';'.join(groups)}] in the image."
        parsed = parse_boxes(text)
        assert parsed.write() == text
        assert {problem.code for problem in parsed.problems} <= {"zero-area"}
        back = parsed.objects("square_unit", width, height)
        assert len(back) == len(objects)
        bound = rounding_bound("square_unit", 2, width, height) + 1e-9
        for found, (_, box) in zip(back, objects, strict=True):
            x, y, *rest = box
            expected = box if len(box) == 8 else [x, y, x + rest[0], y + rest[1]]
            assert np.abs(np.subtract(found.coordinates, expected)).max() <= bound
            seen += 1
        finer = rewrite_text(text, "square_unit", "pixel", width, height)
        assert finer.boxes == len(objects)
    assert seen


def flat(source):
    boxes, sizes = [], []
    for size, objects in source():
        for _, box in objects:
            boxes.append(box if len(box) == 8 else [box[0], box[1], box[0] + box[2], box[1] + box[3]])
            sizes.append(size)
    return np.array(boxes), np.array(sizes)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_frame_check_on_annotations(source):
    """Real boxes written in a frame are never named as another scale, nor the padded square as the image."""
    boxes, sizes = flat(source)
    pixels = Boxes(boxes, "pixel", sizes[:, 0], sizes[:, 1])
    for frame, allowed in {
        "pixel": {"pixel"},
        "square_unit": {"square_unit"},
        "unit": {"unit", "square_unit"},
        "per_mille": {"per_mille", "square_per_mille", "pixel"},
    }.items():
        report = check_frames(pixels.to(frame).round().coordinates, sizes)
        assert report.frame is None or report.frame.value in allowed, report


@pytest.mark.parametrize("source", [ssdd, nwpu_vhr10, simd], ids=lambda source: source.__name__)
def test_frame_check_decides_on_annotations(source):
    """On real images that are not square, the padded square and the image are told apart."""
    boxes, sizes = flat(source)
    pixels = Boxes(boxes, "pixel", sizes[:, 0], sizes[:, 1])
    for frame in ("square_unit", "unit"):
        assert check_frames(pixels.to(frame).round().coordinates, sizes).verdict == frame


def irtd(name):
    path = real("irtd_json_sft", "json_sft.zip")
    with zipfile.ZipFile(path) as archive:
        text = archive.read(f"json_sft/{name}.json").decode("ascii").strip().removesuffix(",")
    return json.loads(text if text.startswith("[") else f"[{text}]")


def test_every_released_text_of_irtd():
    """All grounding and location answers parse, nothing else is taken for a box, no byte changes."""
    places = {}
    for name in (
        "Detection", "Location", "Relationship", "Recognition", "Security", "ReID", "AerialCounting",
        "PedestrianCounting",
    ):  # fmt: skip
        answered = 0
        for record in irtd(name):
            for turn in record["conversations"]:
                parsed = parse_boxes(turn["value"])
                assert parsed.write() == turn["value"]
                assert parsed.problems == ()
                assert not parsed.spans or turn["from"] == "gpt"
                answered += bool(parsed.spans)
        places[name] = answered
    assert places.pop("Detection") == 2789
    assert places.pop("Location") == 14979
    assert not any(places.values())


def test_irtd_grounding_is_in_pixels():
    """The frame check names pixels for IR-TD's grounding, with its one box beyond 640."""
    boxes = [parse_boxes(one["conversations"][1]["value"]).spans[0].numbers for one in irtd("Detection")]
    assert check_frames(boxes, (640, 512)).verdict == "pixel"
    outside = Boxes(boxes, "pixel", 640, 512).outside()
    assert (outside.partly.sum(), outside.wholly.sum()) == (1, 0)


def test_irtd_location_counts_to_a_thousand():
    """IR-TD's locations fit no pixels of 640x512; that they keep off the borders is said."""
    points = [
        span.numbers
        for one in irtd("Location")
        for span in parse_boxes(one["conversations"][1]["value"]).spans
    ]
    report = check_frames(points, (640, 512))
    assert report.legal["pixel"] < 0.8
    assert report.legal["per_mille"] == 1
    assert report.verdict == "undecidable: the boxes keep away from the borders that would tell"


def test_irtd_rewrites_there_and_back():
    """Locations rewritten to pixels with two decimals and back are the released text again."""
    for record in irtd("Location")[::10]:
        text = record["conversations"][1]["value"]
        pixels = rewrite_text(text, "per_mille", "pixel", 640, 512, decimals=2)
        assert pixels.text != text
        assert rewrite_text(pixels.text, "pixel", "per_mille", 640, 512).text == text
