"""Bad input, each tried end to end: a clear error or a ledger line, and nothing else lost.

Every kind of damage is tried by the build, mapped and streaming; those that end in an error by the command line, too.
"""

import hashlib
import json
import os
import shutil

import datasets
import pyarrow.parquet as pq
import pytest
from facts import facts
from processes import irtd_here, told

from irtd_datasets.errors import (
    AmbiguousImageError,
    AnnotationError,
    ArchiveError,
    ReleaseError,
    ReleaseNotFoundError,
    UnknownNameError,
    UnsafePathError,
)
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import DamageKind, damage
from irtd_datasets.writing.engine import build

PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"
LOCATION = "json_sft/Location.json"

# Damage that stops the config that needs the file: config, kind of error, words that the message must have.
ERRORS = {
    "truncated-zip": ("instruct", ArchiveError, ("json_sft.zip", "cut short", "Download it again")),
    "html-zip": ("instruct", ArchiveError, ("json_sft.zip", "a web page", "download it again")),
    "zip-bomb": ("instruct", ArchiveError, ("json_sft.zip", "Location.json", "a zip bomb")),
    "json-cut": ("instruct", AnnotationError, ("Location.json record", "the JSON is cut here", "Fetch")),
    "empty-file": ("instruct", AnnotationError, ("Recognition.json", "the file is empty", "Fetch")),
    "symlink": ("instruct", UnsafePathError, ("FLIR_", "leads out of the release", "--images NAME=PATH")),
    "missing-part": ("pretrain", ArchiveError, ("missing among the pieces", "tar.gz02", "Download")),
    "swapped-parts": ("pretrain", ArchiveError, ("tar.gz01 (piece 2 of 5)", "order of the pieces")),
    "truncated-last-part": (
        "pretrain",
        ArchiveError,
        ("tar.gz04 (piece 5 of 5)", "it ends early", "download"),
    ),
}
# Damage that drops the records it touches: the reason in the ledger and words of the message there.
DROPPED = {
    "no-image": ({"image-count": 1}, "Location.json record 1: 0 images, expected 1"),
    "two-images": ({"image-count": 1}, "Location.json record 1: 2 images, expected 1"),
    "dotdot-path": ({"unsafe-path": 1}, "Location.json record 1: the image path"),
    "foreign-path": ({"unsafe-path": 1}, "is absolute"),
    "wrong-types": ({"text-type": 1, "turn-type": 1}, "expected a text"),
    "html-image": ("image-not-an-image", "an HTML page"),
    "zero-byte-image": ("image-empty", "the file is empty (0 bytes)"),
    "truncated-image": ("image-truncated", "the image is cut off"),
    "huge-image": ("image-too-large", "65000x65000"),
    "missing-image": ("image missing", ""),
}
# Damage that costs no row: the codes that its rows carry besides.
KEPT = {
    "duplicate-ids": ("duplicate-id",),
    "unknown-task-file": (),
    "cmyk-image": (),
    "palette-image": (),
    "grey16-image": (),
    "wrong-extension": (),
    "mpo-image": (),
    **{f"exif-{orientation}": () for orientation in range(1, 9)},
}
ALL = ["pretrain", "instruct"]


def test_every_kind_of_damage_is_tried():
    """Each way in which a sample can be damaged has its outcome in one of the tables above."""
    assert sorted([*ERRORS, *DROPPED, *KEPT]) == sorted(kind.value for kind in DamageKind)


@pytest.fixture(scope="module")
def good(sample, tmp_path_factory):
    """Rows of the undamaged sample by config and id."""
    return {config: loaded(sample.folder, config, tmp_path_factory.mktemp("good")) for config in ALL}


def loaded(folder, config, cache, *, streaming=False, **options):
    rows = datasets.load_dataset(
        "irtd",
        config,
        data_dir=str(folder),
        split="train",
        streaming=streaming,
        cache_dir=None if streaming else str(cache),
        **options,
    )
    return {row["id"]: row for row in facts(rows)}


def built(folder, configs, out, **options):
    return build("irtd", configs, absolute_options(folder, **options), out)


