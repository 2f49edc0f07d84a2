"""How long a loaded state holds, and what is refused: the right rows or the reason, never other rows."""

import importlib.util
import itertools
import json
import types

import pytest
from folders import all_batches, make_folder

from irtd_datasets.errors import StateError
from irtd_datasets.training import merge_states, stream, table

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 with torch 2.13
ROWS = 120
needs_torch = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("torch", "torchdata")),
    reason="torch and torchdata are not installed: the workers of these tests are theirs",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 120 rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("states") / "made"
    make_folder(root, ROWS)
    return root


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def train(root, **options):
    return stream(root, columns=["id"], seed=3, **options)


def ids(rows):
    return [row["id"] for row in rows]


def loader(made, kind, workers, cache=None, *, plain=False, **options):
    """What a training script makes: something with `set_epoch`, and a loader of it."""
    from torch.utils.data import DataLoader
    from torchdata.stateful_dataloader import StatefulDataLoader

    make = DataLoader if plain else StatefulDataLoader
    if kind == "stream":
        rows = walk = train(made)
    else:
        rows = table(made, columns=["id"], cache=cache)
        walk = options["sampler"] = rows.sampler(seed=3)
    if workers:
        options.setdefault("multiprocessing_context", "fork")
    return walk, make(rows, batch_size=8, num_workers=workers, collate_fn=ids, **options)


def flat(batches):
    return list(itertools.chain(*batches))


@needs_torch
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_a_merged_state_holds_for_one_pass(made, torch, plain, persistent, context):
    """The rest of an epoch comes once; every later pass is whole, also where each pass has workers of its own."""
    one, made_by = loader(made, "stream", 2)
    before = flat(itertools.islice(made_by, 6))
    state = merge_states([made_by.state_dict()])
    one, again = loader(
        made, "stream", 2, plain=plain, persistent_workers=persistent, multiprocessing_context=context
    )
    one.load_state_dict(state)
    passes = [flat(again) for _ in range(3)]
    assert sorted(before + passes[0]) == sorted(ids(train(made)))
    assert [len(rows) for rows in passes[1:]] == [ROWS, ROWS]


@needs_torch
def test_passes_that_other_processes_come_between(made, torch):
    """A loader of something else may make workers in between, and generators may give the same numbers each time."""
    one, again = loader(made, "stream", 2, plain=True)
    next(iter(one))
    one.load_state_dict(one.state_dict() | {"lane": None, "todo": [[100, ROWS]]})
    other = loader(made, "stream", 1, plain=True)[1]
    counts = []
    for _ in range(3):
        torch.manual_seed(0)
        list(other)
        counts.append(len(flat(again)))
    assert counts == [20, ROWS, ROWS]


@needs_torch
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["stream", "table"])
def test_a_state_of_the_end_of_an_epoch(made, torch, tmp_path, kind, workers):
    """The next epoch comes whole and in its own order, whether `set_epoch` is called before or after the load."""
    walk, one = loader(made, kind, workers, tmp_path)
    walk.set_epoch(1)
    wanted = flat(one)
    walk, one = loader(made, kind, workers, tmp_path)
    walk.set_epoch(0)
    first = flat(one)
    state = one.state_dict()
    for early in (False, True):
        walk, one = loader(made, kind, workers, tmp_path)
        if early:
            walk.set_epoch(1)
        one.load_state_dict(state)
        if not early:
            walk.set_epoch(1)
        assert flat(one) == wanted
        walk.set_epoch(0)
        assert flat(one) == first
    walk, one = loader(made, kind, workers, tmp_path)
    one.load_state_dict(state)  # and no epoch is chosen: the order stays, as without a stop
    assert [flat(one), flat(one)] == [first, first]


@needs_torch
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["stream", "table"])
def test_an_epoch_that_contradicts_the_state(made, torch, tmp_path, kind, workers):
    """A state from the middle of one epoch and a loop that is at another: refused, since either could be meant."""
    walk, one = loader(made, kind, workers, tmp_path)
    walk.set_epoch(2)
    before = flat(itertools.islice(one, 5))
    state = one.state_dict()
    for epoch in (0, 1, 3):
        walk, one = loader(made, kind, workers, tmp_path)
        one.load_state_dict(state)
        walk.set_epoch(epoch)
        with pytest.raises(StateError, match=r"middle of epoch 2[\s\S]*set_epoch\(2\)"):
            all_batches(one)
    for chosen in (True, False):
        walk, one = loader(made, kind, workers, tmp_path)
        one.load_state_dict(state)
        if chosen:
            walk.set_epoch(2)
        assert len(set(before + flat(one))) == ROWS
        assert walk.epoch == 2


