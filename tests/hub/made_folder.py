"""Small dataset folders made by hand, for tests of what reads them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from irtd_datasets.schema import TASKS, arrow_schema


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def grey(value=90, size=(64, 48)):
    return encoded(Image.new("L", size, value))


def row(number=0, task="vqa", **changes):
    """A row of the schema; ``image`` may be given as bytes."""
    made = {
        "id": f"made/train/{task}/{number}",
        "image": grey(),
        "visible": None,
        "modality": 0,
        "task": TASKS.index(task),
        "source": "Made",
        "messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A car."}],
        "question": None,
        "choices": [],
        "answer": None,
        "objects": {"label": [], "box": [], "polygon": [], "point": []},
        "box_frame": None,
        "width": 64,
        "height": 48,
        "bit_depth": 8,
        "image_note": "",
        "issues": [],
        "corrections": [],
    }
    made.update(changes)
    if isinstance(made["image"], bytes):
        made["image"] = {"bytes": made["image"], "path": f"images/{task}-{number}.png"}
    return made


def places(*labels, box=(), polygon=(), point=()):
    return {"label": list(labels), "box": list(box), "polygon": list(polygon), "point": list(point)}


def write_folder(root, parts, row_group_size=10):
    """A dataset folder from rows by ``subset/part/split``; one config for each part and ``all``."""
    configs = []
    for index, (name, rows) in enumerate(parts.items()):
        subset, part, split = name.split("/")
        (root / subset / part).mkdir(parents=True)
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
        pq.write_table(
            table, root / subset / part / f"{split}-00000-of-00001.parquet", row_group_size=row_group_size
        )
        path = f"{subset}/{part}/{split}-*"
        configs.append({"config_name": f"part{index}", "data_files": [{"split": split, "path": path}]})
    every = [entry for config in configs for entry in config["data_files"]]
    configs.insert(0, {"config_name": "all", "default": True, "data_files": every})
    (root / "README.md").write_text(
        f"---\n{yaml.safe_dump({'configs': configs})}---\n# Made\n", encoding="utf-8"
    )
    return root


def deep(low=7000, high=9000, size=(64, 48)):
    """A 16-bit image with a dead and a hot pixel."""
    values = np.linspace(low, high, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint16)
    values[0, 0], values[-1, -1] = 0, 65535
    return encoded(Image.fromarray(values))
