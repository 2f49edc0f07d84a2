"""What was not as it should be in a source: counted by code, with the first examples of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CODES", "DOUBTS", "Problems", "SourceProblem"]

CODES: dict[str, str] = {
    "box-clipped": "A box extends beyond the edge of the image; it was cut there.",
    "box-empty": "A box has no area; the object was left out.",
    "box-malformed": "A box cannot be read; the object was left out.",
    "box-outside": "A box or a point lies outside the image; the object was left out.",
    "box-in-shares": "All boxes of an image lie in its first pixel: they are fractions where pixels "
    "were expected; left out.",
    "box-too-small": "A box becomes empty when it is rounded to the decimals of a constructed text; "
    "the object was left out.",
    "caption-empty": "A caption has no text; left out.",
    "caption-malformed": "A caption is not a text but, for example, a number or an object; left out.",
    "class-left-out": "An object belongs to a class that the table of sources leaves out; after a "
    "`?` the image is unclear.",
    "class-other-case": "A class is written in another case, such as `Person` for `person`; read as "
    "the latter.",
    "class-unknown": "A class is not in the table of sources, or is not a name; kept as written.",
    "count-differs": "A label file announces a number of objects that differs from the number it has.",
    "extension-unknown": "Files among the images have an extension that no image format uses; left out.",
    "label-wrong": "The labels are known to be wrong (`wrong_labels.csv`); the image counts as unclear.",
    "frame-without-label": "A frame of a video has no line in its label file; treated as "
    "`image-without-label`.",
    "identity-in-two-splits": "A person is in two splits.",
    "label-ambiguous": "It is unclear to which image labels belong: two images fit their name, or "
    "share an id; the labels "
    "were left out.",
    "label-empty": "A label file is empty. In formats with one object a line, this means that the "
    "image has no object.",
    "label-unreadable": "A label file cannot be read; its image counts as unlabelled.",
    "labels-astray": "The label file has objects of images that it does not list; they may belong "
    "to this image.",
    "label-without-image": "There are labels for an image that is missing.",
    "mask-grey": "A mask has grey areas that are not edges; they may be objects.",
    "mask-size-differs": "A mask has another size than its image; the image counts as unlabelled.",
    "object-ignored": "The source marks an object or a region as one to ignore, or as a crowd: the "
    "number of objects is unknown.",
    "object-listed-twice": "A label file has an object twice, with the same class and place; read once.",
    "object-without-box": "An object has no place; left out.",
    "image-in-two-splits": "An image is in two splits.",
    "image-listed-twice": "An image is listed twice, with the same objects; read once.",
    "image-listed-differently": "Several label files list an image, with different objects; the "
    "first one is read.",
    "image-turned": "The EXIF data of an image turn it; labels made on the stored pixels were "
    "turned with it.",
    "image-unreadable": "A file is not an image but, for example, a Git LFS pointer; left out.",
    "image-without-label": "An image has no label; left out unless unlabelled images are asked for.",
    "image-without-pair": "The visible partner of an infrared image is missing.",
    "question-malformed": "A question or an answer is not a text but, for example, a list or an "
    "object; left out.",
    "question-without-answer": "A question has no answer, or a line is not a question; left out.",
    "same-image-in-two-splits": "An image has the same bytes as one in another split.",
    "sequence-in-two-splits": "A video is in two splits.",
    "size-differs": "A label file states another size than the image has, but its boxes fit the image.",
    "size-contradicts": "A label file states another size than the image has, and its boxes do not "
    "fit; the image was left out.",
    "split-list-missing": "A file that lists a split is missing.",
    "split-unknown": "No split lists the image, or the name of its split is unknown; its split is None.",
}
"""Codes of problems of a source, with their meaning."""

DOUBTS = frozenset(
    {
        "box-empty",
        "box-in-shares",
        "box-malformed",
        "box-outside",
        "class-unknown",
        "count-differs",
        "label-ambiguous",
        "label-wrong",
        "labels-astray",
        "mask-grey",
        "object-ignored",
        "object-without-box",
        "image-listed-differently",
    }
)
"""Problems after which an image may have objects that its labels lack: nothing of it is exhaustive, in any format."""

_EXAMPLES = 20
_NO_DOUBTS: frozenset[str] = frozenset()


@dataclass
class SourceProblem:
    """All problems of one kind.

    Attributes:
        code: One of `CODES`.
        count: How often it was met.
        examples: The first of them: file, and what was found.
    """

    code: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        """What it is, and what was done."""
        return CODES[self.code]


class Problems:
    """Problems of a source by code, as an iterable of `SourceProblem` in the order of their codes."""

    def __init__(self) -> None:
        self._found: dict[str, SourceProblem] = {}
        self._doubts: set[str] = set()

    def doubts(self) -> frozenset[str]:
        """Codes of `DOUBTS` that were met since this was last asked."""
        if not self._doubts:
            return _NO_DOUBTS
        found, self._doubts = frozenset(self._doubts), set()
        return found

    def doubt(self, code: str) -> None:
        """Have a doubt of the image that is being read, and do not count it."""
        self._doubts.add(code)

    def add(self, code: str, where: str, detail: str = "", count: int = 1, *, doubt: bool = False) -> None:
        """Count a problem.

        Args:
            code: One of `CODES`.
            where: Name of the file below the folder of the source.
            detail: What was found.
            count: How many of them at once.
            doubt: Whether the image may have objects that its labels lack, as after all of `DOUBTS`.
        """
        problem = self._found.get(code)
        if problem is None:
            if code not in CODES:
                raise KeyError(code)
            problem = self._found[code] = SourceProblem(code)
        problem.count += count
        if doubt or code in DOUBTS:
            self._doubts.add(code)
        if len(problem.examples) < _EXAMPLES:
            problem.examples.append(f"{where}: {detail}" if detail else where)

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()

    @property
    def counts(self) -> dict[str, int]:
        """How often each code was met."""
        return {problem.code: problem.count for problem in self}

    def __iter__(self) -> Iterator[SourceProblem]:
        return iter([self._found[code] for code in sorted(self._found)])

    def __len__(self) -> int:
        return len(self._found)
