"""Captioning (pretrain): one description per image; nothing is scored.

Rule captions (about 106K, paper section 3.2, for images whose visible partner does not help) were never released. Two
are printed in Fig. 7: ``The image contains 1 truck.`` and ``The image contains 7 cars and 15 people.``

Chosen here: every labelled class is named, in the order of the choice ``caption_order``, with commas between more than
two; a class of which the source does not label every object is not counted, and no image with an unclear region.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.generation import Made
from irtd_datasets.irtd.tasks.parsing import TaskReading
from irtd_datasets.irtd.words import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irtd_datasets.irtd.tasks.generation import Labels, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["PROMPT", "format_caption", "make", "read"]

PROMPT = "Describe this picture in detail."
"""The user's turn: the release has none, this is the prompt of the paper's Fig. 2."""


def read(question: str, answer: str) -> TaskReading:  # noqa: ARG001 - the signature of every task's parser
    """A caption has no scored part."""
    return TaskReading(question=None, answer=None)


def format_caption(counts: Mapping[str, int]) -> str:
    """The rule caption of an image with so many objects of each word, in the order given.

    Example:
        >>> format_caption({"truck": 1})
        'The image contains 1 truck.'
        >>> format_caption({"car": 7, "person": 15})
        'The image contains 7 cars and 15 people.'
    """
    parts = [f"{count} {name if count == 1 else plural(name)}" for name, count in counts.items()]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"The image contains {listed}."


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:  # noqa: ARG001 - the signature of every task
    """The rule caption of an image all of whose labelled classes can be counted."""
    names = sorted(labels.words)
    if not names or not set(names) <= labels.countable(rules):
        return []
    counts = {name: len(labels.of(name)) for name in names}
    if rules.caption_order == "most-first":
        counts = dict(sorted(counts.items(), key=lambda item: -item[1]))
    return [Made(PROMPT, format_caption(counts), "")]
