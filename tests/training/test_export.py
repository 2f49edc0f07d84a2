"""Exports hold the same boxes as the dataset folder, in the frame and markup of the model, in files that load."""

import base64
import csv
import hashlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reading_back import bound, conversations, json_places, numbers, resized, to_pixels
from typer.testing import CliRunner

from irtd_datasets.boxes import rewrite_boxes
from irtd_datasets.cli.app import app
from irtd_datasets.errors import (
    AnnotationError,
    BoxError,
    BuildError,
    ReleaseNotFoundError,
    UnknownNameError,
    UnsafePathError,
)
from irtd_datasets.evaluate import ScoringOptions, read_questions, score_file
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.hub.overlap import NotIn
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training.examples import REASONS
from irtd_datasets.training.export import ExportOptions, export, export_rows
from irtd_datasets.training.targets import TARGETS, smart_resize
from irtd_datasets.writing.engine import build

REAL = Path(os.environ.get("IRTD_REAL", Path(__file__).resolve().parents[2] / ".." / "shared" / "real"))
SIZES = [(96, 60), (61, 96), (64, 64), (101, 30)]
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset folder of the sample release."""
    root = tmp_path_factory.mktemp("export")
    write_sample_release("irtd", root / "release", rows=120)
    build("irtd", ["instruct", "pretrain"], absolute_options(root / "release"), root / "irtd")
    return root / "irtd"


def rows_of(folder, config):
    for files in config_files(folder, config).values():
        for file in files:
            yield from pq.read_table(file).to_pylist()


def png(width, height, box=None):
    """A dark image with a red rectangle."""
    pixels = np.full((height, width, 3), 20, np.uint8)
    if box:
        x0, y0, x1, y1 = box
        pixels[y0:y1, x0:x1] = RED
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def row(**changes):
    base = {
        "id": "made/1",
        "image": {"bytes": png(96, 60), "path": "a.png"},
        "messages": [
            {"role": "user", "content": "Where is the ship?"},
            {"role": "assistant", "content": "There is <p>a ship</p>[0.25,0.25,0.5,0.75]"},
        ],
        "box_frame": "square_unit",
        "width": 96,
        "height": 60,
    }
    return {**base, **changes}


def talk(answer, question="Where?"):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def answer_of(tmp_path, made, target, layout="jsonl", **options):
    report = export_rows([made], tmp_path / "out", ExportOptions(target, layout, **options))
    assert sum(report.rows.values()) == 1, report.left_out
    record = json.loads((tmp_path / "out" / "train.jsonl").read_text())
    return record["conversations"][-1]["value"] if layout == "jsonl" else record


@pytest.mark.parametrize("target", TARGETS)
def test_places_read_back_are_those_of_objects(built, tmp_path, target):
    """Every box and point, read back by an independent parser, lies where `objects` says, within rounding."""
    report = export(built, "instruct", tmp_path / "out", ExportOptions(target))
    originals = {one["id"]: one for one in rows_of(built, "instruct")}
    seen = 0
    for record, path, (width, height) in conversations(tmp_path / "out"):
        original = originals.pop(record["id"])
        assert path.read_bytes() == original["image"]["bytes"]
        objects = original["objects"]
        wanted = [place for kind in ("box", "polygon", "point") for place in objects[kind]]
        text = "\n".join(turn["value"] for turn in record["conversations"])
        found = numbers(text, target)
        assert len(found) == len(wanted)
        for values, place in zip(found, wanted, strict=True):
            clipped = [min(max(v, 0), (width, height)[i % 2]) for i, v in enumerate(place)]
            assert to_pixels(values, target, width, height) == pytest.approx(
                clipped, abs=bound(target, width, height) + 1e-3
            )
            seen += 1
    assert not originals
    assert seen == sum(report.places.values()) > 100


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", SIZES)
def test_the_crop_by_an_exported_box_shows_the_object(tmp_path, target, size):
    """A rectangle of a known colour is where the exported box says, from padded-square text to the image file."""
    width, height = size
    side = max(size)
    box = (width // 5, height // 4, width // 2, height * 2 // 3)
    pads = ((side - width) // 2, (side - height) // 2)
    text = ",".join(f"{(value + pads[i % 2]) / side:.6f}" for i, value in enumerate(box))
    made = row(
        image={"bytes": png(width, height, box), "path": None},
        messages=talk(f"There is <p>one ship</p>[{text}] in the image."),
        width=width,
        height=height,
    )
    export_rows([made], tmp_path / "out", ExportOptions(target))
    (record, path, found_size), *_ = conversations(tmp_path / "out")
    assert found_size == size
    (values,) = numbers(record["conversations"][1]["value"], target)
    x0, y0, x1, y1 = (round(value) for value in to_pixels(values, target, *size))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    inside = (pixels[y0:y1, x0:x1] == RED).all(axis=2)
    slack = bound(target, *size) + 1
    assert inside[1:-1, 1:-1].all()
    assert inside.sum() >= (pixels == RED).all(axis=2).sum() - 2 * slack * (x1 - x0 + y1 - y0)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("llava", "There is a ship [0.250, 0.250, 0.500, 0.750]"),
        (
            "qwen2-vl",
            "There is <|object_ref_start|>a ship<|object_ref_end|><|box_start|>(250,100),(500,900)<|box_end|>",
        ),
        ("qwen2.5-vl", 'There is a ship [{"bbox_2d": [21, 6, 42, 50], "label": "ship"}]'),
        ("qwen3-vl", 'There is a ship [{"bbox_2d": [250, 100, 500, 900], "label": "ship"}]'),
        ("internvl", "There is <ref>a ship</ref><box>[[250, 100, 500, 900]]</box>"),
        ("paligemma", "There is a ship <loc0102><loc0256><loc0921><loc0512>"),
    ],
)
def test_a_box_in_the_markup_of_each_model(tmp_path, target, answer):
    """The same box of a 96x60 image in the published form of each model, to the character."""
    assert resized(96, 60) == (84, 56)
    assert answer_of(tmp_path, row(), target) == answer


def test_several_boxes_in_one_bracket(tmp_path):
    """Boxes that share a bracket stay together in the model's list."""
    made = row(messages=talk("<p>two ships</p>[0.25,0.25,0.5,0.75;0.5,0.5,0.75,0.75]."))
    places = json_places(answer_of(tmp_path, made, "qwen3-vl"))
    assert [place["bbox_2d"] for place in places] == [[250, 100, 500, 900], [500, 500, 750, 900]]
    assert {place["label"] for place in places} == {"ship"}


