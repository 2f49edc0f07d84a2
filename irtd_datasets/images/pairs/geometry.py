"""Rectangles in images: whole pixels, shares, overlaps, and what moves along with a crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from irtd_datasets.boxes import Boxes, Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["cut_masks", "ious", "moved_into", "shares_of", "whole_pixels"]


def whole_pixels(rectangle: Floats, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A rectangle x_min, y_min, x_max, y_max in whole pixels, inside an image of this width and height."""
    low, high = np.rint(rectangle[:2]), np.rint(rectangle[2:])
    x_min, y_min = (int(value) for value in np.clip(low, 0, size))
    x_max, y_max = (int(value) for value in np.clip(high, 0, size))
    return x_min, y_min, max(x_max, x_min), max(y_max, y_min)


def _area(sides: Floats) -> Floats:
    out: Floats = sides[:, 0] * sides[:, 1]
    return out


def shares_of(boxes: Floats, view: Floats) -> Floats:
    """Share of each box that is inside a rectangle; 1 or 0 for a point."""
    if not len(boxes):
        return np.zeros(0)
    low, high = np.maximum(boxes[:, :2], view[:2]), np.minimum(boxes[:, 2:], view[2:])
    areas = _area(boxes[:, 2:] - boxes[:, :2])
    inside = (high >= low).all(1)
    shared = _area(np.maximum(high - low, 0))
    return np.where(areas > 0, shared / np.maximum(areas, 1e-12), inside.astype(np.float64))


def ious(one: Floats, two: Floats) -> Floats:
    """Intersection over union, row by row."""
    low, high = np.maximum(one[:, :2], two[:, :2]), np.minimum(one[:, 2:], two[:, 2:])
    shared = _area(np.maximum(high - low, 0))
    areas = [_area(np.maximum(boxes[:, 2:] - boxes[:, :2], 0)) for boxes in (one, two)]
    out: Floats = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    return out


def moved_into(coordinates: Floats, rectangle: tuple[int, int, int, int]) -> Boxes:
    """Coordinates of an image as pixels of a crop of it, cut at its edge; shape (N, 4), (N, 8) or (N, 2)."""
    out = coordinates.copy() if len(coordinates) else np.zeros((0, coordinates.shape[1]))
    out[:, 0::2] -= rectangle[0]
    out[:, 1::2] -= rectangle[1]
    return Boxes(out, Frame.PIXEL, rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]).clip()


def cut_masks(
    masks: NDArray[np.bool_] | None, kept: Sequence[int], rectangle: tuple[int, int, int, int]
) -> NDArray[np.bool_] | None:
    """The masks of the objects kept, shape (N, H, W), cut to a rectangle; None where there are none."""
    if masks is None:
        return None
    x_min, y_min, x_max, y_max = rectangle
    return masks[list(kept), y_min:y_max, x_min:x_max]
