"""A build that is killed, stopped or run twice: what it leaves, and that the same command goes on from there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import psutil
import pytest
from processes import DEADLINE, environment, irtd, run, told

import irtd_datasets
from irtd_datasets.errors import BuildError, ReleaseNotFoundError
from irtd_datasets.hub.check import check_folder
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing import folder, from_stream, plan
from irtd_datasets.writing.engine import build

MOMENTS = Path(__file__).with_name("moments.py")
CONFIGS = ("pretrain", "instruct-location", "instruct-security")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks as POSIX has them")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small release whose build has several shards in each part."""
    folder = tmp_path_factory.mktemp("small") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=12).folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Builds in this process cut shards where those of `moments` do."""
    for module in (plan, from_stream):
        monkeypatch.setattr(module, "SHARD_BYTES", 300_000)
    monkeypatch.setattr(plan, "LEAST_SHARD_BYTES", 150_000)


def rebuilt(release, out):
    """Build in this process, undisturbed; returns the report."""
    return build("irtd", CONFIGS, absolute_options(release), out)


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    """The files of a build that nothing disturbed."""
    out = tmp_path_factory.mktemp("reference") / "irtd"
    with pytest.MonkeyPatch.context() as patch:
        for module in (plan, from_stream):
            patch.setattr(module, "SHARD_BYTES", 300_000)
        patch.setattr(plan, "LEAST_SHARD_BYTES", 150_000)
        assert rebuilt(small, out).written >= 6
    return tree(out)


# OpenBLAS has threads of its own unless told otherwise, as the command line tells it.
FORKED, SPAWNED = {"OPENBLAS_NUM_THREADS": "1"}, {"WORKERS": "spawned"}
MAY_FORK = sys.platform == "linux" and sys.version_info >= (3, 11)
each_kind_of_worker = pytest.mark.parametrize("kind", [FORKED, SPAWNED], ids=["forked", "spawned"])


def moments(*arguments, **options):
    return run([MOMENTS, *map(str, arguments)], **options)


def started(*arguments, kind=FORKED):
    """A program that is still running, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, MOMENTS, *map(str, arguments)],
        env=environment(**kind),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until_stopped(process):
    """Wait until a process has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), (status, process.stderr.read())


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def command(small, out, workers=1):
    arguments = ("build", "irtd", *CONFIGS, "--release", small, "--out", out, "--workers", workers, "--json")
    return [str(argument) for argument in arguments]


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_started_again(step, small, tmp_path):
    """SIGKILL before each change in the folder: nothing half-written is visible, nothing finished is done again.

    The second run gives the bytes of an undisturbed build and leaves no temporary file.
    """
    process = moments("every", small, tmp_path, step)
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    assert told["problems"] == []
    assert told["shards"] >= 6
    assert told["moments"] > 60


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_it_replaces_an_older_build(step, small, tmp_path):
    """Shards of two builds never stand beside a card or a manifest, and the same command makes them those of one."""
    changed = shutil.copytree(small, tmp_path / "changed")
    flir = changed / "63-FLIR_ADAS" / "training" / "PreviewData"
    for image in flir.iterdir():
        image.write_bytes(image.read_bytes() + b"\0")
    process = moments("replace", small, changed, tmp_path, step)
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    assert told["problems"] == []
    assert told["mixed"] >= 1


def test_a_folder_with_shards_of_two_builds_is_refused(small, tmp_path, monkeypatch):
    """Whoever loads it, builds something else into it or checks it is told to start the killed build again."""
    out = tmp_path / "irtd"
    build("irtd", ["instruct"], absolute_options(small), out)
    (out / ".build").mkdir()
    for name in ("manifest.json", "README.md"):
        (out / name).replace(out / ".build" / name)
    monkeypatch.chdir(tmp_path)
    for options in ({}, {"data_dir": str(out)}):
        with pytest.raises(ReleaseNotFoundError, match="shards of both") as caught:
            irtd_datasets.load_dataset("irtd", "instruct-location", cache_dir=str(tmp_path / "c"), **options)
        assert "irtd build" in str(caught.value)
    assert "build-unfinished" in {finding.rule for finding in check_folder(out).findings}
    shard = next((out / "instruct" / "security").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole + b"\0")
    with pytest.raises(BuildError, match="has begun to replace this file"):
        build("irtd", ["instruct-location"], absolute_options(small), out)
    shard.write_bytes(whole)
    build("irtd", ["instruct-location"], absolute_options(small), out)
    assert sorted(path.name for path in out.iterdir() if path.name[0] == ".") == [".built.json"]
    assert (out / "manifest.json").is_file()


@each_kind_of_worker
@pytest.mark.parametrize("moment", [6, 20])
def test_killed_with_workers_and_started_again(moment, kind, small, reference, tmp_path):
    """The same with two worker processes, and the number of workers may change in between."""
    out = tmp_path / "irtd"
    assert moments("one", small, out, 2, moment, "SIGKILL", env=kind).returncode == -signal.SIGKILL
    finished = len(list(out.glob(".build/*/*/shard-*.json")))
    assert rebuilt(small, out).reused >= finished
    assert tree(out) == reference


def test_shards_of_another_release_are_not_taken_over(small, tmp_path):
    """A release that changed between two runs is built as it is now."""
    folder, out = shutil.copytree(small, tmp_path / "release"), tmp_path / "irtd"
    assert moments("one", folder, out, 1, 80, "SIGKILL").returncode == -signal.SIGKILL
    assert len(list(out.glob(".build/*/*/shard-*.json"))) > 3
    flir = folder / "63-FLIR_ADAS" / "training" / "PreviewData"
    for image in sorted(flir.iterdir())[:3]:
        image.write_bytes(image.read_bytes() + b"\0")
    rebuilt(folder, out)
    rebuilt(folder, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("moment", "workers", "kind"),
    [(1, 1, FORKED), (40, 1, FORKED), (85, 1, FORKED), (24, 2, FORKED), (24, 2, SPAWNED)],
)
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(moment, workers, kind, small, reference, tmp_path):
    """Ctrl-C at any moment, with and without workers: exit code 130, one line, and the same command goes on."""
    out = tmp_path / "irtd"
    process = started("command", moment, "SIGINT", "group", *command(small, out, workers), kind=kind)
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, errors
    assert output == ""
    assert errors == "irtd: interrupted; the same command goes on from here\n"
    assert [name for name in tree(out) if ".tmp" in name] == [] if out.exists() else True
    rebuilt(small, out)
    assert tree(out) == reference


def test_sigterm_ends_the_build_and_the_same_command_goes_on(small, reference, tmp_path):
    """SIGTERM ends the process as it ends any other; no temporary file is left of the shard being written."""
    out = tmp_path / "irtd"
    assert moments("one", small, out, 1, 30, "SIGTERM").returncode == -signal.SIGTERM
    rebuilt(small, out)
    assert tree(out) == reference


def test_two_builds_at_once(small, reference, tmp_path):
    """A second build into the same folder is refused and disturbs nothing; the first one ends well."""
    out = tmp_path / "irtd"
    first = started("one", small, out, 1, 40, "SIGSTOP")
    try:
        until_stopped(first)
        before = tree(out)
        told(irtd(*command(small, out)), 1, "another build is writing into this folder", "Wait for it")
        assert tree(out) == before
    finally:
        os.kill(first.pid, signal.SIGCONT)
    _, errors = first.communicate(timeout=DEADLINE)
    assert first.returncode == 0, errors
    assert tree(out) == reference


def workers_of(parent, kind):
    """The worker processes of a program: copies of it, or those that multiprocessing has started anew."""
    children = [(child, " ".join(child.cmdline())) for child in psutil.Process(parent.pid).children()]
    new = [child for child, line in children if "spawn_main" in line]
    forked = [child for child, line in children if str(MOMENTS) in line]
    assert not (new if kind is FORKED and MAY_FORK else forked)
    return new + forked


@each_kind_of_worker
def test_workers_end_with_their_parent(kind, small, tmp_path):
    """Workers whose parent was killed end by themselves."""
    parent = started("one", small, tmp_path / "irtd", 2, 8, "SIGSTOP", kind=kind)
    try:
        until_stopped(parent)
        workers = workers_of(parent, kind)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=DEADLINE)
    assert len(workers) in (1, 2)  # a spawned one is not started while another has nothing to do
    _, alive = psutil.wait_procs(workers, timeout=DEADLINE)
    assert alive == []


@each_kind_of_worker
def test_a_worker_that_dies_is_told(kind, small, reference, tmp_path):
    """A worker that is killed, as for want of memory, is an error with a next step, and nothing finished is lost."""
    out = tmp_path / "irtd"
    parent = started("command", 8, "SIGSTOP", "alone", *command(small, out, workers=2), kind=kind)
    try:
        until_stopped(parent)
        for worker in workers_of(parent, kind):
            worker.kill()
    finally:
        os.kill(parent.pid, signal.SIGCONT)
    _, errors = parent.communicate(timeout=DEADLINE)
    assert parent.returncode == 1
    assert "Traceback" not in errors
    assert "a worker process died" in errors
    assert "Use fewer --workers" in errors
    rebuilt(small, out)
    assert tree(out) == reference


def test_a_failed_build_leaves_no_folder(small, tmp_path):
    """A build that fails before its first shard leaves the place as it was."""
    out = tmp_path / "irtd"

    def fails():
        with pytest.raises(ReleaseNotFoundError, match="none of the annotation files"):
            build("irtd", ["benchmark"], absolute_options(small), out)

    fails()
    assert not out.exists()
    build("irtd", ["instruct-reid"], absolute_options(small), out)
    before = tree(out)
    fails()
    assert tree(out) == before


@pytest.mark.parametrize("where", ["write_folder_index", "render_card", "Manifest.render"])
@pytest.mark.parametrize("other", ["another dataset", "another config"])
def test_another_build_after_one_that_was_killed_while_it_put_shards_into_place(
    small, tmp_path, monkeypatch, where, other
):
    """What was put into place and never described is gone: the folder is what the other build makes alone."""
    out, alone = tmp_path / "out", tmp_path / "alone"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child starts none
        child = os.fork()
    if child == 0:
        target = folder.Manifest if "." in where else folder
        monkeypatch.setattr(target, where.rpartition(".")[2], lambda *_, **__: os._exit(9))
        build("irtd", ["instruct-location", "pretrain"], absolute_options(small), out)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (out / "manifest.json").exists()
    assert list(out.glob("*/*/*.parquet"))
    if other == "another dataset":
        release = write_sample_release("mmrs_1m", tmp_path / "mmrs_1m", rows=20).folder
        what = ("mmrs_1m", ["vqa"], absolute_options(release))
    else:
        what = ("irtd", ["instruct-security"], absolute_options(small))
    build(*what, alone)
    if other == "another dataset" and (out / "ledger.json").exists():
        with pytest.raises(BuildError, match="it holds the dataset 'irtd'"):
            build(*what, out)
        return
    build(*what, out)
    assert tree(out) == tree(alone)
    assert not check_folder(out).errors
