"""Texts about an image in one or several questions: asked, written down, judged, and asked again once.

What is asked about an image is a plan: a generator that yields a question, is sent what came of it, and yields the next
one, which may lean on that. Captions are a plan of one question, question-answer pairs of three, a hierarchical
description of one for each region and three more. All go through the same journal, estimate and limit of cost. An
answer that fails its judge gets one correction in the same conversation; if that fails, too, it is refused with its
faults.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from irtd_datasets.captioning.endpoint import image_message
from irtd_datasets.captioning.paid import PaidRun, RunReport, image_tokens
from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import inspect_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.journal import Answer, Journal

__all__ = [
    "NOT_ANSWERED",
    "Estimate",
    "Judged",
    "NoImageError",
    "Plan",
    "Question",
    "SentImage",
    "TextJob",
    "TextReport",
    "Told",
    "ask_texts",
    "estimate_texts",
]

NOT_ANSWERED = "not-answered"
"""Fault of a question that was not asked, or not answered; the next run asks it."""


class Asking(Protocol):
    """How texts are asked for."""

    @property
    def concurrency(self) -> int:
        """Images under way at a time."""

    @property
    def max_side(self) -> int:
        """Longest side in pixels of the image that is sent."""

    @property
    def max_cost(self) -> float | None:
        """Most that may be charged."""

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Price of some tokens."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a question.

    Attributes:
        rounds: Questions and answers that were accepted; the question is empty where the text answers none. Empty
            where the answer was refused.
        faults: Why it was refused.
        changes: What was taken out of it.
        sent: SHA-256 of the image that was sent; empty where that is not known.
    """

    rounds: tuple[tuple[str, str], ...] = ()
    faults: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    sent: str = ""

    @property
    def text(self) -> str | None:
        """The last answer; None where it was refused."""
        return self.rounds[-1][1] if self.rounds else None


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the model.

    Attributes:
        name: What it is for, unique in its plan.
        prompt: Its text.
        judge: Tells what an answer comes to.
        correct: The question after an answer with these faults.
        words: About how many words the answer will have, for the estimate.
    """

    name: str
    prompt: str
    judge: Callable[[Answer], Judged]
    correct: Callable[[Iterable[str]], str]
    words: int


Plan: TypeAlias = Generator[Question, Judged, None]
"""The questions about one image; each yield gives what came of it."""


@dataclass(frozen=True, slots=True)
class SentImage:
    """An image as it is sent.

    Attributes:
        data: Its bytes.
        kind: ``jpeg`` or ``png``.
        tokens: About how many tokens it counts as.
    """

    data: bytes
    kind: str
    tokens: int

    @property
    def digest(self) -> str:
        """SHA-256 of what is sent."""
        return hashlib.sha256(self.data).hexdigest()


class NoImageError(Exception):
    """An image that nothing can be asked about; its message is the fault."""


@dataclass(frozen=True, slots=True)
class TextJob:
    """An image that wants texts.

    Attributes:
        id: Of the row, or of the image.
        image: Gives its bytes.
        plan: What is asked.
        key: What makes two questions the same, from the prompt and the bytes of the image.
        prepare: Brings the bytes into the form in which they are sent; may raise `NoImageError`.
    """

    id: str
    image: Callable[[], bytes]
    plan: Callable[[], Plan]
    key: Callable[[str, bytes], str]
    prepare: Callable[[bytes], SentImage]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of all questions about an image.

    Attributes:
        id: As that of the job.
        texts: By the name of each question that was asked. Where the image could not be read, one of an empty name.
    """

    id: str
    texts: Mapping[str, Judged]


