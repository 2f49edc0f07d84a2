"""Build speed and memory: `irtd build` against reading and writing the same bytes, and against a plain builder.

    python benchmarks/build.py --corpus /tmp/irtd-benchmark            # 20,000 images, 1.2 GB, three rounds
    python benchmarks/build.py --corpus /tmp/irtd-benchmark --quick    # 2,000 images, one round: does it run?

Needs the library's ``dev`` extra (psutil), three times the corpus as free disk, and page cache for twice the corpus.

Each way runs in a process of its own, in turn with the others, and every run starts alike: the outputs of the one
before are deleted, ``sync`` has put dirty pages to disk, the corpus has just been read into the page cache, and as much
memory as a run fills has just been touched. No way waits for its own bytes to reach the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, for all ways alike

if TYPE_CHECKING:
    from measure import Result

SHARD_BYTES = 350 * 1024 * 1024


def copy(release: Path, out: Path) -> dict[str, float]:
    """The limit: read every image and write its bytes to files of 350 MB, nothing else."""
    from corpus import FLIR

    folder = release / FLIR
    names = sorted(entry.name for entry in os.scandir(folder))
    out.mkdir()
    prefix, size = f"{folder}/", 0
    start = time.perf_counter()
    target, room, number = None, 0, 0
    for name in names:
        with FileIO(prefix + name) as source:
            data = source.read()
        if target is None or len(data) > room:
            if target is not None:
                target.close()
            target = FileIO(out / f"{number:05d}.bin", "wb")
            room, number = SHARD_BYTES, number + 1
        target.write(data)
        room -= len(data)
        size += len(data)
    if target is not None:
        target.close()
    return {"seconds": time.perf_counter() - start, "bytes": size, "files": number}


def build(release: Path, out: Path, workers: int) -> dict[str, float]:
    """What ``irtd build irtd instruct`` calls."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build as run
    from irtd_datasets.writing.workers import prepare_process

    start = time.perf_counter()
    prepare_process()
    report = run("irtd", ["instruct"], absolute_options(release), out, workers=workers)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "rows": sum(report.rows.values()),
        "files": report.written,
        "datasets_imported": "datasets" in sys.modules,
    }


