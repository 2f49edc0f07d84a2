r"""Places in the markup of the model families: found in a text with the order and the frame that their markup fixes.

A bare list of four numbers means what its file says. A markup says more: PaliGemma's ``<loc0100>`` tokens count
0 to 1023 with y before x whatever a file says, Gemini's ``box_2d`` has y before x, GeoChat counts 0 to 100. Such places
are found here and nowhere else; `irtd_datasets.boxes.text` and the readers of answers both build on it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FAMILIES", "UNREADABLE_MARKUP", "Marked", "find_markup", "may_have_markup", "unreadable_markup"]

FAMILIES = {
    "qwen-vl": "<|box_start|>(x,y),(x,y)<|box_end|> or <box>(x,y),(x,y)</box> of Qwen-VL and Qwen2-VL",
    "minicpm-v": "<box>x y x y</box> of MiniCPM-V, 0 to 1000 of width and height",
    "paligemma": "<loc0000> tokens of PaliGemma, 0 to 1023 of height and width, y before x",
    "florence-2": "<loc_0> tokens of Florence-2, 0 to 999 of width and height",
    "geochat": "{<x><y><x><y>|<angle>} of GeoChat and MiniGPT-v2, 0 to 100 of width and height",
    "kosmos-2": "<patch_index_0000> tokens of Kosmos-2, 32 x 32 patches",
    "molmo": '<point x=".." y=".."> of Molmo, 0 to 100 of width and height',
    "gemini": "box_2d and point of Gemini and Gemma, 0 to 1000 of height and width, y before x",
    "json": "a list of numbers under a key of a JSON object",
    "named": "numbers under their names (xmin, y1, left, width ..), in any order",
}
"""The forms that are read, each with what it counts."""

UNREADABLE_MARKUP = {
    "seg-token": ("[SEG] of LISA, GLaMM and LISAt: a mask, which the text does not hold", r"\[SEG\]|<SEG>"),
    "seg-code": ("<seg000> tokens of PaliGemma without a box: codes of a mask", r"<seg[0-9]{3}>"),
    "roi-token": (
        "<roi> and <region> tokens of Groma and GPT4RoI: an index into regions, which the text does not hold",
        r"<roi>|<r[0-9]+>|<region[0-9]*>",
    ),
    "molmo-coords": ("<points coords=..> of Molmo 2: its frames and indices", r"<points? [^<>]{0,40}coords="),
}
"""Markup that is known and holds no numbers of a place: code, sentence, pattern."""

_UNREADABLE = {code: (text, re.compile(pattern)) for code, (text, pattern) in UNREADABLE_MARKUP.items()}


class Marked(NamedTuple):
    """A place in a family's markup."""

    family: str
    """A key of `FAMILIES`."""
    kind: str
    """``box``, ``polygon`` or ``point``; empty when the number of numbers fits none."""
    numbers: tuple[float, ...]
    """x before y, whatever the markup's order."""
    spans: tuple[tuple[int, int], ...]
    """Where each of ``numbers`` stands; empty where a number was computed, so that no text can be put in its place."""
    start: int
    """Of the markup, which has its tags with it."""
    end: int
    base: float | None = None
    """What the markup counts a full side as; None where the text does not fix it."""
    fixed: bool = False
    """Whether its numbers can have no other frame than ``base``: tokens of a vocabulary."""
    label: str = ""
    """Class name where the markup itself has one."""
    score: float | None = None
    """Confidence where the markup has one."""


