"""The command line: parses arguments, calls one function each, prints what it returns."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from irtd_datasets import report
from irtd_datasets.catalog import DATASETS, open_release, spec
from irtd_datasets.errors import IrtdDatasetsError, UnknownNameError
from irtd_datasets.examples.release import ReleaseOptions, absolute_options
from irtd_datasets.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="irtd",
    help="IR-TD, MMRS-1M and RS-GPT4V as Hugging Face datasets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Dataset = Annotated[
    str, typer.Argument(help=f"Name of the dataset: {', '.join(DATASETS)}.", metavar="DATASET")
]
Release = Annotated[
    Path | None,
    typer.Option(
        "--release", help="Folder of the release. Default: the folder that <DATASET>_DATA_DIR names."
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        metavar="NAME=PATH",
        help="Where pictures lie: a released folder and a folder, zip or tar. Repeatable.",
    ),
]
OnDefect = Annotated[
    list[str] | None,
    typer.Option(
        "--on-defect",
        metavar="[CODE=]flag|drop|error",
        help="What to do with rows that have a wrong label, or with one issue code. Default: flag. Repeatable.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option that only some datasets have, such as frame=square_unit of rs_gpt4v. Repeatable.",
    ),
]
BoxFrame = Annotated[
    str | None, typer.Option("--frame", metavar="FRAME", help="Short for --set frame=FRAME.")
]
Rounds = Annotated[
    str,
    typer.Option(
        "--rounds",
        metavar="keep|split",
        help="Records of many questions: keep each as one row, or split it into a row for each question.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command("list")
def list_(
    dataset: Annotated[str | None, typer.Argument(help="Show one dataset only.")] = None,
    fields: Annotated[bool, typer.Option("--fields", help="Show the columns instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show datasets, configs, tasks, released counts, what is not released, terms, and how to get the data."""
    names = [dataset] if dataset else list(DATASETS)
    specs = [spec(name) for name in names]
    if as_json:
        _print_json(report.fields_as_list() if fields else [report.spec_as_dict(one) for one in specs])
    elif fields:
        report.show_fields()
    else:
        for one in specs:
            report.show_spec(one)


@app.command()
def doctor(
    dataset: Dataset,
    release: Release = None,
    images: Images = None,
    settings: Settings = None,
    frame: BoxFrame = None,
    as_json: Json = False,
) -> None:
    """Show what a release has, what it lacks, and how many rows of each config can be built."""
    from irtd_datasets.examples.doctor import examine

    options = _options(dataset, release, images, None, _settings(settings, frame))
    diagnosis = examine(open_release(dataset, options))
    if as_json:
        _print_json(diagnosis.as_dict())
    else:
        report.show_diagnosis(diagnosis)


