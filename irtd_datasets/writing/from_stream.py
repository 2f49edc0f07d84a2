"""Writes parts whose images come as a stream: several of them in one pass, each into shards of its own.

A cut archive of 100 GB takes many minutes to inflate, whatever is wanted of it, so all parts that are built together
are filled in one pass. Each shard is the same as if its part were built alone: it depends on the order of the part's
own images only. Memory holds at most one unfinished row group for each part that still waits for images.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from irtd_datasets.errors import ReleaseNotFoundError
from irtd_datasets.folder.parts import BuiltPart, ShardResult
from irtd_datasets.rows.assembly import StreamRows
from irtd_datasets.rows.groups import GroupCutter
from irtd_datasets.rows.parsing import DefectPolicy
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.rows.spill import PendingRowFile
from irtd_datasets.writing.plan import SHARD_BYTES, PartPlan
from irtd_datasets.writing.shards import open_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irtd_datasets.rows.groups import RowGroup
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.rows.release import Release
    from irtd_datasets.rows.spill import Place
    from irtd_datasets.writing.folder import DatasetFolder
    from irtd_datasets.writing.progress import Progress
    from irtd_datasets.writing.write import ShardWriter

__all__ = ["write_streamed"]


def write_streamed(
    release: Release, plans: Sequence[PartPlan], folder: DatasetFolder, progress: Progress
) -> tuple[list[BuiltPart], int, int]:
    """Write the shards of parts whose images come from one stream.

    Args:
        release: The opened release.
        plans: The parts, all of one subset.
        folder: Where unfinished shards wait, and where an earlier build may have left finished ones.
        progress: Told how many bytes of images have come.

    Returns:
        The parts, the number of shards written, and the number taken over from an earlier run.

    Raises:
        ReleaseNotFoundError: The archive is gone.
        ArchiveError: It is damaged; shards that were finished before stay for the next run.
    """
    built = {plan.member.key: folder.finished_stream(plan.member, plan.fingerprint) for plan in plans}
    done = [part for part in built.values() if part is not None]
    open_plans = [plan for plan in plans if built[plan.member.key] is None]
    reused = sum(len(part.shards) for part in done)
    if not open_plans:
        return done, 0, reused
    stream = release.stream(open_plans[0].member.subset)
    if stream is None:
        raise ReleaseNotFoundError("the archive is gone", where=release.options.root, remedy="Start again.")
    progress.stage(f"reading {stream.label}")
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_Filling(release, plan, folder)) for plan in open_plans]

        needed = stream.total(lambda name: any(name in plan.waiting for plan in open_plans))
        if needed is not None and not any(part.taken_over for part in parts):
            folder.check_space(needed, folder.free_space())
            progress.total(needed)

        def wanted(name: str) -> bool:
            # A list, not a generator: each part has to be asked, because it counts what it skips.
            return any([part.rows.wants(name) for part in parts])  # noqa: C419

        for name, data in stream.images(wanted):
            for part in parts:
                part.take(name, data)
            progress.advance(len(data))
        finished = [part.finish() for part in parts]
    written = sum(part.written for part in parts)
    reused += sum(part.taken_over for part in parts)
    return [*done, *finished], written, reused


class _Filling:
    """A part whose shards are being written as its images come."""

    def __init__(self, release: Release, plan: PartPlan, folder: DatasetFolder) -> None:
        self._plan = plan
        self._folder = folder
        self._results: list[ShardResult] = []
        while True:
            earlier = folder.finished(plan.member, len(self._results), self._fingerprint)
            if earlier is None:
                break
            self._results.append(earlier)
        self.taken_over = len(self._results)
        self._record_counts = RecordCounts()
        self.rows = StreamRows(
            plan.waiting,
            self._load,
            DefectPolicy(release.spec, dict(release.options.on_defect)),
            self._record_counts,
            skip=self._results[-1].end if self._results else 0,
            decode=release.options.decode,
            partners=release.partners(plan.member.subset),
        )
        self._cutter = GroupCutter()
        self._size = 0
        self._writer: ShardWriter | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Filling:  # noqa: PYI034 - Self is not in typing before Python 3.11
        self._spill = PendingRowFile(self._stack.enter_context(self._plan.spill.open("rb")))
        return self

    def __exit__(self, *error: object) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:  # only when something went wrong: its file is taken away again
            writer.__exit__(*error)  # type: ignore[arg-type]
        self._stack.close()

    @property
    def _fingerprint(self) -> str:
        """Identity of the next shard."""
        return f"{self._plan.fingerprint}-{len(self._results)}"

    @property
    def written(self) -> int:
        """Shards written by this run."""
        return len(self._results) - self.taken_over

    def take(self, name: str, data: bytes) -> None:
        """Take an image if it is one of this part's."""
        if self.rows.complete:
            return
        before = self.rows.position
        rows, stored, partner = self.rows.take(name, data)
        if self.rows.position == before:
            return
        self._size += len(stored) + (len(partner[1]) if partner is not None else 0)
        self._write(self._cutter.add(name, rows, stored, partner))
        # A part that is complete gives its memory back at once: the archive may go on for hours.
        if self._size >= SHARD_BYTES or self.rows.complete:
            self._close_shard()

    def finish(self) -> BuiltPart:
        """Write what is left and count what never came."""
        self._close_shard()
        rest = self._plan.record_counts
        rest.add(self._record_counts)
        rest.image_missing += self.rows.count_missing()
        return BuiltPart(
            *self._plan.member.key,
            self._plan.member.subset.split,
            self._plan.fingerprint,
            tuple(self._results),
            rest,
        )

    def _load(self, place: Place) -> PendingRow:
        return self._spill.pending(place)

    def _write(self, groups: Iterable[RowGroup]) -> None:
        for group in groups:
            if self._writer is None:
                staged = self._folder.staged(self._plan.member, len(self._results), self._fingerprint)
                self._writer = open_shard(staged)
                self._writer.__enter__()
            self._writer.write(group)

    def _close_shard(self) -> None:
        self._write(self._cutter.rest())
        self._size = 0
        if self._writer is None:
            return  # nothing but unusable images so far; their counts stay in the tally
        writer, self._writer = self._writer, None
        writer.__exit__(None, None, None)
        index = len(self._results)
        result = ShardResult(
            self._fingerprint,
            writer.summary,
            self._record_counts.take(),
            self.rows.position,
        )
        self._folder.keep(self._plan.member, index, result)
        self._results.append(result)
