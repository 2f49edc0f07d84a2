"""Schemas, rows and images for shards, and how a shard is looked into."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irtd_datasets.rows.image_column import ImageBatch, ImageColumn
from irtd_datasets.writing.write import RowGroup

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", IMAGE),
        ("visible", IMAGE),
        ("modality", pa.int64()),
        ("messages", pa.list_(MESSAGE)),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("width", pa.int32()),
    ]
)
FEATURES = json.dumps(
    {
        "info": {
            "features": {
                "id": {"dtype": "string", "_type": "Value"},
                "image": {"_type": "Image"},
                "visible": {"_type": "Image"},
                "modality": {"names": ["infrared", "optical", "sar"], "_type": "ClassLabel"},
                "messages": [
                    {
                        "role": {"dtype": "string", "_type": "Value"},
                        "content": {"dtype": "string", "_type": "Value"},
                    }
                ],
                "boxes": [[{"dtype": "float32", "_type": "Value"}]],
                "width": {"dtype": "int32", "_type": "Value"},
            }
        }
    }
).encode()
# images of two bytes and of a text: enough to tell a missing row, a swapped row and a wrong one apart
IDS = pa.schema([("id", pa.string()), ("image", IMAGE)])


def jpeg(seed, size=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def row(number):
    return {
        "id": f"row-{number}",
        "modality": number % 3,
        "messages": [
            {"role": "user", "content": f"What is at {number}?"},
            {"role": "assistant", "content": "ship " * (number % 7)},
        ],
        "boxes": [[1.5, 2.0, 3.0, float(number)]] * (number % 3),
        "width": 640,
    }


def expected_image(group_column, index):
    image = int(group_column.rows[index])
    if image < 0:
        return None
    return {"bytes": bytes(group_column.images[image]), "path": group_column.images.paths[image]}


def expected_rows(groups):
    return [
        {**values, **{name: expected_image(column, index) for name, column in group.images.items()}}
        for group in groups
        for index, values in enumerate(group.rows)
    ]


def mixed_groups():
    """Unique images, repeated ones, rows without any, and an image under two names."""
    images = [jpeg(seed) for seed in range(8)]
    names = [f"{seed}.jpg" for seed in range(8)]
    first = ImageColumn.of(ImageBatch.from_images(images, names))
    second = ImageColumn.of(ImageBatch.from_images(images, names), [3, 3, 3, -1, 0, 0, 7])
    twins = ImageBatch.from_images([images[0], images[1], images[0]], ["a.jpg", "b.jpg", None])
    third = ImageColumn.of(twins, [2, 0, 1])
    return [
        RowGroup([row(n) for n in range(8)], {"image": first, "visible": ImageColumn.null(8)}),
        RowGroup([row(n) for n in range(8, 15)], {"image": second, "visible": first_of(first, 7)}),
        RowGroup([row(n) for n in range(15, 18)], {"image": third, "visible": ImageColumn.null(3)}),
    ]


def first_of(column, rows):
    return ImageColumn.of(column.images, column.rows[:rows])


def image_groups(images_of_rows, per_group=100):
    """Row groups of a sequence that names the image (bytes) of each row."""
    for start in range(0, len(images_of_rows), per_group):
        part = images_of_rows[start : start + per_group]
        distinct = list(dict.fromkeys(part))
        index = [distinct.index(image) for image in part]
        rows = [{"id": f"{start + n:06d}"} for n in range(len(part))]
        yield RowGroup(rows, {"image": ImageColumn.of(distinct, index)})


def image_chunks(path, column="image.bytes"):
    metadata = pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.path_in_schema == column:
                yield chunk


def as_dictionary(chunk):
    return chunk.dictionary_page_offset is not None
