"""What can go wrong on the way: status codes, cut connections, slowness, and something done at that very moment."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What happens to requests that match.

    Attributes:
        status: Answer with this status instead of doing the work; the body was read.
        headers: Headers of that answer, such as ``Retry-After``.
        message: Its text.
        cut_after: Close the connection after this many bytes of the body, in whichever direction it goes. The work is
            not done for a body that did not arrive.
        cut_answer: Do the work, then close the connection in place of the answer.
        bytes_per_second: Speed of the body, in either direction.
        stall: Wait, before the work, until `release` is called or the server ends.
        then: Called before the work, for example to commit something meanwhile.
        method: Only requests with this method.
        path: Only requests whose path, unquoted, has this regular expression.
        skip: Let so many matching requests pass first.
        times: How many requests it concerns; None for all.
        hits: How many it concerned so far.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "a fault that the test asked for"
    cut_after: int | None = None
    cut_answer: bool = False
    bytes_per_second: float | None = None
    stall: bool = False
    then: Callable[[], object] | None = None
    method: str | None = None
    path: str = ""
    skip: int = 0
    times: int | None = 1
    hits: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self):
        """Let stalled requests go on."""
        self.released.set()

    def concerns(self, method, path):
        """Whether a request matches; counts it. Call while holding the lock of the hub."""
        if self.method not in {None, method} or not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True
