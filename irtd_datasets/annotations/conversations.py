r"""Records of conversations, captions and evaluation questions, parsed without any file access.

Three forms occur in the releases:

- the conversation of IR-TD, MMRS-1M and RS-GPT4V, ``{"id", "image", "conversations": [{"from", "value"}]}``,
  also written ``{"messages": [{"role", "content"}]}``;
- the caption of IR-TD's ``new_relative.json``: ``{"image_path", "description"}``;
- the question of evaluation files: ``{"question_id", "image", "text", "answer", "category"}``.

Text is kept as released. Only the image token and the one line feed that joins it to the text are removed,
because a row names its image in a column of its own: ``"<image>\n Locate ..."`` of IR-TD becomes
``" Locate ..."``, with its leading blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from irtd_datasets.annotations.conversation_keys import IMAGE_KEYS, ROLES, SPOKEN, TURN_KEYS, role_of
from irtd_datasets.errors import AnnotationError, UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from irtd_datasets.annotations.conversation_keys import Role

__all__ = [
    "MANY_ROUNDS",
    "ONE_ROUND",
    "Caption",
    "Conversation",
    "ConversationRules",
    "ImageToken",
    "Question",
    "RecordError",
    "RecordForm",
    "Turn",
    "detect_form",
    "parse_caption",
    "parse_conversation",
    "parse_question",
    "strip_prefix",
]

ImageToken: TypeAlias = Literal["start", "end", "none"]
RecordForm: TypeAlias = Literal["conversation", "caption", "question"]

IMAGE_TOKEN = "<image>"  # noqa: S105 - no secret
_FIRST_LINE = f"{IMAGE_TOKEN}\n"
_NO_TOKEN: ImageToken = "none"  # noqa: S105 - no secret
_leading_token = re.compile(r"<image>\n?").match
# A task in brackets before the token, as MiniGPT-v2 and GeoChat write it: "[vqa] <image>\nIs there a road?"
_tagged_token = re.compile(r"(\[[A-Za-z][\w -]{0,30}\]\s*)<image>\n?").match
_trailing_token = re.compile(r"\n?<image>\Z").search


class RecordError(AnnotationError):
    """One record that does not have the form it should have.

    Args:
        problem: What was found and what was expected.
        code: Short reason that a ledger counts by: ``record-form``, ``key-conflict``, ``id-type``,
            ``image-count``, ``image-type``, ``image-token``, ``turn-type``, ``turn-order``, ``turn-odd``,
            ``turn-count``, ``unknown-role``, ``text-type``, ``text-surrogate``, ``empty-question`` or
            ``empty-answer``.
        where: File and record.
        remedy: What to do next.

    Example:
        >>> record = {"image": [], "conversations": []}
        >>> try:
        ...     parse_conversation(record, 7, name="ReID.json")
        ... except RecordError as error:
        ...     print(error.code, "|", error)
        image-count | ReID.json record 7: 0 images, expected 1
    """

    def __init__(self, problem: str, *, code: str, where: str = "", remedy: str = "") -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.code = code


# Not frozen, which makes it four times as slow to make; nobody changes one.
@dataclass(slots=True, unsafe_hash=True)
class Turn:
    """One turn of a conversation.

    Attributes:
        role: ``user``, ``assistant`` or ``system``, whatever words the release uses.
        text: The text as released, without the image token.
    """

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class ConversationRules:
    """What a release promises about each of its conversations, as bounds (least, most or None).

    Attributes:
        images: Images of a record.
        turns: Turns of the user and the assistant together; always an even number, user first.
        system: System turns, which may only come before all others.
    """

    images: tuple[int, int | None] = (1, 1)
    turns: tuple[int, int | None] = (2, 2)
    system: tuple[int, int | None] = (0, 0)


ONE_ROUND = ConversationRules()
"""IR-TD: one image, one question, one answer (all 40,200 records of ``json_sft.zip``)."""

MANY_ROUNDS = ConversationRules(turns=(2, None), system=(0, 1))
"""MMRS-1M and LLaVA-style files: one image and any number of rounds."""


# Not frozen, which makes it four times as slow to make; nobody changes one.
@dataclass(slots=True, unsafe_hash=True)
class Conversation:
    """A conversation about images.

    Attributes:
        id: The record's id as text; None where it has none. Unique within one file at most.
        images: Names of the images as released, not yet made safe: see `strip_prefix`.
        turns: System turns first, then user and assistant in alternation.
        index: Number of the record in its file, from 0.
        image_token: Where the image token stood in the first question.
        extra: Keys that this form does not know, with their values; a key of turn 3 is named
            ``conversations[3].key``.
    """

    id: str | None
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    index: int
    image_token: ImageToken = "none"  # noqa: S105 - no secret
    extra: dict[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Caption:
    """An image with its description.

    Attributes:
        id: The record's id as text; None where it has none.
        image: Name of the image as released.
        text: The description.
        index: Number of the record in its file, from 0.
        extra: Keys that this form does not know, with their values.
    """

    id: str | None
    image: str
    text: str
    index: int
    extra: dict[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A question of an evaluation file with its reference answers.

    Attributes:
        id: The ``question_id`` as text; None where it has none. One id can have several rounds.
        image: Name of the image as released.
        text: The question, without the image token.
        answers: The reference answers, at least one.
        category: Kind of question, where the file has it.
        index: Number of the record in its file, from 0.
        image_token: Where the image token stood in the question.
        extra: Keys that this form does not know, with their values.
    """

    id: str | None
    image: str
    text: str
    answers: tuple[str, ...]
    category: str | None
    index: int
    image_token: ImageToken = "none"  # noqa: S105 - no secret
    extra: dict[str, object] = field(default_factory=dict, hash=False)


