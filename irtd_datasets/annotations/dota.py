"""Oriented boxes in lines of text: DOTA ``labelTxt`` and VEDAI."""

from __future__ import annotations

import re

from irtd_datasets.annotations.label_file import LabelFile, decode_text, enclosing, numbers_of, quoted
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_dota", "parse_ucas", "parse_vedai"]

_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")
_DIFFICULTIES = frozenset({"0", "1", "2", "0.0", "1.0", "2.0"})  # 2 occurs in patches that cut an object
_separators = re.compile(r"[,\s]+").split


def parse_dota(data: bytes, name: str) -> LabelFile:
    r"""Read one DOTA label file.

    Args:
        data: The whole file; an empty one says that the image has no object.
        name: Its name, for messages.

    Returns:
        Objects with their polygon and its enclosing box, in pixels. Lines are ``x1 y1 .. x4 y4 class difficult``,
        separated by blanks or commas; a class may have several words, and a missing last word counts as 0. The
        header (``imagesource:``, ``gsd:``) is passed over. A file in which a class is a fraction, or has numbers
        behind it, is another format: none of its objects is believed.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> line = b"674 375 683 375 684 394 675 395 small-vehicle 1"
        >>> found = parse_dota(b"imagesource:GoogleEarth\ngsd:0.27\n" + line, "P1888.txt")
        >>> found.objects[0].label, found.objects[0].box, set(found.objects[0].attributes)
        ('small-vehicle', (674.0, 375.0, 684.0, 395.0), {'difficult'})
    """
    found = LabelFile()
    refused = ""
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = _separators(line.strip()) if "," in line else line.split()
        if not words or line.lower().startswith(_HEADERS):
            continue
        values = numbers_of(words[:8])
        tail = words[8:]
        if values is None or not tail:
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
            continue
        difficult = tail.pop() if len(tail) > 1 and tail[-1] in _DIFFICULTIES else "0"
        numeric = [word for word in tail if not word[:1].isalpha() and numbers_of([word]) is not None]
        if numeric and (len(tail) > 1 or not tail[0].isdecimal()):
            refused = refused or f"line {number} {quoted(line.strip())}: {numeric[0]} where the class is due"
        flags = frozenset({"difficult"} if difficult not in {"0", "0.0"} else ())
        found.objects.append(_oriented(" ".join(tail), values, flags))
    if refused:
        found.refuse(refused)
    return found


def parse_ucas(data: bytes, name: str) -> LabelFile:
    r"""Read one label file of UCAS-AOD.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Returns:
        Objects with their polygon and its enclosing box, in pixels. A line has four corners, an angle, and the upright
        box as x, y, width and height; before them may stand the class, which the set itself says by its folder.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> line = b"car 276.4 91.3 291.1 38.2 330.9 49.3 316.1 102.3 105.5 278.8 38.8 49.8 63.0"
        >>> [(item.label, item.box) for item in parse_ucas(line, "P0001.txt").objects]
        [('car', (276.4, 38.2, 330.9, 102.3))]
    """
    found = LabelFile()
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = line.split()
        label = words.pop(0) if words and words[0][:1].isalpha() else ""
        values = numbers_of(words)
        if values is not None and len(values) == 13:
            found.objects.append(_oriented(label, values[:8], frozenset()))
        elif line.strip():
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
    return found


def _oriented(label: str, corners: list[float], attributes: frozenset[str]) -> LabelledObject:
    return LabelledObject(label, enclosing(corners), tuple(corners), attributes=attributes)


def parse_vedai(data: bytes, name: str) -> LabelFile:
    """Read one VEDAI label file.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Returns:
        Objects whose label is the class number as written. A line has centre, orientation, class, two flags
        (contained, occluded), four x and four y; in the older layout the four x and four y come before the class.
        Which one it is shows in the centre, which is the mean of the corners.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> parse_vedai(b"20 15 0.1 1 1 0 10 30 30 10 10 10 20 20", "00000000.txt").objects[0].box
        (10.0, 10.0, 30.0, 20.0)
    """
    found = LabelFile()
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        values = numbers_of(words)
        read = None if values is None or len(values) != 14 else _vedai_line(values)
        if read is None:
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
            continue
        label, xs, ys, contained, occluded = read
        flags = {"truncated"} if not contained else set()
        if occluded:
            flags.add("occluded")
        corners = [value for pair in zip(xs, ys, strict=True) for value in pair]
        found.objects.append(_oriented(f"{label:g}", corners, frozenset(flags)))
    return found


def _vedai_line(
    values: list[float],
) -> tuple[float, list[float], list[float], float, float] | None:
    for corners, rest in ((values[6:14], values[3:6]), (values[3:11], values[11:14])):
        xs, ys = corners[:4], corners[4:]
        if abs(sum(xs) / 4 - values[0]) <= 3 and abs(sum(ys) / 4 - values[1]) <= 3:
            return rest[0], xs, ys, rest[1], rest[2]
    return None
