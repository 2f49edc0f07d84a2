"""The command that cuts cross-modal pairs of images to their common view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app
from irtd_datasets.cli.options import Json, output_option, print_json
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report.pairs import show_pairs

__all__ = ["pairs"]


@app.command()
def pairs(
    folder: Annotated[Path, typer.Argument(help="Folder with the images of both modalities.")],
    visible: Annotated[
        str,
        typer.Option("--visible", help="Subfolder of the visible images, or a pattern such as '*_co.png'."),
    ],
    infrared: Annotated[str, typer.Option("--infrared", help="The same for the infrared images.")],
    out: Annotated[Path, output_option("--out", help="Folder to write.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="JSON lines with image, boxes (or points or polygons), labels and frame."
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="auto, labels or images.")] = "auto",
    region: Annotated[
        str,
        typer.Option("--region", help="Cut to the common view, or further to the objects: view or objects."),
    ] = "view",
    margin: Annotated[
        float, typer.Option("--margin", min=0.0, help="Room around the objects, as a share of their extent.")
    ] = 0.0,
    min_size: Annotated[
        int, typer.Option("--min-size", min=1, help="Smallest width and height of a crop, in pixels.")
    ] = 32,
    checkerboards: Annotated[
        int,
        typer.Option(
            "--checkerboards", min=0, help="Number of checkerboard images to draw for inspection, at most."
        ),
    ] = 100,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut pairs of an infrared and a visible image to the view that both have, and say which cannot be."""
    from irtd_datasets.images.pairs.folder import CropRules, crop_folder

    for name, value, known in (
        ("--method", method, ("auto", "labels", "images")),
        ("--region", region, ("view", "objects")),
    ):
        if value not in known:
            raise UnknownNameError(f"{name} is {value!r}", remedy=f"Take one of {', '.join(known)}.")
    report = crop_folder(
        folder,
        out,
        infrared=infrared,
        visible=visible,
        labels=labels,
        rules=CropRules(method, region, margin, min_size),
        checkerboards=checkerboards,
        workers=workers,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        show_pairs(report)
    if not report.counts["aligned"] and not report.counts["cropped"]:
        raise typer.Exit(1)
