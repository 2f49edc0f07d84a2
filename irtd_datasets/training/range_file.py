"""Parts of a file of a storage, as a file that pyarrow reads."""

from __future__ import annotations

import bisect
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.training.storage import Storage

__all__ = ["RangeFile"]


class RangeFile(io.RawIOBase):
    """A file of a storage as pyarrow wants it, of which some parts are in memory already.

    Args:
        storage: Where it lies.
        name: Its name.
        size: Its bytes.
        parts: First byte and bytes of each part that was fetched; they do not overlap.
    """

    def __init__(
        self, storage: Storage, name: str, size: int, parts: Sequence[tuple[int, bytes | memoryview]] = ()
    ) -> None:
        super().__init__()
        self._storage, self._name, self._size = storage, name, size
        self._parts = sorted(parts, key=lambda part: part[0])
        self._firsts = [first for first, _ in self._parts]
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, in bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def read(self, count: int | None = -1, /) -> bytes:
        """Bytes from the position on, from what was fetched before or from the storage."""
        start = min(self._position, self._size)
        stop = self._size if count is None or count < 0 else min(start + count, self._size)
        self._position = stop
        part = bisect.bisect_right(self._firsts, start) - 1
        if part >= 0:
            first, data = self._parts[part]
            if stop <= first + len(data):
                return bytes(data[start - first : stop - first])
        return bytes(self._storage.read(self._name, start, stop, size=self._size)) if start < stop else b""

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        """Fill a buffer from the position on; the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
