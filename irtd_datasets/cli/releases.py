"""Commands on releases: what there is, what is here, and the build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.catalog import dataset_names, open_release, other_content, spec
from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import (
    BoxFrame,
    Dataset,
    Images,
    Json,
    OnDefect,
    Quiet,
    Release,
    ReleaseOption,
    Rounds,
    Settings,
    Visible,
    going_on,
    parse_settings,
    print_json,
    release_options,
)
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report import building
from irtd_datasets.report import releases as report
from irtd_datasets.spec import DatasetSpec

__all__ = ["build", "doctor", "frames", "list_"]


@app.command("list")
def list_(
    dataset: Annotated[str | None, typer.Argument(help="Show one dataset only.")] = None,
    fields: Annotated[bool, typer.Option("--fields", help="Show the columns instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show datasets, configs, tasks, released counts, what is not released, terms, and how to get the data."""
    specs = [spec(dataset)] if dataset else list(filter(None, map(_spec_or_problem, dataset_names())))
    if as_json:
        print_json(report.fields_as_list() if fields else [report.spec_as_dict(one) for one in specs])
    elif fields:
        report.show_fields()
    else:
        for one in specs:
            report.show_spec(one)


def _spec_or_problem(name: str) -> DatasetSpec | None:
    """A declaration; None for a package of others that cannot be used, of which the error output tells."""
    try:
        return spec(name)
    except UnknownNameError as error:
        typer.echo(f"irtd: {error}", err=True)
        return None


@app.command()
def doctor(
    dataset: Dataset,
    release: Release = None,
    images: Images = None,
    settings: Settings = None,
    frame: BoxFrame = None,
    release_option: ReleaseOption = None,
    hashes: Annotated[
        bool,
        typer.Option(
            "--hashes", help="Compare the files with the known SHA-256 of the released ones instead."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a release has, what it lacks, and how many rows of each config can be built.

    Ends with 1 when nothing can be built, or something stops the build of a config; with --hashes, when a file is not
    the released one.
    """
    from irtd_datasets.rows.doctor import examine

    known = parse_settings(settings, frame)
    options = release_options(dataset, release, images, None, known, storage=release_option)
    if hashes:
        from irtd_datasets.fetching.hashes import compare_hashes
        from irtd_datasets.report.fetching import hashes_as_list, show_hashes

        compared = compare_hashes(dataset, options)
        if as_json:
            print_json(hashes_as_list(compared))
        else:
            show_hashes(compared)
        if any(one.status in {"differs", "unreadable"} for one in compared):
            raise typer.Exit(1)
        return
    diagnosis = examine(open_release(dataset, options))
    if as_json:
        print_json(diagnosis.as_dict())
    else:
        report.show_diagnosis(diagnosis)
        hint = "" if any(diagnosis.configs.values()) else other_content(dataset, options.root)
        if hint:
            say(hint)
    if not diagnosis.sound:
        raise typer.Exit(1)


@app.command()
def build(
    dataset: Dataset,
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Configs to build, such as instruct or instruct-grounding. Default: everything that the release has."
        ),
    ] = None,
    release: Release = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER|URL",
            help="Dataset folder to write, or a URL such as s3://bucket/irtd. Default: ./DATASET.",
        ),
    ] = None,
    images: Images = None,
    visible: Visible = None,
    on_defect: OnDefect = None,
    settings: Settings = None,
    frame: BoxFrame = None,
    rounds: Rounds = "keep",
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Decode every image before it is stored, with threads; otherwise one of 64, and of all the header.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that write.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS",
            help="Let the workers of a Dask cluster write: tcp://HOST:8786, or a scheduler file (.json).",
        ),
    ] = None,
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            "--storage-option",
            metavar="KEY=VALUE",
            help="For the file system of a URL, as fsspec names it. Secrets are safer in its environment variables. "
            "Repeatable.",
        ),
    ] = None,
    release_option: ReleaseOption = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            "--scratch",
            metavar="DIR",
            help="For a URL: where to set records aside. Default: the user's cache.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a dataset folder: Parquet, card and ledger, ready for load_dataset and for the Hub."""
    from irtd_datasets.writing.engine import build as run
    from irtd_datasets.writing.store import parse_storage_options

    known = parse_settings(settings, frame)
    options = release_options(dataset, release, images, on_defect, known, rounds, visible, release_option)
    options = replace(options, decode="all" if decode else "sample")
    with going_on(silent=quiet or as_json) as progress:
        result = run(
            dataset,
            configs or [],
            options,
            out or dataset,
            workers=workers,
            progress=progress,
            dask=dask,
            storage_options=parse_storage_options(storage_option or []),
            scratch=scratch,
        )
    if as_json:
        print_json(building.build_as_dict(result))
    else:
        building.show_build(result)
        if not configs:
            building.show_absent(result, options.root)


@app.command()
def frames(
    file: Annotated[
        Path, typer.Argument(help="A file of conversations, questions or captions, or a COCO file.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder, zip or tar with its images. Default: its folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find out which coordinate frames fit the numbers in a file, with the evidence."""
    from irtd_datasets.rows.frame_report import report_frames

    found = report_frames(file, images)
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_frames(found)
