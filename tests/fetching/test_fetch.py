"""Fetching from stand-ins of each kind of place on this machine: whole, cut, slow, moved, replaced, with secrets."""

import functools
import hashlib
import io
import json
import re
import shutil
import sys
import time
import types
import zipfile

import pytest
from processes import irtd_here
from web_server import web_server

from irtd_datasets.catalog import dataset_names, open_release, spec
from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.fetching import download as download_module
from irtd_datasets.fetching.hashes import compare_hashes
from irtd_datasets.fetching.run import fetch
from irtd_datasets.remote import files
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release

PIECE = "data.tar.gz.4"
SECRET = "s3cr3t-of-the-test"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The seven pieces of the sample of MMRS-1M."""
    folder = tmp_path_factory.mktemp("pieces") / "release"
    write_sample_release("mmrs_1m", folder, rows=90)
    return folder


@pytest.fixture
def server(pieces, tmp_path):
    """A mirror of the pieces, which a test may change."""
    with web_server(shutil.copytree(pieces, tmp_path / "mirror")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Tries follow each other at once; gives how long each pause would have been."""
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def get(server, tmp_path):
    """Fetches MMRS-1M from the mirror."""

    def run(**options):
        return fetch("mmrs_1m", [], tmp_path / "release", source=options.pop("source", server.url), **options)

    return run


def same(one, other):
    """Whether both folders have the pieces, byte by byte, and nothing unfinished."""
    names = {path.name for path in one.glob("data.tar*")}
    assert names == {path.name for path in other.glob("data.tar*")}
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def failed(report):
    """The one file that failed."""
    found = [one for one in report.files if one.status == "failed"]
    assert len(found) == 1
    return found[0]


def test_a_fetched_release_is_built_without_renaming(get, pieces, tmp_path):
    """Every piece comes under its name; a second fetch asks for no file again; doctor reads the folder."""
    report = get()
    assert {one.status for one in report.files} == {"fetched"}
    assert same(pieces, tmp_path / "release")
    assert {one.status for one in get().files} == {"here"}
    diagnosis = examine(open_release("mmrs_1m", absolute_options(tmp_path / "release")))
    assert diagnosis.sound


def test_a_cut_connection_is_gone_on_with(get, server, pieces, tmp_path):
    """Cut at byte N, the rest is asked for from there: no byte is sent twice."""
    server.cut_after, server.cuts = {PIECE: 200_000}, 1
    get()
    assert same(pieces, tmp_path / "release")
    asked = [one for one in server.requests if PIECE in one[1] and one[2] != "bytes=0-0"]
    assert [one[2] for one in asked] == [None, "bytes=200000-"]
    assert sum(one[4] for one in asked) == (pieces / PIECE).stat().st_size


def stopped(get, server):
    """A fetch whose server cuts one piece at byte 100,000, and then fails until the fetch gives up."""
    server.cut_after, server.cuts = {PIECE: 100_000}, 1
    server.faults = lambda handler, name: (
        name == PIECE and not server.cuts and handler.answer(503, b"") is None
    )
    report = get()
    server.faults = None
    return report


def test_what_came_is_kept_for_the_next_run(get, server, pieces, tmp_path):
    """Where the server fails for good, the message says how much has come; the same command goes on from there."""
    told = failed(stopped(get, server))
    assert told.name == PIECE
    assert "100,000 bytes have come and are kept in data.tar.gz.4.part" in told.note
    server.requests.clear()
    report = get()
    assert report.sound
    assert same(pieces, tmp_path / "release")
    assert next(one for one in report.files if one.name == PIECE).note.endswith("went on from byte 100,000")
    sent = [one for one in server.requests if PIECE in one[1] and one[2] != "bytes=0-0"]
    assert [one[2] for one in sent] == [f"bytes={100_000 - (64 << 10)}-"]


@pytest.mark.parametrize("how", ["damaged", "replaced", "no ranges"])
def test_a_part_of_another_file_is_not_gone_on_with(get, server, tmp_path, how):
    """Bytes that came and are not, or no longer, those of the server's file are given up."""
    stopped(get, server)
    part = tmp_path / "release" / f"{PIECE}.part"
    assert part.stat().st_size == 100_000
    if how == "damaged":
        part.write_bytes(part.read_bytes()[:90_000] + bytes(part.stat().st_size - 90_000))
    elif how == "replaced":
        target = server.folder / PIECE
        target.write_bytes(bytes(reversed(target.read_bytes())))
    else:
        server.ranges = False
    report = get()
    assert report.sound
    assert same(server.folder, tmp_path / "release")


