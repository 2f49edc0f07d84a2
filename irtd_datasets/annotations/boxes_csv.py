"""Boxes in a table with a header, one object a row: the simplest format to write labels of one's own in."""

from __future__ import annotations

import csv
import io

from irtd_datasets.annotations.label_file import (
    LabelFile,
    LabelProblem,
    decode_text,
    numbers_of,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_boxes_csv"]

_IMAGE = ("image", "image_path", "file_name", "filename", "frame", "path", "name")
_LABEL = ("label", "class", "category", "class_name")
_PLACES = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x", "y", "w", "h"))


def parse_boxes_csv(data: bytes, name: str) -> list[LabelFile]:
    """Read a table of boxes.

    Args:
        data: The whole file, with commas, semicolons or tabs.
        name: Its name, for messages.

    Returns:
        One label file for each picture, in the order of its first row. Columns, in any case: the picture is
        ``image``, ``file_name``, ``frame`` ...; the class ``label``, ``class`` ...; the box ``x_min y_min x_max y_max``,
        ``xmin ymin xmax ymax`` or ``x y w h``, in pixels; optionally ``width`` and ``height`` of the picture, and
        ``identity``. Others are left out.

    Raises:
        AnnotationError: The header lacks a column, or the file is empty.

    Example:
        >>> parse_boxes_csv(b"frame,class,x,y,w,h\\nFLIR_00018,car,10,206,178,123\\n", "boxes.csv")[0].objects[0].box
        (10.0, 206.0, 188.0, 329.0)
    """
    text = decode_text(data, name)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = {column.strip().lower(): place for place, column in reversed(list(enumerate(next(rows, []))))}
    image = next((columns[key] for key in _IMAGE if key in columns), None)
    label = next((columns[key] for key in _LABEL if key in columns), None)
    place = next(([columns[key] for key in keys] for keys in _PLACES if set(keys) <= set(columns)), None)
    if image is None or label is None or place is None:
        raise unreadable(
            name,
            f"its header has {', '.join(columns) or 'no columns'}; expected a picture, a class and a box",
            "Name the columns image, label, x_min, y_min, x_max, y_max.",
        )
    is_corners = "x" not in columns or not set(_PLACES[2]) <= set(columns) or "x_min" in columns
    found: dict[str, LabelFile] = {}
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        try:
            key = row[image].strip()
            values = numbers_of([row[index] for index in place])
        except IndexError:
            key, values = (row[image].strip() if len(row) > image else ""), None
        file = found.setdefault(key, LabelFile(image=key))
        if values is None:
            file.problems.append(
                LabelProblem("box-malformed", f"line {number}: {delimiter.join(row)[:60]!r}")
            )
            continue
        x, y, x2, y2 = values
        box = (x, y, x2, y2) if is_corners else (x, y, x + x2, y + y2)
        identity = row[columns["identity"]].strip() if "identity" in columns else None
        file.objects.append(LabelledObject(row[label].strip(), box, identity=identity or None))
        if "width" in columns and "height" in columns and file.width is None:
            size = numbers_of([row[columns["width"]], row[columns["height"]]])
            if size and min(size) >= 1:
                file.width, file.height = int(size[0]), int(size[1])
    return list(found.values())
