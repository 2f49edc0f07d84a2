"""What a dataset folder holds, in numbers: rows, images, boxes, words and answers, without decoding an image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from irtd_datasets.arrow import to_numpy
from irtd_datasets.curation.places import open_place
from irtd_datasets.folder.stored import conformed
from irtd_datasets.schema import BOX_FRAMES, MODALITIES, TASKS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredFolder, StoredShard

__all__ = ["AXES", "GRID", "SIDES", "Statistics", "Summary", "describe", "spread", "statistics"]

AXES = ("task", "source", "modality")
"""What rows are counted by."""

GRID = 12
"""Cells of a side of the map of where boxes lie."""

SIDES = tuple(2**power for power in range(13))
"""Sides in pixels, as the square root of the area, at which the classes of box sizes begin."""

_SMALL, _LARGE = 32**2, 96**2  # COCO's classes of areas
_BATCH = 64  # row groups that are read together
_UNKNOWN = "not named"
_SHOWN = 40
_COLUMNS = (
    "modality",
    "task",
    "source",
    "messages",
    "answer",
    "objects",
    "box_frame",
    "width",
    "height",
    "bit_depth",
    "issues",
)


@dataclass(slots=True)
class Summary:
    """The numbers of some rows.

    Attributes:
        rows: Rows.
        names: Hashes of the names of their images, of which each is one image.
        pairs: Rows with a visible partner.
        sizes: Rows by width and height of the image.
        bit_depths: Rows by bits a channel.
        frames: Rows by the frame of the numbers in their texts.
        boxes: Bounding boxes.
        polygons: Polygons of four corners.
        points: Points.
        labels: Objects by label.
        small: Boxes below 32 x 32 pixels in area.
        large: Boxes from 96 x 96 pixels on.
        sides: Boxes by the class of `SIDES` that the square root of their area is in; int64, shape (len(SIDES),).
        places: Boxes and points by the cell of the image that they, or their centres, are in; rows from above; int64,
            shape (GRID, GRID).
        boxes_a_row: Rows by their number of boxes.
        words: Answers by their number of words.
        rounds: Answers, of which a row may have several.
        answers: Rows of scored tasks by their answer.
        issues: Rows by the code of each known issue.
    """

    rows: int = 0
    names: set[int] = field(default_factory=set)
    pairs: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    bit_depths: Counter[int] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    boxes: int = 0
    polygons: int = 0
    points: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    small: int = 0
    large: int = 0
    sides: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SIDES), np.int64))
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros((GRID, GRID), np.int64))
    boxes_a_row: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    rounds: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    issues: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Images by their names."""
        return len(self.names)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; of labels and answers the most common."""
        return {
            "rows": self.rows,
            "images": self.images,
            "with_visible_partner": self.pairs,
            "sizes": {
                f"{width}x{height}": count for (width, height), count in self.sizes.most_common(_SHOWN)
            },
            "different_sizes": len(self.sizes),
            "bit_depths": {str(bits): count for bits, count in sorted(self.bit_depths.items())},
            "frames": dict(self.frames.most_common()),
            "objects": {
                "boxes": self.boxes,
                "polygons": self.polygons,
                "points": self.points,
                "small": self.small,
                "medium": self.boxes - self.small - self.large,
                "large": self.large,
                "labels": dict(self.labels.most_common(_SHOWN)),
                "different_labels": len(self.labels),
                "side_from": {str(side): int(count) for side, count in zip(SIDES, self.sides, strict=True)},
                "places": self.places.tolist(),
                "boxes_a_row": {str(boxes): count for boxes, count in sorted(self.boxes_a_row.items())},
            },
            "answers": {
                "rounds": self.rounds,
                "words": spread(self.words),
                "scored": self.answers.total(),
                "different": len(self.answers),
                "most_common": dict(self.answers.most_common(_SHOWN)),
            },
            "issues": dict(self.issues.most_common()),
        }


@dataclass(slots=True)
class Statistics:
    """What a dataset folder, or a config of it, holds.

    Attributes:
        name: What the user called it.
        dataset: Name of the dataset.
        row_groups: Row groups that were read.
        total: Of all rows.
        by: For each of `AXES` the numbers of each of its values.
        crossed: Rows by source and task.
    """

    name: str
    dataset: str
    row_groups: int = 0
    total: Summary = field(default_factory=Summary)
    by: dict[str, dict[str, Summary]] = field(default_factory=lambda: {axis: {} for axis in AXES})
    crossed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folder": self.name,
            "dataset": self.dataset,
            "row_groups": self.row_groups,
            "total": self.total.as_dict(),
            **{
                f"by_{axis}": {name: summary.as_dict() for name, summary in self.sorted_by(axis)}
                for axis in AXES
            },
            "rows_by_source_and_task": [
                {"source": source, "task": task, "rows": count}
                for (source, task), count in sorted(self.crossed.items())
            ],
        }

    def sorted_by(self, axis: str) -> list[tuple[str, Summary]]:
        """The values of an axis, the one with most rows first."""
        return sorted(self.by[axis].items(), key=lambda entry: (-entry[1].rows, entry[0]))


def spread(counts: Counter[int]) -> dict[str, float]:
    """Smallest, largest, mean and median of whole numbers; empty without any.

    Example:
        >>> spread(Counter({1: 2, 4: 1}))
        {'least': 1, 'median': 1, 'mean': 2.0, 'most': 4}
    """
    total = counts.total()
    if not total:
        return {}
    values = sorted(counts)
    before = np.cumsum([counts[value] for value in values])
    median = values[int(np.searchsorted(before, (total + 1) // 2))]
    mean = round(sum(value * count for value, count in counts.items()) / total, 2)
    return {"least": values[0], "median": median, "mean": mean, "most": values[-1]}


def statistics(place: str | os.PathLike[str], progress: Callable[[str], None] = lambda _: None) -> Statistics:
    """Count what a dataset folder holds; nothing is decoded, and memory holds 8 bytes for each image and axis.

    Args:
        place: ``FOLDER`` or ``FOLDER:CONFIG``.
        progress: Told the name of each shard.

    Raises:
        ReleaseNotFoundError: There is no dataset folder.
        UnknownNameError: There is no such config.
        AnnotationError: A shard cannot be read.
        BuildError: A shard is not the one that the manifest tells of.
    """
    folder = open_place(place)
    found = Statistics(folder.name, folder.manifest.dataset)
    for shard in folder.shards:
        progress(shard.name)
        _add_shard(found, shard)
    return found


def _add_shard(found: Statistics, shard: StoredShard) -> None:
    present = [*shard.present(_COLUMNS), *(f"{name}.path" for name in shard.present(["image"]))]
    paired = shard.places("visible")[0] >= 0
    first = 0
    for begin in range(0, len(shard.groups), _BATCH):
        groups = range(begin, min(begin + _BATCH, len(shard.groups)))
        table = shard.read(groups, present)
        found.row_groups += len(groups)
        _Rows(table, paired[first : first + len(table)]).add_to(found)
        first += len(table)
    shard.forget()


class _Rows:
    """The columns of some rows as numbers."""

    def __init__(self, table: pa.Table, paired: NDArray[np.bool_]) -> None:
        batch = conformed(table)
        self.rows = len(batch)
        self.paired = paired

        def column(name: str) -> pa.Array:
            return batch.column(batch.schema.get_field_index(name))

        paths = [
            path for chunk in table["image"].chunks for path in pc.struct_field(chunk, "path").to_pylist()
        ]
        self.names = np.fromiter(map(hash, paths), np.int64, self.rows)
        self.axes = {
            "task": _labels(column("task"), TASKS),
            "modality": _labels(column("modality"), MODALITIES),
            "source": np.array([name or _UNKNOWN for name in column("source").to_pylist()], object),
        }
        self.frames = _labels(column("box_frame"), BOX_FRAMES, "none")
        self.width, self.height, self.bits = (
            to_numpy(column(name), 0).astype(np.int64) for name in ("width", "height", "bit_depth")
        )
        self._read_objects(column("objects"))
        messages = column("messages")
        flat = pc.list_flatten(messages)
        answered = to_numpy(pc.equal(pc.struct_field(flat, "role"), "assistant"), missing=False)
        words = to_numpy(pc.count_substring_regex(pc.struct_field(flat, "content"), r"\S+"), 0)
        self.answer_row = to_numpy(pc.list_parent_indices(messages), 0)[answered]
        self.words = words[answered]
        self.answers = column("answer").to_pylist()
        issues = column("issues")
        self.issue_row = to_numpy(pc.list_parent_indices(issues), 0)
        self.issues = pc.list_flatten(issues).to_pylist()

    def _read_objects(self, objects: pa.Array) -> None:
        labels = pc.struct_field(objects, "label")
        self.label_row = to_numpy(pc.list_parent_indices(labels), 0)
        self.labels = pc.list_flatten(labels).to_pylist()
        rows, boxes = _tuples(pc.struct_field(objects, "box"), 4)
        self.polygon_row = _tuples(pc.struct_field(objects, "polygon"), 8)[0]
        self.point_row, points = _tuples(pc.struct_field(objects, "point"), 2)
        self.place_row = np.concatenate([rows, self.point_row])
        size = np.stack([self.width, self.height], axis=1).clip(min=1)[self.place_row]
        centre = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, points]) / size
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
        self.box_row = rows
        self.area = sides.prod(axis=1)
        self.side_class = (np.searchsorted(SIDES, np.sqrt(self.area), side="right") - 1).clip(min=0)
        cell = np.nan_to_num(centre * GRID).astype(np.int64).clip(0, GRID - 1)
        self.cell = cell[:, 1] * GRID + cell[:, 0]

    def add_to(self, found: Statistics) -> None:
        """Add these rows to the numbers of a folder."""
        self._add(found.total, np.ones(self.rows, bool))
        for axis in AXES:
            values = self.axes[axis]
            for name in dict.fromkeys(values.tolist()):
                self._add(found.by[axis].setdefault(name, Summary()), values == name)
        found.crossed.update(zip(self.axes["source"].tolist(), self.axes["task"].tolist(), strict=True))

    def _add(self, summary: Summary, mine: NDArray[np.bool_]) -> None:
        summary.rows += int(mine.sum())
        summary.names.update(self.names[mine].tolist())
        summary.pairs += int(self.paired[mine].sum())
        summary.sizes.update(zip(self.width[mine].tolist(), self.height[mine].tolist(), strict=True))
        summary.bit_depths.update(self.bits[mine].tolist())
        summary.frames.update(self.frames[mine].tolist())
        boxes = mine[self.box_row]
        summary.boxes += int(boxes.sum())
        summary.polygons += int(mine[self.polygon_row].sum())
        summary.points += int(mine[self.point_row].sum())
        summary.labels.update(_where(self.labels, mine[self.label_row]))
        summary.small += int((self.area[boxes] < _SMALL).sum())
        summary.large += int((self.area[boxes] >= _LARGE).sum())
        summary.sides += np.bincount(self.side_class[boxes], minlength=len(SIDES))
        summary.places += np.bincount(self.cell[mine[self.place_row]], minlength=GRID * GRID).reshape(
            GRID, GRID
        )
        summary.boxes_a_row.update(np.bincount(self.box_row, minlength=self.rows)[mine].tolist())
        answers = mine[self.answer_row]
        summary.rounds += int(answers.sum())
        summary.words.update(self.words[answers].tolist())
        summary.answers.update(answer for answer in _where(self.answers, mine) if answer is not None)
        summary.issues.update(_where(self.issues, mine[self.issue_row]))


def _labels(column: pa.Array, names: Iterable[str], missing: str = _UNKNOWN) -> NDArray[Any]:
    """The names behind labels; ``missing`` where there is none."""
    known = np.array([*names, missing], object)
    numbers = to_numpy(column, -1).astype(np.int64)
    numbers[(numbers < 0) | (numbers >= len(known) - 1)] = len(known) - 1
    found: NDArray[Any] = known[numbers]
    return found


def _tuples(column: pa.Array, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows and values of the entries of a list of lists that have so many numbers each."""
    rows = to_numpy(pc.list_parent_indices(column), 0).astype(np.int64)
    inner = pc.list_flatten(column)
    right = to_numpy(pc.list_value_length(inner), 0) == count
    values = to_numpy(pc.list_flatten(inner.filter(pa.array(right))), np.nan)
    return rows[right], values.astype(np.float64).reshape(-1, count)


