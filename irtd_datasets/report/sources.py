"""What `irtd sources` shows."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.padding import Padding
from rich.text import Text

from irtd_datasets.display import one_line
from irtd_datasets.report.console import has_room, make_console, make_table, styled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

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
    _show_found(console, found)
    if one:
        for name, value in rows[0].as_dict().items():
            shown = ", ".join(value) if isinstance(value, list) else value
            if shown not in (None, ""):
                console.print(styled(name, f": {shown}"))
    else:
        entries = [_Entry.of(*group, here=here) for group in _groups(rows)]
        entries.sort(key=lambda entry: not entry.here)
        table = _table(entries, marked=found is not None)
        if has_room(console, table):
            console.print(table)
        else:
            _show_list(console, entries)
        named = sum(row.status == "named" for row in rows)
        listed = sum(row.index is not None for row in rows)
        console.print(
            f"{listed} entries of IR-TD's list: {named} named, "
            f"{sum(row.status == 'unnamed' for row in rows)} not named, "
            f"{sum(row.status == 'missing' for row in rows)} numbers left out; "
            f"{sum(row.readable for row in rows if row.status == 'named')} of the named ones can be read. "
            f"{len(rows) - listed} further sources."
        )
    for result in checked:
        _show_check(console, result)


class _Entry(NamedTuple):
    """What is shown of one source, or of several numbers without a name."""

    number: str
    name: str
    what: str
    band: str
    reader: str
    tasks: str
    terms: str
    access: str
    here: str

    @classmethod
    def of(cls, first: SourceRow, last: SourceRow, here: dict[str, FoundSource]) -> _Entry:
        number = "" if first.index is None else str(first.index)
        reader = ", ".join(dict.fromkeys(first.readers)) if first.readable else "format not known"
        return cls(
            number if first is last else f"{number}-{last.index}",
            first.name or _UNNAMED[first.status],
            first.what,
            (first.band or first.modality) if first.name else "",
            reader if first.name else "",
            ", ".join(first.tasks),
            first.terms,
            first.access,
            _mark(here.get(first.name)),
        )


def _groups(rows: Sequence[SourceRow]) -> Iterator[tuple[SourceRow, SourceRow]]:
    """First and last of the rows that are shown as one: neighbours without a name of which the same is said."""
    for _, group in groupby(rows, key=lambda row: (row.name, row.status, row.what, row.terms)):
        same = list(group)
        yield same[0], same[-1]


def _table(entries: Sequence[_Entry], *, marked: bool) -> Table:
    head = ["nr", "source", "what it is", "band", "reader", "tasks it can feed", "terms", "how to get it"]
    table = make_table(*(["here"] if marked else []), *head)
    for entry in entries:
        table.add_row(*([entry.here] if marked else []), *entry[:-1])
    return table


def _show_list(console: Console, entries: Sequence[_Entry]) -> None:
    """Each source as a few lines, which any width holds."""
    for entry in entries:
        here = [styled(f"here: {entry.here}")] if entry.here else []
        head = Text.assemble(f"{entry.number:>5}  ", styled(entry.name))
        console.print(Text("  ").join([head, *map(Text, filter(None, (entry.band, entry.reader))), *here]))
        for name, value in (
            ("", entry.what),
            ("tasks: ", entry.tasks),
            ("terms: ", entry.terms),
            ("get it: ", entry.access),
        ):
            if value:
                console.print(Padding(name + value, (0, 0, 0, 7)))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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
        remark = "" if one.readable else ": no image in a layout that the table has"
        console.print(f"{one.row.name}: {one.path}{remark}")


def _show_check(console: Console, result: SourceCheck) -> None:
    console.print(
        f"{result.name}: {_counted(result.images, 'image')} ({result.pairs:,} in pairs), "
        f"{_counted(result.objects, 'object')}, {_counted(result.captions, 'caption')}, "
        f"{_counted(result.questions, 'question')}",
    )
    splits = ", ".join(f"{split or 'no split'} {count:,}" for split, count in result.splits.items())
    labels = ", ".join(f"{label} {count:,}" for label, count in list(result.labels.items())[:12])
    scenes = ", ".join(f"{scene} {count:,}" for scene, count in list(result.scenes.items())[:30])
    sampled = ", ".join(f"{status} {count:,}" for status, count in result.sampled.items())
    pairs = f"pairs declared {result.alignment}; registered by their edges: {sampled}" if sampled else ""
    doubt = f"TABLE AND IMAGES DISAGREE: {result.alignment_doubt}" if result.alignment_doubt else ""
    for line in (splits, labels, scenes, pairs, doubt):
        if line:
            console.print(f"  {line}")
    if not result.problems:
        return
    table = make_table("problem", "found", "what it is", "first of them", numbers={"found"})
    for problem in result.problems:
        table.add_row(
            problem.code,
            f"{problem.count:,}",
            problem.meaning,
            "\n".join(map(one_line, problem.examples[:2])),
        )
    console.print(table)
