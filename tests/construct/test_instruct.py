"""`irtd construct irtd instruct`: the nine tasks from what is for training, and never from what the benchmark has."""

import json
from pathlib import Path

import pytest
from processes import irtd_here
from source_sets import rows

from irtd_datasets.construct.benchmark import Options, construct
from irtd_datasets.errors import BuildError
from irtd_datasets.irtd.tasks import BENCHMARK_TASKS, PARSERS
from irtd_datasets.irtd.tasks.generation import Rules
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.schema import TASKS
from irtd_datasets.writing.engine import build


@pytest.fixture
def street(sources):
    """Test images, training images, and class folders that do not divide themselves."""
    sources.street("test", range(8))
    sources.street("val", range(8, 12))
    sources.street("train", range(20, 32))
    for number in range(2):
        for split in ("train", "test"):
            name = f"{split}/{split[0]}{number}"
            cars = [("car", (10 * n, 20, 10 * n + 8, 28)) for n in range(number + 2)]
            sources.add("above", f"{name}.png", f"labels/{name}.xml", cars)
    sources.scenes(4)
    return sources


def test_instruct_is_made_of_what_is_for_training(street, tmp_path):
    """Each task that labels feed has rows of training images: each parses as its task, and its id says what it is."""
    out = tmp_path / "irtd"
    made = construct("instruct", street.folder, out, Options(table=street.table))
    found = rows(out, "instruct")
    assert len(found) == made.rows > 0
    tasks = {TASKS[row["task"]] for row in found}
    assert tasks == set(BENCHMARK_TASKS) - {"reid", "recognition"}
    for row in found:
        task = TASKS[row["task"]]
        assert row["id"].startswith(f"irtd/instruct/{task}/constructed/")
        assert row["source"] == "scenes" or "/train/" in row["image"]["path"]
        question, answer = (message["content"] for message in row["messages"])
        assert PARSERS[task](question, answer).question == row["question"]


@pytest.mark.parametrize("first", ["instruct", "benchmark"])
def test_no_image_is_in_both(street, tmp_path, first):
    """Whichever is constructed first, no image of the benchmark is in `instruct` of the same folder."""
    out, options = tmp_path / "irtd", Options(table=street.table)
    second = ({"instruct", "benchmark"} - {first}).pop()
    construct(first, street.folder, out, options)
    construct(second, street.folder, out, options)
    trained = {row["image"]["path"] for row in rows(out, "instruct")}
    asked = {row["image"]["path"] for row in rows(out, "benchmark")}
    assert trained
    assert asked
    assert not trained & asked
    if first == "instruct":
        assert any(name.startswith("scenes/") for name in trained)


def test_divided_scenes_stay_apart_in_folders_that_know_nothing_of_each_other(street, tmp_path):
    """With `scene_part=divided` the fixed division decides, whatever lies where."""
    options = Options(table=street.table, tasks=("scene",), rules=Rules(scene_part="divided"))
    construct("benchmark", street.folder, tmp_path / "a", options)
    construct("instruct", street.folder, tmp_path / "b", options)
    asked = {row["image"]["path"] for row in rows(tmp_path / "a", "benchmark")}
    trained = {row["image"]["path"] for row in rows(tmp_path / "b", "instruct")}
    assert not asked & trained
    assert len(asked) + len(trained) == 20


def test_videos_of_the_benchmark_stay_out(sources, tmp_path):
    """A video that stands in the test part, too, gives no row for training."""
    sources.table.write_text(
        "name,reader,infrared,labels,splits,sequence,classes,exhaustive,tasks,modality\n"
        'video,voc,{split:train|test}/{seq}/{stem}.*,labels/{split}/{seq}/{stem}.xml,,{seq},,"person,car",'
        '"location,pedestrian_counting",infrared\n'
    )
    for split, video in (("train", "a"), ("train", "b"), ("test", "b")):
        name = f"{split}/{video}/00{len(video)}{split[0]}"
        sources.add("video", f"{name}.png", f"labels/{name}.xml", [("person", (5, 5, 20, 60))])
    construct("instruct", sources.folder, tmp_path / "irtd", Options(table=sources.table))
    assert {row["image"]["path"].split("/")[2] for row in rows(tmp_path / "irtd", "instruct")} == {"a"}


def test_released_rows_are_not_replaced(street, tmp_path, sample):
    """A folder with released rows of a task keeps them: constructed ones of the same task are refused."""
    out = tmp_path / "irtd"
    build("irtd", ["instruct-grounding"], absolute_options(sample.folder), out)
    with pytest.raises(BuildError, match="released rows of instruct-grounding"):
        construct("instruct", street.folder, out, Options(table=street.table))
    construct("instruct", street.folder, out, Options(table=street.table, tasks=("location",)))
    ids = [row["id"] for row in rows(out, "instruct")]
    assert {"constructed" in one for one in ids} == {True, False}
    construct("instruct", street.folder, out, Options(table=street.table, tasks=("location",)))


def test_the_command_says_what_became_of_each_task(street, tmp_path):
    """The command of the documentation runs as written; its JSON names states, and a second run writes nothing anew."""
    arguments = (
        *("construct", "irtd", "instruct", "--sources", street.folder, "--source-table", street.table),
        *("--out", tmp_path / "irtd", "--json"),
    )  # fmt: skip
    done = irtd_here(*arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["subset"] == "instruct"
    assert told["tasks"]["location"]["state"] == "partial"
    assert told["rows"] == len(rows(tmp_path / "irtd", "instruct"))
    assert json.loads(irtd_here(*arguments).stdout)["rows"] == told["rows"]
    assert "constructed/Scene.json" in (Path(tmp_path) / "irtd" / "ledger.json").read_text()
