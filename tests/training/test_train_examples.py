"""The programs in examples/: a model learns, and a run that is stopped goes on with the very next batch.

Where torch and TRL are absent only the curriculum is tried. Programs run in processes of their own.
"""

import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hub_server import hub_server
from processes import environment
from test_remote import put

from irtd_datasets.errors import ArrayError
from irtd_datasets.evaluate import ScoringOptions, score_file
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training import table
from irtd_datasets.training.curriculum import assign_tiers
from irtd_datasets.training.scores import read_scores
from irtd_datasets.writing.engine import build

EXAMPLES = Path(__file__).parents[2] / "examples"
MISSING = [
    name for name in ("torch", "torchdata", "transformers", "trl") if importlib.util.find_spec(name) is None
]
trains = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (the extra `examples`)"),
]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}  # one thread: it shares the machine with other tests
DEADLINE = 250

# The example, with rows among its data that have no image.
PICKY = """
import train_vlm
from irtd_datasets.training.examples import LeftOut

chat_transform = train_vlm.chat_transform

def picky(form):
    chat = chat_transform(form)

    def treat(row):
        if row["id"].endswith("3"):
            raise LeftOut("image-missing")
        return chat(row)

    return treat

train_vlm.chat_transform = picky
train_vlm.main()
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Built samples of IR-TD and of a dataset with visible images."""
    root = tmp_path_factory.mktemp("examples")
    for name, config, rows in (("irtd", "instruct", 100), ("rs_gpt4v", "default", 40)):
        write_sample_release(name, root / f"{name}-release", rows=rows)
        build(name, [config], absolute_options(str(root / f"{name}-release"), {}, {}, {}), root / name)
    return root


def command(*arguments, ranks=1):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    return [sys.executable, *launcher, str(EXAMPLES / "train_vlm.py"), *map(str, arguments)]


def train(*arguments, ranks=1, env=None, fails=False):
    """Run the example; returns what it printed."""
    done = subprocess.run(
        command(*arguments, ranks=ranks),
        env=environment(**ENVIRONMENT, **(env or {})),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def steps(out, rank=0):
    """What the log says of each step: loss, epoch, ids; of two lines of a step the last."""
    lines = map(json.loads, (out / f"steps-{rank}.jsonl").read_text().splitlines())
    return {line["step"]: line for line in lines}


@pytest.fixture(scope="module")
def whole(folders):
    """An uninterrupted run over three epochs."""
    out = folders / "whole"
    return train("--data", f"{folders}/irtd:instruct", "--out", out, "--steps", 36), steps(out)


def row_ids(folder, **filters):
    rows = table(folder, columns=["id"], **filters)
    return [rows[number]["id"] for number in range(len(rows))]


class TestTraining:
    pytestmark = trains

    def test_loss_falls(self, folders, whole):
        """The model learns, each epoch has each row once, and speed and times are printed."""
        printed, log = whole
        assert statistics.median([log[n]["loss"] for n in range(27, 37)]) < 0.5 * log[1]["loss"]
        first = [one for line in log.values() if line["epoch"] == 0 for one in line["ids"]]
        assert sorted(first) == sorted(row_ids(f"{folders}/irtd:instruct"))
        assert first != [one for line in log.values() if line["epoch"] == 1 for one in line["ids"]]
        assert "rows/s" in printed
        assert "% batches" in printed

    def test_goes_on_after_a_kill(self, folders, whole):
        """Killed between two checkpoints and resumed, it trains on the same batches with the same losses."""
        out = folders / "killed"
        base = ["--data", f"{folders}/irtd:instruct", "--out", out, "--save-every", 6]
        with subprocess.Popen(
            command(*base, "--steps", 5000),
            env=environment(**ENVIRONMENT),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            until = time.monotonic() + DEADLINE
            while not (out / "steps-0.jsonl").exists() or 15 not in steps(out):
                assert running.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            os.killpg(running.pid, signal.SIGKILL)
        train(*base, "--steps", 36, "--resume")
        log = steps(out)
        assert [log[n] for n in range(1, 37)] == [whole[1][n] for n in range(1, 37)]

    def test_goes_on_behind_the_end_of_an_epoch(self, folders, whole):
        """A checkpoint at the last batch of an epoch goes on with the next epoch, whatever the number of workers."""
        last = max(n for n, line in whole[1].items() if line["epoch"] == 0)
        out = folders / "ended"
        base = ["--data", f"{folders}/irtd:instruct", "--out", out]
        train(*base, "--steps", last)
        train(*base, "--steps", last + 4, "--resume", "--workers", 0)
        log = steps(out)
        assert [log[n]["ids"] for n in range(1, last + 5)] == [whole[1][n]["ids"] for n in range(1, last + 5)]

    def test_two_processes_then_one(self, folders):
        """Two processes see different rows and stay alike; one goes on with what both left, each row once."""
        out = folders / "two"
        base = ["--data", f"{folders}/irtd:instruct", "--out", out]
        train(*base, "--steps", 4, ranks=2)
        seen = [one for rank in (0, 1) for line in steps(out, rank).values() for one in line["ids"]]
        assert len(set(seen)) == len(seen) == 2 * 4 * 8
        train(*base, "--steps", 12, "--resume")
        every = row_ids(f"{folders}/irtd:instruct")
        seen += [one for n, line in steps(out).items() if n > 4 and line["epoch"] == 0 for one in line["ids"]]
        assert sorted(seen) == sorted(every)

    def test_streams_a_mixture_from_the_hub(self, folders, tmp_path):
        """Names of the Hub, weights and tasks work, by number and as a stream, which goes on in each of its workers."""
        with hub_server(tmp_path / "hub") as hub:
            put(hub, folders / "irtd", "tester/irtd")
            env = hub.environment(tmp_path / "home")
            data = ["--data", "tester/irtd:instruct=0.7", f"{folders}/rs_gpt4v:default=0.3"]
            stream = [*data, "--stream", "--workers", 2, "--batch-size", 4]
            train(*stream, "--steps", 8, "--out", tmp_path / "a", env=env)
            train(*stream, "--steps", 3, "--out", tmp_path / "b", env=env)
            train(*stream, "--steps", 8, "--out", tmp_path / "b", "--resume", env=env)
            assert steps(tmp_path / "a") == steps(tmp_path / "b")
            ids = [one for line in steps(tmp_path / "a").values() for one in line["ids"]]
            assert {one.split("/")[0] for one in ids} == {"irtd", "rs_gpt4v"}
            only = ["--data", "tester/irtd:instruct", "--tasks", "location", "--steps", 2]
            train(*only, "--out", tmp_path / "c", env={**env, "XDG_CACHE_HOME": str(tmp_path / "cache")})
            ids = {one for line in steps(tmp_path / "c").values() for one in line["ids"]}
            assert ids <= set(row_ids(f"{folders}/irtd:instruct", tasks="location"))

    @pytest.mark.parametrize("form", [[], ["--stream"]])
    def test_curriculum(self, folders, tmp_path, form):
        """Every process goes from easy to hard rows, tier by tier."""
        score(folders)
        out = tmp_path / "easy"
        data = f"{folders}/irtd:instruct"
        more = ["--curriculum", folders / "scores.parquet", "--tiers", 2, "--steps", 5, *form]
        train("--data", data, "--out", out, *more, ranks=2)
        ids = row_ids(data)
        difficulty = read_scores(folders / "scores.parquet", ids)["difficulty"]
        tier = dict(zip(ids, assign_tiers(difficulty, 2).tolist(), strict=True))
        for rank in (0, 1):
            tiers = [tier[one] for line in steps(out, rank).values() for one in line["ids"]]
            assert len(tiers) == 40
            assert tiers == sorted(tiers)
            assert set(tiers) == {0, 1}

    def test_rows_that_cannot_be_trained_on(self, folders, tmp_path):
        """They are named and left out of their batch; the others of the batch and the number of batches stay."""
        program = tmp_path / "picky.py"
        program.write_text(PICKY)
        arguments = [
            "--data",
            f"{folders}/irtd:instruct",
            "--out",
            tmp_path,
            "--steps",
            "3",
            "--workers",
            "0",
        ]
        done = subprocess.run(
            [sys.executable, program, *arguments],
            env=environment(**ENVIRONMENT, PYTHONPATH=f"{EXAMPLES.parent}{os.pathsep}{EXAMPLES}"),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        ids = [one for line in steps(tmp_path).values() for one in line["ids"]]
        named = [line.split()[2][:-1] for line in done.stderr.splitlines() if line.startswith("left out")]
        assert named
        assert {one[-1] for one in named} == {"3"}
        assert len(ids) == len(set(ids)) == 3 * 8 - len(named)
        assert not set(ids) & set(named)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["instruct", "--resume"], "no checkpoint in"),
            (["nothing"], "The configs are"),
            (["instruct", "--tasks", "vqa"], "none of these tasks"),
        ],
    )
    def test_mistakes_are_told(self, folders, tmp_path, arguments, says):
        """A mistake is a message and no traceback."""
        config, *more = arguments
        printed = train(
            "--data", f"{folders}/irtd:{config}", "--out", tmp_path / "o", "--steps", 1, *more, fails=True
        )
        assert says in printed
        assert "Traceback" not in printed


