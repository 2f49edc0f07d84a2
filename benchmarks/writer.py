"""How fast pictures get into Parquet, and how large the files are.

    python benchmarks/writer.py                      # 6,000 JPEGs of 60 kB, five rounds
    python benchmarks/writer.py --images 1000 --rounds 3 --folder /path/on/the/disk/to/measure

Every way runs in a process of its own, and the ways take turns, so that a slow minute of the machine hits all
of them. Times leave out the imports and the start of the process. The pictures are read from the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS = 100
FEATURES = json.dumps(
    {"info": {"features": {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}}}
).encode()


def schema():
    import pyarrow as pa

    return pa.schema(
        [("id", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    )


def make_corpus(folder: Path, count: int, kilobytes: int) -> None:
    """Valid JPEGs of noise; a comment segment makes each unique, which costs less than encoding each."""
    from PIL import Image

    generator = np.random.default_rng(0)
    side = int((kilobytes * 1000 * 0.9 / 0.78) ** 0.5)  # 0.78 bytes per pixel of noise at quality 85
    stream = io.BytesIO()
    pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    picture = stream.getvalue()
    for number in range(count):
        note = generator.bytes(int(generator.integers(2, min(0.2 * kilobytes * 1000, 65_000))))
        segment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        (folder / f"{number:07d}.jpg").write_bytes(picture[:2] + segment + picture[2:])


def copy(files: list[str], output: Path) -> None:
    """The limit: read each file, write its bytes."""
    with (output / "copy.bin").open("wb", buffering=1 << 20) as target:
        for file in files:
            with open(file, "rb") as source:  # noqa: PTH123
                target.write(source.read())


def copy_and_hash(files: list[str], output: Path) -> None:
    """The limit of a writer that also gives the hash of its file, in one thread."""
    digest = hashlib.sha256()
    with (output / "copy.bin").open("wb", buffering=1 << 20) as target:
        for file in files:
            with open(file, "rb") as source:  # noqa: PTH123
                data = source.read()
            target.write(data)
            digest.update(data)


def shard(files: list[str], output: Path) -> None:
    """Our writer, with the reader of folders."""
    from irtd_datasets.build.image_column import ImageColumn, ImageReader
    from irtd_datasets.build.write import RowGroup, write_shard

    reader = ImageReader()

    def groups():
        for start in range(0, len(files), ROWS):
            batch = reader.read(files[start : start + ROWS])
            rows = [{"id": f"{start + n}"} for n in range(len(batch))]
            yield RowGroup(rows, {"image": ImageColumn.of(batch)})

    write_shard(output / "shard.parquet", schema(), groups(), features=FEATURES)


def shard_without_hash(files: list[str], output: Path) -> None:
    """Our writer, its hash left out, to see what that costs."""
    from irtd_datasets.build import write

    write._update = lambda _digest, _block: None  # noqa: SLF001
    shard(files, output)


def pyarrow_like_datasets(files: list[str], output: Path) -> None:
    """ParquetWriter with the columns set as `datasets` 5.2 sets them, in row groups of 100."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    leaves = {"id": "snappy", "image.bytes": "none", "image.path": "none"}
    options = {
        "compression": leaves,
        "use_dictionary": ["id"],
        "column_encoding": {"image.bytes": "PLAIN", "image.path": "PLAIN"},
        "use_content_defined_chunking": {
            "min_chunk_size": 256 * 1024,
            "max_chunk_size": 1024 * 1024,
            "norm_level": 0,
        },
        "write_page_index": True,
    }
    with pq.ParquetWriter(output / "pyarrow.parquet", schema(), **options) as writer:
        for start in range(0, len(files), ROWS):
            rows = []
            for number, file in enumerate(files[start : start + ROWS], start):
                with open(file, "rb") as source:  # noqa: PTH123
                    picture = {"bytes": source.read(), "path": os.path.basename(file)}  # noqa: PTH119
                rows.append({"id": str(number), "image": picture})
            writer.write_table(pa.Table.from_pylist(rows, schema=schema()))


def datasets_builder(files: list[str], output: Path) -> None:
    """A GeneratorBasedBuilder that prepares Parquet."""
    import datasets

    class Folder(datasets.GeneratorBasedBuilder):
        def _info(self):
            features = {"id": datasets.Value("string"), "image": datasets.Image()}
            return datasets.DatasetInfo(features=datasets.Features(features))

        def _split_generators(self, _manager):
            return [datasets.SplitGenerator("train", gen_kwargs={"count": len(files)})]

        def _generate_examples(self, count):
            for number in range(count):
                file = files[number]
                with open(file, "rb") as source:  # noqa: PTH123
                    picture = {"bytes": source.read(), "path": os.path.basename(file)}  # noqa: PTH119
                yield number, {"id": str(number), "image": picture}

    datasets.disable_progress_bars()
    builder = Folder(cache_dir=str(output / "cache"))
    builder.download_and_prepare(str(output / "datasets"), file_format="parquet")