class _Fields:
    """Typed access to the fields of one record; every failure names file and record."""

    __slots__ = ("index", "name", "record")

    def __init__(self, record: Mapping[str, object], index: int | None, name: str) -> None:
        self.record = record
        self.index = index
        self.name = name

    def fail(self, code: str, problem: str, remedy: str = "") -> NoReturn:
        record = "" if self.index is None else f"record {self.index}"
        raise RecordError(problem, code=code, where=f"{self.name} {record}".strip(), remedy=remedy)

    def one_of(self, keys: tuple[str, ...]) -> str | None:
        """The one key of several synonyms that the record has; None where it has none."""
        found = [key for key in keys if key in self.record]
        if len(found) > 1:
            self.fail("key-conflict", f"{_quoted(found)} stand side by side, expected one of them")
        return found[0] if found else None

    def text(self, value: object, what: str) -> str:
        if not isinstance(value, str):
            self.fail("text-type", f"{what} is {_shown(value)}, expected a text")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                self.fail(
                    "text-surrogate",
                    f"{what} holds half of a surrogate pair at character {error.start}, which is no text",
                )
        return value

    def id(self, key: str) -> str | None:
        value = self.record.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            return self.text(value, repr(key))
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.fail("id-type", f"{key!r} is {_shown(value)}, expected a text or a whole number")

    def images(self, bounds: tuple[int, int | None]) -> tuple[str, ...]:
        key = self.one_of(IMAGE_KEYS)
        value = None if key is None else self.record[key]
        items = value if isinstance(value, list) else [] if value in (None, "") else [value]
        names = tuple(self._image(item, str(key)) for item in items)
        if not _within(len(names), bounds):
            found = f"{len(names)} images" if len(names) != 1 else "1 image"
            self.fail("image-count", f"{found}, expected {_bounds(bounds)}")
        return names

    def _image(self, item: object, key: str) -> str:
        if not isinstance(item, str) or not item:
            self.fail("image-type", f"{key!r} holds {_shown(item)}, expected the name of an image")
        return self.text(item, repr(key))

    def question(self, text: str, what: str, images: int) -> tuple[str, ImageToken]:
        """The text without the image token, and where that stood."""
        text, place = self._strip_token(text, what, images)
        if not text.strip():
            self.fail("empty-question", f"{what} is empty")
        return text, place

    def _strip_token(self, text: str, what: str, images: int) -> tuple[str, ImageToken]:
        tokens = text.count(IMAGE_TOKEN)
        if not tokens:
            return text, "none"
        place: ImageToken = "none"
        # Several images may each have a token, all at one end.
        if tokens <= images and text.startswith(IMAGE_TOKEN):
            place = "start"
            while (match := _leading_token(text)) is not None:
                text = text[match.end() :]
        elif tokens <= images and text.endswith(IMAGE_TOKEN):
            place = "end"
            while (match := _trailing_token(text)) is not None:
                text = text[: match.start()]
        elif tokens == images == 1 and (match := _tagged_token(text)) is not None:
            place, text = "start", match[1] + text[match.end() :]
        if place == "none" or text.count(IMAGE_TOKEN):
            self.fail(
                "image-token",
                f"{what} has {tokens} image tokens for {images} images, expected them at its start or its"
                f" end: {_shown(text)}",
            )
        return text, place

    def others(self, known: frozenset[str]) -> dict[str, object]:
        return {key: value for key, value in self.record.items() if key not in known}


