"""Files of lines that are only ever appended to, each line on disk before anything is done with it.

A journal of paid answers and a file of verdicts are such files. A process that is killed while it writes leaves at most
one line without its end, the last: it is passed over on reading, and mended by the next writer.
"""

from __future__ import annotations

import os
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from irtd_datasets.documents import LIMIT
from irtd_datasets.errors import AnnotationError, BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["LineFile", "read_lines"]


def read_lines(path: Path, check: Callable[[bytes, str], object]) -> Iterator[bytes]:
    """The whole lines of a file, in order; no file is no lines.

    Args:
        path: The file.
        check: Told each line and where it stands; raises `AnnotationError` where it is damaged. What it raises about a
            last line without its end is passed over: a kill has left it.

    Raises:
        AnnotationError: As ``check``, or the file cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise AnnotationError(f"it cannot be read: {error.strerror or error}", where=str(path)) from error
    with file:
        for number, line in enumerate(iter(partial(file.readline, LIMIT + 1), b""), 1):
            if not line.strip():
                continue
            try:
                check(line, f"{path} line {number}")
            except AnnotationError:
                if not line.endswith(b"\n") and len(line) <= LIMIT:
                    return
                raise
            yield line


class LineFile:
    """A file that is open for appending; a context manager.

    Args:
        path: The file; made, with its folder, when there is none.
        check: As `read_lines`; tells a cut line that is whole from one that is not.
        shared: Whether others may append at the same time, each line under a lock of its own. Otherwise the file is
            locked until it is closed.
        read_only: Nothing is locked or made, and nothing can be appended.

    Raises:
        BuildError: Another process has it open, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        check: Callable[[bytes, str], object],
        *,
        shared: bool = False,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._check = check
        self._shared = shared
        self._guard = Lock()
        self._lock = FileLock(f"{path}.lock", timeout=60 if shared else 0)
        self._file: BinaryIO | None = None
        if read_only:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise BuildError(
                f"another run is writing to the {'file' if shared else 'journal'}",
                where=str(path),
                remedy="Wait for it, or name another.",
            ) from None
        except OSError as error:
            raise BuildError(f"cannot write: {error.strerror or error}", where=str(path)) from error
        try:
            self._file = path.open("ab")
            self._end_cut_line(self._file)
        except OSError as error:
            self.close()
            raise BuildError(f"cannot write: {error.strerror or error}", where=str(path)) from error
        except BaseException:
            self.close()
            raise
        if shared:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, line: str, what: str) -> None:
        """Write a line; it is on disk when this returns.

        Args:
            line: Without its end.
            what: What it is, for messages.

        Raises:
            BuildError: The disk is full or gone. The line is part of the message, so that it is not lost.
        """
        if self._file is None:
            raise BuildError("it is open for looking up only", where=str(self.path))
        with self._guard:
            try:
                if self._shared:
                    with self._lock:
                        self._end_cut_line(self._file)  # what a process left that was killed meanwhile
                        self._write(line)
                else:
                    self._write(line)
            except (OSError, Timeout) as error:
                raise BuildError(
                    f"cannot write {what}: {getattr(error, 'strerror', None) or error}. It was: {line}",
                    where=str(self.path),
                    remedy="Make room, append that line to the file, and run the same command again.",
                ) from error

    def _write(self, line: str) -> None:
        assert self._file is not None
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()

    def _end_cut_line(self, file: BinaryIO) -> None:
        """A cut line is either a whole one without its end, which is kept, or a piece of one, which goes."""
        size = self.path.stat().st_size
        with self.path.open("rb") as whole:
            whole.seek(max(0, size - 1))
            if whole.read(1) in (b"", b"\n"):
                return
            whole.seek(max(0, size - LIMIT))
            content = whole.read()
        last = content[content.rfind(b"\n") + 1 :]
        try:
            self._check(last, str(self.path))
        except AnnotationError:
            os.truncate(self.path, size - len(last))
        else:
            file.write(b"\n")
            file.flush()
