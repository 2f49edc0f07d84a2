"""A model's answers to the scored rows of a config: from an endpoint, or from a function in Python.

Rounds are asked in the order of their dialogue. In conversations and reasoning, a later round is asked with the earlier
questions and the model's own answers before it; rounds of the other tasks do not depend on each other, and each is
asked alone.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from irtd_datasets.boxes import Frame, convert
from irtd_datasets.boxes.text import parse_boxes
from irtd_datasets.captioning.endpoint import image_message
from irtd_datasets.captioning.paid import PaidRun, RunReport, image_tokens, question_key
from irtd_datasets.errors import BoxError, ImageError, UnknownNameError
from irtd_datasets.evaluate.places import read_places, read_point_places
from irtd_datasets.folder.row_groups import config_files, read_groups
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import BOX_FRAMES, TASKS
from irtd_datasets.training.targets import MAX_PIXELS, MIN_PIXELS, Style, find_target, restyle, smart_resize

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from PIL import Image

    from irtd_datasets.captioning.endpoint import Endpoint
    from irtd_datasets.captioning.journal import Journal
    from irtd_datasets.evaluate.questions import Question

__all__ = [
    "DIALOGUES",
    "FORMS",
    "PROMPTS",
    "Asked",
    "PredictOptions",
    "PredictReport",
    "estimate_cost",
    "predict",
    "predict_endpoint",
    "read_asked",
]

DIALOGUES = frozenset({"conversation", "reasoning", "detailed_description"})
"""Tasks whose later rounds lean on the earlier ones."""

PROMPTS: dict[str, str] = {
    "scene": "Answer with the letter of the right option.",
    "recognition": "Answer with the letter of the right option.",
    "security": "Answer with the letters of all right options.",
    "relationship": "Answer with yes or no.",
    "reid": "Answer with one number.",
    "aerial_counting": "Answer with one number.",
    "pedestrian_counting": "Answer with one number.",
    "grounding": "Answer with the box alone, as {box}.",
    "location": "Answer with a list of points alone, as {point}.",
    "detection": "Name each class with its boxes, as {box}.",
}
"""What is added to the question of a task; ``{box}`` and ``{point}`` become the family's form (`FORMS`)."""

FORMS: dict[str, tuple[str, str]] = {
    "llava": (
        "[x_min, y_min, x_max, y_max] from 0 to 1 of the image padded to a square",
        "[[x, y], ...] from 0 to 1",
    ),
    "qwen2-vl": (
        "<|box_start|>(x_min,y_min),(x_max,y_max)<|box_end|> from 0 to 1000",
        "[(x, y), ...] from 0 to 1000",
    ),
    "qwen2.5-vl": (
        'JSON, [{"bbox_2d": [x_min, y_min, x_max, y_max], "label": "..."}] in pixels of the image',
        'JSON, [{"point_2d": [x, y], "label": "..."}] in pixels of the image',
    ),
    "qwen3-vl": (
        'JSON, [{"bbox_2d": [x_min, y_min, x_max, y_max], "label": "..."}] from 0 to 1000',
        'JSON, [{"point_2d": [x, y], "label": "..."}] from 0 to 1000',
    ),
    "internvl": ("<box>[[x_min, y_min, x_max, y_max]]</box> from 0 to 1000", "[[x, y], ...] from 0 to 1000"),
    "paligemma": ("<loc....> tokens", "<loc....> tokens"),
}
"""How a box and a point are asked of each family of `irtd_datasets.training.targets.TARGETS`."""

