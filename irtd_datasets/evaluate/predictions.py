"""A file of predictions: one JSON object a line, with ``id`` and ``answer`` (or ``prediction``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, summarize

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["read_predictions"]

_KEYS = ("answer", "prediction")
_MOST_PROBLEMS = 10


def read_predictions(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Answers by id.

    Args:
        path: JSON lines, or a JSON list of the same objects. An answer that is no text, such as a number or a list of
            boxes, is taken as its JSON; null is an empty answer.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: A line is no such object, or an id occurs twice; all such lines are named, up to ten.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
        ...     _ = file.write('{"id": "a", "answer": "yes"}\n{"id": "b", "prediction": 7}\n')
        >>> read_predictions(file.name)
        {'a': 'yes', 'b': '7'}
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ReleaseNotFoundError(
            "there is no such file", where=str(file), remedy="Name the file with the model's answers."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"it cannot be read as UTF-8 text: {error}", where=str(file)) from error
    answers: dict[str, str] = {}
    problems: list[str] = []
    for place, value in _records(text, file):
        problem = _problem(value, answers)
        if problem:
            problems.append(f"{place}: {problem}")
            continue
        answer = next(value[key] for key in _KEYS if key in value)
        answers[value["id"]] = (
            answer
            if isinstance(answer, str)
            else ""
            if answer is None
            else json.dumps(answer, ensure_ascii=False)
        )
    if problems:
        raise AnnotationError(
            summarize(problems, _MOST_PROBLEMS),
            where=str(file),
            remedy='Write one object a line, {"id": "irtd/…", "answer": "…"}, each id once.',
        )
    return answers


def _records(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    if text.lstrip()[:1] == "[":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"it is no JSON: {error}", where=str(file)) from error
        yield from ((f"record {number}", value) for number, value in enumerate(values))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError):
                yield f"line {number}", line


def _problem(value: Any, known: dict[str, str]) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        return f"{str(value)[:60]!r} is no JSON object"
    if not isinstance(value.get("id"), str):
        return "there is no text under 'id'"
    if not any(key in value for key in _KEYS):
        return f"there is neither 'answer' nor 'prediction', only {', '.join(map(repr, list(value)[:6]))}"
    return f"the id {value['id']!r} occurs before" if value["id"] in known else ""
