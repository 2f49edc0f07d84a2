"""From afar: how often a server is asked and for what, how soon the first row comes, and that no fault changes one."""

import hashlib
import logging
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice

import pytest
from far import KINDS, far_server, rounds, twice
from folders import make_folder, sample_image
from hub_server import hub_server, online
from test_remote import put

from irtd_datasets.errors import ReleaseError
from irtd_datasets.folder.index import write_folder_index
from irtd_datasets.remote import retry
from irtd_datasets.remote.arriving import Arriving, Body
from irtd_datasets.remote.crew import Task
from irtd_datasets.training import batches, merge_states, open_source, stream, table
from irtd_datasets.training.decode import Decoder

ROWS, GROUP = 800, 20
PLACES = ["http", "s3", "hub"]


def quickly(*kinds):
    """All places, those that are not named only where slow tests are asked for."""
    return [pytest.param(kind, marks=[] if kind in kinds else [pytest.mark.slow]) for kind in PLACES]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A place with a folder of 40 row groups in 3 shards; read it, do not change it."""
    root = tmp_path_factory.mktemp("afar")
    data = partial(sample_image, size=4000)
    make_folder(root / "bucket" / "made", ROWS, shards=3, group=GROUP, data=data)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Pauses that nobody asks for take no time, and nothing is kept from one test to the next."""
    online(monkeypatch)
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.001)
    monkeypatch.setenv("IRTD_DATASETS_CACHE", str(tmp_path / "cache"))


@contextmanager
def afar(kind, root, folder):
    """The folder at a place of a kind: the server with the log, its name, and options."""
    if kind == "hub":
        with hub_server(folder / "hub") as hub:
            put(hub, root / "bucket" / "made")
            repository = hub.repository("tester/made")

            def content(path):
                return repository.object(path.rpartition("/")[2]).read_bytes()

            with far_server(content=content) as far:
                hub.store_endpoint = f"http://localhost:{far.address.rpartition(':')[2]}"
                far.hub = hub
                index = (root / "bucket/made/index/data.part.parquet").read_bytes()
                far.others.add(hashlib.sha256(index).hexdigest())
                yield far, "tester/made", {"endpoint": hub.endpoint, "token": hub.token}
        return
    with far_server(root) as far:
        if kind == "http":
            yield far, f"http://{far.address}/bucket/made", {}
        else:
            pytest.importorskip("s3fs")
            keys = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}
            yield far, "s3://bucket/made", {"endpoint_url": f"http://{far.address}", **keys}


def digests(rows):
    """Rows in their order: id, and SHA-256 of the image."""
    return [(row["id"], row["image"] and hashlib.sha256(row["image"]["bytes"]).hexdigest()) for row in rows]


def size_of(root):
    return sum(path.stat().st_size for path in (root / "bucket/made/data").rglob("*.parquet"))


@pytest.mark.parametrize("kind", PLACES)
def test_an_epoch(root, tmp_path, kind):
    """One request a row group, no byte twice; the rows and their order are those of the folder on the disk."""
    with afar(kind, root, tmp_path) as (far, name, options):
        one = stream(name, storage_options=options)
        opened = far.data_requests()
        far.forget()
        rows = list(one)
        asked = [a for a in far.data_requests() if a.stop - a.start > 1]
        assert digests(rows) == digests(stream(root / "bucket/made"))
        assert len(asked) <= 1.1 * ROWS / GROUP
        assert not twice(asked)
        assert sum(a.stop - a.start for a in asked) <= size_of(root)
        assert kind == "hub" or not opened, "what the index says is not asked of the shards"
        if kind == "hub":
            links = [r for r in far.hub.requests if "/data/" in r.path]
            assert len(links) <= 3, "the Hub is asked once for each file"
            assert len([r for r in far.hub.requests if "/api/" in r.path]) == 1


