"""A row before its image is known, and its completion.

A dataset's parser is a pure function from a record to a `PendingRow`. Only `finish` needs the image: it turns the
numbers of the text into pixels of the upright image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert, few_to_pixels, find_outside, rounding_bound
from irtd_datasets.images.files import turn_boxes, turn_points
from irtd_datasets.images.pairs.partner import no_registration
from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    from irtd_datasets.images.files import ImageInfo, PreparedImage

__all__ = ["Correction", "Message", "PendingRow", "Regions", "finish"]


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A right value that is certain, offered beside the released one."""

    issue: str
    field: str
    value: str


@dataclass(slots=True)  # not frozen, which makes it four times as slow to make; nobody changes one
class Regions:
    """What a text says about places, in the text's own frame.

    Attributes:
        kind: ``box`` (x_min, y_min, x_max, y_max), ``polygon`` (four corners, 8 numbers) or ``point`` (x, y).
        labels: One label for each place.
        numbers: One tuple of numbers for each place, in ``frame``.
        frame: Frame of the numbers.
        size: Width and height of the image that the numbers were made on, where the release implies one.
        decimals: Digits after the point that the numbers were written with. When given, a place that leaves the
            image by more than their rounding explains is flagged ``box-outside-image``.
        only_square: The frame holds on square images only, since it is not known whether the numbers refer to the
            padded square; on other images the places are left out and flagged ``box-frame-unknown``.
    """

    kind: Literal["box", "polygon", "point"]
    labels: tuple[str, ...]
    numbers: tuple[tuple[float, ...], ...]
    frame: Frame
    size: tuple[int, int] | None = None
    decimals: int | None = None
    only_square: bool = False


@dataclass(slots=True)  # not frozen, which makes it four times as slow to make; nobody changes one
class PendingRow:
    """A row of the schema before its image is known. Field meanings are those of `irtd_datasets.schema.FIELDS`.

    Attributes:
        image: Released name of the image, relative, with ``/``.
        box_frame: Frame of the numbers of the text where no places are given, such as ``unknown``.
        quirks: Codes of file-wide defects that this record shows; counted, not put into the row.
        rounds: Questions with an answer in it.
        origin: Who wrote the text: ``released``, ``rule``, ``model:NAME`` or ``human:NAME``.
        size: Width and height that every image of its source has; None when they differ or are not known.
    """

    id: str
    image: str
    task: str
    modality: str
    source: str | None
    messages: tuple[Message, ...]
    question: str | None = None
    choices: tuple[str, ...] = ()
    answer: str | None = None
    regions: tuple[Regions, ...] = ()
    issues: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    box_frame: str | None = None
    quirks: tuple[str, ...] = field(default=())
    rounds: int = 1
    size: tuple[int, int] | None = None
    origin: str = "released"


