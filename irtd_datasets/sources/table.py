"""The table of sources: one row for each, from ``sources.csv`` and from tables of users in the same columns."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from irtd_datasets.errors import AnnotationError, IrtdDatasetsError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.images.pairs.partner import ALIGNMENTS
from irtd_datasets.sources.patterns import Pattern
from irtd_datasets.spec import read_table as read_csv

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

__all__ = [
    "COLUMNS",
    "TABLE",
    "Layout",
    "SourceRow",
    "Splits",
    "alignment_of",
    "get",
    "merge_tables",
    "read_table",
]

COLUMNS: dict[str, str] = {
    "index": "Number in IR-TD's list of 63; empty for a source that is not in it.",
    "name": "Name, as IR-TD writes it where it has one. Empty rows of the list have none.",
    "status": "`named`, `unnamed` (withheld web sets), `missing` (a number that the list leaves out), or `other`.",
    "project_dir": "Folder under which IR-TD files it, `<index>-<Name>`.",
    "also_called": "Other names of its folder, separated by commas; letters, digits and case alone are compared.",
    "what": "What it is.",
    "band": "Part of the spectrum.",
    "modality": "`infrared`, `optical` or `sar`.",
    "reader": "Reader of its labels, with options as `name=value`; `unknown` where nobody knows the format.",
    "infrared": "Pattern of its images (of the infrared ones where there are pairs).",
    "visible": "Pattern of the paired visible images.",
    "labels": "Pattern of its label files.",
    "visible_labels": "Pattern of label files that belong to the visible images.",
    "alignment": "`aligned`, `unaligned` or `unknown`: whether the two images of a pair show one view.",
    "alignment_evidence": "Who says so, or how it is known.",
    "splits": "How it divides itself, see below.",
    "sequence": "Parts of the pattern that name the video, such as `{set}/{video}`.",
    "classes": "Classes as `name=label`, separated by commas; `-` leaves one out; `?` does so, too, and says that the "
    "source tells nothing of the place, so that nothing is exhaustive in the image; `@file` reads names by "
    "number, one a line or from a `data.yaml`.",
    "label": "Label of objects in formats that do not name classes; may have parts, such as `{class}`.",
    "exhaustive": "Labels of which every visible object is marked.",
    "transform": "What brings an image to the layout that IR-TD has: `crop-border-100`, `grey`, `fourth-channel`.",
    "tasks": "Tasks that it can feed, separated by commas.",
    "terms": "Terms of use.",
    "access": "How to get it.",
    "confidence": "How sure the row is: `H`, `M` or `L`.",
    "note": "What else one should know.",
}
"""Columns of the table of sources, with their meaning."""

_SPLIT_NAMES = {
    "restval": "train",
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_ROLES = frozenset({"train", "validation", "test"})
_WITHOUT_LABELS = frozenset({"unknown", "reid-folders", "class-folders", "images"})
_MODALITIES = frozenset({"infrared", "optical", "sar"})
TRANSFORMS = frozenset({"", "crop-border-100", "grey", "fourth-channel"})


@dataclass(frozen=True)
class Splits:
    """How a source divides itself.

    Attributes:
        field: Part of the pattern whose value decides; ``split`` unless said otherwise.
        values: Regular expression of a value, and the split; the first that fits counts.
        lists: Name of a file that lists images, and the split.
        every: The split of all images.
    """

    field: str = "split"
    values: tuple[tuple[str, str], ...] = ()
    lists: tuple[tuple[str, str], ...] = ()
    every: str | None = None

    @classmethod
    def parse(cls, text: str) -> Splits:
        """Read the notation of the table.

        ``train=train, val=validation`` maps values of ``{split}``; ``{set}: set0[0-5]=train`` those of another
        part, as regular expressions; ``@ImageSets/Main/test.txt=test`` names a file that lists images; ``test``
        alone puts all images there. Empty: common names of ``{split}``.

        Raises:
            UnknownNameError: The notation is malformed, or a split is none of the three.

        Example:
            >>> Splits.parse("{set}: set0[0-5]=train, .*=test").values
            (('set0[0-5]', 'train'), ('.*', 'test'))
        """
        text = text.strip()
        if not text:
            return cls(values=tuple(_SPLIT_NAMES.items()))
        if text in _ROLES:
            return cls(every=text)
        field, values, lists = "split", [], []
        head = re.match(r"\{([a-z_]+)\}:", text)
        if head:
            field, text = head[1], text[head.end() :]
        for item in filter(None, map(str.strip, text.split(","))):
            value, equals, role = item.rpartition("=")
            value, role = value.strip(), role.strip()
            if not equals or role not in _ROLES:
                raise UnknownNameError(
                    f"split {item!r} is not written as value=train, validation or test",
                    remedy="Example: train=train, val=validation.",
                )
            if value.startswith("@"):
                lists.append((value[1:], role))
            else:
                values.append((value, role))
        return cls(field, tuple(values), tuple(lists))

    def of(self, fields: Mapping[str, str]) -> str | None:
        """The split that the parts of an image's name say; None where they do not."""
        if self.every:
            return self.every
        value = fields.get(self.field)
        if value is None:
            return None
        return _role(self.values, value)