def test_a_box_in_a_question_is_a_plain_list(tmp_path):
    """The JSON of the newer Qwen models is for answers; a question names a region by its numbers."""
    made = row(messages=talk("A ship.", "Describe this region :[0.25,0.25,0.5,0.75]"))
    export_rows([made], tmp_path / "out", ExportOptions("qwen3-vl"))
    ((record, *_),) = conversations(tmp_path / "out")
    assert record["conversations"][0]["value"] == "<image>\nDescribe this region :[250, 100, 500, 900]"


@pytest.mark.parametrize("target", TARGETS)
def test_oriented_boxes_stay_in_the_text_in_the_models_frame(tmp_path, target):
    """Corners are converted like boxes and written as eight numbers, also where blanks stand between the corners."""
    corners = (24, 12, 48, 18, 42, 48, 18, 42)
    text = ", ".join(
        f"{(x / 96):.6f},{((y + 18) / 96):.6f}" for x, y in zip(corners[::2], corners[1::2], strict=True)
    )
    made = row(messages=talk(f"<p>a ship</p>[{text}]"))
    (values,) = numbers(answer_of(tmp_path, made, target), target)
    assert to_pixels(values, target, 96, 60) == pytest.approx(corners, abs=bound(target, 96, 60) + 1e-3)


def test_released_markup_changes_numbers_only(built, tmp_path):
    """With the released markup the texts are those of `rewrite_boxes`."""
    options = ExportOptions("qwen3-vl", markup="released")
    export(built, "instruct-grounding", tmp_path / "out", options)
    originals = {one["id"]: one for one in rows_of(built, "instruct-grounding")}
    compared = 0
    for record, _, (width, height) in conversations(tmp_path / "out"):
        original = originals[record["id"]]
        if "box-outside-image" in original["issues"]:
            continue
        rewritten = rewrite_boxes(original["messages"], "pixel", "per_mille", width, height)
        assert record["conversations"][1]["value"] == rewritten.messages[1]["content"]
        compared += 1
    assert compared > 4


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((512, 640), {}, (504, 644)),
        ((1080, 1920), {}, (1092, 1932)),
        ((1080, 1920), {"max_pixels": 1280 * 28 * 28}, (728, 1316)),
        ((800, 800), {"max_pixels": 768 * 768}, (756, 756)),
        ((10, 10), {}, (56, 56)),
        ((13, 200), {}, (28, 196)),
        ((70, 42), {}, (56, 56)),
    ],
)
def test_resize_of_qwen_at_known_sizes(size, limits, expected):
    """The published formula, worked by hand: rounding half to even, floor above the limit, ceiling below it."""
    assert smart_resize(*size, **limits) == expected


