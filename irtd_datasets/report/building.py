"""What `irtd build` shows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import spec
from irtd_datasets.report.console import make_console, make_table, show_count, styled

if TYPE_CHECKING:
    from rich.table import Table

    from irtd_datasets.folder.ledger import Ledger, LedgerLine
    from irtd_datasets.writing.engine import BuildReport

__all__ = ["build_as_dict", "show_absent", "show_build", "show_ledger"]


def _released(ledger: Ledger, line: LedgerLine) -> str:
    return show_count(line.released, spec(ledger.dataset).part(line.subset, line.part).count_unknown)


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
    make_console().print(
        f"{sum(report.rows.values()):,} rows in {report.written + report.reused} shards{reused}: {report.folder}",
    )


def show_absent(report: BuildReport, release: str) -> None:
    """Print which parts the release did not have, and where they come from; for a build of everything."""
    declared, console = spec(report.ledger.dataset), make_console()
    lost = sum(line.record_counts.image_missing for line in report.ledger.lines if line.record_counts)
    if lost and declared.places:
        told = f"`irtd fetch {declared.name} --to FOLDER --dry-run` says where images come from"
        console.print(f"{lost:,} records have no image here; {told}.")
    for subset in declared.subsets:
        members = [one for one in subset.members if "/".join(one.key) not in report.rows]
        whole = len(members) == len(subset.members)
        files = dict.fromkeys(one.part.file for one in members if whole or one.part.public)
        if files:
            what = subset.name if whole else f"{', '.join(files)} of {subset.name}"
            console.print(styled(f"Not in {release}", f": {what}. {subset.available}"))
            if whole and any(subset.name in place.configs for place in declared.places):
                console.print(
                    f"  `irtd fetch {declared.name} {subset.name} --to FOLDER` gets it, or says how."
                )


def show_ledger(ledger: Ledger) -> None:
    """Print what became of every record."""
    console = make_console()
    head = (
        "file",
        "released",
        "found",
        "kept",
        "image missing",
        "dropped",
        "not here",
        "rows with an issue",
    )
    table = make_table(*head, title="Ledger")
    for line in ledger.lines:
        record_counts = line.record_counts
        if record_counts is None:
            table.add_row(line.file, _released(ledger, line), "", "", "", "", f"{line.absent:,}", "")
            continue
        dropped = (
            ", ".join(f"{reason} {count:,}" for reason, count in sorted(record_counts.dropped.items())) or "0"
        )
        flagged = ", ".join(f"{code} {count:,}" for code, count in sorted(record_counts.flagged.items()))
        numbers = (f"{record_counts.found:,}", f"{record_counts.kept:,}", f"{record_counts.image_missing:,}")
        table.add_row(line.file, _released(ledger, line), *numbers, dropped, "", flagged)
    totals = ledger.totals()
    table.add_section()
    names = ("found", "kept", "image_missing", "dropped", "absent")
    table.add_row("sum", ledger.released_sum, *(f"{totals[name]:,}" for name in names), "")
    console.print(table)
    # One file can feed several parts.
    for note in dict.fromkeys(line.note for line in ledger.lines if line.record_counts and line.note):
        console.print(note)
    _show_partners(ledger)
    decoded = sum(line.record_counts.decoded for line in ledger.lines if line.record_counts)
    console.print(f"Decoded before they were stored: {decoded:,} images; of the others the header was read.")
    if ledger.counts_rounds:
        console.print(_rounds_table(ledger))
    for line in ledger.lines:
        if line.record_counts is not None and line.record_counts.messages:
            lost = sum(line.record_counts.dropped.values())
            console.print(f"Left out of {line.file}:")
            for message in line.record_counts.messages:
                console.print(f"  {message}")
            if lost > len(line.record_counts.messages):
                console.print(f"  and others, {lost:,} records in all")
    if ledger.unknown_files:
        console.print(f"Not known, ignored: {', '.join(ledger.unknown_files)}")


def _show_partners(ledger: Ledger) -> None:
    counts = [line.record_counts.partners for line in ledger.lines if line.record_counts]
    partners = sum(counts, Counter[str]())
    if partners:
        told = ", ".join(f"{status} {count:,}" for status, count in sorted(partners.items()))
        make_console().print(f"Visible partners, in rows: {told}")


def _rounds_table(ledger: Ledger) -> Table:
    table = make_table("file", "in the paper", "found", "difference", "kept", title="Rounds")
    for line in ledger.lines:
        if line.record_counts is None:
            table.add_row(line.file, show_count(line.rounds), "not here", "", "")
        else:
            found = line.record_counts.rounds_found
            difference = "" if line.rounds is None else f"{found - line.rounds:+,}"
            table.add_row(
                line.file,
                show_count(line.rounds),
                f"{found:,}",
                difference,
                f"{line.record_counts.rounds_kept:,}",
            )
    totals = ledger.totals()
    table.add_section()
    table.add_row(
        "sum of what is here",
        ledger.rounds_sum,
        f"{totals['rounds_found']:,}",
        ledger.rounds_difference,
        f"{totals['rounds_kept']:,}",
    )
    return table
