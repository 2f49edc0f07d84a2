"""A stream gives each row exactly once, in an order that seed and epoch decide, wherever it is stopped."""

import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import SCHEMA, Workers, make_folder, png, sample_image
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import python

from irtd_datasets.errors import (
    AnnotationError,
    ImageError,
    ReleaseNotFoundError,
    ShardChangedError,
    StateError,
    UnknownNameError,
)
from irtd_datasets.schema import TASKS
from irtd_datasets.testing import assert_stream_exact
from irtd_datasets.training import merge_states, stream
from irtd_datasets.training import shards as shards_module
from irtd_datasets.training.shards import OpenShard
from irtd_datasets.training.storage import LocalStorage


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 500 rows in 3 shards and its rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("stream") / "made"
    return root, make_folder(root, 500, shards=3, per_image=3)


@pytest.fixture
def copy(made, tmp_path):
    """The same folder to change."""
    return shutil.copytree(made[0], tmp_path / "made")


def by_id(rows):
    return {row["id"]: row for row in rows}


def loader(root, rank, world, workers, states, **options):
    """What a rank of a training script makes: a stream in each of its workers, or the stream itself."""
    streams = []
    for worker in range(max(workers, 1)):
        # The lanes of a rank stand `world` apart, as `lane_here` counts them.
        one = stream(root, rank=worker * world + rank, world_size=max(workers, 1) * world, **options)
        if states:
            one.load_state_dict(merge_states(json.loads(json.dumps(states))))
        streams.append(pickle.loads(pickle.dumps(one)))
    return Workers(streams) if workers else streams[0]


@pytest.mark.parametrize("index", [True, False])
def test_rows_are_those_of_the_files(made, tmp_path, index):
    """All columns of all rows come as pyarrow reads them, with an index or without."""
    root, expected = made
    if not index:
        root = shutil.copytree(root, tmp_path / "bare")
        shutil.rmtree(root / "index")
    rows = list(stream(root))
    assert len(rows) == len(expected)
    assert by_id(rows) == by_id(expected)


def test_order(made):
    """Seed and epoch decide the order; it is the same each time, and mixes row groups."""
    orders = {
        (seed, epoch): [row["width"] for row in stream(made[0], seed=seed, epoch=epoch, columns=["width"])]
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    again = stream(made[0], columns=["width"])
    again.set_epoch(1)
    assert [row["width"] for row in again] == orders[0, 1]
    for order in orders.values():
        assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5
        assert len({width // 20 for width in order[:32]}) >= 8  # row groups in the first 32 rows
    plain = [row["width"] for row in stream(made[0], columns=["width"], shuffle=False)]
    assert plain == sorted(plain)


@pytest.mark.parametrize("workers", [(0,), (2,), (2, 0, 3)])
@pytest.mark.parametrize("ranks", [(1,), (2, 3, 1)])
def test_stopped_and_taken_up(made, workers, ranks):
    """Each row comes once, whatever the numbers of ranks and workers before and after each stop."""
    check = assert_stream_exact(
        lambda *of: loader(made[0], *of, columns=["id", "image"]),
        workers,
        ranks,
        stops=(3, 0, 7, 1, 5),
        rows=[row["id"] for row in made[1]],
        balance=1 if workers == (0,) else None,
    )
    assert check.rows == 500


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 60),
    plan=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3), st.integers(0, 9)), max_size=6),
    even=st.booleans(),
)
def test_stopped_anywhere(tmp_path_factory, rows, plan, even):
    """Any stops, with more ranks than rows too; what `even` leaves out of one stretch comes in the next."""
    ranks, workers, stops = zip(*[*plan, (1, 0, 0)], strict=True)
    # An epoch that `even` would leave nothing of is refused; see `test_even_leaves_something`.
    rows = max(rows, ranks[0] * max(workers[0], 1) if even else 1)
    root = tmp_path_factory.getbasetemp() / f"any-{rows}"
    if not root.exists():
        make_folder(root, rows, shards=1, group=7)
    assert_stream_exact(
        lambda *of: loader(root, *of, columns=["id"], even=even),
        workers,
        ranks,
        stops=stops[:-1],
        rows=[f"made/{number:06d}" for number in range(rows)],
    )


