"""One look at a whole annotation file before any record of it is parsed: its form, its tasks, the frame of its boxes.

Nothing about the files of RS-GPT4V is documented, so everything is measured, file by file, and told: the note of a
survey stands in doctor, in the ledger and on the card.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from irtd_datasets.annotations.conversations import RecordError, detect_form
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.annotations.outline import outline_of
from irtd_datasets.boxes import Frame, parse_boxes
from irtd_datasets.errors import AnnotationError, BoxError, IrtdDatasetsError, ReleaseError, UnknownNameError
from irtd_datasets.rows.frame_report import BoxSample, check_sample, has_boxes
from irtd_datasets.rows.layout import is_foreign, stopping
from irtd_datasets.rows.llava import TextFrame
from irtd_datasets.rs_gpt4v.spec import PUBLISHED, SPEC
from irtd_datasets.rs_gpt4v.tables import Derivative, FileRules, derivative_of, foreign_image, rules_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from irtd_datasets.annotations.json_records import Form, Record, Source
    from irtd_datasets.annotations.outline import RecordOutline
    from irtd_datasets.boxes import FrameReport

    SizeOf = Callable[[str], tuple[int, int] | None]

__all__ = ["EXPECTED", "NO_PLACE", "Survey", "decide_frame", "frame_setting", "survey_file"]

EXPECTED = (
    "'image' with 'conversations' or 'messages' (LLaVA style), or 'question_id', 'image', 'text' and 'answer' "
    "(evaluation style)"
)
NO_PLACE = 255
_POSITIONS = {member.key: position for position, member in enumerate(SPEC.members)}
TRIED = 100
"""Records without a known form after which a file is given up."""
_EXCERPT = 160

_FORMS = {"conversation": "LLaVA-style conversations", "question": "questions with reference answers"}
_WRITTEN: dict[Form, str] = {
    "array": "JSON array",
    "lines": "JSON lines",
    "objects": "objects without brackets",
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file is.

    Attributes:
        rules: How its records are told apart.
        members: Split and task of its records, with counts.
        frame: Frame of the numbers in its texts.
        note: Everything found out, in sentences.
        refused: Why it is not read; empty when it is.
        problem: What stopped the reading of a file that is not known to be something else; None when nothing did.
        derivative: What it is when others made it.
        places: For each record the position of its part among the members of the dataset; `NO_PLACE` for none.
        settled: Whether nothing but the file itself decided; else an image that is found later can change it.
    """

    rules: FileRules
    members: Mapping[tuple[str, str], int]
    frame: TextFrame
    note: str
    refused: str = ""
    problem: AnnotationError | ReleaseError | None = None
    derivative: Derivative | None = None
    places: bytes = field(default=b"", repr=False)
    settled: bool = True

    @property
    def reading(self) -> str:
        """What decides how its records are read, besides their bytes."""
        frame = "unknown" if self.frame.frame is None else self.frame.frame.value
        return f"{self.rules.split}/{self.rules.task}/{frame}/{self.frame.only_square}/{self.derivative is not None}"


class _Counts:
    """What is counted while a file is read."""

    def __init__(self, rules: FileRules) -> None:
        self.rules = rules
        self.forms: Counter[str] = Counter()
        self.members: Counter[tuple[str, str]] = Counter()
        self.rounds: Counter[str] = Counter()
        self.why: Counter[tuple[str, str]] = Counter()
        self.extra: Counter[str] = Counter()
        self.records = self.other = self.lists = self.unreadable = 0
        self.first_other: Record | None = None
        self.foreign: Derivative | None = None
        self.boxes = BoxSample()
        self.places = bytearray()

    def add(self, index: int, record: Record) -> None:
        self.records += 1
        # Records that cannot be parsed leave gaps in the numbers.
        self.places.extend(NO_PLACE for _ in range(len(self.places), index + 1))
        seen = outline_of(record)
        place = None if seen is None else self.rules.place(record, seen)
        if seen is None or place is None:
            self.other += 1
            self.first_other = self.first_other or record
            return
        split, task, why = place
        self.forms[seen.form] += 1
        self.members[split, task] += 1
        self.places[index] = _POSITIONS[split, task]
        self.rounds[split] += (
            min(len(seen.questions), len(seen.answers)) if seen.form == "conversation" else 1
        )
        self.why[task, why] += 1
        self.extra.update(key for key in seen.extra if key != "round_id")
        self.lists += isinstance(record.get("answer"), list)
        self.foreign = self.foreign or foreign_image(seen.image)
        self._find_boxes(seen)

    def _find_boxes(self, seen: RecordOutline) -> None:
        for text in seen.texts:
            if has_boxes(text):
                for span in parse_boxes(text).spans:
                    if span.is_readable:
                        self.boxes.add(span.numbers, seen.image)
                    else:
                        self.unreadable += 1


