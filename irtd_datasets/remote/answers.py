"""What the error of a client library says of the server's answer: its status, its headers, and whether it passes.

The libraries (`huggingface_hub` over requests or httpx, botocore, aiohttp, urllib) have no common base, and some wrap
the error that tells in another one. So the chain of an error is looked through for what it has of an answer.
"""

from __future__ import annotations

import email.utils
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["asked_wait", "chain", "error_code", "error_header", "error_status", "passes"]

# Timeout, too early, too many requests; of the server's own failures those are left out that a second try cannot mend.
_PASSING = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505, 507, 508, 510, 511}
# What S3 says with other statuses.
_PASSING_CODES = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling"}
)
_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "requests", "urllib3"})
_PASSING_NAMES = (
    "Timeout",
    "Connection",
    "Disconnected",
    "Payload",
    "Protocol",
    "Network",
    "ReadError",
    "WriteError",
    "Incomplete",
    "SSL",
    "SlowDown",
    "HTTPClientError",
)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def error_status(error: BaseException) -> int | None:
    """The HTTP status behind an error; None where no answer came."""
    for link in chain(error):
        if type(link).__module__ == "aiohttp.http_exceptions":
            continue  # of an answer that was cut: its code is no server's
        response = getattr(link, "response", None)
        if isinstance(response, dict):  # botocore
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            found = getattr(response, "status_code", None) or getattr(link, "status", None)
            found = getattr(link, "code", None) if found is None else found
        if isinstance(found, int) and 300 <= found < 600:
            return found
    return None


def error_header(error: BaseException, name: str) -> str:
    """A header of the answer behind an error; empty where there is none."""
    for link in chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            headers: Any = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            found = headers.get(name.lower())
        else:
            headers = getattr(response, "headers", None) or getattr(link, "headers", None)
            found = headers.get(name) if hasattr(headers, "get") else None
        if found:
            return str(found)
    return ""


def error_code(error: BaseException) -> str:
    """The code that S3 gives to an error; empty elsewhere."""
    for link in chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code", ""))
    return ""


def asked_wait(error: BaseException) -> float | None:
    """Seconds that the server asks to wait: ``Retry-After`` as seconds or as a date, else the reset of a used-up rate.

    Rates stand in ``RateLimit: "api";r=0;t=17`` of the current draft of the IETF, which the Hub sends, or in
    ``RateLimit-Reset: 17`` of the older ones. None where the server asks for nothing.

    Example:
        >>> class Busy(Exception):
        ...     headers = {"RateLimit": '"api";r=0;t=17'}
        >>> asked_wait(Busy())
        17.0
    """
    text = error_header(error, "Retry-After").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    if text:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        except (TypeError, ValueError, OverflowError):
            pass
    rate = error_header(error, "RateLimit")
    reset = re.search(r";\s*t=(\d{1,9})\b", rate) if re.search(r";\s*r=0\b", rate) else None
    if reset is None and error_header(error, "RateLimit-Remaining") == "0":
        reset = re.fullmatch(r"(\d{1,9})", error_header(error, "RateLimit-Reset"))
    return float(reset[1]) if reset else None


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    status = error_status(error)
    if status is not None:
        return status in _PASSING or error_code(error) in _PASSING_CODES
    links = list(chain(error))
    if any(isinstance(link, ssl.SSLCertVerificationError) or _refuses_here(link) for link in links):
        return False
    return any(_is_network(link) for link in links)


def _refuses_here(error: BaseException) -> bool:
    """Whether this machine, not the network, is what failed: its disk, or a setting."""
    named = isinstance(error, OSError) and error.errno is not None and error.filename is not None
    return named or type(error).__name__ == "OfflineModeIsEnabled"


def _is_network(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, (TimeoutError, ConnectionError, EOFError)):
        return True
    kinds = type(error).__mro__[:-2]
    return any(
        kind.__module__.partition(".")[0] in _LIBRARIES
        or any(word in kind.__name__ for word in _PASSING_NAMES)
        for kind in kinds
    )
