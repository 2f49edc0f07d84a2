"""What commands for training programs show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from irtd_datasets.training.bench import BenchReport
    from irtd_datasets.training.detection import DetectionReport
    from irtd_datasets.training.export import ExportReport

__all__ = ["show_bench", "show_detection", "show_export"]


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
        f"Places rewritten: {places}; {report.clipped:,} moved to the image's edge, {report.collapsed:,} without area"
    )
    if report.left_out:
        table = make_table("left out because", "rows", "such as")
        for reason, count in report.left_out.most_common():
            table.add_row(
                f"{reason}: {REASONS[reason]}", f"{count:,}", ", ".join(report.examples[reason][:2])
            )
        console.print(table)
    if report.deep_images:
        console.print(
            f"{report.deep_images:,} rows have images of more than 8 bits: scale them before training on them"
        )
    if report.paired:
        console.print(
            f"{report.paired:,} rows have a visible partner, which is left out; --partners gives it as a second image"
        )
    images = f"{report.images:,} images" if report.images else "images inside its files"
    console.print(f"{sum(report.rows.values()):,} rows, {images}: {report.out}")


def show_detection(report: DetectionReport) -> None:
    """Print what became of every image and object of an export for a detector, and where it lies."""
    from irtd_datasets.training.detection import LEFT_OUT

    console = make_console()
    table = make_table("split", "images", title=f"Exported as {report.layout}")
    for split, images in report.images.items():
        table.add_row(split, f"{images:,}")
    console.print(table)
    for reason, count in report.left_out.most_common():
        if count:
            console.print(f"{count:,} objects left out, {reason}: {LEFT_OUT[reason]}")
    for count, told in (
        (report.clipped, "objects cut at the edge of their image"),
        (report.empty_images, "images left out, because none of their objects is written"),
        (report.without_image, "rows without an image"),
        (report.deep_images, "images of more than 8 bits: scale them before training on them"),
        (len(report.written), "classes written under another name; export.json tells which"),
    ):
        if count:
            console.print(f"{count:,} {told}")
    for note in report.notes:
        console.print(note)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.objects.items()))
    console.print(
        f"{report.images.total():,} images, {report.objects.total():,} objects ({kinds}) of {len(report.classes):,} "
        f"classes: {report.out}"
    )


def show_bench(report: BenchReport) -> None:
    """Print how fast rows come, where the time of a row goes, and what to change."""
    from irtd_datasets.training.bench import STEPS

    console = make_console()
    place = "on another machine" if report.remote else "on this machine"
    console.print(
        f"{report.name}: {report.rows:,} rows in {report.shards:,} shards, {report.units:,} row groups, {place}; "
        f"first row after {report.first_row:.2f} s",
    )
    if report.images:
        shown = ", ".join(f"{count} {kind}" for kind, count in report.images.items())
        console.print(f"Images looked at: {shown}")
    table = make_table("way", "rows/s", "MB/s", "rows", "seconds", numbers={"rows/s", "MB/s", "seconds"})
    for way in report.ways:
        rate = f"{way.bytes / way.seconds / 1e6:,.1f}" if way.bytes else ""
        table.add_row(way.name, f"{way.rate:,.0f}", rate, f"{way.rows:,}", f"{way.seconds:.2f}")
    console.print(table)
    whole = sum(report.milliseconds.values())
    table = make_table(
        "step",
        "ms a row",
        "share",
        "what it is",
        title="Where the time goes, in one thread",
        numbers={"ms a row", "share"},
    )
    for step, meaning in STEPS.items():
        if step in report.milliseconds:
            spent = report.milliseconds[step]
            table.add_row(step, f"{spent:.3f}", f"{spent / whole:.0%}", meaning)
    console.print(table)
    if report.far is not None:
        far = report.far
        console.print(
            f"First row: {report.rounds} requests one after the other, beside a round trip or more for each connection."
        )
        console.print(
            f"Network: round trip {1000 * far.round_trip:,.0f} ms, {far.bandwidth / 1e6:,.1f} MB/s; "
            f"{far.requests:,.1f} requests for 1,000 rows, {far.fetched:.2f} bytes fetched for each used, "
            f"{far.bytes_per_row / 1e3:,.1f} kB a row."
        )
        console.print(f"Bound by {far.bound_by}: {far.rate:,.0f} rows/s. What would change it: {far.change}.")
    for note in report.notes:
        console.print(f"Not measured: {note}")
    if not report.advice:
        console.print("Nothing that was tried was faster.")
        return
    table = make_table(
        "what to change", "times as fast", "measured", numbers={"times as fast"}, title="What to change"
    )
    for advice in report.advice:
        gain = "" if advice.gain is None else f"{advice.gain:.1f}"
        table.add_row(advice.change, gain, advice.why)
    console.print(table)
