"""Rows whose image is nearly one that an earlier row shows, left out of a dataset folder."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.curation.places import open_place
from irtd_datasets.errors import BuildError
from irtd_datasets.hub.image_hash import near_pairs
from irtd_datasets.hub.overlap import ScannedImages
from irtd_datasets.writing.rewrite import Rewriting, rewrite

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredFolder, StoredShard
    from irtd_datasets.writing.progress import Progress
    from irtd_datasets.writing.rewrite import RewriteReport

__all__ = ["DedupReport", "dedup"]

_NEAR = "its image is nearly that of an earlier row"
_GROUPS = 2  # row groups whose images are in memory at a time


@dataclass(frozen=True, slots=True)
class DedupReport:
    """What was left out of a folder, and for which image.

    Attributes:
        made: What the run did.
        images: Distinct images looked at.
        left_out: Distinct images that are nearly a kept one.
        undecodable: Images that cannot be decoded, and stay.
        featureless: Images of nearly one colour, which have no look of their own, and stay.
        matches: For each row left out its id, the id of the first row with the kept image, and the bits of 64 by which
            the two differ.
    """

    made: RewriteReport
    images: int
    left_out: int
    undecodable: int
    featureless: int
    matches: list[tuple[str, str, int]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.made.as_dict(),
            "images": self.images,
            "images_left_out": self.left_out,
            "undecodable": self.undecodable,
            "featureless": self.featureless,
            "matches": [{"id": row, "kept_id": kept, "distance": bits} for row, kept, bits in self.matches],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the matches as CSV; `irtd_datasets.not_in` reads it as a filter.

        Raises:
            BuildError: It cannot be written.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["id", "kind", "distance", "other_id"])
                writer.writerows([row, "similar", bits, kept] for row, kept, bits in self.matches)
            temporary.replace(path)
        except OSError as error:
            raise BuildError(error.strerror or str(error), where=str(path)) from error


def dedup(
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_distance: int = 4,
    workers: int = 1,
    progress: Progress | None = None,
) -> DedupReport:
    """Make a dataset folder without the rows whose image is nearly one that stays.

    Images are compared by the perceptual hash of `irtd_datasets.hub.image_hash`. In the order of the folder an image
    stays unless it is within ``max_distance`` bits of one that stays, so that none is left out for being like another
    that is left out. Rows that show the very same image, such as questions about it, are no duplicates of each other.

    Args:
        place: ``FOLDER`` or ``FOLDER:CONFIG``.
        out: The folder to make.
        max_distance: Bits of 64 by which two images may differ and count as one, 0 to 15.
        workers: Threads that decode.
        progress: Told what goes on.

    Raises:
        ReleaseNotFoundError: There is no dataset folder.
        UnknownNameError: There is no such config.
        AnnotationError: A file cannot be read.
        BuildError: The folder cannot be written.
    """
    parent = open_place(place)
    found = _scan(parent, workers, progress)
    kept_as, distance = _nearest_kept(found, max_distance)
    row_image = np.concatenate([np.empty(0, np.int32), *found.row_image])
    gone = row_image >= 0
    gone[gone] = kept_as[row_image[gone]] >= 0
    verdicts = {}
    at = 0
    for shard in parent.shards:
        verdicts[shard.name] = -gone[at : at + shard.rows].astype(np.int16)
        at += shard.rows

    def choose(_: int, shard: StoredShard) -> NDArray[np.int16]:
        return verdicts[shard.name]

    rows = np.flatnonzero(gone)
    images = row_image[rows]
    kept_rows = np.array(found.first_row, np.int64)[kept_as[images]]
    matches = list(
        zip(found.row_ids(rows), found.row_ids(kept_rows), distance[images].tolist(), strict=True)
        if len(rows)
        else ()
    )
    notes = tuple(f"{count:,} images {what}, and stay" for count, what in _unjudged(found) if count)
    how = Rewriting(f"dedup --max-distance {max_distance}", choose, (_NEAR,), notes=notes)
    made = rewrite([parent], out, how, progress=progress)
    return DedupReport(
        made,
        len(found.index),
        int((kept_as >= 0).sum()),
        found.side.undecodable,
        found.side.featureless,
        matches,
    )


def _unjudged(found: ScannedImages) -> list[tuple[int, str]]:
    return [
        (found.side.undecodable, "cannot be decoded"),
        (found.side.featureless, "are of nearly one colour, so that their look cannot be compared"),
    ]


def _scan(parent: StoredFolder, workers: int, progress: Progress | None) -> ScannedImages:
    """Hash the images of all rows, in the order of the shards."""
    found = ScannedImages(parent.name)
    with ThreadPoolExecutor(workers) as pool:
        run: Callable[..., Iterator[Any]] = pool.map if workers > 1 else map
        for shard in parent.shards:
            if progress is not None:
                progress.stage(f"looking at the images of {shard.name}")
            for first in range(0, len(shard.groups), _GROUPS):
                groups = range(first, min(first + _GROUPS, len(shard.groups)))
                table = shard.read(groups, ["id", "image.bytes", "source"])
                images = [
                    image and image["bytes"] for chunk in table["image"].chunks for image in chunk.to_pylist()
                ]
                found.add(
                    table["id"].to_pylist(), images, table["source"].to_pylist(), None, run, pixels=False
                )
    return found


def _nearest_kept(found: ScannedImages, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """For each distinct image the kept one that it is left out for, -1 where it stays, and their distance."""
    count = len(found.index)
    kept_as, distance = np.full(count, -1, np.int64), np.zeros(count, np.int32)
    usable = np.flatnonzero(np.array(found.usable, bool))
    bits = np.array(found.bits, np.uint64)[usable]
    values, first, inverse = np.unique(bits, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")  # of each look, by when it came first
    pairs = [
        (rank[a][rank[b] < rank[a]], rank[b][rank[b] < rank[a]], apart[rank[b] < rank[a]])
        for a, b, apart in near_pairs(values, values, most)
    ]
    nothing = np.empty(0, np.int64)
    later, earlier, apart = (
        (np.concatenate([nothing, *column]) for column in zip(*pairs, strict=True))
        if pairs
        else (nothing,) * 3
    )
    order = np.lexsort((earlier, apart, later))
    later, earlier, apart = later[order], earlier[order], apart[order]
    bounds = np.searchsorted(later, np.arange(len(values) + 1))
    stays, nearest, bits_apart = (
        np.ones(len(values), bool),
        np.arange(len(values)),
        np.zeros(len(values), np.int32),
    )
    for look in np.unique(later).tolist():
        mine = slice(bounds[look], bounds[look + 1])
        rivals = np.flatnonzero(stays[earlier[mine]])
        if len(rivals):
            stays[look] = False
            nearest[look] = earlier[mine][rivals[0]]
            bits_apart[look] = apart[mine][rivals[0]]
    image_of = np.empty(len(values), np.int64)
    image_of[rank] = usable[first]
    looks = rank[inverse]
    kept = image_of[nearest[looks]]
    gone = kept != usable
    kept_as[usable[gone]] = kept[gone]
    distance[usable] = bits_apart[looks]
    return kept_as, distance
