"""`table`: any row of one or more configs by its number, so that torch's own samplers shuffle all of an epoch.

An image is one read at a known place of plain Parquet, text comes from a mapped Arrow file; see `shards` and
`text_cache`.
"""

from __future__ import annotations

import bisect
import hashlib
from operator import index as whole_number
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.pages import PageError
from irtd_datasets.training.order import Mixture, Shuffle, StopRule, key_of
from irtd_datasets.training.progress import Resumable, Spans
from irtd_datasets.training.shard_cache import ShardCache
from irtd_datasets.training.shards import OpenShard
from irtd_datasets.training.source import Filters
from irtd_datasets.training.storage import changed
from irtd_datasets.training.streams import choose_columns, mixture_weights, open_sources
from irtd_datasets.training.text_cache import ShardText, cache_folder, open_text
from irtd_datasets.training.transforms import check_on_error, guarded, row_transform

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.decode import Decoder, Mode
    from irtd_datasets.training.source import Source
    from irtd_datasets.training.streams import Data
    from irtd_datasets.training.transforms import OnError, Transform

__all__ = ["ShuffledSampler", "Table", "table"]

_FETCHED = 32  # rows from afar that are fetched together by a plain iteration
_WINDOW = 16
_MOST_WINDOWS = 16_384


def table(  # noqa: PLR0913 - what a training script says in one place
    data: Data,
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    tasks: Sequence[str] | str | None = None,
    sources: Sequence[str] | str | None = None,
    modalities: Sequence[str] | str | None = None,
    without_issues: bool | Sequence[str] = False,
    temperature: float | None = None,
    stop: StopRule | int = "first_exhausted",
    seed: int = 0,
    decode: Mode | Decoder | None = None,
    max_side: int | None = None,
    box_frame: Frame | str | None = None,
    transform: Transform | None = None,
    on_error: OnError = "raise",
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int = 0,
    storage_options: Mapping[str, Any] | None = None,
) -> Table:
    """Rows of one or more configs by number.

    Args:
        data: A dataset folder, a repository on the Hub or a URL, with ``:config`` behind it; a list of them, one behind
            the other; or a mapping to weights.
        split: None takes ``train``, or the only one.
        columns: Columns of the rows; others are not read. None takes all.
        tasks: Only rows of these tasks, by name.
        sources: Only rows of these component datasets.
        modalities: Only rows of these sensors.
        without_issues: True leaves out rows with any known defect, a list of codes those with one of them.
        temperature: Mix by size to the power 1 / temperature instead of by weights.
        stop: With weights: ``first_exhausted``, ``all_exhausted``, or how many rows there are to be.
        seed: With weights: decides which row stands where.
        decode: ``auto``, ``luminance`` or ``rgb`` for arrays, or a `Decoder`; None leaves bytes.
        max_side: With ``decode``: longest side of images in pixels.
        box_frame: With ``decode``: frame of the numbers in the text.
        transform: A function from row to row, after decoding.
        on_error: For rows whose decoding fails: ``raise``, ``skip`` (`Table.__getitems__` leaves them out and counts
            them in `Table.skipped`) or a function.
        cache: Folder for the text of shards; see `cache_folder` for the default.
        cache_bytes: For folders from afar: keep whole shards in the cache folder, up to so many bytes. 0 fetches each
            image by itself.
        storage_options: For the file system of a URL; ``token`` and ``endpoint`` for the Hub.

    Raises:
        ReleaseNotFoundError: There is no such folder or file.
        UnknownNameError: A config, split, column, task or weight that cannot be.
        ShardChangedError: An index and its shards do not belong together.
    """
    filters = Filters.of(tasks, sources, modalities, without_issues)
    opened, weights = open_sources(data, split=split, filters=filters, options=storage_options)
    return Table(
        opened,
        weights=mixture_weights(opened, weights, temperature),
        stop=stop,
        seed=seed,
        columns=choose_columns(opened, columns),
        transform=row_transform(decode, max_side, box_frame, transform),
        on_error=on_error,
        cache=Path(cache).expanduser() if cache is not None else cache_folder(),
        cache_bytes=cache_bytes,
    )


