"""Four ways to the same rows: the registered name, the class, the stream, and the built folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from facts import facts
from processes import ROOT

import irtd_datasets
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build

CONFIGS = ("pretrain", "instruct", "instruct-location", "benchmark", "benchmark-scene")
CLASSES = {
    "pretrain": irtd_datasets.IrtdPretrain,
    "instruct": irtd_datasets.IrtdInstruct,
    "instruct-location": irtd_datasets.IrtdInstruct,
    "benchmark": irtd_datasets.IrtdBenchmark,
    "benchmark-scene": irtd_datasets.IrtdBenchmark,
}
FORMS = ("cut", "unpacked")


def plainly(folder, python=sys.executable):
    """What plain `datasets` makes of ``irtd`` in a folder, in a process that never imports the library."""
    process = subprocess.run(
        [python, "-I", ROOT / "tests" / "facts.py", "irtd", *CONFIGS],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def releases(sample, unpacked):
    return {"cut": sample.folder, "unpacked": unpacked.folder}


@pytest.fixture(scope="module")
def folders(releases, built, tmp_path_factory):
    """Dataset folders called ``irtd`` by form of the release, opened by plain `datasets`."""
    folder = tmp_path_factory.mktemp("unpacked") / "irtd"
    build("irtd", ["benchmark", "instruct", "pretrain"], absolute_options(releases["unpacked"]), folder)
    return {"cut": plainly(built.parent), "unpacked": plainly(folder.parent)}


@pytest.fixture(params=CONFIGS)
def config(request):
    return request.param


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def by_split(splits):
    return {split: facts(rows) for split, rows in splits.items()}


def test_the_built_folder_needs_no_library(folders):
    """Plain `datasets` opens ``./irtd`` by name without a module of the library in its process."""
    assert [found["library"] for found in folders.values()] == [[], []]


def test_four_ways_give_the_same_rows(releases, folders, form, config, tmp_path):
    """Name mapped, name streaming, class, and built folder mapped and streaming: same rows, same order."""
    options = {"data_dir": str(releases[form])}
    mapped = by_split(datasets.load_dataset("irtd", config, cache_dir=tmp_path, **options))
    assert sum(len(rows) for rows in mapped.values()) >= 3
    assert by_split(datasets.load_dataset("irtd", config, streaming=True, **options)) == mapped
    by_class = CLASSES[config](config_name=config, cache_dir=str(tmp_path / "class"), **options)
    by_class.download_and_prepare()
    assert by_split(by_class.as_dataset()) == mapped
    assert by_split(by_class.as_streaming_dataset()) == mapped
    assert by_split(irtd_datasets.load_dataset("irtd", config, cache_dir=tmp_path, **options)) == mapped
    assert folders[form][f"{config} mapped"] == mapped
    assert folders[form][f"{config} streamed"] == mapped


def test_other_versions_of_datasets_read_the_same(folders, built, tmp_path, monkeypatch):
    """Every other version at hand gives the same rows from the built folder, mapped and streaming."""
    others = [python for python in os.environ.get("IRTD_OTHER_PYTHONS", "").split(os.pathsep) if python]
    if not others:
        pytest.skip("IRTD_OTHER_PYTHONS names no interpreter with another version of datasets")
    for number, python in enumerate(others):
        # Versions do not read each other's caches.
        monkeypatch.setenv("HF_HOME", str(tmp_path / str(number)))
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / str(number) / "datasets"))
        assert plainly(built.parent, python) == folders["cut"]


def test_splits_are_those_of_the_subset(folders):
    """``pretrain`` and ``instruct`` are for training, the benchmark is a test set."""
    splits = {config: list(folders["cut"][f"{config} mapped"]) for config in CONFIGS}
    assert {config: split for config, (split,) in splits.items()} == {
        "pretrain": "train",
        "instruct": "train",
        "instruct-location": "train",
        "benchmark": "test",
        "benchmark-scene": "test",
    }


def test_forms_of_the_release_have_the_same_rows(folders, config):
    """Archives and unpacked folders give the same rows; captions come in the order of what they are read from."""

    def rows(form):
        (found,) = folders[form][f"{config} mapped"].values()
        return sorted(found, key=lambda row: row["id"]) if config == "pretrain" else found

    assert rows("cut") == rows("unpacked")


def test_order_of_captions(folders, unpacked):
    """Captions come in the order of the annotation file, or of the archive when images come from one."""
    named = [record.image for record in unpacked.records["new_relative.json"]]
    orders = {form: [row["image"][0] for row in folders[form]["pretrain mapped"]["train"]] for form in FORMS}
    assert orders == {"unpacked": named, "cut": sorted(named)}
    assert named != sorted(named)


def test_order_of_instructions(folders):
    """Rows of one image stand together, and images are not in the order of their names."""
    for task in {row["task"] for row in folders["cut"]["instruct mapped"]["train"]}:
        rows = [row for row in folders["cut"]["instruct mapped"]["train"] if row["task"] == task]
        names = [row["image"][0] for row in rows]
        runs = [name for name, before in zip(names, [None, *names], strict=False) if name != before]
        assert len(runs) == len(set(names))
    located = [row["image"][0] for row in folders["cut"]["instruct-location mapped"]["train"]]
    assert located != sorted(located)


def test_configs_of_a_subset_share_files(built):
    """A per-task config is an entry over the files of its subset: each Parquet file exists once."""
    files = sorted(path.relative_to(built).as_posix() for path in built.glob("*/*/*.parquet"))
    assert len(files) == 18
    assert {file.split("/")[0] for file in files} == {"pretrain", "instruct", "benchmark"}


@pytest.mark.parametrize("cls", sorted(set(CLASSES.values()), key=lambda cls: cls.__name__))
def test_a_class_has_the_configs_of_its_subset(cls):
    """`IrtdInstruct` knows ``instruct`` and ``instruct-<task>`` and no others; `Irtd` knows all."""
    subset = cls.DEFAULT_CONFIG_NAME
    spec = irtd_datasets.Irtd.SPEC
    names = [config.name for config in spec.configs if config.name.split("-")[0] == subset]
    assert list(cls.builder_configs) == names
    assert set(names) < set(irtd_datasets.Irtd.builder_configs)


def test_columns_have_the_declared_features(sample):
    """Mapped and streaming datasets have exactly the columns and types of the schema."""
    from irtd_datasets.schema import FIELDS, features

    mapped = datasets.load_dataset("irtd", "instruct", data_dir=str(sample.folder), split="train")
    streamed = datasets.load_dataset(
        "irtd", "instruct", data_dir=str(sample.folder), split="train", streaming=True
    )
    assert list(mapped.features) == list(FIELDS)
    assert mapped.features == streamed.features == features()


def test_streaming_reads_no_further_than_it_must(release, tmp_path):
    """The first rows of a stream come before the later records are parsed or their images opened."""
    folder = release()
    stream = datasets.load_dataset(
        "irtd", "instruct-aerial_counting", data_dir=str(folder), split="train", streaming=True
    )
    assert next(iter(stream))["id"].startswith("irtd/instruct/aerial_counting/")


def test_two_releases_of_other_rows_differ(tmp_path):
    """The seed of a sample decides its rows: comparing rows above can fail."""
    rows = []
    for seed in (1, 2):
        write_sample_release("irtd", tmp_path / str(seed), rows=24, seed=seed, captions=0)
        stream = datasets.load_dataset(
            "irtd", "instruct", data_dir=str(tmp_path / str(seed)), split="train", streaming=True
        )
        rows.append(facts(stream))
    assert rows[0] != rows[1]


def test_the_folder_is_a_path_too(built, tmp_path, monkeypatch):
    """A dataset folder loads by its path, and by name through ``data_dir``, wherever it lies."""
    expected = facts(datasets.load_dataset(str(built), "benchmark-scene", split="test"))
    assert expected
    monkeypatch.chdir(built.parent)
    for data_dir in (str(built), "irtd", Path("irtd")):
        options = {"data_dir": data_dir, "split": "test", "cache_dir": tmp_path}
        assert facts(irtd_datasets.load_dataset("irtd", "benchmark-scene", **options)) == expected
        assert (
            facts(irtd_datasets.load_dataset("irtd", "benchmark-scene", streaming=True, **options))
            == expected
        )
