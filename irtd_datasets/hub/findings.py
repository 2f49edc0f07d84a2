"""What a check of a dataset folder can find: the rules with their codes, and the report.

Every rule says what breaks where it is broken. ``error``: loading, the viewer or the truth of the card breaks, or
something private would be published. ``warning``: worth a look before publishing, and it works without.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from irtd_datasets.spec import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FINDINGS_KEPT", "RULES", "CheckReport", "Finding", "Findings", "Rule"]

FINDINGS_KEPT = 20
"""Findings of one rule that are kept; the others are counted."""


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
    row["code"]: Rule("error" if row["severity"] == "error" else "warning", row["breaks"], row["remedy"])
    for row in read_table("irtd_datasets.hub", "rules.csv")
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
