"""Single values out of Arrow arrays, read from their buffers.

``array[i].as_py()`` takes 20 to 100 times as long for a conversation or a list of boxes, because it makes an object for
each level. Here a function is made once for each array, which then reads row after row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int], Any]

__all__ = ["value_reader"]

_NUMBERS = {
    pa.int8(): "b",
    pa.int16(): "h",
    pa.int32(): "i",
    pa.int64(): "q",
    pa.uint8(): "B",
    pa.uint16(): "H",
    pa.uint32(): "I",
    pa.uint64(): "Q",
    pa.float32(): "f",
    pa.float64(): "d",
}


def value_reader(array: pa.Array) -> Read:
    """A function that gives the Python value of a row, as ``array[row].as_py()`` does.

    The function keeps the array's memory alive and copies nothing else.

    Args:
        array: Any array; types other than numbers, text, lists and structs are read by Arrow itself.

    Example:
        >>> messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        >>> read = value_reader(pa.array([[{"role": "user", "content": "Where?"}], None], messages))
        >>> read(0), read(1)
        ([{'role': 'user', 'content': 'Where?'}], None)
    """
    if isinstance(array, pa.ExtensionArray):
        return _generic(array)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return value_reader(array.dictionary_decode())
    read = _values(array, kind)
    if read is None:
        return _generic(array)
    if not array.null_count:
        return read
    valid, shift, inner = memoryview(array.buffers()[0]), array.offset, read

    def nullable(row: int) -> Any:  # noqa: ANN401
        place = row + shift
        return inner(row) if valid[place >> 3] >> (place & 7) & 1 else None

    return nullable


def _values(array: pa.Array, kind: pa.DataType) -> Read | None:
    if kind in _NUMBERS:
        data = array.buffers()[1]
        if data is None or not len(array):
            return None
        code = _NUMBERS[kind]
        size = kind.bit_width // 8
        numbers: Any = memoryview(data)[: data.size // size * size].cast("B").cast(code)  # type: ignore[call-overload]
        read: Read = numbers[array.offset : array.offset + len(array)].__getitem__
        return read
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text(array, "q" if pa.types.is_large_string(kind) else "i")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(array, "q" if pa.types.is_large_list(kind) else "i")
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        if len(set(names)) < len(names):
            return None
        # `field` takes the offset of the struct into account
        readers = [(name, value_reader(array.field(index))) for index, name in enumerate(names)]

        def record(row: int) -> dict[str, Any]:
            return {name: read(row) for name, read in readers}

        return record
    return None


def _offsets(array: pa.Array, code: str) -> Any:  # noqa: ANN401 - a memoryview of numbers, or None
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return None
    size = 8 if code == "q" else 4
    whole = memoryview(buffer)[: buffer.size // size * size].cast("B").cast(code)  # type: ignore[call-overload]
    return whole[array.offset : array.offset + len(array) + 1]


def _text(array: pa.Array, code: str) -> Read | None:
    ends = _offsets(array, code)
    if ends is None:
        return None
    buffer = array.buffers()[2]
    data = memoryview(buffer if buffer is not None else b"")

    def text(row: int) -> str:
        return str(data[ends[row] : ends[row + 1]], "utf-8")

    return text


def _lists(array: pa.Array, code: str) -> Read | None:
    ends = _offsets(array, code)
    if ends is None:
        return None
    read = value_reader(array.values)  # not `flatten`: the offsets count from the first of all values

    def items(row: int) -> list[Any]:
        return [read(item) for item in range(ends[row], ends[row + 1])]

    return items


def _generic(array: pa.Array) -> Read:
    def value(row: int) -> Any:  # noqa: ANN401
        return array[row].as_py()

    return value
