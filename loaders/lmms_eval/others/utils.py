"""Questions and scores of every config outside IR-TD's benchmark, for lmms-eval: what `irtd score` does.

The library is needed besides the dataset folder. Each scored round is a document of its own; answers are read and
measured as by `irtd score`, so that the figures are the same, intervals left out.
"""

import hashlib

from irtd_datasets.evaluate import ScoringOptions, score
from irtd_datasets.evaluate.predict import PROMPTS
from irtd_datasets.evaluate.questions import pool_references, row_questions
from irtd_datasets.evaluate.tasks import METRICS, TASK_METRICS
from irtd_datasets.schema import TASKS

_COLUMNS = (
    "id", "task", "choices", "answer", "objects", "box_frame", "width", "height", "messages", "source",
    "modality", "issues", "corrections",
)  # fmt: skip


class Answered:
    """A question with the model's answer; the log has it once, under ``answers``."""

    def __init__(self, question, answer):
        self.question, self.answer = question, answer

    def __str__(self):
        return ""


def process_docs(dataset):
    """A document for each scored round."""
    places, rounds = [], []
    for place, row in enumerate(dataset.select_columns(list(_COLUMNS))):
        for question in row_questions(row):
            places.append(place)
            rounds.append(question.round)
    return dataset.select(places).add_column("round", rounds)


def doc_to_visual(doc):
    """The image; more than 8 bits are mapped from their 0.5th to their 99.5th percentile."""
    image = doc["image"]
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        values = np.asarray(image, np.float32)
        low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
        scaled = (values - low) * (255 / max(high - low, 1e-6))
        image = Image.fromarray(np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8))
    return [image.convert("RGB")]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    """The question as released, and what `irtd predict` adds to it."""
    extra = lmms_eval_specific_kwargs or {}
    text = [one["content"] for one in doc["messages"] if one["role"] == "user"][doc["round"]]
    added = PROMPTS.get(TASKS[doc["task"]], "")
    lines = [text] if not added or "{" in added else [text, added]
    return extra.get("pre_prompt", "") + "\n".join(lines) + extra.get("post_prompt", "")


def doc_to_target(doc):
    """The right answer as released."""
    return _question(doc).text


def _question(doc):
    image = hashlib.sha256(doc["image"].tobytes()).hexdigest()
    row = {**doc, "image": {"path": image}}  # captions of one image are references of each other
    return next(one for one in row_questions(row) if one.round == doc["round"])


def process_results(doc, results):
    """The answer under each metric; they are measured over all documents."""
    one = Answered(_question(doc), results[0])
    answer = {"id": one.question.id, "answer": one.answer}
    if one.question.rounds > 1:
        answer["round"] = one.question.round
    metrics = dict.fromkeys((*TASK_METRICS[one.question.task], "unreadable"), one)
    return {**metrics, "answers": answer}  # what `irtd score` reads of lmms-eval's log of samples


def count(items):
    """How many answers there are."""
    return len(items)


_SCORED = {}


def _scores(items):
    key = tuple((one.question.key, one.answer) for one in items)
    if key not in _SCORED:
        _SCORED.clear()
        questions = pool_references([one.question for one in items])
        answers = {one.question.key: one.answer for one in items}
        (_SCORED[key],) = score(answers, questions, ScoringOptions(resamples=0)).tasks.values()
    return _SCORED[key]


def unreadable(items):
    """The share of answers that cannot be read."""
    return _scores(items).unreadable / len(items)


def _aggregation(name):
    def measured(items):
        found = _scores(items).metrics.get(name)
        return float("nan") if found is None else found.value

    return measured


# What the task files name: a function for each metric.
globals().update({f"measure_{name}": _aggregation(name) for name in METRICS})
