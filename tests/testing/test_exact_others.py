"""What `assert_stream_exact` says of loaders that are not ours: the same proof, whatever the loader."""

import pytest

from irtd_datasets.testing import assert_stream_exact

ROWS = 60

loader_warnings = pytest.mark.filterwarnings(
    "ignore:.*set_vital:UserWarning", "ignore:This DataLoader will create:UserWarning"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """60 rows in 4 Parquet files with row groups of 5, as `datasets` streams them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path_factory.mktemp("others")
    for number in range(4):
        ids = [f"row-{row:02d}" for row in range(number * 15, number * 15 + 15)]
        pq.write_table(pa.table({"id": ids}), root / f"train-{number}.parquet", row_group_size=5)
    return root


def stream_of_datasets(files, rank, world, states, *, buffer=0):
    """A stream of `datasets` for a rank; its state is that of the rank, as its documentation has it."""
    import datasets
    from datasets.distributed import split_dataset_by_node

    rows = datasets.load_dataset("parquet", data_dir=str(files), split="train", streaming=True)
    if buffer:
        rows = rows.shuffle(seed=0, buffer_size=buffer)
    rows = split_dataset_by_node(rows, rank, world)
    if states:
        rows.load_state_dict(states[rank % len(states)])
    return rows


def test_datasets_goes_on_with_the_same_ranks(files):
    """A stream of `datasets` without a buffer is exact with the number of ranks that it was stopped with."""
    check = assert_stream_exact(
        lambda rank, world, _, states: stream_of_datasets(files, rank, world, states),
        ranks=(2,),
        stops=(7, 3),
        rows=[f"row-{row:02d}" for row in range(ROWS)],
    )
    assert check.rows == ROWS


def test_datasets_with_other_ranks(files):
    """With twice the ranks its states are taken without a word and mean other rows: the helper names them."""
    with pytest.raises(AssertionError, match=r"rows (are missing|came more than once): .*row-"):
        assert_stream_exact(
            lambda rank, world, _, states: stream_of_datasets(files, rank, world, states),
            ranks=(2, 4),
            stops=(7,),
            rows=[f"row-{row:02d}" for row in range(ROWS)],
        )


def test_sampler_of_torch():
    """The DistributedSampler of torch repeats rows where the ranks do not divide them, and has no state."""
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")

    class Sampler(data.DistributedSampler):
        def state_dict(self):
            return {}

    def make(rank, world, _workers, _states):
        return Sampler(range(ROWS + 1), num_replicas=world, rank=rank, shuffle=True, seed=0)

    with pytest.raises(AssertionError, match="2 rows came more than once"):
        assert_stream_exact(make, ranks=(3,), rows=range(ROWS + 1))
    assert assert_stream_exact(make, ranks=(1,), rows=range(ROWS + 1)).rows == ROWS + 1
    with pytest.raises(AssertionError, match="5 rows came more than once"):
        assert_stream_exact(make, ranks=(1,), stops=(5,), rows=range(ROWS + 1))


@loader_warnings
def test_loader_of_torchdata(files):
    """StatefulDataLoader over a stream of `datasets` is exact with the same workers, and not with others."""
    pytest.importorskip("torch", reason="torch is not installed")
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def make(rank, world, workers, states):
        rows = stream_of_datasets(files, rank, world, None)
        loader = stateful.StatefulDataLoader(rows, batch_size=2, num_workers=workers, collate_fn=list)
        if states:
            loader.load_state_dict(states[rank])
        return loader

    names = [f"row-{row:02d}" for row in range(ROWS)]
    assert assert_stream_exact(make, workers=(2,), stops=(5,), rows=names).rows == ROWS
    with pytest.raises(AssertionError):
        assert_stream_exact(make, workers=(2, 3), stops=(5,), rows=names)


@loader_warnings
def test_ours_in_the_loader_of_torchdata(files):
    """A stream of ours in the same loader is exact with other workers and ranks, too: the states are put together."""
    pytest.importorskip("torch", reason="torch is not installed")
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    from irtd_datasets.training import merge_states, stream

    (files / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: train-*\n---\n# Made\n"
    )

    def make(rank, world, workers, states):
        rows = stream(files, rank=rank, world_size=world)
        if states:
            rows.load_state_dict(merge_states(states))
        return stateful.StatefulDataLoader(rows, batch_size=2, num_workers=workers, collate_fn=list)

    names = [f"row-{row:02d}" for row in range(ROWS)]
    check = assert_stream_exact(make, workers=(2, 3, 0), ranks=(2, 1, 3), stops=(3, 5), rows=names)
    assert check.rows == ROWS
