"""The manifest of a dataset folder: every published file with size and SHA-256, and the rows of its shards."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import BUILT_MARKER, spec
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError
from irtd_datasets.folder.croissant import CROISSANT
from irtd_datasets.folder.index import index_name
from irtd_datasets.folder.names import CARD, LEDGER
from irtd_datasets.releases.paths import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irtd_datasets.spec import DatasetSpec

__all__ = ["DOCUMENTS", "Listed", "Manifest", "parse_manifest"]

DOCUMENTS = (CARD, CROISSANT, LEDGER)
"""Files at the top of a dataset folder that the manifest lists."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the manifest says of a file.

    Attributes:
        size: Its bytes.
        sha256: Of all of them, in hexadecimal.
        rows: Rows of a shard; None for other files.
        row_groups: Row groups of a shard; None for other files.
    """

    size: int
    sha256: str
    rows: int | None = None
    row_groups: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says.

    Attributes:
        dataset: Name of the dataset.
        version: Its version.
        files: Every file that is published but the manifest itself, by name.
        rows: Rows of each part, as (subset, part).
        num_bytes: Bytes in memory of each part.
    """

    dataset: str
    version: str
    files: Mapping[str, Listed]
    rows: Mapping[tuple[str, str], int]
    num_bytes: Mapping[tuple[str, str], int]

    @property
    def spec(self) -> DatasetSpec:
        """The dataset.

        Raises:
            UnknownNameError: This version does not know it.
        """
        return spec(self.dataset)

    @property
    def shards(self) -> list[str]:
        """Names of the Parquet files that hold rows, in order."""
        return [name for name, listed in self.files.items() if listed.rows is not None]


def parse_manifest(text: str) -> Manifest:
    """Understand the text of a manifest.

    Args:
        text: JSON as a build writes it.

    Raises:
        AnnotationError: It is no manifest of a build, or contradicts itself.
    """
    remedy = "Build it again: `irtd build` takes over what is whole."
    try:
        return _parse(json.loads(text))
    except IrtdDatasetsError as error:
        problem = str(error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise AnnotationError(f"it is no manifest of a build ({problem})", where=BUILT_MARKER, remedy=remedy)


def _parse(values: Any) -> Manifest:  # noqa: ANN401 - a value of JSON
    listed = {
        safe_name(name): Listed(int(entry["bytes"]), str(entry["sha256"]))
        for name, entry in values["files"].items()
    }
    files: dict[str, Listed] = {}
    rows: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[tuple[str, str]] = Counter()
    for part in values["parts"]:
        for shard in part["shards"]:
            name, summary = str(shard["file"]), shard["summary"]
            plain = Listed(int(summary["size"]), str(summary["sha256"]))
            if listed.get(name) != plain:
                raise ValueError(f"`files` and `parts` differ in {name}")
            files[name] = Listed(plain.size, plain.sha256, int(summary["rows"]), int(summary["row_groups"]))
            rows[part["subset"], part["part"]] += int(summary["rows"])
            num_bytes[part["subset"], part["part"]] += int(summary["num_bytes"])
    others = {*DOCUMENTS, *map(index_name, files)}
    unknown = sorted(listed.keys() - files.keys() - others)
    if unknown:
        raise ValueError(f"`files` lists {unknown[0]}, which no build writes")
    ordered = {name: files.get(name, entry) for name, entry in listed.items()}
    return Manifest(str(values["dataset"]), str(values["version"]), ordered, rows, num_bytes)
