"""The server: two ports over one store, tokens, faults, and a log of what was asked."""

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import secrets
import threading
import traceback
import urllib.parse
from dataclasses import dataclass, field

from hub_server import routes
from hub_server.faults import Fault
from hub_server.store import RefusedError, Store
from hub_server.wire import Body, CutError, send


@dataclass
class Request:
    """One request as it was answered.

    Attributes:
        port: ``hub`` or ``store``.
        method: Its method.
        path: Its path, unquoted, without the query.
        query: First value of each parameter.
        status: What was answered; 0 where the connection was cut.
        received: Bytes of its body that arrived.
        sent: Bytes of the body that was sent.
        range: Its ``Range`` header.
        token: Whether it carried a token.
        user_agent: Its ``User-Agent`` header.
    """

    port: str
    method: str
    path: str
    query: dict = field(default_factory=dict)
    status: int = 0
    received: int = 0
    sent: int = 0
    range: str | None = None
    token: bool = False
    user_agent: str = ""


@dataclass
class User:
    """Who a token belongs to.

    Attributes:
        name: Account.
        role: ``write``, ``read`` or ``fineGrained``.
        organisations: Others in whose name the account may write.
        uses: Requests after which the token is no longer valid; None for ever.
    """

    name: str
    role: str = "write"
    organisations: tuple = ()
    uses: int | None = None


