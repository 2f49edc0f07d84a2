"""The console, tables and bars that all reports share."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from irtd_datasets.display import one_line, terminal
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = ["has_room", "make_console", "make_table", "progress", "show_count", "status", "styled"]


_SHORT = 14  # letters of a cell that shares its line with others where a table has no room


class _Console(Console):
    """A console that shows every text as it is: no markup, and no control character reaches the terminal.

    Lines end between words only: no name and no number is broken, however narrow the console.
    """

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - the base class's
        """Print texts and tables; a table that has no room is shown row by row."""
        for one in objects:
            shown = _fitted(self, one) if isinstance(one, Table) else one
            super().print(shown, **{"overflow": "ignore", "crop": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - the base class's options
        return super().render_str(terminal(text), **options)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output; without a terminal nothing is cut to 80 columns.

    Texts from outside can be given to it as they are. Made at each use, since tests and notebooks swap standard output.
    """
    console = _Console(highlight=False, markup=False, stderr=stderr)
    known = stderr or console.is_terminal or os.environ.get("COLUMNS", "").isdecimal()
    return console if known else _Console(highlight=False, markup=False, width=160)


def has_room(console: Console, table: Table) -> bool:
    """Whether a console is wide enough for a table in which words stay whole."""
    return isinstance(_fitted(console, table), Table)


def _fitted(console: Console, table: Table) -> Table | Text:
    """A table in which words stay whole, or its rows one below the other where that needs more room."""
    cells = [[_cell(console, cell) for cell in (column.header, *column.cells)] for column in table.columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    most = [
        max((cell_len(line) for cell in column for line in cell.split("\n")), default=0) for column in cells
    ]
    room = console.width - 3 * (len(cells) - 1) - 2  # between columns, and at both edges
    if sum(least) > room:
        return _stacked(table.title, cells)
    left = room - sum(least)
    for at in sorted(range(len(cells)), key=lambda at: most[at] - least[at]):
        more = min(most[at] - least[at], left)
        left -= more
        table.columns[at].width = least[at] + more
    return table


def _cell(console: Console, cell: Any) -> str:  # noqa: ANN401 - whatever rich shows
    return cell.plain if isinstance(cell, Text) else console.render_str(str(cell)).plain


def _stacked(title: Any, cells: list[list[str]]) -> Text:  # noqa: ANN401 - whatever rich shows
    """The rows of a table one below the other: the first cell, and the others under it with their heads."""
    text = Text()
    if title:
        text.append(f"{title}\n", "bold")
    heads = [column[0] for column in cells]
    for row in zip(*(column[1:] for column in cells), strict=True):
        text.append(f"{row[0]}\n" if row[0] else "", "bold")
        pairs = [(head, cell) for head, cell in zip(heads[1:], row[1:], strict=True) if cell]
        short = [f"{head} {cell}" for head, cell in pairs if len(cell) <= _SHORT]
        if short:
            text.append(f"  {', '.join(short)}\n")
        for head, cell in pairs:
            if len(cell) > _SHORT:
                text.append(f"  {head}: {cell}\n")
    return text


def styled(head: str, rest: str = "", style: str = "bold") -> Text:
    """A text of which the head is set off."""
    return Text.assemble((terminal(head), style), terminal(rest))


def make_table(*head: str, title: str = "", numbers: Collection[str] = ()) -> Table:
    """A table with a column for each name; those in ``numbers``, or known as counts, stand to the right."""
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in head:
        numeric = name in numbers or name in {
            "records",
            "released",
            "found",
            "needed",
            "kept",
            "image missing",
            "not here",
            "rows",
            "rounds",
            "in the paper",
            "difference",
            "bits",
            "images",
            "rows of A",
            "rows of B",
            "of A in B",
        }
        table.add_column(name, overflow="fold", justify="right" if numeric else "left")
    return table


def show_count(value: int | None, none: str = "unknown") -> str:
    """A number with separators, or ``none``."""
    return none if value is None else f"{value:,}"


class _BarProgress(Progress):
    """Shows a build's stages and bytes on standard error."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None)

    def stage(self, text: str) -> None:
        self._bars.start()  # and with them a thread, before which a build makes its workers
        self._bars.update(self._task, description=one_line(text))

    def total(self, bytes_: int) -> None:
        self._bars.update(self._task, total=bytes_ or None)

    def advance(self, bytes_: int) -> None:
        self._bars.advance(self._task, bytes_)


@contextlib.contextmanager
def progress(*, silent: bool) -> Iterator[Progress]:
    """Progress on standard error, or none; quiet by itself where standard error is no terminal."""
    console = make_console(stderr=True)
    if silent or not console.is_terminal:
        yield Progress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=console, transient=True)
    try:
        yield _BarProgress(bars)
    finally:
        bars.stop()


@contextlib.contextmanager
def status(what: str, *, silent: bool) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is being worked on; none where standard error is no terminal."""
    console = make_console(stderr=True)
    if silent or not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as line:
        yield lambda name: line.update(Text(one_line(f"{what} {name}")))
