"""The words that questions use for the classes of source datasets.

``words.csv`` has a row for each spelling of a class that source sets are known to use: its word, the kinds of thing it
belongs to, and a plural that is not regular. A class without a row keeps its own name, in small letters with blanks.
An empty word says that the label marks a region of which the source says nothing.
"""

from __future__ import annotations

from functools import lru_cache

from irtd_datasets.rows.wording import plural as regular_plural
from irtd_datasets.spec import read_table

__all__ = ["SCENES", "groups", "plural", "word"]

SCENES = frozenset({"street", "water"})
"""Kinds that say where a thing is met, not what it looks like."""


def word(label: str, source: str = "") -> str | None:
    """The word for a class of a source; None for a region that the source tells to ignore.

    Example:
        >>> word("People"), word("OtherVehicle"), word("DontCare"), word("ore-carrier")
        ('person', 'other vehicle', None, 'ore carrier')
        >>> word("people", "KAIST") is None  # there a group that nobody has counted
        True
    """
    return _word(label, source)


def groups(name: str) -> frozenset[str]:
    """Kinds of thing that a word belongs to.

    Words that share one can be taken for each other, or meet in one scene where the kind is one of `SCENES`.

    Example:
        >>> sorted(groups("truck") & groups("bus"))
        ['heavy', 'street']
    """
    return _by_word().get(name, (frozenset(), ""))[0]


def plural(name: str) -> str:
    """A word for several.

    Example:
        >>> [plural(name) for name in ("person", "car", "bus", "sheep", "lorry", "other vehicle")]
        ['people', 'cars', 'buses', 'sheep', 'lorries', 'other vehicles']
    """
    known = _by_word().get(name, (frozenset(), ""))[1]
    return known or regular_plural(name)


@lru_cache(maxsize=4096)
def _word(label: str, source: str) -> str | None:
    key = label.strip().casefold()
    table = _by_label()
    for found in ((source, key), ("", key)):
        if found in table:
            return table[found] or None
    return key.replace("_", " ").replace("-", " ") or None


@lru_cache(maxsize=1)
def _by_label() -> dict[tuple[str, str], str]:
    return {
        (row["source"], row["label"]): row["word"] for row in read_table("irtd_datasets.irtd", "words.csv")
    }


@lru_cache(maxsize=1)
def _by_word() -> dict[str, tuple[frozenset[str], str]]:
    found: dict[str, tuple[frozenset[str], str]] = {}
    for row in read_table("irtd_datasets.irtd", "words.csv"):
        if row["word"]:
            kinds, many = found.get(row["word"], (frozenset(), ""))
            found[row["word"]] = (kinds | frozenset(row["group"].split()), many or row["plural"])
    return found
