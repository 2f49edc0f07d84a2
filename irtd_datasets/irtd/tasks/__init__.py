"""The tasks of IR-TD, one module each: wording, answer grammar and known slips of the released records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks import (
    captioning,
    choice,
    counting,
    grounding,
    location,
    reid,
    relationship,
    security,
)

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.reading import Parser

__all__ = ["PARSERS"]

PARSERS: dict[str, Parser] = {
    "captioning": captioning.read,
    "recognition": choice.read,
    "grounding": grounding.read,
    "location": location.read,
    "relationship": relationship.read,
    "reid": reid.read,
    "security": security.read,
    "aerial_counting": counting.read_aerial,
    "pedestrian_counting": counting.read,
    "scene": choice.read,
}
"""Reads question and answer of a record of each task."""
