"""The dataset folder: same bytes every time, what other builds put there stays, and what it refuses to write into."""

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from processes import DEADLINE, environment, irtd, told

from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing import from_stream, plan
from irtd_datasets.writing.engine import build

ALL = ("pretrain", "instruct", "benchmark")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of a few images, so that most parts have several."""
    for module in (plan, from_stream):
        monkeypatch.setattr(module, "SHARD_BYTES", 300_000)
    monkeypatch.setattr(plan, "LEAST_SHARD_BYTES", 200_000)


def built(release, out, configs=ALL, **options):
    return build("irtd", configs, absolute_options(release), out, **options)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "release"
    return write_sample_release("irtd", folder, rows=40, captions=12, benchmark=True).folder


@pytest.fixture
def first(small, tmp_path):
    """A build with one worker: its folder and its files."""
    built(small, tmp_path / "first")
    return tmp_path / "first", tree(tmp_path / "first")


def test_bytes_do_not_depend_on_workers_place_or_order(first, small, tmp_path, monkeypatch):
    """Two workers, another --out, configs in another order or one by one: every file has the same bytes."""
    assert len(first[1]) > 20
    built(small, tmp_path / "workers", workers=2)
    built(small, tmp_path / "deep" / "er" / "irtd", reversed(ALL))
    for config in ("instruct-security", "benchmark", "instruct", "pretrain"):
        built(small, tmp_path / "by parts", [config])
    monkeypatch.chdir(small.parent)
    built("release", tmp_path / "relative")
    for other in ("workers", "deep/er/irtd", "by parts", "relative"):
        assert tree(tmp_path / other) == first[1], other


def test_bytes_do_not_depend_on_where_and_when_the_release_was_put(first, small, tmp_path):
    """A copy of the release with other times gives the same dataset, the manifest included."""
    copy = shutil.copytree(small, tmp_path / "elsewhere" / "release")
    for path in copy.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    built(copy, tmp_path / "irtd")
    # What the next build goes by remembers the times of the files read; it is no part of the dataset.
    assert {**tree(tmp_path / "irtd"), ".built.json": b""} == {**first[1], ".built.json": b""}


def test_without_what_the_next_build_goes_by_everything_is_built_again(first, small):
    """A downloaded dataset folder, which has no identities of inputs, is built again to the same bytes."""
    folder, files = first
    shards = len(list(folder.glob("*/*/*.parquet")))
    for damage in (None, "[]", "{"):
        (folder / ".built.json").unlink()
        if damage is not None:
            (folder / ".built.json").write_text(damage)
        report = built(small, folder)
        assert (report.written, report.reused) == (shards, 0)
        assert tree(folder) == files


def test_a_build_of_no_row_is_an_error(small, tmp_path):
    """Images that are all damaged give a message that says so, no folder, and nothing in a folder that was there."""
    release = shutil.copytree(small, tmp_path / "release")
    built(release, tmp_path / "earlier", ["instruct-location"])
    before = tree(tmp_path / "earlier")
    for image in (release / "4-VEDAI" / "train" / "trainimgr").iterdir():
        image.write_bytes(b"<html>")
    for out in ("earlier", "new"):
        with pytest.raises(ReleaseNotFoundError, match="image-not-an-image"):
            built(release, tmp_path / out, ["instruct-aerial_counting"])
    assert tree(tmp_path / "earlier") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("unit", [1, 200 << 20])
def test_the_number_of_shards_has_many_divisors(unit, monkeypatch):
    """Every part has 1 to 16 shards, or a multiple of 24; shards keep their least size and have less than twice it."""
    monkeypatch.setattr(plan, "LEAST_SHARD_BYTES", unit)
    for most in range(1, 300):
        count = plan.shard_count(most * unit)
        assert count in (1, 2, 3, 4, 6, 8, 12, 16) or count % 24 == 0
        assert unit <= most * unit / count < 2 * unit


def test_nothing_in_the_folder_tells_of_the_machine(first, small, tmp_path):
    """No file has a path of this machine in it."""
    for name, data in first[1].items():
        for path in (tmp_path, small, small.parent):
            assert str(path).encode() not in data, name


def test_built_again_nothing_is_written(first, small):
    """The same command once more takes every shard over and leaves every byte as it was."""
    folder, files = first
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*.parquet")}
    report = built(small, folder)
    assert (report.written, report.reused) == (0, len(times))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*.parquet")} == times
    assert tree(folder) == files


def test_only_what_changed_is_built_again(small, tmp_path):
    """An image that changed costs the shards it is in; an image that went away takes its rows along."""
    release = shutil.copytree(small, tmp_path / "release")
    built(release, tmp_path / "irtd")
    before = tree(tmp_path / "irtd")
    aerial = sorted((release / "4-VEDAI" / "train" / "trainimgr").iterdir())
    aerial[0].write_bytes(aerial[1].read_bytes())
    report = built(release, tmp_path / "irtd")
    assert 0 < report.written < 3
    changed = {name for name, data in tree(tmp_path / "irtd").items() if before.get(name) != data}
    assert {name for name in changed if name.endswith(".parquet")} <= {
        name for name in before if "aerial_counting" in name
    }
    for image in aerial:
        image.unlink()
    built(release, tmp_path / "irtd")
    built(release, tmp_path / "fresh")
    assert tree(tmp_path / "irtd") == tree(tmp_path / "fresh")
    assert not (tmp_path / "irtd" / "instruct" / "aerial_counting").exists()


def test_other_configs_are_added_to_a_folder(small, tmp_path):
    """A second build into the same folder keeps the first one's files, and card, manifest and ledger tell of both."""
    out = tmp_path / "irtd"
    built(small, out, ["instruct-location"])
    before = tree(out)
    built(small, out, ["pretrain"])
    after = tree(out)
    assert {name: data for name, data in after.items() if name.startswith("instruct/")} == {
        name: data for name, data in before.items() if name.startswith("instruct/")
    }
    card = yaml.safe_load(after["README.md"].decode().split("---")[1])
    assert [config["config_name"] for config in card["configs"]] == [
        "pretrain",
        "pretrain-captioning",
        "instruct",
        "instruct-location",
    ]
    ledger = json.loads(after["ledger.json"])
    assert [line["file"] for line in ledger["files"] if line["found"]] == [
        "new_relative.json",
        "Location.json",
    ]
    assert datasets.load_dataset(str(out), "pretrain", split="train", cache_dir=tmp_path).num_rows == 12


