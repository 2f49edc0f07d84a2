"""Curricula as an order for `stream`: tiers from easy to hard, which all ranks and workers go through together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from irtd_datasets.errors import ArrayError
from irtd_datasets.training.curriculum import assign_tiers
from irtd_datasets.training.scores import join_scores, read_scores

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from irtd_datasets.training.source import Source

__all__ = ["Curriculum"]


@dataclass(frozen=True)
class Curriculum:
    """Rows in tiers of equal size by a score, as in section 4.2 of the IRGPT paper (arXiv 2507.14449).

    Tiers are made of the rows that a stream has after its filters, over all of its sources. Inside a tier the order is
    that of any stream: by chance, another in each epoch.

    Attributes:
        scores: A side table (see `scores`), or numbers by id; larger where harder.
        tiers: How many tiers. The paper does not say.
        column: Which score of the side table; None takes its only one.
        order: ``ascending-stratified`` from easy to hard, the best of the paper's Table 4, or
            ``descending-stratified``.
    """

    scores: str | os.PathLike[str] | Mapping[str, float]
    tiers: int
    column: str | None = None
    order: Literal["ascending-stratified", "descending-stratified"] = "ascending-stratified"

    def divide(self, sources: Sequence[Source]) -> list[list[Source]]:
        """The rows of some sources by tier, in the order of training; tiers that would be empty are left out.

        Raises:
            ReleaseNotFoundError: There is no such side table.
            ArrayError: Rows have no score or none that is a number, an id is twice in the table, or an unknown order.
            UnknownNameError: The rows have no ids.
        """
        if self.order not in {"ascending-stratified", "descending-stratified"}:
            raise ArrayError(
                f"a stream has no order {self.order!r}",
                remedy="It has 'ascending-stratified' and 'descending-stratified'; `Table.sampler` takes any order.",
            )
        columns = [source.column("id") for source in sources]
        ids = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
        tier = assign_tiers(self._difficulty(ids), self.tiers)
        ends = np.cumsum([len(source) for source in sources])
        numbers = range(self.tiers) if self.order.startswith("ascending") else range(self.tiers - 1, -1, -1)
        return [
            [
                source.only(mine)
                for source, mine in zip(sources, np.split(tier == number, ends[:-1]), strict=True)
            ]
            for number in numbers
            if (tier == number).any()
        ]

    def _difficulty(self, ids: pa.ChunkedArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        if isinstance(self.scores, Mapping):
            return join_scores(self.scores, ids)
        scores = read_scores(self.scores, ids, None if self.column is None else [self.column])
        if len(scores) != 1:
            raise ArrayError(
                f"the side table has the scores {', '.join(scores) or 'none'}",
                where=str(self.scores),
                remedy="Say which as `column`.",
            )
        return next(iter(scores.values()))