@settings(max_examples=200)
@given(st.integers(1, 6000), st.integers(1, 6000))
def test_resize_of_qwen_keeps_its_promises(height, width):
    """Multiples of 28 within the limits, or a refusal of images over 200 times longer than wide."""
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(BoxError):
            smart_resize(height, width)
        return
    new_height, new_width = smart_resize(height, width)
    assert (new_width, new_height) == resized(width, height)
    assert new_height % 28 == new_width % 28 == 0
    assert 3136 <= new_height * new_width <= 12845056


@pytest.mark.parametrize(
    ("changes", "reason", "layout"),
    [
        ({"box_frame": "unknown"}, "frame-unknown", "jsonl"),
        ({"box_frame": 5}, "frame-unknown", "jsonl"),
        ({"box_frame": None}, "frame-missing", "jsonl"),
        ({"messages": talk("<p>a ship</p>[0.1,0.2,0.3,0.4,0.5]")}, "places-unreadable", "jsonl"),
        ({"messages": talk("<p>a ship</p>[0.1,0.2,0.3,nan]")}, "places-unreadable", "jsonl"),
        ({"width": None}, "size-missing", "jsonl"),
        ({"messages": talk("A ship.")[:1]}, "turns-not-alternating", "jsonl"),
        ({"messages": [*talk("A ship."), *talk("A ship.")[:1]]}, "turns-not-alternating", "ms-swift"),
        ({"messages": []}, "turns-not-alternating", "llama-factory"),
        ({"messages": talk(" ")}, "turn-empty", "jsonl"),
        ({"messages": [{"role": "system", "content": "Be brief."}, *talk("Yes.")]}, "system-turn", "jsonl"),
        ({"messages": talk("See <image>.")}, "placeholder-in-text", "llama-factory"),
        ({"messages": talk("See <bbox>.")}, "placeholder-in-text", "ms-swift"),
        ({"image": None}, "image-missing", "jsonl"),
        ({"image": {"bytes": None, "path": "a.png"}}, "image-missing", "jsonl"),
    ],
)
def test_a_row_that_cannot_be_exported_is_left_out_and_counted(tmp_path, changes, reason, layout):
    """Nothing is guessed: the row is missing from the file, and the report names it and why."""
    report = export_rows(
        [row(), row(id="bad", **changes)], tmp_path / "out", ExportOptions("qwen3-vl", layout)
    )
    assert report.left_out == {reason: 1}
    assert report.examples == {reason: ["bad"]}
    assert report.rows == {"train": 1}
    assert "bad" not in (tmp_path / "out" / "train.jsonl").read_text()
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["reasons"] == {reason: REASONS[reason]}


def test_an_image_that_qwen_refuses_is_left_out(tmp_path):
    """An image over 200 times longer than wide has no size after the resize, so its boxes have no numbers."""
    made = row(image={"bytes": png(402, 2), "path": None}, width=402, height=2)
    assert export_rows([made], tmp_path / "out", ExportOptions("qwen2.5-vl")).left_out == {"no-resize": 1}


def test_prose_of_an_unknown_frame_is_exported(tmp_path):
    """A row without places needs no frame."""
    made = row(box_frame="unknown", messages=talk("A harbour [sic] with ships."))
    assert answer_of(tmp_path, made, "internvl") == "A harbour [sic] with ships."


def test_clipped_and_collapsed_boxes_are_counted(tmp_path):
    """A box over the edge ends at it; a box that rounding makes flat is kept; both are counted."""
    frames = {"box_frame": "pixel", "width": 96, "height": 60}
    rows = [
        row(messages=talk("<box>[[-9, 0, 99, 60]]</box>"), **frames),
        row(messages=talk("<box>[[10, 10, 10.01, 20]]</box>"), **frames),
    ]
    report = export_rows(rows, tmp_path / "out", ExportOptions("qwen3-vl"))
    assert (report.clipped, report.collapsed) == (1, 1)
    first, _ = (record for record, *_ in conversations(tmp_path / "out"))
    assert json_places(first["conversations"][1]["value"])[0]["bbox_2d"] == [0, 0, 1000, 1000]


