"""What a dataset's folder provides so that one reader, one build and one builder class serve all datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from irtd_datasets.errors import UnknownNameError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.releases.resolve import ImageResolver
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import DatasetSpec, Member, SubsetSpec

__all__ = [
    "ROUNDS",
    "AnnotationFile",
    "ImageStream",
    "Release",
    "ReleaseOptions",
    "absolute_options",
    "check_rounds",
]

ROUNDS = ("keep", "split")
"""What can be done with records of many rounds: a row each, or a row for each round."""


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """Where a release lies and how to read it; small and picklable, so that workers open the release themselves.

    Attributes:
        root: Folder (or archive) of the release.
        images: Released folder to path, for images that lie elsewhere.
        on_defect: Issue code, or ``*`` for all of kind ``label``, to ``flag``, ``drop`` or ``error``.
        settings: Options that only some datasets have, by name; `DatasetSpec.settings` declares them.
        rounds: ``keep`` (a record with many rounds is one row) or ``split`` (a row for each round).
        scratch: Folder where a release may keep what it has to unpack or sort out first, so that another process or
            a later run finds it; empty for a temporary folder that goes with the release.
    """

    root: str
    images: Mapping[str, str] = field(default_factory=dict)
    on_defect: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    rounds: str = "keep"
    scratch: str = ""


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """An annotation file that is present, as one part reads it.

    A dataset whose files feed several parts overrides `covers` in a class of its own.

    Attributes:
        member: What it belongs to.
        where: What a user knows it as, for messages.
        size: Size in bytes.
        stamp: Changes when the file changes.
        note: What was found out about it, for people: its form, the frame of its numbers.
        reading: What decides how its records are read besides their bytes; part of a shard's identity.
        counts_unreadable: Whether records that cannot be parsed at all are counted here; true for exactly one
            of the parts that a file feeds.
        repairs: Codes of what had to be mended before it could be read, with counts.
    """

    member: Member
    where: str
    size: int
    stamp: int
    note: str = ""
    reading: str = ""
    counts_unreadable: bool = True
    repairs: tuple[tuple[str, int], ...] = ()

    def covers(self, record: Record, index: int) -> bool:  # noqa: ARG002 - for files that feed several parts
        """Whether a record belongs to this part; never raises, whatever the record is."""
        return True


class ImageStream(Protocol):
    """Images that can only be read one after another, such as those of a cut compressed archive."""

    @property
    def label(self) -> str:
        """What a user knows it as."""

    def identity(self) -> tuple[Any, ...]:
        """Names, sizes and times of the files read."""

    def images(self, wanted: Any) -> Iterator[tuple[str, bytes]]:  # noqa: ANN401 - see below
        """Released name and bytes of each image, in the stream's order, for which ``wanted(name)`` holds."""


class Release(Protocol):
    """An opened release of one dataset."""

    spec: DatasetSpec
    options: ReleaseOptions
    root: Path

    def __init__(self, options: ReleaseOptions) -> None:
        """Open it; nothing is listed or read yet."""

    def files(self, member: Member) -> list[AnnotationFile]:
        """The annotation files of a part, in order; none when it is not there."""

    def source(self, file: AnnotationFile) -> Source:
        """The bytes of an annotation file, or a path or open file to read them from."""

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one record; a pure function of its arguments."""

    def peek(self, file: AnnotationFile, record: Record, index: int) -> tuple[str, str]:
        """Image name and id of a record, without parsing the rest of it."""

    def resolver(self, subset: SubsetSpec) -> ImageResolver:
        """Finds the images of a subset."""

    def stream(self, subset: SubsetSpec) -> ImageStream | None:
        """Images that come as a stream; None when they can be looked up by name."""

    def unknown_files(self, subset: SubsetSpec) -> list[str]:
        """Annotation files beside the known ones that no task claims."""

    def identity(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:
        """Cheap facts that change when the inputs change: paths, sizes and times, without listing images."""


def absolute_options(
    root: str | os.PathLike[str],
    images: Mapping[str, str | os.PathLike[str]] | None = None,
    on_defect: Mapping[str, str] | str | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    rounds: str = "keep",
    scratch: str = "",
) -> ReleaseOptions:
    """Options with absolute paths, as workers and caches need them.

    Raises:
        UnknownNameError: ``rounds`` is neither ``keep`` nor ``split``.
    """
    check_rounds(rounds)
    actions = {"*": on_defect} if isinstance(on_defect, str) else dict(on_defect or {})
    return ReleaseOptions(
        root=_absolute(root),
        images={name: _absolute(path) for name, path in (images or {}).items()},
        on_defect=actions,
        settings=dict(settings or {}),
        rounds=rounds,
        scratch=_absolute(scratch) if scratch else "",
    )


def check_rounds(rounds: str) -> None:
    """Refuse a value of ``rounds`` that does not exist.

    Raises:
        UnknownNameError: It is neither ``keep`` nor ``split``.
    """
    if rounds not in ROUNDS:
        raise UnknownNameError(f"rounds has no value {rounds!r}", remedy=f"Use {' or '.join(ROUNDS)}.")


def _absolute(path: str | os.PathLike[str]) -> str:
    # Links are kept: a folder is known to its user by the name given, and that name goes into messages.
    return str(Path.cwd() / Path(path).expanduser())
