"""What of an epoch is done: states that are saved, divided over any number of readers, and put together again.

The positions of an epoch that are left to do are a list of spans. Each reader (a *lane*: one worker of one rank) gets
an equal, contiguous share of them and goes through it in order, so that its state is one number. Putting the states of
all lanes together gives the spans that are left, which any other number of lanes can divide anew. Nothing is read that
was passed, nothing is read by two lanes, and the lanes' shares differ by one row at most.

Where the order means something, as in a curriculum, an epoch has *stages*: each is divided by itself, so that all lanes
go through the same stage at about the same time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from irtd_datasets.errors import StateError
from irtd_datasets.training.launchers import (
    Divider,
    called_by_loader,
    divider_here,
    loader_starts_again,
    ranks_here,
    together,
    worker_here,
)
from irtd_datasets.version import __version__

__all__ = ["Resumable", "Spans", "Stages", "count", "cut", "merge_states", "share"]

Spans = list[tuple[int, int]]
"""Positions from the first to before the second number of each pair, in order."""

Stages = int | Sequence[int]
"""Where the stages of an epoch end: the position behind the last of each, or the length of all."""

_MARK = "irtd_position"
_VERSION = 2
_SAME = ("content", "data", "seed", "epoch", "total", "todo", "lanes", "even", "stages")
_EPOCH, _LOADED, _PASS, _READ = range(4)  # what the workers of a loader and their training process share


def count(spans: Spans) -> int:
    """Number of positions.

    Example:
        >>> count([(0, 3), (7, 8)])
        4
    """
    return sum(stop - start for start, stop in spans)


def cut(spans: Spans, first: int, last: int) -> Spans:
    """The positions that stand at places ``first`` to ``last`` among those of the spans.

    Example:
        >>> cut([(0, 3), (7, 10)], 2, 5)
        [(2, 3), (7, 9)]
    """
    found: Spans = []
    passed = 0
    for start, stop in spans:
        low, high = max(first - passed, 0), min(last - passed, stop - start)
        if low < high:
            if found and found[-1][1] == start + low:
                found[-1] = (found[-1][0], start + high)
            else:
                found.append((start + low, start + high))
        passed += stop - start
    return found


def share(spans: Spans, lane: int, lanes: int, *, even: int = 0, stages: Stages | None = None) -> Spans:
    """The share of one lane: as many positions as each other's, up to one.

    Args:
        spans: What is to be divided, in order.
        lane: Which lane, from 0.
        lanes: How many there are.
        even: Give each the same number, a multiple of this one, and leave the few positions out that cannot be divided.
        stages: Divide each stage by itself; None takes the epoch as one.

    Example:
        >>> [share([(0, 3), (7, 9)], lane, 2) for lane in (0, 1)]
        [[(0, 3)], [(7, 9)]]
        >>> [share([(0, 3), (7, 9)], lane, 2, stages=[3, 9]) for lane in (0, 1)]
        [[(0, 2), (7, 8)], [(2, 3), (8, 9)]]
    """
    if stages is None:
        each, more = divmod(count(spans), lanes)
        if even:
            each -= each % even
            return cut(spans, lane * each, (lane + 1) * each)
        start = lane * each + min(lane, more)
        return cut(spans, start, start + each + (lane < more))
    found: Spans = []
    turn = (
        0  # the lane that is the first to get a position more: not always the same, or its share would grow
    )
    for stage in _by_stage(spans, stages):
        each, more = divmod(count(stage), lanes)
        ahead = max(turn + more - lanes, 0)  # lanes at the front that get one more, when the turn goes round
        start = lane * each + min(lane, ahead) + min(max(lane - turn, 0), more - ahead)
        found.extend(cut(stage, start, start + each + ((lane - turn) % lanes < more)))
        turn = (turn + more) % lanes
    each = count(spans) // lanes
    return cut(found, 0, each - each % even if even else count(found))


def _by_stage(spans: Spans, stages: Stages) -> Iterator[Spans]:
    """The spans of each stage that has any."""
    if isinstance(stages, int):
        stages = range(stages, spans[-1][1] + stages if spans else 0, stages)
    stage: Spans = []
    number = 0
    for start, stop in spans:
        first = start
        while first < stop:
            while first >= stages[number]:
                number += 1
                if stage:
                    yield stage
                    stage = []
            last = min(stop, stages[number])
            stage.append((first, last))
            first = last
    if stage:
        yield stage


def merge_states(states: object) -> dict[str, Any]:
    """Put the states of all ranks and workers together, for a run with another number of either.

    Args:
        states: What `state_dict` gave in each rank: states of a stream or of a sampler of this library, or of torch's
            ``StatefulDataLoader`` around one, in a list in any order; any nesting will do.

    Returns:
        A state that every rank passes to ``load_state_dict`` of the stream or the sampler, before its loader is made.

    Raises:
        StateError: There is no state in it, one is missing, one is there twice with different places, or they are of
            different epochs, seeds, data, or starts of a run.

    Example:
        >>> left = {"irtd_position": 2, "data": "x", "seed": 0, "epoch": 0, "total": 10, "todo": [[0, 10]],
        ...         "lanes": 2, "even": 0, "skipped": 0}
        >>> merge_states([{**left, "lane": 0, "done": 4}, {**left, "lane": 1, "done": 0}])["todo"]
        [[4, 10]]
    """
    found = list(_find(states))
    if not found:
        raise StateError(
            "there is no state of a stream or sampler in it",
            remedy="Pass the list of what `state_dict()` of the stream or the StatefulDataLoader gave in each rank.",
        )
    first = found[0]
    for state in found:
        _check_format(state)
    for state, key in product(found, _SAME):
        if state.get(key) != first.get(key):
            raise StateError(
                f"the states differ in {key!r}: {str(first.get(key))[:80]} and {str(state.get(key))[:80]}",
                remedy="Pass the states of all ranks that were saved at one time of one run.",
            )
    if first["lane"] is None:
        return dict(first)
    lanes = _by_lane(found, first["lanes"])
    todo = [(start, stop) for start, stop in first["todo"]]
    stages = first.get("stages")
    even = int(first["even"]) if stages is None else 0  # with stages the odd positions are the last of a lane
    left: Spans = []
    for lane, state in lanes.items():
        mine = share(todo, lane, first["lanes"], even=even, stages=stages)
        left.extend(cut(mine, int(state["done"]), count(mine)))
    if even:
        each = count(todo) // first["lanes"]
        left.extend(cut(todo, (each - each % even) * first["lanes"], count(todo)))
    left.sort()
    return {
        **first,
        "todo": [list(span) for span in cut(left, 0, count(left))],
        "lane": None,
        "lanes": 0,
        "done": 0,
        "skipped": sum(int(state["skipped"]) for state in lanes.values()),
    }


def _by_lane(found: Iterable[dict[str, Any]], count_of_lanes: int) -> dict[int, dict[str, Any]]:
    """The state of each lane, in order."""
    lanes: dict[int, dict[str, Any]] = {}
    for state in found:
        other = lanes.setdefault(int(state["lane"]), state)
        if other["done"] != state["done"]:
            raise StateError(
                f"lane {state['lane']} is there twice, at rows {other['done']} and {state['done']}",
                remedy="Pass the last state of each rank, and of no rank two.",
            )
    missing = sorted(set(range(count_of_lanes)) - set(lanes))
    if missing:
        raise StateError(
            f"{len(missing)} of {count_of_lanes} states are missing (lane {missing[0]} is the first)",
            remedy="Pass the states of all ranks: a rank that is left out would repeat its rows.",
        )
    return dict(sorted(lanes.items()))


def _find(states: object) -> Iterator[dict[str, Any]]:
    """The states of this library anywhere inside."""
    if isinstance(states, Mapping):
        if _MARK in states:
            yield dict(states)
            return
        behind = states.get("_steps_since_snapshot")
        if isinstance(behind, int) and behind > 0:
            raise StateError(
                f"the states in it are those of {behind} batches before the StatefulDataLoader was asked for its own",
                remedy="Make the loader with snapshot_every_n_steps=1, its default, or save after a multiple of it. "
                "The loader itself, with as many ranks and workers as before, can still load this state.",
            )
        states = states.values()
    if isinstance(states, Iterable) and not isinstance(states, (str, bytes)):
        for state in states:
            if isinstance(state, (Mapping, list, tuple)):
                yield from _find(state)


def _check_format(state: Mapping[str, Any]) -> None:
    """Refuse a state that another version wrote, or of rows that a launcher divided.

    Raises:
        StateError: It is one of them.
    """
    if state.get(_MARK) != _VERSION:
        raise StateError(
            f"the state has format {state.get(_MARK)!r} of irtd_datasets {state.get('library', '0.1.0 or older')}, "
            f"this is irtd_datasets {__version__} with format {_VERSION}",
            remedy="Finish the epoch with the version that saved it, or start the next epoch without a state.",
        )
    if state.get("divided") and 0 < int(state["done"]) < count(share_of(state)):
        raise StateError(
            f"the state was saved while {state['divided']} divided the rows, which reads ahead of what it gives",
            remedy="Go on by the number of batches (`accelerator.skip_first_batches`), or do not prepare the loader: "
            "a loader that is not prepared divides itself, and its state is exact.",
        )


def share_of(state: Mapping[str, Any]) -> Spans:
    """The positions that the lane of a state goes through."""
    todo = [(int(start), int(stop)) for start, stop in state["todo"]]
    if state["lane"] is None:
        return todo
    return share(todo, state["lane"], state["lanes"], even=int(state["even"]), stages=state.get("stages"))


class Resumable(ABC):
    """Base of what goes through an epoch and can be stopped at any row.

    Subclasses give `content`, `data`, `total` and `walk`.
    """

    def __init__(
        self, *, seed: int, epoch: int, rank: int | None, world_size: int | None, even: bool
    ) -> None:
        if (rank is None) != (world_size is None):
            raise StateError("only one of rank and world_size is given", remedy="Give both, or neither.")
        self.seed = seed
        self.even = even
        self._told = None if rank is None or world_size is None else (rank, world_size)
        self._cells: Any = _shared([epoch, 0, 0, 0])
        self._chosen = False  # whether `set_epoch` was called since the last state was loaded
        self._start: dict[str, Any] | None = None
        self._load = self._loads = 0  # number of the state in `_start`; 0 where a worker loaded it for itself
        self._now: dict[str, Any] | None = None
        self._first = 0  # positions that were done when the iteration of `_now` began
        self._skipped = 0
        self._found: tuple[int, int] | None = None
        self._divider: Divider | None = None
        self._copied = 0

    def __getstate__(self) -> dict[str, Any]:
        _count_copies()
        found = None
        with contextlib.suppress(StateError):
            found = ranks_here()
        # For a worker that is spawned, in which torch.distributed is not initialised.
        return {**self.__dict__, "_found": found, "_divider": divider_here(), "_copied": _copies}

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration goes through."""
        return int(self._cells[_EPOCH])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through; reaches workers that are running, too.

        Raises:
            StateError: A state of a later epoch was loaded, which no row has been read of since.
        """
        start = self._pending()
        if start is not None and epoch < int(start["epoch"]):
            raise StateError(
                f"a state of epoch {start['epoch']} was loaded, and set_epoch({epoch}) asks for an earlier one",
                remedy=f"Begin the loop with epoch {start['epoch']} (a loader that accelerate prepared counts by "
                f"itself: call its set_epoch({start['epoch']})); or leave the state out.",
            )
        if epoch != self.epoch:
            self._start = self._now = None
            self._cells[_READ] = 0
        self._cells[_EPOCH] = epoch
        self._chosen = True

    @abstractmethod
    def content(self) -> str:
        """Identity of the bytes that the rows are read from."""

    @abstractmethod
    def data(self) -> str:
        """Identity of the rows and of everything that decides their order, besides seed and epoch."""

    @abstractmethod
    def total(self, epoch: int) -> int:
        """Positions of an epoch."""

    def stages(self, epoch: int) -> Stages | None:
        """Stages of an epoch that all lanes go through together; None where the order means nothing."""
        del epoch
        return None

    @abstractmethod
    def walk(self, spans: Spans, epoch: int) -> Iterator[tuple[int, Any]]:
        """What stands at the positions of some spans, each with how many positions it ends (more where some skip)."""

    @property
    def skipped(self) -> int:
        """Rows that could not be read and were left out, in this process, since the epoch began."""
        return self._skipped

    def state_dict(self) -> dict[str, Any]:
        """The place reached, as plain values that JSON can hold.

        In a worker it is that of the worker alone; `merge_states` puts those of all together.

        Raises:
            StateError: The rows are read by workers of a loader, of whose places this process does not know.
        """
        if worker_here() is None and int(self._cells[_READ]):
            raise StateError(
                "the rows are read by the workers of a DataLoader, and this process does not know their places",
                remedy="Use torchdata's StatefulDataLoader and save what its state_dict() gives.",
            )
        if self._now is None:
            self._now = self._begin()
        return {**self._now, "skipped": self._skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved place with the next iteration.

        Args:
            state: What `state_dict` gave for the same lane, or `merge_states`.

        Raises:
            StateError: It is of other rows, another order, or no such state; or it comes through a loader for which
                `set_epoch` chose another epoch.
        """
        found = list(_find(dict(state)))
        if len(found) > 1:
            raise StateError(
                f"there are {len(found)} states in it", remedy="Put them together with `merge_states` first."
            )
        if not found:
            raise StateError(
                "this is no state of a stream or sampler",
                remedy="Pass what `state_dict` or `merge_states` gave.",
            )
        given = found[0]
        _check_format(given)
        for key, mine, what in (
            ("content", self.content(), "of other data: the files were built or changed since"),
            (
                "data",
                self.data(),
                "of other data: of other filters, weights or tiers, or another order of the same files",
            ),
            ("seed", self.seed, f"of seed {given.get('seed')}, here it is {self.seed}"),
        ):
            if given.get(key) != mine:
                raise StateError(
                    f"the state is {what}",
                    remedy="Make the stream as it was when the state was saved, or start a new epoch.",
                )
        epoch, total = int(given["epoch"]), self.total(int(given["epoch"]))
        if given["total"] != total:
            raise StateError(f"the state counts {given['total']} rows, here are {total}")
        worker = worker_here()
        through_loader = worker is not None or called_by_loader()
        if through_loader and self._chosen and epoch != self.epoch:
            # A loader hands a state on when it begins to iterate: which of the two was said last is not known here.
            if epoch < self.epoch and int(given["done"]) == count(share_of(given)):
                self._start = self._now = None  # that epoch is over, and the next was chosen
                return
            raise StateError(
                f"the loader's state is from the middle of epoch {epoch}, and set_epoch chose epoch {self.epoch}",
                remedy=f"Call set_epoch({epoch}) to go on with it; leave the state out to begin another epoch.",
            )
        self._cells[_EPOCH] = epoch
        self._start, self._now = given, None
        self._skipped = int(given.get("skipped", 0)) if given["lane"] is not None else 0
        if worker is None:
            self._loads = self._load = self._loads + 1
            self._cells[_READ] = 0
        else:
            self._load = 0
        self._chosen = self._chosen and through_loader

    def _pending(self) -> dict[str, Any] | None:
        """The state that was loaded, as long as no row was read with it.

        What a worker reads, its training process and the workers of the next pass do not know: the first worker of a
        pass writes down which pass has taken the state.
        """
        if self._start is not None and self._load and int(self._cells[_LOADED]) == self._load:
            worker = worker_here()
            if worker is None or int(self._cells[_PASS]) != self._pass(worker.number):
                self._start = None
        return self._start

    def _pass(self, worker: int) -> int:
        """A number that all workers of one pass of a loader have, and those of no other: they are made one by one."""
        return self._copied + _copies - worker

    def _lane(self) -> tuple[int, int, Divider | None]:
        """The lane of this process, how many there are (ranks times workers), and what divides the rows besides.

        Ranks are those given, else those of ``torch.distributed`` where it is initialised, else of the variables RANK
        and WORLD_SIZE that torchrun and most launchers set; one where the launcher divides what it is given.
        """
        worker = worker_here()
        divider = together(divider_here(), self._divider if worker is not None else None)
        if divider is not None and divider.workers:
            worker = None
        if divider is not None and divider.ranks and self._told is not None and self._told[1] > 1:
            raise StateError(
                f"rank and world_size are given, and {divider.name} divides the rows among the ranks once more",
                remedy="Leave rank and world_size out: the rows are then divided once.",
            )
        rank, world_size = 0, 1
        if divider is None or not divider.ranks:
            given = self._told or (self._found if worker_here() is not None else None)
            rank, world_size = given or ranks_here() or (0, 1)
        if not 0 <= rank < world_size:
            raise StateError(f"rank {rank} of {world_size} does not exist")
        if worker is None:
            return rank, world_size, divider
        # A rank's lanes stand world_size apart, so that the rows that cannot be divided go to different ranks.
        return worker.number * world_size + rank, worker.workers * world_size, divider

    def _begin(self) -> dict[str, Any]:
        """The state from which an iteration of this lane starts."""
        lane, lanes, divider = self._lane()
        epoch, given = self.epoch, self._pending()
        even = (divider.multiple if divider is not None else 1) if self.even else 0
        if given is not None and given["epoch"] == epoch:
            if given["lane"] is not None and (given["lane"], given["lanes"]) != (lane, lanes):
                raise StateError(
                    f"the state is that of lane {given['lane']} of {given['lanes']}, this is lane {lane} of {lanes}",
                    remedy="The number of ranks or workers changed: pass `merge_states([...])` of all ranks' states.",
                )
            now = {**given, "lane": lane, "lanes": lanes}
            if given["lane"] is None:
                now |= {"done": 0, "even": even}
        else:
            total, stages = self.total(epoch), self.stages(epoch)
            now = {
                _MARK: _VERSION,
                "library": __version__,
                "content": self.content(),
                "data": self.data(),
                "seed": self.seed,
                "epoch": epoch,
                "total": total,
                "todo": [[0, total]] if total else [],
                "lane": lane,
                "lanes": lanes,
                "even": even,
                "stages": stages if stages is None or isinstance(stages, int) else list(stages),
                "done": 0,
                "skipped": 0,
            }
            if even and total and not share_of(now):
                raise StateError(
                    f"even=True leaves nothing: {total} rows cannot be divided evenly among {lanes} ranks and workers"
                    + (f" in multiples of {even}" if even > 1 else ""),
                    remedy="Use fewer ranks or workers, or even=False.",
                )
        if divider is not None:
            now["divided"] = divider.name
            left = count(share_of(now)) - int(now["done"])
            if not self.even and left % divider.multiple:
                raise StateError(
                    f"{divider.name} would give some of the {left} rows twice or not at all: it takes multiples of "
                    f"{divider.multiple}",
                    remedy="Pass even=True, which leaves the few rows out that cannot be divided"
                    + (f"; or {divider.remedy}." if divider.remedy else "."),
                )
        return now

    def left(self) -> int:
        """Positions that this lane still has to go through."""
        now = self._now or self._begin()
        return count(share_of(now)) - int(now["done"])

    def _length(self) -> int:
        """Positions of the iteration that is under way in this process, or of the next where none is."""
        now, first = self._now, self._first
        if now is None or int(now["done"]) == count(share_of(now)):
            now = self._begin()
            first = int(now["done"])
        return count(share_of(now)) - first

    def __iter__(self) -> Iterator[Any]:
        """Go through this lane's share of the epoch, or of what a loaded state left of it."""
        worker = worker_here()
        if self._start is not None and loader_starts_again():
            self._start = None
        now = self._begin()
        start = self._start
        self._now, self._first = now, int(now["done"])
        if worker is not None:
            self._cells[_READ] = 1
            if start is not None and self._load:
                self._cells[_PASS] = self._pass(worker.number)
                self._cells[_LOADED] = self._load
        mine = share_of(now)
        return self._iterate(start, now, cut(mine, now["done"], count(mine)))

    def _iterate(self, start: dict[str, Any] | None, now: dict[str, Any], spans: Spans) -> Iterator[Any]:
        # A loaded state is spent when its second row is asked for, not before: torch's loaders make an iterator of a
        # sampler, drop it and make another, and trainers look at the first row of what they are given.
        if worker_here() is None:
            self._cells[_READ] = 0
        if start is None:
            self._skipped = 0
        for passed, item in self.walk(spans, now["epoch"]):
            now["done"] += passed
            if item is not _NOTHING:
                yield item
            if start is not None and self._start is start:
                self._start = None
        if start is not None and self._start is start:
            self._start = None


_NOTHING = object()
NOTHING = _NOTHING
"""What `Resumable.walk` gives for a position that was skipped."""

_copies = 0


def _count_copies() -> None:
    """Count how often this process was forked, or gave one of its streams to another."""
    global _copies  # noqa: PLW0603 - of the process
    _copies += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_copies)


def _shared(values: list[int]) -> Any:  # noqa: ANN401 - a list, or a tensor that workers share
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "tensor"):
        return values
    return torch.tensor(values).share_memory_()
