"""Dark visible images made bright enough to be described.

The paper sends images taken at night through a network (Retinexformer) before a model describes them; its threshold
and weights were not published. `brighten` does with Pillow and NumPy what such a network mostly does to a mean: it
stretches the values that are there and lifts them by one curve for all colours. Give `CaptionOptions.enhancer` a
function of your own, such as that network, to do it otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Enhancer: TypeAlias = Callable[[Image.Image], Image.Image]

__all__ = ["DARK", "brighten"]

DARK = 40.0
"""Mean grey value, 0 to 255, below which a visible image is brightened before it is sent."""

_PERCENTILES = (1.0, 99.5)
_WANTED = 0.4  # mean of what is sent, of 1
_BLOCK = 8
_LEAST_CONTENT = 1 / 255  # spread of the means of blocks; less is noise, which would only be made larger
_LEAST_GAMMA = 0.25


def brighten(image: Image.Image) -> Image.Image:
    """A brighter copy of an 8-bit image: values stretched between two percentiles, then lifted by a power.

    An image without content, black or noise alone, stays as it is.

    Example:
        >>> dark = Image.fromarray(np.tile(np.arange(30, dtype=np.uint8), (30, 1))).convert("RGB")
        >>> round(float(np.asarray(brighten(dark)).mean()))
        128
    """
    values = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    luminance = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    low, high = np.percentile(luminance, _PERCENTILES)
    blocks = Image.fromarray(luminance).reduce(_BLOCK)
    if high <= low or float(np.asarray(blocks).std()) < _LEAST_CONTENT:
        return image
    stretched = np.clip((values - low) / (high - low), 0, 1)
    mean = float(np.clip(stretched.mean(), 1e-3, 1))
    if mean < _WANTED:
        stretched **= max(np.log(_WANTED) / np.log(mean), _LEAST_GAMMA)
    return Image.fromarray(np.rint(stretched * 255).astype(np.uint8))
