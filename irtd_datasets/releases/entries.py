"""What all containers share: the protocol, the index of names, and positional reads from one file."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from irtd_datasets.errors import ArchiveError, ReleaseNotFoundError, system_remedy
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.places import RemotePlace, RemoteRandomFile, as_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.releases.places import Place

__all__ = [
    "MEMBER_LIMIT",
    "STREAM_LIMIT",
    "ArchiveContainer",
    "Container",
    "Entry",
    "MemberNames",
    "RandomFile",
    "common_folder",
    "not_found",
    "random_file",
    "too_large",
]

MEMBER_LIMIT = 256 * 2**20
"""Most bytes that one ``read`` returns unless the caller says otherwise: far above any released image."""

STREAM_LIMIT = 64 * 2**30
"""Most bytes that one ``open`` delivers unless the caller says otherwise."""


class Entry(NamedTuple):
    """One file in a container.

    Attributes:
        name: Its name in the container, as :func:`~irtd_datasets.releases.paths.safe_name` returns it.
        size: Its bytes, uncompressed.
        stamp: A number that changes when the content does: the modification time in nanoseconds of the file
            (folder) or of the archive (tar), or the CRC-32 (zip).
    """

    name: str
    size: int
    stamp: int


@runtime_checkable
class Container(Protocol):
    """A place that files are read from by name: a folder, a zip or a tar.

    All names are relative POSIX names, matched exactly after
    :func:`~irtd_datasets.releases.paths.safe_name`. Containers can be pickled; each process opens its own
    file.
    """

    @property
    def path(self) -> Place:
        """Where the container lies."""
        ...

    @property
    def label(self) -> str:
        """Short name for messages."""
        ...

    def find(self, name: str) -> Entry | None:
        """Return the file of this name, or None; never lists a folder."""
        ...

    def read(self, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
        """Return the whole content; a file of more than ``limit`` bytes is an error before it is read."""
        ...

    def open(self, name: str, *, limit: int = STREAM_LIMIT) -> BinaryIO:
        """Return a buffered file to read the content forwards from, in bounded memory."""
        ...

    def folder(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the files directly in a folder, without the folder's own name."""
        ...

    def folders(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the folders directly in a folder, without the folder."""
        ...

    def names(self) -> Iterator[str]:
        """Yield the names of all files, sorted by code points, alike for every kind of container."""
        ...

    def close(self) -> None:
        """Release the file handle; the container can still be used and opens a new one."""
        ...


def common_folder(container: Container) -> str:
    """Return the one top folder that holds everything in a container, or ``""``.

    Archives are often made of a folder rather than of its content (``json_sft.zip`` holds
    ``json_sft/*.json``). The ``__MACOSX`` folder of archives made on macOS does not count.
    """
    tops = [name for name in container.folders() if name != "__MACOSX"]
    return tops[0] if len(tops) == 1 and not container.folder() else ""


def not_found(name: str, label: str) -> ReleaseNotFoundError:
    """Return the error for a file that a container does not hold."""
    return ReleaseNotFoundError(f"holds no file {name!r}", where=label, remedy="Ask `find` before reading.")


def too_large(name: str, label: str, size: int, limit: int) -> ArchiveError:
    """Return the error for a file above a limit."""
    return ArchiveError(
        f"{name!r} has {size:,} bytes, the limit is {limit:,}",
        where=label,
        remedy="Pass a higher `limit` if the file is meant to be that large.",
    )


class MemberNames:
    """Names of an archive's members: the position of each, and their folders once somebody asks.

    Args:
        positions: Position of each member by its safe name.

    Example:
        >>> names = MemberNames({"a/2.jpg": 0, "a/1.jpg": 1, "readme": 2})
        >>> list(names.sorted()), names.folder("a"), names.folders("")
        (['a/1.jpg', 'a/2.jpg', 'readme'], ('1.jpg', '2.jpg'), ('a',))
    """

    __slots__ = ("_children", "_sorted", "positions")

    def __init__(self, positions: dict[str, int]) -> None:
        self.positions = positions
        self._sorted: list[str] | None = None
        self._children: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def sorted(self) -> list[str]:
        """Return all names in order; the caller must not change the list."""
        if self._sorted is None:
            self._sorted = sorted(self.positions)
        return self._sorted

    def folder(self, name: str) -> tuple[str, ...]:
        """Return the names of the files directly in a folder (``""``: at the top)."""
        return self._split(name)[0]

    def folders(self, name: str) -> tuple[str, ...]:
        """Return the names of the folders directly in a folder."""
        return self._split(name)[1]

    def _split(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        known = self._children.get(name)
        if known is None:
            known = self._children[name] = _children(self.sorted(), f"{name}/" if name else "")
        return known


def _children(names: list[str], prefix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    files: list[str] = []
    folders: list[str] = []
    cut = len(prefix)
    at = bisect_left(names, prefix)
    while at < len(names) and names[at].startswith(prefix):
        rest = names[at][cut:]
        head, slash, _ = rest.partition("/")
        if slash:
            folders.append(head)
            # "0" follows "/": jump over everything below this folder.
            at = bisect_left(names, f"{prefix}{head}0", at)
        else:
            files.append(rest)
            at += 1
    return tuple(files), tuple(sorted(folders))


class _HasNames(Protocol):
    @property
    def names(self) -> MemberNames: ...


_DirectoryT = TypeVar("_DirectoryT", bound=_HasNames)


class ArchiveContainer(ABC, Generic[_DirectoryT]):
    """What a zip and a tar share: a directory that is read on first use, and the names in it.

    Args:
        path: The archive.
        label: Short name for messages; by default the file's name.
    """

    def __init__(self, path: str | os.PathLike[str] | Place, *, label: str = "") -> None:
        self.path = as_place(path)
        self.label = label or self.path.name
        self._file = random_file(self.path)
        self._loaded: _DirectoryT | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def _directory(self) -> _DirectoryT:
        if self._loaded is None:
            self._loaded = self._read_directory()
        return self._loaded

    @abstractmethod
    def _read_directory(self) -> _DirectoryT:
        """Read it from the file."""

    def folder(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the files directly in a folder."""
        return self._directory.names.folder(safe_name(name) if name else "")

    def folders(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the folders directly in a folder."""
        return self._directory.names.folders(safe_name(name) if name else "")

    def names(self) -> Iterator[str]:
        """Yield the names of all members, sorted."""
        return iter(self._directory.names.sorted())

    def close(self) -> None:
        """Release the file handle."""
        self._file.close()


def random_file(place: str | os.PathLike[str] | Place) -> RandomFile | RemoteRandomFile:
    """Positional reads from a file of this machine or below a URL."""
    place = as_place(place)
    return RemoteRandomFile(place) if isinstance(place, RemotePlace) else RandomFile(place)


class RandomFile:
    """Positional reads from one file, opened on first use and again in each process that unpickles it.

    Reads do not move a shared position, so that threads and forked processes may use one object.

    Args:
        path: The file.
    """

    __slots__ = ("__weakref__", "_closer", "_fd", "_lock", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd: int | None = None
        self._closer: weakref.finalize[..., RandomFile] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[RandomFile], tuple[Path]]:
        return RandomFile, (self.path,)

    def _opened(self) -> int:
        if self._fd is None:
            with self._lock:
                if self._fd is None:
                    fd = os.open(
                        self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
                    )
                    self._closer = weakref.finalize(self, os.close, fd)
                    self._closer.atexit = False
                    self._fd = fd
        return self._fd

    def stat(self) -> os.stat_result:
        """Return size and times of the open file.

        Raises:
            ReleaseNotFoundError: There is no such file.
            ArchiveError: It cannot be opened.
        """
        try:
            return os.fstat(self._opened())
        except OSError as error:
            raise self._failed(error) from error

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on, fewer only where the file ends.

        Raises:
            ReleaseNotFoundError: There is no such file.
            ArchiveError: It cannot be read.
        """
        try:
            data = self._pread(size, offset)
            if len(data) == size or not data:
                return data
            pieces = [data]
            missing = size - len(data)
            while missing and (data := self._pread(missing, offset + size - missing)):
                pieces.append(data)
                missing -= len(data)
            return b"".join(pieces)
        except OSError as error:
            raise self._failed(error) from error

    def _pread(self, size: int, offset: int) -> bytes:
        fd = self._opened()
        if hasattr(os, "pread"):
            return os.pread(fd, size, offset)
        with self._lock:  # Windows
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            self._fd = None
            if self._closer is not None:
                self._closer()
                self._closer = None

    def _failed(self, error: OSError) -> ArchiveError | ReleaseNotFoundError:
        if isinstance(error, FileNotFoundError):
            return ReleaseNotFoundError("no such file", where=str(self.path), remedy="Check the path.")
        return ArchiveError(
            f"cannot be read: {error.strerror or error}",
            where=str(self.path),
            remedy=system_remedy(error, "Check the permissions and the disk, and that the path is a file."),
        )
