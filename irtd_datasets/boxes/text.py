r"""Boxes inside text: find them, flag what is wrong with them, and write them back.

Three grammars occur in the releases:

- MMRS-1M: ``There are <p>two large vehicles</p>[0.1,0.2,0.3,0.4;0.5,0.6,0.7,0.8]``, boxes of 4 numbers or
corners of 8,
  separated by ``;``; the figures of the EarthGPT paper print the same without ``<p>`` and with "in the
  image." behind.
- IR-TD grounding: ``The target bounding box is <box>[[500, 223, 512, 238]]</box>.``
- IR-TD location: ``<ref>car</ref> at <pos>[(48, 628), (311, 495)]</pos>``

The markup of the model families is read besides, by `irtd_datasets.boxes.markup`.

Brackets in ordinary prose are left alone. What looks like a box and cannot be read is reported with a code,
never dropped in silence, and its characters stay as they are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.boxes.frames import Frame, as_frame
from irtd_datasets.boxes.labels import Label, read_label
from irtd_datasets.boxes.markup import find_markup
from irtd_datasets.boxes.moving import mover
from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from irtd_datasets.boxes.markup import Marked

__all__ = [
    "BOX_PROBLEMS",
    "UNREADABLE",
    "BoxSpan",
    "Label",
    "ParsedText",
    "PlacedObject",
    "Problem",
    "merge_rounds",
    "parse_boxes",
    "read_label",
]

BOX_PROBLEMS = {
    "malformed-number": "something between the separators is no number (``1.2.3``, ``50%``, a decimal comma)",
    "wrong-number-count": "neither 4 nor 8 numbers in a box, or not 2 in a position",
    "nan": "a number is NaN or infinite",
    "zero-area": "the box has no width or no height, or its corners lie on one line",
    "exchanged-corners": "the right edge lies left of the left one, or the lower above the upper",
    "unclosed-bracket": "the text ends, or another bracket begins, before this one is closed",
    "count-mismatch": "the text says another number of objects than it has boxes",
    "label-without-box": "a tagged label that no box follows",
    "own-frame": "tokens or computed numbers of a model family, which can have no frame but their own: read, not moved",
}
"""The codes of `Problem`, each with its meaning."""

UNREADABLE = frozenset({"malformed-number", "wrong-number-count", "nan", "own-frame"})
"""Codes of places whose numbers are in no frame that a caller could name."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
# `[^<]` and `[^\[\]<]` keep the scan linear: no text makes it go back over what it has read.
PLACE = re.compile(r"<(box|pos)>([^<]*)(</\1>)?|\[([^\[\]<]*)(\])?")
_INNER = re.compile(r"[\[(]([^\[\]()]*)([\])])?")
_TAGGED_LABEL = re.compile(
    r"(?:<(p|ref|phrase)>([^<>]*)</\1>(?:\s*<object>)?|<\|(object_ref_start|ref)\|>([^<>]*)<\|(?:object_ref_end|/ref)\|>)"
    r"(?:<\|det\|>)?\s*(?:(?:is|are)\s+)?(?:at|in|on)?\s*[:,]?\s*\[?\Z"
)
_ANY_TAGGED_LABEL = re.compile(r"<(p|ref)>([^<>]*)</\1>")
_BLANKS = " \t\r\n,;"
_STRAY = re.compile(r"[^\s,;\[\]()]+")
_LIST_GOES_ON = re.compile(r"[\s\])]*(?:[,;]|and)?[\s\[(]*")
_LIST_GAP = 16  # characters at most; the pattern above would go back and forth over a long run of blanks
_OPENING = re.compile(r"\[\[?|<|\{")
_LOOK_BACK = 200  # characters before a bracket in which its label is looked for

_PROSE_LABEL = re.compile(
    r"(?:\A|[\].:!?]) ?,? ?(?:and )?(?:there (?:is|are) )?(?:also )?(?:the )?"
    r"(?P<label>[\w'/-]+(?: [\w'/-]+){0,4}?)(?: (?:at|in))? ?,?\Z",
    re.IGNORECASE,
)
_PROSE_WORDS = frozenset(
    re.findall(
        r"\w+",
        "is are was were be at in on near of by to from with and or which that this these those it its has "
        "have described region coordinate coordinates box boxes bounding image picture describe locate answer",
    )
)


class Problem(NamedTuple):
    """What is wrong at one place of a text."""

    code: str
    """A key of `BOX_PROBLEMS`."""
    start: int
    """Of the characters concerned."""
    end: int
    detail: str
    """The text found."""


