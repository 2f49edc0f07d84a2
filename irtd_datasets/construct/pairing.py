"""The pairs of records that are made: registered before anything is said about them, labels moved with the image.

A caption may only speak of what both cameras see, and a row shows what its text is about. So each pair that is chosen
is registered first, from the labels of both images where they have them, from their edges otherwise. Where the
infrared camera sees more, its image is cut, too, its labels move along, and the record is made anew from them.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import BoxError, ImageError
from irtd_datasets.images.files import prepare_image, viewable_image
from irtd_datasets.images.pairs.partner import cut_image, fit_partner, refused
from irtd_datasets.irtd.tasks.generation import Labels
from irtd_datasets.rows.seeded import Draw
from irtd_datasets.sources.placing import cut, moved

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.irtd.tasks.generation import Maker, Rules
    from irtd_datasets.sources import Source

__all__ = ["NOTHING_COMMON", "Pairing", "cut_labels", "shown_partner"]

NOTHING_COMMON = "nothing of it in the view of both cameras"
"""Why a candidate is left out whose record the labels in the common view do not allow."""

_AHEAD = 16  # candidates whose pairs are registered before they are looked at
_LEAST_INSIDE = 0.5  # share of an object that has to be inside a crop for it to be kept


class Pairing:
    """Registers the pairs of one source, each once.

    Args:
        source: The source.
        makers: Makes the records of each task from the labels of one image.
        rules: The choices.
        seed: Of everything drawn.
        view: ``ground`` or ``aerial``.
        pool: Processes that register pairs ahead; None registers each when it is asked for.
    """

    def __init__(
        self,
        source: Source,
        makers: Mapping[str, Maker],
        rules: Rules,
        seed: int,
        view: str,
        pool: Executor | None = None,
    ) -> None:
        self._source = source
        self._makers = makers
        self._rules = rules
        self._seed = seed
        self._view = view
        self._known: dict[str, dict[str, Any] | Future[dict[str, Any]]] = {}
        self._pool = pool

    def ahead(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """The candidates in their order, while the pairs of those that come next are registered."""
        if self._pool is None:
            yield from candidates
            return
        waiting: deque[Candidate] = deque()
        for candidate in candidates:
            waiting.append(candidate)
            self._start(candidate)
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _start(self, candidate: Candidate) -> None:
        labelled = candidate.labelled
        if labelled is None or candidate.visible is None or candidate.made.members:
            return
        if candidate.image not in self._known:
            self._known[candidate.image] = self._register(labelled)

    def paired(self, candidate: Candidate) -> tuple[Candidate, str]:
        """A candidate with the registration of its pair, its record made from what both cameras see.

        Returns:
            The candidate, and why it cannot be taken; empty where it can.
        """
        labelled = candidate.labelled
        if labelled is None or candidate.visible is None or candidate.made.members:
            return candidate, ""
        self._start(candidate)
        registration = self._known[candidate.image]
        if isinstance(registration, Future):
            try:
                registration = registration.result()
            except BrokenExecutor:  # a process was killed: what it had is done here
                self._pool = None
                registration = self._register(labelled)
            assert not isinstance(registration, Future)
            self._known[candidate.image] = registration
        found = replace(candidate, registration=registration)
        box = registration["image_box"]
        if registration["status"] != "cropped" or candidate.size in {
            None,
            (box[2] - box[0], box[3] - box[1]),
        }:
            return found, ""
        inside = cut_labels(labelled, box)
        size = box[2] - box[0], box[3] - box[1]
        labels = Labels(inside, size=size, view=self._view, scenes=self._scenes(candidate))
        draw = Draw(self._seed, self._source.name, candidate.image, candidate.task)
        made = self._makers[candidate.task](labels, self._rules, draw)
        chosen = next((one for one in made if one.stratum == candidate.made.stratum), None) or next(
            iter(made), None
        )
        if chosen is None:
            return found, NOTHING_COMMON
        return replace(found, made=chosen, size=size), ""

    def _scenes(self, candidate: Candidate) -> list[str]:
        if candidate.task != "scene":
            return []
        return sorted({image.scene for image in self._source.images() if image.scene})

    def _register(self, image: LabelledImage) -> dict[str, Any] | Future[dict[str, Any]]:
        name = image.visible or ""
        try:
            infrared = prepare_image(self._source.image_bytes(image), image.image).data
            partner = self._source.visible_bytes(image)
            if partner is None:
                return refused("image-missing", name)
            visible = viewable_image(partner, name).data
        except ImageError as error:
            return refused(error.code, name)
        except OSError:
            return refused("image-missing", name)
        labels = _labels_of(image) if self._source.layout.visible_labels is not None else None
        pair = bytes(infrared), bytes(visible), name, self._source.row.alignment or "unknown", labels
        with suppress(BrokenExecutor):
            if self._pool is not None:
                return self._pool.submit(_registered, *pair)
        return _registered(*pair)


def _registered(
    infrared: bytes, visible: bytes, name: str, alignment: str, labels: dict[str, Any] | None
) -> dict[str, Any]:
    try:
        return fit_partner(infrared, visible, name, alignment, cut_both=True, labels=labels)
    except BoxError:  # labels that are no places: the edges have to tell
        return fit_partner(infrared, visible, name, alignment, cut_both=True)


def _labels_of(image: LabelledImage) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for side, objects in (("infrared", image.objects), ("visible", image.visible_objects)):
        boxed = [item for item in objects if item.box is not None]
        labels[f"{side}_boxes"] = [item.box for item in boxed]
        labels[f"{side}_labels"] = [item.label for item in boxed]
    return labels


def cut_labels(image: LabelledImage, box: Sequence[int]) -> LabelledImage:
    """The labels of an image that is cut: moved, cut at its edges, without what is mostly outside.

    An object of which less than half is inside stays in the image without a label, so that nothing may be counted or
    called absent there.

    Args:
        image: The labels, in pixels of the whole image.
        box: What is left of the image, x_min, y_min, x_max, y_max.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    kept: list[LabelledObject] = []
    partly = False
    for item in image.objects:
        shifted = moved(item, -box[0], -box[1])
        _, inner = cut(shifted, width, height)
        if inner is None:
            continue
        if _share(shifted, inner) >= _LEAST_INSIDE:
            kept.append(_within(inner, width, height))
        else:
            partly = True
    return replace(
        image,
        objects=tuple(kept),
        width=width,
        height=height,
        exhaustive=frozenset() if partly else image.exhaustive,
        doubts=image.doubts | {"object-cut-off"} if partly else image.doubts,
    )


def _share(whole: LabelledObject, inside: LabelledObject) -> float:
    if whole.box is None or inside.box is None:
        return 1.0
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (inside.box, whole.box)]
    return areas[0] / areas[1] if areas[1] else 1.0


def _within(item: LabelledObject, width: int, height: int) -> LabelledObject:
    """An object whose oriented box reaches over the edge keeps the upright one alone."""
    corners = item.polygon or ()
    outside = any(not 0 <= value <= (height if place % 2 else width) for place, value in enumerate(corners))
    return replace(item, polygon=None) if outside else item


def shown_partner(source: Source, image: LabelledImage, registration: Mapping[str, Any] | None) -> bytes:
    """The visible image of a pair as a row shows it, byte for byte.

    Args:
        source: The source.
        image: The pair.
        registration: What was found out about it; None takes the whole image.

    Raises:
        ImageError: There is none, or it cannot be used.
    """
    data = source.visible_bytes(image)
    if data is None:
        raise ImageError("there is no visible partner", code="image-missing", where=image.image)
    if registration is None:
        return data
    name = image.visible or image.image
    visible = viewable_image(data, name).data
    return bytes(cut_image(visible, registration["visible_box"], name, store="as-file"))
