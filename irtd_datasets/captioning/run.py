"""Captions for many images: asked side by side, written down as they come, judged, and asked again once.

Each image is one question, about the visible partner where there is one, else about the infrared image itself. An
answer that fails the validator gets one correction in the same conversation; an answer that fails then is rejected
with its faults.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from irtd_datasets.captioning.brighten import DARK, brighten
from irtd_datasets.captioning.endpoint import Endpoint, image_message
from irtd_datasets.captioning.paid import PaidRun, RunReport, image_tokens
from irtd_datasets.captioning.prompts import Prompts
from irtd_datasets.captioning.validate import CaptionLimits, adapt, find_faults
from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import inspect_image
from irtd_datasets.images.viewable import viewable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from irtd_datasets.captioning.brighten import Enhancer
    from irtd_datasets.captioning.journal import Answer, Journal

__all__ = [
    "FLAT",
    "NOT_ANSWERED",
    "CaptionJob",
    "CaptionOptions",
    "CaptionReport",
    "Estimate",
    "Verdict",
    "caption",
    "estimate",
]

NOT_ANSWERED = "not-answered"
"""Fault of an image whose question was not asked, or not answered; the next run asks it."""

FLAT = 2.0
"""Standard deviation of grey values, 0 to 255, below which an infrared image shows nothing to describe."""


@dataclass(frozen=True, slots=True)
class CaptionJob:
    """A row that wants a caption.

    Attributes:
        id: Of the row.
        image: Gives the bytes of the image that is described.
        facts: What the labels say, as a sentence such as the rule caption; may be empty.
        of: Which image it is: ``visible`` for the visible partner, ``infrared`` for the row's own.
    """

    id: str
    image: Callable[[], bytes]
    facts: str = ""
    of: Literal["visible", "infrared"] = "visible"


@dataclass(frozen=True, slots=True)
class CaptionOptions:
    """How captions are asked for.

    Attributes:
        words: About how many words are asked for; the released captions have 131 on average.
        limits: What is accepted.
        max_side: Longest side in pixels of the image that is sent. A JPEG or PNG of 8 bits that is not longer is sent
            as it is, byte for byte; others as JPEG.
        min_luminance: Mean grey value, 0 to 255, below which a visible image is too dark to describe even when it
            was brightened; it is left to rule captions.
        dark_below: Mean grey value below which a visible image is brightened before it is sent; 0 for never.
        enhancer: What brightens it, from an 8-bit RGB image to one; the paper has a network (Retinexformer) for it.
        prompts: The texts of the questions.
        concurrency: Questions under way at a time.
        max_cost: Stop before the sum of what was charged and what is under way goes beyond this; None never stops.
            What a question will cost is estimated and corrected by what the endpoint charged so far, so the sum can
            pass it by a part of the questions under way, never by more.
        input_price: Price of a million tokens of questions.
        output_price: Price of a million tokens of answers.
    """

    words: int = 130
    limits: CaptionLimits = field(default_factory=CaptionLimits)
    max_side: int = 1024
    min_luminance: float = 20.0
    dark_below: float = DARK
    enhancer: Enhancer = brighten
    prompts: Prompts = field(default_factory=Prompts)
    concurrency: int = 8
    max_cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Price of some tokens, in the currency of the prices."""
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost at most but for corrections, before it starts.

    Attributes:
        images: Images to ask about, those that will turn out too dark included.
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
        """Images whose answer is not in the journal yet."""
        return self.images - self.answered

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "questions": self.questions}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one image.

    Attributes:
        id: Of the row.
        text: The caption, adapted to infrared; None when there is none.
        faults: Why not, or codes such as ``dark`` and ``image-unreadable``.
        changes: What `irtd_datasets.captioning.validate.adapt` took out.
        sent: SHA-256 of the image that was sent; empty where that is not known.
    """

    id: str
    text: str | None
    faults: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    sent: str = ""


@dataclass
class CaptionReport(RunReport):
    """Sums of a run, with what became of the captions.

    Attributes:
        accepted: Captions that passed.
        rejected: Images without a caption, by fault.
    """

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def estimate(
    jobs: Iterable[CaptionJob], endpoint: Endpoint, journal: Journal, options: CaptionOptions
) -> Estimate:
    """Tell what `caption` would ask and cost; nothing is sent.

    Images are read, to know their size and whether the journal has their answer, and not decoded.
    """
    images = answered = input_tokens = output_tokens = 0
    for job in jobs:
        try:
            data = job.image()
            info = inspect_image(data, job.id)
        except (ImageError, OSError):
            continue
        images += 1
        prompt = _prompt(job, options)
        if journal.get(_key(endpoint, options, prompt, data)):
            answered += 1
            continue
        shrunk = min(1.0, options.max_side / max(info.width, info.height))
        input_tokens += image_tokens(info.width * shrunk, info.height * shrunk) + len(prompt) // 4
        output_tokens += min(endpoint.max_tokens, round(options.words * 1.4))
    return Estimate(images, answered, input_tokens, output_tokens, options.cost(input_tokens, output_tokens))


def caption(
    jobs: Iterable[CaptionJob],
    endpoint: Endpoint,
    journal: Journal,
    options: CaptionOptions | None = None,
    report: CaptionReport | None = None,
) -> Iterator[Verdict]:
    """Caption images, in the order of ``jobs``, with a bounded number of questions under way.

    Every answer is in the journal before it is judged: a run that was killed asks nothing twice. When the endpoint
    refuses in a way that every question would meet, or ``max_cost`` is reached, no more is asked; what is under way
    is still written down, and answers that the journal has are still given.

    Args:
        jobs: Rows that want a caption; read as needed.
        endpoint: Where to ask.
        journal: An open journal.
        options: How.
        report: Filled while the captions come.

    Yields:
        A verdict for each job.

    Raises:
        EndpointError: The endpoint refused the very first question.
        BuildError: The journal cannot be written.
    """
    options = options or CaptionOptions()
    report = report if report is not None else CaptionReport()
    run = _Run(endpoint, journal, options, report)
    waiting: deque[Future[Verdict]] = deque()
    remaining = iter(jobs)
    with ThreadPoolExecutor(options.concurrency, thread_name_prefix="caption") as pool:
        try:
            waiting.extend(pool.submit(run.one, job) for job in islice(remaining, options.concurrency * 2))
            while waiting:
                verdict = waiting.popleft().result()
                waiting.extend(pool.submit(run.one, job) for job in islice(remaining, 1))
                if verdict.text is not None:
                    report.accepted += 1
                else:
                    report.rejected.update(fault.partition(":")[0] for fault in verdict.faults)
                yield verdict
        finally:
            run.over.set()
            for future in waiting:
                future.cancel()
    if run.first_error and not report.asked and not report.from_journal:
        raise run.first_error


class _NoImageError(Exception):
    """An image that cannot be described."""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image as it is sent: upright, at most ``max_side`` long."""

    data: bytes
    kind: str
    tokens: int

    @property
    def digest(self) -> str:
        """SHA-256 of what is sent."""
        return hashlib.sha256(self.data).hexdigest()


