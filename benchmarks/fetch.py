"""Fetching one large file from a web server on this machine, against curl.

    python benchmarks/fetch.py --folder /tmp/irtd-fetch-benchmark
    python benchmarks/fetch.py --folder /tmp/irtd-fetch-benchmark --megabytes 200 --rounds 3

The server sends the file from the page cache by `sendfile`. The ways run alternately; medians. `fetch` verifies size
and SHA-256, so curl with `sha256sum` behind it is given beside curl alone. Goal: 0.9 of the speed of curl alone.
"""

from __future__ import annotations

import argparse
import http.server
import multiprocessing
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

NAME = "data.tar.gz.0"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.folder / NAME
        size = path.stat().st_size
        start, stop, wanted = 0, size, self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or size), size - 1) + 1
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{size}"')
        self.send_header("Content-Length", str(stop - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        with path.open("rb") as file:
            while start < stop:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, stop - start)


def serve(folder, ports):
    Handler.folder = folder
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


def by_fetch(url, target):
    from irtd_datasets.fetching.download import download
    from irtd_datasets.remote.files import open_files

    files = open_files(url)
    download(files, files.find(NAME), target / NAME, "", lambda _: None)


def by_curl(url, target):
    target.mkdir()
    subprocess.run(["curl", "-sS", "-o", target / NAME, f"{url}/{NAME}"], check=True)


def by_curl_and_hash(url, target):
    by_curl(url, target)
    subprocess.run(["sha256sum", target / NAME], check=True, stdout=subprocess.DEVNULL)


WAYS = {
    "irtd fetch, size and SHA-256 verified": by_fetch,
    "curl": by_curl,
    "curl, then sha256sum": by_curl_and_hash,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source = options.folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    if not (source / NAME).exists() or (source / NAME).stat().st_size != options.megabytes * 10**6:
        with (source / NAME).open("wb") as file:
            for _ in range(options.megabytes):
                file.write(os.urandom(10**6))
    ports = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(source, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get()}"
    seconds = {name: [] for name in WAYS}
    for number in range(options.rounds + 1):  # the first warms everything up
        for name, way in WAYS.items():
            target = options.folder / "target"
            shutil.rmtree(target, ignore_errors=True)
            os.sync()
            begun = time.perf_counter()
            way(url, target)
            if number:
                seconds[name].append(time.perf_counter() - begun)
    server.terminate()
    shutil.rmtree(options.folder / "target")
    curl = statistics.median(seconds["curl"])
    print("| way | MB/s | range | of curl |\n|---|---:|---:|---:|")
    for name, found in seconds.items():
        middle = statistics.median(found)
        low, high = (options.megabytes / value for value in (max(found), min(found)))
        print(
            f"| {name} | {options.megabytes / middle:,.0f} | {low:,.0f}-{high:,.0f} | {curl / middle:.2f} |"
        )


if __name__ == "__main__":
    main()
