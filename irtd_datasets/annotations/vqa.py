"""Questions and answers: RSVQA's three files, its question lists, and RSIVQA's lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from irtd_datasets.annotations.json_members import EVERY_MEMBER, read_member_lists
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.annotations.label_file import (
    LabelFile,
    LabelProblem,
    decode_text,
    integer_of,
    text_of,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.annotations.json_records import Record, Source

__all__ = [
    "parse_question_lines",
    "parse_question_members",
    "parse_question_records",
    "parse_rsvqa",
    "unwrap_javascript",
]

_wrapper = re.compile(rb"\s*(?:var|let|const)\s+\w+\s*=\s*JSON\.parse\(\s*(['\"`])")
_line = re.compile(r"([^:]+):\s*(.+?\?)\s*(.*)$").match


def unwrap_javascript(data: bytes, name: str) -> bytes:
    r"""JSON out of ``var x = JSON.parse('...')``, as the sample of RSVQA has it; other bytes as they are.

    Raises:
        AnnotationError: The string is not closed.

    Example:
        >>> unwrap_javascript(b"var q = JSON.parse('{\"a\": 1}');", "q.js")
        b'{"a": 1}'
    """
    found = _wrapper.match(data)
    if found is None:
        return data
    quote = found[1]
    end = data.rfind(quote)
    if end < found.end():
        raise unreadable(name, "its string of JSON is not closed", "Fetch the file again.")
    inner = data[found.end() : end]
    # In a JavaScript string \' is ' and \\ is \; what else JSON escapes stands there with two backslashes.
    return re.sub(rb"\\(['\"`\\])", rb"\1", inner) if b"\\" in inner else inner


def _words(value: object) -> str | None:
    """A question or an answer: text, or a whole number; None for anything else, and for nothing."""
    number = integer_of(value) if isinstance(value, (int, float)) else None
    return text_of(value if number is None else str(number)) or None


def _faulty(record: Record, question: object, answer: object) -> LabelProblem:
    code = (
        "question-without-answer"
        if None in (question, answer) or "" in (question, answer)
        else "question-malformed"
    )
    return LabelProblem(code, f"question {record.get('id', record.get('question_id', ''))!s:.40}")


def parse_rsvqa(images: Source, questions: Source, answers: Source, *, name: str) -> Iterator[LabelFile]:
    """Join the three files of RSVQA.

    Records of questions and answers that are not ``active``, and those that were emptied for other splits (RSVQA keeps
    them as ``{"id": .., "active": false}``), are passed over.

    Args:
        images: ``LR_split_train_images.json`` or its like: an object with ``images``.
        questions: An object with ``questions``.
        answers: An object with ``answers``.
        name: Name of the first, for messages.

    Yields:
        One label file for each active image, in the order of the file, its questions in theirs. The image's name
        is its number, which is how the files are called. A question without an answer is left out and listed.

    Raises:
        JsonRecordsError: A file is no object of lists, or cut.
    """
    replies: dict[object, object] = {}
    for _, record in read_member_lists(answers, name=name, keys={"answers"}):
        if record.get("active", True) and "question_id" in record:
            replies.setdefault(_identity(record["question_id"]), record.get("answer"))
    asked: dict[object, LabelFile] = {}
    for _, record in read_member_lists(questions, name=name, keys={"questions"}):
        if record.get("active", True) and "question" in record:
            found = asked.setdefault(_identity(record.get("img_id")), LabelFile())
            _ask(found, record, record["question"], replies.get(_identity(record.get("id"))))
    for _, record in read_member_lists(images, name=name, keys={"images"}):
        if not record.get("active", True):
            continue
        identifier = _identity(record.get("id"))
        found = asked.pop(identifier, LabelFile())
        found.image = "" if identifier is None else str(identifier)
        yield found
    lost = sum(len(found.questions) + len(found.problems) for found in asked.values())
    if lost:
        yield LabelFile(
            problems=[LabelProblem("label-without-image", "question about an image not listed")] * lost
        )


def _identity(value: object) -> int | str | None:
    number = integer_of(value)
    return text_of(value) if number is None else number


def _ask(found: LabelFile, record: Record, question: object, answer: object) -> None:
    """Add a question to those of an image, or list what is wrong with it."""
    words, reply = _words(question), _words(answer)
    if words is None or reply is None:
        found.problems.append(_faulty(record, question, answer))
    else:
        found.questions = (*found.questions, (words, reply))


def parse_question_records(source: Source, name: str) -> Iterator[LabelFile]:
    """Read a list of records with ``image``, ``question`` and ``answer``; those of one image are joined.

    Raises:
        JsonRecordsError: The file is no list of objects, or cut.

    Example:
        >>> file = b'[{"image": "232.tif", "question": "Is there a road?", "answer": "yes"}]'
        >>> next(parse_question_records(file, "test_qa.json")).questions
        (('Is there a road?', 'yes'),)
    """
    asked: dict[str, LabelFile] = {}
    for _, record in read_records(source, name=name):
        image = _words(record.get("image", record.get("filename"))) or ""
        found = asked.setdefault(image, LabelFile(image=image))
        _ask(found, record, record.get("question"), record.get("answer"))
    yield from asked.values()


def parse_question_members(source: Source, name: str) -> Iterator[LabelFile]:
    """Read the questions of FloodNet: one object, whose members have ``Image_ID``, ``Question`` and ``Ground_Truth``.

    Raises:
        JsonRecordsError: The file is no object, or cut.

    Example:
        >>> file = b'{"0": {"Image_ID": "6651.JPG", "Question": "How many buildings?", "Ground_Truth": 4}}'
        >>> next(parse_question_members(file, "Training Question.json")).questions
        (('How many buildings?', '4'),)
    """
    asked: dict[str, LabelFile] = {}
    for _, record in read_member_lists(source, name=name, keys=EVERY_MEMBER):
        image = _words(record.get("Image_ID")) or ""
        found = asked.setdefault(image, LabelFile(image=image))
        _ask(found, record, record.get("Question"), record.get("Ground_Truth"))
    yield from asked.values()


def parse_question_lines(data: bytes, name: str) -> list[LabelFile]:
    """Read lines of RSIVQA, ``image:question?answer``.

    Returns:
        One label file for each image, in the order of its first line. Lines of another form are listed with the
        image before them.

    Example:
        >>> parse_question_lines(b"P0003: how many small vehicles are there?15", "dota.txt")[0].questions
        (('how many small vehicles are there?', '15'),)
    """
    files: dict[str, LabelFile] = {}
    asked: dict[str, list[tuple[str, str]]] = {}
    last = ""
    for number, line in enumerate(decode_text(data, name).splitlines(), 1):
        if not line.strip():
            continue
        match = _line(line.strip())
        if match is None or not match[3].strip():
            file = files.setdefault(last, LabelFile(image=last))
            file.problems.append(
                LabelProblem("question-without-answer", f"line {number}: {line.strip()[:60]!r}")
            )
            continue
        last = match[1].strip()
        files.setdefault(last, LabelFile(image=last))
        asked.setdefault(last, []).append((match[2].strip(), match[3].strip()))
    for image, pairs in asked.items():
        files[image].questions = tuple(pairs)
    return list(files.values())
