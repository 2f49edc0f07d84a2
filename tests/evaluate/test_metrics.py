"""The values of single answers, and the released scorers' variants."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets.evaluate import released
from irtd_datasets.evaluate.metrics import assign, average_precision, iou_matrix, point_distance

POINTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=5)


def test_overlap_of_boxes():
    """Half-open edges: equal boxes have 1, neighbours 0, a box without area 0 with everything."""
    boxes = [[0, 0, 10, 10], [10, 0, 20, 10], [5, 5, 5, 9]]
    assert iou_matrix(boxes, boxes).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], 1.0),
        ([[0, 0, 10, 4]], [[0, 0, 10, 10]], 0.0),
        ([[0, 0, 10, 5]], [[0, 0, 10, 10]], 1.0),
        ([[50, 50, 60, 60], [0, 0, 10, 10]], [[0, 0, 10, 10]], 0.5),
        ([[0, 0, 10, 10], [0, 0, 10, 10]], [[0, 0, 10, 10]], 1.0),
        ([[0, 0, 10, 10]], [[0, 0, 10, 10], [50, 50, 60, 60]], 0.5),
        ([], [[0, 0, 10, 10]], 0.0),
    ],
)
def test_average_precision(predicted, gold, expected):
    """An overlap of a half counts, a wrong box before the right one halves, a missing one takes its share."""
    assert average_precision(predicted, gold) == expected


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_assignment_is_the_best_of_all(rows, more, seed, ties):
    """The assignment has the least sum of all one-to-one assignments, with ties and without."""
    generator = np.random.default_rng(seed)
    shape = rows, rows + more
    costs = generator.integers(0, 4, shape).astype(float) if ties else generator.random(shape)
    chosen = assign(costs)
    assert len(set(chosen.tolist())) == rows
    best = min(
        sum(costs[row, column] for row, column in enumerate(order))
        for order in itertools.permutations(range(rows + more), rows)
    )
    assert costs[np.arange(rows), chosen].sum() == pytest.approx(best)


@given(POINTS, POINTS, POINTS)
def test_point_distance_is_a_metric(one, two, three):
    """Zero for equal sets only, symmetric, never above the cutoff, and no detour is shorter."""
    assert point_distance(one, one, 100) == 0
    there = point_distance(one, two, 100)
    assert there == pytest.approx(point_distance(two, one, 100))
    assert 0 <= there <= 100
    assert (there == 0) == (sorted(one) == sorted(two))
    assert there <= point_distance(one, three, 100) + point_distance(three, two, 100) + 1e-9


def test_missing_and_extra_points_cost_the_cutoff():
    """One of two found exactly is half the cutoff, as is one point too many."""
    assert point_distance([[5, 5]], [[5, 5], [900, 5]], 100) == 50
    assert point_distance([[5, 5], [900, 5]], [[5, 5]], 100) == 50


def test_released_counting_drops_what_it_cannot_read():
    """Answers without ``<num>`` leave the means, and are told."""
    result = released.counting(
        ["<num>3</num>", "many", "7"], ["<num>5</num>", "<num>9</num>", "<num>7</num>"]
    )
    assert result == {"MAE": 2.0, "MSE": 4.0, "RMSE": 2.0, "dropped": 2.0}
    assert math.isnan(released.counting(["many"], ["<num>9</num>"])["MAE"])


def test_released_detection_is_a_recall():
    """Surplus boxes cost nothing, gold boxes are shared out once, samples weigh the same, repairs are made."""
    label = "The target bounding box is <box>[[0, 0, 10, 10]]</box>."
    surplus = "<box>[[90, 90, 99, 99], [0, 0, 10, 10]]</box>"
    assert released.detection([surplus], [label])["accuracy"] == 1
    assert released.detection([surplus, "[[50, 50, 60, 60]]"], [label, label])["accuracy"] == 0.5
    assert released.detection(["[[0, 0, 10, 10]"], [label])["accuracy"] == 1
    both = "[[0, 0, 10, 10], [0, 0, 10, 9]]"
    assert released.detection(["[[0, 0, 10, 10]]"], [both])["accuracy"] == 0.5


@pytest.mark.parametrize(
    "answer",
    [
        "nothing here",
        "[0, 0, 10, 10]",
        "[[1, 2]]",
        "",
        "[[[]]]",
        "[['a', 1, 2, 3]]",
        "[{'bbox': [1, 2, 3, 4]}]",
        "{1: 2}",
    ],
)
def test_released_detection_counts_its_crashes_as_wrong(answer):
    """Where the released script ends in an error, the answer is wrong and counted."""
    result = released.detection([answer, "[[0, 0, 10, 10]]"], ["[[0, 0, 10, 10]]"] * 2)
    assert result["accuracy"] == 0.5
    assert result["errors"] <= 1


def test_released_location_matches_within_five_units():
    """Five units match, more do not; gold points choose in turn; the sample mean skips samples without a match."""
    label = "<ref>car</ref> at <pos>[(10, 10), (100, 100)]</pos>"
    result = released.location(["<pos>[(15, 10), (106, 100)]</pos>", "no points"], [label, label])
    assert result["precision"] == 0.5
    assert result["recall"] == 0.25
    assert result["f1_score"] == pytest.approx(1 / 3)
    assert result["average_distance"] == result["average_sample_mae"] == 5
    greedy = released.location(["<pos>[(12, 10)]</pos>"], ["<pos>[(10, 10), (12, 10)]</pos>"])
    assert greedy["average_distance"] == 2


def test_released_recognition_is_equality():
    """Only blanks around the text are forgiven."""
    assert released.recognition([" (A) person\n", "A", "(a) person"], ["(A) person"] * 3)["accuracy"] == 1 / 3
