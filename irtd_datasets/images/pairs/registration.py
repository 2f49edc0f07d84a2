"""Scale and shift between two images of different sensors, found in their edges.

Warm things are bright in one image and dark in the other, so that intensities cannot be compared, and neither can
the sign of a gradient. What both have is where edges are and how they run. Each pixel gets a complex number, the
gradient's direction doubled (edges that differ in sign only become equal) times its strength relative to the
neighbourhood. The correlation of two such fields, normalised over the overlap, is searched over scales by FFT on tiny
copies; a grid of blocks is then matched one by one on larger copies, a robust fit of their shifts refines scale and
shift, and the share of blocks that agree says how sure the result is. Where no result is, the search is repeated on
copies of more pixels.

NumPy and Pillow do all of it. The thresholds were set on real pairs, see ``benchmarks/pairs_error.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from irtd_datasets.images.pairs.blocks import FINE, HALF, Fixed, Refined, block_turn, refine, warp
from irtd_datasets.images.pairs.fields import Copies, correlated, edge_field, fast_length, integral
from irtd_datasets.images.pairs.transform import PairTransform
from irtd_datasets.images.values import measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Grey: TypeAlias = NDArray[np.float32]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Registration", "elsewhere", "filled", "register", "registered_near"]

_ASPECTS = (0.9, 1.11)  # vertical to horizontal scale: rectified and resized pairs differ by a tenth
_WIDENED = 4  # places of a search at which other aspects are tried, too
_STARTS = 3  # places of a search that are refined
_TRIED = 0.01  # of the infrared diagonal: nearer starts lead to the same place
_APART = 0.03  # of the infrared diagonal: what lies nearer is one place
_SURE = 1.4  # evidence; two different scenes reached 1.13 at most, right results have 1.6 to 9
_CERTAIN = 3.0  # evidence with which no other place is looked for
_TURN_SIDE = 160  # pixels of the longer side while turns are tried
_TURNS = (1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0)  # degrees, to both sides
_SMALL_TURN = 2.0  # degrees; of such turns, blocks tell more
_TURNED = 1.1  # how much better turned views correlate; 1 to 1.02 beside the best of aligned pairs
_UNIQUE = 1.4  # clarity of any answer; other scenes and lattices of one period reached 1.2, right answers have 1.6 on
_CLEARLY = 1.5  # clarity below which a smaller turn is enough to doubt
_DOUBTED_TURN = 0.9  # degrees
_CLEAR = 1.3  # clarity; two different scenes reached 1.10 at most, aligned pairs have 1.5 to 4.6


class _Grain(NamedTuple):
    """How finely scales are searched.

    Attributes:
        side: Pixels of the longer infrared side.
        step: Between neighbouring scales: moves the corners of such copies by two pixels.
    """

    side: int
    step: float


_QUICK = _Grain(64, 1.07)
_SLOW = _Grain(128, 1.05)
_SMALL_VIEW = 1.25  # of the infrared width: views up to it have too few pixels in the quick search at times


@dataclass(frozen=True, slots=True)
class Registration:
    """What the edges of two images say about their alignment.

    Attributes:
        transform: From visible to infrared pixels.
        confidence: 0 to 1; below 0.5 the result is a guess. On the real pairs of ``benchmarks/pairs_error.py`` no pair
            of two different scenes reaches 0.5.
        error: Expected distance in infrared pixels between the two views at a place in the overlap, root mean square
            over the blocks that agree.
        blocks: Blocks with enough edges in both.
        agreeing: How many of them agree with the transform.
        rotation: Degrees by which the views are turned against each other; 0 where none of `_TURNS` fits them clearly
            better than none.
    """

    transform: PairTransform
    confidence: float
    error: float
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
            are is asked first: it takes a part of the search, and weaker evidence is enough for it.

    Returns:
        The best transform, whether or not it is to be trusted: look at ``confidence``.
    """
    pair = _Pair.of(infrared, visible)
    whole = PairTransform.between_sizes(pair.size, (pair.infrared.width, pair.infrared.height))
    near = pair.refined(whole)
    if near.evidence >= _SURE and pair.distance(near.transform, whole) <= same_view:
        return pair.verified(_registration(near))
    if near.evidence < _SURE and (clarity := _clarity(pair)) >= _CLEAR:
        error = min(near.error, same_view * pair.diagonal)
        confidence = _logistic(6 * (clarity - _CLEAR))
        answer = Registration(whole, confidence, error, near.blocks, near.agreeing, near.rotation)
        return pair.verified(answer)
    best, tried = near, [whole]
    for grain in (_QUICK, _SLOW):
        if best.evidence >= _CERTAIN:
            break
        for start in pair.places(_search(pair, grain, views, min_overlap), _STARTS):
            if all(pair.distance(start, other) > _TRIED for other in tried):
                tried.append(start)
                best = max(best, pair.refined(start), key=lambda one: one.evidence)
            if best.evidence >= _CERTAIN:
                break
        if best.evidence >= _SURE:
            break
    return pair.verified(_registration(best))


