"""Dataset folders made from dataset folders by the commands, and the numbers of one."""

import contextlib
import hashlib
import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from irtd_datasets.cli.app import app
from irtd_datasets.curation.dedup import dedup
from irtd_datasets.curation.merge import merge
from irtd_datasets.curation.split import sequence_of, split
from irtd_datasets.curation.statistics import statistics
from irtd_datasets.curation.statistics_page import write_page
from irtd_datasets.curation.subset import subset
from irtd_datasets.errors import BuildError, IrtdDatasetsError, UnknownNameError
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.overlap import not_in
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.schema import TASKS
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build


def rows_of(folder, columns=None):
    return {
        file: pq.ParquetFile(file).read(columns=columns).to_pylist()
        for file in sorted(folder.rglob("*-of-*.parquet"))
    }


@contextlib.contextmanager
def restored(mapping, content):
    """Bring a mapping back to its content, in its order, whatever was done to it."""
    try:
        yield
    finally:
        mapping.clear()
        mapping.update(content)


def ids_of(folder):
    return {row["id"] for rows in rows_of(folder, ["id"]).values() for row in rows}


def test_a_subset_has_what_was_asked_for(built, tmp_path):
    """Tasks, no known issue, a number by chance; a larger number has the rows of a smaller one."""
    wanted = {"tasks": ["grounding", "location"], "without_issues": True}
    few = subset(f"{built}:instruct", tmp_path / "few", rows=10, seed=3, **wanted)
    subset(f"{built}:instruct", tmp_path / "more", rows=20, seed=3, **wanted)
    assert ids_of(tmp_path / "few") < ids_of(tmp_path / "more")
    assert len(ids_of(tmp_path / "few")) == 10
    rows = [row for rows in rows_of(tmp_path / "more").values() for row in rows]
    assert {TASKS[row["task"]] for row in rows} == {"grounding", "location"}
    assert not any(row["issues"] for row in rows)
    assert few.looked_at == 10 + sum(few.dropped.values())
    assert not check_folder(tmp_path / "few", images="none", hashes=True).errors


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tasks": ["grouding"]}, "Did you mean 'grounding'"),
        ({"sources": ["flir adas"]}, "Did you mean 'FLIR_ADAS'"),
        ({"modalities": ["infared"]}, "Did you mean 'infrared'"),
        ({"tasks": ["detection"]}, "no row is left"),
    ],
)
def test_a_subset_of_nothing_is_refused_with_words(built, tmp_path, options, told):
    with pytest.raises(IrtdDatasetsError, match=re.escape(told)):
        subset(f"{built}:instruct", tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("by", ["image", "source"])
def test_a_split_shares_no_image(built, tmp_path, by):
    """No image of the validation split is among those of the train split, by the hash of its bytes."""
    report = split(f"{built}:instruct", tmp_path / "out", validation=0.2, by=by)
    digests = {"train": set(), "validation": set()}
    sources = {"train": set(), "validation": set()}
    for file, rows in rows_of(tmp_path / "out").items():
        name = file.name.partition("-")[0]
        for row in rows:
            digests[name].add(hashlib.sha256(row["image"]["bytes"]).digest())
            sources[name].add(row["source"])
    assert digests["train"]
    assert digests["validation"]
    assert not digests["train"] & digests["validation"]
    if by == "source":
        assert not sources["train"] & sources["validation"]
    else:
        share = sum(n for (*_, name), n in report.rows.items() if name == "validation") / report.looked_at
        assert 0.15 < share < 0.25
    assert not report.dropped


def test_a_split_by_sequence_keeps_videos_whole_or_says_why_it_cannot(built, tmp_path):
    """Frames of one video are on one side; where names do not tell the video, that is said, with what can be done."""
    with pytest.raises(BuildError, match=r"FLIR_ADAS, \d+ rows: its images are frames of videos") as refused:
        split(f"{built}:instruct", tmp_path / "out", validation=0.2, by="sequence")
    command = re.search(r"`irtd (subset [^`]+)`", refused.value.remedy)[1]
    ran = CliRunner().invoke(app, command.replace("FOLDER", str(tmp_path / "sources")).split())
    assert ran.exit_code == 0, ran.output
    split(tmp_path / "sources", tmp_path / "out", validation=0.2, by="sequence")
    videos = {"train": set(), "validation": set()}
    for file, rows in rows_of(tmp_path / "out", ["source", "image.path"]).items():
        for row in rows:
            video, problem = sequence_of(row["source"], row["image"]["path"])
            assert not problem
            videos[file.name.partition("-")[0]].add(video)
    assert not (videos["train"] & videos["validation"]) - {None}
    with pytest.raises(BuildError, match="no train split"):
        split(f"{built}:benchmark", tmp_path / "test", validation=0.2)
    with pytest.raises(BuildError, match="a validation split already"):
        split(tmp_path / "out", tmp_path / "again", validation=0.2)
    with pytest.raises(UnknownNameError, match="Did you mean 'image'"):
        split(tmp_path / "sources", tmp_path / "x", validation=0.2, by="images")


def test_folders_are_merged_and_rows_with_one_id_are_told_of(built, tmp_path):
    """The first of two rows with one id stays; the number of the others stands in report and ledger."""
    subset(f"{built}:benchmark", tmp_path / "a", rows=20)
    report = merge([tmp_path / "a", f"{built}:benchmark"], tmp_path / "ab")
    assert report.dropped == {"has the id of a row of an earlier folder": 20}
    assert "20 rows have the id of a row of an earlier folder" in report.notes[0]
    assert "other texts" not in report.notes[0]
    assert len(ids_of(tmp_path / "ab")) == sum(report.rows.values())
    assert not check_folder(tmp_path / "ab", images="none", hashes=True).errors
    with pytest.raises(UnknownNameError, match="one folder"):
        merge([tmp_path / "a"], tmp_path / "c")


def test_folders_of_two_datasets_are_refused_with_the_line_that_mixes_them(built, tmp_path, monkeypatch):
    """The line of the message runs as it stands, and gives rows of both in turn."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    plain = write_sample_release("rs_gpt4v", tmp_path / "release", rows=20)
    build("rs_gpt4v", ["grounding"], absolute_options(plain.folder), tmp_path / "rs")
    with pytest.raises(UnknownNameError, match="several datasets: irtd, rs_gpt4v") as caught:
        merge([f"{built}:instruct-grounding", tmp_path / "rs"], tmp_path / "both")
    line = caught.value.remedy.split("`")[1]
    found = {}
    exec(line, found)
    assert {row["id"].split("/")[0] for row in found["rows"].take(2)} == {"irtd", "rs_gpt4v"}
    assert not (tmp_path / "both").exists()


def test_near_duplicates_go_and_every_row_is_told_of(built, tmp_path):
    """Each row left out names a row that stays, no two images that stay are that near, and the list is a filter."""
    place = f"{built}:pretrain"
    found = dedup(place, tmp_path / "once", max_distance=4)
    kept = ids_of(tmp_path / "once")
    assert found.matches
    assert len(found.matches) == sum(found.made.dropped.values()) == found.made.looked_at - len(kept)
    assert all(row not in kept and other in kept and bits <= 4 for row, other, bits in found.matches)
    again = dedup(tmp_path / "once", tmp_path / "twice", max_distance=4)
    assert again.matches == []
    found.save(tmp_path / "gone.csv")
    keep = not_in(tmp_path / "gone.csv")
    assert {row for row, _, _ in found.matches} == {row for row, _, _ in found.matches if not keep(row)}


def test_statistics_are_those_of_the_rows(built, tmp_path):
    """Counts are equal to what reading every row gives; the page is whole, loads nothing and escapes names."""
    found = statistics(f"{built}:instruct")
    rows = [row for file, rows in rows_of(built).items() if "/instruct/" in str(file) for row in rows]
    assert found.total.rows == len(rows)
    assert found.total.images == len({row["image"]["path"] for row in rows})
    assert found.total.boxes == sum(len(row["objects"]["box"]) for row in rows)
    assert found.total.points == sum(len(row["objects"]["point"]) for row in rows)
    assert found.total.places.sum() == found.total.boxes + found.total.points
    assert found.total.sizes.total() == len(rows)
    assert found.total.words.total() == sum(
        message["role"] == "assistant" for row in rows for message in row["messages"]
    )
    for summaries in found.by.values():
        assert sum(one.rows for one in summaries.values()) == len(rows)
    json.dumps(found.as_dict())
    found.name = "<script>alert(1)</script>"
    write_page(found, tmp_path / "stats.html")
    page = (tmp_path / "stats.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert "default-src 'none'" in page


def test_the_commands_run_as_written(built, tmp_path, monkeypatch):
    """The lines of the documentation, each followed by what it promises."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(built, "irtd")
    for line in (
        "info ./irtd",
        "info ./irtd:instruct --json",
        "stats ./irtd --plots stats.html",
        "subset ./irtd:instruct --task grounding,location --without-issues --rows 5000 --seed 0 --out ./small",
        "split ./irtd:instruct --validation 0.1 --by image --out ./irtd-split",
        "merge ./small ./irtd:pretrain --out ./ab",
        "dedup ./irtd --max-distance 4 --out ./irtd-once",
    ):
        ran = CliRunner().invoke(app, line.split())
        assert ran.exit_code == 0, f"{line}: {ran.output} {ran.exception}"
    made_from = json.loads(CliRunner().invoke(app, ["info", "ab", "--json"]).output)["made_from"]
    assert made_from["parents"][0]["made_from"]["how"].startswith("subset --task grounding,location")


def test_a_folder_of_an_earlier_schema_is_taken_and_told_of(built, unpacked, tmp_path):
    """Its rows get the columns of this version, with nothing in them; columns that nobody knows are refused."""
    from irtd_datasets import schema
    from irtd_datasets.rows import assembly
    from irtd_datasets.rows.pending import finish
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing import plan
    from irtd_datasets.writing.engine import build

    new = ("registration", "origin")

    def finish_earlier(*arguments, **options):
        return {name: value for name, value in finish(*arguments, **options).items() if name not in new}

    earlier = tmp_path / "earlier"
    fields = dict(schema.FIELDS)
    with pytest.MonkeyPatch.context() as patch, restored(schema.FIELDS, fields):
        for name in new:
            del schema.FIELDS[name]
        patch.setattr(assembly, "finish", finish_earlier)
        patch.setattr(plan, "SCHEMA_VERSION", "1.1.0")
        build("irtd", ["instruct-grounding"], absolute_options(unpacked.folder), earlier)
        with pytest.raises(BuildError, match="does not know its columns 'registration', 'origin'"):
            subset(f"{built}:instruct", tmp_path / "older", rows=1)
    report = merge([earlier, f"{built}:pretrain"], tmp_path / "both")
    assert (
        "has the schema 1.1.0, the result 1.2.0: its rows have nothing in registration, origin"
        in report.notes[0]
    )
    for file, rows in rows_of(tmp_path / "both").items():
        assert {row["origin"] for row in rows} == {None if "grounding" in str(file) else "released"}
    assert not check_folder(tmp_path / "both", images="none", hashes=True).errors
    assert statistics(earlier).total.boxes
