"""Arguments and options that several commands take, and their parsing."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from irtd_datasets.catalog import spec
from irtd_datasets.cli.app import say
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.names import CARD
from irtd_datasets.report.console import progress
from irtd_datasets.rows.release import ReleaseOptions, absolute_options
from irtd_datasets.writing.progress import Progress
from irtd_datasets.writing.store import parse_storage_options

__all__ = [
    "KEY_VARIABLE",
    "BoxFrame",
    "Dataset",
    "Images",
    "Json",
    "OnDefect",
    "Quiet",
    "Release",
    "ReleaseOption",
    "Rounds",
    "Settings",
    "SourceTable",
    "Visible",
    "folder_and_config",
    "going_on",
    "local_folder",
    "named_pairs",
    "output_option",
    "parse_prices",
    "parse_settings",
    "print_json",
    "release_options",
]

KEY_VARIABLE = "IRTD_ENDPOINT_TOKEN"
"""Environment variable that holds the key of an endpoint, unless ``--token-env`` names another."""

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Dataset = Annotated[
    str, typer.Argument(help="Name of the dataset; `irtd list` shows them all.", metavar="DATASET")
]
Release = Annotated[
    str | None,
    typer.Option(
        "--release",
        metavar="FOLDER|URL",
        help="Folder of the release, or a URL: hf://datasets/OWNER/NAME, s3://bucket/folder, https://host/folder. "
        "Default: what <DATASET>_DATA_DIR names.",
    ),
]
ReleaseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--release-option",
        metavar="KEY=VALUE",
        help="For the file system of a release's URL, as fsspec names it. Repeatable.",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--images",
        metavar="NAME=PATH",
        help="Where images lie: a released folder and a folder, zip or tar. Repeatable.",
    ),
]
Visible = Annotated[
    list[str] | None,
    typer.Option(
        "--visible",
        metavar="NAME=PATH",
        help="Where the visible partners of images lie, under the names of their images: a released folder and a "
        "folder, zip or tar. Repeatable.",
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
        help="A setting of the dataset, such as without=FILE, to leave a file out. Repeatable.",
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
SourceTable = Annotated[
    Path | None,
    typer.Option(
        "--source-table",
        metavar="FILE",
        help="CSV with rows of sources of your own, in the columns of the table; they replace rows of their name.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def release_options(
    dataset: str,
    release: str | None,
    images: list[str] | None,
    on_defect: list[str] | None,
    settings: dict[str, str],
    rounds: str = "keep",
    visible: list[str] | None = None,
    storage: list[str] | None = None,
) -> ReleaseOptions:
    """Options of a release from what a command was given; its folder may come from the environment.

    Raises:
        UnknownNameError: Neither the command nor the environment names a release.
    """
    root = release or os.environ.get(f"{dataset.upper()}_DATA_DIR")
    declared = spec(dataset)
    if not root:
        raise UnknownNameError(
            "no release given",
            remedy=f"Use --release FOLDER, or set {dataset.upper()}_DATA_DIR. `irtd fetch {declared.name} --to FOLDER` "
            "gets it, or says how; `irtd demo` needs none.",
        )
    pairs, actions = named_pairs(images or [], "--images"), _actions(on_defect or [])
    partners = named_pairs(visible or [], "--visible")
    options = parse_storage_options(storage or [])
    return absolute_options(
        root, pairs, actions, settings, rounds=rounds, visible=partners, storage_options=options
    )


def named_pairs(items: list[str], option: str) -> dict[str, str]:
    """Split ``NAME=VALUE`` items; one without ``=``, or a URL alone, has the empty name.

    Raises:
        UnknownNameError: A name is given twice.
    """
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or "://" in name:  # of a URL's query
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


def parse_settings(items: list[str] | None, frame: str | None) -> dict[str, str]:
    """Settings of a dataset from ``--set`` and ``--frame``.

    Raises:
        UnknownNameError: An item has no name, or a name is given twice.
    """
    settings = named_pairs(items or [], "--set")
    if "" in settings:
        raise UnknownNameError(
            f"--set {settings['']!r} names no setting", remedy="Write it as NAME=VALUE, such as frame=unit."
        )
    if frame is not None:
        settings["frame"] = frame
    return settings


def local_folder(path: Path) -> Path:
    """A folder that a command reads by path; for ``callback=`` of an argument.

    Raises:
        UnknownNameError: It was given as a URL, or with a config behind it.

    Example:
        >>> local_folder(Path("irtd")) == Path("irtd")
        True
    """
    _refuse_url(
        path,
        "reads a folder",
        "Copy the dataset to a disk first, for example with the program of the store "
        "(`aws s3 cp --recursive URL FOLDER`), and name that folder.",
    )
    folder, config = folder_and_config(str(path))
    if config and (folder / CARD).is_file():
        raise UnknownNameError(
            f"this command takes no config behind the folder, and {config!r} stands there",
            where=str(path),
            remedy=f"Name the folder alone: {folder}. The command's --help says whether it takes a config, and how.",
        )
    return path


def output_option(*names: str, **settings: Any) -> Any:  # noqa: ANN401 - as `typer.Option`
    """An option for a file or folder that a command writes on this machine; a URL is refused."""

    def refuse(path: Path | None) -> Path | None:
        if path is not None:
            _refuse_url(path, "writes to disks", "Give a path, and copy the result to its place afterwards.")
        return path

    return typer.Option(*names, callback=refuse, **settings)


def _refuse_url(path: Path, what: str, remedy: str) -> None:
    scheme = path.parts[0] if path.parts else ""
    if len(scheme) > 2 and scheme.endswith(":") and not path.exists():
        raise UnknownNameError(
            f"this command {what} of this machine, and {scheme}// is none",
            where=str(path).replace(":/", "://", 1),
            remedy=remedy,
        )


def folder_and_config(text: str) -> tuple[Path, str | None]:
    """A dataset folder and the config named behind it, as ``FOLDER:CONFIG``; no config where there is none.

    Example:
        >>> folder_and_config("./irtd:pretrain") == (Path("irtd"), "pretrain")
        True
    """
    from irtd_datasets.training.storage import split_name  # slow to import

    folder, config = (text, None) if Path(text).exists() else split_name(text)
    return Path(folder), config or None


@contextlib.contextmanager
def going_on(*, silent: bool) -> Iterator[Progress]:
    """Progress of a command that goes on where it was interrupted, and says so when it is."""
    try:
        with progress(silent=silent) as shown:
            yield shown
    except KeyboardInterrupt:
        say("irtd: interrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None


def print_json(value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Print a value as JSON on standard output."""
    say(json.dumps(value, indent=1, ensure_ascii=False))


def parse_prices(text: str | None) -> tuple[float, float]:
    """Prices of a million tokens of questions and of answers from one or two numbers; 0 without any."""
    if text is None:
        return 0.0, 0.0
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in {1, 2} or not all(0 <= value < math.inf for value in values):
        raise UnknownNameError(
            f"--price {text} is no price",
            remedy="Write one or two numbers, for a million tokens of questions and of answers: --price 0.15,0.60.",
        )
    return values[0], values[-1]
