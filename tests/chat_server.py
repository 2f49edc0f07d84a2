"""A chat endpoint on loopback that answers, stalls, limits, fails, and writes down what it was asked."""

import base64
import contextlib
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = (
    "The image shows a wide road with {n} trees that stand in a row at its right side. A path leads along the pavement "
    "at the left, near a tall lamp post. Behind them are two buildings with flat roofs and a line of hedges."
)


class ChatServer(ThreadingHTTPServer):
    """Answers each image with a text of its own.

    Attributes:
        script: What to do with the next requests, in order: ``ok``, a status, ``html``, ``cut``, ``stall``,
            ``empty``, ``stream``, a text to answer with, or an object whose ``text`` is answered under the name
            ``model``. ``ok`` when it is exhausted.
        asked: For each request, the hash of its image and the number of messages.
        most: Most requests under way at a time.
        keys: The Authorization header of each request.
        reply: Once the script is exhausted: gives the text for a request's body.
    """

    daemon_threads = True

    def __init__(self, script=(), *, delay=0.0, usage=True, reply=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.reply = reply or (lambda body: "ok")
        self.delay, self.usage = delay, usage
        self.asked, self.keys, self.bodies = [], [], []
        self.under_way = self.most = 0
        self.guard = threading.Lock()
        self.over = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = next(one["content"] for one in body["messages"] if one["role"] == "user")
        if isinstance(asked, str):
            image = asked.encode().ljust(201)
        else:
            image = base64.b64decode(asked[0]["image_url"]["url"].partition("base64,")[2])
        with server.guard:
            server.asked.append((hashlib.sha256(image).hexdigest(), len(body["messages"])))
            server.keys.append(self.headers.get("Authorization"))
            server.bodies.append(body)
            action = server.script.pop(0) if server.script else server.reply(body)
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            time.sleep(server.delay)
            self.answer(action, image)
        finally:
            with server.guard:
                server.under_way -= 1

    def answer(self, action, image):
        if action == "stall":
            self.server.over.wait(30)
            self.close_connection = True
            return
        if action == "cut":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
            return
        if action == "html":
            self.send(200, b"<html><body>Sign in to the network</body></html>", "text/html")
            return
        if action == "stream":
            pieces = [{"choices": [{"index": 0, "delta": {"content": one}}]} for one in ("ye", "s")]
            lines = [*map(json.dumps, pieces), "[DONE]"]
            self.send(200, "".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")
            return
        if isinstance(action, tuple):
            status, headers = action
            self.send(status, b'{"error": "no"}', "application/json", headers)
            return
        if isinstance(action, int):
            self.send(action, b'{"error": "no"}', "application/json")
            return
        model = "m"
        if isinstance(action, dict):
            action, model = action["text"], action["model"]
        text = "" if action == "empty" else GOOD.format(n=image[200] % 7 + 2) if action == "ok" else action
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
        }
        if self.server.usage:
            answer["usage"] = {"prompt_tokens": 500, "completion_tokens": 100, "total_tokens": 600}
        self.send(200, json.dumps(answer).encode(), "application/json")

    def send(self, status, content, kind, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def chat_server(script=(), **options):
    """Run a server while the block runs."""
    server = ChatServer(script, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
