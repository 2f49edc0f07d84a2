"""What a source dataset says about one image, whatever format it is written in.

Readers of annotation formats yield `LabelledImage`; the rules that make questions of it know nothing of formats.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["OPEN", "LabelledImage", "LabelledObject"]

OPEN = frozenset({"crowd", "ignored"})
"""Attributes of what marks a place without saying how many objects are there."""


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One labelled object. All places are pixels of the upright image, x to the right, y down, half-open.

    Attributes:
        label: Class as the source writes it.
        box: (x_min, y_min, x_max, y_max); that of the polygon where only one is given; None for a point.
        polygon: Four corners in order, 8 numbers, for an oriented box.
        point: (x, y) where the source marks points.
        identity: Person or vehicle that it shows, in sets for re-identification; track in sets for tracking.
        attributes: What else the source says of it: ``difficult``, ``occluded``, ``truncated``; ``crowd`` and
            ``ignored`` for places of which it does not say how many objects they hold; and ``clipped`` where its box
            was cut at the image's edge on reading.
        description: Sentence or phrase about it, in sets for visual grounding.
    """

    label: str
    box: tuple[float, float, float, float] | None = None
    polygon: tuple[float, ...] | None = None
    point: tuple[float, float] | None = None
    identity: str | None = None
    attributes: frozenset[str] = frozenset()
    description: str = ""

    def labelled(self, label: str) -> LabelledObject:
        """The same object under another label; a fifth of the time of `dataclasses.replace`."""
        return LabelledObject(
            label, self.box, self.polygon, self.point, self.identity, self.attributes, self.description
        )


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a source with everything that its labels say.

    Attributes:
        source: Name of the source in the table of sources, such as ``FLIR_ADAS``.
        image: Name of the image below the folder of the source, relative, with ``/``.
        objects: Labelled objects in the order of the file.
        width: Pixels, as the label file says; None when it does not.
        height: Pixels, as the label file says; None when it does not.
        visible: Name of the paired visible image below the folder of the source.
        visible_objects: Objects labelled in the visible image, where it has labels of its own, in its pixels.
        split: ``train``, ``validation`` or ``test`` as the source divides itself; None when it does not.
        modality: ``infrared``, ``optical`` or ``sar``.
        sequence: Video that it is a frame of; frames of one sequence never stand in two splits.
        frame: Position in its sequence.
        identity: Who an image of a re-identification set shows.
        camera: Which camera took it, in sets of several.
        scene: Class of the whole image.
        captions: Sentences about it.
        questions: Pairs of question and answer about it.
        exhaustive: Classes of which every visible object is labelled, so that a class without an object is absent.
        doubts: Why its labels may be incomplete: codes of problems (`irtd_datasets.sources.problems.DOUBTS`). An
            object was left out, or its class is not known, or the source marks a place of which it says nothing, or
            its labels are known to be wrong. Then nothing is exhaustive.
        label_file: Name of the file that the labels come from, below the folder of the source.
    """

    source: str
    image: str
    objects: tuple[LabelledObject, ...] = ()
    width: int | None = None
    height: int | None = None
    visible: str | None = None
    visible_objects: tuple[LabelledObject, ...] = ()
    split: str | None = None
    modality: str = "infrared"
    sequence: str | None = None
    frame: int | None = None
    identity: str | None = None
    camera: str | None = None
    scene: str | None = None
    captions: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    exhaustive: frozenset[str] = field(default=frozenset())
    doubts: frozenset[str] = field(default=frozenset())
    label_file: str | None = None

    @property
    def unclear(self) -> bool:
        """Whether its labels may be incomplete: then nothing may be counted, called absent or called the only one."""
        return bool(self.doubts) or any(item.attributes & OPEN for item in self.objects)
