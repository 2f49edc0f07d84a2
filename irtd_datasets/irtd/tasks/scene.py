"""Scene: one of four options names the type of scene. Metric: accuracy (paper section 5.1).

No record of this task was released. Question and answer are those of the paper's Fig. 2, which shows options of the
EPFL RGB-NIR classes; the label is the class folder of the source.

Chosen here: four options of the classes of the source itself, wrong ones by the choice ``scenes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.irtd.tasks.choice import format_answer, parse_answer, read
from irtd_datasets.irtd.tasks.generation import Made, lettered, write_options

if TYPE_CHECKING:
    from irtd_datasets.irtd.tasks.generation import Labels, Rules
    from irtd_datasets.rows.seeded import Draw

__all__ = ["METRIC", "QUESTION", "format_answer", "make", "parse_answer", "read"]

METRIC = "accuracy"
QUESTION = "Identify the type of scene in the image."
LEAST_OPTIONS = 3

ALIKE = (
    frozenset({"urban", "street", "oldbuilding", "old building"}),
    frozenset({"country", "field", "mountain"}),
    frozenset({"country", "forest"}),
    frozenset({"mountain", "forest"}),
)
"""Classes of the EPFL set that can be true of one image; with them as options the question has two right answers."""


def make(labels: Labels, rules: Rules, draw: Draw) -> list[Made]:
    """A question about the class of the whole image."""
    gold = labels.image.scene
    if gold is None or gold not in labels.scenes:
        return []
    wrong = [name for name in labels.scenes if name != gold]
    if rules.scenes == "distinct":
        wrong = [name for name in wrong if not any({name, gold} <= pair for pair in ALIKE)]
    if len(wrong) < LEAST_OPTIONS - 1:
        return []
    named = lettered(draw.shuffled([gold, *draw.sample(wrong, 3)]))
    answer = format_answer([pair for pair in named if pair[1] == gold])
    return [Made(f"{QUESTION}\n{write_options(named)}", answer, gold)]
