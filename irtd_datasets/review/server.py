"""The page of a review, served on the loopback address of this machine only.

The link holds a token that no other page can know, and every answer is given only to a request that has it, that names
this address as its host (so that no name of the internet can be pointed here), and that comes from this page. The page
loads nothing from elsewhere, and its content security policy forbids it to; texts of rows reach it as JSON and are put
into it as text, never as markup.

A verdict is on disk before its request is answered, and the page shows the next row only then.
"""

from __future__ import annotations

import hmac
import io
import json
import secrets
import threading
from collections import OrderedDict
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import ImageError, IrtdDatasetsError
from irtd_datasets.images.files import inspect_image
from irtd_datasets.images.viewable import viewable
from irtd_datasets.review.edits import why_not_editable
from irtd_datasets.review.rows import doubts_of
from irtd_datasets.review.verdicts import (
    LIMIT,
    VERDICTS,
    Verdict,
    agreements,
    find_refusal,
    text_digest,
)
from irtd_datasets.schema import IMAGE_FIELDS, MODALITIES, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irtd_datasets.review.rows import ReviewRows
    from irtd_datasets.review.verdicts import VerdictFile

__all__ = ["MAX_BODY", "Refused", "Review", "ReviewServer"]

MAX_BODY = 8 * LIMIT
"""Bytes of a request that are looked at: JSON may write a character in six, and there is more than the text."""

