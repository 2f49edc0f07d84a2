"""A row to look at in a notebook: its image with boxes, its partner, its conversation.

Takes rows of `stream` and `table`, of plain ``datasets.load_dataset``, and of Parquet files. All text is data: it is
escaped, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import io
import math
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from irtd_datasets.annotations.labelled import LabelledObject
from irtd_datasets.display import one_line, terminal
from irtd_datasets.errors import AnnotationError, ImageError
from irtd_datasets.folder.contact_sheet import draw_objects
from irtd_datasets.hub.preview_page import ShownImage, draw_marks, node, to_html
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import MODALITIES, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from xml.etree import ElementTree as ET

__all__ = ["ShownRow", "html_of_row", "show"]

_NEEDED = frozenset({"id", "image", "messages"})
_SIDE = 720  # pixels of the longer side of an image on a page
_LETTERS = 4_000  # of a text that are shown
_PLACES = 500
_COLOURS = (
    "#ffd60a",
    "#30d158",
    "#64d2ff",
    "#ff9f0a",
    "#ff5c7a",
    "#c58bff",
    "#5ef0d0",
    "#ff8ad8",
    "#b5e853",
    "#7aa2ff",
)
_STYLE = """
#ID { font: 14px/1.5 system-ui, sans-serif; max-width: 1100px }
#ID .images { display: flex; flex-wrap: wrap; gap: 10px }
#ID figure { margin: 0; flex: 1 1 320px; max-width: 640px } #ID figcaption { font-size: 12px; opacity: .75 }
#ID .image { position: relative } #ID .image img { display: block; width: 100%; height: auto }
#ID svg { position: absolute; left: 0; top: 0; width: 100%; height: 100%; overflow: visible }
#ID svg path { fill: none; stroke: var(--c); stroke-width: 2px; vector-effect: non-scaling-stroke }
#ID svg text { fill: var(--c); paint-order: stroke; stroke: #000c; stroke-width: 3px; stroke-linejoin: round;
  vector-effect: non-scaling-stroke }
#ID p { margin: 6px 0; padding: 6px 10px; border-radius: 8px; background: rgba(128, 128, 128, .14);
  white-space: pre-wrap; overflow-wrap: anywhere; text-align: left }
