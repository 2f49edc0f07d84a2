"""What the crops of pairs show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from irtd_datasets.images.pairs.folder import PairsReport

__all__ = ["show_pairs"]

_MEANINGS = {
    "aligned": "one view already, copied byte for byte",
    "cropped": "cut to the common view",
    "refused": "left out, not sure enough",
    "failed": "left out, a file or a label is broken",
}


def show_pairs(report: PairsReport) -> None:
    """Print how many pairs were kept, cropped and refused, and why."""
    from irtd_datasets.images.pairs.cropping import REASONS

    console = make_console()
    table = make_table("pairs", "status", "what became of them", title="Pairs", numbers={"pairs"})
    for status, meaning in _MEANINGS.items():
        table.add_row(f"{report.counts[status]:,}", status, meaning)
    console.print(table)
    if report.reasons:
        table = make_table("pairs", "left out because", "such as", numbers={"pairs"})
        for reason, count in report.reasons.most_common():
            meaning = f"{reason}: {REASONS[reason]}" if reason in REASONS else reason
            table.add_row(f"{count:,}", meaning, ", ".join(report.examples[reason]))
        console.print(table)
    if report.lone:
        shown = ", ".join(report.lone[:3])
        console.print(f"{len(report.lone):,} without a partner, such as {shown}", soft_wrap=True)
    console.print(
        f"Written: {report.out} (look at checkerboards; pairs.jsonl has every pair)",
        soft_wrap=True,
    )
