"""Scores of a model's answers on every task, tolerant reading of answers, and the released scorers of IR-TD."""

from irtd_datasets.evaluate.predictions import read_predictions
from irtd_datasets.evaluate.questions import Question, Selection, gold_answers, read_questions
from irtd_datasets.evaluate.scoring import Interval, Scores, ScoringOptions, TaskScore, score, score_file
from irtd_datasets.evaluate.tasks import paper_table

__all__ = [
    "Interval",
    "Question",
    "Scores",
    "ScoringOptions",
    "Selection",
    "TaskScore",
    "gold_answers",
    "paper_table",
    "read_predictions",
    "read_questions",
    "score",
    "score_file",
]
