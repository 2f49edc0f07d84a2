"""Which ranges of a file are asked for together: neighbours are joined, and no byte is asked for twice."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Range", "joined"]

Range = tuple[int, int]
"""First byte, and the byte behind the last."""

_SPARE = 64 << 10
_SPARE_SHARE = 0.03


def joined(ranges: Sequence[Range], gap: int, walls: Sequence[int] = ()) -> list[Range]:
    """Join ranges that lie near each other, as long as little comes that nobody wants.

    A request costs a round trip and counts against a server's limit; bytes between ranges cost the line. So gaps are
    closed, the smallest first, until they amount to 3 % of what is wanted, or 64 kB.

    Args:
        ranges: In any order; they may overlap.
        gap: Bytes of the largest gap that is closed.
        walls: Places in order that no gap may hold: of images that are not wanted.

    Example:
        >>> joined([(40, 50), (0, 10), (12, 20), (18, 30)], gap=4)
        [(0, 30), (40, 50)]
        >>> joined([(0, 10), (12, 20)], gap=4, walls=[11])
        [(0, 10), (12, 20)]
    """
    apart: list[list[int]] = []
    for start, stop in sorted(ranges):
        if apart and start <= apart[-1][1]:
            apart[-1][1] = max(apart[-1][1], stop)
        else:
            apart.append([start, stop])
    left = max(_SPARE, int(_SPARE_SHARE * sum(stop - start for start, stop in apart)))
    closed = set()
    for size, place in sorted((apart[n][0] - apart[n - 1][1], n) for n in range(1, len(apart))):
        if size > min(gap, left):
            break
        wall = bisect_left(walls, apart[place - 1][1])
        if wall == len(walls) or walls[wall] >= apart[place][0]:
            closed.add(place)
            left -= size
    found: list[Range] = []
    for place, (start, stop) in enumerate(apart):
        if place in closed:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found
