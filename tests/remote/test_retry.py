"""What passes is asked for again, after the pause that the server asks for; what does not is told at once."""

import email.utils
import io
import re
import ssl
import time
import urllib.error

import pytest

from irtd_datasets.errors import ReleaseError
from irtd_datasets.remote import LONGEST_WAIT, Retry, asked_wait, error_code, error_status, passes


class Response:
    def __init__(self, status, headers=()):
        self.status_code, self.headers = status, dict(headers)


def requests_error(status, headers=()):
    error = OSError("as of requests")
    error.response = Response(status, headers)
    return error


def boto_error(status, code="", headers=()):
    error = RuntimeError("as of botocore")
    error.response = {
        "Error": {"Code": code},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": dict(headers)},
    }
    return error


def aiohttp_error(status, headers=()):
    error = RuntimeError("as of aiohttp")
    error.status, error.headers = status, dict(headers)
    return error


def urllib_error(status, headers=()):
    return urllib.error.HTTPError("http://x", status, "", dict(headers), io.BytesIO())


def wrapped(error):
    outer = FileNotFoundError("as s3fs says it")
    outer.__cause__ = error
    return outer


LIBRARIES = [requests_error, boto_error, aiohttp_error, urllib_error]


@pytest.mark.parametrize("make", LIBRARIES)
@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 408, 409, 410, 416, 425, 429, 500, 501, 502, 503, 504, 507, 524]
)
def test_the_status_decides(make, status):
    """Whichever library reports it, the same statuses pass; also inside another error."""
    right = status in {408, 425, 429, 500, 502, 503, 504, 524}
    for error in (make(status), wrapped(make(status))):
        assert (error_status(error), passes(error)) == (status, right)


def test_a_code_of_s3_decides():
    """An overloaded bucket may say so with a status of its own."""
    assert passes(boto_error(400, "RequestTimeout"))
    assert error_code(wrapped(boto_error(400, "RequestTimeout"))) == "RequestTimeout"
    assert not passes(boto_error(400, "NoSuchBucket"))


def test_errors_without_an_answer():
    """Cut connections pass; the disk, a setting, a wrong certificate and a mistake in the code do not."""
    offline = type("OfflineModeIsEnabled", (ConnectionError,), {})
    disk = OSError(28, "No space left on device", "/cache/x")
    for error in (TimeoutError(), ConnectionResetError(), EOFError(), type("ReadError", (Exception,), {})()):
        assert passes(error)
    for error in (
        offline(),
        disk,
        ssl.SSLCertVerificationError(),
        ValueError(),
        KeyError("x"),
        FileNotFoundError("x"),
    ):
        assert not passes(error)


@pytest.mark.parametrize("make", [requests_error, aiohttp_error, urllib_error])
def test_waits_that_servers_ask_for(make):
    """Seconds, a date, and the two forms of rate headers; nonsense is nothing."""
    date = email.utils.formatdate(time.time() + 90, usegmt=True)
    told = {
        "7": 7.0,
        "0": 0.0,
        "1.5": 1.5,
        date: pytest.approx(90, abs=3),
        "Thu, 01 Jan 1970 00:00:00 GMT": 0.0,
        "soon": None,
        "-3": None,
        "": None,
        "9" * 400: None,
        "nan": None,
        "inf": None,
    }
    for text, seconds in told.items():
        assert asked_wait(make(429, {"Retry-After": text})) == seconds
    assert asked_wait(make(429, {"RateLimit": '"resolvers";r=0;t=55'})) == 55
    assert asked_wait(make(503, {"RateLimit": '"resolvers";r=12;t=55'})) is None
    assert asked_wait(make(429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "8"})) == 8


def test_trying_again():
    """Pauses grow; success ends them; what does not pass, our own errors and too long a wait end them at once."""
    waits, errors = [], [requests_error(503), TimeoutError(), requests_error(429, {"Retry-After": "9"})]

    def action():
        if errors:
            raise errors.pop(0)
        return "done"

    assert Retry(4, 2.0).call(action, waits.append) == "done"
    assert 1.5 <= waits[0] <= 2.5
    assert 3 <= waits[1] <= 5
    assert waits[2] == 9

    for final in (
        ValueError("x"),
        requests_error(404),
        ReleaseError("x"),
        requests_error(429, {"Retry-After": str(LONGEST_WAIT + 1)}),
    ):
        waits.clear()
        errors[:] = [final]
        with pytest.raises(type(final)):
            Retry().call(action, waits.append)
        assert waits == []


def test_attempts_are_counted():
    """As many attempts as were asked for, and the last error is told."""
    tried = []

    def action():
        tried.append(len(tried))
        raise TimeoutError(f"number {len(tried)}")

    with pytest.raises(TimeoutError, match="number 3"):
        Retry(3).call(action, lambda _: None)
    assert len(tried) == 3


def test_an_outage_has_an_end():
    """A server that is away is asked until the time is over, one that refuses as often as was said."""
    tried = []
    away = [
        ConnectionRefusedError("nobody"),
        requests_error(503),
        requests_error(429),
        requests_error(502, {"Retry-After": "0"}),
    ]
    for error in away:
        tried.clear()

        def silent(error=error):
            tried.append(time.monotonic())
            raise error

        with pytest.raises(type(error)) as told:
            Retry(2, 0.02, patience=0.2).call(silent)
        assert 0.15 < tried[-1] - tried[0] < 3
        assert 3 < len(tried) < 40
    assert re.fullmatch(r"tried \d+ times in 0 s", told.value.tried)
    tried.clear()

    def refusing():
        tried.append(0)
        raise requests_error(500)

    with pytest.raises(OSError, match="as of requests"):
        Retry(2, 0.001, patience=60).call(refusing)
    assert len(tried) == 2
