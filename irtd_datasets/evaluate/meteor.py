"""METEOR of captions and free answers, by the program that pycocoevalcap brings; it needs Java."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.evaluate.scoring import Interval
from irtd_datasets.evaluate.texts import tokens

if TYPE_CHECKING:
    from irtd_datasets.evaluate.scoring import Scores

__all__ = ["add_meteor"]


def add_meteor(scores: Scores) -> Scores:
    """Scores with the metric ``meteor`` at every task that has references.

    It is METEOR 1.5 over all rows of a task, as the COCO caption evaluation reports it, in per cent and without an
    interval: its value is no mean over rows.

    Raises:
        UnknownNameError: There is no Java, or no pycocoevalcap.
    """
    if shutil.which("java") is None or find_spec("pycocoevalcap") is None:
        raise UnknownNameError(
            "METEOR is a program in Java that comes with pycocoevalcap, and one of the two is not here",
            remedy="Install a Java runtime and `pip install pycocoevalcap`, or leave --meteor out.",
        )
    tasks = dict(scores.tasks)
    for task, one in scores.tasks.items():
        rows = [
            i for i, question in enumerate(scores.questions) if question.task == task and question.references
        ]
        if rows:
            said = {i: [" ".join(tokens(str(scores.readings[i].said or "")))] for i in rows}
            right = {i: [" ".join(tokens(text)) for text in scores.questions[i].references] for i in rows}
            value = Interval(100 * _meteor(right, said), math.nan, math.nan)
            tasks[task] = replace(one, metrics={**one.metrics, "meteor": value})
    return replace(scores, tasks=tasks)


def _meteor(right: dict[int, list[str]], said: dict[int, list[str]]) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    program = Meteor()
    try:
        return float(program.compute_score(right, said)[0])
    finally:
        program.meteor_p.communicate()  # ends it and closes its pipes
