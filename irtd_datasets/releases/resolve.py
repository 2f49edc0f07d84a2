"""From the name that a record gives an image to the file that a user has.

A *mount* says that names below a released folder are looked for in a container (a folder, zip or tar). A *layout* is a
row of a dataset's ``layouts.csv``: other project names, inner folders and file names under which the same images are
known, and the pixel transform that turns such a copy into the released image.

For each image the steps are: the released file name in every folder that can hold it; then the file name that the
layout's rule gives; then a file of either stem with another image extension. A step with two hits is an error that
names both; a step with one hit ends the search.
"""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.errors import AmbiguousImageError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.releases.containers import Container, FolderContainer, common_folder, open_container
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.places import as_place, same_place
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from irtd_datasets.releases.places import Place

__all__ = ["ImageResolver", "Layout", "Located", "Mount", "has_folder", "mounts_from_options", "read_layouts"]

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".jfif",
    ".jpe",
    ".jp2",
    ".j2k",
    ".pgm",
    ".ppm",
    ".pnm",
)
"""Extensions of the formats that `irtd_datasets.images` reads, the most usual first."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where else the images of a released folder are known to lie.

    Attributes:
        released_dir: Folder as the records name it; its first component is the project.
        projects: Names of the project folder, the released one first.
        inner_dirs: Folders below the project, the released one first.
        rename_from: Regular expression for the released file name, or empty.
        rename_to: Its replacement: the file name in the other layout.
        transform: Name of a pixel transform of `irtd_datasets.images.files`, or empty.
        when: ``always``, or ``renamed`` when the transform is due only for renamed files.
        meaning: One sentence for people.
    """

    released_dir: str
    projects: tuple[str, ...]
    inner_dirs: tuple[str, ...]
    rename_from: str = ""
    rename_to: str = ""
    transform: str = ""
    when: str = ""
    meaning: str = ""

    def rename(self, name: str) -> str | None:
        """File name in the other layout; None without a rule or when it does not match."""
        if not self.rename_from or not re.match(self.rename_from, name):
            return None
        return re.sub(self.rename_from, self.rename_to, name)


def read_layouts(package: str) -> dict[str, Layout]:
    """Layouts of a dataset by released folder, from the ``layouts.csv`` beside its code."""
    layouts = {}
    for row in read_table(package, "layouts.csv"):
        layouts[row["released_dir"]] = Layout(
            released_dir=row["released_dir"],
            projects=tuple(row["projects"].split("|")),
            inner_dirs=tuple(row["inner_dirs"].split("|")),
            rename_from=row["rename_from"],
            rename_to=row["rename_to"],
            transform=row["transform"],
            when=row["when"],
            meaning=row["meaning"],
        )
    return layouts


@dataclass(frozen=True, slots=True)
class Mount:
    """Names at or below ``prefix`` (empty: all names) are looked for in ``container`` below ``base``."""

    prefix: str
    container: Container
    base: str = ""

    @property
    def label(self) -> str:
        """What a user knows this place as."""
        return f"{self.container.label}/{self.base}" if self.base else self.container.label


class Located(NamedTuple):
    """Where an image was found.

    Attributes:
        mount: Position of the mount.
        member: Name inside its container.
        size: Size in bytes.
        stamp: Changes when the file changes (time of change or checksum).
        note: How it was found when not under its released name; empty otherwise.
        transform: Pixel transform that is due; empty for none.
    """

    mount: int
    member: str
    size: int
    stamp: int
    note: str = ""
    transform: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """One existing folder that can hold the images of a released folder."""

    mount: int
    folder: str


