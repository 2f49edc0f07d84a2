"""Constructed records of pairs: registered first, cut to the common view with their labels, refused pairs not asked."""

import base64
import hashlib
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from chat_server import chat_server
from pair_scenes import LEFT, TOP, encoded, wide_pair
from PIL import Image
from processes import irtd_here
from source_sets import voc

from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.captioning.brighten import brighten
from irtd_datasets.captioning.journal import read_answers
from irtd_datasets.construct.pairing import cut_labels

TABLE = """\
name,reader,infrared,visible,alignment,labels,splits,exhaustive,tasks
rig,voc,ir/{split:train|test}/{stem}.*,vi/{split}/{stem}.*,unaligned,labels/{stem}.xml,,"person,car",\
"caption,location,grounding"
"""
# In pixels of the wide image; what the narrow camera sees begins at (LEFT, TOP) and has 640 x 512 of them.
OBJECTS = [("person", (100, 90, 160, 240)), ("car", (420, 300, 560, 400)), ("car", (2, 2, 40, 30))]


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The suite runs offline; these tests talk to loopback only."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """A set whose infrared camera sees more than the visible one; the second pair is of two scenes, the third dark."""
    folder = tmp_path_factory.mktemp("rig")
    (folder / "table.csv").write_text(TABLE)
    for index in range(4):
        narrow, wide = wide_pair(index)
        grey = np.asarray(Image.open(io.BytesIO(wide)).convert("L").resize((640 + 2 * LEFT, 512 + 2 * TOP)))
        visible = wide_pair(40)[0] if index == 1 else narrow
        if index == 2:
            visible = encoded((np.asarray(Image.open(io.BytesIO(narrow))) // 12).astype(np.uint8))
        split = "test" if index == 3 else "train"
        for side, data in (("ir", encoded(grey)), ("vi", visible)):
            file = folder / "sources" / "rig" / side / split / f"p{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        labels = folder / "sources" / "rig" / "labels" / f"p{index}.xml"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text(voc(OBJECTS, (640 + 2 * LEFT, 512 + 2 * TOP)))
    return folder


def construct(rig, out, subset, *more):
    done = irtd_here(
        *("construct", "irtd", subset, "--sources", rig / "sources", "--source-table", rig / "table.csv"),
        *("--out", out, "--json", *more),
    )
    assert done.returncode == 0, done.stderr
    rows = [row for file in sorted(out.rglob("*-of-*.parquet")) for row in pq.read_table(file).to_pylist()]
    return json.loads(done.stdout), [row for row in rows if f"/{subset}/" in row["id"]]


def test_a_model_is_sent_what_the_row_shows(rig, tmp_path):
    """The common view is sent, byte for byte as the row has it; refused pairs are not asked about, and counted."""
    with chat_server() as server:
        more = ("--captions", "llm", "--endpoint", server.url, "--model", "vl", "--yes")
        result, rows = construct(rig, tmp_path / "irtd", "pretrain", *more)
        urls = [body["messages"][0]["content"][0]["image_url"]["url"] for body in server.bodies]
        facts = [body["messages"][0]["content"][1]["text"] for body in server.bodies]
    sent = {hashlib.sha256(base64.b64decode(url.partition(",")[2])).hexdigest() for url in urls}
    assert result["tasks"]["model_captions"]["sources"]["rig"]["rejected"] == {"pair refused-not-sure": 1}
    assert len(urls) == 2
    by_image = {row["image"]["path"].rpartition("/")[2]: row for row in rows}
    bright, dark, refused = by_image["p0.png"], by_image["p2.png"], by_image["p1.png"]
    for row in (bright, dark):
        assert (row["origin"], row["registration"]["status"]) == ("model:vl", "cropped")
        assert abs(row["width"] - 640) <= 8
        assert abs(row["height"] - 512) <= 8
        assert "cut to what its visible partner shows" in row["image_note"]
        (noted,) = [one["value"] for one in row["corrections"] if one["field"] == "record.sent_sha256"]
        assert noted in sent
        size = Image.open(io.BytesIO(row["visible"]["bytes"])).size
        assert abs(size[0] - row["width"]) <= 8
    assert hashlib.sha256(bright["visible"]["bytes"]).hexdigest() in sent
    assert hashlib.sha256(dark["visible"]["bytes"]).hexdigest() not in sent  # it was brightened
    assert all(
        "1 car" in text and "1 person" in text for text in facts
    )  # the car in the corner is not in view
    assert (refused["origin"], refused["visible"]) == ("rule", None)
    assert refused["registration"]["status"] == "refused-not-sure"
    assert refused["width"] == 640 + 2 * LEFT
    assert {answer.sent for answer in read_answers(tmp_path / "irtd.captions.jsonl")} == sent


def test_labels_move_with_the_image(rig, tmp_path):
    """In a cut image points and boxes of the text are where the objects are, and an object outside is not spoken of."""
    _, rows = construct(rig, tmp_path / "irtd", "benchmark")
    cut = [row for row in rows if row["registration"]["status"] == "cropped"]
    assert cut
    for row in cut:
        left, top = row["registration"]["image_box"][:2]
        for kind in ("box", "point"):
            for place in row["objects"][kind]:
                x, y = np.array(place).reshape(-1, 2).mean(0) + np.array([left, top])
                inside = [label for label, (x0, y0, x1, y1) in OBJECTS if x0 <= x <= x1 and y0 <= y <= y1]
                assert inside
        assert row["origin"] == "rule"


def test_workers_register_pairs_and_change_nothing(rig, tmp_path):
    """With processes that register ahead, the records and rows are the same, byte for byte."""
    counts = []
    for workers in (1, 2):
        result, _ = construct(rig, tmp_path / str(workers), "benchmark", "--workers", workers)
        counts.append(result["tasks"])
    assert counts[0] == counts[1]
    files = [
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name).rglob("*.parquet")
        }
        for name in ("1", "2")
    ]
    assert files[0] == files[1]
    assert files[0]


def test_objects_at_the_edge_of_a_cut():
    """An object mostly inside is cut at the edge, one mostly outside makes counts unsafe, one outside is forgotten."""
    objects = (
        LabelledObject("car", (80, 80, 130, 130)),
        LabelledObject("bus", (90, 10, 130, 30)),
        LabelledObject("bike", (300, 300, 320, 320)),
        LabelledObject("dog", point=(20.0, 30.0)),
    )
    image = LabelledImage("s", "a.png", objects, exhaustive=frozenset({"car"}))
    inside = cut_labels(image, (10, 10, 120, 120))
    assert [item.label for item in inside.objects] == ["car", "bus", "dog"]
    assert inside.objects[0].box == (70, 70, 110, 110)
    assert inside.objects[2].point == (10, 20)
    assert inside.exhaustive == {"car"}
    less = cut_labels(image, (10, 10, 100, 100))
    assert [item.label for item in less.objects] == ["dog"]
    assert less.unclear
    assert not less.exhaustive


def test_dark_images_are_brightened_and_noise_is_not():
    """A dark scene gets a usable mean; black and noise alone stay as they are."""
    dark = Image.open(io.BytesIO(wide_pair(1)[0])).point(lambda value: value // 14).convert("RGB")
    assert np.asarray(dark).mean() < 12
    assert 80 < np.asarray(brighten(dark)).mean() < 150
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 9, (120, 160, 3), np.uint8))
    for image in (noise, Image.new("RGB", (64, 48))):
        assert brighten(image) is image
