"""Workers that do independent work: what a build asks of them, and processes of this machine.

With one worker everything runs in the calling process. The workers of a cluster are in
`irtd_datasets.writing.dask_workers`, which is imported only where they are asked for.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from irtd_datasets.arrow import leave_pandas_out
from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from typing_extensions import Self

__all__ = ["ProcessWorkers", "Workers", "prepare_process"]


class Workers(Protocol):
    """What a build asks of its workers; a context manager that ends the work when an exception leaves it."""

    @property
    def beside(self) -> bool:
        """Whether they are processes of this machine beside the caller, so that they can plan as well as write."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...

    def submit(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - theirs
        """Have a function of a module called; ``call`` is what `results` names this call by."""

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield each call with its result, as they get finished; more may be submitted meanwhile."""


class ProcessWorkers:
    """A pool of processes, started at once: copies of a caller without threads, or new ones that import meanwhile.

    It holds processes from the moment it is made; leaving it as a context manager ends them, any number of times.

    Args:
        count: Number of processes; 1 means none beside the caller.
    """

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._later: deque[tuple[Any, Callable[[], Any]]] = deque()
        self._futures: dict[Future[Any], Any] = {}
        if count > 1:
            how = "fork" if _may_fork() else "spawn"
            if how == "spawn" and hasattr(signal, "pthread_sigmask"):
                resource_tracker.ensure_running()  # started by the pool, it would let Ctrl-C in again
            self._pool = ProcessPoolExecutor(
                count, mp_context=multiprocessing.get_context(how), initializer=_start
            )
            try:
                with _interrupted_afterwards(), warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", DeprecationWarning
                    )  # any second thread makes a fork suspect
                    for _ in range(count):
                        self._pool.submit(_warm)
            except BaseException as error:
                self.__exit__(type(error))  # else those that were started are waited for without end
                raise

    @property
    def beside(self) -> bool:
        """Whether there are processes beside the caller's."""
        return self._pool is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if kind is None:
            pool.shutdown()
            return
        processes = list((pool._processes or {}).values())  # noqa: SLF001 - terminate_workers exists from 3.14 on
        pool.shutdown(wait=False, cancel_futures=True)
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
        """Yield each call with its result, as they get finished; more may be submitted meanwhile.

        Raises:
            BuildError: A process died.
        """
        while self._later:
            call, function = self._later.popleft()
            yield call, function()
        while self._futures:
            finished = futures.wait(self._futures, return_when=futures.FIRST_COMPLETED).done
            # Of several the one that was submitted first, so that it is its error that is told.
            for future in [future for future in self._futures if future in finished]:
                call = self._futures.pop(future)
                with _death_told():
                    result = future.result()
                yield call, result


_OWN_THREAD = "jemalloc_bg_thd"  # of Arrow's allocator, which starts it anew in a forked process


def _may_fork() -> bool:
    """Whether a copy of this process, which has the calling thread alone, can be a worker.

    It has all modules at once, where a spawned one imports them for 0.25 s. But it also has every lock as it was, and
    what other threads held is never released. So there must be no other thread, of Python or of any library. Where
    nobody can tell (only Linux lists them all), and where the pool itself has threads when it starts processes
    (Python 3.10), workers are spawned.
    """
    if sys.version_info < (3, 11):
        return False
    try:
        names = [
            Path("/proc/self/task", task, "comm").read_text(encoding="utf-8").rstrip("\n")
            for task in os.listdir("/proc/self/task")  # noqa: PTH208 - names only
            if int(task) != os.getpid()
        ]
    except OSError:
        return False
    return threading.current_thread() is threading.main_thread() and set(names) <= {_OWN_THREAD}


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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_process() -> None:
    """Make this process, which does nothing but a build and then ends, faster at it: no pandas, fewer searches."""
    leave_pandas_out()
    # Rows are freed as they are written: cycles among them, which a search for would find, do not exist.
    gc.freeze()
    gc.set_threshold(100_000)


def _start() -> None:
    prepare_process()
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
    import irtd_datasets.writing.shards  # noqa: F401 - imported early, while the caller plans
