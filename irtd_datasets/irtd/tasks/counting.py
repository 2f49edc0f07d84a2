"""The number of objects of a class: the answer grammar of Aerial Counting (cars) and Pedestrian Counting."""

from __future__ import annotations

import re
from dataclasses import replace

from irtd_datasets.irtd.tasks.generation import Made
from irtd_datasets.irtd.tasks.parsing import TaskReading, unexpected

__all__ = ["NONE", "NONE_SHARE", "format_answer", "make_count", "parse_answer", "read", "read_aerial"]

NONE = "none"
"""The stratum of images without an object that is counted."""
NONE_SHARE = 25 / 900
"""Share of the released records of Aerial Counting whose answer is 0."""

_COUNT = re.compile(r"<num>(\d{1,9})</num>")
_PAPER_COUNT = re.compile(r"\d{1,9}")
_PAPER_QUESTION = re.compile(r"Count the number of .+ in the picture\.")
_TEMPLATES = {
    "released": ("Calculate the number of {} in the picture.", "<num>{}</num>"),
    "mended": ("Calculate the number of {} in the picture.", "<num>{}</num>"),
    "paper": ("Count the number of {} in the picture.", "{}"),
}


def read(question: str, answer: str) -> TaskReading:
    """Read a count.

    Example:
        >>> read("Calculate the number of pedestrians in the picture.", "<num>77</num>").answer
        '77'
    """
    if "<num>" not in answer and not _PAPER_QUESTION.fullmatch(question.strip()):
        raise unexpected("answer", answer, "<num>N</num>")
    return TaskReading(question=question.strip(), answer=str(parse_answer(answer)))


def read_aerial(question: str, answer: str) -> TaskReading:
    """Read a count of cars; every released record is filed under VEDAI although it fits DroneVehicle."""
    return replace(read(question, answer), quirks=("source-misfiled",))


def parse_answer(text: str) -> int:
    """The number of an answer.

    Raises:
        RecordError: It is neither ``<num>N</num>`` nor, as in the paper's Fig. 2, a bare number.

    Example:
        >>> parse_answer("<num>77</num>"), parse_answer("13")
        (77, 13)
    """
    match = _COUNT.fullmatch(text.strip())
    if match is not None:
        return int(match[1])
    if _PAPER_COUNT.fullmatch(text.strip()) is None:
        raise unexpected("answer", text, "<num>N</num>")
    return int(text)


def format_answer(count: int, wording: str = "released") -> str:
    """The inverse of `parse_answer`.

    Example:
        >>> format_answer(77)
        '<num>77</num>'
    """
    return _TEMPLATES[wording][1].format(count)


def make_count(name: str, count: int, wording: str) -> Made:
    """A question how many of ``name`` (in the plural) there are; counts of one power of two are one stratum.

    Example:
        >>> make_count("cars", 0, "released").stratum == NONE, make_count("cars", 5, "released").stratum
        (True, '03')
    """
    stratum = f"{count.bit_length():02}" if count else NONE
    return Made(_TEMPLATES[wording][0].format(name), format_answer(count, wording), stratum)