def test_a_page_in_place_of_a_file_is_told(get, server, tmp_path):
    """A page that the server sends with status 200 is not taken for the file, whatever it calls it."""
    for headers in ({"Content-Type": "text/html"}, {}):
        server.faults = lambda handler, name, headers=headers: (
            name == PIECE
            and handler.answer(200, b"<!DOCTYPE html><title>Quota exceeded</title>", headers) is None
        )
        told = failed(get())
        assert "web page" in told.note
        assert not (tmp_path / "release" / PIECE).exists()
        assert not (tmp_path / "release" / f"{PIECE}.part").exists()


def test_a_missing_piece_and_a_moved_link_are_told(get, server):
    """What is gone is named with a way on; what has moved for good comes, and the new place is said."""
    report = get_without(get, server, PIECE)
    gone = failed(report)
    assert gone.name == PIECE
    assert len(report.files) == 7
    assert "the link has moved, or a piece is missing" in gone.note
    assert gone.where.endswith(PIECE)


def get_without(get, server, name):
    (server.folder / name).rename(server.folder / f"moved-{name}")
    report = get()
    (server.folder / f"moved-{name}").rename(server.folder / name)
    return report


def test_a_link_that_moved_for_good_is_followed_and_told(get, server, pieces, tmp_path):
    """301 leads to the file, and the result says where it is now."""
    (server.folder / "new").mkdir()
    (server.folder / PIECE).rename(server.folder / "new" / PIECE)
    server.faults = lambda handler, name: (
        name == PIECE
        and "/new/" not in handler.path
        and handler.answer(301, b"", {"Location": f"/new/{PIECE}"}) is None
    )
    report = get()
    assert same(pieces, tmp_path / "release")
    note = next(one.note for one in report.files if one.name == PIECE)
    assert f"the link has moved for good, to {server.url}/new/{PIECE}" in note


def test_a_piece_of_another_size_is_told(get, server, tmp_path):
    """A file here that is not as long as the server's is neither taken nor overwritten."""
    get()
    here = tmp_path / "release" / PIECE
    here.write_bytes(here.read_bytes()[:-1])
    told = failed(get())
    assert "the released file" in told.note
    assert f"Move {here} away" in told.note


def test_a_server_that_asks_to_wait_is_waited_for(get, server, no_pauses):
    """429 with `Retry-After` is waited for; where it asks for more than is waited, that is told."""
    asked = []
    server.faults = lambda handler, name: (
        name == PIECE
        and len(asked) < 2
        and (asked.append(1), handler.answer(429, b"", {"Retry-After": "7"}))[1] is None
    )
    assert get().sound
    assert no_pauses.count(7.0) == 2
    server.faults = lambda handler, name: handler.answer(429, b"", {"Retry-After": "4000"}) is None
    shutil.rmtree(server.folder.parent / "release")
    report = get()
    assert "4,000 s" in report.files[0].note


def test_a_throttled_server_is_borne_with(get, server, pieces, tmp_path):
    """A slow answer is no failure: it is asked for once."""
    server.bytes_per_second = 4096 * 1000
    assert get().sound
    assert same(pieces, tmp_path / "release")


def test_too_small_a_disk_is_told_before_anything_is_fetched(get, server, monkeypatch, tmp_path):
    """The sum of what is missing is compared with what is free; no byte of a file has been asked for."""
    usage = types.SimpleNamespace(free=(64 << 20) + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BuildError, match=r"bytes are to be fetched, and 67,109,864 are free"):
        get()
    assert all(one[2] == "bytes=0-0" for one in server.requests)
    assert not list((tmp_path / "release").glob("data*"))


def test_a_password_in_a_url_is_never_shown(server, tmp_path, pieces):
    """It reaches the server, and neither output nor what is kept; refused, it is not in the error either."""
    server.password = f"me:{SECRET}"
    host = server.url.removeprefix("http://")
    arguments = ("--to", tmp_path / "release", "--from")
    found = irtd_here("fetch", "mmrs_1m", *arguments, f"http://me:{SECRET}@{host}?token={SECRET}")
    assert found.returncode == 0, found.stderr
    assert same(pieces, tmp_path / "release")
    refused = irtd_here(
        "fetch", "mmrs_1m", "--to", tmp_path / "none", "--from", f"http://me:{SECRET}x@{host}"
    )
    assert refused.returncode == 1
    assert "access was refused (status 401)" in refused.stdout
    kept = [path.read_text() for path in (tmp_path / "release").glob(".*") if path.is_file()]
    assert not any(
        SECRET in text for text in [found.stdout, found.stderr, refused.stdout, refused.stderr, *kept]
    )


