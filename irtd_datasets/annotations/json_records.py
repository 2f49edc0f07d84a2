r"""Read the records of a JSON annotation file as the releases hand them out, in bounded memory.

The three releases use one family of files: a list of objects. What is on disk is looser than that:

- a JSON array (seven of the eight files of IR-TD's ``json_sft.zip``, all of MMRS-1M);
- objects separated by commas with no brackets around them, and a comma after the last one
  (``Detection.json`` of IR-TD);
- JSON lines, or objects with nothing but blanks between them (evaluation files derived from RS-GPT4V).

One scanner reads them all: it decodes text in chunks and lets the C decoder of the standard library parse one
record at a time, so a file of 1 GB takes no more memory than one of 1 MB.

Record numbers count from 0, lines and columns from 1. Columns count characters, byte offsets count from 0.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import zipfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NoReturn, TypeAlias

from irtd_datasets.errors import (
    AnnotationError,
    ArchiveError,
    ReleaseNotFoundError,
    UnknownNameError,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

__all__ = [
    "EVERY_MEMBER",
    "Form",
    "JsonRecordsError",
    "OnBad",
    "ReadLimits",
    "Record",
    "RecordReader",
    "Repair",
    "Source",
    "read_member_lists",
    "read_records",
]

Record: TypeAlias = "dict[str, object]"
Source: TypeAlias = "bytes | str | os.PathLike[str] | BinaryIO"
Form: TypeAlias = Literal["array", "objects", "lines"]


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


OnBad: TypeAlias = "Callable[[int, AnnotationError], None]"


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of a reading.

    Attributes:
        record: Longest record, in characters.
        chunk: Bytes asked for at once.
        collected: Bad records after which reading gives up.
        shown: Bad records that the message of the final error shows.
    """

    record: int = 64 << 20
    chunk: int = 1 << 20
    collected: int = 1000
    shown: int = 10


DEFAULT_LIMITS = ReadLimits()


@dataclass(frozen=True, slots=True)
class Repair:
    """Something in a file that is not plain JSON, and was read all the same.

    Attributes:
        code: For the file ``json-not-an-array``, ``json-trailing-comma``, ``json-truncated`` (cut, and kept
            on request), ``utf-8-bom``, ``utf-16`` or ``utf-32``; for records ``json-duplicate-key`` (the last
            value counts) and ``json-not-a-number`` (NaN or Infinity, which JSON does not have).
        count: Times it occurred: 1 for the file, else the number of records.
        records: Numbers of the first 1,000 records it concerns; empty for the file.
    """

    code: str
    count: int
    records: tuple[int, ...] = ()


_REMEMBERED = 1000
_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
_skip_blanks = re.compile(r"[ \t\n\r]*").match
_comma_and_object = re.compile(r"[ \t\n\r]*,[ \t\n\r]*(?={)").match
# What can stand at the end of a file that was cut inside a literal, a number or an escape.
_cut_token = re.compile(
    r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-?(?:I|In|Inf|Infi|Infin|Infini|Infinit)?|\.|[eE][+-]?"
    r"|\\?u?[0-9a-fA-F]{0,3})\s*"
).fullmatch
# More than `-Infinity` and `\ud83d\ude00`: an error this close to the end of the window may be its fault.
_LONGEST_TOKEN = 16
_QUOTED = 40
_LINE_PROBLEMS = frozenset({"json-syntax", "json-truncated", "json-nested-too-deep", "json-number-too-long"})


@dataclass(frozen=True, slots=True)
class _DecodeFailure:
    offset: int
    found: int
    encoding: str
    at_end: bool


class _Text:
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

    def __init__(self, pieces: Iterator[str | _DecodeFailure], limit: int) -> None:
        self.window = ""
        self.at = 0
        self.ended = False
        self.failure: _DecodeFailure | None = None
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


