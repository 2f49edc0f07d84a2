"""From a row of a dataset folder to what a training program reads: pure functions, no files.

A row that cannot be exported truthfully is left out with a reason; nothing is guessed and nothing is passed on in
another frame than the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.boxes import Frame, parse_boxes
from irtd_datasets.boxes.text import ParsedText
from irtd_datasets.errors import BoxError, IrtdDatasetsError
from irtd_datasets.schema import BOX_FRAMES
from irtd_datasets.training.targets import Style, restyle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "LAYOUTS",
    "REASONS",
    "Example",
    "LeftOut",
    "check_turns",
    "conversation",
    "has_objects",
    "messages_row",
    "prepare",
    "swift_row",
]

LAYOUTS = {
    "jsonl": "one conversation a line: id, image, conversations (LLaVA-NeXT, InternVL, qwen-vl-finetune)",
    "json": "the same records as one JSON list (LLaVA-1.5, which reads its data file with json.load)",
    "ms-swift": "messages, images, and objects for the programs' own grounding form",
    "llama-factory": "messages, images, and a dataset_info.json",
    "vlmevalkit": "a table with image, question and answer, a line for each round (VLMEvalKit)",
}
"""The layouts, and what reads them."""

REASONS = {
    "frame-unknown": "the text has places and its release does not say in which frame",
    "frame-missing": "the text has places but the row names no frame",
    "places-unreadable": "something looks like a box and cannot be read, so it would stay in the old frame",
    "size-missing": "the row has no width or height",
    "no-resize": "the image is over 200 times longer than wide, which Qwen2.5-VL refuses",
    "turns-not-alternating": "the turns are not user, assistant, user, assistant ..., as every layout needs",
    "turn-empty": "a turn has no text",
    "system-turn": "there is a system turn, for which this layout has no place",
    "placeholder-in-text": "the text has a token that this layout would take for an image or a box",
    "image-missing": "the row has no image",
    "image-unreadable": "the image cannot be decoded, and the layout holds it as the program shows it",
    "filtered": "a filter names the row",
}
"""Why a row can be left out."""

_IMAGE_TOKENS = ("<image>", "<video>", "<audio>")
_SWIFT_TOKENS = ("<bbox>", "<ref-object>")
_MAY_HAVE_PLACES = re.compile(r"[\[<]")

# Where ms-swift knows how the model writes boxes; elsewhere it would fall back to 0-1000 of width and height.
_SWIFT_GROUNDING = frozenset({"qwen2-vl", "qwen2.5-vl", "qwen3-vl", "internvl"})


class LeftOut(IrtdDatasetsError):  # noqa: N818 - it ends a row, not a program
    """A row that is not exported; the argument is one of `REASONS`."""


@dataclass(slots=True)
class Example:
    """A row in a model's form, before it gets a layout.

    Attributes:
        id: Of the row.
        turns: Role and text of each turn, without the image's token.
        width: Of the upright image.
        height: Likewise.
        refs: Class names that stand as ``<ref-object>`` in the text.
        boxes: Boxes (4 numbers) and points (2) that stand as ``<bbox>``, in pixels of the image.
        kinds: How many places of each kind there are.
        clipped: Places that were moved to the image's edge.
        collapsed: Boxes without area after rounding.
    """

    id: str
    turns: list[tuple[str, str]]
    width: int
    height: int
    refs: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    collapsed: int = 0


def prepare(row: Mapping[str, Any], style: Style, layout: str) -> Example:
    """Bring a row to a model's frame and markup.

    Args:
        row: ``id``, ``messages``, ``box_frame`` (position or name), ``width``, ``height``.
        style: The model's form.
        layout: One of `LAYOUTS`.

    Raises:
        LeftOut: It cannot be exported; the reason is one of `REASONS`.

    Example:
        >>> from irtd_datasets.training.targets import find_target
        >>> talk = [("user", "Where is the ship?"), ("assistant", "At <box>[[64, 64, 128, 256]]</box>.")]
        >>> row = {"id": "1", "messages": [dict(zip(("role", "content"), turn)) for turn in talk],
        ...        "box_frame": "pixel", "width": 640, "height": 512}
        >>> prepare(row, Style(find_target("qwen3-vl")), "jsonl").turns[1][1]
        'At [{"bbox_2d": [100, 125, 200, 500]}].'
    """
    turns = [(message["role"], message["content"]) for message in row["messages"] or ()]
    check_turns(turns, layout)
    texts = [
        (
            parse_boxes(text) if _MAY_HAVE_PLACES.search(text) else ParsedText(text, (), ()),
            role == "assistant",
        )
        for role, text in turns
    ]
    example = Example(str(row["id"]), turns, row.get("width") or 0, row.get("height") or 0)
    spans = [span for parsed, _ in texts for span in parsed.spans]
    if not spans:
        return example
    frame = _frame(row.get("box_frame"))
    if not all(span.is_readable for span in spans):
        raise LeftOut("places-unreadable")
    if not example.width or not example.height:
        raise LeftOut("size-missing")
    if has_objects(style, layout) and all(span.kind != "polygon" for span in spans):
        style = Style(style.target, style.decimals, "placeholders", style.limits)
    _write(example, texts, frame, style)
    return example


def has_objects(style: Style, layout: str) -> bool:
    """Whether ms-swift is to write the boxes of this model itself, from ``objects``.

    Example:
        >>> from irtd_datasets.training.targets import find_target
        >>> [has_objects(Style(find_target(name)), "ms-swift") for name in ("internvl", "llava")]
        [True, False]
    """
    return layout == "ms-swift" and style.markup == "model" and style.target.name in _SWIFT_GROUNDING


def _write(example: Example, texts: Sequence[tuple[ParsedText, bool]], frame: Frame, style: Style) -> None:
    try:
        result = restyle(texts, frame, example.width, example.height, style)
    except BoxError:
        raise LeftOut("no-resize") from None
    example.turns = [(role, text) for (role, _), text in zip(example.turns, result.texts, strict=True)]
    for place in result.places:
        example.kinds[place.kind] = example.kinds.get(place.kind, 0) + 1
    example.clipped, example.collapsed = result.clipped, result.collapsed
    if style.markup == "placeholders":
        example.refs = result.refs
        example.boxes = [[round(float(value), 2) for value in place.pixels] for place in result.places]


def _frame(value: int | str | None) -> Frame:
    name = BOX_FRAMES[value] if isinstance(value, int) else value
    if name is None:
        raise LeftOut("frame-missing")
    if name == "unknown":
        raise LeftOut("frame-unknown")
    return Frame(name)


def check_turns(turns: Sequence[tuple[str, Any]], layout: str) -> None:
    """See that a conversation can be told in a layout.

    Args:
        turns: Role and text of each.
        layout: One of `LAYOUTS`.

    Raises:
        LeftOut: A system turn, turns out of order, one without text, or a token that means an image.
    """
    roles = [role for role, _ in turns]
    if roles[:1] == ["system"]:
        if layout in ("jsonl", "json", "vlmevalkit"):
            raise LeftOut("system-turn")
        roles = roles[1:]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise LeftOut("turns-not-alternating")
    if not all(isinstance(text, str) and text.strip() for _, text in turns):
        raise LeftOut("turn-empty")
    tokens = _IMAGE_TOKENS + (_SWIFT_TOKENS if layout == "ms-swift" else ())
    if any(token in text for _, text in turns for token in tokens):
        raise LeftOut("placeholder-in-text")


def conversation(example: Example, image: str | list[str]) -> dict[str, Any]:
    r"""The record of LLaVA, InternVL and qwen-vl-finetune.

    Keys are those of LLaVA (docs/Finetune_Custom_Data.md); width and height are InternVL's (chat_data_format) and
    ignored elsewhere.

    Args:
        example: The row.
        image: Path of its image, or a list of paths: as many tokens open the first question.

    Example:
        >>> talk = [("user", "What is it?"), ("assistant", "A car.")]
        >>> conversation(Example("1", talk, 640, 512), "images/a.jpg")["conversations"][0]
        {'from': 'human', 'value': '<image>\nWhat is it?'}
    """
    turns = [
        {"from": "human" if role == "user" else "gpt", "value": text.lstrip() if not index else text}
        for index, (role, text) in enumerate(example.turns)
    ]
    tokens = "<image>\n" * (len(image) if isinstance(image, list) else 1)
    turns[0]["value"] = f"{tokens}{turns[0]['value']}"
    return {
        "id": example.id,
        "image": image,
        "width": example.width,
        "height": example.height,
        "conversations": turns,
    }


def messages_row(example: Example, images: int = 1) -> dict[str, Any]:
    """The keys ``id`` and ``messages`` of ms-swift and LLaMA-Factory; the images' tokens open the first question.

    Example:
        >>> talk = [("user", "What is it?"), ("assistant", "A car.")]
        >>> messages_row(Example("1", talk, 640, 512))["messages"][0]
        {'role': 'user', 'content': '<image>What is it?'}
    """
    messages = [{"role": role, "content": text} for role, text in example.turns]
    first = messages[0] if messages[0]["role"] == "user" else messages[1]
    first["content"] = f"{'<image>' * images}{first['content'].lstrip()}"
    return {"id": example.id, "messages": messages}


def swift_row(example: Example, images: int = 1) -> dict[str, Any]:
    """`messages_row` with ms-swift's ``objects``: real pixels, which it brings to the frame of the model it trains.

    The lists are empty where nothing is placed. Of several images, places are in the first, as ms-swift takes it.

    Example:
        >>> talk = [("user", "Where?"), ("assistant", "<ref-object><bbox>")]
        >>> swift_row(Example("1", talk, 640, 512, ["a ship"], [[64.0, 64.0, 128.0, 256.0]]))["objects"]
        {'ref': ['a ship'], 'bbox': [[64.0, 64.0, 128.0, 256.0]]}
    """
    return {**messages_row(example, images), "objects": {"ref": example.refs, "bbox": example.boxes}}
