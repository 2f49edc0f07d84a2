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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Answer", "answer", "hub_session", "plain_session"]

_CONNECTIONS = 64
_KEPT_SECONDS = 60  # httpx lets go after 5, so that a slow step of training would cost a new connection
_PIECE = 1 << 18
_SMALL = 1 << 10


class Answer:
    """An answer whose body has not been read.

    Attributes:
        status: Its HTTP status.
        headers: Its headers, whose names have any case.
        url: Address that gave it.
    """

    def __init__(self, response: Any) -> None:  # noqa: ANN401 - of requests, httpx or httpx2
        self._response = response
        self.status = int(response.status_code)
        self.headers: Mapping[str, str] = response.headers
        self.url = str(response.url)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        if not hasattr(self._response, "iter_content"):
            yield from self._response.iter_bytes()
        elif hasattr(self._response.raw, "read1"):
            while piece := self._response.raw.read1(_PIECE):
                yield piece
        else:  # urllib3 1 waits until a piece is full, so that pieces are small: a server that drips is to be noticed
            yield from self._response.iter_content(_SMALL)

    def check(self) -> None:
        """Raise the library's error for a status of 400 or more."""
        if self.status >= 400:
            if hasattr(self._response, "read"):
                self._response.read()
            self._response.raise_for_status()


@contextlib.contextmanager
def answer(
    session: Any,  # noqa: ANN401
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float,
    follow: bool = True,
) -> Iterator[Answer]:
    """Ask for something; the connection is given back when the body was read.

    Args:
        session: Of `hub_session` or `plain_session`.
        url: What.
        headers: Sent along.
        timeout: Seconds to connect, and between two pieces of the answer.
        follow: Whether redirects are followed; a header of authorization goes to the same server only.
    """
    given = {"Accept-Encoding": "identity", **headers}
    if hasattr(session, "stream") and not hasattr(session, "adapters"):
        with session.stream("GET", url, headers=given, timeout=timeout, follow_redirects=follow) as response:
            yield Answer(response)
        return
    with session.get(url, headers=given, timeout=timeout, allow_redirects=follow, stream=True) as response:
        yield Answer(response)


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
