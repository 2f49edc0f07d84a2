"""Writes one Parquet shard of a dataset folder: the only place where the library writes Parquet.

What a shard is, and why:

- Row groups are as the caller gives them, at most 100 rows and 32 MB decoded: the unit in which streams are
  resumed, split over workers and shown by the dataset viewer.
- Pictures are never compressed (JPEG and PNG do not get smaller) and carry no statistics, which would repeat
  whole pictures in the footer.
- A picture is stored once per row group. A shard whose pictures do not repeat is written in plain pages,
  which are read twice as fast; the first row group that makes a dictionary worth its bytes turns the whole
  shard to dictionaries. A Parquet writer fixes the encoding of a column for the whole file, so what was
  written plainly before is then read back and encoded again, once.
- Every reader sees plain ``binary``: the Arrow schema in the footer is that of the rows, not of the encoding.
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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import FileIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.build.columns import to_array
from irtd_datasets.build.image_column import ImageColumn, check_columns
from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from _typeshed import ReadableBuffer
    from typing_extensions import Self

__all__ = [
    "MAX_ROW_GROUP_BYTES",
    "MAX_ROW_GROUP_ROWS",
    "RowGroup",
    "ShardSummary",
    "ShardWriter",
    "remove_temporaries",
    "write_shard",
]

MAX_ROW_GROUP_ROWS = 100
"""Rows of a row group: what one page of the dataset viewer shows."""

MAX_ROW_GROUP_BYTES = 32 << 20
"""Decoded bytes of a row group; a single row may have more."""

# Far above any row group, so that a column of a row group is one page and its dictionary is never given up.
_PAGE_LIMIT = 1 << 30

_WRITE_SIZE = 1 << 18
_HASH_BLOCK = 1 << 20

_PLAIN_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_DICTIONARY_IMAGE = pa.struct([("bytes", pa.dictionary(pa.int32(), pa.binary())), ("path", pa.string())])


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The rows of one row group.

    Args:
        rows: The columns other than images: a table, a record batch, or one mapping per row with exactly
            these columns.
        images: For each image column of the schema, its pictures and which row shows which.
    """

    rows: pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
    images: Mapping[str, ImageColumn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What was written.

    Args:
        rows: Number of rows.
        row_groups: Number of row groups.
        size: Bytes of the file.
        sha256: Hexadecimal SHA-256 of the file.
        num_bytes: Bytes of the rows in memory, as `datasets` counts them in ``dataset_info``, up to a bit per
            value: readers keep validity bits also for columns without a missing value.
        largest_row_group: Bytes in memory of the largest row group.
    """

    rows: int
    row_groups: int
    size: int
    sha256: str
    num_bytes: int
    largest_row_group: int


def write_shard(
    path: str | os.PathLike[str],
    schema: pa.Schema,
    row_groups: Iterable[RowGroup],
    *,
    features: bytes | None = None,
    filter_columns: Sequence[str] = ("id", "source"),
    fsync: bool = False,
) -> ShardSummary:
    """Write row groups to one Parquet file, which appears when it is complete.

    Args:
        path: The file; its folder must exist. A file of this name is replaced.
        schema: The columns of the rows. Columns of type ``struct<bytes: binary, path: string>`` are images.
        row_groups: The row groups, consumed one after another.
        features: The value of the schema's metadata key ``huggingface``, from which `datasets` restores its
            features.
        filter_columns: String columns that get statistics, so that readers can filter by them; numbers always
            do.
        fsync: Wait until the disk has the file before it gets its name.

    Raises:
        BuildError: If the file cannot be written, or a row group does not fit the schema or the limits.

    Example:
        >>> import pathlib, tempfile
        >>> image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        >>> schema = pa.schema([("id", pa.string()), ("image", image)])
        >>> rows = [{"id": "a"}, {"id": "b"}]
        >>> both_show_one = ImageColumn.of([b"a picture"], [0, 0])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "train-00000-of-00001.parquet"
        >>> summary = write_shard(path, schema, [RowGroup(rows, {"image": both_show_one})])
        >>> summary.rows, summary.row_groups, summary.size == path.stat().st_size
        (2, 1, True)
        >>> pq.read_table(path)["image"].to_pylist()[1]
        {'bytes': b'a picture', 'path': None}
    """
    with ShardWriter(path, schema, features=features, filter_columns=filter_columns, fsync=fsync) as writer:
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
        filter_columns: Sequence[str] = ("id", "source"),
        fsync: bool = False,
    ) -> None:
        self.path = Path(path)
        self._layout = _Layout.of(schema, features, filter_columns)
        self._fsync = fsync
        self._temporary = self.path.with_name(
            f".{self.path.name}.tmp-{os.getpid()}-{threading.get_ident():x}"
        )
        self._file: _ParquetFile | None = None
        self._failed = False
        self._gain = 0
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
                self._file = _ParquetFile(self._temporary, self._layout, dictionary=False)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._cleanup:
            if kind is None:
                self._complete()

    def write(self, row_group: RowGroup) -> None:
        """Append a row group and pass it on to the operating system.

        The memory of its pictures may be used again when this returns.

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
        columns = _to_record_batch(row_group.rows, self._layout.others, where)
        check_columns(row_group.images, self._layout.images, columns.num_rows, where)
        size = _decoded_bytes(columns, row_group.images)
        _check_limits(columns.num_rows, size, where)
        self._gain += sum(column.dictionary_gain() for column in row_group.images.values())
        with self._os_errors():
            if self._gain > 0 and not self._file.dictionary:
                self._file = self._encode_again()
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

    def _encode_again(self) -> _ParquetFile:
        """What was written in plain pages, with the pictures in dictionaries."""
        plain = self._file
        assert plain is not None
        if not self._row_groups:
            plain.discard()
            return _ParquetFile(self._temporary, self._layout, dictionary=True)
        plain.close()
        other = plain.path.with_name(plain.path.name + "-d")
        encoded = _ParquetFile(other, self._layout, dictionary=True)
        # From here on `_discard` removes the new file; the old one is removed below whatever happens.
        self._file = encoded
        try:
            with pq.ParquetFile(plain.path) as source:
                for index in range(source.num_row_groups):
                    encoded.write_table(source.read_row_group(index, use_threads=False))
        finally:
            plain.discard()
        return encoded

    def _complete(self) -> None:
        if self._failed:
            raise self._incomplete()
        with self._os_errors():
            assert self._file is not None
            size, digest = self._file.close(fsync=self._fsync)
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
        if self._file is not None:
            self._file.discard()
            self._file = None
        # A file that is being encoded again, or one that failed while it was opened.
        self._unlink()

    def _unlink(self) -> None:
        """Remove the temporary files and do nothing else: a signal may come while any lock is held."""
        for name in (self._temporary, self._temporary.with_name(self._temporary.name + "-d")):
            with contextlib.suppress(OSError):
                name.unlink(missing_ok=True)

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

    schema: pa.Schema  # without metadata
    images: tuple[str, ...]
    others: pa.Schema
    leaves: tuple[str, ...]  # Parquet's dotted names of the leaf columns
    texts: tuple[str, ...]
    statistics: tuple[str, ...]
    metadata: dict[bytes, bytes]

    @classmethod
    def of(cls, schema: pa.Schema, features: bytes | None, filter_columns: Sequence[str]) -> _Layout:
        metadata = {b"huggingface": features} if features is not None else None
        # An empty file tells the names of the leaves and the value that restores the Arrow schema.
        sink = pa.BufferOutputStream()
        pq.ParquetWriter(sink, schema.with_metadata(metadata)).close()
        footer = pq.read_metadata(pa.BufferReader(sink.getvalue()))
        leaves = [footer.schema.column(index) for index in range(footer.num_columns)]
        images = tuple(
            name for name, kind in zip(schema.names, schema.types, strict=True) if kind == _PLAIN_IMAGE
        )
        pictures = {f"{name}.bytes" for name in images}
        texts = [
            leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.path not in pictures
        ]
        # Only columns of the top level: nobody filters by the elements of a list.
        numbers = [
            leaf.path for leaf in leaves if leaf.path in schema.names and leaf.physical_type != "BYTE_ARRAY"
        ]
        return cls(
            schema=schema.remove_metadata(),
            images=images,
            others=pa.schema([entry for entry in schema if entry.name not in images]),
            leaves=tuple(leaf.path for leaf in leaves),
            texts=tuple(texts),
            statistics=(*numbers, *(name for name in filter_columns if name in texts)),
            metadata=dict(footer.metadata),
        )

    def schema_on_write(self, *, dictionary: bool) -> pa.Schema:
        """The schema of the tables that the Parquet writer is given."""
        kind = _DICTIONARY_IMAGE if dictionary else _PLAIN_IMAGE
        return pa.schema(
            [entry.with_type(kind) if entry.name in self.images else entry for entry in self.schema]
        )

    def options(self, *, dictionary: bool) -> dict[str, Any]:
        """Arguments of `pyarrow.parquet.ParquetWriter`; all are known to pyarrow 17."""
        pictures = [f"{name}.bytes" for name in self.images]
        return {
            "compression": {leaf: "none" if leaf in pictures else "zstd" for leaf in self.leaves},
            "use_dictionary": [*self.texts, *(pictures if dictionary else ())],
            "write_statistics": list(self.statistics),
            "dictionary_pagesize_limit": _PAGE_LIMIT,
            "data_page_size": _PAGE_LIMIT,
            "write_page_index": True,
            # The stored schema would show readers our dictionaries; `metadata` carries the one of the rows.
            "store_schema": False,
        }


class _ParquetFile:
    """A Parquet file under its temporary name."""

    def __init__(self, path: Path, layout: _Layout, *, dictionary: bool) -> None:
        self.path = path
        self.dictionary = dictionary
        self._layout = layout
        self._schema = layout.schema_on_write(dictionary=dictionary)
        self._sink = _HashingFile(path)
        self._writer = pq.ParquetWriter(self._sink, self._schema, **layout.options(dictionary=dictionary))

    def write(self, columns: pa.RecordBatch, images: Mapping[str, ImageColumn]) -> None:
        arrays = [
            images[name].to_arrow(dictionary=self.dictionary) if name in images else columns.column(name)
            for name in self._schema.names
        ]
        self._append(pa.Table.from_arrays(arrays, schema=self._schema))

    def write_table(self, table: pa.Table) -> None:
        """Append a row group of a file in plain pages."""
        arrays = [
            _to_dictionary(table.column(name)) if name in self._layout.images else table.column(name)
            for name in self._schema.names
        ]
        self._append(pa.Table.from_arrays(arrays, schema=self._schema))

    def _append(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self, *, fsync: bool = False) -> tuple[int, str]:
        """Write the footer; return the size and the SHA-256 of the file."""
        self._writer.add_key_value_metadata(self._layout.metadata)
        self._writer.close()
        digest = self._sink.hexdigest()
        if fsync:
            os.fsync(self._sink.fileno())
        self._sink.close()
        return self.path.stat().st_size, digest

    def discard(self) -> None:
        """Give up the file and remove it; never raises, since it runs while an exception is on its way."""
        with contextlib.suppress(Exception):
            self._sink.close()
        with contextlib.suppress(Exception):
            self._writer.close()
        # Otherwise the writer's finalizer tries again to write a footer into the closed file, and complains.
        self._writer.is_open = False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class _HashingFile(RawIOBase):
    """A file that knows the SHA-256 of what was written to it.

    Hashing takes as long as reading and writing together and lets other threads run, so a thread hashes one
    block while the next is made. At most one block waits for it, which bounds the memory.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = FileIO(path, "wb")
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._running: Future[None] | None = None
        self._block: list[ReadableBuffer] = []
        self._block_size = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data)
        position = 0
        while position < len(view):
            # In calls of megabytes Linux was measured to take up to four times as long.
            position += self._file.write(view[position : position + _WRITE_SIZE])
        self._block.append(data)  # pyarrow hands over bytes of its own making, which do not change
        self._block_size += len(view)
        if self._block_size >= _HASH_BLOCK:
            self._hash_block()
        return len(view)

    def hexdigest(self) -> str:
        self._hash_block()
        if self._running is not None:
            self._running.result()
        return self._digest.hexdigest()

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._file.close()
        super().close()

    def _hash_block(self) -> None:
        if self._running is not None:
            self._running.result()
        self._running = self._pool.submit(_update, self._digest, self._block)
        self._block, self._block_size = [], 0


def _update(digest: hashlib._Hash, block: Sequence[ReadableBuffer]) -> None:
    for data in block:
        digest.update(data)


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


def _to_record_batch(
    rows: pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]], schema: pa.Schema, where: str
) -> pa.RecordBatch:
    """The columns other than images, in the order and the types of the schema."""
    if isinstance(rows, (pa.Table, pa.RecordBatch)):
        names, found = set(schema.names), set(rows.schema.names)
        if names != found or len(rows.schema.names) != len(found):
            raise _wrong_columns(found, names, where)
        columns = [rows.column(name) for name in schema.names]
        arrays = [_one_chunk(column) for column in columns]
        for array, entry in zip(arrays, schema, strict=True):
            if array.type != entry.type:
                raise BuildError(
                    f"column {entry.name!r} is {array.type}, the schema has {entry.type}",
                    where=where,
                    remedy="Cast the column, or build it with the schema's type.",
                )
        return pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else _no_columns(rows.num_rows)
    names = set(schema.names)
    for index, row in enumerate(rows):
        if row.keys() != names:
            raise _wrong_columns(set(row), names, f"{where}, row {index}")
    if not names:
        return _no_columns(len(rows))
    arrays = [_to_array([row[entry.name] for row in rows], entry, where) for entry in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_array(values: list[Any], entry: pa.Field, where: str) -> pa.Array:
    try:
        return to_array(values, entry.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise BuildError(
            f"column {entry.name!r} cannot be written as {entry.type}: {error}",
            where=where,
            remedy="Check the values of this column in these rows.",
        ) from error


def _wrong_columns(found: set[str], expected: set[str], where: str) -> BuildError:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    return BuildError(
        f"the columns differ from the schema: missing {missing}, unknown {unknown}",
        where=where,
        remedy="Give every column of the schema except the images; None where there is no value.",
    )


def _no_columns(rows: int) -> pa.RecordBatch:
    """A batch of rows that have nothing but images: Arrow keeps the number of rows in a struct alone."""
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
    )


def _to_dictionary(column: pa.ChunkedArray) -> pa.StructArray:
    """An image column in plain pages, with its pictures in a dictionary."""
    whole = _one_chunk(column)
    mask = whole.is_null() if whole.null_count else None
    values = whole.field("bytes").dictionary_encode()
    return pa.StructArray.from_arrays([values, whole.field("path")], names=["bytes", "path"], mask=mask)


def _decoded_bytes(columns: pa.RecordBatch, images: Mapping[str, ImageColumn]) -> int:
    """Bytes of a row group in memory, without building the copies of repeated pictures.

    The count of Arrow (``Table.nbytes``): the values, four bytes of offset per row, and a bit per row where
    rows are missing.
    """
    total = int(columns.nbytes)
    for column in images.values():
        names = column.images.paths
        paths = [names[index] if index >= 0 else None for index in column.rows.tolist()]
        total += column.decoded_bytes + sum(len(path.encode()) for path in paths if path is not None)
        total += 2 * 4 * len(column)
        bitmap = (len(column) + 7) // 8
        total += bitmap * bool((column.rows < 0).any()) + bitmap * (None in paths)
    return total


def _check_limits(rows: int, size: int, where: str) -> None:
    if not 1 <= rows <= MAX_ROW_GROUP_ROWS:
        raise BuildError(
            f"the row group has {rows} rows, expected 1 to {MAX_ROW_GROUP_ROWS}",
            where=where,
            remedy="Divide the rows into smaller row groups, and leave out empty ones.",
        )
    if size > MAX_ROW_GROUP_BYTES and rows > 1:
        raise BuildError(
            f"the row group has {size} bytes decoded, expected at most {MAX_ROW_GROUP_BYTES}",
            where=where,
            remedy="Put fewer rows into a row group; a repeated picture counts once for each row.",
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
