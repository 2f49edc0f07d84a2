"""Overlap finds the same image in other encodings, tells certain from similar, and its filter leaves rows out."""

import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from irtd_datasets import not_in
from irtd_datasets.cli.app import app
from irtd_datasets.errors import AnnotationError, ImageError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.hub.image_hash import FLAT, hamming, look, near_pairs, pixel_digest
from irtd_datasets.hub.overlap import KINDS, MAX_DISTANCE, NotIn, find_overlap
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.writing.engine import build

REAL = Path(os.environ.get("IRTD_REAL", Path(__file__).resolve().parents[2] / ".." / "shared" / "real"))


def scene(seed, size=(160, 128)):
    """A smooth random image with a few hard-edged things on it."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).copy()
    for _ in range(6):
        x, y = random.integers(0, size[0] - 20), random.integers(0, size[1] - 20)
        pixels[y : y + 18, x : x + 18] = random.integers(0, 256)
    return Image.fromarray(pixels)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def row(row_id, data, source="S"):
    return {"id": row_id, "image": {"bytes": data, "path": None}, "source": source}


CHANGES = {
    "jpeg": lambda image: encoded(image, "JPEG", quality=75),
    "half": lambda image: encoded(image.resize((image.width // 2, image.height // 2)), "JPEG", quality=85),
    "larger": lambda image: encoded(image.resize((image.width * 2, image.height * 2))),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.12), "JPEG", quality=90),
    "coloured": lambda image: encoded(image.convert("RGB"), "JPEG", quality=90),
}
OTHERS = {
    "mirrored": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "upside down": lambda image: encoded(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
    "turned": lambda image: encoded(image.transpose(Image.Transpose.ROTATE_90)),
    "cropped": lambda image: encoded(image.crop((30, 30, image.width, image.height))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_encoding_of_an_image_is_similar(change):
    """Re-encoded, resized, brightened or coloured: found, with its distance, and not called certain."""
    for seed in range(8):
        image = scene(seed)
        found = find_overlap([row("a", encoded(image))], [row("b", CHANGES[change](image))])
        assert found.rows == {"bytes": 0, "pixels": 0, "similar": 1}, seed
        (match,) = found.table.to_pylist()
        assert (match["id"], match["other_id"], match["kind"]) == ("a", "b", "similar")
        assert 0 <= match["distance"] <= MAX_DISTANCE


@pytest.mark.parametrize("change", OTHERS)
def test_a_mirrored_turned_or_cropped_image_is_another(change):
    """What is not the same view is not a match."""
    for seed in range(8):
        image = scene(seed)
        found = find_overlap([row("a", encoded(image))], [row("b", OTHERS[change](image))])
        assert sum(found.rows.values()) == 0, seed


def test_different_scenes_are_far_apart():
    """Of 60 different scenes no two match."""
    rows = [row(str(seed), encoded(scene(seed))) for seed in range(60)]
    assert sum(find_overlap(rows[:30], rows[30:]).rows.values()) == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda image: encoded(image, "PNG", compress_level=1),
        lambda image: encoded(image, "BMP"),
        lambda image: encoded(image, "TIFF"),
        lambda image: encoded(image.convert("RGB")),
        lambda image: encoded(image.convert("RGBA")),
        lambda image: encoded(image.convert("P")),
    ],
)
def test_the_same_pixels_in_another_encoding_are_certain(other):
    """Any lossless encoding of the same pixels is a match of kind `pixels`, from files and from rows alike."""
    image = scene(1)
    assert other(image) != encoded(image)
    found = find_overlap([row("a", encoded(image))], [row("b", other(image))])
    assert found.rows == {"bytes": 0, "pixels": 1, "similar": 0}


def test_a_jpeg_and_its_decoded_pixels_are_certain():
    """The look of a JPEG is read at a fraction of its size; its pixels are found equal all the same."""
    for seed in range(8):
        jpeg = encoded(scene(seed, (640, 512)), "JPEG")
        with Image.open(io.BytesIO(jpeg)) as opened:
            decoded = encoded(opened)
        assert find_overlap([row("a", jpeg)], [row("b", decoded)], max_distance=0).rows["pixels"] == 1


def test_one_bit_of_one_pixel_is_another_image():
    """A digest of pixels is exact."""
    image = scene(2)
    other = image.copy()
    other.putpixel((0, 0), image.getpixel((0, 0)) ^ 1)
    assert pixel_digest(encoded(image)) != pixel_digest(encoded(other))
    assert pixel_digest(encoded(image)) != pixel_digest(encoded(image.resize((image.height, image.width))))
    wide = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    assert pixel_digest(encoded(wide)) != pixel_digest(encoded(image))


def test_sixteen_bits_look_like_their_eight_bit_copy():
    """A raw infrared frame and the 8-bit copy that was stretched from it are similar."""
    image = scene(3)
    wide = Image.fromarray((np.asarray(image).astype(np.uint16) * 11) + 7000)
    found = find_overlap([row("a", encoded(wide))], [row("b", encoded(image))])
    assert found.rows["similar"] == 1


def test_video_frames_are_reported_with_their_distance():
    """Neighbouring frames of one scene are similar, not certain, and can be told apart by distance."""
    wide = scene(4, (400, 128))
    frames = [encoded(wide.crop((shift, 0, shift + 320, 128))) for shift in (0, 1, 2, 3)]
    found = find_overlap([row("a", frames[0])], [row("b", frames[1])])
    assert found.rows["similar"] == 1
    near, far = (hamming_of(frames[0], frames[index]) for index in (1, 3))
    assert near <= far


def hamming_of(one, two):
    bits = (np.array([look(data).bits], np.uint64) for data in (one, two))
    return int(hamming(*bits)[0])


def test_images_of_one_colour_are_not_compared_by_their_look():
    """The bits of a featureless image are noise: it matches by its bytes and pixels only, and is counted."""
    flat = [Image.new("L", (64, 64), value) for value in (10, 90)]
    a, b = encoded(flat[0]), encoded(flat[1])
    assert look(a).contrast < FLAT
    found = find_overlap([row("a", a)], [row("b", b), row("c", a)])
    assert found.rows == {"bytes": 1, "pixels": 0, "similar": 0}
    assert (found.a.featureless, found.b.featureless) == (1, 2)


def test_broken_and_missing_images_are_counted():
    """Bytes that are no image match by their bytes only; a row without an image matches nothing."""
    rows = [row("a", b"no image"), {"id": "b", "image": None}, row("c", encoded(scene(5))[:300])]
    found = find_overlap(rows, [row("d", b"no image"), {"id": "e", "image": None}])
    assert [match["id"] for match in found.table.to_pylist()] == ["a"]
    assert (found.a.rows, found.a.images, found.a.undecodable, found.a.without_image) == (3, 2, 2, 1)
    with pytest.raises(ImageError):
        look(b"no image")


def test_rows_of_one_image_all_match_and_the_nearest_is_named():
    """Every row that shows a shared image is listed; the certain match wins over the similar one."""
    image = scene(6)
    other = [
        row("near", CHANGES["half"](image)),
        row("pixels", encoded(image, "BMP")),
        row("same", encoded(image)),
    ]
    rows = [row("a/1", encoded(image)), row("a/2", encoded(image)), row("x", encoded(scene(7)))]
    for count, (kind, name) in enumerate((("similar", "near"), ("pixels", "pixels"), ("bytes", "same")), 1):
        found = find_overlap(rows, other[:count])
        assert found.rows[kind] == 2
        assert found.images[kind] == 1
        assert [(m["id"], m["other_id"]) for m in found.table.to_pylist()] == [("a/1", name), ("a/2", name)]


def test_sources_are_compared_whatever_their_spelling():
    """DIOR-RSVG and DIOR_RSVG are one source; rows of each side and those matched are counted."""
    image = encoded(scene(8))
    a = [row("1", image, "DIOR-RSVG"), row("2", encoded(scene(9)), "DIOR-RSVG"), row("3", image, None)]
    found = find_overlap(a, [row("4", image, "DIOR_RSVG"), row("5", image, "other")])
    (shared,) = found.sources
    assert (shared.source, shared.other_source) == ("DIOR-RSVG", "DIOR_RSVG")
    assert (shared.rows, shared.other_rows, shared.matched) == (2, 1, 1)
    assert [match["source"] for match in found.table.to_pylist()] == ["DIOR-RSVG", None]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 15), st.integers(0, 60), st.integers(0, 60))
def test_the_search_finds_what_comparing_all_finds(seed, limit, count, other_count):
    """Exactly the pairs of a full comparison, each once, with the right distance."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**64, 4, dtype=np.uint64)

    def near(size):
        flips = (np.uint64(1) << random.integers(0, 64, (size, 12), dtype=np.uint64)) * (
            random.random((size, 12)) < 0.5
        ).astype(np.uint64)
        return random.choice(centres, size) ^ np.bitwise_xor.reduce(flips, axis=1)

    one, two = near(count), near(other_count)
    found = [
        (int(a), int(b), int(d))
        for block in near_pairs(one, two, limit)
        for a, b, d in zip(*block, strict=True)
    ]
    wanted = {
        (i, j): (int(one[i]) ^ int(two[j])).bit_count()
        for i, j in itertools.product(range(count), range(other_count))
    }
    assert len(found) == len({pair[:2] for pair in found})
    assert {pair[:2]: pair[2] for pair in found} == {k: v for k, v in wanted.items() if v <= limit}


