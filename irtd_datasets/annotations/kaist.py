"""Text labels with flags for what is to be ignored: KAIST (``bbGt version=3`` of Dollar's toolbox) and VisDrone."""

from __future__ import annotations

from irtd_datasets.annotations.label_file import (
    LabelFile,
    decode_text,
    numbers_of,
    quoted,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_bbgt", "parse_visdrone"]


def parse_bbgt(data: bytes, name: str) -> LabelFile:
    r"""Read one text label file of KAIST.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Returns:
        Objects; a line is class, x, y, width, height, occlusion (0 to 2), four numbers of the visible part, ignore
        flag and angle. Everything after the box may be missing. A line with an angle is left out and listed: its box
        is that of a turned object.

    Raises:
        AnnotationError: The file does not begin with ``% bbGt``.

    Example:
        >>> parse_bbgt(b"% bbGt version=3\nperson 306 207 36 74 1 0 0 0 0 0 0", "I00019.txt").objects[0].box
        (306.0, 207.0, 342.0, 281.0)
    """
    lines = decode_text(data, name).splitlines()
    if not lines or not lines[0].replace(" ", "").startswith("%bbGt"):
        raise unreadable(
            name, f"its first line is {lines[0][:40] if lines else ''!r}, expected % bbGt version=3"
        )
    found = LabelFile()
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words:
            continue
        values = numbers_of(words[1:])
        if values is None or len(values) < 4 or len(values) > 11 or any(values[10:]):
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
            continue
        x, y, w, h = values[:4]
        flags = set()
        if len(values) > 4 and values[4]:
            flags.add("occluded")
        if len(values) > 9 and values[9]:
            flags.add("ignored")
        found.objects.append(LabelledObject(words[0], (x, y, x + w, y + h), attributes=frozenset(flags)))
    return found


def parse_visdrone(data: bytes, name: str) -> LabelFile:
    r"""Read one text label file of VisDrone-DET.

    Args:
        data: The whole file; an empty one says that the image has no object.
        name: Its name, for messages.

    Returns:
        Objects whose label is the class number. A line is x, y, width, height, score, class (0 to 11), truncation and
        occlusion, separated by commas. What has a score of 0, and class 0, is a region that its authors do not
        count; it gets the attribute ``ignored``.

    Raises:
        AnnotationError: The file is no text.

    Example:
        >>> found = parse_visdrone(b"684,8,273,116,0,0,0,0\n406,119,265,70,1,4,0,1\n", "0000001.txt")
        >>> [(item.label, item.box, sorted(item.attributes)) for item in found.objects]
        [('0', (684.0, 8.0, 957.0, 124.0), ['ignored']), ('4', (406.0, 119.0, 671.0, 189.0), ['occluded'])]
    """
    found = LabelFile()
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        words = [word for word in line.strip().strip(",").split(",") if word.strip()]
        if not words:
            continue
        values = numbers_of(words)
        if values is None or len(values) != 8 or values[4] not in (0, 1) or values[5] not in range(12):
            found.lose("box-malformed", f"line {number}: {quoted(line.strip())}")
            continue
        x, y, w, h = values[:4]
        flags = {"ignored"} if not (values[4] and values[5]) else set()
        if values[6]:
            flags.add("truncated")
        if values[7]:
            flags.add("occluded")
        label = str(int(values[5]))
        found.objects.append(LabelledObject(label, (x, y, x + w, y + h), attributes=frozenset(flags)))
    return found
