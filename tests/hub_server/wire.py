"""Reading and writing bodies on a connection, with the faults that concern them."""

import time

BLOCK = 256 << 10


class CutError(Exception):
    """The connection is to be closed without an answer."""


class Body:
    """The body of a request: of a given length, or in chunks; counts what arrives.

    Attributes:
        received: Bytes read so far.
    """

    def __init__(self, headers, stream, fault):
        self._stream = stream
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self._left = int(headers.get("Content-Length") or 0)
        self._ended = not self._chunked and not self._left
        self._pace = Pace(fault)
        self.received = 0

    def blocks(self):
        """The body in pieces.

        Raises:
            CutError: A fault says so, or the client went away.
        """
        while not self._ended:
            self._pace.check(self.received)
            data = self._next(self._pace.limit(self.received, BLOCK))
            if data:
                self.received += len(data)
                self._pace.wait(len(data))
                yield data
        self._pace.check(self.received)

    def read(self):
        return b"".join(self.blocks())

    def _next(self, limit):
        if self._chunked and not self._left:
            line = self._stream.readline(100)
            if not line:
                raise CutError
            self._left = int(line.partition(b";")[0], 16)
            if not self._left:
                while self._stream.readline(1000).strip():
                    pass  # trailers
                self._ended = True
                return b""
        data = self._stream.read1(min(limit, self._left))
        if not data:
            raise CutError
        self._left -= len(data)
        if not self._left:
            if self._chunked:
                self._stream.readline(10)
            else:
                self._ended = True
        return data


class Pace:
    """Speed and end of a body, as a fault wants them."""

    def __init__(self, fault):
        self._cut = fault.cut_after if fault else None
        self._speed = fault.bytes_per_second if fault else None

    def check(self, done):
        if self._cut is not None and done >= self._cut:
            raise CutError

    def limit(self, done, block):
        if self._speed:
            block = max(1, min(block, int(self._speed / 20)))
        return block if self._cut is None else max(1, min(block, self._cut - done))

    def wait(self, size):
        if self._speed:
            time.sleep(size / self._speed)


def send(stream, file, size, fault):
    """Send so many bytes of an open file.

    Raises:
        CutError: A fault says so.
    """
    pace, done = Pace(fault), 0
    while done < size:
        pace.check(done)
        data = file.read(min(pace.limit(done, BLOCK), size - done))
        if not data:
            raise CutError
        stream.write(data)
        done += len(data)
        pace.wait(len(data))