_LEAST_SIDE = 336  # pixels: what CLIP's larger encoder takes, and no endpoint refuses
_WRITTEN = {
    "llava": Frame.SQUARE_UNIT,
    "qwen2-vl": Frame.PER_MILLE,
    "qwen2.5-vl": Frame.PIXEL,
    "qwen3-vl": Frame.PER_MILLE,
    "internvl": Frame.PER_MILLE,
    "paligemma": Frame.UNIT,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that is to be answered.

    Attributes:
        id: Of the row.
        task: Its task.
        rounds: Number and question of each round that is scored.
        image: The image's file.
        frame: Frame of the numbers in its texts.
        width: Of the image.
        height: Likewise.
    """

    id: str
    task: str
    rounds: tuple[tuple[int, str], ...]
    image: bytes = field(repr=False)
    frame: Frame
    width: int
    height: int
    single: bool = True


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How questions are asked.

    Attributes:
        family: A name of `FORMS`, in whose frame and markup boxes are written and asked for; None leaves the
            questions as released, and the answers as they came.
        max_side: Longest side in pixels of the image that is sent.
        encoding: ``jpeg`` (quality 90) or ``png``.
        system: System prompt; empty for none.
        prompts: What is added to the questions of a task.
        concurrency: Rows under way at a time.
        max_cost: Stop before the cost goes beyond this.
        input_price: Price of a million tokens of questions.
        output_price: Price of a million tokens of answers.
    """

    family: str | None = None
    max_side: int = 1024
    encoding: Literal["jpeg", "png"] = "jpeg"
    system: str = ""
    prompts: Mapping[str, str] = field(default_factory=lambda: dict(PROMPTS))
    concurrency: int = 8
    max_cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        if self.family is not None:
            find_target(self.family)
        if self.encoding not in {"jpeg", "png"}:
            raise UnknownNameError(f"no encoding {self.encoding!r}", remedy="Take jpeg or png.")

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Price of some tokens, in the currency of the prices."""
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6

    def as_dict(self) -> dict[str, Any]:
        """What makes two runs the same, for the record beside the predictions."""
        return asdict(self) | {"prompts": dict(self.prompts)}


@dataclass
class PredictReport(RunReport):
    """Sums of a run.

    Attributes:
        rows: Rows that were wanted.
        answered: Rounds with an answer.
        unanswered: Rounds without one; the next run asks them again.
        unreadable_images: Rows whose image cannot be decoded.
        smaller: Questions that were asked again with a smaller image, since the endpoint refused the larger.
    """

    rows: int = 0
    answered: int = 0
    unanswered: int = 0
    unreadable_images: int = 0
    smaller: int = 0


def read_asked(
    folder: str | os.PathLike[str], config: str | None, questions: Sequence[Question]
) -> Iterator[Asked]:
    """The rows of some questions with their images, one row group in memory at a time.

    Args:
        folder: The dataset folder.
        config: The config that the questions are of.
        questions: As `irtd_datasets.evaluate.questions.read_questions` gives them.
    """
    wanted: dict[str, list[int]] = {}
    singles = {one.id: one.rounds == 1 for one in questions}
    for one in questions:
        wanted.setdefault(one.id, []).append(one.round)
    columns = ("id", "task", "messages", "box_frame", "width", "height", "image")
    for files in config_files(folder, config).values():
        for _, table in read_groups(files, columns):
            for row in table.to_pylist():
                if row["id"] not in wanted:
                    continue
                texts = [one["content"] for one in row["messages"] if one["role"] == "user"]
                name = "unknown" if row["box_frame"] is None else BOX_FRAMES[row["box_frame"]]
                yield Asked(
                    row["id"],
                    TASKS[row["task"]],
                    tuple((number, texts[number]) for number in wanted.pop(row["id"])),
                    (row["image"] or {}).get("bytes") or b"",
                    Frame.PIXEL if name == "unknown" else Frame(name),
                    row["width"],
                    row["height"],
                    singles[row["id"]],
                )


def predict(
    rows: Iterable[Mapping[str, Any]], answer: Callable[[dict[str, Any]], str]
) -> Iterator[dict[str, Any]]:
    """Answer rows by a function, such as a model on this machine.

    Args:
        rows: As ``datasets.load_dataset`` gives them.
        answer: Is called with ``id``, ``task``, ``round``, ``image`` (as in the row) and ``messages``: the question,
            and in conversations what was said before it. Returns the model's text.

    Yields:
        ``id``, ``round`` (where the row has several) and ``answer``: lines for `read_predictions`.

    Example:
        >>> row = {"id": "x/1", "task": "vqa", "image": None, "messages": [
        ...     {"role": "user", "content": "Is there a ship?"}, {"role": "assistant", "content": "yes"},
        ...     {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "2"}]}
        >>> [line["answer"] for line in predict([row], lambda asked: asked["messages"][-1]["content"].upper())]
        ['IS THERE A SHIP?', 'HOW MANY?']
    """
    for row in rows:
        task = TASKS[row["task"]] if isinstance(row["task"], int) else row["task"]
        questions = [one["content"] for one in row["messages"] if one["role"] == "user"]
        if task == "captioning" and len(set(questions)) == 1:
            questions = questions[:1]
        said: list[dict[str, str]] = []
        for number, question in enumerate(questions):
            asked = {"role": "user", "content": question}
            before = said if task in DIALOGUES else []
            text = answer(
                {
                    "id": row["id"],
                    "task": task,
                    "round": number,
                    "image": row["image"],
                    "messages": [*before, asked],
                }
            )
            said += [asked, {"role": "assistant", "content": text}]
            place = {"round": number} if len(questions) > 1 else {}
            yield {"id": row["id"], **place, "answer": text}


@dataclass(frozen=True, slots=True)
class _Sent:
    """An image as it is sent."""

    data: bytes
    width: int
    height: int


def _prepare(row: Asked, side: int, options: PredictOptions) -> _Sent:
    image: Image.Image = viewable(row.image, side, row.id).image
    if (
        options.family == "qwen2.5-vl"
    ):  # in the size that its processor would bring it to, so that pixels are these
        height, width = smart_resize(image.height, image.width)
        image = image.resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, options.encoding.upper(), **({"quality": 90} if options.encoding == "jpeg" else {}))
    return _Sent(buffer.getvalue(), image.width, image.height)


def _question(row: Asked, text: str, options: PredictOptions) -> str:
    """The text of a question: its boxes in the family's form, and what its task's prompt adds."""
    box, point = (
        FORMS[options.family] if options.family else ("[x_min, y_min, x_max, y_max]", "[(x, y), ...]")
    )
    if options.family:
        parsed = parse_boxes(text)
        if parsed.spans and all(span.is_readable for span in parsed.spans):
            style = Style(find_target(options.family), limits=(MIN_PIXELS, MAX_PIXELS))
            text = restyle([(parsed, False)], row.frame, row.width, row.height, style).texts[0]
    added = options.prompts.get(row.task, "")
    if not options.family and "{" in added:
        added = ""  # the frame and form of the released answers are not told: they are what is tested
    return f"{text}\n{added.format(box=box, point=point)}" if added else text


def _answer(row: Asked, text: str, sent: tuple[int, int], options: PredictOptions) -> str:
    """The answer with its places in the frame of the row's own texts, as JSON; one without places as it came."""
    if options.family is None or row.task not in {"grounding", "location", "detection"}:
        return text
    places = read_point_places(text) if row.task == "location" else read_places(text)
    if not places:
        return text
    entries = []
    source = _WRITTEN[options.family]
    for place in places:
        numbers, frame, size = list(place.numbers), source, (row.width, row.height)
        if place.base and place.fixed:
            numbers, frame = [number / place.base for number in numbers], Frame.UNIT
        elif source is Frame.PIXEL:
            numbers = [number / sent[index % 2] for index, number in enumerate(numbers)]
            frame = Frame.UNIT
        try:
            moved = convert([numbers], frame, row.frame, *size)[0].tolist()
        except BoxError:
            return text
        key = {"box": "bbox", "polygon": "polygon", "point": "point_2d"}[place.kind]
        entry: dict[str, Any] = {key: [round(number, 4) for number in moved]}
        if place.label:
            entry["label"] = place.label
        if place.score is not None:
            entry["score"] = place.score
        entries.append(entry)
    return json.dumps(entries, ensure_ascii=False)


def estimate_cost(
    rows: Iterable[Asked], endpoint: Endpoint, options: PredictOptions
) -> tuple[int, int, int, float]:
    """Tell what `predict_endpoint` would ask at most: questions, input tokens, output tokens and cost."""
    questions = tokens = 0
    for row in rows:
        shrunk = min(1.0, options.max_side / max(row.width, row.height, 1))
        image = image_tokens(row.width * shrunk, row.height * shrunk)
        questions += len(row.rounds)
        tokens += sum(image + (len(text) + len(options.system)) // 4 for _, text in row.rounds)
    output = questions * endpoint.max_tokens
    return questions, tokens, output, options.cost(tokens, output)


def predict_endpoint(
    rows: Iterable[Asked],
    endpoint: Endpoint,
    journal: Journal,
    options: PredictOptions | None = None,
    report: PredictReport | None = None,
) -> Iterator[dict[str, Any]]:
    """Ask an endpoint about rows, in their order, with a bounded number of rows under way.

    Every answer is in the journal before it is used: a run that was killed pays for nothing twice.

    Args:
        rows: What is asked.
        endpoint: Where.
        journal: An open journal.
        options: How.
        report: Filled while the answers come.

    Yields:
        ``id``, ``round`` (where the row has several), ``answer``, with a family the model's own words as ``raw``, and
        the width and height of the image that was sent as ``image``.

    Raises:
        EndpointError: The endpoint refused the very first question.
        BuildError: The journal cannot be written.
    """
    options = options or PredictOptions()
    report = report if report is not None else PredictReport()
    run = _Run(endpoint, journal, options, report)
    for lines in run.in_order(run.row, rows, options.concurrency, "predict"):
        yield from lines


class _Run(PaidRun):
    def __init__(
        self, endpoint: Endpoint, journal: Journal, options: PredictOptions, report: PredictReport
    ) -> None:
        super().__init__(endpoint, journal, report, options)
        self._options, self._sums = options, report

    def row(self, row: Asked) -> list[dict[str, Any]]:
        lines = []
        said: list[tuple[str, str]] = []
        for number, text in row.rounds:
            question = _question(row, text, self._options)
            before = said if row.task in DIALOGUES else []
            found = self._round(row, before, question)
            with self._guard:
                self._sums.answered += found is not None
                self._sums.unanswered += found is None
            if found is None:
                if row.task in DIALOGUES:
                    break  # a later round without what was said before it would be another question
                continue
            answer, size = found
            said.append((question, answer))
            line: dict[str, Any] = {"id": row.id} | ({} if row.single else {"round": number})
            line["answer"] = _answer(row, answer, size, self._options)
            if line["answer"] != answer:
                line["raw"] = answer
            lines.append({**line, "image": list(size)})
        with self._guard:
            self._sums.rows += 1
        return lines

    def _round(
        self, row: Asked, said: Sequence[tuple[str, str]], question: str
    ) -> tuple[str, tuple[int, int]] | None:
        side = self._options.max_side
        while True:
            try:
                sent = _prepare(row, side, self._options)
            except (ImageError, BoxError):
                with self._guard:
                    self._sums.unreadable_images += 1
                return None
            key = self._key(row, side, said, question)
            with self.lock(key):
                answer = self.known(key, 0)
                if answer is None:
                    tokens = image_tokens(sent.width, sent.height) + len(question) // 4
                    answer = self.ask(row.id, key, 0, self._messages(sent, said, question), tokens)
            if answer is not None:
                return answer.text, (sent.width, sent.height)
            error = self.last_error
            too_large = error is not None and error.status in {400, 413}
            if not too_large or side <= _LEAST_SIDE or self._sums.stopped:
                return None
            side = max(max(sent.width, sent.height) // 2, _LEAST_SIDE)
            with self._guard:
                self._sums.smaller += 1
                self._sums.failed -= 1

    def _messages(self, sent: _Sent, said: Sequence[tuple[str, str]], question: str) -> list[dict[str, Any]]:
        first = said[0][0] if said else question
        messages = [image_message(first, sent.data, self._options.encoding)]
        for index, (_, answer) in enumerate(said):
            messages.append({"role": "assistant", "content": answer})
            messages.append(
                {"role": "user", "content": said[index + 1][0] if index + 1 < len(said) else question}
            )
        system = self._options.system
        return [{"role": "system", "content": system}, *messages] if system else messages

    def _key(self, row: Asked, side: int, said: Sequence[tuple[str, str]], question: str) -> str:
        options, image = self._options, hashlib.sha256(row.image).hexdigest()
        return question_key(
            self._endpoint, options.system, options.encoding, side, options.family, image, said, question
        )
