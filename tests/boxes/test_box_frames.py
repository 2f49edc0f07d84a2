"""The algebra of frames: the transform of the EarthGPT README, conversions, rounding, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.boxes import (
    Boxes,
    Frame,
    convert,
    find_outside,
    pad_and_normalize,
    rounding_bound,
    undo_pad_and_normalize,
)
from irtd_datasets.boxes.frames import DEFAULT_DECIMALS, format_coordinate, is_cut, round_coordinates
from irtd_datasets.errors import BoxError

sides = st.integers(1, 9000)
frames = st.sampled_from(list(Frame))
# Pixels of annotations, some outside of the image.
pixels = st.floats(-2000, 12000, allow_nan=False, width=64)


def rows(width: int):
    return st.lists(st.tuples(*[pixels] * width), min_size=1, max_size=8).map(np.array)


tables = st.sampled_from([2, 4, 8]).flatmap(rows)


def readme_transform(box, width, height):
    """The steps of the EarthGPT README, one by one, as printed there."""
    x0, y0, w, h = box
    if height > width:
        pad_x0, pad_y0 = int((height - width) / 2), 0
        width = height
    else:
        pad_x0, pad_y0 = 0, int((width - height) / 2)
        height = width
    x0 += pad_x0
    y0 += pad_y0
    return [x0 / width, y0 / height, (x0 + w) / width, (y0 + h) / height]


WORKED_EXAMPLES = [  # size, box xywh, exact to 6 digits, 2 decimals, back from 2 decimals
    ((640, 512), (100, 50, 60, 40), [0.15625, 0.178125, 0.25, 0.240625], [0.16, 0.18, 0.25, 0.24],
     [102.4, 51.2, 160.0, 89.6]),
    ((512, 640), (100, 50, 60, 40), [0.25625, 0.078125, 0.35, 0.140625], [0.26, 0.08, 0.35, 0.14],
     [102.4, 51.2, 160.0, 89.6]),
    ((1360, 765), (100, 50, 60, 40), [0.073529, 0.255147, 0.117647, 0.284559], [0.07, 0.26, 0.12, 0.28],
     [95.2, 56.6, 163.2, 83.8]),
    ((5, 10), (0, 0, 5, 10), [0.2, 0.0, 0.7, 1.0], [0.2, 0.0, 0.7, 1.0], [0, 0, 5, 10]),
    ((640, 512), (0, 0, 640, 512), [0, 0.1, 1, 0.9], [0, 0.1, 1, 0.9], [0, 0, 640, 512]),
    ((800, 800), (100, 50, 1, 1), [0.125, 0.0625, 0.12625, 0.06375], [0.12, 0.06, 0.13, 0.06],
     [96, 48, 104, 48]),
]  # fmt: skip


@pytest.mark.parametrize(("size", "box", "exact", "written", "back"), WORKED_EXAMPLES)
def test_worked_examples(size, box, exact, written, back):
    """The worked examples of the transform come out to the digit, forth and back."""
    normalized = pad_and_normalize(list(box), *size)
    assert [round(value, 6) for value in normalized] == exact
    rounded = round_coordinates(normalized, Frame.SQUARE_UNIT).tolist()
    assert rounded == written
    assert [float(format_coordinate(value, 2, cut=False)) for value in normalized] == written
    assert undo_pad_and_normalize(rounded, *size, form="xyxy") == pytest.approx(back, abs=1e-9)
    assert undo_pad_and_normalize(normalized, *size) == pytest.approx(box, abs=1e-9)


@given(st.tuples(*[pixels] * 4), sides, sides)
def test_transform_is_the_readme(box, width, height):
    """Scalars and arrays give the very bits that the steps of the README give."""
    expected = readme_transform(box, width, height)
    assert pad_and_normalize(box, width, height) == expected
    assert pad_and_normalize(np.array([box]), np.array([width]), [height]).tolist() == [expected]


@given(tables, sides, sides)
def test_undo_is_the_inverse(table, width, height):
    """Undoing the transform returns the xywh, the corners or the points that went in, within float error."""
    back = undo_pad_and_normalize(pad_and_normalize(table, width, height), width, height)
    assert back.shape == table.shape
    np.testing.assert_allclose(back, table, atol=1e-9 * max(width, height, 1000))


def test_shapes_follow_the_input():
    """A flat list gives a list; arrays, and lists of rows, give arrays of the same shape."""
    assert type(pad_and_normalize((1, 2), 10, 20)) is list
    assert type(undo_pad_and_normalize([0.1] * 8, 10, 20)) is list
    assert pad_and_normalize([[1, 2, 3, 4]], 10, 20).shape == (1, 4)
    assert pad_and_normalize(np.zeros((0, 4)), 10, 20).shape == (0, 4)
    assert pad_and_normalize(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int)).shape == (0, 4)
    assert undo_pad_and_normalize(np.zeros(4), 10, 20).shape == (4,)


@given(tables, sides, sides, st.lists(frames, min_size=1, max_size=5))
def test_round_trip_through_any_frames(table, width, height, path):
    """Through any frames and back, coordinates return within float error."""
    there, frame = table, Frame.PIXEL
    for following in [*path, Frame.PIXEL]:
        there, frame = convert(there, frame, following, width, height), following
    np.testing.assert_allclose(there, table, atol=1e-8)


@given(tables, sides, sides, frames)
def test_same_frame_is_the_identity(table, width, height, frame):
    """Converting to the frame they are in returns the same bits, NaN and minus zero included."""
    table[0, 0], table[-1, -1] = np.nan, -0.0
    same = convert(table, frame, frame, width, height)
    assert same.tobytes() == table.astype(np.float64).tobytes()
    assert same is not table
    boxes = Boxes(table, frame, width, height)
    assert boxes.to(frame) is boxes


@given(st.lists(st.tuples(sides, sides, pixels, pixels), min_size=1, max_size=8), frames, frames)
def test_sizes_by_row(items, source, target):
    """Boxes of many images in one call give what each gives alone, to the bit."""
    widths, heights = np.array([item[:2] for item in items]).T
    table = np.array([item[2:] for item in items])
    together = convert(table, source, target, widths, heights)
    alone = [convert(row, source, target, w, h) for row, (w, h, *_) in zip(table, items, strict=True)]
    assert together.tobytes() == np.array(alone).tobytes()


@given(tables, sides, sides, frames, st.integers(0, 4))
def test_rounding_bound_holds(table, width, height, frame, decimals):
    """Rounding to k decimals, as array or as text, moves no coordinate by more than the stated pixels."""
    bound = rounding_bound(frame, decimals, width, height) + 1e-8
    exact = Boxes(table, Frame.PIXEL, width, height).to(frame)
    rounded = exact.round(decimals).to(Frame.PIXEL).coordinates
    assert np.abs(rounded - table).max() <= bound
    cut = is_cut(frame, decimals)
    text = [
        float(format_coordinate(value, decimals, cut=cut)) for value in exact.coordinates.ravel().tolist()
    ]
    written = convert(np.reshape(text, table.shape), frame, Frame.PIXEL, width, height)
    assert np.abs(written - table).max() <= bound


@pytest.mark.parametrize(
    ("frame", "decimals", "size", "pixels"),
    [
        ("square_unit", 2, (640, 512), 3.2),
        ("square_unit", 2, (1360, 765), 6.8),
        ("unit", 3, (1000, 400), 0.5),
        ("per_mille", 0, (640, 512), 0.32),
        ("square_per_mille", 0, (999, 10), 1.0),
        ("square_per_mille", 1, (999, 10), 0.05),
        ("pixel", 0, (640, 512), 0.5),
    ],
)
def test_rounding_bound_values(frame, decimals, size, pixels):
    """The bound is half a step of the last digit on the longer axis, a whole step where numbers are cut."""
    assert rounding_bound(frame, decimals, *size) == pytest.approx(pixels)
    assert (
        rounding_bound(frame, decimals, np.array([size[0]] * 3), size[1]).tolist()
        == [pytest.approx(pixels)] * 3
    )


def test_rounding_bound_is_tight():
    """Some coordinate moves by nearly the bound: it is no loose promise."""
    points = np.linspace(0, 512, 5000)[:, None] * [1, 1]
    for frame in Frame:
        boxes = Boxes(points, Frame.PIXEL, 640, 512).to(frame)
        moved = np.abs(boxes.round().to(Frame.PIXEL).coordinates - points).max()
        bound = rounding_bound(frame, DEFAULT_DECIMALS[frame], 640, 512)
        assert 0.9 * bound < moved <= bound


@given(st.integers(1, 4000), st.integers(1, 4000), st.data())
def test_square_per_mille_is_the_released_formula(width, height, data):
    """Whole numbers of the padded square are int(v / side * 999), float blur just below one aside."""
    x = data.draw(st.integers(0, width))
    side = max(width, height)
    shifted = x + (side - width) // 2
    got = Boxes([[x, 0]], "pixel", width, height).to("square_per_mille").round().coordinates[0, 0]
    assert got == (shifted * 999) // side  # exact arithmetic
    if (shifted * 999) % side:
        assert got == int(shifted / side * 999)


@given(st.lists(st.integers(0, 999), min_size=4, max_size=4), sides, sides, st.lists(frames, max_size=4))
def test_cut_numbers_do_not_walk(values, width, height, path):
    """Whole numbers of the cut frame return as themselves from any round trip."""
    boxes = Boxes([values], Frame.SQUARE_PER_MILLE, width, height)
    for frame in [*path, Frame.SQUARE_PER_MILLE]:
        boxes = boxes.to(frame)
    assert boxes.round().coordinates.tolist() == [values]


def pad_pixels(image):
    height, width = image.shape[:2]
    side = max(width, height)
    square = np.zeros((side, side), image.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


@settings(max_examples=60)
@given(st.integers(2, 90), st.integers(2, 90), st.data())
def test_golden_pixels(width, height, data):
    """After padding the image itself, the transformed box covers all painted pixels and no others."""
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x0)), data.draw(st.integers(1, height - y0))
    image = np.full((height, width), 50, np.uint8)
    image[y0 : y0 + h, x0 : x0 + w] = 200
    side = max(width, height)
    square = pad_pixels(image)
    box = np.array(pad_and_normalize([x0, y0, w, h], width, height)) * side
    left, top, right, bottom = np.rint(box).astype(int)
    assert np.abs(box - [left, top, right, bottom]).max() < 1e-9
    crop = square[top:bottom, left:right]
    assert crop.size == w * h
    assert (crop == 200).all()
    assert (square == 200).sum() == w * h
    # Corners and points go the same way: the centre of each is painted.
    corners = [x0, y0, x0 + w, y0, x0 + w, y0 + h, x0, y0 + h]
    moved = np.array(pad_and_normalize(corners, width, height)).reshape(4, 2) * side
    assert np.rint([*moved.min(0), *moved.max(0)]).tolist() == [left, top, right, bottom]
    cx, cy = np.array(pad_and_normalize([x0 + w / 2, y0 + h / 2], width, height)) * side
    assert square[math.floor(cy), math.floor(cx)] == 200


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (63, 40), (40, 63), (50, 50)])
@pytest.mark.parametrize("frame", list(Frame))
def test_golden_pixels_in_every_frame(size, frame):
    """A box taken to any frame and back to pixels crops the painted rectangle, which no flip would hit."""
    width, height = size
    image = np.zeros((height, width), np.uint8)
    image[3:11, 5:29] = 200
    boxes = Boxes([[5, 3, 29, 11]], Frame.PIXEL, width, height).to(frame)
    left, top, right, bottom = np.rint(boxes.to(Frame.PIXEL).coordinates[0]).astype(int)
    assert (image[top:bottom, left:right] == 200).all()
    assert image[top:bottom, left:right].size == (image == 200).sum()
    # Read as it stands on the padded image, for the frames that count there.
    if frame.is_square:
        scale = max(size) / (999 if frame is Frame.SQUARE_PER_MILLE else 1)
        left, top, right, bottom = np.rint(boxes.coordinates[0] * scale).astype(int)
        assert (pad_pixels(image)[top:bottom, left:right] == 200).all()


def test_swapped_lines_would_be_seen():
    """The known misreading of the README (pad computed too late) differs by the whole pad."""
    assert pad_and_normalize([100, 50, 60, 40], 640, 512)[1] - 50 / 640 == pytest.approx(64 / 640)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pad_and_normalize([1, 2, 3], 5, 5), "shape (3,)"),
        (lambda: pad_and_normalize([1, 2, 3, 4], 0, 5), "width is 0"),
        (lambda: pad_and_normalize([1, 2, 3, 4], 5, 2.5), "height is 2.5"),
        (lambda: pad_and_normalize([1, 2, 3, 4], 5, float("nan")), "height is nan"),
        (lambda: pad_and_normalize([1, 2, 3, 4], 5, None), "height is None"),
        (lambda: pad_and_normalize([1, 2, 3, 4], 5, "5"), "height is '5'"),
        (lambda: pad_and_normalize([[1, 2, 3, 4]], [5, 6], 5), "width has 2 values for 1 rows"),
        (lambda: pad_and_normalize([1, 2, 3, 4], [5], 5), "width has 1 values for 1 rows"),
        (lambda: pad_and_normalize(["a", "b"], 5, 5), "no table of numbers"),
        (lambda: pad_and_normalize([[1, 2, 3, 4], [1, 2]], 5, 5), "no table of numbers"),
        (lambda: undo_pad_and_normalize([1, 2, 3, 4], 5, 5, form="cxcywh"), "form is 'cxcywh'"),
        (lambda: convert([1, 2], "percent", "unit", 5, 5), "no frame is called 'percent'"),
        (lambda: rounding_bound("unit", -1, 5, 5), "decimals is -1"),
        (lambda: Boxes([1, 2, 3, 4], "unit", 5, 5), "one row"),
        (lambda: Boxes([[1, 2, 3, 4]], "unit", 5, 5).filter([1]), "the mask is int"),
        (lambda: Boxes([[1, 2, 3, 4]], "unit", 5, 5).filter([True, False]), "expected 1 booleans"),
    ],
)
def test_bad_input(call, message):
    """Every wrong shape, size, frame or mask is refused with what was found, as a ValueError too."""
    with pytest.raises(BoxError) as caught:
        call()
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_boxes_are_frozen():
    """Coordinates belong to the boxes: neither the caller's array nor their own can change them."""
    mine = np.array([[1.0, 2, 3, 4]])
    boxes = Boxes(mine, "pixel", 10, 10)
    mine[0, 0] = 9
    assert boxes.coordinates[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        boxes.coordinates[0, 0] = 5
    with pytest.raises(AttributeError):
        boxes.frame = Frame.UNIT


def test_filter_returns_boxes_and_mask():
    """A filter keeps sizes beside their boxes and returns the mask, so that labels can follow."""
    boxes = Boxes([[0, 0, 5, 5], [2, 2, 2, 4], [50, 50, 60, 60]], "pixel", [10, 20, 30], [10, 20, 30])
    kept, mask = boxes.filter(boxes.usable())
    assert mask.tolist() == [True, False, False]
    assert kept.coordinates.tolist() == [[0, 0, 5, 5]]
    assert kept.width.tolist() == [10]


def test_areas_and_kinds():
    """Areas are square pixels in every frame: boxes, polygons in either direction, points."""
    box = Boxes([[0, 0, 4, 3], [4, 3, 0, 0]], "pixel", 10, 20)
    assert box.areas().tolist() == [12, 0]
    np.testing.assert_allclose(box.to("square_unit").areas(), [12, 0], atol=1e-9)
    around = [0, 0, 4, 0, 4, 3, 0, 3]
    back = [0, 0, 0, 3, 4, 3, 4, 0]
    polygons = Boxes([around, back], "pixel", 10, 20)
    assert polygons.areas().tolist() == [12, 12]
    assert polygons.enclosing().coordinates.tolist() == [[0, 0, 4, 3]] * 2
    points = Boxes([[1, 2]], "pixel", 10, 20)
    assert points.areas().tolist() == [0]
    assert [box.kind, polygons.kind, points.kind] == ["boxes", "polygons", "points"]
    assert len(polygons) == 2


def test_degenerate():
    """Zero width, zero height, exchanged corners, corners on one line and NaN are found."""
    boxes = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 1], [1, 0, 0, 1], [0, 0, np.nan, 1], [0, 0, np.inf, 1]]
    assert Boxes(boxes, "unit", 9, 9).degenerate().tolist() == [False] + [True] * 5
    line = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    quad = [0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2]
    assert Boxes([line, quad, [np.inf] * 8], "unit", 9, 9).degenerate().tolist() == [True, False, True]
    assert Boxes([[0, 0], [np.nan, 0]], "unit", 9, 9).degenerate().tolist() == [False, True]


