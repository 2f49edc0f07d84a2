"""Where annotation files can lie in a folder of unknown layout, found without listing folders full of images.

A file with the name of an annotation file is known, foreign (readable, and no list of records of this dataset) or
unreadable. A foreign one is told; an unreadable one stops a build unless the user leaves it out by its name, since
nobody can know what it held.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from irtd_datasets.annotations.json_members import read_member_lists
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseError, ReleaseNotFoundError
from irtd_datasets.releases.containers import (
    Container,
    FolderContainer,
    RemoteFolder,
    common_folder,
    open_container,
)
from irtd_datasets.releases.places import RemotePlace, as_place, file_identity
from irtd_datasets.releases.resolve import ImageResolver, Mount, mounts_from_options
from irtd_datasets.releases.sniff import read_head, sniff
from irtd_datasets.rows.generated import read_marker
from irtd_datasets.rows.release import Release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from irtd_datasets.annotations.json_records import Source
    from irtd_datasets.releases.places import Place
    from irtd_datasets.rows.release import AnnotationFile
    from irtd_datasets.spec import SubsetSpec

__all__ = ["Candidate", "Layout", "SearchedRelease", "find_layout", "image_mounts", "is_foreign", "stopping"]

DEPTH = 4
"""Levels of folders below the release in which annotation files are looked for."""
ENTRIES = 4_000
"""Entries of a folder that are looked at; a longer one holds images. Only the release itself may be longer."""
FOLDERS = 1_000
"""Folders that are looked into; classes of images can be many."""

_ANNOTATIONS = (".json", ".jsonl", ".ndjson", ".jsonlines")
_ARCHIVES = (".zip", ".tar")
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar", ".7z", ".gz")
# First folders that names of images may have and a user's copy not.
_FIRST_FOLDERS = ("data", "images")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold annotations.

    Attributes:
        container: Where it lies.
        name: Its name in there.
        where: What a user knows it as: its path below the release.
        size: Its bytes.
        stamp: Changes when it changes.
    """

    container: Container
    name: str
    where: str
    size: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What a bounded search of a folder found.

    Attributes:
        root: The folder.
        archives: Archives directly in it.
        candidates: Files that may hold annotations, in the order of their paths.
        folders: Folders seen, as ``/``-separated paths below the root; the root itself is ``""``.
        packed: Archives that have to be unpacked first.
        unread: Folders too long or too deep to be searched.
        closed: Folders that may not be listed.
    """

    root: FolderContainer
    archives: tuple[Container, ...]
    candidates: tuple[Candidate, ...]
    folders: tuple[str, ...]
    packed: tuple[str, ...]
    unread: tuple[str, ...]
    closed: tuple[str, ...]


def find_layout(root: Place) -> Layout:
    """Search the top levels of a release.

    Args:
        root: An existing folder.
    """
    folder = RemoteFolder(root) if isinstance(root, RemotePlace) else FolderContainer(root)
    found: list[Candidate] = []
    archives: list[Container] = []
    packed: list[str] = []
    unread: list[str] = []
    closed: list[str] = []
    seen: list[str] = []
    waiting = [""]
    while waiting and len(seen) < FOLDERS:
        name = waiting.pop(0)
        try:
            files, folders, complete = _listing(root / name if name else root, None if not name else ENTRIES)
        except OSError:
            closed.append(name)
            continue
        seen.append(name)
        if not complete:
            unread.append(name)
            continue
        prefix = f"{name}/" if name else ""
        for file in files:
            lower = file.lower()
            if lower.endswith(_ANNOTATIONS):
                # What cannot be opened, such as a link to nothing, is a file that cannot be read.
                size, stamp = file_identity(root / prefix / file)
                found.append(Candidate(folder, prefix + file, prefix + file, size, stamp))
            elif lower.endswith(_PACKED):
                packed.append(prefix + file)
            elif not name and lower.endswith(_ARCHIVES) and sniff(read_head(root / file)) in ("zip", "tar"):
                archives.append(open_container(root / file))
        if name.count("/") + bool(name) < DEPTH:
            waiting += [
                prefix + inner for inner in folders if not inner.startswith(".") and inner != "__MACOSX"
            ]
        else:
            unread += [prefix + inner for inner in folders]
    unread += waiting
    for archive in archives:
        found += _in_archive(archive)
    found.sort(key=lambda candidate: candidate.where)
    return Layout(
        folder, tuple(archives), tuple(found), tuple(seen), tuple(packed), tuple(unread), tuple(closed)
    )


def _listing(path: Place, most: int | None) -> tuple[list[str], list[str], bool]:
    """Sorted files and folders of a folder, and whether these are all; at most ``most`` entries are looked at."""
    if isinstance(path, RemotePlace):
        here, below = path.scan()
        return list(here), list(below), most is None or len(here) + len(below) <= most
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(path) as entries:
        for entry in islice(entries, most):
            (folders if entry.is_dir() else files).append(entry.name)
        complete = next(entries, None) is None
    return sorted(files), sorted(folders), complete


def _in_archive(archive: Container) -> list[Candidate]:
    found = []
    for name in archive.names():  # the index of an archive is in memory
        if name.lower().endswith(_ANNOTATIONS) and name.count("/") <= DEPTH and "__MACOSX" not in name:
            entry = archive.find(name)
            if entry is not None:
                found.append(Candidate(archive, name, f"{archive.label}/{name}", entry.size, entry.stamp))
    return found


def image_mounts(
    layout: Layout,
    images: Mapping[str, str],
    first_folders: tuple[str, ...] = (),
    open_place: Callable[[str], Place] = as_place,
) -> tuple[Mount, ...]:
    """Places where images are looked for, the user's own first.

    The names of images may be relative to the release, to a folder in it, or have a first folder that is not there.
    The mounts depend on the folders alone, so that every process has the same.

    Args:
        layout: The release.
        images: Released folder to path, as the user gave them.
        first_folders: First folders that names of images may have and a user's copy not.
        open_place: From a path or a URL to the place.

    Raises:
        ReleaseNotFoundError: There is nothing at a path that the user gave.
    """
    mounts = list(mounts_from_options(images, (), open_place))
    mounts += [Mount("", layout.root, folder) for folder in layout.folders if folder.count("/") <= 1]
    for first in dict.fromkeys((layout.root.label, *_FIRST_FOLDERS, *first_folders)):
        if first not in layout.folders:
            mounts.append(Mount(first, layout.root))
    for archive in layout.archives:
        try:
            top = common_folder(archive)
        except IrtdDatasetsError:
            continue
        mounts += [Mount("", archive, base) for base in dict.fromkeys(("", top))]
    return tuple(mounts)


def is_foreign(problem: IrtdDatasetsError, source: Callable[[], Source]) -> bool:
    """Whether a file that could not be read as a list of records is sound JSON of another kind.

    Args:
        problem: What reading its records ended with.
        source: Opens it once more.
    """
    code = getattr(problem, "code", "")
    if code != "json-record-too-large":
        return code == "json-not-a-list"
    opened = source()
    try:
        for _ in read_member_lists(opened, name=problem.where, keys=()):
            pass
    except IrtdDatasetsError:
        return False
    finally:
        if isinstance(opened, io.IOBase):
            opened.close()
    return True


def first_problem(source: Callable[[], Source], where: str) -> IrtdDatasetsError | None:
    """Why an annotation file that nobody reads is no sound JSON; None when it is.

    Args:
        source: Opens it.
        where: What a user knows it as.
    """
    bad: list[AnnotationError] = []
    try:
        opened = source()
        with contextlib.closing(opened) if isinstance(opened, io.IOBase) else contextlib.nullcontext():
            for _ in read_records(opened, name=where, on_bad=lambda _, error: bad.append(error)):
                pass
    except IrtdDatasetsError as error:
        return None if is_foreign(error, source) else error
    return next((error for error in bad if getattr(error, "code", "") != "json-record-type"), None)


def stopping(problem: IrtdDatasetsError, where: str) -> AnnotationError | ReleaseError:
    """The error for an annotation file that cannot be read, with the way to go on without it."""
    told = problem.problem if problem.where.startswith(where) else f"{problem.where}: {problem.problem}"
    kind = AnnotationError if isinstance(problem, AnnotationError) else ReleaseError
    return kind(
        f"the file cannot be read, so nobody knows what it holds: {told}",
        where=problem.where if problem.where.startswith(where) else where,
        remedy=f"Get the file again, or leave it out by its name: --set without={where} (without={where!r}).",
    )


class SearchedRelease(Release):
    """A release whose annotation files and images lie somewhere below its folder, or in archives directly in it."""

    is_folder = True
    give = "Give the folder that holds the annotation files and, somewhere below it, the images."
    first_folders: ClassVar[tuple[str, ...]] = ()

    def source(self, file: AnnotationFile) -> Source:
        """An annotation file, open for reading."""
        for candidate in self.candidates:
            if candidate.where == file.where:
                return candidate.container.open(candidate.name)
        raise ReleaseNotFoundError("the file is gone", where=file.where, remedy="Start again.")

    def resolver(self, subset: SubsetSpec) -> ImageResolver:  # noqa: ARG002 - images are not bound to a split
        """Finds the images."""
        return self._resolver

    def unknown_files(self, subset: SubsetSpec) -> list[str]:  # noqa: ARG002 - files are not bound to a split
        """Files and folders that are not read, each with the reason."""
        left_out = {one.where for one in self._layout.candidates} - {one.where for one in self.candidates}
        return sorted(
            [f"{name} (left out)" for name in left_out]
            + [f"{name} (unpack it first)" for name in self._layout.packed]
            + [f"{name} (a folder that may not be listed)" for name in self._layout.closed]
        )

    def facts(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:  # noqa: ARG002 - files are not bound to a split
        """Names, sizes and times of annotation files, archives and the folders found."""
        layout = self._layout
        found: list[tuple[Any, ...]] = [(one.where, one.size, one.stamp) for one in layout.candidates]
        # A frame can be decided differently once images are there.
        found += [(name, *file_identity(self.root / name)) for name in layout.folders]
        return found + [(str(archive.path), *file_identity(archive.path)) for archive in layout.archives]

    def origin(self, where: str) -> str:
        """Who wrote the texts of an annotation file: the release, unless `irtd construct` says that it made it."""
        return self._origins.get(where, "released")

    @cached_property
    def _origins(self) -> dict[str, str]:
        return {one.file: one.origin for one in read_marker(self.root, self.spec.name) or ()}

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Files that may hold annotations, in the order of their paths, without those that the user leaves out."""
        left_out = self.left_out(one.where for one in self._layout.candidates)
        return tuple(one for one in self._layout.candidates if one.where not in left_out)

    @cached_property
    def _layout(self) -> Layout:
        return find_layout(self.root)

    @cached_property
    def _resolver(self) -> ImageResolver:
        return ImageResolver(
            image_mounts(self._layout, self.options.images, self.first_folders, self.options.place)
        )