class Hub:
    """A running Hub; made by `hub_server`.

    Attributes:
        endpoint: Address of the Hub, for ``HF_ENDPOINT``.
        store_endpoint: Address of the file store, another origin with another host name.
        token: A token with write access of the account ``owner``.
        owner: Name of that account.
        requests: All requests so far.
        part_size: Larger objects are uploaded in parts of this size.
        page_size: Entries on one page of a tree.
        errors: Tracebacks of mistakes in the server itself.
        busy: Requests that are being answered.
        gives_xet: Whether files that came by Xet can be read by Xet.
        xorbs: Bytes of each xorb that was sent by Xet clients.
        folder: Where everything lies; a new hub over the same folder goes on with it.
    """

    def __init__(self, folder, *, owner="tester"):
        self.store = Store(folder)
        self.folder = self.store.folder
        self.owner = owner
        self.users = {}
        self.token = self.add_token(owner)
        self.requests = []
        self.errors = []
        self.faults = []
        self.lock = threading.RLock()
        self.busy = 0
        self.part_size = 16 << 20
        self.page_size = 1000
        self.gives_xet = True
        self.xorbs = []
        self.closing = threading.Event()
        self._secret = os.urandom(16)
        self._objects = {}
        self._servers = [_Server(self, "hub"), _Server(self, "store")]
        self.endpoint, self.store_endpoint = (server.address for server in self._servers)

    def start(self):
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.close_connections()
            server.server_close()

    def add_token(self, user, *, role="write", organisations=(), uses=None):
        """Make a token: `role` is ``write``, ``read`` or ``fineGrained``; it is valid for so many `uses`."""
        token = f"hf_{secrets.token_hex(17)}"
        self.users[token] = User(user, role, tuple(organisations), uses)
        return token

    def fail(self, status=None, **how):
        """Make requests go wrong; see `Fault` for how. Returns the fault, which counts its hits."""
        fault = Fault(status, **how)
        with self.lock:
            self.faults.append(fault)
        return fault

    def heal(self):
        """Forget all faults."""
        with self.lock:
            for fault in self.faults:
                fault.release()
            self.faults.clear()

    def repository(self, name, kind="dataset"):
        """A repository, to look at or to change behind the clients' backs."""
        return self.store.repositories[kind, name]

    def commit(self, name, files, *, branch="main", user="somebody", delete=()):
        """Commit small files to a dataset repository as somebody else would."""
        repository = self.repository(name)

        def changes(tree):
            kept = {path: entry for path, entry in tree.items() if path not in delete}
            return kept | {path: repository.add_blob(content) for path, content in files.items()}

        return repository.apply(branch, changes, title="Meanwhile", message="", user=user)

    def file(self, name, path, revision="main"):
        """Content of a file of a dataset repository."""
        repository = self.repository(name)
        return repository.path_of(repository.tree(revision)[path]).read_bytes()

    def sent_objects(self):
        """Bytes that arrived for each large object, by SHA-256: its size once, if it was sent once."""
        return dict(self._objects)

    def arrived(self, sha256, size):
        with self.lock:
            self._objects[sha256] = self._objects.get(sha256, 0) + size

    def forget(self):
        """Empty the log."""
        with self.lock:
            self.requests.clear()
            self._objects.clear()
            self.xorbs.clear()

    def environment(self, home, *, token=True, xet=False):
        """Settings of a client process.

        Args:
            home: Its caches.
            token: True for `token`, or another one, or False for none.
            xet: Whether it may use Xet.
        """
        found = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_DATASETS_CACHE": f"{home}/datasets",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        if token:
            found["HF_TOKEN"] = self.token if token is True else token
        return found

    def sign(self, *parts):
        """A signature that lets a request without a token reach the store."""
        return hmac.new(self._secret, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()

    def fault_for(self, method, path):
        with self.lock:
            return next((fault for fault in self.faults if fault.concerns(method, path)), None)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub, port):
        self.hub, self.port = hub, port
        self._open = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        # Some clients take a file store of the same host name for a part of the Hub, whatever its port is.
        host = "127.0.0.1" if port == "hub" else "localhost"
        self.address = f"http://{host}:{self.server_address[1]}"

    def process_request(self, request, client_address):
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self):
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(2)

    def handle_error(self, request, client_address):
        pass  # a client that goes away is none


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def log_message(self, *arguments):
        pass

    def _handle(self):
        hub, port = self.server.hub, self.server.port
        raw, _, query = self.path.partition("?")
        values = {k: v[0] for k, v in urllib.parse.parse_qs(query, keep_blank_values=True).items()}
        path = urllib.parse.unquote(raw)
        self.entry = Request(port, self.command, path, values, range=self.headers.get("Range"))
        self.entry.token = "Authorization" in self.headers
        self.entry.user_agent = self.headers.get("User-Agent", "")
        self.fault = hub.fault_for(self.command, path)
        self.body = Body(self.headers, self.rfile, self.fault)
        self.values = values
        with hub.lock:
            hub.busy += 1
        try:
            self._answer(hub, port, raw)
        except CutError:
            self._cut()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away
        except Exception:  # noqa: BLE001 - told to the test when the hub stops
            hub.errors.append(traceback.format_exc())
            self._cut()
        finally:
            self.entry.received = self.body.received
            with hub.lock:
                hub.requests.append(self.entry)
                hub.busy -= 1

    def _answer(self, hub, port, raw):
        fault = self.fault
        if fault and fault.stall:
            fault.stalled.set()
            while not fault.released.wait(0.02) and not hub.closing.is_set():
                pass
        if fault and fault.then:
            fault.then()
        if fault and fault.status:
            self.body.read()
            self.answer_json(
                {"error": fault.message}, fault.status, {"X-Error-Message": fault.message, **fault.headers}
            )
            return
        try:
            self._route(hub, port, raw)
        except RefusedError as refused:
            self.body.read()
            headers = {"X-Error-Message": refused.message}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            if "commit" in refused.extra:
                headers["X-Repo-Commit"] = refused.extra.pop("commit")
            self.answer_json({"error": refused.message, **refused.extra}, refused.status, headers)

    def _route(self, hub, port, raw):
        if port == "hub":
            self.user = self._user(hub)
        for methods, pattern, function in routes.TABLES[port]:
            found = re.fullmatch(pattern, raw)
            if found and self.command in methods.split():
                function(
                    hub, self, **{k: urllib.parse.unquote(v or "") for k, v in found.groupdict().items()}
                )
                return
        raise RefusedError(404, f"Not found: {raw}")

    def _user(self, hub):
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = hub.users.get(header.removeprefix("Bearer ").strip())
        if user is not None and user.uses is not None:
            with hub.lock:
                if user.uses <= 0:
                    user = None
                else:
                    user.uses -= 1
        if user is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return user

    def _cut(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)

    def json_body(self):
        """The body as JSON."""
        text = self.body.read()
        try:
            return json.loads(text or b"{}")
        except ValueError:
            raise RefusedError(400, "The body is no JSON") from None

    def answer_json(self, value, status=200, headers=None):
        """Answer with JSON."""
        self.answer(
            json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})}
        )

    def answer(self, content=b"", status=200, headers=None):
        """Answer with some bytes."""
        if self.fault and self.fault.cut_answer:
            raise CutError
        self.entry.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.entry.sent = len(content)
            self.wfile.write(content)

    def answer_file(self, path, headers):
        """Answer with a file, or with the range that was asked for."""
        size = path.stat().st_size
        start, end, status = 0, size - 1, 200
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and any(asked.groups()):
            first, last = asked.groups()
            start = int(first) if first else max(0, size - int(last))
            end = min(int(last), size - 1) if first and last else size - 1
            if start > end:
                self.answer(b"", 416, {"Content-Range": f"bytes */{size}"})
                return
            status = 206
            headers = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        length = max(0, end - start + 1)
        self.entry.status = status
        self.send_response(status)
        for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.entry.sent = length
        with path.open("rb") as file:
            file.seek(start)
            send(self.wfile, file, length, self.fault)


for _method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
    setattr(_Handler, f"do_{_method}", _Handler._handle)


@contextlib.contextmanager
def hub_server(folder, *, owner="tester"):
    """Run a Hub over a folder, which is made if it is not there.

    Args:
        folder: Where repositories lie.
        owner: Account of the token that it hands out.

    Yields:
        The running `Hub`.
    """
    hub = Hub(folder, owner=owner)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()
    if hub.errors:
        raise AssertionError(f"the hub of the tests failed:\n{hub.errors[0]}")


def online(monkeypatch):
    """Lift the setting by which the tests are offline, for a Hub on this machine and clients in this process.

    Before 1.0 `huggingface_hub` makes a session for each thread, which stays as offline as it was made.
    """
    from huggingface_hub import constants, utils

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    getattr(utils, "reset_sessions", bool)()