def test_lanes_are_equal(made):
    """No lane is idle while others work: shares differ by one row, even with more lanes than row groups."""
    for lanes in (2, 7, 40):
        counts = [
            len(list(stream(made[0], rank=lane, world_size=lanes, columns=["id"]))) for lane in range(lanes)
        ]
        assert sum(counts) == 500
        assert max(counts) - min(counts) <= 1
        equal = [stream(made[0], rank=lane, world_size=lanes, even=True).left() for lane in range(lanes)]
        assert set(equal) == {500 // lanes}


def test_resuming_reads_only_what_is_left(made, monkeypatch):
    """A stream that goes on at 90 % reads no row group that was passed, and no image twice."""
    groups, images = [], []
    group, read = OpenShard.group, OpenShard.image
    monkeypatch.setattr(
        OpenShard, "group", lambda self, g, c, r: (groups.append((self.ref.name, g)), group(self, g, c, r))[1]
    )
    monkeypatch.setattr(OpenShard, "image", lambda self, o, n: (images.append(o), read(self, o, n))[1])
    first = stream(made[0])
    rows = [row for row, _ in zip(first, range(450), strict=False)]
    state = first.state_dict()
    groups.clear()
    images.clear()
    second = stream(made[0])
    second.load_state_dict(state)
    rest = list(second)
    assert len(rest) == 500 - state["done"]
    assert len(groups) <= 16  # of 26: the last block and what is left of the one before
    assert len(images) == sum(row["image"] is not None for row in rest)
    assert not {row["id"] for row in rows[: state["done"]]} & {row["id"] for row in rest}


def test_epochs_and_iterations(made):
    """A second iteration starts anew; a loaded state holds for one iteration; a finished epoch stays finished."""
    one = stream(made[0], columns=["id"])
    assert len(list(one)) == len(list(one)) == 500
    ended = one.state_dict()
    other = stream(made[0], columns=["id"])
    other.load_state_dict(ended)
    assert list(other) == []
    other.set_epoch(1)
    assert len(list(other)) == 500


def test_filters(made):
    """Filters leave exactly the rows that they name, whether the index or the shards tell."""
    root, expected = made
    names = ["grounding", "vqa"]
    wanted = [TASKS.index(name) for name in names]
    cases = [
        ({"tasks": names}, lambda row: row["task"] in wanted),
        ({"sources": "source-2"}, lambda row: row["source"] == "source-2"),
        ({"modalities": ["sar"], "tasks": names}, lambda row: row["modality"] == 2 and row["task"] in wanted),
        ({"without_issues": True}, lambda row: not row["issues"]),
        ({"without_issues": ["strange"]}, lambda row: "strange" not in row["issues"]),
    ]
    for options, test in cases:
        rows = list(stream(root, **options))
        assert by_id(rows) == by_id([row for row in expected if test(row)])
        assert rows


def test_filtered_rows_are_not_read(made, monkeypatch):
    """Images of other rows are not read, and row groups without a wanted row are not opened."""
    groups, images = [], []
    group, read = OpenShard.group, OpenShard.image
    monkeypatch.setattr(
        OpenShard, "group", lambda self, g, c, r: (groups.append((self.ref.name, g)), group(self, g, c, r))[1]
    )
    monkeypatch.setattr(OpenShard, "image", lambda self, o, n: (images.append(o), read(self, o, n))[1])
    rows = list(stream(made[0], tasks="grounding", sources="source-1"))
    assert 0 < len(rows) < 20
    assert len(images) == sum(row["image"] is not None for row in rows)
    assert len(groups) <= len(rows) < 26
    images.clear()
    list(stream(made[0], columns=["id", "messages"]))
    assert not images


def test_mixing(made, tmp_path):
    """Weights hold in every stretch of the epoch, each row comes as often as its rule says, and it can be resumed."""
    other = tmp_path / "other"
    make_folder(other, 100, shards=1, prefix="other")
    mix = {str(made[0]): 0.75, f"{other}:all": 0.25}
    rows = [row["id"] for row in stream(mix, columns=["id"])]
    assert len(set(rows)) == len(rows) == pytest.approx(400, abs=20)
    for start in range(0, len(rows) - 200, 50):
        share = sum(row.startswith("other") for row in rows[start : start + 200]) / 200
        assert 0.1 < share < 0.4
    every = [row["id"] for row in stream(mix, columns=["id"], stop="all_exhausted")]
    assert set(every) == {f"made/{n:06d}" for n in range(500)} | {f"other/{n:06d}" for n in range(100)}
    assert len(every) == pytest.approx(500 / 0.75, abs=30)
    assert len(list(stream(mix, columns=["id"], stop=1234))) == 1234
    both = [str(made[0]), str(other)]
    assert len({row["id"] for row in stream(both, columns=["id"])}) == 600
    equal = [row["id"] for row in stream(both, columns=["id"], temperature=1e9)]
    assert sum(row.startswith("other") for row in equal) == pytest.approx(len(equal) / 2, abs=3)
    assert_stream_exact(
        lambda *of: loader(mix, *of, columns=["id"], stop="all_exhausted"), (2, 0), (1, 3), stops=(5, 20, 3)
    )


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ((0.0, 0.0), "all weights are zero"),
        ((-1.0, 2.0), "expected numbers of 0 or more"),
        ((float("nan"), 1.0), "expected numbers of 0 or more"),
    ],
)
def test_wrong_weights(made, tmp_path, weights, match):
    """Weights that mean nothing are refused when the stream is made; a source of weight zero is left out."""
    other = tmp_path / "other"
    make_folder(other, 10, shards=1, prefix="other")
    with pytest.raises(UnknownNameError, match=match):
        stream(dict(zip([str(made[0]), str(other)], weights, strict=True)))
    rows = list(stream({str(made[0]): 1.0, str(other): 0.0}, columns=["id"]))
    assert len(rows) == 500


