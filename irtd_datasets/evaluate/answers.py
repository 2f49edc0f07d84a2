r"""What models write, read with tolerance.

The tasks' own modules accept the released grammar and nothing else. Models answer "The answer is B.", put boxes into
JSON or into the markup of their family, and wrap it all in a code block. Every reader here returns None where a text
has no answer, or more than one; nothing is guessed from the gold answer, which the readers never see.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from irtd_datasets.evaluate.places import read_boxes, read_points
from irtd_datasets.evaluate.reasoning import without_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "normal_words",
    "plain_text",
    "read_boxes",
    "read_choices",
    "read_class",
    "read_count",
    "read_ordinal",
    "read_phrase",
    "read_points",
    "read_yes_no",
]

_HEAD, _TAIL = 4000, 8000  # characters that are looked at; the longest released answer has 500
_FENCE = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\n?|```")
_SPECIAL = re.compile(
    r"<\|/?[A-Za-z_]{1,30}\|>|<\uff5c[^<>\uff5c]{1,40}\uff5c>|<\|[^<>|]{1,40}\|>|</?s>|<pad>|<(?:end_of_turn|eos|bos|unk)>|\[/?INST\]"
)
_LATEX = re.compile(r"\\(?:boxed|text|mathrm|textbf)\{([^{}]*)\}|\\[()\[\]]")
_EMPHASIS = re.compile(r"\*\*|__|\$")
_VERDICT = re.compile(
    r"(?:\banswers?|\boptions?|\bchoices?|\bresult|\bcount|\btotal|\bnumber|\bcategory|\bclass)\s*(?:\w+\s+){0,4}?"
    r"(?:is|are|would be|should be|:|=)\s*:?|(?:答案|选项?|结果|共有?)\s*(?:应该)?[是为:]?\s*",
    re.IGNORECASE,
)
_KEYS = (
    "answer",
    "final_answer",
    "prediction",
    "response",
    "output",
    "result",
    "option",
    "choice",
    "count",
    "number",
    "category",
    "class",
    "label",
    "caption",
)


def plain_text(text: str) -> str:
    r"""An answer without reasoning, code fences, special tokens and emphasis; a JSON answer gives its value.

    Of what is longer than 12,000 characters, the first 4,000 and the last 8,000 are looked at.

    Example:
        >>> plain_text("<think>Hm, A?</think>```json\n{\"answer\": \"B\"}\n```<|im_end|>")
        'B'
    """
    text = without_reasoning(text)
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} … {text[-_TAIL:]}"
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = _SPECIAL.sub(" ", _FENCE.sub(" ", text))
    if "\\" in text:
        for _ in range(2):  # one in another
            text = _LATEX.sub(lambda match: match[1] or "", text)
    text = _EMPHASIS.sub("", text).strip()
    if text[:1] in {"{", "["}:
        text = _json_value(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def _json_value(text: str) -> str:
    """The answer in an object or a list of one; any other text as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        named = {str(key).lower().strip(): inner for key, inner in value.items()}
        value = next((named[key] for key in _KEYS if key in named), None)
        if isinstance(value, list):
            return json.dumps(value)
    return str(value).strip() if isinstance(value, (str, int, float)) else text


def _verdicts(text: str) -> list[str]:
    """What stands behind the last "the answer is", if anything, then the whole text."""
    found = list(_VERDICT.finditer(text))
    tail = text[found[-1].end() :].strip() if found else ""
    return [tail, text] if tail else [text]


# ------------------------------------------------------------------------------------------------------------
# Options

_BRACKETED = re.compile(r"\(\s*([A-Za-z])\s*\)|\[\s*([A-Z])\s*\]")
_LISTED = re.compile(
    r"(?:(?<=^)|(?<=[\s,;/&|(]))([A-Z])(?=\s*[).:,;/&|?!(]|\s+(?:and|or|vs|versus)\b|\s*$|\s+[A-Z]\b)"
    r"|(?i:option|choice)\s+([A-Z])\b|(?<=[\u4e00-\u9fff])([A-Z])(?![A-Za-z])"
)
_JOINTS = re.compile(r"\b(?:and|or)\b", re.IGNORECASE)
_BARE = re.compile(
    r"[A-Za-z](?:\s?(?:,|;|/|&|\||\s|and\b|or\b)\s?(?:and\s|or\s)?[A-Za-z])*[.)]?", re.IGNORECASE
)
_HEDGE = re.compile(r"\b(?:or|either|between|versus|vs)\b|或|还是", re.IGNORECASE)
_NONE = re.compile(r"\b(?:none|nothing|no (?:object|option)s?)\b", re.IGNORECASE)
_ALL = re.compile(r"\ball (?:of )?(?:the )?(?:above|them|options|four|objects)\b", re.IGNORECASE)


