"""Releases at a URL: the rows of a local one, what is asked for and what is not, and servers that fail."""

import hashlib
import io
import logging
import shutil
import tarfile
import time

import numpy as np
import pytest
from datasets import load_dataset_builder
from web_server import web_server
from writing.elsewhere import s3_server

from irtd_datasets.catalog import load_dataset
from irtd_datasets.errors import BuildError, IrtdDatasetsError, ReleaseError
from irtd_datasets.releases.archive_index import archive_folder
from irtd_datasets.releases.places import RemotePlace, RemoteRandomFile, as_place
from irtd_datasets.releases.streams import stream_tar
from irtd_datasets.remote.files import open_files
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build
from irtd_datasets.writing.folder import DatasetFolder

SECRET = "s3cr3t-of-the-test"
FILLER = 14


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """What is learnt of archives goes into the test's own folder; tries follow each other at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A sample release of each dataset."""
    made = {}

    def sample(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "release"
            write_sample_release(name, made[name], rows=90)
        return made[name]

    return sample


@pytest.fixture(scope="module")
def large(samples, tmp_path_factory):
    """The pieces of MMRS-1M with 14 MB of other images in between, so that a part of the archive is not the whole."""
    old = samples("mmrs_1m")
    whole = b"".join(path.read_bytes() for path in sorted(old.glob("data.tar*")))
    packed, rng = io.BytesIO(), np.random.default_rng(0)
    with (
        tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as source,
        tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as target,
    ):
        members = source.getmembers()
        for number, member in enumerate(members):
            if number == len(members) // 2:
                for extra in range(FILLER):
                    info = tarfile.TarInfo(f"data/detection/dotav2/filler/{extra}.png")
                    info.size = 1_000_000
                    target.addfile(info, io.BytesIO(rng.bytes(info.size)))
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    folder, data = tmp_path_factory.mktemp("large"), packed.getvalue()
    share = -(-len(data) // 7)
    for number in range(7):
        (folder / f"data.tar.gz.{number}").write_bytes(data[number * share : (number + 1) * share])
    return folder


def hashes(folder):
    """SHA-256 of each shard."""
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }
    assert found
    return found


@pytest.mark.parametrize(
    ("name", "configs", "lists"),
    [("irtd", ["pretrain", "instruct-reid"], False), ("rs_gpt4v", ["vqa"], True)],
)
def test_a_web_server_gives_the_bytes_of_a_folder(samples, tmp_path, name, configs, lists):
    """IR-TD's cut archive and RS-GPT4V's zip over HTTP, also where a server lists nothing: the shards of the disk's."""
    folder = samples(name)
    build(name, configs, absolute_options(folder), tmp_path / "local")
    with web_server(folder) as server:
        server.lists = lists
        build(name, configs, absolute_options(server.url), tmp_path / "by-url")
    assert hashes(tmp_path / "by-url") == hashes(tmp_path / "local")


def test_an_archive_is_read_once_and_then_in_stretches(large, tmp_path, caplog):
    """A build reads all of it once and says so first; the next reads what it needs; the shards are the local ones."""
    size = sum(path.stat().st_size for path in large.iterdir())
    config = ["detection-infrared"]
    build("mmrs_1m", config, absolute_options(large), tmp_path / "local")
    with web_server(large) as server, caplog.at_level(logging.WARNING):
        build("mmrs_1m", config, absolute_options(server.url), tmp_path / "first")
        assert f"this pass reads all of it, {size:,} bytes" in caplog.text
        assert size < server.sent < 2 * size  # the library goes through the stream in stretches of 4 MB
        assert len(server.requests) < 130
        caplog.clear()
        before = server.sent
        build("mmrs_1m", config, absolute_options(server.url), tmp_path / "second")
        assert server.sent - before < 0.9 * size
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DatasetFolder, "free_space", lambda _: 1000)
            with pytest.raises(BuildError, match="of images are to be written"):
                build("mmrs_1m", config, absolute_options(server.url), tmp_path / "no-room")
        assert "reads all" not in caplog.text
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second") == hashes(tmp_path / "local")


def test_the_first_row_of_a_stream_needs_no_second_pass(large, tmp_path):
    """`load_dataset(..., streaming=True)`: once the archive is known, its first row comes from a few stretches."""
    with web_server(large) as server:
        options = {"data_dir": server.url, "split": "train", "streaming": True, "cache_dir": str(tmp_path)}
        first = next(iter(load_dataset("mmrs_1m", "detection-infrared", **options)))
        before = server.sent
        again = next(iter(load_dataset("mmrs_1m", "detection-infrared", **options)))
        assert again["id"] == first["id"]
        assert server.sent - before < 0.5 * sum(path.stat().st_size for path in large.iterdir())


def test_a_bucket_gives_zips_by_their_ranges(samples, tmp_path):
    """RS-GPT4V over S3: the directory of the zip and the images that are wanted, never the whole of it."""
    pytest.importorskip("moto.server", reason="a server of S3 on this machine needs moto")
    folder = samples("rs_gpt4v")
    build("rs_gpt4v", ["grounding"], absolute_options(folder), tmp_path / "local")
    with s3_server() as options:
        import s3fs

        system = s3fs.S3FileSystem(**options)
        for path in folder.rglob("*"):
            if path.is_file():
                system.put(str(path), f"bucket/release/{path.relative_to(folder).as_posix()}")
        asked = []
        read = s3fs.S3FileSystem._cat_file

        async def counted(self, path, version_id=None, start=None, end=None, **kwargs):
            asked.append((path, end - start))
            return await read(self, path, version_id, start, end, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s3fs.S3FileSystem, "_cat_file", counted)
            where = absolute_options("s3://bucket/release", storage_options=options)
            build("rs_gpt4v", ["grounding"], where, tmp_path / "by-url")
        of_zip = [count for path, count in asked if path.endswith(".zip")]
        assert sum(of_zip) < 0.6 * (folder / "images.zip").stat().st_size
    assert hashes(tmp_path / "by-url") == hashes(tmp_path / "local")


