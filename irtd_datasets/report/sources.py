"""What `irtd sources` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irtd_datasets.report.console import make_console, make_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from irtd_datasets.sources import FoundSource, SourceCheck, SourceRow

__all__ = ["show_sources", "sources_as_list"]

_UNNAMED = {"missing": "(no such number)", "unnamed": "(not named)"}


def sources_as_list(
    rows: Iterable[SourceRow], found: Sequence[FoundSource] | None, checked: Sequence[SourceCheck]
) -> list[dict[str, Any]]:
    """The table of sources as plain values, with what lies here."""
    here = {one.row.name: one for one in found or ()}
    results = {one.name: one for one in checked}
    values = []
    for row in rows:
        value = row.as_dict()
        if found is not None:
            one = here.get(row.name) if row.name else None
            value["here"] = str(one.path) if one else None
            value["recognised"] = one.readable if one else None
        if row.name in results:
            value["check"] = results[row.name].as_dict()
        values.append(value)
    return values


def show_sources(
    rows: Sequence[SourceRow],
    found: Sequence[FoundSource] | None,
    checked: Sequence[SourceCheck],
    *,
    one: bool,
) -> None:
    """Print the table of sources, or all that is known of one."""
    console = make_console()
    here = {item.row.name: item for item in found or ()}
    if one:
        for name, value in rows[0].as_dict().items():
            shown = ", ".join(value) if isinstance(value, list) else value
            if shown not in (None, ""):
                console.print(f"[bold]{name}[/bold]: ", end="")
                console.print(str(shown), markup=False)
    else:
        head = ["nr", "source", "what it is", "band", "reader", "tasks it can feed", "terms", "how to get it"]
        table = make_table(*(["here"] if found is not None else []), *head)
        for row in rows:
            cells = [
                "" if row.index is None else str(row.index),
                row.name or _UNNAMED[row.status],
                row.what,
                row.band or row.modality,
                ", ".join(dict.fromkeys(row.readers))
                if row.readable
                else "format not known"
                if row.name
                else "",
                ", ".join(row.tasks),
                row.terms,
                row.access,
            ]
            table.add_row(*([_mark(here.get(row.name))] if found is not None else []), *map(_plain, cells))
        console.print(table)
        named = sum(row.status == "named" for row in rows)
        listed = sum(row.index is not None for row in rows)
        console.print(
            f"{listed} entries of IR-TD's list: {named} named, "
            f"{sum(row.status == 'unnamed' for row in rows)} not named, "
            f"{sum(row.status == 'missing' for row in rows)} numbers left out; "
            f"{sum(row.readable for row in rows if row.status == 'named')} of the named ones can be read. "
            f"{len(rows) - listed} further sources."
        )
    _show_found(console, found)
    for result in checked:
        _show_check(console, result)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _mark(found: FoundSource | None) -> str:
    if found is None:
        return ""
    return "yes" if found.readable else "folder only"


def _show_found(console: Console, found: Sequence[FoundSource] | None) -> None:
    if found is None:
        return
    if not found:
        console.print("None of them lies here under a name that the table has.")
    for one in found:
        remark = "" if one.readable else ": no picture in a layout that the table has"
        console.print(f"{one.row.name}: {one.path}{remark}", markup=False)


def _show_check(console: Console, result: SourceCheck) -> None:
    console.print(
        f"{result.name}: {result.pictures:,} pictures ({result.pairs:,} in pairs), {result.objects:,} objects, "
        f"{result.captions:,} captions, {result.questions:,} questions",
        markup=False,
    )
    splits = ", ".join(f"{split or 'no split'} {count:,}" for split, count in result.splits.items())
    labels = ", ".join(f"{label} {count:,}" for label, count in list(result.labels.items())[:12])
    scenes = ", ".join(f"{scene} {count:,}" for scene, count in list(result.scenes.items())[:30])
    for line in (splits, labels, scenes):
        if line:
            console.print(f"  {line}", markup=False)
    if not result.problems:
        return
    table = make_table("problem", "found", "what it is", "first of them", numbers={"found"})
    for problem in result.problems:
        table.add_row(
            problem.code, f"{problem.count:,}", problem.meaning, _plain("\n".join(problem.examples[:2]))
        )
    console.print(table)
