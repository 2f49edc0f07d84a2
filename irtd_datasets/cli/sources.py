"""The command on source datasets: what there is, and what is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, SourceTable, print_json
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report import sources as report

__all__ = ["sources"]


@app.command()
def sources(
    name: Annotated[
        str | None, typer.Argument(help="Show one source only: its name, number or folder in IR-TD.")
    ] = None,
    have: Annotated[
        Path | None, typer.Option("--have", metavar="DIR", help="Mark the sources that lie in this folder.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read those that --have finds, and show what is wrong with them.")
    ] = False,
    source_table: SourceTable = None,
    as_json: Json = False,
) -> None:
    """Show the source datasets: what each is, its format, the tasks it can feed, terms, and how to get it."""
    from irtd_datasets.sources import TABLE, check_source, find_sources, get, merge_tables, read_table

    if check and have is None:
        raise UnknownNameError("--check needs --have", remedy="Use --have DIR to say where the sources lie.")
    table = merge_tables(read_table(source_table)) if source_table else TABLE
    rows = (get(name, table),) if name else table
    found = find_sources(have, rows) if have else None
    checked = [check_source(one) for one in found or () if one.readable] if check else []
    if as_json:
        print_json(report.sources_as_list(rows, found, checked))
    else:
        report.show_sources(rows, found, checked, one=name is not None)
