"""Two files of predictions on the same rows: the difference of every metric, with its interval."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from irtd_datasets.errors import AnnotationError
from irtd_datasets.evaluate.scoring import Interval, ScoringOptions, interval, metric_draws, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.evaluate.questions import Question

__all__ = ["Comparison", "Difference", "compare"]


class Difference(NamedTuple):
    """One metric of two models."""

    task: str
    metric: str
    one: float
    two: float
    difference: Interval
    """The second minus the first."""
    questions: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """All metrics of two models on the rows that both answered.

    Attributes:
        rows: One for each task and metric.
        level: Of the intervals.
        left_out: What is not compared, by reason.
    """

    rows: Sequence[Difference]
    level: float
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rows": [{**row._asdict(), "difference": row.difference.as_dict()} for row in self.rows],
            "level": self.level,
            "left_out": dict(self.left_out),
        }


def compare(
    one: Mapping[str, str],
    two: Mapping[str, str],
    questions: Sequence[Question],
    options: ScoringOptions | None = None,
    *,
    where: tuple[str, str] = ("", ""),
) -> Comparison:
    """Compare two models on the rows that both answered, paired by image.

    Every resample draws the same images for both, so what makes an image hard for both does not widen the interval of
    their difference.

    Args:
        one: Answers of the first model, by `Question.key`.
        two: Those of the second.
        questions: The rows.
        options: As for `score`; rows that only one model answered are left out, whatever ``missing`` says.
        where: Names of the predictions, for messages.

    Raises:
        AnnotationError: There is no row that both answered.
    """
    options = options or ScoringOptions()
    settings = {name: getattr(options, name) for name in ("frame", "unreadable", "cutoff", "level", "seed")}
    alone = ScoringOptions(**settings, resamples=0, missing="skip")
    answered = [
        {
            row.key
            for row, read in zip(found.questions, found.readings, strict=True)
            if read.problem != "missing"
        }
        for found in (
            score(answers, questions, alone, where=name)
            for answers, name in ((one, where[0]), (two, where[1]))
        )
    ]
    both = answered[0] & answered[1]
    common = [row for row in questions if row.key in both]
    if not common:
        raise AnnotationError(
            "there is no row that both files answer",
            where=" and ".join(where),
            remedy="Compare predictions of the same rows.",
        )
    left_out = Counter({"rows that only one of the files answers": len(answered[0] ^ answered[1])})
    left_out += Counter()  # takes out what is 0
    paired = ScoringOptions(**settings, resamples=options.resamples, missing="skip")
    drawn = [metric_draws(answers, common, paired) for answers in (one, two)]
    rows = []
    for key, (value, draws, count) in drawn[0].items():
        other, other_draws, _ = drawn[1].get(key, (float("nan"), draws, count))
        low, high = interval(other_draws - draws, options.level)
        rows.append(Difference(*key, value, other, Interval(other - value, low, high), count))
    return Comparison(rows, options.level, left_out)
