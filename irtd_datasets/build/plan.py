"""What a build is going to write: which rows stand in which shard, decided before the first byte is written.

The plan depends on the release alone, never on the number of workers, so that any number of them writes the same
bytes. Records are spooled to a file of their own as they are read; the plan keeps positions in it, not the records.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL
import pyarrow as pa

from irtd_datasets.errors import AmbiguousImageError, summarize
from irtd_datasets.examples.order import ORDER_SEED, by_image
from irtd_datasets.examples.reading import check_counts, read_file
from irtd_datasets.examples.rows import GROUP_BYTES, GROUP_ROWS
from irtd_datasets.examples.tally import Tally
from irtd_datasets.releases.resolve import Located
from irtd_datasets.schema import SCHEMA_VERSION
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from irtd_datasets.examples.release import AnnotationFile, Release, ReleaseOptions
    from irtd_datasets.spec import SubsetSpec, TaskSpec

__all__ = ["SHARD_BYTES", "ShardJob", "TaskPlan", "Unit", "code_identity", "plan_task", "shard_name"]

SHARD_BYTES = 350 * 1024 * 1024
"""Image bytes that a shard is meant to hold: between 200 and 500 MB suits upload, resume and streaming."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A picture and the spooled records that belong to it: (offset, length) each."""

    image: str
    located: Located
    records: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ShardJob:
    """Everything a worker needs to write one shard.

    Attributes:
        dataset: Name of the dataset.
        options: How to open the release.
        file: The annotation file.
        index: Number of the shard, from 0.
        count: Shards of the task.
        units: Its pictures and records in order; empty for a stream, whose shards are cut as it goes.
        spool: File with the spooled records.
        fingerprint: Identity of everything that decides the shard's bytes.
    """

    dataset: str
    options: ReleaseOptions
    file: AnnotationFile
    index: int
    count: int
    units: tuple[Unit, ...]
    spool: str
    fingerprint: str


@dataclass(slots=True)
class TaskPlan:
    """The shards of one task, and what reading its annotation file told."""

    subset: SubsetSpec
    task: TaskSpec
    file: AnnotationFile
    tally: Tally
    spool: Path
    jobs: list[ShardJob] = field(default_factory=list)
    image_bytes: int = 0
    streamed: bool = False
    stream_fingerprint: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Names of subset and task."""
        return self.subset.name, self.task.task


def shard_name(split: str, index: int, count: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name("train", 0, 2)
        'train-00000-of-00002.parquet'
    """
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def code_identity() -> list[str]:
    """Versions that can change the bytes of a shard."""
    return [__version__, SCHEMA_VERSION, pa.__version__, PIL.__version__, str(GROUP_ROWS), str(GROUP_BYTES), str(ORDER_SEED)]


def plan_task(release: Release, subset: SubsetSpec, file: AnnotationFile, spool: Path) -> TaskPlan:
    """Read an annotation file, find its pictures, and divide its rows into shards.

    Args:
        release: The opened release.
        subset: The subset of the file.
        file: The annotation file.
        spool: Where to keep its records.

    Raises:
        AnnotationError: The file cannot be read.
        AmbiguousImageError: Some pictures have two candidates; all are named together, up to a limit.
        DefectError: Its defects do not agree with the table of known defects.
    """
    tally = Tally()
    plan = TaskPlan(subset, file.task, file, tally, spool)
    flagged: Counter[str] = Counter()
    images: dict[str, list[tuple[int, int]]] = {}
    sequence: list[tuple[str, tuple[int, int]]] = []
    with spool.open("wb") as out:
        offset = 0
        for read in read_file(release, file, tally):
            line = json.dumps([read.index, read.suffix, read.record], separators=(",", ":")).encode() + b"\n"
            out.write(line)
            flagged.update(read.draft.issues)
            if subset.order == "by-image":
                images.setdefault(read.draft.image, []).append((offset, len(line)))
            else:
                sequence.append((read.draft.image, (offset, len(line))))
            offset += len(line)
    check_counts(release.spec, file, tally, flagged)
    stream = release.stream(subset)
    if stream is not None:
        plan.streamed = True
        plan.stream_fingerprint = _fingerprint(release, file, [repr(stream.identity()), _digest(spool)])
        return plan
    ordered = [(image, images[image]) for image in by_image(images)] if images else list(_runs(sequence))
    units = list(_locate(release, subset, ordered, tally))
    plan.image_bytes = sum(unit.located.size for unit in units)
    shards = _divide(units)
    with spool.open("rb") as records:
        for index, shard in enumerate(shards):
            fingerprint = _fingerprint(release, file, list(_identities(shard, records)))
            plan.jobs.append(
                ShardJob(
                    release.spec.name, release.options, file, index, len(shards), tuple(shard), str(spool), fingerprint
                )
            )
    return plan


def _runs(sequence: Sequence[tuple[str, tuple[int, int]]]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    run: tuple[str, list[tuple[int, int]]] | None = None
    for image, record in sequence:
        if run is not None and run[0] == image:
            run[1].append(record)
            continue
        if run is not None:
            yield run
        run = (image, [record])
    if run is not None:
        yield run


def _locate(
    release: Release, subset: SubsetSpec, ordered: Sequence[tuple[str, list[tuple[int, int]]]], tally: Tally
) -> Iterator[Unit]:
    resolver = release.resolver(subset)
    ambiguous: list[AmbiguousImageError] = []
    for image, records in ordered:
        try:
            located = resolver.resolve(image)
        except AmbiguousImageError as error:
            ambiguous.append(error)
            continue
        if located is None:
            tally.image_missing += len(records)
        elif not ambiguous:
            yield Unit(image, located, tuple(records))
    if ambiguous:
        raise AmbiguousImageError(
            summarize((f"{error.where}: {error.problem}" for error in ambiguous), limit=10),
            remedy=ambiguous[0].remedy,
        )


def _divide(units: Sequence[Unit]) -> list[list[Unit]]:
    """Cut into shards of about equal image bytes, no shard above `SHARD_BYTES` unless one picture is."""
    total = sum(unit.located.size for unit in units)
    count = -(-total // SHARD_BYTES) if units else 0
    shards: list[list[Unit]] = []
    share = total / count if count else 0
    done = 0
    for unit in units:
        if not shards or done >= share * len(shards):
            shards.append([])
        shards[-1].append(unit)
        done += unit.located.size
    return shards


def _identities(units: Sequence[Unit], records: Any) -> Iterator[str]:  # noqa: ANN401 - an open binary file
    for unit in units:
        located = unit.located
        digest = hashlib.blake2b(digest_size=16)
        for offset, length in unit.records:
            records.seek(offset)
            digest.update(records.read(length))
        yield f"{unit.image}|{located.member}|{located.size}|{located.stamp}|{located.note}|{located.transform}|{digest.hexdigest()}"


def _fingerprint(release: Release, file: AnnotationFile, parts: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    policy = sorted(release.options.on_defect.items())
    for part in (*code_identity(), release.spec.name, release.spec.version, file.subset, repr(asdict(file.task)), repr(policy), *parts):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read()).hexdigest()
