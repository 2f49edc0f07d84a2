"""From a record to a pending row: pure functions, one for the texts of each task.

Prompts are those of the EarthGPT paper (arXiv 2401.16822v3) and of public readers of the release, which differ in
small words ("Answering" for "Answer", "RS" for "remote sensing"); what does not fit them is kept and simply not taken
apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from irtd_datasets.annotations.conversation_keys import find_turns, read_turn
from irtd_datasets.annotations.conversations import MANY_ROUNDS, RecordError, Turn, parse_conversation
from irtd_datasets.boxes import Frame, merge_rounds, parse_boxes
from irtd_datasets.boxes.text import BoxSpan, read_label
from irtd_datasets.mmrs_1m.spec import DECIMALS
from irtd_datasets.rows.box_text import find_boxes, regions_of
from irtd_datasets.rows.parsing import REPEATED
from irtd_datasets.rows.pending import Message, PendingRow, Regions, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from irtd_datasets.annotations.json_records import Record
    from irtd_datasets.mmrs_1m.spec import Component

__all__ = ["ParsedRecord", "Round", "asked_class", "asked_task", "place_task", "read_record", "read_rounds"]

_SALVAGED = frozenset({"turn-odd", "turn-order", "empty-answer", "empty-question"})
"""Reasons that leave the other rounds of a record sound."""

_SHORT_ANSWER = re.compile(
    r"\s*answer(?:ing)? the question using a single word or phrase\s*[.:]?\s*", re.IGNORECASE
)
_CATEGORIES = re.compile(
    r"\s*(?:the )?reference categories (?:include|are)\s*:?\s*(.+?)\s*\.?\s*\Z", re.IGNORECASE | re.DOTALL
)
_DESCRIBED = re.compile(r"described (?:as|by)\s*:?\s*(.+?)\s*\Z", re.IGNORECASE | re.DOTALL)
_ALL_OF_CLASS = re.compile(
    r"\bdetect (?:all|every|the)?\s*(.+?)\s+(?:shown|visible|present|in the)\b", re.IGNORECASE
)
_ANYTHING = frozenset({"object", "target", "instance", "thing"})
_DETECT = re.compile(r"\bdetect\b.*\bbounding boxes\b", re.IGNORECASE | re.DOTALL)
_CATEGORY = re.compile(r"\breference categories\b", re.IGNORECASE)
_CAPTION = re.compile(r"\bone-sentence caption\b", re.IGNORECASE)
_REGION = re.compile(r"\b(?:description|caption|phrase) (?:for|of) (?:this|the) region\b", re.IGNORECASE)
_COORDINATE = re.compile(r"\bcoordinates?\b|\bdescribed (?:as|by)\b", re.IGNORECASE)
_NOTHING = re.compile(r"\b(?:no|none|not any|0|zero)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Round:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """What the rounds of a record say.

    Attributes:
        regions: Their boxes, in the frame of the text.
        issues: Codes of the issue table.
        question: For a single scored round, the question without its instructions.
        choices: Its categories.
        answer: Its answer.
    """

    regions: tuple[Regions, ...] = ()
    issues: tuple[str, ...] = ()
    question: str | None = None
    choices: tuple[str, ...] = ()
    answer: str | None = None


def place_task(question: str, answer: str) -> str:
    """Tell grounding (a box for a phrase) from region captioning (a phrase for a box) by the form of a round.

    Returns:
        ``grounding`` or ``region_captioning``; empty when the round has neither a box nor the words of a prompt.

    Example:
        >>> place_task("... of the region which is described as:The tiny vehicle", "[0.1,0.2,0.3,0.4]")
        'grounding'
        >>> place_task("Please provide a short description for this region :[0.1,0.2,0.3,0.4]", "The tiny vehicle")
        'region_captioning'
    """
    in_question, in_answer = bool(parse_boxes(question).spans), bool(parse_boxes(answer).spans)
    if in_question != in_answer:
        return "region_captioning" if in_question else "grounding"
    if _REGION.search(question):
        return "region_captioning"
    return "grounding" if _COORDINATE.search(question) else ""


def asked_task(question: str) -> str:
    """The task whose prompt a question is; empty for any other question.

    Example:
        >>> asked_task("Is there a ship? Answer the question using a single word or phrase.")
        'vqa'
        >>> asked_task("Detect all ships shown in the image and describe using horizontal bounding boxes.")
        'detection'
    """
    if _DETECT.search(question):
        return "detection"
    if _SHORT_ANSWER.search(question):
        return "classification" if _CATEGORY.search(question) else "vqa"
    return "captioning" if _CAPTION.search(question) else ""


def read_record(
    component: Component, record: Record, where: tuple[str, int], image: str, row: str
) -> PendingRow:
    """Parse one record of a component.

    Args:
        component: The row of Table I that it belongs to.
        record: The record as parsed from JSON.
        where: Name of its annotation file below ``json/``, and its number there.
        image: Name of its image, as `read_image_name` gives it.
        row: Id of the row.

    Returns:
        The row, with the sound rounds of the record.

    Raises:
        RecordError: It has no sound round, or not the form of a conversation about one image.
    """
    sound, issues, has_token = _sound_turns(record, where)
    rounds = tuple(
        Round(question.text, answer.text) for question, answer in zip(sound[::2], sound[1::2], strict=True)
    )
    parsed = read_rounds(component.task, rounds)
    if record.get(REPEATED) or len(set(rounds)) < len(rounds):
        issues.append("duplicate-round")
    quirks = list(component.caveats)
    if "image_path" in record:
        quirks.append("image-path-key")
    if has_token:
        quirks.append("image-token")
    return PendingRow(
        id=row,
        image=image,
        task=component.task,
        modality=component.modality,
        source=component.title,
        messages=tuple(Message(role=turn.role, content=turn.text) for turn in sound),
        question=parsed.question,
        choices=parsed.choices,
        answer=parsed.answer,
        regions=parsed.regions,
        issues=(*issues, *(code for code in parsed.issues if code not in issues)),
        quirks=tuple(quirks),
        rounds=len(rounds),
        size=component.image_size,
    )


def read_rounds(task: str, rounds: Sequence[Round]) -> ParsedRecord:
    """Read what the rounds of one record say.

    Args:
        task: Name from the task vocabulary.
        rounds: Questions with answers, at least one.

    Example:
        >>> everything = Round(
        ...     "Detect all objects shown in the remote sensing image and describe using horizontal bounding boxes.",
        ...     "There are <p>two ships</p>[0.10,0.10,0.20,0.20;0.30,0.30,0.40,0.40] <p>one plane</p>[0.5,0.5,0.6,0.6]",
        ... )
        >>> planes = Round("Detect all planes shown in ...", "There is one plane[0.50,0.50,0.60,0.60] in the image.")
        >>> parsed = read_rounds("detection", [everything, planes])
        >>> parsed.regions[0].labels, parsed.issues
        (('ship', 'ship', 'plane'), ())
    """
    return _READERS[task](rounds)


def _captions(_: Sequence[Round]) -> ParsedRecord:
    return ParsedRecord()


def _vqa(rounds: Sequence[Round]) -> ParsedRecord:
    if len(rounds) != 1:
        return ParsedRecord()
    return ParsedRecord(
        question=_SHORT_ANSWER.sub(" ", rounds[0].question).strip(), answer=rounds[0].answer.strip()
    )


def _classification(rounds: Sequence[Round]) -> ParsedRecord:
    if len(rounds) != 1:
        return ParsedRecord()
    question = rounds[0].question
    choices: tuple[str, ...] = ()
    found = _CATEGORIES.search(question)
    if found is not None:
        choices = tuple(
            choice for part in found[1].split(",") if (choice := re.sub(r"\Aand\s+", "", part.strip(" .")))
        )
        question = question[: found.start()]
    return ParsedRecord(
        question=_SHORT_ANSWER.sub(" ", question).strip(), choices=choices, answer=rounds[0].answer.strip()
    )


def _grounding(rounds: Sequence[Round]) -> ParsedRecord:
    spans: list[BoxSpan] = []
    issues: list[str] = []
    for one in rounds:
        described = _DESCRIBED.search(one.question)
        found = find_boxes(one.answer, issues).spans
        spans += (replace(span, label=described[1] if described else span.label) for span in found)
        if not found:
            _add(issues, "box-missing")
    regions = _regions(spans)
    question = answer = None
    if len(rounds) == 1:
        question = rounds[0].question.strip()
        readable = [list(span.numbers) for span in spans if span.is_readable]
        answer = as_json(readable[0]) if len(readable) == 1 else rounds[0].answer.strip()
    return ParsedRecord(regions, tuple(issues), question, (), answer)


def _region_captions(rounds: Sequence[Round]) -> ParsedRecord:
    spans: list[BoxSpan] = []
    issues: list[str] = []
    for one in rounds:
        found = find_boxes(one.question, issues).spans
        spans += (replace(span, label=one.answer.strip()) for span in found)
        if not found:
            _add(issues, "box-missing")
    return ParsedRecord(_regions(spans), tuple(issues))


def _detection(rounds: Sequence[Round]) -> ParsedRecord:
    said: list[list[BoxSpan]] = []
    issues: list[str] = []
    for one in rounds:
        asked = asked_class(one.question)
        found = find_boxes(one.answer, issues).spans
        said.append([span if span.label or not asked else replace(span, label=asked) for span in found])
        if not found and not _NOTHING.search(one.answer):
            _add(issues, "box-missing")
    merged = merge_rounds(said, DECIMALS)
    return ParsedRecord(_regions([span for span in merged if isinstance(span, BoxSpan)]), tuple(issues))


_READERS: dict[str, Callable[[Sequence[Round]], ParsedRecord]] = {
    "captioning": _captions,
    "vqa": _vqa,
    "classification": _classification,
    "grounding": _grounding,
    "region_captioning": _region_captions,
    "detection": _detection,
}


def asked_class(question: str) -> str:
    """The class that a question asks for; empty when it asks for all of them."""
    found = _ALL_OF_CLASS.search(question)
    name = read_label(found[1]).name if found else ""
    return "" if name.lower() in _ANYTHING else name


def _regions(spans: Sequence[BoxSpan]) -> tuple[Regions, ...]:
    return regions_of(spans, Frame.SQUARE_UNIT, DECIMALS)


def _sound_turns(record: Record, where: tuple[str, int]) -> tuple[Sequence[Turn], list[str], bool]:
    """Questions and answers in turns, why rounds were left out, and whether there was an image token."""
    name, index = where
    try:
        conversation = parse_conversation(record, index, name=name, rules=MANY_ROUNDS)
        issues: list[str] = []
    except RecordError as error:
        if error.code not in _SALVAGED:
            raise
        sound, issues = _sound_rounds(record)
        if not sound:
            raise
        conversation = parse_conversation(
            {**record, find_turns(record)[0]: sound}, index, name=name, rules=MANY_ROUNDS
        )
    turns = [turn for turn in conversation.turns if turn.role != "system"]
    return turns, issues, conversation.image_token != "none"  # noqa: S105 - no secret


def _sound_rounds(record: Record) -> tuple[list[object], list[str]]:
    """Turns of the rounds that have a question and an answer, and why the others were left out.

    Only called on turns that `parse_conversation` could read up to their order and their emptiness.
    """
    sound: list[object] = []
    issues: list[str] = []
    asked: object = None
    for turn in find_turns(record)[1]:
        if read_turn(turn)[0] == "user":
            if asked is not None:
                _add(issues, "turn-order")
            asked = turn
        elif asked is None:
            _add(issues, "turn-order")
        else:
            if _is_empty(asked):
                _add(issues, "empty-question")
            elif _is_empty(turn):
                _add(issues, "empty-answer")
            else:
                sound += (asked, turn)
            asked = None
    if asked is not None:
        _add(issues, "turn-odd")
    return sound, issues


def _is_empty(turn: object) -> bool:
    return not read_turn(turn)[1].replace("<image>", "").strip()


def _add(codes: list[str], code: str) -> None:
    if code not in codes:
        codes.append(code)
