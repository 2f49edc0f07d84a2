from __future__ import annotations

import re

import pytest

from irtd_datasets.catalog import spec
from irtd_datasets.rs_gpt4v.spec import PUBLISHED, SPEC
from irtd_datasets.rs_gpt4v.tables import (
    derivative_of,
    foreign_image,
    rules_for,
    source_of,
    split_of,
    task_of,
)
from irtd_datasets.schema import TASKS
from irtd_datasets.spec import read_table

PACKAGE = "irtd_datasets.rs_gpt4v"

TITLES = {member.part.task: member.part.title for member in SPEC.members}


def conversation(*turns, **more):
    roles = ("human", "gpt")
    return {
        "image": "a.jpg",
        "conversations": [{"from": roles[i % 2], "value": text} for i, text in enumerate(turns)],
        **more,
    }


def test_configs():
    """There is a config for everything and one for each task, each with train and test."""
    assert [config.name for config in spec("rs_gpt4v").configs] == ["default", *TITLES]
    assert all(config.splits == ("train", "test") for config in SPEC.configs)
    assert len(SPEC.config("default").members) == 14
    assert set(TITLES) <= set(TASKS)


def test_published_totals_are_shown():
    """The published totals stand in the declaration, and no part claims a count that nobody published."""
    assert PUBLISHED == {"train": (991_206, 91_937), "test": (258_419, 15_999)}
    assert "991,206" in SPEC.subset("train").available
    assert "258,419" in SPEC.subset("test").available
    assert all(member.part.records is None for member in SPEC.members)


@pytest.mark.parametrize("name", ["tasks.csv", "splits.csv", "sources.csv", "derivatives.csv"])
def test_patterns_compile(name):
    """Every pattern of the tables that is one compiles."""
    for row in read_table(PACKAGE, name):
        if row.get("kind") != "shape":
            re.compile(row["pattern"])


def test_last_task_rule_holds_for_all():
    """The last rule of tasks.csv takes what no other took, so that every record has a task."""
    assert read_table(PACKAGE, "tasks.csv")[-1]["pattern"] == "one-round"


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.json", "train"),
        ("RS-GPT4V/test/RSICD.jsonl", "test"),
        ("train/val_captions.json", "test"),
        ("rs_gpt4v_instruct_991k.json", "train"),
        ("sft/all.json", "train"),
        ("train_test.json", None),
        ("contest/latest.json", None),
        ("constrained.json", None),
    ],
)
def test_split_of(path, split):
    """The nearest whole word of a path that names one split decides; a name with both decides nothing."""
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("test/NWPU-Captions.jsonl", "captioning"),
        ("RSICD.jsonl", "captioning"),
        ("RSVQA_LR.jsonl", "vqa"),
        ("FloodNet.jsonl", "vqa"),
        ("DIOR_RSVG_grounding.json", "grounding"),
        ("rsvg_trainval.json", None),
        ("background.json", None),
        ("ground_truth.json", None),
        ("region_caption.json", None),
        ("Conversation_Complex_Reasoning.jsonl", None),
        ("vqa_caption/all.jsonl", None),
    ],
)
def test_task_of(path, task):
    """A file name tells a task only when it tells exactly one."""
    assert task_of(path) == task


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("images/NWPU-Captions/airport_1.jpg", "NWPU-Captions"),
        ("NWPU_images/airport/1.jpg", "NWPU-Captions"),
        ("RSICD_images/00001.jpg", "RSICD"),
        ("rstimd_caption/1.tif", "RSITMD"),
        ("syndney_caption/1.tif", "Sydney-Captions"),
        ("UCM_images/1.tif", "UCM-Captions"),
        ("RSVQA_LR/Images_LR/1.tif", "RSVQA-LR"),
        ("rsvqa_high/1.tif", "RSVQA-HR"),
        ("FloodNet-Supervised/1.jpg", "FloodNet"),
        ("RSIVQA/Sydney/1.tif", "RSIVQA"),
        ("RSVG/DIOR_RSVG/images/1.jpg", "DIOR-RSVG"),
        ("RSVQA/1.tif", None),
        ("images/1.jpg", None),
        ("DIOR/1.jpg", None),
    ],
)
def test_source_of(name, source):
    """Each of the ten components is known by the spellings that occur; anything else is not guessed."""
    assert source_of(name) == source


def test_derivatives():
    """Files that others made are known by their names or by images that only other datasets have."""
    assert "MMRS-1M" in derivative_of("x/RS-GPT4V_EarthGPT.json").origin
    assert derivative_of("PreGRES_train.json").refused
    lisat = derivative_of("dataset/vqa_caption/RSICD.jsonl")
    assert lisat is not None
    assert not lisat.refused
    assert derivative_of("train.json") is None
    assert foreign_image("data/detection/HIT-UAV/1.jpg").refused
    assert foreign_image("DIOR-RSVG/1.jpg") is None
    assert foreign_image("RSVQA_LR/1.tif") is None


BOX = "[0.1, 0.2, 0.3, 0.4]"
LONG = "It shows a piece of ground on which several cars are parked in two rows."


@pytest.mark.parametrize(
    ("record", "task"),
    [
        (conversation("Where is it?", BOX), "grounding"),
        (conversation(f"What is at {BOX}?", "A car."), "region_captioning"),
        (conversation(f"What is at {BOX}?", f"A car at {BOX}"), "grounding"),
        (conversation("Provide a one-sentence caption in details.", LONG), "captioning"),
        (conversation("Describe the image in detail.", LONG), "detailed_description"),
        (conversation("Describe this image.", LONG), "captioning"),
        (conversation("Is it rural?", "rural", "How many roads?", "2"), "vqa"),
        (conversation("What is it about?", LONG, "And then?", LONG), "conversation"),
        (conversation("Why is it so?", LONG), "reasoning"),
        (conversation("Why [1] is it so?", "Because of [2, 3]."), "vqa"),
    ],
)
def test_classify_by_record(record, task):
    """A record of a file whose name tells nothing is classified by what it is."""
    split, found, _ = rules_for("all.json").classify(record)
    assert (split, found) == ("train", task)


@pytest.mark.parametrize(
    ("category", "task"),
    [
        ("presence", "vqa"),
        ("conv", "conversation"),
        ("detail", "detailed_description"),
        ("complex", "reasoning"),
    ],
)
def test_classify_by_category(category, task):
    """The category of an evaluation record decides before its wording does."""
    record = {"question_id": 1, "image": "a.jpg", "text": "So?", "answer": LONG, "category": category}
    assert rules_for("all.jsonl").classify(record)[:2] == ("test", task)


def test_classify_by_file_name():
    """A file name that tells its task and split decides for all records; a record's own split goes before it."""
    rules = rules_for("test/captions.json")
    assert rules.classify(conversation("Where?", BOX))[:2] == ("test", "captioning")
    assert rules.classify(conversation("Where?", BOX, split="train"))[:2] == ("train", "captioning")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"image_path": "a.jpg", "description": "A road."},
        {"question_id": 0, "round_id": 0, "prompt": "How many?", "text": "3", "metadata": {}},
        {"conversations": "none"},
        {"conversations": [None, 3, {"from": "human"}]},
        {"text": "a", "answer": 3},
    ],
)
def test_classify_other_forms(record):
    """Anything but the two forms is no record of this dataset, and looking at it does not fail."""
    assert rules_for("all.json").classify(record) is None
