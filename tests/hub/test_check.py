"""The check passes good folders, and finds every rule broken in exactly its way, with file, row and remedy."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from breaking import BREAKERS, IMAGE_RULES, INDEX, OTHER, SHARD, encoded, replaced, rewrite
from PIL import Image
from processes import irtd, irtd_here

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.names import STATE
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.check_images import is_viewable
from irtd_datasets.hub.check_shards import find_paths
from irtd_datasets.hub.findings import FINDINGS_KEPT, RULES, Findings
from irtd_datasets.hub.folder_card import write_card
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import sample_names, write_sample_release
from irtd_datasets.writing.engine import build

ALWAYS = {"source-forbidden", "source-unknown", "statistics-two-values"}
"""Warnings that a sample gives as it is: its sources are those of the release, its splits are tiny."""

SAMPLED = sample_names()
"""Datasets of this library that a sample can be written of."""


@pytest.fixture(scope="session")
def good_release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=0, benchmark=True).folder


def build_good(release, folder):
    configs = ["instruct-location", "instruct-grounding", "benchmark-security"]
    build("irtd", configs, absolute_options(release), folder)


@pytest.fixture(scope="session")
def good(good_release, tmp_path_factory):
    """A small dataset folder of IR-TD, in a folder called like it. Read it, do not change it."""
    folder = tmp_path_factory.mktemp("good") / "irtd"
    build_good(good_release, folder)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    return shutil.copytree(good, tmp_path / "irtd")


@pytest.mark.parametrize("name", SAMPLED)
def test_a_good_folder_has_no_errors(whole, name):
    """What a build makes of each sample passes with all images decoded and all hashes compared."""
    report = check_folder(whole[name], images="all", hashes=True)
    assert report.errors == ()
    assert {finding.rule for finding in report.warnings} <= ALWAYS
    parquet = list(whole[name].glob("*/*/*.parquet"))
    assert report.facts["rows"] == sum(pq.read_metadata(path).num_rows for path in parquet)
    assert report.facts["shards"] == len(parquet)
    assert report.facts["images_decoded"] > 20


def test_rounds_split_into_rows_pass(tmp_path):
    """A folder built with a row for each round has no errors either: its ledger counts what its rows are."""
    sample = write_sample_release("mmrs_1m", tmp_path / "release")
    build(
        "mmrs_1m", ["vqa", "detection"], absolute_options(sample.folder, rounds="split"), tmp_path / "mmrs_1m"
    )
    assert check_folder(tmp_path / "mmrs_1m", images="none").errors == ()


def test_the_real_frames_pass(real, tmp_path):
    """The released texts with the frames that are here pass with every image decoded."""
    frames = {"63-FLIR_ADAS/training/PreviewData": str(real / "roadscene" / "infrared")}
    build("irtd", ["instruct"], absolute_options(real / "irtd_json_sft", frames), tmp_path / "irtd")
    report = check_folder(tmp_path / "irtd", images="all", hashes=True)
    assert report.errors == ()
    assert {finding.rule for finding in report.warnings} <= ALWAYS
    tables = [pq.read_table(path, columns=["image"]) for path in (tmp_path / "irtd").glob("*/*/*.parquet")]
    images = {row["bytes"] for table in tables for row in table["image"].to_pylist()}
    assert (report.facts["rows"], report.facts["images_decoded"]) == (126, len(images))


def test_every_rule_has_a_way_to_break_it():
    """No rule is without a folder that breaks it."""
    assert set(BREAKERS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_folder_is_found(copy, monkeypatch, rule):
    """Each rule is silent on the good folder and told of the folder that breaks it, with severity and remedy."""
    options = {"images": "sample" if rule in IMAGE_RULES else "none", "hashes": rule == "shard-hash"}
    if rule not in ALWAYS:
        before = check_folder(copy, **options)
        assert rule not in before.counts
    BREAKERS[rule](copy, monkeypatch)
    report = check_folder(copy, **options)
    found = [finding for finding in report.findings if finding.rule == rule]
    assert found, dict(report.counts)
    assert {finding.severity for finding in found} == {RULES[rule].severity}
    assert all(finding.message and finding.remedy for finding in found)
    assert report.counts[rule] >= len(found)


ROW_RULES = {
    "local-path": 0,
    "machine-name": 0,
    "image-null": 0,
    "image-unreadable": 0,
    "image-too-large": 0,
    "image-not-viewable": 0,
    "image-size": 0,
    "image-gps": 0,
}


@pytest.mark.parametrize("rule", ROW_RULES)
def test_a_finding_names_file_and_row(copy, monkeypatch, rule):
    """What is wrong with a row is told with the shard and the number of the row in it."""
    BREAKERS[rule](copy, monkeypatch)
    report = check_folder(copy, images="sample" if rule in IMAGE_RULES else "none")
    places = {(finding.file, finding.row) for finding in report.findings if finding.rule == rule}
    assert (SHARD, ROW_RULES[rule]) in places


def test_rows_behind_the_first_row_group_are_counted_on(copy):
    """The number of a row is that in the file, also in a later row group, for text and for images."""
    note = replaced("image_note", lambda values: [*values[:-1], r"D:\flir\1.jpeg"])
    image = replaced("image", lambda values: [*values[:-1], {"bytes": b"<html>404", "path": "a.jpg"}])
    rewrite(copy / SHARD, lambda table: image(note(table)), row_group_size=3)
    last = pq.read_metadata(copy / SHARD).num_rows - 1
    report = check_folder(copy, images="all")
    rows = {finding.rule: finding.row for finding in report.findings if finding.file == SHARD}
    assert rows["local-path"] == rows["image-unreadable"] == last > 3


@pytest.mark.parametrize(
    "text",
    [
        "see /home/ada/x.json",
        "/mnt/jixie16t/zhe/Dataset",
        r"in C:\Users\ada\x",
        "file:///tmp/a/b",
        r"\\server\share",
        "(/Users/ada/x)",
        '{"path": "/root/data/x"}',
        "D:/data/x",
    ],
)
def test_local_paths_are_seen(text):
    """Homes, mounts, drives, shares and file addresses."""
    assert find_paths(text)


@pytest.mark.parametrize(
    "text",
    [
        "left/right",
        "640/512",
        "https://host/home/x",
        "a 3:4 ratio",
        "There is a home/office building.",
        "<box>[1, 2]</box>",
        "What is at A: a car\\bus?",
        "/",
        "and/or",
        "detection/SARV2/00001.tiff",
    ],
)
def test_ordinary_text_is_no_path(text):
    """Slashes, ratios, addresses of the web and relative names are left alone."""
    assert not find_paths(text)


def test_a_local_path_in_a_question_or_a_nested_field_is_seen(copy):
    """Text is read at any depth, not in the columns of names alone."""
    messages = replaced(
        "messages",
        lambda values: [*values[:2], [{"role": "user", "content": "open /home/ada/x"}], *values[3:]],
    )
    rewrite(copy / SHARD, messages)
    report = check_folder(copy, images="none")
    assert [(f.file, f.row) for f in report.findings if f.rule == "local-path"] == [(SHARD, 2)]


def test_a_sample_sees_the_preview(copy):
    """With ``sample`` every image of the first hundred rows is decoded, with ``none`` no image at all."""
    bad = encoded(Image.new("F", (64, 64)), "TIFF")
    spoil = replaced("image", lambda values: [*values[:-1], {"bytes": bad, "path": "b.tif"}])
    rewrite(copy / OTHER, spoil)
    assert "image-not-viewable" in check_folder(copy).counts
    none = check_folder(copy, images="none")
    assert not {"image-not-viewable", "image-size"} & set(none.counts)
    assert none.facts["images_decoded"] == 0


def test_pillow_is_asked_what_it_can_save():
    """The modes that an image can have after opening are judged as Pillow judges them when it saves."""
    assert all(is_viewable(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"))
    assert not any(is_viewable(mode) for mode in ("F", "LAB", "HSV"))


def test_many_findings_are_counted_not_kept():
    """A rule broken in every row costs no memory: some are kept, all are counted."""
    findings = Findings()
    for row in range(1000):
        findings.add("image-size", "x", "a.parquet", row=row)
    assert len(findings.kept) == FINDINGS_KEPT
    assert findings.counts["image-size"] == 1000


def test_what_is_no_dataset_folder_is_refused(tmp_path):
    """No folder, an empty folder and an unknown way are told at once."""
    with pytest.raises(ReleaseNotFoundError, match="no such folder"):
        check_folder(tmp_path / "nothing")
    with pytest.raises(ReleaseNotFoundError, match="empty"):
        check_folder(tmp_path)
    with pytest.raises(UnknownNameError, match="sample, all, none"):
        check_folder(tmp_path, images="some")


def test_garbage_in_place_of_files_is_told_not_raised(copy):
    """Manifest, ledger and card of other types than expected end in findings, never in a traceback."""
    for content in (
        "",
        "null",
        "3",
        "[1]",
        '{"dataset": 4}',
        '{"dataset": "irtd", "parts": [{"shards": 3}]}',
    ):
        (copy / "manifest.json").write_text(content)
        (copy / "ledger.json").write_text(content)
        (copy / "README.md").write_text(
            f"---\nconfigs: {content or 'x'}\ndataset_info: 3\nlicense: {{a: b}}\n---\n"
        )
        report = check_folder(copy, images="none")
        assert {"manifest-unreadable", "ledger-unreadable"} <= set(report.counts)
    (copy / "README.md").write_bytes(b"---\n\xff\xfe\n---\n")
    assert "card-yaml" in check_folder(copy, images="none").counts


def test_command_exits_with_1_on_errors(copy, monkeypatch):
    """Exit code 0 and a summary for a good folder; 1 for a broken one, and with --json nothing but JSON."""
    done = irtd_here("check", copy, "--images", "none")
    assert done.returncode == 0, done.stdout
    assert "0 errors" in done.stdout
    BREAKERS["split-rows"](copy, monkeypatch)
    done = irtd_here("check", copy, "--images", "none", "--json")
    assert done.returncode == 1
    values = json.loads(done.stdout)
    assert values["errors"] == len([f for f in values["findings"] if f["severity"] == "error"])
    assert {"rule", "file", "row", "message", "remedy", "severity"} == set(values["findings"][0])
    done = irtd_here("check", copy, "--images", "none")
    assert "error split-rows" in done.stdout
    assert "irtd card" in done.stdout


def test_command_says_what_a_folder_is_not(tmp_path):
    """A wrong path is a message and exit code 1, without a traceback."""
    done = irtd("check", tmp_path / "nothing")
    assert done.returncode == 1
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != STATE}


def changed_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [changed_byte, Path.unlink, lambda path: path.write_bytes(b"{}")])
@pytest.mark.parametrize("name", ["README.md", "croissant.json", "ledger.json", INDEX, SHARD])
def test_the_remedy_of_a_changed_file_restores_it(copy, good_release, name, spoil):
    """A file that was edited, lost or replaced is told with its remedy, and what that says gives the build's bytes."""
    before = contents(copy)
    spoil(copy / name)
    found = [one for one in check_folder(copy, images="none", hashes=True).errors if one.file == name]
    assert found
    remedies = {one.remedy for one in found}
    if name in {"README.md", "croissant.json"}:
        assert all("irtd card FOLDER" in remedy for remedy in remedies)
        write_card(copy)
    else:
        assert all("irtd build" in remedy for remedy in remedies)
        if any("Remove this file" in remedy for remedy in remedies) or name == "ledger.json":
            (copy / name).unlink(missing_ok=True)
        build_good(good_release, copy)
    assert contents(copy) == before


