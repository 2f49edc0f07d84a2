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
- Encoding the texts, writing and hashing the file happen in threads while the next row group is made: all of
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
import os
import signal
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.errors import BuildError
from irtd_datasets.folder.parts import ShardSummary
from irtd_datasets.rows.groups import GROUP_BYTES, GROUP_ROWS, RowGroup, text_columns
from irtd_datasets.rows.image_column import ImageColumn, check_columns
from irtd_datasets.writing.pages import MAGIC, ImageChunk, PlacedChunk, encode_chunk, splice
from irtd_datasets.writing.write_behind import WriteBehind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from typing_extensions import Self

__all__ = [
    "RowGroup",
    "ShardSummary",
    "ShardWriter",
    "remove_temporaries",
    "write_shard",
]

# Texts that get statistics, so that readers can filter by them; numbers always do.
_FILTERED = ("id", "source")

# Far above any row group, so that a column of a row group is one page.
_PAGE_LIMIT = 1 << 30

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
            stack.enter_context(_before_termination(self._unlink))
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
    """A Parquet file under its temporary name.

    pyarrow and this class write into the same open file. pyarrow asks the file where it stands whenever it writes a
    page, so that the room left free for images needs no more than a step forward; `splice` checks that.
    """

    def __init__(self, path: Path, layout: _Layout) -> None:
        self.path = path
        self._layout = layout
        self._row_groups: list[tuple[int, dict[int, PlacedChunk]]] = []
        with contextlib.ExitStack() as stack:
            self._sink = pa.OSFile(str(path), "wb")
            stack.callback(self._sink.close)
            self._descriptor = _descriptor(self._sink, path)
            self._behind = WriteBehind(path)
            stack.callback(self._behind.close)
            self._writer = pq.ParquetWriter(self._sink, layout.written, **layout.options)
            stack.pop_all()

    def write(self, columns: pa.RecordBatch, images: Mapping[str, ImageColumn]) -> None:
        """Have a row group written; returns when those before it are, and raises what went wrong with them."""
        arrays = [
            images[name].paths_array() if name in images else columns.column(name)
            for name in self._layout.written.names
        ]
        table = pa.Table.from_arrays(arrays, schema=self._layout.written)
        self._behind.add(partial(self._write_texts, table, images))

    def _write_texts(
        self, table: pa.Table, images: Mapping[str, ImageColumn]
    ) -> tuple[int, Sequence[ImageChunk]]:
        """Write what pyarrow writes; returns where the images go, and their chunks."""
        start = self._position()
        try:
            self._writer.write_table(table, row_group_size=table.num_rows)
        except pa.ArrowInvalid as error:
            raise BuildError(
                f"the shard cannot be written: {error}",
                where=f"{self.path}, row group {len(self._row_groups)}",
                remedy="Check the row group against the schema.",
            ) from error
        first = position = self._position()
        placed = {}
        for leaf, (name, _) in self._layout.image_leaves.items():
            placed[leaf] = PlacedChunk(encode_chunk(images[name]), position)
            position += placed[leaf].chunk.size
        os.lseek(self._descriptor, position, os.SEEK_SET)
        self._row_groups.append((start, {leaf: item.without_parts() for leaf, item in placed.items()}))
        return first, [item.chunk for item in placed.values()]

    def close(self) -> tuple[int, str]:
        """Write the footer; return the size and the SHA-256 of the file."""
        self._behind.wait()
        self._writer.close()
        end = self._position()
        self._sink.close()
        digest = self._behind.finish(end, self._finish_footer)
        self._behind.close()
        return self.path.stat().st_size, digest

    def _finish_footer(self, tail: bytes, end: int) -> bytes:
        """What replaces the last bytes of the file, the footer as pyarrow wrote it."""
        footer = tail[: -len(MAGIC) - 4]
        layout = self._layout
        position = end - len(tail)
        return splice(footer, layout.template, layout.image_leaves, self._row_groups, position)

    def discard(self) -> None:
        """Give up the file and remove it; never raises, since it runs while an exception is on its way."""
        with contextlib.suppress(Exception):
            self._behind.close()
        with contextlib.suppress(Exception):
            self._writer.close()
        # Otherwise the writer's finalizer tries again to write a footer, and complains.
        self._writer.is_open = False
        with contextlib.suppress(Exception):
            self._sink.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _position(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


def _descriptor(sink: pa.OSFile, path: Path) -> int:
    """The file descriptor that pyarrow writes to."""
    try:
        return int(sink.fileno())
    except AttributeError:  # a defect of pyarrow up to 20 at least; nobody else has this file open yet
        wanted = path.stat()
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208 - names only
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(int(entry)), wanted):
                return int(entry)
    raise OSError(errno.EBADF, "the file that pyarrow opened is not found")


@contextlib.contextmanager
def _before_termination(action: Callable[[], None]) -> Iterator[None]:
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
