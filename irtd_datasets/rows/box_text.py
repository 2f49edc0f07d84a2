"""What the texts of a record say about places: from boxes in texts to regions and issue codes."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from irtd_datasets.boxes import parse_boxes
from irtd_datasets.rows.pending import Regions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from irtd_datasets.boxes import Frame
    from irtd_datasets.boxes.text import BoxSpan, ParsedText

__all__ = ["ISSUES", "find_boxes", "regions_of"]

ISSUES = {
    "malformed-number": "box-malformed",
    "wrong-number-count": "box-malformed",
    "nan": "box-malformed",
    "own-frame": "box-malformed",
    "unclosed-bracket": "box-malformed",
    "zero-area": "box-degenerate",
    "exchanged-corners": "box-degenerate",
    "count-mismatch": "box-count-mismatch",
    "label-without-box": "box-label-without-box",
}
"""Problems of `irtd_datasets.boxes.text` to issue codes."""


def find_boxes(text: str, issues: list[str]) -> ParsedText:
    """Parse the boxes of a text; the issue codes of what is wrong with them are added to ``issues``, each once.

    Example:
        >>> issues = []
        >>> len(find_boxes("[0.5,0.2,0.5,0.3] and [0.1,0.2,0.3,0.4,0.5]", issues).spans), issues
        (2, ['box-degenerate', 'box-malformed'])
    """
    parsed = parse_boxes(text)
    issues += dict.fromkeys(
        code for problem in parsed.problems if (code := ISSUES[problem.code]) not in issues
    )
    return parsed


def regions_of(
    spans: Iterable[BoxSpan], frame: Frame, decimals: int, *, only_square: bool = False
) -> tuple[Regions, ...]:
    """The readable boxes in their order, neighbours of one kind together.

    Args:
        spans: Boxes of the texts.
        frame: Frame of their numbers.
        decimals: Digits after the point that the numbers are written with.
        only_square: Whether the frame holds on square images only.
    """
    readable = (span for span in spans if span.is_readable)
    return tuple(
        Regions(
            kind,
            tuple(span.label for span in group),
            tuple(span.numbers for span in group),
            frame,
            decimals=decimals,
            only_square=only_square,
        )
        for kind, same in groupby(readable, key=lambda span: span.kind)
        for group in [list(same)]
    )
