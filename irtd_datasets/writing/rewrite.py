"""Makes a dataset folder from rows of others: chosen, dealt to splits, or with other texts.

What a build does with a release, this does with the shards of dataset folders: a plan first, which rows stand in which
shard; then shards, each appearing by rename; then card, ledger, manifest and index. Ids stay, row groups keep their
limits with each image once, and the bytes of images are copied as they are. Memory holds a few numbers for each row,
and a few row groups of two shards. A run that was killed goes on from its last shards.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from irtd_datasets.arrow import from_numpy
from irtd_datasets.catalog import spec
from irtd_datasets.errors import BuildError, IrtdDatasetsError, UnknownNameError
from irtd_datasets.folder.ledger import Ledger, LedgerLine, unbalanced
from irtd_datasets.folder.manifest import Derivation, Parent
from irtd_datasets.folder.parts import BuiltPart, ShardResult
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.folder.stored import CHECK, TEXTS, StoredFolder, conformed
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.schema import FILE_FIELDS, SCHEMA_VERSION
from irtd_datasets.writing.folder import DatasetFolder
from irtd_datasets.writing.plan import code_identity, shard_count
from irtd_datasets.writing.progress import Progress
from irtd_datasets.writing.regroup import (
    COUNTED,
    ROW_BYTES,
    CopyJob,
    GroupJoiner,
    count_rows,
    edited,
    read_pieces,
    stored_columns,
)
from irtd_datasets.writing.shards import open_shard, remember
from irtd_datasets.writing.write import before_termination

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from irtd_datasets.folder.stored import StoredShard
    from irtd_datasets.spec import Member
    from irtd_datasets.writing.regroup import Edit

__all__ = ["RewriteReport", "Rewriting", "keep_all", "rewrite"]


_AT_ONCE = 2
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Rewriting:
    """What becomes of rows.

    Attributes:
        how: The command with what decides its result, without paths; it goes into the manifest and the ledger.
        choose: Given the number of a parent and one of its shards, says of each row what becomes of it, int of shape
            (rows,): from 0 the position in ``splits``, below it -1 for the first of ``reasons``, -2 for the second, ...
        reasons: Why rows are left out.
        splits: Names of splits; an empty one leaves each row in its own.
        edit: Given all columns of a row but its images, returns them changed, or the reason why the row is left out.
            Called twice for each row that ``choose`` keeps, and has to return the same both times.
        identity: Of whatever else decides the result, such as a hash of the file with the changes: shards that a run
            left behind are taken over when it is the same.
        notes: What else the ledger is to say of the result.
    """

    how: str
    choose: Callable[[int, StoredShard], NDArray[Any]]
    reasons: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("",)
    edit: Edit | None = None
    identity: str = ""
    notes: tuple[str, ...] = ()


def keep_all(_parent: int, shard: StoredShard) -> NDArray[np.int16]:
    """For `Rewriting.choose`: every row stays, in the first of the splits."""
    return np.zeros(shard.rows, np.int16)


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What a run did.

    Attributes:
        folder: The dataset folder that was made.
        rows: Rows by subset, part and split.
        dropped: Rows of the parents that are not in it, by reason.
        looked_at: Rows of the parents.
        written: Shards written by this run.
        reused: Shards taken over from an earlier run.
        notes: What else has to be told, such as columns that a parent does not have.
    """

    folder: Path
    rows: dict[tuple[str, str, str], int]
    dropped: dict[str, int]
    looked_at: int
    written: int
    reused: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folder": str(self.folder),
            "rows": {"/".join(key): count for key, count in self.rows.items()},
            "kept": sum(self.rows.values()),
            "dropped": self.dropped,
            "looked_at": self.looked_at,
            "written": self.written,
            "reused": self.reused,
            "notes": list(self.notes),
        }


