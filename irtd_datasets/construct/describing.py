"""Which images a language model can be asked to describe, before any is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks import captioning
from irtd_datasets.irtd.tasks.dialogue import DIALOGUES
from irtd_datasets.irtd.tasks.generation import Made

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.generation import Labels, Maker, Rules
    from irtd_datasets.rows.seeded import Draw
    from irtd_datasets.sources import SourceRow

__all__ = ["TALK", "caption_maker", "image_to_describe", "make_talk"]

TALK = DIALOGUES[0]
"""Stands among the tasks for the images that a model is asked about for question-answer pairs."""


def image_to_describe(visible: str | None, row: SourceRow, rules: Rules) -> str:
    """Which image of a pair is described: ``visible``, ``infrared``, or none.

    Sources whose row names no caption among its tasks (crops of people, small targets) are not described: the paper has
    rule captions for them, or none.

    Args:
        visible: Name of the visible partner; None without one.
        row: The source.
        rules: The choices.
    """
    if not {"caption", "captioning"} & set(row.tasks):
        return ""
    if visible is not None:
        return "visible"
    return "infrared" if rules.partnerless == "infrared" else ""


def caption_maker(row: SourceRow) -> Maker:
    """Makes the candidate of each image that can be described or has a rule caption.

    Its answer is the rule caption, which is told to the model as a fact and stands in for the model's where that does
    not come; empty where the labels allow none.
    """
    return partial(_make, row)


def _make(row: SourceRow, labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    made = captioning.make(labels, rules, draw)
    if image_to_describe(labels.image.visible, row, rules):
        return made or [Made(captioning.PROMPT, "")]
    return [] if rules.partnerless == "leave-out" else made


def make_talk(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """Makes the candidate of each image that a model can be asked about: one with objects, or with captions.

    Its answer is the rule caption, which is told to the model as a fact; empty where the labels allow none.
    """
    if not labels.things and not labels.image.captions:
        return []
    return [Made("", made.answer) for made in captioning.make(labels, rules, draw)] or [Made("", "")]
