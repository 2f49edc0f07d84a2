"""Boxes in text: the three grammars, what is flagged, writing back, changing the frame, joining rounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets import boxes as boxes_module
from irtd_datasets.boxes import (
    Frame,
    convert,
    merge_rounds,
    parse_boxes,
    rewrite_boxes,
    rewrite_text,
    rounding_bound,
)
from irtd_datasets.boxes.frames import DEFAULT_DECIMALS, format_coordinate, is_cut
from irtd_datasets.boxes.text import BOX_PROBLEMS, Label, read_label
from irtd_datasets.errors import AnnotationError, BoxError


def shown(text):
    return [(span.label, span.kind, span.numbers) for span in parse_boxes(text).spans]


def codes(text):
    return [problem.code for problem in parse_boxes(text).problems]


def test_grounding_of_irtd():
    """IR-TD's grounding answer is one box without label, its numbers where they stand in the text."""
    text = "The target bounding box is <box>[[500, 223, 512, 238]]</box>."
    (span,) = parse_boxes(text).spans
    assert (span.kind, span.numbers, span.label, span.problems) == ("box", (500, 223, 512, 238), "", ())
    assert [text[start:end] for start, end in span.number_spans] == ["500", "223", "512", "238"]
    assert text[span.start : span.end] == "500, 223, 512, 238"


def test_location_of_irtd():
    """IR-TD's location answer is a list of points that share the label of the reference tag."""
    text = "<ref>car</ref> at <pos>[(48, 628), (311, 495)]</pos>"
    assert shown(text) == [("car", "point", (48, 628)), ("car", "point", (311, 495))]
    assert codes(text) == []


