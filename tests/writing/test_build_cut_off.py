"""A cluster that writes into a bucket and loses sight of a worker or of its scheduler while it writes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from elsewhere import built, cut_small, objects, s3_server, tree
from processes import environment

from irtd_datasets.errors import BuildError
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.store import Store

distributed = pytest.importorskip("distributed", reason="a cluster needs the extra dask")
pytest.importorskip("s3fs", reason="S3 needs the extra s3")
pytest.importorskip("moto.server", reason="a server of S3 on this machine needs moto")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals as POSIX has them"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
PROGRAM = """
import asyncio, os, sys
import distributed
async def serve(kind, address, folder):
    if kind == "scheduler":
        server = distributed.Scheduler(port=int(address), dashboard=False)
    else:
        server = distributed.Worker(address, nthreads=1, local_directory=folder)
    async with server:
        await server.finished()
asyncio.run(serve(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    cut_small(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=12).folder


class Cluster:
    """A scheduler and two workers, each a process that can be stopped."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []
        self.start()

    def start(self):
        settings = environment(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="20s")
        commands = [["scheduler", str(self.port), ""], *(["worker", self.address, str(self.folder)],) * 2]
        self.processes += [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *command], env=settings, stderr=subprocess.DEVNULL
            )
            for command in commands
        ]
        with distributed.Client(self.address, set_as_default=False, timeout=120) as client:
            client.wait_for_workers(2, timeout=120)

    def workers(self):
        with distributed.Client(self.address, set_as_default=False) as client:
            return list(client.run(os.getpid).values())

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.processes.clear()


@pytest.fixture
def cluster(tmp_path):
    running = Cluster(tmp_path)
    yield running
    running.stop()


def when_writing(store, action):
    """Do something as soon as the first shard is in a bucket, while others are on their way there."""

    def watch():
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if any(name.endswith(".parquet") for name in store.listing()):
                action()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_cut_off_while_it_writes(small, cluster, tmp_path):
    """Nobody hears of it any more: another one writes its shard; what it writes when it is back changes nothing."""
    built(small, tmp_path / "here")
    victim = cluster.workers()[0]
    with s3_server() as options:
        store = Store("s3://bucket/irtd", options)
        thread = when_writing(store, lambda: os.kill(victim, signal.SIGSTOP))
        built(small, store.url, dask=cluster.address, storage_options=options, scratch=tmp_path / "scratch")
        thread.join()
        assert objects(store) == tree(tmp_path / "here")
        os.kill(victim, signal.SIGCONT)
        time.sleep(3)  # it ends what it was at
        assert objects(store) == tree(tmp_path / "here")
        assert built(small, store.url, storage_options=options, scratch=tmp_path / "scratch").written == 0


def test_a_scheduler_that_is_started_again(small, cluster, tmp_path):
    """The build ends and says so; the same command goes on with the new scheduler, to the bytes of a local build."""
    built(small, tmp_path / "here")
    with s3_server() as options:
        store = Store("s3://bucket/irtd", options)
        thread = when_writing(store, cluster.processes[0].kill)
        again = threading.Thread(target=lambda: (thread.join(), cluster.stop(), cluster.start()))
        again.start()
        call = {"dask": cluster.address, "storage_options": options, "scratch": tmp_path / "scratch"}
        with pytest.raises(BuildError, match="scheduler is gone") as told:
            built(small, store.url, **call)
        assert "finished shards are kept" in told.value.remedy
        again.join()
        assert "manifest.json" not in store.listing()
        assert built(small, store.url, **call).reused >= 1
        assert objects(store) == tree(tmp_path / "here")
