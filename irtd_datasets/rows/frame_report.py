"""Which frames are possible for the numbers in an annotation file, from a sample of them and their images' headers.

The judgement itself is `irtd_datasets.boxes.check_frames`; this module finds the numbers in a file and the sizes of
the images that they belong to, in bounded memory and time whatever the size of the file.
"""

from __future__ import annotations

import math
import posixpath
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from irtd_datasets.annotations.coco import parse_coco
from irtd_datasets.annotations.json_records import JsonRecordsError, read_records
from irtd_datasets.annotations.outline import outline_of
from irtd_datasets.boxes import check_frames, parse_boxes
from irtd_datasets.boxes.markup import FAMILIES, may_have_markup
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError, UnsafePathError
from irtd_datasets.releases.containers import open_container
from irtd_datasets.releases.paths import safe_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from irtd_datasets.annotations.json_records import Record
    from irtd_datasets.boxes import FrameReport
    from irtd_datasets.releases.containers import Container

__all__ = ["BoxSample", "FrameFile", "check_sample", "has_boxes", "image_size", "report_frames"]

FIRST = 2_000
"""Boxes at the beginning of a file that are always looked at."""
SPREAD = 2_000
"""Most boxes looked at in the rest of the file, spread evenly."""

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".bmp")
_TURNED = frozenset({5, 6, 7, 8})


class BoxSample:
    """Boxes of a file: the first ones, and later ones at equal distances; the same for the same file.

    Args:
        first: How many of the first boxes are kept.
        spread: Most boxes that are kept of the others.

    Example:
        >>> sample = BoxSample(first=2, spread=3)
        >>> for number in range(12):
        ...     sample.add((number, 0), "a.jpg")
        >>> [numbers[0] for numbers, _ in sample.rows]
        [0, 1, 2, 6, 10]
        >>> sample.count
        12
    """

    def __init__(self, first: int = FIRST, spread: int = SPREAD) -> None:
        self.count = 0
        self._limits = (first, spread)
        self._first: list[tuple[tuple[float, ...], str]] = []
        self._spread: list[tuple[tuple[float, ...], str]] = []
        self._stride = 1

    def add(self, numbers: tuple[float, ...], image: str) -> None:
        """Take note of a box and the name of its image."""
        first, spread = self._limits
        if self.count < first:
            self._first.append((numbers, image))
        elif (self.count - first) % self._stride == 0:
            self._spread.append((numbers, image))
            if len(self._spread) > spread:
                self._spread = self._spread[::2]
                self._stride *= 2
        self.count += 1

    @property
    def rows(self) -> list[tuple[tuple[float, ...], str]]:
        """The boxes kept, each with the name of its image."""
        return [*self._first, *self._spread]


@dataclass(frozen=True, slots=True)
class FrameFile:
    """What the numbers of one file say about their frame.

    Attributes:
        file: Its path or name.
        form: ``conversation``, ``question``, ``caption`` or ``coco``; several joined by ``+``.
        records: Records in it.
        places: Boxes, polygons and points in it, by kind; those of ``own_frame`` included.
        unreadable: Places that look like boxes and cannot be read.
        own_frame: Places whose markup fixes their frame, such as the tokens of PaliGemma, by family
            (`irtd_datasets.boxes.markup.FAMILIES`); no sample is taken of them.
        sampled: Boxes looked at.
        images: Distinct images of those.
        found: Of these, found and readable.
        square: Of these, square.
        report: The counts and the verdict of `irtd_datasets.boxes.check_frames`.
    """

    file: str
    form: str
    records: int
    places: dict[str, int]
    unreadable: int
    own_frame: dict[str, int]
    sampled: int
    images: int
    found: int
    square: int
    report: FrameReport

    @property
    def verdict(self) -> str:
        """The name of a frame, or a sentence that begins with ``undecidable:`` or ``unknown:``."""
        if self.own_frame and not self.sampled:
            return "its own: " + "; ".join(FAMILIES[family] for family in self.own_frame)
        if not self.sampled and self.unreadable:
            return f"undecidable: {self.unreadable:,} places look like boxes, and none can be read"
        if not self.sampled:
            return "undecidable: there are no boxes in this file"
        if not self.found:
            return "undecidable: none of the images was found, and without their sizes numbers tell little"
        return self.report.verdict

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["verdict"] = self.verdict
        values["report"] = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in self.report.as_dict().items()
        }
        return values


def has_boxes(text: str) -> bool:
    """Whether a text can hold a box at all; far cheaper than parsing it."""
    return "[" in text or "<box>" in text or "<pos>" in text or may_have_markup(text)


def image_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of the upright image from the header of a file; None when there is no usable header.

    Args:
        file: The open file; only its first bytes are read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header costs nothing, however large the image
            with Image.open(file, formats=_FORMATS) as image:
                tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
                # Of a TIFF, some versions of Pillow announce the size after turning, others before.
                width, height = image.size if tags is None else (int(tags[256]), int(tags[257]))
                # The plugin's own getexif decodes a PNG that has none.
                turned = Image.Image.getexif(image).get(0x0112) in _TURNED
                return (height, width) if turned else (width, height)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, Image.DecompressionBombError):
        return None


