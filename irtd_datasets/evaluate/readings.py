"""What an answer says, in the terms of its question, and what a single answer is worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from irtd_datasets.boxes.frames import Frame, as_frame, convert
from irtd_datasets.boxes.markup import unreadable_markup
from irtd_datasets.evaluate.answers import (
    normal_words,
    plain_text,
    read_choices,
    read_class,
    read_count,
    read_ordinal,
    read_phrase,
    read_yes_no,
)
from irtd_datasets.evaluate.places import read_places, read_point_places
from irtd_datasets.evaluate.questions import boxes_of, corners_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.evaluate.places import Place
    from irtd_datasets.evaluate.questions import Question

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Found", "Reading", "equals_gold", "read_answer"]

_FARTHEST = 1e9  # no image is as large; such numbers are no places


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes that an answer to a detection question names.

    Attributes:
        labels: Class of each, in small letters.
        boxes: In pixels, of the shape of the question's own.
        scores: Confidence of each; None where one has none.
    """

    labels: tuple[str, ...]
    boxes: Floats
    scores: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says, in the terms of the gold answer; what is wrong with it; numbers read in a declared frame."""

    said: Any
    problem: str = ""
    written: tuple[tuple[float, ...], ...] = ()


def read_answer(question: Question, answer: str | None, frame: Frame | str | None = None) -> Reading:
    """Read an answer.

    Args:
        question: What was asked; its gold answer is not looked at.
        answer: What the model wrote; None where it wrote nothing.
        frame: Frame of the numbers in it; None takes that of the markup where it has one, else the released text's.
    """
    if answer is None:
        return Reading(None, "missing")
    if not answer.strip():
        return Reading(None, "empty")
    task = question.task
    if task in {"grounding", "location", "detection"}:
        return _read_places(question, answer, frame)
    said = _READERS.get(task, _read_text)(question, answer)
    if task in {"scene", "recognition"} and said is not None and len(said) != 1:
        return Reading(None, "several-options" if said else "no-option")
    return Reading(said, "" if said is not None else "unreadable")


def equals_gold(question: Question, said: Any) -> bool:  # noqa: ANN401 - by task
    """Whether what was read is the right answer, for tasks that are right or wrong."""
    if question.task == "classification":
        gold = _read_class(question.text, question.choices)
        return bool(said == (normal_words(question.text) if gold is None else gold))
    if question.task == "vqa":
        gold = _read_vqa(question.text, question.kind)
        return bool(gold is not None and said == gold)
    return bool(said == question.gold)


def _read_class(answer: str, choices: Sequence[str]) -> int | str | None:
    found = read_class(answer, choices) if choices else None
    return read_phrase(answer) if found is None and not choices else found


@lru_cache(maxsize=1 << 14)  # a million questions have few different answers
def _read_vqa(answer: str, kind: str) -> str | int | bool | None:
    """A yes or no, a number, or a phrase; what is no number in answer to "how many" is a phrase ("more than ten")."""
    if kind in {"presence", "comparison", "yes_no"}:
        said = read_yes_no(answer)
        return said if said is not None else _short(answer)
    if kind == "count":
        count = read_count(answer)
        return count if count is not None else _short(answer)
    return read_phrase(answer)


def _read_text(_: Question, answer: str) -> str | None:
    return plain_text(answer) or None


def _read_options(question: Question, answer: str) -> frozenset[int] | None:
    return read_choices(answer, question.choices)


_READERS: dict[str, Callable[[Question, str], Any]] = {
    "scene": _read_options,
    "recognition": _read_options,
    "security": _read_options,
    "relationship": lambda _, answer: read_yes_no(answer),
    "reid": lambda _, answer: read_ordinal(answer),
    "aerial_counting": lambda _, answer: read_count(answer),
    "pedestrian_counting": lambda _, answer: read_count(answer),
    "classification": lambda question, answer: _read_class(answer, question.choices),
    "vqa": lambda question, answer: _read_vqa(answer, question.kind),
}


def _short(answer: str) -> str | None:
    phrase = read_phrase(answer)
    return phrase if phrase and len(phrase.split()) <= 4 and phrase not in {"yes no", "yes or no"} else None


def _read_places(question: Question, answer: str, frame: Frame | str | None) -> Reading:
    points = question.task == "location"
    places = (
        read_point_places(answer)
        if points
        else [place for place in read_places(answer) if place.kind != "point"]
    )
    if not places and question.task == "detection" and not unreadable_markup(answer):
        nothing = (
            read_count(answer) == 0 or plain_text(answer) in {"[]", "{}"} or read_yes_no(answer) is False
        )
        places = [] if nothing else None
    elif not places and not points:
        places = None
    if places is None:
        return Reading(None, unreadable_markup(answer) or "unreadable")
    oriented = question.task == "detection" and question.gold.oriented
    if points:
        numbers = np.array([place.numbers for place in places], dtype=np.float64).reshape(-1, 2)
    else:
        numbers = corners_of(places) if oriented else boxes_of(places)
    if not np.isfinite(numbers).all() or np.abs(numbers).max(initial=0) > _FARTHEST:
        return Reading(None, "unreadable")
    moved, own = _moved(numbers, places, question, frame)
    written = tuple(map(tuple, numbers[~own].tolist()))
    if question.task != "detection":
        return Reading(moved, "", written)
    labels = tuple((place.label or question.gold.asked).casefold() for place in places)
    scores = [place.score for place in places if place.score is not None]
    return Reading(Found(labels, moved, tuple(scores) if len(scores) == len(places) else None), "", written)


def _moved(
    numbers: Floats, places: Sequence[Place], question: Question, frame: Frame | str | None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Numbers in the frame of the gold answer, thousandths or pixels, and whose markup told their own frame."""
    target = Frame.PER_MILLE if question.task == "location" else Frame.PIXEL
    size = (question.width, question.height)
    unknown = size == (1, 1)
    declared = as_frame(frame) if frame is not None and not unknown else question.frame
    bases = np.array(
        [place.base if place.base and (place.fixed or frame is None) else np.nan for place in places],
        dtype=np.float64,
    )
    own = ~np.isnan(bases)
    moved: Floats = convert(numbers, declared, target, *size)
    if own.any():
        moved[own] = convert(numbers[own] / bases[own, None], Frame.UNIT, target, *size)
    return moved, own
