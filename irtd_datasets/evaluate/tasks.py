"""The one table of tasks and metrics, and the tables of the papers."""

from __future__ import annotations

import csv
from importlib import resources
from typing import NamedTuple

__all__ = ["METRICS", "PAPER_COLUMNS", "SCORED_TASKS", "TASK_METRICS", "Metric", "paper_rows", "paper_table"]

SCORED_TASKS = (
    "scene",
    "recognition",
    "grounding",
    "relationship",
    "reid",
    "security",
    "location",
    "aerial_counting",
    "pedestrian_counting",
)
"""The nine tasks of IR-TD, in the order of the paper's Table 2: six of which more is better, three of which less is."""


PAPER_COLUMNS = {
    "scene": "Scene",
    "recognition": "Rec",
    "grounding": "Gro",
    "relationship": "Rel",
    "reid": "ReID",
    "security": "Sec",
    "psum": "psum",
    "location": "Loc",
    "aerial_counting": "AC",
    "pedestrian_counting": "PC",
    "nsum": "nsum",
}
"""The columns of that table and their heads."""


class Metric(NamedTuple):
    """A figure that a task is measured by."""

    name: str
    title: str
    """With its unit, as tables show it."""
    less_is_better: bool
    best: float | None
    """What the dataset's own answers get; None where that depends on the references."""
    source: str
    """Where its rule stands."""


_IRGPT = "IRGPT (arXiv 2507.14449), section 5.1"
_EARTHGPT = "EarthGPT (arXiv 2401.16822), section on experiments"
_COCO_TEXT = "COCO caption evaluation (arXiv 1504.00325), pycocoevalcap"
_COCO_BOX = "COCO detection evaluation, pycocotools"
_RSVQA = "RSVQA (Lobry et al. 2020, arXiv 2003.07333)"
_RSVG = "DIOR-RSVG (Zhan et al. 2023, arXiv 2210.12634)"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy, %", False, 100.0, f"{_IRGPT}; {_EARTHGPT}"),
        Metric("class_accuracy", "mean of classes, %", False, 100.0, "mean of the recalls of the classes"),
        Metric("average_accuracy", "mean of question types, %", False, 100.0, _RSVQA),
        Metric("count_error", "error of counts, MAE", True, 0.0, _RSVQA),
        Metric("error", "MAE", True, 0.0, _IRGPT),
        Metric("distance", "distance, thousandths", True, 0.0, f"{_IRGPT}; OSPA (Schuhmacher et al. 2008)"),
        Metric("map", "mAP at 0.5, %", False, 100.0, _IRGPT),
        *(Metric(f"pr{t}", f"Pr@0.{t // 10}, %", False, 100.0, _RSVG) for t in (50, 60, 70, 80, 90)),
        Metric("miou", "mean IoU, %", False, 100.0, _RSVG),
        Metric("ciou", "cumulative IoU, %", False, 100.0, _RSVG),
        *(Metric(f"bleu{n}", f"BLEU-{n}, %", False, 100.0, _COCO_TEXT) for n in (1, 2, 3, 4)),
        Metric("rouge_l", "ROUGE-L, %", False, 100.0, _COCO_TEXT),
        Metric("cider", "CIDEr, %", False, None, _COCO_TEXT),
        Metric("meteor", "METEOR, %", False, None, "METEOR 1.5 (Denkowski and Lavie 2014); with --meteor"),
        Metric("ap50", "AP at 0.5, %", False, 100.0, _COCO_BOX),
        Metric("ap", "AP at 0.5 to 0.95, %", False, 100.0, _COCO_BOX),
        Metric("obb_ap50", "AP at 0.5, oriented, %", False, 100.0, f"{_COCO_BOX}; overlap of DOTA_devkit"),
        Metric(
            "obb_ap", "AP at 0.5 to 0.95, oriented, %", False, 100.0, f"{_COCO_BOX}; overlap of DOTA_devkit"
        ),
        Metric(
            "judge",
            "judge, 1 to 10",
            False,
            10.0,
            "grading with a reference (Zheng et al. 2023, arXiv 2306.05685); with --judge-endpoint",
        ),
        Metric(
            "f1", "F1 at 0.5, %", False, 100.0, "harmonic mean of precision and recall; needs no confidence"
        ),
    )
}
"""Every metric by name."""

_TEXTS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")
_BOXES = ("pr50", "pr60", "pr70", "pr80", "pr90", "miou", "ciou")

TASK_METRICS: dict[str, tuple[str, ...]] = {
    "scene": ("accuracy",),
    "recognition": ("accuracy",),
    "grounding": ("map", *_BOXES),
    "relationship": ("accuracy",),
    "reid": ("accuracy",),
    "security": ("accuracy",),
    "location": ("distance",),
    "aerial_counting": ("error",),
    "pedestrian_counting": ("error",),
    "classification": ("accuracy", "class_accuracy"),
    "vqa": ("accuracy", "average_accuracy", "count_error"),
    "detection": ("ap50", "ap", "obb_ap50", "obb_ap", "f1"),
    "captioning": _TEXTS,
    "region_captioning": _TEXTS,
    "detailed_description": _TEXTS,
    "conversation": _TEXTS,
    "reasoning": _TEXTS,
}
"""What each task is measured by, for all datasets; a metric without a row to measure is left out of a result."""


def headline(task: str, dataset: str, metrics: tuple[str, ...]) -> str:
    """The metric that stands for the task: the one of its dataset's paper."""
    wanted = "bleu4" if "bleu4" in metrics else metrics[0]
    if task == "grounding" and dataset != "irtd":
        wanted = "pr50"
    return wanted if wanted in metrics else metrics[0]


_PAPERS = {"irtd": "paper_table.csv", "mmrs_1m": "earthgpt_table.csv", "rs_gpt4v": "rs_gpt4v_table.csv"}


def paper_rows(dataset: str) -> list[dict[str, str]]:
    """The published results under which a user's row stands; empty for a dataset without any.

    Example:
        >>> [row["value"] for row in paper_rows("mmrs_1m") if row["metric"] == "miou"]
        ['69.34']
    """
    if dataset not in _PAPERS:
        return []
    text = resources.files("irtd_datasets.evaluate").joinpath(_PAPERS[dataset]).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def paper_table() -> list[dict[str, str]]:
    """Table 2 of the IRGPT paper, one mapping for each row: model, training, the nine metrics, psum, nsum.

    Example:
        >>> paper_table()[-1]["model"], paper_table()[-1]["psum"]
        ('IRGPT CL', '485.79')
    """
    return paper_rows("irtd")
