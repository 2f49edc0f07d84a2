"""What the parsers of annotation formats return: the content of a label file, before it is joined to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from irtd_datasets.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.annotations.labelled import LabelledObject

__all__ = [
    "FULL_TURN",
    "LabelFile",
    "LabelProblem",
    "decode_text",
    "enclosing",
    "integer_of",
    "members_of",
    "numbers_of",
    "oriented_corners",
    "quoted",
    "text_of",
    "unreadable",
]

FULL_TURN = 2 * math.pi + 0.01
"""Beyond this an angle is not in radians."""

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
        line: Number of the line that it concerns, from 0, in files that have a line for each frame.
    """

    code: str
    detail: str
    line: int = -1


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
        labelled: Whether the file says anything about its objects; False for an image that it only lists.
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
    labelled: bool = True

    def lose(self, code: str, detail: str) -> None:
        """List an object that is left out."""
        self.problems.append(LabelProblem(code, detail))

    def refuse(self, why: str) -> None:
        """Leave all objects out, since they are not what the format says; each is listed."""
        self.problems += [LabelProblem("box-malformed", why)] * max(1, len(self.objects))
        self.objects = []


def unreadable(name: str, problem: str, remedy: str = "") -> AnnotationError:
    """The error for a label file that cannot be read as a whole."""
    return AnnotationError(problem, where=name, remedy=remedy or "Get the file again, or leave it out.")


def decode_text(data: bytes, name: str) -> str:
    """Text of a label file: UTF-8, UTF-16 or UTF-32 with its mark, else Chinese (GB 18030), else Latin-1.

    Latin-1 reads every byte, so that a comment in another encoding cannot lose the numbers beside it.

    Raises:
        AnnotationError: The bytes are no text (NUL without a byte order mark).

    Example:
        >>> decode_text("0 0.5 0.5 0.1 0.1".encode("utf-16"), "1.txt")
        '0 0.5 0.5 0.1 0.1'
    """
    if data.isascii() and b"\0" not in data:
        return data.decode("ascii")
    for mark, encoding in _EVERY_BOM:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeError as error:
                raise unreadable(name, f"no {encoding} text: {error}", "Save it as UTF-8.") from error
    if b"\0" in data:
        raise unreadable(name, "no text: it has NUL bytes")
    try:
        return data.decode()
    except UnicodeError:
        return _chinese(data) or data.decode("latin-1")


def _chinese(data: bytes) -> str | None:
    """The text of bytes that are nothing but ASCII and Chinese in GB 18030; None for others."""
    try:
        text = data.decode("gb18030")
    except UnicodeError:
        return None
    return text if all(letter < "\x80" or "\u3000" <= letter <= "\uffef" for letter in text) else None


def text_of(value: object) -> str | None:
    """A value of JSON as text without blanks around it; None where it is no text, or no file can hold it.

    Example:
        >>> text_of(" A pond. "), text_of(None), text_of(["A pond."]), text_of(chr(0xD800))
        ('A pond.', None, None, None)
    """
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return value.strip()


def integer_of(value: object) -> int | None:
    """A whole number, however it is written; None where it is none.

    Example:
        >>> integer_of("7"), integer_of("0.0"), integer_of(3.0), integer_of(0.15), integer_of("car"), integer_of(True)
        (7, 0, 3, None, None, None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, (str, float)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number == int(number) else None


def numbers_of(words: Sequence[str]) -> list[float] | None:
    """The words as finite numbers; None where one is none.

    Example:
        >>> numbers_of(["1", "2.5"]), numbers_of(["1", "nan"]), numbers_of(["x"])
        ([1.0, 2.5], None, None)
    """
    try:
        numbers = [float(word) for word in words]
    except (ValueError, TypeError, OverflowError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def members_of(values: object) -> list[float] | None:
    """The members of a list of JSON as finite numbers; None where it is no list, or one is no number.

    Example:
        >>> members_of([1, "2.5"]), members_of([10**400]), members_of([True]), members_of(None)
        ([1.0, 2.5], None, None, None)
    """
    if not isinstance(values, list) or bool in map(type, values):
        return None
    return numbers_of(values)


def quoted(value: object, most: int = 60) -> str:
    """What was found, short enough for a message."""
    return ascii(value)[: most + 2]


def enclosing(corners: Sequence[float]) -> tuple[float, float, float, float]:
    """The upright box around corners given as x, y, x, y ...

    Example:
        >>> enclosing((4, 1, 0, 2, 2, 8))
        (0, 1, 4, 8)
    """
    xs, ys = corners[0::2], corners[1::2]
    return min(xs), min(ys), max(xs), max(ys)


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
