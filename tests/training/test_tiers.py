"""A curriculum as the order of a stream, and of a sampler: all ranks and workers are in the same tier."""

import itertools
import json

import numpy as np
import pytest
from folders import Workers, make_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.errors import ArrayError, StateError, UnknownNameError
from irtd_datasets.schema import TASKS
from irtd_datasets.testing import assert_stream_exact
from irtd_datasets.training import Curriculum, merge_states, stream, table
from irtd_datasets.training.progress import count, share
from irtd_datasets.training.scores import write_scores


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 300 rows in 3 shards, a smaller one, and a score for each row of both: the larger, the harder."""
    root = tmp_path_factory.mktemp("tiers")
    rows = make_folder(root / "made", 300, shards=3, per_image=3)
    more = make_folder(root / "more", 90, shards=2, per_image=1, prefix="more")
    ids = [row["id"] for row in [*rows, *more]]
    scores = dict(zip(ids, np.random.default_rng(7).random(len(ids)).tolist(), strict=True))
    write_scores(root / "scores.parquet", list(scores)[::-1], difficulty=list(scores.values())[::-1])
    return root, scores


def tiers_of(rows, scores, tiers):
    """The tier of each row, from the scores of them all."""
    ranked = sorted((row["id"] for row in rows), key=scores.__getitem__)
    tier = {one: number * tiers // len(ranked) for number, one in enumerate(ranked)}
    return [tier[row["id"]] for row in rows]


def loader(make, rank, world, workers, states):
    """What a rank makes: a stream in each of its workers, or the stream itself."""
    streams = []
    for worker in range(max(workers, 1)):
        one = make(rank=worker * world + rank, world_size=max(workers, 1) * world)
        if states:
            one.load_state_dict(merge_states(json.loads(json.dumps(states))))
        streams.append(one)
    return Workers(streams) if workers else streams[0]


@pytest.mark.parametrize("form", ["table", "mapping"])
def test_tiers_come_one_after_another(made, form):
    """Every row once, from easy to hard, by chance inside a tier and with each epoch anew."""
    root, scores = made
    given_scores = root / "scores.parquet" if form == "table" else scores
    rows = stream(root / "made", order=Curriculum(given_scores, 5), columns=["id", "image"])
    orders = []
    for epoch in (0, 1):
        rows.set_epoch(epoch)
        read = list(rows)
        assert len({row["id"] for row in read}) == len(read) == 300
        assert tiers_of(read, scores, 5) == sorted(tiers_of(read, scores, 5))
        orders.append([row["id"] for row in read])
    assert orders[0] != orders[1]
    inside = [scores[one] for one in orders[0][:60]]
    assert inside != sorted(inside)
    images = {row["id"]: row["image"] for row in stream(root / "made", columns=["id", "image"])}
    assert all(row["image"] == images[row["id"]] for row in read)


def test_from_hard_to_easy(made):
    """The other order of the paper that is made of tiers; and rows within a tier as they lie."""
    root, scores = made
    order = Curriculum(scores, 4, order="descending-stratified")
    read = list(stream(root / "made", order=order, columns=["id"], shuffle=False))
    tiers = tiers_of(read, scores, 4)
    assert tiers == sorted(tiers, reverse=True)
    for _, tier in itertools.groupby(zip(read, tiers, strict=True), key=lambda pair: pair[1]):
        ids = [row["id"] for row, _ in tier]
        assert ids == sorted(ids)


def test_over_several_sources_and_with_filters(made):
    """Tiers are made of the rows that are left, over all sources."""
    root, scores = made
    read = list(stream([root / "made", root / "more"], order=Curriculum(scores, 3), columns=["id"]))
    assert len(read) == 390
    assert tiers_of(read, scores, 3) == sorted(tiers_of(read, scores, 3))
    assert {row["id"].split("/")[0] for row in read[:30]} == {"made", "more"}
    some = list(stream(root / "made", order=Curriculum(scores, 3), tasks="vqa", columns=["id", "task"]))
    assert {row["task"] for row in some} == {TASKS.index("vqa")}
    assert tiers_of(some, scores, 3) == sorted(tiers_of(some, scores, 3))


@pytest.mark.parametrize("kind", ["stream", "sampler"])
def test_ranks_are_in_the_same_tier(made, kind):
    """Each rank has its part of every tier, as large as that of the others up to one row, not one stretch of all."""
    root, scores = made
    rows = table(root / "made", columns=["id"])
    ids = [row["id"] for row in rows.__getitems__(range(300))]
    ranked = np.argsort([scores[one] for one in ids])
    for world in (2, 7):
        parts = []
        for rank in range(world):
            if kind == "sampler":
                lane = rows.sampler(order=ranked, rank=rank, world_size=world)
                parts.append([ids[number] for number in lane])
            else:
                lane = stream(
                    root / "made", order=Curriculum(scores, 5), columns=["id"], rank=rank, world_size=world
                )
                parts.append([row["id"] for row in lane])
        assert sorted(itertools.chain(*parts)) == sorted(ids)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        tiers = dict(zip(ids, tiers_of([{"id": one} for one in ids], scores, 5), strict=True))
        for part in parts:
            assert [tiers[one] for one in part] == sorted(tiers[one] for one in part)
            counts = np.bincount([tiers[one] for one in part], minlength=5)
            assert counts.max() - counts.min() <= (1 if kind == "stream" else 4)


@pytest.mark.parametrize("even", [False, True])
def test_stopped_and_taken_up(made, even):
    """Each row once, with any numbers of ranks and workers before and after each stop."""
    root, scores = made
    data = [root / "made", root / "more"]
    check = assert_stream_exact(
        lambda *of: loader(
            lambda **lane: stream(data, order=Curriculum(scores, 4), columns=["id"], even=even, **lane), *of
        ),
        (2, 0, 3, 2, 0, 0),
        (2, 3, 1, 4, 1, 1),  # one lane at last, which has nothing to leave out
        stops=(3, 40, 7, 0, 25),
        rows=list(scores),
    )
    assert check.rows == 390


def test_a_sampler_is_taken_up_by_other_ranks(made):
    """The state of a sampler with an order goes on with another number of ranks, in the same order."""
    root, _ = made
    rows = table(root / "made", columns=["id"])
    order = np.random.default_rng(0).permutation(300)
    seen, states = [], None
    for world, stop in ((3, 20), (2, 33), (1, 300)):
        lanes = [rows.sampler(order=order, rank=rank, world_size=world) for rank in range(world)]
        for lane in lanes:
            if states is not None:
                lane.load_state_dict(merge_states(states))
            seen.extend(itertools.islice(lane, stop))
        states = [lane.state_dict() for lane in lanes]
    assert sorted(seen) == list(range(300))
    last = seen[3 * 20 + 2 * 33 :]
    places = np.argsort(order)[last]
    assert places.tolist() == sorted(places)


def test_a_run_keeps_its_tiers_after_a_stop(made):
    """What is left of an epoch still goes from easy to hard."""
    root, scores = made
    make = lambda **lane: stream(root / "made", order=Curriculum(scores, 5), columns=["id"], **lane)  # noqa: E731
    lanes = [make(rank=rank, world_size=3) for rank in range(3)]
    for number, lane in enumerate(lanes):
        list(itertools.islice(lane, 10 + 15 * number))
    states = [lane.state_dict() for lane in lanes]
    ids = [row["id"] for row in stream(root / "made", columns=["id"])]
    tier = dict(zip(ids, tiers_of([{"id": one} for one in ids], scores, 5), strict=True))
    for rank in range(2):
        lane = make(rank=rank, world_size=2)
        lane.load_state_dict(merge_states(states))
        left = [tier[row["id"]] for row in lane]
        assert left == sorted(left)
        assert len(set(left)) == 5


def test_what_cannot_be_is_refused(made, tmp_path):
    """A mistake is told with its remedy."""
    root, scores = made
    data = root / "made"
    with pytest.raises(ArrayError, match="1 of 300 rows have no score:\nmade/000007"):
        stream(data, order=Curriculum({one: 1.0 for one in scores if one != "made/000007"}, 2))
    with pytest.raises(ArrayError, match="finite"):
        stream(data, order=Curriculum({**scores, "made/000007": float("nan")}, 2))
    with pytest.raises(ArrayError, match=r"no order 'ascending'[\s\S]*Table.sampler"):
        stream(data, order=Curriculum(scores, 2, order="ascending"))
    with pytest.raises(ArrayError, match="tiers is 0"):
        stream(data, order=Curriculum(scores, 0))
    for more in ({"temperature": 2.0}, {"stop": 100}):
        with pytest.raises(UnknownNameError, match="each row once"):
            stream(data, order=Curriculum(scores, 2), **more)
    with pytest.raises(UnknownNameError, match="each row once"):
        stream({str(data): 0.5, str(root / "more"): 0.5}, order=Curriculum(scores, 2))
    write_scores(tmp_path / "two.parquet", list(scores), one=list(scores.values()), two=list(scores.values()))
    with pytest.raises(ArrayError, match=r"the scores one, two[\s\S]*`column`"):
        stream(data, order=Curriculum(tmp_path / "two.parquet", 2))
    assert (
        len(list(stream(data, order=Curriculum(tmp_path / "two.parquet", 2, "two"), columns=["id"]))) == 300
    )


def test_a_state_of_another_order_is_refused(made):
    """The tiers belong to what a state is of; so does the seed."""
    root, scores = made
    one = stream(root / "made", order=Curriculum(scores, 2), columns=["id"])
    next(iter(one))
    state = one.state_dict()
    for other in (None, Curriculum(scores, 3), Curriculum({key: -score for key, score in scores.items()}, 2)):
        with pytest.raises(StateError, match="other data"):
            stream(root / "made", order=other, columns=["id"]).load_state_dict(state)


def test_more_tiers_than_rows(made):
    """Tiers without rows are left out, and one tier is no order at all."""
    root, scores = made
    read = [row["id"] for row in stream(root / "more", order=Curriculum(scores, 1000), columns=["id"])]
    assert read == sorted(read, key=scores.__getitem__)
    single = list(stream(root / "more", order=Curriculum(scores, 1), columns=["id"]))
    assert len(single) == 90
    assert list(stream(root / "more", order=Curriculum(scores, 3), sources="nowhere", columns=["id"])) == []


SPANS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=6).map(
    lambda steps: [
        (end - length, end)
        for end, (_, length) in zip(
            itertools.accumulate(gap + size for gap, size in steps), steps, strict=True
        )
    ]
)
STAGES = st.one_of(
    st.integers(1, 20),
    st.lists(st.integers(1, 30), min_size=1, max_size=5).map(
        lambda sizes: [*itertools.accumulate(sizes), 200]
    ),
)


@settings(max_examples=300, deadline=None)
@given(spans=SPANS, stages=STAGES, lanes=st.integers(1, 9))
def test_stages_are_divided_exactly(spans, stages, lanes):
    """All positions, each once; shares of a stage and of the whole differ by one at most; `even` cuts the odd one."""
    shares = [share(spans, lane, lanes, stages=stages) for lane in range(lanes)]
    positions = [place for start, stop in spans for place in range(start, stop)]
    assert sorted(place for one in shares for start, stop in one for place in range(start, stop)) == positions
    counts = [count(one) for one in shares]
    assert max(counts) - min(counts) <= 1
    ends = range(stages, 201, stages) if isinstance(stages, int) else stages
    for one in zip(*(_by_stage(mine, ends) for mine in shares), strict=True):
        assert max(one) - min(one) <= 1
    even = [count(share(spans, lane, lanes, stages=stages, even=True)) for lane in range(lanes)]
    assert set(even) == {len(positions) // lanes}


def _by_stage(spans, ends):
    places = [place for start, stop in spans for place in range(start, stop)]
    return np.bincount(np.searchsorted(ends, places, "right"), minlength=len(ends) + 1).tolist()