_CONVERSATION_KEYS = frozenset(("id", *IMAGE_KEYS, *TURN_KEYS))
_CAPTION_KEYS = frozenset(("id", "image", "image_path", "images", "description"))
_QUESTION_KEYS = frozenset(("question_id", *IMAGE_KEYS, "text", "answer", "category"))
_BOX_KEYS = ("gt_bbox", "gt_box", "gt_bboxes")
_ONE_IMAGE = (1, 1)


def parse_conversation(
    record: Mapping[str, object], index: int, *, name: str, rules: ConversationRules = ONE_ROUND
) -> Conversation:
    r"""Parse a record of the conversation form.

    Accepted are ``image``, ``image_path`` or ``images`` with a text or a list; ``id`` with a text, a whole
    number or nothing; and turns in ``conversations`` or ``messages``, each with ``from`` and ``value`` or
    ``role`` and ``content``; the roles are ``human`` or ``user``, ``gpt``, ``assistant`` or ``bot``, and ``system``,
    in letters of any case. The image token stands at the start or the end of the first question, or behind a task
    in brackets at its start (``[vqa] <image>``), which is kept.

    Args:
        record: The parsed JSON object.
        index: Number of the record in its file, from 0.
        name: Name of the file, for messages.
        rules: What the release promises about its records.

    Returns:
        The conversation, with the text as released except for the image token.

    Raises:
        RecordError: The first problem of the record, with its ``code``.

    Example:
        >>> record = {"id": "0", "image": ["a.jpeg"], "conversations": [
        ...     {"from": "human", "value": "<image>\n Locate all car from left to right."},
        ...     {"from": "gpt", "value": "<ref>car</ref> at <pos>[(500, 600)]</pos>"}]}
        >>> conversation = parse_conversation(record, 0, name="Location.json")
        >>> conversation.images, conversation.image_token, conversation.turns[0]
        (('a.jpeg',), 'start', Turn(role='user', text=' Locate all car from left to right.'))
    """
    return _plain_round(record, index, rules) or _any_conversation(record, index, name, rules)


def _plain_round(record: Mapping[str, object], index: int, rules: ConversationRules) -> Conversation | None:
    """One image, one question with its token in front, one answer, nothing else; None for anything unusual.

    Nearly all records of the releases have this form, and it takes a third of the time of `_any_conversation`,
    whose answer is the same.
    """
    images, turns = record.get("image"), record.get("conversations")
    if (
        len(record) != 3
        or type(images) is not list
        or type(turns) is not list
        or len(images) != 1
        or len(turns) != 2
    ):
        return None
    asked, told = turns
    if type(asked) is not dict or type(told) is not dict or len(asked) != 2 or len(told) != 2:
        return None
    if asked.get("from") != "human" or told.get("from") != "gpt":
        return None
    texts: list[Any] = [record.get("id"), images[0], asked.get("value"), told.get("value")]
    identifier, image, question, answer = texts
    if set(map(type, texts)) != {str} or not question.startswith(_FIRST_LINE):
        return None
    joined = "".join(texts)
    # One token, and no half of a surrogate pair.
    if joined.count(IMAGE_TOKEN) != 1 or not joined.isascii():
        return None
    question = question[len(_FIRST_LINE) :]
    if not (identifier and image and question.strip() and answer.strip()):
        return None
    if not (_within(1, rules.images) and _within(2, rules.turns) and _within(0, rules.system)):
        return None
    return Conversation(
        identifier, (image,), (Turn("user", question), Turn("assistant", answer)), index, "start"
    )


def _any_conversation(
    record: Mapping[str, object], index: int, name: str, rules: ConversationRules
) -> Conversation:
    fields = _Fields(record, index, name)
    identifier = fields.id("id")
    images = fields.images(rules.images)
    key = fields.one_of(TURN_KEYS)
    if key is None:
        _refuse(fields, f"one of {_quoted(TURN_KEYS)}")
    items = record[key]
    if not isinstance(items, list):
        fields.fail("turn-type", f"{key!r} is {_shown(items)}, expected a list of turns")
    extra = fields.others(_CONVERSATION_KEYS)
    turns = [_turn(fields, item, key, number, extra) for number, item in enumerate(items)]
    first = _check_order(fields, turns, rules)
    text, place = "", _NO_TOKEN
    if first < len(turns):
        text, place = fields.question(turns[first].text, f"{key}[{first}]", len(images))
    for number, turn in enumerate(turns):
        if number == first:
            turns[number] = Turn(turn.role, text)
        elif IMAGE_TOKEN in turn.text:
            fields.fail(
                "image-token",
                f"{key}[{number}] has an image token, expected it in the first question only",
            )
        elif not turn.text or turn.text.isspace():
            code = "empty-answer" if turn.role == "assistant" else "empty-question"
            fields.fail(code, f"{key}[{number}], a turn of the {turn.role}, is empty")
    return Conversation(identifier, images, tuple(turns), index, place, extra)


