"""The one schema of all datasets here, and the vocabularies that its columns use.

Each column is declared once, with its type and one sentence. The Arrow schema, the ``datasets`` features, the YAML on
the card, the field table of ``irtd list --fields`` and the reference docs are all derived from that declaration, so
that `interleave_datasets` over any of the datasets needs no cast.

Types are written in the *plain list notation* of ``datasets`` (``[{"dtype": "string", "_type": "Value"}]``), not as
``List``: every ``datasets`` from 3.0 on reads it, `List` fails before 4.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.boxes import Frame

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = [
    "BOX_FRAMES",
    "EARLIER",
    "FIELDS",
    "FILE_FIELDS",
    "IMAGE_FIELDS",
    "MAY_BE_MISSING",
    "MODALITIES",
    "TASKS",
    "Field",
    "arrow_schema",
    "features",
    "hub_metadata",
    "yaml_features",
]

SCHEMA_VERSION = "1.2.0"
"""Changes when a column is added, removed or retyped; part of every build's identity. 1.2.0 added `registration` and
`origin`."""

MODALITIES = ("infrared", "optical", "sar")
"""Kinds of sensor. New names go to the end: stored labels are positions."""

TASKS = (
    "captioning",
    "recognition",
    "grounding",
    "location",
    "relationship",
    "reid",
    "security",
    "aerial_counting",
    "pedestrian_counting",
    "scene",
    "classification",
    "region_captioning",
    "vqa",
    "detection",
    "detailed_description",
    "conversation",
    "reasoning",
)
"""One task vocabulary for all datasets. New names go to the end: stored labels are positions."""

BOX_FRAMES = (*(frame.value for frame in Frame), "unknown")
"""Frames of the numbers inside ``messages``; ``unknown`` where a release does not say and no check could tell."""


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _label(names: tuple[str, ...]) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


_STRING = _value("string")
_FLOAT = _value("float32")
_IMAGE: dict[str, Any] = {"_type": "Image"}


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name, its type in the plain list notation, and what it means in one sentence."""

    name: str
    type: Any
    doc: str

    def describe_type(self) -> str:
        """Short human-readable type.

        Example:
            >>> FIELDS["choices"].describe_type()
            'list of string'
        """
        return _describe(self.type)


def _describe(node: Any) -> str:  # noqa: ANN401 - a type in JSON notation is a str, list or dict at any depth
    if isinstance(node, list):
        return f"list of {_describe(node[0])}"
    if "_type" not in node:
        return "{" + ", ".join(f"{key}: {_describe(value)}" for key, value in node.items()) + "}"
    if node["_type"] == "Value":
        return str(node["dtype"])
    if node["_type"] == "ClassLabel":
        return f"ClassLabel of {len(node['names'])}"
    return str(node["_type"])


_FIELDS = (
    Field(
        "id",
        _STRING,
        "Unique over all three datasets and stable between builds: dataset/subset/task/record; no local path in it.",
    ),
    Field(
        "image",
        _IMAGE,
        "The image the text is about, upright. Its bytes are those of the file found, unless `image_note` says "
        "otherwise; `path` inside is the name that the release gives it.",
    ),
    Field(
        "visible",
        _IMAGE,
        "The paired visible image on the field of view of `image`, in its own resolution; null where there is none, or "
        "where `registration` says why it was refused.",
    ),
    Field(
        "registration",
        {
            "status": _STRING,
            "method": _STRING,
            "transform": [_FLOAT],
            "quality": _FLOAT,
            "error": _FLOAT,
            "partner": _STRING,
            "visible_box": [_value("int32")],
            "image_box": [_value("int32")],
        },
        "How `visible` comes to show what `image` shows. `status`: `none` (no partner is known), `aligned` (its bytes "
        "are untouched), `cropped`, or `refused-REASON` (`visible` is null). `method`: `declared`, `labels` or "
        "`images`, whatever told so. `transform`: a, b, c, d, e, f, by which pixel (x, y) of the upright partner "
        "lies at (ax + by + c, dx + ey + f) in `image`. `quality`: 0 to 1; `error`: expected displacement in pixels of "
        "`image`. `partner`: name of the partner's file. `visible_box`, `image_box`: the rectangles kept of the two "
        "upright files, x_min, y_min, x_max, y_max. What is not known is null or empty.",
    ),
    Field("modality", _label(MODALITIES), f"Kind of sensor: {', '.join(MODALITIES)}."),
    Field("task", _label(TASKS), "Task of the row, from one vocabulary for all datasets."),
    Field(
        "source",
        _STRING,
        "Component dataset the image comes from, as the release names it; null if unknown.",
    ),
    Field(
        "origin",
        _STRING,
        "Who wrote the text: `released` (it stands so in the release), `rule` (made from labels by rule), `model:NAME` "
        "(a language model), `human:NAME` (somebody who read and changed it).",
    ),
    Field(
        "messages",
        [{"role": _STRING, "content": _STRING}],
        "The conversation as released, without the image token; roles are user and assistant (and system).",
    ),
    Field(
        "question",
        _STRING,
        "For scored tasks: the question without its options, with known typing slips of the templates mended; "
        "else null.",
    ),
    Field(
        "choices", [_STRING], "The options in letter order (A, B, ...); empty where the question has none."
    ),
    Field("answer", _STRING, "For scored tasks: the released answer without markup; else null."),
    Field(
        "objects",
        {"label": [_STRING], "box": [[_FLOAT]], "polygon": [[_FLOAT]], "point": [[_FLOAT]]},
        "What the text says about places, in pixels of the upright image, x to the right, y down. One `label` an "
        "object; `box` is x_min, y_min, x_max, y_max (half-open), `polygon` four corners as 8 numbers, `point` x, y. "
        "Each of the three lists is as long as `label`, or empty when no object of the row has one.",
    ),
    Field(
        "box_frame",
        _label(BOX_FRAMES),
        "Frame of the numbers inside `messages` (not of `objects`, which are always pixels); null when the text "
        "names no place.",
    ),
    Field("width", _value("int32"), "Width of the upright image in pixels."),
    Field("height", _value("int32"), "Height of the upright image in pixels."),
    Field("bit_depth", _value("int32"), "Bits per channel of the stored image: 8, 16, ..."),
    Field(
        "image_note",
        _STRING,
        "What was done to the file or where it was found, when it is not the released file byte for byte; else empty.",
    ),
    Field(
        "original",
        {"bytes": _value("binary"), "path": _STRING},
        "The released file where `image` is an 8-bit preview of it, since neither JPEG nor PNG can hold it (32-bit "
        "floats, many bands); null elsewhere.",
    ),
    Field(
        "issues",
        [_STRING],
        "Codes of the known defects of this row, as in the issue table; empty when clean.",
    ),
    Field(
        "corrections",
        [{"issue": _STRING, "field": _STRING, "value": _STRING}],
        "Right values that are certain, offered beside the released ones, which stay as they are: the issue, the "
        "field it concerns, the value (JSON where it is not plain text). With the issue `human-edit` it is the other "
        "way round: a person has changed the field, and the value is what stood there before.",
    ),
)

