"""What a dataset's folder provides so that one reader, one build and one builder class serve all datasets.

`Release` has what all releases share: options, names to leave out, identity, a first look at a record. A dataset's own
class says where its files and images are and how one of its records becomes a row.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from irtd_datasets.annotations.conversation_keys import find_image
from irtd_datasets.documents import read_json
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.releases.archive_index import archive_folder, known_members
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.places import RemotePlace, as_place, file_identity
from irtd_datasets.releases.resolve import ImageResolver
from irtd_datasets.releases.streams import stream_tar
from irtd_datasets.remote.urls import is_url, local_path, without_secrets
from irtd_datasets.rows.generated import PARTNERS, VISIBLE
from irtd_datasets.rows.partners import MadePartners, Partners, partner_layouts, visible_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.releases.places import Place
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import DatasetSpec, Member, SubsetSpec

__all__ = [
    "ROUNDS",
    "AnnotationFile",
    "CutArchive",
    "ImageStream",
    "Release",
    "ReleaseOptions",
    "absolute_options",
    "check_rounds",
    "file_identity",
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
        decode: ``sample`` (one image of 64) or ``all`` are decoded before they are stored.
        visible: Released folder to path of the visible partners of its images, by the same names.
        storage: For file systems of URLs, never shown: options of all, under an empty name, and what a URL had of
            user, password and query, under the URL without them.
    """

    root: str
    images: Mapping[str, str] = field(default_factory=dict)
    on_defect: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    rounds: str = "keep"
    scratch: str = ""
    decode: str = "sample"
    visible: Mapping[str, str] = field(default_factory=dict)
    storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def place(self, where: str) -> Place:
        """What lies at a path or URL of these options."""
        return as_place(where, {**self.storage.get("", {}), **self.storage.get(where, {})})


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

    def total(self, wanted: Any) -> int | None:  # noqa: ANN401 - see below
        """Bytes of the images for which ``wanted(name)`` holds; None where only reading them tells."""

    def images(self, wanted: Any) -> Iterator[tuple[str, bytes]]:  # noqa: ANN401 - see below
        """Released name and bytes of each image, in the stream's order, for which ``wanted(name)`` holds."""


