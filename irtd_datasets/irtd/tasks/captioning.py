"""Captioning (pretrain): one description per picture; nothing is scored."""

from __future__ import annotations

from irtd_datasets.irtd.tasks.reading import TaskReading

__all__ = ["PROMPT", "read"]

PROMPT = "Describe this picture in detail."
"""The user's turn: the release has none, this is the prompt of the paper's Fig. 2."""


def read(question: str, answer: str) -> TaskReading:  # noqa: ARG001 - the signature of every task's parser
    """A caption has no scored part."""
    return TaskReading(question=None, answer=None)
