"""Writes row groups into a file and hashes the file, one row group behind the one that is being made."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import TYPE_CHECKING

from irtd_datasets.writing.pages import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from irtd_datasets.writing.pages import ImageChunk

__all__ = ["WriteBehind"]

# Smaller calls cost more switches between threads, larger ones more memory of the system at a time.
_WRITE_SIZE = 1 << 20
_READ_SIZE = 1 << 20


class WriteBehind:
    """Two threads: one writes a row group, the other hashes its images meanwhile, from memory.

    Hashing takes twice as long as writing, and both together as long as making a row group; one after the other in
    one thread they would be what a build waits for.

    Args:
        path: A file that somebody else writes all but the images into.
    """

    def __init__(self, path: Path) -> None:
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._running: Future[None] | None = None
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(FileIO(path, "r+b"))
            self._written = stack.enter_context(FileIO(path, "rb"))
            self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard")
            self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard-hash")
            # The thread is there before it has work: an executor does not wait for one that Ctrl-C keeps it from
            # noting, and what that one writes into would be closed under its hands.
            self._writing.submit(int).result()
            stack.pop_all()

    def add(self, write_texts: Callable[[], tuple[int, Sequence[ImageChunk]]]) -> None:
        """Write and hash a row group in the threads; returns when those before it are done.

        Args:
            write_texts: Called in a thread: writes everything but images, and gives the position up to which the
                file is complete then, and the chunks that belong there.

        Raises:
            OSError: Writing or hashing those before it failed.
        """
        self.wait()
        self._running = self._writing.submit(self._write, write_texts)

    def wait(self) -> None:
        """Return when all row groups are written and hashed.

        Raises:
            OSError: Writing or hashing one failed.
        """
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def finish(self, end: int, replace_footer: Callable[[bytes, int], bytes]) -> str:
        """Replace the footer of the file; returns the SHA-256 of the file.

        Args:
            end: Size of the file.
            replace_footer: Told the last bytes, footer to magic number, and ``end``; gives what stands there instead.
        """
        self.wait()
        trailer = len(MAGIC) + 4
        size = int.from_bytes(self._read(end - trailer, 4), "little") + trailer
        tail = replace_footer(self._read(end - size, size), end)
        self._hash_up_to(end - size)
        self._file.seek(end - size)
        self._put(tail)
        self._file.truncate(end - size + len(tail))
        self._digest.update(tail)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let the threads come to an end, and close the file."""
        self._writing.shutdown(wait=True, cancel_futures=True)
        self._hashing.shutdown(wait=True, cancel_futures=True)
        self._file.close()
        self._written.close()

    def _write(self, write_texts: Callable[[], tuple[int, Sequence[ImageChunk]]]) -> None:
        position, chunks = write_texts()
        parts = [part for chunk in chunks for part in chunk.parts]
        hashing = self._hashing.submit(self._hash, position, parts)
        try:
            self._file.seek(position)
            for part in parts:
                self._put(part)
        finally:
            hashing.result()  # nobody may use the memory of the images again before

    def _hash(self, position: int, parts: Sequence[bytes | memoryview]) -> None:
        """Hash what the file has up to a position, and the parts that come there."""
        self._hash_up_to(position)
        for part in parts:
            self._digest.update(part)
            self._hashed += len(part)

    def _put(self, part: bytes | memoryview) -> None:
        view = memoryview(part)
        position = 0
        while position < len(view):
            position += self._file.write(view[position : position + _WRITE_SIZE])

    def _hash_up_to(self, end: int) -> None:
        while self._hashed < end:
            block = self._read(self._hashed, min(end - self._hashed, _READ_SIZE))
            self._digest.update(block)
            self._hashed += len(block)

    def _read(self, position: int, size: int) -> bytes:
        self._written.seek(position)
        block = self._written.read(size)
        if not block:
            raise OSError(errno.EIO, "the file became shorter while it was written")
        return block
