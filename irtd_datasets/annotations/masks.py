"""Boxes from masks: connected regions of small targets, and regions of segmentation classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Region", "regions"]


class Region(NamedTuple):
    """One connected region of a mask.

    Attributes:
        value: Value of its pixels; 1 where any foreground counts alike.
        box: x_min, y_min, x_max, y_max in pixels, half-open.
        area: Number of its pixels.
    """

    value: int
    box: tuple[float, float, float, float]
    area: int


def regions(mask: npt.NDArray[np.generic], *, by_value: bool = False, smallest: int = 1) -> list[Region]:
    """Connected regions of a mask, with pixels that touch at a corner connected.

    Runs of equal pixels are found row by row, runs that touch in neighbouring rows joined, and each region takes
    the least of its runs' numbers by repeated halving; all steps are array operations, so that the cost goes with
    the number of runs, which for small targets is tiny.

    Args:
        mask: Shape (height, width), any type that compares with 0.
        by_value: Whether pixels of different values are different regions (class masks); otherwise everything but
            0 is foreground.
        smallest: Fewest pixels of a region that counts.

    Returns:
        Regions from the top, then from the left, by their first pixel.

    Example:
        >>> mask = np.zeros((6, 8), np.uint8)
        >>> mask[1, 1], mask[2, 2], mask[4:6, 5:8] = 255, 255, 255
        >>> regions(mask)
        [Region(value=1, box=(1.0, 1.0, 3.0, 3.0), area=2), Region(value=1, box=(5.0, 4.0, 8.0, 6.0), area=6)]
    """
    height, width = mask.shape
    if not height or not width:
        return []
    values = mask.astype(np.int64) if by_value else (mask != 0).astype(np.int64)
    padded = np.zeros(
        (height, width + 1), np.int64
    )  # a column of background, so that no run goes over an edge
    padded[:, :width] = values
    flat = padded.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=0))
    starts, ends = changes[:-1], changes[1:]
    foreground = flat[starts] != 0
    starts, ends = starts[foreground], ends[foreground]
    count = len(starts)
    if not count:
        return []
    rows, lefts = np.divmod(starts, width + 1)
    rights = lefts + (ends - starts)
    labels = flat[starts]
    roots = _joined(starts, ends, labels, width + 1)
    order, members = np.unique(roots, return_inverse=True)
    found = len(order)
    x_min = np.full(found, width, np.int64)
    y_min = np.full(found, height, np.int64)
    x_max, y_max, area = (np.zeros(found, np.int64) for _ in range(3))
    np.minimum.at(x_min, members, lefts)
    np.minimum.at(y_min, members, rows)
    np.maximum.at(x_max, members, rights)
    np.maximum.at(y_max, members, rows + 1)
    np.add.at(area, members, rights - lefts)
    boxes = np.stack([x_min, y_min, x_max, y_max], axis=1).astype(float).tolist()
    return [
        Region(int(value), (box[0], box[1], box[2], box[3]), size)
        for value, box, size in zip(labels[order].tolist(), boxes, area.tolist(), strict=True)
        if size >= smallest
    ]


def _joined(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], stride: int
) -> npt.NDArray[np.int64]:
    """Number of the first run of each run's region."""
    count = len(starts)
    # Runs of the row below that touch run [s, e), corners included: those with end >= s and start <= e there.
    first = np.searchsorted(ends, starts + stride, "left")
    last = np.searchsorted(starts, ends + stride, "right")
    neighbours = np.maximum(last - first, 0)
    above = np.repeat(np.arange(count), neighbours)
    offsets = np.arange(neighbours.sum()) - np.repeat(np.cumsum(neighbours) - neighbours, neighbours)
    below = np.repeat(first, neighbours) + offsets
    # Runs of a class mask may touch side by side, but only runs of the same class are one region.
    same = labels[above] == labels[below]
    above, below = above[same], below[same]
    roots = np.arange(count)
    while True:
        least = np.minimum(roots[above], roots[below])
        if np.array_equal(roots[above], roots[below]):
            return roots
        np.minimum.at(roots, roots[above], least)
        np.minimum.at(roots, roots[below], least)
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]
