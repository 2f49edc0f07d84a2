"""Rows with their images: from drafts and a place to look to complete rows, group by group.

Both ways to use a release, reading it as it is and building a dataset folder from it, run through this module, so
that they give the same rows in the same order.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import viewable_image
from irtd_datasets.rows.order import by_image
from irtd_datasets.rows.parsing import DefectPolicy, apply_policy, scan_file
from irtd_datasets.rows.pending import PendingRow, finish
from irtd_datasets.rows.spill import RecordFile
from irtd_datasets.schema import FIELDS, IMAGE_FIELDS, arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from irtd_datasets.releases.resolve import ImageResolver, Located
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import ImageStream, Release
    from irtd_datasets.rows.spill import Place
    from irtd_datasets.spec import Member

__all__ = [
    "GROUP_BYTES",
    "GROUP_ROWS",
    "GroupCutter",
    "RowGroup",
    "StreamRows",
    "groups",
    "image_rows",
    "release_groups",
    "to_table",
    "units",
]

GROUP_ROWS = 100
"""Most rows in a row group: the Hub's viewer shows pages of 100."""
GROUP_BYTES = 32 * 1024 * 1024
"""Most bytes in a row group once repeated images are written out."""


class Images(Protocol):
    """What keeps the images of a row group: a list, or memory in the form in which they are going to be stored."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: Any, /) -> Any:  # noqa: ANN401 - see `append`
        """One of them."""

    def append(self, image: Any, /) -> None:  # noqa: ANN401 - bytes or a view of them
        """Keep one more."""


@dataclass(slots=True)
class RowGroup:
    """Some rows and their images, each distinct image held once.

    Attributes:
        rows: Rows of the schema without image bytes.
        images: Bytes of the distinct images.
        names: Released name of each distinct image.
        image_of: For each row the position of its image.
        originals: By position of an image the file that it is a preview of; nearly always none.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    images: Images = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    image_of: list[int] = field(default_factory=list)
    originals: dict[int, bytes] = field(default_factory=dict)
    decoded_bytes: int = 0


def units(images: Iterable[str], order: str) -> list[tuple[str, list[int]]]:
    """Rows of one image together, in the order of the subset.

    Args:
        images: Image of each row, rows as released.
        order: ``by-image`` or ``as-released``; in the latter only neighbours share a unit.

    Returns:
        Images in order, each with the positions of its rows.

    Example:
        >>> units(["a", "b", "b", "a"], "as-released")
        [('a', [0]), ('b', [1, 2]), ('a', [3])]
    """
    if order == "by-image":
        grouped: dict[str, list[int]] = {}
        for position, image in enumerate(images):
            grouped.setdefault(image, []).append(position)
        return [(image, grouped[image]) for image in by_image(grouped)]
    runs: list[tuple[str, list[int]]] = []
    for position, image in enumerate(images):
        if runs and runs[-1][0] == image:
            runs[-1][1].append(position)
        else:
            runs.append((image, [position]))
    return runs


def image_rows(
    pending_rows: Sequence[PendingRow],
    data: bytes | memoryview,
    located: Located | None,
    policy: DefectPolicy,
    record_counts: RecordCounts,
) -> tuple[list[dict[str, Any]], bytes | memoryview]:
    """Complete the rows of one image; what cannot be kept is counted.

    Args:
        pending_rows: Rows of this image.
        data: Bytes of the file found.
        located: How it was found; None when it came from a stream.
        policy: What to do with known defects.
        record_counts: Takes the counts.

    Returns:
        The rows kept, without image columns, and the bytes to store, which are ``data`` itself unless the image had
        to be changed.
    """
    name = pending_rows[0].image
    try:
        image = viewable_image(data, name, transform=located.transform or None if located else None)
    except ImageError as error:
        record_counts.drop(error.code, f"{name}: {error.problem}", count=len(pending_rows))
        return [], b""
    # A copy: what the image is read into takes the preview in its place.
    original = None if image.original is None else bytes(image.original)
    rows = []
    for pending in pending_rows:
        row = finish(pending, image, note=located.note if located else "")
        issues = row["issues"]
        if issues:
            if not apply_policy(policy, pending.id, issues, record_counts):
                continue
            record_counts.flagged.update(issues)
        if original is not None:
            row[ORIGINAL] = original
        record_counts.kept += 1
        record_counts.rounds_kept += pending.rounds
        rows.append(row)
    return rows, image.data


