"""What of an epoch is done: states that are saved, divided over any number of readers, and put together again.

The positions of an epoch that are left to do are a list of spans. Each reader (a *lane*: one worker of one rank) gets
an equal, contiguous share of them and goes through it in order, so that its state is one number. Putting the states of
all lanes together gives the spans that are left, which any other number of lanes can divide anew. Nothing is read that
was passed, nothing is read by two lanes, and the lanes' shares differ by one row at most.

Where the order means something, as in a curriculum, an epoch has *stages*: each is divided by itself, so that all lanes
go through the same stage at about the same time.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from irtd_datasets.errors import StateError

__all__ = ["Resumable", "Spans", "Stages", "count", "cut", "lane_here", "merge_states", "share"]

Spans = list[tuple[int, int]]
"""Positions from the first to before the second number of each pair, in order."""

Stages = int | Sequence[int]
"""Where the stages of an epoch end: the position behind the last of each, or the length of all."""

_MARK = "irtd_position"
_VERSION = 1
_SAME = ("data", "seed", "epoch", "total", "todo", "lanes", "even", "stages")


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


def share(spans: Spans, lane: int, lanes: int, *, even: bool = False, stages: Stages | None = None) -> Spans:
    """The share of one lane: as many positions as each other's, up to one.

    Args:
        spans: What is to be divided, in order.
        lane: Which lane, from 0.
        lanes: How many there are.
        even: Give each the same number, and leave fewer than ``lanes`` positions out.
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
    return cut(found, 0, count(spans) // lanes if even else count(found))


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
        >>> left = {"irtd_position": 1, "data": "x", "seed": 0, "epoch": 0, "total": 10, "todo": [[0, 10]],
        ...         "lanes": 2, "even": False, "skipped": 0}
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
    shared_evenly = first["even"] and stages is None  # with stages the odd position is the last of a lane
    left: Spans = []
    for lane, state in lanes.items():
        mine = share(todo, lane, first["lanes"], even=shared_evenly, stages=stages)
        left.extend(cut(mine, int(state["done"]), count(mine)))
    if shared_evenly:
        each = count(todo) // first["lanes"]
        left.extend(cut(todo, each * first["lanes"], count(todo)))
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
    if isinstance(states, Mapping):
        if _MARK in states:
            yield dict(states)
            return
        states = states.values()
    if isinstance(states, Iterable) and not isinstance(states, (str, bytes)):
        for state in states:
            if isinstance(state, (Mapping, list, tuple)):
                yield from _find(state)


def lane_here(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The lane of this process, and how many there are: ranks times the workers of each.

    Ranks are those given, else those of ``torch.distributed`` where it is initialised, else of the variables RANK and
    WORLD_SIZE that torchrun and most launchers set.
    """
    if (rank is None) != (world_size is None):
        raise StateError("only one of rank and world_size is given", remedy="Give both, or neither.")
    if rank is None or world_size is None:
        rank, world_size = _distributed()
    if not 0 <= rank < world_size:
        raise StateError(f"rank {rank} of {world_size} does not exist")
    worker, workers = 0, 1
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    if info is not None:
        worker, workers = int(info.id), int(info.num_workers)
    # A rank's lanes stand world_size apart, so that the rows that cannot be divided go to different ranks.
    return worker * world_size + rank, workers * world_size


def _distributed() -> tuple[int, int]:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError as error:
        raise StateError("RANK or WORLD_SIZE is no number") from error


class Resumable(ABC):
    """Base of what goes through an epoch and can be stopped at any row.

    Subclasses give `data`, `total` and `walk`.
    """

    def __init__(
        self, *, seed: int, epoch: int, rank: int | None, world_size: int | None, even: bool
    ) -> None:
        self.seed = seed
        self.even = even
        self._rank, self._world_size = rank, world_size
        self._epoch: Any = _shared(epoch)
        self._start: dict[str, Any] | None = None
        self._now: dict[str, Any] | None = None
        self._skipped = 0

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration goes through."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through; reaches workers that are running, too."""
        if epoch != self.epoch:
            self._start = None
        if isinstance(self._epoch, int):
            self._epoch = epoch
        else:
            self._epoch.fill_(epoch)

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
        """
        if self._now is None:
            self._now = self._begin()
        return {**self._now, "skipped": self._skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved place with the next iteration.

        Args:
            state: What `state_dict` gave for the same lane, or `merge_states`.

        Raises:
            StateError: It is of other rows, another order, or no such state.
        """
        found = list(_find(dict(state)))
        if len(found) > 1:
            raise StateError(
                f"there are {len(found)} states in it", remedy="Put them together with `merge_states` first."
            )
        if not found or found[0][_MARK] != _VERSION:
            raise StateError("this is no state of a stream or sampler of this version")
        given = found[0]
        for key, mine, what in (
            ("data", self.data(), "of other data, or of other columns, filters or weights"),
            ("seed", self.seed, f"of seed {given.get('seed')}, here it is {self.seed}"),
        ):
            if given.get(key) != mine:
                raise StateError(
                    f"the state is {what}",
                    remedy="Make the stream as it was when the state was saved, or start a new epoch.",
                )
        if given["total"] != self.total(int(given["epoch"])):
            raise StateError(
                f"the state counts {given['total']} rows, here are {self.total(int(given['epoch']))}"
            )
        self.set_epoch(int(given["epoch"]))
        self._start = given
        self._now = None
        self._skipped = int(given.get("skipped", 0)) if given["lane"] is not None else 0

    def _begin(self) -> dict[str, Any]:
        """The state from which an iteration of this lane starts."""
        lane, lanes = lane_here(self._rank, self._world_size)
        epoch, given = self.epoch, self._start
        if given is not None and given["epoch"] == epoch:
            if given["lane"] is not None and (given["lane"], given["lanes"]) != (lane, lanes):
                raise StateError(
                    f"the state is that of lane {given['lane']} of {given['lanes']}, this is lane {lane} of {lanes}",
                    remedy="The number of ranks or workers changed: pass `merge_states([...])` of all ranks' states.",
                )
            if given["lane"] is not None:
                return {**given}
            return {**given, "lane": lane, "lanes": lanes, "done": 0, "even": self.even}
        total, stages = self.total(epoch), self.stages(epoch)
        return {
            _MARK: _VERSION,
            "data": self.data(),
            "seed": self.seed,
            "epoch": epoch,
            "total": total,
            "todo": [[0, total]] if total else [],
            "lane": lane,
            "lanes": lanes,
            "even": self.even,
            "stages": stages if stages is None or isinstance(stages, int) else list(stages),
            "done": 0,
            "skipped": 0,
        }

    def left(self) -> int:
        """Positions that this lane still has to go through."""
        now = self._now or self._begin()
        return count(self._share(now)) - int(now["done"])

    @staticmethod
    def _share(now: Mapping[str, Any]) -> Spans:
        todo = [(int(start), int(stop)) for start, stop in now["todo"]]
        return share(todo, now["lane"], now["lanes"], even=now["even"], stages=now.get("stages"))

    def __iter__(self) -> Iterator[Any]:
        """Go through this lane's share of the epoch, or of what a loaded state left of it."""
        start, now = self._start, self._begin()
        self._now = now
        mine = self._share(now)
        return self._iterate(start, now, cut(mine, now["done"], count(mine)))

    def _iterate(self, start: dict[str, Any] | None, now: dict[str, Any], spans: Spans) -> Iterator[Any]:
        # A loaded state is spent when its first row is asked for, not before: torch's loaders make an iterator of a
        # sampler, drop it and make another.
        if start is None:
            self._skipped = 0
        elif self._start is start:
            self._start = None
        for passed, item in self.walk(spans, now["epoch"]):
            now["done"] += passed
            if item is not _NOTHING:
                yield item


_NOTHING = object()
NOTHING = _NOTHING
"""What `Resumable.walk` gives for a position that was skipped."""


def _shared(epoch: int) -> Any:  # noqa: ANN401 - an int, or a tensor that workers see change
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "tensor"):
        return epoch
    return torch.tensor(epoch).share_memory_()
