"""A drawn release in every layout, built: rows, boxes on their objects, defects, counts, order, memory."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pytest
from mmrs_helpers import build_rows, line_of, read_rows, record, sample_image, write_release
from PIL import Image

from irtd_datasets.catalog import open_release
from irtd_datasets.errors import AnnotationError, ArchiveError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.mmrs_1m.spec import SPEC
from irtd_datasets.rows.assembly import release_groups
from irtd_datasets.rows.doctor import examine
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.release import CutArchive, absolute_options
from irtd_datasets.testing import MMRS_DEFECTS, write_sample_release
from irtd_datasets.testing.mmrs_release import BRIGHT, COLOURS
from irtd_datasets.writing import from_stream
from irtd_datasets.writing.engine import build

ROWS = 90


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A sample release of each layout, written once."""
    made = {}

    def sample(form, **options):
        key = (form, *sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("release") / form
            made[key] = write_sample_release("mmrs_1m", folder, rows=ROWS, form=form, **options)
        return made[key]

    return sample


@pytest.fixture(scope="module")
def built(samples, tmp_path_factory):
    """The unpacked sample, built whole."""
    return build_rows(samples("folder").folder, tmp_path_factory.mktemp("built") / "mmrs_1m")


@pytest.fixture(scope="module")
def built_zip(samples, tmp_path_factory):
    """The cut archive, built whole, with a list that grows by one for each pass over its images."""
    passes = []
    original = CutArchive.images
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CutArchive, "images", lambda self, wanted: passes.append(1) or original(self, wanted))
        yield *build_rows(samples("zip").folder, tmp_path_factory.mktemp("built") / "zip"), passes


def contents(rows):
    """Rows as a set of comparable texts, images included, whatever their order."""
    return sorted(json.dumps(row, default=bytes.hex) for row in rows)


def test_every_component_is_there(built):
    """All 35 released parts have rows, each with the task and the modality of its row in the table."""
    report, rows = built
    parts = {member.part.name: member.part for member in SPEC.members if member.part.public}
    assert set(rows) == set(parts)
    assert {row["source"] for part in rows for row in rows[part]} == {part.title for part in parts.values()}
    for name, part in parts.items():
        assert {row["id"].split("/")[1] for row in rows[name]} == {name}
        assert {row["task"] for row in rows[name]} == {_task(part.task)}
    ids = Counter(row["id"] for part in rows.values() for row in part)
    assert max(ids.values()) == 1
    assert all(line.record_counts.balanced for line in report.ledger.lines)


def _task(name):
    from irtd_datasets.schema import TASKS

    return TASKS.index(name)


def test_boxes_lie_on_their_objects(samples, built):
    """In every detection, grounding and region row the middle of each box shows the object, in optical, SAR and IR."""
    sample, (_, rows) = samples("folder"), built
    # Their texts name places or classes that are not in the image.
    wrong = {one.image for one in sample.defects if one.code.startswith("box-")}
    seen = 0
    for part in rows.values():
        for row in part:
            if row["image"]["path"] in wrong or "RSIVQA" in row["source"]:
                continue
            pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
            objects = row["objects"]
            for number, label in enumerate(objects["label"]):
                shape = (objects["polygon"] or objects["box"])[number]
                x, y = np.mean(shape[::2]), np.mean(shape[1::2])
                found = pixels[int(y), int(x)]
                if pixels.ndim == 3:
                    name = label.removeprefix("The ").partition(" at ")[0]
                    assert np.abs(found.astype(int) - COLOURS[name]).max() < 40, row["id"]
                else:
                    assert found / np.iinfo(pixels.dtype).max > 0.9 * BRIGHT / 255, row["id"]
                seen += 1
    assert seen > 150


