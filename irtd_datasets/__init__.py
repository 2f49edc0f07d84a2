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
    "irtd_datasets.boxes": ["Boxes", "Frame", "pad_and_normalize", "rewrite_boxes", "undo_pad_and_normalize"],
    "irtd_datasets.builder": [
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
    ],
    "irtd_datasets.catalog": ["load_dataset"],
    "irtd_datasets.hub.overlap": ["not_in"],
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)


register()
