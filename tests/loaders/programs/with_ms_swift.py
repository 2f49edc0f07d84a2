"""Loads the folder's dataset and exports with ms-swift, and prints what came of it."""

import hashlib
import importlib.util
import json
import os
import sys
from collections import Counter
from pathlib import Path

from swift.dataset import load_dataset
from swift.template.template_inputs import TemplateInputs


def plugin(path):
    """As ``--external_plugins`` imports a file."""
    found = importlib.util.spec_from_file_location("irtd_swift", path)
    module = importlib.util.module_from_spec(found)
    sys.modules["irtd_swift"] = module
    found.loader.exec_module(module)


def look(rows):
    counts, texts = Counter(), []
    for row in rows:
        TemplateInputs.from_dict(
            json.loads(json.dumps({"messages": row["messages"], "objects": row["objects"]}))
        )
        text = json.dumps(row["messages"])
        objects = row.get("objects") or {}
        counts["rows"] += 1
        counts["images"] += len(row["images"])
        counts["image tokens"] += text.count("<image>")
        counts["bbox tokens"] += text.count("<bbox>")
        counts["ref tokens"] += text.count("<ref-object>")
        counts["boxes"] += len(objects.get("bbox") or [])
        counts["refs"] += len(objects.get("ref") or [])
        numbers = [[round(value) for value in box] for box in objects.get("bbox") or []]
        texts.append(json.dumps([row["messages"], objects.get("ref") or [], numbers], sort_keys=True))
    return {**counts, "digest": hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()}


def main(path):
    plugin(path)
    here = Path.cwd()
    found = {}
    os.chdir(here / "ms-swift-files")
    found["export files"] = look(load_dataset(["train.jsonl"], strict=True)[0])
    os.chdir(here / "ms-swift-parquet")
    found["export parquet"] = look(load_dataset(sorted(map(str, Path("train").glob("*"))), strict=True)[0])
    os.chdir(here)
    found["folder"] = look(load_dataset(["./irtd:instruct"], strict=True)[0])
    found["stream"] = look(load_dataset(["./irtd:instruct"], strict=True, streaming=True)[0])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
