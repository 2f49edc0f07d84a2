r"""What models write, read with tolerance.

The tasks' own modules accept the released grammar and nothing else. Models answer "The answer is B.", put boxes into
JSON or into the markup of their family, and wrap it all in a code block. Every reader here returns None where a text
has no answer, or more than one; nothing is guessed from the gold answer, which the readers never see.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Numbers: TypeAlias = tuple[float, ...]

__all__ = [
    "plain_text",
    "read_boxes",
    "read_choices",
    "read_count",
    "read_ordinal",
    "read_points",
    "read_yes_no",
]

_LIMIT = 8000  # characters that are looked at; the longest released answer has 500
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\n?|```")
_SPECIAL = re.compile(r"<\|(?:im_end|im_start|endoftext|eot_id|end|assistant)\|>|</?s>|<pad>|</?answer>")
_EMPHASIS = re.compile(r"\*\*|__|\\boxed\{([^{}]*)\}|\$")
_VERDICT = re.compile(
    r"(?:answers?|options?|choices?|result|count|total|number)\s*(?:\w+\s+){0,4}?"
    r"(?:is|are|would be|should be|:|=)\s*:?",
    re.IGNORECASE,
)
_KEYS = (
    "answer",
    "Answer",
    "prediction",
    "response",
    "output",
    "result",
    "option",
    "choice",
    "count",
    "number",
)


def plain_text(text: str) -> str:
    r"""An answer without reasoning, code fences, special tokens and emphasis; a JSON answer gives its value.

    Example:
        >>> plain_text("<think>Hm, A?</think>```json\n{\"answer\": \"B\"}\n```<|im_end|>")
        'B'
    """
    text = _THINKING.sub(" ", text[:_LIMIT])
    text = _SPECIAL.sub(" ", _FENCE.sub(" ", text))
    text = _EMPHASIS.sub(lambda match: match[1] or "", text).strip()
    if text[:1] == "{" and text[-1:] == "}":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        for key in _KEYS:
            if isinstance(value, dict) and isinstance(value.get(key), (str, int, float, list)):
                inner = value[key]
                return inner.strip() if isinstance(inner, str) else json.dumps(inner)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def _verdicts(text: str) -> list[str]:
    """What stands behind the last "the answer is", if anything, then the whole text."""
    found = list(_VERDICT.finditer(text))
    tail = text[found[-1].end() :].strip() if found else ""
    return [tail, text] if tail else [text]


# ------------------------------------------------------------------------------------------------------------
# Options

_BRACKETED = re.compile(r"\(\s*([A-Za-z])\s*\)|\[\s*([A-Z])\s*\]")
_LISTED = re.compile(
    r"(?:(?<=^)|(?<=[\s,;/&(]))([A-Z])(?=\s*[).:,;/&]|\s+and\b|\s*$|\s+[A-Z]\b)|(?i:option|choice)\s+([A-Z])\b"
)
_BARE = re.compile(r"[A-Za-z](?:\s*(?:,|;|/|&|\s|and)\s*[A-Za-z])*[.)]?", re.IGNORECASE)
_NONE = re.compile(r"\b(?:none|nothing|no (?:object|option)s?)\b", re.IGNORECASE)
_ALL = re.compile(r"\ball (?:of )?(?:the )?(?:above|them|options|four|objects)\b", re.IGNORECASE)


def read_choices(text: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The options that a text names, by letter, by word, or both.

    Args:
        text: What the model wrote.
        choices: The options in letter order.

    Returns:
        Positions of the options; empty for "none of them"; None where nothing is named, a letter is no option, or
        letter and word contradict each other.

    Example:
        >>> words = ["scooter", "car", "light", "stop sign"]
        >>> [sorted(read_choices(text, words)) for text in ("(B) car", "B", "The answer is b.", "a car")]
        [[1], [1], [1], [1]]
        >>> sorted(read_choices("(A) scooter (C) light", words)), read_choices("(A) car", words)
        ([0, 2], None)
    """
    text = plain_text(text)
    for part in _verdicts(text):
        letters = _letters(part, len(choices))
        if letters is None:
            return None
        words, rest = _words(part, choices)
        if letters and words:
            # "(A) scooter (C)" names C by letter only; "(A) car" contradicts itself.
            return frozenset(letters) if words <= letters else None
        if letters or words:
            return frozenset(letters or words)
        if _ALL.search(rest):
            return frozenset(range(len(choices)))
        if _NONE.search(rest):
            return frozenset()
    return None


def _letters(text: str, count: int) -> set[int] | None:
    """Options named by letter; None where a bracketed letter is no option."""
    stripped = text.strip().strip("\"'`").rstrip(".!").strip()
    if (
        _BARE.fullmatch(stripped)
        and len(re.findall(r"[A-Za-z]", re.sub(r"(?i)\band\b", "", stripped))) <= count
    ):
        found = re.findall(r"[A-Za-z]", re.sub(r"(?i)\band\b", " ", stripped))
    else:
        found = [one or two for one, two in _BRACKETED.findall(text)]
        if not found:
            found = [one or two for one, two in _LISTED.findall(text)]
    positions = {ord(letter.upper()) - ord("A") for letter in found}
    return None if any(position >= count for position in positions) else positions


