"""COCO JSON and its relatives, at any size in bounded memory.

The outer object has a list of images, one of objects and one of classes, in any order. HIT-UAV writes
``annotation`` and ``filename`` for ``annotations`` and ``file_name``, and its oriented files a ``bbox`` of five numbers
(centre, size, radians); KAIST of MLPD writes ``im_name``; LVIS has the name in ``coco_url`` alone. FLIR ADAS v1 has one
file for each image, with ``image`` and ``annotation``.

An image without an object is believed to have none only where the file can be trusted to have all: where it lists
objects at all, and every object is of an image that it lists.

A file of 1 GB is mostly polygons. Of each object a row of 113 bytes is kept, in a temporary file above 65,536 of them;
in memory there are 12 bytes for each object and the names of the images.
"""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from irtd_datasets.annotations.json_members import read_member_lists
from irtd_datasets.annotations.label_file import (
    FULL_TURN,
    LabelFile,
    LabelProblem,
    enclosing,
    integer_of,
    members_of,
    oriented_corners,
    quoted,
    text_of,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import numpy.typing as npt

    from irtd_datasets.annotations.json_records import Record, Source

__all__ = ["parse_coco"]

_IMAGES = frozenset({"images", "image"})
_OBJECTS = frozenset({"annotations", "annotation"})
_KEYS = _IMAGES | _OBJECTS | {"categories"}
_NAME_KEYS = ("file_name", "filename", "im_name", "fileName", "name", "coco_url")
_ROW = np.dtype(
    [
        ("image", "<i4"),
        ("category", "<i4"),
        ("x_min", "<f8"),
        ("y_min", "<f8"),
        ("x_max", "<f8"),
        ("y_max", "<f8"),
        ("flags", "u1"),
        ("polygon", "<f8", (8,)),
    ]
)
_CROWD, _IGNORED, _POLYGON, _DIFFICULT, _OCCLUDED, _TRUNCATED, _FIVE = 1, 2, 4, 8, 16, 32, 64
_FLAGS = tuple(
    frozenset(
        name
        for bit, name in (  # a polygon is no attribute
            (_CROWD, "crowd"),
            (_IGNORED, "ignored"),
            (_DIFFICULT, "difficult"),
            (_OCCLUDED, "occluded"),
            (_TRUNCATED, "truncated"),
        )
        if value & bit
    )
    for value in range(64)
)
_FLAG_KEYS = {
    "iscrowd": _CROWD,
    "ignore": _IGNORED,
    "ignored": _IGNORED,
    "difficult": _DIFFICULT,
    "occluded": _OCCLUDED,
    "occlusion": _OCCLUDED,
    "truncated": _TRUNCATED,
}
_IN_MEMORY = 65_536
_ONLY = "the only image"


class _Rows:
    """Rows of objects, in a temporary file when there are many."""

    def __init__(self) -> None:
        self._pending: list[tuple[Any, ...]] = []
        self._images: list[npt.NDArray[np.int32]] = []
        self._file: BinaryIO | None = None

    def append(self, row: tuple[Any, ...]) -> None:
        self._pending.append(row)
        if len(self._pending) == _IN_MEMORY:
            self._flush()

    def _flush(self) -> None:
        block = np.array(self._pending, _ROW)
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="irtd-coco-")  # noqa: SIM115 - closed by `close`
        self._file.write(block.tobytes())
        self._images.append(block["image"].copy())
        self._pending = []

    def by_image(self, place: npt.NDArray[np.int64], images: int) -> Iterator[list[Any]]:
        """Rows of each image in turn, in the order of the file; at last those of images that are not listed.

        Args:
            place: For each number of an image its place among the listed; `images` where it has none.
            images: How many are listed.
        """
        data: npt.NDArray[Any] | np.memmap[Any, Any]
        if self._file is None:
            data = np.array(self._pending, _ROW)
            owners = data["image"].copy()
        else:
            if self._pending:
                self._flush()
            self._file.flush()
            data = np.memmap(self._file, _ROW, "r")
            owners = np.concatenate(self._images)
        owners = place[owners]
        order = np.argsort(owners, kind="stable")
        ends = np.searchsorted(owners[order], np.arange(images + 1), "right")
        start = 0
        for end in ends.tolist():
            yield data[order[start:end]].tolist() if end > start else []
            start = end

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Listed(NamedTuple):
    """An image as the file lists it."""

    image: str
    width: int | None
    height: int | None


