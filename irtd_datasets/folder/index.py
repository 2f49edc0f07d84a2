"""The index of a part: where each image lies in its shards, as a small Parquet file beside the data.

One row per row of the data, one row group per shard, in the order of the shards:

============== ============ ====================================================================================
column         type         meaning
============== ============ ====================================================================================
file           string       The shard, relative to the dataset folder.
row_group      int32        Row group of the row inside the shard.
image.offset   int64        First byte of the image in the shard; null where the row has none.
image.length   int32        Its bytes.
task, ...      as in data   The columns that rows are filtered by, so that a filter reads no shard.
============== ============ ====================================================================================

Each image column has its pair. Rows that share an image in a dictionary share its offset. The key
``irtd_datasets.index`` of the file's metadata names each shard with its size, its SHA-256 and that of its footer: an
index is believed for exactly these bytes. The key ``irtd_datasets.footers`` holds the footers themselves, so that from
afar a part is opened by one request, however many shards it has; each is believed for its SHA-256 only.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.arrow import from_numpy, to_array
from irtd_datasets.documents import parse_json
from irtd_datasets.errors import AnnotationError
from irtd_datasets.folder.names import INDEX_FOLDER, index_name
from irtd_datasets.folder.pages import chunk_of, locate_in_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from irtd_datasets.documents import JsonValue

__all__ = [
    "FILTER_COLUMNS",
    "ShardEntry",
    "footer_digest",
    "image_columns",
    "index_table",
    "leaf_columns",
    "read_entries",
    "read_footer_bytes",
    "read_tables",
    "renamed",
    "write_folder_index",
    "write_index",
    "write_tables",
]

FILTER_COLUMNS = ("task", "modality", "source", "issues")
"""Columns that the index repeats, so that rows are chosen without reading a shard."""

_KEY = b"irtd_datasets.index"
_FOOTERS = b"irtd_datasets.footers"
_FOOTERS_STORED = 4 << 20  # a part of more is opened shard by shard
_FOOTERS_LIMIT = 256 << 20
_LEVEL = 9
_VERSION = 1
_MOST_GROUPS = 1_000_000
_MAGIC = b"PAR1"
_TAIL = 8  # four bytes of footer length, four of magic


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What an index says of a shard.

    Attributes:
        file: The shard, relative to the dataset folder.
        size: Its bytes.
        sha256: Of the whole file; empty where nobody computed it.
        footer: SHA-256 of its Parquet footer, which is cheap to compare each time a shard is opened.
        groups: Rows of each row group.
        images: Image columns with a pair of columns in the index.
        tail: The Parquet footer itself, where the index has it.
    """

    file: str
    size: int
    sha256: str
    footer: str
    groups: tuple[int, ...]
    images: tuple[str, ...]
    tail: bytes = field(default=b"", repr=False, compare=False)

    @property
    def rows(self) -> int:
        """Rows of the shard."""
        return sum(self.groups)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; equal neighbours among the row groups are counted."""
        runs = [[len(list(same)), rows] for rows, same in groupby(self.groups)]
        return {
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
            "footer": self.footer,
            "groups": runs,
            "images": list(self.images),
        }

    @classmethod
    def from_json(cls, values: JsonValue) -> ShardEntry:
        """The inverse of `as_dict`.

        Raises:
            AnnotationError: A value is missing, of another type, or far too large.
        """
        runs = [(run[0].count(), run[1].count()) for run in values["groups"]]
        if sum(count for count, _ in runs) > _MOST_GROUPS:
            values.refuse(f"more than {_MOST_GROUPS:,} row groups")
        return cls(
            values["file"].text(),
            values["size"].count(),
            values["sha256"].text(),
            values["footer"].text(),
            tuple(rows for count, rows in runs for _ in range(count)),
            tuple(values["images"].texts()),
        )


def image_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Names of the columns that hold encoded images: structs of ``bytes`` and ``path``.

    Example:
        >>> image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        >>> image_columns(pa.schema([("id", pa.string()), ("image", image)]))
        ('image',)
    """
    found = []
    for column in schema:
        if pa.types.is_struct(column.type):
            parts = {part.name: part.type for part in column.type}
            binary = parts.get("bytes")
            if set(parts) == {"bytes", "path"} and (
                pa.types.is_binary(binary) or pa.types.is_large_binary(binary)
            ):
                found.append(column.name)
    return tuple(found)


def read_footer_bytes(file: BinaryIO, size: int) -> bytes:
    """The footer of a Parquet file, without the eight bytes behind it; cut where the file is."""
    file.seek(max(size - _TAIL, 0))
    length = int.from_bytes(file.read(_TAIL)[:4], "little")
    file.seek(max(size - _TAIL - length, 0))
    return file.read(length)


def footer_digest(footer: bytes) -> str:
    """SHA-256 of a Parquet footer (without the eight bytes behind it), in hexadecimal."""
    return hashlib.sha256(footer).hexdigest()


