"""Exports of boxes and oriented boxes for detectors: COCO, YOLO, YOLO with oriented boxes, Pascal VOC, DOTA.

An image that several rows show is written once, with the objects of all of them. Numbers are pixels from 0, or shares
of the image's size where the layout has those; what a layout cannot hold is left out and counted, never bent.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import yaml

from irtd_datasets.annotations.label_file import enclosing
from irtd_datasets.display import one_line
from irtd_datasets.errors import AnnotationError, UnknownNameError, did_you_mean
from irtd_datasets.folder.row_groups import config_files, read_groups
from irtd_datasets.schema import TASKS
from irtd_datasets.training.export import clear, staged, write_json
from irtd_datasets.training.files import ImageFiles

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["LAYOUTS", "LEFT_OUT", "DetectionReport", "export_detection"]

LAYOUTS: dict[str, str] = {
    "coco": "`annotations/instances_SPLIT.json` and `images/SPLIT`; an oriented box is an outline in the box "
    "around it",
    "yolo": "`data.yaml`, `images/SPLIT` and `labels/SPLIT`, as Ultralytics trains on; upright boxes only",
    "yolo-obb": "the same with four corners a line; an upright box is its four corners",
    "voc": "`JPEGImages`, `Annotations` and `ImageSets/Main`, corners counted from 0; upright boxes only",
    "dota": "`SPLIT/images` and `SPLIT/labelTxt`; an upright box is its four corners",
}
"""Layouts of boxes, and what each is."""

LEFT_OUT: dict[str, str] = {
    "point": "points have no extent, and no layout of boxes holds them",
    "oriented": "an oriented box, in a layout of upright ones: yolo-obb, dota and coco hold it",
    "outside": "nothing of it is inside the image",
    "repeated": "another row names the same object of the same image",
}
"""Why an object is not written."""

_UPRIGHT, _ORIENTED = 0, 1
_COLUMNS = ("id", "task", "image", "objects", "width", "height", "bit_depth")
_SPLITS = {"validation": "val"}  # as Ultralytics and COCO call it
_MANY_CLASSES = 200
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(slots=True)
class DetectionReport:
    """What became of every image and object.

    Attributes:
        out: The folder.
        layout: One of `LAYOUTS`.
        images: Images written, by split.
        objects: Objects written, by kind: ``upright`` and ``oriented``.
        classes: Names of classes in their order, as the dataset has them.
        written: The names as the layout has them, where it cannot hold them as they are.
        left_out: Objects not written, by reason; see `LEFT_OUT`.
        empty_images: Images not written, because none of their objects is: they would pass for images without objects.
        without_image: Rows without an image.
        clipped: Objects that reached over the edge of their image and were cut there, as the layout asks for.
        deep_images: Images of more than 8 bits a channel.
        notes: What else has to be told.
    """

    out: Path
    layout: str
    images: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    classes: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    empty_images: int = 0
    without_image: int = 0
    clipped: int = 0
    deep_images: int = 0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "out": str(self.out),
            "layout": self.layout,
            "images": dict(self.images),
            "objects": dict(self.objects),
            "classes": self.classes,
            "written_as": self.written,
            "left_out": dict(self.left_out),
            "empty_images": self.empty_images,
            "without_image": self.without_image,
            "clipped": self.clipped,
            "deep_images": self.deep_images,
            "notes": self.notes,
        }


@dataclass(slots=True)
class _Image:
    split: str
    file: str
    width: int
    height: int


class _Objects:
    """Objects of all images, 45 bytes each: they are written image by image when all rows are read."""

    def __init__(self) -> None:
        self.image, self.label, self.kind, self.corners = array("l"), array("l"), array("b"), array("d")
        self.labels: dict[str, int] = {}

    def add(self, image: int, label: str, kind: int, corners: Sequence[float]) -> None:
        """Keep an object with four corners as eight numbers."""
        self.image.append(image)
        self.label.append(self.labels.setdefault(label, len(self.labels)))
        self.kind.append(kind)
        self.corners.extend(corners)

    def by_image(self, images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the objects with those of one image together, and where those of each image begin."""
        image = np.array(self.image, np.int64)
        order = np.argsort(image, kind="stable")
        return order, np.searchsorted(image[order], np.arange(images + 1))


