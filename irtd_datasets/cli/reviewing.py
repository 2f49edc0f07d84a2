"""The command for people who read rows."""

from __future__ import annotations

import getpass
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irtd_datasets.cli.app import app, say
from irtd_datasets.cli.options import Json, Quiet, folder_and_config, local_folder, output_option, print_json
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.report import reviewing as report
from irtd_datasets.report.console import progress as show_progress

if TYPE_CHECKING:
    from irtd_datasets.review.rows import Choice

__all__ = ["review"]


@app.command()
def review(
    data: Annotated[str, typer.Argument(help="Dataset folder, or FOLDER:CONFIG.", metavar="FOLDER[:CONFIG]")],
    reviewer: Annotated[
        str | None,
        typer.Option("--reviewer", metavar="NAME", help="Who reads. Default: the user's name here."),
    ] = None,
    verdicts: Annotated[
        Path,
        typer.Option("--verdicts", metavar="FILE", help="Verdicts are appended to this file, a line each."),
    ] = Path("verdicts.jsonl"),
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only rows of this task. Repeatable.")
    ] = None,
    doubt: Annotated[
        list[str] | None,
        typer.Option("--doubt", metavar="CODE|any", help="Only rows with this doubt. Repeatable."),
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="A sample of so many rows.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample and of the division.")] = 0,
    split: Annotated[str | None, typer.Option("--split", help="Default: train, or the only one.")] = None,
    among: Annotated[
        str | None,
        typer.Option("--among", metavar="NAME,NAME", help="Divide the rows among these reviewers."),
    ] = None,
    twice: Annotated[
        float,
        typer.Option("--twice", min=0, max=1, help="With --among: share of the rows that two of them get."),
    ] = 0.1,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    apply: Annotated[
        list[Path] | None,
        typer.Option(
            "--apply",
            metavar="FILE",
            help="Make a dataset folder of these verdicts, or of an export of Label Studio. Repeatable.",
        ),
    ] = None,
    out: Annotated[Path | None, output_option("--out", help="With --apply: the folder to make.")] = None,
    disagreement: Annotated[
        str,
        typer.Option(
            "--disagreement",
            metavar="keep|leave-out|by:NAME",
            help="With --apply: what becomes of a row on which reviewers disagree. keep: it stays as it is.",
        ),
    ] = "keep",
    label_studio: Annotated[
        Path | None,
        typer.Option(
            "--label-studio", metavar="FILE", help="Write the rows and verdicts as Label Studio tasks."
        ),
    ] = None,
    from_label_studio: Annotated[
        Path | None,
        typer.Option(
            "--from-label-studio", metavar="FILE", help="Add the verdicts of an export of Label Studio."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read rows on a page of this machine and accept, edit or reject them; then make a folder of the verdicts."""
    from irtd_datasets.review.rows import Choice

    folder, config = folder_and_config(data)
    local_folder(folder)
    names = tuple(filter(None, (name.strip() for name in (among or "").split(","))))
    choice = Choice(tuple(task or ()), tuple(doubt or ()), sample, seed, names, twice, split)
    if apply:
        from irtd_datasets.review.apply import apply_verdicts

        if out is None:
            raise UnknownNameError("--apply makes a folder", remedy="Name it with --out.")
        with show_progress(silent=quiet or as_json) as progress:
            made = apply_verdicts(folder, config, apply, out, disagreement=disagreement, progress=progress)
        print_json(made.as_dict()) if as_json else report.show_applied(made)
        return
    if out is not None:
        raise UnknownNameError("--out is for --apply", remedy="Leave it out, or add --apply verdicts.jsonl.")
    if from_label_studio:
        from irtd_datasets.review.exchange import add_export

        added = add_export(from_label_studio, verdicts, folder, config)
        print_json(added.as_dict()) if as_json else report.show_added(added)
        return
    if label_studio:
        from irtd_datasets.review.exchange import write_export

        count = write_export(folder, config, choice, verdicts, label_studio)
        say(f"{count:,} tasks: {label_studio}; the labelling configuration is beside it, as .xml")
        return
    _serve(folder, config, choice, reviewer or getpass.getuser(), verdicts, browser=browser, as_json=as_json)


def _serve(
    folder: Path,
    config: str | None,
    choice: Choice,
    reviewer: str,
    verdicts: Path,
    *,
    browser: bool,
    as_json: bool,
) -> None:
    from irtd_datasets.review.rows import ReviewRows
    from irtd_datasets.review.server import Review, ReviewServer
    from irtd_datasets.review.verdicts import VerdictFile, check_name

    name = check_name(reviewer)
    rows = ReviewRows(folder, config, choice, name)
    with VerdictFile(verdicts) as file, ReviewServer(Review(rows, file, name)) as server:
        if as_json:
            print_json({"link": server.link, **server.review.state()})
        else:
            say(f"{len(rows):,} rows for {name}: {server.link}\nVerdicts go to {verdicts}. Ctrl-C ends.")
        sys.stdout.flush()
        if browser and sys.stdout.isatty():
            webbrowser.open(server.link)
        try:
            server.serve_forever(0.2)
        except KeyboardInterrupt:
            if not as_json:
                report.show_state(server.review.state())
