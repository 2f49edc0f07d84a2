"""A contact sheet: images of a dataset folder with their boxes and points drawn, on one page."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from irtd_datasets.annotations.labelled import LabelledObject
from irtd_datasets.errors import IrtdDatasetsError, ReleaseNotFoundError
from irtd_datasets.images.viewable import viewable
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.schema import TASKS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.sources import Source

__all__ = ["contact_sheet", "draw_objects", "draw_row", "evidence_of", "labels_sheet", "sample_rows"]

TILE = 400
"""Width of a tile in pixels."""
_CAPTION_LINES = 5
_EACH = 2
_PLACED = frozenset(map(TASKS.index, ("grounding", "location", "relationship")))
"""Tasks whose answers hang on where objects are, so that the margin is drawn."""
_LINE_HEIGHT = 14
_LETTERS: dict[str, Any] = {"font_size": 12, "stroke_width": 2}
_UNDER = "#101010"
"""Under letters and beside lines, so that they stand out on bright objects as well."""
_COLOURS = ("#ffd60a", "#30d158", "#64d2ff", "#ff9f0a", "#ff375f", "#bf5af2")


@dataclass(frozen=True, slots=True)
class _Tile:
    image: Image.Image
    caption: str


def sample_rows(folder: Path, per_task: int = 3) -> Iterator[dict[str, Any]]:
    """The first rows of each task of a dataset folder, one image each.

    Raises:
        ReleaseNotFoundError: The folder has no Parquet file.
    """
    tasks = sorted({path.parent for path in folder.glob("*/*/*.parquet")})
    if not tasks:
        raise ReleaseNotFoundError(
            "no Parquet files here", where=str(folder), remedy="Build the dataset first."
        )
    for task in tasks:
        seen: set[str] = set()
        for path in sorted(task.glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=16):
                for row in batch.to_pylist():
                    if len(seen) < per_task and row["image"]["path"] not in seen:
                        seen.add(row["image"]["path"])
                        yield row
                if len(seen) >= per_task:
                    break
            if len(seen) >= per_task:
                break


def contact_sheet(
    rows: Iterable[dict[str, Any]],
    columns: int = 4,
    *,
    evidence: Mapping[str, Sequence[LabelledObject]] | None = None,
    margin: float = 0.0,
) -> Image.Image:
    """Draw rows as a page of tiles.

    Args:
        rows: Rows of the schema as plain dictionaries, with image bytes.
        columns: Tiles side by side.
        evidence: All objects that the labels have, by the path of the image; they are drawn in white.
        margin: Share of width and height within which a box may be moved; drawn around the centre of each of them.
    """
    return _page([_tile(row, evidence or {}, margin) for row in rows], columns)


def evidence_of(source: Source, paths: Collection[str]) -> dict[str, tuple[LabelledObject, ...]]:
    """The objects that a source labels in images of a constructed dataset, by the path that rows have."""
    folder = source.row.project_dir or source.name
    named = ((f"{folder}/{image.image}", image.objects) for image in source.images())
    return {path: objects for path, objects in named if path in paths}


def labels_sheet(source: Source, count: int = 24, columns: int = 4) -> Image.Image:
    """Draw what was read of a source as a page of tiles: images with their boxes, and below each what else is known.

    Args:
        source: The source.
        count: Most images; the first two of each class, then others by a hash of their names, so that the page shows
            every class and is the same on every machine.
        columns: Tiles side by side.

    Raises:
        ReleaseNotFoundError: No image was read.
    """
    chosen: list[tuple[tuple[int, bytes], LabelledImage]] = []
    shown: Counter[str] = Counter()
    for image in source.images():
        labels = {item.label for item in image.objects} or {image.scene or ""}
        rank = int(min(shown[label] for label in labels) >= _EACH)
        shown.update(labels)
        chosen.append(((rank, draw_key(0, image.image)), image))
        if len(chosen) >= 4 * count:
            chosen = sorted(chosen, key=lambda one: one[0])[:count]
    if not chosen:
        raise ReleaseNotFoundError(
            f"no image of {source.name} was read",
            where=str(source.container.path),
            remedy="Use --check to see why.",
        )
    images = [image for _, image in sorted(chosen, key=lambda one: one[0])[:count]]
    return _page([_labels_tile(source, image) for image in images], columns)


def _labels_tile(source: Source, image: LabelledImage) -> _Tile:
    try:
        data, told = source.image_bytes(image), [image.image.rpartition("/")[2]]
        shown = viewable(data, name=image.image).image
    except IrtdDatasetsError as error:
        shown, told = Image.new("RGB", (TILE, TILE // 2)), [image.image, f"cannot be shown: {error.problem}"]
    counts = Counter(item.label for item in image.objects)
    told += [f"{shown.width}x{shown.height}", image.split or "no split"]
    told += [f"{number} {label}" for label, number in counts.most_common()] or ["no object"] * (
        image.label_file is not None
    )
    told += [f"scene {image.scene}"] * (image.scene is not None) + [
        f"UNCLEAR: {code}" for code in sorted(image.doubts)
    ]
    told += [f"'{caption}'" for caption in image.captions] + [" ".join(pair) for pair in image.questions]
    told += [f"<{item.label}: {item.description}>" for item in image.objects if item.description]
    return _Tile(draw_objects(shown, image.objects, TILE), _wrapped("; ".join(told)))


def _page(tiles: Sequence[_Tile], columns: int) -> Image.Image:
    caption_height = _CAPTION_LINES * _LINE_HEIGHT + 10
    lines = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.image.height for tile in line) + caption_height for line in lines]
    page = Image.new("RGB", (columns * (TILE + 10) + 10, sum(heights) + 10 * (len(lines) + 1)), "white")
    pen = ImageDraw.Draw(page)
    top = 10
    for line, height in zip(lines, heights, strict=True):
        for column, tile in enumerate(line):
            left = 10 + column * (TILE + 10)
            page.paste(tile.image, (left, top))
            pen.multiline_text(
                (left, top + tile.image.height + 4), tile.caption, fill="black", font_size=11, spacing=2
            )
        top += height + 10
    return page


def draw_row(row: dict[str, Any], width: int | None = None) -> Image.Image:
    """The image of a row with its boxes, polygons and points drawn.

    Args:
        row: A row as a plain dictionary.
        width: Width to scale to; by default the image's own.
    """
    objects = row["objects"]
    columns = [objects[name] or [None] * len(objects["label"]) for name in ("box", "polygon", "point")]
    places = zip(objects["label"], *columns, strict=True)
    image = viewable(row["image"]["bytes"], name=row["id"]).image
    return draw_objects(image, [LabelledObject(label, *place) for label, *place in places], width)


def draw_objects(image: Image.Image, objects: Sequence[LabelledObject], width: int | None) -> Image.Image:
    """An image with its objects, in pixels of it, scaled to a width."""
    scale = (width or image.width) / image.width
    image = image.resize((round(image.width * scale), max(1, round(image.height * scale))))
    pen = ImageDraw.Draw(image)
    labels = dict.fromkeys(item.label for item in objects)
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    named: set[str] = set()
    for item in objects:
        colour = colours[item.label]
        if item.box:
            x_min, y_min, x_max, y_max = (value * scale for value in item.box)
            edges = min(x_min, x_max), min(y_min, y_max), max(x_min, x_max), max(y_min, y_max)
            pen.rectangle((edges[0] - 1, edges[1] - 1, edges[2] + 1, edges[3] + 1), None, _UNDER, 1)
            pen.rectangle(edges, None, colour, 2)
            if item.label not in named or x_max - x_min > 7 * len(
                item.label
            ):  # names of small objects hide others
                place = _label_place(pen, item.label, edges, image.size)
                pen.text(place, item.label, fill=colour, stroke_fill=_UNDER, **_LETTERS)
            named.add(item.label)
        if item.polygon:
            corners = [value * scale for value in item.polygon]
            pen.polygon(list(zip(corners[::2], corners[1::2], strict=True)), None, colour, 2)
        if item.point:
            x, y = (value * scale for value in item.point)
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), None, colour, 2)
            pen.line((x - 7, y, x + 7, y), colour)
            pen.line((x, y - 7, x, y + 7), colour)
    return image


def _label_place(
    pen: ImageDraw.ImageDraw, label: str, box: tuple[float, ...], size: tuple[int, int]
) -> tuple[float, float]:
    """Where a label begins: in its box if that has room for it, else above or below it, and inside the image."""
    _, _, width, height = pen.textbbox((0, 0), label, **_LETTERS)
    x_min, y_min, x_max, y_max = box
    x, y = x_min + 3, y_min + 2
    if width + 3 > x_max - x_min or height + 2 > y_max - y_min:
        x, y = x_min, y_min - height - 2 if y_min > height + 2 else y_max + 2
    return max(0, min(x, size[0] - width - 1)), max(0, min(y, size[1] - height - 1))


def _tile(row: dict[str, Any], evidence: Mapping[str, Sequence[LabelledObject]], margin: float) -> _Tile:
    labelled = evidence.get(row["image"]["path"], ())
    image = draw_row(row, TILE)
    _draw_evidence(image, labelled, TILE / row["width"], margin if row["task"] in _PLACED else 0)
    image = _with_partner(image, row)
    turns = " / ".join(message["content"].replace("\n", " ") for message in row["messages"])
    issues = f" [{', '.join(row['issues'])}]" if row["issues"] else ""
    counts = Counter(item.label for item in labelled)
    told = (
        f" {{labelled: {', '.join(f'{number} {label}' for label, number in counts.items())}}}"
        if counts
        else ""
    )
    text = f"{TASKS[row['task']]} {row['width']}x{row['height']}{issues}: {turns}{told}"
    return _Tile(image, _wrapped(text))


def _with_partner(image: Image.Image, row: Mapping[str, Any]) -> Image.Image:
    """A tile with the visible partner of its row below it, in the same size."""
    data = (row.get("visible") or {}).get("bytes")
    if not data:
        return image
    both = Image.new("RGB", (image.width, 2 * image.height + 2))
    both.paste(image, (0, 0))
    partner = viewable(data, 2 * max(image.size), row["id"]).image
    both.paste(partner.resize(image.size), (0, image.height + 2))
    return both


def _draw_evidence(
    image: Image.Image, objects: Sequence[LabelledObject], scale: float, margin: float
) -> None:
    pen = ImageDraw.Draw(image)
    dx, dy = margin * image.width, margin * image.height
    for item in objects:
        box = item.box or (*(item.point or (0.0, 0.0)), *(item.point or (0.0, 0.0)))
        x_min, y_min, x_max, y_max = (value * scale for value in box)
        pen.rectangle((x_min - 2, y_min - 2, x_max + 2, y_max + 2), None, "white")
        if margin:
            x, y = (x_min + x_max) / 2, (y_min + y_max) / 2
            pen.rectangle((x - dx, y - dy, x + dx, y + dy), None, "#ff375f")
    if margin and objects:  # the cells that places are named by
        for third in (1, 2):
            pen.line((image.width * third / 3, 0, image.width * third / 3, image.height), "#808080")
            pen.line((0, image.height * third / 3, image.width, image.height * third / 3), "#808080")


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text.replace("\n", " "), 66)
    if len(lines) > _CAPTION_LINES:
        lines = [*lines[: _CAPTION_LINES - 1], lines[_CAPTION_LINES - 1][:62] + " ..."]
    return "\n".join(lines)
