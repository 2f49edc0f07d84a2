"""Whether two images clearly fit elsewhere than their labels say: labels, or a partner, of another moment.

Labels that are all shifted in the same way agree with each other, however wrong they are. So the images are asked, in
three steps, of which each is far slower than the one before and nearly always the last: tiny copies of the view that
the labels say both have are correlated at all shifts; where another place fits clearly better, larger copies are; and
what they say counts where it passes as an answer from images alone does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from irtd_datasets.images.pairs.fields import edge_field, fast_length
from irtd_datasets.images.pairs.registration import elsewhere, filled, registered_near
from irtd_datasets.images.pairs.transform import PairTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from irtd_datasets.images.pairs.views import PairImage

    Grey: TypeAlias = NDArray[np.float32]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["contradicted"]

_LEAST = 32  # pixels of the common view below which nothing is asked
_TINY = 64  # pixels of its longer side in the first look
_SMALL = 96  # and in the second
_SAMPLED = 3  # pixels a tiny copy takes of the file's, along each axis
_BETTER = (
    1.5  # as good as this elsewhere, in units of how good it is there; 0.3 to 0.8 in pairs with right labels
)
_TINY_PEAK = 4.1  # of the best other place, in standard deviations; one in fifty of unlike images reaches it
_SMALL_PEAK = 5.0  # one in several hundred; 6 to 9 where only the labels are wrong
_FAR = 0.03  # of the diagonal: labels may be as far from the truth without being of another moment


def contradicted(
    infrared: PairImage, visible: PairImage, transform: PairTransform, view: Floats
) -> PairTransform | None:
    """Where two images clearly fit, where that is far from where their labels put them; else None.

    Args:
        infrared: One image.
        visible: The other.
        transform: From visible to infrared pixels, as the labels say.
        view: The common view in infrared pixels, as they say.

    Raises:
        ImageError: An image cannot be decoded.
    """
    there = transform.inverse().apply(view)
    if min(*(view[2:] - view[:2]), *(there[2:] - there[:2])) < _LEAST:
        return None
    wide, high = _size(view, _TINY)
    size = fast_length(wide) + 2, fast_length(high) + 2  # edges have two less
    if not _fits_elsewhere(_tiny(infrared, size, view), _tiny(visible, size, there)):
        return None
    pair = filled(infrared.grey()), filled(visible.grey())
    size = _size(view, _SMALL)
    fields = [
        edge_field(_small(grey, size, box)).planes for grey, box in zip(pair, (view, there), strict=True)
    ]
    clarity, peak, (right, down) = elsewhere(*fields)
    if clarity * _BETTER > 1 or peak < _SMALL_PEAK:
        return None
    unit = (view[2:] - view[:2]) / size
    start = PairTransform(
        transform.scale_x,
        transform.scale_y,
        transform.shift_x + right * float(unit[0]),
        transform.shift_y + down * float(unit[1]),
    )
    found = registered_near(*pair, start)
    if found.confidence < 0.5:
        return None
    corners = np.array([[0.0, 0.0], visible.size])
    moved = np.hypot(*(found.transform.apply(corners) - transform.apply(corners)).T)
    return found.transform if moved.min() > _FAR * np.hypot(*infrared.size) else None


def _size(view: Floats, longer: int) -> tuple[int, int]:
    sides = (view[2:] - view[:2]) * longer / (view[2:] - view[:2]).max()
    return max(round(float(sides[0])), 16), max(round(float(sides[1])), 16)


def _small(grey: Grey, size: tuple[int, int], box: Floats) -> Grey:
    part = tuple(np.clip(box, 0, [*grey.shape[::-1]] * 2).tolist())
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX, box=part, reducing_gap=1.0))


def _tiny(image: PairImage, size: tuple[int, int], box: Floats) -> Grey:
    """A rough copy of a part, of few of its pixels."""
    pixels = image.pixels()
    if isinstance(pixels, np.ndarray) or pixels.mode not in {"L", "RGB"}:
        return _small(filled(image.grey()), size, box)
    many = (size[0] * _SAMPLED, size[1] * _SAMPLED)
    part = tuple(np.clip(box, 0, [*image.size] * 2).tolist())
    few = pixels.resize(many, Image.Resampling.NEAREST, box=part).reduce(_SAMPLED)
    return np.asarray(few if few.mode == "L" else few.convert("L"), np.float32)


def _fits_elsewhere(infrared: Grey, visible: Grey) -> bool:
    """Whether the edges of two copies of one view fit clearly better where one is shifted.

    An edge is a complex number, its doubled direction times its strength, at most 1; the views wrap around.
    """
    both = np.stack([infrared, visible])
    edges = np.empty((2, infrared.shape[0] - 2, infrared.shape[1] - 2), np.complex64)
    np.subtract(both[:, 1:-1, 2:], both[:, 1:-1, :-2], out=edges.real)
    np.subtract(both[:, 2:, 1:-1], both[:, :-2, 1:-1], out=edges.imag)
    power = edges.real**2 + edges.imag**2
    power += power.mean(axis=(1, 2), keepdims=True) + np.float32(1e-6)
    edges *= edges
    edges /= power
    spectra = np.fft.fft2(edges)
    fits = np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    near, far = _rings(*fits.shape)
    here, others = fits.take(near).max(), fits.take(far)
    best = others.max()
    return bool(best > _BETTER * here and best > _TINY_PEAK * np.sqrt(np.dot(others, others) / others.size))


@lru_cache(maxsize=256)
def _rings(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of shifts that are none, and of shifts by much more, up to a third of the sides."""
    rows = np.minimum(np.arange(height), height - np.arange(height))[:, None]
    columns = np.minimum(np.arange(width), width - np.arange(width))[None]
    away, radius = np.hypot(rows, columns), max(0.02 * np.hypot(height, width), 1.5)
    inside = (rows <= height // 3) & (columns <= width // 3)
    return np.flatnonzero(away <= radius), np.flatnonzero((away > 2.5 * radius) & inside)
