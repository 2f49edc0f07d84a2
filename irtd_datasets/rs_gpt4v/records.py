"""What a record of RS-GPT4V has beside its form: names of images and the component that they tell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from irtd_datasets.releases.paths import safe_name
from irtd_datasets.rows.llava import FileReading
from irtd_datasets.rs_gpt4v.tables import source_of

if TYPE_CHECKING:
    from irtd_datasets.rows.llava import TextFrame

__all__ = ["image_name", "reading_of"]

_MARKERS = ("RS-GPT4V/", "RS_GPT4V/", "rs-gpt4v/", "rs_gpt4v/")


def image_name(name: str) -> str:
    """Relative name of an image; a folder of the authors' machine before ``RS-GPT4V/`` is cut off.

    Raises:
        UnsafePathError: The name leaves the release.

    Example:
        >>> image_name("/home/author/data/RS-GPT4V/images/DIOR-RSVG/1.jpg")
        'images/DIOR-RSVG/1.jpg'
    """
    if name.startswith("/"):
        for marker in _MARKERS:
            _, found, rest = name.partition("/" + marker)
            if found:
                return safe_name(rest)
    return safe_name(name)


def reading_of(
    where: str,
    prefix: str,
    task: str,
    frame: TextFrame,
    *,
    derivative: bool = False,
    origin: str = "released",
) -> FileReading:
    """How the records of a file are read.

    Args:
        where: Path of the file below the release, which tells the component where an image's name does not.
        prefix: Beginning of every id: dataset, split, file.
        task: Task of the records.
        frame: Frame of their numbers.
        derivative: Whether others made the file.
        origin: Who wrote its texts.

    Example:
        >>> from irtd_datasets.rows.llava import TextFrame
        >>> reading_of("test/RSICD.jsonl", "rs_gpt4v/test/RSICD", "captioning", TextFrame(None)).source("1.tif")
        'RSICD'
    """
    issues = ("origin-derivative",) if derivative else ()
    return FileReading(
        where, prefix, task, frame, "optical", partial(_source, where), image_name, issues, origin
    )


def _source(where: str, image: str) -> str | None:
    return source_of(image, where)
