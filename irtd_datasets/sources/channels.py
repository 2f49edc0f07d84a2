"""Images that hold two: colour and infrared in four channels."""

from __future__ import annotations

import io

from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import inspect_image

__all__ = ["channels"]


def channels(data: bytes, name: str, which: str) -> bytes:
    """One half of a four-channel PNG (MFNet): colour and, in place of alpha, infrared."""
    from PIL import Image

    info = inspect_image(data, name)
    if info.mode != "RGBA":
        raise ImageError(
            f"it has mode {info.mode}, expected four channels (RGBA)",
            code="image-unexpected-layout",
            where=name,
            remedy="It is not the original: a conversion to RGB has thrown its infrared channel away.",
        )
    file = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        bands = image.split()
        half = bands[3] if which == "infrared" else Image.merge("RGB", bands[:3])
        half.save(file, "PNG")
    return file.getvalue()
