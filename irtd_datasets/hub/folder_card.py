"""The card and the Croissant file of a dataset folder that is there already: made anew from its own files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.catalog import spec
from irtd_datasets.documents import write_text
from irtd_datasets.errors import AnnotationError, BuildError
from irtd_datasets.folder.card import render_card
from irtd_datasets.folder.croissant import render_croissant
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.names import CARD, CROISSANT, MANIFEST
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
    return _documents(Path(folder))[CARD]


def write_card(folder: str | os.PathLike[str]) -> list[str]:
    """Write the card and ``croissant.json`` of a dataset folder anew, and note both in its manifest.

    Args:
        folder: A dataset folder.

    Returns:
        Names of those of the three files that were not as they should be.

    Raises:
        ReleaseNotFoundError, AnnotationError, UnknownNameError: See `card_of`.
        BuildError: See `card_of`; or a file cannot be written.
    """
    root = Path(folder)
    changed = []
    for name, text in _documents(
        root
    ).items():  # the manifest last: until then a check says what to run again
        path = root / name
        try:
            if not path.is_file() or path.read_bytes() != text.encode():
                write_text(path, text)
                changed.append(name)
        except OSError as error:
            raise BuildError(
                f"it cannot be written: {error.strerror or error}",
                where=str(path),
                remedy="Check the permissions of the folder and the space on its disk.",
            ) from error
    return changed


def _documents(root: Path) -> dict[str, str]:
    """Card, Croissant file and manifest that fit the shards of a folder, which are compared with the manifest."""
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
    croissant = render_croissant(declared, manifest.parts)
    manifest = replace(manifest, others={**manifest.others, CROISSANT: Listed.of(croissant)})
    card = render_card(declared, manifest.parts, ledger, root, seal=manifest.seal)
    manifest = replace(manifest, others={**manifest.others, CARD: Listed.of(card)})
    return {CARD: card, CROISSANT: croissant, MANIFEST: manifest.render()}


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
