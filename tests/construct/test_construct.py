"""A benchmark constructed from source sets on disk, built, loaded by plain `datasets`, and kept apart from training."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from processes import irtd_here, run
from source_sets import TABLE, rows, sample_image, scenery

from irtd_datasets.construct.benchmark import Options, construct
from irtd_datasets.errors import BuildError, ReleaseNotFoundError
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks import PARSERS
from irtd_datasets.irtd.tasks.location import parse_answer
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.schema import TASKS
from irtd_datasets.sources import SourceOptions, find_sources, merge_tables, open_source, read_table
from irtd_datasets.writing.engine import build

FACTS = Path(__file__).parents[1] / "facts.py"


def options(sources, **more):
    return Options(table=sources.table, **more)


def shards(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return {
        shard["file"]: shard["summary"]["sha256"] for part in manifest["parts"] for shard in part["shards"]
    }


@pytest.fixture
def street(sources):
    """Twenty test images, six of training, and class folders."""
    sources.street("test", range(20))
    sources.street("train", range(20, 26))
    sources.scenes()
    return sources


def test_a_benchmark_is_loaded_without_the_library(street, tmp_path):
    """`benchmark` and each `benchmark-<task>` load mapped and streaming in plain `datasets`, with the same rows."""
    out = tmp_path / "irtd"
    construction = construct("benchmark", street.folder, out, options(street))
    tasks = sorted({task for task, results in construction.results.items() if sum(r.chosen for r in results)})
    assert {"grounding", "location", "relationship", "security", "pedestrian_counting"} <= set(tasks)
    configs = ["benchmark", *(f"benchmark-{task}" for task in tasks)]
    done = run(["-I", str(FACTS), "irtd", *configs], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("library") == []
    for config in configs:
        assert found[f"{config} mapped"] == found[f"{config} streamed"]
    assert len(found["benchmark mapped"]["test"]) == construction.rows
    total = sum(len(found[f"benchmark-{task} mapped"]["test"]) for task in tasks)
    assert total == construction.rows


def test_rows_say_what_they_are(street, tmp_path):
    """Ids say that a row is constructed, the ledger and the card by which rules; every row parses as its task."""
    out = tmp_path / "irtd"
    construct("benchmark", street.folder, out, options(street))
    found = rows(out, "benchmark")
    assert len({row["id"] for row in found}) == len(found)
    for row in found:
        task = TASKS[row["task"]]
        assert row["id"].startswith(f"irtd/benchmark/{task}/constructed/")
        assert row["source"] in ("street", "scenes")
        question, answer = (message["content"] for message in row["messages"])
        assert PARSERS[task](question, answer).question == row["question"]
        assert str(street.folder) not in json.dumps({**row, "image": row["image"]["path"]})
        if row["source"] == "street":
            assert row["image"]["path"].startswith("street/test/")
            assert row["issues"] == []
    ledger = json.loads((out / "ledger.json").read_text())
    notes = {line["part"]: line["note"] for line in ledger["files"]}
    assert "not released; constructed by irtd-datasets" in notes["relationship"]
    assert "relationship=existential" in notes["relationship"]
    assert "street 20" in notes["pedestrian_counting"]
    assert "relationship=existential" in (out / "README.md").read_text()


def test_answers_are_those_of_the_labels(street, tmp_path):
    """Points and boxes of the rows lie on the labelled objects of their image."""
    out = tmp_path / "irtd"
    construct("benchmark", street.folder, out, options(street))
    for row in rows(out, "benchmark-location"):
        number = int(Path(row["image"]["path"]).stem)
        name, points = parse_answer(row["messages"][1]["content"])
        boxes = sorted(box for label, box in scenery(number) if label == name)
        centres = sorted(((a + c) / 2, (b + d) / 2) for a, b, c, d in boxes)
        assert len(points) == len(centres)
        for (x, y), point in zip(centres, row["objects"]["point"], strict=True):
            assert point == pytest.approx([x, y], abs=0.09)
    for row in rows(out, "benchmark-grounding"):
        number = int(Path(row["image"]["path"]).stem)
        (label,), (box,) = row["objects"]["label"], row["objects"]["box"]
        assert (label, tuple(box)) in [(name, tuple(map(float, place))) for name, place in scenery(number)]


def test_the_same_sources_give_the_same_bytes(street, tmp_path):
    """A second construction, elsewhere and by another number of workers, writes the same bytes; a seed changes them."""
    construct("benchmark", street.folder, tmp_path / "a", options(street))
    moved = street.folder.rename(tmp_path / "moved")
    construct("benchmark", moved, tmp_path / "b", options(street), workers=2)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    construct("benchmark", moved, tmp_path / "c", options(street, seed=1))
    assert shards(tmp_path / "a") != shards(tmp_path / "c")
    again = construct("benchmark", moved, tmp_path / "b", options(street))
    assert again.build.written == 0


@pytest.fixture
def trained(tmp_path, sample):
    """A dataset folder that has `instruct-grounding`."""
    out = tmp_path / "irtd"
    build("irtd", ["instruct-grounding"], absolute_options(sample.folder), out)
    return out


def test_what_instruct_has_is_kept_and_kept_out(street, trained):
    """Building into a folder keeps its instruct rows, and takes no image that looks like one of theirs."""
    before = {name: sha for name, sha in shards(trained).items() if name.startswith("instruct/")}
    (taken, *_) = rows(trained, "instruct-grounding", "image", "width", "height")
    with Image.open(io.BytesIO(taken["image"]["bytes"])) as opened:
        copy = io.BytesIO()
        opened.convert("L").save(copy, "JPEG", quality=80)
        size = opened.size
    from source_sets import voc

    for name, data in (("copied", copy.getvalue()), ("own", sample_image("own", size=size))):
        street.add("street", f"test/{name}.png", data=data)
        (street.folder / f"street/labels/test/{name}.xml").write_text(voc(scenery(1), size))
    construction = construct(
        "benchmark", street.folder, trained, options(street, tasks=("pedestrian_counting",))
    )
    (result,) = construction.results["pedestrian_counting"]
    assert result.rejected == {"looks like an image of another subset": 1}
    assert result.chosen == 21
    names = {row["image"]["path"] for row in rows(trained, "benchmark", "image")}
    assert "street/test/own.png" in names
    assert "street/test/copied.png" not in names
    assert before.items() <= shards(trained).items()
    assert construction.excluded == [f"{trained} instruct"]


def test_equal_frames_are_taken_once(sources, tmp_path):
    """Of images that look the same, under whatever names, one is asked about."""
    frame = sample_image("the frame")
    for number in range(4):
        name = f"test/{number}"
        sources.add("street", f"{name}.png", f"labels/{name}.xml", scenery(number), data=frame)
    sources.street("test", [7])
    construction = construct(
        "benchmark", sources.folder, tmp_path / "out", options(sources, tasks=("pedestrian_counting",))
    )
    (result,) = construction.results["pedestrian_counting"]
    assert result.chosen == 2
    assert result.rejected == {"same frame as one that was taken": 3}


def test_images_that_cannot_be_used_are_told(sources, tmp_path):
    """A Git LFS pointer, a cut file and an image of another size are left out under their reason, the rest stays."""
    sources.street("test", range(3))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    sources.add("street", "test/pointer.png", "labels/test/pointer.xml", scenery(1), data=pointer)
    sources.add("street", "test/cut.png", "labels/test/cut.xml", scenery(1), data=sample_image("cut")[:200])
    sources.add(
        "street", "test/wide.png", "labels/test/wide.xml", scenery(1), data=sample_image("w", size=(99, 99))
    )
    construction = construct(
        "benchmark", sources.folder, tmp_path / "out", options(sources, tasks=("pedestrian_counting",))
    )
    (result,) = construction.results["pedestrian_counting"]
    assert result.chosen == 3
    assert sum(result.rejected.values()) == 3
    assert result.rejected["image of another size than its labels say"] == 1


def test_states_of_the_tasks(street, tmp_path):
    """Scene without its source is absent from the listed ones, partial from others; what nothing feeds is absent."""
    construction = construct("benchmark", street.folder, tmp_path / "out", options(street), dry_run=True)
    assert construction.state("location") == "partial"
    assert construction.state("reid") == "absent"
    assert construction.as_dict()["tasks"]["location"]["absent_sources"][0] == "FLIR"
    assert not (tmp_path / "out").exists()
    sources = street.folder
    (sources / "scenes").rename(sources / "RGBNIR")
    for number, path in enumerate(sorted((sources / "RGBNIR").glob("*/*.png"))):
        path.rename(path.with_name(f"{number:04d}_nir.png"))
    construction = construct(
        "benchmark", sources, tmp_path / "out", options(street, tasks=("scene",), other_sources=False)
    )
    assert construction.rows == 15
    assert construction.state("scene") == "partial"
    assert [one.target.source for one in construction.results["scene"]] == ["RGBNIR"]


def test_captions_by_rule_leave_the_benchmark_alone(street, tmp_path):
    """Rule captions come from training images only, and none that looks like one of the benchmark."""
    out = tmp_path / "irtd"
    construct("benchmark", street.folder, out, options(street, tasks=("location",)))
    (held_out, *_) = rows(out, "benchmark-location", "image")
    street.add(
        "street", "train/copy.png", "labels/train/copy.xml", scenery(3), data=held_out["image"]["bytes"]
    )
    construction = construct("pretrain", street.folder, out, options(street))
    (result,) = [one for one in construction.results["captioning"] if one.target.source == "street"]
    assert (result.chosen, dict(result.rejected)) == (6, {"looks like an image of another subset": 1})
    captions = {row["image"]["path"]: row["messages"][1]["content"] for row in rows(out, "pretrain")}
    assert captions["street/train/0021.png"] == "The image contains 1 bike, 2 cars and 1 person."
    assert all(name.startswith("street/train/") for name in captions)
    assert {part.rpartition("/")[0] for part in shards(out)} == {
        "benchmark/location",
        "pretrain/rule_captions",
    }


@pytest.fixture
def persons(sources):
    """A Re-ID set: the test part of the table's RegDB."""
    row = next(row for row in read_table_of("RegDB"))
    assert row["reader"] == "reid-folders"
    for identity in range(1, 13):
        for shot in range(3):
            name = f"Thermal/{identity}/t_{identity:04d}_{shot}.bmp"
            sources.add("RegDB", name, data=sample_image(f"{identity} {shot}", size=(64, 128), suffix="bmp"))
    lists = sources.folder / "RegDB/idx"
    lists.mkdir()
    for split, identities in (("train", range(1, 3)), ("test", range(3, 13))):
        lines = [f"Thermal/{i}/t_{i:04d}_{shot}.bmp {i}\n" for i in identities for shot in range(3)]
        (lists / f"{split}_thermal_1.txt").write_text("".join(lines))
    return sources


