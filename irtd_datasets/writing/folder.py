"""The dataset folder: what a build makes, and byte for byte what is uploaded.

::

    irtd/
      README.md                                       card: YAML configs, dataset_info, text
      croissant.json                                  the same for programs that read Croissant
      manifest.json                                   every other file with size and SHA-256; rows; how they were made
      ledger.json                                     what became of every record
      index/instruct.grounding.parquet                where each image lies in the shards of a part
      instruct/grounding/train-00000-of-00001.parquet one folder per part, shared by configs
      .build/                                         only while a build runs or after it was killed; while shards
                                                      of an older build are replaced, its card and manifest wait here
      .built.json                                     what the next build goes by; no part of the dataset
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import BUILT_MARKER, STAGING
from irtd_datasets.errors import BuildError
from irtd_datasets.folder.card import render_card
from irtd_datasets.folder.croissant import CROISSANT, render_croissant
from irtd_datasets.folder.index import INDEX_FOLDER, write_folder_index
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.names import CARD, LEDGER, STATE
from irtd_datasets.rows.order import ORDER_SEED
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.writing.plan import code_identity, shard_name
from irtd_datasets.writing.shards import ShardResult, index_note, read_result, remember, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.spec import DatasetSpec, Member
    from irtd_datasets.writing.plan import PartPlan, ShardJob

__all__ = [
    "SPILL",
    "STAGING",
    "BuiltPart",
    "DatasetFolder",
    "described",
    "shards_described",
    "write_text",
]

SPILL = "drafts"
"""Name of the file in which the records of a part wait while it is being built."""


@dataclass(frozen=True, slots=True)
class BuiltPart:
    """A part whose shards are all written.

    Attributes:
        subset: Its subset's name.
        part: Its name.
        split: Its split.
        fingerprint: Identity of its inputs where its shards are cut from a stream; else empty.
        shards: Its shards in order.
        rest: Counts that belong to no shard, such as images that never came.
    """

    subset: str
    part: str
    split: str
    fingerprint: str
    shards: tuple[ShardResult, ...]
    rest: RecordCounts

    @property
    def key(self) -> tuple[str, str]:
        """Names of subset and part."""
        return self.subset, self.part

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.summary.rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Decoded size of all shards, as ``dataset_info`` counts it."""
        return sum(shard.summary.num_bytes for shard in self.shards)

    @property
    def bytes_on_disk(self) -> int:
        """Size of all shard files."""
        return sum(shard.summary.size for shard in self.shards)

    def record_counts(self) -> RecordCounts:
        """What became of all its records."""
        total = RecordCounts()
        for shard in self.shards:
            total.add(shard.record_counts)
        total.add(self.rest)
        return total

    def shard_names(self) -> list[str]:
        """Final names of the shard files."""
        return [shard_name(self.split, index, len(self.shards)) for index in range(len(self.shards))]

    def files(self) -> list[str]:
        """Names of the shard files in the dataset folder."""
        return [f"{self.subset}/{self.part}/{name}" for name in self.shard_names()]

    def named_digests(self) -> list[tuple[str, str]]:
        """Name in the dataset folder, and SHA-256, of each shard."""
        digests = (shard.summary.sha256 for shard in self.shards)
        return list(zip(self.files(), digests, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the manifest: everything but `identity`."""
        shards = [shard.as_dict() for shard in self.shards]
        for shard in shards:
            del shard["fingerprint"]
        return {
            "subset": self.subset,
            "part": self.part,
            "split": self.split,
            "rows": self.rows,
            "shards": [{"file": name, **shard} for name, shard in zip(self.files(), shards, strict=True)],
            "rest": self.rest.as_dict(),
        }

    def identity(self) -> dict[str, Any]:
        """Identities of its inputs."""
        return {"part": self.fingerprint, "shards": [shard.fingerprint for shard in self.shards]}

    @classmethod
    def from_dict(cls, values: dict[str, Any], identity: dict[str, Any] | None = None) -> BuiltPart:
        """The inverse of `as_dict` and `identity`.

        Args:
            values: From the manifest.
            identity: From `STATE`; None where it is lost, so that nothing is taken over from this part.
        """
        prints = identity["shards"] if identity else []
        prints += [_UNKNOWN] * (len(values["shards"]) - len(prints))
        shards = tuple(
            ShardResult.from_dict({**shard, "fingerprint": fingerprint})
            for shard, fingerprint in zip(values["shards"], prints, strict=True)
        )
        rest = RecordCounts.from_dict(values["rest"])
        fingerprint = identity["part"] if identity else _UNKNOWN
        return cls(values["subset"], values["part"], values["split"], fingerprint, shards, rest)


_UNKNOWN = "unknown"


class DatasetFolder:
    """A dataset folder on disk, with the hidden place where unfinished work waits.

    Args:
        path: The folder.
        spec: The dataset it is for.
    """

    def __init__(self, path: Path, spec: DatasetSpec) -> None:
        self.path = path
        self.spec = spec
        self.staging = path / STAGING
        self._parts: list[BuiltPart] | None = None

    @property
    def place(self) -> Path | str:
        """Where the dataset folder is, for people and reports."""
        return self.path

    def task(self, plan: PartPlan, job: ShardJob) -> tuple[Any, ...]:
        """The function that writes a shard, and its arguments, for `Workers.submit`."""
        return write_shard, job, str(self.staged(plan.member, job.index))

    def share(self, plan: PartPlan) -> None:
        """Put what the workers need of a plan where they can read it: it is there already, in the folder."""

    def shared_paths(self) -> list[tuple[str, str]]:
        """Paths that every worker has to see besides the release, each with what it is."""
        return [("the dataset folder", str(self.staging.absolute()))]

    def keep(self, member: Member, index: int, result: ShardResult) -> None:
        """Remember that a shard is written, and by that take it over in the next run."""
        remember(self.staged(member, index), result)

    def prepare(self) -> None:
        """Make the folder if needed, and refuse one that holds something else.

        Raises:
            BuildError: It is a file, holds other things, another dataset, or cannot be written.
        """
        try:
            problem = self._foreign()
            if not problem:
                self.staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.failed(error) from error
        if problem:
            raise BuildError(problem, where=str(self.path), remedy="Give --out a new or empty folder.")
        manifest = self.manifest()
        if manifest is not None and manifest["dataset"] != self.spec.name:
            raise BuildError(
                f"the folder holds the dataset {manifest['dataset']!r}",
                where=str(self.path),
                remedy=f"Give --out another folder for {self.spec.name}.",
            )
        self.ledger()  # a damaged one is told before anything is done

    def failed(self, error: OSError) -> BuildError:
        """The error for an operating system's refusal, with its remedy."""
        remedies = {
            errno.ENOSPC: "Free some space, or use --out on another disk, and start the same command again: finished "
            "shards are kept.",
            errno.EDQUOT: "The quota is used up: free some space and start the same command again.",
            errno.EACCES: "The folder cannot be written: check its permissions, or use another --out.",
            errno.EPERM: "The folder cannot be written: check its permissions, or use another --out.",
            errno.EROFS: "The file system is read-only: use another --out.",
        }
        where = str(error.filename or self.path)
        return BuildError(
            error.strerror or str(error),
            where=where,
            remedy=remedies.get(error.errno or 0, "Start the same command again."),
        )

    def free_space(self) -> int:
        """Bytes that are free where the folder is."""
        return shutil.disk_usage(self.path).free

    def check_space(self, needed: int, free: int) -> None:
        """Refuse to start when the images alone would not fit.

        Raises:
            BuildError: There is less free space than bytes needed.
        """
        if needed > free:
            raise BuildError(
                f"{needed / 1e6:,.1f} MB of images are to be written, {free / 1e6:,.1f} MB are free",
                where=str(self.path),
                remedy="Free some space, or use --out on another disk.",
            )

    def clear_temporaries(self) -> None:
        """Remove what a killed process left half-written; call only while holding the lock."""
        for path in self.staging.rglob("*.tmp*"):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """After a failure, leave no trace where nothing was finished; call only while holding the lock."""
        self.clear_temporaries()
        # Records are set aside anew by each run. Anything else, such as a shard or the note on one that was put into
        # place already, is what the next run goes on from.
        passing = {"lock", SPILL}
        if not any(path.is_file() and path.name not in passing for path in self.staging.rglob("*")):
            shutil.rmtree(self.staging, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()  # only where nothing else is in it

    def give_up(self) -> None:
        """After a build that gave no row, leave no trace of it; call only while holding the lock."""
        if self._replacing():
            return  # what was set aside is all that tells what the folder held
        shutil.rmtree(self.staging, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def part_staging(self, member: Member) -> Path:
        """Where the unfinished work of a part waits."""
        path = self.staging.joinpath(*member.key)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def staged(self, member: Member, index: int) -> Path:
        """Where a shard waits for the end of the build."""
        return self.part_staging(member) / f"shard-{index:05d}.parquet"

    def finished(
        self,
        member: Member,
        index: int,
        fingerprint: str,
        count: int | None = None,  # noqa: ARG002 - for folders that shards are written into under their last name
    ) -> ShardResult | None:
        """A shard that an earlier run wrote from the same inputs; None when it has to be written.

        Args:
            member: Its part.
            index: Its number.
            fingerprint: Identity of its inputs.
            count: Shards of the part; None where that is not known yet.
        """
        staged = self.staged(member, index)
        result = read_result(staged.with_suffix(".json"))
        if result is not None and result.fingerprint == fingerprint:
            # An earlier run may have been killed while it put shards into place.
            placed = sorted(self.path.joinpath(*member.key).glob(f"*-{index:05d}-of-*.parquet"))
            if any(_size(path) == result.summary.size for path in (staged, *placed)):
                return result
        for built in self.parts():
            if built.key == member.key and index < len(built.shards):
                file = self.path.joinpath(*built.key, built.shard_names()[index])
                shard = built.shards[index]
                if shard.fingerprint == fingerprint and _size(file) == shard.summary.size:
                    return shard
        return None

    def finished_stream(self, member: Member, fingerprint: str) -> BuiltPart | None:
        """A part cut from a stream that is complete in this folder and was made from the same inputs."""
        for built in self.parts():
            if built.key == member.key and built.fingerprint == fingerprint:
                files = [self.path.joinpath(*built.key, name) for name in built.shard_names()]
                sizes = [shard.summary.size for shard in built.shards]
                if [_size(file) for file in files] == sizes:
                    return built
        return None

    def manifest(self) -> dict[str, Any] | None:
        """The manifest; None when there is none yet.

        Raises:
            BuildError: It cannot be read.
        """
        path = self.path / BUILT_MARKER
        if not path.exists() and self._replacing():
            path = self.staging / BUILT_MARKER
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BuildError(
                f"it is not valid JSON ({error})",
                where=str(path),
                remedy="Remove the folder and build it again.",
            ) from error
        return manifest

    def parts(self) -> list[BuiltPart]:
        """Parts that the folder holds; read once, since a build asks for them at every shard."""
        if self._parts is None:
            self._parts = self._read_parts()
        return self._parts

    def _read_parts(self) -> list[BuiltPart]:
        manifest = self.manifest()
        if manifest is None:
            return []
        identities = self._identities()
        return [
            BuiltPart.from_dict(values, identities.get(f"{values['subset']}/{values['part']}"))
            for values in manifest["parts"]
        ]

    def _identities(self) -> dict[str, Any]:
        """Identities of the inputs of each part; empty when they are lost, so that everything is built again."""
        try:
            found = json.loads((self.path / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def ledger(self) -> Ledger | None:
        """The ledger; None when there is none yet.

        Raises:
            BuildError: It cannot be read.
        """
        path = self.path / LEDGER
        if not path.is_file():
            return None
        try:
            return Ledger.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BuildError(
                f"it is damaged ({type(error).__name__}: {error})",
                where=str(path),
                remedy="Remove this file and build every config of the folder again: finished shards are taken over.",
            ) from error

    def publish(self, built: Sequence[BuiltPart], ledger: Ledger) -> Ledger:
        """Put finished shards into place and describe them; what other builds put here stays.

        Returns:
            The ledger of everything in the folder.

        Raises:
            BuildError: A build that replaced shards of other parts was killed, and has to be finished first.
        """
        before, parts = self.parts(), self._all_parts(built)
        new = {part.key for part in built}
        if self._replacing():
            self._check_kept([part for part in parts if part.key not in new])
        elif [part.as_dict() for part in before] != [part.as_dict() for part in parts]:
            self._set_aside()
        for part in built:
            self._place(part)
        merged = self._all_lines(ledger)
        texts = self._texts(parts, merged, render_card(self.spec, parts, merged, self.path))
        self._remove_changed_indexes()
        self.staging.mkdir(parents=True, exist_ok=True)
        shards = [shard for part in parts for shard in part.named_digests()]
        indexes = write_folder_index(self.path, shards, self.staging, self._index_notes(built))
        # The manifest comes last: a folder that has one is whole.
        texts[STATE] = json.dumps({"/".join(part.key): part.identity() for part in parts}, indent=1) + "\n"
        texts[BUILT_MARKER] = self._manifest(parts, texts, _measured(self.path, indexes))
        for name, text in texts.items():
            write_text(self.path / name, text)
        shutil.rmtree(self.staging, ignore_errors=True)
        self._parts = None
        return merged

    def _all_parts(self, built: Sequence[BuiltPart]) -> list[BuiltPart]:
        """All parts that the folder is going to have, in the order of the spec."""
        new = {part.key for part in built}
        order = [member.key for member in self.spec.members]
        parts = [*(part for part in self.parts() if part.key not in new), *built]
        return sorted((part for part in parts if part.shards), key=lambda part: order.index(part.key))

    def _all_lines(self, ledger: Ledger) -> Ledger:
        """The ledger of all that the folder is going to have."""
        earlier = self.ledger()
        return earlier.merged(ledger, self.spec) if earlier else ledger

    def _texts(self, parts: Sequence[BuiltPart], ledger: Ledger, card: str) -> dict[str, str]:
        """The files that describe the parts, but the manifest."""
        return {
            LEDGER: json.dumps(ledger.as_dict(), indent=1) + "\n",
            CARD: card,
            CROISSANT: render_croissant(self.spec, parts),
        }

    def _manifest(
        self, parts: Sequence[BuiltPart], texts: Mapping[str, str], indexes: Mapping[str, dict[str, Any]]
    ) -> str:
        """The manifest of parts, of the texts that describe them, and of their index files."""
        texts = {name: text for name, text in texts.items() if name != STATE}
        files = described(texts) | shards_described(parts) | dict(indexes)
        manifest = {
            "dataset": self.spec.name,
            "version": self.spec.version,
            "order_seed": ORDER_SEED,
            "made_with": code_identity(),
            "files": dict(sorted(files.items())),
            "parts": [part.as_dict() for part in parts],
        }
        return json.dumps(manifest, indent=1) + "\n"

    def _replacing(self) -> bool:
        """Whether shards of an older build are being replaced, now or when a build was killed."""
        return (self.staging / BUILT_MARKER).is_file()

    def _set_aside(self) -> None:
        """Take the description of the shards away before they change: the manifest first, so that nobody goes by it.

        A reader that finds shards without a card stops, where an old card with new shards would give it rows of both.
        """
        for name in (BUILT_MARKER, CARD, CROISSANT):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).replace(self.staging / name)

    def _check_kept(self, kept: Sequence[BuiltPart]) -> None:
        """Refuse to describe shards that a killed build may have replaced."""
        for part in kept:
            for name, shard in zip(part.files(), part.shards, strict=True):
                if _size(self.path / name) != shard.summary.size:
                    raise BuildError(
                        "a build that was killed has begun to replace this file",
                        where=str(self.path / name),
                        remedy=f"Finish that build first: start its command again (config {part.subset!r}).",
                    )

    def _remove_changed_indexes(self) -> None:
        """Remove index files that are not those of the last build, so that they are not taken over."""
        listed = (self.manifest() or {}).get("files", {})
        for path in (self.path / INDEX_FOLDER).glob("*.parquet"):
            known = listed.get(path.relative_to(self.path).as_posix())
            if known is not None and known != _entry(path.read_bytes()):
                path.unlink()

    def _place(self, part: BuiltPart) -> None:
        folder = self.path.joinpath(*part.key)
        names = part.shard_names()
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        for index, (name, shard) in enumerate(zip(names, part.shards, strict=True)):
            self._place_shard(folder, index, name, shard.summary.size, self.staging.joinpath(*part.key))
        if folder.is_dir():
            for stale in folder.glob("*.parquet"):
                if stale.name not in names:
                    stale.unlink()
            if not names:
                folder.rmdir()

    @staticmethod
    def _place_shard(folder: Path, index: int, name: str, size: int, staging: Path) -> None:
        staged = staging / f"shard-{index:05d}.parquet"
        if staged.exists():
            staged.replace(folder / name)
            return
        if _size(folder / name) == size:
            return
        # Placed by a run that was killed, under a name with another count of shards.
        for other in folder.glob(f"*-{index:05d}-of-*.parquet"):
            if _size(other) == size:
                other.replace(folder / name)
                return
        raise BuildError(
            "the shard was written and is gone",
            where=str(staging / f"shard-{index:05d}.parquet"),
            remedy="Let nobody change the folder while a build runs, and start the same command again. On several "
            "machines the folder must be one that all of them share.",
        )

    def _index_notes(self, built: Sequence[BuiltPart]) -> dict[str, Path]:
        """Where the index of each shard waits, by its name relative to the folder."""
        return {
            file: index_note(self.staging.joinpath(*part.key, f"shard-{index:05d}.parquet"))
            for part in built
            for index, file in enumerate(part.files())
        }

    def _foreign(self) -> str:
        """Why the path cannot become a dataset folder; empty when it can."""
        if not self.path.is_dir():
            return "this is a file" if self.path.exists() else ""
        names = {entry.name for entry in os.scandir(self.path)}
        if not names or BUILT_MARKER in names or STAGING in names:
            return ""
        return "the folder is not empty and was not made by a build"


def described(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of text files, as the manifest lists them."""
    return {name: _entry(text.encode()) for name, text in texts.items()}


def shards_described(parts: Sequence[BuiltPart]) -> dict[str, dict[str, Any]]:
    """The same of the shards of parts."""
    return {
        name: {"sha256": shard.summary.sha256, "bytes": shard.summary.size}
        for part in parts
        for name, shard in zip(part.files(), part.shards, strict=True)
    }


def _entry(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _measured(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of small files that were written."""
    return {path.relative_to(folder).as_posix(): _entry(path.read_bytes()) for path in paths}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(text.encode())  # not as text, whose line ends some systems change
    temporary.replace(path)
