"""Cached rows are those of the folder, the config and the options that were asked for."""

import json
import os
import shutil

import datasets
import pytest
from facts import facts

import irtd_datasets
from irtd_datasets.errors import DefectError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.testing import damage, write_sample_release


@pytest.fixture
def load(tmp_path):
    """Loads ids of rows, always with the same cache."""

    def ids(config="instruct", **options):
        options = {"split": "train", "cache_dir": tmp_path / "cache", **options}
        return irtd_datasets.load_dataset("irtd", config, **options)["id"]

    return ids


def cache_folder(config="instruct", **options):
    return datasets.load_dataset_builder("irtd", config, **options).cache_dir


def test_same_relative_name_in_two_places(tmp_path, load, monkeypatch):
    """Two releases that are both called ``R``, seen from their own folders, do not share rows."""
    found = []
    for seed in (1, 2):
        place = tmp_path / str(seed)
        write_sample_release("irtd", place / "R", rows=24, seed=seed, captions=0)
        monkeypatch.chdir(place)
        found.append((load(data_dir="R"), cache_folder(data_dir="R")))
    assert found[0][1] != found[1][1]
    rows = []
    for seed in (1, 2):
        monkeypatch.chdir(tmp_path / str(seed))
        rows.append(facts(datasets.load_dataset("irtd", "instruct", data_dir="R", split="train")))
    assert rows[0] != rows[1]


def test_configs_do_not_share_a_cache(sample):
    """Each config of each class has a folder of its own, and the same one when asked again."""
    names = [config.name for config in irtd_datasets.Irtd.SPEC.configs]
    folders = {name: cache_folder(name, data_dir=str(sample.folder)) for name in names}
    assert len(set(folders.values())) == len(names)
    assert {name: cache_folder(name, data_dir=str(sample.folder)) for name in names} == folders


def test_options_do_not_share_a_cache(sample, tmp_path):
    """Other images or another answer to defects is another cache."""
    images = tmp_path / "images"
    images.mkdir()
    options = (
        {},
        {"on_defect": "drop"},
        {"on_defect": {"text-ordinal": "drop"}},
        {"images": {"63-FLIR_ADAS": str(images)}},
        {"images": {"63-FLIR_ADAS": str(images)}, "on_defect": "drop"},
    )
    folders = [cache_folder(data_dir=str(sample.folder), **some) for some in options]
    assert len(set(folders)) == len(options)


def changed_record(folder):
    path = folder / "json_sft" / "Security.json"
    records = json.loads(path.read_text())
    records[0]["conversations"][1]["value"] = records[0]["conversations"][1]["value"].replace("(A)", "(A) ")
    path.write_text(json.dumps(records[:-1]))


def added_image(folder):
    flir = folder / "63-FLIR_ADAS" / "training" / "PreviewData"
    shutil.copy(min(flir.iterdir()), flir / "FLIR_99999.jpeg")


def removed_image(folder):
    damage(folder, "missing-image")


