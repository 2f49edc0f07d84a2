"""Opening a source dataset: its row, where in the folder its files start, and in which layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.releases.containers import open_container
from irtd_datasets.sources.finding import place_of
from irtd_datasets.sources.readers import READERS
from irtd_datasets.sources.source import Source, SourceOptions
from irtd_datasets.sources.table import TABLE, SourceRow, get

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from irtd_datasets.releases.containers import Container

__all__ = ["open_found", "open_source"]


def open_source(
    name: str,
    folder: str | os.PathLike[str],
    *,
    table: Iterable[SourceRow] = TABLE,
    options: SourceOptions | None = None,
) -> Source:
    """Open a source dataset that lies in a folder, a zip or a tar.

    Args:
        name: Name of the source in the table.
        folder: Where it lies. It may be unpacked one level too deep or too shallow.
        table: The table of sources.
        options: How it is read.

    Raises:
        UnknownNameError: There is no such source, or nobody knows how its files lie.
        ReleaseNotFoundError: There is no such folder, or nothing of the source in it; the message shows what was
            looked for and what there is.
    """
    path = Path(folder)
    row = get(name, table)
    return open_found(row, open_container(path), options or SourceOptions())


def open_found(row: SourceRow, container: Container, options: SourceOptions) -> Source:
    """Open a source by its row; see `open_source`."""
    if not row.readable:
        raise UnknownNameError(
            f"no reader for source {row.name!r}: {row.note or 'its format is not known'}",
            remedy="If you have it, write a row for it in a table of your own; docs/sources.md shows how.",
        )
    if not set(row.readers) <= set(READERS):
        raise UnknownNameError(
            f"source {row.name!r} names a reader that does not exist: {row.reader!r}",
            remedy=f"There are {', '.join(sorted(READERS))}.",
        )
    path = container.path
    place = place_of(row, container)
    if place is None and isinstance(path, Path) and path.is_dir() and path.resolve().parent != path.resolve():
        # One level too shallow: the folder of its images instead of the one above.
        place = place_of(row, open_container(path.resolve().parent), only=path.resolve().name)
    if place is None:
        wanted = " or ".join(dict.fromkeys(layout.infrared.text for layout in row.layouts))
        there = [*(f"{inner}/" for inner in container.folders()), *container.folder()][:8]
        raise ReleaseNotFoundError(
            f"nothing of source {row.name!r}: no image fits {wanted}; there is {', '.join(there) or 'nothing'}",
            where=str(path),
            remedy="Pass the folder that these names start in, or write a row for your layout.",
        )
    found, base, layout = place
    return Source(row, found, base, layout, options)
