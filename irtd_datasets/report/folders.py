"""What the commands on dataset folders show: what is in one, and what was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irtd_datasets.report.console import make_console, make_table, styled

if TYPE_CHECKING:
    from irtd_datasets.curation.dedup import DedupReport
    from irtd_datasets.curation.statistics import Statistics, Summary
    from irtd_datasets.writing.rewrite import RewriteReport

__all__ = ["show_dedup", "show_info", "show_rewrite", "show_statistics"]

_SHOWN = 10


def show_rewrite(report: RewriteReport) -> None:
    """Print what was made: rows by part and split, what was left out and why, and where it lies."""
    console = make_console()
    table = make_table("part", "split", "rows")
    for (subset, part, split), rows in report.rows.items():
        table.add_row(f"{subset}/{part}", split, f"{rows:,}")
    console.print(table)
    for reason, count in report.dropped.items():
        console.print(f"left out, {reason}: {count:,}")
    for note in report.notes:
        console.print(note)
    kept = sum(report.rows.values())
    taken_over = f", {report.reused} taken over" if report.reused else ""
    console.print(
        styled(
            f"{kept:,} of {report.looked_at:,} rows",
            f" in {report.folder}; {report.written} shards written{taken_over}",
        )
    )


def show_dedup(report: DedupReport) -> None:
    """Print how many rows went, and to which images."""
    show_rewrite(report.made)
    console = make_console()
    if report.matches:
        counts: dict[str, int] = {}
        for _, kept, _ in report.matches:
            counts[kept] = counts.get(kept, 0) + 1
        table = make_table("stays", "rows left out", numbers={"rows left out"}, title="Nearly this image")
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        for kept, count in ordered[:_SHOWN]:
            table.add_row(kept, f"{count:,}")
        console.print(table)
        if len(ordered) > _SHOWN:
            console.print(f"and {len(ordered) - _SHOWN:,} more images; --table FILE.csv writes every row")
    console.print(
        f"{report.left_out:,} of {report.images:,} images are nearly one that stays: {len(report.matches):,} rows"
    )


def show_info(facts: dict[str, Any]) -> None:
    """Print what a dataset folder says of itself."""
    console = make_console()
    console.print(styled(facts["folder"], f": {facts['dataset']} {facts['version']}"))
    console.print(
        f"{facts['rows']:,} rows in {facts['shards']:,} shards and {facts['row_groups']:,} row groups, "
        f"{facts['bytes'] / 1e6:,.1f} MB"
    )
    console.print(
        "made with " + ", ".join(f"{name} {version}" for name, version in facts["made_with"].items())
    )
    made_from = facts["made_from"]
    while made_from:
        parents = ", ".join(
            f"{parent['rows']:,} rows"
            + (f" of config {parent['config']}" if parent["config"] else "")
            + f" (manifest {parent['manifest'][:16]})"
            for parent in made_from["parents"]
        )
        console.print(f"made by irtd {made_from['how']} from {parents}")
        made_from = next((one["made_from"] for one in made_from["parents"] if "made_from" in one), None)
    table = make_table("part", "split", "rows", "MB", "issues", numbers={"MB", "issues"})
    for part in facts["parts"]:
        name = f"{part['subset']}/{part['part']}"
        table.add_row(
            name, part["split"], f"{part['rows']:,}", f"{part['bytes'] / 1e6:,.1f}", f"{part['with_issue']:,}"
        )
    console.print(table)
    if facts["image_missing"]:
        console.print(f"records whose image was not found: {facts['image_missing']:,}")
    for reason, count in facts["left_out"].items():
        console.print(f"left out, {reason}: {count:,}")


def show_statistics(found: Statistics) -> None:
    """Print the numbers of a dataset folder: all rows, then by task, source and modality."""
    from irtd_datasets.curation.statistics import AXES

    console = make_console()
    total = found.total
    console.print(styled(found.name, f": {total.rows:,} rows, {total.images:,} images"))
    for axis in AXES:
        table = make_table(
            axis, "rows", "images", "boxes", "points", "words", "issues",
            numbers={"boxes", "points", "words", "issues"},
        )  # fmt: skip
        for name, one in found.sorted_by(axis):
            table.add_row(name, *_numbers(one))
        console.print(table)
    table = make_table("what", "values")
    for name, values in _details(total):
        if values:
            table.add_row(name, values)
    console.print(table)


def _numbers(one: Summary) -> list[str]:
    from irtd_datasets.curation.statistics import spread

    words = spread(one.words).get("median", 0)
    return [
        f"{number:,}" for number in (one.rows, one.images, one.boxes, one.points, words, one.issues.total())
    ]


def _details(total: Summary) -> list[tuple[str, str]]:
    from irtd_datasets.curation.statistics import spread

    def common(counts: Any, name: Any = str, shown: int = 6) -> str:  # noqa: ANN401 - any counter and its names
        pairs = [f"{name(key)} {count:,}" for key, count in counts.most_common(shown)]
        rest = len(counts) - len(pairs)
        return ", ".join([*pairs, f"{rest:,} others"] if rest else pairs)

    words, boxes = spread(total.words), spread(total.boxes_a_row)
    sizes = f"{total.small:,} small (below 32 x 32), {total.large:,} large (from 96 x 96), the rest between"
    return [
        ("image sizes", common(total.sizes, lambda size: f"{size[0]}x{size[1]}")),
        ("bits a channel", common(total.bit_depths)),
        ("visible partner", f"{total.pairs:,} rows" if total.pairs else ""),
        ("boxes", sizes if total.boxes else ""),
        ("boxes a row", _told(boxes) if total.boxes else ""),
        ("polygons", f"{total.polygons:,}" if total.polygons else ""),
        ("labels", common(total.labels)),
        ("words an answer", _told(words)),
        ("answers", common(total.answers)),
        ("issues", common(total.issues)),
    ]


def _told(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in values.items())
