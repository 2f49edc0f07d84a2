"""A web server on loopback with ranges, marks of its files, pages that list folders, and faults."""

import contextlib
import hashlib
import http.server
import threading
import time
import urllib.parse
from pathlib import Path


class WebServer:
    """A running server; made by `web_server`.

    Attributes:
        url: Its address.
        requests: Method, path, range, status and bytes sent of each request.
        lists: Whether a folder is answered with a page that lists it.
        ranges: Whether ranges are given.
        marks: Whether files have an ``ETag``.
        faults: Called with a handler and the path's name before a file is sent; returns True where it has answered.
        cut_after: Name to the bytes of an answer after which the connection is closed.
        cuts: How many answers are still cut.
        bytes_per_second: Speed of each answer; None for all there is.
        password: User and password, joined by a colon, without which nothing is given.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.requests = []
        self.lists = self.ranges = self.marks = True
        self.faults = None
        self.cut_after = {}
        self.cuts = 1
        self.bytes_per_second = None
        self.password = None
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def sent(self):
        """Bytes of bodies sent."""
        return sum(one[4] for one in self.requests)

    def start(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of = None

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server_of
        path = urllib.parse.unquote(self.path.partition("?")[0])
        target = server.folder / path.strip("/")
        if server.password is not None:
            import base64

            wanted = f"Basic {base64.b64encode(server.password.encode()).decode()}"
            if self.headers.get("Authorization") != wanted:
                self.answer(401, b"no")
                return
        if server.faults is not None and server.faults(self, target.name):
            return
        if target.is_dir() and server.lists:
            if not path.endswith("/"):
                self.answer(301, b"", {"Location": f"{path}/"})
                return
            links = "".join(
                f'<a href="{urllib.parse.quote(one.name)}{"/" * one.is_dir()}">x</a>'
                for one in target.iterdir()
            )
            self.answer(200, f"<html>{links}</html>".encode(), {"Content-Type": "text/html"})
        elif target.is_file():
            self.file(target)
        else:
            self.answer(404, b"not here")

    def file(self, target):
        server, data = self.server_of, target.read_bytes()
        mark = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": mark} if server.marks else {}
        wanted = self.headers.get("Range", "")
        same = self.headers.get("If-Range", mark) == mark
        if wanted and server.ranges and same:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            if start >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self.answer(206, data[start:stop], headers, target.name)
        else:
            self.answer(200, data, headers, target.name)

    def answer(self, status, body, headers=(), name=""):
        server = self.server_of
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            body = b""
        if name in server.cut_after and server.cuts and len(body) > server.cut_after[name]:
            server.cuts -= 1
            body = body[: server.cut_after[name]]
            self.close_connection = True
        server.requests.append((self.command, self.path, self.headers.get("Range"), status, len(body)))
        with contextlib.suppress(ConnectionError):
            if server.bytes_per_second is None:
                self.wfile.write(body)
                return
            for start in range(0, len(body), 4096):
                self.wfile.write(body[start : start + 4096])
                time.sleep(4096 / server.bytes_per_second)


@contextlib.contextmanager
def web_server(folder):
    """A server of a folder."""
    server = WebServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
