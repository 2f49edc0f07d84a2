"""Constructing subsets of IR-TD from source sets: survey, choice, check of the pictures, records, build."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from irtd_datasets.build.progress import Progress
from irtd_datasets.construct.choosing import choose
from irtd_datasets.construct.exclusion import Exclusion
from irtd_datasets.construct.plan import RULE_CAPTIONS, Construction, Gathering, Options, TaskResult
from irtd_datasets.construct.records import part_of, write_records
from irtd_datasets.construct.survey import survey
from irtd_datasets.construct.targets import Target, targets, wanted
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.irtd.constructed import KEY
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.sources import TABLE, SourceOptions, find_sources, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from irtd_datasets.build.engine import BuildReport
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.sources import SourceRow

__all__ = [
    "SUBSETS",
    "Construction",
    "Gathering",
    "Options",
    "TaskResult",
    "choose",
    "construct",
    "gather",
    "write_records",
]

SUBSETS = ("benchmark", "pretrain")
"""Subsets of IR-TD that can be constructed."""


def gather(
    folder: Path,
    subset: str,
    options: Options,
    progress: Progress | None = None,
    *,
    without_pictures: bool = False,
) -> Gathering:
    """Find the sources of a folder and survey those that can give something.

    Args:
        folder: Holds the source sets, each in a folder or archive of its own.
        subset: ``benchmark`` or ``pretrain``.
        options: What is wanted.
        progress: Told what goes on.
        without_pictures: Never open a picture, not even for its size.

    Raises:
        ReleaseNotFoundError: No source is there that can give anything.
    """
    from irtd_datasets.sources import merge_tables, read_table

    del without_pictures
    progress = progress or Progress()
    table = merge_tables(read_table(options.table)) if options.table else TABLE
    tasks = options.tasks if subset == "benchmark" else ("captioning",)
    found = Gathering()
    for place in find_sources(folder, table):
        wants = _wants(place.row, tasks, subset, options)
        if not wants:
            continue
        if not place.readable:
            found.problems[place.row.name] = (
                f"{place.path}: no layout of its row in the table of sources fits"
            )
            continue
        progress.stage(f"reading the labels of {place.row.name}")
        source = open_source(
            place.row.name, place.path, table=table, options=SourceOptions(check_pictures=False)
        )
        found.sources[place.row.name] = source
        found.wants[place.row.name] = wants
        found.surveys.append(survey(source, wants, options.rules, seed=options.seed, subset=subset))
    if subset == "benchmark":
        found.absent = [
            target for target in targets() if target.task in tasks and target.source not in found.sources
        ]
    if not found.surveys:
        names = ", ".join(dict.fromkeys(target.source for target in targets()))
        raise ReleaseNotFoundError(
            "no source here can give anything"
            + (f" ({'; '.join(found.problems.values())})" if found.problems else ""),
            where=str(folder),
            remedy=f"Give --sources a folder with source sets in folders of their own, such as {names}. "
            "`irtd sources --have DIR` tells what is recognised.",
        )
    return found


def _wants(row: SourceRow, tasks: tuple[str, ...], subset: str, options: Options) -> dict[str, Target]:
    if row.modality != "infrared":
        return {}
    if subset == "pretrain":
        rows = RULE_CAPTIONS if options.limit is None else options.limit
        return {"captioning": Target("captioning", row.name, rows, ("test", "validation"), "ground")}
    return wanted(row, tasks, others=options.other_sources)


def construct(
    subset: str,
    sources: Path,
    out: Path,
    options: Options | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Construction:
    """Construct a subset of IR-TD from source sets into a dataset folder.

    Other subsets that the folder has stay, and none of their pictures is taken.

    Args:
        subset: ``benchmark`` or ``pretrain``.
        sources: Folder that holds the source sets, each in a folder or archive of its own.
        out: The dataset folder; made if missing.
        options: What is wanted.
        workers: Processes that write shards.
        progress: Told what goes on.
        dry_run: Choose without opening a picture, and write nothing.

    Raises:
        UnknownNameError: No such subset.
        ReleaseNotFoundError: No source is there that can give anything, or what there is gives no record.
        BuildError: The folder cannot be written, or holds something else.
    """
    from irtd_datasets.build.folder import DatasetFolder

    if subset not in SUBSETS:
        raise UnknownNameError(
            f"{subset!r} cannot be constructed",
            remedy=f"Use {' or '.join(SUBSETS)}; `irtd build` builds the rest.",
        )
    options = options or Options()
    progress = progress or Progress()
    folder = DatasetFolder(out, SPEC)
    if not dry_run:
        folder.prepare()
    exclusion = Exclusion()
    others = tuple(one.name for one in SPEC.subsets if one.name != subset)
    if subset == "pretrain":
        others = ("benchmark",)
    for place in dict.fromkeys((out, *options.exclude)):
        if (place / "manifest.json").is_file() or place != out:
            exclusion.read(place, others, progress.stage)
    gathering = gather(sources, subset, options, progress)
    chosen, results = choose(gathering, exclusion, options, look=not dry_run, progress=progress)
    construction = Construction(
        subset,
        results,
        gathering.absent,
        {found.source: found.left_out for found in gathering.surveys},
        gathering.problems,
        {name: source.problems.counts for name, source in gathering.sources.items() if len(source.problems)},
        exclusion.folders,
    )
    if dry_run:
        return construction
    if not construction.rows:
        raise ReleaseNotFoundError(
            "the sources give no record: " + (_reasons(construction) or "their labels do not allow any"),
            where=str(sources),
            remedy="`irtd construct ... --json --dry-run` tells what became of each source.",
        )
    records = folder.staging / KEY
    write_records(records, subset, chosen, construction, gathering, options)
    construction.build = _build(subset, records, out, chosen, workers, progress)
    return construction


def _reasons(construction: Construction) -> str:
    total: Counter[str] = Counter()
    for results in construction.results.values():
        for one in results:
            total.update(one.rejected)
    for counts in construction.left_out.values():
        total.update(counts)
    return ", ".join(f"{reason} {count:,}" for reason, count in total.most_common())


def _build(
    subset: str,
    records: Path,
    out: Path,
    chosen: dict[str, list[Candidate]],
    workers: int,
    progress: Progress,
) -> BuildReport:
    from irtd_datasets.build.engine import build
    from irtd_datasets.examples.release import absolute_options

    names = [f"{subset}-{part_of(subset, task)}" for task in chosen]
    return build(SPEC.name, names, absolute_options(records), out, workers=workers, progress=progress)