@app.command()
def build(
    dataset: Dataset,
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Configs to build, such as instruct or instruct-grounding. Default: the dataset's default config."
        ),
    ] = None,
    release: Release = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Dataset folder to write. Default: ./DATASET.")
    ] = None,
    images: Images = None,
    on_defect: OnDefect = None,
    settings: Settings = None,
    frame: BoxFrame = None,
    rounds: Rounds = "keep",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that write.")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a dataset folder: Parquet, card and ledger, ready for load_dataset and for the Hub."""
    from irtd_datasets.build.engine import build as run

    options = _options(dataset, release, images, on_defect, _settings(settings, frame), rounds)
    try:
        with report.progress(silent=quiet or as_json) as progress:
            wanted = configs or [spec(dataset).default_config]
            result = run(dataset, wanted, options, out or Path(dataset), workers=workers, progress=progress)
    except KeyboardInterrupt:
        typer.echo("irtd: interrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    if as_json:
        _print_json(report.build_as_dict(result))
    else:
        report.show_build(result)


@app.command()
def frames(
    file: Annotated[
        Path, typer.Argument(help="A file of conversations, questions or captions, or a COCO file.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", help="Folder, zip or tar with its pictures. Default: its folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell which frames are possible for the numbers in a file, with evidence."""
    from irtd_datasets.examples.frame_report import report_frames

    found = report_frames(file, images)
    if as_json:
        _print_json(found.as_dict())
    else:
        report.show_frames(found)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Dataset folder, as `irtd build` makes it.")],
    config: Annotated[str, typer.Argument(help="Config to export, such as instruct-grounding.")],
    to: Annotated[
        str,
        typer.Option("--to", help="Model: llava, qwen2-vl, qwen2.5-vl, qwen3-vl, internvl or paligemma."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    layout: Annotated[
        str, typer.Option("--layout", help="jsonl, json, ms-swift or llama-factory.")
    ] = "jsonl",
    images: Annotated[str, typer.Option("--images", help="Pictures as files, or inside parquet.")] = "files",
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Split to export. Default: all. Repeatable.")
    ] = None,
    markup: Annotated[
        str, typer.Option("--markup", help="Boxes in the markup of the model, or as released.")
    ] = "model",
    decimals: Annotated[
        int | None, typer.Option("--decimals", help="Digits of llava's boxes. Default: 3.")
    ] = None,
    min_pixels: Annotated[
        int, typer.Option("--min-pixels", help="Least pixels of the resize of qwen2.5-vl.")
    ] = 4 * 28 * 28,
    max_pixels: Annotated[
        int,
        typer.Option("--max-pixels", help="Most pixels of the resize of qwen2.5-vl; as in the training run."),
    ] = 16384 * 28 * 28,
    absolute_paths: Annotated[
        bool, typer.Option("--absolute-paths", help="Write picture paths from the root of the file system.")
    ] = False,
    without: Annotated[
        Path | None, typer.Option("--without", help="Leave out the rows of this filter of `irtd overlap`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a config for a training program, with the boxes in its text as the model expects them."""
    from irtd_datasets.hub.overlap import not_in
    from irtd_datasets.training.export import ExportOptions
    from irtd_datasets.training.export import export as run

    keep = not_in(without) if without else None
    options = ExportOptions(
        to,
        layout,
        images,
        markup,
        decimals,
        min_pixels,
        max_pixels,
        absolute_paths=absolute_paths,
        without=keep,
    )
    result = run(folder, config, out, options, splits=split or None)
    if as_json:
        _print_json(result.as_dict())
    else:
        report.show_export(result)


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
        _print_json(found.as_dict())
    else:
        report.show_overlap(found)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the sample release and what is built from it.")
    ] = Path("irtd-demo"),
    rows: Annotated[int, typer.Option("--rows", min=24, help="Records of the sample release, about.")] = 200,
    quiet: Quiet = False,
) -> None:
    """Make a small release, build it, load it, stream it, and show it: the main job with no data at hand."""
    from irtd_datasets.demo import run_demo

    run_demo(folder, rows=rows, quiet=quiet)


def _options(
    dataset: str,
    release: Path | None,
    images: list[str] | None,
    on_defect: list[str] | None,
    settings: dict[str, str],
    rounds: str = "keep",
) -> ReleaseOptions:
    root = release or os.environ.get(f"{dataset.upper()}_DATA_DIR")
    declared = spec(dataset)
    if not root:
        raise UnknownNameError(
            "no release given",
            remedy=f"Use --release FOLDER, or set {dataset.upper()}_DATA_DIR. `irtd list {declared.name}` says how to "
            "get it; `irtd demo` needs none.",
        )
    pairs, actions = _pairs(images or [], "--images"), _actions(on_defect or [])
    return absolute_options(root, pairs, actions, settings, rounds=rounds)


def _pairs(items: list[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals:
            name, path = "", item
        if name in pairs:
            raise UnknownNameError(f"{option} is given twice for {name!r}", remedy="Give each name once.")
        pairs[name] = path
    return pairs


def _actions(items: list[str]) -> dict[str, str]:
    return {
        (code if equals else "*"): (action if equals else item)
        for item in items
        for code, equals, action in [item.partition("=")]
    }


def _settings(items: list[str] | None, frame: str | None) -> dict[str, str]:
    settings = _pairs(items or [], "--set")
    if "" in settings:
        raise UnknownNameError(
            f"--set {settings['']!r} names no setting", remedy="Write it as NAME=VALUE, such as frame=unit."
        )
    if frame is not None:
        settings["frame"] = frame
    return settings


def _print_json(value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def main() -> None:
    """Entry point: a user's mistake is a message, not a traceback.

    Exit codes: 0 done, 1 the input or the output has a problem, 2 wrong usage, 130 interrupted.
    """
    try:
        app(standalone_mode=True)
    except IrtdDatasetsError as error:
        typer.echo(f"irtd: {error}", err=True)
        sys.exit(2 if isinstance(error, UnknownNameError) else 1)
    except BrokenPipeError:
        # The reader of our output has gone, as in `irtd list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
