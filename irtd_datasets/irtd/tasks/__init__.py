"""The tasks of IR-TD, one module each: rule, wording, answer grammar, metric, and known slips of the release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks import (
    aerial_counting,
    captioning,
    dialogue,
    grounding,
    location,
    pedestrian_counting,
    recognition,
    reid,
    relationship,
    scene,
    security,
)

if TYPE_CHECKING:
    from types import ModuleType

    from irtd_datasets.irtd.tasks.generation import Maker
    from irtd_datasets.irtd.tasks.parsing import Parser

__all__ = ["BENCHMARK_TASKS", "MAKERS", "MODULES", "PARSERS"]

MODULES: dict[str, ModuleType] = {
    "captioning": captioning,
    "recognition": recognition,
    "grounding": grounding,
    "location": location,
    "relationship": relationship,
    "reid": reid,
    "security": security,
    "aerial_counting": aerial_counting,
    "pedestrian_counting": pedestrian_counting,
    "scene": scene,
}
"""The module of each task. All have ``read``; those of scored tasks have ``METRIC``, ``parse_answer`` and
``format_answer``."""

PARSERS: dict[str, Parser] = {
    **{task: module.read for task, module in MODULES.items()},
    **dict.fromkeys(dialogue.DIALOGUES, dialogue.read),
}
"""Reads question and answer of a record of each task."""

MAKERS: dict[str, Maker] = {task: module.make for task, module in MODULES.items() if task != "reid"}
"""Makes records of each task from the labels of one image; Re-ID needs many images, see `reid.make_mosaic`."""

BENCHMARK_TASKS = tuple(task for task in MODULES if task != "captioning")
"""The nine scored tasks."""
