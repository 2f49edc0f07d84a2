"""From the records of an annotation file to pending rows, with every record accounted for."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING

from irtd_datasets.annotations.conversation_keys import find_turns, read_turn
from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.errors import (
    AnnotationError,
    DefectError,
    ReleaseNotFoundError,
    UnknownNameError,
    UnsafePathError,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import AnnotationFile, Release
    from irtd_datasets.spec import DatasetSpec

__all__ = [
    "ACTIONS",
    "REPEATED",
    "DefectPolicy",
    "apply_policy",
    "check_counts",
    "count_rounds",
    "no_rows_error",
    "parse_file",
    "split_rounds",
]

ACTIONS = ("flag", "drop", "error")

REPEATED = "_repeated_round"
"""Key of a record made by `split_rounds` whose texts an earlier round of the same record has already."""


class DefectPolicy:
    """What to do with rows of each known defect.

    Args:
        spec: The dataset, for its table of issues.
        actions: Issue code, or ``*``, to one of `ACTIONS`. ``*`` means all issues of kind ``label``; everything else is
            flagged unless named.

    Raises:
        UnknownNameError: A code or an action does not exist.
    """

    def __init__(self, spec: DatasetSpec, actions: dict[str, str]) -> None:
        codes = {issue.code for issue in spec.issues if issue.scope == "row"}
        for code, action in actions.items():
            if action not in ACTIONS:
                raise UnknownNameError(
                    f"on_defect has no action {action!r}", remedy=f"Use {', '.join(ACTIONS)}."
                )
            if code != "*" and code not in codes:
                raise UnknownNameError(
                    f"{spec.name} has no row defect {code!r}",
                    remedy=f"The codes are {', '.join(sorted(codes))}.",
                )
        label_default = actions.get("*", "flag")
        self._actions = {
            issue.code: actions.get(issue.code, label_default if issue.kind == "label" else "flag")
            for issue in spec.issues
        }

    def action(self, issues: list[str] | tuple[str, ...]) -> tuple[str, str]:
        """The strictest action that any of a row's issues asks for, and that issue's code."""
        found = ("flag", "")
        for code in issues:
            action = self._actions.get(code, "flag")
            if ACTIONS.index(action) > ACTIONS.index(found[0]):
                found = (action, code)
        return found


def apply_policy(policy: DefectPolicy, row_id: str, issues: list[str], record_counts: RecordCounts) -> bool:
    """Whether a row stays; counts it as dropped when not.

    Raises:
        DefectError: The policy for one of its issues is ``error``.
    """
    action, code = policy.action(issues)
    if action == "error":
        raise DefectError(
            f"it has the defect {code}",
            where=row_id,
            remedy=f"Use --on-defect {code}=flag to keep such rows with a mark, or {code}=drop to leave them out.",
        )
    if action == "drop":
        record_counts.drop(code)
        return False
    return True


def parse_file(release: Release, file: AnnotationFile, record_counts: RecordCounts) -> Iterator[PendingRow]:
    """Read the records of an annotation file, each parsed once; what cannot be used is counted and left out.

    Records of a file that feeds several parts are counted by the part that they belong to.

    Raises:
        AnnotationError: The file as a whole cannot be read.
    """
    ids: dict[str, int] = {}

    def on_bad(_: int, problem: AnnotationError) -> None:
        if not file.counts_unreadable:
            return
        record_counts.found += 1
        record_counts.drop(getattr(problem, "code", "record-unreadable"), str(problem))

    with _opened(release, file) as source:
        reader = read_records(source, name=file.where, on_bad=on_bad)
        for index, record in reader:
            ours = file.covers(record, index)
            if ours:
                record_counts.rounds_found += count_rounds(record)
            try:
                key = release.peek(file, record, index)[1]
            except (RecordError, UnsafePathError) as error:
                if ours:
                    record_counts.found += 1
                    _drop(file, index, error, record_counts)
                continue
            # Of all records: an id must be unique over all parts that a file feeds.
            ids[key] = times = ids.get(key, 0) + 1
            if not ours:
                continue
            yield from _rows(release, file, record, index, times, record_counts)
    if file.counts_unreadable:
        record_counts.repairs.update({repair.code: repair.count for repair in reader.repairs})
        record_counts.repairs.update(dict(file.repairs))


def _rows(
    release: Release,
    file: AnnotationFile,
    record: Record,
    index: int,
    times: int,
    record_counts: RecordCounts,
) -> Iterator[PendingRow]:
    """Parse a record, the ``times``-th with its id: one row, or one for each of its rounds."""
    suffix = "" if times == 1 else f"#{times}"
    rounds = split_rounds(record) if release.options.rounds == "split" else [record]
    record_counts.found += len(rounds)
    for number, part in enumerate(rounds):
        try:
            pending = release.pending(file, part, index)
        except (RecordError, UnsafePathError) as error:
            _drop(file, index, error, record_counts)
            continue
        if pending.quirks:
            record_counts.quirks.update(pending.quirks)
        whole = f"{suffix}/{number}" if len(rounds) > 1 else suffix
        yield with_suffix(pending, whole) if whole else pending


@contextlib.contextmanager
def _opened(release: Release, file: AnnotationFile) -> Iterator[Source]:
    source = release.source(file)
    try:
        yield source
    finally:
        if isinstance(source, io.IOBase):
            source.close()


def count_rounds(record: Record) -> int:
    """Questions of a conversation, answered or not; 1 for a record of another form.

    Example:
        >>> turns = [{"from": "human", "value": "A ship?"}, {"from": "gpt", "value": "yes"}] * 2
        >>> count_rounds({"conversations": turns})
        2
    """
    turns = find_turns(record)[1]
    return sum(read_turn(turn)[0] == "user" for turn in turns) if turns else 1


def split_rounds(record: Record) -> list[Record]:
    """A record for each round of a conversation; the record itself when it has one round or another form.

    What comes before the first question (a system turn) goes with every round. A round whose texts an earlier one of
    the record has already gets the key `REPEATED`.

    Example:
        >>> turns = [{"from": "human", "value": "A ship?"}, {"from": "gpt", "value": "yes"}] * 2
        >>> [list(one) for one in split_rounds({"image": "1.jpg", "conversations": turns})]
        [['image', 'conversations'], ['image', 'conversations', '_repeated_round']]
    """
    key, turns = find_turns(record)
    starts = [position for position, turn in enumerate(turns) if read_turn(turn)[0] == "user"]
    if len(starts) < 2:
        return [record]
    rounds: list[Record] = []
    seen: list[object] = []
    for start, stop in zip(starts, [*starts[1:], len(turns)], strict=True):
        one = [*turns[: starts[0]], *turns[start:stop]]
        repeated = one in seen
        seen.append(one)
        rounds.append({**record, key: one, **({REPEATED: True} if repeated else {})})
    return rounds


def _drop(
    file: AnnotationFile, index: int, error: RecordError | UnsafePathError, record_counts: RecordCounts
) -> None:
    code = error.code if isinstance(error, RecordError) else "unsafe-path"
    where = f"{file.where} record {index}"
    if error.where:
        where = error.where if error.where.startswith(file.where) else f"{where}, {error.where}"
    record_counts.drop(code, f"{where}: {error.problem}")


def with_suffix(pending: PendingRow, suffix: str) -> PendingRow:
    """Complete the id of a row, and mark one whose id an earlier record of the file already has.

    Args:
        pending: The row.
        suffix: ``#2``, ``#3``, ... when an earlier record of the file has the same id, and ``/0``, ``/1``, ... when it
            is one round of a record.
    """
    issues = (*pending.issues, "duplicate-id") if suffix.startswith("#") else pending.issues
    return replace(pending, id=pending.id + suffix, issues=issues)


def no_rows_error(release: Release, record_counts: RecordCounts) -> ReleaseNotFoundError:
    """The error for annotation files of which no record gives a row; ``record_counts`` tells why."""
    name, root = release.spec.name, release.options.root
    if record_counts.image_missing and not record_counts.dropped:
        return ReleaseNotFoundError(
            f"the annotation files are there, but none of the images of their {record_counts.image_missing:,} records",
            where=root,
            remedy="Give their places, as images={NAME: PATH} or --images NAME=PATH; "
            f"`irtd doctor {name} --release {root}` lists the names.",
        )
    reasons = {
        **record_counts.dropped,
        **({"image missing": record_counts.image_missing} if record_counts.image_missing else {}),
    }
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
    return ReleaseNotFoundError(
        f"none of the {record_counts.found:,} records gives a row" + (f"; left out: {told}" if told else ""),
        where=root,
        remedy="\n".join(record_counts.messages[:3])
        or f"`irtd doctor {name} --release {root}` tells what is there.",
    )


def check_counts(
    spec: DatasetSpec, file: AnnotationFile, record_counts: RecordCounts, flagged: Counter[str]
) -> None:
    """Compare the defects of a complete released file with the table of known defects.

    Args:
        spec: The dataset.
        file: The annotation file.
        record_counts: Its reading, with quirks and repairs.
        flagged: Issue codes of all its rows, whether their image was found or not.

    Raises:
        DefectError: A defect of the table is missing or has another count, or one of the file is not in the table.
    """
    part = file.member.part
    if part.records is None or record_counts.found != part.records:
        return  # not the released file: nothing is known about its counts
    seen = flagged + record_counts.quirks
    wrong = []
    for issue in spec.issues:
        if issue.count is None or issue.file != part.file:
            continue
        found = record_counts.repairs[issue.code] if issue.kind == "format" else seen.pop(issue.code, 0)
        # A repaired form is a user's own doing and no reason to stop.
        if found != issue.count and not (issue.kind == "format" and found == 0):
            wrong.append(f"{issue.code}: the table says {issue.count}, the file has {found}")
    free = {issue.code for issue in spec.issues if issue.count is None}
    wrong += [
        f"{code}: not in the table, the file has {count}" for code, count in seen.items() if code not in free
    ]
    if wrong:
        raise DefectError(
            f"{len(wrong)} counts differ from the table of known defects: " + "; ".join(wrong),
            where=file.where,
            remedy="The file is not the released one although it has as many records. Compare it with the release.",
        )
