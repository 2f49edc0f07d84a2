"""The scored rows of a dataset folder: question and gold answer, without images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert
from irtd_datasets.errors import AnnotationError, UnknownNameError
from irtd_datasets.folder.row_groups import config_files, config_names, read_groups
from irtd_datasets.irtd.tasks.parsing import options
from irtd_datasets.schema import BOX_FRAMES, TASKS

if TYPE_CHECKING:
    import os

__all__ = ["SCORED_TASKS", "Question", "read_questions"]

SCORED_TASKS = (
    "scene",
    "recognition",
    "grounding",
    "relationship",
    "reid",
    "security",
    "location",
    "aerial_counting",
    "pedestrian_counting",
)
"""The nine tasks, in the order of the paper's Table 2: six of which more is better, three of which less is."""

_COLUMNS = (
    "id",
    "task",
    "choices",
    "answer",
    "objects",
    "box_frame",
    "width",
    "height",
    "messages",
    "image.path",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A scored row.

    Attributes:
        id: Of the row.
        task: One of `SCORED_TASKS`.
        choices: Options in letter order; empty for other tasks.
        gold: The right answer: a set of positions (scene, recognition, security), a truth value (relationship), a whole
            number (Re-ID, counts), boxes in pixels of the image (grounding), points in 0 to 1000 (location).
        text: The gold answer as released, with its markup.
        frame: Frame of the numbers in the released text; pixels where it has none.
        width: Of the image, in pixels.
        height: Likewise.
        image: What the row's image is called; rows of one image are drawn together.
    """

    id: str
    task: str
    choices: tuple[str, ...]
    gold: Any
    text: str
    frame: Frame
    width: int
    height: int
    image: str


def read_questions(folder: str | os.PathLike[str], config: str | None = None) -> list[Question]:
    """Read the scored rows of a config, from their text columns only.

    Args:
        folder: A dataset folder of IR-TD.
        config: Name of the config; None takes ``benchmark`` where the folder has it, else the default one.

    Raises:
        ReleaseNotFoundError: This is no dataset folder.
        UnknownNameError: There is no such config.
        AnnotationError: A row's gold answer cannot be read, or no row is scored.
    """
    if config is None and "benchmark" in config_names(folder):
        config = "benchmark"
    found: list[Question] = []
    for files in config_files(folder, config).values():
        for reference, table in read_groups(files, _COLUMNS):
            for row in table.to_pylist():
                task = TASKS[row["task"]]
                if task in SCORED_TASKS and row["answer"] is not None:
                    try:
                        found.append(_question(row, task))
                    except (ValueError, KeyError, IndexError, TypeError) as error:
                        raise AnnotationError(
                            f"the gold answer {row['answer']!r:.100} of {task} cannot be read: {error}",
                            where=f"{reference.file}, row {row['id']}",
                            remedy="Build the dataset folder again with this version.",
                        ) from error
    if not found:
        raise UnknownNameError(
            f"no row of config {config!r} is scored",
            where=str(folder),
            remedy=f"Take one of its other configs: {', '.join(config_names(folder))}.",
        )
    return found


def _question(row: dict[str, Any], task: str) -> Question:
    width, height = row["width"], row["height"]
    frame = Frame.PIXEL
    if row["box_frame"] is not None and BOX_FRAMES[row["box_frame"]] != "unknown":
        frame = Frame(BOX_FRAMES[row["box_frame"]])
    choices = tuple(row["choices"] or ())
    gold = _gold(row, task, choices, frame)
    texts = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
    path = (row["image"] or {}).get("path") or row["id"]
    return Question(
        row["id"], task, choices, gold, texts[-1] if texts else row["answer"], frame, width, height, path
    )


def _gold(row: dict[str, Any], task: str, choices: tuple[str, ...], frame: Frame) -> Any:  # noqa: ANN401 - by task
    answer = row["answer"]
    if task in {"scene", "recognition", "security"}:
        letters = [letter for letter, _ in options(answer)]
        if not letters:
            raise ValueError("it names no option")
        positions = frozenset(ord(letter) - ord("A") for letter in letters)
        if max(positions) >= len(choices):
            raise ValueError(f"there are {len(choices)} options")
        return positions
    if task == "relationship":
        return {"yes": True, "no": False}[answer]
    if task == "grounding":
        return np.array(row["objects"]["box"], dtype=np.float64).reshape(-1, 4)
    if task == "location":
        points = np.array(json.loads(answer), dtype=np.float64).reshape(-1, 2)
        if frame is Frame.PIXEL:
            points = np.array(row["objects"]["point"], dtype=np.float64).reshape(-1, 2)
        return convert(points, frame, Frame.PER_MILLE, row["width"], row["height"])
    return int(answer)
