"""Boxes: a million conversions, rewriting 100,000 conversations, and a safe name.

Run with ``python benchmarks/boxes.py``; prints medians of five.
"""

from __future__ import annotations

import random
import statistics
import time

import numpy as np

from irtd_datasets.boxes import convert, rewrite_boxes
from irtd_datasets.releases.paths import safe_name


def _median(run, times=5):
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main():
    rng = np.random.default_rng(0)
    sizes = rng.integers(300, 4000, (1_000_000, 2))
    boxes = rng.random((1_000_000, 4))
    one = _median(lambda: convert(boxes, "square_unit", "per_mille", 640, 512))
    many = _median(lambda: convert(boxes, "square_unit", "per_mille", sizes[:, 0], sizes[:, 1]))
    print(f"a million boxes, one size: {one:.2f} s; a size each: {many:.2f} s")

    draw = random.Random(0)
    groups = [",".join(f"{draw.random():.2f}" for _ in range(4)) for _ in range(8)]
    talk = [
        {"role": "user", "content": "Detect all objects shown in the image."},
        {"role": "assistant", "content": f"There are <p>eight ships</p>[{';'.join(groups)}] in the image."},
    ]

    def rewrite():
        for _ in range(10_000):
            rewrite_boxes(talk, source="square_unit", target="per_mille", width=640, height=512)

    print(f"100,000 conversations of 8 boxes rewritten: {_median(rewrite) * 10:.1f} s")
    names = [f"63-FLIR_ADAS/training/PreviewData/FLIR_{number:05d}.jpeg" for number in range(100_000)]
    print(f"100,000 names checked: {_median(lambda: [safe_name(name) for name in names]):.3f} s")


if __name__ == "__main__":
    main()