def read_table_of(name):
    import irtd_datasets.sources

    path = Path(irtd_datasets.sources.__file__).with_name("sources.csv")
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["name"] == name]


def test_mosaics_show_test_persons(persons, tmp_path):
    """Re-ID rows are mosaics of persons of the test split, say which crops they show and what is not known."""
    out = tmp_path / "irtd"
    construct("benchmark", persons.folder, out, options(persons, tasks=("reid",)))
    found = rows(out, "benchmark-reid")
    assert len(found) == 20  # two for each of ten persons
    for row in found:
        assert row["issues"] == ["identity-unverified"]
        members = row["image_note"].removeprefix("mosaic of ").split(", ")
        identities = [int(name.split("/")[1]) for name in members]
        assert min(identities) > 2
        assert identities[0] == identities[int(row["answer"]) - 1]
        assert len(set(identities)) == 7
        with Image.open(io.BytesIO(row["image"]["bytes"])) as mosaic:
            assert mosaic.size == (512, 512)
            cell = mosaic.crop((128, 0, 256, 256))
        crop = Image.open(persons.folder / "RegDB" / members[1]).convert(cell.mode)
        assert cell.tobytes() == crop.resize((128, 256), Image.Resampling.BICUBIC).tobytes()
    construct("benchmark", persons.folder, tmp_path / "again", options(persons, tasks=("reid",)))
    assert shards(out) == shards(tmp_path / "again")


