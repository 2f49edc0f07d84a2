"""Relationship: whether an object of one class stands in a relation to the k-th object of another, yes or no.

Rules (measured on 5,205 released records): six relations, about as many of each; the classes differ; the k-th object
counts from left to right as in Location. One pair, which the release does not record, was judged for each record: near
is a distance of centres below a quarter of the width, far above a half, left and right the sign of the difference.
Metric: accuracy (paper section 5.1).

Chosen here, by the choice ``relationship``: the answer is that of the question as read, "is there any". A question is
asked only where it is clear: `MARGIN` of the width or height lies between every object and the limit it is judged by
(for yes: some object is beyond the limit by so much), and the k-th object is one position clear of its neighbours.
In front and behind are asked of images from the ground only, and of what is no aircraft.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.generation import MARGIN, Made, aloft
from irtd_datasets.irtd.tasks.parsing import TaskReading, unexpected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.irtd.tasks.generation import Labels, Rules, Thing
    from irtd_datasets.rows.seeded import Draw

__all__ = [
    "MARGIN",
    "METRIC",
    "RELATIONS",
    "format_answer",
    "judge",
    "make",
    "parse_answer",
    "read",
    "statements",
]

METRIC = "accuracy"
RELATIONS = (
    "on the left side of",
    "on the right side of",
    "in front of",
    "behind",
    "near to",
    "far from",
)
MOST_ORDINAL = 12
"""Beyond the twelfth from the left nobody counts; the release goes to the 34th, rarely."""

_QUESTION = re.compile(
    rf"Is there an? (.+?) ({'|'.join(RELATIONS)}) the (the )?(\w+) (\w[\w ]*) from left to right\?"
)
_ORDINAL = re.compile(r"(\d{1,9})(st|nd|rd|th)")
_WORDS = ("first", "second", "third", "fourth", "fifth")
_PAPER = re.compile(r"(Yes, there is|No, there is not)\.")


def read(question: str, answer: str, *, released: bool = True) -> TaskReading:
    """Read a relation and its yes or no.

    Args:
        question: As released.
        answer: As released.
        released: Whether it is one of the released records, which judge one hidden pair.

    Example:
        >>> parsed = read("Is there a car behind the the 22th person from left to right?", "no")
        >>> parsed.question
        'Is there a car behind the 22nd person from left to right?'
        >>> parsed.issues, parsed.quirks
        (('text-ordinal',), ('text-double-the', 'existential-no'))
    """
    asked = _QUESTION.fullmatch(question.strip())
    if asked is None:
        raise unexpected(
            "question", question, "'Is there a <class> <relation> the <k-th> <class> from left to right?'"
        )
    said = format_answer(parse_answer(answer))
    ordinal = _mend_ordinal(asked[4])
    quirks = []
    if asked[3]:
        quirks.append("text-double-the")
    if said == "no" and released:
        quirks.append("existential-no")
    article = "an" if question.strip().startswith("Is there an ") else "a"
    return TaskReading(
        question=f"Is there {article} {asked[1]} {asked[2]} the {ordinal} {asked[5]} from left to right?",
        answer=said,
        issues=("text-ordinal",) if ordinal != asked[4] else (),
        quirks=tuple(quirks),
    )


def _mend_ordinal(word: str) -> str:
    match = _ORDINAL.fullmatch(word)
    return word if match is None else _ordinal(int(match[1]))


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def parse_answer(text: str) -> bool:
    """Whether an answer says yes.

    Raises:
        RecordError: It is neither yes nor no, nor the sentence of the paper's Fig. 2.

    Example:
        >>> parse_answer("yes"), parse_answer("Yes, there is.")
        (True, True)
    """
    said = {"yes": True, "no": False}.get(text.strip())
    paper = _PAPER.fullmatch(text.strip())
    if said is None and paper is None:
        raise unexpected("answer", text, "yes or no")
    return said if said is not None else paper is not None and paper[1].startswith("Yes")


def format_answer(yes: bool, wording: str = "released") -> str:
    """The inverse of `parse_answer`.

    Example:
        >>> format_answer(False)
        'no'
    """
    if wording == "paper":
        return "Yes, there is." if yes else "No, there is not."
    return "yes" if yes else "no"


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """One question: the relation is drawn first, then the answer among those it can have, then the objects."""
    by_answer: dict[tuple[str, bool], list[tuple[str, int, str]]] = {}
    for name, relation, ordinal, other, yes in statements(labels, rules, draw):
        by_answer.setdefault((relation, yes), []).append((name, ordinal, other))
    if not by_answer:
        return []
    relation = draw.pick(sorted({relation for relation, _ in by_answer}))
    yes = draw.pick([said for said in (False, True) if (relation, said) in by_answer])
    name, ordinal, other = draw.pick(by_answer[relation, yes])
    question = ask(name, relation, ordinal, other, rules.wording)
    return [Made(question, format_answer(yes, rules.wording), f"{relation} {format_answer(yes)}")]


def ask(name: str, relation: str, ordinal: int, other: str, wording: str = "released") -> str:
    """The question.

    Example:
        >>> ask("car", "behind", 22, "person")
        'Is there a car behind the the 22th person from left to right?'
    """
    counted = _WORDS[ordinal - 1] if ordinal <= len(_WORDS) else _ordinal(ordinal)
    if wording == "released" and ordinal > len(_WORDS):
        counted = f"{ordinal}th"
    article = "an" if name[0] in "aeiou" else "a"
    the = "the the" if wording == "released" else "the"
    return f"Is there {article} {name} {relation} {the} {counted} {other} from left to right?"


def statements(labels: Labels, rules: Rules, draw: Draw) -> Iterator[tuple[str, str, int, str, bool]]:
    """All questions that the rules allow for an image: class, relation, k, class of the k-th object, answer."""
    if labels.size is None:
        return
    names = sorted(labels.countable(rules) & set(labels.words))
    existential = rules.relationship == "existential"
    flat = labels.view != "ground" and existential
    relations = [relation for relation in RELATIONS if not (flat and relation in ("in front of", "behind"))]
    for other in names:
        references = labels.of(other)
        for position, reference in enumerate(references[:MOST_ORDINAL]):
            if existential and not _stands_alone(references, position, labels.size[0]):
                continue
            for name, relation in product((name for name in names if name != other), relations):
                if existential and relation in ("in front of", "behind") and (aloft(name) or aloft(other)):
                    continue
                if existential:
                    said = _any(labels.of(name), reference, relation, labels.size, rules)
                else:
                    target = draw.pick(labels.of(name))
                    said = judge(target, reference, relation, labels.size[0], front=rules.front)
                if said is not None:
                    yield name, relation, position + 1, other, said


def judge(target: Thing, reference: Thing, relation: str, width: int, *, front: str = "upper") -> bool:
    """The released judgement of one pair; that of in front and behind is the nearest rule that is known.

    Args:
        target: The object asked about.
        reference: The k-th object.
        relation: One of `RELATIONS`.
        width: Of the image in pixels.
        front: See the choice of that name.
    """
    return _excess(target, reference, relation, (width, 1), front) > 0


def _any(
    targets: Sequence[Thing], reference: Thing, relation: str, size: tuple[int, int], rules: Rules
) -> bool | None:
    """Whether any object stands in the relation; None where it is not clear."""
    margin = MARGIN * (size[1] if relation in ("in front of", "behind") else size[0])
    if relation in ("near to", "far from"):  # whatever way an object is moved
        margin = MARGIN * (size[0] ** 2 + size[1] ** 2) ** 0.5
    excess = [_excess(target, reference, relation, size, rules.front) for target in targets]
    if max(excess) > margin:
        return True
    return False if max(excess) < -margin else None


def _excess(target: Thing, reference: Thing, relation: str, size: tuple[int, int], front: str) -> float:
    """By how many pixels an object is beyond the limit of a relation; negative where it is not in it."""
    dx, dy = target.x - reference.x, target.y - reference.y
    if relation == "on the left side of":
        return -dx
    if relation == "on the right side of":
        return dx
    if relation == "near to":
        return float(size[0] / 4 - (dx * dx + dy * dy) ** 0.5)
    if relation == "far from":
        return float((dx * dx + dy * dy) ** 0.5 - size[0] / 2)
    forward = -dy if front == "upper" else target.lower_edge - reference.lower_edge
    return forward if relation == "in front of" else -forward


def _stands_alone(things: Sequence[Thing], position: int, width: int) -> bool:
    """Whether the k-th object from the left is so beyond doubt."""
    neighbours = things[max(0, position - 1) : position + 2]
    return all(
        abs(thing.x - things[position].x) > (MARGIN + 0.001) * width  # positions are rounded to a thousandth
        for thing in neighbours
        if thing is not things[position]
    )
