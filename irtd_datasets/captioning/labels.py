"""What a text must not say against the labels of its image: counts, classes, left and right.

Only what the labels are sure of is held against a text. More of a class than is labelled, a class that is not there, or
a side on which none stands is a contradiction where the source labels every object of the class; fewer than are
labelled, or none at all, always is. A part ("two cars on the left") may be smaller than the whole. What the labels do
not name is left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KnownLabels", "KnownObject", "contradictions"]

_NAMES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_NUMBERS = {name: number for number, name in enumerate(_NAMES.split())} | {"twenty": 20}
_MANY = {"several", "many", "multiple", "numerous", "various"}
_PAIRS = {"both": 2, "couple of": 2, "pair of": 2, "single": 1, "dozen": 12}
_NUMBER = rf"(?:\d{{1,4}}|{'|'.join(_NUMBERS)}|{'|'.join(_PAIRS)}|{'|'.join(_MANY)})"
_STOP = "of|in|on|at|and|or|with|to|from|the|a|an|is|are|was|were|near|by|than|as|that|which|but|no|not|other|more"
_ADJECTIVES = rf"(?:\s+(?!(?:{_STOP})\b)[a-z-]+){{0,2}}"
# What makes a group a part of all that are there.
_PART = re.compile(
    r"\b(?:left|right|top|bottom|upper|lower|cent(?:er|re)|middle|corner|side|edge|foreground|background|near\w*|far|"
    r"farther|behind|front|beside|next|close\w*|first|second|third|other|another|some|more|of (?:the|them|these|those)|"
    r"walk\w*|stand\w*|park\w*|mov\w*|driv\w*|sit\w*|rid\w*|cross\w*|along|around|between|under|above|below|inside)\b"
)
_BOUND = re.compile(r"[,;:]|\band\b|\bwhile\b|\bwith\b|\bbut\b")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_NEGATED = re.compile(
    r"\b(?:no|not|none|never|without|neither|nor|lacks?|lacking|absen\w+|free of|isn't|aren't|cannot|can't|if|whether|"
    r"could|might|may|would|unlike|instead of|rather than|than)\b[^,;:]*$"
)
_MISSING = re.compile(r"^\s*(?:is|are|was|were)\s*(?:not|n't|absent|missing)\b|^\s*(?:isn't|aren't)\b")
_NONE = r"\b(?:no|zero|without(?:\s+any)?|not\s+(?:any|a|an)|neither|free\s+of|absence\s+of)"
_IMAGE_SIDE = re.compile(
    r"\b(?:on|at|to|in|toward|towards|along)\s+(?:the|its)\s+(?:far\s+|very\s+|lower\s+|upper\s+|bottom\s+|top\s+)?"
    r"(?P<side>left|right)(?:-hand)?(?:\s+(?:side|half|part|edge|corner))?"
    r"(?!\s+(?:side\s+|edge\s+)?of\s+(?!(?:the|this|an?)\s+(?:image|frame|scene|view|picture|road|street)\b))"
)
_SLACK = 0.1
"""Share of the width by which an object may stand beyond the middle and still be called left or right."""
_EXACT = {
    "person": ("pedestrian", "pedestrians", "persons", "individual", "individuals"),
    "bike": ("bicycle", "bicycles"),
    "car": ("automobile", "automobiles"),
    "motorcycle": ("motorbike", "motorbikes"),
    "airplane": ("plane", "planes", "aeroplane", "aeroplanes", "aircraft"),
    "ship": ("vessel", "vessels"),
}
_NARROWER = {"person": ("man", "men", "woman", "women", "child", "children", "worker", "workers")}


@dataclass(frozen=True, slots=True)
class KnownObject:
    """A labelled object.

    Attributes:
        word: What a text calls its class.
        x: Its centre, from 0 to 1 of the width; None where it has no place.
        box: x_min, y_min, x_max, y_max from 0 to 1 of width and height; None where it has none.
    """

    word: str
    x: float | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class KnownLabels:
    """What is known of an image.

    Attributes:
        objects: Its labelled objects.
        exhaustive: Words of the classes of which every object is labelled, those without an object included.
        plurals: The plural of each word, where it is not the word with an s.
    """

    objects: tuple[KnownObject, ...]
    exhaustive: frozenset[str] = frozenset()
    plurals: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[str, list[float | None]]:
        """Centres of the objects of each word."""
        found: dict[str, list[float | None]] = {word: [] for word in sorted(self.exhaustive)}
        for one in self.objects:
            found.setdefault(one.word, []).append(one.x)
        return found

    @cached_property
    def forms(self) -> dict[str, tuple[str, bool]]:
        """How a text can write each word, and whether that means every object of the class."""
        found: dict[str, tuple[str, bool]] = {}
        for word in self.places:
            for form in (word, self.plurals.get(word, f"{word}s"), *_EXACT.get(word, ())):
                found[form] = word, True
            for form in _NARROWER.get(word, ()):
                found.setdefault(form, (word, False))
        return found

    @cached_property
    def pattern(self) -> str:
        """A group ``form`` that matches any of the forms as a whole word; nothing where there are none."""
        forms = sorted(self.forms, key=len, reverse=True)
        return rf"(?P<form>{'|'.join(map(re.escape, forms)) or '(?!)'})(?![a-z-])"

    def describe(self) -> str:
        """Classes with boxes in 0 to 1, a line each, as LLaVA gives them to a model; may be empty."""
        lines = []
        for one in self.objects:
            numbers = "" if one.box is None else f": [{', '.join(f'{value:.3f}' for value in one.box)}]"
            lines.append(f"{one.word}{numbers}")
        return "\n".join(lines)


def contradictions(known: KnownLabels, text: str, question: str = "") -> list[str]:
    """What a text says against the labels; an empty list where it says nothing against them.

    Codes: ``labels-count``, ``labels-class`` (something is said to be there that is not), ``labels-absent`` (something
    is said not to be there that is), ``labels-side`` (left and right), each with what was said behind a colon.

    Args:
        known: The labels.
        text: The text, or the answer to a question.
        question: The question, which tells what "yes" and "three" are about.

    Example:
        >>> cars = tuple(KnownObject("car", x) for x in (0.7, 0.8))
        >>> known = KnownLabels(cars, frozenset({"car", "bus"}))
        >>> contradictions(known, "There are three cars on the road, and a bus behind them.")
        ['labels-count: three cars', 'labels-class: bus']
        >>> contradictions(known, "The two cars stand on the left.")
        ['labels-side: cars on the left']
        >>> contradictions(known, "No.", "Is there a car?")
        ['labels-absent: car']
    """
    found: list[str] = []
    asked = question.lower().strip()
    answer = text.lower().strip()
    said = re.match(r"(yes|no)\b[,.!;:]?\s*(?!\w+s?\b(?<=one))", answer)
    if asked and said and re.match(r"(?:is|are|was|were|do|does|can|has|have)\b", asked):
        found += _asserted(known, asked.rstrip("?")) if said[1] == "yes" else _denied(known, asked)
        answer = answer[said.end() :]
    elif asked:
        found += _answered(known, asked, answer)
    for sentence in _SENTENCE.split(answer):
        found += _asserted(known, sentence)
    return list(dict.fromkeys(found))


def _asserted(known: KnownLabels, sentence: str) -> Iterator[str]:
    yield from _counts(known, sentence)
    yield from _classes(known, sentence)
    yield from _sides(known, sentence)


def _value(number: str) -> int | None:
    """The number that a word means; None for "several" and the like, which mean at least two."""
    if number in _MANY:
        return None
    return int(number) if number.isdecimal() else _NUMBERS.get(number, _PAIRS.get(number))


def _counts(known: KnownLabels, sentence: str) -> Iterator[str]:
    pattern = rf"(?<![\w.,])(?P<number>{_NUMBER})(?!\.\d)(?P<between>{_ADJECTIVES})\s+\b{known.pattern}"
    for match in re.finditer(pattern, sentence):
        word, whole = known.forms[match["form"]]
        rest = sentence[match.end() :]
        bound = _BOUND.search(rest)
        about = match["between"] + " " + (rest[: bound.start()] if bound else rest)
        before = sentence[: match.start()]
        part = (
            bool(_PART.search(about) or re.search(r"\b(?:the|these|those|other|another)\s*$", before))
            or not whole
        )
        part = part or bool(re.search(r"\b(?:at least|more than|over|about|around)\s*$", before))
        if _is_wrong(known, word, _value(match["number"]), part=part):
            yield f"labels-count: {match[0]}"


def _is_wrong(known: KnownLabels, word: str, number: int | None, *, part: bool) -> bool:
    count = len(known.places[word])
    if number is None:
        return word in known.exhaustive and count < 2
    if number > count:
        return word in known.exhaustive and bool(count or number == 0)
    return number < count and not part and number > 0


def _answered(known: KnownLabels, asked: str, answer: str) -> Iterator[str]:
    """Answers that lean on the words of their question: "how many" and "where"."""
    many = re.search(rf"\bhow many\b(?P<between>{_ADJECTIVES})\s+\b{known.pattern}(?P<rest>[^?]*)", asked)
    if many:
        first = re.search(rf"\b(?:(?P<number>{_NUMBER})|(?P<none>none|no))\b", answer)
        word, whole = known.forms[many["form"]]
        if first:
            part = bool(_PART.search(many["between"] + many["rest"])) or not whole
            number = 0 if first["none"] else _value(first["number"])
            count = len(known.places[word])
            over = number is not None and number > count and word in known.exhaustive
            under = number is not None and number < count and not part
            if over or under or (number is None and word in known.exhaustive and count < 2):
                yield f"labels-count: {first[0]} {many['form']}"
    forms = list(re.finditer(rf"\b{known.pattern}", asked))
    side = _IMAGE_SIDE.search(answer)
    if side and len(forms) == 1 and asked.startswith("where") and not re.search(known.pattern, answer):
        yield from _on_side(known, forms[0]["form"], side["side"])


def _classes(known: KnownLabels, sentence: str) -> Iterator[str]:
    for match in re.finditer(rf"\b{known.pattern}", sentence):
        word, _ = known.forms[match["form"]]
        before, after = sentence[: match.start()], sentence[match.end() :]
        negated = bool(_NEGATED.search(before) or _MISSING.match(after))
        if not known.places[word] and word in known.exhaustive and not negated:
            yield f"labels-class: {match['form']}"
    for match in re.finditer(rf"{_NONE}(?P<between>{_ADJECTIVES})\s+\b{known.pattern}", sentence):
        yield from _absent(known, match["form"], match["between"] + sentence[match.end() :])
    for match in re.finditer(rf"\b{known.pattern}(?P<rest>[^,;]*)", sentence):
        if _MISSING.match(match["rest"]) and re.search(
            r"visible|present|seen|there|absent|missing", match["rest"]
        ):
            yield from _absent(known, match["form"], match["rest"])


def _absent(known: KnownLabels, form: str, about: str) -> Iterator[str]:
    word, whole = known.forms[form]
    if known.places[word] and whole and not _PART.search(about):
        yield f"labels-absent: {form}"


def _denied(known: KnownLabels, asked: str) -> Iterator[str]:
    """What "no" to a question says."""
    pair = re.search(_relation(known), asked)
    if pair:
        one, other = (known.forms[pair[name]][0] for name in ("form", "other"))
        pairs = list(_pairs(known, one, other))
        if pairs and all(_holds(x, y, pair["side"], -_SLACK / 2) for x, y in pairs):
            yield f"labels-side: {pair['form']} not to the {pair['side']} of {pair['other']}"
        return
    there = re.match(rf"(?:is|are)\s+there\b.*?\b{known.pattern}(?P<rest>[^?]*)", asked)
    if there:
        yield from _absent(known, there["form"], asked[: there.start("form")] + " " + there["rest"])


def _relation(known: KnownLabels) -> str:
    other = known.pattern.replace("?P<form>", "?P<other>")
    return (
        rf"\b{known.pattern}(?P<link>[^,;.?]*?)\b(?:to|on|at)\s+the\s+(?P<side>left|right)(?:-hand)?(?:\s+side)?\s+of\s+"
        rf"(?:the\s+|a\s+|an\s+|another\s+)?(?:[a-z-]+\s+)?{other}"
    )


def _pairs(known: KnownLabels, one: str, other: str) -> Iterator[tuple[float, float]]:
    if one == other or not {one, other} <= known.exhaustive:
        return
    for x in known.places[one]:
        for y in known.places[other]:
            if x is not None and y is not None:
                yield x, y


def _holds(x: float, y: float, side: str, slack: float) -> bool:
    return x <= y + slack if side == "left" else x >= y - slack


def _sides(known: KnownLabels, sentence: str) -> Iterator[str]:
    for match in re.finditer(_relation(known), sentence):
        one, other = (known.forms[match[name]][0] for name in ("form", "other"))
        pairs = list(_pairs(known, one, other))
        if _NEGATED.search(match["link"]) or not pairs:
            continue
        if not any(_holds(x, y, match["side"], _SLACK / 2) for x, y in pairs):
            yield f"labels-side: {match['form']} to the {match['side']} of {match['other']}"
    for match in _IMAGE_SIDE.finditer(sentence):
        before = sentence[: match.start()]
        bound = [one.end() for one in re.finditer(r"[,;]|\bwhile\b|\bbut\b", before)]
        forms = list(re.finditer(rf"\b{known.pattern}", before[bound[-1] :] if bound else before))
        if forms and not _NEGATED.search(before):
            yield from _on_side(known, forms[-1]["form"], match["side"])


def _on_side(known: KnownLabels, form: str, side: str) -> Iterator[str]:
    word, _ = known.forms[form]
    places = [x for x in known.places[word] if x is not None]
    if word not in known.exhaustive or not places or len(places) < len(known.places[word]):
        return
    if not any(x <= 0.5 + _SLACK if side == "left" else x >= 0.5 - _SLACK for x in places):
        yield f"labels-side: {form} on the {side}"
