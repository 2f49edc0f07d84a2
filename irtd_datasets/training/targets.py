"""Boxes as the models expect them: the frame, the rounding and the markup of each, with its source.

============== ======================= ====================================== =======================================
target         numbers                 a box in an answer                     source
============== ======================= ====================================== =======================================
``llava``      0-1, padded square      ``[0.160, 0.180, 0.250, 0.240]``       boxes of LLaVA-1.5's data
``qwen2-vl``   0-1000, width and       ``<|box_start|>(160,98),(250,176)      ms-swift, docs/source_en/Customization/
               height                  <|box_end|>``                          Custom-dataset.md, "Grounding"
``qwen2.5-vl`` pixels after its resize ``[{"bbox_2d": [...], "label": ...}]`` QwenLM/Qwen3-VL, qwen-vl-finetune/
                                                                              README.md, tools/process_bbox.ipynb
``qwen3-vl``   0-1000, width and       ``[{"bbox_2d": [...], "label": ...}]`` QwenLM/Qwen3-VL, cookbooks/
               height                                                         2d_grounding.ipynb
``internvl``   0-1000, width and       ``<ref>ship</ref>                      internvl.readthedocs.io,
               height                  <box>[[160, 98, 250, 176]]</box>``     get_started/chat_data_format
``paligemma``  0-1023, y before x      ``<loc0100><loc0160>                   google-research/big_vision, pp/proj/
                                       <loc0180><loc0256>``                   paligemma/segmentation.py
============== ======================= ====================================== =======================================

Points and oriented boxes: where a model has published no form for them, they stay plain lists of numbers in the
model's frame, so that nothing in a text is left in another frame.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from irtd_datasets.boxes import Frame, convert
from irtd_datasets.boxes.frames import check_decimals, format_coordinate
from irtd_datasets.errors import BoxError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from irtd_datasets.boxes.text import BoxSpan, ParsedText

__all__ = ["MAX_PIXELS", "MIN_PIXELS", "TARGETS", "Place", "Restyled", "Target", "restyle", "smart_resize"]

MIN_PIXELS = 4 * 28 * 28
"""Least pixels after the resize of Qwen2.5-VL, as its ``preprocessor_config.json`` sets it (3,136)."""

MAX_PIXELS = 16384 * 28 * 28
"""Most pixels after the resize of Qwen2.5-VL, as its ``preprocessor_config.json`` sets it (12,845,056)."""

_FACTOR = 28  # patch of 14 pixels, merged 2 x 2
_MAX_RATIO = 200
_TAG = re.compile(r"<(p|ref)>([^<>]*)</\1>")
_OUTSIDE = 1e-6  # pixels: less is float arithmetic, not a box outside its image


def smart_resize(
    height: int,
    width: int,
    *,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    factor: int = _FACTOR,
) -> tuple[int, int]:
    """Return the size to which Qwen2-VL and Qwen2.5-VL bring an image: the formula of ``qwen-vl-utils``.

    Both sides become multiples of ``factor``, the area lands between the limits, the aspect ratio stays as close as
    that allows (QwenLM, qwen-vl-utils/src/qwen_vl_utils/vision_process.py, ``smart_resize``).

    Args:
        height: Of the image in pixels.
        width: Likewise.
        min_pixels: Least area.
        max_pixels: Most area.
        factor: 28 for Qwen2-VL and Qwen2.5-VL.

    Returns:
        Height and width, in this order, as in the original.

    Raises:
        BoxError: One side is more than 200 times the other, or an argument is not positive.

    Example:
        >>> smart_resize(512, 640)
        (504, 644)
    """
    if min(height, width, min_pixels, max_pixels, factor) < 1:
        raise BoxError(f"height {height}, width {width} and the limits must be positive")
    if max(height, width) / min(height, width) > _MAX_RATIO:
        raise BoxError(f"an image of {width}x{height} is over {_MAX_RATIO} times longer than wide")
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > max_pixels:
        beta = math.sqrt((height * width) / max_pixels)
        new_height = math.floor(height / beta / factor) * factor
        new_width = math.floor(width / beta / factor) * factor
        if not new_height or not new_width:
            raise BoxError(f"an image of {width}x{height} has no size under {max_pixels} pixels")
    elif new_height * new_width < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * beta / factor) * factor
        new_width = math.ceil(width * beta / factor) * factor
    return new_height, new_width


class Place(NamedTuple):
    """A box, polygon or point that is about to be written."""

    kind: str
    """``box``, ``polygon`` or ``point``."""
    numbers: tuple[str, ...]
    """As they are to be written, x first."""
    label: str
    """Class name in the singular; empty where the text gives none."""
    pixels: tuple[float, ...]
    """The same place in pixels of the upright image, clipped to it."""


def _plain(place: Place) -> str:
    return f"[{', '.join(place.numbers)}]"


def _listed(places: Sequence[Place]) -> str:
    return ", ".join(map(_plain, places))


def _qwen2(places: Sequence[Place]) -> str:
    if places[0].kind == "polygon":
        return _listed(places)
    return "".join(
        "<|box_start|>"
        + ",".join(f"({x},{y})" for x, y in zip(place.numbers[::2], place.numbers[1::2], strict=True))
        + "<|box_end|>"
        for place in places
    )


def _qwen_json(places: Sequence[Place]) -> str:
    if places[0].kind == "polygon":
        return _listed(places)
    key = "bbox_2d" if places[0].kind == "box" else "point_2d"
    entries = []
    for place in places:
        label = f', "label": {json.dumps(place.label, ensure_ascii=False)}' if place.label else ""
        entries.append(f'{{"{key}": {_plain(place)}{label}}}')
    return f"[{', '.join(entries)}]"


def _internvl(places: Sequence[Place]) -> str:
    return f"<box>[{_listed(places)}]</box>" if places[0].kind == "box" else _listed(places)


def _paligemma(places: Sequence[Place]) -> str:
    return " ; ".join(
        "".join(
            f"<loc{y:0>4}><loc{x:0>4}>" for x, y in zip(place.numbers[::2], place.numbers[1::2], strict=True)
        )
        for place in places
    )


@dataclass(frozen=True, slots=True)
class Target:
    """How one family of models writes places.

    Attributes:
        name: As on the command line.
        numbers: What the numbers count, for documentation and reports.
        label_markup: Text before and after a tagged class name.
        decimals: Digits after the point where the caller names none.
    """

    name: str
    numbers: str
    label_markup: tuple[str, str] = ("", "")
    decimals: int = 0

    def write(self, places: Sequence[Place], *, answer: bool) -> str:
        """The markup of the places of one bracket, which are all of one kind.

        Args:
            places: At least one.
            answer: Whether they stand in an answer; the JSON of the newer Qwen models is a form of answers, and in
                their questions a place is a plain list.
        """
        if self.name == "qwen2-vl":
            return _qwen2(places)
        if self.name in ("qwen2.5-vl", "qwen3-vl"):
            return _qwen_json(places) if answer else _listed(places)
        if self.name == "internvl":
            return _internvl(places)
        return _paligemma(places) if self.name == "paligemma" else _listed(places)

    def scale(
        self, pixels: NDArray[np.float64], width: int, height: int, limits: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Bring points from pixels of the image to this target's numbers, not rounded.

        Args:
            pixels: Shape (N, 2), x and y, within the image.
            width: Of the upright image.
            height: Likewise.
            limits: Least and most pixels of the resize of Qwen2.5-VL.

        Returns:
            Shape (N, 2), x and y.

        Raises:
            BoxError: As `smart_resize`.
        """
        if self.name == "llava":
            return convert(pixels, Frame.PIXEL, Frame.SQUARE_UNIT, width, height)
        unit = convert(pixels, Frame.PIXEL, Frame.UNIT, width, height)
        if self.name == "qwen2.5-vl":
            new_height, new_width = smart_resize(height, width, min_pixels=limits[0], max_pixels=limits[1])
            # process_bbox.ipynb moves the right and lower edge onto the last pixel.
            return np.minimum(np.round(unit * (new_width, new_height)), (new_width - 1, new_height - 1))
        base = 1023 if self.name == "paligemma" else 1000
        scaled: NDArray[np.float64] = unit * base
        return scaled


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("llava", "0 to 1 of the image padded to a square", decimals=3),
        Target("qwen2-vl", "0 to 1000 of width and height", ("<|object_ref_start|>", "<|object_ref_end|>")),
        Target("qwen2.5-vl", "pixels after the resize of Qwen2.5-VL"),
        Target("qwen3-vl", "0 to 1000 of width and height"),
        Target("internvl", "0 to 1000 of width and height", ("<ref>", "</ref>")),
        Target("paligemma", "0 to 1023 of height and width"),
    )
}
"""The targets by name."""


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UnknownNameError: There is none.

    Example:
        >>> find_target("internvl").numbers
        '0 to 1000 of width and height'
    """
    if name not in TARGETS:
        raise UnknownNameError(
            f"there is no export for {name!r}",
            remedy=f"{did_you_mean(name, TARGETS)}The models are {', '.join(TARGETS)}.",
        )
    return TARGETS[name]


@dataclass(slots=True)
class Restyled:
    """Texts of one row with their places in a target's form.

    Attributes:
        texts: As many as were given.
        places: All places, in the order of the texts.
        refs: Tagged class names in the order of the texts; only where the caller asked for placeholders.
        clipped: Places that reached out of the image and were moved to its edge.
        collapsed: Boxes and polygons without area after rounding.
    """

    texts: list[str]
    places: list[Place]
    refs: list[str]
    clipped: int = 0
    collapsed: int = 0


@dataclass(frozen=True, slots=True)
class Style:
    """How the places of a text are to be written.

    Attributes:
        target: The model family.
        decimals: Digits after the point; None takes the target's. Only LLaVA has any.
        markup: ``model`` for the model's own markup, ``released`` for that of the text, ``placeholders`` for ms-swift's
            ``<ref-object>`` and ``<bbox>``.
        limits: Least and most pixels of the resize of Qwen2.5-VL.
    """

    target: Target
    decimals: int | None = None
    markup: str = "model"
    limits: tuple[int, int] = (MIN_PIXELS, MAX_PIXELS)


def restyle(
    texts: Sequence[tuple[ParsedText, bool]], frame: Frame, width: int, height: int, style: Style
) -> Restyled:
    """Write the places of a row's texts in a target's frame and markup.

    Args:
        texts: Each text, parsed, and whether it is an answer. All their places must be readable.
        frame: The frame of their numbers.
        width: Of the upright image in pixels.
        height: Likewise.
        style: What is wanted.

    Returns:
        The texts and what was done to them.

    Raises:
        BoxError: The image has no size under this target's resize, or decimals are out of range.

    Example:
        >>> from irtd_datasets.boxes import parse_boxes
        >>> parsed = parse_boxes("There are <p>two ships</p>[0.1,0.2,0.3,0.4;0.5,0.6,0.7,0.8]")
        >>> style = Style(find_target("internvl"))
        >>> restyle([(parsed, True)], Frame.SQUARE_UNIT, 640, 640, style).texts[0]
        'There are <ref>two ships</ref><box>[[100, 200, 300, 400], [500, 600, 700, 800]]</box>'
    """
    result = Restyled([], [], [])
    spans = [span for parsed, _ in texts for span in parsed.spans]
    places = iter(_places(spans, frame, width, height, style, result))
    for parsed, answer in texts:
        own = [next(places) for _ in parsed.spans]
        result.places += own
        if style.markup == "released":
            result.texts.append(parsed.write([place.numbers for place in own]))
        else:
            result.texts.append(_rewrite(parsed, own, style, result.refs, answer=answer))
    return result


def _places(
    spans: Sequence[BoxSpan], frame: Frame, width: int, height: int, style: Style, result: Restyled
) -> list[Place]:
    if not spans:
        return []
    decimals = style.target.decimals if style.decimals is None else style.decimals
    check_decimals(Frame.SQUARE_UNIT, decimals)
    flat = [value for span in spans for value in span.numbers]
    # Every frame is an affine map on each axis, so corners of any shape can be converted as points.
    pixels = convert(np.reshape(flat, (-1, 2)), frame, Frame.PIXEL, width, height)
    clipped = np.clip(pixels, 0, (width, height))
    outside: NDArray[np.bool_] = np.any(np.abs(clipped - pixels) > _OUTSIDE, axis=1)
    scaled = style.target.scale(clipped, width, height, style.limits)
    places = []
    start = 0
    for span in spans:
        end = start + len(span.numbers) // 2
        strings = tuple(format_coordinate(value, decimals, cut=False) for value in scaled[start:end].flat)
        result.clipped += bool(outside[start:end].any())
        result.collapsed += _is_flat(strings)
        places.append(Place(span.kind, strings, span.label, tuple(clipped[start:end].flat)))
        start = end
    return places


def _is_flat(strings: tuple[str, ...]) -> bool:
    return len(strings) > 2 and (len(set(strings[::2])) == 1 or len(set(strings[1::2])) == 1)


class _Edit(NamedTuple):
    start: int
    end: int
    label: str  # a tagged class name, or empty for places
    places: tuple[Place, ...]


def _rewrite(
    parsed: ParsedText, places: Sequence[Place], style: Style, refs: list[str], *, answer: bool
) -> str:
    text = parsed.text
    brackets: dict[tuple[int, int], list[Place]] = {}
    for span, place in zip(parsed.spans, places, strict=True):
        brackets.setdefault(span.bracket_span, []).append(place)
    edits = [_Edit(*span, "", tuple(inside)) for span, inside in brackets.items()]
    taken = list(brackets)
    edits += [
        _Edit(match.start(), match.end(), match[2], ())
        for match in _TAG.finditer(text)
        if match[2].strip() and not any(start < match.end() and match.start() < end for start, end in taken)
    ]
    parts: list[str] = []
    position = 0
    for edit in sorted(edits):
        parts.append(text[position : edit.start])
        new = _label(edit.label, style, refs) if edit.label else _bracket(edit.places, style, answer=answer)
        before = next((part for part in reversed(parts) if part), "")[-1:]
        # The tag that kept a class name and its box apart is gone.
        glued = before and not before.isspace() and before not in "([{:>" and not edit.label
        parts.append(f" {new}" if glued else new)
        position = edit.end
    return "".join([*parts, text[position:]])


def _label(label: str, style: Style, refs: list[str]) -> str:
    if style.markup == "placeholders":
        refs.append(label)
        return "<ref-object>"
    before, after = style.target.label_markup
    return f"{before}{label}{after}"


def _bracket(places: Sequence[Place], style: Style, *, answer: bool) -> str:
    if style.markup == "placeholders":
        return "<bbox>" * len(places)
    kinds = dict.fromkeys(place.kind for place in places)
    if len(kinds) == 1:
        return style.target.write(places, answer=answer)
    # One bracket with boxes and corners in it: written kind by kind, or their numbers would be one list.
    return ", ".join(
        style.target.write([place for place in places if place.kind == kind], answer=answer) for kind in kinds
    )
