"""Publishing to a Hub on loopback: what arrives, what is sent again, what is refused, and what is never said."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from hub_server import hub_server
from processes import environment, irtd

from irtd_datasets.documents import write_text
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.hub.findings import RULES
from irtd_datasets.hub.folder_card import write_card
from irtd_datasets.hub.published_files import in_repository, read_folder

HERE = Path(__file__).parent
FACTS = HERE.parent / "facts.py"
OTHERS = [python for python in os.environ.get("IRTD_OTHER_PYTHONS", "").split(os.pathsep) if python]


@pytest.fixture(scope="session")
def small(sample, tmp_path_factory):
    """A dataset folder of two parts, whose sources nobody forbids to pass on. Read it, do not change it."""
    return make(
        sample, tmp_path_factory.mktemp("small") / "irtd", "benchmark-scene", "benchmark-aerial_counting"
    )


def make(sample, folder, *configs):
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    build("irtd", configs, absolute_options(sample.folder), folder)
    return folder


@pytest.fixture
def publish(hub, tmp_path):
    """Runs ``irtd publish`` in a process of its own; returns the finished process."""

    def run(folder, name="tester/irtd", *options, token=True, env=None):
        settings = {**hub.environment(tmp_path / "home", token=token), **(env or {})}
        return irtd("publish", folder, name, *options, env={"HF_TOKEN": None, **settings})

    return run


def content(hub, name="tester/irtd", revision="main"):
    """Files of a repository with their bytes, but for the one that the Hub makes."""
    repository = hub.repository(name)
    tree = repository.tree(revision)
    return {p: repository.path_of(e).read_bytes() for p, e in tree.items() if p != ".gitattributes"}


def of_folder(folder):
    """Files that are published, with their bytes: all but the build's own notes."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def large(folder):
    """Size of each shard, index and image by its SHA-256."""
    endings = (".parquet", ".png", ".jpg")
    files = [content for path, content in of_folder(folder).items() if path.endswith(endings)]
    return {hashlib.sha256(file).hexdigest(): len(file) for file in files}


