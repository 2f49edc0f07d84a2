"""Scores of a model's answers: the nine metrics of IR-TD, tolerant reading of answers, and the released scorers."""

from irtd_datasets.evaluate.predictions import read_predictions
from irtd_datasets.evaluate.scoring import Scores, ScoringOptions, TaskScore, paper_table, score, score_file

__all__ = [
    "Scores",
    "ScoringOptions",
    "TaskScore",
    "paper_table",
    "read_predictions",
    "score",
    "score_file",
]
