"""Constructed subsets of IR-TD: a folder in the form of a release, made by rule from source sets, and how it is read.

::

    constructed.json            which sources lie where, the rules, the seed, a note for each part
    benchmark/Detection.json    records in the form of json_sft, each with what a source set knows beyond it
    pretrain/RuleCaptions.json
    pretrain/ModelCaptions.json

Records carry a key ``constructed`` beside those of the release: the source, the size of the image, for a mosaic its
crops, for Security the classes that are labelled exhaustively, for a caption by a model which image it describes.
Images stay where they are; mosaics are drawn when they are read.
"""

from __future__ import annotations

import json
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import MANY_ROUNDS, ONE_ROUND, RecordError, parse_conversation
from irtd_datasets.annotations.labelled import LabelledImage
from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, ReleaseError, ReleaseNotFoundError
from irtd_datasets.images.files import PIXEL_TRANSFORMS
from irtd_datasets.images.mosaic import draw_mosaic
from irtd_datasets.irtd.spec import CONSTRUCTED, SPEC
from irtd_datasets.irtd.tasks import PARSERS, counting, dialogue, grounding, location, relationship, security
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.places import file_identity
from irtd_datasets.releases.resolve import ImageResolver, Located
from irtd_datasets.rows.partners import Partner, Partners
from irtd_datasets.rows.pending import Correction
from irtd_datasets.rows.release import AnnotationFile, Release, ReleaseOptions
from irtd_datasets.sources import TABLE, Source, SourceOptions, get, merge_tables, open_source, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from irtd_datasets.annotations.json_records import Record
    from irtd_datasets.irtd.tasks.parsing import Parser
    from irtd_datasets.rows.pending import PendingRow
    from irtd_datasets.spec import Member, SubsetSpec

__all__ = ["KEY", "PAIRS", "ConstructedRelease", "PartnersOfSources", "SourceImages", "project_of"]

KEY = "constructed"
"""Key of a record with what the release does not have."""

PAIRS = "pairs.json"
"""Name of the file, beside the records of a subset, that has the partner and the registration of each image."""


def project_of(source: str, project_dir: str) -> str:
    """Folder that images of a source are named by: as the release names them where it does."""
    return project_dir or source


class ConstructedRelease(Release):
    """Constructed records, read like a release of IR-TD.

    Raises:
        ReleaseError: Its description cannot be read.
    """

    spec = SPEC

    def __init__(self, options: ReleaseOptions) -> None:
        super().__init__(options)
        self._folder = Path(options.root)
        path = self._folder / CONSTRUCTED
        try:
            values = read_json(path, "Construct it again.")
            dict(values["sources"].items())
            self.description: dict[str, Any] = values.value
        except (ReleaseNotFoundError, AnnotationError) as error:
            raise ReleaseError(error.problem, where=str(path), remedy="Construct it again.") from error

    def files(self, member: Member) -> list[AnnotationFile]:
        """The records of a part; none when they were not constructed."""
        path = self.root / member.subset.name / member.part.file
        if not path.is_file():
            return []
        note = self.description.get("notes", {}).get("/".join(member.key), "")
        return [AnnotationFile(member, f"constructed/{member.part.file}", *file_identity(path), note=note)]

    def source(self, file: AnnotationFile) -> Path:
        """Path of the records of a part."""
        return self._folder / file.member.subset.name / file.member.part.file

    def pending(self, file: AnnotationFile, record: Record, index: int) -> PendingRow:
        """Parse one constructed record.

        Raises:
            RecordError: The record does not follow its task's form.
            UnsafePathError: Its image name leaves the release.
        """
        member = file.member
        talk = member.part.task in dialogue.DIALOGUES
        conversation = parse_conversation(
            record, index, rules=MANY_ROUNDS if talk else ONE_ROUND, name=file.where
        )
        facts = record.get(KEY)
        if not isinstance(facts, dict):
            raise RecordError(f"it is no constructed record: it lacks {KEY!r}", code="not-constructed")
        common = {
            "id": "/".join((SPEC.name, *member.key, KEY, str(conversation.id))),
            "image": safe_name(conversation.images[0]),
            "task": member.part.task,
            "modality": str(facts.get("modality", SPEC.modality)),
            "source": str(facts["source"]),
            "origin": str(facts.get("origin", "rule")),
        }
        if talk:
            return dialogue.row_of(conversation.turns, **common)
        question, answer = (turn.text for turn in conversation.turns)
        parsed = _parser(member.part.task, facts)(question, answer)
        unsure = ("identity-unverified",) if member.part.task == "reid" else ()
        corrections = parsed.corrections
        if described := facts.get("caption_of"):
            unsure = (f"caption-from-{described}",)
            if sent := facts.get("sent"):
                corrections += (Correction(unsure[0], "record.sent_sha256", str(sent)),)
        return parsed.as_row(
            question,
            answer,
            issues=(*parsed.issues, *unsure),
            corrections=corrections,
            **common,
        )

    def resolver(self, subset: SubsetSpec) -> SourceImages:
        """Finds images in the source sets that they were taken from."""
        return SourceImages.of(self._open_sources, self._mosaics(subset))

    def partners(self, subset: SubsetSpec) -> Partners | None:
        """Finds the partners in the source sets, as they were registered when the records were made."""
        path = self._folder / subset.name / PAIRS
        return PartnersOfSources(self._open_sources, path) if path.is_file() else None

    def facts(self, subset: SubsetSpec) -> list[tuple[Any, ...]]:
        """Sizes and times of the records, and where the sources lie."""
        return [("sources", *sorted(self.description["sources"].items())), *super().facts(subset)]

    @cached_property
    def _open_sources(self) -> dict[str, Source]:
        table = self.description.get("table")
        rows = merge_tables(read_table(table)) if table else TABLE
        opened = {}
        for name, folder in self.description["sources"].items():
            row = get(name, rows)
            opened[project_of(row.name, row.project_dir)] = open_source(
                name, folder, table=rows, options=SourceOptions(check_images=False)
            )
        return opened

    def _mosaics(self, subset: SubsetSpec) -> dict[str, tuple[str, ...]]:
        path = self._folder / subset.name / "ReID.json"
        if not path.is_file():
            return {}
        records = json.loads(path.read_text(encoding="utf-8"))
        return {record["image"][0]: tuple(record[KEY]["members"]) for record in records}


