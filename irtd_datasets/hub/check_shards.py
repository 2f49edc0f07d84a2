"""The Parquet files of a dataset folder: footers against the viewer's rules, and the text of their rows."""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from irtd_datasets.folder.names import part_of
from irtd_datasets.schema import FIELDS, MAY_BE_MISSING, arrow_schema, hub_metadata
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.hub.check_card import ConfigFiles
    from irtd_datasets.hub.check_files import Shard
    from irtd_datasets.hub.findings import Findings
    from irtd_datasets.spec import DatasetSpec

__all__ = [
    "ShardTexts",
    "check_footers",
    "check_sources",
    "check_statistics",
    "check_texts_beside",
    "find_paths",
    "image_columns",
    "read_texts",
]

PAGE_BYTES = 300_000_000
"""What the viewer reads of one row group for a page: `LimitedAsyncReader` of its Parquet reader refuses more."""
PAGE_ROWS = 100
"""Rows that a page of the viewer shows, and that it previews of a split."""
_GROUP_BYTES = 100_000_000
_COLUMNS, _COLUMN_NAME = 1_000, 500

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"RIFF")

# A path from a root that only one machine has: a home, a mount, a drive, a share.
_ROOTS = "home|Users|root|mnt|media|tmp|private|scratch|workspace|nfs|gpfs|lustre|Volumes"
_LOCAL_PATH = rf"(?:^|[\s\"'`(=:,\[])(?:(?:file://)?/(?:{_ROOTS})/[^\s/\"']+|[A-Za-z]:\\[^\s\\]+|[A-Za-z]:/[^\s/]+/|\\\\[\w.-]+\\[^\s\\]+)"
# In a column that holds names, every absolute path is one.
_ABSOLUTE = r"^(?:/|[A-Za-z]:[\\/]|\\\\|~/|file://)"
_NAME_COLUMNS = ("id", "source", "image_note")


def image_columns(shard: Shard) -> list[str]:
    """Names of the top-level columns that hold images: so declared, or else of their Arrow type."""
    features = shard.features
    if features is not None:
        return [
            name
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "Image" and name in shard.schema.names
        ]
    return [entry.name for entry in shard.schema if entry.type == _IMAGE]


def check_footers(
    shards: Sequence[Shard], configs: ConfigFiles, described: set[str], findings: Findings
) -> None:
    """Rules that footers alone decide.

    Args:
        shards: The Parquet files.
        configs: Files of each config and split.
        described: Configs whose features stand on the card.
        findings: Takes what is found.
    """
    ours, our_metadata = arrow_schema(metadata=False), hub_metadata()
    earlier = pa.schema([entry for entry in ours if entry.name not in MAY_BE_MISSING])
    told = set()
    for shard in shards:
        plain = shard.schema.remove_metadata()
        if not plain.equals(ours):
            rule = "schema-earlier" if plain.equals(earlier) else "schema-foreign"
            findings.add(rule, _schema_difference(plain, ours), shard.name)
        stored = (shard.schema.metadata or {}).get(b"huggingface")
        if stored != our_metadata or not plain.equals(ours):
            key = (stored, str(plain))
            if key not in told:
                told.add(key)
                _check_feature_metadata(shard, findings)
        _check_groups(shard, findings)
    by_name = {shard.name: shard for shard in shards}
    for config, splits in configs.items():
        files = [by_name[name] for names in splits.values() for name in names if name in by_name]
        if files and config not in described and any(shard.features is None for shard in files):
            findings.add(
                "features-missing",
                f"config {config!r} has them neither on the card nor in the file",
                files[0].name,
            )
        first = files[0].schema.remove_metadata() if files else None
        for shard in files[1:]:
            plain = shard.schema.remove_metadata()
            if not plain.equals(first):
                findings.add(
                    "schema-differs",
                    f"config {config!r}: unlike {files[0].name}, {_schema_difference(plain, first)}",
                    shard.name,
                )


def _schema_difference(found: pa.Schema, expected: pa.Schema) -> str:
    missing = [name for name in expected.names if name not in found.names]
    more = [name for name in found.names if name not in expected.names]
    if missing or more:
        return f"columns missing {missing}, unknown {more}"
    for entry in expected:
        if found.field(entry.name).type != entry.type:
            return f"column {entry.name!r} is {found.field(entry.name).type}, expected {entry.type}"
    return "the columns stand in another order"


