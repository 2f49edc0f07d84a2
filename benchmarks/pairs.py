"""`crop_pair`: pairs a second on one core, in processor time, beside what one would write with OpenCV.

    python benchmarks/pairs.py            # 2,000 pairs of 640 x 512 with 6 objects each, three rounds
    python benchmarks/pairs.py --pairs 200

Ways, alternated:

- ``crop_pair``: files in memory, boxes of both modalities with classes; objects matched, transform, crop, boxes moved.
  Pixels stay undecoded, as in a run whose crops are written later or whose pairs are aligned.
- ``crop_pair, pixels``: the same, and the pixels of both crops.
- ``by images, pixels``: scenes of rectangles as two sensors see them, without labels; the edges tell. A twentieth of
  the pairs. Two in five are aligned, two have views of their own, one is of two scenes, which has to be refused.
- ``OpenCV, pixels``: images decoded, objects matched by their order from the left, ``estimateAffinePartial2D`` with
  RANSAC over the box corners, both images cut. It is what tutorials do; it needs the same number of objects in both.

A pair counts as right when the corners of the infrared crop lie within 2 % of the diagonal of the truth. Two of the six
objects have another label error: in a third of the pairs one object is missing in one modality. Needs
``opencv-python-headless`` for the last way, which is left out without it.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time

import numpy as np
from PIL import Image

from irtd_datasets.images.pairs import PairTransform, crop_pair

WIDTH, HEIGHT = 640, 512
OBJECTS = 6
ROUNDS = 3


def main() -> None:
    """Make pairs and measure all ways in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2000)
    count = parser.parse_args().pairs
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core
    pairs = [make_pair(number) for number in range(count)]
    ways = {"crop_pair": (library, False), "crop_pair, pixels": (library, True)}
    try:
        import cv2
    except ImportError:
        print("OpenCV is not installed: its way is left out")
    else:
        cv2.setNumThreads(1)
        ways["OpenCV, pixels"] = (opencv, True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    right: dict[str, tuple[int, int]] = {}
    seen = [make_scene(number) for number in range(max(5, count // 20))]
    by_images: list[float] = []
    for _ in range(ROUNDS):
        for name, (way, pixels) in ways.items():
            start = time.process_time()
            found = [way(*pair[:4], pixels=pixels) for pair in pairs]
            seconds[name].append(time.process_time() - start)
            answers = [
                is_right(one, pair[4]) for one, pair in zip(found, pairs, strict=True) if one is not None
            ]
            right[name] = sum(answers), len(answers)
        start = time.process_time()
        answers = [look(*scene) for scene in seen]
        by_images.append(time.process_time() - start)
    print(f"{count} pairs of {WIDTH}x{HEIGHT}, {OBJECTS} objects; load {os.getloadavg()[0]:.1f}")
    print("| way | pairs a second | right | wrong | no answer |")
    print("|---|---:|---:|---:|---:|")
    for name, times in seconds.items():
        good, answered = right[name]
        print(
            f"| {name} | {count / statistics.median(times):,.0f} | {good} | {answered - good} | {count - answered} |"
        )
    good, wrong = answers.count("right"), answers.count("wrong")
    print(
        f"| by images, pixels ({len(seen)} pairs) | {len(seen) / statistics.median(by_images):,.1f} | {good} | {wrong} "
        f"| {len(seen) - good - wrong} |"
    )


def make_scene(number: int) -> tuple:
    """Files of a visible image and of an infrared one, and the place of the infrared view in it; None for no place."""
    rng = np.random.default_rng(number)
    visible, other = (blocks(rng) for _ in range(2))
    place = (
        (0, 0, 900, 720) if number % 5 < 2 else tuple(int(v) for v in (*rng.integers(0, 120, 2), 780, 620))
    )
    seen = Image.fromarray(other if number % 5 == 4 else visible).resize((WIDTH, HEIGHT), box=place)
    levels = rng.permutation([0, 70, 130, 190, 255])
    grey = np.interp(np.asarray(seen), [0, 60, 120, 180, 255], levels) + rng.normal(0, 5, (HEIGHT, WIDTH))
    files = [io.BytesIO(), io.BytesIO()]
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(files[0], "JPEG", quality=92)
    Image.fromarray(visible).convert("RGB").save(files[1], "JPEG", quality=92)
    return files[0].getvalue(), files[1].getvalue(), None if number % 5 == 4 else place


def blocks(rng) -> np.ndarray:
    """A scene of 900 x 720 with edges everywhere."""
    image = np.full((720, 900), 110, np.uint8)
    for _ in range(160):
        x, y, width, height = *rng.integers(0, (900, 720)), *rng.integers(15, 110, 2)
        image[y : y + height, x : x + width] = rng.integers(0, 256)
    return image


def look(infrared, visible, place) -> str:
    """Register a pair by its edges and cut it; whether the answer is right."""
    result = crop_pair(infrared, visible, method="images")
    if not result:
        return "right" if place is None else "none"
    for part in (result.infrared, result.visible):
        part.image().load()
    if place is None:
        return "wrong"
    corners = result.transform.apply(np.array(place, float)) - [0, 0, WIDTH, HEIGHT]
    return "right" if np.abs(corners).max() < 0.013 * np.hypot(WIDTH, HEIGHT) else "wrong"


def make_pair(number: int) -> tuple:
    """Both files, both tables of boxes with classes, and the truth."""
    rng = np.random.default_rng(number)
    scale = rng.uniform(0.6, 0.95)
    truth = PairTransform(
        scale, scale, rng.uniform(0, (1 - scale) * WIDTH), rng.uniform(0, (1 - scale) * HEIGHT)
    )
    low = rng.uniform([20, 20], [WIDTH - 120, HEIGHT - 120], (OBJECTS, 2))
    visible = np.hstack([low, low + rng.uniform(20, 90, (OBJECTS, 2))])
    infrared = truth.apply(visible) + rng.normal(0, 1.0, visible.shape)
    classes = rng.integers(0, 3, OBJECTS)
    tables = [(infrared, classes), (visible, classes)]
    if number % 3 == 0:
        side = int(rng.integers(2))
        boxes, codes = tables[side]
        tables[side] = boxes[1:], codes[1:]
    files = []
    for _ in range(2):
        blocks = rng.integers(0, 256, (16, 20), np.uint8)
        file = io.BytesIO()
        Image.fromarray(blocks).resize((WIDTH, HEIGHT)).save(file, "JPEG")
        files.append(file.getvalue())
    return *files, *tables, truth


def library(infrared, visible, infrared_table, visible_table, *, pixels):
    """The transform, or None where it is refused."""
    result = crop_pair(
        infrared, visible, infrared_boxes=infrared_table[0], visible_boxes=visible_table[0],
        infrared_labels=infrared_table[1].tolist(), visible_labels=visible_table[1].tolist(), method="labels",
    )  # fmt: skip
    if not result:
        return None
    if pixels:
        np.asarray(result.infrared.pixels())
        np.asarray(result.visible.pixels())
    transform = result.transform
    return np.array([[transform.scale_x, 0, transform.shift_x], [0, transform.scale_y, transform.shift_y]])


def opencv(infrared, visible, infrared_table, visible_table, *, pixels):  # noqa: ARG001 - always decodes
    """The transform, or None where there are not enough objects."""
    import cv2

    images = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for data in (infrared, visible)
    ]
    boxes = []
    for table, codes in (infrared_table, visible_table):
        order = np.lexsort((table[:, 0], codes))
        boxes.append(table[order])
    count = min(map(len, boxes))
    target, source = (table[:count].reshape(-1, 2).astype(np.float32) for table in boxes)
    matrix, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=5)
    if matrix is None:
        return None
    corners = np.array([[0, 0], [WIDTH, HEIGHT]]) @ matrix[:, :2].T + matrix[:, 2]
    low, high = np.clip(corners.round().astype(int), 0, [WIDTH, HEIGHT])
    images[0][low[1] : high[1], low[0] : high[0]].copy()
    return matrix


def is_right(matrix, truth) -> bool:
    """Whether the corners of the visible image lie where they should."""
    corners = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]], float)
    away = np.linalg.norm(corners @ matrix[:, :2].T + matrix[:, 2] - truth.apply(corners), axis=1)
    return bool(away.max() < 0.02 * np.hypot(WIDTH, HEIGHT))


if __name__ == "__main__":
    main()
