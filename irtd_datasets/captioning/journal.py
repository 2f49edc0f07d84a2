"""The journal of paid answers: one line each, on disk before anything is done with it.

A journal is a file of JSON lines that is only ever appended to. An answer is written and synchronised before it is
judged, so that a killed run loses none; a last line that was cut off in the middle is passed over and counted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from irtd_datasets.documents import LIMIT, parse_json
from irtd_datasets.errors import AnnotationError, BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

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
    path = Path(path)
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(iter(partial(file.readline, LIMIT + 1), b""), 1):
            if not line.strip():
                continue
            try:
                answer = _answer(line, f"{path} line {number}")
            except AnnotationError:
                if not line.endswith(b"\n") and len(line) <= LIMIT:
                    return
                raise
            yield answer


class Journal:
    """A journal that is open for one run.

    Args:
        path: The file; made when there is none.
        read_only: Only look answers up: nothing is locked or made.

    Raises:
        BuildError: Another run has it open, or it cannot be written.
        AnnotationError: A line of it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._guard = Lock()
        self._file: BinaryIO | None = None
        if read_only:
            self._answers = {(one.key, one.turn): one for one in read_answers(path)}
            return
        self._lock = FileLock(f"{self.path}.lock", timeout=0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise BuildError(
                "another run is writing to the journal",
                where=str(path),
                remedy="Wait for it, or name another.",
            ) from None
        except OSError as error:
            raise BuildError(f"cannot write: {error.strerror or error}", where=str(path)) from error
        try:
            self._answers = {(one.key, one.turn): one for one in read_answers(path)}
            self._file = self.path.open("ab")
            self._end_cut_line(self._file)
        except OSError as error:
            self._lock.release()
            raise BuildError(f"cannot write: {error.strerror or error}", where=str(path)) from error
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._lock.release()

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
        if self._file is None:
            raise BuildError("the journal is open for looking up only", where=str(self.path))
        line = json.dumps(asdict(answer), ensure_ascii=False) + "\n"
        with self._guard:
            try:
                self._file.write(line.encode())
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise BuildError(
                    f"cannot write an answer: {error.strerror or error}. It was: {line.strip()}",
                    where=str(self.path),
                    remedy="Make room, append that line to the file, and run the same command again.",
                ) from error
            self._answers[answer.key, answer.turn] = answer

    def _end_cut_line(self, file: BinaryIO) -> None:
        """A cut line is either a whole answer without its end, which is kept, or a piece of one, which goes."""
        with self.path.open("rb") as whole:
            whole.seek(max(0, self.path.stat().st_size - LIMIT))
            content = whole.read()
        if not content or content.endswith(b"\n"):
            return
        last = content[content.rfind(b"\n") + 1 :]
        try:
            _answer(last, str(self.path))
        except AnnotationError:
            os.truncate(self.path, self.path.stat().st_size - len(last))
        else:
            file.write(b"\n")
            file.flush()


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
