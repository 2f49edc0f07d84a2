"""Records in the style of MMRS-1M from the labels of any source set: pure functions from labels to rounds.

Prompts are those of the EarthGPT paper and of public readers of the release; boxes are in 0-1 of the square-padded
image with two decimals, corners of oriented boxes in the order of the paper.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert, format_coordinate
from irtd_datasets.mmrs_1m.spec import COMPONENTS, DECIMALS
from irtd_datasets.rows.generated import GeneratedRecord, Rounds
from irtd_datasets.rows.wording import count_word, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from irtd_datasets.annotations.labelled import LabelledImage, LabelledObject

__all__ = [
    "FOLDERS",
    "TASKS",
    "USES_TEST",
    "directory_for",
    "make_rounds",
    "place",
    "write_box",
    "write_polygon",
]

FOLDERS = {
    "captioning": "caption",
    "vqa": "VQA",
    "classification": "classification",
    "detection": "detection",
    "grounding": "RSVG",
    "region_captioning": "RSVG",
}
"""The folder of the release for each task."""

TASKS = tuple(FOLDERS)
"""Tasks that labels can give."""

USES_TEST = False
"""Whether images that a source keeps for testing are used: the release has no test part."""

_CAPTION = "Please provide a one-sentence caption for the provided remote sensing image in details."
_SHORT = "Answer the question using a single word or phrase."
_CATEGORY = f"What is the category of this remote sensing image? {_SHORT} Reference categories include {{}}"
_ALL = "Detect all objects shown in the remote sensing image and describe using {} bounding boxes."
_EACH = "Detect all {} shown in the image and describe using {} bounding boxes."
_GROUND = "Please provide the horizontal bounding box coordinate of the region which is described as:{}"
_REGION = "Please provide a short description for this region in this remote sensing image :{}"


def directory_for(source: str, task: str, *, oriented: bool = False) -> str:
    """Folder of the release for the images of a source, as its row of Table I has it.

    A source that is none of these rows gets a folder of its own name.

    Example:
        >>> directory_for("HRSID", "detection", oriented=True), directory_for("RSICD", "captioning")
        ('detection/HRSID_OBB', 'caption/rsicd')
        >>> directory_for("SIMD", "detection")
        'detection/SIMD'
    """
    wanted = _plain(source)
    for one in COMPONENTS:
        known = {_plain(one.part), _plain(one.title), _plain(one.upstream), _plain(one.upstream.split()[0])}
        if one.task == task and wanted in known | {_plain(one.directories[0].partition("/")[2])}:
            return one.directories[-1 if oriented else 0]
    return f"{FOLDERS[task]}/{source}"


def make_rounds(
    task: str,
    image: LabelledImage,
    size: tuple[int, int] | None,
    categories: Sequence[str] = (),
    partial: Collection[str] = (),
) -> list[Rounds]:
    """The records that the labels of an image give to a task, each as its rounds.

    Args:
        task: One of `FOLDERS`.
        image: The labels.
        size: Width and height of the upright image; the tasks with boxes give nothing without it.
        categories: All classes of the source, for classification.
        partial: Classes of which objects were left out, since their boxes are too small to be written; then neither
            all of these nor all objects are asked for.

    Returns:
        Detection gives a record with horizontal boxes and, where the labels have them, one with oriented boxes; each
        has a round for all objects and then one for each class, as the release has.
    """
    if task == "captioning":
        return _one([(_CAPTION, sentence) for sentence in dict.fromkeys(image.captions)])
    if task == "vqa":
        return _one([(f"{question} {_SHORT}", answer) for question, answer in image.questions])
    if task == "classification":
        scene = image.scene
        return [[(_CATEGORY.format(", ".join(categories)), scene)]] if scene else []
    if size is None:
        return []
    if task == "detection":
        boxed = [one for one in image.objects if one.box is not None]
        # Four corners of an upright rectangle are a horizontal box that was written as a polygon.
        turned = all(one.polygon is not None for one in boxed) and any(map(_is_turned, boxed))
        return [
            *_detection(boxed, size, partial, oriented=False),
            *(_detection(boxed, size, partial, oriented=True) if turned else ()),
        ]
    described = [one for one in image.objects if one.description and one.box is not None]
    if task == "grounding":
        rounds = [(_GROUND.format(one.description), f"[{write_box(one, size)}]") for one in described]
    else:
        rounds = [(_REGION.format(f"[{write_box(one, size)}]"), one.description) for one in described]
    return _one(rounds)


def place(source: str, task: str, image: LabelledImage, rounds: Rounds) -> GeneratedRecord:
    """Where a record goes, as a build of this dataset looks for it."""
    oriented = "oriented bounding boxes" in rounds[0][0]
    folder = directory_for(source, task, oriented=oriented)
    file = f"data/json/{FOLDERS[task]}/{source}_{task}{'_OBB' if oriented else ''}.json"
    return GeneratedRecord(file, f"data/{folder}/{image.image}")


def _is_turned(one: LabelledObject) -> bool:
    corners = one.polygon or ()
    return len(set(corners[::2])) > 2 or len(set(corners[1::2])) > 2


def _one(rounds: Rounds) -> list[Rounds]:
    return [rounds] if rounds else []


def _detection(
    objects: Sequence[LabelledObject], size: tuple[int, int], partial: Collection[str], *, oriented: bool
) -> list[Rounds]:
    if not objects:
        return []
    write = write_polygon if oriented else write_box
    by_class: dict[str, list[str]] = {}
    for one in objects:
        by_class.setdefault(_named(one.label, oriented=oriented), []).append(write(one, size))
    kind = "oriented" if oriented else "horizontal"
    parts = [f"<p>{_counted(name, len(boxes))}</p>[{';'.join(boxes)}]" for name, boxes in by_class.items()]
    first = next(iter(by_class.values()))
    rounds = [] if partial else [(_ALL.format(kind), f"There {_verb(len(first))} {' '.join(parts)}")]
    left_out = {_named(label, oriented=oriented) for label in partial}
    for name, boxes in by_class.items():
        if name in left_out:
            continue
        answer = f"There {_verb(len(boxes))} {_counted(name, len(boxes))}[{';'.join(boxes)}] in the image."
        rounds.append((_EACH.format(plural(name), kind), answer))
    return _one(rounds)


def _named(label: str, *, oriented: bool) -> str:
    """A class as the release spells it: "large vehicles" with horizontal boxes, "large-vehicles" with oriented ones."""
    return label.lower() if oriented else label.lower().replace("-", " ").replace("_", " ")


def _verb(count: int) -> str:
    return "is" if count == 1 else "are"


def _counted(name: str, count: int) -> str:
    return f"{count_word(count)} {name if count == 1 else plural(name)}"


def write_box(one: LabelledObject, size: tuple[int, int]) -> str:
    """Numbers of a horizontal box: 0-1 of the square-padded image, two decimals.

    Example:
        >>> from irtd_datasets.annotations.labelled import LabelledObject
        >>> write_box(LabelledObject("car", (100, 50, 160, 90)), (640, 512))
        '0.16,0.18,0.25,0.24'
    """
    return _write(one.box or (), size)


def write_polygon(one: LabelledObject, size: tuple[int, int]) -> str:
    """Numbers of an oriented box: the corner nearest to the origin first, the others by ascending angle seen from it.

    The origin is that of the padded square, which the numbers refer to; the paper does not say which one it means.

    Example:
        >>> from irtd_datasets.annotations.labelled import LabelledObject
        >>> write_polygon(LabelledObject("ship", polygon=(47, 60, 15, 69, 14, 65, 46, 55)), (100, 100))
        '0.14,0.65,0.46,0.55,0.47,0.60,0.15,0.69'
    """
    numbers = convert([one.polygon or ()], Frame.PIXEL, Frame.SQUARE_UNIT, *size)[0]
    corners = [(float(numbers[i]), float(numbers[i + 1])) for i in range(0, 8, 2)]
    first = min(corners, key=lambda corner: (math.hypot(*corner), corner))
    rest = [corner for corner in corners if corner is not first]
    rest.sort(key=lambda corner: math.atan2(corner[1] - first[1], corner[0] - first[0]))
    return ",".join(_number(value) for corner in (first, *rest) for value in corner)


def _write(numbers: Sequence[float], size: tuple[int, int]) -> str:
    return ",".join(
        _number(float(value)) for value in convert([numbers], Frame.PIXEL, Frame.SQUARE_UNIT, *size)[0]
    )


def _number(value: float) -> str:
    return format_coordinate(value, DECIMALS, cut=False)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