def test_the_manifest_is_true(first):
    """The manifest names every file with its size and SHA-256, and every shard with its rows."""
    import hashlib

    folder, files = first
    manifest = json.loads(files["manifest.json"])
    assert manifest["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
        if name not in ("manifest.json", ".built.json")
    }
    shards = [shard for part in manifest["parts"] for shard in part["shards"]]
    assert sorted(shard["file"] for shard in shards) == sorted(
        path.relative_to(folder).as_posix() for path in folder.glob("*/*/*.parquet")
    )
    for shard in shards:
        data, summary = files[shard["file"]], shard["summary"]
        assert summary["size"] == len(data)
        assert summary["sha256"] == hashlib.sha256(data).hexdigest()
        assert summary["rows"] == pq.read_metadata(folder / shard["file"]).num_rows


def test_the_card_counts_what_is_there(first, tmp_path):
    """Rows and bytes of ``dataset_info`` are those of the files, which `datasets` checks when it loads them."""
    folder, files = first
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    infos = {info["config_name"]: info for info in card["dataset_info"]}
    for config in card["configs"]:
        (split,) = config["data_files"]
        paths = split["path"] if isinstance(split["path"], list) else [split["path"]]
        found = sorted({file for path in paths for file in folder.glob(path)})
        (info,) = infos[config["config_name"]]["splits"]
        assert info["name"] == split["split"]
        assert info["num_examples"] == sum(pq.read_metadata(file).num_rows for file in found)
        if config["config_name"] in {"pretrain", "instruct", "benchmark-scene"}:
            loaded = datasets.load_dataset(
                str(folder), config["config_name"], cache_dir=tmp_path, verification_mode="all_checks"
            )
            assert loaded[split["split"]].num_rows == info["num_examples"]


