"""Fetching what a dataset needs into a folder, as far as it has direct links."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from irtd_datasets.catalog import spec
from irtd_datasets.documents import read_json, write_text
from irtd_datasets.errors import (
    AnnotationError,
    BuildError,
    IrtdDatasetsError,
    ReleaseError,
    ReleaseNotFoundError,
)
from irtd_datasets.fetching.download import download, have_part, sha256_of
from irtd_datasets.fetching.plan import DIRECT, ByHand, Wanted, by_hand, check_names, places_for, wanted_files
from irtd_datasets.releases.paths import inside
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from irtd_datasets.spec import PlaceSpec

__all__ = ["FETCHED", "FetchReport", "FileResult", "fetch"]

FETCHED = ".fetched.json"
"""What was fetched into a folder: name to size, SHA-256 and URL."""
_LOCK = ".fetch.lock"
_SPARE = 64 << 20  # bytes of the disk that stay free


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of a file.

    Attributes:
        name: Below the release.
        status: ``fetched``, ``here`` (it was there and is the released one, as far as that is known), ``to fetch``
            (when only asked), or ``failed``.
        size: Bytes; None where nobody says.
        where: URL that it comes from.
        note: What was verified, or what is wrong and what to do.
    """

    name: str
    status: str
    size: int | None
    where: str
    note: str = ""


@dataclass(slots=True)
class FetchReport:
    """What a fetch did.

    Attributes:
        dataset: Name of the dataset.
        folder: Where the files are.
        files: Those with a direct link.
        by_hand: Those that only a person can get.
    """

    dataset: str
    folder: Path
    files: list[FileResult] = field(default_factory=list)
    by_hand: list[ByHand] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing failed."""
        return all(one.status != "failed" for one in self.files)


def fetch(
    dataset: str,
    names: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    source: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> FetchReport:
    """Fetch what configs or source sets need; a file that is there already is verified instead.

    Args:
        dataset: Name of the dataset.
        names: Configs and source sets; everything without any.
        folder: Where the files go, under the names by which a build finds them; made if missing.
        source: URL of a mirror, a folder with the files under their released names.
        options: For the mirror's file system, such as credentials.
        progress: Told what goes on.
        dry_run: Whether only to say what would be done.

    Returns:
        What became of each file, and what has to be done by hand.

    Raises:
        UnknownNameError: There is no such dataset, config or source set.
        BuildError: The folder is a file, the disk is too small, or another process is fetching into the folder.
    """
    progress, declared, root = progress or Progress(), spec(dataset), Path(folder)
    places = places_for(declared, names)
    _check_folder(root)
    report = FetchReport(dataset, root)
    wanted: list[Wanted] = []
    direct = [place for place in places if _is_direct(place, source)]
    for place in _first_of_each(direct) if source else direct:
        if place.kind == "drive" and source is None:
            continue
        progress.stage(f"asking for {', '.join(place.files[:1])}")
        for found in wanted_files(place, source, options):
            if isinstance(found, Wanted):
                wanted.append(found)
            else:
                report.files.append(_failed(*found))
    check_names(wanted)
    covered = {config for place in direct for config in place.configs}
    report.by_hand += [
        by_hand(place, root, instead=bool(place.configs) and set(place.configs) <= covered)
        for place in places
        if place not in direct
    ]
    if dry_run:
        report.files += [_asked(one, root) for one in wanted]
        return report
    drives = [place for place in direct if place.kind == "drive" and source is None]
    if wanted or drives:
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / _LOCK, timeout=0):
                _check_space(wanted, root, progress)
                for one in wanted:
                    report.files.append(_one(one, root, progress))
                for place in drives:
                    report.files += _drive(place, root, progress)
        except Timeout:
            raise BuildError(
                "another process is fetching into this folder",
                where=str(root),
                remedy="Wait for it, or end it.",
            ) from None
        (root / _LOCK).unlink(missing_ok=True)
    return report


def _check_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise BuildError(
            "this is a file", where=str(root), remedy="Give --to a folder; it is made where there is none."
        )


def _is_direct(place: PlaceSpec, source: str | None) -> bool:
    if source is not None:
        return place.kind != "source" and not place.files[0].endswith("/")
    return place.kind in DIRECT or (place.kind == "drive" and importlib.util.find_spec("gdown") is not None)


def _first_of_each(places: Sequence[PlaceSpec]) -> list[PlaceSpec]:
    """Places that stand for the same files, once: a mirror has them once."""
    return list({place.files: place for place in reversed(places)}.values())[::-1]


def _failed(name: str, error: IrtdDatasetsError, where: str = "") -> FileResult:
    return FileResult(name, "failed", None, where or error.where, f"{error.problem}. {error.remedy}".strip())


def _asked(one: Wanted, root: Path) -> FileResult:
    target = inside(root, one.name)
    where = one.files.where(one.facts.name)
    if target.is_file():
        return FileResult(one.name, "here", target.stat().st_size, where, "not verified")
    have = have_part(one.facts, target)
    return FileResult(one.name, "to fetch", one.facts.size, where, f"{have:,} bytes are here" if have else "")


def _check_space(wanted: Sequence[Wanted], root: Path, progress: Progress) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        BuildError: It is too small.
    """
    missing = [one for one in wanted if not inside(root, one.name).is_file()]
    needed = sum((one.facts.size or 0) - have_part(one.facts, inside(root, one.name)) for one in missing)
    free = shutil.disk_usage(root).free
    progress.total(sum(one.facts.size or 0 for one in missing))
    if needed > free - _SPARE:
        raise BuildError(
            f"{needed:,} bytes are to be fetched, and {free:,} are free",
            where=str(root),
            remedy="Free some space or name a folder on another disk (--to); a build can also read the release where "
            f"it lies: --release {wanted[0].files.url}.",
        )


