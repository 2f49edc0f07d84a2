"""Cross-modal cropping: the known transform comes back, objects stay on their pixels, what is not sure is refused."""

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from irtd_datasets.boxes import Boxes
from irtd_datasets.errors import BoxError, ImageError
from irtd_datasets.images.pairs import REASONS, PairTransform, crop_pair

INFRARED = (640, 512)
VISIBLE = (1280, 1000)
MOVE = PairTransform(0.55, 0.55, -20.0, 14.0)
# Infrared pixels, all in both views.
PLACES = np.array(
    [[40, 60, 100, 160], [300, 90, 350, 140], [520, 300, 620, 380], [200, 400, 260, 480]], float
)
KINDS = ["person", "car", "car", "bike"]


def filled(size, boxes, levels, depth=np.uint8, channels=None):
    """An image with a filled rectangle of its own level at each box."""
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    image = np.full(shape, 10, depth)
    for (x_min, y_min, x_max, y_max), level in zip(np.rint(boxes).astype(int), levels, strict=True):
        image[max(y_min, 0) : y_max, max(x_min, 0) : x_max] = level
    return image


def shows(image, box, level):
    """Whether the inside of a box has the level, a pixel of rounding at its edges left out."""
    x_min, y_min = np.ceil(np.asarray(box[:2])).astype(int) + 1
    x_max, y_max = np.floor(np.asarray(box[2:])).astype(int) - 1
    inside = np.asarray(image)[y_min:y_max, x_min:x_max]
    return inside.size > 0 and bool((inside == level).all())


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("region", ["view", "objects"])
@pytest.mark.parametrize("form", ["array", "image", "file"])
def test_crops_by_the_moved_boxes_show_the_colour(form, region, depth):
    """After the crop each moved box still frames its rectangle, in both modalities, at 8 and 16 bits, however given."""
    levels = np.array([50, 90, 130, 170]) * (257 if depth == np.uint16 else 1)
    seen = MOVE.inverse().apply(PLACES)
    images = [
        filled(INFRARED, PLACES, levels, depth),
        filled(VISIBLE, seen, [60, 100, 140, 180], channels=3),
    ]
    if form != "array":
        images = [Image.fromarray(image) for image in images]
    if form == "file":
        images = [encoded(image) for image in images]
    order = [2, 0, 3, 1]
    result = crop_pair(
        *images,
        infrared_boxes=PLACES,
        visible_boxes=np.rint(seen)[order],
        infrared_labels=KINDS,
        visible_labels=[KINDS[index].upper() for index in order],
        region=region,
        margin=0.1,
    )
    assert result.status == "cropped"
    assert sorted(result.kept) == [(0, 1), (1, 3), (2, 0), (3, 2)]
    for row, (index, other) in enumerate(result.kept):
        assert shows(result.infrared.pixels(), result.infrared_boxes.coordinates[row], levels[index])
        assert shows(
            result.visible.pixels(), result.visible_boxes.coordinates[row], [60, 100, 140, 180][order[other]]
        )
    data, suffix = result.infrared.encode()
    again = Image.open(io.BytesIO(data))
    assert suffix == ".png"
    assert (np.asarray(again) == np.asarray(result.infrared.pixels())).all()
    assert np.asarray(again).dtype == (np.uint16 if depth == np.uint16 else np.uint8)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_both_crops_have_one_field_of_view():
    """The visible crop, brought to infrared pixels, ends where the infrared crop ends, to half a visible pixel."""
    result = crop_pair(
        np.zeros((512, 640)),
        np.zeros((1000, 1280)),
        infrared_boxes=PLACES,
        visible_boxes=MOVE.inverse().apply(PLACES),
    )
    there = result.transform.apply(np.array(result.visible.rectangle, float))
    assert np.abs(there - result.infrared.rectangle).max() <= 0.5 * MOVE.scale_x + 0.5
    assert result.model == "scale"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(5, 14),
    st.floats(0.35, 1.6),
    st.sampled_from([1.0, 0.9, 1.1]),
    st.integers(0, 2),
)
@example(890187749, 5, 0.75, 1.0, 2)  # three objects, and two strangers that nearly fit: 17 px off, 6.4 told
def test_known_transform_comes_back(seed, count, scale, aspect, surplus):
    """With noise, wrong objects in both sets and a missing one, the transform is found, or the pair is refused."""
    draw = np.random.default_rng(seed)
    move = PairTransform(scale, scale * aspect, float(draw.uniform(-60, 60)), float(draw.uniform(-60, 60)))
    size = int(640 / scale), int(512 / scale / aspect)
    centres = draw.uniform([70, 70], [570, 440], (count, 2))
    sides = draw.uniform(20, 70, (count, 2))
    infrared = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    visible = move.inverse().apply(infrared + draw.normal(0, 0.7, infrared.shape))[1:]
    strangers = draw.uniform(20, 300, (2, surplus, 2))
    infrared = np.concatenate([infrared[: count - 1], np.concatenate([strangers[0], strangers[0] + 33], 1)])
    visible = np.concatenate([visible, np.concatenate([strangers[1], strangers[1] + 44], 1)])
    visible[:, 2:] = np.maximum(visible[:, 2:], visible[:, :2] + 1)
    result = crop_pair(
        np.zeros((512, 640), np.uint8),
        np.zeros(size[::-1], np.uint8),
        infrared_boxes=infrared,
        visible_boxes=visible,
        method="labels",
    )
    if not result:
        assert result.reason in {"ambiguous", "imprecise", "no-common-objects", "too-small"}
        return
    places = move.inverse().apply(centres[1:-1])
    limit = 26 if result.status == "aligned" else max(15, 3 * result.quality.error)
    assert np.hypot(*(result.transform.apply(places) - centres[1:-1]).T).max() < limit
    assert len(result.kept) >= (count - 2) // 2


