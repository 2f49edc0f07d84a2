"""Proof that a loader gives each row exactly once, whenever it is stopped and with whatever it goes on.

It knows nothing of this library's loaders: anything that can be iterated and has ``state_dict`` can be put to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import summarize

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ["StreamCheck", "assert_stream_exact", "row_keys"]

Make = Callable[[int, int, int, "list[Any] | None"], Any]
"""Gives a loader for a rank, the number of ranks, workers, and the states of all ranks before (None at the start)."""


@dataclass(frozen=True)
class StreamCheck:
    """What a check saw.

    Attributes:
        rows: Rows that came, over all ranks and stops.
        shares: For each stretch between two stops, the rows of each rank.
        states: The states with which each stretch ended, but the last.
    """

    rows: int
    shares: tuple[tuple[int, ...], ...]
    states: tuple[tuple[Any, ...], ...]


def row_keys(item: Any) -> list[Hashable]:  # noqa: ANN401 - whatever a loader gives
    """Keys of the rows in an item: the ``id`` of a row, of each row of a list, or of a batch of columns; else itself.

    Example:
        >>> row_keys({"id": ["a", "b"], "n": [1, 2]}), row_keys([{"id": "a"}]), row_keys(7)
        (['a', 'b'], ['a'], [7])
    """
    if isinstance(item, Mapping) and "id" in item:
        item = item["id"]
    if hasattr(item, "tolist"):
        item = item.tolist()
    if isinstance(item, (list, tuple)):
        return [key for part in item for key in row_keys(part)]
    return [item]


def assert_stream_exact(
    make: Make,
    workers: Sequence[int] = (0,),
    ranks: Sequence[int] = (1,),
    stops: Sequence[int] = (),
    *,
    rows: Iterable[Hashable] | None = None,
    key: Callable[[Any], Iterable[Hashable]] = row_keys,
    balance: int | None = None,
) -> StreamCheck:
    """Check that an epoch that is stopped and taken up again gives each row exactly once.

    The epoch is cut into stretches, one more than ``stops``. In each, every rank has a loader of its own from ``make``,
    takes the items that its stop tells, and gives its state. The last stretch runs to the end.

    Args:
        make: Makes the loader of a rank: ``make(rank, world_size, workers, states)``, where ``states`` are those with
            which all ranks ended the stretch before, in the order of the ranks, or None in the first.
        workers: Workers of each stretch; repeated in turn when there are more stretches.
        ranks: Number of ranks of each stretch; likewise.
        stops: Items that each rank takes in each stretch before it is stopped. A rank that has fewer left gives them
            all.
        rows: Keys of all rows, as often as each is to come; None takes those of one uninterrupted run of one rank.
        key: Gives the keys of the rows in an item of a loader, which may be a row or a batch.
        balance: If given, by how many rows the ranks may differ where no stop cut them short.

    Returns:
        What was seen.

    Raises:
        AssertionError: Rows are missing or came more than once, with their keys and the stretch in which a second one
            came; or the ranks' shares differ by more than ``balance``.

    Example:
        A list that forgets where it was:

        >>> class Forgetful(list):
        ...     def state_dict(self):
        ...         return {}
        >>> def make(rank, world_size, workers, states):
        ...     return Forgetful(range(rank, 10, world_size))
        >>> assert_stream_exact(make, ranks=[2]).rows
        10
        >>> assert_stream_exact(make, stops=[3])
        Traceback (most recent call last):
        AssertionError: 3 rows came more than once: 0 (stretches 0, 1); 1 (stretches 0, 1); 2 (stretches 0, 1)
    """
    if rows is None:
        expected = Counter(found for item in make(0, 1, workers[0], None) for found in key(item))
    else:
        expected = Counter(rows)
    seen: dict[Hashable, list[int]] = {}
    shares: list[tuple[int, ...]] = []
    ends: list[tuple[Any, ...]] = []
    states: list[Any] | None = None
    for stretch in range(len(stops) + 1):
        world, count = ranks[stretch % len(ranks)], workers[stretch % len(workers)]
        stop = stops[stretch] if stretch < len(stops) else None
        counts, after = [], []
        for rank in range(world):
            loader = make(rank, world, count, states)
            taken = 0
            iterator = iter(loader)
            for item in iterator if stop is None else islice(iterator, stop):
                for found in key(item):
                    seen.setdefault(found, []).append(stretch)
                    taken += 1
            counts.append(taken)
            after.append(loader.state_dict() if stop is not None else None)
            del iterator, loader
        shares.append(tuple(counts))
        if stop is not None:
            ends.append(tuple(after))
            states = after
    _compare(expected, seen)
    if balance is not None and max(shares[-1]) - min(shares[-1]) > balance:
        raise AssertionError(f"the ranks' shares of the last stretch are {shares[-1]}")
    return StreamCheck(sum(map(len, seen.values())), tuple(shares), tuple(ends))


def _compare(expected: Counter[Hashable], seen: dict[Hashable, list[int]]) -> None:
    problems = []
    found = Counter({row: len(stretches) for row, stretches in seen.items()})
    missing, extra = expected - found, found - expected
    if missing:
        problems.append(f"{sum(missing.values())} rows are missing: {_some([repr(row) for row in missing])}")
    if extra:
        shown = [f"{row!r} (stretches {', '.join(map(str, seen[row]))})" for row in extra]
        problems.append(f"{sum(extra.values())} rows came more than once: {_some(shown)}")
    if problems:
        raise AssertionError("; ".join(problems))


def _some(items: list[str]) -> str:
    return summarize(items, limit=8).replace("\n", "; ")
