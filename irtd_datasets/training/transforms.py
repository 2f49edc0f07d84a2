"""What happens to a row after it was read: decoding, a function of the user's, and what to do where they fail.

A *transform* is any function from a row to a row. It runs in the worker that read the row, after filters and columns
were applied, with images as ``{"bytes": bytes, "path": str}``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from irtd_datasets.errors import IrtdDatasetsError, TransformError, UnknownNameError

if TYPE_CHECKING:
    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.decode import Decoder, Mode

__all__ = ["DecodeRow", "OnError", "Transform", "guarded", "row_transform"]

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""From a row to a row."""

OnError = Literal["raise", "skip"] | Callable[[Exception, dict[str, Any]], dict[str, Any] | None]
"""For a row that a transform cannot treat: ``raise``, ``skip``, or a function of the error and the row, whose answer
takes the row's place (None leaves it out)."""


@dataclass(frozen=True)
class DecodeRow:
    """Decodes the images of a row and lets its places follow; see `irtd_datasets.training.decode.decode_row`.

    Attributes:
        decoder: How images are decoded.
        box_frame: Frame of the numbers in the text; None keeps that of the row.
    """

    decoder: Decoder
    box_frame: Frame | str | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its images decoded and its places in the frame asked for."""
        from irtd_datasets.training.decode import decode_row

        return decode_row(row, self.decoder, box_frame=self.box_frame)


@dataclass(frozen=True)
class _Then:
    """One transform behind another; a class, so that it can be pickled."""

    first: Transform
    second: Transform

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.second(self.first(row))


def row_transform(
    decode: Mode | Decoder | None,
    max_side: int | None = None,
    box_frame: Frame | str | None = None,
    then: Transform | None = None,
) -> Transform | None:
    """The transform that the arguments of `stream` and `table` describe; None where rows stay as they are.

    Raises:
        UnknownNameError: There is no such decoding, or ``max_side`` or ``box_frame`` is given without any.
    """
    from irtd_datasets.boxes.frames import as_frame

    if decode is None:
        if max_side is not None or box_frame is not None:
            raise UnknownNameError(
                "max_side and box_frame change decoded rows, and decode is None",
                remedy='Pass decode="auto" or "rgb" as well.',
            )
        return then
    if box_frame is not None:
        as_frame(box_frame)  # a wrong name is found here, not in a worker
    if isinstance(decode, str):
        from irtd_datasets.training.decode import Decoder

        decode = Decoder(decode, max_side=max_side)
    elif max_side is not None:
        raise UnknownNameError("max_side is given beside a Decoder", remedy="Give the Decoder its max_side.")
    first = DecodeRow(decode, box_frame)
    return first if then is None else _Then(first, then)


def guarded(
    transform: Transform | None, on_error: OnError, row: dict[str, Any], place: int | None = None
) -> dict[str, Any] | None:
    """Apply a transform as ``on_error`` says; None where the row is to be left out.

    Args:
        transform: What to apply; None leaves the row as it is.
        on_error: What to do where it fails.
        row: The row as it was read.
        place: Its number in the table or the epoch.

    Raises:
        TransformError: The transform, or the function ``on_error``, raised an error that is not of this library, or
            the transform gave no row. ``StopIteration`` and ``IndexError`` would pass for the end of the data.
        IrtdDatasetsError: An error of this library, with the row in its ``where``.
    """
    if transform is None:
        return row
    name = row.get("id")
    try:
        return _applied(transform, row if isinstance(on_error, str) else dict(row))
    except Exception as error:  # noqa: BLE001 - the caller's function may raise anything
        if on_error == "skip":
            return None
        if on_error != "raise":
            try:
                return on_error(error, row)
            except Exception as again:  # noqa: BLE001 - the caller's function may raise anything
                error = again
        named = _named(error, place, name)
        raise named from (error.__cause__ if named is error else error)


def _applied(transform: Transform, row: dict[str, Any]) -> dict[str, Any]:
    treated = transform(row)
    if treated is None:
        raise TransformError(
            "the transform gave None instead of a row",
            remedy="End it with `return row`; a row that raises an error is left out with on_error='skip'.",
        )
    return treated


def _named(error: Exception, place: int | None, name: object) -> IrtdDatasetsError:
    """An error that names its row."""
    known = [f"row {place}" if place is not None else "", f"id {name!r}" if name is not None else ""]
    row = ", ".join(part for part in known if part)
    if not isinstance(error, IrtdDatasetsError):
        return TransformError(
            f"the transform raised {type(error).__name__}: {error}",
            where=row,
            remedy="The traceback above shows where; on_error='skip' leaves such rows out and counts them.",
        )
    if row not in error.where:
        error.where = ", ".join(part for part in (error.where, row) if part)
    return error


def check_on_error(on_error: OnError) -> OnError:
    """Refuse anything but the names and functions.

    Raises:
        UnknownNameError: It is neither.
    """
    if not callable(on_error) and on_error not in {"raise", "skip"}:
        raise UnknownNameError(
            f"on_error is {on_error!r}", remedy="Write 'raise', 'skip' or pass a function."
        )
    return on_error
