"""Records to drafts: no file is needed."""

from __future__ import annotations

import pytest
from mmrs_helpers import record

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.boxes import Frame
from irtd_datasets.mmrs_1m.records import Round, asked_task, place_task, read_record, read_rounds
from irtd_datasets.mmrs_1m.spec import component

ALL = "Detect all objects shown in the remote sensing image and describe using horizontal bounding boxes."


def pending(part, *texts, **changes):
    values = {**record("data/x.jpg", *texts), **changes}
    return read_record(component(part), values, ("json/x.json", 7), "x.jpg", "mmrs_1m/x/7")


def labelled(regions):
    return [
        (label, numbers) for one in regions for label, numbers in zip(one.labels, one.numbers, strict=True)
    ]


def test_classification():
    """A single round gives question, categories and answer, without the instructions."""
    row = pending(
        "eurosat",
        "What is the category of this remote sensing image? Answer the question using a single word or phrase. "
        "Reference categories include Forest, Sea Lake,River, and Highway.",
        "River",
    )
    assert row.question == "What is the category of this remote sensing image?"
    assert row.choices == ("Forest", "Sea Lake", "River", "Highway")
    assert (row.answer, row.rounds, row.source) == ("River", 1, "EuroSAT")
    assert "Reference categories" in row.messages[0]["content"]


def test_vqa_of_many_rounds():
    """Several rounds have no single answer; their texts stay as released."""
    question = "Is there a road? Answering the question using a single word or phrase."
    one = pending("rsvqa_lr", question, "yes")
    assert (one.question, one.answer) == ("Is there a road?", "yes")
    many = pending("rsvqa_lr", question, "yes", "How many?", "0")
    assert (many.question, many.answer, many.rounds) == (None, None, 2)
    assert [turn["content"] for turn in many.messages] == [question, "yes", "How many?", "0"]


def test_detection_does_not_double():
    """The round for all classes and the rounds per class give each object once, with its canonical class."""
    row = pending(
        "dota",
        ALL,
        "There are <p>two large vehicles</p>[0.10,0.20,0.30,0.40;0.50,0.60,0.70,0.80] <p>one ship</p>[0.1,0.1,0.2,0.2]",
        "Detect all large vehicles shown in the image and describe using horizontal bounding boxes.",
        "There are two large vehicles[0.10,0.20,0.30,0.40;0.50,0.60,0.70,0.80] in the image.",
        "Detect all ships shown in the image and describe using horizontal bounding boxes.",
        "[.1, .1, .2, 0.20]",
    )
    assert labelled(row.regions) == [
        ("large vehicle", (0.1, 0.2, 0.3, 0.4)),
        ("large vehicle", (0.5, 0.6, 0.7, 0.8)),
        ("ship", (0.1, 0.1, 0.2, 0.2)),
    ]
    assert row.issues == ()
    assert {one.frame for one in row.regions} == {Frame.SQUARE_UNIT}


def test_only_class_rounds():
    """Without the round for all classes, the class rounds alone give the objects, named after the question."""
    row = pending(
        "dior", "Detect all golf fields shown in the image and describe using ...", "[0.1,0.1,0.2,0.2]"
    )
    assert labelled(row.regions) == [("golf field", (0.1, 0.1, 0.2, 0.2))]


def test_oriented_and_horizontal_in_one_record():
    """Groups of 4 and of 8 numbers stand side by side, in their order."""
    row = pending(
        "dota",
        ALL,
        "There are <p>a ship</p>[.1,.1,.2,.2] <p>a plane</p>[.1,.2,.3,.2,.3,.4,.1,.4] <p>a car</p>[.5,.5,.6,.6]",
    )
    assert [(one.kind, one.labels) for one in row.regions] == [
        ("box", ("ship",)),
        ("polygon", ("plane",)),
        ("box", ("car",)),
    ]


@pytest.mark.parametrize(
    ("answer", "issue", "objects"),
    [
        ("There is <p>one ship</p>[0.1,0.1,0.2]", "box-malformed", 0),
        ("There is <p>one ship</p>[0.1,0.1,0.2,0.2,0.3]", "box-malformed", 0),
        ("There is <p>one ship</p>[0,1, 0,1, 0,2, 0,2]", "box-malformed", 0),
        ("There is <p>one ship</p>[0.1,nan,0.2,0.2]", "box-malformed", 0),
        ("There is <p>one ship</p>[0.1,0.1,0.2,0.2", "box-malformed", 1),
        ("There is <p>one ship</p>[0.1,0.1,0.1,0.2]", "box-degenerate", 1),
        ("There is <p>one ship</p>[0.2,0.1,0.1,0.2]", "box-degenerate", 1),
        ("There are <p>two ships</p>[0.1,0.1,0.2,0.2]", "box-count-mismatch", 1),
        ("There are <p>two ships</p> somewhere.", "box-label-without-box", 0),
        ("I cannot tell.", "box-missing", 0),
    ],
)
def test_boxes_that_are_wrong(answer, issue, objects):
    """What is wrong with a box is a code of the row; boxes that can be read stay."""
    row = pending("ssdd", ALL, answer)
    assert issue in row.issues
    assert len(labelled(row.regions)) == objects


