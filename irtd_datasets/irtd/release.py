"""IR-TD as it lies on a user's disk: where its files are, and how a record becomes a pending row."""

from __future__ import annotations

import fnmatch
import re
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import (
    MANY_ROUNDS,
    ConversationRules,
    RecordError,
    parse_caption,
    parse_conversation,
    strip_prefix,
)
from irtd_datasets.errors import ReleaseError, ReleaseNotFoundError
from irtd_datasets.irtd.corrections import AMBIGUOUS, ISSUE, fits_several, target_centre
from irtd_datasets.irtd.spec import CONSTRUCTED, SPEC
from irtd_datasets.irtd.tasks import PARSERS, captioning, dialogue
from irtd_datasets.irtd.tasks.parsing import TaskReading
from irtd_datasets.releases.containers import Container, FolderContainer, common_folder, open_container
from irtd_datasets.releases.parts import find_parts
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.resolve import ImageResolver, Mount, has_folder, mounts_from_options, read_layouts
from irtd_datasets.rows.layout import first_problem, stopping
from irtd_datasets.rows.release import AnnotationFile, CutArchive, Release, ReleaseOptions
from irtd_datasets.sources import alignment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.annotations.json_records import Record, Source
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["IrtdRelease", "known_image_dirs", "open_release"]

ARCHIVE_PATTERN = "IR-TD-version*.tar.gz*"
_CAPTION_FOLDER = "IR-TD-version*"
_RULES = ConversationRules(images=(1, 1), turns=(2, 2))
_PROJECT = re.compile(r"\d+-(.+)")


def known_image_dirs() -> tuple[str, ...]:
    """Folders that the released records name, in the order of the tasks."""
    return tuple(dict.fromkeys(d for member in SPEC.members for d in member.part.image_dirs))


