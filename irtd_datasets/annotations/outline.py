"""A quick and lenient look at a record: its image and its texts, or None.

`irtd_datasets.annotations.conversations` judges records and says what is wrong with them. A look never fails: it is
for surveys of whole files, which ask what kind of file this is before anything is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from irtd_datasets.annotations.conversations import RecordForm

__all__ = ["RecordOutline", "outline_of"]

_USERS = frozenset({"human", "user"})
_ASSISTANTS = frozenset({"gpt", "assistant"})


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
    turns = record.get("conversations", record.get("messages"))
    if isinstance(turns, list):
        pairs = [_turn(turn) for turn in turns if isinstance(turn, dict)]
        questions = tuple(text for role, text in pairs if role in _USERS)
        answers = tuple(text for role, text in pairs if role in _ASSISTANTS)
        return _found(record, "conversation", questions, answers)
    text, answer = record.get("text"), record.get("answer")
    if isinstance(text, str) and answer is not None:
        items = answer if isinstance(answer, list) else [answer]
        return _found(record, "question", (text,), tuple(item for item in items if isinstance(item, str)))
    description = record.get("description")
    if isinstance(description, str):
        return _found(record, "caption", (), (description,))
    return None


def _turn(turn: Mapping[str, object]) -> tuple[str, str]:
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    return (role, text) if isinstance(role, str) and isinstance(text, str) else ("", "")


def _found(
    record: Mapping[str, object], form: RecordForm, questions: tuple[str, ...], answers: tuple[str, ...]
) -> RecordOutline | None:
    if not answers:
        return None
    category = record.get("category")
    extra = tuple(key for key in record if key not in _KNOWN[form])
    return RecordOutline(
        form, _image(record), questions, answers, category if isinstance(category, str) else "", extra
    )


def _image(record: Mapping[str, object]) -> str:
    for key in ("image", "image_path", "images"):
        value = record.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str):
            return value
    return ""
