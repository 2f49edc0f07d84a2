"""Arrow arrays from Python values, from NumPy and to NumPy, without the detour that pyarrow takes.

The first call of ``pyarrow.array`` or ``Array.to_numpy`` in a process imports pandas where it is installed, to be able
to recognise a Series: 0.2 to 0.4 s and 45 MB for each worker of a build or a training, which has no use for it. So
a process that does nothing but a build tells pyarrow that there is none (see `leave_pandas_out`). In others texts and
numbers are put together from their buffers. Whatever is unusual about the values is left to ``pyarrow.array``, so that
what is accepted, and every error, are Arrow's.
"""

from __future__ import annotations

import sys
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["bit_buffer", "from_numpy", "leave_pandas_out", "to_array", "to_numpy", "unnested"]

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}  # NumPy's names for Arrow's
_NONE = type(None)
_left_out = False
_NUMBERS: dict[pa.DataType, tuple[type[int | float], Any]] = {
    pa.int32(): (int, np.int32),
    pa.int64(): (int, np.int64),
    pa.float32(): (float, np.float32),
}


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert values to an array, as ``pyarrow.array(values, type=kind)`` does.

    Args:
        values: Python values of the type, None for null.
        kind: Type of the array.

    Returns:
        Shape (len(values),). No array in it has a validity bitmap unless it has nulls.

    Raises:
        ArrowException: The values are not of this type; see ``pyarrow.array`` for what else it raises.

    Example:
        >>> to_array(["a", None], pa.string()).to_pylist()
        ['a', None]
    """
    array = None if _takes_arrows_way() else _fast(values, kind)
    return pa.array(values, type=kind) if array is None else array


def _takes_arrows_way() -> bool:
    """Whether `pyarrow.array` need not import pandas first: then it takes half as long as `_fast`."""
    return _left_out or "pandas" in sys.modules


def leave_pandas_out(*, for_good: bool = False) -> None:
    """Let pyarrow do without pandas in this process from now on, as if it were not installed; once.

    For processes that end with their work, such as those of a build: pyarrow then takes a Series for any other
    sequence. It looks for pandas once, so that only this one look must find nothing.

    Args:
        for_good: Let nobody in this process import pandas any more: the kernels of ``pyarrow.compute`` look by
            themselves, when the first scalar comes.
    """
    global _left_out  # noqa: PLW0603 - it is the process that does without
    if _left_out or "pandas" in sys.modules:
        return
    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([], type=pa.null())
    finally:
        if not for_good:
            sys.meta_path.remove(finder)
    _left_out = True


class _NoPandas:
    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=name)


def from_numpy(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers as an array on the same memory.

    Args:
        values: Shape (n,), of integers or floats.
        missing: Shape (n,): where there is no value.

    Example:
        >>> from_numpy(np.array([7, 8, 9], np.int16), np.array([False, True, False])).to_pylist()
        [7, None, 9]
    """
    bitmap = bit_buffer(~missing) if missing is not None and missing.any() else None
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bitmap, data])


def to_numpy(array: pa.Array, missing: float) -> NDArray[Any]:
    """Numbers or booleans as NumPy has them; where nothing is null, numbers are on the same memory.

    Args:
        array: Integers, floats or booleans.
        missing: What stands for null.

    Returns:
        Shape (len(array),).

    Example:
        >>> to_numpy(pa.array([7, None, 9], pa.int16()), -1)
        array([ 7, -1,  9], dtype=int16)
    """
    whole = slice(array.offset, array.offset + len(array))
    bitmap, data = array.buffers()
    if pa.types.is_boolean(array.type):
        values = _bits(data)[whole]
    else:
        name = str(array.type)  # not `to_pandas_dtype`, which imports pandas in pyarrow 17
        values = np.frombuffer(data or b"", np.dtype(_FLOATS.get(name, name)))[whole]
    if not array.null_count:
        return values
    return np.where(_bits(bitmap)[whole], values, values.dtype.type(missing))


def unnested(lists: pa.ListArray, missing: int) -> tuple[NDArray[np.int64], pa.Array]:
    """The lengths of lists and their values one after another, without the import of pyarrow.compute.

    Args:
        lists: Lists of anything.
        missing: What stands for the length of a list that is null.

    Returns:
        Lengths, of shape (len(lists),), and the values.

    Example:
        >>> lengths, values = unnested(pa.array([[1, 2], None, [3]]), -1)
        >>> lengths, values.to_pylist()
        (array([ 2, -1,  1]), [1, 2, 3])
    """
    offsets = to_numpy(lists.offsets, 0)
    lengths = np.diff(offsets).astype(np.int64)
    values = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    if lists.null_count:
        null = ~_bits(lists.buffers()[0])[lists.offset : lists.offset + len(lists)]
        if lengths[null].any():
            values = lists.flatten()
        lengths[null] = missing
    return lengths, values


def _bits(buffer: pa.Buffer | None) -> NDArray[np.bool_]:
    packed = np.frombuffer(buffer or b"", np.uint8)
    return np.unpackbits(packed, bitorder="little").view(np.bool_)


def _fast(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """The array, or None where ``pyarrow.array`` has to look."""
    if pa.types.is_string(kind):
        return _strings(values)
    if kind in _NUMBERS:
        return _numbers(values, kind, *_NUMBERS[kind])
    return None


def _strings(values: Sequence[Any]) -> pa.Array | None:
    kinds = set(map(type, values))
    bitmap = None
    if not kinds <= {str}:
        if not kinds <= {str, _NONE}:
            return None
        bitmap = _validity(values)
        values = [value or "" for value in values]
    text = "".join(values)
    if text.isascii():
        data, sizes = text.encode("ascii"), map(len, values)
    else:
        try:
            pieces = [value.encode() for value in values]
        except UnicodeEncodeError:
            return None
        data, sizes = b"".join(pieces), map(len, pieces)
    offsets = _offsets(sizes)
    if offsets is None:
        return None
    return pa.Array.from_buffers(
        pa.string(), len(values), [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def _numbers(
    values: Sequence[Any],
    kind: pa.DataType,
    python: type[int | float],
    dtype: Any,  # noqa: ANN401 - NumPy's
) -> pa.Array | None:
    kinds = set(map(type, values))
    bitmap = None
    if not kinds <= {python}:
        if not kinds <= {python, _NONE}:
            return None
        bitmap = _validity(values)
        values = [python() if value is None else value for value in values]
    try:
        wide = np.array(values, dtype=np.int64 if python is int else np.float64)
    except OverflowError:
        return None
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, as in Arrow
        data = wide.astype(dtype)
    if python is int and not np.array_equal(data, wide):
        return None
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(data)])


def _validity(values: Sequence[Any]) -> pa.Buffer:
    return bit_buffer(np.fromiter((value is not None for value in values), dtype=np.bool_, count=len(values)))


def bit_buffer(values: NDArray[np.bool_]) -> pa.Buffer:
    r"""Booleans as Arrow stores them, such as which values are there: a bit for each, the lowest first.

    Example:
        >>> bit_buffer(np.array([True, False, True])).to_pybytes()
        b'\x05'
    """
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _offsets(sizes: Iterable[int]) -> array[int] | None:
    # The rows of a row group are so few that NumPy takes twice as long.
    try:
        return array("i", accumulate(sizes, initial=0))
    except OverflowError:
        return None
