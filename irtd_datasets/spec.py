"""How a dataset is declared: frozen specifications, with the numbers that a reading is checked against.

A dataset's folder holds one `DatasetSpec` and its tables; only its parsing is code.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from irtd_datasets.errors import UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ConfigSpec",
    "DatasetSpec",
    "IssueCode",
    "IssueSpec",
    "KnownHash",
    "Member",
    "PartSpec",
    "PlaceSpec",
    "SourceTerms",
    "SubsetSpec",
    "config_per_subset_and_part",
    "config_per_task",
    "hashes_from_table",
    "issue_codes",
    "issues_from_table",
    "places_from_table",
    "read_table",
    "spec_from_tables",
    "terms_from_table",
]


def read_table(package: str, name: str) -> list[dict[str, str]]:
    """Read a CSV table that lies beside the code of ``package``, one dictionary a row."""
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@dataclass(frozen=True, slots=True)
class PartSpec:
    """One part of a subset, which gets a folder of its own: a task, or a component dataset of a task.

    Attributes:
        name: Name of its folder, unique in its subset.
        task: Name from the task vocabulary.
        file: Name of the annotation file in the release.
        records: Records in the released file; None where nothing was released or nothing is known.
        image_dirs: Folders, as the records name them, that hold its images.
        title: Its name in the paper.
        modality: Kind of sensor of its images.
        rounds: Questions with an answer that the paper counts for it; None where it counts records, or nothing.
        public: Whether its authors ever handed it out.
        frame: Frame of the boxes in its texts, a value of `irtd_datasets.boxes.Frame`; empty where nothing says it.
    """

    name: str
    task: str
    file: str
    records: int | None
    image_dirs: tuple[str, ...]
    title: str
    modality: str
    rounds: int | None = None
    public: bool = True
    frame: str = ""

    @property
    def count_unknown(self) -> str:
        """What is shown for a count that is None."""
        return "unknown" if self.public else "not released"


@dataclass(frozen=True, slots=True)
class SubsetSpec:
    """One subset: a split with its parts.

    Attributes:
        name: Name of its folder.
        split: Its only split.
        parts: Its parts, in the order in which the rows of a config follow each other.
        order: ``by-image``: images in seeded random order, the rows of one image together;
            ``as-released``: the order of the annotation file (of the archive, when images come from one).
        summary: One sentence.
        available: What is public today and where.
    """

    name: str
    split: str
    parts: tuple[PartSpec, ...]
    order: Literal["by-image", "as-released"]
    summary: str
    available: str

    @property
    def records(self) -> int | None:
        """Released records of all parts together; None when nothing was released, or a number is not known."""
        return _sum_of(self.members)

    @property
    def members(self) -> tuple[Member, ...]:
        """Its parts, each with the subset it belongs to."""
        return tuple(Member(self, part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a subset: what a config is made of, and the unit of reading, planning and counting."""

    subset: SubsetSpec
    part: PartSpec

    @property
    def key(self) -> tuple[str, str]:
        """Names of subset and part; they name its folder, too."""
        return self.subset.name, self.part.name


def _sum_of(members: Iterable[Member]) -> int | None:
    """Released records of some members; None where none is released, or the number of one that is is not known."""
    counts = [member.part.records for member in members if member.part.public]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


