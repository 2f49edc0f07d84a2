"""Writes one Parquet shard of a dataset folder: the only place where the library writes Parquet.

What a shard is, and why:

- Row groups are as the caller gives them, at most 100 rows and 32 MB decoded: the unit in which streams are
  resumed, split over workers and shown by the dataset viewer.
- Images are never compressed (JPEG and PNG do not get smaller) and carry no statistics, which would repeat
  whole images in the footer.
- An image is stored once per row group. A row group whose images do not repeat has a plain page, which is
  read twice as fast; one that makes a dictionary worth its bytes has a dictionary.
- Texts and lists are compressed with zstd, single numbers with snappy, and none has a dictionary.
- The pages of image columns are put together here, from the buffer that the images were read into (see
  `irtd_datasets.writing.pages`); pyarrow writes all other columns. In each row group the texts come first and
  lie together, then the images.
- Encoding the texts, writing and hashing the file happen in a thread while the next row group is made: all of
  it is work of the system and of native code, as long together as reading the images, checking them and
  completing their rows. At most one row group waits, which bounds the memory.
- Every reader sees plain ``binary``.
- The same rows give the same bytes.
- The file appears under its name when it is complete, by one rename. Until then it has a hidden name, which
  globs for data files (``train-*``) do not match.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.errors import BuildError
from irtd_datasets.folder.parts import ShardSummary
from irtd_datasets.rows.groups import GROUP_BYTES, GROUP_ROWS, RowGroup, text_columns
from irtd_datasets.rows.image_column import ImageColumn, check_columns
from irtd_datasets.writing.pages import MAGIC, ImageChunk, encode_chunk, splice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from types import FrameType, TracebackType

    from typing_extensions import Self

__all__ = [
    "RowGroup",
    "ShardSummary",
    "ShardWriter",
    "before_termination",
    "remove_temporaries",
    "write_shard",
]

# Texts that get statistics, so that readers can filter by them; numbers always do.
_FILTERED = ("id", "source")

# Far above any row group, so that a column of a row group is one page.
_PAGE_LIMIT = 1 << 30

# Bytes hashed right after they were written, while the processor has them in its cache.
_WRITE_SIZE = 1 << 20

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE_PATH = pa.struct([("path", pa.string())])


def write_shard(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    row_groups: Iterable[RowGroup],
    *,
    features: bytes | None = None,
) -> ShardSummary:
    """Write row groups to one Parquet file, which appears when it is complete.

    Args:
        path: The file; its folder must exist. A file of this name is replaced.
        schema: The columns of the rows. Columns of type ``struct<bytes: binary, path: string>`` are images.
        row_groups: The row groups, consumed one after another.
        features: The value of the schema's metadata key ``huggingface``, from which `datasets` restores its
            features.

    Raises:
        BuildError: If the file cannot be written, or a row group does not fit the schema or the limits.

    Example:
        >>> import pathlib, tempfile
        >>> image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        >>> schema = pa.schema([("id", pa.string()), ("image", image)])
        >>> rows = [{"id": "a"}, {"id": "b"}]
        >>> both_show_one = ImageColumn.of([b"an image"], [0, 0])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "train-00000-of-00001.parquet"
        >>> summary = write_shard(path, schema, [RowGroup(rows, {"image": both_show_one})])
        >>> summary.rows, summary.row_groups, summary.size == path.stat().st_size
        (2, 1, True)
        >>> pq.read_table(path)["image"].to_pylist()[1]
        {'bytes': b'an image', 'path': None}
    """
    with ShardWriter(path, schema, features=features) as writer:
        for row_group in row_groups:
            writer.write(row_group)
    return writer.summary


class ShardWriter:
    """Writes a shard row group by row group; a context manager.

    Leaving the ``with`` block completes the file and gives it its name; an exception, Ctrl-C or SIGTERM
    removes what was written. See `write_shard` for the arguments.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with ShardWriter(folder / "test.parquet", pa.schema([("id", pa.string())])) as writer:
        ...     writer.write(RowGroup([{"id": "a"}]))
        ...     sorted(folder.glob("*.parquet"))
        []
        >>> writer.summary.rows, [file.name for file in folder.iterdir()]
        (1, ['test.parquet'])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: pa.Schema,
        *,
        features: bytes | None = None,
    ) -> None:
        self.path = Path(path)
        self._layout = _Layout.of(schema, features)
        self._temporary = self.path.with_name(
            # Random, too: another machine that shares the folder may have a process of this number.
            f".{self.path.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
        )
        self._file: _ParquetFile | None = None
        self._failed = False
        self._rows = 0
        self._row_groups = 0
        self._num_bytes = 0
        self._largest = 0
        self._summary: ShardSummary | None = None
        self._cleanup = contextlib.ExitStack()

    @property
    def summary(self) -> ShardSummary:
        """What was written.

        Raises:
            BuildError: If the file is not complete.
        """
        if self._summary is None:
            raise BuildError(
                "the shard is not complete, so there is no summary of it",
                where=str(self.path),
                remedy="Read `summary` after the `with` block.",
            )
        return self._summary

    def __enter__(self) -> Self:
        if self._file is not None or self._summary is not None:
            raise BuildError(
                "this writer was used already",
                where=str(self.path),
                remedy="Make a ShardWriter for each file.",
            )
        with contextlib.ExitStack() as stack:
            stack.callback(self._discard)
            stack.enter_context(before_termination(self._unlink))
            with self._os_errors():
                self._file = _ParquetFile(self._temporary, self._layout)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._cleanup:
            if kind is None:
                self._complete()

    def write(self, row_group: RowGroup) -> None:
        """Append a row group.

        The memory of its images may be used again when the next call returns, or the ``with`` block is done:
        until then they are being written.

        Raises:
            BuildError: If the file cannot be written, or the row group does not fit the schema or the limits.
                Either way the shard is given up: leaving the ``with`` block removes it.
        """
        if self._file is None:
            raise BuildError(
                "the shard is not open",
                where=str(self.path),
                remedy="Write inside the writer's `with` block.",
            )
        if self._failed:
            raise self._incomplete()
        self._failed = True  # until this row group is written
        where = f"{self.path}, row group {self._row_groups}"
        columns = text_columns(row_group.rows, self._layout.others, where)
        check_columns(row_group.images, self._layout.images, columns.num_rows, where)
        size = _decoded_bytes(columns, row_group.images)
        _check_limits(columns.num_rows, size, where)
        with self._os_errors():
            self._file.write(columns, row_group.images)
        self._rows += columns.num_rows
        self._row_groups += 1
        self._num_bytes += size
        self._largest = max(self._largest, size)
        self._failed = False

    def _incomplete(self) -> BuildError:
        return BuildError(
            f"row group {self._row_groups} was not written, so the shard is not complete",
            where=str(self.path),
            remedy="Let the exception of `write` leave the `with` block, and write the shard again.",
        )

    def _complete(self) -> None:
        if self._failed:
            raise self._incomplete()
        with self._os_errors():
            assert self._file is not None
            size, digest = self._file.close()
            self._file.path.replace(self.path)
        self._summary = ShardSummary(
            rows=self._rows,
            row_groups=self._row_groups,
            size=size,
            sha256=digest,
            num_bytes=self._num_bytes,
            largest_row_group=self._largest,
        )

    def _discard(self) -> None:
        try:
            if self._file is not None:
                self._file.discard()
                self._file = None
        finally:
            self._unlink()  # one that failed while it was opened, or a second Ctrl-C has come meanwhile

    def _unlink(self) -> None:
        """Remove the temporary file and do nothing else: a signal may come while any lock is held."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Turn a failure of the operating system into a BuildError that says what to do."""
        try:
            yield
        except BuildError:
            raise
        except OSError as error:
            raise BuildError(
                f"the shard cannot be written: {_reason(error)}",
                where=str(self.path),
                remedy=_remedy(error, self.path.parent),
            ) from error
        except pa.ArrowException as error:
            raise BuildError(
                f"the shard cannot be written: {error}",
                where=f"{self.path}, row group {self._row_groups}",
                remedy="Check the row group against the schema.",
            ) from error


