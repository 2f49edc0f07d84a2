"""What a stopped build leaves behind is taken over by its identity alone: another command never gets foreign shards."""

import hashlib
import json

import pytest

from irtd_datasets.errors import BuildError
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.hub.check import check_folder
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build
from irtd_datasets.writing.folder import DatasetFolder


class Stopped(BaseException):
    """As a signal ends a build."""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leftovers") / "release"
    return write_sample_release("irtd", folder, rows=60, captions=0).folder


@pytest.fixture
def out(release, tmp_path):
    """A finished build, with what its files are."""
    built(release, tmp_path / "irtd")
    return tmp_path / "irtd"


def built(release, out, configs=("instruct",), **options):
    return build("irtd", configs, absolute_options(release, **options), out)


def other(release, out, **options):
    """Another command: the same configs with fewer rows."""
    return built(release, out, on_defect={"*": "drop"}, **options)


def digests(out):
    manifest = Manifest.read(out)
    found = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in manifest.files}
    assert found == {name: listed.sha256 for name, listed in manifest.files.items()}
    return found


def stop_at(monkeypatch, name, *, after=0):
    """Stop a build when a method of the folder is called for the next time after so many calls."""
    method, calls = getattr(DatasetFolder, name), []

    def stopping(self, *given):
        calls.append(given)
        if len(calls) > after:
            raise Stopped
        return method(self, *given)

    monkeypatch.setattr(DatasetFolder, name, stopping)


def test_a_build_that_was_given_up_changes_nothing(release, out, monkeypatch):
    """Staged shards of another command stay out of a folder that is built again as it was."""
    before = digests(out)
    with monkeypatch.context() as patch:
        stop_at(patch, "publish")
        with pytest.raises(Stopped):
            other(release, out)
    assert list((out / ".build").rglob("shard-*.parquet"))
    again = built(release, out)
    assert (again.written, digests(out)) == (0, before)
    assert not check_folder(out, images="none").errors


def test_staged_shards_are_taken_over_by_their_own_command(release, out, monkeypatch):
    """The command that was stopped goes on from what it had, also after another one was started and stopped."""
    with monkeypatch.context() as patch:
        stop_at(patch, "publish")
        for command in (other, built):
            with pytest.raises(Stopped):
                command(release, out)
    assert other(release, out).written == 0
    assert digests(out)
    assert not check_folder(out, images="none").errors


@pytest.mark.parametrize("placed", [1, 3])
def test_a_build_that_was_stopped_while_it_put_shards_into_place(release, out, monkeypatch, placed):
    """Shards of both builds lie in the folder: each command ends with its own bytes and nothing else."""
    before = digests(out)
    with monkeypatch.context() as patch:
        stop_at(patch, "_place", after=placed)
        with pytest.raises(Stopped):
            other(release, out)
    assert not (out / "manifest.json").exists()
    built(release, out)
    assert digests(out) == before
    assert not check_folder(out, images="none").errors


def test_a_foreign_shard_of_the_same_size_is_noticed(release, out, monkeypatch):
    """While shards are being replaced their content decides: one of the same size and other bytes is written anew."""
    before = digests(out)
    with monkeypatch.context() as patch:
        stop_at(patch, "_place", after=1)
        with pytest.raises(Stopped):
            other(release, out)
    for name in before:
        file = out / name
        if name.startswith("instruct/") and file.exists():
            whole = file.read_bytes()
            file.write_bytes(whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    built(release, out)
    assert digests(out) == before


def test_parts_of_another_build_are_not_described(release, out, monkeypatch):
    """A build of other parts refuses to describe shards that a stopped build has begun to replace."""
    with monkeypatch.context() as patch:
        stop_at(patch, "_place", after=3)
        with pytest.raises(Stopped):
            other(release, out)
    last = Manifest.read(out / ".build").parts[-1].part
    with pytest.raises(BuildError, match="begun to replace"):
        built(release, out, [f"instruct-{last}"])


def test_the_remedy_of_a_damaged_manifest_works(release, out):
    """Without manifest.json, and with the identities lost as well, the same command makes the same folder again."""
    before = digests(out)
    for lost in (["manifest.json"], ["manifest.json", ".built.json"], ["manifest.json", "ledger.json"]):
        for name in lost:
            (out / name).unlink()
        built(release, out)
        assert digests(out) == before
        assert not check_folder(out, images="none").errors


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"instruct/location": 5}', "[" * 100_000])
def test_damaged_identities_cost_a_build(release, out, text):
    """A damaged `.built.json` is one that is lost: everything is written anew, to the same bytes."""
    before = digests(out)
    (out / ".built.json").write_text(text)
    assert built(release, out).written > 0
    assert digests(out) == before


def test_identities_of_other_shards_are_not_believed(release, out):
    """Identities with one too many, or of another kind, are not taken for those of the shards."""
    before = digests(out)
    state = json.loads((out / ".built.json").read_text())
    for part in state.values():
        part["shards"].append("x")
    (out / ".built.json").write_text(json.dumps(state))
    assert built(release, out).reused == 0
    assert digests(out) == before


@pytest.mark.parametrize("what", ["shard-*[0-9a-f].parquet", "shard-*.json"])
def test_damaged_leftovers_are_not_taken_over(release, out, monkeypatch, what):
    """A staged shard or the note on it that is not as it was written, at the same size, is written anew."""
    with monkeypatch.context() as patch:
        stop_at(patch, "publish")
        with pytest.raises(Stopped):
            other(release, out)
    fresh = other(release, out.parent / "fresh")
    left = sorted((out / ".build").rglob(what))
    assert len(left) >= fresh.written
    for path in left:
        data = path.read_bytes()
        # A digit of the counts, or a byte in the middle.
        at = data.find(b'"kept": ') + 8 if path.suffix == ".json" else len(data) // 2
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert other(release, out).written  # but for those that lie in the folder already, of the other build
    assert digests(out) == digests(out.parent / "fresh")