#ID p.assistant { background: rgba(66, 133, 244, .18) } #ID b { margin-right: 8px }
#ID .facts { font-size: 12px; opacity: .8; margin-top: 6px; overflow-wrap: anywhere }
"""


def show(row: Mapping[str, Any]) -> ShownRow:
    """A row to look at: in a notebook its image with boxes, points and outlines, its partner and its conversation.

    Args:
        row: A row of this library's schema, from wherever: ``image`` may be a Pillow image, ``{bytes, path}`` or an
            array of shape (height, width) or (height, width, channels).

    Returns:
        An object that notebooks show as HTML, other programs as PNG, and a terminal as text.

    Raises:
        AnnotationError: It is no such row.

    Example:
        >>> print(show({"id": "a/1", "image": None, "messages": [{"role": "user", "content": "What is it?"}]}))
        a/1
        user: What is it?
    """
    if not isinstance(row, Mapping) or not row.keys() >= _NEEDED:
        found = ", ".join(map(repr, row)) if isinstance(row, Mapping) else type(row).__name__
        raise AnnotationError(
            f"it is no row of a dataset folder: {found:.200}",
            remedy="Pass one row, such as rows[0]: a mapping with id, image and messages.",
        )
    return ShownRow(row)


def html_of_row(value: object) -> str | None:
    """A row as HTML, for a notebook that shows any dictionary; None for what is no row with an image and messages."""
    if isinstance(value, Mapping) and {*_NEEDED, "objects"} <= value.keys():
        return ShownRow(value)._repr_html_()
    return None


class ShownRow:
    """A row to look at; see `show`.

    Args:
        row: The row.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def __repr__(self) -> str:
        lines = [
            one_line(self._row["id"]),
            *self._facts(),
            *(f"{role}: {text}" for role, text in self._turns()),
        ]
        return terminal("\n".join(lines))

    def _repr_html_(self) -> str:
        row, name = self._row, f"row-{uuid.uuid4().hex[:12]}"
        figures = [self._figure("image", marks=True)]
        if row.get("visible") is not None:
            figures.append(self._figure("visible", marks=False))
        turns = [
            node("p", node("b", role), text, class_="assistant" if role == "assistant" else None)
            for role, text in self._turns()
        ]
        facts = " \N{MIDDLE DOT} ".join([one_line(row["id"]), *self._facts()])
        style = node("style", _STYLE.replace("#ID", f"#{name}"))
        return to_html(
            node(
                "div",
                style,
                node("div", *figures, class_="images"),
                *turns,
                node("div", facts, class_="facts"),
                id=name,
            )
        )

    def _repr_png_(self) -> bytes | None:
        try:
            image = _viewable(self._row["image"], None)
        except ImageError:
            return None
        if image is None:
            return None
        file = io.BytesIO()
        draw_objects(image, list(self._objects()), None).save(file, "PNG")
        return file.getvalue()

    def _turns(self) -> Iterator[tuple[str, str]]:
        messages = self._row["messages"] or ()
        if isinstance(messages, Mapping):  # a list of structs as some versions of `datasets` give it
            pairs = list(zip(messages.get("role", ()), messages.get("content", ()), strict=False))
        else:
            pairs = [
                (turn.get("role"), turn.get("content")) for turn in messages if isinstance(turn, Mapping)
            ]
        for role, content in pairs:
            text = str(content or "")
            more = (
                f" \N{HORIZONTAL ELLIPSIS} ({len(text) - _LETTERS:,} more characters)"
                if len(text) > _LETTERS
                else ""
            )
            yield one_line(role or ""), text[:_LETTERS] + more

    def _facts(self) -> list[str]:
        row = self._row
        named = [_label(row.get("task"), TASKS), _label(row.get("modality"), MODALITIES), row.get("source")]
        facts = [one_line(name) for name in named if name]
        if row.get("width") and row.get("height"):
            facts.append(f"{row['width']} x {row['height']}")
        if (row.get("bit_depth") or 8) != 8:
            facts.append(f"{row['bit_depth']} bits")
        facts += [f"answer: {one_line(row['answer'])[:200]}"] if row.get("answer") else []
        facts += [f"issue: {one_line(code)}" for code in row.get("issues") or ()]
        return facts

    def _objects(self) -> Iterator[LabelledObject]:
        objects = self._row.get("objects") or {}
        labels = objects.get("label") or []
        columns = [objects.get(name) or [None] * len(labels) for name in ("box", "polygon", "point")]
        for label, *places in list(zip(labels, *columns, strict=False))[:_PLACES]:
            box, polygon, point = (
                tuple(place) if place and len(place) == size and all(map(math.isfinite, place)) else None
                for place, size in zip(places, (4, 8, 2), strict=True)
            )
            yield LabelledObject(str(label or ""), box, polygon, point)

    def _figure(self, column: str, *, marks: bool) -> ET.Element:
        try:
            image = _viewable(self._row[column], _SIDE)
            problem = "there is no image"
        except ImageError as error:
            image, problem = None, f"the image cannot be shown: {error.problem}"
        if image is None:
            return node("figure", node("figcaption", f"{column}: {problem}"))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        data = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        svg = None
        if marks:
            colours: dict[str, int] = {}
            shown = ShownImage(b"", image.width, image.height)
            row = {"width": None, "height": None, "objects": None, **self._row}
            svg, _ = draw_marks(row, shown, colours, _PLACES)
            for mark in svg.iter("g") if svg is not None else ():
                number = int(mark.get("class", "c0").rpartition("c")[2])
                mark.set("style", f"--c:{_COLOURS[number % len(_COLOURS)]}")
        shown_image = node("img", src=data, alt=column, width=str(image.width), height=str(image.height))
        caption = node("figcaption", "partner (visible)") if column == "visible" else None
        return node("figure", node("div", shown_image, svg, class_="image"), caption)


def _label(value: object, names: Sequence[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else str(value)
    return "" if value is None else str(value)


def _viewable(image: object, side: int | None) -> Image.Image | None:
    """An image in whichever form rows have it, as 8-bit RGB; None where there is none.

    Raises:
        ImageError: It cannot be decoded, or is something else.
    """
    if isinstance(image, Mapping):
        image = image.get("bytes")
    if image is None:
        return None
    if isinstance(image, (bytes, bytearray, memoryview)):
        return viewable(bytes(image), side).image
    if not isinstance(image, Image.Image):
        try:
            image = Image.fromarray(np.asarray(image))
        except (TypeError, ValueError, KeyError) as error:
            raise ImageError(f"it is a {type(image).__name__}") from error
    file = io.BytesIO()
    mode = "I" if image.mode.startswith("I;16") else image.mode
    (image.convert("RGB") if mode not in {"L", "RGB", "I", "F"} else image).save(
        file, "TIFF" if mode in {"F", "I"} else "PNG"
    )
    return viewable(file.getvalue(), side).image
