"""What the command line shows: tables and progress."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from irtd_datasets.build.progress import Progress
from irtd_datasets.schema import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.build.engine import BuildReport
    from irtd_datasets.build.ledger import Ledger, LedgerLine
    from irtd_datasets.examples.doctor import Diagnosis
    from irtd_datasets.examples.frame_report import FrameFile
    from irtd_datasets.hub.overlap import Overlap
    from irtd_datasets.spec import DatasetSpec
    from irtd_datasets.training.export import ExportReport

__all__ = [
    "build_as_dict",
    "fields_as_list",
    "progress",
    "show_build",
    "show_diagnosis",
    "show_export",
    "show_fields",
    "show_frames",
    "show_ledger",
    "show_overlap",
    "show_spec",
    "spec_as_dict",
]


def _console() -> Console:
    # Made at each use: tests and notebooks swap standard output. Without a terminal nothing is cut to 80 columns.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _table(*head: str, title: str = "") -> Table:
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in head:
        numeric = name in {
            "records",
            "released",
            "found",
            "needed",
            "kept",
            "picture missing",
            "not here",
            "rows",
            "rounds",
            "in the paper",
            "difference",
            "bits",
            "pictures",
            "rows of A",
            "rows of B",
            "of A in B",
        }
        table.add_column(name, overflow="fold", justify="right" if numeric else "left")
    return table


def _count(value: int | None) -> str:
    return "not released" if value is None else f"{value:,}"


def _released(line: LedgerLine) -> str:
    return "not known" if line.released is None and line.rounds is not None else _count(line.released)


def spec_as_dict(spec: DatasetSpec) -> dict[str, Any]:
    """A dataset's declaration as plain values."""
    values = asdict(spec)
    values["configs"] = {
        config.name: {
            "splits": config.splits,
            "tasks": list(dict.fromkeys(member.part.task for member in config.members)),
            "released": config.records,
            "released_rounds": config.rounds,
        }
        for config in spec.configs
    }
    return values


def fields_as_list() -> list[dict[str, str]]:
    """The columns as plain values."""
    return [
        {"name": field.name, "type": field.describe_type(), "meaning": field.doc} for field in FIELDS.values()
    ]


def show_spec(spec: DatasetSpec) -> None:
    """Print one dataset: configs, tasks, counts, what is missing, terms, how to get it."""
    console = _console()
    console.print(f"[bold]{spec.name}[/bold]  {spec.title} {spec.version}: {spec.summary}")
    console.print(f"{spec.paper}  {spec.homepage}")
    table = _table("config", "split", "task", "annotation file", "released")
    for config in spec.configs:
        tasks = list(dict.fromkeys(member.part.task for member in config.members))
        files = list(dict.fromkeys(member.part.file for member in config.members))
        table.add_row(
            config.name,
            ", ".join(config.splits),
            tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks",
            files[0] if len(files) == 1 else f"{len(files)} files",
            _count(config.records) if config.rounds is None else f"{config.rounds:,} rounds",
        )
    console.print(table)
    for subset in spec.subsets:
        console.print(f"[bold]{subset.name}[/bold]: {subset.available}")
    console.print("[bold]Not released[/bold]: " + "; ".join(spec.not_released) + ".")
    console.print(f"[bold]Terms[/bold]: {spec.licence} {spec.terms}")
    console.print("[bold]How to get it[/bold]")
    for step in spec.obtain:
        console.print(f"  - {step}")


def show_frames(found: FrameFile) -> None:
    """Print which frames are possible for the numbers in a file, and why."""
    console, result = _console(), found.report
    console.print(f"[bold]verdict[/bold]: {found.verdict}", highlight=False)
    for reason in result.evidence:
        console.print(f"  {reason}", markup=False)
    places = ", ".join(f"{count:,} of kind {kind}" for kind, count in found.places.items()) or "none"
    console.print(f"{found.file}: {found.form or 'no known form'}, {found.records:,} records", markup=False)
    console.print(
        f"places: {places}; {found.unreadable:,} unreadable; {found.sampled:,} looked at", markup=False
    )
    console.print(f"pictures of those: {found.pictures:,}, found {found.found:,}, square {found.square:,}")
    if not found.found:
        return
    console.print(f"numbers: {result.minimum:g} to {result.maximum:g}, {_decimals(result.decimals)}")
    console.print(f"boxes: {result.zero_size:,} of zero size, {result.not_finite:,} not finite")
    table = _table("frame", "boxes in its range", "inside the picture")
    for name, share in result.legal.items():
        inside = result.inside.get(name)
        table.add_row(name, f"{share:.1%}", "" if inside is None else f"{inside:.1%}")
    console.print(table)


def _decimals(counts: dict[int, int]) -> str:
    total = sum(counts.values())
    return "decimals needed: " + ", ".join(
        f"{digits} ({count / total:.0%})" for digits, count in counts.items()
    )


