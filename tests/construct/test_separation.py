"""Benchmark rows are no images, videos or frames of training, and the same on every machine."""

import io
import os
import shutil

import pytest
from PIL import Image
from processes import python
from source_sets import sample_image, scenery, voc

from irtd_datasets.construct.benchmark import Options, choose, construct, gather
from irtd_datasets.construct.exclusion import Exclusion, bits_of
from irtd_datasets.construct.targets import targets, wanted
from irtd_datasets.folder.row_groups import config_files
from irtd_datasets.hub.image_hash import hamming
from irtd_datasets.irtd.tasks.generation import Rules
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.sources import get
from irtd_datasets.writing.engine import build

PEDESTRIANS = ("pedestrian_counting",)


def saved(image, form, **how):
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


COPIES = {
    "the same bytes": lambda data: data,
    "as PNG in colour": lambda data: saved(opened(data).convert("RGB"), "PNG"),
    "as JPEG of low quality": lambda data: saved(opened(data), "JPEG", quality=20),
    "half the size": lambda data: saved(halved(opened(data)), "JPEG", quality=75),
    "as TIFF": lambda data: saved(opened(data), "TIFF"),
}


def opened(data):
    return Image.open(io.BytesIO(data)).convert("L")


def halved(image):
    return image.resize((image.width // 2, image.height // 2))


@pytest.fixture
def trained(tmp_path, sample):
    """A dataset folder that has `instruct-grounding`, and its first image."""
    import pyarrow.parquet as pq

    out = tmp_path / "trained"
    build("irtd", ["instruct-grounding"], absolute_options(sample.folder), out)
    (file, *_) = [file for files in config_files(out, "instruct-grounding").values() for file in files]
    return out, pq.read_table(file, columns=["image"])["image"][0].as_py()["bytes"]


def test_copies_of_a_training_image_are_found(trained, sources, tmp_path):
    """An image of instruct is kept out of the benchmark under any name, re-encoded, in colour, or of half the size."""
    folder, data = trained
    for number, copy in enumerate(COPIES.values()):
        changed = copy(data)
        name = f"test/{number:06d}"
        sources.add("street", f"{name}.png", data=changed)
        label = sources.folder / f"street/labels/{name}.xml"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(voc(scenery(1), opened(changed).size))
    sources.street("test", [7])
    found = construct(
        "benchmark",
        sources.folder,
        tmp_path / "out",
        Options(table=sources.table, tasks=PEDESTRIANS, exclude=(folder,)),
    )
    (result,) = found.results["pedestrian_counting"]
    assert result.rejected == {"looks like an image of another subset": len(COPIES)}
    assert result.chosen == 1


def test_copies_of_real_streets_are_found_and_other_streets_are_not(real):
    """Frames of FLIR ADAS: every copy is within the bits that keep it out; no other frame of the set is."""
    from irtd_datasets.construct.exclusion import LIKE_OTHER_SUBSET

    frames = [path.read_bytes() for path in sorted((real / "roadscene/infrared").glob("*.png"))[:5]]
    looks = [bits_of(data, "frame") for data in frames]
    for data, bits in zip(frames, looks, strict=True):
        for copy in COPIES.values():
            assert hamming(bits, bits_of(copy(data), "copy")) <= LIKE_OTHER_SUBSET
    others = [hamming(one, other) for index, one in enumerate(looks) for other in looks[:index]]
    assert min(others) > LIKE_OTHER_SUBSET


def test_a_training_part_beside_the_test_part_stays_out(sources, tmp_path):
    """Images of a folder `train` give nothing, though it has the same labels and lies beside `test`."""
    sources.street("train", range(5))
    sources.street("test", range(5, 9))
    found = construct(
        "benchmark", sources.folder, tmp_path / "out", Options(table=sources.table, tasks=PEDESTRIANS)
    )
    assert found.rows == 4
    assert found.left_out["street"] == {"other split": 5}


def test_a_frame_that_two_sets_share_is_asked_about_once(sources, tmp_path):
    """Sets share images, as FLIR and FLIR_ADAS do: the second one does not give the frame again."""
    shared = sample_image("shared")
    sources.add("street", "test/1.png", "labels/test/1.xml", scenery(1), data=shared)
    sources.add("above", "test/9.png", "labels/test/9.xml", scenery(1), data=shared)
    sources.add("above", "test/8.png", "labels/test/8.xml", scenery(2))
    found = construct(
        "benchmark", sources.folder, tmp_path / "out", Options(table=sources.table, tasks=("location",))
    )
    first, second = found.results["location"]
    assert (first.target.source, second.target.source) == ("street", "above")
    assert (first.chosen, second.chosen) == (2, 2)
    assert second.rejected == {"same frame as one that was taken": 2}


CHOICE = """
import sys
from pathlib import Path
from irtd_datasets.construct.benchmark import Options, choose, gather
from irtd_datasets.construct.exclusion import Exclusion
options = Options(table=Path(sys.argv[2]))
chosen, _ = choose(gather(Path(sys.argv[1]), "benchmark", options), Exclusion(), options)
for task, candidates in sorted(chosen.items()):
    for one in candidates:
        print(task, one.image, one.made.question, one.made.answer, *one.made.members, sep="|")
"""


def test_another_machine_chooses_the_same_rows(sources, tmp_path):
    """Names and the seed decide: not the order or the times of files, the language, or the seed of Python's hashes."""
    sources.street("test", range(12))
    sources.scenes()
    copy = tmp_path / "copy"
    for path in sorted(sources.folder.rglob("*"), reverse=True):
        if path.is_file():
            target = copy / path.relative_to(sources.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            os.utime(target, (1e9, 1e9))
    settings = (
        (sources.folder, {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}),
        (copy, {"PYTHONHASHSEED": "4242", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"}),
    )
    lines = []
    for folder, env in settings:
        done = python(CHOICE, folder, sources.table, env=env)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout)
    assert lines[0] == lines[1]
    assert lines[0].count("\n") > 30


def test_every_listed_source_can_give_what_its_targets_want():
    """A source of which nothing is labelled exhaustively could not be counted: no target may rest on one."""
    needed = {"aerial_counting": "car", "pedestrian_counting": "person"}
    for target in targets():
        row = get(target.source)
        if target.task in ("scene", "recognition", "reid"):
            continue
        assert row.exhaustive, (target.task, target.source)
        if target.task in needed:
            assert needed[target.task] in row.exhaustive
        if target.task == "relationship":
            assert len(row.exhaustive) >= 2
        if target.task == "security":
            assert len(row.exhaustive) >= 3


def test_a_set_of_scenes_alone_gives_all_its_images(sources):
    """Nothing is trained on an undivided set of class folders, so none of it is held back for that."""
    found = wanted(get("WRD"), ("scene",), others=True)
    assert found["scene"].splits == ("all",)
    sources.scenes()
    options = Options(table=sources.table, tasks=("scene",), rules=Rules(scenes="any"))
    chosen, _ = choose(gather(sources.folder, "benchmark", options), Exclusion(), options)
    assert len(chosen["scene"]) == 15