def rows_of(folder, subset):
    """Rows of a built folder by id, in the form of `facts`; that `datasets` reads the same is tested elsewhere."""
    rows = {}
    for path in folder.glob(f"{subset}/*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            image = row["image"]
            rows[row["id"]] = {
                **row,
                "image": [image["path"], hashlib.sha256(image["bytes"]).hexdigest()],
            }
    return rows


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("kind", ERRORS)
def test_what_cannot_be_read_is_an_error_that_says_which_file_and_why(kind, good, release, tmp_path):
    """Build with any workers, mapped and streaming raise the same error; nothing half-written stays; the rest works."""
    config, expected, words = ERRORS[kind]
    folder = release()
    damage(folder, kind)
    out, cache = tmp_path / "irtd", tmp_path / "cache"
    ways = (
        lambda: built(folder, [config], out),
        lambda: build("irtd", [config], absolute_options(folder), out, workers=2),
        lambda: loaded(folder, config, cache),
        lambda: loaded(folder, config, cache, streaming=True),
    )
    texts = set()
    for way in ways:
        with pytest.raises(expected) as caught:
            way()
        texts.add(str(caught.value))
    (text,) = texts
    assert all(word in text for word in words), text
    # Finished shards may wait for the next run in the hidden folder, and nothing else.
    assert [name for name in left_in(out) if ".tmp" in name] == []
    assert sorted(path.name for path in out.iterdir()) == [".build"] if out.exists() else True
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix == ".arrow"] == []
    (other,) = set(ALL) - {config}
    assert loaded(folder, other, cache) == good[other]
    built(folder, [other], tmp_path / "other")
    assert rows_of(tmp_path / "other", other) == good[other]


@pytest.mark.parametrize("kind", ERRORS)
def test_the_command_line_tells_a_users_mistake_in_a_message(kind, release, tmp_path):
    """`irtd build` ends with 1 and the message, without a traceback; `irtd doctor` tells, too, and goes on."""
    config, _, words = ERRORS[kind]
    folder = release()
    damage(folder, kind)
    arguments = ("build", "irtd", config, "--release", folder, "--out", tmp_path / "irtd")
    told(irtd_here(*arguments), 1, *words)
    doctor = irtd_here("doctor", "irtd", "--release", folder, "--json")
    # Only a build reads a cut archive to its end.
    assert doctor.returncode == (0 if kind in {"swapped-parts", "truncated-last-part"} else 1), doctor.stderr
    assert doctor.stderr == ""
    configs = json.loads(doctor.stdout)["configs"]
    assert configs["instruct" if config == "pretrain" else "pretrain"] == (80 if config == "pretrain" else 18)


@pytest.mark.parametrize("kind", DROPPED)
def test_a_record_that_cannot_be_used_is_a_ledger_line(kind, good, release, tmp_path):
    """The records touched are counted under their reason with a message; every other row is as before."""
    reasons, words = DROPPED[kind]
    folder = release()
    done = damage(folder, kind)
    touched = {identity(file, record) for file, record in done.records}
    result = built(folder, ALL, tmp_path / "irtd")
    rows = rows_of(tmp_path / "irtd", "instruct")
    if kind == "wrong-types":
        # A number for an id and a bare name for an image can be read all the same.
        assert set(rows) & touched == {identity(*record) for record in done.records[:2]}
        touched -= set(rows)
    assert rows == {key: row for key, row in good["instruct"].items() if key not in touched}
    assert loaded(folder, "instruct", tmp_path / "cache") == rows
    assert loaded(folder, "instruct", tmp_path / "cache", streaming=True) == rows
    assert rows_of(tmp_path / "irtd", "pretrain") == good["pretrain"]
    tallies = {line.file: line.record_counts for line in result.ledger.lines if line.record_counts}
    assert all(record_counts.balanced for record_counts in tallies.values())
    assert sum(record_counts.found for record_counts in tallies.values()) == 98
    assert sum(record_counts.found - record_counts.kept for record_counts in tallies.values()) == len(touched)
    if kind == "missing-image":
        assert sum(record_counts.image_missing for record_counts in tallies.values()) == len(touched)
        return
    if isinstance(reasons, str):
        by_file = [file.rpartition("/")[2] for file, _ in done.records]
        assert {
            name: dict(record_counts.dropped)
            for name, record_counts in tallies.items()
            if record_counts.dropped
        } == {name: {reasons: by_file.count(name)} for name in by_file}
    else:
        assert {
            name: dict(record_counts.dropped)
            for name, record_counts in tallies.items()
            if record_counts.dropped
        } == {"Location.json": reasons}
    messages = [message for record_counts in tallies.values() for message in record_counts.messages]
    assert any(words in message for message in messages), messages
    if isinstance(reasons, str):
        assert all(done.image in message for message in messages)
    assert json.loads((tmp_path / "irtd" / "ledger.json").read_text())["totals"]["kept"] == len(rows) + 18


