"""The check of a dataset folder without decoding images, against reading its footers, and its text, with pyarrow.

    python benchmarks/check.py --folder /tmp/irtd-check-benchmark
    python benchmarks/check.py --folder /tmp/irtd-check-benchmark --image-bytes 62000   # 1,000 row groups of 6.2 MB

Makes a folder of the given number of row groups of 100 rows, which a later run takes over. The bytes of its images
are no images: none is decoded here. The ways run alternately in one process, medians of five; the memory is that of a
process of its own.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROWS, SHARDS = 100, 8


def make(folder, groups, image_bytes):
    """A dataset folder of IR-TD whose rows look like those of its Location task."""
    from irtd_datasets.catalog import spec
    from irtd_datasets.folder.ledger import Ledger, LedgerLine
    from irtd_datasets.folder.parts import BuiltPart, ShardResult
    from irtd_datasets.rows.image_column import ImageColumn
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.schema import TASKS, arrow_schema, hub_metadata
    from irtd_datasets.writing.folder import DatasetFolder
    from irtd_datasets.writing.write import RowGroup, ShardWriter

    place = DatasetFolder(folder, spec("irtd"))
    place.prepare()
    member = next(member for member in place.spec.members if member.key == ("instruct", "location"))
    draw, number, shards = random.Random(0), 0, []
    for shard in range(SHARDS):
        path = place.staged(member, shard, "")
        with ShardWriter(path, arrow_schema(metadata=False), features=hub_metadata()) as writer:
            for _ in range(groups // SHARDS):
                rows = [row(number + index, draw, TASKS.index("location")) for index in range(ROWS)]
                contents = [
                    (number + index).to_bytes(8, "little") + bytes(image_bytes) for index in range(ROWS)
                ]
                images = {name: ImageColumn.null(ROWS) for name in ("visible", "original")}
                writer.write(RowGroup(rows, {"image": ImageColumn.of(contents), **images}))
                number += ROWS
        rows = writer.summary.rows
        shards.append(ShardResult("", writer.summary, RecordCounts(found=rows, kept=rows)))
    part = BuiltPart(*member.key, "train", "", tuple(shards), RecordCounts())
    line = LedgerLine(*member.key, member.part.file, member.part.records, part.record_counts())
    place.publish([part], Ledger("irtd", (line,)))


def row(number, draw, task):
    """A row without its image."""
    x, y = draw.randrange(640), draw.randrange(512)
    question = (
        "Where is the car to the left of the second person, seen from the camera? Answer with one point. "
    )
    return {
        "id": f"irtd/instruct/location/{number}",
        "modality": 0,
        "task": task,
        "source": "FLIR_ADAS",
        "messages": [
            {"role": "user", "content": question * 3},
            {"role": "assistant", "content": f"({x}, {y})"},
        ],
        "question": question,
        "choices": [],
        "answer": f"({x}, {y})",
        "objects": {
            "label": ["car"],
            "box": [[1.0, 2.0, 3.0, 4.0]],
            "polygon": [],
            "point": [[float(x), float(y)]],
        },
        "box_frame": 2,
        "width": 640,
        "height": 512,
        "bit_depth": 8,
        "image_note": "",
        "issues": ["x"] * draw.randrange(3),
        "corrections": [],
    }


def footers(folder):
    """The limit: every footer read and every column chunk in it asked for its size."""
    import pyarrow.parquet as pq

    total = 0
    for path in sorted(folder.rglob("*.parquet")):
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            total += sum(group.column(column).total_compressed_size for column in range(metadata.num_columns))
    return total


def text(folder):
    """All columns but the bytes of images."""
    import pyarrow.parquet as pq

    for path in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(path) as parquet:
            columns = [parquet.schema.column(index).path for index in range(len(parquet.schema))]
            parquet.read(columns=[name for name in columns if not name.endswith(".bytes")])


def check(folder):
    """The check, offline, no image decoded."""
    from irtd_datasets.hub.check import check_folder

    report = check_folder(folder, images="none")
    if report.errors:
        raise SystemExit(f"the folder is not good: {report.errors[0]}")
    return report


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--image-bytes", type=int, default=2_000)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        check(options.folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if not (options.folder / "manifest.json").is_file():
        make(options.folder, options.groups, options.image_bytes)
    facts = check(options.folder).facts
    ways = {"footers": footers, "text": text, "check": check}
    seconds = {name: [] for name in ways}
    for _ in range(5):
        for name, way in ways.items():
            start = time.perf_counter()
            way(options.folder)
            seconds[name].append(time.perf_counter() - start)
    peak = subprocess.run(
        [sys.executable, __file__, "--folder", str(options.folder), "--once"],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"{facts['row_groups']:,} row groups, {facts['rows']:,} rows, {facts['bytes'] / 1e9:.2f} GB")
    for name, runs in seconds.items():
        median = statistics.median(runs)
        print(f"{name}: {median:.2f} s, {median / facts['row_groups'] * 1000:.2f} s per 1,000 row groups")
    print(f"peak memory of a process that checks: {float(peak.stdout):.0f} MB")


if __name__ == "__main__":
    main()