class Table:
    """Rows of some sources by number; a map-style dataset to torch, made by `table`.

    Args:
        sources: Where the rows are.
        columns: Columns of the rows.
        weights: Share of each source; None puts one behind the other.
        stop: With weights: how many rows there are.
        seed: With weights: which row stands where.
        transform: Applied to each row.
        on_error: What to do where it fails.
        cache: Folder for the text of shards, and for shards from afar; None keeps text in memory.
        cache_bytes: Most bytes of shards from afar.
    """

    def __init__(  # noqa: PLR0913 - see `table`
        self,
        sources: Sequence[Source],
        *,
        columns: Sequence[str],
        weights: Sequence[float] | None = None,
        stop: StopRule | int = "first_exhausted",
        seed: int = 0,
        transform: Transform | None = None,
        on_error: OnError = "raise",
        cache: Path | None = None,
        cache_bytes: int = 0,
    ) -> None:
        self.sources = list(sources)
        self.columns = list(columns)
        self.skipped = 0
        self.transform = transform
        self._on_error = check_on_error(on_error)
        self._cache = cache
        sizes = [len(source) for source in self.sources]
        self._mixture = None if weights is None else Mixture(sizes, weights, stop, key_of("table", seed))
        # Every shard of every source behind one another, and for each what is open of it.
        self._shards = [(source, shard) for source in self.sources for shard in range(len(source.shards))]
        firsts: list[int] = []
        rows = 0
        for source in self.sources:
            firsts.extend(rows + int(first) for first in source.first_rows[:-1])
            rows += len(source)
        self._firsts = firsts
        self._source_firsts = [sum(sizes[:number]) for number in range(len(sizes))]
        self._length = rows if self._mixture is None else self._mixture.total
        self._shard_cache = (
            ShardCache(cache / "shards", cache_bytes) if cache is not None and cache_bytes else None
        )
        self._open: dict[int, _Shard] = {}
        self._content = f"{key_of([source.content for source in self.sources]):016x}"
        self._data = f"{key_of('table', [s.fingerprint for s in self.sources], weights, stop, seed):016x}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return self._length

    def content(self) -> str:
        """Identity of the shards."""
        return self._content

    def data(self) -> str:
        """Identity of shards, filters and weights."""
        return self._data

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All rows in their order; rows that are skipped are left out."""
        step = _FETCHED if any(source.storage.remote for source in self.sources) else 1
        for first in range(0, self._length, step):
            yield from self.__getitems__(range(first, min(first + step, self._length)))

    @overload
    def __getitem__(self, row: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, row: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, row: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """A row by its number, negative ones counted from the end; or the rows of a slice, as a list.

        Raises:
            IndexError: There is no such row.
        """
        if isinstance(row, slice):
            return self.__getitems__(range(*row.indices(self._length)))
        shard, place = self._place(whole_number(row))
        self._check([shard])
        found = guarded(self.transform, self._on_error, shard.row(place), row)
        if found is None:
            raise UnknownNameError(
                f"row {row} cannot be decoded and is to be skipped, which a single row cannot be",
                where=shard.open.where,
                remedy="Read batches (`__getitems__`, as DataLoader does), or pass a function as `on_error`.",
            )
        return found

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Several rows; images from afar are fetched together. Rows that are skipped are left out.

        Raises:
            IndexError: There is no such row.
        """
        places = [self._place(whole_number(row)) for row in rows]
        self._check({id(shard): shard for shard, _ in places}.values())
        remote: dict[int, list[int]] = {}
        for number, (shard, _) in enumerate(places):
            if shard.remote:
                remote.setdefault(id(shard), []).append(number)
        if remote:
            found: list[dict[str, Any] | None] = [None] * len(places)
            for numbers in remote.values():
                shard = places[numbers[0]][0]
                for number, row in zip(numbers, shard.rows([places[n][1] for n in numbers]), strict=True):
                    found[number] = row
            read = [row if row is not None else places[n][0].row(places[n][1]) for n, row in enumerate(found)]
        else:
            read = [shard.row(place) for shard, place in places]
        if self.transform is None:
            return read
        treated = [
            guarded(self.transform, self._on_error, row, int(number))
            for row, number in zip(read, rows, strict=True)
        ]
        kept = [row for row in treated if row is not None]
        self.skipped += len(treated) - len(kept)
        return kept

    def sampler(
        self,
        *,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
        order: Sequence[int] | None = None,
    ) -> ShuffledSampler:
        """A sampler over all rows: each exactly once over all ranks, in a global shuffle that takes no memory.

        Unlike torch's ``DistributedSampler`` it repeats no row to make the ranks equal, and its state can be put
        together with `merge_states` for another number of ranks.

        Args:
            seed: Decides the order, with the epoch.
            epoch: Which epoch; `ShuffledSampler.set_epoch` chooses the next.
            shuffle: False takes rows in their order.
            rank: Which rank this is; None asks torch.distributed, then the variable RANK.
            world_size: How many ranks there are; as ``rank``.
            even: Give all ranks equally many rows and leave out the few that cannot be divided.
            order: The numbers of rows to take, in this order, instead of all in a shuffle: for a curriculum. Several
                ranks go through it together: each few rows, at least 16, are divided among them.
        """
        return ShuffledSampler(
            len(self),
            self._data,
            self._content,
            order=order,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            rank=rank,
            world_size=world_size,
            even=even,
        )

    @staticmethod
    def _check(shards: Iterable[_Shard]) -> None:
        """Refuse files of a disk that were replaced since they were opened; from afar each answer is compared."""
        for shard in shards:
            if not shard.remote and shard.open.ref.token:  # without one: a copy of ours in the cache
                shard.open.check()

    def _place(self, row: int) -> tuple[_Shard, int]:
        if not -self._length <= row < self._length:
            raise IndexError(f"row {row} of {self._length}")
        row %= self._length
        if self._mixture is not None:
            number, drawn = self._mixture.draw(row)
            row = self._source_firsts[number] + drawn % len(self.sources[number])
        which = bisect.bisect_right(self._firsts, row) - 1
        shard = self._open.get(which)
        if shard is None:
            shard = self._open_shard(which)
        inside = row - self._firsts[which]
        return shard, inside if shard.chosen is None else int(shard.chosen[inside])

    def _open_shard(self, which: int) -> _Shard:
        source, number = self._shards[which]
        while len(self._open) >= source.limit:
            self._open.pop(next(iter(self._open)))
        if source.storage.remote and self._shard_cache is not None:
            # Beside it lies no index; its places are found in its page headers.
            opened = OpenShard(*self._shard_cache.fetch(source.storage, source.shards[number]))
        else:
            opened = OpenShard(source.storage, source.shards[number])
        text = open_text(opened, self.columns, self._cache)
        self._open[which] = shard = _Shard(opened, text, self.columns, source.chosen[number])
        return shard


