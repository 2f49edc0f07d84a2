"""Rows in the form in which training code expects a conversation about an image.

=================== ==========================================================================================
form                what reads it
=================== ==========================================================================================
``trl``             ``messages`` and ``images``: TRL's ``SFTTrainer`` and its vision collator
``trl-prompt``      ``prompt``, ``completion`` and ``images``: the same, with loss on the last answer alone
``transformers``    ``messages`` whose content is a list of parts, the image among them: ``apply_chat_template`` of
                    the processors of transformers, and ``process_vision_info`` of ``qwen-vl-utils``
``llava``           ``conversations`` with ``from`` and ``value`` and the token ``<image>``, and ``image``: the training
                    code of LLaVA, LLaVA-NeXT and InternVL, and ``qwen-vl-finetune``
=================== ==========================================================================================

Files on disk for other programs are written by `irtd_datasets.training.export`; the texts are the same.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.training.examples import Example, LeftOut, check_turns, conversation, prepare
from irtd_datasets.training.targets import MAX_PIXELS, MIN_PIXELS, Style, find_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMS", "Form", "chat", "chat_transform"]

Form = Literal["trl", "trl-prompt", "transformers", "llava"]
"""A form by name."""

FORMS: tuple[str, ...] = get_args(Form)
"""The forms by name."""


def chat(
    row: Mapping[str, Any],
    form: Form,
    *,
    target: str | None = None,
    limits: tuple[int, int] = (MIN_PIXELS, MAX_PIXELS),
    partners: bool = False,
) -> dict[str, Any]:
    r"""Bring a row to the form that a training program reads.

    Args:
        row: With ``id``, ``messages`` and ``image``: an array as `irtd_datasets.training.decode` gives it, a Pillow
            image, or the bytes as stored. For a target also ``box_frame``, ``width`` and ``height``, which must be
            those of the image that is given: `decode_row` sees to that.
        form: One of `FORMS`.
        target: Model whose frame and markup the boxes of the text get, such as ``qwen2.5-vl``
            (`irtd_datasets.training.targets.TARGETS`); None leaves the text as it is.
        limits: Least and most pixels of the resize of Qwen2.5-VL, as its processor is set.
        partners: Whether the visible partner of a row, where it has one, is its second image, with a token of its own.
            Places in the text are in the first.

    Returns:
        A new dictionary with the keys of that form, and ``id``. Images are Pillow images in RGB.

    Raises:
        UnknownNameError: No such form or target.
        LeftOut: The row cannot be brought to this form truthfully; its argument is one of
            `irtd_datasets.training.examples.REASONS`.
        ImageError: The image cannot be decoded.

    Example:
        >>> row = {"id": "1", "image": np.zeros((4, 6), np.uint8),
        ...        "messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A car."}]}
        >>> chat(row, "trl")["messages"][1]
        {'role': 'assistant', 'content': 'A car.'}
        >>> chat(row, "llava")["conversations"][0]["value"]
        '<image>\nWhat is it?'
    """
    if form not in FORMS:
        raise UnknownNameError(f"unknown form {form!r}", remedy=f"The forms are {', '.join(FORMS)}.")
    layout = "jsonl" if form == "llava" else "llama-factory"  # LLaVA has no place for a system turn
    if target is None:
        turns = [(message["role"], message["content"]) for message in row["messages"] or ()]
        check_turns(turns, layout)
        checked = Example(str(row["id"]), turns, row.get("width") or 0, row.get("height") or 0)
    else:
        checked = prepare(row, Style(find_target(target), limits=limits), layout)
    images = [_image(row)]
    if partners and row.get("visible") is not None:
        images.append(_image(row, "visible"))
    if form == "llava":
        found = conversation(checked, [""] * len(images))
        shown = images if len(images) > 1 else images[0]
        return {"id": checked.id, "image": shown, "conversations": found["conversations"]}
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in checked.turns]
    if form == "trl":
        return {"id": checked.id, "messages": messages, "images": images}
    if form == "trl-prompt":
        return {"id": checked.id, "prompt": messages[:-1], "completion": messages[-1:], "images": images}
    first = next(index for index, message in enumerate(messages) if message["role"] == "user")
    for index, message in enumerate(messages):
        parts = [{"type": "image", "image": image} for image in images] if index == first else []
        message["content"] = [*parts, {"type": "text", "text": message["content"]}]
    return {"id": checked.id, "messages": messages}


def chat_transform(
    form: Form,
    *,
    target: str | None = None,
    limits: tuple[int, int] = (MIN_PIXELS, MAX_PIXELS),
    partners: bool = False,
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """`chat` with its options set, for ``map`` and for a transform of rows; it can be pickled."""
    return partial(chat, form=form, target=target, limits=limits, partners=partners)


def _image(row: Mapping[str, Any], column: str = "image") -> Image.Image:
    value = row.get(column)
    if isinstance(value, dict):
        value = value.get("bytes")
    if value is None:
        raise LeftOut("image-missing")
    if isinstance(value, np.ndarray):
        return Image.fromarray(value).convert("RGB")
    if isinstance(value, Image.Image):
        return value.convert("RGB")
    try:
        with Image.open(io.BytesIO(value)) as image:
            converted: Image.Image = image.convert("RGB")
            return converted
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(
            f"the image cannot be decoded: {error}",
            where=str(row.get("id", "")),
            remedy="Leave its row out.",
        ) from error
