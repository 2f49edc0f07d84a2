"""The curriculum of the IRGPT paper as plain functions over arrays.

The paper (arXiv 2507.14449, section 4.2) orders its pre-training images from easy to hard by two scores: how far an
infrared image is from visible ones, and how well image and text go together. Neither the scores nor the encoders
were released. Give the features and losses of your own encoder; the functions here do the rest, and each choice that
the paper leaves open is named where it is made.

Scores live in a side table joined by ``id`` (see `scores`), never in the dataset itself, since they belong to an
encoder. An order is a list of row numbers, for the sampler of a map-style dataset; `tiers` has it for streams.

Example:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> visible, infrared = rng.normal(3, 1, (200, 8)), rng.normal(0, 1, (300, 8))
    >>> found = modality_distance(infrared, visible)
    >>> rank = merge_ranks(found.distance, rng.random(300))
    >>> order = curriculum_order(rank, tiers=3, seed=0, epoch=0)
    >>> sorted(order.tolist()) == list(range(300))
    True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from irtd_datasets.errors import ArrayError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ModalityDistance",
    "Order",
    "assign_tiers",
    "curriculum_order",
    "loss_variation",
    "merge_ranks",
    "modality_distance",
    "sample_weights",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Order = Literal["ascending-stratified", "descending-stratified", "ascending", "descending", "random"]
"""An order of the paper's Table 4 by name."""

_BLOCK = 2048  # rows of a kernel block: 2048 x 2048 doubles are 32 MB
_PAIRS_FOR_BANDWIDTH = 10_000


@dataclass(frozen=True, slots=True)
class ModalityDistance:
    """How far each infrared image is from the visible ones (paper section 4.2.1).

    Attributes:
        distance: (N,) distance as the paper's text describes it: ``mmd`` at the infrared centre, 0 at the visible
            centre, so larger means less like a visible image, hence harder.
        printed: (N,) the formula as printed, which grows towards the visible centre, opposite to the text:
            ``mmd`` at the infrared centre, ``2 * mmd`` at the visible one. ``distance + printed == 2 * mmd``.
        mmd: Maximum mean discrepancy between the two sets: the distance of their centres in feature space.
        bandwidth: Standard deviation of the Gaussian kernel, in units of the features.
    """

    distance: Floats
    printed: Floats
    mmd: float
    bandwidth: float


def modality_distance(
    infrared: npt.ArrayLike,
    visible: npt.ArrayLike,
    *,
    bandwidth: float | None = None,
    components: int | None = None,
    seed: int = 0,
) -> ModalityDistance:
    """Project infrared features on the line between the infrared and the visible centre in kernel space.

    With the Gaussian kernel's feature map phi and centres ``c``, ``u = (c_vis - c_ir) / |c_vis - c_ir|`` and
    ``mmd = |c_vis - c_ir|``, the distance is ``mmd - (phi(x) - c_ir) . u`` (paper section 4.2.1, with the sign of its
    text; see `ModalityDistance.printed`).

    Args:
        infrared: (N, D) features of the infrared images.
        visible: (M, D) features of the visible images, turned to grey before the encoder as in the paper.
        bandwidth: Of the kernel ``exp(-|x - y|**2 / (2 * bandwidth**2))``. The paper gives none; None takes the median
            distance between seeded pairs of images from both sets.
        components: None computes the kernel exactly, in time N * (N + M) * D and memory of one block. A number takes
            that many random Fourier features (Rahimi and Recht, 2007) instead, in time linear in N and M, with an error
            that falls with the square root of the number.
        seed: For the pairs of the bandwidth and for the random features.

    Returns:
        Distances in the order of ``infrared``.

    Raises:
        ArrayError: Not two matrices of the same width with finite numbers, an empty one, a bandwidth or number of
            components that is not positive, or two sets with the same centre, which have no line between them.
    """
    x, y = _matrix(infrared, "infrared"), _matrix(visible, "visible")
    if x.shape[1] != y.shape[1]:
        raise ArrayError(
            f"infrared features have {x.shape[1]} columns and visible ones {y.shape[1]}",
            remedy="Take both from the same layer of the same encoder.",
        )
    if components is not None and components < 1:
        raise ArrayError(f"components is {components}, expected at least 1")
    rng = np.random.default_rng(seed)
    if bandwidth is None:
        bandwidth = _median_distance(x, y, rng)
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ArrayError(
            f"bandwidth is {bandwidth}, expected a positive number", remedy="Are all features the same?"
        )
    if components is None:
        to_infrared, to_visible = _kernel_means(x, x, bandwidth), _kernel_means(x, y, bandwidth)
        between = float(to_visible.mean())  # <c_ir, c_vis>
        infrared_norm = float(to_infrared.mean())  # |c_ir|^2
        visible_norm = float(_kernel_means(y, y, bandwidth).mean())  # |c_vis|^2
        square = visible_norm - 2 * between + infrared_norm
        # (phi(x) - c_ir) . (c_vis - c_ir)
        along = (to_visible - to_infrared) - (between - infrared_norm)
    else:
        features = _FourierFeatures(x.shape[1], components, bandwidth, rng)
        infrared_centre, visible_centre = features.mean(x), features.mean(y)
        line = visible_centre - infrared_centre
        square = float(line @ line)
        along = np.concatenate([(features(block) - infrared_centre) @ line for block in _blocks(x)])
    mmd = float(np.sqrt(max(square, 0.0)))
    if mmd <= 1e-9:
        raise ArrayError(
            "infrared and visible features have the same centre",
            remedy="Were the same images given twice? A distance needs two sets that differ.",
        )
    projection = along / mmd
    return ModalityDistance(mmd - projection, projection + mmd, mmd, float(bandwidth))


