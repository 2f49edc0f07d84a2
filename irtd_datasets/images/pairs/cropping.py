"""Cutting an infrared image and its visible partner to the view that both have (IRGPT paper, section 3.2).

The paper crops pairs of cameras with different fields of view "around labelled object positions", so that one text fits
both; margin, threshold and output size are unpublished. Here the objects labelled in both give the transform, both
images are cut to their common view or to the objects, and only objects visible in both are kept. Where one modality
has no labels, the edges of the images give the transform. Whatever is not certain is refused with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from irtd_datasets.boxes import Boxes, Frame
from irtd_datasets.boxes.frames import as_frame
from irtd_datasets.errors import BoxError
from irtd_datasets.images.pairs.doubting import contradicted
from irtd_datasets.images.pairs.geometry import cut_masks, ious, moved_into, shares_of, whole_pixels
from irtd_datasets.images.pairs.matching import Match, Objects, find_turn, match_objects
from irtd_datasets.images.pairs.transform import PairTransform
from irtd_datasets.images.pairs.views import CroppedImage, PairImage, open_image

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from irtd_datasets.images.pairs.views import ImageLike

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["REASONS", "PairCrop", "PairQuality", "crop_pair"]

Status: TypeAlias = Literal["aligned", "cropped", "refused"]

REASONS = {
    "no-common-objects": "no object of one class is labelled in both",
    "ambiguous": "the labels fit a different alignment nearly as well",
    "contradicted": "the images clearly fit elsewhere than the labels say: one of them is of another moment",
    "few-match": "fewer than half of the objects that both views should show match",
    "imprecise": "too few objects, or too close together, to tell the alignment of the whole view",
    "not-sure": "the edges of the two images do not agree well enough",
    "turned": "the views are turned against each other by more than a crop can mend",
    "no-common-view": "the views do not overlap",
    "too-small": "what both have in common is smaller than the minimum size",
    "image-16-bit-colour": "Pillow would cut 16-bit colour to 8 bits",
}
"""Why a pair is refused, by code."""

_MAX_RIVAL = 0.9
_LEAST_MATCHED = 0.5
_MAX_SEEN_TURN = 1.4  # degrees; aligned pairs of real sets are turned by 1.3 at most
_MAX_TURN = 3.0  # degrees; at the edge of a view this is a displacement of 2.6 % of its width


@dataclass(frozen=True, slots=True)
class PairQuality:
    """How far a crop can be trusted.

    Attributes:
        agreement: 0 to 1: with labels, matched objects of those that should be in both views; with images, blocks whose
            edges agree with the transform.
        error: Expected displacement between the two crops in infrared pixels: with labels, root mean square over the
            corners of the crop, from the spread of the labels; with images, over the blocks that agree.
        evidence: Number of matched objects, or of agreeing blocks.
        confidence: 0 to 1; a result below 0.5 is refused. With labels, what is left to the best different alignment;
            with images, how far it is from chance.
        overlap: Mean intersection over union of matched boxes; NaN without boxes in both.
    """

    agreement: float
    error: float
    evidence: int
    confidence: float
    overlap: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "agreement": round(self.agreement, 4),
            "error": round(self.error, 3),
            "evidence": self.evidence,
            "confidence": round(self.confidence, 4),
            "overlap": None if np.isnan(self.overlap) else round(self.overlap, 4),
        }


@dataclass(frozen=True, slots=True)
class PairCrop:
    """What `crop_pair` made of a pair.

    Attributes:
        status: ``aligned``: one view already, images untouched; ``cropped``; ``refused``.
        reason: Code of `REASONS`; empty unless refused.
        detail: What was found and what was expected, in words; empty unless refused.
        method: ``labels`` or ``images``.
        model: ``same view``, ``shift``, ``scale`` or ``scale per axis``; empty where nothing was found.
        transform: From visible to infrared pixels of the whole images; the best guess of a refused pair, or None.
        quality: How far that can be trusted; None where nothing was found.
        infrared: The infrared crop; the whole image unless the status is ``cropped``.
        visible: The visible crop, likewise, in its own resolution.
        infrared_boxes: Objects in both views, in pixels of the infrared crop, moved and cut at its edges; boxes,
            polygons or points as given. None where there are none of them.
        visible_boxes: The same objects in pixels of the visible crop, row by row. Where only one modality has labels,
            they are moved over from it.
        kept: Index of each kept object in the infrared and in the visible labels, as given; -1 where that modality has
            none.
        only_infrared: Indices of infrared objects inside the crop that the visible labels do not have.
        only_visible: Indices of visible objects inside the crop that the infrared labels do not have.
        infrared_masks: Masks of the kept objects, cut like the image; None where none were given.
        visible_masks: Likewise.
    """

    status: Status
    reason: str
    detail: str
    method: str
    model: str
    transform: PairTransform | None
    quality: PairQuality | None
    infrared: CroppedImage
    visible: CroppedImage
    infrared_boxes: Boxes | None = None
    visible_boxes: Boxes | None = None
    kept: tuple[tuple[int, int], ...] = ()
    only_infrared: tuple[int, ...] = ()
    only_visible: tuple[int, ...] = ()
    infrared_masks: NDArray[np.bool_] | None = None
    visible_masks: NDArray[np.bool_] | None = None

    def __bool__(self) -> bool:
        return self.status != "refused"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; images as their rectangles."""
        return {
            "status": self.status,
            "reason": self.reason,
            "detail": self.detail,
            "method": self.method,
            "model": self.model,
            "transform": self.transform.as_dict() if self.transform else None,
            "quality": self.quality.as_dict() if self.quality else None,
            "infrared": list(self.infrared.rectangle),
            "visible": list(self.visible.rectangle),
            "infrared_boxes": _listed(self.infrared_boxes),
            "visible_boxes": _listed(self.visible_boxes),
            "kept": [list(pair) for pair in self.kept],
            "only_infrared": list(self.only_infrared),
            "only_visible": list(self.only_visible),
        }


