"""The curriculum of the IRGPT paper, section 4.2: distances, weights, tiers, orders and the side table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.errors import ArrayError
from irtd_datasets.training import curriculum
from irtd_datasets.training.curriculum import (
    assign_tiers,
    curriculum_order,
    loss_variation,
    merge_ranks,
    modality_distance,
    sample_weights,
)

FINITE = st.floats(-1e3, 1e3, allow_nan=False)
VECTORS = st.lists(FINITE, min_size=1, max_size=60)


def clusters(n=120, m=80, width=5, seed=3):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, width)), rng.normal(2, 1, (m, width))


def by_hand(x, y, bandwidth):
    """The printed formula with the kernel's Gram matrix of all images, written without any shortcut."""
    both = np.concatenate([x, y])
    gram = np.exp(-((both[:, None] - both[None]) ** 2).sum(-1) / (2 * bandwidth**2))
    infrared = np.r_[np.full(len(x), 1 / len(x)), np.zeros(len(y))]
    visible = np.r_[np.zeros(len(x)), np.full(len(y), 1 / len(y))]
    line = visible - infrared
    mmd = np.sqrt(line @ gram @ line)
    points = np.eye(len(both))[: len(x)]
    return ((points - infrared) @ gram @ line) / mmd + mmd, mmd


def test_printed_formula_is_the_papers():
    """`printed` and `mmd` are the formula of section 4.2.1, checked against the full Gram matrix."""
    x, y = clusters()
    found = modality_distance(x, y, bandwidth=2.0)
    printed, mmd = by_hand(x, y, 2.0)
    np.testing.assert_allclose(found.printed, printed, atol=1e-9)
    assert found.mmd == pytest.approx(mmd)


def test_distance_is_that_of_the_text():
    """Nearer to visible images is a smaller distance, 0 at their centre and `mmd` on average."""
    x, y = clusters()
    found = modality_distance(x, y, bandwidth=2.0)
    np.testing.assert_allclose(found.distance + found.printed, 2 * found.mmd)
    assert found.distance.mean() == pytest.approx(found.mmd)
    line = np.linspace(0, 2, 9)[:, None] * np.ones((1, x.shape[1]))
    many = np.concatenate([x, x, x, line])
    along = modality_distance(many, y, bandwidth=3.0).distance[-9:]
    assert (np.diff(along) < 0).all()


def test_blocks_change_nothing(monkeypatch):
    """The kernel is computed a block at a time, with the same result for any size of block."""
    x, y = clusters()
    whole = modality_distance(x, y)
    monkeypatch.setattr(curriculum, "_BLOCK", 7)
    pieces = modality_distance(x, y)
    np.testing.assert_allclose(pieces.distance, whole.distance, atol=1e-12)
    assert pieces.bandwidth == whole.bandwidth


def test_random_features_approach_the_kernel():
    """With many components the ranks are those of the exact kernel; another seed gives other features."""
    x, y = clusters()
    exact = modality_distance(x, y).distance
    near = modality_distance(x, y, components=20_000).distance
    assert np.corrcoef(exact, near)[0, 1] > 0.99
    assert (
        modality_distance(x, y, components=50).distance == modality_distance(x, y, components=50).distance
    ).all()
    other = modality_distance(x, y, components=50, bandwidth=2.0, seed=1).distance
    assert (modality_distance(x, y, components=50, bandwidth=2.0).distance != other).any()


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), {}, "2 columns and visible ones 4"),
        (np.zeros(3), np.zeros((3, 4)), {}, "infrared has the shape"),
        (np.zeros((0, 2)), np.ones((3, 2)), {}, "infrared has the shape"),
        ([[np.nan, 1]], [[0, 1]], {}, "infrared has 1 numbers that are not finite, the first in row 0"),
        (np.zeros((3, 2)), np.zeros((3, 2)), {}, "bandwidth is 0.0"),
        (np.eye(3), np.eye(3), {}, "same centre"),
        (np.eye(3), 1 + np.eye(3), {"bandwidth": -1}, "bandwidth is -1"),
        (np.eye(3), 1 + np.eye(3), {"components": 0}, "components is 0"),
    ],
)
def test_bad_features_are_refused(x, y, options, words):
    """Features that give no distance are refused with what is wrong with them."""
    with pytest.raises(ArrayError, match=words):
        modality_distance(x, y, **options)


