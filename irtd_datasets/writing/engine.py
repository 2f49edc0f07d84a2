"""Runs a build: plan, write, and put everything into place at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from irtd_datasets.catalog import open_release, other_content, spec, unreleased
from irtd_datasets.errors import BuildError, IrtdDatasetsError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.ledger import Ledger, LedgerLine, unbalanced
from irtd_datasets.folder.parts import BuiltPart
from irtd_datasets.remote.urls import is_url, local_path
from irtd_datasets.rows.parsing import DefectPolicy, no_rows_error
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.writing.folder import SPILL, DatasetFolder
from irtd_datasets.writing.from_stream import write_streamed
from irtd_datasets.writing.plan import PartPlan, plan_part
from irtd_datasets.writing.progress import Progress
from irtd_datasets.writing.shards import forget_releases, plan_in_worker
from irtd_datasets.writing.store import Store
from irtd_datasets.writing.workers import ProcessWorkers

_NAMED = 8  # files that an error names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from irtd_datasets.folder.parts import ShardResult
    from irtd_datasets.rows.release import Release, ReleaseOptions
    from irtd_datasets.spec import Member
    from irtd_datasets.writing.workers import Workers

__all__ = ["BuildReport", "build"]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: The dataset folder; its URL, without secrets, where it lies in a store.
        ledger: What became of every record of the subsets built.
        written: Shards written by this run.
        reused: Shards taken over from an earlier run.
        rows: Rows by part, as subset/part.
    """

    folder: Path | str
    ledger: Ledger
    written: int
    reused: int
    rows: dict[str, int]


