"""The text of a shard for random access: its columns as an Arrow file, mapped into memory, made when first asked for.

Parquet has to decode a row group to give one row. So each shard's columns without its images are written once to an
Arrow file in a cache folder, which all processes map. The name of the file holds the identity of the shard's bytes.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from irtd_datasets.training.rows import value_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irtd_datasets.training.shards import OpenShard

__all__ = ["ShardText", "cache_folder", "open_text"]

_ROWS = 32_768  # of a record batch: far below 2 GB of text
_VERSION = 2
_CHECKSUM = 4  # bytes of a CRC-32 at the end


def cache_folder() -> Path:
    """Where cached files are kept: ``IRTD_DATASETS_CACHE``, else ``irtd_datasets`` in the home of Hugging Face."""
    named = os.environ.get("IRTD_DATASETS_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME") or os.path.join(  # noqa: PTH118 - the rule of huggingface_hub, word for word
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(home).expanduser() / "irtd_datasets"


class ShardText:
    """The columns of a shard, row by row.

    Args:
        batches: Record batches with all its rows.
        columns: Columns to read.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], columns: Sequence[str]) -> None:
        ends, rows = [], 0
        for batch in batches:
            rows += batch.num_rows
            ends.append(rows)
        self._ends = ends
        self._columns = list(columns)
        self._batches = list(batches)
        self._readers: list[list[tuple[str, Callable[[int], Any]]] | None] = [None] * len(batches)

    def row(self, row: int) -> dict[str, Any]:
        """A row by its number in the shard."""
        which = bisect.bisect_right(self._ends, row) if len(self._ends) > 1 else 0
        readers = self._readers[which]
        if readers is None:
            batch = self._batches[which]
            readers = self._readers[which] = [
                (name, value_reader(batch.column(batch.schema.get_field_index(name))))
                for name in self._columns
            ]
        if which:
            row -= self._ends[which - 1]
        return {name: read(row) for name, read in readers}


def open_text(shard: OpenShard, columns: Sequence[str], folder: Path | None) -> ShardText:
    """The text of a shard, from the cache where it is there.

    Args:
        shard: The open shard.
        columns: Columns that will be read; all are cached.
        folder: Where Arrow files are kept; None, or a folder that cannot be written, keeps the text in memory.
    """
    every = shard.schema.names
    if folder is not None:
        key = hashlib.sha256(f"{_VERSION} {shard.footer} {shard.ref.identity}".encode()).hexdigest()[:40]
        path = folder / "text" / f"{key}.arrow"
        with contextlib.suppress(OSError, pa.ArrowException):
            if not path.is_file():
                with _alone(path) if shard.storage.remote else contextlib.nullcontext():
                    if not path.is_file():  # from afar one process fetches it for all
                        _write(path, shard.read_text(None, every))
            return ShardText(_mapped(path), columns)
    return ShardText(_batches(shard.read_text(None, columns)), columns)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with FileLock(str(lock)):
        yield
        lock.unlink(missing_ok=True)


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    plain = pa.table(
        {
            name: column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            for name, column in zip(table.schema.names, table.columns, strict=True)
        }
    )
    found: list[pa.RecordBatch] = plain.combine_chunks().to_batches(max_chunksize=_ROWS)
    return found


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        batches = _batches(table)
        schema = batches[0].schema if batches else table.schema
        with pa.ipc.new_file(str(temporary), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with pa.memory_map(str(temporary)) as mapped, temporary.open("ab") as file:
            file.write(_checksum(mapped.read_buffer()))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(data: Any) -> bytes:  # noqa: ANN401 - anything with bytes
    return zlib.crc32(data).to_bytes(_CHECKSUM, "little")


def _mapped(path: Path) -> list[pa.RecordBatch]:
    """The batches of a file, which ends with the checksum of what is before it; one that differs is removed."""
    with pa.memory_map(str(path)) as file:
        whole = file.read_buffer()
    size = whole.size - _CHECKSUM
    if size < 0 or _checksum(whole[:size]) != whole[size:].to_pybytes():
        path.unlink(missing_ok=True)
        raise OSError(f"{path} is damaged")
    reader = pa.ipc.open_file(whole[:size])
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]