OBB = (0.14, 0.65, 0.46, 0.55, 0.47, 0.60, 0.15, 0.69)
OBB_TEXT = "0.14,0.65,0.46,0.55,0.47,0.60,0.15,0.69"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0.1,0.2,0.3,0.4]", [("", "box", (0.1, 0.2, 0.3, 0.4))]),
        ("There are <p>a ship</p>[0.1,0.2,0.3,0.4]", [("ship", "box", (0.1, 0.2, 0.3, 0.4))]),
        (
            "There are <p>two large vehicles</p> [0.1,0.2,0.3,0.4 ; 0.5, 0.6,0.7,0.8 ] in the image.",
            [("large vehicle", "box", (0.1, 0.2, 0.3, 0.4)), ("large vehicle", "box", (0.5, 0.6, 0.7, 0.8))],
        ),
        (
            f"There are two large-vehicles[{OBB_TEXT};{OBB_TEXT}] in the image.",
            [("large vehicle", "polygon", OBB)] * 2,
        ),
        (
            f"There are one bus[0.1,0.2,0.3,0.4], and a plane[{OBB_TEXT}] in the image.",
            [("bus", "box", (0.1, 0.2, 0.3, 0.4)), ("plane", "polygon", OBB)],
        ),
        (
            "Please provide a short description for this region in this remote sensing image :[.1,.2,.3,.4]",
            [("", "box", (0.1, 0.2, 0.3, 0.4))],
        ),
        ("The person at [259, 569, 376, 866].", [("person", "box", (259, 569, 376, 866))]),
        (
            "<p>two ships</p>[1,2,3,4],[5,6,7,8]",
            [("ship", "box", (1, 2, 3, 4)), ("ship", "box", (5, 6, 7, 8))],
        ),
        ("<box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>", [("", "box", (1, 2, 3, 4)), ("", "box", (5, 6, 7, 8))]),
        ("<box>1,2,3,4</box>", [("", "box", (1, 2, 3, 4))]),
        ("[[1, 2, 3, 4]]", [("", "box", (1, 2, 3, 4))]),
        ("[1.0e-1,+.5,2.,1E0]", [("", "box", (0.1, 0.5, 2.0, 1.0))]),
        ("[-3,-0.5,2,1]", [("", "box", (-3, -0.5, 2, 1))]),
        ("[0.1,0.2,0.3,0.4;]", [("", "box", (0.1, 0.2, 0.3, 0.4))]),
        (
            "The ships look like parked cars by the pier [0.1,0.2,0.3,0.4]",
            [("", "box", (0.1, 0.2, 0.3, 0.4))],
        ),
    ],
)
def test_grammars(text, expected):
    """Four and eight numbers, with or without tags, blanks and counts, in every spelling, are read."""
    parsed = parse_boxes(text)
    assert shown(text) == expected
    assert parsed.problems == ()
    assert parsed.write() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A harbour [sic] with many ships [1] and piers [2, 3], [1,2,3].",
        "Values in [0.1, 0.9] or [0,1] or [see 1, 2, 3]; [a, b, c, d] and (1, 2, 3, 4)",
        "array[0] = [] and [ ] and [[]] and ][",
        "What is the object in the picture?\n(A) person (B) duck",
        "<num>21</num>",
        "<p>no ships</p> here",
    ],
)
def test_prose_is_left_alone(text):
    """Citations, remarks and intervals are no boxes, raise no flag, and stay as they are."""
    assert parse_boxes(text).spans == ()
    assert codes(text) == []
    assert rewrite_text(text, "unit", "pixel", 640, 512) == (text, 0, 0, ())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[0.1,0.2,0.3,0.4,0.5]", ["wrong-number-count"]),
        ("[1,2,3,4,5,6,7]", ["wrong-number-count"]),
        ("[0.1,0.2,0.3]", ["wrong-number-count"]),
        ("<p>ship</p>[0.1,0.2]", ["wrong-number-count"]),
        ("[0.1;0.2;0.3;0.4]", ["wrong-number-count"] * 4),
        ("<pos>[(1, 2, 3)]</pos>", ["wrong-number-count"]),
        ("<box>[[1, 2]]</box>", ["wrong-number-count"]),
        ("<box></box>", ["wrong-number-count"]),
        ("<pos>[]</pos>", ["wrong-number-count"]),
        ("<box>[[1,2,3,4], 5]</box>", ["wrong-number-count"]),
        ("<box>none</box>", ["malformed-number"]),
        ("[0.1,0.2,0.3,0.4.5]", ["malformed-number"]),
        ("[0.1,0.2,0.3,x]", ["malformed-number"]),
        ("[50%,10,20,30]", ["malformed-number"]),
        ("[1_0,2,3,4]", ["malformed-number"]),
        ("[0.1 0.2 0.3 0.4]", ["malformed-number"]),
        ("[0.1,0.2 0.3,0.4]", ["malformed-number"]),
        ("[0,12, 0,34, 0,56, 0,78]", ["malformed-number"]),
        ("[0,12,0,34,0,56,0,78]", ["malformed-number"]),
        ("[NaN,0.2,0.3,0.4]", ["nan"]),
        ("[0.1,0.2,inf,0.4]", ["nan"]),
        ("[0.1,0.2,1e999,0.4]", ["nan"]),
        ("[0.12,0.06,0.13,0.06]", ["zero-area"]),
        ("[0.12,0.06,0.12,0.07]", ["zero-area"]),
        ("[0.1,0.1,0.2,0.2,0.3,0.3,0.4,0.4]", ["zero-area"]),
        ("[0.3,0.1,0.2,0.2]", ["exchanged-corners"]),
        ("[0.1,0.2,0.3,0.4", ["unclosed-bracket"]),
        ("<box>[[1, 2, 3, 4", ["unclosed-bracket"]),
        ("<p>two ships</p>[0.1,0.2,0.3,0.4]", ["count-mismatch"]),
        ("There are <p>two ships</p> in the image.", ["label-without-box"]),
        ("<p>ships</p>[sic]", ["label-without-box"]),
    ],
)
def test_defects_are_flagged(text, found):
    """What looks like a box and is none, or a strange one, is reported with its code and stays as it is."""
    parsed = parse_boxes(text)
    assert codes(text) == found
    assert parsed.write() == text
    assert all(
        text[problem.start : problem.end] or problem.start == problem.end for problem in parsed.problems
    )
    assert set(found) <= set(BOX_PROBLEMS)
    # Rewriting skips the same places, and says so: their numbers would stay in the old frame.
    unreadable = {"malformed-number", "wrong-number-count", "nan"}
    rewritten = rewrite_text(text, "unit", "square_unit", 640, 512)
    assert [problem.code for problem in rewritten.unreadable] == [
        code for code in found if code in unreadable
    ]


