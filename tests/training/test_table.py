"""A table gives any row by its number; its samplers give each number exactly once, in an order that can be resumed."""

import itertools
import json
import pickle
import shutil

import numpy as np
import pytest
from folders import make_folder, png

from irtd_datasets.errors import ShardChangedError, StateError, UnknownNameError
from irtd_datasets.schema import TASKS
from irtd_datasets.training import merge_states, stream, table
from irtd_datasets.training import tables as tables_module


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 300 rows in 3 shards and its rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("table") / "made"
    return root, make_folder(root, 300, shards=3, per_image=3)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_rows_are_those_of_the_files(made, cache, tmp_path, monkeypatch, index, kept):
    """By number, from the end, alone or together; with an index or without, with text on disk or in memory."""
    root, expected = made
    if not index:
        root = shutil.copytree(root, tmp_path / "bare")
        shutil.rmtree(root / "index")
    if not kept:
        cache.write_text("a file where the folder should be")
    rows = table(root, cache=cache)
    assert len(rows) == 300
    assert [rows[number] for number in range(300)] == expected
    assert rows[-1] == expected[-1]
    assert rows[np.int64(7)] == expected[7]
    numbers = np.random.default_rng(0).permutation(300).tolist()
    assert rows.__getitems__(numbers) == [expected[number] for number in numbers]
    again = pickle.loads(pickle.dumps(rows))  # as a worker gets it
    assert again[150] == expected[150]
    assert kept == any(cache.rglob("*.arrow"))
    for number in (300, -301):
        with pytest.raises(IndexError, match=f"row {number} of 300"):
            rows[number]
    with pytest.raises(TypeError):
        rows[1.5]


def test_few_files_are_open(made, cache):
    """Shards are closed when many are used, and opened again."""
    rows = table(made[0], cache=cache)
    for source in rows.sources:
        source.limit = 1
    for number in (0, 299, 150, 1, 298):
        assert rows[number] == made[1][number]
        assert len(rows._open) == 1


def test_columns_and_filters(made, cache):
    """Only what is wanted; filters leave rows of whose images nothing is read."""
    root, expected = made
    assert table(root, columns=["id", "task"], cache=cache)[3] == {
        key: expected[3][key] for key in ("id", "task")
    }
    some = table(root, tasks="vqa", cache=cache)
    wanted = [row for row in expected if row["task"] == TASKS.index("vqa")]
    assert [some[number] for number in range(len(some))] == wanted
    none = table(root, sources="nowhere", cache=cache)
    assert len(none) == 0
    with pytest.raises(IndexError):
        none[0]


def test_several_sources(made, cache, tmp_path):
    """Behind one another; or by weights, where each row of the first is there once and the second comes as often."""
    root, expected = made
    more = make_folder(tmp_path / "more", 60, shards=1, prefix="more")
    both = table([root, tmp_path / "more"], columns=["id"], cache=cache)
    assert [row["id"] for row in both.__getitems__(range(360))] == [row["id"] for row in [*expected, *more]]
    mixed = table({str(root): 0.5, str(tmp_path / "more"): 0.5}, columns=["id"], cache=cache, seed=3)
    ids = [row["id"] for row in mixed.__getitems__(range(len(mixed)))]
    counts = [sum(one.startswith(prefix) for one in ids) for prefix in ("made", "more")]
    assert counts[1] == 60
    assert abs(counts[0] - 60) <= 5
    assert len(set(ids)) == len(ids)
    until_all = table(
        {str(root): 0.5, str(tmp_path / "more"): 0.5}, columns=["id"], cache=cache, stop="all_exhausted"
    )
    ids = {row["id"] for row in until_all.__getitems__(range(len(until_all)))}
    assert ids == {row["id"] for row in [*expected, *more]}
    assert mixed.data() != until_all.data() != both.data()


def test_rows_that_cannot_be_decoded(tmp_path, cache):
    """One that is skipped is left out of a batch and counted; alone it is an error that says what to do."""
    root = tmp_path / "made"
    make_folder(root, 40, shards=1, data=lambda kind: b"no image" if kind == 5 else png(kind))
    rows = table(root, decode="rgb", on_error="skip", cache=cache)
    assert [row["id"] for row in rows.__getitems__([4, 5, 6])] == ["made/000004", "made/000006"]
    assert rows.skipped == 1
    with pytest.raises(UnknownNameError, match=r"row 5 cannot be decoded(.|\n)*on_error"):
        rows[5]


