"""Workers of a Dask cluster: the same tasks as those of local processes, on as many machines as it has.

Shards are independent of each other, so nothing but a description of a shard goes to a worker and nothing but its
result comes back. The scheduler holds a bounded number of them, whatever the size of the dataset. A worker that is lost
takes nothing with it: the scheduler gives its shards to another one, which finds out by the notes on finished shards
what is left to do.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import BuildError, IrtdDatasetsError, UnknownNameError
from irtd_datasets.writing.worker_environment import WorkerEnvironment, describe, run_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from irtd_datasets.writing.progress import Progress

__all__ = ["WINDOW", "DaskWorkers"]

WINDOW = 1000
"""Tasks that the scheduler holds at a time, or four for each of its threads if that is more."""

_ATTEMPTS = 3
_CONNECT_SECONDS = 30


class DaskWorkers:
    """The workers of a scheduler; see `irtd_datasets.writing.workers.Workers`.

    Args:
        scheduler: Its address (``tcp://host:8786``), the path of its scheduler file, or a `distributed.Client`, which
            stays open.
        site: What each worker must have.
        progress: Told when nobody is there to work.

    Raises:
        UnknownNameError: `distributed` is not installed, or the address is none.
        BuildError: No scheduler answers, or a worker lacks what it needs.
    """

    beside = False

    def __init__(self, scheduler: Any, environment: WorkerEnvironment, progress: Progress) -> None:  # noqa: ANN401 - untyped library
        self._site = environment
        self._progress = progress
        self._waiting: deque[tuple[Any, tuple[Any, ...], int]] = deque()
        self._running: dict[Any, tuple[Any, tuple[Any, ...], int]] = {}
        self._count = 0
        self._ours = isinstance(scheduler, str)
        self._client = _connect(scheduler) if self._ours else scheduler
        self.address = str(getattr(self._client.scheduler, "address", scheduler))
        try:
            self._completed = self._new_queue()
            self._check_workers()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._waiting.clear()
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._running), force=True)
        self._running.clear()
        self._close()

    def submit(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - theirs
        """Have a function called by any worker.

        Args:
            call: What `results` names this call by.
            function: A function of a module that the workers have.
            arguments: Sent by pickle.
        """
        self._waiting.append((call, (function, *arguments), 1))
        self._fill()

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Yield each call with its result, as they get finished; more may be submitted meanwhile.

        Raises:
            BuildError: Workers died again and again on one task, or the scheduler is gone.
        """
        import distributed

        self._fill()
        while self._running:
            if not self._threads():
                self._progress.stage(f"waiting for a worker of {self.address}")
            try:
                future = next(self._completed)
            except (distributed.comm.CommClosedError, StopIteration) as error:
                raise self._gone() from error
            task = self._running.pop(future)
            try:
                result = self._result(future, task)
            finally:
                future.release()
            self._fill()
            if result is not None:
                yield task[0], result[0]

    def _result(self, future: Any, task: tuple[Any, tuple[Any, ...], int]) -> tuple[Any] | None:  # noqa: ANN401
        """What a task gave; None when it is going to be done again."""
        import asyncio
        from concurrent.futures import CancelledError

        import distributed

        try:
            return (future.result(),)
        except IrtdDatasetsError:
            raise
        except distributed.scheduler.KilledWorker as error:
            # The scheduler counts each worker that was lost while the task was assigned to it, running or not.
            call, what, attempt = task
            if attempt < _ATTEMPTS:
                self._waiting.appendleft((call, what, attempt + 1))
                return None
            raise BuildError(
                f"worker after worker was lost while it had the same shard, the last one {_address(error)}",
                where=self.address,
                remedy="Their log says why; most often it is memory: give each worker 1 GB for each of its threads. "
                "Start the same command again: finished shards are kept.",
            ) from error
        except (CancelledError, asyncio.CancelledError, distributed.comm.CommClosedError) as error:
            raise self._gone() from error
        except ImportError as error:
            raise BuildError(
                f"a worker cannot import what it needs: {error}",
                where=self.address,
                remedy="Install irtd-datasets and the extras that this build uses on every worker, in the versions "
                "that run here.",
            ) from error

    def _fill(self) -> None:
        room = max(WINDOW, 4 * self._threads()) - len(self._running)
        for _ in range(min(room, len(self._waiting))):
            task = self._waiting.popleft()
            what = task[1]
            self._count += 1
            key = f"irtd-{what[0].__name__}-{self._site.run}-{self._count}"
            future = self._client.submit(run_at, self._site, *what, key=key, pure=False)
            self._running[future] = task
            self._completed.add(future)

    def _new_queue(self) -> Any:  # noqa: ANN401
        import distributed

        return distributed.as_completed(loop=self._client.loop)

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _check_workers(self) -> None:
        """Ask the workers that are there already, so that a missing mount is told before an hour of planning."""
        problems = self._client.run(_check, self._site, on_error="return")
        for address, problem in problems.items():
            if isinstance(problem, IrtdDatasetsError):
                raise problem
            if isinstance(problem, ImportError):
                raise BuildError(
                    f"it cannot import what it needs: {problem}",
                    where=f"worker at {address}",
                    remedy="Install irtd-datasets there, in the version that runs here.",
                )

    def _gone(self) -> BuildError:
        return BuildError(
            "the scheduler is gone, or has cancelled the work",
            where=self.address,
            remedy="Start it again if need be, and then the same command: finished shards are kept.",
        )

    def _close(self) -> None:
        if self._ours:
            with contextlib.suppress(Exception):
                self._client.close(timeout=5)


def _check(environment: WorkerEnvironment, dask_worker: Any = None) -> None:  # noqa: ANN401 - given by the worker, by this name
    environment.check(describe(dask_worker))


def _address(error: Any) -> str:  # noqa: ANN401 - untyped library
    worker = getattr(error, "last_worker", None)
    return str(getattr(worker, "address", worker))


def _connect(scheduler: str) -> Any:  # noqa: ANN401
    try:
        import distributed
    except ImportError as error:
        raise UnknownNameError(
            f"--dask needs a library that is not installed here: {error}",
            remedy="`pip install distributed`, here and on every worker.",
        ) from error
    options: dict[str, Any] = {"timeout": _CONNECT_SECONDS, "set_as_default": False, "name": "irtd-build"}
    is_file = scheduler.endswith(".json")
    started = time.monotonic()
    try:
        if is_file:
            return distributed.Client(scheduler_file=scheduler, **options)
        return distributed.Client(scheduler, **options)
    except (OSError, TimeoutError) as error:
        raise BuildError(
            f"no scheduler answers within {time.monotonic() - started:.0f} seconds: {_first_line(error)}",
            where=scheduler,
            remedy="Check the address and that `dask scheduler` runs there and can be reached from here.",
        ) from None
    except (ValueError, TypeError) as error:
        raise UnknownNameError(
            f"--dask {scheduler!r} is no address of a scheduler: {_first_line(error)}",
            remedy="Write it as tcp://HOST:8786, or give the path of a scheduler file (.json).",
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