def survey_file(
    source: Callable[[], Source], where: str, size_of: SizeOf, settings: Mapping[str, str]
) -> Survey:
    """Survey an annotation file.

    Args:
        source: Opens the file.
        where: Its path below the release.
        size_of: Finds width and height of an image by its name in the records.
        settings: ``frame`` and ``derivatives`` as the user gave them.

    Returns:
        What it is; a file of another kind is described by ``refused``.

    Raises:
        BoxError: The user's frame contradicts the numbers.
        UnknownNameError: A setting has a value that does not exist.
    """
    rules = rules_for(where)
    wanted = frame_setting(settings.get("frame"), where)
    accepts = derivatives_setting(settings.get("derivatives"))
    derivative = derivative_of(where)
    if derivative is not None and derivative.refused and not accepts:
        return _refusal(rules, _explain(derivative), derivative)
    counts = _Counts(rules)
    problem, form = _count(source, where, counts)
    if not counts.forms:
        if problem is None or is_foreign(problem, source):
            return _refusal(rules, _describe_other(counts, problem))
        return replace(_refusal(rules, ""), problem=stopping(problem, where))
    if problem is None and counts.foreign is not None:
        derivative = counts.foreign
        if derivative.refused and not accepts:
            return _refusal(rules, _explain(derivative), derivative)
    frame, note, settled = TextFrame(None), "no boxes", True
    if counts.boxes.count:
        report, asked, found, square = check_sample(counts.boxes, size_of)
        frame, note = decide_frame(report, found, wanted, where)
        note = (
            f"frame of its {counts.boxes.count:,} boxes: {note} ({len(counts.boxes.rows):,} boxes looked at on "
            f"{asked:,} images, {found:,} found, {square:,} square)"
        )
        settled = asked == found
    told = _told(counts, form)
    if derivative is not None:
        told.append(f"origin: {derivative.origin}")
    told.append(note)
    return Survey(
        rules,
        counts.members,
        frame,
        "; ".join(told),
        problem=None if problem is None else stopping(problem, where),
        derivative=derivative if derivative is not None and derivative.refused else None,
        places=bytes(counts.places),
        settled=settled,
    )


def _count(source: Callable[[], Source], where: str, counts: _Counts) -> tuple[IrtdDatasetsError | None, str]:
    """Read a file to its end; what stopped that, or made every record unreadable, and how it is written."""
    bad: list[AnnotationError] = []
    try:
        opened = source()
        with contextlib.closing(opened) if isinstance(opened, io.IOBase) else contextlib.nullcontext():
            reader = read_records(
                opened, name=where, on_bad=lambda _, error: bad.append(error) if not bad else None
            )
            for index, record in reader:
                counts.add(index, record)
                if counts.other >= TRIED and not counts.forms:
                    break
    except IrtdDatasetsError as error:
        return error, "JSON"
    form = _WRITTEN[reader.form] if reader.form else "JSON"
    damaged = bad and not counts.records and getattr(bad[0], "code", "") != "json-record-type"
    return (bad[0] if damaged else None), form


def frame_setting(value: str | None, where: str) -> Frame | None:
    """The frame that a user gave for a file; None for none.

    Args:
        value: A frame for all files, or ``FILE=FRAME`` with commas between, where a file is named by its path below
            the release or the last part of it.
        where: Path of the file below the release.

    Raises:
        UnknownNameError: There is no such frame.

    Example:
        >>> frame_setting("test.jsonl=unit,square_unit", "a/test.jsonl").value
        'unit'
    """
    chosen: Frame | None = None
    for item in (value or "").split(","):
        file, _, name = item.strip().rpartition("=")
        if not name:
            continue
        if name not in {frame.value for frame in Frame}:
            names = ", ".join(frame.value for frame in Frame)
            raise UnknownNameError(f"there is no frame {name!r}", remedy=f"The frames are {names}.")
        if file and where != file and not where.endswith("/" + file):
            continue
        if file:
            return Frame(name)
        chosen = Frame(name)
    return chosen


def derivatives_setting(value: str | None) -> bool:
    """Whether files that others made are to be read.

    Raises:
        UnknownNameError: There is no such value.
    """
    if value not in (None, "read", "refuse"):
        raise UnknownNameError(f"derivatives has no value {value!r}", remedy="Use read or refuse.")
    return value == "read"


