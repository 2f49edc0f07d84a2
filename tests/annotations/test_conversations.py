"""Records of conversations, captions and questions: what is accepted, and the code of every problem."""

from __future__ import annotations

import pickle
import re
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.annotations.conversations import (
    MANY_ROUNDS,
    ConversationRules,
    RecordError,
    Turn,
    _any_conversation,
    _plain_round,
    detect_form,
    parse_caption,
    parse_conversation,
    parse_question,
    strip_prefix,
)
from irtd_datasets.errors import UnsafePathError

thorough = settings(deadline=None, database=None, max_examples=200)
texts = st.text(min_size=1).filter(lambda text: text.strip() and "<image>" not in text)


KEYS = [
    *("id", "image", "image_path", "conversations", "messages", "from", "value", "role", "content"),
    *("question_id", "text", "answer", "category", "description"),
]


def human(text="<image>\nHow many cars?"):
    return {"from": "human", "value": text}


def gpt(text="<num>2</num>"):
    return {"from": "gpt", "value": text}


def record(*turns, **fields):
    return {"id": "0", "image": ["a.jpg"], "conversations": list(turns or (human(), gpt())), **fields}


def parsed(given, rules=None):
    return parse_conversation(given, 4, name="ReID.json", **({"rules": rules} if rules else {}))


def problem(given, rules=None):
    with pytest.raises(RecordError) as caught:
        parsed(given, rules)
    error = caught.value
    assert error.where == "ReID.json record 4"
    assert len(error.problem) < 400
    return error


def test_a_record_of_the_release_keeps_its_text():
    """Only the token and its line feed go; the blank that leads a Location question stays."""
    conversation = parsed(record(human("<image>\n Locate all car from left to right."), gpt()))
    assert conversation.turns == (
        Turn("user", " Locate all car from left to right."),
        Turn("assistant", "<num>2</num>"),
    )
    assert (conversation.id, conversation.images, conversation.index) == ("0", ("a.jpg",), 4)
    assert conversation.image_token == "start"
    assert conversation.extra == {}


_odd = st.sampled_from(
    [
        None,
        0,
        1.5,
        True,
        "",
        " ",
        "<image>",
        "<image>\n",
        "a<image>",
        "ä",
        "\ud800",
        "x",
        [],
        ["a.jpg", "b.jpg"],
        {},
    ]
)
_almost = {
    "id": st.just("0") | _odd,
    "image": st.just(["a.jpg"]) | st.lists(_odd, max_size=2) | _odd,
    "conversations": st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "from": st.sampled_from(["human", "gpt", "user", "system", 1]),
                "value": st.sampled_from(["<image>\nHow?", "<image>\n<image>\nHow?", "2", "<image>How?"])
                | _odd,
                "other": st.just(1),
            },
        )
        | st.just(human())
        | st.just(gpt())
        | _odd,
        max_size=3,
    )
    | st.just([human(), gpt()])
    | _odd,
}


@settings(thorough, max_examples=1000)
@given(
    st.fixed_dictionaries({}, optional={**_almost, "extra": st.just(1)}),
    st.sampled_from(
        [ConversationRules(), MANY_ROUNDS, ConversationRules(images=(0, 0)), ConversationRules(turns=(4, 4))]
    ),
)
def test_the_short_way_gives_the_same_conversation(given, rules):
    """A record of the most common form is read in a shorter way, never with another outcome than in the long one."""
    short = _plain_round(given, 4, rules)
    if short is not None:
        assert short == _any_conversation(given, 4, "ReID.json", rules)


def test_a_released_record_takes_the_short_way():
    """The short way knows the form that the releases have."""
    assert _plain_round(record(), 4, ConversationRules()) == parsed(record())