class _Run(PaidRun):
    """What the threads of one run share."""

    def __init__(
        self, endpoint: Endpoint, journal: Journal, options: CaptionOptions, report: CaptionReport
    ) -> None:
        super().__init__(endpoint, journal, report, options)
        self._options = options

    def one(self, job: CaptionJob) -> Verdict:
        try:
            data = job.image()
        except ImageError as error:
            return Verdict(job.id, None, (error.code,))
        except OSError:
            return Verdict(job.id, None, ("image-missing",))
        prompt = _prompt(job, self._options)
        key = _key(self._endpoint, self._options, prompt, data)
        with self.lock(key):  # the same image under two names is asked about once
            return self._converse(job, prompt, key, data)

    def _converse(self, job: CaptionJob, prompt: str, key: str, data: bytes) -> Verdict:
        verdict = Verdict(job.id, None, (NOT_ANSWERED,))
        image: _Image | None = None
        said: list[dict[str, Any]] = []
        for turn in (0, 1):
            answer = self.known(key, turn)
            if answer is None:
                try:
                    image = image or _prepare(job, data, self._options)
                except _NoImageError as reason:
                    return Verdict(job.id, None, (str(reason),))
                messages = [image_message(prompt, image.data, image.kind), *said]
                tokens = image.tokens + len(prompt) // 4
                answer = self.ask(job.id, key, turn, messages, tokens, sent=image.digest)
            if answer is None:
                return Verdict(job.id, None, (NOT_ANSWERED,))
            verdict = _judge(job, answer, self._options)
            if verdict.text is not None or verdict.faults == ("refusal",):
                return verdict
            said = [
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": self._options.prompts.fill_correction(verdict.faults)},
            ]
        return verdict


def _judge(job: CaptionJob, answer: Answer, options: CaptionOptions) -> Verdict:
    adapted = adapt(answer.text)
    faults = find_faults(adapted.text, options.limits)
    if answer.finish_reason == "length" and "cut-off" not in faults:
        faults.append("cut-off")
    return Verdict(job.id, None if faults else adapted.text, tuple(faults), adapted.changes, answer.sent)


def _prompt(job: CaptionJob, options: CaptionOptions) -> str:
    return options.prompts.fill(job.of, options.words, job.facts)


def _key(endpoint: Endpoint, options: CaptionOptions, prompt: str, data: bytes) -> str:
    """What makes two questions the same; the file's own bytes count, not those of the JPEG that a Pillow made of it."""
    asked = (
        endpoint.model,
        endpoint.max_tokens,
        endpoint.temperature,
        endpoint.seed,
        options.max_side,
        hashlib.sha256(data).hexdigest(),
        prompt,
    )
    if options.enhancer is not brighten or options.dark_below != DARK:
        asked = (*asked, f"{_named(options.enhancer)} below {options.dark_below}")
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _named(function: object) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"


def _prepare(job: CaptionJob, data: bytes, options: CaptionOptions) -> _Image:
    """Bring an image into the form in which it is sent; more than 8 bits are mapped as for looking at."""
    try:
        info = inspect_image(data, job.id)  # tells an empty file, a pointer or a web page by name
        image = viewable(data, options.max_side, job.id).image
    except ImageError as error:
        raise _NoImageError(error.code) from error
    grey = np.asarray(image.convert("L"))
    as_it_is = info.format in {"JPEG", "PNG"} and info.mode in {"L", "RGB"} and info.orientation == 1
    as_it_is = as_it_is and info.bit_depth == 8 and max(info.width, info.height) <= options.max_side
    if job.of == "visible" and float(grey.mean()) < options.dark_below:
        image, as_it_is = options.enhancer(image).convert("RGB"), False
        grey = np.asarray(image.convert("L"))
    if job.of == "visible" and float(grey.mean()) < options.min_luminance:
        raise _NoImageError("dark")
    if job.of == "infrared" and float(grey.std()) < FLAT:
        raise _NoImageError("flat")
    if as_it_is:
        return _Image(data, info.format.lower(), image_tokens(*image.size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return _Image(buffer.getvalue(), "jpeg", image_tokens(*image.size))
