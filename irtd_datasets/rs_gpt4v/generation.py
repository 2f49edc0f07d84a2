"""Records in the style of RS-GPT4V from the labels of any source set: pure functions from labels to rounds.

No record of the release is public, so the form is chosen here: that of LLaVA-1.5, which its authors trained, with boxes
in 0-1 of the square-padded image and three decimals. The file cannot say so: give ``--frame square_unit`` to a build
where images are not square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert, format_coordinate
from irtd_datasets.rows.generated import GeneratedRecord, Rounds

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject

__all__ = [
    "DECIMALS",
    "DESCRIBED",
    "TASKS",
    "USES_TEST",
    "make_rounds",
    "place",
    "place_described",
    "rounds_described",
]

DECIMALS = 3
TASKS = ("captioning", "vqa", "grounding", "region_captioning")
"""The tasks of the release that labels can give; the others were written by a language model."""

DESCRIBED = {
    "region_captioning": "regions",
    "detailed_description": "detailed_description",
    "conversation": "conversation",
    "reasoning": "reasoning",
}
"""The tasks that a language model writes, in the steps of the paper, each with the name of its files."""

USES_TEST = True
"""Whether images that a source keeps for testing are used."""

_CAPTION = "Provide a one-sentence caption for the provided image."
_SHORT = "Answer the question using a single word or phrase."
_GROUND = "Please provide the bounding box coordinate of the region which is described as: {}"
_REGION = "Please provide a short description for this region: {}"
_DETAIL = "Describe this image in detail."


def make_rounds(
    task: str,
    image: LabelledImage,
    size: tuple[int, int] | None,
    categories: Sequence[str] = (),  # noqa: ARG001 - one signature for all datasets
    partial: Collection[str] = (),  # noqa: ARG001 - the same
) -> list[Rounds]:
    r"""Questions and answers that the labels of an image give to a task, all in one record.

    Args:
        task: One of `TASKS`.
        image: The labels.
        size: Width and height of the upright image; the tasks with boxes give nothing without it.
        categories: All classes of the source, of which no task here asks.
        partial: Classes of which an object was left out; no task here asks for all of a class.

    Example:
        >>> from irtd_datasets.annotations.labelled import LabelledImage
        >>> labelled = LabelledImage("RSVQA-LR", "0.tif", questions=(("Is a road present?", "yes"),))
        >>> make_rounds("vqa", labelled, None)
        [[('Is a road present?\nAnswer the question using a single word or phrase.', 'yes')]]
    """
    described = [one for one in image.objects if one.description and one.box is not None] if size else []
    if task == "captioning":
        rounds = [(_CAPTION, sentence) for sentence in dict.fromkeys(image.captions)]
    elif task == "vqa":
        rounds = [(f"{question}\n{_SHORT}", answer) for question, answer in image.questions]
    elif task == "grounding":
        rounds = [(_GROUND.format(one.description), _box(one, size)) for one in described]
    else:
        rounds = [(_REGION.format(_box(one, size)), one.description) for one in described]
    return [rounds] if rounds else []


def place(source: str, task: str, image: LabelledImage, rounds: Rounds) -> GeneratedRecord:  # noqa: ARG001
    """Where a record goes, as a build of this dataset looks for it."""
    split = "test" if image.split == "test" else "train"
    file, name = f"{split}/{source}_{task}.json", f"images/{source}/{image.image}"
    return GeneratedRecord(file, name, f"{source}/{task}/{image.image}", "<image>\n")


def rounds_described(
    task: str, rounds: Rounds, regions: Sequence[LabelledObject], size: tuple[int, int]
) -> Rounds:
    """The rounds of a record from what a language model wrote.

    Args:
        task: One of `DESCRIBED`.
        rounds: Questions and answers; questions that are not the model's are empty.
        regions: For ``region_captioning``: the object of each round.
        size: Width and height of the upright image.
    """
    if task == "region_captioning":
        return [
            (_REGION.format(_box(one, size)), answer)
            for one, (_, answer) in zip(regions, rounds, strict=True)
        ]
    return [(question or _DETAIL, answer) for question, answer in rounds]


def place_described(source: str, task: str, image: LabelledImage) -> GeneratedRecord:
    """Where a record that a language model wrote goes: into a file whose name tells its task, and no other."""
    split = "test" if image.split == "test" else "train"
    file, name = f"{split}/{source}/{DESCRIBED[task]}.json", f"images/{source}/{image.image}"
    return GeneratedRecord(file, name, f"{source}/{task}/{image.image}", "<image>\n")


def _box(one: LabelledObject, size: tuple[int, int] | None) -> str:
    assert size is not None  # without it nothing is described
    numbers = convert([one.box or ()], Frame.PIXEL, Frame.SQUARE_UNIT, *size)[0]
    return f"[{', '.join(format_coordinate(float(value), DECIMALS, cut=False) for value in numbers)}]"
