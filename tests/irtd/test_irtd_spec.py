"""The declaration of IR-TD is complete, agrees with its tables, and its parsers read what the release has."""

import re
from typing import get_args, get_type_hints

import pytest

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.images.files import PIXEL_TRANSFORMS
from irtd_datasets.irtd.release import known_image_dirs
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks import PARSERS
from irtd_datasets.releases.resolve import read_layouts
from irtd_datasets.schema import TASKS
from irtd_datasets.spec import IssueSpec, read_table


def test_counts_of_the_subsets():
    """40,200 instructions in eight files, 84,284 captions, and a benchmark of nine tasks that was never released."""
    assert SPEC.subset("instruct").records == 40_200
    assert SPEC.subset("pretrain").records == 84_284
    assert SPEC.subset("benchmark").records is None
    assert [len(SPEC.subset(name).parts) for name in ("pretrain", "instruct", "benchmark")] == [3, 12, 9]
    assert SPEC.version in SPEC.release_notes


def test_every_part_can_be_read_and_named():
    """Each part has a task of the vocabulary, a parser and a config of its own name."""
    names = {config.name for config in SPEC.configs}
    for member in SPEC.members:
        assert member.part.task in TASKS
        assert member.part.task in PARSERS
        assert SPEC.smallest_config(member).members == (member,)
        assert SPEC.smallest_config(member).name in names
    assert len(names) == len(SPEC.configs) == 3 + 12 + 12


@pytest.mark.parametrize("issue", SPEC.issues, ids=lambda issue: issue.code)
def test_an_issue_is_complete(issue):
    """Each known defect has a file of the release, a known scope and kind, a meaning and its evidence."""
    hints = get_type_hints(IssueSpec)
    assert issue.scope in get_args(hints["scope"])
    assert issue.kind in get_args(hints["kind"])
    assert issue.file in {"", *(member.part.file for member in SPEC.members)}
    assert issue.meaning.endswith(".")
    assert issue.evidence
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", issue.code)
    if issue.count is not None:
        assert 0 < issue.count <= next(m.part.records for m in SPEC.members if m.part.file == issue.file)


def test_codes_are_unique():
    """A code means one thing."""
    codes = [issue.code for issue in SPEC.issues]
    assert len(set(codes)) == len(codes)


def test_every_folder_of_the_records_has_a_layout():
    """The table of layouts has each folder that records name, with transforms that exist and rules that compile."""
    layouts = read_layouts("irtd_datasets.irtd")
    assert set(layouts) == set(known_image_dirs())
    for released, layout in layouts.items():
        assert layout.projects[0] == released.partition("/")[0]
        assert layout.inner_dirs[0] == released.partition("/")[2]
        assert layout.transform in {"", *PIXEL_TRANSFORMS}
        assert layout.when in ("always", "renamed", "")
        assert bool(layout.transform) == bool(layout.when)
        re.compile(layout.rename_from)


def test_corrections_are_of_the_counted_records():
    """The table has one row for each of the 211 records that the issue table counts."""
    rows = read_table("irtd_datasets.irtd", "corrections.csv")
    assert len({row["id"] for row in rows}) == len(rows) == SPEC.issue("label-reference-object").count
    for row in rows:
        assert 0 <= int(row["target_x"]) <= 1000
        assert 0 <= int(row["target_y"]) <= 1000


def test_ambiguous_phrases_are_of_the_counted_records():
    """The table has one row for each of the 282 records that the issue table counts, each with two objects or more."""
    rows = read_table("irtd_datasets.irtd", "ambiguous.csv")
    assert len({row["id"] for row in rows}) == len(rows) == SPEC.issue("phrase-ambiguous").count
    for row in rows:
        assert 2 <= int(row["objects"]) <= 5


