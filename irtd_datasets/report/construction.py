"""What `irtd construct` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from irtd_datasets.captioning.asking import Estimate
    from irtd_datasets.construct.benchmark import Captioned, Construction
    from irtd_datasets.construct.remote_sensing import Extension

__all__ = ["describe_estimate", "show_construction"]


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
            name = one.target.source if one.target.listed else f"{one.target.source} (not listed)"
            numbers = (f"{one.chosen:,}", f"{one.target.rows:,}", f"{one.candidates:,}")
            table.add_row(*cells, name, *numbers, _told(one.rejected))
            cells = ["", "", "", ""]
    for task in dict.fromkeys(target.task for target in result.absent):
        if task not in result.results:
            table.add_row(task, "absent", "0", f"{result.target(task):,}", "", "", "", "", "")
    console.print(table)
    for line in _remarks(result):
        console.print(line)


def _remarks(result: Construction) -> Iterator[str]:
    """What is to be said below the table."""
    missing: dict[str, list[str]] = {}
    for target in result.absent:
        missing.setdefault(target.source, []).append(f"{target.task} {target.rows:,}")
    if missing:
        yield "Sources that are not here: " + "; ".join(
            f"{name} ({', '.join(tasks)})" for name, tasks in missing.items()
        )
    yield from (f"{name} cannot be read: {why}" for name, why in result.problems.items())
    yield from (
        f"Not asked about of {name}: {_told(counts)}" for name, counts in result.left_out.items() if counts
    )
    yield from (f"Labels of {name}: {_told(counts)}" for name, counts in result.label_problems.items())
    if result.captions:
        yield from _asking(result.captions)
    if result.excluded:
        yield f"Kept out: the images of {', '.join(result.excluded)}"
    where = f": {result.build.folder}" if result.build else "; nothing was written"
    yield f"{result.rows:,} records{where}"


def describe_estimate(expected: Estimate, *, priced: bool) -> str:
    """What asking will cost at most but for corrections, in one line."""
    cost = f", cost about {expected.cost:,.2f}" if priced else ", cost not known (no --price)"
    return (
        f"{expected.questions:,} questions to ask ({expected.answered:,} images are answered already): about "
        f"{expected.input_tokens:,} tokens in, {expected.output_tokens:,} out{cost}"
    )


def _asking(captioned: Captioned) -> Iterator[str]:
    report, expected = captioned.report, captioned.estimate
    if report is None:
        yield f"{captioned.model}: {describe_estimate(expected, priced=bool(expected.cost))}"
        return
    yield (
        f"{captioned.model}: {report.accepted:,} texts; {report.asked:,} questions asked now, "
        f"{report.from_journal:,} answers from {captioned.journal}; {report.input_tokens:,} tokens in, "
        f"{report.output_tokens:,} out" + (f", cost {report.cost:,.2f}" if report.cost else "")
    )
    if captioned.unanswered:
        why = f" ({report.stopped})" if report.stopped else ""
        yield f"Not answered yet: {captioned.unanswered:,} texts{why}; the same command asks about them"


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _show_extension(result: Extension) -> None:
    console = make_console()
    table = make_table("source", "task", "records", "rounds", "file", title=f"Records for {result.dataset}")
    for part in result.parts:
        table.add_row(part.source, part.task, f"{part.records:,}", f"{part.rounds:,}", part.file)
    console.print(table)
    for name, why in result.problems.items():
        console.print(f"{name}: {why}")
    for task, counts in result.refused.items():
        console.print(f"Texts refused, {task}: {_told(counts)}")
    if result.captions:
        for line in _asking(result.captions):
            console.print(line)
    console.print(f"{result.records:,} records: {result.folder}")
