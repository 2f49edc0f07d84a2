"""What a dataset's module ``generation`` gives, so that `irtd construct` makes records in its style from source sets.

The module has ``TASKS``, ``DECIMALS`` (of its boxes), ``USES_TEST`` (whether images that a source keeps for testing are
used), ``make_rounds(task, image, size, categories, partial)``, which gives the rounds of each record that the labels of
an image make (``partial``: classes of which an object was left out), and ``place(source, task, image, rounds)``, which
says as a `GeneratedRecord` where one goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["GeneratedRecord", "Rounds"]

Rounds: TypeAlias = "list[tuple[str, str]]"
"""Questions, each with its answer."""


@dataclass(frozen=True, slots=True)
class GeneratedRecord:
    """Where a record goes.

    Attributes:
        file: Annotation file below the folder.
        image: Name of its image, and where that lies below the folder.
        id: Its id; empty for none.
        token: What stands before the first question.
        note: What a user must know to build it; empty mostly.
    """

    file: str
    image: str
    id: str = ""
    token: str = ""
    note: str = ""
