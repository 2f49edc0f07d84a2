"""How releases and other projects spell a conversation: the keys of images and turns, and the words for speakers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "IMAGE_KEYS",
    "ROLES",
    "SPOKEN",
    "TURN_KEYS",
    "Role",
    "find_image",
    "find_turns",
    "read_turn",
    "role_of",
]

Role: TypeAlias = Literal["user", "assistant", "system"]

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "system": "system",
}
IMAGE_KEYS = ("image", "image_path", "images")
TURN_KEYS = ("conversations", "messages")
SPOKEN = (("from", "value"), ("role", "content"))


def find_turns(record: Mapping[str, object]) -> tuple[str, list[Any]]:
    """The key of a record's turns and the turns, judged by nobody; an empty key and list where it has none.

    Example:
        >>> find_turns({"image": "a.jpg", "messages": [{"role": "user", "content": "A ship?"}]})[0]
        'messages'
    """
    for key in TURN_KEYS:
        turns = record.get(key)
        if isinstance(turns, list):
            return key, turns
    return "", []


def read_turn(turn: object) -> tuple[Role | None, str]:
    """Who says what in a turn, as far as it can be told: None for an unknown speaker, no text for one that is none.

    Example:
        >>> read_turn({"from": "gpt", "value": "yes"}), read_turn({"from": "narrator", "value": 3})
        (('assistant', 'yes'), (None, ''))
    """
    if not isinstance(turn, dict):
        return None, ""
    role_key, text_key = SPOKEN[0] if "from" in turn or "value" in turn else SPOKEN[1]
    word, text = turn.get(role_key), turn.get(text_key)
    return role_of(word), text if isinstance(text, str) else ""


def find_image(record: Mapping[str, object]) -> str:
    """Name of a record's only image as released; empty where it names none, several, or something else.

    Example:
        >>> find_image({"image": ["a.jpg"]}), find_image({"images": ["a.jpg", "b.jpg"]})
        ('a.jpg', '')
    """
    for key in IMAGE_KEYS:
        value = record.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return ""


def role_of(word: object) -> Role | None:
    """The speaker that a word names, in letters of any case; None for an unknown one."""
    return (ROLES.get(word) or ROLES.get(word.lower())) if isinstance(word, str) else None
