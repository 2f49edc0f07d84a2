"""Reading rows back from the Hub as a user would, and comparing them with those of the folder."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from irtd_datasets.errors import HubError, PublishError
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.hub.remote import quiet_client, redact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["row_hash", "verify_published"]


def row_hash(row: dict[str, Any]) -> str:
    """SHA-256 over all values of a row; images count by their bytes and name.

    Example:
        >>> row_hash({"a": 1, "b": b"x"}) == row_hash({"b": b"x", "a": 1})
        True
    """
    text = json.dumps(row, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value)


def verify_published(
    folder: Path, repo_id: str, commit: str, *, token: str | None, rows: int
) -> dict[str, int]:
    """Stream the first rows of each split of each config from the Hub and compare them with the folder's.

    Args:
        folder: The dataset folder.
        repo_id: ``owner/name``.
        commit: Revision to read.
        token: What to read a private repository with.
        rows: Rows of each split.

    Returns:
        Rows compared, by ``config/split``.

    Raises:
        PublishError: A row differs, or rows are missing.
        HubError: They cannot be read.
    """
    compared = {}
    for config in config_names(folder):
        for split, files in config_files(folder, config).items():
            here = [row_hash(row) for row in _first_rows(files, rows)]
            there = _from_hub(repo_id, config, split, rows, commit=commit, token=token)
            where = f"{repo_id} at {commit}"
            if len(there) < len(here):
                raise PublishError(
                    f"{config}/{split} has {len(there)} rows to stream, {len(here)} were expected",
                    where=where,
                )
            for index, (expected, found) in enumerate(zip(here, there, strict=True)):
                if expected != found:
                    raise PublishError(
                        f"row {index} of {config}/{split} is not that of the folder",
                        where=where,
                        remedy="Compare the folder with what the Hub has; publish again.",
                    )
            compared[f"{config}/{split}"] = len(here)
    return compared


def _from_hub(
    repo_id: str, config: str, split: str, rows: int, *, commit: str, token: str | None
) -> list[str]:
    try:
        with quiet_client(token):
            found = _streamed(repo_id, config, split, rows, revision=commit, token=token)
            return [row_hash(row) for row in found]
    except Exception as error:  # noqa: BLE001 - whatever reading over a network raises
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise HubError(
            f"{config}/{split} cannot be streamed: {redact(lines[0] if lines else type(error).__name__, token)}",
            where=f"{repo_id} at {commit}",
            remedy="Everything was uploaded. Run the same command again: only this check is done anew.",
        ) from None


def _first_rows(files: Sequence[Path], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=count):
                found += batch.slice(0, count - len(found)).to_pylist()
                if len(found) >= count:
                    return found
    return found


def _streamed(
    repo_id: str, config: str, split: str, count: int, **options: str | None
) -> list[dict[str, Any]]:
    import datasets

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(repo_id, config, split=split, streaming=True, **options)
        for name, feature in rows.features.items():
            if isinstance(feature, datasets.Image):
                rows = rows.cast_column(name, datasets.Image(decode=False))
        return list(islice(rows, count))
    finally:
        if not bars:
            datasets.enable_progress_bars()