class _Parser:
    """Takes single JSON values off a text and words every failure."""

    def __init__(self, text: _Text, name: str, limits: ReadLimits) -> None:
        self.text = text
        self.name = name
        self.limits = limits
        self.complete = 0
        self.flags: set[str] = set()
        self.start = 0
        self._decode = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant
        ).raw_decode

    def _object(self, pairs: list[tuple[str, object]]) -> Record:
        record = dict(pairs)
        if len(record) != len(pairs):
            self.flags.add("json-duplicate-key")
        return record

    def _constant(self, word: str) -> float:
        self.flags.add("json-not-a-number")
        return float(word)

    def value(self, index: int) -> object:
        """Parse the value at the current position, taking in more text while the window may cut it.

        The position moves only on success. ``flags`` then says what was odd inside the value, and the value's
        text is ``window[start:at]`` until the next character is looked at.
        """
        text = self.text
        while True:
            self.flags.clear()
            try:
                value, end = self._decode(text.window, text.at)
            except json.JSONDecodeError as error:
                self._grow_or_fail(error, index)
            except RecursionError:
                self.fail(
                    "json-nested-too-deep",
                    "lists or objects are nested deeper than Python can read",
                    index=index,
                    remedy="No release nests more than four levels; check where the file comes from.",
                )
            except ValueError as error:  # int() refuses thousands of digits
                self.fail("json-number-too-long", f"a number cannot be read: {error}", index=index)
            else:
                # A number near the end of the window may go on outside: `1` of `1e5`.
                number = not isinstance(value, (dict, list, str))
                if number and len(text.window) - end <= _LONGEST_TOKEN and not text.ended:
                    text.grow()
                    continue
                if end - text.at > self.limits.record:
                    self._too_large(index)
                self.start = text.at
                text.at = end
                return value

    def _grow_or_fail(self, error: json.JSONDecodeError, index: int) -> None:
        text = self.text
        unterminated = error.msg.startswith("Unterminated string")
        left = len(text.window) - error.pos
        may_be_cut = unterminated or left <= _LONGEST_TOKEN or not text.window[error.pos :].strip()
        if may_be_cut and not text.ended:
            if len(text.window) - text.at > self.limits.record:
                self._too_large(index)
            text.grow()
            return
        if text.failure is not None and may_be_cut:
            self.fail_decoding(index)
        if unterminated or _cut_token(text.window, error.pos):
            self.truncated(index)
        expected = error.msg[0].lower() + error.msg[1:]
        position = text.ahead(error.pos, _QUOTED)
        self.fail(
            "json-syntax", f"{expected}, found {self.excerpt(position)}", index=index, position=position
        )

    def excerpt(self, position: int | None = None, end: int | None = None) -> str:
        """A short quotation from a position of the window, by default the current one."""
        if position is None:
            position = self.text.ahead(self.text.at, _QUOTED)
        found = (
            self.text.window[position:end][:_QUOTED]
            if end
            else self.text.window[position : position + _QUOTED]
        )
        return repr(found) if found else "the end"

    def where(self, index: int | None, position: int | None = None) -> str:
        """File, record, line and column of a position, by default the current one."""
        line, column = self.text.place(self.text.at if position is None else position)
        record = "" if index is None else f" record {index},"
        return f"{self.name}{record} line {line} column {column}"

    def fail(
        self,
        code: str,
        problem: str,
        *,
        index: int | None = None,
        remedy: str = "",
        position: int | None = None,
    ) -> NoReturn:
        """Raise the error with the place."""
        raise JsonRecordsError(
            problem,
            code=code,
            where=self.where(index, position),
            remedy=remedy,
            index=index,
            complete=self.complete,
        )

    def truncated(self, index: int) -> NoReturn:
        """Raise for a file that ends too early."""
        self.fail(
            "json-truncated",
            f"the JSON is cut here, after {self.complete} complete records; expected the rest of record"
            f" {index} or the end of the list",
            index=index,
            remedy="Fetch the file again. Configs that do not read it can be used without it.",
            position=len(self.text.window),
        )

    def fail_decoding(self, index: int) -> NoReturn:
        """Raise for bytes that are no text; an incomplete character at the end means that the file is cut."""
        failure = self.text.failure
        assert failure is not None  # asked for by the callers
        if failure.at_end:
            self.truncated(index)
        self.fail(
            "json-encoding",
            f"byte {failure.offset} is 0x{failure.found:02x}, which is not {failure.encoding} text",
            index=index,
            remedy='Save it as UTF-8, or pass the encoding it was written in, such as encoding="latin-1".',
            position=len(self.text.window),
        )

    def _too_large(self, index: int) -> NoReturn:
        self.fail(
            "json-record-too-large",
            f"the record is longer than {self.limits.record} characters",
            index=index,
            remedy="If the records stand in a list inside one outer object, extract that list; else raise"
            " ReadLimits.record.",
        )

    def next_character(self, index: int) -> str:
        """The next character that is not blank; empty at the end of a file that is text to its end."""
        character = self.text.peek()
        if not character and self.text.failure is not None:
            self.fail_decoding(index)
        return character


