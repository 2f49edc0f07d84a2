"""One schema, declared once, in every form that a reader needs."""

import json

import datasets
import pyarrow as pa
import pytest
import yaml

from irtd_datasets.schema import (
    FIELDS,
    IMAGE_FIELDS,
    MODALITIES,
    TASKS,
    arrow_schema,
    features,
    hub_metadata,
    yaml_features,
)


def nodes(node):
    yield node
    children = node if isinstance(node, list) else node.values() if isinstance(node, dict) else ()
    for child in children:
        yield from nodes(child)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_a_sentence(name):
    """A column is declared with its type and at least one whole sentence of meaning."""
    assert FIELDS[name].name == name
    assert FIELDS[name].doc[0].isupper()
    assert FIELDS[name].doc.endswith(".")
    assert FIELDS[name].describe_type()


def test_types_are_written_so_that_old_readers_take_them():
    """No stored type uses `List` or `Sequence`: `datasets` before 4.0 does not read the one, nor newer the other."""
    stored = json.loads(hub_metadata())["info"]["features"]
    kinds = {
        node["_type"]
        for node in nodes(stored)
        if isinstance(node, dict) and isinstance(node.get("_type"), str)
    }
    assert kinds == {"Value", "ClassLabel", "Image"}


def test_all_forms_agree():
    """Arrow schema, features, Parquet metadata and the card's YAML are the same schema."""
    assert features().arrow_schema.remove_metadata().equals(arrow_schema(metadata=False))
    from_parquet = datasets.Features.from_arrow_schema(arrow_schema())
    assert from_parquet == features()
    card = yaml.safe_load(yaml.safe_dump(yaml_features()))
    assert datasets.Features._from_yaml_list(card) == features()


def test_images_are_bytes_and_path():
    """Image columns are what `datasets` stores: bytes and a name."""
    assert IMAGE_FIELDS == ("image", "visible")
    for name in IMAGE_FIELDS:
        assert arrow_schema().field(name).type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_vocabularies_are_closed_lists_without_doubles():
    """Labels are positions in these lists: a name stands in them once, and the IR-TD tasks come first."""
    assert len(set(TASKS)) == len(TASKS)
    assert len(set(MODALITIES)) == len(MODALITIES)
    assert TASKS[:10] == (
        *("captioning", "recognition", "grounding", "location", "relationship"),
        *("reid", "security", "aerial_counting", "pedestrian_counting", "scene"),
    )
    assert MODALITIES == ("infrared", "optical", "sar")


def test_interleaving_needs_no_cast(sample):
    """Rows of two configs can be mixed and joined as they come."""
    options = {"data_dir": str(sample.folder), "streaming": True}
    one = datasets.load_dataset("irtd", "instruct", split="train", **options)
    two = datasets.load_dataset("irtd", "pretrain", split="train", **options)
    mixed = datasets.interleave_datasets([one, two])
    assert {row["id"].split("/")[1] for _, row in zip(range(6), mixed, strict=False)} == {
        "instruct",
        "pretrain",
    }
    both = datasets.concatenate_datasets([one, two])
    assert both.features == features()
