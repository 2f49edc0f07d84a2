"""KAIST text labels: ``bbGt version=3`` of Piotr Dollar's toolbox, as the improved test annotations have it."""

from __future__ import annotations

from irtd_datasets.annotations.label_file import (
    LabelFile,
    LabelProblem,
    decode_text,
    numbers_of,
    unreadable,
)
from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["parse_bbgt"]


def parse_bbgt(data: bytes, name: str) -> LabelFile:
    """Read one text label file of KAIST.

    Args:
        data: The whole file.
        name: Its name, for messages.

    Returns:
        Objects; a line is class, x, y, width, height, occlusion (0 to 2), four numbers of the visible part, ignore
        flag and angle. Everything after the box may be missing.

    Raises:
        AnnotationError: The file does not begin with ``% bbGt``.

    Example:
        >>> parse_bbgt(b"% bbGt version=3\\nperson 306 207 36 74 1 0 0 0 0 0 0", "I00019.txt").objects[0].box
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
        if values is None or len(values) < 4:
            found.problems.append(LabelProblem("box-malformed", f"line {number}: {line.strip()[:60]!r}"))
            continue
        x, y, w, h = values[:4]
        flags = set()
        if len(values) > 4 and values[4]:
            flags.add("occluded")
        if len(values) > 9 and values[9]:
            flags.add("ignored")
        found.objects.append(LabelledObject(words[0], (x, y, x + w, y + h), attributes=frozenset(flags)))
    return found
