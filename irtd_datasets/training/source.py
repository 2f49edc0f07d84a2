"""A config of a dataset folder as rows that can be drawn: shards, row groups, and the rows that a filter leaves."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from irtd_datasets.arrow import from_numpy, to_array, to_numpy
from irtd_datasets.documents import LIMIT
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, ShardChangedError, UnknownNameError
from irtd_datasets.folder.front_matter import CARD_LIMIT, has_front_matter
from irtd_datasets.folder.index import FILTER_COLUMNS, read_entries
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.names import CARD, MANIFEST, index_name
from irtd_datasets.folder.row_groups import card_configs, choose_config, config_patterns, stored_features
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.remote import crew
from irtd_datasets.remote.urls import is_url, shown_url
from irtd_datasets.schema import MODALITIES, TASKS
from irtd_datasets.training.http_storage import HttpStorage
from irtd_datasets.training.shards import (
    OpenShard,
    ShardRef,
    open_index,
    parse_footer,
    read_footer,
    read_index_group,
)
from irtd_datasets.training.storage import (
    BEGIN,
    FileFacts,
    Storage,
    local_folder,
    open_storage,
    read_again,
    split_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Filters", "Source", "Units", "each", "open_source"]

_T = TypeVar("_T")

_OPENERS = 48  # requests at a time while a source is opened, so that a part more takes no round trip more

UNIT_BYTES = 32 << 20
"""Larger row groups, from other writers, are drawn in pieces of about so many bytes."""

UNIT_ROWS = 2_000
"""Likewise of so many rows."""


@dataclass(frozen=True)
class Filters:
    """Which rows are wanted; None takes all.

    Attributes:
        tasks: Names of tasks.
        sources: Names of component datasets.
        modalities: Names of sensors.
        without_issues: True for rows without any known defect, or codes of which a row may have none.
    """

    tasks: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    without_issues: bool | tuple[str, ...] = False

    @classmethod
    def of(
        cls,
        tasks: Sequence[str] | str | None = None,
        sources: Sequence[str] | str | None = None,
        modalities: Sequence[str] | str | None = None,
        without_issues: bool | Sequence[str] | str = False,
    ) -> Filters:
        """Take one name or several for each."""
        issues = without_issues if isinstance(without_issues, bool) else _names(without_issues) or ()
        return cls(_names(tasks), _names(sources), _names(modalities), issues)

    @property
    def columns(self) -> list[str]:
        """Columns that have to be read for them."""
        wanted = (self.tasks, self.modalities, self.sources, self.without_issues or None)
        return [name for name, values in zip(FILTER_COLUMNS, wanted, strict=True) if values is not None]

    def mask(self, table: pa.Table, labels: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """Which rows of a table pass.

        Args:
            table: The columns of `columns`.
            labels: Names behind the integers of `task` and `modality`.
        """
        keep = np.ones(len(table), bool)
        for column, names in (("task", self.tasks), ("modality", self.modalities), ("source", self.sources)):
            if names is None:
                continue
            values = table.column(column)
            wanted: list[Any] = list(names)
            if pa.types.is_integer(values.type):
                known = list(labels[column])
                wanted = [known.index(name) for name in names if name in known]
            keep &= to_numpy(pc.is_in(values.combine_chunks(), to_array(wanted, values.type)), False)
        if self.without_issues:
            issues = table.column("issues").combine_chunks()
            if isinstance(self.without_issues, bool):
                keep &= to_numpy(pc.equal(pc.list_value_length(issues), 0), True)
            else:
                hit = pc.is_in(
                    pc.list_flatten(issues), to_array(list(self.without_issues), issues.type.value_type)
                )
                parents = to_numpy(pc.list_parent_indices(issues), -1)
                keep[parents[to_numpy(hit, False)]] = False
        return keep


def _names(value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True)
class Units:
    """Pieces of a source that are read together: row groups, or parts of large ones, with the rows that pass filters.

    Attributes:
        shard: Which shard, int32, shape (units,).
        group: Which row group in it, int32.
        start: First row of the unit, as a number in the shard, int64.
        stop: The row behind its last, int64.
        counts: Rows that are wanted of it, int64.
    """

    shard: NDArray[np.int32]
    group: NDArray[np.int32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    counts: NDArray[np.int64]


class Source:
    """The wanted rows of one config; can be pickled, and opens its files anew in each process.

    Args:
        name: As the user wrote it.
        storage: Where the folder lies.
        shards: Its shards in order.
        columns: All columns of the rows.
        chosen: For each shard the rows that pass the filters, int32 and sorted; None where all do.
        limit: How many shards are open at a time.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        shards: Sequence[ShardRef],
        columns: Sequence[str],
        chosen: Sequence[NDArray[np.int32] | None],
        limit: int = 128,
    ) -> None:
        self.name = name
        self.storage = storage
        self.shards = tuple(shards)
        self.columns = tuple(columns)
        self.chosen = tuple(chosen)
        self.units = _units(self.shards, self.chosen)
        self.rows = int(self.units.counts.sum())
        self.first_rows = np.concatenate([[0], np.cumsum(_shard_rows(self.shards, self.chosen))])
        self.limit = limit
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._locks: dict[int, threading.Lock] = {}
        self._pid = os.getpid()
        self.content = _fingerprint(self.shards, [None] * len(self.shards))
        self.fingerprint = _fingerprint(self.shards, self.chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_locks": {}}

    def __len__(self) -> int:
        return self.rows

    @property
    def unit_bytes(self) -> int:
        """Bytes of a unit on average, other columns included."""
        rows = sum(ref.rows for ref in self.shards)
        return (
            sum(ref.size for ref in self.shards) * self.rows // max(rows * max(len(self.units.counts), 1), 1)
        )

    def open(self, shard: int) -> OpenShard:
        """A shard, opened when it is first asked for; the one that was used least lately is closed."""
        if self._pid != os.getpid() and self.storage.remote:
            # After a fork, what threads of the other process held or were making is nobody's.
            self._open, self._locks, self._pid = OrderedDict(), {}, os.getpid()
        with self._locks.setdefault(shard, threading.Lock()):  # several threads ask, one opens
            found = self._open.get(shard)
            if found is None:
                found = read_again(self.storage, lambda: OpenShard(self.storage, self.shards[shard]))
                while len(self._open) >= self.limit:
                    self._open.popitem(last=False)
                self._open[shard] = found
            else:
                self._open.move_to_end(shard)
            return found

    def forget(self) -> None:
        """Let go of the shards that are open; one that is being read from is closed when that is done."""
        self._open.clear()

    def rows_of(self, unit: int) -> NDArray[np.int64]:
        """The wanted rows of a unit, as numbers in its row group."""
        units = self.units
        shard, start, stop = int(units.shard[unit]), int(units.start[unit]), int(units.stop[unit])
        before = sum(self.shards[shard].groups[: int(units.group[unit])])
        chosen = self.chosen[shard]
        if chosen is None:
            return np.arange(start, stop) - before
        first, last = np.searchsorted(chosen, [start, stop])
        return chosen[first:last].astype(np.int64) - before

    def only(self, wanted: NDArray[np.bool_]) -> Source:
        """Some of the rows.

        Args:
            wanted: Which of them, shape (rows,).
        """
        chosen: list[NDArray[np.int32] | None] = []
        for number, rows in enumerate(self.chosen):
            mine = wanted[int(self.first_rows[number]) : int(self.first_rows[number + 1])]
            kept = np.flatnonzero(mine) if rows is None else rows[mine]
            chosen.append(rows if mine.all() else kept.astype(np.int32))
        return Source(self.name, self.storage, self.shards, self.columns, chosen, self.limit)

    def column(self, name: str) -> pa.ChunkedArray:
        """A text column of the wanted rows, in their order; no image is read.

        Raises:
            UnknownNameError: There is no such column.
        """
        if name not in self.columns:
            raise UnknownNameError(
                f"there is no column {name!r}",
                where=self.name,
                remedy=f"Its columns are {', '.join(self.columns)}.",
            )

        def one(number: int) -> pa.ChunkedArray:
            shard, rows = OpenShard(self.storage, self.shards[number]), self.chosen[number]
            try:
                values = read_again(self.storage, lambda: shard.read_text(None, [name])).column(name)
            finally:
                shard.close()
            return values if rows is None else values.take(from_numpy(rows))

        columns = each(self.storage, one, range(len(self.shards)))
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())

    def place(self, row: int) -> tuple[int, int]:
        """Shard of a wanted row, and its number in it."""
        shard = int(np.searchsorted(self.first_rows, row, "right")) - 1
        inside = row - int(self.first_rows[shard])
        chosen = self.chosen[shard]
        return shard, inside if chosen is None else int(chosen[inside])