def _turn(fields: _Fields, item: object, key: str, number: int, extra: dict[str, object]) -> Turn:
    if not isinstance(item, dict):
        fields.fail("turn-type", f"{key}[{number}] is {_shown(item)}, expected an object")
    for role_key, text_key in SPOKEN:
        if role_key in item and text_key in item:
            break
    else:
        fields.fail(
            "turn-type",
            f"{key}[{number}] has the keys {_quoted(item)}, expected 'from' and 'value',"
            " or 'role' and 'content'",
        )
    word = item[role_key]
    role = role_of(word)
    if role is None:
        fields.fail(
            "unknown-role",
            f"{key}[{number}] has the role {_shown(word)}, expected one of {_quoted(ROLES)}",
        )
    if len(item) > 2:
        others = {other: value for other, value in item.items() if other not in (role_key, text_key)}
        extra.update({f"{key}[{number}].{other}": value for other, value in others.items()})
    text = item[text_key]
    if not isinstance(text, str) or not text.isascii():
        fields.text(text, f"{text_key!r} of {key}[{number}]")
    return Turn(role, text)


def _check_order(fields: _Fields, turns: list[Turn], rules: ConversationRules) -> int:
    """Check number and order of the turns; return the position of the first that is not the system's."""
    first = 0
    while first < len(turns) and turns[first].role == "system":
        first += 1
    if not _within(first, rules.system):
        fields.fail("turn-count", f"{first} system turns, expected {_bounds(rules.system)}")
    for number, turn in enumerate(turns[first:]):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            before = "at the start" if not number else f"after one of the {turns[first + number - 1].role}"
            fields.fail(
                "turn-order",
                f"turn {first + number} is of the {turn.role} {before}, expected one of the {expected}",
            )
    count = len(turns) - first
    if count % 2:
        fields.fail(
            "turn-odd", f"{count} turns, the last a question without an answer; expected an even number"
        )
    if not _within(count, rules.turns):
        fields.fail("turn-count", f"{count} turns, expected {_bounds(rules.turns)}")
    return first


def parse_caption(record: Mapping[str, object], index: int, *, name: str) -> Caption:
    """Parse a record of the caption form, that of IR-TD's ``new_relative.json``.

    Args:
        record: The parsed JSON object.
        index: Number of the record in its file, from 0.
        name: Name of the file, for messages.

    Returns:
        The caption; its text is the description, unchanged.

    Raises:
        RecordError: The first problem of the record, with its ``code``.

    Example:
        >>> record = {"image_path": "8-M3FD/00001.png", "description": "The image shows a road."}
        >>> parse_caption(record, 0, name="new_relative.json").text
        'The image shows a road.'
    """
    fields = _Fields(record, index, name)
    if "description" not in record:
        _refuse(fields, "'description'")
    (image,) = fields.images(_ONE_IMAGE)
    text = fields.text(record["description"], "'description'")
    if not text.strip():
        fields.fail("empty-answer", "'description' is empty")
    return Caption(fields.id("id"), image, text, index, fields.others(_CAPTION_KEYS))


def parse_question(record: Mapping[str, object], index: int, *, name: str) -> Question:
    """Parse a record of the evaluation form, as in the files derived from RS-GPT4V.

    Args:
        record: The parsed JSON object; ``answer`` is a text or a list of reference answers.
        index: Number of the record in its file, from 0.
        name: Name of the file, for messages.

    Returns:
        The question with all its reference answers.

    Raises:
        RecordError: The first problem of the record, with its ``code``.

    Example:
        >>> record = {"question_id": 0, "image": "1.tif", "text": "Is there a road?", "answer": "yes"}
        >>> question = parse_question(record, 0, name="RSVQA_LR.jsonl")
        >>> question.id, question.answers
        ('0', ('yes',))
    """
    fields = _Fields(record, index, name)
    for key in ("text", "answer"):
        if key not in record:
            _refuse(fields, repr(key))
    (image,) = fields.images(_ONE_IMAGE)
    text, token = fields.question(fields.text(record["text"], "'text'"), "'text'", 1)
    answer = record["answer"]
    items = answer if isinstance(answer, list) else [answer]
    answers = tuple(fields.text(item, "'answer'") for item in items)
    if not answers or not all(item.strip() for item in answers):
        fields.fail(
            "empty-answer", f"'answer' is {_shown(answer)}, expected at least one text and none empty"
        )
    category = record.get("category")
    if category is not None:
        category = fields.text(category, "'category'")
    extra = fields.others(_QUESTION_KEYS)
    return Question(fields.id("question_id"), image, text, answers, category, index, token, extra)


