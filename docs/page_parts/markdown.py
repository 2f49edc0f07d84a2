"""Markdown that all parts share: tables, counts, first sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent


def blocks(*parts: Callable[..., str]) -> dict[str, Callable[..., str]]:
    """Parts by the name that a page asks for them with."""
    return {part.__name__: part for part in parts}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A Markdown table.

    Example:
        >>> print(table(["a", "b"], [["1", "x|y"]]))
        | a | b |
        |---|---|
        | 1 | x\|y |
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def count(value: int | None) -> str:
    """A count as people read it."""
    return "none known" if value is None else f"{value:,}"


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph of a text."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    found = re.match(r"(.+?[.!?])(?: |$)", paragraph)
    return (found[1] if found else paragraph).replace("``", "`")
