"""Random access to the members of a zip.

The standard library's ``zipfile`` is not used: it inflates a member to whatever size the bytes make of it,
accepts two members of one name, and keeps an object for each member of a directory.
Format: PKWARE APPNOTE 6.3.10 (sections in comments).
"""

from __future__ import annotations

import functools
import io
import stat
import struct
import zlib
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
from irtd_datasets.releases.tar_headers import decode_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irtd_datasets.releases.entries import RandomFile
    from irtd_datasets.releases.places import Place, RemoteRandomFile

__all__ = ["RATIO_LIMIT", "TOTAL_LIMIT", "ZipContainer"]

RATIO_LIMIT = 200
"""Most bytes that one stored byte may inflate to in members of 32 MiB or more; JSON stays below 50."""

TOTAL_LIMIT = 2**40
"""Most bytes that all members of one zip may declare together."""

_RATIO_FROM = 32 * 2**20  # a smaller member does no harm, and a black image may well shrink a thousandfold
_DIRECTORY_LIMIT = 2**30  # bytes of the central directory; a million members take about 150 MB
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR64 = struct.Struct("<4sLQL")  # 4.3.15
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")  # 4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_COMMENT_LIMIT = 0xFFFF
_LOCAL_EXTRA = 256  # bytes of extra fields that the first read of a member reckons with
_CHUNK = 256 * 1024
_STORED, _DEFLATED = 0, 8
_METHODS = {
    9: "deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "zstandard",
    95: "xz",
    98: "PPMd",
    99: "AES",
}  # 4.4.5
_ENCRYPTED, _UTF8 = 0x0001, 0x0800  # 4.4.4


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int  # of the local header
    packed: int
    size: int
    crc: int
    method: int
    flags: int
    mode: int


@dataclass(frozen=True, slots=True)
class _Directory:
    # Arrays, not objects: a million members take 35 MB and their names.
    names: MemberNames
    offsets: array[int]
    packed: array[int]
    sizes: array[int]
    crcs: array[int]
    methods: array[int]
    flags: array[int]
    modes: array[int]

    def append(self, member: _Member) -> None:
        self.offsets.append(member.offset)
        self.packed.append(member.packed)
        self.sizes.append(member.size)
        self.crcs.append(member.crc)
        self.methods.append(member.method)
        self.flags.append(member.flags)
        self.modes.append(member.mode)

    def member(self, at: int) -> _Member:
        return _Member(
            self.offsets[at],
            self.packed[at],
            self.sizes[at],
            self.crcs[at],
            self.methods[at],
            self.flags[at],
            self.modes[at],
        )


