"""The order of rows: a function of the images' names and a seed, never of the machine.

Rows are sorted by a keyed hash of their image's released name, so that a plain sequential read is already a fair
sample, the rows of one image stand together, and leaving some images out does not move the others. While rows wait to
be ordered, memory holds 12 bytes of each, whatever its texts: a part may have more rows than memory has room for.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ORDER_SEED", "RowOrder", "image_key"]

ORDER_SEED = 0
"""Seed of the published order; recorded in every manifest."""

_CHUNK = 1 << 20
_MOST = (1 << 32) - 1
_SHARE = 1 << 22
"""Rows that are sorted at a time, about."""


def image_key(image: str, seed: int = ORDER_SEED) -> bytes:
    """Sort key of an image: eight bytes that look random but are the same everywhere.

    Example:
        >>> image_key("63-FLIR_ADAS/training/PreviewData/FLIR_00001.jpeg").hex()
        '8ae6ee5b59883af1'
    """
    return blake2b(
        image.encode("utf-8", "surrogatepass"), digest_size=8, key=seed.to_bytes(8, "big")
    ).digest()


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
            order = np.argsort(keys, kind="stable")
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
