"""Scoring 37,000 predictions: reading questions and answers, all metrics, confidence intervals.

    python benchmarks/score.py            # five rounds; takes what `score` needs in memory, no folder
    python benchmarks/score.py --rows 3700

Questions are drawn with the shares of the nine tasks in the table of targets; answers are gold ones, wrong ones and
unreadable ones in the forms in which models write. Times are of ``score`` alone, with and without its 1,000 resamples.
Reading a dataset folder comes on top and depends on the disk.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time

import numpy as np

from irtd_datasets.boxes import Frame
from irtd_datasets.construct.targets import targets
from irtd_datasets.evaluate import ScoringOptions, score
from irtd_datasets.evaluate.questions import Question

ROUNDS = 5
CHOICES = ("car", "person", "bike", "truck")


def main() -> None:
    """Draw questions and answers, and score them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=37_000)
    rows = parser.parse_args().rows
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
