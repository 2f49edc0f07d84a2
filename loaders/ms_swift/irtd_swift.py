"""Registers the three datasets with ms-swift, so that it trains on a dataset folder or a Hub repository as it is.

::

    swift sft --external_plugins loaders/ms_swift/irtd_swift.py --dataset ./irtd:instruct ...
    swift sft --external_plugins loaders/ms_swift/irtd_swift.py --dataset hf::you/irtd:instruct-grounding ...

A folder or repository is recognised by its last name: ``irtd``, ``mmrs_1m`` or ``rs_gpt4v``. Places in the texts become
ms-swift's ``<ref-object>`` and ``<bbox>`` with boxes in pixels, which it writes in the frame and markup of the model
that it trains. For a model whose form it does not know, name the family in ``IRTD_MODEL`` (``llava``, ``paligemma``);
numbers are then written here. Rows that cannot be told truthfully are left out, as `irtd export` leaves them out.
"""

import os

from swift.dataset import DatasetMeta, RowPreprocessor, SubsetDataset, register_dataset

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.training.examples import LeftOut, has_objects, messages_row, prepare, swift_row
from irtd_datasets.training.export import ExportOptions

COLUMNS = ["id", "image", "messages", "box_frame", "width", "height"]


class IrtdPreprocessor(RowPreprocessor):
    """Brings rows of the common schema to ms-swift's form."""

    def __init__(self, **kwargs):
        super().__init__(columns={"image": "images"}, **kwargs)
        self.style = ExportOptions(os.environ.get("IRTD_MODEL", "qwen2.5-vl"), "ms-swift").style()

    def prepare_dataset(self, dataset):
        """Keep what is needed; the column ``objects`` of the schema is not that of ms-swift."""
        return dataset.select_columns([name for name in [*COLUMNS, "images"] if name in dataset.features])

    def preprocess(self, row):
        """One row, or None where it cannot be told truthfully."""
        if not row["images"]:
            return None
        try:
            example = prepare(row, self.style, "ms-swift")
        except LeftOut:
            return None
        made = swift_row(example) if has_objects(self.style, "ms-swift") else messages_row(example)
        # Without its released name, which a reader could take for a file of this machine.
        return {**made, "images": [{"bytes": row["images"]["bytes"], "path": None}]}


for name in DATASETS:
    configs = [
        SubsetDataset(subset=config.name, split=list(config.splits)[:1], is_weak_subset="-" in config.name)
        for config in spec(name).configs
    ]
    register_dataset(
        DatasetMeta(
            hf_dataset_id=f"irtd-datasets/{name}",
            subsets=configs,
            preprocess_func=IrtdPreprocessor(),
            tags=["multi-modal", "vision", "grounding"],
            help=spec(name).summary,
        ),
        exist_ok=True,
    )
