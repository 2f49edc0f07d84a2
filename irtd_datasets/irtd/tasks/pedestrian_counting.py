"""Pedestrian Counting: how many people are in an image. Metric: mean absolute error (paper section 5.1).

Rule (measured on 1,030 released records, the whole training part of RGBT-CC): counts from 10 to 701, none is 0.

Chosen here: people are counted where the source marks all of them, with boxes or points, and there is at least one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.counting import format_answer, make_count, parse_answer, read

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.generation import Labels, Made, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["METRIC", "format_answer", "make", "parse_answer", "read"]

METRIC = "mean absolute error"


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:  # noqa: ARG001 - the signature of every task
    """The number of people, at least one."""
    count = len(labels.of("person"))
    if not count or "person" not in labels.countable(rules):
        return []
    return [make_count("pedestrians", count, rules.wording)]