def test_result_does_not_depend_on_the_run():
    """The same labels give the same answer, to the last bit."""
    given_ = {"infrared_boxes": PLACES, "visible_boxes": MOVE.inverse().apply(PLACES) + 0.3}
    results = [crop_pair(np.zeros((512, 640)), np.zeros((1000, 1280)), **given_).as_dict() for _ in range(2)]
    assert results[0] == results[1]


def test_objects_of_one_modality_are_told_and_left_out():
    """Objects that one label set lacks are named, and neither table of boxes has them."""
    seen = MOVE.inverse().apply(PLACES)
    result = crop_pair(
        np.zeros((512, 640)), np.zeros((1000, 1280)), infrared_boxes=PLACES, visible_boxes=seen[:3]
    )
    assert result.only_infrared == (3,)
    assert result.only_visible == ()
    assert len(result.infrared_boxes) == len(result.visible_boxes) == 3


def test_an_object_cut_by_the_edge_is_kept_while_half_of_it_is_there():
    """Objects outside the common view go, those that reach out are cut at its edge, by ``min_visible``."""
    move = PairTransform(1.0, 1.0, 100.0, 0.0)
    infrared = np.concatenate([PLACES[1:], [[80, 200, 140, 260], [60, 200, 110, 260]]])
    result = crop_pair(
        np.zeros((512, 640)),
        np.zeros((512, 640)),
        infrared_boxes=infrared,
        visible_boxes=move.inverse().apply(infrared),
    )
    assert result.infrared.rectangle == (100, 0, 640, 512)
    assert [pair[0] for pair in result.kept] == [0, 1, 2, 3]
    assert result.infrared_boxes.coordinates[3].tolist() == [0, 200, 40, 260]