def finish(
    pending: PendingRow,
    image: PreparedImage,
    *,
    note: str = "",
    registration: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Complete a row with what its image tells; image bytes are left out.

    Args:
        pending: The row so far.
        image: The image, upright.
        note: How the image was found, when not under its released name.
        registration: How its partner comes to show what it shows; None without a partner.

    Returns:
        The row without the ``bytes`` of its image columns.
    """
    issues = list(pending.issues)
    regions, frame = _known_regions(pending, image, issues)
    objects = (
        _objects(regions, image, issues) if regions else {"label": [], "box": [], "polygon": [], "point": []}
    )
    if pending.size is not None and pending.size != (image.width, image.height):
        _append(issues, "image-size-unexpected")
    return {
        "id": pending.id,
        "registration": registration or no_registration(),
        "modality": MODALITIES.index(pending.modality),
        "task": TASKS.index(pending.task),
        "source": pending.source,
        "origin": pending.origin,
        "messages": list(pending.messages),
        "question": pending.question,
        "choices": list(pending.choices),
        "answer": pending.answer,
        "objects": objects,
        "box_frame": None if frame is None else BOX_FRAMES.index(frame),
        "width": image.width,
        "height": image.height,
        "bit_depth": image.bit_depth,
        "image_note": f"{note}; {image.note}" if note and image.note else note or image.note,
        "issues": issues,
        "corrections": [{"issue": c.issue, "field": c.field, "value": c.value} for c in pending.corrections],
    }


def _known_regions(
    pending: PendingRow, image: PreparedImage, issues: list[str]
) -> tuple[tuple[Regions, ...], str | None]:
    """The places whose frame is known on this image, and the frame of the numbers in the text."""
    if not pending.regions:
        return (), pending.box_frame
    if image.width != image.height and any(regions.only_square for regions in pending.regions):
        _append(issues, "box-frame-unknown")
        return (), "unknown"
    return pending.regions, pending.regions[0].frame.value


def _objects(all_regions: Sequence[Regions], image: PreparedImage, issues: list[str]) -> dict[str, list[Any]]:
    objects: dict[str, list[Any]] = {"label": [], "box": [], "polygon": [], "point": []}
    kinds = {regions.kind for regions in all_regions}
    for regions in all_regions:
        pixels = _pixels(regions, image, issues)
        objects["label"] += regions.labels
        for kind in kinds:
            objects[kind] += pixels if kind == regions.kind else [None] * len(regions.labels)
    return objects


def _pixels(regions: Regions, image: PreparedImage, issues: list[str]) -> list[list[float]]:
    """Numbers of the text as pixels of the upright image; what does not fit is added to ``issues``."""
    upright = (image.width, image.height)
    stored = (image.released.stored_width, image.released.stored_height)
    numbers = regions.numbers
    if regions.size is not None and upright != regions.size and stored == regions.size:
        # The numbers were made on the pixels as stored, so they turn with the image.
        pixels = convert(numbers, regions.frame, Frame.PIXEL, *stored)
        _append(issues, "turned-text")
        turned: list[list[float]] = _turned(pixels, regions.kind, image.released).tolist()
        return turned
    if regions.size is not None and regions.frame is Frame.PIXEL and upright != regions.size:
        _append(issues, "image-size-unexpected")
    if regions.decimals is not None:
        # 1e-9: what float arithmetic alone can do, see `rounding_bound`.
        tolerance = rounding_bound(regions.frame, regions.decimals, *upright) + 1e-9
        outside = find_outside(numbers, regions.frame, *upright, tolerance=tolerance)
        if outside.wholly.any():
            _append(issues, "box-off-image")
        if outside.partly.any():
            _append(issues, "box-outside-image")
    return few_to_pixels(numbers, regions.frame, *upright)


def _turned(pixels: npt.NDArray[np.float64], kind: str, stored: ImageInfo) -> npt.NDArray[np.float64]:
    how = (stored.orientation, stored.stored_width, stored.stored_height)
    if kind == "box":
        return turn_boxes(pixels, *how)
    turned = turn_points(pixels.reshape(len(pixels), -1, 2), *how)
    return turned.reshape(pixels.shape)


def _append(items: list[str], item: str) -> None:
    if item not in items:
        items.append(item)


def json_encoder(between_items: str, behind_key: str) -> Callable[[object], str]:
    r"""What ``json.dumps`` does, without making its encoder anew for each of 100,000 values.

    Example:
        >>> json_encoder(",", ":")({"é": [1.5, None]})
        '{"\\u00e9":[1.5,null]}'
    """
    encoder = json.JSONEncoder(separators=(between_items, behind_key), check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # no CPython
        return encoder.encode
    text = json.encoder.encode_basestring_ascii
    pieces = make(None, encoder.default, text, None, behind_key, between_items, False, False, True)
    return lambda value: "".join(pieces(value, 0))


_spaced = json_encoder(", ", ": ")


def as_json(value: object) -> str:
    """JSON on one line, as `Correction.value` holds what is not plain text."""
    return _spaced(value)
