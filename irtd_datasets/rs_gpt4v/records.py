"""From a record to a pending row: pure functions, no file access."""

from __future__ import annotations

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
from irtd_datasets.rs_gpt4v.tables import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.annotations.conversations import Conversation, Question
    from irtd_datasets.boxes.text import ParsedText

__all__ = ["ParsedRecord", "TextFrame", "image_name", "pending_row_of", "record_key"]

_MARKERS = ("RS-GPT4V/", "RS_GPT4V/", "rs-gpt4v/", "rs_gpt4v/")
_SCORED = frozenset({"captioning", "vqa", "grounding", "region_captioning"})
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


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """How the records of one file are read by one part.

    Attributes:
        where: Name of the file, for messages and for the component.
        prefix: Beginning of every id: dataset, split, file.
        task: Task of the records.
        frame: Frame of their numbers.
        derivative: Whether the file is one that others made.
    """

    where: str
    prefix: str
    task: str
    frame: TextFrame
    derivative: bool = False


def image_name(name: str) -> str:
    """Relative name of an image; a folder of the authors' machine before ``RS-GPT4V/`` is cut off.

    Raises:
        UnsafePathError: The name leaves the release.

    Example:
        >>> image_name("/home/author/data/RS-GPT4V/images/DIOR-RSVG/1.jpg")
        'images/DIOR-RSVG/1.jpg'
    """
    if name.startswith("/"):
        for marker in _MARKERS:
            _, found, rest = name.partition("/" + marker)
            if found:
                return safe_name(rest)
    return safe_name(name)


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


def pending_row_of(record: Mapping[str, object], index: int, parsed: ParsedRecord) -> PendingRow:
    """Parse a record of either form.

    Args:
        record: The parsed JSON object.
        index: Its number in the file, from 0.
        parsed: How its file is read.

    Raises:
        RecordError: It has neither form; the message shows its keys and what was expected.
        UnsafePathError: The name of its image leaves the release.

    Example:
        >>> parsed = ParsedRecord("test.jsonl", "rs_gpt4v/test/test", "vqa", TextFrame(None))
        >>> record = {"question_id": 0, "image": "RSVQA_LR/1.tif", "text": "Is there a road?", "answer": "yes"}
        >>> pending = pending_row_of(record, 0, parsed)
        >>> pending.id, pending.source, pending.answer
        ('rs_gpt4v/test/test/0', 'RSVQA-LR', 'yes')
    """
    form = detect_form(record, index, name=parsed.where)
    if form == "caption":
        raise RecordError(
            f"the record has the keys {', '.join(map(repr, record))}, expected turns or a question with its answer",
            code="record-form",
            where=f"{parsed.where} record {index}",
        )
    if form == "question":
        return _from_question(parse_question(record, index, name=parsed.where), record, index, parsed)
    conversation = parse_conversation(record, index, name=parsed.where, rules=MANY_ROUNDS)
    return _from_conversation(conversation, record, index, parsed)


def _from_question(
    found: Question, record: Mapping[str, object], index: int, parsed: ParsedRecord
) -> PendingRow:
    corrections, quirks = _beyond_columns(found.extra | _given("category", found.category))
    if len(found.answers) > 1:
        corrections.append(Correction("several-references", "record.answer", as_json(list(found.answers))))
        quirks.append("several-references")
    messages = (Message(role="user", content=found.text), Message(role="assistant", content=found.answers[0]))
    pending = PendingRow(
        id=f"{parsed.prefix}/{record_key(record, index)}",
        image=image_name(found.image),
        task=parsed.task,
        modality="optical",
        source=source_of(found.image, parsed.where),
        messages=messages,
        question=found.text,
        answer=found.answers[0],
        corrections=tuple(corrections),
        quirks=tuple(quirks),
    )
    return _with_regions(pending, [(found.text, found.answers[0])], parsed)


def _from_conversation(
    found: Conversation, record: Mapping[str, object], index: int, parsed: ParsedRecord
) -> PendingRow:
    corrections, quirks = _beyond_columns(found.extra)
    talk = [turn.text for turn in found.turns if turn.role != "system"]
    rounds = list(zip(talk[::2], talk[1::2], strict=True))
    scored = len(rounds) == 1 and parsed.task in _SCORED
    pending = PendingRow(
        id=f"{parsed.prefix}/{record_key(record, index)}",
        image=image_name(found.images[0]),
        task=parsed.task,
        modality="optical",
        source=source_of(found.images[0], parsed.where),
        messages=tuple(Message(role=turn.role, content=turn.text) for turn in found.turns),
        question=rounds[0][0] if scored else None,
        answer=rounds[0][1] if scored else None,
        corrections=tuple(corrections),
        issues=("duplicate-round",) if record.get(REPEATED) or len(set(rounds)) < len(rounds) else (),
        quirks=tuple(quirks),
    )
    return _with_regions(pending, rounds, parsed)


def _given(key: str, value: object) -> dict[str, object]:
    return {} if value is None else {key: value}


def _beyond_columns(extra: Mapping[str, object]) -> tuple[list[Correction], list[str]]:
    """Keys that no column is for, kept beside the row."""
    kept = {key: value for key, value in extra.items() if key not in _EXTRA_KEYS}
    corrections = [Correction("record-key", f"record.{key}", as_json(value)) for key, value in kept.items()]
    return corrections, ["record-key"] if kept else []


def _with_regions(pending: PendingRow, rounds: Sequence[tuple[str, str]], parsed: ParsedRecord) -> PendingRow:
    """The pending row with what its texts say about places."""
    issues = [*pending.issues, *(["origin-derivative"] if parsed.derivative else [])]
    texts: list[list[BoxSpan]] = []
    for question, answer in rounds:
        asked, told = _parse(question, issues), _parse(answer, issues)
        texts += [_labelled(asked, answer, told), _labelled_by_question(told, question)]
    spans = [span for text in texts for span in text]
    if not spans:
        return replace(pending, issues=tuple(issues))
    if parsed.frame.frame is None:
        return replace(pending, issues=(*issues, "box-frame-unknown"), box_frame="unknown")
    decimals = max((_decimals(string) for span in spans for string in span.raw_numbers), default=0)
    merged = merge_rounds(texts, decimals=decimals)
    boxes = (span for span in merged if isinstance(span, BoxSpan))
    regions = regions_of(boxes, parsed.frame.frame, decimals, only_square=parsed.frame.only_square)
    return replace(pending, issues=tuple(issues), regions=regions, box_frame=parsed.frame.frame.value)


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
