"""The ledger: every record is accounted for, and the defects are those of the table."""

import json

import pytest

from irtd_datasets.catalog import open_release
from irtd_datasets.errors import DefectError
from irtd_datasets.folder.ledger import Ledger, unbalanced
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.parsing import DefectPolicy, check_counts, parse_file
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import DamageKind, damage, write_sample_release
from irtd_datasets.writing.engine import build

RELEASED = {
    "Recognition.json": 3705,
    "Detection.json": 2789,
    "Location.json": 14979,
    "Relationship.json": 5205,
    "ReID.json": 3733,
    "Security.json": 7859,
    "AerialCounting.json": 900,
    "PedestrianCounting.json": 1030,
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The texts of a sample with as many records as the release, unpacked."""
    folder = tmp_path_factory.mktemp("large") / "release"
    return write_sample_release("irtd", folder, rows=40_200, images=False, captions=0, form="folder")


def read(folder, task):
    """All rows of one task file: its release's file, tally and counts by issue."""
    from collections import Counter

    release = open_release("irtd", absolute_options(folder))
    (member,) = SPEC.config(f"instruct-{task}").members
    (file,) = release.files(member)
    record_counts, flagged = RecordCounts(), Counter()
    for pending in parse_file(release, file, record_counts):
        flagged.update(pending.issues)
    return file, record_counts, flagged


def tasks():
    return [
        config.name.removeprefix("instruct-")
        for config in SPEC.configs
        if config.name.startswith("instruct-") and config.public
    ]


def test_a_whole_release_of_texts_has_the_released_counts(large):
    """The doctor finds all 40,200 records in the files and counts of the release."""
    diagnosis = examine(open_release("irtd", absolute_options(large.folder)))
    listed = [file for file in diagnosis.files if file.subset == "instruct" and file.public]
    found = {file.file: file.records for file in listed}
    assert found == RELEASED
    assert sum(found.values()) == SPEC.subset("instruct").records == 40_200
    assert {file.file: file.released for file in listed} == RELEASED
    # A build refuses files with the released number of records and other defects, and so does the doctor.
    problems = {file.file for file in diagnosis.files if file.problem}
    assert problems
    assert all("table of known defects" in file.problem for file in diagnosis.files if file.problem)
    assert sum(folder.needed for folder in diagnosis.folders) == 17_227  # as released
    assert diagnosis.configs["instruct"] == 0


def test_defects_whose_count_does_not_depend_on_the_texts_are_those_of_the_table(large):
    """A sample of the released size has the released number of each defect that the generator repeats exactly."""
    table = {(issue.file, issue.code): issue.count for issue in SPEC.issues if issue.count is not None}
    exact = {
        "json-not-an-array",
        "json-trailing-comma",
        "box-outside-image",
        "text-double-the",
        "text-leading-space",
    }
    for task in ("grounding", "relationship", "location", "aerial_counting"):
        file, record_counts, flagged = read(large.folder, task)
        assert record_counts.found == file.member.part.records
        assert not record_counts.dropped
        counts = {**flagged, **record_counts.quirks, **record_counts.repairs}
        for (name, code), count in table.items():
            if name == file.member.part.file and code in exact | {"source-misfiled"}:
                assert counts[code] == count, (name, code)


@pytest.mark.parametrize("task", tasks())
def test_counts_are_compared_with_the_table_in_both_directions(task, large):
    """For each file: the counts of the table pass, one more or one less of any defect stops, naming both numbers."""
    from collections import Counter

    file, record_counts, _ = read(large.folder, task)
    rows = {i.code: i for i in SPEC.issues if i.file == file.member.part.file and i.count is not None}
    flagged = Counter({code: issue.count for code, issue in rows.items() if issue.scope == "row"})
    record_counts.quirks = Counter(
        {
            code: issue.count
            for code, issue in rows.items()
            if issue.scope == "file" and issue.kind != "format"
        }
    )
    check_counts(SPEC, file, record_counts, flagged)
    for code, issue in rows.items():
        if issue.kind == "format":
            continue
        counter = flagged if issue.scope == "row" else record_counts.quirks
        for difference in (1, -1):
            counter[code] += difference
            with pytest.raises(
                DefectError, match=f"{code}: the table says {issue.count}, the file has {counter[code]}"
            ):
                check_counts(SPEC, file, record_counts, flagged)
            counter[code] -= difference
    unlisted = Counter(flagged, **{"label-upside-down": 1})
    with pytest.raises(DefectError, match="label-upside-down: not in the table, the file has 1"):
        check_counts(SPEC, file, record_counts, unlisted)
    free = Counter(flagged, **{"duplicate-id": 3})  # depends on the user's copy, so the table has no count
    check_counts(SPEC, file, record_counts, free)
    part_of_it = RecordCounts(
        found=record_counts.found - 1
    )  # another number of records: not the released file
    check_counts(SPEC, file, part_of_it, Counter())


def altered(large, folder, question):
    """A release that has only the large Location.json, with one question changed."""
    source = large.folder / "json_sft" / "Location.json"
    records = json.loads(source.read_text())
    records[7]["conversations"][0]["value"] = question(records[7]["conversations"][0]["value"])
    (folder / "json_sft").mkdir(parents=True)
    (folder / "json_sft" / "Location.json").write_text(json.dumps(records))
    return folder


def test_one_altered_record_of_a_whole_file_stops_the_build(large, tmp_path):
    """A file with the released number of records and one defect less is not the released file, and is refused."""
    folder = altered(large, tmp_path / "release", lambda text: text.replace("\n ", "\n"))
    with pytest.raises(
        DefectError, match="text-leading-space: the table says 14979, the file has 14978"
    ) as caught:
        build("irtd", ["instruct-location"], absolute_options(folder), tmp_path / "irtd")
    assert "json_sft/Location.json" in str(caught.value)
    assert "not the released one" in str(caught.value)
    assert not (tmp_path / "irtd").exists()


KINDS = [
    kind
    for kind in DamageKind
    if kind.value in ("wrong-types", "two-images", "missing-image", "html-image", "duplicate-ids")
]


@pytest.mark.parametrize("kind", KINDS)
def test_sums_balance_whatever_is_wrong(kind, release, tmp_path):
    """Found = kept + dropped + image missing for every file, in the report, in ledger.json and in the table."""
    folder = release()
    damage(folder, kind)
    result = build("irtd", ["pretrain", "instruct", "benchmark"], absolute_options(folder), tmp_path / "irtd")
    assert unbalanced(result.ledger.lines) == []
    written = json.loads((tmp_path / "irtd" / "ledger.json").read_text())
    assert Ledger.read(result.folder) == result.ledger
    for file in written["files"]:
        assert file["found"] == file["kept"] + file["image_missing"] + sum(file["dropped"].values())
    totals = written["totals"]
    assert totals["kept"] == sum(result.rows.values())
    assert totals["found"] == totals["kept"] + totals["dropped"] + totals["image_missing"]


def test_files_that_are_not_there_are_counted_as_released(release, tmp_path):
    """A task file that is missing stands in the ledger with its released records, so that the sum stays 40,200."""
    folder = release("folder")
    for name in ("ReID.json", "Security.json"):
        (folder / "json_sft" / name).unlink()
    ledger = build("irtd", ["instruct"], absolute_options(folder), tmp_path / "irtd").ledger
    assert [line.file for line in ledger.lines if line.record_counts is None] == [
        "ReID.json",
        "Security.json",
    ]
    assert ledger.totals()["absent"] == 3733 + 7859
    assert ledger.totals()["released"] == 40_200


def test_any_subset_of_task_files_can_be_built(release, tmp_path):
    """One task file alone is a release: its config builds, the others say that their file is not there."""
    import shutil

    folder = release("folder")
    for path in (folder / "json_sft").iterdir():
        if path.name != "Location.json":
            path.unlink()
    result = build("irtd", ["instruct"], absolute_options(folder), tmp_path / "irtd")
    assert list(result.rows) == ["instruct/location"]
    shutil.move(folder / "json_sft" / "Location.json", folder / "Location.json")
    assert build("irtd", ["instruct"], absolute_options(folder), tmp_path / "two").rows == result.rows


def test_detection_is_read_broken_and_repaired(release, tmp_path):
    """The released run of objects and a repaired array give the same rows; the repair is counted where it was made."""
    folder = release("folder")
    before = build("irtd", ["instruct-grounding"], absolute_options(folder), tmp_path / "broken")
    path = folder / "json_sft" / "Detection.json"
    path.write_text(f"[{path.read_text().strip().rstrip(',')}]")
    after = build("irtd", ["instruct-grounding"], absolute_options(folder), tmp_path / "repaired")
    assert dict(before.ledger.lines[0].record_counts.repairs) == {
        "json-not-an-array": 1,
        "json-trailing-comma": 1,
    }
    assert dict(after.ledger.lines[0].record_counts.repairs) == {}
    shard = "instruct/grounding/train-00000-of-00001.parquet"
    assert (tmp_path / "broken" / shard).read_bytes() == (tmp_path / "repaired" / shard).read_bytes()


@pytest.mark.parametrize("code", [issue.code for issue in SPEC.issues if issue.scope == "row"])
@pytest.mark.parametrize("action", ["flag", "drop", "error"])
def test_each_defect_can_be_flagged_dropped_or_refused(code, action):
    """Every code of the table that a row can carry obeys its own action, whatever stands for the others."""
    policy = DefectPolicy(SPEC, {code: action, "*": "flag"})
    assert policy.action([code])[0] == action
    assert DefectPolicy(SPEC, {code: action}).action([]) == ("flag", "")
    strict = DefectPolicy(SPEC, {"*": "error", code: action})
    assert strict.action([code])[0] == action


def test_planted_defects_are_found(sample, tmp_path):
    """Each planted defect that a row can show stands in the row of its record, and in no other."""
    import pyarrow.parquet as pq

    build("irtd", ["instruct"], absolute_options(sample.folder), tmp_path / "irtd")
    rows = {
        row["id"]: row["issues"]
        for path in (tmp_path / "irtd").glob("instruct/*/*.parquet")
        for row in pq.read_table(path, columns=["id", "issues"]).to_pylist()
    }
    names = {"Detection": "grounding"}
    for code in ("label-reference-object", "box-outside-image", "text-ordinal"):
        planted = {
            f"irtd/instruct/{names.get(task, task.lower())}/{defect.id}"
            for defect in sample.defects_of(code)
            for task in [defect.file.rpartition("/")[2].removesuffix(".json")]
            if defect.file.startswith("json_sft/")
        }
        assert planted
        assert {key for key, issues in rows.items() if code in issues} == planted


def test_a_release_without_captions_is_no_problem(release):
    """The doctor has nothing to say of an archive that nobody asked for; captions without images are told."""
    folder = release()
    for part in folder.glob("IR-TD*gz*"):
        part.unlink()
    diagnosis = examine(open_release("irtd", absolute_options(folder)))
    assert [file.problem for file in diagnosis.files if file.problem] == []
    assert (diagnosis.configs["instruct"], diagnosis.configs["pretrain"]) == (80, 0)
    captions, *made = [file for file in diagnosis.files if file.subset == "pretrain"]
    assert [file.records for file in made] == [0, 0]
    assert captions.records == 18
    (folder / "new_relative.json").unlink()
    diagnosis = examine(open_release("irtd", absolute_options(folder)))
    assert [file.problem for file in diagnosis.files if file.problem] == []
