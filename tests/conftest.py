"""What all tests share: caches in a temporary folder, no network, a sample release and what is built from it."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

# Before anything imports `datasets`, which reads these when it is imported. Subprocesses inherit them.
_HOME = tempfile.mkdtemp(prefix="irtd-tests-")
os.environ["HF_HOME"] = _HOME
os.environ["HF_DATASETS_CACHE"] = f"{_HOME}/datasets"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("IRTD_DATA_DIR", None)

ROOT = Path(__file__).resolve().parents[1]

# Scripts that run inside other programs, which they import.
collect_ignore_glob = ["loaders/programs/*", "training/launcher_program.py", "training/killed_program.py"]


def pytest_unconfigure(config):
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """A connection to anything but this machine fails the test that tries it."""
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def real():
    """The folder of real files."""
    folder = Path(os.environ.get("IRTD_REAL", ROOT / ".." / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip("the real files are not here; IRTD_REAL names their folder")
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A sample release with archives as released. Read it, do not change it: `release` gives a copy."""
    from irtd_datasets.testing import write_sample_release

    folder = tmp_path_factory.mktemp("sample") / "release"
    return write_sample_release("irtd", folder, rows=80, captions=18, benchmark=True)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """The same sample with every archive unpacked."""
    from irtd_datasets.testing import write_sample_release

    folder = tmp_path_factory.mktemp("unpacked") / "release"
    return write_sample_release("irtd", folder, rows=80, captions=18, benchmark=True, form="folder")


@pytest.fixture
def release(sample, unpacked, tmp_path):
    """Makes a copy of the sample that a test may change: ``release()`` or ``release("folder")``."""

    def copy(form="zip", name="release"):
        return shutil.copytree((sample if form == "zip" else unpacked).folder, tmp_path / name)

    return copy


@pytest.fixture(scope="session")
def built(sample, tmp_path_factory):
    """The dataset folder ``irtd`` of the sample, with every config. Read it, do not change it."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    folder = tmp_path_factory.mktemp("built") / "irtd"
    build("irtd", ["pretrain", "instruct", "benchmark"], absolute_options(sample.folder), folder)
    return folder