def open_source(
    name: str | os.PathLike[str],
    *,
    config: str | None = None,
    split: str | None = None,
    filters: Filters | None = None,
    options: Mapping[str, Any] | None = None,
    prime: bool = False,
) -> Source:
    """Find the rows of a config.

    Args:
        name: A dataset folder, a repository on the Hub (``owner/name``, ``@revision``) or a URL; ``:config`` behind it.
        config: The config, if it is not in the name.
        split: Its split; None takes ``train``, or the only one.
        filters: Which rows are wanted.
        options: For the file system of a URL; ``token`` and ``endpoint`` for the Hub.
        prime: The rows are going to be read now, from anywhere in the shards.

    Raises:
        ReleaseNotFoundError: There is no such folder, no card in it, or a file that the card names is missing.
        UnknownNameError: There is no such config or split, or no such task or modality.
        ShardChangedError: An index in the folder is of other shards than those that lie there.
    """
    text = os.fspath(name)
    whole = config is not None or (
        "://" not in text and local_folder(text).is_dir()
    )  # a folder may have a colon
    place, inner = (text, None) if whole else split_name(text)
    storage = open_storage(place, options)
    text, place = (shown_url(one) if is_url(one) else one for one in (text, place))
    begin = BEGIN if storage.remote else CARD_LIMIT
    files, small = storage.opening({CARD: begin, MANIFEST: LIMIT + 1})
    if CARD not in small:
        raise ReleaseNotFoundError(
            "this is no dataset folder: it has no README.md",
            where=place,
            remedy="Name a folder that `irtd build` made, or a dataset repository.",
        )
    card = small[CARD].decode("utf-8", "replace")
    if len(small[CARD]) == BEGIN and not has_front_matter(card):
        card = storage.read_start(CARD, CARD_LIMIT).decode("utf-8", "replace")
    entry = choose_config(card_configs(card, f"{place}/{CARD}"), inner or config, place)
    files = _listed(storage, files, small.get(MANIFEST))
    names = _files_of(entry, files, place, split)
    shards = _shards(storage, files, names, prime=prime)
    metadata = None
    if shards:
        first = shards[0]
        known = storage.remote and first.tail
        metadata = parse_footer(first.tail) if known else read_footer(storage, first.name, first.size)[0]
    schema = metadata.schema.to_arrow_schema() if metadata is not None else pa.schema([])
    chosen: list[NDArray[np.int32] | None] = [None] * len(shards)
    if filters is not None and filters.columns:
        chosen = _choose(storage, shards, filters, schema, text)
    return Source(text, storage, shards, schema.names, chosen)


