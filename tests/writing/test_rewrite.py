"""A dataset folder made from rows of others: every promise of a build, and nothing lost on the way."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.stored import StoredFolder
from irtd_datasets.hub.check import check_folder
from irtd_datasets.writing import rewrite as module
from irtd_datasets.writing.rewrite import Rewriting, keep_all, rewrite


def shards_of(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*-of-*.parquet"))
    }


def rows_of(folder):
    """Rows with the bytes of their images, by id."""
    return {
        row["id"]: row
        for file in sorted(folder.rglob("*-of-*.parquet"))
        for row in pq.read_table(file).to_pylist()
    }


def every_third(_parent, shard):
    return np.where(np.arange(shard.rows) % 3 == 0, -1, 0)


def test_rows_that_all_stay_have_the_bytes_of_the_build(built, tmp_path):
    """Rows of one folder, none left out, give its shards again, copied or written anew; neither has a finding."""
    report = rewrite([StoredFolder.open(built)], tmp_path / "same", Rewriting("copy", keep_all))
    assert shards_of(tmp_path / "same") == shards_of(built)
    location = StoredFolder.open(built, "instruct-location")
    again = rewrite([location], tmp_path / "again", Rewriting("copy", keep_all, edit=dict))
    key = ("instruct", "location", "train")
    assert again.rows == {key: report.rows[key]}
    assert shards_of(tmp_path / "again").items() <= shards_of(built).items()
    assert report.dropped == {}
    assert sum(report.rows.values()) == report.looked_at
    assert not check_folder(tmp_path / "same", images="none", hashes=True).errors


def test_what_is_left_out_is_counted(built, tmp_path):
    """Sums of the ledger are equal, its parent is named, and rows that stay are as they were."""
    parent = StoredFolder.open(built, "benchmark")
    out = tmp_path / "less"
    report = rewrite([parent], out, Rewriting("subset", every_third, ("every third",)))
    before, after = rows_of(built), rows_of(out)
    assert len(after) == sum(report.rows.values()) == parent.rows - report.dropped["every third"]
    assert all(before[row_id] == row for row_id, row in after.items())
    ledger = Ledger.read(out)
    assert all(line.record_counts is None or line.record_counts.balanced for line in ledger.lines)
    assert ledger.totals()["kept"] == len(after)
    made_from = Manifest.read(out).made_from
    assert made_from is not None
    assert made_from.parents[0].manifest == hashlib.sha256((built / "manifest.json").read_bytes()).hexdigest()
    assert not check_folder(out, images="none", hashes=True).errors


def test_an_image_is_stored_once_in_a_row_group(built, tmp_path):
    """Rows of several row groups that show one image share its bytes, as after a build."""
    rewrite(
        [StoredFolder.open(built, "benchmark")], tmp_path / "less", Rewriting("subset", every_third, ("x",))
    )
    for file in (tmp_path / "less").rglob("*-of-*.parquet"):
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            table = pq.ParquetFile(file).read_row_group(group, columns=["image.bytes"])
            images = [image["bytes"] for image in table["image"].to_pylist()]
            stored = next(
                metadata.row_group(group).column(leaf).total_compressed_size
                for leaf in range(metadata.num_columns)
                if metadata.row_group(group).column(leaf).path_in_schema == "image.bytes"
            )
            assert stored < sum(map(len, set(images))) + 10 * len(images) + 200


def test_plain_datasets_loads_both_splits(built, tmp_path):
    """A part dealt to two splits is loaded as such, with the rows that the report counts."""
    from datasets import load_dataset

    out = tmp_path / "two"
    deal = Rewriting("split", lambda _, shard: np.arange(shard.rows) % 4 == 0, splits=("train", "validation"))
    report = rewrite([StoredFolder.open(built, "benchmark")], out, deal)
    loaded = load_dataset(str(out), "benchmark", cache_dir=str(tmp_path / "cache"))
    for split in ("train", "validation"):
        assert len(loaded[split]) == sum(
            count for (_, _, name), count in report.rows.items() if name == split
        )
    assert not set(loaded["train"]["id"]) & set(loaded["validation"]["id"])
    assert not check_folder(out, images="none").errors


def test_texts_are_changed_and_rows_left_out_by_a_function(built, tmp_path):
    """A function on the columns of a row changes them, or says why the row is left out; images stay."""

    def mend(row):
        assert "image" not in row
        if len(row["answer"]) < 2:
            return "a short answer"
        return {**row, "answer": row["answer"] + "!"}

    out = tmp_path / "mended"
    report = rewrite(
        [StoredFolder.open(built, "benchmark")], out, Rewriting("review", keep_all, edit=mend, identity="1")
    )
    before, after = rows_of(built), rows_of(out)
    assert after
    assert report.dropped["a short answer"]
    for row_id, row in after.items():
        assert row == {**before[row_id], "answer": before[row_id]["answer"] + "!"}


def test_a_run_that_was_killed_goes_on(built, tmp_path, monkeypatch):
    """Shards that were finished are taken over, and the folder is that of an undisturbed run."""
    calls = []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return remember(*arguments)

    remember = module.remember
    monkeypatch.setattr(module, "remember", killed)
    again = Rewriting("subset", every_third, ("x",))
    with pytest.raises(KeyboardInterrupt):
        rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "out", again)
    assert not (tmp_path / "out" / "manifest.json").exists()
    monkeypatch.undo()
    report = rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "out", again)
    assert report.reused == 3
    rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "whole", again)
    for name in ("manifest.json", "README.md", "ledger.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert shards_of(tmp_path / "out") == shards_of(tmp_path / "whole")
    assert not (tmp_path / "out" / ".build").exists()
    assert rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "out", again).written == 0


def test_a_run_that_was_killed_while_it_put_shards_into_place_goes_on(built, tmp_path, monkeypatch):
    """Neither half of the shards, those in place and those that wait, is written again."""
    from irtd_datasets.writing.folder import DatasetFolder

    place = DatasetFolder._place_shard
    calls = []

    def killed(self, *arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return place(self, *arguments)

    again = Rewriting("subset", every_third, ("x",))
    monkeypatch.setattr(DatasetFolder, "_place_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "out", again)
    monkeypatch.undo()
    assert rewrite([StoredFolder.open(built, "benchmark")], tmp_path / "out", again).written == 0
    assert not check_folder(tmp_path / "out", images="none", hashes=True).errors


def test_what_cannot_be_made_is_refused_before_anything_is_written(built, tmp_path, monkeypatch):
    """No rows, a place in use, a disk that is too small: words, and no folder left behind."""
    parent = StoredFolder.open(built, "benchmark")
    with pytest.raises(BuildError, match="no row is left of"):
        rewrite([parent], tmp_path / "none", Rewriting("x", lambda _, shard: -np.ones(shard.rows), ("gone",)))
    assert not (tmp_path / "none").exists()
    with pytest.raises(BuildError, match="where the rows are read from"):
        rewrite([parent], built, Rewriting("x", keep_all))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    with pytest.raises(BuildError, match="not empty"):
        rewrite([parent], tmp_path / "full", Rewriting("x", keep_all))
    rewrite([parent], tmp_path / "one", Rewriting("x", keep_all))
    with pytest.raises(BuildError, match="holds a dataset folder already"):
        rewrite([parent], tmp_path / "one", Rewriting("y", keep_all))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BuildError, match="are free"):
        rewrite([parent], tmp_path / "large", Rewriting("x", keep_all))
    assert not (tmp_path / "large").exists()


def test_a_build_does_not_go_into_a_folder_made_of_others(built, sample, tmp_path):
    """Its rows are another's; a build beside them would describe both as one release."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    rewrite(
        [StoredFolder.open(built, "benchmark")], tmp_path / "less", Rewriting("subset", every_third, ("x",))
    )
    with pytest.raises(BuildError, match="irtd subset"):
        build("irtd", ["pretrain"], absolute_options(sample.folder), tmp_path / "less")