def build(  # noqa: PLR0913 - each is an option of the command
    dataset: str,
    configs: Sequence[str],
    options: ReleaseOptions,
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    progress: Progress | None = None,
    dask: Any = None,  # noqa: ANN401 - an address or a client of an untyped library
    storage_options: Mapping[str, Any] | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> BuildReport:
    """Build configs of a dataset into a dataset folder.

    The folder gets nothing before everything is written; until then shards wait in a hidden folder inside it, each
    appearing by rename when it is whole. A build that is killed goes on from there when it is started again.

    Args:
        dataset: Name of the dataset.
        configs: Names of configs (``instruct``, ``instruct-grounding``); several are built into the same folder. None
            of them: everything that the release has.
        options: Where the release is.
        out: The dataset folder, or a URL of fsspec such as ``s3://bucket/irtd``; made if missing. Other subsets that
            it has stay. In a store a shard gets its name as soon as it is written, and the manifest comes last.
        workers: Processes that write shards. The bytes are the same for any number.
        progress: Told what goes on.
        dask: Address of a Dask scheduler, path of its scheduler file, or a `distributed.Client`, whose workers then
            write the shards. They need this library in the same version, and the release at the same path; the
            dataset folder, too, where it is no URL.
        storage_options: For the file system of a URL, such as credentials.
        scratch: For a URL: folder of this machine for what a plan sets aside; by default one in the user's cache.

    Raises:
        UnknownNameError: No such dataset or config.
        ReleaseNotFoundError: None of the annotation files is there, or none of the images.
        BuildError: The folder cannot be written, holds something else, or is being built by another process; a worker
            cannot see the release; the scheduler or the store fails.
    """
    progress = progress or Progress()
    if workers > 1 and dask is not None:
        raise UnknownNameError(
            "workers of this machine and of a cluster are two ways to the same",
            remedy="Leave out --workers or --dask; a cluster has as many workers as were started for it.",
        )
    folder = _folder(dataset, out, storage_options, scratch, workers=workers, elsewhere=dask is not None)
    # Beside the unfinished shards, so that a build that is killed finds again what it unpacked.
    release = open_release(dataset, replace(options, scratch=str(folder.staging.absolute() / "release")))
    DefectPolicy(release.spec, dict(options.on_defect))
    wanted = _wanted(release, configs)
    if dask is not None:
        return _build_in(folder, release, wanted, lambda: _cluster(dask, release, folder, progress), progress)
    # Started before the folder is made and locked: a forked worker would keep the lock when this process is killed.
    with ProcessWorkers(workers) as processes:
        return _build_in(folder, release, wanted, lambda: processes, progress)


def _build_in(
    folder: DatasetFolder,
    release: Release,
    wanted: Sequence[Member],
    make_workers: Callable[[], Workers],
    progress: Progress,
) -> BuildReport:
    """Build while nobody else does into this folder."""
    folder.prepare()
    folder.check_schema({member.key for member in wanted})
    try:
        with FileLock(folder.staging / "lock", timeout=0):
            folder.clear_temporaries()
            try:
                return _build(release, wanted, folder, make_workers, progress)
            except BaseException:
                folder.tidy()
                raise
            finally:
                forget_releases()
    except Timeout:
        raise BuildError(
            "another build is writing into this folder",
            where=str(folder.place),
            remedy="Wait for it, or use another --out.",
        ) from None
    except OSError as error:
        if isinstance(error, IrtdDatasetsError):
            raise
        raise folder.failed(error) from error


def _folder(
    dataset: str,
    out: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None,
    scratch: str | os.PathLike[str] | None,
    *,
    workers: int,
    elsewhere: bool,
) -> DatasetFolder:
    """The dataset folder at a path or a URL."""
    place = os.fspath(out)
    if is_url(place) and local_path(place) is None:
        from irtd_datasets.writing.remote_folder import RemoteFolder, default_scratch

        store = Store(place if place.endswith("://") else place.rstrip("/"), dict(storage_options or {}))
        if store.protocol == "memory" and workers > 1:
            raise UnknownNameError(
                "memory:// is the memory of one process", where=store.shown, remedy="Use one worker."
            )
        room = Path(scratch).absolute() / "irtd-build" if scratch else default_scratch(store.url)
        return RemoteFolder(store, spec(dataset), room, workers_elsewhere=elsewhere)
    for given, name in ((storage_options, "--storage-option"), (scratch, "--scratch")):
        if given:
            raise UnknownNameError(
                f"{name} is for a build to a URL",
                where=str(place),
                remedy="Leave it out, or give --out a URL.",
            )
    return DatasetFolder(Path(local_path(place) or place), spec(dataset))


def _cluster(
    dask: Any,  # noqa: ANN401 - see `build`
    release: Release,
    folder: DatasetFolder,
    progress: Progress,
) -> Workers:
    """The workers of a cluster, asked whether they see the release and the folder."""
    from irtd_datasets.writing.dask_workers import DaskWorkers
    from irtd_datasets.writing.worker_environment import WorkerEnvironment

    options = release.options
    paths = [
        ("the release", options.root),
        *(("its images", path) for path in options.images.values()),
        *(("its visible images", path) for path in options.visible.values()),
    ]
    progress.stage("asking the workers")
    paths = [(what, path) for what, path in paths if not is_url(path)]
    return DaskWorkers(
        dask, WorkerEnvironment.here(os.urandom(8).hex(), [*paths, *folder.shared_paths()]), progress
    )


def _wanted(release: Release, configs: Sequence[str]) -> list[Member]:
    """Members of the configs, in the order of the spec, each once; all members where no config is named."""
    named = {member for name in configs for member in release.spec.config(name).members}
    return [member for member in release.spec.members if member in named or not configs]


def _build(
    release: Release,
    wanted: Sequence[Member],
    folder: DatasetFolder,
    make_workers: Callable[[], Workers],
    progress: Progress,
) -> BuildReport:
    absent: list[LedgerLine] = []
    with make_workers() as pool:  # ended before the folder is described, which takes memory of its own
        shards = _Shards(folder, pool, progress)
        for member in wanted:
            files = release.files(member)
            if not files:
                if member.part.public or not any(one.part.public for one in wanted):
                    absent.append(_absent(member))
                continue
            progress.stage(f"reading {member.part.file}")
            spill = folder.part_staging(member) / SPILL
            if pool.beside and release.stream(member.subset) is None:
                pool.submit(
                    member.key, plan_in_worker, release.spec.name, release.options, member, files, str(spill)
                )
            else:
                shards.begin(plan_part(release, member, files, spill))
        shards.finish()
    plans = [shards.plans[member.key] for member in wanted if member.key in shards.plans]
    _check_anything(release, wanted, plans)
    results, written, reused = shards.results, shards.written, shards.reused
    built = [
        BuiltPart(
            *plan.member.key,
            plan.member.subset.split,
            "",
            tuple(results[plan.member.key, job.index] for job in plan.jobs),
            plan.record_counts,
        )
        for plan in plans
        if not plan.streamed
    ]
    for subset in dict.fromkeys(plan.member.subset for plan in plans if plan.streamed):
        streamed = [plan for plan in plans if plan.streamed and plan.member.subset == subset]
        parts, fresh, old = write_streamed(release, streamed, folder, progress)
        built += parts
        written += fresh
        reused += old
    if not any(part.rows for part in built):
        folder.give_up()
        raise _no_rows(release, [part.record_counts() for part in built])
    ledger = _publish(release, built, plans, absent, folder)
    rows = {"/".join(part.key): part.rows for part in built}
    return BuildReport(folder.place, ledger, written, reused, rows)


class _Shards:
    """The shards of a build, from the plans of its parts to their results.

    Workers, where there are any, write the shards of one part while the next one is planned.

    Attributes:
        plans: The plans by part.
        results: What was written, and what an earlier run had written, by part and number of the shard.
        written: How many shards this run writes.
        reused: How many it has taken over.
    """

    def __init__(self, folder: DatasetFolder, pool: Workers, progress: Progress) -> None:
        self.plans: dict[tuple[str, str], PartPlan] = {}
        self.results: dict[tuple[tuple[str, str], int], ShardResult] = {}
        self.written = 0
        self.reused = 0
        self._folder = folder
        self._pool = pool
        self._progress = progress
        self._free = folder.free_space()
        self._needed = 0

    def begin(self, plan: PartPlan) -> None:
        """Have the shards of a part written that no earlier run has written."""
        key = plan.member.key
        self.plans[key] = plan
        jobs = []
        for job in plan.jobs:
            result = self._folder.finished(plan.member, job.index, job.fingerprint, len(plan.jobs))
            if result is None:
                jobs.append(job)
            else:
                self.results[key, job.index] = result
                self.reused += 1
        self._needed += sum(job.image_bytes for job in jobs)
        self._folder.check_space(self._needed, self._free)
        self._progress.total(self._needed)
        if jobs:
            self._folder.share(plan)
        for job in jobs:
            self._pool.submit((key, job), *self._folder.task(plan, job))
        self.written += len(jobs)

    def finish(self) -> None:
        """Return when all shards are written, those included whose plan is being made."""
        if self.plans:
            self._progress.stage("writing")
        for call, result in self._pool.results():
            if isinstance(result, PartPlan):
                self.begin(result)
                self._progress.stage("writing")
                continue
            key, job = call
            self.results[key, job.index] = result
            self._progress.advance(job.image_bytes)


def _absent(member: Member) -> LedgerLine:
    part = member.part
    return LedgerLine(*member.key, part.file, part.records, None, "not in this release", rounds=part.rounds)


def _check_anything(release: Release, wanted: Sequence[Member], plans: Sequence[PartPlan]) -> None:
    """Refuse a release that has nothing of what is wanted."""
    if not plans:
        handed_out = [member for member in wanted if member.part.public] or wanted
        files = list(dict.fromkeys(member.part.file for member in handed_out))
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        name, root = release.spec.name, release.options.root
        raise ReleaseNotFoundError(
            f"none of the annotation files is there: {', '.join(files[:_NAMED])}{more}",
            where=root,
            remedy=unreleased(release.spec, wanted)
            or other_content(name, root)
            or f"{wanted[0].subset.available} `irtd doctor {name} --release {root}` tells what this folder has.",
        )
    if not any(plan.jobs or plan.streamed for plan in plans):
        raise _no_rows(release, [plan.record_counts for plan in plans])


def _no_rows(release: Release, tallies: Sequence[RecordCounts]) -> ReleaseNotFoundError:
    whole = RecordCounts()
    for record_counts in tallies:
        whole.add(record_counts)
    return no_rows_error(release, whole)


def _publish(
    release: Release,
    built: Sequence[BuiltPart],
    plans: Sequence[PartPlan],
    absent: Sequence[LedgerLine],
    folder: DatasetFolder,
) -> Ledger:
    """Put everything into place; returns the ledger of this build."""
    by_key = {part.key: part for part in built}
    lines = [
        LedgerLine(
            *plan.member.key,
            plan.member.part.file,
            plan.member.part.records,
            by_key[plan.member.key].record_counts(),
            "; ".join(f"{file.where}: {file.note}" for file in plan.files if file.note),
            rounds=plan.member.part.rounds,
        )
        for plan in plans
    ]
    wrong = unbalanced(lines)
    if wrong:
        raise BuildError(
            f"the counts of {', '.join(wrong)} do not add up; this is a defect of the library",
            where=str(folder.place),
            remedy="Nothing was published. Please report it with the command used.",
        )
    subsets = dict.fromkeys(plan.member.subset for plan in plans)
    unknown = tuple(name for subset in subsets for name in release.unknown_files(subset))
    fresh = Ledger(release.spec.name, (), unknown).merged(
        Ledger(release.spec.name, (*lines, *absent)), release.spec
    )
    folder.publish(built, fresh)
    return fresh