def score(folders):
    """Run the example that scores."""
    done = subprocess.run(
        [
            *[sys.executable, EXAMPLES / "curriculum.py", "--out", folders / "scores.parquet"],
            *["--data", f"{folders}/irtd:instruct", "--visible", f"{folders}/rs_gpt4v:default"],
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scores(folders):
    """Each row has scores under its id; the warm-up brought images and texts together."""
    printed = score(folders)
    ids = row_ids(f"{folders}/irtd:instruct")
    scores = read_scores(folders / "scores.parquet", ids)
    assert f"{len(ids)} rows scored" in printed
    assert scores["loss_after"].mean() < scores["loss_before"].mean()
    assert set(scores) >= {"difficulty", "distance", "variation", "weight"}
    assert ((scores["difficulty"] >= 0) & (scores["difficulty"] <= 1)).all()
    assert len(np.unique(scores["difficulty"])) > len(ids) / 2
    with pytest.raises(ArrayError, match="1 of 1 rows have no score"):
        read_scores(folders / "scores.parquet", ["another"])


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")), reason="not installed"
)
def test_a_local_model_answers_and_is_scored(folders):
    """`predict_local.py` answers every scored row, goes on where it was ended, and `irtd score` takes its file."""
    out = folders / "local.jsonl"
    base = [
        sys.executable,
        EXAMPLES / "predict_local.py",
        "--data",
        f"{folders}/rs_gpt4v:conversation",
        "--out",
        out,
    ]

    def answered(*more):
        done = subprocess.run(
            [*map(str, base), *more],
            env=environment(**ENVIRONMENT),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text().splitlines()]

    first = answered("--limit", "3")
    out.write_text(out.read_text() + '{"id": "cut off')
    whole = answered()
    assert whole[: len(first)] == first
    assert len({(line["id"], line.get("round", 0)) for line in whole}) == len(whole)
    scores = score_file(out, folders / "rs_gpt4v", "conversation", ScoringOptions(resamples=0))
    assert scores.tasks["conversation"].missing == 0
    assert scores.tasks["conversation"].questions == len(whole)
