"""Commands on dataset folders: comparing and publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import Json, Quiet, folder_and_config, local_folder, output_option, print_json
from irtd_datasets.display import terminal
from irtd_datasets.report import publishing as report
from irtd_datasets.report.console import progress, status

__all__ = ["card", "check", "overlap", "preview", "publish"]


@app.command()
def overlap(
    a: Annotated[Path, typer.Argument(help="Dataset folder whose rows are listed.", callback=local_folder)],
    b: Annotated[
        Path,
        typer.Argument(help="Dataset folder in which their images are looked for.", callback=local_folder),
    ],
    part_a: Annotated[
        str | None, typer.Option("--a", metavar="CONFIG[/SPLIT]", help="Only this part of A.")
    ] = None,
    part_b: Annotated[
        str | None, typer.Option("--b", metavar="CONFIG[/SPLIT]", help="Only this part of B.")
    ] = None,
    max_distance: Annotated[
        int,
        typer.Option("--max-distance", min=0, max=15, help="Bits of 64 by which similar images may differ."),
    ] = 6,
    out: Annotated[
        Path | None, output_option("--out", help="Write the rows of A found in B here, .parquet or .csv.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode.")] = 1,
    as_json: Json = False,
) -> None:
    """Show which rows of one dataset have an image of another: same file, same pixels, or similar."""
    from irtd_datasets.hub.overlap import find_overlap

    found = find_overlap(a, b, parts=(part_a, part_b), max_distance=max_distance, workers=workers)
    if out:
        found.save(out)
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_overlap(found)


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.", callback=local_folder)],
    show: Annotated[bool, typer.Option("--print", help="Print the card and change nothing.")] = False,
) -> None:
    """Write the card and croissant.json of a dataset folder anew from its own files, or print the card."""
    from irtd_datasets.hub.folder_card import card_of, write_card

    if show:
        typer.echo(terminal(card_of(folder)), nl=False)
        return
    changed = write_card(folder)
    say(f"{folder}: {', '.join(changed)} written" if changed else f"{folder}: was as it should be")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Dataset folder.", callback=local_folder)],
    images: Annotated[
        str,
        typer.Option(
            "--images",
            metavar="sample|all|none",
            help="Images to decode: those of the preview and some, all, none.",
        ),
    ] = "sample",
    hashes: Annotated[
        bool,
        typer.Option("--hashes", help="Compare the SHA-256 of every shard, however large; reads every byte."),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode.")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a dataset folder for everything that would break loading, the Hub's viewer or the card."""
    from irtd_datasets.hub.check import check_folder

    with status("checking", silent=quiet or as_json) as shown:
        found = check_folder(
            folder,
            images=images,  # type: ignore[arg-type]  # checked there
            hashes=hashes,
            workers=workers,
            progress=shown,
        )
    if as_json:
        print_json(found.as_dict())
    else:
        report.show_check(found)
    if found.errors:
        raise typer.Exit(1)


@app.command()
def publish(
    folder: Annotated[
        Path, typer.Argument(help="Dataset folder that `irtd build` has finished.", callback=local_folder)
    ],
    repository: Annotated[
        str, typer.Argument(help="OWNER/NAME on the Hub, or a name under your account.", metavar="REPOSITORY")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="TAG", help="Tag of this version. Default: v and the dataset's version."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    accept_terms: Annotated[
        bool,
        typer.Option(
            "--accept-terms", help="Publish sources whose terms restrict it, on your own responsibility."
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace everything in a repository that has other content.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a dataset folder to the Hugging Face Hub: check, upload, one commit, read back, tag."""
    from irtd_datasets.hub.publish import PublishOptions
    from irtd_datasets.hub.publish import publish as publish_folder

    options = PublishOptions(
        private=private, revision=revision, dry_run=dry_run, accept_terms=accept_terms, replace=replace
    )
    with progress(silent=quiet) as shown:
        published = publish_folder(folder, repository, options, progress=shown)
    if as_json:
        print_json(published.as_dict())
    else:
        report.show_published(published)


@app.command()
def preview(
    place: Annotated[
        str,
        typer.Argument(help="Dataset folder, or one config of it.", metavar="FOLDER[:CONFIG]"),
    ],
    out: Annotated[
        Path | None,
        output_option("--out", "-o", help="Page to write. Default: preview.html.", metavar="FILE.html"),
    ] = None,
    sheet: Annotated[
        Path | None,
        output_option("--contact-sheet", help="Draw an image of the rows instead.", metavar="FILE.png"),
    ] = None,
    configs: Annotated[
        list[str] | None, typer.Option("--config", help="Config to show. Default: all. Repeatable.")
    ] = None,
    splits: Annotated[
        list[str] | None, typer.Option("--split", help="Split to show. Default: all. Repeatable.")
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            min=1,
            max=2000,
            help="Rows to show. Default: 120, and 24 on a contact sheet.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of rows.")] = 0,
    as_json: Json = False,
) -> None:
    """Show rows of a dataset folder with their boxes drawn: one HTML page that needs nothing else."""
    from irtd_datasets.hub.preview import write_contact_sheet, write_preview

    folder, config = folder_and_config(place)
    local_folder(folder)
    configs, splits, made = [*(configs or []), *filter(None, [config])], splits or [], []
    if sheet is not None:
        made.append(
            write_contact_sheet(folder, sheet, configs=configs, splits=splits, rows=rows or 24, seed=seed)
        )
    if out is not None or sheet is None:
        page = out or Path("preview.html")
        made.append(write_preview(folder, page, configs=configs, splits=splits, rows=rows or 120, seed=seed))
    if as_json:
        print_json([one.as_dict() for one in made])
    else:
        for one in made:
            report.show_preview(one)
