"""Builds into a store: the same bytes as on a disk, going on after a stop, and what its refusals tell."""

import json
import shutil
import signal
from pathlib import Path

import fsspec
import pytest
from elsewhere import CONFIGS, SECRET, built, cut_small, objects, s3_server, tree
from processes import irtd, run, told

from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.remote.urls import shown_url
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build
from irtd_datasets.writing.remote_folder import RemoteFolder
from irtd_datasets.writing.store import Store, parse_storage_options

MEMORY = "memory://bucket/irtd"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=12).folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Small shards, an empty store in memory, no credentials of this machine, no waiting."""
    cut_small(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("irtd_datasets.remote.retry.time.sleep", lambda _: None)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield
    memory.store.clear()


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    """The files of a build into a folder."""
    out = tmp_path_factory.mktemp("reference") / "irtd"
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        assert built(small, out).written >= 6
    return tree(out)


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("s3fs", reason="S3 needs the extra s3")
    pytest.importorskip("moto.server", reason="a server of S3 on this machine needs moto")
    with s3_server() as options:
        yield options


def test_a_store_gets_the_bytes_of_a_folder(small, reference):
    """Every published file is the same, nothing else is left, and a second build writes nothing."""
    first = built(small, MEMORY)
    assert (first.folder, first.reused) == (MEMORY, 0)
    assert objects(Store(MEMORY)) == reference
    again = built(small, MEMORY)
    assert (again.written, again.reused) == (0, first.written)
    assert objects(Store(MEMORY)) == reference


def test_configs_one_after_the_other(small, reference):
    """What other builds put below the URL stays, and the whole is that of one build."""
    for config in reversed(CONFIGS):
        built(small, MEMORY, [config])
    assert objects(Store(MEMORY)) == reference


def test_a_file_url_is_a_folder(small, reference, tmp_path):
    """``file://`` names a folder of this machine."""
    built(small, f"file://{tmp_path}/irtd")
    assert tree(tmp_path / "irtd") == reference


def test_a_changed_release_replaces_its_shards_and_no_others(small, tmp_path):
    """The manifest is away while files that it names are replaced; stale shards are gone afterwards."""
    folder = shutil.copytree(small, tmp_path / "release")
    built(folder, MEMORY)
    flir = folder / "63-FLIR_ADAS" / "training" / "PreviewData"
    for image in sorted(flir.iterdir())[:3]:
        image.write_bytes(image.read_bytes() + b"\0")
    store, seen = Store(MEMORY), []
    upload = Store.upload

    def watching(self, file, name):
        if name.startswith("instruct/"):
            seen.append("manifest.json" in store.listing())
        return upload(self, file, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "upload", watching)
        again = built(folder, MEMORY)
    assert seen
    assert not any(seen)
    assert again.reused
    built(folder, tmp_path / "fresh")
    assert objects(store) == tree(tmp_path / "fresh")


class Stopped(BaseException):
    """Ends a build as a kill does."""


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_before_any_write_and_started_again(step, small, reference, monkeypatch):
    """At each stop the manifest is there only with all files; the same command goes on and ends with the same bytes."""
    monkeypatch.setattr(RemoteFolder, "tidy", lambda _: None)  # nothing tidies after a kill
    store, count = Store(MEMORY), 0
    limit = None

    def counting(method):
        def wrapped(self, *arguments, **options):
            nonlocal count
            count += 1
            if count == limit:
                raise Stopped
            return method(self, *arguments, **options)

        return wrapped

    for name in ("upload", "write", "copy", "remove"):
        monkeypatch.setattr(Store, name, counting(getattr(Store, name)))
    built(small, MEMORY)
    total = count
    assert total > 30
    for moment in range(1, total + 1, step):
        store._open()[0].store.clear()
        count, limit = 0, moment
        with pytest.raises(Stopped):
            built(small, MEMORY)
        limit = None
        names = store.listing()
        if "manifest.json" in names:
            assert reference.keys() <= names.keys()
        finished = sum("/shard-" in name and name.endswith(".json") for name in names)
        again = built(small, MEMORY)
        if "manifest.json" not in names:
            assert again.reused >= finished, moment
        assert objects(store) == reference, moment


def test_another_dataset_after_a_build_that_was_killed(small, tmp_path, monkeypatch):
    """Objects that were uploaded and never described are gone: below the URL is what the other build makes alone."""
    monkeypatch.setattr(RemoteFolder, "tidy", lambda _: None)
    store, upload, left = Store(MEMORY), Store.upload, 5

    def stopping(self, file, name):
        nonlocal left
        left -= 1
        if not left:
            raise Stopped
        return upload(self, file, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "upload", stopping)
        with pytest.raises(Stopped):
            built(small, MEMORY)
    assert [name for name in store.listing() if name.startswith("instruct/")]
    release = write_sample_release("mmrs_1m", tmp_path / "mmrs_1m", rows=20).folder
    for out in (MEMORY, tmp_path / "alone"):
        build("mmrs_1m", ["vqa"], absolute_options(release), out)
    assert objects(store) == tree(tmp_path / "alone")


