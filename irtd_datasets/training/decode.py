"""From the bytes of a row's pictures to what a training step takes: the place where a decoder is put in.

A *transform* is any function from a row to a row. It is called in the worker that read the row, after filters and
columns were applied, with pictures as ``{"bytes": bytes, "path": str}``. What it raises is treated as ``on_error``
says.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.schema import IMAGE_FIELDS

__all__ = ["Decode", "OnError", "PillowDecoder", "Transform", "decoder", "guarded"]

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""From a row to a row."""

Decode = Literal["rgb", "native"]

OnError = Literal["raise", "skip"] | Callable[[Exception, dict[str, Any]], dict[str, Any] | None]
"""What to do with a row that a transform cannot treat: ``raise``, ``skip``, or a function of the error and the row, whose
answer takes the row's place (None leaves it out)."""


class PillowDecoder:
    """Decodes pictures with Pillow to NumPy arrays.

    Args:
        mode: ``rgb`` for uint8 of shape (H, W, 3); ``native`` as stored: (H, W) or (H, W, channels), 8 or 16 bits.

    Raises:
        ImageError: When called: a picture is damaged, or has more than 8 bits and ``rgb`` is wanted, for which a
            mapping would have to be chosen.
    """

    def __init__(self, mode: Decode = "rgb") -> None:
        self.mode = mode

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        for name in IMAGE_FIELDS:
            value = row.get(name)
            if isinstance(value, dict) and value.get("bytes") is not None:
                row[name] = self.picture(value["bytes"], f"{row.get('id', '')} {name} {value.get('path') or ''}")
        return row

    def picture(self, data: bytes, where: str) -> np.ndarray[Any, Any]:
        """Decode one picture."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as image:
                if self.mode == "rgb" and image.mode[0] in "IF":
                    raise ImageError(
                        f"mode {image.mode} has more than 8 bits a channel, and RGB would cut them off",
                        code="image-deep",
                        where=where,
                        remedy='Pass decode="native" or a transform of your own that maps the values.',
                    )
                return np.asarray(image.convert("RGB") if self.mode == "rgb" else image)
        except (OSError, SyntaxError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"it cannot be decoded: {error}", where=where) from error


def decoder(decode: Decode | Transform | None) -> Transform | None:
    """The transform that a name stands for; functions are passed through.

    Raises:
        UnknownNameError: There is no such name.
    """
    if decode is None or callable(decode):
        return decode
    if decode not in ("rgb", "native"):
        raise UnknownNameError(f"there is no decoding {decode!r}", remedy="Write 'rgb', 'native', None or a function.")
    return PillowDecoder(decode)


def guarded(
    transform: Transform | None, on_error: OnError, row: dict[str, Any]
) -> dict[str, Any] | None:
    """Apply a transform as ``on_error`` says; None where the row is to be left out."""
    if transform is None:
        return row
    original = row if isinstance(on_error, str) else dict(row)
    try:
        return transform(row)
    except Exception as error:
        if on_error == "raise":
            raise
        if on_error == "skip":
            return None
        return on_error(error, original)