def test_a_cut_connection_costs_one_more_request(samples, tmp_path):
    """The stretch that was cut is asked for again; the archive is not begun anew."""
    folder = samples("mmrs_1m")
    with web_server(folder) as server:
        server.cut_after, server.cuts = {"data.tar.gz.4": 60_000}, 1
        build("mmrs_1m", ["detection-infrared"], absolute_options(server.url), tmp_path / "by-url")
        assert server.cuts == 0
    build("mmrs_1m", ["detection-infrared"], absolute_options(folder), tmp_path / "local")
    assert hashes(tmp_path / "by-url") == hashes(tmp_path / "local")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", r"missing among the pieces: data\.tar\.gz\.3"),
        ("page", "a web page, not an archive"),
        ("shorter", "the gzip stream is damaged or cut|Mismatching|not a tar|no tar header"),
        ("no ranges", "the server gives whole files only, no ranges"),
        ("replaced", "the file was replaced while it was being read"),
        ("gone", "there is nothing at this URL|there is no folder or file"),
    ],
)
def test_a_mirror_that_is_not_the_release_is_told(samples, tmp_path, how, told):
    """A piece missing, replaced, cut or a page: named, with a remedy; nothing is kept of such a pass."""
    folder = shutil.copytree(samples("mmrs_1m"), tmp_path / "mirror")
    piece = folder / "data.tar.gz.3"
    with web_server(folder) as server:
        if how == "missing":
            piece.unlink()
        elif how == "page":
            piece.write_bytes(b"<!DOCTYPE html><title>Quota exceeded</title>" + bytes(1000))
        elif how == "shorter":
            piece.write_bytes(piece.read_bytes()[:-1000])
        elif how == "no ranges":
            server.ranges = False
        elif how == "replaced":
            seen = []

            def swap(handler, name):
                seen.append(name)
                if name == piece.name and seen.count(name) == 3:
                    piece.write_bytes(bytes(reversed(piece.read_bytes())))

            server.faults = swap
        url = server.url + ("/nowhere" if how == "gone" else "")
        with pytest.raises(IrtdDatasetsError, match=told) as caught:
            build("mmrs_1m", ["detection-infrared"], absolute_options(url), tmp_path / "out")
        assert caught.value.remedy
    assert not list((tmp_path / "cache").rglob("done.json"))


def test_a_password_of_a_release_is_never_shown(samples, tmp_path, caplog):
    """It reaches the server; neither options, messages, ledger nor card have it."""
    with web_server(samples("rs_gpt4v")) as server:
        server.password = f"me:{SECRET}"
        host = server.url.removeprefix("http://")
        options = absolute_options(f"http://me:{SECRET}@{host}?token={SECRET}")
        assert options.root == f"http://{host}"
        assert SECRET not in repr(options)
        build("rs_gpt4v", ["grounding"], options, tmp_path / "out")
        given = f"http://me:{SECRET}@{host}?token={SECRET}"
        builder = load_dataset_builder("rs_gpt4v", "grounding", data_dir=given, cache_dir=str(tmp_path / "c"))
        assert builder.config.data_dir == f"http://{host}"
        assert SECRET not in builder.cache_dir
        assert next(iter(builder.as_streaming_dataset(split="train")))["id"]
        with pytest.raises(ReleaseError, match="access was refused") as caught:
            build("rs_gpt4v", [], absolute_options(f"http://me:x{SECRET}@{host}"), tmp_path / "none")
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in {".md", ".json"}]
    assert not any(SECRET in text for text in [*texts, caplog.text])


def test_a_plain_tar_is_entered_where_members_lie(tmp_path):
    """An uncompressed archive: once its members are known, the next pass asks for those that it wants."""
    folder = tmp_path / "web"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number in range(12):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 1_000_000
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    with web_server(folder) as server:
        part, index = as_place(f"{server.url}/a.tar"), archive_folder(("a",))
        assert len(list(stream_tar(part, index=index))) == 12
        before = server.sent
        found = list(stream_tar(part, wanted=lambda name: name == "7.bin", index=index))
        assert [member.data for member in found] == [bytes([7]) * 1_000_000]
        assert server.sent - before < 4_000_000


@pytest.mark.parametrize("seed", range(3))
def test_positional_reads_give_what_was_asked_for(tmp_path, seed):
    """Any offset and size, forwards, backwards and beyond the end, as of the file itself; memory stays bounded."""
    rng = np.random.default_rng(seed)
    data = rng.bytes(1_200_000)
    (tmp_path / "a.bin").write_bytes(data)
    with web_server(tmp_path) as server:
        file = RemoteRandomFile(RemotePlace(open_files(server.url), "a.bin"))
        at = 0
        for _ in range(120):
            at = at if rng.random() < 0.7 else int(rng.integers(0, len(data) + 1000))
            size = int(rng.integers(0, 90_000))
            assert file.read_at(at, size) == data[at : at + size]
            at += size
        file.close()
