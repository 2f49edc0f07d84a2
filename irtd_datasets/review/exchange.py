"""Verdicts from and to Label Studio, between its files and the file of verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import AnnotationError
from irtd_datasets.review.edits import why_not_editable
from irtd_datasets.review.label_studio import read_tasks, write_tasks
from irtd_datasets.review.rows import Choice, ReviewRows
from irtd_datasets.review.verdicts import VerdictFile, latest, read_verdicts, text_digest

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.review.label_studio import Exported

__all__ = ["Added", "add_export", "read_export", "write_export"]


@dataclass(frozen=True, slots=True)
class Added:
    """What came of an export.

    Attributes:
        added: Verdicts that were appended.
        known: Verdicts that the file had already.
        refused: Annotations that are no verdict, by reason.
    """

    added: int
    known: int
    refused: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def read_export(path: Path) -> Exported:
    """The verdicts of an export of Label Studio; see `irtd_datasets.review.label_studio.read_tasks`.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: It is none, or damaged.
    """
    found = read_tasks(path)
    if found is None:
        raise AnnotationError(
            "it is no list of tasks", where=str(path), remedy="Export the project from Label Studio as JSON."
        )
    return found


def add_export(path: Path, verdicts: Path, folder: Path, config: str | None) -> Added:
    """Append the verdicts of an export to a file of verdicts; those that it has are not appended again.

    Args:
        path: The export.
        verdicts: The file of verdicts.
        folder: The dataset folder that was reviewed: an edit that cannot be taken is no verdict.
        config: Its config; None takes the default one.

    Raises:
        ReleaseNotFoundError: There is no such export, or folder.
        AnnotationError: It is none, or damaged.
        BuildError: The file of verdicts cannot be written.
    """
    found = read_export(path)
    _refuse_edits(found, folder, config)
    with VerdictFile(verdicts) as file:
        have = {(one.id, one.text, one.reviewer, one.outcome) for one in file.fresh()}
        new = [one for one in found.verdicts if (one.id, one.text, one.reviewer, one.outcome) not in have]
        for one in new:
            file.add(one)
    return Added(len(new), len(found.verdicts) - len(new), found.refused)


def _refuse_edits(found: Exported, folder: Path, config: str | None) -> None:
    """Take out the edits that do not fit their rows; those of rows that are not here are left to `--apply`."""
    if not any(one.verdict == "edit" for one in found.verdicts):
        return
    rows = ReviewRows(folder, config, Choice(), "")
    places = {one: position for position, one in enumerate(rows.ids)}
    kept = []
    for one in found.verdicts:
        row = rows.text(places[one.id]) if one.verdict == "edit" and one.id in places else None
        problem = ""
        if row is not None and text_digest(row["messages"]) == one.text:
            problem = why_not_editable(row, one.messages)
        if problem:
            found.refuse(f"the edit cannot be taken: {problem}")
        else:
            kept.append(one)
    found.verdicts[:] = kept


def write_export(folder: Path, config: str | None, choice: Choice, verdicts: Path, path: Path) -> int:
    """Write the chosen rows of a config with their verdicts as tasks; see `write_tasks`.

    Returns:
        How many tasks were written.
    """
    reviewer = choice.among[0] if choice.among else ""
    return write_tasks(ReviewRows(folder, config, choice, reviewer), latest(read_verdicts(verdicts)), path)
