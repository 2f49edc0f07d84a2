"""What a build of millions of rows needs: the plan, measured by running its code on drawn numbers, and counts.

    python benchmarks/scale.py                     plan 1, 10 and 100 million rows, each in a process of its own
    python benchmarks/scale.py --rows 10000000     one size
    python benchmarks/scale.py --records 200000    the whole way of a plan, from JSON records to shards, of a sample

Each image has one row here, the hardest case: keys, sizes and lines of equally many images. Everything that a plan
does once per row in Python code (parsing the record, looking for the image) is not in the first figure; the second
measures it with the rest.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGE_BYTES = 60_000
LINE_BYTES = 600
BATCH = 1 << 20


def simulate(rows):
    """Order and divide drawn rows with the code of a plan; prints what it took as JSON."""
    import numpy as np

    from irtd_datasets.catalog import spec
    from irtd_datasets.rows.order import RowOrder
    from irtd_datasets.rows.release import ReleaseOptions
    from irtd_datasets.writing.dask_workers import WINDOW
    from irtd_datasets.writing.plan import IMAGE_SIZES, ShardJob, cut_shards, shard_count
    from irtd_datasets.writing.shards import write_shard
    from irtd_datasets.writing.worker_environment import WorkerEnvironment, run_at

    draw = np.random.default_rng(0)
    before, clock = peak(), Clock()
    order = RowOrder()
    found = total = 0
    with tempfile.TemporaryFile() as images:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            keys = draw.integers(0, 2**64, count, dtype=np.uint64).tolist()
            lengths = draw.integers(LINE_BYTES // 2, LINE_BYTES * 3 // 2, count).tolist()
            with clock:
                for key, length in zip(keys, lengths, strict=True):
                    order.add(key, length)
        shares = order.shares("by-image")
        while True:
            with clock:
                keys, places = next(shares, (None, None))
                if keys is None:
                    break
                starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
            sizes = draw.integers(IMAGE_BYTES // 2, IMAGE_BYTES * 3 // 2, len(starts))
            with clock:
                for size, length in zip(
                    sizes.tolist(), np.add.reduceat(places[:, 1], starts).tolist(), strict=True
                ):
                    images.write(IMAGE_SIZES.pack(size, length))
            found += len(starts)
            total += int(sizes.sum())
        with clock:
            shards = cut_shards(images, shard_count(total))
            member = spec("mmrs_1m").members[0]
            options = ReleaseOptions("/data/mmrs_1m")
            jobs = [
                ShardJob("mmrs_1m", options, member, index, "/data/records.jsonl", stretch, size, "0" * 32)
                for index, (stretch, size) in enumerate(shards)
            ]
    assert sum(size for _, size in shards) == total
    site = WorkerEnvironment.here("run", [("the release", "/data/mmrs_1m")])
    task = len(pickle.dumps((run_at, site, write_shard, jobs[0], "/data/out/shard-00000.parquet")))
    print(
        json.dumps(
            {
                "rows": rows,
                "seconds": round(clock.seconds, 1),
                "cpu_seconds": round(clock.cpu_seconds, 1),
                "peak_mb": peak() // 1000,
                "before_mb": before // 1000,
                "shards": len(jobs),
                "row_groups": -(-rows // 100),
                "data_gb": total // 10**9,
                "records_gb": round(sum(end - start for (start, end), _ in shards) / 1e9, 1),
                "task_bytes": task,
                "scheduler_mb": round(min(WINDOW, len(jobs)) * task / 1e6, 1),
            }
        )
    )


def plan_records(rows):
    """Plan a release of captions with tiny images, from its JSON; prints rows a second as JSON."""
    from irtd_datasets.catalog import open_release
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.testing import write_sample_release
    from irtd_datasets.writing.plan import plan_part

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = write_sample_release("irtd", folder / "release", rows=40, captions=12, form="folder").folder
        file = next(release.rglob("Location.json"))
        records = json.loads(file.read_text())
        file.write_text(json.dumps([records[index % len(records)] for index in range(rows)]))
        del records
        opened = open_release("irtd", absolute_options(release))
        member = next(one for one in opened.spec.members if one.key == ("instruct", "location"))
        clock = Clock()
        with clock:
            plan = plan_part(opened, member, opened.files(member), folder / "records.jsonl")
        print(
            json.dumps(
                {
                    "records": plan.record_counts.found,
                    "seconds": round(clock.seconds, 1),
                    "cpu_seconds": round(clock.cpu_seconds, 1),
                    "records_a_cpu_second": round(plan.record_counts.found / clock.cpu_seconds),
                    "peak_mb": peak() // 1000,
                }
            )
        )


class Clock:
    """Adds up what is spent inside `with`, on the wall and of the processor."""

    def __init__(self):
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self):
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.seconds += time.perf_counter() - self._began[0]
        self.cpu_seconds += time.process_time() - self._began[1]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int)
    parser.add_argument("--records", type=int)
    given = parser.parse_args()
    if given.rows:
        simulate(given.rows)
    elif given.records:
        plan_records(given.records)
    else:
        for rows in (1_000_000, 10_000_000, 100_000_000):
            subprocess.run([sys.executable, __file__, "--rows", str(rows)], check=True)


if __name__ == "__main__":
    main()
