"""A web server, a bucket and the file store of a Hub on this machine, with a log of ranges and with faults."""

import http.server
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KINDS = (
    "wrong",
    "wrongquiet",
    "unnamed",
    "short",
    "whole",
    "reset",
    "close",
    "stall",
    "drip",
    "429",
    "503",
    "page",
)
"""Faults of an answer that pass."""


@dataclass
class Asked:
    """A request: what, which bytes of it, from when to when, and how it was answered."""

    path: str
    start: int
    stop: int
    begun: float
    ended: float
    status: int


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        far, begun = self.server.far, time.perf_counter()
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        if far.delay:
            time.sleep(far.delay)
        if "list-type" in query:
            self.plain(200, far.listing(path.strip("/"), query.get("prefix", "")), "application/xml")
            far.note(path, 0, 0, begun, 200)
            return
        data = far.content(path)
        if data is None:
            self.plain(404, b"")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (
            (int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))) if asked else (0, len(data))
        )
        if far.instead is not None and far.instead(self, data, start, stop):
            far.note(path, start, stop, begun, 0)
            return
        kind = far.fault(path, stop - start)
        status = self.answer(data, start, stop, bool(asked), kind)
        far.note(path, start, stop, begun, 0 if kind else status)

    do_HEAD = do_GET  # noqa: N815 - as the server wants it

    def part(self, data, start, stop, **headers):
        """Answer as a server does that knows ranges."""
        if not self.headers.get("Range"):
            self.plain(200, data, **headers)
            return
        headers.setdefault("Content_Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.plain(206, data[start:stop], **headers)

    def plain(self, status, body, kind="text/plain", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self, data, start, stop, ranged, kind):
        if kind in {"429", "503"}:
            self.plain(int(kind), b"busy", Retry_After=0)
            return int(kind)
        if kind == "page":
            self.plain(200, b"<!DOCTYPE html><title>Log in</title>", "text/html")
            return 200
        shift = 100 if kind in {"wrong", "wrongquiet"} and start >= 100 else 0
        said = (start, stop) if kind == "wrongquiet" else (start - shift, stop - shift)
        body = data[start - shift : stop - shift]
        if kind == "whole":
            body, ranged = data, False
        if kind == "short":
            body = body[:-1]
            said = (said[0], said[1] - 1)
        self.send_response(206 if ranged else 200)
        self.send_header("ETag", f'"{len(data):x}"')
        if ranged and kind != "unnamed":
            self.send_header("Content-Range", f"bytes {said[0]}-{said[1] - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return 200
        half = len(body) // 2 if kind in {"reset", "close", "stall", "drip"} else len(body)
        if kind == "late":
            self.wfile.write(body[:-100])
            self.server.far.late.wait(20)
            body, half = body[-100:], 100
        self.wfile.write(body[:half])
        if half < len(body):
            self.cut(kind, body[half:])
        return 206 if ranged else 200

    def cut(self, kind, rest):
        self.close_connection = True
        if kind == "stall":
            self.server.far.released.wait(3)
        if kind == "drip":
            for byte in rest[:400]:
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return
                if self.server.far.released.wait(0.02):
                    return
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def process_request(self, request, client_address):
        self.far.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.far.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_):
        pass


class Far:
    """What is served, and what goes wrong.

    Attributes:
        asked: The log.
        delay: Seconds before each answer.
        faults: How many answers go wrong, of what kind; of parts of shards only.
        instead: Called with the handler, a file's bytes and the range; returns whether it has answered.
    """

    def __init__(self, root, content=None):
        self.root, self._content = root, content
        self.asked, self.delay, self.lock = [], 0.0, threading.Lock()
        self.kind, self.left, self.seen = "", 0, 0
        self.instead = None
        self.released, self.late = threading.Event(), threading.Event()
        self.open = set()
        self.others = set()  # of a file store: what is no shard

    def fail(self, kind, times):
        self.kind, self.left, self.seen = kind, times, 0

    def fault(self, path, size):
        with self.lock:
            if not self.left or size < 500 or not self.concerns(path):
                return ""
            self.seen += 1
            if self.seen % 2:
                return ""
            self.left -= 1
            return self.kind

    def concerns(self, path):
        return "/data/" in path or ("/store/" in path and path.rpartition("/")[2] not in self.others)

    def note(self, path, start, stop, begun, status):
        with self.lock:
            self.asked.append(Asked(path, start, stop, begun, time.perf_counter(), status))

    def content(self, path):
        if self._content is not None:
            return self._content(path)
        file = self.root / path.lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def listing(self, bucket, prefix):
        text = ""
        for path in sorted((self.root / bucket).rglob("*")):
            name = path.relative_to(self.root / bucket).as_posix()
            if path.is_file() and name.startswith(prefix):
                size = path.stat().st_size
                text += (
                    f"<Contents><Key>{escape(name)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                    f'<ETag>"{size:x}"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
                )
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
        return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{head}{text}</ListBucketResult>'.encode()

    def data_requests(self):
        return [one for one in self.asked if self.concerns(one.path)]

    def forget(self):
        with self.lock:
            self.asked.clear()


def rounds(far):
    """How many requests up to the first of a shard followed one another, each after the answer of the one before."""
    first = min(one.begun for one in far.data_requests())
    asked = [one for one in far.asked if one.begun <= first]
    count, behind = 0, float("-inf")
    for one in sorted(asked, key=lambda one: one.ended):
        if one.begun >= behind:
            count, behind = count + 1, one.ended
    return count


def twice(asked):
    """Bytes that were sent more than once, by path."""
    found = {}
    for path in {one.path for one in asked}:
        behind = 0
        for start, stop in sorted((one.start, one.stop) for one in asked if one.path == path):
            found[path] = found.get(path, 0) + max(min(stop, behind) - start, 0)
            behind = max(behind, stop)
    return {path: count for path, count in found.items() if count}


@contextmanager
def far_server(root=None, content=None, port=0, host="127.0.0.1"):
    """Run one; ``address`` is its host and port."""
    far = Far(root, content)
    kind = type("Kind", (Server,), {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET})
    server = kind((host, port), Handler)
    server.far = far
    far.address = f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield far
    finally:
        far.released.set()
        far.late.set()
        server.shutdown()
        for request in list(far.open):
            with suppress(OSError):
                request.shutdown(2)
        server.server_close()
        thread.join()
