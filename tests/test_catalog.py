"""Names resolve to builders without listing, telling or asking anybody."""

import os
import pickle
import shutil
from pathlib import Path

import datasets
import pytest
from facts import facts
from processes import python

import irtd_datasets
from irtd_datasets.catalog import DATASETS, builder_class, spec
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError


def first(config="instruct", **options):
    return next(iter(datasets.load_dataset("irtd", config, split="train", streaming=True, **options)))


@pytest.fixture
def no_listing(sample, monkeypatch):
    """Listing the release, or the current folder, fails the test; so does opening the images' folders."""
    release = os.path.realpath(sample.folder)

    def guard(function):
        def guarded(path=".", *arguments, **options):
            where = os.path.realpath(path) if isinstance(path, (str, os.PathLike)) else ""
            if where.startswith(release) or where == os.path.realpath("."):
                # The root itself may be looked at for the parts of the cut archive, which have no fixed names.
                assert where == release, f"{function.__name__}({where}) lists the release"
                assert "FLIR_ADAS" not in where
            return function(path, *arguments, **options)

        return guarded

    for name in ("scandir", "listdir", "walk"):
        monkeypatch.setattr(os, name, guard(getattr(os, name)))


def test_resolving_a_name_lists_nothing(sample, no_listing, tmp_path, monkeypatch):
    """No folder of images and not the current folder is listed on the way to the first streamed row."""
    monkeypatch.chdir(tmp_path)
    assert first(data_dir=str(sample.folder))["id"].startswith("irtd/instruct/")
    monkeypatch.setenv("IRTD_DATA_DIR", str(sample.folder))
    assert first("instruct-location")["id"].startswith("irtd/instruct/location/")
    builder = datasets.load_dataset_builder("irtd", "instruct")
    assert builder.info.features is not None


def test_the_guard_sees_a_listing(sample, no_listing):
    """The guard of the test above fails where a folder of images is listed."""
    with pytest.raises(AssertionError, match="lists the release"):
        os.listdir(sample.folder / "63-FLIR_ADAS" / "training" / "PreviewData")  # noqa: PTH208 - what is guarded


def test_nothing_is_told_to_anybody(sample, monkeypatch):
    """Using a registered name counts nothing and sends nothing, even where the network may be used."""
    import datasets.load

    told = []
    monkeypatch.setattr(datasets.load, "increase_load_count", told.append)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    first(data_dir=str(sample.folder))
    datasets.load_dataset("irtd", "benchmark", data_dir=str(sample.folder))
    assert told == []


