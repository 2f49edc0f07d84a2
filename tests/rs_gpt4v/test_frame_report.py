from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from itertools import pairwise
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irtd_datasets.annotations.outline import outline_of
from irtd_datasets.boxes import Frame, convert, rounding_bound
from irtd_datasets.cli.app import app
from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError
from irtd_datasets.rows.frame_report import BoxSample, image_size, report_frames
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.schema import BOX_FRAMES
from irtd_datasets.writing.engine import build

CHECKOUT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("IRTD_REAL") or CHECKOUT.parent / "shared" / "real")
SCALES = [
    (Frame.SQUARE_UNIT, 2),
    (Frame.UNIT, 2),
    (Frame.SQUARE_UNIT, 3),
    (Frame.UNIT, 3),
    (Frame.PIXEL, 0),
    (Frame.PER_MILLE, 0),
    (Frame.SQUARE_PER_MILLE, 0),
]


def write(path, rows, frame, decimals):
    """A conversation for each of ``(image, pixels, size)``, with the box in a frame."""
    records = []
    for name, box, size in rows:
        numbers = convert([box], Frame.PIXEL, frame, *size)[0]
        text = f"[{', '.join(f'{number:.{decimals}f}' for number in numbers)}]"
        turns = [{"from": "human", "value": "Where is it?"}, {"from": "gpt", "value": text}]
        records.append({"image": name, "conversations": turns})
    path.write_text(json.dumps(records))
    return path


def made(folder, sizes, seed=0):
    """Twelve boxes on each of some images, spread up to all borders."""
    random = Random(seed)
    rows = []
    for number, (width, height) in enumerate(sizes):
        name = f"{number}.png"
        Image.new("L", (width, height)).save(folder / name)
        for _ in range(12):
            (x, right), (y, low) = (sorted(random.sample(range(side + 1), 2)) for side in (width, height))
            rows.append((name, [x, y, right, low], (width, height)))
        rows += [
            (name, [0, 0, 20, 20], (width, height)),
            (name, [width - 30, height - 30, width, height], (width, height)),
        ]
    return rows


WIDE, TALL = (160, 120), (120, 160)


@pytest.mark.parametrize(("frame", "decimals"), SCALES)
def test_every_frame_is_told(tmp_path, frame, decimals):
    """Boxes that fill images of both orientations tell the frame they are written in."""
    rows = made(tmp_path, [WIDE, TALL, WIDE, TALL])
    found = report_frames(write(tmp_path / "boxes.json", rows, frame, decimals))
    assert found.verdict == frame.value
    assert found.report.frame is frame
    assert (found.images, found.found, found.square, found.sampled) == (4, 4, 0, len(rows))


@pytest.mark.parametrize("frame", [Frame.UNIT, Frame.SQUARE_UNIT])
def test_square_images_cannot_tell(tmp_path, frame):
    """On square images the numbers of both units are the same, and the verdict says that nothing can tell them."""
    found = report_frames(write(tmp_path / "boxes.json", made(tmp_path, [(160, 160)] * 4), frame, 2))
    assert found.verdict == "undecidable: all images are square"
    assert found.square == 4


def test_percent_is_named(tmp_path):
    """Numbers from 0 to 100 are no known frame and are named."""
    rows = [(name, [100 * x for x in box], size) for name, box, size in made(tmp_path, [(900, 700)] * 4)]
    path = tmp_path / "boxes.json"
    write(path, rows, Frame.UNIT, 0)
    assert report_frames(path).verdict == "unknown: a 0-100 scale, which is not a known frame"


def test_without_images(tmp_path):
    """Without images there is no verdict, and the report says why."""
    (tmp_path / "images").mkdir()
    rows = made(tmp_path / "images", [WIDE])
    path = write(tmp_path / "boxes.json", rows, Frame.UNIT, 2)
    (tmp_path / "none").mkdir()
    assert "none of the images was found" in report_frames(path, tmp_path / "none").verdict
    assert report_frames(path, tmp_path / "images").verdict == "unit"


def test_names_with_other_folders_and_suffixes(tmp_path):
    """An image is found below the folder whatever stands before its name, and under another image suffix."""
    rows = made(tmp_path, [WIDE, TALL])
    rows = [(f"/home/author/data/x/{name.replace('png', 'jpeg')}", box, size) for name, box, size in rows]
    found = report_frames(write(tmp_path / "boxes.json", rows, Frame.UNIT, 2))
    assert (found.found, found.verdict) == (2, "unit")


def test_images_in_a_zip(tmp_path):
    """The images may lie in an archive."""
    rows = made(tmp_path, [WIDE, TALL])
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in ("0.png", "1.png"):
            archive.write(tmp_path / name, name)
            (tmp_path / name).unlink()
    found = report_frames(write(tmp_path / "boxes.json", rows, Frame.UNIT, 2), tmp_path / "p.zip")
    assert (found.found, found.verdict) == (2, "unit")


