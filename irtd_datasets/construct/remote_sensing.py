"""Records in the style of a dataset from source sets, in a folder that our readers read like a release."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert, format_coordinate
from irtd_datasets.catalog import module_of, spec
from irtd_datasets.construct.descriptions import describe
from irtd_datasets.documents import parse_json, write_text
from irtd_datasets.errors import BuildError, IrtdDatasetsError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.rows.generated import MARKER, PARTNERS, VISIBLE
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.sources import TABLE, find_sources, merge_tables, open_source, read_table
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import ModuleType

    from irtd_datasets.annotations.labelled import LabelledImage
    from irtd_datasets.construct.benchmark import Captioned
    from irtd_datasets.construct.talks import Asker
    from irtd_datasets.rows.generated import GeneratedRecord
    from irtd_datasets.sources import Source, SourceRow

__all__ = ["Extension", "ExtensionPart", "extend"]

_FILES = ".constructed-files"
"""Names of the files that were put into the folder, each noted before: what another run has left is taken away."""


_PASSING = frozenset({"captions", "refused"})
"""What is said of a run, and not of the folder that it makes."""


@dataclass(frozen=True, slots=True)
class ExtensionPart:
    """One file of records.

    Attributes:
        source: The source.
        task: The task.
        modality: Of the source's images.
        file: Its name below the folder.
        records: Records in it.
        rounds: Questions with an answer in it.
        origin: Who wrote its texts: ``rule``, or ``model:NAME``.
    """

    source: str
    task: str
    modality: str
    file: str
    records: int
    rounds: int
    origin: str = "rule"


@dataclass(slots=True)
class Extension:
    """What was made.

    Attributes:
        dataset: Whose style it has.
        folder: Where it lies.
        split: ``train`` or ``test`` where only such images were asked for, else empty.
        parts: Its files.
        problems: Sources that gave nothing, and what was wrong with files, with the reason.
        images: Images that were put there.
        captions: What asking a language model came to; None where none was asked.
        refused: Its texts that were not accepted, by task and reason.
    """

    dataset: str
    folder: Path
    split: str = ""
    parts: list[ExtensionPart] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    images: int = 0
    captions: Captioned | None = None
    refused: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Records of all parts."""
        return sum(part.records for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "folder": str(self.folder),
            "split": self.split,
            "records": self.records,
            "images": self.images,
            "parts": [asdict(part) for part in self.parts],
            "problems": self.problems,
            "captions": self.captions.as_dict() if self.captions else None,
            "refused": self.refused,
        }


@dataclass(frozen=True)
class Selection:
    """What of the sources is taken.

    Attributes:
        tasks: Tasks of the dataset; all that the sources can give by default.
        limit: Most images of each source and task, the best by a keyed hash.
        seed: Of that hash.
        split: ``test`` takes the images that a source keeps for testing, and no others; ``train`` all others; None
            what the dataset itself has.
    """

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = 0
    split: str | None = None

    def takes(self, split: str | None, *, with_test: bool) -> bool:
        """Whether an image of a split is taken.

        Args:
            split: Of the image; None where its source does not say.
            with_test: Whether the dataset itself has images for testing.
        """
        if self.split is None:
            return with_test or split != "test"
        return (split == "test") == (self.split == "test")


