"""Class names as texts give them: count words taken off, in the singular."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Label", "read_label"]

_WORD = re.compile(r"\w+")
_UNITS = _WORD.findall(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = _WORD.findall("twenty thirty forty fifty sixty seventy eighty ninety")
_COUNT_WORDS = {
    "a": 1,
    "an": 1,
    "no": 0,
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 20 + 10 * index for index, word in enumerate(_TENS)},
    **{
        f"{tens}{joint}{_UNITS[unit]}": 20 + 10 * index + unit
        for index, tens in enumerate(_TENS)
        for unit in range(1, 10)
        for joint in "- "
    },
    "hundred": 100,
    "a hundred": 100,
    "one hundred": 100,
}
_COUNT = re.compile(
    rf"\s*(?P<count>[0-9]+|{'|'.join(sorted(_COUNT_WORDS, key=len, reverse=True))})\s+(?P<name>[^\W\d].*)",
    re.IGNORECASE | re.DOTALL,
)
_IRREGULAR = {
    "people": "person",
    "persons": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "buses": "bus",
    "gases": "gas",
}
_SAME_IN_PLURAL = frozenset({"series", "species", "aircraft", "gas", "bus", "lens", "tennis", "chassis"})


@dataclass(frozen=True, slots=True)
class Label:
    """A class name as a text gives it."""

    name: str
    """Singular, no count word, hyphens and underscores between letters as blanks: ``"large vehicle"``."""
    count: int | None
    """How many the text says there are; None when it does not say."""


def read_label(text: str) -> Label:
    """Return the canonical class name in a label, and the count in front of it.

    Count words (one to ninety-nine, a, an, no, hundred) and digits are taken off, the last word is made
    singular unless the count is one, and a hyphen or underscore between letters becomes a blank, since
    MMRS-1M writes "large vehicles" beside horizontal boxes and "large-vehicles" beside oriented ones. Case is
    kept.

    Example:
        >>> read_label("two large-vehicles")
        Label(name='large vehicle', count=2)
        >>> read_label("13 ships"), read_label("buses")
        (Label(name='ship', count=13), Label(name='bus', count=None))
    """
    count = None
    name = text
    if match := _COUNT.fullmatch(text):
        word = " ".join(match["count"].lower().split())
        count = int(word) if word.isdecimal() else _COUNT_WORDS[word]
        name = match["name"]
    name = re.sub(r"(?<=[^\W\d_])[-_](?=[^\W\d_])", " ", " ".join(name.split()))
    head, blank, last = name.rpartition(" ")
    return Label(name if count == 1 else head + blank + _singular(last), count)


def _singular(word: str) -> str:
    lower = word.lower()
    if lower in _IRREGULAR:
        return _IRREGULAR[lower]
    if (
        len(word) < 4
        or lower in _SAME_IN_PLURAL
        or not lower.endswith("s")
        or lower.endswith(("ss", "us", "is"))
    ):
        return word
    if lower.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if lower.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return word[:-1]