def identity(file, record):
    tasks = {"Detection": "grounding", "AerialCounting": "aerial_counting"}
    name = file.removeprefix("json_sft/").removesuffix(".json")
    return f"irtd/instruct/{tasks.get(name, name.lower())}/{record}"


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_only_unusual_costs_no_row(kind, good, release, tmp_path):
    """All rows stay, those not touched unchanged; what was found is in ``issues``, ``image_note`` or the ledger."""
    folder = release()
    done = damage(folder, kind)
    result = built(folder, ALL, tmp_path / "irtd")
    rows = rows_of(tmp_path / "irtd", "instruct")
    assert loaded(folder, "instruct", tmp_path / "cache", streaming=True) == rows
    assert result.ledger.totals()["kept"] == 98
    assert rows_of(tmp_path / "irtd", "pretrain") == good["pretrain"]
    if kind == "unknown-task-file":
        assert rows == good["instruct"]
        assert result.ledger.unknown_files == ("json_sft.zip/json_sft/Tracking.json",)
        return
    if kind == "duplicate-ids":
        first, second = "irtd/instruct/location/0", "irtd/instruct/location/1"
        changed = rows.pop(f"{first}#2")
        assert changed["issues"] == [*good["instruct"][second]["issues"], "duplicate-id"]
        assert rows == {key: row for key, row in good["instruct"].items() if key != second}
        return
    for key, row in rows.items():
        before = good["instruct"][key]
        if row["image"][0] != done.image:
            assert row == before
        else:
            changed = {name for name in row if row[name] != before[name]}
            assert changed <= {"image", "image_note", "bit_depth"}
            assert row["issues"] == [*before["issues"], *KEPT[kind]]


def change_location(change):
    """Damage by rewriting the bytes of Location.json."""

    def apply(folder):
        path = folder / LOCATION
        path.write_bytes(change(path.read_bytes()))

    return apply


def change_record(change):
    """Damage by changing the second record of Location.json."""

    def apply(folder):
        path = folder / LOCATION
        records = json.loads(path.read_bytes())
        change(records[1])
        path.write_text(json.dumps(records))

    return apply


def set_key(key, value):
    return change_record(lambda record: record.update({key: value}))


def set_turn(turn, value):
    return change_record(lambda record: record["conversations"][turn].update(value=value))


