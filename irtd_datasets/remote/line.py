"""What is known of the way to a server: its round trip, its rate, and how many bytes are under way."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from irtd_datasets.remote.arriving import Body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.remote.arriving import Arriving

__all__ = ["Line", "Transfer", "line_to", "rounds_by_place"]

_LEAST_WINDOW = 512 << 10
_SPAN = 0.1  # seconds over which a rate is taken
_DECAY = 0.95  # of the best rate so far, with each span: a line may become slower


class Line:
    """Figures of the requests of this process to one place; safe for threads.

    Attributes:
        requests: Requests that were answered, redirects and refusals among them.
        rounds: Length of the longest chain of requests of which each began after the answer of the one before. A new
            connection takes one or more round trips beside.
        received: Bytes of the bodies that came.
        round_trip: Seconds from a request to the first byte of its answer, the least so far; None before the first.
        rate: Bytes a second, over all requests together, when it was fastest lately; 0 before anything is known.
        asked: Seconds that the server asked to wait, in all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = self.rounds = self.received = 0
        self.round_trip: float | None = None
        self.rate = self.asked = 0.0
        self._under_way = self._active = 0
        self._since, self._seen = 0.0, 0

    @property
    def under_way(self) -> int:
        """Bytes that were asked for and have not come."""
        return self._under_way

    @property
    def window(self) -> int:
        """Bytes that have to be under way to keep the line busy: twice what it holds."""
        return max(_LEAST_WINDOW, int(2 * self.rate * (self.round_trip or 0.0)))

    @contextlib.contextmanager
    def transfer(self, size: int, into: Arriving | None = None) -> Iterator[Transfer]:
        """One request.

        Args:
            size: Bytes that are expected.
            into: Who uses them while they come.
        """
        transfer = Transfer(self, size, into)
        with self._lock:
            self._under_way += size
            if not self._active:
                self._since, self._seen = time.perf_counter(), 0
            self._active += 1
        try:
            yield transfer
        finally:
            with self._lock:
                self._active -= 1
                self._under_way -= transfer.left
                self._measure()

    def answered(self, seconds: float, place: int) -> None:
        """Note that an answer began, so many seconds after it was asked for, and its place in a chain of requests."""
        with self._lock:
            self.requests += 1
            self.rounds = max(self.rounds, place)
            self.round_trip = seconds if self.round_trip is None else min(self.round_trip, seconds)

    def came(self, count: int, counted: int) -> None:
        """Note bytes that came, and how many of them had been expected."""
        with self._lock:
            self.received += count
            self._seen += count
            self._under_way -= counted
            if time.perf_counter() - self._since > _SPAN:
                self._measure()

    def _measure(self) -> None:
        now = time.perf_counter()
        span = now - self._since
        if span < _SPAN / 4:
            return
        self.rate = max(self.rate * _DECAY, self._seen / span)
        self._since, self._seen = now, 0


class Transfer:
    """One request under way.

    Attributes:
        left: Bytes that are expected still.
    """

    def __init__(self, line: Line, size: int, into: Arriving | None = None) -> None:
        self.left = size
        self._into = into
        self._line = line
        self._begin()

    def _begin(self) -> None:
        self._place = self._line.rounds + 1
        self._begun, self._answered = time.perf_counter(), False

    def answered(self) -> None:
        """Note that the answer begins."""
        if not self._answered:
            self._answered = True
            self._line.answered(time.perf_counter() - self._begun, self._place)

    def again(self) -> None:
        """Note that the next request of the same transfer begins, after a redirect."""
        self.answered()
        self._begin()

    def body(self) -> Body:
        """What the wanted bytes of the answer's body are added to, before `came` is told."""
        return Body(self.left) if self._into is None else self._into.begin()

    def came(self, count: int) -> None:
        """Note bytes of the answer's body."""
        counted = min(count, self.left)
        self.left -= counted
        self._line.came(count, counted)
        if self._into is not None:
            self._into.grew()


_lines: dict[str, Line] = {}


def rounds_by_place() -> dict[str, int]:
    """`Line.rounds` of all lines of this process."""
    return {place: line.rounds for place, line in dict(_lines).items()}


def line_to(place: str) -> Line:
    """The line of this process to a place, such as a server's address or the URL of a folder."""
    found = _lines.get(place)
    return found if found is not None else _lines.setdefault(place, Line())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lines.clear)
