"""The page of a preview: HTML from plain values, without files and without a template language.

Elements are built with ``xml.etree`` and written by it, so that every text and attribute is escaped by construction:
there is no place where a row's text could be forgotten. What is not markup lies in ``page/preview.css`` and ``.js``.
The page loads nothing, and its content security policy forbids it to: images are data inside it, the one script is
allowed by its hash, and a script that came with a row's text would not be run.

The plot is made of elements, too. A plotting library that draws in the page weighs from 0.5 MB (Vega) to 4 MB
(Plotly), more than the images, and its bars would not be the filters that these are.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["PageFacts", "ShownImage", "draw_marks", "node", "page", "render_card", "to_html"]

COLOURS = 10
"""Colours that labels take in turn; they stand in the style sheet."""

_DISPLAYED = 380
"""Pixels a thumbnail is wide on most screens: sizes of marks and of their text are made for it."""

_CROWD = 8
"""Places above which names would hide each other: they are shown for the one under the pointer."""
_LEGEND = 6
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER = re.compile(r"\(([A-Z])\)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_FACETS = (
    ("task", "Task"),
    ("source", "Source"),
    ("split", "Split"),
    ("modality", "Sensor"),
    ("issue", "Known issue"),
)


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A thumbnail.

    Attributes:
        jpeg: Its bytes; empty when the image cannot be shown.
        width: Its width in pixels.
        height: Its height.
        note: What was done to its values, or why it cannot be shown.
    """

    jpeg: bytes
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the page says about the folder as a whole.

    Attributes:
        title: Its name.
        summary: One sentence; may be empty.
        details: Short facts such as the version, in order.
        terms: Terms of use; may be empty.
        rows: All rows.
        counts: For each of task, source, split, modality and issue: rows by name.
        strata: Rows by task and source.
        meanings: Meaning of each issue code that is known.
    """

    title: str
    summary: str
    details: tuple[str, ...]
    terms: str
    rows: int
    counts: Mapping[str, Mapping[str, int]]
    strata: Mapping[tuple[str, str], int]
    meanings: Mapping[str, str] = field(default_factory=dict)


def node(tag: str, *children: ET.Element | str | None, **attributes: str | None) -> ET.Element:
    """An element; underscores in names of attributes stand for hyphens, a last one keeps Python's words apart."""
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    element = ET.Element(tag, {key: _clean(value) for key, value in names.items() if value is not None})
    last: ET.Element | None = None
    for child in children:
        if isinstance(child, str):
            text = _clean(child)
            if last is None:
                element.text = (element.text or "") + text
            else:
                last.tail = (last.tail or "") + text
        elif child is not None:
            element.append(child)
            last = child
    return element


def _clean(text: str) -> str:
    """Control characters have no place in a page; they are shown as such."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def to_html(element: ET.Element) -> str:
    """The element as HTML, its texts and attributes escaped."""
    return ET.tostring(element, encoding="unicode", method="html")


def render_card(
    row: Mapping[str, Any],
    images: Sequence[tuple[str, ShownImage]],
    split: str,
    *,
    meanings: Mapping[str, str],
    colours: dict[str, int],
    text_limit: int,
    place_limit: int,
) -> str:
    """One row as HTML.

    Args:
        row: A row of the schema as plain values; its images are not looked at.
        images: Name and thumbnail of each of its images; places are drawn on the first.
        split: Its split.
        meanings: Meaning of each issue code that is known.
        colours: Colour of each label so far; new ones are added.
        text_limit: Characters of text shown, in all.
        place_limit: Places drawn.
    """
    task, modality = _name(row["task"], TASKS), _name(row["modality"], MODALITIES)
    source, issues = row["source"] or "unknown", list(row["issues"] or ())
    budget = _Budget(text_limit)
    chips = [
        node("span", task, class_="chip task"),
        node("span", source, class_="chip"),
        node("span", split, class_="chip"),
        node("span", modality, class_="chip"),
    ]
    article = node(
        "article",
        node("header", *chips),
        _figure(row, images, colours, place_limit),
        _texts(row, budget),
        _issues(issues, meanings),
        _corrections(row, budget),
        _footer(row),
        class_="card",
        tabindex="0",
        data_task=task,
        data_source=source,
        data_split=split,
        data_modality=modality,
        data_issue="\n".join(issues),
    )
    return to_html(article)


def _name(number: int | None, names: Sequence[str]) -> str:
    return "unknown" if number is None else names[number] if 0 <= number < len(names) else str(number)


class _Budget:
    """Characters of text that may still be shown."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def cut(self, text: str | None) -> str:
        text = text or ""
        shown = text[: max(self._left, 0)]
        self._left -= len(text)
        return text if len(shown) == len(text) else f"{shown} … ({len(text) - len(shown):,} more characters)"


