"""Tar headers: what the members of a tar are and where their bytes lie.

POSIX ustar and pax (POSIX.1-2008, *pax*, "ustar Interchange Format" and "pax Header Block"), the long names
and base-256 numbers of GNU tar, and headers older than POSIX. Both the tar with random access and the tar
that is read as one stream walk with :func:`walk`, so that both see the same members.
"""

from __future__ import annotations

import contextlib
import zlib
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

BLOCK = 512
"""Bytes of a header, and the unit that members are padded to."""

_REGULAR = frozenset(b"0\0" + b"7")  # 7: contiguous, an ordinary file everywhere
_WITHOUT_DATA = frozenset(
    b"123456"
)  # links, devices, folders and pipes: their size field counts no stored bytes
_KINDS = {
    ord("1"): "hard link",
    ord("2"): "symbolic link",
    ord("3"): "character device",
    ord("4"): "block device",
    ord("5"): "folder",
    ord("6"): "pipe",
}
_LONG_NAME, _LONG_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL, _SPARSE = b"LKxXgS"
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL))
_EXTENSION_LIMIT = 1 << 20  # bytes of a long name or a pax header; real ones have some hundred


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
        size: Bytes of its content.
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
    if len(block) != BLOCK:
        return False
    try:
        stored = _number(block[148:156])
    except ValueError:
        return False
    # Adler-32 keeps the sum of all bytes, modulo 65521, in its lower half: a sum at the speed of C.
    blanked = stored - 8 * 32 + sum(block[148:156])
    if zlib.adler32(block) & 0xFFFF == (blanked + 1) % 65521:
        return True
    # Some early writers summed signed bytes.
    return stored == sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])


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
        block, records, position = _next_header(source, position)
        if not block:
            return
        header = _header(block, records, position)
        yield header
        position += 0 if block[156] in _WITHOUT_DATA else padded(header.size)


def _next_header(source: ByteSource, position: int) -> tuple[bytes, dict[bytes, bytes], int]:
    """Return the header of the next member, what extension headers say of it, and where its content begins.

    The header is empty at the end of the archive.
    """
    records: dict[bytes, bytes] = {}
    while True:
        source.skip_to(position)
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise TarDamageError("it ends early: the end-of-archive mark is missing", position + len(block))
        if not is_tar_header(block):
            if block.strip(b"\0") or records:
                raise TarDamageError("no tar header where one must stand", position)
            return b"", records, position
        position += BLOCK
        kind = block[156]
        if kind not in _EXTENSIONS:
            return block, records, position
        size = _size(block[124:136], position)
        payload = _extension(source, size, position)
        if kind == _LONG_NAME:
            records[b"path"] = payload.partition(b"\0")[0]
        elif kind == _LONG_LINK:
            records[b"linkpath"] = payload.partition(b"\0")[0]
        elif (
            kind != _PAX_GLOBAL
        ):  # no name or size is the same for all members; the rest does not matter here
            records.update(_pax_records(payload, position))
        position += padded(size)


def _header(block: bytes, records: dict[bytes, bytes], position: int) -> TarHeader:
    raw = records.get(b"path") or _ustar_name(block)
    link = records.get(b"linkpath") or block[157:257].partition(b"\0")[0]
    size = (
        _size(records[b"size"], position, pax=True) if b"size" in records else _size(block[124:136], position)
    )
    kind = block[156]
    if kind == _SPARSE or any(key.startswith(b"GNU.sparse.") for key in records):
        raise TarDamageError(
            f"member {decode_name(raw)!r} is stored sparse, which is not read", position - BLOCK
        )
    if kind in _REGULAR:
        label = "folder" if raw.endswith(b"/") else "file"
    else:
        label = _KINDS.get(kind) or f"type {chr(kind)!r}"
    return TarHeader(decode_name(raw), label, size, position, decode_name(link) if link else "")


def _ustar_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # GNU headers ("ustar  ") use the place of the prefix for times.
    if block[257:263] == b"ustar\0" and block[345]:
        return block[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _number(field: bytes) -> int:
    if field[:1] >= b"\x80":  # GNU and star: binary, big endian, for what does not fit in octal digits
        if field[0] not in (0x80, 0xFF):
            raise ValueError
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - (1 << 8 * (len(field) - 1))
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise ValueError
    return int(digits, 8)


def _size(field: bytes, position: int, *, pax: bool = False) -> int:
    try:
        # pax records hold decimal digits, headers octal ones or a binary number.
        size = int(field) if pax and field.isdigit() else _number(field)
    except ValueError:
        raise TarDamageError("a header holds no valid size", position) from None
    if not 0 <= size < 1 << 62:
        raise TarDamageError(f"a header declares {size} bytes", position)
    return size


def _extension(source: ByteSource, size: int, position: int) -> bytes:
    if size > _EXTENSION_LIMIT:
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
