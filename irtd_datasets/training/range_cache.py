"""Ranges of files from afar, kept on a disk of this machine: for all its processes, and after they end.

For each shard there are two sparse files: one in which each range lies where it lies in the shard, and one of marks: of
each range its length and a checksum, written when its bytes are. So nothing is held in memory, no process waits for
another, and what a killed process left half written is taken for missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import struct
import threading
import time
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from irtd_datasets.training.shards import ShardRef
    from irtd_datasets.training.storage import Storage

__all__ = ["CACHE_BYTES", "RangeCache", "shard_key"]

CACHE_BYTES = 4 << 30
"""Most bytes from afar that are kept on the disk, where nothing else is said."""

_log = logging.getLogger(__name__)
_MARK = struct.Struct("<II")  # length and checksum
_STEP = 16  # bytes of a shard that have one mark; no two images begin in so few
_IN_USE = 3600.0  # seconds for which a shard that was used is not removed to make room for another
_LOOK_AGAIN = 16 << 20  # bytes written before the sizes of all are looked at again
_LEAST_FREE = 1 << 30
_BLOCK = 4096  # of the disk, which a mark takes
_FULL_SECONDS = 30.0


def shard_key(storage: Storage, ref: ShardRef) -> str:
    """A name for the bytes of a shard."""
    # Without a SHA-256 the footer, and what its server says of it, stand for the file.
    known = ref.identity if ref.sha256 else f"{ref.identity} {ref.token} {storage.where(ref.name)}"
    return hashlib.sha256(known.encode()).hexdigest()[:40]


class RangeCache:
    """A folder of ranges, shared by all processes of a machine; can be pickled.

    When it is full, shards that were not used for an hour make room; nothing is added where there are none, so that a
    data set that is larger than the cache keeps what it has of it instead of going round.

    Args:
        folder: Where they are kept.
        limit: Most bytes of all of them on the disk.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._files: dict[str, tuple[int, int]] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._granted = 0  # bytes that may be written before the sizes of all are looked at again
        self._full_until = 0.0
        self._off = not hasattr(os, "pread")

    def __reduce__(self) -> tuple[object, ...]:
        return RangeCache, (self.folder, self.limit)

    def __del__(self) -> None:
        try:  # noqa: SIM105 - `contextlib` may be gone, too
            self.close()
        except Exception:  # noqa: BLE001, S110 - the interpreter ends and has no modules left
            pass

    def close(self) -> None:
        """Let go of the files."""
        files, self._files = self._files, {}
        if self._pid == os.getpid():
            for pair in files.values():
                for descriptor in pair:
                    os.close(descriptor)

    def get(self, key: str, start: int, stop: int) -> bytes | None:
        """The bytes of a range; None where they are not there, or damaged."""
        pair = self._open(key, make=False)
        if pair is None:
            return None
        with contextlib.suppress(OSError):
            mark = os.pread(pair[1], _MARK.size, start // _STEP * _MARK.size)
            if len(mark) == _MARK.size:
                length, checksum = _MARK.unpack(mark)
                if length and length == stop - start:
                    data = os.pread(pair[0], length, start)
                    if len(data) == length and _checksum(start, data) == checksum:
                        return data
        return None

    def put(self, key: str, start: int, data: bytes | memoryview) -> None:
        """Keep a range, where there is room."""
        if not len(data) or not self._room(len(data)):
            return
        pair = self._open(key, make=True)
        if pair is None:
            return
        try:
            if os.pwrite(pair[0], data, start) == len(data):
                mark = _MARK.pack(len(data), _checksum(start, data))
                os.pwrite(pair[1], mark, start // _STEP * _MARK.size)
                self._granted -= len(data) + _BLOCK
        except OSError as error:
            self._off = True
            _log.warning("%s keeps no more: %s", self.folder, error)

    @contextlib.contextmanager
    def alone(self, key: str, start: int) -> Iterator[None]:
        """Hold a range for this process: what one fetches, others then find."""
        from filelock import FileLock

        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{key}-{start}.lock"
                stack.enter_context(FileLock(str(path)))
                stack.callback(path.unlink, missing_ok=True)
            yield

    def _open(self, key: str, *, make: bool) -> tuple[int, int] | None:
        if (
            self._pid != os.getpid()
        ):  # descriptors stay good; the lock may be held by a thread that is not here
            self._pid, self._lock = os.getpid(), threading.Lock()
        pair = self._files.get(key)
        if pair is not None or self._off:
            return pair
        with self._lock:
            if key not in self._files:
                flags = os.O_RDWR | (os.O_CREAT if make else 0) | getattr(os, "O_CLOEXEC", 0)
                opened: list[int] = []
                try:
                    if make:
                        self.folder.mkdir(parents=True, exist_ok=True)
                    for suffix in ("data", "marks"):
                        opened.append(os.open(self.folder / f"{key}.{suffix}", flags, 0o666))
                        os.utime(self.folder / f"{key}.{suffix}")
                except OSError as error:
                    for descriptor in opened:
                        os.close(descriptor)
                    if make:
                        self._off = True
                        _log.warning("%s keeps nothing: %s", self.folder, error)
                    return None
                self._files[key] = (opened[0], opened[1])
            return self._files[key]

    def _room(self, size: int) -> bool:
        """Whether so many bytes more may be written; makes room where there is none."""
        if self._off or time.monotonic() < self._full_until:
            return False
        if size + _BLOCK <= self._granted:
            return True
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.data"):
            with contextlib.suppress(OSError):
                found = [file.stat() for file in (path, path.with_suffix(".marks"))]
                kept.append((found[0].st_mtime, sum(file.st_blocks * 512 for file in found), path))
        left = self.limit - sum(taken for _, taken, _ in kept)
        for used, taken, path in sorted(kept):
            if left >= _LOOK_AGAIN or time.time() - used < _IN_USE:
                break
            for file in (path, path.with_suffix(".marks")):
                with contextlib.suppress(OSError):
                    file.unlink()
            self._files.pop(path.stem, None)  # not closed: another thread may be reading from it
            left += taken
        with contextlib.suppress(OSError):
            left = min(left, shutil.disk_usage(_existing(self.folder)).free - _LEAST_FREE)
        self._granted = min(left, _LOOK_AGAIN)
        if size + _BLOCK > self._granted:
            self._full_until = time.monotonic() + _FULL_SECONDS
            return False
        return True


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _checksum(start: int, data: bytes | memoryview) -> int:
    return zlib.crc32(data, start & 0xFFFFFFFF)
