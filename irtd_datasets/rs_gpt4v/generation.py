"""Records in the style of RS-GPT4V from the labels of any source set: pure functions from labels to rounds.

No record of the release is public, so the form is chosen here: that of LLaVA-1.5, which its authors trained, with boxes
in 0-1 of the square-padded image and three decimals. The file cannot say so: give ``--frame square_unit`` to a build
where images are not square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert, format_coordinate

if TYPE_CHECKING:
    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject

__all__ = ["DECIMALS", "TASKS", "make_rounds"]

DECIMALS = 3
TASKS = ("captioning", "vqa", "grounding", "region_captioning")
"""The tasks of the release that labels can give; the others were written by a language model."""

_CAPTION = "Provide a one-sentence caption for the provided image."
_SHORT = "Answer the question using a single word or phrase."
_GROUND = "Please provide the bounding box coordinate of the region which is described as: {}"
_REGION = "Please provide a short description for this region: {}"


def make_rounds(task: str, image: LabelledImage, size: tuple[int, int] | None) -> list[tuple[str, str]]:
    r"""Questions and answers that the labels of an image give to a task.

    Args:
        task: One of `TASKS`.
        image: The labels.
        size: Width and height of the upright image; the tasks with boxes give nothing without it.

    Example:
        >>> from irtd_datasets.annotations.labelled import LabelledImage
        >>> labelled = LabelledImage("RSVQA-LR", "0.tif", questions=(("Is a road present?", "yes"),))
        >>> make_rounds("vqa", labelled, None)
        [('Is a road present?\nAnswer the question using a single word or phrase.', 'yes')]
    """
    if task == "captioning":
        return [(_CAPTION, sentence) for sentence in dict.fromkeys(image.captions)]
    if task == "vqa":
        return [(f"{question}\n{_SHORT}", answer) for question, answer in image.questions]
    if size is None:
        return []
    described = [one for one in image.objects if one.description and one.box is not None]
    if task == "grounding":
        return [(_GROUND.format(one.description), _box(one, size)) for one in described]
    return [(_REGION.format(_box(one, size)), one.description) for one in described]


def _box(one: LabelledObject, size: tuple[int, int]) -> str:
    numbers = convert([one.box or ()], Frame.PIXEL, Frame.SQUARE_UNIT, *size)[0]
    return f"[{', '.join(format_coordinate(float(value), DECIMALS, cut=False) for value in numbers)}]"
