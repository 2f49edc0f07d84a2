"""What a language model is asked about an image beside a caption: conversation, detail, reasoning, single objects.

Question-answer pairs come in the manner of LLaVA's three prompts (arXiv 2304.08485, section 3): a conversation of
several rounds, a detailed description, and a question that needs reasoning, from captions and boxes. A hierarchical
description comes in the steps of RS-GPT4V (arXiv 2406.12479): first single objects and how they stand to each other,
then the whole image with these in hand, then conversation and reasoning with that in hand. The prompts of neither are
repeated word for word. Every text is held against the labels: see `irtd_datasets.captioning.labels`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from irtd_datasets.captioning.asking import Judged, Question, TextJob
from irtd_datasets.captioning.labels import contradictions
from irtd_datasets.captioning.run import faults_of, prepare, question_about
from irtd_datasets.captioning.validate import CaptionLimits, adapt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irtd_datasets.captioning.asking import Plan
    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.journal import Answer
    from irtd_datasets.captioning.labels import KnownLabels, KnownObject
    from irtd_datasets.captioning.prompts import TalkPrompts
    from irtd_datasets.captioning.run import CaptionOptions

__all__ = ["CONVERSATION", "DETAIL", "REASONING", "REGION", "TalkJob", "parse_rounds", "talk_job"]

CONVERSATION, DETAIL, REASONING, REGION = (
    "conversation",
    "detailed_description",
    "reasoning",
    "region_captioning",
)
"""Names of the questions, which are those of the tasks; that of a region has its number behind it."""

_LINE = re.compile(
    r"^\W{0,4}(?:\d+[.)]\s*)?\**(?P<who>question|answer|q|a|user|human|person|assistant|gpt)\s*\d*\**\s*[:\uff1a]\**\s*",
    re.IGNORECASE | re.MULTILINE,
)
_ASKS = frozenset({"question", "q", "user", "human", "person"})
_STYLES = {
    "infrared": "Do not name any colour, do not speak of light or time of day, and do not guess what cannot be seen.",
    "optical": "Do not guess what cannot be seen.",
}
_KINDS = {
    "infrared": "an infrared image: bright means strong infrared radiation, mostly warm, and not a light colour",
    "optical": "an image taken from above",
}
_ROUNDS = 3
_MOST_LOCAL = 12


@dataclass(frozen=True)
class TalkJob:
    """An image that wants question-answer pairs or descriptions.

    Attributes:
        id: Of the image.
        image: Gives its bytes, as the row shows it.
        known: Its labels.
        captions: What is said of it already.
        of: ``infrared`` or ``optical``.
        regions: Objects that are described by themselves first; none for question-answer pairs.
    """

    id: str
    image: Callable[[], bytes]
    known: KnownLabels
    captions: Sequence[str] = ()
    of: Literal["infrared", "optical"] = "infrared"
    regions: Sequence[KnownObject] = field(default=())


def talk_job(job: TalkJob, endpoint: Endpoint, options: CaptionOptions, prompts: TalkPrompts) -> TextJob:
    """What is asked about an image, for `irtd_datasets.captioning.asking`."""
    return TextJob(
        job.id,
        job.image,
        partial(_plan, job, options, prompts),
        partial(question_about, endpoint, options),
        partial(prepare, job.id, job.of, options),
    )


def _plan(job: TalkJob, options: CaptionOptions, prompts: TalkPrompts) -> Plan:
    places = {
        "image": _KINDS[job.of],
        "style": _STYLES[job.of],
        "words": str(options.words),
        "rounds": str(_ROUNDS),
    }
    described: list[str] = []
    for number, one in enumerate(job.regions):
        box = f"[{', '.join(f'{value:.3f}' for value in one.box or ())}]"
        prompt = prompts.fill(
            "region", {**places, "label": one.word, "box": box, "facts": _facts(job, boxes=False)}
        )
        told = yield _asked(
            f"{REGION} {number}", prompt, partial(_describe, job, CaptionLimits(4, 80)), 25, prompts
        )
        if told.text is not None:
            described.append(told.text)
    facts = _facts(job)
    name = "scene" if job.regions else "detail"
    local = "".join(f"{text} " for text in described[:_MOST_LOCAL])
    places["local"] = f"Of single objects it is known: {local}" if local else ""
    prompt = prompts.fill(name, {**places, "facts": facts})
    judge = partial(_describe, job, replace(options.limits, min_words=max(options.limits.min_words, 20)))
    whole = yield _asked(DETAIL, prompt, judge, options.words, prompts)
    if job.regions and whole.text is not None:
        facts += f" A description says: {whole.text}"
    short = partial(_talk, job, (2, 8))
    prompt = prompts.fill("conversation", {**places, "facts": facts})
    yield _asked(CONVERSATION, prompt, short, 35 * _ROUNDS, prompts)
    prompt = prompts.fill("reasoning", {**places, "facts": facts})
    yield _asked(REASONING, prompt, partial(_talk, job, (1, 2)), options.words, prompts)


def _asked(
    name: str, prompt: str, judge: Callable[[Answer], Judged], words: int, prompts: TalkPrompts
) -> Question:
    return Question(name, prompt, judge, prompts.fill_again, words)


def _facts(job: TalkJob, *, boxes: bool = True) -> str:
    """What is known of the image, with a blank before it; empty where nothing is."""
    told = f" Of the image it is said: {' '.join(job.captions)}" if job.captions else ""
    listed = job.known.describe() if boxes else ""
    if listed:
        told += f" Its labels, each class with its box from 0 to 1 of width and height, are:\n{listed}\n"
    return told


def parse_rounds(text: str) -> list[tuple[str, str]]:
    r"""Questions and answers of a dialogue that is written with a name before each; empty where it is none.

    Example:
        >>> parse_rounds("Question: How many?\nAnswer: Two.\n\nQ2: Where?\n**A2:** On the left.")
        [('How many?', 'Two.'), ('Where?', 'On the left.')]
        >>> parse_rounds("Answer: Two."), parse_rounds('{"Question": "How many?"}')
        ([], [])
    """
    marks = list(_LINE.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return []
    ends = [*[mark.start() for mark in marks[1:]], len(text)]
    said = [
        (mark["who"].lower() in _ASKS, text[mark.end() : end].strip(" \n*"))
        for mark, end in zip(marks, ends, strict=True)
    ]
    if len(said) % 2 or any(asks == bool(place % 2) for place, (asks, _) in enumerate(said)):
        return []
    if not all(words for _, words in said):
        return []
    return [(said[place][1], said[place + 1][1]) for place in range(0, len(said), 2)]


def _describe(job: TalkJob, limits: CaptionLimits, answer: Answer) -> Judged:
    text, changes = _adapted(job, answer.text)
    faults = [*_seen(job, faults_of(text, answer, limits)), *contradictions(job.known, text)]
    return Judged((), tuple(faults), changes) if faults else Judged((("", text),), (), changes)


def _talk(job: TalkJob, bounds: tuple[int, int], answer: Answer) -> Judged:
    """What a dialogue comes to: its rounds, or the faults of all of them."""
    rounds: list[tuple[str, str]] = []
    changes: list[str] = []
    faults = list(_first_faults(answer))
    for question, said in parse_rounds(answer.text):
        pair = []
        for text in (question, said):
            adapted, changed = _adapted(job, text)
            changes += changed
            pair.append(adapted)
        ended = pair[1] if pair[1][-1:] in ".!?" else f"{pair[1]}."
        for text in (pair[0], ended):
            faults += _seen(job, faults_of(text, replace(answer, finish_reason=None), CaptionLimits(1, 400)))
        if answer.finish_reason == "length":
            faults.append("cut-off")
        faults += contradictions(job.known, pair[1], pair[0])
        rounds.append((pair[0], pair[1]))
    if not faults and not bounds[0] <= len(rounds) <= bounds[1]:
        faults = ["no-dialogue"]
    told = tuple(dict.fromkeys(faults))
    return Judged((), told, tuple(changes)) if told else Judged(tuple(rounds), (), tuple(changes))


def _first_faults(answer: Answer) -> Iterator[str]:
    """What is wrong with an answer as a whole, whatever rounds it has."""
    limits = CaptionLimits(1, 10_000)
    for fault in faults_of(answer.text, replace(answer, finish_reason=None), limits):
        if fault in {"refusal", "not-english", "json"}:
            yield fault
    if not parse_rounds(answer.text):
        yield "no-dialogue"


def _adapted(job: TalkJob, text: str) -> tuple[str, tuple[str, ...]]:
    if job.of != "infrared":
        return text, ()
    adapted = adapt(text)
    return adapted.text, adapted.changes


def _seen(job: TalkJob, faults: list[str]) -> list[str]:
    """The faults that count: an optical image has colours and light."""
    if job.of == "infrared":
        return faults
    return [one for one in faults if one.partition(":")[0] not in {"colour", "light", "visible"}]
