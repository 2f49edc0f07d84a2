"""The check of a dataset folder before it is published: offline, each rule with file, row and remedy.

What it holds against the folder are the rules of `datasets`, of the Hub and of its dataset viewer that a folder can
break, the manifest and the ledger of the build, and what nobody wants to publish unseen.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from irtd_datasets.catalog import spec
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.names import part_of
from irtd_datasets.hub.check_card import check_card, check_text
from irtd_datasets.hub.check_files import (
    check_files,
    check_foreign,
    check_index,
    check_ledger,
    check_seal,
    list_files,
    open_shards,
    read_manifest,
)
from irtd_datasets.hub.check_images import check_images
from irtd_datasets.hub.check_shards import (
    check_footers,
    check_sources,
    check_statistics,
    check_texts_beside,
    read_texts,
)
from irtd_datasets.hub.findings import CheckReport, Findings

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["HASHED_BYTES", "IMAGES", "check_folder"]

IMAGES = ("sample", "all", "none")
"""How many images a check decodes."""

HASHED_BYTES = 2 << 30
"""Bytes of shards of which a check computes the SHA-256 when it is not told to read all: some seconds."""


def check_folder(
    folder: str | os.PathLike[str],
    *,
    images: Literal["sample", "all", "none"] = "sample",
    hashes: bool = False,
    hashed_bytes: int = HASHED_BYTES,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
) -> CheckReport:
    """Check a dataset folder as a build makes it and as it would be published.

    Nothing is changed, nothing is asked of a network. Footers and text of all rows are read in any case.

    Args:
        folder: The dataset folder.
        images: ``sample`` decodes the images that the viewer previews and some more, ``all`` every image, ``none``
            no image.
        hashes: Compare the SHA-256 of every shard with the manifest, which reads every byte; otherwise of the smallest
            ones, up to 2 GiB in all, and of the others size, rows and footer.
        hashed_bytes: Another number of bytes than 2 GiB.
        workers: Threads that decode images.
        progress: Told the name of each file that is read through.

    Returns:
        What was found; a folder that can be published has no errors.

    Raises:
        ReleaseNotFoundError: There is no such folder, or it has nothing of a dataset folder.
        UnknownNameError: ``images`` is none of its values.
    """
    if images not in IMAGES:
        raise UnknownNameError(
            f"no way to check images is called {images!r}", remedy=f"Use {', '.join(IMAGES)}."
        )
    root = Path(folder)
    if not root.is_dir():
        raise ReleaseNotFoundError(
            "there is no such folder", where=str(root), remedy="Name a folder that `irtd build` made."
        )
    progress = progress or (lambda _: None)
    findings = Findings()
    found = list_files(root, findings)
    if not found and not findings.kept:
        raise ReleaseNotFoundError("the folder is empty", where=str(root), remedy="Build the dataset first.")
    manifest = read_manifest(root, findings)
    check_foreign(root, found, manifest, findings)
    hashed = 0
    if manifest is not None:
        hashed = check_files(
            root,
            found,
            manifest,
            findings,
            hashed_bytes=sys.maxsize if hashes else hashed_bytes,
            progress=progress,
        )
        check_seal(root, manifest, findings)
    shards = open_shards(root, found, manifest, findings)
    check_index(root, shards, found, findings)
    rows = sum(shard.rows for shard in shards)
    if not rows:
        findings.add("no-rows", f"{len(shards)} Parquet files, no rows")
    per_part: Counter[tuple[str, str]] = Counter()
    for shard in shards:
        per_part[part_of(shard.name)] += shard.rows
    dataset = spec(manifest.dataset) if manifest is not None else None
    check_ledger(root, per_part, dataset, findings)
    configs, described = check_card(root, shards, list(found), manifest, findings)
    check_text(root, findings)
    check_footers(shards, configs, described, findings)
    texts = read_texts(shards, dataset, findings)
    check_texts_beside(root, found, findings)
    check_statistics(configs, {shard.name: shard for shard in shards}, texts, findings)
    if dataset is not None:
        check_sources(texts, dataset, findings)
    decoded = 0
    if images != "none":
        decoded = check_images(shards, configs, findings, which=images, workers=workers, progress=progress)
    facts = {
        "files": len(found),
        "bytes": sum(found.values()),
        "shards": len(shards),
        "shards_hashed": hashed,
        "row_groups": sum(shard.metadata.num_row_groups for shard in shards),
        "rows": rows,
        "images_decoded": decoded,
    }
    return CheckReport.of(str(root), findings, facts)