def _figure(
    row: Mapping[str, Any], images: Sequence[tuple[str, ShownImage]], colours: dict[str, int], limit: int
) -> ET.Element:
    frames = []
    drawn = 0
    notes = []
    legend: dict[str, int] = {}
    for index, (name, image) in enumerate(images):
        marks = None
        if not index:
            marks, legend = draw_marks(row, image, colours, limit)
            drawn = sum(legend.values())
        if image.jpeg:
            content = node(
                "img",
                src="data:image/jpeg;base64," + base64.b64encode(image.jpeg).decode(),
                width=str(image.width),
                height=str(image.height),
                alt=f"{name} of {row['id']}",
                decoding="async",
            )
        else:
            content = node("p", "This image cannot be shown.", class_="missing")
        frames.append(node("div", content, marks, class_=f"frame {name}", data_image=name))
        if image.note:
            notes.append(image.note if not index else f"{name}: {image.note}")
    total = (
        sum(len(row["objects"][kind] or ()) for kind in ("box", "polygon", "point")) if row["objects"] else 0
    )
    if total > drawn:
        notes.append(f"{drawn} of {total} places drawn")
    if row["image_note"]:
        notes.append(row["image_note"])
    tabs = None
    if len(frames) > 1:
        tabs = node(
            "div",
            *[
                node("button", name, type="button", data_show=name, aria_pressed="false" if index else "true")
                for index, (name, _) in enumerate(images)
            ],
            class_="tabs",
        )
    caption = node("figcaption", "; ".join(notes)) if notes else None
    return node("figure", tabs, *frames, _legend(legend, colours), caption, data_show=images[0][0])


def _legend(places: Mapping[str, int], colours: Mapping[str, int]) -> ET.Element | None:
    """Labels with their colour and how many places have them, the most frequent first."""
    order = sorted(places, key=lambda label: (-places[label], label))
    shown = [
        node(
            "li",
            label if places[label] == 1 else f"{label} \N{MULTIPLICATION SIGN} {places[label]}",
            class_=f"c{colours[label] % COLOURS}",
        )
        for label in order[:_LEGEND]
        if label
    ]
    if len(order) > _LEGEND:
        shown.append(node("li", f"and {len(order) - _LEGEND} more labels"))
    return node("ul", *shown, class_="legend") if shown else None


def draw_marks(
    row: Mapping[str, Any], image: ShownImage, colours: dict[str, int], limit: int
) -> tuple[ET.Element | None, dict[str, int]]:
    """The places of a row as SVG in pixels of its image, and how many were drawn of each label."""
    objects = row["objects"] or {}
    width, height = row["width"] or image.width, row["height"] or image.height
    unit = max(width, height * 0.8) / _DISPLAYED
    shapes: list[ET.Element] = []
    drawn: dict[str, int] = {}
    for index, name in enumerate(objects.get("label") or ()):
        label = name or ""
        for kind in ("polygon", "box", "point"):
            values = _place(objects.get(kind), index)
            if values is None or len(shapes) >= limit:
                continue
            drawn[label] = drawn.get(label, 0) + 1
            colour = colours.setdefault(label, len(colours)) % COLOURS
            outline, (x, y) = _OUTLINES[kind](values, unit)
            group = node(
                "g", node("title", label or kind), node("path", d=outline), class_=f"mark {kind} c{colour}"
            )
            if label:
                group.append(_mark_text(label, x, y, unit, width))
            shapes.append(group)
    if not shapes:
        return None, drawn
    svg = node(
        "svg",
        *shapes,
        class_="marks" if len(shapes) <= _CROWD else "marks crowd",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        style=f"font-size:{_short(11.5 * unit)}px",
    )
    return svg, drawn


def _place(places: Sequence[Sequence[float]] | None, index: int) -> list[float] | None:
    values = list(places[index] or ()) if places and index < len(places) else []
    return values if values and all(map(math.isfinite, values)) else None


def _mark_text(label: str, x: float, y: float, unit: float, width: int) -> ET.Element:
    shown = label if len(label) <= 28 else label[:27] + "…"
    length = len(shown) * 6.6 * unit
    x = max(2 * unit, min(x, width - length))
    y = y - 4 * unit if y > 16 * unit else y + 13 * unit
    return node("text", shown, x=_short(x), y=_short(y))


