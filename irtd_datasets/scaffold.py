"""The folder of a new dataset: a package of its own, or a folder of this repository."""

from __future__ import annotations

import re
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from irtd_datasets.catalog import dataset_names
from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["is_repository", "new_dataset"]

_PACKAGE = ("__init__.py", "spec.py", "parts.csv", "issues.csv", "terms.csv", "card.md")


def is_repository(folder: Path) -> bool:
    """Whether a folder is a checkout of this library."""
    return (folder / "irtd_datasets" / "catalog.py").is_file() and (folder / "pyproject.toml").is_file()


def new_dataset(
    name: str,
    folder: Path,
    *,
    title: str,
    licence: str,
    parser: bool = False,
    in_repository: bool = False,
) -> list[Path]:
    """Write the files of a new dataset, which builds, checks and passes its tests as it stands.

    Args:
        name: Name of the dataset: small letters, digits and underscores.
        folder: The folder to make, or the checkout of this library.
        title: Name for people.
        licence: Identifier that the Hub has for its licence, such as ``cc-by-4.0``; ``other`` for terms of its own.
        parser: Whether records have another form than LLaVA's, so that code has to read them.
        in_repository: Whether it becomes a folder of the library in a checkout.

    Returns:
        The files written.

    Raises:
        UnknownNameError: The name cannot be that of a dataset or is taken, or the folder is no checkout.
        BuildError: A file is there already, or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UnknownNameError(
            f"{name!r} cannot be the name of a dataset", remedy="Use small letters, digits and underscores."
        )
    if not re.fullmatch(r"[\w .,:+()/-]+", title) or not re.fullmatch(r"[a-z0-9.+-]+", licence):
        raise UnknownNameError(
            f"{title!r} or {licence!r} has signs that a declaration cannot hold",
            remedy="Use letters, digits, blanks and plain marks.",
        )
    _check_free(name)
    if in_repository and not is_repository(folder):
        raise UnknownNameError(
            "this is no checkout of irtd-datasets",
            where=str(folder),
            remedy="Start it where pyproject.toml lies.",
        )
    package = f"irtd_datasets.{name}" if in_repository else name
    values = {
        "name": name,
        "title": title,
        "licence": licence,
        "package": package,
        "distribution": name.replace("_", "-"),
        "version": __version__,
        "redistribution": "unknown" if licence in {"other", "unknown"} else "allowed",
    }
    home = folder / package.replace(".", "/")
    files = {home / file: file for file in (*_PACKAGE, *(["release.py"] if parser else []))}
    if in_repository:
        files[folder / "tests" / name / f"test_{name}.py"] = "test.py"
        files[folder / "docs" / "datasets" / f"{name}.md"] = "page.md"
    else:
        files[home / "sample.py"] = "sample.py"
        files[folder / "tests" / f"test_{name}.py"] = "test.py"
        files[folder / "pyproject.toml"] = "pyproject.toml"
    return _write(files, values)


def _check_free(name: str) -> None:
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as TAKEN

    if name in {*TAKEN, *dataset_names()}:
        raise UnknownNameError(f"the name {name!r} is taken", remedy="Choose another.")


def _write(files: Mapping[Path, str], values: Mapping[str, str]) -> list[Path]:
    there = [str(path) for path in files if path.exists()]
    if there:
        raise BuildError(f"there is {there[0]} already", remedy="Give another name or folder.")
    templates = resources.files("irtd_datasets").joinpath("templates")
    for path, template in files.items():
        text = Template(templates.joinpath(f"{template}.txt").read_text(encoding="utf-8"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.substitute(values), encoding="utf-8")
        except OSError as error:
            raise BuildError(
                error.strerror or str(error), where=str(path), remedy="Give a folder that can be written."
            ) from error
    return list(files)
