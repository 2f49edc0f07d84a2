from __future__ import annotations

import json
import os
from collections import Counter

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import irtd_datasets
from irtd_datasets.catalog import open_release
from irtd_datasets.errors import (
    AnnotationError,
    BoxError,
    IrtdDatasetsError,
    ReleaseError,
    ReleaseNotFoundError,
    UnknownNameError,
)
from irtd_datasets.rows import layout
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.rs_gpt4v.release import RsGpt4vRelease
from irtd_datasets.rs_gpt4v.spec import SPEC
from irtd_datasets.schema import BOX_FRAMES, TASKS
from irtd_datasets.testing import RS_GPT4V_DEFECTS, write_sample_release
from irtd_datasets.testing.rs_gpt4v_release import RS_GPT4V_FILES
from irtd_datasets.writing.engine import build

TRAIN = RS_GPT4V_FILES["train"]
MEMBERS = {member.key: member for member in SPEC.members}


def sample_image(path, size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path)


def conversation(image="a.jpg", question="<image>\nHow many?", answer="3", **more):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"image": image, "conversations": turns, **more}


def opened(root, **settings):
    return open_release("rs_gpt4v", absolute_options(root, settings=settings))


def built(root, out, *configs, **settings):
    options = absolute_options(root, settings=settings)
    return build("rs_gpt4v", configs or ("default",), options, out)


