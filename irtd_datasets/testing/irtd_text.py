"""Texts of the IR-TD release, word by word: questions, answers, records and files as the authors write them.

The strings were compared with all 40,200 records of ``json_sft.zip``, odd spellings included (the double
"the the", ``22th``, the leading space of Location).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.testing.samples import Box, SampleObject, SampleRecord

__all__ = [
    "ABSENT_WORDS",
    "PREFIX",
    "RECOGNITION_WORDS",
    "RELATIONS",
    "SCENE_WORDS",
    "SECURITY_WORDS",
    "caption",
    "cell_name",
    "file_text",
    "location_answer",
    "options",
    "ordinal",
    "per_mille",
    "relation_holds",
]

PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"
"""The constant start of every path in ``json_sft``: a folder of the authors' machine."""

# Gold words of Recognition with the counts of the release; the other 14 words only occur as wrong options.
RECOGNITION_COUNTS = {
    "person": 920, "fox": 274, "deer": 222, "car": 190, "badger": 186, "dog": 183, "coyote": 179, "boat": 155,
    "airplane": 149, "cat": 136, "helicopter": 114, "elephant": 109, "bird": 98, "cow": 93, "hog": 84,
    "lion": 74, "roo": 70, "sheep": 67, "rabbit": 59, "horse": 51, "motobike": 46, "rat": 45, "hippo": 33,
    "raccoon": 31, "leopard": 29, "buffalo": 29, "bear": 28, "giraffe": 26, "bus": 15, "tricycle": 4,
    "rhino": 3, "chicken": 2, "truck": 1,
}  # fmt: skip
RECOGNITION_WORDS = (
    *RECOGNITION_COUNTS,
    *("hedgehog", "hyenas", "crocodile", "bat", "monkey", "seal", "tank", "goose", "drone", "ericius"),
    *("squirrel", "snake", "duck", "penguin"),
)
SECURITY_WORDS = (
    *("car", "person", "bike", "sign", "truck", "motor", "scooter", "bus", "light", "train", "other vehicle"),
    *("skateboard", "stroller", "dog", "hydrant"),
)
ABSENT_WORDS = frozenset(SECURITY_WORDS[3:])
"""Words of Security that the annotation of FLIR ADAS v1 never marks: absent by missing annotation."""

SCENE_WORDS = ("country", "field", "forest", "indoor", "mountain", "oldbuilding", "street", "urban", "water")

RELATIONS = ("on the left side of", "on the right side of", "in front of", "behind", "near to", "far from")

NEAR_LIMIT, FAR_LIMIT = 160, 320  # pixels between centres: a quarter and half of the 640 px width

_ORDINALS = ("first", "second", "third", "fourth", "fifth")

RECOGNITION_QUESTION = "<image>\nWhat is the object in the picture?\n"
SECURITY_QUESTION = "<image>\nWhat object does not appear in the picture?\n"
SCENE_QUESTION = "<image>\nIdentify the type of scene in the image.\n"
REID_QUESTION = (
    "<image>\nWhich person has the same identity with the person in the upper left corner? "
    "Answer the ordinal numbers and the order will be\n1234\n5678"
)
AERIAL_QUESTION = "<image>\nCalculate the number of cars in the picture."
PEDESTRIAN_QUESTION = "<image>\nCalculate the number of pedestrians in the picture."


def ordinal(position: int) -> str:
    """Return the ordinal of a 1-based position as the authors spell it.

    Example:
        >>> [ordinal(n) for n in (1, 5, 6, 22)]
        ['first', 'fifth', '6th', '22th']
    """
    return _ORDINALS[position - 1] if position <= len(_ORDINALS) else f"{position}th"


def cell_name(x: float, y: float, width: int, height: int) -> str:
    """Return the word of the 3x3 cell in which a point lies (thirds of width and height).

    Example:
        >>> cell_name(320, 256, 640, 512), cell_name(10, 500, 640, 512), cell_name(600, 10, 640, 512)
        ('center', 'bottom left', 'top right')
    """
    column = ("left", "center", "right")[min(2, int(3 * x / width))]
    row = ("top ", "", "bottom ")[min(2, int(3 * y / height))]
    return row + column


def per_mille(value: float, extent: int) -> int:
    """Return a coordinate in thousandths of the extent, halves to the even number as in the release.

    Example:
        >>> per_mille(320.5, 640), per_mille(320, 640), per_mille(0.32, 640)
        (501, 500, 0)
    """
    return round(value / extent * 1000)


def relation_holds(relation: str, target: tuple[float, float], reference: tuple[float, float]) -> bool:
    """Say whether a target stands in a relation to a reference (centres in pixels of a 640x512 image).

    Left, right, near and far are the rules recovered from the release. How the authors tell front from behind
    is not known; "in front of" is taken here as the smaller y, which fits most of the records.

    Example:
        >>> relation_holds("near to", (0, 0), (100, 100)), relation_holds("far from", (0, 0), (320, 0))
        (True, False)
    """
    dx, dy = target[0] - reference[0], target[1] - reference[1]
    squared = dx * dx + dy * dy
    return {
        "on the left side of": dx < 0,
        "on the right side of": dx > 0,
        "in front of": dy < 0,
        "behind": dy > 0,
        "near to": squared < NEAR_LIMIT**2,
        "far from": squared > FAR_LIMIT**2,
    }[relation]


