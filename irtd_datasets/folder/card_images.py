"""The images of a card: some rows with their boxes drawn, rows by task and source, boxes by size.

They are made from the folder alone, like the card, so that `irtd card` writes the same bytes as the build on the same
machine; another version of Pillow may pack the same pixels otherwise.
"""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.folder.contact_sheet import draw_row
from irtd_datasets.folder.index import leaf_columns
from irtd_datasets.folder.names import CARD_IMAGES
from irtd_datasets.folder.pages import PageError, chunk_of, locate_in_file
from irtd_datasets.folder.plots import plot_box_sizes, plot_rows, to_png
from irtd_datasets.folder.value_counts import BOX_SIZES, SIZE_EDGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from irtd_datasets.folder.parts import BuiltPart
    from irtd_datasets.spec import DatasetSpec

__all__ = ["card_images", "example_rows", "example_sheet"]

_ROWS, _BOXES, _TASKS = CARD_IMAGES["rows"], CARD_IMAGES["boxes"], CARD_IMAGES["tasks"]
_SHOWN = 6
_COLUMNS = 3
_TILE = (300, 225)
_LINES, _CHARACTERS, _LINE = 4, 44, 17
_LOOKED_AT = 16
"""Rows of a part among which one with a box is looked for."""
_PIXELS = 40_000_000
_NEEDED = ("id", "image", "messages", "objects", "width", "height")


def card_images(
    spec: DatasetSpec,
    parts: Sequence[BuiltPart],
    count: Callable[[BuiltPart, str], Counter[Any]],
    opened: Callable[[str], Any],
) -> dict[str, bytes]:
    """The images of a card by their names in the folder.

    Args:
        spec: The dataset.
        parts: The parts in the folder.
        count: Counts the values of a column in a part, see `count_values`.
        opened: Opens a shard for reading at any place, by its name.

    Returns:
        Rows by task and source; boxes by size where there is one; rows with their boxes where an image can be decoded.
    """
    tasks = {member.key: member.part.task for member in spec.members}
    present = [part for part in parts if part.rows]
    if not present:
        return {}
    rows: dict[str, Counter[str | None]] = {}
    sizes: Counter[int] = Counter()
    for part in present:
        rows.setdefault(tasks[part.key], Counter()).update(count(part, "source"))
        sizes.update(count(part, BOX_SIZES))
    made = {_TASKS: to_png(plot_rows(rows))}
    chosen: dict[str, BuiltPart] = {}
    for part in present:  # of each task the part with the most boxes
        known = chosen.get(tasks[part.key])
        if known is None or count(part, BOX_SIZES).total() > count(known, BOX_SIZES).total():
            chosen[tasks[part.key]] = part
    ranked = sorted(chosen.values(), key=lambda part: -bool(count(part, BOX_SIZES)))
    sheet = example_sheet(example_rows(ranked, opened))
    if sheet is not None:
        made[_ROWS] = sheet
    if sizes:
        made[_BOXES] = to_png(plot_box_sizes(sizes, SIZE_EDGES))
    return made


def example_rows(
    parts: Sequence[BuiltPart], opened: Callable[[str], Any], shown: int = _SHOWN
) -> Iterator[dict[str, Any]]:
    """Rows to show: of each part one with a box where one is near its beginning; then a second one of each."""
    names = [next(name for name, shard in part.named_shards() if shard.summary.rows) for part in parts]
    first = [_first_rows(opened, name) for name in names[:shown]]
    for place in range(shown):
        for rows in first:
            yield from rows[place : place + 1]


def _first_rows(opened: Callable[[str], Any], name: str) -> list[dict[str, Any]]:
    """The first rows of a shard with different images, those with the most objects, up to three of them, first."""
    try:
        with opened(name) as file, pq.ParquetFile(file, buffer_size=1 << 16, pre_buffer=False) as parquet:
            columns = [column for column in _NEEDED if column in parquet.schema_arrow.names]
            places = _places(file, parquet)
            if places is not None:  # a page may hold all images of a row group: only those wanted are read
                columns[columns.index("image")] = "image.path"
            batches = parquet.iter_batches(_LOOKED_AT, row_groups=[0], columns=columns, use_threads=False)
            found = pa.Table.from_batches(list(islice(batches, 1))).to_pylist()
            for row, (offset, length) in zip(found, places or (), strict=False):
                if row["image"]:
                    file.seek(offset)
                    row["image"]["bytes"] = file.read(length)
    except (pa.ArrowException, OSError, ValueError):
        return []  # the card has no need of it; the check tells of the shard
    rows = {row["image"]["path"]: row for row in reversed(found) if row["image"]}
    return sorted(rows.values(), key=lambda row: (-min(len(row["objects"]["label"]), 3), row["id"]))


def _places(file: Any, parquet: pq.ParquetFile) -> list[tuple[int, int]] | None:  # noqa: ANN401 - of any file system
    """Offset and length of the images of the first row group of a file on disk; None elsewhere."""
    try:
        descriptor = file.fileno()
        leaf = leaf_columns(parquet.metadata, ["image"])["image"]
        offsets, lengths = locate_in_file(descriptor, chunk_of(parquet.metadata, 0, leaf))
    except (AttributeError, OSError, KeyError, PageError):
        return None
    return list(zip(offsets.tolist(), lengths.tolist(), strict=True))


def example_sheet(
    rows: Iterable[dict[str, Any]], shown: int = _SHOWN, columns: int = _COLUMNS
) -> bytes | None:
    """Rows as a JPEG: images with their boxes and points, and below each what is asked and answered.

    Args:
        rows: Rows as plain dictionaries, with image bytes; those whose image cannot be decoded are passed over.
        shown: Most rows.
        columns: Rows side by side.

    Returns:
        The file; None where no row can be drawn.
    """
    tiles: list[tuple[Image.Image, list[tuple[str, bool]]]] = []
    for row in rows:
        if len(tiles) == shown:
            break
        if row["width"] * row["height"] <= _PIXELS:
            try:
                tiles.append((_fitted(row), _told(row)))
            except IrtdDatasetsError:
                continue
    if not tiles:
        return None
    (width, height), gap = _TILE, 12
    below = _LINES * _LINE + 8
    columns = min(columns, len(tiles))
    lines = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, lines * (height + below + gap) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (tile, text) in enumerate(tiles):
        x = gap + index % columns * (width + gap)
        y = gap + index // columns * (height + below + gap)
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill="#eaeef2")
        sheet.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        for number, (line, answer) in enumerate(text):
            place = (x, y + height + 6 + number * _LINE)
            pen.text(place, line, fill="#0969da" if answer else "#24292f", font_size=13)
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def _fitted(row: dict[str, Any]) -> Image.Image:
    """The image of a row with its objects, as large as a tile takes it."""
    width = min(_TILE[0], max(1, _TILE[1] * row["width"] // max(1, row["height"])))
    tile = draw_row(row, width)
    return tile.crop((0, 0, tile.width, min(tile.height, _TILE[1])))


def _told(row: dict[str, Any]) -> list[tuple[str, bool]]:
    """Lines of the first question and of its answer, each with whether it is the answer's."""
    said = {message["role"]: " ".join(message["content"].split()) for message in reversed(row["messages"])}
    lines = [(line, False) for line in _wrapped(said.get("user", ""), 2)]
    return lines + [(line, True) for line in _wrapped(said.get("assistant", ""), _LINES - len(lines))]


def _wrapped(text: str, most: int) -> list[str]:
    lines = textwrap.wrap(text, _CHARACTERS)
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: _CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"]
    return lines
