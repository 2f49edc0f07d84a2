"""The files of a dataset folder against its manifest and its ledger, and against what the Hub takes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.catalog import dataset_names, spec
from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, UnsafePathError
from irtd_datasets.folder.card import SEAL
from irtd_datasets.folder.front_matter import parse_front_matter, read_card
from irtd_datasets.folder.index import footer_digest, read_entries, read_footer_bytes
from irtd_datasets.folder.ledger import LEDGER_REMEDY, Ledger, LedgerLine
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.names import (
    CARD,
    CARD_IMAGES,
    CROISSANT,
    DOCUMENTS,
    INDEX_FOLDER,
    LEDGER,
    MANIFEST,
    STAGING,
    STATE,
)
from irtd_datasets.folder.row_groups import stored_features
from irtd_datasets.releases.paths import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from irtd_datasets.hub.findings import Findings
    from irtd_datasets.spec import DatasetSpec

__all__ = [
    "Shard",
    "check_files",
    "check_foreign",
    "check_index",
    "check_ledger",
    "check_seal",
    "list_files",
    "open_shards",
    "read_manifest",
]

_KNOWN = {*DOCUMENTS, MANIFEST, ".gitattributes", "LICENSE", "LICENSE.md"}
_REMEDIES = {
    CARD: "Run `irtd card FOLDER`: it writes the card anew, without what was added by hand.",
    CROISSANT: "Run `irtd card FOLDER`: it writes this file anew, too.",
    **dict.fromkeys(
        CARD_IMAGES.values(), "Run `irtd card FOLDER`: it draws the images of the card anew, too."
    ),
    LEDGER: "Start `irtd build` again with every config of the folder: finished shards are taken over.",
}
"""What to do about files that are no shards and not those of the build."""
_INDEX_REMEDY = "Start the same `irtd build` again: finished shards are taken over, the index is made anew."
_SHARD_NAME = re.compile(r"(?P<split>\w+(?:\.\w+)*)-(?P<index>\d{5})-of-(?P<total>\d{5})\.parquet")
_FILES_PER_FOLDER, _FILES = 10_000, 100_000
_FILE_ADVISED, _FILE_LIMIT = 50 * 10**9, 200 * 10**9
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file with its footer.

    Attributes:
        name: Name in the folder, with ``/``.
        path: Where it lies.
        size: Bytes.
        metadata: The footer.
        schema: Its columns as Arrow sees them, with metadata.
    """

    name: str
    path: Path
    size: int
    metadata: Any
    schema: pa.Schema

    @property
    def rows(self) -> int:
        """Its rows."""
        return int(self.metadata.num_rows)

    @property
    def features(self) -> dict[str, Any] | None:
        """The feature metadata that it carries; None when it has none, or they are no JSON."""
        return stored_features(self.schema)


def list_files(root: Path, findings: Findings) -> dict[str, int]:
    """Files that would be published, with their sizes; what must not be there is told."""
    if (root / STAGING).exists():
        findings.add("build-unfinished", f"{STAGING} holds work of a build that has not ended", STAGING)
    found: dict[str, int] = {}
    per_folder: Counter[str] = Counter()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in {STAGING, ".git", ".cache"})
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative == STATE:
                continue  # the build's own, which is not published
            if name.startswith(".") and ".tmp" in name:
                findings.add("build-unfinished", "a half-written file", relative)
                continue
            if not path.exists():  # a shard is then told of as missing
                findings.add("file-foreign", "a link to nothing", relative)
                continue
            found[relative] = path.stat().st_size
            per_folder[relative.rpartition("/")[0]] += 1
    _check_limits(found, per_folder, findings)
    return found


def _check_limits(found: Mapping[str, int], per_folder: Mapping[str, int], findings: Findings) -> None:
    for folder, count in per_folder.items():
        if count > _FILES_PER_FOLDER:
            findings.add("too-many-files", f"{count:,} files", folder)
    if len(found) > _FILES:
        findings.add("too-many-files", f"{len(found):,} files in all")
    for name, size in found.items():
        if size > _FILE_ADVISED:
            limit = (
                "the most that the Hub takes is 200" if size > _FILE_LIMIT else "the Hub advises against it"
            )
            findings.add("file-too-large", f"{size / 1e9:,.0f} GB; {limit}", name)


