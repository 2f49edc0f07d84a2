"""Scale and shift between two images, from the objects that are labelled in both.

Every pair of objects of one class, and every two such pairs, propose a transform; the proposal under which most objects
of the one image fall on objects of their class in the other wins. It is fitted again to all objects that agree, and
the simplest model that the labels do not contradict is taken: the same view, a shift, one scale for both axes, a scale
for each axis. The search is exhaustive, so that the same labels always give the same answer, and wrong or missing
matches only have to be outvoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from irtd_datasets.images.pairs.transform import PairTransform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Integers: TypeAlias = NDArray[np.int64]
    Size: TypeAlias = tuple[int, int]

__all__ = ["Match", "Objects", "find_turn", "match_objects"]

_EDGE_NOISE = 0.05  # of a box's side: how far the edges of one object's labels in two images differ
_MOST_PAIRS = 20_000  # of candidates, the farthest apart first: they tell a scale best
_MOST_PROPOSALS = 400  # of those that are plausible
_MOST_TURNED = 150  # candidates that a turn is looked for with
_COMPLEX = np.array([1, 1j])  # a place as one number, of which a turn is the argument
_SIZES_AGREE = 0.35  # spread of the logarithm of the ratio of two boxes' sides
_SCALES = (0.2, 5.0)  # least and greatest width of the visible view relative to the infrared one


_FREE = {"same view": 0, "shift": 2, "scale": 3, "scale per axis": 4}


class Objects(NamedTuple):
    """Objects of one image.

    Attributes:
        boxes: Shape (N, 4), pixels, x_min, y_min, x_max, y_max; a point has no extent.
        classes: N numbers; equal ones may be the same object in the two images.
        sized: Whether the boxes have an extent, which tells a scale.
    """

    boxes: Floats
    classes: Integers
    sized: bool


@dataclass(frozen=True, slots=True)
class Match:
    """What the labels of two images say about their alignment.

    Attributes:
        transform: From visible to infrared pixels.
        model: ``same view``, ``shift``, ``scale`` or ``scale per axis``.
        pairs: Which infrared object is which visible one, by index.
        residual: Root mean square distance of matched edges in infrared pixels.
        rival: Score of the best different transform, relative to this one's.
    """

    transform: PairTransform
    model: str
    pairs: tuple[tuple[int, int], ...]
    residual: float
    rival: float
    _covariance: tuple[Floats, Floats]

    def error_at(self, points: Floats) -> Floats:
        """Expected distance in infrared pixels by which a place is off, for points of the visible image, (N, 2)."""
        variance = np.zeros(len(points))
        for axis in (0, 1):
            row = np.stack([points[:, axis], np.ones(len(points))], 1)
            variance += np.einsum("ni,ij,nj->n", row, self._covariance[axis], row)
        return np.sqrt(np.maximum(variance, 0))


def match_objects(
    infrared: Objects, visible: Objects, infrared_size: Size, visible_size: Size, tolerance: float
) -> Match | None:
    """Find the transform under which most objects of the two images coincide.

    Args:
        infrared: Objects of the infrared image.
        visible: Objects of the visible image.
        infrared_size: Width and height in pixels.
        visible_size: Width and height in pixels.
        tolerance: Infrared pixels by which centres may differ beyond what their size allows.

    Returns:
        The best match; None where no two objects have one class, or no legal transform brings two together.
    """
    candidates = np.argwhere(infrared.classes[:, None] == visible.classes[None])
    if not len(candidates):
        return None
    whole = PairTransform.between_sizes(visible_size, infrared_size)
    proposals = _proposals(
        infrared, visible, candidates, whole, tolerance, same_size=infrared_size == visible_size
    )
    limits = np.array(_SCALES)
    relative = proposals[:, :2] / [whole.scale_x, whole.scale_y]
    proposals = proposals[((relative > limits[0]) & (relative < limits[1])).all(1)]
    likeness = _Likeness.of(infrared, visible, tolerance)
    scores = _scores(proposals, likeness)
    order = np.argsort(-scores, kind="stable")
    setting = _Setting(infrared, visible, infrared_size, visible_size, whole, tolerance, likeness)
    best = setting.settle(proposals[order[0]])
    if best is None:
        return None
    # The best proposal that means something else: it must be far from this one where there are objects to tell.
    places = np.concatenate([visible.boxes[:, :2], visible.boxes[:, 2:]])
    here = best.transform.apply(places)
    apart = 4 * tolerance
    rival = 0.0
    others = order[1:200][scores[order[1:200]] > 0.5 * best.score]
    moved = places[None] * proposals[others, None, :2] + proposals[others, None, 2:]
    far = ((moved - here) ** 2).sum(2).max(1) > apart**2
    for tried, index in enumerate(others[far], 1):
        other = setting.settle(proposals[index])
        if other is not None and np.hypot(*(other.transform.apply(places) - here).T).max() > apart:
            if other.score > best.score:
                best, other = other, best
                here = best.transform.apply(places)
            rival = max(rival, other.score / best.score)
        if rival > 0.95 or tried == 3:
            break
    return Match(best.transform, best.model, best.pairs, best.residual, rival, best.covariance)


def find_turn(
    infrared: Objects, visible: Objects, match: Match, tolerance: float, least: float = 3.0
) -> float:
    """Degrees by which the labels say that the views are turned against each other; 0 where they do not say so.

    A scale and a shift for each axis fit two turned views along a stripe only. Views are called turned when the centres
    that match are turned for certain, or when a turn brings clearly more objects together than the match.

    Args:
        infrared: Objects of the infrared image.
        visible: Objects of the visible image.
        match: Their best match without a turn.
        tolerance: Infrared pixels by which centres may differ beyond what their size allows.
        least: Degrees from which on a turn is told.
    """
    there = _centres(infrared.boxes) @ _COMPLEX
    index = np.array(match.pairs)
    if len(index) >= 4:
        t, s = there[index[:, 0]], (match.transform.apply(_centres(visible.boxes)) @ _COMPLEX)[index[:, 1]]
        t, s = t - t.mean(), s - s.mean()
        square = max(float((np.abs(s) ** 2).sum()), 1e-9)
        ratio = (t * s.conj()).sum() / square
        unsure = np.sqrt((np.abs(t - ratio * s) ** 2).sum() / (2 * len(index) - 4) / square)
        degrees = float(np.degrees(np.angle(ratio)))
        if abs(degrees) - 2 * float(np.degrees(unsure)) > least:
            return degrees
    here = _centres(visible.boxes) @ _COMPLEX  # the match has distorted scales where there is a turn
    enough = max(5, len(index) + max(2, len(index) // 3))
    candidates = np.argwhere(infrared.classes[:, None] == visible.classes[None])[:_MOST_TURNED]
    if min(len(there), len(here), len(candidates)) < enough:
        return 0.0
    one, two = np.triu_indices(len(candidates), 1)
    one, two = (side[(candidates[one] != candidates[two]).all(1)] for side in (one, two))
    t, s = there[candidates[:, 0]], here[candidates[:, 1]]
    far = np.argsort(-np.abs(s[two] - s[one]), kind="stable")[:_MOST_PROPOSALS]
    far = far[(s[two[far]] != s[one[far]]) & (np.abs(t[two[far]] - t[one[far]]) > 4 * tolerance)]
    one, two = one[far], two[far]
    ratio = (t[two] - t[one]) / (s[two] - s[one])
    degrees = np.degrees(np.angle(ratio))
    # Half a right angle is no pair of views.
    legal = (np.abs(ratio) > _SCALES[0]) & (np.abs(ratio) < _SCALES[1])
    legal &= (np.abs(degrees) > least) & (np.abs(degrees) < 45)
    one, ratio, degrees = one[legal], ratio[legal], degrees[legal]
    hit = np.abs(ratio[:, None] * (s[None] - s[one][:, None]) - (t[None] - t[one][:, None])) < tolerance
    if not len(hit):
        return 0.0
    met = np.minimum(
        *(
            sum((hit[:, candidates[:, side] == number].any(1)).astype(int) for number in range(count))
            for side, count in ((0, len(there)), (1, len(here)))
        )
    )
    best = int(met.argmax())
    return float(degrees[best]) if met[best] >= enough else 0.0


def _proposals(
    infrared: Objects,
    visible: Objects,
    candidates: Integers,
    whole: PairTransform,
    tolerance: float,
    *,
    same_size: bool,
) -> Floats:
    """Rows of scale_x, scale_y, shift_x, shift_y."""
    first = infrared.boxes[candidates[:, 0]]
    second = visible.boxes[candidates[:, 1]]
    bases = [(whole.scale_x, whole.scale_y)]
    if not same_size:
        bases.append((1.0, 1.0))
    rows = [np.array([[*base, 0.0, 0.0] for base in bases])]
    rows.extend(
        _with_shift(np.broadcast_to(np.array(base), (len(first), 2)), first, second) for base in bases
    )
    if infrared.sized and visible.sized:
        rows.extend(_from_edges(first[:, None], second[:, None]))
    one, two = np.triu_indices(len(candidates), 1)
    legal = (candidates[one] != candidates[two]).all(1)
    one, two = one[legal], two[legal]
    span = np.abs(_centres(second[two]) - _centres(second[one])).max(1)
    if len(one) > _MOST_PAIRS:
        keep = np.argsort(-span, kind="stable")[:_MOST_PAIRS]
        one, two, span = one[keep], two[keep], span[keep]
    wide = span > 0
    one, two = one[wide], two[wide]
    if len(one):
        targets, sources = np.stack([first[one], first[two]], 1), np.stack([second[one], second[two]], 1)
        rows.extend(
            proposals[_plausible(proposals, targets, sources, tolerance)][:_MOST_PROPOSALS]
            for proposals in _from_edges(targets, sources)
        )
    return np.concatenate(rows)


def _plausible(proposals: Floats, targets: Floats, sources: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Whether a transform brings the two objects together that it was made of; most wrong ones do not."""
    scale, shift = _twice(proposals[:, None, :2]), _twice(proposals[:, None, 2:])
    left = np.abs(sources * scale + shift - targets)
    sides = _twice(targets[..., 2:] - targets[..., :2])
    fits: NDArray[np.bool_] = np.all(left <= tolerance + 0.25 * sides, axis=(1, 2))
    fits &= np.all(proposals[:, :2] > 0, axis=1)
    return fits


