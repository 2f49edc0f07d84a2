"""The card and the Croissant file of a dataset folder that is there already: made anew from its own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.catalog import BUILT_MARKER, spec
from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError
from irtd_datasets.folder.card import render_card
from irtd_datasets.folder.croissant import CROISSANT, render_croissant
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.names import CARD, LEDGER
from irtd_datasets.writing.folder import BuiltPart, described, write_text

if TYPE_CHECKING:
    import os

    from irtd_datasets.spec import DatasetSpec

__all__ = ["card_of", "write_card"]

_REMEDY = "Name a folder that `irtd build` made; build it again if files of it are lost."


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
    root = Path(folder)
    declared, parts, ledger = _contents(root, _read(root / BUILT_MARKER))
    return render_card(declared, parts, ledger, root)


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
    manifest = _read(root / BUILT_MARKER)
    declared, parts, ledger = _contents(root, manifest)
    texts = {
        CARD: render_card(declared, parts, ledger, root),
        CROISSANT: render_croissant(declared, parts),
    }
    manifest["files"] = dict(sorted({**manifest["files"], **described(texts)}.items()))
    texts[BUILT_MARKER] = json.dumps(manifest, indent=1) + "\n"
    changed = []
    for name, text in texts.items():  # the manifest last: until then a check says what to run again
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


def _contents(root: Path, manifest: dict[str, Any]) -> tuple[DatasetSpec, list[BuiltPart], Ledger]:
    """What a folder holds, its shards compared with the manifest in rows and size."""
    ledger = _read(root / LEDGER)
    try:
        declared = spec(manifest["dataset"])
        parts = [BuiltPart.from_dict(values) for values in manifest["parts"]]
        lines = Ledger.from_dict(ledger)
        _ = manifest["files"].items()
    except (KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f"{BUILT_MARKER} or {LEDGER} lacks {error}", where=str(root), remedy=_REMEDY
        ) from error
    for part in parts:
        for name, shard in zip(part.shard_names(), part.shards, strict=True):
            _check(root.joinpath(*part.key, name), shard.summary.rows, shard.summary.size)
    return declared, parts, lines


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


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReleaseNotFoundError(
            f"this is no dataset folder: it has no {path.name}", where=str(path.parent), remedy=_REMEDY
        ) from error
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"it cannot be read as JSON: {error}", where=str(path), remedy=_REMEDY
        ) from error
    if not isinstance(values, dict):
        raise AnnotationError("it holds no object", where=str(path), remedy=_REMEDY)
    return values
