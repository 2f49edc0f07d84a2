"""The files of a dataset folder that belong onto the Hub: those that its manifest lists, and the manifest."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from irtd_datasets.documents import write_text
from irtd_datasets.errors import AnnotationError, PublishError, ReleaseNotFoundError, summarize
from irtd_datasets.folder.card import in_repository as named_in_card
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.names import CARD, MANIFEST, STAGING

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.hub.remote import RemoteFile

__all__ = ["FolderFiles", "LocalFile", "in_repository", "read_folder"]

_BUILD_AGAIN = "Start the same `irtd build` again; it resumes where it stopped."


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is to be published.

    Attributes:
        path: Its path in folder and repository.
        file: Where it is.
        size: Its size in bytes.
        sha256: What the manifest says of it; of the manifest itself, what it is.
    """

    path: str
    file: Path
    size: int
    sha256: str

    def is_same(self, there: RemoteFile | None) -> bool:
        """Whether the repository has just this content. Small files are read for it, others go by the manifest."""
        if there is None or there.size != self.size:
            return False
        if there.sha256:
            return there.sha256 == self.sha256
        content = self.file.read_bytes()
        return (
            there.git
            == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        )


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """What is to be published of a folder.

    Attributes:
        root: The folder.
        manifest: Its manifest.
        files: Files to publish, by path.
        left_out: Other files in it, which are not published.
    """

    root: Path
    manifest: Manifest
    files: dict[str, LocalFile]
    left_out: tuple[str, ...]

    @property
    def shards(self) -> list[LocalFile]:
        """The Parquet files that hold rows."""
        return [self.files[name] for name in self.manifest.shards]


def read_folder(folder: Path) -> FolderFiles:
    """Find what is to be published; nothing is read but the manifest.

    Files that no build writes are left out, and nothing is followed out of the folder.

    Raises:
        PublishError: It is no finished dataset folder, or a file is missing or has another size.
    """
    try:
        manifest = Manifest.read(folder)
        itself = Listed.of((folder / MANIFEST).read_bytes())
    except (ReleaseNotFoundError, AnnotationError, OSError) as error:
        problem = error.problem if isinstance(error, (ReleaseNotFoundError, AnnotationError)) else str(error)
        raise PublishError(
            f"this is no dataset folder that a build has finished: {problem}",
            where=str(folder / MANIFEST),
            remedy=f"Name a folder that `irtd build` has finished. {_BUILD_AGAIN}",
        ) from error
    if (folder / STAGING).exists():
        raise PublishError("a build is at work here, or was killed", where=str(folder), remedy=_BUILD_AGAIN)
    present = _present(folder)
    files, wrong = {}, []
    for path, listed in {**manifest.files, MANIFEST: itself}.items():
        file = present.get(path)
        if file is None:
            wrong.append(f"{path}: it is missing")
        elif not file.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{path}: it leads out of the folder")
        elif (found := file.stat().st_size) != listed.size:
            wrong.append(f"{path}: it has {found:,} bytes, the manifest says {listed.size:,}")
        else:
            files[path] = LocalFile(path, file, listed.size, listed.sha256)
    if wrong:
        raise PublishError(
            f"the folder is not as it was built:\n{summarize(wrong)}",
            where=str(folder),
            remedy=f"`irtd check` says what to do about each. For a missing or cut file: {_BUILD_AGAIN}",
        )
    if not manifest.shards:
        raise PublishError(
            "the folder has no row to publish",
            where=str(folder),
            remedy="`irtd doctor` says what the release lacks.",
        )
    left_out = tuple(sorted(path for path in present if path not in files))
    return FolderFiles(folder, manifest, files, left_out)


def in_repository(local: FolderFiles, repository: str, room: Path) -> FolderFiles:
    """What is to be published, with a card whose examples name the repository.

    Args:
        local: What the folder has.
        repository: ``owner/name``.
        room: Where the card and the manifest are written: the folder itself, or another one to leave that alone.

    Raises:
        OSError: They cannot be written.
    """
    text = local.files[CARD].file.read_text(encoding="utf-8")
    card = named_in_card(text, repository)
    if card == text:
        return local
    manifest = replace(local.manifest, others={**local.manifest.others, CARD: Listed.of(card)})
    files = dict(local.files)
    for name, content in {CARD: card, MANIFEST: manifest.render()}.items():
        write_text(room / name, content)
        listed = Listed.of(content)
        files[name] = LocalFile(name, room / name, listed.size, listed.sha256)
    return replace(local, manifest=manifest, files=files)


def _present(folder: Path) -> dict[str, Path]:
    """Files below a folder by their path in it, hidden ones left out, links to folders not followed."""
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = folder / os.path.relpath(root, folder)
        for name in sorted(names):
            if not name.startswith("."):
                found[(inner / name).relative_to(folder).as_posix()] = inner / name
    return found
