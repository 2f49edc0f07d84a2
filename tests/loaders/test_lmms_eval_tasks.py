"""The task files for lmms-eval: each answer is read and scored as the text says; the files name what exists."""

import importlib.util
import json
import math
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from irtd_datasets.irtd.spec import SPEC

FOLDER = Path(__file__).parents[2] / "loaders" / "lmms_eval" / "irtd"
TASKS = [member.part.name for member in SPEC.subset("benchmark").members]


@pytest.fixture(scope="module")
def utils():
    found = importlib.util.spec_from_file_location("irtd_lmms_utils", FOLDER / "utils.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class Functions(yaml.SafeLoader):
    """Reads ``!function utils.name`` as its name."""


Functions.add_constructor("!function", lambda loader, node: f"!{loader.construct_scalar(node)}")


def read(name):
    return yaml.load((FOLDER / name).read_text(encoding="utf-8"), Functions)


def functions(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from functions(value)
    elif isinstance(node, list):
        for value in node:
            yield from functions(value)
    elif isinstance(node, str) and node.startswith("!utils."):
        yield node.removeprefix("!utils.")


def test_every_task_has_its_file(utils):
    """Nine files and a group of them; each names a config and a split of the dataset, and functions that exist."""
    shared = read("_irtd_default_yaml")
    assert shared["test_split"] == SPEC.subset("benchmark").split
    assert all(hasattr(utils, name) for name in functions(shared))
    assert read("irtd_benchmark.yaml")["task"] == [f"irtd_{name}" for name in TASKS]
    assert {path.name for path in FOLDER.glob("*.yaml")} == {
        f"irtd_{name}.yaml" for name in (*TASKS, "benchmark")
    }
    for name in TASKS:
        task = read(f"irtd_{name}.yaml")
        assert task["task"] == f"irtd_{name}"
        assert SPEC.config(task["dataset_name"]).members[0].part.name == name
        assert all(hasattr(utils, function) for function in functions(task))


def doc(task, answer, choices=(), **changes):
    base = {
        "id": f"irtd/benchmark/{task}/0",
        "question": "?",
        "choices": list(choices),
        "answer": answer,
        "width": 640,
        "height": 512,
        "objects": {"label": [], "box": [], "polygon": [], "point": []},
    }
    return {**base, **changes}


ANIMALS = ("person", "duck", "horse", "crocodile")


@pytest.mark.parametrize(
    ("text", "score", "unreadable"),
    [
        ("(B) duck", 1, 0),
        ("B", 1, 0),
        ("b", 0, 1),
        ("B.", 1, 0),
        ("The answer is (B).", 1, 0),
        ("**B**", 1, 0),
        ("duck", 1, 0),
        ("It is a Duck.", 1, 0),
        ("A duck is in the picture", 1, 0),
        ("(A) person", 0, 0),
        ("(A) or (B)", 0, 0),
        ("E", 0, 1),
        ("", 0, 1),
        ("I do not know", 0, 1),
    ],
)
def test_an_option_is_read(utils, text, score, unreadable):
    """A letter, in brackets or not, or the option in words; two options are wrong, and nothing is no answer."""
    found = utils.score_answer(doc("recognition", "(B) duck", ANIMALS), [text])
    assert found == {"accuracy": score, "unreadable": unreadable}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("(A) scooter (D) hydrant", 1),
        ("A, D", 1),
        ("D and A", 1),
        ("(A)", 0),
        ("(A) (B) (D)", 0),
        ("scooter, hydrant", 1),
    ],
)
def test_all_options_of_security_are_needed(utils, text, score):
    """Several options are right together, in any order, and only together."""
    one = doc("security", "(A) scooter (D) hydrant", ("scooter", "car", "motor", "hydrant"))
    assert utils.score_answer(one, [text])["accuracy"] == score


@pytest.mark.parametrize(
    ("task", "answer", "text", "score"),
    [
        ("relationship", "yes", "Yes, there is.", 1),
        ("relationship", "yes", "No", 0),
        ("relationship", "no", "no", 1),
        ("relationship", "no", "yes and no", 0),
        ("reid", "7", "The person is number 7.", 1),
        ("reid", "7", "77", 0),
        ("reid", "7", "2 or 7", 0),
    ],
)
def test_words_are_read(utils, task, answer, text, score):
    """A word in a sentence counts; both words do not."""
    assert utils.score_answer(doc(task, answer), [text])["accuracy"] == score


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<num>21</num>", 2),
        ("21", 2),
        ("There are 17 cars.", 2),
        ("1,019", 1000),
        ("many", None),
        ("3 or 4", None),
    ],
)
def test_counts_are_read(utils, text, error):
    """The number in its mark or the only one; no number is no error of zero but an unreadable answer."""
    found = utils.score_answer(doc("aerial_counting", "19"), [text])
    assert found == {"mean_absolute_error": error, "unreadable": float(error is None)}