@pytest.mark.parametrize(
    ("box", "partly", "wholly", "in_padding"),
    [
        ([0, 0, 640, 512], False, False, False),
        ([-1, 0, 20, 20], True, False, False),  # beyond the long side: not in the padding, beyond the square
        ([10, -20, 20, 20], True, False, True),
        ([10, -60, 20, -10], False, True, True),
        ([10, -64, 20, 0], False, True, True),  # touches the image, and has nothing in it
        ([10, -65, 20, 0], False, True, False),
        ([640, 0, 650, 10], False, True, False),
        ([10, 500, 20, 576], True, False, True),
        ([10, 512, 20, 512], False, False, False),  # on the border line
    ],
)
def test_outside(box, partly, wholly, in_padding):
    """Boxes partly outside, wholly outside, and in the padding of the square are told apart."""
    for frame in (Frame.SQUARE_UNIT, Frame.SQUARE_PER_MILLE):
        coordinates = Boxes([box], "pixel", 640, 512).to(frame).coordinates
        flags = find_outside(coordinates, frame, 640, 512, tolerance=1e-9)
        assert (flags.partly[0], flags.wholly[0], flags.in_padding[0]) == (partly, wholly, in_padding)
        assert flags.any[0] == (partly or wholly)
    assert not find_outside([box], "pixel", 640, 512).in_padding.any()


