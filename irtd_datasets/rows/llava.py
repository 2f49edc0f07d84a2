"""From a record in the style of LLaVA, a conversation or a question of an evaluation, to a row of any dataset.

Pure functions, no file access; `irtd_datasets.rows.plain` and the datasets with such files use them.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from irtd_datasets.annotations.conversations import (
    MANY_ROUNDS,
    RecordError,
    detect_form,
    parse_conversation,
    parse_question,
)
from irtd_datasets.boxes import Frame, merge_rounds
from irtd_datasets.boxes.text import BoxSpan
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.rows.box_text import find_boxes, regions_of
from irtd_datasets.rows.frame_report import has_boxes
from irtd_datasets.rows.parsing import REPEATED
from irtd_datasets.rows.pending import Correction, Message, PendingRow, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from irtd_datasets.annotations.conversations import Conversation, Question
    from irtd_datasets.boxes.text import ParsedText

__all__ = ["FileReading", "TextFrame", "read_record", "record_key", "unique_keys"]

_SCORED = frozenset({"captioning", "classification", "vqa", "grounding", "region_captioning"})
_DESCRIBED = re.compile(r"described as\s*:?\s*(.+?)[\s.]*\Z", re.IGNORECASE | re.DOTALL)
_LONGEST_LABEL = 40  # words; longer answers are no description of one region
_EXTRA_KEYS = frozenset({"round_id", REPEATED})  # part of the id; a mark of our own


@dataclass(frozen=True, slots=True)
class TextFrame:
    """Frame of the numbers in the texts of one file, as far as it is known.

    Attributes:
        frame: The frame; None when it is not known.
        only_square: It is known on square images only, where padding changes nothing.
    """

    frame: Frame | None
    only_square: bool = False


def no_source(image: str) -> str | None:  # noqa: ARG001 - one signature for all
    """The component of an image where a dataset has none."""
    return None


@dataclass(frozen=True, slots=True)
class FileReading:
    """How the records of one file are read by one part.

    Attributes:
        where: Name of the file, for messages.
        prefix: Beginning of every id: dataset, split, file.
        task: Task of the records.
        frame: Frame of their numbers.
        modality: Kind of sensor of their images.
        source: From the name of an image to its component dataset.
        image_name: From the name that a record gives an image to the relative one; may raise `UnsafePathError`.
        issues: Codes that hold for each of its records.
        origin: Who wrote its texts.
    """

    where: str
    prefix: str
    task: str
    frame: TextFrame
    modality: str = "optical"
    source: Callable[[str], str | None] = no_source
    image_name: Callable[[str], str] = safe_name
    issues: tuple[str, ...] = ()
    origin: str = "released"


def record_key(record: Mapping[str, object], index: int) -> str:
    """What tells a record from the others of its file: its id, or its number, and the round where it has one.

    Example:
        >>> record_key({"question_id": 7, "round_id": 2}, 0), record_key({"image": "1.jpg"}, 5)
        ('7/2', '5')
    """
    found = record.get("question_id", record.get("id"))
    key = str(found) if isinstance(found, (int, str)) and found != "" else str(index)
    turn = record.get("round_id")
    return f"{key}/{turn}" if isinstance(turn, (int, str)) else key


def read_record(record: Mapping[str, object], index: int, reading: FileReading) -> PendingRow:
    """Parse a record of either form.

    Args:
        record: The parsed JSON object.
        index: Its number in the file, from 0.
        reading: How its file is read.

    Raises:
        RecordError: It has neither form; the message shows its keys and what was expected.
        UnsafePathError: The name of its image leaves the release.

    Example:
        >>> reading = FileReading("test.jsonl", "foors/test/test", "vqa", TextFrame(None))
        >>> record = {"question_id": 0, "image": "1.tif", "text": "Is there a road?", "answer": "yes"}
        >>> pending = read_record(record, 0, reading)
        >>> pending.id, pending.answer
        ('foors/test/test/0', 'yes')
    """
    form = detect_form(record, index, name=reading.where)
    if form == "caption":
        raise RecordError(
            f"the record has the keys {', '.join(map(repr, record))}, expected turns or a question with its answer",
            code="record-form",
            where=f"{reading.where} record {index}",
        )
    if form == "question":
        return _from_question(parse_question(record, index, name=reading.where), record, index, reading)
    conversation = parse_conversation(record, index, name=reading.where, rules=MANY_ROUNDS)
    return _from_conversation(conversation, record, index, reading)


def _from_question(
    found: Question, record: Mapping[str, object], index: int, reading: FileReading
) -> PendingRow:
    corrections, quirks = _beyond_columns(found.extra | _given("category", found.category))
    if len(found.answers) > 1:
        corrections.append(Correction("several-references", "record.answer", as_json(list(found.answers))))
        quirks.append("several-references")
    messages = (Message(role="user", content=found.text), Message(role="assistant", content=found.answers[0]))
    pending = PendingRow(
        id=f"{reading.prefix}/{record_key(record, index)}",
        image=reading.image_name(found.image),
        task=reading.task,
        modality=reading.modality,
        source=reading.source(found.image),
        messages=messages,
        question=found.text,
        answer=found.answers[0],
        corrections=tuple(corrections),
        quirks=tuple(quirks),
        origin=reading.origin,
    )
    return _with_regions(pending, [(found.text, found.answers[0])], reading)


def _from_conversation(
    found: Conversation, record: Mapping[str, object], index: int, reading: FileReading
) -> PendingRow:
    corrections, quirks = _beyond_columns(found.extra)
    talk = [turn.text for turn in found.turns if turn.role != "system"]
    rounds = list(zip(talk[::2], talk[1::2], strict=True))
    scored = len(rounds) == 1 and reading.task in _SCORED
    pending = PendingRow(
        id=f"{reading.prefix}/{record_key(record, index)}",
        image=reading.image_name(found.images[0]),
        task=reading.task,
        modality=reading.modality,
        source=reading.source(found.images[0]),
        messages=tuple(Message(role=turn.role, content=turn.text) for turn in found.turns),
        question=rounds[0][0] if scored else None,
        answer=rounds[0][1] if scored else None,
        corrections=tuple(corrections),
        issues=("duplicate-round",) if record.get(REPEATED) or len(set(rounds)) < len(rounds) else (),
        quirks=tuple(quirks),
        origin=reading.origin,
    )
    return _with_regions(pending, rounds, reading)


def _given(key: str, value: object) -> dict[str, object]:
    return {} if value is None else {key: value}


def _beyond_columns(extra: Mapping[str, object]) -> tuple[list[Correction], list[str]]:
    """Keys that no column is for, kept beside the row."""
    kept = {key: value for key, value in extra.items() if key not in _EXTRA_KEYS}
    corrections = [Correction("record-key", f"record.{key}", as_json(value)) for key, value in kept.items()]
    return corrections, ["record-key"] if kept else []


def _with_regions(pending: PendingRow, rounds: Sequence[tuple[str, str]], reading: FileReading) -> PendingRow:
    """The pending row with what its texts say about places."""
    issues = [*pending.issues, *reading.issues]
    texts: list[list[BoxSpan]] = []
    for question, answer in rounds:
        asked, told = _parse(question, issues), _parse(answer, issues)
        texts += [_labelled(asked, answer, told), _labelled_by_question(told, question)]
    spans = [span for text in texts for span in text]
    if not spans:
        return replace(pending, issues=tuple(issues))
    if reading.frame.frame is None:
        return replace(pending, issues=(*issues, "box-frame-unknown"), box_frame="unknown")
    decimals = max((_decimals(string) for span in spans for string in span.raw_numbers), default=0)
    merged = merge_rounds(texts, decimals=decimals)
    boxes = (span for span in merged if isinstance(span, BoxSpan))
    regions = regions_of(boxes, reading.frame.frame, decimals, only_square=reading.frame.only_square)
    return replace(pending, issues=tuple(issues), regions=regions, box_frame=reading.frame.frame.value)


def _parse(text: str, issues: list[str]) -> ParsedText | None:
    if not has_boxes(text) and "</p>" not in text and "</ref>" not in text:
        return None
    return find_boxes(text, issues)


def _labelled(asked: ParsedText | None, answer: str, told: ParsedText | None) -> list[BoxSpan]:
    """Boxes of a question; the one box without a label is what a short answer without boxes describes."""
    spans = list(asked.spans) if asked else []
    if (
        len(spans) == 1
        and not spans[0].label
        and not (told and told.spans)
        and len(answer.split()) <= _LONGEST_LABEL
    ):
        return [replace(spans[0], label=answer.strip().rstrip("."))]
    return spans


def _labelled_by_question(told: ParsedText | None, question: str) -> list[BoxSpan]:
    """Boxes of an answer; the one box without a label is what the question describes."""
    spans = list(told.spans) if told else []
    described = _DESCRIBED.search(question) if len(spans) == 1 and not spans[0].label else None
    return [replace(spans[0], label=described[1])] if described else spans


def _decimals(string: str) -> int:
    """Digits after the point of a number as written; a power of ten counts as the digits it stands for."""
    mantissa, _, power = string.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - (int(power) if power else 0)
    return min(max(digits, 0), 12)


def unique_keys(paths: Sequence[str]) -> dict[str, str]:
    """What ids have for each file: its name without suffix, with its folders where two files share that name.

    Example:
        >>> unique_keys(["train.json", "a/test.jsonl", "b/test.jsonl"])
        {'train.json': 'train', 'a/test.jsonl': 'a/test', 'b/test.jsonl': 'b/test'}
    """
    stems = {path: posixpath.splitext(path)[0] for path in paths}
    names = [stem.rpartition("/")[2] for stem in stems.values()]
    keys = {}
    for path, stem in stems.items():
        name = stem.rpartition("/")[2]
        keys[path] = name if names.count(name) == 1 else stem
    doubled = [key for key in keys.values() if list(keys.values()).count(key) > 1]
    return {path: path if key in doubled else key for path, key in keys.items()}
