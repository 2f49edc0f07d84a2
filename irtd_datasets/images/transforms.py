"""Ways from a user's copy of an image to the layout of the released one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.errors import ImageError
from irtd_datasets.images.info import PILLOW_DEPTHS

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

__all__ = ["PIXEL_TRANSFORMS", "unexpected_layout"]


def unexpected_layout(problem: str, name: str, transform: str) -> ImageError:
    """The error for a copy that a transform cannot bring to the released layout."""
    return ImageError(
        f"{transform}: {problem}",
        code="image-unexpected-layout",
        where=name,
        remedy="See which copy of the source it is from: it is neither the released one nor the known other.",
    )


def _crop_border_100(image: Image.Image, name: str) -> Image.Image:
    """Cut the white border of 100 pixels off an original DroneVehicle image (840x712 to 640x512)."""
    if image.size == (640, 512):
        return image
    if image.size != (840, 712):
        raise unexpected_layout(
            f"it has {image.width}x{image.height} pixels, expected 840x712 or 640x512",
            name,
            "crop-border-100",
        )
    if PILLOW_DEPTHS.get(image.mode, 8) != 8:
        raise unexpected_layout(f"expected an 8-bit image, not mode {image.mode}", name, "crop-border-100")
    darkest = np.asarray(image.convert("RGB")).min(axis=2)
    border = np.ones(darkest.shape, bool)
    # JPEG blocks of 8 straddle the inner edge of the border and carry the image into it.
    border[96:-96, 96:-96] = False
    white = float(np.mean(darkest[border] >= 224))
    if white < 0.98:
        raise unexpected_layout(
            f"only {white:.0%} of its border of 100 pixels is white, expected all of it",
            name,
            "crop-border-100",
        )
    return image.crop((100, 100, 740, 612))


def _grey(image: Image.Image, name: str) -> Image.Image:
    """Bring a colour copy of a grey image back to one channel.

    Where all channels are equal, one of them is taken; otherwise luminance as in Pillow
    (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B).
    """
    if image.mode in {"L", *PILLOW_DEPTHS}:
        return image
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if "A" in image.getbands():
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise unexpected_layout(
                "it has an alpha channel that is not opaque and would be lost", name, "grey"
            )
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "L":
        return image
    colour = image.convert("RGB")
    red, green, blue = colour.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return colour.convert("L")


PIXEL_TRANSFORMS: dict[str, Callable[[Image.Image, str], Image.Image]] = {
    "crop-border-100": _crop_border_100,
    "grey": _grey,
}
"""Ways from a user's copy of an image to the layout of the released one.

Each takes an upright image and its name, returns the very same image where there is nothing to do, and raises
`ImageError` (``image-unexpected-layout``) where the copy is neither of the two.
"""
