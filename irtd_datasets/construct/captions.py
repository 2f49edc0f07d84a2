"""Captions of pretrain by a language model: who is asked about what, and what becomes of the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.captioning.asking import NOT_ANSWERED
from irtd_datasets.captioning.journal import Journal
from irtd_datasets.captioning.run import (
    CaptionJob,
    CaptionOptions,
    CaptionReport,
    caption,
    estimate,
)
from irtd_datasets.construct.benchmark import CAPTION_PARTS, Captioned, TaskResult
from irtd_datasets.construct.describing import image_to_describe
from irtd_datasets.construct.pairing import shown_partner
from irtd_datasets.construct.records import record_id
from irtd_datasets.construct.talks import labels_shown, locks_of
from irtd_datasets.errors import EndpointError
from irtd_datasets.irtd.spec import SPEC
from irtd_datasets.irtd.tasks.generation import Made, Rules
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.run import Estimate, Verdict
    from irtd_datasets.construct.benchmark import Gathering
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.sources import Source

__all__ = ["LanguageModel"]

_MODEL, _RULE = CAPTION_PARTS
_EVERY = 20  # images between two lines of progress


@dataclass
class LanguageModel:
    """Asks a language model for the captions of the images that were chosen.

    Attributes:
        endpoint: Where to ask.
        journal: File that keeps every paid answer.
        options: How to ask.
        rules: The choices.
        confirm: Told what it will cost before the first question; raises where that is not wanted.
        progress: Told what goes on.
    """

    endpoint: Endpoint
    journal: Path
    options: CaptionOptions = field(default_factory=CaptionOptions)
    rules: Rules = field(default_factory=Rules)
    confirm: Callable[[Estimate], None] = lambda _: None
    progress: Progress = field(default_factory=Progress)

    @property
    def task(self) -> str:
        """Captions: all images that were chosen are for them."""
        return "captioning"

    def __call__(
        self, chosen: list[Candidate], results: list[TaskResult], gathering: Gathering, *, dry_run: bool
    ) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]], Captioned]:
        """Ask, and sort the images into those with a text and those with a rule caption.

        Raises:
            EndpointError: The endpoint refuses every question; what was answered before is in the journal.
            BuildError: The journal cannot be written.
        """
        described = {id(one): self._described(one, gathering) for one in chosen}
        asked = [one for one in chosen if described[id(one)]]
        report = CaptionReport()
        texts: dict[int, str] = {}
        faults: dict[int, str] = {}
        sent: dict[int, str] = {}
        self.progress.stage("captions: what they will cost")
        with Journal(self.journal, read_only=True) as journal:
            jobs = self._jobs(asked, described, gathering)
            expected = estimate(jobs, self.endpoint, journal, self.options)
        captioned = Captioned(
            self.endpoint.model,
            self.journal,
            expected,
            None if dry_run else report,
            self.options.prompts.digest,
        )
        if not dry_run:
            if expected.questions:
                self.confirm(expected)
            for one, verdict in self._verdicts(asked, described, gathering, report):
                if verdict.text is not None:
                    texts[id(one)] = verdict.text
                    sent[id(one)] = verdict.sent
                else:
                    faults[id(one)] = verdict.faults[0].partition(":")[0]
        if report.stopped and not report.over_cost:
            problem, _, remedy = report.stopped.partition("\n")
            raise EndpointError(
                f"{problem}; {report.accepted:,} of {len(asked):,} images have their "
                "caption in the journal, and nothing was built",
                remedy=f"{remedy} Then run the same command again: no answer that was paid is asked for again.".strip(),
            )
        answers = texts, sent, faults
        return *self._sorted(chosen, described, answers, results, asked=not dry_run), captioned

    def _verdicts(
        self,
        asked: list[Candidate],
        described: Mapping[int, str],
        gathering: Gathering,
        report: CaptionReport,
    ) -> Iterator[tuple[Candidate, Verdict]]:
        jobs = self._jobs(asked, described, gathering)
        with Journal(self.journal) as journal:
            verdicts = caption(jobs, self.endpoint, journal, self.options, report)
            for number, pair in enumerate(zip(asked, verdicts, strict=True), 1):
                yield pair
                if number % _EVERY == 0 or number == len(asked):
                    self.progress.stage(_told(number, len(asked), report))

    def _described(self, candidate: Candidate, gathering: Gathering) -> str:
        if _refusal(candidate):
            return ""  # the text would be about another view than the row's
        return image_to_describe(candidate.visible, gathering.sources[candidate.source].row, self.rules)

    def _jobs(
        self, asked: Iterable[Candidate], described: Mapping[int, str], gathering: Gathering
    ) -> Iterator[CaptionJob]:
        locks = locks_of(gathering.sources.values())
        for one in asked:
            source = gathering.sources[one.source]
            of = described[id(one)]
            yield CaptionJob(
                f"{SPEC.name}/pretrain/{_MODEL}/constructed/{record_id(one, source.row)}",
                _reader(source, one, of, locks[one.source]),
                one.made.answer,
                "infrared" if of == "infrared" else "visible",
                labels_shown(one),
            )

    def _sorted(
        self,
        chosen: list[Candidate],
        described: Mapping[int, str],
        answers: tuple[Mapping[int, str], Mapping[int, str], Mapping[int, str]],
        results: list[TaskResult],
        *,
        asked: bool,
    ) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]]]:
        """Records of both parts and their counts; without answers, as if all were good."""
        parts: dict[str, list[Candidate]] = {_MODEL: [], _RULE: []}
        texts, sent, faults = answers
        model = {one.target.source: replace(one, chosen=0, candidates=0) for one in results}
        rule = {
            one.target.source: replace(one, chosen=0, candidates=0, rejected=Counter()) for one in results
        }
        for one in chosen:
            counts, fault = model[one.source], faults.get(id(one), "")
            if described[id(one)]:
                counts.candidates += 1
                if not fault:
                    counts.chosen += 1
                    text = Made(one.made.question, texts[id(one)] if asked else "")
                    parts[_MODEL].append(
                        replace(
                            one,
                            made=text,
                            caption_of=described[id(one)],
                            origin=f"model:{self.endpoint.model}",
                            sent=sent.get(id(one), ""),
                        )
                    )
                    continue
                counts.rejected[f"caption {fault}"] += 1
                if fault == NOT_ANSWERED:
                    continue
            elif refusal := _refusal(one):
                counts.candidates += 1
                counts.rejected[f"pair {refusal}"] += 1
            if self.rules.partnerless == "leave-out":
                continue
            counts = rule[one.source]
            counts.candidates += 1
            if one.made.answer:
                counts.chosen += 1
                parts[_RULE].append(one)
            else:
                counts.rejected["labels allow no rule caption"] += 1
        kept = {part: records for part, records in parts.items() if records}
        counted = {_MODEL: model, _RULE: rule}
        told = {
            part: [one for one in counts.values() if one.candidates or one.rejected]
            for part, counts in counted.items()
        }
        return kept, {part: counts for part, counts in told.items() if counts}


def _reader(
    source: Source, candidate: Candidate, of: str, lock: AbstractContextManager[object]
) -> Callable[[], bytes]:
    image = LabelledImage(source.name, candidate.image, visible=candidate.visible)

    def read() -> bytes:
        with lock:
            if of == "infrared":
                return source.image_bytes(image)
            return shown_partner(source, image, candidate.registration)

    return read


def _refusal(candidate: Candidate) -> str:
    """Why the pair of a candidate cannot be shown; empty where it can, or has not been looked at."""
    status = str((candidate.registration or {}).get("status", ""))
    return status if status.startswith("refused") else ""


def _told(number: int, total: int, report: CaptionReport) -> str:
    cost = f", cost {report.cost:,.2f}" if report.cost else ""
    return f"captions: {number:,} of {total:,}, {report.asked:,} asked{cost}"