def read_choices(text: str, choices: Sequence[str]) -> frozenset[int] | None:
    """The options that a text names, by letter, by word, or both.

    Options joined by "or" are no answer, and an option that the text rules out ("not A") is not named.

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
    choices = tuple(choices)
    text = _ruled_out(choices).sub(" ", plain_text(text))
    for part in _verdicts(text):
        letters = _letters(part, len(choices))
        if letters is None:
            return None
        words, rest = _words(part, choices)
        if len(letters | words) > 1 and _HEDGE.search(rest):
            return None
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


def read_class(text: str, choices: Sequence[str]) -> int | None:
    """The one class of a list without letters that a text names.

    Example:
        >>> [read_class(text, ["river", "river bank", "storage_tanks"]) for text in
        ...  ("River bank.", "The category is storage tanks", "a river or a river bank", "lake")]
        [1, 2, None, None]
    """
    choices = tuple(choices)
    text = _ruled_out(choices).sub(" ", plain_text(text))
    for part in _verdicts(text):
        words, _ = _words(part, choices)
        if words:
            return words.pop() if len(words) == 1 else None
    return None


@lru_cache(maxsize=1024)
def _ruled_out(choices: tuple[str, ...]) -> re.Pattern[str]:
    """What an answer says that it is not: "not (A)", "rather than a duck"."""
    words = "|".join(_word(choice) for choice in sorted(choices, key=len, reverse=True))
    return re.compile(
        rf"(?:\b(?:not|rather than|instead of)|n't)\s+(?:(?:an?|the|option)\s+){{0,2}}"
        rf"(?:\(?[A-Z]\)(?:\s*(?:{words}))?|(?-i:[A-Z])(?![\w'])|(?:{words})(?![\w-]))",
        re.IGNORECASE,
    )


def _word(choice: str) -> str:
    return re.sub(r"(?:\\[ _-]|[ _-])+", r"[\\s_-]+", re.escape(choice.strip()))


def _letters(text: str, count: int) -> set[int] | None:
    """Options named by letter; None where a bracketed letter is no option."""
    stripped = text.strip().strip("\"'`").rstrip(".!").strip()
    found: list[str] = []
    if len(stripped) < 200 and _BARE.fullmatch(stripped):
        found = re.findall(r"[A-Za-z]", _JOINTS.sub(" ", stripped))
    if not 0 < len(found) <= count:
        found = [one or two for one, two in _BRACKETED.findall(text)]
        if not found:
            found = [one or two or three for one, two, three in _LISTED.findall(text)]
    positions = {ord(letter.upper()) - ord("A") for letter in found}
    return None if any(position >= count for position in positions) else positions


@lru_cache(maxsize=1024)
def _choice_patterns(choices: tuple[str, ...]) -> tuple[tuple[int, re.Pattern[str]], ...]:
    order = sorted(range(len(choices)), key=lambda index: -len(choices[index]))
    return tuple(
        (index, re.compile(rf"(?<![\w-]){_word(choices[index])}(?:s|es)?(?![\w-])", re.IGNORECASE))
        for index in order
        if choices[index].strip()
    )


def _words(text: str, choices: tuple[str, ...]) -> tuple[set[int], str]:
    """Options named by word, the longest first, and the text without them."""
    found = set()
    for position, pattern in _choice_patterns(choices):
        text, times = pattern.subn("\0", text)
        if times:
            found.add(position)
    return found, text


# ------------------------------------------------------------------------------------------------------------
# Yes or no

_YES_NO = re.compile(r"\b(yes|yeah|true|correct|no|nope|false|incorrect)\b", re.IGNORECASE)
# The question's own choice, repeated: "(yes/no)", "Yes or No:".
_BOTH = re.compile(
    r"[(\[]?\b(?:yes\s?(?:/|or|and|\||,)\s?no|no\s?(?:/|or|and|\||,)\s?yes)\b(?!\s+\w)[)\]]?"
    r"|\b(?:yes or no|true or false)\b"
    r"|\btrue\s?/\s?false\b",
    re.IGNORECASE,
)
_NO_DOUBT = re.compile(
    r"\bno (?:doubt|question|problem)\b|\bwhether\b[^.?!]*|\bnot (?:yes|no|true|false|correct)\b",
    re.IGNORECASE,
)
_OPINION = re.compile(
    r"^\W*(yes|no)\b|(?:answers?\b\s*(?:\w+\s+){0,3}?(?:is|would be|:)\s*:?\s*)\W{0,3}(yes|no)\b",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"^\W*(?:答案[是为:]?\s*)?(是的?|有的?|存在|对|不是|没有|否|不存在|不对|无)\W*$")
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
    text = _BOTH.sub(" ", _NO_DOUBT.sub(" ", plain_text(text)))
    alone = {word.lower() for word in re.findall(r"[A-Za-z]+", text[:40])} if len(text) < 40 else set()
    if alone == {"yes", "no"}:
        return None  # "yes & no", or one under the other
    chinese = _CHINESE.match(text)
    if chinese:
        return chinese[1][0] in "是有存对"
    opinions = {(one or two).lower() for one, two in _OPINION.findall(text)}
    if opinions:
        return opinions == {"yes"} if len(opinions) == 1 else None
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
_DIGITS = re.compile(
    r"(?<![A-Za-z0-9_.,-])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,9})(?:\.0+)?(?![A-Za-z0-9_%]|[.,][0-9])"
)
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
# Words

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NOT_WORD = re.compile(r"[^\w.\s]|\.(?!\d)|_")


def normal_words(text: str) -> str:
    """A word or phrase for comparison: small letters, no articles, no punctuation, number words as digits.

    These are the rules of the VQA evaluation (Antol et al. 2015, ``vqaEvaluation/vqaEval.py``), which has them for the
    numbers up to ten; here they go on to ninety-nine.

    Example:
        >>> normal_words("A Basketball-Court."), normal_words("three")
        ('basketball court', '3')
    """
    words = _ARTICLE.sub(" ", _NOT_WORD.sub(" ", text.lower())).split()
    return " ".join(str(_VALUES[word]) if word in _VALUES else word for word in words)


def read_phrase(text: str) -> str | None:
    """The word or phrase that a text answers with, as `normal_words`; None where it is empty.

    Example:
        >>> read_phrase("The answer is: **Rural**."), read_phrase("...")
        ('rural', None)
    """
    return normal_words(_verdicts(plain_text(text))[0]) or None