def decide_frame(report: FrameReport, found: int, wanted: Frame | None, where: str) -> tuple[TextFrame, str]:
    """Decide in which frame the numbers of a file are read, and say why.

    The frame check decides. Where it cannot, the user's frame counts; without one, numbers from 0 to 1 are read on
    square images only, where a unit of the image and of the padded square are the same.

    Args:
        report: Of the frame check.
        found: Images whose size it knew.
        wanted: The user's frame.
        where: Name of the file, for the message.

    Raises:
        BoxError: The check says another frame than the user, or excludes the user's.
    """
    evidence = "; ".join(reason.rstrip(".") for reason in report.evidence)
    if report.frame is not None:
        if wanted not in (None, report.frame):
            raise BoxError(
                f"frame={wanted.value if wanted else ''} was given, but the numbers are in {report.frame.value}: "
                f"{evidence}",
                where=where,
                remedy="Leave the option out, or give it for the other files only (frame=FILE=FRAME). `irtd frames` "
                "shows the evidence.",
            )
        return TextFrame(report.frame), f"{report.frame.value} ({evidence})"
    verdict = report.verdict if found else "undecidable: none of their images was found"
    is_unit = bool(report.boxes) and report.legal[Frame.UNIT.value] >= _LEGAL
    is_unit = is_unit and "only the numbers 0 and 1" not in verdict
    if wanted is not None:
        _check_possible(report, wanted, where, is_unit=is_unit)
        return TextFrame(wanted), f"{wanted.value} as given (the check says {verdict})"
    if is_unit:
        return (
            TextFrame(Frame.UNIT, only_square=True),
            f"{verdict}; {_ON_SQUARE}",
        )
    return TextFrame(None), f"{verdict}; box_frame is unknown and objects is empty unless --frame is given"


def _check_possible(report: FrameReport, wanted: Frame, where: str, *, is_unit: bool) -> None:
    """Refuse a frame that the numbers exclude."""
    problem = ""
    if is_unit and wanted not in (Frame.UNIT, Frame.SQUARE_UNIT):
        problem = "the numbers go from 0 to 1"
    elif report.boxes and report.legal[wanted.value] < _LEGAL:
        problem = f"it allows only {report.legal[wanted.value]:.0%} of the boxes"
    if problem:
        raise BoxError(
            f"frame={wanted.value} was given, but {problem}",
            where=where,
            remedy="`irtd frames` shows which frames are possible.",
        )


_ON_SQUARE = (
    "on square images unit and square_unit are the same, so these rows have objects; on others box_frame is unknown "
    "and objects is empty unless --frame is given"
)
_LEGAL = 0.99  # as `check_frames`: annotations overflow


def _told(counts: _Counts, form: str) -> list[str]:
    forms = " and ".join(_FORMS[name] for name in counts.forms)
    rounds = ", ".join(
        f"{count:,} of the {PUBLISHED[split][0]:,} rounds published for {split}"
        for split, count in counts.rounds.items()
    )
    tasks = ", ".join(f"{task} {count:,} ({why})" for (task, why), count in sorted(counts.why.items()))
    told = [f"{forms} ({form}), {counts.records:,} records: {rounds}", f"tasks: {tasks}"]
    if counts.other:
        told.append(f"{counts.other:,} records of no known form")
    if counts.lists:
        told.append(f"{counts.lists:,} records with a list of references")
    if counts.extra:
        keys = ", ".join(f"{key} ({count:,})" for key, count in sorted(counts.extra.items())[:12])
        told.append(f"keys that no column is for, kept in corrections: {keys}")
    if counts.unreadable:
        told.append(f"{counts.unreadable:,} places that look like boxes and cannot be read")
    return told


def _refusal(rules: FileRules, why: str, derivative: Derivative | None = None) -> Survey:
    return Survey(rules, {}, TextFrame(None), "", why, derivative=derivative)


def _explain(derivative: Derivative) -> str:
    return (
        f"not RS-GPT4V but {derivative.origin}: {derivative.meaning}; "
        "to read it all the same: --set derivatives=read (derivatives='read')"
    )


def _describe_other(counts: _Counts, problem: IrtdDatasetsError | None) -> str:
    if counts.first_other is None:
        return problem.problem if problem else "it holds no records"
    record = counts.first_other
    keys = ", ".join(map(repr, list(record)[:12])) or "(none)"
    excerpt = json.dumps(record, ensure_ascii=False)
    excerpt = excerpt if len(excerpt) <= _EXCERPT else excerpt[:_EXCERPT] + "..."
    hint = " It looks like the output of a model." if {"prompt", "text"} <= record.keys() else ""
    try:
        detect_form(record)
    except RecordError as error:
        hint = f" {error.problem[0].upper()}{error.problem[1:]}." if "gt_" in error.problem else hint
    return f"its first record has the keys {keys}: {excerpt}; expected {EXPECTED}.{hint}"
