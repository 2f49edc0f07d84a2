"""Coordinates and image sizes as a caller gives them, checked and brought into arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Size: TypeAlias = int | NDArray[np.int64]

__all__ = ["KINDS", "as_coordinates", "as_sizes", "check_size", "check_sizes", "column", "like_input"]

KINDS = {2: "points", 4: "boxes", 8: "polygons"}
"""What rows of so many numbers are."""


def as_coordinates(coordinates: ArrayLike) -> Floats:
    """Coordinates as float64, shape (4,), (8,) or (2,), or (N, 4), (N, 8) or (N, 2).

    Raises:
        BoxError: They are of another shape, or no numbers.
    """
    try:
        array = np.asarray(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"coordinates are no table of numbers: {error}") from error
    if array.ndim not in (1, 2) or array.shape[-1] not in KINDS:
        raise BoxError(
            f"coordinates have shape {array.shape}, expected rows of 4, 8 or 2 numbers",
            remedy="Split rows of different lengths, and pass an empty table as shape (0, 4).",
        )
    return array


def check_size(size: ArrayLike, name: str) -> int:
    """Return one checked image size; `name` says in the error which it is."""
    checked = check_sizes(size, name)
    if not isinstance(checked, int):
        raise BoxError(f"{name} has {len(checked)} values, expected one")
    return checked


def check_sizes(size: ArrayLike, name: str) -> Size:
    """One checked image size, or one for each row; `name` says in the error which it is.

    Raises:
        BoxError: It is no positive whole number, or not all are.
    """
    if type(size) is int and size > 0:
        return size
    array = np.asarray(size)
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool(np.all(array == np.floor(array))))
    if array.ndim > 1 or not whole or not bool(np.all((array > 0) & (array < 2**53))):
        shown = size if array.ndim == 0 else "an array"
        raise BoxError(
            f"{name} is {shown!r}, expected a positive whole number of pixels, or one for each row",
            remedy="Take width and height from the decoded, upright image.",
        )
    return int(array) if array.ndim == 0 else array.astype(np.int64)


def as_sizes(width: ArrayLike, height: ArrayLike, array: Floats) -> tuple[Size, Size]:
    """Width and height, each one whole number or one for each row of an array.

    Raises:
        BoxError: A size is no positive whole number, or there is another number of them.
    """
    sizes = check_sizes(width, "width"), check_sizes(height, "height")
    for name, size in zip(("width", "height"), sizes, strict=True):
        if not isinstance(size, int) and size.shape != array.shape[:-1]:
            rows = 1 if array.ndim == 1 else len(array)
            raise BoxError(
                f"{name} has {len(size)} values for {rows} rows", remedy="Pass one size, or one a row."
            )
    return sizes


def column(size: Size) -> Size:
    """A size that broadcasts over the numbers of each row."""
    return size if isinstance(size, int) else size[:, None]


def like_input(out: Floats, given: ArrayLike) -> list[float] | Floats:
    """A list where one flat list or tuple was given, else the array."""
    if out.ndim == 1 and isinstance(given, (list, tuple)):
        values: list[float] = out.tolist()
        return values
    return out
