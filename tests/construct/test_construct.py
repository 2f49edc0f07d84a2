"""A benchmark constructed from source sets on disk, built, loaded by plain `datasets`, and kept apart from training."""

import csv
import io
import json
import shutil
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image
from processes import irtd_here, run
from source_sets import TABLE, sample_image, scenery

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert
from irtd_datasets.construct.benchmark import Options, construct
from irtd_datasets.construct.remote_sensing import Selection, extend
from irtd_datasets.errors import BuildError, ReleaseError, ReleaseNotFoundError
from irtd_datasets.folder.row_groups import config_files
from irtd_datasets.hub.check import check_folder
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


def rows(folder, config, *columns):
    found = []
    for files in config_files(folder, config).values():
        for file in files:
            found += pq.read_table(file, columns=list(columns) or None).to_pylist()
    return found


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


REMOTE = """\
name,reader,infrared,labels,splits,classes,exhaustive,tasks,modality
HIT-UAV,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,,"car,person,bike",detection,infrared
SIMD,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,,"car,person,bike",detection,optical
RSSCN7,class-folders,{scene}/{stem}.*,,,,,classification,optical
"""


PAIRED = """\
name,reader,infrared,visible,alignment,labels,splits,classes,exhaustive,tasks,modality
VEDAI,voc,ir/{stem}.*,vi/{stem}.*,aligned,labels/{stem}.xml,,,"car,person,bike",detection,infrared
HIT-UAV,voc,ir/{stem}.*,vi/{stem}.*,unaligned,labels/{stem}.xml,,,"car,person,bike",detection,infrared
"""
CAPTIONED = """\
name,reader,infrared,visible,alignment,labels,splits,classes,exhaustive,tasks,modality
VEDAI,captions,ir/{stem}.*,vi/{stem}.*,aligned,said.json,,,,captioning,optical
Thermal,captions,ir/{stem}.*,vi/{stem}.*,unaligned,said.json,,,,captioning,optical
"""


@pytest.mark.parametrize("dataset", ["mmrs_1m", "rs_gpt4v"])
def test_remote_sensing_records_carry_their_partners(dataset, sources, tmp_path):
    """Rows show the visible partner where one is: as it lies for a set declared aligned, registered or refused else."""
    sources.table.write_text(PAIRED if dataset == "mmrs_1m" else CAPTIONED)
    partners, other = {}, "HIT-UAV" if dataset == "mmrs_1m" else "Thermal"
    for source in ("VEDAI", other):
        for number in range(3):
            sources.add(source, f"ir/{number}.png", f"labels/{number}.xml", scenery(number))
            if number < 2:
                partners[source, number] = sample_image(f"{source} {number} visible", suffix="jpg")
                sources.add(source, f"vi/{number}.jpg", data=partners[source, number])
        said = [
            {
                "filename": f"{number}.png",
                "split": "train",
                "sentences": [{"raw": f"{source}, {number} cars."}],
            }
            for number in range(3)
        ]
        (sources.folder / source / "said.json").write_text(json.dumps({"images": said}))
    for _ in range(2):  # a second run finds what the first has put there
        made = extend(dataset, sources.folder, tmp_path / "records", table=sources.table)
        assert {part.source for part in made.parts} == {"VEDAI", other}
    out = tmp_path / "out"
    build(dataset, ["default"], absolute_options(tmp_path / "records"), out)
    found = {}
    for file in sorted(out.rglob("*-of-*.parquet")):
        for row in pq.read_table(file).to_pylist():
            source = "VEDAI" if "VEDAI" in row["image"]["path"] else other
            found[source, int(Path(row["image"]["path"]).stem)] = row
    for (source, number), row in found.items():
        status = row["registration"]["status"]
        if number == 2:
            assert (status, row["visible"]) == ("none", None)
        elif source == "VEDAI":
            assert (status, row["visible"]["bytes"]) == ("aligned", partners[source, number])
        else:
            assert (status, row["visible"]) == ("refused-not-sure", None)  # another scene
    assert len(found) == 6