def export_detection(
    folder: str | os.PathLike[str],
    config: str | None,
    out: str | os.PathLike[str],
    layout: str,
    *,
    splits: Sequence[str] | None = None,
) -> DetectionReport:
    """Write the boxes of a config for a detector.

    Args:
        folder: A dataset folder.
        config: Its config; None takes the default one.
        out: The folder to make; new or empty. It appears when it is complete.
        layout: One of `LAYOUTS`.
        splits: Splits to export; None takes all of the config.

    Raises:
        ReleaseNotFoundError: There is no dataset folder, or files are missing.
        UnknownNameError: There is no such layout, config or split; or the config has no object that can be written.
        AnnotationError: A file is damaged or has other columns.
        BuildError: The output cannot be written.
    """
    if layout not in LAYOUTS:
        raise UnknownNameError(
            f"there is no layout {layout!r}",
            remedy=f"{did_you_mean(layout, LAYOUTS)}The layouts are {', '.join(LAYOUTS)}.",
        )
    files = config_files(folder, config)
    for split in splits or ():
        if split not in files:
            raise UnknownNameError(
                f"there is no split {split!r}",
                remedy=f"{did_you_mean(split, files)}The splits are {', '.join(files)}.",
            )
    chosen = {split: paths for split, paths in files.items() if splits is None or split in splits}
    place = Path(out)
    with staged(place) as staging:
        clear(staging, keep=False)
        return _Export(staging, DetectionReport(place.absolute(), layout)).run(chosen, str(folder))


