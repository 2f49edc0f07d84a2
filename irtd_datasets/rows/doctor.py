"""What a release has and what it lacks: which files, which images, which configs can be built with how many rows.

Records are read, parsed and judged as a build does it; only the images stay closed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import AmbiguousImageError, DefectError, IrtdDatasetsError
from irtd_datasets.rows.parsing import check_counts, parse_file
from irtd_datasets.rows.record_counts import RecordCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from irtd_datasets.releases.resolve import ImageResolver
    from irtd_datasets.rows.release import AnnotationFile, Release
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["Diagnosis", "FileReport", "FolderReport", "examine"]

EXAMPLES_KEPT = 3


@dataclass(slots=True)
class FileReport:
    """An annotation file.

    Attributes:
        where: Where it lies; empty when it is not there.
        released: Records in the released file; None where nothing was released.
        config: The smallest config that shows it.
        records: Records found.
        repairs: Repairs of its form.
        problem: Why it cannot be read; empty when it can.
        rows: Rows that can be built, as far as names tell; images that come as a stream count as there.
        streamed: Where its images come from when they come as a stream; else empty.
        notes: What was found out about each file, such as its form.
        rounds: Rounds found.
        rounds_released: Rounds that the paper counts; None where it counts records, or nothing.
        public: Whether its authors ever handed it out.
        dropped: Records that a build leaves out, by reason.
    """

    subset: str
    part: str
    file: str
    where: str
    released: int | None
    config: str
    records: int = 0
    repairs: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    rows: int = 0
    streamed: str = ""
    notes: list[str] = field(default_factory=list)
    rounds: int = 0
    rounds_released: int | None = None
    public: bool = True
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class FolderReport:
    """Images of one folder, as the records name it.

    Attributes:
        needed: Distinct images that records name.
        found: Of these, found.
        places: Where they were found, with counts.
        notes: How they were found when not under their released names, with counts.
        missing: A few names that were not found.
        ambiguous: A few names with several candidates, each with its candidates.
        ambiguous_count: How many there are.
    """

    folder: str
    needed: int = 0
    found: int = 0
    places: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    ambiguous_count: int = 0


@dataclass(slots=True)
class Diagnosis:
    """Everything `examine` found."""

    dataset: str
    root: str
    files: list[FileReport]
    folders: list[FolderReport]
    configs: dict[str, int]
    unknown_files: list[str]

    @property
    def sound(self) -> bool:
        """Whether something can be built, and nothing stops the build of any config."""
        return any(self.configs.values()) and not any(file.problem for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        for shown, folder in zip(values["folders"], self.folders, strict=True):
            # Before Python 3.12 `asdict` counts the items of a Counter anew.
            shown.update(places=dict(folder.places), notes=dict(folder.notes))
        return values


def examine(release: Release) -> Diagnosis:
    """Look at a release without reading any image.

    Args:
        release: The opened release.
    """
    files: list[FileReport] = []
    folders: dict[str, FolderReport] = {}
    unknown: list[str] = []
    for subset in release.spec.subsets:
        search = _Search(release, subset, folders)
        files += [_examine_part(release, member, search) for member in subset.members]
        # An archive that cannot be opened is told once for each annotation file that may be in it.
        with contextlib.suppress(IrtdDatasetsError):
            unknown += [name for name in release.unknown_files(subset) if name not in unknown]
    found = {(report.subset, report.part): report for report in files}
    configs = {}
    for config in release.spec.configs:
        reports = [found[member.key] for member in config.members]
        # What cannot be read in one part stops the build of the whole config.
        configs[config.name] = 0 if any(one.problem for one in reports) else sum(one.rows for one in reports)
    return Diagnosis(release.spec.name, release.options.root, files, list(folders.values()), configs, unknown)


def _examine_part(release: Release, member: Member, search: _Search) -> FileReport:
    part = member.part
    config = release.spec.smallest_config(member).name
    report = FileReport(*member.key, part.file, "", part.records, config)
    report.rounds_released, report.public = part.rounds, part.public
    try:
        files = release.files(member)
        report.where = ", ".join(file.where for file in files)
        report.notes = [f"{file.where}: {file.note}" for file in files if file.note]
        images: Counter[str] = Counter()
        counts, refused = RecordCounts(), list[IrtdDatasetsError]()
        try:
            for file in files:
                images += _read(release, file, counts, refused)
        finally:
            report.records, report.rounds = counts.found, counts.rounds_found
            report.repairs, report.dropped = dict(counts.repairs), dict(counts.dropped)
        stream = release.stream(member.subset)
        if stream is not None:
            report.streamed = stream.label
            rows = sum(images.values())
        else:
            rows = sum(count for image, count in images.items() if search.finds(image))
            search.check_certain(images)
        if refused:
            raise refused[0]
        report.rows = rows
    except IrtdDatasetsError as error:
        report.problem = str(error)
    return report


def _read(
    release: Release, file: AnnotationFile, counts: RecordCounts, refused: list[IrtdDatasetsError]
) -> Counter[str]:
    """Images of the records of a file that become rows, each with their number; the rest is counted."""
    own, flagged, images = RecordCounts(), Counter[str](), Counter[str]()
    try:
        for pending in parse_file(release, file, own):
            flagged.update(pending.issues)
            images[pending.image] += 1
        check_counts(release.spec, file, own, flagged)
    except DefectError as error:
        refused.append(error)  # a build would stop here; what images there are is of use all the same
    finally:
        counts.add(own)
    return images


class _Search:
    """Looks each image of a subset up once, whatever number of tasks name it."""

    def __init__(self, release: Release, subset: SubsetSpec, folders: dict[str, FolderReport]) -> None:
        self._release = release
        self._subset = subset
        self._folders = folders
        self._found: dict[str, bool] = {}
        self._ambiguous: dict[str, AmbiguousImageError] = {}

    @cached_property
    def _resolver(self) -> ImageResolver:
        return self._release.resolver(self._subset)

    def finds(self, image: str) -> bool:
        if image not in self._found:
            self._found[image] = self._look_up(image)
        return self._found[image]

    def check_certain(self, images: Iterable[str]) -> None:
        """Refuse images with two candidates, which a build does not choose between.

        Raises:
            AmbiguousImageError: There are some.
        """
        found = [self._ambiguous[image] for image in images if image in self._ambiguous]
        if found:
            raise AmbiguousImageError(
                f"{len(found):,} images have several candidates: {found[0].problem}",
                where=found[0].where,
                remedy=found[0].remedy,
            )

    def _look_up(self, image: str) -> bool:
        folder = image.rpartition("/")[0]
        # Sequences of one source are reported under the folder that the layout table names.
        layouts = self._resolver.layouts
        named = next(
            (known for known in layouts if folder == known or folder.startswith(known + "/")), folder
        )
        report = self._folders.setdefault(named, FolderReport(named))
        report.needed += 1
        try:
            located = self._resolver.resolve(image)
        except AmbiguousImageError as error:
            self._ambiguous[image] = error
            report.ambiguous_count += 1
            if len(report.ambiguous) < EXAMPLES_KEPT:
                report.ambiguous.append(f"{image}: {error.problem}")
            return False
        if located is None:
            if len(report.missing) < EXAMPLES_KEPT:
                report.missing.append(image)
            return False
        report.found += 1
        mount = self._resolver.mounts[located.mount]
        report.places[f"{mount.container.path}/{located.member.rpartition('/')[0]}".rstrip("/")] += 1
        if located.note:
            report.notes["under another file name"] += 1
        if located.transform:
            report.notes[f"transform {located.transform}"] += 1
        return True