def test_a_bucket_is_a_mirror(pieces, tmp_path):
    """An S3 server on this machine: by ranges, gone on with after a part."""
    pytest.importorskip("moto.server", reason="a server of S3 on this machine needs moto")
    from writing.elsewhere import s3_server

    with s3_server() as options:
        import s3fs

        system = s3fs.S3FileSystem(**options)
        for path in pieces.glob("data.tar*"):
            system.put(str(path), f"bucket/mmrs/{path.name}")
        report = fetch("mmrs_1m", [], tmp_path / "release", source="s3://bucket/mmrs", options=options)
        assert report.sound, report.files
        assert same(pieces, tmp_path / "release")
        (tmp_path / "release" / PIECE).unlink()
        system.rm(f"bucket/mmrs/{PIECE}")
        report = fetch("mmrs_1m", [], tmp_path / "release", source="s3://bucket/mmrs", options=options)
        assert failed(report).name.startswith("data.tar")


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """A stand-in of gdown, which brings what a test puts into its list."""
    content = {"new_relative.json": b"[]", "IR-TD-version250724.tar.gz00": b"\x1f\x8b\x08 and more"}

    def download_folder(*, url, output, quiet, resume):
        assert url.startswith("https://drive.google.com/drive/folders/")
        assert resume
        if not content:
            raise RuntimeError("Cannot retrieve the public link of the file")
        found = []
        for name, data in content.items():
            found.append(str(tmp_path / "release" / name))
            (tmp_path / "release" / name).write_bytes(data)
        return found

    module = types.ModuleType("gdown")
    module.download_folder = download_folder
    module.__spec__ = types.SimpleNamespace(name="gdown")
    monkeypatch.setitem(sys.modules, "gdown", module)
    return content


def test_a_folder_of_google_drive_is_left_to_gdown(drive, tmp_path):
    """What comes is looked at: a page in place of a file, and a refusal, lead to the steps by hand."""
    report = fetch("irtd", ["pretrain"], tmp_path / "release")
    assert [one.status for one in report.files] == ["fetched", "fetched"]
    assert all(one.instead or one.here for one in report.by_hand)
    drive["IR-TD-version250724.tar.gz00"] = b"<!DOCTYPE html>Quota exceeded"
    told = failed(fetch("irtd", ["pretrain"], tmp_path / "release"))
    assert "a quota is used up" in told.note
    assert not (tmp_path / "release" / "IR-TD-version250724.tar.gz00").exists()
    drive.clear()
    told = failed(fetch("irtd", ["pretrain"], tmp_path / "release"))
    assert "Google Drive gives it not now" in told.note
    assert "Open the folder in a browser" in told.note


def test_what_has_no_link_is_told_with_its_steps(tmp_path):
    """Site, access code, what to sign and where to put it; a line each; nothing is invented for what is unknown."""
    found = irtd_here("fetch", "rs_gpt4v", "--to", tmp_path / "release")
    told = " ".join(found.stdout.split())
    assert found.returncode == 0
    assert "https://pan.baidu.com/s/1Fz0KDpgp-_33BN8XTyQlBQ, code 5jny" in told
    found = irtd_here("fetch", "irtd", "LLCM", "LLVIP", "CDFAG", "--to", tmp_path / "release", "--json")
    by_hand = {one["files"][0]: one for one in json.loads(found.stdout)["by_hand"]}
    assert "signed agreement" in by_hand["53-LLCM/"]["where"]
    assert "web form" in by_hand["1-LLVIP/"]["where"]
    assert str(tmp_path / "release") in by_hand["1-LLVIP/"]["steps"]
    with pytest.raises(UnknownNameError, match="no config 'instruckt'") as caught:
        fetch("irtd", ["instruckt"], tmp_path / "release")
    assert "Did you mean 'instruct'?" in caught.value.remedy


def test_the_tables_of_places_are_sound():
    """Every place is of known configs and kinds; links have no secrets but published codes; hashes are hashes."""
    for name in dataset_names():
        declared = spec(name)
        for place in declared.places:
            assert place.kind in {"web", "hub", "drive", "baidu", "onedrive", "source"}
            assert all(declared.config(config) for config in place.configs)
            assert place.steps or place.kind in {"web", "hub"}
            assert place.evidence
        assert all(re.fullmatch(r"[0-9a-f]{64}", one.sha256) for one in declared.hashes)
    told = irtd_here("list", "irtd").stdout
    assert "code TRAW" in " ".join(told.split())
    assert "code IRTD" in " ".join(told.split())


@pytest.fixture
def texts(real, tmp_path):
    """The released json_sft.zip in a folder."""
    folder = tmp_path / "texts"
    folder.mkdir()
    shutil.copy(real / "irtd_json_sft" / "json_sft.zip", folder)
    return folder


