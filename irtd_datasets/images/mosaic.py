"""A mosaic of crops, as the questions of re-identification show them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from irtd_datasets.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CELL", "COLUMNS", "draw_mosaic"]

COLUMNS = 4
CELL = (128, 256)
"""Width and height of a cell in pixels: the usual shape of crops of people."""


def draw_mosaic(
    crops: Sequence[bytes], names: Sequence[str] = (), *, columns: int = COLUMNS, cell: tuple[int, int] = CELL
) -> bytes:
    """Draw crops side by side, row by row, each scaled to its cell.

    The same crops give the same bytes on the same version of Pillow.

    Args:
        crops: Encoded images.
        names: Their names, for messages.
        columns: Crops in a row.
        cell: Width and height of each in the mosaic.

    Returns:
        A PNG file, grey where all crops are.

    Raises:
        ImageError: A crop cannot be decoded.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 90), 200).save(file, "BMP")
        >>> Image.open(io.BytesIO(draw_mosaic([file.getvalue()] * 8))).size
        (512, 512)
    """
    images = [_open(data, names[i] if i < len(names) else f"crop {i + 1}") for i, data in enumerate(crops)]
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    rows = -(-len(images) // columns)
    page = Image.new(mode, (columns * cell[0], rows * cell[1]))
    for number, image in enumerate(images):
        scaled = image.convert(mode).resize(cell, Image.Resampling.BICUBIC)
        page.paste(scaled, (number % columns * cell[0], number // columns * cell[1]))
    file = io.BytesIO()
    page.save(file, "PNG", compress_level=6)
    return file.getvalue()


def _open(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"it cannot be decoded: {error}", where=name) from error
    if upright.mode == "L":
        return upright
    colour = upright.convert("RGB")
    red, green, blue = colour.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else colour
