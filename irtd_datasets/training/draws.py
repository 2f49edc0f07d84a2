"""Rows of some sources, mixed and shuffled, from any place to any other: what one stage of a `stream` consists of."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.training.ahead import Ahead, Piece, pieces_of
from irtd_datasets.training.first_group import first_group
from irtd_datasets.training.order import BlockOrder, Mixture, key_of
from irtd_datasets.training.range_cache import CACHE_BYTES, RangeCache
from irtd_datasets.training.storage import RemoteStorage, read_again
from irtd_datasets.training.text_cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from irtd_datasets.training.order import Block, StopRule
    from irtd_datasets.training.shards import GroupReader
    from irtd_datasets.training.source import Source

__all__ = ["Draws"]

BLOCK_BYTES = 64 << 20
"""Stored bytes of the blocks that a stream shuffles within, over all sources; what is in memory when read from afar."""

_MOST_UNITS = 16
_DIVIDED_UNITS = 10


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
            # All are made before the first row is asked for: from afar each begins to fetch when it is made.
            cursors = [
                self._cursor(number, low[number], high[number], epoch, stack)
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

    def _cursor(
        self, number: int, first: int, last: int, epoch: int, stack: contextlib.ExitStack
    ) -> Generator[dict[str, Any], None, None]:
        """Draws ``first`` to ``last`` of a source."""
        source, blocks = self.sources[number], self._blocks(number, first, last, epoch)
        if not isinstance(source.storage, RemoteStorage):
            return stack.enter_context(contextlib.closing(self._local_rows(number, blocks)))
        # A block's worth is in memory, and a unit that is being fetched: what was used up makes room for the next.
        budget = source.unit_bytes * (self._widths[number] + 1)
        # One request more for the first row: not where there are few in all.
        units = (last - first) * len(source.units.counts) // max(len(source), 1)
        load = partial(self._load, source, divided=units >= _DIVIDED_UNITS)
        ahead = Ahead(source, blocks, load, source.storage.line, budget)
        stack.callback(ahead.close)
        return stack.enter_context(contextlib.closing(ahead.rows()))

    def _local_rows(
        self, number: int, blocks: Iterator[tuple[Block, int, int]]
    ) -> Generator[dict[str, Any], None, None]:
        source = self.sources[number]
        for block, start, stop in blocks:
            readers: dict[Piece, GroupReader] = {}
            for piece, row in pieces_of(source, block, start, stop):
                if piece not in readers:
                    readers[piece] = self._load(source, piece)
                yield readers[piece].row(row)
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

    def _load(self, source: Source, piece: Piece, *, divided: bool = False) -> GroupReader:
        """Open the row group of a piece."""
        units = source.units
        shard = source.open(int(units.shard[piece.unit]))
        shard.check()
        group = int(units.group[piece.unit])
        plain = partial(shard.group, group, self.columns, piece.rows)
        ways: Iterator[Callable[[], GroupReader]] = iter(())
        if piece.shared and source.storage.remote:
            cache = RangeCache(cache_folder() / "ranges", CACHE_BYTES)
            ways = iter([partial(plain, cache=cache)])
        elif piece.first:
            ways = iter([partial(first_group, shard, group, self.columns, piece.rows, divided=divided)])

        def once() -> GroupReader:
            return next(
                ways, plain
            )()  # a second time nothing comes from the cache, or before all of it is there

        return read_again(source.storage, once)


class _Concatenation(Mixture):
    """One source after another, for streams in the order of the files."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(sizes)
        self._ends = np.cumsum(sizes)

    def counts(self, position: int) -> list[int]:
        return [
            min(max(position - (end - size), 0), size)
            for end, size in zip(self._ends.tolist(), self.sizes, strict=True)
        ]

    def sources(self, start: int, stop: int) -> Iterator[np.ndarray[Any, Any]]:
        for first in range(start, stop, 1024):
            yield np.searchsorted(self._ends, np.arange(first, min(first + 1024, stop)), "right")

    def draw(self, position: int) -> tuple[int, int]:
        source = int(np.searchsorted(self._ends, position, "right"))
        return source, position - int(self._ends[source]) + self.sizes[source]
