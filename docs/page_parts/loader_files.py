"""Files under ``loaders`` that are generated as a whole, for programs that read our datasets."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.evaluate.tasks import METRICS, TASK_METRICS
from page_parts.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOADERS = ROOT / "loaders"


def llama_factory() -> str:
    """What LLaMA-Factory has to know of each config: loaders/llama_factory/dataset_info.json."""
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {f"{role}_tag": role for role in ("user", "assistant", "system")}
    entries = {}
    for name in DATASETS:
        for config in spec(name).configs:
            for split in config.splits:
                title = [name, config.name.replace("-", "_"), *([split] if split != config.splits[0] else [])]
                entries["_".join(title)] = {
                    "hf_hub_url": name,
                    "subset": config.name,
                    "split": split,
                    "formatting": "irtd",
                    "columns": {"messages": "messages", "images": "image"},
                    "tags": tags,
                }
    return json.dumps(entries, indent=1) + "\n"


LMMS = LOADERS / "lmms_eval" / "others"


def lmms_tasks() -> dict[Path, str]:
    """The task files of lmms-eval: one for each config and split of one scored task, and a group for each dataset."""
    found = {}
    for name in DATASETS:
        group = []
        for config in spec(name).configs:
            tasks = {member.part.task for member in config.members}
            if len(tasks) != 1 or config.name.startswith("benchmark") or not tasks <= set(TASK_METRICS):
                continue
            (task,) = tasks
            handed_out = {member.subset.split for member in config.members if member.part.public}
            for split in config.splits:
                only = len(config.splits) == 1 or handed_out == {split}
                title = "_".join([name, config.name.replace("-", "_"), *([] if only else [split])])
                group.append(title)
                lines = [f"task: {title}", "include: _others_default_yaml", f"dataset_path: {name}"]
                lines += [f"dataset_name: {config.name}", f"test_split: {split}", "metric_list:"]
                for metric in (*TASK_METRICS[task], "unreadable"):
                    better = metric in METRICS and not METRICS[metric].less_is_better
                    function = metric if metric == "unreadable" else f"measure_{metric}"
                    lines += [f"  - metric: {metric}", f"    aggregation: !function utils.{function}"]
                    lines.append(f"    higher_is_better: {str(better).lower()}")
                lines += ["  - metric: answers", "    aggregation: !function utils.count"]
                lines.append("    higher_is_better: true")
                found[LMMS / f"{title}.yaml"] = "\n".join(lines) + "\n"
        members = "".join(f"  - {title}\n" for title in group)
        found[LMMS / f"{name}_all.yaml"] = f"group: {name}_all\ntask:\n{members}"
    return found


FILES: dict[Path, Callable[[], str]] = {
    LOADERS / "llama_factory" / "dataset_info.json": llama_factory,
    **{path: partial(str, text) for path, text in lmms_tasks().items()},
}
"""Files that are generated as a whole."""
