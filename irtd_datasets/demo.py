"""The main job with no data at hand: a sample release, built, loaded, streamed and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from irtd_datasets.errors import BuildError
from irtd_datasets.folder.contact_sheet import contact_sheet, sample_rows
from irtd_datasets.report import building
from irtd_datasets.report.console import progress as show_progress
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["run_demo"]


def run_demo(folder: Path, *, rows: int = 200, quiet: bool = False) -> Path:
    """Make a small IR-TD release, build it, load and stream the result with plain ``datasets``, and draw it.

    Args:
        folder: Where everything goes; made if missing. What an earlier demo put there is used again.
        rows: Records of the sample release, about.
        quiet: No progress.

    Returns:
        The contact sheet.

    Raises:
        BuildError: The folder holds something else.
    """
    release, out, sheet = folder / "release", folder / "irtd", folder / "contact-sheet.png"
    if folder.exists() and any(folder.iterdir()) and not (release / "SAMPLE_RELEASE.txt").is_file():
        raise BuildError("the folder is not empty", where=str(folder), remedy="Name a new or empty folder.")
    typer.echo(f"1. A sample release with the layout and the known defects of the real one: {release}")
    write_sample_release("irtd", release, rows=rows, overwrite=True)
    typer.echo(f"2. irtd build irtd instruct pretrain --release {release} --out {out}")
    with show_progress(silent=quiet) as progress:
        result = build("irtd", ["instruct", "pretrain"], absolute_options(release), out, progress=progress)
    building.show_build(result)
    typer.echo("3. Loaded and streamed from the folder with plain `datasets`")
    _load(out)
    typer.echo(f"4. Boxes and points drawn on the images: {sheet}")
    contact_sheet(list(sample_rows(out))).save(sheet)
    typer.echo(
        "\nNext:\n"
        f"  python -c \"from datasets import load_dataset; print(load_dataset('{out}', 'instruct'))\"\n"
        "  irtd list irtd\n"
        "  irtd doctor irtd --release FOLDER_WITH_THE_REAL_RELEASE\n"
        f"  irtd preview {out} --out {folder / 'preview.html'}"
    )
    return sheet


def _load(out: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(out), "instruct", split="train", cache_dir=str(out.parent / "cache"))
    typer.echo(f"   load_dataset: {loaded.num_rows} rows, columns {', '.join(loaded.column_names)}")
    first = next(iter(datasets.load_dataset(str(out), "instruct", split="train", streaming=True)))
    typer.echo(
        f"   streaming: first row {first['id']}, image {first['image'].size}, answer {first['answer']!r}"
    )