def test_the_description_of_parts_is_that_of_one_file(first):
    """A bare shard describes itself: its columns have the features of the schema without card or library."""
    from irtd_datasets.schema import features

    folder, files = first
    shard = next(name for name in files if name.startswith("instruct/") and name.endswith(".parquet"))
    assert (
        datasets.Dataset.from_parquet(str(folder / shard), cache_dir=str(folder.parent / "c")).features
        == features()
    )


def put_file(out):
    out.write_text("mine")


def put_foreign_folder(out):
    out.mkdir()
    (out / "thesis.tex").write_text("mine")


def put_other_dataset(out):
    out.mkdir()
    (out / "README.md").write_text("---\n---\n")
    (out / "manifest.json").write_text(Manifest("other", "1.0.0", 0, (), (), {}).render())


def put_broken_manifest(out):
    out.mkdir()
    (out / "manifest.json").write_text('{"dataset": "irt')


FOREIGN = {
    "this is a file": put_file,
    "not empty and was not made by a build": put_foreign_folder,
    "holds the dataset 'other'": put_other_dataset,
    "not valid JSON": put_broken_manifest,
}


@pytest.mark.parametrize("words", FOREIGN)
def test_what_is_not_ours_is_left_alone(words, small, tmp_path):
    """A file, a foreign folder, another dataset's folder or a broken one is refused, and stays as it was."""
    out = tmp_path / "irtd"
    FOREIGN[words](out)
    before = out.read_bytes() if out.is_file() else tree(out)
    with pytest.raises((BuildError, AnnotationError), match=words):
        built(small, out)
    assert (out.read_bytes() if out.is_file() else tree(out)) == before


def test_a_place_that_cannot_be_made(small, tmp_path):
    """A folder below a file, or with a name that no file system takes, is told with its name."""
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "irtd", tmp_path / ("i" * 300)):
        with pytest.raises(BuildError, match=out.name[:10]):
            built(small, out)


def test_a_name_that_does_not_exist_leaves_nothing(small, tmp_path):
    """An unknown dataset, config, defect or action is refused before anything is made."""
    cases = (
        ("irdt", ["instruct"], {}),
        ("irtd", ["instrukt"], {}),
        ("irtd", ["instruct", "instruct-tracking"], {}),
        ("irtd", ["instruct"], {"label-reference-objekt": "drop"}),
        ("irtd", ["instruct"], {"*": "clip"}),
    )
    for dataset, configs, on_defect in cases:
        with pytest.raises(UnknownNameError) as caught:
            build(dataset, configs, absolute_options(small, None, on_defect), tmp_path / "out")
        assert caught.value.remedy
        assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ the disk

posix = pytest.mark.skipif(sys.platform != "linux", reason="uses limits and namespaces of Linux")


def without_power_over_files():
    """Give up, in a process about to start, root's power to write where permissions forbid it."""
    drop, override, read_search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    prctl = ctypes.CDLL(None).prctl
    if os.geteuid() == 0 and any(prctl(drop, power, 0, 0, 0) for power in (override, read_search)):
        os._exit(99)