@pytest.mark.parametrize("answer", ["There are no ships in the image.", "There are 0 objects."])
def test_nothing_there(answer):
    """An answer that says that there is nothing is no defect."""
    assert pending("ssdd", ALL, answer).issues == ()


def test_numbers_in_odd_notation():
    """Exponents and numbers without a leading zero are numbers."""
    row = pending("ssdd", ALL, "There is <p>one ship</p>[1.0e-1,.5,2e-1,6.E-1]")
    assert labelled(row.regions) == [("ship", (0.1, 0.5, 0.2, 0.6))]


def test_grounding_and_region_captions():
    """The box of a phrase is in the answer, of a region caption in the question; the phrase is the label."""
    question = "Please provide the coordinate of the region which is described as:The tiny vehicle"
    row = pending("dior_rsvg_grounding", question, "[0.10,0.20,0.30,0.40]")
    assert labelled(row.regions) == [("The tiny vehicle", (0.1, 0.2, 0.3, 0.4))]
    assert row.answer == "[0.1, 0.2, 0.3, 0.4]"
    question = "Please provide a short description for this region in this remote sensing image :[0.10,0.20,0.30,0.40]"
    row = pending("dior_rsvg_region_captioning", question, "The tiny vehicle")
    assert labelled(row.regions) == [("The tiny vehicle", (0.1, 0.2, 0.3, 0.4))]


def test_form_of_a_round():
    """A round's form tells its task also where its box cannot be read."""
    assert (
        place_task("... short description for this region in this image :[0.1;0.2]", "A car")
        == "region_captioning"
    )
    assert (
        place_task("... bounding box coordinate of the region which is described as:A car", "none")
        == "grounding"
    )
    assert place_task("Is there a road?", "yes") == ""
    assert (
        asked_task("Please provide a one-sentence caption for the provided RS image in detail.")
        == "captioning"
    )


def turns_of(letters):
    """Q and A are a question and an answer, q and a empty ones."""
    return [
        {"from": "human" if letter in "Qq" else "gpt", "value": f"text {number}" if letter.isupper() else " "}
        for number, letter in enumerate(letters)
    ]


@pytest.mark.parametrize(
    ("letters", "kept", "issues"),
    [
        ("QAQAQ", [0, 1, 2, 3], ("turn-odd",)),
        ("QAQQA", [0, 1, 3, 4], ("turn-order",)),
        ("QAAQA", [0, 1, 3, 4], ("turn-order",)),
        ("AQA", [1, 2], ("turn-order",)),
        ("AQAQ", [1, 2], ("turn-order", "turn-odd")),
        ("QAQa", [0, 1], ("empty-answer",)),
        ("QAqA", [0, 1], ("empty-question",)),
        ("QaQAqA", [2, 3], ("empty-answer", "empty-question")),
    ],
)
def test_broken_rounds_are_left_out(letters, kept, issues):
    """The sound rounds of a record stay, and the row says what was left out."""
    values = {"image": "x.jpg", "conversations": turns_of(letters)}
    row = read_record(component("floodnet"), values, ("x", 0), "x.jpg", "id")
    assert [turn["content"] for turn in row.messages] == [f"text {number}" for number in kept]
    assert (row.rounds, row.issues) == (len(kept) // 2, issues)


@pytest.mark.parametrize(
    ("letters", "code"),
    [
        ("Qa", "empty-answer"),
        ("qA", "empty-question"),
        ("Q", "turn-odd"),
        ("AQ", "turn-order"),
        ("", "turn-count"),
    ],
)
def test_records_without_a_sound_round(letters, code):
    """A record with no sound round is refused with its reason, file and number."""
    values = {"image": "x.jpg", "conversations": turns_of(letters)}
    with pytest.raises(RecordError, match=r"json/x\.json record 7") as caught:
        read_record(component("floodnet"), values, ("json/x.json", 7), "x.jpg", "id")
    assert caught.value.code == code


def test_repeated_round():
    """A record that says something twice keeps it and says so."""
    assert pending("floodnet", "A?", "a", "A?", "a").issues == ("duplicate-round",)
    assert pending("floodnet", "A?", "a", "A?", "b").issues == ()


def test_caveats_and_quirks():
    """What concerns a whole component or the form of a record is counted, not put into the row."""
    assert pending("rsicd", "A?", "a").quirks == ("test-images-included",)
    values = {"image_path": "x.jpg", "conversations": record("", "A?", "a")["conversations"]}
    row = read_record(component("floodnet"), values, ("x", 0), "x.jpg", "id")
    assert row.quirks == ("image-path-key",)
    assert row.issues == ()


def test_image_token():
    """An image token, which MMRS-1M does not use, is cut off and counted."""
    row = pending("floodnet", "<image>\nA?", "a")
    assert row.messages[0]["content"] == "A?"
    assert "image-token" in row.quirks


def test_read_rounds_knows_each_task():
    """Every task of the component table has a reader."""
    for part in ("rsicd", "floodnet", "dscr", "dota", "dior_rsvg_grounding", "dior_rsvg_region_captioning"):
        assert read_rounds(component(part).task, [Round("A?", "a")]) is not None