def registered_near(infrared: Grey, visible: Grey, start: PairTransform) -> Registration:
    """Refine and verify a transform between two grey images without missing values, as `register` does."""
    pair = _Pair.of(infrared, visible)
    return pair.verified(_registration(pair.refined(start)))


def _registration(found: Refined) -> Registration:
    confidence = _logistic(4 * (found.evidence - _SURE))
    return Registration(
        found.transform, confidence, found.error, found.blocks, found.agreeing, found.rotation
    )


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two images, with what every step needs of them.

    Attributes:
        infrared: One image.
        visible: The other.
        fixed: The infrared field, small and large.
    """

    infrared: Copies
    visible: Copies
    fixed: tuple[Fixed, Fixed]

    @classmethod
    def of(cls, infrared: Grey, visible: Grey) -> _Pair:
        one, other = Copies(filled(infrared)), Copies(filled(visible))
        return cls(one, other, (Fixed.of(one, HALF), Fixed.of(one, FINE)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the visible image."""
        return self.visible.width, self.visible.height

    @property
    def diagonal(self) -> float:
        """Of the infrared image, in pixels."""
        return float(np.hypot(self.infrared.width, self.infrared.height))

    def distance(self, one: PairTransform, two: PairTransform) -> float:
        """Largest distance between the corners of the visible image under two transforms, in infrared diagonals."""
        corners = np.array([[0, 0, *self.size]], dtype=np.float64)
        return float(np.abs(one.apply(corners) - two.apply(corners)).max()) / self.diagonal

    def places(self, found: Sequence[_Candidate], most: int) -> list[PairTransform]:
        """The best transforms of a search that are different places: after refinement, another may be the best."""
        kept: list[PairTransform] = []
        for one in sorted(found, key=lambda one: -one.score):
            if len(kept) < most and all(self.distance(one.transform, other) > _APART for other in kept):
                kept.append(one.transform)
        return kept

    def refined(self, start: PairTransform) -> Refined:
        """A transform, refined by blocks."""
        return refine(self.fixed, self.visible, start)

    def verified(self, answer: Registration) -> Registration:
        """An answer to be trusted, looked at once more: whether another place fits as well, and how it is turned.

        Blocks that agree with a fit tell nothing of a turn, as those that do not are left out of it; all of them, with
        room to move, do. And two lattices of one period agree wherever their lines meet, so what counts is how much
        better they do where they are than elsewhere.
        """
        if answer.confidence < 0.5:
            return answer
        clarity, turn = self._doubts(answer.transform)
        if clarity < _UNIQUE or (clarity < _CLEARLY and abs(turn) > _DOUBTED_TURN):
            return replace(answer, confidence=min(answer.confidence, 0.49))
        turns = (answer.rotation, self._turn(answer.transform), turn)
        return replace(answer, rotation=max(turns, key=abs))

    def _doubts(self, transform: PairTransform) -> tuple[float, float]:
        """How much better two views fit as they were put than elsewhere, and degrees by which blocks are turned."""
        fine = self.fixed[1]
        moving, covered = warp(self.visible, transform, fine)
        left, top, right, bottom = covered
        view = np.s_[:, top:bottom, left:right]
        return _uniqueness(fine.field.planes[view], moving.planes[view]), block_turn(fine, moving, covered)

    def _turn(self, transform: PairTransform) -> float:
        """Degrees by which one view has to be turned to fit the other best where they overlap."""
        size = np.array([self.infrared.width, self.infrared.height], float)
        there = transform.apply(np.array([0.0, 0.0, *self.size]))
        low, high = np.maximum(there[:2], 0), np.minimum(there[2:], size)
        if (high - low).min() < 32:
            return 0.0
        width, height = ((high - low) * _TURN_SIDE / (high - low).max()).tolist()
        box = np.clip(transform.inverse().apply(np.concatenate([low, high])), 0, self.size * 2).tolist()
        mine = self.infrared.at(width, height, (*low.tolist(), *high.tolist()))
        return _best_turn(mine, self.visible.at(width, height, tuple(box)))