def rewrite(
    parents: Sequence[StoredFolder],
    out: str | os.PathLike[str],
    rewriting: Rewriting,
    *,
    progress: Progress | None = None,
) -> RewriteReport:
    """Make a dataset folder from the rows of others.

    Rows of a part come in the order of their folder. Where several folders have rows of it, their row groups take
    turns, so that the result is as well mixed as they are.

    Args:
        parents: The folders that the rows are of, all of one dataset.
        out: The folder to make; new or empty, or left behind by a run of the same that was killed.
        rewriting: What becomes of the rows.
        progress: Told what goes on.

    Raises:
        UnknownNameError: The parents are of several datasets.
        BuildError: No row is left; the folder cannot be written, holds something else, or its disk is too small.
        AnnotationError: A parent cannot be read.
    """
    progress = progress or Progress()
    datasets = dict.fromkeys(parent.manifest.dataset for parent in parents)
    if len(datasets) != 1:
        raise UnknownNameError(
            f"the folders are of several datasets: {', '.join(datasets)}",
            remedy="One dataset folder holds one dataset, whose parts its card and ledger tell of. The columns are the "
            f"same, so mix the rows as you load them: {_mixed(parents)}",
        )
    place = Path(out)
    for parent in parents:
        inside = (place.resolve(), parent.path.resolve())
        if inside[0] == inside[1] or inside[1] in inside[0].parents or inside[0] in inside[1].parents:
            raise BuildError(
                f"the result cannot lie where the rows are read from ({parent.path})",
                where=str(place),
                remedy="Give --out a new folder beside it.",
            )
    folder = DatasetFolder(place, spec(next(iter(datasets))))
    folder.made_from = Derivation(rewriting.how, tuple(map(_identity, parents)))
    if rewriting.identity:
        digest = hashlib.sha256(rewriting.identity.encode()).hexdigest()[:16]
        folder.made_from = replace(folder.made_from, how=f"{rewriting.how} ({digest})")
    folder.prepare()
    try:
        with FileLock(folder.staging / "lock", timeout=0):
            folder.clear_temporaries()
            try:
                return _Run(parents, rewriting, folder, progress).run()
            except BaseException:
                folder.tidy()
                raise
    except Timeout:
        raise BuildError(
            "another command is writing into this folder",
            where=str(place),
            remedy="Wait for it, or use another --out.",
        ) from None
    except OSError as error:
        if isinstance(error, IrtdDatasetsError):
            raise
        raise folder.failed(error) from error


def _mixed(parents: Sequence[StoredFolder]) -> str:
    """A line of Python that mixes the rows of folders."""
    loaded = []
    for parent in parents:
        config = parent.config or config_names(parent.path)[0]
        split = next(iter(config_files(parent.path, config)))
        loaded.append(f"load_dataset({str(parent.path)!r}, {config!r}, split={split!r})")
    return (
        "`from datasets import interleave_datasets, load_dataset; "
        f"rows = interleave_datasets([{', '.join(loaded)}])`"
    )


def _identity(parent: StoredFolder) -> Parent:
    made_from = parent.manifest.made_from
    return Parent(parent.digest, parent.schema_version, parent.config, parent.rows, made_from)


@dataclass(slots=True)
class _Part:
    """What becomes of the rows of one part: its shards, and how many rows are left out for which reason."""

    member: Member
    jobs: list[CopyJob] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    counts: dict[int, int] = field(default_factory=dict)  # rows by parent


