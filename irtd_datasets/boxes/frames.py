"""Coordinates that know their frame: conversion, the padded square, rounding and its bounds.

A *frame* says what a coordinate counts. The five frames differ on each axis by a scale and a shift only, so
every conversion goes through pixels of the upright image with two formulas and no special cases::

    pixel = value * extent / base - pad
    value = (pixel + pad) / extent * base

Convention: a box lives between pixels, not on them. The left edge of the image is 0, the right edge is
``width``, and a box that covers the whole image is ``[0, 0, width, height]``. Rows are ``x_min, y_min, x_max,
y_max`` for horizontal boxes, four corners ``x1, y1, ..., x4, y4`` for oriented boxes, and ``x, y`` for
points.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, overload

import numpy as np

from irtd_datasets.boxes.arrays import (
    KINDS,
    as_coordinates,
    as_sizes,
    check_size,
    check_sizes,
    column,
    like_input,
)
from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Mask: TypeAlias = NDArray[np.bool_]
    Size: TypeAlias = int | NDArray[np.int64]

__all__ = [
    "DEFAULT_DECIMALS",
    "AxisMaps",
    "Boxes",
    "Filtered",
    "Frame",
    "Outside",
    "as_frame",
    "axis_maps",
    "check_decimals",
    "check_size",
    "convert",
    "few_to_pixels",
    "find_outside",
    "format_coordinate",
    "is_cut",
    "pad_and_normalize",
    "round_coordinates",
    "rounding_bound",
    "undo_pad_and_normalize",
]

_MAX_DECIMALS = 12  # beyond it float64 holds no more digits of a pixel coordinate
_SNAP = 1e-9  # a value this close below a whole number is that number, blurred by float arithmetic
_FEW = 16  # rows from which on NumPy is faster
_NUMBERS = {int, float}
_FLAT = 1e-12  # of the enclosing rectangle: a polygon with less area than this has none


class Frame(str, Enum):
    """What the numbers of a box count. Members are strings, so that they store and compare as plain text.

    Example:
        >>> Frame("unit") is Frame.UNIT, Frame.UNIT == "unit"
        (True, True)
    """

    PIXEL = "pixel"
    """Pixels of the upright image (IR-TD grounding)."""
    UNIT = "unit"
    """0 to 1 of width and of height."""
    PER_MILLE = "per_mille"
    """0 to 1000 of width and of height (IR-TD location, Qwen2-VL, Qwen3-VL, InternVL)."""
    SQUARE_UNIT = "square_unit"
    """0 to 1 of the image padded to a square (MMRS-1M, the LLaVA family)."""
    SQUARE_PER_MILLE = "square_per_mille"
    """0 to 999 of the image padded to a square, cut to whole numbers (the all-seeing family)."""

    def __str__(self) -> str:
        return self.value

    @property
    def is_square(self) -> bool:
        """Whether the frame counts on the image padded to a square."""
        return self in (Frame.SQUARE_UNIT, Frame.SQUARE_PER_MILLE)


DEFAULT_DECIMALS = {
    Frame.PIXEL: 0,
    Frame.UNIT: 3,
    Frame.PER_MILLE: 0,
    Frame.SQUARE_UNIT: 2,  # every box seen in MMRS-1M and in the LLaVA family's data has two
    Frame.SQUARE_PER_MILLE: 0,
}
"""The decimals that text in a frame is written with where the caller names none."""

_BASE = {
    Frame.PIXEL: 1,
    Frame.UNIT: 1,
    Frame.PER_MILLE: 1000,
    Frame.SQUARE_UNIT: 1,
    Frame.SQUARE_PER_MILLE: 999,
}


class AxisMaps(NamedTuple):
    """The two numbers per axis, and the base, that tie a frame to the pixels of an image of one size."""

    extent_x: Size
    extent_y: Size
    pad_x: Size
    pad_y: Size
    base: int


def as_frame(frame: Frame | str) -> Frame:
    """Return the frame of that name.

    Raises:
        BoxError: There is no such frame.

    Example:
        >>> as_frame("per_mille")
        <Frame.PER_MILLE: 'per_mille'>
    """
    if type(frame) is Frame:
        return frame
    try:
        return Frame(frame)
    except ValueError:
        names = ", ".join(member.value for member in Frame)
        raise BoxError(f"no frame is called {frame!r}", remedy=f"The frames are: {names}.") from None


def axis_maps(frame: Frame, width: Size, height: Size) -> AxisMaps:
    """Return scale and shift of a frame for checked image sizes, whole numbers or arrays of them.

    The padding is that of the EarthGPT README: half the difference of the sides, cut to a whole number,
    before the image; an odd difference leaves one pixel more behind it.

    Example:
        >>> axis_maps(Frame.SQUARE_UNIT, 640, 512)
        AxisMaps(extent_x=640, extent_y=640, pad_x=0, pad_y=64, base=1)
    """
    base = _BASE[frame]
    if frame is Frame.PIXEL:
        return AxisMaps(1, 1, 0, 0, base)
    if not frame.is_square:
        return AxisMaps(width, height, 0, 0, base)
    if isinstance(width, int) and isinstance(height, int):
        side: Size = max(width, height)
    else:
        side = np.maximum(width, height)
    return AxisMaps(side, side, (side - width) // 2, (side - height) // 2, base)


def convert(
    coordinates: ArrayLike, source: Frame | str, target: Frame | str, width: ArrayLike, height: ArrayLike
) -> Floats:
    """Convert coordinates from one frame to another.

    Args:
        coordinates: Shape (N, 2), (N, 4) or (N, 8), or one row of 2, 4 or 8 numbers; x and y alternate.
        source: The frame they are in.
        target: The frame wanted. The same frame gives the same values, bit for bit.
        width: Of the upright image in pixels: one whole number, or N of them, one for each row.
        height: Likewise.

    Returns:
        float64 of the same shape, not rounded, not clipped; NaN stays NaN.

    Raises:
        BoxError: Another shape, a size that is no positive whole number, or an unknown frame.

    Example:
        >>> convert([[0.16, 0.18, 0.25, 0.24]], "square_unit", "pixel", 640, 512).round(1).tolist()
        [[102.4, 51.2, 160.0, 89.6]]
    """
    array = as_coordinates(coordinates)
    source, target = as_frame(source), as_frame(target)
    width, height = as_sizes(width, height, array)
    out: Floats = array.copy()
    if source is target:
        return out
    one, two = axis_maps(source, width, height), axis_maps(target, width, height)
    for axis in (0, 1):
        values = array[..., axis::2]
        extent, pad = column(one[axis]), column(one[axis + 2])
        if source is not Frame.PIXEL:
            values = values * extent / one.base - pad
        if target is not Frame.PIXEL:
            extent, pad = column(two[axis]), column(two[axis + 2])
            values = (values + pad) / extent * two.base
        out[..., axis::2] = values
    return out


def few_to_pixels(
    rows: Sequence[Sequence[float]], source: Frame, width: int, height: int
) -> list[list[float]]:
    """Convert a handful of rows to pixels in plain Python: the numbers of `convert`, bit for bit.

    NumPy takes 20 microseconds for a call before it looks at a number, and a record of a release has one to ten rows.

    Args:
        rows: Rows of 2, 4 or 8 numbers; x and y alternate.
        source: The frame they are in.
        width: Of the upright image in pixels.
        height: Likewise.

    Raises:
        BoxError: As `convert`.

    Example:
        >>> few_to_pixels([(500, 250)], Frame.PER_MILLE, 640, 512)
        [[320.0, 128.0]]
    """
    kinds, types = set(map(len, rows)), set(map(type, chain.from_iterable(rows)))
    if not 0 < len(rows) <= _FEW or len(kinds) > 1 or not (kinds <= KINDS.keys() and types <= _NUMBERS):
        converted: list[list[float]] = convert(rows, source, Frame.PIXEL, width, height).tolist()
        return converted
    across, down, left, top, base = _float_maps(source, width, height)
    if source is Frame.PIXEL:
        return [list(map(float, row)) for row in rows]
    if kinds == {2}:
        return [[float(x) * across / base - left, float(y) * down / base - top] for x, y in rows]
    return [
        [
            value
            for x, y in zip(row[::2], row[1::2], strict=True)
            for value in (float(x) * across / base - left, float(y) * down / base - top)
        ]
        for row in rows
    ]


@lru_cache(maxsize=64, typed=True)  # images of a source have few sizes
def _float_maps(source: Frame, width: int, height: int) -> tuple[float, ...]:
    maps = axis_maps(source, check_size(width, "width"), check_size(height, "height"))
    return tuple(float(one) for one in maps)


@overload
def pad_and_normalize(box_xywh: Sequence[float], width: ArrayLike, height: ArrayLike) -> list[float]: ...
@overload
def pad_and_normalize(box_xywh: ArrayLike, width: ArrayLike, height: ArrayLike) -> list[float] | Floats: ...
def pad_and_normalize(box_xywh: ArrayLike, width: ArrayLike, height: ArrayLike) -> list[float] | Floats:
    """Apply the box transform of the EarthGPT README exactly: pad to a square, divide by its side.

    Rule: the shorter axis is shifted by ``int((long - short) / 2)``, then everything is divided by the longer
    side (README of github.com/wivizhang/EarthGPT). Edges are half-open, nothing is clamped, nothing is
    rounded. For corners and points the same shift and division apply to each vertex, and the order of the
    vertices is kept.

    Args:
        box_xywh: Pixels of the upright image. Four numbers are ``x_min, y_min, box width, box height``; eight
            are the corners of an oriented box; two are a point. One flat list, or an array of shape (N, 4),
            (N, 8) or (N, 2).
        width: Of the image in pixels: one whole number, or N of them, one for each row.
        height: Likewise.

    Returns:
        0 to 1 of the padded square: ``x_min, y_min, x_max, y_max``, or the corners, or the point. A flat list
        or tuple gives a list, everything else an array of the same shape.

    Raises:
        BoxError: Another shape, or a size that is no positive whole number.

    Example:
        >>> pad_and_normalize([100, 50, 60, 40], width=640, height=512)
        [0.15625, 0.178125, 0.25, 0.240625]
        >>> pad_and_normalize(np.array([[0, 0, 5, 10]]), width=5, height=10).tolist()
        [[0.2, 0.0, 0.7, 1.0]]
    """
    array = as_coordinates(box_xywh)
    sizes = as_sizes(width, height, array)
    maps = axis_maps(Frame.SQUARE_UNIT, *sizes)
    out = np.empty_like(array)
    for axis in (0, 1):
        extent, pad = column(maps[axis]), column(maps[axis + 2])
        shifted = array[..., axis::2] + pad
        if array.shape[-1] == 4:
            # The README adds the box size to the shifted edge: this order, for the same last bit.
            shifted[..., 1] = shifted[..., 0] + array[..., axis + 2]
        out[..., axis::2] = shifted / extent
    return like_input(out, box_xywh)


@overload
def undo_pad_and_normalize(
    coordinates: Sequence[float],
    width: ArrayLike,
    height: ArrayLike,
    *,
    form: Literal["xywh", "xyxy"] = "xywh",
) -> list[float]: ...
@overload
def undo_pad_and_normalize(
    coordinates: ArrayLike, width: ArrayLike, height: ArrayLike, *, form: Literal["xywh", "xyxy"] = "xywh"
) -> list[float] | Floats: ...
def undo_pad_and_normalize(
    coordinates: ArrayLike, width: ArrayLike, height: ArrayLike, *, form: Literal["xywh", "xyxy"] = "xywh"
) -> list[float] | Floats:
    """Bring coordinates of the padded square back to pixels: the inverse of `pad_and_normalize`.

    Args:
        coordinates: 0 to 1 of the padded square: ``x_min, y_min, x_max, y_max``, eight numbers of corners, or
            a point. One flat list, or an array of shape (N, 4), (N, 8) or (N, 2).
        width: Of the image in pixels: one whole number, or N of them, one for each row.
        height: Likewise.
        form: What four numbers come back as. ``"xywh"`` is what `pad_and_normalize` takes, ``"xyxy"`` the two
            corners. Corners and points come back as they are.

    Returns:
        Pixels of the upright image, not clipped. A flat list or tuple gives a list, everything else an array.

    Raises:
        BoxError: Another shape, a size that is no positive whole number, or another ``form``.

    Example:
        >>> undo_pad_and_normalize([0.15625, 0.178125, 0.25, 0.240625], width=640, height=512)
        [100.0, 50.0, 60.0, 40.0]
        >>> undo_pad_and_normalize([0.15625, 0.178125, 0.25, 0.240625], width=640, height=512, form="xyxy")
        [100.0, 50.0, 160.0, 90.0]
    """
    if form not in ("xywh", "xyxy"):
        raise BoxError(f"form is {form!r}, expected 'xywh' or 'xyxy'")
    out = convert(coordinates, Frame.SQUARE_UNIT, Frame.PIXEL, width, height)
    if form == "xywh" and out.shape[-1] == 4:
        out[..., 2:] -= out[..., :2]
    return like_input(out, coordinates)


def round_coordinates(coordinates: ArrayLike, frame: Frame | str, decimals: int | None = None) -> Floats:
    """Round coordinates the way text in their frame is written.

    Rule: half to even; but whole numbers of `Frame.SQUARE_PER_MILLE` are cut toward zero, as the all-seeing
    family does (``int(v / side * 999)``). A value within 1e-9 below a whole number counts as that number
    there, so that a round trip through another frame does not walk downwards.

    Args:
        coordinates: Any shape.
        frame: The frame they are in.
        decimals: Digits after the point, 0 to 12; None takes `DEFAULT_DECIMALS`.

    Raises:
        BoxError: An unknown frame, or decimals outside 0 to 12.

    Example:
        >>> round_coordinates([0.125, 0.0625], "square_unit").tolist()
        [0.12, 0.06]
        >>> round_coordinates([499.9], "square_per_mille").tolist()
        [499.0]
    """
    frame = as_frame(frame)
    decimals = check_decimals(frame, decimals)
    array = np.asarray(coordinates, dtype=np.float64)
    if is_cut(frame, decimals):
        return np.trunc(array + np.copysign(_SNAP, array))
    return np.round(array, decimals)


def is_cut(frame: Frame, decimals: int) -> bool:
    """Whether numbers of this frame are cut, not rounded, when written with so many decimals."""
    return frame is Frame.SQUARE_PER_MILLE and decimals == 0


def format_coordinate(value: float, decimals: int, *, cut: bool) -> str:
    """Write one number with a fixed count of decimals; never ``-0``."""
    if cut:
        return str(int(value + (_SNAP if value >= 0 else -_SNAP)))
    text = f"{value:.{decimals}f}"
    return text[1:] if text[0] == "-" and not text.strip("-0.") else text


def check_decimals(frame: Frame, decimals: int | None) -> int:
    """Return the decimals to write, the frame's own for None."""
    if decimals is None:
        return DEFAULT_DECIMALS[frame]
    if not 0 <= decimals <= _MAX_DECIMALS:
        raise BoxError(f"decimals is {decimals}, expected 0 to {_MAX_DECIMALS}")
    return decimals