_N = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_S = r"\s{0,3}"
_NUMBER = re.compile(_N)
_PAIR = rf"\({_S}{_N}{_S},{_S}{_N}{_S}\)"
_PAIRS = re.compile(
    rf"(?:<\|(?:box|quad|point)_start\|>|<(?:box|quad)>){_S}({_PAIR}(?:{_S},?{_S}{_PAIR}){{0,3}}){_S}"
    r"(?:<\|(?:box|quad|point)_end\|>|</(?:box|quad)>)?"
)
_BLANKS = re.compile(rf"<box>{_S}({_N}(?:\s{{1,3}}{_N}){{3}}){_S}</box>")
_LOCS = re.compile(r"<loc_?[0-9]{1,4}>(?:\s?<loc_?[0-9]{1,4}>)*")
_LOC = re.compile(r"<loc(_?)([0-9]{1,4})>")
_BEFORE = re.compile(r"(?:\A|[<>;,.\n])([^<>;,.\n]{1,80})\Z")
_AFTER = re.compile(r"\s?(?:<seg[0-9]{3}>)*\s?([^<>;\n\[\].,]{1,80})")
_ANGLED = re.compile(rf"\{{{_S}((?:<{_S}{_N}{_S}>{_S},?{_S}){{4,8}})(?:\|{_S}<{_S}{_N}{_S}>{_S})?\}}")
_PATCHES = re.compile(r"<patch_index_([0-9]{4})><patch_index_([0-9]{4})>")
_POINTS = re.compile(r"<points?\b((?:\s+[\w-]{1,20}\s?=\s?\"[^\"<>]{0,200}\"){1,2000})\s?/?>")
_ATTRIBUTE = re.compile(rf"\b([xy])([0-9]*)\s?=\s?\"{_S}({_N}){_S}\"")
_OBJECT = re.compile(r"\{[^{}]*\}")
_LISTED = re.compile(
    r"(?:[\"'](bbox_2d|bbox(?:es)?|boxes|box|bounding_?box|coord(?:inate)?s?|bbox_oriented|obb|quad|"
    r"poly(?:gon)?|point_2d|points?)[\"']|(?<![A-Za-z0-9_])[\"']?(box_?2d)[\"']?)\s{0,3}[:=]\s{0,3}[\"']?"
    rf"([\[(]{{1,2}}{_S}({_N}(?:{_S},{_S}{_N}){{1,7}}){_S},?{_S}[\])]{{1,2}})",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"[\"'](?:label|class|category|name|object|class_name|category_name|description|type)[\"']\s{0,3}:\s{0,3}"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')",
    re.IGNORECASE,
)
_SCORE = re.compile(
    rf"[\"'](?:score|confidence|conf|prob(?:ability)?)[\"']\s{{0,3}}:\s{{0,3}}[\"']?({_N})", re.IGNORECASE
)
_CORNER_WORDS = re.compile(
    rf"(?:top|upper)[ _-]?left\b[^\[\]()0-9]{{0,30}}[\[(]{_S}({_N}){_S},{_S}({_N}){_S}[\])]"
    rf"[^\[\]()0-9]{{0,40}}(?:bottom|lower)[ _-]?right\b[^\[\]()0-9]{{0,30}}[\[(]{_S}({_N}){_S},{_S}({_N}){_S}[\])]",
    re.IGNORECASE,
)
_KEYS = {
    "x1": ("xmin", "x_min", "x1", "x_1", "left", "xtl", "x_left", "min_x", "minx", "x_start"),
    "y1": ("ymin", "y_min", "y1", "y_1", "top", "ytl", "y_top", "min_y", "miny", "y_start"),
    "x2": ("xmax", "x_max", "x2", "x_2", "right", "xbr", "x_right", "max_x", "maxx", "x_end"),
    "y2": ("ymax", "y_max", "y2", "y_2", "bottom", "ybr", "y_bottom", "max_y", "maxy", "y_end"),
    "x0": ("x0", "x_0"),
    "y0": ("y0", "y_0"),
    "x": ("x",),
    "y": ("y",),
    "w": ("w", "width"),
    "h": ("h", "height"),
    "cx": ("cx", "xc", "x_center", "x_centre", "center_x", "centre_x", "xcenter", "xcentre"),
    "cy": ("cy", "yc", "y_center", "y_centre", "center_y", "centre_y", "ycenter", "ycentre"),
}
_MEANING = {name: key for key, names in _KEYS.items() for name in names}
_NAMED = re.compile(
    rf"(?<![A-Za-z0-9_])([\"']?)({'|'.join(sorted(_MEANING, key=len, reverse=True))})\1"
    rf"\s{{0,3}}(?:[:=>]|(?<=\s))\s{{0,3}}[\"']?({_N})(?![0-9]*%)[\"']?",
    re.IGNORECASE,
)
_NEXT = re.compile(r"[\s,;]{0,12}(?:and\s)?|\s{0,3}</\w{1,12}>\s{0,12}<")
_MAY = re.compile(
    r"<\|(?:box|quad|point)_start|<(?:box|quad)>\s{0,3}[(\d.+-]|<loc_?[0-9]|\{\s{0,3}<|<patch_index|<points?\s|\{|"
    r"(?:top|upper)[ _-]?left|(?<![A-Za-z0-9_])(?:x_?(?:min|1|0)|y_?min|left|top)[\"']?"
    r"(?:\s{0,3}[:=>]|\s[+-]?[0-9])|box_?2d",
    re.IGNORECASE,
)


def may_have_markup(text: str) -> bool:
    """Whether a text can hold any of the markups; far cheaper than `find_markup`.

    Example:
        >>> may_have_markup("There are <p>two ships</p>[0.1,0.2,0.3,0.4]"), may_have_markup("<loc0100><loc0160>")
        (False, True)
    """
    return _MAY.search(text) is not None


