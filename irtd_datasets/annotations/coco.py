"""COCO JSON and its relatives, at any size in bounded memory.

The outer object has a list of images, one of objects and one of classes, in any order. HIT-UAV writes
``annotation`` and ``filename`` for ``annotations`` and ``file_name``, and its oriented files a ``bbox`` of five numbers
(centre, size, radians); KAIST of MLPD writes ``im_name``. FLIR ADAS v1 has one file for each image, with ``image``
and ``annotation``.

A file of 1 GB is mostly polygons. Of each object a row of 113 bytes is kept, in a temporary file above 65,536 of them;
in memory there are 12 bytes for each object and the names of the images.
"""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from irtd_datasets.annotations.json_records import read_member_lists
from irtd_datasets.annotations.label_file import LabelFile, LabelProblem, oriented_corners
from irtd_datasets.annotations.labelled import LabelledObject

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import numpy.typing as npt

    from irtd_datasets.annotations.json_records import Record, Source

__all__ = ["parse_coco"]

_IMAGES = frozenset({"images", "image"})
_OBJECTS = frozenset({"annotations", "annotation"})
_KEYS = _IMAGES | _OBJECTS | {"categories"}
_NAME_KEYS = ("file_name", "filename", "im_name", "fileName", "name")
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
_CROWD, _IGNORED, _POLYGON, _DIFFICULT, _OCCLUDED, _TRUNCATED = 1, 2, 4, 8, 16, 32
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

    def by_image(self, images: int) -> Iterator[list[Any]]:
        """Rows of each image in turn, in the order of the file; at last those of images that are not listed."""
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
        order = np.argsort(owners, kind="stable")
        ends = np.searchsorted(owners[order], np.arange(images), "right")
        start = 0
        for end in ends.tolist():
            yield data[order[start:end]].tolist() if end > start else []
            start = end
        yield data[order[start:]].tolist() if start < len(order) else []

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def parse_coco(source: Source, name: str) -> Iterator[LabelFile]:
    """Read a COCO file, image by image.

    Args:
        source: The bytes of the file, its path, or a binary file object.
        name: Its name, for messages.

    Yields:
        One label file for each listed image, in their order, those without objects included. A box of five
        numbers is given with its polygon; where the only segmentation has four corners that are not those of the
        box, they are the polygon. Labels are the names of classes, or their numbers where the file does not name
        them. At last, where there are any, one without a name whose problems tell of objects whose image is not
        listed.

    Raises:
        JsonRecordsError: The file is no JSON object, or cut.

    Example:
        >>> file = b'''{"images": [{"id": 1, "filename": "a.jpg", "width": 640, "height": 512}],
        ... "annotation": [{"image_id": 1, "category_id": 0, "bbox": [562, 100, 16, 22]}],
        ... "categories": [{"id": 0, "name": "Person"}]}'''
        >>> [(found.image, found.objects[0].label, found.objects[0].box) for found in parse_coco(file, "val.json")]
        [('a.jpg', 'Person', (562.0, 100.0, 578.0, 122.0))]
    """
    numbers: dict[Hashable, int] = {}  # of images: those that are listed and those only referred to
    listed: list[tuple[int, str, int | None, int | None]] = []
    classes: dict[Hashable, str] = {}
    class_numbers: dict[Hashable, int] = {}
    malformed: dict[int, list[LabelProblem]] = {}
    rows = _Rows()
    try:
        single: Hashable = _ONLY
        for key, record in read_member_lists(source, name=name, keys=_KEYS):
            if key in _OBJECTS:
                owner = _hashable(record["image_id"]) if "image_id" in record else single
                number = numbers.setdefault(owner, len(numbers))
                row = _row(record, number, class_numbers)
                if isinstance(row, LabelProblem):
                    malformed.setdefault(number, []).append(row)
                else:
                    rows.append(row)
            elif key in _IMAGES:
                identifier = _hashable(record.get("id"))
                if key == "image":  # one image for each file, whose objects need not name it
                    number = numbers[identifier] = numbers.setdefault(_ONLY, len(numbers))
                    single = identifier
                number = numbers.setdefault(identifier, len(numbers))
                listed.append((number, _image_name(record), _size(record, "width"), _size(record, "height")))
            else:
                classes[_hashable(record.get("id"))] = str(record.get("name", record.get("id")))
        labels = [classes.get(category, str(category)) for category in class_numbers]
        yield from _joined(listed, len(numbers), labels, malformed, rows)
    finally:
        rows.close()


