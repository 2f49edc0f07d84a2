"""Programs that interrupt a build at a chosen moment: just before its n-th change in the dataset folder.

A change is what the operating system sees: a file opened for writing, renamed or removed, a folder made or removed.
They come in the same order in every run with one worker, so that each moment can be tried and none is luck::

    python moments.py every RELEASE FOLDER STEP         kill at every STEP-th moment, start again, compare
    python moments.py replace RELEASE CHANGED FOLDER STEP   the same, replacing the build of another release
    python moments.py one RELEASE OUT WORKERS MOMENT SIGNAL [GROUP]
    python moments.py command MOMENT SIGNAL GROUP build irtd ...

Workers are forked where that is safe; with ``WORKERS=spawned`` in the environment this process has a second thread, so
that they are not.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import irtd_datasets.writing.from_stream
import irtd_datasets.writing.plan
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing.engine import build

CONFIGS = ["pretrain", "instruct-location", "instruct-security"]
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def small_shards(size=300_000):
    """Make shards of a few images; workers do so, too."""
    irtd_datasets.writing.plan.LEAST_SHARD_BYTES = size // 2
    irtd_datasets.writing.plan.SHARD_BYTES = size
    irtd_datasets.writing.from_stream.SHARD_BYTES = size


class Moments:
    """Counts the changes that this process makes below a folder and sends a signal before one of them.

    Args:
        folder: The dataset folder.
        moment: Number of the change, from 1; 0 for never.
        number: The signal.
        group: To the whole process group, as a terminal does on Ctrl-C.
    """

    def __init__(self, folder, moment=0, number=signal.SIGKILL, *, group=False):
        self.count = 0
        self._folder = str(Path(folder).absolute())
        self._process = os.getpid()
        self._moment, self._number, self._group = moment, number, group
        sys.addaudithook(self._see)

    def _see(self, event, arguments):
        if event not in CHANGES or os.getpid() != self._process:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        named = isinstance(arguments[0], (str, os.PathLike))
        inside = named and str(Path(arguments[0]).absolute()).startswith(self._folder)
        # Whole trees are removed by names relative to an open folder.
        if not inside and not (event in {"os.remove", "os.rmdir"} and arguments[-1] != -1):
            return
        self.count += 1
        if self.count == self._moment:
            if self._group:
                os.killpg(os.getpgrp(), self._number)
            else:
                os.kill(os.getpid(), self._number)


def tree(folder):
    """SHA-256 of each file below a folder, without the hidden place where unfinished work waits."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and ".build" not in path.parts
    }


def forked(work):
    """Run a function in a child process; returns its wait status and what it wrote."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the parent tells it
            os.write(write, repr(error).encode())
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    return os.waitpid(child, 0)[1], answer


def every(release, folder, step):
    """Kill a build at every ``step``-th moment, start it again, and tell everything that is not as it must be."""
    small_shards()
    folder = Path(folder)
    reference = folder / "reference"

    def whole(out=reference, moment=0):
        moments = Moments(out, moment)
        report = build("irtd", CONFIGS, absolute_options(release), out)
        return [moments.count, report.written, report.reused]

    status, answer = forked(whole)
    assert status == 0, answer
    total, shards, _ = json.loads(answer)
    expected = tree(reference)
    published = {name: digest for name, digest in expected.items() if not name.startswith(".")}
    problems = []
    for moment in range(1, total + 1, step):
        out = folder / f"moment-{moment}"
        status, answer = forked(lambda out=out, moment=moment: whole(out, moment))
        if not os.WIFSIGNALED(status):
            problems.append(f"{moment}: not killed, {status} {answer!r}")
        visible = {name: digest for name, digest in tree(out).items() if not name.startswith(".")}
        half = [name for name, digest in visible.items() if expected.get(name) != digest]
        if half:
            problems.append(f"{moment}: half-written {half}")
        if "manifest.json" in visible and visible != published:
            problems.append(f"{moment}: the manifest came before the files")
        notes = len(list(out.glob(".build/*/*/shard-*.json")))
        finished = shards if "manifest.json" in visible else notes
        status, answer = forked(lambda out=out: whole(out))
        if status != 0:
            problems.append(f"{moment}: started again it fails, {answer!r}")
            continue
        _, written, reused = json.loads(answer)
        if (written, reused) != (shards - finished, finished):
            problems.append(f"{moment}: {finished} of {shards} were finished, {written} written again")
        if tree(out) != expected or (out / ".build").exists():
            problems.append(f"{moment}: other files {sorted(tree(out).items() ^ expected.items())}")
    print(json.dumps({"moments": total, "shards": shards, "problems": problems}))


def replace(release, changed, folder, step):
    """Kill a build that replaces one of another release, from when it places shards; tell what is not as it must be."""
    small_shards()
    folder = Path(folder)
    old, new = folder / "old", folder / "new"

    def whole(release, out, moment=0):
        moments = Moments(out, moment)
        build("irtd", CONFIGS[1:], absolute_options(release), out)
        return moments.count

    for source, out in ((release, old), (changed, new)):
        status, answer = forked(lambda source=source, out=out: whole(source, out))
        assert status == 0, answer
    undisturbed = folder / "undisturbed"
    shutil.copytree(old, undisturbed)
    total = json.loads(forked(lambda: whole(changed, undisturbed))[1])
    before, after = tree(old), tree(new)
    problems, mixed, moment = [], 0, total
    while moment > 0:
        out = folder / f"moment-{moment}"
        shutil.copytree(old, out)
        status, answer = forked(lambda out=out, moment=moment: whole(changed, out, moment))
        if not os.WIFSIGNALED(status):
            problems.append(f"{moment}: not killed, {status} {answer!r}")
        visible = tree(out)
        described = "manifest.json" in visible or "README.md" in visible
        shards = {name: digest for name, digest in visible.items() if name.endswith(".parquet")}
        if not shards.items() <= after.items() and not shards.items() <= before.items():
            mixed += 1
            if described:
                problems.append(f"{moment}: shards of two builds are described as one")
        if "manifest.json" in visible and visible != before and (shards.items() - after.items()):
            problems.append(f"{moment}: the manifest is not that of the shards")
        placing = visible != before
        status, answer = forked(lambda out=out: whole(changed, out))
        if status != 0 or tree(out) != after or (out / ".build").exists():
            problems.append(f"{moment}: started again it is not as from scratch, {answer!r}")
        shutil.rmtree(out)
        if not placing:
            break  # every moment before this one is that of a build beside an untouched folder
        moment -= step
    print(json.dumps({"mixed": mixed, "problems": problems}))


def one(release, out, workers, moment, number, group=False):
    small_shards()
    moments = Moments(out, int(moment), getattr(signal, number), group=bool(group))
    report = build("irtd", CONFIGS, absolute_options(release), out, workers=int(workers))
    print(json.dumps({"moments": moments.count, "written": report.written, "reused": report.reused}))


def command(moment, number, group, *arguments):
    from irtd_datasets.cli.app import run

    small_shards()
    out = arguments[arguments.index("--out") + 1]
    Moments(out, int(moment), getattr(signal, number), group=group == "group")
    sys.argv = ["irtd", *arguments]
    run()


if __name__ == "__mp_main__":  # a worker that was not forked
    small_shards()
if __name__ == "__main__":
    if os.environ.get("WORKERS") == "spawned":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if sys.argv[1] == "every":
        every(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1] == "replace":
        replace(*sys.argv[2:5], int(sys.argv[5]))
    else:
        {"one": one, "command": command}[sys.argv[1]](*sys.argv[2:])
