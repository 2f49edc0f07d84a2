"""Counting what became of every record, so that nothing is lost silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irtd_datasets.documents import JsonValue

__all__ = ["RecordCounts"]

MESSAGES_KEPT = 20
"""Messages about single records that are kept for the report; further ones are only counted."""


@dataclass
class RecordCounts:
    """What became of the records of one annotation file.

    ``found == kept + sum(dropped) + image_missing`` holds for every finished reading.

    Attributes:
        found: Records in the file; with rounds split, rounds.
        kept: Rows written.
        dropped: Records left out, by reason.
        image_missing: Records whose image is nowhere.
        flagged: Rows that carry each issue code.
        quirks: Records that show each file-wide defect.
        repairs: Repairs of the file's form.
        messages: The first messages about dropped records.
        rounds_found: Questions in all records found, answered or not.
        rounds_kept: Rounds of the rows written.
        decoded: Images of which every pixel was read, not the header alone.
        partners: Rows by the status of their registration, where partners were looked for.
    """

    found: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    image_missing: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    quirks: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    rounds_found: int = 0
    rounds_kept: int = 0
    decoded: int = 0
    partners: Counter[str] = field(default_factory=Counter)

    def drop(self, reason: str, message: str = "", count: int = 1) -> None:
        """Count records left out for a reason, and keep the message if there is room."""
        self.dropped[reason] += count
        if message and len(self.messages) < MESSAGES_KEPT:
            self.messages.append(message)

    def add(self, other: RecordCounts) -> None:
        """Add the counts of another reading of the same file, such as one shard's."""
        self.found += other.found
        self.kept += other.kept
        self.image_missing += other.image_missing
        self.rounds_found += other.rounds_found
        self.rounds_kept += other.rounds_kept
        self.decoded += other.decoded
        for name in ("dropped", "flagged", "quirks", "repairs", "partners"):
            getattr(self, name).update(getattr(other, name))
        room = MESSAGES_KEPT - len(self.messages)
        self.messages += other.messages[: max(room, 0)]

    def take(self) -> RecordCounts:
        """Hand over the counts so far and start anew."""
        taken = RecordCounts()
        taken.add(self)
        self.__init__()  # type: ignore[misc]  # every field back to its default
        return taken

    @property
    def balanced(self) -> bool:
        """Whether every record found is accounted for."""
        return self.found == self.kept + sum(self.dropped.values()) + self.image_missing

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON ledger, keys in a fixed order."""
        return {
            "found": self.found,
            "kept": self.kept,
            "image_missing": self.image_missing,
            "dropped": dict(sorted(self.dropped.items())),
            "flagged": dict(sorted(self.flagged.items())),
            "quirks": dict(sorted(self.quirks.items())),
            "repairs": dict(sorted(self.repairs.items())),
            "messages": list(self.messages),
            "rounds_found": self.rounds_found,
            "rounds_kept": self.rounds_kept,
            "decoded": self.decoded,
            "partners": dict(sorted(self.partners.items())),
        }

    @classmethod
    def from_json(cls, values: JsonValue) -> RecordCounts:
        """The inverse of `as_dict`.

        Raises:
            AnnotationError: A value is missing or of another type.
        """
        counts = cls(messages=values["messages"].texts())
        for name in ("found", "kept", "image_missing", "rounds_found", "rounds_kept"):
            setattr(counts, name, values[name].count())
        decoded = values.get("decoded")  # not in folders of older versions
        counts.decoded = 0 if decoded is None else decoded.count()
        partners = values.get("partners")
        counts.partners = Counter() if partners is None else Counter(partners.counts())
        for name in ("dropped", "flagged", "quirks", "repairs"):
            setattr(counts, name, Counter(values[name].counts()))
        return counts
