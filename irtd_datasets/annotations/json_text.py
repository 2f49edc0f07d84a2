"""The text of a JSON file, decoded in chunks: a window that moves over it, whatever the encoding and the file's size.

Lines and columns count from 1, byte offsets from 0.
"""

from __future__ import annotations

import codecs
import os
import re
import zipfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from irtd_datasets.errors import AnnotationError, ArchiveError, ReleaseNotFoundError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = [
    "DecodeFailure",
    "JsonRecordsError",
    "Source",
    "TextWindow",
    "check_encoding",
    "decode_chunks",
    "read_chunks",
]

Source: TypeAlias = "bytes | str | os.PathLike[str] | BinaryIO"
_skip_blanks = re.compile(r"[ \t\n\r]*").match


class JsonRecordsError(AnnotationError):
    """A file of JSON records, or one of its records, that cannot be read.

    Args:
        problem: What was found and what was expected.
        code: Short reason, such as ``json-truncated``; a ledger counts by it.
        where: File, record number, line and column.
        remedy: What to do next.
        index: Number of the record, from 0, or None when the whole file is meant.
        complete: How many records were read completely before the problem.

    Example:
        >>> from irtd_datasets.annotations.json_records import read_records
        >>> try:
        ...     list(read_records(b'[{"id": "0"}, {"id": ', name="Location.json"))
        ... except JsonRecordsError as error:
        ...     print(error.code, error.index, error.complete)
        json-truncated 1 1
    """

    def __init__(
        self,
        problem: str,
        *,
        code: str,
        where: str = "",
        remedy: str = "",
        index: int | None = None,
        complete: int = 0,
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.code = code
        self.index = index
        self.complete = complete


@dataclass(frozen=True, slots=True)
class DecodeFailure:
    """Where a byte is no text.

    Attributes:
        offset: Its place in the file, from 0.
        found: The byte.
        encoding: The encoding that was tried.
        at_end: The file ends within a character.
    """

    offset: int
    found: int
    encoding: str
    at_end: bool


class TextWindow:
    """A window of decoded text that moves over chunks of bytes.

    ``window[at:]`` is what has been decoded and not consumed. Consumed text is dropped when the window grows.
    """

    __slots__ = (
        "_column",
        "_limit",
        "_lines",
        "_pieces",
        "at",
        "ended",
        "failure",
        "skipped_newline",
        "window",
    )

    def __init__(self, pieces: Iterator[str | DecodeFailure], limit: int) -> None:
        self.window = ""
        self.at = 0
        self.ended = False
        self.failure: DecodeFailure | None = None
        self.skipped_newline = False
        self._pieces = pieces
        self._limit = limit
        self._lines = 0
        self._column = 0

    def grow(self) -> bool:
        """Drop what is consumed and append more text; False when there is none.

        The rest is at least doubled, so that parsing a record again after each growth stays linear in its
        length.
        """
        if self.ended:
            return False
        rest = self.window[self.at :]
        wanted = max(1, min(len(rest), self._limit + 1 - len(rest)))
        parts = [rest]
        got = 0
        while got < wanted:
            piece = next(self._pieces, None)
            if not isinstance(piece, str):
                self.ended = True
                self.failure = piece
                break
            parts.append(piece)
            got += len(piece)
        self._lines, self._column = self._place(self.at)
        self.window = "".join(parts)
        self.at = 0
        return got > 0

    def _place(self, position: int) -> tuple[int, int]:
        newlines = self.window.count("\n", 0, position)
        if not newlines:
            return self._lines, self._column + position
        return self._lines + newlines, position - self.window.rfind("\n", 0, position) - 1

    def place(self, position: int) -> tuple[int, int]:
        """Line and column, both from 1, of a position in the window."""
        line, column = self._place(position)
        return line + 1, column + 1

    def peek(self) -> str:
        """Skip blanks and return the next character without consuming it; empty at the end of the text."""
        self.skipped_newline = False
        while True:
            start = self.at
            match = _skip_blanks(self.window, start)
            assert match is not None  # the pattern matches the empty string
            self.at = match.end()
            if self.window.find("\n", start, self.at) >= 0:
                self.skipped_newline = True
            if self.at < len(self.window):
                return self.window[self.at]
            if not self.grow():
                return ""

    def ahead(self, position: int, length: int) -> int:
        """Take in text until ``length`` characters follow an unconsumed position; return where it is now."""
        distance = position - self.at
        while len(self.window) - self.at - distance < length and self.grow():
            pass
        return self.at + distance

    def head(self, length: int) -> str:
        """The next ``length`` characters, or what is left."""
        start = self.ahead(self.at, length)
        return self.window[start : start + length]

    def skip_line(self) -> None:
        """Consume everything up to and including the next line feed."""
        while True:
            end = self.window.find("\n", self.at)
            if end >= 0:
                self.at = end + 1
                return
            self.at = len(self.window)
            if not self.grow():
                return


def check_encoding(encoding: str) -> None:
    """Refuse a name that is no text encoding.

    Raises:
        UnknownNameError: Python knows no such encoding, or it is not one of text.
    """
    try:
        # A round trip, because codecs that are not of text (hex, zlib) have decoders, too.
        " ".encode(encoding).decode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, UnicodeError) as error:
        raise UnknownNameError(
            f"{encoding!r} is no text encoding", remedy='Examples: "utf-8", "latin-1", "gbk".'
        ) from error