def _words(text: str, choices: Sequence[str]) -> tuple[set[int], str]:
    """Options named by word, the longest first, and the text without them."""
    found = set()
    rest = text
    for position in sorted(range(len(choices)), key=lambda index: -len(choices[index])):
        word = re.escape(choices[position].strip()).replace(r"\ ", r"[\s_-]+")
        rest, times = re.subn(rf"(?<![\w-]){word}(?:s|es)?(?![\w-])", "\0", rest, flags=re.IGNORECASE)
        if times:
            found.add(position)
    return found, rest


# ------------------------------------------------------------------------------------------------------------
# Yes or no

_YES_NO = re.compile(r"\b(yes|yeah|true|correct|no|nope|false|incorrect)\b", re.IGNORECASE)
# Only what is said of the thing itself: "it is not clear" and "I cannot tell" are no answers.
_DENIED = re.compile(r"\bthere (?:is|are) (?:no|not|none)\b|\bthere (?:isn't|aren't)", re.IGNORECASE)
_AFFIRMED = re.compile(r"\bthere (?:is|are) (?:indeed )?(?:an?|one|two|several|some|the)\b", re.IGNORECASE)
_YES = {"yes", "yeah", "true", "correct"}


def read_yes_no(text: str) -> bool | None:
    """Whether a text says yes or no.

    Example:
        >>> [read_yes_no(text) for text in ("Yes, there is.", "no", "There is no car behind the person.", "perhaps")]
        [True, False, False, None]
    """
    text = plain_text(text)
    first = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    if first:
        return first[1].lower() == "yes"
    for part in _verdicts(text):
        said = {word.lower() in _YES for word in _YES_NO.findall(_DENIED.sub(" ", part))}
        if len(said) == 1 and not _DENIED.search(part):
            return said.pop()
        if _DENIED.search(part):
            return False if True not in said else None
        if _AFFIRMED.search(part) and not said:
            return True
    return None


# ------------------------------------------------------------------------------------------------------------
# Numbers

_UNITS = tuple(
    re.findall(
        r"\w+",
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen",
    )
)
_TENS = tuple(re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"))
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 20 + 10 * i for i, word in enumerate(_TENS)
}
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
}  # fmt: skip
_NUMBER_WORDS = re.compile(
    rf"\b(?:(?:{'|'.join([*_VALUES, 'hundred', 'thousand'])})(?:(?:[\s-]+and)?[\s-]+|\b))+", re.IGNORECASE
)
_TAGGED = re.compile(r"<num>\s*([^<]{1,40}?)\s*</num>", re.IGNORECASE)
_DIGITS = re.compile(r"(?<![\w.,-])(?:\d{1,3}(?:,\d{3})+|\d{1,9})(?:\.0+)?(?![\w%]|[.,]\d)")
_RANGE = re.compile(r"\d\s*(?:-|–|to|or)\s*\d|\bbetween\b", re.IGNORECASE)  # noqa: RUF001 - a dash that models write
_SAID = re.compile(
    r"\b(?:there (?:are|is)|i (?:can )?(?:see|count)|shows?|contains?)\s+(.*)", re.IGNORECASE | re.DOTALL
)
_ZERO = re.compile(r"\b(?:no|none|not any|zero)\b", re.IGNORECASE)


def read_count(text: str) -> int | None:
    """The number of objects that a text states.

    Example:
        >>> [read_count(text) for text in ("<num>21</num>", "There are twenty-one cars.", "1,024", "No cars.", "20-25")]
        [21, 21, 1024, 0, None]
    """
    text = plain_text(text)
    tagged = {_one_number(inner) for inner in _TAGGED.findall(text)}
    if tagged:
        return tagged.pop() if len(tagged) == 1 else None
    parts = _verdicts(text)
    said = _SAID.search(text)
    if said:
        parts.insert(len(parts) - 1, said[1].partition(".")[0])
    for part in parts:
        if _RANGE.search(part):
            continue
        found = _numbers(part)
        if len(set(found)) == 1:
            return found[0]
        if not found and _ZERO.search(part):
            return 0
    return None


def read_ordinal(text: str) -> int | None:
    """The crop that a text names: 2 to 8; crop 1 is the question itself and is passed over.

    Example:
        >>> [read_ordinal(text) for text in ("7", "The 3rd person.", "Person 5 is the same as person 1", "2 or 4")]
        [7, 3, 5, None]
    """
    text = plain_text(text)
    for part in _verdicts(text):
        text_numbers = re.sub(r"(\d)(?:st|nd|rd|th)\b", r"\1 ", part, flags=re.IGNORECASE)
        found = {number for number in _numbers(text_numbers) if 2 <= number <= 8}
        found |= {
            value
            for word, value in _ORDINALS.items()
            if value > 1 and re.search(rf"\b{word}\b", part, re.IGNORECASE)
        }
        if len(found) == 1:
            return found.pop()
    return None


def _one_number(text: str) -> int | None:
    found = set(_numbers(text))
    return found.pop() if len(found) == 1 else None