def _twice(values: Floats) -> Floats:
    """What belongs to x and y, for both corners; `numpy.tile` takes ten times as long for so few numbers."""
    return np.concatenate([values, values], axis=-1)


def _centres(boxes: Floats) -> Floats:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _with_shift(scales: Floats, first: Floats, second: Floats) -> Floats:
    return np.concatenate([scales, _centres(first) - _centres(second) * scales], axis=1)


def _from_edges(first: Floats, second: Floats) -> Iterator[Floats]:
    """Least squares over the edges of K objects, shape (P, K, 4): one scale, and a scale for each axis."""
    count = first.shape[1] * 2
    target = first.reshape(len(first), count, 2)
    source = second.reshape(len(second), count, 2)
    middle_t, middle_s = target.sum(1) / count, source.sum(1) / count
    t, s = target - middle_t[:, None], source - middle_s[:, None]
    product, square = (t * s).sum(1), (s * s).sum(1)
    common = product.sum(1) / np.maximum(square.sum(1), 1e-9)
    for scales in (np.stack([common, common], 1), product / np.maximum(square, 1e-9)):
        yield np.concatenate([scales, middle_t - middle_s * scales], axis=1)


class _Likeness(NamedTuple):
    """How well each visible object lies on each infrared one; what does not depend on the transform, once."""

    here: Floats
    there: Floats
    near: Floats
    lengths: Floats | None
    others: Floats
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, infrared: Objects, visible: Objects, tolerance: float) -> _Likeness:
        sides, others = (objects.boxes[:, 2:] - objects.boxes[:, :2] for objects in (infrared, visible))
        reach = tolerance + 0.25 * np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 0))
        sized = infrared.sized and visible.sized
        return cls(
            _centres(visible.boxes)[None],
            _centres(infrared.boxes)[None, :, None],
            (reach**2)[None, :, None],
            np.log(np.maximum(sides, 1e-6))[None, :, None] if sized else None,
            np.log(np.maximum(others, 1e-6))[None] if sized else others,
            (infrared.classes[:, None] == visible.classes[None])[None],
        )

    def under(self, proposals: Floats) -> Floats:
        """0 to 1, shape (P, N, M)."""
        scale, shift = proposals[:, None, :2], proposals[:, None, 2:]
        moved = (self.here * scale + shift)[:, None] - self.there
        like = np.maximum(1 - (moved[..., 0] ** 2 + moved[..., 1] ** 2) / self.near, 0)
        if self.lengths is not None:
            ratio = (self.others + np.log(scale))[:, None] - self.lengths
            like *= np.exp((ratio[..., 0] ** 2 + ratio[..., 1] ** 2) * (-1 / (4 * _SIZES_AGREE**2)))
        like *= self.same
        return like


