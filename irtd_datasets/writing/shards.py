"""What runs inside a worker process: planning a part, and writing a shard.

Kept free of `datasets` and of everything else that is slow to import: a worker starts in a fraction of a second and
takes little memory.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.catalog import open_release
from irtd_datasets.documents import read_json, write_text
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError
from irtd_datasets.folder.index import write_index
from irtd_datasets.folder.parts import ShardResult
from irtd_datasets.rows.assembly import image_groups
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.schema import arrow_schema, hub_metadata
from irtd_datasets.writing.plan import plan_part, planned_images
from irtd_datasets.writing.write import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.rows.release import AnnotationFile, Release, ReleaseOptions
    from irtd_datasets.spec import Member
    from irtd_datasets.writing.plan import PartPlan, ShardJob

__all__ = [
    "forget_releases",
    "index_note",
    "is_shard",
    "open_shard",
    "plan_in_worker",
    "read_result",
    "remember",
    "write_shard",
]


def read_result(path: Path) -> ShardResult | None:
    """What an earlier run remembered of a shard; None when there is nothing, or it is not as it was written."""
    try:
        values = read_json(path, "")
        result = ShardResult.from_json(values["result"])
        return result if values["sha256"].text() == _digest(result) else None
    except (ReleaseNotFoundError, AnnotationError):
        return None  # the shard is written again


def is_shard(file: Path, result: ShardResult) -> bool:
    """Whether a file holds the bytes of a shard: after a loss of power it may have its size alone."""
    try:
        if file.stat().st_size != result.summary.size:
            return False
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == result.summary.sha256


def _digest(result: ShardResult) -> str:
    return hashlib.sha256(json.dumps(result.as_dict()).encode()).hexdigest()


_opened = threading.local()  # a worker of a cluster may have several threads, containers have one position


def _release(dataset: str, options: ReleaseOptions) -> Release:
    key = repr((dataset, options))
    if getattr(_opened, "key", None) != key:
        _opened.release = open_release(dataset, options)
        _opened.key = key
    release: Release = _opened.release
    return release


def forget_releases() -> None:
    """Let go of the release opened in this thread: the next build reads what is on disk then."""
    _opened.__dict__.clear()


def plan_in_worker(
    dataset: str, options: ReleaseOptions, member: Member, files: Sequence[AnnotationFile], spill: str
) -> PartPlan:
    """Plan a part whose images can be looked up by name; see `irtd_datasets.writing.plan.plan_part`.

    Args:
        dataset: Name of the dataset.
        options: How to open the release.
        member: The part.
        files: Its annotation files.
        spill: Path of the file to keep its pending rows in.
    """
    return plan_part(_release(dataset, options), member, files, Path(spill))


def write_shard(job: ShardJob, target: str) -> ShardResult:
    """Write one shard of images that can be looked up by name.

    Args:
        job: What the shard consists of.
        target: Path of the file to write.
    """
    earlier = read_result(Path(target).with_suffix(".json"))
    if earlier is not None and earlier.fingerprint == job.fingerprint and is_shard(Path(target), earlier):
        return earlier  # by a worker that was lost before it could tell
    release = _release(job.dataset, job.options)
    resolver = release.resolver(job.member.subset)
    policy = DefectPolicy(release.spec, dict(job.options.on_defect))
    record_counts = RecordCounts()
    places = resolver, release.partners(job.member.subset)
    row_groups = image_groups(places, planned_images(job), policy, record_counts, job.options.decode)
    with open_shard(Path(target)) as writer:
        for group in row_groups:
            writer.write(group)
    result = ShardResult(job.fingerprint, writer.summary, record_counts)
    remember(Path(target), result)
    return result


def remember(file: Path, result: ShardResult) -> None:
    """Write beside a finished shard where its images lie, and last the note that it is finished.

    The worker that wrote a shard does both, so that nothing is left to do for each image when all are done.
    """
    write_index(index_note(file), [(file, file.name, result.summary.sha256)])
    note = {"result": result.as_dict(), "sha256": _digest(result)}
    write_text(file.with_suffix(".json"), json.dumps(note))


def index_note(file: Path) -> Path:
    """Where the index of a shard alone waits until that of its part is written."""
    return file.with_suffix(".index.parquet")


def open_shard(target: Path) -> ShardWriter:
    """A writer for one shard of the schema."""
    return ShardWriter(target, arrow_schema(metadata=False), features=hub_metadata())