@pytest.mark.parametrize(
    ("text", "expected", "place"),
    [
        ("<image>\nHow?", "How?", "start"),
        ("<image>\r\nHow?", "\r\nHow?", "start"),
        ("<image>How?", "How?", "start"),
        ("<image>\n\nHow?", "\nHow?", "start"),
        ("<image> \nHow?", " \nHow?", "start"),
        ("How?\n<image>", "How?", "end"),
        ("How?<image>", "How?", "end"),
        ("How? \n\n<image>", "How? \n", "end"),
        ("How?\n", "How?\n", "none"),
    ],
)
def test_the_image_token_is_removed_with_one_line_feed(text, expected, place):
    """At the start, at the end or absent, and nothing else of the text changes."""
    conversation = parsed(record(human(text), gpt()))
    assert conversation.turns[0].text == expected
    assert conversation.image_token == place
    question = parse_question({"image": "a.jpg", "text": text, "answer": "2"}, 0, name="x")
    assert (question.text, question.image_token) == (expected, place)


@thorough
@given(text=texts, answer=texts)
def test_any_text_survives_with_the_token_at_either_end(text, answer):
    """What joins a token and a text is undone exactly, and answers are never touched."""
    for joined, place in ((f"<image>\n{text}", "start"), (f"{text}\n<image>", "end")):
        conversation = parsed(record(human(joined), gpt(answer)))
        assert [turn.text for turn in conversation.turns] == [text, answer]
        assert conversation.image_token == place


def test_several_images_may_have_a_token_each():
    """All tokens stand at one end, and there are no more of them than images."""
    rules = ConversationRules(images=(1, 3))
    two = ["a.jpg", "b.jpg"]
    assert (
        parsed(record(human("<image>\n<image>\nCompare."), gpt(), image=two), rules).turns[0].text
        == "Compare."
    )
    assert parsed(record(human("Compare.\n<image><image>"), gpt(), image=two), rules).image_token == "end"
    assert parsed(record(human("<image>\nCompare."), gpt(), image=two), rules).images == ("a.jpg", "b.jpg")
    assert (
        problem(record(human("<image><image><image>Compare."), gpt(), image=two), rules).code == "image-token"
    )


@pytest.mark.parametrize(
    "text", ["Look <image> here", " <image>\nHow?", "<image>\nHow?\n<image>", "<image><image>How?"]
)
def test_a_token_elsewhere_is_refused(text):
    """A token in the middle, or a second one, would leave a text that nobody meant."""
    assert problem(record(human(text), gpt())).code == "image-token"


def test_a_token_in_a_later_turn_is_refused():
    """The image belongs to the first question."""
    assert problem(record(human(), gpt("<image>"))).code == "image-token"
    assert problem(record(human(), gpt(), human("<image>\nAnd?"), gpt()), MANY_ROUNDS).code == "image-token"


@pytest.mark.parametrize("key", ["image", "image_path", "images"])
@pytest.mark.parametrize("value", ["a.jpg", ["a.jpg"]])
def test_the_image_is_found_under_each_name(key, value):
    """A text or a list of one, under any of the names in use."""
    given = record()
    del given["image"]
    assert parsed({**given, key: value}).images == ("a.jpg",)


@pytest.mark.parametrize(
    ("value", "expected"), [("7", "7"), (7, "7"), (0, "0"), (None, None), ("", None), (-1, "-1")]
)
def test_an_id_becomes_text(value, expected):
    """Whole numbers and texts are ids; nothing is one, too."""
    assert parsed(record(id=value)).id == expected


def test_a_missing_id_is_none():
    """MMRS-1M has no ids."""
    given = record()
    del given["id"]
    assert parsed(given).id is None


