"""What a worker on another machine has to have, and running a task there only when it has it."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import BuildError
from irtd_datasets.writing.plan import code_identity
from irtd_datasets.writing.shards import forget_releases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WorkerEnvironment", "describe", "run_at"]

_checked = threading.local()


@dataclass(frozen=True, slots=True)
class WorkerEnvironment:
    """What the machine that plans has, so that a worker can compare.

    Attributes:
        run: Identity of this run of the build; what a worker keeps of an earlier one is let go.
        code: Versions that decide the bytes of a shard.
        paths: What each path is, and the path, for all that workers read or write by path.
    """

    run: str
    code: tuple[str, ...]
    paths: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls, run: str, paths: Sequence[tuple[str, str]]) -> WorkerEnvironment:
        """That of this process."""
        return cls(run, tuple(code_identity()), tuple(paths))

    def check(self, worker: str = "") -> None:
        """Refuse to work here when something is missing.

        Args:
            worker: Name of this worker for messages; found out when empty.

        Raises:
            BuildError: A path cannot be seen or another version is installed; the message names the worker.
        """
        for what, path in self.paths:
            if not Path(path).exists():
                raise BuildError(
                    f"it cannot see {what}: there is nothing at {path}",
                    where=worker or worker_name(),
                    remedy="Workers read the release by the same path as this machine. Mount it there, or give "
                    "--release and --images paths that every worker has.",
                )
            if not os.access(path, os.R_OK):
                raise BuildError(
                    f"it may not read {what}: {path}",
                    where=worker or worker_name(),
                    remedy="Check the permissions there, and the account that the worker runs under.",
                )
        here = tuple(code_identity())
        if here != self.code:
            names = ("irtd_datasets", "schema", "pyarrow", "Pillow")
            pairs = list(zip(names, here, self.code, strict=False))
            other = ", ".join(
                f"{name} {found}, not {wanted}" for name, found, wanted in pairs if found != wanted
            )
            raise BuildError(
                f"it has {other or 'other limits of row groups'}: its shards would have other bytes",
                where=worker or worker_name(),
                remedy="Install the same versions on every worker and here.",
            )


def worker_name() -> str:
    """What a user knows this worker as: its name, its address and its machine."""
    try:
        from distributed import get_worker

        return describe(get_worker())
    except (ImportError, ValueError):
        return f"process {os.getpid()} on {socket.gethostname()}"


def describe(worker: Any) -> str:  # noqa: ANN401 - of an untyped library
    """The same for a worker object of `distributed`."""
    named = "" if worker.name in {None, worker.address} else f" {worker.name}"
    return f"worker{named} at {worker.address} on {socket.gethostname()}"


def run_at(environment: WorkerEnvironment, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - of the function
    """Call a function on a worker, after it was seen once that the worker has what it needs."""
    if getattr(_checked, "run", None) != environment.run:
        forget_releases()
        environment.check()
        _checked.run = environment.run
    return function(*arguments)