@pytest.mark.parametrize("kind", quickly("http", "hub"))
def test_the_first_row(root, tmp_path, kind):
    """A few round trips, however many shards; a block is not waited for, and not much more than it is fetched."""
    with afar(kind, root, tmp_path) as (far, name, options):
        next(iter(stream(name, storage_options=options)))  # what is imported and made once
        time.sleep(0.2)
        far.forget()
        far.delay = 0.03
        rows = iter(stream(name, storage_options=options))
        row = next(rows)
        assert row["id"] == next(iter(stream(root / "bucket/made")))["id"]
        # Those of a Hub itself, which is another server: its information and small files, and a link.
        assert rounds(far) + (2 if kind == "hub" else 0) <= 6
        rows.close()
        time.sleep(0.1)
        whole = size_of(root)
        assert sum(a.stop - a.start for a in far.data_requests()) <= whole * 17 / (ROWS / GROUP) * 1.1


@pytest.mark.parametrize("kind", quickly("http", "s3"))
def test_the_first_row_is_not_kept_waiting(root, tmp_path, kind):
    """The first row is handed out while the others of its row group are on their way, and they are right, too."""
    with afar(kind, root, tmp_path) as (far, name, options):
        rows = iter(stream(name, storage_options=options))
        far.fault = lambda path, size: "late" if far.concerns(path) and size > 500 else ""
        found = [next(rows)]
        assert not far.data_requests(), "no answer has ended"
        far.late.set()
        found += rows
        assert digests(found) == digests(stream(root / "bucket/made"))
        assert not twice(far.data_requests())


def test_opening_many_parts(tmp_path):
    """34 parts with an index each are opened in as few round trips as one."""
    pytest.importorskip("s3fs")
    folder = tmp_path / "bucket" / "made"
    make_folder(folder, 40, shards=1)
    (shard,) = (folder / "data").rglob("*.parquet")
    names = {}
    for number in range(34):
        path = folder / f"data/part{number:02d}" / shard.name
        path.parent.mkdir()
        path.write_bytes(shard.read_bytes())
        names[path.relative_to(folder).as_posix()] = hashlib.sha256(shard.read_bytes()).hexdigest()
    for path in (shard, *(folder / "index").iterdir(), folder / "manifest.json"):
        path.unlink()
    write_folder_index(folder, names.items())
    card = folder / "README.md"
    card.write_text(card.read_text().replace("data/part/", "data/*/"))
    with afar("s3", tmp_path, tmp_path) as (far, name, options):
        next(iter(stream(name, storage_options=options)))
        time.sleep(0.2)
        far.forget()
        far.delay = 0.1
        rows = stream(name, storage_options=options)
        assert len(rows.sources[0]) == 34 * 40
        next(iter(rows))
        assert rounds(far) <= 4


@pytest.mark.parametrize("size", [12 << 10, 40_000])
def test_a_card_that_is_long(tmp_path, size):
    """A card whose front matter is longer than what is asked for at first is read to its end, however it is cut."""
    folder = tmp_path / "bucket" / "made"
    make_folder(folder, 20, shards=1)
    card = (folder / "README.md").read_text()
    spare = (
        size - card.index("\n---", 3) - 4
    )  # the last line of the front matter ends where the first part does
    (folder / "README.md").write_text(
        card.replace("---\n", f"---\nx: {'y' * (spare - 4)}\n", 1) + "text\n" * 9
    )
    with afar("http", tmp_path, tmp_path) as (_, name, options):
        assert digests(stream(name, storage_options=options)) == digests(stream(folder))


def test_bytes_that_come_late():
    """Bytes can be taken as soon as they are there; of an answer that was cut none stay, and an error is raised."""
    part, task = Arriving(100, 110), Task()
    part.task = task
    part.begin().add(b"old")
    data = part.begin()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(part.take, 102, 105)
        data.add(b"abcde")
        part.grew()
        assert waiting.result(5) == b"cde"
        waiting = pool.submit(part.take, 104, 110)
        task.set_exception(EOFError("cut"))
        part.grew()
        with pytest.raises(EOFError):
            waiting.result(5)


