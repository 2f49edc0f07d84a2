"""YOLO text labels: a class number and a box in shares of the image's size, one object a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from irtd_datasets.annotations.label_file import (
    LabelFile,
    decode_text,
    enclosing,
    integer_of,
    numbers_of,
    quoted,
)
from irtd_datasets.annotations.labelled import LabelledObject

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["parse_yolo"]

_TOLERANCE = 0.02
"""Share of the image by which a box may reach over its edge before it is looked at twice."""


def parse_yolo(data: bytes, name: str, width: int, height: int) -> LabelFile:
    """Read one YOLO label file.

    Numbers alone do not say what they are, so the whole file is looked at before an object is believed. It is refused,
    each object listed as ``box-malformed``, where a class is a fraction, where a place is no share of the image
    (pixels), where keypoints or a confidence stand behind a box or an outline, and where all boxes could be corners
    and one of them must be.

    Args:
        data: The whole file; an empty one says that the image has no object.
        name: Its name, for messages.
        width: Pixels of the image.
        height: Pixels of the image.

    Returns:
        Objects whose label is the class number, or the class as written. Lines have 5 numbers (class, centre, size),
        6 or 7 (with a confidence, a track number or both, which are left out), or a class and at least 3 points of a
        polygon, of which the box is kept, and the polygon where it has 4 corners. Other lines are left out and listed.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> parse_yolo(b"0 0.4 0.6328125 0.125 0.09375", "1.txt", 640, 512).objects[0].box
        (216.0, 300.0, 296.0, 348.0)
        >>> parse_yolo(b"0 320 256 64 51", "1.txt", 640, 512).problems[0].detail
        "line 1 '0 320 256 64 51': no shares of the image; pixels?"
    """
    found = LabelFile(width=width, height=height)
    odd: list[_Line] = []  # lines that are more than a class number and a box in shares
    boxes: list[list[float]] = []
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        values = numbers_of(words[1:])
        if values is None or len(values) < 4:
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
            continue
        label = words[0] if words[0].isdecimal() else _class(words[0])
        place = values if len(values) == 4 else _place(values)
        if len(values) > 4 or label is None or max(values) > 2 or min(values) < -1:
            odd.append((number, line, label, values, "." not in words[-1]))
        if len(place) == 4:
            boxes.append(place)
            cx, cy, w, h = place
            box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
            found.objects.append(LabelledObject(label or "", box))
        else:
            corners = tuple(value * (height if at % 2 else width) for at, value in enumerate(place))
            polygon = corners if len(corners) == 8 else None
            found.objects.append(LabelledObject(label or "", enclosing(corners), polygon))
    refused = next((doubt for line in odd if (doubt := _refused(*line))), "") or _refused_together(odd, boxes)
    if refused:
        found.refuse(refused)
    return found


_Line: TypeAlias = "tuple[int, str, str | None, list[float], bool]"


def _place(values: list[float]) -> list[float]:
    """The box or the polygon of a line: Ultralytics writes a confidence and a track number behind a box."""
    return values[:4] if len(values) == 5 or (len(values) == 6 and _is_tracked(values)) else values


def _is_tracked(values: list[float]) -> bool:
    """Whether six numbers are a box, a confidence and a track number, and no triangle."""
    return values[5] > 1 and values[5] == int(values[5]) and 0 <= values[4] <= 1


def _refused(number: int, line: str, label: str | None, values: list[float], whole: bool) -> str:
    """Why a line is none of YOLO; empty where it may be."""
    place = _place(values)
    doubt = "its class is a fraction" if label is None else ""
    if len(values) == 5 and not (0 <= values[4] <= 1 or whole):
        doubt = "the number behind the box is no confidence"
    if not doubt and (len(place) > 4 or max(place) > 2 or min(place) < -1):
        doubt = _doubt(place)
    return doubt and f"line {number} {quoted(line.strip())}: {doubt}"


def _refused_together(odd: Sequence[_Line], boxes: Sequence[Sequence[float]]) -> str:
    """Why the lines of a file together are none of YOLO; empty where they may be."""
    if boxes and _are_corners(boxes):
        return f"{quoted(boxes[0])}: a corner and a corner where centre and size are due?"
    for number, line, _, values, whole in odd:
        if len(values) == 6 and whole and not _is_tracked(values):
            return f"line {number} {quoted(line)}: a triangle, or a box with confidence and track number?"
    return ""


def _class(word: str) -> str | None:
    """The class of a line: ``0.0`` is class 0; a name stays; None for a fraction, which is no class."""
    number = integer_of(word)
    if number is not None:
        return str(number)
    return word if numbers_of([word]) is None else None


def _doubt(values: Sequence[float]) -> str:
    """Why the numbers behind a class are neither a box nor a polygon in shares; empty where they may be."""
    if max(values) > 2 or min(values) < -1:
        return "no shares of the image; pixels?"
    count = len(values)
    if count == 4:
        return ""
    if count % 2:
        return "keypoints or a confidence behind its place"
    if (
        (count - 4) % 3 == 0
        and values[2] > 0 < values[3]
        and all(value in (0, 1, 2) for value in values[6::3])
    ):
        return "keypoints with their visibility behind the box"
    # The second point of an outline lies near the others; the size of a box, read as a point, anywhere.
    x_min, y_min, x_max, y_max = enclosing([*values[:2], *values[4:]])
    dx, dy = x_max - x_min + _TOLERANCE, y_max - y_min + _TOLERANCE
    if not (x_min - dx <= values[2] <= x_max + dx and y_min - dy <= values[3] <= y_max + dy):
        return "keypoints behind a box, or no outline"
    return ""


def _are_corners(boxes: Sequence[Sequence[float]]) -> bool:
    """Whether boxes reach over the edge as centre and size, one at least, and none does as two corners."""
    for a, b, c, d in boxes:
        if not (a < c <= 1 and b < d <= 1):
            return False
    return any(max(abs(cx - 0.5) + w / 2, abs(cy - 0.5) + h / 2) > 0.5 + _TOLERANCE for cx, cy, w, h in boxes)