def each(storage: Storage, action: Callable[[Any], _T], items: Iterable[Any]) -> list[_T]:
    """Do the same for several files of a storage; from afar all at once."""
    if storage.remote:
        return crew("open", _OPENERS).map(action, items)
    return [action(item) for item in items]


def _listed(
    storage: Storage, files: dict[str, FileFacts], manifest_text: bytes | None
) -> dict[str, FileFacts]:
    """Files of a folder with the SHA-256 that its build wrote down; all of them where its server cannot list them.

    Raises:
        ReleaseNotFoundError: The server lists no files, and no manifest names them.
        AnnotationError: There is a manifest that cannot be read.
    """
    unknown = [name for name, file in files.items() if name.endswith(".parquet") and not file.sha256]
    if files and not (unknown and manifest_text is not None):
        return files
    if manifest_text is None:
        raise ReleaseNotFoundError(
            "the server lists no files, and there is no manifest.json that names them",
            where=storage.place,
            remedy="Serve a folder that `irtd build` made, or use a bucket that may be listed, or the Hub.",
        )
    manifest = Manifest.parse(manifest_text, storage.where(MANIFEST))
    written = {name: FileFacts(name, file.size, file.sha256) for name, file in manifest.files.items()}
    if not files:
        return written
    for name in unknown:  # a file of another size is not the one that was written down
        if name in manifest.shards and written[name].size == files[name].size:
            files[name] = replace(files[name], sha256=written[name].sha256)
    return files