def test_remote_sensing_records_are_read_back(sources, tmp_path):
    """Records in the style of MMRS-1M are built by its own reader, boxes within the rounding of two decimals."""
    sources.table.write_text(REMOTE)
    for source in ("HIT-UAV", "SIMD"):
        sources.street("train", range(6), source)
        sources.street("test", range(6, 8), source)
    for scene in ("grass", "field"):
        sources.add("RSSCN7", f"{scene}/0.png")
    made = extend("mmrs_1m", sources.folder, tmp_path / "records", table=sources.table)
    assert {(part.source, part.task): part.records for part in made.parts} == {
        ("HIT-UAV", "detection"): 6,
        ("SIMD", "detection"): 6,
        ("RSSCN7", "classification"): 2,
    }
    assert made.problems == {}
    out = tmp_path / "mmrs"
    built = build("mmrs_1m", ["default"], absolute_options(tmp_path / "records"), out)
    assert built.rows["train/hit_uav"] == 6
    for row in rows(out, "detection-infrared"):
        assert row["issues"] == []
        number = int(Path(row["image"]["path"]).stem)
        labelled = sorted(scenery(number))
        found = sorted(zip(row["objects"]["label"], row["objects"]["box"], strict=True))
        assert [label for label, _ in found] == [label for label, _ in labelled]
        for (_, box), (_, place) in zip(found, labelled, strict=True):
            expected = convert([place], Frame.PIXEL, Frame.PIXEL, 160, 128)[0]
            assert box == pytest.approx(expected.tolist(), abs=160 * 0.005 + 1e-3)
    (row, _) = rows(out, "classification")
    assert row["choices"] == ["field", "grass"]
    assert row["answer"] in row["choices"]
    assert (tmp_path / "records/data/detection/HIT-UAV/train/0003.png").is_file()
    assert not (tmp_path / "records/data/detection/HIT-UAV/test").exists()


OWN = """\
name,reader,infrared,labels,splits,sequence,classes,exhaustive,tasks,modality
harbour ucm,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,,,"car,person,bike",detection,sar
HIT-UAV,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,,,"car,person,bike",detection,infrared
total,class-folders,{scene}/{stem}.*,,,,,,classification,infrared
"""


def _own(sources):
    """Two sets of a user's own, beside one of the published rows; their names hold words of other rows."""
    sources.table.write_text(OWN)
    for source in ("harbour ucm", "HIT-UAV"):
        sources.street("train", range(6), source)
        sources.street("test", range(6, 8), source)
    for scene in ("grass", "field"):
        sources.add("total", f"{scene}/0.png")
    return sources


@pytest.mark.parametrize("below", ["", "data"])
def test_a_source_outside_the_published_rows_is_built(sources, tmp_path, below):
    """Constructed records of any source are rows of parts of their own, in the configs of task and modality."""
    _own(sources)
    extend("mmrs_1m", sources.folder, tmp_path / "records", table=sources.table)
    options = absolute_options(tmp_path / "records" / below)
    outs = tmp_path / "one", tmp_path / "two"
    for workers, out in enumerate(outs, 1):
        built = build("mmrs_1m", ["default"], options, out, workers=workers)
        assert {key: count for key, count in built.rows.items() if count} == {
            "train/hit_uav": 6,
            "train/constructed_detection_sar": 6,
            "train/constructed_classification": 2,
        }
        assert built.ledger.unknown_files == ()
    shards = [sorted(path.relative_to(out) for path in out.rglob("*.parquet")) for out in outs]
    assert shards[0] == shards[1]
    assert all((outs[0] / name).read_bytes() == (outs[1] / name).read_bytes() for name in shards[0])
    everything = rows(outs[0], "default")
    assert len({row["id"] for row in everything}) == len(everything) == 14
    assert {(row["source"], len(row["objects"]["box"]) > 0) for row in rows(outs[0], "detection-sar")} == {
        ("harbour ucm", True)
    }
    assert {row["source"] for row in rows(outs[0], "classification")} == {"total"}
    for streaming in (False, True):
        found = datasets.load_dataset(
            str(outs[0]),
            "detection-sar",
            cache_dir=str(tmp_path / "cache"),
            split="train",
            streaming=streaming,
        )
        assert sum(1 for _ in found) == 6
    assert check_folder(outs[0]).errors == ()
    assert "constructed_detection_sar" in (outs[0] / "README.md").read_text()