def _box_outline(values: Sequence[float], unit: float) -> tuple[str, tuple[float, float]]:  # noqa: ARG001
    x0, y0, x1, y1 = values[:4]
    # A path, since a rectangle without area is not drawn at all, and that is what should be seen.
    return f"M{_short(x0)} {_short(y0)}H{_short(x1)}V{_short(y1)}H{_short(x0)}Z", (min(x0, x1), min(y0, y1))


def _polygon_outline(values: Sequence[float], unit: float) -> tuple[str, tuple[float, float]]:  # noqa: ARG001
    corners = list(zip(values[::2], values[1::2], strict=False))
    path = "L".join(f"{_short(x)} {_short(y)}" for x, y in corners)
    x, y = min(corners, key=lambda corner: corner[1])
    return f"M{path}Z", (x, y)


def _point_outline(values: Sequence[float], unit: float) -> tuple[str, tuple[float, float]]:
    x, y = values[:2]
    r, arm = 5 * unit, 9 * unit
    circle = f"M{_short(x - r)} {_short(y)}a{_short(r)} {_short(r)} 0 1 0 {_short(2 * r)} 0"
    circle += f"a{_short(r)} {_short(r)} 0 1 0 {_short(-2 * r)} 0"
    cross = (
        f"M{_short(x - arm)} {_short(y)}H{_short(x + arm)}M{_short(x)} {_short(y - arm)}V{_short(y + arm)}"
    )
    return circle + cross, (x + r, y - r)


_OUTLINES = {"box": _box_outline, "polygon": _polygon_outline, "point": _point_outline}


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _texts(row: Mapping[str, Any], budget: _Budget) -> ET.Element:
    turns = [(message["role"], message["content"]) for message in row["messages"] or ()]
    if row["question"] is None:
        return node("div", _conversation(turns, budget), class_="text")
    answer = row["answer"] or ""
    right = set(_LETTER.findall(answer))
    options = []
    for letter, choice in zip(_LETTERS, row["choices"] or (), strict=False):
        is_right = letter in right if right else choice.strip() == answer.strip()
        options.append(
            node(
                "li",
                node("b", letter),
                budget.cut(choice),
                class_="right" if is_right else None,
                title="The released answer" if is_right else None,
            )
        )
    return node(
        "div",
        node("p", budget.cut(row["question"]), class_="question"),
        node("ol", *options, class_="choices") if options else None,
        node("p", budget.cut(answer), class_="answer"),
        node("details", node("summary", "as released"), _conversation(turns, budget)),
        class_="text",
    )


def _conversation(turns: Sequence[tuple[str, str]], budget: _Budget) -> ET.Element:
    return node(
        "div",
        *[
            node("p", node("span", role, class_="role"), budget.cut(content), class_=f"turn {_role(role)}")
            for role, content in turns
        ],
        class_="conversation",
    )


def _role(role: str) -> str:
    return role if role in ("user", "assistant", "system") else "other"


def _issues(codes: Sequence[str], meanings: Mapping[str, str]) -> ET.Element | None:
    if not codes:
        return None
    chips = [node("li", code, title=meanings.get(code)) for code in codes]
    return node("ul", *chips, class_="issues")


def _corrections(row: Mapping[str, Any], budget: _Budget) -> ET.Element | None:
    entries = row["corrections"] or ()
    if not entries:
        return None
    lines = [
        node(
            "li",
            node("code", budget.cut(entry["field"])),
            " was " if entry["issue"] == "human-edit" else " should be ",
            node("b", budget.cut(entry["value"])),
        )
        for entry in entries
    ]
    return node("ul", *lines, class_="corrections")


def _footer(row: Mapping[str, Any]) -> ET.Element:
    frame = None if row["box_frame"] is None else _name(row["box_frame"], BOX_FRAMES)
    facts = [f"{row['width']} \N{MULTIPLICATION SIGN} {row['height']}", f"{row['bit_depth']} bit"]
    if frame:
        facts.append(f"text in {frame}")
    if (row.get("registration") or {}).get("status", "none") != "none":
        facts.append(f"pair {row['registration']['status']}")
    if row.get("origin"):
        facts.append(f"text: {row['origin']}")
    released = (row["image"] or {}).get("path")
    return node(
        "footer",
        node("code", row["id"], title=f"Image: {released}" if released else None),
        node("span", " · ".join(facts)),
    )