class _Export:
    def __init__(self, folder: Path, report: DetectionReport) -> None:
        self._folder = folder
        self._report = report
        self._images: list[_Image] = []
        self._left: set[tuple[str, str]] = set()  # split and digest of images of which a row gave nothing
        self._objects = _Objects()
        self._known: dict[tuple[str, str], int] = {}
        self._seen: set[tuple[Any, ...]] = set()
        self._tasks: set[str] = set()

    def run(self, splits: Mapping[str, Sequence[Path]], where: str) -> DetectionReport:
        """Read all rows, and write."""
        report = self._report
        files = ImageFiles(self._folder)
        try:
            for split, paths in splits.items():
                for _, table in read_groups(paths, _COLUMNS):
                    for batch in table.to_batches(max_chunksize=16):
                        for row in batch.to_pylist():
                            self._add(row, split, files)
        finally:
            files.close()
        if not self._objects.image:
            told = ", ".join(f"{LEFT_OUT[reason]} ({count:,})" for reason, count in report.left_out.items())
            raise UnknownNameError(
                f"no object of this config can be written as {report.layout}"
                + (f": {told}" if told else ": its rows have no boxes"),
                where=where,
                remedy="`irtd stats FOLDER` shows which tasks have boxes.",
            )
        self._name_classes()
        self._finish()
        report.notes += self._notes()
        write_json(self._folder / "export.json", {**report.as_dict(), "out": "."})
        return report

    def _add(self, row: Mapping[str, Any], split: str, files: ImageFiles) -> None:
        image, report = row["image"], self._report
        if image is None or image["bytes"] is None:
            report.without_image += 1
            return
        if not row["width"] or not row["height"]:
            raise AnnotationError(
                "the row does not say the size of its image", where=f"row {row['id']!r:.200}"
            )
        name = _SPLITS.get(split, split)
        kept = list(self._kept(row))
        if not kept:
            self._left.add((name, hashlib.sha256(image["bytes"]).hexdigest()[:32]))
            return
        file = files.add(image["bytes"], image["path"], _image_folder(report.layout, name))
        number = self._known.setdefault((name, file), len(self._images))
        if number == len(self._images):
            self._images.append(_Image(name, file, row["width"], row["height"]))
            report.images[split] += 1
            report.deep_images += (row["bit_depth"] or 8) > 8
        if isinstance(row["task"], int) and row["task"] < len(TASKS):
            self._tasks.add(TASKS[row["task"]])
        for label, kind, corners in kept:
            key = (number, label, kind, *corners)
            if key in self._seen:
                report.left_out["repeated"] += 1
                continue
            self._seen.add(key)
            self._objects.add(number, label, kind, corners)
            report.objects["oriented" if kind else "upright"] += 1

    def _kept(self, row: Mapping[str, Any]) -> Iterator[tuple[str, int, tuple[float, ...]]]:
        """Label, kind and corners of the objects of a row that the layout holds."""
        objects, report, layout = row["objects"] or {}, self._report, self._report.layout
        labels = objects.get("label") or []
        boxes, polygons, points = (
            objects.get(name) or [None] * len(labels) for name in ("box", "polygon", "point")
        )
        for label, box, polygon, point in zip(labels, boxes, polygons, points, strict=False):
            name = one_line(label).strip() if label else ""
            upright = layout in {"yolo", "voc"}
            if polygon and _is_upright(polygon):
                box, polygon = enclosing(polygon), None  # noqa: PLW2901 - it is one
            if polygon and not (upright and box):
                if upright:
                    report.left_out["oriented"] += 1
                    continue
                kind, corners = _ORIENTED, tuple(polygon)
            elif box:
                kind, corners = _UPRIGHT, _corners(box)
            else:
                report.left_out["point"] += bool(point)
                continue
            inside = _clipped(corners, row["width"], row["height"])
            if inside is None:
                report.left_out["outside"] += 1
                continue
            if inside != corners and layout != "dota":  # whose boxes may leave the image
                report.clipped += 1
                corners = inside
            yield name or "object", kind, corners

    def _name_classes(self) -> None:
        """Put the classes into order, and find the names that the layout holds."""
        report = self._report
        report.classes = sorted(self._objects.labels)
        place = {name: number for number, name in enumerate(report.classes)}
        numbers = np.array([place[name] for name in self._objects.labels], np.int64)
        self._labels = numbers[np.array(self._objects.label, np.int64)]
        taken: set[str] = set()
        for name in report.classes:
            written = _WRITTEN.get(report.layout, _any)(name)
            while written in taken:
                written += "_"
            taken.add(written)
            if written != name:
                report.written[name] = written

    def _finish(self) -> None:
        """Write the labels, image by image, and what names the splits and classes."""
        layout = self._report.layout
        names = [self._report.written.get(name, name) for name in self._report.classes]
        order, starts = self._objects.by_image(len(self._images))
        corners = np.array(self._objects.corners, np.float64).reshape(-1, 8)
        kinds = np.array(self._objects.kind, np.int8)

        def each() -> Iterator[tuple[_Image, list[tuple[int, int, list[float]]]]]:
            for number, image in enumerate(self._images):
                mine = order[starts[number] : starts[number + 1]]
                yield image, [(int(self._labels[at]), int(kinds[at]), corners[at].tolist()) for at in mine]

        _WRITERS[layout](self._folder, names, each)
        (self._folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        self._report.empty_images = len(
            self._left - {(image.split, Path(image.file).stem) for image in self._images}
        )

    def _notes(self) -> Iterator[str]:
        report = self._report
        if self._tasks - {"detection"}:
            yield (
                f"rows of {', '.join(sorted(self._tasks - {'detection'}))} name the objects of their text, not every "
                "object of the image"
            )
        if len(report.classes) > _MANY_CLASSES:
            yield f"{len(report.classes):,} classes: their names are phrases of texts more than classes"
        if report.layout.startswith("yolo"):
            missing = [
                name for name in ("train", "val") if name not in {image.split for image in self._images}
            ]
            for name in missing:
                yield f"there is no {name} split, so that data.yaml names another for it; `irtd split` makes one"


def _image_folder(layout: str, split: str) -> str:
    return {"voc": "JPEGImages", "dota": f"{split}/images"}.get(layout, f"images/{split}")


def _corners(box: Sequence[float]) -> tuple[float, ...]:
    x_min, y_min, x_max, y_max = box
    return x_min, y_min, x_max, y_min, x_max, y_max, x_min, y_max


def _is_upright(polygon: Sequence[float]) -> bool:
    """Whether four corners are those of an upright box, from whichever they begin and whichever way they go."""
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    corners = _corners(enclosing(polygon))
    around = list(zip(corners[::2], corners[1::2], strict=True))
    turned = [[*way[at:], *way[:at]] for way in (around, around[::-1]) for at in range(4)]
    return points in turned


def _clipped(corners: tuple[float, ...], width: int, height: int) -> tuple[float, ...] | None:
    """The corners moved into the image; None where nothing is left."""
    moved = tuple(
        min(max(value, 0.0), float(height if at % 2 else width)) for at, value in enumerate(corners)
    )
    x_min, y_min, x_max, y_max = enclosing(moved)
    return moved if x_min < x_max and y_min < y_max else None


def _any(name: str) -> str:
    return name


def _xml_name(name: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", name)


def _one_word(name: str) -> str:
    """A name that stands in a line of DOTA: one word that is no number."""
    word = re.sub(r"[\s,]+", "-", name)
    return word if word[:1].isalpha() else f"class-{word}"


_WRITTEN: dict[str, Callable[[str], str]] = {"voc": _xml_name, "dota": _one_word}


def _number(value: float) -> str:
    """The shortest decimal that is the same 32-bit number, as the rows have it."""
    return np.format_float_positional(np.float32(value), trim="-")


def _coco(folder: Path, names: Sequence[str], each: Any) -> None:  # noqa: ANN401 - images with their objects
    """One file for each split, written image by image."""
    (folder / "annotations").mkdir()
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(names, 1)]
    for split in dict.fromkeys(image.split for image, _ in each()):
        path = folder / "annotations" / f"instances_{split}.json"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            head = {
                "info": {"description": "exported by irtd-datasets"},
                "licenses": [],
                "categories": categories,
            }
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"images": [')
            mine = ((number, image, objects) for number, (image, objects) in enumerate(each(), 1))
            for at, (number, image, _) in enumerate(one for one in mine if one[1].split == split):
                entry = {
                    "id": number,
                    "file_name": image.file.rpartition("/")[2],
                    "width": image.width,
                    "height": image.height,
                }
                file.write(("," if at else "") + "\n" + json.dumps(entry))
            file.write('\n],\n"annotations": [')
            identity = 0
            for number, (image, objects) in enumerate(each(), 1):
                for label, kind, corners in objects if image.split == split else ():
                    identity += 1
                    file.write(
                        ("," if identity > 1 else "")
                        + "\n"
                        + _coco_object(identity, number, label, kind, corners)
                    )
            file.write("\n]}\n")


def _coco_object(identity: int, image: int, label: int, kind: int, corners: list[float]) -> str:
    x_min, y_min, x_max, y_max = enclosing(corners)
    xs, ys = np.array(corners[::2]), np.array(corners[1::2])
    area = abs(float(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1)))) / 2
    entry = {
        "id": identity,
        "image_id": image,
        "category_id": label + 1,
        "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
        "area": area,
        "iscrowd": 0,
        "segmentation": [corners] if kind == _ORIENTED else [],
    }
    return json.dumps(entry)