def test_boxes_are_where_they_were_drawn(samples, built):
    """Each box of a sound row is a drawn one within half a hundredth of the longer side, none is there twice."""
    sample, (_, rows) = samples("folder"), built
    odd = {defect.image for defect in sample.defects}
    checked = 0
    for part in rows.values():
        for row in part:
            truth = sample.images[row["image"]["path"]]
            boxes = [
                box or [min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])]
                for box, polygon in _shapes(row["objects"])
            ]
            if not boxes or truth.name in odd:
                continue
            bound = max(truth.width, truth.height) / 200 + 1e-4
            drawn = sorted(one.box for one in truth.objects)
            assert len(boxes) == len(drawn), row["id"]
            assert np.abs(np.subtract(sorted(boxes, key=lambda b: _nearest(b, drawn)), drawn)).max() <= bound
            checked += 1
    assert checked > 40


def _shapes(objects):
    count = len(objects["label"])
    return zip(objects["box"] or [None] * count, objects["polygon"] or [None] * count, strict=True)


def _nearest(box, drawn):
    return min(range(len(drawn)), key=lambda i: np.abs(np.subtract(box, drawn[i])).sum())


def test_planted_defects_are_found(samples, built):
    """Every trap of the sample ends where it should: in the row's issues, in the ledger, or mended."""
    sample, (report, rows) = samples("folder"), built
    assert {defect.code for defect in sample.defects} == set(MMRS_DEFECTS)
    flagged = {row["image"]["path"]: row["issues"] for part in rows.values() for row in part}
    for defect in sample.defects:
        if (
            defect.code in {code.code for code in SPEC.issues if code.scope == "row"}
            and defect.image in flagged
        ):
            assert defect.code in flagged[defect.image], defect
    floodnet = line_of(report, "floodnet")
    assert floodnet.dropped == {"empty-answer": 1, "image-count": 1}
    assert floodnet.quirks["image-path-key"] == 1
    assert line_of(report, "crsvqa").dropped == {}
    (banded,) = (row for row in rows["crsvqa"] if row["original"])
    assert banded["image_note"] == "8-bit preview of bands 4, 3, 2 of 12 (uint8); the file is in original"
    assert banded["original"]["bytes"] == (sample.folder / "data" / banded["original"]["path"]).read_bytes()
    assert line_of(report, "crsvqa").quirks["image-token"] == 1
    assert line_of(report, "rsicd").image_missing == 1
    assert line_of(report, "rsicd").quirks["test-images-included"] == line_of(report, "rsicd").found
    assert line_of(report, "dscr").quirks["folder-by-alias"] == 1
    assert line_of(report, "far1m").repairs == {"json-not-an-array": 1, "json-trailing-comma": 1}
    assert line_of(report, "hit_uav").flagged == {"box-malformed": 1, "box-degenerate": 1, "box-off-image": 1}
    assert any("newset.json" in note and "detection/NEWSET" in note for note in report.ledger.unknown_files)
    assert any("ir_total.json" in note and "not read twice" in note for note in report.ledger.unknown_files)
    sixteen = next(row for row in rows["air_sarship_2"] if "16" in row["image"]["path"])
    assert sixteen["bit_depth"] == 16
    clean = {path for path in flagged if path not in {defect.image for defect in sample.defects}}
    assert not [path for path in clean if flagged[path]]


