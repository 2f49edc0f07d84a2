"""MMRS-1M as it lies on a user's disk: an unpacked tree in any nesting, or the pieces of one gzip tar."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.errors import AnnotationError, ReleaseError
from irtd_datasets.mmrs_1m.generation import directory_for
from irtd_datasets.mmrs_1m.names import BASES, below_base, directory_of, is_annotation, read_image_name
from irtd_datasets.mmrs_1m.partition import (
    FILE,
    IMAGE,
    INDEX,
    MADE,
    PROBLEM,
    QUIRKS,
    AnnotationSource,
    Partition,
    load_partition,
    partition_records,
)
from irtd_datasets.mmrs_1m.records import read_record
from irtd_datasets.mmrs_1m.spec import COMPONENTS, SPEC, component, constructed_component, constructed_part
from irtd_datasets.releases.containers import Container, FolderContainer, open_container
from irtd_datasets.releases.parts import find_parts
from irtd_datasets.releases.places import file_identity
from irtd_datasets.releases.resolve import ImageResolver, Layout, Mount, mounts_from_options
from irtd_datasets.releases.streams import extract_tar
from irtd_datasets.rows.generated import MARKER, read_marker
from irtd_datasets.rows.release import AnnotationFile, CutArchive, Release, ReleaseOptions
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.releases.places import Place
    from irtd_datasets.rows.generated import ConstructedFile
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["ARCHIVE_PATTERN", "MmrsRelease", "open_release"]

ARCHIVE_PATTERN = "data.tar*"
"""The gzip tar, whole or in pieces: ``data.tar.gz.0`` ... ``data.tar.gz.6``."""

_DEPTH = 3  # folders that only hold the release, one in the other: mmrs1m/data/data
_PARTS = frozenset(member.part.name for member in SPEC.members)
_KEYS = (FILE, INDEX, IMAGE, PROBLEM, QUIRKS, MADE)


class MmrsRelease(Release):
    """An opened MMRS-1M release.

    ``root`` may be the folder ``data``, any folder around it (``mmrs1m/data``, ``data/data``), a folder that holds what
    ``data`` holds, a folder with the pieces of ``data.tar.gz``, or ``data.tar.gz`` itself. Any subset of the components
    may be there. Annotation files are used from the tree where it has any, images likewise; what the tree lacks comes
    from the archive.

    Raises:
        ReleaseNotFoundError: There is nothing at ``root``.
    """

    spec = SPEC
    cut_archives = ("data.tar.gz",)
    give = "Give the folder that holds `data`, or the pieces data.tar.gz.0, data.tar.gz.1, ..."

    # Annotation files

    def files(self, member: Member) -> list[AnnotationFile]:
        """The records of a part, from whatever files they come; none when no file has any.

        Raises:
            AnnotationError: A file that may have some cannot be read to its end.
            ArchiveError: The archive is damaged.
        """
        part = member.part.name
        found = self._sorted
        problems = [message for message, concerned in found.problems if part in concerned]
        if problems:
            raise AnnotationError("\n".join(problems))
        entry = found.parts.get(part)
        if entry is None:
            return []
        where = ", ".join(dict.fromkeys(entry.files))
        repairs = tuple(sorted(entry.repairs.items()))
        return [AnnotationFile(member, where, entry.size, 0, repairs=repairs)]

    def source(self, file: AnnotationFile) -> Source:
        """The records of a part."""
        return self._sorted.path(file.member.part.name)

    def unknown_files(self, subset: SubsetSpec) -> list[str]:  # noqa: ARG002 - nobody knows whose they are
        """Annotation files and records that belong to no component, a sentence each."""
        other = f"{MARKER}: it does not tell what was constructed for {SPEC.name}; all is read as released"
        return [*self._sorted.unknown, *([other] if self._marked is None else ())]

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:  # noqa: ARG002 - see `sorting`
        """Parse one sorted record.

        Raises:
            RecordError: It cannot be used.
        """
        part = file.member.part.name
        name, number = str(record[FILE]), int(str(record[INDEX]))
        problem = record.get(PROBLEM)
        if isinstance(problem, list):
            code, message = problem
            raise RecordError(message, code=code, where=f"json/{name} record {number}")
        own = {key: value for key, value in record.items() if key not in _KEYS}
        quirks = record.get(QUIRKS)
        row = f"{SPEC.name}/{part}/{name.rpartition('.')[0]}/{number}"
        made = record.get(MADE)
        one = (
            constructed_component(file.member.part, *map(str, made))
            if isinstance(made, list)
            else component(part)
        )
        pending = read_record(one, own, (f"json/{name}", number), str(record.get(IMAGE, "")), row)
        pending.origin = self._origins.get(name, pending.origin)
        return _with_quirks(pending, quirks) if isinstance(quirks, list) else pending

    def peek(self, file: AnnotationFile, record: Record, index: int) -> tuple[str, str]:
        """Image name and id of a sorted record."""
        image = record.get(IMAGE)
        if not isinstance(image, str):
            image = self.pending(file, record, index).image
        return image, f"{record[FILE]}/{record[INDEX]}"

    # Images

    def resolver(self, subset: SubsetSpec) -> ImageResolver:  # noqa: ARG002 - there is one subset
        """Finds images in the tree and where the user says they are."""
        return ImageResolver(self._mounts, self._layouts)

    def image_folders(self, subset: SubsetSpec) -> Sequence[str]:  # noqa: ARG002 - there is one subset
        """Folders that the records name."""
        return self._directories

    def stream(self, subset: SubsetSpec) -> CutArchive | None:  # noqa: ARG002 - there is one subset
        """The archive, unless images lie in the tree or elsewhere."""
        if self._archive is None or self._image_folders or self.options.images:
            return None
        return self._archive

    def facts(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:  # noqa: ARG002 - there is one subset
        """Names, sizes and times of annotation files, archive and image folders."""
        folders = [(base, task, source) for base, task, source, _ in self._image_folders]
        return [
            *self._annotation_identity(),
            *((*names, *file_identity(self.root.joinpath(*names))) for names in folders),
        ]

    @cached_property
    def _archive(self) -> CutArchive | None:
        if self.root.is_file():
            return CutArchive((self.root,), _archive_name)
        if not any(path.name.startswith("data.tar") for path in self.root.iterdir()):
            return None
        return CutArchive(find_parts(self.root, ARCHIVE_PATTERN), _archive_name)

    @cached_property
    def _folder(self) -> Container | None:
        return open_container(self.root) if self.root.is_dir() else None

    @cached_property
    def _bases(self) -> tuple[str, ...]:
        """Folders that hold what ``data`` holds, the outermost first."""
        if not isinstance(self._folder, FolderContainer):
            return ()
        bases, level = [""], [""]
        for _ in range(_DEPTH):
            level = [
                f"{base}/{name}".lstrip("/")
                for base in level
                for name in self._folder.folders(base)
                if name.lower() in BASES
            ]
            bases += level
        return tuple(bases)

    @cached_property
    def _image_folders(self) -> tuple[tuple[str, str, str, str], ...]:
        """Base, task folder and source folder of all known image folders in the tree, and their released names."""
        if self._folder is None:
            return ()
        found = []
        for base in self._bases:
            for task in self._folder.folders(base):
                if task.lower() in BASES or task.lower() == "json":
                    continue
                path = f"{base}/{task}".lstrip("/")
                for source in self._folder.folders(path):
                    directory = directory_of(task, source)
                    if not directory and f"{task}/{source}" in self._made_directories:
                        directory = f"{task}/{source}"
                    if directory:
                        found.append((base, task, source, directory))
        return tuple(found)

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        layouts = {}
        for directory in self._directories:
            task, _, source = directory.partition("/")
            here = [folder for folder in self._image_folders if folder[3] == directory]
            tasks = dict.fromkeys([task, *(folder[1] for folder in here)])
            sources = dict.fromkeys([source, *(folder[2] for folder in here)])
            layouts[directory] = Layout(directory, tuple(tasks), tuple(sources))
        return layouts

    @cached_property
    def _mounts(self) -> tuple[Mount, ...]:
        mounts = list(mounts_from_options(self.options.images, self._directories, self.options.place))
        if self._folder is not None:
            mounts += [
                Mount("", self._folder, base) for base in dict.fromkeys(f[0] for f in self._image_folders)
            ]
        return tuple(mounts)

    # Constructed records

    @cached_property
    def _marker_folder(self) -> Place:
        """The folder that `irtd construct` has made, where this is one or the folder ``data`` in it."""
        inner = self.root.name.lower() in BASES and not (self.root / MARKER).exists()
        return self.root.parent if inner else self.root

    @cached_property
    def _marked(self) -> tuple[ConstructedFile, ...] | None:
        return read_marker(self._marker_folder, SPEC.name)

    @cached_property
    def _made(self) -> dict[Place, tuple[str, tuple[str, str]]]:
        """Files of constructed records that are no training data of a component: part, source and modality."""
        found = {}
        for one in self._marked or ():
            part = constructed_part(one.split, one.task, one.modality)
            if part not in _PARTS:
                raise ReleaseError(
                    f"{one.file}: {SPEC.name} has no task {one.task!r} of modality {one.modality!r}",
                    where=str(self._marker_folder / MARKER),
                    remedy="Construct the records again.",
                )
            if one.split == "test" or not directory_of(*_directory(one).split("/")):
                found[self._marker_folder / one.file] = (part, (one.source, one.modality))
        return found

    @cached_property
    def _origins(self) -> dict[str, str]:
        """Who wrote the texts of constructed files, by their names below ``json/``."""
        origins = {self._marker_folder / one.file: one.origin for one in self._marked or ()}
        paths = self._json_files if origins else {}
        return {
            name: origins[found] for name, path in paths.items() if (found := self.root / path) in origins
        }

    @cached_property
    def _made_directories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_directory(one) for one in self._marked or ()))

    @cached_property
    def _directories(self) -> tuple[str, ...]:
        """Folders of images, as the records name them."""
        released = (directory for one in COMPONENTS for directory in one.directories)
        return tuple(dict.fromkeys((*released, *self._made_directories)))

    # Sorting

    @cached_property
    def _json_files(self) -> dict[str, str]:
        """Annotation files of the tree: name below ``json/`` to name below the root.

        Raises:
            ReleaseError: Two different files have one name.
        """
        found: dict[str, str] = {}
        if self._folder is None:
            return found
        for base in self._bases:
            for name in self._folder.folders(base):
                if name.lower() == "json":
                    for path in self._walk(f"{base}/{name}".lstrip("/")):
                        short = path[len(base) + len(name) + 1 :].lstrip("/")
                        self._check_same(found.setdefault(short, path), path)
        return found

    def _walk(self, folder: str) -> Iterator[str]:
        assert self._folder is not None  # the caller has listed it
        for name in self._folder.folder(folder):
            if is_annotation(f"json/{name}"):
                yield f"{folder}/{name}"
        for name in self._folder.folders(folder):
            yield from self._walk(f"{folder}/{name}")

    def _check_same(self, one: str, other: str) -> None:
        if one == other or self._folder is None:
            return
        entries = self._folder.find(one), self._folder.find(other)
        if entries[0] is None or entries[1] is None or entries[0].size != entries[1].size:
            raise ReleaseError(
                f"there are two different copies of one annotation file: {one} and {other}",
                where=str(self.root),
                remedy="Keep the one that should be read.",
            )

    def _annotation_identity(self) -> list[tuple[Any, ...]]:
        if self._json_files or self._archive is None:
            marker = self._marker_folder / MARKER
            return [
                *(
                    (name, *file_identity(self.root / path))
                    for name, path in sorted(self._json_files.items())
                ),
                *([(MARKER, *file_identity(marker))] if marker.exists() else ()),
            ]
        return [self._archive.identity()]

    @cached_property
    def _sorted(self) -> Partition:
        """The records by component; taken from the scratch folder where an earlier run left them."""
        scratch = Path(self.options.scratch) if self.options.scratch else self._temporary
        settings = sorted(self.options.settings.items())
        facts = (
            __version__,
            SPEC.version,
            COMPONENTS,
            self.options.root,
            settings,
            self._annotation_identity(),
        )
        name = hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        folder = scratch / f"records-{name}"
        found = load_partition(folder)
        if found is not None:
            return found
        if self._json_files or self._archive is None:
            return partition_records(self._tree_sources(), folder)
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpacked-", dir=scratch) as unpacked:
            return partition_records(self._archive_sources(self._archive, Path(unpacked)), folder)

    def _tree_sources(self) -> list[AnnotationSource]:
        folder = self._folder
        if folder is None or not self._json_files:
            return []
        return self._kept(
            [
                AnnotationSource(
                    name,
                    path,
                    lambda path=path: folder.open(path),  # type: ignore[misc]
                    *self._made.get(self.root / path, ()),
                )
                for name, path in self._json_files.items()
            ]
        )

    def _kept(self, sources: list[AnnotationSource]) -> list[AnnotationSource]:
        left_out = self.left_out(one.where for one in sources)
        return [one for one in sources if one.where not in left_out]

    def _archive_sources(self, archive: CutArchive, folder: Path) -> list[AnnotationSource]:
        written = extract_tar(
            archive.parts, folder, wanted=lambda name: is_annotation(below_base(name)), index=archive.index
        )
        sources = []
        for path in written:
            where = path.relative_to(folder.resolve()).as_posix()
            name = below_base(where).partition("/")[2]
            sources.append(AnnotationSource(name, where, lambda path=path: path))  # type: ignore[misc]
        return self._kept(sources)

    @cached_property
    def _temporary(self) -> Path:
        folder = tempfile.mkdtemp(prefix="mmrs_1m-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def open_release(options: ReleaseOptions) -> MmrsRelease:
    """Open an MMRS-1M release; see `MmrsRelease`."""
    return MmrsRelease(options)


def _directory(one: ConstructedFile) -> str:
    return directory_for(one.source, one.task, oriented=one.file.endswith("_OBB.json"))


def _archive_name(member: str) -> str:
    return read_image_name(member).name


def _with_quirks(pending: PendingRow, codes: list[object]) -> PendingRow:
    return replace(pending, quirks=(*pending.quirks, *(str(code) for code in codes)))
