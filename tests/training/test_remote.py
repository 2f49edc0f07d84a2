"""Rows from afar are those of the files; what passes is waited for, what does not is an error, and no row is lost."""

import hashlib
import json
import os
import re
import shutil
from functools import partial

import numpy as np
import pytest
from folders import Workers, make_folder, sample_image
from hub_server import hub_server, online
from hub_server.store import Entry, write_whole

from irtd_datasets.errors import (
    ReleaseError,
    ShardChangedError,
    StateError,
    UnknownNameError,
)
from irtd_datasets.remote import Retry
from irtd_datasets.testing import assert_stream_exact
from irtd_datasets.training import Curriculum, merge_states, open_source, stream, table
from irtd_datasets.training import draws as draws_module
from irtd_datasets.training import shards as shards_module
from irtd_datasets.training import storage as storage_module

NAME = "tester/made"
SHARD = r"train-0000\d"
SHARD_NAME = re.compile(r"/resolve/.*/data/.*\.parquet$")


def put(hub, root, name=NAME):
    """Commit a folder, its Parquet files as large objects, which the Hub hands out by a redirect to its store."""
    if ("dataset", name) not in hub.store.repositories:
        hub.store.create("dataset", name, "tester", private=False)
    repository = hub.repository(name)
    tree = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            where = path.relative_to(root).as_posix()
            if path.suffix == ".parquet":
                digest = hashlib.sha256(content).hexdigest()
                write_whole(repository.object(digest), content)
                tree[where] = Entry.of_object(digest, len(content))
            else:
                tree[where] = repository.add_blob(content)
    repository.apply("main", lambda _: tree, title="Rows", message="", user="tester")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("remote") / "made"
    return root, make_folder(
        root, 300, shards=3, group=20, per_image=2, data=partial(sample_image, size=4000)
    )


@pytest.fixture
def hub(tmp_path, made, monkeypatch):
    """A Hub with the folder. The tests are offline by a setting, which is lifted here: it is on this machine."""
    online(monkeypatch)
    monkeypatch.setattr(Retry, "wait", lambda self, attempt, asked: 0.01 if attempt < self.attempts else None)
    # The folder is small: what is read at a time is made small, too.
    monkeypatch.setattr(draws_module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(shards_module, "_TAIL", 256)
    monkeypatch.setattr(storage_module, "GAP", 64)
    with hub_server(tmp_path / "hub") as running:
        put(running, made[0])
        yield running


def options(hub, **more):
    return {"endpoint": hub.endpoint, "token": hub.token, "patience": 0.6, **more}


def by_id(rows):
    return {row["id"]: row for row in rows}


def hub_loader(hub, *of, data=NAME, **more):
    rank, world, workers, states = of
    streams = []
    for worker in range(max(workers, 1)):
        one = stream(
            data,
            rank=worker * world + rank,
            world_size=max(workers, 1) * world,
            storage_options=options(hub),
            **more,
        )
        if states:
            one.load_state_dict(merge_states(states))
        streams.append(one)
    return Workers(streams) if workers else streams[0]


def test_a_curriculum_from_the_hub(hub, made, monkeypatch):
    """Tiers come one after another; ids are asked for in a few requests, and each image is sent once."""
    numbers = np.random.default_rng(1).permutation(300)
    scores = {row["id"]: float(number) for row, number in zip(made[1], numbers, strict=True)}
    data = open_source(f"{NAME}:all", options=options(hub))
    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "GAP", 1 << 20)
        before = len(hub.requests)
        assert data.column("id").to_pylist() == [row["id"] for row in made[1]]
        ranges = [one.range for one in hub.requests[before:] if one.range]
        assert len(set(ranges)) <= 4 * len(data.shards), (
            ranges
        )  # three for the footer, one for all row groups
    rows = list(stream(data, order=Curriculum(scores, 3)))
    assert by_id(rows) == by_id(made[1])
    tiers = [int(scores[row["id"]]) // 100 for row in rows]
    assert tiers == sorted(tiers)
    assert_stream_exact(
        lambda *of: hub_loader(hub, *of, columns=["id"], order=Curriculum(scores, 3)),
        (2, 0, 0),
        (2, 3, 1),
        stops=(13, 20),
        rows=list(scores),
    )


@pytest.mark.parametrize("index", [True, False])
def test_rows_from_the_hub(hub, made, tmp_path, index):
    """A repository gives the rows of its files, with an index or without, and may be stopped like a folder."""
    name = NAME
    if not index:
        bare = shutil.copytree(made[0], tmp_path / "bare")
        shutil.rmtree(bare / "index")
        name = "tester/bare"
        put(hub, bare, name)
    rows = list(stream(f"{name}:all", storage_options=options(hub)))
    assert len(rows) == 300
    assert by_id(rows) == by_id(made[1])
    assert_stream_exact(
        lambda *of: hub_loader(hub, *of, data=name, columns=["id", "image"]),
        (2, 0),
        (2, 3),
        stops=(3, 5),
        rows=list(by_id(made[1])),
    )


def test_requests_of_the_hub(hub):
    """The images of rows that a filter leaves out are not fetched, nor those of rows that were passed."""
    whole = sum(path.stat().st_size for path in hub.folder.rglob("objects/*"))

    def fetched(one):
        hub.forget()
        count = len(list(one))
        return count, sum(r.sent for r in hub.requests if r.port == "store")

    _, every = fetched(stream(NAME, storage_options=options(hub)))
    assert every < 2 * whole
    count, few = fetched(stream(NAME, columns=["id", "width"], storage_options=options(hub)))
    assert count == 300
    assert few < every / 2
    one = stream(NAME, storage_options=options(hub))
    for _, _row in zip(range(270), one, strict=False):
        pass
    again = stream(NAME, storage_options=options(hub))
    again.load_state_dict(one.state_dict())
    count, rest = fetched(again)
    assert count in {29, 30}
    assert rest < every / 2


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "0"}, "times": 3},
        {"status": 503, "times": 3},
        {"cut_after": 700, "times": 3},
        {"cut_answer": True, "times": 3},
        {"stall": True, "times": 2},
    ],
    ids=lambda fault: next(iter(fault)) + str(fault.get("status", "")),
)
@pytest.mark.parametrize("way", ["hub", "http"])
def test_faults_on_the_way(hub, made, fault, way):
    """A Hub that answers 429 or 503, cuts or stalls in the middle: the stream goes on, no row is lost or repeated."""
    place = NAME if way == "hub" else f"{hub.endpoint}/datasets/{NAME}/resolve/main"
    settings = options(hub) if way == "hub" else {"patience": 0.6}
    one = stream(place, storage_options=settings)
    rows = iter(one)
    found = [next(rows) for _ in range(5)]
    hit = hub.fail(path="objects|/store|" + SHARD, skip=1, **fault)
    found += list(rows)
    hub.heal()
    assert hit.hits == fault["times"]
    assert [row["id"] for row in found] == [row["id"] for row in stream(place, storage_options=settings)]
    assert by_id(found) == by_id(made[1])


