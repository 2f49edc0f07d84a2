"""Random access to the members of an uncompressed tar."""

from __future__ import annotations

import io
import stat
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from irtd_datasets.errors import ArchiveError, UnsafePathError
from irtd_datasets.releases.entries import (
    MEMBER_LIMIT,
    STREAM_LIMIT,
    ArchiveContainer,
    Entry,
    MemberNames,
    not_found,
    too_large,
)
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.sniff import HEAD_SIZE, no_archive, sniff
from irtd_datasets.releases.tar_headers import TarDamageError, walk

if TYPE_CHECKING:
    import os

    from irtd_datasets.releases.entries import RandomFile
    from irtd_datasets.releases.places import Place, RemoteRandomFile

__all__ = ["TarContainer", "compressed_tar"]

_WINDOW = 2048  # bytes read at a header: it, and the long name or pax header that may precede it
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Directory:
    names: MemberNames
    offsets: array[int]
    sizes: array[int]
    special: dict[str, str]  # kind of the members that are neither files nor folders
    stamp: int


class TarContainer(ArchiveContainer[_Directory]):
    """An uncompressed tar, read in place.

    One walk over the headers on first use finds all members; the walk reads about 2 kB a member, whatever
    their size. Of several members of one name the last one counts, as it does for ``tar``. A hard link is the
    file it names, if that is in the archive; symbolic links and devices raise ArchiveError when they are
    asked for.

    Args:
        path: The tar.
        label: Short name for messages; by default the file's name.

    Raises:
        ReleaseNotFoundError: From any method: there is no such file, or no such member to read.
        ArchiveError: From any method: the tar is cut, damaged, compressed, sparse, or no tar at all.
        UnsafePathError: From any method: a member's name or the name asked for is unsafe.

    Example:
        >>> import io, tarfile, tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> with tarfile.open(folder / "a.tar", "w") as archive:
        ...     info = tarfile.TarInfo("a/1.txt")
        ...     info.size = 3
        ...     archive.addfile(info, io.BytesIO(b"one"))
        >>> TarContainer(folder / "a.tar").read("a/1.txt")
        b'one'
    """

    def __getstate__(self) -> tuple[object, ...]:
        # The index travels: finding it again means a walk over the whole archive.
        return self.path, self.label, self._file, self._loaded

    def __setstate__(
        self, state: tuple[Place, str, RandomFile | RemoteRandomFile, _Directory | None]
    ) -> None:
        self.path, self.label, self._file, self._loaded = state

    def _read_directory(self) -> _Directory:
        return _read_directory(self._file, self.label)

    def find(self, name: str) -> Entry | None:
        """Return the member of this name, or None; a link that leads to no file raises ArchiveError."""
        name = safe_name(name)
        directory = self._directory
        at = directory.names.positions.get(name)
        if at is not None:
            return Entry(name, directory.sizes[at], directory.stamp)
        if name in directory.special:
            raise ArchiveError(
                f"{name!r} is a {directory.special[name]}, not a file",
                where=self.label,
                remedy="Pack the tar again with the files themselves (`tar -h`).",
            )
        return None

    def read(self, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
        """Return the whole content of a member."""
        start, size = self._place(name, limit)
        data = self._file.read_at(start, size)
        if len(data) < size:
            raise self._shrunk(name)
        return data

    def open(self, name: str, *, limit: int = STREAM_LIMIT) -> BinaryIO:
        """Return a file to read a member forwards from."""
        start, size = self._place(name, limit)
        return io.BufferedReader(_MemberReader(self._file, start, size, self._shrunk(name)), _CHUNK)

    def _place(self, name: str, limit: int) -> tuple[int, int]:
        entry = self.find(name)
        if entry is None:
            raise not_found(name, self.label)
        if entry.size > limit:
            raise too_large(entry.name, self.label, entry.size, limit)
        return self._directory.offsets[self._directory.names.positions[entry.name]], entry.size

    def _shrunk(self, name: str) -> ArchiveError:
        return ArchiveError(
            f"the file became shorter while it was read; {name!r} is cut",
            where=self.label,
            remedy="Start again.",
        )


class _MemberReader(io.RawIOBase):
    def __init__(
        self, file: RandomFile | RemoteRandomFile, start: int, size: int, shrunk: ArchiveError
    ) -> None:
        super().__init__()
        self._file = file
        self._shrunk = shrunk
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read_at(self._at, min(len(buffer), self._end - self._at))
        if not data and self._at < self._end:
            raise self._shrunk
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Window:
    """Forward reads of headers through a small window."""

    def __init__(self, file: RandomFile | RemoteRandomFile) -> None:
        self._file = file
        self._start = 0
        self._data = b""
        self._at = 0

    def skip_to(self, offset: int) -> None:
        self._at = offset

    def read(self, size: int) -> bytes:
        begin = self._at - self._start
        if begin < 0 or begin + size > len(self._data):
            self._start, begin = self._at, 0
            self._data = self._file.read_at(self._at, max(size, _WINDOW))
        self._at += size
        return self._data[begin : begin + size]


def _read_directory(file: RandomFile | RemoteRandomFile, label: str) -> _Directory:
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ArchiveError("a folder, not a tar", where=label, remedy="Pass it as a folder.")
    kind = sniff(file.read_at(0, HEAD_SIZE))
    if kind == "gzip":
        raise compressed_tar(label)
    if kind not in ("tar", "zeros"):  # zeros: the end mark at once, a tar of nothing
        raise no_archive(kind, label, "a tar")
    try:
        return _index(file, status)
    except TarDamageError as damage:
        raise ArchiveError(
            f"{damage.problem} (byte {min(damage.offset, status.st_size):,} of {status.st_size:,})",
            where=label,
            remedy="Download it again and compare the size with the host's.",
        ) from None
    except UnsafePathError as error:
        raise UnsafePathError(error.problem, where=f"{label}, {error.where}", remedy=error.remedy) from None


def _index(file: RandomFile | RemoteRandomFile, status: os.stat_result) -> _Directory:
    positions: dict[str, int] = {}
    offsets, sizes = array("Q"), array("Q")
    special: dict[str, str] = {}
    for header in walk(_Window(file)):
        if header.kind == "folder":
            continue
        name = safe_name(header.name)
        if header.kind == "file":
            if header.offset + header.size > status.st_size:
                raise TarDamageError(f"it ends early, within member {header.name!r}", status.st_size)
            position: int | None = len(sizes)
            offsets.append(header.offset)
            sizes.append(header.size)
        else:
            hard = header.kind == "hard link"
            position = positions.get(safe_name(header.link)) if hard else None
        # What comes later replaces what came before.
        if position is None:
            positions.pop(name, None)
            special[name] = header.kind
        else:
            positions[name] = position
            special.pop(name, None)
    return _Directory(MemberNames(positions), offsets, sizes, special, status.st_mtime_ns)


def compressed_tar(label: str) -> ArchiveError:
    """Return the error for a gzip file where random access is needed."""
    return ArchiveError(
        "compressed with gzip, which has no random access",
        where=label,
        remedy="gunzip it once: random access needs a plain tar, a zip or a folder.",
    )
