"""Reading speed: all records of json_sft with their images looked up, the first streamed row, imports, cut archives.

    python benchmarks/read.py --corpus /tmp/irtd-benchmark
    python benchmarks/read.py --corpus /tmp/irtd-benchmark --json-sft path/to/json_sft.zip   # the released texts

Without ``--json-sft`` the texts are those of a sample release with the released counts. The folder of the FLIR frames
is filled up to 100,000 files. Needs the library's ``dev`` extra (psutil), and ``tar`` and ``gzip`` for the last
comparison.

Each way runs in a process of its own, in turn with the others of its table.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER_FILES = 100_000
CAPTIONS = 6_000


def records(release: Path, _: Path) -> dict[str, float]:
    """Parse every record of json_sft and find its image."""
    from irtd_datasets.catalog import open_release
    from irtd_datasets.rows.parsing import parse_file
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import absolute_options

    start = time.perf_counter()
    opened = open_release("irtd", absolute_options(release))
    record_counts, count, found = RecordCounts(), 0, 0
    for member in opened.spec.config("instruct").members:
        resolver = opened.resolver(member.subset)
        for file in opened.files(member):
            for pending in parse_file(opened, file, record_counts):
                count += 1
                found += resolver.resolve(pending.image) is not None
    return {"seconds": time.perf_counter() - start, "records": count, "images_found": found}


def first_row(release: Path, config: str) -> dict[str, float]:
    """`datasets.load_dataset` on the raw release, up to the first row with its image decoded."""
    import datasets

    import irtd_datasets  # noqa: F401 - makes the name known

    start = time.perf_counter()
    rows = datasets.load_dataset("irtd", config, data_dir=str(release), streaming=True, split="train")
    row = next(iter(rows))
    return {"seconds": time.perf_counter() - start, "image": list(row["image"].size)}


def archive_build(release: Path, out: Path) -> dict[str, float]:
    """Build the captions from the cut archive: read as one stream, nothing unpacked."""
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    start = time.perf_counter()
    report = build("irtd", ["pretrain"], absolute_options(release), out)
    return {"seconds": time.perf_counter() - start, "rows": sum(report.rows.values())}


def unpack_and_write(release: Path, out: Path) -> dict[str, float]:
    """Unpack the joined parts to disk, then write images and captions with pyarrow, row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("image", image), ("text", pa.string())])
    out.mkdir()
    start = time.perf_counter()
    parts = " ".join(shlex.quote(str(part)) for part in sorted(release.glob("IR-TD-version*")))
    subprocess.run(f"cat {parts} | tar -xzf - -C {shlex.quote(str(out))}", shell=True, check=True)
    unpacked = time.perf_counter()
    values = json.loads((release / "new_relative.json").read_text(encoding="utf-8"))
    root = out / "Data4MLLM" / "IR-TD-version250724"
    # 6,000 captions are less than one shard of 350 MB, so one file is what the build writes, too.
    with pq.ParquetWriter(
        out / "captions.parquet", schema, compression="none", use_dictionary=False
    ) as writer:
        for first in range(0, len(values), 100):
            rows = [
                {
                    "id": value["image_path"],
                    "image": {
                        "bytes": (root / value["image_path"]).read_bytes(),
                        "path": value["image_path"],
                    },
                    "text": value["description"],
                }
                for value in values[first : first + 100]
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=100)
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "unpacking": unpacked - start,
        "writing": end - unpacked,
        "rows": len(values),
    }


WAYS = {
    "records": records,
    "first-instruct": lambda release, _: first_row(release, "instruct"),
    "first-location": lambda release, _: first_row(release, "instruct-location"),
    "archive": archive_build,
    "unpack": unpack_and_write,
}
IMPORTS = {
    "datasets": "import datasets",
    "both": "import irtd_datasets, datasets",
    "irtd_datasets": "import irtd_datasets",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, help="where the corpus is kept and outputs are written"
    )
    parser.add_argument("--json-sft", type=Path, help="the released json_sft.zip")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--release", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(WAYS[args.way](args.release, args.out)))
        return
    _compare(args)


