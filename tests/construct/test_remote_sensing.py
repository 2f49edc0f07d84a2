"""Records in the style of MMRS-1M and RS-GPT4V constructed from source sets on disk, read back and built."""

import json
import shutil
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from processes import irtd_here
from source_sets import rows, sample_image, scenery

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert
from irtd_datasets.construct.remote_sensing import Selection, extend
from irtd_datasets.errors import BuildError, ReleaseError
from irtd_datasets.folder.row_groups import config_files
from irtd_datasets.hub.check import check_folder
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing.engine import build

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