def test_set_epoch_does_not_go_back(made):
    """A loop that begins with 0 though the state is of epoch 2 is told so; forward is a choice."""
    one = train(made, epoch=2)
    next(iter(one))
    other = train(made)
    other.load_state_dict(one.state_dict())
    with pytest.raises(StateError, match=r"state of epoch 2 was loaded[\s\S]*Begin the loop with epoch 2"):
        other.set_epoch(0)
    other.set_epoch(2)
    assert len(list(other)) == ROWS - 1
    other.set_epoch(0)
    assert len(list(other)) == ROWS
    other.load_state_dict(one.state_dict())
    other.set_epoch(3)
    assert ids(other) == ids(train(made, epoch=3))


def test_a_state_follows_the_epoch(made):
    """After `set_epoch` the place is the start of that epoch, not the end of the one before."""
    one = train(made)
    list(one)
    one.set_epoch(1)
    state = one.state_dict()
    assert (state["epoch"], state["done"]) == (1, 0)
    other = train(made)
    other.load_state_dict(state)
    assert ids(other) == ids(train(made, epoch=1))


@needs_torch
@pytest.mark.parametrize(("workers", "kind"), [(0, "stream"), (2, "stream"), (2, "table")])
def test_snapshots_of_every_few_steps(made, torch, tmp_path, workers, kind):
    """States that are older than the batches that came are refused by `merge_states`, and right where they are not."""
    refused = 0
    for steps in range(1, 8):
        _, one = loader(made, kind, workers, tmp_path, snapshot_every_n_steps=3)
        before = flat(itertools.islice(one, steps))
        state = one.state_dict()
        try:
            left = merge_states([state])
        except StateError as error:
            assert "snapshot_every_n_steps=1" in str(error)  # noqa: PT017 - refused for most steps, not for all
            refused += 1
        else:
            walk, _ = loader(made, kind, 0, tmp_path)
            walk.load_state_dict(left)
            rest = list(walk) if kind == "table" else ids(walk)
            assert len(before) + len(rest) == ROWS
        _, again = loader(made, kind, workers, tmp_path, snapshot_every_n_steps=3)
        again.load_state_dict(state)
        assert len(set(before + flat(again))) == ROWS
    assert refused == (5 if workers else 0)


@needs_torch
def test_the_place_of_workers(made, torch):
    """A stream that the workers of a plain DataLoader read knows of no place, and says so."""
    one, plain = loader(made, "stream", 2, plain=True)
    batches = iter(plain)
    next(batches)
    with pytest.raises(StateError, match="StatefulDataLoader"):
        one.state_dict()
    list(batches)
    one.set_epoch(1)
    assert one.state_dict()["epoch"] == 1


def test_a_state_of_another_version(made):
    """It names both versions, and is not taken for one of other data."""
    one = train(made)
    next(iter(one))
    state = one.state_dict()
    old = {key: value for key, value in state.items() if key not in {"content", "library"}}
    for other in ({**state, "irtd_position": 9, "library": "7.0"}, {**old, "irtd_position": 1}):
        for use in (train(made).load_state_dict, lambda states: merge_states([states])):
            with pytest.raises(StateError, match=r"format [91] of irtd_datasets (7\.0|0\.1\.0 or older)"):
                use(json.loads(json.dumps(other)))


def test_even_leaves_something(made, tmp_path):
    """More ranks than rows cannot have equal shares: an epoch without rows is refused, not gone through."""
    for walk in (
        train(made, rank=0, world_size=ROWS + 1, even=True),
        table(made, cache=tmp_path).sampler(rank=0, world_size=ROWS + 1, even=True),
    ):
        with pytest.raises(StateError, match=f"{ROWS} rows cannot be divided evenly among {ROWS + 1}"):
            list(walk)
    assert len(list(train(made, rank=0, world_size=ROWS, even=True))) == 1


def test_the_length_of_a_sampler(made, tmp_path):
    """It is that of the pass under way or of the next: a pass that is over does not make the next one empty."""
    sampler = table(made, cache=tmp_path).sampler(rank=0, world_size=1)
    lengths = []
    for _ in range(2):
        lengths.append(len(sampler))
        walk = iter(sampler)
        next(walk)
        lengths.append(len(sampler))
        lengths.append(len(list(walk)) + 1)
    assert lengths == [ROWS] * 6


