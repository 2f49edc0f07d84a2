"""Average precision equals pycocotools, overlap of oriented boxes equals an exact computation."""

import contextlib
import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irtd_datasets.evaluate.detection import THRESHOLDS, Detections, match
from irtd_datasets.evaluate.metrics import assign
from irtd_datasets.evaluate.overlaps import box_parts, pair_iou, polygon_parts


def drawn(draw, count, images, labels, near=None):
    """Boxes; with ``near``, most of them are moved copies of those boxes."""
    corner = draw.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(1, 40, (count, 2))], axis=1)
    image, label = draw.integers(0, images, count), draw.integers(0, labels, count)
    if near is not None and len(near.image):
        copied = draw.random(count) < 0.8
        source = draw.integers(0, len(near.image), count)
        boxes[copied] = (near.boxes[source] + draw.normal(0, 2, (count, 4)))[copied]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
        image[copied], label[copied] = near.image[source][copied], near.label[source][copied]
    score = draw.integers(0, 10, count) / 10
    return Detections(image, label, boxes, score)


def coco_precision(found, objects, images):
    """AP at each threshold by the reference implementation."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(side):
        for index, (image, label, box) in enumerate(
            zip(side.image, side.label, side.boxes.tolist(), strict=True)
        ):
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            yield {
                "id": index + 1,
                "image_id": int(image),
                "category_id": int(label),
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": float(side.score[index]),
            }

    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        gold.dataset = {
            "images": [{"id": number} for number in range(images)],
            "annotations": list(entries(objects)),
            "categories": [{"id": number} for number in range(9)],
        }
        gold.createIndex()
        said = gold.loadRes(list(entries(found))) if len(found.image) else COCO()
        if not len(found.image):
            said.dataset = {**gold.dataset, "annotations": []}
            said.createIndex()
        run = COCOeval(gold, said, "bbox")
        run.params.maxDets = [1, 10, 100_000]
        run.params.areaRng = [[0, 1e10]]
        run.params.areaRngLbl = ["all"]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    return [
        np.mean(row[row > -1]) if (row > -1).any() else np.nan
        for row in precision.reshape(len(precision), -1)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_random_detections_agree(seed):
    """Ties of confidence, several classes, crowded images, images without objects: AP is that of pycocotools."""
    draw = np.random.default_rng(seed)
    images, labels = int(draw.integers(1, 12)), int(draw.integers(1, 5))
    objects = drawn(draw, int(draw.integers(1, 80)), images, labels)
    found = drawn(draw, int(draw.integers(0, 150)), images, labels, objects)
    assert match(found, objects).average_precision() == pytest.approx(
        coco_precision(found, objects, images), abs=1e-12, nan_ok=True
    )


@pytest.mark.parametrize(("found", "objects"), [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_degenerate_detections_agree(found, objects):
    """Nothing found, nothing there, neither."""
    draw = np.random.default_rng(1)
    there = drawn(draw, objects, 2, 2)
    said = drawn(draw, found, 2, 2, there)
    ours = match(said, there).average_precision()
    assert ours == pytest.approx(coco_precision(said, there, 2), abs=1e-12, nan_ok=True)


def test_the_same_boxes_are_perfect():
    """Every object found as it is, among them doubled ones and one without area, has an AP of 1."""
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 5, 8], [1, 1, 4, 3.0]])
    side = Detections(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), boxes, np.zeros(4))
    assert match(side, side).average_precision().tolist() == [1.0] * len(THRESHOLDS)
    corners = Detections(side.image, side.label, boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]], side.score)
    assert match(corners, corners).average_precision().tolist() == [1.0] * len(THRESHOLDS)


def test_resampling_counts_images_as_often_as_drawn():
    """An image drawn twice counts as two images would."""
    draw = np.random.default_rng(3)
    objects = drawn(draw, 40, 5, 2)
    found = drawn(draw, 60, 5, 2, objects)
    found = Detections(found.image, found.label, found.boxes, draw.permutation(60) / 60)
    times = np.array([2, 0, 1, 3, 1])

    def repeated(side):
        index = np.concatenate(
            [np.flatnonzero(side.image == i) for i, n in enumerate(times) for _ in range(n)]
        )
        image = np.concatenate(
            [[100 * i + k] * int((side.image == i).sum()) for i, n in enumerate(times) for k in range(n)]
        ).astype(int)
        return Detections(image, side.label[index], side.boxes[index], side.score[index])

    expected = match(repeated(found), repeated(objects)).average_precision()
    assert match(found, objects).average_precision(times) == pytest.approx(expected)


def exact_overlap(one, two):
    """Intersection of convex polygons in exact fractions, one half-plane after the other."""

    def area(corners):
        return sum(
            a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
        ) / Fraction(2)

    def rounded(corners):
        corners = [(Fraction(x), Fraction(y)) for x, y in corners]
        return corners if area(corners) >= 0 else corners[::-1]

    one, two = rounded(one), rounded(two)
    left = one
    for a, b in zip(two, two[1:] + two[:1], strict=True):
        side = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for x, y in left]
        new = []
        for i, corner in enumerate(left):
            j = i - 1
            if (side[i] >= 0) != (side[j] >= 0):
                part = side[j] / (side[j] - side[i])
                new.append(tuple(left[j][k] + part * (corner[k] - left[j][k]) for k in (0, 1)))
            if side[i] >= 0:
                new.append(corner)
        left = new
    shared = area(left) if len(left) > 2 else Fraction(0)
    union = area(one) + area(two) - shared
    return float(shared), float(union)


BOX = st.tuples(
    st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 7)
)


def oriented(center_x, center_y, width, height, turn):
    """Corners in whole numbers of a rectangle along (4, 3), (3, 4) or an axis."""
    ux, uy = [(5, 0), (4, 3), (3, 4), (0, 5), (-4, 3), (-3, 4), (-5, 0), (3, -4)][turn]
    across, down = (ux * width, uy * width), (-uy * height, ux * height)
    return [
        (center_x + sx * across[0] + sy * down[0], center_y + sx * across[1] + sy * down[1])
        for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]


@given(st.lists(st.tuples(BOX, BOX, st.booleans()), min_size=1, max_size=6))
@settings(deadline=None, max_examples=200)
def test_oriented_overlap_is_exact(pairs):
    """Rectangles at any place and angle, corners in either direction, touching and equal ones."""
    ones = [oriented(*one) for one, _, _ in pairs]
    twos = [oriented(*two)[:: -1 if turned else 1] for _, two, turned in pairs]
    shared, union = polygon_parts(np.reshape(ones, (-1, 8)), np.reshape(twos, (-1, 8)))
    for index, (one, two) in enumerate(zip(ones, twos, strict=True)):
        expected = exact_overlap(one, two)
        assert (shared[index], union[index]) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_other_polygons_overlap_as_shapely_says():
    """Arrowheads and other four-cornered shapes that do not cross themselves, as DOTA labels have them."""
    shapely = pytest.importorskip("shapely")
    draw = np.random.default_rng(0)
    polygons = draw.uniform(0, 100, (3000, 4, 2))
    shapes = shapely.polygons(polygons)
    simple = shapely.is_valid(shapes)
    polygons, shapes = polygons[simple], shapes[simple]
    half = len(polygons) // 2
    shared, union = polygon_parts(polygons[:half].reshape(-1, 8), polygons[half : 2 * half].reshape(-1, 8))
    assert half > 500
    assert shared == pytest.approx(
        shapely.area(shapely.intersection(shapes[:half], shapes[half : 2 * half])), abs=1e-6
    )
    assert union == pytest.approx(
        shapely.area(shapely.union(shapes[:half], shapes[half : 2 * half])), abs=1e-6
    )


def test_a_horizontal_box_is_a_polygon():
    """Both ways to the overlap of horizontal boxes give the same."""
    draw = np.random.default_rng(0)
    one, two = (drawn(draw, 500, 1, 1).boxes for _ in range(2))
    corners = [boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]] for boxes in (one, two)]
    assert pair_iou(polygon_parts(*corners)) == pytest.approx(pair_iou(box_parts(one, two)))


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None)
def test_assignment_agrees_with_scipy(rows, more, seed, ties):
    """The least sum of an assignment is that of scipy's ``linear_sum_assignment``."""
    optimize = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(seed)
    shape = rows, rows + more
    costs = draw.integers(0, 4, shape).astype(float) if ties else draw.random(shape)
    expected = costs[optimize.linear_sum_assignment(costs)].sum()
    assert costs[np.arange(rows), assign(costs)].sum() == pytest.approx(expected)
