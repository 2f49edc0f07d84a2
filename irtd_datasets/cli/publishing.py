"""Commands on dataset folders: comparing and publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, print_json
from irtd_datasets.report import publishing as report

__all__ = ["overlap"]


@app.command()
def overlap(
    a: Annotated[Path, typer.Argument(help="Dataset folder whose rows are listed.")],
    b: Annotated[Path, typer.Argument(help="Dataset folder in which their pictures are looked for.")],
    part_a: Annotated[
        str | None, typer.Option("--a", metavar="CONFIG[/SPLIT]", help="Only this part of A.")
    ] = None,
    part_b: Annotated[
        str | None, typer.Option("--b", metavar="CONFIG[/SPLIT]", help="Only this part of B.")
    ] = None,
    max_distance: Annotated[
        int,
        typer.Option(
            "--max-distance", min=0, max=15, help="Bits of 64 by which similar pictures may differ."
        ),
    ] = 6,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the rows of A found in B here, .parquet or .csv.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode.")] = 1,
    as_json: Json = False,
) -> None:
    """Show which rows of one dataset have a picture of another: same file, same pixels, or similar."""
    from irtd_datasets.hub.overlap import find_overlap

    found = find_overlap(a, b, parts=(part_a, part_b), max_distance=max_distance, workers=workers)
    if out:
        found.save(out)
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_overlap(found)
