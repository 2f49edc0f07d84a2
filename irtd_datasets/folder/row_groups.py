"""Rows of a dataset folder as it is published, read with pyarrow alone, one row group in memory at a time.

Which files a config has is taken from the card, as ``datasets.load_dataset`` takes it, so that folders from the Hub
are read like folders from a build.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.documents import parse_json
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, UnknownNameError, did_you_mean
from irtd_datasets.folder.front_matter import parse_front_matter, read_card
from irtd_datasets.folder.names import CARD, FINISHED
from irtd_datasets.releases.paths import inside, safe_name
from irtd_datasets.schema import EARLIER, MAY_BE_MISSING

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Sequence

__all__ = [
    "RowGroupRef",
    "card_configs",
    "choose_config",
    "config_files",
    "config_names",
    "config_patterns",
    "folder_files",
    "read_groups",
    "stored_features",
]


@dataclass(frozen=True, slots=True)
class RowGroupRef:
    """Where a row group lies.

    Attributes:
        file: The Parquet file.
        index: Which of its row groups.
    """

    file: Path
    index: int

    def read(self, columns: Sequence[str], *, optional: Collection[str] = ()) -> pa.Table:
        """Read some columns of it; names may be paths such as ``image.bytes``, and ``optional`` ones may be missing.

        Raises:
            AnnotationError: The file is no Parquet file, is damaged, or lacks a column.
        """
        try:
            with pq.ParquetFile(self.file) as parquet:
                _check_columns(parquet, columns, self.file)
                return parquet.read_row_group(self.index, columns=[*columns, *optional])
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.file, error) from error


def config_names(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the configs that a dataset folder declares, the default one first.

    Raises:
        ReleaseNotFoundError: The folder has no card.
        AnnotationError: The card declares no configs.
    """
    configs = _configs(Path(folder))
    configs = sorted(configs, key=lambda config: not config.get("default"))
    return [str(config["config_name"]) for config in configs]


def config_files(folder: str | os.PathLike[str], config: str | None = None) -> dict[str, list[Path]]:
    """The Parquet files of a config, by split, in the order in which ``datasets`` reads them.

    Args:
        folder: A dataset folder: a build's result or a snapshot of a Hub repository.
        config: Name of the config; None takes the default one, or the only one.

    Raises:
        ReleaseNotFoundError: There is no card, or a pattern on it matches no file.
        UnknownNameError: There is no such config.
        AnnotationError: The card cannot be understood.
        UnsafePathError: A pattern on the card leads out of the folder.
    """
    root = Path(folder)
    return _files_of(choose_config(_configs(root), config, str(root)), root)


def folder_files(folder: str | os.PathLike[str], configs: Sequence[str] = ()) -> dict[Path, str]:
    """Return the Parquet files of several configs, each once, with their split.

    Args:
        folder: A dataset folder.
        configs: Names of its configs; none means all.

    Raises:
        ReleaseNotFoundError: As `config_files`.
        UnknownNameError: There is no such config.
        AnnotationError: As `config_files`.
        UnsafePathError: As `config_files`.
    """
    root = Path(folder)
    known = _configs(root)
    chosen = [choose_config(known, name, str(root)) for name in configs] if configs else known
    files: dict[Path, str] = {}
    for entry in chosen:
        for split, paths in _files_of(entry, root).items():
            files.update(dict.fromkeys(paths, split))
    return files


