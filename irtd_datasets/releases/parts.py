"""Archives that were cut into pieces: which files they are, in which order, and all of them as one file."""

from __future__ import annotations

import fnmatch
import io
import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from irtd_datasets.errors import ArchiveError, ReleaseError, ReleaseNotFoundError, summarize, system_remedy
from irtd_datasets.releases.places import as_place, open_raw
from irtd_datasets.releases.sniff import no_archive, read_head, sniff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irtd_datasets.releases.places import Place

__all__ = ["JoinedParts", "find_parts"]

_SUFFIX = re.compile(
    r"(?P<stem>.*?(?:\.tar(?:\.gz)?|\.tgz))(?P<mark>[._-]?(?:part|p)?[._-]?)(?:(?P<number>\d{1,9})|(?P<letters>[a-z]{2,4}))?",
    re.IGNORECASE,
)
_UNFINISHED = (
    ".crdownload",
    ".part",
    ".partial",
    ".aria2",
    ".download",
    ".tmp",
    ".opdownload",
    ".baiduyun.p.downloading",
)
_BESIDE = (
    ".md5",
    ".sha1",
    ".sha256",
    ".sha512",
    ".md5sum",
    ".sha256sum",
    ".txt",
    ".json",
    ".asc",
    ".sig",
    ".torrent",
)
_AGAIN = "Download the piece again."


@dataclass(frozen=True, slots=True)
class _Piece:
    path: Place
    stem: str
    mark: str
    number: int | None  # None: the archive in one file
    spelling: str  # "digits", or "letters" with their count


def find_parts(folder: str | os.PathLike[str] | Place, pattern: str) -> tuple[Place, ...]:
    """Return the pieces of one cut archive in the order in which they join.

    The order is that of their numbers (``.gz.2`` before ``.gz.10``) or of the letters that ``split`` gives
    (``aa``, ``ab``, ...); an archive in one file is its only piece. Checksum and text files beside the pieces
    are passed over. What the names and the first bytes of the pieces can tell is checked here; that the last
    piece is there shows only when the archive is read.

    Args:
        folder: The folder that holds them.
        pattern: Shell pattern of their names, such as ``data.tar.gz.*`` or ``IR-TD-version*.tar.gz*``.

    Returns:
        At least one path.

    Raises:
        ReleaseNotFoundError: No file matches.
        ArchiveError: A piece is missing, unfinished, empty, a web page or a git-lfs pointer, or the order is
            not certain: two pieces of one number, two archives, two ways of numbering.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9):
        ...     _ = (folder / f"data.tar.gz.{number}").write_bytes(b"bytes of a piece")
        >>> [path.suffix for path in find_parts(folder, "data.tar.gz.*")][-3:]
        ['.8', '.9', '.10']
    """
    folder = as_place(folder)
    if not folder.is_dir():
        raise ReleaseNotFoundError("no such folder", where=str(folder), remedy="Check the path.")
    matching = [path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, pattern)]
    return tuple(_in_order(sorted(matching), folder, pattern))


def _in_order(matching: list[Place], folder: Place, pattern: str) -> list[Place]:
    paths = [path for path in matching if path.suffix.lower() not in _BESIDE and not path.is_dir()]
    unfinished = [path.name for path in paths if path.name.lower().endswith(_UNFINISHED)]
    if unfinished:
        raise ArchiveError(
            f"the download of {', '.join(unfinished)} is not finished",
            where=str(folder),
            remedy="Finish it, or delete what is left of it.",
        )
    if not paths:
        raise ReleaseNotFoundError(
            f"no piece of an archive named {pattern!r}", where=str(folder), remedy="Check the path."
        )
    pieces = [_piece(path) for path in paths]
    _check_one_archive(pieces, folder)
    pieces.sort(key=lambda piece: piece.number or 0)
    if pieces[0].number is not None:
        _check_complete(pieces, folder)
    problems = [problem for piece in pieces if (problem := _wrong_content(piece.path))]
    if problems:
        raise ArchiveError(summarize(problems), where=str(folder), remedy=_AGAIN)
    return [piece.path for piece in pieces]


def _piece(path: Place) -> _Piece:
    match = _SUFFIX.fullmatch(path.name)
    if match is None:
        raise ArchiveError(
            f"the place of {path.name!r} among the pieces is not known from its name",
            where=str(path.parent),
            remedy="Rename it as its host named it (such as NAME.tar.gz.3), or move it elsewhere.",
        )
    stem, mark, digits, letters = match.group("stem", "mark", "number", "letters")
    if digits is not None:
        return _Piece(path, stem, mark, int(digits), "digits")
    if letters is not None:
        number = 0
        for letter in letters.lower():
            number = number * 26 + ord(letter) - ord("a")
        return _Piece(path, stem, mark, number, f"{len(letters)} letters")
    return _Piece(path, stem, mark, None, "whole")


def _check_one_archive(pieces: list[_Piece], folder: Place) -> None:
    kinds: dict[tuple[str, str, str], str] = {}
    for piece in pieces:
        kinds.setdefault((piece.stem, piece.mark, piece.spelling), piece.path.name)
    if len(kinds) > 1:
        whole = any(piece.number is None for piece in pieces)
        raise ArchiveError(
            f"the order of the pieces is not certain, names differ: {', '.join(kinds.values())}",
            where=str(folder),
            remedy="Keep either the joined archive or its pieces."
            if whole
            else "Keep the pieces of one archive.",
        )
    seen: dict[int | None, str] = {}
    for piece in pieces:
        other = seen.setdefault(piece.number, piece.path.name)
        if other != piece.path.name:
            raise ArchiveError(
                f"{other} and {piece.path.name} are both piece {piece.number}",
                where=str(folder),
                remedy="Keep one of them.",
            )


