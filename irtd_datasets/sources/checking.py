"""Reading a source from end to end, to tell what it has and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import prepare_image
from irtd_datasets.images.pairs.partner import fit_partner
from irtd_datasets.releases.containers import open_container
from irtd_datasets.sources.opening import open_found
from irtd_datasets.sources.source import Source, SourceOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.sources.finding import FoundSource
    from irtd_datasets.sources.problems import SourceProblem

__all__ = ["PAIRS", "SourceCheck", "check_source", "doubt_of"]

PAIRS = 8
"""Pairs of a source that are registered to see whether they are as the table declares."""


@dataclass
class SourceCheck:
    """What a source has.

    Attributes:
        name: Its name.
        images: Images that were handed out.
        pairs: Those with a visible partner.
        objects: Labelled objects.
        captions: Sentences.
        questions: Questions with answers.
        splits: Images by split.
        labels: Objects by label, the most frequent first.
        scenes: Images by class of the whole image.
        alignment: What the table declares of its pairs; empty for a source without any.
        sampled: Status of some pairs that were registered by their edges, whatever is declared: ``aligned``,
            ``cropped`` or ``refused-REASON``.
        alignment_doubt: How the table and these pairs disagree; empty where they do not.
        problems: What was not as it should be.
    """

    name: str
    images: int = 0
    pairs: int = 0
    objects: int = 0
    captions: int = 0
    questions: int = 0
    splits: dict[str | None, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    scenes: dict[str, int] = field(default_factory=dict)
    alignment: str = ""
    sampled: dict[str, int] = field(default_factory=dict)
    alignment_doubt: str = ""
    problems: tuple[SourceProblem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{key: value for key, value in vars(self).items() if key not in {"name", "problems", "splits"}},
            "splits": {split or "": count for split, count in self.splits.items()},
            "problems": [
                {"code": one.code, "count": one.count, "meaning": one.meaning, "examples": one.examples}
                for one in self.problems
            ],
        }


def check_source(found: FoundSource | Source) -> SourceCheck:
    """Read a source from end to end, and compare the bytes of its images between splits.

    Raises:
        UnknownNameError: Nobody knows how its files lie.
        ReleaseNotFoundError: Nothing of it is there.
    """
    source = (
        found
        if isinstance(found, Source)
        else open_found(found.row, open_container(found.path), SourceOptions(check_contents=True))
    )
    check = SourceCheck(source.name)
    labels: Counter[str] = Counter()
    scenes: Counter[str] = Counter()
    splits: Counter[str | None] = Counter()
    pairs: list[tuple[bytes, LabelledImage]] = []
    for image in source.images():
        if image.visible is not None:
            pairs.append((hashlib.blake2b(image.image.encode()).digest(), image))
            if len(pairs) >= 4 * PAIRS:
                pairs = sorted(pairs, key=itemgetter(0))[:PAIRS]
        check.images += 1
        check.pairs += image.visible is not None
        check.objects += len(image.objects)
        check.captions += len(image.captions)
        check.questions += len(image.questions)
        splits[image.split] += 1
        scenes.update(filter(None, (image.scene,)))
        labels.update(item.label for item in image.objects)
    check.splits, check.labels = dict(splits.most_common()), dict(labels.most_common())
    check.scenes = dict(scenes.most_common())
    if pairs:
        check.alignment = source.row.alignment or "unknown"
        check.sampled = _registered(source, [image for _, image in sorted(pairs, key=itemgetter(0))[:PAIRS]])
        check.alignment_doubt = doubt_of(check.alignment, check.sampled)
    check.problems = tuple(source.problems)
    return check


def _registered(source: Source, images: list[LabelledImage]) -> dict[str, int]:
    """Pairs by status, registered by their edges alone: labels of many sets are copied from one image to the other."""
    return dict(Counter(_status(source, image) for image in images).most_common())


def _status(source: Source, image: LabelledImage) -> str:
    try:
        infrared = prepare_image(source.image_bytes(image), image.image).data
        visible = prepare_image(source.visible_bytes(image) or b"", image.visible or "").data
    except ImageError as error:
        return f"refused-{error.code}"
    return str(fit_partner(infrared, visible, "", cut_both=True)["status"])


def doubt_of(declared: str, sampled: Mapping[str, int]) -> str:
    """How what the table declares disagrees with pairs that were registered; empty where it does not.

    Example:
        >>> doubt_of("aligned", {"cropped": 6, "aligned": 1, "refused-not-sure": 1})
        'declared aligned, and 6 of the 7 pairs whose edges tell show views of their own'
        >>> doubt_of("aligned", {"refused-not-sure": 7, "aligned": 1})
        ''
    """
    aligned, apart = sampled.get("aligned", 0), sampled.get("cropped", 0) + sampled.get("refused-turned", 0)
    told = f"of the {aligned + apart} pairs whose edges tell"
    if declared == "aligned" and apart > aligned:
        return f"declared aligned, and {apart} {told} show views of their own"
    if declared == "unaligned" and aligned > apart:
        return f"declared unaligned, and {aligned} {told} show one view"
    return ""