@pytest.mark.parametrize("kind", ["points", "polygons", "masks"])
def test_points_polygons_and_masks_work_too(kind):
    """Points, oriented boxes and masks give the transform and move along."""
    seen = np.rint(MOVE.inverse().apply(PLACES))
    given_ = {}
    for side, boxes, size in (("infrared", PLACES, INFRARED), ("visible", seen, VISIBLE)):
        if kind == "masks":
            given_[f"{side}_masks"] = np.stack([filled(size, [box], [1]) == 1 for box in boxes])
        elif kind == "points":
            given_[f"{side}_boxes"] = (boxes[:, :2] + boxes[:, 2:]) / 2
        else:
            given_[f"{side}_boxes"] = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    result = crop_pair(np.zeros((512, 640)), np.zeros((1000, 1280)), **given_)
    assert result.status == "cropped"
    assert len(result.kept) == 4
    assert result.transform.scale_x == pytest.approx(0.55, abs=0.01)
    if kind == "masks":
        for mask, box in zip(result.visible_masks, result.visible_boxes.coordinates.astype(int), strict=True):
            assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
            assert mask[box[1] : box[3], box[0] : box[2]].all()
    else:
        assert result.infrared_boxes.kind == kind


def test_frames_are_declared():
    """Fractions and pixels of the same objects give the same crop, and a wrong size is refused."""
    seen = MOVE.inverse().apply(PLACES)
    pixel = crop_pair(np.zeros((512, 640)), np.zeros((1000, 1280)), infrared_boxes=PLACES, visible_boxes=seen)
    unit = crop_pair(
        np.zeros((512, 640)),
        np.zeros((1000, 1280)),
        infrared_boxes=PLACES / [640, 512, 640, 512],
        visible_boxes=Boxes(seen, "pixel", 1280, 1000).to("unit"),
        frame="unit",
    )
    assert unit.infrared.rectangle == pixel.infrared.rectangle
    with pytest.raises(BoxError, match="1280x1000"):
        crop_pair(np.zeros((512, 640)), np.zeros((999, 1280)), visible_boxes=Boxes(seen, "pixel", 1280, 1000))


def test_aligned_pairs_keep_their_bytes():
    """Images of one view come back as the very bytes that were given, whatever their resolutions."""
    infrared = encoded(Image.fromarray(filled(INFRARED, PLACES, [50, 90, 130, 170])), "JPEG")
    visible = encoded(Image.fromarray(filled((1280, 1024), PLACES * 2, [60, 100, 140, 180])), "JPEG")
    result = crop_pair(infrared, visible, infrared_boxes=PLACES, visible_boxes=PLACES * 2 + 1)
    assert result.status == "aligned"
    assert result.infrared.encode() == (infrared, ".jpg")
    assert result.visible.encode()[0] is visible
    assert len(result.kept) == 4


def test_orientation_of_the_camera_is_undone():
    """Labels count on the upright image: a file that EXIF turns is cut where it shows the object."""
    upright = filled(INFRARED, PLACES, [50, 90, 130, 170])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(np.rot90(upright).copy()), "PNG", exif=exif)
    result = crop_pair(
        turned, np.zeros((1000, 1280)), infrared_boxes=PLACES, visible_boxes=MOVE.inverse().apply(PLACES)
    )
    assert result.status == "cropped"
    assert shows(
        result.infrared.pixels(), result.infrared_boxes.coordinates[0], [50, 90, 130, 170][result.kept[0][0]]
    )