def unreadable_markup(text: str) -> str:
    """The code in `UNREADABLE_MARKUP` of markup that is known and not readable; empty when there is none.

    Example:
        >>> unreadable_markup("Sure, it is [SEG].")
        'seg-token'
    """
    return next((code for code, (_, pattern) in _UNREADABLE.items() if pattern.search(text)), "")


def find_markup(text: str) -> list[Marked]:
    """Find the places of a text that stand in a family's markup, in the order of the text.

    Example:
        >>> one = find_markup("<loc0100><loc0164><loc0180><loc0256> ship")[0]
        >>> one.family, one.numbers, one.base, one.label
        ('paligemma', (164.0, 100.0, 256.0, 180.0), 1023.0, 'ship')
        >>> [place.numbers for place in find_markup('[{"box_2d": [20, 10, 40, 30]}, {"ymin": 2, "xmin": 1, "ymax": 4,'
        ...  ' "xmax": 3}]')]
        [(10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 3.0, 4.0)]
    """
    if not may_have_markup(text):
        return []
    found: list[Marked] = []
    end = 0
    for one in sorted(
        (one for find in _FINDERS for one in find(text)), key=lambda one: (one.start, -one.end)
    ):
        if one.start >= end:
            found.append(one)
            end = one.end
    return found


_KIND = {2: "point", 4: "box", 8: "polygon"}


def _numbers_in(text: str, start: int, end: int) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    found = list(_NUMBER.finditer(text, start, end))
    return tuple(float(one[0]) for one in found), tuple(one.span() for one in found)


def _pairs(text: str) -> Iterator[Marked]:
    for family, pattern, base in (("qwen-vl", _PAIRS, None), ("minicpm-v", _BLANKS, 1000.0)):
        for match in pattern.finditer(text):
            numbers, spans = _numbers_in(text, *match.span(1))
            yield Marked(family, _KIND.get(len(numbers), ""), numbers, spans, *match.span(), base)


def _locations(text: str) -> Iterator[Marked]:
    for run in _LOCS.finditer(text):
        tokens = list(_LOC.finditer(text, *run.span()))
        florence = bool(tokens[0][1])
        numbers = [float(token[2]) for token in tokens]
        size = len(numbers) if len(numbers) in (2, 4) or len(numbers) % 4 else 4
        if len(numbers) == 8 and not (_is_ordered(numbers[:4]) and _is_ordered(numbers[4:])):
            size = 8
        label = _BEFORE.search(text, max(0, run.start() - 81), run.start()) if florence else None
        label = label or (None if florence else _AFTER.match(text, run.end()))
        name = label[1].strip() if label else ""
        for place in range(0, len(numbers), size):
            part, where = numbers[place : place + size], tokens[place : place + size]
            order = range(len(part)) if florence or len(part) % 2 else [i ^ 1 for i in range(len(part))]
            yield Marked(
                "florence-2" if florence else "paligemma",
                _KIND.get(len(part), ""),
                tuple(part[i] for i in order),
                tuple(where[i].span(2) for i in order),
                where[0].start(),
                where[-1].end(),
                999.0 if florence else 1023.0,
                fixed=True,
                label=name,
            )


def _is_ordered(box: list[float]) -> bool:
    return box[0] <= box[2] and box[1] <= box[3]


def _angled(text: str) -> Iterator[Marked]:
    for match in _ANGLED.finditer(text):
        numbers, spans = _numbers_in(text, *match.span(1))
        yield Marked("geochat", _KIND.get(len(numbers), ""), numbers, spans, *match.span(), 100.0, fixed=True)


def _patches(text: str) -> Iterator[Marked]:
    """Two patches of a grid of 32 x 32, row by row (transformers, ``processing_kosmos2.py``)."""
    for match in _PATCHES.finditer(text):
        first, last = int(match[1]), int(match[2])
        (top, left), (bottom, right) = divmod(first, 32), divmod(last, 32)
        edge = left == right or top == bottom
        low, high = (0.0, 1.0) if edge else (0.5, 0.5)
        numbers = (left + low, top + low, right + high, bottom + high)
        yield Marked(
            "kosmos-2",
            "box" if max(first, last) < 1024 else "",
            tuple(number / 32 for number in numbers),
            (),
            *match.span(),
            1.0,
            fixed=True,
        )


def _points(text: str) -> Iterator[Marked]:
    for match in _POINTS.finditer(text):
        named = {one[1] + one[2]: one for one in _ATTRIBUTE.finditer(text, *match.span(1))}
        position = match.start()
        for name, x in named.items():
            y = named.get(f"y{name[1:]}") if name[0] == "x" else None
            if y is None:
                continue
            last = len(named) == 2
            end = match.end() if last else max(x.end(), y.end())
            numbers = (float(x[3]), float(y[3]))
            base = 100.0 if max(numbers) <= 100 else None
            yield Marked("molmo", "point", numbers, (x.span(3), y.span(3)), position, end, base)
            position = end