def test_only_listed_files_belong_to_the_index(copy):
    """Index files of the manifest are part of the folder and hold no rows; anything else beside them is foreign."""
    report = check_folder(copy, images="none")
    assert report.facts["shards"] == 3
    assert "file-foreign" not in report.counts
    for name in ("index/notes.txt", "index/instruct.scene.parquet"):
        (copy / name).write_bytes(b"x")
    found = [one for one in check_folder(copy, images="none").findings if one.rule == "file-foreign"]
    assert {one.file for one in found} == {"index/notes.txt", "index/instruct.scene.parquet"}
    (copy / "manifest.json").unlink()
    assert "shard-unreachable" not in check_folder(copy, images="none").counts


def test_a_manifest_that_contradicts_itself_is_told(copy):
    """A file listed otherwise than its shard, one that no build writes, and one outside the folder are refused."""
    whole = (copy / "manifest.json").read_text()
    for change in (
        lambda files: files[SHARD].update(bytes=7),
        lambda files: files.pop(SHARD),
        lambda files: files.update({"notes.txt": {"bytes": 1, "sha256": "0" * 64}}),
        lambda files: files.update({"../notes.txt": {"bytes": 1, "sha256": "0" * 64}}),
        lambda files: files.clear(),
    ):
        values = json.loads(whole)
        change(values["files"])
        (copy / "manifest.json").write_text(json.dumps(values))
        assert "manifest-unreadable" in check_folder(copy, images="none").counts


def test_check_changes_nothing(copy):
    """Every file has its bytes and its time after a check."""
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()
    }
    check_folder(copy, images="all", hashes=True)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()}
    assert after == before
