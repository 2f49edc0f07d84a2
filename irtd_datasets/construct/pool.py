"""Candidates for one task from one source: the best by a keyed hash are kept, and given out evenly over their strata.

Memory is bounded by the number of records wanted, whatever the size of the source; what is chosen depends on names and
seed alone, not on the order in which candidates come.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.irtd.tasks.generation import Made

__all__ = ["Candidate", "Pool"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that could be taken.

    Attributes:
        key: Order in which records of one stratum are taken: rank of the frame in its video, then a keyed hash of the
            image's name, then the question.
        task: Its task.
        source: Its source.
        image: Name of the image below the folder of the source; for a mosaic a name made for it.
        made: Question and answer.
        size: Width and height of the upright image as its labels say; None where they do not.
        split: Split of the source that it comes from, or ``part of an undivided set``.
        sequence: Video of the image.
        identity: Person that a mosaic asks about.
        exhaustive: Words of classes of which the source labels every object.
        visible: Name of the paired visible image below the folder of the source.
        caption_of: Which image a language model described: ``visible``, ``infrared``, or none.
        origin: Who wrote the text: ``rule`` or ``model:NAME``.
        labelled: The labels of the image, for images that have a partner or that a model is asked about.
        registration: How the partner comes to show what the image shows, as the column of that name.
        sent: SHA-256 of the image that a language model was sent.
    """

    key: tuple[int, bytes, str]
    task: str
    source: str
    image: str
    made: Made
    size: tuple[int, int] | None = None
    split: str = ""
    sequence: str | None = None
    identity: str | None = None
    exhaustive: tuple[str, ...] = ()
    visible: str | None = None
    caption_of: str = ""
    origin: str = "rule"
    labelled: LabelledImage | None = None
    registration: dict[str, Any] | None = None
    sent: str = ""


class _Worst:
    """A candidate in a heap whose first is the one to give up next."""

    __slots__ = ("candidate",)

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate

    def __lt__(self, other: _Worst) -> bool:
        return self.candidate.key > other.candidate.key


class Pool:
    """Candidates by stratum.

    Args:
        rows: Records wanted of all strata together.

    Attributes:
        offered: Candidates that came.
    """

    SPARE = 1.5
    """How many more than the rows wanted are kept of a stratum, since some images turn out not to be usable."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.offered = 0
        self._kept = int(rows * self.SPARE) + 20
        self._strata: dict[str, list[_Worst]] = {}

    def offer(self, candidate: Candidate) -> None:
        """Take a candidate, or leave it when enough better ones of its stratum are there."""
        self.offered += 1
        heap = self._strata.setdefault(candidate.made.stratum, [])
        if len(heap) < self._kept:
            heapq.heappush(heap, _Worst(candidate))
        elif candidate.key < heap[0].candidate.key:
            heapq.heapreplace(heap, _Worst(candidate))

    def ordered(self) -> Iterator[Candidate]:
        """Candidates with the strata in turn, until all are given out."""
        lines = [
            iter(sorted((entry.candidate for entry in self._strata[name]), key=lambda one: one.key))
            for name in sorted(self._strata)
        ]
        while lines:
            left = []
            for line in lines:
                candidate = next(line, None)
                if candidate is not None:
                    left.append(line)
                    yield candidate
            lines = left
