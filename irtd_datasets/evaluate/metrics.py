"""Values of single answers: average precision of boxes, distance of point sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["assign", "average_precision", "iou_matrix", "point_distance"]


def iou_matrix(one: ArrayLike, two: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) and (M, 4), edges half-open; a box without area has 0.

    Example:
        >>> iou_matrix([[0, 0, 10, 10]], [[0, 0, 10, 10], [5, 0, 15, 10]]).round(3).tolist()
        [[1.0, 0.333]]
    """
    a = np.asarray(one, dtype=np.float64).reshape(-1, 4)[:, None]
    b = np.asarray(two, dtype=np.float64).reshape(-1, 4)[None]
    shared = np.prod(
        np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None), axis=2
    )
    areas = np.prod(np.clip(a[..., 2:] - a[..., :2], 0, None), axis=2) + np.prod(
        np.clip(b[..., 2:] - b[..., :2], 0, None), axis=2
    )
    union = areas - shared
    out: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return out


def average_precision(predicted: ArrayLike, gold: ArrayLike, threshold: float = 0.5) -> float:
    """Average precision of one question: boxes in the order written, each right at most once.

    A model gives no confidence, so its order stands for it. One box for one object makes this 1 or 0; a right second
    box after a wrong first makes it 0.5; objects without a box lower it in proportion.

    Example:
        >>> average_precision([[50, 50, 60, 60], [0, 0, 10, 10]], [[0, 0, 10, 10]])
        0.5
    """
    overlaps = iou_matrix(predicted, gold)
    free = np.ones(overlaps.shape[1], dtype=np.bool_)
    hits, total = 0, 0.0
    for rank, row in enumerate(overlaps, 1):
        left = np.where(free, row, -1.0)
        if len(left) and left.max() >= threshold:
            free[int(left.argmax())] = False
            hits += 1
            total += hits / rank
    return total / overlaps.shape[1] if overlaps.shape[1] else float(len(overlaps) == 0)


def point_distance(predicted: ArrayLike, gold: ArrayLike, cutoff: float) -> float:
    """Mean distance of two sets of points, best assigned one to one; a missing or extra point costs the cutoff.

    This is the OSPA metric of order 1 (Schuhmacher, Vo and Vo 2008): distances are cut at ``cutoff``, and the sum is
    divided by the size of the larger set. It is 0 for equal sets only, and at most ``cutoff``.

    Args:
        predicted: Shape (N, 2).
        gold: Shape (M, 2), in the same units.
        cutoff: In those units.

    Example:
        >>> point_distance([[0, 0], [103, 4]], [[100, 0], [0, 0]], cutoff=100)
        2.5
        >>> point_distance([], [[1, 1]], cutoff=100)
        100.0
    """
    a = np.asarray(predicted, dtype=np.float64).reshape(-1, 2)
    b = np.asarray(gold, dtype=np.float64).reshape(-1, 2)
    if len(a) > len(b):
        a, b = b, a
    if not len(b):
        return 0.0
    if not len(a):
        return float(cutoff)
    costs = np.minimum(np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]), cutoff)
    chosen = assign(costs)
    matched = float(costs[np.arange(len(a)), chosen].sum())
    return (matched + cutoff * (len(b) - len(a))) / len(b)


def assign(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column of each row, each at most once, with the least sum; there are at least as many columns as rows.

    Shortest augmenting paths (Jonker and Volgenant 1987), unless every row's cheapest column is its own.

    Example:
        >>> assign(np.array([[1.0, 2.0], [1.0, 5.0]])).tolist()
        [1, 0]
    """
    cheapest: NDArray[np.int64] = costs.argmin(1)
    if len(set(cheapest.tolist())) == len(costs):
        return cheapest
    rows, columns = costs.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        shortest = np.full(columns, np.inf)
        came_from = np.full(columns, -1)
        visited = np.zeros(columns, dtype=np.bool_)
        row, far, end = start, 0.0, -1
        touched = [start]
        while end < 0:
            reduced = far + costs[row] - row_price[row] - column_price
            better = ~visited & (reduced < shortest)
            shortest[better] = reduced[better]
            came_from[better] = row
            column = int(np.where(visited, np.inf, shortest).argmin())
            far = float(shortest[column])
            visited[column] = True
            if row_of[column] < 0:
                end = column
            else:
                row = int(row_of[column])
                touched.append(row)
        column_of = {int(row_of[c]): c for c in np.flatnonzero(visited) if row_of[c] >= 0}
        row_price[start] += far
        for other in touched[1:]:
            row_price[other] += far - shortest[column_of[other]]
        column_price[visited] -= far - shortest[visited]
        column = end
        while True:
            row = int(came_from[column])
            row_of[column], column = (
                row,
                next((c for c in range(columns) if row_of[c] == row and c != column), -1),
            )
            if row == start:
                break
    chosen = np.empty(rows, dtype=np.int64)
    for column, row in enumerate(row_of):
        if row >= 0:
            chosen[row] = column
    return chosen
