"""Where a pixel of the visible image lies in the infrared one: a scale and a shift for each axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["IDENTITY", "PairTransform"]


@dataclass(frozen=True, slots=True)
class PairTransform:
    """From pixels of the upright visible image to pixels of the upright infrared one, ``scale * v + shift``.

    Coordinates lie between pixels, as everywhere in `irtd_datasets.boxes`: the left edge of an image is 0, the right
    edge its width. Two cameras that look the same way from the same place differ by no more than this; rotation and
    distortion of a lens do not fit it and show in the quality figure.

    Attributes:
        scale_x: Infrared pixels to one visible pixel, horizontally; positive.
        scale_y: Likewise, vertically.
        shift_x: Infrared pixels; where the left edge of the visible image lies.
        shift_y: Infrared pixels; where its upper edge lies.

    Example:
        >>> move = PairTransform(0.5, 0.5, 10, 20)
        >>> move.apply([[0, 0, 100, 50]]).tolist()
        [[10.0, 20.0, 60.0, 45.0]]
        >>> move.inverse().apply([[10, 20]]).tolist()
        [[0.0, 0.0]]
    """

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float

    def __post_init__(self) -> None:
        values = (self.scale_x, self.scale_y, self.shift_x, self.shift_y)
        if not all(np.isfinite(values)) or self.scale_x <= 0 or self.scale_y <= 0:
            raise BoxError(f"the transform {values} is none: scales are positive, all four are finite")

    @classmethod
    def between_sizes(cls, visible: tuple[int, int], infrared: tuple[int, int]) -> PairTransform:
        """The transform of images with one field of view, given as width and height."""
        return cls(infrared[0] / visible[0], infrared[1] / visible[1], 0.0, 0.0)

    def apply(self, coordinates: ArrayLike) -> NDArray[np.float64]:
        """Map visible pixels to infrared pixels; x and y alternate along the last axis."""
        out = np.array(coordinates, dtype=np.float64)
        out[..., 0::2] = out[..., 0::2] * self.scale_x + self.shift_x
        out[..., 1::2] = out[..., 1::2] * self.scale_y + self.shift_y
        return out

    def inverse(self) -> PairTransform:
        """From infrared pixels to visible pixels."""
        return PairTransform(
            1 / self.scale_x, 1 / self.scale_y, -self.shift_x / self.scale_x, -self.shift_y / self.scale_y
        )

    def as_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {
            "scale_x": self.scale_x,
            "scale_y": self.scale_y,
            "shift_x": self.shift_x,
            "shift_y": self.shift_y,
        }


IDENTITY = PairTransform(1.0, 1.0, 0.0, 0.0)
"""Images that are aligned pixel by pixel."""
