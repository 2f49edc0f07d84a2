"""Edits of rows that name places: text and columns change together, or the edit is refused with the reason."""

import re

import pytest

from irtd_datasets.boxes import Frame
from irtd_datasets.images.files import ImageInfo, PreparedImage
from irtd_datasets.irtd.tasks import PARSERS
from irtd_datasets.mmrs_1m.records import Round, read_rounds
from irtd_datasets.review.edits import after_edit, why_not_editable
from irtd_datasets.review.verdicts import find_refusal
from irtd_datasets.rows.llava import FileReading, TextFrame, read_record
from irtd_datasets.rows.pending import PendingRow, finish
from irtd_datasets.schema import BOX_FRAMES

SIZE = (640, 512)
IMAGE = PreparedImage(b"", *SIZE, 8, "L", "", ImageInfo("", "", *SIZE, *SIZE, 1, 8, 1))


def irtd(task, question, answer):
    facts = {
        "id": f"irtd/instruct/{task}/1",
        "image": "a.png",
        "task": task,
        "modality": "infrared",
        "source": "A",
    }
    return finish(PARSERS[task](question, answer).as_row(question, answer, **facts), IMAGE)


def mmrs(task, *talk):
    parsed = read_rounds(task, [Round(*talk[n : n + 2]) for n in range(0, len(talk), 2)])
    messages = tuple(
        {"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(talk)
    )
    values = {name: getattr(parsed, name) for name in ("question", "choices", "answer", "regions", "issues")}
    return finish(PendingRow(f"mmrs_1m/{task}/a/0", "a.png", task, "optical", "A", messages, **values), IMAGE)


def rs(task, *talk):
    turns = [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(talk)]
    reading = FileReading("a.json", "rs_gpt4v/train/a", task, TextFrame(Frame.SQUARE_UNIT))
    return finish(read_record({"image": "a.png", "conversations": turns}, 0, reading), IMAGE)


def edited(row, **changes):
    texts = [one["content"] for one in row["messages"]]
    for name, text in changes.items():
        texts[int(name[1:])] = text
    return texts


CAR = irtd("grounding", "Detect the bounding box of the car located to the left of the person.",
           "The target bounding box is <box>[[300, 100, 400, 200]]</box>.")  # fmt: skip
WHERE = irtd(
    "location", " Locate all car from left to right.", "<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>"
)
SHIPS = mmrs(
    "detection",
    "Detect all objects shown in the remote sensing image and describe using horizontal bounding boxes.",
    "There are <p>two ships</p>[0.10,0.10,0.20,0.20;0.30,0.30,0.40,0.40] <p>one plane</p>[0.50,0.50,0.60,0.60]",
    "Detect all planes shown in the remote sensing image and describe using horizontal bounding boxes.",
    "There is one plane[0.50,0.50,0.60,0.60] in the image.",
)
TALK = rs(
    "conversation",
    "Where is the ship?",
    "At [0.10,0.20,0.30,0.40].",
    "And the plane?",
    "At [0.5,0.5,0.6,0.6].",
)
REGION = mmrs(
    "region_captioning",
    "Describe this region: [0.1,0.2,0.3,0.4]",
    "A ship.",
    "This region: [0.5,0.5,0.7,0.7]",
    "A plane.",
)


def test_an_edited_box_stands_in_every_column():
    """The box of a grounding answer: text, answer and objects agree; what was wrong with the released one is gone."""
    answer = "The target bounding box is <box>[[50, 100, 90, 200]]</box>."
    found = after_edit(CAR, edited(CAR, m1=answer))
    assert found["answer"] == "[50, 100, 90, 200]"
    assert found["objects"] == {
        "label": ["car"],
        "box": [[50.0, 100.0, 90.0, 200.0]],
        "polygon": [],
        "point": [],
    }
    assert CAR["issues"] == ["label-reference-object"]
    assert (found["issues"], found["corrections"]) == ([], [])
    assert after_edit({**CAR, **found, "messages": talk(CAR, m1=answer)}, edited(CAR, m1=answer)) == {}


def talk(row, **changes):
    return [
        {**one, "content": text} for one, text in zip(row["messages"], edited(row, **changes), strict=True)
    ]


def test_edited_points_and_their_number():
    """Points of a location answer: one more, others in their place; in pixels in the objects."""
    found = after_edit(
        WHERE, edited(WHERE, m1="<ref>car</ref> at <pos>[(10, 500), (81, 514), (500, 250)]</pos>")
    )
    assert found["answer"] == "[[10, 500], [81, 514], [500, 250]]"
    assert found["objects"]["point"] == [[6.4, 256.0], [51.84, 263.168], [320.0, 128.0]]
    assert found["objects"]["label"] == ["car"] * 3


def test_rounds_are_read_one_by_one():
    """A round's box is moved, and the objects of the row follow; a row of several scored rounds is no exception."""
    found = after_edit(TALK, edited(TALK, m3="At [0.5,0.5,0.7,0.7]."))
    first, second = found["objects"]["box"]
    assert (first, second) == (TALK["objects"]["box"][0], pytest.approx([320, 256, 448, 384]))
    found = after_edit(REGION, edited(REGION, m3="A red plane.", m2="This region: [0.5,0.5,0.8,0.8]"))
    assert found["objects"]["label"] == ["A ship.", "A red plane."]
    both = "[0.50,0.50,0.70,0.70]"
    told = edited(SHIPS, m1=SHIPS["messages"][1]["content"].replace("[0.50,0.50,0.60,0.60]", both))
    assert "message 4 still has [0.50, 0.50, 0.60, 0.60]" in why_not_editable(SHIPS, told)
    told[3] = f"There is one plane{both} in the image."
    assert len(after_edit(SHIPS, told)["objects"]["box"]) == 3


@pytest.mark.parametrize(
    ("row", "change", "why"),
    [
        (CAR, {"m1": "The box is [[50, 100, 90, 200]]."}, "expected 'The target bounding box is"),
        (CAR, {"m1": "The target bounding box is <box>[[90, 100, 50, 200]]</box>."}, "no area"),
        (CAR, {"m1": "The target bounding box is <box>[[50, 100, 900, 200]]</box>."}, "beyond its image"),
        (CAR, {"m0": "Detect the bounding box of the bus located to the left of the person."}, "mend the box, too"),
        (WHERE, {"m1": "<ref>bus</ref> at <pos>[(10, 520)]</pos>"}, "the class of the question"),
        (WHERE, {"m1": "<ref>car</ref> at <pos>[(81, 514), (10, 520)]</pos>"}, "from left to right"),
        (WHERE, {"m1": "<ref>car</ref> at <pos>[(10, 5200)]</pos>"}, "outside"),
        (SHIPS, {"m1": "There are <p>three ships</p>[0.10,0.10,0.20,0.20]"}, "round 1: The text announces a number"),
        (SHIPS, {"m3": "There is one plane in the image."}, "round 2: A round that should give a place"),
        (TALK, {"m3": "At [0.5,0.5,0.6,0.6,0.7]."}, "round 2: .* cannot be read"),
        (REGION, {"m0": "Describe this region."}, "round 1: A round that should give a place"),
        (rs("captioning", "Describe it.", "A ship."), {"m1": "A ship [0.1,0.1,0.2,0.2]."}, "which frame|their frame"),
        (irtd("captioning", "Describe it.", "A car."), {"m1": "A car at [10, 20, 30, 40]."}, "which frame"),
        (rs("vqa", "Is there a ship?", "Yes"), {"m1": "Perhaps"}, "yes or no"),
        (mmrs("grounding", "Where is what is described as: a ship", "[0.1,0.1,0.2,0.2]"), {"m1": "Nowhere."}, "place"),
    ],
)  # fmt: skip
def test_what_cannot_agree_is_refused(row, change, why):
    """Text that the rules cannot read, or that would be a known defect, is refused by its reason and its round."""
    assert why_not_editable(row) == ""
    found = why_not_editable(row, edited(row, **change))
    assert re.search(why, found), found


def test_a_place_that_is_no_longer_named():
    """A conversation that stops naming places has no objects and no frame."""
    found = after_edit(TALK, edited(TALK, m1="In the harbour.", m3="On the runway."))
    assert (found["objects"]["label"], found["box_frame"]) == ([], None)
    assert BOX_FRAMES[TALK["box_frame"]] == "square_unit"


def test_the_token_of_an_image_is_no_text():
    """A message with the token would have two images in a chat form."""
    assert "<image>" in find_refusal([{}, {}], ["Where is it?", "Here: <image>"])