def remove_temporaries(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed writers have left in a folder.

    A writer that is killed outright (SIGKILL, power) cannot remove its hidden temporary file. Call this when
    no other build writes into the folder.

    Returns:
        The removed files.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / ".test.parquet.tmp-4711-7f").touch(); (folder / "test.parquet").touch()
        >>> [file.name for file in remove_temporaries(folder)]
        ['.test.parquet.tmp-4711-7f']
    """
    removed = sorted(Path(folder).glob(".*.tmp-*"))
    for file in removed:
        file.unlink(missing_ok=True)
    return removed


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the columns of a schema are stored."""

    images: tuple[str, ...]
    others: pa.Schema
    written: pa.Schema  # what pyarrow writes: no image bytes
    template: bytes  # footer of an empty file of the whole schema
    image_leaves: dict[int, tuple[str, ...]]  # position among the leaves of the template to the name
    options: dict[str, Any]  # arguments of ParquetWriter; all are known to pyarrow 17

    @classmethod
    def of(cls, schema: pa.Schema, features: bytes | None) -> _Layout:
        metadata = {b"huggingface": features} if features is not None else None
        # An empty file has the schema and the metadata as they will stand in the footer of each shard.
        sink = pa.BufferOutputStream()
        pq.ParquetWriter(sink, schema.with_metadata(metadata)).close()
        whole = sink.getvalue()
        footer = pq.read_metadata(pa.BufferReader(whole))
        leaves = [footer.schema.column(index) for index in range(footer.num_columns)]
        images = tuple(name for name, kind in zip(schema.names, schema.types, strict=True) if kind == _IMAGE)
        image_leaves = {f"{name}.bytes" for name in images}
        texts = [
            leaf.path
            for leaf in leaves
            if leaf.physical_type == "BYTE_ARRAY" and leaf.path not in image_leaves
        ]
        # Only columns of the top level: nobody filters by the elements of a list.
        numbers = [
            leaf.path for leaf in leaves if leaf.path in schema.names and leaf.physical_type != "BYTE_ARRAY"
        ]
        plain = schema.remove_metadata()
        return cls(
            images=images,
            others=pa.schema([entry for entry in plain if entry.name not in images]),
            written=pa.schema(
                [entry.with_type(_IMAGE_PATH) if entry.name in images else entry for entry in plain]
            ),
            template=_footer(whole),
            image_leaves={
                index: (leaf.path.removesuffix(".bytes"), "bytes")
                for index, leaf in enumerate(leaves)
                if leaf.path in image_leaves
            },
            options={
                # Of a hundred values a dictionary saves nothing that zstd does not, and takes as long as half of it;
                # and zstd has nothing to gain from a hundred numbers.
                "compression": {
                    leaf.path: "snappy" if leaf.path in numbers else "zstd"
                    for leaf in leaves
                    if leaf.path not in image_leaves
                },
                "use_dictionary": False,
                "write_statistics": [*numbers, *(name for name in _FILTERED if name in texts)],
                "data_page_size": _PAGE_LIMIT,
                "write_page_index": True,
                "store_schema": False,  # it would be that of a file without image bytes
            },
        )