@dataclass
class TextReport(RunReport):
    """Sums of a run, with what became of the texts.

    Attributes:
        accepted: Texts that passed.
        rejected: Texts that did not, by fault.
    """

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost at most but for corrections, before it starts.

    Attributes:
        images: Texts to ask for, one for each image where captions are asked for; those of images that will turn out
            too dark included.
        answered: Of these, already in the journal, hence free.
        input_tokens: Of all questions; an image counts as one token for each 28 x 28 pixels, the text as one for
            each 4 letters.
        output_tokens: Of all answers, taking 1.4 tokens a word.
        cost: In the currency of the prices.
    """

    images: int
    answered: int
    input_tokens: int
    output_tokens: int
    cost: float

    @property
    def questions(self) -> int:
        """Texts whose answer is not in the journal yet."""
        return self.images - self.answered

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "questions": self.questions}


def estimate_texts(
    jobs: Iterable[TextJob], endpoint: Endpoint, journal: Journal, options: Asking
) -> Estimate:
    """Tell what `ask_texts` would ask and cost; nothing is sent.

    Images are read, to know their size and whether the journal has their answers, and not decoded. A question that
    leans on an answer which is not there yet counts as if that were accepted.
    """
    texts = answered = input_tokens = output_tokens = 0
    for job in jobs:
        try:
            data = job.image()
            info = inspect_image(data, job.id)
        except (ImageError, OSError):
            continue
        shrunk = min(1.0, options.max_side / max(info.width, info.height))
        image = image_tokens(info.width * shrunk, info.height * shrunk)
        plan = job.plan()
        question = next(plan, None)
        while question is not None:
            texts += 1
            key = job.key(question.prompt, data)
            known = journal.get(key)
            if known is not None:
                answered += 1
                judged = question.judge(journal.get(key, 1) or known)
            else:
                input_tokens += image + len(question.prompt) // 4
                output_tokens += min(endpoint.max_tokens, round(question.words * 1.4))
                judged = Judged((("", "word " * question.words),))
            question = _following(plan, judged)
    return Estimate(texts, answered, input_tokens, output_tokens, options.cost(input_tokens, output_tokens))


def _following(plan: Plan, judged: Judged) -> Question | None:
    try:
        return plan.send(judged)
    except StopIteration:
        return None


def ask_texts(
    jobs: Iterable[TextJob],
    endpoint: Endpoint,
    journal: Journal,
    options: Asking,
    report: TextReport,
) -> Iterator[Told]:
    """Ask about images, in the order of ``jobs``, with a bounded number of them under way.

    Every answer is in the journal before it is judged: a run that was killed asks nothing twice. When the endpoint
    refuses in a way that every question would meet, or ``max_cost`` is reached, no more is asked; what is under way
    is still written down, and answers that the journal has are still given.

    Args:
        jobs: Images that want texts; read as needed.
        endpoint: Where to ask.
        journal: An open journal.
        options: How.
        report: Filled while the answers come.

    Yields:
        What came of each job.

    Raises:
        EndpointError: The endpoint refused the very first question.
        BuildError: The journal cannot be written.
    """
    run = _Run(endpoint, journal, report, options)
    for told in run.in_order(run.one, jobs, options.concurrency, "texts"):
        for judged in told.texts.values():
            if judged.rounds:
                report.accepted += 1
            else:
                report.rejected.update(fault.partition(":")[0] for fault in judged.faults)
        yield told


class _Run(PaidRun):
    """What the threads of one run share."""

    def one(self, job: TextJob) -> Told:
        try:
            data = job.image()
        except ImageError as error:
            return Told(job.id, {"": Judged(faults=(error.code,))})
        except OSError:
            return Told(job.id, {"": Judged(faults=("image-missing",))})
        texts: dict[str, Judged] = {}
        sent: list[SentImage] = []  # once it was needed
        plan = job.plan()
        question = next(plan, None)
        while question is not None:
            key = job.key(question.prompt, data)
            try:
                with self.lock(key):  # the same image under two names is asked about once
                    judged = self._converse(job, question, key, data, sent)
            except NoImageError as reason:
                texts[question.name] = Judged(faults=(str(reason),))
                break
            texts[question.name] = judged
            question = _following(plan, judged)
        return Told(job.id, texts)

    def _converse(
        self, job: TextJob, question: Question, key: str, data: bytes, sent: list[SentImage]
    ) -> Judged:
        judged = Judged(faults=(NOT_ANSWERED,))
        said: list[dict[str, Any]] = []
        for turn in (0, 1):
            answer = self.known(key, turn)
            if answer is None:
                if not sent:
                    sent.append(job.prepare(data))
                image = sent[0]
                messages = [image_message(question.prompt, image.data, image.kind), *said]
                tokens = image.tokens + len(question.prompt) // 4
                answer = self.ask(job.id, key, turn, messages, tokens, sent=image.digest)
            if answer is None:
                return Judged(faults=(NOT_ANSWERED,))
            judged = replace(question.judge(answer), sent=answer.sent)
            if judged.rounds or judged.faults == ("refusal",):
                return judged
            said = [
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": question.correct(judged.faults)},
            ]
        return judged
