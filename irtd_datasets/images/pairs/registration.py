"""Scale and shift between two images of different sensors, found in their edges.

Warm things are bright in one image and dark in the other, so that intensities cannot be compared, and neither can
the sign of a gradient. What both have is where edges are and how they run. Each pixel gets a complex number, the
gradient's direction doubled (edges that differ in sign only become equal) times its strength relative to the
neighbourhood. The correlation of two such fields, normalised over the overlap, is searched over scales by FFT on small
copies; a grid of blocks is then matched one by one on larger copies, a robust fit of their shifts refines scale and
shift, and the share of blocks that agree says how sure the result is.

NumPy and Pillow do all of it. The thresholds were set on real pairs, see ``benchmarks/pairs.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from irtd_datasets.images.memory import keep_freed_memory
from irtd_datasets.images.pairs.transform import PairTransform
from irtd_datasets.images.values import measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Grey: TypeAlias = NDArray[np.float32]
    Field: TypeAlias = NDArray[np.complex64]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Registration", "register"]

_COARSE = 128  # pixels of the longer infrared side while scales are searched
_FINE = 320  # while blocks are matched
_BLOCK = 48  # side of a block, at the fine size
_STEP = 1.035  # between neighbouring scales: moves the corners of the coarse copies by two pixels
_ASPECTS = (1.0, 0.9, 1.11)  # vertical to horizontal scale: rectified and resized pairs differ by a tenth
_REACHES = (14, 8, 5)  # pixels by which a block may move in each round
_AGREE = 2.0  # pixels at the fine size within which a block agrees with the fit
_MIN_BLOCKS = 6
_CHANCE = 0.2  # share of blocks that agree with the best fit to two different scenes
_FREE = 4  # blocks that the fit's four numbers can always satisfy
_SURE = 1.4  # evidence; two different scenes reached 1.13 at most, right results have 1.6 to 9
_CERTAIN = 3.0  # evidence with which no other place is looked for
_TURN_SIDE = 160  # pixels of the longer side while turns are tried
_TURNS = (1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0)  # degrees, to both sides
_TURNED = 1.1  # how much better turned views correlate; 1 to 1.02 beside the best of aligned pairs
_UNIQUE = 1.4  # clarity of any answer; other scenes and lattices of one period reached 1.2, right answers have 1.6 on
_CLEARLY = 1.5  # clarity below which a smaller turn is enough to doubt
_DOUBTED_TURN = 0.9  # degrees
_CLEAR = 1.3  # clarity; two different scenes reached 1.10 at most, aligned pairs have 1.5 to 4.6


@dataclass(frozen=True, slots=True)
class Registration:
    """What the edges of two images say about their alignment.

    Attributes:
        transform: From visible to infrared pixels.
        confidence: 0 to 1; below 0.5 the result is a guess. On the real pairs of ``benchmarks/pairs.py`` no pair of
            two different scenes reaches 0.5.
        error: Expected distance in infrared pixels between the two views at a place in the overlap, root mean square
            over the blocks that agree.
        correlation: Normalised correlation of the edge fields over the overlap, -1 to 1.
        blocks: Blocks with enough edges in both.
        agreeing: How many of them agree with the transform.
        rotation: Degrees by which the views are turned against each other; 0 where none of `_TURNS` fits them clearly
            better than none.
    """

    transform: PairTransform
    confidence: float
    error: float
    correlation: float
    blocks: int
    agreeing: int
    rotation: float


def register(
    infrared: Grey,
    visible: Grey,
    *,
    views: tuple[float, float] = (0.45, 2.2),
    min_overlap: float = 0.25,
    same_view: float = 0.03,
) -> Registration:
    """Find scale and shift between two grey images.

    Pixels that are not finite, or mark that there are no data, are filled from their rows: they have no edges.

    Args:
        infrared: Shape (H, W), any range of values.
        visible: Shape (H, W) of its own size.
        views: Least and greatest width of the visible view relative to the infrared view.
        min_overlap: Least overlap as a fraction of the smaller view.
        same_view: Distance, as a fraction of the infrared diagonal, up to which two views count as one. Whether they
            are is asked first: it takes a tenth of the search, and weaker evidence is enough for it.

    Returns:
        The best transform, whether or not it is to be trusted: look at ``confidence``.
    """
    keep_freed_memory()
    infrared, visible = _filled(infrared), _filled(visible)
    size = (visible.shape[1], visible.shape[0])
    diagonal = float(np.hypot(*infrared.shape))
    whole = PairTransform.between_sizes(size, (infrared.shape[1], infrared.shape[0]))
    near = _refine(infrared, visible, whole)
    if near.evidence >= _SURE and _distance(near.transform, whole, size) <= same_view * diagonal:
        return _verified(near.as_registration(), infrared, visible)
    coarse = _search(infrared, visible, views, min_overlap)
    # The best scale of the coarse search need not be the best after refinement: the runners-up get their chance.
    starts = [coarse[0].transform]
    for one in coarse[1:]:
        if len(starts) < 3 and all(_distance(one.transform, t, size) > 0.03 * diagonal for t in starts):
            starts.append(one.transform)
    found = [near]
    for start in starts:
        found.append(_refine(infrared, visible, start))
        if found[-1].evidence >= _CERTAIN:
            break
    best = max(found, key=lambda one: one.evidence)
    if best.evidence < _SURE:
        clarity = _clarity(infrared, visible)
        if clarity >= _CLEAR:
            confidence = _logistic(6 * (clarity - _CLEAR))
            error = min(near.error, same_view * diagonal)
            answer = Registration(
                whole, confidence, error, near.correlation, near.blocks, near.agreeing, near.rotation
            )
            return _verified(answer, infrared, visible)
    return _verified(best.as_registration(), infrared, visible)


def _verified(answer: Registration, infrared: Grey, visible: Grey) -> Registration:
    """An answer to be trusted, looked at once more: whether another place fits as well, and how its blocks are turned.

    Blocks that agree with a fit tell nothing of a turn, as those that do not are left out of it; all of them, with room
    to move, do. And two lattices of one period agree wherever their lines meet, so what counts is how much better they
    do where they are than elsewhere.
    """
    if answer.confidence < 0.5:
        return answer
    clarity, turn = _doubts(answer.transform, infrared, visible)
    if clarity < _UNIQUE or (clarity < _CLEARLY and abs(turn) > _DOUBTED_TURN):
        return replace(answer, confidence=min(answer.confidence, 0.49))
    turned = _with_turn(answer, infrared, visible)
    return replace(turned, rotation=turn) if abs(turn) > abs(turned.rotation) else turned


def _doubts(transform: PairTransform, infrared: Grey, visible: Grey) -> tuple[float, float]:
    """How much better two views fit as they were put than elsewhere, and degrees by which their blocks are turned."""
    height, width = infrared.shape
    fine = _FINE / max(height, width)
    fixed = _field(_resize(infrared, width * fine, height * fine))
    moving, covered = _warp(
        visible, transform, fixed.shape, np.array([fixed.shape[1] / width, fixed.shape[0] / height])
    )
    places, shifts, _ = _match_blocks(fixed, moving, covered, _REACHES[0])
    rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0.0, 0.0
    view = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _uniqueness(fixed[view], moving[view]), _block_turn(places, shifts)


def _block_turn(places: Floats, shifts: Floats) -> float:
    """Degrees by which blocks are turned: the median over all pairs of blocks, which half of them may spoil."""
    first, second = np.triu_indices(len(places), 1)
    apart, moved = places[second] - places[first], shifts[second] - shifts[first]
    slopes = [
        sign * moved[wide, 1 - axis] / apart[wide, axis]
        for axis, sign in ((0, 1.0), (1, -1.0))
        for wide in (np.abs(apart[:, axis]) >= 1.5 * _BLOCK,)
    ]
    found = np.concatenate(slopes)
    return float(np.degrees(np.arctan(np.median(found)))) if len(found) else 0.0


def _filled(grey: Grey) -> Grey:
    """An image without values that were not measured."""
    if np.isfinite(grey).all() and float(grey.max(initial=0)) <= 255 and float(grey.min(initial=0)) >= 0:
        return grey  # 8 bits
    valid = measured(grey)
    rows = np.flatnonzero(valid.any(axis=1))
    if not rows.size:
        return np.zeros_like(grey)
    if valid.all():
        return grey
    filled = np.where(valid, grey, 0).astype(np.float32)
    columns = np.arange(grey.shape[1])
    for row in rows[~valid[rows].all(axis=1)].tolist():
        known = valid[row]
        filled[row, ~known] = np.interp(columns[~known], columns[known], grey[row, known])
    nearest = rows[np.abs(np.arange(grey.shape[0])[:, None] - rows[None]).argmin(axis=1)]
    out: Grey = filled[nearest]
    return out


def _with_turn(answer: Registration, infrared: Grey, visible: Grey) -> Registration:
    """An answer to be trusted, with the turn that fits the two views best where they overlap."""
    if answer.confidence < 0.5:
        return answer
    size = np.array([infrared.shape[1], infrared.shape[0]], float)
    low = np.maximum(answer.transform.apply(np.zeros((1, 2)))[0], 0)
    high = np.minimum(
        answer.transform.apply(np.array([[visible.shape[1], visible.shape[0]]], float))[0], size
    )
    if (high - low).min() < 32:
        return answer
    there = answer.transform.inverse().apply(np.stack([low, high])).ravel().tolist()
    small = _TURN_SIDE / float((high - low).max())
    copy = tuple(max(16, round(length * small)) for length in (high - low).tolist())
    limits = np.array([visible.shape[1], visible.shape[0]] * 2)
    box = tuple(np.clip(there, 0, limits).tolist())
    mine = Image.fromarray(infrared).resize(copy, Image.Resampling.BOX, box=(*low.tolist(), *high.tolist()))
    other = Image.fromarray(visible).resize(copy, Image.Resampling.BOX, box=box)
    turn = _turn(mine, other)
    return replace(answer, rotation=turn) if abs(turn) > abs(answer.rotation) else answer


def _turn(infrared: Image.Image, visible: Image.Image) -> float:
    """Degrees by which one view has to be turned to fit another of its size; 0 unless it then fits clearly better."""
    width, height = infrared.size
    # What is left of an image that is turned by the most, whatever its corners.
    left, top = round(0.11 * width), round(0.11 * height)
    inner = (left, top, width - left, height - top)
    fixed = _field(np.asarray(infrared.crop(inner)))
    shape = _fast_length(fixed.shape[0] * 5 // 4), _fast_length(fixed.shape[1] * 5 // 4)
    spectrum = np.fft.fft2(fixed, shape)
    near = [
        np.arange(-round(0.05 * length), round(0.05 * length) + 1) % whole
        for length, whole in zip(fixed.shape, shape, strict=True)
    ]
    scores = {}
    for angle in sorted({0.0, *_TURNS, *(-angle for angle in _TURNS)}):
        moving = _field(np.asarray(visible.rotate(angle, Image.Resampling.BILINEAR).crop(inner)))
        product = np.fft.ifft2(spectrum * np.conj(np.fft.fft2(moving, shape))).real[np.ix_(*near)]
        scores[angle] = float(product.max()) / max(float(np.sqrt(_energy(moving).sum())), 1e-9)
    best = max(scores, key=lambda angle: scores[angle])
    if abs(best) <= _TURNS[0] or scores[best] < _TURNED * scores[0.0]:
        return 0.0
    return best


class _Candidate(NamedTuple):
    score: float
    transform: PairTransform


def _distance(one: PairTransform, two: PairTransform, size: tuple[int, int]) -> float:
    """Largest distance between the corners of the visible image under two transforms."""
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], list(size)], dtype=np.float64)
    return float(np.abs(one.apply(corners) - two.apply(corners)).max())


# ------------------------------------------------------------------------------------------------------------
# Edge fields


def _resize(grey: Grey, width: float, height: float) -> Grey:
    size = (max(round(width), 16), max(round(height), 16))
    filter_ = Image.Resampling.BOX if size[0] < grey.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(grey).resize(size, filter_))


def _box_mean(values: Floats, side: int) -> Floats:
    radius = side // 2
    for axis in (0, 1):
        margins = [(0, 0), (0, 0)]
        margins[axis] = (radius + 1, radius)
        sums = np.pad(values, margins, mode="edge").cumsum(axis)
        values = np.take(sums, range(side, sums.shape[axis]), axis) - np.take(
            sums, range(sums.shape[axis] - side), axis
        )
        values /= side
    return values


def _field(grey: Grey) -> Field:
    """Direction (doubled) and relative strength of the edges."""
    low, high = np.percentile(grey, (1, 99))
    grey = (grey - np.float32(low)) / np.float32(max(high - low, 1e-6))
    dy, dx = np.gradient(grey)
    doubled = (dx + 1j * dy) ** 2
    power = np.abs(doubled)
    around = np.sqrt(np.maximum(_box_mean(_box_mean(power.astype(np.float64), 9), 9), 0))
    strength = np.sqrt(power)
    relative = np.minimum(strength / (around + 0.004 + 0.3 * around.mean()), 2.0)
    field = doubled / np.maximum(power, 1e-12) * relative
    field[[0, -1]] = 0
    field[:, [0, -1]] = 0
    out: Field = field.astype(np.complex64)
    return out


def _integral(values: Floats) -> Floats:
    out: Floats = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0), axis=1, out=out[1:, 1:])
    return out


def _energy(field: Field) -> Floats:
    return (field.real.astype(np.float64) ** 2) + (field.imag.astype(np.float64) ** 2)


@lru_cache(maxsize=1024)
def _fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


# ------------------------------------------------------------------------------------------------------------
# Search over scales


def _search(
    infrared: Grey, visible: Grey, views: tuple[float, float], min_overlap: float
) -> list[_Candidate]:
    height, width = infrared.shape
    small = _COARSE / max(height, width)
    fixed = _Fixed(_field(_resize(infrared, width * small, height * small)))
    found = []
    for scale_x, scale_y in _scales(infrared.shape, visible.shape, views):
        copy = _resize(visible, visible.shape[1] * scale_x * small, visible.shape[0] * scale_y * small)
        score, x, y = fixed.best_shift(_field(copy), min_overlap)
        transform = PairTransform(
            copy.shape[1] / visible.shape[1] / small,
            copy.shape[0] / visible.shape[0] / small,
            x / small,
            y / small,
        )
        found.append(_Candidate(score, transform))
    found.sort(key=lambda one: -one.score)
    return found


def _scales(
    infrared: tuple[int, ...], visible: tuple[int, ...], views: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    """Pairs of scales to try: the views' widths in all proportions, square pixels or nearly, or one field of view."""
    full_x, full_y = infrared[1] / visible[1], infrared[0] / visible[0]
    aspects = list(_ASPECTS)
    if all(abs(full_y / full_x / aspect - 1) > 0.04 for aspect in aspects):
        aspects.append(full_y / full_x)
    yield full_x, full_y
    steps = int(np.floor(np.log(views[1]) / np.log(_STEP))), int(np.floor(-np.log(views[0]) / np.log(_STEP)))
    for step in range(-steps[1], steps[0] + 1):
        for aspect in aspects:
            yield full_x * _STEP**step, full_x * _STEP**step * aspect