class IrtdRelease(Release):
    """An opened IR-TD release.

    ``root`` may be a folder that holds any of: ``json_sft.zip`` or a folder ``json_sft`` (or a clone of the authors'
    repository), the task files themselves, ``new_relative.json`` with the cut archive or its unpacked folder,
    ``reid_datasets.zip`` or its folder, ``benchmark`` (folder or zip), and the source sets under their project names,
    directly or under ``Data4MLLM``. It may also be ``json_sft.zip`` itself.

    Raises:
        ReleaseNotFoundError: There is nothing at ``root``.
    """

    spec = SPEC
    cut_archives = ("IR-TD-version250724.tar.gz",)
    give = "Give the folder that holds what the authors hand out (json_sft.zip, new_relative.json, ...)."

    # Annotation files

    def files(self, member: Member) -> list[AnnotationFile]:
        """The annotation file of a task; none when it is not there.

        Raises:
            ReleaseError: Two different copies of the file are there.
        """
        self._check_unknown(member.subset.name)
        found = None if member.part.file in self._left_out else self._find(member)
        entry = found[0].find(found[1]) if found else None
        if found is None or entry is None:
            return []
        return [AnnotationFile(member, f"{found[0].label}/{found[1]}", entry.size, entry.stamp)]

    def source(self, file: AnnotationFile) -> Source:
        """An annotation file, open for reading."""
        found = self._find(file.member)
        if found is None:
            raise ReleaseNotFoundError("the file is gone", where=file.where, remedy="Start again.")
        container, name = found
        return container.open(name)

    def unknown_files(self, subset: SubsetSpec) -> list[str]:
        """Annotation files beside the known ones that no task claims."""
        return sorted(self._unknown(subset.name))

    def _unknown(self, subset: str) -> dict[str, tuple[Container, str]]:
        """Container and name of the annotation files that no task claims, by what a user knows them as."""
        known = {part.file for part in SPEC.subset(subset).parts}
        unknown = {}
        for container, folder in self._places(subset):
            if has_folder(container, folder) and (folder or not isinstance(container, FolderContainer)):
                for name in container.folder(folder):
                    if name.endswith((".json", ".jsonl")) and name not in known:
                        inner = f"{folder}/{name}" if folder else name
                        unknown[f"{container.label}/{inner}"] = container, inner
        return unknown

    @cached_property
    def _left_out(self) -> frozenset[str]:
        known = dict.fromkeys(member.part.file for member in SPEC.members)
        others = (name for subset in SPEC.subsets for name in self._unknown(subset.name))
        return self.left_out(chain(known, others))

    @cached_property
    def _checked(self) -> set[str]:
        """Subsets whose unclaimed annotation files were looked into."""
        return set()

    def _check_unknown(self, subset: str) -> None:
        if subset not in self._checked:
            for where, (container, name) in self._unknown(subset).items():
                if where not in self._left_out:
                    problem = first_problem(lambda: container.open(name), where)  # noqa: B023 - called at once
                    if problem is not None:
                        raise stopping(problem, where)
            self._checked.add(subset)

    def _find(self, member: Member) -> tuple[Container, str] | None:
        name = member.part.file
        found = [
            (container, f"{folder}/{name}" if folder else name)
            for container, folder in self._places(member.subset.name)
            if container.find(f"{folder}/{name}" if folder else name) is not None
        ]
        if len(found) > 1 and len({container.read(member) for container, member in found}) > 1:
            places = " and ".join(f"{container.label}/{member}" for container, member in found)
            raise ReleaseError(
                f"there are two different copies of {name}: {places}",
                where=str(self.root),
                remedy="Keep the one that should be read.",
            )
        return found[0] if found else None

    def _places(self, subset: str) -> list[tuple[Container, str]]:
        if subset == "pretrain":
            places = [(self._folder, "")]
            if self._caption_folder is not None:
                places.append((self._folder, self._caption_folder))
            return places
        return self._instruct_places if subset == "instruct" else self._benchmark_places

    @cached_property
    def _folder(self) -> Container:
        return open_container(self.root)

    @cached_property
    def _instruct_places(self) -> list[tuple[Container, str]]:
        places = [(self._folder, ""), (self._folder, "json_sft")]
        places += self._archives(("json_sft.zip", "json_sft/json_sft.zip"), "json_sft")
        return places

    @cached_property
    def _benchmark_places(self) -> list[tuple[Container, str]]:
        return [(self._folder, "benchmark"), *self._archives(("benchmark.zip",), "benchmark")]

    def _archives(self, names: Sequence[str], inner: str) -> list[tuple[Container, str]]:
        if not self.root.is_dir():
            return []
        archives = [open_container(self.root / name) for name in names if (self.root / name).is_file()]
        return [(archive, folder) for archive in archives for folder in ("", inner)]

    # Records

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one record of a task file or of the caption file.

        Raises:
            RecordError: The record does not follow its task's form.
            UnsafePathError: Its image name leaves the release.
        """
        task = file.member.part.task
        subset = file.member.subset.name
        if task == "captioning":
            caption = parse_caption(record, index, name=file.where)
            image = _image_name(caption.image)
            facts = {"task": task, "modality": SPEC.modality, "source": _source(image), "image": image}
            return TaskReading(None, None).as_row(
                captioning.PROMPT, caption.text, id=f"irtd/{subset}/{image}", **facts
            )
        rules = MANY_ROUNDS if task in dialogue.DIALOGUES else _RULES
        conversation = parse_conversation(record, index, rules=rules, name=file.where)
        image = _image_name(conversation.images[0])
        number = conversation.id if conversation.id is not None else index
        facts = {
            "id": f"irtd/{subset}/{task}/{number}",
            "image": image,
            "task": task,
            "modality": SPEC.modality,
            "source": _source(image),
        }
        if task in dialogue.DIALOGUES:
            return dialogue.row_of(conversation.turns, **facts)
        question, answer = (turn.text for turn in conversation.turns)
        try:
            parsed = PARSERS[task](question, answer)
        except RecordError as error:
            raise RecordError(
                error.problem, code=error.code, where=f"{file.where} record {index} (id {conversation.id})"
            ) from None
        corrections, issues = parsed.corrections, parsed.issues
        if task == "grounding" and fits_several(image, parsed.regions[0].numbers[0]):
            issues = (*issues, AMBIGUOUS)
        if ISSUE in issues:
            centre = target_centre(image, parsed.regions[0].numbers[0])
            corrections += (centre,) if centre else ()
        return parsed.as_row(
            question,
            answer,
            issues=issues,
            corrections=corrections,
            **facts,
        )

    def image_name(self, released: str) -> str:
        """The name without the authors' own folder."""
        return _image_name(released)

    # Images

    def resolver(self, subset: SubsetSpec) -> ImageResolver:
        """Finds the images of a subset where the user has them."""
        return ImageResolver(
            self._mounts if subset.name != "pretrain" else self._caption_mounts, self._layouts
        )

    def image_folders(self, subset: SubsetSpec) -> Sequence[str]:
        """Folders that the records name; those of the captions are not known."""
        return () if subset.name == "pretrain" else known_image_dirs()

    def alignment(self, image: str) -> str:
        """What the table of sources declares of the pairs of the project that an image is of."""
        return alignment_of(_source(image) or image.partition("/")[0])

    def stream(self, subset: SubsetSpec) -> CutArchive | None:
        """The cut archive of the captions, unless its unpacked folder is there."""
        if subset.name != "pretrain" or self._caption_folder is not None or not self.root.is_dir():
            return None
        try:
            return CutArchive(find_parts(self.root, ARCHIVE_PATTERN), _below_root)
        except ReleaseNotFoundError:
            return None  # no part at all; a missing one among others is an ArchiveError

    @cached_property
    def _layouts(self) -> dict[str, Any]:
        return read_layouts("irtd_datasets.irtd")

    @cached_property
    def _mounts(self) -> tuple[Mount, ...]:
        folders = known_image_dirs()
        mounts = list(
            mounts_from_options(self.options.images, folders, self.options.place, layouts=self._layouts)
        )
        if self.root.is_dir():
            folder = self._folder
            mounts.append(Mount("", folder))
            mounts += [
                Mount("", folder, base) for base in ("Data4MLLM", "reid_datasets") if has_folder(folder, base)
            ]
            mosaics = self.root / "reid_datasets.zip"
            if mosaics.is_file():
                archive = open_container(mosaics)
                mounts += [Mount("", archive, base) for base in dict.fromkeys(("", common_folder(archive)))]
        return tuple(mounts)

    @cached_property
    def _caption_mounts(self) -> tuple[Mount, ...]:
        mounts = list(mounts_from_options(self.options.images, (), self.options.place))
        if self._caption_folder is not None:
            mounts.append(Mount("", self._folder, self._caption_folder))
        return tuple(mounts)

    @cached_property
    def _caption_folder(self) -> str | None:
        if not self.root.is_dir():
            return None
        for parent in ("", "Data4MLLM"):
            base = self.root / parent
            if not base.is_dir():
                continue
            names = sorted(
                entry.name for entry in base.iterdir() if fnmatch.fnmatch(entry.name, _CAPTION_FOLDER)
            )
            folders = [name for name in names if (base / name).is_dir()]
            if folders:
                return f"{parent}/{folders[-1]}".lstrip("/")
        return None


def open_release(options: ReleaseOptions) -> Release:
    """Open an IR-TD release, see `IrtdRelease`, or records that were constructed in its form."""
    if isinstance(options.place(options.root), Path) and (Path(options.root) / CONSTRUCTED).is_file():
        from irtd_datasets.irtd.constructed import ConstructedRelease

        return ConstructedRelease(options)
    return IrtdRelease(options)


@lru_cache(maxsize=64)  # each name is asked for twice, to order the records and to parse them
def _image_name(released: str) -> str:
    return safe_name(strip_prefix(released))


def _below_root(member: str) -> str:
    """Name of a member relative to the archive's root ``Data4MLLM/IR-TD-version*/``."""
    parts = member.split("/")
    for depth, part in enumerate(parts[:-1]):
        if fnmatch.fnmatch(part, _CAPTION_FOLDER):
            return "/".join(parts[depth + 1 :])
    return member


def _source(image: str) -> str | None:
    return _source_of(image.partition("/")[0])


@lru_cache(maxsize=64)
def _source_of(project: str) -> str | None:
    match = _PROJECT.fullmatch(project)
    return match[1] if match else None