def test_a_bad_group_spares_its_neighbours():
    """One unreadable group in a bracket does not take the others with it."""
    text = "<p>three ships</p>[0.1,0.2,0.3,0.4;0.1,0.2,0.3;0.5,0.6,0.7,0.8]"
    parsed = parse_boxes(text)
    assert [span.is_readable for span in parsed.spans] == [True, False, True]
    assert len(parsed.objects("unit", 100, 100)) == 2
    new = rewrite_text(text, "unit", "pixel", 100, 100)
    assert new.text == "<p>three ships</p>[10,20,30,40;0.1,0.2,0.3;50,60,70,80]"
    assert (new.numbers, new.boxes) == (8, 2)
    assert [(problem.code, problem.detail) for problem in new.unreadable] == [
        ("wrong-number-count", "0.1,0.2,0.3")
    ]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("two large vehicles", Label("large vehicle", 2)),
        ("large-vehicles", Label("large vehicle", None)),
        ("13 ships", Label("ship", 13)),
        ("Ten storage tanks", Label("storage tank", 10)),
        ("twenty-one harbors", Label("harbor", 21)),
        ("one bus", Label("bus", 1)),
        ("a lens", Label("lens", 1)),
        ("three buses", Label("bus", 3)),
        ("two overpasses", Label("overpass", 2)),
        ("four people", Label("person", 4)),
        ("two Boeing737", Label("Boeing737", 2)),
        ("Expressway-Service-areas", Label("Expressway Service area", None)),
        ("A220", Label("A220", None)),
        ("no ships", Label("ship", 0)),
        ("five ferries", Label("ferry", 5)),
        ("tennis", Label("tennis", None)),
        ("two", Label("two", None)),
        ("", Label("", None)),
    ],
)
def test_labels(text, label):
    """Count words and digits, plurals, hyphens: one canonical class name, and the count kept beside it."""
    assert read_label(text) == label


def test_raw_label_is_kept():
    """The label as written stays beside the canonical one."""
    (span,) = parse_boxes("There are <p>1 large-vehicles</p>[0.1,0.2,0.3,0.4]").spans
    assert (span.raw_label, span.label, span.count) == (
        "1 large-vehicles",
        "large-vehicles".replace("-", " "),
        1,
    )


number_strings = st.one_of(
    st.integers(0, 1200).map(str),
    st.floats(0, 1, width=32).map(lambda value: f"{value:.2f}"),
    st.sampled_from(
        ["1.0e-1", ".5", "-3", "+0.25", "7.", "-0.0", "0.999999", "1_0", "NaN", "x", "", "9" * 320]
    ),
)


@st.composite
def group_strings(draw):
    count = draw(st.sampled_from([4, 4, 4, 8, 8, 2, 3, 5, 7]))
    comma = draw(st.sampled_from([",", ", ", " , "]))
    return comma.join(draw(st.lists(number_strings, min_size=count, max_size=count)))


