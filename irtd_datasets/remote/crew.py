"""Threads that wait for servers: kept, shared by all of a process, and left behind when it ends.

The pools of `concurrent.futures` are waited for when the interpreter ends, so that a program that is done would hang
as long as a request that nobody needs waits for a limit of the Hub. These are daemons.
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Crew", "Task", "abandoned", "crew"]

_T = TypeVar("_T")
_here = threading.local()


class Task(Future[_T]):
    """Something that is being done; what it asks others to do belongs to it."""

    def __init__(self, given_up: threading.Event | None = None) -> None:
        super().__init__()
        self.given_up = given_up or threading.Event()

    def give_up(self) -> None:
        """Do not begin it, and do not try again what fails in it."""
        self.given_up.set()
        self.cancel()


def abandoned() -> bool:
    """Whether nobody waits any more for what this thread does."""
    event = getattr(_here, "given_up", None)
    return event is not None and event.is_set()


class Crew:
    """Some daemon threads with one queue; a thread is started when there is work that none waits for.

    Args:
        name: Of its threads.
        size: How many there are at most.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._queue: queue.SimpleQueue[tuple[Task[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._idle = 0

    def submit(self, action: Callable[[], _T]) -> Task[_T]:
        """Have something done; what was cancelled before it began is not."""
        future: Task[_T] = Task(getattr(_here, "given_up", None))
        with self._lock:
            start = self._idle <= 0 and self._threads < self._size
            if start:
                self._threads += 1
            else:
                self._idle -= 1  # below zero: as many wait in the queue
        self._queue.put((future, action))
        if start:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def map(self, action: Callable[[Any], _T], items: Iterable[Any]) -> list[_T]:
        """Do the same for several things; the results in their order, or the first error."""
        todo: Sequence[Any] = list(items)
        if len(todo) < 2:
            return [action(item) for item in todo]
        futures = [self.submit(lambda item=item: action(item)) for item in todo]  # type: ignore[misc]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _work(self) -> None:
        while True:
            future, action = self._queue.get()
            if future.set_running_or_notify_cancel():
                _here.given_up = future.given_up
                try:
                    future.set_result(action())
                except BaseException as error:  # noqa: BLE001 - handed to who asked
                    future.set_exception(error)
            _here.given_up = None
            del future, action
            with self._lock:
                self._idle += 1


_crews: dict[str, Crew] = {}


def crew(name: str, size: int) -> Crew:
    """The threads of this process that have a name; made when first asked for.

    What one of them does must not wait for another of the same name.
    """
    found = _crews.get(name)
    return found if found is not None else _crews.setdefault(name, Crew(f"irtd-{name}", size))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crews.clear)  # threads do not survive a fork