@lru_cache(maxsize=4096)
def _role(values: tuple[tuple[str, str], ...], value: str) -> str | None:
    return next((role for key, role in values if re.fullmatch(key, value, re.IGNORECASE)), None)


@dataclass(frozen=True)
class Layout:
    """One way in which the files of a source lie; a source may have several."""

    infrared: Pattern
    visible: Pattern | None
    labels: Pattern | None
    visible_labels: Pattern | None
    splits: Splits
    sequence: str
    reader: str
    options: Mapping[str, str]

    def sequence_of(self, fields: Mapping[str, str]) -> str | None:
        """Name of the video that an image is a frame of; None for an image that is of none."""
        named = re.sub(r"\{([a-z_]+)\}", lambda part: fields.get(part[1], ""), self.sequence)
        return named or None


@dataclass(frozen=True)
class SourceRow:
    """One row of the table of sources; the columns are those of `COLUMNS`, as written."""

    index: int | None
    name: str
    status: str
    project_dir: str
    also_called: tuple[str, ...]
    what: str
    band: str
    modality: str
    reader: str
    infrared: str
    visible: str
    labels: str
    visible_labels: str
    alignment: str
    alignment_evidence: str
    splits: str
    sequence: str
    classes: str
    label: str
    exhaustive: frozenset[str]
    transform: str
    tasks: tuple[str, ...]
    terms: str
    access: str
    confidence: str
    note: str

    @property
    def readable(self) -> bool:
        """Whether a reader is named, and where its images are."""
        return self.reader != "unknown" and bool(self.infrared)

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of its readers, one for each layout or one for all."""
        return tuple(_reader(part)[0] for part in self.reader.split(";"))

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """The ways in which its files may lie, the most usual first."""
        alternatives = {
            column: _alternatives(value)
            for column, value in (
                ("infrared", self.infrared),
                ("visible", self.visible),
                ("labels", self.labels),
                ("visible_labels", self.visible_labels),
                ("splits", self.splits),
                ("sequence", self.sequence),
                ("reader", self.reader),
            )
        }
        count = max(map(len, alternatives.values()))
        columns = [_broadcast(values, count, self.name, column) for column, values in alternatives.items()]
        return tuple(
            Layout(
                Pattern(image),
                Pattern(visible) if visible else None,
                Pattern(labels) if labels else None,
                Pattern(visible_labels) if visible_labels else None,
                Splits.parse(splits),
                sequence,
                *_reader(reader),
            )
            for image, visible, labels, visible_labels, splits, sequence, reader in zip(*columns, strict=True)
        )

    @cached_property
    def class_map(self) -> dict[str, str]:
        """Labels by class as the source writes it; empty where all classes are taken as they are."""
        pairs = {}
        for item in filter(None, map(str.strip, self.classes.split(","))):
            if not item.startswith("@"):
                name, equals, label = item.partition("=")
                pairs[name.strip()] = label.strip() if equals else name.strip()
        return pairs

    @cached_property
    def unclear_classes(self) -> frozenset[str]:
        """Classes, in small letters, that mark a place of which the source says nothing."""
        return frozenset(name.lower() for name, label in self.class_map.items() if label == "?")

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, by column; and whether it can be read."""
        values: dict[str, object] = {column: getattr(self, column) for column in COLUMNS}
        for column in ("also_called", "tasks"):
            values[column] = list(getattr(self, column))
        values["exhaustive"] = sorted(self.exhaustive)
        return {**values, "readable": self.readable}

    @property
    def class_file(self) -> str:
        """File whose lines name the classes by number; empty where there is none."""
        return self.classes.strip()[1:] if self.classes.strip().startswith("@") else ""