@dataclass
class ImageResolver:
    """Finds images; keeps what it learnt about folders, never a list of all files.

    Args:
        mounts: Places to look in; those that a user named come first but have no precedence.
        layouts: Known other layouts by released folder.
    """

    mounts: tuple[Mount, ...]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    _places: dict[str, tuple[_Place, ...]] = field(default_factory=dict, init=False, repr=False)
    _stems: dict[_Place, dict[str, list[str]]] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {"mounts": self.mounts, "layouts": self.layouts, "_places": {}, "_stems": {}}

    def resolve(self, name: str) -> Located | None:
        """Find the image that the records call ``name``; None when it is nowhere.

        Raises:
            AmbiguousImageError: Two files claim to be it.
            UnsafePathError: The name leaves its folder.
        """
        folder, _, file = safe_name(name).rpartition("/")
        layout = self._layout(folder)
        places = self._places.get(folder)
        if places is None:
            places = self._places[folder] = tuple(self._find_places(folder))
        always = layout.transform if layout and layout.when == "always" else ""
        exact = self._only(name, [(place, file) for place in places])
        if exact:
            place, member, size, stamp = exact
            # Found where the records say, or in a folder of another name with the same files.
            return Located(place.mount, member, size, stamp, "", always)
        renamed = layout.rename(file) if layout else None
        if renamed:
            hit = self._only(name, [(place, renamed) for place in places])
            if hit:
                place, member, size, stamp = hit
                transform = layout.transform if layout else ""
                return Located(place.mount, member, size, stamp, f"found as {renamed}", transform)
        other = self._other_suffix(name, file, places, always)
        if other is None and layout and renamed:
            return self._other_suffix(name, renamed, places, layout.transform)
        return other

    def read(self, located: Located) -> bytes:
        """Bytes of an image that was found."""
        return self.mounts[located.mount].container.read(located.member)

    def read_into(self, located: Located, room: Callable[[int], memoryview]) -> bytes | memoryview:
        """Bytes of an image that was found, in memory that ``room`` gives where they need not be unpacked first."""
        container = self.mounts[located.mount].container
        if isinstance(container, FolderContainer):
            return container.read_into(located.member, room)
        return container.read(located.member)

    def _layout(self, folder: str) -> Layout | None:
        layout = self.layouts.get(folder)
        if layout is not None:
            return layout
        # Images of a sequence lie one folder deeper than the folder that the table names.
        for released, candidate in self.layouts.items():
            if folder.startswith(released + "/"):
                return _below(candidate, folder[len(released) + 1 :])
        return None

    def _find_places(self, folder: str) -> Iterable[_Place]:
        layout = self._layout(folder)
        if layout is None:
            project, _, inner = folder.partition("/")
            layout = Layout(folder, (project,), (inner,))
        seen: set[object] = set()
        for index, mount in enumerate(self.mounts):
            # Only where one released folder lies below: files of two could have one name.
            below = [released for released in self.layouts if f"{released}/".startswith(f"{mount.prefix}/")]
            flat = below == [layout.released_dir]
            for candidate in _candidates(layout, mount.prefix, flat=flat):
                path = posixpath.join(mount.base, candidate) if candidate else mount.base
                if not has_folder(mount.container, path):
                    continue
                identity = _identity(mount.container, path)
                if identity not in seen:
                    seen.add(identity)
                    yield _Place(index, path)

    def _only(
        self, name: str, candidates: Iterable[tuple[_Place, str]]
    ) -> tuple[_Place, str, int, int] | None:
        found: list[tuple[_Place, str, int, int]] = []
        for place, file in candidates:
            member = f"{place.folder}/{file}" if place.folder else file
            entry = self.mounts[place.mount].container.find(member)
            if entry is not None:
                found.append((place, member, entry.size, entry.stamp))
        if len(found) > 1:
            raise _ambiguous(name, [self._describe(place, member) for place, member, _, _ in found])
        return found[0] if found else None

    def _other_suffix(self, name: str, file: str, places: Sequence[_Place], transform: str) -> Located | None:
        stem = posixpath.splitext(file)[0]
        hits = [(place, other) for place in places for other in self._by_stem(place).get(stem, ())]
        if not hits:
            return None
        if len(hits) > 1:
            raise _ambiguous(
                name, [self._describe(place, posixpath.join(place.folder, other)) for place, other in hits]
            )
        place, other = hits[0]
        member = posixpath.join(place.folder, other) if place.folder else other
        entry = self.mounts[place.mount].container.find(member)
        if entry is None:
            return None
        return Located(place.mount, member, entry.size, entry.stamp, f"found as {other}", transform)

    def _by_stem(self, place: _Place) -> dict[str, list[str]]:
        stems = self._stems.get(place)
        if stems is None:
            stems = self._stems[place] = {}
            for file in self.mounts[place.mount].container.folder(place.folder):
                stem, suffix = posixpath.splitext(file)
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems.setdefault(stem, []).append(file)
        return stems

    def _describe(self, place: _Place, member: str) -> str:
        return f"{self.mounts[place.mount].container.label}/{member}"


def has_folder(container: Container, name: str) -> bool:
    """Whether a container has a folder; on disk this lists nothing."""
    if isinstance(container, FolderContainer):
        return (container.path / name).is_dir()
    return bool(container.folder(name) or container.folders(name))


def _identity(container: Container, folder: str) -> tuple[str, ...]:
    """The same for two ways to one folder, such as a link inside the release."""
    if isinstance(container, FolderContainer):
        return (same_place(container.path, folder),)
    return (same_place(container.path), folder)


def _below(layout: Layout, rest: str) -> Layout:
    return Layout(
        f"{layout.released_dir}/{rest}",
        layout.projects,
        tuple(f"{inner}/{rest}" for inner in layout.inner_dirs),
        layout.rename_from,
        layout.rename_to,
        layout.transform,
        layout.when,
        layout.meaning,
    )


def _candidates(layout: Layout, prefix: str, *, flat: bool) -> list[str]:
    """Folders to look in, relative to a mount for names at or below ``prefix``.

    Args:
        layout: Where the images of a released folder can lie.
        prefix: What the mount is for.
        flat: Whether the mount may hold the files themselves without any of these folders.
    """
    if not prefix:
        return [posixpath.join(project, inner) for project in layout.projects for inner in layout.inner_dirs]
    released = layout.released_dir
    if prefix != released and not released.startswith(prefix + "/"):
        return []
    # The folder that a user names may hold the files themselves, the project's tree, or the release's whole tree.
    rest = released[len(prefix) + 1 :]
    candidates = [
        rest,
        *layout.inner_dirs,
        *(posixpath.join(p, i) for p in layout.projects for i in layout.inner_dirs),
        *([""] if flat else []),
    ]
    return list(dict.fromkeys(candidates))


