"""Readers by format: each takes a source and yields its images with their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.boxes_csv import parse_boxes_csv
from irtd_datasets.annotations.captions import parse_caption_lists, parse_captions, parse_scene_captions
from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.dota import parse_dota, parse_ucas, parse_vedai
from irtd_datasets.annotations.kaist import parse_bbgt, parse_visdrone
from irtd_datasets.annotations.label_file import LabelFile, decode_text, unreadable
from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.annotations.points import parse_points
from irtd_datasets.annotations.voc import parse_voc
from irtd_datasets.annotations.vqa import (
    parse_question_lines,
    parse_question_members,
    parse_question_records,
    parse_rsvqa,
    unwrap_javascript,
)
from irtd_datasets.annotations.yolo import parse_yolo
from irtd_datasets.errors import AnnotationError
from irtd_datasets.sources.masks import parse_mask
from irtd_datasets.sources.patterns import folded
from irtd_datasets.sources.problems import Problems
from irtd_datasets.sources.videos import read_videos

if TYPE_CHECKING:
    from irtd_datasets.sources.source import ImageFile, Source

__all__ = ["READERS", "READER_DOCS", "Reader"]

_REMEMBERED = 100_000  # names of labels
Reader = Callable[["Source"], Iterator[LabelledImage]]
_Parse = Callable[["Source", "ImageFile", str], "LabelFile | None"]
_Collect = Callable[["Source", str], Iterator[LabelFile]]

# ------------------------------------------------------------------------------------------------------------
# A label file for each image.


def _per_image(source: Source, parse: _Parse) -> Iterator[LabelledImage]:
    layout = source.layout
    assert layout.labels is not None  # checked when the table is read
    used: set[str] = set()
    # Where the name of a label tells that of its image, a large set need not be remembered: it is looked for.
    known = layout.infrared.fields <= layout.labels.fields
    for image_file in source.image_files():
        label = source.partner(layout.labels, image_file.fields)
        if label is None:
            yield from source.unlabelled(image_file)
            continue
        if not known or len(used) < _REMEMBERED:
            used.add(label)
        found = parse(source, image_file, label)
        if found is None:
            yield from source.unlabelled(image_file)
            continue
        visible = source.partner(layout.visible_labels, image_file.fields)
        visible_found = parse(source, image_file, visible) if visible else None
        yield from source.build(image_file, found, label, visible_found)
    for name, fields in source.walk(layout.labels):
        if name not in used and not (known and source.partner(layout.infrared, fields)):
            source.problems.add("label-without-image", name)


def _with(parse: Callable[[bytes, str], LabelFile]) -> Reader:
    def read(source: Source, _: ImageFile, label: str) -> LabelFile | None:
        return source.read_labels(label, parse)

    return partial(_per_image, parse=read)


def _voc(source: Source, _: ImageFile, label: str) -> LabelFile | None:
    found = source.read_labels(label, parse_voc)
    if found is not None and source.layout.options.get("one-based"):
        # PASCAL VOC proper: pixels count from 1, and xmax is the last one inside.
        found.objects = [
            replace(item, box=(item.box[0] - 1, item.box[1] - 1, *item.box[2:])) if item.box else item
            for item in found.objects
        ]
    return found


def _yolo(source: Source, image_file: ImageFile, label: str) -> LabelFile | None:
    size = source.size(image_file.name)
    if size is None:
        return None
    return source.read_labels(label, partial(parse_yolo, width=size[0], height=size[1]))


def _coco_each(data: bytes, name: str) -> LabelFile:
    """The only image of a COCO file; the old form of FLIR ADAS v1 has such files."""
    files = list(parse_coco(data, name))
    images = [found for found in files if found.image]
    if len(images) != 1 or not images[0].labelled:
        told = "no list of objects" if images else "no image"
        raise unreadable(name, f"{len(images)} images" if len(images) > 1 else told, "Use the reader coco.")
    for found in files:
        if found is not images[0]:
            images[0].problems += found.problems
    return images[0]


def _mask(source: Source, image_file: ImageFile, label: str) -> LabelFile | None:
    by_value = source.layout.options.get("by-value") == "yes"
    smallest = int(source.layout.options.get("smallest", "1"))
    size = source.size(image_file.name)
    if size is None:
        return None
    found = source.read_labels(
        label, partial(parse_mask, size=size[:2], by_value=by_value, smallest=smallest)
    )
    if found is not None and (found.width, found.height) != size[:2]:
        source.problems.add(
            "mask-size-differs", label, f"{found.width}x{found.height}, its image {size[0]}x{size[1]}"
        )
        return None
    return found


# ------------------------------------------------------------------------------------------------------------
# Label files for many images.


def _collection(source: Source, parse: _Collect, *, objects: bool = True) -> Iterator[LabelledImage]:
    """Images of files that have many.

    Args:
        source: The source.
        parse: Reads one of the files.
        objects: Whether they have objects; then nothing but objects is read, and an image that several files list is
            read once.
    """
    from irtd_datasets.sources.source import ImageFile

    layout = source.layout
    assert layout.labels is not None
    index = _Index(source)
    files = list(source.walk(layout.labels))
    seen = _seen_before(source, parse, index, files) if objects and len(files) > 1 else {}
    used: set[str] = set()
    more: dict[str, Any] = {} if objects else {"exhaustive": frozenset()}
    for label, fields, name, found in _files_of(source, parse, index, files):
        if name in used:
            source.problems.add("image-listed-twice", label, found.image)
            if objects:
                continue
        used.add(name)
        splits, same = seen.get(name) or (_splits(source, found, name, fields), True)
        if not same:
            found.lose("image-listed-differently", found.image)
        own = {**fields, **(layout.infrared.match(name) or {})}
        yield from source.build(ImageFile(name, own, splits), found, label, **more)
    for image_file in source.image_files():
        if image_file.name not in used:
            yield from source.unlabelled(image_file)


def _files_of(
    source: Source, parse: _Collect, index: _Index, files: list[tuple[str, dict[str, str]]]
) -> Iterator[tuple[str, dict[str, str], str, LabelFile]]:
    """What label files say of each image that is there: the file, the parts of its name, the image, its labels."""
    for label, fields in files:
        try:
            for found in parse(source, label):
                name = _named(source, index, found, label, fields)
                if name is not None and found.labelled:
                    yield label, fields, name, found
        except AnnotationError as error:  # noqa: PERF203 - the other files are read
            source.problems.add("label-unreadable", label, error.problem)


def _splits(source: Source, found: LabelFile, name: str, fields: dict[str, str]) -> tuple[str | None, ...]:
    if found.split is not None:
        return (source.split_named(found.split, name),)
    return source.splits_of(name, {**fields, **(source.layout.infrared.match(name) or {})})


def _seen_before(
    source: Source, parse: _Collect, index: _Index, files: list[tuple[str, dict[str, str]]]
) -> dict[str, tuple[tuple[str | None, ...], bool]]:
    """Images that several files list: the splits of all, and whether all give the same objects.

    Every file is read for it, before the first image is handed out: what one says of an image is not to be believed
    while another may say something else.
    """
    first: dict[str, tuple[tuple[str | None, ...], int]] = {}
    several: dict[str, tuple[tuple[str | None, ...], bool]] = {}
    told = source.problems
    source.problems = Problems()  # they are counted when the files are read for good
    try:
        for _, fields, name, found in _files_of(source, parse, index, files):
            objects = hash((frozenset(found.objects), len(found.objects), bool(found.problems)))
            splits = _splits(source, found, name, fields)
            if name not in first:
                first[name] = splits, objects
                continue
            known, same = several.get(name, (first[name][0], True))
            several[name] = tuple(dict.fromkeys((*known, *splits))), same and first[name][1] == objects
    finally:
        source.problems = told
    return several


def _named(source: Source, index: _Index, found: LabelFile, label: str, fields: dict[str, str]) -> str | None:
    """The image that labels belong to; None, and counted, where there is none or several."""
    if not found.image:
        for problem in found.problems:
            source.problems.add(problem.code, label, problem.detail)
        if found.objects:
            source.problems.add("label-without-image", label, "without a name", len(found.objects))
        return None
    names = index.find(found.image, fields)
    if len(names) == 1:
        return names[0]
    source.problems.add("label-ambiguous" if names else "label-without-image", label, found.image)
    return None


class _Index:
    """Images of a source by their stem."""

    def __init__(self, source: Source) -> None:
        self._names: dict[str, list[tuple[str, dict[str, str]]]] = {}
        for name, fields in source.walk(source.layout.infrared):
            stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
            self._names.setdefault(folded(stem), []).append((name, fields))
            inner = fields.get("stem", stem)
            if inner != stem:
                self._names.setdefault(folded(inner), []).append((name, fields))

    def find(self, written: str, fields: dict[str, str]) -> list[str]:
        """Names that fit what a label file writes: a foreign path, without an extension or with another one."""
        parts = folded(written.replace("\\", "/")).split("/")
        stems = [parts[-1].rsplit(".", 1)[0], parts[-1]]
        candidates = next((self._names[stem] for stem in stems if stem in self._names), [])
        candidates = [
            (name, own)
            for name, own in candidates
            if all(
                own.get(key, value).lower() == value.lower() for key, value in fields.items() if key != "stem"
            )
        ]
        exact = [pair for pair in candidates if folded(pair[0].rsplit("/", 1)[-1]) == parts[-1]]
        candidates = exact or candidates
        if len(candidates) > 1:  # the folders that the label file writes may tell them apart
            for depth in range(2, len(parts) + 1):
                above = parts[-depth:-1]
                fitting = [pair for pair in candidates if folded(pair[0]).split("/")[-depth:-1] == above]
                if len(fitting) == 1:
                    candidates = fitting
                    break
        return [name for name, _ in candidates]


def _boxes_csv(source: Source, label: str) -> Iterator[LabelFile]:
    yield from parse_boxes_csv(source.read(label), label)


def _streamed(
    source: Source, label: str, parse: Callable[[Any, str], Iterator[LabelFile]]
) -> Iterator[LabelFile]:
    with source.open(label) as file:
        yield from parse(file, label)


def _caption_lists(source: Source, label: str) -> Iterator[LabelFile]:
    names = source.find(re.sub(r"_caps(?=\.txt$)", "_filename", label))
    if names is None:
        source.problems.add("label-unreadable", label, "no list of file names beside it")
        return
    images, texts = decode_text(source.read(names), names), decode_text(source.read(label), label)
    yield from parse_caption_lists(images, texts, label)


def _rsvqa(source: Source, label: str) -> Iterator[LabelFile]:
    files = []
    for kind in ("images", "questions", "answers"):
        name = source.find(label.replace("images", kind))
        if name is None:
            source.problems.add("label-unreadable", label, f"no file of {kind} beside it")
            return
        files.append(unwrap_javascript(source.read(name), name))
    yield from parse_rsvqa(*files, name=label)


def _question_lines(source: Source, label: str) -> Iterator[LabelFile]:
    yield from parse_question_lines(source.read(label), label)


# ------------------------------------------------------------------------------------------------------------
# Videos, folders, and what is odd.


def _images(source: Source) -> Iterator[LabelledImage]:
    """Images whose names say all that is known of them."""
    for image_file in source.image_files():
        yield from source.build(image_file, None, None)


def _reid(source: Source) -> Iterator[LabelledImage]:
    """Crops of persons, the infrared ones and then the visible ones, which are no pairs."""
    from irtd_datasets.sources.source import ImageFile

    for image_file in source.image_files():
        yield from source.build(image_file, None, None, visible=None)
    if source.layout.visible is not None:
        for name, fields in source.walk(source.layout.visible):
            image_file = ImageFile(name, fields, source.splits_of(name, fields))
            yield from source.build(image_file, None, None, visible=None, modality="optical")


def _rsvg(source: Source) -> Iterator[LabelledImage]:
    """DIOR-RSVG: its split lists number objects over all label files; an image may stand in several splits."""
    from irtd_datasets.sources.source import ImageFile

    layout = source.layout
    assert layout.labels is not None
    splits = _numbered_splits(source)
    number = 0
    for label, fields in source.walk(layout.labels):
        found = source.read_labels(label, parse_voc)
        if found is None:
            continue
        shares: dict[str | None, list[LabelledObject]] = {}
        for place, item in enumerate(found.objects):
            shares.setdefault(splits.get(number + place), []).append(item)
        number += len(found.objects) + len(found.problems)
        if found.problems:  # which of the numbers the others have is not known
            source.problems.add("label-unreadable", label, found.problems[0].detail)
            continue
        image_file = source.partner(layout.infrared, fields)
        if image_file is None:
            source.problems.add("label-without-image", label)
            continue
        for share, objects in shares.items():
            part = LabelFile(objects, found.image, found.width, found.height, found.problems)
            yield from source.build(ImageFile(image_file, fields, (share,)), part, label)
    for name, fields in source.walk(layout.infrared):
        if source.partner(layout.labels, fields) is None:
            yield from source.unlabelled(ImageFile(name, fields, (None,)))


def _numbered_splits(source: Source) -> dict[int, str]:
    splits: dict[int, str] = {}
    for file, split in source.layout.splits.lists:
        name = source.find(file)
        if name is None:
            source.problems.add("split-list-missing", file)
            continue
        words = decode_text(source.read(name), name).split()
        splits.update((int(word), split) for word in words if word.isdecimal())
    return splits


READERS: dict[str, Reader] = {
    "voc": partial(_per_image, parse=_voc),
    "yolo": partial(_per_image, parse=_yolo),
    "dota": _with(parse_dota),
    "ucas": _with(parse_ucas),
    "vedai": _with(parse_vedai),
    "bbgt": _with(parse_bbgt),
    "visdrone": _with(parse_visdrone),
    "points-json": _with(parse_points),
    "coco-each": _with(_coco_each),
    "masks": partial(_per_image, parse=_mask),
    "coco": partial(_collection, parse=partial(_streamed, parse=parse_coco)),
    "boxes-csv": partial(_collection, parse=_boxes_csv),
    "captions": partial(_collection, parse=partial(_streamed, parse=parse_captions), objects=False),
    "scene-captions": partial(
        _collection, parse=partial(_streamed, parse=parse_scene_captions), objects=False
    ),
    "caption-lists": partial(_collection, parse=_caption_lists, objects=False),
    "rsvqa": partial(_collection, parse=_rsvqa, objects=False),
    "question-records": partial(
        _collection, parse=partial(_streamed, parse=parse_question_records), objects=False
    ),
    "question-members": partial(
        _collection, parse=partial(_streamed, parse=parse_question_members), objects=False
    ),
    "question-lines": partial(_collection, parse=_question_lines, objects=False),
    "tracks": read_videos,
    "rsvg": _rsvg,
    "reid-folders": _reid,
    "class-folders": _images,
    "images": _images,
}
"""Readers by the name that the table of sources uses."""

READER_DOCS: dict[str, str] = {
    "voc": "Pascal VOC XML and its dialects, for each image: corners, `x y w h`, `robndbox`, polygons, points. "
    "`one-based=yes` for files that count pixels from 1 and include the last.",
    "yolo": "YOLO text, a file for each image.",
    "dota": "DOTA `labelTxt`.",
    "ucas": "UCAS-AOD text, with or without the class before the numbers.",
    "vedai": "VEDAI text, both layouts.",
    "bbgt": "KAIST text, `% bbGt version=3`.",
    "visdrone": "VisDrone-DET text; ignored regions make an image unclear.",
    "points-json": "JSON with `points` (RGBT-CC), or with `shapes` as labelme has them: points, rectangles, polygons.",
    "coco-each": "A COCO file for each image (FLIR ADAS v1, old form).",
    "masks": "Mask images. Connected regions become boxes; `by-value=yes` for masks whose values are classes, "
    "`smallest=N` leaves out regions of fewer pixels.",
    "coco": "COCO JSON with its relatives, of any size.",
    "boxes-csv": "A table with a header: image, class, box.",
    "captions": "Captions: Karpathy's JSON, COCO captions, JSON lines.",
    "scene-captions": "Captions in a list for each scene (NWPU-Captions).",
    "caption-lists": "Captions in `*_caps.txt` beside `*_filename.txt`.",
    "rsvqa": "RSVQA's files of images, questions and answers; the label pattern names the first.",
    "question-records": "A list of records with image, question, answer.",
    "question-members": "One object with a question in each member (FloodNet).",
    "question-lines": "Lines `image:question?answer` (RSIVQA).",
    "tracks": "A line with a box for each frame; `every=10` where a line stands for ten frames, `corners=yes` for "
    "corners, `pair=place` where frames of a pair have names of their own.",
    "rsvg": "DIOR-RSVG: VOC XML with descriptions, split by object.",
    "reid-folders": "Persons by folder or name; infrared and visible images are no pairs.",
    "class-folders": "Images whose folder is their class.",
    "images": "Images without labels that can be read.",
}
"""What each reader reads, for the documentation."""
