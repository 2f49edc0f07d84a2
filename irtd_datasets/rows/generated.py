"""What a dataset's module ``generation`` gives, so that `irtd construct` makes records in its style from source sets.

The module has ``TASKS``, ``DECIMALS`` (of its boxes), ``USES_TEST`` (whether images that a source keeps for testing are
used), ``make_rounds(task, image, size, categories, partial)``, which gives the rounds of each record that the labels of
an image make (``partial``: classes of which an object was left out), and ``place(source, task, image, rounds)``, which
says as a `GeneratedRecord` where one goes. One whose records a language model can write (``--describe``) has
``DESCRIBED`` (tasks), ``rounds_described(task, rounds, regions, size)`` and ``place_described(source, task, image)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, ReleaseError

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.releases.places import Place

__all__ = ["MARKER", "PARTNERS", "VISIBLE", "ConstructedFile", "GeneratedRecord", "Rounds", "read_marker"]

MARKER = ".constructed"
"""Name of the file by which a folder of constructed records tells what was made for which dataset."""

VISIBLE = ".constructed-visible"
"""Folder with the visible partners of constructed records; hidden, so that nobody looks for images there."""

PARTNERS = ".constructed-partners"
"""File that has, by the name of an image, that of its partner below `VISIBLE`, and what is declared of the pair."""

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
    """

    file: str
    image: str
    id: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class ConstructedFile:
    """An annotation file of constructed records.

    Attributes:
        file: Its name below the folder.
        source: The source set.
        task: The task.
        modality: Of the source's images.
        split: ``test`` where the images are those that the source keeps for testing, else ``train``.
        origin: Who wrote its texts: ``rule``, or ``model:NAME``.
    """

    file: str
    source: str
    task: str
    modality: str
    split: str
    origin: str = "rule"


def read_marker(folder: Place, dataset: str) -> tuple[ConstructedFile, ...] | None:
    """The files of records that a folder says were constructed for a dataset.

    Returns:
        The files, none where nothing says that anything was constructed; None where the marker is there and does not
        say it of this dataset: it is another's, or the construction was not finished.

    Raises:
        ReleaseError: The marker is no JSON, or damaged.
    """
    path = folder / MARKER
    if not path.is_file():
        return ()
    try:
        values = read_json(cast("Path", path), "")
        if "dataset" not in values.value or values["dataset"].text() != dataset:
            return None
        split = "test" if values["split"].text() == "test" else "train"
        return tuple(
            ConstructedFile(
                part["file"].text(),
                part["source"].text(),
                part["task"].text(),
                part["modality"].text(),
                split,
                "rule" if (origin := part.get("origin")) is None else origin.text(),
            )
            for part in values["parts"]
        )
    except (AnnotationError, TypeError) as error:
        raise ReleaseError(
            f"it does not tell what was constructed: {getattr(error, 'problem', error)}",
            where=str(path),
            remedy="Construct the records again.",
        ) from error