def check_foreign(root: Path, found: Iterable[str], manifest: Manifest | None, findings: Findings) -> None:
    """Files that no build writes, and among them Python files that `datasets` would stumble over."""
    named = {f"{name}.py" for name in (root.resolve().name, *dataset_names())}
    listed = manifest.files if manifest else {}
    for name in found:
        if name in _KNOWN or name in listed or (name.endswith(".parquet") and not _in_index(name)):
            continue  # a shard that the manifest does not list is told of by `check_files`
        if manifest is None and _in_index(name):
            continue  # nothing says which of them belong here
        if "/" not in name and name.endswith(".py"):
            findings.add("script" if name in named else "python-file", "a Python file at the top", name)
        else:
            findings.add("file-foreign", "no build writes it", name)


def _in_index(name: str) -> bool:
    return name.startswith(f"{INDEX_FOLDER}/")


def read_manifest(root: Path, findings: Findings) -> Manifest | None:
    """The manifest; None when there is none that can be used, which is told."""
    path = root / MANIFEST
    if not path.is_file():
        findings.add("manifest-missing", "there is no manifest", MANIFEST)
        return None
    try:
        manifest = Manifest.read(root)
        spec(manifest.dataset)
    except IrtdDatasetsError as error:
        findings.add("manifest-unreadable", error.problem, MANIFEST)
        return None
    return manifest


def check_files(
    root: Path,
    found: Mapping[str, int],
    manifest: Manifest,
    findings: Findings,
    *,
    hashed_bytes: int,
    progress: Callable[[str], None],
) -> int:
    """Files of the folder against those that the manifest lists.

    Args:
        root: The folder.
        found: Its files with their sizes.
        manifest: Its manifest.
        findings: Takes what is found.
        hashed_bytes: Bytes of shards that are read through for their SHA-256, the smallest ones first. Of the others
            size, rows and footer are compared.
        progress: Told the name of each file whose bytes are read.

    Returns:
        How many shards were read through.
    """
    read = set()
    for name in sorted(manifest.shards, key=lambda name: manifest.shards[name].size):
        hashed_bytes -= manifest.shards[name].size
        if hashed_bytes >= 0 and name in found:
            read.add(name)
    for name, listed in manifest.files.items():
        shard = name in manifest.shards
        remedy = "" if shard else _REMEDIES.get(name, _INDEX_REMEDY)
        if name in found:
            whole = not shard or name in read
            _check_listed(root / name, name, listed, findings, remedy, progress if whole else None)
        elif shard:
            findings.add("shard-missing", "the manifest lists it", name)
        elif name not in {CARD, LEDGER}:  # which have rules of their own
            findings.add("file-missing", "the manifest lists it", name, remedy=remedy)
    for name in found:
        if name.endswith(".parquet") and not _in_index(name) and name not in manifest.files:
            findings.add("shard-unlisted", "the manifest does not list it", name)
    return len(read)


def _check_listed(
    path: Path,
    name: str,
    listed: Listed,
    findings: Findings,
    remedy: str,
    progress: Callable[[str], None] | None,
) -> None:
    """A file against the manifest: its size, and its SHA-256 where it is read through; shards need no remedy."""
    shard = not remedy
    size = path.stat().st_size
    if listed.size != size:
        message = f"{size:,} bytes, the manifest says {listed.size:,}"
        findings.add("shard-size" if shard else "file-changed", message, name, remedy=remedy)
    elif progress is not None:
        progress(name)
        digest = _sha256(path)
        if digest != listed.sha256:
            message = f"SHA-256 {digest[:16]}..., the manifest says {listed.sha256[:16]}..."
            findings.add("shard-hash" if shard else "file-changed", message, name, remedy=remedy)


def check_seal(root: Path, manifest: Manifest, findings: Findings) -> None:
    """The manifest against the seal on the card."""
    try:
        seal = parse_front_matter(read_card(root), CARD).get(SEAL)
    except IrtdDatasetsError:
        return  # the card has rules of its own
    if seal != manifest.seal:
        told = f"the card says {seal!s:.16}..." if seal else "the card says nothing"
        message = f"{told}, the manifest has {manifest.seal[:16]}..."
        findings.add("manifest-changed", message, MANIFEST)


