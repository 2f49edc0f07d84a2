"""Points of crowd counting in JSON (RGBT-CC), and shapes of labelme; points in XML (DroneRGBT) are read as VOC."""

from __future__ import annotations

import json

from irtd_datasets.annotations.label_file import (
    LabelFile,
    decode_text,
    enclosing,
    integer_of,
    members_of,
    quoted,
    text_of,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_points"]

_LEAST_POINTS = {"rectangle": 2, "circle": 2, "polygon": 3}


def parse_points(data: bytes, name: str) -> LabelFile:
    """Read one JSON file of points or shapes.

    Args:
        data: The whole file: an object with a list ``points`` of pairs (RGBT-CC), or a list ``shapes`` as labelme
            writes it.
        name: Its name, for messages.

    Returns:
        One object without a label for each point, in pixels; the shapes of labelme with their labels: a point, or the
        box of a rectangle, a circle (centre and a point of its rim) or a polygon. Other shapes are left out and
        listed. Where a ``count`` is given and is not that of the points, that is listed, too.

    Raises:
        AnnotationError: The file is no such object.

    Example:
        >>> [item.point for item in parse_points(b'{"points": [[431, 107.5]], "count": 1}', "1162_GT.json").objects]
        [(431.0, 107.5)]
        >>> shape = b'{"shapes": [{"label": "car", "shape_type": "rectangle", "points": [[9, 8], [1, 2]]}]}'
        >>> parse_points(shape, "1.json").objects[0].box
        (1.0, 2.0, 9.0, 8.0)
    """
    try:
        content = json.loads(decode_text(data, name))
    except (ValueError, RecursionError) as error:
        problem = "the file is empty" if not data.strip() else f"no JSON: {error}"
        raise unreadable(name, problem) from error
    members = content if isinstance(content, dict) else {}
    found = LabelFile()
    if isinstance(members.get("shapes"), list):
        found.width, found.height = (_size(members.get(key)) for key in ("imageWidth", "imageHeight"))
        for number, shape in enumerate(members["shapes"]):
            item = _shape(shape) if isinstance(shape, dict) else None
            if item is None:
                found.lose("box-malformed", f"shape {number}: {quoted(shape)}")
            else:
                found.objects.append(item)
        return found
    points = members.get("points")
    if not isinstance(points, list):
        keys = ", ".join(members) if members else type(content).__name__
        raise unreadable(name, f"no list of points; it has {keys[:80] or 'nothing'}")
    for number, point in enumerate(points):
        pair = members_of(point)
        if pair is None or len(pair) < 2:
            found.lose("box-malformed", f"point {number}: {quoted(point)}")
        else:
            found.objects.append(LabelledObject("", point=(pair[0], pair[1])))
    count = integer_of(members.get("count"))
    if count is not None and count != len(points):
        found.lose("count-differs", f"{count} said, {len(points)} points")
    return found


def _size(value: object) -> int | None:
    number = integer_of(value)
    return number if number and number > 0 else None


def _shape(shape: dict[str, object]) -> LabelledObject | None:
    """A shape of labelme; None where it is none that has a place."""
    points = shape.get("points")
    pairs = [members_of(point) for point in points] if isinstance(points, list) else []
    if not pairs or any(pair is None or len(pair) < 2 for pair in pairs):
        return None
    flat = [value for pair in pairs if pair for value in pair[:2]]
    label = text_of(shape.get("label")) or ""
    # Old versions of labelme had polygons alone and did not name the shape.
    kind = shape.get("shape_type") or ("point" if len(pairs) == 1 else "polygon")
    if kind == "point" and len(pairs) == 1:
        return LabelledObject(label, point=(flat[0], flat[1]))
    if len(pairs) < _LEAST_POINTS.get(str(kind), len(pairs) + 1):
        return None
    if kind == "circle":
        radius = ((flat[2] - flat[0]) ** 2 + (flat[3] - flat[1]) ** 2) ** 0.5
        return LabelledObject(label, (flat[0] - radius, flat[1] - radius, flat[0] + radius, flat[1] + radius))
    polygon = tuple(flat) if kind == "polygon" and len(flat) == 8 else None
    return LabelledObject(label, enclosing(flat), polygon)
