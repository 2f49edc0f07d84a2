"""Tar headers: what the members of a tar are and where their bytes lie.

POSIX ustar and pax (POSIX.1-2008, *pax*, "ustar Interchange Format" and "pax Header Block"), the long names
and base-256 numbers of GNU tar, and headers older than POSIX. Both the tar with random access and the tar
that is read as one stream walk with :func:`walk`, so that both see the same members.
"""

from __future__ import annotations

import contextlib
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BLOCK",
    "ByteSource",
    "TarDamageError",
    "TarHeader",
    "decode_name",
    "is_tar_header",
    "padded",
    "walk",
]

BLOCK = tarfile.BLOCKSIZE
"""Bytes of a header, and the unit that members are padded to."""
_CHUNK = 1 << 20

_KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.DIRTYPE: "folder",
    tarfile.FIFOTYPE: "pipe",
}
"""What is no file and no extension; its size field counts no stored bytes."""
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *_PAX)
_EXTENSION_LIMIT = 1 << 20  # bytes of a long name or a pax header; real ones have some hundred
_MOST_ZEROS = (
    1 << 16
)  # bytes behind the last member; writers fill up a record, which has 10 kB with most of them


class TarDamageError(Exception):
    """Bytes that are no tar, or a tar that cannot be read; the caller adds where they came from.

    Args:
        problem: What is wrong.
        offset: Byte of the (uncompressed) tar at which it was seen.
    """

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset


