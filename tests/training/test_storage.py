"""Servers that refuse, drip, lie about ranges or ask to wait; and buckets, which are read as folders are."""

import http.server
import logging
import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from folders import make_folder

from irtd_datasets.errors import ReleaseError
from irtd_datasets.remote import retry
from irtd_datasets.training import merge_states, stream, table

ROWS = 90


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder by ranges; `fault` is asked what to do with an answer."""

    protocol_version = "HTTP/1.1"
    root = None
    fault = staticmethod(lambda handler, data, headers: (206, data, headers))

    def do_GET(self):
        path = self.root / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, status, headers = path.read_bytes(), 200, {"ETag": "one"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, stop = int(asked[1]), int(asked[2] or len(data) - 1) + 1
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            data = data[start:stop]
            status, data, headers = self.fault(self, data, headers)
        if data is None:
            return
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def served(root, port=0):
    kind = type("Serving", (Handler,), {"root": root})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/made", kind
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A place with a folder of 90 rows; read it, do not change it."""
    root = tmp_path_factory.mktemp("storage")
    make_folder(root / "made", ROWS)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses that are not asked for take no time."""
    monkeypatch.setattr(retry.random, "uniform", lambda *_: 0.001)


def read(place, **options):
    return {row["id"]: row["image"] for row in stream(place, storage_options={"patience": 0.5, **options})}


def shifted(handler, data, headers):
    start, stop, whole = map(int, re.findall(r"\d+", headers["Content-Range"]))
    return 206, data, {**headers, "Content-Range": f"bytes {start + 1}-{stop + 1}/{whole}"}


def unnamed(handler, data, headers):
    return 206, data, {"ETag": "one"}


def short(handler, data, headers):
    if len(data) < 2:
        return 206, data, headers
    start, stop, whole = map(int, re.findall(r"\d+", headers["Content-Range"]))
    return 206, data[:-1], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{whole}"}


def dripping(handler, data, headers):
    handler.send_response(206)
    for name, value in {"Content-Length": len(data), **headers}.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    try:
        for byte in data[:200]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass
    handler.close_connection = True
    return 206, None, headers


@pytest.mark.parametrize("fault", [shifted, unnamed, short, dripping])
def test_faults_of_ranges_pass(root, fault):
    """A range that is another one, none at all, too short, or comes too slowly is asked for again, and never taken."""
    with served(root) as (place, server):
        wanted = read(place)
        left = [3]

        def sometimes(handler, data, headers):
            if left[0] and len(data) > 300:
                left[0] -= 1
                return fault(handler, data, headers)
            return 206, data, headers

        server.fault = staticmethod(sometimes)
        assert read(place) == wanted
        assert not left[0]
        server.fault = staticmethod(fault)
        with pytest.raises(ReleaseError, match="cannot be read"):
            read(place, retries=1, patience=0.2)


def test_a_server_that_comes_later(root):
    """A refused connection is one of a server that starts again: it is waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"http://127.0.0.1:{port}/made"
    with pytest.raises(ReleaseError, match="refused"):
        read(place, retries=1)
    found = []
    thread = threading.Thread(target=lambda: found.append(read(place, retries=400)))
    thread.start()
    with served(root, port):
        thread.join()
    assert len(found[0]) == ROWS


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {"RateLimit": '"resolvers";r=0;t=1', "RateLimit-Policy": "q=100;w=300"}]
)
def test_rate_limits(root, headers, caplog, monkeypatch):
    """A server that names the seconds is waited for so long, which the log says."""
    slept = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    with served(root) as (place, server):
        wanted, left = read(place), [2]

        def limited(handler, data, given):
            if not left[0]:
                return 206, data, given
            left[0] -= 1
            return 429, b"", headers

        server.fault = staticmethod(limited)
        with caplog.at_level(logging.WARNING, "irtd_datasets"):
            assert read(place) == wanted
    assert [round(seconds) for seconds in slept if seconds > 0.5] == [1, 1]  # others sleep for shorter
    assert caplog.text.count("asks to wait for 1 s (status 429)") == 2


def test_a_bucket(root, tmp_path):
    """Streams and tables of a bucket give the rows of the folder, in the same order and with states that fit."""
    s3fs = pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "test", "secret": "test"}
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = s3fs.S3FileSystem(**options)
        bucket.mkdir("streams")
        bucket.put(str(root / "made"), "streams/made", recursive=True)
        here, there = stream(root / "made"), stream("s3://streams/made", storage_options=options)
        assert list(there) == list(here)
        rows = table("s3://streams/made:all", storage_options=options, cache=tmp_path)
        assert rows[5:40] == table(root / "made", cache=tmp_path)[5:40]
        next(iter(there))
        here.load_state_dict(merge_states([there.state_dict()]))
        assert len(list(here)) == ROWS - 1
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
