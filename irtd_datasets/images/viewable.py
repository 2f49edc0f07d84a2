"""Any stored image as 8-bit RGB of a limited size, for looking at."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from irtd_datasets.errors import ImageError
from irtd_datasets.images.opening import BoundedFile
from irtd_datasets.images.values import shown_range

__all__ = ["PERCENTILES", "Viewable", "viewable"]

PERCENTILES = (0.5, 99.5)
"""Values of an image of more than 8 bits that become black and white; a hot or dead pixel does not decide them."""

_WIDE = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


@dataclass(frozen=True, slots=True)
class Viewable:
    """An image to look at.

    Attributes:
        image: 8-bit RGB.
        note: What was done to its values; empty when nothing was.
    """

    image: Image.Image
    note: str = ""


def viewable(data: bytes, side: int | None = None, name: str = "") -> Viewable:
    """Decode an image for looking at.

    Images of more than 8 bits and of real numbers are mapped from `PERCENTILES` of their own finite values; opacity
    is left out, since some sets keep another band in it. A large JPEG is decoded at a fraction of its size.

    Args:
        data: The file.
        side: Longest side in pixels; None keeps the size. A smaller image is not enlarged.
        name: For messages.

    Raises:
        ImageError: It cannot be decoded.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> raw = np.linspace(7000, 9000, 64 * 64).reshape(64, 64).astype(np.uint16)
        >>> Image.fromarray(raw).save(file, "PNG")
        >>> seen = viewable(file.getvalue(), side=32)
        >>> seen.image.size, seen.note
        ((32, 32), '16-bit values 7009.48 to 8989.52 shown as black to white')
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warning of large images; its error stays one
            with Image.open(BoundedFile(data, name)) as image:
                if side is not None:
                    image.draft("RGB", (2 * side, 2 * side))
                return _seen(image, side)
    except (
        Exception
    ) as error:  # damaged bytes bring out anything in Pillow's plugins, from KeyError to struct.error
        raise ImageError(f"it cannot be decoded: {str(error) or type(error).__name__}", where=name) from error


def _seen(opened: Image.Image, side: int | None) -> Viewable:
    note = ""
    image = opened
    if image.mode in _WIDE:
        image, note = _mapped(image)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX if note else Image.Resampling.LANCZOS)
    else:
        image = image.copy()
    orientation = opened.getexif().get(0x0112, 1)
    if orientation != 1:
        image.getexif()[0x0112] = orientation
        image = ImageOps.exif_transpose(image)
    return Viewable(image, note)


def _mapped(image: Image.Image) -> tuple[Image.Image, str]:
    values = np.asarray(image, np.float32)
    valid, low, high = shown_range(values, PERCENTILES)
    scale = 255 / (high - low) if high > low else 0.0
    shown = np.where(valid, values, np.float32(low))
    seen = np.clip((shown - np.float32(low)) * np.float32(scale), 0, 255).astype(np.uint8)
    kind = "real" if image.mode == "F" else "32-bit" if image.mode == "I" else "16-bit"
    note = f"{kind} values {low:.6g} to {high:.6g} shown as black to white"
    return Image.fromarray(seen).convert("RGB"), note
