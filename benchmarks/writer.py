"""How fast images get into Parquet, how large the files are, and what a revision and a viewer's page cost.

    python benchmarks/writer.py                      # 6,000 JPEGs of 60 kB, five rounds
    python benchmarks/writer.py --images 1000 --rounds 3 --folder /path/on/the/disk/to/measure

Every way runs in a process of its own, and the ways take turns, so that a slow minute of the machine hits all
of them. Times leave out the imports and the start of the process. The images are read from the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
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
    image = stream.getvalue()
    for number in range(count):
        note = generator.bytes(int(generator.integers(2, min(0.2 * kilobytes * 1000, 65_000))))
        segment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        (folder / f"{number:07d}.jpg").write_bytes(image[:2] + segment + image[2:])


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
    """Our writer, each file read to where its bytes are written from."""
    from irtd_datasets.releases.containers import FolderContainer
    from irtd_datasets.rows.image_column import ImageBuffer, ImageColumn
    from irtd_datasets.writing.write import RowGroup, write_shard

    buffers = [ImageBuffer(), ImageBuffer()]
    folder = FolderContainer(Path(files[0]).parent)
    names = [os.path.basename(file) for file in files]  # noqa: PTH119

    def groups():
        for start in range(0, len(names), ROWS):
            part = names[start : start + ROWS]
            buffers.reverse()  # while the images of one are written, the other is filled
            buffer = buffers[0]
            buffer.clear()
            for name in part:
                buffer.append(folder.read_into(name, buffer.room))
            rows = [{"id": f"{start + n}"} for n in range(len(part))]
            yield RowGroup(rows, {"image": ImageColumn.of(buffer.batch(part))})

    write_shard(output / "shard.parquet", schema(), groups(), features=FEATURES)


def shard_without_hash(files: list[str], output: Path) -> None:
    """Our writer, its hash left out, to see what that costs."""
    from irtd_datasets.writing import write

    write.hashlib = types.SimpleNamespace(sha256=_NoHash)
    shard(files, output)


class _NoHash:
    def update(self, data):
        pass

    def hexdigest(self):
        return ""


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
                    image = {"bytes": source.read(), "path": os.path.basename(file)}  # noqa: PTH119
                rows.append({"id": str(number), "image": image})
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
                    image = {"bytes": source.read(), "path": os.path.basename(file)}  # noqa: PTH119
                yield number, {"id": str(number), "image": image}

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
        "shard": "irtd_datasets.writing.shards",
        "shard_without_hash": "irtd_datasets.writing.shards",
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
    from irtd_datasets.rows.image_column import ImageColumn
    from irtd_datasets.writing.write import RowGroup, write_shard

    images = [file.read_bytes() for file in sorted(corpus.iterdir())[:300]]
    print(
        f"{'rows/image':>11}{'rows':>7}{'unique MB':>11}{'file MB':>9}{'of unique':>11}{'of plain rows':>15}"
    )
    for per_image in (1, 2.3, 10, 100):
        used = images if per_image < 100 else images[:60]
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


REVISED = 1000
KINDS = {
    "1 % of the texts": "text",
    "1 % of the images replaced": "image",
    "1 % of the rows added": "added",
    "1 % of the rows removed": "removed",
}


def revisions(output: Path) -> None:
    """Bytes that have to be sent again after one row in a hundred changed, with chunks as Xet cuts them.

    Images are random bytes of about 60 kB, a thousand of them with a conversation of a kilobyte; what is random is
    spread evenly. Ours against Parquet as `datasets` writes it, with content-defined chunking.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from irtd_datasets.rows.image_column import ImageColumn
    from irtd_datasets.writing.write import RowGroup, write_shard

    whole = schema().append(pa.field("text", pa.string()))

    def ours(rows, path):
        def groups():
            for start in range(0, len(rows), ROWS):
                part = rows[start : start + ROWS]
                texts = [{"id": identifier, "text": text} for identifier, text, _ in part]
                yield RowGroup(texts, {"image": ImageColumn.of([data for *_, data in part])})

        write_shard(path, whole, groups(), features=FEATURES)

    def theirs(rows, path):
        leaves = {"id": "snappy", "text": "snappy", "image.bytes": "none", "image.path": "none"}
        table = pa.Table.from_pylist(
            [{"id": i, "image": {"bytes": data, "path": None}, "text": text} for i, text, data in rows], whole
        )
        chunking = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}
        pq.write_table(
            table,
            path,
            compression=leaves,
            use_dictionary=["id", "text"],
            column_encoding={"image.bytes": "PLAIN", "image.path": "PLAIN"},
            use_content_defined_chunking=chunking,
            write_page_index=True,
        )

    print(f"\n{'revision':32}{'writer':14}{'file MB':>9}{'sent again MB':>15}{'of the file':>13}")
    for name, write in (("this library", ours), ("like datasets", theirs)):
        write(revised(""), output / "old.parquet")
        known = set(chunks_of((output / "old.parquet").read_bytes()))
        for title, kind in KINDS.items():
            write(revised(kind), output / "new.parquet")
            data = (output / "new.parquet").read_bytes()
            sent = sum(size for digest, size in dict(chunks_of(data)).items() if (digest, size) not in known)
            print(f"{title:32}{name:14}{len(data) / 1e6:9.2f}{sent / 1e6:15.2f}{sent / len(data):13.4f}")


