"""Part of the train rows of a dataset folder as a validation split that shares nothing with the rest."""

from __future__ import annotations

import hashlib
from collections import Counter
from io import FileIO
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.arrow import from_numpy
from irtd_datasets.curation.places import open_place
from irtd_datasets.errors import AnnotationError, BuildError, UnknownNameError, did_you_mean
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.schema import IMAGE_FIELDS
from irtd_datasets.writing.rewrite import Rewriting, rewrite

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredFolder, StoredShard
    from irtd_datasets.sources import SourceRow
    from irtd_datasets.writing.progress import Progress
    from irtd_datasets.writing.rewrite import RewriteReport

__all__ = ["WAYS", "sequence_of", "split"]

WAYS = ("image", "sequence", "source")
"""What is never divided between the two splits."""

_OFFSET_BITS = 40  # of where an image begins in its shard, below the number of the shard
_SAMPLE = 16  # bytes of the middle of an image


def split(
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    validation: float,
    by: str = "image",
    seed: int = 0,
    progress: Progress | None = None,
) -> RewriteReport:
    """Make a dataset folder in which some of the train rows are a validation split.

    Rows stay together that share an image by the SHA-256 of its bytes, in whichever column; by sequence also those
    of one video, by source also those of one component dataset. Other splits stay as they are.

    Args:
        place: ``FOLDER`` or ``FOLDER:CONFIG``.
        out: The folder to make.
        validation: Share of the train rows, above 0 and below 1; whole images, sequences or sources are taken until
            it is reached.
        by: ``image``, ``sequence`` or ``source``.
        seed: Of the choice.
        progress: Told what goes on.

    Raises:
        UnknownNameError: There is no such way or config, or the share is none.
        BuildError: The split cannot be made that way, with the reason; or the folder cannot be written.
        ReleaseNotFoundError: There is no dataset folder.
    """
    if by not in WAYS:
        raise UnknownNameError(
            f"rows cannot be kept together by {by!r}",
            remedy=f"{did_you_mean(by, WAYS)}The ways are {', '.join(WAYS)}.",
        )
    if not 0 < validation < 1:
        raise UnknownNameError(
            f"--validation is {validation}", remedy="Give a share above 0 and below 1, such as 0.1."
        )
    parent = open_place(place)
    train = [shard for shard in parent.shards if shard.part.split == "train"]
    _check_splits(parent, train)
    if progress is not None:
        progress.stage("comparing images")
    others = [shard for shard in parent.shards if shard not in train]
    shown = image_contents([*train, *others])
    labels = _kept_together(parent, train, by, shown)
    chosen = _choose(parent, labels, validation, by, seed)
    verdicts = {}
    at = 0
    for shard in train:
        verdicts[shard.name] = chosen[at : at + shard.rows].astype(np.int16)
        at += shard.rows
    how = f"split --validation {validation:g} --by {by} --seed {seed}"

    def choose(_: int, shard: StoredShard) -> NDArray[np.int16]:
        return verdicts.get(shard.name, np.zeros(shard.rows, np.int16))

    share = f"{chosen.mean():.1%} of the train rows are the validation split"
    notes = (*_leaks(others, len(labels), shown), share)
    return rewrite(
        [parent], out, Rewriting(how, choose, splits=("", "validation"), notes=notes), progress=progress
    )


def _check_splits(parent: StoredFolder, train: list[StoredShard]) -> None:
    """Refuse a folder that has nothing to divide, or has a validation split already."""
    known = dict.fromkeys(shard.part.split for shard in parent.shards)
    if not train:
        raise BuildError(
            f"there is no train split to take rows from; it has {', '.join(known) or 'no rows'}",
            where=parent.name,
            remedy="Name a config with train rows; `irtd info FOLDER` lists them.",
        )
    if "validation" in known:
        raise BuildError(
            "it has a validation split already",
            where=parent.name,
            remedy="Split the folder that it was made from, or choose a config without one.",
        )


class _Union:
    """Which rows belong together."""

    def __init__(self, count: int) -> None:
        self.above = np.arange(count, dtype=np.int64)
        self._first: dict[int | str, int] = {}

    def root(self, row: int) -> int:
        above = self.above
        while above[row] != row:
            above[row] = above[above[row]]
            row = int(above[row])
        return row

    def add(self, row: int, key: int | str) -> None:
        """Say that a row belongs to all others with this key."""
        first = self._first.setdefault(key, row)
        a, b = self.root(first), self.root(row)
        self.above[max(a, b)] = min(a, b)

    def labels(self) -> NDArray[np.int64]:
        """The first row of the group of each row."""
        return np.array([self.root(row) for row in range(len(self.above))], np.int64)


