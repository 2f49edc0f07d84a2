"""The files of a dataset folder that belong onto the Hub, and what the manifest says of them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import BUILT_MARKER
from irtd_datasets.errors import PublishError, summarize
from irtd_datasets.training.index import INDEX_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.hub.remote import RemoteFile

__all__ = ["DOCUMENTS", "FolderFiles", "LocalFile", "read_folder"]

DOCUMENTS = ("README.md", BUILT_MARKER, "ledger.json", "croissant.json")
"""Files beside the shards that a build writes."""
_BUILD_AGAIN = "Start the same `irtd build` again; it goes on where it was."


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is to be published.

    Attributes:
        path: Its path in folder and repository.
        file: Where it is.
        size: Its size in bytes.
        sha256: What the manifest says of a shard; empty for a document.
    """

    path: str
    file: Path
    size: int
    sha256: str

    def is_same(self, there: RemoteFile | None) -> bool:
        """Whether the repository has just this content. Documents are read for it, shards go by the manifest."""
        if there is None or there.size != self.size:
            return False
        if there.sha256:
            return there.sha256 == (self.sha256 or hashlib.sha256(self.file.read_bytes()).hexdigest())
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
        dataset: Name of its dataset.
        version: Version of its dataset.
        files: Files to publish, by path.
        left_out: Other files in it, which are not published.
    """

    root: Path
    dataset: str
    version: str
    files: dict[str, LocalFile]
    left_out: tuple[str, ...]

    @property
    def shards(self) -> list[LocalFile]:
        """The Parquet files."""
        return [file for file in self.files.values() if file.sha256]


def shard_hashes(manifest: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each shard and each index that a manifest lists, by path."""
    shards = {
        str(shard["file"]): (int(shard["summary"]["size"]), str(shard["summary"]["sha256"]))
        for part in manifest["parts"]
        for shard in part["shards"]
    }
    indexes = {
        str(path): (int(known["bytes"]), str(known["sha256"]))
        for path, known in manifest.get("files", {}).items()
        if path.startswith(f"{INDEX_FOLDER}/")
    }
    return shards | indexes


def read_folder(folder: Path) -> FolderFiles:
    """Find what is to be published; nothing is read but the manifest.

    Files that no build writes are left out, and nothing is followed out of the folder.

    Raises:
        PublishError: It is no finished dataset folder, or a file is missing or has another size.
    """
    manifest = _manifest(folder)
    if (folder / ".build").exists():
        raise PublishError("a build is at work here, or was killed", where=str(folder), remedy=_BUILD_AGAIN)
    try:
        shards = shard_hashes(manifest)
        dataset, version = str(manifest["dataset"]), str(manifest["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise PublishError(
            f"it is no manifest of a build: {error!r}", where=str(folder / BUILT_MARKER), remedy=_BUILD_AGAIN
        ) from error
    present = _present(folder)
    files, wrong = {}, []
    for path in (*DOCUMENTS, *shards):
        size, sha256 = shards.get(path, (None, ""))
        file = present.get(path)
        if file is None:
            if path != "croissant.json":
                wrong.append(f"{path}: it is missing")
            continue
        if not file.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{path}: it leads out of the folder")
            continue
        found = file.stat().st_size
        if size is not None and found != size:
            wrong.append(f"{path}: it has {found:,} bytes, the manifest says {size:,}")
        files[path] = LocalFile(path, file, found, sha256)
    if wrong:
        raise PublishError(
            f"the folder is not as it was built:\n{summarize(wrong)}", where=str(folder), remedy=_BUILD_AGAIN
        )
    if not shards:
        raise PublishError(
            "the folder has no row to publish",
            where=str(folder),
            remedy="`irtd doctor` says what the release lacks.",
        )
    left_out = tuple(sorted(path for path in present if path not in files))
    return FolderFiles(folder, dataset, version, files, left_out)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / BUILT_MARKER
    remedy = "Name a folder that `irtd build` has finished."
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PublishError(
            f"this is no dataset folder: it has no {BUILT_MARKER}", where=str(folder), remedy=remedy
        ) from None
    except (OSError, ValueError) as error:
        raise PublishError(f"it cannot be read: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(manifest, dict):
        raise PublishError("it is no JSON object", where=str(path), remedy=remedy)
    return manifest


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