def revised(kind: str) -> list[tuple[str, str, bytes]]:
    """The rows of `revisions`, one in a hundred of them changed; the identifier, the text and the image of each."""
    generator = np.random.default_rng(1)
    words = [bytes(generator.integers(97, 123, 6, np.uint8)).decode() for _ in range(2000)]

    def row(number, draw):
        text = " ".join(words[index] for index in draw.integers(0, len(words), 150))
        return f"{number:06d}", text, draw.bytes(int(draw.integers(50_000, 70_000)))

    rows = [row(number, np.random.default_rng(number)) for number in range(REVISED)]
    for number in range(REVISED - 50, 0, -100):
        other = row(number, np.random.default_rng(10_000 + number))
        old = rows[number]
        if kind == "text":
            rows[number] = (old[0], other[1], old[2])
        elif kind == "image":
            rows[number] = (old[0], old[1], other[2])
        elif kind == "added":
            rows.insert(number, (f"{number:06d}b", *other[1:]))
        elif kind == "removed":
            del rows[number]
    return rows


def chunks_of(data: bytes) -> list[tuple[bytes, int]]:
    """Hashes and sizes of the chunks of a file, cut as Xet cuts them: at a rolling hash, 8 to 128 kB, 64 kB on average.

    The rolling hash (gear) sees 64 bytes; its table is not Xet's but as random.
    """
    table = np.random.default_rng(2).integers(0, 2**64, 256, np.uint64)
    cuts = []
    for start in range(0, len(data), 1 << 22):
        begin = max(start - 63, 0)
        hashes = table[np.frombuffer(data, np.uint8, min(1 << 22, len(data) - start) + start - begin, begin)]
        for step in (1, 2, 4, 8, 16, 32):
            moved = hashes[:-step] << np.uint64(step)
            hashes = np.concatenate([hashes[:step], hashes[step:] + moved])
        found = np.flatnonzero(hashes >> np.uint64(48) == 0) + begin
        cuts += found[found >= start].tolist()
    chunks, first = [], 0
    for cut in [*(cut + 1 for cut in cuts), len(data)]:
        while cut - first > 128 << 10:
            chunks.append(data[first : first + (128 << 10)])
            first += 128 << 10
        if cut - first >= 8 << 10 or (cut == len(data) and cut > first):
            chunks.append(data[first:cut])
            first = cut
    return [(hashlib.blake2b(chunk, digest_size=16).digest(), len(chunk)) for chunk in chunks]


def viewer(corpus: Path, output: Path) -> None:
    """The largest read that a page of 100 rows of the dataset viewer needs, wherever the page begins."""
    import pyarrow.parquet as pq

    files = sorted(str(file) for file in corpus.iterdir())[:600]
    print(f"\n{'writer':24}{'largest read for a page of 100 rows, MB':>42}")
    for way, name in ((shard, "shard.parquet"), (pyarrow_like_datasets, "pyarrow.parquet")):
        way(files, output)
        footer = pq.read_metadata(output / name)
        groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
        sizes = [
            sum(group.column(n).total_compressed_size for n in range(group.num_columns)) for group in groups
        ]
        aligned, shifted = max(sizes), max(map(sum, itertools.pairwise(sizes)))
        print(f"{name.partition('.')[0]:24}{aligned / 1e6:28.1f}, unaligned {shifted / 1e6:.1f}")


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
        revisions(output)
        viewer(corpus, output)


if __name__ == "__main__":
    main()
