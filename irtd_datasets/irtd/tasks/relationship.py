"""Relationship: whether an object of one class stands in a relation to the k-th object of another, yes or no.

One pair of objects, which the release does not record, was judged for each record.
"""

from __future__ import annotations

import re

from irtd_datasets.irtd.tasks.reading import TaskReading, unexpected

__all__ = ["RELATIONS", "read"]

RELATIONS = (
    "on the left side of",
    "on the right side of",
    "in front of",
    "behind",
    "near to",
    "far from",
)
_QUESTION = re.compile(
    rf"Is there an? (.+?) ({'|'.join(RELATIONS)}) the (the )?(\w+) (\w+) from left to right\?"
)
_ORDINAL = re.compile(r"(\d{1,9})(st|nd|rd|th)")


def read(question: str, answer: str) -> TaskReading:
    """Read a relation and its yes or no.

    Example:
        >>> reading = read("Is there a car behind the the 22th person from left to right?", "no")
        >>> reading.question
        'Is there a car behind the 22nd person from left to right?'
        >>> reading.issues, reading.quirks
        (('text-ordinal',), ('text-double-the', 'existential-no'))
    """
    asked = _QUESTION.fullmatch(question.strip())
    if asked is None:
        raise unexpected(
            "question", question, "'Is there a <class> <relation> the <k-th> <class> from left to right?'"
        )
    if answer.strip() not in {"yes", "no"}:
        raise unexpected("answer", answer, "yes or no")
    ordinal = _mend_ordinal(asked[4])
    quirks = []
    if asked[3]:
        quirks.append("text-double-the")
    if answer.strip() == "no":
        quirks.append("existential-no")
    article = "an" if question.strip().startswith("Is there an ") else "a"
    return TaskReading(
        question=f"Is there {article} {asked[1]} {asked[2]} the {ordinal} {asked[5]} from left to right?",
        answer=answer.strip(),
        issues=("text-ordinal",) if ordinal != asked[4] else (),
        quirks=tuple(quirks),
    )


def _mend_ordinal(word: str) -> str:
    match = _ORDINAL.fullmatch(word)
    if match is None:
        return word
    number = int(match[1])
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
