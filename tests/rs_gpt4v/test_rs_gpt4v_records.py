from __future__ import annotations

import json

import pytest

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.boxes import Frame
from irtd_datasets.errors import UnsafePathError
from irtd_datasets.rows.llava import TextFrame, read_record, record_key
from irtd_datasets.rs_gpt4v.records import reading_of

SQUARE = TextFrame(Frame.SQUARE_UNIT)


def parsed(task="grounding", frame=SQUARE, *, derivative=False, where="train.json"):
    return reading_of(where, "rs_gpt4v/train/train", task, frame, derivative=derivative)


def conversation(*turns, **more):
    roles = ("human", "gpt")
    return {
        "id": "7",
        "image": "DIOR-RSVG/1.jpg",
        "conversations": [{"from": roles[i % 2], "value": text} for i, text in enumerate(turns)],
        **more,
    }


def test_conversation():
    """A conversation becomes messages without the image token, with id, source and image."""
    pending = read_record(conversation("<image>\nWhat?", "A.", "And?", "B."), 3, parsed("conversation"))
    assert pending.id == "rs_gpt4v/train/train/7"
    assert (pending.image, pending.source, pending.modality) == ("DIOR-RSVG/1.jpg", "DIOR-RSVG", "optical")
    assert [message["content"] for message in pending.messages] == ["What?", "A.", "And?", "B."]
    assert (pending.question, pending.answer) == (None, None)


@pytest.mark.parametrize("value", ["<image>\nWhat?", "What?\n<image>", "What?"])
def test_image_token_anywhere(value):
    """The image token may stand at the start, at the end, or nowhere."""
    assert read_record(conversation(value, "A."), 0, parsed("vqa")).messages[0]["content"] == "What?"


def test_missing_id():
    """A record without an id is named by its number in the file."""
    record = conversation("What?", "A.")
    del record["id"]
    assert read_record(record, 12, parsed()).id == "rs_gpt4v/train/train/12"


def test_image_in_list():
    """A list of one image is that image; of two, it is refused."""
    assert read_record(conversation("What?", "A.", image=["a.jpg"]), 0, parsed()).image == "a.jpg"
    with pytest.raises(RecordError, match="2 images, expected 1"):
        read_record(conversation("What?", "A.", image=["a.jpg", "b.jpg"]), 0, parsed())


def test_question_with_references():
    """A list of references is kept whole: the first is the answer, all stand in corrections."""
    record = {
        "question_id": 4,
        "image": "1.tif",
        "text": "Caption?",
        "answer": ["one", "two"],
        "category": "presence",
    }
    pending = read_record(record, 0, parsed("captioning", where="test/RSICD.jsonl"))
    assert (pending.question, pending.answer, pending.source) == ("Caption?", "one", "RSICD")
    kept = {one.field: json.loads(one.value) for one in pending.corrections}
    assert kept == {"record.category": "presence", "record.answer": ["one", "two"]}
    assert set(pending.quirks) == {"record-key", "several-references"}


def test_rounds_make_different_ids():
    """Rounds of one question id have ids of their own."""
    record = {"question_id": 4, "round_id": 1, "image": "1.tif", "text": "So?", "answer": "yes"}
    assert record_key(record, 0) == "4/1"
    assert read_record(record, 0, parsed("vqa")).id.endswith("/4/1")


def test_unknown_keys_are_kept():
    """Keys that no column is for, of the record or of a turn, stand in corrections with their values."""
    record = conversation("What?", "A.", meta={"checked": True})
    record["conversations"][1]["score"] = 5
    pending = read_record(record, 0, parsed("vqa"))
    kept = {one.field: json.loads(one.value) for one in pending.corrections}
    assert kept == {"record.meta": {"checked": True}, "record.conversations[1].score": 5}


def test_authors_folder_is_cut_off():
    """A folder of the authors' machine before RS-GPT4V is cut off; any other absolute path is refused."""
    assert (
        read_record(conversation("?", "A", image="/home/x/RS-GPT4V/images/1.jpg"), 0, parsed()).image
        == "images/1.jpg"
    )
    for path in ("/etc/passwd", "../1.jpg", "a/../../1.jpg", "C:\\1.jpg"):
        with pytest.raises(UnsafePathError):
            read_record(conversation("?", "A", image=path), 0, parsed())


def test_grounding_places():
    """The box of an answer becomes a place in the frame of the file, labelled by what the question describes."""
    question = "Provide the box of the region which is described as: the red car."
    pending = read_record(conversation(question, "[0.10, 0.2, 0.305, 0.4]"), 0, parsed())
    (regions,) = pending.regions
    assert (regions.kind, regions.labels) == ("box", ("the red car",))
    assert regions.numbers == ((0.1, 0.2, 0.305, 0.4),)
    assert (regions.frame, regions.decimals, regions.only_square) == (Frame.SQUARE_UNIT, 3, False)
    assert pending.box_frame == "square_unit"


