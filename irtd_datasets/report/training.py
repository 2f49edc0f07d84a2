"""What commands for training programs show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from irtd_datasets.training.export import ExportReport

__all__ = ["show_export"]


def show_export(report: ExportReport) -> None:
    """Print what became of every row of an export, and where it lies."""
    from irtd_datasets.training.examples import REASONS

    console = make_console()
    table = make_table("split", "rows", title="Exported")
    for split, rows in report.rows.items():
        table.add_row(split, f"{rows:,}")
    console.print(table)
    places = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.places.items())) or "none"
    console.print(
        f"Places rewritten: {places}; {report.clipped:,} moved to the picture's edge, {report.collapsed:,} without area"
    )
    if report.left_out:
        table = make_table("left out because", "rows", "such as")
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
