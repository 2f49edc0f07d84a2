"""Where annotation files can lie in a folder of unknown layout, found without listing folders full of images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.releases.containers import Container, FolderContainer, common_folder, open_container
from irtd_datasets.releases.resolve import Mount, mounts_from_options
from irtd_datasets.releases.sniff import read_head, sniff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Candidate", "Layout", "find_layout", "image_mounts"]

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
_FIRST_FOLDERS = ("data", "images", "RS-GPT4V", "RS_GPT4V", "rs_gpt4v")


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
    """

    root: FolderContainer
    archives: tuple[Container, ...]
    candidates: tuple[Candidate, ...]
    folders: tuple[str, ...]
    packed: tuple[str, ...]
    unread: tuple[str, ...]


def find_layout(root: Path) -> Layout:
    """Search the top levels of a release.

    Args:
        root: An existing folder.
    """
    folder = FolderContainer(root)
    found: list[Candidate] = []
    archives: list[Container] = []
    packed: list[str] = []
    unread: list[str] = []
    seen: list[str] = []
    waiting = [""]
    while waiting and len(seen) < FOLDERS:
        name = waiting.pop(0)
        files, folders, complete = _listing(root / name if name else root, None if not name else ENTRIES)
        seen.append(name)
        if not complete:
            unread.append(name)
            continue
        prefix = f"{name}/" if name else ""
        for file in files:
            lower = file.lower()
            if lower.endswith(_ANNOTATIONS):
                entry = folder.find(prefix + file)
                if entry is not None:
                    found.append(Candidate(folder, prefix + file, prefix + file, entry.size, entry.stamp))
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
    return Layout(folder, tuple(archives), tuple(found), tuple(seen), tuple(packed), tuple(unread))


def _listing(path: Path, most: int | None) -> tuple[list[str], list[str], bool]:
    """Sorted files and folders of a folder, and whether these are all; at most ``most`` entries are looked at."""
    files, folders = [], []
    try:
        with os.scandir(path) as entries:
            for entry in islice(entries, most):
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
            complete = next(entries, None) is None
    except OSError:
        return [], [], False  # not ours to read: reported as a folder that was not searched
    return sorted(files), sorted(folders), complete


def _in_archive(archive: Container) -> list[Candidate]:
    found = []
    for name in archive.names():  # the index of an archive is in memory
        if name.lower().endswith(_ANNOTATIONS) and name.count("/") <= DEPTH and "__MACOSX" not in name:
            entry = archive.find(name)
            if entry is not None:
                found.append(Candidate(archive, name, f"{archive.label}/{name}", entry.size, entry.stamp))
    return found


def image_mounts(layout: Layout, images: Mapping[str, str]) -> tuple[Mount, ...]:
    """Places where images are looked for, the user's own first.

    The names of images may be relative to the release, to a folder in it, or have a first folder that is not there.
    The mounts depend on the folders alone, so that every process has the same.

    Args:
        layout: The release.
        images: Released folder to path, as the user gave them.

    Raises:
        ReleaseNotFoundError: There is nothing at a path that the user gave.
    """
    mounts = list(mounts_from_options(images, ()))
    mounts += [Mount("", layout.root, folder) for folder in layout.folders if folder.count("/") <= 1]
    for first in dict.fromkeys((layout.root.label, *_FIRST_FOLDERS)):
        if first not in layout.folders:
            mounts.append(Mount(first, layout.root))
    for archive in layout.archives:
        try:
            top = common_folder(archive)
        except IrtdDatasetsError:
            continue
        mounts += [Mount("", archive, base) for base in dict.fromkeys(("", top))]
    return tuple(mounts)