def test_region_places():
    """The box of a question is labelled by the answer that describes it."""
    pending = read_record(
        conversation("Describe [0.1,0.2,0.3,0.4]", "A tiny vehicle."), 0, parsed("region_captioning")
    )
    assert pending.regions[0].labels == ("A tiny vehicle",)


def test_rounds_do_not_double_objects():
    """A box that several rounds repeat is one object."""
    rounds = (
        "Find the ships.",
        "<p>ship</p>[.1,.1,.2,.2;.3,.3,.4,.4]",
        "Again?",
        "<p>ship</p>[0.10,0.10,0.20,0.20]",
    )
    assert len(read_record(conversation(*rounds), 0, parsed()).regions[0].numbers) == 2


def test_kinds_stay_apart():
    """Boxes and oriented boxes of one text become places of two kinds, in the order of the text."""
    text = "<p>a ship</p>[.1,.1,.2,.2] <p>a plane</p>[.3,.3,.4,.3,.4,.4,.3,.4]"
    pending = read_record(conversation("Find all.", text), 0, parsed())
    assert [regions.kind for regions in pending.regions] == ["box", "polygon"]


def test_unknown_frame():
    """Without a frame there are no places, and the row says why."""
    pending = read_record(conversation("Where?", "[0.1,0.2,0.3,0.4]"), 0, parsed(frame=TextFrame(None)))
    assert pending.regions == ()
    assert (pending.box_frame, pending.issues) == ("unknown", ("box-frame-unknown",))


def test_text_without_boxes_has_no_frame():
    """A text that names no place has no frame, whatever the file's is, and brackets of prose are no boxes."""
    pending = read_record(conversation("Where [1]?", "In [2, 3] and [sic]."), 0, parsed())
    assert (pending.box_frame, pending.issues, pending.regions) == (None, (), ())


@pytest.mark.parametrize(
    ("answer", "issue", "regions"),
    [
        ("[0.1.2, 0.2, 0.3, 0.4]", "box-malformed", 0),
        ("[0.1, 0.2, 0.3, 0.4, 0.5]", "box-malformed", 0),
        ("[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]", "box-malformed", 0),
        ("[nan, 0.2, 0.3, 0.4]", "box-malformed", 0),
        ("[0,1, 0,2, 0,3, 0,4]", "box-malformed", 0),
        ("[0.1, 0.2, 0.3, 0.4", "box-malformed", 1),
        ("[0.5, 0.2, 0.5, 0.4]", "box-degenerate", 1),
        ("[0.5, 0.2, 0.4, 0.4]", "box-degenerate", 1),
        ("<p>two ships</p>[0.1,0.2,0.3,0.4]", "box-count-mismatch", 1),
        ("There are <p>two ships</p>.", "box-label-without-box", 0),
        ("[1.0e-1, .5, 3e-1, .75]", None, 1),
    ],
)
def test_odd_boxes(answer, issue, regions):
    """What is wrong with a box is flagged and its text kept; what can be read becomes a place."""
    pending = read_record(conversation("Where?", answer), 0, parsed())
    assert pending.issues == (() if issue is None else (issue,))
    assert sum(len(one.numbers) for one in pending.regions) == regions
    assert pending.messages[1]["content"] == answer


def test_derivative_rows_say_so():
    """Rows of a file that others made carry its issue."""
    assert read_record(conversation("?", "A"), 0, parsed(derivative=True)).issues == ("origin-derivative",)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (conversation("What?"), "turn-odd"),
        (conversation("What?", ""), "empty-answer"),
        ({"id": "0", "image": "a.jpg", "conversations": [{"from": "human", "value": "a"}] * 2}, "turn-order"),
        ({"id": "0", "conversations": [{"from": "human", "value": "a"}]}, "image-count"),
        ({"id": "0", "image": "a.jpg", "label": 3}, "record-form"),
        ({"id": "0", "image_path": "a.jpg", "description": "A road."}, "record-form"),
        ({"question_id": 0, "image": "a.jpg", "text": "a", "answer": []}, "empty-answer"),
        ({"question_id": 0, "image": "a.jpg", "text": "a", "answer": 3}, "text-type"),
    ],
)
def test_refused_records(record, code):
    """A record of another form is refused with the code, the file and the number."""
    with pytest.raises(RecordError, match=r"train\.json record 5") as caught:
        read_record(record, 5, parsed())
    assert caught.value.code == code


def test_image_path_key():
    """An image under `image_path` is found as well."""
    record = conversation("What?", "A.")
    record["image_path"] = record.pop("image")
    assert read_record(record, 0, parsed()).image == "DIOR-RSVG/1.jpg"


def test_repeated_round():
    """A round that an earlier one repeats word for word is kept and flagged."""
    pending = read_record(conversation("How many?", "3", "How many?", "3"), 0, parsed("vqa"))
    assert pending.issues == ("duplicate-round",)
    assert len(pending.messages) == 4
