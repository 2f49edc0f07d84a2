"""Speed of the commands on dataset folders: subset, split and merge against copying the bytes, dedup, stats.

    python benchmarks/folders.py --corpus /tmp/irtd-benchmark            # 20,000 images, 1.2 GB, three rounds
    python benchmarks/folders.py --corpus /tmp/irtd-benchmark --quick    # 2,000 images, one round: does it run?

Each way runs in a process of its own, in turn with the others; outputs of the one before are deleted, and the folders
that are read are in the page cache. The limit of a command is reading and writing as many bytes as its result has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from corpus import instruct_release
from measure import alternate, machine, settle, table, verdict

_BLOCK = 1 << 20


def _copy(folders: list[Path], out: Path, share: float = 1.0) -> dict[str, float]:
    """The limit: read the shards of folders and write a share of their bytes, nothing else."""
    out.mkdir(parents=True)
    files = [file for folder in folders for file in sorted(folder.rglob("*-of-*.parquet"))]
    start, size = time.perf_counter(), 0
    for number, file in enumerate(files):
        left = int(file.stat().st_size * share)
        with (
            file.open("rb", buffering=0) as source,
            (out / f"{number}.bin").open("wb", buffering=0) as target,
        ):
            while left and (block := source.read(min(_BLOCK, left))):
                target.write(block)
                size += len(block)
                left -= len(block)
    return {"seconds": time.perf_counter() - start, "bytes": size}


def _timed(work: object) -> dict[str, float]:
    assert callable(work)
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start}


def _subset(folder: Path, out: Path) -> dict[str, float]:
    from irtd_datasets.curation.subset import subset

    rows = json.loads((folder / "manifest.json").read_text())["parts"]
    half = sum(part["rows"] for part in rows) // 2
    return _timed(lambda: subset(folder, out, rows=half))


def _whole(folder: Path, out: Path) -> dict[str, float]:
    from irtd_datasets.curation.subset import subset

    return _timed(lambda: subset(folder, out))


def _split(folder: Path, out: Path) -> dict[str, float]:
    from irtd_datasets.curation.split import split

    return _timed(lambda: split(folder, out, validation=0.1))


def _merge(folder: Path, out: Path) -> dict[str, float]:
    from irtd_datasets.curation.merge import merge

    halves = [folder.parent / "a", folder.parent / "b"]
    return _timed(lambda: merge(halves, out))


def _dedup(folder: Path, out: Path) -> dict[str, float]:
    from irtd_datasets.curation.dedup import dedup

    found = {}
    timed = _timed(lambda: found.update(images=dedup(folder, out, workers=2).images))
    return {**timed, **found}


def _stats(folder: Path, _: Path) -> dict[str, float]:
    from irtd_datasets.curation.statistics import statistics as count

    found = {}
    timed = _timed(lambda: found.update(groups=count(folder).row_groups))
    return {**timed, **found}


WAYS = {
    "copy": lambda folder, out: _copy([folder], out),
    "copy-half": lambda folder, out: _copy([folder], out, 0.5),
    "subset": _subset,
    "subset-whole": _whole,
    "split": _split,
    "merge": _merge,
    "dedup": _dedup,
    "stats": _stats,
}


def _folders(corpus: Path, images: int) -> Path:
    """The folder that is read, and its two halves beside it; made once."""
    import numpy as np

    from irtd_datasets.folder.stored import StoredFolder
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build
    from irtd_datasets.writing.rewrite import Rewriting, rewrite

    place = corpus / f"folders-{images}"
    whole = place / "whole"
    if not (whole / "manifest.json").is_file():
        build("irtd", ["instruct"], absolute_options(instruct_release(corpus, images, 1)), whole, workers=2)
    for number, name in enumerate("ab"):
        if not (place / name / "manifest.json").is_file():
            half = Rewriting(
                name,
                lambda _, shard, number=number: np.where(np.arange(shard.rows) % 2 == number, 0, -1),
                ("other half",),
            )
            rewrite([StoredFolder.open(whole)], place / name, half)
    return whole


def main() -> None:
    """Run the ways in turn and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="where folders are kept and written")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--quick", action="store_true", help="2,000 images, one round")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        from irtd_datasets.arrow import leave_pandas_out

        leave_pandas_out(for_good=True)  # as the command line does
        print(json.dumps(WAYS[args.way](args.folder, args.out)))
        return
    if args.quick:
        args.images, args.runs = 2_000, 1
    args.corpus.mkdir(parents=True, exist_ok=True)
    whole, outputs = _folders(args.corpus, args.images), args.corpus / "out"

    def arguments(way: str) -> list[str]:
        return [__file__, "--corpus", ".", "--way", way, "--folder", str(whole), "--out", str(outputs / way)]

    print(f"{args.images} images, {args.runs} rounds", file=sys.stderr)
    ways = {way: (lambda way=way: arguments(way)) for way in args.ways}
    results = alternate(ways, args.runs, before=lambda: settle(whole, outputs))
    shutil.rmtree(outputs, ignore_errors=True)
    median = {way: result.median for way, result in results.items()}
    limits = {"subset": "copy-half", "subset-whole": "copy", "split": "copy", "merge": "copy"}
    rows = [
        [
            way,
            f"{median[way]:.2f}",
            f"{min(result.seconds):.2f}-{max(result.seconds):.2f}",
            f"{median[limits[way]] / median[way]:.2f}" if limits.get(way) in median else "",
            f"{statistics.median(result.cpu_seconds):.2f}",
            f"{min(result.loads):.1f}-{max(result.loads):.1f}",
        ]
        for way, result in results.items()
    ]
    print(machine())
    print(table(["way", "seconds", "range", "of the limit", "CPU s", "load"], rows), "\n")
    for way, limit in limits.items():
        if {way, limit} <= set(median):
            print(verdict(f"{way}, of the copy's speed", median[limit] / median[way], 0.5, at_least=True))
    if "dedup" in median:
        seconds = median["dedup"] * 100_000 / results["dedup"].facts["images"]
        print(verdict("dedup of 100,000 images, seconds", seconds, 600, at_least=False))
    if "stats" in median:
        seconds = median["stats"] * 1_000 / results["stats"].facts["groups"]
        print(verdict("stats of 1,000 row groups, seconds", seconds, 5, at_least=False))


if __name__ == "__main__":
    main()
