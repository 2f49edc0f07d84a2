"""A stream as an ``IterableDataset`` of `datasets`, for what takes nothing else (the trainers of TRL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import IterableDataset
from datasets.iterable_dataset import ExamplesIterable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from irtd_datasets.training.streams import Stream

__all__ = ["StreamedDataset"]


class StreamedDataset(IterableDataset):  # type: ignore[misc]
    """The rows of a stream, divided, stopped and taken up by the stream itself.

    What `datasets` derives from it (``map``, ``filter``, ``take``) is an ``IterableDataset`` of its own with one data
    source: a single worker reads it, `datasets` divides it among the ranks by ``split_dataset_by_node`` alone, and its
    states are those of `datasets`.

    Args:
        rows: The stream; its epoch and place are shared.
    """

    def __init__(self, rows: Stream) -> None:
        super().__init__(ExamplesIterable(_examples, {"rows": rows}))
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through this lane's share of the epoch; see `Stream`."""
        return iter(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.rows.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The place of the stream; see `Stream.state_dict`."""
        return self.rows.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a place of the stream; see `Stream.load_state_dict`."""
        self.rows.load_state_dict(state_dict)


def _examples(rows: Stream) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(rows):
        yield str(number), row
