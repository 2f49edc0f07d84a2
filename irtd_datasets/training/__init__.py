"""What training needs of a dataset folder beyond ``load_dataset``: streams, tables, exports. It writes no folder.

`stream` and `table` read dataset folders on a disk, on the Hub or in a bucket; `merge_states` puts the states of
their ranks and workers together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.lazy import lazy_names

if TYPE_CHECKING:
    from irtd_datasets.training.batching import Batches, batches
    from irtd_datasets.training.decode import Decoder
    from irtd_datasets.training.progress import merge_states
    from irtd_datasets.training.source import Filters, Source, open_source
    from irtd_datasets.training.streams import Stream, stream
    from irtd_datasets.training.tables import ShuffledSampler, Table, table
    from irtd_datasets.training.tiers import Curriculum

__all__ = [
    "Batches",
    "Curriculum",
    "Decoder",
    "Filters",
    "ShuffledSampler",
    "Source",
    "Stream",
    "Table",
    "batches",
    "merge_states",
    "open_source",
    "stream",
    "table",
]

_HOMES = {
    "irtd_datasets.training.batching": ["Batches", "batches"],
    "irtd_datasets.training.tiers": ["Curriculum"],
    "irtd_datasets.training.source": ["Filters", "Source", "open_source"],
    "irtd_datasets.training.decode": ["Decoder"],
    "irtd_datasets.training.tables": ["ShuffledSampler", "Table", "table"],
    "irtd_datasets.training.streams": ["Stream", "stream"],
    "irtd_datasets.training.progress": ["merge_states"],
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