WHOLE_FILES = {
    "one object": (b'{"a": 1}', "one object with the keys 'a'"),
    "a number": (b"5", "starts with a number"),
    "null": (b"null", "starts with null"),
    "blank": (b" \n\t ", "the file is empty"),
    "a web page": (b"<!DOCTYPE html><html><body>Quota</body></html>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
    "a pit": (b"[" * 200_000, "nested deeper"),
    "no text": (b'[{"id": "\xe4"}]', "not utf-8"),
    "binary": (b"\x89PNG\r\n\x1a\n" + bytes(600), "Location.json"),
}


@pytest.mark.parametrize("content", WHOLE_FILES)
def test_an_annotation_file_of_the_wrong_kind_is_named(content, release, tmp_path):
    """Whatever a task file holds instead of a list of records, the error names the file and what it is."""
    data, words = WHOLE_FILES[content]
    folder = release("folder")
    change_location(lambda _: data)(folder)
    for way in (
        lambda: built(folder, ["instruct"], tmp_path / "irtd"),
        lambda: loaded(folder, "instruct", tmp_path, streaming=True),
    ):
        with pytest.raises(AnnotationError) as caught:
            way()
        assert words in str(caught.value)
        assert "json_sft/Location.json" in str(caught.value)
    # The other tasks do not need it.
    assert built(folder, ["instruct-security"], tmp_path / "irtd").ledger.totals()["kept"] > 0


READABLE = {
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "windows lines": lambda data: data.replace(b"\n", b"\r\n"),
    "one record a line": lambda data: b"\n".join(json.dumps(one).encode() for one in json.loads(data)),
    "no brackets": lambda data: data.strip()[1:-1] + b",",
}


@pytest.mark.parametrize("form", READABLE)
def test_other_forms_of_the_same_records_are_read(form, good, release, tmp_path):
    """A file that is the same list in another encoding or notation gives the same rows."""
    folder = release("folder")
    change_location(READABLE[form])(folder)
    rows = loaded(folder, "instruct-location", tmp_path)
    assert rows == {key: row for key, row in good["instruct"].items() if "/location/" in key}


RECORDS = {
    "no image key": (change_record(lambda record: record.pop("image")), "image-count"),
    "image null": (set_key("image", None), "image-count"),
    "image empty": (set_key("image", ""), "image-count"),
    "image a number": (set_key("image", [3]), "image-type"),
    "only the prefix": (set_key("image", [PREFIX]), "unsafe-path"),
    "a NUL": (set_key("image", [f"{PREFIX}a\0b.jpg"]), "unsafe-path"),
    "a drive": (set_key("image", ["C:\\images\\a.jpg"]), "unsafe-path"),
    "backslashes up": (set_key("image", [f"{PREFIX}63-FLIR_ADAS\\..\\..\\a.jpg"]), "unsafe-path"),
    "a lone surrogate": (set_key("image", ["a\ud800.jpg"]), "unsafe-path"),
    "5,000 letters": (set_key("image", [f"{PREFIX}{'a' * 5000}"]), "unsafe-path"),
    "no conversation": (change_record(lambda record: record.pop("conversations")), "record-form"),
    "turns in the wrong order": (
        change_record(lambda record: record["conversations"].reverse()),
        "turn-order",
    ),
    "no answer": (change_record(lambda record: record["conversations"].pop()), "turn-odd"),
    "two image tokens": (set_turn(0, "<image><image>\n Locate all car from left to right."), "image-token"),
    "another question": (set_turn(0, "<image>\nHow many?"), "question-template"),
    "half a point": (set_turn(1, "<ref>car</ref> at <pos>[(1, 2), (3)]</pos>"), "answer-template"),
    "a number of 5,000 digits": (
        set_turn(1, f"<ref>car</ref> at <pos>[(1, {'9' * 5000})]</pos>"),
        "answer-template",
    ),
    "an id that is a list": (set_key("id", [1]), "id-type"),
}


@pytest.mark.parametrize("change", RECORDS)
def test_one_bad_record_costs_one_row(change, good, release, tmp_path):
    """A record of wrong form is counted under its reason, named in a message, and takes no other with it."""
    apply, code = RECORDS[change]
    folder = release("folder")
    apply(folder)
    result = built(folder, ["instruct-location"], tmp_path / "irtd")
    (line,) = result.ledger.lines
    assert dict(line.record_counts.dropped) == {code: 1}
    assert line.record_counts.balanced
    (message,) = line.record_counts.messages
    assert "json_sft/Location.json record 1" in message
    assert len(message) < 500
    rows = loaded(folder, "instruct-location", tmp_path, streaming=True)
    gone = "irtd/instruct/location/1"
    assert rows == {k: row for k, row in good["instruct"].items() if "/location/" in k and k != gone}


def test_records_that_are_no_objects_are_counted(good, release, tmp_path):
    """Numbers, texts and lists among the records are ledger lines, and the records beside them stay."""
    folder = release("folder")
    change_location(lambda data: b'[1, "a", null, [], ' + data.strip()[1:])(folder)
    (line,) = built(folder, ["instruct-location"], tmp_path / "irtd").ledger.lines
    assert dict(line.record_counts.dropped) == {"json-record-type": 4}
    assert line.record_counts.kept == sum("/location/" in key for key in good["instruct"])


def swap_first(folder):
    first, second = sorted(folder.glob("IR-TD*gz*"))[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def part(folder, number):
    return sorted(folder.glob("IR-TD*gz*"))[number]


ARCHIVES = {
    "first two parts swapped": (swap_first, "pretrain", ("Pieces in the wrong order", "tar.gz01")),
    "first part missing": (lambda folder: part(folder, 0).unlink(), "pretrain", ("missing", "tar.gz00")),
    "last part missing": (
        lambda folder: part(folder, -1).unlink(),
        "pretrain",
        ("the last one may be missing",),
    ),
    "a part of 0 bytes": (lambda folder: part(folder, 2).write_bytes(b""), "pretrain", ("tar.gz02", "empty")),
    "a part that is a web page": (
        lambda folder: part(folder, 2).write_bytes(b"<html>Quota exceeded</html>"),
        "pretrain",
        ("tar.gz02", "a web page"),
    ),
    "a flipped bit": (lambda folder: flip_bit(part(folder, 1)), "pretrain", ("tar.gz", "after")),
    "mosaics that are a web page": (
        lambda folder: (folder / "reid_datasets.zip").write_text("<html></html>"),
        "instruct-reid",
        ("reid_datasets.zip", "a web page"),
    ),
    "a flipped bit in a mosaic": (
        lambda folder: flip_bit(folder / "reid_datasets.zip"),
        "instruct-reid",
        ("reid_datasets.zip", ".jpg", "CRC"),
    ),
}


@pytest.mark.parametrize("way", ARCHIVES)
def test_a_damaged_archive_is_named(way, release, tmp_path):
    """Parts in any wrong state and broken zips are errors that name the piece or the member and the cause."""
    apply, config, words = ARCHIVES[way]
    folder = release()
    apply(folder)
    for action in (
        lambda: built(folder, [config], tmp_path / "irtd"),
        lambda: loaded(folder, config, tmp_path, streaming=True),
        lambda: loaded(folder, config, tmp_path),
    ):
        with pytest.raises(ArchiveError) as caught:
            action()
        assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "irtd" / "manifest.json").exists()


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("make", [as_folder, as_pipe])
def test_a_name_that_is_no_file_is_missing(make, release, tmp_path):
    """A folder or a pipe under the name of an image or a task file is never opened: it counts as not there."""
    folder = release("folder")
    flir = folder / "63-FLIR_ADAS" / "training" / "PreviewData"
    name = json.loads((folder / LOCATION).read_text())[0]["image"][0].rpartition("/")[2]
    make(flir / name)
    result = built(folder, ["instruct"], tmp_path / "one")
    assert result.ledger.totals()["image_missing"] > 0
    assert result.ledger.totals()["dropped"] == 0
    make(folder / LOCATION)
    result = built(folder, ["instruct"], tmp_path / "two")
    assert result.ledger.totals()["absent"] == 14979


def test_links_inside_the_release_are_followed(good, release, tmp_path):
    """A release that is itself a link, or links within it, is read like any other."""
    folder = release("folder")
    shutil.move(folder / "63-FLIR_ADAS", folder / "elsewhere")
    (folder / "63-FLIR_ADAS").symlink_to("elsewhere")
    (tmp_path / "link").symlink_to(folder)
    assert loaded(tmp_path / "link", "instruct", tmp_path) == good["instruct"]


def test_a_folder_linked_out_of_the_release_is_refused(good, release, tmp_path):
    """The error names the link and --images, which is the way to use images that lie elsewhere."""
    folder = release("folder")
    shutil.move(folder / "63-FLIR_ADAS", tmp_path / "outside")
    (folder / "63-FLIR_ADAS").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePathError, match="--images NAME=PATH"):
        built(folder, ["instruct"], tmp_path / "irtd")
    (folder / "63-FLIR_ADAS").unlink()
    images = {"63-FLIR_ADAS": str(tmp_path / "outside")}
    assert loaded(folder, "instruct", tmp_path, images=images) == good["instruct"]


