"""A dataset folder with captions, boxes and visible partners, of any number of rows."""

import io

import numpy as np
import yaml
from PIL import Image, ImageDraw

from irtd_datasets.rows.image_column import ImageBatch, ImageColumn
from irtd_datasets.schema import FIELDS, FILE_FIELDS, TASKS, arrow_schema, hub_metadata
from irtd_datasets.writing.write import RowGroup, write_shard

SIZE = (640, 512)
TEXT = (
    "The image shows a wide road with {cars} cars that stand in a row at its right side. A person walks on the "
    "pavement at the left, near a tall lamp post."
)


def scene(number, mode="L"):
    """A street: warm boxes on a gradient, in grey or in colour."""
    draw = np.random.default_rng(number)
    rows = np.linspace(60, 140, SIZE[1])[:, None] + draw.normal(0, 4, (SIZE[1], SIZE[0]))
    image = Image.fromarray(rows.clip(0, 255).astype(np.uint8)).convert(mode)
    pen = ImageDraw.Draw(image)
    for box in boxes(number):
        pen.rectangle(box, fill=240 if mode == "L" else (200, 60, 40))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def boxes(number):
    """One person and some cars."""
    x = 20 + number * 13 % 150
    return [(x, 180, x + 40, 300), *((330 + 80 * n, 260, 390 + 80 * n, 320) for n in range(1 + number % 3))]


def row(number):
    placed = boxes(number)
    text = TEXT.format(cars=len(placed) - 1) + (" The sky is blue." if number % 4 == 3 else "")
    values = dict.fromkeys(FIELDS)
    values.update(
        id=f"made/pretrain/captions/{number:06d}",
        modality=0,
        task=TASKS.index("captioning"),
        source="Made",
        messages=[
            {"role": "user", "content": "Describe this picture in detail."},
            {"role": "assistant", "content": text},
        ],
        choices=[],
        objects={"label": ["person", *["car"] * (len(placed) - 1)], "box": [list(map(float, b)) for b in placed],
                 "polygon": [], "point": []},
        width=SIZE[0],
        height=SIZE[1],
        bit_depth=8,
        image_note="",
        issues=[],
        corrections=[],
    )  # fmt: skip
    return {name: value for name, value in values.items() if name not in FILE_FIELDS}


def write_paired(root, rows, *, distinct=None):
    """Write the folder; ``distinct`` images are repeated where there are more rows."""
    folder = root / "irtd"
    (folder / "pretrain/captions").mkdir(parents=True)
    count = min(rows, distinct or rows)
    thermal, seen = [scene(n) for n in range(count)], [scene(n, "RGB") for n in range(count)]

    def groups():
        for first in range(0, rows, 100):
            numbers = range(first, min(first + 100, rows))
            images = ImageColumn.of(
                ImageBatch.from_images([thermal[n % count] for n in numbers], [f"{n}.jpg" for n in numbers])
            )
            even = [n for n in numbers if n % 2 == 0]
            partners = ImageColumn.of(
                ImageBatch.from_images([seen[n % count] for n in even], [f"v{n}.jpg" for n in even]),
                [even.index(n) if n % 2 == 0 else -1 for n in numbers],
            )
            yield RowGroup(
                [row(n) for n in numbers],
                {"image": images, "visible": partners, "original": ImageColumn.null(len(numbers))},
            )

    write_shard(
        folder / "pretrain/captions/train-00000-of-00001.parquet",
        arrow_schema(metadata=False),
        groups(),
        features=hub_metadata(),
    )
    entry = [{"split": "train", "path": "pretrain/captions/train-*"}]
    config = {"config_name": "pretrain", "default": True, "data_files": entry}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': [config]})}---\n# Made\n")
    return folder
