"""Descriptions of remote sensing images by a language model: single objects, then the image, then talk about it.

These are the steps of RS-GPT4V (arXiv 2406.12479): local strategy, global strategy, multi-turn question-answer pairs.
Every text is held against the labels, and none that contradicts them is kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.captioning.dialogues import REGION, TalkJob
from irtd_datasets.captioning.labels import KnownLabels, KnownObject
from irtd_datasets.construct.talks import locks_of
from irtd_datasets.construct.targets import DESCRIBED
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.rows.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
    from irtd_datasets.captioning.asking import Told
    from irtd_datasets.construct.remote_sensing import Selection, Writer
    from irtd_datasets.construct.talks import Asker
    from irtd_datasets.sources import Source

__all__ = ["REGIONS", "describe", "known_objects"]

REGIONS = 6
"""Most objects of an image that are described by themselves, the largest first."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An image that is asked about, with the objects that are described by themselves."""

    source: Source
    image: LabelledImage
    size: tuple[int, int]
    regions: tuple[LabelledObject, ...]


def describe(writer: Writer, sources: Sequence[Source], selection: Selection, asker: Asker) -> None:
    """Ask about the images of sources and write the records.

    Args:
        writer: Writes records and images.
        sources: The sources.
        selection: Which of their images, and how many of each.
        asker: Asks.

    Raises:
        EndpointError: The endpoint refuses every question.
        BuildError: The journal, or the folder, cannot be written.
    """
    chosen = [one for source in sources for one in _choose(writer, source, selection)]
    told, writer.result.captions = asker.ask(lambda: _jobs(chosen), dry_run=writer.dry_run)
    origin = f"model:{asker.endpoint.model}"
    files: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    refused: dict[str, Counter[str]] = {}
    for one, found in zip(chosen, told, strict=False):
        for task, rounds in _rounds(writer, one, found, refused):
            place = writer.style.place_described(one.source.name, task, one.image)
            writer.put_image(one.source, one.image, place.image)
            files.setdefault((one.source.name, task, place.file), []).append(writer.record(place, rounds))
    by_name = {source.name: source for source in sources}
    for (name, task, file), records in sorted(files.items()):
        writer.save(by_name[name], task, file, records, origin)
    writer.result.refused = {task: dict(sorted(counts.items())) for task, counts in sorted(refused.items())}


def _choose(writer: Writer, source: Source, selection: Selection) -> list[_Chosen]:
    found = []
    for image in source.images():
        if not selection.takes(image.split, with_test=writer.style.USES_TEST):
            continue
        if not any(one.box for one in image.objects) and not image.captions:
            continue
        size = writer.size(source, image)
        if size is None:
            known = source.size(image.image)
            if known is None:
                continue
            size = known[:2]
        boxed = [one for one in image.objects if one.box is not None]
        boxed.sort(key=lambda one: -_area(one))
        found.append(_Chosen(source, image, size, tuple(boxed[:REGIONS])))
    most = DESCRIBED if selection.limit is None else selection.limit
    found.sort(key=lambda one: draw_key(selection.seed, source.name, one.image.image))
    return sorted(found[:most], key=lambda one: one.image.image)


def _area(one: LabelledObject) -> float:
    box = one.box or (0.0, 0.0, 0.0, 0.0)
    return (box[2] - box[0]) * (box[3] - box[1])


def _word(label: str) -> str:
    return " ".join(label.replace("_", " ").replace("-", " ").lower().split())


def _known(one: LabelledObject, size: tuple[int, int]) -> KnownObject:
    if one.box is None:
        return KnownObject(_word(one.label), None if one.point is None else one.point[0] / size[0])
    x_min, y_min, x_max, y_max = (value / size[place % 2] for place, value in enumerate(one.box))
    return KnownObject(_word(one.label), (x_min + x_max) / 2, (x_min, y_min, x_max, y_max))


def known_objects(image: LabelledImage, size: tuple[int, int]) -> KnownLabels:
    """The labels of an image as texts are held against them, in the source's own words."""
    exhaustive = frozenset[str]() if image.unclear else frozenset(map(_word, image.exhaustive))
    objects = tuple(_known(one, size) for one in image.objects if one.label)
    words = {*exhaustive, *(one.word for one in objects)}
    return KnownLabels(objects, exhaustive, {word: plural(word) for word in sorted(words)})


def _jobs(chosen: Sequence[_Chosen]) -> Iterator[TalkJob]:
    locks = locks_of({one.source.name: one.source for one in chosen}.values())
    for one in chosen:
        yield TalkJob(
            f"{one.source.name}/{one.image.image}",
            _reader(one.source, one.image, locks[one.source.name]),
            known_objects(one.image, one.size),
            tuple(dict.fromkeys(one.image.captions)),
            "optical",
            tuple(_known(region, one.size) for region in one.regions),
        )


def _reader(
    source: Source, image: LabelledImage, lock: AbstractContextManager[object]
) -> Callable[[], bytes]:
    def read() -> bytes:
        with lock:
            return source.image_bytes(image)

    return read


def _rounds(
    writer: Writer, one: _Chosen, told: Told, refused: dict[str, Counter[str]]
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The rounds of each task that came of an image; what was refused is counted."""
    regions: list[LabelledObject] = []
    local: list[tuple[str, str]] = []
    for name, judged in told.texts.items():
        task = REGION if name.startswith(REGION) else name or REGION
        if not judged.rounds:
            refused.setdefault(task, Counter()).update({fault.partition(":")[0] for fault in judged.faults})
        elif task == REGION:
            regions.append(one.regions[int(name.rpartition(" ")[2])])
            local += judged.rounds
        else:
            yield task, writer.style.rounds_described(task, list(judged.rounds), (), one.size)
    if local:
        yield REGION, writer.style.rounds_described(REGION, local, regions, one.size)