ORIGINAL = "original"
"""Key by which a row carries the file that its image is a preview of, until a row group takes it."""


class GroupCutter:
    """Cuts a sequence of images with their rows into row groups within the limits, one image at a time.

    Args:
        keep: Makes what keeps the images of a row group.
    """

    def __init__(self, keep: Callable[[], Images] = list) -> None:
        self._keep = keep
        self._group = RowGroup(images=keep())

    def add(self, name: str, rows: Sequence[dict[str, Any]], data: bytes | memoryview) -> Iterator[RowGroup]:
        """Take an image with its released name and its rows; yields the row groups that are full."""
        position = -1
        for row in rows:
            group, original = self._group, row.pop(ORIGINAL, None)
            size = len(data) + len(original or b"") + _text_bytes(row)
            if group.rows and (len(group.rows) >= GROUP_ROWS or group.decoded_bytes + size > GROUP_BYTES):
                yield group  # before memory is asked for the next one
                group, position = RowGroup(images=self._keep()), -1
                self._group = group
            if position < 0:
                position = len(group.images)
                group.images.append(data)
                group.names.append(name)
                if original is not None:
                    group.originals[position] = original
            group.rows.append(row)
            group.image_of.append(position)
            group.decoded_bytes += size

    def rest(self) -> Iterator[RowGroup]:
        """Yield the last row group, if there is one."""
        if self._group.rows:
            yield self._group
            self._group = RowGroup(images=self._keep())


def groups(
    images: Iterable[tuple[str, list[dict[str, Any]], bytes | memoryview]],
    keep: Callable[[], Images] = list,
) -> Iterator[RowGroup]:
    """Cut a sequence of images with their rows into row groups within the limits; see `GroupCutter`."""
    cutter = GroupCutter(keep)
    for name, rows, data in images:
        yield from cutter.add(name, rows, data)
    yield from cutter.rest()


def _text_bytes(row: dict[str, Any]) -> int:
    """At least the bytes of a row without its image. Question, answer and objects repeat parts of the messages."""
    return 2048 + 4 * sum([len(message["content"]) for message in row["messages"]])


def release_groups(
    release: Release, member: Member, policy: DefectPolicy, record_counts: RecordCounts
) -> Iterator[RowGroup]:
    """Read one part and its images straight from a release.

    Its records wait in an unnamed temporary file, so that memory holds names and places only.

    Args:
        release: The opened release.
        member: The part.
        policy: What to do with known defects.
        record_counts: Takes the counts; complete when the iterator is exhausted.
    """
    files = release.files(member)
    with tempfile.TemporaryFile() as file:
        spill = RecordFile(file)
        images: list[str] = []
        places: list[Place] = []
        for number, annotations in enumerate(files):
            for scanned in scan_file(release, annotations, record_counts):
                images.append(scanned.image)
                places.append(spill.add(number, scanned))

        def load(places: Sequence[Place]) -> list[PendingRow]:
            # Parsed as they are reached, so that the first row does not wait for the last record.
            pending_rows = (spill.parse(release, files, place, record_counts) for place in places)
            return [pending for pending in pending_rows if pending is not None]

        stream = release.stream(member.subset)
        if stream is None:
            ordered = units(images, member.subset.order)
            wanted = ((image, [places[row] for row in rows]) for image, rows in ordered)
            resolver = release.resolver(member.subset)
            yield from groups(_looked_up(resolver, wanted, load, policy, record_counts))
            return
        waiting: dict[str, list[Place]] = {}
        for image, place in zip(images, places, strict=True):
            waiting.setdefault(image, []).append(place)
        yield from groups(StreamRows(waiting, load, policy, record_counts).read(stream))


