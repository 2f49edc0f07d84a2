"""Constructing subsets of IR-TD from source sets: survey, choice, check of the images, records, build."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.captioning.asking import NOT_ANSWERED
from irtd_datasets.construct.describing import TALK, caption_maker, make_talk
from irtd_datasets.construct.exclusion import LIKE_OTHER_SUBSET, LIKE_OWN, Exclusion, Looks, bits_of
from irtd_datasets.construct.pairing import Pairing
from irtd_datasets.construct.records import part_of, write_records
from irtd_datasets.construct.survey import survey
from irtd_datasets.construct.targets import Target, instructed, targets, training_rows, wanted
from irtd_datasets.errors import BuildError, ImageError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.images.files import prepare_image
from irtd_datasets.irtd.constructed import KEY
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks import BENCHMARK_TASKS, MAKERS
from irtd_datasets.irtd.tasks.counting import NONE, NONE_SHARE
from irtd_datasets.irtd.tasks.generation import Rules
from irtd_datasets.sources import TABLE, SourceOptions, find_sources, open_source
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from irtd_datasets.captioning.run import CaptionReport, Estimate
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.construct.survey import Survey
    from irtd_datasets.irtd.tasks.generation import Maker
    from irtd_datasets.sources import Source, SourceRow
    from irtd_datasets.writing.engine import BuildReport
    from irtd_datasets.writing.folder import DatasetFolder

__all__ = [
    "CAPTION_PARTS",
    "SUBSETS",
    "Captioned",
    "Captioner",
    "Construction",
    "Gathering",
    "Options",
    "TaskResult",
    "choose",
    "construct",
    "gather",
]

SUBSETS = SPEC.constructs
"""Subsets of IR-TD that can be constructed."""

RULE_CAPTIONS = 106_000
"""Rule captions of the paper, about (section 3.2); not split by source."""

MODEL_CAPTIONS = 84_284
"""Captions by a language model in the paper (section 3.2); not split by source."""

CAPTION_PARTS = ("model_captions", "rule_captions")
"""Parts of pretrain that can be constructed; they are made together, so that no image stands in both."""


@dataclass(frozen=True)
class Options:
    """How a subset is constructed.

    Attributes:
        tasks: Tasks of the benchmark; all by default.
        rules: The choices of the tasks.
        seed: Of everything drawn.
        limit: Most records of each task; None for the targets.
        other_sources: Whether sources that the table of targets does not name give records, too.
        exclude: Further dataset folders none of whose training images may be in the benchmark.
        max_distance: Bits up to which an image counts as one of another subset.
        table: A table of sources in addition to the library's own.
        described: Whether a language model is to describe the images of pretrain, so that those whose labels allow
            no rule caption are candidates, too.
    """

    tasks: tuple[str, ...] = BENCHMARK_TASKS
    rules: Rules = field(default_factory=Rules)
    seed: int = 0
    limit: int | None = None
    other_sources: bool = True
    exclude: tuple[Path, ...] = ()
    max_distance: int = LIKE_OTHER_SUBSET
    table: Path | None = None
    described: bool = False

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in (*BENCHMARK_TASKS, "captioning", TALK):
                raise UnknownNameError(
                    f"the benchmark has no task {task!r}",
                    remedy=f"Its tasks are {', '.join(BENCHMARK_TASKS)}.",
                )


@dataclass(slots=True)
class TaskResult:
    """What one source gave to one task.

    Attributes:
        target: What it was to give.
        candidates: Records that its labels allow, after the thinning of videos.
        chosen: Records taken.
        rejected: Candidates that were not taken, by reason.
    """

    target: Target
    candidates: int = 0
    chosen: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Gathering:
    """The candidates of all sources.

    Attributes:
        surveys: What each source can give.
        sources: The sources, opened.
        absent: Targets whose source is not there or cannot be read.
        problems: Sources that could not be read, with the reason.
        idle: Sources that are there and feed none of the tasks, with the reason.
    """

    surveys: list[Survey] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    wants: dict[str, dict[str, Target]] = field(default_factory=dict)
    absent: list[Target] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Captioned:
    """What asking a language model for captions came to.

    Attributes:
        model: Its name.
        journal: The file that keeps every paid answer.
        estimate: What was expected before the first question.
        report: What was asked and answered; None where nothing was sent.
        prompts: Digest of the prompts.
    """

    model: str
    journal: Path
    estimate: Estimate
    report: CaptionReport | None
    prompts: str

    @property
    def unanswered(self) -> int:
        """Images that the next run asks about."""
        if self.report is None:
            return self.estimate.questions
        return self.report.rejected[NOT_ANSWERED]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "prompts": self.prompts,
            "journal": str(self.journal),
            "estimate": self.estimate.as_dict(),
            "report": self.report.as_dict() if self.report else None,
            "unanswered": self.unanswered,
        }


class Captioner(Protocol):
    """Turns the images that were chosen for texts of a language model into records with them."""

    @property
    def task(self) -> str:
        """The task that stands for these images among the candidates."""

    def __call__(
        self, chosen: list[Candidate], results: list[TaskResult], gathering: Gathering, *, dry_run: bool
    ) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]], Captioned]:
        """Records and counts of each part, and what asking came to."""


@dataclass(slots=True)
class Construction:
    """What was constructed.

    Attributes:
        subset: The subset.
        results: For each task what each source gave.
        absent: Targets whose source is not there.
        left_out: For each source the images that were not asked about, by reason.
        problems: Sources that could not be read.
        label_problems: For each source what was not as it should be in its labels, by code.
        excluded: Dataset folders whose images were kept out.
        build: What the build did; None where nothing was built.
        captions: What asking a language model came to; None where none was asked.
    """

    subset: str
    results: dict[str, list[TaskResult]]
    absent: list[Target]
    left_out: dict[str, Counter[str]]
    problems: dict[str, str]
    label_problems: dict[str, dict[str, int]]
    excluded: list[str]
    build: BuildReport | None = None
    captions: Captioned | None = None

    def state(self, task: str) -> str:
        """``complete``, ``partial`` or ``absent``: whether a task has all records that the table of targets wants."""
        chosen = sum(one.chosen for one in self.results.get(task, ()))
        listed = sum(
            one.chosen for one in self.results.get(task, ()) if one.target.listed or self.subset == "instruct"
        )
        if not chosen:
            return "absent"
        return "complete" if listed >= self.target(task) else "partial"

    def target(self, task: str) -> int:
        """Records that a task has when all listed sources are there."""
        if task in {"captioning", *CAPTION_PARTS}:
            return MODEL_CAPTIONS if task == "model_captions" else RULE_CAPTIONS
        if self.subset == "instruct":
            return training_rows(task)
        return sum(target.rows for target in targets() if target.task == task)

    @property
    def rows(self) -> int:
        """Records of all tasks."""
        return sum(one.chosen for results in self.results.values() for one in results)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "subset": self.subset,
            "rows": self.rows,
            "tasks": {
                task: {
                    "state": self.state(task),
                    "target": self.target(task),
                    "rows": sum(one.chosen for one in results),
                    "sources": {
                        one.target.source: {
                            "target": one.target.rows,
                            "listed": one.target.listed,
                            "candidates": one.candidates,
                            "rows": one.chosen,
                            "rejected": dict(sorted(one.rejected.items())),
                        }
                        for one in results
                    },
                    "absent_sources": [t.source for t in self.absent if t.task == task],
                }
                for task, results in self.results.items()
            },
            "left_out": {name: dict(sorted(counts.items())) for name, counts in self.left_out.items()},
            "problems": self.problems,
            "label_problems": self.label_problems,
            "excluded": self.excluded,
            "captions": self.captions.as_dict() if self.captions else None,
            "folder": str(self.build.folder) if self.build else None,
        }


def gather(
    folder: Path,
    subset: str,
    options: Options,
    progress: Progress | None = None,
) -> Gathering:
    """Find the sources of a folder and survey those that can give something.

    Args:
        folder: Holds the source sets, each in a folder or archive of its own.
        subset: ``benchmark``, ``instruct`` or ``pretrain``.
        options: What is wanted.
        progress: Told what goes on.

    Raises:
        ReleaseNotFoundError: No source is there that can give anything.
    """
    from irtd_datasets.sources import merge_tables, read_table

    progress = progress or Progress()
    table = merge_tables(read_table(options.table)) if options.table else TABLE
    tasks = ("captioning",) if subset == "pretrain" else options.tasks
    found = Gathering()
    for place in find_sources(folder, table):
        wants = _wants(place.row, tasks, subset, options)
        if not wants:
            found.idle[place.row.name] = _why_idle(place.row, tasks)
            continue
        if not place.readable:
            found.problems[place.row.name] = (
                f"{place.path}: no layout of its row in the table of sources fits"
            )
            continue
        progress.stage(f"reading the labels of {place.row.name}")
        source = open_source(
            place.row.name, place.path, table=table, options=SourceOptions(check_images=False)
        )
        found.sources[place.row.name] = source
        found.wants[place.row.name] = wants
        makers = _makers(place.row, options)
        found.surveys.append(
            survey(source, wants, options.rules, seed=options.seed, subset=subset, makers=makers)
        )
    if subset == "benchmark":
        found.absent = [
            target for target in targets() if target.task in tasks and target.source not in found.sources
        ]
    if not found.surveys:
        names = ", ".join(dict.fromkeys(target.source for target in targets()))
        told = [*found.problems.values(), *found.idle.values()]
        raise ReleaseNotFoundError(
            "no source here can give anything" + (f" ({'; '.join(told)})" if told else ""),
            where=str(folder),
            remedy=f"Give --sources a folder with source sets in folders of their own, such as {names}. "
            "`irtd sources --have DIR` tells what is recognised.",
        )
    return found


def _makers(row: SourceRow, options: Options) -> Mapping[str, Maker]:
    return {"captioning": caption_maker(row)} if options.described else {**MAKERS, TALK: make_talk}


def _why_idle(row: SourceRow, tasks: tuple[str, ...]) -> str:
    if row.modality != "infrared":
        return f"{row.name} is {row.modality}, and IR-TD is infrared: its row says so in the column modality"
    if not row.tasks:
        return (
            f"the row of {row.name!r} in the table of sources has nothing in the column tasks: name there what "
            f"it can feed, such as {', '.join(tasks)}"
        )
    return f"{row.name} feeds {', '.join(row.tasks)} by its row, and not {', '.join(tasks)}"


def _wants(row: SourceRow, tasks: tuple[str, ...], subset: str, options: Options) -> dict[str, Target]:
    if row.modality != "infrared":
        return {}
    if subset == "pretrain":
        rows = RULE_CAPTIONS + MODEL_CAPTIONS * options.described if options.limit is None else options.limit
        return {"captioning": Target("captioning", row.name, rows, ("test", "validation"), "ground")}
    if subset == "instruct":
        return instructed(row, tasks, others=options.other_sources)
    return wanted(row, tasks, others=options.other_sources)


@contextmanager
def _pool(workers: int) -> Iterator[Executor | None]:
    """Processes for as many workers; none for one."""
    if workers <= 1:
        yield None
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def choose(
    gathering: Gathering,
    exclusion: Exclusion,
    options: Options,
    *,
    look: bool = True,
    progress: Progress | None = None,
    pool: Executor | None = None,
) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]]]:
    """Take as many candidates of each source and task as are wanted, strata in turn.

    Args:
        gathering: The candidates.
        exclusion: What must not be taken.
        options: What is wanted.
        look: Whether images are opened: decoded, compared with the excluded ones and with each other.
        progress: Told what goes on.
        pool: Processes that register pairs.

    Returns:
        The records of each task, and the counts.
    """
    progress = progress or Progress()
    chosen: dict[str, list[Candidate]] = {}
    results: dict[str, list[TaskResult]] = {}
    taken = Looks()
    for found in gathering.surveys:
        progress.stage(f"choosing from {found.source}")
        source = gathering.sources[found.source]
        checks = _Images(source, exclusion, taken, options.max_distance) if look else None
        view, makers = next(iter(gathering.wants[found.source].values())).view, _makers(source.row, options)
        pairing = Pairing(source, makers, options.rules, options.seed, view, pool) if look else None
        for task, candidates in found.pools.items():
            result = TaskResult(gathering.wants[found.source][task], candidates.offered)
            results.setdefault(task, []).append(result)
            rows = (
                candidates.rows
                if options.limit is None
                else min(candidates.rows, _share(options.limit, task, gathering))
            )
            none = 0
            ordered = candidates.ordered()
            for candidate in ordered if pairing is None else pairing.ahead(ordered):
                if result.chosen >= rows:
                    break
                reason = found.stands_elsewhere(candidate) or exclusion.why_not(candidate, source.row)
                if candidate.made.stratum == NONE and none > NONE_SHARE * result.chosen:
                    reason = reason or "enough with none of it"
                if not reason and checks is not None:
                    reason = checks.why_not(candidate)
                if not reason and pairing is not None:
                    candidate, reason = pairing.paired(candidate)  # noqa: PLW2901 - the same, as the row shows it
                if reason:
                    result.rejected[reason] += 1
                    continue
                result.chosen += 1
                none += candidate.made.stratum == NONE
                chosen.setdefault(task, []).append(candidate)
    return chosen, results


def _share(limit: int, task: str, gathering: Gathering) -> int:
    """What each source may give when a task is limited: an equal share, rounded up."""
    sources = sum(task in wants for wants in gathering.wants.values())
    return -(-limit // max(1, sources))


class _Images:
    """Checks of the images of one source; each image is opened once.

    Args:
        source: The source.
        exclusion: Images that must not be taken.
        taken: Images that were taken, of all sources: sets share images, as FLIR and FLIR_ADAS do.
        max_distance: Bits up to which an image counts as one of another subset.
    """

    def __init__(self, source: Source, exclusion: Exclusion, taken: Looks, max_distance: int) -> None:
        self._source = source
        self._exclusion = exclusion
        self._max_distance = max_distance
        self._verdicts: dict[str, str] = {}
        self._taken = taken

    def why_not(self, candidate: Candidate) -> str:
        """Why a candidate cannot be taken; empty where it can."""
        for name in candidate.made.members or (candidate.image,):
            if name not in self._verdicts:
                # Crops of people all look alike: they are compared with nothing.
                self._verdicts[name] = self._check(name, candidate, alike=not candidate.made.members)
            if self._verdicts[name]:
                return self._verdicts[name]
        return ""

    def _check(self, name: str, candidate: Candidate, *, alike: bool) -> str:
        try:
            data = self._source.image_bytes(LabelledImage(self._source.name, name))
            image = prepare_image(data, name)
            bits = bits_of(data, name) if alike else None
        except ImageError as error:
            return error.code
        except OSError:
            return "image missing"
        if candidate.size is not None and alike and candidate.size != (image.width, image.height):
            return "image of another size than its labels say"
        if not alike:
            return ""
        if self._exclusion.looks.nearest(data, bits, self._max_distance) is not None:
            return "looks like an image of another subset"
        if self._taken.nearest(data, bits, LIKE_OWN) is not None:
            return "same frame as one that was taken"
        self._taken.add(name, data, bits)
        return ""


def construct(
    subset: str,
    sources: Path,
    out: Path,
    options: Options | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    dry_run: bool = False,
    captioner: Captioner | None = None,
) -> Construction:
    """Construct a subset of IR-TD from source sets into a dataset folder.

    Other subsets that the folder has stay, and none of their images is taken.

    Args:
        subset: ``benchmark``, ``instruct`` or ``pretrain``.
        sources: Folder that holds the source sets, each in a folder or archive of its own.
        out: The dataset folder; made if missing.
        options: What is wanted.
        workers: Processes that register pairs and write shards.
        progress: Told what goes on.
        dry_run: Choose without opening an image, and write nothing.
        captioner: Asks a language model for the captions of pretrain, or for question-answer pairs of instruct;
            None has rules alone.

    Raises:
        UnknownNameError: No such subset.
        EndpointError: The language model refuses.
        ReleaseNotFoundError: No source is there that can give anything, or what there is gives no record.
        BuildError: The folder cannot be written, or holds something else.
    """
    from irtd_datasets.writing.folder import DatasetFolder

    if subset not in SUBSETS:
        raise UnknownNameError(
            f"{subset!r} cannot be constructed",
            remedy=f"Use {' or '.join(SUBSETS)}; `irtd build` builds the rest.",
        )
    options = options or Options()
    if captioner is not None and subset == "pretrain":
        options = replace(options, described=True)
    elif captioner is not None:
        options = replace(options, tasks=(*options.tasks, captioner.task))
    progress = progress or Progress()
    folder = DatasetFolder(out, SPEC)
    if not dry_run:
        folder.prepare()
    if subset != "pretrain":
        _keep_released(folder, subset, options.tasks)
    exclusion = _exclusion(subset, out, options, progress)
    gathering = gather(sources, subset, options, progress)
    with _pool(1 if dry_run else workers) as pool:
        chosen, results = choose(
            gathering, exclusion, options, look=not dry_run, progress=progress, pool=pool
        )
    captioned = None
    if captioner is not None:
        images, counts = chosen.pop(captioner.task, []), results.pop(captioner.task, [])
        written, told, captioned = captioner(images, counts, gathering, dry_run=dry_run)
        chosen.update(written)
        results.update(told)
    construction = Construction(
        subset,
        results,
        gathering.absent,
        {found.source: found.left_out for found in gathering.surveys},
        {**gathering.problems, **gathering.idle},
        {name: source.problems.counts for name, source in gathering.sources.items() if len(source.problems)},
        exclusion.folders,
        captions=captioned,
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


def _exclusion(subset: str, out: Path, options: Options, progress: Progress) -> Exclusion:
    """The images that a subset must not have: those of the other side, in its folder and in those named."""
    exclusion = Exclusion()
    training = tuple(one.name for one in SPEC.subsets if one.split == "train")
    others = ("benchmark",) if subset in training else training
    for place in dict.fromkeys((out, *options.exclude)):
        if (place / "manifest.json").is_file() or place != out:
            exclusion.read(place, others, progress.stage)
    return exclusion


def _keep_released(folder: DatasetFolder, subset: str, tasks: Sequence[str]) -> None:
    """Refuse to put constructed rows in the place of released ones.

    Raises:
        BuildError: The folder has released rows of one of these parts.
    """
    ledger = folder.ledger()
    for line in ledger.lines if ledger is not None else ():
        kept = line.record_counts is not None and line.record_counts.kept
        if kept and line.subset == subset and line.part in tasks and not line.note.startswith(f"{KEY}/"):
            raise BuildError(
                f"it holds released rows of {subset}-{line.part}, which constructed ones would replace",
                where=str(folder.path),
                remedy="Give --out another folder, or name other tasks with --task.",
            )


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
    from irtd_datasets.rows.release import absolute_options
    from irtd_datasets.writing.engine import build

    parts = CAPTION_PARTS if subset == "pretrain" else [part_of(subset, task) for task in chosen]
    names = [f"{subset}-{part}" for part in parts]
    return build(SPEC.name, names, absolute_options(records), out, workers=workers, progress=progress)