WAYS = {
    way.__name__: way
    for way in (copy, copy_and_hash, shard, shard_without_hash, pyarrow_like_datasets, datasets_builder)
}


def measure(way: str, corpus: Path, output: Path) -> None:
    """Run one way and print its seconds, its CPU seconds, and its peak memory above that of the imports."""
    files = sorted(str(file) for file in corpus.iterdir())
    imports = {
        "shard": "irtd_datasets.build.write",
        "shard_without_hash": "irtd_datasets.build.write",
        "pyarrow_like_datasets": "pyarrow.parquet",
        "datasets_builder": "datasets",
    }
    if way in imports:
        __import__(imports[way])
        import pyarrow as pa

        pa.array([""])  # imports pandas where it is installed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    WAYS[way](files, output)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": cpu,
                "peak": after * unit / 1e6,
                "added": (after - before) * unit / 1e6,
            }
        )
    )


def run(way: str, corpus: Path, output: Path) -> dict[str, float]:
    """One way in a process of its own, in an empty folder and with caches of its own."""
    with tempfile.TemporaryDirectory(dir=output) as folder:
        arguments = ["--measure", way, "--corpus", str(corpus), "--output", folder]
        environment = os.environ | {"HF_HOME": folder, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, __file__, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        return json.loads(done.stdout.splitlines()[-1])


def compare(corpus: Path, output: Path, rounds: int) -> None:
    total = sum(file.stat().st_size for file in corpus.iterdir()) / 1e6
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    run("copy", corpus, output)  # fills the page cache
    for number in range(rounds):
        # The order turns, so that no way always runs behind the same one.
        ways = list(WAYS)[number % len(WAYS) :] + list(WAYS)[: number % len(WAYS)]
        for way in ways:
            results[way].append(run(way, corpus, output))
    median = {
        way: {key: statistics.median(result[key] for result in of_way) for key in of_way[0]}
        for way, of_way in results.items()
    }
    limit = median["copy"]["seconds"]
    print(f"{total:.0f} MB, medians of {rounds}")
    print(f"{'way':24}{'s':>8}{'best':>8}{'cpu s':>8}{'MB/s':>8}{'of copy':>9}{'peak MB':>9}{'+MB':>7}")
    for way, values in median.items():
        best = min(result["seconds"] for result in results[way])
        print(
            f"{way:24}{values['seconds']:8.3f}{best:8.3f}{values['cpu']:8.3f}{total / values['seconds']:8.0f}"
            f"{limit / values['seconds']:9.2f}{values['peak']:9.0f}{values['added']:7.0f}"
        )


def sizes(corpus: Path, output: Path) -> None:
    """Bytes on disk against the bytes of the distinct images, rows of one image standing together."""
    from irtd_datasets.build.image_column import ImageColumn
    from irtd_datasets.build.write import RowGroup, write_shard

    pictures = [file.read_bytes() for file in sorted(corpus.iterdir())[:300]]
    print(
        f"{'rows/image':>11}{'rows':>7}{'unique MB':>11}{'file MB':>9}{'of unique':>11}{'of plain rows':>15}"
    )
    for per_image in (1, 2.3, 10, 100):
        used = pictures if per_image < 100 else pictures[:60]
        shown = [int(row / per_image) for row in range(int(len(used) * per_image))]

        def groups(shown=shown, used=used):
            for start in range(0, len(shown), ROWS):
                part = shown[start : start + ROWS]
                rows = [{"id": f"{start + n}"} for n in range(len(part))]
                column = ImageColumn.of(used[part[0] : part[-1] + 1], [number - part[0] for number in part])
                yield RowGroup(rows, {"image": column})

        unique = sum(len(used[number]) for number in set(shown))
        plain = sum(len(used[number]) for number in shown)
        size = write_shard(output / f"{per_image}.parquet", schema(), groups(), features=FEATURES).size
        print(
            f"{per_image:>11}{len(shown):>7}{unique / 1e6:11.2f}{size / 1e6:9.2f}"
            f"{size / unique:11.4f}{size / plain:15.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6000, help="number of JPEGs")
    parser.add_argument("--kilobytes", type=int, default=60, help="about the size of a JPEG")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="where to put corpus and output (default: the temporary folder)"
    )
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.corpus, arguments.output)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        corpus, output = Path(folder, "corpus"), Path(folder, "output")
        corpus.mkdir()
        output.mkdir()
        make_corpus(corpus, arguments.images, arguments.kilobytes)
        compare(corpus, output, arguments.rounds)
        sizes(corpus, output)


if __name__ == "__main__":
    main()
