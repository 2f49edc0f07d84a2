"""The tables of MMRS-1M and the reading of names."""

from __future__ import annotations

import csv
from collections import Counter
from importlib import resources

import pytest

from irtd_datasets.errors import UnsafePathError
from irtd_datasets.mmrs_1m.names import directory_of, home_of, read_image_name
from irtd_datasets.mmrs_1m.spec import COMPONENTS, SPEC
from irtd_datasets.schema import MODALITIES, TASKS


def test_rounds_are_those_of_the_paper():
    """The 35 rows sum to the paper's total, and to its sums by task and, for detection, by modality."""
    assert len(COMPONENTS) == 35
    assert len({one.title for one in COMPONENTS}) == 34
    assert sum(one.rounds for one in COMPONENTS) == 1_005_842
    by_task = Counter()
    by_modality = Counter()
    for one in COMPONENTS:
        by_task[one.task] += one.rounds
        if one.task == "detection":
            by_modality[one.modality] += one.rounds
    assert by_task == {
        "captioning": 198_883,
        "vqa": 141_264,
        "classification": 28_705,
        "detection": 575_350,
        "grounding": 30_820,
        "region_captioning": 30_820,
    }
    assert by_modality == {"optical": 477_453, "sar": 10_554, "infrared": 87_343}


def test_captions_have_a_record_an_image():
    """The five caption files hold 46,275 records together."""
    assert sum(one.records for one in COMPONENTS if one.task == "captioning") == 46_275


def test_configs_partition_the_parts():
    """Task configs cover every part once, modality configs every detection part once, `default` all."""
    members = {config.name: {member.part.name for member in config.members} for config in SPEC.configs}
    everything = {member.part.name for member in SPEC.members}
    assert {member.part.name for member in SPEC.members if member.part.public} == {
        one.part for one in COMPONENTS
    }
    assert members["default"] == everything
    tasks = ("classification", "captioning", "region_captioning", "vqa", "grounding", "detection")
    assert sorted(part for task in tasks for part in members[task]) == sorted(everything)
    modalities = ("optical", "infrared", "sar")
    split = [part for modality in modalities for part in members[f"detection-{modality}"]]
    assert sorted(split) == sorted(members["detection"])
    # Names that tell nothing of their sensor.
    constructed = {"constructed_detection_sar", "test_detection_sar"}
    assert {"ssdd", "hrisd", "air_sarship_2"} | constructed == members["detection-sar"]
    assert "hit_uav" in members["detection-infrared"]


def test_tables_use_known_words():
    """Tasks, modalities and caveats of the component table exist; every alias leads to a released folder."""
    codes = {issue.code for issue in SPEC.issues}
    assert len(codes) == len(SPEC.issues)
    for one in COMPONENTS:
        assert one.task in TASKS
        assert one.modality in MODALITIES
        assert codes.issuperset(one.caveats)
    assert {issue.kind for issue in SPEC.issues} <= {"label", "text", "caveat", "format"}
    assert {issue.scope for issue in SPEC.issues} == {"row", "file"}
    directories = {directory for one in COMPONENTS for directory in one.directories}
    table = resources.files("irtd_datasets.mmrs_1m").joinpath("aliases.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["directory"] for row in rows} <= directories
    assert len({row["alias"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("name", "expected", "part"),
    [
        ("data/caption/syndney_caption/1.tif", "caption/syndney_caption/1.tif", "sydney_captions"),
        ("caption/sydney_caption/1.tif", "caption/syndney_caption/1.tif", "sydney_captions"),
        ("data/data/Caption/RSTIMD_caption/1.tif", "caption/rstimd_caption/1.tif", "rsitmd"),
        ("/mnt/disk/mmrs1m/data/detection/HRISD_OBB/P1.jpg", "detection/HRSID_OBB/P1.jpg", "hrisd"),
        (r".\data\classification\DSCR\train\a b\1.jpg", "classification/DCSR/train/a b/1.jpg", "dscr"),
        ("data/detection/FAIR1M/1.png", "detection/FAR1M/1.png", "far1m"),
        ("data/detection/SARV2/1.tiff", "detection/SARV2/1.tiff", "air_sarship_2"),
        ("data/detection/hit_uav/1.jpg", "detection/HIT-UAV/1.jpg", "hit_uav"),
        ("data/detection/infrared_ship_swir/1.jpg", "detection/infrared_ship_swir/1.jpg", "oceanic_ship"),
        ("data/VQA/rsvqa_high/1.png", "VQA/rsvqa_high/1.png", "rsvqa_lr"),
    ],
)
def test_image_names(name, expected, part):
    """An image's name leads to its released folder and component, whatever the prefix and the spelling."""
    found = read_image_name(name)
    assert found.name == expected
    assert [one.part for one in found.components] == [part]


def test_image_folder_of_two_tasks():
    """Images of DIOR-RSVG belong to both of its rows in the paper's table."""
    found = read_image_name("data/RSVG/DIOR_RSVG/images/1.jpg")
    assert [one.task for one in found.components] == ["grounding", "region_captioning"]


@pytest.mark.parametrize(
    "name", ["data/caption/rsicd/../../../x.jpg", "../x.jpg", "/etc/passwd", "data/caption/rsicd/a\0b"]
)
def test_image_names_stay_inside(name):
    """A name that leads out of the release is refused, also behind a known folder."""
    with pytest.raises(UnsafePathError):
        read_image_name(name)


def test_unknown_folders():
    """A folder that only resembles a known one is not taken for it."""
    assert read_image_name("data/detection/SARV3/1.jpg").components == ()
    assert directory_of("caption", "dior") == ""


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("caption/caption_rsitmd.json", ["rsitmd"]),
        ("VQA/sydney_vqa.json", ["rsivqa"]),
        ("VQA/MQVQA_train.json", ["crsvqa"]),
        ("VQA/rsvqa_high.json", ["rsvqa_lr"]),
        ("classification/NWPU-RESISC45_cls.json", ["nwpu_resisc45"]),
        ("detection/a/HRISD_OBB.json", ["hrisd"]),
        ("detection/IR_ship/IR_ship.json", ["sea_shipping"]),
        ("detection/x/infrared_ship_lwir.json", ["oceanic_ship"]),
        ("RSVG/rsvg_trainval.json", ["dior_rsvg_grounding", "dior_rsvg_region_captioning"]),
        ("detection/SAR/sar_total.json", []),
        ("total.json", []),
        ("detection/x/something.json", []),
    ],
)
def test_homes_of_annotation_files(name, parts):
    """The name of an annotation file tells its component, or nothing, never two."""
    assert [one.part for one in home_of(name)] == parts
