"""What a constructed subset must not contain: images, sequences and looks that other subsets of the folder have."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.folder.row_groups import config_files, config_names, read_groups
from irtd_datasets.hub.image_hash import FLAT, hamming, look
from irtd_datasets.releases.resolve import read_layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.releases.resolve import Layout
    from irtd_datasets.sources import SourceRow

__all__ = ["LIKE_OTHER_SUBSET", "LIKE_OWN", "Exclusion", "Looks"]

LIKE_OTHER_SUBSET = 6
"""Bits of 64 up to which an image counts as one of another subset: re-encoded copies differ in at most so many."""
LIKE_OWN = 2
"""Bits of 64 up to which two images of one source count as the same frame; neighbouring frames differ in 2 to 8, and
fixed cameras see the same street for hours, so more would leave nothing of their sets."""


@dataclass(slots=True)
class Looks:
    """Perceptual hashes of images, and digests of their files."""

    bits: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: dict[bytes, str] = field(default_factory=dict)
    _array: np.ndarray[tuple[int], np.dtype[np.uint64]] | None = None

    def add(self, name: str, data: bytes, bits: int | None) -> None:
        """Remember an image; ``bits`` is None where it is too flat for a hash."""
        self.files[hashlib.sha256(data).digest()] = name
        if bits is not None:
            self.bits.append(bits)
            self.names.append(name)
            self._array = None

    def nearest(self, data: bytes, bits: int | None, most: int) -> str | None:
        """Name of an image with the same bytes, or with a hash that differs in at most ``most`` bits."""
        same = self.files.get(hashlib.sha256(data).digest())
        if same is not None or bits is None or not self.bits:
            return same
        if self._array is None:
            self._array = np.array(self.bits, np.uint64)
        distances = hamming(self._array, np.full(len(self._array), bits, np.uint64))
        best = int(distances.argmin())
        return self.names[best] if distances[best] <= most else None


@dataclass(slots=True)
class Exclusion:
    """Images of dataset folders.

    Attributes:
        names: Names that their images can have: project folder, inner folder, file.
        videos: Names of folders that their images lie in, for sources whose folders are videos.
        looks: What they look like.
        folders: The folders read, with the subsets taken.
    """

    names: set[str] = field(default_factory=set)
    videos: set[tuple[str, str]] = field(default_factory=set)
    looks: Looks = field(default_factory=Looks)
    folders: list[str] = field(default_factory=list)
    unreadable: int = 0

    def read(
        self, folder: Path, subsets: Iterable[str], tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Add the images of some subsets of a dataset folder, as far as it has them.

        Raises:
            AnnotationError: A file of the folder is damaged.
        """
        layouts = read_layouts("irtd_datasets.irtd")
        present = config_names(folder)
        for subset in subsets:
            if subset not in present:
                continue
            self.folders.append(f"{folder} {subset}")
            tell(f"reading the images of {subset}")
            files = [file for found in config_files(folder, subset).values() for file in found]
            for _, table in read_groups(files, ["image"]):
                for image in table.column("image").to_pylist():
                    self._add(image["path"], image["bytes"], layouts)

    def _add(self, name: str, data: bytes, layouts: dict[str, Layout]) -> None:
        if name in self.names:
            return
        self.names.update(aliases(name, layouts))
        project = name.partition("/")[0]
        self.videos.add((_bare(project), posixpath.basename(posixpath.dirname(name))))
        self.looks.add(name, data, bits_of(data, name))

    def why_not(self, candidate: Candidate, row: SourceRow) -> str:
        """Why a candidate cannot be taken by its names alone; empty where it can."""
        names = {f"{folder}/{candidate.image}" for folder in (row.project_dir, row.name) if folder}
        if names & self.names:
            return "image of another subset"
        if candidate.sequence is not None:
            video = candidate.sequence.rpartition("/")[2]
            if any((_bare(folder), video) in self.videos for folder in (row.project_dir, row.name)):
                return "video of another subset"
        return ""


def aliases(name: str, layouts: dict[str, Layout]) -> set[str]:
    """All names under which an image of the release may lie in its source set.

    Example:
        >>> found = aliases("23-RGBTCrowdCounting/train/1162_Grey.jpg", read_layouts("irtd_datasets.irtd"))
        >>> "RGBT-CC/train/1162_T.jpg" in found
        True
    """
    found = {name}
    for released, layout in layouts.items():
        if name.startswith(f"{released}/"):
            rest = name[len(released) + 1 :]
            folder, _, file = rest.rpartition("/")
            files = {file, layout.rename(file) or file}
            for project in layout.projects:
                for inner in layout.inner_dirs:
                    found.update(posixpath.join(project, inner, folder, one) for one in files)
    return found


def bits_of(data: bytes, name: str) -> int | None:
    """Perceptual hash; None for an image that is too flat for one.

    Raises:
        ImageError: It cannot be decoded.
    """
    seen = look(data, name)
    return None if seen.contrast < FLAT else seen.bits


def _bare(project: str) -> str:
    """A project's name without its number in the list."""
    number, dash, name = project.partition("-")
    return name if dash and number.isdigit() else project