def _check_feature_metadata(shard: Shard, findings: Findings) -> None:
    schema = shard.schema
    if len(schema.names) > _COLUMNS:
        findings.add("columns-too-many", f"{len(schema.names):,} columns", shard.name)
    for name in schema.names:
        if len(name) > _COLUMN_NAME:
            findings.add("column-name", f"a name of {len(name):,} characters, {name[:40]!r}...", shard.name)
    features = shard.features
    if features is None:
        if (schema.metadata or {}).get(b"huggingface"):
            findings.add("features-file", "the key `huggingface` holds no features", shard.name)
        features = {}
    elif list(features) != list(schema.names):
        findings.add(
            "features-file", f"features of {list(features)}, columns {schema.names}"[:400], shard.name
        )
    kinds = set(re.findall(r'"_type": "(\w+)"', json.dumps(features)))
    newer = sorted(kinds & {"List", "LargeList", "Json", "Nifti", "Mesh"})
    if newer:
        findings.add("features-notation", f"feature types {', '.join(newer)}", shard.name)
    _check_kinds(shard, features, findings)


def _check_kinds(shard: Shard, features: Mapping[str, Any], findings: Findings) -> None:
    """Column types that the viewer shows, or the Hub tags, otherwise than meant."""
    schema = shard.schema
    media = set(image_columns(shard))
    numbers = [
        entry.name
        for entry in schema
        if (pa.types.is_integer(entry.type) or pa.types.is_floating(entry.type))
        and not _is_label(features.get(entry.name))
    ]
    if len(numbers) >= 2 and not media:
        findings.add("modality-tabular", f"number columns {', '.join(numbers)}, and no image", shard.name)
    for entry in schema:
        kind = entry.type
        if pa.types.is_list(kind) and pa.types.is_float32(kind.value_type) and "emb" not in entry.name:
            findings.add("modality-timeseries", f"column {entry.name!r} is a list of float32", shard.name)
        as_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        undeclared = kind == _IMAGE and features and entry.name not in media
        if entry.name in FIELDS and FIELDS[entry.name].type != {"_type": "Image"} and undeclared:
            continue  # ours, and meant so
        if (as_bytes or undeclared) and _holds_images(shard, entry.name, as_struct=not as_bytes):
            findings.add("image-as-bytes", f"column {entry.name!r} holds images and is no Image", shard.name)


def _is_label(feature: Any) -> bool:  # noqa: ANN401 - a value of JSON
    return isinstance(feature, dict) and feature.get("_type") in {"ClassLabel", "bool"}


def _holds_images(shard: Shard, column: str, *, as_struct: bool) -> bool:
    """Whether the first values of a column begin as images do."""
    with pq.ParquetFile(shard.path) as parquet:
        for batch in parquet.iter_batches(batch_size=8, columns=[column]):
            values = batch.column(0).field("bytes") if as_struct else batch.column(0)
            return any(value.as_py()[:4].startswith(_IMAGE_STARTS) for value in values if value.is_valid)
    return False


def _check_groups(shard: Shard, findings: Findings) -> None:  # noqa: C901 - one loop over the footer
    metadata = shard.metadata
    columns = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    images = {f"{name}.bytes" for name in image_columns(shard)}
    told: set[str] = set()

    def once(rule: str, message: str) -> None:
        if rule not in told:
            told.add(rule)
            findings.add(rule, message, shard.name)

    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows > PAGE_ROWS:
            once(
                "row-group-rows",
                f"row group {index} has {group.num_rows:,} rows, expected at most {PAGE_ROWS}",
            )
        size = 0
        for position, path in enumerate(columns):
            chunk = group.column(position)
            size += chunk.total_compressed_size
            if not chunk.has_offset_index:
                once("page-index", f"column {path} of row group {index} has none")
            if path in images:
                if chunk.compression not in {"UNCOMPRESSED", "NONE"}:
                    once("image-compressed", f"column {path} is compressed with {chunk.compression}")
                if chunk.is_stats_set and chunk.statistics is not None and chunk.statistics.has_min_max:
                    once("image-statistics", f"column {path} has smallest and largest values in the footer")
        if size > PAGE_BYTES:
            once(
                "viewer-page",
                f"row group {index} has {size / 1e6:,.0f} MB, a page reads at most 300 MB of one",
            )
        if group.total_byte_size > _GROUP_BYTES:
            once("row-group-bytes", f"row group {index} has {group.total_byte_size / 1e6:,.0f} MB")
        _check_labels(shard, group, columns, index, once)