def refusal(**changes):
    given_ = {"infrared_boxes": PLACES, "visible_boxes": MOVE.inverse().apply(PLACES), "method": "labels"}
    return crop_pair(np.zeros((512, 640)), np.zeros((1000, 1280)), **{**given_, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"infrared_labels": ["a"] * 4, "visible_labels": ["b"] * 4}, "no-common-objects"),
        ({"visible_boxes": []}, "no-common-objects"),
        ({"min_size": 600}, "too-small"),
        (
            {"infrared_boxes": PLACES[:1], "visible_boxes": [[5, 5, 60, 70], [700, 700, 755, 765]]},
            "ambiguous",
        ),
        ({"max_error": 1e-5}, "imprecise"),
        ({"transform": PairTransform(1, 1, 900, 0)}, "no-common-view"),
    ],
)
def test_what_is_not_sure_is_refused(changes, reason):
    """Each refusal has its reason, words for it, and leaves the images whole."""
    result = refusal(**changes)
    assert (result.status, result.reason) == ("refused", reason)
    assert not result
    assert result.detail
    assert reason in REASONS
    assert result.infrared.is_whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"infrared_boxes": [[5, 5, 5, 9]]}, "object 0 has no area"),
        ({"infrared_boxes": [[5, 5, float("nan"), 9]]}, "object 0 has no area"),
        ({"infrared_labels": ["a"]}, "1 labels for 4 objects"),
        ({"infrared_boxes": None, "infrared_masks": np.ones((1, 3, 3))}, "masks of shape"),
        ({"infrared_boxes": None, "infrared_masks": np.zeros((1, 512, 640))}, "mask 0 is empty"),
        ({"infrared_masks": np.ones((1, 512, 640))}, "boxes and masks"),
        ({"visible_boxes": None}, "needs objects in both"),
        ({"region": "all"}, "region is"),
        ({"margin": -1}, "margin is"),
        ({"frame": "metres"}, "no frame"),
    ],
)
def test_malformed_labels_are_errors(changes, words):
    """A mistake in the call is an error that names it, not a refusal."""
    with pytest.raises(BoxError, match=words):
        refusal(**changes)


def test_what_is_no_image_is_an_error(tmp_path):
    """A missing file, a web page and an empty array say so."""
    page = tmp_path / "1.jpg"
    page.write_bytes(b"<html>quota exceeded</html>")
    for source, words in ((tmp_path / "none.png", "none.png"), (page, "HTML"), (np.zeros((0, 3)), "shape")):
        with pytest.raises(ImageError, match=words):
            crop_pair(source, np.zeros((4, 4)))


def scene(draw, size=(900, 720)):
    """Rectangles of random levels: edges everywhere, as in a town."""
    image = np.full((size[1], size[0]), 128.0, np.float32)
    for _ in range(160):
        x, y = draw.integers(0, size[0]), draw.integers(0, size[1])
        width, height = draw.integers(15, 120, 2)
        image[y : y + height, x : x + width] = draw.uniform(0, 255)
    return image


def as_infrared(draw, image):
    """Another sensor: other levels for the same things, some of them reversed, with noise."""
    curve = np.interp(np.arange(256), [0, 60, 120, 180, 255], draw.permutation([0, 70, 130, 190, 255]))
    return np.clip(curve[np.clip(image, 0, 255).astype(int)] + draw.normal(0, 6, image.shape), 0, 255).astype(
        np.uint8
    )


def test_images_alone_give_the_transform():
    """Without labels the edges tell scale and shift, and labels of one modality move to the other."""
    draw = np.random.default_rng(1)
    whole = scene(draw)
    visible = whole.astype(np.uint8)
    infrared = np.asarray(Image.fromarray(as_infrared(draw, whole[90:630, 140:815])).resize((540, 432)))
    boxes = np.array([[100, 100, 160, 180], [300, 200, 350, 300]], float)
    result = crop_pair(infrared, visible, infrared_boxes=boxes)
    assert (result.status, result.method) == ("cropped", "images")
    corners = np.array([[140.0, 90.0], [815.0, 630.0]])
    assert np.abs(result.transform.apply(corners) - [[0, 0], [540, 432]]).max() < 4
    truth = boxes / 0.8 + [140, 90, 140, 90] - np.tile(result.visible.rectangle[:2], 2)
    assert np.abs(result.visible_boxes.coordinates - truth).max() < 6
    assert result.kept == ((0, -1), (1, -1))


def test_images_of_one_view_are_aligned_and_of_two_scenes_refused():
    """One view in two sensors is left alone; two scenes are refused, and so are images without edges."""
    draw = np.random.default_rng(3)
    one, two = scene(draw), scene(draw)
    visible = encoded(Image.fromarray(one.astype(np.uint8)))
    same = crop_pair(as_infrared(draw, one), visible)
    assert same.status == "aligned"
    assert same.visible.encode()[0] is visible
    other = crop_pair(as_infrared(draw, two), visible)
    assert (other.status, other.reason) == ("refused", "not-sure")
    assert crop_pair(np.full((40, 40), 7, np.uint16), visible).reason == "not-sure"