def test_a_shard_that_was_replaced_is_refused(made, tmp_path, cache):
    """Other bytes under the same name are never taken for the old ones."""
    root = shutil.copytree(made[0], tmp_path / "made")
    rows = table(root, cache=cache)
    assert rows[0]["id"] == "made/000000"
    shard = sorted((root / "data").rglob("*.parquet"))[1]
    shard.write_bytes(shard.read_bytes() + b" ")
    with pytest.raises(ShardChangedError, match=shard.name):
        rows[150]


@pytest.mark.parametrize(("world", "even"), [*itertools.product([1, 2, 7, 300], [False, True]), (400, False)])
def test_samplers_give_each_number_once(made, cache, world, even):
    """Over all ranks; `even` leaves out what cannot be divided."""
    rows = table(made[0], cache=cache)
    parts = [list(rows.sampler(seed=1, rank=rank, world_size=world, even=even)) for rank in range(world)]
    numbers = list(itertools.chain(*parts))
    sizes = {len(part) for part in parts}
    assert len(set(numbers)) == len(numbers)
    if even:
        assert sizes == {300 // world}
    else:
        assert sorted(numbers) == list(range(300))
        assert max(sizes) - min(sizes) <= 1
    assert [len(rows.sampler(seed=1, rank=0, world_size=world, even=even))] == [len(parts[0])]


def test_orders_of_a_sampler(made, cache):
    """Seed and epoch decide; without shuffling rows come as they lie; an order of one's own may leave rows out."""
    rows = table(made[0], cache=cache)
    orders = [list(rows.sampler(seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    sampler = rows.sampler(seed=0)
    assert list(sampler) == list(sampler) == orders[0]
    sampler.set_epoch(1)
    assert list(sampler) == orders[1]
    assert abs(np.corrcoef(orders[0], np.arange(300))[0, 1]) < 0.2
    assert list(rows.sampler(shuffle=False)) == list(range(300))
    assert list(rows.sampler(order=[5, 3, 5])) == [5, 3, 5]
    assert list(rows.sampler(order=[])) == []
    for wrong in ([300], [-1, 2]):
        with pytest.raises(UnknownNameError, match="outside of 0 to 299"):
            rows.sampler(order=wrong)


def test_a_sampler_goes_on(made, cache):
    """From any place, with another number of ranks; a state of another sampler is refused."""
    rows = table(made[0], cache=cache)
    seen, states = [], None
    for world, stop in ((2, 31), (3, 17), (1, 300)):
        lanes = [rows.sampler(seed=5, rank=rank, world_size=world) for rank in range(world)]
        for lane in lanes:
            if states is not None:
                lane.load_state_dict(merge_states(json.loads(json.dumps(states))))
            seen += itertools.islice(lane, stop)
        states = [lane.state_dict() for lane in lanes]
    assert sorted(seen) == list(range(300))
    for other in (
        rows.sampler(seed=6),
        rows.sampler(seed=5, shuffle=False),
        rows.sampler(seed=5, order=[1, 2]),
    ):
        with pytest.raises(StateError):
            other.load_state_dict(states[0])
    with pytest.raises(StateError):
        stream(made[0], seed=5).load_state_dict(states[0])


def test_a_long_order_has_few_windows(made, cache, monkeypatch):
    """The rows that are divided among the ranks at a time grow with the order, so that its state stays small."""
    monkeypatch.setattr(tables_module, "_MOST_WINDOWS", 4)
    rows = table(made[0], cache=cache)
    order = np.arange(300)[::-1]
    lanes = [rows.sampler(order=order, rank=rank, world_size=3) for rank in range(3)]
    assert {lane.stages(0) for lane in lanes} == {75}
    parts = [list(lane) for lane in lanes]
    assert sorted(itertools.chain(*parts)) == list(range(300))
    for part in parts:
        assert part == sorted(part, reverse=True)
        assert [number // 75 for number in part] == sorted((number // 75 for number in part), reverse=True)
        assert len(part) == 100


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.97, 1.0])
def test_a_damaged_text_cache_is_made_anew(made, cache, place):
    """Text of a cache that is not as it was written is never given: the rows are those of the shards."""
    root, expected = made
    assert table(root, cache=cache)[7] == expected[7]
    for path in cache.rglob("*.arrow"):
        whole = bytearray(path.read_bytes())
        whole[min(int(place * len(whole)), len(whole) - 1)] ^= 1
        path.unlink()
        path.write_bytes(whole)
    assert list(table(root, cache=cache)) == expected
    assert list(table(root, cache=cache)) == expected


def test_a_cut_text_cache_is_made_anew(made, cache):
    """So is one that ends early, or has nothing."""
    root, expected = made
    for kept in (0, 3, 100):
        list(table(root, cache=cache))
        for path in cache.rglob("*.arrow"):
            start = path.read_bytes()[:kept]
            path.unlink()
            path.write_bytes(start)
        assert list(table(root, cache=cache)) == expected
