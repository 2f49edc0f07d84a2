"""Opens tables with VLMEvalKit's own dataset class, out of a checkout whose many other dependencies are not needed.

Its package imports every model and dataset that it knows. Here the packages are entered without that:
`ImageBaseDataset` is imported, and `CustomVQADataset` is run from its text.
"""

import ast
import base64
import io
import json
import os
import sys
import types
from pathlib import Path

from PIL import Image


def classes(checkout):
    """The real dataset class."""
    for name in ("vlmeval", "vlmeval.dataset"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(checkout, *name.split(".")))]
        sys.modules[name] = package
    from vlmeval import smp
    from vlmeval.dataset import image_base

    text = Path(checkout, "vlmeval", "dataset", "image_vqa.py").read_text(encoding="utf-8")
    (node,) = (one for one in ast.parse(text).body if getattr(one, "name", "") == "CustomVQADataset")
    names = {**vars(smp), "osp": os.path, "os": os, "ImageBaseDataset": image_base.ImageBaseDataset}
    exec(compile(ast.Module([node], []), "image_vqa.py", "exec"), names)
    return names["CustomVQADataset"]


def main(checkout, folder, *names):
    os.environ["LMUData"] = folder  # noqa: SIM112 - its name there
    dataset = classes(checkout)
    told = {}
    for name in names:
        found = dataset(name)
        sizes = [
            Image.open(io.BytesIO(base64.b64decode(row["image"]))).size
            for row in found.data.to_dict("records")
        ]
        prompt = found.build_prompt(len(found) - 1)
        files = [part["value"] for part in prompt if part["type"] == "image"]
        told[name] = {
            "rows": len(found),
            "ids": list(found.data["id"]),
            "rounds": [int(number) for number in found.data["round"]],
            "sizes": sizes,
            "image": Image.open(files[0]).size,
            "text": prompt[-1]["value"],
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
