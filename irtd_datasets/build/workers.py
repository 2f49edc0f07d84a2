"""Workers that do independent work: what a build asks of them, and processes of this machine.

With one worker everything runs in the calling process. The workers of a cluster are in
`irtd_datasets.build.dask_workers`, which is imported only where they are asked for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol

from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from typing_extensions import Self

__all__ = ["ProcessWorkers", "Workers"]


class Workers(Protocol):
    """What a build asks of its workers; a context manager that ends the work when an exception leaves it."""

    @property
    def elsewhere(self) -> bool:
        """Whether they may be on machines that see nothing of this one's disks but what is shared."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...

    def submit(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - theirs
        """Have a function of a module called; ``call`` is what `results` names this call by."""

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield each call with its result, as they get finished."""


class ProcessWorkers:
    """A pool of processes, started at once so that their imports run while the caller plans.

    Args:
        count: Number of processes; 1 means none beside the caller.
    """

    elsewhere = False

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._later: list[tuple[Any, Callable[[], Any]]] = []
        self._futures: dict[Future[Any], Any] = {}
        if count > 1:
            # Spawned, not forked: the caller may have threads (Arrow's, a progress bar's), and a fork inherits
            # their locks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start)
            with _interrupted_afterwards():
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

    def submit(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - theirs
        """Have a function called: at once by the next free process, or, without any, when results are asked for.

        Args:
            call: What `results` names this call by.
            function: A function of a module.
            arguments: Sent to the process by pickle.

        Raises:
            BuildError: A process died.
        """
        if self._pool is None:
            self._later.append((call, partial(function, *arguments)))
            return
        with _death_told(), _interrupted_afterwards():
            self._futures[self._pool.submit(function, *arguments)] = call

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield each call with its result, as they get finished.

        Raises:
            BuildError: A process died.
        """
        for call, function in self._later:
            yield call, function()
        with _death_told():
            for future in as_completed(self._futures):
                yield self._futures[future], future.result()


@contextlib.contextmanager
def _death_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died (killed, or out of memory)",
            remedy="Start the same command again: finished shards are kept. Use fewer --workers if memory is short.",
        ) from error


@contextlib.contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Hold Ctrl-C back while processes are started: they inherit that until `_start`, and die without a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started within, it would let Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    # Ctrl-C goes to the whole group; the caller decides, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # the parent was killed: nobody would ever collect the result


def _warm() -> None:
    import irtd_datasets.build.shards  # noqa: F401 - imported early, while the caller plans
