"""Readers by format: each takes a source and yields its pictures with their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from irtd_datasets.annotations.boxes_csv import parse_boxes_csv
from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.label_file import LabelFile
from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.annotations.voc import parse_voc
from irtd_datasets.annotations.yolo import parse_yolo
from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from irtd_datasets.sources.source import Picture, Source

__all__ = ["READERS", "Reader"]

Reader = Callable[["Source"], Iterator[LabelledImage]]


def _labels_left(source: Source, used: set[str]) -> None:
    """Count the label files that belong to no picture."""
    labels, infrared = source.layout.labels, source.layout.infrared
    assert labels is not None  # asked for by readers of label files
    for name, fields in source.walk(labels):
        if infrared.fields <= labels.fields:
            lost = source.partner(infrared, fields) is None
        else:
            lost = name not in used
        if lost:
            source.problems.add("label-without-picture", name)


def _per_picture(
    source: Source, parse: Callable[[Source, Picture, str], LabelFile | None]
) -> Iterator[LabelledImage]:
    """Pictures that have a label file each."""
    layout = source.layout
    assert layout.labels is not None
    used: set[str] = set()
    remember = not layout.infrared.fields <= layout.labels.fields
    for picture in source.pictures():
        label = source.partner(layout.labels, picture.fields)
        if label is None:
            yield from source.unlabelled(picture)
            continue
        if remember:
            used.add(label)
        found = parse(source, picture, label)
        if found is None:
            yield from source.unlabelled(picture)
            continue
        visible = source.partner(layout.visible_labels, picture.fields)
        visible_found = parse(source, picture, visible) if visible else None
        yield from source.build(picture, found, label, visible_found)
    _labels_left(source, used)


def _voc(source: Source, _: Picture, label: str) -> LabelFile | None:
    return source.read_labels(label, parse_voc)


def _yolo(source: Source, picture: Picture, label: str) -> LabelFile | None:
    size = source.size(picture.name)
    if size is None:
        return None
    return source.read_labels(label, partial(parse_yolo, width=size[0], height=size[1]))


def _collection(
    source: Source, parse: Callable[[Source, str], Iterator[LabelFile]]
) -> Iterator[LabelledImage]:
    """Pictures whose labels stand in common files."""
    from irtd_datasets.sources.source import Picture

    layout = source.layout
    assert layout.labels is not None
    index = _Index(source)
    used: set[str] = set()
    for label, fields in source.walk(layout.labels):
        try:
            for found in parse(source, label):
                if not found.image:
                    for problem in found.problems:
                        source.problems.add(problem.code, label, problem.detail)
                    continue
                names = index.find(found.image, fields)
                if len(names) != 1:
                    code = "label-ambiguous" if names else "label-without-picture"
                    source.problems.add(code, label, found.image)
                    continue
                name = names[0]
                used.add(name)
                own = {**fields, **(layout.infrared.match(name) or {})}
                splits = source.splits_of(name, own)
                yield from source.build(Picture(name, own, splits), found, label)
        except AnnotationError as error:
            source.problems.add("label-unreadable", label, error.problem)
    for picture in source.pictures():
        if picture.name not in used:
            yield from source.unlabelled(picture)


class _Index:
    """Pictures of a source by their stem."""

    def __init__(self, source: Source) -> None:
        self._names: dict[str, list[tuple[str, dict[str, str]]]] = {}
        for name, fields in source.walk(source.layout.infrared):
            self._names.setdefault(fields.get("stem", name).lower(), []).append((name, fields))

    def find(self, written: str, fields: dict[str, str]) -> list[str]:
        """Names that fit what a label file of these fields writes: a foreign path, without extension or with another."""
        parts = written.replace("\\", "/").lower().split("/")
        stems = [parts[-1], parts[-1].rsplit(".", 1)[0]]
        candidates = next((self._names[stem] for stem in reversed(stems) if stem in self._names), [])
        candidates = [
            (name, own)
            for name, own in candidates
            if all(own.get(key, value) == value for key, value in fields.items() if key != "stem")
        ]
        if len(candidates) > 1:  # the folders that the label file writes may tell them apart
            for depth in range(1, len(parts)):
                above = parts[-1 - depth : -1]
                fitting = [c for c in candidates if c[0].lower().split("/")[-1 - depth : -1] == above]
                if len(fitting) == 1:
                    candidates = fitting
                    break
        return [name for name, _ in candidates]


def _coco(source: Source, label: str) -> Iterator[LabelFile]:
    with source.container.open(source._full(label)) as file:  # noqa: SLF001
        yield from parse_coco(file, label)


def _boxes_csv(source: Source, label: str) -> Iterator[LabelFile]:
    yield from parse_boxes_csv(source.read(label), label)


READERS: dict[str, Reader] = {
    "voc": partial(_per_picture, parse=_voc),
    "yolo": partial(_per_picture, parse=_yolo),
    "coco": partial(_collection, parse=_coco),
    "boxes-csv": partial(_collection, parse=_boxes_csv),
}
"""Readers by the name that the table of sources uses."""
