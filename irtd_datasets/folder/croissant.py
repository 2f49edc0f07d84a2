"""Croissant metadata of a dataset folder: ``croissant.json``, from which mlcroissant loads every config.

The form is that of the Hub's own (`huggingface/dataset-viewer`, ``croissant_utils.py``), with one difference: its file
sets name the shards of the folder itself, by patterns relative to the file, so that it works on a disk, in a clone and
after a move, without the conversion that the Hub makes. The checksums of shards stand in the manifest, since a file set
has none, and a file set over files that have them is refused by mlcroissant 1.1.1.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from irtd_datasets.folder.card import configs_of
from irtd_datasets.schema import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.folder.parts import BuiltPart
    from irtd_datasets.spec import DatasetSpec

__all__ = ["LEFT_OUT", "render_croissant"]

_CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_TYPES = {"string": "sc:Text", "float32": "cr:Float32", "int32": "cr:Int32"}

LEFT_OUT = frozenset({"original"})
"""Columns that are not described: Croissant 1.0 has no type for bytes that are neither text nor an image."""


def render_croissant(spec: DatasetSpec, parts: Sequence[BuiltPart]) -> str:
    """The whole ``croissant.json``: a file set, its splits and its records for each config.

    Args:
        spec: The dataset.
        parts: The parts in the folder.

    Example:
        >>> from irtd_datasets.irtd.spec import SPEC
        >>> json.loads(render_croissant(SPEC, []))["name"]
        'irtd'
    """
    configs = configs_of(spec, parts)
    year = re.search(r"year=\{(\d{4})\}", spec.citation)
    document = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": spec.name,
        "conformsTo": _CONFORMS_TO,
        "description": spec.summary,
        "alternateName": spec.title,
        "url": spec.homepage,
        "version": spec.version,
        "license": f"{spec.licence} {spec.terms}",
        "citeAs": spec.citation,
        **({"datePublished": year[1]} if year else {}),
        "inLanguage": "en",
        "keywords": [
            *dict.fromkeys(member.part.modality for member in spec.members),
            "remote-sensing",
            "vision-language",
        ],
        "isLiveDataset": False,
        "distribution": [_file_set(name, present) for name, present in configs.items()],
        "recordSet": [
            record_set
            for name, present in configs.items()
            for record_set in (_splits(name, present), _records(name, present))
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _context() -> dict[str, Any]:
    """The standard context of Croissant 1.1, whole: readers warn of one that differs."""
    text = (
        resources.files("irtd_datasets.folder").joinpath("croissant_context.json").read_text(encoding="utf-8")
    )
    context: dict[str, Any] = json.loads(text)
    return context


def _file_set(config: str, parts: Sequence[BuiltPart]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": _files_of(config),
        "name": _files_of(config),
        "description": f"Parquet shards of the config {config}.",
        "encodingFormat": "application/x-parquet",
        "includes": [f"{part.subset}/{part.part}/{part.split}-*.parquet" for part in parts],
    }


def _files_of(config: str) -> str:
    return f"files-of-{config}"


def _splits(config: str, parts: Sequence[BuiltPart]) -> dict[str, Any]:
    name = f"{config}_splits"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Splits of the config {config}.",
        "dataType": "cr:Split",
        "key": {"@id": f"{name}/split_name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/split_name", "name": "split_name", "dataType": "sc:Text"}
        ],
        "data": [{f"{name}/split_name": split} for split in dict.fromkeys(part.split for part in parts)],
    }


def _records(config: str, parts: Sequence[BuiltPart]) -> dict[str, Any]:
    rows: dict[str, int] = {}
    for part in parts:
        rows[part.split] = rows.get(part.split, 0) + part.rows
    counts = ", ".join(f"{count:,} rows in {split}" for split, count in rows.items())
    split = {
        "@type": "cr:Field",
        "@id": f"{config}/split",
        "name": "split",
        "description": "Split of the row, from the name of its file.",
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": _files_of(config)},
            "extract": {"fileProperty": "filename"},
            # The tail may be missing, since mlcroissant 1.1.1 applies the pattern to what it has found once more.
            "transform": {"regex": r"^(\w+?)(?:-\d+-of-\d+\.parquet)?$"},
        },
        "references": {"field": {"@id": f"{config}_splits/split_name"}},
    }
    fields = [
        {
            **_field(config, f"{config}/{field.name}", field.name, field.name, field.type, ()),
            "description": field.doc,
        }
        for field in FIELDS.values()
        if field.name not in LEFT_OUT
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"The config {config}: {counts}.",
        "key": {"@id": f"{config}/id"},
        "field": [split, *fields],
    }


def _field(
    config: str,
    identity: str,
    name: str,
    column: str,
    node: Any,  # noqa: ANN401 - a type in JSON notation is a list or dict at any depth
    path: tuple[str, ...],
) -> dict[str, Any]:
    """A field for a type in the plain list notation; `path` leads to it inside the column."""
    lists = 0
    while isinstance(node, list):
        lists += 1
        node = node[0]
    array = {"isArray": True, "arrayShape": ",".join(["-1"] * lists)} if lists else {}
    base = {"@type": "cr:Field", "@id": identity, "name": name}
    kind = node.get("_type")
    if kind is None:
        members = [
            _field(config, f"{identity}/{key}", key, column, value, (*path, key))
            for key, value in node.items()
        ]
        return {**base, **array, "subField": members}
    if kind == "Image":
        path = (*path, "bytes")
    source: dict[str, Any] = {"fileSet": {"@id": _files_of(config)}, "extract": {"column": column}}
    if path:
        steps = [{"jsonPath": step} for step in path]
        source["transform"] = steps[0] if len(steps) == 1 else steps
    data_type = {"Image": "sc:ImageObject", "ClassLabel": "sc:Integer"}.get(kind) or _TYPES[node["dtype"]]
    return {**base, "dataType": data_type, **array, "source": source}
