"""The rules of the nine tasks: true of the labels, seeded, and the released strings where that is possible."""

import csv
import json
import random
import re
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks import (
    BENCHMARK_TASKS,
    MAKERS,
    MODULES,
    PARSERS,
    grounding,
    location,
    recognition,
    reid,
    relationship,
    security,
)
from irtd_datasets.irtd.tasks.generation import CHOICES, RELEASED, Labels, Rules, cell, per_mille, read_rules
from irtd_datasets.irtd.tasks.parsing import options, split_options
from irtd_datasets.irtd.words import word
from irtd_datasets.releases.containers import open_container
from irtd_datasets.rows.seeded import Draw, draw_key

FILES = {part.task: part.file for part in SPEC.subset("instruct").parts if part.public}
WIDTH, HEIGHT = 640, 512


@pytest.fixture(scope="module")
def boxes(real):
    """The labels of the frames of roadscene, whose released records are known."""
    found = defaultdict(list)
    with (real / "roadscene/_derived/boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, w, h = (float(row[key]) for key in "xywh")
            found[row["frame"]].append(LabelledObject(row["class"], (x, y, x + w, y + h)))
    return found


@pytest.fixture(scope="module")
def records(real):
    """Frame, question and answer of the released records of these frames, by file."""

    def read(name):
        for record in json.loads((real / f"roadscene/_irgpt_records/{name}.json").read_text()):
            frame = record["image"][0].rpartition("/")[2].partition(".")[0]
            question, answer = (turn["value"] for turn in record["conversations"])
            yield frame, question.removeprefix("<image>\n"), answer

    return lambda name: list(read(name))


def released_labels(boxes, frame):
    return Labels(LabelledImage("FLIR_ADAS", f"{frame}.png", tuple(boxes[frame]), WIDTH, HEIGHT))


def without_box(boxes, records):
    """Frames with released points that no box of the table has: the table was made from another set's crops."""
    gone = set()
    for frame, _, answer in records("Location"):
        name, points = location.parse_answer(answer)
        if len(released_labels(boxes, frame).of(name)) != len(points):
            gone.add(frame)
    return gone


def test_released_location_strings_are_made_again(boxes, records):
    """56 of 61 records come out byte for byte; the boxes of the other five, in two frames, are not in the table."""
    missing = without_box(boxes, records)
    assert missing == {"FLIR_07970", "FLIR_06795"}
    same, other = 0, []
    for frame, question, answer in records("Location"):
        made = location.make(released_labels(boxes, frame), RELEASED, Draw(0))
        if (question, answer) in {(one.question, one.answer) for one in made}:
            same += 1
        else:
            other.append(frame)
    assert (same, len(other)) == (56, 5)
    assert set(other) == missing


def test_every_box_with_a_released_record_gives_its_point(boxes, records):
    """All 233 boxes of the table whose frame and class have a Location record; 5 of a validation frame have none."""
    points = {}
    for frame, _, answer in records("Location"):
        name, listed = location.parse_answer(answer)
        points[frame, name] = listed
    found, without = 0, set()
    for frame in boxes:
        for thing in released_labels(boxes, frame).things:
            if (frame, thing.word) in points:
                assert per_mille(thing, WIDTH, HEIGHT) in points[frame, thing.word]
                found += 1
            else:
                without.add(frame)
    assert (found, without) == (233, {"FLIR_09512"})
    assert sum(map(len, points.values())) - found == 34  # of FLIR_07970 and FLIR_06795, which have no box


def test_released_grounding_strings_are_made_again(boxes, records):
    """All ten records are among the phrases that the released rules allow for their frame."""
    found = 0
    for frame, question, answer in records("Detection"):
        phrases = grounding.phrases(released_labels(boxes, frame), RELEASED)
        made = {
            (f"Detect the bounding box of the {phrase}.", grounding.format_answer(thing.box))
            for _, phrase, thing in phrases
        }
        found += (question, answer) in made
    assert found == 10


def test_the_nearest_of_several_is_the_largest(boxes, records):
    """In the released records with several objects in the cell the nearest has the largest box, not the lowest edge."""
    lowest = 0
    seen = 0
    for frame, question, answer in records("Detection"):
        asked = re.fullmatch(r"Detect the bounding box of the nearest (\w+) located at the (.+)\.", question)
        if asked is None:
            continue
        there = [
            thing
            for thing in released_labels(boxes, frame).of(asked[1])
            if cell(thing.x, thing.y, WIDTH, HEIGHT) == asked[2]
        ]
        if len(there) == 1:
            continue
        seen += 1
        box = grounding.parse_answer(answer)
        assert max(there, key=lambda thing: thing.area).box == box
        lowest += max(there, key=lambda thing: thing.lower_edge).box == box
    assert (seen, lowest) == (3, 2)


def test_released_security_answers_are_made_again(boxes, records):
    """The answer follows from options and labels in all frames whose boxes are known, 32 of 34."""
    missing = without_box(boxes, records)
    wrong = set()
    for frame, question, answer in records("Security"):
        _, choices = split_options(question)
        if security.answer_to(choices, set(released_labels(boxes, frame).words)) != answer:
            wrong.add(frame)
    assert wrong == missing
    assert len(records("Security")) == 34


def test_released_relationship_answers_agree_where_all_objects_do(boxes, records):
    """Left, right, near and far follow the pair rule where every object of the class gives the same answer."""
    missing = without_box(boxes, records)
    ordinals = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
    judged = 0
    for frame, question, answer in records("Relationship"):
        asked = re.fullmatch(
            rf"Is there a (\w+) ({'|'.join(relationship.RELATIONS)}) the the (\w+) (\w+) from left to right\?",
            question,
        )
        name, relation, ordinal, other = asked.groups()
        if frame in missing or relation in ("in front of", "behind"):
            continue
        labels = released_labels(boxes, frame)
        k = ordinals.get(ordinal) or int(re.match(r"\d+", ordinal)[0])
        reference = labels.of(other)[k - 1]
        said = {relationship.judge(target, reference, relation, WIDTH) for target in labels.of(name)}
        if len(said) == 1:
            judged += 1
            assert relationship.format_answer(said.pop()) == answer
    assert judged >= 7


def test_every_released_answer_is_parsed_and_written_back(real):
    """The answer grammar of each task reads all 40,200 released answers and writes the same bytes."""
    container = open_container(real / "irtd_json_sft/json_sft.zip")
    count = 0
    for task, file in FILES.items():
        module = MODULES[task]
        for _, record in read_records(container.open(f"json_sft/{file}"), name=file):
            answer = record["conversations"][1]["value"]
            parsed = module.parse_answer(answer)
            written = module.format_answer(*parsed) if task == "location" else module.format_answer(parsed)
            assert written == answer
            count += 1
    assert count == 40_200


def test_the_vocabulary_is_that_of_the_release(real):
    """The options of Recognition are 47 words, those of Security 15."""
    container = open_container(real / "irtd_json_sft/json_sft.zip")
    for file, vocabulary in (
        ("Recognition.json", recognition.VOCABULARY),
        ("Security.json", security.VOCABULARY),
    ):
        found = set()
        for _, record in read_records(container.open(f"json_sft/{file}"), name=file):
            found.update(name for _, name in options(record["conversations"][0]["value"].rpartition("\n")[2]))
        assert found == set(vocabulary)


# Properties on made labels.

CLASSES = ("Person", "Car", "Bicycle", "Truck", "Bus")


@st.composite
def images(draw):
    """An image with boxes of some classes, of which some are labelled exhaustively."""
    objects = []
    for _ in range(draw(st.integers(0, 9))):
        x, y = draw(st.integers(0, WIDTH - 30)), draw(st.integers(0, HEIGHT - 30))
        w, h = draw(st.integers(4, 200)), draw(st.integers(4, 200))
        label = draw(st.sampled_from(CLASSES))
        objects.append(LabelledObject(label, (x, y, min(x + w, WIDTH), min(y + h, HEIGHT))))
    exhaustive = frozenset(draw(st.sets(st.sampled_from(CLASSES))))
    return LabelledImage("made", "1.png", tuple(objects), WIDTH, HEIGHT, exhaustive=exhaustive)


def records_of(image, task, rules=None, seed=0, view="ground"):
    labels = Labels(image, view=view)
    return MAKERS[task](labels, rules or Rules(), Draw(seed, image.source, image.image, task))


def shuffled(image, seed):
    objects = list(image.objects)
    random.Random(seed).shuffle(objects)
    return replace(image, objects=tuple(objects))


@given(images(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_what_is_made_can_be_read(image, seed):
    """Each record follows its task's template in all three wordings, and its parser finds no slip but those of it."""
    for task in MAKERS:
        if task in ("captioning", "scene"):
            continue
        for wording in ("released", "mended", "paper"):
            for view in ("ground", "aerial"):
                for made in records_of(image, task, Rules(wording=wording), seed, view):
                    parsed = PARSERS[task](made.question, made.answer)
                    assert parsed.question
                    if wording == "mended":
                        # What the parsers of released files say of every record of theirs is left aside.
                        assert not set(parsed.quirks) - {
                            "existential-no",
                            "source-misfiled",
                            "absence-unverified",
                        }


@given(images(), st.integers(0, 3), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_order_of_the_labels_does_not_matter(image, seed, order):
    """The same labels in another order of the file give the same records; so does a second run."""
    for task in MAKERS:
        if task == "captioning":
            continue
        first = records_of(image, task, seed=seed)
        assert records_of(shuffled(image, order), task, seed=seed) == first
        assert records_of(image, task, seed=seed) == first


@given(images(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_grounding_phrases_fit_one_object(image, seed):
    """The place of a phrase holds one object of the class, or the answer is clearly the largest there."""
    labels = Labels(image)
    for made in records_of(image, "grounding", seed=seed):
        phrase = re.fullmatch(r"Detect the bounding box of the (.+)\.", made.question)[1]
        box = grounding.parse_answer(made.answer)
        place = re.fullmatch(r"(nearest )?(.+) located at the (.+?)( of the image)?", phrase)
        if place:
            assert place[2] in labels.exhaustive
            there = [t for t in labels.of(place[2]) if cell(t.x, t.y, WIDTH, HEIGHT) == place[3]]
            assert box in [t.box for t in there]
            others = [t.area for t in there if t.box != box]
            mine = (box[2] - box[0]) * (box[3] - box[1])
            assert not others if not place[1] else all(mine >= grounding.CLEAR * area for area in others)
        else:
            one, side, other = re.fullmatch(r"(.+) located to the (left|right) of the (.+)", phrase).groups()
            (reference,) = [t for t in labels.of(other) if t.box != box]
            assert len(labels.of(one)) == (2 if one == other else 1)
            centre = (box[0] + box[2]) / 2
            assert centre < reference.x if side == "left" else centre > reference.x


@given(images(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_relationship_is_true_as_read(image, seed):
    """Yes when any object stands in the relation, no when none does, judged anew from the boxes."""
    labels = Labels(image)
    ordinals = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
    for made in records_of(image, "relationship", seed=seed):
        name, relation, ordinal, other = re.fullmatch(
            rf"Is there an? (.+?) ({'|'.join(relationship.RELATIONS)}) the the (\w+) (.+) from left to right\?",
            made.question,
        ).groups()
        k = ordinals.get(ordinal) or int(re.match(r"\d+", ordinal)[0])
        assert {name, other} <= labels.exhaustive
        reference = sorted(labels.of(other), key=lambda t: t.x)[k - 1]
        said = []
        for target in labels.of(name):
            dx, dy = target.x - reference.x, target.y - reference.y
            distance = (dx**2 + dy**2) ** 0.5
            said.append(
                {
                    "on the left side of": dx < 0,
                    "on the right side of": dx > 0,
                    "near to": distance < WIDTH / 4,
                    "far from": distance > WIDTH / 2,
                    "in front of": target.box[3] > reference.box[3],
                    "behind": target.box[3] < reference.box[3],
                }[relation]
            )
        assert made.answer == ("yes" if any(said) else "no")


@given(images(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_security_calls_absent_what_is_known_to_be(image, seed):
    """Options are present or labelled exhaustively without an object; both occur, the answer is all absent ones."""
    present = {word(thing.label) for thing in image.objects}
    exhaustive = {word(label) for label in image.exhaustive}
    for made in records_of(image, "security", seed=seed):
        _, choices = split_options(made.question)
        answer = {name for _, name in options(made.answer)}
        assert 3 <= len(choices) <= 4
        assert len(set(choices)) == len(choices)
        assert answer == set(choices) - present
        assert answer <= exhaustive
        assert answer != set(choices)


@given(images(), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_counts_and_points_are_those_of_the_labels(image, seed):
    """Counting gives the number of labelled objects, Location a point for each, in order from the left."""
    labels = Labels(image, view="aerial")
    cars = sum(thing.label == "Car" for thing in image.objects)
    made = records_of(image, "aerial_counting", seed=seed, view="aerial")
    assert [one.answer for one in made] == ([f"<num>{cars}</num>"] if "Car" in image.exhaustive else [])
    for one in records_of(image, "location", seed=seed):
        name, points = location.parse_answer(one.answer)
        assert name in labels.exhaustive
        assert len(points) == len(labels.of(name))
        assert points == sorted(points)


def test_an_unclear_region_silences_what_needs_all_objects():
    """A region that the source tells to ignore, or a crowd, leaves no statement about how many or where all are."""
    person = LabelledObject("Person", (100, 100, 150, 220))
    car = LabelledObject("Car", (300, 200, 420, 300))
    everything = frozenset(CLASSES)
    clear = LabelledImage("made", "1.png", (person, car), WIDTH, HEIGHT, exhaustive=everything)
    assert records_of(clear, "location")
    assert records_of(clear, "security")
    for unclear in (
        LabelledObject("DontCare", (0, 0, 50, 50)),
        LabelledObject("Person", (0, 0, 90, 90), attributes=frozenset({"crowd"})),
    ):
        image = replace(clear, objects=(person, car, unclear))
        for task in MAKERS:
            if task != "scene":
                assert not records_of(image, task, view="aerial"), task


def test_small_and_mixed_images_are_not_recognised():
    """Recognition asks for images of one class with an object that is large enough, with no option of its scene."""
    large = LabelledObject("fox", (100, 100, 200, 200))
    image = LabelledImage("LSOTB-TIR", "1.png", (large,), WIDTH, HEIGHT)
    letters = set()
    for seed in range(60):
        (made,) = records_of(image, "recognition", seed=seed)
        _, choices = split_options(made.question)
        assert len(set(choices)) == 4
        assert [name for _, name in options(made.answer)] == ["fox"]
        letters.add(options(made.answer)[0][0])
    assert letters == set("ABCD")
    assert not records_of(replace(image, objects=(LabelledObject("fox", (0, 0, 9, 90)),)), "recognition")
    assert not records_of(
        replace(image, objects=(large, LabelledObject("person", (0, 0, 90, 90)))), "recognition"
    )
    person = replace(image, objects=(LabelledObject("pedestrian", (0, 0, 90, 90)),))
    for seed in range(40):
        (made,) = records_of(person, "recognition", seed=seed)
        assert not set(split_options(made.question)[1]) & {
            "car",
            "bus",
            "truck",
            "dog",
            "motobike",
            "tricycle",
        }


def people(names, cameras=("1", "2"), shots=3):
    return {
        name: [
            LabelledImage(
                "made", f"cam{camera}/{name}/{shot}.bmp", identity=name, camera=camera, modality=modality
            )
            for camera, modality in zip(cameras, ("infrared", "infrared", "optical"), strict=False)
            for shot in range(shots)
        ]
        for name in names
    }


def test_a_mosaic_has_one_match():
    """Eight crops, the first and the answer of one person, the others of six others; the match by another camera."""
    everybody = people([f"{n:04d}" for n in range(12)])
    answers = set()
    for seed in range(80):
        made = reid.make_mosaic("0003", everybody, Rules(), Draw(seed))
        identities = [name.split("/")[1] for name in made.members]
        cameras = [name.split("/")[0] for name in made.members]
        number = reid.parse_answer(made.answer)
        assert len(made.members) == 8
        assert identities[0] == identities[number - 1] == "0003"
        assert len(set(identities)) == 7
        assert cameras[0] != cameras[number - 1]
        assert set(cameras[1:]) == {cameras[number - 1]}  # the camera does not give the match away
        answers.add(number)
        assert reid.read(made.question, made.answer).answer == made.answer
    assert answers == set(range(2, 9))


def test_a_mosaic_across_modalities():
    """With cross-modality the query is infrared and all others are visible."""
    everybody = people([f"{n:04d}" for n in range(9)], cameras=("1", "2", "3"))
    made = reid.make_mosaic("0001", everybody, Rules(match="cross-modality"), Draw(1))
    assert [name.split("/")[0] == "cam3" for name in made.members] == [False] + [True] * 7
    assert reid.make_mosaic("0001", people(["0001", "0002"]), Rules(), Draw(1)) is None  # too few people
    alone = people([f"{n:04d}" for n in range(9)], cameras=("1",), shots=1)
    assert reid.make_mosaic("0001", alone, Rules(), Draw(1)) is None  # no second image


def test_scene_options_do_not_contradict_each_other():
    """A class that can be true of the same image is no option, unless that is asked for."""
    scenes = ("country", "field", "forest", "indoor", "mountain", "oldbuilding", "street", "urban", "water")
    image = LabelledImage("RGBNIR", "urban/1.tif", scene="urban")
    for seed in range(30):
        (made,) = MAKERS["scene"](Labels(image, scenes=scenes), Rules(), Draw(seed))
        _, choices = split_options(made.question)
        assert len(set(choices)) == 4
        assert made.answer == f"({'ABCD'[choices.index('urban')]}) urban"
        assert not set(choices) & {"street", "oldbuilding"}
    any_option = {
        name
        for seed in range(30)
        for made in MAKERS["scene"](Labels(image, scenes=scenes), Rules(scenes="any"), Draw(seed))
        for name in split_options(made.question)[1]
    }
    assert "street" in any_option


@pytest.mark.parametrize(
    ("counts", "caption"),
    [
        (("Truck",), "The image contains 1 truck."),
        (("Car",) * 7 + ("Person",) * 15, "The image contains 7 cars and 15 people."),
        (("Person", "Bus", "Bus", "Car"), "The image contains 2 buses, 1 car and 1 person."),
    ],
)
def test_rule_captions_have_the_printed_form(counts, caption):
    """The two captions of the paper's figure come out; more classes are listed with commas."""
    objects = tuple(LabelledObject(label, (i, i, i + 9, i + 9)) for i, label in enumerate(counts))
    image = LabelledImage("made", "1.png", objects, WIDTH, HEIGHT, exhaustive=frozenset(CLASSES))
    (made,) = records_of(image, "captioning")
    assert made.answer == caption


def test_choices_are_complete():
    """Each choice is a field of the rules with its first value as default, and a released value; others are refused."""
    for choice in CHOICES:
        assert getattr(Rules(), choice.name) == choice.values[0]
        assert choice.released in choice.values
        assert choice.task in ("", *MODULES)
        assert choice.meaning
        assert choice.source
    assert read_rules({"match": "any"}).match == "any"
    with pytest.raises(UnknownNameError, match="no value 'nearly'"):
        read_rules({"relationship": "nearly"})
    with pytest.raises(UnknownNameError, match="no choice 'colour'"):
        read_rules({"colour": "red"})


def test_every_scored_task_says_its_metric():
    """The nine tasks name a metric of the paper, and have an answer grammar."""
    assert len(BENCHMARK_TASKS) == 9
    for task in BENCHMARK_TASKS:
        module = MODULES[task]
        assert module.METRIC in {"accuracy", "mean absolute error", "mean average precision at IoU 0.5"}
        assert callable(module.parse_answer)
        assert callable(module.format_answer)


def test_draws_are_the_same_everywhere():
    """The numbers of a draw are written down here: another machine or version must give the same."""
    draw = Draw(7, "LLVIP", "190001.jpg")
    assert [draw.below(10) for _ in range(12)] == [0, 0, 0, 8, 0, 7, 2, 1, 8, 3, 9, 7]
    assert Draw(7, "a").shuffled("ABCDEFGH") != Draw(8, "a").shuffled("ABCDEFGH")
    assert sorted(Draw(3, "x").sample(range(100), 10)) == sorted(set(Draw(3, "x").sample(range(100), 10)))
    assert draw_key(0, "LLVIP", "infrared/test/190001.jpg").hex() == "1b254055c516723c"
    counts = [0] * 7
    for number in range(7000):
        counts[Draw(0, str(number)).below(7)] += 1
    assert min(counts) > 880
    assert max(counts) < 1120
    many = Draw(1)
    assert len({many.below(1 << 70) for _ in range(50)}) == 50