def filled(grey: Grey) -> Grey:
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


def _best_turn(infrared: Grey, visible: Grey) -> float:
    """Degrees by which one view has to be turned to fit another of its size; 0 unless it then fits clearly better."""
    height, width = infrared.shape
    # What is left of an image that is turned by the most, whatever its corners.
    left, top = round(0.11 * width), round(0.11 * height)
    inner = np.s_[top : height - top, left : width - left]
    fixed = edge_field(infrared[inner])
    shape = fast_length(fixed.shape[0] * 17 // 16), fast_length(fixed.shape[1] * 17 // 16)
    spectrum = np.fft.rfft2(fixed.planes, shape)
    near = [np.arange(-round(0.05 * length), round(0.05 * length) + 1) for length in fixed.shape]
    image = Image.fromarray(visible)

    def score(angle: float) -> float:
        turned = np.asarray(image.rotate(angle, Image.Resampling.BILINEAR))
        moving = edge_field(turned[inner])
        product = correlated(spectrum, moving.planes, shape, near[0], near[1])
        return float(product.max()) / max(float(np.sqrt(moving.energy.sum())), 1e-9)

    scores = {angle: score(angle) for angle in (0.0, *_TURNS, *(-angle for angle in _TURNS))}
    best = max(scores, key=lambda angle: scores[angle])
    return best if abs(best) > _SMALL_TURN and scores[best] >= _TURNED * scores[0.0] else 0.0


# ------------------------------------------------------------------------------------------------------------
# Search over scales


class _Candidate(NamedTuple):
    score: float
    transform: PairTransform


def _search(pair: _Pair, grain: _Grain, views: tuple[float, float], min_overlap: float) -> list[_Candidate]:
    """The best shift for each pair of scales, with its score.

    The quick one tries square pixels and the proportion of the files first, and others where these fit best.
    """
    fixed = _Shifts(pair, grain.side, min_overlap)
    full_x = pair.infrared.width / pair.visible.width
    full = pair.infrared.height / pair.visible.height / full_x  # the proportion with one field of view
    plain = (1.0,) if abs(full - 1) < 0.04 else (1.0, full)
    others = tuple(aspect for aspect in _ASPECTS if abs(full / aspect - 1) >= 0.04)
    most = views[1] if grain is _QUICK else min(views[1], _SMALL_VIEW)
    widths = [full_x * scale for scale in _scales(grain.step, (views[0], most))]
    first = plain if grain is _QUICK else plain + others
    found = [fixed.best(scale, scale * aspect) for scale in widths for aspect in first]
    if grain is _QUICK:
        best = sorted(found, key=lambda one: -one.score)[:_WIDENED]
        near = {one.transform.scale_x for one in best}
        found += [fixed.best(scale, scale * aspect) for scale in sorted(near) for aspect in others]
    return found


def _scales(step: float, views: tuple[float, float]) -> Iterator[float]:
    """Widths of the visible view relative to the infrared one, in equal steps from one to both sides."""
    least, most = np.log(views) / np.log(step)
    yield from (step**power for power in range(int(np.ceil(least)), int(np.floor(most)) + 1))


class _Shifts:
    """The infrared field in a size, against which visible ones are shifted."""

    def __init__(self, pair: _Pair, side: int, min_overlap: float) -> None:
        self._pair = pair
        self._least = min_overlap
        self._small = side / max(pair.infrared.height, pair.infrared.width)
        self._field = edge_field(
            pair.infrared.at(pair.infrared.width * self._small, pair.infrared.height * self._small)
        )
        self._integral = integral(self._field.energy)
        self._spectra: dict[tuple[int, int], NDArray[np.complexfloating]] = {}

    def best(self, scale_x: float, scale_y: float) -> _Candidate:
        """Score and place of the best shift at a scale.

        The score is the normalised correlation times the root of the overlap: chance reaches great correlations on
        small overlaps.
        """
        fixed, visible = self._field, self._pair.visible
        moving = edge_field(
            visible.at(visible.width * scale_x * self._small, visible.height * scale_y * self._small)
        )
        area = self._least * min(fixed.energy.size, moving.energy.size)
        sides = list(zip(fixed.shape, moving.shape, strict=True))
        # An overlap that is large enough is so long along each axis, even where it is as wide as the smaller image.
        least = [int(area / min(sides[1 - axis])) for axis in (0, 1)]
        shape = fast_length(sum(sides[0]) - least[0]), fast_length(sum(sides[1]) - least[1])
        if shape not in self._spectra:
            self._spectra[shape] = np.fft.rfft2(fixed.planes, shape)
        rows, columns = (_Spans.of(*both, short) for both, short in zip(sides, least, strict=True))
        product = correlated(self._spectra[shape], moving.planes, shape, rows.shift, columns.shift)
        mine = _sums(self._integral, rows.low, rows.high, columns.low, columns.high)
        other = _sums(
            integral(moving.energy),
            rows.low - rows.shift,
            rows.high - rows.shift,
            columns.low - columns.shift,
            columns.high - columns.shift,
        )
        overlap = np.outer(rows.high - rows.low, columns.high - columns.low)
        score = product * np.sqrt(overlap / np.maximum(mine * other, 1e-6))
        score[overlap < area] = -1.0
        row, column = divmod(int(score.argmax()), score.shape[1])
        transform = PairTransform(
            moving.shape[1] / visible.width / self._small,
            moving.shape[0] / visible.height / self._small,
            float(columns.shift[column]) / self._small,
            float(rows.shift[row]) / self._small,
        )
        return _Candidate(float(score[row, column]), transform)


class _Spans(NamedTuple):
    """Shifts along one axis, and the overlap of each in the fixed field."""

    shift: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, fixed: int, moving: int, least: int) -> _Spans:
        shift = np.arange(least - moving, fixed - least + 1)
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
# How clear an answer is