@st.composite
def texts(draw):
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        groups = draw(st.lists(group_strings(), min_size=1, max_size=4))
        joint = draw(st.sampled_from([";", "; "]))
        parts += [
            draw(
                st.sampled_from(
                    ["", "There are <p>two ships</p>", " and three planes", "\n", "[1] ", "<box>", "]"]
                )
            ),
            draw(
                st.sampled_from(
                    [
                        f"[{joint.join(groups)}]",
                        f"<box>[[{'], ['.join(groups)}]]</box>",
                        f"<pos>[({'), ('.join(groups)})]</pos>",
                        f"[{joint.join(groups)}",
                    ]
                )
            ),
            draw(st.sampled_from(["", " in the image.", "</box>"])),
        ]
    return "".join(parts)


@given(st.one_of(texts(), st.text(alphabet="[]()<>/box ps.,;0159e-NaN\n", max_size=60)))
def test_any_text_survives(text):
    """Any text parses, writes back byte for byte, and keeps its spans in order."""
    parsed = parse_boxes(text)
    assert parsed.write() == text
    ends = [position for span in parsed.spans for where in span.number_spans for position in where]
    assert ends == sorted(ends)
    for span in parsed.spans:
        assert [text[start:end] for start, end in span.number_spans] == list(span.raw_numbers)
        assert span.is_readable == (
            len(span.numbers) in (2, 4, 8) and bool(span.kind) and "nan" not in span.problems
        )
    for frame in Frame:
        assert rewrite_text(text, frame, frame, 640, 512, 1) == (text, 0, 0, ())


@given(
    texts(),
    st.sampled_from(list(Frame)),
    st.sampled_from(list(Frame)),
    st.integers(1, 2000),
    st.integers(1, 2000),
)
def test_rewriting_is_parsing_converting_writing(text, source, target, width, height):
    """The fast way through a text gives what parsing, converting arrays and writing back gives."""
    if source is target:
        return
    decimals, parsed = DEFAULT_DECIMALS[target], parse_boxes(text)
    new = [
        [
            format_coordinate(value, decimals, cut=is_cut(target, decimals))
            for value in convert(span.numbers, source, target, width, height).tolist()
        ]
        if span.is_readable
        else None
        for span in parsed.spans
    ]
    got = rewrite_text(text, source, target, width, height)
    assert got.text == parsed.write(new)
    assert got.boxes == sum(span.is_readable for span in parsed.spans)
    assert got.numbers == sum(len(span.numbers) for span in parsed.spans if span.is_readable)
    assert len(got.unreadable) == sum(not span.is_readable for span in parsed.spans)


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from([frame for frame in Frame if frame is not Frame.PIXEL]),
)
def test_rewriting_keeps_the_place(boxes, width, height, frame):
    """What a rewritten text says, read in the new frame, is where it was, within the rounding bound."""
    pixels = [(a * width, b * height, c * width, d * height) for a, b, c, d in boxes]
    text = "[" + ";".join(",".join(f"{value:.6f}" for value in box) for box in pixels) + "]"
    new = rewrite_text(text, "pixel", frame, width, height)
    assert new.numbers == 4 * len(boxes)
    bound = rounding_bound(frame, DEFAULT_DECIMALS[frame], width, height) + 1e-6
    moved = parse_boxes(new.text).spans
    for span, box in zip(moved, pixels, strict=True):
        back = convert(span.numbers, frame, "pixel", width, height)
        assert abs(back - box).max() <= bound


def test_rewriting_a_conversation():
    """Questions and answers are rewritten, other keys copied, the input left alone, the changes counted."""
    messages = [
        {"role": "user", "content": "Describe this region :[0.16,0.18,0.25,0.24]", "weight": 1},
        {"role": "assistant", "content": "<p>a car</p>[0.10, 0.50, 0.90, 0.60;0.1,0.2,0.3]"},
    ]
    before = [dict(message) for message in messages]
    result = rewrite_boxes(messages, source="square_unit", target=Frame.PER_MILLE, width=640, height=512)
    assert messages == before
    assert result.messages == [
        {"role": "user", "content": "Describe this region :[160,100,250,175]", "weight": 1},
        {"role": "assistant", "content": "<p>a car</p>[100, 500, 900, 625;0.1,0.2,0.3]"},
    ]
    assert (result.numbers, result.boxes) == (8, 2)
    assert [(index, problem.code) for index, problem in result.unreadable] == [(1, "wrong-number-count")]
    new, changed = result
    assert (new, changed) == (result.messages, 8)