def test_without_data_the_error_says_what_is_possible(tmp_path, monkeypatch):
    """With no data named, a few lines tell of release, build, Hub and sample; none of them is used unasked."""
    monkeypatch.chdir(tmp_path)
    for way in (
        lambda: datasets.load_dataset("irtd", "instruct"),
        lambda: datasets.load_dataset("irtd", "instruct", streaming=True),
        lambda: irtd_datasets.load_dataset("irtd", "benchmark"),
        lambda: irtd_datasets.IrtdInstruct().download_and_prepare(),
    ):
        with pytest.raises(ReleaseNotFoundError) as caught:
            way()
        text = str(caught.value)
        assert "neither data_dir nor IRTD_DATA_DIR" in text
        for words in (
            "data_dir=FOLDER",
            "irtd build irtd",
            "a Hub repository",
            "write_sample_release('irtd', FOLDER)",
        ):
            assert words in text
        assert len(text.splitlines()) == 5
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_release(sample, tmp_path, monkeypatch):
    """IRTD_DATA_DIR is used where data_dir is not given, data_dir wins over it, and a wrong one is told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRTD_DATA_DIR", str(sample.folder))
    by_variable = first()["id"]
    assert irtd_datasets.load_dataset("irtd", "benchmark", split="test").num_rows > 0
    monkeypatch.setenv("IRTD_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ReleaseNotFoundError, match="nowhere"):
        first()
    assert first(data_dir=str(sample.folder))["id"] == by_variable


def test_a_built_folder_in_the_current_one_wins(built, release, tmp_path, monkeypatch):
    """``./irtd`` made by a build answers the bare name, as it does without the library; data_dir and variable win."""
    folder = release()
    (folder / "json_sft.zip").unlink()  # a release without instructions
    expected = facts(datasets.load_dataset(str(built), "instruct", split="train"))
    monkeypatch.chdir(built.parent)
    for streaming in (False, True):
        assert (
            facts(datasets.load_dataset("irtd", "instruct", split="train", streaming=streaming)) == expected
        )
    with pytest.raises(ReleaseNotFoundError, match="none of the annotation files"):
        datasets.load_dataset("irtd", "instruct", data_dir=str(folder))
    monkeypatch.setenv("IRTD_DATA_DIR", str(folder))
    with pytest.raises(ReleaseNotFoundError, match="none of the annotation files"):
        datasets.load_dataset("irtd", "instruct")


def test_a_folder_that_no_build_made_does_not_win(tmp_path, monkeypatch):
    """Any other ``./irtd`` in the current folder, such as a clone, is not taken for the dataset."""
    (tmp_path / "irtd").mkdir()
    (tmp_path / "irtd" / "README.md").write_text("# mine\n")
    (tmp_path / "irtd" / "table.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReleaseNotFoundError, match="neither data_dir"):
        datasets.load_dataset("irtd", "instruct")


def test_the_default_config_is_the_instructions(sample):
    """Without a config the name means ``instruct``."""
    assert datasets.load_dataset_builder("irtd", data_dir=str(sample.folder)).config.name == "instruct"


def test_unknown_names_suggest_the_right_ones(sample):
    """A config that does not exist is told with the one that was meant, before any data is looked at."""
    with pytest.raises(UnknownNameError, match="Did you mean 'instruct-grounding'") as caught:
        irtd_datasets.load_dataset("irtd", "instruct-groundin")
    assert "benchmark-scene" in str(caught.value)
    with pytest.raises(UnknownNameError, match=f"The datasets are {', '.join(DATASETS)}"):
        spec("irdt")
    with pytest.raises(ValueError, match="instruct-location"):
        datasets.load_dataset("irtd", "instruct-locaton", data_dir=str(sample.folder))


def test_the_librarys_load_dataset_takes_other_names(tmp_path):
    """`irtd_datasets.load_dataset` passes anything else on, so one import is enough."""
    (tmp_path / "t.txt").write_text("a line\n")
    rows = irtd_datasets.load_dataset("text", data_files=str(tmp_path / "t.txt"), split="train")
    assert list(rows) == [{"text": "a line"}]


def test_paths_and_options_in_any_form(sample, tmp_path, monkeypatch):
    """data_dir as text, path or relative, images as a mapping of paths: all mean the same."""
    image_folder = tmp_path / "images"
    shutil.copytree(sample.folder / "63-FLIR_ADAS", image_folder)
    monkeypatch.chdir(sample.folder.parent)
    expected = facts(
        irtd_datasets.load_dataset("irtd", "instruct-grounding", data_dir=sample.folder, split="train")
    )
    release = tmp_path / "release"
    shutil.copytree(sample.folder, release, ignore=shutil.ignore_patterns("63-FLIR_ADAS"))
    for images in (
        {"FLIR_ADAS": image_folder},
        {"63-FLIR_ADAS": str(image_folder)},
        {"": str(tmp_path / "all")},
    ):
        if "" in images:
            (tmp_path / "all").mkdir()
            shutil.copytree(image_folder, tmp_path / "all" / "63-FLIR_ADAS")
        rows = irtd_datasets.load_dataset(
            "irtd", "instruct-grounding", data_dir=Path(release), images=images, split="train", streaming=True
        )
        assert facts(rows) == expected
    relative = datasets.load_dataset("irtd", "instruct-grounding", data_dir=sample.folder.name, split="train")
    assert facts(relative) == expected


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_its_parts(name):
    """A registered dataset has a declaration, a builder class with its configs, and a default config among them."""
    declared = spec(name)
    builder = builder_class(name)
    assert declared.name == name
    assert builder.SPEC is declared
    assert list(builder.builder_configs) == [config.name for config in declared.configs]
    assert declared.default_config in builder.builder_configs
    assert declared.default_config == builder.DEFAULT_CONFIG_NAME


def test_a_stream_can_be_pickled(sample):
    """A streaming dataset goes to another process as a pickle, read or half read, and gives the same rows there."""
    stream = datasets.load_dataset(
        "irtd", "instruct", data_dir=str(sample.folder), split="train", streaming=True
    )
    expected = [row["id"] for row in stream]
    copy = pickle.loads(pickle.dumps(stream))
    assert [row["id"] for row in copy] == expected
    rows = iter(copy)
    next(rows)
    state = copy.state_dict()
    again = pickle.loads(pickle.dumps(stream))
    again.load_state_dict(state)
    assert [row["id"] for row in again] == expected[1:]


def test_a_stream_is_read_in_another_process(sample, tmp_path):
    """A process that has nothing but the pickle, as a loader's worker has, reads the same rows."""
    stream = datasets.load_dataset(
        "irtd", "instruct", data_dir=str(sample.folder), split="train", streaming=True
    )
    (tmp_path / "stream.pickle").write_bytes(pickle.dumps(stream))
    code = (
        "import pathlib, pickle\n"
        "stream = pickle.loads(pathlib.Path('stream.pickle').read_bytes())\n"
        "print(*[row['id'] for row in stream])\n"
    )
    process = python(code, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [row["id"] for row in stream]


def test_a_stream_is_divided_between_readers(sample):
    """Shards of a stream are its tasks: two readers together get every row once."""
    stream = datasets.load_dataset(
        "irtd", "instruct", data_dir=str(sample.folder), split="train", streaming=True
    )
    assert stream.num_shards == 8
    halves = [{row["id"] for row in stream.shard(num_shards=2, index=index)} for index in (0, 1)]
    assert halves[0].isdisjoint(halves[1])
    assert halves[0] | halves[1] == {row["id"] for row in stream}


def test_a_mapped_dataset_is_made_by_several_processes(sample, tmp_path):
    """num_proc gives the same rows in the same order."""
    options = {"data_dir": str(sample.folder), "split": "train"}
    one = datasets.load_dataset("irtd", "instruct", cache_dir=tmp_path / "one", **options)
    two = datasets.load_dataset("irtd", "instruct", cache_dir=tmp_path / "two", num_proc=2, **options)
    assert facts(one) == facts(two)


@pytest.mark.parametrize("place", ["release", "built"])
def test_data_files_are_refused(place, sample, request, tmp_path):
    """Data files would do nothing, so the error says what to give instead, whichever way the name is asked for."""
    folder = sample.folder if place == "release" else request.getfixturevalue("built")
    files = str(tmp_path / "Location.json")
    calls = [
        lambda: irtd_datasets.load_dataset("irtd", "instruct", data_dir=folder, data_files=files),
        lambda: datasets.load_dataset("irtd", "instruct", data_dir=str(folder), data_files={"train": files}),
        lambda: datasets.load_dataset("irtd", data_files=files),
        lambda: irtd_datasets.IrtdInstruct(data_dir=str(folder), data_files=files),
    ]
    for call in calls:
        with pytest.raises(UnknownNameError, match="irtd takes no data_files") as caught:
            call()
        assert "data_dir=FOLDER" in str(caught.value)
        assert "load_dataset('parquet', data_files=...)" in str(caught.value)
