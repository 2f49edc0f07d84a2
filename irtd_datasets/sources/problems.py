"""What was not as it should be in a source: counted by code, with the first examples of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CODES", "DOUBTS", "Problems", "SourceProblem"]

CODES: dict[str, str] = {
    "box-clipped": "A box reaches over the edge of the image and was cut there.",
    "box-empty": "A box without area; the object was left out.",
    "box-malformed": "A box that cannot be read; the object was left out.",
    "box-outside": "A box, or a point, that lies outside the image; the object was left out.",
    "box-in-shares": "All boxes of an image lie in its first pixel: shares where pixels are due; left out.",
    "box-too-small": "A box that the decimals of a constructed text make empty; the object was left out.",
    "caption-empty": "A caption without text; left out.",
    "caption-malformed": "A caption that is no text, such as a number or an object; left out.",
    "class-left-out": "An object of a class that the table of sources leaves out; after a `?` the image is unclear.",
    "class-other-case": "A class in other letters, such as `Person` for `person`; read as the latter.",
    "class-unknown": "A class that the table of sources does not have, or that is no name; kept as it is written.",
    "count-differs": "A label file that says another number of objects than it has.",
    "extension-unknown": "Files beside the images whose extension is none of an image; left out.",
    "label-wrong": "Labels that were seen to be wrong (`wrong_labels.csv`); the image counts as unclear.",
    "frame-without-label": "A frame of a video without a line in its label file; treated as `image-without-label`.",
    "identity-in-two-splits": "A person that stands in two splits.",
    "label-ambiguous": "Labels of which it is not clear whose they are: two images fit their name, or share an id; "
    "they were left out.",
    "label-empty": "A label file without content. In formats of lines it says that the image has no object.",
    "label-unreadable": "A label file that cannot be read; its image counts as unlabelled.",
    "labels-astray": "The label file has objects of images that it does not list, which may be this one's.",
    "label-without-image": "Labels of an image that is not there.",
    "mask-grey": "A mask with grey places that are no rims; they may be objects.",
    "mask-size-differs": "A mask of another size than its image; the image counts as unlabelled.",
    "object-ignored": "An object, or a region, that the source tells to ignore, or a crowd: nobody knows how many.",
    "object-listed-twice": "An object that stands in a label file twice, with the same class and place; read once.",
    "object-without-box": "An object without any place; left out.",
    "image-in-two-splits": "An image that stands in two splits.",
    "image-listed-twice": "An image that is listed twice, with the same objects; read once.",
    "image-listed-differently": "An image that label files list with other objects each; read from the first.",
    "image-turned": "An image that its EXIF data turn; labels made on the stored pixels were turned with it.",
    "image-unreadable": "A file that is no image, such as a Git LFS pointer; left out.",
    "image-without-label": "An image that has no label; left out unless unlabelled images are asked for.",
    "image-without-pair": "An infrared image whose visible partner is not there.",
    "question-malformed": "A question or an answer that is no text, such as a list or an object; left out.",
    "question-without-answer": "A question without an answer, or a line that is none; left out.",
    "same-image-in-two-splits": "An image whose bytes are those of another one in another split.",
    "sequence-in-two-splits": "A video that stands in two splits.",
    "size-differs": "A label file that says another size than the image has, whose boxes fit the image.",
    "size-contradicts": "The same, whose boxes do not fit; the image was left out.",
    "split-list-missing": "A file that lists a split is not there.",
    "split-unknown": "An image that no split lists, or whose split has an unknown name; its split is None.",
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