@pytest.mark.parametrize("way", ["hub", "http"])
def test_links_that_ran_out(hub, made, way):
    """A signed link that the file store refuses is asked for again, a few times; then it is a refusal."""
    place = NAME if way == "hub" else f"{hub.endpoint}/datasets/{NAME}/resolve/main"
    settings = options(hub) if way == "hub" else {"patience": 0.6}
    hit = hub.fail(status=403, path="objects|/store", times=2)
    assert by_id(stream(place, storage_options=settings)) == by_id(made[1])
    assert hit.hits == 2
    hub.fail(status=403, path="objects|/store", times=None)
    with pytest.raises(ReleaseError, match="access was refused"):
        list(stream(place, storage_options=settings))


def test_faults_that_do_not_pass(hub, made):
    """After enough tries it is an error that says so, and the state taken then loses no row."""
    one = stream(NAME, storage_options=options(hub, retries=2))
    rows = iter(one)
    found = [next(rows)["id"]]
    hub.fail(status=500, path="objects|/store|" + SHARD, times=None)
    with pytest.raises(ReleaseError, match="cannot be read"):
        found.extend(row["id"] for row in rows)
    hub.heal()
    again = stream(NAME, storage_options=options(hub))
    again.load_state_dict(one.state_dict())
    found.extend(row["id"] for row in again)
    assert sorted(found) == sorted(by_id(made[1]))


def test_token_that_expires(hub, made):
    """A token that is no longer valid is an error that says what to do; with a new one the stream goes on."""
    hub.repository(NAME).private = True
    short = hub.add_token("tester", uses=6)
    one = stream(NAME, storage_options=options(hub, token=short))
    found = []
    with pytest.raises(ReleaseError, match="log in again"):
        found.extend(row["id"] for row in one)
    again = stream(NAME, storage_options=options(hub))
    again.load_state_dict(one.state_dict())
    found.extend(row["id"] for row in again)
    assert sorted(found) == sorted(by_id(made[1]))
    with pytest.raises(ReleaseError, match="log in again"):
        stream(NAME, storage_options=options(hub, token=False))


def test_push_during_the_epoch(hub, made, tmp_path):
    """What is pushed during an epoch changes nothing in it; a state of the old rows does not fit the new ones."""
    one = stream(NAME, storage_options=options(hub))
    rows = iter(one)
    found = [next(rows)]
    state = one.state_dict()
    other = tmp_path / "other"
    make_folder(other, 300, shards=3, prefix="other")
    put(hub, other)
    found.extend(rows)
    assert by_id(found) == by_id(made[1])
    new = stream(NAME, storage_options=options(hub))
    assert {row["id"][:5] for row in new} == {"other"}
    with pytest.raises(StateError, match="other data"):
        new.load_state_dict(state)
    commit = one.sources[0].storage.commit
    old = stream(f"{NAME}@{commit}", storage_options=options(hub))
    old.load_state_dict(state)
    assert len(list(old)) == 299