def check_index(root: Path, shards: Iterable[Shard], found: Mapping[str, int], findings: Findings) -> None:
    """The footers of the shards against those that the index was made of: a shard that was exchanged has another."""
    known: dict[str, str] = {}
    for name in filter(_in_index, found):
        with contextlib.suppress(pa.ArrowException, OSError):
            known |= {entry.file: entry.footer for entry in read_entries(pq.read_metadata(root / name)) or ()}
    for shard in shards:
        with shard.path.open("rb") as file:
            digest = footer_digest(read_footer_bytes(file, shard.size))
        if known.get(shard.name, digest) != digest:
            findings.add("shard-hash", "its footer is not the one that the index was made of", shard.name)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def open_shards(
    root: Path, found: Mapping[str, int], manifest: Manifest | None, findings: Findings
) -> list[Shard]:
    """Read the footers of all Parquet files that hold rows; those that cannot be read are told."""
    shards = []
    for name in sorted(name for name in found if name.endswith(".parquet") and not _in_index(name)):
        path = root / name
        try:
            with pq.ParquetFile(path) as parquet:
                shard = Shard(name, path, found[name], parquet.metadata, parquet.schema_arrow)
        except (pa.ArrowException, OSError, ValueError) as error:
            findings.add("shard-unreadable", str(error).partition("\n")[0], name)
            continue
        shards.append(shard)
        listed = manifest.shards.get(name) if manifest else None
        if listed is not None:
            here = (shard.rows, shard.metadata.num_row_groups)
            if here != (listed.rows, listed.row_groups):
                findings.add(
                    "shard-rows",
                    f"{here[0]:,} rows in {here[1]:,} row groups, the manifest says {listed.rows:,} in "
                    f"{listed.row_groups:,}",
                    name,
                )
    _check_names([shard.name for shard in shards], findings)
    return shards


def _check_names(names: Iterable[str], findings: Findings) -> None:
    """Names of the shards of each folder: their form, and no number missing."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for name in names:
        folder, _, last = name.rpartition("/")
        match = _SHARD_NAME.fullmatch(last)
        if match is None:
            findings.add("shard-name", "expected <split>-NNNNN-of-NNNNN.parquet", name)
        else:
            groups[folder, match["split"]].append((int(match["index"]), int(match["total"])))
    for (folder, split), numbers in groups.items():
        expected = [(index, len(numbers)) for index in range(len(numbers))]
        if sorted(numbers) != expected:
            shown = ", ".join(f"{index} of {total}" for index, total in sorted(numbers)[:6])
            findings.add("shard-sequence", f"shards of {split}: {shown}; counted from 0, each once", folder)


def check_ledger(
    root: Path, rows: Mapping[tuple[str, str], int], declared: DatasetSpec | None, findings: Findings
) -> None:
    """The sums of the ledger, and what it keeps against the rows that are there.

    Args:
        root: The folder.
        rows: Rows of each part in its Parquet files.
        declared: The dataset; None when it is not known.
        findings: Takes what is found.
    """
    path = root / LEDGER
    if not path.is_file():
        findings.add("ledger-missing", "there is no ledger", LEDGER)
        return
    try:
        values = read_json(path, LEDGER_REMEDY)
        ledger, totals = Ledger.from_json(values), values["totals"].counts()
    except AnnotationError as error:
        findings.add("ledger-unreadable", error.problem, LEDGER)
        return
    for line in ledger.lines:
        _check_line(line, rows.get((line.subset, line.part), 0), findings)
    known = {(line.subset, line.part) for line in ledger.lines}
    for key in sorted(key for key, count in rows.items() if count and key not in known):
        findings.add("ledger-rows", f"{'/'.join(key)} has {rows[key]:,} rows and no line", LEDGER)
    for name, total in ledger.totals().items():
        if totals.get(name) != total:
            findings.add("ledger-totals", f"{name} is {totals.get(name)}, its lines sum to {total}", LEDGER)
    if declared is not None and ledger.dataset != declared.name:
        findings.add(
            "ledger-unreadable", f"it is of {ledger.dataset}, the manifest of {declared.name}", LEDGER
        )


def _check_line(line: LedgerLine, rows: int, findings: Findings) -> None:
    record_counts = line.record_counts
    if record_counts is not None and not record_counts.balanced:
        gone = sum(record_counts.dropped.values())
        findings.add(
            "ledger-unbalanced",
            f"{line.subset}/{line.part}: {record_counts.found:,} found, {record_counts.kept:,} kept, {gone:,} dropped, "
            f"{record_counts.image_missing:,} without an image",
            LEDGER,
        )
    kept = record_counts.kept if record_counts else 0
    if kept != rows:
        findings.add(
            "ledger-rows", f"{line.subset}/{line.part}: {kept:,} kept, the folder has {rows:,} rows", LEDGER
        )


def is_safe(pattern: str) -> bool:
    """Whether a pattern from a card stays inside its folder."""
    try:
        safe_name(pattern)
    except UnsafePathError:
        return False
    return True