def check_sample(
    sample: BoxSample, size_of: Callable[[str], tuple[int, int] | None]
) -> tuple[FrameReport, int, int, int]:
    """Check the frames of a sample.

    Args:
        sample: The boxes.
        size_of: Finds the size of an image; called once for each.

    Returns:
        The report over the boxes whose image was found; how many images were asked for, found, and square.
    """
    sizes = {name: size_of(name) for name in dict.fromkeys(name for _, name in sample.rows)}
    known = [(numbers, size) for numbers, name in sample.rows if (size := sizes[name]) is not None]
    report = check_frames(
        [list(numbers) for numbers, _ in known], np.array([size for _, size in known]).reshape(-1, 2)
    )
    found = [size for size in sizes.values() if size is not None]
    return report, len(sizes), len(found), sum(width == height for width, height in found)


def report_frames(path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> FrameFile:
    """Tell which frames are possible for the numbers in an annotation file.

    Args:
        path: A file of conversations, captions or questions in any form that
            `irtd_datasets.annotations.json_records.read_records` takes, or a COCO file.
        images: Folder, zip or tar with the images. An image is looked for under its name in the record, then
            under that name without its first folder, and so on. By default the folder of the file.

    Returns:
        Counts, and the verdict with its evidence.

    Raises:
        ReleaseNotFoundError: There is no such file or folder.
        AnnotationError: The file is neither of these.
    """
    path = Path(path)
    if not path.is_file():
        raise ReleaseNotFoundError("there is no such file", where=str(path), remedy="Check the path.")
    known = _Images(open_container(path.parent if images is None else images))
    wrapped = _is_wrapped(path)
    found = _Numbers()
    if wrapped:
        found.read_coco(path)
    else:
        found.read_texts(path)
    if not found.forms and (found.records or wrapped):
        raise AnnotationError(
            f"none of its {found.records} records is a conversation, a caption or a question",
            where=str(path),
            remedy="Expected 'conversations' or 'messages', 'description', or 'text' and 'answer'; or a COCO file.",
        )
    report, asked, there, square = check_sample(
        found.sample, lambda name: known.size(name) or found.sizes.get(name)
    )
    return FrameFile(
        str(path),
        "+".join(found.forms),
        found.records,
        dict(found.kinds),
        found.unreadable,
        dict(found.own),
        len(found.sample.rows),
        asked,
        there,
        square,
        report,
    )


@dataclass(slots=True)
class _Numbers:
    """The numbers of one file, counted and sampled."""

    sample: BoxSample = field(default_factory=BoxSample)
    kinds: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    records: int = 0
    unreadable: int = 0
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sizes of images as the file states them."""

    def read_coco(self, path: Path) -> None:
        for labels in parse_coco(path, path.name):
            self.forms["coco"] += 1
            malformed = sum(problem.code == "box-malformed" for problem in labels.problems)
            self.records += len(labels.objects) + malformed
            self.unreadable += malformed
            if labels.width and labels.height:
                self.sizes[labels.image] = labels.width, labels.height
            for one in labels.objects:
                if one.polygon is not None and len(one.polygon) == 8:
                    self._take("polygon", one.polygon, labels.image)
                elif one.box is not None:
                    self._take("box", one.box, labels.image)

    def read_texts(self, path: Path) -> None:
        for _, record in _records(path):
            self.records += 1
            seen = outline_of(record)
            if seen is None:
                continue
            self.forms[seen.form] += 1
            for span in (span for text in seen.texts if has_boxes(text) for span in parse_boxes(text).spans):
                family = span.family if "own-frame" in span.problems else ""
                self._take(span.kind, span.numbers if span.is_readable else (), seen.image, family)

    def _take(self, kind: str, numbers: tuple[float, ...], image: str, family: str = "") -> None:
        if numbers:
            self.sample.add(numbers, image)
        elif family:
            self.own[family] += 1
        else:
            self.unreadable += 1
            return
        self.kinds[kind] += 1


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    # A bad record says nothing about the frame of the others.
    return iter(read_records(path, name=path.name, on_bad=lambda _index, _error: None))


class _Images:
    """Sizes of images in a container, whatever folders stand before their names in the records."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def size(self, name: str) -> tuple[int, int] | None:
        member = self._find(name.replace("\\", "/"))
        if member is None:
            return None
        try:
            with self._container.open(member) as file:
                return image_size(file)
        except IrtdDatasetsError:
            return None

    def _find(self, name: str) -> str | None:
        parts = [part for part in name.split("/") if part]
        for depth in range(len(parts)):
            try:
                member = safe_name("/".join(parts[depth:]))
            except UnsafePathError:
                continue
            stem = posixpath.splitext(member)[0]
            for candidate in (member, *(stem + suffix for suffix in _SUFFIXES)):
                if self._container.find(candidate) is not None:
                    return candidate
        return None


def _is_wrapped(path: Path) -> bool:
    """Whether a file is one object around its lists, as COCO has it, instead of a list."""
    try:
        next(_records(path), None)
    except JsonRecordsError as error:
        return error.code in {"json-not-a-list", "json-record-too-large"}
    return False
