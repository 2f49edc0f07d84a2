"""The check of an image's header."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from irtd_datasets.images.headers import read_jpeg, read_png
from irtd_datasets.images.info import JPEG_START, MAX_PIXELS, PNG_START, Doubt, ImageInfo
from irtd_datasets.images.opening import ask_pillow, refuse_foreign, refuse_large

__all__ = ["inspect_image"]


def inspect_image(
    data: bytes | memoryview,
    name: str,
    *,
    verify: Literal["header", "decode"] = "header",
    max_pixels: int = MAX_PIXELS,
) -> ImageInfo:
    """Read an image's header and make sure that its pixels are there.

    A JPEG or PNG whose end is missing is decoded in full, and accepted when nothing of it is lost. With
    ``verify="header"`` damage in the middle of a file stays unseen.

    Args:
        data: The whole file.
        name: Name of the file for messages; its suffix is not looked at.
        verify: ``decode`` decodes every file in full, at a hundred times the cost.
        max_pixels: Largest number of pixels accepted, compared with the header before anything is allocated.
            Pillow keeps its own limit beside this one (`PIL.Image.MAX_IMAGE_PIXELS`).

    Returns:
        The header's facts.

    Raises:
        ImageError: With code ``image-empty``, ``image-lfs-pointer``, ``image-not-an-image``,
            ``image-truncated``, ``image-too-large`` or ``image-unreadable``.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("I;16", (640, 512)).save(file, "PNG")
        >>> info = inspect_image(file.getvalue(), "FLIR_00006.png")
        >>> info.format, info.mode, info.width, info.height, info.bit_depth
        ('PNG', 'I;16', 640, 512, 16)
        >>> inspect_image(b"<html>404", "FLIR_6.jpg")
        Traceback (most recent call last):
        ...
        irtd_datasets.errors.ImageError: FLIR_6.jpg: not an image but an HTML page, beginning with '<html>404'
        It is probably the error page of a failed download; get the file again.
    """
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    answer: ImageInfo | Doubt
    if view[:3] == JPEG_START:
        answer = read_jpeg(view)
    elif view[:8] == PNG_START:
        answer = read_png(view)
    else:
        refuse_foreign(view, name)
        answer = Doubt("")
    if isinstance(answer, ImageInfo):
        refuse_large(answer.width, answer.height, name, max_pixels)
        if verify == "decode":
            ask_pillow(view, name, Doubt("", decode=True), max_pixels)
        return answer
    if verify == "decode":
        answer = replace(answer, decode=True)
    return ask_pillow(view, name, answer, max_pixels)