def _check_labels(shard: Shard, group: Any, columns: Sequence[str], index: int, once: Any) -> None:  # noqa: ANN401
    for name, feature in (shard.features or {}).items():
        if not (isinstance(feature, dict) and feature.get("_type") == "ClassLabel") or name not in columns:
            continue
        statistics = group.column(columns.index(name)).statistics
        count = len(feature.get("names", ()))
        if (
            statistics is not None
            and statistics.has_min_max
            and (statistics.min < -1 or statistics.max >= count)
        ):
            once(
                "label-range",
                f"column {name!r} of row group {index} has {statistics.max}, names end at {count - 1}",
            )


# ------------------------------------------------------------------------------------------------------------
# Text.


@dataclass(slots=True)
class ShardTexts:
    """What the statistics of a shard's columns are made of.

    Attributes:
        lengths: Smallest and largest value, text length or list length by column.
        uniques: Distinct texts by column, as hashes; None when there are more than the Hub counts.
        sources: Rows of each source.
    """

    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)
    uniques: dict[str, set[int] | None] = field(default_factory=dict)
    sources: Counter[str | None] = field(default_factory=Counter)


_UNIQUE_LIMIT = 1_000
"""Distinct texts up to which the Hub takes a column for labels."""


class TextReader:
    """Reads what is no image of every row.

    Args:
        dataset: The dataset, whose ids begin with its name; None when it is not known.
        findings: Takes what is found.
    """

    def __init__(self, dataset: DatasetSpec | None, findings: Findings) -> None:
        self._dataset = dataset
        self._findings = findings
        self._ids: list[Any] = []
        self._names = machine_names()
        self.rows = 0

    def read(self, shard: Shard) -> ShardTexts:
        """Read a shard and tell what is wrong with its rows."""
        found = ShardTexts()
        columns = _text_columns(shard)
        try:
            with pq.ParquetFile(shard.path) as parquet:
                # A whole shard at once where its text is small, which is much faster than row group by row group.
                for groups in _batches(shard):
                    table = parquet.read_row_groups(groups, columns=columns)
                    self._read(shard, table, found)
                    self.rows += table.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            self._findings.add("shard-unreadable", str(error).partition("\n")[0], shard.name)
        return found

    def _read(self, shard: Shard, table: pa.Table, found: ShardTexts) -> None:
        first = sum(found.sources.values())
        if "id" in table.schema.names and pa.types.is_string(table.schema.field("id").type):
            self._check_part(shard, table["id"], first)
            self._ids.append((shard.name, first, table["id"]))
        found.sources.update(_counts(table, "source"))
        for name in table.schema.names:
            column = table[name]
            self._measure(name, column, shard, found)
            for path, texts, rows in _texts(name, column):
                self._check_texts(shard, path, texts, rows, first)

    def _check_part(self, shard: Shard, ids: pa.ChunkedArray, first: int) -> None:
        """Ids begin with dataset and subset; a shard put into another's place has others."""
        subset, _ = part_of(shard.name)
        if self._dataset is None or not subset:
            return
        # MMRS-1M names the part where IR-TD and RS-GPT4V name the subset.
        prefixes = [f"{self._dataset.name}/{name}/" for name in part_of(shard.name)]
        right = pc.or_kleene(*(pc.starts_with(ids, prefix) for prefix in prefixes))
        wrong = np.flatnonzero(~np.asarray(pc.fill_null(right, False)))
        if wrong.size:
            row = int(wrong[0])
            self._findings.add(
                "shard-swapped",
                f"id {str(ids[row].as_py())[:80]!r}, expected one of {self._dataset.name}/{subset}; "
                f"{wrong.size:,} rows",
                shard.name,
                row=first + row,
            )

    def _measure(self, name: str, column: pa.ChunkedArray, shard: Shard, found: ShardTexts) -> None:
        kind = column.type
        feature = (shard.features or {}).get(name)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            values = pc.list_value_length(column)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values = pc.utf8_length(column)
            _add_uniques(name, column, found)
        elif pa.types.is_integer(kind) and not _is_label(feature):
            values = column
        else:
            return
        ends = pc.min_max(values).as_py()
        if ends["min"] is not None:
            low, high = found.lengths.get(name, (ends["min"], ends["max"]))
            found.lengths[name] = (min(low, ends["min"]), max(high, ends["max"]))

    def _check_texts(self, shard: Shard, path: str, texts: Any, rows: Any, first: int) -> None:  # noqa: ANN401
        named = path in _NAME_COLUMNS or path.endswith(".path")
        hits = np.asarray(
            pc.match_substring_regex(texts, _ABSOLUTE if named else _LOCAL_PATH).fill_null(False)
        )
        if named:
            inside = pc.match_substring_regex(texts, _LOCAL_PATH).fill_null(False)
            hits = hits | np.asarray(inside)
        for position in np.flatnonzero(hits)[:20]:
            self._findings.add(
                "local-path",
                f"{path} has {_around(texts[int(position)].as_py(), _LOCAL_PATH)}",
                shard.name,
                row=first + int(rows()[position]),
                count=1,
            )
        if not self._names:
            return
        pattern = _machine_pattern(self._names, anywhere=named)
        hits = np.asarray(pc.match_substring_regex(texts, pattern).fill_null(False))
        for position in np.flatnonzero(hits)[:20]:
            self._findings.add(
                "machine-name",
                f"{path} has {_around(texts[int(position)].as_py(), pattern)}",
                shard.name,
                row=first + int(rows()[position]),
            )

    def check_ids(self) -> None:
        """Ids that two rows have, over everything read."""
        if not self._ids:
            return
        whole = pa.chunked_array([chunk for _, _, ids in self._ids for chunk in ids.chunks], pa.string())
        if pc.count_distinct(whole, mode="all").as_py() == len(whole):
            return
        counts = whole.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        names = {entry["values"].as_py(): entry["counts"].as_py() for entry in twice.slice(0, 20)}
        for name, first, ids in self._ids:
            for position, value in enumerate(ids.to_pylist()) if names else ():
                if value in names:
                    self._findings.add(
                        "id-duplicate",
                        f"{value!r} stands there {names.pop(value)} times",
                        name,
                        row=first + position,
                    )


