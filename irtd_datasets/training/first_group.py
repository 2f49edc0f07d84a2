"""The first row group of a stream from afar: a row is handed out when its image has come, not when all of them have.

The library's writer puts the text of a row group before its images. So the request is divided once, before the image
of the first row: text and first image come at the beginning of two answers, and no byte is asked for twice.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from irtd_datasets.errors import AnnotationError, ShardChangedError
from irtd_datasets.remote.arriving import Arriving
from irtd_datasets.remote.ranges import joined
from irtd_datasets.training.shards import GroupReader, OpenShard
from irtd_datasets.training.storage import GAP, read_again, readers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["first_group"]


def first_group(
    shard: OpenShard, group: int, columns: Sequence[str], rows: NDArray[np.int64], *, divided: bool
) -> GroupReader:
    """Open some rows of a row group while they come, where the index knows the places of their images.

    Args:
        shard: The open shard, from afar.
        group: Which row group.
        columns: Columns that are wanted.
        rows: Rows that are wanted, as numbers in the row group, the one that is needed first before the others.
        divided: Whether two requests may be made of one.
    """
    images = [name for name in columns if name in shard.image_names]
    if not len(rows) or not set(images) <= set(shard.ref.images):
        return shard.group(group, columns, rows)
    places = {name: shard.row_places(name, group, rows) for name in images}
    text = shard.text_ranges(group, columns)
    asked = [
        *text,
        *((start - 4, start + size) for found in places.values() for start, size in found.values()),
    ]
    first = [found[int(rows[0])][0] - 4 for found in places.values() if int(rows[0]) in found]
    coming = []
    for start, stop in joined(asked, GAP, shard.walls(images, group, places)):
        cuts = [cut for cut in first[:1] if divided and start < cut < stop]
        for low, high in zip([start, *cuts], [*cuts, stop], strict=True):
            coming.append(part := Arriving(low, high))
            part.task = readers().submit(
                partial(shard.storage.read, shard.ref.name, low, high, size=shard.ref.size, into=part)
            )
            part.task.add_done_callback(part.grew)
    return _FirstGroup(shard, group, columns, coming, text, places)


class _FirstGroup(GroupReader):
    """Rows of a row group whose ranges are on their way."""

    def __init__(
        self,
        shard: OpenShard,
        group: int,
        columns: Sequence[str],
        coming: Sequence[Arriving],
        text: Sequence[tuple[int, int]],
        places: dict[str, dict[int, tuple[int, int]]],
    ) -> None:
        self._shard, self._coming = shard, coming
        self._firsts = [part.start for part in coming]
        self.fetched = sum(part.stop - part.start for part in coming)
        parts = [(start, self._take(start, stop)) for start, stop in text]
        self._take_text(shard.read_text(group, columns, parts), columns)
        self._images = {name: partial(self._image, found) for name, found in places.items()}

    def _take(self, start: int, stop: int) -> bytes:
        """Bytes of the file, which may lie across the place where a request was divided."""
        found = b""
        while start < stop:
            part = self._coming[bisect_right(self._firsts, start) - 1]
            found += part.take(start, min(stop, part.stop))
            start = min(stop, part.stop)
        return found

    def _image(self, places: dict[int, tuple[int, int]], row: int) -> bytes | None:
        if row not in places:
            return None
        start, size = places[row]
        with suppress(AnnotationError, ShardChangedError):  # other bytes than were asked for
            data = self._take(start - 4, start + size)
            if int.from_bytes(data[:4], "little") == size:
                return data[4:]
        return read_again(self._shard.storage, partial(self._anew, start, size))

    def _anew(self, start: int, size: int) -> bytes:
        ref = self._shard.ref
        data = self._shard.storage.read(ref.name, start - 4, start + size, size=ref.size)
        self._shard.check_length(data, start, size)
        return bytes(data[4:])
