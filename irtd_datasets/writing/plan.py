"""What a build is going to write: which rows stand in which shard, decided before the first byte is written.

The plan depends on the release alone, never on the number of workers, so that any number of them writes the same
bytes. What a build takes from the records waits in a file, in the order in which it is written to the shards: a shard
is a stretch of that file, so a plan is small and a worker reads on from image to image.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import PIL
import pyarrow as pa

from irtd_datasets.releases.resolve import Located
from irtd_datasets.rows.assembly import located_rows
from irtd_datasets.rows.groups import GROUP_BYTES, GROUP_ROWS
from irtd_datasets.rows.order import ORDER_SEED
from irtd_datasets.rows.parsing import check_counts, parse_file
from irtd_datasets.rows.partners import Partner
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import file_identity
from irtd_datasets.rows.spill import PendingRowFile, packed, unpack_pending, unpacked
from irtd_datasets.schema import SCHEMA_VERSION
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.rows.release import AnnotationFile, Release, ReleaseOptions
    from irtd_datasets.rows.spill import Place
    from irtd_datasets.spec import Member

__all__ = [
    "IMAGE_SIZES",
    "LEAST_SHARD_BYTES",
    "SHARD_BYTES",
    "PartPlan",
    "ShardJob",
    "code_identity",
    "cut_shards",
    "plan_part",
    "planned_images",
    "shard_count",
]

SHARD_BYTES = 350 * 1024 * 1024
"""Image bytes of a shard whose images come as a stream, so that their number is not known beforehand. Between 200 and
500 MB suits upload, resume and streaming."""

LEAST_SHARD_BYTES = 200 * 1024 * 1024
"""Image bytes that a shard has at least, where its part has them; see `shard_count`."""

_SHARD_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
_MANY_SHARDS = 24
_LENGTH = 4  # bytes that tell how many follow
IMAGE_SIZES = struct.Struct("qq")


@dataclass(frozen=True, slots=True)
class ShardJob:
    """Everything a worker needs to write one shard.

    Attributes:
        dataset: Name of the dataset.
        options: How to open the release.
        member: Its part.
        index: Number of the shard, from 0.
        spill: File with the images and pending rows of the part in order, each image with its rows behind its length.
        stretch: Its first byte of that file, and the first that is not its own.
        image_bytes: Bytes of its images as found.
        fingerprint: Identity of everything that decides the shard's bytes.
    """

    dataset: str
    options: ReleaseOptions
    member: Member
    index: int
    spill: str
    stretch: tuple[int, int]
    image_bytes: int
    fingerprint: str


@dataclass(slots=True)
class PartPlan:
    """The shards of one part, and what reading its annotation files told.

    Attributes:
        member: The part.
        files: Its annotation files.
        record_counts: What became of its records so far.
        spill: File with what it takes from its records.
        jobs: Its shards.
        streamed: Whether its images come as a stream; its shards are then cut as it goes.
        fingerprint: For a stream: identity of everything that decides the bytes of its shards.
        waiting: For a stream: places of the rows of each image.
    """

    member: Member
    files: tuple[AnnotationFile, ...]
    record_counts: RecordCounts
    spill: Path
    jobs: list[ShardJob] = field(default_factory=list)
    streamed: bool = False
    fingerprint: str = ""
    waiting: dict[str, list[Place]] = field(default_factory=dict)


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


def plan_part(release: Release, member: Member, files: Sequence[AnnotationFile], spill: Path) -> PartPlan:
    """Read annotation files, find their images, and divide the rows into shards.

    Args:
        release: The opened release.
        member: The part.
        files: Its annotation files.
        spill: Where to keep what is taken from their records.

    Raises:
        AnnotationError: A file cannot be read.
        AmbiguousImageError: Some images have two candidates; all are named together, up to a limit.
        DefectError: The defects do not agree with the table of known defects.
    """
    plan = PartPlan(member, tuple(files), RecordCounts(), spill)
    readings = [file.reading for file in files]
    stream = release.stream(member.subset)
    if stream is not None:
        with spill.open("w+b") as file:
            rows = PendingRowFile(file)
            rows.extend(_parsed(release, plan))
            plan.waiting = rows.waiting()
        plan.streamed = True
        visible = [(*one, *file_identity(Path(one[1]))) for one in sorted(release.options.visible.items())]
        facts = [*readings, repr(stream.identity()), repr(visible), _digest(spill)]
        plan.fingerprint = _fingerprint(release, member, facts)
        return plan
    with (
        tempfile.TemporaryFile(dir=spill.parent) as file,
        spill.open("wb") as ordered,
        tempfile.TemporaryFile(dir=spill.parent) as images,
    ):
        rows = PendingRowFile(file)
        rows.extend(_parsed(release, plan))
        resolver, partners, total = release.resolver(member.subset), release.partners(member.subset), 0
        units = rows.units(member.subset.order)
        for located, partner, entries in located_rows(resolver, partners, units, plan.record_counts):
            size = located.size + (partner.located.size if partner is not None else 0)
            images.write(IMAGE_SIZES.pack(size, ordered.write(_image_entry(located, partner, entries))))
            total += size
        shards = cut_shards(images, shard_count(total))
    for index, (stretch, size) in enumerate(shards):
        fingerprint = _fingerprint(release, member, [*readings, _digest(spill, *stretch)])
        plan.jobs.append(
            ShardJob(
                release.spec.name, release.options, member, index, str(spill), stretch, size, fingerprint
            )
        )
    return plan


def _parsed(release: Release, plan: PartPlan) -> Iterator[PendingRow]:
    """Parse all records of a part, and count what became of them."""
    for file in plan.files:
        counts, flagged = RecordCounts(), Counter[str]()
        for pending in parse_file(release, file, counts):
            flagged.update(pending.issues)
            yield pending
        check_counts(release.spec, file, counts, flagged)
        plan.record_counts.add(counts)


def _image_entry(located: Located, partner: Partner | None, pending_rows: Sequence[bytes]) -> bytes:
    entry = packed((*located, None if partner is None else partner.packed(), pending_rows))
    return len(entry).to_bytes(_LENGTH, "little") + entry


def planned_images(job: ShardJob) -> Iterator[tuple[Located, Partner | None, list[PendingRow]]]:
    """The images of a shard in order, each with its partner and its rows."""
    position, end = job.stretch
    with open(job.spill, "rb") as file:  # noqa: PTH123 - a path as text crosses the process boundary
        file.seek(position)
        while position < end:
            size = int.from_bytes(file.read(_LENGTH), "little")
            *facts, partner, pending_rows = unpacked(file.read(size))
            position += _LENGTH + size
            rows = [unpack_pending(pending) for pending in pending_rows]
            yield Located(*facts), Partner.unpacked(partner), rows


def cut_shards(images: IO[bytes], count: int) -> list[tuple[tuple[int, int], int]]:
    """Cut the images of a part into shards of about equal bytes.

    Args:
        images: For each image in order its bytes and those of its entry in the part's file, packed by `IMAGE_SIZES`.
            A file, as a part may have more images than memory has room for.
        count: How many shards; an image that is larger than a share makes them fewer.

    Returns:
        For each shard its stretch of the part's file, and the bytes of its images.
    """
    images.seek(0)
    share = sum(size for size, _ in _image_sizes(images)) / count
    images.seek(0)
    starts: list[tuple[int, int]] = []
    position = done = 0
    for size, length in _image_sizes(images):
        if done >= share * len(starts):  # its predecessors have their shares
            starts.append((position, done))
        position += length
        done += size
    ends = [*starts, (position, done)][1:]
    return [((start, end), last - first) for (start, first), (end, last) in zip(starts, ends, strict=True)]


def _image_sizes(images: IO[bytes]) -> Iterator[tuple[int, int]]:
    while block := images.read(IMAGE_SIZES.size << 16):
        yield from IMAGE_SIZES.iter_unpack(block)


def shard_count(total: int) -> int:
    """How many shards a part of so many image bytes has: a number with many divisors.

    Readers deal whole shards out to processes and machines, and one that the count does not divide by makes every
    process read everything. So a part has 24, 48, 72, ... shards, or 1, 2, 3, 4, 6, 8, 12 or 16 where it is smaller:
    the largest of these numbers with which a shard keeps at least `LEAST_SHARD_BYTES`, and so has less than twice as
    many.

    Example:
        >>> [shard_count(gigabytes * 2**30) for gigabytes in (0, 1, 2, 6, 12)]
        [1, 4, 8, 24, 48]
    """
    most = max(total // LEAST_SHARD_BYTES, 1)
    if most >= _MANY_SHARDS:
        return most // _MANY_SHARDS * _MANY_SHARDS
    return max(count for count in _SHARD_COUNTS if count <= most)


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
    for part in (*facts, *member.key, repr(policy), release.options.decode, *parts):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _digest(path: Path, start: int = 0, end: int | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 20 if end is None else min(1 << 20, end - file.tell())):
            digest.update(block)
    return digest.hexdigest()
