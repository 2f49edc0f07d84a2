"""The command on source datasets: what there is, and what is here."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import Json, SourceTable, print_json
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.report import sources as report

if TYPE_CHECKING:
    from irtd_datasets.annotations.labelled import LabelledObject
    from irtd_datasets.sources import FoundSource, SourceRow

__all__ = ["sources"]

_PLACE = "IRTD_SOURCES_DIR"
"""Variable with the folder that holds the source sets."""


@app.command()
def sources(
    name: Annotated[
        str | None, typer.Argument(help="Show one source only: its name, number or folder in IR-TD.")
    ] = None,
    have: Annotated[
        Path | None,
        typer.Option(
            "--have",
            metavar="DIR",
            help="Folder to search for sources; those found are marked. With --check and --sheet the variable "
            "IRTD_SOURCES_DIR, or else this folder, stands in for it.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Read the sources that are found, and report what is wrong with them."),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            help="Draw the labels read from the one source that --have finds on a page of images.",
        ),
    ] = None,
    rows_of: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            metavar="FOLDER",
            help="With --sheet: draw questions of this constructed folder instead, with all labelled objects of the "
            "image and the margin: moving any object within it does not change the answer.",
        ),
    ] = None,
    source_table: SourceTable = None,
    as_json: Json = False,
) -> None:
    """Show the source datasets: what each is, its format, the tasks it can feed, terms, and how to get it."""
    from irtd_datasets.sources import TABLE, check_source, find_sources, get, merge_tables, read_table

    if (check or sheet is not None) and have is None:
        have = Path(os.environ.get(_PLACE) or ".")
    if rows_of is not None and sheet is None:
        raise UnknownNameError("--rows needs --sheet", remedy="Use --sheet FILE.png to say what to draw.")
    table = merge_tables(read_table(source_table)) if source_table else TABLE
    rows = (get(name, table),) if name else table
    found = find_sources(have, rows) if have else None
    if check and not any(one.readable for one in found or ()):
        _say_why(name, have or Path(), found or [])
    checked = [check_source(one) for one in found or () if one.readable] if check else []
    if sheet is not None and have is not None:
        _draw(sheet, have, found or [], table, rows_of)
        if not (check or as_json):
            say(f"written: {sheet}")
            return
    if as_json:
        print_json(report.sources_as_list(rows, found, checked))
    else:
        report.show_sources(rows, found, checked, one=name is not None)


def _say_why(name: str | None, have: Path, found: list[FoundSource]) -> None:
    """Nothing can be checked: it is not there, or its files lie in a way that nobody knows."""
    what = name or "source"
    if found:
        paths = ", ".join(str(one.path) for one in found)
        raise ReleaseNotFoundError(
            f"{what} is there, but its files lie in none of the ways that are known",
            where=paths,
            remedy="Describe how they lie in a table of your own: --source-table FILE.csv.",
        )
    raise ReleaseNotFoundError(
        f"no {what} lies there" if name is None else f"{what} does not lie there",
        where=str(have.resolve()),
        remedy=f"Say where: irtd sources {shlex.quote(name) + ' ' if name else ''}--check --have DIR, "
        f"or export {_PLACE}=DIR.",
    )


def _draw(
    sheet: Path, have: Path, found: list[FoundSource], table: tuple[SourceRow, ...], rows_of: Path | None
) -> None:
    """Write a page of images: of the one source that was found, or of the questions of a constructed folder."""
    from irtd_datasets.folder.contact_sheet import contact_sheet, evidence_of, labels_sheet, sample_rows
    from irtd_datasets.irtd.tasks.generation import MARGIN
    from irtd_datasets.sources import open_source

    readable = [one for one in found if one.readable]
    if rows_of is not None:
        rows = list(sample_rows(rows_of))
        paths = {row["image"]["path"] for row in rows}
        evidence: dict[str, tuple[LabelledObject, ...]] = {}
        for one in readable:
            if any(path.startswith(f"{one.row.project_dir or one.row.name}/") for path in paths):
                evidence |= evidence_of(open_source(one.row.name, one.path, table=table), paths)
        page = contact_sheet(rows, evidence=evidence, margin=MARGIN)
    elif len(readable) == 1:
        page = labels_sheet(open_source(readable[0].row.name, readable[0].path, table=table))
    else:
        names = ", ".join(one.row.name for one in readable)
        raise UnknownNameError(
            f"--sheet draws one source, {len(readable)} lie in {have}",
            remedy=f"Name one of {names}: irtd sources NAME --have {have} --sheet {sheet}."
            if names
            else "`irtd sources --have DIR` tells what is recognised.",
        )
    sheet.parent.mkdir(parents=True, exist_ok=True)
    page.save(sheet)
