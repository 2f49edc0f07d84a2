"""The shards of a dataset folder as they lie on disk: what stands in them, and where each image does.

For whoever copies rows from one folder to another: texts are read row group by row group as Arrow has them, and of the
images only the place is known, so that their bytes are copied and never decoded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.arrow import to_numpy
from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError
from irtd_datasets.folder.index import footer_digest, index_table, read_entries, read_footer_bytes
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.names import FINISHED, MANIFEST, index_name
from irtd_datasets.folder.row_groups import config_files, stored_features
from irtd_datasets.schema import FIELDS, FILE_FIELDS, MAY_BE_MISSING, arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from irtd_datasets.folder.index import ShardEntry
    from irtd_datasets.folder.parts import BuiltPart, ShardSummary

__all__ = ["CHECK", "TEXTS", "StoredFolder", "StoredShard", "conformed"]

TEXTS = pa.schema([entry for entry in arrow_schema(metadata=False) if entry.name not in FILE_FIELDS])
"""The columns that are no files."""

CHECK = "`irtd check` says what is wrong with the folder; build or download it again."
"""Remedy for a file of a folder that is not as the folder tells."""


@dataclass(frozen=True)
class StoredShard:
    """A shard of a dataset folder.

    Attributes:
        file: Where it lies.
        name: Its name in the folder.
        part: The part that it belongs to.
    """

    file: Path
    name: str
    part: BuiltPart

    @cached_property
    def _located(self) -> tuple[ShardEntry, pa.Table]:
        """Its index: that of the folder if it is of this very file, else made anew."""
        index = self.file.parents[self.name.count("/")] / index_name(self.name)
        try:
            size = self.file.stat().st_size
            with self.file.open("rb") as file:
                footer = footer_digest(read_footer_bytes(file, size))
            with pq.ParquetFile(index) as parquet:
                for number, entry in enumerate(read_entries(parquet.metadata) or ()):
                    if (entry.file, entry.size, entry.footer) == (self.name, size, footer):
                        return entry, parquet.read_row_group(number).combine_chunks()
        except (pa.ArrowException, OSError):
            pass  # the index is of no use; the shard itself says what is wrong with it
        return index_table(self.file, self.name)

    @property
    def rows(self) -> int:
        """Its rows."""
        return self._located[0].rows

    @property
    def groups(self) -> tuple[int, ...]:
        """Rows of each of its row groups."""
        return self._located[0].groups

    @property
    def facts(self) -> pa.Table:
        """The columns that rows are chosen by, a line for each row: ``task``, ``modality``, ``source``, ``issues``."""
        table = self._located[1]
        return table.select([name for name in table.schema.names if name in FIELDS])

    def places(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the images of a column lie in the file.

        Returns:
            Their first bytes and their lengths, each of shape (rows,); -1 where a row has none.

        Raises:
            AnnotationError: A place is outside the file.
        """
        places = self._places  # another thread may `forget` them meanwhile
        if column not in places:
            places[column] = self._find_places(column)
        return places[column]

    @cached_property
    def _places(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        return {}

    def _find_places(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        entry, table = self._located
        if column not in entry.images:
            nothing = np.full(entry.rows, -1, np.int64)
            return nothing, nothing
        offsets, lengths = (
            to_numpy(table[f"{column}.{what}"].combine_chunks(), -1).astype(np.int64)
            for what in ("offset", "length")
        )
        missing = offsets == -1
        wrong = (
            (offsets < -1) | (lengths < -1) | (missing != (lengths == -1)) | (offsets + lengths > entry.size)
        )
        if wrong.any():
            raise AnnotationError(
                f"the index places an image of column {column!r} outside the file",
                where=str(self.file),
                remedy=CHECK,
            )
        return offsets, lengths

    def forget(self) -> None:
        """Let go of what is kept of its index, which is read again when it is asked for."""
        for name in ("_located", "_places"):
            self.__dict__.pop(name, None)

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Columns or leaves of some row groups, in order.

        Raises:
            AnnotationError: They cannot be read.
        """
        try:
            with pq.ParquetFile(self.file) as parquet:
                return parquet.read_row_groups(list(groups), columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise AnnotationError(
                f"it cannot be read as Parquet: {error}", where=str(self.file), remedy=CHECK
            ) from error

    @cached_property
    def _schema(self) -> pa.Schema:
        try:
            return pq.read_schema(self.file)
        except (pa.ArrowException, OSError) as error:
            raise AnnotationError(
                f"it cannot be read as Parquet: {error}", where=str(self.file), remedy=CHECK
            ) from error

    def present(self, names: Iterable[str]) -> list[str]:
        """Which of some columns it has."""
        return [name for name in names if name in self._schema.names]

    @property
    def is_current(self) -> bool:
        """Whether its columns and features are those of this version, so that the file itself can be taken over."""
        ours = arrow_schema()
        metadata = self._schema.metadata or {}
        return bool(
            metadata == ours.metadata and self._schema.remove_metadata().equals(ours.remove_metadata())
        )

    @property
    def summary(self) -> ShardSummary:
        """What its writer measured, by the manifest."""
        return dict(self.part.named_shards())[self.name].summary

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all rows."""
        return self.read(range(len(self.groups)), [name])[name]


@dataclass(frozen=True)
class StoredFolder:
    """A dataset folder, or one config of it, from which rows are taken.

    Attributes:
        path: The folder.
        config: The config; empty for all.
        manifest: Its manifest.
        ledger: Its ledger.
        digest: SHA-256 of the file of its manifest.
        shards: The shards of the config, in the order of the manifest.
    """

    path: Path
    config: str
    manifest: Manifest
    ledger: Ledger
    digest: str
    shards: tuple[StoredShard, ...]

    @classmethod
    def open(cls, path: Path, config: str | None = None) -> StoredFolder:
        """Read what describes a dataset folder, and compare its shards with that.

        Args:
            path: The folder.
            config: One of its configs; None takes all rows.

        Raises:
            ReleaseNotFoundError: There is no such folder, no build has finished it, or a shard is missing.
            UnknownNameError: There is no such config.
            AnnotationError: Card, manifest or ledger cannot be read.
            BuildError: A shard is not the one that the manifest tells of, or the rows have another schema.
        """
        if not path.is_dir():
            raise ReleaseNotFoundError("there is no such folder", where=str(path), remedy=FINISHED)
        manifest, ledger = Manifest.read(path), Ledger.read(path)
        digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
        names = None
        if config is not None:
            files = config_files(path, config)
            names = {
                file.resolve().relative_to(path.resolve()).as_posix()
                for found in files.values()
                for file in found
            }
        shards = [
            StoredShard(path / name, name, part)
            for part in manifest.parts
            for name, _ in part.named_shards()
            if names is None or name in names
        ]
        for shard in shards:
            _check(shard, manifest.shards[shard.name].size)
        return cls(path, config or "", manifest, ledger, digest, tuple(shards))

    @property
    def name(self) -> str:
        """What a user called it."""
        return f"{self.path}:{self.config}" if self.config else str(self.path)

    @property
    def rows(self) -> int:
        """Its rows."""
        return sum(self.manifest.shards[shard.name].rows for shard in self.shards)

    @property
    def schema_version(self) -> str:
        """Version of the schema that its build wrote down."""
        made_with = self.manifest.made_with
        return made_with[1] if len(made_with) > 1 else "unknown"


def _check(shard: StoredShard, size: int) -> None:
    """Refuse a shard that is another file than the manifest's, or has columns that cannot become ours."""
    try:
        found = shard.file.stat().st_size
    except OSError as error:
        raise ReleaseNotFoundError("the shard is missing", where=str(shard.file), remedy=CHECK) from error
    if found != size:
        raise BuildError(
            f"it has {found:,} bytes, the manifest tells of {size:,}", where=str(shard.file), remedy=CHECK
        )
    try:
        schema = pq.read_schema(shard.file)
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(
            f"it cannot be read as Parquet: {error}", where=str(shard.file), remedy=CHECK
        ) from error
    problem = _schema_problem(schema)
    if problem:
        raise BuildError(
            problem,
            where=str(shard.file),
            remedy="Use the version of irtd-datasets that built the folder, or build it again with this one.",
        )


def _schema_problem(schema: pa.Schema) -> str:
    """Why rows of a schema cannot become rows of this version's; empty where they can."""
    ours = arrow_schema(metadata=False)
    unknown = [name for name in schema.names if name not in ours.names]
    if unknown:
        return f"this version does not know its columns {', '.join(map(repr, unknown))}"
    missing = [name for name in ours.names if name not in schema.names and name not in MAY_BE_MISSING]
    if missing:
        return f"it has no column {', '.join(map(repr, missing))}"
    for entry in schema:
        if entry.type != ours.field(entry.name).type:
            return f"column {entry.name!r} is {entry.type}, expected {ours.field(entry.name).type}"
    for name, feature in (stored_features(schema) or {}).items():
        names = feature.get("names") if isinstance(feature, dict) else None
        known = FIELDS[name].type["names"] if names is not None and name in FIELDS else []
        if names is not None and names != known[: len(names)]:
            return f"the labels of column {name!r} are not those of this version"
    return ""


def conformed(table: pa.Table) -> pa.RecordBatch:
    """The columns of `TEXTS` of a table of an older schema; null where it has none."""
    columns = [
        table[entry.name].combine_chunks()
        if entry.name in table.schema.names
        else pa.nulls(len(table), entry.type)
        for entry in TEXTS
    ]
    return pa.RecordBatch.from_arrays([_one(column) for column in columns], schema=TEXTS)


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):  # what `combine_chunks` gives of none
        return column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)
    return column