def extend(
    dataset: str,
    sources: Path,
    out: Path,
    selection: Selection = Selection(),
    *,
    table: Path | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
    asker: Asker | None = None,
) -> Extension:
    """Write records in the style of a remote sensing dataset, with their images, as a folder that a build reads.

    Images that a source keeps for testing are taken where the selection, or the dataset, says so. They are linked where
    the file system can do that, and copied where not; those that need a transform are written anew.

    Args:
        dataset: A dataset with a module ``generation``; see `irtd_datasets.rows.generated`.
        sources: Folder that holds the source sets.
        out: The folder to make, or one made by this before.
        selection: Which tasks, and how much of each.
        table: A table of further sources.
        progress: Told what goes on.
        dry_run: Count, and write nothing.
        asker: Asks a language model for descriptions of single objects and of the image, and for talk about it.

    Raises:
        UnknownNameError: Labels make no records of the dataset, or it has no such task, or none that a model writes.
        EndpointError: The language model refuses.
        ReleaseNotFoundError: No source is there that can give anything.
        BuildError: The folder holds something else.
    """
    progress = progress or Progress()
    style = _style(dataset, selection.tasks, described=asker is not None)
    earlier = set() if dry_run else _prepare(out)
    result = Extension(dataset, out, selection.split or "")
    writer = Writer(style, out, result, dry_run=dry_run)
    rows = merge_tables(read_table(table)) if table else TABLE
    opened: list[Source] = []
    asked = tuple(selection.tasks or style.TASKS)
    for place in find_sources(sources, rows):
        if not place.readable:
            if place.row.readable:
                result.problems[place.row.name] = "no layout of its row in the table of sources fits"
            continue
        progress.stage(f"reading {place.row.name}")
        given = tuple(task for task in asked if _can_give(place.row, task))
        described = asker is not None and place.row.modality == spec(dataset).modality
        if not (given or described):
            result.problems[place.row.name] = _why_idle(place.row, dataset, asked)
            continue
        source = open_source(place.row.name, place.path, table=rows)
        if described:
            opened.append(source)
        if given:
            writer.write(source, given, selection)
    if asker is not None:
        describe(writer, opened, selection, asker)
    if not result.parts:
        told = "; ".join(f"{name}: {why}" for name, why in result.problems.items())
        raise ReleaseNotFoundError(
            "no source here can give anything" + (f" ({told})" if told else ""),
            where=str(sources),
            remedy="`irtd sources --have DIR` tells what is recognised.",
        )
    if not dry_run:
        writer.save_partners()
        _remove(out, earlier - writer.made)
        write_text(out / _FILES, "".join(f"{json.dumps(name)}\n" for name in sorted(writer.made)))
        marker = {name: value for name, value in result.as_dict().items() if name not in _PASSING}
        write_text(out / MARKER, json.dumps(marker | {"folder": ""}, indent=1))
    return result


def _style(dataset: str, tasks: tuple[str, ...], *, described: bool) -> ModuleType:
    style = module_of(dataset, "generation")
    if style is None:
        raise UnknownNameError(
            f"{dataset} does not declare how labels make records of it",
            remedy="Its module `generation` would.",
        )
    if described and not hasattr(style, "DESCRIBED"):
        raise UnknownNameError(
            f"no texts of {dataset} are written by a language model", remedy="Leave --describe out."
        )
    for task in tasks:
        if task not in style.TASKS:
            raise UnknownNameError(
                f"{dataset} has no task {task!r} that labels can give",
                remedy=f"Use {', '.join(style.TASKS)}.",
            )
    return style


def _why_idle(row: SourceRow, dataset: str, tasks: Sequence[str]) -> str:
    told = ", ".join(row.tasks) or "nothing: its row has nothing in the column tasks"
    return f"it feeds no task of {dataset} that is asked for ({', '.join(tasks)}), but {told}"


def _can_give(row: SourceRow, task: str) -> bool:
    """Whether a source has what a task needs; "all objects" takes a set from above that labels all of its classes."""
    if task == "detection":
        return task in row.tasks or ("aerial_counting" in row.tasks and bool(row.exhaustive))
    return task in row.tasks