def _ambiguous(name: str, candidates: list[str]) -> AmbiguousImageError:
    return AmbiguousImageError(
        f"{len(candidates)} files claim to be it: {', '.join(candidates)}",
        where=f"image {name!r}",
        remedy="Remove or rename all but one of them, or leave one place out of --images.",
    )


def mounts_from_options(
    images: Mapping[str, str | os.PathLike[str]],
    known_dirs: Sequence[str],
    open_place: Callable[[str], Place] = as_place,
    *,
    what: str = "images",
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[Mount, ...]:
    """Mounts for the places that a user named.

    Args:
        images: Released folder (or project folder, with or without its index) to path of a folder, zip or tar. An
            empty name or ``.`` stands for all of them.
        known_dirs: Folders that the records name.
        open_place: From a path or a URL to the place; knows what a URL needs besides.
        what: What is looked for there, for messages.
        layouts: Where else their images are known to lie.

    Raises:
        UnknownNameError: No record names an image below that folder; or a folder without a name has images and none
            of the folders that the records name.
        ReleaseNotFoundError: There is nothing at a path.
    """
    mounts = []
    for name, path in images.items():
        place = open_place(os.fspath(path))
        if not place.exists():
            known = ", ".join(list(dict.fromkeys(one.partition("/")[0] for one in known_dirs))[:8])
            raise ReleaseNotFoundError(
                "there is nothing at this path",
                where=f"{what} of {name!r}: {path}" if name else f"{what} {path}",
                remedy="Check the path."
                if name or not known
                else f"Write NAME=PATH: the folder that the records name, and where it lies here. They name {known}.",
            )
        prefix = _prefix(name, path, known_dirs, what)
        container = open_container(place)
        if not prefix and layouts:
            _check_unnamed(container, path, known_dirs, layouts)
        mounts.append(Mount(prefix, container))
        if not isinstance(container, FolderContainer):
            # An archive made of one folder is opened at that folder as well.
            root = common_folder(container)
            if root:
                mounts.append(Mount(prefix, container, root))
    return tuple(mounts)


def _prefix(name: str, path: str | os.PathLike[str], known_dirs: Sequence[str], what: str) -> str:
    if name in {"", "."}:
        return ""
    wanted = safe_name(name)
    prefixes = {
        "/".join(parts[:i]) for d in known_dirs for parts in [d.split("/")] for i in range(1, len(parts) + 1)
    }
    if not known_dirs or wanted in prefixes:
        return wanted
    without_index = {prefix.partition("-")[2]: prefix for prefix in sorted(prefixes) if "/" not in prefix}
    if wanted in without_index:
        return without_index[wanted]
    projects = list(dict.fromkeys(folder.partition("/")[0] for folder in known_dirs))
    raise UnknownNameError(
        f"no record names an image below {name!r}",
        where=what,
        remedy=f"{_line(wanted, path, projects, prefixes, what)}NAME=PATH takes one of {', '.join(projects)}, "
        "or a folder below it.",
    )


def _check_unnamed(
    container: Container,
    path: str | os.PathLike[str],
    known_dirs: Sequence[str],
    layouts: Mapping[str, Layout],
) -> None:
    """Refuse a folder given without a name that holds images themselves: nobody can tell of which set they are."""
    if not isinstance(container, FolderContainer):
        return
    top = {*container.folders("")}
    if any(project in top for layout in layouts.values() for project in layout.projects):
        return
    if top and not any(file.lower().endswith(IMAGE_SUFFIXES) for file in container.folder("")):
        return
    projects = list(dict.fromkeys(folder.partition("/")[0] for folder in known_dirs))
    raise UnknownNameError(
        "the folder has none of the folders that the records name, and --images does not say which of them it is",
        where=os.fspath(path),
        remedy=f"{_line(PurePath(path).name, path, projects)}Write --images NAME={os.fspath(path)}, where NAME is one "
        f"of {', '.join(projects)}.",
    )


def _line(
    name: str,
    path: str | os.PathLike[str],
    projects: Sequence[str],
    folders: Iterable[str] = (),
    what: str = "images",
) -> str:
    """The option that a user may have meant; empty where no folder or project is like the name."""
    option = "--visible" if what.startswith("visible") else "--images"
    if "/" in name and (close := difflib.get_close_matches(name, sorted(folders), n=1, cutoff=0.8)):
        return f"Did you mean `{option} {close[0]}={os.fspath(path)}`? "
    plain = re.sub(r"[^0-9a-z]", "", name.lower())
    by_plain = {re.sub(r"[^0-9a-z]", "", project.partition("-")[2].lower()): project for project in projects}
    near = [project for known, project in by_plain.items() if plain and (plain in known or known in plain)]
    if len(near) != 1:
        close = difflib.get_close_matches(plain, by_plain, n=1)
        near = [by_plain[one] for one in close]
    return f"Did you mean `{option} {near[0]}={os.fspath(path)}`? " if near else ""
