"""Exports and chat forms for models that take two images: the partner comes second, with a token of its own."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from pair_scenes import encoded
from PIL import Image

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.training.chat import chat
from irtd_datasets.training.export import ExportOptions, export_rows

TURNS = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A car."}]


def row(number, *, paired):
    grey = encoded(np.full((48, 64), number, np.uint8))
    colour = encoded(np.full((96, 128, 3), number, np.uint8))
    return {
        "id": f"x/{number}", "messages": TURNS, "box_frame": None, "width": 64, "height": 48,
        "image": {"bytes": grey, "path": "a.png"},
        "visible": {"bytes": colour, "path": "a.png"} if paired else None,
    }  # fmt: skip


ROWS = [row(0, paired=True), row(1, paired=False)]


@pytest.mark.parametrize("layout", ["jsonl", "ms-swift", "llama-factory"])
@pytest.mark.parametrize("partners", [False, True])
def test_files_name_both_images(layout, partners, tmp_path):
    """With partners a pair has two paths and two tokens, a row without a partner one; without them all have one."""
    report = export_rows(ROWS, tmp_path / "out", ExportOptions(layout=layout, partners=partners))
    records = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    for record, paired in zip(sorted(records, key=lambda one: one["id"]), (partners, False), strict=True):
        images = record.get("images") or record["image"]
        images = [images] if isinstance(images, str) else images
        turn = (record.get("messages") or record["conversations"])[0]
        assert (turn.get("content") or turn["value"]).count("<image>") == len(images) == 1 + paired
        sizes = [Image.open(io.BytesIO((tmp_path / "out" / name).read_bytes())).size for name in images]
        assert sizes == [(64, 48), (128, 96)][: 1 + paired]
    assert (report.pairs, report.paired) == ((1, 0) if partners else (0, 1))


def test_parquet_holds_both_images(tmp_path):
    """Inside Parquet the partner is the second of the row's images."""
    options = ExportOptions(layout="llama-factory", images="parquet", partners=True)
    export_rows(ROWS, tmp_path / "out", options)
    (file,) = (tmp_path / "out" / "train").glob("*.parquet")
    assert [len(one["images"]) for one in pq.read_table(file).to_pylist()] == [2, 1]


def test_one_image_is_one_image():
    """A layout that has room for one image a row refuses partners."""
    with pytest.raises(UnknownNameError, match="one image a row"):
        ExportOptions(layout="vlmevalkit", partners=True)


@pytest.mark.parametrize("form", ["trl", "trl-prompt", "transformers", "llava"])
def test_chat_forms_take_the_partner(form):
    """Each form has the infrared image first and its partner second."""
    made = chat(ROWS[0], form, partners=True)
    if form == "transformers":
        images = [part["image"] for part in made["messages"][0]["content"] if part["type"] == "image"]
    else:
        images = made.get("images") or made["image"]
    assert [image.size for image in images] == [(64, 48), (128, 96)]
    if form == "llava":
        assert made["conversations"][0]["value"].startswith("<image>\n<image>\n")
    alone, plain = chat(ROWS[1], form, partners=True), chat(ROWS[1], form)
    assert alone.keys() == plain.keys()
    assert str(alone.get("conversations")) == str(plain.get("conversations"))
