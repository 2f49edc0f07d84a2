"""Two bar charts for the card, drawn with Pillow alone: the same numbers give the same bytes on one machine."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["plot_box_sizes", "plot_rows", "to_png"]

_SCALE = 2
"""Drawn at twice the size at which it is shown, so that text stays sharp on a dense screen."""
_WIDTH = 760
_INK, _GREY, _GRID = "#24292f", "#57606a", "#d0d7de"
_PALETTE = ("#0969da", "#e16f24", "#2da44e", "#bf3989", "#8250df", "#b08800", "#1b7c83", "#cf222e")
_OTHERS = "#afb8c1"
_LABEL = 24
"""Characters of a name that are drawn."""


class _Paper:
    """White paper measured in the pixels of the page that shows it."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), "white")
        self._pen = ImageDraw.Draw(self.image)

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle; one of any width at all is seen."""
        left, top = round(x * _SCALE), round(y * _SCALE)
        right, bottom = round((x + width) * _SCALE) - 1, round((y + height) * _SCALE) - 1
        if width > 0 and height > 0:
            self._pen.rectangle((left, top, max(left, right), max(top, bottom)), fill=colour)

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "lm", colour: str = _INK, size: int = 12
    ) -> float:
        """A line of text; returns its width."""
        self._pen.text((x * _SCALE, y * _SCALE), text, fill=colour, font_size=size * _SCALE, anchor=anchor)
        return self._pen.textlength(text, font_size=size * _SCALE) / _SCALE


def to_png(image: Image.Image) -> bytes:
    """A drawing of few colours as a small PNG."""
    file = io.BytesIO()
    image.quantize(64, Image.Quantize.FASTOCTREE).save(file, "PNG")
    return file.getvalue()


def plot_rows(rows: Mapping[str, Mapping[str | None, int]]) -> Image.Image:
    """Rows by task as horizontal bars, each divided by source.

    Args:
        rows: Rows of each task and source; None where the release names no source.
    """
    totals: Counter[str | None] = Counter()
    for sources in rows.values():
        totals.update(sources)
    ranked = [source for source, _ in sorted(totals.items(), key=lambda item: (-item[1], str(item[0])))]
    named = ranked if len(ranked) <= len(_PALETTE) else ranked[: len(_PALETTE) - 1]
    colours = dict(zip(named, _PALETTE, strict=False))
    legend = [(_short(source), colours[source]) for source in named]
    if len(ranked) > len(named):
        legend.append((f"{len(ranked) - len(named)} others", _OTHERS))
    lines = _legend_lines(legend)
    top, step = 34, 26
    paper = _Paper(top + step * len(rows) + 8 + 20 * lines + 6)
    paper.text(12, 16, f"{totals.total():,} rows by task and source", size=14)
    largest = max((sum(sources.values()) for sources in rows.values()), default=0) or 1
    left, room = 170, _WIDTH - 170 - 80
    for index, (task, sources) in enumerate(sorted(rows.items(), key=lambda item: -sum(item[1].values()))):
        middle, x = top + step * index + step / 2, float(left)
        paper.text(left - 8, middle, task.replace("_", " "), anchor="rm")
        others = sum(count for source, count in sources.items() if source not in colours)
        shown = [(sources.get(source, 0), colours[source]) for source in named] + [(others, _OTHERS)]
        for count, colour in shown:
            width = room * count / largest
            paper.bar(x, middle - 8, width, 16, colour)
            x += width
        paper.text(x + 6, middle, f"{sum(sources.values()):,}", colour=_GREY)
    _draw_legend(paper, legend, top + step * len(rows) + 18)
    return paper.image


def plot_box_sizes(counts: Mapping[int, int], edges: Sequence[int]) -> Image.Image:
    """Boxes by size as vertical bars.

    Args:
        counts: Boxes of each class of size, by its number.
        edges: Lower ends of the classes, in pixels: the side of a square of the same area.
    """
    paper = _Paper(230)
    paper.text(12, 16, f"{sum(counts.values()):,} boxes by size", size=14)
    paper.text(
        12, 216, "side of a square of the same area, in pixels of the stored image", colour=_GREY, size=11
    )
    largest = max(counts.values(), default=0) or 1
    step = (_WIDTH - 40) / len(edges)
    base, room = 180, 126
    paper.bar(20, base, _WIDTH - 40, 1, _GRID)
    for index, low in enumerate(edges):
        count, x = counts.get(index, 0), 20 + step * index
        height = room * count / largest
        paper.bar(
            x + 6,
            base - max(height, 1 if count else 0),
            step - 12,
            max(height, 1 if count else 0),
            _PALETTE[0],
        )
        if count:
            paper.text(x + step / 2, base - height - 9, f"{count:,}", anchor="mm", colour=_GREY, size=11)
        last = index + 1 == len(edges)
        name = f"from {low}" if last else f"below {edges[1]}" if not index else f"{low} to {edges[index + 1]}"
        paper.text(x + step / 2, base + 14, name, anchor="mm", size=11)
    return paper.image


def _short(name: str | None) -> str:
    shown = "not named" if name is None else " ".join(name.split())
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _legend_lines(legend: Sequence[tuple[str, str]]) -> int:
    return -(-len(legend) // _LEGEND_COLUMNS)


_LEGEND_COLUMNS = 4


def _draw_legend(paper: _Paper, legend: Sequence[tuple[str, str]], top: float) -> None:
    width = (_WIDTH - 24) / _LEGEND_COLUMNS
    for index, (name, colour) in enumerate(legend):
        x, y = 12 + width * (index % _LEGEND_COLUMNS), top + 20 * (index // _LEGEND_COLUMNS)
        paper.bar(x, y - 5, 10, 10, colour)
        paper.text(x + 16, y, name, colour=_GREY, size=11)