def _files_of(
    entry: dict[str, Any], files: Mapping[str, FileFacts], place: str, split: str | None
) -> list[str]:
    """Names of the shards of a split, in the order in which `datasets` reads them."""
    by_split: dict[str, list[str]] = {}
    for name, pattern in config_patterns(entry, place):
        expression = _expression(safe_name(pattern))
        found = [file for file in sorted(files) if expression.fullmatch(file)]
        if not found:
            raise ReleaseNotFoundError(
                f"no file matches {pattern!r} of config {entry['config_name']!r}",
                where=place,
                remedy="Build the config again, or download the rest of the dataset.",
            )
        by_split.setdefault(name, []).extend(found)
    if split is None:
        split = "train" if "train" in by_split or len(by_split) != 1 else next(iter(by_split))
    if split not in by_split:
        raise UnknownNameError(
            f"config {entry['config_name']!r} has no split {split!r}",
            where=place,
            remedy=f"Its splits are {', '.join(by_split)}.",
        )
    return by_split[split]


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of a card as a regular expression: `*` stays within a folder, `**` does not."""
    text = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern):
        text += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(
            piece, piece if piece[:1] == "[" and piece[-1:] == "]" else re.escape(piece)
        )
    return re.compile(text)


def _shards(
    storage: Storage, listed: Mapping[str, FileFacts], names: Sequence[str], *, prime: bool
) -> list[ShardRef]:
    """The shards of some names: as the indexes of their parts know them, all of which are read at once."""
    files = [listed[name] for name in names]
    indexes = list(dict.fromkeys(index_name(file.name) for file in files))
    if prime:
        storage.prime(names)
    known: dict[str, ShardRef] = {}
    for entries in each(storage, lambda index: _index_entries(storage, index, listed.get(index)), indexes):
        known.update(entries)
    missing = [file for file in files if file.name not in known]
    for file in files:
        if file.name in known:
            _compare(storage, known[file.name], file)
    found = each(
        storage,
        lambda file: read_again(storage, lambda: read_footer(storage, file.name, file.size)),
        missing,
    )
    footers = {file.name: footer for file, footer in zip(missing, found, strict=True)}
    shards = []
    for file in files:
        if file.name in known:
            entry = known[file.name]
            shards.append(_with(entry, file))
            continue
        metadata, digest = footers[file.name]
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        sizes = tuple(
            sum(group.column(leaf).total_compressed_size for leaf in range(group.num_columns))
            for group in groups
        )
        rows = tuple(group.num_rows for group in groups)
        shards.append(ShardRef(file.name, file.size, file.sha256, file.token, rows, sizes, digest))
    return shards


def _with(ref: ShardRef, file: FileFacts) -> ShardRef:
    return replace(ref, token=file.token, sha256=ref.sha256 or file.sha256)


def _index_entries(storage: Storage, index: str, file: FileFacts | None) -> dict[str, ShardRef]:
    size = file.size if file is not None else None
    # Where all files are known, that no index is among them is known, too; the manifest may be older than an index.
    if file is None and storage.remote and not isinstance(storage, HttpStorage):
        return {}
    try:
        metadata = read_again(storage, lambda: open_index(storage, index, size, fresh=True)).metadata
    except ReleaseNotFoundError:
        return {}
    except ShardChangedError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(
            f"the index cannot be read: {error}",
            where=storage.where(index),
            remedy="Remove it: the places are then found in the shards themselves; or build the folder again.",
        ) from error
    entries = read_entries(metadata) or []
    return {entry.file: ShardRef.of_entry(entry, "", index, number) for number, entry in enumerate(entries)}


def _compare(storage: Storage, ref: ShardRef, file: FileFacts) -> None:
    """Refuse an index of another file than the one that lies there."""
    differs = ""
    if file.size != ref.size:
        differs = f"it has {file.size} bytes, the index {ref.index} is of a file of {ref.size}"
    elif file.sha256 and ref.sha256 and file.sha256 != ref.sha256:
        differs = f"its SHA-256 is {file.sha256[:16]}..., the index {ref.index} has {ref.sha256[:16]}..."
    if differs:
        raise ShardChangedError(
            f"index and shard do not belong together: {differs}",
            where=storage.where(file.name),
            remedy="Bring back the shard or its index from one build; without the index file, the places are found in "
            "the shard itself.",
        )


def _choose(
    storage: Storage, shards: Sequence[ShardRef], filters: Filters, schema: pa.Schema, name: str
) -> list[NDArray[np.int32] | None]:
    missing = [column for column in filters.columns if column not in schema.names]
    if missing:
        raise UnknownNameError(
            f"rows cannot be filtered by {missing[0]!r}: there is no such column",
            where=name,
            remedy=f"The columns are {', '.join(schema.names)}.",
        )
    labels = _labels(schema)
    for column, wanted in (("task", filters.tasks), ("modality", filters.modalities)):
        if wanted and pa.types.is_integer(schema.field(column).type):
            unknown = [value for value in wanted if value not in labels[column]]
            if unknown:
                raise UnknownNameError(
                    f"there is no {column} {unknown[0]!r}",
                    where=name,
                    remedy=f"Known: {', '.join(labels[column])}.",
                )

    def one(ref: ShardRef) -> NDArray[np.int32] | None:
        if ref.index:
            table = read_again(storage, lambda: read_index_group(storage, ref, filters.columns))
        else:
            shard = OpenShard(storage, ref)
            table = read_again(storage, lambda: shard.read_text(None, filters.columns))
            shard.close()
        mask = filters.mask(table, labels)
        return None if mask.all() else np.flatnonzero(mask).astype(np.int32)

    return each(storage, one, shards)


def _labels(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """Names behind integers: as the shard's own metadata says, else those of this library."""
    labels: dict[str, Sequence[str]] = {"task": TASKS, "modality": MODALITIES}
    features = stored_features(schema) or {}
    for column in labels:
        feature = features.get(column)
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            labels[column] = feature["names"]
    return labels


