"""What the parsers of annotation formats return: the content of a label file, before it is joined to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["LabelFile", "LabelProblem", "decode_text", "numbers_of", "oriented_corners", "unreadable"]

_EVERY_BOM = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class LabelProblem(NamedTuple):
    """Something in a label file that is not as its format says, and was left out or put right.

    Attributes:
        code: Short reason that a ledger counts by, such as ``box-malformed``.
        detail: What was found, and where in the file.
    """

    code: str
    detail: str


@dataclass(slots=True)
class LabelFile:
    """What a label file says about one image.

    Attributes:
        objects: Labelled objects in the order of the file.
        image: Name of the image as the file writes it, which may be a foreign path or lack its extension;
            empty where the format does not name it.
        width: Pixels of the image as the file says; None where it does not, or says 0.
        height: The same for its height.
        problems: What was left out or put right.
        captions: Sentences about the image.
        questions: Pairs of question and answer about it.
        scene: Class of the whole image.
        split: Split that the file puts the image in, as written.
    """

    objects: list[LabelledObject] = field(default_factory=list)
    image: str = ""
    width: int | None = None
    height: int | None = None
    problems: list[LabelProblem] = field(default_factory=list)
    captions: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    scene: str | None = None
    split: str | None = None


def unreadable(name: str, problem: str, remedy: str = "") -> AnnotationError:
    """The error for a label file that cannot be read as a whole."""
    return AnnotationError(problem, where=name, remedy=remedy or "Get the file again, or leave it out.")


def decode_text(data: bytes, name: str) -> str:
    """Text of a label file: UTF-8, UTF-16 or UTF-32 with its mark, else Latin-1 where it is no UTF-8.

    Latin-1 reads every byte, so that a comment in another encoding cannot lose the numbers beside it.

    Raises:
        AnnotationError: The bytes are no text (NUL without a byte order mark).

    Example:
        >>> decode_text("0 0.5 0.5 0.1 0.1".encode("utf-16"), "1.txt")
        '0 0.5 0.5 0.1 0.1'
    """
    for mark, encoding in _EVERY_BOM:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeError as error:
                raise unreadable(name, f"no {encoding} text: {error}") from error
    if b"\0" in data:
        raise unreadable(name, "no text: it has NUL bytes")
    try:
        return data.decode()
    except UnicodeError:
        return data.decode("latin-1")


def numbers_of(words: Sequence[str]) -> list[float] | None:
    """The words as finite numbers; None where one is none.

    Example:
        >>> numbers_of(["1", "2.5"]), numbers_of(["1", "nan"]), numbers_of(["x"])
        ([1.0, 2.5], None, None)
    """
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def oriented_corners(cx: float, cy: float, width: float, height: float, angle: float) -> tuple[float, ...]:
    """Corners of a box turned about its centre.

    Args:
        cx: Centre, pixels.
        cy: Centre, pixels.
        width: Length of the side that `angle` turns, pixels.
        height: Length of the other side, pixels.
        angle: Radians, from the x axis towards the y axis, which points down.

    Returns:
        8 numbers: the corners that are top left, top right, bottom right and bottom left at angle 0.

    Example:
        >>> oriented_corners(10, 10, 4, 2, 0)
        (8.0, 9.0, 12.0, 9.0, 12.0, 11.0, 8.0, 11.0)
    """
    cos, sin = math.cos(angle) / 2, math.sin(angle) / 2
    ax, ay, bx, by = width * cos, width * sin, -height * sin, height * cos
    return (
        cx - ax - bx,
        cy - ay - by,
        cx + ax - bx,
        cy + ay - by,
        cx + ax + bx,
        cy + ay + by,
        cx - ax + bx,
        cy - ay + by,
    )