def test_messages_with_roles_are_read_alike():
    """The notation of chat templates gives the same conversation, with a system turn if rules allow it."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>\nHow many?"},
        {"role": "assistant", "content": "2"},
    ]
    conversation = parsed({"image": "a.jpg", "messages": messages}, MANY_ROUNDS)
    assert conversation.turns == (
        Turn("system", "Be brief."),
        Turn("user", "How many?"),
        Turn("assistant", "2"),
    )
    assert conversation.image_token == "start"
    assert problem({"image": "a.jpg", "messages": messages}).code == "turn-count"


def test_many_rounds_stay_in_order():
    """A record of MMRS-1M has as many rounds as it likes, and no token."""
    turns = [turn for n in range(50) for turn in (human(f"What is {n}?"), gpt(f"It is {n}."))]
    conversation = parsed(record(*turns), MANY_ROUNDS)
    assert [turn.text for turn in conversation.turns] == [turn["value"] for turn in turns]
    assert [turn.role for turn in conversation.turns] == ["user", "assistant"] * 50


def test_unknown_keys_are_kept():
    """What this form does not know is neither lost nor mixed with what it knows, in turns as well."""
    given = record({**human(), "weight": 0}, gpt(), source="FLIR", width=640)
    assert parsed(given).extra == {"source": "FLIR", "width": 640, "conversations[0].weight": 0}


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (record(image=[]), "image-count", "0 images, expected 1"),
        (record(image=None), "image-count", "0 images"),
        (record(image=""), "image-count", "0 images"),
        (record(image=["a.jpg", "b.jpg"]), "image-count", "2 images, expected 1"),
        (record(image=[""]), "image-type", "holds ''"),
        (record(image=[1]), "image-type", "'image' holds 1"),
        (record(image={"path": "a"}), "image-type", "object of 1"),
        (record(image="\ud800.jpg"), "text-surrogate", "surrogate"),
        (record(image_path="b.jpg"), "key-conflict", "'image', 'image_path'"),
        (record(messages=[]), "key-conflict", "'conversations', 'messages'"),
        (record(id=1.5), "id-type", "1.5"),
        (record(id=True), "id-type", "True"),
        (record(id=float("nan")), "id-type", "nan"),
        (record(id=["0"]), "id-type", "list of 1"),
        (record(id="\udfff"), "text-surrogate", "character 0"),
        ({"image": "a.jpg", "caption": "x"}, "record-form", "keys 'image', 'caption', expected one of"),
        ({"image": "a.jpg"}, "record-form", "'conversations', 'messages'"),
        (record(conversations="hello"), "turn-type", "'hello', expected a list of turns"),
        (record(conversations=None), "turn-type", "None"),
        (record(conversations=[]), "turn-count", "0 turns, expected 2"),
        (record("hello", gpt()), "turn-type", "conversations[0] is 'hello'"),
        (record({"from": "human"}, gpt()), "turn-type", "'from'"),
        (record({"value": "x"}, gpt()), "turn-type", "'value'"),
        (record({}, gpt()), "turn-type", "has the keys (none)"),
        (record({"from": "human", "content": "x"}, gpt()), "turn-type", "'content'"),
        (
            record({"from": "narrator", "value": "x"}, gpt()),
            "unknown-role",
            "'narrator', expected one of 'human'",
        ),
        (record({"from": ["human"], "value": "x"}, gpt()), "unknown-role", "list of 1"),
        (record({"from": None, "value": "x"}, gpt()), "unknown-role", "None"),
        (record(human(5), gpt()), "text-type", "'value' of conversations[0] is 5, expected a text"),
        (record(human(), gpt(None)), "text-type", "conversations[1] is None"),
        (record(human(), gpt(["2"])), "text-type", "list of 1"),
        (record(human(), gpt("\ud83d")), "text-surrogate", "conversations[1]"),
        (record(human(), gpt("")), "empty-answer", "conversations[1]"),
        (record(human(), gpt(" \n")), "empty-answer", "conversations[1]"),
        (record(human(""), gpt()), "empty-question", "conversations[0]"),
        (record(human("<image>\n"), gpt()), "empty-question", "conversations[0]"),
        (record(human()), "turn-odd", "1 turns"),
        (record(human(), gpt(), human()), "turn-odd", "3 turns"),
        (record(human(), human(), gpt()), "turn-order", "turn 1 is of the user after one of the user"),
        (record(human(), human()), "turn-order", "expected one of the assistant"),
        (record(human(), gpt(), gpt()), "turn-order", "turn 2 is of the assistant"),
        (record(gpt(), human()), "turn-order", "turn 0 is of the assistant at the start"),
        (record(human(), gpt(), human("x"), gpt()), "turn-count", "4 turns, expected 2"),
        (
            record({"from": "system", "value": "x"}, human(), gpt()),
            "turn-count",
            "1 system turns, expected 0",
        ),
    ],
)
def test_each_problem_has_its_code_and_names_the_place(given, code, words):
    """A ledger counts by code; a person reads what was found and what was expected."""
    error = problem(given)
    assert error.code == code
    assert words in error.problem


def test_problems_of_many_rounds():
    """Without a bound on the turns their order, number and texts are still checked."""
    assert problem(record(human(), gpt(), human("x"), human("y")), MANY_ROUNDS).code == "turn-order"
    assert problem(record(human(), gpt(), human("x")), MANY_ROUNDS).code == "turn-odd"
    assert problem(record(human(), gpt(), human(" "), gpt()), MANY_ROUNDS).code == "empty-question"
    system = {"from": "system", "value": "Be brief."}
    assert problem(record(human(), system, gpt()), MANY_ROUNDS).code == "turn-order"
    assert problem(record(system, system, human(), gpt()), MANY_ROUNDS).code == "turn-count"
    empty = {"from": "system", "value": ""}
    assert problem(record(empty, human(), gpt()), MANY_ROUNDS).code == "empty-question"
    assert problem(record(system), MANY_ROUNDS).problem == "0 turns, expected 2 or more"


def test_rules_are_bounds_at_both_ends():
    """Text without an image and system turns alone pass where the rules say so."""
    rules = ConversationRules(images=(0, 2), turns=(0, 4), system=(0, 1))
    assert parsed(record(human("Hello?"), gpt(), image=None), rules).images == ()
    assert parsed(record({"from": "system", "value": "x"}), rules).turns == (Turn("system", "x"),)
    assert problem(record(image=["a", "b", "c"]), rules).problem == "3 images, expected 0 to 2"
    assert problem(record(human("<image>\nHello?"), gpt(), image=[]), rules).code == "image-token"


PARSERS = [
    parse_conversation,
    partial(parse_conversation, rules=ConversationRules(images=(0, None), turns=(0, None))),
    parse_caption,
    parse_question,
    detect_form,
]


@thorough
@given(
    given=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS), inner | st.sampled_from(["human", "gpt", "user"]), max_size=4
            )
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_no_object_causes_another_exception(given):
    """Any JSON object is parsed or refused with a code; nothing else can happen."""
    for parse in PARSERS:
        code = ""
        try:
            parse(given, 0, name="x.json")
        except RecordError as error:
            code = error.code
        assert not code or code.islower()


def test_a_caption_is_no_conversation():
    """The caption form has its own parser, and keeps its text and other keys."""
    given = {"image_path": "IR/1.png", "description": " The image shows a road.\n", "scene": "road"}
    caption = parse_caption(given, 3, name="new_relative.json")
    assert (caption.image, caption.text) == ("IR/1.png", " The image shows a road.\n")
    assert (caption.id, caption.index, caption.extra) == (None, 3, {"scene": "road"})


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"image_path": "a.png"}, "record-form"),
        ({"description": "x"}, "image-count"),
        ({"image_path": "a.png", "description": ""}, "empty-answer"),
        ({"image_path": "a.png", "description": ["x"]}, "text-type"),
        ({"image_path": ["a.png", "b.png"], "description": "x"}, "image-count"),
    ],
)
def test_problems_of_captions(given, code):
    """Captions use the same codes."""
    with pytest.raises(RecordError) as caught:
        parse_caption(given, 0, name="new_relative.json")
    assert caught.value.code == code


def test_a_question_has_a_list_of_answers():
    """One answer or several references, always a tuple."""
    given = {"question_id": 5, "image": "1.tif", "text": "Is it rural?", "answer": ["yes", "rural"]}
    question = parse_question({**given, "category": "presence", "round_id": 2}, 1, name="x.jsonl")
    assert (question.id, question.answers, question.category) == ("5", ("yes", "rural"), "presence")
    assert (question.index, question.image_token, question.extra) == (1, "none", {"round_id": 2})
    assert parse_question({**given, "answer": "yes"}, 0, name="x").answers == ("yes",)
    assert parse_question({**given, "answer": "yes"}, 0, name="x").category is None


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"answer": []}, "empty-answer"),
        ({"answer": ["yes", " "]}, "empty-answer"),
        ({"answer": 3}, "text-type"),
        ({"answer": [3]}, "text-type"),
        ({"text": ""}, "empty-question"),
        ({"text": None}, "text-type"),
        ({"image": []}, "image-count"),
        ({"category": 1}, "text-type"),
        ({"question_id": [1]}, "id-type"),
    ],
)
def test_problems_of_questions(changed, code):
    """Questions use the same codes."""
    given = {"question_id": 5, "image": "1.tif", "text": "Is it rural?", "answer": "yes", **changed}
    with pytest.raises(RecordError) as caught:
        parse_question(given, 0, name="x.jsonl")
    assert caught.value.code == code


@pytest.mark.parametrize("missing", ["text", "answer"])
def test_a_question_without_its_keys_is_refused(missing):
    """The message shows the keys found and the one expected."""
    given = {"question_id": 5, "image": "1.tif", "text": "Is it rural?", "answer": "yes"}
    del given[missing]
    with pytest.raises(RecordError, match=f"'question_id', 'image', .*expected '{missing}'"):
        parse_question(given, 0, name="x.jsonl")


@pytest.mark.parametrize(
    ("given", "form"),
    [
        (record(), "conversation"),
        ({"image": "a", "messages": []}, "conversation"),
        ({**record(), "description": "x", "answer": "y"}, "conversation"),
        ({"image_path": "a", "description": "x"}, "caption"),
        ({"question_id": 0, "image": "a", "text": "x", "answer": "y", "category": "z"}, "question"),
    ],
)
def test_the_form_is_told_by_the_keys(given, form):
    """Each of the three forms is recognised, and turns decide before anything else."""
    assert detect_form(given) == form


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("[vqa] <image>\nIs there a road?", "[vqa] Is there a road?"),
        ("[refer]<image> where is the car?", "[refer] where is the car?"),
        ("[scene graph] <image>What is it?", "[scene graph] What is it?"),
    ],
)
def test_a_task_before_the_image_token_is_kept(question, kept):
    """A task in brackets may stand before the token, which goes as it does at the start of a question."""
    found = parse_conversation(record(human(question), gpt()), 0, name="x")
    assert (found.turns[0].text, found.image_token) == (kept, "start")


@pytest.mark.parametrize(
    "question", ["[0.1, 0.2] <image> Where?", "Look at <image> here.", "[vqa] a <image> b"]
)
def test_other_places_of_the_image_token_are_refused(question):
    """Anything else before the token may belong to the question, so its place is not certain."""
    assert problem(record(human(question), gpt())).code == "image-token"


@pytest.mark.parametrize("word", ["bot", "GPT", "Assistant", "gpt"])
def test_speakers_of_other_projects(word):
    """The assistant has several names, in letters of any case."""
    found = parse_conversation(record(human(), {"from": word, "value": "2"}), 0, name="x")
    assert found.turns[1].role == "assistant"


def test_a_box_in_place_of_an_answer_is_refused_with_the_reason():
    """Numbers under gt_bbox are an answer in an unknown frame, as the message says; beside an answer they are kept."""
    given = {"question_id": 0, "image": "a", "text": "Where is the car?", "gt_bbox": [1, 2, 3, 4]}
    with pytest.raises(
        RecordError, match="'gt_bbox', numbers of which nothing says in which frame"
    ) as caught:
        detect_form(given)
    assert caught.value.code == "record-form"
    assert parse_question({**given, "answer": "there"}, 0, name="x").extra == {"gt_bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    "given", [{}, {"a": 1}, {"bbox": [], "category_id": 1}, {"text": "x"}, {"answer": "x"}]
)
def test_another_form_is_refused_with_both_sets_of_keys(given):
    """The message shows what the record has and what each form needs."""
    with pytest.raises(RecordError) as caught:
        detect_form(given, 2, name="x.json")
    error = caught.value
    assert error.code == "record-form"
    assert error.where == "x.json record 2"
    assert all(repr(key) in error.problem for key in given)
    assert "'conversations'" in error.problem
    assert "'description'" in error.problem


def test_a_record_with_many_keys_does_not_flood_the_message():
    """Twelve keys are shown."""
    with pytest.raises(RecordError) as caught:
        detect_form({f"key{n}": n for n in range(1000)})
    assert len(caught.value.problem) < 400


def test_results_and_errors_cross_process_borders():
    """Conversations can be hashed and pickled, and so can their errors with the code."""
    conversation = parsed(record(extra_key=[1]))
    assert pickle.loads(pickle.dumps(conversation)) == conversation
    assert len({conversation, parsed(record(extra_key=[1]))}) == 1
    error = pickle.loads(pickle.dumps(problem(record(image=[]))))
    assert (error.code, error.where) == ("image-count", "ReID.json record 4")


PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PREFIX + "63-FLIR_ADAS/training/PreviewData/FLIR_02410.jpeg", None),
        ("Data4MLLM/63-FLIR_ADAS/training/PreviewData/FLIR_02410.jpeg", None),
        ("63-FLIR_ADAS/training/PreviewData/FLIR_02410.jpeg", None),
        (PREFIX + "a/Data4MLLM/b.jpg", "a/Data4MLLM/b.jpg"),
        ("NotData4MLLM/b.jpg", "NotData4MLLM/b.jpg"),
        ("a..b/..c/d...jpg", "a..b/..c/d...jpg"),
        ("infrared/\u65e5\u672c\u3000x.jpg", "infrared/\u65e5\u672c\u3000x.jpg"),
        ("D:\\data\\Data4MLLM/a.jpg", None),
    ],
)
def test_the_prefix_is_cut_at_its_marker(path, expected):
    """What is left is the path inside the release; a relative path stays as it is."""
    if path.startswith("D:"):
        with pytest.raises(UnsafePathError):
            strip_prefix(path)
    else:
        assert strip_prefix(path) == (expected or "63-FLIR_ADAS/training/PreviewData/FLIR_02410.jpeg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        (PREFIX, "ends with the folder"),
        ("/etc/passwd", "is absolute"),
        ("/mnt/NotData4MLLM/a.jpg", "is absolute"),
        (PREFIX + "/etc/passwd", "is absolute"),
        ("\\server\\share\\a.jpg", "is absolute"),
        ("C:\\a.jpg", "is absolute"),
        ("C:a.jpg", "is absolute"),
        (PREFIX + "C:/a.jpg", "is absolute"),
        ("../a.jpg", "has a '..'"),
        ("a/../b.jpg", "has a '..'"),
        ("a\\..\\b.jpg", "has a '..'"),
        ("a/..", "has a '..'"),
        (PREFIX + "../a.jpg", "has a '..'"),
        ("/mnt/../Data4MLLM/a.jpg", "has a '..'"),
        ("a\x00.jpg", "control character"),
        ("a\n.jpg", "control character"),
        ("http://host/a.jpg", "protocol"),
        ("simplecache::a.jpg", "protocol"),
        (PREFIX + "s3://bucket/a.jpg", "protocol"),
    ],
)
def test_a_path_that_leaves_its_folder_is_refused(path, reason):
    """No name from an annotation may point outside, in the notation of any system."""
    with pytest.raises(UnsafePathError, match="image path") as caught:
        strip_prefix(path)
    assert reason in caught.value.problem


@thorough
@given(st.text(alphabet="a./\\:C\x00é", max_size=12), st.sampled_from(["", PREFIX, "/", "Data4MLLM/"]))
def test_a_stripped_path_always_stays_inside(tail, prefix):
    """Whatever goes in, what comes out is relative, has no parent component and ends what went in."""
    path = prefix + tail
    try:
        name = strip_prefix(path)
    except UnsafePathError:
        return
    assert path.endswith(name)
    assert name
    assert name[0] not in "/\\"
    assert not re.match("[A-Za-z]:|.*::", name)
    assert ".." not in name.replace("\\", "/").split("/")


def test_another_marker_can_be_used():
    """The rule serves other releases, too."""
    assert strip_prefix("/home/x/MMRS-1M/data/RSVG/1.jpg", marker="MMRS-1M/") == "data/RSVG/1.jpg"
