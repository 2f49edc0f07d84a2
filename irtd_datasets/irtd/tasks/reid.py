"""Re-ID: which of the crops 2 to 8 of a 2x4 mosaic shows the person of crop 1 (upper left). Metric: accuracy (5.1).

Rules (paper section 3.4; measured on 3,733 released records): eight crops in two rows of four, numbered row by row; the
first is the query, exactly one other shows the same person; its place is uniform; one mosaic for each identity. The
release does not record its crops, so its mosaics cannot be made again.

Chosen here: the match by the choice ``match``; the six others show six other people, taken by the camera of the match
where there are enough, so that the background does not give it away. The crops are recorded in the order of the mosaic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.generation import Made
from irtd_datasets.irtd.tasks.parsing import TaskReading, unexpected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.irtd.tasks.generation import Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["CROPS", "METRIC", "ORDINALS", "QUESTION", "format_answer", "make_mosaic", "parse_answer", "read"]

METRIC = "accuracy"
CROPS = 8
ORDINALS = tuple(str(number) for number in range(2, CROPS + 1))
"""Possible answers; the crops are numbered row by row from 1, which is the query."""

QUESTION = (
    "Which person has the same identity with the person in the upper left corner? Answer the ordinal numbers and the "
    "order will be\n1234\n5678"
)


def read(question: str, answer: str) -> TaskReading:
    """Read a mosaic question; the answer is an ordinal number from 2 to 8."""
    return TaskReading(question=question.strip(), answer=format_answer(parse_answer(answer)))


def parse_answer(text: str) -> int:
    """The number of a crop.

    Raises:
        RecordError: It is not a number from 2 to 8.

    Example:
        >>> parse_answer("8")
        8
    """
    if text.strip() not in ORDINALS:
        raise unexpected("answer", text, f"one of {', '.join(ORDINALS)}")
    return int(text)


def format_answer(number: int) -> str:
    """The inverse of `parse_answer`.

    Example:
        >>> format_answer(8)
        '8'
    """
    return str(number)


def make_mosaic(
    identity: str, people: Mapping[str, Sequence[LabelledImage]], rules: Rules, draw: Draw
) -> Made | None:
    """A mosaic question about one person.

    Args:
        identity: Who is asked about.
        people: Images of everybody of the same source and split, by identity, each in a fixed order.
        rules: The choices.
        draw: Chance.

    Returns:
        The question, with the eight images in ``members``; None where there are too few images or people.
    """
    infrared = [image for image in people[identity] if image.modality == "infrared"]
    others = sorted(name for name in people if name != identity)
    if not infrared or len(others) < CROPS - 2:
        return None
    query = draw.pick(infrared)
    candidates = [image for image in people[identity] if image.image != query.image]
    if rules.match == "cross-modality":
        candidates = [image for image in candidates if image.modality != query.modality]
    elif rules.match == "cross-camera":
        same_kind = [image for image in candidates if image.modality == query.modality]
        elsewhere = [image for image in same_kind if image.camera != query.camera]
        candidates = elsewhere or same_kind
    if not candidates:
        return None
    match = draw.pick(candidates)
    wrong: list[LabelledImage] = []
    for name in draw.shuffled(others):
        if len(wrong) == CROPS - 2:
            break
        alike = [image for image in people[name] if image.modality == match.modality]
        beside = [image for image in alike if image.camera == match.camera]
        if beside or alike:
            wrong.append(draw.pick(beside or alike))
    if len(wrong) < CROPS - 2:
        return None
    place = draw.below(CROPS - 1)
    crops = [query, *wrong[:place], match, *wrong[place:]]
    number = place + 2
    return Made(QUESTION, format_answer(number), str(number), tuple(crop.image for crop in crops))