def read(hub, home, name, *configs, python=sys.executable):
    """All rows of some configs, mapped and streaming, with plain `datasets`."""
    settings = environment(**{"HF_TOKEN": None, **hub.environment(home), "PYTHONPATH": None})
    done = subprocess.run(
        [python, "-I", str(FACTS), name, *configs],
        env=settings,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.pop("library") == []
    return found


def test_published_and_read_back(hub, publish, small, tmp_path):
    """Byte for byte the folder, in one commit, tagged; a second run sends nothing and commits nothing."""
    first = publish(small, "tester/irtd", "--revision", "v1", "--json")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert content(hub) == of_folder(small)
    assert b'load_dataset("tester/irtd", "benchmark", split="test")' in content(hub)["README.md"]
    assert irtd("check", small).returncode == 0
    assert hub.sent_objects() == large(small)
    repository = hub.repository("tester/irtd")
    assert len(repository.history("main")) == 2
    assert repository.tags == {"v1": repository.branches["main"]} == {"v1": said["commit"]}
    assert not repository.private
    assert said["created"]
    assert sorted(said["uploaded"]) == sorted(of_folder(small))
    assert {warning.partition(",")[0] for warning in said["warnings"][:-1]} <= set(RULES)
    assert set(said["verified"]) == {
        "benchmark/test",
        "benchmark-scene/test",
        "benchmark-aerial_counting/test",
    }
    assert min(said["verified"].values()) > 0
    hub.forget()
    again = publish(small, "irtd", "--revision", "v1")
    assert again.returncode == 0, again.stderr
    assert not hub.sent_objects()
    assert not [request for request in hub.requests if "/commit/" in request.path or "/tag/" in request.path]
    assert f"there already: {len(of_folder(small))} files" in again.stdout
    here = read(hub, tmp_path / "home", str(small), "benchmark", "benchmark-scene")
    assert read(hub, tmp_path / "home", "tester/irtd", "benchmark", "benchmark-scene") == here


def test_other_versions_read_the_same(hub, publish, small, tmp_path):
    """Older `datasets` reads the same rows from the Hub, mapped and streaming."""
    if not OTHERS:
        pytest.skip("IRTD_OTHER_PYTHONS names no interpreter with another version of datasets")
    assert publish(small).returncode == 0
    here = read(hub, tmp_path / "home", str(small), "benchmark")
    for number, python in enumerate(OTHERS):
        assert read(hub, tmp_path / f"old{number}", "tester/irtd", "benchmark", python=python) == here


def test_dry_run_changes_nothing(hub, publish, small, tmp_path):
    """A dry run needs no token, makes no repository, leaves the card alone, and says what would be sent."""
    fresh = shutil.copytree(small, tmp_path / "irtd")
    write_text(fresh / "README.md", (fresh / "README.md").read_text().replace("tester/irtd", "PATH_OR_REPO"))
    write_card(fresh)
    told = publish(fresh, "tester/irtd", "--dry-run", token=False)
    assert told.returncode == 0, told.stderr
    assert f"would be uploaded: {len(of_folder(small))} files" in told.stdout
    assert "nothing was changed" in told.stdout
    assert not hub.store.repositories
    assert {request.method for request in hub.requests} == {"GET"}
    assert b"tester/irtd" not in of_folder(fresh)["README.md"]


def test_private(hub, publish, client, small):
    """A private repository is made private, read back with the token, and nobody sees it without."""
    assert publish(small, "tester/irtd", "--private").returncode == 0
    assert hub.repository("tester/irtd").private
    code = 'say([row["id"] for row in load("tester/irtd", "benchmark-scene", split="test", streaming=True)])'
    assert len(client(code)) > 0
    client(code, env={"HF_TOKEN": None}, expect=1)
    hub.repository("tester/irtd").private = False
    assert "exists and is public" in publish(small, "tester/irtd", "--private", "--revision", "v2").stderr


def test_refusals(hub, small, sample, built, tmp_path):
    """What cannot be published is refused with a message, the remedy and exit code 1, before anything is sent."""
    no_write = hub.add_token("tester", role="read")
    damaged = {}
    for name in ("half", "cut", "swapped", "lost", "link", "edited", "counted"):
        damaged[name] = shutil.copytree(small, tmp_path / name)
    shard = next(path.relative_to(small) for path in sorted(small.glob("*/*/*.parquet")))
    (damaged["half"] / ".build").mkdir()
    whole = (small / shard).read_bytes()
    (damaged["cut"] / shard).write_bytes(whole[:-1])
    place = whole.index(b"JFIF") + 9  # the density of an image: what is there can still be read
    (damaged["swapped"] / shard).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    (damaged["lost"] / shard).unlink()
    (damaged["link"] / "ledger.json").unlink()
    (damaged["link"] / "ledger.json").symlink_to(small / "ledger.json")
    with (damaged["edited"] / "README.md").open("a") as card:
        card.write("Mirrored by us.\n")
    counted = (small / "ledger.json").read_text()
    (damaged["counted"] / "ledger.json").write_text(
        counted.replace('"note": "', '"note": "~', 1).replace(",\n", ",", 1)
    )
    hub.store.create("dataset", "tester/taken", "tester", private=False)
    hub.commit("tester/taken", {"data.csv": b"a,b"})
    hub.store.create("dataset", "tester/other", "tester", private=False)
    other = Manifest("mmrs_1m", "1.0.0", 0, (), (), {})
    hub.commit("tester/other", {"manifest.json": other.render().encode()})
    cases = [
        ([small, "tester/new"], None, ["no token", "hf auth login"]),
        ([small, "tester/new"], no_write, ["read access only", "write access"]),
        ([small, "tester/new"], "hf_thisIsNoTokenOfAnybody", ["401", "token is not valid"]),
        ([small, "somebody/new"], hub.token, ["tester, who is not in somebody"]),
        ([small, "tester/taken"], hub.token, ["other content", "data.csv", "--replace"]),
        ([small, "tester/other"], hub.token, ["'mmrs_1m'", "--replace"]),
        ([built, "tester/new"], hub.token, ["FLIR_ADAS", "--accept-terms"]),
        ([damaged["half"], "tester/new"], hub.token, ["a build is at work here"]),
        ([damaged["cut"], "tester/new"], hub.token, [str(shard), "the manifest says"]),
        ([damaged["lost"], "tester/new"], hub.token, [str(shard), "missing"]),
        ([damaged["link"], "tester/new"], hub.token, ["leads out of the folder"]),
        ([damaged["edited"], "tester/new"], hub.token, ["README.md", "the manifest says", "irtd check"]),
        ([damaged["counted"], "tester/new"], hub.token, ["ledger.json: SHA-256", "irtd check"]),
        ([sample.folder, "tester/new"], hub.token, ["no manifest.json"]),
        ([tmp_path / "nowhere", "tester/new"], hub.token, ["no manifest.json"]),
        (
            [damaged["swapped"], "tester/new"],
            hub.token,
            ["not those that the build wrote", "Nothing was published"],
        ),
    ]
    usage = [
        ([small, "a/b/c"], hub.token, ["no name of a repository"]),
        ([small, "tester/new", "--revision", "main"], hub.token, ["cannot be a tag"]),
    ]
    answers = drive(hub, tmp_path, [*cases, *usage])
    for (_, _, words), (code, out, errors) in zip([*cases, *usage], answers, strict=True):
        assert code == (2 if words in [case[2] for case in usage] else 1), errors
        assert "Traceback" not in errors
        assert not out
        for word in words:
            assert word in errors, errors
    assert not hub.repository("tester/new").tags
    assert content(hub, "tester/new") == {}
    assert content(hub, "tester/taken") == {"data.csv": b"a,b"}


def drive(hub, tmp_path, cases):
    listed = [
        {"arguments": ["publish", *map(str, arguments)], "token": token} for arguments, token, _ in cases
    ]
    done = subprocess.run(
        [sys.executable, str(HERE / "driver.py")],
        input=json.dumps(listed),
        env=environment(**hub.environment(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_new_version(hub, publish, small, built, tmp_path):
    """A new version sends what is new, takes gone shards away and keeps files of others; a tag never moves."""
    assert publish(built, "tester/irtd", "--accept-terms", "--revision", "v1").returncode == 0
    hub.commit("tester/irtd", {"NOTES.md": b"by somebody", "benchmark/scene/test-1.parquet": b"stray"})
    hub.forget()
    moved = publish(small, "tester/irtd", "--revision", "v1")
    assert moved.returncode == 1
    assert "A tag never moves" in moved.stderr
    copy = shutil.copytree(small, tmp_path / "copy")
    (copy / "private.txt").write_text("not for others")
    done = publish(copy, "tester/irtd", "--revision", "v2", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert content(hub) == {**of_folder(small), "NOTES.md": b"by somebody"}
    assert said["kept"] == ["NOTES.md"]
    assert said["left_out"] == ["private.txt"]
    assert "benchmark/scene/test-1.parquet" in said["deleted"]
    assert content(hub, revision="v1") == of_folder(built)
    assert not set(hub.sent_objects()) & set(large(built))


def test_replace(hub, publish, small):
    """With --replace other content goes, in the same commit; history keeps it."""
    hub.store.create("dataset", "tester/taken", "tester", private=False)
    before = hub.commit("tester/taken", {"data.csv": b"a,b"})
    assert publish(small, "tester/taken", "--replace").returncode == 0
    assert content(hub, "tester/taken") == of_folder(small)
    assert content(hub, "tester/taken", before) == {"data.csv": b"a,b"}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "path": "/commit/"},
        {"status": 429, "path": "/commit/", "headers": {"Retry-After": "0"}},
        {"cut_answer": True, "path": "/commit/"},
        {"cut_answer": True, "path": "/tag/"},
        {"cut_after": 1_000, "method": "PUT"},  # an index has about three times as many
        {"status": 503, "path": "/api/repos/create"},
    ],
    ids=["500", "429", "lost-commit", "lost-tag", "cut-upload", "503"],
)
def test_one_failure_is_survived(hub, small, tmp_path, fault):
    """After one failure the publication is complete, in one commit, and files are sent once but for the one cut off."""
    planned = hub.fail(**fault)
    done = patient(hub, tmp_path, small)
    assert done.returncode == 0, done.stderr
    assert planned.hits == 1
    assert content(hub) == of_folder(small)
    assert len(hub.repository("tester/irtd").history("main")) == 2
    assert hub.repository("tester/irtd").tags == {"v1.0.0": hub.repository("tester/irtd").branches["main"]}
    extra = {oid: sent - large(small)[oid] for oid, sent in hub.sent_objects().items()}
    assert sorted(extra.values())[:-1] == [0] * (len(extra) - 1)
    assert (max(extra.values()) > 0) == ("cut_after" in fault)


PATIENT = """
import sys
import time
import json
waits = []
time.sleep = lambda seconds: waits.append(seconds)  # of the client
from irtd_datasets.errors import PublishError
from irtd_datasets.hub.publish import publish
try:
    print(json.dumps(publish(sys.argv[1], "tester/irtd").as_dict()))
except PublishError as error:
    raise SystemExit(f"{error}\\nwaited {waits}")
"""


def patient(hub, tmp_path, folder, **env):
    """Publish in a process that only notes how long it would have waited."""
    return subprocess.run(
        [sys.executable, "-c", PATIENT, str(folder)],
        env=environment(**{**hub.environment(tmp_path / "home"), **env}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_lasting_failure_then_resume(hub, publish, small, tmp_path):
    """Where the Hub keeps failing, it says so after some tries; the next run sends only what had not arrived."""
    hub.fail(500, path="/commit/", times=None, message="out of order")
    failed = patient(hub, tmp_path, small)
    assert failed.returncode == 1
    assert "committing: the Hub answered 500: out of order" in failed.stderr
    assert "what has arrived is not sent again" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert content(hub) == {}
    hub.heal()
    hub.forget()
    assert publish(small).returncode == 0
    assert content(hub) == of_folder(small)
    assert not hub.sent_objects()


def test_cache_that_cannot_be_written(hub, publish, small, tmp_path):
    """Where the client cannot write its cache, it is not the Hub that is blamed; afterwards the next run ends it."""
    (tmp_path / "file").write_text("no folder")
    failed = publish(small, env={"HF_HOME": str(tmp_path / "file"), "HF_DATASETS_CACHE": None})
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "Run the same command again" in failed.stderr
    again = publish(small, env={"HF_HOME": str(tmp_path / "file"), "HF_DATASETS_CACHE": None})
    assert "on this machine" in again.stderr
    assert "HF_HOME" in again.stderr
    assert publish(small).returncode == 0


def test_long_wait_is_told(hub, small, tmp_path):
    """Where the Hub asks to wait for an hour, the user is told so instead."""
    hub.fail(429, path="/commit/", times=None, headers={"Retry-After": "3600"})
    failed = patient(hub, tmp_path, small)
    assert failed.returncode == 1
    assert "Wait 3600 seconds" in failed.stderr


def test_token_is_never_printed(hub, small, tmp_path):
    """Neither messages nor the client's own log show the token or a signed address, even where the Hub repeats them."""
    hub.fail(500, path="/commit/", times=None, message=f"what is {hub.token}?")
    hub.fail(503, method="PUT", times=1)
    failed = patient(hub, tmp_path, small, HF_HUB_VERBOSITY="debug", HF_DEBUG="1")
    assert failed.returncode == 1
    assert "what is ***?" in failed.stderr
    assert "/upload/dataset/" in failed.stderr  # the client logged the address that failed
    assert hub.token not in failed.stdout + failed.stderr
    assert "signature=" not in failed.stdout + failed.stderr


def test_token_that_ends_meanwhile(hub, publish, small):
    """A token that is no longer valid half-way is told; with a new one nothing is sent again."""
    short = hub.add_token("tester", uses=9)
    failed = publish(small, token=short)
    assert failed.returncode == 1
    assert "not valid, or not any more" in failed.stderr
    assert content(hub) == {}
    sent = hub.sent_objects()  # how many were sent by then depends on how long each took to hash
    assert sent
    assert sent.items() <= large(small).items()
    assert publish(small).returncode == 0
    assert hub.sent_objects() == large(small)


def test_others_commit_meanwhile(hub, publish, small):
    """A commit of others to other files is kept, and ours goes on top of it."""
    hub.fail(path="/commit/", then=lambda: hub.commit("tester/irtd", {"NOTES.md": b"meanwhile"}))
    done = publish(small)
    assert done.returncode == 0, done.stderr
    assert content(hub) == {**of_folder(small), "NOTES.md": b"meanwhile"}
    assert [request.status for request in hub.requests if "/commit/" in request.path] == [412, 200]
    assert hub.sent_objects() == large(small)


def test_others_change_our_files_meanwhile(hub, publish, small):
    """Where others changed what we are about to replace, nothing of theirs is overwritten."""
    hub.fail(path="/commit/", then=lambda: hub.commit("tester/irtd", {"README.md": b"theirs"}))
    done = publish(small)
    assert done.returncode == 1
    assert "somebody else changed what we publish meanwhile:\nREADME.md" in done.stderr
    assert content(hub) == {"README.md": b"theirs"}


def test_two_publishers_of_the_same(hub, publish, small):
    """Two that publish the same folder at once both succeed, with one commit."""
    second = []
    hub.fail(path="/commit/", then=lambda: second.append(publish(small)))
    first = publish(small)
    assert [first.returncode, second[0].returncode] == [0, 0], first.stderr + second[0].stderr
    assert content(hub) == of_folder(small)
    assert len(hub.repository("tester/irtd").history("main")) == 2


def test_push_to_hub_beside(hub, publish, client, small, tmp_path):
    """What is published has the rows that `push_to_hub` of the same folder has."""
    assert publish(small).returncode == 0
    code = """
rows = load(sys.argv[1], "benchmark-scene", split="test")
rows.push_to_hub("tester/pushed", "benchmark-scene")
"""
    client(code, small)
    pushed, ours = (
        read(hub, tmp_path / "home", name, "benchmark-scene") for name in ("tester/pushed", "tester/irtd")
    )
    for splits in ours.values():
        for row in splits["test"]:
            row["image"][0] = row["image"][0].rpartition("/")[2]  # it keeps no folders
    assert pushed == ours
    assert len(hub.repository("tester/pushed").history("main")) == 2


class Kills:
    """Publications of a folder that are killed, and what had arrived at each of those moments."""

    def __init__(self, hub, folder, home):
        self.hub, self.folder, self.home = hub, folder, home
        # Publishing writes the repository's name into the card; from here on nothing in the folder changes.
        in_repository(read_folder(folder), "tester/irtd", folder)
        self.whole = of_folder(folder)
        self.moments = []

    def start(self):
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "irtd_datasets",
                "publish",
                str(self.folder),
                "tester/irtd",
                "--accept-terms",
            ],
            env=environment(**self.hub.environment(self.home)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def arrived(self):
        """The objects of the folder that the repository has."""
        return {oid for oid in large(self.folder) if self._has(oid)}

    def kill(self, process, when=0):
        """Kill a publication as soon as so many objects have arrived."""
        deadline = time.monotonic() + 30
        while len(self.arrived()) < when and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        process.kill()

    def look(self):
        """Note what is there; what is visible is never a part."""
        deadline = time.monotonic() + 30
        while self.hub.busy and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        assert not self.hub.busy
        there = content(self.hub) if self.hub.store.repositories else {}
        assert there in ({}, self.whole)
        arrived = set(large(self.folder)) if there else self.arrived()
        self.moments.append((arrived, self.hub.sent_objects()))
        return len(arrived)

    def _has(self, oid):
        return bool(self.hub.store.repositories) and self.hub.repository("tester/irtd").has_object(oid)

    def end(self):
        """One more run ends it; nothing that had arrived whole was sent again, whenever that was."""
        done = irtd(
            *("publish", self.folder, "tester/irtd", "--accept-terms"), env=self.hub.environment(self.home)
        )
        assert done.returncode == 0, done.stderr
        assert content(self.hub) == self.whole
        repository = self.hub.repository("tester/irtd")
        assert len(repository.history("main")) == 2
        assert repository.tags["v1.0.0"] == repository.branches["main"]
        last = self.hub.sent_objects()
        for arrived, sent in self.moments:
            assert {oid: last[oid] for oid in arrived} == {oid: sent[oid] for oid in arrived}


@pytest.fixture(scope="session")
def medium(sample, tmp_path_factory):
    """A dataset folder of nine shards and their indexes. Read it, do not change it."""
    return make(sample, tmp_path_factory.mktemp("medium") / "irtd", "benchmark")


def test_killed(hub, medium, tmp_path):
    """Killed while a file is on its way, at the commit and at the tag, the next run goes on from there."""
    kills = Kills(hub, medium, tmp_path / "home")
    counts = []
    for how in (
        {"status": 500, "method": "PUT", "skip": 2, "when": 1},
        {"status": 500, "method": "PUT", "when": 2},
        {"path": "/commit/"},
        {"path": "/tag/"},
    ):
        process = kills.start()
        when = how.pop("when", 0)
        fault = hub.fail(**how, then=partial(kills.kill, process, when))
        process.wait(60)
        assert fault.hits == 1, how
        counts.append(kills.look())
    whole = len(large(medium))
    assert 0 < counts[0] < whole  # five are sent at a time
    assert counts == sorted(counts)
    assert counts[2:] == [whole, whole]
    kills.end()


def test_xet(hub, publish, medium, tmp_path):
    """By Xet the same arrives: chunks are sent once, also over a failure, a kill at the commit and another name."""
    pytest.importorskip("hf_xet", reason="the client has no Xet here")
    xet = {"HF_HUB_DISABLE_XET": "0", "HF_XET_CACHE": str(tmp_path / "xet")}
    hub.fail(500, path="/v1/xorbs/")
    process = subprocess.Popen(
        [sys.executable, "-m", "irtd_datasets", "publish", str(medium), "tester/irtd", "--accept-terms"],
        env=environment(**{**hub.environment(tmp_path / "home"), **xet}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kill = hub.fail(path="/commit/", then=process.kill)
    process.wait(60)
    assert kill.hits == 1
    sent = sum(hub.xorbs)
    assert 0 < sent < sum(large(medium).values()) * 1.01 + 10_000
    for name in ("tester/irtd", "tester/again"):
        done = publish(medium, name, "--accept-terms", env=xet)
        assert done.returncode == 0, done.stderr
        assert content(hub, name) == of_folder(medium)
        assert len(hub.repository(name).history("main")) == 2
    assert sum(hub.xorbs) == sent
    assert not hub.sent_objects()
    assert read_by_xet(hub, tmp_path) == read(hub, tmp_path / "plain", str(medium), "benchmark")


def read_by_xet(hub, tmp_path):
    """Rows of the mapped load by Xet, which fetches chunks, and of the streaming one, which never does."""
    hub.forget()
    settings = environment(
        **{**hub.environment(tmp_path / "xet-home", xet=True), "HF_XET_CACHE": str(tmp_path / "xet-read")}
    )
    command = [sys.executable, "-I", str(FACTS), "tester/irtd", "benchmark"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [request for request in hub.requests if request.path.startswith("/xorb/")]
    found = json.loads(done.stdout)
    assert found.pop("library") == []
    return found


def test_hub_without_xet(hub, small, tmp_path):
    """Where a Hub has no Xet and the client wants it, the message says how to do without."""
    pytest.importorskip("hf_xet", reason="the client has no Xet here")
    hub.fail(404, path="/xet-write-token/", times=None, message="Not found")
    failed = patient(hub, tmp_path, small, HF_HUB_DISABLE_XET="0")
    assert failed.returncode == 1
    assert "HF_HUB_DISABLE_XET=1" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments(hub, built, tmp_path):
    """Killed at twenty random moments between start and end, nothing is lost and nothing finished is sent again."""
    rng = random.Random(0)
    slowly = {"bytes_per_second": 150_000, "method": "PUT", "times": None}
    with hub_server(tmp_path / "other") as other:  # how long it takes here and now
        other.fail(**slowly)
        start = time.monotonic()
        assert Kills(other, built, tmp_path / "other-home").start().wait(600) == 0
        whole = time.monotonic() - start
    kills = Kills(hub, built, tmp_path / "home")
    hub.fail(**slowly)
    counts = []
    for _ in range(20):
        process = kills.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.1, 0.9) * whole)
        process.kill()
        process.wait()
        counts.append(kills.look())
    assert counts == sorted(counts)
    assert counts[-1] > 0
    hub.heal()
    kills.end()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["irtd", "mmrs_1m", "rs_gpt4v"])
def test_every_config_in_every_version(name, tmp_path):
    """Every config of every sample dataset is the same from the Hub as in the folder, in each version of `datasets`."""
    from irtd_datasets.catalog import spec
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.testing import write_sample_release
    from irtd_datasets.writing.engine import build

    options = {"captions": 12, "benchmark": True} if name == "irtd" else {}
    release = write_sample_release(name, tmp_path / "release", rows=80, **options)
    configs = ["pretrain", "instruct", "benchmark"] if name == "irtd" else [spec(name).default_config]
    build(name, configs, absolute_options(release.folder), tmp_path / name)
    assert published_and_read_by_all(tmp_path / name, tmp_path) >= 80


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_folder(real, tmp_path):
    """A folder built from real records and images comes back row by row in each version of `datasets`."""
    images = f"63-FLIR_ADAS/training/PreviewData={real / 'roadscene' / 'infrared'}"
    folder = tmp_path / "irtd"
    release = real / "irtd_json_sft"
    made = irtd("build", "irtd", "instruct", "--release", release, "--images", images, "--out", folder)
    assert made.returncode == 0, made.stderr
    assert published_and_read_by_all(folder, tmp_path) == 126


def published_and_read_by_all(folder, tmp_path):
    """Publish a folder and read every config with each `datasets` there is; returns the rows of the default config."""
    from irtd_datasets.folder.row_groups import config_names

    configs, name = config_names(folder), f"tester/{folder.name}"
    with hub_server(tmp_path / "hub") as hub:
        home = hub.environment(tmp_path / "home")
        done = irtd("publish", folder, name, "--accept-terms", env=home)
        assert done.returncode == 0, done.stderr
        here = read(hub, tmp_path / "home", str(folder), *configs)
        for mapped in (key for key in here if key.endswith(" mapped")):
            assert here[mapped] == here[mapped.replace("mapped", "streamed")]
        pythons = [sys.executable, *OTHERS]
        for number, python in enumerate(pythons):
            assert read(hub, tmp_path / f"home{number}", name, *configs, python=python) == here
    return sum(map(len, here[f"{configs[0]} mapped"].values()))


@pytest.mark.parametrize(
    ("what", "said"), [(0, "other files"), (1, "other features"), (2, "row 2 of"), (3, "has 2 rows")]
)
def test_what_is_read_back_is_compared(small, monkeypatch, what, said):
    """Other files or features than the folder's, another row, or fewer of them: each is told."""
    from datasets import Features

    from irtd_datasets.errors import PublishError
    from irtd_datasets.hub import verify

    def from_hub(_, config, split, rows, **__):
        files = verify.config_files(small, config)[split]
        names = sorted(path.relative_to(small.resolve()).as_posix() for path in files)
        features = Features.from_arrow_schema(verify.pq.read_schema(files[0]))
        hashes = [verify.row_hash(row) for row in verify._first_rows(files, rows)]
        found = [names, features, hashes]
        if what < 3:
            found[what] = [names[1:], Features(list(features.items())[1:]), [*hashes[:2], "other"]][what]
        else:
            hashes.pop()
        return tuple(found)

    monkeypatch.setattr(verify, "_from_hub", from_hub)
    with pytest.raises(PublishError, match=said):
        verify.verify_published(small, "tester/irtd", "0" * 40, token=None, rows=3)
