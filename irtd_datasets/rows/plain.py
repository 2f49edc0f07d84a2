"""Releases that need no code of their own: conversations or questions in the style of LLaVA, declared by a table."""

from __future__ import annotations

import fnmatch
from functools import cached_property
from typing import TYPE_CHECKING

from irtd_datasets.boxes import Frame
from irtd_datasets.errors import IrtdDatasetsError, ReleaseError
from irtd_datasets.rows.layout import SearchedRelease, first_problem, stopping
from irtd_datasets.rows.llava import FileReading, TextFrame, read_record, record_key
from irtd_datasets.rows.release import AnnotationFile

if TYPE_CHECKING:
    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.rows.layout import Candidate
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.rows.release import ReleaseOptions
    from irtd_datasets.spec import DatasetSpec, Member, SubsetSpec

__all__ = ["PlainRelease"]


class PlainRelease(SearchedRelease):
    """A release whose parts are files in the style of LLaVA, as `PartSpec.file` names them.

    A part's file is named by its path below the release, by the end of that path, or by a pattern (``train/*.json``)
    that several files fit. A dataset with records of another form overrides `pending`.

    Args:
        options: Where it lies and how to read it.
        spec: The dataset.
    """

    def __init__(self, options: ReleaseOptions, spec: DatasetSpec) -> None:
        self.spec = spec
        super().__init__(options)

    def files(self, member: Member) -> list[AnnotationFile]:
        """The annotation files of a part, in the order of their paths.

        Raises:
            AnnotationError: A file that no part claims cannot be read, so it may be one of them.
            ReleaseError: Two different files have the name of one.
        """
        for where, problem in self._unclaimed.items():
            if problem is not None:
                raise stopping(problem, where)
        return [AnnotationFile(member, one.where, one.size, one.stamp) for one in self._claimed(member)]

    def unknown_files(self, subset: SubsetSpec) -> list[str]:
        """Files that no part claims, and what the search left aside."""
        return sorted([*self._unclaimed, *super().unknown_files(subset)])

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one record.

        Raises:
            RecordError: It is neither a conversation nor a question with its answer.
            UnsafePathError: The name of its image leaves the release.
        """
        return read_record(record, index, self.reading(file))

    def reading(self, file: AnnotationFile) -> FileReading:
        """How the records of a file are read."""
        part, where = file.member.part, file.where
        several = part.file != where and not where.endswith("/" + part.file)
        names = (self.spec.name, *file.member.key, *([where.rpartition(".")[0]] if several else []))
        frame = TextFrame(Frame(part.frame) if part.frame else None)
        return FileReading(
            where,
            "/".join(names),
            part.task,
            frame,
            part.modality,
            lambda _: part.title,
            self.image_name,
            origin=self.origin(where),
        )

    def record_key(self, record: Record, index: int) -> str:
        """Its id and the round where it has one, or its number."""
        return record_key(record, index)

    def _claimed(self, member: Member) -> list[Candidate]:
        name = member.part.file
        if exact := [one for one in self.candidates if one.where == name]:
            return exact
        found = [
            one
            for one in self.candidates
            if fnmatch.fnmatchcase(one.where, name) or fnmatch.fnmatchcase(one.where, f"*/{name}")
        ]
        if len(found) > 1 and not set(name) & set("*?["):
            raise ReleaseError(
                f"there are several files called {name}: {', '.join(one.where for one in found)}",
                where=str(self.root),
                remedy="Keep the one that should be read, or leave the others out: --set without=FILE.",
            )
        return found

    @cached_property
    def _unclaimed(self) -> dict[str, IrtdDatasetsError | None]:
        """Files that no part claims, each with why it cannot be read; None for sound JSON of another kind."""
        claimed = {one.where for member in self.spec.members for one in self._claimed(member)}
        return {one.where: _problem(one) for one in self.candidates if one.where not in claimed}


_PROBLEMS: dict[tuple[str, str, int, int], IrtdDatasetsError | None] = {}
"""What is wrong with files that have not changed: `load_dataset` opens a release several times."""


def _problem(candidate: Candidate) -> IrtdDatasetsError | None:
    """Why a file is no sound JSON; None when it is."""

    def source() -> Source:
        return candidate.container.open(candidate.name)

    key = (str(candidate.container.path), candidate.where, candidate.size, candidate.stamp)
    if key not in _PROBLEMS:
        _PROBLEMS[key] = first_problem(source, candidate.where)
    return _PROBLEMS[key]