def build_on_one_processor(release: Path, out: Path) -> dict[str, float]:
    """One worker that has one processor, as each of two workers on two."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return build(release, out, 1)


def plain(release: Path, out: Path) -> dict[str, float]:
    """A GeneratorBasedBuilder, downloaded and prepared as Parquet."""
    from plain_builder import PlainInstruct

    builder = PlainInstruct(data_dir=str(release), cache_dir=str(out / "cache"))
    start = time.perf_counter()
    builder.download_and_prepare(str(out / "parquet"), file_format="parquet")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows": sum(split.num_examples for split in builder.info.splits.values())}


def check(folder: Path) -> None:
    """Stop unless the plain builder wrote the rows that the build wrote: a comparison needs equal work."""
    import pyarrow.parquet as pq

    for task in ("location", "security"):
        ours, theirs = (
            {
                row["id"]: row
                for path in sorted(parent.glob(pattern))
                for batch in pq.ParquetFile(path).iter_batches(200)
                for row in batch.to_pylist()
            }
            for parent, pattern in (
                (folder / "build-1" / "instruct" / task, "*.parquet"),
                (folder / "plain" / "parquet", f"*{task}*.parquet"),
            )
        )
        for key, row in ours.items():
            other = theirs.pop(key)
            for image in (row["image"], other["image"]):
                image["path"] = Path(image["path"]).name  # `datasets` keeps no more of a name
            differing = [name for name in row if row[name] != other[name]]
            if differing:
                name = differing[0]
                raise SystemExit(f"{key}, {name}: {str(row[name])[:200]} != {str(other[name])[:200]}")
        if theirs:
            raise SystemExit(f"{len(theirs)} rows of {task} are not in the build")
    print("rows of build and plain builder are equal", file=sys.stderr)


WAYS = {
    "copy": copy,
    "build-1": lambda release, out: build(release, out, 1),
    **({"build-1-of-1": build_on_one_processor} if hasattr(os, "sched_setaffinity") else {}),
    "build-2": lambda release, out: build(release, out, 2),
    "plain": plain,
}
TITLES = {
    "copy": "read and write the bytes (limit)",
    "build-1": "build, 1 worker",
    "build-1-of-1": "build, 1 worker on one processor",
    "build-2": "build, 2 workers",
    "plain": "GeneratorBasedBuilder to Parquet",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="where the corpus is kept and outputs are written"
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rows-per-image", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument(
        "--memory", nargs="*", type=int, default=[2_000, 20_000], help="images; none to leave out"
    )
    parser.add_argument("--quick", action="store_true", help="2,000 images, one round, no memory")
    parser.add_argument("--check", action="store_true", help="compare the rows of build and plain builder")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--release", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(WAYS[args.way](args.release, args.out)))
        return
    if args.quick:
        args.images, args.runs, args.memory = 2_000, 1, []
    _compare(args)


def _compare(args: argparse.Namespace) -> None:
    import corpus
    from measure import alternate, machine, settle, table, verdict

    outputs = args.corpus / "out"

    def arguments(release: Path, way: str) -> list[str]:
        return [
            __file__,
            "--corpus",
            ".",
            "--way",
            way,
            "--release",
            str(release),
            "--out",
            str(outputs / way),
        ]

    release = corpus.instruct_release(args.corpus, args.images, args.rows_per_image)
    if args.check:
        from measure import Result, run_once

        settle(release, outputs)
        for way in ("build-1", "plain"):
            run_once(arguments(release, way), Result())
        check(outputs)
    print(f"{args.images} images, {args.rows_per_image} rows each, {args.runs} rounds", file=sys.stderr)
    ways = {way: (lambda way=way: arguments(release, way)) for way in args.ways}
    results = alternate(ways, args.runs, before=lambda: settle(release, outputs))
    size = sum(entry.stat().st_size for entry in os.scandir(release / corpus.FLIR))

    memory = {images: _peaks(args, images, arguments, outputs) for images in args.memory}
    shutil.rmtree(outputs, ignore_errors=True)

    median = {way: result.median for way, result in results.items()}
    rows = [
        [
            TITLES[way],
            f"{median[way]:.2f}",
            f"{min(result.seconds):.2f}-{max(result.seconds):.2f}",
            f"{size / median[way] / 1e6:.0f}",
            f"{median['copy'] / median[way]:.2f}" if "copy" in median else "",
            f"{statistics.median(result.process_seconds):.2f}",
            f"{statistics.median(result.cpu_seconds):.2f}",
            f"{min(result.loads):.1f}-{max(result.loads):.1f}",
        ]
        for way, result in results.items()
    ]
    print(machine())
    print(f"{args.images} images, {size / 1e9:.2f} GB, {args.rows_per_image} rows each\n")
    print(
        table(
            ["way", "seconds", "range", "MB/s of images", "of the limit", "process s", "CPU s", "load"],
            rows,
        ),
        "\n",
    )
    if memory:
        rows = [
            [
                f"{TITLES[way]}, {images} images",
                *(f"{getattr(result.peak, kind) / 1e6:.0f}" for kind in ("rss", "pss", "uss")),
                str(result.peak.processes),
            ]
            for images, measured in memory.items()
            for way, result in measured.items()
        ]
        print(table(["peak of the process tree, MB", "RSS", "PSS", "USS", "processes"], rows), "\n")
    for first, second, text, limit in (
        ("copy", "build-1", "build, 1 worker, of the limit's speed", 0.35),
        ("copy", "build-2", "build, 2 workers, of the limit's speed", 0.5),
        ("plain", "build-1", "build, 1 worker, times the plain builder", 3),
        ("plain", "build-2", "build, 2 workers, times the plain builder", 3),
        ("build-1", "build-2", "two workers, times one", 1.6),
        ("build-1-of-1", "build-2", "two workers, times one on one processor", 1.6),
    ):
        if {first, second} <= set(median):
            print(verdict(text, median[first] / median[second], limit, at_least=True))
    for way in {"build-1", "build-2"} & set(results):
        each = 1000 * statistics.median(results[way].cpu_seconds) / (args.images * args.rows_per_image)
        print(verdict(f"{TITLES[way]}, ms of processor time a record", each, 0.25, at_least=False))
    peaks = {(way, n): result.peak.rss / 1e6 for n, found in memory.items() for way, result in found.items()}
    for (way, images), peak in peaks.items():
        print(verdict(f"{TITLES[way]}, {images} images, MB (RSS)", peak, 600, at_least=False))
    if args.json:
        values = {
            "machine": machine(),
            "images": args.images,
            "bytes": size,
            "speed": {way: result.as_dict() for way, result in results.items()},
            "memory": {n: {way: r.as_dict() for way, r in found.items()} for n, found in memory.items()},
        }
        args.json.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _peaks(args: argparse.Namespace, images: int, arguments, outputs: Path) -> dict[str, Result]:
    """Memory of the builds of a corpus of so many images."""
    import corpus
    from measure import alternate, settle

    release = corpus.instruct_release(args.corpus, images, args.rows_per_image)
    ways = {
        way: (lambda way=way: arguments(release, way)) for way in args.ways if way in {"build-1", "build-2"}
    }
    return alternate(ways, args.runs, before=lambda: settle(release, outputs), memory=True)


if __name__ == "__main__":
    main()