def detect_form(record: Mapping[str, object], index: int | None = None, *, name: str = "") -> RecordForm:
    """Tell which form a record has by its keys.

    Turns decide before anything else: a conversation may well carry a description.

    Args:
        record: The parsed JSON object.
        index: Number of the record in its file, for the message.
        name: Name of the file, for the message.

    Raises:
        RecordError: None of the forms, with code ``record-form``; the message shows the keys found and
            expected.

    Example:
        >>> detect_form({"image_path": "a.jpg", "description": "A road."})
        'caption'
    """
    if any(key in record for key in TURN_KEYS):
        return "conversation"
    if "text" in record and "answer" in record:
        return "question"
    if "description" in record:
        return "caption"
    fields = _Fields(record, index, name)
    boxes = [key for key in _BOX_KEYS if key in record]
    if boxes:
        fields.fail(
            "record-form",
            f"the answer of the record is {boxes[0]!r}, numbers of which nothing says in which frame they are, "
            "expected a text under 'answer'",
            remedy="Write each box as the answer's text, in the frame that its authors state, and give that frame.",
        )
    return _refuse(
        fields,
        "'image' with 'conversations' or 'messages', 'image_path' with 'description',"
        " or 'question_id', 'image', 'text' and 'answer'",
    )


def strip_prefix(path: str, marker: str = "Data4MLLM/") -> str:
    """Cut the authors' own folder off the name of an image and make sure that the rest stays in its folder.

    All paths of IR-TD's ``json_sft.zip`` begin with ``/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/``.

    Args:
        path: A name from an annotation.
        marker: The last folder of the prefix, with its slash; it counts only as a whole component.

    Returns:
        A relative path with ``/``; a path with no marker is returned as it is, if it is relative.

    Raises:
        UnsafePathError: The path is empty, or absolute without the marker or after it, has a ``..``, a drive,
            a protocol or a control character.

    Example:
        >>> strip_prefix("/mnt/jixie16t/zhe/Dataset/Datasets/Data4MLLM/55-SYSU-MM01/train1/0001.jpg")
        '55-SYSU-MM01/train1/0001.jpg'
    """
    _, found, rest = f"/{path}".partition(f"/{marker}")
    name = rest if found else path
    reason = _unsafe(path, name)
    if reason:
        raise UnsafePathError(
            f"the image path {path!r} {reason}",
            remedy=f"Expected a relative path, or one with {marker!r} before the part that is the release's.",
        )
    return name


_has_control = re.compile(r"[\x00-\x1f\x7f]").search
_components = re.compile(r"[/\\]").split
_rooted = re.compile(r"[/\\]|[A-Za-z]:").match


def _unsafe(path: str, name: str) -> str:
    """Why a name may not be used, or an empty string. Windows' notation counts on every system."""
    if not name:
        return "ends with the folder" if path else "is empty"
    if not path.isprintable() and _has_control(path):
        return "has a control character"
    if ".." in path and ".." in _components(path):
        return "has a '..'"
    if _rooted(name):
        return "is absolute"
    # fsspec, which opens paths further on, takes both marks for other file systems.
    return "names a protocol" if "://" in name or "::" in name else ""


def _refuse(fields: _Fields, expected: str) -> NoReturn:
    fields.fail("record-form", f"the record has the keys {_quoted(fields.record)}, expected {expected}")


def _quoted(words: Iterable[object]) -> str:
    """Up to twelve words with quotation marks, each of at most 40 characters."""
    shown = [repr(word)[:40] for word in words]
    return ", ".join(shown[:12] + ["..."] * (len(shown) > 12)) or "(none)"


def _shown(value: object) -> str:
    """A short quotation of a value from a file, never a whole record."""
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 70 else text[:70] + "..."


def _within(count: int, bounds: tuple[int, int | None]) -> bool:
    least, most = bounds
    return least <= count and (most is None or count <= most)


def _bounds(bounds: tuple[int, int | None]) -> str:
    least, most = bounds
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"
