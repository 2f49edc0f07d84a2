"""What a build costs more with visible partners: bytes of images a second into a shard, with and without them.

    python benchmarks/partners.py              # 1,500 pairs of 640 x 512, declared aligned
    python benchmarks/partners.py --pairs 300

Images of JPEG are made once; each run writes one shard of them with one row each, as a worker of a build does. With
partners the bytes of both images count. Runs of both kinds alternate; medians are shown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from irtd_datasets.arrow import leave_pandas_out
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.releases.containers import FolderContainer
from irtd_datasets.releases.resolve import ImageResolver, Mount
from irtd_datasets.rows.assembly import image_groups
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.partners import Partners
from irtd_datasets.rows.pending import PendingRow
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.writing.shards import open_shard


def main() -> None:
    """Make the images, write them both ways, print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    leave_pandas_out()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = make(root, options.pairs)
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.runs):
            for partners in (False, True):
                rates[partners].append(write(root, names, partners=partners))
    alone, paired = median(rates[False]), median(rates[True])
    print(
        f"without partners {alone / 1e6:,.0f} MB/s, with partners {paired / 1e6:,.0f} MB/s: {paired / alone:.2f}"
    )


def make(root: Path, count: int) -> list[str]:
    """Write pairs of images of about 60 and 120 kB; returns their names."""
    draw = np.random.default_rng(0)
    for side in ("ir", "vi"):
        (root / side).mkdir()
    names = [f"{number:05d}.jpg" for number in range(count)]
    for name in names:
        small = draw.integers(0, 256, (64, 80, 3), np.uint8)
        image = Image.fromarray(small).resize((640, 512), Image.Resampling.BICUBIC)
        image.convert("L").save(root / "ir" / name, quality=90)
        image.save(root / "vi" / name, quality=92)
    return names


def write(root: Path, names: list[str], *, partners: bool) -> float:
    """Write one shard; returns bytes of images a second."""
    resolver = ImageResolver((Mount("", FolderContainer(root / "ir")),))
    found = Partners(ImageResolver((Mount("", FolderContainer(root / "vi")),)), lambda _: "aligned")
    turns = ({"role": "user", "content": "?"}, {"role": "assistant", "content": "!"})
    begin, size = time.perf_counter(), 0
    images = []
    for name in names:
        located = resolver.resolve(name)
        assert located is not None
        partner = found.find(name) if partners else None
        size += located.size + (partner.located.size if partner is not None else 0)
        images.append((located, partner, [PendingRow(name, name, "captioning", "infrared", None, turns)]))
    counts = RecordCounts()
    with open_shard(root / "shard.parquet") as writer:
        for group in image_groups((resolver, found), images, DefectPolicy(SPEC, {}), counts):
            writer.write(group)
    return size / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