def _check_complete(pieces: list[_Piece], folder: Place) -> None:
    numbers = [piece.number or 0 for piece in pieces]
    # Digits count from 0 (`split -d`) or 1, letters from aa.
    first = min(numbers[0], 1) if pieces[0].spelling == "digits" else 0
    if first == 1 and _starts_archive(pieces[0].path) is False:
        first = 0
    have = set(numbers)
    if numbers[-1] - first + 1 > len(numbers):
        absent = [number for number in range(first, min(numbers[-1], first + 1000)) if number not in have]
        shown = ", ".join(_name_of(number, pieces[0]) for number in absent[:5])
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise ArchiveError(
            f"missing among the pieces: {shown}{more} (found {len(pieces)}, up to {pieces[-1].path.name})",
            where=str(folder),
            remedy="Download the missing piece; an archive cut by bytes cannot be read without it.",
        )


def _starts_archive(path: Place) -> bool | None:
    head = read_head(path)
    return sniff(head) in ("gzip", "tar") if head else None


def _name_of(number: int, like: _Piece) -> str:
    if like.spelling == "digits":
        digits = like.path.name[len(like.stem) + len(like.mark) :]
        return (
            f"{like.stem}{like.mark}{number:0{len(digits)}d}"
            if digits[0] == "0"
            else f"{like.stem}{like.mark}{number}"
        )
    letters = ""
    for _ in range(int(like.spelling.split()[0])):
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return f"{like.stem}{like.mark}{letters}"


def _wrong_content(path: Place) -> str:
    kind = sniff(read_head(path))
    # Other magic numbers may stand at the beginning of a later piece by chance; these texts do not.
    if kind not in ("empty", "html", "json-error", "lfs-pointer"):
        return ""
    error = no_archive(kind, path.name, "a piece of an archive")
    return f"{error.where}: {error.problem}. {error.remedy}"


class JoinedParts(io.RawIOBase):
    """The pieces of a cut archive as one file, without a joined copy.

    One piece is open at a time, and no read crosses the boundary of two.

    Args:
        paths: The pieces in order, as :func:`find_parts` returns them.

    Attributes:
        paths: The pieces.
        size: Bytes of all pieces together.
        failure: The error with which a read ended, if one did.

    Raises:
        ReleaseNotFoundError: A piece does not exist.
        ArchiveError: No piece was given; when reading: a piece became shorter or cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "x.0").write_bytes(b"abc"), (folder / "x.1").write_bytes(b"def")
        >>> with JoinedParts([folder / "x.0", folder / "x.1"]) as joined:
        ...     joined.size, joined.read(4), joined.read(4), joined.locate(4)
        (6, b'abc', b'def', (1, 1))
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str] | Place]) -> None:
        super().__init__()
        self._file: io.RawIOBase | None = (
            None  # first of all: close() needs it, also where the next lines raise
        )
        self._open = -1
        self.paths: Sequence[Place] = tuple(as_place(path) for path in paths)
        if not self.paths:
            raise ArchiveError("no pieces given", remedy="Pass at least one path.")
        self.sizes = [_size(path) for path in self.paths]
        self._starts = [0, *accumulate(self.sizes)]
        self.size = self._starts[-1]
        self._position = 0
        self.failure: ReleaseError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the byte of the joined file that is read next."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a byte of the joined file, at most to its end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = min(max(base + offset, 0), self.size)
        return self._position

    def locate(self, offset: int) -> tuple[int, int]:
        """Return the piece that holds a byte of the joined file, and the byte in it; the last has the end."""
        part = min(bisect_right(self._starts, offset), len(self.paths)) - 1
        # The start of an empty piece is that of the next one, which bisect_right finds.
        return part, offset - self._starts[part]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; fewer bytes than fit come at the end of a piece."""
        if self._position >= self.size:
            return 0
        part, at = self.locate(self._position)
        wanted = min(len(buffer), self.sizes[part] - at)
        try:
            file = self._part(part)
            file.seek(at)
            count = file.readinto(memoryview(buffer)[:wanted]) or 0
        except ReleaseError as error:
            self.failure = error
            raise
        except OSError as error:
            self.failure = ArchiveError(
                f"cannot be read: {error.strerror or error}",
                where=str(self.paths[part]),
                remedy=system_remedy(error, "Check the permissions and the disk."),
            )
            raise self.failure from error
        if not count:
            self.failure = ArchiveError(
                f"became shorter than the {self.sizes[part]:,} bytes it had",
                where=str(self.paths[part]),
                remedy="Wait until the download is complete, then start again.",
            )
            raise self.failure
        self._position += count
        return count

    def close(self) -> None:
        """Close the piece that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _part(self, part: int) -> io.RawIOBase:
        if part != self._open or self._file is None:
            if self._file is not None:
                self._file.close()
            self._file = open_raw(self.paths[part])
            self._open = part
        return self._file


def _size(path: Place) -> int:
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        raise ReleaseNotFoundError("no such piece", where=str(path), remedy="Check the path.") from None
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where=str(path)) from error
