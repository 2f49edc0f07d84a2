"""Trains with LLaMA-Factory on a dataset folder or a Hub repository as it is.

::

    python loaders/llama_factory/train.py my_training.yaml
    torchrun --nproc-per-node 8 loaders/llama_factory/train.py my_training.yaml

with ``dataset_dir: loaders/llama_factory`` and ``dataset: irtd_instruct`` in ``my_training.yaml``. The entries of
``dataset_info.json`` name ``./irtd`` and its siblings; put a repository such as ``you/irtd`` in their place.

LLaMA-Factory asks for an image token in the text, which the rows do not have, and takes the numbers of boxes as they
are. So this file registers the formatting ``irtd``, which writes the token, and the boxes in the frame and markup of
the model family that ``IRTD_MODEL`` names (``qwen2.5-vl`` unless set). LLaMA-Factory shrinks images to
``image_max_pixels`` before the model's own resize: give the same number in ``IRTD_MAX_PIXELS`` (768 x 768 unless set,
as there).

Rows that cannot be told truthfully come out empty, and LLaMA-Factory drops them with a warning. For
``llamafactory-cli`` and its web board, which know no formatting but theirs, `irtd export --layout llama-factory` writes
the same as files.
"""

import os
import sys

from llamafactory.data.converter import (
    DATASET_CONVERTERS,
    SharegptDatasetConverter,
    register_dataset_converter,
)

from irtd_datasets.training.examples import LeftOut, messages_row, prepare
from irtd_datasets.training.export import ExportOptions


class IrtdConverter(SharegptDatasetConverter):
    """Rows of the common schema, with the image token and with boxes as the model expects them."""

    def __init__(self, dataset_attr, data_args):
        super().__init__(dataset_attr, data_args)
        self.style = ExportOptions(
            os.environ.get("IRTD_MODEL", "qwen2.5-vl"),
            "llama-factory",
            max_pixels=int(os.environ.get("IRTD_MAX_PIXELS", str(768 * 768))),
        ).style()

    def __call__(self, example):
        """One row in LLaMA-Factory's form."""
        if not example["image"]:
            return super().__call__({**example, "messages": []})
        try:
            made = messages_row(prepare(example, self.style, "llama-factory"))["messages"]
        except LeftOut:
            made = []
        return super().__call__({**example, "messages": made})


if "irtd" not in DATASET_CONVERTERS:
    register_dataset_converter("irtd", IrtdConverter)

if __name__ == "__main__":
    from llamafactory.train.tuner import run_exp

    sys.exit(run_exp())