def _joined(
    listed: list[tuple[int, str, int | None, int | None]],
    numbers: int,
    labels: list[str],
    malformed: dict[int, list[LabelProblem]],
    rows: _Rows,
) -> Iterator[LabelFile]:
    place = np.full(numbers, len(listed), np.int64)
    twice = []
    for position, (number, image, _, _) in enumerate(listed):
        if place[number] < len(listed):
            twice.append(image)
        else:
            place[number] = position
    # Rows come by number of the image, which is that of the first mention; images by their order in the file.
    by_position: dict[int, list[Any]] = {}
    following = 0
    last: list[Any] = []
    unlisted = 0
    for number, found in enumerate(rows.by_image(numbers)):
        if number == numbers:
            last = found
            break
        position = int(place[number])
        if position == len(listed):
            unlisted += len(found)
            continue
        by_position[position] = found
        while following in by_position:
            yield _label_file(listed[following], by_position.pop(following), labels, malformed)
            following += 1
    while following < len(listed):
        yield _label_file(listed[following], by_position.pop(following, []), labels, malformed)
        following += 1
    problems = [LabelProblem("label-without-image", "object of an image that is not listed")] * (
        unlisted + len(last)
    )
    problems += [LabelProblem("image-listed-twice", image) for image in twice]
    if problems:
        yield LabelFile(problems=problems)


def _label_file(
    listed: tuple[int, str, int | None, int | None],
    rows: list[Any],
    labels: list[str],
    malformed: dict[int, list[LabelProblem]],
) -> LabelFile:
    number, image, width, height = listed
    objects = []
    for _, category, x_min, y_min, x_max, y_max, flags, corners in rows:
        polygon = tuple(corners.tolist()) if flags & _POLYGON else None
        box = x_min, y_min, x_max, y_max
        objects.append(LabelledObject(labels[category], box, polygon, None, None, _FLAGS[flags]))
    return LabelFile(objects, image, width, height, malformed.get(number, []))


def _hashable(value: object) -> Hashable:
    if isinstance(value, (str, int)):
        return value
    return float(value) if isinstance(value, float) else str(value)


def _image_name(record: Record) -> str:
    for key in _NAME_KEYS:
        value = record.get(key)
        if isinstance(value, str):
            return value
    return ""


def _size(record: Record, key: str) -> int | None:
    value = record.get(key)
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 1 else None


def _row(record: Record, number: int, class_numbers: dict[Hashable, int]) -> tuple[Any, ...] | LabelProblem:
    flags = 0
    for key, bit in _FLAG_KEYS.items():
        if record.get(key) not in (None, 0, False, "0", ""):
            flags |= bit
    values = record.get("bbox")
    polygon: tuple[float, ...] = (0.0,) * 8
    try:
        box = [float(value) for value in values]  # type: ignore[attr-defined]
        if len(box) == 5:
            polygon = oriented_corners(*box)
            flags |= _POLYGON
            x_min, y_min = min(polygon[0::2]), min(polygon[1::2])
            x_max, y_max = max(polygon[0::2]), max(polygon[1::2])
        else:
            x_min, y_min, w, h = box
            x_max, y_max = x_min + w, y_min + h
            corners = _corners(record.get("segmentation"))
            if corners and not _is_box(corners, x_min, y_min, x_max, y_max):
                polygon = corners
                flags |= _POLYGON
    except (TypeError, ValueError):
        return LabelProblem("box-malformed", f"object {record.get('id', '')}: bbox {str(values)[:60]}")
    if not math.isfinite(x_min + y_min + x_max + y_max):
        return LabelProblem("box-malformed", f"object {record.get('id', '')}: bbox {str(values)[:60]}")
    category = class_numbers.setdefault(_hashable(record.get("category_id", "")), len(class_numbers))
    return number, category, x_min, y_min, x_max, y_max, flags, polygon


def _corners(segmentation: object) -> tuple[float, ...] | None:
    if not (isinstance(segmentation, list) and len(segmentation) == 1):
        return None
    outline = segmentation[0]
    if not (isinstance(outline, list) and len(outline) == 8):
        return None
    try:
        corners = tuple(float(value) for value in outline)
    except (TypeError, ValueError):
        return None
    return corners if math.isfinite(sum(corners)) else None


def _is_box(corners: tuple[float, ...], x_min: float, y_min: float, x_max: float, y_max: float) -> bool:
    """Whether every corner lies on a corner of the box; a pixel more or less makes no oriented box of it."""
    return all(
        min(abs(x - x_min), abs(x - x_max)) <= 1 and min(abs(y - y_min), abs(y - y_max)) <= 1
        for x, y in zip(corners[0::2], corners[1::2], strict=True)
    )
