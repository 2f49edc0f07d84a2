"""Sorts the records of all annotation files by component, once, in bounded memory.

The names of the annotation files are known in part only, one file can hold several components (``total.json`` holds
all of them), and one record of DIOR-RSVG can hold rounds of two tasks. So each record is assigned by what it says: its
image's folder, the name of its file where that says nothing, and the form of its rounds where one folder serves two
tasks. The records of each part go into a JSON file of their own, as they are.

A file whose name says that it is merged is read for those components only that no other file has. The records of a file
that `irtd construct` made go where that says.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from irtd_datasets.annotations.conversation_keys import find_image, find_turns, read_turn
from irtd_datasets.annotations.json_records import read_records
from irtd_datasets.documents import read_json
from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError, UnsafePathError
from irtd_datasets.mmrs_1m.names import below_base, home_of, is_merged, read_image_name
from irtd_datasets.mmrs_1m.records import asked_task, place_task
from irtd_datasets.mmrs_1m.spec import COMPONENTS
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.rows.layout import is_foreign, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from irtd_datasets.annotations.json_records import Record, Repair, Source
    from irtd_datasets.mmrs_1m.names import ImageName
    from irtd_datasets.mmrs_1m.spec import Component

__all__ = [
    "FILE",
    "IMAGE",
    "INDEX",
    "MADE",
    "PROBLEM",
    "QUIRKS",
    "AnnotationSource",
    "Partition",
    "PartitionFile",
    "load_partition",
    "partition_records",
]

FILE, INDEX, IMAGE, PROBLEM, QUIRKS, MADE = "_file", "_index", "_image", "_problem", "_quirks", "_made"
"""Keys that a sorted record has besides its own: its file and its number there, its image's name, why it cannot be
used (code and message), the codes of defects that it shows, and source and modality where it was constructed."""

_HEAD = 50  # records looked at first to learn whose file it is
_INDEX_FILE = "index.json"


@dataclass(frozen=True, slots=True)
class AnnotationSource:
    """An annotation file.

    Attributes:
        name: Its name below ``json/``.
        where: What a user knows it as.
        open: Opens it for reading.
        part: The part of all of its records where they were constructed; empty for any other file.
        made: Source and modality of such records.
    """

    name: str
    where: str
    open: Callable[[], Source]
    part: str = ""
    made: tuple[str, str] = ("", "")


@dataclass(slots=True)
class PartitionFile:
    """The records of one part.

    Attributes:
        files: Annotation files that they come from.
        records: How many they are.
        size: Bytes of the file that holds them.
        repairs: Codes of what was mended in these files, with counts.
    """

    files: list[str] = field(default_factory=list)
    records: int = 0
    size: int = 0
    repairs: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Partition:
    """What was found in the annotation files.

    Attributes:
        folder: Where the sorted records lie.
        parts: The parts that have records, by name.
        problems: Files that could not be read to their end: message and the parts that it may concern.
        unknown: Files, and records of files, that belong to no component; one sentence each.
    """

    folder: Path
    parts: dict[str, PartitionFile] = field(default_factory=dict)
    problems: list[tuple[str, list[str]]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def path(self, part: str) -> Path:
        """The file with the records of a part."""
        return self.folder / f"{part}.json"


def load_partition(folder: Path) -> Partition | None:
    """What an earlier sorting left in a folder; None when there is none, or it is damaged."""
    try:
        values = read_json(folder / _INDEX_FILE, "")
        parts = {
            name: PartitionFile(
                part["files"].texts(), part["records"].count(), part["size"].count(), part["repairs"].counts()
            )
            for name, part in values["parts"].items()
        }
        problems = [(entry[0].text(), entry[1].texts()) for entry in values["problems"]]
        return Partition(folder, parts, problems, values["unknown"].texts())
    except (ReleaseNotFoundError, AnnotationError):
        return None


def partition_records(sources: Sequence[AnnotationSource], folder: Path) -> Partition:
    """Sort the records of annotation files into a folder, which appears when it is complete.

    Args:
        sources: The annotation files.
        folder: Where to put the sorted records. When another process has made it meanwhile, that one's is used.

    Returns:
        What was found.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-unfinished-", dir=folder.parent))
    try:
        with _Partitioner(unfinished) as partitioner:
            for source in _in_order(sources):
                partitioner.read(source)
        found = partitioner.found
        values = {
            "parts": {name: asdict(part) for name, part in found.parts.items()},
            "problems": found.problems,
            "unknown": found.unknown,
        }
        (unfinished / _INDEX_FILE).write_text(json.dumps(values), encoding="utf-8")
        if folder.exists() and load_partition(folder) is None:  # damaged
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another process was faster
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    loaded = load_partition(folder)
    assert loaded is not None  # written above, or by the process that was faster
    return loaded


