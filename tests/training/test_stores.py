"""Stores that fsspec opens, each through its real client against a server on this machine."""

import pytest
from folders import make_folder
from stores import store

from irtd_datasets.errors import ReleaseError, ReleaseNotFoundError
from irtd_datasets.remote import retry
from irtd_datasets.training import merge_states, stream, table
from irtd_datasets.training.buckets import forget

CLIENTS = {"gs": "gcsfs", "az": "adlfs", "sftp": "paramiko"}


@pytest.fixture(params=CLIENTS)
def kind(request, monkeypatch):
    monkeypatch.setenv(
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false"
    )  # a second interface, which asks Google itself
    pytest.importorskip(CLIENTS[request.param])
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.001)
    yield request.param
    forget()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    make_folder(root / "bucket" / "made", 200)
    return root


def test_rows_and_states(root, tmp_path, kind):
    """Streams and tables give the rows of the folder, in the same order and with states that fit."""
    with store(kind, root) as (_, place, options):
        here, there = stream(root / "bucket/made"), stream(place, storage_options=options)
        assert list(there) == list(here)
        rows = table(f"{place}:all", storage_options=options, cache=tmp_path)
        assert rows[5:40] == table(root / "bucket/made", cache=tmp_path)[5:40]
        next(iter(there))
        here.load_state_dict(merge_states([there.state_dict()]))
        assert len(list(here)) == 199


def test_what_is_not_there(root, kind):
    """A folder that is not there is told as that, a login that fails as a refusal."""
    with store(kind, root) as (_, place, options):
        with pytest.raises(ReleaseNotFoundError):
            stream(f"{place}-not", storage_options=options)
        if kind == "sftp":
            with pytest.raises(ReleaseError, match="refused"):
                stream(place, storage_options={**options, "password": "wrong"})


@pytest.mark.parametrize("kind", ["gs"], indirect=True)
def test_faults_that_pass(root, kind):
    """A store that is busy now and then loses no row."""
    with store(kind, root) as (server, place, options):
        rows = stream(place, storage_options=options)
        server.faults = 3
        assert list(rows) == list(stream(root / "bucket/made"))
        assert not server.faults
