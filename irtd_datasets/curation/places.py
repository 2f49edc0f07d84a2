"""What a user writes for a dataset folder of this machine, with or without a config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from irtd_datasets.catalog import release_in
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.names import FINISHED, LEDGER, MANIFEST
from irtd_datasets.folder.stored import StoredFolder
from irtd_datasets.training.storage import local_folder, split_name

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_place", "place_of"]


def place_of(text: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Divide ``FOLDER`` or ``FOLDER:CONFIG``.

    Raises:
        UnknownNameError: It names no folder of this machine.
        ReleaseNotFoundError: There is no such folder.
    """
    name = os.fspath(text)
    whole = local_folder(name)
    if whole.is_dir():  # a folder may have a colon in its name
        above = next((one for one in [*whole.parents][:2] if (one / LEDGER).is_file()), None)
        if above is not None and not (whole / MANIFEST).is_file():
            raise ReleaseNotFoundError(
                f"this is a part of the dataset folder {above}",
                where=name,
                remedy=f"Name the folder and the config: `{above}:{whole.relative_to(above).parts[0]}`.",
            )
        return whole, None
    place, config = split_name(name)
    if "://" in place:
        raise UnknownNameError(
            "this command reads a folder of this machine",
            where=place,
            remedy="Copy the dataset to a disk first, for example with `hf download --repo-type dataset OWNER/NAME "
            "--local-dir FOLDER` or the program of the store, and name that folder.",
        )
    folder = local_folder(place)
    if not folder.is_dir():
        raise ReleaseNotFoundError("there is no such folder", where=place, remedy=FINISHED)
    return folder, config


def open_place(text: str | os.PathLike[str]) -> StoredFolder:
    """Open ``FOLDER`` or ``FOLDER:CONFIG``; see `place_of` and `StoredFolder.open` for what is refused."""
    folder, config = place_of(text)
    released = "" if (folder / MANIFEST).is_file() else release_in(folder)
    if released:
        raise ReleaseNotFoundError(
            f"this is no dataset folder, but a release of {released}",
            where=os.fspath(text),
            remedy=f"`irtd build {released} --release {folder} --out FOLDER` makes one of it.",
        )
    return StoredFolder.open(folder, config)