def test_the_right_edge_in_qwen25_is_the_last_pixel(tmp_path):
    """As in Qwen's own conversion, coordinates end one pixel before the resized width and height."""
    made = row(messages=talk("<box>[[0, 0, 640, 512]]</box>"), box_frame="pixel", width=640, height=512)
    assert numbers(answer_of(tmp_path, made, "qwen2.5-vl"), "qwen2.5-vl") == [[0, 0, 643, 503]]


@pytest.mark.parametrize("target", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "internvl"])
def test_ms_swift_gets_real_pixels_and_placeholders(built, tmp_path, target):
    """As many placeholders as boxes and names, and the boxes are those of `objects`, in pixels of the image."""
    export(built, "instruct", tmp_path / "out", ExportOptions(target, "ms-swift"))
    originals = {one["id"]: one for one in rows_of(built, "instruct")}
    placed = 0
    for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines():
        record = json.loads(line)
        original = originals.pop(record["id"])
        text = "".join(message["content"] for message in record["messages"])
        assert text.count("<bbox>") == len(record["objects"]["bbox"])
        assert text.count("<ref-object>") == len(record["objects"]["ref"])
        assert text.count("<image>") == len(record["images"]) == 1
        size = (original["width"], original["height"])
        wanted = original["objects"]["box"] + original["objects"]["point"]
        for found, place in zip(record["objects"]["bbox"], wanted, strict=True):
            clipped = [min(max(v, 0), size[i % 2]) for i, v in enumerate(place)]
            assert found == pytest.approx(clipped, abs=0.0051)
            placed += 1
    assert not originals
    assert placed > 100


def test_ms_swift_gets_text_where_it_would_choose_another_frame(tmp_path):
    """For LLaVA and PaliGemma, and for oriented boxes, the numbers stand in the text."""
    record = answer_of(tmp_path / "a", row(), "llava", "ms-swift")
    assert "objects" not in record
    assert record["messages"][1]["content"].endswith("[0.250, 0.250, 0.500, 0.750]")
    obb = row(messages=talk("<p>a ship</p>[0.25,0.25,0.5,0.25,0.5,0.75,0.25,0.75]"))
    record = answer_of(tmp_path / "b", obb, "qwen2-vl", "ms-swift")
    assert "<bbox>" not in record["messages"][1]["content"]
    assert "[250, 100, 500, 100, 500, 900, 250, 900]" in record["messages"][1]["content"]


