"""What runs inside a worker process: planning a part, and writing a shard.

Kept free of `datasets` and of everything else that is slow to import: a worker starts in a fraction of a second and
takes little memory.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import open_release
from irtd_datasets.documents import read_json, write_text
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError
from irtd_datasets.folder.index import write_index
from irtd_datasets.folder.parts import ShardResult
from irtd_datasets.rows.assembly import RowGroup, groups, image_rows
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.schema import arrow_schema, hub_metadata
from irtd_datasets.writing.image_column import ImageBatch, ImageBuffer, ImageColumn
from irtd_datasets.writing.plan import plan_part, planned_images
from irtd_datasets.writing.write import RowGroup as EncodedGroup
from irtd_datasets.writing.write import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from irtd_datasets.folder.parts import ShardSummary
    from irtd_datasets.rows.release import AnnotationFile, Release, ReleaseOptions
    from irtd_datasets.spec import Member
    from irtd_datasets.writing.plan import PartPlan, ShardJob

__all__ = [
    "encode_group",
    "forget_releases",
    "index_note",
    "open_shard",
    "plan_in_worker",
    "read_result",
    "remember",
    "write_groups",
    "write_shard",
]


def read_result(path: Path) -> ShardResult | None:
    """What an earlier run remembered of a shard; None when there is nothing, or it is not whole."""
    try:
        return ShardResult.from_json(read_json(path, ""))
    except (ReleaseNotFoundError, AnnotationError):
        return None  # the shard is written again


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
        spill: Path of the file to keep its drafts in.
    """
    return plan_part(_release(dataset, options), member, files, Path(spill))


def write_shard(job: ShardJob, target: str) -> ShardResult:
    """Write one shard of images that can be looked up by name.

    Args:
        job: What the shard consists of.
        target: Path of the file to write.
    """
    earlier = read_result(Path(target).with_suffix(".json"))
    if (
        earlier is not None
        and earlier.fingerprint == job.fingerprint
        and _size(target) == earlier.summary.size
    ):
        return earlier  # by a worker that was lost before it could tell
    release = _release(job.dataset, job.options)
    resolver = release.resolver(job.member.subset)
    policy = DefectPolicy(release.spec, dict(job.options.on_defect))
    record_counts = RecordCounts()

    buffers = Buffers()

    def images() -> Iterator[tuple[str, list[dict[str, Any]], bytes | memoryview]]:
        for located, pending_rows in planned_images(job):
            data = resolver.read_into(located, buffers.current.room)
            yield pending_rows[0].image, *image_rows(pending_rows, data, located, policy, record_counts)

    summary = write_groups(groups(images(), buffers.next), Path(target))
    result = ShardResult(job.fingerprint, summary, record_counts)
    remember(Path(target), result)
    return result


def remember(file: Path, result: ShardResult) -> None:
    """Write beside a finished shard where its images lie, and last the note that it is finished.

    The worker that wrote a shard does both, so that nothing is left to do for each image when all are done.
    """
    write_index(index_note(file), [(file, file.name, result.summary.sha256)])
    write_text(file.with_suffix(".json"), json.dumps(result.as_dict()))


def index_note(file: Path) -> Path:
    """Where the index of a shard alone waits until that of its part is written."""
    return file.with_suffix(".index.parquet")


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def write_groups(row_groups: Iterable[RowGroup], target: Path) -> ShardSummary:
    """Write row groups into one shard, which appears only when it is whole."""
    with open_shard(target) as writer:
        for group in row_groups:
            writer.write(encode_group(group))
    return writer.summary


def open_shard(target: Path) -> ShardWriter:
    """A writer for one shard of the schema."""
    return ShardWriter(target, arrow_schema(metadata=False), features=hub_metadata())


class Buffers:
    """Two buffers for images in turn: while the row group of one is written, that of the other is filled."""

    def __init__(self) -> None:
        self.current, self._other = ImageBuffer(), ImageBuffer()

    def next(self) -> ImageBuffer:
        """The buffer for the next row group; what it held before is gone."""
        self.current, self._other = self._other, self.current
        self.current.clear()
        return self.current


def encode_group(group: RowGroup) -> EncodedGroup:
    """A row group as the writer takes it."""
    images = group.images
    if isinstance(images, ImageBuffer):
        batch = images.batch(group.names)
    else:
        batch = ImageBatch.from_images([images[index] for index in range(len(images))], group.names)
    return EncodedGroup(
        group.rows,
        {
            "image": ImageColumn.of(batch, group.image_of),
            "visible": ImageColumn.null(len(group.rows)),
            "original": _originals(group),
        },
    )


def _originals(group: RowGroup) -> ImageColumn:
    """The files of which the images are previews, each held once; nearly always none."""
    if not group.originals:
        return ImageColumn.null(len(group.rows))
    position = {image: index for index, image in enumerate(group.originals)}
    batch = ImageBatch.from_images(
        list(group.originals.values()), [group.names[image] for image in group.originals]
    )
    return ImageColumn.of(batch, [position.get(image, -1) for image in group.image_of])
