"""Which frames are possible for the numbers in an annotation file, from a sample of them and their images' headers.

The judgement itself is `irtd_datasets.boxes.check_frames`; this module finds the numbers in a file and the sizes of
the images that they belong to, in bounded memory and time whatever the size of the file.
"""

from __future__ import annotations

import json
import math
import posixpath
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from irtd_datasets.annotations.json_records import JsonRecordsError, read_records
from irtd_datasets.annotations.outline import outline_of
from irtd_datasets.boxes import check_frames, parse_boxes
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError, UnsafePathError
from irtd_datasets.releases.containers import open_container
from irtd_datasets.releases.paths import safe_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from irtd_datasets.annotations.json_records import Record
    from irtd_datasets.boxes import FrameReport
    from irtd_datasets.boxes.text import ParsedText
    from irtd_datasets.releases.containers import Container

__all__ = ["BoxSample", "FrameFile", "check_sample", "has_boxes", "image_size", "report_frames"]

FIRST = 2_000
"""Boxes at the beginning of a file that are always looked at."""
SPREAD = 2_000
"""Most boxes looked at in the rest of the file, spread evenly."""
COCO_LIMIT = 512 * 2**20
"""Largest COCO file read, in bytes: that form can only be read whole."""

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
        places: Boxes, polygons and points in it, by kind.
        unreadable: Places that look like boxes and cannot be read.
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
    sampled: int
    images: int
    found: int
    square: int
    report: FrameReport

    @property
    def verdict(self) -> str:
        """The name of a frame, or a sentence that begins with ``undecidable:`` or ``unknown:``."""
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
    return "[" in text or "<box>" in text or "<pos>" in text


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
    sample, kinds, forms = BoxSample(), Counter[str](), Counter[str]()
    records = unreadable = 0
    declared: dict[str, tuple[int, int]] = {}
    coco = _coco(path)
    if coco is not None:
        forms["coco"] += 1
        records, declared = coco.records, coco.sizes
        for numbers, image in coco.boxes():
            kinds["box"] += 1
            sample.add(numbers, image)
    else:
        for _, record in _records(path):
            records += 1
            seen = outline_of(record)
            if seen is None:
                continue
            forms[seen.form] += 1
            for parsed in _parsed(seen.texts):
                unreadable += sum(not span.is_readable for span in parsed.spans)
                for span in parsed.spans:
                    if span.is_readable:
                        kinds[span.kind] += 1
                        sample.add(span.numbers, seen.image)
        if records and not forms:
            raise AnnotationError(
                f"none of its {records} records is a conversation, a caption or a question",
                where=str(path),
                remedy="Expected 'conversations' or 'messages', 'description', or 'text' and 'answer'; or a COCO file.",
            )
    report, asked, found, square = check_sample(sample, lambda name: known.size(name) or declared.get(name))
    return FrameFile(
        str(path),
        "+".join(forms),
        records,
        dict(kinds),
        unreadable,
        len(sample.rows),
        asked,
        found,
        square,
        report,
    )


def _parsed(texts: Iterable[str]) -> Iterator[ParsedText]:
    return (parse_boxes(text) for text in texts if has_boxes(text))


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


@dataclass(frozen=True, slots=True)
class _Coco:
    """The boxes of a COCO file: ``bbox`` is x, y, width, height."""

    annotations: list[Any]
    names: dict[Any, str]
    sizes: dict[str, tuple[int, int]]

    @property
    def records(self) -> int:
        return len(self.annotations)

    def boxes(self) -> Iterator[tuple[tuple[float, ...], str]]:
        for annotation in self.annotations:
            box = annotation.get("bbox") if isinstance(annotation, dict) else None
            if isinstance(box, list) and len(box) == 4 and all(isinstance(n, (int, float)) for n in box):
                x, y, width, height = (float(number) for number in box)
                yield (x, y, x + width, y + height), self.names.get(annotation.get("image_id"), "")


def _coco(path: Path) -> _Coco | None:
    """The file as COCO; None when it is something else."""
    try:
        next(_records(path), None)
    except JsonRecordsError:
        if path.stat().st_size > COCO_LIMIT:
            return None
    else:
        return None  # a list, lines, or objects side by side
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict):
        return None
    images = whole.get("images")
    annotations = whole.get("annotations", whole.get("annotation"))  # HIT-UAV has the singular
    if not isinstance(images, list) or not isinstance(annotations, list):
        return None
    return _Coco(annotations, *_coco_images(images))


def _coco_images(images: list[Any]) -> tuple[dict[Any, str], dict[str, tuple[int, int]]]:
    """Names by id, and the sizes that the file states, by name."""
    names: dict[Any, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for image in images:
        name = image.get("file_name", image.get("filename")) if isinstance(image, dict) else None
        if not isinstance(name, str):
            continue
        width, height = image.get("width"), image.get("height")
        if isinstance(image.get("id"), (int, str)):
            names[image["id"]] = name
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            sizes[name] = (width, height)
    return names, sizes
