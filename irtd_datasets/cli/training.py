"""Commands for training programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, Quiet, folder_and_config, local_folder, output_option, print_json
from irtd_datasets.errors import UnknownNameError, did_you_mean
from irtd_datasets.folder.row_groups import config_names
from irtd_datasets.report import training as report

__all__ = ["bench", "export"]


@app.command()
def export(
    place: Annotated[
        str,
        typer.Argument(help="Dataset folder, as `irtd build` makes it.", metavar="FOLDER[:CONFIG]"),
    ],
    out: Annotated[Path, output_option("--out", help="Folder to make.")],
    config: Annotated[
        str | None, typer.Argument(help="Config to export, such as instruct-grounding.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Model: llava, qwen2-vl, qwen2.5-vl, qwen3-vl, internvl or paligemma."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="For models: jsonl, json, ms-swift, llama-factory or vlmevalkit. For detectors, without --to: coco, "
            "yolo, yolo-obb, voc or dota.",
        ),
    ] = "jsonl",
    images: Annotated[str, typer.Option("--images", help="Images as files, or inside parquet.")] = "files",
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
        int, typer.Option("--min-pixels", help="min_pixels of the image processor of qwen2.5-vl.")
    ] = 4 * 28 * 28,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels", help="max_pixels of the image processor of qwen2.5-vl, as in the training run."
        ),
    ] = 16384 * 28 * 28,
    absolute_paths: Annotated[
        bool, typer.Option("--absolute-paths", help="Write image paths from the root of the file system.")
    ] = False,
    without: Annotated[
        Path | None, typer.Option("--without", help="Leave out the rows of this filter of `irtd overlap`.")
    ] = None,
    partners: Annotated[
        bool, typer.Option("--partners", help="Give visible partners as second images of their rows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a config for a training program: texts with boxes as the model expects them, or boxes for a detector."""
    from irtd_datasets.hub.overlap import not_in
    from irtd_datasets.training.detection import LAYOUTS, export_detection
    from irtd_datasets.training.targets import TARGETS

    folder, named = folder_and_config(place)
    local_folder(folder)
    config = config or named
    if config is None:
        raise UnknownNameError(
            "no config is named",
            where=place,
            remedy=f"Write it behind the folder. The configs are {', '.join(config_names(folder))}.",
        )
    if layout in LAYOUTS and to is None:
        _only_for_models(markup != "model", decimals, without, images != "files", absolute_paths)
        found = export_detection(folder, config, out, layout, splits=split or None)
        if as_json:
            print_json(found.as_dict())
        else:
            report.show_detection(found)
        return
    if to is None:
        raise UnknownNameError(
            f"the layout {layout} is for a model, and none is named",
            remedy=f"{did_you_mean(layout, LAYOUTS)}Add --to {'|'.join(TARGETS)}; for a detector give --layout "
            f"{'|'.join(LAYOUTS)}.",
        )
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
        partners=partners,
    )
    result = run(folder, config, out, options, splits=split or None)
    if as_json:
        print_json(result.as_dict())
    else:
        report.show_export(result)


def _only_for_models(*given: object) -> None:
    names = ("--markup", "--decimals", "--without", "--images", "--absolute-paths")
    for name, value in zip(names, given, strict=True):
        if value:
            raise UnknownNameError(
                f"{name} is for exports of texts", remedy="Leave it out where the layout is one of boxes."
            )


@app.command("bench-stream")
def bench(
    data: Annotated[
        str, typer.Argument(help="Dataset folder, name on the Hub or URL, with :config behind it.")
    ],
    split: Annotated[
        str | None, typer.Option("--split", help="Split. Default: train, or the only one.")
    ] = None,
    decode: Annotated[str, typer.Option("--decode", help="auto, luminance or rgb.")] = "auto",
    max_side: Annotated[
        int | None, typer.Option("--max-side", help="Longest side of decoded images, in pixels.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Rows of a batch.")] = 8,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads to try. Default: the number of processors.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Seconds for each of about ten measurements.")
    ] = 2.0,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="Address of another Hub than huggingface.co.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how fast a dataset is read here: rows per second, where the time goes, what to change."""
    from irtd_datasets.report.console import status
    from irtd_datasets.training.bench import bench_stream

    with status("measuring", silent=quiet or as_json) as tell:
        found = bench_stream(
            data,
            split=split,
            decode=decode,
            max_side=max_side,
            batch_size=batch_size,
            threads=threads,
            seconds=seconds,
            storage_options={"endpoint": endpoint} if endpoint else None,
            tell=tell,
        )
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_bench(found)
