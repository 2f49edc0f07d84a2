"""Constructing speed and memory: all 37,000 rows of the benchmark from sources whose labels are at hand, no images.

    python benchmarks/construct.py             # about 250,000 labelled images of all listed sources
    python benchmarks/construct.py --share 0.1 # a tenth of them: does it run?

What is measured is what ``irtd construct irtd benchmark`` does between reading labels and opening images: rules,
candidates, balance, choice, and writing the records. The labels are drawn while they are asked for, and the time that
drawing alone takes is told beside. Needs the library's ``dev`` extra (psutil).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil

from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject
from irtd_datasets.construct.benchmark import Construction, Gathering, Options, choose
from irtd_datasets.construct.exclusion import Exclusion
from irtd_datasets.construct.records import write_records
from irtd_datasets.construct.survey import survey
from irtd_datasets.construct.targets import TOTAL, targets
from irtd_datasets.irtd.tasks.recognition import VOCABULARY
from irtd_datasets.sources import get

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = 700
"""Frames of each of LSOTB-TIR's 120 sequences for evaluation, about."""
IMAGES = 3
"""Images of a source for each record of its largest task."""
CLASSES = ("person", "car", "bike", "bus", "truck", "motor")


class Drawn:
    """A source of the table whose labels are drawn."""

    def __init__(self, name: str, share: float) -> None:
        self.name = name
        self.row = get(name)
        layout = self.row.layouts[0]
        splits = SimpleNamespace(every="test", lists=(), field="split")
        self.layout = SimpleNamespace(splits=splits, infrared=layout.infrared)
        self.container = SimpleNamespace(path=Path(name))
        self.tasks = {target.task: target for target in targets() if target.source == name}
        self.count = int(IMAGES * share * max(target.rows for target in self.tasks.values()))

    def images(self) -> Iterator[LabelledImage]:
        """Labels of all images."""
        random = Random(self.name)
        if "recognition" in self.tasks:
            yield from self._videos(random)
        elif "reid" in self.tasks:
            yield from self._persons()
        else:
            for number in range(self.count):
                yield self._image(random, number)

    def _image(self, random: Random, number: int) -> LabelledImage:
        labels = sorted(self.row.exhaustive or CLASSES)
        objects = []
        for _ in range(random.randrange(1, 22)):
            x, y, side = random.randrange(590), random.randrange(460), random.randrange(8, 50)
            objects.append(LabelledObject(random.choice(labels), (x, y, x + side, y + side)))
        scene = (
            random.choice(("field", "forest", "indoor", "street", "water")) if "scene" in self.tasks else None
        )
        name = f"test/{number:06d}.jpg"
        exhaustive = frozenset(labels)
        return LabelledImage(
            self.name, name, tuple(objects), 640, 512, split="test", scene=scene, exhaustive=exhaustive
        )

    def _videos(self, random: Random) -> Iterator[LabelledImage]:
        for video in range(120):
            label = random.choice(VOCABULARY)
            for frame in range(FRAMES):
                box = (frame % 500, 100, frame % 500 + 60, 190)
                name = f"{label}_{video:03d}/{frame:08d}.jpg"
                yield LabelledImage(
                    self.name,
                    name,
                    (LabelledObject(label, box),),
                    640,
                    512,
                    split="test",
                    sequence=f"{label}_{video:03d}",
                    frame=frame,
                )

    def _persons(self) -> Iterator[LabelledImage]:
        for person in range(self.tasks["reid"].rows):
            for shot in range(20):
                yield LabelledImage(
                    self.name,
                    f"{person:04d}/{shot}.jpg",
                    split="test",
                    identity=f"{person}",
                    camera=f"{shot % 4}",
                )


def main() -> None:
    """Measure, and print the figures as text or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    names = list(dict.fromkeys(target.source for target in targets()))
    sources = {name: Drawn(name, arguments.share) for name in names}
    start = time.perf_counter()
    images = sum(1 for source in sources.values() for _ in source.images())
    drawing = time.perf_counter() - start
    options = Options()
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    gathering = Gathering()
    for name, source in sources.items():
        gathering.sources[name] = source
        gathering.wants[name] = source.tasks
        gathering.surveys.append(survey(source, source.tasks, options.rules))
    surveyed = time.perf_counter() - start
    chosen, results = choose(gathering, Exclusion(), options, look=False)
    construction = Construction("benchmark", results, [], {}, {}, {}, [])
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), "benchmark", chosen, construction, gathering, options)
    seconds = time.perf_counter() - start
    figures = {
        "images": images,
        "rows": construction.rows,
        "rows_wanted": TOTAL,
        "seconds": round(seconds, 2),
        "of_these_survey": round(surveyed, 2),
        "drawing_labels_alone": round(drawing, 2),
        "rss_mb_before": before // 1_000_000,
        "rss_mb_after": psutil.Process().memory_info().rss // 1_000_000,
    }
    if arguments.json:
        json.dump(figures, sys.stdout, indent=1)
    else:
        for name, value in figures.items():
            print(f"{name:24} {value:>12,}")


if __name__ == "__main__":
    main()
