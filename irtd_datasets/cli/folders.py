"""Commands that look into dataset folders, and make one of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import Json, Quiet, going_on, output_option, print_json
from irtd_datasets.report import folders as report
from irtd_datasets.report.console import status

__all__ = ["dedup", "info", "merge", "split", "stats", "subset"]

_Place = Annotated[
    str, typer.Argument(help="Dataset folder, or one config of it.", metavar="FOLDER[:CONFIG]")
]
_Out = Annotated[Path, output_option("--out", help="Dataset folder to make; new or empty.", metavar="FOLDER")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the choice.")]


def _names(items: list[str] | None) -> list[str]:
    """Names from options that take several, each perhaps with commas."""
    return [name for item in items or [] for name in map(str.strip, item.split(",")) if name]


@app.command()
def info(place: _Place, as_json: Json = False) -> None:
    """Show what a dataset folder is: dataset, versions, what it was made from, parts, splits, rows, bytes."""
    from irtd_datasets.curation.places import open_place
    from irtd_datasets.curation.statistics import describe

    facts = describe(open_place(place))
    if as_json:
        print_json(facts)
    else:
        report.show_info(facts)


@app.command()
def stats(
    place: _Place,
    plots: Annotated[
        Path | None,
        output_option(
            "--plots", help="Write one HTML page with plots, which needs nothing else.", metavar="FILE.html"
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count what a dataset folder holds: images, sizes, boxes, words and answers, by task, source and sensor."""
    from irtd_datasets.curation.statistics import statistics
    from irtd_datasets.curation.statistics_page import write_page

    with status("counting", silent=quiet or as_json) as tell:
        found = statistics(place, tell)
    if plots is not None:
        write_page(found, plots)
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_statistics(found)
        if plots is not None:
            say(f"{plots} written")


@app.command()
def subset(
    place: _Place,
    out: _Out,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Tasks to keep, with commas. Repeatable.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Component datasets to keep, with commas. Repeatable."),
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option("--modality", help="Sensors to keep, with commas. Repeatable.")
    ] = None,
    without_issues: Annotated[
        bool, typer.Option("--without-issues", help="Leave out the rows that have a known issue.")
    ] = False,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Draw so many of the rows that are left.")
    ] = None,
    seed: _Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a dataset folder of some rows of another: by task, source, sensor, known issues, and by chance."""
    from irtd_datasets.curation.subset import subset as run

    with going_on(silent=quiet or as_json) as progress:
        result = run(
            place,
            out,
            tasks=_names(task),
            sources=_names(source),
            modalities=_names(modality),
            without_issues=without_issues,
            rows=rows,
            seed=seed,
            progress=progress,
        )
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_rewrite(result)


@app.command()
def split(
    place: _Place,
    out: _Out,
    validation: Annotated[
        float, typer.Option("--validation", help="Share of the train rows, such as 0.1.", metavar="SHARE")
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="image|sequence|source", help="What is never divided between the splits."
        ),
    ] = "image",
    seed: _Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a dataset folder with a validation split that shares no image, video or source with the train split."""
    from irtd_datasets.curation.split import split as run

    with going_on(silent=quiet or as_json) as progress:
        result = run(place, out, validation=validation, by=by, seed=seed, progress=progress)
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_rewrite(result)


@app.command()
def merge(
    places: Annotated[
        list[str],
        typer.Argument(help="Two or more dataset folders of one dataset.", metavar="FOLDER[:CONFIG]..."),
    ],
    out: _Out,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a dataset folder of the rows of several; of rows with one id the first stays."""
    from irtd_datasets.curation.merge import merge as run

    with going_on(silent=quiet or as_json) as progress:
        result = run(places, out, progress=progress)
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_rewrite(result)


@app.command()
def dedup(
    place: _Place,
    out: _Out,
    max_distance: Annotated[
        int,
        typer.Option(
            "--max-distance", min=0, max=15, help="Bits of 64 by which images that count as one may differ."
        ),
    ] = 4,
    table: Annotated[
        Path | None,
        output_option("--table", help="Write each row left out with the row that stays.", metavar="FILE.csv"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode.")] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a dataset folder without the rows whose image is nearly one that stays."""
    from irtd_datasets.curation.dedup import dedup as run

    with going_on(silent=quiet or as_json) as progress:
        result = run(place, out, max_distance=max_distance, workers=workers, progress=progress)
    if table is not None:
        result.save(table)
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_dedup(result)