def _in_order(sources: Sequence[AnnotationSource]) -> list[AnnotationSource]:
    """Files of single components first, then merged ones, those of less first: deeper folders merge less."""
    return sorted(sources, key=lambda one: (is_merged(one.name), -one.name.count("/"), one.name))


class _Partitioner:
    """Writes each record to the file of its part."""

    def __init__(self, folder: Path) -> None:
        self.found = Partition(folder)
        self._open: dict[str, BinaryIO] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Partitioner:  # noqa: PYI034 - Self is not in typing before Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.write(b"]\n")
        self._stack.close()

    def read(self, source: AnnotationSource) -> None:
        """Sort the records of one file."""
        _OneFile(self, source).read()

    def write(self, part: str, source: AnnotationSource, record: Record) -> None:
        """Append a record to a part."""
        if part not in self._open:
            self._open[part] = self._stack.enter_context(self.found.path(part).open("wb"))
            self.found.parts[part] = PartitionFile()
        entry = self.found.parts[part]
        if not entry.files or entry.files[-1] != source.where:
            entry.files.append(source.where)
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._open[part].write((b"," if entry.records else b"[") + line)
        entry.records += 1
        entry.size += len(line)


class _OneFile:
    """The reading of one annotation file."""

    def __init__(self, partitioner: _Partitioner, source: AnnotationSource) -> None:
        self._partitioner = partitioner
        self._source = source
        self._home = () if source.part else home_of(source.name)
        merged = not source.part and is_merged(source.name)
        self._covered = frozenset(partitioner.found.parts) if merged else frozenset[str]()
        self._bad: list[tuple[int, AnnotationError]] = []
        self._damaged: AnnotationError | None = None
        self._lost: Counter[str] = Counter()
        self._assigned: Counter[str] = Counter()
        self._repeated = 0

    def read(self) -> None:
        """Read to the end; what stops that is a problem of the parts that the file may concern."""
        opened = self._source.open()
        with contextlib.closing(opened) if isinstance(opened, io.IOBase) else contextlib.nullcontext():
            self._read(opened)

    def _read(self, opened: Source) -> None:
        reader = read_records(
            opened,
            name=self._source.where,
            on_bad=lambda index, error: self._bad.append((index, error)),
        )
        try:
            self._sort(iter(reader))
            if self._damaged is not None and not reader.count:
                raise self._damaged
        except IrtdDatasetsError as error:
            if not self._assigned and not self._source.part and is_foreign(error, self._source.open):
                self._note(f"no annotation file: {error.problem.splitlines()[0]}")
                return
            own = {self._source.part} if self._source.part else {one.part for one in self._home}
            concerned = sorted(own | set(self._assigned))
            everything = [one.part for one in COMPONENTS]  # nobody knows what the file holds
            problem = str(stopping(error, self._source.where))
            self._partitioner.found.problems.append((problem, concerned or everything))
            return
        self._note_repairs(reader.repairs)
        self._note_lost()

    def _sort(self, records: Iterator[tuple[int, Record]]) -> None:
        head = []
        for entry in records:
            head.append(entry)
            if len(head) == _HEAD:
                break
        if not self._home and not self._source.part:
            self._home = self._guess_home(record for _, record in head)
        for numbered in (head, records):
            for index, record in numbered:
                self._flush_bad()
                self._assign(index, record)
        self._flush_bad()

    def _guess_home(self, records: Iterable[Record]) -> tuple[Component, ...]:
        """The only component whose images the first records name."""
        found: set[tuple[Component, ...]] = set()
        for record in records:
            with contextlib.suppress(UnsafePathError):
                image = _image(record)
                if image is not None and image.components:
                    found.add(image.components)
        return found.pop() if len(found) == 1 else ()

    def _assign(self, index: int, record: Record) -> None:
        record = {**record, FILE: self._source.name, INDEX: index}
        try:
            image = _image(record)
        except UnsafePathError as error:
            self._write_bad(record, "unsafe-path", error.problem)
            return
        if image is None:
            self._write_bad(record)
            return
        if self._source.part:
            record[IMAGE], record[MADE] = below_base(safe_name(find_image(record))), self._source.made
            self._write(self._source.part, record)
            return
        components = self._components(image)
        task = asked_task(_first_question(record))
        if not directory_task(self._source.name) and task in _OTHER_TASKS.get(_tasks(components), ()):
            # No folder of annotations tells whose question this is, and its images' folder is of another task.
            self._lose(f"{task} about images of {image.directory or image.name}")
            return
        if not components:
            self._lose(image.directory or image.name.rpartition("/")[0] or image.name)
            return
        name = image.name
        if not image.components and len(self._home[0].directories) == 1:
            # A name without its folder, in a file that tells whose it is.
            name = f"{self._home[0].directories[0]}/{name}"
        record[IMAGE] = name
        if image.by_alias:
            record[QUIRKS] = ["folder-by-alias"]
        if len(components) == 1:
            self._write(components[0].part, record)
        else:
            self._divide(components, record)

    def _components(self, image: ImageName) -> tuple[Component, ...]:
        """Components that a record may belong to: by its image, unless its file is of another task."""
        by_image = image.components
        if not by_image:
            return self._home
        task_folder = directory_task(self._source.name)
        if task_folder in ("", directory_task(by_image[0].directories[0])):
            return by_image
        # A file of questions about the images of another component, such as VQA/sydney_vqa.json.
        return self._home

    def _divide(self, components: Sequence[Component], record: Record) -> None:
        """Give each round of a record to the component whose task it is."""
        by_task = {one.task: one.part for one in components}
        key, turns = find_turns(record)
        rounds = _rounds(turns)
        tasks = [_task_of(one) for one in rounds]
        known = [task for task in tasks if task in by_task]
        usual = Counter(known).most_common(1)[0][0] if known else components[0].task
        parts: dict[str, list[object]] = {}
        for task, one in zip(tasks, rounds, strict=True):
            parts.setdefault(by_task.get(task, by_task[usual]), []).extend(one)
        for part, own in parts.items():
            self._write(part, {**record, key: own} if len(parts) > 1 else record)
        if not parts:
            self._write(components[0].part, record)

    def _write(self, part: str, record: Record) -> None:
        if part in self._covered:
            self._repeated += 1
            return
        self._assigned[part] += 1
        self._partitioner.write(part, self._source, record)

    def _flush_bad(self) -> None:
        for index, error in self._bad:
            code = str(getattr(error, "code", "record-unreadable"))
            if code != "json-record-type":
                self._damaged = self._damaged or error
            self._write_bad({FILE: self._source.name, INDEX: index}, code, error.problem)
        self._bad.clear()

    def _write_bad(self, record: Record, code: str = "", message: str = "") -> None:
        """Hand a record that cannot be used to the part that its file belongs to, which counts it."""
        if code:
            record = {FILE: record[FILE], INDEX: record[INDEX], PROBLEM: [code, message]}
        part = self._source.part or next((one.part for one in self._home), "")
        if part:
            self._write(part, record if not self._source.part else {**record, MADE: self._source.made})
        else:
            self._lose("(no usable image name)")

    def _lose(self, folder: str) -> None:
        self._lost[folder] += 1

    def _note(self, text: str) -> None:
        self._partitioner.found.unknown.append(f"{self._source.where}: {text}")

    def _note_lost(self) -> None:
        if self._lost:
            shown = ", ".join(f"{folder} ({count:,})" for folder, count in self._lost.most_common(5))
            more = f" and {len(self._lost) - 5} other folders" if len(self._lost) > 5 else ""
            self._note(f"records that belong to no component: {sum(self._lost.values()):,}, of {shown}{more}")
        if self._repeated:
            self._note(
                f"records that repeat components with files of their own, not read twice: {self._repeated:,}"
            )

    def _note_repairs(self, repairs: Sequence[Repair]) -> None:
        """Tell each part that the file feeds what was mended in it."""
        for part in self._assigned:
            own = self._partitioner.found.parts[part].repairs
            for repair in repairs:
                own[repair.code] = own.get(repair.code, 0) + repair.count


