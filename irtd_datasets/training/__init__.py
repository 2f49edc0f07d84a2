"""What training needs of a dataset folder beyond ``load_dataset``: streams, random access, forms of other programs.

`stream` and `table` read dataset folders on a disk, on the Hub or in a bucket; `merge_states` puts the states of
their ranks and workers together.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    "Batches": "irtd_datasets.training.batching",
    "batches": "irtd_datasets.training.batching",
    "Curriculum": "irtd_datasets.training.tiers",
    "Filters": "irtd_datasets.training.source",
    "Decoder": "irtd_datasets.training.decode",
    "ShuffledSampler": "irtd_datasets.training.tables",
    "Source": "irtd_datasets.training.source",
    "Stream": "irtd_datasets.training.streams",
    "Table": "irtd_datasets.training.tables",
    "merge_states": "irtd_datasets.training.progress",
    "open_source": "irtd_datasets.training.source",
    "stream": "irtd_datasets.training.streams",
    "table": "irtd_datasets.training.tables",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - public names are loaded when first used
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
