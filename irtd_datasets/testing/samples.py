"""What a written sample release contains: records, images, the objects drawn, the defects planted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import BuildError, UnknownNameError
from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MARKER",
    "Box",
    "PlantedDefect",
    "SampleImage",
    "SampleObject",
    "SampleRecord",
    "SampleRelease",
    "known_defects",
    "start_sample",
]

MARKER = "SAMPLE_RELEASE.txt"
"""The file that tells a sample release from a real one; only folders with it are damaged or replaced."""

_MARKER_TEXT = """This folder is a SYNTHETIC SAMPLE made by irtd_datasets.testing. It holds no real data.

The images are drawn by a seeded generator and the texts are made from what was drawn. {follows}
Scores, statistics or models made from this folder say nothing about the real dataset.

Made with: write_sample_release({name!r}, ..., {options})
"""

Box = tuple[int, int, int, int]
"""``(x_min, y_min, x_max, y_max)`` in pixels; the right and lower edges are half-open."""


@dataclass(frozen=True, slots=True)
class SampleObject:
    """One object as drawn.

    Args:
        label: Class word of the release (``car``), singular.
        box: Drawn extent in pixels of the upright image without its border.
        centre: ``(x, y)`` in the same pixels; the middle of the *annotated* box, which is not that of
            ``box`` where a planted defect says so.
        annotated: False for an object that is drawn but that the release's annotation does not know.
        identity: Person number in a Re-ID mosaic, None elsewhere.
    """

    label: str
    box: Box
    centre: tuple[float, float]
    annotated: bool = True
    identity: int | None = None

    @classmethod
    def at(cls, label: str, box: Box, *, annotated: bool = True, identity: int | None = None) -> SampleObject:
        """Make an object whose centre is the middle of its box.

        Example:
            >>> SampleObject.at("car", (10, 20, 31, 40)).centre
            (20.5, 30.0)
        """
        x_min, y_min, x_max, y_max = box
        return cls(label, box, ((x_min + x_max) / 2, (y_min + y_max) / 2), annotated, identity)


@dataclass(frozen=True, slots=True)
class SampleImage:
    """One image of a sample release.

    Args:
        name: Its name in the records: relative to the authors' folder, or to the root of the captions.
        path: Where its bytes are: a file below ``SampleRelease.folder`` or ``image_folder``, or
            ``<archive>!<member>``; None when only text was written.
        width: Width in pixels of the image that the text is about.
        height: Its height.
        border: Pixels of white border on each side in the file, not counted in ``width`` and ``height``.
        objects: What is drawn on it, in pixels without the border.
        near_duplicate_of: Name of the image of which this one is the next video frame, if any.
    """

    name: str
    path: str | None
    width: int
    height: int
    border: int = 0
    objects: tuple[SampleObject, ...] = ()
    near_duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One record as written.

    Args:
        file: Annotation file relative to the release, such as ``json_sft/Location.json``.
        id: The ``id`` of the record, which restarts at ``"0"`` in each file; the index for captions.
        image: Name of its image, a key of `SampleRelease.images`.
        question: The human turn as written, with the image token; empty for captions.
        answer: The answering turn as written, or the caption.
        objects: What the text is about, correct answer first: the target (and the reference) of Grounding and
            Relationship, all objects of the class by ascending x for Location, all counted ones for counting.
        family: Variant of the question, such as ``nearest`` or ``left-cross-class``; empty if there is one.
    """

    file: str
    id: str
    image: str
    question: str
    answer: str
    objects: tuple[SampleObject, ...] = ()
    family: str = ""