def touched_caption_file(folder):
    os.utime(folder / "new_relative.json", (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("change", [changed_record, added_image, removed_image])
def test_a_changed_release_is_read_again(change, release):
    """A changed annotation file, an image that came and an image that went each change the fingerprint."""
    folder = release("folder")
    before = cache_folder(data_dir=str(folder))
    change(folder)
    assert cache_folder(data_dir=str(folder)) != before


def test_a_part_of_the_archive_that_was_fetched_again_is_read_again(release):
    """The fingerprint of captions changes with the parts of the cut archive, that of instructions does not."""
    folder = release()
    before = {config: cache_folder(config, data_dir=str(folder)) for config in ("pretrain", "instruct")}
    last = max(folder.glob("IR-TD*gz*"))
    last.write_bytes(last.read_bytes() + b"\0")
    after = {config: cache_folder(config, data_dir=str(folder)) for config in ("pretrain", "instruct")}
    assert after["pretrain"] != before["pretrain"]
    assert after["instruct"] == before["instruct"]


def test_rows_change_with_the_release(release, load):
    """Loading again after an image went away gives the rows without it, not those of before."""
    folder = release()
    before = load(data_dir=folder)
    done = damage(folder, "missing-image")
    assert len(load(data_dir=folder)) == len(before) - len(done.records)


def test_what_is_done_with_defects(sample, load):
    """Flag keeps rows with a wrong label, drop leaves out exactly those, error stops at the first and names it."""
    rows = irtd_datasets.load_dataset("irtd", "instruct-grounding", data_dir=sample.folder, split="train")
    wrong = [row["id"] for row in rows if "label-reference-object" in row["issues"]]
    outside = [row["id"] for row in rows if "box-outside-image" in row["issues"]]
    assert wrong
    assert outside
    kept = load("instruct-grounding", data_dir=sample.folder, on_defect="drop")
    assert kept == [key for key in rows["id"] if key not in {*wrong, *outside}]
    kept = load("instruct-grounding", data_dir=sample.folder, on_defect={"box-outside-image": "drop"})
    assert kept == [key for key in rows["id"] if key not in outside]
    with pytest.raises(DefectError, match="it has the defect") as caught:
        load("instruct-grounding", data_dir=sample.folder, on_defect="error")
    assert any(key in str(caught.value) for key in [*wrong, *outside])
    with pytest.raises(UnknownNameError, match="no row defect 'label-reference'"):
        load("instruct-grounding", data_dir=sample.folder, on_defect={"label-reference": "drop"})
    with pytest.raises(UnknownNameError, match="no action 'clip'"):
        load("instruct-grounding", data_dir=sample.folder, on_defect="clip")


def test_caveats_are_not_dropped_unasked(sample, load):
    """Drop for all means wrong labels: a row with a caveat or a slip of wording stays unless its code is named."""
    everything = load("instruct-security", data_dir=sample.folder)
    assert load("instruct-security", data_dir=sample.folder, on_defect="drop") == everything
    rows = irtd_datasets.load_dataset("irtd", "instruct", data_dir=sample.folder, split="train")
    slips = {row["id"] for row in rows if "text-ordinal" in row["issues"]}
    everything = load(data_dir=sample.folder)
    assert slips
    assert slips < set(load(data_dir=sample.folder, on_defect="drop"))
    left = load(data_dir=sample.folder, on_defect={"text-ordinal": "drop"})
    assert left == [key for key in everything if key not in slips]


def test_what_all_rows_of_a_file_share_is_no_issue_of_a_row(sample, load):
    """To keep the rows without an issue keeps whole tasks: a limit of every answer is counted and documented only."""
    for task in ("security", "aerial_counting"):
        rows = irtd_datasets.load_dataset("irtd", f"instruct-{task}", data_dir=sample.folder, split="train")
        assert len(rows) > 0
        assert not any(rows["issues"])
    with pytest.raises(UnknownNameError, match="no row defect 'absence-unverified'"):
        load("instruct-security", data_dir=sample.folder, on_defect={"absence-unverified": "drop"})


@pytest.mark.parametrize("streaming", [False, True])
def test_no_row_at_all_is_an_error(sample, release, tmp_path, streaming):
    """Where no image is there, or every row is dropped, the error says so: an empty dataset would be a trap."""
    folder = release()
    shutil.rmtree(folder / "63-FLIR_ADAS")

    def load(config, **options):
        options = {"split": "train", "streaming": streaming, "cache_dir": tmp_path / "cache", **options}
        return list(irtd_datasets.load_dataset("irtd", config, **options))

    with pytest.raises(ReleaseNotFoundError, match="none of the images of their") as caught:
        load("instruct-location", data_dir=folder)
    assert "images={NAME: PATH}" in str(caught.value)
    assert load("instruct", data_dir=folder)
    task = release("folder", "other") / "json_sft" / "Detection.json"
    records = json.loads(f"[{task.read_text().strip().rstrip(',')}]")
    wrong = [record for record in records if "to the left of" in record["conversations"][0]["value"]]
    task.write_text(json.dumps(wrong))
    with pytest.raises(ReleaseNotFoundError, match="left out: label-reference-object"):
        load("instruct-grounding", data_dir=task.parent.parent, on_defect="drop")


def test_nothing_half_written_stays_in_the_cache(release, tmp_path):
    """A load that fails in the middle leaves no rows behind, and succeeds once the release is mended."""
    folder = release()
    good = max(folder.glob("IR-TD*gz*")).read_bytes()
    damage(folder, "truncated-last-part")
    options = {"data_dir": folder, "split": "train", "cache_dir": tmp_path / "cache"}
    with pytest.raises(OSError, match="it ends early"):
        irtd_datasets.load_dataset("irtd", "pretrain", **options)
    assert list((tmp_path / "cache").rglob("*.arrow")) == []
    max(folder.glob("IR-TD*gz*")).write_bytes(good)
    assert irtd_datasets.load_dataset("irtd", "pretrain", **options).num_rows == 18
