"""Rows with their images: from pending rows and a place to look to complete rows, row group by row group.

Both ways to use a release, reading it as it is and building a dataset folder from it, run through this module, so
that they give the same rows in the same order. A record is parsed once; what it gives waits in a file, so that memory
holds a few bytes of each row while they are put in order.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from irtd_datasets.errors import AmbiguousImageError, ImageError, summarize
from irtd_datasets.images.files import viewable_image
from irtd_datasets.rows.groups import ORIGINAL, GroupCutter
from irtd_datasets.rows.parsing import DefectPolicy, apply_policy, parse_file
from irtd_datasets.rows.partners import show
from irtd_datasets.rows.pending import PendingRow, finish
from irtd_datasets.rows.spill import PendingRowFile, unpack_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from irtd_datasets.images.files import PreparedImage
    from irtd_datasets.releases.resolve import ImageResolver, Located
    from irtd_datasets.rows.groups import RowGroup
    from irtd_datasets.rows.partners import Partner, Partners, Shown
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import ImageStream, Release
    from irtd_datasets.rows.spill import Place
    from irtd_datasets.spec import Member

__all__ = [
    "StreamRows",
    "image_groups",
    "image_rows",
    "is_decoded",
    "located_rows",
    "prepared",
    "release_groups",
]


Places: TypeAlias = "tuple[ImageResolver, Partners | None]"
"""What finds and reads images, and their partners where they have any."""
Stored: TypeAlias = "tuple[str, bytes | memoryview] | None"
"""Name and bytes of a partner, as `GroupCutter.add` takes them."""

_ONE_OF = 64  # images of which one is decoded
_THREADS = min(8, os.cpu_count() or 1)


@lru_cache(maxsize=64)  # asked for three times for each image
def is_decoded(name: str, decode: str) -> bool:
    """Whether an image is decoded before it is stored: the same ones in every build, whoever asks.

    Example:
        >>> sum(is_decoded(f"FLIR_{number:05d}.jpeg", "sample") for number in range(6400))
        100
    """
    return decode == "all" or zlib.crc32(name.encode()) % _ONE_OF == 0


def prepared(
    data: bytes | memoryview, name: str, located: Located | None, decode: str
) -> PreparedImage | ImageError:
    """An image as it is stored, or why it cannot be; threads may do it.

    Args:
        data: Bytes of the file found.
        name: Its name.
        located: How it was found; None when it came from a stream.
        decode: ``sample`` or ``all``.
    """
    transform = located.transform or None if located else None
    verify: Literal["header", "decode"] = "decode" if is_decoded(name, decode) else "header"
    try:
        return viewable_image(data, name, transform=transform, verify=verify)
    except ImageError as error:
        return error


def image_rows(
    pending_rows: Sequence[PendingRow],
    image: PreparedImage | ImageError,
    located: Located | None,
    policy: DefectPolicy,
    record_counts: RecordCounts,
    decode: str = "sample",
    *,
    shown: Shown | None = None,
) -> tuple[list[dict[str, Any]], bytes | memoryview]:
    """Complete the rows of one image; what cannot be kept is counted.

    Args:
        pending_rows: Rows of this image.
        image: What `prepared` has made of it.
        located: How it was found; None when it came from a stream.
        policy: What to do with known defects.
        record_counts: Takes the counts.
        decode: As for `prepared`.
        shown: Its visible partner; None without one.

    Returns:
        The rows kept, without image columns, and the bytes to store, which are those of the file unless the image had
        to be changed.
    """
    name = pending_rows[0].image
    record_counts.decoded += is_decoded(name, decode)
    if isinstance(image, ImageError):
        record_counts.drop(image.code, f"{name}: {image.problem}", count=len(pending_rows))
        return [], b""
    # A copy: what the image is read into takes the preview in its place.
    original = None if image.original is None else bytes(image.original)
    rows = []
    note = located.note if located else ""
    if shown is not None and shown.note:
        note = f"{note}; visible: {shown.note}" if note else f"visible: {shown.note}"
    for pending in pending_rows:
        row = finish(pending, image, note=note, registration=shown.registration if shown else None)
        issues = row["issues"]
        if issues:
            if not apply_policy(policy, pending.id, issues, record_counts):
                continue
            record_counts.flagged.update(issues)
        if original is not None:
            row[ORIGINAL] = original
        if shown is not None:
            record_counts.partners[shown.registration["status"]] += 1
        record_counts.kept += 1
        record_counts.rounds_kept += pending.rounds
        rows.append(row)
    return rows, image.data


def release_groups(
    release: Release, member: Member, policy: DefectPolicy, record_counts: RecordCounts
) -> Iterator[RowGroup]:
    """Read one part and its images straight from a release.

    Args:
        release: The opened release.
        member: The part.
        policy: What to do with known defects.
        record_counts: Takes the counts; complete when the iterator is exhausted.
    """
    with tempfile.TemporaryFile() as file:
        rows = PendingRowFile(file)
        for annotations in release.files(member):
            rows.extend(parse_file(release, annotations, record_counts))
        stream = release.stream(member.subset)
        if stream is None:
            resolver, partners = release.resolver(member.subset), release.partners(member.subset)
            found = located_rows(resolver, partners, rows.units(member.subset.order), record_counts)
            images = (
                (image, partner, [unpack_pending(entry) for entry in entries])
                for image, partner, entries in found
            )
            yield from image_groups(
                (resolver, partners), images, policy, record_counts, release.options.decode
            )
            return
        cutter = GroupCutter()
        taken = StreamRows(
            rows.waiting(),
            rows.pending,
            policy,
            record_counts,
            decode=release.options.decode,
            partners=release.partners(member.subset),
        )
        for taking in taken.read(stream):
            yield from cutter.add(*taking)
        yield from cutter.rest()


def located_rows(
    resolver: ImageResolver,
    partners: Partners | None,
    units: Iterable[tuple[str, list[bytes]]],
    record_counts: RecordCounts,
) -> Iterator[tuple[Located, Partner | None, list[bytes]]]:
    """Find the images of a part in order; yields where each and its partner is, with its rows as they were set aside.

    Raises:
        AmbiguousImageError: Some images have two candidates; all are named together, up to a limit.
    """
    ambiguous: list[AmbiguousImageError] = []
    for image, entries in units:
        try:
            located = resolver.resolve(image)
            partner = partners.find(image) if partners is not None and located is not None else None
        except AmbiguousImageError as error:
            ambiguous.append(error)
            continue
        if located is None:
            record_counts.image_missing += len(entries)
        elif not ambiguous:
            if partners is not None and partner is None:
                record_counts.partners["none"] += len(entries)
            yield located, partner, entries
    if ambiguous:
        raise AmbiguousImageError(
            summarize((f"{error.where}: {error.problem}" for error in ambiguous), limit=10),
            remedy=ambiguous[0].remedy,
        )


def image_groups(
    places: Places,
    images: Iterable[tuple[Located, Partner | None, list[PendingRow]]],
    policy: DefectPolicy,
    record_counts: RecordCounts,
    decode: str = "sample",
) -> Iterator[RowGroup]:
    """Read images that were found, complete their rows, and cut them into row groups; see `GroupCutter`.

    Where all images are decoded, threads do it some images ahead.

    Args:
        places: What finds and reads the images, and their partners where they have any.
        images: Images in order, each with its partner and its rows.
        policy: What to do with known defects.
        record_counts: Takes the counts.
        decode: As for `prepared`.
    """
    cutter = GroupCutter()
    resolver, partners = places
    if decode == "all":
        done = _decoded(places, images)
    else:
        done = (
            (
                located,
                rows,
                *pair(
                    prepared(resolver.read_into(located, cutter.room), rows[0].image, located, decode),
                    partner,
                    None
                    if partner is None or partners is None
                    else partners.read_into(partner, cutter.partner_room),
                    is_decoded(rows[0].image, decode),
                ),
            )
            for located, partner, rows in images
        )
    for located, pending_rows, image, shown in done:
        rows, stored = image_rows(pending_rows, image, located, policy, record_counts, decode, shown=shown)
        yield from cutter.add(pending_rows[0].image, rows, stored, stored_partner(shown))
    yield from cutter.rest()


def pair(
    image: PreparedImage | ImageError,
    partner: Partner | None,
    data: bytes | memoryview | None,
    decode: bool,
) -> tuple[PreparedImage | ImageError, Shown | None]:
    """An image and what is shown of its partner; see `irtd_datasets.rows.partners.show`."""
    if partner is None or data is None or isinstance(image, ImageError):
        return image, None
    return show(image, partner, data, decode)


def stored_partner(shown: Shown | None) -> tuple[str, bytes | memoryview] | None:
    """Name and bytes of a partner that is shown; None where there is none, or it was refused."""
    return None if shown is None or shown.data is None else (shown.name, shown.data)


_Done: TypeAlias = "tuple[PreparedImage | ImageError, Shown | None]"


def _decoded(
    places: Places, images: Iterable[tuple[Located, Partner | None, list[PendingRow]]]
) -> Iterator[tuple[Located, list[PendingRow], PreparedImage | ImageError, Shown | None]]:
    """Images in order, decoded by threads; memory holds two images for each thread."""
    resolver, partners = places
    waiting: deque[tuple[Located, list[PendingRow], Future[_Done]]] = deque()

    def both(
        data: bytes, name: str, located: Located, partner: Partner | None, visible: bytes | None
    ) -> _Done:
        return pair(prepared(data, name, located, "all"), partner, visible, True)

    with ThreadPoolExecutor(_THREADS) as pool:
        for located, partner, rows in images:
            data = bytes(resolver.read_into(located, _room))
            visible = None
            if partner is not None and partners is not None:
                visible = bytes(partners.read_into(partner, _room))
            done = pool.submit(both, data, rows[0].image, located, partner, visible)
            waiting.append((located, rows, done))
            if len(waiting) > 2 * _THREADS:
                first, pending_rows, image = waiting.popleft()
                yield first, pending_rows, *image.result()
        for first, pending_rows, image in waiting:
            yield first, pending_rows, *image.result()


def _room(size: int) -> memoryview:
    return memoryview(bytearray(size))


class StreamRows:
    """Rows in the order in which their images come from a stream.

    Args:
        waiting: For each image the places of its rows; emptied as images come.
        load: Gives the row at a place.
        policy: What to do with known defects.
        record_counts: Takes the counts.
        skip: Images at the beginning of the stream that an earlier run has dealt with; not counted again.
        decode: As for `prepared`.
        partners: Finds the visible partners; None where there are none.

    Attributes:
        position: Images taken so far, those skipped included.
    """

    def __init__(
        self,
        waiting: Mapping[str, Sequence[Place]],
        load: Callable[[Place], PendingRow],
        policy: DefectPolicy,
        record_counts: RecordCounts,
        *,
        skip: int = 0,
        decode: str = "sample",
        partners: Partners | None = None,
    ) -> None:
        self.position = 0
        self._waiting = dict(waiting)
        self._load = load
        self._policy = policy
        self._record_counts = record_counts
        self._skip = skip
        self._decode = decode
        self._partners = partners

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

    def take(self, name: str, data: bytes) -> tuple[list[dict[str, Any]], bytes | memoryview, Stored]:
        """Rows of an image that has come, its bytes, and its partner's name and bytes.

        No rows when nothing waits for it, as with a second copy of it.
        """
        places = self._waiting.pop(name, None)
        if places is None:
            return [], b"", None
        self.position += 1
        pending_rows = [self._load(place) for place in places]
        image = prepared(data, pending_rows[0].image, None, self._decode)
        shown = None
        if self._partners is not None:
            partner = self._partners.find(name)
            if partner is None:
                self._record_counts.partners["none"] += len(pending_rows)
            else:
                visible = self._partners.read_into(partner, _room)
                image, shown = pair(image, partner, visible, is_decoded(name, self._decode))
        rows, stored = image_rows(
            pending_rows, image, None, self._policy, self._record_counts, self._decode, shown=shown
        )
        return rows, stored, stored_partner(shown)

    def count_missing(self) -> int:
        """Records whose image has not come."""
        return sum(len(places) for places in self._waiting.values())

    def read(
        self, stream: ImageStream
    ) -> Iterator[tuple[str, list[dict[str, Any]], bytes | memoryview, Stored]]:
        """Rows, image and partner, until all have come or the stream ends; counts those that are missing."""
        for name, data in stream.images(self.wants):
            yield name, *self.take(name, data)
            if self.complete:
                break
        self._record_counts.image_missing += self.count_missing()
