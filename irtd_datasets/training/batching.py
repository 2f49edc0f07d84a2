"""Batches of decoded images, made by threads of this process into memory that is used again.

A DataLoader's workers send every decoded image to the training process through pickling or shared memory, and each
of them holds a copy of the libraries. libjpeg-turbo lets go of the interpreter while it decodes, so threads of one
process do the same work with neither: they read ahead, decode straight into the array of the batch, and the array is
taken again when the batch was used. It needs no torch; ``torch.from_numpy(batch["image"])`` copies nothing.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.training.decode import Decoder, decode_row
from irtd_datasets.training.transforms import check_on_error, guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.streams import Stream
    from irtd_datasets.training.tables import ShuffledSampler, Table
    from irtd_datasets.training.transforms import OnError

__all__ = ["Batches", "batches"]


def batches(  # noqa: PLR0913 - what a training script says in one place
    rows: Table | Stream,
    sampler: ShuffledSampler | None = None,
    *,
    batch_size: int,
    decoder: Decoder | None = None,
    box_frame: Frame | str | None = None,
    on_error: OnError = "raise",
    ahead: int = 2,
    recycle: bool = True,
    drop_last: bool = False,
) -> Batches:
    """Batches of a table in the order of a sampler, or of a stream, decoded by threads.

    Each batch is a dictionary from column to a list of values; ``image`` is one uint8 array, (rows, height, width) or
    (rows, height, width, 3), where all images of the batch have one shape, and a list of arrays where not.

    Args:
        rows: Made without ``decode``: images are decoded here.
        sampler: Which rows of a table, in which order; `Table.sampler` with its defaults where none is given.
        batch_size: Rows of a batch; the last may have fewer.
        decoder: How, and in how many threads; None takes ``Decoder("auto", backend="auto", threads=2)``.
        box_frame: Frame of the numbers in the text; None keeps that of each row.
        on_error: For a row that cannot be decoded: ``raise``, ``skip`` (its batch gets shorter, `Batches.skipped`
            counts it) or a function of the error and the row.
        ahead: Batches that are read and decoded before they are asked for.
        recycle: The array of a batch is used again when the next batch but one is asked for; False makes a new one for
            each, for a script that keeps batches.
        drop_last: Leave a last, shorter batch out.

    Raises:
        UnknownNameError: Rows that are decoded already, or a number that is not positive.
    """
    return Batches(
        rows,
        sampler,
        batch_size=batch_size,
        decoder=decoder or Decoder("auto", backend="auto", threads=2),
        box_frame=box_frame,
        on_error=on_error,
        ahead=ahead,
        recycle=recycle,
        drop_last=drop_last,
    )


class Batches:
    """Batches of one reader, iterable any number of times; made by `batches`."""

    def __init__(  # noqa: PLR0913 - see `batches`
        self,
        rows: Table | Stream,
        sampler: ShuffledSampler | None,
        *,
        batch_size: int,
        decoder: Decoder,
        box_frame: Frame | str | None,
        on_error: OnError,
        ahead: int,
        recycle: bool,
        drop_last: bool,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("ahead", ahead)):
            if value < 1:
                raise UnknownNameError(f"{name} is {value}, expected at least 1")
        if rows.transform is not None:
            raise UnknownNameError(
                "the rows are treated already, by `decode` or by `transform`",
                remedy="Make the table or the stream without both: its images are decoded here.",
            )
        table: Any = rows if hasattr(rows, "__getitems__") else None
        if table is None and sampler is not None:
            raise UnknownNameError("a stream has an order of its own", remedy="Leave the sampler out.")
        # Compared with None, since a sampler that is used up has the length 0.
        self._walk: Any = sampler if sampler is not None else rows if table is None else table.sampler()
        self._table = table
        self._batch_size, self._ahead, self._recycle, self._drop_last = batch_size, ahead, recycle, drop_last
        self._decoder, self._box_frame = decoder, box_frame
        self._on_error = check_on_error(on_error)
        self._state: dict[str, Any] | None = None
        self.skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._walk.set_epoch(epoch)
        self._state = None

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was handed out; what was read ahead does not count."""
        return dict(self._state) if self._state is not None else dict(self._walk.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved place with the next iteration.

        Raises:
            StateError: It is of other rows, another order, or no such state.
        """
        self._walk.load_state_dict(state)
        self._state = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through this lane's share of the epoch, or of what a loaded state left of it."""
        self._state = self._walk.state_dict()
        ring = _Ring(self._ahead + 2 if self._recycle else 0, self._batch_size)
        with ThreadPoolExecutor(self._decoder.threads, "irtd-decode") as pool:
            coming: deque[_Coming] = deque()
            drawn = self._draw()
            try:
                for rows, state in drawn:
                    coming.append(self._start(pool, rows, state, ring))
                    if len(coming) > self._ahead:
                        yield from self._finish(coming.popleft())
                while coming:
                    yield from self._finish(coming.popleft())
            finally:
                for batch in coming:
                    for future in batch.futures:
                        future.cancel()

    def _draw(self) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
        """Rows of each batch as stored, and the place behind it."""
        walk = iter(self._walk)
        while drawn := list(islice(walk, self._batch_size)):
            state = self._walk.state_dict()
            if len(drawn) < self._batch_size and self._drop_last:
                return
            yield (drawn if self._table is None else self._table.__getitems__(drawn)), state

    def _start(
        self, pool: ThreadPoolExecutor, rows: Sequence[dict[str, Any]], state: dict[str, Any], ring: _Ring
    ) -> _Coming:
        first: dict[str, Any] | None = None
        if not ring.is_open and rows and self._batch_size > 1:
            # The first image tells the shape that the arrays of the batches get.
            first = guarded(self._treat, self._on_error, rows[0])
            if first is not None and isinstance(first.get("image"), np.ndarray):
                ring.open(first["image"].shape)
        array = ring.take()
        futures: list[Future[dict[str, Any] | None]] = []
        for place, row in enumerate(rows):
            slot = array[place] if array is not None else None
            futures.append(pool.submit(self._guarded, row, slot))
        return _Coming(futures, array, state)

    def _guarded(self, row: dict[str, Any], slot: npt.NDArray[np.uint8] | None) -> dict[str, Any] | None:
        return guarded(lambda given: self._treat(given, slot), self._on_error, row)

    def _treat(self, row: dict[str, Any], slot: npt.NDArray[np.uint8] | None = None) -> dict[str, Any]:
        return decode_row(row, self._decoder, box_frame=self._box_frame, out=slot)

    def _finish(self, batch: _Coming) -> Iterator[dict[str, Any]]:
        found = [future.result() for future in batch.futures]
        rows = [row for row in found if row is not None]
        self.skipped += len(found) - len(rows)
        self._state = batch.state
        if rows:
            yield _collated(rows, batch.array if len(rows) == len(found) else None)


class _Coming:
    """A batch that is being decoded."""

    __slots__ = ("array", "futures", "state")

    def __init__(
        self,
        futures: list[Future[dict[str, Any] | None]],
        array: npt.NDArray[np.uint8] | None,
        state: dict[str, Any],
    ) -> None:
        self.futures, self.array, self.state = futures, array, state


class _Ring:
    """Arrays that are handed out one after another, and again."""

    def __init__(self, count: int, batch_size: int) -> None:
        self._count, self._batch_size = count, batch_size
        self._arrays: list[npt.NDArray[np.uint8]] = []
        self._shape: tuple[int, ...] | None = None
        self._next = 0

    @property
    def is_open(self) -> bool:
        return self._shape is not None

    def open(self, shape: tuple[int, ...]) -> None:
        self._shape = (self._batch_size, *shape)

    def take(self) -> npt.NDArray[np.uint8] | None:
        if self._shape is None:
            return None
        if not self._count:
            return np.empty(self._shape, np.uint8)
        if len(self._arrays) < self._count:
            self._arrays.append(np.empty(self._shape, np.uint8))
            return self._arrays[-1]
        self._next = (self._next + 1) % self._count
        return self._arrays[self._next - 1]


def _collated(rows: Sequence[Mapping[str, Any]], array: npt.NDArray[np.uint8] | None) -> dict[str, Any]:
    batch: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    images: Iterable[Any] = batch.get("image", ())
    for_all = [isinstance(image, np.ndarray) for image in images]
    if not for_all or not all(for_all):
        return batch
    shapes = {image.shape for image in batch["image"]}
    if array is not None and all(np.shares_memory(image, array) for image in batch["image"]):
        batch["image"] = array[: len(rows)]
    elif len(shapes) == 1:
        batch["image"] = np.stack(batch["image"])
    return batch
