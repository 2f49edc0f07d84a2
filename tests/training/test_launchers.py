"""Each launcher, with two real processes, gives every row exactly once, or an error says what to write."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from folders import make_folder
from processes import environment, run

PROGRAM = Path(__file__).with_name("launcher_program.py")
MODULES = {
    "accelerate": "accelerate",
    "trainer": "transformers",
    "lightning": "lightning",
    "torchrun": "torch",
    "trl": "trl",
    "datasets": "torch",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def launched(tmp_path):
    """A function that starts the program under a launcher and gives, for each case, what the two ranks were given."""

    def start(how, rows):
        if not (importlib.util.find_spec("torch") and importlib.util.find_spec(MODULES[how])):
            pytest.skip(f"{MODULES[how]} is not installed")
        make_folder(tmp_path / "made", rows)
        out = tmp_path / "out"
        out.mkdir()
        command = [str(PROGRAM), how, str(tmp_path / "made"), str(out)]
        if how != "lightning":  # which starts its second process by itself
            command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
        packages = [path for path in sys.path if "site-packages" in path]
        path = ":".join([environment()["PYTHONPATH"], *packages])
        cache = str(tmp_path / "cache")
        env = {
            "OMP_NUM_THREADS": "1",
            "IRTD_DATASETS_CACHE": cache,
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "ignore",
        }
        done = run(command, env=env, deadline=200)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        ranks = [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]
        return {case: [ranks[0][case], ranks[1][case]] for case in ranks[0]}

    return start


def each_once(ranks, rows, *, most_left_out=0):
    """Every epoch has each row once over both ranks, but for the few that were to be left out."""
    for first, second in zip(*ranks, strict=True):
        counts = Counter(first + second)
        assert set(counts.values()) == {1}, [row for row, count in counts.items() if count > 1]
        assert rows - most_left_out <= len(counts) <= rows
        assert len(first)
        assert len(second)
    assert len(ranks[0]) == 1 or ranks[0][0] != ranks[0][1], "the epochs have one order"


@pytest.mark.parametrize("rows", [200, 203])
def test_accelerate(launched, rows):
    """Prepared loaders, divided in each of accelerate's ways, with rows that fill its batches and rows that do not."""
    cases = launched("accelerate", rows)
    refused = set()
    for case, ranks in cases.items():
        kind, dispatch, batches, even, _ = case.split()
        if isinstance(ranks[0], str):
            refused.add((kind, dispatch, batches, even))
            assert ranks[0] == ranks[1]
            assert "even=True" in ranks[0]
            assert ("even_batches=False" in ranks[0]) == (kind == "table" and dispatch == "False")
        else:
            each_once(ranks, rows, most_left_out=16 if even == "True" else 0)
    whole = ("table", "False", "False")  # accelerate repeats no row here
    assert refused == {
        tuple(case.split()[:4])
        for case in cases
        if rows % 2 and case.split()[3] == "False" and tuple(case.split()[:3]) != whole
    }


@pytest.mark.parametrize("how", ["trainer", "trl", "lightning"])
def test_trainers(launched, how):
    """The Trainer of transformers, TRL's for supervised fine-tuning, and Lightning's."""
    for case, ranks in launched(how, 200).items():
        # Lightning tells an iterable no epoch: its order stays.
        # Each of two workers has 96 of 100 rows, what fills the batches of two ranks.
        left_out = 8 if case == "trl 2" else 0
        each_once(
            [epochs[:1] for epochs in ranks] if case == "lightning stream True" else ranks,
            200,
            most_left_out=left_out,
        )


def test_torchrun(launched):
    """Nothing else divides: ranks by torch.distributed and by variables, workers that are forked and spawned."""
    for ranks in launched("torchrun", 203).values():
        each_once(ranks, 203)


def test_datasets_and_pipes(launched):
    """Rows of a stream that `datasets` or torch's pipes hand on are divided among ranks and workers once."""
    for case, ranks in launched("datasets", 203).items():
        print(case)
        each_once(ranks, 203)
