"""Points of crowd counting in JSON (RGBT-CC); those in XML (DroneRGBT) are read by the VOC reader."""

from __future__ import annotations

import json
import math

from irtd_datasets.annotations.label_file import LabelFile, LabelProblem, decode_text, unreadable
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_points"]


def parse_points(data: bytes, name: str) -> LabelFile:
    """Read one JSON file of points.

    Args:
        data: The whole file: an object with a list ``points`` of pairs (RGBT-CC), or a list ``shapes`` as labelme
            writes it.
        name: Its name, for messages.

    Returns:
        One object without a label for each point, in pixels.

    Raises:
        AnnotationError: The file is no such object.

    Example:
        >>> [item.point for item in parse_points(b'{"points": [[431, 107.5]], "count": 1}', "1162_GT.json").objects]
        [(431.0, 107.5)]
    """
    try:
        content = json.loads(decode_text(data, name))
    except (ValueError, RecursionError) as error:
        problem = "the file is empty" if not data.strip() else f"no JSON: {error}"
        raise unreadable(name, problem) from error
    points = content.get("points") if isinstance(content, dict) else None
    if points is None and isinstance(content, dict) and isinstance(content.get("shapes"), list):
        points = [
            (shape.get("points") or [None])[0] if isinstance(shape, dict) else None
            for shape in content["shapes"]
        ]
    if not isinstance(points, list):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise unreadable(name, f"no list of points; it has {keys[:80] or 'nothing'}")
    found = LabelFile()
    for number, point in enumerate(points):
        try:
            x, y = (float(value) for value in point[:2])
        except (TypeError, ValueError, KeyError):
            x = y = math.nan
        if math.isfinite(x + y):
            found.objects.append(LabelledObject("", point=(x, y)))
        else:
            found.problems.append(LabelProblem("box-malformed", f"point {number}: {str(point)[:40]}"))
    return found
