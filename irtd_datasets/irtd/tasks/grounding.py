"""Grounding: the box of the object that a phrase describes, in pixels of the image. Metric: mAP at IoU 0.5 (5.1).

Rules (measured on 2,789 released records): one box a record, integers, one phrase of three families: ``nearest <c>
located at the <pos>`` (1,308), ``<c> located at the <pos> of the image`` (1,067), ``<c> located to the left|right of
the <c2>`` (414; one object of each class, or two of one). ``<pos>`` is the cell of the box centre in thirds of width
and height. The nearest of several is the one with the largest box.

Chosen here: by the choice ``uniqueness`` a phrase fits one object, and does so when any object is moved by `MARGIN` of
the width and height; its box has sides of at least `LEAST_SIDE` pixels; the nearest is asked for in images from the
ground only, of what is no aircraft, and where its box is larger than the next by a factor of `CLEAR`; an object to the
left of another ends before the centre of that other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.irtd.tasks.generation import MARGIN, Made, aloft, cell, may_be_in, stays_in
from irtd_datasets.irtd.tasks.parsing import TaskReading, unexpected
from irtd_datasets.rows.pending import Correction, Regions, as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.irtd.tasks.generation import Labels, Rules, Thing
    from irtd_datasets.rows.seeded import Draw

__all__ = ["CLEAR", "LEAST_SIDE", "METRIC", "format_answer", "make", "parse_answer", "phrases", "read"]

METRIC = "mean average precision at IoU 0.5"
CLEAR = 1.2
"""How much larger the box of the nearest object is than that of the next."""
LEAST_SIDE = 6
"""Pixels: a box of smaller sides that is one pixel off has an IoU below 0.5 with the right one."""

_QUESTION = re.compile(r"Detect the bounding box(?:es)? of the (.+)\.")
_INTEGER = r"(-?\d{1,9})"
_BOX = rf"\[{', '.join([_INTEGER] * 4)}\]"
_ANSWER = re.compile(rf"The target bounding box is <box>\[{_BOX}\]</box>\.|The .+ at {_BOX}\.")
_LEFT_OF = re.compile(r"(\w+) located to the left of the (\w+)")
_SUBJECT = re.compile(r"(?:nearest )?(.+?) (?:located|in) (?:at|to|the) .+")
_TEMPLATES = {
    "released": ("Detect the bounding box of the {}.", "The target bounding box is <box>[{}]</box>."),
    "mended": ("Detect the bounding box of the {}.", "The target bounding box is <box>[{}]</box>."),
    "paper": ("Detect the bounding boxes of the {}.", "The {} at {}."),
}


def read(
    question: str, answer: str, *, size: tuple[int, int] = FRAME_SIZE, released: bool = True
) -> TaskReading:
    """Read a referring phrase and its one box (x_min, y_min, x_max, y_max).

    Args:
        question: As released.
        answer: As released.
        size: Width and height of the image that the box was made on.
        released: Whether it is one of the released records, all of which are wrong about "to the left of".

    Example:
        >>> parsed = read(
        ...     "Detect the bounding box of the person located to the left of the car.",
        ...     "The target bounding box is <box>[[374, 165, 630, 377]]</box>.",
        ... )
        >>> parsed.issues, parsed.regions[0].labels, parsed.corrections[0].value
        (('label-reference-object',), ('person',), 'car')
    """
    asked = _QUESTION.fullmatch(question.strip())
    if asked is None:
        raise unexpected("question", question, "'Detect the bounding box of the <description>.'")
    box = list(parse_answer(answer))
    subject = _SUBJECT.fullmatch(asked[1])
    label = subject[1] if subject else asked[1]
    issues: list[str] = []
    corrections: list[Correction] = []
    relation = _LEFT_OF.fullmatch(asked[1])
    if relation and released:
        # Every released "to the left of" has the box of the object on the right, the reference; "to the right of"
        # has that of the object on the right as well, which is what it asks for.
        issues.append("label-reference-object")
        if relation[1] != relation[2]:
            corrections.append(Correction("label-reference-object", "objects.label", relation[2]))
    width, height = size
    clipped = [
        min(max(box[0], 0), width),
        min(max(box[1], 0), height),
        min(max(box[2], 0), width),
        min(max(box[3], 0), height),
    ]
    if clipped != box:
        issues.append("box-outside-image")
        if clipped[0] < clipped[2] and clipped[1] < clipped[3]:
            corrections.append(Correction("box-outside-image", "objects.box", as_json([clipped])))
    if box[0] >= box[2] or box[1] >= box[3]:
        issues.append("box-degenerate")
    return TaskReading(
        question=question.strip(),
        answer=as_json(box),
        regions=(Regions("box", (label,), (tuple(box),), Frame.PIXEL, size),),
        issues=tuple(issues),
        corrections=tuple(corrections),
    )


def parse_answer(text: str) -> tuple[int, int, int, int]:
    """The box of an answer: x_min, y_min, x_max, y_max in pixels of the image.

    Raises:
        RecordError: It is not written as the release, or the paper's Fig. 2, writes it.

    Example:
        >>> parse_answer("The target bounding box is <box>[[500, 223, 512, 238]]</box>.")
        (500, 223, 512, 238)
    """
    found = _ANSWER.fullmatch(text.strip())
    if found is None:
        raise unexpected("answer", text, "'The target bounding box is <box>[[x1, y1, x2, y2]]</box>.'")
    x_min, y_min, x_max, y_max = (int(number) for number in found.groups() if number is not None)
    return x_min, y_min, x_max, y_max


def format_answer(box: Sequence[float], label: str = "", wording: str = "released") -> str:
    """The inverse of `parse_answer`; numbers are rounded.

    Args:
        box: x_min, y_min, x_max, y_max in pixels of the image.
        label: Class of the object, which the paper's wording names.
        wording: ``released``, ``mended`` or ``paper``.

    Example:
        >>> format_answer((500, 223, 512, 238))
        'The target bounding box is <box>[[500, 223, 512, 238]]</box>.'
    """
    numbers = "[" + ", ".join(str(round(number)) for number in box) + "]"
    template = _TEMPLATES[wording][1]
    return template.format(label, numbers) if wording == "paper" else template.format(numbers)


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """One phrase: first one of the families that the labels allow is drawn, then one of its phrases."""
    families: dict[str, list[tuple[str, Thing]]] = {}
    for family, phrase, thing in phrases(labels, rules):
        families.setdefault(family, []).append((phrase, thing))
    if not families:
        return []
    family = draw.pick(sorted(families))
    phrase, thing = draw.pick(families[family])
    question = _TEMPLATES[rules.wording][0].format(phrase)
    return [
        Made(question, format_answer(thing.box or (), thing.word, rules.wording), f"{family} {thing.word}")
    ]


def phrases(labels: Labels, rules: Rules) -> Iterator[tuple[str, str, Thing]]:
    """All phrases that the rules allow for an image, each with its family and the object it describes."""
    if labels.size is None:
        return
    names = sorted(labels.countable(rules) & set(labels.words))
    boxed = {name: labels.of(name) for name in names if all(thing.box for thing in labels.of(name))}
    found = [*_placed(boxed, labels, rules), *_beside(boxed, labels.size, rules)]
    yield from (one for one in found if rules.uniqueness == "any" or _is_large(one[2]))


def _is_large(thing: Thing) -> bool:
    x_min, y_min, x_max, y_max = map(round, thing.box or (0, 0, 0, 0))
    return min(x_max - x_min, y_max - y_min) >= LEAST_SIDE


def _placed(boxed: dict[str, list[Thing]], labels: Labels, rules: Rules) -> Iterator[tuple[str, str, Thing]]:
    """Phrases about an object in a cell."""
    assert labels.size is not None
    size = labels.size
    for name, things in boxed.items():
        cells: dict[str, list[Thing]] = {}
        for thing in things:
            cells.setdefault(cell(thing.x, thing.y, *size), []).append(thing)
        for place, there in cells.items():
            if rules.uniqueness == "any":
                for thing in there:
                    yield "at", f"{name} located at the {place} of the image", thing
                nearest = _nearest(there, size, rules)
            else:
                near = [thing for thing in things if may_be_in(thing, place, size)]
                if len(near) == 1 and stays_in(near[0], place, size):
                    yield "at", f"{name} located at the {place} of the image", near[0]
                nearest = None if labels.view != "ground" or aloft(name) else _nearest(near, size, rules)
                if nearest is not None and not stays_in(nearest, place, size):
                    nearest = None
            if nearest is not None:
                yield "nearest", f"nearest {name} located at the {place}", nearest


def _nearest(things: Sequence[Thing], size: tuple[int, int], rules: Rules) -> Thing | None:
    if rules.nearest == "lowest":
        ranked = sorted(things, key=lambda thing: thing.lower_edge, reverse=True)
        clear = len(ranked) == 1 or ranked[0].lower_edge > ranked[1].lower_edge + MARGIN * size[1]
    else:
        ranked = sorted(things, key=lambda thing: thing.area, reverse=True)
        clear = len(ranked) == 1 or ranked[0].area >= CLEAR * ranked[1].area
    return ranked[0] if clear or rules.uniqueness == "any" else None


def _beside(
    boxed: dict[str, list[Thing]], size: tuple[int, int], rules: Rules
) -> Iterator[tuple[str, str, Thing]]:
    """Phrases about one of two objects: one each of two classes, or two of one class."""
    alone = [things[0] for things in boxed.values() if len(things) == 1]
    pairs = [(one, other) for one in alone for other in alone if one.x < other.x]
    pairs += [(things[0], things[1]) for things in boxed.values() if len(things) == 2]
    for left, right in pairs:
        if rules.uniqueness == "any" or _is_left(left, right, MARGIN * size[0]):
            shown = left if rules.left_of == "target" else right
            yield "left", f"{left.word} located to the left of the {right.word}", shown
            yield "right", f"{right.word} located to the right of the {left.word}", right


def _is_left(left: Thing, right: Thing, margin: float) -> bool:
    """Whether it is plain to see: the one ends before the other's centre, which begins after the one's."""
    return bool(
        left.box and right.box and left.box[2] + margin <= right.x and left.x + margin <= right.box[0]
    )
