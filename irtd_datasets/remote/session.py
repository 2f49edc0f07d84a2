"""Requests through the HTTP library that `huggingface_hub` has: connections kept, answers piece by piece.

It is requests before 1.0, httpx in 1.x and httpx2 in 2.x. Only what differs between them stands here; the retries of
those libraries are not used, since `Retry` knows what each kind of server means by its answers.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from irtd_datasets.remote.answers import chain
from irtd_datasets.remote.urls import shown_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

__all__ = ["Answer", "answer", "hub_session", "is_page", "plain_session"]

_CONNECTIONS = 64
_KEPT_SECONDS = 60  # httpx lets go after 5, so that a slow step of training would cost a new connection
_PIECE = 1 << 18
_SMALL = 1 << 10
_HOPS = 10
_SENT_ON = frozenset({301, 302, 303, 307, 308})
_FOR_GOOD = frozenset({301, 308})
_PAGES = (b"<!doctype html", b"<html", b"<head")


class Answer:
    """An answer whose body has not been read.

    Attributes:
        status: Its HTTP status.
        headers: Its headers, whose names have any case.
        url: Address that gave it.
        moved: Where its address has moved for good, as it may be shown; empty where it has not.
    """

    def __init__(self, response: Any, moved: str = "") -> None:  # noqa: ANN401 - of requests, httpx or httpx2
        self._response = response
        self.status = int(response.status_code)
        self.headers: Mapping[str, str] = response.headers
        self.url = str(response.url)
        self.moved = moved

    @property
    def mark(self) -> str:
        """What changes when the file is replaced; empty where the server says nothing of the kind."""
        return str(self.headers.get("ETag") or self.headers.get("Last-Modified") or "")

    @property
    def encoded(self) -> str:
        """How the body is compressed; empty where it is not."""
        return self.headers.get("Content-Encoding", "").strip().lower().replace("identity", "")

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        if not hasattr(self._response, "iter_content"):
            yield from self._response.iter_bytes()
        elif hasattr(self._response.raw, "read1") and not self.encoded:
            while piece := self._response.raw.read1(_PIECE):
                yield piece
        else:  # urllib3 1 waits until a piece is full, so that pieces are small: a server that drips is to be noticed
            yield from self._response.iter_content(_SMALL)

    def check(self) -> None:
        """Raise the library's error for a status of 400 or more, without the secrets of the URL in its text."""
        if self.status >= 400:
            if hasattr(self._response, "read"):
                self._response.read()
            with _hiding(urlsplit(self.url).query):
                self._response.raise_for_status()


@contextlib.contextmanager
def answer(
    session: Any,  # noqa: ANN401
    url: str,
    headers: Mapping[str, str],
    *,
    own: Mapping[str, str] | None = None,
    timeout: float,
    follow: bool = True,
) -> Iterator[Answer]:
    """Ask for something; the connection is given back when the body was read.

    Args:
        session: Of `hub_session` or `plain_session`.
        url: What; user and password in it are sent as a header.
        headers: Sent along.
        own: Sent to the server of the URL alone, and not to where it redirects: a token, or whatever a user gave.
        timeout: Seconds to connect, and between two pieces of the answer.
        follow: Whether redirects are followed.
    """
    given, first, moved = {"Accept-Encoding": "identity", **headers}, urlsplit(url), ""
    user, at, host = first.netloc.rpartition("@")
    own = dict(own or {})
    if at:
        import base64

        own.setdefault("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
        url = first._replace(netloc=host).geturl()
    for _ in range(_HOPS):
        sent = {**given, **own} if _same_server(first, urlsplit(url)) else given
        with _hiding(user, first.query, urlsplit(url).query), _ask(session, url, sent, timeout) as response:
            found = Answer(response, moved)
            target = found.headers.get("Location") if found.status in _SENT_ON and follow else None
            if not target:
                yield found
                return
            url = urljoin(url, target)
            if found.status in _FOR_GOOD:
                moved = shown_url(url)
    raise EOFError(f"{shown_url(url)}: {_HOPS} redirects one after another")


def _ask(session: Any, url: str, headers: Mapping[str, str], timeout: float) -> Any:  # noqa: ANN401
    """The library's answer, which is closed at the end of a `with`."""
    if hasattr(session, "stream") and not hasattr(session, "adapters"):
        return session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=False)
    return session.get(url, headers=headers, timeout=timeout, allow_redirects=False, stream=True)


def _same_server(first: SplitResult, second: SplitResult) -> bool:
    """Whether what one may know the other may know; a server that goes over to HTTPS is the same."""
    if first.hostname != second.hostname:
        return False
    ports = {"http": 80, "https": 443}
    here, there = first.port or ports.get(first.scheme), second.port or ports.get(second.scheme)
    return (first.scheme, here) == (second.scheme, there) or (here, there) == (80, 443)


@contextlib.contextmanager
def _hiding(*secrets: str) -> Iterator[None]:
    """Take secrets out of the texts of errors, which are shown and logged."""
    try:
        yield
    except Exception as error:
        for link in chain(error):
            link.args = tuple(
                _without(part, secrets) if isinstance(part, str) else part for part in link.args
            )
        raise


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


def is_page(kind: str, begin: bytes) -> bool:
    """Whether a web page came in place of a file, such as that of a proxy at which to log in.

    Args:
        kind: What the server says that it is.
        begin: Its first bytes.
    """
    begin = begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:80].lower()
    return begin.startswith(_PAGES) or (
        kind.partition(";")[0].strip() == "text/html" and begin.startswith(b"<")
    )


def hub_session() -> Any:  # noqa: ANN401
    """The session of `huggingface_hub`, with the proxies and certificates that a user gave it."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    return get_session()


def _library(session: object) -> str:
    """Which HTTP library a session is of, also where a user made a class of his own from it."""
    names = [kind.__module__.partition(".")[0] for kind in type(session).__mro__]
    return next((name for name in names if name in {"httpx", "httpx2", "requests"}), "requests")


_plain: dict[str, Any] = {}
_making = threading.Lock()


def plain_session() -> Any:  # noqa: ANN401
    """A session of the same library for other servers, which the setting to work offline does not concern."""
    with _making:  # to make one takes long, since it reads the certificates
        if "session" not in _plain:
            _plain["session"] = _new_session()
        return _plain["session"]


def _new_session() -> Any:  # noqa: ANN401
    module = sys.modules[_library(hub_session())]
    if hasattr(module, "Limits"):
        limits = module.Limits(
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=_KEPT_SECONDS,
        )
        return module.Client(limits=limits)
    session = module.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, module.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _forget() -> None:
    global _making  # noqa: PLW0603 - a thread that is not here may hold it
    _plain.clear()  # both processes would read from one connection
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
