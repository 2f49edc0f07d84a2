"""Whole shards from afar, kept on the disk up to a limit: random access without a request for each row."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from filelock import FileLock

from irtd_datasets.training.range_cache import shard_key
from irtd_datasets.training.storage import LocalStorage, changed, readers

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from irtd_datasets.training.shards import ShardRef
    from irtd_datasets.training.storage import Storage

__all__ = ["ShardCache"]

_PIECE = 16 << 20
_AHEAD = 3


@dataclass(frozen=True)
class ShardCache:
    """A folder of shards, the least lately used of which go first; shared by all processes of a machine.

    Args:
        folder: Where they are kept.
        limit: Most bytes of all of them; one shard is kept in any case.
    """

    folder: Path
    limit: int

    def fetch(self, storage: Storage, ref: ShardRef) -> tuple[LocalStorage, ShardRef]:
        """A shard as a file here; fetched, and compared with its SHA-256 if that is known, when it is not.

        Raises:
            ShardChangedError: What came is another file.
        """
        name = f"{shard_key(storage, ref)}.parquet"
        path = self.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path.with_suffix(".lock"))):
            if not path.is_file() or path.stat().st_size != ref.size:
                self._make_room(ref.size)
                self._download(storage, ref, path)
            os.utime(path)  # marks it as used
        return LocalStorage(str(self.folder)), replace(ref, name=name, token="", index="", images=())

    def _download(self, storage: Storage, ref: ShardRef, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                coming: deque[Future[bytes | memoryview]] = deque()
                starts = iter(range(0, ref.size, _PIECE))
                while True:  # some pieces are under way while one is written
                    for start in islice(starts, _AHEAD - len(coming)):
                        stop = min(start + _PIECE, ref.size)
                        coming.append(
                            readers().submit(partial(storage.read, ref.name, start, stop, size=ref.size))
                        )
                    if not coming:
                        break
                    data = coming.popleft().result()
                    digest.update(data)
                    file.write(data)
            if ref.sha256 and digest.hexdigest() != ref.sha256:
                raise changed(
                    storage.where(ref.name), f"its SHA-256 is {digest.hexdigest()}, expected {ref.sha256}"
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        kept = []
        for path in self.folder.glob("*.parquet"):
            with contextlib.suppress(OSError):
                found = path.stat()
                kept.append((found.st_mtime_ns, found.st_size, path))
        room = self.limit - needed - sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if room >= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                room += size
