"""`stream`: the rows of one or more configs in an order that seed and epoch decide, read where they lie.

Row groups are shuffled, and rows within blocks of some row groups, so that nothing is buffered that a stop could lose.
Where a row stands is computed, so that any place in an epoch is reached at once; see `order` and `progress`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.training.order import BlockOrder, Mixture, StopRule, key_of, temperature_weights
from irtd_datasets.training.progress import NOTHING, Resumable, Spans
from irtd_datasets.training.source import Filters, Source, open_source
from irtd_datasets.training.transforms import check_on_error, guarded, row_transform

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Sequence

    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.decode import Decoder, Mode
    from irtd_datasets.training.order import Block
    from irtd_datasets.training.shards import GroupReader
    from irtd_datasets.training.transforms import OnError, Transform

    Data = str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source] | Mapping[str, float]

__all__ = ["Stream", "choose_columns", "mixture_weights", "open_sources", "stream"]

BLOCK_BYTES = 64 << 20
"""Stored bytes of the blocks that a stream shuffles within, over all sources; what is in memory when read from afar."""

_MOST_UNITS = 16
_THREADS = 8


def stream(  # noqa: PLR0913 - what a training script says in one place
    data: Data,
    *,
    seed: int = 0,
    epoch: int = 0,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    tasks: Sequence[str] | str | None = None,
    sources: Sequence[str] | str | None = None,
    modalities: Sequence[str] | str | None = None,
    without_issues: bool | Sequence[str] = False,
    temperature: float | None = None,
    stop: StopRule | int = "first_exhausted",
    shuffle: bool = True,
    decode: Mode | Decoder | None = None,
    max_side: int | None = None,
    box_frame: Frame | str | None = None,
    transform: Transform | None = None,
    on_error: OnError = "raise",
    rank: int | None = None,
    world_size: int | None = None,
    even: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream:
    """Go through the rows of one or more configs, in an order that ``seed`` and ``epoch`` decide.

    Ranks and the workers of a ``DataLoader`` divide the epoch by themselves; `Stream.state_dict` and
    `Stream.load_state_dict` (also through torch's ``StatefulDataLoader``) stop and go on at any row, with another
    number of either through `merge_states`.

    Args:
        data: A dataset folder, a repository on the Hub or a URL, with ``:config`` behind it; a list of them, whose rows
            all come once; or a mapping to weights.
        seed: Decides the order, with ``epoch``.
        epoch: Which epoch; `Stream.set_epoch` chooses the next.
        split: None takes ``train``, or the only one.
        columns: Columns of the rows; others are not read. None takes all.
        tasks: Only rows of these tasks, by name.
        sources: Only rows of these component datasets.
        modalities: Only rows of these sensors.
        without_issues: True leaves out rows with any known defect, a list of codes those with one of them.
        temperature: Mix by size to the power 1 / temperature instead of by weights.
        stop: With weights: ``first_exhausted``, ``all_exhausted``, or how many rows an epoch has.
        shuffle: False takes rows as they lie.
        decode: ``auto``, ``luminance`` or ``rgb`` for arrays, or a `Decoder`; None leaves bytes.
        max_side: With ``decode``: longest side of pictures in pixels.
        box_frame: With ``decode``: frame of the numbers in the text.
        transform: A function from row to row, after decoding.
        on_error: For rows whose decoding fails: ``raise``, ``skip`` (counted in `Stream.skipped`) or a function.
        rank: Which rank this is; None asks torch.distributed, then the variable RANK.
        world_size: How many ranks there are; as ``rank``.
        even: Give all workers equally many rows and leave out the few that cannot be divided.
        storage_options: For the file system of a URL; ``token`` and ``endpoint`` for the Hub.

    Raises:
        ReleaseNotFoundError: There is no such folder or file.
        UnknownNameError: A config, split, column, task or weight that cannot be.
        ShardChangedError: An index and its shards do not belong together.
    """
    filters = Filters.of(tasks, sources, modalities, without_issues)
    opened, weights = open_sources(data, split=split, filters=filters, options=storage_options)
    return Stream(
        opened,
        weights=mixture_weights(opened, weights, temperature),
        stop=stop,
        columns=choose_columns(opened, columns),
        transform=row_transform(decode, max_side, box_frame, transform),
        on_error=on_error,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
        even=even,
    )


def open_sources(
    data: Data,
    *,
    split: str | None = None,
    filters: Filters | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[list[Source], list[float] | None]:
    """Open what a user named: the sources, and their weights if there are any."""
    import os

    weights: list[float] | None = None
    names: list[Any]
    if isinstance(data, Mapping):
        names, weights = list(data), [float(weight) for weight in data.values()]
        if not names:
            raise UnknownNameError("no dataset is named")
        kept = [place for place, weight in enumerate(weights) if weight != 0]
        if not kept:
            raise UnknownNameError(
                "all weights are zero", remedy="Give one source at least a weight above 0."
            )
        names, weights = [names[place] for place in kept], [weights[place] for place in kept]
    elif isinstance(data, (str, os.PathLike, Source)):
        names = [data]
    else:
        names = list(data)
        if not names:
            raise UnknownNameError("no dataset is named")
    opened = [
        name if isinstance(name, Source) else open_source(name, split=split, filters=filters, options=options)
        for name in names
    ]
    return opened, weights


def mixture_weights(
    sources: Sequence[Source], weights: Sequence[float] | None, temperature: float | None
) -> list[float] | None:
    """Weights as given, or by temperature.

    Raises:
        UnknownNameError: Both are given.
    """
    if temperature is None:
        return None if weights is None else list(weights)
    if weights is not None:
        raise UnknownNameError("weights and a temperature are given", remedy="Give one of them.")
    return temperature_weights([len(source) for source in sources], temperature)


def choose_columns(sources: Sequence[Source], columns: Sequence[str] | None) -> list[str]:
    """The columns of the rows: those named, or all that the sources have.

    Raises:
        UnknownNameError: A source lacks one, or they have different columns and none were named.
    """
    if columns is None:
        columns = sources[0].columns
        for source in sources[1:]:
            if set(source.columns) != set(columns):
                odd = sorted(set(source.columns) ^ set(columns))
                raise UnknownNameError(
                    f"{source.name!r} has not the columns of {sources[0].name!r}: {', '.join(odd[:5])}",
                    remedy="Name the columns that you want; all have to have them.",
                )
        return list(columns)
    if isinstance(columns, str):
        raise UnknownNameError(f"columns is the text {columns!r}", remedy="Pass a list of names.")
    for source in sources:
        unknown = [name for name in columns if name not in source.columns]
        if unknown and source.shards:
            raise UnknownNameError(
                f"there is no column {unknown[0]!r} in {source.name!r}",
                remedy=f"Its columns are {', '.join(source.columns)}.",
            )
    return list(columns)


class Stream(Resumable):
    """Rows of some sources, iterable any number of times; made by `stream`.

    It is an ``IterableDataset`` to torch, though torch is not needed.

    Args:
        sources: What to draw from.
        weights: Share of each; None draws every row once.
        stop: When an epoch with weights ends.
        columns: Columns of the rows.
        transform: Applied to each row.
        on_error: What to do where it fails.
        shuffle: Whether the order is shuffled.
        seed: Decides the order.
        epoch: Likewise.
        rank: Of this process, None to find out.
        world_size: Number of ranks, None to find out.
        even: Whether all lanes get equally many rows.
    """

    def __init__(  # noqa: PLR0913 - see `stream`
        self,
        sources: Sequence[Source],
        *,
        columns: Sequence[str],
        weights: Sequence[float] | None = None,
        stop: StopRule | int = "first_exhausted",
        transform: Transform | None = None,
        on_error: OnError = "raise",
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
    ) -> None:
        super().__init__(seed=seed, epoch=epoch, rank=rank, world_size=world_size, even=even)
        self.sources = list(sources)
        self.columns = list(columns)
        self._weights = None if weights is None else list(weights)
        self._stop: StopRule | int = stop
        self.transform = transform
        self._on_error = check_on_error(on_error)
        self._shuffle = shuffle
        share = BLOCK_BYTES // max(len(self.sources), 1)
        self._widths = [
            max(min(share // max(source.unit_bytes, 1), _MOST_UNITS), 1) if shuffle else 1
            for source in self.sources
        ]
        self._mixture: tuple[int, Mixture] | None = None
        self._data = (
            f"{key_of([s.fingerprint for s in self.sources], weights, stop, shuffle, self._widths):016x}"
        )
        self.mixture(epoch)  # finds wrong weights now, not in a worker
        _register()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _register()

    def data(self) -> str:
        """Identity of shards, filters, weights and order."""
        return self._data

    def total(self, epoch: int) -> int:
        """Rows of an epoch over all ranks and workers."""
        return self.mixture(epoch).total

    def mixture(self, epoch: int) -> Mixture:
        """Which source each row of an epoch comes from."""
        if self._mixture is None or self._mixture[0] != epoch:
            sizes = [len(source) for source in self.sources]
            key = key_of(self.seed, epoch) if self._shuffle or self._weights is not None else 0
            if not self._shuffle and self._weights is None:
                self._mixture = (epoch, _Concatenation(sizes))
            else:
                self._mixture = (epoch, Mixture(sizes, self._weights, self._stop, key))
        return self._mixture[1]

    def walk(self, spans: Spans, epoch: int) -> Iterator[tuple[int, Any]]:
        """Rows at some positions of an epoch."""
        mixture = self.mixture(epoch)
        for start, stop in spans:
            low, high = mixture.counts(start), mixture.counts(stop)
            with contextlib.ExitStack() as stack:
                cursors = [
                    stack.enter_context(
                        contextlib.closing(self._rows(number, low[number], high[number], epoch))
                    )
                    for number in range(len(self.sources))
                ]
                for pattern in mixture.sources(start, stop):
                    for number in pattern.tolist():
                        row = guarded(self.transform, self._on_error, next(cursors[number]))
                        if row is None:
                            self._skipped += 1
                        yield 1, NOTHING if row is None else row

    def _rows(self, number: int, first: int, last: int, epoch: int) -> Generator[dict[str, Any], None, None]:
        """Draws ``first`` to ``last`` of a source, block by block; from afar the next block is fetched meanwhile."""
        blocks = self._blocks(number, first, last, epoch)
        if not self.sources[number].storage.remote:
            for block, start, stop in blocks:
                for reader, row in self._load(number, block, start, stop, None):
                    yield reader.row(row)
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

    def _blocks(self, number: int, first: int, last: int, epoch: int) -> Iterator[tuple[Block, int, int]]:
        """The blocks that hold some draws of a source, and which of their rows."""
        source = self.sources[number]
        order: BlockOrder | None = None
        turn = -1
        while first < last:
            if first // len(source) != turn:
                turn = first // len(source)
                key = key_of("source", self.seed, epoch, number, turn)
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


def _register() -> None:
    """Tell torch, where it is loaded, that a `Stream` is an iterable dataset."""
    data = sys.modules.get("torch.utils.data")
    if data is not None:
        data.IterableDataset.register(Stream)