def rounding_bound(frame: Frame | str, decimals: int, width: ArrayLike, height: ArrayLike) -> float | Floats:
    """Return by how many pixels rounding in a frame can move a coordinate, at most.

    Half a step of the last digit times the extent of the longer axis; a whole step where numbers are cut and
    not rounded (`Frame.SQUARE_PER_MILLE` without decimals). Float arithmetic adds less than 1e-9 pixels for
    images up to 100,000 pixels wide.

    Args:
        frame: The frame in which the numbers are rounded.
        decimals: Digits after the point that are kept.
        width: Of the image in pixels, a whole number or an array of N.
        height: Likewise.

    Returns:
        Pixels: a number, or an array of N.

    Raises:
        BoxError: An unknown frame, decimals outside 0 to 12, or a size that is no positive whole number.

    Example:
        >>> rounding_bound("square_unit", 2, 640, 512)
        3.2
        >>> rounding_bound("per_mille", 0, 640, 512)
        0.32
    """
    frame = as_frame(frame)
    check_decimals(frame, decimals)
    width, height = check_sizes(width, "width"), check_sizes(height, "height")
    maps = axis_maps(frame, width, height)
    step = 1 if is_cut(frame, decimals) else 0.5
    bound = step * np.maximum(maps.extent_x, maps.extent_y) / (10**decimals * maps.base)
    if frame is Frame.PIXEL:
        bound = np.broadcast_to(bound, np.broadcast_shapes(np.shape(width), np.shape(height)))
    return float(bound) if np.ndim(bound) == 0 else np.asarray(bound, dtype=np.float64)


