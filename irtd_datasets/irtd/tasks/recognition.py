"""Recognition: one of four options names the object in the image. Metric: accuracy (paper section 5.1).

Rule (measured on 3,705 released records): four distinct options of a vocabulary of 47 words, those of LSOTB-TIR, one
of them right, its letter uniform. The released gold is not always the class of the sequence's folder; here it is the
label.

Chosen here: an image is asked about when all its labelled objects are of one class and the largest of them has a
shorter side of at least `LEAST_SIDE` pixels; wrong options by the choice ``distractors``.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.choice import format_answer, parse_answer, read
from irtd_datasets.irtd.tasks.generation import Made, lettered, meet, write_options

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.generation import Labels, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["LEAST_SIDE", "METRIC", "QUESTION", "VOCABULARY", "format_answer", "make", "parse_answer", "read"]

METRIC = "accuracy"
QUESTION = "What is the object in the picture?"
"""The same in the release and in the paper's Fig. 2."""

LEAST_SIDE = 16
"""Pixels: what is smaller is hardly recognised by anybody."""

VOCABULARY = (
    "person",
    "fox",
    "deer",
    "coyote",
    "car",
    "dog",
    "badger",
    "boat",
    "airplane",
    "helicopter",
    "cat",
    "cow",
    "elephant",
    "roo",
    "bird",
    "lion",
    "sheep",
    "hog",
    "buffalo",
    "motobike",
    "horse",
    "rabbit",
    "rat",
    "bus",
    "hippo",
    "leopard",
    "giraffe",
    "truck",
    "bear",
    "raccoon",
    "hedgehog",
    "hyenas",
    "crocodile",
    "rhino",
    "bat",
    "monkey",
    "seal",
    "tricycle",
    "goose",
    "tank",
    "chicken",
    "drone",
    "ericius",
    "squirrel",
    "snake",
    "duck",
    "penguin",
)
"""The 47 words of the released options, in the order of their first use."""


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """A question about the one kind of object in the image."""
    if len(labels.words) != 1 or labels.unclear:
        return []
    gold = {"motor": "motobike"}.get(labels.words[0], labels.words[0])  # the vocabulary's own word
    side = max((min(t.box[2] - t.box[0], t.box[3] - t.box[1]) for t in labels.things if t.box), default=0)
    if gold not in VOCABULARY or side < LEAST_SIDE:
        return []
    meets = operator.eq if rules.distractors == "any" else meet
    wrong = [name for name in VOCABULARY if not meets(name, gold)]
    options = draw.shuffled([gold, *draw.sample(wrong, 3)])
    named = lettered(options)
    answer = format_answer([pair for pair in named if pair[1] == gold])
    return [Made(f"{QUESTION}\n{write_options(named)}", answer, gold)]
