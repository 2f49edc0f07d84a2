"""Chance that is the same on every machine: numbers from a keyed hash of what they are drawn for.

What is drawn for one image depends on the seed and on that image's name alone, so neither the order of files nor
the number of images, nor the version of Python, moves it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Draw", "draw_key"]

T = TypeVar("T")

_FRESH = 1 << 512
_ENOUGH = 1 << 64
"""What is left of a state of 512 bits is used while it has more bits than this, so that no draw is biased by more than
its size in 2**64."""


def draw_key(seed: int, *names: str) -> bytes:
    """Eight bytes that look random and depend on the seed and the names alone; for sorting.

    Example:
        >>> draw_key(0, "LLVIP", "infrared/test/190001.jpg").hex()
        '1b254055c516723c'
    """
    return _digest(seed, names, 8)


class Draw:
    """Draws for one purpose, named by ``names``.

    Args:
        seed: Of the whole choice.
        *names: What is drawn for: a source, an image, a task.

    Example:
        >>> draw = Draw(0, "LLVIP", "190001.jpg", "security")
        >>> draw.shuffled("ABCD")
        ['C', 'B', 'A', 'D']
    """

    __slots__ = ("_names", "_rounds", "_seed", "_state")

    def __init__(self, seed: int, *names: str) -> None:
        self._seed = seed
        self._names = names
        self._rounds = 0
        self._state = 0

    def below(self, bound: int) -> int:
        """A number from 0 to ``bound`` - 1, each as likely as any other."""
        if self._state < _ENOUGH * bound:
            digest = _digest(self._seed, (*self._names, str(self._rounds)), 64)
            self._rounds += 1
            self._state = int.from_bytes(digest, "big") | _FRESH
        self._state, drawn = divmod(self._state, bound)
        return drawn

    def pick(self, items: Sequence[T]) -> T:
        """One of some items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        left = list(items)
        for position in range(len(left) - 1, 0, -1):
            other = self.below(position + 1)
            left[position], left[other] = left[other], left[position]
        return left

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Some of the items, none twice, in random order."""
        return self.shuffled(items)[:count]


def _digest(seed: int, names: Sequence[str], size: int) -> bytes:
    text = "\0".join(names)
    return blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=size, key=seed.to_bytes(8, "big")
    ).digest()
