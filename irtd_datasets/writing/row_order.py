"""The order of a part's rows and its division into shards, in a few bytes a row.

What is known of a row while it waits is its image's sort key and where its line stands in a file: 12 bytes. Rows come
back image by image, a share of all keys at a time, so that sorting needs little more. Sizes of images, which
decide where shards are cut, wait in a file once there are many.
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["Images", "RowOrder"]

_CHUNK = 1 << 20
_MOST = (1 << 32) - 1
_SHARE = 1 << 22
"""Rows that are sorted at a time, about."""
_IN_MEMORY = 16 << 20


class RowOrder:
    """Sort keys and lines of rows as they come, and the rows of each image together.

    Example:
        >>> order = RowOrder()
        >>> for key, length in ((7, 10), (3, 20), (7, 5)):
        ...     order.add(key, length)
        >>> [rows.tolist() for rows in order.groups("by-image")]
        [[[10, 20]], [[0, 10], [30, 5]]]
    """

    def __init__(self) -> None:
        # Keys, ends of lines relative to the chunk's first byte, and that byte.
        self._chunks: list[tuple[NDArray[np.uint64], NDArray[np.uint32], int]] = []
        self._keys, self._ends = array("Q"), array("I")
        self._start = self._end = 0  # of the chunk that is being filled
        self._rows = 0

    def __len__(self) -> int:
        return self._rows + len(self._keys)

    def add(self, key: int, length: int) -> None:
        """Take a row.

        Args:
            key: Sort key of its image.
            length: Bytes of its line; lines stand one behind the other. Less than 4 GB.
        """
        if len(self._keys) == _CHUNK or self._end + length > _MOST:
            self._close_chunk()
        self._end += length
        self._keys.append(key)
        self._ends.append(self._end)

    def extend(self, keys: NDArray[np.uint64], lengths: NDArray[np.uint32]) -> None:
        """Take many rows, whose lines have less than 4 GB together; see `add`."""
        self._close_chunk()
        ends = np.cumsum(lengths, dtype=np.int64)
        self._chunks.append((keys, ends.astype(np.uint32), self._start))
        self._start += int(ends[-1]) if len(ends) else 0
        self._rows += len(keys)

    def _close_chunk(self) -> None:
        if self._keys:
            keys, ends = np.frombuffer(self._keys, np.uint64), np.frombuffer(self._ends, np.uint32)
            self._keys, self._ends = array("Q"), array("I")
            self._chunks.append((keys, ends, self._start))
            self._start, self._end = self._start + self._end, 0
            self._rows += len(keys)

    def groups(self, order: str) -> Iterator[NDArray[np.int64]]:
        """The rows of each image, in the order of the shards.

        Args:
            order: ``by-image`` or ``as-released``; in the latter only neighbours make a group.

        Yields:
            Offset and length of each row's line, of shape (rows, 2). Two images may have the same key, once in a
            million parts of a million images; then their rows come together.
        """
        for keys, places in self.shares(order):
            starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            ends = np.append(starts[1:], len(keys))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                yield places[start:end]

    def shares(self, order: str) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        """All rows in order, many at a time: keys, and offset and length of the lines.

        No image is divided between two shares.
        """
        self._close_chunk()
        return self._by_image() if order == "by-image" else self._as_released()

    def _by_image(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        # Keys are hashes, so that equal stretches of their range hold about equally many rows.
        bits = (self._rows // _SHARE).bit_length()
        for share in range(1 << bits):
            found: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
            for chunk in self._chunks:
                keys = chunk[0]
                chosen = (
                    np.flatnonzero(keys >> np.uint64(64 - bits) == share) if bits else np.arange(len(keys))
                )
                found.append((keys[chosen], _places(chunk, chosen)))
            keys = np.concatenate([some for some, _ in found] or [np.empty(0, np.uint64)])
            if not len(keys):
                continue
            places = np.concatenate([some for _, some in found])
            del found
            order = _sorted_rows(keys)
            yield keys[order], places[order]

    def _as_released(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        carried_keys, carried = np.empty(0, np.uint64), np.empty((0, 2), np.int64)
        for chunk in self._chunks:
            keys = np.concatenate((carried_keys, chunk[0]))
            places = np.concatenate((carried, _places(chunk, np.arange(len(chunk[0])))))
            # The last image may go on in the next chunk.
            different = np.flatnonzero(keys != keys[-1])
            cut = int(different[-1]) + 1 if len(different) else 0
            if cut:
                yield keys[:cut], places[:cut]
            carried_keys, carried = keys[cut:], places[cut:]
        if len(carried_keys):
            yield carried_keys, carried


def _places(
    chunk: tuple[NDArray[np.uint64], NDArray[np.uint32], int], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Offset and length of the lines of some rows of a chunk."""
    _, ends, start = chunk
    places = np.empty((len(rows), 2), np.int64)
    places[:, 0] = np.where(rows > 0, ends[rows - 1], 0)
    places[:, 1] = ends[rows] - places[:, 0]
    places[:, 0] += start
    return places


