"""Boxes in a table with a header, one object a row: the simplest format to write labels of one's own in."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

from irtd_datasets.annotations.label_file import (
    LabelFile,
    decode_text,
    numbers_of,
    quoted,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_boxes_csv"]

_IMAGE = ("image", "image_path", "file_name", "filename", "frame", "path", "name")
_LABEL = ("label", "class", "category", "class_name")
_PLACES = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x", "y", "w", "h"))


def parse_boxes_csv(data: bytes, name: str) -> list[LabelFile]:
    r"""Read a table of boxes.

    Args:
        data: The whole file, with commas, semicolons or tabs.
        name: Its name, for messages.

    Returns:
        One label file for each image, in the order of its first row. Columns, in any case: the image is
        ``image``, ``file_name``, ``frame`` ...; the class ``label``, ``class`` ...; the box ``x_min y_min x_max
        y_max``, ``xmin ymin xmax ymax`` or ``x y w h``, in pixels; optionally ``width`` and ``height`` of the
        image, and ``identity``. Others are left out. A row with an image alone says that it has no object.

    Raises:
        AnnotationError: The header lacks a column, or the file is empty.

    Example:
        >>> table = b"frame,class,x,y,w,h\nFLIR_00018,car,10,206,178,123\n"
        >>> parse_boxes_csv(table, "boxes.csv")[0].objects[0].box
        (10.0, 206.0, 188.0, 329.0)
    """
    text = decode_text(data, name)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = {
            column.strip().lower(): place for place, column in reversed(list(enumerate(next(rows, []))))
        }
        read = _columns(columns, name)
        found: dict[str, LabelFile] = {}
        for row in rows:
            if any(row):
                _add_row(found, row, read, f"line {rows.line_num}")
    except csv.Error as error:
        raise unreadable(name, f"no table: {error}") from error
    return list(found.values())


class _Columns(NamedTuple):
    cells: int
    image: int
    label: int
    place: list[int]
    corners: bool
    size: tuple[int, int] | None
    identity: int | None


def _columns(columns: dict[str, int], name: str) -> _Columns:
    image = next((columns[key] for key in _IMAGE if key in columns), None)
    label = next((columns[key] for key in _LABEL if key in columns), None)
    keys = next((keys for keys in _PLACES if set(keys) <= set(columns)), None)
    if image is None or label is None or keys is None:
        raise unreadable(
            name,
            f"its header has {', '.join(columns)[:200] or 'no columns'}; expected an image, a class and a box",
            "Name the columns image, label, x_min, y_min, x_max, y_max.",
        )
    size = (columns["width"], columns["height"]) if {"width", "height"} <= set(columns) else None
    place = [columns[key] for key in keys]
    return _Columns(
        max(columns.values()) + 1, image, label, place, keys is not _PLACES[2], size, columns.get("identity")
    )


def _add_row(found: dict[str, LabelFile], row: list[str], columns: _Columns, where: str) -> None:
    cells = [*row, *[""] * columns.cells]
    image, label = cells[columns.image].strip(), cells[columns.label].strip()
    file = found.setdefault(image, LabelFile(image=image))
    place = [cells[place].strip() for place in columns.place]
    if columns.size and file.width is None:
        size = numbers_of([cells[place] for place in columns.size])
        if size and min(size) >= 1:
            file.width, file.height = int(size[0]), int(size[1])
    if not any(place) and not label:
        return
    values = numbers_of(place)
    if values is None:
        file.lose("box-malformed", f"{where}: {quoted(','.join(row))}")
        return
    x, y, x2, y2 = values
    box = (x, y, x2, y2) if columns.corners else (x, y, x + x2, y + y2)
    identity = None if columns.identity is None else cells[columns.identity].strip() or None
    file.objects.append(LabelledObject(label, box, identity=identity))