def leaf_columns(metadata: Any, images: Sequence[str]) -> dict[str, int]:  # noqa: ANN401 - pyarrow has no types
    """Which leaf column holds the bytes of each image column."""
    wanted = {f"{name}.bytes": name for name in images}
    schema = metadata.schema
    return {
        wanted[schema.column(leaf).path]: leaf
        for leaf in range(len(schema))
        if schema.column(leaf).path in wanted
    }


def index_table(path: str | os.PathLike[str], name: str, sha256: str = "") -> tuple[ShardEntry, pa.Table]:
    """Make the index of one shard on disk; of its images only the lengths are touched.

    Args:
        path: The shard.
        name: Its name relative to the dataset folder.
        sha256: Of the file, if it is known.

    Returns:
        What identifies the shard, and one row per row of it.

    Raises:
        PageError: Its images do not lie in it as they are.
        AnnotationError: It is no Parquet file.
    """
    try:
        with open(path, "rb") as file, pq.ParquetFile(path) as parquet:  # noqa: PTH123 - see `_places`
            size = os.fstat(file.fileno()).st_size
            images = image_columns(parquet.schema_arrow)
            groups = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
            kept = [column for column in FILTER_COLUMNS if column in parquet.schema_arrow.names]
            filters = parquet.read(columns=kept, use_threads=False)
            footer = read_footer_bytes(file, size)
            places = _places(file.fileno(), parquet.metadata, images)
    except AnnotationError as error:
        raise type(error)(error.problem, where=f"{path}", remedy=error.remedy) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise AnnotationError(
            f"it cannot be read as Parquet: {error}",
            where=str(path),
            remedy="Build or download this file again.",
        ) from error
    entry = ShardEntry(name, size, sha256, footer_digest(footer), tuple(groups), images, footer)
    columns: dict[str, Any] = {
        "file": to_array([name] * entry.rows, pa.string()),
        "row_group": from_numpy(np.repeat(np.arange(len(groups), dtype=np.int32), groups)),
    }
    for image, (offsets, lengths) in places.items():
        missing = offsets < 0
        columns[f"{image}.offset"] = from_numpy(offsets, missing)
        columns[f"{image}.length"] = from_numpy(lengths, missing)
    table = pa.table(columns)
    for column in kept:
        table = table.append_column(column, filters[column])
    return entry, table


def _places(
    descriptor: int,
    metadata: Any,  # noqa: ANN401 - pyarrow has no types
    images: Sequence[str],
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int32]]]:
    found = {}
    for image, leaf in leaf_columns(metadata, images).items():
        pairs = [
            locate_in_file(descriptor, chunk_of(metadata, group, leaf))
            for group in range(metadata.num_row_groups)
            if metadata.row_group(group).num_rows
        ]
        found[image] = (
            np.concatenate([pair[0] for pair in pairs] or [np.empty(0, np.int64)]),
            np.concatenate([pair[1] for pair in pairs] or [np.empty(0, np.int32)]),
        )
    return found


def write_index(
    path: Path, shards: Iterable[tuple[Path, str, str]], staging: Path | None = None
) -> list[ShardEntry]:
    """Write the index of some shards with equal columns; it appears when it is complete.

    The same shards give the same bytes.

    Args:
        path: The index file.
        shards: For each shard its path, its name relative to the dataset folder, and its SHA-256.
        staging: Folder of the same file system for the file while it is written; that of the index by default.

    Returns:
        The entries, in order.
    """
    tables = (index_table(file, name, sha256) for file, name, sha256 in shards)
    return write_tables(path, tables, staging)