@dataclass(frozen=True, slots=True)
class BoxSpan:
    """One box, polygon or point of a text, with the characters it was read from."""

    label: str
    """Canonical class name (see `Label.name`), empty when the text gives none."""
    raw_label: str
    """The same as written, with count word and plural."""
    count: int | None
    """How many objects the text announces with this label, None when it does not say."""
    kind: str
    """``"box"``, ``"polygon"`` or ``"point"``; empty when the number of numbers fits none."""
    numbers: tuple[float, ...]
    """float64, in the frame of the text; empty when one of them cannot be read."""
    raw_numbers: tuple[str, ...]
    """As written, without the blanks around them."""
    number_spans: tuple[tuple[int, int], ...]
    """First and last-plus-one character of each of ``raw_numbers``."""
    start: int
    """First character of the group, without its bracket."""
    end: int
    """The one after its last character."""
    bracket: int
    """Which bracket of the text it stands in; boxes separated by ``;`` share one."""
    bracket_span: tuple[int, int]
    """First and last-plus-one character of that bracket, with its tags where it has some."""
    problems: tuple[str, ...]
    """Keys of `BOX_PROBLEMS`."""
    family: str = ""
    """A key of `irtd_datasets.boxes.markup.FAMILIES` where the place stands in such a markup."""

    @property
    def is_readable(self) -> bool:
        """Whether there are numbers that make a box, polygon or point."""
        return UNREADABLE.isdisjoint(self.problems)


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """One object that a text places, in pixels of the upright image."""

    label: str
    kind: str
    coordinates: tuple[float, ...]
    """4, 8 or 2 numbers in pixels."""
    raw_label: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A text and the places in it.

    Example:
        >>> parsed = parse_boxes("There are <p>two large vehicles</p>[.1,.2,.3,.4; .5,.6,.7,.8]")
        >>> [(span.label, span.kind, span.numbers) for span in parsed.spans]
        [('large vehicle', 'box', (0.1, 0.2, 0.3, 0.4)), ('large vehicle', 'box', (0.5, 0.6, 0.7, 0.8))]
        >>> parsed.write() == parsed.text
        True
    """

    text: str
    spans: tuple[BoxSpan, ...]
    problems: tuple[Problem, ...]
    """Of all spans, in the order of the text, and those that belong to no single span."""

    def write(self, numbers: Sequence[Sequence[str] | None] | None = None) -> str:
        """Write the text from its parts.

        Args:
            numbers: For each span, the strings to put in place of its numbers, or None to keep them as
                written.

        Returns:
            The text; byte for byte the one that was parsed when ``numbers`` is None.

        Raises:
            BoxError: Another count of spans or of numbers in one.

        Example:
            >>> parse_boxes("a ship [1, 2, 3, 4].").write([["10", "20", "30", "40"]])
            'a ship [10, 20, 30, 40].'
        """
        if numbers is not None and len(numbers) != len(self.spans):
            raise BoxError(f"{len(numbers)} rows of numbers for {len(self.spans)} places in the text")
        edits: list[tuple[int, int, str]] = []
        for index, span in enumerate(self.spans):
            new = None if numbers is None else numbers[index]
            written = span.raw_numbers if new is None else new
            if len(written) != len(span.number_spans):
                raise BoxError(
                    f"{len(written)} numbers for a place that has {len(span.number_spans)}: {span}"
                )
            edits += ((*place, string) for place, string in zip(span.number_spans, written, strict=True))
        parts: list[str] = []
        position = 0
        for start, end, string in sorted(edits):  # a markup may have y before x
            parts += (self.text[position:start], string)
            position = end
        return "".join([*parts, self.text[position:]])

    def objects(self, frame: Frame | str, width: int, height: int) -> list[PlacedObject]:
        """Return the readable places as objects in pixels of the upright image, not clipped.

        Args:
            frame: The frame of the numbers in the text.
            width: Of the image in pixels.
            height: Likewise.

        Returns:
            One object for each span that is readable; the others are in ``problems``.

        Example:
            >>> parsed = parse_boxes("<p>a ship</p>[0.25,0.25,0.5,0.75]")
            >>> parsed.objects("square_unit", 640, 512)[0].coordinates
            (160.0, 96.0, 320.0, 416.0)
        """
        move = mover(as_frame(frame), Frame.PIXEL, width, height)
        return [
            PlacedObject(span.label, span.kind, move(span.numbers), span.raw_label, span.problems)
            for span in self.spans
            if span.is_readable
        ]


def parse_boxes(text: str) -> ParsedText:
    """Find the boxes, polygons and points in a text.

    Args:
        text: A question or an answer of a release or of a model, in any of the grammars of this module or in the
            markup of a model family, or prose.

    Returns:
        The places found in the order of the text, and every problem found.

    Example:
        >>> parse_boxes("<ref>car</ref> at <pos>[(48, 628), (311, 495)]</pos>").spans[1].numbers
        (311.0, 495.0)
        >>> parse_boxes("<p>a ship</p>[0.1,0.2,0.3,0.4,0.5]").problems[0].code
        'wrong-number-count'
        >>> parse_boxes("Ships [1] near a harbour [sic] as in [2, 3].").spans
        ()
    """
    spans: list[BoxSpan] = []
    lists: list[_LabelledList] = []
    marked = find_markup(text)
    for group in _groups(text, marked):
        if not spans or group.bracket != spans[-1].bracket:
            _open_bracket(text, group, lists)
        lists[-1].size += 1
        spans.append(_span(text, group, lists[-1]))
    problems = [
        Problem(code, span.start, span.end, text[span.start : span.end])
        for span in spans
        for code in span.problems
    ]
    problems += _text_problems(text, lists)
    problems.sort(key=lambda problem: problem.start)
    return ParsedText(text, tuple(spans), tuple(problems))


def merge_rounds(
    rounds: Iterable[ParsedText | Sequence[BoxSpan | PlacedObject]], decimals: int = 2
) -> list[BoxSpan | PlacedObject]:
    """Join what several rounds say about one image, without doubling what two of them say.

    MMRS-1M gives the boxes of an image in one round for all classes and then once more in a round per class.
    Two objects are the same when class (ignoring case), kind and rounded coordinates agree; polygons are
    compared as cycles of corners, since the first corner is ambiguous. An object without a label equals a
    labelled one at the same place. Objects that are the same **within** one round all stay: two small
    vehicles can share a box of two decimals.

    Args:
        rounds: The rounds of one image, parsed texts or the objects of each; all in one frame.
        decimals: Of the coordinates compared: 2 for texts of MMRS-1M, 0 for pixels.

    Returns:
        The objects, each as often as the round that has it most often, in order of first appearance. Spans
        that cannot be read are kept as they are.

    Example:
        >>> everything = parse_boxes("There are <p>a ship</p>[.1,.1,.2,.2] <p>a plane</p>[.3,.3,.4,.4]")
        >>> ships = parse_boxes("There are a ship[0.10,0.10,0.20,0.20] in the image.")
        >>> [span.label for span in merge_rounds([everything, ships])]
        ['ship', 'plane']
    """
    contents = [one.spans if isinstance(one, ParsedText) else one for one in rounds]
    named = {_place_key(item, decimals) for items in contents for item in items if item.label}
    kept: Counter[object] = Counter()
    merged: list[BoxSpan | PlacedObject] = []
    for items in contents:
        seen: Counter[object] = Counter()
        for item in items:
            place = _place_key(item, decimals)
            if place is None:
                merged.append(item)
                continue
            if not item.label and place in named:
                continue
            key = (item.label.casefold(), place)
            seen[key] += 1
            if seen[key] > kept[key]:
                kept[key] += 1
                merged.append(item)
    return merged


class _Group(NamedTuple):
    """The characters between two separators that should be one box."""

    tag: str  # "box", "pos", or "" for a bare bracket
    start: int
    end: int
    fields: list[tuple[int, int]]
    bracket: int
    bracket_start: int
    bracket_end: int
    closed: bool
    marked: Marked | None = None


def _groups(text: str, marked: Sequence[Marked]) -> list[_Group]:
    bracket = 0
    found = [
        _Group("", one.start, one.end, list(one.spans), 0, one.start, one.end, closed=True, marked=one)
        for one in marked
    ]
    parts: list[str] = []
    position = 0
    for one in marked:
        parts += (text[position : one.start], " " * (one.end - one.start))
        position = one.end
    plain = "".join([*parts, text[position:]])
    for match in PLACE.finditer(plain):
        found += _groups_of(plain, match, 0)
    if not marked and len(found) < 2:
        return found
    found.sort(key=lambda group: group.bracket_start)
    for index, group in enumerate(found):
        bracket += bool(index) and group.bracket_start != found[index - 1].bracket_start
        found[index] = group._replace(bracket=bracket)
    return found


def _groups_of(text: str, match: re.Match[str], bracket: int) -> list[_Group]:
    tag = match[1] or ""
    if tag:
        found = _tagged_groups(match)
    elif _is_box_like(text, match):
        found = _split(match[4], match.start(4), match[5] is not None)
    else:
        return []
    return [
        _Group(tag, start, end, fields, bracket, match.start(), match.end(), closed)
        for start, end, fields, closed in found
    ]


_Raw = tuple[int, int, list[tuple[int, int]], bool]


def _tagged_groups(match: re.Match[str]) -> Iterator[_Raw]:
    content, start, closed = match[2], match.start(2), match[3] is not None
    # The outer bracket of `[[...]]` and `[(...)]` holds nothing before the inner one opens, and is left out.
    inner = [one for one in _INNER.finditer(content) if one[1].strip(_BLANKS) or one[2]]
    if not inner:
        yield from _split(content, start, closed, tagged=True)
    position = 0
    for one in inner:
        yield from _between(content[position : one.start()], start + position, closed)
        yield from _split(one[1], start + one.start(1), closed and one[2] is not None, tagged=True)
        position = one.end()
    if inner:
        yield from _between(content[position:], start + position, closed)


def _between(content: str, offset: int, closed: bool) -> Iterator[_Raw]:
    """What stands between the brackets of a tag and is more than punctuation: no box, but not to be lost."""
    for stray in _STRAY.finditer(content):
        where = (offset + stray.start(), offset + stray.end())
        yield *where, [where], closed


def _split(content: str, offset: int, closed: bool, *, tagged: bool = False) -> Iterator[_Raw]:
    position = offset
    pieces = content.split(";")
    for piece in pieces:
        if piece.strip() or (tagged and len(pieces) == 1):
            yield position, position + len(piece), _fields(piece, position), closed
        position += len(piece) + 1


def _fields(piece: str, offset: int) -> list[tuple[int, int]]:
    fields = []
    for string in piece.split(","):
        start = offset + len(string) - len(string.lstrip())
        fields.append((start, start + len(string.strip())))
        offset += len(string) + 1
    if fields[-1][0] == fields[-1][1]:  # nothing behind the last comma
        fields.pop()
    return fields


def _is_box_like(text: str, match: re.Match[str]) -> bool:
    """Tell a box that may be malformed from a citation, a remark or an interval in prose."""
    content = match[4]
    if not content.strip():
        return False
    fields = [field for field in re.split(r"[,;]", content) if field.strip()]
    numeric = sum(1 for field in fields if _is_number(field.strip()))
    if numeric == len(fields) >= 4:
        return True
    before = text[max(0, match.start() - 20) : match.start()].rstrip()
    if before.endswith(("</p>", "</ref>")) and re.search("[0-9]", content):
        return True
    if numeric >= 3 and 2 * numeric > len(fields):
        return len(fields) >= 4 or "." in content
    # Numbers with commas lost.
    return len(words := re.split(r"[,;\s]+", content.strip())) >= 4 and all(map(_is_number, words))


def _is_number(string: str) -> bool:
    return bool(_NUMBER.fullmatch(string) or _NOT_FINITE.fullmatch(string))


def _values(text: str, group: _Group) -> tuple[tuple[float, ...], str]:
    """Return the numbers of a group and the code of what keeps them from being a box, or an empty code."""
    strings = [text[start:end] for start, end in group.fields]
    for string in strings:
        if not _NUMBER.fullmatch(string) and not _NOT_FINITE.fullmatch(string):
            return (), "malformed-number"
    if _has_decimal_commas(group, strings):
        return (), "malformed-number"
    values = tuple(map(float, strings))
    if len(values) not in ((2,) if group.tag == "pos" else (4, 8)):
        return values, "wrong-number-count"
    if not all(map(math.isfinite, values)):
        return values, "nan"
    return values, ""


def _has_decimal_commas(group: _Group, strings: list[str]) -> bool:
    """Tell ``0,12, 0,34, 0,56, 0,78`` from eight numbers.

    Either the blanks give it away (one only after every second comma), or every first number is 0 or 1 while
    the second ones are not: as corners they would all stand in one column of pixels.
    """
    if len(strings) not in (4, 8, 16) or not all(map(str.isdecimal, strings)):
        return False
    gaps = [second[0] - first[1] > 1 for first, second in zip(group.fields, group.fields[1:], strict=False)]
    if len(strings) > 4 and any(gaps) and gaps == [bool(index % 2) for index in range(len(gaps))]:
        return True
    return (
        len(strings) >= 8 and {"0", "1"}.issuperset(strings[::2]) and not {"0", "1"}.issuperset(strings[1::2])
    )


_KIND = {2: "point", 4: "box", 8: "polygon"}


@dataclass(slots=True)
class _LabelledList:
    """The brackets that belong to one label: nearly always one."""

    raw_label: str
    label: Label
    brackets: list[tuple[int, int]]
    size: int = 0


def _open_bracket(text: str, group: _Group, lists: list[_LabelledList]) -> None:
    where = (group.bracket_start, group.bracket_end)
    previous = lists[-1].brackets[-1][1] if lists else 0
    is_near = group.bracket_start - previous <= _LIST_GAP
    if lists and is_near and _LIST_GOES_ON.fullmatch(text, previous, group.bracket_start):
        lists[-1].brackets.append(where)
    else:
        lists.append(_LabelledList(*_label_before(text, previous, group.bracket_start), [where]))


def _span(text: str, group: _Group, labelled: _LabelledList) -> BoxSpan:
    marked = group.marked
    values, code = _values(text, group) if marked is None else _marked_values(marked)
    problems = [code] if code else _shape_problems(values)
    if not group.closed:
        problems.append("unclosed-bracket")
    kind = "" if code in ("malformed-number", "wrong-number-count") else _KIND[len(values)]
    raw, label = labelled.raw_label, labelled.label
    if marked is not None and marked.label:
        raw, label = marked.label, read_label(marked.label)
    return BoxSpan(
        label=label.name,
        raw_label=raw,
        count=label.count,
        kind=kind,
        numbers=values,
        raw_numbers=tuple(text[start:end] for start, end in group.fields),
        number_spans=tuple(group.fields),
        start=group.start,
        end=group.end,
        bracket=group.bracket,
        bracket_span=(group.bracket_start, group.bracket_end),
        problems=tuple(problems),
        family=marked.family if marked else "",
    )


def _marked_values(marked: Marked) -> tuple[tuple[float, ...], str]:
    if not marked.kind:
        return marked.numbers, "wrong-number-count"
    if not all(map(math.isfinite, marked.numbers)):
        return marked.numbers, "nan"
    return marked.numbers, "own-frame" if marked.fixed or not marked.spans else ""


def _shape_problems(values: tuple[float, ...]) -> list[str]:
    if len(values) == 4:
        width, height = values[2] - values[0], values[3] - values[1]
        if width < 0 or height < 0:
            return ["exchanged-corners"]
        return ["zero-area"] if width == 0 or height == 0 else []
    if len(values) == 8:
        x, y = [one - values[0] for one in values[::2]], [one - values[1] for one in values[1::2]]
        twice = sum(x[i] * y[(i + 1) % 4] - x[(i + 1) % 4] * y[i] for i in range(4))
        extent = (max(x) - min(x)) * (max(y) - min(y))
        return ["zero-area"] if abs(twice) <= 2e-12 * extent else []
    return []


def _label_before(text: str, previous: int, start: int) -> tuple[str, Label]:
    before = text[max(previous, start - _LOOK_BACK) : start].rstrip()
    if match := _TAGGED_LABEL.search(before):
        raw = match[2] if match[1] else match[4]
        return raw, read_label(raw)
    # One line with single blanks: the pattern never meets a run of blanks to go back and forth over.
    if match := _PROSE_LABEL.search(" ".join(before.rpartition("\n")[2].split())):
        raw = match["label"]
        words = read_label(raw).name.lower().split()
        if words and _PROSE_WORDS.isdisjoint(words) and not words[-1].isdecimal():
            return raw, read_label(raw)
    return "", Label("", None)


def _text_problems(text: str, lists: list[_LabelledList]) -> Iterator[Problem]:
    starts = set()
    for one in lists:
        starts |= {start for start, _ in one.brackets}
        if one.label.count is not None and one.label.count != one.size:
            start, end = one.brackets[0][0], one.brackets[-1][1]
            yield Problem("count-mismatch", start, end, f"{one.raw_label!r} has {one.size} boxes")
    for match in _ANY_TAGGED_LABEL.finditer(text):
        limit = match.end() + _LOOK_BACK
        opening = _OPENING.search(text, match.end(), limit)
        followed = opening and not starts.isdisjoint((opening.start(), opening.end() - 1))
        if not followed and read_label(match[2]).count != 0:
            yield Problem("label-without-box", match.start(), match.end(), match[0])


def _place_key(item: BoxSpan | PlacedObject, decimals: int) -> tuple[str, tuple[float, ...]] | None:
    values = item.numbers if isinstance(item, BoxSpan) else item.coordinates
    if not item.kind or not all(map(math.isfinite, values)):
        return None
    rounded = tuple(round(value, decimals) + 0.0 for value in values)
    if item.kind == "polygon":
        corners = [rounded[index : index + 2] for index in range(0, 8, 2)]
        cycles = [corners[index:] + corners[:index] for index in range(4)]
        cycles += [cycle[::-1] for cycle in cycles]
        rounded = tuple(value for corner in min(cycles) for value in corner)
    return item.kind, rounded
