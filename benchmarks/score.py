"""Scoring: 37,000 predictions of IR-TD with intervals, and the sizes of the remote-sensing sets.

    python benchmarks/score.py            # five rounds; takes what `score` needs in memory, no folder
    python benchmarks/score.py --rows 3700
    python benchmarks/score.py --large    # each once: VQA rounds, captions, detections, reading of answers

Questions are drawn with the shares of the nine tasks in the table of targets; answers are gold ones, wrong ones and
unreadable ones in the forms in which models write. Times are of ``score`` alone, with and without its 1,000 resamples.
Reading a dataset folder comes on top and depends on the disk.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from irtd_datasets.boxes import Frame
from irtd_datasets.construct.targets import targets
from irtd_datasets.evaluate import ScoringOptions, score
from irtd_datasets.evaluate.answers import (
    read_boxes,
    read_choices,
    read_class,
    read_count,
    read_ordinal,
    read_phrase,
    read_points,
    read_yes_no,
)
from irtd_datasets.evaluate.detection import Detections, match
from irtd_datasets.evaluate.questions import Question

ROUNDS = 5
CHOICES = ("car", "person", "bike", "truck")


def main() -> None:
    """Draw questions and answers, and score them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=37_000)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    rows = arguments.rows
    if arguments.large:
        for measure in (answers_read, captions, detections, vqa_rounds):
            start, used = time.perf_counter(), time.process_time()
            told = measure()
            wall, processor = time.perf_counter() - start, time.process_time() - used
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{told}: {wall:.1f} s ({processor:.1f} s of processor), at most {most:,.0f} MB so far")
        return
    draw = random.Random(0)
    tasks = [target.task for target in targets()]
    weights = [target.rows for target in targets()]
    questions, answers = [], {}
    for number, task in enumerate(draw.choices(tasks, weights, k=rows)):
        question, text = make(draw, number, task)
        questions.append(question)
        answers[question.id] = text
    for resamples in (0, 1000):
        seconds = []
        for _ in range(ROUNDS):
            start, used = time.perf_counter(), time.process_time()
            score(answers, questions, ScoringOptions(resamples=resamples))
            seconds.append((time.perf_counter() - start, time.process_time() - used))
        wall, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
        print(
            f"{rows:,} predictions, {resamples:,} resamples: {wall:.2f} s ({processor:.2f} s of processor), "
            f"load {os.getloadavg()[0]:.1f}"
        )


def answers_read() -> str:
    """Answers in the forms of the test corpus, each read as what it is."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "evaluate"))
    from answer_corpus import CLASSES, CORPUS
    from answer_corpus import OPTIONS as OPTIONS_OF_CORPUS

    readers = {
        "boxes": read_boxes,
        "points": read_points,
        "choices": lambda text: read_choices(text, OPTIONS_OF_CORPUS),
        "class": lambda text: read_class(text, CLASSES),
        "yes_no": read_yes_no,
        "count": read_count,
        "ordinal": read_ordinal,
        "phrase": read_phrase,
    }
    short = [(readers[what], text) for _, what, text, _ in CORPUS if len(text) < 1000]
    times = 40_000 // len(short)
    for _ in range(times):
        for reader, text in short:
            reader(text)
    return f"{times * len(short):,} answers read"


def captions() -> str:
    """46,275 captions with five references each: BLEU, ROUGE-L, CIDEr, no intervals."""
    draw = random.Random(0)
    words = [f"w{int(draw.expovariate(1 / 300))}" for _ in range(100_000)]

    def sentence() -> str:
        start = draw.randrange(99_000)
        return " ".join(words[start : start + draw.randrange(6, 20)])

    questions, answers = [], {}
    for number in range(46_275):
        references = tuple(sentence() for _ in range(5))
        questions.append(
            Question(f"mmrs_1m/c/{number}", "captioning", (), references[0], references[0], Frame.PIXEL, 9, 9,
                     str(number), references=references)
        )  # fmt: skip
        answers[f"mmrs_1m/c/{number}"] = draw.choice(references) if number % 2 else sentence()
    score(answers, questions, ScoringOptions(resamples=0))
    return "46,275 captions with five references"


def detections() -> str:
    """500,000 boxes against as many, in 25,000 images and five classes, at ten overlaps."""
    draw = np.random.default_rng(0)
    count = 500_000
    corner = draw.uniform(0, 1000, (count, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(5, 60, (count, 2))], axis=1)
    image, label = np.sort(draw.integers(0, 25_000, count)), draw.integers(0, 5, count)
    objects = Detections(image, label, boxes, np.zeros(count))
    found = Detections(image, label, boxes + draw.normal(0, 2, (count, 4)), draw.random(count))
    match(found, objects).average_precision()
    return "500,000 boxes against 500,000"


def vqa_rounds() -> str:
    """1,005,842 rounds of VQA on 100,000 images, no intervals."""
    draw = random.Random(0)
    kinds = (
        ("presence", ("yes", "no")),
        ("count", tuple(map(str, range(40)))),
        ("other", ("grass", "roof", "water")),
    )
    questions, answers = [], {}
    for number in range(1_005_842):
        kind, values = kinds[number % 3]
        row = f"mmrs_1m/v/{number // 10}"
        text = draw.choice(values)
        questions.append(
            Question(row, "vqa", (), text, text, Frame.PIXEL, 256, 256, row, number % 10, 10, kind=kind)
        )
        answers[f"{row}#{number % 10}"] = draw.choice(values)
    score(answers, questions, ScoringOptions(resamples=0, missing="skip"))
    return "1,005,842 rounds of VQA, made and scored"


def make(draw: random.Random, number: int, task: str) -> tuple[Question, str]:
    """A question and what a model answered."""
    kind = draw.random()
    choices: tuple[str, ...] = ()
    frame = Frame.PIXEL
    if task in {"recognition", "scene", "security"}:
        choices = CHOICES
        gold: object = frozenset({draw.randrange(4)})
        named = next(iter(gold)) if kind < 0.7 else draw.randrange(4)
        text = f"The answer is ({'ABCD'[named]}) {CHOICES[named]}."
    elif task == "relationship":
        gold = draw.random() < 0.5
        text = "Yes, there is." if (kind < 0.7) == gold else "No."
    elif task in {"reid", "aerial_counting", "pedestrian_counting"}:
        gold = draw.randrange(2, 9) if task == "reid" else draw.randrange(200)
        text = f"<num>{gold}</num>" if kind < 0.7 else f"There are {draw.randrange(2, 9)}."
    else:
        points = [[draw.uniform(0, 500), draw.uniform(0, 400)] for _ in range(draw.randrange(1, 8))]
        if task == "grounding":
            gold = np.array([(x, y, x + 60, y + 80) for x, y in points[:1]])
            boxes = [[round(value + 40 * (kind > 0.7)) for value in gold[0]]]
            text = f"The target bounding box is <box>{boxes}</box>."
        else:
            frame = Frame.PER_MILLE
            gold = np.array(points)
            moved = [(round(x + 9 * kind), round(y)) for x, y in points]
            text = f"<ref>car</ref> at <pos>{moved}</pos>"
    if kind > 0.97:
        text = "I cannot see anything of that kind."
    return Question(f"q/{number}", task, choices, gold, text, frame, 640, 512, f"image{number % 9000}"), text


if __name__ == "__main__":
    main()