def test_bytes_in_pages_of_their_own():
    """Many bytes are those that were added, no more than were expected; a view of them outlives the body."""
    size = (1 << 20) + 5
    data = bytes(range(256)) * (size // 256) + b"12345"
    body = Body(size)
    for start in range(0, size, 300_000):
        body.add(data[start : start + 300_000])
    body.add(b"too much")
    assert len(body) == size
    found = body.part(0), body.part(7, 9), body.part(size - 5, size + 9)
    del body
    assert [bytes(one) for one in found] == [data, data[7:9], b"12345"]
    with pytest.raises(TypeError):
        found[0][0] = 1


@pytest.mark.parametrize("kind", quickly("hub"))
def test_going_on_at_half(root, tmp_path, kind):
    """A loaded state costs as few round trips as a beginning, and no image of a row that was passed comes again."""
    with afar(kind, root, tmp_path) as (far, name, options):
        one = stream(name, storage_options=options)
        before = list(islice(one, ROWS // 2))
        state = one.state_dict()
        time.sleep(0.1)
        far.forget()
        far.delay = 0.03
        again = stream(name, storage_options=options)
        again.load_state_dict(merge_states([state]))
        rows = iter(again)
        following = next(rows)
        assert rounds(far) + (2 if kind == "hub" else 0) <= 8
        far.delay = 0.0
        rest = [following, *rows]
        assert digests([*before, *rest]) == digests(stream(root / "bucket/made"))
        here = stream(root / "bucket/made")
        here.load_state_dict(merge_states([state]))
        assert digests(here) == digests(rest), "a state from afar fits the folder on the disk"
        passed = places_of(root, {row["id"] for row in before})
        for a in far.data_requests():
            shard = a.path if kind != "hub" else names_by_sha(root)[a.path.rpartition("/")[2]]
            inside = [p for p in passed.get(shard.rpartition("/")[2], ()) if p[0] < a.stop and a.start < p[1]]
            assert not inside


def names_by_sha(root):
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.name
        for path in (root / "bucket/made").rglob("*.parquet")
    }


def places_of(root, ids):
    """Where the images of some rows lie, by the name of the shard."""
    source = open_source(root / "bucket/made")
    found = {}
    for number, ref in enumerate(source.shards):
        shard = source.open(number)
        names = shard.read_text(None, ["id"]).column("id").to_pylist()
        offsets, lengths = shard.places("image")
        found[ref.name.rpartition("/")[2]] = [
            (offsets[row], offsets[row] + lengths[row])
            for row, name in enumerate(names)
            if name in ids and offsets[row] >= 0
        ]
    return found


def test_two_ranks_with_two_workers(root, tmp_path):
    """Nothing but the index is fetched by two of them, however their shares cut through blocks and row groups."""
    with afar("http", root, tmp_path) as (far, name, _):

        def lane(rank):
            return [row["id"] for row in stream(name, rank=rank, world_size=4)]

        with ThreadPoolExecutor(4) as pool:
            shares = list(pool.map(lane, range(4)))
        assert sorted(chain.from_iterable(shares)) == sorted(
            row["id"] for row in stream(root / "bucket/made")
        )
        assert not twice(far.data_requests())


def test_three_sources_begin_together(root, tmp_path):
    """The sources of a mixture are opened at the same time, and their first row groups are fetched at the same time."""
    with afar("http", root, tmp_path) as (far, name, _):
        next(iter(stream(name)))
        time.sleep(0.2)
        far.forget()
        far.delay = 0.3
        rows = iter(stream({name: 1, f"{name}/": 1, f"{name}//": 1}))
        next(rows)
        cards = [one for one in far.asked if one.path.endswith("README.md")]
        assert max(one.begun for one in cards) < min(one.ended for one in cards)
        end = time.monotonic() + 10
        while len(far.data_requests()) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        first = sorted(far.data_requests(), key=lambda one: one.begun)[:3]
        assert max(one.begun for one in first) < min(one.ended for one in first), (
            "the first row group of each"
        )


@pytest.mark.parametrize("kind", quickly("http"))
def test_a_table(root, tmp_path, kind):
    """A request a row in a global shuffle, the next batches meanwhile, and none at all in the second epoch."""
    here = table(root / "bucket/made", cache=tmp_path / "here")
    with afar(kind, root, tmp_path) as (far, name, options):
        rows = table(name, storage_options=options)
        sampler = rows.sampler(seed=3)
        order = iter(sampler)
        numbers = list(islice(order, 32))
        assert digests(rows.__getitems__(numbers)) == digests(here.__getitems__(numbers))
        end = time.monotonic() + 10
        while (
            len([a for a in far.data_requests() if a.stop - a.start > 3000]) < 64 and time.monotonic() < end
        ):
            time.sleep(0.01)
        assert len([a for a in far.data_requests() if a.stop - a.start > 3000]) >= 64, (
            "the next batch is on its way"
        )
        while numbers := list(islice(order, 32)):
            assert digests(rows.__getitems__(numbers)) == digests(here.__getitems__(numbers))
        texts = ROWS / GROUP  # of a row group of 20 rows; those of a build have 100
        assert len(far.data_requests()) <= 1.05 * ROWS + texts
        assert not twice(far.data_requests())
        far.forget()
        for again in (rows, table(name, storage_options=options)):
            assert digests(again.__getitems__(range(ROWS))) == digests(here.__getitems__(range(ROWS)))
        assert not far.data_requests()


def test_batches_of_a_table(root, tmp_path):
    """`batches` reads ahead from afar, and its place is that of what it handed out."""
    with afar("http", root, tmp_path) as (_, name, _options):
        found = batches(
            table(name, columns=["id", "width"]), batch_size=50, decoder=Decoder("auto", threads=1), ahead=2
        )
        seen = [row for batch in islice(found, 3) for row in batch["id"]]
        again = batches(table(name, columns=["id", "width"]), batch_size=50)
        again.load_state_dict(found.state_dict())
        seen += [row for batch in again for row in batch["id"]]
        assert sorted(seen) == sorted(row["id"] for row in stream(root / "bucket/made"))


def test_a_cache_that_is_full(root, tmp_path):
    """No more is kept than was allowed; what is there is used, and what is damaged there is fetched again."""
    with afar("http", root, tmp_path) as (far, name, _):
        most = 600_000
        rows = table(name, cache=tmp_path / "small", cache_bytes=most)
        expected = digests(rows.__getitems__(range(ROWS)))
        kept = list((tmp_path / "small" / "ranges").iterdir())
        assert 0 < sum(path.stat().st_blocks * 512 for path in kept) <= most
        far.forget()
        again = table(name, cache=tmp_path / "small", cache_bytes=most)
        assert digests(again.__getitems__(range(ROWS))) == expected
        assert sum(a.stop - a.start for a in far.data_requests()) < size_of(root) - most / 4
        for path in kept:
            if path.suffix == ".data":
                path.write_bytes(bytes(path.stat().st_size))
        again = table(name, cache=tmp_path / "small", cache_bytes=most)
        assert digests(again.__getitems__(range(ROWS))) == expected


SHORT = {
    ("http", "stream"): ("wrongquiet", "short", "drip", "page"),
    ("hub", "table"): ("wrong", "reset"),
    ("s3", "stream"): ("wrong", "close"),
}


@pytest.mark.parametrize(
    ("kind", "way", "fault"),
    [
        pytest.param(
            kind, way, fault, marks=[] if fault in SHORT.get((kind, way), ()) else [pytest.mark.slow]
        )
        for kind in PLACES
        for way in ("stream", "table")
        for fault in KINDS
    ],
)
def test_faults(root, tmp_path, kind, way, fault):
    """Whatever a server does now and then: the rows, their order and every image are the right ones."""
    with afar(kind, root, tmp_path) as (far, name, options):
        options["patience"] = 0.4

        def read(place, settings):
            if way == "stream":
                return digests(stream(place, storage_options=settings))
            rows = table(place, cache=tmp_path / str(settings is None), storage_options=settings)
            return digests(row for first in range(0, ROWS, 64) for row in rows[first : first + 64])

        far.fail(fault, 3)
        assert read(name, options) == read(root / "bucket/made", None)
        assert not far.left


def test_what_does_not_pass_is_told(root, tmp_path):
    """A page of a proxy in place of every answer is named; so is how often and how long was tried."""
    with afar("http", root, tmp_path) as (far, name, _):
        rows = iter(stream(name, storage_options={"retries": 2}))
        next(rows)
        far.fail("page", 10_000)
        far.fault = lambda path, size: "page"
        with pytest.raises(ReleaseError, match=r"tried 3 times.*web page"):
            list(stream(name, storage_options={"retries": 2}))
        rows.close()


def test_an_outage(root, tmp_path):
    """A server that is gone is waited for as long as was said, and then told with what was tried."""
    with afar("http", root, tmp_path) as (far, name, _):
        port = int(far.address.rpartition(":")[2])
        rows = iter(stream(name, seed=4, storage_options={"outage": 20}))
        found = [next(rows)]
        brief = stream(name, seed=4, storage_options={"outage": 0.3})
    with pytest.raises(ReleaseError, match=r"tried \d+ times"):
        list(brief)
    with far_server(root, port=port):
        found += rows
    assert digests(found) == digests(stream(root / "bucket/made", seed=4))


def test_a_bucket_that_may_not_be_listed(root, tmp_path, monkeypatch):
    """What the manifest names is read without permission to list."""
    with afar("s3", root, tmp_path) as (far, name, options):

        def refused(bucket, prefix):
            raise PermissionError

        from far import Handler

        plain = Handler.do_GET

        def limited(handler):
            if "list-type" in handler.path:
                handler.plain(
                    403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", "application/xml"
                )
            else:
                plain(handler)

        monkeypatch.setattr(Handler, "do_GET", limited)
        far.listing = refused
        assert digests(stream(name, storage_options=options)) == digests(stream(root / "bucket/made"))


def test_limits_are_told_once_each(root, tmp_path, caplog):
    """A wait that a server asks for stands on the log with its seconds."""
    with afar("http", root, tmp_path) as (far, name, _):
        far.fail("429", 1)
        with caplog.at_level(logging.WARNING, "irtd_datasets"):
            rows = list(stream(name))
        assert len(rows) == ROWS
        assert "asks to wait" not in caplog.text  # 0 seconds


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 with torch 2.13
def test_a_worker_that_is_killed(root, tmp_path):
    """SIGKILL in the middle of an answer: torch says so, and the last state brings the rows that are left."""
    pytest.importorskip("torch")
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    with afar("http", root, tmp_path) as (far, name, _):

        def loader():
            rows = stream(name, seed=5)
            return stateful.StatefulDataLoader(
                rows, batch_size=8, num_workers=2, collate_fn=digests, multiprocessing_context="fork"
            )

        one = loader()
        batches_of = iter(one)
        found = [row for batch in islice(batches_of, 10) for row in batch]
        state = one.state_dict()
        far.fail("stall", 1)
        victim = multiprocessing.active_children()[0].pid
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=f"{victim}.*(killed by signal|exited unexpectedly)"):
            list(batches_of)
        far.fail("", 0)
        again = loader()
        again.load_state_dict(state)
        found += [row for batch in again for row in batch]
    assert sorted(found) == sorted(digests(stream(root / "bucket/made")))
