"""croissant.json describes each config as it is; mlcroissant, where it is installed, reads the same rows from it."""

import hashlib
import json
import logging
import re
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

from irtd_datasets.catalog import spec
from irtd_datasets.folder.croissant import LEFT_OUT, render_croissant
from irtd_datasets.folder.names import CROISSANT
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.schema import FIELDS
from irtd_datasets.testing import sample_names, write_sample_release
from irtd_datasets.writing.engine import build

SAMPLED = sample_names()
"""Datasets of this library that a sample can be written of."""


@pytest.fixture(scope="module")
def folders(built, tmp_path_factory):
    """A dataset folder of each dataset."""
    root = tmp_path_factory.mktemp("croissant")
    made = {"irtd": built}
    for name in SAMPLED:
        if name == "irtd":
            continue
        write_sample_release(name, root / f"{name}-release", rows=60)
        build(name, [spec(name).default_config], absolute_options(root / f"{name}-release"), root / name)
        made[name] = root / name
    return made


@pytest.mark.parametrize("name", SAMPLED)
def test_every_config_is_described(folders, name):
    """Configs, splits, files and columns are those of the card; the file is written by the build."""
    document = json.loads((folders[name] / CROISSANT).read_text(encoding="utf-8"))
    records = {one["@id"]: one for one in document["recordSet"]}
    sets = {one["@id"]: one for one in document["distribution"]}
    for config in config_names(folders[name]):
        files = config_files(folders[name], config)
        splits = [entry[f"{config}_splits/split_name"] for entry in records[f"{config}_splits"]["data"]]
        assert splits == list(files)
        patterns = sets[f"files-of-{config}"]["includes"]
        found = {path for pattern in patterns for path in folders[name].glob(pattern)}
        assert found == {path for paths in files.values() for path in paths}
        assert [one["name"] for one in records[config]["field"]] == [
            "split",
            *(name for name in FIELDS if name not in LEFT_OUT),
        ]
        rows = sum(pq.read_metadata(path).num_rows for path in found)
        counts = [
            int(word.replace(",", "")) for word in records[config]["description"].split() if word[0].isdigit()
        ]
        assert sum(counts) == rows
    assert len(records) == 2 * len(config_names(folders[name]))


def test_identities_are_unique(folders):
    """No two things in a file have one name, which would make readers mix them up."""
    text = (folders["irtd"] / CROISSANT).read_text(encoding="utf-8")
    document = json.loads(text)

    def identities(node):
        if isinstance(node, dict):
            if "@id" in node and "@type" in node:
                yield node["@id"]
            for key, value in node.items():
                if key != "@context":
                    yield from identities(value)
        elif isinstance(node, list):
            for value in node:
                yield from identities(value)

    found = list(identities(document))
    assert len(found) == len(set(found)) > 500
    assert str(folders["irtd"]) not in text


@pytest.mark.parametrize("name", SAMPLED)
def test_a_folder_without_rows_is_described(name):
    """Nothing built gives a valid file without configs, the same bytes each time."""
    text = render_croissant(spec(name), [])
    assert text == render_croissant(spec(name), [])
    assert json.loads(text)["recordSet"] == []


def plain(value):
    """What mlcroissant gives as plain values: text comes as bytes, numbers as NumPy's, images as Pillow's."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (list, np.ndarray)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key.rpartition("/")[2]: plain(one) for key, one in value.items()}
    if hasattr(value, "tobytes") and hasattr(value, "size") and hasattr(value, "mode"):
        return [value.mode, list(value.size), hashlib.sha256(value.tobytes()).hexdigest()]
    return value.item() if isinstance(value, np.generic) else value


def expected(row, split):
    """A row as it stands in Parquet, in the same form."""
    import io

    from PIL import Image

    made = {"split": split} | {name: value for name, value in row.items() if name not in LEFT_OUT}
    for column in ("image", "visible"):
        if made[column] is not None:
            with Image.open(io.BytesIO(made[column]["bytes"])) as image:
                made[column] = plain(image)
    return made


FEW = {
    "irtd": ["pretrain", "instruct", "benchmark", "instruct-location"],
    "mmrs_1m": ["default", "detection-sar"],
    "rs_gpt4v": ["default", "grounding"],
}
"""Configs that have every row and every part between them; the others name some of the same files."""


@pytest.mark.parametrize(
    ("name", "every"),
    [(name, False) for name in SAMPLED]
    + [pytest.param(name, True, marks=pytest.mark.slow) for name in SAMPLED],
)
def test_mlcroissant_reads_the_rows(folders, name, every, caplog):
    """Each record, read by mlcroissant from the folder itself, is the row, with its split; there is no warning."""
    pytest.importorskip("mlcroissant", reason="mlcroissant is not installed; it is one of the extra `dev`")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("ignore")  # of pandas and rdflib, about their own
        import mlcroissant

        metadata = mlcroissant.Dataset(jsonld=folders[name] / CROISSANT).metadata
        assert not metadata.issues.errors
        # Of a dataset without a paper nobody can say how it is cited, and since when it is published.
        missing = [] if spec(name).citation else ["citeAs", "datePublished"]
        told = [re.search(r"(\w+)\" is recommended|$", str(one))[1] for one in metadata.issues.warnings]
        assert sorted({*told}, key=str) == missing, metadata.issues.warnings
        for config in config_names(folders[name]) if every else FEW.get(name, [spec(name).default_config]):
            rows = {}
            for split, files in config_files(folders[name], config).items():
                for file in files:
                    rows.update({row["id"]: expected(row, split) for row in pq.read_table(file).to_pylist()})
            # A second pass over one `Dataset` gives no records in mlcroissant 1.1.1, so each has its own.
            dataset = mlcroissant.Dataset(jsonld=folders[name] / CROISSANT)
            records = [plain(record) for record in dataset.records(record_set=config)]
            assert len(records) == len(rows)
            for record in records:
                assert record == rows[record["id"]]
    assert not [one for one in caplog.messages if not missing or "Found the following 2 warning" not in one]