def _one(one: Wanted, root: Path, progress: Progress) -> FileResult:
    """Fetch or verify one file."""
    where, target = one.files.where(one.facts.name), inside(root, one.name)
    expected = one.sha256 or one.facts.sha256
    if target.is_file():
        progress.stage(f"verifying {one.name}")
        size = target.stat().st_size
        known = one.size if one.size is not None else one.facts.size
        if expected and sha256_of(target) != expected:
            problem = "what is here is not the released file: its SHA-256 differs"
        elif known is not None and size != known:
            problem = f"what is here has {size:,} bytes, the released file {known:,}"
        else:
            _remember(root, one, target, expected)
            return FileResult(one.name, "here", size, where, _verified(expected))
        return FileResult(
            one.name,
            "failed",
            size,
            where,
            f"{problem}. Move {target} away and start the same command again.",
        )
    if one.size is not None and one.facts.size not in (None, one.size):
        problem = f"the server has a file of {one.facts.size:,} bytes, the released one has {one.size:,}"
        return FileResult(
            one.name, "failed", one.facts.size, where, f"{problem}. Take another mirror (--from URL)."
        )
    progress.stage(f"fetching {one.name}")
    try:
        found, note = download(one.files, one.facts, target, one.sha256, progress.advance)
    except ReleaseError as error:
        return _failed(one.name, error, where)
    _remember(root, one, target, found)
    told = _verified(expected)
    return FileResult(one.name, "fetched", target.stat().st_size, where, f"{told}; {note}" if note else told)


def _verified(expected: str) -> str:
    return "size and SHA-256 verified" if expected else "size verified; its SHA-256 is not known"


def _remember(root: Path, one: Wanted, target: Path, sha256: str) -> None:
    """Note what a file was when it came, for `irtd doctor --hashes`."""
    if not sha256:
        return
    known = fetched_before(root)
    known[one.name] = {
        "size": target.stat().st_size,
        "sha256": sha256,
        "url": one.files.where(one.facts.name),
    }
    write_text(root / FETCHED, json.dumps(known, indent=1))


def fetched_before(root: Path) -> dict[str, dict[str, Any]]:
    """What was fetched into a folder, by name; empty where nothing was, or the note of it is damaged."""
    try:
        values = read_json(root / FETCHED, "")
        return {
            name: {"size": one["size"].count(), "sha256": one["sha256"].text(), "url": one["url"].text()}
            for name, one in values.items()
        }
    except (AnnotationError, ReleaseNotFoundError):
        return {}


def _drive(place: PlaceSpec, root: Path, progress: Progress) -> list[FileResult]:
    """Have gdown fetch a folder of Google Drive, and look at what came."""
    import gdown

    progress.stage(f"fetching {place.url}")
    try:
        found = gdown.download_folder(url=place.url, output=str(root), quiet=True, resume=True)
    except Exception as error:  # noqa: BLE001 - of a library without a base of its own errors in all versions
        problem = f"Google Drive gives it not now: {type(error).__name__}: {str(error)[:200]}"
        return [FileResult(", ".join(place.files), "failed", None, place.url, f"{problem}. {place.steps}")]
    results = []
    for path in map(Path, map(str, found or ())):
        name = path.name
        if not path.is_file():
            results.append(FileResult(name, "failed", None, place.url, f"it did not come. {place.steps}"))
            continue
        from irtd_datasets.releases.sniff import read_head, sniff

        if sniff(read_head(path)) in {"html", "empty"}:
            path.unlink()
            problem = "a web page came in its place: a quota is used up, or the link is not public any more"
            results.append(FileResult(name, "failed", None, place.url, f"{problem}. {place.steps}"))
            continue
        results.append(
            FileResult(name, "fetched", path.stat().st_size, place.url, "its size and SHA-256 are not known")
        )
    if not results:
        results.append(
            FileResult(", ".join(place.files), "failed", None, place.url, f"nothing came. {place.steps}")
        )
    return results
