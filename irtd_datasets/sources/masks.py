"""Objects of mask images: which pixels are no background, whatever colours a tool gave them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from irtd_datasets.annotations.label_file import LabelFile, unreadable
from irtd_datasets.annotations.labelled import LabelledObject
from irtd_datasets.annotations.masks import regions
from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import inspect_image

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["parse_mask"]

_COLOURS = 64
"""More colours than this a mask of flat colours has not; then they are those of a photo, or of lossy compression."""
_RIM = 2
"""Pixels around an object over which resizing spreads grey."""
_LOSSY_RIM, _LOSSY_NOISE = 8, 32
"""The same where JPEG was between, which spreads over its blocks and leaves faint grey anywhere."""


def parse_mask(
    data: bytes, name: str, *, size: tuple[int, int], by_value: bool = False, smallest: int = 1
) -> LabelFile:
    """Read the objects of a mask: connected regions that are not background.

    Black is background, or index 0 of a palette. Any other colour is an object, dark ones, too; of a grey mask with
    white objects, grey is the rim that resizing leaves, and grey apart from them is listed as ``mask-grey``.

    Args:
        data: The whole file.
        name: Its name, for messages.
        size: Width and height of the image; a mask of another size is not read.
        by_value: Whether values are classes; then regions have their value as label.
        smallest: Fewest pixels of a region that counts.

    Returns:
        The size, and an object with a box for each region.

    Raises:
        AnnotationError: It is no image, or its colours or values are neither those of classes nor of a mask.
    """
    try:
        info = inspect_image(data, name)
        found = LabelFile(width=info.width, height=info.height)
        if (info.width, info.height) != size:
            return found
        with Image.open(io.BytesIO(data)) as image:
            lossy = image.format in {"JPEG", "WEBP", "MPO"}
            values, palette = _values(image)
    except ImageError as error:
        raise unreadable(name, error.problem) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise unreadable(name, str(error)) from error
    if values.ndim == 3:
        if by_value:
            raise unreadable(
                name, "it has colours, where values of classes are due", "Convert it to grey or a palette."
            )
        mask = _coloured(values, name)
    elif by_value or palette:
        mask = values
    else:
        mask = _white(values, name, found, lossy=lossy)
    flags = frozenset({"region"}) if by_value else frozenset()
    found.objects = [
        LabelledObject(str(region.value) if by_value else "", region.box, attributes=flags)
        for region in regions(mask, by_value=by_value, smallest=smallest)
    ]
    return found


def _values(image: Image.Image) -> tuple[npt.NDArray[Any], bool]:
    """Pixels of a mask, with a third dimension for colours alone, and whether they are indices of a palette."""
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [0] * 3).reshape(-1, 3)
        indices = np.asarray(image)
        if not (palette[:1].any() or int(indices.max(initial=0)) >= len(palette)):
            grey = (palette == palette[:, :1]).all()
            return (
                (palette[:, 0][indices], False) if grey and len(np.unique(palette)) > 2 else (indices, True)
            )
        return np.asarray(image.convert("RGB")), False
    if image.mode in {"1", "L", "I;16", "I", "I;16B", "F"}:
        return np.asarray(image), False
    if image.mode == "LA":
        return np.asarray(image)[..., 0], False
    colours = np.asarray(image.convert("RGB"))
    grey = (colours == colours[..., :1]).all()
    return (colours[..., 0] if grey else colours), False


def _coloured(colours: npt.NDArray[Any], name: str) -> npt.NDArray[np.bool_]:
    flat = colours.astype(np.int64) @ np.array([65536, 256, 1])
    kinds = np.unique(flat)
    if len(kinds) > _COLOURS or kinds[0] != 0:
        what = f"{len(kinds)} colours" if len(kinds) > _COLOURS else "no black, which is the background"
        raise unreadable(name, f"it has {what}", "Convert it to a mask of black and white.")
    return np.asarray(flat != 0)


def _white(values: npt.NDArray[Any], name: str, found: LabelFile, *, lossy: bool) -> npt.NDArray[np.bool_]:
    """What is not background in a grey mask."""
    kinds = np.unique(values)
    if len(kinds) <= 2:
        if len(kinds) == 2 and kinds[0] != 0:
            raise unreadable(
                name, f"its values are {kinds.tolist()}; none is 0", "Make the background black."
            )
        return np.asarray(values != 0)
    if values.dtype != np.uint8:
        kinds = kinds[:6]
        raise unreadable(name, f"its values are {kinds.tolist()} ...", "Make it a mask of 0 and 255.")
    if kinds[-1] <= 127:
        raise unreadable(
            name,
            f"its values are {kinds[:6].tolist()}: classes, where black and white is due",
            "Say by-value=yes in its row, or make it a mask of 0 and 255.",
        )
    white: npt.NDArray[np.bool_] = np.greater(values, 127)
    grey = (values > (_LOSSY_NOISE if lossy else 0)) & ~white
    if grey.any():
        near = white
        for _ in range(_LOSSY_RIM if lossy else _RIM):
            padded = np.pad(near, 1)
            near = near | padded[:-2, 1:-1] | padded[2:, 1:-1]
            padded = np.pad(near, 1)
            near = near | padded[1:-1, :-2] | padded[1:-1, 2:]
        apart = int((grey & ~near).sum())
        if apart:
            found.lose("mask-grey", f"{apart} grey pixels apart from white ones")
    return white
