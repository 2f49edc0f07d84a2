"""Aerial Counting: how many cars are in an image from above. Metric: mean absolute error (paper section 5.1).

Rule (measured on 900 released records): counts from 0 to 141, 25 of them 0. The release files its images under VEDAI;
folder and numbering are those of DroneVehicle.

Chosen here: cars are what the source calls cars (trucks, buses and vans are not counted), where it labels all of them
and no region is unclear. Counts of all sizes are equally many as far as the sources go; at most the released share
is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.counting import format_answer, make_count, parse_answer
from irtd_datasets.irtd.tasks.counting import read_aerial as read

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.generation import Labels, Made, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["METRIC", "format_answer", "make", "parse_answer", "read"]

METRIC = "mean absolute error"


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:  # noqa: ARG001 - the signature of every task
    """The number of cars, 0 included."""
    if labels.view != "aerial" or "car" not in labels.countable(rules):
        return []
    return [make_count("cars", len(labels.of("car")), rules.wording)]
