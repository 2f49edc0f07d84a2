"""One line for each scored answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    import os

    from irtd_datasets.evaluate.scoring import Scores

__all__ = ["write_details"]


def write_details(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Write id, task, value, what was read, and the problem of each answer, as JSON lines.

    Raises:
        BuildError: The file cannot be written.
    """
    file = Path(path)
    try:
        with file.open("w", encoding="utf-8", newline="\n") as out:
            for row in scores.details:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise BuildError(f"it cannot be written: {error.strerror or error}", where=str(file)) from error
