"""Small documents of our own: texts written whole, and JSON read again in bounded time and memory.

A manifest, a ledger, a journal or a note of a build may have been cut, edited or replaced. Each value is asked for by
its type, so that the error names the file, the place in it, what stands there and what was expected.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LIMIT", "JsonValue", "parse_json", "read_json", "write_text"]

LIMIT = 32 << 20
"""Bytes of a document that are read: about 20,000 shards of a manifest. In memory JSON takes up to 20 times as many."""

_DIGITS = 19


class JsonValue:
    """A value of a document, and where it stands.

    Args:
        value: As the decoder of the standard library gives it.
        file: The document, for messages.
        remedy: What to do when it is damaged.
        place: Where the value stands in it, such as ``parts[0].rows``.

    Example:
        >>> document = parse_json(b'{"rows": 3, "names": ["a"]}', "manifest.json", "Build it again.")
        >>> document["rows"].count(), document["names"].texts()
        (3, ['a'])
        >>> document["names"][0].count()
        Traceback (most recent call last):
            ...
        irtd_datasets.errors.AnnotationError: manifest.json: it is damaged: names[0] is 'a', expected a whole number
        Build it again.
    """

    __slots__ = ("_file", "_remedy", "place", "value")

    def __init__(self, value: Any, file: str, remedy: str, place: str = "") -> None:  # noqa: ANN401 - of JSON
        self.value = value
        self.place = place
        self._file = file
        self._remedy = remedy

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error for a document that is damaged here.

        Raises:
            AnnotationError: Always.
        """
        raise AnnotationError(f"it is damaged: {problem}", where=self._file, remedy=self._remedy)

    def _expect(self, right: bool, what: str) -> Any:  # noqa: ANN401 - a value of JSON
        if not right:
            self.refuse(f"{self.place or 'the whole'} is {_shown(self.value)}, expected {what}")
        return self.value

    def _inner(self, value: Any, step: str) -> JsonValue:  # noqa: ANN401 - of JSON
        return JsonValue(value, self._file, self._remedy, f"{self.place}{step}".removeprefix("."))

    def __getitem__(self, key: str | int) -> JsonValue:
        """The value under a key of an object, or an entry of a list."""
        if isinstance(key, int):
            entries = self._expect(isinstance(self.value, list), "a list")
            if not 0 <= key < len(entries):
                self.refuse(
                    f"{self.place or 'the whole'} has {len(entries)} entries, expected more than {key}"
                )
            return self._inner(entries[key], f"[{key}]")
        found = self._expect(isinstance(self.value, dict), "an object")
        if key not in found:
            self.refuse(f"{self.place or 'the whole'} has no {key!r}")
        return self._inner(found[key], f".{key}")

    def get(self, key: str) -> JsonValue | None:
        """The value under a key of an object; None where there is none, or it is null."""
        found = self._expect(isinstance(self.value, dict), "an object").get(key)
        return None if found is None else self._inner(found, f".{key}")

    def items(self) -> Iterator[tuple[str, JsonValue]]:
        """Keys and values of an object."""
        for key, value in self._expect(isinstance(self.value, dict), "an object").items():
            yield key, self._inner(value, f".{key}")

    def __iter__(self) -> Iterator[JsonValue]:
        """The entries of a list."""
        for index, value in enumerate(self._expect(isinstance(self.value, list), "a list")):
            yield self._inner(value, f"[{index}]")

    def text(self) -> str:
        """A text."""
        found: str = self._expect(isinstance(self.value, str), "a text")
        return found

    def count(self) -> int:
        """A whole number from 0."""
        found: int = self._expect(type(self.value) is int and self.value >= 0, "a whole number")
        return found

    def optional_count(self) -> int | None:
        """A whole number from 0, or null."""
        return None if self.value is None else self.count()

    def flag(self) -> bool:
        """True or false."""
        found: bool = self._expect(isinstance(self.value, bool), "true or false")
        return found

    def texts(self) -> list[str]:
        """A list of texts."""
        return [entry.text() for entry in self]

    def counts(self) -> dict[str, int]:
        """An object of whole numbers."""
        return {key: value.count() for key, value in self.items()}


def _shown(value: Any) -> str:  # noqa: ANN401 - a value of JSON
    """The beginning of a value; of a large one only its kind, since its text may be much longer."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    return f"{value!r:.60}" if not isinstance(value, str) else repr(value[:60])


def _integer(digits: str) -> int:
    # Thousands of digits take quadratic time, and no number here has more than this.
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_no_number)


def parse_json(data: bytes, file: str, remedy: str) -> JsonValue:
    """Understand the bytes of a document.

    Args:
        data: UTF-8, at most `LIMIT` bytes.
        file: Its name, for messages.
        remedy: What to do when it is damaged.

    Raises:
        AnnotationError: It is no JSON in UTF-8, is nested too deeply, or too large.
    """
    whole = JsonValue(None, file, remedy)
    if len(data) > LIMIT:
        whole.refuse(f"it has more than {LIMIT >> 20} MiB")
    try:
        whole.value = _DECODER.decode(data.decode())
    except RecursionError:
        whole.refuse("it is nested too deeply")
    except ValueError as error:  # no UTF-8, no JSON, a number that cannot be one of ours
        whole.refuse(f"it is not valid JSON ({error})")
    return whole


def read_json(path: Path, remedy: str, missing: str = "") -> JsonValue:
    """Read a document; see `parse_json`.

    Args:
        path: The document.
        remedy: What to do when it is damaged.
        missing: What to do when it is not there.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: It cannot be read or understood.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReleaseNotFoundError(
            f"there is no {path.name}", where=str(path.parent), remedy=missing
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise AnnotationError(f"it cannot be read: {reason}", where=str(path), remedy=remedy) from error
    return parse_json(data, str(path), remedy)


def write_text(path: Path, text: str | bytes) -> None:
    """Write a small file that appears when it is whole; its folder is made if missing."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    # Not as text, whose line ends some systems change.
    temporary.write_bytes(text.encode() if isinstance(text, str) else text)
    temporary.replace(path)
