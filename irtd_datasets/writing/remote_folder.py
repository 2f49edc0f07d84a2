"""A dataset folder in an object store.

A store has no rename: moving an object copies it. So a worker writes a shard on its own disk and uploads it once, under
its last name; readers go by the manifest, which is written when all is there::

    s3://bucket/irtd/
      instruct/grounding/train-00000-of-00024.parquet   as soon as it is written
      .build/run.json                                   which run of the build writes here
      .build/records/RUN/instruct.grounding.drafts      what the workers of a cluster read, a stretch for each shard
      .build/instruct/grounding/shard-00000.json        a shard that is finished: its result and its SHA-256
      .build/instruct/grounding/shard-00000.index.parquet   where its images lie, for the index of the part
      .build/manifest.json, .build/ledger.json          those of before, while their files are being replaced
      index/..., ledger.json, README.md, croissant.json, .built.json, and last manifest.json

Shards cut from a stream do not know their last name, which has the number of all, before the end: they wait below
``.build`` and are copied inside the store.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import socket
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.documents import parse_json
from irtd_datasets.errors import AnnotationError, BuildError
from irtd_datasets.folder.index import read_tables, renamed, write_index, write_tables
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
    index_name,
    is_shard_name,
    shard_name,
)
from irtd_datasets.folder.parts import ShardResult
from irtd_datasets.folder.value_counts import BOX_SIZES, count_box_sizes, count_values
from irtd_datasets.writing.folder import DatasetFolder
from irtd_datasets.writing.shards import index_note, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.documents import JsonValue
    from irtd_datasets.folder.index import ShardEntry
    from irtd_datasets.folder.parts import BuiltPart
    from irtd_datasets.spec import DatasetSpec, Member
    from irtd_datasets.writing.plan import PartPlan, ShardJob
    from irtd_datasets.writing.store import Store

__all__ = ["RemoteFolder", "Upload", "default_scratch", "upload_shard"]

_RUN = f"{STAGING}/run.json"
_BEFORE = f"{STAGING}/{MANIFEST}"
_LINES_BEFORE = f"{STAGING}/{LEDGER}"
_COUNTED = ("source", "box_frame", BOX_SIZES)
"""Columns whose values the card counts."""
_COPIES = 8
_INDEX_BATCH = 64


def default_scratch(url: str) -> Path:
    """Where a build to a URL keeps what it has read so far: a folder of its own in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "irtd_datasets" / "build" / hashlib.sha256(url.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a worker needs to know to upload a shard.

    Attributes:
        store: Where to.
        run: Identity of the run; one that another run has taken the place of uploads nothing more.
        file: Name of the shard in the store.
        note: Name of what is remembered of it, without suffix.
        records: Name of the object with the records of the part; empty where the worker can read the file of the plan.
    """

    store: Store
    run: str
    file: str
    note: str
    records: str


def upload_shard(job: ShardJob, upload: Upload) -> ShardResult:
    """Write a shard on this machine's disk and upload it; runs in a worker.

    Raises:
        BuildError: The disk or the store refuses, or another build has begun.
    """
    store = upload.store
    earlier = _Note.parse(store.read(f"{upload.note}.json"))
    if earlier is not None:
        if (earlier.result.fingerprint, earlier.run) == (job.fingerprint, upload.run):
            # By a worker that was lost before it could tell: the note comes after the shard. Notes of earlier runs
            # were looked at before this job was made.
            return earlier.result
        # Of other inputs: it must not stand beside the shard that is about to take the place of its own.
        store.remove([f"{upload.note}.json"])
    with _room() as room:
        if upload.records:
            start, end = job.stretch
            data = store.read(upload.records, start, end)
            if data is None or len(data) != end - start:
                raise _superseded(store)
            records = room / "records.drafts"
            records.write_bytes(data)
            job = replace(job, spill=str(records), stretch=(0, end - start))
        file = room / "shard.parquet"
        result = write_shard(job, str(file))
        _send(upload, file, result)
    return result


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(prefix="irtd-shard-") as room:
            yield Path(room)
    except BuildError as error:
        # What a user can change is the place of the temporary folder.
        if tempfile.gettempdir() in error.where:
            where = f"{error.where} on {socket.gethostname()}"
            remedy = "A worker needs room for a shard (up to 400 MB of images) in its temporary folder: set TMPDIR."
            raise BuildError(error.problem, where=where, remedy=remedy) from error
        raise


def _send(upload: Upload, file: Path, result: ShardResult) -> None:
    """Upload a shard, where its images lie, and last the note that it is finished."""
    counts = {column: count_values([file], column) for column in _COUNTED}
    _check_run(upload)
    mark = upload.store.upload(file, upload.file)
    upload.store.upload(index_note(file), f"{upload.note}.index.parquet")
    upload.store.write(f"{upload.note}.json", _Note(result, upload.file, upload.run, mark, counts).render())


def _check_run(upload: Upload) -> None:
    """Refuse to write for a run that is over: its shards would take the place of those of the next one."""
    found = _document(upload.store.read(_RUN))
    if found is None or found.value.get("run") != upload.run:
        raise _superseded(upload.store)


def _superseded(store: Store) -> BuildError:
    return BuildError(
        "another build has begun to write there, or this one was ended",
        where=store.shown,
        remedy="Let one build at a time write below a URL, and start the same command again.",
    )


def _document(data: bytes | None) -> JsonValue | None:
    """An object of JSON that only helps to go on; None where it is lost or damaged, so that work is done again."""
    try:
        found = parse_json(data or b"", "", "")
    except AnnotationError:
        return None
    return found if isinstance(found.value, dict) else None


_Counts = dict[str, Counter[Any]]
"""How often each value stands in a column."""


@dataclass(frozen=True, slots=True)
class _Note:
    """What is remembered of a shard that is in the store.

    Attributes:
        result: What was written.
        file: Its name in the store.
        run: The run that wrote it.
        mark: What the store tells its bytes by, see `Store.mark`.
        counts: Of the columns that the card counts.
    """

    result: ShardResult
    file: str
    run: str
    mark: str
    counts: _Counts

    def render(self) -> bytes:
        told = {"file": self.file, "run": self.run, "mark": self.mark}
        return json.dumps({**self.result.as_dict(), **told, "counts": _counts_as_pairs(self.counts)}).encode()

    @classmethod
    def parse(cls, data: bytes | None) -> _Note | None:
        """The inverse of `render`; None where the note is lost or damaged."""
        try:
            values = parse_json(data or b"", "", "")
            return cls(
                ShardResult.from_json(values),
                values["file"].text(),
                values["run"].text(),
                values["mark"].text(),
                _counts_of(values["counts"]),
            )
        except AnnotationError:
            return None


def _counts_as_pairs(counts: _Counts) -> dict[str, list[list[Any]]]:
    return {
        column: sorted(([value, number] for value, number in found.items()), key=str)
        for column, found in counts.items()
    }


def _counts_of(values: JsonValue) -> _Counts:
    counts: _Counts = {}
    for column in _COUNTED:
        pairs = [(pair[0].value, pair[1].count()) for pair in values[column]]
        if not all(value is None or isinstance(value, (str, int)) for value, _ in pairs):
            values.refuse(f"{values.place}.{column} counts something else than texts or numbers")
        counts[column] = Counter(dict(pairs))
    return counts


class RemoteFolder(DatasetFolder):
    """A dataset folder in a store; what a plan needs waits in a folder on this machine.

    Args:
        store: The store.
        spec: The dataset it is for.
        scratch: Folder on this machine; what was unpacked there is found again by the next run.
        workers_elsewhere: Whether the workers may be unable to read that folder.
    """

    def __init__(self, store: Store, spec: DatasetSpec, scratch: Path, *, workers_elsewhere: bool) -> None:
        super().__init__(scratch, spec)
        self.store = store
        self.run = os.urandom(8).hex()
        self._elsewhere = workers_elsewhere
        self._sizes: dict[str, int] = {}
        self._notes: dict[str, _Note] = {}
        self._records: dict[tuple[str, str], str] = {}
        self._withdrawn = False

    @property
    def place(self) -> Path | str:
        """The URL."""
        return self.store.shown

    def prepare(self) -> None:
        """Look at what the store has, and refuse a place that holds something else.

        Raises:
            BuildError: The store cannot be read or written, or holds other things or another dataset there.
            UnknownNameError: The URL cannot be built into.
        """
        self.store.check()
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.failed(error) from error
        self._sizes = self.store.listing(attempts=1)
        names = set(self._sizes)
        ours = MANIFEST in names or any(name.startswith(f"{STAGING}/") for name in names)
        if names and not ours:
            raise BuildError(
                "there are objects below the URL, and no build made them",
                where=self.store.shown,
                remedy="Give --out a URL below which there is nothing.",
            )
        self._check_dataset()
        # Also tells at once, and not after an hour of planning, that nothing may be written there.
        self.store.write(_RUN, json.dumps({"run": self.run, "host": socket.gethostname()}).encode())
        notes = [name for name in names if name.startswith(f"{STAGING}/") and "/shard-" in name]
        found = self.store.read_many(name for name in notes if name.endswith(".json"))
        self._notes = {
            name.removesuffix(".json"): note
            for name, data in found.items()
            if (note := _Note.parse(data)) is not None
        }
        self.store.remove(name for name in names if name.startswith(f"{STAGING}/records/"))

    def free_space(self) -> int:
        """As much as one likes: shards do not stay on this machine."""
        return sys.maxsize

    def tidy(self) -> None:
        """After a failure, leave no trace where nothing was finished."""
        super().tidy()
        with contextlib.suppress(BuildError):
            self.store.remove(self.store.listing(f"{STAGING}/records"))
            waiting = [name for name in self.store.listing(STAGING) if name != _RUN]
            if not waiting:
                self.store.remove_folder(STAGING)

    def give_up(self) -> None:
        """After a build that gave no row, leave no trace of it."""
        super().give_up()
        self.store.remove_folder(STAGING)

    def shared_paths(self) -> list[tuple[str, str]]:
        """None: workers read records from the store and write to their own disks."""
        return []

    def share(self, plan: PartPlan) -> None:
        """Upload the records of a part, where the workers cannot read this machine's disk."""
        if self._elsewhere and plan.jobs:
            name = f"{STAGING}/records/{self.run}/{'.'.join(plan.member.key)}.drafts"
            self.store.upload(plan.spill, name)
            self._records[plan.member.key] = name

    def task(self, plan: PartPlan, job: ShardJob) -> tuple[Any, ...]:
        """The function that writes and uploads a shard, and its arguments."""
        member = plan.member
        self._withdraw([member.key])
        file = self._last_name(member, job.index, len(plan.jobs))
        note = self._note_name(member.key, job.index)
        records = self._records.get(member.key, "")
        # A worker elsewhere has no use for this machine's scratch folder, and could not make it.
        options = replace(job.options, scratch="") if records else job.options
        upload = Upload(self.store, self.run, file, note, records)
        return upload_shard, replace(job, options=options), upload

    def keep(self, member: Member, index: int, result: ShardResult) -> None:
        """Upload a shard that was cut from a stream, and remember it."""
        file = self.staged(member, index, result.fingerprint)
        note = self._note_name(member.key, index)
        write_index(index_note(file), [(file, file.name, result.summary.sha256)])
        self.store.remove([f"{note}.json"] if note in self._notes else [])
        _send(Upload(self.store, self.run, f"{note}.parquet", note, ""), file, result)
        file.unlink()
        index_note(file).unlink()

    def finished(
        self, member: Member, index: int, fingerprint: str, count: int | None = None
    ) -> ShardResult | None:
        """A shard that an earlier run uploaded from the same inputs; None when it has to be written."""
        note_name = self._note_name(member.key, index)
        note = self._notes.get(note_name)
        name = f"{note_name}.parquet" if count is None else self._last_name(member, index, count)
        if note is not None and note.result.fingerprint == fingerprint:
            # A part cut from a stream may have been killed while its shards were copied.
            placed = self._moved_name(member, index) if count is None else name
            there = note.file == name and f"{note_name}.index.parquet" in self._sizes
            if there and any(self._is_of(note, one) for one in dict.fromkeys((name, placed))):
                return note.result
        built = self._by_key.get(member.key)
        if built is not None and index < len(built.shards) and built.files()[index] == name:
            shard = built.shards[index]
            if shard.fingerprint == fingerprint and self._holds(name, shard):
                return shard
        return None

    def finished_stream(self, member: Member, fingerprint: str) -> BuiltPart | None:
        """A part cut from a stream that is complete in the store and was made from the same inputs."""
        built = self._by_key.get(member.key)
        if built is None or built.fingerprint != fingerprint:
            return None
        return built if all(self._holds(name, shard) for name, shard in built.named_shards()) else None

    def _holds(self, name: str, shard: ShardResult) -> bool:
        """As in a folder: while the manifest is withdrawn, an object may be of another build, and is read through."""
        if self._sizes.get(name) != shard.summary.size:
            return False
        return MANIFEST in self._sizes or self._digest(name) == shard.summary.sha256

    def _is_of(self, note: _Note, name: str) -> bool:
        """Whether an object has the bytes that a note tells of: by the store's mark of them, else read through."""
        if self._sizes.get(name) != note.result.summary.size:
            return False
        known = bool(note.mark) and self.store.mark(name) == note.mark
        return known or self._digest(name) == note.result.summary.sha256

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.store.open(name) as opened:
            try:
                while block := opened.read(4 << 20):
                    digest.update(block)
            except OSError as error:
                raise self.store.failed(error, name) from error
        return digest.hexdigest()

    def manifest(self) -> Manifest | None:
        """The manifest, also while its files are being replaced; None when there is none yet."""
        return self._manifest_read

    @cached_property
    def _manifest_read(self) -> Manifest | None:
        for name in (MANIFEST, _BEFORE):
            data = self.store.read(name) if name in self._sizes else None
            if data is not None:
                return Manifest.parse(data, self.store.where(name))
        return None

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], BuiltPart]:
        return {part.key: part for part in self.parts()}

    def state(self) -> JsonValue | None:
        """Identities of the inputs of each part; None when they are lost."""
        return self._state

    @cached_property
    def _state(self) -> JsonValue | None:
        return _document(self.store.read(STATE) if STATE in self._sizes else None)

    def ledger(self) -> Ledger | None:
        """The ledger; None when there is none yet."""
        name = LEDGER if MANIFEST in self._sizes or _LINES_BEFORE not in self._sizes else _LINES_BEFORE
        data = self.store.read(name) if self.manifest() is not None else None
        return Ledger.parse(data, self.store.where(LEDGER)) if data is not None else None

    def publish(self, built: Sequence[BuiltPart], ledger: Ledger) -> Ledger:
        """Describe the shards, which are in the store by now; what other builds put here stays.

        Returns:
            The ledger of everything below the URL.
        """
        _check_run(Upload(self.store, self.run, "", "", ""))
        notes = self._notes_of(built)
        old_tables = self._old_tables(built, notes)
        parts, merged = self._all_parts(built), self._all_lines(ledger)
        kept = {name for part in parts for name in part.files()}
        changed = [part.key for part in built if self._differs(part)]
        self._withdraw(changed)
        self._move_streamed(built, notes)
        self._sizes = self.store.listing()
        self._check_shards(parts)
        stale = [name for name in self._sizes if name.endswith(".parquet") and name not in kept]
        ours = {f"{member.key[0]}/{member.key[1]}" for member in self.spec.members}
        # Without any manifest, what is called like a shard is of a build that was killed, perhaps of another dataset.
        killed = self.manifest() is None
        self.store.remove(
            name for name in stale if name.rpartition("/")[0] in ours or (killed and is_shard_name(name))
        )
        files = self._put_indexes(parts, changed, notes, old_tables)
        counts = {part.key: self._counts(part, notes) for part in parts}

        def count(part: Any, column: str) -> Counter[Any]:  # noqa: ANN401 - see `render_card`
            return sum((shard[column] for shard in counts[part.key]), Counter())

        state = {
            "/".join(part.key): {**part.identity(), "counts": list(map(_counts_as_pairs, counts[part.key]))}
            for part in parts
        }
        described = self._described(parts, merged, files, state, count, self.store.open)
        for name, content in described.items():
            self.store.write(name, content)
        self.store.remove(
            name for name in CARD_IMAGES.values() if name in self._sizes and name not in described
        )
        self.store.remove_folder(STAGING)
        shutil.rmtree(self.path, ignore_errors=True)
        return merged

    def _differs(self, part: BuiltPart) -> bool:
        """Whether a part of the folder is not, or not any more, what its manifest tells."""
        old = self._by_key.get(part.key)
        return old is None or old.named_digests() != part.named_digests()

    def _withdraw(self, keys: Sequence[tuple[str, str]]) -> None:
        """Take the manifest away before files that it names are replaced: what has none is being built."""
        if self._withdrawn or MANIFEST not in self._sizes:
            return
        if any(key in self._by_key for key in keys):
            if LEDGER in self._sizes:
                self.store.copy(LEDGER, _LINES_BEFORE)
            self.store.copy(MANIFEST, _BEFORE)
            # The card, too: an old card with new shards would give a reader rows of both.
            self.store.remove([MANIFEST, CARD, CROISSANT])
            self._withdrawn = True

    def _notes_of(self, built: Sequence[BuiltPart]) -> dict[str, _Note]:
        """What is remembered of the shards of this build; those taken over from the manifest have nothing."""
        wanted = {
            self._note_name(part.key, index): shard.fingerprint
            for part in built
            for index, shard in enumerate(part.shards)
        }
        found = self.store.read_many(f"{name}.json" for name in wanted)
        notes = {name.removesuffix(".json"): _Note.parse(data) for name, data in found.items()}
        return {
            name: note
            for name, note in notes.items()
            if note is not None and note.result.fingerprint == wanted[name]
        }

    def _move_streamed(self, built: Sequence[BuiltPart], notes: dict[str, _Note]) -> None:
        moves = [
            (f"{name}.parquet", file)
            for part in built
            for index, file in enumerate(part.files())
            if (name := self._note_name(part.key, index)) in notes and notes[name].file == f"{name}.parquet"
        ]
        there = self.store.listing(STAGING) if moves else {}

        def move(names: tuple[str, str]) -> None:
            self.store.copy(*names)
            self.store.remove([names[0]])

        with ThreadPoolExecutor(_COPIES) as pool:
            list(pool.map(move, [pair for pair in moves if pair[0] in there]))

    def _check_shards(self, parts: Sequence[BuiltPart]) -> None:
        for part in parts:
            for name, shard in part.named_shards():
                if self._sizes.get(name) != shard.summary.size:
                    found = "is gone" if name not in self._sizes else f"has {self._sizes[name]:,} bytes"
                    raise BuildError(
                        f"the shard was uploaded with {shard.summary.size:,} bytes and {found}",
                        where=self.store.where(name),
                        remedy="Let nobody change what is below the URL while a build runs. Start the same command "
                        "again, with all configs that an interrupted build was replacing.",
                    )

    def _old_tables(
        self, built: Sequence[BuiltPart], notes: dict[str, _Note]
    ) -> dict[str, tuple[ShardEntry, pa.Table]]:
        """From the index that is there: the rows of shards that are taken over without a note."""
        tables: dict[str, tuple[ShardEntry, pa.Table]] = {}
        for part in built:
            lacking = [
                file
                for index, file in enumerate(part.files())
                if self._note_name(part.key, index) not in notes
            ]
            if lacking and self._differs(part):
                data = self.store.read(index_name(lacking[0]))
                found = read_tables(io.BytesIO(data)) if data else []
                tables |= {entry.file: (entry, table) for entry, table in found}
        return tables

    def _put_indexes(
        self,
        parts: Sequence[BuiltPart],
        changed: Sequence[tuple[str, str]],
        notes: dict[str, _Note],
        old_tables: dict[str, tuple[ShardEntry, pa.Table]],
    ) -> dict[str, Listed]:
        """Write the index of each part that changed; returns size and SHA-256 of all by name."""
        manifest = self.manifest()
        earlier = manifest.others if manifest else {}
        files: dict[str, Listed] = {}
        for part in parts:
            name = index_name(part.files()[0])
            if part.key not in changed and name in earlier and name in self._sizes:
                files[name] = earlier[name]
                continue
            local = self.staging / "index.parquet"
            write_tables(local, self._tables(part, notes, old_tables))
            files[name] = Listed.of(local.read_bytes())
            self.store.upload(local, name)
            local.unlink()
        self.store.remove(
            name for name in self._sizes if name.startswith(f"{INDEX_FOLDER}/") and name not in files
        )
        return files

    def _tables(
        self,
        part: BuiltPart,
        notes: dict[str, _Note],
        old_tables: dict[str, tuple[ShardEntry, pa.Table]],
    ) -> Iterator[tuple[ShardEntry, pa.Table]]:
        """Where the images of each shard lie, as the workers found out; a batch of shards in memory."""
        files = part.files()
        for first in range(0, len(files), _INDEX_BATCH):
            batch = list(enumerate(files))[first : first + _INDEX_BATCH]
            names = {file: f"{self._note_name(part.key, index)}.index.parquet" for index, file in batch}
            wanted = [name for name in names.values() if name.removesuffix(".index.parquet") in notes]
            found = self.store.read_many(wanted)
            for index, file in batch:
                if names[file] in found:
                    entry, table = renamed(*read_tables(io.BytesIO(found[names[file]]))[0], file)
                elif file in old_tables:
                    entry, table = old_tables[file]
                else:
                    raise BuildError(
                        "the index of this shard is gone",
                        where=self.store.where(file),
                        remedy=f"Remove {self.store.where(file)} and start the same command again.",
                    )
                if entry.sha256 != part.shards[index].summary.sha256:
                    raise _superseded(self.store)
                yield entry, table

    def _counts(self, part: BuiltPart, notes: dict[str, _Note]) -> list[_Counts]:
        """How often each value stands in the columns that the card counts, shard by shard."""
        remembered = self._remembered(part)
        counts = []
        for index, file in enumerate(part.files()):
            note = notes.get(self._note_name(part.key, index))
            if note is not None:
                counts.append(note.counts)
            else:
                counts.append(remembered[index] if remembered else self._read_counts(file))
        return counts

    def _remembered(self, part: BuiltPart) -> list[_Counts]:
        """The counts of a part that the last build wrote down; none where they are lost, or of other shards."""
        old = self._by_key.get(part.key)
        if self._state is None or old is None or old.named_digests() != part.named_digests():
            return []
        try:
            found = [_counts_of(counts) for counts in self._state["/".join(part.key)]["counts"]]
        except AnnotationError:
            return []
        return found if len(found) == len(part.shards) else []

    def _read_counts(self, file: str) -> _Counts:
        """From the shard itself, of which only these columns are fetched."""
        with self.store.open(file) as opened:
            try:
                table = pq.read_table(opened, columns=list(_COUNTED))
            except (pa.ArrowException, OSError) as error:
                raise self.store.failed(error, file) from error
        counts = {column: Counter(table[column].to_pylist()) for column in _COUNTED if column != BOX_SIZES}
        return {**counts, BOX_SIZES: count_box_sizes(table)}

    @staticmethod
    def _note_name(key: tuple[str, str], index: int) -> str:
        return f"{STAGING}/{key[0]}/{key[1]}/shard-{index:05d}"

    @staticmethod
    def _last_name(member: Member, index: int, count: int) -> str:
        return "/".join((*member.key, shard_name(member.subset.split, index, count)))

    def _moved_name(self, member: Member, index: int) -> str:
        start = "/".join((*member.key, f"{member.subset.split}-{index:05d}-of-"))
        return next((name for name in self._sizes if name.startswith(start)), "")