def _listed(boxes: Boxes | None) -> list[list[float]] | None:
    return (
        None if boxes is None else [[round(value, 3) for value in row] for row in boxes.coordinates.tolist()]
    )


def crop_pair(  # noqa: PLR0913 - each option is a choice that the paper leaves open
    infrared: ImageLike,
    visible: ImageLike,
    *,
    infrared_boxes: Boxes | ArrayLike | None = None,
    visible_boxes: Boxes | ArrayLike | None = None,
    infrared_masks: ArrayLike | None = None,
    visible_masks: ArrayLike | None = None,
    infrared_labels: Sequence[Hashable] | None = None,
    visible_labels: Sequence[Hashable] | None = None,
    frame: Frame | str = Frame.PIXEL,
    method: Literal["auto", "labels", "images"] = "auto",
    transform: PairTransform | None = None,
    region: Literal["view", "objects"] = "view",
    margin: float = 0.0,
    min_size: int = 32,
    min_visible: float = 0.5,
    same_view: float = 0.03,
    max_error: float = 0.04,
    tolerance: float = 0.012,
) -> PairCrop:
    """Cut an infrared image and its visible partner to the view that both have.

    Args:
        infrared: Bytes of a file, path, Pillow image, or array of shape (H, W) or (H, W, channels). Files are decoded
            once, unless a transform is given: the images tell the alignment, or are asked whether labels can be right.
        visible: Likewise, of its own size.
        infrared_boxes: Objects labelled in the infrared image: boxes (N, 4), polygons (N, 8) or points (N, 2).
        visible_boxes: Objects labelled in the visible image; None where it has no labels, an empty table where it
            was labelled and shows nothing.
        infrared_masks: Instead of boxes, one mask for each object, shape (N, H, W).
        visible_masks: Likewise.
        infrared_labels: Class of each infrared object; None takes all as one class. Text is compared without case.
        visible_labels: Likewise. An identity, as in tracking, is a class of its own.
        frame: Frame of the boxes that come as arrays; `Boxes` have their own.
        method: ``labels``, ``images``, or ``auto``: labels where both modalities have them and they are sure, images
            otherwise.
        transform: A known transform, such as that of all pairs of a rig; nothing is searched then.
        region: ``view`` cuts to the common view, ``objects`` further to the kept objects.
        margin: With ``region="objects"``, room around the objects as a share of the longer side of their union; with
            ``region="view"``, share of the view's sides cut off where it ends at a border of the other image.
        min_size: Least width and height in pixels of both crops, and of images whose edges have to tell.
        min_visible: Least share of an object's area that has to be inside the crop for it to be kept.
        same_view: Distance, as a share of the infrared diagonal, up to which images count as one view. With labels,
            half of the matched boxes must also overlap by 0.6 as the images are.
        max_error: Greatest expected error of a crop from labels as a share of its diagonal.
        tolerance: Distance between the labels of one object beyond what its size allows, as a share of the infrared
            diagonal.

    Returns:
        The crops with their objects, or a refusal with its reason.

    Raises:
        ImageError: An image cannot be used.
        BoxError: Boxes, masks or labels are malformed, or made for an image of another size.

    Example:
        >>> infrared, visible = np.zeros((512, 640), np.uint8), np.zeros((1024, 1280, 3), np.uint8)
        >>> result = crop_pair(
        ...     infrared,
        ...     visible,
        ...     infrared_boxes=[[200, 200, 260, 320], [400, 220, 430, 300]],
        ...     visible_boxes=[[300, 300, 420, 540], [700, 340, 760, 500]],
        ... )
        >>> result.status, result.model, result.infrared.rectangle, result.visible.rectangle
        ('cropped', 'shift', (50, 50, 640, 512), (0, 0, 1180, 924))
        >>> result.infrared_boxes.coordinates.tolist()
        [[150.0, 150.0, 210.0, 270.0], [350.0, 170.0, 380.0, 250.0]]
        >>> result.visible_boxes.coordinates.tolist()
        [[300.0, 300.0, 420.0, 540.0], [700.0, 340.0, 760.0, 500.0]]
    """
    pair = _Pair(
        _Side.of(infrared, "infrared", infrared_boxes, infrared_masks, infrared_labels, frame),
        _Side.of(visible, "visible", visible_boxes, visible_masks, visible_labels, frame),
        _Rules(region, margin, min_size, min_visible, same_view, max_error, tolerance),
    )
    if transform is not None:
        quality = PairQuality(1.0, 0.0, 0, 1.0, float("nan"))
        return pair.cut(_Found("given", "given", transform, quality, None))
    both = pair.infrared.boxes is not None and pair.visible.boxes is not None
    if method == "labels" and not both:
        raise BoxError(
            "method 'labels' needs objects in both images", remedy="Give both, or take method 'images'."
        )
    if method == "images" or not both:
        return pair.by_images()
    result = pair.by_labels()
    if method == "labels" or result.reason not in {
        "no-common-objects",
        "ambiguous",
        "few-match",
        "imprecise",
    }:
        return result
    seen = pair.by_images()
    return seen or result