def loss_variation(before: npt.ArrayLike, after: npt.ArrayLike) -> Floats:
    """Variation rate of an alignment loss over the warm-up, ``(after - before) / before`` (paper section 4.2.2).

    Args:
        before: (N,) contrastive loss of each image and its text before the warm-up; positive.
        after: (N,) the same after it.

    Returns:
        (N,) rates; negative where the pair was learnt, positive where it got worse.

    Raises:
        ArrayError: Lengths differ, numbers are not finite, or a loss before is not positive.
    """
    first, second = _vector(before, "before"), _vector(after, "after")
    _same_length({"before": first, "after": second})
    if first.size and first.min() <= 0:
        worst = int(first.argmin())
        raise ArrayError(f"the loss before the warm-up of row {worst} is {first[worst]}, expected above 0")
    return np.asarray((second - first) / first)


def sample_weights(variation: npt.ArrayLike) -> Floats:
    """Weight of each sample in the loss (paper section 4.2.3).

    ``1 - sigmoid(a / median of positive a)`` where the variation ``a`` is positive: between 0 and 0.5, for pairs that
    got worse. ``1 + sigmoid(-a / median of -a over the others)`` elsewhere: from 1.5 to 2, for pairs that were learnt.

    Args:
        variation: (N,) rates of `loss_variation`.

    Returns:
        (N,) weights. Where the median is 0, since most rates are, the argument of the sigmoid is taken as 0.

    Raises:
        ArrayError: Not a vector of finite numbers.
    """
    rates = _vector(variation, "variation")
    worse = rates > 0
    weights = np.empty_like(rates)
    weights[worse] = 1 - _sigmoid(_over_median(rates[worse]))
    weights[~worse] = 1 + _sigmoid(_over_median(-rates[~worse]))
    return weights


def merge_ranks(*scores: npt.ArrayLike) -> Floats:
    """Merge several scores, each larger where harder, into one between 0 and 1 (paper section 4.2.3).

    The paper merges two rankings and does not say how. Here each score becomes its rank as a fraction, ties share
    their mean rank, and the fractions are averaged: no score outweighs another by its scale.

    Args:
        scores: One or more (N,) arrays.

    Returns:
        (N,) mean fractional rank, 0 the easiest.

    Raises:
        ArrayError: No scores, lengths differ, or numbers are not finite.
    """
    if not scores:
        raise ArrayError("no scores given")
    vectors = {f"score {number}": _vector(one, f"score {number}") for number, one in enumerate(scores, 1)}
    _same_length(vectors)
    return np.asarray(np.mean([_fractional_rank(one) for one in vectors.values()], axis=0, dtype=np.float64))


def assign_tiers(difficulty: npt.ArrayLike, tiers: int) -> Integers:
    """Cut samples into tiers of equal size, 0 the easiest.

    Args:
        difficulty: (N,) larger where harder. Equal values keep their order.
        tiers: How many. The paper does not say.

    Returns:
        (N,) tier of each sample; sizes differ by at most one.

    Raises:
        ArrayError: Not a vector of finite numbers, or fewer than one tier.
    """
    values = _vector(difficulty, "difficulty")
    if tiers < 1:
        raise ArrayError(f"tiers is {tiers}, expected at least 1")
    tier = np.empty(values.size, np.int64)
    tier[np.argsort(values, kind="stable")] = np.arange(values.size) * tiers // max(values.size, 1)
    return tier