def _parser(task: str, facts: Mapping[str, Any]) -> Parser:
    """The task's parser, told what the source set knows."""
    size = tuple(facts.get("size") or ())
    if task == "grounding":
        return partial(grounding.read, size=size, released=facts.get("left_of") == "reference")
    if task == "location":
        return partial(location.read, size=size)
    if task == "relationship":
        return partial(relationship.read, released=facts.get("relationship") == "pair")
    if task == "security":
        return partial(security.read, labelled=frozenset(facts.get("exhaustive", ())))
    return counting.read if task == "aerial_counting" else PARSERS[task]


class SourceImages(ImageResolver):
    """Finds images in opened source sets; mosaics are drawn from theirs."""

    def __init__(self) -> None:
        super().__init__(())
        self._sources: dict[str, Source] = {}
        self._order: list[str] = []
        self._members: dict[str, tuple[str, ...]] = {}

    @classmethod
    def of(cls, sources: Mapping[str, Source], mosaics: Mapping[str, tuple[str, ...]]) -> SourceImages:
        """Make one.

        Args:
            sources: Opened sources by the folder that images are named by.
            mosaics: For each mosaic the images that it is put together from, below the folder of their source.
        """
        made = cls()
        made._sources = dict(sources)
        made._order = sorted(sources)
        made._members = dict(mosaics)
        return made

    def resolve(self, name: str) -> Located | None:
        """Find an image, or the crops of a mosaic; None when one is gone."""
        project, _, inner = name.partition("/")
        source = self._sources.get(project)
        if source is None:
            return None
        members = self._members.get(name, (inner,))
        entries = [source.container.find(f"{source.base}/{one}" if source.base else one) for one in members]
        if any(entry is None for entry in entries):
            return None
        size = sum(entry.size for entry in entries if entry is not None)
        stamp = max(entry.stamp for entry in entries if entry is not None)
        position = self._order.index(project)
        if name in self._members:
            return Located(position, name, size, stamp, f"mosaic of {', '.join(members)}")
        transform = source.row.transform
        if transform in PIXEL_TRANSFORMS:
            return Located(position, inner, size, stamp, "", transform)
        return Located(position, inner, size, stamp, f"{transform} of the file" if transform else "")

    def read(self, located: Located) -> bytes:
        """Bytes of an image, or of a mosaic drawn anew."""
        source = self._sources[self._order[located.mount]]
        members = self._members.get(located.member)
        if members is not None:
            return draw_mosaic([source.read(one) for one in members], members)
        if source.row.transform and not located.transform:
            return source.image_bytes(LabelledImage(source.name, located.member))
        return source.read(located.member)

    def read_into(self, located: Located, room: Callable[[int], memoryview]) -> bytes | memoryview:
        """Bytes of an image, or of a mosaic drawn anew; they are made here, so none of the room is taken."""
        del room
        return self.read(located)


class PartnersOfSources(Partners):
    """Finds the visible partners of constructed records in the source sets that they were taken from.

    Args:
        sources: Opened sources by the folder that images are named by.
        pairs: File with the visible name and the registration of each image.
    """

    def __init__(self, sources: Mapping[str, Source], pairs: Path) -> None:
        super().__init__(ImageResolver(()), lambda _: "unknown")
        self._sources = sources
        self._order = sorted(sources)
        self._path = pairs

    @cached_property
    def _pairs(self) -> dict[str, Any]:
        values = read_json(self._path, "Construct it again.").value
        return values if isinstance(values, dict) else {}

    def find(self, image: str) -> Partner | None:
        """The partner of an image with its registration; None where it has none, or the file is gone."""
        project = image.partition("/")[0]
        known, source = self._pairs.get(image), self._sources.get(project)
        if known is None or source is None or known[0] is None:
            return None
        name = str(known[0])
        entry = source.container.find(f"{source.base}/{name}" if source.base else name)
        if entry is None:
            return None
        located = Located(self._order.index(project), name, entry.size, entry.stamp)
        return Partner(located, source.row.alignment or "unknown", json.dumps(known[1]))

    def read_into(self, partner: Partner, room: Callable[[int], memoryview]) -> bytes | memoryview:
        """The bytes of a partner, a channel or a part of its file where its source says so."""
        del room
        source = self._sources[self._order[partner.located.mount]]
        return source.visible_bytes(LabelledImage(source.name, "", visible=partner.located.member)) or b""