@dataclass(frozen=True, slots=True)
class PlantedDefect:
    """A defect of the real release that the sample repeats.

    Args:
        code: Short name, a key of `irtd_datasets.testing.IRTD_DEFECTS`.
        file: Annotation file that carries it.
        id: The record, or None when the whole file is affected.
        image: Name of its image, if the defect is about one.
    """

    code: str
    file: str
    id: str | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SampleRelease:
    """A written sample release with all that is known about it.

    Args:
        name: Name of the dataset, such as ``irtd``.
        folder: The release.
        image_folder: The folder below which the image directories stand; ``folder`` unless asked otherwise.
        seed: Seed of the generator.
        records: Records by annotation file, in the order written.
        images: Every image that a record names, by name; also those not written.
        defects: What was planted, by code and record.
        image_dirs: Where the images are, by the directory that the records name: a folder, or an archive.
        archives: Archives written, in the order in which parts are joined.

    Example:
        >>> import tempfile
        >>> from irtd_datasets.testing import write_sample_release
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_sample_release("irtd", folder, images=False)
        >>> sample.counts["json_sft/Location.json"], sum(sample.counts.values())
        (75, 220)
        >>> len(repr(sample)) < 200
        True
    """

    name: str
    folder: Path
    image_folder: Path
    seed: int
    records: Mapping[str, tuple[SampleRecord, ...]]
    images: Mapping[str, SampleImage]
    defects: tuple[PlantedDefect, ...]
    image_dirs: Mapping[str, Path] = field(default_factory=dict)
    archives: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return (
            f"SampleRelease({self.name!r}, {str(self.folder)!r}, seed={self.seed}, "
            f"{sum(self.counts.values())} records in {len(self.records)} files, "
            f"{len(self.images_written)} of {len(self.images)} images, {len(self.defects)} defects)"
        )

    @property
    def counts(self) -> dict[str, int]:
        """Number of records by annotation file."""
        return {file: len(records) for file, records in self.records.items()}

    @property
    def images_written(self) -> tuple[str, ...]:
        """Names of the images whose bytes were written."""
        return tuple(name for name, image in self.images.items() if image.path is not None)

    def record(self, file: str, record_id: str) -> SampleRecord:
        """Return one record.

        Raises:
            UnknownNameError: There is no such record.
        """
        for record in self.records.get(file, ()):
            if record.id == record_id:
                return record
        raise UnknownNameError(
            f"no record {record_id!r} in {file!r}",
            where=str(self.folder),
            remedy=f"Files: {', '.join(self.records)}.",
        )

    def defects_of(self, code: str) -> tuple[PlantedDefect, ...]:
        """Return the planted defects with one code, in the order of their records."""
        return tuple(defect for defect in self.defects if defect.code == code)


def known_defects(name: str) -> dict[str, str]:
    """What the sample of a dataset repeats of its release, by code: the lines of ``defects.csv``."""
    rows = read_table("irtd_datasets.testing", "defects.csv")
    return {row["code"]: row["meaning"] for row in rows if row["dataset"] == name}


def start_sample(
    name: str, folder: str | Path, follows: str, *, overwrite: bool, forms: tuple[str, ...], **options: object
) -> tuple[Path, bytes]:
    """Make the empty folder of a sample, with the file that says what it is.

    Args:
        name: Name of the dataset.
        folder: New or empty folder.
        follows: Two lines that say what of the real release the sample follows.
        overwrite: Replace ``folder`` if it holds an earlier sample.
        forms: What the option ``form`` may be.
        options: What the sample is made with.

    Returns:
        The folder, and the text of the file.

    Raises:
        BuildError: The folder is not empty and is no sample that may be replaced, or cannot be made.
        UnknownNameError: There is no such form.
    """
    folder = Path(folder)
    if options["form"] not in forms:
        raise UnknownNameError(f"unknown form {options['form']!r}", remedy=f"Forms: {', '.join(forms)}.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (overwrite and (folder / MARKER).is_file()):
            raise BuildError(
                "the folder is not empty",
                where=str(folder),
                remedy="Give a new folder, or overwrite=True to replace an earlier sample release.",
            )
        shutil.rmtree(folder)
    told = ", ".join(f"{option}={value!r}" for option, value in options.items())
    text = _MARKER_TEXT.format(follows=follows, name=name, options=told).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_bytes(text)
    except OSError as error:
        raise BuildError(
            f"the folder cannot be made: {error}", where=str(folder), remedy="Give another."
        ) from error
    return folder, text