def _prepare(out: Path) -> set[str]:
    """Make the folder ready; returns the names of the files that earlier runs have put there."""
    if out.exists() and not out.is_dir():
        raise BuildError("this is a file", where=str(out), remedy="Give --out a new or empty folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise BuildError(
            "the folder is not empty and was not made by this",
            where=str(out),
            remedy="Give --out a new folder.",
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("{}", encoding="utf-8")
    names = set()
    if (out / _FILES).is_file():
        for line in (out / _FILES).read_bytes().splitlines():
            with contextlib.suppress(
                IrtdDatasetsError
            ):  # a kill may have cut the last one; its file is not there
                names.add(safe_name(parse_json(line, _FILES, "").text()))
    return names


def _remove(out: Path, names: Iterable[str]) -> None:
    """Take files away, and folders that become empty."""
    for name in names:
        path = out / name
        for leftover in (path, path.with_name(f".{path.name}.tmp")):
            leftover.unlink(missing_ok=True)
        for parent in path.relative_to(out).parents:
            with contextlib.suppress(OSError):
                (out / parent).rmdir()  # only where nothing else is in it


class Writer:
    """Writes the records and images of one source after another.

    Attributes:
        style: The dataset's module ``generation``.
        result: What was made so far.
        dry_run: Whether nothing is written.
        made: Names of the files that were put there.
        partners: For each image with a visible partner the name of that, and what is declared of the pair.
    """

    def __init__(self, style: ModuleType, out: Path, result: Extension, *, dry_run: bool) -> None:
        self.style = style
        self._out = out
        self.result = result
        self.dry_run = dry_run
        self.made: set[str] = set()
        self.partners: dict[str, tuple[str, str]] = {}

    def write(self, source: Source, tasks: tuple[str, ...], selection: Selection) -> None:
        """Write all tasks of a source."""
        given = {task: [] for task in tasks}  # type: dict[str, list[tuple[bytes, str, LabelledImage, Any]]]
        categories = (
            sorted({image.scene for image in source.images() if image.scene})
            if ("classification" in tasks)
            else []
        )
        taken = left_out = 0
        for image in source.images():
            if not selection.takes(image.split, with_test=self.style.USES_TEST):
                left_out += 1
                continue
            taken += 1
            size = self.size(source, image)
            image, partial = self._written(source, image, size)  # noqa: PLW2901 - narrowed
            for task in tasks:
                if task == "detection" and image.unclear:
                    continue  # all objects are asked for, and the source leaves some open
                found = self.style.make_rounds(task, image, size, categories, partial)
                for number, rounds in enumerate(found):
                    key = draw_key(selection.seed, source.name, image.image)
                    given[task].append((key, f"{image.image}#{number}", image, rounds))
        for task, entries in given.items():
            if selection.limit is not None:
                entries = sorted(entries, key=lambda entry: entry[:2])[: selection.limit]  # noqa: PLW2901 - narrowed
                entries.sort(key=lambda entry: entry[1])
            by_file: dict[str, list[dict[str, Any]]] = {}
            for _, _, image, rounds in entries:
                place: GeneratedRecord = self.style.place(source.name, task, image, rounds)
                self.put_image(source, image, place.image)
                by_file.setdefault(place.file, []).append(self.record(place, rounds))
            for name, records in sorted(by_file.items()):
                self.save(source, task, name, records)
        part = selection.split or ("train" if left_out else "")
        self._tell(
            source, f"none of its {left_out:,} images is of its {part} part" if left_out > taken == 0 else ""
        )

    def _written(
        self, source: Source, image: LabelledImage, size: tuple[int, int] | None
    ) -> tuple[LabelledImage, frozenset[str]]:
        """An image without the objects whose boxes the decimals of the text make empty, and their classes."""
        if size is None:
            return image, frozenset()
        lost = [one for one in image.objects if one.box and _is_empty(one.box, size, self.style.DECIMALS)]
        if not lost:
            return image, frozenset()
        source.problems.add("box-too-small", image.image, str(lost[0].box), len(lost))
        kept = tuple(one for one in image.objects if one not in lost)
        return replace(image, objects=kept), frozenset(one.label for one in lost)

    def _tell(self, source: Source, why: str) -> None:
        """Keep what was wrong with a source's files, and whether it gave anything."""
        counts = ", ".join(f"{code} {count:,}" for code, count in source.problems.counts.items())
        told = [why or "its labels give no record"] * all(
            part.source != source.name for part in self.result.parts
        )
        if counts:
            told.append(f"in its files: {counts}")
        if told:
            self.result.problems[source.name] = "; ".join(told)

    @staticmethod
    def record(place: GeneratedRecord, rounds: list[tuple[str, str]]) -> dict[str, Any]:
        """A record with its rounds, as it stands in its file."""
        record = {"image": place.image, "conversations": _turns(rounds, place.token)}
        return {"id": place.id, **record} if place.id else record

    @staticmethod
    def size(source: Source, image: LabelledImage) -> tuple[int, int] | None:
        """Width and height of an upright image with objects; None where nobody has said, or nobody asks."""
        if image.width and image.height:
            return image.width, image.height
        if not any(one.box or one.polygon for one in image.objects):
            return None
        known = source.size(image.image)
        return None if known is None else known[:2]

    def save(
        self, source: Source, task: str, name: str, records: list[dict[str, Any]], origin: str = "rule"
    ) -> None:
        """Write a file of records, and tell of it."""
        rounds = sum(len(record["conversations"]) // 2 for record in records)
        if not self.dry_run:
            path = self._out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._note(name)
            write_text(path, json.dumps(records, indent=1, ensure_ascii=False))
        self.result.parts.append(
            ExtensionPart(source.name, task, source.row.modality, name, len(records), rounds, origin)
        )

    def _note(self, name: str) -> None:
        self.made.add(name)
        with (self._out / _FILES).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(name)}\n")

    def put_image(self, source: Source, image: LabelledImage, name: str) -> None:
        """Put an image of a source there, unless it is."""
        target = self._out / name
        if self.dry_run or name in self.made:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        self.result.images += 1
        self._put(source, image.image, target, lambda: source.image_bytes(image))
        if image.visible is None:
            return
        partner = f"{name.rpartition('.')[0]}.{image.visible.rpartition('.')[2]}"
        with contextlib.suppress(IrtdDatasetsError, OSError):  # a partner that cannot be read is none
            target = self._out / VISIBLE / partner
            target.parent.mkdir(parents=True, exist_ok=True)
            self._put(source, image.visible, target, lambda: source.visible_bytes(image) or b"")
            self.partners[name] = partner, source.row.alignment or "unknown"

    def save_partners(self) -> None:
        """Write down whose partners lie there; nothing where none do."""
        if self.partners:
            write_text(self._out / PARTNERS, json.dumps(self.partners, indent=1))
        else:
            (self._out / PARTNERS).unlink(missing_ok=True)

    def _put(self, source: Source, name: str, target: Path, read: Callable[[], bytes]) -> None:
        """Link or write a file of a source."""
        self._note(target.relative_to(self._out).as_posix())
        if not source.row.transform and source.container.path.is_dir():
            try:
                # What an earlier run has put there may be another image.
                target.unlink(missing_ok=True)
                os.link(os.path.realpath(source.path(name)), target)
            except OSError:
                pass  # another file system, or one without links
            else:
                return
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(read())
        temporary.replace(target)


def _is_empty(box: Sequence[float], size: tuple[int, int], decimals: int) -> bool:
    numbers = convert([box], Frame.PIXEL, Frame.SQUARE_UNIT, *size)[0]
    x_min, y_min, x_max, y_max = (
        float(format_coordinate(float(value), decimals, cut=False)) for value in numbers
    )
    return x_min >= x_max or y_min >= y_max


def _turns(rounds: list[tuple[str, str]], first: str) -> list[dict[str, str]]:
    turns = []
    for number, (question, answer) in enumerate(rounds):
        turns.append({"from": "human", "value": (first if number == 0 else "") + question})
        turns.append({"from": "gpt", "value": answer})
    return turns