def test_wrong_names(made, tmp_path):
    """Folders, configs, splits, columns, tasks that do not exist are named, with those that do."""
    root = made[0]
    cases = [
        ((f"{root}:nothing",), {}, UnknownNameError, "The configs are all"),
        ((root,), {"split": "test"}, UnknownNameError, "Its splits are train"),
        ((root,), {"columns": ["nothing"]}, UnknownNameError, "Its columns are id"),
        ((root,), {"tasks": ["groundin"]}, UnknownNameError, "Known: captioning"),
        ((tmp_path / "nothing",), {}, ReleaseNotFoundError, "no such folder"),
        ((tmp_path,), {}, ReleaseNotFoundError, "README"),
        ((root,), {"max_side": 64}, UnknownNameError, "decode is None"),
        ((root,), {"on_error": "ignore"}, UnknownNameError, "on_error"),
    ]
    for arguments, options, kind, match in cases:
        with pytest.raises(kind, match=match):
            stream(*arguments, **options)


def test_foreign_states(made, tmp_path):
    """A state of another folder, seed, filter, lane or only a part of all states is refused, and says why."""
    one = stream(made[0], rank=0, world_size=2)
    next(iter(one))
    state = one.state_dict()
    make_folder(tmp_path / "other", 500, shards=2)
    cases = [
        (stream(tmp_path / "other", rank=0, world_size=2), "other data"),
        (stream(made[0], seed=1, rank=0, world_size=2), "of seed 0, here it is 1"),
        (stream(made[0], tasks=["vqa"], rank=0, world_size=2), "other data"),
    ]
    for other, match in cases:
        with pytest.raises(StateError, match=match):
            other.load_state_dict(state)
    other = stream(made[0], rank=1, world_size=2)
    other.load_state_dict(state)
    with pytest.raises(StateError, match=r"lane 0 of 2, this is lane 1 of 2[\s\S]*merge_states"):
        next(iter(other))
    with pytest.raises(StateError, match="1 of 2 states are missing"):
        merge_states([state])
    with pytest.raises(StateError, match="lane 0 is there twice"):
        merge_states([state, {**state, "done": 5}])
    with pytest.raises(StateError, match="no state"):
        merge_states([{"epoch": 1}])
    with pytest.raises(StateError, match="differ in 'epoch'"):
        merge_states([state, {**state, "lane": 1, "epoch": 1}])


def test_unreadable_image(tmp_path):
    """One image that cannot be decoded ends the run, is left out and counted, or is given to a function."""

    def data(number):
        return b"no image" if number == 7 else png(number)

    make_folder(tmp_path, 30, shards=1, data=data)
    with pytest.raises(ImageError, match="made/000007"):
        list(stream(tmp_path, decode="rgb"))
    one = stream(tmp_path, decode="rgb", on_error="skip")
    rows = list(one)
    assert len(rows) == 29
    assert one.skipped == 1
    assert one.state_dict()["skipped"] == 1
    assert rows[0]["image"] is None or rows[0]["image"].shape == (4, 6, 3)
    seen = []

    def instead(error, row):
        seen.append((type(error), row["id"]))
        return {**row, "image": None}

    assert len(list(stream(tmp_path, decode="rgb", on_error=instead))) == 30
    assert seen == [(ImageError, "made/000007")]
    assert_stream_exact(
        lambda *of: loader(tmp_path, *of, decode="rgb", on_error="skip"),
        (0, 2),
        (2,),
        stops=(4, 2),
        rows=[f"made/{n:06d}" for n in range(30) if n != 7],
    )


