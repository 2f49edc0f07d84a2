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

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

from irtd_datasets.annotations.json_text import (
    JsonRecordsError,
    Source,
    TextWindow,
    check_encoding,
    decode_chunks,
    read_chunks,
)
from irtd_datasets.errors import summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irtd_datasets.errors import AnnotationError

__all__ = [
    "Form",
    "JsonRecordsError",
    "OnBad",
    "ReadLimits",
    "Record",
    "RecordReader",
    "Repair",
    "Source",
    "read_records",
]

Record: TypeAlias = "dict[str, object]"
Form: TypeAlias = Literal["array", "objects", "lines"]
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
comma_and_object = re.compile(r"[ \t\n\r]*,[ \t\n\r]*(?={)").match
# What can stand at the end of a file that was cut inside a literal, a number or an escape.
_cut_token = re.compile(
    r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul|N|Na|-?(?:I|In|Inf|Infi|Infin|Infini|Infinit)?|\.|[eE][+-]?"
    r"|\\?u?[0-9a-fA-F]{0,3})\s*"
).fullmatch
# More than `-Infinity` and `\ud83d\ude00`: an error this close to the end of the window may be its fault.
_LONGEST_TOKEN = 16
_QUOTED = 40
_SAID = 160
_SPOKEN = frozenset({"detail", "error", "errors", "message"})
"""Keys under which a server says why it does not send a file."""
_FETCH_AGAIN = "Fetch the file again; a browser may show why the server sent something else."
_LINE_PROBLEMS = frozenset({"json-syntax", "json-truncated", "json-nested-too-deep", "json-number-too-long"})


class JsonParser:
    """Takes single JSON values off a text and words every failure."""

    def __init__(self, text: TextWindow, name: str, limits: ReadLimits) -> None:
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
        chunks = read_chunks(self._source, self.name, self._limits.chunk)
        self._pieces = decode_chunks(chunks, self._encoding, self._note)
        self._parser = JsonParser(TextWindow(self._pieces, self._limits.record), self.name, self._limits)

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
            refuse_start(self._parser, first)

    def _array(self) -> Iterator[tuple[int, Record]]:
        parser, text = self._parser, self._parser.text
        text.at += 1
        index, other = 0, ""
        following = parser.next_character(index)
        while following != "]":
            if not following:
                parser.truncated(index)
            record = self._accept(index, parser.value(index))
            comma = comma_and_object(text.window, text.at)
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
                other = other or record.problem
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
        self._end_array(index, other)

    def _end_array(self, index: int, other: str) -> None:
        """Fail where something follows a list of so many values, or where no record was in it."""
        parser = self._parser
        if parser.next_character(index):
            parser.fail(
                "json-extra-data",
                f"expecting the end of the file after the closing bracket, found {parser.excerpt()}",
                remedy="If two lists were written one after the other, make one list of them.",
            )
        if not index:
            parser.fail("json-no-records", "the list is empty, expected records", remedy=_FETCH_AGAIN)
        if not parser.complete:
            problem = f"the file is a list without any object: {other}"
            parser.fail(
                "json-not-a-list", problem, remedy="Look at what it is; the records may be in another file."
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
                if not (index or separator) and not (named_lines and _may_be_record(value)):
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
            f"the record is {KINDS[type(value)]}, {parser.excerpt(parser.start, parser.text.at)};"
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
        check_encoding(encoding)
    return RecordReader(
        source, name=name, encoding=encoding, on_bad=on_bad, on_truncated=on_truncated, limits=limits
    )


KINDS: dict[type, str] = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def _is_of_one_line(error: JsonRecordsError, text: TextWindow) -> bool:
    """Whether the damage can be confined to the current line of a file of JSON lines."""
    if error.code == "json-truncated":
        return "\n" in text.window[text.at :].rstrip()
    return error.code in _LINE_PROBLEMS


def refuse_start(parser: JsonParser, first: str) -> NoReturn:
    """Raise for a text that starts with neither a bracket nor a brace."""
    head = parser.text.head(64)
    if not first:
        parser.fail(
            "json-empty", "the file is empty, expected a list of objects", remedy="Fetch the file again."
        )
    if first == "<":
        problem = f"found a web page or XML, {head[:40]!r}, expected JSON"
        parser.fail("json-web-page", problem, remedy=_FETCH_AGAIN)
    if head.startswith("version https://git-lfs"):
        parser.fail(
            "json-lfs-pointer",
            "found a Git LFS pointer, expected JSON: the file's content was not downloaded",
            remedy='Run "git lfs pull" in the clone, or download the file itself.',
        )
    if first == "\0":
        parser.fail(
            "json-zeros",
            "found zero bytes, expected JSON: the file was not written completely",
            remedy=_FETCH_AGAIN,
        )
    if head.startswith(("PK\x03\x04", "\x1f")):
        parser.fail("json-compressed", "found a compressed file, expected JSON", remedy="Unpack it first.")
    if first in '"-0123456789tfnNI':
        kind = KINDS.get(type(parser.value(0)))
        problem = f"the file starts with {kind}, {head[:40]!r}, expected a list of objects"
        parser.fail("json-no-records", problem, remedy=_FETCH_AGAIN)
    parser.fail("json-not-json", f"found {head[:40]!r}, expected a list of objects")


def _may_be_record(value: object) -> bool:
    """Whether the only object of a file may be a record, and not what a server said instead of sending the file."""
    if not isinstance(value, dict):
        return False
    others = [inner for key, inner in value.items() if key.lower() not in _SPOKEN]
    return len(others) == len(value) or any(isinstance(inner, list) for inner in others) or "image" in value


def _refuse_single(parser: JsonParser, value: object) -> NoReturn:
    """Raise for a file that is one single object: most often a wrapper around lists, such as that of COCO."""
    record = value if isinstance(value, dict) else {}
    if not _may_be_record(value):
        said = json.dumps(value, ensure_ascii=False)
        said = said if len(said) <= _SAID else said[:_SAID] + "..."
        parser.fail(
            "json-no-records",
            f"the file is one object without records, {said}, as a server answers that does not send the file",
            remedy=_FETCH_AGAIN,
        )
    lists = [str(key) for key, inner in record.items() if isinstance(inner, list)]
    hint = f" It has lists under {', '.join(map(repr, lists[:5]))}." if lists else ""
    parser.fail(
        "json-not-a-list",
        f"the file is one object with the keys {', '.join(map(repr, list(record)[:10])) or '(none)'},"
        " expected a list of objects",
        remedy=f"Put the records in brackets, or name the file .jsonl if it is one record.{hint}",
    )
