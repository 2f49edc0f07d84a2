"""Readers by format: each takes a source and yields its pictures with their labels."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from irtd_datasets.annotations.boxes_csv import parse_boxes_csv
from irtd_datasets.annotations.captions import parse_caption_lists, parse_captions
from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.dota import parse_dota, parse_vedai
from irtd_datasets.annotations.kaist import parse_bbgt
from irtd_datasets.annotations.label_file import LabelFile, decode_text
from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.annotations.points import parse_points
from irtd_datasets.annotations.tracks import frames_of_lines, parse_track
from irtd_datasets.annotations.voc import parse_voc
from irtd_datasets.annotations.vqa import (
    parse_question_lines,
    parse_question_records,
    parse_rsvqa,
    unwrap_javascript,
)
from irtd_datasets.annotations.yolo import parse_yolo
from irtd_datasets.errors import AnnotationError, ImageError

if TYPE_CHECKING:
    from irtd_datasets.sources.source import Picture, Source

__all__ = ["READERS", "READER_DOCS", "Reader"]

Reader = Callable[["Source"], Iterator[LabelledImage]]
_Parse = Callable[["Source", "Picture", str], "LabelFile | None"]
_Collect = Callable[["Source", str], Iterator[LabelFile]]

# ------------------------------------------------------------------------------------------------------------
# A label file for each picture.


def _per_picture(source: Source, parse: _Parse) -> Iterator[LabelledImage]:
    layout = source.layout
    assert layout.labels is not None  # checked when the table is read
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
    for name, fields in source.walk(layout.labels):
        lost = name not in used if remember else source.partner(layout.infrared, fields) is None
        if lost:
            source.problems.add("label-without-picture", name)


def _with(parse: Callable[[bytes, str], LabelFile]) -> Reader:
    def read(source: Source, _: Picture, label: str) -> LabelFile | None:
        return source.read_labels(label, parse)

    return partial(_per_picture, parse=read)


def _voc(source: Source, _: Picture, label: str) -> LabelFile | None:
    found = source.read_labels(label, parse_voc)
    if found is not None and source.layout.options.get("one-based"):
        # PASCAL VOC proper: pixels count from 1, and xmax is the last one inside.
        found.objects = [
            replace(item, box=(item.box[0] - 1, item.box[1] - 1, *item.box[2:])) if item.box else item
            for item in found.objects
        ]
    return found


def _yolo(source: Source, picture: Picture, label: str) -> LabelFile | None:
    size = source.size(picture.name)
    if size is None:
        return None
    return source.read_labels(label, partial(parse_yolo, width=size[0], height=size[1]))


def _coco_each(data: bytes, name: str) -> LabelFile:
    """The only picture of a COCO file; the old form of FLIR ADAS v1 has such files."""
    return next(parse_coco(data, name), LabelFile())


def _mask(source: Source, picture: Picture, label: str) -> LabelFile | None:
    import numpy as np
    from PIL import Image

    from irtd_datasets.annotations.masks import regions
    from irtd_datasets.images.files import inspect_image

    data = source.read(label)
    try:
        info = inspect_image(data, label)
        with Image.open(io.BytesIO(data)) as image:
            by_value = source.layout.options.get("by-value") == "yes"
            grey = image if by_value and image.mode in {"L", "P", "I;16", "I"} else image.convert("L")
            mask = np.asarray(grey)
    except (ImageError, OSError) as error:
        source.problems.add("label-unreadable", label, str(getattr(error, "problem", error)))
        return None
    size = source.size(picture.name)
    if size is None:
        return None
    if (info.width, info.height) != size[:2]:
        source.problems.add(
            "mask-size-differs", label, f"{info.width}x{info.height}, its picture {size[0]}x{size[1]}"
        )
        return None
    if not by_value and mask.size:
        # Resized masks have grey rims; a mask of 0 and 1 has none.
        mask = mask > (127 if int(mask.max()) > 1 else 0)
    smallest = int(source.layout.options.get("smallest", "1"))
    flags = frozenset({"region"}) if by_value else frozenset()
    objects = [
        LabelledObject(str(region.value) if by_value else "", region.box, attributes=flags)
        for region in regions(mask, by_value=by_value, smallest=smallest)
    ]
    return LabelFile(objects, width=size[0], height=size[1])


# ------------------------------------------------------------------------------------------------------------
# Label files for many pictures.


def _collection(source: Source, parse: _Collect) -> Iterator[LabelledImage]:
    from irtd_datasets.sources.source import Picture

    layout = source.layout
    assert layout.labels is not None
    index = _Index(source)
    used: set[str] = set()
    for label, fields in source.walk(layout.labels):
        try:
            for found in parse(source, label):
                name = _named(source, index, found, label, fields)
                if name is None:
                    continue
                if name in used:
                    source.problems.add("picture-listed-twice", label, found.image)
                used.add(name)
                own = {**fields, **(layout.infrared.match(name) or {})}
                splits = source.splits_of(name, own)
                if found.split is not None:
                    splits = (source.split_named(found.split, name),)
                yield from source.build(Picture(name, own, splits), found, label)
        except AnnotationError as error:
            source.problems.add("label-unreadable", label, error.problem)
    for picture in source.pictures():
        if picture.name not in used:
            yield from source.unlabelled(picture)


def _named(source: Source, index: _Index, found: LabelFile, label: str, fields: dict[str, str]) -> str | None:
    """The picture that labels belong to; None, and counted, where there is none or several."""
    if not found.image:
        for problem in found.problems:
            source.problems.add(problem.code, label, problem.detail)
        return None
    names = index.find(found.image, fields)
    if len(names) == 1:
        return names[0]
    source.problems.add("label-ambiguous" if names else "label-without-picture", label, found.image)
    return None


class _Index:
    """Pictures of a source by their stem."""

    def __init__(self, source: Source) -> None:
        self._names: dict[str, list[tuple[str, dict[str, str]]]] = {}
        for name, fields in source.walk(source.layout.infrared):
            stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
            self._names.setdefault(stem.lower(), []).append((name, fields))
            inner = fields.get("stem", stem)
            if inner != stem:
                self._names.setdefault(inner.lower(), []).append((name, fields))

    def find(self, written: str, fields: dict[str, str]) -> list[str]:
        """Names that fit what a label file writes: a foreign path, without an extension or with another one."""
        parts = written.replace("\\", "/").lower().split("/")
        stems = [parts[-1].rsplit(".", 1)[0], parts[-1]]
        candidates = next((self._names[stem] for stem in stems if stem in self._names), [])
        candidates = [
            (name, own)
            for name, own in candidates
            if all(own.get(key, value) == value for key, value in fields.items() if key != "stem")
        ]
        if len(candidates) > 1:  # the folders that the label file writes may tell them apart
            for depth in range(2, len(parts) + 1):
                above = parts[-depth:-1]
                fitting = [pair for pair in candidates if pair[0].lower().split("/")[-depth:-1] == above]
                if len(fitting) == 1:
                    candidates = fitting
                    break
        return [name for name, _ in candidates]


def _coco(source: Source, label: str) -> Iterator[LabelFile]:
    with source.open(label) as file:
        yield from parse_coco(file, label)


def _boxes_csv(source: Source, label: str) -> Iterator[LabelFile]:
    yield from parse_boxes_csv(source.read(label), label)


def _captions(source: Source, label: str) -> Iterator[LabelFile]:
    with source.open(label) as file:
        yield from parse_captions(file, label)


def _caption_lists(source: Source, label: str) -> Iterator[LabelFile]:
    names = source.find(re.sub(r"_caps(?=\.txt$)", "_filename", label))
    if names is None:
        source.problems.add("label-unreadable", label, "no list of file names beside it")
        return
    pictures, texts = decode_text(source.read(names), names), decode_text(source.read(label), label)
    yield from parse_caption_lists(pictures, texts, label)


def _rsvqa(source: Source, label: str) -> Iterator[LabelFile]:
    files = []
    for kind in ("images", "questions", "answers"):
        name = source.find(label.replace("images", kind))
        if name is None:
            source.problems.add("label-unreadable", label, f"no file of {kind} beside it")
            return
        files.append(unwrap_javascript(source.read(name), name))
    yield from parse_rsvqa(*files, name=label)


def _question_records(source: Source, label: str) -> Iterator[LabelFile]:
    with source.open(label) as file:
        yield from parse_question_records(file, label)


def _question_lines(source: Source, label: str) -> Iterator[LabelFile]:
    yield from parse_question_lines(source.read(label), label)


# ------------------------------------------------------------------------------------------------------------
# Videos, folders, and what is odd.


def _tracks(source: Source) -> Iterator[LabelledImage]:
    layout, options = source.layout, source.layout.options
    assert layout.labels is not None
    every = int(options.get("every", "1"))
    parse = partial(parse_track, corners=options.get("corners") == "yes")
    used: set[str] = set()

    def lines_of(label: str | None) -> list[tuple[LabelledObject, ...]]:
        if label is None:
            return []
        used.add(label)
        try:
            lines, problems = parse(source.read(label), label)
        except AnnotationError as error:
            source.problems.add("label-unreadable", label, error.problem)
            return []
        if not lines:
            source.problems.add("label-empty", label)
        for problem in problems:
            source.problems.add(problem.code, label, problem.detail)
        return [
            () if box is None else (LabelledObject("", box, polygon, identity=sequence),)
            for box, polygon in lines
        ]

    for sequence, group in groupby(source.pictures(), lambda picture: layout.sequence_of(picture.fields)):
        pictures = list(group)
        label = source.partner(layout.labels, pictures[0].fields)
        lines = lines_of(label)
        visible_lines = lines_of(source.partner(layout.visible_labels, pictures[0].fields))
        stems = [picture.fields.get("stem", picture.name) for picture in pictures]
        partners = _by_place(source, pictures) if options.get("pair") == "place" else []
        lined = {place: line for place, _, line in frames_of_lines(stems, len(lines), every)} if lines else {}
        for place, picture in enumerate(pictures):
            line = lined.get(place)
            if line is None:
                # Between two lines of a file that labels every tenth frame nothing is missing.
                if every == 1 or not lines:
                    source.problems.add(
                        "frame-without-label" if lines else "picture-without-label", picture.name
                    )
                if source.options.unlabelled:
                    yield from source.build(picture, None, None, frame=place)
                continue
            more: dict[str, object] = {"visible": partners[place]} if partners else {}
            seen = visible_lines[line] if line < len(visible_lines) else ()
            visible_found = LabelFile(list(seen)) if visible_lines else None
            yield from source.build(picture, LabelFile(list(lines[line])), label, visible_found, frame=place)
        if lines and len(lined) < len(lines):
            source.problems.add(
                "label-without-picture", str(label), "lines without a frame", len(lines) - len(lined)
            )
    for name, _ in source.walk(layout.labels):
        if name not in used:
            source.problems.add("label-without-picture", name)


def _by_place(source: Source, pictures: list[Picture]) -> list[str | None]:
    """Visible partners of the frames of a video where the names differ: the first with the first, and so on."""
    pattern = source.layout.visible
    if pattern is None:
        return []
    found: list[str | None] = list(source.beside(pattern, pictures[0].fields))
    if len(found) != len(pictures):
        source.problems.add(
            "picture-without-pair",
            pictures[0].name,
            f"{len(found)} visible frames for {len(pictures)} infrared ones",
            len(pictures),
        )
        return [None] * len(pictures)
    return found


def _pictures(source: Source) -> Iterator[LabelledImage]:
    """Pictures whose names say all that is known of them."""
    for picture in source.pictures():
        yield from source.build(picture, None, None)


def _reid(source: Source) -> Iterator[LabelledImage]:
    """Crops of persons, the infrared ones and then the visible ones, which are no pairs."""
    from irtd_datasets.sources.source import Picture

    for picture in source.pictures():
        yield from source.build(picture, None, None, visible=None)
    if source.layout.visible is not None:
        for name, fields in source.walk(source.layout.visible):
            picture = Picture(name, fields, source.splits_of(name, fields))
            yield from source.build(picture, None, None, visible=None, modality="optical")


def _rsvg(source: Source) -> Iterator[LabelledImage]:
    """DIOR-RSVG: its split lists number the objects over all label files, so a picture may stand in several splits."""
    from irtd_datasets.sources.source import Picture

    layout = source.layout
    assert layout.labels is not None
    splits: dict[int, str] = {}
    for file, split in layout.splits.lists:
        listed = source.find(file)
        if listed is None:
            source.problems.add("split-list-missing", file)
            continue
        for word in decode_text(source.read(listed), listed).split():
            if word.isdecimal():
                splits[int(word)] = split
    number = 0
    for label, fields in source.walk(layout.labels):
        found = source.read_labels(label, parse_voc)
        if found is None:
            continue
        shares: dict[str | None, list[LabelledObject]] = {}
        for item in found.objects:
            shares.setdefault(splits.get(number), []).append(item)
            number += 1
        picture = source.partner(layout.infrared, fields)
        if picture is None:
            source.problems.add("label-without-picture", label)
            continue
        for share, objects in shares.items():
            part = LabelFile(objects, found.image, found.width, found.height, found.problems)
            yield from source.build(Picture(picture, fields, (share,)), part, label)
    for name, fields in source.walk(layout.infrared):
        if source.partner(layout.labels, fields) is None:
            yield from source.unlabelled(Picture(name, fields, (None,)))


READERS: dict[str, Reader] = {
    "voc": partial(_per_picture, parse=_voc),
    "yolo": partial(_per_picture, parse=_yolo),
    "dota": _with(parse_dota),
    "vedai": _with(parse_vedai),
    "bbgt": _with(parse_bbgt),
    "points-json": _with(parse_points),
    "coco-each": _with(_coco_each),
    "masks": partial(_per_picture, parse=_mask),
    "coco": partial(_collection, parse=_coco),
    "boxes-csv": partial(_collection, parse=_boxes_csv),
    "captions": partial(_collection, parse=_captions),
    "caption-lists": partial(_collection, parse=_caption_lists),
    "rsvqa": partial(_collection, parse=_rsvqa),
    "question-records": partial(_collection, parse=_question_records),
    "question-lines": partial(_collection, parse=_question_lines),
    "tracks": _tracks,
    "rsvg": _rsvg,
    "reid-folders": _reid,
    "class-folders": _pictures,
    "pictures": _pictures,
}
"""Readers by the name that the table of sources uses."""

READER_DOCS: dict[str, str] = {
    "voc": "Pascal VOC XML and its dialects, a file for each picture: corners, `x y w h`, `robndbox`, polygons, points. "
    "`one-based=yes` for files that count pixels from 1 and include the last.",
    "yolo": "YOLO text, a file for each picture.",
    "dota": "DOTA `labelTxt`.",
    "vedai": "VEDAI text, both layouts.",
    "bbgt": "KAIST text, `% bbGt version=3`.",
    "points-json": "JSON with `points` (RGBT-CC) or `shapes` (labelme).",
    "coco-each": "A COCO file for each picture (FLIR ADAS v1, old form).",
    "masks": "Mask pictures. Connected regions become boxes; `by-value=yes` for masks whose values are classes, "
    "`smallest=N` leaves out regions of fewer pixels.",
    "coco": "COCO JSON with its relatives, of any size.",
    "boxes-csv": "A table with a header: picture, class, box.",
    "captions": "Captions: Karpathy's JSON, COCO captions, JSON lines.",
    "caption-lists": "Captions in `*_caps.txt` beside `*_filename.txt`.",
    "rsvqa": "RSVQA's files of images, questions and answers; the label pattern names the first.",
    "question-records": "A list of records with image, question, answer.",
    "question-lines": "Lines `picture:question?answer` (RSIVQA).",
    "tracks": "A line with a box for each frame; `every=10` where a line stands for ten frames, `corners=yes` for "
    "corners instead of sizes, `pair=place` where frames of a pair have names of their own.",
    "rsvg": "DIOR-RSVG: VOC XML with descriptions, split by object.",
    "reid-folders": "Persons by folder or name; infrared and visible pictures are no pairs.",
    "class-folders": "Pictures whose folder is their class.",
    "pictures": "Pictures without labels that can be read.",
}
"""What each reader reads, for the documentation."""
