"""A range of a file whose first bytes are used while the others are still on their way."""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irtd_datasets.remote.crew import Task

__all__ = ["Arriving", "Body"]

_LOOK_AGAIN = 0.5  # seconds; a request that fails tells at once
_LARGE = 1 << 20
_PRIVATE: dict[str, Any] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


class Body:
    """The bytes of an answer as they are added.

    Many of them lie in pages of their own, which the system has back as soon as nobody uses them: what the C library
    keeps of freed row groups, in each thread, came to a fifth of a stream's memory.

    Args:
        size: How many are expected; 0 where nobody knows. More than those are dropped where there are many.
    """

    def __init__(self, size: int = 0) -> None:
        self._pages = mmap.mmap(-1, size, **_PRIVATE) if size > _LARGE else None
        self._data = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, piece: bytes | memoryview) -> None:
        """Add some bytes behind those that are there."""
        if self._pages is None:
            self._data += piece
            self._count = len(self._data)
        else:
            end = min(self._count + len(piece), len(self._pages))
            self._pages[self._count : end] = piece[: end - self._count]
            self._count = end

    def part(self, start: int, stop: int | None = None) -> bytes | memoryview:
        """Some of the bytes; of many a view, which keeps all of them in memory."""
        stop = self._count if stop is None else min(stop, self._count)
        if self._pages is None:
            return bytes(memoryview(self._data)[start:stop])
        return memoryview(self._pages)[start:stop].toreadonly()


class Arriving:
    """The bytes of one range as they come; safe for threads.

    Attributes:
        start: First byte in the file.
        stop: The byte behind the last.
        task: What asks for the range; it has to be set before bytes are taken.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.task: Task[bytes | memoryview] | None = None
        self._data = Body()
        self._grown = threading.Condition()

    def begin(self) -> Body:
        """An empty body for an answer: of one that was cut, nothing is kept."""
        self._data = Body(self.stop - self.start)
        return self._data

    def grew(self, _: object = None) -> None:
        """Wake up who waits, since bytes were added or the request has ended."""
        with self._grown:
            self._grown.notify_all()

    def take(self, start: int, stop: int) -> bytes:
        """Some bytes, once they have come.

        Args:
            start: First byte in the file; inside the range, as ``stop``.
            stop: The byte behind the last.

        Raises:
            Exception: That of the request, where it failed before they came.
        """
        task = self.task
        assert task is not None
        first, last = start - self.start, stop - self.start
        while not task.done():
            with self._grown:
                data = self._data
                if len(data) >= last:
                    return bytes(data.part(first, last))
                if not task.done():
                    self._grown.wait(_LOOK_AGAIN)
        self._data = Body()  # the request has them, too
        return bytes(task.result()[first:last])