def _footer(file: pa.Buffer) -> bytes:
    """The footer of a whole file, without its length and the magic number behind it."""
    end = file.size - 8
    size = int.from_bytes(file.slice(end, 4).to_pybytes(), "little")
    return bytes(file.slice(end - size, size).to_pybytes())


class _ParquetFile:
    """A Parquet file under its temporary name, written and hashed by a thread.

    pyarrow and this class write into the same open file. pyarrow asks the file where it stands whenever it writes a
    page, so that images written in between are room that it leaves; `splice` checks that.
    """

    def __init__(self, path: Path, layout: _Layout) -> None:
        self.path = path
        self._layout = layout
        self._row_groups: list[tuple[int, dict[int, tuple[int, ImageChunk]]]] = []
        self._digest = hashlib.sha256()
        self._running: Future[None] | None = None
        with contextlib.ExitStack() as stack:
            self._sink = stack.enter_context(pa.OSFile(str(path), "wb"))
            self._written = stack.enter_context(FileIO(path, "r+b"))
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard")
            # The thread is there before it has work: an executor does not wait for one that Ctrl-C keeps it from
            # noting, and what that one writes into would be closed under its hands.
            self._thread.submit(int).result()
            self._writer = pq.ParquetWriter(self._sink, layout.written, **layout.options)
            stack.pop_all()

    def write(self, columns: pa.RecordBatch, images: Mapping[str, ImageColumn]) -> None:
        """Have a row group written; returns when those before it are, and raises what went wrong with them."""
        arrays = [
            images[name].paths_array() if name in images else columns.column(name)
            for name in self._layout.written.names
        ]
        table = pa.Table.from_arrays(arrays, schema=self._layout.written)
        self._wait()
        self._running = self._thread.submit(self._write_group, table, images)

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def _write_group(self, table: pa.Table, images: Mapping[str, ImageColumn]) -> None:
        start = self._sink.tell()
        try:
            self._writer.write_table(table, row_group_size=table.num_rows)
        except pa.ArrowInvalid as error:
            raise BuildError(
                f"the shard cannot be written: {error}",
                where=f"{self.path}, row group {len(self._row_groups)}",
                remedy="Check the row group against the schema.",
            ) from error
        self._hash_written(self._sink.tell())
        chunks = {}
        for leaf, (name, _) in self._layout.image_leaves.items():
            position = self._sink.tell()
            chunk, parts = encode_chunk(images[name])
            chunks[leaf] = position, chunk
            for part in parts:
                view = memoryview(part)
                for begin in range(0, len(view), _WRITE_SIZE):
                    self._put(view[begin : begin + _WRITE_SIZE])
            self._written.seek(position + chunk.size)
        self._row_groups.append((start, chunks))

    def _put(self, block: memoryview) -> None:
        self._sink.write(block)
        self._digest.update(block)

    def _hash_written(self, end: int) -> None:
        """Hash what pyarrow has written since."""
        while missing := end - self._written.tell():
            block = self._written.read(min(missing, _WRITE_SIZE))
            if not block:
                raise OSError(errno.EIO, "the file became shorter while it was written")
            self._digest.update(block)

    def close(self) -> tuple[int, str]:
        """Write the footer; return the size and the SHA-256 of the file."""
        self._wait()
        self._writer.close()
        end = self._sink.tell()
        self._sink.close()
        with self.path.open("rb") as file:
            file.seek(end - len(MAGIC) - 4)
            size = int.from_bytes(file.read(4), "little")
            position = end - len(MAGIC) - 4 - size
            file.seek(position)
            footer = file.read(size)
        self._hash_written(position)
        tail = splice(footer, self._layout.template, self._layout.image_leaves, self._row_groups, position)
        self._written.write(tail)
        self._written.truncate()
        self._digest.update(tail)
        self._close()
        return position + len(tail), self._digest.hexdigest()

    def _close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._written.close()

    def discard(self) -> None:
        """Give up the file and remove it; never raises, since it runs while an exception is on its way."""
        with contextlib.suppress(Exception):
            self._close()
        with contextlib.suppress(Exception):
            self._writer.close()
        # Otherwise the writer's finalizer tries again to write a footer, and complains.
        self._writer.is_open = False
        with contextlib.suppress(Exception):
            self._sink.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def before_termination(action: Callable[[], None]) -> Iterator[None]:
    """Run an action when the process is asked to end, and let it end as it would have without us.

    Only where nobody else handles the signal, and in the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        action()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    names = ("SIGTERM", "SIGHUP")  # SIGINT arrives as KeyboardInterrupt
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _decoded_bytes(columns: pa.RecordBatch, images: Mapping[str, ImageColumn]) -> int:
    """Bytes of a row group in memory, without building the copies of repeated images.

    The count of Arrow (``Table.nbytes``): the values, four bytes of offset per row, and a bit per row where
    rows are missing.
    """
    total = int(columns.nbytes)
    for column in images.values():
        paths = column.names()
        total += column.decoded_bytes + sum(len(path.encode()) for path in paths if path is not None)
        total += 2 * 4 * len(column)
        bitmap = (len(column) + 7) // 8
        total += bitmap * bool((column.rows < 0).any()) + bitmap * (None in paths)
    return total


def _check_limits(rows: int, size: int, where: str) -> None:
    if not 1 <= rows <= GROUP_ROWS:
        raise BuildError(
            f"the row group has {rows} rows, expected 1 to {GROUP_ROWS}",
            where=where,
            remedy="Divide the rows into smaller row groups, and leave out empty ones.",
        )
    if size > GROUP_BYTES and rows > 1:
        raise BuildError(
            f"the row group has {size} bytes decoded, expected at most {GROUP_BYTES}",
            where=where,
            remedy="Put fewer rows into a row group; a repeated image counts once for each row.",
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _remedy(error: OSError, folder: Path) -> str:
    if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", None)}:
        return f"Free space for {folder} or choose another folder; finished shards are kept."
    if error.errno == errno.EFBIG:
        return "Raise the file size limit (`ulimit -f`), choose another file system, or make smaller shards."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"Make {folder} writable, or choose another output folder."
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return f"Create the folder {folder} first."
    return f"Check the disk that holds {folder}."