def page(facts: PageFacts, cards: Iterable[str], shown: int) -> Iterator[str]:
    """The whole page, in pieces.

    Args:
        facts: What is said about the folder.
        cards: The cards, each as `render_card` gives it.
        shown: How many there are.
    """
    files = resources.files("irtd_datasets.hub").joinpath("page")
    style = files.joinpath("preview.css").read_text(encoding="utf-8")
    script = files.joinpath("preview.js").read_text(encoding="utf-8")
    large = files.joinpath("preview.html").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = to_html(node("title", f"{facts.title}: preview"))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"{title}\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    yield to_html(_header(facts, shown)) + '\n<div class="layout">\n' + to_html(_side(facts)) + "\n<main>\n"
    yield to_html(_plot(facts)) + '\n<div class="status">'
    yield to_html(node("output", f"{shown:,} rows", id="status"))
    yield to_html(node("button", "Clear filters", type="button", id="clear", hidden="hidden"))
    yield '</div>\n<div class="grid" id="grid">\n'
    for card in cards:
        yield card + "\n"
    yield '</div>\n<p class="empty" id="empty" hidden>No row of this sample matches. Clear a filter.</p>\n'
    if facts.terms:
        yield to_html(node("p", node("b", "Terms. "), facts.terms, class_="terms"))
    yield f"</main>\n</div>\n{large}<script>{script}</script>\n</body>\n</html>\n"


def _header(facts: PageFacts, shown: int) -> ET.Element:
    details = [*facts.details, f"{facts.rows:,} rows", f"{shown:,} of them here"]
    toggles = [
        _toggle("marks", "Regions"),
        _toggle("labels", "Labels"),
        _select("colour", "Colour", (("label", "by label"), ("one", "one for all"))),
        _select("values", "Images", (("", "as stored"), ("inverted", "inverted"), ("iron", "iron palette"))),
        _select("size", "Size", (("", "medium"), ("small", "small"), ("large", "large"))),
    ]
    return node(
        "header",
        node(
            "div",
            node("h1", facts.title),
            node("p", facts.summary) if facts.summary else None,
            node("ul", *[node("li", detail) for detail in details], class_="facts"),
            class_="about",
        ),
        node(
            "div",
            node(
                "input",
                type="search",
                id="search",
                placeholder="Search text, answers, ids",
                aria_label="Search text, answers, ids",
            ),
            *toggles,
            class_="controls",
        ),
        class_="top",
    )


def _toggle(name: str, label: str) -> ET.Element:
    box = node("input", type="checkbox", id=name, checked="checked")
    return node("label", box, label)


def _select(name: str, label: str, options: Sequence[tuple[str, str]]) -> ET.Element:
    choices = [node("option", text, value=value) for value, text in options]
    return node("label", label, node("select", *choices, id=name))


def _side(facts: PageFacts) -> ET.Element:
    groups = []
    for name, title in _FACETS:
        counts = facts.counts.get(name) or {}
        if not counts or (len(counts) == 1 and name in ("split", "modality")):
            continue
        top = max(counts.values())
        entries = [
            node(
                "button",
                node("span", value, class_="name"),
                node("span", f"{count:,}", class_="count"),
                node("span", class_="bar", style=f"width:{max(100 * count / top, 0.5):.1f}%"),
                type="button",
                class_="facet",
                data_facet=name,
                data_value=value,
                aria_pressed="false",
                title=facts.meanings.get(value) if name == "issue" else None,
            )
            for value, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        groups.append(
            node("details", node("summary", title, node("span", str(len(counts)))), *entries, open="open")
        )
    return node("aside", *groups, aria_label="Filters")


def _plot(facts: PageFacts) -> ET.Element:
    """Rows by task, each bar divided by source; every part is a filter."""
    tasks: dict[str, dict[str, int]] = {}
    for (task, source), count in facts.strata.items():
        tasks.setdefault(task, {})[source] = count
    order = sorted(tasks, key=lambda task: (-sum(tasks[task].values()), task))
    shades = {source: index % COLOURS for index, source in enumerate(facts.counts.get("source") or ())}
    top = max((sum(sources.values()) for sources in tasks.values()), default=1)
    lines = []
    for task in order:
        total = sum(tasks[task].values())
        parts = [
            node(
                "button",
                node("span", source),
                type="button",
                class_=f"part c{shades.get(source, 0)}",
                style=f"flex-grow:{count}",
                title=f"{task} · {source}: {count:,} rows",
                data_task=task,
                data_source=source,
            )
            for source, count in sorted(tasks[task].items(), key=lambda item: (-item[1], item[0]))
        ]
        bar = node("div", *parts, class_="parts", style=f"width:{max(100 * total / top, 0.5):.1f}%")
        lines.append(node("dt", task))
        lines.append(node("dd", node("div", bar, class_="track"), node("span", f"{total:,}", class_="count")))
    return node(
        "details",
        node("summary", "All rows by task and source"),
        node("dl", *lines),
        class_="plot",
        open="open",
    )
