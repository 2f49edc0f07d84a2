"""The parts of a dataset folder and their shards, as the manifest describes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.folder.names import shard_name
from irtd_datasets.rows.record_counts import RecordCounts

if TYPE_CHECKING:
    from irtd_datasets.documents import JsonValue

__all__ = ["BuiltPart", "ShardResult", "ShardSummary"]

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What was written.

    Args:
        rows: Number of rows.
        row_groups: Number of row groups.
        size: Bytes of the file.
        sha256: Hexadecimal SHA-256 of the file.
        num_bytes: Bytes of the rows in memory, as `datasets` counts them in ``dataset_info``, up to a bit per
            value: readers keep validity bits also for columns without a missing value.
        largest_row_group: Bytes in memory of the largest row group.
    """

    rows: int
    row_groups: int
    size: int
    sha256: str
    num_bytes: int
    largest_row_group: int


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A finished shard, as remembered beside it until the build is complete.

    Attributes:
        fingerprint: Identity of its inputs; a later run takes the shard over when it is the same.
        summary: What the writer measured.
        record_counts: What became of its records.
        end: For a stream: how many of its images this shard and those before it have dealt with.
    """

    fingerprint: str
    summary: ShardSummary
    record_counts: RecordCounts
    end: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "fingerprint": self.fingerprint,
            "summary": asdict(self.summary),
            "record_counts": self.record_counts.as_dict(),
            "end": self.end,
        }

    @classmethod
    def from_json(cls, values: JsonValue, fingerprint: str | None = None) -> ShardResult:
        """The inverse of `as_dict`; the manifest has no fingerprint.

        Raises:
            AnnotationError: A value is missing or of another type.
        """
        summary = values["summary"]
        numbers = ("rows", "row_groups", "size", "num_bytes", "largest_row_group")
        return cls(
            values["fingerprint"].text() if fingerprint is None else fingerprint,
            ShardSummary(
                sha256=summary["sha256"].text(), **{name: summary[name].count() for name in numbers}
            ),
            RecordCounts.from_json(values["record_counts"]),
            values["end"].count(),
        )


@dataclass(frozen=True, slots=True)
class BuiltPart:
    """A part whose shards are all written.

    Attributes:
        subset: Its subset's name.
        part: Its name.
        split: Its split.
        fingerprint: Identity of its inputs where its shards are cut from a stream; else empty.
        shards: Its shards in order.
        rest: Counts that belong to no shard, such as images that never came.
    """

    subset: str
    part: str
    split: str
    fingerprint: str
    shards: tuple[ShardResult, ...]
    rest: RecordCounts

    @property
    def key(self) -> tuple[str, str]:
        """Names of subset and part."""
        return self.subset, self.part

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.summary.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Decoded size of all shards, as ``dataset_info`` counts it."""
        return sum(shard.summary.num_bytes for shard in self.shards)

    @property
    def bytes_on_disk(self) -> int:
        """Size of all shard files."""
        return sum(shard.summary.size for shard in self.shards)

    def record_counts(self) -> RecordCounts:
        """What became of all its records."""
        total = RecordCounts()
        for shard in self.shards:
            total.add(shard.record_counts)
        total.add(self.rest)
        return total

    def files(self) -> list[str]:
        """Names of the shard files in the dataset folder."""
        count = len(self.shards)
        return [f"{self.subset}/{self.part}/{shard_name(self.split, index, count)}" for index in range(count)]

    def named_shards(self) -> list[tuple[str, ShardResult]]:
        """Name in the dataset folder of each shard, and the shard."""
        return list(zip(self.files(), self.shards, strict=True))

    def named_digests(self) -> list[tuple[str, str]]:
        """Name in the dataset folder, and SHA-256, of each shard."""
        return [(name, shard.summary.sha256) for name, shard in self.named_shards()]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the manifest: everything but `identity`."""
        shards = [{"file": name, **shard.as_dict()} for name, shard in self.named_shards()]
        for shard in shards:
            del shard["fingerprint"]
        return {
            "subset": self.subset,
            "part": self.part,
            "split": self.split,
            "rows": self.rows,
            "shards": shards,
            "rest": self.rest.as_dict(),
        }

    @classmethod
    def from_json(cls, values: JsonValue) -> BuiltPart:
        """The inverse of `as_dict`; nothing is taken over from it before `identified`.

        Raises:
            AnnotationError: A value is missing, of another type, or contradicts another.
        """
        shards = tuple(ShardResult.from_json(shard, _UNKNOWN) for shard in values["shards"])
        subset, name, split = (values[key].text() for key in ("subset", "part", "split"))
        part = cls(subset, name, split, _UNKNOWN, shards, RecordCounts.from_json(values["rest"]))
        for file, shard in zip(part.files(), values["shards"], strict=True):
            if shard["file"].text() != file:
                shard.refuse(f"{shard.place}.file is {shard['file'].text()!r:.200}, expected {file!r:.200}")
        return part

    def identity(self) -> dict[str, Any]:
        """Identities of its inputs."""
        return {"part": self.fingerprint, "shards": [shard.fingerprint for shard in self.shards]}

    def identified(self, identity: JsonValue) -> BuiltPart:
        """This part with the identities of its inputs that `identity` told.

        Raises:
            AnnotationError: They are damaged, or of another number of shards.
        """
        prints = identity["shards"].texts()
        if len(prints) != len(self.shards):
            identity.refuse(f"{identity.place} has {len(prints)} shards, expected {len(self.shards)}")
        shards = tuple(
            ShardResult(fingerprint, shard.summary, shard.record_counts, shard.end)
            for fingerprint, shard in zip(prints, self.shards, strict=True)
        )
        return BuiltPart(self.subset, self.part, self.split, identity["part"].text(), shards, self.rest)