class _Run:
    def __init__(
        self,
        parents: Sequence[StoredFolder],
        rewriting: Rewriting,
        folder: DatasetFolder,
        progress: Progress,
    ) -> None:
        self._parents = parents
        self._rewriting = rewriting
        self._folder = folder
        self._progress = progress
        self._reasons = list(rewriting.reasons)
        self._numbers = {reason: number for number, reason in enumerate(self._reasons)}
        self._notes = [*rewriting.notes, *_schema_notes(parents)]

    def run(self) -> RewriteReport:
        """Plan, write and publish."""
        progress, folder = self._progress, self._folder
        free = folder.free_space()
        progress.stage("choosing rows")
        parts = [part for member in folder.spec.members if (part := self._plan(member)) is not None]
        jobs = [job for part in parts for job in part.jobs]
        dropped = sum((part.dropped for part in parts), Counter[str]())
        if not jobs:
            raise _nothing_left(self._parents, dropped)
        done = {id(job): folder.finished(job.member, job.index, job.fingerprint) for job in jobs}
        to_do = [job for job in jobs if done[id(job)] is None]
        needed = sum(job.image_bytes + ROW_BYTES * len(job.row) for job in to_do)
        folder.check_space(needed, free)
        progress.total(needed)
        progress.stage("writing")
        # Two shards at a time; one where a function of the caller's is asked, which may not be made for threads.
        at_once = min(_AT_ONCE if self._rewriting.edit is None else 1, len(to_do))
        with before_termination(folder.clear_temporaries), ThreadPoolExecutor(max(at_once, 1)) as pool:
            written = pool.map(self._write, to_do) if at_once > 1 else map(self._write, to_do)
            for job, result in zip(to_do, written, strict=True):
                done[id(job)] = result
                progress.advance(job.image_bytes + ROW_BYTES * len(job.row))
        built, lines = [], []
        for part in parts:
            results = [
                [(job, done[id(job)]) for job in part.jobs if job.split == split] for split in _splits(part)
            ]
            made = self._built(part, results)
            built += made
            lines.append(self._line(part, made))
        wrong = unbalanced(lines)
        if wrong:
            raise BuildError(
                f"the counts of {', '.join(wrong)} do not add up",
                where=str(folder.place),
                remedy="`irtd check` says whether the folders that the rows are of are whole; if so, report it.",
            )
        folder.publish([part for part in built if part.shards], self._ledger(lines))
        return RewriteReport(
            folder.path,
            {(*part.key, part.split): part.rows for part in built if part.rows},
            dict(sorted(dropped.items())),
            sum(parent.rows for parent in self._parents),
            len(to_do),
            len(jobs) - len(to_do),
            tuple(self._notes),
        )

    def _plan(self, member: Member) -> _Part | None:
        """Decide which rows of a part stand in which shard; None where no parent has any of it."""
        found = [
            (number, shard)
            for number, parent in enumerate(self._parents)
            for shard in parent.shards
            if shard.part.key == member.key
        ]
        if not found:
            return None
        part = _Part(member)
        shards = [shard for _, shard in found]
        verdicts = [self._verdict(number, shard) for number, shard in found]
        for (number, shard), verdict in zip(found, verdicts, strict=True):
            part.counts[number] = part.counts.get(number, 0) + shard.rows
            for reason, count in enumerate(np.bincount(-1 - verdict[verdict < 0]).tolist()):
                if count:
                    part.dropped[self._reasons[reason]] += count
        own = [
            [shard.part.split if name == "" else name for name in self._rewriting.splits] for shard in shards
        ]
        for split in dict.fromkeys(name for names in own for name in names):
            chosen = [
                np.flatnonzero(np.isin(verdict, [at for at, name in enumerate(names) if name == split]))
                for verdict, names in zip(verdicts, own, strict=True)
            ]
            shard_of_row, row = _in_turn(found, chosen)
            if len(row):
                whole = self._rewriting.edit is None and len(part.counts) == 1
                whole = whole and all(
                    len(rows) == (shard.rows if shard.part.split == split else 0)
                    for shard, rows in zip(shards, chosen, strict=True)
                )
                cuts = np.cumsum([0, *map(len, chosen)])[:-1] if whole else None
                part.jobs += self._cut(member, split, shards, shard_of_row, row, cuts)
        for one in shards:
            one.forget()
        return part

    def _verdict(self, number: int, shard: StoredShard) -> NDArray[np.int32]:
        self._progress.stage(f"choosing rows of {shard.name}")
        verdict = np.array(self._rewriting.choose(number, shard), np.int32)
        assert verdict.shape == (shard.rows,)
        edit = self._rewriting.edit
        if edit is None:
            return verdict
        first = 0
        for group, rows in enumerate(shard.groups):
            kept = np.flatnonzero(verdict[first : first + rows] >= 0)
            if len(kept):
                table = shard.read([group], stored_columns(shard)).take(from_numpy(kept))
                for position, row in zip(kept, conformed(table).to_pylist(), strict=True):
                    told = edit(row)
                    if isinstance(told, str):
                        verdict[first + position] = -1 - self._number_of(told)
            first += rows
        return verdict

    def _number_of(self, reason: str) -> int:
        if reason not in self._numbers:
            self._numbers[reason] = len(self._reasons)
            self._reasons.append(reason)
        return self._numbers[reason]

    def _cut(
        self,
        member: Member,
        split: str,
        shards: Sequence[StoredShard],
        shard: NDArray[np.int32],
        row: NDArray[np.int64],
        kept: NDArray[np.int64] | None,
    ) -> list[CopyJob]:
        """Divide rows into shards of about equal bytes, never between rows of one image; or ``kept`` as they were."""
        sizes = np.zeros(len(row), np.int64)
        first_of_image = np.ones(len(row), bool)
        for number, one in enumerate(shards):
            mine = np.flatnonzero(shard == number)
            for column in FILE_FIELDS:
                offsets, lengths = (places[row[mine]] for places in one.places(column))
                new = np.ones(len(mine), bool)
                new[1:] = (offsets[1:] != offsets[:-1]) | (np.diff(mine) != 1)
                sizes[mine] += np.where(new, np.maximum(lengths, 0), 0)
                if column == "image":
                    first_of_image[mine] = new
        starts = np.flatnonzero(first_of_image)
        done = (np.cumsum(sizes) - sizes)[starts]
        total = int(sizes.sum())
        count = shard_count(total)
        wanted = [total * number / count for number in range(count)]
        new_cuts = starts[np.minimum(np.searchsorted(done, wanted), len(starts) - 1)]
        cuts = sorted({*(new_cuts if kept is None else kept[kept < len(row)]).tolist()})
        jobs = []
        for index, (begin, end) in enumerate(zip(cuts, [*cuts[1:], len(row)], strict=True)):
            job = CopyJob(
                member,
                split,
                index,
                shards,
                shard[begin:end],
                row[begin:end],
                int(sizes[begin:end].sum()),
                "",
            )
            jobs.append(replace(job, fingerprint=self._fingerprint(job)))
        return jobs

    def _fingerprint(self, job: CopyJob) -> str:
        assert self._folder.made_from is not None
        facts = {
            "code": code_identity(),
            "made_from": self._folder.made_from.as_dict(),
            "place": [*job.member.key, job.split, job.index],
            "shards": [[one.name, one.file.stat().st_size] for one in job.shards],
        }
        digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16)
        digest.update(job.shard.astype("<i4").tobytes() + job.row.astype("<i8").tobytes())
        return digest.hexdigest()

    def _write(self, job: CopyJob) -> ShardResult:
        target = self._folder.staged(job.member, job.index, job.fingerprint)
        counts = RecordCounts(kept=len(job.row))
        shard = job.shards[job.shard[0]]
        if self._rewriting.edit is None and job.is_whole and shard.is_current:
            _copy(shard, target)
            count_rows(shard.read(range(len(shard.groups)), COUNTED), counts)
            return self._remembered(job, target, ShardResult(job.fingerprint, shard.summary, counts))
        joiner = GroupJoiner()
        with open_shard(target) as writer:
            for piece in read_pieces(job):
                if self._rewriting.edit is not None:
                    piece.texts = edited(piece, self._rewriting.edit)
                count_rows(piece.texts, counts)
                for group in joiner.add(piece):
                    writer.write(group)
            for group in joiner.rest():
                writer.write(group)
        return self._remembered(job, target, ShardResult(job.fingerprint, writer.summary, counts))

    @staticmethod
    def _remembered(job: CopyJob, target: Path, result: ShardResult) -> ShardResult:
        for shard in job.shards:
            shard.forget()
        remember(target, result)
        return result

    def _built(
        self, part: _Part, results: Sequence[Sequence[tuple[CopyJob, ShardResult | None]]]
    ) -> list[BuiltPart]:
        """The splits of a part; the first has the counts that belong to no shard."""
        made: list[BuiltPart] = []
        rest = self._rest(part)
        for pairs in results:
            split = pairs[0][0].split
            shards = tuple(result for _, result in pairs if result is not None)
            made.append(BuiltPart(*part.member.key, split, "", shards, rest))
            rest = RecordCounts()
        if not made:
            made.append(BuiltPart(*part.member.key, part.member.subset.split, "", (), rest))
        return made

    def _rest(self, part: _Part) -> RecordCounts:
        """What became of the records that are no row of the result.

        Of one parent everything that its ledger tells goes on; of several only their rows are counted, since they may
        be of the same records.
        """
        rest = RecordCounts()
        for number, rows in part.counts.items():
            known = self._parent_line(number, part).record_counts
            if known is None or known.kept != rows:
                kept = known.kept if known else 0
                raise BuildError(
                    f"the ledger keeps {kept:,} rows of {'/'.join(part.member.key)}, the folder has {rows:,}",
                    where=self._parents[number].name,
                    remedy="`irtd check` says what is wrong with the folder; build it again.",
                )
            if len(part.counts) == 1:
                rest.add(known)
            else:
                rest.add(RecordCounts(found=rows, kept=rows))
        rest.kept, rest.rounds_kept, rest.decoded = 0, 0, 0
        rest.flagged.clear()
        rest.dropped.update(part.dropped)
        return rest

    def _parent_line(self, number: int, part: _Part) -> LedgerLine:
        for line in self._parents[number].ledger.lines:
            if (line.subset, line.part) == part.member.key:
                return line
        raise BuildError(
            f"the ledger has no line of {'/'.join(part.member.key)}",
            where=self._parents[number].name,
            remedy="`irtd check` says what is wrong with the folder; build it again.",
        )

    def _line(self, part: _Part, made: Sequence[BuiltPart]) -> LedgerLine:
        total = RecordCounts()
        for one in made:
            total.add(one.record_counts())
        told = [self._parent_line(number, part) for number in part.counts]
        notes = [line.note for line in told if line.note]
        assert self._folder.made_from is not None
        note = f"`irtd {self._folder.made_from.how}`"
        for at, (number, line) in enumerate(zip(part.counts, told, strict=True)):
            parent, known = self._parents[number], line.record_counts
            note += f"{', and' if at else ''} of the folder with the manifest {parent.digest[:16]}"
            if len(part.counts) > 1 and known is not None:
                note += f" ({known.kept:,} rows of {known.found:,} records found)"
        note = "; ".join(dict.fromkeys([*notes, note]))
        return replace(told[0], record_counts=total, note=note)

    def _ledger(self, lines: Sequence[LedgerLine]) -> Ledger:
        subsets = {line.subset for line in lines}
        absent = [
            line
            for parent in self._parents
            for line in parent.ledger.lines
            if line.record_counts is None and line.subset in subsets
        ]
        unknown = tuple(sorted({name for parent in self._parents for name in parent.ledger.unknown_files}))
        declared = self._folder.spec
        return Ledger(declared.name, (), unknown).merged(Ledger(declared.name, (*absent, *lines)), declared)


