"""IR-TD, MMRS-1M and RS-GPT4V as first-class Hugging Face datasets.

Importing this package makes ``datasets.load_dataset("irtd", ...)`` work on a release as its authors hand it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.catalog import register
from irtd_datasets.lazy import lazy_names
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from irtd_datasets.boxes import Boxes, Frame, pad_and_normalize, rewrite_boxes, undo_pad_and_normalize
    from irtd_datasets.builder import (
        Irtd,
        IrtdBenchmark,
        IrtdInstruct,
        IrtdPretrain,
        Mmrs1M,
        Mmrs1MCaptioning,
        Mmrs1MClassification,
        Mmrs1MDetection,
        Mmrs1MGrounding,
        Mmrs1MRegionCaptioning,
        Mmrs1MVqa,
        RsGpt4v,
    )
    from irtd_datasets.catalog import load_dataset
    from irtd_datasets.hub.overlap import not_in

__all__ = [
    "Boxes",
    "Frame",
    "Irtd",
    "IrtdBenchmark",
    "IrtdInstruct",
    "IrtdPretrain",
    "Mmrs1M",
    "Mmrs1MCaptioning",
    "Mmrs1MClassification",
    "Mmrs1MDetection",
    "Mmrs1MGrounding",
    "Mmrs1MRegionCaptioning",
    "Mmrs1MVqa",
    "RsGpt4v",
    "__version__",
    "load_dataset",
    "not_in",
    "pad_and_normalize",
    "rewrite_boxes",
    "undo_pad_and_normalize",
]

_HOMES = {
    "Boxes": "irtd_datasets.boxes",
    "Frame": "irtd_datasets.boxes",
    "Irtd": "irtd_datasets.builder",
    "IrtdBenchmark": "irtd_datasets.builder",
    "IrtdInstruct": "irtd_datasets.builder",
    "IrtdPretrain": "irtd_datasets.builder",
    "Mmrs1M": "irtd_datasets.builder",
    "Mmrs1MCaptioning": "irtd_datasets.builder",
    "Mmrs1MClassification": "irtd_datasets.builder",
    "Mmrs1MDetection": "irtd_datasets.builder",
    "Mmrs1MGrounding": "irtd_datasets.builder",
    "Mmrs1MRegionCaptioning": "irtd_datasets.builder",
    "Mmrs1MVqa": "irtd_datasets.builder",
    "RsGpt4v": "irtd_datasets.builder",
    "load_dataset": "irtd_datasets.catalog",
    "not_in": "irtd_datasets.hub.overlap",
    "pad_and_normalize": "irtd_datasets.boxes",
    "rewrite_boxes": "irtd_datasets.boxes",
    "undo_pad_and_normalize": "irtd_datasets.boxes",
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)


register()
