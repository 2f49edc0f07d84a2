r"""Boxes and points that models write, in the grammars of the releases, the markup of any family, or neither."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from irtd_datasets.boxes.markup import find_markup
from irtd_datasets.boxes.text import parse_boxes
from irtd_datasets.evaluate.reasoning import without_reasoning

if TYPE_CHECKING:
    from collections.abc import Sequence

Numbers: TypeAlias = tuple[float, ...]

__all__ = ["Place", "read_boxes", "read_places", "read_points"]

_N = r"\s?([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s?"
_GAP = r"(?:,|;|\s)"
_FOUR = re.compile(rf"[\[({{<]{_N}{_GAP}{_N}{_GAP}{_N}{_GAP}{_N}[\])}}>]")
_PERCENT = re.compile(_FOUR.pattern.replace(rf"{_N}", rf"{_N}%\s?"))
_CORNERS = re.compile(rf"[\[(]{_N}{_GAP}{_N}[\])]\s?(?:,|;|and|to|-)?\s?[\[(]{_N}{_GAP}{_N}[\])]")
_TWO = re.compile(rf"[\[(]{_N}{_GAP}{_N}[\])]")
_BARE_FOUR = re.compile(rf"{_N},{_N},{_N},{_N}")
_BARE_TWO = re.compile(rf"{_N},{_N}")
# An order that the answer itself states: "[ymin, xmin, ymax, xmax]".
_Y_FIRST = re.compile(
    r"\by_?(?:min|1)[\"']?\s?,\s?[\"']?x_?(?:min|1)[\"']?\s?,\s?[\"']?y_?(?:max|2)[\"']?\s?,\s?[\"']?x_?(?:max|2)\b",
    re.IGNORECASE,
)
_NO_PLACES = re.compile(r"\[\s?\]|\b(?:none|no \w+)\b", re.IGNORECASE)


class Place(NamedTuple):
    """A place that an answer names.

    Attributes:
        kind: ``box``, ``polygon`` or ``point``.
        numbers: x before y, in whatever frame the model counts; the corners of a box in order.
        label: Class name that stands with it, in the singular; may be empty.
        score: Confidence that stands with it.
        base: What its markup counts a full side as; None where the markup does not say.
        fixed: Whether the markup can count nothing else.
    """

    kind: str
    numbers: Numbers
    label: str = ""
    score: float | None = None
    base: float | None = None
    fixed: bool = False


def read_places(text: str) -> list[Place]:
    """All places that an answer names, in its order, each with what its markup says about it.

    Boxes and polygons hide points: a list of corners is no list of points.

    Example:
        >>> read_places("There are <p>two ships</p>[.1,.2,.3,.4;.5,.6,.7,.8]")[1]
        Place(kind='box', numbers=(0.5, 0.6, 0.7, 0.8), label='ship', score=None, base=None, fixed=False)
        >>> read_places("ship<loc_100><loc_164><loc_180><loc_256>")[0].base
        999.0
    """
    text = without_reasoning(text)
    marked = {one.start: one for one in find_markup(text)}
    found: list[Place] = []
    for span in parse_boxes(text).spans if "[" in text or marked or "<box" in text or "<pos" in text else ():
        if not span.is_readable and "own-frame" not in span.problems:
            continue
        mark = marked.get(span.start) if span.family else None
        extra = (mark.score, mark.base, mark.fixed) if mark else (None, None, False)
        found.append(Place(span.kind, _ordered(span.kind, span.numbers), span.label, *extra))
    if any(place.kind != "point" for place in found):
        found = [place for place in found if place.kind != "point"]
    found = found or _unmarked(
        " ".join(text.split())
    )  # runs of blanks would make the patterns go back and forth
    if _Y_FIRST.search(text):
        return [place if place.base or place.kind == "point" else _exchanged(place) for place in found]
    return found


def _exchanged(place: Place) -> Place:
    return place._replace(numbers=tuple(place.numbers[index ^ 1] for index in range(len(place.numbers))))


def _unmarked(text: str) -> list[Place]:
    base = None
    matches = list(_FOUR.finditer(text))
    if not matches and "%" in text:
        matches, base = list(_PERCENT.finditer(text)), 100.0
    matches = matches or list(_CORNERS.finditer(text))
    if not matches:
        bare = _BARE_FOUR.fullmatch(text.strip("[](){}. "))
        matches = [bare] if bare else []
    boxes = [tuple(map(float, match.groups())) for match in matches]
    return [Place("box", _ordered("box", box), base=base) for box in boxes if all(map(math.isfinite, box))]


def _ordered(kind: str, numbers: Numbers) -> Numbers:
    if kind != "box":
        return numbers
    a, b, c, d = numbers
    return (min(a, c), min(b, d), max(a, c), max(b, d))


def read_boxes(text: str) -> list[Numbers] | None:
    """Boxes in the order written, x before y, corners in order, in whatever frame the model counts.

    A polygon counts as the box around it.

    Example:
        >>> read_boxes("<|object_ref_start|>car<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>")
        [(10.0, 20.0, 30.0, 40.0)]
        >>> read_boxes('{"ymin": 20, "xmin": 10, "ymax": 40, "xmax": 30}')
        [(10.0, 20.0, 30.0, 40.0)]
        >>> read_boxes("I see no car.") is None
        True
    """
    return [enclosing(place.numbers) for place in read_places(text) if place.kind != "point"] or None


def enclosing(numbers: Numbers) -> Numbers:
    """The box around a box or polygon.

    Example:
        >>> enclosing((5, 0, 9, 4, 5, 8, 1, 4))
        (1, 0, 9, 8)
    """
    xs, ys = numbers[::2], numbers[1::2]
    return (min(xs), min(ys), max(xs), max(ys))


def read_points(text: str) -> list[Numbers] | None:
    """Points in the order written; a box counts as its centre. An empty list where the text says that there are none.

    Example:
        >>> read_points("<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>")
        [(10.0, 520.0), (81.0, 514.0)]
        >>> read_points('[{"point_2d": [5, 6], "label": "car"}]'), read_points("[[0, 10, 20, 30]]")
        ([(5.0, 6.0)], [(10.0, 20.0)])
    """
    places = read_point_places(text)
    return None if places is None else [place.numbers for place in places]


def read_point_places(text: str) -> list[Place] | None:
    """`read_points` with what the markup says about each."""
    text = without_reasoning(text)
    pairs = " ".join(text.split())
    found: Sequence[Place] = read_places(text)
    if any(place.kind == "box" for place in found) and not _FOUR.search(pairs) and _are_pairs(found, pairs):
        found = []
    if found:
        return [
            place
            if place.kind == "point"
            else place._replace(kind="point", numbers=_centre(enclosing(place.numbers)))
            for place in found
        ]
    matches = list(_TWO.finditer(pairs))
    if not matches:
        bare = _BARE_TWO.fullmatch(pairs.strip("[](){}. "))
        matches = [bare] if bare else []
    if matches:
        return [Place("point", tuple(map(float, match.groups()))) for match in matches]
    return [] if _NO_PLACES.search(pairs) else None


def _are_pairs(found: Sequence[Place], text: str) -> bool:
    """Whether boxes were made of pairs that no markup holds together: as points they are twice as many."""
    return not find_markup(text) and len(_TWO.findall(text)) >= 2 * len(found)


def _centre(box: Numbers) -> Numbers:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
