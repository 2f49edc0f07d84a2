"""A tar, whole or cut, plain or gzipped, read as one stream in bounded memory.

Nothing is joined or unpacked on disk. Inflating runs in a thread of its own (zlib releases the interpreter
lock), a few blocks ahead of the reader.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import ArchiveError, BuildError, ReleaseError, UnsafePathError
from irtd_datasets.releases.archive_index import ArchiveIndex, can_index, open_inflated
from irtd_datasets.releases.entries import MEMBER_LIMIT, STREAM_LIMIT, too_large
from irtd_datasets.releases.parts import JoinedParts, find_parts
from irtd_datasets.releases.paths import inside, safe_name
from irtd_datasets.releases.places import RemotePlace, as_place
from irtd_datasets.releases.sniff import HEAD_SIZE, no_archive, read_head, sniff
from irtd_datasets.releases.tar_headers import TarDamageError, TarHeader, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from typing_extensions import Self

    from irtd_datasets.releases.places import Place

    Parts = str | os.PathLike[str] | Place | Sequence[str | os.PathLike[str] | Place]

__all__ = [
    "JoinedParts",
    "TarMember",
    "extract_tar",
    "find_parts",
    "stream_tar",
]

# Large enough that the reader's work is done while one call inflates without the interpreter lock, small
# enough for the processor's cache.
_READ = 256 * 1024  # compressed bytes inflated at a time
_INFLATED = 512 * 1024  # most bytes of one inflated block
_AHEAD = 8  # blocks that may wait between the threads
_CHUNK = 1024 * 1024  # bytes copied or read at a time elsewhere


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file of a tar.

    Attributes:
        name: Its name, as :func:`~irtd_datasets.releases.paths.safe_name` returns it.
        size: Its bytes.
        data: Its content, whole.
    """

    name: str
    size: int
    data: bytes


def stream_tar(
    parts: Parts,
    *,
    wanted: Callable[[str], bool] | None = None,
    member_limit: int = MEMBER_LIMIT,
    index: Path | None = None,
) -> Generator[TarMember, None, None]:
    """Read the files of a tar one after the other, from one file or from pieces.

    A file is delivered whole or not at all, and only after the header behind it was found in its place. gzip
    keeps its checksum at its very end, so that damage which still inflates is reported there, after the
    members have been delivered: results are good once the iteration has ended.

    Args:
        parts: The archive, or its pieces in order, see :func:`find_parts`.
        wanted: Called with each safe name; where it returns False, the content is passed over and not kept.
        member_limit: Most bytes of one wanted file.
        index: Folder that keeps what a whole pass learns of an archive, so that the next one reads what is wanted only.

    Returns:
        A generator; closing it early ends its thread. Links and devices are passed over.

    Raises:
        ReleaseNotFoundError: A piece does not exist.
        ArchiveError: At once where the first piece is no beginning of a tar. While reading: a piece is
            missing, cut, damaged or out of order (the message says which one, at which byte, after how many
            members), a wanted file is too large, or a second archive follows the first.
        UnsafePathError: While reading: a member's name leads out of the archive.

    Example:
        >>> import tarfile, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with tarfile.open(folder / "whole.tar.gz", "w:gz") as archive:
        ...     for name in ("a/1.txt", "a/2.txt"):
        ...         info = tarfile.TarInfo(name)
        ...         info.size = 3
        ...         archive.addfile(info, io.BytesIO(b"one"))
        >>> whole = (folder / "whole.tar.gz").read_bytes()
        >>> pieces = [folder / "x.tar.gz.0", folder / "x.tar.gz.1"]
        >>> _ = pieces[0].write_bytes(whole[:40]), pieces[1].write_bytes(whole[40:])
        >>> [(member.name, member.data) for member in stream_tar(pieces)]
        [('a/1.txt', b'one'), ('a/2.txt', b'one')]
    """
    return _members(_Reader(parts, wanted, index), member_limit)


