"""Edges of an image as a field of doubled directions, on copies of it in any size, and how such fields correlate."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey: TypeAlias = NDArray[np.float32]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Copies", "Field", "correlated", "edge_field", "fast_length", "integral"]

_LEAST_SIDE = 16
_SMALLEST_COPY = 160  # longer side below which no further copy is halved
_SPARE = 1.5  # times as many pixels as are asked for that the copy they are taken from has at least
_NEAR = 9  # side of the square that an edge is compared with, applied twice


class Copies:
    """An image with copies of half the size, a quarter and so on, so that small ones are made of small ones.

    Args:
        grey: Shape (H, W), float32.
    """

    def __init__(self, grey: Grey) -> None:
        self.height, self.width = grey.shape
        self._halved = [Image.fromarray(grey)]
        while max(self._halved[-1].size) >= 2 * _SMALLEST_COPY:
            self._halved.append(self._halved[-1].reduce(2))

    def at(self, width: float, height: float, box: tuple[float, float, float, float] | None = None) -> Grey:
        """A copy of a part in a size, rounded to pixels.

        Args:
            width: Of the copy.
            height: Of the copy.
            box: x_min, y_min, x_max, y_max of the part in pixels of the whole image; None takes all of it.
        """
        size = (max(round(width), _LEAST_SIDE), max(round(height), _LEAST_SIDE))
        box = box or (0.0, 0.0, float(self.width), float(self.height))
        finest = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]) / _SPARE
        level = min(max(int(np.log2(max(finest, 1))), 0), len(self._halved) - 1)
        source = self._halved[level]
        part = [min(place / 2**level, end) for place, end in zip(box, source.size * 2, strict=True)]
        filter_ = Image.Resampling.BOX if finest * _SPARE > 1 else Image.Resampling.BILINEAR
        return np.asarray(source.resize(size, filter_, box=(part[0], part[1], part[2], part[3])))


class Field(NamedTuple):
    """Directions of edges, doubled, so that those that differ in sign only are equal, times their strength.

    Attributes:
        planes: Their real and their imaginary part, shape (2, H, W).
        energy: Their square, shape (H, W).
    """

    planes: Grey
    energy: Grey

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.energy.shape[0], self.energy.shape[1]


def edge_field(grey: Grey) -> Field:
    """Direction (doubled) of the edges of an image and their strength relative to what is around them."""
    some = (grey if grey.size < 1 << 14 else grey[::2, ::2]).ravel()
    ends = [some.size // 100, some.size - 1 - some.size // 100]
    low, high = np.partition(some, ends)[ends].tolist()
    grey = grey * np.float32(1 / max(high - low, 1e-6))
    dy, dx = np.gradient(grey)
    across, down = dx * dx, dy * dy
    power = np.add(across, down)
    around = np.sqrt(_box_mean(_box_mean(power)))
    around += np.float32(0.004 + 0.3 * float(around.mean()))
    relative = np.minimum(np.sqrt(power) / around, np.float32(2))
    relative[[0, -1]] = 0
    relative[:, [0, -1]] = 0
    share = relative / np.maximum(power, np.float32(1e-12))
    planes = np.stack([(across - down) * share, (2 * share) * dx * dy])
    return Field(planes, relative * relative)


def _box_mean(values: Grey) -> Grey:
    """Means over squares of `_NEAR` pixels, edges repeated."""
    for _ in (0, 1):
        one = np.concatenate([*[values[:1]] * (_NEAR // 2), values, *[values[-1:]] * (_NEAR // 2)])
        two = one[:-1] + one[1:]
        four = two[:-2] + two[2:]
        values = ((four[:-4] + four[4:])[:-1] + one[8:]).T
    out: Grey = values * np.float32(1 / _NEAR**2)
    return out


def correlated(
    spectrum: NDArray[np.complexfloating],
    moving: Grey,
    shape: tuple[int, int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Grey:
    """Correlation of two fields, or of two stacks of fields, at some shifts along both axes.

    Args:
        spectrum: ``rfft2`` of the planes of the fixed field in a shape.
        moving: The planes of the other, shape (2, ..., H, W).
        shape: The shape of the transforms.
        rows: Shifts down, any sign.
        columns: Shifts to the right.

    Returns:
        Shape (..., rows, columns).
    """
    product = (spectrum * np.conj(np.fft.rfft2(moving, shape))).sum(axis=0)
    there = np.fft.ifft(product, axis=-2)[..., rows % shape[0], :]
    out = np.fft.irfft(there, shape[1], axis=-1)[..., columns % shape[1]]
    return out.astype(np.float32, copy=False)  # older NumPy computes in doubles


def integral(values: Grey) -> Floats:
    """Sums over all rectangles from the upper left corner."""
    out: Floats = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=out[1:, 1:])
    return out


@lru_cache(maxsize=1024)
def fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