class ZipContainer(ArchiveContainer[_Directory]):
    """A zip, read in place.

    Stored and deflated members are read, also of archives beyond 4 GB. The directory is read on first use; a
    zip whose directory cannot be trusted is refused as a whole: cut off, two different members of one name,
    names that leave the folder, more bytes declared than ``TOTAL_LIMIT`` or than the file can hold. What is
    wrong with one member (encrypted, a symbolic link, an unknown compression, a wrong CRC, a bomb) is an
    error when that member is asked for.

    Args:
        path: The zip.
        label: Short name for messages; by default the file's name.

    Raises:
        ReleaseNotFoundError: From any method: there is no such file, or no such member to read.
        ArchiveError: From any method: the zip or the member is damaged, refused, or no zip at all.
        UnsafePathError: From any method: a member's name or the name asked for is unsafe.

    Example:
        >>> import tempfile, zipfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        ...     archive.writestr("a/1.txt", "one")
        >>> container = ZipContainer(folder / "a.zip")
        >>> container.find("a/1.txt").size, container.read("a/1.txt"), container.folders()
        (3, b'one', ('a',))
    """

    def __reduce__(self) -> tuple[object, ...]:
        # The directory may be large and is read again in about the time that unpickling it would take.
        return _rebuild, (self.path, self.label)

    def _read_directory(self) -> _Directory:
        return _read_directory(self._file, self.label)

    def find(self, name: str) -> Entry | None:
        """Return the member of this name, or None; a link raises ArchiveError."""
        name = safe_name(name)
        directory = self._directory
        at = directory.names.positions.get(name)
        if at is None:
            return None
        if directory.modes[at]:
            raise self._special(name, directory.modes[at])
        return Entry(name, directory.sizes[at], directory.crcs[at])

    def read(self, name: str, *, limit: int = MEMBER_LIMIT) -> bytes:
        """Return the whole content of a member, its CRC checked."""
        name = safe_name(name)
        member = self._member(name, limit)
        # A deflated member is hardly ever longer than its content; empty blocks could make it so without end.
        if member.packed > max(limit, 4096) + limit // 64:
            raise too_large(name, self.label, member.packed, limit)
        packed = self._packed(name, member)
        if member.method == _STORED:
            data = packed
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(packed, member.size + 1)
            except zlib.error as error:
                raise self._damaged(name, f"does not inflate ({error})") from error
            if len(data) > member.size:
                raise self._damaged(name, f"inflates to more than the {member.size:,} bytes that it declares")
        if len(data) != member.size:
            raise self._damaged(name, f"has {len(data):,} bytes instead of {member.size:,}")
        if zlib.crc32(data) != member.crc:
            raise self._damaged(name, "has a wrong CRC-32")
        return data

    def open(self, name: str, *, limit: int = STREAM_LIMIT) -> BinaryIO:
        """Return a file to read a member forwards from; a wrong CRC raises at its end."""
        name = safe_name(name)
        member = self._member(name, limit)
        start = self._data_offset(name, member)
        return io.BufferedReader(
            _MemberReader(self._file, member, start, functools.partial(self._damaged, name)), _CHUNK
        )

    def _member(self, name: str, limit: int) -> _Member:
        directory = self._directory
        at = directory.names.positions.get(name)
        if at is None:
            raise not_found(name, self.label)
        member = directory.member(at)
        if member.mode:
            raise self._special(name, member.mode)
        if member.flags & _ENCRYPTED:
            raise ArchiveError(
                f"{name!r} is encrypted",
                where=self.label,
                remedy="Unpack the zip once with its password, then pass the folder.",
            )
        if member.method not in (_STORED, _DEFLATED):
            method = _METHODS.get(member.method, f"method {member.method}")
            raise ArchiveError(
                f"{name!r} is compressed with {method}; stored and deflated members are read",
                where=self.label,
                remedy="Unpack the zip once, then pass the folder.",
            )
        if member.size > limit:
            raise too_large(name, self.label, member.size, limit)
        if member.size >= _RATIO_FROM and member.size > RATIO_LIMIT * member.packed:
            raise ArchiveError(
                f"{name!r} declares {member.size:,} bytes made of {member.packed:,}: a zip bomb "
                f"(at most {RATIO_LIMIT}-fold is read)",
                where=self.label,
                remedy="Do not unpack it; get the archive from its authors again.",
            )
        return member

    def _special(self, name: str, mode: int) -> ArchiveError:
        kind = "symbolic link" if stat.S_ISLNK(mode) else "device or pipe"
        return ArchiveError(
            f"{name!r} is a {kind}, not a file",
            where=self.label,
            remedy="Pack the zip again with the files themselves.",
        )

    def _damaged(self, name: str, problem: str) -> ArchiveError:
        return ArchiveError(
            f"member {name!r} {problem}", where=self.label, remedy="The zip is damaged: download it again."
        )

    def _local(self, name: str, member: _Member, head: bytes) -> int:
        """Return the length of the local header that ``head`` begins with, which must name the same member."""
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            raise self._damaged(name, f"has no header at byte {member.offset:,}")
        fields = _LOCAL.unpack_from(head)
        named, length = _LOCAL.size + int(fields[9]), _LOCAL.size + int(fields[9]) + int(fields[10])
        if head[_LOCAL.size : named] != name.encode():
            if len(head) < length:
                head = self._file.read_at(member.offset, length)
            try:
                own = _member_name(head[_LOCAL.size : named], fields[2], head[named:length], self.label)
            except UnsafePathError as error:
                own = error.where
            if own != safe_name(name):
                raise self._damaged(name, f"is called {own!r} in its own header")
        return length

    def _data_offset(self, name: str, member: _Member) -> int:
        head = self._file.read_at(member.offset, _LOCAL.size + len(name.encode()))
        return member.offset + self._local(name, member, head)

    def _packed(self, name: str, member: _Member) -> bytes:
        # One read for header and data, where the header's extra fields are not unusually long.
        reckoned = _LOCAL.size + len(name.encode()) + _LOCAL_EXTRA
        data = self._file.read_at(member.offset, reckoned + member.packed)
        start = self._local(name, member, data)
        packed = data[start : start + member.packed]
        if len(packed) < member.packed:
            packed = self._file.read_at(member.offset + start, member.packed)
        if len(packed) < member.packed:
            raise self._damaged(name, f"ends after {len(packed):,} of {member.packed:,} stored bytes")
        return packed