def extract_tar(
    parts: Parts,
    folder: str | os.PathLike[str],
    *,
    wanted: Callable[[str], bool],
    member_limit: int = STREAM_LIMIT,
    index: Path | None = None,
) -> tuple[Path, ...]:
    """Write the wanted files of a tar below a folder, in bounded memory, each by an atomic rename.

    For members that are too large to be held, such as annotation files of a gigabyte.

    Args:
        parts: As for :func:`stream_tar`.
        folder: Where the files go; made if absent. A file of the same name is replaced.
        wanted: Called with each safe name.
        member_limit: Most bytes of one wanted file.
        index: As for :func:`stream_tar`.

    Returns:
        The files written, in stored order.

    Raises:
        BuildError: A file cannot be written.
        ArchiveError: As for :func:`stream_tar`; files that were complete before stay.
        UnsafePathError: A member's name, or a link in the folder, leads out of the folder.

    Example:
        >>> import tarfile, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with tarfile.open(folder / "a.tar", "w") as archive:
        ...     info = tarfile.TarInfo("json/total.json")
        ...     info.size = 2
        ...     archive.addfile(info, io.BytesIO(b"[]"))
        >>> [path.read_text() for path in extract_tar(folder / "a.tar", folder, wanted=lambda name: True)]
        ['[]']
    """
    written: list[Path] = []
    held: tuple[Path, Path] | None = None  # complete, but not confirmed by what follows; see `_members`
    with _Reader(parts, wanted, index) as reader:
        try:
            for found in reader.files(member_limit):
                if held is not None:
                    _finish(held, reader, written)
                    held = None
                if found is not None:
                    target = _target(folder, found[0])
                    held = target.with_name(f".{target.name}.{os.getpid()}.unfinished"), target
                    _write(reader, found[1], held[0])
            if held is not None:
                _finish(held, reader, written)
                held = None
        finally:
            if held is not None:
                held[0].unlink(missing_ok=True)
    return tuple(written)


def _target(folder: str | os.PathLike[str], name: str) -> Path:
    with _writing(Path(folder) / name):
        Path(folder).mkdir(parents=True, exist_ok=True)
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write(reader: _Reader, header: TarHeader, path: Path) -> None:
    missing, free = header.size, shutil.disk_usage(path.parent).free
    if missing > free:
        raise BuildError(
            f"it has {missing:,} bytes, and {free:,} are free",
            where=str(path),
            remedy="Free some space, or choose a scratch folder on another disk.",
        )
    with _writing(path), path.open("wb") as file:
        while missing:
            data = reader.read(header, min(missing, _CHUNK), header.size - missing)
            file.write(data)
            missing -= len(data)


def _finish(held: tuple[Path, Path], reader: _Reader, written: list[Path]) -> None:
    with _writing(held[1]):
        held[0].replace(held[1])
    written.append(held[1])
    reader.members_read += 1


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except ReleaseError:
        raise
    except OSError as error:
        raise BuildError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Check the permissions and the free space, or choose another folder.",
        ) from error


def _members(reader: _Reader, limit: int) -> Generator[TarMember, None, None]:
    # A member is held back until the walk has come to a header or the end behind it: where pieces are in the
    # wrong order, that is what shows that the bytes before were not its own.
    held: TarMember | None = None
    with reader:
        for found in reader.files(limit):
            if held is not None:
                reader.members_read += 1
                yield held
                held = None
            if found is not None:
                name, header = found
                held = TarMember(name, header.size, reader.read(header, header.size, 0))
        if held is not None:
            reader.members_read += 1
            yield held


