"""A quick and lenient look at a record: its image and its texts, or None.

`irtd_datasets.annotations.conversations` judges records and says what is wrong with them. A look never fails: it is
for surveys of whole files, which ask what kind of file this is before anything is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from irtd_datasets.annotations.conversation_keys import find_image, find_turns, read_turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from irtd_datasets.annotations.conversations import RecordForm

__all__ = ["RecordOutline", "outline_of"]


@dataclass(frozen=True, slots=True)
class RecordOutline:
    """What a record shows at first sight.

    Attributes:
        form: Form of the record, as `irtd_datasets.annotations.conversations.detect_form` names it.
        image: Name of its image as released; empty where it has none, or several.
        questions: What the user says, turn by turn.
        answers: What the assistant says, or the reference answers.
        category: Kind of question, where the record has it.
        extra: Keys that its form does not know.
    """

    form: RecordForm
    image: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    category: str = ""
    extra: tuple[str, ...] = ()

    @property
    def texts(self) -> Iterator[str]:
        """All its texts."""
        yield from self.questions
        yield from self.answers


_KNOWN: dict[RecordForm, frozenset[str]] = {
    "conversation": frozenset({"id", "image", "image_path", "images", "conversations", "messages"}),
    "question": frozenset({"question_id", "image", "image_path", "images", "text", "answer", "category"}),
    "caption": frozenset({"id", "image", "image_path", "images", "description"}),
}


def outline_of(record: Mapping[str, object]) -> RecordOutline | None:
    """Look at a record of any of the three forms.

    Args:
        record: The parsed JSON object.

    Returns:
        Its image and texts; None when it has no such form or no text.

    Example:
        >>> outline_of({"question_id": 0, "image": "1.tif", "text": "Is there a road?", "answer": ["yes"]}).answers
        ('yes',)
        >>> outline_of({"images": [], "annotations": []}) is None
        True
    """
    key, turns = find_turns(record)
    if key:
        pairs = [read_turn(turn) for turn in turns]
        questions = tuple(text for role, text in pairs if role == "user")
        answers = tuple(text for role, text in pairs if role == "assistant")
        return _found(record, "conversation", questions, answers)
    text, answer = record.get("text"), record.get("answer")
    if isinstance(text, str) and answer is not None:
        items = answer if isinstance(answer, list) else [answer]
        return _found(record, "question", (text,), tuple(item for item in items if isinstance(item, str)))
    description = record.get("description")
    if isinstance(description, str):
        return _found(record, "caption", (), (description,))
    return None


def _found(
    record: Mapping[str, object], form: RecordForm, questions: tuple[str, ...], answers: tuple[str, ...]
) -> RecordOutline | None:
    if not answers:
        return None
    category = record.get("category")
    extra = tuple(key for key in record if key not in _KNOWN[form])
    return RecordOutline(
        form, find_image(record), questions, answers, category if isinstance(category, str) else "", extra
    )
