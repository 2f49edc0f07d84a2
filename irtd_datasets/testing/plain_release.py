"""Writes a sample of any dataset whose release is files in the style of LLaVA, from its declaration alone."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from irtd_datasets.boxes import Frame, convert
from irtd_datasets.boxes.frames import DEFAULT_DECIMALS, format_coordinate, is_cut
from irtd_datasets.testing.archives import write_zip
from irtd_datasets.testing.irtd_release import encode_image
from irtd_datasets.testing.samples import (
    SampleImage,
    SampleObject,
    SampleRecord,
    SampleRelease,
    start_sample,
)
from irtd_datasets.testing.scenes import Scene, colour_scene, render_scene

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.spec import DatasetSpec, PartSpec

__all__ = ["cars", "describe_side", "file_text", "write_boxes", "write_images", "write_plain_sample"]

_SIZES = ((320, 320), (320, 240), (240, 320))
_CAR = 40  # pixels of the longer side of a car


def write_plain_sample(
    spec: DatasetSpec,
    folder: str | Path,
    *,
    rows: int = 200,
    seed: int = 0,
    form: str = "zip",
    images: bool = True,
    overwrite: bool = False,
) -> SampleRelease:
    """Write a seeded sample of a dataset that `irtd_datasets.rows.plain.PlainRelease` reads.

    Args:
        spec: The dataset. A part with a frame gets boxes in it.
        folder: New or empty folder to write into.
        rows: Records in all, at least three of each part.
        seed: Seed of all choices.
        form: ``folder`` writes images as files, ``zip`` puts them into ``images.zip``.
        images: False writes the texts only.
        overwrite: Replace ``folder`` if it holds an earlier sample.

    Returns:
        What was written, with the truth about every image.

    Raises:
        BuildError: ``folder`` is not empty and is no sample that may be replaced.
        UnknownNameError: ``form`` does not exist.
    """
    follows = f"File names are those\nthat the declaration of {spec.title} has; its texts are made up."
    options = {"rows": rows, "seed": seed, "form": form, "images": images}
    folder, _ = start_sample(
        spec.name, folder, follows, overwrite=overwrite, forms=("zip", "folder"), **options
    )
    random = Random(f"{spec.name}/{seed}")  # noqa: S311 - no secret
    scenes: dict[str, Scene] = {}
    records: dict[str, tuple[SampleRecord, ...]] = {}
    each, more = divmod(max(rows, 3 * len(spec.members)), len(spec.members))
    for position, member in enumerate(spec.members):
        part, file = member.part, member.part.file.replace("*", "sample")
        place = part.image_dirs[0] if part.image_dirs else "images"
        made = []
        for number in range(each + (position < more)):
            name = f"{place}/{'_'.join(member.key)}_{number + 1:05d}.jpg"
            size = _SIZES[number % len(_SIZES)]
            scenes[name] = scene = Scene("aerial", *size, cars(random, size), name)
            made.append(_record(file, number, name, scene, part))
        records[file] = (*records.get(file, ()), *made)
    for file, written in records.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file_text(file, [_as_json(record) for record in written]), encoding="utf-8")
    dark = {one.part.image_dirs[:1] for one in spec.members if one.part.modality != "optical"}
    paths, archives = write_images(folder, scenes, seed, form, colour=not dark) if images else ({}, ())
    known = {
        name: SampleImage(name, paths.get(name), scene.width, scene.height, objects=scene.objects)
        for name, scene in scenes.items()
    }
    return SampleRelease(spec.name, folder, folder, seed, records, known, (), archives=archives)


def _record(file: str, number: int, image: str, scene: Scene, part: PartSpec) -> SampleRecord:
    objects, question, answer = scene.objects, "How many cars are in this image?", str(len(scene.objects))
    if part.frame:
        frame, size = Frame(part.frame), (scene.width, scene.height)
        words, box = f"the car {describe_side(objects[0], scene)}", write_boxes([objects[0].box], frame, size)
        question, answer = (
            f"Provide the bounding box of the region which is described as: {words}",
            f"[{box}]",
        )
        if part.task == "region_captioning":
            question, answer = f"Provide a short description for this region: [{box}]", words
        objects = objects[:1]
    elif part.task == "captioning":
        question, answer = (
            "Describe this image in one sentence.",
            f"{answer} cars stand on a piece of ground.",
        )
    return SampleRecord(file, str(number), image, f"<image>\n{question}", answer, objects, part.task)


def _as_json(record: SampleRecord) -> dict[str, Any]:
    turns = [{"from": "human", "value": record.question}, {"from": "gpt", "value": record.answer}]
    return {"id": record.id, "image": record.image, "conversations": turns}


def file_text(file: str, texts: Sequence[Mapping[str, Any]]) -> str:
    """Records as an annotation file: JSON lines where its name says so, else a list."""
    if file.endswith(".jsonl"):
        return "".join(json.dumps(record) + "\n" for record in texts)
    return json.dumps(texts, indent=2) + "\n"


def write_boxes(
    boxes: Sequence[tuple[int, int, int, int]],
    frame: Frame,
    size: tuple[int, int],
    decimals: int | None = None,
) -> str:
    """Boxes in pixels as a text has them, in a frame and its usual digits."""
    digits = DEFAULT_DECIMALS[frame] if decimals is None else decimals
    rows = convert([list(map(float, box)) for box in boxes], Frame.PIXEL, frame, *size).tolist()
    cut = is_cut(frame, digits)
    return ";".join(", ".join(format_coordinate(value, digits, cut=cut) for value in row) for row in rows)


def write_images(
    folder: Path, scenes: Mapping[str, Scene], seed: int, form: str, *, colour: bool = True
) -> tuple[dict[str, str], tuple[Path, ...]]:
    """Draw images into a folder or into ``images.zip``; where each is, and the archives."""
    drawn = ((name, render_scene(scene, seed)) for name, scene in scenes.items())
    images = ((name, encode_image(colour_scene(image) if colour else image)) for name, image in drawn)
    if form == "zip":
        write_zip(folder / "images.zip", images, compress=False)
        return {name: f"images.zip!{name}" for name in scenes}, (folder / "images.zip",)
    for name, content in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {name: name for name in scenes}, ()


def cars(random: Random, size: tuple[int, int]) -> tuple[SampleObject, ...]:
    """Cars in the cells of a grid; some touch a border, as objects in real tiles do."""
    columns, rows = size[0] // 80, size[1] // 80
    cells = random.sample([(x, y) for x in range(columns) for y in range(rows)], random.randint(3, 6))
    objects = []
    for column, row in cells:
        width, height = random.choice(((_CAR, _CAR // 2), (_CAR // 2, _CAR)))
        x = column * 80 + random.randint(4, 76 - width)
        y = row * 80 + random.randint(4, 76 - height)
        if row == 0:
            y = 0
        elif row == rows - 1:
            y = size[1] - height
        if column == 0 and size[1] > size[0]:
            x = 0
        elif column == columns - 1 and size[1] > size[0]:
            x = size[0] - width
        objects.append(SampleObject.at("car", (x, y, x + width, y + height)))
    return tuple(objects)


def describe_side(item: SampleObject, scene: Scene) -> str:
    """Where in a scene an object is, in words."""
    x, y = item.centre
    across = "left" if x < scene.width / 3 else "right" if x > scene.width * 2 / 3 else "middle"
    down = "top" if y < scene.height / 3 else "bottom" if y > scene.height * 2 / 3 else "centre"
    return f"in the {down} {across}"