def test_shard_replaced_during_the_epoch(copy):
    """A shard that is written anew while it is read is refused, not mixed in; so is a state of the old one."""
    one = stream(copy)
    rows = iter(one)
    next(rows)
    state = one.state_dict()
    for path in sorted(copy.glob("data/part/*")):
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
    with pytest.raises(ShardChangedError, match="replaced since"):
        list(rows)
    with pytest.raises(ShardChangedError, match="do not belong together"):
        stream(copy)
    shutil.rmtree(copy / "index")
    with pytest.raises(StateError, match="other data"):
        stream(copy).load_state_dict(state)
    assert len(list(stream(copy))) == 497


def test_shard_of_the_same_size(copy):
    """A file of the same size but other content is known by its footer."""
    first, _second, _ = sorted(copy.glob("data/part/*"))
    content = bytearray(first.read_bytes())
    place = content.rindex(b"made/")
    content[place : place + 4] = b"MADE"
    first.write_bytes(content)
    with pytest.raises(ShardChangedError, match="footer"):
        list(stream(copy))


def test_damaged_shard(copy):
    """A shard that was cut short, and a file that is no Parquet, are named."""
    shutil.rmtree(copy / "index")
    path = min(copy.glob("data/part/*"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AnnotationError, match=path.name):
        stream(copy)
    path.write_bytes(b"<html>no such file</html>" * 100)
    with pytest.raises(AnnotationError, match="no Parquet file"):
        stream(copy)


def test_files_of_other_writers(made, tmp_path):
    """Large, compressed row groups of a plain pyarrow file are read row by row, each once."""
    root = tmp_path / "plain"
    (root / "data/part").mkdir(parents=True)
    shutil.copy(made[0] / "README.md", root)
    table = pa.Table.from_pylist(made[1], schema=SCHEMA)
    for name, codec in (("a", "snappy"), ("b", "none")):
        pq.write_table(table, root / f"data/part/train-{name}.parquet", compression=codec, row_group_size=300)
    rows = list(stream(root))
    assert len(rows) == 1000
    assert by_id(rows) == by_id(made[1])


def test_small_pieces_of_large_groups(made, tmp_path, monkeypatch):
    """A row group larger than what is read at a time is drawn in pieces, which different ranks may take."""
    from irtd_datasets.training import source

    monkeypatch.setattr(source, "UNIT_ROWS", 40)
    root = tmp_path / "plain"
    (root / "data/part").mkdir(parents=True)
    shutil.copy(made[0] / "README.md", root)
    pq.write_table(pa.Table.from_pylist(made[1], schema=SCHEMA), root / "data/part/train-a.parquet")
    assert len(stream(root).sources[0].units.counts) == 13
    assert_stream_exact(
        lambda *of: loader(root, *of), (0, 2), (3, 1), stops=(6, 2), rows=[row["id"] for row in made[1]]
    )
    filtered = list(stream(root, tasks="vqa"))
    assert by_id(filtered) == by_id([row for row in made[1] if row["task"] == TASKS.index("vqa")])


def test_without_pread(made, monkeypatch):
    """Where the system has no positional read, images are the same."""
    monkeypatch.setattr(shards_module, "_HAS_PREAD", False)
    assert by_id(stream(made[0])) == by_id(made[1])


def test_slow_imports_before_the_first_row(made):
    """The first row of a stream and of a table needs neither pandas nor numpy.ma, which take longer than reading it."""
    code = """
import sys
import numpy
before = set(sys.modules)  # older versions of NumPy load all of themselves
from irtd_datasets.training import stream, table
assert next(iter(stream(sys.argv[1])))["id"] and table(sys.argv[1], cache=sys.argv[2])[10]["image"] is None
assert next(iter(stream(sys.argv[1], tasks="vqa", without_issues=["no-such-code"])))["id"]
assert not {"pandas", "numpy.ma"} & (set(sys.modules) - before)
"""
    done = python(code, made[0], made[0].parent / "cache")
    assert done.returncode == 0, done.stderr


def test_local_storage_refuses_short_files(tmp_path):
    """A range behind the end of a file is an error, never fewer bytes."""
    (tmp_path / "a").write_bytes(sample_image(1))
    with pytest.raises(ShardChangedError, match="ends before"):
        LocalStorage(str(tmp_path)).read("a", 10, 100_000)
