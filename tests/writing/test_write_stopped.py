"""A shard whose writing is interrupted, killed or refused: an error that says why, and nothing left behind."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shard_samples import IDS, image_groups, jpeg

from irtd_datasets.errors import BuildError
from irtd_datasets.writing import pages
from irtd_datasets.writing.write import (
    ShardWriter,
    _ParquetFile,
    remove_temporaries,
    write_shard,
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "train-00000-of-00001.parquet"


def interrupt():
    signal.raise_signal(signal.SIGINT)


def fail():
    raise RuntimeError("reader failed")


@pytest.mark.parametrize(("action", "error"), [(interrupt, KeyboardInterrupt), (fail, RuntimeError)])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_exception_leaves_no_file(target, tmp_path, action, error, after):
    """Ctrl-C or an error of the reader at any time removes what was written and comes through as it was."""

    def groups():
        yield from itertools.islice(image_groups([jpeg(n) for n in range(40)] + [jpeg(0)] * 20, 20), after)
        action()

    with pytest.raises(error):
        write_shard(target, IDS, groups())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["write_table", "close"])
@pytest.mark.parametrize("call", [0, 1])
@pytest.mark.parametrize("before", [True, False])
def test_ctrl_c_in_the_middle_of_a_write_leaves_no_file(target, tmp_path, monkeypatch, name, call, before):
    """An interrupt that arrives while Parquet writes, in a row group or the footer, comes through as it was."""
    original, calls = getattr(pq.ParquetWriter, name), itertools.count()

    def interrupted(self, *arguments, **options):
        now = next(calls) == call
        if now and before:
            interrupt()
        original(self, *arguments, **options)
        if now and not before:
            interrupt()

    monkeypatch.setattr(pq.ParquetWriter, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shard(target, IDS, image_groups([b"a", b"b", b"c"], per_group=1))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_a_thread_starts_waits_for_what_it_writes(target, tmp_path, monkeypatch):
    """An interrupt just when a thread has started, before anybody has noted it: nothing is closed while it writes."""
    writing, began = [], []
    start, write_table = threading.Thread.start, pq.ParquetWriter.write_table

    def started(self):
        start(self)
        if self.name.startswith("shard"):
            time.sleep(0.1)
            raise KeyboardInterrupt

    def slowly(self, *arguments, **options):
        began.append(target)
        writing.append(target)
        time.sleep(0.3)
        write_table(self, *arguments, **options)
        writing.pop()

    monkeypatch.setattr(threading.Thread, "start", started)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", slowly)
    with pytest.raises(KeyboardInterrupt):
        write_shard(target, IDS, image_groups([b"a", b"b"], per_group=1))
    assert writing == began == []
    assert list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_while_the_first_is_dealt_with_leaves_no_file(target, tmp_path, monkeypatch):
    """An interrupt that arrives while the threads of an interrupted shard are waited for."""
    original = _ParquetFile._close

    def interrupted(self):
        original(self)
        raise KeyboardInterrupt("second")

    def groups():
        yield from image_groups([b"a"])
        raise KeyboardInterrupt("first")

    monkeypatch.setattr(_ParquetFile, "_close", interrupted)
    with pytest.raises(KeyboardInterrupt, match="second"):
        write_shard(target, IDS, groups())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["_put", "_hash_written"])
def test_a_failure_behind_the_scenes_is_told(target, tmp_path, monkeypatch, method):
    """An error of the thread that writes images, or hashes them, reaches the caller, who gets no shard."""

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_ParquetFile, method, fail)
    with pytest.raises(BuildError, match="Input/output error"):
        write_shard(target, IDS, image_groups([b"a", b"b"], per_group=1))
    assert list(tmp_path.iterdir()) == []


def test_a_pyarrow_that_counts_positions_itself_is_noticed(target, tmp_path, monkeypatch):
    """Offsets that are not those of the file never reach a shard."""

    def elsewhere(*arguments):
        *others, row_groups, position = arguments
        return pages.splice(*others, [(start + 4, chunks) for start, chunks in row_groups], position)

    monkeypatch.setattr("irtd_datasets.writing.write.splice", elsewhere)
    with pytest.raises(BuildError, match="pyarrow"):
        write_shard(target, IDS, image_groups([b"a" * 100, b"b" * 100], per_group=1))
    assert list(tmp_path.iterdir()) == []


CHILD = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from irtd_datasets.rows.image_column import ImageColumn
from irtd_datasets.writing.write import RowGroup, write_shard
from irtd_datasets.errors import BuildError

target = Path(sys.argv[1])
image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
schema = pa.schema([("id", pa.string()), ("image", image)])

def groups(count, then=lambda: None):
    for n in range(count):
        images = [np.random.default_rng(n).bytes(100_000) for _ in range(2)]
        yield RowGroup([{"id": "a"}, {"id": "b"}], {"image": ImageColumn.of(images)})
    then()
"""


def run_child(code, target):
    program = CHILD + textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX resource limits")
def test_a_file_that_outgrows_its_limit_leaves_nothing(target, tmp_path):
    """When the system refuses to make the file larger, BuildError names it and says what to do; nothing is left."""
    done = run_child(
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        try:
            write_shard(target, schema, groups(5))
        except BuildError as error:
            print(error)
        """,
        target,
    )
    assert done.stderr == ""
    assert str(target) in done.stdout
    assert "ulimit" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_terminated_process_leaves_nothing(target, tmp_path):
    """SIGTERM removes the temporary file, and the process still ends by the signal."""
    done = run_child(
        "write_shard(target, schema, groups(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))", target
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_process_leaves_only_what_can_be_removed(target, tmp_path):
    """After SIGKILL nothing has the name of a shard, and `remove_temporaries` clears the rest."""
    done = run_child(
        "write_shard(target, schema, groups(3, lambda: os.kill(os.getpid(), signal.SIGKILL)))", target
    )
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("[!.]*")) == []
    assert len(remove_temporaries(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_signals_are_given_back(target):
    """After the block the process handles SIGTERM as before it."""
    before = signal.getsignal(signal.SIGTERM)
    write_shard(target, IDS, image_groups([b"a"]))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_full_disk_leaves_nothing(target, tmp_path, size):
    """No space left, at the first byte or in the footer, becomes BuildError with its cause; nothing is left."""
    writer = ShardWriter(target, IDS)
    writer._temporary.symlink_to("/dev/full")
    with pytest.raises(BuildError, match="No space left") as caught, writer:
        writer.write(next(image_groups([b"x" * size])))
    assert str(target) in str(caught.value)
    assert "Free space" in caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    """A folder that does not exist is said to be missing before a row is read."""
    with pytest.raises(BuildError, match="Create the folder"):
        write_shard(tmp_path / "none" / "x.parquet", IDS, image_groups([b"a"]))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_folder_without_permission_is_named(tmp_path):
    """A folder that may not be written becomes BuildError that says so."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(BuildError, match="writable"):
        write_shard(folder / "x.parquet", IDS, image_groups([b"a"]))