def _reader(text: str) -> tuple[str, dict[str, str]]:
    name, *words = text.split() or ["unknown"]
    name = "images" if name == "pictures" else name  # as tables written for the first version call it
    return name, {key: value for key, _, value in (word.partition("=") for word in words)}


def _alternatives(text: str) -> list[str]:
    return [part.strip() for part in text.split(";")] if text.strip() else []


def _broadcast(values: list[str], count: int, name: str, column: str) -> list[str]:
    if len(values) <= 1:
        return (values or [""]) * count
    if len(values) != count:
        raise UnknownNameError(
            f"source {name!r}: column {column!r} has {len(values)} alternatives, another has {count}",
            remedy="Give each layout its own, separated by semicolons, or one for all.",
        )
    return values


def read_table(path: str | os.PathLike[str]) -> tuple[SourceRow, ...]:
    """Read a table of sources from a CSV file; columns that it lacks are empty.

    Raises:
        ReleaseNotFoundError: There is no such file.
        AnnotationError: The file is no such table; the message names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ReleaseNotFoundError("no such file", where=str(path), remedy="Check the path.") from error
    except (UnicodeError, OSError) as error:
        raise AnnotationError(
            f"cannot be read: {error}", where=str(path), remedy="Save it as CSV in UTF-8."
        ) from error
    return _rows(text, str(path))


def _rows(text: str, where: str) -> tuple[SourceRow, ...]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "name" not in names:
        raise AnnotationError(
            f"unknown columns: {', '.join(unknown)}" if unknown else "no column 'name'",
            where=where,
            remedy=f"The columns are {', '.join(COLUMNS)}; only name, reader and infrared are needed.",
        )
    reader.fieldnames = names
    rows = []
    try:
        for values in reader:
            if None in values:
                raise AnnotationError(
                    f"more cells than columns: {values[None]}",
                    where=f"{where} line {reader.line_num}",
                    remedy="Put cells with a comma in double quotes.",
                )
            rows.append(_row(values, f"{where} line {reader.line_num}"))
    except csv.Error as error:
        raise AnnotationError(f"no CSV: {error}", where=where, remedy="Save it as CSV in UTF-8.") from error
    return tuple(rows)


def _row(values: dict[str, str | None], where: str) -> SourceRow:
    cells = {column: (values.get(column) or "").strip() for column in COLUMNS}
    try:
        row = SourceRow(
            **{
                **cells,
                "index": int(cells["index"]) if cells["index"] else None,
                "status": cells["status"] or "other",
                "also_called": _list(cells["also_called"]),
                "modality": cells["modality"] or "infrared",
                "reader": cells["reader"] or "unknown",
                "exhaustive": frozenset(_list(cells["exhaustive"])),
                "alignment": cells["alignment"] or ("unknown" if cells["visible"] else ""),
                "tasks": _list(cells["tasks"]),
            }  # type: ignore[arg-type]
        )
        if row.modality not in _MODALITIES or row.transform not in TRANSFORMS:
            raise UnknownNameError(
                f"modality {row.modality!r} or transform {row.transform!r} does not exist",
                remedy=f"There are {', '.join(sorted(_MODALITIES))}; {', '.join(sorted(TRANSFORMS - {''}))}.",
            )
        if row.alignment and row.alignment not in ALIGNMENTS:
            raise UnknownNameError(
                f"alignment {row.alignment!r} does not exist", remedy=f"There are {', '.join(ALIGNMENTS)}."
            )
        if row.infrared:
            _check_layouts(row)
    except (ValueError, IrtdDatasetsError) as error:
        problem = error.problem if isinstance(error, IrtdDatasetsError) else str(error)
        remedy = error.remedy if isinstance(error, IrtdDatasetsError) else "Write the index as a number."
        raise AnnotationError(problem, where=where, remedy=remedy) from error
    return row


def _check_layouts(row: SourceRow) -> None:
    for layout in row.layouts:
        if layout.labels is None and layout.reader not in _WITHOUT_LABELS:
            raise UnknownNameError(
                f"reader {layout.reader!r} of source {row.name!r} needs a pattern in column 'labels'",
                remedy="Give the pattern of its label files, or use the reader images.",
            )


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _read_own() -> tuple[SourceRow, ...]:
    file = resources.files("irtd_datasets.sources").joinpath("sources.csv")
    return _rows(file.read_text(encoding="utf-8"), "sources.csv")


TABLE: tuple[SourceRow, ...] = _read_own()
"""Every source that the library knows: the 63 entries of IR-TD's list, then others."""