@dataclass(frozen=True, slots=True)
class CutArchive:
    """Images of one gzip tar, whole or cut into parts, read as one stream.

    Attributes:
        parts: The parts in order.
        image_name: From the name of a member to the name that the records give the image.
    """

    parts: tuple[Place, ...]
    image_name: Callable[[str], str]

    @property
    def label(self) -> str:
        """The first part's name and how many there are."""
        first = self.parts[0].name
        return f"{first} ({len(self.parts)} parts)" if len(self.parts) > 1 else first

    def identity(self) -> tuple[Any, ...]:
        """Names, sizes and times of the parts."""
        return tuple((part.name, *file_identity(part)) for part in self.parts)

    @property
    def index(self) -> Path | None:
        """Where what one pass learns of the archive is kept for the next; None for an archive of this machine."""
        if not isinstance(self.parts[0], RemotePlace):
            return None
        return archive_folder(tuple((str(part), *file_identity(part)) for part in self.parts))

    def total(self, wanted: Callable[[str], bool]) -> int | None:
        """Bytes of the wanted images, where an earlier pass has kept what is in the archive."""
        if self.index is None:
            return None
        members = known_members(self.index, sum(int(part.stat().st_size) for part in self.parts))
        return (
            None if members is None else sum(size for name, size in members if wanted(self.image_name(name)))
        )

    def images(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Images in the archive's order, under the names that the records give them."""
        for member in stream_tar(
            self.parts, wanted=lambda name: wanted(self.image_name(name)), index=self.index
        ):
            yield self.image_name(member.name), member.data


class Release(ABC):
    """An opened release of one dataset; nothing is listed or read before it is asked for.

    Attributes:
        spec: The dataset.
        give: What a user should name instead of a path with nothing at it.
        is_folder: Whether it must be a folder.
        cut_archives: Archives that are handed out in pieces, without the end of the pieces' names.

    Raises:
        ReleaseNotFoundError: There is nothing at the root of the options, or no folder.
    """

    spec: DatasetSpec
    cut_archives: ClassVar[tuple[str, ...]] = ()
    give: ClassVar[str] = "Give the folder that holds the annotation files and the images."
    is_folder: ClassVar[bool] = False

    def __init__(self, options: ReleaseOptions) -> None:
        self.options = options
        self.root = options.place(options.root)
        if isinstance(self.root, RemotePlace):
            known = [file for place in self.spec.places for file in place.files if file[-1] not in "/*"]
            self.root.files.expect(known, self.cut_archives)
        what = "" if self.root.exists() else "there is no folder or file at this path"
        if self.is_folder and not what and not self.root.is_dir():
            what = "this is a file"
        if what:
            raise ReleaseNotFoundError(
                what, where=f"{self.spec.title} release {options.root}", remedy=self.give
            )

    @abstractmethod
    def files(self, member: Member) -> list[AnnotationFile]:
        """The annotation files of a part, in order; none when it is not there.

        Raises:
            AnnotationError: One of them cannot be read.
            ReleaseError: It is not certain which files are meant.
        """

    @abstractmethod
    def source(self, file: AnnotationFile) -> Source:
        """The bytes of an annotation file, or a path or open file to read them from."""

    @abstractmethod
    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one record; a pure function of its arguments.

        Raises:
            RecordError: It does not have the form that it should have.
            UnsafePathError: The name of its image leaves the release.
        """

    @abstractmethod
    def resolver(self, subset: SubsetSpec) -> ImageResolver:
        """Finds the images of a subset."""

    def partners(self, subset: SubsetSpec) -> Partners | None:
        """Finds the visible partners of a subset's images; None where there are none.

        Those that the user names come before those that were put beside constructed records.
        """
        if not self.options.visible:
            known = self.root / PARTNERS
            if not (self.root.is_dir() and known.is_file()):
                return None
            made = visible_mounts({"": str(self.root / VISIBLE)}, (), self.options.place)
            values = read_json(cast("Path", known), "Construct the records again.").value
            return MadePartners(ImageResolver(made), values)
        mounts = visible_mounts(self.options.visible, self.image_folders(subset), self.options.place)
        layouts = partner_layouts(self.resolver(subset).layouts)
        return Partners(ImageResolver(mounts, layouts), self.alignment)

    def image_folders(self, subset: SubsetSpec) -> Sequence[str]:  # noqa: ARG002 - for releases that know them
        """Folders that the records name their images by; none where that is not known."""
        return ()

    def alignment(self, image: str) -> str:  # noqa: ARG002 - for releases whose sources are known
        """What is declared of the pair of an image and its visible partner, by the name of the image."""
        return "unknown"

    def stream(self, subset: SubsetSpec) -> ImageStream | None:  # noqa: ARG002 - for releases that have one
        """Images that come as a stream; None when they can be looked up by name."""
        return None

    def unknown_files(self, subset: SubsetSpec) -> list[str]:  # noqa: ARG002 - for releases that look for files
        """Annotation files beside the known ones that no task claims."""
        return []

    def peek(self, file: AnnotationFile, record: Record, index: int) -> tuple[str, str]:
        """Name of a record's image, and what tells it from the others of its file, without parsing the rest.

        Raises:
            RecordError: It has no image, or several.
            UnsafePathError: The image's name leaves the release.
        """
        name = find_image(record)
        image = self.image_name(name) if name else self.pending(file, record, index).image
        return image, self.record_key(record, index)

    def image_name(self, released: str) -> str:
        """The relative name of an image by the name that a record gives it.

        Raises:
            UnsafePathError: It leaves the release.
        """
        return safe_name(released)

    def record_key(self, record: Record, index: int) -> str:
        """What tells a record from the others of its file."""
        found = record.get("id")
        return str(index if found is None or found == "" else found)

    def identity(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:
        """Cheap facts that change when the inputs change: paths, sizes and times, without listing images."""
        images = sorted(self.options.images.items())
        visible = sorted(self.options.visible.items())
        return [
            ("root", self.options.root),
            ("images", *images),
            ("settings", *sorted(self.options.settings.items())),
            *(("image", path, *file_identity(self.options.place(path))) for _, path in images),
            *(("visible", name, path, *file_identity(self.options.place(path))) for name, path in visible),
            *((PARTNERS, *file_identity(self.root / PARTNERS)) for _ in "1" if self.root.is_dir()),
            *self.facts(subset),
        ]

    def facts(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:
        """What a subset adds to `identity`: its annotation files, image folders and stream."""
        found: list[tuple[Any, ...]] = []
        for member in subset.members:
            found += [(file.where, file.size, file.stamp) for file in self.files(member)]
            folders = [(folder, self.root / folder) for folder in member.part.image_dirs]
            found += [(folder, *file_identity(path)) for folder, path in folders if path.is_dir()]
        stream = self.stream(subset)
        return found if stream is None else [*found, stream.identity()]

    def left_out(self, names: Iterable[str]) -> frozenset[str]:
        """Those of all annotation files that the user leaves out: setting ``without``, by path or end of it.

        Raises:
            UnknownNameError: The setting names a file that is not among them.
        """
        items = list(filter(None, map(str.strip, self.options.settings.get("without", "").split(","))))
        if not items:
            return frozenset()  # the names, which may have to be looked for, are not asked for
        known, found = list(names), set[str]()
        for wanted in items:
            named = [name for name in known if name == wanted or name.endswith("/" + wanted)]
            if not named:
                raise UnknownNameError(
                    f"without={wanted}: there is no such annotation file",
                    where=self.options.root,
                    remedy="Name it by its path below the release, or by the end of that path.",
                )
            found.update(named)
        return frozenset(found)


def absolute_options(
    root: str | os.PathLike[str],
    images: Mapping[str, str | os.PathLike[str]] | None = None,
    on_defect: Mapping[str, str] | str | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    rounds: str = "keep",
    scratch: str = "",
    visible: Mapping[str, str | os.PathLike[str]] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ReleaseOptions:
    """Options with absolute paths, as workers and caches need them; a URL stays, without user, password and query.

    Raises:
        UnknownNameError: ``rounds`` is neither ``keep`` nor ``split``, or a path is empty.
    """
    check_rounds(rounds)
    for what, places in (("images", images or {}), ("visible", visible or {})):
        empty = [name for name, path in places.items() if not os.fspath(path)]
        if empty:
            raise UnknownNameError(
                f"no path is given for {empty[0]!r}",
                where=what,
                remedy=f"Write NAME=PATH: where {empty[0] or 'the folder that the records name'} lies here.",
            )
    actions = {"*": on_defect} if isinstance(on_defect, str) else dict(on_defect or {})
    storage: dict[str, Mapping[str, Any]] = {"": dict(storage_options)} if storage_options else {}
    return ReleaseOptions(
        root=_absolute(root, storage),
        images={name: _absolute(path, storage) for name, path in (images or {}).items()},
        on_defect=actions,
        settings=dict(settings or {}),
        rounds=rounds,
        scratch=_absolute(scratch, {}) if scratch else "",
        visible={name: _absolute(path, storage) for name, path in (visible or {}).items()},
        storage=storage,
    )


def check_rounds(rounds: str) -> None:
    """Refuse a value of ``rounds`` that does not exist.

    Raises:
        UnknownNameError: It is neither ``keep`` nor ``split``.
    """
    if rounds not in ROUNDS:
        raise UnknownNameError(f"rounds has no value {rounds!r}", remedy=f"Use {' or '.join(ROUNDS)}.")


def _absolute(path: str | os.PathLike[str], storage: dict[str, Mapping[str, Any]]) -> str:
    if isinstance(path, str) and is_url(path) and local_path(path) is None:
        shown, secrets = without_secrets(path)
        if secrets:
            storage[shown] = secrets
        return shown
    if isinstance(path, str):
        path = local_path(path) or path
    # Links are kept: a folder is known to its user by the name given, and that name goes into messages.
    return str(Path.cwd() / Path(path).expanduser())
