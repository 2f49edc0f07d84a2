"""The journal of paid answers: one line each, on disk before anything is done with it.

A journal is a file of JSON lines that is only ever appended to. An answer is written and synchronised before it is
judged, so that a killed run loses none; a last line that was cut off in the middle is passed over and counted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.appended import LineFile, read_lines
from irtd_datasets.documents import parse_json

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["Answer", "Journal", "read_answers"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One paid answer.

    Attributes:
        key: What was asked: a hash over model, prompt, settings and image.
        id: Id of the row that it is for.
        model: Model that answered.
        text: The answer as it came.
        finish_reason: Why the model stopped, such as ``stop`` or ``length``.
        input_tokens: Tokens that were charged for the question; None when the endpoint does not say.
        output_tokens: Tokens that were charged for the answer.
        turn: 0 for the first question about an image, 1 for the correction that a fault asked for.
        sent: SHA-256 of the image that was sent; empty where none was, or nobody wrote it down.
    """

    key: str
    id: str
    model: str
    text: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    turn: int = 0
    sent: str = ""


def read_answers(path: str | os.PathLike[str]) -> Iterator[Answer]:
    """Read the answers of a journal in the order in which they came.

    A last line without its end, which a kill leaves, is passed over. No file is no answers.

    Raises:
        AnnotationError: A line in the middle is no answer; it names the line.
    """
    for line in read_lines(Path(path), _answer):
        yield _answer(line, str(path))


class Journal(LineFile):
    """A journal that is open for one run.

    Args:
        path: The file; made when there is none.
        read_only: Only look answers up: nothing is locked or made.

    Raises:
        BuildError: Another run has it open, or it cannot be written.
        AnnotationError: A line of it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        super().__init__(Path(path), _answer, read_only=read_only)
        try:
            self._answers = {(one.key, one.turn): one for one in read_answers(path)}
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str, turn: int = 0) -> Answer | None:
        """The answer to a question that was asked before; None when it was not."""
        return self._answers.get((key, turn))

    def add(self, answer: Answer) -> None:
        """Write an answer; it is on disk when this returns.

        Raises:
            BuildError: The disk is full or gone. The answer is part of the message, so that it is not lost.
        """
        self.append(json.dumps(asdict(answer), ensure_ascii=False), "an answer")
        self._answers[answer.key, answer.turn] = answer


def _answer(line: bytes, where: str) -> Answer:
    values = parse_json(line, where, "Take that line out; the other answers stay good.")
    key, row, model, text = (values[name].text() for name in ("key", "id", "model", "text"))
    reason = values.get("finish_reason")
    names = ("input_tokens", "output_tokens", "turn")
    numbers = {name: found.count() for name in names if (found := values.get(name)) is not None}
    return Answer(
        key,
        row,
        model,
        text,
        None if reason is None else reason.text(),
        numbers.get("input_tokens"),
        numbers.get("output_tokens"),
        numbers.get("turn", 0),
        "" if (sent := values.get("sent")) is None else sent.text(),
    )