def read_texts(
    shards: Sequence[Shard], dataset: DatasetSpec | None, findings: Findings
) -> dict[str, ShardTexts]:
    """Read everything but the images of all shards; by name of the shard."""
    reader = TextReader(dataset, findings)
    found = {shard.name: reader.read(shard) for shard in shards}
    reader.check_ids()
    return found


def _text_columns(shard: Shard) -> list[str]:
    """Leaf columns without bytes."""
    metadata = shard.metadata
    leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    return [
        leaf.path
        for leaf in leaves
        if leaf.physical_type != "BYTE_ARRAY" or leaf.logical_type.type == "STRING"
    ]


def _batches(shard: Shard, limit: int = 64 << 20) -> Iterator[list[int]]:
    """Row groups that are read together: at most so many bytes of text, as the footer counts them."""
    metadata = shard.metadata
    columns = set(_text_columns(shard))
    positions = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path in columns]
    batch: list[int] = []
    size = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        here = sum(group.column(position).total_uncompressed_size for position in positions)
        if batch and size + here > limit:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += here
    if batch:
        yield batch


def _counts(table: pa.Table, column: str) -> dict[Any, int]:
    if column not in table.schema.names or not pa.types.is_string(table.schema.field(column).type):
        return {None: table.num_rows}
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in table[column].value_counts()}


def _add_uniques(name: str, column: pa.ChunkedArray, found: ShardTexts) -> None:
    known = found.uniques.setdefault(name, set())
    if known is None:
        return
    distinct = column.unique()
    if len(distinct) > _UNIQUE_LIMIT:
        found.uniques[name] = None
        return
    known.update(hash(value) for value in distinct.to_pylist())
    if len(known) > _UNIQUE_LIMIT:
        found.uniques[name] = None