class Outside(NamedTuple):
    """Which of N boxes leave the image; every mask has shape (N,). Nothing is dropped."""

    partly: Mask
    """Some of it lies outside, some inside."""
    wholly: Mask
    """None of it lies inside."""
    in_padding: Mask
    """It reaches outside the image and stays on the padded square: its numbers look legal (square frames)."""

    @property
    def any(self) -> Mask:
        """Those that leave the image at all."""
        return self.partly | self.wholly


def find_outside(
    coordinates: ArrayLike,
    frame: Frame | str,
    width: ArrayLike,
    height: ArrayLike,
    tolerance: ArrayLike = 0.0,
) -> Outside:
    """Flag the boxes that lie partly or wholly outside the image.

    Args:
        coordinates: Shape (N, 2), (N, 4) or (N, 8), or one row. Oriented boxes are judged by their enclosing
            rectangle.
        frame: The frame they are in.
        width: Of the image in pixels, a whole number or an array of N.
        height: Likewise.
        tolerance: Pixels by which a box may reach outside without a flag, one number or N; `rounding_bound`
            forgives what rounding alone can do, and 1e-9 what float arithmetic alone can do.

    Returns:
        Three masks of shape (N,). A row with NaN is in none of them; `Boxes.degenerate` finds it.

    Raises:
        BoxError: As `convert`.

    Example:
        >>> find_outside([[0.1, 0.02, 0.2, 0.3]], "square_unit", 640, 512)
        Outside(partly=array([ True]), wholly=array([False]), in_padding=array([ True]))
    """
    array = np.atleast_2d(as_coordinates(coordinates))
    frame = as_frame(frame)
    width, height = as_sizes(width, height, array)
    pixels = convert(array, frame, Frame.PIXEL, width, height)
    outside = np.zeros(len(array), dtype=np.bool_)
    apart, off_square = outside.copy(), outside.copy()
    pads = axis_maps(Frame.SQUARE_UNIT, width, height)
    for axis, extent in ((0, width), (1, height)):
        low, high = pixels[:, axis::2].min(axis=1), pixels[:, axis::2].max(axis=1)
        outside |= (low < -np.asarray(tolerance)) | (high > extent + np.asarray(tolerance))
        apart |= ((high <= 0) & (low < 0)) | ((low >= extent) & (high > extent))
        pad = pads[axis + 2]
        off_square |= (low < -(pad + np.asarray(tolerance))) | (
            high > pads[axis] - pad + np.asarray(tolerance)
        )
    in_padding = outside & ~off_square if frame.is_square else np.zeros_like(outside)
    return Outside(outside & ~apart, outside & apart, in_padding)