class RecordReader:
    """The records of one file, as an iterable of ``(number, record)``; made by `read_records`.

    Records are handed out as they are read. Only an iteration that ends without an exception has handed out
    all of them; ``form``, ``count`` and ``repairs`` then describe the file. A path or bytes can be iterated
    again, one iteration at a time; a file object once.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        encoding: str | None,
        on_bad: OnBad | None,
        on_truncated: Literal["error", "keep"],
        limits: ReadLimits,
    ) -> None:
        self.name = name
        self._source = source
        self._encoding = encoding
        self._on_bad = on_bad
        self._on_truncated = on_truncated
        self._limits = limits
        self._consumed = False
        self._start()

    def _start(self) -> None:
        self._form: Form | None = None
        self._counts: dict[str, int] = {}
        self._records_of: dict[str, list[int]] = {}
        self._bad: list[str] = []
        chunks = _chunks(self._source, self.name, self._limits.chunk)
        self._pieces = _decoded(chunks, self._encoding, self._note)
        self._parser = _Parser(_Text(self._pieces, self._limits.record), self.name, self._limits)

    @property
    def form(self) -> Form | None:
        """``array``, ``lines``, or ``objects`` (commas or blanks between them); final after the iteration."""
        return self._form

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What is not plain JSON and was read all the same, in the order met; final after the iteration."""
        return tuple(
            Repair(code, count, tuple(self._records_of.get(code, ()))) for code, count in self._counts.items()
        )

    @property
    def count(self) -> int:
        """How many records have been handed out."""
        return self._parser.complete

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        if self._consumed:
            raise JsonRecordsError(
                "the file object has been read already",
                code="json-consumed",
                where=self.name,
                remedy="Open it again, or pass the path.",
            )
        self._consumed = not isinstance(self._source, (bytes, str, os.PathLike))
        self._start()
        try:
            yield from self._records()
        except JsonRecordsError as error:
            if error.code != "json-truncated" or self._on_truncated != "keep":
                if self._bad and error.code != "json-bad-records":
                    error.problem += "\nBefore it:\n" + summarize(self._bad, self._limits.shown)
                raise
            self._note("json-truncated")
        finally:
            self._pieces.close()  # a reading that stops early leaves no file open
        if self._bad:
            self._raise_bad("")

    def _records(self) -> Iterator[tuple[int, Record]]:
        first = self._parser.next_character(0)
        if first == "[":
            self._form = "array"
            yield from self._array()
        elif first == "{":
            self._form = "lines"
            yield from self._objects()
        else:
            _refuse_start(self._parser, first)

    def _array(self) -> Iterator[tuple[int, Record]]:
        parser, text = self._parser, self._parser.text
        text.at += 1
        index = 0
        following = parser.next_character(index)
        while following != "]":
            if not following:
                parser.truncated(index)
            record = self._accept(index, parser.value(index))
            comma = _comma_and_object(text.window, text.at)
            if comma is not None and not isinstance(record, JsonRecordsError):
                # All but the last record of each chunk, at half the cost of what is below.
                text.at = comma.end()
                parser.complete += 1
                yield index, record
                index += 1
                continue
            following = parser.next_character(index + 1)
            if following not in ("", ",", "]"):
                parser.fail(
                    "json-syntax",
                    f"expecting ',' or ']' after the record, found {parser.excerpt()}",
                    index=index,
                )
            if isinstance(record, JsonRecordsError):
                self._report(index, record)
            else:
                parser.complete += 1
                yield index, record
            index += 1
            if following == ",":
                text.at += 1
                following = parser.next_character(index)
                if following == "]":
                    self._note("json-trailing-comma")
        text.at += 1
        if parser.next_character(index):
            parser.fail(
                "json-extra-data",
                f"expecting the end of the file after the closing bracket, found {parser.excerpt()}",
                remedy="If two lists were written one after the other, make one list of them.",
            )

    def _objects(self) -> Iterator[tuple[int, Record]]:
        """Objects with commas, line feeds or mere blanks between them and no brackets around them."""
        parser, text = self._parser, self._parser.text
        named_lines = self.name.lower().endswith(_LINES_SUFFIXES)
        separator = ""
        index = 0
        while parser.next_character(index):
            record: Record | JsonRecordsError
            try:
                value = parser.value(index)
                if self._form == "lines" and text.window.find("\n", parser.start, text.at) >= 0:
                    self._not_lines()
                record = self._accept(index, value)
                separator = self._separator(index)
            except JsonRecordsError as error:
                # Only where each record has its own line is it certain where the next one starts.
                lines = self._form == "lines" and (named_lines or index)
                if not lines or not _is_of_one_line(error, text):
                    raise
                text.skip_line()
                record = error
            else:
                if not (index or separator or named_lines):
                    _refuse_single(parser, value)
            if isinstance(record, JsonRecordsError):
                self._report(index, record)
            else:
                parser.complete += 1
                yield index, record
            index += 1
        if separator == ",":
            self._note("json-trailing-comma")

    def _not_lines(self) -> None:
        if self._form != "objects":
            self._form = "objects"
            self._note("json-not-an-array")

    def _separator(self, index: int) -> str:
        """What follows an object: a comma (consumed), a line feed, another object, or nothing at the end."""
        parser, text = self._parser, self._parser.text
        following = parser.next_character(index + 1)
        if following == "," or (following == "{" and not text.skipped_newline):
            self._not_lines()
        if following == ",":
            text.at += 1
        elif following == "]":
            parser.fail(
                "json-bracket",
                "found a closing bracket, but the file does not open with one",
                index=index,
                remedy="The beginning of the list may be missing: fetch the file again.",
            )
        elif following and text.skipped_newline:
            return "\n"  # the next value may be anything: it is judged when it is read
        elif following not in ("", "{"):
            parser.fail(
                "json-syntax",
                f"expecting ',', a line feed or '{{' after the record, found {parser.excerpt()}",
                index=index,
            )
        return following

    def _accept(self, index: int, value: object) -> Record | JsonRecordsError:
        """Note what is odd inside a value just parsed; return it, or the error where it is no object."""
        parser = self._parser
        if parser.flags:
            for code in sorted(parser.flags):
                self._note(code, index)
        if isinstance(value, dict):
            return value
        return JsonRecordsError(
            f"the record is {_KINDS[type(value)]}, {parser.excerpt(parser.start, parser.text.at)};"
            " expected an object",
            code="json-record-type",
            where=parser.where(index, parser.start),
            index=index,
            complete=parser.complete,
        )

    def _note(self, code: str, index: int | None = None) -> None:
        self._counts[code] = self._counts.get(code, 0) + 1
        if index is not None:
            records = self._records_of.setdefault(code, [])
            if len(records) < _REMEMBERED:
                records.append(index)

    def _report(self, index: int, error: JsonRecordsError) -> None:
        if self._on_bad is not None:
            self._on_bad(index, error)
            return
        self._bad.append(f"{error.where}: {error.problem}")
        if len(self._bad) >= self._limits.collected:
            self._raise_bad("; gave up after these")

    def _raise_bad(self, more: str) -> NoReturn:
        raise JsonRecordsError(
            f"bad records: {len(self._bad)}{more}\n{summarize(self._bad, self._limits.shown)}",
            code="json-bad-records",
            where=self.name,
            remedy="Repair the file, or pass on_bad to take note of each and go on.",
            complete=self._parser.complete,
        )


