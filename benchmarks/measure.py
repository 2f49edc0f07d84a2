"""Runs ways in processes of their own, in turn, and takes medians; samples the memory of a process tree."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Peak:
    """Largest sums over a process tree, in bytes, each at its own moment.

    ``rss`` counts pages that processes share (libraries, the files that they map) once for each of them, ``pss``
    divides them, ``uss`` leaves them out.
    """

    rss: int = 0
    pss: int = 0
    uss: int = 0
    processes: int = 0


@dataclass
class Result:
    """What the runs of one way gave.

    Attributes:
        seconds: Time of the work itself, as the way measured it, imports before it not counted.
        process_seconds: Time of the whole process, interpreter start and imports included.
        cpu_seconds: Processor time of the process and all that it started, imports included.
        loads: Load average of one minute before each run.
        facts: What the way told beside, from its last run.
        peak: Memory, where it was sampled.
    """

    seconds: list[float] = field(default_factory=list)
    process_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    peak: Peak = field(default_factory=Peak)

    @property
    def median(self) -> float:
        """Median of `seconds`."""
        return statistics.median(self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "seconds": self.seconds,
            "process_seconds": self.process_seconds,
            "cpu_seconds": self.cpu_seconds,
            "loads": self.loads,
            "facts": self.facts,
            "peak": vars(self.peak),
        }


def run_once(arguments: Sequence[str], result: Result, *, memory: bool = False) -> None:
    """Run Python with arguments; it prints a JSON object with ``seconds`` as its last line."""
    result.loads.append(round(os.getloadavg()[0], 2))
    environment = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # An installed package has its bytecode; without it every process of a build compiles the library's source.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start, cpu = time.perf_counter(), _children_cpu()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _Watch(process.pid) if memory else None
    out, errors = process.communicate()
    elapsed = time.perf_counter() - start
    if watch:
        result.peak = watch.stop()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{errors}")
    result.cpu_seconds.append(_children_cpu() - cpu)
    facts = json.loads(out.splitlines()[-1])
    result.seconds.append(facts.pop("seconds"))
    result.process_seconds.append(elapsed)
    result.facts = facts


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch:
    """Samples a process tree from a thread until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._peak = Peak()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Peak:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _run(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            with suppress(psutil.Error):
                self._sample()

    def _sample(self) -> None:
        rss = pss = uss = count = 0
        for process in [self._root, *self._root.children(recursive=True)]:
            with suppress(psutil.Error):
                memory = process.memory_full_info()
                rss, uss = rss + memory.rss, uss + memory.uss
                pss += getattr(memory, "pss", memory.uss)
                count += 1
        old = self._peak
        self._peak = Peak(max(old.rss, rss), max(old.pss, pss), max(old.uss, uss), max(old.processes, count))


def alternate(
    ways: dict[str, Callable[[], Sequence[str]]],
    runs: int,
    *,
    before: Callable[[], None],
    memory: bool = False,
) -> dict[str, Result]:
    """Run each way ``runs`` times, one after another in turn.

    Args:
        ways: Name to a function that gives the arguments for Python.
        runs: Rounds.
        before: Called before each run, outside of all times.
        memory: Sample the memory; costs the run a few per cent.
    """
    results = {name: Result() for name in ways}
    for number in range(runs):
        # Every other round backwards, so that no way always runs behind the same other.
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            before()
            run_once(ways[name](), results[name], memory=memory)
            print(
                f"  round {number + 1} {name}: {results[name].seconds[-1]:.3f} s", file=sys.stderr, flush=True
            )
    return results


def settle(corpus: Path, outputs: Path) -> None:
    """Give every run the same start: no outputs, nothing left to write, the corpus in the page cache, memory at hand.

    The last is for virtual machines, which give memory that was not used for a while back to their host: a run that
    has to fetch it again takes up to three times as long. So as many bytes as a run writes are written here, and
    dropped before they reach the disk.
    """
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(parents=True)
    os.sync()
    size = 0
    for folder, _, names in os.walk(corpus):
        for name in names:
            with FileIO(f"{folder}/{name}") as file:
                size += len(file.read())
    scratch = outputs / "scratch"
    block = bytes(1 << 20)
    with FileIO(scratch, "wb") as file:
        for _ in range(-(-size // len(block))):
            file.write(block)
    scratch.unlink()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    from importlib import metadata

    names = ("datasets", "pyarrow", "pillow", "numpy")
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def verdict(text: str, value: float, limit: float, *, at_least: bool) -> str:
    """One line about a target."""
    met = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    return f"{'met   ' if met else 'MISSED'}  {text}: {value:.2f} (target {sign} {limit:g})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
