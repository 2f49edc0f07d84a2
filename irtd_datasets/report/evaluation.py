"""What commands on models' answers show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table, styled

if TYPE_CHECKING:
    from irtd_datasets.evaluate.scoring import Scores

__all__ = ["show_scores"]

_TITLES = {
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
_METRICS = {
    "grounding": "mAP at 0.5, %",
    "location": "distance, thousandths",
    "aerial_counting": "MAE",
    "pedestrian_counting": "MAE",
}


def show_scores(scores: Scores, name: str) -> None:
    """Print the table of the paper with a row for these scores, then each task with its interval."""
    from irtd_datasets.evaluate.scoring import paper_table

    console = make_console()
    table = make_table(
        "model", "training", *_TITLES.values(), title="Table 2 of the IRGPT paper", numbers=_TITLES.values()
    )
    for row in paper_table():
        table.add_row(row["model"], row["training"], *(row[column] for column in _TITLES))
    table.add_section()
    values = {task: one.value for task, one in scores.tasks.items()}
    values |= {"psum": scores.psum[0], "nsum": scores.nsum[0]}
    table.add_row(styled(name), "", *(_number(values.get(column)) for column in _TITLES))
    console.print(table)
    numbers = ("score", f"{scores.options.level:.0%} interval", "unreadable", "missing")
    table = make_table(
        "task", "metric", numbers[0], numbers[1], "rows", *numbers[2:], "released scorer", numbers=numbers
    )
    for task, one in scores.tasks.items():
        released = ", ".join(f"{key} {_number(value, 4)}" for key, value in one.released.items())
        table.add_row(
            task,
            _METRICS.get(task, "accuracy, %"),
            _number(one.value),
            _range(one.low, one.high),
            f"{one.questions:,}",
            f"{one.unreadable:,}",
            f"{one.missing:,}",
            released,
        )
    for column, total in (("psum", scores.psum), ("nsum", scores.nsum)):
        if not math.isnan(total[0]):
            table.add_row(column, "sum", _number(total[0]), _range(total[1], total[2]), "", "", "", "")
    console.print(table)
    absent = [_TITLES[task] for task in _TITLES if task not in values]
    if absent:
        console.print(f"No rows of {', '.join(absent)}: a sum is given only where all of its tasks are there")
    if scores.skipped:
        console.print(
            f"{scores.skipped:,} rows without a prediction were left out: this is no score of the whole config"
        )
    for sentence in scores.suspicions:
        console.print(styled("Look again:", f" {sentence}", "yellow"))


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.2f} to {high:.2f}"
