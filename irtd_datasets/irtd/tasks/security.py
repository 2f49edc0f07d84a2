"""Security: which of four options do not appear in the picture; several can be right."""

from __future__ import annotations

from irtd_datasets.irtd.tasks.reading import TaskReading, options, split_options, unexpected

__all__ = ["LABELLED", "read"]

LABELLED = frozenset({"car", "person", "bike"})
"""Classes that the source set labels exhaustively; only these are ever present in the release."""


def read(question: str, answer: str) -> TaskReading:
    r"""Read a question with options and the absent ones.

    A class that the source does not label is absent from the labels, not proven absent from the picture: such rows
    carry ``absence-unverified``.

    Example:
        >>> reading = read("What object does not appear in the picture?\n(A) car (B) train", "(B) train")
        >>> reading.answer, reading.issues
        ('(B) train', ('absence-unverified',))
    """
    stem, choices = split_options(question)
    absent = options(answer)
    lettered = [(chr(ord("A") + i), choice) for i, choice in enumerate(choices)]
    if not absent or not set(absent) <= set(lettered):
        raise unexpected("answer", answer, f"some of {lettered}")
    unverified = any(word not in LABELLED for _, word in absent)
    return TaskReading(
        question=stem,
        answer=answer.strip(),
        choices=choices,
        issues=("absence-unverified",) if unverified else (),
    )
