"""YOLO text labels: a class number and a box in shares of the image's size, one object a line."""

from __future__ import annotations

from irtd_datasets.annotations.label_file import LabelFile, LabelProblem, decode_text, numbers_of
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_yolo"]


def parse_yolo(data: bytes, name: str, width: int, height: int) -> LabelFile:
    """Read one YOLO label file.

    Args:
        data: The whole file; an empty one says that the image has no object.
        name: Its name, for messages.
        width: Pixels of the image.
        height: Pixels of the image.

    Returns:
        Objects whose label is the class number as written. Lines have 5 numbers (class, centre, size), 6 (with a
        confidence, which is left out), or a class and at least 3 points of a polygon, of which the box is kept, and
        the polygon where it has 4 corners. Other lines are left out and listed.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> parse_yolo(b"0 0.4 0.6328125 0.125 0.09375", "1.txt", 640, 512).objects[0].box
        (216.0, 300.0, 296.0, 348.0)
    """
    found = LabelFile(width=width, height=height)
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        values = numbers_of(words[1:])
        if values is None or len(values) < 4 or (len(values) > 5 and len(values) % 2):
            found.problems.append(LabelProblem("box-malformed", f"line {number}: {line.strip()[:60]!r}"))
        elif len(values) <= 5:
            cx, cy, w, h = values[:4]
            box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
            found.objects.append(LabelledObject(words[0], box))
        else:
            xs, ys = [x * width for x in values[0::2]], [y * height for y in values[1::2]]
            corners = tuple(value for pair in zip(xs, ys, strict=True) for value in pair)
            found.objects.append(
                LabelledObject(
                    words[0], (min(xs), min(ys), max(xs), max(ys)), corners if len(corners) == 8 else None
                )
            )
    return found
