"""A contact sheet: images of a dataset folder with their boxes and points drawn, on one page."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from irtd_datasets.errors import ReleaseNotFoundError
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["contact_sheet", "draw_row", "sample_rows"]

TILE = 400
"""Width of a tile in pixels."""
_CAPTION_LINES = 5
_LINE_HEIGHT = 14
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


def contact_sheet(rows: Iterable[dict[str, Any]], columns: int = 4) -> Image.Image:
    """Draw rows as a page of tiles.

    Args:
        rows: Rows of the schema as plain dictionaries, with image bytes.
        columns: Tiles side by side.
    """
    tiles = [_tile(row) for row in rows]
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
    image = viewable(row["image"]["bytes"], name=row["id"]).image
    scale = (width or image.width) / image.width
    image = image.resize((round(image.width * scale), max(1, round(image.height * scale))))
    pen = ImageDraw.Draw(image)
    objects = row["objects"]
    labels = objects["label"]
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(dict.fromkeys(labels))}
    for i, label in enumerate(labels):
        colour = colours[label]
        if objects["box"] and objects["box"][i]:
            x_min, y_min, x_max, y_max = (value * scale for value in objects["box"][i])
            pen.rectangle(
                (min(x_min, x_max), min(y_min, y_max), max(x_min, x_max), max(y_min, y_max)), None, colour, 2
            )
            pen.text((x_min + 3, y_min + 2), label, fill=colour, font_size=12)
        if objects["polygon"] and objects["polygon"][i]:
            corners = [value * scale for value in objects["polygon"][i]]
            pen.polygon(list(zip(corners[::2], corners[1::2], strict=True)), None, colour, 2)
        if objects["point"] and objects["point"][i]:
            x, y = (value * scale for value in objects["point"][i])
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), None, colour, 2)
            pen.line((x - 7, y, x + 7, y), colour)
            pen.line((x, y - 7, x, y + 7), colour)
    return image


def _tile(row: dict[str, Any]) -> _Tile:
    image = draw_row(row, TILE)
    turns = " / ".join(message["content"].replace("\n", " ") for message in row["messages"])
    issues = f" [{', '.join(row['issues'])}]" if row["issues"] else ""
    text = f"{TASKS[row['task']]} {row['width']}x{row['height']}{issues}: {turns}"
    lines = textwrap.wrap(text, 66)
    if len(lines) > _CAPTION_LINES:
        lines = [*lines[: _CAPTION_LINES - 1], lines[_CAPTION_LINES - 1][:62] + " ..."]
    return _Tile(image, "\n".join(lines))
