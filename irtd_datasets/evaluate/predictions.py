"""A file of predictions: ``id``, ``answer`` (or ``prediction``) and, where a row has many rounds, ``round``."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, summarize

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["read_predictions"]

_KEYS = ("prediction", "answer")  # where a file has both, the answer is the dataset's (VLMEvalKit)
_ROUNDS = ("round", "round_id")
_MOST_PROBLEMS = 10


def read_predictions(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Answers by id, or by id and round.

    Args:
        path: JSON lines, a JSON list of the same objects, one JSON object of answers by id, a CSV with the columns
            ``id`` and ``answer`` (and ``round``), the lines of samples that lmms-eval logs, or VLMEvalKit's table of
            predictions as TSV. An answer that is no
            text, such as a number or a list of boxes, is taken as its JSON; null is an empty answer. ``answers``
            holds those of all rounds, in their order.

    Returns:
        Answers by id; with a round, by ``id#round``, from 0.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: A line is no such object, or an id and round occur twice; all such lines are named, up to ten.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
        ...     _ = file.write('{"id": "a", "answer": "yes"}\n{"id": "b", "prediction": 7, "round": 1}\n')
        >>> read_predictions(file.name)
        {'a': 'yes', 'b#1': '7'}
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ReleaseNotFoundError(
            "there is no such file",
            where=str(file),
            remedy="Name the file with the model's answers, or 'gold' for the dataset's own.",
        ) from None
    except IsADirectoryError:
        names = sorted(one.name for one in file.iterdir() if one.suffix in {".jsonl", ".json", ".csv"})
        raise ReleaseNotFoundError(
            "it is a folder, and predictions are a file",
            where=str(file),
            remedy=f"Name a file in it: {', '.join(names[:5])}."
            if names
            else "There is no file of answers in it.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"it cannot be read as UTF-8 text: {error}", where=str(file), remedy="Save it as UTF-8."
        ) from error
    answers: dict[str, str] = {}
    problems: list[str] = []
    for place, value in _records(text, file):
        problem = _problem(value)
        if not problem:
            for key, answer in _answers(value):
                if key in answers:
                    problem = f"the id {key!r} occurs before"
                    break
                answers[key] = answer
        if problem:
            problems.append(f"{place}: {problem}")
    if problems:
        raise AnnotationError(
            summarize(problems, _MOST_PROBLEMS),
            where=str(file),
            remedy='Write one object a line, {"id": "irtd/…", "answer": "…"}, each id once, or each id and "round".',
        )
    return answers


def _records(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    if file.suffix.lower() in {".csv", ".tsv"}:
        yield from _table(text, file)
        return
    if text.lstrip()[:1] == "[":
        yield from ((f"record {number}", value) for number, value in enumerate(_whole(text, file)))
        return
    first, _, rest = text.strip().partition("\n")
    first = first.rstrip()
    if first[:1] == "{" and (first == "{" or first[-1:] == "," or not rest):  # one object, or one line
        whole = _whole(text, file)
        if "id" in whole or "doc" in whole or "doc_id" in whole:
            yield "line 1", _logged(whole)
        else:
            yield from ((f"id {name!r}", {"id": name, "answer": value}) for name, value in whole.items())
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = line
            yield f"line {number}", _logged(value)


def _whole(text: str, file: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"it is no JSON: {error}",
            where=str(file),
            remedy="Write one object a line, or a list of objects.",
        ) from error


def _table(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter="\t" if file.suffix.lower() == ".tsv" else ","
    )
    for row in rows:
        values = {str(key).strip().lower(): value for key, value in row.items()}
        for key in _ROUNDS:
            if (values.get(key) or "").isdecimal():
                values[key] = int(values[key])
            elif not values.get(key):
                values.pop(key, None)
        yield f"line {rows.line_num}", values


def _logged(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A line of lmms-eval's ``samples_*.jsonl`` as a prediction; any other value as it is."""
    if not isinstance(value, dict) or "id" in value:
        return value
    if isinstance(value.get("answers"), dict):
        return value["answers"]  # of our tasks; lmms-eval itself leaves the row out of its log
    if not isinstance(value.get("doc"), dict):
        return value
    said = value.get("filtered_resps", value.get("resps"))
    while isinstance(said, list) and len(said) == 1:
        said = said[0]
    doc = value["doc"]
    new = {"id": doc.get("id"), "answer": said}
    return new | {key: doc[key] for key in _ROUNDS if key in doc}


def _problem(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        return f"{str(value)[:60]!r} is no JSON object"
    if not isinstance(value.get("id"), str) or not value["id"]:
        return "there is no text under 'id'"
    if isinstance(value.get("answers"), list):
        return ""
    if not any(key in value for key in _KEYS):
        return f"there is neither 'answer' nor 'prediction', only {', '.join(map(repr, list(value)[:6]))}"
    number = next((value[key] for key in _ROUNDS if key in value), 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return f"the round {number!r} is no whole number from 0"
    return ""


def _answers(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(value.get("answers"), list):
        yield from ((f"{value['id']}#{number}", _text(one)) for number, one in enumerate(value["answers"]))
        return
    number = next((value[key] for key in _ROUNDS if key in value), None)
    name = value["id"] if number is None else f"{value['id']}#{number}"
    yield name, _text(next(value[key] for key in _KEYS if key in value))


def _text(answer: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(answer, str):
        return answer
    return "" if answer is None else json.dumps(answer, ensure_ascii=False)