def test_loss_variation_is_relative():
    """The rate is the change over the loss before."""
    np.testing.assert_allclose(loss_variation([2.0, 4.0, 1.0], [1.0, 5.0, 1.0]), [-0.5, 0.25, 0.0])
    with pytest.raises(ArrayError, match=r"row 1 is 0\.0"):
        loss_variation([1.0, 0.0], [1.0, 1.0])
    with pytest.raises(ArrayError, match="before 2, after 1"):
        loss_variation([1.0, 1.0], [1.0])


def test_sample_weights_by_hand():
    """Section 4.2.3 with numbers: the median of the positive rates is 2, that of the others 1."""
    weights = sample_weights([1.0, 2.0, 3.0, -1.0, -1.0, 0.0])
    sigmoid = 1 / (1 + np.exp(-np.array([0.5, 1.0, 1.5, 1.0, 1.0, 0.0])))
    np.testing.assert_allclose(weights, np.r_[1 - sigmoid[:3], 1 + sigmoid[3:]])


@given(VECTORS)
@settings(max_examples=60, deadline=None)
def test_sample_weights_keep_their_ranges(rates):
    """Pairs that got worse weigh 0 to 0.5, the others 1.5 to 2, and a higher rate never weighs more."""
    rates = np.array(rates)
    weights = sample_weights(rates)
    assert ((weights[rates > 0] >= 0) & (weights[rates > 0] <= 0.5)).all()
    assert ((weights[rates <= 0] >= 1.5) & (weights[rates <= 0] <= 2)).all()
    assert (np.diff(weights[np.argsort(rates, kind="stable")]) <= 1e-12).all()


@given(VECTORS)
@settings(max_examples=60, deadline=None)
def test_merged_ranks_ignore_scale(values):
    """A rank depends on the order alone, equal values share one, and two opposite scores cancel out."""
    values = np.array(values)
    rank = merge_ranks(values)
    np.testing.assert_allclose(rank, merge_ranks(values * 8.0))
    assert ((rank >= 0) & (rank <= 1)).all()
    for value in values:
        assert np.ptp(rank[values == value]) == 0
    if len(values) > 1:
        np.testing.assert_allclose(merge_ranks(values, -values), 0.5)


@given(VECTORS, st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_orders_have_every_row_once(values, tiers, seed, epoch):
    """Each order is a permutation; a stratified one never comes back to an earlier tier."""
    values = np.array(values)
    tier = assign_tiers(values, tiers)
    sizes = np.bincount(tier, minlength=tiers)
    assert np.ptp(sizes) <= 1
    assert (np.diff(tier[np.argsort(values, kind="stable")]) >= 0).all()
    for name, sign in (("ascending", 1), ("descending", -1)):
        stratified = curriculum_order(values, tiers=tiers, seed=seed, epoch=epoch, order=f"{name}-stratified")
        plain = curriculum_order(values, tiers=tiers, seed=seed, epoch=epoch, order=name)
        for found in (stratified, plain):
            assert sorted(found.tolist()) == list(range(len(values)))
        assert (np.diff(tier[stratified]) * sign >= 0).all()
        assert (np.diff(values[plain]) * sign >= 0).all()


def test_order_depends_on_seed_and_epoch_alone():
    """The same seed and epoch give the same order; another epoch shuffles inside the tiers; one tier is random."""
    values = np.arange(100.0)
    first = curriculum_order(values, tiers=4, seed=1)
    assert (first == curriculum_order(values, tiers=4, seed=1)).all()
    second = curriculum_order(values, tiers=4, seed=1, epoch=1)
    assert (first != second).any()
    assert (np.sort(first[:25]) == np.sort(second[:25])).all()
    random = curriculum_order(values, tiers=4, seed=1, order="random")
    assert (curriculum_order(values, tiers=1, seed=1) == random).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tiers": 0, "seed": 0}, "tiers is 0"),
        ({"tiers": 2, "seed": -1}, "seed is -1"),
        ({"tiers": 2, "seed": 0, "order": "bidirectional"}, "unknown order 'bidirectional'"),
    ],
)
def test_bad_orders_are_refused(options, words):
    """An order that cannot be made is refused; the one that the paper does not describe is unknown."""
    with pytest.raises(ArrayError, match=words):
        curriculum_order([1.0, 2.0], **options)