def _kept_together(
    parent: StoredFolder,
    train: list[StoredShard],
    by: str,
    shown: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.int64]:
    union = _Union(sum(shard.rows for shard in train))
    own = shown[0] < len(union.above)
    row, content = shown[0][own], shown[1][own]
    again = _repeated(content)
    for one, key in zip(row[again].tolist(), content[again].tolist(), strict=True):
        union.add(one, key)
    at = 0
    unknown: dict[str, Counter[str]] = {}
    for shard in train if by != "image" else ():
        _add_names(shard, at, by, union, unknown)
        at += shard.rows
    if unknown:
        raise _refused(parent, by, unknown, train)
    return union.labels()


def image_contents(shards: Sequence[StoredShard]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows show an image of the same bytes, whatever its column.

    Images of one length are compared by some bytes of their middle, and those that are alike by the SHA-256 of all:
    of a folder without copies next to nothing is read.

    Returns:
        For each image of each row the number of the row, counted through the shards, and a number that is the same for
        the same bytes.

    Raises:
        AnnotationError: A file ends inside an image.
    """
    rows, keys, lengths, at = [], [], [], 0
    for number, shard in enumerate(shards):
        for column in shard.present(IMAGE_FIELDS):
            offset, length = shard.places(column)
            found = np.flatnonzero(offset >= 0)
            rows.append(at + found)
            keys.append(number << _OFFSET_BITS | offset[found])
            lengths.append(length[found])
        at += shard.rows
        shard.forget()
    nothing = np.empty(0, np.int64)
    places, first, content = np.unique(
        np.concatenate([nothing, *keys]), return_index=True, return_inverse=True
    )
    length = np.concatenate([nothing, *lengths])[first]
    middles: dict[int, tuple[int, bytes]] = {}
    for at, data in _read(shards, places, length, _repeated(length), _SAMPLE):
        middles[at] = int(length[at]), data
    times = Counter(middles.values())
    alike = np.array([at for at, key in middles.items() if times[key] > 1], np.int64)
    same, known = np.arange(len(places)), dict[bytes, int]()
    for at, data in _read(shards, places, length, alike):
        same[at] = known.setdefault(hashlib.sha256(data).digest(), at)
    return np.concatenate([nothing, *rows]), same[content.ravel()]


def _repeated(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of values that occur more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse.ravel()] > 1)


def _read(
    shards: Sequence[StoredShard],
    places: NDArray[np.int64],
    lengths: NDArray[np.int64],
    wanted: NDArray[np.int64],
    middle: int = 0,
) -> Iterator[tuple[int, bytes]]:
    """The bytes of some images, or so many of their middle, in the order in which they lie in the files."""
    for number, some in groupby(wanted.tolist(), key=lambda at: int(places[at]) >> _OFFSET_BITS):
        with FileIO(shards[number].file) as file:
            for at in some:
                offset, length = int(places[at]) & ((1 << _OFFSET_BITS) - 1), int(lengths[at])
                begin = length // 2 if middle else 0
                file.seek(offset + begin)
                size = min(middle or length, length - begin)
                data = file.read(size)
                if len(data) != size:
                    raise AnnotationError("the file ends inside an image", where=str(shards[number].file))
                yield at, data


def _add_names(
    shard: StoredShard, first: int, by: str, union: _Union, unknown: dict[str, Counter[str]]
) -> None:
    """Join the rows of one source or sequence; those of which it is not known are counted with the reason."""
    sources = shard.column("source").to_pylist()
    names: list[str | None] = []
    if by == "sequence":
        column = shard.read(range(len(shard.groups)), ["image.path"])["image"]
        names = [None if image is None else image["path"] for image in column.to_pylist()]
    for row, source in enumerate(sources):
        if by == "source":
            key, problem = (source, "") if source else (None, "the release does not name their source")
        else:
            key, problem = sequence_of(source, names[row])
        if problem:
            unknown.setdefault(source or "not named", Counter())[problem] += 1
        elif key is not None:
            union.add(first + row, key)


_rows: dict[str, SourceRow | None] = {}


def sequence_of(source: str | None, name: str | None) -> tuple[str | None, str]:
    """The video that an image is a frame of, by the table of sources.

    Args:
        source: The component dataset.
        name: The name that the release gives the image.

    Returns:
        The video, None for an image of a set that has none; and why that cannot be told, empty where it can.

    Example:
        >>> sequence_of("LSOTB-TIR", "6-LSOTB-TIR/Training_Dataset/TrainingData/TIR_training_002/dog_001/00000076.jpg")
        ('LSOTB-TIR/TIR_training_002/dog_001', '')
        >>> sequence_of("VEDAI", "4-VEDAI/train/trainimgr/01283.jpg")
        (None, '')
        >>> sequence_of(None, "1.jpg")
        (None, 'the release does not name their source')
    """
    from irtd_datasets.sources.table import TABLE, get  # slow to import, and asked for by sequence alone

    if not source:
        return None, "the release does not name their source"
    if source not in _rows:
        try:
            _rows[source] = get(source, TABLE)
        except UnknownNameError:
            _rows[source] = None
    row = _rows[source]
    if row is None or not row.infrared:
        return None, "the table of sources does not say whether its images are frames of videos"
    if not row.sequence:
        return None, ""
    parts = (name or "").split("/")
    for start in range(len(parts)):
        for layout in row.layouts:
            for pattern in filter(None, (layout.infrared, layout.visible)):
                fields = pattern.match("/".join(parts[start:]))
                sequence = layout.sequence_of(fields) if fields else None
                if sequence:
                    return f"{row.name}/{sequence}", ""
    return None, "its images are frames of videos, and their names do not say of which"


def _refused(
    parent: StoredFolder, by: str, unknown: Mapping[str, Counter[str]], train: list[StoredShard]
) -> BuildError:
    told = "; ".join(
        f"{source}, {count:,} rows: {problem}"
        for source, problems in sorted(unknown.items())
        for problem, count in problems.items()
    )
    known = sorted({name for shard in train for name in shard.column("source").unique().to_pylist() if name})
    rest = [name for name in known if name not in unknown]
    command = f"irtd subset {parent.name} --source {','.join(rest)} --out FOLDER"
    other = f" Or take the sources that can be split so: `{command}`."
    return BuildError(
        f"the rows cannot be kept together by {by}: {told}",
        where=parent.name,
        remedy=f"`--by image` keeps every image on one side.{other if rest else ''}",
    )


def _choose(
    parent: StoredFolder, labels: NDArray[np.int64], validation: float, by: str, seed: int
) -> NDArray[np.bool_]:
    """Which rows are the validation split: whole groups in a seeded order, until the share is reached."""
    groups, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(groups) < 2:
        raise BuildError(
            f"all {len(labels):,} train rows belong together by {by}, so that nothing can be taken apart",
            where=parent.name,
            remedy="`--by image` divides further." if by != "image" else "Take a folder with more images.",
        )
    names = _first_ids(parent, groups)
    order = sorted(range(len(groups)), key=lambda at: (draw_key(seed, names[at]), names[at]))
    wanted, taken = validation * len(labels), 0
    chosen = np.zeros(len(groups), bool)
    for at in order:
        size = int(counts[at])
        # One that would lead further away from what is wanted than leaving it out does is left out.
        if abs(taken + size - wanted) < abs(taken - wanted) and chosen.sum() < len(groups) - 1:
            chosen[at] = True
            taken += size
        if taken >= wanted:
            break
    if not chosen.any():  # each is larger than twice the share
        chosen[min(order, key=lambda at: int(counts[at]))] = True
    found: NDArray[np.bool_] = chosen[inverse.ravel()]
    return found


def _first_ids(parent: StoredFolder, rows: NDArray[np.int64]) -> list[str]:
    """Ids of train rows by their number; the same whatever order the folder has its other rows in."""
    found: list[str] = []
    at = 0
    for shard in (shard for shard in parent.shards if shard.part.split == "train"):
        ids = shard.column("id")
        mine = rows[(rows >= at) & (rows < at + len(ids))] - at
        found += ids.take(from_numpy(mine)).to_pylist()
        at += len(ids)
    return found


def _leaks(
    others: Sequence[StoredShard], train_rows: int, shown: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[str, ...]:
    """What to tell of images that other splits share with the train rows already."""
    row, content = shown
    train = row < train_rows
    rows = len(np.unique(row[~train & np.isin(content, content[train])]))
    names = ", ".join(dict.fromkeys(shard.part.split for shard in others))
    return (
        (f"{rows:,} rows of {names} show an image of the train rows; they stay as they were",) if rows else ()
    )
