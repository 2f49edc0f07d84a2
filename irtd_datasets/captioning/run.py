"""Captions for many images: asked side by side, written down as they come, judged, and asked again once.

Each image is one question, about the visible partner where there is one, else about the infrared image itself. An
answer that fails the validator gets one correction in the same conversation; an answer that fails then is rejected
with its faults.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from irtd_datasets.captioning.asking import (
    Estimate,
    Judged,
    NoImageError,
    Question,
    SentImage,
    TextJob,
    TextReport,
    ask_texts,
    estimate_texts,
)
from irtd_datasets.captioning.brighten import DARK, brighten
from irtd_datasets.captioning.labels import contradictions
from irtd_datasets.captioning.paid import image_tokens, question_key
from irtd_datasets.captioning.prompts import Prompts
from irtd_datasets.captioning.validate import CaptionLimits, adapt, find_faults
from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import inspect_image
from irtd_datasets.images.viewable import viewable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from irtd_datasets.captioning.asking import Plan
    from irtd_datasets.captioning.brighten import Enhancer
    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.journal import Answer, Journal
    from irtd_datasets.captioning.labels import KnownLabels

__all__ = [
    "FLAT",
    "CaptionJob",
    "CaptionOptions",
    "CaptionReport",
    "Estimate",
    "Verdict",
    "caption",
    "estimate",
    "faults_of",
    "prepare",
    "question_about",
]

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
        known: The labels, which the text must not contradict; None where there are none to hold it against.
    """

    id: str
    image: Callable[[], bytes]
    facts: str = ""
    of: Literal["visible", "infrared"] = "visible"
    known: KnownLabels | None = None


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


CaptionReport = TextReport
"""Sums of a run of captions."""


def estimate(
    jobs: Iterable[CaptionJob], endpoint: Endpoint, journal: Journal, options: CaptionOptions
) -> Estimate:
    """Tell what `caption` would ask and cost; nothing is sent.

    Images are read, to know their size and whether the journal has their answer, and not decoded.
    """
    return estimate_texts(_text_jobs(jobs, endpoint, options), endpoint, journal, options)


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
    for told in ask_texts(_text_jobs(jobs, endpoint, options), endpoint, journal, options, report):
        (judged,) = told.texts.values()
        yield Verdict(told.id, judged.text, judged.faults, judged.changes, judged.sent)


def _text_jobs(jobs: Iterable[CaptionJob], endpoint: Endpoint, options: CaptionOptions) -> Iterator[TextJob]:
    for job in jobs:
        yield TextJob(
            job.id,
            job.image,
            partial(_plan, job, options),
            partial(question_about, endpoint, options),
            partial(prepare, job.id, job.of, options),
        )


def _plan(job: CaptionJob, options: CaptionOptions) -> Plan:
    prompt = options.prompts.fill(job.of, options.words, job.facts)
    yield Question(
        "caption", prompt, partial(_judge, options, job.known), options.prompts.fill_correction, options.words
    )


def _judge(options: CaptionOptions, known: KnownLabels | None, answer: Answer) -> Judged:
    adapted = adapt(answer.text)
    faults = faults_of(adapted.text, answer, options.limits)
    if known is not None and faults != ["refusal"]:
        faults += contradictions(known, adapted.text)
    return (
        Judged((), tuple(faults), adapted.changes)
        if faults
        else Judged((("", adapted.text),), (), adapted.changes)
    )


def faults_of(text: str, answer: Answer, limits: CaptionLimits) -> list[str]:
    """The faults of a text, with that of an answer which the model could not finish."""
    faults = find_faults(text, limits)
    if answer.finish_reason == "length" and "cut-off" not in faults:
        faults.append("cut-off")
    return faults


def question_about(endpoint: Endpoint, options: CaptionOptions, prompt: str, data: bytes) -> str:
    """What makes two questions the same; the file's own bytes count, not those of the JPEG that a Pillow made of it."""
    asked: tuple[object, ...] = (options.max_side, hashlib.sha256(data).hexdigest(), prompt)
    if options.enhancer is not brighten or options.dark_below != DARK:
        asked = (*asked, f"{_named(options.enhancer)} below {options.dark_below}")
    return question_key(endpoint, *asked)


def _named(function: object) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"


def prepare(name: str, of: str, options: CaptionOptions, data: bytes) -> SentImage:
    """Bring an image into the form in which it is sent; more than 8 bits are mapped as for looking at.

    Args:
        name: For messages.
        of: What it is: ``visible``, a partner that is brightened where it is dark; ``infrared``, which must not be
            flat; ``optical``, which is sent as it is seen.
        options: How it is sent.
        data: Its file.

    Raises:
        NoImageError: It shows nothing, or cannot be decoded.
    """
    try:
        info = inspect_image(data, name)  # tells an empty file, a pointer or a web page by name
        image = viewable(data, options.max_side, name).image
    except ImageError as error:
        raise NoImageError(error.code) from error
    grey = np.asarray(image.convert("L"))
    as_it_is = info.format in {"JPEG", "PNG"} and info.mode in {"L", "RGB"} and info.orientation == 1
    as_it_is = as_it_is and info.bit_depth == 8 and max(info.width, info.height) <= options.max_side
    if of == "visible" and float(grey.mean()) < options.dark_below:
        image, as_it_is = options.enhancer(image).convert("RGB"), False
        grey = np.asarray(image.convert("L"))
    if of == "visible" and float(grey.mean()) < options.min_luminance:
        raise NoImageError("dark")
    if of == "infrared" and float(grey.std()) < FLAT:
        raise NoImageError("flat")
    if as_it_is:
        return SentImage(data, info.format.lower(), image_tokens(*image.size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return SentImage(buffer.getvalue(), "jpeg", image_tokens(*image.size))
