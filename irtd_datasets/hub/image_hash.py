"""Two hashes of an image beside that of its bytes: of its decoded pixels, and of what it looks like.

The perceptual hash is the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions"
(2010), section 3.2.1, as in the pHash library: luminance on a grid of 32 x 32, the 8 x 8 coefficients of the discrete
cosine transform next to the lowest row and column, a bit each for above the median. A re-encoded, resized or slightly
brightened image keeps nearly all bits; a mirrored or cropped one does not.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from irtd_datasets.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    UInt64s = NDArray[np.uint64]

__all__ = ["FLAT", "Look", "hamming", "look", "near_pairs", "pixel_digest"]

FLAT = 1.0
"""Standard deviation of the 32 x 32 luminance, in grey levels of 256, below which an image has no look of its own."""

_SIDE = 32
_DECODED = 128  # JPEG is decoded at the smallest eighth that is at least this large
_WIDE = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_CHUNKS = 4  # of 16 bits
_BLOCK = 1 << 21  # pairs compared at once
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Warning)


def _cosines() -> NDArray[np.float32]:
    positions, frequencies = np.arange(_SIDE), np.arange(1, 9)
    table: NDArray[np.float32] = np.cos(
        np.pi * (2 * positions + 1) * frequencies[:, None] / (2 * _SIDE)
    ).astype(np.float32)
    return table


_COSINES = _cosines()
_BITS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))
_POPULATION = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


class Look(NamedTuple):
    """What an image looks like."""

    bits: int
    """The perceptual hash, 64 bits."""
    contrast: float
    """Standard deviation of its 32 x 32 luminance in grey levels of 256; below `FLAT` the bits are noise."""


def look(data: bytes, name: str = "") -> Look:
    """Return the perceptual hash of an encoded image.

    JPEG is decoded in luminance and at a fraction of its size; images of more than 8 bits are stretched to their
    own range first.

    Args:
        data: The file.
        name: For messages.

    Raises:
        ImageError: It cannot be decoded.

    Example:
        >>> file = io.BytesIO()
        >>> Image.linear_gradient("L").save(file, "PNG")
        >>> round(look(file.getvalue()).contrast)
        74
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                image.draft("L", (_DECODED, _DECODED))
            if image.mode in _WIDE:
                grid = _stretched(image)
            else:
                grey = image if image.mode == "L" else image.convert("L")
                small = ImageOps.exif_transpose(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX))
                grid = np.asarray(small, np.float32)
    except _BROKEN as error:
        raise ImageError(f"it cannot be decoded: {error}", where=name) from error
    coefficients = (_COSINES @ grid @ _COSINES.T).ravel()
    above = coefficients > np.median(coefficients)
    return Look(int(_BITS[above].sum()), float(grid.std()))


def _stretched(image: Image.Image) -> NDArray[np.float32]:
    values = np.asarray(image, np.float32)
    finite = np.where(np.isfinite(values), values, 0)
    low, high = float(finite.min()), float(finite.max())
    if high > low:
        finite = (finite - low) * np.float32(255 / (high - low))
    small = Image.fromarray(finite).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def pixel_digest(data: bytes, name: str = "") -> bytes:
    """Return the SHA-256 of the decoded, upright pixels: the same for every lossless encoding of an image.

    A palette counts as its colours, and colour with three equal channels as grey.

    Args:
        data: The file.
        name: For messages.

    Raises:
        ImageError: It cannot be decoded.

    Example:
        >>> png, tiff = io.BytesIO(), io.BytesIO()
        >>> Image.linear_gradient("L").save(png, "PNG")
        >>> Image.linear_gradient("L").convert("RGB").save(tiff, "TIFF")
        >>> pixel_digest(png.getvalue()) == pixel_digest(tiff.getvalue())
        True
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = _canonical(ImageOps.exif_transpose(opened))
            digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
            digest.update(image.tobytes())
    except _BROKEN as error:
        raise ImageError(f"it cannot be decoded: {error}", where=name) from error
    return digest.digest()


def _canonical(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    if image.mode == "RGB":
        red, green, blue = image.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            return red
    return image


def hamming(one: UInt64s, two: UInt64s) -> NDArray[np.uint8]:
    """Return how many bits differ, element by element.

    Args:
        one: uint64, shape (N,).
        two: Likewise.

    Example:
        >>> hamming(np.array([0b1011], np.uint64), np.array([0b0001], np.uint64)).tolist()
        [2]
    """
    pieces = np.ascontiguousarray(one ^ two).view(np.uint16).reshape(-1, _CHUNKS)
    counts: NDArray[np.uint8] = _POPULATION[pieces].sum(axis=1, dtype=np.uint8)
    return counts


def near_pairs(
    one: UInt64s, two: UInt64s, max_distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """Find all pairs of hashes that differ in few bits, without comparing all with all.

    Of four pieces of 16 bits, one differs in at most a quarter of the bits that the whole does: pairs are looked up by
    each piece with so many bits flipped, and only those found are compared.

    Args:
        one: uint64, shape (N,).
        two: uint64, shape (M,).
        max_distance: Bits that may differ, 0 to 15.

    Yields:
        Positions in ``one``, positions in ``two`` and distances, in blocks; each pair once.

    Raises:
        ImageError: The distance is out of range.

    Example:
        >>> one, two = np.array([0, 0xFF00], np.uint64), np.array([0xFF01, 0xFFFFFF], np.uint64)
        >>> [(a.tolist(), b.tolist(), d.tolist()) for a, b, d in near_pairs(one, two, 2)]
        [([1], [0], [1])]
    """
    if not 0 <= max_distance <= 15:
        raise ImageError(f"max_distance is {max_distance}, expected 0 to 15 of 64 bits", code="usage")
    one, two = np.ascontiguousarray(one, np.uint64), np.ascontiguousarray(two, np.uint64)
    if not len(one) or not len(two):
        return
    radius = max_distance // _CHUNKS
    masks = np.flatnonzero(radius >= _POPULATION)
    pieces_one, pieces_two = (
        one.view(np.uint16).reshape(-1, _CHUNKS),
        two.view(np.uint16).reshape(-1, _CHUNKS),
    )
    for chunk in range(_CHUNKS):
        order = np.argsort(pieces_two[:, chunk], kind="stable")
        bounds = np.searchsorted(pieces_two[order, chunk], np.arange((1 << 16) + 1))
        for mask in masks:
            keys = pieces_one[:, chunk] ^ np.uint16(mask)
            for a, b in _expand(bounds[keys], bounds[keys.astype(np.int64) + 1], order):
                distances = hamming(one[a], two[b])
                keep = distances <= max_distance
                if not keep.any():
                    continue
                a, b, distances = a[keep], b[keep], distances[keep]  # noqa: PLW2901 - narrowed in steps
                # A pair is found once for each piece that is near enough: only the first one counts.
                earlier = _POPULATION[pieces_one[a, :chunk] ^ pieces_two[b, :chunk]] <= radius
                first = ~earlier.any(axis=1)
                if first.any():
                    yield a[first], b[first], distances[first]


def _expand(
    starts: NDArray[np.int64], ends: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of a position and the entries of its range, in blocks of bounded size."""
    rows = np.flatnonzero(ends > starts)
    while len(rows):
        counts = ends[rows] - starts[rows]
        taken = max(1, int(np.searchsorted(np.cumsum(counts), _BLOCK, side="right")))
        block, counts = rows[:taken], counts[:taken]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(block, counts), order[np.repeat(starts[block], counts) + offsets]
        rows = rows[taken:]