def test_links_in_a_circle_end(release, tmp_path):
    """A link that leads to itself is no place with images, and no endless search."""
    folder = release("folder")
    shutil.rmtree(folder / "63-FLIR_ADAS")
    (folder / "63-FLIR_ADAS").symlink_to("63-FLIR_ADAS")
    with pytest.raises(ReleaseNotFoundError, match="none of the images"):
        built(folder, ["instruct-location"], tmp_path / "irtd")


def test_two_different_copies_of_a_file_are_an_error(release, tmp_path):
    """Which of two task files is meant is for the user to say; two equal copies are one."""
    folder = release()
    (folder / "json_sft").mkdir()
    (folder / LOCATION).write_text("[]")
    with pytest.raises(ReleaseError, match="two different copies of Location") as caught:
        built(folder, ["instruct"], tmp_path / "irtd")
    assert "json_sft.zip/json_sft/Location.json" in str(caught.value)
    equal = release("folder", name="equal")
    shutil.copy(equal / LOCATION, equal / "Location.json")
    assert built(equal, ["instruct-location"], tmp_path / "irtd").ledger.totals()["kept"] > 0


def test_nothing_there_is_an_error_that_says_what_to_do(release, tmp_path):
    """No folder, an empty folder, no images: each is told with the next step, by build and load alike."""
    (tmp_path / "empty").mkdir()
    no_images = release("folder")
    shutil.rmtree(no_images / "63-FLIR_ADAS")
    for folder, words in (
        (tmp_path / "nowhere", "there is no folder or file at this path"),
        (tmp_path / "empty", "none of the annotation files"),
    ):
        for way in (
            lambda folder=folder: built(folder, ["instruct"], tmp_path / "irtd"),
            lambda folder=folder: loaded(folder, "instruct", tmp_path / "cache"),
            lambda folder=folder: loaded(folder, "instruct", tmp_path / "cache", streaming=True),
        ):
            with pytest.raises(ReleaseNotFoundError, match=words):
                way()
    with pytest.raises(ReleaseNotFoundError, match="none of the images") as caught:
        built(no_images, ["instruct-location"], tmp_path / "irtd")
    assert "--images NAME=PATH" in str(caught.value)
    assert not (tmp_path / "irtd").exists()