@dataclass(frozen=True, slots=True)
class ConfigSpec:
    """A config: a name for some members, over the same files as every other config.

    Attributes:
        name: What ``load_dataset`` takes.
        members: Its members in order; their subsets give its splits.
        summary: One sentence.
    """

    name: str
    members: tuple[Member, ...]
    summary: str

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits in order."""
        return tuple(dict.fromkeys(member.subset.split for member in self.members))

    @property
    def records(self) -> int | None:
        """Released records of its members; None when nothing was released, or their number is not known."""
        return _sum_of(self.members)

    @property
    def public(self) -> bool:
        """Whether any of its members was ever handed out."""
        return any(member.part.public for member in self.members)

    @property
    def rounds(self) -> int | None:
        """Released rounds of its members; None where they are not counted by rounds."""
        known = [member.part.rounds for member in self.members if member.part.rounds is not None]
        return sum(known) if known else None


def config_per_subset_and_part(subsets: tuple[SubsetSpec, ...]) -> tuple[ConfigSpec, ...]:
    """A config for each subset, and one more for each of its parts where it has several."""
    configs = []
    for subset in subsets:
        configs.append(ConfigSpec(subset.name, subset.members, subset.summary))
        if len(subset.parts) > 1:
            configs += [
                ConfigSpec(
                    f"{subset.name}-{member.part.name}", (member,), f"{member.part.title} of {subset.name}."
                )
                for member in subset.members
            ]
    return tuple(configs)


def config_per_task(subsets: tuple[SubsetSpec, ...]) -> tuple[ConfigSpec, ...]:
    """A config ``default`` of everything, and one for each task over all subsets."""
    members = tuple(member for subset in subsets for member in subset.members)
    titles = {member.part.task: member.part.title for member in members}
    where = " and ".join(subset.name for subset in subsets)
    return (
        ConfigSpec("default", members, f"All tasks, {where}."),
        *(
            ConfigSpec(task, tuple(one for one in members if one.part.task == task), f"{title}, {where}.")
            for task, title in titles.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class IssueCode:
    """A word of the vocabulary of issues that all datasets share.

    Attributes:
        code: The word.
        scope: Where it stands: ``row`` (in ``issues`` of each row it concerns), ``file`` (in the ledger, for what
            would say nothing about a single row), ``record`` (in the ledger, as the reason why a record has no row),
            ``unreadable`` (in the error about a file that cannot be read).
        kind: As in `IssueSpec`.
        meaning: What it means, the same in every dataset.
    """

    code: str
    scope: Literal["row", "file", "record", "unreadable"]
    kind: Literal["label", "text", "caveat", "format"]
    meaning: str


@dataclass(frozen=True, slots=True)
class IssueSpec:
    """A known defect of a release.

    Attributes:
        code: What stands in the ``issues`` column, or in the ledger alone when ``scope`` is ``file``.
        file: Annotation file that has it; empty when any file can.
        scope: ``row`` or ``file``, as in `IssueCode`.
        kind: ``label`` (the label is wrong or suspect: what ``on_defect`` acts on), ``text`` (wording), ``caveat`` (a
            limit of what the label can mean), ``format`` (of the file).
        count: Records of the released file that have it; None where it depends on the user's copy.
        meaning: One sentence.
        evidence: How it is known.
    """

    code: str
    file: str
    scope: Literal["row", "file"]
    kind: Literal["label", "text", "caveat", "format"]
    count: int | None
    meaning: str
    evidence: str


@dataclass(frozen=True, slots=True)
class SourceTerms:
    """Under which terms the images of a component dataset stand, as far as it is known.

    Attributes:
        source: Its name, as the column ``source`` has it.
        redistribution: ``allowed`` (a licence permits it, under its conditions), ``forbidden`` (its terms restrict it,
            or it is given out against a signature only), ``unknown`` (nobody says).
        licence: The licence, or what is said in its place.
        evidence: How it is known, and conditions.
    """

    source: str
    redistribution: Literal["allowed", "forbidden", "unknown"]
    licence: str
    evidence: str


@dataclass(frozen=True, slots=True)
class PlaceSpec:
    """Where files of a release are handed out, as far as it is known; what nobody knows is empty.

    Attributes:
        configs: Configs that need them.
        files: Their names below a release, or patterns of them; one with a slash at its end is a folder.
        kind: ``web`` (a file by a direct link), ``hub`` (a repository of the Hub), ``drive`` (a folder of Google
            Drive), ``baidu`` or ``onedrive`` (by hand, in a browser), ``source`` (a source set, whose row of the table
            of sources says how to get it).
        url: Link; for a source set its name.
        code: Access code or password that its authors publish with the link.
        size: Bytes, where it is one file.
        sha256: Of the file.
        licence: Licence, or what is said in its place.
        steps: What to do by hand, and where to put what comes.
        evidence: How it is known.
    """

    configs: tuple[str, ...]
    files: tuple[str, ...]
    kind: Literal["web", "hub", "drive", "baidu", "onedrive", "source"]
    url: str
    code: str
    size: int | None
    sha256: str
    licence: str
    steps: str
    evidence: str


@dataclass(frozen=True, slots=True)
class KnownHash:
    """What a released file is: its name, also inside an archive, its size and SHA-256, and how they are known."""

    file: str
    size: int
    sha256: str
    evidence: str


COMMON_SETTINGS = {
    "without": "Annotation files to leave out, by their path below the release or the end of it, with commas between; "
    "any other that cannot be read stops a build.",
}
"""Options that decide how a release is read, of every dataset: name to one sentence."""


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A dataset: its names, subsets, known defects, terms and the way to get it."""

    name: str
    title: str
    version: str
    release_notes: dict[str, str]
    modality: str
    summary: str
    paper: str
    homepage: str
    licence: str
    licence_id: str
    terms: str
    obtain: tuple[str, ...]
    not_released: tuple[str, ...]
    citation: str
    subsets: tuple[SubsetSpec, ...]
    configs: tuple[ConfigSpec, ...]
    issues: tuple[IssueSpec, ...]
    default_config: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options of this dataset alone that decide how its release is read: name to one sentence."""
    source_terms: tuple[SourceTerms, ...] = ()
    """Terms of its component datasets."""
    builders: Mapping[str, str] = field(default_factory=dict)
    """Names of its builder classes, the one of all configs first, to the first word of the configs that they show."""
    constructs: tuple[str, ...] = ()
    """Subsets that `irtd construct` makes from source sets."""
    places: tuple[PlaceSpec, ...] = ()
    """Where its files are handed out, the best place of each first."""
    hashes: tuple[KnownHash, ...] = ()
    """What its released files are known to be."""
    package: str = ""
    """The package that has its modules, tables and card, where that is not a folder of this library."""

    @property
    def home(self) -> str:
        """The package that has its modules, tables and card."""
        return self.package or f"irtd_datasets.{self.name}"

    @property
    def all_settings(self) -> dict[str, str]:
        """Its settings, with those that every dataset has."""
        return {**self.settings, **COMMON_SETTINGS}

    @property
    def builder_names(self) -> Mapping[str, str]:
        """As `builders`; without any, one class of all configs whose name is made of that of the dataset."""
        return self.builders or {"".join(map(str.capitalize, self.name.split("_"))): ""}

    def subset(self, name: str) -> SubsetSpec:
        """The subset called ``name``.

        Raises:
            UnknownNameError: No subset has that name.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        raise UnknownNameError(
            f"{self.name} has no subset {name!r}",
            remedy=f"Its subsets are {', '.join(s.name for s in self.subsets)}.",
        )

    def part(self, subset: str, name: str) -> PartSpec:
        """A part by its names.

        Raises:
            UnknownNameError: There is no such subset, or it has no such part.
        """
        for part in self.subset(subset).parts:
            if part.name == name:
                return part
        raise UnknownNameError(
            f"{self.name} {subset} has no part {name!r}",
            remedy=f"Its parts are {', '.join(part.name for part in self.subset(subset).parts)}.",
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """All members in order."""
        return tuple(member for subset in self.subsets for member in subset.members)

    def config(self, name: str) -> ConfigSpec:
        """The config called ``name``.

        Raises:
            UnknownNameError: No config has that name; the message lists them, the closest first.
        """
        for config in self.configs:
            if config.name == name:
                return config
        names = [config.name for config in self.configs]
        hint = self._of_file(name) or did_you_mean(name, names)
        raise UnknownNameError(
            f"{self.name} has no config {name!r}", remedy=f"{hint}Its configs are {', '.join(names)}."
        )

    def _of_file(self, name: str) -> str:
        """A question with the config of the annotation file that a name was made of; empty where it was not."""
        plain = "".join(filter(str.isalnum, name.lower().removesuffix(".json")))
        for member in self.members:
            file = "".join(filter(str.isalnum, member.part.file.rpartition("/")[2].partition(".")[0].lower()))
            if file and plain in {file, member.subset.name + file, self.name + file}:
                config = self.smallest_config(member).name
                return f"Did you mean {config!r}, which is read from {member.part.file}? "
        return ""

    def smallest_config(self, member: Member) -> ConfigSpec:
        """The config that shows a member and as little else as possible."""
        return min(
            (config for config in self.configs if member in config.members), key=lambda c: len(c.members)
        )

    def terms_of(self, source: str | None) -> SourceTerms:
        """Terms of a component dataset; unknown where the table has none, or the row names no source."""
        for terms in self.source_terms:
            if terms.source == source:
                return terms
        return SourceTerms(source or "", "unknown", "not stated", "")

    def issue(self, code: str) -> IssueSpec | None:
        """The issue called ``code``, None when the table has none."""
        return next((issue for issue in self.issues if issue.code == code), None)


def issue_codes() -> dict[str, IssueCode]:
    """The vocabulary of issues, by code: the table ``issues.csv`` beside this module.

    Example:
        >>> issue_codes()["box-missing"].meaning
        'A round that should give a place gives none.'
    """
    return {row["code"]: IssueCode(**row) for row in read_table("irtd_datasets", "issues.csv")}  # type: ignore[arg-type]


def issues_from_table(package: str, name: str = "issues.csv") -> tuple[IssueSpec, ...]:
    """Read the known defects of a dataset: their codes, with counts and evidence; what they mean says `issue_codes`.

    A dataset outside this library may add codes of its own, with ``scope``, ``kind`` and ``meaning`` in the table.

    Raises:
        UnknownNameError: A code is not in the vocabulary and the table does not say what it means.
    """
    codes, issues = issue_codes(), []
    for row in read_table(package, name):
        known = codes.get(row["code"])
        if known is None:
            if not all(row.get(column) for column in ("scope", "kind", "meaning")):
                raise UnknownNameError(
                    f"there is no issue code {row['code']!r}",
                    where=f"{package} {name}",
                    remedy="Use one of the vocabulary, or give its scope (row or file), kind and meaning in the table.",
                )
            known = IssueCode(row["code"], row["scope"], row["kind"], row["meaning"])  # type: ignore[arg-type]
        count = int(row["count"]) if row["count"] else None
        scope: Literal["row", "file"] = "row" if known.scope == "row" else "file"
        issues.append(
            IssueSpec(known.code, row["file"], scope, known.kind, count, known.meaning, row["evidence"])
        )
    return tuple(issues)


_PLAIN_ISSUES = (
    *("box-frame-unknown", "box-malformed", "box-degenerate", "box-outside-image", "box-off-image"),
    *("box-count-mismatch", "box-label-without-box", "duplicate-id", "duplicate-round", "several-references"),
    *("record-key", "json-not-an-array", "json-trailing-comma", "json-duplicate-key", "json-not-a-number"),
    *("utf-8-bom", "utf-16", "utf-32"),
)
"""What any release in the style of LLaVA can show, none of which is counted before somebody has done it."""


def spec_from_tables(package: str, **facts: Any) -> DatasetSpec:  # noqa: ANN401 - fields of `DatasetSpec`
    """Declare a dataset by the tables beside its code.

    ``parts.csv`` has a line for each part, with the columns ``subset``, ``split``, ``part``, ``task``, ``file``,
    ``records``, ``modality`` and ``frame``; ``image_dirs`` (with ``|`` between), ``title`` and ``public`` (``no`` for
    what was never handed out) may be there, too. ``subsets.csv`` (``subset``, ``order``, ``summary``, ``available``),
    ``issues.csv``, ``terms.csv``, ``places.csv`` (the fields of `PlaceSpec`) and ``hashes.csv`` (of `KnownHash`) may
    be absent.

    Args:
        package: The package with the tables.
        facts: Fields of `DatasetSpec`. ``name``, ``title``, ``summary``, ``licence`` and ``licence_id`` have to be
            given; ``obtain`` and the others are empty where they are not. ``configs`` is what makes them of the
            subsets, `config_per_subset_and_part` or `config_per_task`.

    Example:
        A module ``spec`` of a package ``foors``::

            SPEC = spec_from_tables("foors", name="foors", title="FooRS", licence_id="cc-by-4.0", ...)
    """
    subsets = _subsets(package, facts["title"], facts.get("obtain", ("",))[0])
    configs = facts.pop("configs", config_per_subset_and_part)(subsets)
    issues = issues_from_table(package) if _has_table(package, "issues.csv") else ()
    codes, named = issue_codes(), {issue.code for issue in issues}
    issues += tuple(
        IssueSpec(code, "", "row" if codes[code].scope == "row" else "file", codes[code].kind, None,
                  codes[code].meaning, "counted while reading")
        for code in _PLAIN_ISSUES
        if code not in named
    )  # fmt: skip
    declared: dict[str, Any] = {
        "version": "1.0.0",
        "modality": subsets[0].parts[0].modality,
        "paper": "",
        "homepage": "",
        "terms": "",
        "obtain": (),
        "not_released": (),
        "citation": "",
        "subsets": subsets,
        "configs": configs,
        "issues": issues,
        "default_config": configs[0].name,
        "package": package,
        "source_terms": terms_from_table(package) if _has_table(package, "terms.csv") else (),
        "places": places_from_table(package),
        "hashes": hashes_from_table(package),
        **facts,
    }
    return DatasetSpec(**{"release_notes": {declared["version"]: "First version."}, **declared})


def _subsets(package: str, title: str, available: str) -> tuple[SubsetSpec, ...]:
    told = read_table(package, "subsets.csv") if _has_table(package, "subsets.csv") else []
    facts = {row["subset"]: row for row in told}
    plain = {"order": "by-image", "summary": f"Rows of {title}.", "available": available}
    splits: dict[str, str] = {}
    parts: dict[str, list[PartSpec]] = {}
    for row in read_table(package, "parts.csv"):
        splits.setdefault(row["subset"], row["split"])
        parts.setdefault(row["subset"], []).append(
            PartSpec(
                row["part"],
                row["task"],
                row["file"],
                int(row["records"]) if row["records"] else None,
                tuple(filter(None, (row.get("image_dirs") or "").split("|"))),
                row.get("title") or title,
                row["modality"],
                public=row.get("public") != "no",
                frame=row["frame"],
            )
        )
    return tuple(
        SubsetSpec(name, split, tuple(parts[name]), *(facts.get(name, plain)[key] for key in plain))  # type: ignore[arg-type]
        for name, split in splits.items()
    )


def _has_table(package: str, name: str) -> bool:
    return resources.files(package).joinpath(name).is_file()


def places_from_table(package: str, name: str = "places.csv") -> tuple[PlaceSpec, ...]:
    """Read the table of places that lies beside a dataset's code; none where there is no table."""
    return tuple(
        PlaceSpec(
            **{  # type: ignore[arg-type]  # a test compares the kinds with the Literal
                **row,
                "configs": tuple(row["configs"].split("|")),
                "files": tuple(row["files"].split("|")),
                "size": int(row["size"]) if row["size"] else None,
            }
        )
        for row in (read_table(package, name) if _has_table(package, name) else ())
    )


def hashes_from_table(package: str, name: str = "hashes.csv") -> tuple[KnownHash, ...]:
    """Read the table of known hashes that lies beside a dataset's code; none where there is no table."""
    return tuple(
        KnownHash(row["file"], int(row["size"]), row["sha256"], row["evidence"])
        for row in (read_table(package, name) if _has_table(package, name) else ())
    )


def terms_from_table(package: str, name: str = "terms.csv") -> tuple[SourceTerms, ...]:
    """Read the table of the component datasets' terms that lies beside a dataset's code."""
    return tuple(
        SourceTerms(
            source=row["source"],
            redistribution=row["redistribution"],  # type: ignore[arg-type]  # a test compares the table with the Literal
            licence=row["licence"],
            evidence=row["evidence"],
        )
        for row in read_table(package, name)
    )