@lru_cache(maxsize=64)
def wrong_labels(source: str) -> dict[str, str]:
    """Images of a source whose labels were seen to be wrong, by their stem, with what is wrong.

    Example:
        >>> wrong_labels("HIT-UAV")["0_60_60_0_06570"]
        'a car is labelled as a person'
    """
    rows = read_csv("irtd_datasets.sources", "wrong_labels.csv")
    return {row["image"]: row["what"] for row in rows if row["source"] == source}


@lru_cache(maxsize=256)
def alignment_of(name: str) -> str:
    """What the table declares of the pairs of a source, by any of its names; ``unknown`` where it has no row of it.

    Example:
        >>> alignment_of("LLVIP"), alignment_of("63-FLIR_ADAS"), alignment_of("my own set")
        ('aligned', 'unaligned', 'unknown')
    """
    try:
        return get(name).alignment or "unknown"
    except UnknownNameError:
        return "unknown"


def merge_tables(extra: Iterable[SourceRow], table: Iterable[SourceRow] = TABLE) -> tuple[SourceRow, ...]:
    """A table with the rows of another one, which replace those of the same name."""
    extra = tuple(extra)
    replaced = {row.name for row in extra if row.name}
    return (*(row for row in table if row.name not in replaced), *extra)


def plain(name: str) -> str:
    """A name by its letters and digits alone, as names of sources are compared.

    Example:
        >>> plain("63-FLIR_ADAS"), plain("FLIR ADAS")
        ('63fliradas', 'fliradas')
    """
    return re.sub(r"[^0-9a-z]", "", name.lower())


def get(name: str, table: Iterable[SourceRow] = TABLE) -> SourceRow:
    """The row of a source by its name, its number in IR-TD's list, its folder there, or another name of it.

    Raises:
        UnknownNameError: There is no such source, or several.

    Example:
        >>> get("63-FLIR_ADAS").name, get("4").name
        ('FLIR_ADAS', 'VEDAI')
    """
    table = tuple(table)
    exact = [row for row in table if name and name in (row.name, row.project_dir, str(row.index))]
    wanted = plain(name)
    found = exact or [
        row
        for row in table
        if row.name and wanted in {plain(known) for known in (row.name, row.project_dir, *row.also_called)}
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(row.name for row in found or table if row.name)
    raise UnknownNameError(
        f"{len(found) or 'no'} sources called {name!r}",
        remedy=f"Use one of {names}; `irtd sources` lists them.",
    )
