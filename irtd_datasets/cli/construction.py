"""Commands that make data: what was never released, from source sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, Quiet, SourceTable, named_pairs, print_json
from irtd_datasets.report import construction as report
from irtd_datasets.report.console import progress as show_progress

__all__ = ["construct"]


@app.command()
def construct(
    dataset: Annotated[str, typer.Argument(help="irtd, mmrs_1m or rs_gpt4v.", metavar="DATASET")],
    subset: Annotated[
        str | None, typer.Argument(help="For irtd: benchmark or pretrain.", metavar="[SUBSET]")
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            "--sources", metavar="DIR", help="Folder that holds source sets, each in its own folder."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Dataset folder to make or add to; for mmrs_1m and rs_gpt4v a folder of records. Default: ./DATASET.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task of the benchmark. Repeatable.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option("--captions", metavar="rule", help="How the captions of pretrain are made.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="NAME=VALUE|released",
            help="Switch a choice of the rules, or all to what comes nearest to the release. Repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Most records of each task, about.")
    ] = None,
    other_sources: Annotated[
        bool,
        typer.Option(
            "--other-sources/--no-other-sources",
            help="Take from sources, too, that the table of targets does not name.",
        ),
    ] = True,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="FOLDER",
            help="Another dataset folder whose pictures must not be taken. Repeatable.",
        ),
    ] = None,
    source_table: SourceTable = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that write.")] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell what the sources can give; open no picture, write nothing."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make by rule, from source sets, what was never released: benchmark, rule captions, further records."""
    from irtd_datasets.construct.request import Request, run

    base, switched = _rules(rule or [])
    request = Request(
        dataset=dataset,
        subset=subset,
        sources=sources,
        out=out,
        tasks=tuple(task or ()),
        captions=captions,
        rules=switched,
        released=base,
        seed=seed,
        limit=limit,
        other_sources=other_sources,
        exclude=tuple(exclude or ()),
        table=source_table,
        workers=workers,
        dry_run=dry_run,
    )
    try:
        with show_progress(silent=quiet or as_json) as progress:
            result = run(request, progress)
    except KeyboardInterrupt:
        typer.echo("irtd: interrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_construction(result)


def _rules(items: list[str]) -> tuple[bool, dict[str, str]]:
    """Whether the released choices are the base, and those that are switched."""
    pairs = named_pairs([item for item in items if item != "released"], "--rule")
    return "released" in items, pairs