def _sorted_rows(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Positions in the order of the keys, equal ones as they came; much faster than a stable sort."""
    order = np.argsort(keys)
    ordered = keys[order]
    repeated = ordered[1:] == ordered[:-1]
    if repeated.any():
        group = np.cumsum(np.concatenate(([True], ~repeated)))
        order = order[np.lexsort((order, group))] if len(keys) < _CHUNK else _mended(order, group, repeated)
    return order


def _mended(
    order: NDArray[np.int64], group: NDArray[np.int64], repeated: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The same for many keys: only rows that share theirs are sorted again."""
    shared = np.zeros(len(order), bool)
    shared[1:] |= repeated
    shared[:-1] |= repeated
    some = order[shared]
    order[shared] = some[np.lexsort((some, group[shared]))]
    return order


class Images:
    """Bytes of the images of a part in order, and of their lines in its file; cut into shards at the end.

    Args:
        folder: Where a temporary file may wait.
    """

    def __init__(self, folder: Path) -> None:
        self._file: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - see `__exit__`
        self._waiting = array("q")
        self._count = 0
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    @property
    def total(self) -> int:
        """Bytes of all images."""
        return self._total

    def add(self, size: int, line: int) -> None:
        """Take an image.

        Args:
            size: Its bytes.
            line: Bytes of its line.
        """
        self._waiting.append(size)
        self._waiting.append(line)
        self._count += 1
        self._total += size
        if len(self._waiting) >= _CHUNK:
            self._flush()

    def extend(self, sizes: NDArray[np.int64], lines: NDArray[np.int64]) -> None:
        """Take many images; see `add`."""
        self._flush()
        self._file.write(np.stack((sizes, lines), axis=1).astype(np.int64).tobytes())
        self._count += len(sizes)
        self._total += int(sizes.sum())

    def _flush(self) -> None:
        self._file.write(self._waiting.tobytes())
        self._waiting = array("q")

    def shards(self, count: int) -> list[tuple[tuple[int, int], int]]:
        """Cut into shards of about equal bytes of images.

        Args:
            count: How many; an image that is larger than a share makes them fewer.

        Returns:
            For each shard its stretch of the part's file, and the bytes of its images.
        """
        self._flush()
        self._file.seek(0)
        share = self._total / count
        shards: list[tuple[tuple[int, int], int]] = []
        started = size_start = 0
        size = line = 0  # of all images so far
        first = True
        while block := self._file.read(2 * 8 * _CHUNK):
            pairs = np.frombuffer(block, np.int64).reshape(-1, 2)
            before = np.cumsum(pairs[:, 0]) - pairs[:, 0] + size
            lines = np.cumsum(pairs[:, 1]) - pairs[:, 1] + line
            position = 0
            while position < len(pairs):
                if first:
                    first = False
                    position += 1
                    continue
                # The next shard starts at the first image before which its predecessors have their shares.
                wanted = share * (len(shards) + 1)
                position = max(position, int(np.searchsorted(before, wanted, side="left")))
                if position < len(pairs):
                    shards.append(((started, int(lines[position])), int(before[position]) - size_start))
                    started, size_start = int(lines[position]), int(before[position])
                    position += 1
            size += int(pairs[:, 0].sum())
            line += int(pairs[:, 1].sum())
        if self._count:
            shards.append(((started, line), size - size_start))
        return shards


def mapped(file: IO[bytes]) -> mmap.mmap | bytes:
    """A file as memory, to read stretches of in any order; bytes where it is empty."""
    file.flush()
    if not file.tell():
        return b""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