def _copy(shard: StoredShard, target: Path) -> None:
    """Copy a shard byte for byte; its rows are not looked at, so one that is not as its manifest tells is refused."""
    digest, temporary = hashlib.sha256(), target.with_name(f".{target.name}.tmp-{os.getpid()}")
    with FileIO(shard.file) as file, FileIO(temporary, "w") as copy:
        while block := file.read(_BLOCK):
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[copy.write(view) :]
    if digest.hexdigest() != shard.summary.sha256:
        raise BuildError(
            f"its SHA-256 is {digest.hexdigest()}, the manifest tells of {shard.summary.sha256}",
            where=str(shard.file),
            remedy=CHECK,
        )
    temporary.replace(target)


def _splits(part: _Part) -> list[str]:
    return list(dict.fromkeys(job.split for job in part.jobs))


def _schema_notes(parents: Sequence[StoredFolder]) -> list[str]:
    """What to tell of parents whose rows have not all columns."""
    notes = []
    for parent in parents:
        stored = {name for shard in parent.shards[:1] for name in stored_columns(shard)}
        missing = [name for name in TEXTS.names if name not in stored]
        if missing:
            notes.append(
                f"{parent.name} has the schema {parent.schema_version}, the result {SCHEMA_VERSION}: its rows have "
                f"nothing in {', '.join(missing)}"
            )
        elif parent.schema_version != SCHEMA_VERSION:
            notes.append(
                f"{parent.name} has the schema {parent.schema_version}, the result {SCHEMA_VERSION}; their columns are "
                "the same"
            )
    return notes


