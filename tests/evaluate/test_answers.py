"""What models write is read: every form that is known, and nothing is guessed where there is no answer."""

import json
import time

import pytest
from answer_corpus import CLASSES, CORPUS, OPTIONS
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets.evaluate.answers import (
    plain_text,
    read_boxes,
    read_choices,
    read_class,
    read_count,
    read_ordinal,
    read_phrase,
    read_points,
    read_yes_no,
)
from irtd_datasets.evaluate.places import read_places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(B) duck", {1}),
        ("B", {1}),
        ("b", {1}),
        ("B.", {1}),
        ("B)", {1}),
        ("(B)", {1}),
        ("B. duck", {1}),
        ("B: duck", {1}),
        ("duck", {1}),
        ("Duck.", {1}),
        ("It is a duck.", {1}),
        ("The answer is B", {1}),
        ("The answer is B.", {1}),
        ("The correct answer is (B) duck.", {1}),
        ("The correct option is: B", {1}),
        ("Answer: B", {1}),
        ("Option B", {1}),
        ("**B**", {1}),
        ("\\boxed{B}", {1}),
        ("```\nB\n```", {1}),
        ('```json\n{"answer": "B"}\n```', {1}),
        ('{"answer": "(B) duck"}', {1}),
        ("<think>A or B? A is a person.</think>B", {1}),
        ("<answer>B</answer>", {1}),
        ("B<|im_end|>", {1}),
        ("(C) other vehicle", {2}),
        ("other-vehicle", {2}),
        ("There are several other vehicles.", {2}),
        ("(A) person looks likely at first, but the answer is (B) duck", {1}),
        ('"B"', {1}),
    ],
)
def test_one_option_is_read(text, expected):
    """Letters with and without brackets, the option's words, sentences, code and JSON name the option."""
    assert read_choices(text, OPTIONS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(A) person (B) duck (D) crocodile", {0, 1, 3}),
        ("A, B and D", {0, 1, 3}),
        ("A B D", {0, 1, 3}),
        ("(A), (D)", {0, 3}),
        ("person and crocodile", {0, 3}),
        ("The objects that do not appear are: (A) person and (D) crocodile.", {0, 3}),
        ("None of them.", set()),
        ("All of the above", {0, 1, 2, 3}),
    ],
)
def test_several_options_are_read(text, expected):
    """Lists of letters or words give the set of options, in any order."""
    assert read_choices(text, OPTIONS) == expected


@pytest.mark.parametrize("text", ["(A) duck", "(E)", "E", "I cannot tell.", "", "An animal.", "???"])
def test_no_option_is_guessed(text):
    """A letter that is no option, a letter with another option's word, or no option at all is no answer."""
    assert read_choices(text, OPTIONS) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("Yes, there is.", True),
        ("No", False),
        ("no.", False),
        ("The answer is yes.", True),
        ("Answer: No", False),
        ("**Yes**", True),
        ("True", True),
        ("There is a car near the first person.", True),
        ("There is no car near the first person.", False),
        ("There isn't one.", False),
        ("No, the car is to the right. It is true that there is a car.", False),
        ('{"answer": "no"}', False),
        ("Perhaps.", None),
        ("I cannot tell.", None),
        ("It is not clear.", None),
        ("", None),
    ],
)
def test_yes_and_no_are_read(text, expected):
    """Yes and no, alone, in a sentence, as a statement; what is neither is no answer."""
    assert read_yes_no(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("<num>7</num>", 7),
        ("Person 7", 7),
        ("The seventh person.", 7),
        ("the 7th", 7),
        ("seven", 7),
        ("The person numbered 7 has the same identity as person 1.", 7),
        ("The answer is 7.", 7),
        ("2 or 4", None),
        ("9", None),
        ("1", None),
        ("none", None),
    ],
)
def test_the_crop_is_read(text, expected):
    """An ordinal number from 2 to 8 in digits or words; the query's own number is passed over."""
    assert read_ordinal(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<num>21</num>", 21),
        ("21", 21),
        ("21.", 21),
        ("21.0", 21),
        ("1,024", 1024),
        ("There are 21 cars in the picture.", 21),
        ("There are twenty-one cars.", 21),
        ("one hundred and five", 105),
        ("two thousand and three", 2003),
        ("Approximately 20 pedestrians", 20),
        ("The number of cars in the picture is 13.", 13),
        ("Count: 13", 13),
        ("There are no cars.", 0),
        ("None", 0),
        ("Zero", 0),
        ('{"count": 13}', 13),
        ("**13**", 13),
        ("20-25", None),
        ("between 20 and 25", None),
        ("3 cars and 4 trucks", None),
        ("many", None),
        ("", None),
    ],
)
def test_counts_are_read(text, expected):
    """Numbers in digits and words, alone and in sentences; a range or two numbers are no answer."""
    assert read_count(text) == expected