class _Reader:
    """Walks over the files of a cut tar and explains what goes wrong on the way."""

    def __init__(
        self,
        parts: Parts,
        wanted: Callable[[str], bool] | None,
        index: Path | None,
    ) -> None:
        one = isinstance(parts, (str, os.PathLike, RemotePlace))
        paths: list[str | os.PathLike[str] | Place] = [parts] if one else list(parts)  # type: ignore[list-item, arg-type]
        self.joined = JoinedParts(paths)
        self.members_read = 0
        self._wanted = wanted
        self._gzip = _is_gzip(paths)
        self._source: _PlainSource | _InflatedSource | _IndexedSource | None = None
        self._index = (
            None if index is None else ArchiveIndex(index, self._label, self.joined.size, gzip=self._gzip)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._source is not None:
            self._source.close()
        if self._index is not None:
            self._index.close()
        self.joined.close()

    def files(self, limit: int) -> Iterator[tuple[str, TarHeader] | None]:
        """Yield each wanted file, to be read with :meth:`read` before the next, and None for the others."""
        index = self._index
        known = index is not None and index.complete
        if not self._gzip:
            source: _PlainSource | _InflatedSource | _IndexedSource = _PlainSource(self.joined)
        elif index is not None and can_index():
            source = _IndexedSource(self.joined, index.points if known else None)
        else:
            source, known = _InflatedSource(self.joined), False
        self._source = source
        with self._explaining():
            if index is not None and known:
                for header in index.members():
                    found = self._wanted_file(header, limit)
                    if found is not None:
                        source.skip_to(header.offset)
                    yield found
                return
            if index is not None:
                index.begin()
            for header in walk(source):
                if index is not None:
                    index.add(header)
                yield self._wanted_file(header, limit)
            if index is not None:
                index.finish(source.file if isinstance(source, _IndexedSource) else None)

    def _wanted_file(self, header: TarHeader, limit: int) -> tuple[str, TarHeader] | None:
        if header.kind != "file":
            return None
        name = safe_name(header.name)
        if self._wanted is not None and not self._wanted(name):
            return None
        if header.size > limit:
            raise too_large(name, self._label, header.size, limit)
        return name, header

    def read(self, header: TarHeader, size: int, done: int) -> bytes:
        """Return the next ``size`` bytes of a file of which ``done`` were read."""
        assert self._source is not None  # only called between two files
        with self._explaining():
            data = self._source.read(size)
            if len(data) < size:
                at = header.offset + done + len(data)
                raise TarDamageError(f"it ends early, within member {header.name!r}", at)
        return data

    @property
    def _label(self) -> str:
        first = self.joined.paths[0].name
        count = len(self.joined.paths)
        return first if count == 1 else f"{first} ... {self.joined.paths[-1].name} ({count} pieces)"

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except TarDamageError as damage:
            problem, offset = damage.problem, damage.offset
            if self._gzip and not isinstance(damage, _GzipDamageError):
                problem = f"{problem} (byte {offset:,} of the unpacked tar)"
                offset = self._source.joined_position if self._source else 0
            raise self._explained(problem, offset, ended="it ends early" in problem) from None
        except UnsafePathError as error:
            if not error.where.startswith("name "):
                raise
            raise UnsafePathError(
                error.problem, where=f"{self._label}, {error.where}", remedy=error.remedy
            ) from None

    def _explained(self, problem: str, offset: int, *, ended: bool) -> ArchiveError:
        paths, count = self.joined.paths, len(self.joined.paths)
        part, at = self.joined.locate(min(offset, self.joined.size))
        where = paths[part].name if count == 1 else f"{paths[part].name} (piece {part + 1} of {count})"
        if ended:
            remedy = (
                f"Compare the size of {paths[-1].name} with the host's and download it again if it is cut; "
            )
            remedy += "check that no piece follows it: the last one may be missing."
        elif count == 1:
            remedy = "The file is damaged: download it again."
        else:
            near = paths[part].name if part == 0 else f"{paths[part - 1].name} and {paths[part].name}"
            remedy = f"Compare size and checksum of {near} with the host's; check the order of the pieces."
        odd = [i for i, size in enumerate(self.joined.sizes[:-1]) if size != self.joined.sizes[0]]
        if odd:
            # `split` makes all pieces alike but the last.
            shown = ", ".join(f"{paths[i].name} {self.joined.sizes[i]:,}" for i in odd[:3])
            remedy += f" Bytes differ from the first piece's {self.joined.sizes[0]:,}: {shown}; "
            remedy += "a piece is cut, or the pieces are out of order."
        problem = f"{problem}, at byte {at:,} of {self.joined.sizes[part]:,}"
        return ArchiveError(f"{problem}, after {self.members_read:,} members", where=where, remedy=remedy)


def _is_gzip(paths: Sequence[str | os.PathLike[str] | Place]) -> bool:
    with io.BufferedReader(JoinedParts(paths)) as file:
        kind = sniff(file.read(HEAD_SIZE))
    if kind in ("gzip", "tar"):
        return kind == "gzip"
    names = [as_place(path).name for path in paths]
    if len(paths) > 1 and kind in ("unknown", "zeros"):
        starts = [
            name for path, name in zip(paths, names, strict=True) if sniff(read_head(path)) in ("gzip", "tar")
        ]
        remedy = f"Pieces in the wrong order: {starts[0]} looks like the first." if len(starts) == 1 else ""
        raise ArchiveError(
            "the first piece is not the beginning of a tar or a gzipped tar",
            where=names[0],
            remedy=remedy or "Pass the pieces in order, and check that the first one is not missing.",
        )
    raise no_archive(kind, names[0], "a tar or a gzipped tar")


class _GzipDamageError(TarDamageError):
    """Something wrong with the compressed bytes; its offset is one of the joined pieces."""


class _PlainSource:
    """The bytes of an uncompressed tar; what is not wanted is not read."""

    def __init__(self, joined: JoinedParts) -> None:
        self._file = io.BufferedReader(joined, _CHUNK)
        self.read = self._file.read

    def skip_to(self, offset: int) -> None:
        self._file.seek(offset)

    @property
    def position(self) -> int:
        return self._file.tell()

    joined_position = position

    def close(self) -> None:
        self._file.close()


class _IndexedSource:
    """The bytes of a gzipped tar, which can be entered in places once they are known."""

    def __init__(self, joined: JoinedParts, points: Path | None) -> None:
        self._joined = joined
        self.position = 0
        with self._explaining():
            self.file = open_inflated(joined, points)

    def read(self, size: int) -> bytes:
        with self._explaining():
            data: bytes = self.file.read(size)
        self.position += len(data)
        return data

    def skip_to(self, offset: int) -> None:
        with self._explaining():
            self.file.seek(offset)
        self.position = offset

    @property
    def joined_position(self) -> int:
        return self._joined.tell()

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            if self._joined.failure is not None:  # the library tells of it as of damage
                raise self._joined.failure from None
            raise _GzipDamageError(
                f"the gzip stream is damaged or cut ({str(error)[:200]})", self._joined.tell()
            ) from error

    def close(self) -> None:
        self.file.close()


class _InflatedSource:
    """The bytes of a gzipped tar, inflated in a thread a few blocks ahead of the reader."""

    def __init__(self, joined: JoinedParts) -> None:
        self._blocks = _blocks(joined)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="irtd-inflate")
        self._ahead = deque(self._pool.submit(next, self._blocks, None) for _ in range(_AHEAD))
        self._block = b""
        self._at = 0
        self.position = 0
        self.joined_position = 0

    def read(self, size: int) -> bytes:
        data = self._block[self._at : self._at + size]
        self._at += len(data)
        if len(data) < size:
            pieces = [data]
            missing = size - len(data)
            while missing and self._next():
                pieces.append(self._block[:missing])
                self._at = len(pieces[-1])
                missing -= self._at
            data = b"".join(pieces)
        self.position += len(data)
        return data

    def skip_to(self, offset: int) -> None:
        while offset - self.position > len(self._block) - self._at:
            self.position += len(self._block) - self._at
            if not self._next():
                return
        self._at += offset - self.position
        self.position = offset

    def _next(self) -> bool:
        found = self._ahead[0].result()  # the end, or damage, stays where it is
        self._block, self._at = b"", 0
        if found is not None:
            self._ahead.popleft()
            self._ahead.append(self._pool.submit(next, self._blocks, None))
            self._block, self.joined_position = found
        return bool(self._block)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _blocks(joined: JoinedParts) -> Iterator[tuple[bytes, int]]:
    """Yield what inflates, and up to which byte of the pieces it was read."""
    inflater = _gunzip()
    while packed := joined.read(_READ) or b"":
        data = packed
        full = False  # whether more may come out without more going in
        while data or full:
            fresh = inflater.eof
            if fresh:  # another gzip member, zeros or nothing may follow (RFC 1952, 2.2)
                data = data.lstrip(b"\0")
                if not data:
                    break
                inflater = _gunzip()
            try:
                block = inflater.decompress(data, _INFLATED)
            except zlib.error as error:
                problem = f"the gzip stream is damaged ({str(error).rpartition(': ')[2]})"
                if fresh:
                    problem = "what follows the end of the gzip stream is no gzip"
                raise _GzipDamageError(problem, joined.tell() - len(data)) from error
            full = len(block) == _INFLATED
            data = inflater.unused_data or inflater.unconsumed_tail
            if block:
                yield block, joined.tell()
    if not inflater.eof:
        raise _GzipDamageError("the gzip stream is cut: it ends early", joined.size)


def _gunzip() -> zlib._Decompress:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: gzip headers, and the CRC checked
