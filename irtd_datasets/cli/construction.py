"""Commands that make data: what was never released, from source sets."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import (
    KEY_VARIABLE,
    Json,
    Quiet,
    SourceTable,
    going_on,
    named_pairs,
    output_option,
    parse_prices,
    print_json,
)
from irtd_datasets.display import terminal
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report import construction as report

if TYPE_CHECKING:
    from irtd_datasets.captioning.asking import Estimate
    from irtd_datasets.captioning.prompts import TalkPrompts
    from irtd_datasets.captioning.run import CaptionOptions

__all__ = ["construct"]

_asking = partial(typer.Option, rich_help_panel="Texts by a language model")
# What `--ask` can set: type and least value.
_ENDPOINT = {
    "max_tokens": (int, 1),
    "temperature": (float, 0),
    "seed": (int, 0),
    "timeout": (float, 1),
    "attempts": (int, 1),
}
_CAPTION = {"words": (int, 5), "max_side": (int, 28), "min_luminance": (float, 0), "dark_below": (float, 0)}
_LIMITS = {"min_words": (int, 1), "max_words": (int, 1)}


@app.command()
def construct(
    dataset: Annotated[
        str,
        typer.Argument(help="A dataset that declares what can be constructed.", metavar="DATASET"),
    ],
    subset: Annotated[
        str | None, typer.Argument(help="Subset to make, if the dataset has several.", metavar="[SUBSET]")
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--sources", metavar="DIR", help="Folder that holds source sets, each in its own folder."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        output_option(
            "--out",
            help="Dataset folder to make or extend; for mmrs_1m and rs_gpt4v, folder for the new records. "
            "Default: ./DATASET, or ./DATASET_more.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task of the benchmark. Repeatable.")
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions", metavar="rule|llm", help="How the captions of pretrain are made. Default: rule."
        ),
    ] = None,
    qa: Annotated[
        str | None,
        typer.Option(
            "--qa",
            metavar="llm",
            help="Of instruct: have a model write conversations, descriptions and reasoning, too.",
        ),
    ] = None,
    describe: Annotated[
        str | None,
        typer.Option(
            "--describe",
            metavar="llm",
            help="Of rs_gpt4v: have a model describe single objects, then the image, then talk about it.",
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        _asking(
            "--endpoint",
            metavar="URL",
            help="Base of an OpenAI-compatible interface, such as http://localhost:8000/v1. "
            "Default: Hugging Face's inference providers.",
        ),
    ] = None,
    model: Annotated[str | None, _asking("--model", help="The model, as its endpoint calls it.")] = None,
    token_env: Annotated[
        str,
        _asking(
            "--token-env",
            metavar="NAME",
            help="Environment variable that holds the endpoint's key. Keys are taken from nowhere else; the Hugging "
            "Face token goes to Hugging Face only.",
        ),
    ] = KEY_VARIABLE,
    concurrency: Annotated[
        int, _asking("--concurrency", min=1, max=256, help="Requests sent at the same time.")
    ] = 8,
    price: Annotated[
        str | None,
        _asking(
            "--price",
            metavar="IN[,OUT]",
            help="Price of a million tokens of questions and of answers, for the estimate and --max-cost.",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        _asking(
            "--max-cost",
            min=0,
            help="Stop asking before the cost exceeds this, and build with the answers received so far.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        _asking(
            "--journal",
            metavar="FILE",
            help="Keeps every paid answer; another run takes them from it. Default: beside --out, "
            "OUT.captions.jsonl.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        _asking(
            "--prompt",
            metavar="NAME=FILE",
            help="A prompt of your own: visible, infrared or correction; with --qa and --describe conversation, "
            "detail, reasoning, region, scene or again. Repeatable.",
        ),
    ] = None,
    ask: Annotated[
        list[str] | None,
        _asking(
            "--ask",
            metavar="NAME=NUMBER",
            help=f"How to ask: {', '.join((*_ENDPOINT, *_CAPTION, *_LIMITS))}. Repeatable.",
        ),
    ] = None,
    yes: Annotated[bool, _asking("--yes", "-y", help="Ask without confirming the estimate.")] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="NAME=VALUE|released",
            help="Change one choice of the rules, or set all choices to those closest to the release. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Approximate largest number of records of each task.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="train|test",
            help="For mmrs_1m and rs_gpt4v: use the test images of the sources (test), or all others (train). "
            "Default: as in the dataset.",
        ),
    ] = None,
    other_sources: Annotated[
        bool,
        typer.Option(
            "--other-sources/--no-other-sources",
            help="Also use sources that are not in the table of targets.",
        ),
    ] = True,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="FOLDER",
            help="Another dataset folder whose images must not be taken. Repeatable.",
        ),
    ] = None,
    source_table: SourceTable = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that register pairs and write.")
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Report what the sources can provide; open no image, write nothing."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make, from source sets, what was never released: benchmark, captions, further records."""
    from irtd_datasets.construct.request import Asking, Request, run

    asking = Asking()
    if captions == "llm" or qa or describe:
        words, talk, settings = _asked(ask or [], prompt or [], price, talk=bool(qa or describe))
        asking = Asking(
            model,
            endpoint,
            os.environ.get(token_env) or None,
            replace(words, concurrency=concurrency, max_cost=max_cost),
            talk,
            settings,
            journal,
            confirm=lambda expected: _confirm(expected, priced=price is not None, yes=yes),
        )
        if token_env != KEY_VARIABLE and not asking.key:
            raise UnknownNameError(
                f"the environment has no variable {token_env}", remedy=f"export {token_env}=... first."
            )
    else:
        _refuse_unused(
            {
                "--endpoint": endpoint, "--model": model, "--price": price, "--max-cost": max_cost,
                "--journal": journal, "--prompt": prompt, "--ask": ask,
            }
        )  # fmt: skip
    base, switched = _rules(rule or [])
    request = Request(
        dataset=dataset,
        subset=subset,
        sources=sources,
        out=out,
        tasks=tuple(task or ()),
        captions=captions,
        qa=qa,
        describe=describe,
        asking=asking,
        rules=switched,
        released=base,
        seed=seed,
        limit=limit,
        split=split,
        other_sources=other_sources,
        exclude=tuple(exclude or ()),
        table=source_table,
        workers=workers,
        dry_run=dry_run,
    )
    with going_on(silent=quiet or as_json) as progress:
        result = run(request, progress)
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_construction(result)
    captioned = getattr(result, "captions", None)
    if captioned and captioned.report and captioned.report.failed:
        say("irtd: the endpoint left questions unanswered; run the same command again", err=True)
        raise typer.Exit(1)


