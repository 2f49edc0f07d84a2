"""`stream`: the rows of one or more configs in an order that seed and epoch decide, read where they lie.

Row groups are shuffled, and rows within blocks of some row groups, so that nothing is buffered that a stop could lose.
Where a row stands is computed, so that any place in an epoch is reached at once; see `order` and `progress`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.remote import crew
from irtd_datasets.schema import EARLIER, MAY_BE_MISSING
from irtd_datasets.training.draws import Draws
from irtd_datasets.training.order import StopRule, key_of, temperature_weights
from irtd_datasets.training.progress import NOTHING, Resumable, Spans
from irtd_datasets.training.source import Filters, Source, open_source
from irtd_datasets.training.storage import local_folder
from irtd_datasets.training.transforms import check_on_error, guarded, row_transform

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from irtd_datasets.boxes import Frame
    from irtd_datasets.training.decode import Decoder, Mode
    from irtd_datasets.training.iterable import StreamedDataset
    from irtd_datasets.training.tiers import Curriculum
    from irtd_datasets.training.transforms import OnError, Transform

    Data = str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source] | Mapping[str, float]

_SOURCES = 16  # that are opened at a time

__all__ = ["Stream", "choose_columns", "mixture_weights", "open_sources", "stream"]


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
    order: Curriculum | None = None,
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
        order: Tiers by a score: all ranks and workers go through the first, then the second, and so on. None takes
            rows from everywhere at any time. Each tier reads the text of its row groups and only its own images.
        decode: ``auto``, ``luminance`` or ``rgb`` for arrays, or a `Decoder`; None leaves bytes.
        max_side: With ``decode``: longest side of images in pixels.
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
        ArrayError: ``order`` lacks the score of a row; see `Curriculum.divide`.
    """
    filters = Filters.of(tasks, sources, modalities, without_issues)
    opened, weights = open_sources(data, split=split, filters=filters, options=storage_options, prime=True)
    weights = mixture_weights(opened, weights, temperature)
    if order is not None and (weights is not None or stop != "first_exhausted"):
        raise UnknownNameError(
            "an order takes each row once, so there can be no weights, temperature or number of rows beside it",
            remedy="Pass a list of datasets instead of weights, or leave out the order.",
        )
    return Stream(
        opened,
        tiers=None if order is None else order.divide(opened),
        weights=weights,
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
    prime: bool = False,
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

    def opened(name: Any) -> Source:  # noqa: ANN401
        if isinstance(name, Source):
            return name
        return open_source(name, split=split, filters=filters, options=options, prime=prime)

    far = any(isinstance(name, str) and not local_folder(name).exists() for name in names)
    return (crew("source", _SOURCES).map(opened, names) if far else [opened(name) for name in names]), weights


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
                    remedy="Name the columns that you want; all have to have them."
                    + (f" {EARLIER}" if MAY_BE_MISSING.issuperset(odd) else ""),
                )
        return list(columns)
    if isinstance(columns, str):
        raise UnknownNameError(f"columns is the text {columns!r}", remedy="Pass a list of names.")
    for source in sources:
        unknown = [name for name in columns if name not in source.columns]
        if unknown and source.shards:
            raise UnknownNameError(
                f"there is no column {unknown[0]!r} in {source.name!r}",
                remedy=f"Its columns are {', '.join(source.columns)}."
                + (f" {EARLIER}" if unknown[0] in MAY_BE_MISSING else ""),
            )
    return list(columns)


class Stream(Resumable):
    """Rows of some sources, iterable any number of times; made by `stream`.

    It is an ``IterableDataset`` to torch, though torch is not needed.

    Args:
        sources: What to draw from.
        columns: Columns of the rows.
        tiers: The sources divided, where their rows have an order: those of the first tier, and so on.
        weights: Share of each; None draws every row once.
        stop: When an epoch with weights ends.
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
        tiers: Sequence[Sequence[Source]] | None = None,
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
        self.transform = transform
        self._on_error = check_on_error(on_error)
        drawn = partial(Draws, columns=columns, weights=weights, stop=stop, shuffle=shuffle, seed=seed)
        if tiers is None:
            self._draws = [drawn(self.sources)]
            identity = self._draws[0].identity()
        else:
            self._draws = [drawn(tier, stage=stage) for stage, tier in enumerate(tiers)]
            identity = tuple(draws.identity() for draws in self._draws)
        self._data = f"{key_of(*identity):016x}"
        self._content = f"{key_of([source.content for source in self.sources]):016x}"
        self.total(epoch)  # finds wrong weights now, not in a worker
        _register()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _register()

    def to_iterable_dataset(self) -> StreamedDataset:
        """The same rows as an ``IterableDataset`` of `datasets`, which the trainers of TRL ask for.

        Epoch and place are those of this stream: `set_epoch` and states of either hold for both.
        """
        from irtd_datasets.training.iterable import StreamedDataset

        return StreamedDataset(self)

    def content(self) -> str:
        """Identity of the shards."""
        return self._content

    def data(self) -> str:
        """Identity of shards, filters, weights and order."""
        return self._data

    def total(self, epoch: int) -> int:
        """Rows of an epoch over all ranks and workers."""
        return sum(draws.mixture(epoch).total for draws in self._draws)

    def stages(self, epoch: int) -> list[int] | None:
        """Where the tiers of an epoch end, which all ranks and workers go through together."""
        if len(self._draws) == 1:
            return None
        return list(accumulate(draws.mixture(epoch).total for draws in self._draws))

    def walk(self, spans: Spans, epoch: int) -> Iterator[tuple[int, Any]]:
        """Rows at some positions of an epoch."""
        last = None
        for draws, first, start, stop in self._drawn(spans, epoch):
            if last not in (None, draws):
                last.forget()
            last = draws
            with contextlib.closing(draws.rows(start, stop, epoch)) as rows:
                for place, read in enumerate(rows, first + start):
                    row = guarded(self.transform, self._on_error, read, place)
                    if row is None:
                        self._skipped += 1
                    yield 1, NOTHING if row is None else row

    def _drawn(self, spans: Spans, epoch: int) -> Iterator[tuple[Draws, int, int, int]]:
        """Spans of positions as draws of the tiers, behind the position at which each tier begins."""
        for start, stop in spans:
            first = 0
            for draws in self._draws:
                behind = first + draws.mixture(epoch).total
                if start < behind and first < stop:
                    yield draws, first, max(start, first) - first, min(stop, behind) - first
                first = behind


def _register() -> None:
    """Tell torch, where it is loaded, that a `Stream` is an iterable dataset."""
    data = sys.modules.get("torch.utils.data")
    if data is not None:
        data.IterableDataset.register(Stream)