@dataclass(frozen=True, slots=True)
class _Rules:
    region: str
    margin: float
    min_size: int
    min_visible: float
    same_view: float
    max_error: float
    tolerance: float

    def __post_init__(self) -> None:
        if self.region not in {"view", "objects"}:
            raise BoxError(f"region is {self.region!r}, expected 'view' or 'objects'")
        if not self.margin >= 0 or (self.region == "view" and self.margin >= 0.5):
            raise BoxError(f"margin is {self.margin}, expected 0 or more, and less than 0.5 of a view")
        if self.min_size < 1:
            raise BoxError(f"min_size is {self.min_size}, expected at least 1 pixel")


@dataclass(frozen=True, slots=True)
class _Side:
    """One image with its objects, in pixels."""

    image: PairImage
    boxes: Boxes | None
    masks: NDArray[np.bool_] | None
    labels: tuple[Hashable, ...] | None

    @classmethod
    def of(
        cls,
        source: ImageLike,
        name: str,
        boxes: Boxes | ArrayLike | None,
        masks: ArrayLike | None,
        labels: Sequence[Hashable] | None,
        frame: Frame | str,
    ) -> _Side:
        image = open_image(source, name)
        held = None
        if masks is not None:
            if boxes is not None:
                raise BoxError("boxes and masks of the same objects", where=name, remedy="Give one of them.")
            held, boxes = _masks(masks, image, name)
        if boxes is None:
            return cls(image, None, None, None)
        if isinstance(boxes, Boxes):
            if not (np.all(boxes.width == image.width) and np.all(boxes.height == image.height)):
                raise BoxError(
                    f"boxes of an image of {boxes.width}x{boxes.height}, the image has "
                    f"{image.width}x{image.height}",
                    where=name,
                    remedy="Give the boxes in the frame of the image that is cropped.",
                )
        else:
            array = np.asarray(boxes, dtype=np.float64)
            boxes = Boxes(array.reshape(0, 4) if array.size == 0 else array, as_frame(frame), *image.size)
        boxes = boxes.to(Frame.PIXEL)
        bad = boxes.degenerate()
        if bad.any():
            raise BoxError(
                f"object {int(np.flatnonzero(bad)[0])} has no area or is not finite: "
                f"{boxes.coordinates[bad][0].tolist()}",
                where=name,
                remedy="Leave it out; `Boxes.usable` finds such rows.",
            )
        if labels is not None and len(labels) != len(boxes):
            raise BoxError(f"{len(labels)} labels for {len(boxes)} objects", where=name)
        return cls(image, boxes, held, tuple(labels) if labels is not None else None)

    def rectangles(self) -> Floats:
        """Boxes around the objects, shape (N, 4); a point is a box without extent."""
        if self.boxes is None:
            return np.zeros((0, 4))
        if self.boxes.kind == "boxes":
            return self.boxes.coordinates
        return self.boxes.enclosing().coordinates


