"""`table`: any row of one or more configs by its number, so that torch's own samplers shuffle all of an epoch.

An image is one read at a known place of plain Parquet, text comes from a mapped Arrow file; see `shards` and
`text_cache`.
"""

from __future__ import annotations

import bisect
import copy
import hashlib
import os
import threading
import weakref
from functools import partial
from operator import index as whole_number
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.folder.pages import PageError
from irtd_datasets.remote import crew
from irtd_datasets.training.order import Mixture, Shuffle, StopRule, key_of
from irtd_datasets.training.progress import Resumable, Spans
from irtd_datasets.training.range_cache import CACHE_BYTES, RangeCache, shard_key
from irtd_datasets.training.shard_cache import ShardCache
from irtd_datasets.training.shards import OpenShard
from irtd_datasets.training.source import Filters, each
from irtd_datasets.training.storage import changed, read_again, read_many
from irtd_datasets.training.streams import choose_columns, mixture_weights, open_sources
from irtd_datasets.training.text_cache import ShardText, cache_folder, open_text
from irtd_datasets.training.transforms import check_on_error, guarded, row_transform

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.decode import Decoder, Mode
    from irtd_datasets.training.source import Source
    from irtd_datasets.training.storage import Storage
    from irtd_datasets.training.streams import Data
    from irtd_datasets.training.transforms import OnError, Transform

__all__ = ["ShuffledSampler", "Table", "table"]

