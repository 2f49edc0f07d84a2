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
    from irtd_datasets.hub.show import show

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
    "show",
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
    "irtd_datasets.hub.show": ["show"],
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)


def _show_rows_in_notebooks() -> None:
    """Let a notebook show any dictionary that is a row as `show` does; other dictionaries stay as they are."""
    import sys

    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    if shell is None or not hasattr(shell, "display_formatter"):
        return

    def html_of(value: object) -> str | None:
        from irtd_datasets.hub.show import html_of_row

        return html_of_row(value)

    shell.display_formatter.formatters["text/html"].for_type(dict, html_of)


register()
_show_rows_in_notebooks()
