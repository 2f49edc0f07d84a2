"""What commands on models' answers show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table, styled

if TYPE_CHECKING:
    from rich.console import Console

    from irtd_datasets.evaluate.compare import Comparison
    from irtd_datasets.evaluate.judge import JudgeReport
    from irtd_datasets.evaluate.run import PredictResult
    from irtd_datasets.evaluate.scoring import Interval, Scores

__all__ = ["show_comparison", "show_judge", "show_prediction", "show_scores"]


def show_scores(scores: Scores, name: str) -> None:
    """Print the table of the dataset's paper with a row for these scores, then each task with its intervals."""
    from irtd_datasets.evaluate.tasks import PAPER_COLUMNS

    console = make_console()
    if scores.dataset in {"mmrs_1m", "rs_gpt4v"}:
        _show_published(console, scores, name)
    elif any(task in PAPER_COLUMNS for task in scores.tasks):
        _show_table_2(console, scores, name)
    _show_tasks(console, scores)
    if scores.skipped:
        console.print(
            f"{scores.skipped:,} rows without a prediction were left out: this is no score of the whole config"
        )
    for reason, count in scores.left_out.items():
        console.print(f"not scored: {count:,}, {reason}")
    for sentence in scores.suspicions:
        console.print(styled("Look again:", f" {sentence}", "yellow"))


def show_judge(report: JudgeReport) -> None:
    """Print what the judge was asked and said."""
    console = make_console()
    console.print(
        f"judge: {report.judged:,} answers judged, {report.asked:,} asked now, {report.from_journal:,} from the "
        f"journal; {report.unreadable:,} verdicts without a score, {report.empty:,} empty answers, {report.open:,} open"
    )
    if report.stopped:
        console.print(styled("stopped:", f" {report.stopped}", "yellow"))


def _show_table_2(console: Console, scores: Scores, name: str) -> None:
    from irtd_datasets.evaluate.tasks import PAPER_COLUMNS, paper_table

    table = make_table(
        "model",
        "training",
        *PAPER_COLUMNS.values(),
        title="Table 2 of the IRGPT paper",
        numbers=PAPER_COLUMNS.values(),
    )
    for row in paper_table():
        table.add_row(row["model"], row["training"], *(row[column] for column in PAPER_COLUMNS))
    table.add_section()
    values = {task: one.value for task, one in scores.tasks.items()}
    values |= {"psum": scores.psum.value, "nsum": scores.nsum.value}
    table.add_row(styled(name), "", *(_number(values.get(column)) for column in PAPER_COLUMNS))
    console.print(table)
    absent = [PAPER_COLUMNS[task] for task in PAPER_COLUMNS if task not in values]
    if absent:
        console.print(f"No rows of {', '.join(absent)}: a sum is given only where all of its tasks are there")


def _show_published(console: Console, scores: Scores, name: str) -> None:
    from irtd_datasets.evaluate.tasks import METRICS, paper_rows

    titles = {"mmrs_1m": "Results of the EarthGPT paper", "rs_gpt4v": "Results of the RS-GPT4V paper"}
    table = make_table(
        "model", "task", "on", "metric", "value", title=titles[scores.dataset], numbers=("value",)
    )
    for row in paper_rows(scores.dataset):
        if row["task"] in scores.tasks:
            table.add_row(
                row["model"],
                row["task"],
                row["on"],
                METRICS[row["metric"]].title,
                row["value"] or "unknown",
            )
    table.add_section()
    for task, one in scores.tasks.items():
        title = METRICS[one.headline].title
        table.add_row(styled(name), task, "these rows", title, _number(one.value))
    console.print(table)


def _show_tasks(console: Console, scores: Scores) -> None:
    from irtd_datasets.evaluate.tasks import METRICS

    numbers = ("score", f"{scores.options.level:.0%} interval", "rows", "unreadable", "missing")
    table = make_table("task", "metric", *numbers, "released scorer", numbers=numbers)
    for task, one in scores.tasks.items():
        released = ", ".join(f"{key} {_number(value, 4)}" for key, value in one.released.items())
        counts = (f"{one.questions:,}", f"{one.unreadable:,}", f"{one.missing:,}", released)
        order = [one.headline, *(metric for metric in one.metrics if metric != one.headline)]
        for index, metric in enumerate(order):
            table.add_row(
                task if index == 0 else "",
                METRICS[metric].title,
                *_figures(one.metrics[metric]),
                *(counts if index == 0 else [""] * 4),
            )
    for column, total in (("psum", scores.psum), ("nsum", scores.nsum)):
        if not math.isnan(total.value):
            table.add_row(column, "sum", *_figures(total), "", "", "", "")
    console.print(table)
    for task, one in scores.tasks.items():
        if "type" in one.groups:
            types = ", ".join(
                f"{kind} {mean:.2f} ({rows:,})" for kind, (mean, rows) in one.groups["type"].items()
            )
            console.print(f"{task} by type of question, % (rows): {types}")
        if one.problems:
            codes = ", ".join(f"{code} {count:,}" for code, count in one.problems.items())
            console.print(f"{task}, unreadable: {codes}")


def show_comparison(found: Comparison, names: tuple[str, str]) -> None:
    """Print each metric of two files of predictions, and the difference with its interval."""
    from irtd_datasets.evaluate.tasks import METRICS

    numbers = (*names, "difference", f"{found.level:.0%} interval")
    table = make_table("task", "metric", *numbers, "rows", numbers=(*numbers, "rows"))
    for row in found.rows:
        table.add_row(
            row.task, METRICS[row.metric].title, _number(row.one), _number(row.two), *_figures(row.difference),
            f"{row.questions:,}",
        )  # fmt: skip
    console = make_console()
    console.print(table)
    console.print(
        "The second minus the first, on the same resamples of the images; an interval without 0 is a difference."
    )
    for reason, count in found.left_out.items():
        console.print(f"not compared: {count:,}, {reason}")


def show_prediction(found: PredictResult) -> None:
    """Print what was asked, what it cost, and what a reader of the predictions should know."""
    console, done = make_console(), found.report
    questions, tokens, output, cost = found.expected
    if not (done.asked or done.from_journal or done.failed):
        console.print(
            f"{questions:,} questions, about {tokens:,} tokens in and at most {output:,} out, cost {cost:.2f}; "
            "nothing was asked"
        )
        return
    console.print(
        f"{done.answered:,} of {found.questions:,} rounds answered: {done.asked:,} asked now, "
        f"{done.from_journal:,} from the journal, {done.unanswered:,} without an answer"
    )
    console.print(f"{done.input_tokens:,} tokens in, {done.output_tokens:,} out, cost {done.cost:.2f}")
    for note in found.notes:
        console.print(styled("Note:", f" {note}", "yellow"))
    console.print(f"written: {found.out}")


def _figures(one: Interval) -> tuple[str, str]:
    return _number(one.value), "-" if math.isnan(one.low) else f"{one.low:.2f} to {one.high:.2f}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"