def test_a_distance_that_would_match_everything_is_refused():
    """Up to 15 of 64 bits; two strangers differ in 32."""
    with pytest.raises(ImageError, match="0 to 15"):
        list(near_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), 16))


@pytest.mark.slow
def test_a_hundred_thousand_by_a_hundred_thousand_takes_seconds():
    """The search over hashes as real ones are, half of their bits set, is fast and finds what was planted."""
    random = np.random.default_rng(0)
    order = random.random((200_000, 64)).argsort(axis=1) < 32
    hashes = np.packbits(order, axis=1).view(np.uint64).ravel()
    one, two = hashes[:100_000], hashes[100_000:].copy()
    two[:500] = one[:500] ^ np.uint64(0b1000000001)
    start = time.perf_counter()
    found = sum(len(a) for a, _, _ in near_pairs(one, two, MAX_DISTANCE))
    assert found >= 500
    assert time.perf_counter() - start < 20


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset folder of the sample release."""
    root = tmp_path_factory.mktemp("overlap")
    write_sample_release("irtd", root / "release", rows=120)
    build("irtd", ["instruct"], absolute_options(root / "release"), root / "irtd")
    return root / "irtd"


def ids(folder, part):
    files = sorted((folder / "instruct" / part).glob("*.parquet"))
    return [one["id"] for file in files for one in pq.read_table(file, columns=["id"]).to_pylist()]


def test_folders_are_compared_by_part(built):
    """Grounding and Location of IR-TD are about the same frames; Re-ID is not."""
    found = find_overlap(built, built, parts=("instruct-grounding", "instruct-location/train"), workers=2)
    assert found.rows == {"bytes": len(ids(built, "grounding")), "pixels": 0, "similar": 0}
    assert found.a.rows == len(ids(built, "grounding"))
    found = find_overlap(built, built, parts=("instruct-grounding", "instruct-reid"))
    assert found.rows["bytes"] == 0
    whole = find_overlap(built, built, parts=(None, "instruct-grounding"))
    assert whole.a.rows == sum(len(ids(built, path.name)) for path in (built / "instruct").iterdir())


def test_pixels_are_read_again_from_the_folder(built, tmp_path):
    """A folder's images are decoded in full only where one looks like another: rows in BMP match by pixels."""
    rows = []
    for number, one in enumerate(
        pq.read_table(next((built / "instruct" / "grounding").iterdir())).to_pylist()
    ):
        with Image.open(io.BytesIO(one["image"]["bytes"])) as image:
            rows.append(row(f"bmp/{number}", encoded(image, "BMP")))
    found = find_overlap(rows, built, parts=(None, "instruct-grounding"))
    assert found.rows == {"bytes": 0, "pixels": len(rows), "similar": 0}
    assert find_overlap(built, rows, parts=("instruct-grounding", None)).rows["pixels"] == len(rows)