def test_shard_replaced_on_a_server(hub, tmp_path):
    """On a server without revisions, a shard that is replaced during the epoch is refused."""
    place = f"{hub.endpoint}/datasets/{NAME}/resolve/main"
    rows = iter(stream(place, storage_options={"patience": 2}))
    next(rows)
    other = tmp_path / "other"
    make_folder(other, 300, shards=3, per_image=2, prefix="mode")
    put(hub, other)
    with pytest.raises(ShardChangedError, match="replaced"):
        list(rows)


def test_index_of_other_shards(hub, made, tmp_path):
    """An index that was published with other shards is refused."""
    mixed = shutil.copytree(made[0], tmp_path / "mixed")
    other = tmp_path / "other"
    make_folder(other, 300, shards=3, per_image=2, prefix="mode")
    shutil.rmtree(mixed / "data")
    shutil.copytree(other / "data", mixed / "data")
    put(hub, mixed, "tester/mixed")
    with pytest.raises(ShardChangedError, match="do not belong together"):
        stream("tester/mixed", storage_options=options(hub))


def test_table_from_the_hub(hub, made, tmp_path, monkeypatch):
    """Any row from afar: by a few requests a batch, or from shards that are kept here up to a limit."""
    monkeypatch.setenv("IRTD_DATASETS_CACHE", str(tmp_path / "cache"))
    expected = made[1]
    rows = table(NAME, storage_options=options(hub))
    order = list(rows.sampler(seed=1))
    assert [rows[n] for n in order[:3]] == [expected[n] for n in order[:3]]
    for start in range(0, 300, 50):
        assert rows.__getitems__(order[start : start + 50]) == [
            expected[n] for n in order[start : start + 50]
        ]
    hub.forget()
    again = table(NAME, storage_options=options(hub))
    assert again.__getitems__(order) == [expected[n] for n in order]
    assert not [r for r in hub.requests if SHARD_NAME.search(r.path)], "what was read is on this machine"
    none = table(NAME, cache_bytes=0, storage_options=options(hub))
    assert none.__getitems__(order[:9]) == [expected[n] for n in order[:9]]
    assert [r for r in hub.requests if r.port == "store" and r.sent]


def test_table_without_index(hub, made, tmp_path, monkeypatch):
    """Without an index images from afar have no known place: that is said, and keeping shards here helps."""
    monkeypatch.setenv("IRTD_DATASETS_CACHE", str(tmp_path / "cache"))
    bare = shutil.copytree(made[0], tmp_path / "bare")
    shutil.rmtree(bare / "index")
    put(hub, bare, "tester/bare")
    with pytest.raises(UnknownNameError, match="cache_bytes"):
        table("tester/bare", storage_options=options(hub))[0]
    rows = table("tester/bare", storage_options=options(hub), cache_bytes=1 << 30)
    rows.sources[0].limit = 1  # so that shards are closed and asked for again
    assert rows.__getitems__([0, 299]) == [made[1][0], made[1][299]]
    assert len(list((tmp_path / "cache" / "shards").glob("*.parquet"))) == 2
    hub.forget()
    again = table("tester/bare", storage_options=options(hub), cache_bytes=1 << 30)
    assert again.__getitems__(range(200, 300)) == made[1][200:]
    assert not [r for r in hub.requests if r.port == "store" and r.sent > 10_000]
    assert len(table("tester/bare", columns=["id"], storage_options=options(hub))) == 300


def test_wrong_content_for_a_shard(hub, made, tmp_path, monkeypatch):
    """A shard whose bytes are not those of its SHA-256 is not kept."""
    monkeypatch.setenv("IRTD_DATASETS_CACHE", str(tmp_path / "cache"))
    bare = shutil.copytree(made[0], tmp_path / "bare")
    shutil.rmtree(bare / "index")
    put(hub, bare, "tester/bare")
    rows = table("tester/bare", storage_options=options(hub), cache_bytes=1 << 30)
    name = rows.sources[0].shards[0].sha256
    path = hub.repository("tester/bare").object(name)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardChangedError, match="SHA-256"):
        rows[0]
    assert not list((tmp_path / "cache" / "shards").glob("*.parquet"))


def test_other_file_systems(made):
    """A bucket is read through fsspec; here one in memory."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in made[0].rglob("*"):
        if path.is_file():
            memory.pipe(f"/bucket/{path.relative_to(made[0]).as_posix()}", path.read_bytes())
    try:
        rows = list(stream("memory://bucket:all"))
        assert by_id(rows) == by_id(made[1])
    finally:
        memory.rm("/bucket", recursive=True)


def test_names_of_places():
    """Places, configs, revisions and ports are told apart."""
    split = storage_module.split_name
    assert split("hf://datasets/you/irtd@v1:instruct") == ("hf://datasets/you/irtd@v1", "instruct")
    assert split("s3://bucket/irtd:a") == ("s3://bucket/irtd", "a")
    assert split("http://localhost:8000") == ("http://localhost:8000", None)
    assert split("http://localhost:8000/irtd:a") == ("http://localhost:8000/irtd", "a")
    assert split("C:\\data\\irtd") == ("C:\\data\\irtd", None)
    assert json.dumps(split(os.fspath("irtd"))) == '["irtd", null]'