def _rebuild(path: Place, label: str) -> ZipContainer:
    return ZipContainer(path, label=label)


class _MemberReader(io.RawIOBase):
    """Reads one member forwards, inflating block by block."""

    def __init__(
        self,
        file: RandomFile | RemoteRandomFile,
        member: _Member,
        start: int,
        damaged: Callable[[str], ArchiveError],
    ) -> None:
        super().__init__()
        self._file = file
        self._damaged = damaged
        self._size = member.size
        self._crc = member.crc
        self._at = start
        self._end = start + member.packed
        self._inflater = None if member.method == _STORED else zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""
        self._done = 0
        self._sum = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        if not data and self._done < self._size:
            raise self._damaged(f"ends after {self._done:,} of {self._size:,} bytes")
        buffer[: len(data)] = data
        self._done += len(data)
        self._sum = zlib.crc32(data, self._sum)
        if self._done == self._size and self._sum != self._crc:
            raise self._damaged("has a wrong CRC-32")
        return len(data)

    def _next(self, size: int) -> bytes:
        size = min(size, self._size - self._done)
        if not size:
            return b""
        if self._inflater is None:
            return self._stored(size)
        while True:
            packed = self._tail or self._stored(_CHUNK)
            try:
                data = self._inflater.decompress(packed, size)
            except zlib.error as error:
                raise self._damaged(f"does not inflate ({error})") from error
            self._tail = self._inflater.unconsumed_tail
            if data or self._inflater.eof or not packed:
                return data

    def _stored(self, size: int) -> bytes:
        data = self._file.read_at(self._at, min(size, self._end - self._at))
        self._at += len(data)
        return data


def _read_directory(file: RandomFile | RemoteRandomFile, label: str) -> _Directory:
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ArchiveError("a folder, not a zip", where=label, remedy="Pass it as a folder.")
    total, size, offset, end = _find_end(file, status.st_size, label)
    # Bytes in front of the archive (a self-extracting program) shift all offsets alike.
    shift = end - size - offset
    if shift < 0 or size > _DIRECTORY_LIMIT:
        raise _cut(label, f"its directory ({size:,} bytes at {offset:,}) does not fit the file")
    if total > size // _CENTRAL.size:
        raise _cut(label, f"its directory of {size:,} bytes cannot hold {total:,} members")
    data = file.read_at(offset + shift, size)
    if len(data) < size:
        raise _cut(label, "its directory ends early")
    return _parse_directory(data, total, shift, status.st_size, label)


def _find_end(file: RandomFile | RemoteRandomFile, length: int, label: str) -> tuple[int, int, int, int]:
    """Return members, bytes and offset of the directory, and the byte that follows it."""
    reach = min(length, _END.size + _COMMENT_LIMIT)
    tail = file.read_at(length - reach, reach)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and (
        at + _END.size > len(tail) or _END.unpack_from(tail, at)[7] > len(tail) - at - _END.size
    ):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        kind = sniff(file.read_at(0, HEAD_SIZE))
        if kind == "zip":
            raise _cut(
                label, f"the zip is cut short at {length:,} bytes: the directory at its end is missing"
            )
        raise no_archive(kind, label, "a zip")
    _, disk, first_disk, here, total, size, offset, _ = _END.unpack_from(tail, at)
    end = length - reach + at
    if end >= _LOCATOR64.size:
        signature, _, end64, _ = _LOCATOR64.unpack(file.read_at(end - _LOCATOR64.size, _LOCATOR64.size))
        if signature == b"PK\x06\x07":
            record = b""
            # The record stands right before its locator; the stored offset is wrong where bytes were put in
            # front.
            for place in (end - _LOCATOR64.size - _END64.size, end64):
                record = file.read_at(place, _END64.size) if 0 <= place < length else b""
                if record[:4] == b"PK\x06\x06" and len(record) == _END64.size:
                    end = place
                    break
            else:
                raise _cut(label, "its zip64 directory record is missing")
            _, _, _, _, disk, first_disk, here, total, size, offset = _END64.unpack(record)
    if disk or first_disk or here != total:
        raise ArchiveError(
            "one piece of a split zip",
            where=label,
            remedy="Join the pieces once: `zip -s 0 FILE.zip --out WHOLE.zip`.",
        )
    return total, size, offset, end