def test_names_do_not_leave_the_folder(tmp_path):
    """A name with `..` finds nothing outside the folder of the images."""
    (tmp_path / "in").mkdir()
    rows = [(f"../{name}", box, size) for name, box, size in made(tmp_path, [WIDE])]
    assert report_frames(write(tmp_path / "in/boxes.json", rows, Frame.UNIT, 2)).found == 0


def test_question_form_and_ir_td_grammar(tmp_path):
    """Questions as JSON lines and the tags of IR-TD are read, too."""
    Image.new("L", (640, 512)).save(tmp_path / "a.png")
    random = Random(1)
    lines = []
    for number in range(60):
        (x, right), (y, low) = (sorted(random.sample(range(side), 2)) for side in (640, 512))
        text = f"<box>[[{x}, {y}, {right}, {low}]]</box>"
        lines.append({"question_id": number, "image": "a.png", "text": "Where?", "answer": [text]})
    lines.append({"question_id": 60, "image": "a.png", "text": "Where?", "answer": "[1.2.3, 2, 3, 4]"})
    (tmp_path / "boxes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = report_frames(tmp_path / "boxes.jsonl")
    assert (found.form, found.verdict, found.places, found.unreadable) == (
        "question",
        "pixel",
        {"box": 60},
        1,
    )


def test_other_files(tmp_path):
    """An absent file and a list of other things are refused; a file without boxes has a verdict that says so."""
    with pytest.raises(ReleaseNotFoundError):
        report_frames(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    with pytest.raises(AnnotationError, match="none of its 1 records"):
        report_frames(tmp_path / "other.json")
    (tmp_path / "wrapped.json").write_text('{"data": [{"a": 1}]}')
    with pytest.raises(AnnotationError):
        report_frames(tmp_path / "wrapped.json")
    (tmp_path / "captions.json").write_text('[{"image_path": "a.jpg", "description": "A road."}]')
    assert report_frames(tmp_path / "captions.json").verdict == "undecidable: there are no boxes in this file"


def test_sample_is_bounded_and_spread():
    """Of many boxes a bounded number is kept: the first ones, and later ones at equal distances to the end."""
    sample = BoxSample(first=100, spread=50)
    for number in range(10_000):
        sample.add((float(number),), "a")
    kept = [int(numbers[0]) for numbers, _ in sample.rows]
    assert kept[:100] == list(range(100))
    later = kept[100:]
    assert 25 <= len(later) <= 50
    assert len({second - first for first, second in pairwise(later)}) == 1
    assert later[-1] > 9_500
    assert sample.count == 10_000


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_image_size_is_upright(suffix, orientation):
    """The size is that of the upright image, whatever the file says about its orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    kind = {"jpg": "JPEG", "png": "PNG", "tiff": "TIFF"}[suffix]
    Image.new("RGB", (60, 40)).save(file, kind, exif=exif)
    file.seek(0)
    assert image_size(file) == ((40, 60) if orientation in (6, 8) else (60, 40))


@given(st.binary(max_size=300))
def test_image_size_of_anything(data):
    """Whatever the bytes are, there is a size or None."""
    size = image_size(io.BytesIO(data))
    assert size is None or min(size) > 0


def test_image_size_reads_the_header_only():
    """Of a large image only the beginning is read."""
    file = io.BytesIO()
    Image.effect_noise((1500, 1200), 90).save(file, "JPEG", quality=95)
    assert len(file.getvalue()) > 500_000

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size=-1):
            data = super().read(size)
            self.taken += len(data)
            return data

    counting = Counting(file.getvalue())
    assert image_size(counting) == (1500, 1200)
    assert counting.taken < 100_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a[0.1,]<box>", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "image",
                    "images",
                    "conversations",
                    "messages",
                    "from",
                    "value",
                    "role",
                    "text",
                    "answer",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["image", "conversations", "messages", "text", "answer", "description"]), JSON
    )
)
def test_glance_never_fails(record):
    """A look at any JSON object gives texts or None, never an exception."""
    seen = outline_of(record)
    assert seen is None or all(isinstance(text, str) for text in [seen.image, seen.category, *seen.texts])


# The command


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "irtd_datasets", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )


def test_command(tmp_path):
    """`irtd frames` prints verdict, evidence and the share of each frame; `--json` the same as JSON."""
    path = write(tmp_path / "boxes.json", made(tmp_path, [WIDE, TALL, WIDE]), Frame.UNIT, 2)
    shown = run("frames", path, "--images", tmp_path)
    assert shown.returncode == 0, shown.stderr
    for text in (
        "verdict: unit",
        "lie wholly in the padding",
        "square_unit",
        "decimals needed",
        "of zero size",
    ):
        assert text in shown.stdout
    values = json.loads(run("frames", path, "--json").stdout)
    assert values["verdict"] == "unit"
    assert values["report"]["frame"] == "unit"
    assert values["report"]["legal"]["unit"] == 1.0


def test_command_with_nothing_to_tell(tmp_path):
    """A file without boxes gives valid JSON without NaN, and an absent file one line on standard error."""
    (tmp_path / "a.json").write_text('[{"image": "a.jpg", "text": "So?", "answer": "yes"}]')
    text = run("frames", tmp_path / "a.json", "--json").stdout
    assert json.loads(text, parse_constant=pytest.fail)["verdict"].startswith(
        "undecidable: there are no boxes"
    )
    missing = run("frames", tmp_path / "none.json")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no such file" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_command_options_of_a_dataset(tmp_path, capsys):
    """`--frame` and `--set` reach the release, and are refused for a dataset that has no such setting."""
    Image.new("L", (80, 60)).save(tmp_path / "a.png")
    write(tmp_path / "train.json", [("a.png", [20, 24, 40, 36], (80, 60))], Frame.UNIT, 2)
    app(["doctor", "rs_gpt4v", "--release", str(tmp_path), "--frame", "unit"], standalone_mode=False)
    assert "unit as given" in " ".join(capsys.readouterr().out.split())
    for arguments, text in (
        (("doctor", "irtd", "--release", tmp_path, "--frame", "unit"), "irtd has no setting 'frame'"),
        (("doctor", "rs_gpt4v", "--release", tmp_path, "--set", "unit"), "--set 'unit' names no setting"),
        (("build", "rs_gpt4v", "default", "--release", tmp_path, "--frame", "x"), "there is no frame 'x'"),
    ):
        result = run(*arguments)
        assert result.returncode == 2
        assert text in result.stderr


# Boxes of real datasets


def hit_uav():
    for path in sorted((REAL / "hit-uav/normal_xml/Annotations").rglob("*.xml")):
        root = ET.parse(path).getroot()
        for one in root.iter("object"):
            box = one.find("bndbox")
            yield (
                root.findtext("filename"),
                [float(box.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax")],
                (640, 512),
            )


def simd():
    for path in sorted((REAL / "simd").rglob("*.txt")):
        if not path.with_suffix(".jpg").is_file():
            continue
        with Image.open(path.with_suffix(".jpg")) as image:
            width, height = image.size
        for line in path.read_text().splitlines():
            if len(fields := line.split()) == 5:
                x, y, w, h = (float(field) for field in fields[1:])
                box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
                yield path.with_suffix(".jpg").name, box, (width, height)


def nwpu():
    whole = json.loads((REAL / "nwpu-vhr10/NWPU VHR-10_dataset_coco/annotations.json").read_text())
    images = {image["id"]: image for image in whole["images"]}
    for annotation in whole["annotations"]:
        image, (x, y, w, h) = images[annotation["image_id"]], annotation["bbox"]
        yield image["file_name"], [x, y, x + w, y + h], (image["width"], image["height"])


SETS = {
    "hit-uav": (hit_uav, "hit-uav/normal_xml/JPEGImages"),
    "simd": (simd, "simd/images"),
    "nwpu-vhr10": (nwpu, "nwpu-vhr10/NWPU VHR-10_dataset_coco/positive image set"),
}


def need(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"no real files at {REAL / name}")


@pytest.mark.parametrize(("frame", "decimals"), SCALES)
@pytest.mark.parametrize("name", SETS)
def test_real_boxes(tmp_path, name, frame, decimals):
    """The boxes of HIT-UAV, SIMD and NWPU VHR-10, written in each frame, are told to be in that frame."""
    need(name)
    boxes, images = SETS[name]
    found = report_frames(write(tmp_path / "boxes.json", list(boxes()), frame, decimals), REAL / images)
    assert found.found == found.images > 0
    assert found.verdict == frame.value


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("nwpu-vhr10/NWPU VHR-10_dataset_coco/annotations.json", None),
        ("hit-uav/normal_json/annotations/train.json", "hit-uav/normal_json/train"),
        ("hrsid/modified-HRSID/Annotations/inshore/inshore_test.json", "hrsid/modified-HRSID/JPEGImages"),
    ],
)
def test_real_coco_files(file, images):
    """Real COCO files are read as they are and are in pixels."""
    need(file.partition("/")[0])
    found = report_frames(REAL / file, None if images is None else REAL / images)
    assert (found.form, found.verdict) == ("coco", "pixel")


@pytest.mark.parametrize("frame", [Frame.SQUARE_UNIT, Frame.UNIT])
@pytest.mark.parametrize("name", SETS)
def test_real_boxes_come_back_through_the_build(tmp_path, name, frame):
    """Real boxes written with two decimals come back as pixels within the rounding, in the frame the check found."""
    need(name)
    boxes, images = SETS[name]
    rows = list(boxes())
    (tmp_path / "release").mkdir()
    write(tmp_path / "release/train.json", rows, frame, 2)
    options = absolute_options(tmp_path / "release", {"": REAL / images})
    build("rs_gpt4v", ["grounding"], options, tmp_path / "out")
    found = {}
    for path in (tmp_path / "out").glob("*/*/*.parquet"):
        for row in pq.read_table(path, columns=["id", "objects", "box_frame", "issues"]).to_pylist():
            found[int(row["id"].rpartition("/")[2])] = row
    assert len(found) == len(rows)
    for number, (_, box, size) in enumerate(rows):
        row = found[number]
        assert BOX_FRAMES[row["box_frame"]] == frame.value
        bound = rounding_bound(frame, 2, *size) + 1e-2
        assert (
            max(abs(one - other) for one, other in zip(row["objects"]["box"][0], box, strict=True)) <= bound
        )
        assert set(row["issues"]) <= {"box-degenerate"}  # two decimals can leave a small box without area


@pytest.mark.parametrize("frame", [Frame.SQUARE_UNIT, Frame.UNIT])
def test_real_dior_rsvg(tmp_path, frame):
    """The real image of DIOR-RSVG is square: its box comes back right from either unit, with no frame given."""
    need("dior-rsvg")
    root = ET.parse(next((REAL / "dior-rsvg").rglob("Annotations/00001.xml"))).getroot()
    image = next((REAL / "dior-rsvg").rglob("00001.jpg"))
    one = next(root.iter("object"))
    box = [float(one.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
    write(tmp_path / "train.json", [(f"DIOR-RSVG/{image.name}", box, (800, 800))], frame, 2)
    options = absolute_options(tmp_path, {"DIOR-RSVG": image.parent})
    build("rs_gpt4v", ["default"], options, tmp_path / "out")
    (row,) = pq.read_table(next((tmp_path / "out").glob("*/*/*.parquet"))).to_pylist()
    assert (row["source"], row["width"], row["height"]) == ("DIOR-RSVG", 800, 800)
    assert max(abs(a - b) for a, b in zip(row["objects"]["box"][0], box, strict=True)) <= 4.01
    assert row["issues"] == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<loc0100><loc0164><loc0180><loc0256> car", "PaliGemma, 0 to 1023 of height and width, y before x"),
        ("car<loc_100><loc_164><loc_180><loc_256>", "Florence-2"),
        ("<p>car</p> {<10><20><90><80>|<45>}", "GeoChat"),
    ],
)
def test_markup_that_fixes_its_frame_is_named(tmp_path, answer, words):
    """A file whose boxes can have one frame only is told by the name of its markup, with the number of places."""
    record = {"id": "0", "image": "0.png", "conversations": [{"from": "human", "value": "<image>\nWhere?"}]}
    record["conversations"].append({"from": "gpt", "value": answer})
    (tmp_path / "a.json").write_text(json.dumps([record] * 3))
    found = report_frames(tmp_path / "a.json")
    assert found.verdict.startswith("its own: ")
    assert words in found.verdict
    assert (found.places, sum(found.own_frame.values()), found.unreadable) == ({"box": 3}, 3, 0)


def test_boxes_in_the_tokens_of_qwen_are_looked_at(tmp_path):
    """Markup that fixes no frame is sampled like any other, and what cannot be read is said."""
    turns = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": ""}]
    for answer, places, words in (
        ("<|box_start|>(100,200),(900,800)<|box_end|>", {"box": 1}, "none of the images was found"),
        ("<box>[[1, 2, x, 4]]</box>", {}, "1 places look like boxes, and none can be read"),
    ):
        turns[1]["value"] = answer
        (tmp_path / "a.json").write_text(json.dumps([{"id": "0", "image": "0.png", "conversations": turns}]))
        found = report_frames(tmp_path / "a.json")
        assert found.places == places
        assert words in found.verdict


def test_oriented_boxes_of_coco_files_are_looked_at(tmp_path):
    """Five numbers are centre, size and angle of an oriented box; one that cannot be read or is missing is counted."""
    boxes = [[100, 80, 40, 20, 0.5], [300, 200, 60, 30, 0], [10, 10, 5, 5], [1, 2, 3], ["a", 1, 2, 3], None]
    whole = {
        "images": [{"id": 1, "filename": "a.png", "width": 640, "height": 512}],
        "annotation": [{"image_id": 1, "bbox": box} if box else {"image_id": 1} for box in boxes],
    }
    (tmp_path / "a.json").write_text(json.dumps(whole))
    found = report_frames(tmp_path / "a.json")
    assert (found.form, found.places, found.unreadable) == ("coco", {"polygon": 2, "box": 1}, 3)
    assert found.sampled == 3