GROUNDING = "The target bounding box is <box>[[{}]]</box>."
READINGS = {
    "the object on the right is asked for": (
        "grounding",
        "Detect the bounding box of the car located to the right of the person.",
        GROUNDING.format("1, 2, 30, 40"),
        {"label": ("car",), "issues": (), "corrections": ()},
    ),
    "a box beyond the frame": (
        "grounding",
        "Detect the bounding box of the car located at the center of the image.",
        GROUNDING.format("0, 145, 641, 401"),
        {"issues": ("box-outside-image",), "corrections": ("[[0, 145, 640, 401]]",), "label": ("car",)},
    ),
    "a box without area": (
        "grounding",
        "Detect the bounding box of the nearest bike located at the top left.",
        GROUNDING.format("30, 20, 30, 40"),
        {"issues": ("box-degenerate",), "label": ("bike",)},
    ),
    "a point beyond the thousand": (
        "location",
        "Locate all car from left to right.",
        "<ref>car</ref> at <pos>[(10, 520), (1001, 3)]</pos>",
        {"issues": ("point-outside-image",), "label": ("car", "car"), "quirks": ()},
    ),
    "a right ordinal": (
        "relationship",
        "Is there a car near to the the 11th person from left to right?",
        "yes",
        {"issues": (), "quirks": ("text-double-the",)},
    ),
    "a wrong ordinal": (
        "relationship",
        "Is there an animal far from the 101th car from left to right?",
        "no",
        {
            "question": "Is there an animal far from the 101st car from left to right?",
            "issues": ("text-ordinal",),
        },
    ),
    "options of two words": (
        "security",
        "What object does not appear in the picture?\n(A) other vehicle (B) car (C) dog (D) bus",
        "(A) other vehicle (C) dog (D) bus",
        {"choices": ("other vehicle", "car", "dog", "bus"), "issues": (), "quirks": ("absence-unverified",)},
    ),
    "an absent class that is labelled": (
        "security",
        "What object does not appear in the picture?\n(A) bike (B) car",
        "(A) bike",
        {"issues": (), "quirks": ()},
    ),
    "a count": ("aerial_counting", "Count.", "<num>0</num>", {"answer": "0", "quirks": ("source-misfiled",)}),
}


@pytest.mark.parametrize("case", READINGS)
def test_readings(case):
    """What a task's parser makes of wordings and slips that the release has."""
    task, question, answer, expected = READINGS[case]
    parsed = PARSERS[task](question, answer)
    found = {
        "question": parsed.question,
        "answer": parsed.answer,
        "choices": parsed.choices,
        "issues": parsed.issues,
        "quirks": parsed.quirks,
        "corrections": tuple(item.value for item in parsed.corrections),
        "label": tuple(label for regions in parsed.regions for label in regions.labels),
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("task", "question", "answer"),
    [
        ("recognition", "What is it?\n(A) cat (B) dog", "(C) fox"),
        ("recognition", "What is it?\n(A) cat (B) dog", "(A) dog"),
        ("recognition", "What is it?\n(A) cat (C) dog", "(A) cat"),
        ("recognition", "What is it?", "(A) cat"),
        ("security", "What?\n(A) cat (B) dog", ""),
        ("security", "What?\n(A) cat (B) dog", "(C) fox"),
        ("reid", "Which person?", "1"),
        ("reid", "Which person?", "nine"),
        ("relationship", "Is there a car above the first car from left to right?", "yes"),
        ("relationship", "Is there a car behind the first car from left to right?", "perhaps"),
        ("pedestrian_counting", "Count.", "77"),
        ("pedestrian_counting", "Count.", "<num>-1</num>"),
        ("grounding", "Detect the bounding box of the car.", "[1, 2, 3, 4]"),
        ("location", "Locate all car from left to right.", "<ref>car</ref> at <pos>[]</pos>"),
    ],
)
def test_what_does_not_follow_the_template_is_refused(task, question, answer):
    """A text that no released record has the form of is an error with the text and what was expected."""
    with pytest.raises(RecordError, match="expected") as caught:
        PARSERS[task](question, answer)
    assert caught.value.code in {"question-template", "answer-template"}