def write_tables(
    path: Path, tables: Iterable[tuple[ShardEntry, pa.Table]], staging: Path | None = None
) -> list[ShardEntry]:
    """Write an index from what `index_table` gave for each shard, here or elsewhere; see `write_index`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (staging or path.parent) / f".{path.name}.tmp-{os.getpid()}"
    entries: list[ShardEntry] = []
    writer: pq.ParquetWriter | None = None
    try:
        for entry, table in tables:
            if writer is None:
                writer = _open_writer(temporary, table.schema)
            same = table if table.schema.equals(writer.schema) else table.cast(writer.schema)
            writer.write_table(same, row_group_size=max(len(table), 1))
            entries.append(entry)
        if writer is None:
            return entries
        document = {"version": _VERSION, "shards": [entry.as_dict() for entry in entries]}
        writer.add_key_value_metadata({_KEY.decode(): json.dumps(document), **_packed(entries)})
        writer.close()
        temporary.replace(path)
    finally:
        if writer is not None:
            with contextlib.suppress(pa.ArrowException, OSError):
                writer.close()
        temporary.unlink(missing_ok=True)
    return entries


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    delta = {name: "DELTA_BINARY_PACKED" for name in schema.names if name.endswith((".offset", ".length"))}
    plain = [name for name in schema.names if name not in delta]
    leaves = [f"{name}.list.element" if pa.types.is_list(schema.field(name).type) else name for name in plain]
    return pq.ParquetWriter(
        path,
        schema.remove_metadata(),
        compression="zstd",
        use_dictionary=leaves,
        column_encoding=delta,
        write_statistics=False,
    )


def read_entries(metadata: Any) -> list[ShardEntry] | None:  # noqa: ANN401 - pyarrow has no types
    """The shards of an index, one for each of its row groups; None for a file that is none or of another version."""
    text = (metadata.metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        document = parse_json(text, "", "")
        if document["version"].value != _VERSION:
            return None
        entries = [ShardEntry.from_json(values) for values in document["shards"]]
    except AnnotationError:
        return None
    entries = _with_footers(entries, metadata.metadata.get(_FOOTERS, b""))
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return entries if [entry.rows for entry in entries] == rows else None


def _packed(entries: Sequence[ShardEntry]) -> dict[str, str]:
    """The footers of all shards as they stand in the metadata; nothing where they are too large or not known."""
    if not entries or not all(entry.tail for entry in entries):
        return {}
    together = b"".join(len(entry.tail).to_bytes(4, "little") + entry.tail for entry in entries)
    # Compressed together: they repeat the names of the same columns. Arrow's own zstd, as that of the pages.
    small = pa.Codec("zstd", compression_level=_LEVEL).compress(together, asbytes=True)
    text = base64.b64encode(len(together).to_bytes(8, "little") + small).decode()
    return {_FOOTERS.decode(): text} if len(text) <= _FOOTERS_STORED else {}


def _with_footers(entries: list[ShardEntry], text: bytes) -> list[ShardEntry]:
    """The entries with the footers of `_packed`; one whose SHA-256 is not that of its entry is left out."""
    try:
        packed = base64.b64decode(text, validate=True)
        size = int.from_bytes(packed[:8], "little")
        if not 0 < size <= _FOOTERS_LIMIT:
            return entries
        together = pa.Codec("zstd").decompress(packed[8:], size, asbytes=True)
    except (binascii.Error, ValueError, pa.ArrowException, OSError):
        return entries  # the footers are then read where they are
    found, position = [], 0
    for entry in entries:
        length = int.from_bytes(together[position : position + 4], "little")
        tail = together[position + 4 : position + 4 + length]
        position += 4 + length
        found.append(replace(entry, tail=tail) if footer_digest(tail) == entry.footer else entry)
    return found


def read_tables(source: Any) -> list[tuple[ShardEntry, pa.Table]]:  # noqa: ANN401 - a path or an open file
    """What an index file was written from: for each shard its entry and its rows; empty for a file that is none.

    Args:
        source: Path of an index file, or the file open for reading.
    """
    with pq.ParquetFile(source) as parquet:
        entries = read_entries(parquet.metadata) or []
        return [
            (entry, parquet.read_row_group(group, use_threads=False).combine_chunks())
            for group, entry in enumerate(entries)
        ]


def renamed(entry: ShardEntry, table: pa.Table, file: str) -> tuple[ShardEntry, pa.Table]:
    """The index of a shard that has got another name."""
    if entry.file == file:
        return entry, table
    column = table.schema.get_field_index("file")
    names = to_array([file] * len(table), pa.string())
    return replace(entry, file=file), table.set_column(column, "file", names)


def write_folder_index(
    folder: Path,
    shards: Iterable[tuple[str, str]],
    staging: Path | None = None,
    noted: Mapping[str, Path] | None = None,
) -> list[Path]:
    """Bring the index of a dataset folder up to date with its shards.

    Parts whose index names these very shards already are left alone; an index without a part is removed.

    Args:
        folder: The dataset folder.
        shards: Name relative to the folder, and SHA-256, of each shard in order.
        staging: See `write_index`.
        noted: By the name of a shard, where its writer may have left an index of it alone; see `write_index`.

    Returns:
        The index files of the folder.
    """
    parts: dict[str, list[tuple[str, str]]] = {}
    for name, sha256 in shards:
        parts.setdefault(index_name(name), []).append((name, sha256))
    for index, members in parts.items():
        if _known(folder / index) != members:
            write_tables(folder / index, _tables(folder, members, noted or {}), staging)
    root = folder / INDEX_FOLDER
    for stale in sorted(root.glob("*.parquet")):
        if stale.relative_to(folder).as_posix() not in parts:
            stale.unlink()
    return [folder / index for index in parts]


def _tables(
    folder: Path, shards: Sequence[tuple[str, str]], noted: Mapping[str, Path]
) -> Iterator[tuple[ShardEntry, pa.Table]]:
    for name, sha256 in shards:
        found = _noted(noted[name], sha256) if name in noted else None
        yield renamed(*found, name) if found else index_table(folder / name, name, sha256)


def _noted(path: Path, sha256: str) -> tuple[ShardEntry, pa.Table] | None:
    try:
        tables = read_tables(path)
    except (pa.ArrowException, OSError):
        return None  # there is none, or it is not whole
    return tables[0] if len(tables) == 1 and tables[0][0].sha256 == sha256 else None


def _known(path: Path) -> list[tuple[str, str]]:
    try:
        entries = read_entries(pq.read_metadata(path))
    except (pa.ArrowException, OSError):
        return []
    return [(entry.file, entry.sha256) for entry in entries or []]
