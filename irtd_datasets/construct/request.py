"""What `irtd construct` is asked, and who does it.

Texts by a language model come in three ways, all by `Asking`: captions of pretrain, question-answer pairs of instruct,
descriptions in the style of a remote sensing dataset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.captioning.prompts import TalkPrompts
from irtd_datasets.captioning.run import CaptionOptions
from irtd_datasets.catalog import spec
from irtd_datasets.construct.benchmark import Construction, Options, construct
from irtd_datasets.construct.captions import LanguageModel
from irtd_datasets.construct.remote_sensing import Extension, Selection, extend
from irtd_datasets.construct.talks import Asker, Talker
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.irtd.tasks import BENCHMARK_TASKS
from irtd_datasets.irtd.tasks.generation import RELEASED, Rules, read_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from irtd_datasets.captioning.run import Estimate
    from irtd_datasets.writing.progress import Progress

__all__ = ["CAPTIONS", "Asking", "Request", "run"]


@dataclass(frozen=True)
class Asking:
    """How a language model is asked for texts.

    Attributes:
        model: Its name; None where nobody gave one.
        url: Base address of an OpenAI-compatible endpoint; None uses Hugging Face's inference providers.
        key: Its key.
        options: How images are asked about; its prompts are those of captions.
        prompts: Those of question-answer pairs and descriptions.
        settings: Further fields of `Endpoint`, such as ``temperature``.
        journal: File that keeps every paid answer; by default ``<out>.captions.jsonl``.
        confirm: Told what it will cost before the first question; raises where that is not wanted.
    """

    model: str | None = None
    url: str | None = None
    key: str | None = None
    options: CaptionOptions = field(default_factory=CaptionOptions)
    prompts: TalkPrompts = field(default_factory=TalkPrompts)
    settings: Mapping[str, float] = field(default_factory=dict)
    journal: Path | None = None
    confirm: Callable[[Estimate], None] = lambda _: None

    @property
    def endpoint(self) -> Endpoint:
        """Where to ask.

        Raises:
            UnknownNameError: No model is named, or the address is none.
        """
        if not self.model:
            raise UnknownNameError(
                "a text by a language model needs a model",
                remedy="Name it with --model, as its endpoint calls it.",
            )
        if self.url is not None and not re.match(r"https?://[^/\s]+", self.url):
            raise UnknownNameError(
                f"{self.url!r} is no address of an endpoint",
                remedy="Give the base of an OpenAI-compatible interface, such as http://localhost:8000/v1.",
            )
        return Endpoint(self.model, self.url, self.key, **self.settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Request:
    """Everything that a user can say.

    Attributes:
        dataset: Name of the dataset.
        subset: One of `DatasetSpec.constructs` where the dataset declares any.
        sources: Folder that holds the source sets.
        out: The dataset folder, or the folder of records.
        tasks: Tasks; all by default.
        captions: How the captions of pretrain are made, a name of `CAPTIONS`.
        qa: ``llm`` to have a language model write question-answer pairs for instruct beside the rules' records.
        describe: ``llm`` to have one write descriptions and conversations for a remote sensing dataset.
        asking: How a language model is asked for texts.
        rules: Choices that are switched.
        released: Whether those that are not switched are the released ones.
        seed: Of everything drawn.
        limit: Most records of each task.
        split: ``train`` or ``test`` of the sources, for a dataset whose records are made; None as the dataset has it.
        other_sources: Whether sources that the table of targets does not name give records, too.
        exclude: Further dataset folders whose images must not be taken.
        table: A table of further sources.
        workers: Processes that write.
        dry_run: Whether nothing is to be written.
    """

    dataset: str
    subset: str | None = None
    sources: Path | None = None
    out: Path | None = None
    tasks: tuple[str, ...] = ()
    captions: str | None = None
    qa: str | None = None
    describe: str | None = None
    asking: Asking = field(default_factory=Asking)
    rules: Mapping[str, str] = field(default_factory=dict)
    released: bool = False
    seed: int = 0
    limit: int | None = None
    split: str | None = None
    other_sources: bool = True
    exclude: tuple[Path, ...] = ()
    table: Path | None = None
    workers: int = 1
    dry_run: bool = False

    @property
    def folder(self) -> Path:
        """Where the sources are.

        Raises:
            UnknownNameError: The request does not say.
        """
        if self.sources is None:
            raise UnknownNameError(
                "no sources given",
                remedy="Use --sources DIR, a folder that holds source sets, each in a folder of its own. "
                "`irtd sources` says what there is and how to get it.",
            )
        return self.sources

    def options(self) -> Options:
        """The options of a construction of IR-TD.

        Raises:
            UnknownNameError: A task or a choice does not exist.
        """
        return Options(
            tasks=self.tasks or BENCHMARK_TASKS,
            rules=read_rules(self.rules, RELEASED if self.released else Rules()),
            seed=self.seed,
            limit=self.limit,
            other_sources=self.other_sources,
            exclude=self.exclude,
            table=self.table,
        )


def run(request: Request, progress: Progress | None = None) -> Construction | Extension:
    """Do what is asked.

    Raises:
        UnknownNameError: A name of the request does not exist, or it lacks one.
        ReleaseNotFoundError: No source is there that can give anything.
        BuildError: The folder cannot be written, or holds something else.
        EndpointError: The language model refuses.
    """
    subsets = spec(request.dataset).constructs
    _check_texts(request, subsets)
    if request.split not in (None, "train", "test") or (subsets and request.split):
        raise UnknownNameError(
            f"--split {request.split} cannot be chosen for {request.dataset}",
            remedy="Leave it out: the benchmark takes test images, instruct and pretrain the others."
            if subsets
            else "Use --split train or --split test.",
        )
    if not subsets:
        if request.subset is not None:
            raise UnknownNameError(
                f"{request.dataset} has no subset {request.subset!r} that can be constructed",
                remedy=f"Leave it out: irtd construct {request.dataset} --sources DIR --out FOLDER.",
            )
        return extend(
            request.dataset,
            request.folder,
            _out(request),
            Selection(request.tasks, request.limit, request.seed, request.split),
            table=request.table,
            progress=progress,
            dry_run=request.dry_run,
            asker=_asker(request, progress) if request.describe else None,
        )
    if request.subset not in subsets:
        given = "no subset given" if request.subset is None else f"{request.subset!r} cannot be constructed"
        raise UnknownNameError(given, remedy=f"Use irtd construct {request.dataset} {' or '.join(subsets)}.")
    if request.subset == "pretrain":
        writer = CAPTIONS.get(request.captions or "rule")
        if writer is None:
            raise UnknownNameError(
                f"captions cannot be made by {request.captions!r}",
                remedy=f"Use --captions {' or '.join(CAPTIONS)}.",
            )
        if request.captions != "llm" and request.asking.model:
            raise UnknownNameError(
                "rule captions ask no model", remedy="Leave --model out, or use --captions llm."
            )
        return writer(request, progress)
    if request.captions is not None:
        raise UnknownNameError(f"{request.subset} has no captions", remedy="Leave --captions out.")
    return _construct(request, progress, Talker(_asker(request, progress)) if request.qa else None)


def _check_texts(request: Request, subsets: tuple[str, ...]) -> None:
    """Refuse ways to texts that are none, or that what is constructed does not have.

    Raises:
        UnknownNameError: Says which.
    """
    for option, value in (("--qa", request.qa), ("--describe", request.describe)):
        if value not in (None, "llm"):
            raise UnknownNameError(
                f"{option} cannot be {value!r}", remedy=f"Use {option} llm, or leave it out."
            )
    if request.qa and request.subset != "instruct":
        raise UnknownNameError(
            f"--qa is for instruct, not for {request.subset or request.dataset}",
            remedy="Use irtd construct irtd instruct --qa llm, or leave it out.",
        )
    if request.describe and subsets:
        raise UnknownNameError(
            f"--describe is for a dataset of remote sensing, not for {request.dataset}",
            remedy="Use irtd construct rs_gpt4v --describe llm, or leave it out.",
        )


def _asker(request: Request, progress: Progress | None) -> Asker:
    asking, out = request.asking, _out(request)
    asker = Asker(asking.endpoint, _journal(asking, out), asking.options, asking.prompts, asking.confirm)
    if progress is not None:
        asker.progress = progress
    return asker


def _journal(asking: Asking, out: Path) -> Path:
    return asking.journal or out.with_name(f"{out.resolve().name}.captions.jsonl")


def _construct(
    request: Request, progress: Progress | None, captioner: LanguageModel | Talker | None = None
) -> Construction:
    return construct(
        str(request.subset),
        request.folder,
        _out(request),
        request.options(),
        workers=request.workers,
        progress=progress,
        dry_run=request.dry_run,
        captioner=captioner,
    )


def _out(request: Request) -> Path:
    return request.out or Path(
        request.dataset if spec(request.dataset).constructs else f"{request.dataset}_more"
    )


def _ask(request: Request, progress: Progress | None) -> Construction:
    """Captions by a language model; what it does not describe has a rule caption."""
    asking, out = request.asking, _out(request)
    model = LanguageModel(
        asking.endpoint,
        _journal(asking, out),
        asking.options,
        request.options().rules,
        asking.confirm,
    )
    if progress is not None:
        model.progress = progress
    return _construct(request, progress, model)


CAPTIONS: dict[str, Callable[[Request, Progress | None], Construction]] = {"rule": _construct, "llm": _ask}
"""Ways to caption: by rule, or by a language model."""
