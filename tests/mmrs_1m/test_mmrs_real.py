"""Real annotations written as MMRS-1M writes them, through a whole build, back to their original pixels.

The files are not part of the project; without them these tests are skipped.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import xml.etree.ElementTree as ET
from collections import defaultdict

import numpy as np
import pytest
from mmrs_helpers import REAL, build_rows, line_of, record, sample_image, write_release
from PIL import Image

from irtd_datasets.boxes import pad_and_normalize, rounding_bound

ALL = "Detect all objects shown in the remote sensing image and describe using {} bounding boxes."
ONE = "Detect all {} shown in the image and describe using {} bounding boxes."
CAPTION = "Please provide a one-sentence caption for the provided remote sensing image in details."


def real(*parts):
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the real file {'/'.join(parts)}")
    return path


def numbers(element, *names):
    return [float(element.findtext(name)) for name in names]


def corners(cx, cy, w, h, angle):
    across = np.array([math.cos(angle), math.sin(angle)]) * w / 2
    down = np.array([-math.sin(angle), math.cos(angle)]) * h / 2
    centre = np.array([cx, cy])
    return np.concatenate(
        [centre - across - down, centre + across - down, centre + across + down, centre - across + down]
    ).tolist()


# Each source yields (file name, bytes of its image, objects); an object is a class with x, y, w, h or 8 corners.


def dota():
    root = real("dota")
    for folder, labels in (
        ("example", "labelTxt"),
        ("devkit_yolo/DOTA_demo", "labelTxt"),
        ("wenchao/train_img_example", "labels"),
    ):
        for path in sorted((root / folder / "images").glob("*.png")):
            lines = (root / folder / labels / f"{path.stem}.txt").read_text().splitlines()
            rows = [line.split() for line in lines if len(line.split()) >= 9]
            yield (
                path.name,
                path.read_bytes(),
                [(row[8], [float(value) for value in row[:8]]) for row in rows],
            )


def dior_r():
    path = real("mmrotate", "tests", "data", "dior", "JPEGImage", "00001.jpg")
    xml = path.parents[1] / "Annotations" / "Oriented Bounding Boxes" / "00001.xml"
    ends = ("left_top", "right_top", "right_bottom", "left_bottom")
    names = [f"{axis}_{end}" for end in ends for axis in "xy"]
    objects = [
        (one.findtext("name"), numbers(one.find("robndbox"), *names)) for one in ET.parse(xml).iter("object")
    ]
    yield path.name, path.read_bytes(), objects


def hrsc():
    names = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")
    for path in sorted(real("mmrotate", "tests", "data", "hrsc").rglob("*.xml")):
        root = ET.parse(path).getroot()
        size = tuple(map(int, numbers(root, "Img_SizeWidth", "Img_SizeHeight")))
        objects = [("ship", corners(*numbers(one, *names))) for one in root.iter("HRSC_Object")]
        yield f"{path.stem}.png", sample_image(*size), objects  # its image is not among the files


def hit_uav_oriented():
    folder = real("hit-uav", "rotate_xml")
    for path in sorted((folder / "Annotations").glob("*.xml")):
        image = folder / "JPEGImages" / f"{path.stem}.jpg"
        if not image.is_file():
            continue
        boxes = [(one.findtext("name"), one.find("robndbox")) for one in ET.parse(path).iter("object")]
        objects = [(name, corners(*numbers(box, "cx", "cy", "w", "h", "angle"))) for name, box in boxes]
        yield image.name, image.read_bytes(), objects


def coco(root, images, annotations, plain=0):
    """Images with boxes; the first ``plain`` of those whose image is not among the files get a plain one."""
    values = json.loads((root / annotations).read_text())
    names = {one["id"]: one["name"] for one in values["categories"]}
    boxes = defaultdict(list)
    for one in values["annotations"]:
        boxes[one["image_id"]].append((names[one["category_id"]], [float(value) for value in one["bbox"]]))
    for image in values["images"]:
        path = root / images / image["file_name"]
        if path.is_file() and boxes[image["id"]]:
            yield path.name, path.read_bytes(), boxes[image["id"]]
        elif plain and boxes[image["id"]]:
            plain -= 1
            yield f"{path.stem}.png", sample_image(image["width"], image["height"]), boxes[image["id"]]


def nwpu_vhr10():
    yield from coco(real("nwpu-vhr10", "NWPU VHR-10_dataset_coco"), "positive image set", "annotations.json")


def hrsid():
    root = real("hrsid", "modified-HRSID")
    yield from coco(root, "JPEGImages", "Annotations/inshore/inshore_test.json", plain=20)


def simd():
    for path in sorted(real("simd", "images").glob("*.txt")):
        image = path.with_suffix(".jpg")
        objects = []
        for line in path.read_text().splitlines():
            label, cx, cy, w, h = map(float, line.split())
            box = [(cx - w / 2) * 1024, (cy - h / 2) * 768, w * 1024, h * 768]
            objects.append((f"vehicle {'abcdefghijklmnop'[int(label)]}", box))
        if image.is_file():
            yield image.name, image.read_bytes(), objects


SOURCES = {
    dota: ("detection/dotav2", "dota"),
    dior_r: ("detection/dior", "dior"),
    hrsc: ("detection/FAR1M", "far1m"),
    hit_uav_oriented: ("detection/HIT-UAV", "hit_uav"),
    nwpu_vhr10: ("detection/NWPUVHR10", "nwpuvhr10"),
    hrsid: ("detection/HRSID_HBB", "hrisd"),
    simd: ("detection/VisDrone", "visdrone"),
}


def group(objects, width, height):
    boxes = [
        ",".join(f"{value:.2f}" for value in pad_and_normalize(box, width, height)) for _, box in objects
    ]
    return f"<p>{len(objects)} {objects[0][0]}</p>[{';'.join(boxes)}]"


def rounds(objects, width, height):
    """The round for all classes, then one for each class, as the release has them."""
    kind = "oriented" if len(objects[0][1]) == 8 else "horizontal"
    classes = defaultdict(list)
    for name, box in objects:
        classes[name].append((name, box))
    groups = {name: group(own, width, height) for name, own in classes.items()}
    texts = [ALL.format(kind), f"There are {' '.join(groups.values())}"]
    for name, text in groups.items():
        texts += [ONE.format(name, kind), f"There are {text} in the image."]
    return texts, [one for own in classes.values() for one in own]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_boxes_come_back(source, tmp_path):
    """Every real box comes back to its pixels within half a hundredth of the longer side, each exactly once."""
    folder, part = SOURCES[source]
    records, images, truth = [], {}, {}
    for name, data, objects in source():
        if not objects:
            continue
        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
        texts, ordered = rounds(objects, width, height)
        records.append(record(f"data/{folder}/{name}", *texts))
        images[f"{folder}/{name}"] = data
        truth[f"{folder}/{name}"] = (width, height, ordered)
    root = write_release(tmp_path / "release", {f"detection/x/{part}.json": records}, images)
    report, rows = build_rows(root, tmp_path / "out", "detection")
    assert len(rows[part]) == len(truth) > 0
    seen = 0
    for row in rows[part]:
        width, height, ordered = truth[row["image"]["path"]]
        assert (row["width"], row["height"]) == (width, height)
        assert row["image"]["bytes"] == images[row["image"]["path"]]
        found = row["objects"]
        assert len(found["label"]) == len(ordered)
        # float32: less than a thousandth of a pixel for these sizes.
        bound = rounding_bound("square_unit", 2, width, height) + 1e-3
        for number, (_, box) in enumerate(ordered):
            shape = (found["polygon"] if len(box) == 8 else found["box"])[number]
            expected = box if len(box) == 8 else [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            assert np.abs(np.subtract(shape, expected)).max() <= bound
            seen += 1
        inside = all(
            0 <= x <= width and 0 <= y <= height
            for _, box in ordered
            for x, y in zip(*((box[::2], box[1::2]) if len(box) == 8 else _ends(box)), strict=True)
        )
        if inside:
            assert not {"box-outside-image", "box-off-image"} & set(row["issues"])
    assert line_of(report, part).rounds_kept == sum(len(one["conversations"]) // 2 for one in records)
    assert seen


def _ends(box):
    return (box[0], box[0] + box[2]), (box[1], box[1] + box[3])


def test_grounding_comes_back_both_ways(tmp_path):
    """The DIOR-RSVG sample as text to box and box to text gives its box and phrase in both parts."""
    image = real("dior-rsvg", "RSVGD", "JPEGImages", "00001.jpg")
    root = ET.parse(image.parents[1] / "Annotations" / "00001.xml").getroot()
    x0, y0, x1, y1 = numbers(root.find("object/bndbox"), "xmin", "ymin", "xmax", "ymax")
    phrase = root.findtext("object/description")
    box = ",".join(f"{value:.2f}" for value in pad_and_normalize([x0, y0, x1 - x0, y1 - y0], 800, 800))
    ask = "Please provide the horizontal bounding box coordinate of the region which is described as:"
    tell = "Please provide a short description for this region in this remote sensing image :"
    name = "RSVG/DIOR_RSVG/images/00001.jpg"
    records = [
        record(f"data/{name}", f"{tell}[{box}]", phrase),
        record(f"data/{name}", f"{ask}{phrase}", f"[{box}]"),
    ]
    release = write_release(tmp_path / "r", {"RSVG/rsvg_trainval.json": records}, {name: image.read_bytes()})
    _, rows = build_rows(release, tmp_path / "out")
    for part in ("dior_rsvg_grounding", "dior_rsvg_region_captioning"):
        (row,) = rows[part]
        assert row["objects"]["label"] == [phrase]
        assert np.abs(np.subtract(row["objects"]["box"][0], [x0, y0, x1, y1])).max() <= 4 + 1e-3
        assert row["issues"] == []


def test_captions_and_questions_come_back(tmp_path):
    """Real captions and questions, with their real images, come back letter by letter, images byte by byte."""
    captions = {
        "rsicd": ("caption/rsicd", real("jbarata-captions", "data", "images", "RSICD_images")),
        "ucm_captions": ("caption/ucm_caption", real("jbarata-captions", "data", "images", "UCM_images")),
        "sydney_captions": (
            "caption/syndney_caption",
            real("jbarata-captions", "data", "images", "Sydney_images"),
        ),
    }
    sentences = json.loads(
        real("jbarata-captions", "data", "captions", "dataset_sydney_modified.json").read_text()
    )
    texts = [one["raw"] for image in sentences["images"] for one in image["sentences"]]
    files, images = {}, {}
    for part, (folder, source) in captions.items():
        for number, path in enumerate(sorted(source.iterdir())):
            own = [text for one in texts[5 * number : 5 * number + 5] for text in (CAPTION, one)]
            files.setdefault(f"{folder.replace('caption/', 'caption/caption_')}.json", []).append(
                record(f"data/{folder}/{path.name}", *own)
            )
            images[f"{folder}/{path.name}"] = path.read_bytes()
            assert part
    asked = real("rsvqa", "questionsS2_reduced.js").read_text()
    answered = real("rsvqa", "answersS2_reduced.js").read_text()
    questions, answers = (
        json.loads(text[text.index("'") + 1 : text.rindex("'")]) for text in (asked, answered)
    )
    answer_of = {one["question_id"]: one["answer"] for one in answers["answers"] if one.get("active")}
    for path in sorted(real("rsvqa", "data_S2_reduced").glob("*.png")):
        own = [one for one in questions["questions"] if one.get("active") and str(one["img_id"]) == path.stem]
        turns = [
            text
            for one in own
            if one["id"] in answer_of
            for text in (
                f"{one['question']} Answer the question using a single word or phrase.",
                answer_of[one["id"]],
            )
        ]
        if turns:
            files.setdefault("VQA/rsvqa_high.json", []).append(
                record(f"data/VQA/rsvqa_high/{path.name}", *turns)
            )
            images[f"VQA/rsvqa_high/{path.name}"] = path.read_bytes()
    root = write_release(tmp_path / "release", files, images)
    report, rows = build_rows(root, tmp_path / "out")
    assert set(rows) == {*captions, "rsvqa_lr"}
    expected = {
        one["image"].removeprefix("data/"): [turn["value"] for turn in one["conversations"]]
        for own in files.values()
        for one in own
    }
    for part in rows.values():
        for row in part:
            name = row["image"]["path"]
            assert [turn["content"] for turn in row["messages"]] == expected[name]
            digests = [hashlib.sha256(data).digest() for data in (row["image"]["bytes"], images[name])]
            assert digests[0] == digests[1]
            assert "image-size-unexpected" not in row["issues"]
    totals = report.ledger.totals()
    assert totals["rounds_found"] == totals["rounds_kept"] > 100
