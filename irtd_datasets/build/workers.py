"""Processes that do independent work; with one worker everything runs in the calling process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Self

__all__ = ["Workers"]

Call = TypeVar("Call")
Result = TypeVar("Result")


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes that are started meanwhile never get it.

    The signal mask goes on to a new process, which otherwise would print a traceback if it were interrupted before it
    can say that it wants to ignore that.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """A pool of processes, started at once so that their imports run while the caller plans.

    Args:
        count: Number of processes; 1 means none beside the caller.
    """

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            # Spawned, not forked: the caller may have threads (Arrow's, a progress bar's), and a fork inherits
            # their locks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start)
            with _interrupts_held():
                for _ in range(count):
                    self._pool.submit(_warm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is None:
            self._pool.shutdown()
            return
        processes = list((self._pool._processes or {}).values())  # noqa: SLF001 - terminate_workers exists from 3.14 on
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with contextlib.suppress(OSError, ValueError):
                process.terminate()
        for process in processes:
            process.join(timeout=5)

    def run(
        self, function: Callable[..., Result], calls: Sequence[Call], arguments: Callable[[Call], Any]
    ) -> Iterator[tuple[Call, Result]]:
        """Call a function for each of ``calls`` and yield each with its result, as they get finished.

        Raises:
            BuildError: A process died.
        """
        if self._pool is None:
            for call in calls:
                yield call, function(*arguments(call))
            return
        try:
            futures = {self._pool.submit(function, *arguments(call)): call for call in calls}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise BuildError(
                "a worker process died (killed, or out of memory)",
                remedy="Start the same command again: finished shards are kept. Use fewer --workers if memory is "
                "short.",
            ) from error


def _start() -> None:
    # Ctrl-C goes to the whole group; the caller decides, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # the parent was killed: nobody would ever collect the result


def _warm() -> None:
    import irtd_datasets.build.shards  # noqa: F401 - imported early, while the caller plans