def read_records(
    source: Source,
    *,
    name: str,
    encoding: str | None = None,
    on_bad: OnBad | None = None,
    on_truncated: Literal["error", "keep"] = "error",
    limits: ReadLimits = DEFAULT_LIMITS,
) -> RecordReader:
    r"""Read the records of a JSON file in any form that the releases have.

    Args:
        source: The bytes of the file, its path, or a binary file object, such as a member of a zip.
        name: Name used in messages. A name that ends in ``.jsonl`` or ``.ndjson`` allows a file of one single
            object, which is otherwise taken for a wrapper around the real list and refused.
        encoding: Encoding of the text. By default UTF-8, or UTF-16 or UTF-32 where the first bytes show it;
            never guessed beyond that, and no byte is ever replaced.
        on_bad: Called with the number of each bad record and the exception that describes it; iteration goes
            on. By default the bad records of the file are collected and raised together at its end.
        on_truncated: ``"keep"`` ends the iteration with the last complete record of a file that is cut, and
            lists ``json-truncated`` among the repairs.
        limits: Bounds of memory and of reports.

    Returns:
        An iterable of ``(number, record)`` that tells ``form``, ``count`` and ``repairs`` afterwards.

    Raises:
        JsonRecordsError: From the iteration: the file is empty, cut, no list of objects, no text, nested too
            deeply, or holds a record over the limit; or some of its records are bad. An `AnnotationError`.
        ArchiveError: From the iteration: a compressed file object is damaged.
        ReleaseNotFoundError: From the iteration: there is no such path.
        UnknownNameError: There is no such encoding.

    Example:
        The broken form of IR-TD's ``Detection.json``:

        >>> reader = read_records(b'{"id": "0"},\n{"id": "1"},\n', name="Detection.json")
        >>> list(reader)
        [(0, {'id': '0'}), (1, {'id': '1'})]
        >>> reader.form, [repair.code for repair in reader.repairs]
        ('objects', ['json-not-an-array', 'json-trailing-comma'])
    """
    if encoding is not None:
        _check_encoding(encoding)
    return RecordReader(
        source, name=name, encoding=encoding, on_bad=on_bad, on_truncated=on_truncated, limits=limits
    )


