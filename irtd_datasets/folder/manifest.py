"""The manifest of a dataset folder: every published file with size and SHA-256, the shards, and how they were made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from irtd_datasets.documents import parse_json, read_json
from irtd_datasets.errors import UnsafePathError
from irtd_datasets.folder.names import CARD, CARD_IMAGES, DOCUMENTS, FINISHED, MANIFEST, index_name
from irtd_datasets.folder.parts import BuiltPart
from irtd_datasets.releases.paths import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from irtd_datasets.documents import JsonValue
    from irtd_datasets.folder.parts import ShardSummary

__all__ = ["MANIFEST_REMEDY", "Derivation", "Listed", "Manifest", "Parent"]

MANIFEST_REMEDY = "Remove manifest.json, and start `irtd build` again with every config of the folder."

_GENERATIONS = 50
"""Folders made of each other that a manifest may tell of."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the manifest says of a file.

    Attributes:
        size: Its bytes.
        sha256: Of all of them, in hexadecimal.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes | str) -> Listed:
        """What it says of a small file or a text."""
        data = content.encode() if isinstance(content, str) else content
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Parent:
    """A dataset folder that the rows of another were taken from.

    Attributes:
        manifest: SHA-256 of its ``manifest.json``, which names every file of it.
        schema: Version of its schema.
        config: The config that was read; empty for all.
        rows: Rows that were looked at.
        made_from: How it was made itself, where it was no build of a release.
    """

    manifest: str
    schema: str
    config: str
    rows: int
    made_from: Derivation | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {
            "manifest": self.manifest,
            "schema": self.schema,
            "config": self.config,
            "rows": self.rows,
        }
        return values if self.made_from is None else {**values, "made_from": self.made_from.as_dict()}

    @classmethod
    def from_json(cls, values: JsonValue) -> Parent:
        """The inverse of `as_dict`.

        Raises:
            AnnotationError: A value is missing or of another type.
        """
        manifest, schema, config = (values[name].text() for name in ("manifest", "schema", "config"))
        made_from = Derivation.optional(values.get("made_from"))
        return cls(manifest, schema, config, values["rows"].count(), made_from)


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a dataset folder was made from the rows of others.

    Attributes:
        how: The command with what decides its result, without paths.
        parents: The folders that the rows are of, in order.
    """

    how: str
    parents: tuple[Parent, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"how": self.how, "parents": [parent.as_dict() for parent in self.parents]}

    @classmethod
    def optional(cls, values: JsonValue | None) -> Derivation | None:
        """The inverse of `as_dict`; None where nothing is said.

        Raises:
            AnnotationError: A value is missing or of another type.
        """
        if values is None:
            return None
        if values.place.count("made_from") > _GENERATIONS:
            values.refuse(f"more than {_GENERATIONS} folders were made of each other")
        return cls(values["how"].text(), tuple(Parent.from_json(parent) for parent in values["parents"]))


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        dataset: Name of the dataset.
        version: Its version.
        order_seed: Seed of the order of its rows.
        made_with: Versions that can change the bytes of a shard.
        parts: Its parts with their shards.
        others: Files that are no shards, by name.
        made_from: Where its rows are from, if not from a release.
    """

    dataset: str
    version: str
    order_seed: int
    made_with: tuple[str, ...]
    parts: tuple[BuiltPart, ...]
    others: Mapping[str, Listed]
    made_from: Derivation | None = None

    @cached_property
    def shards(self) -> dict[str, ShardSummary]:
        """The Parquet files that hold rows, by name."""
        return {name: shard.summary for part in self.parts for name, shard in part.named_shards()}

    @cached_property
    def files(self) -> dict[str, Listed]:
        """Every file that is published but the manifest itself, by name."""
        shards = {name: Listed(shard.size, shard.sha256) for name, shard in self.shards.items()}
        return dict(sorted({**self.others, **shards}.items()))

    @property
    def seal(self) -> str:
        """SHA-256 of the manifest without its entry of the card: it stands on the card."""
        others = {name: listed for name, listed in self.others.items() if name != CARD}
        return hashlib.sha256(replace(self, others=others).render().encode()).hexdigest()

    @property
    def schema(self) -> str:
        """Version of the schema that its shards have; empty where it is not told."""
        return self.made_with[1] if len(self.made_with) > 1 else ""

    def render(self) -> str:
        """The text of ``manifest.json``."""
        values = {
            "dataset": self.dataset,
            "version": self.version,
            "order_seed": self.order_seed,
            "made_with": self.made_with,
            **({"made_from": self.made_from.as_dict()} if self.made_from is not None else {}),
            "files": {
                name: {"sha256": listed.sha256, "bytes": listed.size} for name, listed in self.files.items()
            },
            "parts": [part.as_dict() for part in self.parts],
        }
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def parse(cls, data: bytes, where: str = MANIFEST) -> Manifest:
        """Understand the bytes of a manifest.

        Args:
            data: JSON as `render` writes it.
            where: The file, for messages.

        Raises:
            AnnotationError: It is no manifest of a build, or contradicts itself.
        """
        return cls._of(parse_json(data, where, MANIFEST_REMEDY))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder; see `parse`.

        Raises:
            ReleaseNotFoundError: There is none.
            AnnotationError: It cannot be read, or is damaged.
        """
        return cls._of(read_json(folder / MANIFEST, MANIFEST_REMEDY, FINISHED))

    @classmethod
    def _of(cls, values: JsonValue) -> Manifest:
        files = values["files"]
        listed = {
            name: Listed(entry["bytes"].count(), entry["sha256"].text()) for name, entry in files.items()
        }
        manifest = cls(
            values["dataset"].text(),
            values["version"].text(),
            values["order_seed"].count(),
            tuple(values["made_with"].texts()),
            tuple(BuiltPart.from_json(part) for part in values["parts"]),
            {},
            Derivation.optional(values.get("made_from")),
        )
        if len({(part.key, part.split) for part in manifest.parts}) != len(manifest.parts):
            files.refuse("`parts` names a part twice")
        for name, shard in manifest.files.items():
            if listed.pop(name, None) != shard:
                files.refuse(f"`files` and `parts` differ in {name!r:.200}")
        known = {*DOCUMENTS, *CARD_IMAGES.values(), *map(index_name, manifest.shards)}
        try:
            for name in (*manifest.files, *listed):
                safe_name(name)
        except UnsafePathError as error:
            files.refuse(f"`files` lists a {error.where}: {error.problem}")
        if not listed.keys() <= known:
            files.refuse(f"`files` lists {min(listed.keys() - known)!r:.200}, which no build writes")
        return replace(manifest, others=listed)
