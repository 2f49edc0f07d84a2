"""Location: the centres of all objects of one class, from left to right, in 0-1000 of width and height."""

from __future__ import annotations

import re

from irtd_datasets.boxes import Frame
from irtd_datasets.examples.draft import Places, as_json
from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.irtd.tasks.reading import TaskReading, unexpected

__all__ = ["read"]

_QUESTION = re.compile(r"Locate all (\w[\w ]*) from left to right\.")
_ANSWER = re.compile(r"<ref>(\w[\w ]*)</ref> at <pos>\[((?:\(-?\d{1,9}, -?\d{1,9}\)(?:, )?)+)\]</pos>")
_POINT = re.compile(r"\((-?\d+), (-?\d+)\)")


def read(question: str, answer: str) -> TaskReading:
    """Read a class and its points.

    Example:
        >>> reading = read(" Locate all car from left to right.", "<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>")
        >>> reading.question, reading.answer, reading.quirks
        ('Locate all car from left to right.', '[[10, 520], [81, 514]]', ('text-leading-space',))
    """
    asked = _QUESTION.fullmatch(question.strip())
    found = _ANSWER.fullmatch(answer.strip())
    if asked is None:
        raise unexpected("question", question, "'Locate all <class> from left to right.'")
    if found is None:
        raise unexpected("answer", answer, "'<ref>class</ref> at <pos>[(x, y), ...]</pos>'")
    points = [(int(x), int(y)) for x, y in _POINT.findall(found[2])]
    issues = () if all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in points) else ("point-outside-image",)
    return TaskReading(
        question=question.strip(),
        answer=as_json([list(point) for point in points]),
        places=(Places("point", (found[1],) * len(points), tuple(points), Frame.PER_MILLE, FRAME_SIZE),),
        issues=issues,
        quirks=("text-leading-space",) if question[:1] == " " else (),
    )
