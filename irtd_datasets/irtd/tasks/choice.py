"""One of four options is right: the answer grammar of Recognition and Scene.

The gold option of Recognition is not always the class of the sequence folder: it is never derived from the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.generation import lettered, write_options
from irtd_datasets.irtd.tasks.parsing import TaskReading, options, split_options, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["format_answer", "parse_answer", "read"]


def read(question: str, answer: str) -> TaskReading:
    r"""Read a question with options and its one right option.

    Example:
        >>> parsed = read("What is the object in the picture?\n(A) person (B) duck", "(A) person")
        >>> parsed.question, parsed.choices, parsed.answer
        ('What is the object in the picture?', ('person', 'duck'), '(A) person')
    """
    stem, choices = split_options(question)
    gold = parse_answer(answer)
    if len(gold) != 1 or gold[0] not in lettered(choices):
        raise unexpected("answer", answer, f"one of {lettered(choices)}")
    return TaskReading(question=stem, answer=answer.strip(), choices=choices)


def parse_answer(text: str) -> list[tuple[str, str]]:
    """Options of an answer, each a letter and its word.

    Raises:
        RecordError: It names none, or is not written as the release writes it.

    Example:
        >>> parse_answer("(A) scooter (B) other vehicle")
        [('A', 'scooter'), ('B', 'other vehicle')]
    """
    found = options(text.strip())
    if not found or format_answer(found) != text.strip():
        raise unexpected("answer", text, "options as (A) .. (B) ..")
    return found


def format_answer(chosen: Sequence[tuple[str, str]]) -> str:
    """The inverse of `parse_answer`.

    Example:
        >>> format_answer([("A", "person")])
        '(A) person'
    """
    return write_options(chosen)
