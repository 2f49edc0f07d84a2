"""The frame check names a frame when the numbers prove it, and says so when they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irtd_datasets.boxes import Boxes, Frame, check_frames, convert
from irtd_datasets.boxes.frames import round_coordinates
from irtd_datasets.errors import BoxError

WIDE, TALL, SQUARE = (640, 512), (512, 640), (800, 800)


def spread(sizes, count=400, seed=0):
    """Boxes of all places of the images, in pixels, some of them at every border."""
    rng = np.random.default_rng(seed)
    sizes = np.array(sizes)[rng.integers(0, len(sizes), count)]
    corners = np.sort(rng.random((count, 2, 2)), axis=1)
    corners[:20, 0] = 0
    corners[20:40, 1] = 1
    return (corners * sizes[:, None]).reshape(count, 4), sizes


def in_frame(pixels, sizes, frame, decimals=None):
    moved = convert(pixels, "pixel", frame, sizes[:, 0], sizes[:, 1])
    return round_coordinates(moved, frame, decimals)


@pytest.mark.parametrize("sizes", [[WIDE], [TALL], [WIDE, TALL], [(1360, 765)], [WIDE, SQUARE]])
@pytest.mark.parametrize("frame", list(Frame))
def test_every_frame_is_found(frame, sizes):
    """Boxes spread over images that are not square are named with the frame they were written in."""
    pixels, sizes = spread(sizes)
    report = check_frames(in_frame(pixels, sizes, frame), sizes)
    assert report.verdict == frame.value
    assert report.frame is frame
    assert report.legal[frame.value] == 1


@pytest.mark.parametrize("frame", [Frame.UNIT, Frame.SQUARE_UNIT])
def test_square_images_do_not_tell(frame):
    """On square images the padded square and the image are the same, and the verdict says that."""
    pixels, sizes = spread([SQUARE])
    report = check_frames(in_frame(pixels, sizes, frame), sizes)
    assert report.verdict == "undecidable: all images are square"
    assert report.frame is None
    assert report.on_square_images == report.boxes == 400


def test_nearly_square_images_do_not_tell():
    """A padding smaller than the rounding of the numbers is no evidence."""
    pixels, sizes = spread([(800, 796)])
    report = check_frames(in_frame(pixels, sizes, Frame.UNIT, 2), sizes)
    assert report.verdict == "undecidable: the images are too nearly square for the decimals of the numbers"


@pytest.mark.parametrize("frame", [Frame.UNIT, Frame.SQUARE_UNIT, Frame.PER_MILLE, Frame.SQUARE_PER_MILLE])
def test_boxes_in_the_middle_do_not_tell(frame):
    """Boxes that keep away from the upper and lower border give no verdict, however many there are."""
    pixels, sizes = spread([WIDE], count=3000)
    pixels[:, 0::2] *= 0.99  # the number 1000 would tell
    pixels[:, 1::2] = 200 + pixels[:, 1::2] * 0.2
    report = check_frames(in_frame(pixels, sizes, frame), sizes)
    assert report.verdict == "undecidable: the boxes keep away from the borders that would tell"


def test_few_boxes_do_not_tell():
    """A handful of boxes inside the unpadded area proves nothing."""
    pixels, sizes = spread([WIDE], count=5)
    report = check_frames(in_frame(pixels, sizes, Frame.SQUARE_UNIT), sizes)
    assert report.verdict == "undecidable: too few boxes on images that are not square"
    assert check_frames([[120, 80, 300, 200]], WIDE).verdict == "undecidable: only 1 box"


def test_overflow_does_not_hide_the_square():
    """Annotations that overflow every side a little are errors of annotation, and not of the frame."""
    pixels, sizes = spread([WIDE], count=2000)
    pixels[20:24, 3] += 8
    pixels[24:28, 2] += 8
    report = check_frames(in_frame(pixels, sizes, Frame.SQUARE_UNIT), sizes)
    assert report.verdict == "square_unit"
    assert report.inside["square_unit"] < 1


def test_overflow_on_every_side_is_no_evidence():
    """Boxes that leave the image on every side alike, however many, do not exclude the padded square."""
    pixels, sizes = spread([WIDE], count=1000)
    pixels[20:45, 3] = 540
    pixels[60:69, 2] = 670
    report = check_frames(in_frame(pixels, sizes, Frame.SQUARE_UNIT), sizes)
    assert report.frame in (None, Frame.SQUARE_UNIT)


def test_doubtful_overflow_is_said():
    """Some boxes in the padding, too few to exclude the square and too many for errors, give no verdict."""
    pixels, sizes = spread([WIDE], count=1000)
    pixels[20:32, 3] += 30
    report = check_frames(in_frame(pixels, sizes, Frame.SQUARE_UNIT), sizes)
    assert report.verdict.startswith("undecidable: some boxes reach into the padding")
    assert "12 of 1000 boxes" in report.evidence[0]


def test_percent_is_named():
    """A scale of 0 to 100 is recognised, and is no known frame."""
    pixels, sizes = spread([WIDE])
    report = check_frames(np.round(in_frame(pixels, sizes, Frame.UNIT, 4) * 100, 1), sizes)
    assert report.verdict == "unknown: a 0-100 scale, which is not a known frame"
    assert report.frame is None


def test_no_frame_fits():
    """Numbers beyond pixels and beyond 1000 are called unknown."""
    pixels, sizes = spread([WIDE])
    report = check_frames(pixels * 10, sizes)
    assert report.verdict == "unknown: no frame allows these numbers on images of these sizes"


def test_large_images():
    """Pixels of large images exceed every other frame; on images near 1000 pixels both are possible."""
    pixels, sizes = spread([(4000, 3000)])
    assert check_frames(pixels.round(), sizes).verdict == "pixel"
    pixels, sizes = spread([(1000, 998)])
    assert (
        check_frames(pixels.round(), sizes).verdict
        == "undecidable: pixels and 0 to 1000 both allow these numbers"
    )


def test_counts():
    """Numbers, decimals, extremes, zero sizes and NaN are counted, over rows of all kinds."""
    rows = [[0.1, 0.25], [0.1, 0.2, 0.1, 0.4], [0.0, 0, 1, 0, 1, 1, 0.125, 1], [0.1, float("nan"), 1, 1]]
    report = check_frames(rows, [WIDE, TALL, SQUARE, WIDE])
    assert (report.boxes, report.numbers, report.not_finite, report.zero_size) == (4, 14, 1, 1)
    assert (report.minimum, report.maximum) == (0, 1)
    assert report.decimals == {0: 7, 1: 5, 2: 1, 3: 1}
    assert report.on_square_images == 1
    assert json.loads(json.dumps(report.as_dict()))["frame"] is None
    assert "1 of zero size, 1 not finite" in str(report)


def test_nothing_to_check():
    """No boxes, or none that is finite, is no error and no verdict."""
    for rows, sizes in (([], []), (np.zeros((0, 4)), np.zeros((0, 2), int)), ([[np.nan] * 4], WIDE)):
        assert check_frames(rows, sizes).verdict == "undecidable: no boxes"
    assert check_frames([[0, 0, 1, 1]] * 50, WIDE).verdict == "undecidable: only the numbers 0 and 1 occur"


@pytest.mark.parametrize(
    ("rows", "sizes", "message"),
    [
        ([[1, 2, 3]], WIDE, "row 0"),
        ([[1, 2], 3], WIDE, "row 1"),
        ([[1, 2, 3, 4]], [WIDE, WIDE], "sizes have shape (2, 2) for 1 boxes"),
        ([[1, 2, 3, 4]], (0, 5), "width"),
        ([[1, 2, 3, 4]], 640, "sizes have shape ()"),
    ],
)
def test_bad_input(rows, sizes, message):
    """Rows of other lengths and sizes that do not fit are refused."""
    with pytest.raises(BoxError) as caught:
        check_frames(rows, sizes)
    assert message in str(caught.value)


@given(
    st.sampled_from(list(Frame)),
    st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), min_size=1, max_size=3),
    st.integers(1, 300),
    st.integers(0, 1000),
    st.floats(0.05, 1),
)
def test_never_the_wrong_kind_of_square(frame, sizes, count, seed, part):
    """Numbers of the padded square are never called numbers of the image, wherever the boxes lie."""
    pixels, sizes = spread(sizes, count, seed)
    boxes = Boxes(pixels * part, "pixel", sizes[:, 0], sizes[:, 1]).to(frame).round()
    named = check_frames(boxes.coordinates, sizes).frame
    if frame is Frame.SQUARE_UNIT:
        assert named in (None, Frame.SQUARE_UNIT)
    if frame is Frame.UNIT:
        assert named in (None, Frame.UNIT, Frame.SQUARE_UNIT)
