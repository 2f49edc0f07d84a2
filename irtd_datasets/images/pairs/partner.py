"""How a visible partner comes to show what its infrared image shows: found once, written down, and done by that.

A pair that is declared aligned keeps its bytes. Any other is registered, by labels or by images, and its visible image
cut to the view of the infrared one. Where the infrared camera sees more, both are cut if that is allowed, as for
records that are made here; released infrared images are never cut, and their pair is refused.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from irtd_datasets.errors import ImageError
from irtd_datasets.images.encoding import encode_lossless, without_metadata
from irtd_datasets.images.info import Doubt
from irtd_datasets.images.inspection import inspect_image
from irtd_datasets.images.opening import opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.images.pairs.transform import PairTransform

    Box: TypeAlias = tuple[int, int, int, int]

__all__ = [
    "ALIGNMENTS",
    "SMALLER_VIEW",
    "cut_image",
    "fit_partner",
    "no_registration",
    "refused",
    "squares_in_turn",
]

ALIGNMENTS = {
    "aligned": "both images of a pair show the same view, pixel by pixel up to their sizes",
    "unaligned": "the cameras have views of their own",
    "unknown": "nobody says it, so that each pair is registered",
}
"""What can be declared of the pairs of a source."""

SMALLER_VIEW = "smaller-view"
"""Why a pair is refused whose visible image does not reach to the edges of an infrared image that must not be cut."""

_TILE = 8  # squares along the longer side of a checkerboard
_SAME_SHAPE = 0.02  # difference in proportions up to which images can have one field of view
_SHORT = (
    0.01  # share of a side by which the visible image may end before the infrared one: less than a box is off
)
_JPEG_QUALITY = 95


def no_registration() -> dict[str, Any]:
    """The column ``registration`` of a row without a partner.

    Example:
        >>> no_registration()["status"]
        'none'
    """
    return {
        "status": "none",
        "method": None,
        "transform": [],
        "quality": None,
        "error": None,
        "partner": None,
        "visible_box": [],
        "image_box": [],
    }


def refused(reason: str, partner: str, method: str | None = None) -> dict[str, Any]:
    """The column ``registration`` of a row whose partner cannot be shown.

    Args:
        reason: Code, such as those of `irtd_datasets.images.pairs.REASONS`.
        partner: Name of its file.
        method: What told so.
    """
    return {**no_registration(), "status": f"refused-{reason}", "method": method, "partner": partner}


def fit_partner(
    infrared: bytes | memoryview,
    visible: bytes | memoryview,
    partner: str,
    alignment: str = "unknown",
    *,
    cut_both: bool = False,
    labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Find out how a visible image comes to show what an infrared image shows.

    Args:
        infrared: The file, upright.
        visible: Likewise.
        partner: Name of the visible file.
        alignment: What is declared of the pair, of `ALIGNMENTS`.
        cut_both: Whether the infrared image may be cut where it shows more than the visible one.
        labels: Objects of both for `irtd_datasets.images.pairs.crop_pair`: ``infrared_boxes`` and the like.

    Returns:
        The column ``registration``. Whatever is wrong with the pair is a refusal with its reason, never an error.
    """
    try:
        info, other = inspect_image(infrared, "infrared"), inspect_image(visible, partner)
    except ImageError as error:
        return refused(error.code, partner)
    size, theirs = (info.width, info.height), (other.width, other.height)
    if min(theirs) < _LEAST:
        return refused("too-small", partner)
    if alignment == "aligned" and abs(theirs[0] * size[1] / (theirs[1] * size[0]) - 1) <= _SAME_SHAPE:
        return _written(
            "aligned", "declared", _whole(theirs, size), (*_CORNER, *theirs), (*_CORNER, *size), partner
        )
    # One pair is met again in each part that asks about it.
    digest = hashlib.blake2b(infrared, digest_size=16)
    digest.update(visible)
    key = (digest.digest(), len(visible), cut_both, repr(labels))
    found = _KNOWN.get(key)
    if found is None:
        found = _registered(bytes(infrared), bytes(visible), partner, cut_both=cut_both, labels=labels)
        while len(_KNOWN) >= _REMEMBERED:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        _KNOWN[key] = found
    return copy.deepcopy({**found, "partner": partner})


_KNOWN: dict[tuple[Any, ...], dict[str, Any]] = {}
_REMEMBERED = 4096

_LEAST = 32
_CORNER = (0, 0)


