"""Boxes written for detectors are what other readers, and our own, read back."""

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from irtd_datasets.cli.app import app
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.sources import SourceOptions, open_source, read_table
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training.detection import LAYOUTS, _is_upright, _one_word, export_detection

PATTERNS = {
    "coco": ("images/train/{stem}.*", "annotations/instances_train.json", "coco", ""),
    "yolo": ("images/train/{stem}.*", "labels/train/{stem}.txt", "yolo", "@classes.txt"),
    "yolo-obb": ("images/train/{stem}.*", "labels/train/{stem}.txt", "yolo", "@classes.txt"),
    "voc": ("JPEGImages/{stem}.*", "Annotations/{stem}.xml", "voc", ""),
    "dota": ("train/images/{stem}.*", "train/labelTxt/{stem}.txt", "dota", ""),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """MMRS-1M's detection with upright and oriented boxes."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    place = tmp_path_factory.mktemp("detection")
    sample = write_sample_release("mmrs_1m", place / "release")
    build("mmrs_1m", ["detection"], absolute_options(sample.folder), place / "mmrs_1m")
    return place / "mmrs_1m"


@pytest.fixture(scope="module", params=LAYOUTS)
def exported(request, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "det"
    return export_detection(folder, "detection", out, request.param)


def expected(folder, layout):
    """Objects of each image in the folder, by the start of its digest: label, whether oriented, corners."""
    import hashlib

    images = {}
    for file in sorted(folder.rglob("*-of-*.parquet")):
        for row in pq.ParquetFile(file).read().to_pylist():
            objects = row["objects"]
            boxes = objects["box"] or [None] * len(objects["label"])
            polygons = objects["polygon"] or [None] * len(objects["label"])
            mine = images.setdefault(hashlib.sha256(row["image"]["bytes"]).hexdigest()[:32], set())
            for label, box, polygon in zip(objects["label"], boxes, polygons, strict=True):
                upright = layout in {"yolo", "voc"}
                if polygon and _is_upright(polygon):
                    box, polygon = box_of(polygon), None  # noqa: PLW2901
                if upright and not box:
                    continue
                corners = polygon or (*box[:2], box[2], box[1], box[2], box[3], box[0], box[3])
                size = row["width"], row["height"]
                cut = [min(max(value, 0), size[at % 2]) for at, value in enumerate(corners)]
                if max(cut[::2]) > min(cut[::2]) and max(cut[1::2]) > min(cut[1::2]):
                    kept = tuple(corners) if layout == "dota" else tuple(cut)
                    mine.add((label, bool(polygon), tuple(np.round(kept, 3).tolist())))
    return {stem: objects for stem, objects in images.items() if objects}


def box_of(corners):
    return min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])


def test_our_own_readers_read_the_same_objects(folder, exported, tmp_path):
    """Every image with every object, no more and no less, in every layout."""
    layout = exported.layout
    image, labels, reader, classes = PATTERNS[layout]
    table = tmp_path / "table.csv"
    table.write_text(
        f"name,reader,infrared,labels,classes\nset,{reader},{image},{labels},{classes}\n", encoding="utf-8"
    )
    source = open_source(
        "set", exported.out, table=read_table(table), options=SourceOptions(check_images=False)
    )
    found = {}
    for one in source.images():
        found[Path(one.image).stem] = {
            (
                item.label,
                tuple(np.round(item.polygon or item.box, 3).tolist()),
            )
            for item in one.objects
        }
    wanted = {}
    for stem, objects in expected(folder, layout).items():
        as_polygons = layout in {"yolo-obb", "dota"}
        wanted[stem] = {
            (
                _one_word(label) if layout == "dota" else label,
                corners if as_polygons or oriented else box_of(corners),
            )
            for label, oriented, corners in objects
        }
    assert found.keys() == wanted.keys()
    for stem, objects in wanted.items():
        assert len(found[stem]) == len(objects)
        for label, place in objects:
            assert any(
                label == other and np.allclose(place, where, atol=0.01)
                for other, where in found[stem]
                if len(where) == len(place)
            ), (stem, label, place, found[stem])
    assert sum(map(len, wanted.values())) == exported.objects.total()
    assert exported.images.total() == len(wanted)


def test_images_are_the_bytes_of_the_rows(folder, exported):
    """Every image stands once, byte for byte."""
    import hashlib

    files = [file for file in exported.out.rglob("*.*") if file.suffix in {".jpg", ".png", ".tif", ".bmp"}]
    assert len(files) == exported.images.total()
    assert all(hashlib.sha256(file.read_bytes()).hexdigest()[:32] == file.stem for file in files)


def test_what_a_layout_cannot_hold_is_counted(exported):
    """Oriented boxes in layouts of upright ones; nothing else is lost in silence."""
    assert (exported.left_out["oriented"] > 0) == (exported.layout in {"yolo", "voc"})
    assert json.loads((exported.out / "export.json").read_text())["left_out"] == dict(exported.left_out)
    assert exported.classes == sorted(exported.classes)
    assert len((exported.out / "classes.txt").read_text().splitlines()) == len(exported.classes)


def test_pycocotools_reads_coco(exported):
    """The reference reader of COCO finds the same images, classes and objects."""
    if exported.layout != "coco":
        return
    coco_api = pytest.importorskip("pycocotools.coco")
    found = coco_api.COCO(str(exported.out / "annotations" / "instances_train.json"))
    assert len(found.imgs) == exported.images.total()
    assert len(found.anns) == exported.objects.total()
    assert [one["name"] for one in found.loadCats(found.getCatIds())] == exported.classes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert all(found.annToMask(entry).any() for entry in found.anns.values() if entry["segmentation"])
    assert all(
        (exported.out / "images" / "train" / one["file_name"]).is_file() for one in found.imgs.values()
    )


def test_supervision_reads_coco_yolo_and_voc(exported):
    """A library that detectors are trained with counts the same objects of the same classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        supervision = pytest.importorskip("supervision")
    out = exported.out
    load = {
        "coco": lambda: supervision.DetectionDataset.from_coco(
            str(out / "images/train"), str(out / "annotations/instances_train.json")
        ),
        "yolo": lambda: supervision.DetectionDataset.from_yolo(
            str(out / "images/train"), str(out / "labels/train"), str(out / "data.yaml")
        ),
        "yolo-obb": lambda: supervision.DetectionDataset.from_yolo(
            str(out / "images/train"), str(out / "labels/train"), str(out / "data.yaml"), is_obb=True
        ),
        "voc": lambda: supervision.DetectionDataset.from_pascal_voc(
            str(out / "JPEGImages"), str(out / "Annotations")
        ),
    }.get(exported.layout)
    if load is None:
        return
    found = load()
    assert sum(len(detections) for detections in found.annotations.values()) == exported.objects.total()
    if exported.layout != "voc":  # which orders classes as they come
        assert list(found.classes) == exported.classes


def test_ultralytics_reads_yolo(exported):
    """The program that the layout is of finds every label whole."""
    if not exported.layout.startswith("yolo"):
        return
    utils = pytest.importorskip("ultralytics.data.utils", reason="ultralytics is not installed")
    data = utils.check_det_dataset(str(exported.out / "data.yaml"), autodownload=False)
    assert data["nc"] == len(exported.classes)
    total = 0
    for image in sorted((exported.out / "images/train").iterdir()):
        label = exported.out / "labels/train" / f"{image.stem}.txt"
        _, lb, _, segments, _, missing, found, empty, corrupt, message = utils.verify_image_label(
            (str(image), str(label), "", False, data["nc"], 0, 0, False)
        )
        assert (missing, found, empty, corrupt) == (0, 1, 0, 0), message
        total += len(segments) or len(lb)
    assert total == exported.objects.total()


def test_a_config_without_boxes_is_refused_with_words(built, tmp_path):
    """Points are no boxes; and a misspelt layout is told the right one."""
    with pytest.raises(UnknownNameError, match="points have no extent"):
        export_detection(built, "instruct-location", tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UnknownNameError, match="Did you mean 'yolo-obb'"):
        export_detection(built, "instruct-grounding", tmp_path / "out", "yolo_obb")


def test_the_command_needs_no_model(folder, tmp_path):
    """`irtd export FOLDER CONFIG --layout coco` as the documentation writes it; a layout of texts asks for --to."""
    line = ["export", str(folder), "detection", "--layout", "voc", "--out", str(tmp_path / "det")]
    ran = CliRunner().invoke(app, line)
    assert ran.exit_code == 0, ran.output
    assert "an oriented box, in a layout of upright ones" in ran.output
    ran = CliRunner().invoke(app, [*line[:4], "jsonl", "--out", str(tmp_path / "x")])
    assert isinstance(ran.exception, UnknownNameError)
    assert "--to llava|" in ran.exception.remedy
