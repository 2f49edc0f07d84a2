"""In which order rows come: pure functions of seed, epoch and position; every place in an epoch can be jumped to.

An epoch is a sequence of positions ``0 .. total``. Three things are computed for any position without going through
those before it: which source a position draws from (`Mixture`), which row that draw gives (`BlockOrder` for streams,
`Shuffle` for random access), and what is left to do (spans of positions, see `progress`).

Shuffling uses splitmix64 (Steele, Lea and Flood, OOPSLA 2014) and a stable sort, not a library's generator: the order
is the same in all versions of NumPy, on all machines, and a state saved today can be read in ten years.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from irtd_datasets.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["BlockOrder", "Mixture", "Shuffle", "StopRule", "key_of", "permutation", "temperature_weights"]

StopRule = Literal["first_exhausted", "all_exhausted"]

_CHUNK = 64  # draws in which a mixture has its exact proportions
_PATTERNS = 65_536  # chunks whose order is kept, one byte a draw
_ROUNDS = 6
_MASK = (1 << 64) - 1


def key_of(*parts: object) -> int:
    """A number of 64 bits from anything that has a repr.

    Example:
        >>> key_of("seed", 0) == key_of("seed", 0), key_of("seed", 0) == key_of("seed", 1)
        (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def permutation(count: int, key: int) -> NDArray[np.int64]:
    """The numbers 0 to count in an order that the key decides.

    Returns:
        int64, shape (count,).

    Example:
        >>> sorted(permutation(5, 1).tolist()), permutation(5, 1).tolist() == permutation(5, 2).tolist()
        ([0, 1, 2, 3, 4], False)
    """
    golden = 0x9E3779B97F4A7C15
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(golden) + np.uint64(key & _MASK)
    return np.argsort(_mix(steps), kind="stable")


class Shuffle:
    """A permutation of ``count`` numbers of which any part is computed alone, in no memory: a Feistel network.

    Args:
        count: How many numbers.
        key: Decides the order.

    Example:
        >>> shuffle = Shuffle(10, key=1)
        >>> sorted(shuffle(0, 10).tolist()) == list(range(10)), shuffle(3, 5).tolist() == shuffle(0, 10)[3:5].tolist()
        (True, True)
    """

    def __init__(self, count: int, key: int) -> None:
        self.count = count
        self._half = max((max(count - 1, 1).bit_length() + 1) // 2, 1)
        self._keys = [np.uint64(key_of("round", key, number)) for number in range(_ROUNDS)]

    def __call__(self, start: int, stop: int) -> NDArray[np.int64]:
        """The numbers at positions ``start`` to ``stop``; int64, shape (stop - start,)."""
        found = self._network(np.arange(start, stop, dtype=np.uint64))
        # Walk along the cycle until the number is one of those wanted: the domain is less than 8 times as large.
        outside = np.flatnonzero(found >= self.count)
        while len(outside):
            found[outside] = self._network(found[outside])
            outside = outside[found[outside] >= self.count]
        return found.astype(np.int64)

    def _network(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._keys:
            left, right = right, left ^ (_mix((right + np.uint64(1)) * key) & mask)
        joined: NDArray[np.uint64] = (left << half) | right
        return joined


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights from sizes: in proportion at 1, equal for an infinite temperature (size to the power 1 / temperature).

    Example:
        >>> [round(weight, 2) for weight in temperature_weights([100, 400], 2.0)]
        [0.33, 0.67]
    """
    if not temperature > 0:
        raise UnknownNameError(f"the temperature is {temperature!r}, expected a number above 0")
    powers = [size ** (1 / temperature) if size else 0.0 for size in sizes]
    whole = sum(powers) or 1.0
    return [power / whole for power in powers]


class Mixture:
    """Which source each position of an epoch draws from.

    Positions go in chunks of about 64, in each of which the sources stand in their proportions (up to one row of
    each) in an order that the key decides.

    Args:
        sizes: Rows of each source.
        weights: Share of each source, in any unit; None draws every row once, so in proportion to the sizes.
        stop: With weights: ``first_exhausted`` ends where a source would have to repeat a row, ``all_exhausted`` where
            each source has given all its rows at least once, a number after so many rows.
        key: Decides the order.

    Raises:
        UnknownNameError: Weights that are negative, not finite, or all zero; no rows at all.

    Example:
        >>> mixture = Mixture([100, 400], [0.5, 0.5], "first_exhausted", key=0)
        >>> 190 <= mixture.total <= 210, mixture.counts(mixture.total)[0]
        (True, 100)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float] | None = None,
        stop: StopRule | int = "first_exhausted",
        key: int = 0,
    ) -> None:
        self.sizes = list(sizes)
        self._key = key
        self._capped = weights is None
        if weights is None:
            self._shares, self._whole = self.sizes, max(sum(self.sizes), 1)
        else:
            self._shares, self._whole = _shares(weights, self.sizes)
        if isinstance(stop, int):
            if stop < 0:
                raise UnknownNameError(f"the number of rows is {stop}, expected 0 or more")
            if stop > sum(self.sizes):
                self._capped = False  # rows come again
            self.total = stop
        elif weights is None:
            self.total = sum(self.sizes)
        elif stop in {"first_exhausted", "all_exhausted"}:
            self.total = self._end(last=stop == "all_exhausted")
        else:
            raise UnknownNameError(
                f"there is no stopping rule {stop!r}",
                remedy="Write 'first_exhausted', 'all_exhausted' or a number of rows.",
            )
        if not sum(self.sizes):
            self.total = 0
        self._pattern = lru_cache(maxsize=_PATTERNS)(self._make_pattern)

    def __reduce__(self) -> tuple[object, ...]:
        copy = dict(self.__dict__)
        del copy["_pattern"]
        return _restore_mixture, (copy,)

    def _before(self, chunk: int) -> list[int]:
        """Draws of each source before a chunk."""
        counts = [chunk * _CHUNK * share // self._whole for share in self._shares]
        if self._capped:  # the last chunk is what is left
            return [min(count, size) for count, size in zip(counts, self.sizes, strict=True)]
        return counts

    def _make_pattern(self, chunk: int) -> NDArray[Any]:
        counts = np.subtract(self._before(chunk + 1), self._before(chunk))
        kind = np.uint8 if len(self.sizes) < 256 else np.int64
        sources: NDArray[Any] = np.repeat(np.arange(len(self.sizes), dtype=kind), counts)
        return sources[permutation(len(sources), key_of("mixture", self._key, chunk))]

    def _end(self, *, last: bool) -> int:
        """The position at which the first (or the last) source with a weight has given all its rows."""
        chunks = []
        for size, share in zip(self.sizes, self._shares, strict=True):
            if share:
                wanted = size if last else size + 1
                # The first chunk after which this source has given `wanted` rows.
                chunks.append(max(-(-wanted * self._whole // (share * _CHUNK)), 1))
        chunk = (max(chunks) if last else min(chunks)) - 1
        before, pattern = self._before(chunk), self._make_pattern(chunk)
        ends = []
        for source, size in enumerate(self.sizes):
            if self._shares[source]:
                places = np.flatnonzero(pattern == source)
                missing = size - before[source]
                if last:
                    ends.append(int(places[missing - 1]) + 1 if missing > 0 else 0)
                else:
                    ends.append(int(places[missing]) if missing < len(places) else len(pattern))
        return sum(before) + (max(ends) if last else min(ends))

    def _chunk_of(self, position: int) -> int:
        chunk = position // _CHUNK
        while chunk and sum(self._before(chunk)) > position:
            chunk -= 1
        while sum(self._before(chunk + 1)) <= position:
            chunk += 1
        return chunk

    def counts(self, position: int) -> list[int]:
        """Draws of each source before a position."""
        if len(self.sizes) == 1:
            return [position]
        if not sum(self.sizes):
            return [0] * len(self.sizes)
        chunk = self._chunk_of(max(position - 1, 0))
        before = self._before(chunk)
        inside = self._pattern(chunk)[: position - sum(before)]
        return [int(count) for count in np.bincount(inside, minlength=len(self.sizes)) + before]

    def sources(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """The sources of the positions from ``start`` to ``stop``, in arrays of about a chunk."""
        if len(self.sizes) == 1:
            for first in range(start, stop, _CHUNK):
                yield np.zeros(min(_CHUNK, stop - first), np.int64)
            return
        chunk = self._chunk_of(start) if start < stop else 0
        while start < stop:
            first = sum(self._before(chunk))
            pattern = self._pattern(chunk)[start - first : stop - first]
            yield pattern
            start += len(pattern)
            chunk += 1

    def draw(self, position: int) -> tuple[int, int]:
        """Source of a position, and how many rows were drawn from it before."""
        if len(self.sizes) == 1:
            return 0, position
        chunk = self._chunk_of(position)
        before = self._before(chunk)
        pattern = self._pattern(chunk)
        place = position - sum(before)
        source = int(pattern[place])
        return source, before[source] + int((pattern[:place] == source).sum())


def _restore_mixture(values: dict[str, object]) -> Mixture:
    mixture = Mixture.__new__(Mixture)
    mixture.__dict__.update(values)
    mixture._pattern = lru_cache(maxsize=_PATTERNS)(mixture._make_pattern)  # noqa: SLF001 - its own
    return mixture


def _shares(weights: Sequence[float], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Weights as whole numbers of a whole; sources without weight or rows have none."""
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise UnknownNameError(f"the weights are {list(weights)}, expected numbers of 0 or more")
    if len(weights) != len(sizes):
        raise UnknownNameError(f"{len(weights)} weights for {len(sizes)} sources")
    empty = [place for place, size in enumerate(sizes) if weights[place] and not size]
    if empty:
        raise UnknownNameError(
            f"source {empty[0] + 1} of {len(sizes)} has a weight and, after filters, no rows",
            remedy="Leave it out, or loosen the filters.",
        )
    whole = sum(weights)
    if not whole > 0:
        raise UnknownNameError("all weights are zero", remedy="Give one source at least a weight above 0.")
    shares = [round(weight / whole * (1 << 40)) for weight in weights]
    if any(weight and not share for weight, share in zip(weights, shares, strict=True)):
        raise UnknownNameError(f"the weights {list(weights)} differ too much for one mixture")
    return shares, sum(shares)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are read together.

    Attributes:
        start: Number of its first row in the pass over its source.
        units: Which units (row groups, as a rule) it consists of.
        order: Its rows in the order in which they come: numbers among the rows of its units one after another.
    """

    start: int
    units: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def stop(self) -> int:
        """Number of the row behind its last."""
        return self.start + len(self.order)


class BlockOrder:
    """The rows of a source in the order of a stream: units shuffled, and rows shuffled within blocks of some units.

    A block is what is in memory at a time, so this is a shuffle without a buffer that would have to be filled, or
    that a stop would lose.

    Args:
        counts: Rows of each unit, int, shape (units,).
        width: Units of a block.
        key: Decides the order.
        shuffle: False takes rows as they lie.
    """

    def __init__(self, counts: NDArray[np.int64], width: int, key: int, *, shuffle: bool = True) -> None:
        self._counts = counts
        self._width = width
        self._key = key
        self._shuffle = shuffle
        self._units = permutation(len(counts), key_of("units", key)) if shuffle else np.arange(len(counts))
        ends = np.cumsum(counts[self._units])
        self.rows = int(ends[-1]) if len(ends) else 0
        self._starts = np.concatenate([[0], ends])[:: self._width] if len(ends) else np.zeros(1, np.int64)
        if self._starts[-1] == self.rows and len(self._starts) > 1:
            self._starts = self._starts[:-1]

    def block(self, row: int) -> Block:
        """The block in which a row of the pass stands."""
        number = int(np.searchsorted(self._starts, row, "right")) - 1
        units = self._units[number * self._width : (number + 1) * self._width]
        count = int(self._counts[units].sum())
        order = permutation(count, key_of("rows", self._key, number)) if self._shuffle else np.arange(count)
        return Block(int(self._starts[number]), units, order)