class _Fixed:
    """The infrared field, with what every comparison needs of it."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._integral = _integral(_energy(field))
        self._transforms: dict[tuple[int, int], NDArray[np.complex128]] = {}

    def best_shift(self, moving: Field, min_overlap: float) -> tuple[float, int, int]:
        """Score and place of the best shift of a field.

        The score is the normalised correlation times the root of the overlap: chance reaches great correlations on
        small overlaps.
        """
        fixed = self._field
        shape = (
            _fast_length(fixed.shape[0] + moving.shape[0] - 1),
            _fast_length(fixed.shape[1] + moving.shape[1] - 1),
        )
        if shape not in self._transforms:
            self._transforms[shape] = np.fft.fft2(fixed, shape)
        product = np.fft.ifft2(self._transforms[shape] * np.conj(np.fft.fft2(moving, shape))).real
        spans = [_Spans.of(fixed.shape[axis], moving.shape[axis]) for axis in (0, 1)]
        rows, columns = spans
        product = product[np.ix_(rows.shift % shape[0], columns.shift % shape[1])]
        mine = _sums(self._integral, rows.low, rows.high, columns.low, columns.high)
        other = _sums(
            _integral(_energy(moving)),
            rows.low - rows.shift,
            rows.high - rows.shift,
            columns.low - columns.shift,
            columns.high - columns.shift,
        )
        area = np.outer(rows.high - rows.low, columns.high - columns.low)
        least = min_overlap * min(fixed.size, moving.size)
        score = product / np.sqrt(np.maximum(mine * other, 1e-6)) * np.sqrt(area)
        score[area < least] = -1.0
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        return float(score[row, column]), int(columns.shift[column]), int(rows.shift[row])


class _Spans(NamedTuple):
    """Shifts along one axis, and the overlap of each in the fixed field."""

    shift: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, fixed: int, moving: int) -> _Spans:
        shift = np.arange(-moving + 1, fixed)
        return cls(shift, np.maximum(shift, 0), np.minimum(shift + moving, fixed))


def _sums(
    integral: Floats,
    top: NDArray[np.int64],
    bottom: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> Floats:
    """Sums over all rectangles of some rows and some columns."""
    across: Floats = integral[bottom] - integral[top]
    return across[:, right] - across[:, left]


# ------------------------------------------------------------------------------------------------------------
# Refinement by blocks


@dataclass(frozen=True, slots=True)
class _Refined:
    transform: PairTransform
    correlation: float
    blocks: int
    agreeing: int
    error: float
    rotation: float

    @property
    def evidence(self) -> float:
        """By how much more blocks agree than the best fit to chance makes them, in units of its spread."""
        return float((self.agreeing - _FREE - _CHANCE * self.blocks) / np.sqrt(max(self.blocks, 1)))

    def as_registration(self) -> Registration:
        return Registration(
            self.transform,
            _logistic(4 * (self.evidence - _SURE)),
            self.error,
            self.correlation,
            self.blocks,
            self.agreeing,
            self.rotation,
        )


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def _clarity(infrared: Grey, visible: Grey) -> float:
    """How much better two views correlate as they are than at any shift far away; below 1.11 for other scenes."""
    height, width = infrared.shape
    small = 256 / max(height, width)
    fixed = _field(_resize(infrared, width * small, height * small))
    return _uniqueness(fixed, _field(_resize(visible, fixed.shape[1], fixed.shape[0])))


def _uniqueness(fixed: Field, moving: Field) -> float:
    """How much better two fields of one size correlate as they are than at any shift far away."""
    height, width = fixed.shape
    shape = (_fast_length(height + height // 2), _fast_length(width + width // 2))
    product = np.fft.ifft2(np.fft.fft2(fixed, shape) * np.conj(np.fft.fft2(moving, shape))).real
    rows, columns = np.arange(-(height // 3), height // 3 + 1), np.arange(-(width // 3), width // 3 + 1)
    product = product[np.ix_(rows % shape[0], columns % shape[1])]
    product /= np.sqrt(np.outer(height - np.abs(rows), width - np.abs(columns)))
    away = np.hypot(rows[:, None], columns[None])
    radius = 0.02 * np.hypot(height, width)
    return float(product[away <= radius].max() / max(product[away > 2.5 * radius].max(), 1e-9))


def _refine(infrared: Grey, visible: Grey, start: PairTransform) -> _Refined:
    height, width = infrared.shape
    fine = _FINE / max(height, width)
    fixed_grey = _resize(infrared, width * fine, height * fine)
    fixed = _field(fixed_grey)
    ratio = np.array([fixed.shape[1] / width, fixed.shape[0] / height])
    transform = start
    result = None
    for reach in _REACHES:
        moving, covered = _warp(visible, transform, fixed.shape, ratio)
        places, shifts, peaks = _match_blocks(fixed, moving, covered, reach)
        fitted = _fit(places, shifts, peaks)
        if fitted is None:
            break
        coefficients, good = fitted
        # The fit is p -> a p + b in fine pixels, from where the transform put a point to where it belongs.
        transform = PairTransform(
            transform.scale_x * coefficients[0][0],
            transform.scale_y * coefficients[1][0],
            float((transform.shift_x * ratio[0] * coefficients[0][0] + coefficients[0][1]) / ratio[0]),
            float((transform.shift_y * ratio[1] * coefficients[1][0] + coefficients[1][1]) / ratio[1]),
        )
        result = (places, shifts, coefficients, good)
    if result is None:
        return _Refined(start, 0.0, 0, 0, float("inf"), 0.0)
    places, shifts, coefficients, good = result
    left = (
        places
        + shifts
        - np.stack([places[:, i] * coefficients[i][0] + coefficients[i][1] for i in (0, 1)], 1)
    )
    moving, covered = _warp(visible, transform, fixed.shape, ratio)
    inside = covered & (np.abs(fixed) > 0)
    product = float((fixed * np.conj(moving)).real[inside].sum())
    correlation = product / max(
        float(np.sqrt(_energy(fixed)[inside].sum() * _energy(moving)[inside].sum())), 1e-9
    )
    return _Refined(
        transform,
        correlation,
        len(places),
        int(good.sum()),
        float(np.sqrt((left[good] ** 2).sum(1).mean()) / ratio.mean()) if good.any() else float("inf"),
        _rotation(places[good], (places + shifts)[good]),
    )


def _warp(
    visible: Grey, transform: PairTransform, shape: tuple[int, ...], ratio: Floats
) -> tuple[Field, NDArray[np.bool_]]:
    """The edge field of the visible image where the transform puts it, and the pixels that it covers."""
    height, width = shape
    scale_x, scale_y = transform.scale_x * ratio[0], transform.scale_y * ratio[1]
    left, top = transform.shift_x * ratio[0], transform.shift_y * ratio[1]
    right, bottom = left + visible.shape[1] * scale_x, top + visible.shape[0] * scale_y
    x0, y0 = max(int(np.ceil(left)), 0), max(int(np.ceil(top)), 0)
    x1, y1 = min(int(np.floor(right)), width), min(int(np.floor(bottom)), height)
    field = np.zeros(shape, dtype=np.complex64)
    covered = np.zeros(shape, dtype=np.bool_)
    if x1 - x0 < 16 or y1 - y0 < 16:
        return field, covered
    box = ((x0 - left) / scale_x, (y0 - top) / scale_y, (x1 - left) / scale_x, (y1 - top) / scale_y)
    box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], visible.shape[1]), min(box[3], visible.shape[0]))
    copy = Image.fromarray(visible).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box)
    field[y0:y1, x0:x1] = _field(np.asarray(copy))
    covered[y0:y1, x0:x1] = True
    return field, covered


def _match_blocks(
    fixed: Field, moving: Field, covered: NDArray[np.bool_], reach: int
) -> tuple[Floats, Floats, Floats]:
    """Places of blocks in the moved field, the shifts that fit each best, and the correlation there."""
    height, width = fixed.shape
    energy = _energy(fixed)
    strength, own = _integral(energy), _integral(_energy(moving))
    mask = _integral(covered.astype(np.float64))
    side, window = _BLOCK, _BLOCK + 2 * reach
    tops, lefts = _grid(height, reach), _grid(width, reach)
    places, blocks, windows, norms = [], [], [], []
    least = 0.12 * side * side
    for top in tops:
        for left in lefts:
            square = (top, top + side, left, left + side)
            if _sum(mask, *square) < 0.98 * side * side or _sum(own, *square) < least:
                continue
            around = (top - reach, top + side + reach, left - reach, left + side + reach)
            if _sum(strength, *square) < least:
                continue
            places.append((left + side / 2, top + side / 2))
            blocks.append(moving[square[0] : square[1], square[2] : square[3]])
            windows.append(fixed[around[0] : around[1], around[2] : around[3]])
            norms.append(_sum(own, *square))
    if not places:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
    length = _fast_length(window)
    spectrum = np.fft.fft2(np.stack(windows), (length, length))
    spectrum *= np.conj(np.fft.fft2(np.stack(blocks), (length, length)))
    free = 2 * reach + 1
    product = np.fft.ifft2(spectrum).real[:, :free, :free]
    sums = np.zeros((len(windows), window + 1, window + 1))
    values = np.stack(windows)
    sums[:, 1:, 1:] = (
        (values.real.astype(np.float64) ** 2 + values.imag.astype(np.float64) ** 2).cumsum(1).cumsum(2)
    )
    local = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
    score = product / np.sqrt(np.maximum(local * np.array(norms)[:, None, None], 1e-6))
    flat = score.reshape(len(windows), -1)
    best = flat.argmax(1)
    rows, columns = best // free, best % free
    shifts = np.stack(
        [columns - reach + _vertex(score, rows, columns, 2), rows - reach + _vertex(score, rows, columns, 1)],
        1,
    )
    return np.array(places), shifts, flat[np.arange(len(best)), best]


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


def _grid(length: int, reach: int) -> list[int]:
    last = length - _BLOCK - reach
    if last < reach:
        return []
    count = max(2, round((last - reach) / (_BLOCK / 2)) + 1)
    return sorted({int(position) for position in np.linspace(reach, last, count)})


def _sum(integral: Floats, top: int, bottom: int, left: int, right: int) -> float:
    return float(
        integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    )


def _fit(
    places: Floats, shifts: Floats, peaks: Floats
) -> tuple[tuple[tuple[float, float], tuple[float, float]], NDArray[np.bool_]] | None:
    """Scale and shift for each axis that most blocks agree with, and which do."""
    if len(places) < _MIN_BLOCKS:
        return None
    # Exhaustive over pairs of blocks far enough apart; all are scored at once.
    first, second = np.triu_indices(len(places), 1)
    span = places[second] - places[first]
    apart = np.abs(span).max(1) >= 1.5 * _BLOCK
    first, second, span = first[apart], second[apart], span[apart]
    target = places + shifts
    scales = np.ones((len(first) + 1, 2))
    for axis in (0, 1):
        wide = np.abs(span[:, axis]) >= 1.5 * _BLOCK
        scales[:-1, axis][wide] = (
            (target[second] - target[first])[:, axis] / np.where(wide, span[:, axis], 1)
        )[wide]
    offsets = np.empty_like(scales)
    offsets[:-1] = target[first] - scales[:-1] * places[first]
    offsets[-1] = np.median(shifts, axis=0)
    legal = (np.abs(scales - 1) < 0.12).all(1)
    scales, offsets = scales[legal], offsets[legal]
    weight = np.maximum(peaks, 0.01)
    best, top = 0, -1.0
    for start in range(0, len(scales), 512):
        part = slice(start, start + 512)
        left = target[None] - (scales[part, None] * places[None] + offsets[part, None])
        near = np.maximum(1 - (left**2).sum(2) / (1.5 * _AGREE) ** 2, 0) @ weight
        index = int(near.argmax())
        if near[index] > top:
            best, top = start + index, float(near[index])
    fit = [(float(scales[best, axis]), float(offsets[best, axis])) for axis in (0, 1)]
    good = np.ones(len(places), dtype=np.bool_)
    for _ in range(4):
        left = target - np.stack([places[:, i] * fit[i][0] + fit[i][1] for i in (0, 1)], 1)
        good = (left**2).sum(1) <= _AGREE**2
        if good.sum() < 3:
            break
        for axis in (0, 1):
            fit[axis] = _line(places[good, axis], target[good, axis], weight[good])
    return (fit[0], fit[1]), good


def _line(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    middle_x, middle_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float((weight * (x - middle_x) ** 2).sum())
    if spread < weight.sum() * _BLOCK**2 / 4:
        return 1.0, float(middle_y - middle_x)  # blocks too close together to tell a scale
    slope = float((weight * (x - middle_x) * (y - middle_y)).sum()) / spread
    return slope, float(middle_y - slope * middle_x)


def _rotation(source: Floats, target: Floats) -> float:
    if len(source) < _MIN_BLOCKS:
        return 0.0
    x, y = (source - source.mean(0)).T
    u, v = (target - target.mean(0)).T
    return float(np.degrees(np.arctan2((x * v - y * u).sum(), (x * u + y * v).sum())))