def _nothing_left(parents: Sequence[StoredFolder], dropped: Counter[str]) -> BuildError:
    told = "; ".join(f"{reason}: {count:,}" for reason, count in dropped.most_common())
    return BuildError(
        f"no row is left of {sum(parent.rows for parent in parents):,}" + (f" ({told})" if told else ""),
        where=", ".join(parent.name for parent in parents),
        remedy="`irtd info FOLDER` shows what the folder has; choose less strictly. Nothing was written.",
    )


def _in_turn(
    found: Sequence[tuple[int, StoredShard]], chosen: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The chosen rows in the order in which they are written, as positions of shards and numbers in them.

    The row groups of several parents take turns in proportion to how many each has.
    """
    shard = np.concatenate([np.full(len(rows), at, np.int32) for at, rows in enumerate(chosen)])
    row = np.concatenate(chosen)
    if len({number for number, _ in found}) == 1:
        return shard, row
    totals: Counter[int] = Counter()
    for number, one in found:
        totals[number] += len(one.groups)
    before: Counter[int] = Counter()
    ranks = []
    for (number, one), rows in zip(found, chosen, strict=True):
        group = np.searchsorted(np.cumsum(one.groups), rows, side="right")
        ranks.append((before[number] + group + 0.5) / totals[number])
        before[number] += len(one.groups)
    order = np.argsort(np.concatenate(ranks), kind="stable")
    return shard[order], row[order]
