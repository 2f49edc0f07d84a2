"""What commands on dataset folders show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.display import one_line
from irtd_datasets.report.console import make_console, make_table, styled

if TYPE_CHECKING:
    from irtd_datasets.hub.findings import CheckReport
    from irtd_datasets.hub.overlap import Overlap
    from irtd_datasets.hub.preview import PreviewReport
    from irtd_datasets.hub.publish import PublishReport

__all__ = ["show_check", "show_overlap", "show_preview", "show_published"]


def show_overlap(overlap: Overlap, limit: int = 20) -> None:
    """Print what one dataset shares with another."""
    from irtd_datasets.hub.overlap import KINDS

    console = make_console()
    for letter, side in (("A", overlap.a), ("B", overlap.b)):
        notes = "".join(
            f", {count:,} {what}"
            for count, what in (
                (side.without_image, "rows without an image"),
                (side.undecodable, "not decodable"),
                (side.featureless, "of one colour"),
            )
            if count
        )
        console.print(f"{letter}: {side.name}: {side.rows:,} rows, {side.images:,} images{notes}")
    table = make_table("images of A in B", "images", "rows", title="Found")
    for kind, meaning in KINDS.items():
        table.add_row(f"{kind}: {meaning}", f"{overlap.images[kind]:,}", f"{overlap.rows[kind]:,}")
    console.print(table)
    if overlap.distances:
        bits = ", ".join(f"{bits} bits {count:,}" for bits, count in sorted(overlap.distances.items()))
        console.print(f"Similar images by distance: {bits}")
    if overlap.sources:
        table = make_table(
            "source in A", "source in B", "rows of A", "rows of B", "of A in B", title="Sources"
        )
        for source in overlap.sources:
            counts = (source.rows, source.other_rows, source.matched)
            table.add_row(source.source, source.other_source, *(f"{count:,}" for count in counts))
        console.print(table)
    if overlap.table.num_rows:
        table = make_table("row of A", "kind", "bits", "row of B")
        for match in overlap.table.slice(0, limit).to_pylist():
            table.add_row(match["id"], match["kind"], str(match["distance"]), match["other_id"])
        console.print(table)
        if overlap.table.num_rows > limit:
            console.print(f"and {overlap.table.num_rows - limit:,} more; --out FILE writes all of them")


def show_published(report: PublishReport, limit: int = 10) -> None:
    """Print what was published, or what would be."""
    console = make_console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    would = "would be " if report.dry_run else ""
    if report.created:
        say(f"{would}made: {report.url} ({'private' if report.private else 'public'})")
    if report.uploaded:
        say(f"{would}uploaded: {len(report.uploaded):,} files, {report.uploaded_bytes / 1e6:,.1f} MB")
    for title, paths in (
        (f"{would}deleted", report.deleted),
        ("of others, kept", report.kept),
        ("left out, since no build writes it", report.left_out),
    ):
        if paths:
            names = ", ".join(map(one_line, paths[:limit])) + (" ..." if paths[limit:] else "")
            say(f"{title}: {len(paths):,} files: {names}")
    if report.unchanged:
        say(f"there already: {len(report.unchanged):,} files")
    for warning in report.warnings:
        say(f"warning: {warning}")
    if report.dry_run:
        say(f"nothing was changed; it would be {report.repo_id} at {report.revision}")
        return
    say(f"read back and compared: {sum(report.verified.values()):,} rows of {len(report.verified):,} splits")
    say(f"{report.url} is at {report.revision} ({report.commit})")


def show_check(found: CheckReport) -> None:
    """Print what a check found, rule by rule, errors first."""
    from irtd_datasets.hub.findings import RULES

    console = make_console()
    for rule in dict.fromkeys(finding.rule for finding in found.findings):
        shown = [finding for finding in found.findings if finding.rule == rule]
        severity, breaks, _ = RULES[rule]
        style = "bold red" if severity == "error" else "yellow"
        console.print(styled(f"{severity} {rule}", f": {breaks}", style))
        for finding in shown:
            row = "" if finding.row is None else f" row {finding.row}"
            where = f"{one_line(finding.file)}{row}: " if finding.file else ""
            console.print(f"  {where}{one_line(finding.message)}", soft_wrap=True)
        if found.counts[rule] > len(shown):
            console.print(f"  and {found.counts[rule] - len(shown):,} more")
        for remedy in dict.fromkeys(finding.remedy for finding in shown):
            console.print(f"  -> {remedy}", soft_wrap=True)
    counts = found.as_dict()
    facts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in found.facts.items())
    console.print(f"{counts['errors']:,} errors, {counts['warnings']:,} warnings ({facts})")


def show_preview(made: PreviewReport) -> None:
    """Print what a preview shows."""
    tasks = ", ".join(f"{task} {count}" for task, count in made.by_task.items())
    console = make_console()
    console.print(
        f"{made.out}: {made.shown:,} of {made.rows:,} rows, {made.bytes / 1e6:,.1f} MB, images read from "
        f"{made.row_groups_read:,} of {made.row_groups:,} row groups",
    )
    console.print(tasks)
    if made.not_shown:
        console.print(f"{made.not_shown:,} images cannot be decoded; the page says which and why")
