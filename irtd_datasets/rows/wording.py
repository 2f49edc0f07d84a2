"""Numbers and plurals as made sentences write them."""

from __future__ import annotations

__all__ = ["count_word", "plural"]

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count_word(count: int) -> str:
    """A count as a word up to ten, in digits above.

    Example:
        >>> count_word(2), count_word(13)
        ('two', '13')
    """
    return _WORDS[count] if 0 <= count < len(_WORDS) else str(count)


def plural(name: str) -> str:
    """The regular plural of the last word.

    Example:
        >>> [plural(name) for name in ("car", "bus", "lorry", "large vehicle")]
        ['cars', 'buses', 'lorries', 'large vehicles']
    """
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in set("aeiou"):
        return name[:-1] + "ies"
    return name + "s"
