"""Grounding: the box of the object that a phrase describes, in pixels of a 640x512 frame."""

from __future__ import annotations

import re

from irtd_datasets.boxes import Frame
from irtd_datasets.examples.draft import Correction, Places, as_json
from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.irtd.tasks.reading import TaskReading, unexpected

__all__ = ["read"]

_QUESTION = re.compile(r"Detect the bounding box of the (.+)\.")
_INTEGER = r"(-?\d{1,9})"
_ANSWER = re.compile(rf"The target bounding box is <box>\[\[{', '.join([_INTEGER] * 4)}\]\]</box>\.")
_LEFT_OF = re.compile(r"(\w+) located to the left of the (\w+)")
_SUBJECT = re.compile(r"(?:nearest )?(.+?) located (?:at|to) the .+")


def read(question: str, answer: str) -> TaskReading:
    """Read a referring phrase and its one box (x_min, y_min, x_max, y_max).

    Example:
        >>> reading = read(
        ...     "Detect the bounding box of the person located to the left of the car.",
        ...     "The target bounding box is <box>[[374, 165, 630, 377]]</box>.",
        ... )
        >>> reading.issues, reading.places[0].labels, reading.corrections[0].value
        (('label-reference-object',), ('person',), 'car')
    """
    asked = _QUESTION.fullmatch(question.strip())
    found = _ANSWER.fullmatch(answer.strip())
    if asked is None:
        raise unexpected("question", question, "'Detect the bounding box of the <description>.'")
    if found is None:
        raise unexpected("answer", answer, "'The target bounding box is <box>[[x1, y1, x2, y2]]</box>.'")
    subject = _SUBJECT.fullmatch(asked[1])
    label = subject[1] if subject else asked[1]
    box = [int(number) for number in found.groups()]
    issues: list[str] = []
    corrections: list[Correction] = []
    relation = _LEFT_OF.fullmatch(asked[1])
    if relation:
        # Every released "to the left of" has the box of the object on the right, the reference; "to the right of"
        # has that of the object on the right as well, which is what it asks for.
        issues.append("label-reference-object")
        if relation[1] != relation[2]:
            corrections.append(Correction("label-reference-object", "objects.label", relation[2]))
    width, height = FRAME_SIZE
    clipped = [
        min(max(box[0], 0), width),
        min(max(box[1], 0), height),
        min(max(box[2], 0), width),
        min(max(box[3], 0), height),
    ]
    if clipped != box:
        issues.append("box-outside-image")
        if clipped[0] < clipped[2] and clipped[1] < clipped[3]:
            corrections.append(Correction("box-outside-image", "objects.box", as_json([clipped])))
    if box[0] >= box[2] or box[1] >= box[3]:
        issues.append("box-degenerate")
    return TaskReading(
        question=question.strip(),
        answer=as_json(box),
        places=(Places("box", (label,), (tuple(box),), Frame.PIXEL, FRAME_SIZE),),
        issues=tuple(issues),
        corrections=tuple(corrections),
    )
