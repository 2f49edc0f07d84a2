"""Security: which of four options do not appear in the image; several can be right. Metric: accuracy (section 5.1).

Rule (measured on 7,859 released records): four options of 15 words, at least one present and one absent, the answer all
absent ones in letter order; three are absent in 4,149 records, two in 3,168, one in 542. The words are the classes of
FLIR ADAS v2, of which the frames label three, so twelve are absent from the labels only.

Chosen here: by the choice ``absence``, an absent class is one that the source labels wherever it is seen, and none that
looks like a class that is present; where a source has three such classes, there are three options. The number of absent
options is drawn evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.choice import format_answer, parse_answer
from irtd_datasets.irtd.tasks.generation import Made, alike, lettered, write_options
from irtd_datasets.irtd.tasks.parsing import TaskReading, split_options, unexpected

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from irtd_datasets.irtd.tasks.generation import Labels, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = [
    "LABELLED",
    "METRIC",
    "QUESTION",
    "VOCABULARY",
    "answer_to",
    "format_answer",
    "make",
    "parse_answer",
    "read",
]

METRIC = "accuracy"
QUESTION = "What object does not appear in the picture?"
"""The same in the release and in the paper's Fig. 2."""

OPTIONS = 4
LEAST_OPTIONS = 3

LABELLED = frozenset({"car", "person", "bike"})
"""Classes that the source set of the release labels exhaustively; only these are ever present in it."""

VOCABULARY = (
    "car",
    "person",
    "bike",
    "sign",
    "truck",
    "motor",
    "scooter",
    "bus",
    "light",
    "train",
    "other vehicle",
    "skateboard",
    "stroller",
    "dog",
    "hydrant",
)
"""The 15 words of the released options."""


def read(question: str, answer: str, *, labelled: Collection[str] = LABELLED) -> TaskReading:
    r"""Read a question with options and the absent ones.

    A class that the source does not label is absent from the labels, not proven absent from the image: such records
    count as ``absence-unverified``. Every released record is one, so the code would say nothing about a single row.

    Args:
        question: As released.
        answer: As released.
        labelled: Classes that the source labels exhaustively.

    Example:
        >>> parsed = read("What object does not appear in the picture?\n(A) car (B) train", "(B) train")
        >>> parsed.answer, parsed.quirks
        ('(B) train', ('absence-unverified',))
    """
    stem, choices = split_options(question)
    absent = parse_answer(answer)
    if not set(absent) <= set(lettered(choices)):
        raise unexpected("answer", answer, f"some of {lettered(choices)}")
    unverified = any(word not in labelled for _, word in absent)
    return TaskReading(
        question=stem,
        answer=answer.strip(),
        choices=choices,
        quirks=("absence-unverified",) if unverified else (),
    )


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """A question with present and absent classes among its options."""
    if labels.unclear and rules.absence == "exhaustive":
        return []
    present, absent = _known(labels, rules)
    most = min(OPTIONS, len(present) + len(absent))
    # How many are absent, with enough of both for as many options as there can be.
    possible = [n for n in range(1, most) if n <= len(absent) and most - n <= len(present)]
    if most < LEAST_OPTIONS or not possible:
        return []
    count = draw.pick(possible)
    options = draw.shuffled([*draw.sample(absent, count), *draw.sample(present, most - count)])
    return [Made(f"{QUESTION}\n{write_options(lettered(options))}", answer_to(options, present), str(count))]


def _known(labels: Labels, rules: Rules) -> tuple[list[str], list[str]]:
    """Words known to be present and words known to be absent."""
    here = set(labels.words)
    if rules.absence == "labelled":
        vocabulary = set(VOCABULARY)
        return sorted(here & vocabulary), sorted(vocabulary - here)
    classes = labels.exhaustive
    absent = [name for name in classes - here if not any(alike(name, other) for other in here)]
    return sorted(here), sorted(absent)


def answer_to(options: Sequence[str], present: Collection[str]) -> str:
    """The answer to a question with these options: all that are not present, in letter order.

    Example:
        >>> answer_to(["scooter", "car", "dog"], {"car", "person"})
        '(A) scooter (C) dog'
    """
    return format_answer([pair for pair in lettered(options) if pair[1] not in present])
