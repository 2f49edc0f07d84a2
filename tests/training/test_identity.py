"""Content is what a folder, a cache and a state go by: one corrected digit makes other data of them."""

import json
import re
import shutil

import datasets
import folders
import pytest
import yaml
from folders import make_folder
from processes import irtd_here

from irtd_datasets.errors import AnnotationError, ShardChangedError, StateError
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training import stream, table
from irtd_datasets.training.source import open_source

COLUMNS = ["id", "messages"]


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A folder, and a function that builds it anew with one digit corrected, to files of the same size and footer."""
    plain = folders.row_of
    root = tmp_path / "made"
    make_folder(root, 120, shards=1)
    before = _facts(root)

    def correct():
        for number in range(120):
            if number % 3 == 0:
                continue  # without messages
            monkeypatch.setattr(
                folders, "row_of", lambda n, prefix, wrong=number: _corrected(plain(n, prefix), wrong)
            )
            shutil.rmtree(root)
            expected = make_folder(root, 120, shards=1)
            if _facts(root) == before:
                return {row["id"]: row["messages"] for row in expected}
        pytest.fail("no correction leaves size and footer as they were")

    return root, correct


def _corrected(row, wrong):
    if row["width"] == wrong:
        text = row["messages"][0]["content"]
        digit = re.search(r"(\d)\?", text)[1]
        row["messages"][0] = {
            "role": "user",
            "content": text.replace(f"{digit}?", f"{(int(digit) + 1) % 10}?"),
        }
    return row


def _facts(root):
    source = open_source(root)
    return [(ref.size, ref.footer) for ref in source.shards]


@pytest.mark.parametrize("remove", [(), ("index",), ("index", "manifest.json"), ("manifest.json",)])
def test_a_corrected_digit(pair, tmp_path, remove):
    """The text cache gives the new row and a state is refused, whatever of manifest and index there is."""
    root, correct = pair

    def prune():
        for name in remove:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    prune()
    cache = tmp_path / "cache"
    numbered = table(root, columns=COLUMNS, cache=cache)
    list(numbered)
    one, sampler = stream(root, columns=COLUMNS), numbered.sampler()
    next(iter(one))
    next(iter(sampler))
    states = one.state_dict(), sampler.state_dict()
    truth = correct()
    prune()
    again = table(root, columns=COLUMNS, cache=cache)
    assert {row["id"]: row["messages"] for row in again} == truth
    for other, state in zip((stream(root, columns=COLUMNS), again.sampler()), states, strict=True):
        with pytest.raises(StateError, match="of other data: the files were built or changed since"):
            other.load_state_dict(state)


def test_the_same_files_elsewhere(pair, tmp_path):
    """A copy and a rebuild to the same bytes are the same data: their states go on."""
    root, _ = pair
    one = stream(root, columns=COLUMNS)
    next(iter(one))
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy)
    stream(copy, columns=COLUMNS).load_state_dict(one.state_dict())
    shutil.rmtree(root)
    make_folder(root, 120, shards=1)
    stream(root, columns=COLUMNS).load_state_dict(one.state_dict())


def test_a_manifest_of_another_file(pair):
    """A damaged manifest is named; one of a file of another size is not believed about that file."""
    root, _ = pair
    path = root / "manifest.json"
    manifest = json.loads(path.read_text())
    shard = manifest["parts"][0]["shards"][0]
    shard["summary"]["size"] += 1
    manifest["files"][shard["file"]]["bytes"] += 1
    path.write_text(json.dumps(manifest))
    shutil.rmtree(root / "index")
    assert not open_source(root).shards[0].sha256
    path.write_text('{"parts": [')
    with pytest.raises(AnnotationError, match=r"manifest\.json: "):
        open_source(root)


def test_a_folder_that_is_replaced_while_it_is_read(pair, tmp_path):
    """A stream and a table say so, also when they read the last of it from the file that was open."""
    root, correct = pair
    one = stream(root, columns=COLUMNS)
    rows = iter(one)
    next(rows)
    numbered = table(root, columns=COLUMNS, cache=tmp_path / "cache")
    numbered[0]
    correct()
    for read in (lambda: list(rows), lambda: list(one), lambda: numbered[0]):
        with pytest.raises(ShardChangedError, match="written again"):
            read()


def test_datasets_sees_a_rebuild(tmp_path, monkeypatch):
    """`load_dataset` of a folder that was built again gives the new rows: the card says which content it is of."""
    config = "instruct-pedestrian_counting"
    release = write_sample_release("irtd", tmp_path / "release", rows=60, form="folder")
    [file] = (tmp_path / "release").rglob("PedestrianCounting.json")
    text = file.read_text()
    out = tmp_path / "out"
    headers, loaded = [], []
    for number in ["", *re.findall(r"<num>(\d+)</num>", text)[:3]]:
        corrected = number[:-1] + str((int(number or 0) + 1) % 10)
        file.write_text(text.replace(f"<num>{number}</num>", f"<num>{corrected}</num>", 1))
        shutil.rmtree(out, ignore_errors=True)
        irtd_here("build", "irtd", config, "--release", release.folder, "--out", out, "--quiet")
        headers.append(yaml.safe_load((out / "README.md").read_text().split("---")[1]))
        rows = datasets.load_dataset(str(out), config, split="train", cache_dir=str(tmp_path / "cache"))
        truth = {row["id"]: row["answer"] for row in stream(f"{out}:{config}", columns=["id", "answer"])}
        assert dict(zip(rows["id"], rows["answer"], strict=True)) == truth
        loaded.append(tuple(sorted(truth.items())))
    assert len(set(loaded)) == len(headers)
    descriptions = [{entry.pop("description") for entry in header["configs"]} for header in headers]
    assert len(set.union(*descriptions)) == sum(map(len, descriptions))
