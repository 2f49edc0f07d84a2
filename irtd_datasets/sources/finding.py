"""Which sources lie in a folder, and at which level of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.releases.containers import open_container
from irtd_datasets.sources.patterns import Folders
from irtd_datasets.sources.table import TABLE, Layout, SourceRow, plain

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from irtd_datasets.releases.containers import Container

__all__ = ["FoundSource", "find_sources", "place_of"]

_DEPTH = 2
_ARCHIVES = (".zip", ".tar")


class FoundSource(NamedTuple):
    """A source that lies on disk.

    Attributes:
        row: What the table of sources says of it.
        path: Its folder or archive.
        readable: Whether its images were found there in a layout that the table has.
    """

    row: SourceRow
    path: Path
    readable: bool


def place_of(row: SourceRow, container: Container, only: str = "") -> tuple[Container, str, Layout] | None:
    """Where in a container the images of a source start.

    The container itself is tried first, then its folders and theirs: an archive that was unpacked into a folder of
    its own name lies one or two levels too deep.

    Args:
        row: The source.
        container: Where to look.
        only: Name of the folder that an image must lie in, for a container that is one level too high.

    Returns:
        The container, the folder in it that the patterns start at, and the layout; None where nothing fits.
    """
    folders = Folders(container)
    for base in _bases(folders):
        fitting = [
            layout
            for layout in row.layouts
            if any(
                not only or found.name.startswith(f"{only}/") for found in layout.infrared.walk(folders, base)
            )
        ]
        if fitting:
            # Layouts may share the images and differ in the labels: the first that has both.
            with_labels = (
                layout
                for layout in fitting
                if layout.labels is None or any(True for _ in layout.labels.walk(folders, base))
            )
            return container, base, next(with_labels, fitting[0])
        if only:
            break
    return None


def _bases(folders: Folders) -> Iterator[str]:
    level = [""]
    for _ in range(_DEPTH + 1):
        yield from level
        level = [
            f"{above}/{name}" if above else name
            for above in level
            for name in folders.listing(above)[1][:64]
            if not name.startswith(".") and name != "__MACOSX"
        ]


def find_sources(folder: str | os.PathLike[str], table: Iterable[SourceRow] = TABLE) -> list[FoundSource]:
    """Sources that lie in a folder, each in a folder or archive of its own.

    A folder is recognised by its name: the usual one, that of IR-TD (``14-VisDrone-DroneVehicle``), or another that
    the table has; letters and digits alone are compared. The folder itself may be a single source.

    Returns:
        Sources in the order of the table. A source that is there several times is given once, the readable one
        first.

    Raises:
        ReleaseNotFoundError: There is no such folder.
    """
    root = Path(folder)
    container = open_container(root)
    rows = [row for row in table if row.name]
    by_name: dict[str, list[SourceRow]] = {}
    for row in rows:
        for known in {plain(name) for name in (row.name, row.project_dir, *row.also_called)}:
            by_name.setdefault(known, []).append(row)
    found: dict[str, FoundSource] = {}
    for path, name in _entries(container, root, by_name):
        same = by_name.get(plain(name), [])
        exact = [row for row in same if name in (row.name, row.project_dir)]
        for row in exact or same[:1]:  # SIRST-AUG and sirst_aug are two entries of the list
            here = FoundSource(row, path, _is_readable(row, path))
            before = found.get(row.name)
            if before is None or (here.readable and not before.readable):
                found[row.name] = here
    return [found[row.name] for row in rows if row.name in found]


def _entries(container: Container, root: Path, by_name: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """Folders and archives that may be sources, with their names; those in folders of other names, too."""
    for name in container.folders():
        yield root / name, name
        if plain(name) not in by_name and not name.startswith("."):
            for inner in container.folders(name):
                yield root / name / inner, inner
    for name in container.folder():
        if name.lower().endswith(_ARCHIVES):
            yield root / name, name.rsplit(".", 1)[0]
    yield root, root.resolve().name


def _is_readable(row: SourceRow, path: Path) -> bool:
    if not row.readable:
        return False
    try:
        return place_of(row, open_container(path)) is not None
    except IrtdDatasetsError:
        return False
