"""Runs under each launcher are killed anywhere and taken up by another number of ranks: every row once an epoch."""

import importlib.util
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from folders import make_folder
from processes import ROOT, environment
from test_torchrun import DEADLINE, Run

PROGRAM = Path(__file__).with_name("killed_program.py")
KILLS = int(os.environ.get("IRTD_LAUNCHER_KILLS", "10"))
ROWS, EPOCHS = 240, 3
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "{ranks}"]
LAUNCHERS = {
    "torchrun": ("torch", TORCHRUN),
    "accelerate": ("accelerate", TORCHRUN),  # its own launcher starts several processes without a GPU by mpirun alone
    "deepspeed": ("deepspeed", TORCHRUN),
    "lightning": ("lightning", []),
    "trainer": ("transformers", TORCHRUN),
    "trl": ("trl", TORCHRUN),
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found below /proc"),
    pytest.mark.timeout(KILLS * DEADLINE + DEADLINE),
]


@pytest.mark.parametrize("how", LAUNCHERS)
def test_killed_ranks_go_on_under_each_launcher(tmp_path, how):
    """Two and three ranks by turns, killed ten times over three epochs: no row twice, few left out by `even`."""
    module, command = LAUNCHERS[how]
    for name in {"torch", "torchdata", module}:
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")
    chance = random.Random(how)
    rows = make_folder(tmp_path / "made", ROWS, shards=3, group=20)
    folder = tmp_path / "run"
    folder.mkdir()
    env = environment(
        OMP_NUM_THREADS="1", RANK=None, WORLD_SIZE=None, IRTD_DATASETS_CACHE=str(tmp_path / "cache")
    )
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)])
    worlds, kills = [], []
    for number in range(KILLS + 1):
        ranks = 2 if number % 2 == 0 and number < KILLS else 3
        started = [word.format(ranks=ranks) for word in command]
        options = [how, str(tmp_path / "made"), str(folder), "3", str(EPOCHS), str(ranks)]
        run = Run(folder, env, [*started, str(PROGRAM), *options])
        try:
            if number < KILLS:
                if not run.wait_for(chance.randint(1, 12)):
                    break
                kills.append(chance.choice(["all", "rank", "worker"]))
                run.kill(kills[-1], chance)
            else:
                assert run.process.wait(DEADLINE) == 0, (folder / "log").read_text(errors="replace")[-3000:]
        finally:
            run.end()
        if (folder / "checkpoint.json").exists():
            checkpoint = json.loads((folder / "checkpoint.json").read_text())
            worlds.append((checkpoint["world"], len(checkpoint["rows"])))
    print(how, "kills", kills, "checkpoints", worlds)
    checkpoint = json.loads((folder / "checkpoint.json").read_text())
    assert checkpoint["ended"], (folder / "log").read_text(errors="replace")[-3000:]
    assert len({world for world, _ in worlds}) == 2
    for epoch in range(EPOCHS):
        counts = Counter(name for which, name in checkpoint["rows"] if which == epoch)
        assert set(counts.values()) == {1}, [name for name, count in counts.items() if count > 1][:5]
        assert set(counts) <= {row["id"] for row in rows}
        assert ROWS - 2 * (KILLS + 1) <= len(counts) <= ROWS