class _Content:
    """All of a file but the rows of its objects."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}  # of images: those that are listed and those only referred to
        self.listed: list[_Listed] = []
        self.places: dict[int, int] = {}  # number of an image to its place among the listed
        self.by_name: dict[str, int] = {}
        self.contested: set[int] = set()  # places of images that share an id with another one
        self.twice: list[str] = []
        self.classes: dict[Hashable, str] = {}
        self.class_numbers: dict[Hashable, int] = {}
        self.malformed: dict[int, list[LabelProblem]] = {}  # by number of the image
        self.rows = _Rows()
        self.objects = 0
        self.angles: list[float] = [math.inf, -math.inf]  # least and greatest fifth number of a box
        self.met: set[str] = set()

    def add_image(self, record: Record, number: int) -> None:
        one = _Listed(_image_name(record), _size(record, "width"), _size(record, "height"))
        known = self.by_name.get(one.image) if one.image else None
        place = len(self.listed) if known is None else known
        if known is None:
            self.listed.append(one)
            if one.image:
                self.by_name[one.image] = place
        else:
            self.twice.append(one.image)
        if self.places.setdefault(number, place) != place:
            self.contested |= {place, self.places[number]}

    def add_object(self, record: Record, number: int) -> None:
        self.objects += 1
        row = self._row(record, number)
        if isinstance(row, LabelProblem):
            self.malformed.setdefault(number, []).append(row)
        else:
            self.rows.append(row)

    def add_class(self, record: Record) -> None:
        identifier, name = _hashable(record.get("id")), record.get("name")
        label = text_of(name if isinstance(name, str) else str(integer_of(name)))
        if not label or label == "None" or self.classes.setdefault(identifier, label) != label:
            self.classes[identifier] = str(identifier)  # no class, or two of one number

    def _row(self, record: Record, number: int) -> tuple[Any, ...] | LabelProblem:
        flags = 0
        for key, bit in _FLAG_KEYS.items():
            if record.get(key) not in (None, 0, False, "0", ""):
                flags |= bit
        values = record.get("bbox")
        segmentation = record.get("segmentation")
        box = members_of(values)
        polygon: tuple[float, ...] = (0.0,) * 8
        if not values and (outlined := _outline_box(segmentation)):
            box = outlined
        if box is None or len(box) not in {4, 5}:
            return LabelProblem(
                "box-malformed", f"object {quoted(record.get('id', ''))}: bbox {quoted(values)}"
            )
        x_min, y_min, w, h = box[:4]
        x_max, y_max = x_min + w, y_min + h
        if not math.isfinite(x_max + y_max):
            return LabelProblem(
                "box-malformed", f"object {quoted(record.get('id', ''))}: bbox {quoted(values)}"
            )
        if len(box) == 5:  # what the fifth number is, all of them tell together
            self.angles = [min(self.angles[0], box[4]), max(self.angles[1], box[4])]
            polygon, flags = (*box, 0.0, 0.0, 0.0), flags | _FIVE
        else:
            corners = _corners(segmentation)
            if corners and not _is_box(corners, x_min, y_min, x_max, y_max):
                polygon, flags = corners, flags | _POLYGON
        category = self.class_numbers.setdefault(
            _hashable(record.get("category_id", "")), len(self.class_numbers)
        )
        return number, category, x_min, y_min, x_max, y_max, flags, polygon

    @property
    def fifth(self) -> str:
        """Why the fifth numbers of boxes are no angles in radians; empty where they are."""
        least, most = self.angles
        if most > FULL_TURN or least < -FULL_TURN:
            return "its fifth number is no angle in radians; degrees, or a score?"
        return "its fifth number is an angle or a score?" if least > 0 and most <= 1 else ""


def parse_coco(source: Source, name: str) -> Iterator[LabelFile]:
    """Read a COCO file, image by image.

    Args:
        source: The bytes of the file, its path, or a binary file object.
        name: Its name, for messages.

    Yields:
        One label file for each listed image, in their order, those without objects included; listings of one name are
        one image. Ids are compared by value, so that ``"1"`` is 1. A box of five numbers is given with its polygon,
        where all fifth numbers of the file together can only be angles in radians; where the only segmentation has
        four corners that are not those of the box, they are the polygon; an object without a box has that of its
        outline. Labels are the names of classes, or their numbers where the file does not name them. Images of a file
        without any object are `labelled` only where it lists one image and an empty list of objects. At last, where
        there are any, one without a name whose problems tell of objects whose image is not listed.

    Raises:
        AnnotationError: The file is no JSON object, or cut, or has neither images nor objects.

    Example:
        >>> file = b'''{"images": [{"id": 1, "filename": "a.jpg", "width": 640, "height": 512}],
        ... "annotation": [{"image_id": 1, "category_id": 0, "bbox": [562, 100, 16, 22]}],
        ... "categories": [{"id": 0, "name": "Person"}]}'''
        >>> [(found.image, found.objects[0].label, found.objects[0].box) for found in parse_coco(file, "val.json")]
        [('a.jpg', 'Person', (562.0, 100.0, 578.0, 122.0))]
    """
    content = _Content()
    numbers = content.numbers
    try:
        single: Hashable = _ONLY
        for key, record in read_member_lists(source, name=name, keys=_KEYS, met=content.met):
            if key in _OBJECTS:
                owner = _hashable(record["image_id"]) if "image_id" in record else single
                content.add_object(record, numbers.setdefault(owner, len(numbers)))
            elif key in _IMAGES:
                identifier = _hashable(record.get("id"))
                if key == "image":  # one image for each file, whose objects need not name it
                    numbers[identifier] = numbers.setdefault(_ONLY, len(numbers))
                    single = identifier
                content.add_image(record, numbers.setdefault(identifier, len(numbers)))
            else:
                content.add_class(record)
        if not content.met & (_IMAGES | _OBJECTS):
            raise unreadable(name, "it lists neither images nor annotations", "See whether it is COCO.")
        yield from _joined(content)
    finally:
        content.rows.close()


def _joined(content: _Content) -> Iterator[LabelFile]:
    listed, images = content.listed, len(content.listed)
    place = np.full(len(content.numbers) + 1, images, np.int64)
    for number, position in content.places.items():
        place[number] = position
    labels = [content.classes.get(category, str(category)) for category in content.class_numbers]
    malformed: dict[int, list[LabelProblem]] = {}
    for number, problems in content.malformed.items():
        malformed.setdefault(int(place[number]), []).extend(problems)
    adrift = [number for number in content.numbers.values() if number not in content.places]
    homeless = content.numbers.get(None) in adrift or (_ONLY in content.numbers and images > 1)
    labelled = content.objects > 0 or (images == 1 and bool(content.met & _OBJECTS))
    last = LabelFile()
    for position, rows in enumerate(content.rows.by_image(place, images)):
        problems = malformed.get(position, [])
        if position == images or not listed[position].image:
            last.problems += problems
            lost = [LabelProblem("label-without-image", "object of an image that is not listed")]
            last.problems += lost * (len(rows) if position == images else max(1, len(rows)))
            continue
        image, width, height = listed[position]
        found = LabelFile([], image, width, height, problems, labelled=labelled)
        if position in content.contested:
            found.lose("label-ambiguous", "it shares its id with another image")
        else:
            _fill(found, rows, labels, content.fifth)
        if adrift and (homeless or images == 1 or not rows):
            found.lose("labels-astray", "the file has objects of images that it does not list")
        yield found
    last.problems += [LabelProblem("image-listed-twice", image) for image in content.twice]
    if last.problems:
        yield last


def _fill(found: LabelFile, rows: list[Any], labels: list[str], fifth: str) -> None:
    for _, category, x_min, y_min, x_max, y_max, flags, corners in rows:
        polygon: tuple[float, ...] | None = tuple(corners.tolist()) if flags & (_POLYGON | _FIVE) else None
        box = x_min, y_min, x_max, y_max
        if flags & _FIVE and polygon:
            if fifth:
                found.lose("box-malformed", f"{list(polygon[:5])}: {fifth}")
                continue
            polygon = oriented_corners(*polygon[:5])
            box = enclosing(polygon)
        flags_of = _FLAGS[flags & ~_FIVE]
        found.objects.append(LabelledObject(labels[category], box, polygon, None, None, flags_of))


def _hashable(value: object) -> Hashable:
    """An id by its value: 1, 1.0 and ``"1"`` are one; None for what is no id."""
    if type(value) is int:
        return value
    number = integer_of(value) if isinstance(value, float) else None
    if isinstance(value, str):
        text = value.strip()
        number = int(text) if text.isdecimal() and len(text) < 20 else None
        return text if number is None else number
    return number


def _image_name(record: Record) -> str:
    for key in _NAME_KEYS:
        value = text_of(record.get(key))
        if value:
            return value.partition("?")[0] if key == "coco_url" else value
    return ""


def _size(record: Record, key: str) -> int | None:
    number = integer_of(record.get(key))
    return number if number and number >= 1 else None


def _outline_box(segmentation: object) -> list[float] | None:
    """x, y, width and height of the box around an outline; None where there is none."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = [
        members_of(part) for part in (segmentation if isinstance(segmentation[0], list) else [segmentation])
    ]
    if any(part is None or len(part) < 6 or len(part) % 2 for part in parts):
        return None
    x_min, y_min, x_max, y_max = enclosing([value for part in parts for value in part or ()])
    return [x_min, y_min, x_max - x_min, y_max - y_min]


def _corners(segmentation: object) -> tuple[float, ...] | None:
    if not (isinstance(segmentation, list) and len(segmentation) == 1):
        return None
    outline = segmentation[0]
    if not (isinstance(outline, list) and len(outline) == 8):
        return None
    corners = members_of(outline)
    return tuple(corners) if corners else None


def _is_box(corners: tuple[float, ...], x_min: float, y_min: float, x_max: float, y_max: float) -> bool:
    """Whether every corner lies on a corner of the box; a pixel more or less makes no oriented box of it."""
    return all(
        min(abs(x - x_min), abs(x - x_max)) <= 1 and min(abs(y - y_min), abs(y - y_max)) <= 1
        for x, y in zip(corners[0::2], corners[1::2], strict=True)
    )
