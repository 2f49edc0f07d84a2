"""Reading for training: `table` and `stream` beside `datasets`, litdata, MDS, webdataset, lance and a folder of files.

    python benchmarks/peers.py --corpus /tmp/irtd-benchmark            # 10,000 images, three rounds
    python benchmarks/peers.py --corpus /tmp/irtd-benchmark --quick    # 1,000 images, one round: does it run?

Needs torch, torchdata, litdata, mosaicml-streaming, webdataset, pylance and simplejpeg; a library that is missing is
left out and named. Every library reads the same images with the same text, written by its own writer with its
defaults.

Each way runs in a process of its own, in turn with the others. *Raw* is an epoch of image bytes and text, in one
process. *Decoded* is an epoch of RGB arrays of 640 x 512, as a training loop gets them: the peers at their default,
with Pillow and two DataLoader workers; ours so, too, and with two threads and the extra ``fast``. Seconds are those of
the epoch, with the call that opens the data and without imports; the first row counts from that call, too. Memory is
that of the process tree, also without what a process had after its imports.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 64
TEXT = ("id", "messages", "task")

# What each way needs beside `datasets`.
NEEDS = {"litdata": "litdata", "mds": "streaming", "webdataset": "webdataset", "lance": "lance"}


# --- writing the formats ---------------------------------------------------------------------------------------------


def prepare(corpus: Path, images: int) -> dict[str, Path]:
    """The dataset folder and the same rows in each format; made once."""
    from corpus import instruct_release

    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    release = instruct_release(corpus, images)
    root = corpus / f"peers-v1-{images}"
    places = {name: root / name for name in ("irtd", "folder", "litdata", "mds", "webdataset", "lance")}
    if not places["irtd"].exists():
        build("irtd", ["instruct"], absolute_options(str(release), {}, {}, {}), places["irtd"], workers=2)
    for name, write in WRITERS.items():
        if places[name].exists() or not available(name):
            continue
        staged = root / f"{name}.part"
        shutil.rmtree(staged, ignore_errors=True)
        write(staged, places["irtd"])
        staged.rename(places[name])
        print(f"  prepared {name}", file=sys.stderr, flush=True)
    return places


def rows_of(irtd: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Number, image and text of every row of the dataset folder."""
    import pyarrow.parquet as pq

    number = 0
    for file in sorted(irtd.rglob("*.parquet")):
        if "train" not in file.name:
            continue
        for batch in pq.ParquetFile(file).iter_batches(64, columns=["image", *TEXT]):
            for row in batch.to_pylist():
                yield number, row["image"]["bytes"], {name: row[name] for name in TEXT}
                number += 1


def write_folder(out: Path, irtd: Path) -> None:
    """A file for each image and one for all texts: what a user has before any library."""
    (out / "images").mkdir(parents=True)
    with (out / "texts.jsonl").open("w") as texts:
        for number, data, text in rows_of(irtd):
            (out / "images" / f"{number:06d}.jpg").write_bytes(data)
            texts.write(json.dumps(text) + "\n")


def _litdata_row(row: tuple[bytes, str]) -> dict[str, Any]:
    return {"image": row[0], "text": row[1]}


def write_litdata(out: Path, irtd: Path) -> None:
    """Chunks of 64 MB, its documented default."""
    from litdata.streaming.writer import BinaryWriter

    out.mkdir(parents=True)
    writer = BinaryWriter(str(out), chunk_bytes=64 << 20)
    for number, data, text in rows_of(irtd):
        writer.add_item(number, _litdata_row((data, json.dumps(text))))
    writer.done()
    writer.merge()


def write_mds(out: Path, irtd: Path) -> None:
    """Shards of 64 MB, its default."""
    from streaming import MDSWriter

    with MDSWriter(out=str(out), columns={"image": "bytes", "text": "str"}) as writer:
        for _, data, text in rows_of(irtd):
            writer.write({"image": data, "text": json.dumps(text)})


def write_webdataset(out: Path, irtd: Path) -> None:
    """Tar files of 250 samples, so that two workers have some of 1,000 images, too."""
    import webdataset

    out.mkdir(parents=True)
    with webdataset.ShardWriter(str(out / "%05d.tar"), maxcount=250, verbose=0) as writer:
        for number, data, text in rows_of(irtd):
            writer.write({"__key__": f"{number:06d}", "jpg": data, "json": json.dumps(text).encode()})