def _registered(
    infrared: bytes, visible: bytes, partner: str, *, cut_both: bool, labels: Mapping[str, Any] | None
) -> dict[str, Any]:
    from irtd_datasets.images.pairs.cropping import crop_pair
    from irtd_datasets.images.pairs.transform import PairTransform

    try:
        found = crop_pair(infrared, visible, **(labels or {}))
    except ImageError as error:
        return refused(error.code, partner)
    told = {"quality": found.quality.confidence, "error": found.quality.error} if found.quality else {}
    if not found or found.transform is None:
        return {**refused(found.reason, partner, found.method or None), **_finite(told)}
    size, theirs = found.infrared.source.size, found.visible.source.size
    if found.status == "aligned":
        boxes: tuple[Box, Box] = ((0, 0, *theirs), (0, 0, *size))
        return {
            **_written("aligned", found.method, PairTransform.between_sizes(theirs, size), *boxes, partner),
            **_finite(told),
        }
    boxes = (found.visible.rectangle, found.infrared.rectangle)
    if not cut_both:
        whole = _covering(found.transform, size, theirs)
        if whole is None:
            return {**refused(SMALLER_VIEW, partner, found.method), **_finite(told)}
        boxes = whole, (0, 0, *size)
    if any(image.loses_depth for image in (found.visible.source,)):
        return {**refused("image-16-bit-colour", partner, found.method), **_finite(told)}
    return {**_written("cropped", found.method, found.transform, *boxes, partner), **_finite(told)}


def _finite(told: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in told.items() if math.isfinite(value)}


def _whole(visible: tuple[int, int], infrared: tuple[int, int]) -> tuple[float, ...]:
    return infrared[0] / visible[0], 0.0, 0.0, 0.0, infrared[1] / visible[1], 0.0


def _covering(transform: PairTransform, size: tuple[int, int], theirs: tuple[int, int]) -> Box | None:
    """The rectangle of the visible image that shows what the whole infrared one does; None where it ends before."""
    ends = transform.apply(np.array([0.0, 0.0, *theirs]))
    room = np.array([*size, *size]) * _SHORT
    if (ends[:2] > room[:2]).any() or (ends[2:] < np.array(size) - room[2:]).any():
        return None
    wanted = np.rint(transform.inverse().apply(np.array([0.0, 0.0, *size]))).astype(int)
    low = np.maximum(wanted[:2], 0).tolist()
    high = np.minimum(wanted[2:], theirs).tolist()
    return (low[0], low[1], high[0], high[1])


def _written(
    status: str,
    method: str,
    transform: PairTransform | Sequence[float],
    visible_box: Box | Sequence[int],
    image_box: Box | Sequence[int],
    partner: str,
) -> dict[str, Any]:
    numbers = (
        list(transform)
        if isinstance(transform, tuple)
        else [transform.scale_x, 0.0, transform.shift_x, 0.0, transform.scale_y, transform.shift_y]  # type: ignore[union-attr]
    )
    numbers[2] -= image_box[0]
    numbers[5] -= image_box[1]
    return {
        "status": status,
        "method": method,
        "transform": numbers,
        "quality": None,
        "error": None,
        "partner": partner,
        "visible_box": [int(value) for value in visible_box],
        "image_box": [int(value) for value in image_box],
    }


def cut_image(
    data: bytes | memoryview, box: Sequence[int], name: str, *, store: Literal["exact", "as-file"] = "exact"
) -> bytes | memoryview:
    """A part of an image as a file; the bytes given where the part is the whole.

    Args:
        data: The file, upright.
        box: x_min, y_min, x_max, y_max in its pixels.
        name: For messages.
        store: ``exact`` writes PNG, without loss; ``as-file`` writes a JPEG of quality 95 without subsampling where
            the file is a JPEG, which takes a tenth of the room.

    Raises:
        ImageError: It cannot be decoded.
    """
    info = inspect_image(data, name)
    if tuple(box) == (0, 0, info.width, info.height):
        return data
    with opened(bytes(data), name, Doubt("")) as image:
        part = image.crop(tuple(box))  # type: ignore[arg-type]
        profile = image.info.get("icc_profile")
        if store == "as-file" and info.format in {"JPEG", "MPO"} and part.mode in {"L", "RGB"}:
            file = io.BytesIO()
            without_metadata(part).save(
                file, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=profile
            )
            return file.getvalue()
        return encode_lossless(without_metadata(part), profile)[0]


def squares_in_turn(first: Image.Image, second: Image.Image) -> Image.Image:
    """Squares of two images of 8 bits in turn, in the size of the first: edges run on from square to square."""
    side = max(8, max(first.size) // _TILE)
    rows, columns = np.indices((first.height, first.width)) // side
    mine, theirs = (np.asarray(image.convert("RGB").resize(first.size)) for image in (first, second))
    return Image.fromarray(np.where(((rows + columns) % 2 == 0)[..., None], mine, theirs))
