"""Where bytes come from, by name: folders, zips and tars behind one protocol."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from irtd_datasets.errors import ArchiveError, ReleaseNotFoundError, UnsafePathError, system_remedy
from irtd_datasets.releases.entries import (
    MEMBER_LIMIT,
    STREAM_LIMIT,
    Container,
    Entry,
    common_folder,
    not_found,
    too_large,
)
from irtd_datasets.releases.paths import allowed_roots, safe_name, within
from irtd_datasets.releases.places import RemotePlace, RemoteRandomFile, as_place, open_raw
from irtd_datasets.releases.sniff import no_archive, read_head, sniff
from irtd_datasets.releases.tars import TarContainer, compressed_tar
from irtd_datasets.releases.zips import ZipContainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irtd_datasets.releases.places import Place

__all__ = [
    "MEMBER_LIMIT",
    "STREAM_LIMIT",
    "Container",
    "Entry",
    "FolderContainer",
    "RemoteFolder",
    "TarContainer",
    "ZipContainer",
    "common_folder",
    "open_container",
]

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})
# Opening a pipe must not wait for its other end.
_READ_ONLY = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)


def _read_into(fd: int, place: memoryview) -> int:
    if hasattr(os, "readv"):
        return os.readv(fd, [place])
    data = os.read(fd, len(place))
    place[: len(data)] = data
    return len(data)


class FolderContainer:
    """A folder on disk.

    Asking for a name costs one ``lstat``: the real path of each folder is found once, and a file's only where
    it is a symbolic link. Links that leave the folder are refused, see
    :func:`~irtd_datasets.releases.paths.inside`; the folder itself may be a link.

    Args:
        path: The folder.
        label: Short name for messages; by default the folder's name.

    Raises:
        ReleaseNotFoundError: There is no such folder; from ``read`` and ``open``: no such file.
        ArchiveError: The path is no folder; from ``read`` and ``open``: the file is larger than the limit;
            from any method: the folder or a file cannot be read.
        UnsafePathError: From any method: a name is unsafe or a link leads out.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "a").mkdir()
        >>> _ = (folder / "a" / "1.txt").write_bytes(b"one")
        >>> container = FolderContainer(folder)
        >>> container.find("a/1.txt").size, container.find("a/2.txt"), list(container.names())
        (3, None, ['a/1.txt'])
    """

    def __init__(self, path: str | os.PathLike[str], *, label: str = "") -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            if self.path.exists():
                raise ArchiveError(
                    "not a folder", where=str(self.path), remedy="Pass a folder, a zip or a tar."
                )
            raise ReleaseNotFoundError("no such folder", where=str(self.path), remedy="Check the path.")
        self._roots = allowed_roots(self.path)
        self.label = label or self.path.name or Path(self._roots[0]).name or str(self.path)
        self._real: dict[str, str] = {}
        self._listed: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"FolderContainer({str(self.path)!r})"

    def __getstate__(self) -> tuple[Place, str, tuple[str, ...]]:
        return self.path, self.label, self._roots

    def __setstate__(self, state: tuple[Path, str, tuple[str, ...]]) -> None:
        self.path, self.label, self._roots = state
        self._real = {}
        self._listed = {}

    def find(self, name: str) -> Entry | None:
        """Return the file of this name, or None; anything but a regular file is none."""
        name = safe_name(name)
        place = self._place(name)
        if place is None:
            return None
        status = place[1]
        return Entry(name, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
        """Return the whole content of a file."""
        fd, size = self._opened(name, limit)
        try:
            # A file that grows meanwhile is read to its first size; one that shrinks is noticed by its
            # reader.
            data = os.read(fd, size)
            if len(data) < size:
                pieces = [data]
                missing = size - len(data)
                while missing and (data := os.read(fd, missing)):
                    pieces.append(data)
                    missing -= len(data)
                data = b"".join(pieces)
        except OSError as error:
            raise self._failed(name, error) from error
        finally:
            os.close(fd)
        return data

    def read_into(
        self, name: str, room: Callable[[int], memoryview], *, limit: int = MEMBER_LIMIT
    ) -> memoryview:
        """Read the whole content of a file to where the caller wants to have it; returns the part that it takes.

        Args:
            name: Name of the file.
            room: Told the size, gives memory of just this size.
            limit: Largest size.
        """
        fd, size = self._opened(name, limit)
        try:
            place = room(size)
            count = _read_into(fd, place)
            while count < size and (more := _read_into(fd, place[count:])):
                count += more
        except OSError as error:
            raise self._failed(name, error) from error
        finally:
            os.close(fd)
        # A file that shrinks meanwhile is noticed by its reader.
        return place if count == size else place[:count]

    def open(self, name: str, *, limit: int = STREAM_LIMIT) -> BinaryIO:
        """Return a file to read from."""
        return os.fdopen(self._opened(name, limit)[0], "rb")

    def folder(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the files directly in a folder; listed once."""
        return self._listing(safe_name(name) if name else "")[0]

    def folders(self, name: str = "") -> Sequence[str]:
        """Return the sorted names of the folders directly in a folder; listed once."""
        return self._listing(safe_name(name) if name else "")[1]

    def scan(self, name: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the sorted names of the files and of the folders directly in a folder, listed anew each time."""
        name = safe_name(name) if name else ""
        real = self._folder(name)
        return ((), ()) if real is None else self._scan(name, real)

    def names(self) -> Iterator[str]:
        """Yield the names of all files, sorted; one folder is listed at a time and nothing is kept.

        Raises:
            UnsafePathError: A linked folder leads out of this one.
        """
        return self._walk("", ())

    def close(self) -> None:
        """Do nothing: no handle is kept."""

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[str]:
        real = self._folder(folder)
        if real is None or real in above:  # a link back to a folder that is being walked
            return
        files, folders = self._scan(folder, real)
        prefix = f"{folder}/" if folder else ""
        # A folder sorts by its name with the slash, so that the walk yields whole names in order.
        for entry in sorted([*files, *(f"{name}/" for name in folders)]):
            if entry.endswith("/"):
                yield from self._walk(prefix + entry[:-1], (*above, real))
            else:
                yield prefix + entry

    def _listing(self, folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        known = self._listed.get(folder)
        if known is None:
            real = self._folder(folder)
            known = ((), ()) if real is None else self._scan(folder, real)
            if real is not None:
                self._listed[folder] = known
        return known

    def _scan(self, folder: str, real: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        files, folders = [], []
        try:
            with os.scandir(real) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
        except NotADirectoryError:
            return (), ()
        except OSError as error:
            raise self._failed(folder, error) from error
        return tuple(sorted(files)), tuple(sorted(folders))

    def _folder(self, name: str) -> str | None:
        """Return the real path of a folder, or None where there is nothing of this name."""
        real = self._real.get(name)
        if real is None:
            # One cheap look first: names with a wrong prefix come in by the hundred thousand.
            path = f"{self._roots[0]}{os.sep}{name}" if name else self._roots[0]
            try:
                os.stat(path)  # noqa: PTH116 - on the hot path
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                if error.errno != errno.ELOOP:
                    raise self._failed(name, error) from error
            real = self._within(name)
            self._real[name] = real
        return real

    def _within(self, name: str) -> str:
        try:
            return within(self._roots, name)
        except UnsafePathError as error:
            raise UnsafePathError(
                error.problem, where=f"{self.label}, {name!r}", remedy=error.remedy
            ) from None

    def _place(self, name: str) -> tuple[str, os.stat_result] | None:
        """Return the real path and the status of what a safe name stands for, or None."""
        folder, _, last = name.rpartition("/")
        real = self._folder(folder)
        if real is None:
            return None
        path = f"{real}{os.sep}{last}"
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                path = self._within(name)
                status = os.lstat(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise self._failed(name, error) from error
        return path, status

    def _opened(self, name: str, limit: int) -> tuple[int, int]:
        name = safe_name(name)
        fd = self._open_plain(name) if _NO_LINK else -1
        if fd < 0:
            place = self._place(name)
            if place is None or not stat.S_ISREG(place[1].st_mode):
                raise not_found(name, self.label)
            try:
                fd = os.open(place[0], _READ_ONLY)
            except OSError as error:
                raise self._failed(name, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            os.close(fd)
            if not stat.S_ISREG(status.st_mode):
                raise not_found(name, self.label)
            raise too_large(name, self.label, status.st_size, limit)
        return fd, status.st_size

    def _open_plain(self, name: str) -> int:
        """Open what is no symbolic link, without a look at it before; -1 where that look has to tell what it is."""
        folder, _, last = name.rpartition("/")
        real = self._folder(folder)
        if real is None:
            return -1
        try:
            return os.open(f"{real}{os.sep}{last}", _READ_ONLY | _NO_LINK)
        except OSError:
            return -1

    def _failed(self, name: str, error: OSError) -> ArchiveError:
        return ArchiveError(
            f"{name!r} cannot be read: {error.strerror or error}",
            where=self.label,
            remedy=system_remedy(error, "Check the permissions and the disk."),
        )


class RemoteFolder(FolderContainer):
    """A folder below a URL; no folder is listed to find a file, and each is listed once."""

    path: RemotePlace  # type: ignore[assignment]

    def __init__(self, path: RemotePlace, *, label: str = "") -> None:
        self.path = path
        self.label = label or path.name
        self._roots = ()
        self._real = {}
        self._listed = {}

    def __repr__(self) -> str:
        return f"RemoteFolder({str(self.path)!r})"

    def find(self, name: str) -> Entry | None:
        """Return the file of this name, or None."""
        name = safe_name(name)
        found = self.path.files.find((self.path / name).inner)
        return None if found is None or found.size is None else Entry(name, found.size, found.stamp)

    def read(self, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
        """Return the whole content of a file."""
        file, size = self._file(name, limit)
        return file.read_at(0, size)

    def read_into(
        self, name: str, room: Callable[[int], memoryview], *, limit: int = MEMBER_LIMIT
    ) -> memoryview:
        """Read the whole content of a file to where the caller wants to have it."""
        data = self.read(name, limit=limit)
        place = room(len(data))
        place[:] = data
        return place

    def open(self, name: str, *, limit: int = STREAM_LIMIT) -> BinaryIO:
        """Return a file to read from."""
        self._file(name, limit)
        return io.BufferedReader(open_raw(self.path / safe_name(name)), 1 << 16)

    def scan(self, name: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the sorted names of the files and of the folders directly in a folder."""
        return (self.path / safe_name(name) if name else self.path).scan()

    def names(self) -> Iterator[str]:
        """Yield the names of all files, sorted; one folder is listed at a time."""
        return self._names("")

    def _names(self, folder: str) -> Iterator[str]:
        files, folders = self.scan(folder)
        prefix = f"{folder}/" if folder else ""
        for entry in sorted([*files, *(f"{name}/" for name in folders)]):
            if entry.endswith("/"):
                yield from self._names(prefix + entry[:-1])
            else:
                yield prefix + entry

    def _listing(self, folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.scan(folder)

    def _file(self, name: str, limit: int) -> tuple[RemoteRandomFile, int]:
        entry = self.find(name)
        if entry is None:
            raise not_found(name, self.label)
        if entry.size > limit:
            raise too_large(name, self.label, entry.size, limit)
        return RemoteRandomFile(self.path / entry.name), entry.size


def open_container(path: str | os.PathLike[str] | Place, *, label: str = "") -> Container:
    """Return the container for a path, by its content and not by its extension.

    Args:
        path: A folder, a zip or an uncompressed tar.
        label: Short name for messages; by default the last part of the path.

    Raises:
        ReleaseNotFoundError: There is nothing at this path.
        ArchiveError: It is neither of these; the message says what it is instead and what to do about it.

    Example:
        >>> open_container(".")
        FolderContainer('.')
    """
    path = as_place(path)
    if path.is_dir():
        if isinstance(path, RemotePlace):
            return RemoteFolder(path, label=label)
        return FolderContainer(path, label=label)
    kind = sniff(read_head(path))
    if kind == "zip":
        return ZipContainer(path, label=label)
    if kind == "tar":
        return TarContainer(path, label=label)
    if kind == "gzip":
        raise compressed_tar(label or path.name)
    raise no_archive(kind, label or path.name, "a folder, a zip or a tar")
