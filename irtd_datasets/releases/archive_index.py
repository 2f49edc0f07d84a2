"""What one pass over a remote archive learns, kept for the next: its members, and where its gzip stream can be entered.

The first pass reads all of an archive, since nobody knows where in it the annotation files lie. It notes name, place
and size of each member, and rapidgzip keeps the points from which the stream inflates. Later passes, of this process or
another, read the stretches with the members that they want. An archive is known by URL, size and mark of its pieces, so
that another one is never taken for it. Nothing is kept of a pass that did not reach the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.tar_headers import TarHeader

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

__all__ = ["ArchiveIndex", "archive_folder", "can_index", "known_members", "open_inflated"]

_log = logging.getLogger(__name__)
_MEMBERS, _POINTS, _DONE = "members.jsonl", "points.gzidx", "done.json"


def archive_folder(identity: tuple[Any, ...]) -> Path:
    """Folder in the user's cache for what is known of an archive."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "irtd_datasets" / "archives" / hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


def known_members(folder: Path, size: int) -> Iterator[tuple[str, int]] | None:
    """Name and size of each file of an archive of so many bytes; None where no pass has come to its end."""
    index = ArchiveIndex(folder, "", size, gzip=True)
    if not index.complete:
        return None
    return ((safe_name(header.name), header.size) for header in index.members())


def can_index() -> bool:
    """Whether the library is there that finds its way in a gzip stream."""
    return importlib.util.find_spec("rapidgzip") is not None


def open_inflated(joined: io.RawIOBase, points: Path | None = None) -> Any:  # noqa: ANN401 - it has no types
    """A gzip stream as the file that it holds, which may be read from any place once its points are known."""
    import rapidgzip

    file = rapidgzip.RapidgzipFile(joined, parallelization=1)
    if points is not None:
        file.import_index(str(points))
    return file


class ArchiveIndex:
    """The members of an archive as a folder keeps them; used as a context around a pass.

    Args:
        folder: Where they are kept.
        label: The archive, for messages.
        size: Bytes of its pieces.
        gzip: Whether it is compressed.
    """

    def __init__(self, folder: Path, label: str, size: int, *, gzip: bool) -> None:
        self.folder = folder
        self._label = label
        self._size = size
        self._gzip = gzip
        self._file: Any = None
        self._count = 0
        self._lock = FileLock(folder / "lock", timeout=0)
        self.complete = self._load()

    @property
    def points(self) -> Path | None:
        """Where a gzip stream can be entered."""
        return self.folder / _POINTS if self._gzip else None

    def _load(self) -> bool:
        try:
            done = read_json(self.folder / _DONE, "")
            same = done["size"].count() == self._size
            return same and (self.folder / _MEMBERS).stat().st_size == done["members"].count()
        except (AnnotationError, ReleaseNotFoundError, OSError):
            return False

    def members(self) -> Iterator[TarHeader]:
        """The files of the archive in stored order."""
        with (self.folder / _MEMBERS).open(encoding="utf-8") as file:
            for line in file:
                name, offset, size = json.loads(line)
                yield TarHeader(name, "file", size, offset, "")

    def begin(self) -> None:
        """Say what is going to be read, and take what is learnt of it."""
        kept = self._gzip is False or can_index()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = f"{shutil.disk_usage(self.folder).free / 1e9:,.1f} GB are free there"
            if kept:
                self._lock.acquire()
                self._file = (self.folder / f".{_MEMBERS}").open("w", encoding="utf-8")
        except (OSError, Timeout) as error:
            kept, free = False, f"nothing can be kept ({type(error).__name__})"
        later = (
            f"what it learns of it is kept in {self.folder} ({free}), and later reads fetch what they need only"
            if kept
            else "`pip install rapidgzip` lets later passes read what they need only"
            if not can_index()
            else free
        )
        _log.warning(
            "%s: this pass reads all of it, %s bytes, to find out what is in it; %s",
            self._label,
            f"{self._size:,}",
            later,
        )

    def add(self, header: TarHeader) -> None:
        """Note a member."""
        if self._file is not None and header.kind == "file":
            self._file.write(json.dumps([header.name, header.offset, header.size]) + "\n")
            self._count += 1

    def finish(self, inflated: Any) -> None:  # noqa: ANN401 - of `open_inflated`; None for a plain tar
        """Keep what was noted: the pass has come to the end."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a full disk: then the next pass reads all of it again
            self._file.close()
            if inflated is not None:
                unfinished = self.folder / f".{_POINTS}"
                inflated.export_index(str(unfinished))
                unfinished.replace(self.folder / _POINTS)
            (self.folder / f".{_MEMBERS}").replace(self.folder / _MEMBERS)
            members = (self.folder / _MEMBERS).stat().st_size
            unfinished = self.folder / f".{_DONE}"
            unfinished.write_text(json.dumps({"size": self._size, "members": members}), encoding="utf-8")
            unfinished.replace(self.folder / _DONE)

    def close(self) -> None:
        """End a pass, finished or not."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._lock.release()
