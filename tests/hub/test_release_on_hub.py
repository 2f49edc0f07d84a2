"""MMRS-1M's seven pieces on the Hub: built and streamed by URL, with no copy of the archive on this disk."""

import hashlib

import pytest
from processes import environment, irtd

from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build

BUILD = """
import hashlib, pathlib
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing.engine import build
out = sys.argv[2]
build("mmrs_1m", ["detection-infrared"], absolute_options(sys.argv[1]), out)
say({
    path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(pathlib.Path(out).rglob("*.parquet"))
})
"""
STREAM = """
import irtd_datasets
found = load("mmrs_1m", "detection-infrared", data_dir=sys.argv[1], streaming=True, split="train")
row = next(iter(found))
say({"id": row["id"], "size": list(row["image"].size)})
"""


@pytest.fixture
def mirror(hub, client, tmp_path):
    """The sample's pieces as a dataset repository; gives its URL, and forgets what was asked to make it."""
    folder = tmp_path / "release"
    write_sample_release("mmrs_1m", folder, rows=90)
    client(
        "api.create_repo('tester/MMRS-1M', repo_type='dataset')\n"
        "api.upload_folder(repo_id='tester/MMRS-1M', repo_type='dataset', folder_path=sys.argv[1])",
        folder,
    )
    hub.forget()
    return folder, "hf://datasets/tester/MMRS-1M"


def test_a_build_by_url_gives_the_bytes_of_a_local_one(mirror, hub, client, tmp_path):
    """The shards have the same SHA-256, the archive is read at most twice, and `load_dataset` streams from the URL."""
    folder, url = mirror
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    build("mmrs_1m", ["detection-infrared"], absolute_options(folder), tmp_path / "local")
    local = {
        path.relative_to(tmp_path / "local").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((tmp_path / "local").rglob("*.parquet"))
    }
    assert client(BUILD, url, tmp_path / "by-url", env=cache) == local
    size = sum(path.stat().st_size for path in folder.glob("data.tar.gz.*"))
    sent = sum(request.sent for request in hub.requests if request.port == "store")
    assert size <= sent < 2.5 * size  # an archive of 1 MB is one stretch of its stream
    assert not list(tmp_path.rglob("by-url/**/data.tar*"))
    row = client(STREAM, url, env=cache)
    assert row["id"].startswith("mmrs_1m/")
    assert not hub.errors


def test_the_mirror_of_the_table_is_fetched_from_the_hub(hub, client, tmp_path):
    """`irtd fetch mmrs_1m`: seven pieces, each with the SHA-256 that the Hub tells; a cut answer is gone on with."""
    folder = tmp_path / "release"
    write_sample_release("mmrs_1m", folder, rows=90)
    client(
        "api.create_repo('initiacms/MMRS-1M', repo_type='dataset')\n"
        "api.upload_folder(repo_id='initiacms/MMRS-1M', repo_type='dataset', folder_path=sys.argv[1])",
        folder,
        env={"HF_TOKEN": hub.add_token("initiacms")},
    )
    cut = hub.fail(cut_after=50_000, method="GET", path="/store|/lfs|/objects", times=1)
    settings = {**environment(), **hub.environment(tmp_path / "home")}
    found = irtd("fetch", "mmrs_1m", "--to", tmp_path / "fetched", env=settings)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("size and SHA-256 verified") == 7
    for path in folder.glob("data.tar*"):
        assert (tmp_path / "fetched" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "fetched" / ".fetch").exists()
    assert cut.hits == 1
    whole = (tmp_path / "fetched" / "data.tar.gz.3").read_bytes()
    (tmp_path / "fetched" / "data.tar.gz.3").write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    found = irtd("fetch", "mmrs_1m", "--to", tmp_path / "fetched", env=settings)
    assert found.returncode == 1
    assert "what is here is not the released file: its SHA-256 differs" in " ".join(found.stdout.split())
