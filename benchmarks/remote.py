"""Reading from afar: `stream` and `table` beside the libraries that can read from a Hub, a bucket or a web server.

    python benchmarks/remote.py --corpus /tmp/irtd-benchmark            # 2,000 images, two links, three rounds
    python benchmarks/remote.py --corpus /tmp/irtd-benchmark --quick    # 300 images, one round: does it run?
    python benchmarks/remote.py --corpus /tmp/irtd-benchmark --link 60:100 --plot docs/remote.png

No root is needed: a Hub, a bucket (moto) and a web server run on loopback, behind a proxy of this program that delays
each byte and each new connection by the round trip, and lets so many megabits a second through over all connections
together. What it has not is the slow start of TCP, loss, and TLS. The proxy counts requests and bytes; both are exact
on any machine, seconds only on a quiet one. Round trips before the first row are those of the longest chain of new
connections (one each) and requests of which each began after the answer of the one before.

Each way runs in a process of its own, in turn with the others, and reads one epoch: `raw` image bytes and text, or
`decoded` to RGB arrays by Pillow in one thread. The first row counts from the call that opens the data, without
imports. Memory is the peak of the process tree (PSS) without what a process had after its imports. Needs the library's
``dev`` extra; a peer that is not installed (webdataset, litdata, mosaicml-streaming, pylance) is left out and named.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TEXT = ("id", "messages", "task")
REPOSITORY, BUCKET, BATCH = "tester/irtd", "bench", 64
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
WAYS = (
    "stream, Hub",
    "stream, bucket",
    "stream, web server",
    "table, Hub",
    "table, Hub, second epoch",
    "datasets, Hub",
    "datasets, Hub, shuffle(1000)",
    "datasets, Hub, resharded",
    "snapshot_download, then table",
    "webdataset, web server",
    "litdata, bucket",
    "mds, bucket",
    "lance, bucket",
)


# --- the link --------------------------------------------------------------------------------------------------------


class Link:
    """A link with a delay and a rate: proxies for any number of servers, which share it."""

    def __init__(self, round_trip: float, rate: float) -> None:
        self.round_trip, self.rate = round_trip, rate
        self.busy = {"up": 0.0, "down": 0.0}
        self.rounds = (
            0  # the longest chain of connections and requests, each begun when the one before was answered
        )
        self.counts = {"requests": 0, "bytes": 0, "connections": 0, "first_rounds": 0, "first_bytes": 0}

    async def proxy(self, port: int) -> int:
        """Listen for a server; the port to connect to."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.counts["connections"] += 1
            place = [self.rounds + 1]
            await asyncio.sleep(self.round_trip)  # the handshake
            self.rounds = max(self.rounds, place[0])
            try:
                there, back = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(
                self.pipe(reader, back, "up", place), self.pipe(there, writer, "down", place)
            )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def mark(self) -> int:
        """A port: who connects to it has the first row now."""

        async def marked(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.counts["first_rounds"], self.counts["first_bytes"] = self.rounds, self.counts["bytes"]
            writer.close()

        server = await asyncio.start_server(marked, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def forget(self) -> None:
        """Begin to count anew."""
        self.counts.update(dict.fromkeys(self.counts, 0))
        self.rounds = 0

    async def pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str, place: list[int]
    ) -> None:
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def deliver() -> None:
            while True:
                due, data = await coming.get()
                await asyncio.sleep(max(due - time.monotonic(), 0))
                if not data:
                    return
                if way == "down":
                    self.rounds = max(self.rounds, place[0])
                writer.write(data)
                await writer.drain()

        delivery = asyncio.ensure_future(deliver())
        try:
            while data := await reader.read(16 << 10):
                if way == "up":
                    asked = bool(re.match(rb"(GET|HEAD|POST|PUT) ", data))
                    self.counts["requests"] += asked
                    place[0] = self.rounds + 1 if asked else place[0]
                else:
                    self.counts["bytes"] += len(data)
                begun = max(self.busy[way], time.monotonic())
                self.busy[way] = begun + len(data) / self.rate
                # What is under way is what the line holds: more is not taken from the server.
                await asyncio.sleep(max(begun - time.monotonic(), 0))
                await coming.put((self.busy[way] + self.round_trip / 2, data))
            await coming.put((0.0, b""))
            await delivery
        except (ConnectionError, asyncio.CancelledError):
            delivery.cancel()
        finally:
            writer.close()


class Files(http.server.SimpleHTTPRequestHandler):
    """A web server that knows ranges."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(int(asked[2] or size) + 1, size)) if asked else (0, size)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            self.wfile.write(file.read(stop - start))

    def log_message(self, *_: object) -> None:
        pass


def serve(root: Path, round_trip: float, rate: float) -> None:
    """Run servers and link until the input ends; the addresses are printed, and counts for each line of input."""
    sys.path.insert(0, str(ROOT / "tests"))
    from functools import partial

    from hub_server import hub_server

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(root)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    link = Link(round_trip, rate)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def far(port: int) -> str:
        return f"127.0.0.1:{asyncio.run_coroutine_threadsafe(link.proxy(port), loop).result()}"

    with tempfile.TemporaryDirectory() as folder, hub_server(Path(folder) / "hub") as hub:
        put(hub, root / "irtd")
        found = {"web": far(web.server_port), "token": hub.token, "s3": ""}
        hub.endpoint = f"http://{far(int(hub.endpoint.rpartition(':')[2]))}"
        store = far(int(hub.store_endpoint.rpartition(":")[2]))
        hub.store_endpoint = f"http://{store.replace('127.0.0.1', 'localhost')}"
        found["hub"] = hub.endpoint
        bucket = fill_bucket(root)
        if bucket is not None:
            found["s3"] = f"http://{far(bucket)}"
        found["mark"] = asyncio.run_coroutine_threadsafe(link.mark(), loop).result()
        print(json.dumps(found), flush=True)
        for _ in sys.stdin:
            print(json.dumps(link.counts), flush=True)
            link.forget()
    os._exit(0)  # threads of servers that wait for connections


def put(hub: Any, root: Path) -> None:
    """Commit a folder, its Parquet files as large objects."""
    import hashlib

    from hub_server.store import Entry, write_whole

    hub.store.create("dataset", REPOSITORY, "tester", private=False)
    repository, tree = hub.repository(REPOSITORY), {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            where = path.relative_to(root).as_posix()
            if path.suffix == ".parquet":
                digest = hashlib.sha256(content).hexdigest()
                write_whole(repository.object(digest), content)
                tree[where] = Entry.of_object(digest, len(content))
            else:
                tree[where] = repository.add_blob(content)
    repository.apply("main", lambda _: tree, title="Rows", message="", user="tester")


def fill_bucket(root: Path) -> int | None:
    """A bucket with all formats; its port, or None where moto or s3fs are not installed."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        return None
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    fs = s3fs.S3FileSystem(endpoint_url=f"http://127.0.0.1:{port}", key="test", secret="test")
    fs.mkdir(BUCKET)
    for folder in root.iterdir():
        if folder.name in {"irtd", "litdata", "mds", "lance"}:
            fs.put(str(folder), f"{BUCKET}/{folder.name}", recursive=True)
    return int(port)


# --- the ways --------------------------------------------------------------------------------------------------------


def rows_of(  # noqa: C901, PLR0912 - a branch for each library
    way: str, far: dict[str, str], root: Path, scratch: Path
) -> Iterator[Any]:
    """One epoch of a way."""
    options = {"endpoint": far["hub"], "token": far["token"]}
    name, _, _ = way.partition(",")
    if name == "stream":
        from irtd_datasets.training import stream

        if "bucket" in way:
            s3 = {"endpoint_url": far["s3"], "key": "test", "secret": "test"}
            place, options = f"s3://{BUCKET}/irtd:instruct", s3
        elif "web" in way:
            place, options = f"http://{far['web']}/irtd:instruct", {}
        else:
            place = f"{REPOSITORY}:instruct"
        yield from stream(place, columns=["image", *TEXT], storage_options=options)
    elif name in {"table", "snapshot_download"}:
        from irtd_datasets.training import table

        place: Any = f"{REPOSITORY}:instruct"
        if name == "snapshot_download":
            from huggingface_hub import snapshot_download

            place = snapshot_download(
                REPOSITORY, repo_type="dataset", local_dir=scratch / "snapshot", max_workers=8, **options
            )
        rows = table(place, columns=["image", *TEXT], storage_options=options, cache=scratch / "cache")
        order = list(rows.sampler(seed=0))
        sampler = iter(rows.sampler(seed=0))
        for _ in range(0, len(order), BATCH):
            yield from rows.__getitems__([n for _, n in zip(range(BATCH), sampler, strict=False)])
    elif name == "datasets":
        import datasets

        rows = datasets.load_dataset(
            REPOSITORY, "instruct", split="train", streaming=True, token=far["token"]
        ).select_columns(["image", *TEXT])
        rows = rows.cast_column("image", datasets.Image(decode=False))
        if "resharded" in way:
            rows = rows.reshard()
        yield from rows.shuffle(seed=0, buffer_size=1000) if "shuffle" in way else rows
    elif name == "webdataset":
        import webdataset

        count = len(list((root / "webdataset").glob("*.tar")))
        urls = [f"pipe:curl -s http://{far['web']}/webdataset/{number:05d}.tar" for number in range(count)]
        yield from webdataset.WebDataset(urls, shardshuffle=count, seed=0).shuffle(1000)
    elif name == "litdata":
        from litdata import StreamingDataset

        s3 = {"endpoint_url": far["s3"], "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        yield from StreamingDataset(
            f"s3://{BUCKET}/litdata", shuffle=True, seed=0, storage_options=s3, cache_dir=str(scratch / "lit")
        )
    elif name == "mds":
        from streaming import StreamingDataset

        yield from StreamingDataset(
            remote=f"s3://{BUCKET}/mds", local=str(scratch / "mds"), shuffle=True, batch_size=8
        )
    else:
        import lance
        import numpy as np

        s3 = {"aws_endpoint": far["s3"], "allow_http": "true", "aws_region": "us-east-1"}
        rows = lance.dataset(f"s3://{BUCKET}/lance", storage_options=s3)
        order = np.random.default_rng(0).permutation(rows.count_rows()).tolist()
        for start in range(0, len(order), BATCH):
            yield from rows.take(order[start : start + BATCH]).to_pylist()


def run(kind: str, way: str, far: dict[str, str], root: Path, scratch: Path) -> dict[str, Any]:
    """One epoch of one way, in this process."""
    from peers import to_rgb

    import_of(way)
    base = psutil.Process().memory_full_info().pss
    count, size, first = 0, 0, 0.0
    start = time.perf_counter()
    for row in rows_of(way, far, root, scratch):
        if not count:
            first = time.perf_counter() - start
            socket.create_connection(("127.0.0.1", far["mark"])).recv(1)
        image = row["image"] if "image" in row else row["jpg"]
        data = image["bytes"] if isinstance(image, dict) else image
        size += len(data)
        count += 1
        if kind == "decoded":
            to_rgb({"image": data})
    return {"seconds": time.perf_counter() - start, "rows": count, "used": size, "first": first, "base": base}


def import_of(way: str) -> None:
    """Import what a way needs before the clock starts; torch for all, since a training process has it anyway."""
    import importlib

    with suppress(ImportError):
        importlib.import_module("torch.utils.data")
    module = way.partition(",")[0]
    names = {
        "mds": ["streaming"],
        "stream": ["irtd_datasets.training.streams", "pyarrow.parquet", "huggingface_hub.hf_api", "s3fs"],
    }
    tables = ["irtd_datasets.training.tables", "huggingface_hub"]
    for name in names.get(module, tables if module in {"table", "snapshot_download"} else [module]):
        importlib.import_module(name)


def installed(way: str) -> bool:
    """Whether the library of a way is there."""
    from importlib.util import find_spec

    needs = {"mds": "streaming", "table": "irtd_datasets", "stream": "irtd_datasets"}
    module = way.partition(",")[0]
    if "bucket" in way and (find_spec("s3fs") is None or find_spec("moto") is None):
        return False
    return (
        find_spec(needs.get(module, {"snapshot_download": "huggingface_hub"}.get(module, module))) is not None
    )


# --- the whole -------------------------------------------------------------------------------------------------------


def environment(far: dict[str, str], scratch: Path) -> dict[str, str]:
    """What the processes of the ways are told."""
    found = {
        "HF_ENDPOINT": far["hub"],
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_TOKEN": far["token"],
    }
    found |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    found |= {"HF_HOME": str(scratch / "home"), "IRTD_DATASETS_CACHE": str(scratch / "cache")}
    found |= {"S3_ENDPOINT_URL": far["s3"], "AWS_ENDPOINT_URL": far["s3"], **KEYS}
    return found | {"BENCH_FAR": json.dumps(far)}


def measure_link(arguments: argparse.Namespace, root: Path, link: str) -> dict[str, Any]:
    """All ways over one link."""
    from measure import Result, run_once

    round_trip, megabits = (float(part) for part in link.split(":"))
    rate = megabits * 125_000
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(root), str(round_trip / 1000), str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    far = json.loads(server.stdout.readline())

    def counts() -> dict[str, int]:
        print(file=server.stdin, flush=True)
        found: dict[str, int] = json.loads(server.stdout.readline())  # type: ignore[union-attr]
        return found

    ways = [way for way in WAYS if installed(way) and (not arguments.way or way in arguments.way)]
    kinds = arguments.kind or ["raw", "decoded"]
    results = {(kind, way): Result() for kind in kinds for way in ways}
    totals: dict[tuple[str, str], list[dict[str, int]]] = {key: [] for key in results}
    try:
        for number in range(arguments.rounds):
            for key in list(results) if number % 2 == 0 else reversed(list(results)):
                with tempfile.TemporaryDirectory(dir=arguments.corpus) as folder:
                    scratch = Path(folder)
                    os.environ.update(environment(far, scratch))
                    command = [__file__, "--run", *key, "--root", str(root), "--scratch", folder]
                    if "second epoch" in key[1]:
                        run_once(command, Result())
                    counts()
                    try:
                        run_once(command, results[key], memory=True)
                    except SystemExit as error:  # a peer that cannot do it here is said, not the end of all
                        print(f"  {key[1]}: {str(error)[-600:]}", file=sys.stderr, flush=True)
                        continue
                    totals[key].append(counts())
                    spent = results[key].seconds[-1]
                    print(f"  {link} round {number + 1} {key}: {spent:.2f} s", file=sys.stderr, flush=True)
    finally:
        server.stdin.close()
        server.wait()
    found = {}
    for key, result in results.items():
        if result.seconds:
            count = totals[key][-1]
            found[f"{key[0]}: {key[1]}"] = {**result.as_dict(), **count, "link": link, "rate": rate}
    return found


def report(link: str, found: dict[str, Any]) -> str:
    """A table, the fastest first."""
    from statistics import median

    from measure import table

    lines = []
    for name, result in sorted(found.items(), key=lambda item: median(item[1]["seconds"])):
        seconds, facts = median(result["seconds"]), result["facts"]
        lines.append(
            [
                name,
                f"{facts['rows'] / seconds:,.0f}",
                f"{facts['used'] / seconds / result['rate']:.2f}",
                f"{facts['first']:.2f}",
                f"{result['first_rounds']}",
                f"{result['first_bytes'] / 1e6:.1f}",
                f"{1000 * result['requests'] / facts['rows']:,.0f}",
                f"{result['bytes'] / facts['used']:.2f}",
                f"{(result['peak']['pss'] - facts['base']) / 1e6:,.0f}",
            ]
        )
    head = [
        "way",
        "rows/s",
        "share of the line",
        "first row, s",
        "round trips before it",
        "MB before it",
        "requests per 1,000 rows",
        "bytes per byte used",
    ]
    return f"round trip {link.replace(':', ' ms, ')} Mbit/s\n\n" + table(
        [*head, "memory above imports, MB"], lines
    )


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Rows per second and first row of the raw ways, a panel for each link."""
    from statistics import median

    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(found), 2, figsize=(9, 3.2 * len(found)), squeeze=False)
    for (link, ways), (left, right) in zip(found.items(), axes, strict=True):
        raw = {name.removeprefix("raw: "): way for name, way in ways.items() if name.startswith("raw")}
        names = sorted(raw, key=lambda name: median(raw[name]["seconds"]), reverse=True)
        colours = ["#c44e52" if name.startswith(("stream", "table")) else "#8c8c8c" for name in names]
        rates = [raw[name]["facts"]["rows"] / median(raw[name]["seconds"]) for name in names]
        left.barh(names, rates, color=colours)
        left.set_xlabel(f"rows per second, {link.replace(':', ' ms, ')} Mbit/s")
        right.barh(names, [raw[name]["facts"]["first"] for name in names], color=colours)
        right.set_xlabel("seconds to the first row")
        right.set_yticks([])
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def prepare(corpus: Path, images: int) -> Path:
    """The dataset folder and the formats of the peers that are installed; made once."""
    from peers import prepare as prepare_all

    return prepare_all(corpus, images)["irtd"].parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="folder for the images and all formats")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--link", action="append", help="round trip in ms and megabits a second; repeatable")
    parser.add_argument("--kind", choices=("raw", "decoded"), action="append", help="only this; repeatable")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this; repeatable")
    parser.add_argument("--quick", action="store_true", help="300 images, one round, 20 ms and 200 Mbit/s")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw rows per second and first row (needs matplotlib)")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), float(arguments.serve[1]), float(arguments.serve[2]))
    if arguments.run:
        far = json.loads(os.environ["BENCH_FAR"])
        print(json.dumps(run(*arguments.run, far, arguments.root, arguments.scratch)))
        os._exit(0)  # some peers leave threads behind
    if arguments.corpus is None:
        parser.error("--corpus is missing")
    if arguments.quick:
        arguments.images, arguments.rounds = 300, 1
    links = arguments.link or (["20:200"] if arguments.quick else ["60:100", "20:200"])
    missing = sorted({way.partition(",")[0] for way in WAYS if not installed(way)})
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    from measure import machine

    root = prepare(arguments.corpus, arguments.images)
    found = {link: measure_link(arguments, root, link) for link in links}
    facts = {**machine(), "load": os.getloadavg()[0], "huggingface_hub": metadata.version("huggingface_hub")}
    print(json.dumps(facts))
    for link, ways in found.items():
        print(report(link, ways))
        print()
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "links": found}, indent=1) + "\n")
    if arguments.plot:
        plot(found, arguments.plot)


if __name__ == "__main__":
    main()