class _Shard:
    """A shard of a table, open: its text and the places of its images."""

    def __init__(self, opened: OpenShard, text: ShardText, columns: Sequence[str], chosen: Any) -> None:  # noqa: ANN401
        self.open = opened
        self.remote = opened.storage.remote
        self.chosen = chosen
        self._text = text
        images = [name for name in columns if name in opened.image_names]
        if self.remote and any(name not in opened.ref.images for name in images):
            raise UnknownNameError(
                "the folder has no index, so that an image can only be found by reading the whole shard",
                where=opened.where,
                remedy="Pass cache_bytes, so that shards are kept here; use `stream`; or publish the folder with its "
                "index, which `irtd build` writes.",
            )
        try:
            self._places = {name: opened.places(name) for name in images}
        except PageError as error:
            raise PageError(
                error.problem,
                where=error.where,
                remedy="Use `stream`, which decompresses row groups, or build the folder with `irtd build`.",
            ) from error

    def row(self, row: int) -> dict[str, Any]:
        values = self._text.row(row)
        for name, (offsets, lengths) in self._places.items():
            image = values[name]
            if image is not None:
                offset = offsets[row]
                if offset < 0:
                    data = None
                elif self.remote:
                    return self.rows([row])[0]
                else:
                    data = self.open.image(offset, lengths[row])
                values[name] = {"bytes": data, "path": image["path"]}
        return values

    def rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of a shard from afar, their images fetched together."""
        found = [self._text.row(row) for row in rows]
        wanted: dict[tuple[int, int], None] = {}
        for offsets, lengths in self._places.values():
            for row in rows:
                if offsets[row] >= 0:
                    wanted[offsets[row] - 4, offsets[row] + lengths[row]] = None
        ref = self.open.ref
        blocks = self.open.storage.read_ranges(ref.name, list(wanted), ref.size) if wanted else []
        images = dict(zip(wanted, blocks, strict=True))
        for (start, stop), block in images.items():
            if int.from_bytes(block[:4], "little") != stop - start - 4:
                raise changed(
                    self.open.where, f"no image of {stop - start - 4} bytes begins at byte {start + 4}"
                )
        for name, (offsets, lengths) in self._places.items():
            for row, values in zip(rows, found, strict=True):
                if values[name] is not None:
                    offset = offsets[row]
                    data = bytes(images[offset - 4, offset + lengths[row]][4:]) if offset >= 0 else None
                    values[name] = {"bytes": data, "path": values[name]["path"]}
        return found


class ShuffledSampler(Resumable):
    """Numbers of rows, each once over all ranks; made by `Table.sampler`.

    It is given to a ``DataLoader`` as ``sampler``. Its order is a permutation of which any place is computed alone, so
    that it takes no memory and goes on at any place at once. It runs in the process of the training script, so the
    number of workers has nothing to do with it.
    """

    def __init__(  # noqa: PLR0913 - see `Table.sampler`
        self,
        rows: int,
        data: str,
        content: str,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(seed=seed, epoch=epoch, rank=rank, world_size=world_size, even=even)
        self._order = None if order is None else np.asarray(order, np.int64)
        if (
            self._order is not None
            and len(self._order)
            and not 0 <= self._order.min() <= self._order.max() < rows
        ):
            raise UnknownNameError(f"the order names rows outside of 0 to {rows - 1}")
        self._rows = rows if self._order is None else len(self._order)
        self._content = content
        self._shuffle = shuffle
        listed = (
            None if self._order is None else hashlib.sha256(self._order.astype("<i8").tobytes()).hexdigest()
        )
        self._data = f"{key_of('sampler', data, shuffle, listed):016x}"

    def content(self) -> str:
        """Identity of the shards."""
        return self._content

    def data(self) -> str:
        """Identity of rows and order."""
        return self._data

    def total(self, epoch: int) -> int:
        """Rows of an epoch over all ranks."""
        del epoch
        return self._rows

    def stages(self, epoch: int) -> int | None:
        """Rows that are divided among the ranks by themselves, where the order was given."""
        del epoch
        return None if self._order is None else max(_WINDOW, -(-self._rows // _MOST_WINDOWS))

    def __len__(self) -> int:
        return self._length()

    def walk(self, spans: Spans, epoch: int) -> Iterator[tuple[int, Any]]:
        """Row numbers at some positions."""
        shuffle = Shuffle(self._rows, key_of("sampler", self.seed, epoch)) if self._shuffle else None
        listed = self._order
        for start, stop in spans:
            for first in range(start, stop, 4096):
                last = min(first + 4096, stop)
                numbers: Sequence[int] = range(first, last)
                if listed is not None:
                    numbers = listed[first:last].tolist()
                elif shuffle is not None:
                    numbers = shuffle(first, last).tolist()
                for number in numbers:
                    yield 1, number