def test_rounding_alone_raises_no_flag():
    """With the rounding bound as tolerance, no box inside the image is flagged after rounding."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(20, 3000, (500, 2))
    low, high = np.sort(rng.random((2, 500, 2)), axis=0)
    boxes = Boxes(np.hstack([low * sizes, high * sizes]), "pixel", sizes[:, 0], sizes[:, 1])
    for frame in Frame:
        rounded = boxes.to(frame).round()
        bound = rounding_bound(frame, DEFAULT_DECIMALS[frame], sizes[:, 0], sizes[:, 1])
        assert not rounded.outside(tolerance=bound + 1e-9).any.any()
    assert boxes.to("square_unit").round().outside().any.any()


@given(rows(4), sides, sides, frames)
def test_clip(table, width, height, frame):
    """Clipped boxes lie in the image, those inside keep their bits, and clipping twice changes nothing."""
    boxes = Boxes(table, "pixel", width, height).to(frame)
    clipped = boxes.clip()
    assert not clipped.outside(tolerance=1e-8).any.any()
    inside = ~boxes.outside(tolerance=-1e-6).any
    assert clipped.coordinates[inside].tobytes() == boxes.coordinates[inside].tobytes()
    assert clipped.clip().coordinates.tobytes() == clipped.coordinates.tobytes()


def test_corner_order_is_kept():
    """The vertex cycle of an oriented box survives, although its nearest-to-origin corner changes."""
    corners = np.array([[10, 100], [100, 20], [150, 80], [60, 160]])
    moved = pad_and_normalize(corners.ravel().tolist(), 640, 512)
    shifted = np.array(moved).reshape(4, 2) * 640
    np.testing.assert_allclose(shifted - corners, [[0, 64]] * 4)
    assert np.hypot(*corners.T).argmin() != np.hypot(*shifted.T).argmin()


def test_a_million_boxes():
    """A million boxes of as many images convert in one call, each with its own size."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(300, 4000, (1_000_000, 2))
    table = rng.random((1_000_000, 4))
    out = convert(table, "square_unit", "per_mille", sizes[:, 0], sizes[:, 1])
    np.testing.assert_array_equal(out[123], convert(table[123], "square_unit", "per_mille", *sizes[123]))


def test_frame_is_text():
    """A frame stores and prints as its name."""
    assert str(Frame.PER_MILLE) == f"{Frame.PER_MILLE}" == "per_mille"
    assert [frame.value for frame in Frame] == [
        "pixel",
        "unit",
        "per_mille",
        "square_unit",
        "square_per_mille",
    ]
