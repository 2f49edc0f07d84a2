"""Reading back from the Hub what was published, and comparing it with the folder.

`datasets` reads card and listing, as for a user: which files a split has, and their features. The rows are read as
`stream` reads them, which waits for failures that pass and asks for no image but those that are compared.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from irtd_datasets.errors import HubError, PublishError
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.hub.remote import quiet_client, redact
from irtd_datasets.training.source import open_source
from irtd_datasets.training.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from datasets import Features

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
    """Compare each split of each config with the folder's: files and features for `datasets`, and the first rows.

    Args:
        folder: The dataset folder.
        repo_id: ``owner/name``.
        commit: Revision to read.
        token: What to read a private repository with.
        rows: Rows of each split.

    Returns:
        Rows compared, by ``config/split``.

    Raises:
        PublishError: A row differs, rows are missing, or `datasets` takes other files or features from the card.
        HubError: They cannot be read.
    """
    from datasets import Features

    compared = {}
    for config in config_names(folder):
        for split, files in config_files(folder, config).items():
            where = f"{repo_id} at {commit}"
            here = [row_hash(row) for row in _first_rows(files, rows)]
            own = Features.from_arrow_schema(pq.read_schema(files[0]))
            names = sorted(file.resolve().relative_to(folder.resolve()).as_posix() for file in files)
            found_names, features, there = _from_hub(repo_id, config, split, rows, commit=commit, token=token)
            for what, told, written in (
                ("files", found_names, names),
                ("features", features or own, own),
            ):
                if told != written:
                    raise PublishError(
                        f"`datasets` takes other {what} for {config}/{split} from the card than the folder has",
                        where=where,
                        remedy="`irtd check` compares the card with the files; then publish again.",
                    )
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
) -> tuple[list[str], Features | None, list[str]]:
    """What `datasets` says of a split, files and features, and the hashes of its first rows."""
    try:
        with quiet_client(token):
            names, features = _as_declared(repo_id, config, split, commit=commit, token=token)
            place = f"hf://datasets/{repo_id}@{commit}"
            source = open_source(place, config=config, split=split, options={"token": token})
            first = source.only(np.arange(len(source)) < rows)
            stream = Stream([first], columns=source.columns, shuffle=False, rank=0, world_size=1)
            return names, features, [row_hash(row) for row in stream]
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


def _as_declared(
    repo_id: str, config: str, split: str, *, commit: str, token: str | None
) -> tuple[list[str], Features | None]:
    """The files and features of a split as `datasets` understands the card."""
    import datasets

    builder = datasets.load_dataset_builder(repo_id, config, revision=commit, token=token)
    files = builder.config.data_files[split]
    return sorted(str(file).partition(f"@{commit}/")[2] for file in files), builder.info.features