def _clarity(pair: _Pair) -> float:
    """How much better two views correlate as they are than at any shift far away; below 1.11 for other scenes."""
    small = 256 / max(pair.infrared.height, pair.infrared.width)
    fixed = edge_field(pair.infrared.at(pair.infrared.width * small, pair.infrared.height * small))
    moving = edge_field(pair.visible.at(fixed.shape[1], fixed.shape[0]))
    return _uniqueness(fixed.planes, moving.planes)


def _uniqueness(fixed: Grey, moving: Grey) -> float:
    """How much better the planes of two fields of one size correlate as they are than at any shift far away."""
    return elsewhere(fixed, moving)[0] if fixed.size else 0.0


def elsewhere(fixed: Grey, moving: Grey) -> tuple[float, float, tuple[int, int]]:
    """How well the planes of two fields of one size correlate as they are, and at the best shift far away.

    Returns:
        How much better they do as they are; how much better they do at that shift than at all others far away, in
        standard deviations; and by how much the moving one has to go to the right and down.
    """
    height, width = fixed.shape[1:]
    shape = (fast_length(height + height // 3), fast_length(width + width // 3))
    rows, columns = np.arange(-(height // 3), height // 3 + 1), np.arange(-(width // 3), width // 3 + 1)
    product = correlated(np.fft.rfft2(fixed, shape), moving, shape, rows, columns)
    product /= np.sqrt(np.outer(height - np.abs(rows), width - np.abs(columns)))
    away = np.hypot(rows[:, None], columns[None])
    radius = 0.02 * np.hypot(height, width)
    here, far = float(product[away <= radius].max()), np.where(away > 2.5 * radius, product, 0)
    row, column = divmod(int(far.argmax()), far.shape[1])
    best, spread = float(far[row, column]), float(far[away > 2.5 * radius].std())
    return here / max(best, 1e-9), best / max(spread, 1e-9), (int(columns[column]), int(rows[row]))