class ByteSource(Protocol):
    """Bytes that are read forwards."""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes, fewer only where the bytes end."""
        ...

    def skip_to(self, offset: int, /) -> None:
        """Move on to a byte that has not been passed."""
        ...


@dataclass(frozen=True, slots=True)
class TarHeader:
    """One member of a tar.

    Attributes:
        name: As stored, not yet checked.
        kind: ``file``, ``folder``, ``hard link``, ``symbolic link``, ``character device``, ``block device``,
            ``pipe``, or ``type 'V'`` for the extensions of some programs.
        size: Bytes of its content; 0 for folders, links and devices.
        offset: First byte of its content in the tar.
        link: The name that a link points to.
    """

    name: str
    kind: str
    size: int
    offset: int
    link: str


def padded(size: int) -> int:
    """Return ``size`` rounded up to whole blocks.

    Example:
        >>> padded(1), padded(512), padded(0)
        (512, 512, 0)
    """
    return -(-size // BLOCK) * BLOCK


def is_tar_header(block: bytes) -> bool:
    """Tell whether a block carries the checksum of a tar header.

    Example:
        >>> is_tar_header(bytes(512))
        False
    """
    return _parsed(block) is not None


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None


def decode_name(raw: bytes) -> str:
    r"""Decode a name of an archive that does not declare its character set.

    UTF-8 where it is valid, else GB 18030, the usual other one in archives of Chinese groups, else code page
    437, in which every byte stands for a character.

    Example:
        >>> decode_name("红外/1.jpg".encode("gbk")), decode_name(b"caf\xff.jpg")
        ('红外/1.jpg', 'caf\xa0.jpg')
    """
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode("cp437")


def walk(source: ByteSource) -> Iterator[TarHeader]:
    """Yield the members of a tar in stored order.

    After each one the caller may read up to ``size`` bytes from the source; the walk then skips what is left.
    It ends at the end-of-archive mark, which must be there: without it nobody can tell a whole tar from one
    that was cut between two members.

    Args:
        source: Bytes of an uncompressed tar, at its beginning.

    Raises:
        TarDamageError: A header is damaged, the bytes end early, or a member is sparse.
    """
    position = 0
    while True:
        found = _next_header(source, position)
        if found is None:
            return
        yield found
        position = found.offset + padded(found.size)


def _next_header(source: ByteSource, position: int) -> TarHeader | None:
    """Return the next member, with what extension headers say of it; None at the end of the archive."""
    records: dict[bytes, bytes] = {}
    while True:
        source.skip_to(position)
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise TarDamageError("it ends early: the end-of-archive mark is missing", position + len(block))
        info = _parsed(block)
        if info is None:
            if records or block.strip(b"\0"):
                raise TarDamageError("no tar header where one must stand", position)
            _check_end(source, position)
            return None
        position += BLOCK
        if info.type not in _EXTENSIONS:
            return _header(block, info, records, position)
        payload = _extension(source, info.size, position)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            records[b"path"] = payload.partition(b"\0")[0]
        elif info.type == tarfile.GNUTYPE_LONGLINK:
            records[b"linkpath"] = payload.partition(b"\0")[0]
        elif info.type in _PAX:  # a global one names no member and no size; the rest does not matter here
            records.update(_pax_records(payload, position))
        position += padded(info.size)


def _check_end(source: ByteSource, mark: int) -> None:
    """Read on behind the end-of-archive mark, where a tar has zeros, and refuse what shows that it is no end.

    A hole of zeros, as an unfinished download has, looks like the mark; so does the end of the first of two archives.
    Some writers fill the last record with what was in memory: that alone may stand there.
    """
    position = mark + BLOCK
    record = -(-(mark + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    while data := source.read(_CHUNK):
        if data.count(0) < len(data):
            for start in range(0, len(data), BLOCK):
                block, at = data[start : start + BLOCK], position + start
                if is_tar_header(block):
                    raise TarDamageError(
                        "a second archive follows the end of the first, or a hole of zeros", at
                    )
                if (at == mark + BLOCK or at >= record) and block.strip(b"\0"):
                    raise TarDamageError("zeros where a header must stand, and no end behind them", mark)
        position += len(data)
    if position - mark > _MOST_ZEROS:
        raise TarDamageError(f"{position - mark:,} bytes of zeros, as an unfinished download has them", mark)


def _header(block: bytes, info: tarfile.TarInfo, records: dict[bytes, bytes], position: int) -> TarHeader:
    raw = records.get(b"path") or _ustar_name(block)
    link = records.get(b"linkpath") or block[157:257].partition(b"\0")[0]
    size = 0 if info.type in _KINDS else info.size
    if b"size" in records:
        size = int(records[b"size"]) if records[b"size"].isdigit() else -1
    if not 0 <= size < 1 << 62:
        raise TarDamageError(
            f"a header declares {records.get(b'size', b'%d' % size).decode()} bytes", position
        )
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in records):
        raise TarDamageError(
            f"member {decode_name(raw)!r} is stored sparse, which is not read", position - BLOCK
        )
    if info.isreg():
        kind = "folder" if raw.endswith(b"/") else "file"
    else:
        kind = _KINDS.get(info.type) or f"type {info.type.decode('latin-1')!r}"
    return TarHeader(decode_name(raw), kind, size, position, decode_name(link) if link else "")


def _ustar_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # GNU headers ("ustar  ") use the place of the prefix for times, which `tarfile` takes for a name.
    if block[257:263] == b"ustar\0" and block[345]:
        return block[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _extension(source: ByteSource, size: int, position: int) -> bytes:
    if not 0 <= size <= _EXTENSION_LIMIT:
        raise TarDamageError(
            f"a name or pax header of {size} bytes, at most {_EXTENSION_LIMIT} are read", position
        )
    payload = source.read(size)
    if len(payload) < size:
        raise TarDamageError("it ends early, within a long name or a pax header", position + len(payload))
    return payload


def _pax_records(payload: bytes, position: int) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(payload) and payload[at]:
        digits, blank, _ = payload[at : at + 20].partition(b" ")
        end = at + int(digits) if blank and digits.isdigit() else 0
        if end <= at + len(digits) + 1 or end > len(payload) or payload[end - 1 : end] != b"\n":
            raise TarDamageError("a damaged pax header", position + at)
        key, _, value = payload[at + len(digits) + 1 : end - 1].partition(b"=")
        records[key] = value
        at = end
    return records