def options(words: Sequence[str], chosen: Sequence[str] | None = None) -> str:
    """Return lettered options in one line; only the chosen ones, with the letters of all, if given.

    Example:
        >>> options(["car", "dog", "bus", "sign"]), options(["car", "dog", "bus", "sign"], ["bus", "dog"])
        ('(A) car (B) dog (C) bus (D) sign', '(B) dog (C) bus')
    """
    return " ".join(
        f"({letter}) {word}"
        for letter, word in zip("ABCD", words, strict=True)
        if chosen is None or word in chosen
    )


def grounding_answer(box: Box) -> str:
    """Return the answer of Grounding for a box in pixels."""
    return f"The target bounding box is <box>[[{box[0]}, {box[1]}, {box[2]}, {box[3]}]]</box>."


def location_answer(label: str, centres: Sequence[tuple[float, float]], width: int, height: int) -> str:
    """Return the answer of Location for centres in pixels, sorted by x.

    Example:
        >>> location_answer("car", [(320.0, 256.0)], 640, 512)
        '<ref>car</ref> at <pos>[(500, 500)]</pos>'
    """
    points = sorted((per_mille(x, width), per_mille(y, height)) for x, y in centres)
    return f"<ref>{label}</ref> at <pos>[{', '.join(f'({x}, {y})' for x, y in points)}]</pos>"


def _plural(label: str, count: int) -> str:
    if count == 1:
        return f"one {label}"
    number = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    word = number[count] if count < len(number) else str(count)
    return f"{word} {'people' if label == 'person' else label + 's'}"


def caption(objects: Sequence[SampleObject], width: int, height: int, *, opening: str, setting: str) -> str:
    """Return a description in whole sentences, made from the objects.

    Example:
        >>> from irtd_datasets.testing.samples import SampleObject
        >>> item = SampleObject.at("car", (10, 200, 60, 240))
        >>> caption([item], 640, 512, opening="The image shows", setting="a street").split(".")[0]
        'The image shows a street in thermal infrared with one car'
    """
    counts: dict[str, int] = {}
    for item in objects:
        counts[item.label] = counts.get(item.label, 0) + 1
    listed = [_plural(label, count) for label, count in counts.items()]
    content = (
        f" with {', '.join(listed[:-1])} and {listed[-1]}"
        if len(listed) > 1
        else f" with {listed[0]}"
        if listed
        else ""
    )
    sentences = [f"{opening} {setting} in thermal infrared{content}."]
    for item in sorted(objects, key=lambda item: item.centre)[:8]:
        share = (item.box[3] - item.box[1]) / height
        size = "large" if share > 0.3 else "small" if share < 0.1 else "medium-sized"
        where = cell_name(*item.centre, width, height)
        sentences.append(f"A {size} {item.label} appears bright against its surroundings at the {where}.")
    sentences.append(
        "The sky is dark and cold, while the ground and the vegetation keep some of the heat of the day."
    )
    sentences.append("Brighter areas are warmer, and no colour or written text can be made out.")
    return " ".join(sentences)


# ------------------------------------------------------------------------------------------------ files

_OUTER = {  # what stands before, between and after the objects of each file of the release
    "Recognition.json": ("[", ",\n", "]\n"),
    "Detection.json": ("", ",\n", ",\n"),
    "Location.json": ("[\n", ",\n", "\n]"),
    "Relationship.json": ("[\n", ",\n", "\n]\n"),
    "Security.json": ("[\n", ",\n", "\n]"),
    "AerialCounting.json": ("[", ",\n", "]\n"),
    "PedestrianCounting.json": ("[", ",\n", "]"),
    "Scene.json": ("[\n", ",\n", "\n]\n"),
}


def record_text(record: SampleRecord, indent: str = "") -> str:
    """Return one record as JSON, with the key order and indentation of the release."""
    lines = (
        "{",
        f'    "id": {json.dumps(record.id)},',
        '    "image": [',
        f"        {json.dumps(PREFIX + record.image)}",
        "    ],",
        '    "conversations": [',
        "        {",
        '            "from": "human",',
        f'            "value": {json.dumps(record.question)}',
        "        },",
        "        {",
        '            "from": "gpt",',
        f'            "value": {json.dumps(record.answer)}',
        "        }",
        "    ]",
        "}",
    )
    return "\n".join(indent + line for line in lines)


def file_text(name: str, records: Sequence[SampleRecord]) -> str:
    """Return a task file as text, ASCII with LF, laid out as the file of that name in the release.

    ``Detection.json`` comes out as it was released: without brackets and with a trailing comma.
    """
    if name == "ReID.json":
        return "[\n" + ",\n".join(record_text(record, "    ") for record in records) + "\n]"
    before, between, after = _OUTER[name]
    return before + between.join(record_text(record) for record in records) + after
