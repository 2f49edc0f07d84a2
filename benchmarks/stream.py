"""Reading for training: rows per second of `table`, `stream` and `batches`, and how long it takes to go on at 90 %.

    python benchmarks/stream.py --corpus /tmp/irtd-benchmark            # 100,000 rows for resume, 10,000 for rates
    python benchmarks/stream.py --corpus /tmp/irtd-benchmark --quick    # 5,000 and 1,000: does it run?

Resuming: the state after 90 % of the rows was saved by another process; the time is from the call of `load_state_dict`
on an opened stream (or sampler) to the first row, and, apart, that of opening the folder. The first row is compared
with the one that an uninterrupted run gives. Shuffle quality is measured on the order of an epoch: the rank correlation
with the order of the files, and how far the mixture of eighths of the files in batches of 64 is from a random one (1.0
is random, 0 is even, more is clumped).

Needs the library's ``dev`` extra (psutil, simplejpeg). Each way runs in a process of its own, in turn with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 64
COLUMNS = ("id", "image", "messages", "task")


def prepare(corpus: Path, images: int) -> Path:
    """A dataset folder with so many images of about 60 kB; made once."""
    from corpus import instruct_release

    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    out = corpus / f"stream-v1-{images}" / "irtd"
    if not out.exists():
        release = instruct_release(corpus, images)
        build("irtd", ["instruct"], absolute_options(str(release), {}, {}, {}), out, workers=2)
    return out


def prepare_rows(corpus: Path, rows: int) -> Path:
    """A dataset folder with so many rows, of which 20 share an image: many rows on little disk; made once."""
    import numpy as np
    import pyarrow as pa
    from corpus import base_images, distinct

    from irtd_datasets.folder.index import write_folder_index
    from irtd_datasets.rows.image_column import ImageColumn
    from irtd_datasets.writing.write import RowGroup, write_shard

    root = corpus / f"stream-rows-v1-{rows}"
    if root.exists():
        return root
    staged = root.with_suffix(".part")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "data").mkdir(parents=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [("id", pa.string()), ("image", image), ("messages", pa.list_(turn)), ("task", pa.int64())]
    )
    bases = base_images(20)
    shards, group, each, digests = 8, 100, 20, []
    ends = np.linspace(0, rows, shards + 1).astype(int)
    for shard in range(shards):
        groups = []
        for start in range(int(ends[shard]), int(ends[shard + 1]), group):
            numbers = range(start, min(start + group, int(ends[shard + 1])))
            kinds = sorted({number // each for number in numbers})
            images = [distinct(bases[kind % 20], kind) for kind in kinds]
            column = ImageColumn.of(images, [kinds.index(number // each) for number in numbers])
            records = [
                {
                    "id": f"made/{number:07d}",
                    "messages": [
                        {"role": "user", "content": f"What is in image {number}?"},
                        {"role": "assistant", "content": "A street at night. " * 5},
                    ],
                    "task": number * 8 // rows,
                }
                for number in numbers
            ]
            groups.append(RowGroup(records, {"image": column}))
        name = f"data/train-{shard:05d}-of-{shards:05d}.parquet"
        digests.append((name, write_shard(staged / name, schema, groups).sha256))
    files = "data_files:\n  - split: train\n    path: data/train-*"
    card = f"---\nconfigs:\n- config_name: instruct\n  {files}\n---\n# Made\n"
    (staged / "README.md").write_text(card)
    write_folder_index(staged, digests)
    staged.rename(root)
    return root


# --- resuming --------------------------------------------------------------------------------------------------------


def save(way: str, root: Path, out: Path) -> dict[str, Any]:
    """Read 90 % of an epoch and save the place and the row that comes then."""
    start = time.perf_counter()
    walk, rows = opened(way, root)
    stop = len(rows) * 9 // 10 if way == "table" else sum(len(source) for source in walk.sources) * 9 // 10
    iterator = iter(walk)
    for _ in islice(iterator, stop):
        pass
    state = walk.state_dict()
    following = next(iterator)
    name = rows[following]["id"] if way == "table" else following["id"]
    out.write_text(json.dumps({"state": state, "id": name}))
    return {"seconds": time.perf_counter() - start, "rows": stop}


def opened(way: str, root: Path) -> tuple[Any, Any]:
    """What has the state, and what has the rows."""
    from irtd_datasets.training import stream, table

    if way == "table":
        rows = table(f"{root}:instruct", columns=["id", "image", "messages"])
        return rows.sampler(seed=0), rows
    rows = stream(f"{root}:instruct", columns=["id", "image", "messages"], seed=0)
    return rows, rows


def resume(way: str, root: Path, out: Path) -> dict[str, Any]:
    """Go on, up to the first row."""
    saved = json.loads(out.read_text())
    import irtd_datasets.training.streams
    import irtd_datasets.training.tables  # noqa: F401

    start = time.perf_counter()
    walk, rows = opened(way, root)
    ready = time.perf_counter()
    walk.load_state_dict(saved["state"])
    row = next(iter(walk))
    if way == "table":
        row = rows[row]
    end = time.perf_counter()
    if row["id"] != saved["id"] or not row["image"]["bytes"]:
        raise SystemExit(f"{way} went on at {row['id']}, expected {saved['id']}")
    return {"seconds": end - ready, "opening": ready - start}


# --- rates -----------------------------------------------------------------------------------------------------------


def raw(way: str, root: Path) -> Iterator[Any]:
    from irtd_datasets.training import stream, table

    if way == "table":
        rows = table(f"{root}:instruct", columns=COLUMNS)
        numbers = iter(rows.sampler(seed=0))
        while block := list(islice(numbers, BATCH)):
            yield from rows.__getitems__(block)
    else:
        yield from stream(f"{root}:instruct", columns=COLUMNS, seed=0)


def decoded(way: str, root: Path) -> Iterator[Any]:
    from irtd_datasets.training import Decoder, batches, stream, table

    name = f"{root}:instruct"
    if way == "decoded stream, Pillow, one thread":
        yield from stream(name, columns=COLUMNS, seed=0, decode="rgb")
        return
    mode: Any = "auto" if "luminance" in way else "rgb"
    backend: Any = "simplejpeg" if "fast" in way else "pillow"
    rows = table(name, columns=COLUMNS)
    decoder = Decoder(mode, backend=backend, threads=2)
    for batch in batches(rows, rows.sampler(seed=0), batch_size=8, decoder=decoder):
        yield from batch["id"]


def datasets_stream(way: str, root: Path) -> Iterator[Any]:
    """What one would use instead, with a buffer of 1,000 rows. Its versions 5 wait for 5 seconds after the last row."""
    del way
    import datasets

    rows = datasets.load_dataset(str(root), "instruct", split="train", streaming=True)
    rows = rows.select_columns(list(COLUMNS)).cast_column("image", datasets.Image(decode=False))
    yield from rows.shuffle(seed=0, buffer_size=1000)


def only_decoding(root: Path, *, keep: bool) -> float:
    """The limit of one thread: decode the same bytes from memory with Pillow; seconds of it.

    Args:
        root: The dataset folder.
        keep: Keep the memory of each image for the next, as the library does, or leave that to the system.
    """
    import io

    import numpy as np
    from PIL import Image

    from irtd_datasets.images.memory import keep_freed_memory

    if keep:
        keep_freed_memory()
    images = [row["image"]["bytes"] for row in raw("stream", root)]
    start = time.perf_counter()
    for data in images:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return time.perf_counter() - start


PEER = "datasets streaming, shuffle(1000)"
WAYS: dict[str, Callable[[str, Path], Iterator[Any]]] = {
    "table": raw,
    "stream": raw,
    PEER: datasets_stream,
    "decoded stream, Pillow, one thread": decoded,
    "batches, Pillow, two threads": decoded,
    "batches, fast, two threads": decoded,
    "batches, fast, luminance, two threads": decoded,
}
LIMIT = "only decoding, Pillow, one thread"
LIMIT_KEPT = f"{LIMIT}, memory kept"


def rate(way: str, root: Path) -> dict[str, Any]:
    """One epoch of one way."""
    import irtd_datasets.training.batching
    import irtd_datasets.training.streams
    import irtd_datasets.training.tables  # noqa: F401

    if way in {LIMIT, LIMIT_KEPT}:
        return {"seconds": only_decoding(root, keep=way == LIMIT_KEPT), "rows": 0, "first": 0.0}
    if way == PEER:
        import datasets  # noqa: F401 - imports are not counted
    count, first = 0, 0.0
    start = time.perf_counter()
    for _ in WAYS[way](way, root):
        if not count:
            first = time.perf_counter() - start
        count += 1
    return {"seconds": time.perf_counter() - start, "rows": count, "first": first}


# --- shuffle quality -------------------------------------------------------------------------------------------------


def quality(root: Path) -> list[list[str]]:
    """Rank correlation with the files' order, and the mixture of tasks in batches beside a random one."""
    import numpy as np

    from irtd_datasets.training import stream

    plain = {
        row["id"]: place
        for place, row in enumerate(stream(f"{root}:instruct", columns=["id"], shuffle=False))
    }
    lines = []
    rng = np.random.default_rng(0)
    for way in ("stream", "table", "random"):
        if way == "stream":
            rows = list(stream(f"{root}:instruct", columns=["id", "task"], seed=0))
            order = np.array([plain[row["id"]] for row in rows])
        elif way == "table":
            walk, _ = opened("table", root)
            order = np.array(list(walk))
        else:
            order = rng.permutation(len(plain))
        correlation = float(np.corrcoef(order, np.arange(len(order)))[0, 1])
        kind = order * 8 // len(order)  # eighths of the files, as tasks or sources stand in them
        blocks = kind[: len(kind) // BATCH * BATCH].reshape(-1, BATCH)
        shares = np.stack([(blocks == one).mean(1) for one in range(8)])
        random = np.sqrt(1 / 8 * 7 / 8 / BATCH)
        near = float((np.abs(np.diff(order)) < BATCH).mean())
        lines.append([way, f"{correlation:+.4f}", f"{shares.std(1).mean() / random:.2f}", f"{near:.4f}"])
    return lines


def judge(results: dict[str, Any]) -> None:
    """Targets of the rates."""
    from measure import verdict

    one = results["decoded stream, Pillow, one thread"].median
    print(verdict("decoded stream of only decoding", results[LIMIT].median / one, 0.95, at_least=True))
    kept = results[LIMIT_KEPT].median / one
    print(verdict("decoded stream of only decoding, memory kept", kept, 0.95, at_least=True))
    for way in ("table", "stream"):
        share = results[way].peak.pss / results[PEER].peak.pss
        print(verdict(f"{way}: memory, of {PEER}", share, 0.25, at_least=False))
    first = results["stream"].facts["first"]
    print(verdict("first row of a stream, s", first, 0.5, at_least=False), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder for images and dataset folders")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the folder that is resumed")
    parser.add_argument("--images", type=int, default=10_000, help="images of the folder that is read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--part", choices=("resume", "rates", "quality"), action="append", help="only this part"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--one", nargs=4, metavar=("KIND", "WAY", "ROOT", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, way, root, out = arguments.one
        found = {"save": save, "resume": resume}.get(kind)
        print(json.dumps(found(way, Path(root), Path(out)) if found else rate(way, Path(root))))
        return
    if arguments.quick:
        arguments.rows, arguments.images, arguments.rounds = 5_000, 1_000, 1
    from measure import Result, alternate, machine, run_once, table, verdict

    parts = arguments.part or ["resume", "rates", "quality"]
    everything: dict[str, Any] = {"machine": machine()}
    print(machine(), "\n")
    many = prepare_rows(arguments.corpus, arguments.rows) if {"resume", "quality"} & set(parts) else None
    if "resume" in parts:
        states = {way: arguments.corpus / f"state-{way}.json" for way in ("table", "stream")}
        for way, out in states.items():
            run_once([__file__, "--corpus", ".", "--one", "save", way, str(many), str(out)], Result())
        ways = {
            way: partial(list, [__file__, "--corpus", ".", "--one", "resume", way, str(many), str(out)])
            for way, out in states.items()
        }
        results = alternate(ways, arguments.rounds, before=lambda: None)
        everything["resume"] = {way: result.as_dict() for way, result in results.items()}
        print(
            table(
                ["way", "state to first row, s", "range", "opening before it, s"],
                [
                    [
                        way,
                        f"{result.median:.3f}",
                        f"{min(result.seconds):.3f} to {max(result.seconds):.3f}",
                        f"{result.facts['opening']:.3f}",
                    ]
                    for way, result in results.items()
                ],
            )
        )
        for way, result in results.items():
            text = f"{way}: going on at 90 % of {arguments.rows:,} rows, s"
            print(verdict(text, result.median, 0.1, at_least=False))
        print()
    if "rates" in parts:
        root = prepare(arguments.corpus, arguments.images)
        ways = {
            way: partial(list, [__file__, "--corpus", ".", "--one", "rate", way, str(root), "-"])
            for way in (*WAYS, LIMIT, LIMIT_KEPT)
        }
        results = alternate(ways, min(arguments.rounds, 3), before=os.sync, memory=True)
        everything["rates"] = {way: result.as_dict() for way, result in results.items()}
        lines = [
            [
                way,
                f"{arguments.images / result.median:,.0f}",
                f"{min(result.seconds):.2f} to {max(result.seconds):.2f}",
                f"{result.facts['first']:.2f}",
                f"{result.peak.pss / 1e6:,.0f}",
            ]
            for way, result in results.items()
        ]
        print(table(["way", "rows/s", "seconds", "first row, s", "peak PSS, MB"], lines))
        judge(results)
    if "quality" in parts:
        head = ["order", "correlation with the files", "mixture in batches, of random", "neighbours nearby"]
        lines = quality(many)  # type: ignore[arg-type]
        everything["quality"] = lines
        print(table(head, lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
