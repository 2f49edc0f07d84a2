"""The order of rows: a function of the images' names and a seed, never of the machine.

Rows are sorted by a keyed hash of their image's released name, so that a plain sequential read is already a fair
sample, the rows of one image stand together, and leaving some images out does not move the others.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ORDER_SEED", "by_image", "image_key"]

ORDER_SEED = 0
"""Seed of the published order; recorded in every manifest."""


def image_key(image: str, seed: int = ORDER_SEED) -> bytes:
    """Sort key of an image: eight bytes that look random but are the same everywhere.

    Example:
        >>> image_key("63-FLIR_ADAS/training/PreviewData/FLIR_00001.jpeg").hex()
        '8ae6ee5b59883af1'
    """
    return blake2b(
        image.encode("utf-8", "surrogatepass"), digest_size=8, key=seed.to_bytes(8, "big")
    ).digest()


def by_image(images: Iterable[str], seed: int = ORDER_SEED) -> list[str]:
    """Names of images in seeded random order."""
    return sorted(images, key=lambda image: (image_key(image, seed), image))