def _objects(text: str) -> Iterator[Marked]:
    """Lists of numbers and named numbers in the objects of JSON, whole or cut off."""
    taken = []
    for match in _OBJECT.finditer(text):
        inside = match[0]
        lists = list(_LISTED.finditer(inside))
        if not lists:
            continue
        label, score = _LABEL.search(inside), _SCORE.search(inside)
        for one in lists:
            found = _listed(text, one, match.start())
            if found is not None:
                taken.append(found.start)
                yield found._replace(
                    label=(label[1] or label[2] or "") if label else "",
                    score=float(score[1]) if score else None,
                )
    if "box_2d" in text or "box2d" in text:  # the object can be cut off, or hold another
        for one in _LISTED.finditer(text):
            found = _listed(text, one, 0)
            if found is not None and found.start not in taken:
                yield found


def _listed(text: str, match: re.Match[str], offset: int) -> Marked | None:
    key = (match[1] or "box_2d").lower()
    start, end = match.start(4) + offset, match.end(4) + offset
    numbers, spans = _numbers_in(text, start, end)
    if len(numbers) not in _KIND or ("point" in key) != (len(numbers) == 2):
        return None
    y_first = key in {"box_2d", "point"}
    if y_first:
        order = [i ^ 1 for i in range(len(numbers))]
        numbers, spans = tuple(numbers[i] for i in order), tuple(spans[i] for i in order)
    family, base = ("gemini", 1000.0) if y_first else ("json", None)
    return Marked(
        family, _KIND[len(numbers)], numbers, spans, match.start(3) + offset, match.end(3) + offset, base
    )


def _corner_words(text: str) -> Iterator[Marked]:
    for match in _CORNER_WORDS.finditer(text):
        spans = tuple(match.span(group) for group in range(1, 5))
        yield Marked(
            "named", "box", tuple(float(match[group]) for group in range(1, 5)), spans, *match.span()
        )


def _named(text: str) -> Iterator[Marked]:
    group: dict[str, re.Match[str]] = {}
    end = -1
    for match in _NAMED.finditer(text):
        key = _MEANING[match[2].lower()]
        if group and (key in group or not _NEXT.fullmatch(text, end, match.start())):
            yield from _named_place(text, group)
            group = {}
        group[key] = match
        end = match.end()
    yield from _named_place(text, group)


def _named_place(text: str, group: dict[str, re.Match[str]]) -> Iterator[Marked]:
    if len(group) < 2:
        return
    start = min(match.start() for match in group.values())
    end = max(match.end() for match in group.values())
    value = {key: float(match[3]) for key, match in group.items()}
    corners = (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"))
    keys = next((names for names in corners if set(names) <= set(value)), None)
    inside, label, score = _around(text, start, end)
    if keys:
        spans = tuple(group[key].span(3) for key in keys)
        numbers = tuple(value[key] for key in keys)
        yield Marked("named", "box", numbers, spans, start, end, label=label, score=score)
    elif {"w", "h"} <= set(value):
        box: tuple[float, ...] = ()
        if {"cx", "cy"} <= set(value):
            x, y, w, h = (value[key] for key in ("cx", "cy", "w", "h"))
            box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        else:
            first = next((pair for pair in (("x", "y"), ("x1", "y1")) if set(pair) <= set(value)), None)
            if first is not None:
                x, y = value[first[0]], value[first[1]]
                box = (x, y, x + value["w"], y + value["h"])
        if box:
            yield Marked("named", "box", box, (), start, end, label=label, score=score)
    elif inside and set(value) == {"x", "y"}:
        yield Marked(
            "named", "point", (value["x"], value["y"]), (group["x"].span(3), group["y"].span(3)), start, end
        )


def _around(text: str, start: int, end: int) -> tuple[bool, str, float | None]:
    """Whether a place stands in an object, with the label and the confidence that it has there."""
    first = max(text.rfind("{", max(0, start - 400), start), 0)
    if text[first : first + 1] != "{" or "}" in text[first:start]:
        return False, "", None
    last = text.find("}", end, end + 400)
    inside = text[first : last if last >= 0 else end]
    label, score = _LABEL.search(inside), _SCORE.search(inside)
    return True, (label[1] or label[2] or "") if label else "", float(score[1]) if score else None


_FINDERS: tuple[Callable[[str], Iterator[Marked]], ...] = (
    _pairs,
    _locations,
    _angled,
    _patches,
    _points,
    _objects,
    _corner_words,
    _named,
)
