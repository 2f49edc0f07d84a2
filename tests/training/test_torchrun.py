"""Real ranks under torchrun with real workers: killed anywhere, they go on with other numbers, and no row is lost."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from folders import make_folder, sample_image
from hub_server import hub_server
from processes import ROOT, environment
from test_remote import put

PROGRAM = Path(__file__).with_name("torchrun_program.py")
KILLS = int(os.environ.get("IRTD_TORCHRUN_KILLS", "10"))
ROWS = 900
DEADLINE = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("torch", "torchdata")),
        reason="torch and torchdata are not installed: the ranks and workers of this test are theirs",
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found below /proc"),
    pytest.mark.timeout(KILLS * DEADLINE + DEADLINE),
]


class Run:
    """A run of a program under a launcher, in a process group of its own."""

    def __init__(self, folder, env, command):
        self.folder = folder
        for name in ("steps", "pids"):
            (folder / name).write_bytes(b"")
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=env,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for(self, steps):
        """Wait until so many steps are done, or the run is over; True in the first case."""
        end = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            if (self.folder / "steps").stat().st_size >= steps:
                return True
            assert time.monotonic() < end, (self.folder / "log").read_text(errors="replace")[-3000:]
            time.sleep(0.005)
        return False

    def kill(self, which, rng):
        """Kill everything, one rank or one worker of a rank, and wait until nothing is left."""
        lines = [line.split() for line in (self.folder / "pids").read_text().splitlines() if line.strip()]
        if which == "all" or not lines:
            with contextlib.suppress(ProcessLookupError):  # it ends by itself just now
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            rank, *children = rng.choice(lines)
            victims = children if which == "worker" and children else [rank]
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(rng.choice(victims)), signal.SIGKILL)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.end()

    def end(self):
        for line in (self.folder / "pids").read_text().splitlines():
            for pid in line.split():
                if _is_ours(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()


def _is_ours(pid):
    """Whether a process of that number still runs the program: numbers are given again."""
    try:
        return str(PROGRAM.parent).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("seed", [0])
def test_killed_ranks_go_on(tmp_path, seed):
    """Two ranks of two workers each are killed ten times, taken up by three and by two again: every row once."""
    rng = random.Random(seed)
    rows = make_folder(
        tmp_path / "made", ROWS, shards=3, group=20, per_image=2, data=partial(sample_image, size=3000)
    )
    folder = tmp_path / "run"
    folder.mkdir()
    worlds, kills = [], []
    with hub_server(tmp_path / "hub") as hub:
        put(hub, tmp_path / "made")
        env = environment(
            **hub.environment(tmp_path / "home"), OMP_NUM_THREADS="1", RANK=None, WORLD_SIZE=None
        )
        env["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *(path for path in sys.path if "site-packages" in path)]
        )
        for number in range(KILLS + 1):
            ranks = 2 if number % 2 == 0 and number < KILLS else 3
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
            run = Run(folder, env, [*launcher, str(PROGRAM), "tester/made:all", str(folder), "3"])
            try:
                if number < KILLS:
                    hub.fail(status=429, path=r"resolve|store", times=1)
                    if not run.wait_for(rng.randint(1, 7)):
                        break
                    kills.append(rng.choice(["all", "rank", "worker"]))
                    run.kill(kills[-1], rng)
                else:
                    assert run.process.wait(DEADLINE) == 0, (folder / "log").read_text(errors="replace")[
                        -3000:
                    ]
            finally:
                run.end()
            if (folder / "checkpoint.json").exists():
                checkpoint = json.loads((folder / "checkpoint.json").read_text())
                worlds.append((checkpoint["world"], len(checkpoint["rows"])))
        assert not hub.errors
    checkpoint = json.loads((folder / "checkpoint.json").read_text())
    print("kills", kills, "checkpoints", worlds)
    assert checkpoint["ended"]
    assert len(kills) == KILLS
    assert checkpoint["world"] == 3
    names = checkpoint["rows"]
    assert len(names) == len(set(names))
    assert set(names) == {row["id"] for row in rows}
    assert checkpoint["images"] == sum(row["image"] is not None for row in rows)
