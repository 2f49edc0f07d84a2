"""Commands on models' answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import (
    KEY_VARIABLE,
    Json,
    folder_and_config,
    going_on,
    local_folder,
    named_pairs,
    output_option,
    parse_prices,
    print_json,
)
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report import evaluation as report

if TYPE_CHECKING:
    from irtd_datasets.evaluate.questions import Selection

__all__ = ["compare", "predict", "score"]

Dataset = Annotated[
    Path,
    typer.Option("--dataset", help="Dataset folder, as `irtd build` makes it.", callback=local_folder),
]
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
    str,
    typer.Option(
        "--unreadable",
        help="How unreadable answers count in a metric that measures an error: nothing, worst or drop.",
    ),
]
Resamples = Annotated[
    int, typer.Option("--resamples", min=0, help="Resamples of the bootstrap; 0 leaves intervals out.")
]
Token = Annotated[
    str,
    typer.Option(
        "--token-env",
        metavar="NAME",
        help="Environment variable that holds the endpoint's key. Keys are taken from nowhere else.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")]
Cutoff = Annotated[
    float, typer.Option("--cutoff", help="Largest error counted for one point of Location, in thousandths.")
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
        Path | None,
        typer.Option("--details", help="File for what was understood of each answer, as JSON lines."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", help="HTML page to write: tables, bars, and the worst rows with both answers drawn."
        ),
    ] = None,
    meteor: Annotated[
        bool, typer.Option("--meteor", help="Add METEOR of texts; needs Java and pycocoevalcap.")
    ] = False,
    judge_endpoint: Annotated[
        str | None,
        typer.Option(
            "--judge-endpoint",
            help="Let a model behind this OpenAI-compatible address judge descriptions, conversations and reasoning.",
        ),
    ] = None,
    judge_model: Annotated[str, typer.Option("--judge-model", help="Name of the judge there.")] = "",
    judge_journal: Annotated[
        Path | None,
        typer.Option("--judge-journal", help="File of paid verdicts. Default: PREDICTIONS.judge.jsonl."),
    ] = None,
    token_env: Token = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Score a model's answers on any task of any of the datasets, under the results of its paper."""
    from irtd_datasets.evaluate.details import write_details
    from irtd_datasets.evaluate.scoring import ScoringOptions, score_file

    options = ScoringOptions(frame, unreadable, missing, cutoff, resamples, seed=seed)  # type: ignore[arg-type]
    if bool(judge_endpoint) != bool(judge_model):
        raise UnknownNameError(
            "a judge has an address and a name", remedy="Give --judge-endpoint and --judge-model."
        )
    scores = score_file(predictions, dataset, config, options, _selection(split, task, source, modality))
    if meteor:
        from irtd_datasets.evaluate.meteor import add_meteor

        scores = add_meteor(scores)
    judged = None
    if judge_endpoint:
        from irtd_datasets.captioning.endpoint import Endpoint
        from irtd_datasets.evaluate.judge import judge

        judging = Endpoint(judge_model, judge_endpoint, os.environ.get(token_env) or None, temperature=0)
        journal = judge_journal or predictions.with_suffix(".judge.jsonl")
        scores, judged = judge(scores, dataset, config, judging, journal)
    if details:
        write_details(scores, details)
    if page:
        from irtd_datasets.evaluate.page import write_report

        write_report(scores, dataset, config, page, name=name)
    if as_json:
        print_json(scores.as_dict() | ({"judge": judged.as_dict()} if judged else {}))
    else:
        report.show_scores(scores, name)
        if judged:
            report.show_judge(judged)
    if judged and judged.open:
        typer.echo("irtd: the judge left answers open; run the same command again", err=True)
        raise typer.Exit(1)


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


@app.command()
def predict(
    dataset: Annotated[str, typer.Argument(help="Dataset folder, or FOLDER:CONFIG.")],
    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint", help="Base address of an OpenAI-compatible endpoint, http://HOST:PORT/v1."
        ),
    ],
    model: Annotated[str, typer.Option("--model", help="Name of the model there.")],
    out: Annotated[
        Path, output_option("--out", help="File of predictions; a journal of paid answers lies beside it.")
    ],
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="Write and ask for boxes in the frame and markup of llava, qwen2-vl, qwen2.5-vl, qwen3-vl, internvl "
            "or paligemma. Default: questions as released.",
        ),
    ] = None,
    split: Splits = None,
    task: Tasks = None,
    source: Sources = None,
    modality: Modalities = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rounds.")] = None,
    token_env: Token = KEY_VARIABLE,
    system: Annotated[str, typer.Option("--system", help="System prompt.")] = "",
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", help="TASK=TEXT that is added to the questions of a task; may be given several times."
        ),
    ] = None,
    max_side: Annotated[
        int, typer.Option("--max-side", min=28, help="Longest side of the image sent.")
    ] = 1024,
    encoding: Annotated[str, typer.Option("--encoding", help="jpeg or png.")] = "jpeg",
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests sent at the same time.")
    ] = 8,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Largest number of tokens in an answer.")
    ] = 512,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Temperature of sampling.")
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait for an answer.")
    ] = 120.0,
    attempts: Annotated[
        int,
        typer.Option("--attempts", min=1, help="Times that a question is asked at most, failures included."),
    ] = 6,
    price: Annotated[
        str | None,
        typer.Option("--price", help="Price of a million tokens of questions and of answers: 0.15,0.60."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", min=0, help="Stop before the cost exceeds this.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate the tokens, and send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a model about the scored rows of a config; run the same command again to resume."""
    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.evaluate.predict import PROMPTS, PredictOptions
    from irtd_datasets.evaluate.run import PredictRequest, run_prediction

    folder, config = folder_and_config(dataset)
    prices = parse_prices(price)
    options = PredictOptions(
        family, max_side, encoding, system,  # type: ignore[arg-type]
        {**PROMPTS, **named_pairs(prompt or [], "--prompt")}, concurrency, max_cost, *prices,
    )  # fmt: skip
    asked = Endpoint(
        model, endpoint, os.environ.get(token_env) or None, timeout, attempts, max_tokens, temperature
    )
    request = PredictRequest(
        folder, config, out, asked, options, _selection(split, task, source, modality), limit, dry_run
    )
    with going_on(silent=True):
        found = run_prediction(request)
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_prediction(found)
    if found.report.unanswered:
        typer.echo("irtd: the endpoint left questions unanswered; run the same command again", err=True)
        raise typer.Exit(1)


def _selection(*chosen: list[str] | None) -> Selection:
    from irtd_datasets.evaluate.questions import Selection

    return Selection(*(tuple(names or ()) for names in chosen))
