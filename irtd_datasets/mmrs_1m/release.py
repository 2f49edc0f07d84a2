"""MMRS-1M as it lies on a user's disk: an unpacked tree in any nesting, or the pieces of one gzip tar."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import RecordError
from irtd_datasets.errors import AnnotationError, ReleaseError, ReleaseNotFoundError
from irtd_datasets.mmrs_1m.names import BASES, below_base, directory_of, is_annotation, read_image_name
from irtd_datasets.mmrs_1m.partition import (
    FILE,
    IMAGE,
    INDEX,
    PROBLEM,
    QUIRKS,
    AnnotationSource,
    Partition,
    load_partition,
    partition_records,
)
from irtd_datasets.mmrs_1m.records import read_record
from irtd_datasets.mmrs_1m.spec import COMPONENTS, SPEC, component
from irtd_datasets.releases.containers import Container, FolderContainer, open_container
from irtd_datasets.releases.parts import find_parts
from irtd_datasets.releases.resolve import ImageResolver, Layout, Mount, mounts_from_options
from irtd_datasets.releases.streams import extract_tar, stream_tar
from irtd_datasets.rows.release import AnnotationFile, ReleaseOptions
from irtd_datasets.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["ARCHIVE_PATTERN", "CutArchive", "MmrsRelease", "open_release"]

ARCHIVE_PATTERN = "data.tar*"
"""The gzip tar, whole or in pieces: ``data.tar.gz.0`` ... ``data.tar.gz.6``."""

_DEPTH = 3  # folders that only hold the release, one in the other: mmrs1m/data/data
_KEYS = (FILE, INDEX, IMAGE, PROBLEM, QUIRKS)


@dataclass(frozen=True, slots=True)
class CutArchive:
    """The images as one stream; names are those that `read_image_name` gives."""

    parts: tuple[Path, ...]

    @property
    def label(self) -> str:
        """The first part's name and how many there are."""
        return (
            f"{self.parts[0].name} ({len(self.parts)} parts)" if len(self.parts) > 1 else self.parts[0].name
        )

    def identity(self) -> tuple[Any, ...]:
        """Names, sizes and times of the parts."""
        return tuple((part.name, *_size_and_time(part)) for part in self.parts)

    def images(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Images in the archive's order, under the names that the records give them."""
        for member in stream_tar(self.parts, wanted=lambda name: wanted(read_image_name(name).name)):
            yield read_image_name(member.name).name, member.data


class MmrsRelease:
    """An opened MMRS-1M release.

    ``root`` may be the folder ``data``, any folder around it (``mmrs1m/data``, ``data/data``), a folder that holds what
    ``data`` holds, a folder with the pieces of ``data.tar.gz``, or ``data.tar.gz`` itself. Any subset of the components
    may be there. Annotation files are used from the tree where it has any, images likewise; what the tree lacks comes
    from the archive.

    Raises:
        ReleaseNotFoundError: There is nothing at ``root``.
    """

    spec = SPEC

    def __init__(self, options: ReleaseOptions) -> None:
        self.options = options
        self.root = Path(options.root)
        if not self.root.exists():
            raise ReleaseNotFoundError(
                "there is no folder or file at this path",
                where=f"MMRS-1M release {options.root}",
                remedy="Give the folder that holds `data`, or the pieces data.tar.gz.0, data.tar.gz.1, ...",
            )

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
            raise AnnotationError(
                "\n".join(problems), remedy="Get the file again, or build the other configs without it."
            )
        entry = found.parts.get(part)
        if entry is None:
            return []
        where = ", ".join(dict.fromkeys(entry.files))
        repairs = tuple(sorted(entry.repairs.items()))
        return [AnnotationFile(member, where, entry.size, 0, repairs=repairs)]

    def source(self, file: AnnotationFile) -> Source:
        """The records of a part."""
        return self._sorted.path(file.member.part.name)

    def unknown_files(self, subset: SubsetSpec) -> list[str]:  # noqa: ARG002 - there is one subset
        """Annotation files and records that belong to no component, a sentence each."""
        return self._sorted.unknown

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
        pending = read_record(component(part), own, (f"json/{name}", number), str(record.get(IMAGE, "")), row)
        return _with_quirks(pending, quirks) if isinstance(quirks, list) else pending

    def peek(self, file: AnnotationFile, record: Record, index: int) -> tuple[str, str]:
        """Image name and id of a record, without parsing the rest of it.

        Raises:
            RecordError: It has no image, or several, or cannot be used.
        """
        image = record.get(IMAGE)
        if not isinstance(image, str):
            pending = self.pending(file, record, index)
            return pending.image, pending.id
        return image, f"{record[FILE]}/{record[INDEX]}"

    # Images

    def resolver(self, subset: SubsetSpec) -> ImageResolver:  # noqa: ARG002 - there is one subset
        """Finds images in the tree and where the user says they are."""
        return ImageResolver(self._mounts, self._layouts)

    def stream(self, subset: SubsetSpec) -> CutArchive | None:  # noqa: ARG002 - there is one subset
        """The archive, unless images lie in the tree or elsewhere."""
        if self._archive is None or self._image_folders or self.options.images:
            return None
        return self._archive

    def identity(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:  # noqa: ARG002 - there is one subset
        """Paths, sizes and times of annotation files, archive and image folders."""
        facts: list[tuple[Any, ...]] = [
            ("root", self.options.root),
            ("images", *sorted(self.options.images.items())),
            *(("image", path, *_size_and_time(Path(path))) for path in sorted(self.options.images.values())),
            *self._annotation_identity(),
        ]
        facts += [
            (base, task, source, *_size_and_time(self.root / base / task / source))
            for base, task, source, _ in self._image_folders
        ]
        return facts

    @cached_property
    def _archive(self) -> CutArchive | None:
        if self.root.is_file():
            return CutArchive((self.root,))
        if not any(path.name.startswith("data.tar") for path in self.root.iterdir()):
            return None
        return CutArchive(tuple(find_parts(self.root, ARCHIVE_PATTERN)))

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
                    if directory:
                        found.append((base, task, source, directory))
        return tuple(found)

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        layouts = {}
        for directory in dict.fromkeys(d for one in COMPONENTS for d in one.directories):
            task, _, source = directory.partition("/")
            here = [folder for folder in self._image_folders if folder[3] == directory]
            tasks = dict.fromkeys([task, *(folder[1] for folder in here)])
            sources = dict.fromkeys([source, *(folder[2] for folder in here)])
            layouts[directory] = Layout(directory, tuple(tasks), tuple(sources))
        return layouts

    @cached_property
    def _mounts(self) -> tuple[Mount, ...]:
        known = tuple(dict.fromkeys(d for one in COMPONENTS for d in one.directories))
        mounts = list(mounts_from_options(self.options.images, known))
        if self._folder is not None:
            mounts += [
                Mount("", self._folder, base) for base in dict.fromkeys(f[0] for f in self._image_folders)
            ]
        return tuple(mounts)

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
            return [
                (name, *_size_and_time(self.root / path)) for name, path in sorted(self._json_files.items())
            ]
        return [self._archive.identity()]

    @cached_property
    def _sorted(self) -> Partition:
        """The records by component; taken from the scratch folder where an earlier run left them."""
        scratch = Path(self.options.scratch) if self.options.scratch else self._temporary
        facts = (__version__, SPEC.version, COMPONENTS, self.options.root, self._annotation_identity())
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
        return [
            AnnotationSource(name, path, lambda path=path: folder.open(path))  # type: ignore[misc]
            for name, path in self._json_files.items()
        ]

    def _archive_sources(self, archive: CutArchive, folder: Path) -> list[AnnotationSource]:
        written = extract_tar(archive.parts, folder, wanted=lambda name: is_annotation(below_base(name)))
        sources = []
        for path in written:
            where = path.relative_to(folder.resolve()).as_posix()
            name = below_base(where).partition("/")[2]
            sources.append(AnnotationSource(name, where, lambda path=path: path))  # type: ignore[misc]
        return sources

    @cached_property
    def _temporary(self) -> Path:
        folder = tempfile.mkdtemp(prefix="mmrs_1m-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def open_release(options: ReleaseOptions) -> MmrsRelease:
    """Open an MMRS-1M release; see `MmrsRelease`."""
    return MmrsRelease(options)


def _with_quirks(pending: PendingRow, codes: list[object]) -> PendingRow:
    return replace(pending, quirks=(*pending.quirks, *(str(code) for code in codes)))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)