def test_rounds_are_reconciled(samples, built):
    """The ledger counts the questions found and those in rows, and the card shows both beside the paper's."""
    sample, (report, rows) = samples("folder"), built
    kept = sum(len(row["messages"]) // 2 for part in rows.values() for row in part)
    totals = report.ledger.totals()
    assert totals["rounds_kept"] == kept
    assert totals["rounds_released"] == 1_005_842
    assert totals["rounds_found"] == sum(
        sum(turn["from"] == "human" for turn in one["conversations"])
        for path in (sample.folder / "data" / "json").rglob("*.json")
        if path.name not in {"newset.json", "ir_total.json", "FAR1M.json"}
        for one in json.loads(path.read_text())
    ) + sum(line_of(report, part).rounds_found for part in ("far1m", "oceanic_ship"))
    card = (report.folder / "README.md").read_text()
    assert f"| **sum of what is here** | 1,005,842 | {totals['rounds_found']:,} |" in card


@pytest.mark.parametrize("form", ["flat", "doubled"])
def test_layouts_give_the_same_rows(samples, built, tmp_path, form):
    """Without ``data/`` and with it twice, the same rows come out, byte for byte."""
    _, rows = build_rows(samples(form).folder, tmp_path / "out", "captioning", "detection-infrared")
    assert len(rows) == 11
    for part in rows:
        assert contents(rows[part]) == contents(built[1][part])


def test_merged_file_gives_the_same_rows(samples, built, tmp_path):
    """From ``total.json`` alone every component has the same rows under other ids."""
    sample = samples("folder", annotations="total")
    report, rows = build_rows(sample.folder, tmp_path / "out")
    for part, own in built[1].items():
        if part in {"rsivqa", "far1m"}:
            continue
        found = [{**row, "id": ""} for row in rows[part]]
        assert contents(found) == contents([{**row, "id": ""} for row in own]), part
    # In the merged file nothing tells that a question about an image of HRRSD belongs to RSIVQA.
    assert len(rows["rsivqa"]) == len(built[1]["rsivqa"]) - 1
    assert any("vqa about images of detection/HRRSD (1)" in note for note in report.ledger.unknown_files)


def test_merged_file_beside_the_others(samples, built, tmp_path):
    """``total.json`` beside the files that it repeats changes nothing."""
    report, rows = build_rows(
        samples("folder", annotations="both").folder, tmp_path / "out", "detection-infrared"
    )
    for part in rows:
        assert contents(rows[part]) == contents(built[1][part])
    assert any("total.json" in note and "not read twice" in note for note in report.ledger.unknown_files)


def test_cut_archive_gives_the_same_rows(built, built_zip):
    """The seven pieces give the rows of the unpacked tree, in the order of the archive."""
    for part, own in built[1].items():
        assert contents(built_zip[1][part]) == contents(own), part


def test_cut_archive_is_read_once_for_all_parts(built_zip, samples):
    """All 35 parts are filled in one pass over the images, and a second build needs none."""
    report, _, passes = built_zip
    assert (len(report.rows), len(passes)) == (35, 1)
    again = build("mmrs_1m", ["default"], absolute_options(samples("zip").folder), report.folder)
    assert (len(passes), again.written, again.reused) == (1, 0, report.written)


def test_parts_of_a_stream_do_not_depend_on_each_other(samples, built_zip, tmp_path):
    """A part built alone has the same bytes as one built with all others in one pass."""
    alone, _ = build_rows(samples("zip").folder, tmp_path / "out", "detection-infrared")
    together = built_zip[0].folder
    for path in sorted(alone.folder.glob("train/*/*.parquet")):
        assert path.read_bytes() == (together / path.relative_to(alone.folder)).read_bytes()


def test_stream_goes_on_after_a_stop(samples, built_zip, tmp_path, monkeypatch):
    """A build of an archive that stops in the middle goes on with the same bytes and counts nothing twice."""
    monkeypatch.setattr(from_stream, "SHARD_BYTES", 20_000)
    options = absolute_options(samples("zip").folder)
    whole = build("mmrs_1m", ["detection-infrared"], options, tmp_path / "whole")
    assert whole.written > len(whole.rows)
    taken = []
    original = from_stream._Filling.take

    def stopping(self, name, data):
        taken.append(name)
        if len(taken) == 60:
            raise KeyboardInterrupt
        original(self, name, data)

    monkeypatch.setattr(from_stream._Filling, "take", stopping)
    with pytest.raises(KeyboardInterrupt):
        build("mmrs_1m", ["detection-infrared"], options, tmp_path / "stopped")
    monkeypatch.setattr(from_stream._Filling, "take", original)
    report = build("mmrs_1m", ["detection-infrared"], options, tmp_path / "stopped")
    assert report.reused > 0
    assert report.written + report.reused == whole.written
    assert [line.as_dict() for line in report.ledger.lines] == [line.as_dict() for line in whole.ledger.lines]
    for path in sorted(whole.folder.glob("train/*/*.parquet")):
        assert path.read_bytes() == (report.folder / path.relative_to(whole.folder)).read_bytes()


def test_ten_and_more_pieces(samples, built, tmp_path):
    """Twelve pieces are joined by number, not by letters."""
    sample = samples("zip", parts=12)
    assert [path.suffix for path in sample.archives[-2:]] == [".10", ".11"]
    _, rows = build_rows(sample.folder, tmp_path / "out", "grounding")
    assert contents(rows["dior_rsvg_grounding"]) == contents(built[1]["dior_rsvg_grounding"])


def test_missing_and_unfinished_pieces(tmp_path):
    """A missing middle piece and a pointer in place of one are named, and nothing is built."""
    sample = write_sample_release("mmrs_1m", tmp_path / "release", rows=40, traps=False)
    content = sample.archives[3].read_bytes()
    sample.archives[3].unlink()
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz\.3"):
        build_rows(sample.folder, tmp_path / "out")
    sample.archives[3].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz\.3"):
        build_rows(sample.folder, tmp_path / "out")
    sample.archives[3].write_bytes(content)
    sample.archives[6].unlink()
    with pytest.raises(ArchiveError, match="ends early"):
        build_rows(sample.folder, tmp_path / "out")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_reading_without_a_build_gives_the_same_order(samples, form, built, built_zip):
    """Read as it is, a release gives the rows of the build in the order of the build."""
    release = open_release("mmrs_1m", absolute_options(samples(form).folder))
    expected = (built if form == "folder" else built_zip)[1]
    for name in ("hrisd", "dior_rsvg_region_captioning", "floodnet", "rsicd"):
        member = next(member for member in SPEC.members if member.part.name == name)
        record_counts = RecordCounts()
        ids = [
            row["id"]
            for group in release_groups(release, member, DefectPolicy(SPEC, {}), record_counts)
            for row in group.rows
        ]
        assert ids == [row["id"] for row in expected[name]]
        assert record_counts.balanced
        assert record_counts.rounds_kept == sum(len(row["messages"]) // 2 for row in expected[name])


def test_split_rounds(samples, built, tmp_path):
    """A row a round: as many as rounds, ids with the round's number, the image stored once in a row group."""
    configs = ("captioning", "vqa", "detection-optical")
    report, rows = build_rows(samples("folder").folder, tmp_path / "out", *configs, rounds="split")
    totals = report.ledger.totals()
    assert (
        totals["kept"]
        == totals["rounds_kept"]
        == sum(len(row["messages"]) // 2 for part in rows for row in built[1][part])
    )
    assert all(len(row["messages"]) == 2 for part in rows.values() for row in part)
    ids = [row["id"] for part in rows.values() for row in part]
    assert len(set(ids)) == len(ids)
    whole = {row["id"]: row["messages"] for row in built[1]["rsicd"]}
    joined = {}
    for row in rows["rsicd"]:
        joined.setdefault(row["id"].rpartition("/")[0], []).extend(row["messages"])
    assert joined == whole
    vqa = rows["floodnet"][0]
    assert vqa["answer"] in {"yes", "no", "1"}
    assert "single word" not in vqa["question"]
    assert any("duplicate-round" in row["issues"] for row in rows["crsvqa"])
    size = sum(path.stat().st_size for path in (report.folder / "train" / "visdrone").iterdir())
    images = {row["image"]["path"]: len(row["image"]["bytes"]) for row in rows["visdrone"]}
    assert len(rows["visdrone"]) > 2 * len(images)
    assert size < sum(images.values()) + 60_000


@pytest.mark.slow
def test_split_rounds_on_two_workers(samples, tmp_path):
    """Two workers write the bytes of one."""
    one, _ = build_rows(samples("folder").folder, tmp_path / "one", "vqa", rounds="split")
    two, _ = build_rows(samples("folder").folder, tmp_path / "two", "vqa", rounds="split", workers=2)
    for path in sorted(one.folder.glob("train/*/*.parquet")):
        assert path.read_bytes() == (two.folder / path.relative_to(one.folder)).read_bytes()


def test_unknown_value_of_rounds(samples):
    """A value of ``rounds`` that does not exist is refused at once."""
    with pytest.raises(UnknownNameError, match="splitt"):
        absolute_options(samples("folder").folder, rounds="splitt")


def test_build_again_takes_everything_over(samples, tmp_path):
    """A second build of the same release writes nothing."""
    out = tmp_path / "out"
    first, _ = build_rows(samples("folder").folder, out, "detection-sar")
    again, _ = build_rows(samples("folder").folder, out, "detection-sar")
    assert (again.written, again.reused) == (0, first.written)


def test_any_subset_of_components(tmp_path):
    """One annotation file and one folder are a release; what is not there is listed as absent."""
    root = write_release(
        tmp_path / "release",
        {
            "detection/x.json": [
                record("detection/HIT-UAV/1.png", "Detect all objects ...", "There are none.")
            ]
        },
        {"detection/HIT-UAV/1.png": sample_image()},
    )
    report, rows = build_rows(root, tmp_path / "out")
    assert [row["id"] for row in rows["hit_uav"]] == ["mmrs_1m/hit_uav/detection/x/0"]
    absent = [line for line in report.ledger.lines if line.record_counts is None]
    assert len(absent) == 34
    assert report.ledger.totals()["rounds_absent"] == 1_005_842 - 10_608


def test_images_elsewhere(tmp_path):
    """Images that lie elsewhere are found by their released folder, with or without inner folders."""
    files = {
        "RSVG/r.json": [
            record("data/RSVG/DIOR_RSVG/images/1.png", "... described as:A car", "[0.1,0.1,0.2,0.2]")
        ]
    }
    root = write_release(tmp_path / "release", files, {})
    (tmp_path / "elsewhere" / "images").mkdir(parents=True)
    (tmp_path / "elsewhere" / "images" / "1.png").write_bytes(sample_image())
    _, rows = build_rows(root, tmp_path / "out", images={"RSVG/DIOR_RSVG": tmp_path / "elsewhere"})
    assert rows["dior_rsvg_grounding"][0]["objects"]["label"] == ["A car"]
    assert rows["dior_rsvg_grounding"][0]["image"]["path"] == "RSVG/DIOR_RSVG/images/1.png"


def test_file_named_after_nothing(tmp_path):
    """A file of which nothing tells what it is is reported; one that cannot be read stops the build till left out."""
    root = write_release(
        tmp_path / "release",
        {
            "detection/SSDD.json": [
                record("data/detection/SSDD/1.png", "Detect all ships ...", "There are none.")
            ],
            "detection/coco.json": '{"images": [], "annotations": []}',
            "detection/cut.json": '[{"image": "data/elsewhere/1.png", ',
        },
        {"detection/SSDD/1.png": sample_image()},
    )
    with pytest.raises(AnnotationError, match=r"cut\.json") as caught:
        build_rows(root, tmp_path / "out")
    assert "--set without=" in str(caught.value)
    report, rows = build_rows(root, tmp_path / "out", settings={"without": "detection/cut.json"})
    assert list(rows) == ["ssdd"]
    assert sum("coco.json" in note or "cut.json" in note for note in report.ledger.unknown_files) == 1


def test_images_named_without_a_folder(tmp_path):
    """Bare file names in the file of one component are looked for in that component's folder."""
    root = write_release(
        tmp_path / "release",
        {"caption/caption_rsitmd.json": [record("1.png", "Please provide ...", "A road.")]},
        {"caption/rstimd_caption/1.png": sample_image()},
    )
    _, rows = build_rows(root, tmp_path / "out")
    assert [row["image"]["path"] for row in rows["rsitmd"]] == ["caption/rstimd_caption/1.png"]


def test_cut_annotation_file_stops_its_own_component_only(tmp_path):
    """A cut file is an error for the parts that it feeds; the others can be built, and doctor says both."""
    root = write_release(
        tmp_path / "release",
        {
            "detection/SSDD.json": json.dumps([record("data/detection/SSDD/1.png", "Detect ...", "none")])[
                :-9
            ],
            "detection/RSOD.json": [record("data/detection/RSOD/1.png", "Detect ...", "There are none.")],
        },
        {"detection/SSDD/1.png": sample_image(), "detection/RSOD/1.png": sample_image()},
    )
    with pytest.raises(AnnotationError, match=r"SSDD\.json"):
        build_rows(root, tmp_path / "out", "detection-sar")
    _, rows = build_rows(root, tmp_path / "out2", "detection-optical")
    assert len(rows["rsod"]) == 1
    reports = {
        report.part: report for report in examine(open_release("mmrs_1m", absolute_options(root))).files
    }
    assert "SSDD.json" in reports["ssdd"].problem
    assert reports["rsod"].rows == 1


def test_two_different_copies_of_a_file(tmp_path):
    """Two trees with different files of one name are refused; equal ones are one."""
    files = {"detection/SSDD.json": [record("data/detection/SSDD/1.png", "Detect ...", "There are none.")]}
    root = write_release(tmp_path / "release", files, {"detection/SSDD/1.png": sample_image()})
    write_release(root / "data", files, {})
    _, rows = build_rows(root, tmp_path / "out")
    assert len(rows["ssdd"]) == 1
    write_release(root / "data", {"detection/SSDD.json": []}, {})
    with pytest.raises(Exception, match="two different copies"):
        build_rows(root, tmp_path / "out2")


def test_names_that_leave_the_release(tmp_path):
    """A record whose image leads out is dropped with its reason; nothing outside is read."""
    (tmp_path / "secret.png").write_bytes(sample_image())
    records = [
        record("data/detection/SSDD/../../../../secret.png", "Detect ...", "There are none."),
        record("data/detection/SSDD/1.png", "Detect ...", "There are none."),
    ]
    root = write_release(
        tmp_path / "release", {"detection/SSDD.json": records}, {"detection/SSDD/1.png": sample_image()}
    )
    report, rows = build_rows(root, tmp_path / "out")
    assert len(rows["ssdd"]) == 1
    assert line_of(report, "ssdd").dropped == {"unsafe-path": 1}


def test_records_that_are_none(tmp_path):
    """Things in a file that are no records are counted for the component whose file it is."""
    good = record("data/detection/SSDD/1.png", "Detect ...", "There are none.")
    records = [3, good, {"image": "data/detection/SSDD/1.png"}, {**good, "conversations": "x"}, good]
    root = write_release(
        tmp_path / "release", {"detection/SSDD.json": records}, {"detection/SSDD/1.png": sample_image()}
    )
    report, rows = build_rows(root, tmp_path / "out")
    record_counts = line_of(report, "ssdd")
    assert (record_counts.found, record_counts.kept, sum(record_counts.dropped.values())) == (5, 2, 3)
    assert [row["id"][-1] for row in rows["ssdd"]] == ["1", "4"]


def test_wrong_frames_and_sizes(tmp_path):
    """Boxes in 0-100 and boxes made for another image's shape are marked, and stay."""
    records = [
        record("data/detection/SSDD/1.png", "Detect ...", "There is <p>one ship</p>[10,20,30,40]"),
        # Right for an image that stands upright; lying, this is the padding above it.
        record("data/detection/SSDD/2.png", "Detect ...", "There is <p>one ship</p>[0.40,0.01,0.60,0.10]"),
        record("data/detection/SSDD/3.png", "Detect ...", "There is <p>one ship</p>[0.40,0.10,0.60,0.50]"),
    ]
    images = {f"detection/SSDD/{number}.png": sample_image(640, 320) for number in (1, 2, 3)}
    root = write_release(tmp_path / "release", {"detection/SSDD.json": records}, images)
    _, rows = build_rows(root, tmp_path / "out")
    issues = {row["id"][-1]: row["issues"] for row in rows["ssdd"]}
    assert issues == {"0": ["box-off-image"], "1": ["box-off-image"], "2": ["box-outside-image"]}
    assert all(len(row["objects"]["box"]) == 1 for row in rows["ssdd"])


def test_rounding_is_no_overflow(tmp_path):
    """A box along the border, moved over it by rounding to two decimals alone, is not marked."""
    # Pad (640 - 427) // 2 = 106: the upper border is at 0.165625, which is written 0.17 or, cut, 0.16.
    text = "There is <p>one ship</p>[0.00,0.17,1.00,0.83;0.00,0.165,1.00,0.834]"
    records = [
        record("data/detection/SSDD/1.png", "Detect all objects ...", text.replace("one ship", "two ships"))
    ]
    root = write_release(
        tmp_path / "release",
        {"detection/SSDD.json": records},
        {"detection/SSDD/1.png": sample_image(640, 427)},
    )
    _, rows = build_rows(root, tmp_path / "out")
    assert rows["ssdd"][0]["issues"] == []


def test_policy_drops_marked_rows(samples, tmp_path):
    """``on_defect`` leaves rows with a named defect out and counts them under its code."""
    report, rows = build_rows(
        samples("folder").folder, tmp_path / "out", "detection-infrared", on_defect={"box-off-image": "drop"}
    )
    assert line_of(report, "hit_uav").dropped == {"box-off-image": 1}
    assert all("box-off-image" not in row["issues"] for row in rows["hit_uav"])


def test_nothing_there(tmp_path):
    """An empty folder and a wrong path say what was expected."""
    with pytest.raises(ReleaseNotFoundError, match="none of the annotation files"):
        build_rows(tmp_path, tmp_path / "out")
    with pytest.raises(ReleaseNotFoundError, match=r"data\.tar\.gz\.0"):
        build_rows(tmp_path / "nowhere", tmp_path / "out")


def test_doctor_counts_what_can_be_built(samples, built):
    """Doctor and build agree on every config: what the build leaves out is not counted."""
    diagnosis = examine(open_release("mmrs_1m", absolute_options(samples("folder").folder)))
    rows = {name: len(own) for name, own in built[1].items()}
    for config in SPEC.configs:
        assert diagnosis.configs[config.name] == sum(
            rows.get(member.part.name, 0) for member in config.members
        )
    assert {report.rounds_released for report in diagnosis.files} == {
        member.part.rounds for member in SPEC.members
    }


def test_sample_is_the_same_twice(tmp_path):
    """The same arguments write the same bytes."""
    one, two = (write_sample_release("mmrs_1m", tmp_path / name, rows=40, seed=3) for name in ("one", "two"))
    assert [path.read_bytes() for path in one.archives] == [path.read_bytes() for path in two.archives]
    other = write_sample_release("mmrs_1m", tmp_path / "three", rows=40, seed=4)
    assert one.archives[0].read_bytes() != other.archives[0].read_bytes()


def test_rows_can_be_read_back(built):
    """What `read_rows` reads is what the report counts, and every image opens."""
    report, rows = built
    assert sum(report.rows.values()) == sum(map(len, read_rows(report.folder).values()))
    for part in rows.values():
        for row in part:
            with Image.open(io.BytesIO(row["image"]["bytes"])) as opened:
                assert opened.size == (row["width"], row["height"])