@pytest.mark.parametrize("name", ["filter.parquet", "filter.csv"])
def test_the_filter_leaves_out_what_was_found(built, tmp_path, name):
    """Written, read back and given to `datasets`, the filter keeps the rows that the other does not have."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    found = find_overlap(built, built, parts=("instruct-location", "instruct-grounding"))
    found.save(tmp_path / name)
    keep = not_in(tmp_path / name)
    assert len(keep) == found.rows["bytes"] > 0
    loaded = datasets.load_dataset(
        str(built), "instruct-location", split="train", cache_dir=str(tmp_path / "cache")
    )
    kept = loaded.filter(keep, input_columns=["id"])
    matched = {match["id"] for match in found.table.to_pylist()}
    assert kept["id"][:] == [one for one in ids(built, "location") if one not in matched]
    assert 0 < kept.num_rows < loaded.num_rows
    assert [one for one in ids(built, "location") if found.keep()({"id": one})] == kept["id"][:]


def test_a_filter_can_be_narrowed_to_what_is_certain(tmp_path):
    """Kinds and distances are chosen when the filter is read."""
    image = scene(10)
    rows = [row("same", encoded(image)), row("similar", CHANGES["half"](image))]
    found = find_overlap(rows, [row("b", encoded(image))])
    found.save(tmp_path / "filter.parquet")
    (distance,) = found.distances
    for options, dropped in (
        ({}, {"same", "similar"}),
        ({"kinds": ["bytes", "pixels"]}, {"same"}),
        ({"kinds": "similar"}, {"similar"}),
        ({"max_distance": distance}, {"same", "similar"}),
        ({"max_distance": distance - 1}, {"same"} if distance else set()),
    ):
        keep = not_in(tmp_path / "filter.parquet", **options)
        assert {name for name in ("same", "similar") if not keep(name)} == dropped
    with pytest.raises(UnknownNameError, match="bytes, pixels, similar"):
        not_in(tmp_path / "filter.parquet", kinds=["sure"])


def test_a_filter_goes_to_other_processes_and_keeps_its_identity():
    """It is the same bytes in every run, so that the cache of `datasets` knows it again."""
    program = (
        "import pickle, sys; from irtd_datasets.hub.overlap import NotIn;"
        "sys.stdout.write(pickle.dumps(NotIn(str(i) for i in range(50))).hex())"
    )
    dumps = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(dumps) == 1
    keep = pickle.loads(bytes.fromhex(dumps.pop()))
    assert isinstance(keep, NotIn)
    assert (keep("49"), keep({"id": "50"})) == (False, True)


@pytest.mark.parametrize("content", [b"id,kind\nx,bytes\n", b"id,kind,distance\nx,bytes,far\n", b"\xff\xfe"])
def test_a_file_that_is_no_filter_is_refused(tmp_path, content):
    """The message says how to make one."""
    for name in ("filter.csv", "filter.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AnnotationError, match="irtd overlap"):
            not_in(tmp_path / name)
    with pytest.raises(AnnotationError):
        not_in(tmp_path / "absent.parquet")


def test_rows_with_decoded_images_are_refused():
    """The remedy is named."""
    with pytest.raises(AnnotationError, match="decode=False"):
        find_overlap([{"id": "1", "image": scene(1)}], [])


def test_wrong_folders_and_parts_are_named(built, tmp_path):
    """The message says what is there."""
    with pytest.raises(ReleaseNotFoundError):
        find_overlap(tmp_path, built)
    with pytest.raises(UnknownNameError, match="train"):
        find_overlap(built, built, parts=("instruct/test", None))


def test_nothing_against_nothing():
    """Empty input gives an empty table with its columns."""
    found = find_overlap([], [])
    assert found.table.num_rows == 0
    assert found.as_dict()["rows"] == dict.fromkeys(KINDS, 0)
    assert sum(find_overlap([row("a", encoded(scene(1)))], []).rows.values()) == 0


def test_the_command_reports_and_writes_the_filter(built, tmp_path):
    """`irtd overlap` prints tables or JSON, and writes what `irtd export --without` takes."""
    arguments = ["overlap", str(built), str(built), "--a", "instruct-location", "--b", "instruct-grounding"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "filter.parquet")])
    assert result.exit_code == 0, result.output
    assert "FLIR_ADAS" in result.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert (
        found["rows"]["bytes"] == len(found["matches"]) == pq.read_table(tmp_path / "filter.parquet").num_rows
    )
    export = [
        "export",
        str(built),
        "instruct-location",
        "--to",
        "llava",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    result = CliRunner().invoke(app, [*export, "--without", str(tmp_path / "filter.parquet")])
    assert json.loads(result.output)["left_out"] == {"filtered": found["rows"]["bytes"]}


def images(*patterns):
    files = sorted(file for pattern in patterns for file in REAL.glob(pattern))
    if not files:
        pytest.skip(f"no images at {REAL}/{patterns[0]}")
    return [row(str(file.relative_to(REAL)), file.read_bytes(), file.parent.name) for file in files]


def test_real_frames_of_different_sets_do_not_match():
    """Thermal frames of FLIR, aerial ones of HIT-UAV, optical tiles of RSSCN7 and NWPU VHR-10: all different."""
    patterns = ("roadscene/**/infrared/*.png", "hit-uav/**/*.jpg", "rsscn7/**/*.jpg", "nwpu-vhr10/**/*.jpg")
    sets = [images(pattern)[:20] for pattern in patterns]
    for number, one in enumerate(sets):
        others = [image for other in sets[number + 1 :] for image in other]
        assert sum(find_overlap(one, others).rows.values()) == 0


def test_real_images_are_found_in_other_encodings():
    """RSICD, UCM and Sydney tiles and FLIR frames: re-encoded, all found; their own set has no other copy."""
    rows = images("jbarata-captions/**/*.jpg", "jbarata-captions/**/*.tif", "roadscene/**/infrared/*.png")
    copies = []
    for one in rows:
        with Image.open(io.BytesIO(one["image"]["bytes"])) as image:
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            copies.append(row(f"copy/{one['id']}", encoded(plain, "JPEG", quality=80)))
    found = find_overlap(copies, rows)
    assert found.rows["similar"] == len(rows)
    assert all(match["id"] == f"copy/{match['other_id']}" for match in found.table.to_pylist())


def test_real_sets_that_share_images():
    """SIRST-V2 holds NUAA-SIRST's frames in another encoding; a copy resized to 256x256 is similar, not certain."""
    sirst = images("sirst/images/*.png")
    found = find_overlap(sirst, images("open-sirst-v2/images/targets/*.png"))
    same = [match for match in found.table.to_pylist() if match["kind"] == "pixels"]
    assert len(same) == 12
    assert all(Path(match["id"]).name == Path(match["other_id"]).name for match in same)
    found = find_overlap(sirst, images("nudt-sirst/dataset/NUDT-SIRST/images/*.png"))
    assert found.rows["similar"] == 7
    assert all(Path(m["id"]).name == Path(m["other_id"]).name for m in found.table.to_pylist())
