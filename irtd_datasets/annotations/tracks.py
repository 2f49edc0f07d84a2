"""Track files: one line of text with a box for each frame, or for every tenth one (VTUAV)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from irtd_datasets.annotations.label_file import (
    LabelProblem,
    decode_text,
    enclosing,
    numbers_of,
    quoted,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TrackLine", "frames_of_lines", "parse_track"]

TrackLine = tuple[tuple[float, float, float, float] | None, tuple[float, ...] | None]
"""Box and polygon of a line; both None where the target is absent."""

_separators = re.compile(r"[,\s;]+").split
_number = re.compile(r"(\d+)(?!.*\d)").search


def parse_track(
    data: bytes, name: str, *, corners: bool = False
) -> tuple[list[TrackLine], list[LabelProblem]]:
    r"""Read one track file.

    Args:
        data: The whole file, numbers separated by commas, tabs or blanks (LSOTB-TIR, RGBT234, LasHeR, PTB-TIR,
            Anti-UAV: commas; GTOT, VTUAV: blanks).
        name: Its name, for messages.
        corners: Whether lines of four numbers are x_min, y_min, x_max, y_max (``groundTruth_i.txt`` of GTOT) and not
            x, y, width, height.

    Returns:
        Box and polygon of each line. Lines of eight numbers are corners of a polygon. Where the target is absent
        (no width or height, NaN, an empty line) both are None. So they are in a line that cannot be read, which is
        listed with its number.

    Raises:
        AnnotationError: The file is no text, or not one of its lines can be read.

    Example:
        >>> lines, problems = parse_track(b"190,134,24,35\n0 0 0 0\n", "infrared.txt")
        >>> lines
        [((190.0, 134.0, 214.0, 169.0), None), (None, None)]
    """
    lines: list[TrackLine] = []
    problems = []
    told = 0
    for number, line in enumerate(decode_text(data, name).rstrip().splitlines()):
        words = [word for word in _separators(line.strip()) if word]
        if not words or any(word.lower() == "nan" for word in words):
            lines.append((None, None))
            continue
        told += 1
        values = numbers_of(words) or []
        if len(values) == 8:
            lines.append((enclosing(values), tuple(values)))
            continue
        lines.append((None, None))
        if len(values) == 4:
            x, y, w, h = values
            x_max, y_max = (w, h) if corners else (x + w, y + h)
            if x_max > x and y_max > y:
                lines[-1] = ((x, y, x_max, y_max), None)
            if x_max >= x and y_max >= y:
                continue
        problems.append(LabelProblem("box-malformed", f"line {number + 1}: {quoted(line.strip())}", number))
    if told and len(problems) == told:
        raise unreadable(
            name, f"no line has a box of 4 or 8 numbers: {problems[0].detail}", "Give its reader."
        )
    return lines, problems


def frames_of_lines(frames: Sequence[str], lines: int, every: int = 1) -> Iterator[tuple[int, str, int]]:
    """Which line belongs to which frame.

    Line k belongs to frame k * every, counted from the first. Where a folder holds a part of the frames, their own
    numbers decide: with every tenth frame kept, ``000050`` has line 5.

    Args:
        frames: Names of the frames without extension, in order.
        lines: Number of lines of the track file.
        every: Frames from one line to the next.

    Yields:
        Place of the frame in `frames`, its name, and its line.

    Example:
        >>> list(frames_of_lines(["000000", "000010", "000020"], 11, 10))
        [(0, '000000', 0), (1, '000010', 1), (2, '000020', 2)]
        >>> list(frames_of_lines(["a", "b", "c"], 2, 2))
        [(0, 'a', 0), (2, 'c', 1)]
    """
    complete = len(frames) == lines if every == 1 else (lines - 1) * every < len(frames)
    numbers = [int(match[1]) if (match := _number(frame)) else None for frame in frames]
    numbered = None not in numbers
    for place, (frame, number) in enumerate(zip(frames, numbers, strict=True)):
        if complete or not numbered:
            at = place
        else:
            assert number is not None
            # Frames count from 0 or from 1; a folder that lacks the first frame cannot tell, then 0 it is.
            at = number - (1 if numbers[0] == 1 else 0)
        if at % every == 0 and at // every < lines:
            yield place, frame, at // every