def _looked_up(
    resolver: ImageResolver,
    wanted: Iterable[tuple[str, list[Place]]],
    load: Callable[[Sequence[Place]], list[PendingRow]],
    policy: DefectPolicy,
    record_counts: RecordCounts,
) -> Iterator[tuple[str, list[dict[str, Any]], bytes | memoryview]]:
    for image, places in wanted:
        located = resolver.resolve(image)
        if located is None:
            record_counts.image_missing += len(places)
            continue
        pending_rows = load(places)
        if pending_rows:
            yield image, *image_rows(pending_rows, resolver.read(located), located, policy, record_counts)


class StreamRows:
    """Rows in the order in which their images come from a stream.

    Args:
        waiting: For each image the places of its records; emptied as images come.
        load: Gives the drafts of records.
        policy: What to do with known defects.
        record_counts: Takes the counts.
        skip: Images at the beginning of the stream that an earlier run has dealt with; not counted again.

    Attributes:
        position: Images taken so far, those skipped included.
    """

    def __init__(
        self,
        waiting: Mapping[str, Sequence[Place]],
        load: Callable[[Sequence[Place]], list[PendingRow]],
        policy: DefectPolicy,
        record_counts: RecordCounts,
        *,
        skip: int = 0,
    ) -> None:
        self.position = 0
        self._waiting = dict(waiting)
        self._load = load
        self._policy = policy
        self._record_counts = record_counts
        self._skip = skip

    @property
    def complete(self) -> bool:
        """Whether no image is waited for any more."""
        return not self._waiting

    def wants(self, name: str) -> bool:
        """Whether an image is waited for; to be asked once for each image, in the stream's order."""
        if name not in self._waiting:
            return False
        if self.position < self._skip:
            del self._waiting[name]
            self.position += 1
            return False
        return True

    def take(self, name: str, data: bytes) -> tuple[list[dict[str, Any]], bytes | memoryview]:
        """Rows of an image that has come; none when nothing waits for it, as with a second copy of it."""
        places = self._waiting.pop(name, None)
        if places is None:
            return [], b""
        self.position += 1
        pending_rows = self._load(places)
        return (
            image_rows(pending_rows, data, None, self._policy, self._record_counts)
            if pending_rows
            else ([], b"")
        )

    def count_missing(self) -> int:
        """Records whose image has not come."""
        return sum(len(places) for places in self._waiting.values())

    def read(self, stream: ImageStream) -> Iterator[tuple[str, list[dict[str, Any]], bytes | memoryview]]:
        """Rows and image after image, until all have come or the stream ends; counts those that are missing."""
        for name, data in stream.images(self.wants):
            yield name, *self.take(name, data)
            if self.complete:
                break
        self._record_counts.image_missing += self.count_missing()


def _original(group: RowGroup, image: int) -> dict[str, Any] | None:
    data = group.originals.get(image)
    return None if data is None else {"bytes": data, "path": group.names[image]}


def to_table(group: RowGroup) -> pa.Table:
    """A row group as an Arrow table of the schema, repeated images written out."""
    import pyarrow as pa

    schema = arrow_schema(metadata=False)
    columns = []
    for name in FIELDS:
        kind = schema.field(name).type
        if name == "image":
            images = pa.array(group.images, pa.binary()).take(pa.array(group.image_of, pa.int64()))
            names = pa.array([group.names[image] for image in group.image_of], pa.string())
            columns.append(pa.StructArray.from_arrays([images, names], ["bytes", "path"]))
        elif name in IMAGE_FIELDS:
            columns.append(pa.nulls(len(group.rows), kind))
        elif name == "original":
            columns.append(pa.array([_original(group, image) for image in group.image_of], kind))
        else:
            columns.append(pa.array([row[name] for row in group.rows], kind))
    return pa.Table.from_arrays(columns, schema=arrow_schema())