# A launcher that divides -------------------------------------------------------------------------------------------

SHARD = """
class IterableDatasetShard:
    split_batches = False
    def __init__(self, dataset, index, drop_last=False):
        self.dataset, self.index, self.drop_last, self.batch_size, self.num_processes = dataset, index, drop_last, 4, 2
    def __iter__(self):
        first, batch = None, []
        for row in self.dataset:
            batch.append(row)
            if len(batch) == 8:
                yield from batch[self.index * 4 : self.index * 4 + 4]
                first, batch = first or batch, []
        if batch and not self.drop_last:
            yield from (batch + (first or batch))[: 8][self.index * 4 : self.index * 4 + 4]
"""


@pytest.fixture
def shard():
    """A wrapper that divides as accelerate's does, for machines without accelerate."""
    module = types.ModuleType("accelerate.data_loader")
    exec(SHARD, module.__dict__)
    return module.IterableDatasetShard


@pytest.fixture
def rank(monkeypatch):
    """Be a rank of two, as torchrun says it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    return lambda number: monkeypatch.setenv("RANK", str(number))


def test_rows_are_divided_once(made, tmp_path, shard, rank):
    """By the launcher where it divides, else by the stream itself; never by both."""
    seen, alone = [], []
    for number in range(2):
        rank(number)
        seen += ids(shard(train(made), number))
        alone += ids(train(made))
    assert sorted(seen) == sorted(alone) == [f"made/{number:06d}" for number in range(ROWS)]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split by node"])
def test_datasets_around_a_stream(made, rank, split):
    """Rows that an `IterableDataset` of `datasets` hands on are divided by it where it divides, else by the stream."""
    from datasets.distributed import split_dataset_by_node

    seen = []
    for number in range(2):
        rank(number)
        rows = train(made).to_iterable_dataset().map(dict)
        seen += ids(split_dataset_by_node(rows, number, 2) if split else rows)
    assert sorted(seen) == [f"made/{number:06d}" for number in range(ROWS)]


def test_a_stream_as_a_dataset_of_datasets(made):
    """It has the stream's epoch and place."""
    rows = train(made)
    dataset = rows.to_iterable_dataset()
    assert ids(dataset) == ids(rows)
    dataset.set_epoch(1)
    assert rows.epoch == 1
    walk = iter(dataset)
    first = [next(walk)["id"] for _ in range(5)]
    other = train(made).to_iterable_dataset()
    other.load_state_dict(dataset.state_dict())
    assert first + ids(other) == ids(rows)


def test_a_look_at_the_first_row_leaves_the_state(made):
    """Trainers look at one row of what they are given before they go through it."""
    before = train(made)
    walk = iter(before)
    for _ in range(40):
        next(walk)
    rows = train(made)
    rows.load_state_dict(before.state_dict())
    looked = next(iter(rows))["id"]
    left = ids(rows)
    assert len(left) == ROWS - 40
    assert left[0] == looked
    assert len(ids(rows)) == ROWS  # and the next pass is a whole one


def test_a_launcher_that_repeats_rows(made, shard, rank):
    """Rows that would fill up its last batch are told before the first; `even` leaves the rest out instead."""
    rank(1)
    left = train(made, epoch=0)
    left.load_state_dict(left.state_dict() | {"lane": None, "todo": [[0, 101]]})
    with pytest.raises(
        StateError, match=r"IterableDatasetShard would give some of the 101 rows twice[\s\S]*even=True"
    ):
        list(shard(left, 1))
    assert len(list(shard(train(made, tasks=["vqa", "grounding"], even=True), 1))) % 4 == 0
    with pytest.raises(StateError, match="divides the rows among the ranks once more"):
        list(shard(train(made, rank=1, world_size=2), 1))


def test_a_state_saved_under_a_launcher(made, shard, rank):
    """It reads ahead of what it gives: only the start and the end of an epoch are places that can be gone on from."""
    rank(0)
    one = train(made)
    rows = iter(shard(one, 0))
    next(rows)
    state = one.state_dict()
    for use in (train(made).load_state_dict, lambda states: merge_states([states])):
        with pytest.raises(StateError, match="skip_first_batches"):
            use(state)
    list(rows)
    train(made).load_state_dict(one.state_dict())


def test_a_launcher_that_does_not_tell_the_rank(made, monkeypatch):
    """WORLD_SIZE without RANK is no rank 0: every process would read the same rows."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(StateError, match="RANK is None"):
        next(iter(train(made)))
    assert len(list(train(made, rank=0, world_size=1))) == ROWS