_DRAINED = 64 << 20  # of a larger request are read and forgotten, so that its sender hears why it is refused
_SIDE = 1600  # pixels of an image as it is shown
_KEPT = 48  # images that are kept as they are shown
_FILES = {
    "": ("review.html", "text/html"),
    "review.js": ("review.js", "text/javascript"),
    "review.css": ("review.css", "text/css"),
    "review.svg": ("review.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Refused(Exception):  # noqa: N818 - an answer, and no error of the library
    """A request that is answered with a reason.

    Args:
        status: HTTP status.
        why: What the page shows.
        more: What else it is told.
    """

    def __init__(self, status: int, why: str, **more: Any) -> None:  # noqa: ANN401 - values of JSON
        super().__init__(why)
        self.status, self.why, self.more = status, why, more


class Review:
    """What the page asks, without the network.

    Args:
        rows: The rows.
        verdicts: The file that verdicts go to.
        reviewer: Who reads.
    """

    def __init__(self, rows: ReviewRows, verdicts: VerdictFile, reviewer: str) -> None:
        self.rows, self.reviewer = rows, reviewer
        self._file = verdicts
        self._guard = threading.Lock()
        self._judged: dict[str, dict[str, Verdict]] = {}
        self._given: dict[str, int] = {}
        self._done: set[int] = set()
        self._places: dict[str, list[int]] = {}
        for position, one in enumerate(rows.ids):
            self._places.setdefault(one, []).append(position)
        self._refresh()
        self._images: OrderedDict[tuple[int, str], tuple[bytes, str]] = OrderedDict()

    def _refresh(self) -> None:
        """Take what stands in the file since: verdicts of this page, of other tabs, and of other reviewers."""
        changed: dict[str, Verdict] = {}
        for one in self._file.fresh():
            self._judged.setdefault(one.id, {})[one.reviewer] = one
            if one.reviewer == self.reviewer:
                self._given[one.id] = self._given.get(one.id, 0) + 1
                changed[one.id] = one
        places = [(place, one.text) for one in changed.values() for place in self._places.get(one.id, ())]
        digests = self.rows.digests([place for place, _ in places])
        for (place, text), digest in zip(places, digests, strict=True):
            # A verdict on another text than the row has now leaves the row to be judged again.
            (self._done.add if text == digest else self._done.discard)(place)

    def state(self) -> dict[str, Any]:
        """How far the review is."""
        with self._guard:
            self._refresh()
            done = len(self._done)
            counts = dict.fromkeys(VERDICTS, 0)
            for position in self._done:
                counts[self._judged[self.rows.ids[position]][self.reviewer].verdict] += 1
            return {
                "folder": str(self.rows.folder),
                "config": self.rows.config or "",
                "reviewer": self.reviewer,
                "total": len(self.rows),
                "done": done,
                "counts": counts,
                "first": self._next(0),
                "limit": LIMIT,
                "agreement": [one.as_dict() for one in agreements(self._judged)],
            }

    def _next(self, start: int) -> int | None:
        """The first row from a position on, or from the beginning, that has no verdict yet."""
        total = len(self.rows)
        if len(self._done) >= total:
            return None
        return next(place for step in range(total) if (place := (start + step) % total) not in self._done)

    def row(self, position: int) -> dict[str, Any]:
        """What is shown of a row."""
        if not 0 <= position < len(self.rows):
            raise Refused(404, f"there is no row {position}")
        row = self.rows.text(position)
        digest = text_digest(row["messages"])
        with self._guard:
            self._refresh()
            by_reviewer = dict(self._judged.get(row["id"], {}))
            given = self._given.get(row["id"], 0)
            following = self._next(position + 1)
        mine = by_reviewer.pop(self.reviewer, None)
        # What others say is not shown before one's own verdict.
        others = [asdict(one) for one in by_reviewer.values() if one.text == digest] if mine else []
        return {
            "position": position,
            "next": following,
            "id": row["id"],
            "task": TASKS[row["task"]],
            "source": row["source"],
            "modality": MODALITIES[row["modality"]],
            "origin": row.get("origin"),
            "width": row["width"],
            "height": row["height"],
            "note": row.get("image_note") or "",
            "messages": row["messages"],
            "choices": row["choices"],
            "answer": row["answer"],
            "objects": row["objects"],
            "doubts": doubts_of(row),
            "images": self.rows.images(position),
            "text": digest,
            "locked": why_not_editable(row),
            "mine": asdict(mine) if mine else None,
            "stale": bool(mine and mine.text != digest),
            "given": given,
            "others": others,
        }

    def image(self, position: int, name: str) -> tuple[bytes, str]:
        """An image as it is shown, and its media type."""
        if not 0 <= position < len(self.rows) or name not in IMAGE_FIELDS:
            raise Refused(404, "there is no such image")
        with self._guard:
            if (position, name) in self._images:
                self._images.move_to_end((position, name))
                return self._images[position, name]
        data = self.rows.image(position, name)
        if not data:
            raise Refused(404, "there is no image")
        try:
            kind = _as_it_is(data)
            made = (data, kind) if kind else (_drawn(data, self.rows.ids[position]), "image/jpeg")
        except ImageError as error:
            raise Refused(422, error.problem) from error
        with self._guard:
            self._images[position, name] = made
            while len(self._images) > _KEPT:
                self._images.popitem(last=False)
        return made

    def judge(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Take a verdict; it is on disk when this returns."""
        position, verdict, given = asked.get("position"), asked.get("verdict"), asked.get("given")
        if type(position) is not int or not 0 <= position < len(self.rows) or type(given) is not int:
            raise Refused(400, "the request names no row")
        row = self.rows.text(position)
        digest = text_digest(row["messages"])
        if asked.get("id") != row["id"] or asked.get("text") != digest:
            raise Refused(409, "the row has another text now than the one that was shown; reload the page")
        if verdict not in VERDICTS:
            raise Refused(400, f"a verdict is {', '.join(VERDICTS)}")
        reason = asked.get("reason") or ""
        texts: list[Any] = []
        if verdict == "edit":
            given_texts = asked.get("messages")
            texts = given_texts if isinstance(given_texts, list) else []
            problem = find_refusal(row["messages"], texts) or why_not_editable(row, texts)
            if problem:
                raise Refused(422, problem)
            if texts == [one["content"] for one in row["messages"]]:
                verdict, texts = "accept", []
        if not isinstance(reason, str) or find_refusal([{}], [reason or "-"]):
            raise Refused(422, "the reason is too long, or has control characters")
        with self._guard:
            self._refresh()
            if given != self._given.get(row["id"], 0):
                raise Refused(
                    409,
                    "this row was judged in another tab meanwhile; look at that verdict, and judge again to change it",
                )
            try:
                self._file.add(
                    Verdict(row["id"], digest, str(verdict), self.reviewer, "", tuple(texts), reason)
                )
            except IrtdDatasetsError as error:
                raise Refused(507, str(error)) from error
            self._refresh()
            return {"saved": True, "next": self._next(position + 1), "done": len(self._done)}


def _as_it_is(data: bytes) -> str:
    """The media type of an image that a browser shows as we would; empty for one that has to be drawn."""
    info = inspect_image(data, "")
    plain = info.bit_depth == 8 and info.orientation == 1 and max(info.width, info.height) <= _SIDE
    kinds = {"JPEG": "image/jpeg", "PNG": "image/png"}
    return kinds.get(info.format, "") if plain and info.mode in {"L", "RGB"} else ""


def _drawn(data: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    viewable(data, _SIDE, name).image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class ReviewServer(ThreadingHTTPServer):
    """Serves a review until `shutdown`; a context manager that closes the socket.

    Args:
        review: The review.

    Attributes:
        link: What a browser opens.
    """

    daemon_threads = True

    def __init__(self, review: Review) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.review = review
        self.token = secrets.token_urlsafe(24)
        self.hosts = tuple(f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost"))
        self.link = f"http://{self.hosts[0]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - of the base
        """A browser that goes away in the middle of an answer is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: the second would wait for 40 ms
    timeout = 600
    server: ReviewServer

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def version_string(self) -> str:
        return "irtd"

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Any) -> None:  # noqa: ANN401 - a method of this class
        try:
            try:
                body, kind = respond(self._path())
                status = 200
            except Refused as error:
                status, kind = error.status, "application/json"
                body = json.dumps({"problem": error.why, **error.more}).encode()
            except IrtdDatasetsError as error:
                status, kind = 500, "application/json"
                body = json.dumps({"problem": str(error)}).encode()
            self._send(status, body, kind)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _path(self) -> list[str]:
        """The parts of the path behind the token, for a request that may be answered."""
        host = (self.headers.get("Host") or "").lower()
        if host not in self.server.hosts:
            self.close_connection = True
            raise Refused(421, "this page is at another address")
        token, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.close_connection = True
            raise Refused(403, "the link of this review has a token, and this one has not")
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{name}" for name in self.server.hosts}:
            self.close_connection = True
            raise Refused(403, "the request comes from another page")
        if self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            self.close_connection = True
            raise Refused(403, "the request comes from another page")
        return rest.split("/")

    def _get(self, path: list[str]) -> tuple[bytes, str]:
        review = self.server.review
        match path:
            case [name] if name in _FILES:
                file, kind = _FILES[name]
                folder = resources.files("irtd_datasets.review").joinpath("page")
                return folder.joinpath(file).read_bytes(), f"{kind}; charset=utf-8"
            case ["state"]:
                return json.dumps(review.state()).encode(), "application/json"
            case ["row", number] if _is_number(number):
                return json.dumps(review.row(int(number))).encode(), "application/json"
            case ["image", number, name] if _is_number(number):
                return review.image(int(number), name)
        raise Refused(404, "there is no such page")

    def _post(self, path: list[str]) -> tuple[bytes, str]:
        if path != ["verdict"]:
            raise Refused(404, "there is no such page")
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal() or not length.isascii() or len(length) > 18:
            self.close_connection = True
            raise Refused(411, "the request does not say how long it is")
        size = int(length)
        if size > MAX_BODY:
            self._drain(size)
            raise Refused(413, f"it has {size:,} bytes; a text has at most {LIMIT:,} characters")
        if self.headers.get_content_type() != "application/json":
            self._drain(size)
            raise Refused(415, "a verdict is JSON")
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionResetError("the browser was closed in the middle of a verdict")
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the request is no JSON") from error
        if not isinstance(asked, dict):
            raise Refused(400, "the request is no JSON object")
        return json.dumps(self.server.review.judge(asked)).encode(), "application/json"

    def _drain(self, size: int) -> None:
        """Read what is refused, so that its sender gets to read the answer."""
        self.close_connection = True
        left = min(size, _DRAINED)
        while left and (block := self.rfile.read(min(left, 1 << 16))):
            left -= len(block)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        image = kind.startswith("image/") and status == 200
        self.send_header("Cache-Control", "private, max-age=3600" if image else "no-store")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9