def _texts(path: str, column: Any, rows: Any = None) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    """Every array of strings in a column, with the rows that its values are of.

    Yields:
        Path of the leaf, its values, and a function that gives the row of each value.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    rows = rows or (lambda: np.arange(len(whole)))
    kind = whole.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield path, whole, rows
    elif pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from _texts(f"{path}.{kind.field(index).name}", whole.field(index), rows)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        outer = whole

        def inner() -> Any:  # noqa: ANN401 - an array of row numbers
            return np.asarray(rows())[np.asarray(pc.list_parent_indices(outer))]

        yield from _texts(path, pc.list_flatten(whole), inner)


def machine_names() -> list[str]:
    """Names of this machine and its user that are long and rare enough to mean them."""
    found = {socket.gethostname().partition(".")[0]}
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without a name, as in some containers
        found.add(getpass.getuser())
    known = {row["name"] for row in read_table("irtd_datasets.hub", "names.csv") if row["kind"] == "machine"}
    return sorted(name for name in found if len(name) >= 4 and name.lower() not in known)


def _machine_pattern(names: Sequence[str], *, anywhere: bool) -> str:
    either = "|".join(re.escape(name) for name in names)
    # In free text the name may be a word; beside / \ or @ it is not.
    return rf"\b(?:{either})\b" if anywhere else rf"(?:[/\\@](?:{either})\b|\b(?:{either})@)"


def find_paths(text: str) -> str:
    """The first local path in a text, quoted; empty when there is none.

    Example:
        >>> find_paths("read from /home/ada/data/x.json"), find_paths("left/right 3/4")
        ("'/home/ada'", '')
    """
    return _around(text, _LOCAL_PATH) if re.search(_LOCAL_PATH, text, re.MULTILINE) else ""


def _around(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return repr(match[0].strip() if match else text[:60])


def check_texts_beside(root: Path, found: Iterable[str], findings: Findings) -> None:
    """Local paths and names of this machine in the text files beside the shards."""
    names = machine_names()
    for name in found:
        if not name.endswith((".md", ".json", ".txt", ".yaml", ".csv")):
            continue
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        path = find_paths(text)
        if path:
            findings.add("local-path", f"it has {path}", name)
        match = re.search(_machine_pattern(names, anywhere=False), text) if names else None
        if match:
            findings.add("machine-name", f"it has {match[0]!r}", name)


# ------------------------------------------------------------------------------------------------------------
# What the Hub computes over a split.


def check_statistics(
    configs: ConfigFiles, shards: Mapping[str, Shard], texts: Mapping[str, ShardTexts], findings: Findings
) -> None:
    """Columns whose values, text lengths or list lengths are two neighbours, which the Hub's histogram cannot do.

    Source: ``compute_histogram`` and ``generate_bins`` of the viewer's statistics, over each split of each config.
    """
    for config, splits in configs.items():
        for split, names in splits.items():
            files = tuple(name for name in names if name in texts)
            rows = sum(shards[name].rows for name in files)
            columns = []
            for column in dict.fromkeys(column for name in files for column in texts[name].lengths):
                ends = [texts[name].lengths[column] for name in files if column in texts[name].lengths]
                low, high = min(end[0] for end in ends), max(end[1] for end in ends)
                if high - low == 1 and not _is_class(column, files, texts, rows):
                    kind = "values" if column in _plain_numbers(shards[files[0]]) else "lengths"
                    columns.append(f"{column} ({kind} {low} and {high})")
            if columns:
                where = f"config {config!r}, split {split!r}"
                told = f"{', '.join(columns)}: the viewer will show no histogram of any column"
                findings.add("statistics-two-values", f"{where}: {told}")


def _plain_numbers(shard: Shard) -> set[str]:
    return {entry.name for entry in shard.schema if pa.types.is_integer(entry.type)}


def _is_class(column: str, files: Sequence[str], texts: Mapping[str, ShardTexts], rows: int) -> bool:
    """Whether the Hub counts the texts of a column instead of their lengths (`StringColumn.is_class`)."""
    sets = [texts[name].uniques.get(column, set()) for name in files]
    if not any(column in texts[name].uniques for name in files):
        return False
    if any(found is None for found in sets):
        return False
    distinct = len(set().union(*(found for found in sets if found)))
    return distinct <= 10 or (distinct <= _UNIQUE_LIMIT and distinct / rows <= 0.2)


def check_sources(texts: Mapping[str, ShardTexts], dataset: DatasetSpec, findings: Findings) -> None:
    """Component datasets whose terms restrict passing on their images, or are not known."""
    counts: Counter[str | None] = Counter()
    for found in texts.values():
        counts.update(found.sources)
    unknown = []
    for source, rows in sorted(counts.items(), key=lambda item: str(item[0] or "")):
        terms = dataset.terms_of(source)
        if terms.redistribution == "forbidden":
            findings.add("source-forbidden", f"{source}, {rows:,} rows: {terms.licence}")
        elif terms.redistribution == "unknown" and rows:
            unknown.append(f"{source or 'not named'} ({rows:,} rows)")
    if unknown:
        findings.add("source-unknown", ", ".join(unknown))
