"""Compares the files of a release with what the released ones are known to be, byte by byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irtd_datasets.catalog import spec
from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.fetching.run import FETCHED, fetched_before
from irtd_datasets.releases.containers import FolderContainer, ZipContainer, open_container
from irtd_datasets.spec import KnownHash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from irtd_datasets.releases.containers import Container
    from irtd_datasets.rows.release import ReleaseOptions

__all__ = ["ComparedFile", "compare_hashes"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ComparedFile:
    """A file of a release.

    Attributes:
        where: Its path below the release; of a member, behind that of its archive.
        status: ``same``, ``differs``, ``unreadable``, ``repacked`` (another archive of the released members) or
            ``unknown`` (nobody knows what it has to be).
        note: How the released one is known, or what is wrong.
    """

    where: str
    status: str
    note: str


def compare_hashes(dataset: str, options: ReleaseOptions) -> list[ComparedFile]:
    """Compare what lies in a release, and one folder below, with the known hashes.

    Files of images are left aside where there is no hash for any of them.

    Args:
        dataset: Name of the dataset.
        options: Where the release lies.
    """
    known = {one.file: one for one in spec(dataset).hashes}
    root = options.place(options.root)
    container = open_container(root)
    if not isinstance(container, FolderContainer):
        return list(_members(container, container.label, known))
    fetched = {}
    if not options.storage and options.root == str(root):
        from pathlib import Path

        fetched = {
            name: KnownHash(name, one["size"], one["sha256"], f"as fetched from {one['url']}")
            for name, one in fetched_before(Path(options.root)).items()
        }
    found: list[ComparedFile] = []
    for name in _names(container, {*known, *fetched}):
        one = fetched.get(name) or known.get(name.rpartition("/")[2])
        found += _compare(container, name, known.get(name.rpartition("/")[2]) or one, known)
    return found


def _names(container: FolderContainer, known: set[str]) -> Iterator[str]:
    """Files directly in a release, and those with a known name in its folders."""
    yield from (name for name in container.folder() if not name.startswith(".") and name != FETCHED)
    for folder in container.folders():
        for name in container.folder(folder):
            if name in known or f"{folder}/{name}" in known:
                yield f"{folder}/{name}"


def _compare(
    container: Container, name: str, one: KnownHash | None, known: dict[str, KnownHash]
) -> Iterator[ComparedFile]:
    if one is None:
        yield ComparedFile(name, "unknown", "nobody has said what its bytes are")
        return
    compared = _judge(container, name, name, one)
    if compared.status != "differs" or not name.endswith(".zip"):
        yield compared
        return
    # What an archive is made of tells more than that it is another one.
    try:
        members = list(_members(ZipContainer(container.path / name), name, known))
    except IrtdDatasetsError as error:
        yield ComparedFile(name, "unreadable", error.problem)
        return
    if members and all(member.status == "same" for member in members):
        yield ComparedFile(name, "repacked", "another archive, whose members are the released ones")
        return
    yield compared
    yield from (member for member in members if member.status != "same")


def _members(archive: Container, label: str, known: dict[str, KnownHash]) -> Iterator[ComparedFile]:
    names = {name.rpartition("/")[2]: name for name in archive.names()}
    expected = [one for one in known.values() if one.file != label.rpartition("/")[2]]
    for one in expected:
        if one.file in names:
            yield _judge(archive, names[one.file], f"{label}/{names[one.file]}", one)
        else:
            yield ComparedFile(f"{label}/{one.file}", "differs", "it is not there")


def _judge(container: Container, name: str, where: str, one: KnownHash) -> ComparedFile:
    try:
        entry = container.find(name)
        if entry is not None and entry.size != one.size:
            return ComparedFile(
                where, "differs", f"{entry.size:,} bytes, the released file has {one.size:,} ({one.evidence})"
            )
        with container.open(name) as file:
            same = _sha256(file) == one.sha256
    except (IrtdDatasetsError, OSError) as error:
        return ComparedFile(where, "unreadable", getattr(error, "problem", str(error)))
    return ComparedFile(where, "same" if same else "differs", one.evidence)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
