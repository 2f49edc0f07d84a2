"""What a check of a dataset folder can find: the rules with their codes, and the report.

Every rule says what breaks where it is broken. ``error``: loading, the viewer or the truth of the card breaks, or
something private would be published. ``warning``: worth a look before publishing, and it works without.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FINDINGS_KEPT", "RULES", "CheckReport", "Finding", "Findings", "Rule"]

FINDINGS_KEPT = 20
"""Findings of one rule that are kept; the others are counted."""

_BUILD = "Build it again: `irtd build` takes over what is whole."
_REMOVE = "Remove this file and start the same `irtd build` again: it writes what is missing."
_BESIDE = (
    "Run `irtd card FOLDER` for README.md and croissant.json; start `irtd build` again with every config of the folder "
    "for ledger.json and the index."
)
_LEDGER = "Start `irtd build` again with every config of the folder: finished shards are taken over."
_CARD = "Run `irtd card FOLDER` to write the card anew from the folder's files."
_NOT_OURS = (
    "Write the folder with `irtd build`, or rewrite this file with smaller row groups and a page index."
)


class Rule(NamedTuple):
    """One rule.

    Attributes:
        severity: ``error`` or ``warning``.
        breaks: What happens where it is broken.
        remedy: What to do.
    """

    severity: Literal["error", "warning"]
    breaks: str
    remedy: str


RULES: Mapping[str, Rule] = {
    # The folder.
    "build-unfinished": Rule(
        "error",
        "A build was killed and its work waits in the hidden folder `.build`, or a half-written file lies here.",
        "Start the same `irtd build` again; it goes on where it was.",
    ),
    "script": Rule(
        "error",
        "A Python file with the name of the folder or the dataset makes `datasets` 4 and later refuse the whole "
        "repository.",
        "Move it away, or into a subfolder.",
    ),
    "python-file": Rule(
        "warning",
        "A Python file at the top: in a repository of its name `datasets` would refuse everything.",
        "Move it into a subfolder, or never name the repository like it.",
    ),
    "file-foreign": Rule(
        "warning",
        "A file that no build writes: `irtd publish` leaves it out, any other upload of the folder takes it along.",
        "Move it away if it does not belong here.",
    ),
    "too-many-files": Rule(
        "error",
        "The Hub takes at most 10,000 files in a folder and 100,000 in a repository.",
        "Use fewer, larger shards.",
    ),
    "file-too-large": Rule(
        "error",
        "The Hub takes no file above 200 GB and advises against more than 50 GB.",
        "Make smaller shards.",
    ),
    "no-rows": Rule(
        "error",
        "There is no row at all: there is nothing to load or to show.",
        "`irtd doctor` says what the release lacks.",
    ),
    # Manifest and ledger.
    "manifest-missing": Rule("error", "Without manifest.json nothing says which files belong here.", _BUILD),
    "manifest-unreadable": Rule(
        "error", "manifest.json is damaged or is not of a dataset known here.", _BUILD
    ),
    "shard-missing": Rule("error", "A file that the manifest lists is not here.", _BUILD),
    "shard-unlisted": Rule(
        "error",
        "A Parquet file that the manifest does not list adds rows to a config.",
        f"Remove it. Or: {_BUILD}",
    ),
    "shard-size": Rule(
        "error", "A file has another size than the manifest says: it is cut or replaced.", _REMOVE
    ),
    "shard-rows": Rule("error", "A shard has other rows or row groups than the manifest says.", _REMOVE),
    "shard-hash": Rule("error", "The bytes of a file are not those that the build wrote.", _REMOVE),
    "file-missing": Rule("error", "A file beside the shards that the manifest lists is not here.", _BESIDE),
    "file-changed": Rule("error", "A file beside the shards is not the one that the build wrote.", _BESIDE),
    "shard-swapped": Rule("error", "The rows of a shard belong to another part of the dataset.", _REMOVE),
    "shard-name": Rule(
        "warning",
        "The name is not `<split>-NNNNN-of-NNNNN.parquet`; without the card the split cannot be told.",
        "Rename it, or build again.",
    ),
    "shard-sequence": Rule("error", "The numbers in the shards' names have gaps or another total.", _BUILD),
    "shard-unreachable": Rule(
        "warning",
        "No config of the card has this Parquet file, so nobody loads it.",
        f"Remove it. Or: {_CARD}",
    ),
    "ledger-missing": Rule("error", "Without ledger.json nothing says what became of the release.", _LEDGER),
    "ledger-unreadable": Rule("error", "ledger.json is damaged.", _LEDGER),
    "ledger-unbalanced": Rule(
        "error",
        "Records of a file are unaccounted for: found is not kept, dropped and missing together.",
        _LEDGER,
    ),
    "ledger-rows": Rule("error", "The ledger keeps another number of rows than the folder has.", _LEDGER),
    "ledger-totals": Rule("error", "The ledger's totals are not the sums of its lines.", _LEDGER),
    # The card.
    "card-missing": Rule("error", "Without README.md there are no configs.", _CARD),
    "card-yaml": Rule("error", "The front matter is no YAML mapping; the Hub refuses the commit.", _CARD),
    "card-licence": Rule("error", "The licence is none of the Hub's identifiers.", _CARD),
    "card-licence-name": Rule(
        "warning", "`license: other` needs `license_name` and `license_link` to tell anything.", _CARD
    ),
    "card-language": Rule("error", "A language is no ISO 639 code of two or three letters.", _CARD),
    "card-size": Rule("error", "The size category is unknown, or not that of the number of rows.", _CARD),
    "card-task": Rule("warning", "The Hub does not know the task category and does not filter by it.", _CARD),
    "card-viewer-off": Rule(
        "error", "The card or one of its tags switches the dataset viewer off.", "Remove the key or the tag."
    ),
    "config-name": Rule("error", "`datasets` refuses this config name.", _CARD),
    "config-duplicate": Rule("error", "Two configs have one name; one of them is lost.", _CARD),
    "config-data-files": Rule(
        "error", "`data_files` is not a list of entries with exactly `split` and `path`.", _CARD
    ),
    "config-default": Rule(
        "error",
        "Several configs are the default, or the default is not clear: loading without a name fails.",
        _CARD,
    ),
    "config-too-many": Rule("error", "The viewer takes at most 4,000 configs.", "Use fewer configs."),
    "config-many": Rule(
        "warning", "Croissant and the loading code name the first 100 configs only.", "Use fewer configs."
    ),
    "config-one-row": Rule(
        "warning",
        "A split of one row: a sampler or a statistic over it means little.",
        "See whether it is meant.",
    ),
    "split-name": Rule("error", "A bad split name breaks every config of the repository.", _CARD),
    "split-too-many": Rule("error", "A config of more than 30 splits has no viewer.", "Use fewer splits."),
    "split-empty": Rule(
        "error", "A split without rows has no statistics, and `datasets` may fail on it.", _CARD
    ),
    "pattern-unmatched": Rule(
        "error", "A pattern of `data_files` matches no file: the config cannot be loaded.", _CARD
    ),
    "pattern-outside": Rule("error", "A pattern of `data_files` leaves the folder.", _CARD),
    "format-mixed": Rule("error", "The files of a config are not all Parquet.", _CARD),
    "info-missing": Rule(
        "warning", "A config has no `dataset_info`: no counts and types before download.", _CARD
    ),
    "info-unknown": Rule("error", "`dataset_info` is given for a config that does not exist.", _CARD),
    "split-rows": Rule(
        "error",
        "The card gives another number of rows than the files have: `load_dataset` refuses the split.",
        _CARD,
    ),
    "split-bytes": Rule("warning", "A size on the card is not that of the files.", _CARD),
    "features-card": Rule("error", "The columns on the card are not those of the files: no preview.", _CARD),
    "card-stale": Rule("error", "A generated section of the card does not fit the folder.", _CARD),
    "card-edited": Rule(
        "warning",
        "The card has text or keys that the next `irtd card` or build will remove.",
        "Put prose into dataset_cards/<name>.md, or card.md of the dataset's package.",
    ),
    # Footers.
    "shard-unreadable": Rule("error", "The file is no whole Parquet file.", _REMOVE),
    "features-missing": Rule(
        "error",
        "Neither the card nor the file says what its columns are: images are shown as bytes.",
        _NOT_OURS,
    ),
    "features-file": Rule("error", "The feature metadata of the file do not fit its columns.", _NOT_OURS),
    "features-notation": Rule(
        "warning", "The feature metadata use a type that `datasets` before 4.0 does not read.", _NOT_OURS
    ),
    "schema-differs": Rule("error", "The shards of a config have different columns.", _REMOVE),
    "schema-foreign": Rule(
        "warning",
        "The columns are not those of this library's schema; mixing with its other datasets fails.",
        _REMOVE,
    ),
    "columns-too-many": Rule(
        "error", "A table of more than 1,000 columns has no preview.", "Use fewer columns."
    ),
    "column-name": Rule(
        "error", "A column name of more than 500 characters breaks the config.", "Rename it."
    ),
    "image-as-bytes": Rule(
        "error",
        "A column of images is plain binary: shown as text.",
        "Declare it as `Image` in the features.",
    ),
    "modality-timeseries": Rule(
        "warning",
        "A plain list of float32 makes the Hub tag the dataset as time series.",
        "Nest the list once more.",
    ),
    "modality-tabular": Rule(
        "warning", "Two number columns and no image make the Hub tag the dataset as tabular.", _NOT_OURS
    ),
    "viewer-page": Rule(
        "error",
        "A page of the viewer needs more than 300 MB of one row group: no preview, no pages.",
        _NOT_OURS,
    ),
    "row-group-rows": Rule(
        "warning", "More than 100 rows in a row group: pages, resuming and splitting get coarser.", _NOT_OURS
    ),
    "row-group-bytes": Rule(
        "warning", "A row group of more than 100 MB is what each reader has to hold.", _NOT_OURS
    ),
    "page-index": Rule(
        "warning", "Without a page index the viewer reads whole columns of a row group.", _NOT_OURS
    ),
    "image-compressed": Rule("warning", "Compressing images again costs time and gains nothing.", _NOT_OURS),
    "image-statistics": Rule("warning", "Statistics on images repeat whole images in the footer.", _NOT_OURS),
    "statistics-two-values": Rule(
        "warning",
        "A number, a text length or a list length with exactly two neighbouring values: the Hub shows no statistics "
        "of the split.",
        "Nothing is lost but the histograms; a column of flags is better a bool or a ClassLabel.",
    ),
    "label-range": Rule("error", "A ClassLabel has a number that no name belongs to.", _REMOVE),
    # Rows.
    "id-duplicate": Rule("error", "Two rows of the dataset have one id.", _REMOVE),
    "local-path": Rule(
        "error",
        "A path of somebody's machine would be published.",
        "Give the release by a shorter path, or report it: no build should write it.",
    ),
    "machine-name": Rule(
        "warning",
        "The name of this machine or its user stands in what would be published.",
        "Look at the row.",
    ),
    "source-forbidden": Rule(
        "warning",
        "The terms of a component dataset restrict passing it on.",
        "Publish privately, leave the source out, or get the right in writing.",
    ),
    "source-unknown": Rule(
        "warning",
        "Nobody says whether a component dataset may be passed on.",
        "Ask its authors, or publish privately.",
    ),
    # Images.
    "image-null": Rule("error", "A row has no image.", _REMOVE),
    "image-unreadable": Rule(
        "error", "An image cannot be decoded: one among the first 100 rows fails the whole preview.", _REMOVE
    ),
    "image-too-large": Rule(
        "error",
        "An image has more pixels than Pillow opens by default.",
        "Cut it into tiles, or leave it out.",
    ),
    "image-not-viewable": Rule(
        "error",
        "Pillow saves this kind of image neither as JPEG nor as PNG: one among the first 100 rows fails the whole "
        "preview.",
        "Store an 8-bit preview as `image` and the file in `original`, as `irtd build` does.",
    ),
    "image-size": Rule(
        "error", "`width` and `height` are not those of the image: boxes do not fit.", _REMOVE
    ),
    "image-gps": Rule(
        "warning",
        "The EXIF of an image says where it was taken.",
        "See whether the place may be known; remove the EXIF from the release's file otherwise.",
    ),
}
"""All rules by code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken somewhere.

    Attributes:
        rule: Code of the rule, a key of `RULES`.
        severity: ``error`` or ``warning``.
        message: What was found and what was expected.
        file: File in the folder; empty where it is about the whole folder.
        row: Row of the file, counted from 0; None where it is about no row.
        remedy: What to do.
    """

    rule: str
    severity: Literal["error", "warning"]
    message: str
    file: str
    row: int | None
    remedy: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Findings:
    """Takes findings while a check runs; keeps some of each rule and counts all."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def add(
        self,
        rule: str,
        message: str,
        file: str = "",
        *,
        row: int | None = None,
        count: int = 1,
        remedy: str = "",
    ) -> None:
        """Take a finding.

        Args:
            rule: Code of the rule.
            message: What was found and what was expected.
            file: File in the folder.
            row: Row of the file.
            count: How many findings it stands for.
            remedy: What to do, where the rule's own remedy can be said more exactly.
        """
        if self.counts[rule] < FINDINGS_KEPT:
            declared = RULES[rule]
            told = remedy or declared.remedy
            self.kept.append(Finding(rule, declared.severity, message, file, row, told))
        self.counts[rule] += count


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check.

    Attributes:
        folder: The folder.
        findings: What was found, errors first; at most `FINDINGS_KEPT` of each rule.
        counts: Number of findings by rule, those that were not kept included.
        facts: What was looked at: rows, files, row groups, bytes, images decoded.
    """

    folder: str
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    facts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: str, findings: Findings, facts: Mapping[str, int]) -> CheckReport:
        """The report of what was found."""
        ordered = sorted(findings.kept, key=lambda finding: finding.severity != "error")  # stable otherwise
        return cls(folder, tuple(ordered), dict(findings.counts), dict(facts))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that break something."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are worth a look."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": self.folder,
            "errors": sum(count for rule, count in self.counts.items() if RULES[rule].severity == "error"),
            "warnings": sum(
                count for rule, count in self.counts.items() if RULES[rule].severity == "warning"
            ),
            "findings": [finding.as_dict() for finding in self.findings],
            "counts": dict(self.counts),
            "facts": dict(self.facts),
        }