def test_a_parent_that_is_not_whole_is_refused(built, tmp_path):
    """A shard cut short, one whose bytes have changed, a ledger with other counts, folders of two datasets."""
    parent = shutil.copytree(built, tmp_path / "parent")
    file = next(parent.rglob("*-of-*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(BuildError, match="the manifest tells of"):
        StoredFolder.open(parent)
    file.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(BuildError, match=f"{file}: its SHA-256 is"):
        rewrite([StoredFolder.open(parent)], tmp_path / "out", Rewriting("x", keep_all))
    assert not list(tmp_path.glob("out/.build/**/*.tmp*"))
    file.write_bytes(whole)
    ledger = json.loads((parent / "ledger.json").read_text())
    line = next(line for line in ledger["files"] if line["kept"])
    line["kept"] += 1
    (parent / "ledger.json").write_text(json.dumps(ledger))
    with pytest.raises(BuildError, match="the ledger keeps"):
        rewrite([StoredFolder.open(parent)], tmp_path / "out", Rewriting("x", keep_all))
    manifest = parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dataset": "irtd"', '"dataset": "mmrs_1m"'))
    with pytest.raises(UnknownNameError, match="several datasets"):
        rewrite(
            [StoredFolder.open(built, "benchmark"), StoredFolder.open(parent)],
            tmp_path / "out",
            Rewriting("x", keep_all),
        )


def test_rows_of_several_folders_take_turns(built, tmp_path):
    """Two halves of a folder are joined to the same rows, and a part of both is described as such."""
    for name, keep in (("a", 0), ("b", 1)):
        half = Rewriting(
            name, lambda _, shard, keep=keep: np.where(np.arange(shard.rows) % 2 == keep, 0, -1), ("x",)
        )
        rewrite([StoredFolder.open(built, "benchmark")], tmp_path / name, half)
    halves = [StoredFolder.open(tmp_path / name) for name in "ab"]
    rewrite(halves, tmp_path / "ab", Rewriting("merge", keep_all))
    whole = {row_id: row for row_id, row in rows_of(built).items() if "/benchmark/" in row_id}
    assert rows_of(tmp_path / "ab") == whole
    assert Ledger.read(tmp_path / "ab").totals()["found"] == len(whole)
    assert not check_folder(tmp_path / "ab", images="none", hashes=True).errors