def test_the_command_tells_and_writes(street, tmp_path):
    """`irtd construct` prints states of the tasks, or JSON; mistakes are messages with the right exit code."""
    base = ["construct", "irtd", "benchmark", "--sources", street.folder, "--source-table", street.table]
    done = irtd_here(*base, "--out", tmp_path / "out", "--task", "location", "--task", "reid", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "location" in done.stdout
    assert "partial" in done.stdout
    assert "absent" in done.stdout
    done = irtd_here(
        *base, "--out", tmp_path / "out", "--task", "location", "--json", "--dry-run", "--limit", 4
    )
    told = json.loads(done.stdout)
    assert told["tasks"]["location"]["rows"] == 4
    assert told["folder"] is None
    for wrong, code, text in (
        (["--task", "colour"], 2, "no task 'colour'"),
        (["--rule", "relationship=often"], 2, "no value 'often'"),
        (["--captions", "rule"], 2, "no captions"),
    ):
        done = irtd_here(*base, "--out", tmp_path / "other", *wrong)
        assert done.returncode == code
        assert text in done.stderr
    done = irtd_here("construct", "irtd", "pretrain", "--captions", "magic", "--sources", street.folder)
    assert (done.returncode, "by 'magic'" in done.stderr) == (2, True)
    done = irtd_here("construct", "irtd", "captions", "--sources", street.folder)
    assert (done.returncode, "cannot be constructed" in done.stderr) == (2, True)
    done = irtd_here("construct", "irtd", "benchmark")
    assert (done.returncode, "--sources" in done.stderr) == (2, True)


def test_nothing_to_construct_from(sources, tmp_path):
    """A folder without sources, with an unreadable one, or with one that gives nothing is told."""
    with pytest.raises(ReleaseNotFoundError, match="no source here"):
        construct("benchmark", sources.folder, tmp_path / "out", options(sources))
    (sources.folder / "street/wrong").mkdir(parents=True)
    with pytest.raises(ReleaseNotFoundError, match="no layout of its row"):
        construct("benchmark", sources.folder, tmp_path / "out", options(sources))
    sources.street("train", range(3))
    with pytest.raises(ReleaseNotFoundError, match="other split 3"):
        construct("benchmark", sources.folder, tmp_path / "out", options(sources))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(BuildError, match="not made by a build"):
        construct("benchmark", sources.folder, full, options(sources))
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]