def test_constructed_evaluation_records_are_the_split_test(sources, tmp_path):
    """`--split test` gives rows of the split `test`, also of a source that is a published row."""
    _own(sources)
    extend("mmrs_1m", sources.folder, tmp_path / "records", Selection(split="test"), table=sources.table)
    built = build("mmrs_1m", ["detection"], absolute_options(tmp_path / "records"), tmp_path / "out")
    assert {key: count for key, count in built.rows.items() if count} == {
        "test/test_detection_infrared": 2,
        "test/test_detection_sar": 2,
    }
    assert {(row["source"], row["id"].split("/")[1]) for row in rows(tmp_path / "out", "detection")} == {
        ("HIT-UAV", "test_detection_infrared"),
        ("harbour ucm", "test_detection_sar"),
    }


def test_training_and_evaluation_records_share_a_folder(sources, tmp_path):
    """Built one after the other into one folder, both stay: their rows, their splits and their ledger."""
    _own(sources)
    out = tmp_path / "out"
    for split in ("train", "test"):
        records = tmp_path / split
        extend("mmrs_1m", sources.folder, records, Selection(split=split), table=sources.table)
        build("mmrs_1m", ["default"], absolute_options(records), out)
    assert check_folder(out).errors == ()
    assert {split: len(files) for split, files in config_files(out, "detection").items()} == {
        "train": 2,
        "test": 2,
    }


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "7",
        '{"dataset": "mmrs_1m"}',
        '{"dataset": "mmrs_1m", "split": "", "parts": [{"file": "a", "source": "b", "task": "c", "modality": "sar"}]}',
    ],
    ids=["cut", "number", "incomplete", "unknown task"],
)
def test_a_marker_that_cannot_be_read_stops_a_build(sources, tmp_path, text):
    """A damaged marker is no release: the error names the file, and constructing again mends it."""
    _own(sources)
    out = tmp_path / "records"
    extend("mmrs_1m", sources.folder, out, table=sources.table)
    (out / ".constructed").write_text(text)
    with pytest.raises(ReleaseError, match="Construct the records again") as caught:
        build("mmrs_1m", ["default"], absolute_options(out), tmp_path / "built")
    assert ".constructed" in str(caught.value)
    extend("mmrs_1m", sources.folder, out, table=sources.table)
    assert build("mmrs_1m", ["default"], absolute_options(out), tmp_path / "built").rows["train/hit_uav"] == 6


@pytest.mark.parametrize("text", ["{}", '{"dataset": "rs_gpt4v"}', None])
def test_only_a_marker_of_the_dataset_is_believed(sources, tmp_path, text):
    """Without one, or with that of something else, nothing is guessed: the records are counted as nobody's."""
    _own(sources)
    out = tmp_path / "records"
    extend("mmrs_1m", sources.folder, out, table=sources.table)
    if text is None:
        (out / ".constructed").unlink()
    else:
        (out / ".constructed").write_text(text)
    built = build("mmrs_1m", ["default"], absolute_options(out), tmp_path / "built")
    assert not any("constructed" in key for key, count in built.rows.items() if count)
    assert built.ledger.unknown_files
    assert any(".constructed" in one for one in built.ledger.unknown_files) == (text is not None)


def test_evaluation_records_are_those_of_the_test_part(sources, tmp_path):
    """`--split test` takes the images that a source keeps for testing and no others; a source without any says so."""
    sources.table.write_text(REMOTE)
    sources.street("train", range(6), "HIT-UAV")
    sources.street("test", range(6, 9), "HIT-UAV")
    for scene in ("grass", "field"):
        sources.add("RSSCN7", f"{scene}/0.png")
    base = ["construct", "mmrs_1m", "--sources", sources.folder, "--source-table", sources.table]
    done = irtd_here(*base, "--split", "test", "--out", tmp_path / "records", "--json")
    made = json.loads(done.stdout)
    assert [(part["source"], part["records"]) for part in made["parts"]] == [("HIT-UAV", 3)]
    assert made["problems"]["RSSCN7"] == "none of its 2 images is of its test part"
    images = {path.stem for path in (tmp_path / "records/data/detection/HIT-UAV").rglob("*.png")}
    assert images == {"0006", "0007", "0008"}
    train = extend(
        "rs_gpt4v", sources.folder, tmp_path / "x", Selection(split="train"), table=_captioned(sources)
    )
    assert {part.file.partition("/")[0] for part in train.parts} == {"train"}
    done = irtd_here("construct", "irtd", "benchmark", "--sources", sources.folder, "--split", "test")
    assert (done.returncode, "--split test cannot be chosen" in done.stderr) == (2, True)
    done = irtd_here(*base, "--split", "other", "--out", tmp_path / "y")
    assert (done.returncode, "Use --split train or --split test" in done.stderr) == (2, True)


