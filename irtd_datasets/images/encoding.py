"""Writing pixels without loss."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

__all__ = ["encode_lossless", "without_metadata"]


_PNG_CAN_HOLD = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def without_metadata(image: Image.Image) -> Image.Image:
    """The image without metadata but transparent colours; 16-bit grey in native order, as PNG wants it."""
    if image.mode in {"I;16B", "I;16L", "I;16N"}:
        plain = Image.fromarray(np.asarray(image).astype(np.uint16))
    else:
        plain = image.copy()
    plain.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return plain


def encode_lossless(image: Image.Image, profile: bytes | None) -> tuple[bytes, str]:
    """Encode without loss: bytes and container, ``PNG``, or ``TIFF`` where PNG cannot hold the mode."""
    file = io.BytesIO()
    if image.mode in _PNG_CAN_HOLD:
        image.save(file, "PNG", icc_profile=profile)
        return file.getvalue(), "PNG"
    image.save(file, "TIFF", compression="tiff_adobe_deflate", icc_profile=profile)
    return file.getvalue(), "TIFF"
