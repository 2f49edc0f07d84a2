"""Stores on this machine that the real clients of fsspec are tried against: Google's, Azure's, and an SFTP server."""

import http.server
import json
import os
import re
import socket
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

KEY = "a2V5"
ACCOUNT = "account"


class _Store(http.server.BaseHTTPRequestHandler):
    """What is common: objects are the files of a folder for each bucket, read by ranges."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.server.faults and self.is_content(parts.path, query):
            self.server.faults -= 1
            self.say(503, b"busy", "text/plain")
            return
        self.answer(parts.path, query)

    do_HEAD = do_GET  # noqa: N815 - as the server wants it

    def listed(self, bucket, prefix):
        root = self.server.root / bucket
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name.startswith(prefix):
                yield name, path.stat().st_size

    def content(self, bucket, name, **headers):
        path = self.server.root / bucket / name
        if not path.is_file():
            self.say(404, self.missing, self.missing_kind, x_ms_error_code="BlobNotFound")
            return
        data = path.read_bytes()
        asked = re.fullmatch(
            r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or self.headers.get("Range") or ""
        )
        headers = {"ETag": f'"0x{len(data):x}"', "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT", **headers}
        if not asked:
            self.say(200, data, "application/octet-stream", **headers)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        told = f"bytes {start}-{stop - 1}/{len(data)}"
        self.say(206, data[start:stop], "application/octet-stream", Content_Range=told, **headers)


class _Google(_Store):
    """The JSON interface of Google's storage."""

    missing, missing_kind = b'{"error": {"code": 404, "message": "not found"}}', "application/json"

    def is_content(self, path, _query):
        return path.startswith("/download/")

    def answer(self, path, query):
        if found := re.fullmatch(r"/download/storage/v1/b/([^/]+)/o/(.+)", path):
            self.content(found[1], unquote(found[2]))
        elif found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/?", path):
            items = [item(found[1], *one) for one in self.listed(found[1], query.get("prefix", ""))]
            self.say(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        elif found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/(.+)", path):
            size = dict(self.listed(found[1], "")).get(unquote(found[2]))
            body = (
                self.missing if size is None else json.dumps(item(found[1], unquote(found[2]), size)).encode()
            )
            self.say(404 if size is None else 200, body)
        else:
            self.say(404, self.missing)


def item(bucket, name, size):
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(size),
        "etag": f"{size:x}",
        "generation": "1",
        "updated": "2024-01-01T00:00:00.000Z",
        "timeCreated": "2024-01-01T00:00:00.000Z",
        "mediaLink": quote(name),
    }


class _Azure(_Store):
    """The blobs of Azure."""

    missing = b'<?xml version="1.0"?><Error><Code>BlobNotFound</Code><Message>not found</Message></Error>'
    missing_kind = "application/xml"

    def is_content(self, _path, query):
        return "comp" not in query

    def answer(self, path, query):
        _, _, bucket, *rest = unquote(path).split("/", 3)
        if query.get("comp") == "list":
            blobs = "".join(
                f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>Mon, 01 Jan 2024 00:00:00 GMT"
                f"</Last-Modified><Etag>0x{size:x}</Etag><Content-Length>{size}</Content-Length>"
                "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"
                "</Properties></Blob>"
                for name, size in self.listed(bucket, query.get("prefix", ""))
            )
            text = (
                f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{bucket}">'
                f"<Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
            )
            self.say(200, text.encode(), "application/xml")
        else:
            self.content(bucket, rest[0] if rest else "", x_ms_blob_type="BlockBlob")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


@contextmanager
def store(kind, root):
    """A store whose buckets are the folders of ``root``: the server, a URL, and storage options."""
    if kind == "sftp":
        with _sftp(root) as (server, port):
            options = {"port": port, "username": "me", "password": "secret"}
            yield (
                server,
                "sftp://127.0.0.1/bucket/made",
                {**options, "look_for_keys": False, "allow_agent": False},
            )
        return
    server = _Server(("127.0.0.1", 0), {"gs": _Google, "az": _Azure}[kind])
    server.root, server.faults = root, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    account = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={address}/{ACCOUNT};"
    options = {
        "gs": {"endpoint_url": address, "token": "anon"},
        "az": {"connection_string": f"DefaultEndpointsProtocol=http;{account}"},
    }
    try:
        yield server, f"{kind}://bucket/made", options[kind]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _sftp(root):  # noqa: C901 - a server of small methods
    import paramiko

    class Login(paramiko.ServerInterface):
        def check_auth_password(self, username, password):
            good = (username, password) == ("me", "secret")
            return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

        def check_channel_request(self, *_):
            return paramiko.OPEN_SUCCEEDED

    class Files(paramiko.SFTPServerInterface):
        def _of(self, path):
            return root / path.lstrip("/")

        def list_folder(self, path):
            return [
                paramiko.SFTPAttributes.from_stat(one.stat(), one.name)
                for one in sorted(self._of(path).iterdir())
            ]

        def stat(self, path):
            try:
                return paramiko.SFTPAttributes.from_stat(os.stat(self._of(path)))  # noqa: PTH116
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno)

        lstat = stat

        def open(self, path, flags, _attributes):
            try:
                file = self._of(path).open("rb")
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno)
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = file
            return handle

    listening = socket.create_server(("127.0.0.1", 0))
    transports = []
    key = paramiko.RSAKey.generate(2048)

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(server=Login())
            transports.append(transport)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield None, listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for transport in transports:
            transport.close()
        thread.join(5)