def _where(values: list[Any], mine: NDArray[np.bool_]) -> Iterable[Any]:
    return values if mine.all() else [values[at] for at in np.flatnonzero(mine)]


def describe(folder: StoredFolder) -> dict[str, Any]:
    """What a dataset folder says of itself: no row is read.

    Args:
        folder: The folder, or a config of it.
    """
    manifest = folder.manifest
    names = {shard.name for shard in folder.shards}
    parts = [part for part in manifest.parts if names.intersection(part.files())]
    made_with = dict(zip(("irtd-datasets", "schema", "pyarrow", "pillow"), manifest.made_with, strict=False))
    own = {part.key for part in parts}
    counts = [
        line.record_counts
        for line in folder.ledger.lines
        if line.record_counts is not None and (not folder.config or (line.subset, line.part) in own)
    ]
    return {
        "folder": folder.name,
        "dataset": manifest.dataset,
        "version": manifest.version,
        "made_with": made_with,
        "made_from": manifest.made_from.as_dict() if manifest.made_from else None,
        "manifest": folder.digest,
        "rows": folder.rows,
        "shards": len(names),
        "row_groups": sum(manifest.shards[name].row_groups for name in names),
        "bytes": sum(manifest.shards[name].size for name in names),
        "parts": [
            {
                "subset": part.subset,
                "part": part.part,
                "split": part.split,
                "rows": part.rows,
                "bytes": part.bytes_on_disk,
                "with_issue": sum(shard.record_counts.flagged.total() for shard in part.shards),
            }
            for part in parts
        ],
        "left_out": dict(sum((one.dropped for one in counts), Counter[str]()).most_common()),
        "image_missing": sum(one.image_missing for one in counts),
    }