def _files_of(entry: dict[str, Any], root: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for split, pattern in config_patterns(entry, str(root)):
        found = sorted(root.glob(safe_name(pattern)))
        if not found:
            raise ReleaseNotFoundError(
                f"no file matches {pattern!r} of config {entry['config_name']!r}",
                where=str(root),
                remedy="Build the config again, or download the rest of the dataset.",
            )
        for file in found:
            files.setdefault(split, []).append(inside(root, file.relative_to(root).as_posix()))
    return files


def read_groups(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[RowGroupRef, pa.Table]]:
    """Read the row groups of files one after another.

    Args:
        files: Parquet files.
        columns: Columns to read, or paths into them.

    Yields:
        Where each row group lies, and its columns.

    Raises:
        AnnotationError: A file is no Parquet file, is damaged, or lacks a column.
    """
    for file in files:
        yield from _groups(file, columns)


def _groups(file: Path, columns: Sequence[str]) -> Iterator[tuple[RowGroupRef, pa.Table]]:
    try:
        with pq.ParquetFile(file) as parquet:
            _check_columns(parquet, columns, file)
            for index in range(parquet.num_row_groups):
                yield RowGroupRef(file, index), parquet.read_row_group(index, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def choose_config(configs: Sequence[dict[str, Any]], name: str | None, where: str) -> dict[str, Any]:
    """The entry of a config on a card.

    Args:
        configs: The card's entries, see `card_configs`.
        name: Name of the config; None takes the default one, or the only one.
        where: The folder, for messages.

    Raises:
        UnknownNameError: There is no such config.
    """
    entries = {str(entry["config_name"]): entry for entry in configs}
    if name is None:
        marked = [known for known, entry in entries.items() if entry.get("default")] or list(entries)
        if len(marked) != 1:
            raise UnknownNameError(
                "the folder has several configs and none is the default",
                where=where,
                remedy=f"Name one of {', '.join(entries)}.",
            )
        name = marked[0]
    if name not in entries:
        raise UnknownNameError(
            f"there is no config {name!r}",
            where=where,
            remedy=f"{did_you_mean(name, entries)}The configs are {', '.join(entries)}.",
        )
    return entries[name]


def _configs(root: Path) -> list[dict[str, Any]]:
    card = root / CARD
    try:
        status = card.stat()
    except OSError:
        return card_configs(read_card(root), str(card))  # says so
    return _parsed(root, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _parsed(root: Path, changed: int, size: int) -> list[dict[str, Any]]:  # noqa: ARG001 - key of the cache
    """Configs of a card, parsed once as long as the file stays the same: one may have 100,000 lines."""
    return card_configs(read_card(root), str(root / CARD))


def card_configs(text: str, where: str) -> list[dict[str, Any]]:
    """The configs that a card declares.

    Args:
        text: The card.
        where: Its name, for messages.

    Raises:
        AnnotationError: It declares none, or cannot be understood.
    """
    configs = parse_front_matter(text, where).get("configs")
    if not isinstance(configs, list) or not configs or not all(map(_is_config, configs)):
        raise AnnotationError("the card declares no configs with data files", where=where, remedy=FINISHED)
    return configs


def _is_config(entry: Any) -> bool:  # noqa: ANN401 - any YAML value
    return isinstance(entry, dict) and isinstance(entry.get("config_name"), str) and "data_files" in entry


def config_patterns(config: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Split and pattern of each entry; `datasets` takes a string, a list, or a list of mappings.

    Args:
        config: An entry of the card.
        where: The folder, for messages.
    """
    data_files = config["data_files"]
    entries = data_files if isinstance(data_files, list) else [data_files]
    for entry in entries:
        named = {"split": "train", "path": entry} if isinstance(entry, str) else entry
        split, paths = (named.get("split"), named.get("path")) if isinstance(named, dict) else (None, None)
        for path in paths if isinstance(paths, list) else [paths]:
            if not isinstance(split, str) or not isinstance(path, str):
                raise AnnotationError(
                    f"data files of config {config['config_name']!r} are {entry!r:.200}, expected a split and a path",
                    where=f"{where}/{CARD}",
                )
            yield split, path


def stored_features(schema: pa.Schema) -> dict[str, Any] | None:
    """The feature metadata that a Parquet file carries; None when it has none, or they cannot be understood."""
    try:
        stored = parse_json((schema.metadata or {}).get(b"huggingface", b""), "", "")["info"]["features"]
    except AnnotationError:
        return None
    return stored.value if isinstance(stored.value, dict) else None


def _check_columns(parquet: pq.ParquetFile, columns: Sequence[str], file: Path) -> None:
    present = set(parquet.schema_arrow.names)
    missing = [name for name in columns if name.partition(".")[0] not in present]
    if missing:
        raise AnnotationError(
            f"there is no column {', '.join(map(repr, missing))}",
            where=str(file),
            remedy=EARLIER
            if MAY_BE_MISSING.issuperset(missing)
            else "Name a folder with the schema of this library; `irtd list --fields` shows it.",
        )


def _unreadable(file: Path, error: Exception) -> AnnotationError:
    return AnnotationError(
        f"it cannot be read as Parquet: {error}", where=str(file), remedy="Build or download this file again."
    )
