"""The main job with no data at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Quiet

__all__ = ["demo"]


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the sample release and what is built from it.")
    ] = Path("irtd-demo"),
    rows: Annotated[
        int, typer.Option("--rows", min=24, help="Approximate number of records in the sample release.")
    ] = 200,
    quiet: Quiet = False,
) -> None:
    """Try the library without data: make a small sample release, build it, load it, stream it, show it."""
    from irtd_datasets.demo import run_demo

    run_demo(folder, rows=rows, quiet=quiet)
