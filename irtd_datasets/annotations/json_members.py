"""The lists of a JSON file that is one object around them, as COCO has it, in bounded memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from irtd_datasets.annotations.json_records import (
    DEFAULT_LIMITS,
    KINDS,
    JsonParser,
    comma_and_object,
    refuse_start,
)
from irtd_datasets.annotations.json_text import (
    TextWindow,
    decode_chunks,
    read_chunks,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from irtd_datasets.annotations.json_records import ReadLimits, Record
    from irtd_datasets.annotations.json_text import Source

__all__ = ["EVERY_MEMBER", "read_member_lists"]


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
    pieces = decode_chunks(read_chunks(source, name, limits.chunk), None, lambda _code: None)
    parser = JsonParser(TextWindow(pieces, limits.record), name, limits)
    with closing(pieces):
        first = parser.next_character(0)
        if first == "[":
            parser.fail(
                "json-not-an-object",
                "the file is a list, expected an object with the members " + ", ".join(sorted(keys)),
                remedy="It may be of another format: see what its records hold.",
            )
        if first != "{":
            refuse_start(parser, first)
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


def _member(parser: JsonParser, keys: Collection[str], met: set[str]) -> Iterator[tuple[str, Record]]:
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


def _member_list(parser: JsonParser, key: str, *, wanted: bool) -> Iterator[tuple[str, Record]]:
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
                    f"the record of {key!r} is {KINDS[type(value)]}, expected an object",
                    index=index,
                    position=parser.start,
                )
            parser.complete += 1
            yield key, value
        index += 1
        comma = comma_and_object(text.window, text.at)
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