@posix
def test_a_folder_without_permission(small, tmp_path):
    """An output that cannot be written is a message with the folder and what to do; nothing is made."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    process = irtd(
        "build",
        "irtd",
        "instruct",
        "--release",
        small,
        "--out",
        locked / "irtd",
        preexec_fn=without_power_over_files,
    )
    if process.returncode == 99:
        pytest.skip("this machine does not let a process give up its powers")
    told(process, 1, "locked/irtd", "Permission denied", "check its permissions, or use another --out")
    assert list(locked.iterdir()) == []


@posix
def test_a_file_that_grows_too_large(first, small, tmp_path):
    """A shard that the system refuses to let grow is given up; finished ones stay and the next run goes on."""
    out = tmp_path / "irtd"

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    process = irtd("build", "irtd", *ALL, "--release", small, "--out", out, preexec_fn=limited)
    told(process, 1, "shard-00000-", "File too large", "ulimit -f")
    assert [name for name in tree(out) if ".tmp" in name] == []
    assert [path.name for path in out.iterdir()] == [".build"]
    assert list(out.glob(".build/instruct/reid/*.parquet"))
    built(small, out)
    assert tree(out) == first[1]


@pytest.fixture
def namespace(tmp_path):
    """Runs a shell script that may mount file systems which nobody else sees and which end with it."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("this machine does not let a user mount a file system of his own")

    def run(script):
        return subprocess.run(
            ["unshare", "-rm", "sh", "-c", script],
            cwd=tmp_path,
            env=environment(IRTD=f"{sys.executable} -m irtd_datasets"),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    return run


def test_a_disk_that_fills_up(small, tmp_path, namespace):
    """On a full disk the build ends with a message and no stray file; with more space the same command ends well."""
    (tmp_path / "disk").mkdir()
    build_it = f"$IRTD build irtd pretrain --release {small} --out disk/irtd"
    process = namespace(
        "mount -t tmpfs -o size=600k none disk || exit 99\n"
        f"{build_it}; echo first $?; find disk -name '*.tmp*' -o -name '*.parquet'\n"
        f"mount -o remount,size=50m disk; {build_it} --json; echo second $?; find disk -type f | sort\n"
    )
    if process.returncode == 99:
        pytest.skip("no file system in memory here")
    assert "Traceback" not in process.stderr
    assert "No space left on device" in process.stderr
    assert "Free space" in process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "first 1"
    assert lines[1][0] == "{"
    assert lines[lines.index("second 0") + 1 :] == [
        "disk/irtd/.built.json",
        "disk/irtd/README.md",
        "disk/irtd/card/rows-by-task.png",
        "disk/irtd/card/rows.jpg",
        "disk/irtd/croissant.json",
        "disk/irtd/index/pretrain.captioning.parquet",
        "disk/irtd/ledger.json",
        "disk/irtd/manifest.json",
        "disk/irtd/pretrain/captioning/train-00000-of-00001.parquet",
    ]


def test_a_disk_that_is_too_small_from_the_start(small, tmp_path, namespace):
    """When the images alone cannot fit, the build says so before it writes any."""
    (tmp_path / "disk").mkdir()
    process = namespace(
        "mount -t tmpfs -o size=600k none disk || exit 99\n"
        f"$IRTD build irtd instruct --release {small} --out disk/irtd; echo $?; find disk\n"
        f"mount -o remount,ro disk; $IRTD build irtd instruct --release {small} --out disk/irtd; echo $?\n"
    )
    if process.returncode == 99:
        pytest.skip("no file system in memory here")
    assert "Traceback" not in process.stderr
    assert "MB of images are to be written" in process.stderr
    assert "Read-only file system" in process.stderr
    assert process.stdout.splitlines() == ["1", "disk", "1"]


def test_a_build_needs_no_slow_import(sample, tmp_path):
    """Neither pandas nor datasets are imported by the command for a whole build, index and card included."""
    program = """
import atexit, sys
from irtd_datasets.cli import main
atexit.register(lambda: print([name for name in ("pandas", "datasets") if name in sys.modules]))
main()
"""
    arguments = [sys.executable, "-c", program, "build", "irtd", "instruct", "--quiet"]
    arguments += ["--release", str(sample.folder), "--out", str(tmp_path / "irtd")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
    assert (tmp_path / "irtd" / "manifest.json").is_file()