def curriculum_order(
    difficulty: npt.ArrayLike,
    *,
    tiers: int,
    seed: int,
    epoch: int = 0,
    order: Order = "ascending-stratified",
) -> Integers:
    """Row numbers in the order of a curriculum, every row once.

    ``ascending-stratified``, the best of the paper's Table 4, goes through the tiers from easy to hard and is random
    inside a tier. The others of that table are ``descending-stratified``, ``ascending`` and ``descending`` (sorted, no
    chance), and ``random``. Its "bidirectional" order is not described and is left out.

    Args:
        difficulty: (N,) larger where harder, such as `merge_ranks` gives.
        tiers: How many tiers; without meaning for the orders that have none.
        seed: With ``epoch`` it decides the order on every machine.
        epoch: Another epoch is another order inside the tiers.
        order: One of the above.

    Returns:
        (N,) row numbers.

    Raises:
        ArrayError: As for `assign_tiers`; an unknown order, a negative seed or epoch.
    """
    values = _vector(difficulty, "difficulty")
    if seed < 0 or epoch < 0:
        raise ArrayError(f"seed is {seed} and epoch {epoch}, expected none below 0")
    chance = np.random.default_rng([seed, epoch]).permutation(values.size)
    if order == "random":
        return chance
    if order in {"ascending", "descending"}:
        by_value = np.argsort(values, kind="stable")
        return by_value if order == "ascending" else by_value[::-1].copy()
    if order not in {"ascending-stratified", "descending-stratified"}:
        known = "ascending-stratified, descending-stratified, ascending, descending, random"
        raise ArrayError(f"unknown order {order!r}", remedy=f"Known orders: {known}.")
    tier = assign_tiers(values, tiers)[chance]
    by_tier = np.argsort(tier if order.startswith("ascending") else -tier, kind="stable")
    return chance[by_tier]


class _FourierFeatures:
    """Random features whose dot product approximates the Gaussian kernel."""

    def __init__(self, width: int, components: int, bandwidth: float, rng: np.random.Generator) -> None:
        self._directions = rng.normal(0, 1 / bandwidth, (width, components))
        self._phases = rng.uniform(0, 2 * np.pi, components)

    def __call__(self, rows: Floats) -> Floats:
        scale = np.sqrt(2 / self._phases.size)
        return np.asarray(np.cos(rows @ self._directions + self._phases) * scale)

    def mean(self, rows: Floats) -> Floats:
        total = np.sum([self(block).sum(axis=0) for block in _blocks(rows)], axis=0)
        return np.asarray(total / len(rows))


def _kernel_means(rows: Floats, others: Floats, bandwidth: float) -> Floats:
    """Mean of the kernel between each row and all others, a block at a time."""
    scale = -0.5 / bandwidth**2
    norms = (others**2).sum(axis=1)
    means = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        block_norms = (block**2).sum(axis=1)[:, None]
        total = np.zeros(len(block))
        for begin in range(0, len(others), _BLOCK):
            other = others[begin : begin + _BLOCK]
            squares = block_norms - 2 * (block @ other.T) + norms[begin : begin + _BLOCK]
            total += np.exp(scale * np.maximum(squares, 0)).sum(axis=1)
        means[start : start + _BLOCK] = total / len(others)
    return means


def _blocks(rows: Floats) -> Iterator[Floats]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _median_distance(x: Floats, y: Floats, rng: np.random.Generator) -> float:
    count = len(x) + len(y)
    first, second = rng.integers(0, count, (2, _PAIRS_FOR_BANDWIDTH))
    different = first != second

    def take(numbers: Integers) -> Floats:
        chosen = np.empty((numbers.size, x.shape[1]))
        of_x = numbers < len(x)
        chosen[of_x], chosen[~of_x] = x[numbers[of_x]], y[numbers[~of_x] - len(x)]
        return chosen

    between = np.linalg.norm(take(first[different]) - take(second[different]), axis=1)
    return float(np.median(between)) if between.size else 0.0


def _matrix(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.size:
        raise ArrayError(f"{name} has the shape {array.shape}, expected rows and columns, at least one each")
    return _finite(array, name)


def _vector(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ArrayError(f"{name} has the shape {array.shape}, expected one number a row")
    return _finite(array, name)


def _finite(array: Floats, name: str) -> Floats:
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ArrayError(
            f"{name} has {int(bad.sum()):,} numbers that are not finite, the first in row {row}",
            remedy="Leave such rows out before they are scored.",
        )
    return array


def _same_length(vectors: dict[str, Floats]) -> None:
    sizes = {name: one.size for name, one in vectors.items()}
    if len(set(sizes.values())) > 1:
        raise ArrayError("lengths differ: " + ", ".join(f"{name} {size:,}" for name, size in sizes.items()))


def _fractional_rank(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_rank = ends - (counts + 1) / 2
    return np.asarray(mean_rank[inverse] / max(values.size - 1, 1))


def _over_median(values: Floats) -> Floats:
    middle = np.median(values) if values.size else 0.0
    with np.errstate(over="ignore"):  # a vast ratio is as good as infinity in a sigmoid
        return np.asarray(values / middle) if middle > 0 else np.zeros_like(values)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)))
