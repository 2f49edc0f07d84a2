"""Rows of some sources, mixed and shuffled, from any place to any other: what one stage of a `stream` consists of."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.training.order import BlockOrder, Mixture, key_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from irtd_datasets.training.order import Block, StopRule
    from irtd_datasets.training.shards import GroupReader
    from irtd_datasets.training.source import Source

__all__ = ["Draws"]

BLOCK_BYTES = 64 << 20
"""Stored bytes of the blocks that a stream shuffles within, over all sources; what is in memory when read from afar."""

_MOST_UNITS = 16
_THREADS = 8


class Draws:
    """Rows of some sources in an order that a seed and an epoch decide.

    Args:
        sources: What to draw from.
        columns: Columns of the rows.
        weights: Share of each source; None draws every row once.
        stop: When an epoch with weights ends.
        shuffle: Whether the order is shuffled.
        seed: Decides the order, with the epoch.
        stage: Which stage of a stream, where it has several: each has an order of its own.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        columns: Sequence[str],
        weights: Sequence[float] | None = None,
        stop: StopRule | int = "first_exhausted",
        shuffle: bool = True,
        seed: int = 0,
        stage: int | None = None,
    ) -> None:
        self.sources = list(sources)
        self.columns = list(columns)
        self._weights = None if weights is None else list(weights)
        self._stop: StopRule | int = stop
        self._shuffle = shuffle
        self._seed = seed
        self._stage = () if stage is None else (stage,)
        share = BLOCK_BYTES // max(len(self.sources), 1)
        self._widths = [
            max(min(share // max(source.unit_bytes, 1), _MOST_UNITS), 1) if shuffle else 1
            for source in self.sources
        ]
        self._mixture: tuple[int, Mixture] | None = None

    def identity(self) -> tuple[object, ...]:
        """Everything that decides the rows and their order, besides seed and epoch."""
        fingerprints = [source.fingerprint for source in self.sources]
        return fingerprints, self._weights, self._stop, self._shuffle, self._widths

    def mixture(self, epoch: int) -> Mixture:
        """Which source each draw of an epoch comes from."""
        if self._mixture is None or self._mixture[0] != epoch:
            sizes = [len(source) for source in self.sources]
            if not self._shuffle and self._weights is None:
                self._mixture = (epoch, _Concatenation(sizes))
            else:
                key = key_of(self._seed, epoch, *self._stage)
                self._mixture = (epoch, Mixture(sizes, self._weights, self._stop, key))
        return self._mixture[1]

    def rows(self, start: int, stop: int, epoch: int) -> Generator[dict[str, Any], None, None]:
        """Draws ``start`` to ``stop`` of an epoch."""
        mixture = self.mixture(epoch)
        low, high = mixture.counts(start), mixture.counts(stop)
        with contextlib.ExitStack() as stack:
            cursors = [
                stack.enter_context(contextlib.closing(self._rows(number, low[number], high[number], epoch)))
                for number in range(len(self.sources))
            ]
            for pattern in mixture.sources(start, stop):
                for number in pattern.tolist():
                    yield next(cursors[number])
            for cursor in cursors:
                next(cursor, None)  # what comes behind the last row

    def forget(self) -> None:
        """Let go of the shards that are open."""
        for source in self.sources:
            source.forget()

    def _rows(self, number: int, first: int, last: int, epoch: int) -> Generator[dict[str, Any], None, None]:
        """Draws ``first`` to ``last`` of a source, block by block; from afar the next block is fetched meanwhile."""
        blocks = self._blocks(number, first, last, epoch)
        if not self.sources[number].storage.remote:
            yield from self._local_rows(number, blocks)
            return
        with (
            ThreadPoolExecutor(_THREADS, "irtd-group") as readers,
            ThreadPoolExecutor(1, "irtd-block") as ahead,
        ):
            coming = None
            try:
                for block, start, stop in blocks:
                    ready, coming = coming, ahead.submit(self._load, number, block, start, stop, readers)
                    if ready is not None:
                        for reader, row in ready.result():
                            yield reader.row(row)
                if coming is not None:
                    for reader, row in coming.result():
                        yield reader.row(row)
            finally:
                if coming is not None:
                    coming.cancel()

    def _local_rows(
        self, number: int, blocks: Iterator[tuple[Block, int, int]]
    ) -> Generator[dict[str, Any], None, None]:
        source = self.sources[number]
        for block, start, stop in blocks:
            for reader, row in self._load(number, block, start, stop, None):
                yield reader.row(row)
            # A file that was replaced meanwhile is told now, not when the next block or epoch is read.
            for shard in {int(source.units.shard[unit]) for unit in block.units}:
                source.open(shard).check()

    def _blocks(self, number: int, first: int, last: int, epoch: int) -> Iterator[tuple[Block, int, int]]:
        """The blocks that hold some draws of a source, and which of their rows."""
        source = self.sources[number]
        order: BlockOrder | None = None
        turn = -1
        while first < last:
            if first // len(source) != turn:
                turn = first // len(source)
                key = key_of("source", self._seed, epoch, number, turn, *self._stage)
                order = BlockOrder(source.units.counts, self._widths[number], key, shuffle=self._shuffle)
            assert order is not None
            row = first - turn * len(source)
            block = order.block(row)
            stop = min(block.stop, row + last - first)
            yield block, row - block.start, stop - block.start
            first += stop - row

    def _load(
        self, number: int, block: Block, start: int, stop: int, threads: ThreadPoolExecutor | None
    ) -> list[tuple[GroupReader, int]]:
        """Open the row groups of a block, for the rows at places ``start`` to ``stop`` of its order."""
        source = self.sources[number]
        counts = source.units.counts[block.units]
        ends = np.cumsum(counts)
        wanted = block.order[start:stop]
        piece = np.searchsorted(ends, wanted, "right")
        inside = wanted - (ends - counts)[piece]
        found: dict[int, Any] = {}
        rows = np.empty(len(wanted), np.int64)
        checked = set()
        # Not `np.unique`, which imports numpy.ma: that takes longer than all else before a first row.
        for which in np.flatnonzero(np.bincount(piece)).tolist():
            unit = int(block.units[which])
            mine = piece == which
            rows[mine] = source.rows_of(unit)[inside[mine]]
            number_of_shard = int(source.units.shard[unit])
            shard = source.open(number_of_shard)
            if number_of_shard not in checked:
                shard.check()
                checked.add(number_of_shard)
            group = int(source.units.group[unit])
            if threads is None:
                found[which] = shard.group(group, self.columns, rows[mine])
            else:
                shard.prepare(self.columns)
                found[which] = threads.submit(shard.group, group, self.columns, rows[mine])
        if threads is not None:
            found = {which: future.result() for which, future in found.items()}
        return [(found[which], row) for which, row in zip(piece.tolist(), rows.tolist(), strict=True)]


class _Concatenation(Mixture):
    """One source after another, for streams in the order of the files."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(sizes)
        self._ends = np.cumsum(sizes)

    def counts(self, position: int) -> list[int]:
        return [
            int(min(max(position - (end - size), 0), size))
            for end, size in zip(self._ends, self.sizes, strict=True)
        ]

    def sources(self, start: int, stop: int) -> Iterator[np.ndarray[Any, Any]]:
        for first in range(start, stop, 1024):
            yield np.searchsorted(self._ends, np.arange(first, min(first + 1024, stop)), "right")

    def draw(self, position: int) -> tuple[int, int]:
        source = int(np.searchsorted(self._ends, position, "right"))
        return source, position - int(self._ends[source]) + self.sizes[source]
