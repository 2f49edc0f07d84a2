"""A path of this machine or a name below a URL, so that what reads a release need not know which it is."""

from __future__ import annotations

import io
import os
import posixpath
import stat
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import ReleaseNotFoundError
from irtd_datasets.remote.files import Files, open_files
from irtd_datasets.remote.urls import is_url, local_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

__all__ = ["Place", "RemotePlace", "RemoteRandomFile", "as_place", "file_identity", "open_raw", "same_place"]

_LEAST = 64 << 10
_MOST = 8 << 20
"""Bytes that are read ahead of a reader that goes forwards; twice as many with each read, up to this."""
_KEPT = 2  # windows of a file that are kept: some readers step back a little


class RemotePlace:
    """A file or folder below a URL, with those methods of `pathlib.Path` that releases need.

    Args:
        files: The files of the URL.
        inner: Name below it; empty for the URL itself.
    """

    __slots__ = ("files", "inner")

    def __init__(self, files: Files, inner: str = "") -> None:
        self.files = files
        self.inner = inner

    def __str__(self) -> str:
        return self.files.where(self.inner)

    def __repr__(self) -> str:
        return f"RemotePlace({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePlace) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: RemotePlace) -> bool:
        return str(self) < str(other)

    def __reduce__(self) -> tuple[object, ...]:
        return RemotePlace, (self.files, self.inner)

    def __truediv__(self, name: str) -> RemotePlace:
        joined = posixpath.join(self.inner, name) if name else self.inner
        return RemotePlace(self.files, joined)

    def joinpath(self, *names: str) -> RemotePlace:
        """A place further below."""
        return RemotePlace(self.files, posixpath.join(self.inner, *names))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return str(self).rstrip("/").rpartition("/")[2].partition("@")[0]

    @property
    def suffix(self) -> str:
        """The end of its name from the last dot on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePlace:
        """The folder around it; the URL itself is its own."""
        return RemotePlace(self.files, posixpath.dirname(self.inner))

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        found = self.files.find(self.inner)
        return (found is None or found.size is None) and bool(self.files.listing(self.inner))

    def is_file(self) -> bool:
        """Whether it is a file."""
        found = self.files.find(self.inner)
        return found is not None and found.size is not None

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[RemotePlace]:
        """What lies directly in it.

        Raises:
            ReleaseNotFoundError: There is no such folder, or its server lists none.
        """
        listed = self.files.listing(self.inner)
        if listed is None:
            raise ReleaseNotFoundError(
                "there is no such folder, or its server does not list it",
                where=str(self),
                remedy="Check the URL.",
            )
        return iter([self / name for name in sorted(listed)])

    def scan(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sorted names of the files and of the folders directly in it; none where it is no folder."""
        listed = self.files.listing(self.inner) or {}
        files = tuple(sorted(name for name, entry in listed.items() if entry.size is not None))
        return files, tuple(sorted(name for name, entry in listed.items() if entry.size is None))

    def stat(self) -> Any:  # noqa: ANN401 - has of `os.stat_result` what is asked for
        """Size, kind, and a number in place of the time that changes when the file does.

        Raises:
            FileNotFoundError: There is nothing.
        """
        found = self.files.find(self.inner)
        if found is None:
            raise FileNotFoundError(str(self))
        kind = stat.S_IFDIR if found.size is None else stat.S_IFREG
        return SimpleNamespace(st_size=found.size or 0, st_mtime_ns=found.stamp, st_mode=kind)

    def head(self, size: int) -> bytes:
        """The first bytes of the file.

        Raises:
            FileNotFoundError: There is none.
        """
        return self.files.read(self.inner, 0, min(size, int(self.stat().st_size)))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The file, to read from."""
        assert mode == "rb"  # nothing is written to a release
        return io.BufferedReader(RemoteRaw(RemoteRandomFile(self)), _LEAST)


Place: TypeAlias = "Path | RemotePlace"


def as_place(place: str | os.PathLike[str] | Place, options: Mapping[str, Any] | None = None) -> Place:
    """The place that a path, or a URL with options for its file system, stands for.

    Example:
        >>> as_place("file:///data/irtd").name, as_place("s3://bucket/irtd").name
        ('irtd', 'irtd')
    """
    if isinstance(place, RemotePlace):
        return place
    if isinstance(place, str) and is_url(place):
        local = local_path(place)
        return RemotePlace(open_files(place, options)) if local is None else Path(local)
    return Path(place)


def open_raw(place: Place) -> io.RawIOBase:
    """A file with a position of its own, without a buffer."""
    return RemoteRaw(RemoteRandomFile(place)) if isinstance(place, RemotePlace) else io.FileIO(place)


def same_place(place: Place, folder: str = "") -> str:
    """The same text for two ways to one folder, such as a link inside a release."""
    return str(place / folder) if isinstance(place, RemotePlace) else os.path.realpath(place / folder)


def file_identity(place: Place) -> tuple[int, int]:
    """Size and time of change of a file or folder, which change when it does; zeros where there is none."""
    try:
        status = place.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)


class RemoteRandomFile:
    """Positional reads from one remote file; a reader that goes forwards is read ahead for, in two windows of memory.

    Args:
        place: The file.
    """

    __slots__ = ("_ahead", "_grown", "_lock", "_mark", "_next", "_pool", "_size", "_windows", "path")

    def __init__(self, place: RemotePlace) -> None:
        self.path = place
        self._lock = threading.Lock()
        self._size: int | None = None
        self._mark = ""
        self._windows: list[tuple[int, bytes]] = []
        self._next = -1
        self._grown = 0
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteRandomFile, (self.path,)

    def stat(self) -> Any:  # noqa: ANN401 - see `RemotePlace.stat`
        """Size and kind.

        Raises:
            ReleaseNotFoundError: There is no such file.
        """
        try:
            return self.path.stat()
        except FileNotFoundError:
            raise ReleaseNotFoundError(
                "no such file", where=str(self.path), remedy="Check the URL."
            ) from None

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on, fewer only where the file ends.

        Raises:
            ReleaseError: It cannot be read, or was replaced.
        """
        with self._lock:
            if self._size is None:
                self.stat()
                found = self.path.files.find(self.path.inner)
                assert found is not None  # asked for a line above
                self._size, self._mark = found.size or 0, found.mark
            stop = min(offset + size, self._size)
            pieces = []
            while offset < stop:
                start, window = self._window(offset, stop)
                piece = window[offset - start : stop - start]
                pieces.append(piece)
                offset += len(piece)
            self._next = stop
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _window(self, offset: int, stop: int) -> tuple[int, bytes]:
        """Bytes that have those at ``offset``."""
        for start, window in self._windows:
            if start <= offset < start + len(window):
                return start, window
        assert self._size is not None
        if self._ahead is not None:
            start, future = self._ahead
            self._ahead = None
            data = future.result()
            if start <= offset < start + len(data):
                return self._kept(start, data)
        forwards = offset == self._next or any(offset == start + len(data) for start, data in self._windows)
        self._grown = min(max(2 * self._grown, 2 * _LEAST), _MOST) if forwards else 0
        end = min(max(stop, offset + self._grown), self._size)
        data = self._fetch(offset, min(end, offset + max(stop - offset, _MOST)))
        return self._kept(offset, data) if forwards else (offset, data)

    def _kept(self, start: int, data: bytes) -> tuple[int, bytes]:
        self._windows = [*self._windows[1 - _KEPT :], (start, data)]
        end = start + len(data)
        if self._grown == _MOST and self._size is not None and end < self._size:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, "irtd-ahead")
            stop = min(end + _MOST, self._size)
            self._ahead = (end, self._pool.submit(self._fetch, end, stop))
        return start, data

    def _fetch(self, start: int, stop: int) -> bytes:
        return self.path.files.read(self.path.inner, start, stop, self._mark)

    def close(self) -> None:
        """Let go of what was read ahead."""
        self._windows, self._grown, self._next, self._ahead = [], 0, -1, None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class RemoteRaw(io.RawIOBase):
    """A remote file as one that is read with a position of its own."""

    def __init__(self, file: RemoteRandomFile) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._size = int(file.stat().st_size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
