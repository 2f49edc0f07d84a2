"""A scale and a shift for each axis, made exact by matching a grid of blocks of two images one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from irtd_datasets.images.pairs.fields import Copies, Field, correlated, edge_field, fast_length, integral
from irtd_datasets.images.pairs.transform import PairTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["FINE", "HALF", "Fixed", "Refined", "block_turn", "match_blocks", "refine", "warp"]

FINE = 320  # pixels of the longer infrared side while blocks are matched
HALF = 160  # the same while they are looked for
_BLOCK = 48  # side of a block, at the fine size
_WIDE, _NARROW = 14, 5  # pixels at the fine size by which a block may move at first, and at last
_MOVED = 2.5  # pixels by which blocks may still have moved at last; they are matched once more otherwise
_AGREE = 2.0  # pixels at the fine size within which a block agrees with the fit
_MIN_BLOCKS = 6
_CHANCE = 0.2  # share of blocks that agree with the best fit to two different scenes
_FREE = 4  # blocks that the fit's four numbers can always satisfy
_HOPELESS = (
    -1.2
)  # evidence on small copies below which larger ones are not looked at; half of all wrong starts have less
_MOST_FITS = 800  # pairs of blocks that propose a fit


class Fixed(NamedTuple):
    """The infrared field in a size, with what every comparison needs of it.

    Attributes:
        field: The field.
        ratio: Its pixels to one of the whole image, horizontally and vertically.
        strength: Sums of its energy.
        unit: Its pixels to one at the fine size.
    """

    field: Field
    ratio: Floats
    strength: Floats
    unit: float

    @classmethod
    def of(cls, infrared: Copies, side: int) -> Fixed:
        """The field of an image in a size of its longer side."""
        small = side / max(infrared.height, infrared.width)
        field = edge_field(infrared.at(infrared.width * small, infrared.height * small))
        height, width = field.shape
        ratio = np.array([width / infrared.width, height / infrared.height])
        return cls(field, ratio, integral(field.energy), side / FINE)


@dataclass(frozen=True, slots=True)
class Refined:
    """What blocks say of a transform.

    Attributes:
        transform: From visible to infrared pixels.
        blocks: Blocks with enough edges in both.
        agreeing: How many of them agree with the transform.
        error: Root mean square of the distances of those that agree, in infrared pixels.
        rotation: Degrees by which those that agree are turned.
    """

    transform: PairTransform
    blocks: int = 0
    agreeing: int = 0
    error: float = float("inf")
    rotation: float = 0.0

    @property
    def evidence(self) -> float:
        """By how much more blocks agree than the best fit to chance makes them, in units of its spread."""
        return float((self.agreeing - _FREE - _CHANCE * self.blocks) / np.sqrt(max(self.blocks, 1)))


def refine(fixed: tuple[Fixed, Fixed], visible: Copies, start: PairTransform) -> Refined:
    """Fit a transform to the shifts of blocks, on small copies with room to move, then on larger ones with less.

    Args:
        fixed: The infrared field, small and large.
        visible: The other image.
        start: Where the search begins.
    """
    found = Refined(start)
    for step, reach in ((0, _WIDE), (1, _NARROW), (1, _NARROW)):
        one = fixed[step]
        moving, covered = warp(visible, found.transform, one)
        places, shifts, peaks = match_blocks(one, moving, covered, reach)
        fitted = _fit(places, shifts, peaks, one.unit)
        if fitted is None:
            break
        coefficients, good = fitted
        left = places + shifts - _applied(coefficients, places)
        moved = float(np.abs(_applied(coefficients, places) - places).max())
        found = Refined(
            _composed(coefficients, found.transform, one.ratio),
            len(places),
            int(good.sum()),
            float(np.sqrt((left[good] ** 2).sum(1).mean()) / one.ratio.mean())
            if good.any()
            else float("inf"),
            _rotation(places[good], (places + shifts)[good]),
        )
        if (step and moved < _MOVED) or (not step and found.evidence < _HOPELESS):
            break
    return found


def _applied(coefficients: Floats, places: Floats) -> Floats:
    out: Floats = places * coefficients[:, 0] + coefficients[:, 1]
    return out


def _composed(coefficients: Floats, transform: PairTransform, ratio: Floats) -> PairTransform:
    """A fit p -> a p + b in pixels of a copy, from where a transform put a point to where it belongs."""
    (a_x, b_x), (a_y, b_y) = coefficients.tolist()
    return PairTransform(
        transform.scale_x * a_x,
        transform.scale_y * a_y,
        float((transform.shift_x * ratio[0] * a_x + b_x) / ratio[0]),
        float((transform.shift_y * ratio[1] * a_y + b_y) / ratio[1]),
    )


def warp(visible: Copies, transform: PairTransform, fixed: Fixed) -> tuple[Field, tuple[int, int, int, int]]:
    """The edge field of the visible image where a transform puts it, and the rectangle that it covers."""
    height, width = fixed.field.shape
    scale_x, scale_y = transform.scale_x * fixed.ratio[0], transform.scale_y * fixed.ratio[1]
    left, top = transform.shift_x * fixed.ratio[0], transform.shift_y * fixed.ratio[1]
    right, bottom = left + visible.width * scale_x, top + visible.height * scale_y
    x0, y0 = max(int(np.ceil(left)), 0), max(int(np.ceil(top)), 0)
    x1, y1 = min(int(np.floor(right)), width), min(int(np.floor(bottom)), height)
    field = Field(np.zeros((2, height, width), np.float32), np.zeros((height, width), np.float32))
    if x1 - x0 < 16 or y1 - y0 < 16:
        return field, (0, 0, 0, 0)
    box = ((x0 - left) / scale_x, (y0 - top) / scale_y, (x1 - left) / scale_x, (y1 - top) / scale_y)
    box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], visible.width), min(box[3], visible.height))
    seen = edge_field(visible.at(x1 - x0, y1 - y0, box))
    if seen.shape == field.shape:
        return seen, (x0, y0, x1, y1)
    field.planes[:, y0:y1, x0:x1] = seen.planes
    field.energy[y0:y1, x0:x1] = seen.energy
    return field, (x0, y0, x1, y1)


def match_blocks(
    fixed: Fixed, moving: Field, covered: tuple[int, int, int, int], reach: float
) -> tuple[Floats, Floats, Floats]:
    """Places of blocks in the moved field, the shifts that fit each best, and the correlation there.

    Args:
        fixed: The infrared field.
        moving: The visible one, of the same shape.
        covered: The rectangle that it covers.
        reach: Pixels at the fine size by which a block may move.
    """
    height, width = moving.shape
    side, reach = round(_BLOCK * fixed.unit), round(reach * fixed.unit)
    own = integral(moving.energy)
    tops, lefts = (
        axis.ravel()
        for axis in np.meshgrid(_grid(height, side, reach), _grid(width, side, reach), indexing="ij")
    )
    if not len(tops):
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
    inside = (np.minimum(lefts + side, covered[2]) - np.maximum(lefts, covered[0])).clip(0) * (
        np.minimum(tops + side, covered[3]) - np.maximum(tops, covered[1])
    ).clip(0)
    norms = _squares(own, tops, lefts, side)
    least = 0.12 * side * side
    usable = (inside >= 0.98 * side * side) & (norms >= least)
    usable &= _squares(fixed.strength, tops, lefts, side) >= least
    tops, lefts, norms = tops[usable], lefts[usable], norms[usable]
    if not len(tops):
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
    window = side + 2 * reach
    length = fast_length(window)
    view = np.lib.stride_tricks.sliding_window_view
    windows = view(fixed.field.planes, (window, window), axis=(1, 2))[:, tops - reach, lefts - reach]
    blocks = view(moving.planes, (side, side), axis=(1, 2))[:, tops, lefts]
    free = np.arange(2 * reach + 1)
    spectrum = np.fft.rfft2(windows, (length, length))
    product = correlated(spectrum, blocks, (length, length), free, free)
    rows, columns = np.meshgrid(free - reach, free - reach, indexing="ij")
    local = _squares(fixed.strength, tops[:, None, None] + rows, lefts[:, None, None] + columns, side)
    score = product / np.sqrt(np.maximum(local * norms[:, None, None], 1e-6))
    flat = score.reshape(len(score), -1)
    best = flat.argmax(1)
    rows, columns = best // len(free), best % len(free)
    shifts = [at - reach + _vertex(score, rows, columns, axis) for at, axis in ((columns, 2), (rows, 1))]
    return (
        np.stack([lefts + side / 2, tops + side / 2], 1),
        np.stack(shifts, 1),
        flat[np.arange(len(best)), best],
    )


def _squares(sums: Floats, tops: NDArray[np.int64], lefts: NDArray[np.int64], side: int) -> Floats:
    """Sums over squares, from those over all rectangles from the corner."""
    out: Floats = (
        sums[tops + side, lefts + side]
        - sums[tops, lefts + side]
        - sums[tops + side, lefts]
        + sums[tops, lefts]
    )
    return out


def _vertex(score: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64], axis: int) -> Floats:
    """The fraction of a pixel by which the top of a parabola through a peak and its neighbours lies beside it."""
    which = np.arange(len(score))
    end = score.shape[axis] - 1
    step = (1, 0) if axis == 1 else (0, 1)
    along = rows if axis == 1 else columns
    inner = (along > 0) & (along < end)
    back = score[which, np.maximum(rows - step[0], 0), np.maximum(columns - step[1], 0)]
    ahead = score[which, np.minimum(rows + step[0], end), np.minimum(columns + step[1], end)]
    middle = score[which, rows, columns]
    bend = np.minimum(back - 2 * middle + ahead, -1e-9)
    return np.where(inner, np.clip((back - ahead) / (2 * bend), -0.5, 0.5), 0.0)


def _grid(length: int, side: int, reach: int) -> NDArray[np.int64]:
    last = length - side - reach
    if last < reach:
        return np.zeros(0, np.int64)
    count = max(2, round((last - reach) / (side / 2)) + 1)
    return np.unique(np.linspace(reach, last, count).astype(np.int64))


def _fit(
    places: Floats, shifts: Floats, peaks: Floats, unit: float
) -> tuple[Floats, NDArray[np.bool_]] | None:
    """Scale and shift for each axis that most blocks agree with, shape (2, 2), and which do."""
    if len(places) < _MIN_BLOCKS:
        return None
    near, wide = _AGREE * unit, 1.5 * _BLOCK * unit
    # Pairs of blocks far enough apart, all of them or every so many; they are scored at once.
    first, second = np.triu_indices(len(places), 1)
    span = places[second] - places[first]
    apart = np.flatnonzero(np.abs(span).max(1) >= wide)
    apart = apart[:: max(1, -(-len(apart) // _MOST_FITS))]
    first, second, span = first[apart], second[apart], span[apart]
    target = places + shifts
    steep = np.abs(span) >= wide
    scales = np.ones((len(first) + 1, 2))
    scales[:-1][steep] = ((target[second] - target[first]) / np.where(steep, span, 1))[steep]
    offsets = np.empty_like(scales)
    offsets[:-1] = target[first] - scales[:-1] * places[first]
    offsets[-1] = np.median(shifts, axis=0)
    legal = (np.abs(scales - 1) < 0.12).all(1)
    scales, offsets = scales[legal], offsets[legal]
    weight = np.maximum(peaks, 0.01)
    left = sum(
        (target[None, :, axis] - scales[:, axis, None] * places[None, :, axis] - offsets[:, axis, None]) ** 2
        for axis in (0, 1)
    )
    best = int((np.maximum(1 - left / (1.5 * near) ** 2, 0) @ weight).argmax())
    fit = np.stack([scales[best], offsets[best]], 1)
    good = np.ones(len(places), dtype=np.bool_)
    for _ in range(4):
        good = ((target - _applied(fit, places)) ** 2).sum(1) <= near**2
        if good.sum() < 3:
            break
        fit = np.array([_line(places[good, axis], target[good, axis], weight[good], unit) for axis in (0, 1)])
    return fit, good


def _line(x: Floats, y: Floats, weight: Floats, unit: float) -> tuple[float, float]:
    middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float((weight * (x - middle_x) ** 2).sum())
    if spread < weight.sum() * (_BLOCK * unit) ** 2 / 4:
        return 1.0, float(middle_y - middle_x)  # blocks too close together to tell a scale
    slope = float((weight * (x - middle_x) * (y - middle_y)).sum()) / spread
    return slope, float(middle_y - slope * middle_x)


def _rotation(source: Floats, target: Floats) -> float:
    if len(source) < _MIN_BLOCKS:
        return 0.0
    x, y = (source - source.mean(0)).T
    u, v = (target - target.mean(0)).T
    return float(np.degrees(np.arctan2((x * v - y * u).sum(), (x * u + y * v).sum())))


def block_turn(fixed: Fixed, moving: Field, covered: tuple[int, int, int, int]) -> float:
    """Degrees by which blocks are turned: the median over all pairs of blocks, which half of them may spoil."""
    places, shifts, _ = match_blocks(fixed, moving, covered, _WIDE)
    first, second = np.triu_indices(len(places), 1)
    apart, moved = places[second] - places[first], shifts[second] - shifts[first]
    slopes = [
        sign * moved[wide, 1 - axis] / apart[wide, axis]
        for axis, sign in ((0, 1.0), (1, -1.0))
        for wide in (np.abs(apart[:, axis]) >= 1.5 * _BLOCK * fixed.unit,)
    ]
    found = np.concatenate(slopes)
    return float(np.degrees(np.arctan(np.median(found)))) if len(found) else 0.0