BOX = (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize(
    "text",
    [
        "The target bounding box is <box>[[10, 20, 30, 40]]</box>.",
        "<box>[[10,20,30,40]]</box>",
        "<ref>car</ref><box>[[10, 20, 30, 40]]</box>",
        "[[10, 20, 30, 40]]",
        "[10, 20, 30, 40]",
        "(10, 20, 30, 40)",
        "10, 20, 30, 40",
        "The car at [10, 20, 30, 40].",
        "<|object_ref_start|>the car<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>",
        "<|box_start|>(10,20),(30,40)<|box_end|>",
        '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "car"}]\n```',
        '{"bbox_2d": [10, 20, 30, 40]}',
        '{"x1": 10, "y1": 20, "x2": 30, "y2": 40}',
        '{"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 40}',
        "x_min=10, y_min=20, x_max=30, y_max=40",
        "[10.0 20.0 30.0 40.0]",
        "[30, 40, 10, 20]",
        "<|det|>[[10, 20, 30, 40]]<|/det|>",
        "The top left corner is (10, 20) and the bottom right (30, 40)".replace(
            " and the bottom right ", " to "
        ),
    ],
)
def test_a_box_is_read(text):
    """The markup of each model family, JSON, named corners, bare numbers; corners are put in order."""
    assert read_boxes(text) == [BOX]


def test_fractions_and_several_boxes_are_read():
    """Fractions as LLaVA writes them, and lists of boxes in the order written."""
    assert read_boxes("[0.12, 0.2, 0.34, 0.45]") == [(0.12, 0.2, 0.34, 0.45)]
    assert read_boxes("<box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>") == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert read_boxes("(1,2),(3,4) and (5,6),(7,8)") == [(1, 2, 3, 4), (5, 6, 7, 8)]


@pytest.mark.parametrize("text", ["I see no car.", "", "[1, 2, 3]", "[]", "a [b] c"])
def test_no_box_is_made_up(text):
    """Text without four numbers that belong together has no box."""
    assert read_boxes(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "<ref>car</ref> at <pos>[(10, 520), (81, 514)]</pos>",
        "[(10, 520), (81, 514)]",
        "[[10, 520], [81, 514]]",
        "(10, 520), (81, 514)",
        '[{"point_2d": [10, 520]}, {"point_2d": [81, 514]}]',
        '[{"x": 10, "y": 520}, {"x": 81, "y": 514}]',
        '<points x1="10" y1="520" x2="81" y2="514" alt="car">car</points>',
        "The cars are at (10, 520) and (81, 514).",
        "[[0, 510, 20, 530], [80, 513, 82, 515]]",
        "<box>[[0, 510, 20, 530]]</box> <box>[[80, 513, 82, 515]]</box>",
    ],
)
def test_points_are_read(text):
    """Points in the released markup, JSON, brackets, prose; boxes count as their centres."""
    assert read_points(text) == [(10, 520), (81, 514)]


@pytest.mark.parametrize(
    ("text", "expected"), [("[]", []), ("There are no cars.", []), ("Everywhere.", None)]
)
def test_no_points_is_an_answer(text, expected):
    """An empty list says that there is nothing; prose without a place says nothing."""
    assert read_points(text) == expected


def test_plain_text_leaves_json_that_is_no_answer():
    """An object without an answer in it stays as it is, and broken JSON does too."""
    assert plain_text('{"a": 1}') == '{"a": 1}'
    assert plain_text('{"answer": ') == '{"answer":'


CORPUS_READERS = {
    "boxes": read_boxes,
    "points": read_points,
    "choices": lambda text: read_choices(text, OPTIONS),
    "class": lambda text: read_class(text, CLASSES),
    "yes_no": read_yes_no,
    "count": read_count,
    "ordinal": read_ordinal,
    "phrase": read_phrase,
}


