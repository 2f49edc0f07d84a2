"""The order of a plan's rows and where its shards are cut, against the plain way to compute them."""

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets.rows import order as row_order
from irtd_datasets.rows.order import RowOrder
from irtd_datasets.writing.plan import IMAGE_SIZES, cut_shards

ROWS = st.lists(
    st.tuples(st.sampled_from([0, 1, 5, 1 << 62, 3 << 62, (1 << 64) - 1]), st.integers(1, 50)), max_size=40
)


@pytest.fixture(autouse=True, params=["small", "as is"])
def sizes(request):
    """With chunks of a few rows as well, so that groups go over their ends."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            patch.setattr(row_order, "_CHUNK", 3)
            patch.setattr(row_order, "_SHARE", 4)
        yield


def filled(rows):
    order = RowOrder()
    for key, length in rows:
        order.add(key, length)
    return order


def placed(rows):
    """Key, offset and length of each row."""
    ends = np.cumsum([length for _, length in rows]).tolist()
    return [(key, end - length, length) for (key, length), end in zip(rows, ends, strict=True)]


@given(ROWS)
def test_rows_of_an_image_come_together_in_the_order_of_keys(rows):
    """By image: sorted by key, rows of one key as they came, each with the place of its line."""
    expected: dict[int, list[list[int]]] = {}
    for key, offset, length in placed(rows):
        expected.setdefault(key, []).append([offset, length])
    groups = [places.tolist() for places in filled(rows).groups("by-image")]
    assert groups == [expected[key] for key in sorted(expected)]


@given(ROWS)
def test_neighbours_come_together_as_released(rows):
    """As released: nothing is moved, and only neighbours make a group, also over the end of a chunk."""
    expected: list[tuple[int, list[list[int]]]] = []
    for key, offset, length in placed(rows):
        if not expected or expected[-1][0] != key:
            expected.append((key, []))
        expected[-1][1].append([offset, length])
    assert [places.tolist() for places in filled(rows).groups("as-released")] == [
        group for _, group in expected
    ]


def test_lines_of_more_than_four_gigabytes():
    """Places beyond what four bytes hold are right."""
    order = filled([(7, 3_000_000_000), (9, 3_000_000_000), (7, 5)])
    assert [places.tolist() for places in order.groups("by-image")] == [
        [[0, 3_000_000_000], [6_000_000_000, 5]],
        [[3_000_000_000, 3_000_000_000]],
    ]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 9)), max_size=40), st.integers(1, 12))
def test_shards_are_cut_where_their_share_is_reached(pairs, count):
    """A shard ends with the image that reaches its share of all bytes; stretches join and miss nothing."""
    share = sum(size for size, _ in pairs) / count
    cuts, done = [], 0
    for index, (size, _) in enumerate(pairs):
        if not cuts or done >= share * len(cuts):
            cuts.append(index)
        done += size
    ends = np.cumsum([0, *(line for _, line in pairs)]).tolist()
    expected = [
        ((ends[first], ends[last]), sum(size for size, _ in pairs[first:last]))
        for first, last in pairwise([*cuts, len(pairs)] if pairs else [])
    ]
    images = io.BytesIO(b"".join(IMAGE_SIZES.pack(*pair) for pair in pairs))
    assert cut_shards(images, count) == expected
