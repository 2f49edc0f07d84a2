"""Statistics of a dataset folder as one HTML file, with plots drawn as SVG; it loads nothing and runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.curation.statistics import AXES, GRID, SIDES, spread
from irtd_datasets.documents import write_text
from irtd_datasets.errors import BuildError
from irtd_datasets.hub.preview_page import node, to_html
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    import os
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from xml.etree import ElementTree as ET

    from irtd_datasets.curation.statistics import Statistics, Summary

__all__ = ["write_page"]

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #16202e; --soft: #5c6879; --line: #dde2ea; --bar: #4a7fb5; }
@media (prefers-color-scheme: dark) {
  :root { --back: #11151c; --ink: #e8ecf2; --soft: #98a4b5; --line: #2c3644; --bar: #82b1ff; }
}
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 74rem; padding: 1rem; background: var(--back);
  color: var(--ink) }
h1 { font-size: 1.6rem; margin: .4rem 0 } h2 { font-size: 1.15rem; margin: 1.8rem 0 .4rem }
p { color: var(--soft); margin: .2rem 0 .8rem }
.tiles { display: grid; gap: .6rem; margin: 1rem 0 }
.tiles { grid-template-columns: repeat(auto-fit, minmax(max(8.5rem, 20%), 1fr)) }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: .5rem .8rem; color: var(--soft) }
.tiles b { display: block; font-size: 1.35rem; color: var(--ink); font-variant-numeric: tabular-nums }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem 2rem }
figure { margin: 0; min-width: 0 } figcaption { font-weight: 600; margin-bottom: .3rem }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
svg .soft { fill: var(--soft) } svg .bar { fill: var(--bar) } svg .axis { stroke: var(--line) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 14px }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
.n { text-align: right; font-variant-numeric: tabular-nums }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BARS = 24


def write_page(found: Statistics, path: str | os.PathLike[str]) -> None:
    """Write statistics as one HTML file.

    Args:
        found: What is told.
        path: The file.

    Raises:
        BuildError: It cannot be written.
    """
    path = Path(path)
    try:
        write_text(path, _render(found))
    except OSError as error:
        raise BuildError(
            f"it cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Give --plots a file in a folder that exists and can be written.",
        ) from error


def _render(found: Statistics) -> str:
    title = f"{found.name}: statistics"
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        node("title", title),
        node("style", _STYLE),
    )
    body = node("body", *_body(found))
    return f"<!DOCTYPE html>\n{to_html(node('html', head, body, lang='en'))}\n"


def _body(found: Statistics) -> Iterable[ET.Element]:
    total = found.total
    yield node("h1", found.name)
    yield node(
        "p", f"Dataset {found.dataset}; counted in {found.row_groups:,} row groups without decoding an image."
    )
    yield node("div", *(node("div", node("b", value), name) for name, value in _tiles(total)), class_="tiles")
    yield node("h2", "Rows and images")
    yield node(
        "div",
        *(
            _bars(f"Rows by {axis}", [(name, one.rows) for name, one in found.sorted_by(axis)])
            for axis in AXES
        ),
        _bars("Rows by image size", _named(total.sizes, lambda size: f"{size[0]} x {size[1]}")),
        _bars(
            "Rows by bits a channel", [(f"{bits} bits", n) for bits, n in sorted(total.bit_depths.items())]
        ),
        _bars("Rows by known issue", _named(total.issues)),
        class_="plots",
    )
    yield node("h2", "Objects")
    yield node(
        "div",
        _columns(
            "Boxes by side, the square root of the area in pixels",
            [(f"{side:,}", int(count)) for side, count in zip(SIDES, total.sides, strict=True)],
        ),
        _map(total),
        _columns(
            "Rows by number of boxes",
            _binned(total.boxes_a_row, (0, 1, 2, 3, 4, 5, 6, 8, 11, 16, 21, 31, 51, 101)),
        ),
        _bars("Objects by label", _named(total.labels)),
        class_="plots",
    )
    yield node("h2", "Texts")
    yield node(
        "div",
        _columns(
            "Answers by number of words",
            _binned(total.words, (0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513)),
        ),
        _bars("Most common answers of scored tasks", _named(total.answers)),
        class_="plots",
    )
    for axis in AXES:
        yield node("h2", f"By {axis}")
        yield _table(axis, found.sorted_by(axis))
    yield node("p", f"Made by irtd-datasets {__version__}.")


def _tiles(total: Summary) -> list[tuple[str, str]]:
    words = spread(total.words)
    return [
        ("rows", f"{total.rows:,}"),
        ("images, by name", f"{total.images:,}"),
        ("rows with a visible partner", f"{total.pairs:,}"),
        ("boxes", f"{total.boxes:,}"),
        ("polygons", f"{total.polygons:,}"),
        ("points", f"{total.points:,}"),
        ("answers", f"{total.rounds:,}"),
        ("words an answer, median", f"{words.get('median', 0):,}"),
    ]


def _named(counts: Counter[str] | Counter[tuple[int, int]], shown: object = None) -> list[tuple[str, int]]:
    """The most common values with their names, and all others as one."""
    pairs = [(str(shown(key) if callable(shown) else key), count) for key, count in counts.most_common(_BARS)]
    rest = counts.total() - sum(count for _, count in pairs)
    return [*pairs, (f"{len(counts) - len(pairs):,} others", rest)] if rest else pairs


def _binned(counts: Counter[int], starts: Sequence[int]) -> list[tuple[str, int]]:
    """Counts of whole numbers by classes, named by their first and last."""
    ends = [start - 1 for start in starts[1:]]
    names = [
        f"{first:,}" if first == last else f"{first:,}\N{EN DASH}{last:,}"
        for first, last in zip(starts, ends, strict=False)
    ]
    sums = [0] * len(starts)
    for value, count in counts.items():
        sums[max(at for at, start in enumerate(starts) if start <= value)] += count
    return list(zip([*names, f"{starts[-1]:,}+"], sums, strict=True))


def _figure(title: str, width: float, height: float, *shapes: ET.Element) -> ET.Element:
    size = f"0 0 {width:g} {height:g}"
    return node(
        "figure", node("figcaption", title), node("svg", *shapes, viewBox=size, role="img", aria_label=title)
    )


def _text(content: str, x: float, y: float, anchor: str = "start", kind: str | None = None) -> ET.Element:
    return node("text", content, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_=kind)


def _bar(x: float, y: float, width: float, height: float, told: str, opacity: float = 1) -> ET.Element:
    return node(
        "rect",
        node("title", told),
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        width=f"{max(width, 0):.1f}",
        height=f"{max(height, 0):.1f}",
        class_="bar",
        fill_opacity=f"{opacity:.2f}",
    )


def _bars(title: str, pairs: Sequence[tuple[str, int]]) -> ET.Element:
    """Lying bars with a name and a number each."""
    shown = list(pairs[:_BARS])
    if len(pairs) > _BARS:
        shown.append((f"{len(pairs) - _BARS:,} others", sum(count for _, count in pairs[_BARS:])))
    if not shown:
        return _figure(title, 440, 24, _text("none", 0, 16, kind="soft"))
    most = max(count for _, count in shown) or 1
    shapes = []
    for line, (name, count) in enumerate(shown):
        y = 20 * line
        short = name if len(name) <= 26 else f"{name[:25]}\N{HORIZONTAL ELLIPSIS}"
        shapes += [
            _text(short, 165, y + 14, "end"),
            _bar(172, y + 3, 200 * count / most, 14, f"{name}: {count:,}"),
            _text(f"{count:,}", 176 + 200 * count / most, y + 14, kind="soft"),
        ]
    return _figure(title, 440, 20 * len(shown), *shapes)


def _columns(title: str, pairs: Sequence[tuple[str, int]]) -> ET.Element:
    """Standing bars with a name and a number each."""
    most = max((count for _, count in pairs), default=0) or 1
    step = 440 / max(len(pairs), 1)
    shapes = [node("line", x1="0", x2="440", y1="160", y2="160", class_="axis")]
    for at, (name, count) in enumerate(pairs):
        height = 130 * count / most
        middle = step * (at + 0.5)
        shapes.append(_bar(step * at + 2, 160 - height, step - 4, height, f"{name}: {count:,}"))
        tag = _text(name, middle, 174, "end", "soft")
        tag.set("transform", f"rotate(-40 {middle:g} 174)")
        shapes.append(tag)
        if count:
            number = f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"
            shapes.append(_text(number, middle, 155 - height, "middle"))
    return _figure(title, 440, 220, *shapes)


def _map(total: Summary) -> ET.Element:
    """Where in the image boxes and points lie."""
    most = int(total.places.max()) or 1
    side = 300 / GRID
    shapes = [
        _bar(
            70 + x * side,
            y * side,
            side,
            side,
            f"{int(total.places[y, x]):,}",
            int(total.places[y, x]) / most,
        )
        for y in range(GRID)
        for x in range(GRID)
        if total.places[y, x]
    ]
    frame = node("rect", x="70", y="0", width="300", height="300", fill="none", class_="axis")
    return _figure("Where boxes and points lie in the image", 440, 302, frame, *shapes)


def _table(axis: str, entries: Iterable[tuple[str, Summary]]) -> ET.Element:
    head = (
        axis,
        "rows",
        "images",
        "boxes",
        "polygons",
        "points",
        "words, median",
        "words, mean",
        "rows with issue",
    )
    lines = []
    for name, one in entries:
        words = spread(one.words)
        numbers = (one.rows, one.images, one.boxes, one.polygons, one.points, words.get("median", 0))
        cells = [f"{number:,}" for number in numbers]
        cells += [f"{words.get('mean', 0):,.1f}", f"{one.issues.total():,}"]
        lines.append(node("tr", node("td", name), *(node("td", cell, class_="n") for cell in cells)))
    first = node("tr", node("th", head[0]), *(node("th", name, class_="n") for name in head[1:]))
    return node("div", node("table", first, *lines), class_="wide")