def test_no_change_of_frame():
    """With no change of frame texts are the same objects and the count is 0, whatever decimals are asked."""
    messages = [{"role": "assistant", "content": "[.10,0.2,0.30,4e-1]"}]
    new, changed = rewrite_boxes(messages, "unit", "unit", 10, 20, decimals=1)
    assert (new, changed) == (messages, 0)
    assert new[0]["content"] is messages[0]["content"]
    assert new[0] is not messages[0]


def test_decimals():
    """Decimals are the target's own unless asked for; zero never gets a minus; cut numbers are cut."""
    assert rewrite_text("[1,2,3,4]", "pixel", "unit", 8, 8).text == "[0.125,0.250,0.375,0.500]"
    assert rewrite_text("[1,2,3,4]", "pixel", "square_unit", 8, 8).text == "[0.12,0.25,0.38,0.50]"
    assert (
        rewrite_text("[1,2,3,4]", "pixel", "square_unit", 8, 8, decimals=4).text
        == "[0.1250,0.2500,0.3750,0.5000]"
    )
    assert rewrite_text("[1,2,3,4]", "pixel", "square_per_mille", 8, 8).text == "[124,249,374,499]"
    assert (
        rewrite_text("[0.0,0.1,0.5,0.9]", "square_unit", "pixel", 640, 512, 2).text
        == "[0.00,0.00,320.00,512.00]"
    )
    assert rewrite_text("[0.0,0.099999,0.5,0.9]", "square_unit", "pixel", 640, 512).text == "[0,0,320,512]"
    assert rewrite_text("[0.0,0.09,0.5,0.9]", "square_unit", "pixel", 640, 512).text == "[0,-6,320,512]"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rewrite_boxes([{"role": "user"}], "unit", "pixel", 5, 5), AnnotationError, "message 0"),
        (lambda: rewrite_boxes(["[1,2,3,4]"], "unit", "pixel", 5, 5), AnnotationError, "expected a text"),
        (
            lambda: rewrite_boxes([{"content": [{}]}], "unit", "pixel", 5, 5),
            AnnotationError,
            "expected a text",
        ),
        (lambda: rewrite_text("", "unit", "pixels", 5, 5), BoxError, "no frame is called 'pixels'"),
        (lambda: rewrite_text("", "unit", "pixel", 0, 5), BoxError, "width is 0"),
        (lambda: rewrite_text("", "unit", "unit", 5, None), BoxError, "height is None"),
        (lambda: rewrite_text("", "unit", "pixel", [5, 5], 5), BoxError, "width has 2 values"),
        (lambda: rewrite_text("", "unit", "pixel", 5, 5, 99), BoxError, "decimals is 99"),
        (lambda: parse_boxes("[1,2,3,4]").write([]), BoxError, "0 rows of numbers for 1 places"),
        (lambda: parse_boxes("[1,2,3,4]").write([["1"]]), BoxError, "1 numbers for a place that has 4"),
    ],
)
def test_bad_calls(call, error, message):
    """Messages without text, unknown frames, sizes that are none: refused before anything is written."""
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


EVERYTHING = (
    "There are <p>two ships</p>[0.1,0.1,0.2,0.2;0.5,0.5,0.6,0.6] and <p>a plane</p>[0.3,0.3,0.4,0.4]."
)


