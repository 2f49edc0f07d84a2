"""Recognition and Scene: one of four options is right.

The gold option of Recognition is not always the class of the sequence folder: it is never derived from the path.
"""

from __future__ import annotations

from irtd_datasets.irtd.tasks.reading import TaskReading, options, split_options, unexpected

__all__ = ["read"]


def read(question: str, answer: str) -> TaskReading:
    r"""Read a question with options and its one right option.

    Example:
        >>> reading = read("What is the object in the picture?\n(A) person (B) duck", "(A) person")
        >>> reading.question, reading.choices, reading.answer
        ('What is the object in the picture?', ('person', 'duck'), '(A) person')
    """
    stem, choices = split_options(question)
    gold = options(answer)
    if len(gold) != 1 or gold[0] not in _lettered(choices):
        raise unexpected("answer", answer, f"one of {_lettered(choices)}")
    return TaskReading(question=stem, answer=answer.strip(), choices=choices)


def _lettered(choices: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(chr(ord("A") + i), choice) for i, choice in enumerate(choices)]