def _captioned(sources):
    """A table with a set of captions, whose images are of both parts."""
    listed = [
        {"filename": f"{split}.png", "split": split, "sentences": [{"raw": "A road."}]}
        for split in ("train", "test")
    ]
    for one in listed:
        sources.add("Texts", one["filename"])
    (sources.folder / "Texts/captions.json").write_text(json.dumps({"images": listed}))
    table = sources.folder.parent / "texts.csv"
    table.write_text("name,reader,infrared,labels,tasks\nTexts,captions,{stem}.*,captions.json,captioning\n")
    return table


RSVG = """\
name,reader,infrared,labels,splits,tasks,modality
DIOR-RSVG,voc,{split:train|test}/{stem}.*,labels/{split}/{stem}.xml,,"grounding,region_captioning",optical
"""


def test_described_regions_in_the_style_of_rs_gpt4v(sources, tmp_path):
    """Grounding and region captions are built by the reader of RS-GPT4V, train and test apart, with their boxes."""
    sources.table.write_text(RSVG)
    for split in ("train", "test"):
        name = f"{split}/1"
        sources.add(
            "DIOR-RSVG", f"{name}.png", f"labels/{name}.xml", [], data=sample_image(name, size=(128, 128))
        )
        text = (
            "<annotation><size><width>128</width><height>128</height></size><object><name>ship</name><bndbox>"
            "<xmin>16</xmin><ymin>32</ymin><xmax>64</xmax><ymax>96</ymax></bndbox>"
            "<description>The small ship on the left</description></object></annotation>"
        )
        (sources.folder / f"DIOR-RSVG/labels/{name}.xml").write_text(text)
    made = extend("rs_gpt4v", sources.folder, tmp_path / "records", table=sources.table)
    assert made.records == 4
    out = tmp_path / "rs"
    build("rs_gpt4v", ["default"], absolute_options(tmp_path / "records"), out)
    for config in ("grounding", "region_captioning"):
        assert set(config_files(out, config)) == {"train", "test"}
        for row in rows(out, config):
            assert row["objects"]["box"] == [pytest.approx([16, 32, 64, 96], abs=0.1)]
            assert row["objects"]["label"] == ["The small ship on the left"]


def test_a_folder_of_something_else_is_left_alone(sources, tmp_path):
    """Records are not written into a folder with other files."""
    sources.table.write_text(REMOTE)
    sources.street("train", range(2), "HIT-UAV")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(BuildError, match="not empty"):
        extend("mmrs_1m", sources.folder, full, table=sources.table)
    extend("mmrs_1m", sources.folder, tmp_path / "new", table=sources.table)
    extend("mmrs_1m", sources.folder, tmp_path / "new", table=sources.table)  # its own folder, once more


# Real files.


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


def test_records_of_another_command_go(sources, tmp_path):
    """What another command has put into the folder of records is replaced; files of the user's own stay."""
    sources.table.write_text(REMOTE)
    for source in ("HIT-UAV", "SIMD"):
        sources.street("train", range(4), source)
    out, fresh = tmp_path / "records", tmp_path / "fresh"
    extend("mmrs_1m", sources.folder, out, table=sources.table)
    (out / "notes.txt").write_text("mine")
    (out / "data/detection/SIMD/mine.txt").write_text("mine")
    shutil.rmtree(sources.folder / "SIMD")
    shutil.rmtree(sources.folder / "HIT-UAV")
    for number in (2, 3):
        name = f"train/{number:04d}"
        other = sample_image(f"another {number}")
        sources.add("HIT-UAV", f"{name}.png", f"labels/{name}.xml", scenery(number), data=other)
    for folder in (out, fresh):
        extend("mmrs_1m", sources.folder, folder, table=sources.table)

    def files(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name[0] != "."
        }

    mine = {"notes.txt": b"mine", "data/detection/SIMD/mine.txt": b"mine"}
    assert files(out) == {**files(fresh), **mine}