_FETCHED = 32  # rows from afar that are fetched together by a plain iteration
_BATCHES_AHEAD = 2
_AHEAD_ROWS = 4096
_TABLES = 4  # batches of a process that are fetched at a time
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
    cache_bytes: int | None = None,
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
        cache: Folder for the text of shards, and for images from afar; see `cache_folder` for the default.
        cache_bytes: For folders from afar: most bytes of images that are kept in the cache folder, for later epochs,
            other processes and other runs; None takes `CACHE_BYTES`, 0 keeps none. Where a number is given, whole
            shards are kept of a folder that has no index.
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
        cache_bytes: Most bytes of images from afar, see `table`.
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
        cache_bytes: int | None = None,
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
        most = CACHE_BYTES if cache_bytes is None else cache_bytes
        self._range_cache = RangeCache(cache / "ranges", most) if cache is not None and most else None
        self._remote = any(source.storage.remote for source in self.sources)
        self._reset()
        self._content = f"{key_of([source.content for source in self.sources]):016x}"
        self._data = f"{key_of('table', [s.fingerprint for s in self.sources], weights, stop, seed):016x}"

    def _reset(self) -> None:
        """Forget what belongs to one process: files that are open, rows that are on their way."""
        self._open: dict[int, _Shard] = {}
        self._opening = threading.RLock()
        self._coming: dict[int, tuple[Future[list[dict[str, Any]]], int]] = {}
        self._sampler: Any = None
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        left_out = {"_open", "_opening", "_coming", "_sampler"}
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

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
        step = _FETCHED if self._remote else 1
        for first in range(0, self._length, step):
            behind = min(first + step, self._length)
            if self._remote:
                self._expect(range(first, min(behind + _BATCHES_AHEAD * step, self._length)), step)
            yield from self.__getitems__(range(first, behind))

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
        number = whole_number(row)
        raw = self._raw([number])[0]
        found = guarded(self.transform, self._on_error, raw, row)
        if found is None:
            raise UnknownNameError(
                f"row {row} cannot be decoded and is to be skipped, which a single row cannot be",
                where=self._shard(self._where(number)[0]).open.where,
                remedy="Read batches (`__getitems__`, as DataLoader does), or pass a function as `on_error`.",
            )
        return found

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Several rows; images from afar are fetched together. Rows that are skipped are left out.

        From afar, where `sampler` gave the order, the rows that come next are fetched meanwhile.

        Raises:
            IndexError: There is no such row.
        """
        numbers = [whole_number(row) for row in rows]
        read = self._raw(numbers)
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
        sampler = ShuffledSampler(
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
        if self._remote:
            sampler.peekable, self._sampler = True, weakref.ref(sampler)
        return sampler

    @staticmethod
    def _check(shards: Iterable[_Shard]) -> None:
        """Refuse files of a disk that were replaced since they were opened; from afar each answer is compared."""
        for shard in shards:
            if not shard.remote and shard.open.ref.token:  # without one: a copy of ours in the cache
                shard.open.check()

    def _raw(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Rows as they are stored."""
        if not self._remote:
            places = [self._where(number) for number in numbers]
            shards = {which: self._shard(which) for which, _ in places}
            self._check(shards.values())
            return [shards[which].row(place) for which, place in places]
        if self._pid != os.getpid():
            self._reset()  # in a fork there are no threads that would bring what is on its way
        sampler = self._sampler() if self._sampler is not None else None
        following = sampler.peek(_BATCHES_AHEAD * len(numbers)) if sampler is not None else ()
        came = {number: self._coming.pop(number) for number in set(numbers) & self._coming.keys()}
        missing = [number for number in dict.fromkeys(numbers) if number not in came]
        fetched = crew("table", _TABLES).submit(lambda: self._gather(missing)) if missing else None
        if len(following):
            self._expect(following, len(numbers))
        found = {number: future.result()[place] for number, (future, place) in came.items()}
        if fetched is not None:
            found.update(zip(missing, fetched.result(), strict=True))
        if len(found) == len(numbers):
            return [found[number] for number in numbers]
        return [copy.deepcopy(found[number]) for number in numbers]  # a row that is asked for twice

    def _expect(self, numbers: Sequence[int], step: int) -> None:
        """Begin to fetch rows that will be asked for soon, some at a time; forget others that were expected."""
        wanted = set(numbers)
        for number in [number for number in self._coming if number not in wanted]:
            del self._coming[number]
        missing = [number for number in dict.fromkeys(numbers) if number not in self._coming]
        for first in range(0, min(len(missing), _AHEAD_ROWS), step):
            some = missing[first : first + step]
            future = crew("table", _TABLES).submit(partial(self._gather, some))
            self._coming.update({number: (future, place) for place, number in enumerate(some)})

    def _gather(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Rows as they are stored, the images of all of them fetched at once."""
        places = [self._where(number) for number in numbers]
        shards = self._shards_open({which for which, _ in places})
        self._check(shards.values())
        rows = [(shards[which], place) for which, place in places]
        wanted: dict[int, dict[tuple[int, int], None]] = {}
        for shard, place in rows:
            if shard.remote:
                wanted.setdefault(id(shard), {}).update(dict.fromkeys(shard.ranges(place)))
        mine = {id(shard): shard for shard, _ in rows if shard.remote}
        images = {key: mine[key].cached(ranges, self._range_cache) for key, ranges in wanted.items()}
        lacking = {
            key: [span for span in ranges if span not in images[key]] for key, ranges in wanted.items()
        }
        lacking = {key: spans for key, spans in lacking.items() if spans}

        def fetch() -> None:
            blocks = read_many([mine[key].asked(spans) for key, spans in lacking.items()])
            for (key, spans), found in zip(lacking.items(), blocks, strict=True):
                images[key].update(mine[key].taken(spans, found, self._range_cache))

        if lacking:
            read_again(mine[next(iter(lacking))].open.storage, fetch)
        return [shard.row(place, images.get(id(shard))) for shard, place in rows]

    def _where(self, row: int) -> tuple[int, int]:
        """Which shard a row is in, and its number among the wanted rows of it."""
        if not -self._length <= row < self._length:
            raise IndexError(f"row {row} of {self._length}")
        row %= self._length
        if self._mixture is not None:
            number, drawn = self._mixture.draw(row)
            row = self._source_firsts[number] + drawn % len(self.sources[number])
        which = bisect.bisect_right(self._firsts, row) - 1
        inside = row - self._firsts[which]
        source, number = self._shards[which]
        chosen = source.chosen[number]
        return which, inside if chosen is None else int(chosen[inside])

    def _shards_open(self, wanted: set[int]) -> dict[int, _Shard]:
        """Shards, open; those that are not yet are opened at the same time."""
        with self._opening:
            lacking = [which for which in sorted(wanted) if which not in self._open]
            source = self._shards[lacking[0]][0] if lacking else self.sources[0]
            found = dict(zip(lacking, each(source.storage, self._opened, lacking), strict=True))
            shards = {which: self._open[which] for which in wanted if which in self._open} | found
            for which, shard in found.items():
                while len(self._open) >= self._shards[which][0].limit:
                    self._open.pop(next(iter(self._open)))
                self._open[which] = shard
            return shards

    def _shard(self, which: int) -> _Shard:
        found = self._open.get(which)
        return found if found is not None else self._shards_open({which})[which]

    def _opened(self, which: int) -> _Shard:
        source, number = self._shards[which]
        ref = source.shards[number]
        if source.storage.remote and self._shard_cache is not None and not ref.index:
            # Where its images lie is found in its page headers, for which all of it has to be here.
            opened = OpenShard(*self._shard_cache.fetch(source.storage, ref))
        else:
            opened = OpenShard(source.storage, ref)
        text = read_again(opened.storage, lambda: open_text(opened, self.columns, self._cache))
        return read_again(opened.storage, lambda: _Shard(opened, text, self.columns))


class _Shard:
    """A shard of a table, open: its text and the places of its images."""

    def __init__(self, opened: OpenShard, text: ShardText, columns: Sequence[str]) -> None:
        self.open = opened
        self.remote = opened.storage.remote
        self._key = shard_key(opened.storage, opened.ref)
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

    def row(self, row: int, images: Mapping[tuple[int, int], bytes] | None = None) -> dict[str, Any]:
        """A row; its images are read here from the disk, from afar they were fetched by their ranges."""
        values = self._text.row(row)
        for name, (offsets, lengths) in self._places.items():
            image = values[name]
            if image is not None:
                offset, length = offsets[row], lengths[row]
                if offset < 0:
                    data = None
                elif images is not None:
                    data = images[offset - 4, offset + length]
                else:
                    data = self.open.image(offset, length)
                values[name] = {"bytes": data, "path": image["path"]}
        return values

    def ranges(self, row: int) -> list[tuple[int, int]]:
        """Where the images of a row lie, with the four bytes before each, which tell its length."""
        return [
            (offsets[row] - 4, offsets[row] + lengths[row])
            for offsets, lengths in self._places.values()
            if offsets[row] >= 0
        ]

    def cached(
        self, ranges: Iterable[tuple[int, int]], cache: RangeCache | None
    ) -> dict[tuple[int, int], bytes]:
        """Images that are on this machine, by their ranges."""
        if cache is None:
            return {}
        found = {span: cache.get(self._key, span[0] + 4, span[1]) for span in ranges}
        return {span: data for span, data in found.items() if data is not None}

    def asked(
        self, ranges: Sequence[tuple[int, int]]
    ) -> tuple[Storage, str, Sequence[tuple[int, int]], int, Sequence[int]]:
        """What to ask the storage for: neighbours are fetched together, and nothing between others."""
        ref = self.open.ref
        return self.open.storage, ref.name, ranges, ref.size, sorted(stop for _, stop in ranges)

    def taken(
        self,
        ranges: Sequence[tuple[int, int]],
        blocks: Sequence[bytes | memoryview],
        cache: RangeCache | None,
    ) -> dict[tuple[int, int], bytes]:
        """Images that came, by their ranges."""
        found = {}
        for (start, stop), block in zip(ranges, blocks, strict=True):
            if int.from_bytes(block[:4], "little") != stop - start - 4:
                raise changed(
                    self.open.where, f"no image of {stop - start - 4} bytes begins at byte {start + 4}"
                )
            found[start, stop] = data = bytes(block[4:])
            if cache is not None:
                cache.put(self._key, start + 4, data)
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
        self.peekable = False
        """Whether `peek` is going to be called."""
        self._walked: tuple[int, Sequence[int], int] | None = None
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

    def peek(self, count: int) -> Sequence[int]:
        """Numbers that come after those that were given out, in this process; as many as are known already."""
        if self._walked is None or self._walked[0] != os.getpid():
            return ()
        _, numbers, given = self._walked
        return numbers[given : given + count]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_walked": None}

    def walk(self, spans: Spans, epoch: int) -> Iterator[tuple[int, Any]]:
        """Row numbers at some positions."""
        shuffle = Shuffle(self._rows, key_of("sampler", self.seed, epoch)) if self._shuffle else None
        listed, pid = self._order, os.getpid()
        for start, stop in spans:
            for first in range(start, stop, 4096):
                last = min(first + 4096, stop)
                numbers: Sequence[int] = range(first, last)
                if listed is not None:
                    numbers = listed[first:last].tolist()
                elif shuffle is not None:
                    numbers = shuffle(first, last).tolist()
                for given, number in enumerate(numbers, 1):
                    if self.peekable:
                        self._walked = (pid, numbers, given)
                    yield 1, number