def show_fields() -> None:
    """Print the columns of the schema."""
    table = _table("field", "type", "meaning")
    for field in FIELDS.values():
        table.add_row(field.name, field.describe_type(), field.doc)
    _console().print(table)


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what a release has and lacks."""
    console = _console()
    console.print(f"{diagnosis.dataset} release at {diagnosis.root}", markup=False)
    console.print(_files_table(diagnosis))
    for note in dict.fromkeys(note for file in diagnosis.files for note in file.notes):
        console.print(note, markup=False)
    streamed: dict[str, list[str]] = {}
    for file in diagnosis.files:
        if file.streamed:
            streamed.setdefault(file.streamed, []).append(file.config)
    for stream, configs in streamed.items():
        names = ", ".join(dict.fromkeys(configs))
        console.print(f"Pictures of {names}: {stream}, read as one stream when built", markup=False)
    if diagnosis.folders:
        console.print(_folders_table(diagnosis))
    table = _table("config", "rows", title="Can be built")
    for name, rows in diagnosis.configs.items():
        if rows:
            table.add_row(name, f"{rows:,}")
    console.print(table if table.row_count else "No config can be built from what is here.")
    _show_problems(console, diagnosis)


def _files_table(diagnosis: Diagnosis) -> Table:
    by_rounds = any(file.rounds_released is not None for file in diagnosis.files)
    head = ("rounds", "in the paper") if by_rounds else ("released",)
    table = _table("annotation file", "config", "records", *head, "where", title="Annotation files")
    for file in diagnosis.files:
        if file.where or file.released is not None or file.rounds_released is not None or file.problem:
            repairs = f" (repaired: {', '.join(file.repairs)})" if file.repairs else ""
            where = file.where or ("cannot be read" if file.problem else "not here")
            numbers = (
                (f"{file.rounds:,}", _count(file.rounds_released)) if by_rounds else (_count(file.released),)
            )
            table.add_row(file.file, file.config, f"{file.records:,}", *numbers, where + repairs)
    return table


def _folders_table(diagnosis: Diagnosis) -> Table:
    table = _table("pictures of", "found", "needed", "where", title="Pictures")
    for folder in diagnosis.folders:
        where = (
            ", ".join(f"{place} ({count:,})" for place, count in folder.places.most_common(3)) or "nowhere"
        )
        notes = "".join(f"; {note} ({count:,})" for note, count in folder.notes.items())
        table.add_row(folder.folder, f"{folder.found:,}", f"{folder.needed:,}", where + notes)
    return table


def _show_problems(console: Console, diagnosis: Diagnosis) -> None:
    # One file can feed several parts.
    problems = dict.fromkeys(file.problem for file in diagnosis.files if file.problem)
    lines = [f"Problem: {problem}" for problem in problems]
    for folder in diagnosis.folders:
        if folder.ambiguous:
            lines.append(f"Ambiguous: {folder.ambiguous_count:,} pictures of {folder.folder}, such as")
            lines += [f"  {line}" for line in folder.ambiguous]
    if any(not folder.found for folder in diagnosis.folders):
        lines.append(
            "Pictures that lie elsewhere: --images FOLDER=PATH, with a folder of the table and the path of a folder, "
            "zip or tar."
        )
    if diagnosis.unknown_files:
        lines.append(f"Not known, ignored: {', '.join(diagnosis.unknown_files)}")
    for line in lines:
        console.print(line, markup=False)


def build_as_dict(report: BuildReport) -> dict[str, Any]:
    """What a build did, as plain values."""
    return {
        "folder": str(report.folder),
        "rows": report.rows,
        "shards_written": report.written,
        "shards_reused": report.reused,
        "ledger": report.ledger.as_dict(),
    }


def show_build(report: BuildReport) -> None:
    """Print the ledger of a build and where its result lies."""
    show_ledger(report.ledger)
    reused = f", {report.reused} taken over from an earlier run" if report.reused else ""
    _console().print(
        f"{sum(report.rows.values()):,} rows in {report.written + report.reused} shards{reused}: {report.folder}",
        markup=False,
    )


def show_ledger(ledger: Ledger) -> None:
    """Print what became of every record."""
    console = _console()
    head = (
        "file",
        "released",
        "found",
        "kept",
        "picture missing",
        "dropped",
        "not here",
        "rows with an issue",
    )
    table = _table(*head, title="Ledger")
    for line in ledger.lines:
        tally = line.tally
        if tally is None:
            table.add_row(line.file, _released(line), "", "", "", "", f"{line.absent:,}", "")
            continue
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(tally.dropped.items())) or "0"
        flagged = ", ".join(f"{code} {count:,}" for code, count in sorted(tally.flagged.items()))
        numbers = (f"{tally.found:,}", f"{tally.kept:,}", f"{tally.image_missing:,}")
        table.add_row(line.file, _released(line), *numbers, dropped, "", flagged)
    totals = ledger.totals()
    table.add_section()
    names = ("released", "found", "kept", "image_missing", "dropped", "absent")
    table.add_row("sum", *(f"{totals[name]:,}" for name in names), "")
    console.print(table)
    # One file can feed several parts.
    for note in dict.fromkeys(line.note for line in ledger.lines if line.tally and line.note):
        console.print(note, markup=False)
    if ledger.counts_rounds:
        console.print(_rounds_table(ledger))
    for line in ledger.lines:
        if line.tally is not None and line.tally.messages:
            lost = sum(line.tally.dropped.values())
            console.print(f"Left out of {line.file}:")
            for message in line.tally.messages:
                console.print(f"  {message}", markup=False)
            if lost > len(line.tally.messages):
                console.print(f"  and others, {lost:,} records in all")
    if ledger.unknown_files:
        console.print(f"Not known, ignored: {', '.join(ledger.unknown_files)}", markup=False)


def _rounds_table(ledger: Ledger) -> Table:
    table = _table("file", "in the paper", "found", "difference", "kept", title="Rounds")
    for line in ledger.lines:
        if line.tally is None:
            table.add_row(line.file, _count(line.rounds), "not here", "", "")
        else:
            found = line.tally.rounds_found
            difference = "" if line.rounds is None else f"{found - line.rounds:+,}"
            table.add_row(
                line.file, _count(line.rounds), f"{found:,}", difference, f"{line.tally.rounds_kept:,}"
            )
    totals = ledger.totals()
    here = totals["rounds_released"] - totals["rounds_absent"]
    table.add_section()
    table.add_row(
        "sum of what is here",
        f"{here:,}",
        f"{totals['rounds_found']:,}",
        f"{totals['rounds_found'] - here:+,}",
        f"{totals['rounds_kept']:,}",
    )
    return table


def show_export(report: ExportReport) -> None:
    """Print what became of every row of an export, and where it lies."""
    from irtd_datasets.training.examples import REASONS

    console = _console()
    table = _table("split", "rows", title="Exported")
    for split, rows in report.rows.items():
        table.add_row(split, f"{rows:,}")
    console.print(table)
    places = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.places.items())) or "none"
    console.print(
        f"Places rewritten: {places}; {report.clipped:,} moved to the picture's edge, {report.collapsed:,} without area"
    )
    if report.left_out:
        table = _table("left out because", "rows", "such as")
        for reason, count in report.left_out.most_common():
            table.add_row(
                f"{reason}: {REASONS[reason]}", f"{count:,}", escape(", ".join(report.examples[reason][:2]))
            )
        console.print(table)
    if report.deep_pictures:
        console.print(
            f"{report.deep_pictures:,} rows have pictures of more than 8 bits: scale them before training on them"
        )
    if report.paired:
        console.print(f"{report.paired:,} rows have a visible partner, which is not part of an export")
    pictures = f"{report.pictures:,} pictures" if report.pictures else "pictures inside Parquet"
    console.print(f"{sum(report.rows.values()):,} rows, {pictures}: {report.out}", markup=False)


def show_overlap(overlap: Overlap, limit: int = 20) -> None:
    """Print what one dataset shares with another."""
    from irtd_datasets.hub.overlap import KINDS

    console = _console()
    for letter, side in (("A", overlap.a), ("B", overlap.b)):
        notes = "".join(
            f", {count:,} {what}"
            for count, what in (
                (side.without_picture, "rows without a picture"),
                (side.undecodable, "not decodable"),
                (side.featureless, "of one colour"),
            )
            if count
        )
        console.print(
            f"{letter}: {side.name}: {side.rows:,} rows, {side.pictures:,} pictures{notes}", markup=False
        )
    table = _table("pictures of A in B", "pictures", "rows", title="Found")
    for kind, meaning in KINDS.items():
        table.add_row(f"{kind}: {meaning}", f"{overlap.pictures[kind]:,}", f"{overlap.rows[kind]:,}")
    console.print(table)
    if overlap.distances:
        bits = ", ".join(f"{bits} bits {count:,}" for bits, count in sorted(overlap.distances.items()))
        console.print(f"Similar pictures by distance: {bits}")
    if overlap.sources:
        table = _table("source in A", "source in B", "rows of A", "rows of B", "of A in B", title="Sources")
        for source in overlap.sources:
            counts = (source.rows, source.other_rows, source.matched)
            table.add_row(source.source, source.other_source, *(f"{count:,}" for count in counts))
        console.print(table)
    if overlap.table.num_rows:
        table = _table("row of A", "kind", "bits", "row of B")
        for match in overlap.table.slice(0, limit).to_pylist():
            table.add_row(
                escape(match["id"]), match["kind"], str(match["distance"]), escape(match["other_id"])
            )
        console.print(table)
        if overlap.table.num_rows > limit:
            console.print(f"and {overlap.table.num_rows - limit:,} more; --out FILE writes all of them")


class _BarProgress(Progress):
    """Shows a build's stages and bytes on standard error."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None)

    def stage(self, text: str) -> None:
        self._bars.update(self._task, description=text)

    def total(self, bytes_: int) -> None:
        self._bars.update(self._task, total=bytes_ or None)

    def advance(self, bytes_: int) -> None:
        self._bars.advance(self._task, bytes_)


@contextlib.contextmanager
def progress(*, silent: bool) -> Iterator[Progress]:
    """Progress on standard error, or none; quiet by itself where standard error is no terminal."""
    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield Progress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield _BarProgress(bars)