def test_rounds_do_not_double():
    """The round for all classes and the rounds per class give every object once."""
    per_class = [
        "There are two ships[0.50,0.5,0.6,0.6;0.1,0.1,0.2,0.2] in the image.",
        "a plane[0.3,0.3,0.4,0.4]",
    ]
    rounds = [parse_boxes(text) for text in [EVERYTHING, *per_class]]
    assert merge_rounds(rounds) == list(rounds[0].spans)
    placed = [parsed.objects("square_unit", 640, 512) for parsed in rounds]
    assert merge_rounds(placed, decimals=0) == placed[0]


def test_rounds_add_what_is_new():
    """An object that only one round has is kept; another class at the same place is another object."""
    rounds = [parse_boxes(EVERYTHING), parse_boxes("<p>a bridge</p>[0.1,0.1,0.2,0.2]")]
    assert [span.label for span in merge_rounds(rounds)] == ["ship", "ship", "plane", "bridge"]


def test_equal_objects_within_a_round_stay():
    """Two small objects that share a box of two decimals stay two, in any number of rounds."""
    pair = parse_boxes("<p>two cars</p>[0.1,0.1,0.11,0.11;0.1,0.1,0.11,0.11]")
    assert len(merge_rounds([pair, pair, pair])) == 2


def test_rounds_compare_polygons_as_cycles():
    """A polygon that begins at another corner, or runs the other way, is the same; a box there is another."""
    corners = [(0.14, 0.65), (0.46, 0.55), (0.47, 0.60), (0.15, 0.69)]
    variants = [corners[i:] + corners[:i] for i in range(4)]
    variants += [variant[::-1] for variant in variants]
    rounds = [
        parse_boxes("a ship[" + ",".join(f"{value}" for corner in variant for value in corner) + "]")
        for variant in variants
    ]
    assert len(merge_rounds(rounds)) == 1
    assert len(merge_rounds([*rounds, parse_boxes("a ship[0.14,0.55,0.47,0.69]")])) == 2


def test_rounds_without_label():
    """An answer without class name equals a named object at its place, and stays where there is none."""
    rounds = [parse_boxes("[0.3,0.3,0.4,0.4]"), parse_boxes(EVERYTHING), parse_boxes("[0.7,0.7,0.8,0.8]")]
    assert [span.label for span in merge_rounds(rounds)] == ["ship", "ship", "plane", ""]


def test_rounds_keep_the_unreadable():
    """A place that cannot be read is no duplicate of anything."""
    bad = parse_boxes("<p>ships</p>[0.1,0.2,0.3]")
    assert merge_rounds([bad, bad]) == [*bad.spans, *bad.spans]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "<box>" * 30_000,
        "[1," * 30_000,
        "<p>a</p>" * 20_000,
        "[1,2,3,4] " + " " * 100_000 + "x[1,2,3,4]",
        ". " * 50_000 + "[1,2,3,4]",
        "x" + "\t " * 50_000 + "[1,2,3,4]",
        "<box>" + "[" * 50_000 + "</box>",
        "[" + "1" * 100_000 + ",2,3,4]",
        "<p>x</p>[" + ",;" * 50_000 + "]",
        "<p>" + "two " * 30_000 + "</p>[1,2,3,4]",
    ],
)
@pytest.mark.timeout(60)  # a search that goes back and forth over such a text does not end in an hour
def test_no_text_is_slow(text):
    """Hostile texts end: no search through them takes more than one pass."""
    parsed = parse_boxes(text)
    rewrite_text(text, "unit", "pixel", 640, 512)
    assert parsed.write() == text