class _Every(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


EVERY_MEMBER: Collection[str] = _Every()
"""For `read_member_lists`: every member that is a list or an object."""


def read_member_lists(
    source: Source,
    *,
    name: str,
    keys: Collection[str],
    limits: ReadLimits = DEFAULT_LIMITS,
    met: set[str] | None = None,
) -> Iterator[tuple[str, Record]]:
    """Read the records of lists that are members of one outer object, as COCO has them, in bounded memory.

    Args:
        source: The bytes of the file, its path, or a binary file object.
        name: Name used in messages.
        keys: Members whose records are wanted. Others are parsed and left out, lists among them record by record.
        limits: Bounds of memory.
        met: Gets the names of the wanted members that are there and are lists or objects, empty ones included.

    Yields:
        Name of the member and record, in the order of the file. A wanted member that is one object, not a list,
        counts as a list of one.

    Raises:
        JsonRecordsError: The file is empty, cut, no object of lists, or no text; a wanted list holds something else
            than objects.
        ArchiveError: A compressed file object is damaged.
        ReleaseNotFoundError: There is no such path.

    Example:
        >>> coco = b'{"info": {"year": 2020}, "images": [{"id": 7}], "annotations": []}'
        >>> list(read_member_lists(coco, name="train.json", keys={"images", "annotations"}))
        [('images', {'id': 7})]
    """
    pieces = _decoded(_chunks(source, name, limits.chunk), None, lambda _code: None)
    parser = _Parser(_Text(pieces, limits.record), name, limits)
    with closing(pieces):
        first = parser.next_character(0)
        if first == "[":
            parser.fail(
                "json-not-an-object",
                "the file is a list, expected an object with the members " + ", ".join(sorted(keys)),
                remedy="It may be of another format: see what its records hold.",
            )
        if first != "{":
            _refuse_start(parser, first)
        parser.text.at += 1
        following = parser.next_character(0)
        while following != "}":
            yield from _member(parser, keys, set() if met is None else met)
            following = parser.next_character(0)
            if following == ",":
                parser.text.at += 1
                following = parser.next_character(0)
            elif not following:
                parser.truncated(parser.complete)
            elif following != "}":
                parser.fail("json-syntax", f"expecting ',' or '}}' after a member, found {parser.excerpt()}")


def _member(parser: _Parser, keys: Collection[str], met: set[str]) -> Iterator[tuple[str, Record]]:
    text = parser.text
    if not parser.next_character(0):
        parser.truncated(parser.complete)
    key = parser.value(0)
    if not isinstance(key, str) or parser.next_character(0) != ":":
        parser.fail("json-syntax", f"expecting a member's name and ':', found {parser.excerpt()}")
    text.at += 1
    wanted = key in keys
    if parser.next_character(0) != "[":
        value = parser.value(0)
        if wanted and isinstance(value, dict):
            parser.complete += 1
            met.add(key)
            yield key, value
        return
    text.at += 1
    if wanted:
        met.add(key)
    yield from _member_list(parser, key, wanted=wanted)


def _member_list(parser: _Parser, key: str, *, wanted: bool) -> Iterator[tuple[str, Record]]:
    text = parser.text
    index = 0
    following = parser.next_character(index)
    while following != "]":
        if not following:
            parser.truncated(index)
        value = parser.value(index)
        if wanted:
            if not isinstance(value, dict):
                parser.fail(
                    "json-record-type",
                    f"the record of {key!r} is {_KINDS[type(value)]}, expected an object",
                    index=index,
                    position=parser.start,
                )
            parser.complete += 1
            yield key, value
        index += 1
        comma = _comma_and_object(text.window, text.at)
        if comma is not None:
            text.at = comma.end()
            continue
        following = parser.next_character(index)
        if following == ",":
            text.at += 1
            following = parser.next_character(index)
        elif following not in ("", "]"):
            parser.fail("json-syntax", f"expecting ',' or ']' after a record, found {parser.excerpt()}")
    text.at += 1


def _check_encoding(encoding: str) -> None:
    try:
        # A round trip, because codecs that are not of text (hex, zlib) have decoders, too.
        " ".encode(encoding).decode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, UnicodeError) as error:
        raise UnknownNameError(
            f"{encoding!r} is no text encoding", remedy='Examples: "utf-8", "latin-1", "gbk".'
        ) from error


