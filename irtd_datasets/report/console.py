"""The console, tables and bars that all reports share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from irtd_datasets.display import one_line, terminal
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

__all__ = ["make_console", "make_table", "progress", "show_count", "status", "styled"]


class _Console(Console):
    """A console that shows every text as it is: no markup, and no control character reaches the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - the base class's options
        return super().render_str(terminal(text), **options)


def make_console(*, stderr: bool = False) -> Console:
    """A console on standard output; without a terminal nothing is cut to 80 columns.

    Texts from outside can be given to it as they are. Made at each use, since tests and notebooks swap standard output.
    """
    console = _Console(highlight=False, markup=False, stderr=stderr)
    wide = stderr or console.is_terminal
    return console if wide else _Console(highlight=False, markup=False, width=160)


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
