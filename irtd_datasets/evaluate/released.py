"""The scorers that the authors released (``test_utils`` of the IRGPT repository), under their own names.

They take texts, the model's and the gold one, and differ from the paper's section 5.1: detection is a recall, points
match within 5 units, counts that cannot be parsed are dropped, and there is no scorer for Re-ID, Security, Relationship
and Scene. Their results are reproduced, with one addition: where a script ends in an error (a text without any list in
detection), the answer counts as wrong here, and ``errors`` says how often that was.
"""

from __future__ import annotations

import ast
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RELEASED", "counting", "detection", "location", "recognition"]

_NUMBER = re.compile(r"<num>(\d{1,300})</num>")
_POSITIONS = re.compile(r"<pos>(.*?)</pos>")
_LIMIT = 20_000  # characters; literals beyond it are not evaluated


def counting(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """``Counting.py``: MAE, MSE and RMSE over the pairs in which both sides have ``<num>N</num>``.

    Example:
        >>> counting(["<num>5</num>", "five"], ["<num>7</num>", "<num>5</num>"])["MAE"]
        2.0
    """
    errors = []
    for answer, label in zip(answers, labels, strict=True):
        said, gold = _NUMBER.search(answer), _NUMBER.search(label)
        if said and gold:
            errors.append(float(abs(int(said[1]) - int(gold[1]))))
    if not errors:
        return {"MAE": math.nan, "MSE": math.nan, "RMSE": math.nan, "dropped": float(len(answers))}
    squares = float(np.mean(np.square(errors)))
    return {
        "MAE": float(np.mean(errors)),
        "MSE": squares,
        "RMSE": math.sqrt(squares),
        "dropped": float(len(answers) - len(errors)),
    }


def detection(answers: Sequence[str], labels: Sequence[str], threshold: float = 0.5) -> dict[str, float]:
    """``Detection.py``: the share of gold boxes that some box overlaps by half, averaged over samples: a recall.

    Boxes are what stands from the first ``[`` to the last ``]``, missing ``]`` added at the end. Each gold box in turn
    takes the free box of greatest overlap.

    Example:
        >>> detection(["<box>[[0, 0, 10, 10], [5, 5, 9, 9]]</box>"], ["[[0, 0, 10, 10]]"])["accuracy"]
        1.0
    """
    total, errors = 0.0, 0
    for answer, label in zip(answers, labels, strict=True):
        found = _recall_or_none(answer, label, threshold)
        errors += found is None
        total += found or 0.0
    return {"accuracy": total / len(answers) if answers else 0.0, "errors": float(errors)}


def _recall_or_none(answer: str, label: str, threshold: float) -> float | None:
    """The recall of one sample; None where the released script ends in an error."""
    try:
        return _recall(_boxes(answer), _boxes(label), threshold)
    except (TypeError, LookupError, ValueError, AttributeError, ArithmeticError):
        return None


def _boxes(text: str) -> Any:  # noqa: ANN401 - any literal, as in the released script
    start, end = text.find("["), text.rfind("]") + 1
    if end == 0:
        text += "]"
        end = len(text)
    literal = text[start:end][:_LIMIT]
    literal += "]" * (literal.count("[") - literal.count("]"))
    try:
        return ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _recall(predicted: Any, gold: Any, threshold: float) -> float:  # noqa: ANN401 - see `_boxes`
    found = 0
    free = list(predicted)
    for box in gold:
        best, where = 0.0, None
        for other in free:
            overlap = _iou(box, other)
            if overlap > best:
                best, where = overlap, other
        if best >= threshold:
            found += 1
            free.remove(where)
    return found / len(gold) if len(gold) > 0 else 0.0


def _iou(one: Any, two: Any) -> float:  # noqa: ANN401 - see `_boxes`
    width = max(0, min(one[2], two[2]) - max(one[0], two[0]))
    height = max(0, min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return float(width * height / (areas[0] + areas[1] - width * height))


def location(answers: Sequence[str], labels: Sequence[str], threshold: float = 5.0) -> dict[str, float]:
    """``Location.py``: points inside ``<pos>``, each gold point in turn taking the nearest free one within 5 units.

    The script prints its units as pixels; they are those of the texts, 0 to 1000 of width and height. The last figure
    is a mean over the samples that have a match at all.

    Example:
        >>> result = location(["<pos>[(10, 10), (50, 50)]</pos>"], ["<pos>[(13, 14)]</pos>"])
        >>> result["precision"], result["recall"], result["average_distance"]
        (0.5, 1.0, 5.0)
    """
    right = extra = missed = 0
    distance, sample_sum, samples = 0.0, 0.0, 0
    for answer, label in zip(answers, labels, strict=True):
        gold, said = _points(label), _points(answer)
        free = [True] * len(said)
        matched = []
        for point in gold:
            best, where = math.inf, -1
            for index, other in enumerate(said):
                if free[index]:
                    away = math.sqrt((point[0] - other[0]) ** 2 + (point[1] - other[1]) ** 2)
                    if away < best and away <= threshold:
                        best, where = away, index
            if where >= 0:
                free[where] = False
                matched.append(best)
        right += len(matched)
        extra += sum(free)
        missed += len(gold) - len(matched)
        if matched:
            distance += sum(matched)
            sample_sum += sum(matched) / len(matched)
            samples += 1
    precision = right / (right + extra) if right + extra else 1.0
    recall = right / (right + missed) if right + missed else 1.0
    return {
        "precision": precision,
        "recall": recall,
        "f1_score": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "average_distance": distance / right if right else 0.0,
        "average_sample_mae": sample_sum / samples if samples else 0.0,
    }


def _points(text: str) -> list[tuple[float, float]]:
    match = _POSITIONS.search(text)
    if match is None:
        return []
    try:
        points = ast.literal_eval(match[1][:_LIMIT])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if not isinstance(points, list) or not all(
        isinstance(point, tuple) and len(point) == 2 for point in points
    ):
        return []
    return [point for point in points if all(isinstance(value, (int, float)) for value in point)]


def recognition(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """``Recognition.py``: the share of answers that equal the gold text after stripping blanks.

    Example:
        >>> recognition(["(A) person ", "A"], ["(A) person", "(A) person"])
        {'accuracy': 0.5}
    """
    equal = sum(answer.strip() == label.strip() for answer, label in zip(answers, labels, strict=True))
    return {"accuracy": equal / len(answers) if answers else 0.0}


RELEASED: dict[str, Callable[[Sequence[str], Sequence[str]], dict[str, float]]] = {
    "recognition": recognition,
    "grounding": detection,
    "location": location,
    "aerial_counting": counting,
    "pedestrian_counting": counting,
}
"""The released scorer of each task that has one."""