def test_import_is_light():
    """Importing the boxes loads NumPy and nothing else that is heavy."""
    folder = str(Path(boxes_module.__file__).parents[1])
    # A bare package in its place: what the top of the library imports is not what this test is about.
    program = f"""
import sys, types
package = types.ModuleType("irtd_datasets")
package.__path__ = [{folder!r}]
sys.modules["irtd_datasets"] = package
import irtd_datasets.boxes
heavy = {{"datasets", "pyarrow", "PIL", "fsspec", "pandas", "typer", "huggingface_hub"}}
print(sorted(heavy.intersection(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        (
            "<|object_ref_start|>car<|object_ref_end|><|box_start|>(100,200),(900,800)<|box_end|>",
            [("car", "box", (100, 200, 900, 800))],
            "<|object_ref_start|>car<|object_ref_end|><|box_start|>(64,102),(576,410)<|box_end|>",
        ),
        (
            '[{"box_2d": [200, 100, 800, 900], "label": "car"}]',
            [("car", "box", (100, 200, 900, 800))],
            '[{"box_2d": [102, 64, 410, 576], "label": "car"}]',
        ),
        (
            '{"ymin": 200, "xmin": 100, "ymax": 800, "xmax": 900}',
            [("", "box", (100, 200, 900, 800))],
            '{"ymin": 102, "xmin": 64, "ymax": 410, "xmax": 576}',
        ),
        (
            "<ref>car</ref><box>(100,200),(900,800)</box>",
            [("car", "box", (100, 200, 900, 800))],
            "<ref>car</ref><box>(64,102),(576,410)</box>",
        ),
        ("<box>100 200 900 800</box>", [("", "box", (100, 200, 900, 800))], "<box>64 102 576 410</box>"),
    ],
)
def test_markup_of_models_is_read_and_moved(text, expected, written):
    """Boxes in the markup of a family are read x first, and their numbers are changed where they stand."""
    parsed = parse_boxes(text)
    assert shown(text) == expected
    assert parsed.problems == ()
    assert parsed.write() == text
    assert rewrite_text(text, "per_mille", "pixel", 640, 512) == (written, 4, 1, ())


@pytest.mark.parametrize(
    ("text", "family", "numbers"),
    [
        ("<loc0100><loc0164><loc0180><loc0256> ship", "paligemma", (164, 100, 256, 180)),
        ("ship<loc_100><loc_164><loc_180><loc_256>", "florence-2", (100, 164, 180, 256)),
        ("<p>car</p> {<10><20><90><80>|<45>}", "geochat", (10, 20, 90, 80)),
        ("<object><patch_index_0000><patch_index_0000></object>", "kosmos-2", (0, 0, 1 / 32, 1 / 32)),
        ('{"x": 1, "y": 2, "width": 3, "height": 4}', "named", (1, 2, 4, 6)),
    ],
)
def test_markup_with_a_frame_of_its_own_is_told(text, family, numbers):
    """Tokens that can count nothing else are read, never moved, and the caller is told so."""
    (span,) = parse_boxes(text).spans
    assert (span.family, span.numbers, span.problems) == (family, numbers, ("own-frame",))
    assert not span.is_readable
    moved = rewrite_text(text, "per_mille", "pixel", 640, 512)
    assert moved.text == text
    assert [problem.code for problem in moved.unreadable] == ["own-frame"]
    _, changed = rewrite_boxes([{"role": "assistant", "content": text}], "per_mille", "pixel", 640, 512)
    assert changed == 0


def test_markup_and_brackets_in_one_text():
    """A text may have both; each is read once, in the order of the text."""
    text = "<p>a ship</p>[1, 2, 3, 4] and <loc0010><loc0020><loc0030><loc0040> plane; and [5, 6, 7, 8]."
    assert [(span.label, span.family, span.numbers) for span in parse_boxes(text).spans] == [
        ("ship", "", (1, 2, 3, 4)),
        ("plane", "paligemma", (20, 10, 40, 30)),
        ("", "", (5, 6, 7, 8)),
    ]
    moved = rewrite_text(text, "pixel", "per_mille", 500, 500)
    assert moved.text == text.replace("1, 2, 3, 4", "2, 4, 6, 8").replace("5, 6, 7, 8", "10, 12, 14, 16")
    assert (moved.numbers, moved.boxes, len(moved.unreadable)) == (8, 2, 1)