def test_labels_of_another_moment_are_contradicted_by_the_images():
    """Labels that are all shifted in one way agree with each other and not with the images: refused."""
    draw = np.random.default_rng(3)
    one = scene(draw)
    visible, infrared = encoded(Image.fromarray(one.astype(np.uint8))), as_infrared(draw, one)
    low = np.array([[150, 120], [500, 140], [300, 330], [620, 400], [180, 430], [420, 250]], float)
    boxes = np.hstack([low, low + np.array([60, 80])])
    labelled = {"infrared_boxes": boxes, "infrared_labels": range(6), "visible_labels": range(6)}
    assert crop_pair(infrared, visible, visible_boxes=boxes, **labelled).status == "aligned"
    for shift in ([-90, 40], [70, 60]):
        moved = crop_pair(infrared, visible, visible_boxes=boxes + np.tile(shift, 2), **labelled)
        assert (moved.status, moved.reason) == ("refused", "contradicted")
        assert "pixels to the right and down" in moved.detail
    # Images that say nothing contradict nobody.
    flat = np.full(infrared.shape, 7, np.uint8)
    assert (
        crop_pair(flat, visible, visible_boxes=boxes + np.tile([70, 60], 2), **labelled).status == "cropped"
    )


def test_sixteen_bit_colour_is_not_cut_to_eight():
    """A crop that Pillow would make by losing depth is refused, not made."""
    draw = np.random.default_rng(0)
    deep = png_16_bit_colour(draw.integers(0, 65536, (100, 120, 3), dtype=np.uint16))
    boxes = np.array([[10, 10, 40, 40], [70, 60, 100, 90]], float)
    result = crop_pair(deep, np.zeros((190, 200)), infrared_boxes=boxes, visible_boxes=boxes * 2 + 30)
    assert result.reason == "image-16-bit-colour"


def png_16_bit_colour(pixels):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mark", [np.nan, np.inf, -9999.0])
def test_pixels_without_data_do_not_decide_an_alignment(mark):
    """A dead pixel, or a corner without data, in an image of temperatures leaves its pair aligned."""
    visible = _blocks(4)
    for hole in ((slice(3, 4), slice(3, 4)), (slice(0, 60), slice(0, 80))):
        thermal = 40 - visible.astype(np.float32) / 10
        thermal[hole] = mark
        assert crop_pair(thermal, visible).status == "aligned"


@pytest.mark.parametrize("degrees", [-8, -5, -3.1, 2, 3.1, 5])
def test_turned_images_are_never_aligned(degrees):
    """A view that is turned against the other is refused, whichever path found that they are alike."""
    visible = _blocks(5)
    turned = Image.fromarray(visible).rotate(degrees, Image.Resampling.BICUBIC)
    result = crop_pair(255 - visible, np.asarray(turned))
    assert result.status == "refused"
    assert result.reason in {"turned", "not-sure"}


def _blocks(seed):
    """A grey image of many rectangles."""
    rng = np.random.default_rng(seed)
    scene = np.full((480, 640), 90, np.uint8)
    for _ in range(150):
        x, y, w, h = rng.integers(0, 600), rng.integers(0, 440), rng.integers(8, 60), rng.integers(8, 60)
        scene[y : y + h, x : x + w] = rng.integers(0, 255)
    return scene


@pytest.mark.parametrize("smooth", [False, True])
def test_lattices_of_one_period_are_two_scenes(smooth):
    """Blocks of noise on one grid agree wherever their lines meet, which tells nothing of their views."""
    draw = np.random.default_rng(7)
    pair = draw.integers(0, 256, (2, 40, 50), np.uint8)
    filter_ = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    images = [np.asarray(Image.fromarray(one).resize((640, 512), filter_)) for one in pair]
    assert crop_pair(*images).status == "refused"