class Filtered(NamedTuple):
    """The boxes kept by a filter, and the mask over the input that kept them, so that labels can follow."""

    boxes: Boxes
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Boxes:
    """N boxes, polygons or points with their frame and the size of their image.

    Args:
        coordinates: Shape (N, 4) ``x_min, y_min, x_max, y_max``, (N, 8) corners, or (N, 2) points. Held as a
            read-only float64 copy.
        frame: The frame they are in.
        width: Of the upright image in pixels: one whole number, or an array of N for boxes of many images.
        height: Likewise.

    Raises:
        BoxError: Another shape, an unknown frame, or a size that is no positive whole number.

    Example:
        >>> boxes = Boxes([[100, 50, 160, 90]], Frame.PIXEL, width=640, height=512)
        >>> boxes.to(Frame.SQUARE_UNIT).round().coordinates.tolist()
        [[0.16, 0.18, 0.25, 0.24]]
    """

    coordinates: Floats
    frame: Frame
    width: Size
    height: Size

    def __init__(
        self, coordinates: ArrayLike, frame: Frame | str, width: ArrayLike, height: ArrayLike
    ) -> None:
        array = as_coordinates(coordinates)
        if array.ndim != 2:
            raise BoxError(f"one row of {array.shape[-1]} numbers, expected a table", remedy="Write [[...]].")
        array = array.copy()
        array.flags.writeable = False
        checked = as_sizes(width, height, array)
        for name, value in (
            ("coordinates", array),
            ("frame", as_frame(frame)),
            ("width", checked[0]),
            ("height", checked[1]),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def kind(self) -> str:
        """``"boxes"``, ``"polygons"`` or ``"points"``."""
        return KINDS[self.coordinates.shape[1]]

    def to(self, frame: Frame | str) -> Boxes:
        """Return the boxes in another frame; in the same frame, the same boxes."""
        frame = as_frame(frame)
        if frame is self.frame:
            return self
        return Boxes(
            convert(self.coordinates, self.frame, frame, self.width, self.height),
            frame,
            self.width,
            self.height,
        )

    def round(self, decimals: int | None = None) -> Boxes:
        """Return the boxes rounded in their frame as `round_coordinates` does, within `rounding_bound`."""
        return self._replace(round_coordinates(self.coordinates, self.frame, decimals))

    def clip(self) -> Boxes:
        """Return the boxes with every coordinate moved into the image.

        Corners of oriented boxes and points are moved one by one, so that a polygon that leaves the image may
        lose its right angles. A box wholly outside collapses to zero area, and `degenerate` then finds it.

        Example:
            >>> Boxes([[-3, 5, 641, 20]], "pixel", 640, 512).clip().coordinates.tolist()
            [[0.0, 5.0, 640.0, 20.0]]
        """
        maps = axis_maps(self.frame, self.width, self.height)
        out = self.coordinates.copy()
        for axis, size in ((0, self.width), (1, self.height)):
            extent, pad = maps[axis], maps[axis + 2]
            # The limits in the boxes' own frame: a value that is inside keeps its bits.
            low, high = np.divide(pad, extent) * maps.base, np.divide(np.add(size, pad), extent) * maps.base
            out[:, axis::2] = np.clip(out[:, axis::2], np.reshape(low, (-1, 1)), np.reshape(high, (-1, 1)))
        return self._replace(out)

    def areas(self) -> Floats:
        """Return the areas in square pixels, shape (N,): 0 for points, negative for none."""
        return _areas(self.to(Frame.PIXEL).coordinates)

    def enclosing(self) -> Boxes:
        """Return the smallest horizontal boxes around polygons (or points), shape (N, 4).

        Example:
            >>> obb = [[0.14, 0.65, 0.46, 0.55, 0.47, 0.60, 0.15, 0.69]]
            >>> Boxes(obb, "square_unit", 640, 512).enclosing().coordinates.tolist()
            [[0.14, 0.55, 0.47, 0.69]]
        """
        x, y = self.coordinates[:, 0::2], self.coordinates[:, 1::2]
        return self._replace(np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1))

    def degenerate(self) -> Mask:
        """Return a mask, shape (N,), of rows with NaN or infinity, without area, or with exchanged corners.

        A point is degenerate only when it is not finite.
        """
        array = self.coordinates
        bad = np.logical_not(np.isfinite(array).all(axis=1))
        if array.shape[1] == 4:
            bad |= ~((array[:, 2] > array[:, 0]) & (array[:, 3] > array[:, 1]))
        elif array.shape[1] == 8:
            with np.errstate(invalid="ignore"):  # infinities are in the mask already
                spans = np.ptp(array[:, 0::2], axis=1) * np.ptp(array[:, 1::2], axis=1)
                bad |= ~(_areas(array) > _FLAT * spans)
        return bad

    def outside(self, tolerance: ArrayLike = 0.0) -> Outside:
        """Return the masks of `find_outside` for these boxes; ``tolerance`` is in pixels."""
        return find_outside(self.coordinates, self.frame, self.width, self.height, tolerance)

    def usable(self) -> Mask:
        """Return a mask, shape (N,), of boxes that are neither degenerate nor wholly outside."""
        return ~self.degenerate() & ~self.outside().wholly

    def filter(self, mask: ArrayLike) -> Filtered:
        """Keep the rows where the mask, shape (N,), is true.

        Returns:
            The boxes kept **and** the mask, so that labels can be filtered by the same.

        Raises:
            BoxError: The mask is not N booleans.

        Example:
            >>> boxes = Boxes([[0, 0, 5, 5], [3, 3, 3, 9]], "pixel", 10, 10)
            >>> kept, mask = boxes.filter(boxes.usable())
            >>> len(kept), mask.tolist()
            (1, [True, False])
        """
        keep = np.asarray(mask)
        if keep.shape != (len(self),) or (keep.dtype != np.bool_ and keep.size):
            raise BoxError(f"the mask is {keep.dtype} of shape {keep.shape}, expected {len(self)} booleans")
        keep = keep.astype(np.bool_)
        width, height = (size if isinstance(size, int) else size[keep] for size in (self.width, self.height))
        return Filtered(Boxes(self.coordinates[keep], self.frame, width, height), keep)

    def _replace(self, coordinates: Floats) -> Boxes:
        return Boxes(coordinates, self.frame, self.width, self.height)


def _areas(array: Floats) -> Floats:
    if array.shape[1] == 2:
        return np.zeros(len(array))
    x, y = array[:, 0::2], array[:, 1::2]
    if array.shape[1] == 4:
        size: Floats = np.maximum(x[:, 1] - x[:, 0], 0) * np.maximum(y[:, 1] - y[:, 0], 0)
        return size
    # Shifted to the first corner: the shoelace sum of far-off corners loses digits.
    x, y = x - x[:, :1], y - y[:, :1]
    cross = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    area: Floats = np.abs(cross) / 2
    return area
