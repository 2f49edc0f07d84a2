"""What a build is going to write: which rows stand in which shard, decided before the first byte is written.

The plan depends on the release alone, never on the number of workers, so that any number of them writes the same
bytes. Records are spooled to a file of their own as they are read; the plan keeps positions in it, not the records.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, astuple, dataclass, field
from typing import TYPE_CHECKING, Any

import PIL
import pyarrow as pa

from irtd_datasets.errors import AmbiguousImageError, summarize
from irtd_datasets.examples.order import ORDER_SEED
from irtd_datasets.examples.reading import check_counts, parse, scan_file
from irtd_datasets.examples.rows import GROUP_BYTES, GROUP_ROWS, units
from irtd_datasets.examples.spool import RecordSpool
from irtd_datasets.examples.tally import Tally
from irtd_datasets.releases.resolve import Located
from irtd_datasets.schema import SCHEMA_VERSION
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from irtd_datasets.examples.release import AnnotationFile, Release, ReleaseOptions
    from irtd_datasets.examples.spool import Place
    from irtd_datasets.spec import Member

__all__ = [
    "SHARD_BYTES",
    "PartPlan",
    "ShardJob",
    "Unit",
    "code_identity",
    "plan_part",
    "read_units",
    "shard_name",
]

SHARD_BYTES = 350 * 1024 * 1024
"""Image bytes that a shard is meant to hold: between 200 and 500 MB suits upload, resume and streaming."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A picture and the spooled records that belong to it: (offset, length) each."""

    image: str
    located: Located
    records: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class ShardJob:
    """Everything a worker needs to write one shard.

    Attributes:
        dataset: Name of the dataset.
        options: How to open the release.
        files: Its part's annotation files.
        index: Number of the shard, from 0.
        count: Shards of the part.
        units: File with its pictures and the places of their records, in order: kept on disk, because a release of
            many parts has more of them than memory should hold.
        bytes: Bytes of its pictures.
        spool: File with the spooled records.
        fingerprint: Identity of everything that decides the shard's bytes.
    """

    dataset: str
    options: ReleaseOptions
    files: tuple[AnnotationFile, ...]
    index: int
    count: int
    units: str
    bytes: int
    spool: str
    fingerprint: str


@dataclass(slots=True)
class PartPlan:
    """The shards of one part, and what reading its annotation files told.

    Attributes:
        member: The part.
        files: Its annotation files.
        tally: What became of its records so far.
        spool: File with its records.
        jobs: Its shards.
        streamed: Whether its pictures come as a stream; its shards are then cut as it goes.
        fingerprint: For a stream: identity of everything that decides the bytes of its shards.
        waiting: For a stream: places of the records of each picture.
    """

    member: Member
    files: tuple[AnnotationFile, ...]
    tally: Tally
    spool: Path
    jobs: list[ShardJob] = field(default_factory=list)
    streamed: bool = False
    fingerprint: str = ""
    waiting: dict[str, list[Place]] = field(default_factory=dict)


def shard_name(split: str, index: int, count: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name("train", 0, 2)
        'train-00000-of-00002.parquet'
    """
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def code_identity() -> list[str]:
    """Versions that can change the bytes of a shard."""
    return [
        __version__,
        SCHEMA_VERSION,
        pa.__version__,
        PIL.__version__,
        str(GROUP_ROWS),
        str(GROUP_BYTES),
        str(ORDER_SEED),
    ]


def plan_part(release: Release, member: Member, files: Sequence[AnnotationFile], spool: Path) -> PartPlan:
    """Read annotation files, find their pictures, and divide the rows into shards.

    Args:
        release: The opened release.
        member: The part.
        files: Its annotation files.
        spool: Where to keep their records.

    Raises:
        AnnotationError: A file cannot be read.
        AmbiguousImageError: Some pictures have two candidates; all are named together, up to a limit.
        DefectError: The defects do not agree with the table of known defects.
    """
    plan = PartPlan(member, tuple(files), Tally(), spool)
    images: list[str] = []
    records: list[Place] = []
    with spool.open("wb") as out:
        spooled = RecordSpool(out)
        for number, file in enumerate(files):
            counts, flagged = Tally(), Counter[str]()
            for scanned in scan_file(release, file, counts):
                draft = parse(release, file, scanned, counts)
                if draft is None:
                    continue
                flagged.update(draft.issues)
                images.append(scanned.image)
                records.append(spooled.add(number, scanned))
            check_counts(release.spec, file, counts, flagged)
            plan.tally.add(counts)
    readings = [file.reading for file in files]
    stream = release.stream(member.subset)
    if stream is not None:
        plan.streamed = True
        plan.fingerprint = _fingerprint(release, member, [*readings, repr(stream.identity()), _digest(spool)])
        for image, place in zip(images, records, strict=True):
            plan.waiting.setdefault(image, []).append(place)
        return plan
    ordered = [
        (image, tuple(records[row] for row in rows)) for image, rows in units(images, member.subset.order)
    ]
    shards = _divide(list(_locate(release, member, ordered, plan.tally)))
    with spool.open("rb") as written:
        for index, shard in enumerate(shards):
            fingerprint = _fingerprint(release, member, [*readings, *_identities(shard, written)])
            plan.jobs.append(
                ShardJob(
                    release.spec.name,
                    release.options,
                    plan.files,
                    index,
                    len(shards),
                    str(_write_units(spool.with_name(f"units-{index:05d}.jsonl"), shard)),
                    sum(unit.located.size for unit in shard),
                    str(spool),
                    fingerprint,
                )
            )
    return plan


def _locate(
    release: Release, member: Member, ordered: Sequence[tuple[str, tuple[tuple[int, int], ...]]], tally: Tally
) -> Iterator[Unit]:
    resolver = release.resolver(member.subset)
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
            yield Unit(image, located, records)
    if ambiguous:
        raise AmbiguousImageError(
            summarize((f"{error.where}: {error.problem}" for error in ambiguous), limit=10),
            remedy=ambiguous[0].remedy,
        )


def _write_units(path: Path, units: Sequence[Unit]) -> Path:
    with path.open("w", encoding="ascii") as file:
        for unit in units:
            file.write(json.dumps([unit.image, astuple(unit.located), unit.records]) + "\n")
    return path


def read_units(path: str) -> Iterator[Unit]:
    """The pictures of a shard with the places of their records, in order."""
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - a path as text crosses the process boundary
        for line in file:
            image, located, records = json.loads(line)
            yield Unit(image, Located(*located), tuple((offset, length) for offset, length in records))


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
        facts = (unit.image, located.member, located.size, located.stamp, located.note, located.transform)
        yield "|".join((*map(str, facts), digest.hexdigest()))


def _fingerprint(release: Release, member: Member, parts: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    policy = sorted(release.options.on_defect.items())
    facts = (
        *code_identity(),
        release.spec.name,
        release.spec.version,
        repr(asdict(member.part)),
        member.subset.order,
        repr(sorted(release.options.settings.items())),
    )
    for part in (*facts, *member.key, repr(policy), *parts):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