def write_lance(out: Path, irtd: Path) -> None:
    """One table with a binary column."""
    import lance
    import pyarrow as pa

    schema = pa.schema([("image", pa.large_binary()), ("text", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        block: list[dict[str, Any]] = []
        for _, data, text in rows_of(irtd):
            block.append({"image": data, "text": json.dumps(text)})
            if len(block) == 256:
                yield pa.RecordBatch.from_pylist(block, schema)
                block = []
        if block:
            yield pa.RecordBatch.from_pylist(block, schema)

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(out))


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "folder": write_folder,
    "litdata": write_litdata,
    "mds": write_mds,
    "webdataset": write_webdataset,
    "lance": write_lance,
}


def available(name: str) -> bool:
    """Whether the library of a way is installed."""
    return name not in NEEDS or find_spec(NEEDS[name]) is not None


# --- map-style and iterable datasets of each -------------------------------------------------------------------------


class Folder:
    """Images as files, texts in memory; a map-style dataset."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts = [json.loads(line) for line in (root / "texts.jsonl").open()]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": (self.root / "images" / f"{number:06d}.jpg").read_bytes(), **self.texts[number]}


class Lance:
    """Rows by number out of a lance table; a map-style dataset."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._table: Any = None

    def _open(self) -> Any:
        if self._table is None:
            import lance

            self._table = lance.dataset(self.root)
        return self._table

    def __len__(self) -> int:
        return self._open().count_rows()

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return self._open().take(numbers).to_pylist()


def open_table(root: Path, **options: Any) -> Any:
    from irtd_datasets.training import table

    return table(f"{root}:instruct", columns=["image", *TEXT], **options)


def open_stream(root: Path, **options: Any) -> Any:
    from irtd_datasets.training import stream

    return stream(f"{root}:instruct", columns=["image", *TEXT], seed=0, **options)


def open_datasets(root: Path, *, decode: bool) -> Any:
    import datasets

    rows = datasets.load_dataset(str(root), "instruct", split="train", streaming=True)
    rows = rows.select_columns(["image", *TEXT])
    if not decode:
        rows = rows.cast_column("image", datasets.Image(decode=False))
    return rows.shuffle(seed=0, buffer_size=1000)


def open_webdataset(root: Path) -> Any:
    import webdataset

    shards = sorted(str(file) for file in root.glob("*.tar"))
    rows = webdataset.WebDataset(
        shards, shardshuffle=len(shards), seed=0, workersplitter=webdataset.split_by_worker
    )
    return rows.shuffle(1000)


def open_litdata(root: Path) -> Any:
    from litdata import StreamingDataset

    return StreamingDataset(str(root), shuffle=True, seed=0)


def open_mds(root: Path) -> Any:
    from streaming import StreamingDataset

    return StreamingDataset(local=str(root), shuffle=True, batch_size=8)


# --- the ways --------------------------------------------------------------------------------------------------------


def shuffled(count: int) -> list[int]:
    import numpy as np

    return np.random.default_rng(0).permutation(count).tolist()


def in_batches(rows: Any, order: list[int]) -> Iterator[Any]:
    """The rows of an order, a batch at a time."""
    for start in range(0, len(order), BATCH):
        yield from rows.__getitems__(order[start : start + BATCH])


def raw_table(root: Path) -> Iterator[Any]:
    rows = open_table(root)
    return in_batches(rows, list(rows.sampler(seed=0)))


def raw_folder(root: Path) -> Iterator[Any]:
    files = Folder(root)
    return (files[number] for number in shuffled(len(files)))


def raw_lance(root: Path) -> Iterator[Any]:
    rows = Lance(root)
    return in_batches(rows, shuffled(len(rows)))


def raw(way: str, places: dict[str, Path]) -> Iterator[Any]:
    """An epoch of image bytes and text, shuffled as the library does it."""
    readers: dict[str, Callable[[Path], Any]] = {
        "table": raw_table,
        "stream": open_stream,
        "datasets": partial(open_datasets, decode=False),
        "folder": raw_folder,
        "lance": raw_lance,
        "litdata": open_litdata,
        "mds": open_mds,
        "webdataset": open_webdataset,
    }
    root = places["irtd" if way in {"table", "stream", "datasets"} else way]
    yield from readers[way](root)


def to_rgb(row: Any) -> Any:
    """Decode a row's image with Pillow, as the examples of these libraries do."""
    import numpy as np
    from PIL import Image

    image = row["image"] if "image" in row else row["jpg"]
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    return np.asarray(image.convert("RGB"))


class DecodingFolder(Folder):
    def __getitem__(self, number: int) -> Any:
        return to_rgb(super().__getitem__(number))


def stack(rows: list[Any]) -> Any:
    import torch

    return torch.stack([torch.from_numpy(row["image"] if isinstance(row, dict) else row) for row in rows])


def decode_then_stack(rows: list[Any]) -> Any:
    return stack([to_rgb(row) for row in rows])


def decoded(way: str, places: dict[str, Path], batch: int = 8) -> Iterator[Any]:
    """An epoch of RGB arrays in batches; yields batches."""
    from torch.utils.data import DataLoader

    loader = partial(DataLoader, batch_size=batch, num_workers=2)
    if way == "table, Pillow":
        rows = open_table(places["irtd"], decode="rgb")
        yield from loader(rows, sampler=rows.sampler(seed=0), collate_fn=stack)
    elif way == "stream, Pillow":
        yield from loader(open_stream(places["irtd"], decode="rgb"), collate_fn=stack)
    elif way == "table, fast, two threads":
        yield from fast_batches(places["irtd"], batch)
    elif way == "datasets":
        yield from loader(open_datasets(places["irtd"], decode=True), collate_fn=decode_then_stack)
    elif way == "folder":
        files = DecodingFolder(places["folder"])
        yield from loader(files, shuffle=True, collate_fn=stack)
    elif way == "litdata":
        from litdata import StreamingDataLoader

        yield from StreamingDataLoader(
            open_litdata(places["litdata"]), batch_size=batch, num_workers=2, collate_fn=decode_then_stack
        )
    elif way == "mds":
        yield from loader(open_mds(places["mds"]), collate_fn=decode_then_stack)
    elif way == "webdataset":
        yield from loader(open_webdataset(places["webdataset"]), collate_fn=decode_then_stack)
    elif way == "lance":
        lance = Lance(places["lance"])
        # Its threads do not survive a fork; its own documentation asks for spawned workers.
        spawn = {"multiprocessing_context": "spawn"}
        yield from loader(lance, shuffle=True, collate_fn=decode_then_stack, **spawn)
    else:
        yield from only_decoding(places["irtd"], batch)


def fast_batches(irtd: Path, batch: int) -> Iterator[Any]:
    """`batches`: two threads in the process decode into batch buffers that are used again."""
    from irtd_datasets.training import Decoder, batches

    rows = open_table(irtd)
    decoder = Decoder("rgb", backend="simplejpeg", threads=2)
    for found in batches(rows, rows.sampler(seed=0), batch_size=batch, decoder=decoder):
        yield found["image"]


def only_decoding(irtd: Path, batch: int) -> Iterator[Any]:
    """The limit of one process: decode the same bytes from memory with Pillow, nothing else."""
    import numpy as np

    images = [data for _, data, _ in rows_of(irtd)]
    start = time.perf_counter()
    for begin in range(0, len(images), batch):
        yield np.stack([to_rgb({"image": data}) for data in images[begin : begin + batch]])
    only_decoding.seconds = time.perf_counter() - start  # type: ignore[attr-defined]


RAW = ("table", "stream", "datasets", "folder", "litdata", "mds", "webdataset", "lance")
DECODED = (
    "table, fast, two threads",
    "table, Pillow",
    "stream, Pillow",
    "datasets",
    "folder",
    "litdata",
    "mds",
    "webdataset",
    "lance",
)


def library(way: str) -> str:
    """The library that a way is about."""
    return way.partition(",")[0]


def run(kind: str, way: str, corpus: Path, images: int) -> dict[str, Any]:
    """One epoch of one way, in this process."""
    load(library(way))
    root = corpus / f"peers-v1-{images}"
    places = {name: root / name for name in ("irtd", *WRITERS)}
    base = psutil.Process().memory_full_info()
    count, size, first = 0, 0, 0.0
    start = time.perf_counter()
    for found in (raw if kind == "raw" else decoded)(way, places):
        if not count:
            first = time.perf_counter() - start
        if kind == "raw":
            image = found.get("image", found.get("jpg"))
            size += len(image["bytes"] if isinstance(image, dict) else image)
            count += 1
        else:
            count += len(found)
            size += found.nbytes
    seconds = getattr(only_decoding, "seconds", None) or time.perf_counter() - start
    return {"seconds": seconds, "rows": count, "bytes": size, "first": first, "base": base.pss}


def load(name: str) -> None:
    """Import what a way needs before the clock starts; torch for all, since a training process has it anyway."""
    import torch.utils.data  # noqa: F401 - `datasets`, litdata, MDS and webdataset load it themselves

    if name in {"table", "stream"}:
        import irtd_datasets.training.batching
        import irtd_datasets.training.streams
        import irtd_datasets.training.tables  # noqa: F401
    elif name == "datasets":
        import datasets  # noqa: F401
    elif name in NEEDS:
        importlib.import_module(NEEDS[name])


def report(kind: str, results: dict[str, Any], images: int) -> str:
    """A table, the fastest first."""
    from measure import table

    lines = []
    for name, result in sorted(results.items(), key=lambda item: item[1].median):
        peak = result.peak
        lines.append(
            [
                name,
                f"{images / result.median:,.0f}",
                f"{min(result.seconds):.2f} to {max(result.seconds):.2f}",
                f"{result.facts['first']:.2f}",
                f"{peak.pss / 1e6:,.0f}",
                f"{(peak.pss - result.facts['base']) / 1e6:,.0f}",
                f"{result.facts['rows']:,}",
            ]
        )
    return f"{kind}\n\n" + table(
        ["way", "rows/s", "seconds", "first row, s", "peak PSS, MB", "above imports", "rows"], lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder for the images and all formats")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--kind", choices=("raw", "decoded"), action="append", help="only this part; repeatable"
    )
    parser.add_argument("--way", action="append", help="only these ways; repeatable")
    parser.add_argument("--quick", action="store_true", help="1,000 images, one round")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.rounds = min(arguments.images, 1000), 1
    if arguments.one:
        print(json.dumps(run(*arguments.one, arguments.corpus, arguments.images)))
        sys.stdout.flush()
        os._exit(0)  # some libraries leave threads behind that keep a process from ending
    from measure import alternate, machine, verdict

    prepare(arguments.corpus, arguments.images)
    everything: dict[str, Any] = {"machine": machine(), "images": arguments.images}
    medians: dict[tuple[str, str], float] = {}
    for kind in arguments.kind or ("raw", "decoded"):
        chosen = [
            way for way in (RAW if kind == "raw" else (*DECODED, "only decoding")) if available(library(way))
        ]
        chosen = [way for way in chosen if not arguments.way or library(way) in arguments.way]
        missing = sorted(set(NEEDS) - {library(way) for way in chosen})
        shared = [__file__, "--corpus", str(arguments.corpus), "--images", str(arguments.images)]
        ways = {way: partial(list, [*shared, "--one", kind, way]) for way in chosen}
        results = alternate(ways, arguments.rounds, before=os.sync, memory=True)
        everything[kind] = {name: result.as_dict() for name, result in results.items()}
        for name, result in results.items():
            medians[kind, name] = statistics.median(result.seconds)
        print(report(kind, results, arguments.images))
        if missing and not arguments.way:
            print(f"\nnot installed, left out: {', '.join(missing)}")
        print()
    for text, one, other, limit in (
        ("raw: table, times litdata", ("raw", "litdata"), ("raw", "table"), 1.5),
        ("raw: table, times datasets with shuffle(1000)", ("raw", "datasets"), ("raw", "table"), 8),
        ("raw: stream, times datasets with shuffle(1000)", ("raw", "datasets"), ("raw", "stream"), 2),
        (
            "decoded: table in one way of two workers, of only decoding",
            ("decoded", "only decoding"),
            ("decoded", "table, Pillow"),
            0.95,
        ),
    ):
        if one in medians and other in medians:
            print(verdict(text, medians[one] / medians[other], limit, at_least=True))
    peers = {
        way: seconds for (kind, way), seconds in medians.items() if kind == "decoded" and way in DECODED[3:]
    }
    fast = medians.get(("decoded", DECODED[0]))
    if peers and fast:
        best = min(peers, key=peers.__getitem__)
        text = f"decoded: table with the fast extra, times the best peer at its default ({best})"
        print(verdict(text, peers[best] / fast, 2.5, at_least=True))
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
