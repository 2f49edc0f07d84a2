"""The compact protocol of Thrift, in which Parquet writes its footers and the headers of its pages.

What is read may be damaged: a length that leads out of the data, or a number without an end, is an ``IndexError`` or a
``ValueError``, and nesting without an end a ``RecursionError``. See Thrift's `thrift-compact-protocol.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "BINARY",
    "I32",
    "I64",
    "LIST",
    "STRUCT",
    "Fields",
    "binary",
    "list_of",
    "read_fields",
    "read_signed",
    "read_unsigned",
    "skip",
    "struct_of",
    "varint",
    "zigzag",
]

I16, I32, I64, BINARY, LIST, STRUCT = 4, 5, 6, 8, 9, 12
# Bytes of values of a type in a list: booleans, a byte, a double. As fields, booleans are part of the field's head.
BOOLEANS = (1, 2)
_FIXED = {1: 1, 2: 1, 3: 1, 7: 8}
_LONGEST = 63  # bits of a number


@dataclass(slots=True)
class Fields:
    """The fields of a struct.

    Attributes:
        spans: Number to where the value begins and ends, and its type.
        lists: Number to the elements of a list that was looked into.
        end: Where the struct ends.
    """

    spans: dict[int, tuple[int, int, int]]
    lists: dict[int, list[Any]]
    end: int


def read_fields(
    data: bytes | memoryview,
    position: int = 0,
    lists: Mapping[int, Callable[[Any, int], tuple[Any, int]]] | None = None,
) -> Fields:
    """Read a struct; each byte is looked at once, also of the lists that are looked into.

    Args:
        data: The struct and what lies around it.
        position: Where it begins.
        lists: Number of a list of structs to what reads one of them: told where it begins, gives what it makes of it,
            and where it ends.
    """
    fields = Fields({}, {}, 0)
    number = 0
    while head := data[position]:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = read_signed(data, position)
        begin, kind = position, head & 15
        if lists and number in lists:
            fields.lists[number] = found = []
            count, position = (
                read_unsigned(data, begin + 1) if data[begin] >> 4 == 15 else (data[begin] >> 4, begin + 1)
            )
            for _ in range(count):
                element, position = lists[number](data, position)
                found.append(element)
        elif kind not in BOOLEANS:
            position = skip(data, position, kind)
        fields.spans[number] = (begin, position, kind)
    fields.end = position + 1
    return fields


def read_signed(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A whole number, and where it ends."""
    value, position = read_unsigned(data, position)
    return (value >> 1) ^ -(value & 1), position


def read_unsigned(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A length or count, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > _LONGEST:
            raise ValueError("a number without an end")


def skip(data: bytes | memoryview, position: int, kind: int) -> int:  # noqa: C901, PLR0912 - runs for every value of a footer
    """Where a value ends."""
    if kind == STRUCT:
        while head := data[position]:
            position += 1
            if head < 16:  # the number follows
                position = skip(data, position, I64)
            kind = head & 15
            if kind == 5 or kind == 6:  # noqa: PLR1714 - most of them; half the time of a look into a set
                while data[position] > 127:
                    position += 1
                position += 1
            elif kind > 2:
                position = skip(data, position, kind)
        return position + 1
    if kind == LIST:
        count, kind = data[position] >> 4, data[position] & 15
        position += 1
        if count == 15:
            count, position = read_unsigned(data, position)
        if kind == BINARY:
            for _ in range(count):
                size = data[position]
                position += size + 1 if size < 128 else skip(data, position, BINARY) - position
        elif kind in (I16, I32, I64):
            for _ in range(count):
                while data[position] > 127:
                    position += 1
                position += 1
        elif kind in _FIXED:
            position += count * _FIXED[kind]
        else:
            for _ in range(count):
                position = skip(data, position, kind)
        return position
    if kind == BINARY:
        size, position = read_unsigned(data, position)
        return position + size
    if I16 <= kind <= I64:
        while data[position] > 127:
            position += 1
        return position + 1
    if kind in _FIXED:
        return position + _FIXED[kind]
    raise ValueError(f"type {kind} does not occur in Parquet's footers")


def varint(value: int) -> bytes:
    """A length or count."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def zigzag(value: int) -> bytes:
    """A whole number that is not negative."""
    return varint(value << 1)


def binary(value: bytes) -> bytes:
    """Bytes behind their length."""
    return varint(len(value)) + value


def list_of(kind: int, elements: Sequence[bytes | memoryview]) -> bytes:
    """A list of encoded elements of one type."""
    count = len(elements)
    head = bytes([count << 4 | kind]) if count < 15 else bytes([15 << 4 | kind]) + varint(count)
    return head + b"".join(elements)


def struct_of(*fields: tuple[int, int, int | bytes]) -> bytes:
    """A struct of fields in ascending order: number, type, and a number or an encoded value."""
    parts = []
    last = 0
    for number, kind, value in fields:
        parts.append(bytes([(number - last) << 4 | kind]))
        parts.append(zigzag(value) if isinstance(value, int) else value)
        last = number
    return b"".join([*parts, b"\0"])
