"""What reading from afar is bound by: round trip, bandwidth, requests and bytes, measured on some whole row groups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.training.storage import RemoteStorage, readers
from irtd_datasets.training.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.training.source import Source

__all__ = ["FarFigures", "far_part", "measure_far", "some_groups"]

_PROBES = 5
_PIECE = 1 << 20
_SIDE_BY_SIDE = 4
_FULL = 0.8  # of the bandwidth: the line is what bounds


@dataclass(frozen=True)
class FarFigures:
    """How a folder that lies elsewhere is read.

    Attributes:
        round_trip: Seconds from a request to its answer, the least.
        bandwidth: Bytes a second of four requests at a time.
        requests: For 1,000 rows of a stream.
        fetched: Bytes that came for each byte of the row groups that were read.
        bytes_per_row: Stored bytes of a row, all columns.
        rate: Rows a second of a stream of bytes.
        bound_by: What keeps it from being faster: ``line``, ``round trips`` or ``this machine``.
        change: Which option would change that.
    """

    round_trip: float
    bandwidth: float
    requests: float
    fetched: float
    bytes_per_row: float
    rate: float
    bound_by: str
    change: str


def measure_far(
    sources: Sequence[Source], columns: Sequence[str], seconds: float, decoded: float | None = None
) -> FarFigures | None:
    """Measure the way to the first source that lies elsewhere; None where there is none.

    Args:
        sources: What is read.
        columns: Columns that are read.
        seconds: How long the bandwidth is measured, and about as long is read.
        decoded: Images a second that this machine decodes, where that was measured.
    """
    source = next((one for one in sources if isinstance(one.storage, RemoteStorage) and len(one)), None)
    if source is None or not isinstance(source.storage, RemoteStorage):
        return None
    storage, ref = source.storage, max(source.shards, key=lambda one: one.size)
    line = storage.line
    trips = []
    for _ in range(_PROBES):
        start = time.perf_counter()
        storage.read(ref.name, 0, 4, size=ref.size)
        trips.append(time.perf_counter() - start)
    bandwidth = _bandwidth(storage, ref.name, ref.size, seconds)
    part, stored = some_groups(source, columns, bandwidth * seconds)
    requests, received, start = line.requests, line.received, time.perf_counter()
    rows = sum(1 for _ in Stream([part], columns=columns, seed=1))
    spent = time.perf_counter() - start
    requests, received = line.requests - requests, line.received - received
    rate = rows / spent
    bound, change = _bound(received / spent, bandwidth, rate, decoded)
    return FarFigures(
        min(trips), bandwidth, 1000 * requests / rows, received / stored, stored / rows, rate, bound, change
    )


def far_part(source: Source, columns: Sequence[str], seconds: float) -> Source:
    """As many whole row groups of a source as come in about so many seconds; all of a source that lies here."""
    if not isinstance(source.storage, RemoteStorage) or not len(source):
        return source
    return some_groups(source, columns, source.storage.line.rate * seconds)[0]


def _bandwidth(storage: RemoteStorage, name: str, size: int, seconds: float) -> float:
    start = time.perf_counter()

    def one(number: int) -> int:
        count = 0
        first = number * _PIECE
        while time.perf_counter() - start < seconds or not count:
            low = first % max(size - _PIECE, 1)
            high = min(low + _PIECE, size)
            count += len(storage.read(name, low, high, size=size))
            first += _SIDE_BY_SIDE * _PIECE
        return count

    total = sum(readers().map(one, range(_SIDE_BY_SIDE)))
    return total / (time.perf_counter() - start)


def some_groups(source: Source, columns: Sequence[str], most: float) -> tuple[Source, int]:
    """Whole row groups of a source, at least one, of about so many bytes; and the bytes of their columns."""
    wanted = np.zeros(len(source), bool)
    first = stored = 0
    for number, ref in enumerate(source.shards):
        if source.chosen[number] is not None:
            first = int(source.first_rows[number + 1])
            continue
        shard = source.open(number)
        for group, rows in enumerate(ref.groups):
            if stored and stored >= most:
                return source.only(wanted), stored
            wanted[first : first + rows] = True
            first += rows
            found = shard.metadata.row_group(group)
            stored += sum(
                found.column(leaf).total_compressed_size
                for leaf in range(found.num_columns)
                if found.column(leaf).path_in_schema.partition(".")[0] in columns
            )
    if not stored:
        wanted[:] = True
        stored = source.unit_bytes * len(source.units.counts)
    return source.only(wanted), max(stored, 1)


def _bound(received: float, bandwidth: float, rate: float, decoded: float | None) -> tuple[str, str]:
    if decoded is not None and decoded < _FULL * rate:
        return (
            "this machine",
            f"decoding gives {decoded:,.0f} rows/s where {rate:,.0f} come: `batches` with more threads, or workers",
        )
    if received >= _FULL * bandwidth:
        what = (
            "`table(cache_bytes=...)` keeps what was read for the next epoch, `hf download` all of it at once"
        )
        return "line", f"fewer bytes, by `columns` or filters; {what}"
    return (
        "round trips",
        "larger row groups, or more at a time: several workers of a DataLoader, each of which fetches for itself",
    )