def _one_to_one(like: Floats) -> Floats:
    """Only what is best for both sides; ties go to the first."""
    best = (like.argmax(2)[:, :, None] == np.arange(like.shape[2])) & (
        like.argmax(1)[:, None, :] == np.arange(like.shape[1])[:, None]
    )
    out: Floats = like * best
    return out


def _scores(proposals: Floats, likeness: _Likeness) -> Floats:
    step = max(1, 200_000 // max(1, likeness.same.size))
    parts = [
        _one_to_one(likeness.under(proposals[start : start + step])).sum((1, 2))
        for start in range(0, len(proposals), step)
    ]
    return np.concatenate(parts)


class _Settled(NamedTuple):
    transform: PairTransform
    model: str
    pairs: tuple[tuple[int, int], ...]
    residual: float
    score: float
    covariance: tuple[Floats, Floats]


class _Setting(NamedTuple):
    """The two images, for fitting one proposal after another."""

    infrared: Objects
    visible: Objects
    infrared_size: Size
    visible_size: Size
    whole: PairTransform
    tolerance: float
    likeness: _Likeness

    def settle(self, proposal: Floats) -> _Settled | None:
        """Fit a proposal to the objects that agree with it until they stay the same."""
        transform = PairTransform(*(float(value) for value in proposal))
        pairs: tuple[tuple[int, int], ...] = ()
        settled = None
        for _ in range(6):
            like = self._like(transform)
            found = tuple((int(i), int(j)) for i, j in np.argwhere(like > 0.05))
            if not found or found == pairs:
                break
            pairs = found
            settled = self._fit(pairs)
            transform = settled.transform
        else:
            like = self._like(transform)
        if settled is None:
            return None
        # Of two explanations of the same labels the simpler one is the likelier.
        free = _FREE[settled.model]
        return settled._replace(score=float(like.sum()) - 0.1 * free)

    def _like(self, transform: PairTransform) -> Floats:
        row = np.array([[transform.scale_x, transform.scale_y, transform.shift_x, transform.shift_y]])
        like: Floats = _one_to_one(self.likeness.under(row))[0]
        return like

    def _fit(self, pairs: Sequence[tuple[int, int]]) -> _Settled:
        index = np.array(pairs)
        target = self.infrared.boxes[index[:, 0]]
        source = self.visible.boxes[index[:, 1]]
        sized = self.infrared.sized and self.visible.sized
        side = _twice(target[:, 2:] - target[:, :2]) if sized else np.zeros_like(target)
        if not sized:  # a point's centre says all
            target, source = _centres(target), _centres(source)
            side = side[:, :2]
        noise = (
            np.hypot(1.0, _EDGE_NOISE * side) if sized else np.full_like(side, max(1.0, self.tolerance / 4))
        )
        axes = [
            _Axis(source[:, axis::2].ravel(), target[:, axis::2].ravel(), noise[:, axis::2].ravel())
            for axis in (0, 1)
        ]
        # A wrong match that slipped in pulls at the fit: Huber's weights hold it back.
        moments = [axis.moments(1 / axis.noise**2) for axis in axes]
        chosen = self._chosen(moments)
        for _ in range(3):
            weights, same = [], True
            for axis, scale, shift in zip(axes, chosen.scales, chosen.shifts, strict=True):
                far = np.abs(axis.target - axis.source * scale - shift) / axis.noise
                same = same and bool(far.max() <= _HUBER)
                weights.append(np.minimum(1, _HUBER / np.maximum(far, 1e-9)) / axis.noise**2)
            if same:
                break
            chosen = self._chosen([axis.moments(weight) for axis, weight in zip(axes, weights, strict=True)])
        squares = sum(
            float(np.mean((axis.target - axis.source * scale - shift) ** 2))
            for axis, scale, shift in zip(axes, chosen.scales, chosen.shifts, strict=True)
        )
        transform = PairTransform(*chosen.scales, *chosen.shifts)
        return _Settled(transform, chosen.name, tuple(pairs), float(np.sqrt(squares)), 0.0, chosen.covariance)

    def _chosen(self, moments: list[_Moments]) -> _Model:
        """The model with the least Bayesian information criterion; noise is at least what labels have."""
        base = self.whole.scale_x, self.whole.scale_y
        models = [_model("same view", moments, base, (0.0, 0.0)), _shifted(moments, base)]
        if self.infrared_size != self.visible_size:
            models.append(_shifted(moments, (1.0, 1.0)))
        squares = [axis.ss for axis in moments]
        if sum(squares) > 1e-9:
            scale = sum(axis.st for axis in moments) / sum(squares)
            models.append(_scaled("scale", moments, (scale, scale), sum(squares)))
        if min(squares) > 1e-9:
            scales = moments[0].st / moments[0].ss, moments[1].st / moments[1].ss
            models.append(_scaled("scale per axis", moments, scales, None))
        models = [model for model in models if min(model.scales) > 0]
        full, count = models[-1], sum(axis.edges for axis in moments)
        freedom = count - _FREE[full.name]
        spread = max(1.0, full.loss / freedom) if freedom > 0 else 1.0
        best = min(models, key=lambda model: model.loss / spread + _FREE[model.name] * np.log(count))
        return best._replace(covariance=(best.covariance[0] * spread, best.covariance[1] * spread))


_HUBER = 2.0  # noise widths beyond which an edge counts less


class _Axis(NamedTuple):
    """Edges along one axis in both images, and the noise of their labels."""

    source: Floats
    target: Floats
    noise: Floats

    def moments(self, weights: Floats) -> _Moments:
        total = float(weights.sum())
        middle_s, middle_t = float(weights @ self.source) / total, float(weights @ self.target) / total
        s, t = self.source - middle_s, self.target - middle_t
        weighted = weights * s
        return _Moments(
            len(s),
            total,
            middle_s,
            middle_t,
            float(weighted @ s),
            float(weighted @ t),
            float((weights * t) @ t),
        )


class _Moments(NamedTuple):
    """Weighted sums over the edges of one axis, about their means: all that the models need."""

    edges: int
    weight: float
    middle_s: float
    middle_t: float
    ss: float
    st: float
    tt: float

    def loss(self, scale: float, shift: float) -> float:
        off = self.middle_t - self.middle_s * scale - shift
        return max(0.0, self.tt - 2 * scale * self.st + scale * scale * self.ss) + self.weight * off * off


class _Model(NamedTuple):
    name: str
    scales: tuple[float, float]
    shifts: tuple[float, float]
    loss: float
    covariance: tuple[Floats, Floats]


_NO_SPREAD = np.zeros((2, 2))


def _model(
    name: str, moments: list[_Moments], scales: tuple[float, float], shifts: tuple[float, float]
) -> _Model:
    loss = moments[0].loss(scales[0], shifts[0]) + moments[1].loss(scales[1], shifts[1])
    return _Model(name, scales, shifts, loss, (_NO_SPREAD, _NO_SPREAD))


def _best_shifts(moments: list[_Moments], scales: tuple[float, float]) -> tuple[float, float]:
    x, y = moments
    return x.middle_t - x.middle_s * scales[0], y.middle_t - y.middle_s * scales[1]


def _shifted(moments: list[_Moments], scales: tuple[float, float]) -> _Model:
    model = _model("shift", moments, scales, _best_shifts(moments, scales))
    spreads = [np.array([[0.0, 0.0], [0.0, 1 / axis.weight]]) for axis in moments]
    return model._replace(covariance=(spreads[0], spreads[1]))


def _scaled(name: str, moments: list[_Moments], scales: tuple[float, float], common: float | None) -> _Model:
    model = _model(name, moments, scales, _best_shifts(moments, scales))
    spreads = []
    for axis in moments:
        variance, middle = 1 / (axis.ss if common is None else common), axis.middle_s
        spreads.append(
            np.array(
                [[variance, -middle * variance], [-middle * variance, 1 / axis.weight + middle**2 * variance]]
            )
        )
    return model._replace(covariance=(spreads[0], spreads[1]))
