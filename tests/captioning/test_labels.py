"""Texts are held against the labels: what contradicts counts, classes or sides is found, nothing else."""

import pytest

from irtd_datasets.captioning.labels import KnownLabels, KnownObject, contradictions

KNOWN = KnownLabels(
    (
        KnownObject("person", 0.1, (0.05, 0.2, 0.15, 0.6)),
        KnownObject("car", 0.7),
        KnownObject("car", 0.8),
        KnownObject("car", 0.9),
    ),
    frozenset({"person", "car", "bus", "bike"}),
    {"person": "people", "bus": "buses"},
)
LOOSE = KnownLabels((KnownObject("car", 0.8), KnownObject("car", 0.9)))


def codes(text, question="", known=KNOWN):
    return {one.partition(":")[0] for one in contradictions(known, text, question)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("There are seven cars on the road.", "labels-count"),
        ("The image shows 5 people.", "labels-count"),
        ("The image contains two cars.", "labels-count"),
        ("Two pedestrians walk along the road.", "labels-count"),
        ("Several people walk on the pavement.", "labels-count"),
        ("In total, four large parked cars can be seen.", "labels-count"),
        ("A pair of people cross the street.", "labels-count"),
        ("A bus stands behind the cars.", "labels-class"),
        ("The cars drive behind two buses.", "labels-class"),
        ("A cyclist on a bicycle passes.", "labels-class"),
        ("There are no cars in the image.", "labels-absent"),
        ("The road is free of cars.", "labels-absent"),
        ("People are not visible here.", "labels-absent"),
        ("The person stands on the right side of the image.", "labels-side"),
        ("All cars are parked on the left.", "labels-side"),
        ("The person walks to the right of the cars.", "labels-side"),
        ("A car is on the left of the person.", "labels-side"),
    ],
)
def test_what_contradicts_the_labels_is_found(text, code):
    """Each kind of contradiction has its code."""
    assert code in codes(text)


@pytest.mark.parametrize(
    "text",
    [
        "The image shows three cars and one person.",
        "The image shows three cars and a person on the left.",
        "Two cars stand at the far right, and another car is closer to the middle.",
        "One of the cars stands near the person.",
        "There are two cars parked at the right edge.",
        "There is no bus in the image, and no bicycle.",
        "A person walks to the left of the cars.",
        "The cars are on the right side of the road, and the person is on the left side of the image.",
        "Trees and 12 windows are behind the cars.",
        "There are no other cars.",
        "There are no cars on the left.",
        "The second car is warmer than the first car.",
        "A man stands near the lamp post.",
        "The scene has a 3-lane road with cars.",
        "It is not clear whether a bus would fit here.",
        "",
    ],
)
def test_what_agrees_with_the_labels_or_goes_beyond_them_is_left_alone(text):
    """True statements, parts of a whole, negations, and things that nobody labelled are no contradiction."""
    assert contradictions(KNOWN, text) == []


@pytest.mark.parametrize(
    ("question", "answer", "code"),
    [
        ("How many cars are there?", "There are four.", "labels-count"),
        ("How many cars are there?", "Two.", "labels-count"),
        ("How many people can be seen?", "None.", "labels-count"),
        ("Is there a bus in the image?", "Yes, there is.", "labels-class"),
        ("Is there a person?", "No, there is not.", "labels-absent"),
        ("Are there any cars?", "No.", "labels-absent"),
        ("Where is the person?", "On the right side.", "labels-side"),
        ("Is the person to the left of the cars?", "No.", "labels-side"),
        ("Is the person to the right of the car?", "Yes.", "labels-side"),
        ("Is the car on the left side of the image?", "Yes.", "labels-side"),
    ],
)
def test_an_answer_is_read_with_its_question(question, answer, code):
    """Numbers, yes and no, and sides are about what the question asks."""
    assert code in codes(answer, question)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many cars are there?", "There are three cars."),
        ("How many cars are on the left?", "None."),
        ("How many cars stand near the middle?", "One."),
        ("Is there a bus in the image?", "No, there is no bus."),
        ("Is there a person?", "Yes, one person stands on the left."),
        ("Where is the person?", "On the left side of the image."),
        ("Is the person to the left of the cars?", "Yes, it is."),
        ("What is beside the bus stop?", "A person."),
        ("Why might a driver be careful?", "The person could step onto the road in front of the cars."),
    ],
)
def test_right_answers_are_accepted(question, answer):
    """What agrees is no contradiction, with its question, too."""
    assert contradictions(KNOWN, answer, question) == []


def test_labels_that_may_be_incomplete_bound_from_below_only():
    """Of a class that is not labelled exhaustively there can be more, elsewhere, too; fewer is still wrong."""
    assert codes("The image shows seven cars.", known=LOOSE) == set()
    assert codes("A car is on the left.", known=LOOSE) == set()
    assert codes("The image shows one car.", known=LOOSE) == {"labels-count"}
    assert codes("There are no cars.", known=LOOSE) == {"labels-absent"}
    assert codes("A bus.", known=KnownLabels(())) == set()


def test_labels_are_told_as_llava_tells_them():
    """A line for each object: its class and its box in 0 to 1."""
    assert KNOWN.describe().splitlines()[0] == "person: [0.050, 0.200, 0.150, 0.600]"
    assert len(KNOWN.describe().splitlines()) == 4
