"""Commands on models' answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, print_json
from irtd_datasets.report import evaluation as report

__all__ = ["score"]


@app.command()
def score(
    predictions: Annotated[
        Path, typer.Argument(help="JSON lines with id and answer, one object for each row.")
    ],
    dataset: Annotated[Path, typer.Option("--dataset", help="Dataset folder, as `irtd build` makes it.")],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", help="Config that was predicted. Default: benchmark, else the default config."
        ),
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            help="Frame of the predictions' numbers: pixel, unit, per_mille, square_unit or square_per_mille. "
            "Default: that of the released texts.",
        ),
    ] = None,
    unreadable: Annotated[
        str,
        typer.Option("--unreadable", help="How unreadable answers enter an error: nothing, worst or drop."),
    ] = "nothing",
    missing: Annotated[
        str, typer.Option("--missing", help="What rows without a prediction are: error, wrong or skip.")
    ] = "error",
    cutoff: Annotated[
        float, typer.Option("--cutoff", help="Greatest error of one point of Location, in thousandths.")
    ] = 100.0,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Resamples of the bootstrap; 0 leaves intervals out.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    name: Annotated[str, typer.Option("--name", help="Name of the model, for the table.")] = "this file",
    details: Annotated[
        Path | None, typer.Option("--details", help="Write what was read of each answer here, as JSON lines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a model's answers: the nine metrics of IR-TD, psum and nsum, under the table of the paper."""
    from irtd_datasets.evaluate.details import write_details
    from irtd_datasets.evaluate.scoring import ScoringOptions, score_file

    options = ScoringOptions(frame, unreadable, missing, cutoff, resamples, seed=seed)  # type: ignore[arg-type]
    scores = score_file(predictions, dataset, config, options)
    if details:
        write_details(scores, details)
    if as_json:
        print_json(scores.as_dict())
    else:
        report.show_scores(scores, name)