def read_chunks(source: Source, name: str, size: int) -> Generator[bytes, None, None]:
    """The bytes of a source, at most ``size`` at a time.

    Raises:
        ReleaseNotFoundError: There is no such file.
        JsonRecordsError: It cannot be opened, or is open as text.
        ArchiveError: It is compressed, and damaged.
    """
    if isinstance(source, bytes):
        for start in range(0, len(source), size):
            yield source[start : start + size]
    elif isinstance(source, (str, os.PathLike)):
        try:
            file = Path(source).open("rb")  # noqa: SIM115 - the with statement follows; only opening is tried here
        except FileNotFoundError as error:
            raise ReleaseNotFoundError("no such file", where=str(source), remedy="Check the path.") from error
        except OSError as error:
            raise JsonRecordsError(
                f"cannot be opened: {error.strerror}", code="json-unreadable", where=str(source)
            ) from error
        with file:
            yield from _chunks_of(file, name, size)
    else:
        yield from _chunks_of(source, name, size)


def _chunks_of(file: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = file.read(size)
        except (EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise ArchiveError(
                f"the compressed file is damaged: {error or 'it ends too early'}",
                where=name,
                remedy="Fetch the archive again.",
            ) from error
        if not isinstance(chunk, bytes):
            raise JsonRecordsError(
                f"reading gave {type(chunk).__name__}, expected bytes",
                code="json-unreadable",
                where=name,
                remedy='Open the file in binary mode, "rb".',
            )
        if not chunk:
            return
        yield chunk


def decode_chunks(
    chunks: Generator[bytes, None, None], encoding: str | None, note: Callable[[str], None]
) -> Generator[str | DecodeFailure, None, None]:
    """Text of the chunks; the last item is a failure where a byte is no text."""
    with closing(chunks):
        yield from _decoded_pieces(chunks, encoding, note)


def _decoded_pieces(
    chunks: Iterator[bytes], encoding: str | None, note: Callable[[str], None]
) -> Iterator[str | DecodeFailure]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _SNIFFED:
            break
    skipped = 0
    if encoding is None:
        encoding, skipped, code = _sniff(head[:_SNIFFED])
        if code:
            note(code)
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = skipped
    for chunk in chain([head[skipped:]], chunks):
        state = decoder.getstate()
        pending = len(state[0])
        try:
            piece = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # The text before the bad byte still counts: errors then come in the order of the file.
            decoder.setstate(state)
            yield decoder.decode(chunk[: max(0, error.start - pending)])
            at = offset - pending + error.start
            yield DecodeFailure(at, error.object[error.start], encoding, at_end=False)
            return
        yield piece
        offset += len(chunk)
    rest = decoder.getstate()[0]
    if rest:
        yield DecodeFailure(offset - len(rest), rest[0], encoding, at_end=True)


_SNIFFED = 4


def _sniff(head: bytes) -> tuple[str, int, str]:
    """Encoding, length of the byte order mark, and code of the repair, from the first four bytes.

    Without a mark, the place of the zero bytes tells: JSON starts with two ASCII characters (RFC 4627,
    section 3).
    """
    for mark, encoding, code in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark), code
    zeros = tuple(byte == 0 for byte in head)
    encoding = _ZEROS.get(zeros, "utf-8")
    return encoding, 0, "" if encoding == "utf-8" else encoding[:6]


# The mark of UTF-32 starts with that of UTF-16, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "utf-8-bom"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
)
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