def _chunks(source: Source, name: str, size: int) -> Generator[bytes, None, None]:
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


def _decoded(
    chunks: Generator[bytes, None, None], encoding: str | None, note: Callable[[str], None]
) -> Generator[str | _DecodeFailure, None, None]:
    """Text of the chunks; the last item is a failure where a byte is no text."""
    with closing(chunks):
        yield from _decoded_pieces(chunks, encoding, note)


def _decoded_pieces(
    chunks: Iterator[bytes], encoding: str | None, note: Callable[[str], None]
) -> Iterator[str | _DecodeFailure]:
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
            yield _DecodeFailure(at, error.object[error.start], encoding, at_end=False)
            return
        yield piece
        offset += len(chunk)
    rest = decoder.getstate()[0]
    if rest:
        yield _DecodeFailure(offset - len(rest), rest[0], encoding, at_end=True)


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
_KINDS: dict[type, str] = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def _is_of_one_line(error: JsonRecordsError, text: _Text) -> bool:
    """Whether the damage can be confined to the current line of a file of JSON lines."""
    if error.code == "json-truncated":
        return "\n" in text.window[text.at :].rstrip()
    return error.code in _LINE_PROBLEMS


def _refuse_start(parser: _Parser, first: str) -> NoReturn:
    """Raise for a text that starts with neither a bracket nor a brace."""
    head = parser.text.head(64)
    fetch = "Fetch the file again; a browser may show why the server sent something else."
    if not first:
        parser.fail(
            "json-empty", "the file is empty, expected a list of objects", remedy="Fetch the file again."
        )
    if first == "<":
        parser.fail("json-web-page", f"found a web page or XML, {head[:40]!r}, expected JSON", remedy=fetch)
    if head.startswith("version https://git-lfs"):
        parser.fail(
            "json-lfs-pointer",
            "found a Git LFS pointer, expected JSON: the file's content was not downloaded",
            remedy='Run "git lfs pull" in the clone, or download the file itself.',
        )
    if first == "\0":
        parser.fail(
            "json-zeros", "found zero bytes, expected JSON: the file was not written completely", remedy=fetch
        )
    if head.startswith(("PK\x03\x04", "\x1f")):
        parser.fail("json-compressed", "found a compressed file, expected JSON", remedy="Unpack it first.")
    if first in '"-0123456789tfnNI':
        kind = _KINDS.get(type(parser.value(0)))
        parser.fail(
            "json-not-a-list", f"the file starts with {kind}, {head[:40]!r}, expected a list of objects"
        )
    parser.fail("json-not-json", f"found {head[:40]!r}, expected a list of objects")


def _refuse_single(parser: _Parser, value: object) -> NoReturn:
    """Raise for a file that is one single object: most often a wrapper around lists, such as that of COCO."""
    record = value if isinstance(value, dict) else {}
    lists = [str(key) for key, inner in record.items() if isinstance(inner, list)]
    hint = f" It has lists under {', '.join(map(repr, lists[:5]))}." if lists else ""
    parser.fail(
        "json-not-a-list",
        f"the file is one object with the keys {', '.join(map(repr, list(record)[:10])) or '(none)'},"
        " expected a list of objects",
        remedy=f"Put the records in brackets, or name the file .jsonl if it is one record.{hint}",
    )
