"""A range of a file whose first bytes are used while the others are still on their way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irtd_datasets.remote.crew import Task

__all__ = ["Arriving"]

_LOOK_AGAIN = 0.5  # seconds; a request that fails tells at once


class Arriving:
    """The bytes of one range as they come; safe for threads.

    Attributes:
        start: First byte in the file.
        stop: The byte behind the last.
        task: What asks for the range; it has to be set before bytes are taken.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.task: Task[bytes] | None = None
        self._data = bytearray()
        self._grown = threading.Condition()

    def begin(self) -> bytearray:
        """An empty buffer for an answer: of one that was cut, nothing is kept."""
        self._data = bytearray()
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
                    return bytes(data[first:last])
                if not task.done():
                    self._grown.wait(_LOOK_AGAIN)
        self._data = bytearray()  # the request has them, too
        return task.result()[first:last]