def rows_of(folder):
    return [row for path in sorted(folder.glob("*/*/*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A sample release with images that are not square, so that the frame of its boxes can be told."""
    folder = tmp_path_factory.mktemp("rs") / "release"
    return write_sample_release("rs_gpt4v", folder, form="folder", square=False, merged=True)


@pytest.fixture(scope="module")
def dataset_folder(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "rs_gpt4v"
    built(sample.folder, folder)
    return folder


# The sample release, from end to end


def test_sample_has_every_defect(sample):
    """The sample plants each defect that it declares, and nothing that it does not."""
    assert {defect.code for defect in sample.defects} == set(RS_GPT4V_DEFECTS)


def test_sample_is_reproducible(tmp_path):
    """The same arguments write the same bytes."""
    for name in "ab":
        write_sample_release("rs_gpt4v", tmp_path / name, rows=30, form="folder")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 20
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_every_record_is_accounted_for(sample, dataset_folder):
    """The ledger's sums equal the records of the release, and the lost ones are those that were planted."""
    ledger = json.loads((dataset_folder / "ledger.json").read_text())
    lines = [line for line in ledger["files"] if line["present"]]
    assert sum(line["found"] for line in lines) == sum(sample.counts.values())
    assert sum(line["image_missing"] for line in lines) == 1
    dropped = Counter()
    for line in lines:
        dropped.update(line["dropped"])
    assert dropped == {"empty-answer": 1, "turn-order": 1}
    assert all(
        line["found"] == line["kept"] + line["image_missing"] + sum(line["dropped"].values())
        for line in lines
    )


def test_rows_have_the_task_they_were_made_for(sample, dataset_folder):
    """Every record lands in the part of the task that it was written for, whatever its form."""
    by_file = {"rs_gpt4v_train": TRAIN, **{f.rpartition("/")[2].partition(".")[0]: f for f in sample.records}}
    truth = {}
    for stem, file in by_file.items():
        for number, record in enumerate(sample.records[file]):
            truth[stem, record.id if file != TRAIN else str(number)] = record.family
    rows = rows_of(dataset_folder)
    checked = 0
    for row in rows:
        _, _, stem, key = row["id"].split("/", 3)
        if (stem, key) in truth:
            assert TASKS[row["task"]] == truth[stem, key], row["id"]
            checked += 1
    assert checked > 200


def test_objects_are_where_they_were_drawn(sample, dataset_folder):
    """The box of a row is that of the object drawn, within the rounding of two decimals, and shows it."""
    drawn = {
        (record.image, record.question): record.objects
        for records in sample.records.values()
        for record in records
        if record.objects
    }
    checked = 0
    for row in rows_of(dataset_folder):
        image, question = row["image"]["path"], row["messages"][0]["content"]
        objects = drawn.get((image, question)) or drawn.get((image, "<image>\n" + question))
        if not objects or row["issues"] or not row["objects"]["box"]:
            continue
        bound = 0.005 * max(row["width"], row["height"]) + 1e-3
        box = np.array(row["objects"]["box"][0])
        assert np.abs(box - np.array(objects[0].box)).max() <= bound, row["id"]
        with Image.open(sample.folder / image) as opened_image:
            grey = np.asarray(opened_image.convert("L"), dtype=float)
        x_min, y_min, x_max, y_max = box.round().astype(int)
        middle = grey[(y_min + y_max) // 2 - 2 : (y_min + y_max) // 2 + 3, (x_min + x_max) // 2 - 2 :][:, :5]
        assert middle.mean() > np.median(grey) + 20, row["id"]
        checked += 1
    assert checked >= 30


def test_frames_are_decided_per_file(dataset_folder):
    """The file whose numbers tell their frame has it; the one with too few boxes is unknown, and so are its rows."""
    rows = [row for row in rows_of(dataset_folder) if row["box_frame"] is not None]
    frames = Counter((row["id"].split("/")[2], BOX_FRAMES[row["box_frame"]]) for row in rows)
    assert set(frames) == {("rs_gpt4v_train", "square_unit"), ("DIOR-RSVG_grounding", "unknown")}
    for row in rows:
        unknown = BOX_FRAMES[row["box_frame"]] == "unknown"
        assert ("box-frame-unknown" in row["issues"]) == unknown
        assert not (unknown and row["objects"]["label"])


def test_frame_can_be_given(sample, tmp_path):
    """The user's frame is taken for the file that cannot tell, and the note says whose word it is."""
    built(sample.folder, tmp_path / "out", "grounding", frame="square_unit")
    rows = [row for row in rows_of(tmp_path / "out") if "/test/" in row["id"]]
    assert rows
    assert all(BOX_FRAMES[row["box_frame"]] == "square_unit" for row in rows)
    assert all(row["objects"]["box"] for row in rows)
    assert "square_unit as given (the check says undecidable" in (tmp_path / "out" / "README.md").read_text()


def test_contradicting_frame_is_refused(sample):
    """A frame that the numbers contradict is refused with the evidence; given for the other file alone it is taken."""
    grounding = MEMBERS["test", "grounding"]
    with pytest.raises(BoxError, match="the numbers are in square_unit"):
        opened(sample.folder, frame="unit").files(grounding)
    with pytest.raises(BoxError, match="the numbers go from 0 to 1"):
        opened(sample.folder, frame="DIOR-RSVG_grounding.jsonl=square_per_mille").files(grounding)
    (file,) = opened(sample.folder, frame="DIOR-RSVG_grounding.jsonl=unit").files(grounding)
    assert "unit as given" in file.note


def test_frame_changes_the_shards(sample, tmp_path):
    """A build with another frame does not take over the shards of an earlier one."""
    first = built(sample.folder, tmp_path / "out", "grounding")
    again = built(sample.folder, tmp_path / "out", "grounding")
    other = built(sample.folder, tmp_path / "out", "grounding", frame="square_unit")
    assert (first.reused, again.written, again.reused) == (0, 0, 2)
    assert other.written == 2


def test_two_workers_write_the_same(sample, dataset_folder, tmp_path):
    """A build with two processes gives the same Parquet files."""
    build("rs_gpt4v", ["default"], absolute_options(sample.folder), tmp_path / "out", workers=2)
    for path in dataset_folder.glob("*/*/*.parquet"):
        assert (tmp_path / "out" / path.relative_to(dataset_folder)).read_bytes() == path.read_bytes()


def test_raw_streaming_equals_the_build(sample, dataset_folder):
    """Streaming the release as it is gives the rows of the built folder, in the same order."""
    for split in ("train", "test"):
        raw = datasets.load_dataset(
            "rs_gpt4v", "default", data_dir=str(sample.folder), split=split, streaming=True
        )
        plain = datasets.load_dataset(str(dataset_folder), "default", split=split, streaming=True)
        raw, plain = (rows.cast_column("image", datasets.Image(decode=False)) for rows in (raw, plain))
        assert raw.features == plain.features
        first, second = list(raw), list(plain)
        assert len(first) > 60
        assert first == second


def test_mapped_load_by_task(sample):
    """A task is a config with train and test; the options of this dataset are those of `load_dataset`."""
    rows = irtd_datasets.load_dataset("rs_gpt4v", "grounding", data_dir=sample.folder, frame="square_unit")
    assert {split: part.num_rows for split, part in rows.items()} == {"train": 22, "test": 12}
    assert all(
        rows["test"].features["box_frame"].int2str(frame) == "square_unit"
        for frame in rows["test"]["box_frame"]
    )


def test_ids_are_unique(sample, dataset_folder):
    """No two rows share an id, although the file has an id twice and its records lie in seven parts."""
    ids = [row["id"] for row in rows_of(dataset_folder)]
    assert len(set(ids)) == len(ids)
    assert "rs_gpt4v/train/rs_gpt4v_train/0#2" in ids
    (rounds,) = (defect.id for defect in sample.defects_of("rounds"))
    assert {f"rs_gpt4v/test/RSVQA_LR/{rounds}/{turn}" for turn in (0, 1)} <= set(ids)


def test_others_are_refused_and_named(sample, dataset_folder):
    """Files that are not RS-GPT4V stand in the ledger with the reason, and give no row."""
    unknown = json.loads((dataset_folder / "ledger.json").read_text())["unknown_files"]
    merged = next(text for text in unknown if text.startswith("RS-GPT4V_EarthGPT.json"))
    predictions = next(text for text in unknown if text.startswith("predictions/answers.jsonl"))
    assert "MMRS-1M" in merged
    assert "derivatives=read" in merged
    for part in ("'prompt'", "How many?", "expected 'image' with 'conversations'", "output of a model"):
        assert part in predictions


def test_derivatives_can_be_read(sample, tmp_path):
    """On request a merged file is read; its rows say where they come from, and so does the note."""
    release = opened(sample.folder, derivatives="read")
    files = [file for member in SPEC.members for file in release.files(member)]
    merged = [file for file in files if file.where == "RS-GPT4V_EarthGPT.json"]
    assert merged
    assert all("origin: RS-GPT4V merged with MMRS-1M" in file.note for file in merged)
    built(sample.folder, tmp_path / "out", derivatives="read")
    rows = [row for row in rows_of(tmp_path / "out") if "EarthGPT" in row["id"]]
    assert len(rows) == 5
    assert all("origin-derivative" in row["issues"] for row in rows)


def test_card_and_notes(dataset_folder):
    """The card tells the form and the frame of each file and shows the published totals beside what was found."""
    card = (dataset_folder / "README.md").read_text()
    for text in (
        "LLaVA-style conversations (JSON array)",
        "questions with reference answers (JSON lines)",
        "of the 991,206 rounds published for train",
        "of the 258,419 rounds published for test",
        "frame of its 41 boxes: square_unit",
    ):
        assert text in card


def test_doctor(sample):
    """Doctor counts records and rows by part, without reading an image's pixels."""
    diagnosis = examine(opened(sample.folder))
    assert sum(file.records for file in diagnosis.files) == sum(sample.counts.values())
    # An image is missing; an empty answer and two questions in a row cannot be used.
    assert diagnosis.configs["default"] == sum(sample.counts.values()) - 3
    assert sum((Counter(file.dropped) for file in diagnosis.files), Counter()) == {
        "empty-answer": 1,
        "turn-order": 1,
    }
    assert any("square_unit" in note for file in diagnosis.files for note in file.notes)
    assert len(diagnosis.unknown_files) == 2


def test_images_in_a_zip(tmp_path):
    """Images in an archive beside the annotation files are found under the same names."""
    sample = write_sample_release("rs_gpt4v", tmp_path / "r", rows=30, form="zip", defects=False)
    result = built(sample.folder, tmp_path / "out")
    assert sum(result.rows.values()) == 30


def test_square_images_need_no_frame(tmp_path):
    """Where all images are square, boxes of either unit come out right, and the note says so."""
    for frame in ("unit", "square_unit"):
        sample = write_sample_release(
            "rs_gpt4v", tmp_path / frame, rows=40, form="folder", frame=frame, defects=False
        )
        release = opened(sample.folder)
        (file,) = release.files(MEMBERS["train", "grounding"])
        assert "undecidable: all images are square" in file.note
        assert "unit and square_unit are the same" in file.note
        built(sample.folder, tmp_path / f"out-{frame}", "grounding")
        rows = rows_of(tmp_path / f"out-{frame}")
        assert rows
        assert all(BOX_FRAMES[row["box_frame"]] == "unit" and row["objects"]["box"] for row in rows)
        assert not any(row["issues"] for row in rows)


def test_square_rows_of_a_mixed_file(tmp_path):
    """In a file that cannot tell, rows on square images have objects and the others have none."""
    sample_image(tmp_path / "square.png", (80, 80))
    sample_image(tmp_path / "wide.png", (80, 60))
    records = [conversation(name, "Where?", "[0.25, 0.4, 0.5, 0.6]") for name in ("square.png", "wide.png")]
    (tmp_path / "train.json").write_text(json.dumps(records))
    built(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    rows = {row["image"]["path"]: row for row in rows_of(tmp_path.parent / f"{tmp_path.name}-out")}
    assert rows["square.png"]["objects"]["box"] == [[20.0, 32.0, 40.0, 48.0]]
    assert BOX_FRAMES[rows["wide.png"]["box_frame"]] == "unknown"
    assert rows["wide.png"]["issues"] == ["box-frame-unknown"]
    assert rows["wide.png"]["objects"]["box"] == []


def test_box_outside_its_image(tmp_path):
    """A box that leaves its image by more than rounding is flagged and kept; one within rounding is not."""
    sample_image(tmp_path / "a.png", (80, 80))
    records = [
        conversation("a.png", "Where?", text) for text in ("[0.2, 0.2, 1.2, 0.6]", "[0.2, 0.2, 1.0, 0.6]")
    ]
    records += [conversation("a.png", "Where?", "[0.1, 0.1, 0.4, 0.6]")] * 200
    (tmp_path / "train.json").write_text(json.dumps(records))
    built(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    rows = {row["messages"][1]["content"]: row for row in rows_of(tmp_path.parent / f"{tmp_path.name}-out")}
    assert rows["[0.2, 0.2, 1.2, 0.6]"]["issues"] == ["box-outside-image"]
    assert rows["[0.2, 0.2, 1.0, 0.6]"]["issues"] == []


# Files and folders of other shapes


def test_json_lines_and_messages_form(tmp_path):
    """Conversations as JSON lines, and with role and content, are read as the list form is."""
    sample_image(tmp_path / "a.jpg")
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "3"}]
    lines = [conversation(), {"image": "a.jpg", "messages": turns}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (file,) = opened(tmp_path).files(MEMBERS["train", "vqa"])
    assert "JSON lines" in file.note
    assert sum(built(tmp_path, tmp_path / "out").rows.values()) == 2


def test_several_files_feed_one_part(tmp_path):
    """Two files of one split and task make one part; equal names get their folders into the ids."""
    sample_image(tmp_path / "images/a.jpg")
    for name in ("one/train.json", "two/train.json"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(json.dumps([conversation("images/a.jpg")]))
    built(tmp_path, tmp_path / "out")
    ids = sorted(row["id"] for row in rows_of(tmp_path / "out"))
    assert ids == ["rs_gpt4v/train/one/train/0", "rs_gpt4v/train/two/train/0"]


@pytest.mark.parametrize(
    "name",
    [
        "images/x/1.jpg",
        "x/1.jpg",
        "1.jpg",
        "data/images/x/1.jpg",
        "RS-GPT4V/images/x/1.jpg",
        "/h/RS-GPT4V/images/x/1.jpg",
    ],
)
def test_images_are_found_under_other_first_folders(tmp_path, name):
    """An image is found whichever of the release's folders its name is relative to."""
    sample_image(tmp_path / "images/x/1.jpg")
    (tmp_path / "train.json").write_text(json.dumps([conversation(name)]))
    assert sum(built(tmp_path, tmp_path / "out").rows.values()) == 1


def test_images_elsewhere(tmp_path):
    """Images of another folder are found when the user names it."""
    sample_image(tmp_path / "pics/x/1.jpg")
    (tmp_path / "r").mkdir()
    (tmp_path / "r/train.json").write_text(json.dumps([conversation("x/1.jpg")]))
    options = absolute_options(tmp_path / "r", {"": str(tmp_path / "pics")})
    assert sum(build("rs_gpt4v", ["vqa"], options, tmp_path / "out").rows.values()) == 1


def test_unknown_shape_is_refused_with_the_record(tmp_path):
    """A folder without a readable file is refused with keys, excerpt and expectation of each file."""
    (tmp_path / "a.json").write_text(json.dumps([{"img": "a.jpg", "caption": "A road between two fields."}]))
    (tmp_path / "b.json").write_text('{"version": 1}')
    with pytest.raises(ReleaseError) as caught:
        built(tmp_path, tmp_path / "out")
    text = str(caught.value)
    for part in (
        "a.json",
        "'img', 'caption'",
        "A road between",
        "expected 'image' with 'conversations'",
        "b.json",
    ):
        assert part in text


def test_other_files_do_not_stop_a_build(tmp_path):
    """A file of another kind beside a good one is named and left alone."""
    sample_image(tmp_path / "a.jpg")
    (tmp_path / "train.json").write_text(json.dumps([conversation()]))
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "images.tar.gz").write_bytes(b"x")
    result = built(tmp_path, tmp_path / "out")
    assert sum(result.rows.values()) == 1
    names = [text.partition(" ")[0] for text in result.ledger.unknown_files]
    assert names == ["images.tar.gz", "package.json"]


DAMAGED = {
    "empty": lambda whole: b"",
    "blanks": lambda whole: b" \n\n",
    "zeros": lambda whole: bytes(len(whole)),
    "cut in its first record": lambda whole: whole[:20],
    "a hole at its start": lambda whole: bytes(30) + whole[30:],
    "Git LFS pointer": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n",
    "web page": lambda whole: b"<!DOCTYPE html><html></html>",
    "answer of a server": lambda whole: (
        b'{"message": "Not Found", "documentation_url": "https://example.org"}'
    ),
    "null": lambda whole: b"null",
    "empty list": lambda whole: b"[]",
    "compressed": lambda whole: b"\x1f\x8b\x08" + whole,
    "COCO that is cut": lambda whole: b'{"images": [{"id": 1}], "annotations": [{"id": 1',
    "Latin-1": lambda whole: whole.replace(b"road", b"rue \xe9troite"),
}


@pytest.mark.parametrize("name", ["train.json", "more.jsonl", "deep/other.json"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_what_cannot_be_read_is_not_taken_for_something_else(tmp_path, damage, name):
    """An annotation file that cannot be read stops the build by its name, and is left out only on request."""
    sample_image(tmp_path / "a.jpg")
    (tmp_path / "good_train.json").write_text(json.dumps([conversation()]))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    whole = json.dumps([conversation(question="Is there a road?")] * 3).encode()
    path.write_bytes(DAMAGED[damage](whole))
    with pytest.raises(IrtdDatasetsError, match=name) as caught:
        built(tmp_path, tmp_path / "out")
    assert f"--set without={name}" in str(caught.value)
    assert any(name in file.problem for file in examine(opened(tmp_path)).files)
    result = built(tmp_path, tmp_path / "out", without=path.name)
    assert sum(result.rows.values()) == 1
    assert f"{name} (left out)" in result.ledger.unknown_files
    with pytest.raises(UnknownNameError, match="without=nothing"):
        opened(tmp_path, without="nothing.json").files(MEMBERS["train", "vqa"])


def test_bad_records_are_counted_once(tmp_path):
    """Records of no form, of whatever kind, are counted in one part of the file and never twice."""
    sample_image(tmp_path / "a.jpg")
    lines = [
        json.dumps(conversation()),
        "{broken",
        json.dumps({"image": "a.jpg", "label": 3}),
        json.dumps(conversation(question="Describe it.", answer="A road between two long fields of wheat.")),
        "[1, 2]",
        json.dumps(conversation("../a.jpg")),
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    ledger = built(tmp_path, tmp_path / "out").ledger
    tallies = [line.record_counts for line in ledger.lines if line.record_counts is not None]
    assert sum(record_counts.found for record_counts in tallies) == len(lines)
    assert sum(record_counts.kept for record_counts in tallies) == 2
    dropped = sum((record_counts.dropped for record_counts in tallies), Counter())
    assert dropped == {"json-syntax": 1, "record-form": 1, "json-record-type": 1, "unsafe-path": 1}


def test_truncated_file_is_an_error(tmp_path):
    """A file that is cut is no other kind of file: the build stops and says where."""
    sample_image(tmp_path / "a.jpg")
    (tmp_path / "train.json").write_text(json.dumps([conversation()] * 3)[:-40])
    with pytest.raises(AnnotationError, match=r"train\.json"):
        built(tmp_path, tmp_path / "out")
    assert "train.json" in examine(opened(tmp_path)).files[0].problem


def test_derivative_known_by_its_images(tmp_path):
    """A merged file under another name is known by images of components that RS-GPT4V does not have."""
    records = [conversation(), conversation("data/detection/HRSID_HBB/1.jpg")]
    (tmp_path / "train.json").write_text(json.dumps(records))
    with pytest.raises(ReleaseError, match="not RS-GPT4V but RS-GPT4V merged with MMRS-1M"):
        opened(tmp_path).files(MEMBERS["train", "vqa"])


def test_settings_are_checked(tmp_path):
    """A setting, frame or value that does not exist is refused with those that do."""
    (tmp_path / "train.json").write_text(json.dumps([conversation()]))
    with pytest.raises(UnknownNameError, match="frame, derivatives"):
        opened(tmp_path, frames="unit")
    with pytest.raises(UnknownNameError, match="square_unit"):
        opened(tmp_path, frame="squared").files(MEMBERS["train", "vqa"])
    with pytest.raises(UnknownNameError, match="read or refuse"):
        opened(tmp_path, derivatives="yes").files(MEMBERS["train", "vqa"])


def test_nothing_there(tmp_path):
    """An absent folder, a file, and an empty folder each say what is missing."""
    with pytest.raises(ReleaseNotFoundError, match="no folder"):
        opened(tmp_path / "none")
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(ReleaseNotFoundError, match="this is a file"):
        opened(tmp_path / "train.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseNotFoundError, match="none of the annotation files"):
        built(tmp_path / "empty", tmp_path / "out")


def test_search_is_bounded(tmp_path, monkeypatch):
    """Folders of images are given up after a few entries, deep ones are not entered, hidden ones left alone."""
    monkeypatch.setattr(layout, "ENTRIES", 20)
    (tmp_path / "many").mkdir()
    for number in range(50):
        (tmp_path / "many" / f"{number}.json").write_text("[]")
    for name in ("a/b/c/d/deep.json", "a/b/c/d/e/deeper.json", ".git/x.json", "top.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]")
    looked = []
    scandir = os.scandir

    def counted(path):
        entries = scandir(path)
        looked.append(str(path))
        return entries

    monkeypatch.setattr(layout.os, "scandir", counted)
    found = layout.find_layout(tmp_path)
    assert [candidate.where for candidate in found.candidates] == ["a/b/c/d/deep.json", "top.json"]
    assert set(found.unread) == {"many", "a/b/c/d/e"}
    assert len(looked) == 6


def test_linked_file_outside_is_refused(tmp_path):
    """An annotation file that a link makes of a file outside the release is not read."""
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps([conversation()]))
    root = tmp_path / "r"
    root.mkdir()
    (root / "train.json").symlink_to(outside)
    with pytest.raises(ReleaseError, match="symbolic link"):
        opened(root).files(MEMBERS["train", "vqa"])


def test_survey_is_repeated_when_images_arrive(tmp_path):
    """A frame that could not be told for want of images is looked for again in the same process."""
    records = [conversation("x/1.png", "Where?", "[0.25, 0.4, 0.5, 0.6]")]
    (tmp_path / "train.json").write_text(json.dumps(records))
    member = MEMBERS["train", "grounding"]
    first = RsGpt4vRelease(absolute_options(tmp_path)).files(member)[0]
    assert "none of their images was found" in first.note
    sample_image(tmp_path / "x/1.png")
    second = RsGpt4vRelease(absolute_options(tmp_path)).files(member)[0]
    assert "all images are square" in second.note


def test_rounds_can_be_split(sample, tmp_path):
    """With rounds split each round is a row with an id of its own, over one stored image, and no key is invented."""
    options = absolute_options(sample.folder, rounds="split")
    result = build("rs_gpt4v", ["conversation"], options, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert all(len(row["messages"]) == 2 for row in rows)
    assert len({row["id"] for row in rows}) == len(rows) == sum(result.rows.values())
    assert any(row["id"].endswith("/1") for row in rows)
    assert not any("repeated" in one["field"] for row in rows for one in row["corrections"])