def _yolo(folder: Path, names: Sequence[str], each: Any, *, oriented: bool = False) -> None:  # noqa: ANN401
    for image, objects in each():
        path = folder / "labels" / image.split / f"{Path(image.file).stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = np.array([image.width, image.height] * 4, np.float64)
        lines = []
        for label, _, corners in objects:
            shares = np.array(corners) / size
            if not oriented:
                low, high = shares[:2], shares[4:6]
                shares = np.concatenate([(low + high) / 2, high - low])
            lines.append(" ".join([str(label), *(f"{value:.12g}" for value in shares)]) + "\n")
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    splits = dict.fromkeys(image.split for image, _ in each())
    first = next(iter(splits))
    entries = {name: f"images/{name if name in splits else first}" for name in ("train", "val")}
    entries.update({name: f"images/{name}" for name in splits})
    document = {**entries, "nc": len(names), "names": dict(enumerate(names))}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8", newline="\n")


def _yolo_oriented(folder: Path, names: Sequence[str], each: Any) -> None:  # noqa: ANN401
    _yolo(folder, names, each, oriented=True)


def _voc(folder: Path, names: Sequence[str], each: Any) -> None:  # noqa: ANN401
    (folder / "Annotations").mkdir()
    lists: dict[str, list[str]] = {}
    for image, objects in each():
        stem = Path(image.file).stem
        root = ET.Element("annotation")
        ET.SubElement(root, "folder").text = "JPEGImages"
        ET.SubElement(root, "filename").text = Path(image.file).name
        size = ET.SubElement(root, "size")
        for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
            ET.SubElement(size, name).text = str(value)
        ET.SubElement(root, "segmented").text = "0"
        for label, _, corners in objects:
            entry = ET.SubElement(root, "object")
            for name, text in (
                ("name", names[label]),
                ("pose", "Unspecified"),
                ("truncated", "0"),
                ("difficult", "0"),
            ):
                ET.SubElement(entry, name).text = text
            box = ET.SubElement(entry, "bndbox")
            for name, value in zip(("xmin", "ymin", "xmax", "ymax"), enclosing(corners), strict=True):
                ET.SubElement(box, name).text = _number(value)
        ET.indent(root)
        ET.ElementTree(root).write(folder / "Annotations" / f"{stem}.xml", encoding="utf-8")
        lists.setdefault(image.split, []).append(stem)
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for split, stems in lists.items():
        (main / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _dota(folder: Path, names: Sequence[str], each: Any) -> None:  # noqa: ANN401
    for image, objects in each():
        path = folder / image.split / "labelTxt" / f"{Path(image.file).stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            " ".join([*(_number(value) for value in corners), names[label], "0"]) + "\n"
            for label, _, corners in objects
        ]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")


_WRITERS: dict[str, Callable[[Path, Sequence[str], Any], None]] = {
    "coco": _coco,
    "yolo": _yolo,
    "yolo-obb": _yolo_oriented,
    "voc": _voc,
    "dota": _dota,
}
