"""Reading a source once: which records its images can give to which task."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from irtd_datasets.construct.describing import TALK
from irtd_datasets.construct.pool import Candidate, Pool
from irtd_datasets.irtd.tasks import MAKERS
from irtd_datasets.irtd.tasks.generation import Labels
from irtd_datasets.irtd.tasks.reid import make_mosaic
from irtd_datasets.rows.seeded import Draw, draw_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.construct.targets import Target
    from irtd_datasets.irtd.tasks.generation import Made, Maker, Rules
    from irtd_datasets.sources import Source

__all__ = ["FRAMES_A_VIDEO", "FRAME_STEP", "MOSAICS_A_PERSON", "OWN_DIVISION", "Survey", "survey"]

FRAME_STEP = 25
"""Frames between two that are taken of one video: a second, at the usual rates."""
FRAMES_A_VIDEO = 30
"""Most frames taken of one video."""

MOSAICS_A_PERSON = 2
"""Most Re-ID mosaics that ask about one person; the release has one of each, two where it uses a set twice."""

OWN_DIVISION = 0.2
"""Share of a source without a division of its own that goes to the benchmark, by sequence where it has sequences."""
_DIVISION_SEED = 0  # never the user's seed: what is test must not become training with another one

SIZED = frozenset({"grounding", "location", "relationship", TALK})
"""Tasks that need the size of the image."""


@dataclass(slots=True)
class Survey:
    """What a source can give.

    Attributes:
        source: Its name.
        pools: Candidates by task.
        left_out: Images that are not asked about, by reason.
        images: Images read.
    """

    source: str
    pools: dict[str, Pool]
    left_out: Counter[str] = field(default_factory=Counter)
    images: int = 0
    _elsewhere: dict[str, set[int]] = field(
        default_factory=lambda: {"image": set(), "sequence": set(), "identity": set()}
    )

    def stands_elsewhere(self, candidate: Candidate) -> str:
        """Why a candidate is not clean: its image, sequence or person stands on the other side of the division, too.

        Returns:
            The reason; empty where there is none.
        """
        named = {
            "image": candidate.image,
            "sequence": candidate.sequence,
            "identity": candidate.identity,
        }
        for kind, value in named.items():
            if value is not None and hash_of(value) in self._elsewhere[kind]:
                return f"{kind} in two splits"
        return ""

    def _note_elsewhere(self, image: LabelledImage) -> None:
        self._elsewhere["image"].add(hash_of(image.image))
        for kind, value in (("sequence", image.sequence), ("identity", image.identity)):
            if value is not None:
                self._elsewhere[kind].add(hash_of(value))


def hash_of(name: str) -> int:
    """Eight bytes for a name, so that a million names take little memory."""
    return int.from_bytes(draw_key(0, name), "big")


def survey(
    source: Source,
    wants: Mapping[str, Target],
    rules: Rules,
    *,
    seed: int = 0,
    subset: str = "benchmark",
    frame_step: int = FRAME_STEP,
    makers: Mapping[str, Maker] = MAKERS,
) -> Survey:
    """Read the labels of a source, and make the candidates of each task.

    Args:
        source: The source.
        wants: What it is to give, by task.
        rules: The choices.
        seed: Of everything drawn.
        subset: ``benchmark`` takes what is not for training, ``instruct`` and ``pretrain`` what is.
        frame_step: Frames between two that are taken of one video.
        makers: Makes the records of each task from the labels of one image.

    Returns:
        Candidates and counts.
    """
    found = Survey(source.name, {task: Pool(target.rows) for task, target in wants.items()})
    if not wants:
        return found
    target = next(iter(wants.values()))  # the splits and the view of a source are the same for all its tasks
    scenes = _scenes(source) if "scene" in wants else []
    people: dict[str, list[LabelledImage]] = {}
    images = _on_our_side(source, target, subset, found, whole=rules.scene_part == "whole")
    for rank, image in _thinned(images, seed, frame_step, found.left_out):
        if "reid" in wants and image.identity is not None:
            people.setdefault(image.identity, []).append(image)
        for code in image.doubts:
            found.left_out[f"labels in doubt: {code}"] += 1
        size = _size(source, image) if SIZED & set(wants) else None
        labels = Labels(image, size=size, view=target.view, scenes=scenes)
        key = draw_key(seed, source.name, image.image)
        for task in wants:
            if task == "reid":
                continue
            draw = Draw(seed, source.name, image.image, task)
            for made in makers[task](labels, rules, draw):
                found.pools[task].offer(_candidate(task, image, made, (rank, key), labels))
    if people:
        _mosaics(people, found, target.rows, rules, seed)
    return found


def _candidate(
    task: str, image: LabelledImage, made: Made, key: tuple[int, bytes], labels: Labels
) -> Candidate:
    return Candidate(
        (*key, made.question),
        task,
        image.source,
        image.image,
        made,
        labels.size,
        image.split or "own division",
        image.sequence,
        image.identity,
        tuple(sorted(labels.exhaustive)) if task == "security" else (),
        image.visible,
        labelled=image if image.visible is not None or task in {TALK, "captioning"} else None,
    )


def _on_our_side(
    source: Source, target: Target, subset: str, found: Survey, *, whole: bool
) -> Iterator[LabelledImage]:
    """Images that the subset may use; what stands on the other side of the division is remembered."""
    divided = _is_divided(source)
    for image in source.images():
        found.images += 1
        if "all" in target.splits and whole and subset == "benchmark":
            ours = True
        elif image.split is None and divided:
            found.left_out["split not known"] += 1
            continue
        else:
            held_out = _held_out(image, target)
            ours = held_out if subset == "benchmark" else not held_out
        if ours:
            yield image
        else:
            found.left_out["other split"] += 1
            found._note_elsewhere(image)  # noqa: SLF001 - its own module


def _is_divided(source: Source) -> bool:
    splits = source.layout.splits
    return bool(splits.every or splits.lists or splits.field in source.layout.infrared.fields)


def _held_out(image: LabelledImage, target: Target) -> bool:
    """Whether an image is kept from training."""
    if image.split is not None:
        return image.split in target.splits
    group = image.sequence or image.identity or image.image
    drawn = int.from_bytes(draw_key(_DIVISION_SEED, "division", image.source, group), "big")
    return drawn < OWN_DIVISION * (1 << 64)


def _thinned(
    images: Iterable[LabelledImage], seed: int, step: int, left_out: Counter[str]
) -> Iterator[tuple[int, LabelledImage]]:
    """Images with a rank: frames of videos at a distance, few of each video, the first ranks from all videos."""
    last: dict[str, int] = {}
    videos: dict[str, list[tuple[int, str, LabelledImage]]] = {}
    ticks = count()
    for image in images:
        if image.sequence is None:
            yield 0, image
            continue
        position = image.frame if image.frame is not None else next(ticks)
        if image.sequence in last and abs(position - last[image.sequence]) < step:
            left_out["next frame of the same video"] += 1
            continue
        last[image.sequence] = position
        frames = videos.setdefault(image.sequence, [])
        # A heap gives up its smallest: the key is turned round, so that the smallest keys stay.
        entry = (-int.from_bytes(draw_key(seed, image.source, image.image), "big"), image.image, image)
        if len(frames) < FRAMES_A_VIDEO:
            heapq.heappush(frames, entry)
        else:
            left_out["enough frames of the same video"] += 1
            heapq.heappushpop(frames, entry)
    for frames in videos.values():
        ranked = sorted(frames, key=lambda entry: -entry[0])
        yield from ((rank, image) for rank, (_, _, image) in enumerate(ranked))


def _scenes(source: Source) -> list[str]:
    return sorted({image.scene for image in source.images() if image.scene})


def _size(source: Source, image: LabelledImage) -> tuple[int, int] | None:
    if image.width and image.height:
        return image.width, image.height
    known = source.size(image.image)
    return None if known is None else known[:2]


def _mosaics(
    people: dict[str, list[LabelledImage]], found: Survey, rows: int, rules: Rules, seed: int
) -> None:
    """Candidates of Re-ID: as many mosaics of each person as the rows wanted need, and no more than two."""
    fixed = {name: sorted(images, key=lambda image: image.image) for name, images in people.items()}
    rounds = min(MOSAICS_A_PERSON, -(-rows // len(fixed)))
    for name in sorted(fixed):
        for number in range(rounds):
            draw = Draw(seed, found.source, name, "reid", str(number))
            made = make_mosaic(name, fixed, rules, draw)
            if made is None:
                found.left_out["person with too few images"] += 1
                break
            key = draw_key(seed, found.source, name, str(number))
            first = fixed[name][0]
            found.pools["reid"].offer(
                Candidate(
                    (number, key, made.question),
                    "reid",
                    found.source,
                    f"constructed/{key.hex()}.png",
                    made,
                    split=first.split or "own division",
                    identity=name,
                )
            )
