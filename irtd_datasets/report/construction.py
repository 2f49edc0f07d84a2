"""What `irtd construct` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from irtd_datasets.construct.benchmark import Construction
    from irtd_datasets.construct.remote_sensing import Extension

__all__ = ["show_construction"]


def show_construction(result: Construction | Extension) -> None:
    """Print what was constructed: a line for each task and source, what is missing, and where the result lies."""
    from irtd_datasets.construct.benchmark import Construction

    if isinstance(result, Construction):
        _show_subset(result)
    else:
        _show_extension(result)


def _show_subset(result: Construction) -> None:
    console = make_console()
    table = make_table(
        "task", "state", "rows", "wanted", "source", "from it", "of at most", "candidates", "not taken",
        title=f"Constructed: {result.subset}",
        numbers={"wanted", "from it", "of at most", "candidates"},
    )  # fmt: skip
    for task, results in result.results.items():
        rows = sum(one.chosen for one in results)
        cells = [task, result.state(task), f"{rows:,}", f"{result.target(task):,}"]
        for one in results:
            rejected = ", ".join(f"{reason} {count:,}" for reason, count in sorted(one.rejected.items()))
            name = one.target.source if one.target.listed else f"{one.target.source} (not listed)"
            numbers = (f"{one.chosen:,}", f"{one.target.rows:,}", f"{one.candidates:,}")
            table.add_row(*cells, name, *numbers, rejected)
            cells = ["", "", "", ""]
    for task in dict.fromkeys(target.task for target in result.absent):
        if task not in result.results:
            table.add_row(task, "absent", "0", f"{result.target(task):,}", "", "", "", "", "")
    console.print(table)
    missing: dict[str, list[str]] = {}
    for target in result.absent:
        missing.setdefault(target.source, []).append(f"{target.task} {target.rows:,}")
    if missing:
        listed = "; ".join(f"{name} ({', '.join(tasks)})" for name, tasks in missing.items())
        console.print(f"Sources that are not here: {listed}", markup=False)
    for name, why in result.problems.items():
        console.print(f"{name} cannot be read: {why}", markup=False)
    for name, counts in result.left_out.items():
        if counts:
            told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
            console.print(f"Not asked about of {name}: {told}", markup=False)
    for name, problems in result.label_problems.items():
        told = ", ".join(f"{code} {count:,}" for code, count in problems.items())
        console.print(f"Labels of {name}: {told}", markup=False)
    if result.excluded:
        console.print(f"Kept out: the pictures of {', '.join(result.excluded)}", markup=False)
    where = f": {result.build.folder}" if result.build else "; nothing was written"
    console.print(f"{result.rows:,} records{where}", markup=False)


def _show_extension(result: Extension) -> None:
    console = make_console()
    table = make_table("source", "task", "records", "rounds", "file", title=f"Records for {result.dataset}")
    for part in result.parts:
        table.add_row(part.source, part.task, f"{part.records:,}", f"{part.rounds:,}", part.file)
    console.print(table)
    for name, why in result.problems.items():
        console.print(f"{name}: {why}", markup=False)
    console.print(f"{result.records:,} records: {result.folder}", markup=False)