def _asked(
    items: list[str], prompts: list[str], price: str | None, *, talk: bool
) -> tuple[CaptionOptions, TalkPrompts, dict[str, float]]:
    """How images are asked about, with the prompts, and further fields of the endpoint."""
    from irtd_datasets.captioning.prompts import Prompts, TalkPrompts, read_prompts, read_talk_prompts
    from irtd_datasets.captioning.run import CaptionOptions
    from irtd_datasets.captioning.validate import CaptionLimits

    given, own = _numbers(items), named_pairs(prompts, "--prompt")
    prices = parse_prices(price)
    limits = CaptionLimits(**{name: given[name] for name in _LIMITS if name in given})  # type: ignore[arg-type]
    options = CaptionOptions(
        limits=limits,
        prompts=Prompts() if talk else read_prompts(own),
        input_price=prices[0],
        output_price=prices[1],
        **{name: given[name] for name in _CAPTION if name in given},  # type: ignore[arg-type]
    )
    settings = {name: given[name] for name in _ENDPOINT if name in given}
    return options, read_talk_prompts(own) if talk else TalkPrompts(), settings


def _numbers(items: list[str]) -> dict[str, float]:
    known = {**_ENDPOINT, **_CAPTION, **_LIMITS}
    found: dict[str, float] = {}
    for name, value in named_pairs(items, "--ask").items():
        if name not in known:
            raise UnknownNameError(
                f"--ask has no name {name!r}", remedy=f"Write NAME=NUMBER with a name of {', '.join(known)}."
            )
        kind, least = known[name]
        try:
            found[name] = kind(value)
        except ValueError:
            found[name] = math.nan
        if not found[name] >= least or math.isinf(found[name]):
            raise UnknownNameError(
                f"--ask {name}={value} is no {'whole ' if kind is int else ''}number of at least {least:g}",
                remedy=f"Write it as --ask {name}=NUMBER.",
            )
    return found


def _confirm(expected: Estimate, *, priced: bool, yes: bool) -> None:
    """Show what asking will cost, and go on only when that is wanted."""
    told = report.describe_estimate(expected, priced=priced)
    if yes:
        say(f"irtd: {told}", err=True)
        return
    if not sys.stdin.isatty():
        raise UnknownNameError(
            f"{told}; nothing was asked", remedy="Add --yes to go on, or --dry-run to see the rest."
        )
    typer.confirm(terminal(f"{told}. Ask?"), abort=True, err=True)


def _refuse_unused(given: dict[str, object]) -> None:
    used = [name for name, value in given.items() if value is not None]
    if used:
        raise UnknownNameError(
            f"{used[0]} is for captions by a language model, and for its other texts",
            remedy="Add --captions llm, --qa llm or --describe llm, or leave it out.",
        )


def _rules(items: list[str]) -> tuple[bool, dict[str, str]]:
    """Whether the released choices are the base, and those that are switched."""
    pairs = named_pairs([item for item in items if item != "released"], "--rule")
    return "released" in items, pairs