def _masks(masks: ArrayLike, image: PairImage, name: str) -> tuple[NDArray[np.bool_], Floats]:
    array = np.asarray(masks)
    if array.ndim != 3 or array.shape[1:] != (image.height, image.width):
        raise BoxError(
            f"masks of shape {array.shape}, expected (N, {image.height}, {image.width})",
            where=name,
            remedy="Give one mask for each object, as large as the image.",
        )
    array = array.astype(np.bool_)
    boxes = np.empty((len(array), 4))
    for index, mask in enumerate(array):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            raise BoxError(f"mask {index} is empty", where=name, remedy="Leave it out.")
        boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return array, boxes


@dataclass(frozen=True, slots=True)
class _Found:
    """An alignment, however it was found."""

    method: str
    model: str
    transform: PairTransform
    quality: PairQuality
    match: Match | None


@dataclass(frozen=True, slots=True)
class _Pair:
    infrared: _Side
    visible: _Side
    rules: _Rules

    def by_labels(self) -> PairCrop:
        rules, size = self.rules, self.infrared.image.size
        diagonal = float(np.hypot(*size))
        infrared, visible = self.objects()
        match = match_objects(infrared, visible, size, self.visible.image.size, rules.tolerance * diagonal)
        if match is None:
            return self.refuse("no-common-objects", _counts(infrared, visible), "labels")
        whole = self.common_view(match.transform)
        inside = self.objects_inside(match, whole)
        quality = self.label_quality(match, whole, inside)
        found = _Found("labels", match.model, match.transform, quality, match)
        if match.rival > _MAX_RIVAL:
            detail = (
                f"{len(match.pairs)} objects match; a different alignment scores {match.rival:.2f} of that"
            )
            return self.refuse("ambiguous", detail, "labels", found)
        turn = find_turn(infrared, visible, match, rules.tolerance * diagonal, _MAX_TURN)
        if turn:
            return self.refuse("turned", f"by {turn:.1f} degrees", "labels", found)
        there = min(inside)
        if len(match.pairs) < _LEAST_MATCHED * there:
            detail = f"{len(match.pairs)} of {there} objects match that both images have in the common view"
            return self.refuse("few-match", detail, "labels", found)
        if (
            other := contradicted(self.infrared.image, self.visible.image, match.transform, whole)
        ) is not None:
            away = other.apply(np.zeros(2)) - match.transform.apply(np.zeros(2))
            detail = f"by {away[0]:.0f} and {away[1]:.0f} pixels to the right and down"
            return self.refuse("contradicted", detail, "labels", found)
        return self.cut(found)

    def objects_inside(self, match: Match, view: Floats) -> tuple[int, int]:
        """Infrared and visible objects that lie in a rectangle in infrared pixels by more than half."""
        first, second = self.infrared.rectangles(), match.transform.apply(self.visible.rectangles())
        return int((shares_of(first, view) > 0.5).sum()), int((shares_of(second, view) > 0.5).sum())

    def label_quality(self, match: Match, view: Floats, inside: tuple[int, int] | None = None) -> PairQuality:
        """Quality over a rectangle in infrared pixels."""
        first, second = self.infrared.rectangles(), match.transform.apply(self.visible.rectangles())
        inside = inside or self.objects_inside(match, view)
        corners = view[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2)
        errors = match.error_at(match.transform.inverse().apply(corners))
        index = np.array(match.pairs)
        sized = bool((first[:, 2:] > first[:, :2]).all())
        overlap = float(ious(first[index[:, 0]], second[index[:, 1]]).mean()) if sized else float("nan")
        return PairQuality(
            min(1.0, len(match.pairs) / max(1, *inside)),
            float(np.sqrt((errors**2).mean())),
            len(match.pairs),
            1.0 - match.rival if match.rival > _MAX_RIVAL else max(0.5, 1.0 - match.rival),
            overlap,
        )

    def by_images(self) -> PairCrop:
        from irtd_datasets.images.pairs.registration import register

        for name, side in (("infrared", self.infrared), ("visible", self.visible)):
            if (
                min(side.image.size) < self.rules.min_size
            ):  # its blocks would be enlarged pixels, each told many times
                width, height = side.image.size
                detail = f"the {name} image has {width}x{height}, expected at least {self.rules.min_size}"
                return self.refuse("too-small", detail, "images")
        found = register(
            self.infrared.image.grey(), self.visible.image.grey(), same_view=self.rules.same_view
        )
        agreement = found.agreeing / max(found.blocks, 1)
        quality = PairQuality(agreement, found.error, found.agreeing, found.confidence, float("nan"))
        aligned = _Found("images", "scale per axis", found.transform, quality, None)
        if found.confidence < 0.5:
            detail = (
                f"{found.agreeing} of {found.blocks} blocks agree, confidence {found.confidence:.2f} of 0.5"
            )
            return self.refuse("not-sure", detail, "images", aligned)
        if abs(found.rotation) > _MAX_SEEN_TURN:
            return self.refuse("turned", f"by {found.rotation:.1f} degrees", "images", aligned)
        return self.cut(aligned)

    def objects(self) -> tuple[Objects, Objects]:
        """The objects of both images, classes as numbers that are common to both."""
        numbers: dict[Hashable, int] = {}
        sides = []
        for side in (self.infrared, self.visible):
            boxes = side.rectangles()
            labels = side.labels if side.labels is not None else (None,) * len(boxes)
            if (self.infrared.labels is None) != (self.visible.labels is None):
                labels = (None,) * len(boxes)  # classes on one side only tell nothing
            codes = [numbers.setdefault(_folded(label), len(numbers)) for label in labels]
            sized = bool((boxes[:, 2:] > boxes[:, :2]).all())
            sides.append(Objects(boxes, np.array(codes, dtype=np.int64), sized))
        return sides[0], sides[1]

    def common_view(self, transform: PairTransform) -> Floats:
        """The common view in infrared pixels; without extent where there is none."""
        there = transform.apply(np.array([0.0, 0.0, *self.visible.image.size]))
        low = np.maximum(there[:2], 0)
        high = np.maximum(np.minimum(there[2:], self.infrared.image.size), low)
        return np.concatenate([low, high])

    def is_same_view(self, found: _Found) -> bool:
        infrared, visible = self.infrared.image.size, self.visible.image.size
        if found.model == "same view":
            return True
        whole = PairTransform.between_sizes(visible, infrared)
        corners = np.array([[0, 0], [visible[0], 0], [0, visible[1]], list(visible)], dtype=np.float64)
        away = np.hypot(*(found.transform.apply(corners) - whole.apply(corners)).T).max()
        if away > self.rules.same_view * np.hypot(*infrared):
            return False
        if found.match is None:
            return True
        # Small objects must not part even where the views nearly coincide.
        index = np.array(found.match.pairs)
        first = self.infrared.rectangles()[index[:, 0]]
        if not (first[:, 2:] > first[:, :2]).all():
            return True
        return bool(np.median(ious(first, whole.apply(self.visible.rectangles()[index[:, 1]]))) >= 0.6)

    def cut(self, found: _Found) -> PairCrop:
        """Cut both images and move the objects."""
        infrared, visible = self.infrared.image, self.visible.image
        if self.is_same_view(found) and self.rules.region == "view":
            whole = PairTransform.between_sizes(visible.size, infrared.size)
            rectangles = (0, 0, *infrared.size), (0, 0, *visible.size)
            return self.finish("aligned", found, rectangles[0], rectangles[1], whole)
        view = self.common_view(found.transform)
        if not (view[2:] - view[:2] >= 1).all():
            return self.refuse("no-common-view", "", found.method, found)
        wanted = self._objects_view(found, view) if self.rules.region == "objects" else self._trimmed(view)
        if wanted is None:
            return self.refuse("no-common-objects", "no object lies in the common view", found.method, found)
        first = whole_pixels(wanted, infrared.size)
        second = whole_pixels(
            found.transform.inverse().apply(np.array(first, dtype=np.float64)), visible.size
        )
        for rectangle, name in ((first, "infrared"), (second, "visible")):
            width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
            if min(width, height) < self.rules.min_size:
                detail = f"the {name} crop has {width}x{height}, expected at least {self.rules.min_size}"
                return self.refuse("too-small", detail, found.method, found)
        if found.match is not None:
            quality = self.label_quality(found.match, np.array(first, dtype=np.float64))
            found = _Found(found.method, found.model, found.transform, quality, found.match)
            limit = self.rules.max_error * float(np.hypot(first[2] - first[0], first[3] - first[1]))
            if quality.error > limit:
                detail = f"expected error {quality.error:.1f} pixels, at most {limit:.1f}"
                return self.refuse("imprecise", detail, found.method, found)
        for image, rectangle in ((infrared, first), (visible, second)):
            if image.loses_depth and rectangle != (0, 0, *image.size):
                return self.refuse("image-16-bit-colour", image.name, found.method, found)
        return self.finish("cropped", found, first, second, found.transform)

    def _trimmed(self, view: Floats) -> Floats:
        """The view less its margin, where it ends at a border of the visible image or cuts one of its sides."""
        size = np.array([0.0, 0.0, *self.infrared.image.size])
        trim = self.rules.margin * np.tile(view[2:] - view[:2], 2) * [1, 1, -1, -1]
        return np.where(np.abs(view - size) < 0.5, view, view + trim)

    def _objects_view(self, found: _Found, view: Floats) -> Floats | None:
        """The union of the objects in both images with its margin, within the common view."""
        first, second = self.infrared.rectangles(), found.transform.apply(self.visible.rectangles())
        if found.match is not None:
            index = np.array(found.match.pairs)
            first, second = first[index[:, 0]], second[index[:, 1]]
        boxes = np.concatenate([first, second])
        boxes = boxes[shares_of(boxes, view) >= self.rules.min_visible]
        if not len(boxes):
            return None
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        room = self.rules.margin * float((high - low).max())
        # Never smaller than the minimum while the view has room.
        least = (
            np.maximum(
                self.rules.min_size,
                self.rules.min_size * np.array([found.transform.scale_x, found.transform.scale_y]),
            )
            + 1
        )
        room_each = np.maximum(room, (least - (high - low)) / 2)
        low = np.maximum(low - room_each, view[:2])
        high = np.minimum(high + room_each, view[2:])
        low = np.maximum(np.minimum(low, high - least), view[:2])
        high = np.minimum(np.maximum(high, low + least), view[2:])
        return np.concatenate([low, high])

    def finish(
        self,
        status: Status,
        found: _Found,
        first: tuple[int, int, int, int],
        second: tuple[int, int, int, int],
        transform: PairTransform,
    ) -> PairCrop:
        kept, lone = self._keep(
            found, np.array(first, dtype=np.float64), np.array(second, dtype=np.float64), transform
        )
        moved = self._moved(kept, first, second, transform)
        masks = [
            cut_masks(side.masks, [pair[place] for pair in kept], rectangle)
            for place, (side, rectangle) in enumerate(((self.infrared, first), (self.visible, second)))
        ]
        return PairCrop(
            status,
            "",
            "",
            found.method,
            "same view" if status == "aligned" else found.model,
            transform,
            found.quality,
            CroppedImage(self.infrared.image, first),
            CroppedImage(self.visible.image, second),
            moved[0],
            moved[1],
            kept,
            lone[0],
            lone[1],
            masks[0],
            masks[1],
        )

    def _keep(
        self, found: _Found, first: Floats, second: Floats, transform: PairTransform
    ) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, ...], tuple[int, ...]]]:
        """Objects inside both crops, and those that one side's labels have alone."""
        infrared, visible = self.infrared.rectangles(), self.visible.rectangles()
        shares = shares_of(infrared, first), shares_of(visible, second)
        least = self.rules.min_visible
        both = self.infrared.boxes is not None and self.visible.boxes is not None
        if both:
            match = found.match
            if match is None:
                infrared_objects, visible_objects = self.objects()
                pairs = _overlapping(infrared_objects, visible_objects, transform)
            else:
                pairs = match.pairs
            kept = tuple((i, j) for i, j in pairs if shares[0][i] >= least and shares[1][j] >= least)
            taken = {i for i, _ in pairs}, {j for _, j in pairs}
            lone = tuple(
                tuple(k for k in range(len(share)) if k not in used and share[k] >= least)
                for share, used in zip(shares, taken, strict=True)
            )
            return kept, (lone[0], lone[1])
        if self.infrared.boxes is not None:
            there = transform.inverse().apply(infrared)
            inside = np.minimum(shares[0], shares_of(there, second)) >= least
            return tuple((int(i), -1) for i in np.flatnonzero(inside)), ((), ())
        there = transform.apply(visible)
        inside = np.minimum(shares[1], shares_of(there, first)) >= least
        return tuple((-1, int(j)) for j in np.flatnonzero(inside)), ((), ())

    def _moved(
        self,
        kept: tuple[tuple[int, int], ...],
        first: tuple[int, int, int, int],
        second: tuple[int, int, int, int],
        transform: PairTransform,
    ) -> tuple[Boxes | None, Boxes | None]:
        infrared, visible = self.infrared.boxes, self.visible.boxes
        if infrared is None and visible is None:
            return None, None
        mine = infrared.coordinates[[i for i, _ in kept]] if infrared is not None else None
        other = visible.coordinates[[j for _, j in kept]] if visible is not None else None
        if mine is None:
            assert other is not None
            mine = transform.apply(other)
        if other is None:
            other = transform.inverse().apply(mine)
        return moved_into(mine, first), moved_into(other, second)

    def refuse(self, reason: str, detail: str, method: str, found: _Found | None = None) -> PairCrop:
        infrared, visible = self.infrared.image, self.visible.image
        return PairCrop(
            "refused",
            reason,
            detail or REASONS[reason],
            method,
            found.model if found else "",
            found.transform if found else None,
            found.quality if found else None,
            CroppedImage(infrared, (0, 0, *infrared.size)),
            CroppedImage(visible, (0, 0, *visible.size)),
        )


def _counts(infrared: Objects, visible: Objects) -> str:
    return f"{len(infrared.boxes)} infrared and {len(visible.boxes)} visible objects, none of one class"


def _folded(label: Hashable) -> Hashable:
    return label.strip().casefold() if isinstance(label, str) else label


def _overlapping(
    infrared: Objects, visible: Objects, transform: PairTransform
) -> tuple[tuple[int, int], ...]:
    """Objects of one class that coincide under a transform that did not come from labels."""
    moved = transform.apply(visible.boxes)
    pairs = []
    for i, box in enumerate(infrared.boxes):
        if not len(moved):
            break
        like = ious(np.broadcast_to(box, moved.shape), moved) * (visible.classes == infrared.classes[i])
        if not infrared.sized:
            away = np.hypot(*(moved[:, :2] - box[:2]).T)
            like = np.where(visible.classes == infrared.classes[i], np.maximum(1 - away / 16, 0), 0.0)
        j = int(like.argmax())
        if like[j] >= 0.3:
            pairs.append((float(like[j]), i, j))
    taken: tuple[set[int], set[int]] = (set(), set())
    chosen = []
    for _, i, j in sorted(pairs, reverse=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            chosen.append((i, j))
    return tuple(sorted(chosen))
