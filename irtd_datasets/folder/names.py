"""Names of the files and folders of a dataset folder; each stands here alone."""

from __future__ import annotations

import re

__all__ = [
    "CARD",
    "CARD_IMAGES",
    "CROISSANT",
    "DOCUMENTS",
    "FINISHED",
    "INDEX_FOLDER",
    "LEDGER",
    "MANIFEST",
    "STAGING",
    "STATE",
    "index_name",
    "is_shard_name",
    "part_of",
    "shard_name",
]

CARD = "README.md"
CROISSANT = "croissant.json"
LEDGER = "ledger.json"
MANIFEST = "manifest.json"
"""A folder with this file and a card is a dataset folder made by a build."""

CARD_IMAGES = {
    "rows": "card/rows.jpg",
    "tasks": "card/rows-by-task.png",
    "boxes": "card/box-sizes.png",
}
"""Images that the card shows, by what they show; a folder has those for which there is something to show."""

DOCUMENTS = (CARD, CROISSANT, LEDGER)
"""Files at the top that the manifest lists."""

INDEX_FOLDER = "index"
"""Folder of the index files; no config of a card names it."""

STAGING = ".build"
"""Folder where unfinished work waits."""

STATE = ".built.json"
"""Identities of the inputs of each shard. They hold times of the release's files, so that two builds of copies of one
release would differ in them: they are kept out of the manifest, and this file is not published."""

FINISHED = "Name a folder that `irtd build` has finished."
"""What to do where a folder lacks what a build writes last."""


_SHARD = re.compile(r"/\w+-\d{5,}-of-\d{5,}\.parquet\Z")


def shard_name(split: str, index: int, count: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name("train", 0, 2)
        'train-00000-of-00002.parquet'
    """
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def is_shard_name(name: str) -> bool:
    """Whether a file is called as a build calls a shard.

    Args:
        name: Relative to the dataset folder, with slashes.

    Example:
        >>> is_shard_name("instruct/reid/train-00000-of-00001.parquet"), is_shard_name("index/instruct.reid.parquet")
        (True, False)
    """
    return _SHARD.search(name) is not None


def index_name(shard: str) -> str:
    """Name of the index of the part that a shard belongs to.

    Args:
        shard: The shard's name relative to the dataset folder, with slashes.

    Example:
        >>> index_name("instruct/grounding/train-00000-of-00002.parquet")
        'index/instruct.grounding.parquet'
    """
    part = shard.rpartition("/")[0].replace("/", ".") or "data"
    return f"{INDEX_FOLDER}/{part}.parquet"


def part_of(name: str) -> tuple[str, str]:
    """Subset and part that a shard's folder names.

    Example:
        >>> part_of("instruct/reid/train-00000-of-00001.parquet")
        ('instruct', 'reid')
    """
    folders = name.split("/")[:-1]
    return (folders[0], folders[1]) if len(folders) == 2 else ("", "/".join(folders))
