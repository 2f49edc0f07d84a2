"""Archives with the same bytes in every run: zip, and a gzip-compressed tar cut into parts."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from random import Random

__all__ = ["CutArchive", "cut_positions", "write_zip"]

_CHUNK = 1 << 20


def write_zip(
    path: Path,
    members: Iterable[tuple[str, bytes]],
    *,
    folders: Iterable[str] = (),
    date: tuple[int, int, int, int, int, int] = (2025, 1, 7, 5, 40, 0),
    compress: bool = True,
) -> None:
    """Write a zip archive whose bytes depend on its members alone.

    Args:
        path: File to write.
        members: Names and contents in order.
        folders: Names of folder entries, written first.
        date: Date of all entries (year, month, day, hour, minute, second).
        compress: Deflate; JPEG members are stored as they are.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for folder in folders:
            archive.writestr(_entry(folder.rstrip("/") + "/", date, 0o40755, zipfile.ZIP_STORED), b"")
        method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        for name, content in members:
            archive.writestr(_entry(name, date, 0o100644, method), content)


def _entry(name: str, date: tuple[int, int, int, int, int, int], mode: int, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date)
    entry.create_system = 3  # Unix, on every system
    entry.external_attr = mode << 16
    entry.compress_type = method
    return entry


def cut_positions(size: int, parts: int, random: Random) -> list[int]:
    """Return ``parts + 1`` positions from 0 to ``size`` at which a file is cut, anywhere inside its blocks.

    Each part has at least a quarter of the mean length (and one byte), so that no part is empty.

    Example:
        >>> from random import Random
        >>> positions = cut_positions(1000, 5, Random(0))
        >>> positions[0], positions[-1], len(positions), positions == sorted(set(positions))
        (0, 1000, 6, True)
    """
    weights = [random.uniform(0.4, 1.6) for _ in range(parts)]
    total = sum(weights)
    positions, reached = [0], 0.0
    for index, weight in enumerate(weights[:-1], start=1):
        reached += weight
        lowest, highest = positions[-1] + 1, size - (parts - index)
        positions.append(min(max(round(size * reached / total), lowest), highest))
    return [*positions, size]


class CutArchive:
    """Writes members into a ``.tar.gz`` and cuts it into parts at the end; a context manager.

    Nothing but the parts is left, also when an exception ends it: then not even those.

    Args:
        folder: Folder of the parts.
        name: Name of the whole archive; the parts are ``<name>00``, ``<name>01`` and so on.
        parts: Number of parts.
        random: Chooses the cuts.
    """

    def __init__(self, folder: Path, name: str, parts: int, random: Random) -> None:
        self._folder, self._name, self._parts, self._random = folder, name, parts, random
        self._whole = folder / f".{name}.writing"
        self._made: set[str] = set()
        self.paths: tuple[Path, ...] = ()

    def __enter__(self) -> CutArchive:  # noqa: PYI034 - Self is not in typing before Python 3.11
        self._file = self._whole.open("wb")
        # mtime 0 and an empty name: the header of gzip would otherwise carry time and path.
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=1, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w|", format=tarfile.GNU_FORMAT)
        return self

    def add(self, name: str, content: bytes) -> None:
        """Append one file, and entries of the folders above it that are not there yet."""
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            folder = "/".join(parents[:depth])
            if folder not in self._made:
                self._made.add(folder)
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                self._tar.addfile(entry)
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        self._tar.addfile(entry, io.BytesIO(content))

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._tar.close()
            self._gzip.close()
            self._file.close()
            if kind is None:
                self.paths = self._cut()
        finally:
            self._file.close()
            self._whole.unlink(missing_ok=True)

    def _cut(self) -> tuple[Path, ...]:
        positions = cut_positions(self._whole.stat().st_size, self._parts, self._random)
        paths = []
        with self._whole.open("rb") as source:
            for index, (start, stop) in enumerate(pairwise(positions)):
                path = self._folder / f"{self._name}{index:02d}"
                with path.open("wb") as part:
                    left = stop - start
                    while left:
                        block = source.read(min(_CHUNK, left))
                        part.write(block)
                        left -= len(block)
                paths.append(path)
        return tuple(paths)


def read_members(path: Path) -> Mapping[str, bytes]:
    """Return names and contents of the files of a small zip, in order."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}


def replace_file(path: Path, content: bytes) -> None:
    """Write a file by rename, so that hard links and half-written files are no concern."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(content)
    os.replace(temporary, path)  # noqa: PTH105 - the same on every system, also onto an existing file