def directory_task(name: str) -> str:
    """The task folder of a name below ``data/`` or ``data/json/``; empty when it has none.

    Example:
        >>> directory_task("VQA/sydney_vqa.json"), directory_task("total.json"), directory_task("IR/x.json")
        ('VQA', '', '')
    """
    first = name.partition("/")[0].lower()
    return next((task for task in _TASK_FOLDERS if task.lower() == first), "")


_PROMPTED = ("captioning", "classification", "detection", "vqa")
_OTHER_TASKS: dict[tuple[str, ...], tuple[str, ...]] = {
    (task,): tuple(other for other in _PROMPTED if other != task) for task in _PROMPTED
}
"""Tasks with a prompt of their own, by the only task of a component: such a question is not that component's."""


def _tasks(components: Sequence[Component]) -> tuple[str, ...]:
    return tuple(one.task for one in components)


def _first_question(record: Record) -> str:
    turns = find_turns(record)[1]
    return read_turn(turns[0])[1] if turns else ""


_TASK_FOLDERS = tuple(dict.fromkeys(one.directories[0].partition("/")[0] for one in COMPONENTS))


def _image(record: Record) -> ImageName | None:
    name = find_image(record)
    return read_image_name(name) if name else None


def _rounds(turns: Sequence[object]) -> list[list[object]]:
    rounds: list[list[object]] = []
    for turn in turns:
        if read_turn(turn)[0] == "user" or not rounds:
            rounds.append([])
        rounds[-1].append(turn)
    return rounds


def _task_of(turns: Sequence[object]) -> str:
    texts = [read_turn(turn)[1] for turn in turns]
    return place_task(texts[0] if texts else "", " ".join(texts[1:]))