IMAGES = {
    "nowhere": ("63-FLIR_ADAS", "nowhere", ReleaseNotFoundError, "there is nothing at this path"),
    "a web page": ("63-FLIR_ADAS", "page.zip", ArchiveError, "a web page"),
    "a cut zip": ("63-FLIR_ADAS", "cut.zip", ArchiveError, "cut short"),
    "a slip of the pen": ("63-FLIR_ADA", "images", UnknownNameError, "Did you mean `--images 63-FLIR_ADAS="),
    "a name without its end": ("FLIR", "images", UnknownNameError, "Did you mean `--images 63-FLIR_ADAS="),
    "a name that climbs": ("../63-FLIR_ADAS", "images", UnsafePathError, "climbs"),
    "a second copy": ("63-FLIR_ADAS", "copy", AmbiguousImageError, "2 files claim to be it"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_a_wrong_place_for_images_is_told(case, release, tmp_path, monkeypatch):
    """--images with a wrong name, a wrong path or a second copy: what is wrong and what was meant; exit code 1 or 2."""
    name, path, expected, words = IMAGES[case]
    folder = release()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.zip").write_text("<html></html>")
    zipped = (folder / "reid_datasets.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(zipped[: len(zipped) // 2])
    (tmp_path / "images").mkdir()
    shutil.copytree(folder / "63-FLIR_ADAS", tmp_path / "copy")
    for way in (
        lambda: built(folder, ["instruct"], tmp_path / "irtd", images={name: path}),
        lambda: loaded(folder, "instruct", tmp_path / "cache", images={name: path}),
    ):
        with pytest.raises(expected, match=words):
            way()
    arguments = ("build", "irtd", "instruct", "--release", folder, "--images", f"{name}={path}")
    told(irtd_here(*arguments), 2 if expected is UnknownNameError else 1, words)
    assert not (tmp_path / "irtd").exists()


def test_ambiguous_images_are_named_together(release, tmp_path):
    """All images with two candidates are told at once, up to a limit, each with both places."""
    folder = release()
    shutil.copytree(folder / "63-FLIR_ADAS", tmp_path / "copy")
    with pytest.raises(AmbiguousImageError) as caught:
        built(
            folder, ["instruct-location"], tmp_path / "irtd", images={"63-FLIR_ADAS": str(tmp_path / "copy")}
        )
    lines = str(caught.value).splitlines()
    assert len(lines) > 5
    for line in lines[:5]:
        assert "copy/training/PreviewData/FLIR_" in line
        assert "release/63-FLIR_ADAS/training/PreviewData/FLIR_" in line
    assert "Remove or rename" in lines[-1]
