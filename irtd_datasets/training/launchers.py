"""Which part of the rows is this process's: who says so, and who divides them once more.

A stream and a sampler divide their rows by rank. `accelerate`, the Trainer of transformers (and TRL), and Lightning
divide what a loader gives as well, by wrapping it; so do the ``IterableDataset`` of `datasets` and torch's sharding
filter. Both together would lose rows, so what is iterated by one of these wrappers gives every rank all rows. The
wrappers leave no mark on what they wrap, but they stand in the call stack of the iteration; a worker that was forked
has the stack of its rank, one that was spawned is told by pickling.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Divider",
    "Worker",
    "divider_here",
    "loader_starts_again",
    "ranks_here",
    "together",
    "worker_here",
]

_PACKAGES = (
    "accelerate.", "transformers.", "lightning.", "lightning_fabric.", "pytorch_lightning.",
    "datasets.iterable_dataset", "torch.utils.data.datapipes.",
)  # fmt: skip
_TORCHDATA = "torchdata.stateful_dataloader."


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process of a ``DataLoader``.

    Attributes:
        number: Which of them.
        workers: How many there are.
    """

    number: int
    workers: int


@dataclass(frozen=True, slots=True)
class Divider:
    """What divides the rows of an iterable among the ranks or workers, from outside.

    Attributes:
        name: Its package and class.
        multiple: Rows go through it unrepeated where the share of each worker is a multiple of this number.
        remedy: What to write so that no row is repeated, besides ``even=True``.
        ranks: Whether it divides among the ranks.
        workers: Whether it divides among the workers of a ``DataLoader``, too.
    """

    name: str
    multiple: int
    remedy: str = ""
    ranks: bool = True
    workers: bool = False


def worker_here() -> Worker | None:
    """The worker that this process is; None in a training process itself."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return None if info is None else Worker(int(info.id), int(info.num_workers))


def ranks_here() -> tuple[int, int] | None:
    """Rank and number of ranks that ``torch.distributed`` or the launcher's variables tell; None where neither does.

    Raises:
        StateError: The variables RANK and WORLD_SIZE are no numbers, or one of them is missing.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    try:
        if rank is None and int(world or 1) == 1:
            return None
        if rank is not None and world is not None:
            return int(rank), int(world)
    except ValueError as error:
        raise StateError(
            f"RANK is {rank!r} and WORLD_SIZE is {world!r}, expected numbers",
            remedy="Give rank and world_size.",
        ) from error
    raise StateError(
        f"WORLD_SIZE is {world} and RANK is {rank}: the launcher does not tell which rank this is",
        remedy="Call torch.distributed.init_process_group before the first row is read, or give rank and world_size.",
    )


def divider_here() -> Divider | None:
    """The wrapper that iterates what asks here, if one of a launcher does; two of them are put together."""
    found: Divider | None = None
    frame = sys._getframe(1)  # noqa: SLF001 - see above: there is no other mark
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_PACKAGES):
            owner = frame.f_locals.get("self")
            for kind in type(owner).__mro__:
                known = _KINDS.get(kind.__name__)
                name = f"{frame.f_globals['__name__'].partition('.')[0]}'s {kind.__name__}"
                divider = known(owner, name) if known is not None else None
                found = together(found, divider)
                if found is not None and found.ranks:
                    return found
        frame = frame.f_back  # type: ignore[assignment]
    return found


def together(inner: Divider | None, outer: Divider | None) -> Divider | None:
    """What two of them divide: the one among the ranks, with whether either divides among the workers."""
    if inner is None or outer is None:
        return inner or outer
    return replace(inner if inner.ranks else outer, workers=inner.workers or outer.workers)


def _batch_sampler(owner: Any, name: str) -> Divider:  # noqa: ANN401 - classes of other packages
    size = owner.batch_size if owner.split_batches else (owner.batch_size or 1) * owner.num_processes
    exact = owner.drop_last or not owner.even_batches
    remedy = "pass DataLoaderConfiguration(even_batches=False) to the Accelerator"
    return Divider(name, 1 if exact else size or 1, remedy)


def _iterable(owner: Any, name: str) -> Divider:  # noqa: ANN401
    size = owner.batch_size * (1 if getattr(owner, "split_batches", False) else owner.num_processes)
    return Divider(name, 1 if owner.drop_last else size)


def _dispatcher(owner: Any, name: str) -> Divider:  # noqa: ANN401
    ranks, loader = int(owner.state.num_processes), owner.base_dataloader
    if owner._drop_last:  # noqa: SLF001 - what it goes by
        return Divider(name, 1)
    # A short batch is the last of a worker, not of all: put together with others, it must be divided without a rest.
    several = loader.num_workers > 1 and not owner.split_batches
    return Divider(name, lcm(loader.batch_size or 1, ranks) if several else ranks)


def _sampler(owner: Any, name: str) -> Divider:  # noqa: ANN401
    return Divider(
        name,
        1 if getattr(owner, "drop_last", False) else int(getattr(owner, "num_replicas", 1)),
        "pass use_distributed_sampler=False to the Trainer",
    )


def _unrepeated(owner: Any, name: str) -> Divider:  # noqa: ANN401
    del owner
    return Divider(name, 1)


def _wrapping(owner: Any, name: str) -> Divider | None:  # noqa: ANN401
    """An ``IterableDataset`` of `datasets` around the rows: workers get whole sources, ranks what was split by node."""
    if not hasattr(owner, "_distributed"):  # torch's own, which divides nothing
        return None
    split = owner._distributed  # noqa: SLF001 - what it goes by
    ranks = split is not None and int(split.world_size) > 1
    return Divider(name, 1, ranks=ranks, workers=True) if ranks or worker_here() is not None else None


def _filter(owner: Any, name: str) -> Divider | None:  # noqa: ANN401
    """The ``sharding_filter`` of torch: its ``DataLoader`` tells it the workers, and the ranks where they are known."""
    among = {getattr(group, "name", ""): int(number) for group, (number, _) in owner.groups.items()}
    every = among.get("DEFAULT", 1)
    ranks, workers = (max(every, among.get(group, 1)) > 1 for group in ("DISTRIBUTED", "MULTIPROCESSING"))
    return Divider(name, 1, ranks=ranks, workers=workers) if ranks or workers else None


_KINDS: dict[str, Callable[[Any, str], Divider | None]] = {
    "BatchSamplerShard": _batch_sampler,
    "IterableDatasetShard": _iterable,
    "DataLoaderDispatcher": _dispatcher,
    "IterableDataset": _wrapping,
    "ShardingFilterIterDataPipe": _filter,
    "DistributedSamplerWrapper": _sampler,
    "UnrepeatedDistributedSamplerWrapper": _unrepeated,
}


def called_by_loader() -> bool:
    """Whether the caller's caller is torchdata's ``StatefulDataLoader``, which hands a state on when it iterates."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith(_TORCHDATA)  # noqa: SLF001


def loader_starts_again() -> bool:
    """Whether a ``StatefulDataLoader`` has loaded the state of a pass that had ended, and begins the next one."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_TORCHDATA) and frame.f_code.co_name == "__iter__":
            made = getattr(frame.f_locals.get("self"), "_iterator", None)
            if made is not None:
                return bool(getattr(made, "_finished", False))
        frame = frame.f_back  # type: ignore[assignment]
    return False
