"""Which files a dataset needs, and where each comes from: by a direct link, or by hand with the steps for it."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irtd_datasets.errors import IrtdDatasetsError, ReleaseError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.remote.files import open_files
from irtd_datasets.spec import PlaceSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from irtd_datasets.remote.files import Files, RemoteFile
    from irtd_datasets.spec import DatasetSpec

__all__ = ["DIRECT", "ByHand", "Wanted", "by_hand", "places_for", "wanted_files"]

DIRECT = ("web", "hub")
"""Kinds of places that need nothing but this library; a folder of Google Drive needs gdown."""
_HOSTS = {"baidu": "Baidu Netdisk", "onedrive": "OneDrive", "drive": "Google Drive"}
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that can be fetched.

    Attributes:
        name: Where it goes, below the release.
        files: Where it lies.
        facts: What the server says of it.
        size: Bytes of the released file, where they are known.
        sha256: Of the released file, where it is known.
    """

    name: str
    files: Files
    facts: RemoteFile
    size: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class ByHand:
    """Files that only a person can get.

    Attributes:
        files: Their names below the release, or patterns of them.
        configs: Configs that need them.
        where: Site, link, access code, or what the table of sources says.
        licence: Terms.
        steps: What to do, and where to put what comes.
        here: Whether they lie in the folder already.
        instead: Whether another place of the same configs has a direct link.
    """

    files: tuple[str, ...]
    configs: tuple[str, ...]
    where: str
    licence: str
    steps: str
    here: bool
    instead: bool = False


def places_for(spec: DatasetSpec, names: Sequence[str]) -> list[PlaceSpec]:
    """The places of configs and source sets; of the whole dataset without any.

    Raises:
        UnknownNameError: A name is neither a config nor a source set.
    """
    found: list[PlaceSpec] = [] if names else list(spec.places)
    for name in names:
        if any(config.name == name for config in spec.configs):
            members = set(spec.config(name).members)
            found += [
                place
                for place in spec.places
                if any(members & set(spec.config(config).members) for config in place.configs)
            ]
        else:
            found.append(_source_place(spec, name))
    return list(dict.fromkeys(found))


def _source_place(spec: DatasetSpec, name: str) -> PlaceSpec:
    from irtd_datasets.sources import TABLE, get

    try:
        row = get(name)
    except UnknownNameError:
        known = [*(config.name for config in spec.configs), *(one.name for one in TABLE if one.name)]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise UnknownNameError(
            f"{spec.name} has no config {name!r}, and there is no source set of that name",
            remedy=f"{hint}`irtd list {spec.name}` has the configs, `irtd sources` the source sets.",
        ) from None
    return PlaceSpec((), (f"{row.project_dir or row.name}/",), "source", row.name, "", None, "", "", "", "")


def wanted_files(
    place: PlaceSpec, source: str | None, options: Mapping[str, Any] | None
) -> Iterator[Wanted | tuple[str, IrtdDatasetsError]]:
    """The files of a place with a direct link, or of a mirror in its stead; name and reason of one that is not there.

    Args:
        place: The place.
        source: URL of a folder that has the files under their released names; None for the place itself.
        options: For its file system.
    """
    base, _, last = place.url.rpartition("/")
    one_file = source is None and place.kind == "web"
    files = open_files(base if one_file else source or place.url, options)
    known = (place.size, place.sha256) if len(place.files) == 1 else (None, "")
    for pattern in place.files:
        if pattern.endswith("/"):
            continue
        try:
            names = [last if one_file else pattern]
            if "*" in pattern:
                names = [name for name in _walk(files) if fnmatch.fnmatchcase(name, pattern)]
            if not names:
                raise ReleaseNotFoundError(
                    f"there is no file {pattern}, or the server lists none",
                    where=files.url,
                    remedy="Check the URL of the mirror: it names the folder that has the files.",
                )
        except IrtdDatasetsError as error:
            yield pattern, error
            continue
        for name in names:
            target = pattern if one_file else name
            try:
                yield Wanted(
                    target, files, _found(files, name), *(known if "*" not in pattern else (None, ""))
                )
            except ReleaseNotFoundError as error:
                yield target, error
            except IrtdDatasetsError as error:  # of the server, which would say the same of every other file
                yield target if len(place.files) == 1 else f"{target} ... {place.files[-1]}", error
                return


def _found(files: Files, name: str) -> RemoteFile:
    facts = files.find(name)
    if facts is None or facts.size is None:
        raise ReleaseNotFoundError(
            "the file is not there: the link has moved, or a piece is missing",
            where=files.where(name),
            remedy="Look at the project's page (`irtd list` has it) for a new link, and give a folder with the files "
            "as `--from URL`.",
        )
    return facts


def _walk(files: Files, folder: str = "", depth: int = 0) -> Iterator[str]:
    for name, entry in sorted((files.listing(folder) or {}).items()):
        inner = f"{folder}/{name}" if folder else name
        if name.startswith(".") or inner == "README.md":
            continue
        if entry.size is not None:
            yield inner
        elif depth < _DEPTH:
            yield from _walk(files, inner, depth + 1)


def by_hand(place: PlaceSpec, folder: Path, *, instead: bool) -> ByHand:
    """What a person has to do for the files of a place."""
    here = all(_is_here(folder, pattern) for pattern in place.files)
    put = (
        f"Put it into {folder}."
        if place.kind != "source" and "*" not in place.files
        else f"Put them into {folder}."
    )
    if place.kind != "source":
        code = f", code {place.code}" if place.code else ""
        licence = place.licence or "unknown"
        return ByHand(
            place.files,
            place.configs,
            f"{_HOSTS[place.kind]} {place.url}{code}",
            licence,
            f"{place.steps} {put}",
            here,
            instead,
        )
    from irtd_datasets.sources import get

    row = get(place.url)
    if row.status == "unnamed" or "withheld" in row.access:
        access, steps = row.access or "withheld by the authors", ""
    else:
        access, steps = (
            row.access or "unknown",
            place.steps or f"Put its folder into {folder} as {place.files[0]}.",
        )
    return ByHand(
        place.files, place.configs, f"{row.name}: {access}", row.terms or "unknown", steps, here, instead
    )


def _is_here(folder: Path, pattern: str) -> bool:
    if pattern == "*":
        return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    if not folder.is_dir():
        return False
    found = [path for path in folder.glob(pattern.rstrip("/")) if not path.name.endswith(".part")]
    return any(path.is_dir() == pattern.endswith("/") for path in found)


def check_names(wanted: Sequence[Wanted]) -> None:
    """Refuse two files for one name.

    Raises:
        ReleaseError: There are such.
    """
    seen: dict[str, str] = {}
    for one in wanted:
        where = one.files.where(one.facts.name)
        if seen.setdefault(one.name, where) != where:
            raise ReleaseError(
                f"{seen[one.name]} and {where} are both {one.name}", remedy="Fetch one of them."
            )
