"""The same rows as a user of `datasets` writes them: a GeneratorBasedBuilder over the two task files.

It does no more than it must: no image is looked into (all are known to be 640x512), nothing is counted, repeated
images are written once for each row.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets

from irtd_datasets.schema import features

_PREFIX = "/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/"


class PlainInstruct(datasets.GeneratorBasedBuilder):
    """Location and Security from a release."""

    def _info(self):
        return datasets.DatasetInfo(features=features())

    def _split_generators(self, _):
        root = Path(self.config.data_dir)
        return [
            datasets.SplitGenerator(name=task, gen_kwargs={"root": root, "task": task})
            for task in ("location", "security")
        ]

    def _generate_examples(self, root, task):
        records = json.loads((root / "json_sft" / f"{task.capitalize()}.json").read_text())
        for record in records:
            name = record["image"][0].removeprefix(_PREFIX)
            question, answer = (turn["value"].removeprefix("<image>\n") for turn in record["conversations"])
            row = {
                "id": f"irtd/instruct/{task}/{record['id']}",
                "image": {"bytes": (root / name).read_bytes(), "path": name},
                "visible": None,
                "modality": "infrared",
                "task": task,
                "source": name.split("/")[0].partition("-")[2],
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
                "width": 640,
                "height": 512,
                "bit_depth": 8,
                "image_note": "",
                "corrections": [],
                **(_location if task == "location" else _security)(question, answer),
            }
            yield row["id"], row


def _location(question, answer):
    label = re.search(r"<ref>(.+)</ref>", answer)[1]
    points = [[int(x), int(y)] for x, y in re.findall(r"\((\d+), (\d+)\)", answer)]
    pixels = [[x * 0.64, y * 0.512] for x, y in points]
    return {
        "question": question.strip(),
        "choices": [],
        "answer": json.dumps(points),
        "objects": {"label": [label] * len(points), "box": [], "polygon": [], "point": pixels},
        "box_frame": "per_mille",
        "issues": [],
    }


def _security(question, answer):
    stem, _, line = question.partition("\n")
    choices = re.findall(r"\([A-D]\) ([^(]+?)(?= \(|$)", line)
    return {
        "question": stem,
        "choices": choices,
        "answer": answer,
        "objects": {"label": [], "box": [], "polygon": [], "point": []},
        "box_frame": None,
        "issues": [],
    }
