"""The released instruction text of IR-TD, where a copy of ``json_sft.zip`` is at hand."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from pathlib import Path

import pytest

from irtd_datasets.annotations.conversations import detect_form, parse_conversation, strip_prefix
from irtd_datasets.annotations.json_records import ReadLimits, read_records

REAL = Path(os.environ.get("IRTD_REAL") or Path(__file__).resolve().parents[2] / ".." / "shared" / "real")
ARCHIVE = REAL / "irtd_json_sft" / "json_sft.zip"
FRAMES = REAL / "roadscene" / "_irgpt_records"
COUNTS = {
    "Recognition": 3705,
    "Detection": 2789,
    "Location": 14979,
    "Relationship": 5205,
    "Security": 7859,
    "ReID": 3733,
    "AerialCounting": 900,
    "PedestrianCounting": 1030,
}
SHA256 = "263963e42a8a667b3cd1322935791d4a97da85ea6f0c766496cd65bae918a644"

pytestmark = pytest.mark.skipif(
    not ARCHIVE.is_file(), reason=f"the released json_sft.zip is not at {ARCHIVE}"
)


@pytest.fixture(scope="module")
def members():
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == SHA256
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {Path(name).stem: archive.read(name) for name in archive.namelist() if name.endswith(".json")}


def test_the_archive_has_the_eight_files(members):
    """No file is missing from the counts, and none is too many."""
    assert set(members) == set(COUNTS)
    assert sum(COUNTS.values()) == 40_200


@pytest.mark.parametrize("task", COUNTS)
def test_every_record_is_read_and_parsed(members, task):
    """All records of all files are conversations of one round about one image, as many as released."""
    images = set()
    reader = read_records(members[task], name=f"{task}.json")
    for index, record in reader:
        assert detect_form(record) == "conversation"
        conversation = parse_conversation(record, index, name=reader.name)
        assert conversation.id == str(index)
        assert conversation.image_token == "start"
        assert not conversation.extra
        question, answer = record["conversations"]
        assert "<image>\n" + conversation.turns[0].text == question["value"]
        assert conversation.turns[1].text == answer["value"]
        images.add(strip_prefix(conversation.images[0]))
    assert reader.count == COUNTS[task]
    assert all(re.match(r"\d+-\w", image) for image in images)


@pytest.mark.parametrize("task", COUNTS)
def test_only_detection_needs_a_repair(members, task):
    """The broken file is read as it is and reported; the other seven are plain arrays."""
    reader = read_records(members[task], name=f"{task}.json")
    assert sum(1 for _ in reader) == COUNTS[task]
    if task == "Detection":
        assert reader.form == "objects"
        assert [repair.code for repair in reader.repairs] == ["json-not-an-array", "json-trailing-comma"]
    else:
        assert reader.form == "array"
        assert reader.repairs == ()


def test_detection_reads_the_same_when_repaired_by_hand(members):
    """The repaired forms that users have lead to the same records."""
    broken = members["Detection"]
    expected = list(read_records(broken, name="Detection.json"))
    body = broken.rstrip().removesuffix(b",")
    repaired = b"[" + body + b"]"
    assert [record for _, record in expected] == json.loads(repaired)
    for data in (repaired, body, b"[" + broken + b"]"):
        assert list(read_records(data, name="Detection.json")) == expected


@pytest.mark.parametrize("chunk", [4096, 100_003])
def test_chunks_do_not_change_what_is_read(members, chunk):
    """Small chunks give what one json.loads gives."""
    expected = json.loads(members["ReID"])
    limits = ReadLimits(chunk=chunk)
    assert [record for _, record in read_records(members["ReID"], name="x", limits=limits)] == expected


def test_location_questions_keep_their_leading_blank(members):
    """All 14,979 questions of the Location task start with a blank in the release."""
    for index, record in read_records(members["Location"], name="Location.json"):
        conversation = parse_conversation(record, index, name="Location.json")
        assert conversation.turns[0].text.startswith(" Locate all ")


@pytest.mark.skipif(not FRAMES.is_dir(), reason="the copied records of the FLIR frames are absent")
def test_records_copied_from_the_release_are_equal_to_it(members):
    """Records that were cut out of the release into files of their own are found in it, field by field."""
    total = 0
    for path in sorted(FRAMES.glob("*.json")):
        released = {record["id"]: record for _, record in read_records(members[path.stem], name=path.name)}
        for _, record in read_records(path, name=path.name):
            assert record == released[record["id"]]
            total += 1
    assert total == 126