def _compare(args: argparse.Namespace) -> None:
    import corpus
    from measure import Result, alternate, machine, run_once, settle, table, verdict

    outputs = args.corpus / "out"
    release = _release(args.corpus, args.json_sft)
    captions = corpus.caption_release(args.corpus, CAPTIONS)

    def arguments(way: str, folder: Path) -> list[str]:
        return [
            __file__,
            "--corpus",
            ".",
            "--way",
            way,
            "--release",
            str(folder),
            "--out",
            str(outputs / way),
        ]

    results = {}
    print("reading", file=sys.stderr)
    ways = {
        way: (lambda way=way: arguments(way, release))
        for way in ("records", "first-instruct", "first-location")
    }
    results |= alternate(ways, args.runs, before=lambda: None)
    print("imports", file=sys.stderr)
    ways = {name: (lambda code=code: _timed(code)) for name, code in IMPORTS.items()}
    imports = alternate(ways, max(args.runs, 7), before=lambda: None)
    print("cut archive", file=sys.stderr)
    ways = {way: (lambda way=way: arguments(way, captions)) for way in ("archive", "unpack")}
    results |= alternate(ways, args.runs, before=lambda: settle(captions, outputs))
    settle(captions, outputs)
    peak = Result()
    run_once(arguments("archive", captions), peak, memory=True)
    shutil.rmtree(outputs, ignore_errors=True)

    archive = sum(part.stat().st_size for part in captions.glob("IR-TD-version*"))
    rows = [
        [
            name,
            f"{result.median:.3f}",
            f"{min(result.seconds):.3f}-{max(result.seconds):.3f}",
            f"{min(result.loads):.1f}-{max(result.loads):.1f}",
        ]
        for name, result in {
            **results,
            **{f"import {name}": result for name, result in imports.items()},
        }.items()
    ]
    print(machine())
    print(table(["what", "seconds", "range", "load"], rows), "\n")
    print(f"records: {results['records'].facts}")
    unpacked = results["unpack"].facts
    print(
        f"cut archive of {archive / 1e6:.0f} MB: build {archive / results['archive'].median / 1e6:.0f} MB/s, "
        f"unpacking and plain writer {archive / results['unpack'].median / 1e6:.0f} MB/s (last run: unpacking "
        f"{unpacked['unpacking']:.2f} s, writing {unpacked['writing']:.2f} s); peak memory of the build: "
        f"RSS {peak.peak.rss / 1e6:.0f} MB\n"
    )
    both, alone = imports["both"].median, imports["datasets"].median
    print(verdict("all records parsed, images found, s", results["records"].median, 3, at_least=False))
    for way in ("first-instruct", "first-location"):
        print(verdict(f"first streamed row, {way[6:]}, s", results[way].median, 1, at_least=False))
    print(verdict("import of both, times datasets alone", both / alone, 1.2, at_least=False))
    if args.json:
        found = {name: result.as_dict() for name, result in {**results, **imports}.items()}
        args.json.write_text(json.dumps({"machine": machine(), **found}, indent=1), encoding="utf-8")


def _timed(code: str) -> list[str]:
    return [
        "-c",
        f"import time; start = time.perf_counter(); {code}; print('{{\"seconds\":', time.perf_counter() - start, '}}')",
    ]


def _release(folder: Path, json_sft: Path | None) -> Path:
    """A release with the texts of json_sft, an image for each name, and 100,000 files among the FLIR frames."""
    import io

    from corpus import FLIR, SIZE, flir_name
    from PIL import Image

    from irtd_datasets.catalog import open_release
    from irtd_datasets.rows.parsing import parse_file
    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.testing import write_sample_release

    root = folder / ("released" if json_sft else "sample")
    if (root / "complete").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    if json_sft:
        root.mkdir(parents=True)
        shutil.copy(json_sft, root / "json_sft.zip")
    else:
        write_sample_release("irtd", root, rows=40_200, images=False, captions=0)
    release = open_release("irtd", absolute_options(root))
    members = release.spec.config("instruct").members
    files = [file for member in members for file in release.files(member)]
    names = {pending.image for file in files for pending in parse_file(release, file, RecordCounts())}
    frames = {name for name in names if name.startswith(f"{FLIR}/")}
    number = 0
    while len(frames) < FOLDER_FILES:
        frames.add(f"{FLIR}/{flir_name(number)}")
        number += 1
    image = io.BytesIO()
    Image.new("L", SIZE).save(image, "JPEG")
    for name in names | frames:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.getvalue())
    (root / "complete").touch()
    return root


if __name__ == "__main__":
    main()
