"""Location: the centres of all objects of one class, from left to right, in 0-1000 of width and height.

Rule (measured on 14,979 released records): one record for each image and class; points are box centres, each axis
rounded by itself, in ascending order of x and then y. Metric: mean absolute error (paper section 5.1).

Chosen here: by the choice ``spacing`` the order from left to right is asked for only where the centres of any two
objects lie further apart in x than `MARGIN` of the width, so that it stays when any one is moved by that.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.irtd.tasks.generation import MARGIN, Made, per_mille
from irtd_datasets.irtd.tasks.parsing import TaskReading, unexpected
from irtd_datasets.rows.pending import Regions, as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.irtd.tasks.generation import Labels, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["METRIC", "MOST_POINTS", "format_answer", "make", "parse_answer", "read"]

METRIC = "mean absolute error"
MOST_POINTS = 40
"""Most points of a released record; images with more of a class are not asked about."""

_QUESTION = re.compile(r"(?:Locate all|Locate the positions of all) (\w[\w ]*) from left to right\.")
_POINTS = r"((?:\(-?\d{1,9}, -?\d{1,9}\)(?:, )?)+)"
_ANSWER = re.compile(rf"<ref>(\w[\w ]*)</ref> at <pos>\[{_POINTS}\]</pos>")
_PAPER_ANSWER = re.compile(rf"The (\w[\w ]*) at {_POINTS}\.")
_POINT = re.compile(r"\((-?\d+), (-?\d+)\)")
_TEMPLATES = {
    "released": (" Locate all {} from left to right.", "<ref>{}</ref> at <pos>[{}]</pos>"),
    "mended": ("Locate all {} from left to right.", "<ref>{}</ref> at <pos>[{}]</pos>"),
    "paper": ("Locate the positions of all {} from left to right.", "The {} at {}."),
}


def read(question: str, answer: str, *, size: tuple[int, int] | None = FRAME_SIZE) -> TaskReading:
    """Read a class and its points.

    Args:
        question: As released.
        answer: As released.
        size: Width and height of the image that the points were made on.

    Example:
        >>> parsed = read(" Locate all car from left to right.", "<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>")
        >>> parsed.question, parsed.answer, parsed.quirks
        ('Locate all car from left to right.', '[[10, 520], [81, 514]]', ('text-leading-space',))
    """
    if _QUESTION.fullmatch(question.strip()) is None:
        raise unexpected("question", question, "'Locate all <class> from left to right.'")
    label, points = parse_answer(answer)
    outside = [x for x, y in points if not (0 <= x <= 1000 and 0 <= y <= 1000)]
    return TaskReading(
        question=question.strip(),
        answer=as_json(points),
        regions=(Regions("point", (label,) * len(points), tuple(points), Frame.PER_MILLE, size),),
        issues=("point-outside-image",) if outside else (),
        quirks=("text-leading-space",) if question[:1] == " " else (),
    )


def parse_answer(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The class and the points of an answer, in 0-1000 of width and height.

    Raises:
        RecordError: It is not written as the release, or the paper's Fig. 2, writes it.

    Example:
        >>> parse_answer("<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>")
        ('car', [(10, 520), (81, 514)])
    """
    found = _ANSWER.fullmatch(text.strip()) or _PAPER_ANSWER.fullmatch(text.strip())
    if found is None:
        raise unexpected("answer", text, "'<ref>class</ref> at <pos>[(x, y), ...]</pos>'")
    return found[1], [(int(x), int(y)) for x, y in _POINT.findall(found[2])]


def format_answer(label: str, points: Sequence[tuple[int, int]], wording: str = "released") -> str:
    """The inverse of `parse_answer`.

    Example:
        >>> format_answer("person", [(318, 718)], "paper")
        'The person at (318, 718).'
    """
    return _TEMPLATES[wording][1].format(label, ", ".join(f"({x}, {y})" for x, y in points))


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:  # noqa: ARG001 - the signature of every task
    """A record for each class of which it is known where all objects are."""
    if labels.size is None:
        return []
    made = []
    for name in sorted(labels.countable(rules) & set(labels.words)):
        things = labels.of(name)
        points = [per_mille(thing, *labels.size) for thing in things]
        if len(things) <= MOST_POINTS and (rules.spacing == "any" or _is_ordered(points)):
            question = _TEMPLATES[rules.wording][0].format(name)
            made.append(Made(question, format_answer(name, points, rules.wording), name))
    return made


def _is_ordered(points: Sequence[tuple[int, int]]) -> bool:
    """Whether points keep their order when one is moved by the margin; rounding may take two of its thousandths."""
    return all(right[0] - left[0] > 1000 * MARGIN + 1 for left, right in pairwise(points))
