"""The command that gets a release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Dataset, Json, Quiet, going_on, output_option, print_json
from irtd_datasets.report import fetching as report

__all__ = ["fetch"]


@app.command()
def fetch(
    dataset: Dataset,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Configs, such as instruct, or source sets, such as LLVIP. Default: everything."),
    ] = None,
    to: Annotated[
        Path | None,
        output_option("--to", metavar="FOLDER", help="Where the files go. Default: ./DATASET-release."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="A mirror that has the files under their released names: hf://, https://, s3:// and what else "
            "fsspec knows.",
        ),
    ] = None,
    release_option: Annotated[
        list[str] | None,
        typer.Option(
            "--release-option",
            metavar="KEY=VALUE",
            help="For the file system of --from, as fsspec names it. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be fetched, and what is to be done by hand."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a release: what has a direct link, resumed and verified; for the rest, where and how to get it.

    Ends with 1 when a file with a direct link could not be had.
    """
    from irtd_datasets.fetching.run import fetch as run
    from irtd_datasets.writing.store import parse_storage_options

    with going_on(silent=quiet or as_json) as progress:
        result = run(
            dataset,
            names or [],
            to or Path(f"{dataset}-release"),
            source=source,
            options=parse_storage_options(release_option or []),
            progress=progress,
            dry_run=dry_run,
        )
    if as_json:
        print_json(report.fetch_as_dict(result))
    else:
        report.show_fetch(result)
    if not result.sound:
        raise typer.Exit(1)