def test_the_corpus_is_large():
    """At least 150 answers in the forms of at least 20 families, and no two alike."""
    assert len({(what, text) for _, what, text, _ in CORPUS}) == len(CORPUS) >= 150
    assert len({family for family, *_ in CORPUS}) >= 20
    assert sum(reading is None for *_, reading in CORPUS) >= 30


@pytest.mark.parametrize(("family", "what", "text", "expected"), CORPUS)
def test_the_corpus_is_read(family, what, text, expected):
    """Each family's forms have their right reading, or none."""
    found = CORPUS_READERS[what](text)
    if what in {"boxes", "points"} and expected:
        assert found is not None
        assert [pytest.approx(place) for place in found] == expected
    else:
        assert found == expected
        assert type(found) is type(expected) or isinstance(expected, set)


def test_a_place_keeps_what_its_markup_says():
    """Label, confidence and the frame of the markup come with the place."""
    (place,) = read_places('[{"box_2d": [20, 10, 40, 30], "label": "red cars", "confidence": 0.5}]')
    assert (place.label, place.score, place.base, place.fixed) == ("red car", 0.5, 1000, False)
    for key in ("bbox", "bbox_2d", "box", "bounding_box", "coordinates", "boxes"):
        (place,) = read_places(json.dumps({"label": "car", key: [1, 2, 3, 4], "score": 0.5}))
        assert (place.numbers, place.label, place.score) == ((1, 2, 3, 4), "car", 0.5)
    (place,) = read_places("<loc0020><loc0010><loc0040><loc0030> a ship")
    assert (place.label, place.base, place.fixed) == ("ship", 1023, True)
    assert [place.label for place in read_places("<p>two ships</p>[.1,.2,.3,.4;.5,.6,.7,.8]")] == ["ship"] * 2
    (place,) = read_places("<|ref|>the car<|/ref|><|det|>[[10, 20, 30, 40]]<|/det|>")
    assert place.label == "the car"


def test_ten_thousand_boxes_are_all_read():
    """A long list is read to its end, in whatever form."""
    rows = [(i, i + 1, i + 2, i + 3) for i in range(10_000)]
    for text in (
        json.dumps([{"bbox_2d": row, "label": "car"} for row in rows]),
        json.dumps(rows),
        "".join(f"<loc_{number % 900}>" for row in rows for number in row),
    ):
        start = time.process_time()  # of this process alone: others may use the machine
        assert len(read_boxes(text)) == 10_000
        assert time.process_time() - start < 20


def test_ten_megabytes_are_read_in_little_time():
    """Reasoning of any length costs reading it once, and the answer behind it is found."""
    text = "Let me see. [1, 2] <b> (A) 3 " * 350_000 + "</think>"
    assert len(text) > 10_000_000
    start = time.perf_counter()
    assert read_count(text + "12") == 12
    assert read_choices(text + "(B)", OPTIONS) == {1}
    assert read_boxes(text + "[10, 20, 30, 40]") == [BOX]
    assert read_yes_no("no " * 4_000_000) is False
    assert time.perf_counter() - start < 30


READERS = [
    lambda text: read_choices(text, OPTIONS),
    read_yes_no,
    read_ordinal,
    read_count,
    read_boxes,
    read_points,
    read_phrase,
    lambda text: read_class(text, CLASSES),
    plain_text,
]


@given(st.text(alphabet=st.sampled_from("[]()<>{}0123456789.,-|abAB noyes\n\"':;&`*\\x1_"), max_size=200))
def test_no_text_breaks_a_reader(text):
    """Whatever a model writes, a reader answers or says that it cannot."""
    for read in READERS:
        read(text)


def test_long_texts_are_read_in_little_time():
    """Endless repetition, which models fall into, neither hangs a reader nor is read to its end."""
    for piece in (
        "(A) ",
        "[1, ",
        "one hundred ",
        "<box>",
        "{",
        "x1=1 ",
        "1,234,",
        "A, ",
        "there are ",
        "and ",
        "[",
        "{",
        " ",
        "- ",
        "<think>",
        "</think>",
        "<loc0001>",
        "<loc_1> ",
        "{<1><2>",
        '{"box_2d": [',
        "xmin=1 ",
        '<point x="1" ',
        "top left ",
        "<|box_start|>(1,2),",
        "not A ",
        "yes/no ",
        "whether ",
    ):
        for read in READERS:
            read(piece * 20_000)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=8))
def test_what_json_writes_is_read_back(points):
    """Points written as JSON come back exactly."""
    assert read_points(json.dumps([list(point) for point in points])) == points or len(points) == 2
