"""Builds on the workers of a Dask cluster: the same bytes, whatever happens to the workers."""

import os
import signal
import threading
import time

import pytest
from elsewhere import CONFIGS, built, cut_small, objects, s3_server, tree
from processes import irtd, told

from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.progress import Progress
from irtd_datasets.writing.store import Store
from irtd_datasets.writing.worker_environment import WorkerEnvironment

distributed = pytest.importorskip("distributed", reason="a cluster needs the extra dask")

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals as POSIX has them"),
    # What the cluster of a test leaves to the collector; nothing of it is this library's.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=12).folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    cut_small(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    """The files of a build without a cluster."""
    out = tmp_path_factory.mktemp("reference") / "irtd"
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        assert built(small, out).written >= 6
    return tree(out)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, each a process with one thread; each is started again when it dies."""
    import dask

    # A machine with much other work starts a process slowly.
    patient = {"distributed.comm.timeouts.connect": "120s"}
    with (
        dask.config.set(patient),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=50,
        ) as running,
    ):
        yield running


class Watching(Progress):
    """Calls a function at the first record read and at the first shard written."""

    def __init__(self, at_start=None, at_shard=None):
        self._at_start, self._at_shard = at_start, at_shard

    def stage(self, text):
        if text.startswith("reading") and self._at_start:
            self._at_start, call = None, self._at_start
            call()

    def advance(self, bytes_):
        if self._at_shard:
            self._at_shard, call = None, self._at_shard
            call()


def processes(cluster):
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return list(client.run(os.getpid).values())


def test_a_cluster_writes_the_bytes_of_a_local_build(small, reference, cluster, tmp_path):
    """By address and by client; a second build takes everything over."""
    first = built(small, tmp_path / "irtd", dask=cluster.scheduler_address)
    assert first.written >= 6
    assert tree(tmp_path / "irtd") == reference
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        assert built(small, tmp_path / "irtd", dask=client).written == 0
        assert client.status == "running"  # a client that was given stays open


def test_the_shards_of_a_lost_worker_are_done_again(small, reference, cluster, tmp_path):
    """A worker that hangs with a shard and is then killed: another one writes it, to the same bytes."""
    victim = processes(cluster)[0]
    watching = Watching(lambda: os.kill(victim, signal.SIGSTOP), lambda: os.kill(victim, signal.SIGKILL))
    report = built(small, tmp_path / "irtd", dask=cluster.scheduler_address, progress=watching)
    assert report.reused == 0
    assert tree(tmp_path / "irtd") == reference
    assert victim not in processes(cluster)


def test_a_cluster_writes_into_a_bucket(small, reference, cluster, tmp_path):
    """Workers read their records from the bucket and lose nothing when one of them is killed."""
    pytest.importorskip("s3fs", reason="S3 needs the extra s3")
    pytest.importorskip("moto.server", reason="a server of S3 on this machine needs moto")
    victim = processes(cluster)[0]
    watching = Watching(lambda: os.kill(victim, signal.SIGSTOP), lambda: os.kill(victim, signal.SIGKILL))
    with s3_server() as options:
        url = "s3://bucket/irtd"
        built(
            small,
            url,
            dask=cluster.scheduler_address,
            storage_options=options,
            progress=watching,
            scratch=tmp_path / "scratch",
        )
        assert objects(Store(url, options)) == reference


def test_an_interrupted_build_cancels_its_work_and_goes_on(small, reference, cluster, tmp_path):
    """Ctrl-C while shards are written: nothing of the build stays on the cluster, finished shards stay."""

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(small, tmp_path / "irtd", dask=cluster.scheduler_address, progress=Watching(None, interrupt))
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        deadline = time.monotonic() + 30
        while client.processing() and any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(client.processing().values())
    assert built(small, tmp_path / "irtd", dask=cluster.scheduler_address).reused >= 1
    assert tree(tmp_path / "irtd") == reference


def test_a_worker_that_cannot_see_the_release_is_named(cluster):
    """Worker, machine and path, and what to do; asked before anything is planned."""
    from irtd_datasets.writing.dask_workers import DaskWorkers

    environment = WorkerEnvironment.here("one", [("the release", "/nowhere/mmrs_1m")])
    with pytest.raises(
        BuildError, match=r"worker .*tcp://(.|\n)*cannot see the release(.|\n)*/nowhere/mmrs_1m"
    ):
        DaskWorkers(cluster.scheduler_address, environment, Progress())


def test_a_worker_that_comes_later_is_asked_too(cluster):
    """The same check stands before a worker's first task of a run."""
    from irtd_datasets.writing.dask_workers import DaskWorkers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DaskWorkers, "_check_workers", lambda _: None)
        environment = WorkerEnvironment.here("two", [("the release", "/nowhere/mmrs_1m")])
        with DaskWorkers(cluster.scheduler_address, environment, Progress()) as pool:
            pool.submit("a", os.getcwd)
            with pytest.raises(BuildError, match=r"worker (.|\n)*cannot see the release"):
                list(pool.results())