def _shard_rows(shards: Sequence[ShardRef], chosen: Sequence[NDArray[np.int32] | None]) -> NDArray[np.int64]:
    counts = [ref.rows if rows is None else len(rows) for ref, rows in zip(shards, chosen, strict=True)]
    return np.array(counts, np.int64)


def _units(shards: Sequence[ShardRef], chosen: Sequence[NDArray[np.int32] | None]) -> Units:
    columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
    for number, ref in enumerate(shards):
        rows = np.array(ref.groups, np.int64)
        sizes = np.array(ref.group_bytes or [0] * len(rows), np.int64)
        pieces = np.maximum(np.maximum(-(-rows // UNIT_ROWS), -(-sizes // UNIT_BYTES)), 1)
        pieces = np.minimum(pieces, np.maximum(rows, 1))
        group = np.repeat(np.arange(len(rows)), pieces)
        piece = np.arange(len(group)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        first = np.repeat(np.cumsum(rows) - rows, pieces)
        start = first + piece * rows[group] // pieces[group]
        stop = first + (piece + 1) * rows[group] // pieces[group]
        wanted = chosen[number]
        counts = stop - start
        if wanted is not None:
            counts = np.searchsorted(wanted, stop) - np.searchsorted(wanted, start)
        kept = counts > 0
        for column, values in zip(
            columns, (np.full(len(group), number), group, start, stop, counts), strict=True
        ):
            column.append(values[kept])
    joined = [np.concatenate(column) if column else np.empty(0, np.int64) for column in columns]
    return Units(
        joined[0].astype(np.int32),
        joined[1].astype(np.int32),
        *(column.astype(np.int64) for column in joined[2:]),
    )


def _fingerprint(shards: Sequence[ShardRef], chosen: Sequence[NDArray[np.int32] | None]) -> str:
    digest = hashlib.sha256()
    for ref, rows in zip(shards, chosen, strict=True):
        digest.update(f"{ref.name} {ref.identity}\n".encode())
        if rows is not None:
            digest.update(rows.astype("<i4").tobytes())
    return digest.hexdigest()
