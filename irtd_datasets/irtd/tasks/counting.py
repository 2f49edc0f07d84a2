"""Aerial Counting (cars) and Pedestrian Counting: a number."""

from __future__ import annotations

import re
from dataclasses import replace

from irtd_datasets.irtd.tasks.reading import TaskReading, unexpected

__all__ = ["read", "read_aerial"]

_COUNT = re.compile(r"<num>(\d{1,9})</num>")


def read(question: str, answer: str) -> TaskReading:
    """Read a count.

    Example:
        >>> read("Calculate the number of pedestrians in the picture.", "<num>77</num>").answer
        '77'
    """
    match = _COUNT.fullmatch(answer.strip())
    if match is None:
        raise unexpected("answer", answer, "<num>N</num>")
    return TaskReading(question=question.strip(), answer=match[1])


def read_aerial(question: str, answer: str) -> TaskReading:
    """Read a count of cars; every released record is filed under VEDAI although it fits DroneVehicle."""
    return replace(read(question, answer), issues=("source-misfiled",))