def test_json_lines_load_in_datasets_whatever_comes_first(tmp_path, monkeypatch):
    """`datasets` guesses types from the first block: the rows that show them come first."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    plain = [row(id=f"p/{i}", messages=talk("yes " * 20), box_frame=None) for i in range(300)]
    boxes = [row(id=f"b/{i}", messages=talk("<box>[[0.25,0.25,0.5,0.75]]</box>")) for i in range(300)]
    export_rows([*plain, *boxes, row()], tmp_path / "out", ExportOptions("qwen3-vl", "ms-swift"))
    loaded = datasets.load_dataset(
        "json",
        data_files=str(tmp_path / "out" / "train.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
        chunksize=4096,
    )
    assert loaded.num_rows == 601
    assert sorted(map(len, loaded["objects"][:][0].values())) == [1, 1]
    assert sum(len(objects["bbox"]) for objects in loaded["objects"]) == 301


@pytest.mark.parametrize("layout", ["ms-swift", "llama-factory"])
def test_images_inside_parquet(built, tmp_path, layout):
    """The rows keep their images byte for byte, once per row group, and `datasets` shows them as images."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    out = tmp_path / "out"
    report = export(built, "instruct", out, ExportOptions("qwen2-vl", layout, "parquet"))
    originals = {one["id"]: one for one in rows_of(built, "instruct")}
    files = sorted(out.glob("train/*.parquet"))
    rows = [one for file in files for one in pq.read_table(file).to_pylist()]
    assert len(rows) == len(originals) == report.rows["train"]
    for one in rows:
        (image,) = one["images"]
        assert image["bytes"] == originals[one["id"]]["image"]["bytes"]
        assert re.fullmatch(r"[\w.-]+", image["path"])
    distinct = {hashlib.sha256(one["images"][0]["bytes"]).digest() for one in rows}
    assert len(distinct) < len(rows)
    assert sum(file.stat().st_size for file in files) < 0.9 * sum(
        len(one["images"][0]["bytes"]) for one in rows
    )
    loaded = datasets.load_dataset(
        "parquet", data_files=list(map(str, files)), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded[0]["images"][0].size == (
        originals[loaded[0]["id"]]["width"],
        originals[loaded[0]["id"]]["height"],
    )
    if layout == "llama-factory":
        info = json.loads((out / "dataset_info.json").read_text())
        assert {entry["file_name"] for entry in info.values()} == {"train"}
        assert {path.suffix for path in (out / "train").iterdir()} == {".parquet"}


def test_images_inside_parquet_need_a_layout_that_reads_them(tmp_path):
    """LLaVA's JSON names images by path, so it cannot be combined with images inside Parquet."""
    with pytest.raises(UnknownNameError, match="by path"):
        ExportOptions("llava", "jsonl", "parquet")


def test_an_empty_export_still_has_its_columns(tmp_path):
    """A reader of Parquet meets columns also where no row was left."""
    out = tmp_path / "out"
    export_rows([row(box_frame="unknown")], out, ExportOptions("internvl", "llama-factory", "parquet"))
    assert pq.read_table(out / "train").column_names == ["id", "messages", "images"]


def llama_factory_accepts(record, info, folder):
    """What LLaMA-Factory's ShareGPT converter and its image plugin require (data/converter.py, data/mm_plugin.py)."""
    (entry,) = info.values()
    tags, columns = entry["tags"], entry["columns"]
    messages = record[columns["messages"]]
    if messages[0][tags["role_tag"]] == tags.get("system_tag"):
        messages = messages[1:]
    odd, even = tags["user_tag"], tags["assistant_tag"]
    right_roles = all(m[tags["role_tag"]] == (odd, even)[i % 2] for i, m in enumerate(messages))
    images = record[columns["images"]]
    tokens = sum(message[tags["content_tag"]].count("<image>") for message in messages)
    return (
        right_roles
        and len(messages) % 2 == 0
        and tokens == len(images)
        and all((folder / image).is_file() for image in images)
    )


def test_the_real_example_of_llama_factory_has_the_same_form(built, tmp_path):
    """Its own multimodal example and an export pass the same checks and have the same types under the same keys."""
    real = REAL / "llamafactory-mllm" / "data"
    if not real.is_dir():
        pytest.skip(f"no LLaMA-Factory example at {real}")
    export(built, "instruct", tmp_path / "out", ExportOptions("qwen2.5-vl", "llama-factory"))
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    example = json.loads((real / "mllm_demo.json").read_text())
    lines = (tmp_path / "out" / "train.jsonl").read_text().splitlines()
    assert lines
    for record in example:
        assert llama_factory_accepts(record, info, real)
    for line in lines:
        ours = json.loads(line)
        assert llama_factory_accepts(ours, info, tmp_path / "out")
        assert set(example[0]) <= set(ours)
        assert {key for message in ours["messages"] for key in message} == set(example[0]["messages"][0])


def test_a_system_turn_goes_where_a_layout_has_a_place_for_it(tmp_path):
    """LLaMA-Factory takes a system turn; the image's token still opens the question."""
    made = row(messages=[{"role": "system", "content": "Be brief."}, *talk("Yes.")], box_frame=None)
    record = answer_of(tmp_path, made, "internvl", "llama-factory")
    assert [m["content"] for m in record["messages"]] == ["Be brief.", "<image>Where?", "Yes."]
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert llama_factory_accepts(record, info, tmp_path / "out")


def test_the_json_layout_is_one_list(built, tmp_path):
    """LLaVA-1.5 reads its data with json.load: the same records as the lines."""
    export(built, "instruct-location", tmp_path / "a", ExportOptions("llava", "json"))
    export(built, "instruct-location", tmp_path / "b", ExportOptions("llava", "jsonl"))
    whole = json.loads((tmp_path / "a" / "train.json").read_text())
    assert whole == [record for record, *_ in conversations(tmp_path / "b")]
    assert whole[0]["conversations"][0]["value"].startswith("<image>\nLocate")


def test_each_distinct_image_is_written_once_whatever_it_was_called(tmp_path):
    """Hostile, equal and missing names: files lie inside the export, with their bytes, and the table lists all."""
    one, two = png(8, 8), png(9, 9)
    images = [
        (one, "../../evil.png"),
        (one, "b.png"),
        (two, "../../evil.png"),
        (two, None),
        (b"BM-no-image", "C:x"),
    ]
    rows = [
        row(id=str(i), image={"bytes": data, "path": name}, messages=talk("A ship."))
        for i, (data, name) in enumerate(images)
    ]
    out = tmp_path / "deep" / "out"
    report = export_rows(rows, out, ExportOptions())
    files = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name not in ("train.jsonl", "export.json")
    ]
    table = list(csv.DictReader((out / "images.csv").read_text().splitlines()))
    assert report.images == len(table) == 3
    assert {path for path in files if path.name != "images.csv"} == {out / line["file"] for line in table}
    for line in table:
        assert hashlib.sha256((out / line["file"]).read_bytes()).hexdigest() == line["sha256"]
    records = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    for record, (data, _) in zip(records, images, strict=True):
        assert (out / record["image"]).read_bytes() == data