def _numbers(text: str) -> list[int]:
    found = [int(match.replace(",", "").partition(".")[0]) for match in _DIGITS.findall(text)]
    for match in _NUMBER_WORDS.finditer(text):
        words = [word for word in re.split(r"[\s-]+", match[0].lower()) if word and word != "and"]
        if words == ["one"] and found:
            continue  # "this one"
        found.append(_value_of(words))
    return found


def _value_of(words: Iterable[str]) -> int:
    total, part = 0, 0
    for word in words:
        if word == "hundred":
            part = max(part, 1) * 100
        elif word == "thousand":
            total, part = total + max(part, 1) * 1000, 0
        else:
            part += _VALUES[word]
    return total + part


# ------------------------------------------------------------------------------------------------------------
# Places

_N = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
_GAP = r"(?:,|;|\s)"
_FOUR = re.compile(rf"[\[({{<]{_N}{_GAP}{_N}{_GAP}{_N}{_GAP}{_N}[\])}}>]")
_CORNERS = re.compile(rf"[\[(]{_N}{_GAP}{_N}[\])]\s*(?:,|;|and|to|-)?\s*[\[(]{_N}{_GAP}{_N}[\])]")
_TWO = re.compile(rf"[\[(]{_N}{_GAP}{_N}[\])]")
_NAMED_FOUR = re.compile(
    rf"(?:x_?min|x_?1|left)\W{{1,4}}{_N}\W{{1,3}}(?:y_?min|y_?1|top)\W{{1,4}}{_N}"
    rf"\W{{1,3}}(?:x_?max|x_?2|right)\W{{1,4}}{_N}\W{{1,3}}(?:y_?max|y_?2|bottom)\W{{1,4}}{_N}",
    re.IGNORECASE,
)
_NAMED_TWO = re.compile(rf"\bx\d*\W{{1,4}}{_N}\W{{1,3}}y\d*\W{{1,4}}{_N}", re.IGNORECASE)
_BARE_FOUR = re.compile(rf"{_N},{_N},{_N},{_N}")
_BARE_TWO = re.compile(rf"{_N},{_N}")
_TOKENS = re.compile(
    r"<\|?/?(?:box|quad|point|object_ref|ref|det|grounding|obj)(?:_start|_end)?\|?>|</?(?:bbox|pos|p)>"
)


def read_boxes(text: str) -> list[Numbers] | None:
    """Boxes in the order written, corners in order, in whatever frame the model counts.

    Read are JSON lists and objects, ``<box>[[...]]</box>`` (InternVL), ``<|box_start|>(x,y),(x,y)<|box_end|>`` (Qwen),
    ``[0.1, 0.2, 0.3, 0.4]`` (LLaVA), ``x1=.., y1=..``, and four bare numbers.

    Example:
        >>> read_boxes("<|object_ref_start|>car<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>")
        [(10.0, 20.0, 30.0, 40.0)]
        >>> read_boxes("I see no car.") is None
        True
    """
    text = _place_text(text)
    found = [match for pattern in (_FOUR, _NAMED_FOUR) for match in pattern.finditer(text)]
    if not found:
        found = list(_CORNERS.finditer(text))
    if not found:
        bare = _BARE_FOUR.fullmatch(text.strip().strip("[](){}. "))
        found = [bare] if bare else []
    boxes = [tuple(float(number) for number in match.groups()) for match in found]
    return [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes] or None


def read_points(text: str) -> list[Numbers] | None:
    """Points in the order written; a box counts as its centre.

    Example:
        >>> read_points("<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>")
        [(10.0, 520.0), (81.0, 514.0)]
        >>> read_points('[{"point_2d": [5, 6], "label": "car"}]'), read_points("[[0, 10, 20, 30]]")
        ([(5.0, 6.0)], [(10.0, 20.0)])
    """
    text = _place_text(text)
    if "<point" in text:
        text = "".join(re.findall(r"<points?\b[^<>]*", text))
        return [(float(x), float(y)) for x, y in _NAMED_TWO.findall(text)] or None
    centres = [match for pattern in (_FOUR, _NAMED_FOUR) for match in pattern.finditer(text)]
    if centres:
        boxes = [tuple(float(number) for number in match.groups()) for match in centres]
        return [((a + c) / 2, (b + d) / 2) for a, b, c, d in boxes]
    found = list(_TWO.finditer(text)) or list(_NAMED_TWO.finditer(text))
    if not found:
        bare = _BARE_TWO.fullmatch(text.strip().strip("[](){}. "))
        found = [bare] if bare else []
    if found:
        return [tuple(float(number) for number in match.groups()) for match in found]
    return [] if re.search(r"\[\s*\]", text) or re.search(r"(?i)\b(?:none|no \w+)\b", text) else None


def _place_text(text: str) -> str:
    text = _THINKING.sub(" ", text[:_LIMIT])
    # Runs of blanks would make the patterns below go back and forth.
    return " ".join(_TOKENS.sub(" ", _SPECIAL.sub(" ", _FENCE.sub(" ", text))).split())