def test_what_passes_is_tried_again(small, reference, monkeypatch):
    """Cut connections and an overloaded store cost a retry, not the build."""
    from fsspec.implementations.memory import MemoryFileSystem

    calls = 0

    def failing(method):
        def wrapped(self, *arguments, **options):
            nonlocal calls
            calls += 1
            if calls % 3 == 1:
                raise ConnectionResetError(104, "Connection reset by peer")
            return method(self, *arguments, **options)

        return wrapped

    for name in ("put_file", "pipe_file", "cat_file", "find"):
        monkeypatch.setattr(MemoryFileSystem, name, failing(getattr(MemoryFileSystem, name)))
    monkeypatch.setattr(Store, "listing", lambda self, *a, listing=Store.listing, **_: listing(self, *a))
    built(small, MEMORY)
    assert calls > 50
    monkeypatch.undo()
    assert objects(Store(MEMORY)) == reference


def test_a_store_that_stays_away_is_told_and_the_build_goes_on_later(small, reference, monkeypatch):
    """When retries do not help the message says that nothing finished is lost, and nothing is."""
    from fsspec.implementations.memory import MemoryFileSystem

    put_file, calls = MemoryFileSystem.put_file, 0

    def cut(self, *arguments, **options):
        nonlocal calls
        calls += 1
        if calls > 6:
            raise TimeoutError("timed out")
        return put_file(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", cut)
        with pytest.raises(BuildError, match=r"does not answer(.|\n)*finished shards are kept"):
            built(small, MEMORY)
    assert "manifest.json" not in Store(MEMORY).listing()
    assert built(small, MEMORY).reused >= 2
    assert objects(Store(MEMORY)) == reference


def test_a_shard_that_arrived_cut_is_not_believed(small, monkeypatch):
    """An upload of which the store has fewer bytes is an error, whatever the library said."""
    from fsspec.implementations.memory import MemoryFileSystem

    def half(self, source, target, **_):
        self.pipe_file(target, Path(source).read_bytes()[:100])

    monkeypatch.setattr(MemoryFileSystem, "put_file", half)
    with pytest.raises(BuildError, match="bytes arrived"):
        built(small, MEMORY)


def test_a_build_that_another_one_replaced_writes_nothing_more(small):
    """Of two builds below one URL the one that began first ends with an error and publishes nothing."""
    upload = Store.upload

    def other_begins(self, file, name):
        self.write(".build/run.json", json.dumps({"run": "another"}).encode())
        upload(self, file, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "upload", other_begins)
        with pytest.raises(BuildError, match="another build has begun"):
            built(small, MEMORY)
    assert "manifest.json" not in Store(MEMORY).listing()


def test_places_that_are_not_built_into(small):
    """Objects of others are left alone; the Hub and read-only stores are refused with the way to do it."""
    Store(MEMORY).write("thesis.txt", b"mine")
    with pytest.raises(BuildError, match="no build made them"):
        built(small, MEMORY)
    assert objects(Store(MEMORY)) == {"thesis.txt": b"mine"}
    for url, words in (
        ("hf://datasets/you/irtd", "irtd publish"),
        ("https://host/irtd", "can only be read"),
        ("nosuch://bucket/irtd", "no such protocol"),
        ("s3://", "names no bucket"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            built(small, url)
    with pytest.raises(UnknownNameError, match="memory of one process"):
        built(small, MEMORY, workers=2)
    with pytest.raises(UnknownNameError, match="--storage-option is for a build to a URL"):
        built(small, "folder", storage_options={"key": "x"})


def test_secrets_are_not_shown():
    """Neither options nor what stands before the @ of a URL comes into a text."""
    store = Store("sftp://me:hidden@host/irtd", {"password": SECRET})
    assert "hidden" not in repr(store) + store.shown + store.where("x")
    assert SECRET not in repr(store)
    error = store.failed(RuntimeError(f"https://me:{SECRET}@host/x?X-Amz-Signature={SECRET} failed"))
    assert SECRET not in str(error)
    with pytest.raises(UnknownNameError) as missing:
        parse_storage_options([SECRET.replace("-", "="), "alone"])
    assert SECRET not in str(missing.value)
    assert shown_url("s3://bucket/irtd") == "s3://bucket/irtd"


def test_s3_gets_the_bytes_of_a_folder_and_datasets_streams_it(small, reference, s3, tmp_path):
    """A bucket holds the dataset; plain `datasets` streams it and loads it by its own options."""
    import datasets

    built(small, "s3://bucket/irtd/", storage_options=s3)
    assert objects(Store("s3://bucket/irtd", s3)) == reference
    files = "s3://bucket/irtd/instruct/location/train-*.parquet"
    rows = datasets.load_dataset(
        "parquet", data_files=files, split="train", streaming=True, storage_options=dict(s3)
    )
    found = [(row["id"], row["image"].size) for row in rows]
    built(small, tmp_path / "irtd")
    local = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "irtd/instruct/location/*.parquet"),
        split="train",
        streaming=True,
    )
    assert found == [(row["id"], row["image"].size) for row in local]
    assert len(found) > 5


@pytest.mark.parametrize("place", ["memory", "s3"])
def test_a_shard_that_another_has_exchanged_is_written_again(place, small, reference, s3, monkeypatch):
    """A finished shard is believed by its bytes, not by its size: the store's mark of them, or all of them read."""
    monkeypatch.setattr(RemoteFolder, "tidy", lambda _: None)
    url, options = (MEMORY, {}) if place == "memory" else ("s3://bucket/exchanged", s3)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "publish", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            built(small, url, storage_options=options)
    store = Store(url, options)
    shards = [name for name in store.listing() if name.endswith(".parquet") and not name.startswith(".")]
    store.write(shards[0], bytes(store.listing()[shards[0]]))
    asked = []
    read = RemoteFolder._digest
    monkeypatch.setattr(RemoteFolder, "_digest", lambda self, name: asked.append(name) or read(self, name))
    again = built(small, url, storage_options=options)
    assert objects(store) == reference
    assert again.written == 1
    assert (asked == [shards[0]]) == (
        place == "s3"
    )  # the others are known by their marks, without being read


def test_killed_while_it_uploads_to_s3(small, reference, s3):
    """SIGKILL in the middle; the command line goes on with the credentials of the environment, and prints none."""
    environment = {
        "AWS_ACCESS_KEY_ID": s3["key"],
        "AWS_SECRET_ACCESS_KEY": s3["secret"],
        "FSSPEC_S3_ENDPOINT_URL": s3["endpoint_url"],
    }
    url, script = "s3://bucket/killed", Path(__file__).with_name("elsewhere.py")
    process = run([script, "7", str(small), url], env=environment)
    assert process.returncode == -signal.SIGKILL, process.stderr
    store = Store(url, s3)
    assert any(name.endswith(".parquet") for name in store.listing())
    assert "manifest.json" not in store.listing()
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        for name, value in environment.items():
            patch.setenv(name, value)
        assert built(small, url, storage_options=s3).reused >= 2
    assert objects(store) == reference


def test_what_another_process_wrote_is_seen(s3):
    """A client of S3 remembers listings; workers write after them, also in place of something that was shorter."""
    import s3fs

    store, other = Store("s3://bucket/seen", s3), s3fs.S3FileSystem(skip_instance_cache=True, **s3)
    store.write("folder/first", b"short")
    assert set(store.listing()) == {"folder/first"}
    other.pipe_file("bucket/seen/folder/second", b"new")
    other.pipe_file("bucket/seen/folder/first", b"longer than before")
    assert store.read_many(["folder/first", "folder/second"]) == {
        "folder/first": b"longer than before",
        "folder/second": b"new",
    }
    store.listing()
    other.rm("bucket/seen/folder/second")
    assert store.read("folder/second") is None


def test_what_s3_refuses_is_told(small, s3):
    """No bucket, no credentials, an option that does not exist: a message with a next step, and no secret in it."""
    with pytest.raises(BuildError, match=r"no such bucket(.|\n)*Make the bucket first"):
        built(small, "s3://none/irtd", storage_options=s3)
    anonymous = {"endpoint_url": s3["endpoint_url"]}
    with pytest.raises(BuildError, match=r"no credentials(.|\n)*AWS_ACCESS_KEY_ID"):
        built(small, "s3://bucket/x", storage_options=anonymous)
    with pytest.raises(BuildError, match="Check the storage options") as wrong:
        built(small, "s3://bucket/x", storage_options={**s3, "nonsense": SECRET})
    assert SECRET not in str(wrong.value)


def test_permission_is_told(small, monkeypatch):
    """A store that refuses is told at once, before anything is read."""
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(BuildError, match=r"refuses: Access Denied(.|\n)*write, list and delete"):
        built(small, MEMORY)


def test_the_command_line(small, tmp_path):
    """Usage mistakes end with 2 and a message; options of stores are for URLs."""
    release = ("--release", small)
    told(irtd("build", "irtd", "instruct", *release, "--out", "hf://datasets/a/b"), 2, "irtd publish")
    wrong = irtd("build", "irtd", "instruct", *release, "--out", MEMORY, "--storage-option", SECRET)
    assert SECRET not in told(wrong, 2, "has no value").replace(f"--storage-option '{SECRET}'", "")
