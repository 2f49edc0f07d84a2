"""The command that begins a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app

__all__ = ["new"]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the dataset, such as foors.", metavar="NAME")],
    title: Annotated[str | None, typer.Option("--title", help="Its name for people.")] = None,
    licence: Annotated[
        str, typer.Option("--licence", help="Its licence as the Hub names it, such as cc-by-4.0.")
    ] = "other",
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Folder to make. Default: ./NAME.")
    ] = None,
    parser: Annotated[
        bool,
        typer.Option(
            "--parser", help="The records are not in LLaVA's form: also write a module for your parser."
        ),
    ] = False,
    in_repository: Annotated[
        bool | None,
        typer.Option(
            "--in-repository/--package",
            help="Make a folder inside this library, or a separate package. Default: a folder when run in a checkout.",
        ),
    ] = None,
) -> None:
    """Start a new dataset: declaration, table, sample writer, card and test, which work as generated."""
    from irtd_datasets.scaffold import is_repository, new_dataset

    here = folder or Path()
    inside = is_repository(here) if in_repository is None else in_repository
    place = here if inside else folder or Path(name)
    files = new_dataset(
        name, place, title=title or name, licence=licence, parser=parser, in_repository=inside
    )
    for path in files:
        typer.echo(path.as_posix())
    after = "run `python docs/generate.py`" if inside else f"run `pip install -e {place}`"
    typer.echo(f"Now {after}, and then `pytest {files[-2].as_posix()}`.")
