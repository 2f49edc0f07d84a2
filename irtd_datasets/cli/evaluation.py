"""Commands on models' answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, print_json
from irtd_datasets.report import evaluation as report

if TYPE_CHECKING:
    from irtd_datasets.evaluate.questions import Selection

__all__ = ["compare", "score"]

Dataset = Annotated[Path, typer.Option("--dataset", help="Dataset folder, as `irtd build` makes it.")]
Config = Annotated[
    str | None,
    typer.Option("--config", help="Config that was predicted. Default: benchmark, else the default config."),
]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="Only this split; may be given several times.")
]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="Only this task; may be given several times.")
]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", help="Only this component dataset; may be given several times."),
]
Modalities = Annotated[
    list[str] | None,
    typer.Option("--modality", help="Only infrared, optical or sar; may be given several times."),
]
FrameOption = Annotated[
    str | None,
    typer.Option(
        "--frame",
        help="Frame of the predictions' numbers: pixel, unit, per_mille, square_unit or square_per_mille. "
        "Default: that of the markup where it has one, else that of the released texts.",
    ),
]
UnreadableOption = Annotated[
    str, typer.Option("--unreadable", help="How unreadable answers enter an error: nothing, worst or drop.")
]
Resamples = Annotated[
    int, typer.Option("--resamples", min=0, help="Resamples of the bootstrap; 0 leaves intervals out.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")]
Cutoff = Annotated[
    float, typer.Option("--cutoff", help="Greatest error of one point of Location, in thousandths.")
]


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="JSON lines (or JSON, CSV, a log of samples of lmms-eval) with id and answer, and round where a row "
            "has several; or the word gold for the dataset's own answers."
        ),
    ],
    dataset: Dataset,
    config: Config = None,
    split: Splits = None,
    task: Tasks = None,
    source: Sources = None,
    modality: Modalities = None,
    frame: FrameOption = None,
    unreadable: UnreadableOption = "nothing",
    missing: Annotated[
        str,
        typer.Option(
            "--missing",
            help="What rows without a prediction are, where others of their task and split have one: error, wrong or "
            "skip.",
        ),
    ] = "error",
    cutoff: Cutoff = 100.0,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    name: Annotated[str, typer.Option("--name", help="Name of the model, for the table.")] = "this file",
    details: Annotated[
        Path | None, typer.Option("--details", help="Write what was read of each answer here, as JSON lines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a model's answers on any task of any of the datasets, under the results of its paper."""
    from irtd_datasets.evaluate.details import write_details
    from irtd_datasets.evaluate.scoring import ScoringOptions, score_file

    options = ScoringOptions(frame, unreadable, missing, cutoff, resamples, seed=seed)  # type: ignore[arg-type]
    scores = score_file(predictions, dataset, config, options, _selection(split, task, source, modality))
    if details:
        write_details(scores, details)
    if as_json:
        print_json(scores.as_dict())
    else:
        report.show_scores(scores, name)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="Predictions of the first model, as for `irtd score`.")],
    two: Annotated[Path, typer.Argument(help="Predictions of the second.")],
    dataset: Dataset,
    config: Config = None,
    split: Splits = None,
    task: Tasks = None,
    source: Sources = None,
    modality: Modalities = None,
    frame: FrameOption = None,
    unreadable: UnreadableOption = "nothing",
    cutoff: Cutoff = 100.0,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare two models on the rows that both answered: the difference of each metric, paired by image."""
    from irtd_datasets.evaluate.compare import compare as compare_answers
    from irtd_datasets.evaluate.predictions import read_predictions
    from irtd_datasets.evaluate.questions import read_questions
    from irtd_datasets.evaluate.scoring import ScoringOptions

    options = ScoringOptions(frame, unreadable, "skip", cutoff, resamples, seed=seed)  # type: ignore[arg-type]
    questions = read_questions(dataset, config, _selection(split, task, source, modality))
    found = compare_answers(
        read_predictions(one), read_predictions(two), questions, options, where=(str(one), str(two))
    )
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_comparison(found, (one.stem, two.stem))


def _selection(*chosen: list[str] | None) -> Selection:
    from irtd_datasets.evaluate.questions import Selection

    return Selection(*(tuple(names or ()) for names in chosen))
