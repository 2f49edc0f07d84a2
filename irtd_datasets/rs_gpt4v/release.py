"""RS-GPT4V as it lies on a user's disk: which files are its annotations, and how a record becomes a pending row."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from irtd_datasets.errors import (
    AmbiguousImageError,
    ReleaseError,
    UnsafePathError,
    summarize,
)
from irtd_datasets.rows.frame_report import image_size
from irtd_datasets.rows.layout import Candidate, SearchedRelease
from irtd_datasets.rows.llava import TextFrame, read_record, record_key, unique_keys
from irtd_datasets.rows.release import AnnotationFile, ReleaseOptions
from irtd_datasets.rs_gpt4v.records import image_name, reading_of
from irtd_datasets.rs_gpt4v.spec import SPEC
from irtd_datasets.rs_gpt4v.survey import NO_PLACE, Survey, survey_file
from irtd_datasets.rs_gpt4v.tables import FileRules

if TYPE_CHECKING:
    from irtd_datasets.annotations.json_records import Record
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["RsGpt4vFile", "RsGpt4vRelease", "open_release"]


_KEYS = tuple(member.key for member in SPEC.members)


@dataclass(frozen=True, slots=True)
class RsGpt4vFile(AnnotationFile):
    """An annotation file as one part reads it, with what the survey found; small, so that workers need no survey.

    Attributes:
        key: What its records' ids have for the file.
        rules: How its records are told apart.
        frame: Frame of the numbers in its texts.
        derivative: Whether others made it.
        places: For each record the position of its part, as the survey found it; may be empty.
    """

    key: str = ""
    rules: FileRules = FileRules(None, None)  # noqa: RUF009 - frozen
    frame: TextFrame = TextFrame(None)  # noqa: RUF009 - frozen
    derivative: bool = False
    places: bytes = field(default=b"", repr=False, compare=False)

    def covers(self, record: Record, index: int) -> bool:
        """Whether a record belongs to this part; one of no known form belongs to the first part of the file."""
        if index < len(self.places):  # every part of a file asks for every record of it
            place = self.places[index]
            return self.counts_unreadable if place == NO_PLACE else _KEYS[place] == self.member.key
        found = self.rules.classify(record)
        return self.counts_unreadable if found is None else found[:2] == self.member.key


class RsGpt4vRelease(SearchedRelease):
    """An opened RS-GPT4V release.

    ``root`` is any folder with the annotation files and the images somewhere below it; zip and tar archives directly
    in it are read as they are. Which files are annotations, of which split and task, and in which frame their boxes
    are, is found out by a survey of each file.

    Raises:
        ReleaseNotFoundError: There is no folder at ``root``.
    """

    spec = SPEC
    first_folders = ("RS-GPT4V", "RS_GPT4V", "rs_gpt4v")

    # Annotation files

    def files(self, member: Member) -> list[AnnotationFile]:
        """The annotation files that feed a part, in the order of their paths.

        Raises:
            AnnotationError: One of them cannot be read to its end.
            ReleaseError: None of the files here can be read as RS-GPT4V; each is named with the reason.
            BoxError: The user's frame contradicts the numbers of a file.
        """
        files: list[AnnotationFile] = []
        for candidate, survey in self._surveys:
            if survey.problem is not None:
                raise survey.problem
            if member.key in survey.members:
                first = next(key for key in _KEYS if key in survey.members)
                files.append(
                    RsGpt4vFile(
                        member,
                        candidate.where,
                        candidate.size,
                        candidate.stamp,
                        note=survey.note,
                        reading=survey.reading,
                        counts_unreadable=member.key == first,
                        key=self._keys[candidate.where],
                        rules=survey.rules,
                        frame=survey.frame,
                        derivative=survey.derivative is not None,
                        places=survey.places,
                    )
                )
        if self._surveys and all(survey.refused for _, survey in self._surveys):
            raise ReleaseError(
                "none of the annotation files here can be read as RS-GPT4V\n"
                + summarize(f"{candidate.where}: {survey.refused}" for candidate, survey in self._surveys),
                where=str(self.root),
                remedy="Expected are conversations as LLaVA has them, or questions with reference answers.",
            )
        return files

    def unknown_files(self, subset: SubsetSpec) -> list[str]:
        """Files that are not read, each with the reason."""
        refused = [f"{one.where} ({survey.refused})" for one, survey in self._surveys if survey.refused]
        return sorted([*refused, *super().unknown_files(subset)])

    # Records

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one record.

        Raises:
            RecordError: It has no known form.
            UnsafePathError: The name of its image leaves the release.
        """
        if not isinstance(file, RsGpt4vFile):
            raise TypeError(f"expected a file of this release, not {file!r}")
        split, task = file.member.key
        prefix = f"{SPEC.name}/{split}/{file.key}"
        origin = self.origin(file.where)
        reading = reading_of(file.where, prefix, task, file.frame, derivative=file.derivative, origin=origin)
        return read_record(record, index, reading)

    def image_name(self, released: str) -> str:
        """The name without a folder of the authors' machine."""
        return image_name(released)

    def record_key(self, record: Record, index: int) -> str:
        """Its id and the round where it has one, or its number."""
        return record_key(record, index)

    @cached_property
    def _keys(self) -> dict[str, str]:
        return unique_keys([candidate.where for candidate in self._layout.candidates])

    @cached_property
    def _surveys(self) -> list[tuple[Candidate, Survey]]:
        return [(candidate, self._survey(candidate)) for candidate in self.candidates]

    def _survey(self, candidate: Candidate) -> Survey:
        key = repr((candidate.where, candidate.size, candidate.stamp, self.options))
        survey = _SURVEYS.get(key)
        if survey is None:
            survey = survey_file(
                lambda: candidate.container.open(candidate.name),
                candidate.where,
                self._size_of,
                self.options.settings,
            )
            if survey.settled:
                while len(_SURVEYS) >= _REMEMBERED:
                    _SURVEYS.pop(next(iter(_SURVEYS)))
                _SURVEYS[key] = survey
        return survey

    def _size_of(self, name: str) -> tuple[int, int] | None:
        resolver = self._resolver
        try:
            located = resolver.resolve(image_name(name))
        except (UnsafePathError, AmbiguousImageError):
            return None  # reading the record says what is wrong
        if located is None:
            return None
        with resolver.mounts[located.mount].container.open(located.member) as file:
            return image_size(file)


_REMEMBERED = 64
_SURVEYS: dict[str, Survey] = {}
"""Surveys of files that have not changed: `load_dataset` opens a release several times."""


def open_release(options: ReleaseOptions) -> RsGpt4vRelease:
    """Open an RS-GPT4V release; see `RsGpt4vRelease`."""
    return RsGpt4vRelease(options)
