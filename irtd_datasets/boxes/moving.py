"""The map from one frame to another for rows of numbers that are too short to pay for an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from irtd_datasets.boxes.frames import Frame, axis_maps, check_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from irtd_datasets.boxes.frames import AxisMaps

    Move: TypeAlias = Callable[[tuple[float, ...]], tuple[float, ...]]

__all__ = ["mover"]


def mover(
    source: Frame, target: Frame, width: int, height: int, resized: tuple[int, int] | None = None
) -> Move:
    """Return what `convert` does, for rows of any even length: they are too short to pay for an array."""
    width, height = check_size(width, "width"), check_size(height, "height")
    new_width, new_height = resized or (width, height)
    new_width, new_height = check_size(new_width, "resized width"), check_size(new_height, "resized height")
    scale_x, scale_y = new_width / width, new_height / height
    if source is target and scale_x == scale_y == 1:
        return tuple
    one, two = axis_maps(source, width, height), axis_maps(target, new_width, new_height)
    base, new_base = float(one.base), float(two.base)
    (extent_x, extent_y, pad_x, pad_y), (new_x, new_y, new_pad_x, new_pad_y) = _floats(one), _floats(two)

    def move(values: tuple[float, ...]) -> tuple[float, ...]:
        out = list(values)
        out[::2] = [
            ((x * extent_x / base - pad_x) * scale_x + new_pad_x) / new_x * new_base for x in values[::2]
        ]
        out[1::2] = [
            ((y * extent_y / base - pad_y) * scale_y + new_pad_y) / new_y * new_base for y in values[1::2]
        ]
        return tuple(out)

    return move


def _floats(maps: AxisMaps) -> tuple[float, float, float, float]:
    return float(maps.extent_x), float(maps.extent_y), float(maps.pad_x), float(maps.pad_y)