def test_an_export_appears_complete_or_not_at_all(tmp_path):
    """A run that dies leaves nothing under the name; the next one takes over its images and leaves no trace."""

    def dying():
        yield row()
        raise RuntimeError("killed")

    out = tmp_path / "out"
    with pytest.raises(RuntimeError):
        export_rows(dying(), out, ExportOptions())
    assert not out.exists()
    (image,) = tmp_path.glob(".out.partial/images/*/*.png")
    before = image.stat().st_mtime_ns
    export_rows([row()], out, ExportOptions())
    (kept,) = out.glob("images/*/*.png")
    assert kept.stat().st_mtime_ns == before
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_nothing_of_an_unfinished_run_gets_into_the_next(tmp_path):
    """Files of another layout and images of other rows are gone when the next run is complete."""

    def dying():
        yield row(image={"bytes": png(8, 8), "path": None})
        raise RuntimeError("killed")

    out = tmp_path / "out"
    for options in (ExportOptions("llava", "json"), ExportOptions("internvl", "llama-factory", "parquet")):
        with pytest.raises(RuntimeError):
            export_rows(dying(), out, options)
    with pytest.raises(RuntimeError):
        export_rows(dying(), out, ExportOptions())
    export_rows([row()], out, ExportOptions())
    assert {path.name for path in out.iterdir()} == {"train.jsonl", "images", "images.csv", "export.json"}
    (line,) = csv.DictReader((out / "images.csv").read_text().splitlines())
    assert [path for path in out.glob("images/**/*") if path.is_file()] == [out / line["file"]]
    assert len(list((out / "images").iterdir())) == 1


def test_two_exports_are_equal(built, tmp_path):
    """The same folder and options give the same bytes."""
    for name in ("a", "b"):
        export(built, "instruct", tmp_path / name, ExportOptions("qwen3-vl", "ms-swift"))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_folder_that_is_in_use_is_left_alone(tmp_path):
    """An export never writes into a folder that holds something."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(BuildError, match="not empty"):
        export_rows([row()], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_filter_leaves_rows_out(built, tmp_path):
    """Rows that a filter names are not exported, and counted."""
    ids = [one["id"] for one in rows_of(built, "instruct-grounding")]
    report = export(built, "instruct-grounding", tmp_path / "out", ExportOptions(without=NotIn(ids[:2])))
    assert report.left_out == {"filtered": 2}
    assert [record["id"] for record, *_ in conversations(tmp_path / "out")] == ids[2:]


def test_absolute_paths(tmp_path):
    """Where a program is started elsewhere, paths can begin at the root."""
    record = answer_of(tmp_path, row(), "internvl", "ms-swift", absolute_paths=True)
    (path,) = record["images"]
    assert Path(path).is_absolute()
    assert Path(path).read_bytes() == row()["image"]["bytes"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "gpt"},
        {"layout": "yolo"},
        {"images": "links"},
        {"markup": "html"},
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(wrong):
    """The message lists what is possible."""
    with pytest.raises(UnknownNameError, match=r"(can be|are) .*,"):
        ExportOptions(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"target": "qwen2-vl", "decimals": 2}, {"decimals": 0}, {"min_pixels": 9, "max_pixels": 8}]
)
def test_a_number_that_means_nothing_is_refused(wrong):
    """Decimals are LLaVA's alone, and the limits of the resize are in order."""
    with pytest.raises(BoxError):
        ExportOptions(**wrong)


