"""The dataset folder: what a build makes, and byte for byte what is uploaded.

::

    irtd/
      README.md                                       card: YAML configs, dataset_info, text
      card/                                           the images that the card shows
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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from irtd_datasets.documents import read_json, write_text
from irtd_datasets.errors import AnnotationError, BuildError, ReleaseNotFoundError
from irtd_datasets.folder.card import counter_in, render_card
from irtd_datasets.folder.card_images import card_images
from irtd_datasets.folder.croissant import render_croissant
from irtd_datasets.folder.index import write_folder_index
from irtd_datasets.folder.ledger import Ledger
from irtd_datasets.folder.manifest import Listed, Manifest
from irtd_datasets.folder.names import (
    CARD,
    CARD_IMAGES,
    CROISSANT,
    INDEX_FOLDER,
    LEDGER,
    MANIFEST,
    STAGING,
    STATE,
    is_shard_name,
)
from irtd_datasets.rows.order import ORDER_SEED
from irtd_datasets.schema import SCHEMA_VERSION
from irtd_datasets.writing.plan import code_identity
from irtd_datasets.writing.shards import index_note, is_shard, read_result, remember, write_shard

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.documents import JsonValue
    from irtd_datasets.folder.manifest import Derivation
    from irtd_datasets.folder.parts import BuiltPart, ShardResult
    from irtd_datasets.spec import DatasetSpec, Member
    from irtd_datasets.writing.plan import PartPlan, ShardJob

__all__ = ["SPILL", "DatasetFolder"]

SPILL = "drafts"
"""Name of the file in which the records of a part wait while it is being built."""


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
        self.made_from: Derivation | None = None  # of the folder that this one is going to be
        self._parts: list[BuiltPart] | None = None

    @property
    def place(self) -> Path | str:
        """Where the dataset folder is, for people and reports."""
        return self.path

    def task(self, plan: PartPlan, job: ShardJob) -> tuple[Any, ...]:
        """The function that writes a shard, and its arguments, for `Workers.submit`."""
        return write_shard, job, str(self.staged(plan.member, job.index, job.fingerprint))

    def share(self, plan: PartPlan) -> None:
        """Put what the workers need of a plan where they can read it: it is there already, in the folder."""

    def shared_paths(self) -> list[tuple[str, str]]:
        """Paths that every worker has to see besides the release, each with what it is."""
        return [("the dataset folder", str(self.staging.absolute()))]

    def keep(self, member: Member, index: int, result: ShardResult) -> None:
        """Remember that a shard is written, and by that take it over in the next run."""
        remember(self.staged(member, index, result.fingerprint), result)

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
        self._check_dataset()

    def _check_dataset(self) -> None:
        """Refuse what holds another dataset, or documents that are damaged, before anything is done.

        Raises:
            AnnotationError: The manifest or the ledger is damaged.
            BuildError: They are of another dataset.
        """
        for found in (self.manifest(), self.ledger()):
            if found is not None and found.dataset != self.spec.name:
                raise BuildError(
                    f"it holds the dataset {found.dataset!r:.80}",
                    where=str(self.place),
                    remedy=f"Give --out another place for {self.spec.name}.",
                )
        manifest = self.manifest()
        if manifest is not None and manifest.made_from != self.made_from:
            made_from = manifest.made_from
            made = f"`irtd {made_from.how:.80}` from another" if made_from else "`irtd build`"
            raise BuildError(
                f"it holds a dataset folder already, made by {made}",
                where=str(self.place),
                remedy="Give --out a new or empty folder.",
            )

    def check_schema(self, wanted: Collection[tuple[str, str]]) -> None:
        """Refuse to put parts beside others that have the columns of an earlier schema.

        Args:
            wanted: The parts that are going to be built.

        Raises:
            BuildError: The folder keeps parts of an earlier schema.
        """
        found = self.manifest()
        kept = (
            [] if found is None else sorted({part.key for part in found.parts if part.shards} - set(wanted))
        )
        if found is not None and kept and found.schema and found.schema != SCHEMA_VERSION:
            raise BuildError(
                f"it has parts of schema {found.schema}, and this version writes {SCHEMA_VERSION}: "
                + ", ".join("/".join(key) for key in kept),
                where=str(self.place),
                remedy="Build these parts along with the others, or give --out a new folder.",
            )

    def failed(self, error: OSError) -> BuildError:
        """The error for an operating system's refusal, with its remedy."""
        remedies = {
            errno.ENOSPC: "Free some space, or use --out on another disk, and start the same command again: finished "
            "shards are kept.",
            errno.EDQUOT: "The quota is used up: free some space and start the same command again.",
            errno.EACCES: "The folder cannot be written: check its permissions, or use another --out.",
            errno.EPERM: "The folder cannot be written: check its permissions, or use another --out.",
            errno.EMFILE: "Raise the limit of open files (`ulimit -n 4096`), or use fewer workers, and start again.",
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

    def staged(self, member: Member, index: int, fingerprint: str) -> Path:
        """Where a shard waits for the end of the build.

        The identity of its inputs is in the name, so that what a build with other options, or of another release, has
        left behind is never taken for it.
        """
        return self.part_staging(member) / staged_name(index, fingerprint)

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
        staged = self.staged(member, index, fingerprint)
        result = read_result(staged.with_suffix(".json"))
        if result is not None and result.fingerprint == fingerprint:
            if is_shard(staged, result):
                return result
            # An earlier run may have been killed while it put shards into place.
            if self._placed(member.key, index, result):
                staged.unlink(missing_ok=True)
                return result
        staged.unlink(missing_ok=True)  # without a note that fits, nobody knows what it is
        for built in self.parts():
            if built.key == member.key and index < len(built.shards):
                shard = built.shards[index]
                if shard.fingerprint == fingerprint and self._holds(built.files()[index], shard):
                    return shard
        return None

    def _holds(self, name: str, shard: ShardResult) -> bool:
        """Whether a file of the folder is this shard.

        Its size says so as long as the manifest does. While shards of an older build are being replaced, a file may be
        of either build: then every byte is read.
        """
        file = self.path / name
        if self._replacing():
            return is_shard(file, shard)
        return file.is_file() and file.stat().st_size == shard.summary.size

    def _placed(self, key: tuple[str, str], index: int, shard: ShardResult) -> Path | None:
        """The file of a part's folder that is this shard, put there by a run that was killed."""
        for file in sorted(self.path.joinpath(*key).glob(f"*-{index:05d}-of-*.parquet")):
            if is_shard(file, shard):
                return file
        return None

    def finished_stream(self, member: Member, fingerprint: str) -> BuiltPart | None:
        """A part cut from a stream that is complete in this folder and was made from the same inputs."""
        for built in self.parts():
            same = built.key == member.key and built.fingerprint == fingerprint
            if same and all(self._holds(name, shard) for name, shard in built.named_shards()):
                return built
        return None

    def manifest(self) -> Manifest | None:
        """The manifest; None when there is none yet.

        Raises:
            AnnotationError: It is damaged.
        """
        try:
            return Manifest.read(self.staging if self._replacing() else self.path)
        except ReleaseNotFoundError:
            return None

    def parts(self) -> list[BuiltPart]:
        """Parts that the folder holds; read once, since a build asks for them at every shard."""
        if self._parts is None:
            self._parts = self._read_parts()
        return self._parts

    def _read_parts(self) -> list[BuiltPart]:
        manifest = self.manifest()
        if manifest is None:
            return []
        state = self.state()
        return [_identified(part, self._state_key(part), state) for part in manifest.parts]

    def _state_key(self, part: BuiltPart) -> str:
        """What a part is called in the state; in a folder made of others a part may have several splits."""
        return "/".join(part.key if self.made_from is None else (*part.key, part.split))

    def state(self) -> JsonValue | None:
        """Identities of the inputs of each part; None when they are lost, so that everything is built again."""
        try:
            return read_json(self.path / STATE, "")
        except (AnnotationError, ReleaseNotFoundError):
            return None

    def ledger(self) -> Ledger | None:
        """The ledger; None when there is none yet.

        Raises:
            AnnotationError: It is damaged.
        """
        try:
            aside = self._replacing() and (self.staging / LEDGER).is_file()
            return Ledger.read(self.staging if aside else self.path)
        except ReleaseNotFoundError:
            return None

    def publish(self, built: Sequence[BuiltPart], ledger: Ledger) -> Ledger:
        """Put finished shards into place and describe them; what other builds put here stays.

        Returns:
            The ledger of everything in the folder.

        Raises:
            BuildError: A build that replaced shards of other parts was killed, and has to be finished first.
        """
        before, parts = self.parts(), self._all_parts(built)
        new = {part.key for part in built}
        # While shards are being replaced, what lies in the folder may be of either build.
        whole = set() if self._replacing() else {pair for part in before for pair in part.named_digests()}
        described = (self.path / MANIFEST).is_file()
        if self._replacing():
            self._check_kept([part for part in parts if part.key not in new])
        elif [part.as_dict() for part in before] != [part.as_dict() for part in parts]:
            self._set_aside()
        for part in built:
            others = [name for one in built if one.key == part.key for name in one.files()]
            self._place(part, whole, others)
        if not described:
            self._remove_unlisted(parts)
        merged = self._all_lines(ledger)
        self._remove_changed_indexes()
        self.staging.mkdir(parents=True, exist_ok=True)
        shards = [shard for part in parts for shard in part.named_digests()]
        indexes = write_folder_index(self.path, shards, self.staging, self._index_notes(built))
        listed = {path.relative_to(self.path).as_posix(): Listed.of(path.read_bytes()) for path in indexes}
        divided = self.made_from is not None  # then a part may have several splits
        state = {
            "/".join((*part.key, part.split) if divided else part.key): part.identity() for part in parts
        }
        documents = self._described(
            parts, merged, listed, state, counter_in(self.path), lambda name: (self.path / name).open("rb")
        )
        for name, content in documents.items():
            write_text(self.path / name, content)
        for name in {*CARD_IMAGES.values()} - documents.keys():
            (self.path / name).unlink(missing_ok=True)
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
        """The ledger of all that the folder is going to have.

        One without a manifest is of a first build that was killed, and tells of parts that are not here.
        """
        earlier = self.ledger() if self.manifest() is not None else None
        return earlier.merged(ledger, self.spec) if earlier else ledger

    def _described(
        self,
        parts: Sequence[BuiltPart],
        ledger: Ledger,
        indexes: Mapping[str, Listed],
        state: Mapping[str, Any],
        count: Callable[[Any, str], Counter[Any]],
        opened: Callable[[str], Any],
    ) -> dict[str, bytes]:
        """The files that describe the parts; the manifest comes last: a folder that has one is whole.

        Args:
            parts: The parts.
            ledger: What became of every record.
            indexes: The index files.
            state: What the next build goes by.
            count: Counts the values of a column in a part.
            opened: Opens a shard by its name.
        """
        images = card_images(self.spec, parts, count, opened)
        files = {LEDGER: ledger.render().encode(), CROISSANT: render_croissant(self.spec, parts).encode()}
        files |= images
        others = {**indexes, **{name: Listed.of(content) for name, content in files.items()}}
        identity = (self.spec.name, self.spec.version, ORDER_SEED, tuple(code_identity()))
        manifest = Manifest(*identity, tuple(parts), others, self.made_from)
        card = render_card(
            self.spec,
            parts,
            ledger,
            None,
            count,
            seal=manifest.seal,
            images=images,
            made_with=manifest.made_with,
        )
        files[CARD] = card.encode()
        files[STATE] = (json.dumps(state, indent=1) + "\n").encode()
        others[CARD] = Listed.of(files[CARD])
        files[MANIFEST] = replace(manifest, others=others).render().encode()
        return files

    def _replacing(self) -> bool:
        """Whether shards of an older build are being replaced, now or when a build was killed."""
        return (self.staging / MANIFEST).is_file() and not (self.path / MANIFEST).is_file()

    def _set_aside(self) -> None:
        """Take the description of the shards away before they change: the manifest first, so that nobody goes by it.

        The ledger stays, since it tells whose folder this is; what it said before is kept beside the manifest. A reader
        that finds shards without a card stops, where an old card with new shards would give it rows of both.
        """
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self.path / LEDGER, self.staging / LEDGER)
        for name in (MANIFEST, CARD, CROISSANT):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).replace(self.staging / name)

    def _check_kept(self, kept: Sequence[BuiltPart]) -> None:
        """Refuse to describe shards that a killed build may have replaced."""
        for part in kept:
            for name, shard in part.named_shards():
                if not self._holds(name, shard):
                    raise BuildError(
                        "a build that was killed has begun to replace this file",
                        where=str(self.path / name),
                        remedy=f"Finish that build first: start its command again (config {part.subset!r}).",
                    )

    def _remove_unlisted(self, parts: Sequence[BuiltPart]) -> None:
        """Remove shards that a killed build of something else has put into place and never described."""
        listed = {name for part in parts for name in part.files()}
        for pattern in ("*.parquet", "*/*.parquet"):
            for file in self.path.glob(f"[!.]*/{pattern}"):
                name = file.relative_to(self.path).as_posix()
                if name not in listed and is_shard_name(name):
                    file.unlink()
                    with contextlib.suppress(OSError):
                        file.parent.rmdir()
                        file.parent.parent.rmdir()

    def _remove_changed_indexes(self) -> None:
        """Remove index files that are not those of the last build, so that they are not taken over."""
        manifest = self.manifest()
        listed = manifest.others if manifest is not None else {}
        for path in (self.path / INDEX_FOLDER).glob("*.parquet"):
            known = listed.get(path.relative_to(self.path).as_posix())
            if known is not None and known != Listed.of(path.read_bytes()):
                path.unlink()

    def _place(self, part: BuiltPart, whole: Collection[tuple[str, str]], names: Collection[str]) -> None:
        """Put the shards of a part into its folder, which is to have these files and no others."""
        folder = self.path.joinpath(*part.key)
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        for index, (name, shard) in enumerate(part.named_shards()):
            if (name, shard.summary.sha256) not in whole or self._staged(part.key, index, shard).exists():
                self._place_shard(part.key, index, self.path / name, shard)
        if folder.is_dir():
            for stale in folder.glob("*.parquet"):
                if stale.relative_to(self.path).as_posix() not in names:
                    stale.unlink()
            if not names:
                folder.rmdir()

    def _place_shard(self, key: tuple[str, str], index: int, file: Path, shard: ShardResult) -> None:
        staged = self._staged(key, index, shard)
        # Perhaps placed by a run that was killed, under a name with another count of shards.
        found = staged if staged.exists() else self._placed(key, index, shard)
        if found is not None:
            found.replace(file)
            return
        raise BuildError(
            "the shard was written and is gone",
            where=str(staged),
            remedy="Let nobody change the folder while a build runs, and start the same command again. On several "
            "machines the folder must be one that all of them share.",
        )

    def _staged(self, key: tuple[str, str], index: int, shard: ShardResult) -> Path:
        return self.staging.joinpath(*key, staged_name(index, shard.fingerprint))

    def _index_notes(self, built: Sequence[BuiltPart]) -> dict[str, Path]:
        """Where the index of each shard waits, by its name relative to the folder."""
        return {
            file: index_note(self._staged(part.key, index, shard))
            for part in built
            for index, (file, shard) in enumerate(part.named_shards())
        }

    def _foreign(self) -> str:
        """Why the path cannot become a dataset folder; empty when it can."""
        if not self.path.is_dir():
            return "this is a file" if self.path.exists() else ""
        names = {entry.name for entry in os.scandir(self.path)}
        if not names or names & {MANIFEST, STAGING, STATE, LEDGER}:
            return ""  # a damaged manifest may have been removed; the ledger then tells whose folder it is
        return "the folder is not empty and was not made by a build"


def staged_name(index: int, fingerprint: str) -> str:
    """Name of a shard that waits for the end of the build, or of what is remembered of it."""
    return f"shard-{index:05d}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.parquet"


def _identified(part: BuiltPart, key: str, state: JsonValue | None) -> BuiltPart:
    """A part with the identities of its inputs, where they are known; nothing is taken over without."""
    try:
        return part.identified(state[key]) if state is not None else part
    except AnnotationError:
        return part
