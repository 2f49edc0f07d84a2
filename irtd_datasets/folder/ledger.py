"""The ledger: what became of every record of a release."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.documents import parse_json, read_json
from irtd_datasets.folder.names import FINISHED, LEDGER
from irtd_datasets.rows.record_counts import RecordCounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from irtd_datasets.documents import JsonValue
    from irtd_datasets.spec import DatasetSpec

__all__ = ["LEDGER_REMEDY", "Ledger", "LedgerLine", "unbalanced"]

LEDGER_REMEDY = "Remove ledger.json, and start `irtd build` again with every config of the folder."


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One annotation file.

    Attributes:
        subset: Its subset.
        part: Its part.
        file: Its name in the release.
        released: Records in the released file; None where nothing was released.
        record_counts: What became of its records; None when the file is not there.
        note: Anything else that a reader must know.
        rounds: Rounds that the paper counts for it; None where it counts records, or nothing.
    """

    subset: str
    part: str
    file: str
    released: int | None
    record_counts: RecordCounts | None
    note: str = ""
    rounds: int | None = None

    @property
    def absent(self) -> int:
        """Released records of a file that is not there."""
        return self.released or 0 if self.record_counts is None else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "subset": self.subset,
            "part": self.part,
            "file": self.file,
            "released": self.released,
            "present": self.record_counts is not None,
            **(self.record_counts or RecordCounts()).as_dict(),
            "note": self.note,
            "rounds": self.rounds,
        }

    @classmethod
    def from_json(cls, values: JsonValue) -> LedgerLine:
        """The inverse of `as_dict`.

        Raises:
            AnnotationError: A value is missing or of another type.
        """
        subset, part, file = (values[name].text() for name in ("subset", "part", "file"))
        return cls(
            subset,
            part,
            file,
            values["released"].optional_count(),
            RecordCounts.from_json(values) if values["present"].flag() else None,
            values["note"].text(),
            values["rounds"].optional_count(),
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The lines of all annotation files of the subsets that were built."""

    dataset: str
    lines: tuple[LedgerLine, ...]
    unknown_files: tuple[str, ...] = ()

    def totals(self) -> dict[str, int]:
        """Sums over all files; ``released`` is what the sums of a complete release must equal.

        Example:
            >>> line = LedgerLine("instruct", "reid", "ReID.json", 3733, None)
            >>> Ledger("irtd", (line,)).totals()["absent"]
            3733
        """
        present = [line.record_counts for line in self.lines if line.record_counts is not None]
        return {
            "released": sum(line.released or 0 for line in self.lines),
            "absent": sum(line.absent for line in self.lines),
            "found": sum(record_counts.found for record_counts in present),
            "kept": sum(record_counts.kept for record_counts in present),
            "image_missing": sum(record_counts.image_missing for record_counts in present),
            "dropped": sum(sum(record_counts.dropped.values()) for record_counts in present),
            "flagged": sum(sum(record_counts.flagged.values()) for record_counts in present),
            "rounds_released": sum(line.rounds or 0 for line in self.lines),
            "rounds_absent": sum(line.rounds or 0 for line in self.lines if line.record_counts is None),
            "rounds_found": sum(record_counts.rounds_found for record_counts in present),
            "rounds_kept": sum(record_counts.rounds_kept for record_counts in present),
        }

    @property
    def released_sum(self) -> str:
        """The sum of the released records for people, who are told where a count is not known.

        Example:
            >>> known, unknown = (LedgerLine("a", "b", "c.json", n, None) for n in (3733, None))
            >>> [Ledger("irtd", lines).released_sum for lines in ((known,), (known, unknown), (unknown,))]
            ['3,733', '3,733 and unknown', 'unknown']
        """
        return _known_sum([line.released for line in self.lines])

    @property
    def rounds_sum(self) -> str:
        """The same of the rounds that the paper counts for the files that are here."""
        return _known_sum([line.rounds for line in self.lines if line.record_counts is not None])

    @property
    def rounds_difference(self) -> str:
        """Rounds found less those that the paper counts; empty where it does not count all files that are here."""
        here = [line for line in self.lines if line.record_counts is not None]
        if any(line.rounds is None for line in here):
            return ""
        totals = self.totals()
        return f"{totals['rounds_found'] - totals['rounds_released'] + totals['rounds_absent']:+,}"

    @property
    def counts_rounds(self) -> bool:
        """Whether the release is counted by rounds, so that a reader wants to see them reconciled."""
        return any(line.rounds is not None for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``ledger.json``."""
        return {
            "dataset": self.dataset,
            "totals": self.totals(),
            "files": [line.as_dict() for line in self.lines],
            "unknown_files": list(self.unknown_files),
        }

    def render(self) -> str:
        """The text of ``ledger.json``."""
        return json.dumps(self.as_dict(), indent=1) + "\n"

    @classmethod
    def parse(cls, data: bytes, where: str = LEDGER) -> Ledger:
        """Understand the bytes of a ledger.

        Args:
            data: JSON as `render` writes it.
            where: The file, for messages.

        Raises:
            AnnotationError: It is damaged.
        """
        return cls.from_json(parse_json(data, where, LEDGER_REMEDY))

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Read the ledger of a folder; see `parse`.

        Raises:
            ReleaseNotFoundError: There is none.
            AnnotationError: It cannot be read, or is damaged.
        """
        return cls.from_json(read_json(folder / LEDGER, LEDGER_REMEDY, FINISHED))

    @classmethod
    def from_json(cls, values: JsonValue) -> Ledger:
        """The inverse of `as_dict`; the totals, which follow from the lines, are not looked at."""
        lines = tuple(LedgerLine.from_json(line) for line in values["files"])
        return cls(values["dataset"].text(), lines, tuple(values["unknown_files"].texts()))

    def merged(self, other: Ledger, spec: DatasetSpec) -> Ledger:
        """This ledger with the other's lines in place of its own for the same files, in the order of the spec.

        A line that says that a file is not there replaces no other: a build keeps the rows that it finds no file of.
        """
        lines = {(line.subset, line.part): line for line in self.lines}
        for line in other.lines:
            if line.record_counts is not None:
                lines[line.subset, line.part] = line
            else:
                lines.setdefault((line.subset, line.part), line)
        unknown = sorted({*self.unknown_files, *other.unknown_files})
        return Ledger(
            self.dataset,
            tuple(lines[member.key] for member in spec.members if member.key in lines),
            tuple(unknown),
        )


def _known_sum(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    if known or not counts:
        return f"{sum(known):,}" + (" and unknown" if len(known) < len(counts) else "")
    return "unknown"


def unbalanced(lines: Sequence[LedgerLine]) -> list[str]:
    """Files whose records are not all accounted for; an empty list is the only right answer."""
    return [line.file for line in lines if line.record_counts is not None and not line.record_counts.balanced]