def test_rows_of_another_schema_are_refused(tmp_path):
    """A decoded image or a missing column is named, with what to do."""
    with pytest.raises(AnnotationError, match="decode=False"):
        export_rows([row(image=Image.new("L", (4, 4)))], tmp_path / "out")
    with pytest.raises(AnnotationError, match="row 'made/1'"):
        export_rows([{key: value for key, value in row().items() if key != "messages"}], tmp_path / "out")


def test_wrong_folders_configs_and_splits_are_named(built, tmp_path):
    """The message says what is there."""
    with pytest.raises(ReleaseNotFoundError, match=r"README\.md"):
        export(tmp_path, None, tmp_path / "out")
    with pytest.raises(UnknownNameError, match="instruct-grounding"):
        export(built, "nope", tmp_path / "out")
    with pytest.raises(UnknownNameError, match="train"):
        export(built, "instruct", tmp_path / "out", splits=["test"])
    assert config_names(built)[0] == "instruct"


@pytest.mark.parametrize(
    ("card", "error"),
    [
        ("no front matter", AnnotationError),
        ("---\nconfigs: 3\n---\n", AnnotationError),
        ("---\n: : :\n  - {\n---\n", AnnotationError),
        ("---\nconfigs:\n- config_name: a\n  data_files: [{split: train, path: 3}]\n---\n", AnnotationError),
        (
            "---\nconfigs:\n- config_name: a\n  data_files: [{split: train, path: ../x/*}]\n---\n",
            UnsafePathError,
        ),
        (
            "---\nconfigs:\n- config_name: a\n  data_files: [{split: train, path: none-*}]\n---\n",
            ReleaseNotFoundError,
        ),
        ("---\nconfigs:\n- config_name: a\n  data_files: README.md\n---\n", AnnotationError),
    ],
)
def test_a_card_that_cannot_be_followed_is_refused(tmp_path, card, error):
    """Nothing outside of the folder is read, and a file that is no Parquet is named."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text(card)
    with pytest.raises(error):
        export(folder, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_exports_and_says_what_it_did(built, tmp_path):
    """`irtd export` prints counts and a path, or JSON."""
    arguments = ["export", str(built), "instruct-grounding", "--to", "internvl", "--layout", "llama-factory"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    assert "Places rewritten" in result.output
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "b"), "--json"])
    assert json.loads(result.output)["rows"] == {"train": 8}
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "dataset_info.json",
        "export.json",
        "images",
        "images.csv",
        "train.jsonl",
    ]


def test_vlmevalkit_gets_a_line_for_each_round(built, tmp_path):
    """Each line has index, id, round, question and answer; an image stands once, later lines name its first index."""
    export(built, "instruct", tmp_path / "out", ExportOptions("qwen3-vl", "vlmevalkit"))
    (table,) = (tmp_path / "out").glob("*.tsv")
    assert table.name == "irtd_instruct_train.tsv"
    csv.field_size_limit(1 << 30)
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert [line["index"] for line in lines] == [str(number) for number in range(len(lines))]
    questions = read_questions(built, "instruct")
    assert {line["id"] for line in lines} == {one.id for one in questions}
    for line in lines:
        image = line["image"]
        while image.isdecimal():  # as VLMEvalKit looks it up
            assert int(image) < int(line["index"])
            image = lines[int(image)]["image"]
        assert len(image) > 64
        with Image.open(io.BytesIO(base64.b64decode(image, validate=True))) as opened:
            assert opened.mode in {"L", "RGB", "RGBA", "P"}


def test_predictions_of_vlmevalkit_are_scored(built, tmp_path):
    """Its table of predictions has the right answer in one column and the model's in another, which is read."""
    questions = read_questions(built, "instruct")
    with (tmp_path / "m_irtd.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("index", "id", "round", "task", "question", "answer", "prediction"))
        for index, one in enumerate(questions):
            writer.writerow((index, one.id, 0, one.task, "?", one.text, "I cannot tell."))
    scores = score_file(tmp_path / "m_irtd.tsv", built, "instruct", ScoringOptions(resamples=0))
    assert all(one.unreadable == one.questions for one in scores.tasks.values())
