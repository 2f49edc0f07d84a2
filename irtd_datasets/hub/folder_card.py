"""The card, its images and the Croissant file of a dataset folder that is there: made anew from its own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.catalog import spec
from irtd_datasets.documents import write_text
from irtd_datasets.errors import AnnotationError, BuildError, IrtdDatasetsError
from irtd_datasets.folder.card import counter_in, in_repository, render_card, repository_of
from irtd_datasets.folder.card_images import card_images
from irtd_datasets.folder.croissant import render_croissant
from irtd_datasets.folder.front_matter import read_card
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.names import CARD, CARD_IMAGES, CROISSANT, MANIFEST
from irtd_datasets.schema import EARLIER, SCHEMA_VERSION

if TYPE_CHECKING:
    import os

__all__ = ["card_of", "write_card"]


def card_of(folder: str | os.PathLike[str]) -> str:
    """The card of a dataset folder as the build writes it.

    Rows and sizes are those of the Parquet files, which must be the ones that the manifest tells of; sources and
    frames are counted in them; the rest is in the ledger.

    Args:
        folder: A dataset folder.

    Raises:
        ReleaseNotFoundError: There is no manifest or no ledger.
        AnnotationError: One of them, or a Parquet file, cannot be read.
        BuildError: A Parquet file is not the one that the manifest tells of.
        UnknownNameError: The folder is of a dataset that this version does not know.
    """
    return _documents(Path(folder))[CARD].decode()


def write_card(folder: str | os.PathLike[str]) -> list[str]:
    """Write the card, its images and ``croissant.json`` of a dataset folder anew, and note them in its manifest.

    Args:
        folder: A dataset folder.

    Returns:
        Names of those of these files that were not as they should be.

    Raises:
        ReleaseNotFoundError, AnnotationError, UnknownNameError: See `card_of`.
        BuildError: See `card_of`; or a file cannot be written.
    """
    root = Path(folder)
    changed = []
    documents = _documents(root)
    for name in {*CARD_IMAGES.values()} - documents.keys():
        (root / name).unlink(missing_ok=True)
    for name, content in documents.items():  # the manifest last: until then a check says what to run again
        path = root / name
        try:
            if not path.is_file() or path.read_bytes() != content:
                write_text(path, content)
                changed.append(name)
        except OSError as error:
            raise BuildError(
                f"it cannot be written: {error.strerror or error}",
                where=str(path),
                remedy="Check the permissions of the folder and the space on its disk.",
            ) from error
    return changed


def _documents(root: Path) -> dict[str, bytes]:
    """Card with its images, Croissant file and manifest that fit the shards, which are compared with the manifest."""
    manifest, ledger = Manifest.read(root), Ledger.read(root)
    declared = spec(manifest.dataset)
    if manifest.schema and manifest.schema != SCHEMA_VERSION:
        raise BuildError(
            f"the folder has the columns of schema {manifest.schema}, and this version describes {SCHEMA_VERSION}",
            where=str(root),
            remedy=f"Keep its card, or build the folder again. {EARLIER}",
        )
    for name, shard in manifest.shards.items():
        _check(root / name, shard.rows, shard.size)
    count = counter_in(root)
    made = card_images(declared, manifest.parts, count, lambda name: (root / name).open("rb"))
    made[CROISSANT] = render_croissant(declared, manifest.parts).encode()
    others = {name: listed for name, listed in manifest.others.items() if name not in CARD_IMAGES.values()}
    others |= {name: Listed.of(content) for name, content in made.items()}
    manifest = replace(manifest, others=others)
    card = render_card(
        declared,
        manifest.parts,
        ledger,
        None,
        count,
        seal=manifest.seal,
        images=made,
        made_with=manifest.made_with,
    )
    repository = _repository(root)
    if repository:
        card = in_repository(card, repository)
    manifest = replace(manifest, others={**others, CARD: Listed.of(card)})
    return {CARD: card.encode(), **made, MANIFEST: manifest.render().encode()}


def _repository(root: Path) -> str:
    """The repository that the card names which is there, since the folder was published in it."""
    try:
        return repository_of(read_card(root))
    except IrtdDatasetsError:
        return ""


def _check(file: Path, rows: int, size: int) -> None:
    remedy = "`irtd check` says what is wrong with the folder."
    try:
        found = pq.read_metadata(file).num_rows
        if (file.stat().st_size, found) == (size, rows):
            return
    except FileNotFoundError as error:
        raise BuildError("the file is missing", where=str(file), remedy=remedy) from error
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(
            f"it cannot be read as Parquet: {error}", where=str(file), remedy=remedy
        ) from error
    raise BuildError(
        f"it has {found:,} rows in {file.stat().st_size:,} bytes, the manifest tells of {rows:,} in {size:,}",
        where=str(file),
        remedy=remedy,
    )