def _parse_directory(data: bytes, total: int, shift: int, length: int, label: str) -> _Directory:
    positions: dict[str, int] = {}
    directory = _Directory(
        MemberNames(positions), *(array(code) for code in ("Q", "Q", "Q", "L", "H", "H", "H"))
    )
    declared = stored = 0
    for name, member in _members(data, total, shift, label):
        declared += member.size
        stored += member.packed
        if member.offset + member.packed > length:
            raise _cut(label, f"member {name!r} ends beyond the {length:,} bytes of the file")
        known = positions.setdefault(name, len(directory.sizes))
        if known == len(directory.sizes):
            directory.append(member)
        elif (directory.crcs[known], directory.sizes[known]) != (member.crc, member.size):
            # The same content twice does no harm.
            raise ArchiveError(
                f"two different members are named {name!r}",
                where=label,
                remedy="Unpack it, decide which one is meant, and pass the folder.",
            )
    for excess, problem in (
        (declared > TOTAL_LIMIT, f"its members declare {declared:,} bytes, the limit is {TOTAL_LIMIT:,}"),
        (stored > length, f"its members overlap ({stored:,} stored bytes in a file of {length:,})"),
    ):
        if excess:
            raise ArchiveError(
                f"a zip bomb: {problem}",
                where=label,
                remedy="Do not unpack it; get the archive from its authors again.",
            )
    return directory


def _members(data: bytes, total: int, shift: int, label: str) -> Iterator[tuple[str, _Member]]:
    """Yield the safe name and the place of each member that is no folder."""
    at = 0
    for _ in range(total):
        if at + _CENTRAL.size > len(data):
            raise _cut(label, f"its directory holds fewer than the {total:,} members that it declares")
        fields = _CENTRAL.unpack_from(data, at)
        if fields[0] != b"PK\x01\x02":
            raise _cut(label, f"its directory is damaged at byte {at:,}")
        flags, method, crc, packed, size, name_size, extra_size, comment_size = (
            *fields[4:6],
            *fields[8:14],
        )
        mode, offset = fields[16] >> 16, fields[17]
        at += _CENTRAL.size
        raw = data[at : at + name_size]
        extra = data[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if at > len(data):
            raise _cut(label, "its directory ends early")
        if 0xFFFFFFFF in (packed, size, offset):
            size, packed, offset = _zip64(extra, size, packed, offset, label)
        kind = stat.S_IFMT(mode)
        if raw.endswith((b"/", b"\\")) or kind == stat.S_IFDIR:
            if size or crc:
                raise _cut(
                    label, f"its directory calls {decode_name(raw)!r} a folder, which has {size:,} bytes"
                )
            continue
        special = 0 if kind in (0, stat.S_IFREG) else kind
        yield (
            _member_name(raw, flags, extra, label),
            _Member(offset + shift, packed, size, crc, method, flags, special),
        )
    if data[at : at + 4] not in (b"", b"PK\x05\x05"):  # 4.3.13: a digital signature may follow
        raise _cut(label, f"its directory holds more than the {total:,} members that it declares")


def _cut(label: str, problem: str) -> ArchiveError:
    return ArchiveError(
        problem, where=label, remedy="Download it again and compare the size with the host's."
    )


def _zip64(extra: bytes, size: int, packed: int, offset: int, label: str) -> tuple[int, int, int]:
    body = _extra_field(extra, 0x0001)  # 4.5.3: only the values that did not fit, in this order
    values = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
    try:
        size = next(values) if size == 0xFFFFFFFF else size
        packed = next(values) if packed == 0xFFFFFFFF else packed
        offset = next(values) if offset == 0xFFFFFFFF else offset
    except StopIteration:
        raise _cut(label, "a member lacks its zip64 sizes") from None
    if max(size, packed, offset) >= 1 << 63:
        raise _cut(label, "a member declares impossible sizes")
    return size, packed, offset


def _extra_field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _member_name(raw: bytes, flags: int, extra: bytes, label: str) -> str:
    if raw.isascii():
        name = raw.decode("ascii")
    else:
        unicode_path = (
            b"" if flags & _UTF8 else _extra_field(extra, 0x7075)
        )  # 4.6.9, valid for the stored name only
        if unicode_path[:1] == b"\x01" and unicode_path[1:5] == struct.pack("<L", zlib.crc32(raw)):
            raw = unicode_path[5:]
        name = decode_name(raw)
    try:
        return safe_name(name)
    except UnsafePathError as error:
        raise UnsafePathError(error.problem, where=f"{label}, {error.where}", remedy=error.remedy) from None