def repacked(folder, change=lambda name, data: data):
    """Pack json_sft.zip anew, with members as a test changes them."""
    old = zipfile.ZipFile(io.BytesIO((folder / "json_sft.zip").read_bytes()))
    with zipfile.ZipFile(folder / "json_sft.zip", "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_changed_answers_are_caught_by_their_hash(texts):
    """`irtd doctor --hashes`: the released file is the same, one with 50 changed answers differs, and says where."""
    compare = functools.partial(irtd_here, "doctor", "irtd", "--release", texts, "--hashes")
    found = compare()
    assert found.returncode == 0, found.stdout + found.stderr
    assert "same: json_sft.zip" in found.stdout
    repacked(texts)
    found = compare()
    assert found.returncode == 0
    assert "repacked: json_sft.zip" in found.stdout

    def change(name, data):
        return data.replace(b'"no"', b'"NO"', 50) if name.endswith("Relationship.json") else data

    repacked(texts, change)
    found = compare("--json")
    assert found.returncode == 1
    differing = [one["where"] for one in json.loads(found.stdout) if one["status"] == "differs"]
    assert differing == ["json_sft.zip", "json_sft.zip/json_sft/Relationship.json"]
    with zipfile.ZipFile(texts / "json_sft.zip") as archive:
        archive.extractall(texts)
    (texts / "json_sft.zip").unlink()
    assert {one.where: one.status for one in compare_hashes("irtd", absolute_options(texts))} == {
        f"json_sft/{one.file}": "differs" if "Relationship" in one.file else "same"
        for one in spec("irtd").hashes
        if one.file != "json_sft.zip"
    }


def test_the_released_texts_are_known_by_size_and_hash(texts, tmp_path):
    """A mirror with the released file gives it; one with another is refused by its size, or when it has come."""
    with web_server(texts) as server:
        arguments = ["irtd", ["instruct-location"], tmp_path / "release"]
        report = fetch(*arguments, source=server.url)
        assert [one.note for one in report.files] == ["size and SHA-256 verified"]
        (tmp_path / "release" / "json_sft.zip").unlink()
        whole = (texts / "json_sft.zip").read_bytes()
        (texts / "json_sft.zip").write_bytes(whole[:-1] + b"!")
        told = failed(fetch(*arguments, source=server.url))
        assert "its SHA-256 is" in told.note
        assert not list((tmp_path / "release").glob("json_sft*"))
        (texts / "json_sft.zip").write_bytes(whole[:-1])
        told = failed(fetch(*arguments, source=server.url))
        assert "the server has a file of 833,652 bytes, the released one has 833,653" in told.note


def test_one_process_fetches_into_a_folder(get, tmp_path):
    """A second one is told of the first."""
    from filelock import FileLock

    (tmp_path / "release").mkdir()
    with FileLock(tmp_path / "release" / ".fetch.lock"), pytest.raises(BuildError, match="another process"):
        get()


def test_a_full_disk_keeps_what_has_come(get, monkeypatch, tmp_path):
    """A write that fails is told as such, and not taken for a failure of the server."""

    def refuse(self, file, data):
        raise BuildError("cannot be written: no space left", where="here", remedy="Free some.")

    monkeypatch.setattr(download_module._Transfer, "_took", refuse)
    with pytest.raises(BuildError, match="no space left"):
        get()


def test_fetched_files_are_compared_with_what_came(get, tmp_path):
    """`doctor --hashes` knows a piece without a published hash from the fetch that brought it."""
    get()
    piece = tmp_path / "release" / PIECE
    data = bytearray(piece.read_bytes())
    data[1000] ^= 1
    piece.write_bytes(data)
    compared = {
        one.where: one.status for one in compare_hashes("mmrs_1m", absolute_options(tmp_path / "release"))
    }
    assert compared.pop(PIECE) == "differs"
    assert set(compared.values()) == {"same"}
    known = json.loads((tmp_path / "release" / ".fetched.json").read_text())
    assert known[PIECE]["sha256"] != hashlib.sha256(data).hexdigest()


def test_a_server_that_trickles_is_given_up(get, server, monkeypatch, tmp_path):
    """A connection that stays open and brings next to nothing is cut, asked for again a few times, and told."""
    monkeypatch.setattr(files, "_TIMEOUT", -1)
    monkeypatch.setattr(files, "_LEAST_RATE", 2**40)
    report = get()
    assert not report.sound
    told = next(one for one in report.files if one.status == "failed")
    assert "TimeoutError" in told.note
