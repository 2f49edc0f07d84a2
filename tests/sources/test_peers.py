"""The readers against what others read: the same objects of sound files, and of the rest a doubt that is counted."""

import json
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from test_damaged_labels import CLASSES, FORMATS, HEIGHT, LOST, WIDTH, png, read

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that OpenCV is not there, which reading labels does not need
    supervision = pytest.importorskip("supervision", reason="needs Python 3.11")

pytestmark = pytest.mark.filterwarnings("ignore")
COUNT = 1000
EVERY = 10
"""Of this many files one has a label that is lost."""


def generated(reader):
    """Files of a format by stem, which of them have a lost label, and what the sound ones have."""
    rng = random.Random(reader)
    write, join, _, _ = FORMATS[reader]
    files, damaged, truth = {}, set(), {}
    for number in range(COUNT):
        stem = f"{number:04d}"
        objects = {}
        for _ in range(rng.randrange(4)):
            x, y, w, h = rng.randrange(200), rng.randrange(150), rng.randrange(8, 100), rng.randrange(8, 100)
            objects[rng.choice(CLASSES), (x, y, x + w, y + h)] = None
        texts = [write(*one) for one in objects]
        if texts and number % EVERY == 0:
            damage = rng.choice([name for name in LOST if name != "exchanged corners" or reader != "dota"])
            texts[0] = write(*LOST[damage](*next(iter(objects))))
            damaged.add(stem)
        truth[stem] = sorted((label, tuple(map(float, box))) for label, box in objects)
        files[stem] = texts if reader == "coco" else join(texts)
    return files, damaged, truth


def rounded(label, box):
    return label, tuple(float(round(float(value), 2)) for value in box)


def compare(images, problems, damaged, theirs):
    """Each sound image has their objects, and is exhaustive; each other one is in doubt, and counted."""
    ours = {image.image.rpartition("/")[2][:4]: image for image in images}
    assert set(ours) | damaged == {f"{number:04d}" for number in range(COUNT)}
    for stem, image in ours.items():
        if stem in damaged:
            assert image.unclear, stem
        else:
            assert sorted(rounded(item.label, item.box) for item in image.objects) == theirs[stem], stem
            assert image.exhaustive == frozenset(CLASSES)
    lost = sum(
        problems.get(code, 0) for code in ("box-malformed", "box-empty", "box-outside", "class-unknown")
    )
    assert lost + problems.get("label-unreadable", 0) >= len(damaged)


def images_of(names):
    return {f"images/{stem}.png": png() for stem in names}


def test_coco_as_pycocotools_reads_it(tmp_path):
    """A file of a thousand images gives the annotations that pycocotools finds for each."""
    files, damaged, _ = generated("coco")
    images, objects = [], []
    for stem, texts in files.items():
        number = int(stem) + 1
        images.append({"id": number, "file_name": f"{stem}.png", "width": WIDTH, "height": HEIGHT})
        for text in texts:
            objects.append({**json.loads(text), "image_id": number, "id": len(objects) + 1})
    names = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    content = {"images": images, "annotations": objects, "categories": names}
    path = tmp_path / "peer.json"
    path.write_text(json.dumps(content))
    peer = COCO(str(path))
    theirs = {}
    for image in images:
        found = []
        for one in peer.loadAnns(peer.getAnnIds([image["id"]])):
            x, y, w, h = one["bbox"]
            label = peer.cats.get(one["category_id"], {"name": ""})["name"]
            found.append(rounded(label, (x, y, x + w, y + h)))
        theirs[image["file_name"][:4]] = sorted(found)
    _, _, pattern, row = FORMATS["coco"]
    given = {**images_of(files), "labels/all.json": json.dumps(content)}
    compare(*read(tmp_path, given, reader="coco", labels=pattern, **row), damaged, theirs)


@pytest.mark.parametrize("reader", ["voc", "yolo"])
def test_voc_and_yolo_as_supervision_reads_them(reader, tmp_path):
    """A thousand files give the detections that supervision finds in each sound one."""
    files, damaged, _ = generated(reader)
    _, _, pattern, row = FORMATS[reader]
    given = {**images_of(files), **{pattern.format(stem=stem): text for stem, text in files.items()}}
    found = read(tmp_path, given, reader=reader, labels=pattern, **row)
    for stem in damaged:  # what is damaged is an error there
        (tmp_path / "set" / pattern.format(stem=stem)).unlink()
        (tmp_path / f"set/images/{stem}.png").unlink()
    folders = {
        "images_directory_path": str(tmp_path / "set/images"),
        "annotations_directory_path": str(tmp_path / "set/labels"),
    }
    if reader == "voc":
        peer = supervision.DetectionDataset.from_pascal_voc(**folders)
    else:
        (tmp_path / "data.yaml").write_text("names: ['person', 'car']\n")
        peer = supervision.DetectionDataset.from_yolo(**folders, data_yaml_path=str(tmp_path / "data.yaml"))
    theirs = {}
    for path, _, detections in peer:
        labels = [peer.classes[number] for number in detections.class_id]
        boxes = np.array(detections.xyxy, float).reshape(-1, 4)
        boxes[:, :2] += reader == "voc"  # there pixels of VOC count from 1, as `one-based=yes` says here
        theirs[path[-8:-4]] = sorted(
            rounded(label, np.round(box)) for label, box in zip(labels, boxes, strict=True)
        )
    compare(*_whole(found), damaged, theirs)


def _whole(found):
    """Images whose boxes are in whole pixels, as they were generated: YOLO has six decimals of a share."""
    images, problems = found
    whole = [
        replace(
            image,
            objects=tuple(
                replace(item, box=tuple(map(round, item.box))) for item in image.objects if item.box
            ),
        )
        for image in images
    ]
    return whole, problems


def by_toolkit(file):
    """What DOTA's toolkit makes of a label file; its few lines are repeated here."""
    for line in file.read_text().splitlines():
        words = line.strip().split(" ")
        yield words[8], np.array(words[:8], float)


def by_torchgeo(file):
    """What torchgeo makes of a label file."""
    kind = pytest.importorskip("torchgeo.datasets", reason="torchgeo is not installed").DOTA
    opened = object.__new__(kind)  # its own constructor wants the whole data set
    opened.root, opened.classes, opened.bbox_orientation = str(file.parent), tuple(CLASSES), "oriented"
    boxes, labels = opened._load_annotations(file.name)
    return [(CLASSES[label], box.numpy()) for label, box in zip(labels.tolist(), boxes, strict=True)]


@pytest.mark.parametrize("peer", [by_toolkit, by_torchgeo])
def test_dota_as_others_read_it(tmp_path, peer):
    """A thousand files give the polygons and classes that others read."""
    files, damaged, _ = generated("dota")
    _, _, pattern, row = FORMATS["dota"]
    theirs = {}
    for stem, text in files.items():
        file = tmp_path / f"{stem}.txt"
        file.write_text(text if stem not in damaged else "")
        found = [(label, points.reshape(4, 2)) for label, points in peer(file)]
        theirs[stem] = sorted(
            rounded(label, (*points.min(axis=0), *points.max(axis=0))) for label, points in found
        )
    given = {**images_of(files), **{pattern.format(stem=stem): text for stem, text in files.items()}}
    compare(*read(tmp_path, given, reader="dota", labels=pattern, **row), damaged, theirs)