def test_a_worker_with_other_versions_is_refused(cluster):
    """Another pyarrow would give shards of other bytes."""
    from irtd_datasets.writing.dask_workers import DaskWorkers

    here = WorkerEnvironment.here("three", [])
    other = WorkerEnvironment("three", (*here.code[:2], "0.17.0", *here.code[3:]), ())
    with pytest.raises(BuildError, match=r"pyarrow .*, not 0\.17\.0(.|\n)*same versions"):
        DaskWorkers(cluster.scheduler_address, other, Progress())


def test_the_scheduler_holds_a_bounded_number_of_tasks(cluster, monkeypatch):
    """However many shards there are; all of them are done."""
    from irtd_datasets.writing import dask_workers

    monkeypatch.setattr(dask_workers, "WINDOW", 3)
    most = 0
    with dask_workers.DaskWorkers(
        cluster.scheduler_address, WorkerEnvironment.here("four", []), Progress()
    ) as pool:
        for number in range(40):
            pool.submit(number, abs, -number)
            most = max(most, len(pool._running))
        assert sorted(pool.results()) == [(number, number) for number in range(40)]
    assert most <= 8  # four for each of two threads


def test_a_shard_that_takes_every_worker_down_ends_the_build(cluster, monkeypatch):
    """A task that kills whoever has it is given up after some attempts, with a remedy."""
    from irtd_datasets.writing import dask_workers

    monkeypatch.setattr(dask_workers, "_ATTEMPTS", 1)
    processes(cluster)
    cluster.scheduler.allowed_failures = 0
    try:
        with dask_workers.DaskWorkers(
            cluster.scheduler_address, WorkerEnvironment.here("five", []), Progress()
        ) as pool:
            pool.submit("deadly", os._exit, 9)
            with pytest.raises(BuildError, match=r"worker after worker was lost(.|\n)*memory"):
                list(pool.results())
    finally:
        cluster.scheduler.allowed_failures = 3


def test_work_that_is_cancelled_elsewhere_is_told(cluster):
    """As when the scheduler is restarted in the middle: an error with a next step."""
    from irtd_datasets.writing.dask_workers import DaskWorkers

    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pool = DaskWorkers(client, WorkerEnvironment.here("six", []), Progress())
        pool.submit("long", time.sleep, 1)
        threading.Timer(0.3, lambda: client.cancel(list(pool._running), force=True)).start()
        with pytest.raises(BuildError, match="scheduler is gone"):
            list(pool.results())


def test_addresses_that_lead_nowhere(small, tmp_path, monkeypatch):
    """No scheduler there, no address, both ways at once: messages with exit codes."""
    from irtd_datasets.writing import dask_workers

    monkeypatch.setattr(dask_workers, "_CONNECT_SECONDS", 1)
    with pytest.raises(BuildError, match=r"no scheduler answers(.|\n)*dask scheduler"):
        built(small, tmp_path / "irtd", dask="tcp://127.0.0.1:9")
    with pytest.raises(UnknownNameError, match="is no address"):
        built(small, tmp_path / "irtd", dask="nosuch://127.0.0.1:9")
    assert not (tmp_path / "irtd").exists()
    command = ("build", "irtd", CONFIGS[1], "--release", small, "--out", tmp_path / "x")
    told(irtd(*command, "--dask", "tcp://127.0.0.1:9", "--workers", "2"), 2, "--workers or --dask")
    assert not (tmp_path / "x").exists()


def test_without_the_library_the_remedy_names_it(small, tmp_path, monkeypatch):
    """What is missing is said with the command that installs it; a build that does not ask never imports it."""
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    built(small, tmp_path / "local", [CONFIGS[1]])
    with pytest.raises(UnknownNameError, match="pip install distributed"):
        built(small, tmp_path / "irtd", dask="tcp://127.0.0.1:9")
    assert not (tmp_path / "irtd").exists()