def test_a_benchmark_of_real_files(real, tmp_path):
    """Seven tasks come out of the real sets, and each answer is that of the labels of its image."""
    table = Path(__file__).with_name("real_table.csv")
    names = {row.name for row in read_table(table)}
    all_rows = merge_tables(read_table(table))
    out = tmp_path / "irtd"
    construction = construct("benchmark", real, out, Options(table=table, limit=60))
    wanted = {
        "scene",
        "grounding",
        "location",
        "relationship",
        "security",
        "aerial_counting",
        "pedestrian_counting",
    }
    assert wanted <= {task for task in construction.results if construction.state(task) != "absent"}
    labels = {}
    for place in find_sources(real, all_rows):
        if not place.readable:
            continue
        source = open_source(
            place.row.name, place.path, table=all_rows, options=SourceOptions(check_images=False)
        )
        labels.update({(place.row.name, image.image): image for image in source.images()})
    assert names <= {source for source, _ in labels}
    counted = 0
    for row in rows(out, "benchmark"):
        image = labels[row["source"], row["image"]["path"].partition("/")[2]]
        assert image.split != "train"
        task = TASKS[row["task"]]
        if task.endswith("counting"):
            name = "car" if task == "aerial_counting" else "person"
            assert int(row["answer"]) == sum(one.label.lower() == name for one in image.objects)
            counted += 1
        if task == "grounding":
            assert tuple(row["objects"]["box"][0]) in {
                tuple(map(float, map(round, one.box))) for one in image.objects
            }
        if task == "scene":
            assert row["answer"].endswith(f") {image.scene}")
    assert counted > 20


def test_the_table_of_the_tests_is_read(sources):
    """Guard: the sources that these tests write are recognised at all."""
    sources.street("test", [1])
    assert [place.row.name for place in find_sources(sources.folder, read_table(sources.table))] == ["street"]
    assert TABLE.count("\n") == 6
    assert SPEC.name == "irtd"