@pytest.mark.parametrize(
    ("text", "overlap"),
    [
        ("[250, 500, 500, 750]", 1),
        ("The target bounding box is <box>[[250, 500, 500, 750]]</box>.", 1),
        ('[{"bbox_2d": [250, 500, 500, 750], "label": "car 2"}]', 1),
        ("(250,500),(500,750)", 1),
        ("[375, 500, 500, 750]", 0.5),
        ("[0, 0, 100, 100]", 0),
        ("[500, 750, 250, 500]", 0),
    ],
)
def test_boxes_are_scored(utils, text, overlap):
    """In thousandths of each side, whatever stands around the numbers; a box turned inside out has no overlap."""
    one = doc("grounding", "", objects={"box": [[160.0, 256.0, 320.0, 384.0]]})
    found = utils.score_answer(one, [text])
    assert found["mean_iou"] == pytest.approx(overlap)
    assert found["accuracy_iou_50"] == float(overlap >= 0.5)
    assert found["unreadable"] == 0
    assert utils.score_answer(one, ["nowhere"]) == {"accuracy_iou_50": 0, "mean_iou": 0, "unreadable": 1}


def test_pixels_can_be_asked_for(utils, monkeypatch):
    """With the other frame the prompt asks for it and the same box in it scores the same."""
    one = doc("grounding", "", objects={"box": [[160.0, 256.0, 320.0, 384.0]]})
    assert "thousandths" in utils.doc_to_text(one)
    monkeypatch.setenv("IRTD_BOX_FRAME", "pixel")
    assert "640 wide and 512 high" in utils.doc_to_text(one)
    assert utils.score_answer(one, ["[160, 256, 320, 384]"])["mean_iou"] == 1


@pytest.mark.parametrize(
    ("text", "f1", "distance"),
    [
        ("[[100, 200], [300, 400]]", 1, 0),
        ("<ref>car</ref> at <pos>[(100, 200), (303, 404)]</pos>", 1, 2.5),
        ("[[100, 200]]", 2 / 3, 0),
        ("[[100, 200], [300, 400], [1, 1]]", 0.8, 0),
        ("[[110, 200], [300, 410]]", 0, None),
        ("[100, 200, 300]", 0, None),
        ("none", 0, None),
    ],
)
def test_points_are_scored(utils, text, f1, distance):
    """Each label finds one point within five thousandths; points too many and too few cost, far ones do not count."""
    found = utils.score_answer(doc("location", "[[100, 200], [300, 400]]"), [text])
    assert found["f1"] == pytest.approx(f1)
    assert found["mean_distance"] == (None if distance is None else pytest.approx(distance))


def test_means_leave_out_what_could_not_be_read(utils):
    """An error that is not known is no zero."""
    assert utils.mean_of_known([1.0, None, 3.0]) == 2
    assert math.isnan(utils.mean_of_known([None]))


def test_released_answers_score_full(utils, built):
    """On each row of a built benchmark the released answer is readable and right, and the prompt asks for its form."""
    seen = set()
    for file in sorted(built.glob("benchmark/*/*.parquet")):
        for row in pq.read_table(file).to_pylist():
            task = utils.task_of(row)
            seen.add(task)
            answer = row["answer"]
            if task == "grounding":
                sides = (row["width"], row["height"]) * 2
                box = row["objects"]["box"][0]
                answer = json.dumps([1000 * value / side for value, side in zip(box, sides, strict=True)])
            found = utils.process_results(row, [answer])
            assert found.pop("answers") == {"id": row["id"], "answer": answer}
            assert found.pop("unreadable") == 0
            for metric, value in found.items():
                assert value == pytest.approx(0 if re.search("error|distance", metric) else 1)
            prompt = utils.doc_to_text(row, {"pre_prompt": "<", "post_prompt": ">"})
            assert prompt.startswith(f"<{row['question']}")
            assert prompt.endswith(">")
            assert all(f") {choice}" in prompt for choice in row["choices"])
    assert seen == set(TASKS)


def test_deep_images_are_mapped(utils):
    """A 16-bit image reaches the model with its contrast, not white."""
    image = Image.new("I;16", (8, 8), 7000)
    image.putpixel((0, 0), 9000)
    (seen,) = utils.doc_to_visual({"image": image})
    assert seen.mode == "RGB"
    assert seen.getextrema()[0] != (255, 255)
