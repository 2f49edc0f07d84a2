"""Answers of a model for question-answer pairs and descriptions: which are taken, and why others are not."""

import json

import pytest

from irtd_datasets.captioning.asking import Judged
from irtd_datasets.captioning.dialogues import TalkJob, parse_rounds, talk_job
from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.captioning.journal import Answer
from irtd_datasets.captioning.labels import KnownLabels, KnownObject
from irtd_datasets.captioning.prompts import TalkPrompts
from irtd_datasets.captioning.run import CaptionOptions

KNOWN = KnownLabels(
    (KnownObject("person", 0.1, (0.05, 0.2, 0.15, 0.6)), KnownObject("car", 0.7), KnownObject("car", 0.8)),
    frozenset({"person", "car", "bus"}),
    {"person": "people", "bus": "buses"},
)
TALK = "Question: What is there?\nAnswer: A person and two cars.\nQuestion: Is a bus there?\nAnswer: No."
REASON = "Question: Why might a driver be careful?\nAnswer: The person is close to the road and could step onto it."
DETAIL = (
    "The image shows a road with a person and two cars. The person is warm against a cooler ground, and the cars stand "
    "close by, with buildings far behind all of them."
)
GOOD = {"conversation": TALK, "reasoning": REASON, "detailed_description": DETAIL}


def questions(of="infrared", regions=()):
    """The questions about an image, by name, each answer accepted."""
    job = TalkJob("x", bytes, KNOWN, ["The image contains 2 cars and 1 person."], of, regions)
    plan = talk_job(job, Endpoint("m"), CaptionOptions(), TalkPrompts()).plan()
    found, question = {}, next(plan)
    while question is not None:
        found[question.name] = question
        try:
            question = plan.send(Judged((("", f"text of {question.name}"),)))
        except StopIteration:
            question = None
    return found


def judged(name, text, of="infrared", reason="stop"):
    return questions(of)[name].judge(Answer("k", "x", "m", text, reason))


@pytest.mark.parametrize("name", GOOD)
def test_good_answers_are_taken(name):
    """A dialogue gives its rounds, a description its text."""
    found = judged(name, GOOD[name])
    assert found.faults == ()
    assert found.rounds == tuple(parse_rounds(GOOD[name])) or found.rounds == (("", DETAIL),)


@pytest.mark.parametrize(
    ("name", "answer", "fault"),
    [
        ("conversation", "Question: How many cars?\nAnswer: Nine.\nQuestion: a?\nAnswer: b.", "labels-count"),
        (
            "conversation",
            "Question: Is there a person?\nAnswer: No.\nQuestion: a?\nAnswer: b.",
            "labels-absent",
        ),
        ("conversation", "The image shows a car.", "no-dialogue"),
        ("conversation", "Question: What is there?\nAnswer: A car.", "no-dialogue"),
        ("conversation", "Answer: A car.\nQuestion: What is there?", "no-dialogue"),
        ("conversation", '{"Question": "What?", "Answer": "A car."}', "json"),
        ("conversation", "I'm sorry, I can't help with that.", "refusal"),
        ("reasoning", "Question: Why?\nAnswer: Since a bus comes.", "labels-class"),
        (
            "reasoning",
            "Question: \u4e3a\u4ec0\u4e48\uff1f\nAnswer: \u56e0\u4e3a\u6709\u8f66\u3002",
            "not-english",
        ),
        ("reasoning", "Question: Why?\nAnswer: The sky is blue.", "colour"),
        ("reasoning", "Question: Why is the sky blue?\nAnswer: It scatters.", "colour"),
        ("reasoning", f"{REASON}\n{REASON}\n{REASON}", "no-dialogue"),
        ("detailed_description", f"The image shows eleven people. {DETAIL}", "labels-count"),
        (
            "detailed_description",
            f"The person stands on the right side of the image. {DETAIL}",
            "labels-side",
        ),
        ("detailed_description", f"{DETAIL} The grass is green.", "colour"),
        ("detailed_description", "\u56fe\u50cf\u4e2d\u6709\u4e00\u6761\u8def\u3002" * 9, "not-english"),
        ("detailed_description", json.dumps({"caption": DETAIL}), "json"),
        ("detailed_description", f'```json\n[{{"text": "{DETAIL}"}}]\n```', "json"),
        ("detailed_description", "A road.", "too-short"),
        ("detailed_description", f"# Scene\n- {DETAIL}", "markup"),
    ],
)
def test_other_answers_are_refused_with_their_faults(name, answer, fault):
    """Colours, another language, JSON, no dialogue, and what contradicts the labels: each has its code."""
    found = judged(name, answer)
    assert found.rounds == ()
    assert fault in {one.partition(":")[0] for one in found.faults}


def test_an_optical_image_may_have_colours():
    """Colours and light are faults of texts about infrared images only; contradictions always are."""
    assert judged("detailed_description", f"{DETAIL} The grass is green.", "optical").rounds
    assert not judged("detailed_description", f"{DETAIL} A bus is parked there.", "optical").rounds


def test_an_answer_that_was_cut_off_is_no_dialogue_to_keep():
    """The endpoint says that it stopped at its limit: the text is not whole."""
    assert judged("conversation", TALK, reason="length").faults == ("cut-off",)
    assert judged("detailed_description", DETAIL, reason="length").faults == ("cut-off",)


def test_prompts_have_captions_and_boxes_and_later_steps_lean_on_earlier_ones():
    """LLaVA's context: captions, and classes with boxes. With regions: local texts, then the whole, then talk."""
    plain = questions()
    assert list(plain) == ["detailed_description", "conversation", "reasoning"]
    for question in plain.values():
        assert "The image contains 2 cars and 1 person." in question.prompt
        assert "person: [0.050, 0.200, 0.150, 0.600]" in question.prompt
        assert "{" not in question.prompt
    steps = questions("optical", KNOWN.objects[:1])
    assert list(steps) == ["region_captioning 0", "detailed_description", "conversation", "reasoning"]
    assert "person in the box [0.050, 0.200, 0.150, 0.600]" in steps["region_captioning 0"].prompt
    assert "text of region_captioning 0" in steps["detailed_description"].prompt
    for name in ("conversation", "reasoning"):
        assert "A description says: text of detailed_description" in steps[name].prompt
    assert not any("{" in question.prompt for question in steps.values())
