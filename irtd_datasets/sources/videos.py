"""Videos with a track file each: LSOTB-TIR, RGBT234, LasHeR, VTUAV, PTB-TIR, Anti-UAV."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from irtd_datasets.annotations.label_file import LabelFile, LabelProblem
from irtd_datasets.annotations.labelled import LabelledObject
from irtd_datasets.annotations.tracks import frames_of_lines, parse_track
from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.annotations.tracks import TrackLine
    from irtd_datasets.sources.source import ImageFile, Source

__all__ = ["read_videos"]


def read_videos(source: Source) -> Iterator[LabelledImage]:
    """Frames of videos with the target's box; one video is held at a time.

    Options of the row: ``every=10`` where a line stands for ten frames, ``corners=yes`` where lines are corners,
    ``pair=place`` where infrared and visible frames have names of their own and are paired by their place.
    """
    layout = source.layout
    assert layout.labels is not None  # checked when the table is read
    used: set[str] = set()
    for _, group in groupby(source.image_files(), lambda image_file: image_file.name.rpartition("/")[0]):
        images = list(group)
        label = source.partner(layout.labels, images[0].fields)
        visible_label = source.partner(layout.visible_labels, images[0].fields)
        (lines, problems), (visible_lines, _) = _lines(source, label), _lines(source, visible_label)
        used.update(filter(None, (label, visible_label)))
        yield from _video(source, images, label, lines, visible_lines, problems)
    for name, _ in source.walk(layout.labels):
        if name not in used:
            source.problems.add("label-without-image", name)


def _lines(source: Source, label: str | None) -> tuple[list[TrackLine], dict[int, LabelProblem]]:
    """What each line of a track file says, and what is wrong with it; none where no file can be read."""
    if label is None:
        return [], {}
    try:
        lines, problems = parse_track(
            source.read(label), label, corners=source.layout.options.get("corners") == "yes"
        )
    except AnnotationError as error:
        source.problems.add("label-unreadable", label, error.problem)
        return [], {}
    if not lines:
        source.problems.add("label-empty", label)
    return lines, {problem.line: problem for problem in problems}


def _label_file(line: TrackLine, sequence: str | None) -> LabelFile:
    box, polygon = line
    return LabelFile([] if box is None else [LabelledObject("", box, polygon, identity=sequence)])


def _video(
    source: Source,
    images: list[ImageFile],
    label: str | None,
    lines: list[TrackLine],
    visible_lines: list[TrackLine],
    problems: dict[int, LabelProblem],
) -> Iterator[LabelledImage]:
    sequence = source.layout.sequence_of(images[0].fields)
    every = int(source.layout.options.get("every", "1"))
    partners = _by_place(source, images) if source.layout.options.get("pair") == "place" else None
    stems = [image_file.fields.get("stem", image_file.name) for image_file in images]
    line_of = {place: line for place, _, line in frames_of_lines(stems, len(lines), every)} if lines else {}
    for place, image_file in enumerate(images):
        line = line_of.get(place)
        found = None if line is None else _label_file(lines[line], sequence)
        if found is not None and line in problems:
            found.problems.append(problems.pop(line))
        if line is None and (
            every == 1 or not lines
        ):  # between two lines of a sparse file nothing is missing
            source.problems.add("frame-without-label" if lines else "image-without-label", image_file.name)
        if found is None and not source.options.unlabelled:
            continue
        visible_found = None
        if line is not None and visible_lines:
            seen = visible_lines[line] if line < len(visible_lines) else (None, None)
            visible_found = _label_file(seen, sequence)
        more = {} if partners is None else {"visible": partners[place]}
        yield from source.build(
            image_file, found, label if found else None, visible_found, frame=place, **more
        )
    for problem in problems.values():
        source.problems.add(problem.code, str(label), problem.detail)
    if len(line_of) < len(lines):
        source.problems.add(
            "label-without-image", str(label), "lines without a frame", len(lines) - len(line_of)
        )


def _by_place(source: Source, images: list[ImageFile]) -> list[str | None] | None:
    """Visible partners of the frames: the first with the first, and so on, where there are as many."""
    pattern = source.layout.visible
    if pattern is None:
        return None
    found: list[str | None] = list(source.beside(pattern, images[0].fields))
    if len(found) == len(images):
        return found
    source.problems.add(
        "image-without-pair",
        images[0].name,
        f"{len(found)} visible frames for {len(images)} infrared ones",
        len(images),
    )
    return [None] * len(images)
