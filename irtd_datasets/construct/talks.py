"""Question-answer pairs of instruct by a language model: who is asked about which image, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.captioning.asking import TextReport, ask_texts, estimate_texts
from irtd_datasets.captioning.dialogues import TalkJob, talk_job
from irtd_datasets.captioning.journal import Journal
from irtd_datasets.captioning.labels import KnownLabels, KnownObject
from irtd_datasets.captioning.prompts import TalkPrompts
from irtd_datasets.captioning.run import CaptionOptions
from irtd_datasets.construct.benchmark import Captioned, TaskResult
from irtd_datasets.construct.describing import TALK
from irtd_datasets.construct.pairing import cut_labels
from irtd_datasets.construct.records import record_id
from irtd_datasets.errors import EndpointError
from irtd_datasets.images.files import prepare_image
from irtd_datasets.images.pairs.partner import cut_image
from irtd_datasets.irtd.tasks import captioning
from irtd_datasets.irtd.tasks.dialogue import DIALOGUES
from irtd_datasets.irtd.tasks.generation import Labels, Made
from irtd_datasets.irtd.words import plural
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from irtd_datasets.captioning.asking import Estimate, Judged, TextJob, Told
    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.construct.benchmark import Gathering
    from irtd_datasets.construct.pool import Candidate
    from irtd_datasets.sources import Source

__all__ = ["Asker", "Talker", "known_labels", "labels_shown", "locks_of"]

_EVERY = 20  # images between two lines of progress


def known_labels(labels: Labels) -> KnownLabels:
    """The labels of an image as texts are held against them."""
    width, height = labels.size or (0, 0)
    objects = tuple(
        KnownObject(
            one.word,
            one.x / width if width else None,
            None
            if one.box is None or not width
            else (one.box[0] / width, one.box[1] / height, one.box[2] / width, one.box[3] / height),
        )
        for one in labels.things
    )
    words = {*labels.words, *labels.exhaustive}
    return KnownLabels(objects, labels.exhaustive, {word: plural(word) for word in sorted(words)})


def labels_shown(one: Candidate) -> KnownLabels:
    """The labels of what the row of a candidate shows, as texts are held against them."""
    labelled, box = one.labelled or LabelledImage(one.source, one.image), _cut_of(one)
    if not box:
        return known_labels(Labels(labelled, size=one.size))
    return known_labels(Labels(cut_labels(labelled, box), size=(box[2] - box[0], box[3] - box[1])))


def _cut_of(one: Candidate) -> list[int]:
    """The rectangle that the image of a candidate is cut to; empty where it is whole."""
    found = one.registration or {}
    return list(found.get("image_box") or ()) if found.get("status") == "cropped" else []


def locks_of(sources: Iterable[Source]) -> dict[str, AbstractContextManager[object]]:
    """A lock for each source that is an archive, which is read through one handle."""
    return {one.name: nullcontext() if one.container.path.is_dir() else Lock() for one in sources}


@dataclass
class Asker:
    """Asks a language model about images, with the estimate before and the account after.

    Attributes:
        endpoint: Where to ask.
        journal: File that keeps every paid answer.
        options: How to ask.
        prompts: The texts of the questions.
        confirm: Told what it will cost before the first question; raises where that is not wanted.
        progress: Told what goes on.
    """

    endpoint: Endpoint
    journal: Path
    options: CaptionOptions = field(default_factory=CaptionOptions)
    prompts: TalkPrompts = field(default_factory=TalkPrompts)
    confirm: Callable[[Estimate], None] = lambda _: None
    progress: Progress = field(default_factory=Progress)

    def ask(self, jobs: Callable[[], Iterable[TalkJob]], *, dry_run: bool) -> tuple[list[Told], Captioned]:
        """What came of the jobs, in their order; nothing of a dry run.

        Args:
            jobs: Gives the jobs, which are gone through twice.
            dry_run: Whether only the estimate is made.

        Raises:
            EndpointError: The endpoint refuses every question; what was answered before is in the journal.
            BuildError: The journal cannot be written.
        """
        report = TextReport()
        self.progress.stage("texts: what they will cost")
        with Journal(self.journal, read_only=True) as journal:
            expected = estimate_texts(self._texts(jobs()), self.endpoint, journal, self.options)
        asked = Captioned(
            self.endpoint.model, self.journal, expected, None if dry_run else report, self.prompts.digest
        )
        told: list[Told] = []
        if dry_run:
            return told, asked
        if expected.questions:
            self.confirm(expected)
        with Journal(self.journal) as journal:
            for one in ask_texts(self._texts(jobs()), self.endpoint, journal, self.options, report):
                told.append(one)
                if len(told) % _EVERY == 0:
                    self.progress.stage(f"texts of {len(told):,} images, {report.asked:,} questions asked")
        if report.stopped and not report.over_cost:
            problem, _, remedy = report.stopped.partition("\n")
            raise EndpointError(
                f"{problem}; {report.accepted:,} texts are in the journal, and nothing was built",
                remedy=f"{remedy} Then run the same command again: no answer that was paid is asked for again.".strip(),
            )
        return told, asked

    def _texts(self, jobs: Iterable[TalkJob]) -> Iterator[TextJob]:
        return (talk_job(job, self.endpoint, self.options, self.prompts) for job in jobs)


@dataclass
class Talker:
    """Has a language model write conversations, detailed descriptions and reasoning about images for training.

    Attributes:
        asker: Asks.
    """

    asker: Asker

    @property
    def task(self) -> str:
        """Stands for the images among the candidates."""
        return TALK

    def __call__(
        self, chosen: list[Candidate], results: list[TaskResult], gathering: Gathering, *, dry_run: bool
    ) -> tuple[dict[str, list[Candidate]], dict[str, list[TaskResult]], Captioned]:
        """Ask, and give the records of each task with what was refused by reason.

        Raises:
            EndpointError: As `Asker.ask`.
            BuildError: As `Asker.ask`.
        """
        told, asked = self.asker.ask(lambda: self._jobs(chosen, gathering), dry_run=dry_run)
        parts: dict[str, list[Candidate]] = {}
        counts = {
            task: {one.target.source: replace(one, target=replace(one.target, task=task), chosen=0,
                                              candidates=one.chosen, rejected=Counter(one.rejected))
                   for one in results}
            for task in DIALOGUES
        }  # fmt: skip
        for number, one in enumerate(chosen):
            for task in DIALOGUES:
                count = counts[task][one.source]
                if dry_run:
                    count.chosen += 1
                    continue
                judged = _of(told[number], task)
                if judged.rounds:
                    count.chosen += 1
                    parts.setdefault(task, []).append(self._record(one, task, judged))
                else:
                    count.rejected.update({f"text {fault.partition(':')[0]}" for fault in judged.faults})
        return parts, {task: list(found.values()) for task, found in counts.items() if found}, asked

    def _record(self, one: Candidate, task: str, judged: Judged) -> Candidate:
        (question, answer), *more = judged.rounds
        made = Made(question or captioning.PROMPT, answer, more=tuple(more))
        origin = f"model:{self.asker.endpoint.model}"
        return replace(one, task=task, made=made, origin=origin, sent=judged.sent)

    def _jobs(self, chosen: Iterable[Candidate], gathering: Gathering) -> Iterator[TalkJob]:
        locks = locks_of(gathering.sources.values())
        for one in chosen:
            source = gathering.sources[one.source]
            labelled, box = one.labelled or LabelledImage(one.source, one.image), _cut_of(one)
            said = [one.made.answer] if one.made.answer else []
            yield TalkJob(
                f"irtd/instruct/{one.task}/constructed/{record_id(one, source.row)}",
                _reader(source, labelled, box, locks[one.source]),
                labels_shown(one),
                [*said, *dict.fromkeys(labelled.captions)],
            )


def _of(told: Told, task: str) -> Judged:
    """What came of a task; the fault that ended everything where it was not reached."""
    texts = told.texts
    return texts.get(task) or list(texts.values())[-1]


def _reader(
    source: Source, image: LabelledImage, box: list[int], lock: AbstractContextManager[object]
) -> Callable[[], bytes]:
    """Gives the infrared image as the row shows it."""

    def read() -> bytes:
        with lock:
            data = source.image_bytes(image)
        if not box:
            return data
        return bytes(cut_image(prepare_image(data, image.image).data, box, image.image))

    return read