FIELDS: dict[str, Field] = {field.name: field for field in _FIELDS}
"""The columns in order, by name."""


IMAGE_FIELDS = tuple(name for name, field in FIELDS.items() if field.type == _IMAGE)
"""Names of the columns that hold images."""

FILE_FIELDS = (*IMAGE_FIELDS, "original")
"""Names of the columns that hold files as bytes and path, images and others."""

MAY_BE_MISSING = frozenset({"registration", "origin"})
"""Columns that came with schema 1.2.0: folders built before have none, and rows without them read as null."""

EARLIER = (
    "Folders of an earlier schema are read as they are, without the columns `registration` and `origin`."
)
"""What messages say of such folders."""


def _arrow_type(node: Any) -> pa.DataType:  # noqa: ANN401 - see _describe
    import pyarrow as pa

    if isinstance(node, list):
        return pa.list_(_arrow_type(node[0]))
    kind = node.get("_type")
    if kind is None:
        return pa.struct([pa.field(key, _arrow_type(value)) for key, value in node.items()])
    if kind == "Image":
        return pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    if kind == "ClassLabel":
        return pa.int64()
    return pa.type_for_alias("float" if node["dtype"] == "float32" else node["dtype"])


def arrow_schema(*, metadata: bool = True) -> pa.Schema:
    """Arrow schema of the rows, with the ``huggingface`` metadata that makes a bare Parquet file self-describing.

    Example:
        >>> arrow_schema(metadata=False).field("width").type
        DataType(int32)
    """
    import pyarrow as pa

    schema = pa.schema([pa.field(field.name, _arrow_type(field.type)) for field in FIELDS.values()])
    return schema.with_metadata({b"huggingface": hub_metadata()}) if metadata else schema


def hub_metadata() -> bytes:
    """Value of the Parquet key ``huggingface``: the features as JSON in the plain list notation."""
    return json.dumps({"info": {"features": {field.name: field.type for field in FIELDS.values()}}}).encode()


def features() -> datasets.Features:
    """The schema as ``datasets.Features``, in the form that the installed version prefers."""
    from datasets import Features

    return Features.from_dict({field.name: field.type for field in FIELDS.values()})


def yaml_features() -> list[dict[str, Any]]:
    """The schema as the ``features`` list of a card's ``dataset_info``, readable by ``datasets`` 3.x to 5.x."""
    return [{"name": field.name, **_yaml_type(field.type)} for field in FIELDS.values()]


def _yaml_type(node: Any) -> dict[str, Any]:  # noqa: ANN401 - see _describe
    if isinstance(node, list):
        inner = _yaml_type(node[0])
        # A leaf is written as its bare name, `list: string`; anything deeper as a mapping or a list of members.
        return {"list": inner["dtype"] if set(inner) == {"dtype"} else inner.get("struct", inner)}
    kind = node.get("_type")
    if kind is None:
        return {"struct": [{"name": key, **_yaml_type(value)} for key, value in node.items()]}
    if kind == "Image":
        return {"dtype": "image"}
    if kind == "ClassLabel":
        return {"dtype": {"class_label": {"names": {str(i): name for i, name in enumerate(node["names"])}}}}
    return {"dtype": node["dtype"]}
