"""What a caption of an infrared image may say, when it was written about the visible partner.

The paper lets a model describe the visible image of a pair and people adapt the text to the infrared one (IRGPT,
arXiv 2507.14449, section 3.1). Here the prompt asks for a text without colours, `adapt` takes out what was said
nevertheless, where grammar allows it, and `find_faults` tells what still cannot hold for an infrared image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CONTROL", "Adapted", "CaptionLimits", "adapt", "find_faults"]

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that no text of a row has: what steers a terminal, ends a line otherwise, or is half of a character."""

# Black, white and grey are left out: they name what an infrared image shows, whatever they meant in the visible one.
_COLOURS = (
    "red|green|blue|yellow|orange|purple|violet|pink|brown|beige|turquoise|cyan|magenta|maroon|crimson|scarlet|teal|navy|"
    "golden|silver|silvery|tan|khaki|olive|lavender|burgundy|colou?rful|multi-?colou?red|colou?red"
)
_SHADES = "light|dark|bright|pale|deep|vivid|reddish|greenish|bluish|yellowish|brownish|brightly|vividly"
_COLOUR = re.compile(rf"\b(?:(?:{_SHADES})[ -])?(?:{_COLOURS})(?:ish)?\b", re.IGNORECASE)
# A colour that stands before what it colours, alone or with others: "red and blue cars", "a dark green, old bus".
_BEFORE_NOUN = re.compile(
    rf"\b(?P<article>an? )?(?P<colours>{_COLOUR.pattern}(?:(?:, | and | or |, and |/){_COLOUR.pattern})*)[,]? "
    r"(?=(?P<next>[A-Za-z]))(?!(?:and|or|in|on|at|with|against|to|of|from|for|is|are|was|were|by|as|near|under|over|"
    r"along|while|that|which|lights? (?:is|are) on)\b)",
    re.IGNORECASE,
)
_VISIBLE = re.compile(
    r"\b(?P<article>an? )?"
    r"(?P<kind>(?:colou?r(?:ed)? )?"
    r"(?:photograph|photo|rgb image|rgb picture|visible(?:-light)? image|colou?r image))\b",
    re.IGNORECASE,
)
_LIGHT = re.compile(
    r"\b(?:sunlight|sunlit|sunny|sunset|sunrise|blue sky|headlights?|taillights?|street ?lights? (?:is|are) on|neon|"
    r"traffic light is \w+|illuminated by|well[- ]lit|dimly lit|colou?rs?)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'|\u2019)?m sorry|i am sorry|i can(?:no|')?t|i cannot|i am unable|i(?:'|\u2019)m unable|as an ai|"
    r"unable to (?:view|see|process|assist)|no image (?:was|is|has been)|cannot (?:view|see) (?:the|an|this) image|"
    r"please (?:provide|upload) (?:the|an) image)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w'-]+")
_MARKUP = re.compile(r"^\s*(?:#+ |[-*] |\d+\. |```)|\*\*|</?[A-Za-z][^<>]*>", re.MULTILINE)
_JSON = re.compile(r"\A\s*(?:```\w*\s*)?[\[{]\s*[\"\[{]")
_SENTENCE_END = re.compile(r"[.!?][\"')\u201d\u2019]*$")


@dataclass(frozen=True, slots=True)
class CaptionLimits:
    """How long a caption may be.

    Attributes:
        min_words: Fewest words.
        max_words: Most words. The released captions have about 131 on average (measured by a user of the release).
    """

    min_words: int = 15
    max_words: int = 300


@dataclass(frozen=True, slots=True)
class Adapted:
    """A caption after `adapt`.

    Attributes:
        text: The caption.
        changes: What was taken out or replaced, in order; empty when nothing was.
    """

    text: str
    changes: tuple[str, ...]


def adapt(text: str) -> Adapted:
    """Take out of a caption what only a visible image shows, where the sentence stays whole without it.

    Colour words before a noun go, with the article mended; a photo becomes an image. Nothing is added, and no
    sentence is dropped: what cannot be taken out is left for `find_faults` to see.

    Example:
        >>> adapt("The photo shows a red and blue umbrella beside an orange car.").text
        'The image shows an umbrella beside a car.'
    """
    changes: list[str] = []

    def without_colour(found: re.Match[str]) -> str:
        changes.append(f"-{found['colours']}")
        article = found["article"]
        if not article:
            capital = found["colours"][0].isupper() and not text[: found.start()].rstrip().endswith(",")
            return "\x00" if capital else ""
        proper = "an " if found["next"].lower() in "aeiou" else "a "
        return proper.capitalize() if article[0].isupper() else proper

    def image(found: re.Match[str]) -> str:
        changes.append(f"{found[0]} -> image")
        article = found["article"]
        return f"{article[0]}n image" if article else "image"

    mended = _BEFORE_NOUN.sub(without_colour, text)
    mended = re.sub("\x00(.)", lambda found: found[1].upper(), mended)
    mended = _VISIBLE.sub(image, mended)
    return Adapted(mended, tuple(changes))


def find_faults(text: str, limits: CaptionLimits | None = None) -> list[str]:
    """Tell why a text is no caption of an infrared image; an empty list when it is one.

    Codes: ``refusal``, ``too-short``, ``too-long``, ``cut-off`` (no end of a sentence), ``markup`` (headings, lists,
    tags), ``control`` (characters of `CONTROL`), ``json``, ``not-english`` (mostly other letters), ``colour: <words>``
    and ``light: <words>`` (what an infrared image cannot show), ``visible: <words>`` (speaks of a photo).

    Example:
        >>> find_faults("The sky is blue.", CaptionLimits(min_words=2))
        ['colour: blue']
    """
    limits = limits or CaptionLimits()
    if _REFUSAL.search(text[:400]):
        return ["refusal"]
    faults = []
    words = len(_WORD.findall(text))
    if words < limits.min_words:
        faults.append("too-short")
    if words > limits.max_words:
        faults.append("too-long")
    if words and not _SENTENCE_END.search(text.strip()):
        faults.append("cut-off")
    plain = text.replace("\r\n", "\n")
    forms = (("markup", _MARKUP), ("control", CONTROL), ("json", _JSON))
    faults += [code for code, pattern in forms if pattern.search(plain)]
    letters = [character for character in text if character.isalpha()]
    if letters and sum(character.isascii() for character in letters) < 0.9 * len(letters):
        faults.append("not-english")
    for code, pattern in (("colour", _COLOUR), ("light", _LIGHT), ("visible", _VISIBLE)):
        found = sorted(
            {(match.groupdict().get("kind") or match[0]).lower() for match in pattern.finditer(text)}
        )
        if found:
            faults.append(f"{code}: {', '.join(found)}")
    return faults
