"""The dataset folder that follows from verdicts: changed texts, rejected rows left out, everything else as it was.

What counts is the last verdict of each reviewer on a row, on the text that the row has now. A verdict on a row that is
gone, on another text, or on an id that several rows have is never applied: it is counted and told. Where several
reviewers have judged a row and do not say the same (another verdict, or another text), the rule ``disagreement``
decides: ``keep`` leaves the row as it is, ``leave-out`` takes it out, ``by:NAME`` follows that reviewer where he or she
is one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.folder.stored import StoredFolder, conformed
from irtd_datasets.review.edits import after_edit, why_not_editable
from irtd_datasets.review.exchange import read_export
from irtd_datasets.review.label_studio import read_tasks
from irtd_datasets.review.verdicts import (
    Agreement,
    Verdict,
    agreements,
    check_name,
    find_refusal,
    latest,
    read_verdicts,
    text_digest,
)
from irtd_datasets.writing.regroup import stored_columns
from irtd_datasets.writing.rewrite import Rewriting, keep_all, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from irtd_datasets.writing.progress import Progress

__all__ = ["EDITED", "Applied", "apply_verdicts"]

EDITED = "human-edit"
"""``issue`` of an entry of ``corrections`` whose value stood in the field before a person changed it."""

REJECTED = "rejected by a reviewer"
"""Why a row is left out, in the ledger."""
DISAGREED = "reviewers disagree"


@dataclass(slots=True)
class Applied:
    """What became of verdicts and rows.

    Attributes:
        folder: The folder that was made.
        rows: Its rows.
        accepted: Rows that were accepted.
        edited: Rows with a new text.
        rejected: Rows left out.
        unjudged: Rows without a verdict, which are in it as they were.
        not_applied: Ids of the rows whose verdicts were not applied, by reason.
        refused: Annotations of Label Studio that are no verdict, by reason.
        agreement: Of each two reviewers.
        disagreement: The rule.
    """

    folder: Path
    rows: int = 0
    accepted: int = 0
    edited: int = 0
    rejected: int = 0
    unjudged: int = 0
    not_applied: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    disagreement: str = "keep"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            **values,
            "folder": str(self.folder),
            "agreement": [one.as_dict() for one in self.agreement],
        }


def apply_verdicts(
    folder: Path,
    config: str | None,
    files: Sequence[Path],
    out: Path,
    *,
    disagreement: str = "keep",
    progress: Progress | None = None,
) -> Applied:
    """Make a dataset folder of a config as its reviewers want it.

    An edited row has the new messages and the columns that follow from them (`irtd_datasets.review.edits`), ``origin``
    ``human:NAME`` with the names of all who have edited it, and the old content of each changed message in
    ``corrections`` with the issue `EDITED`.
    Images are copied and never decoded.

    Args:
        folder: The dataset folder that was reviewed.
        config: Its config; None takes all rows.
        files: Verdicts (see `irtd_datasets.review.verdicts`), or exports of Label Studio.
        out: The folder to make; new or empty.
        disagreement: ``keep``, ``leave-out`` or ``by:NAME``.
        progress: Told what goes on.

    Raises:
        ReleaseNotFoundError: There is no such folder or file.
        UnknownNameError: No such config or rule.
        AnnotationError: A file of verdicts is damaged.
        BuildError: The folder cannot be written or holds something else, or no row is left.
    """
    rule = _rule(disagreement)
    applied = Applied(out, disagreement=disagreement)
    judged = latest(_read(files, applied))
    applied.agreement = agreements(judged)
    stored = StoredFolder.open(folder, config)
    decided = _Decisions(judged, rule, applied)
    decided.look_at(stored)
    made = rewrite(
        [stored],
        out,
        Rewriting(
            f"review --apply --disagreement {rule}",
            keep_all,
            edit=decided.edit,
            identity=decided.identity(),
        ),
        progress=progress,
    )
    applied.rows = sum(made.rows.values())
    return applied


def _rule(text: str) -> str:
    if text in ("keep", "leave-out"):
        return text
    if text.startswith("by:"):
        return f"by:{check_name(text[3:])}"
    raise UnknownNameError(
        f"there is no rule {text!r}", remedy="Use --disagreement keep, leave-out or by:NAME."
    )


def _read(files: Sequence[Path], applied: Applied) -> list[Verdict]:
    """All verdicts, in the order in which they were given."""
    found: list[Verdict] = []
    for path in files:
        if not path.is_file():
            raise ReleaseNotFoundError(
                "there is no such file", where=str(path), remedy="`irtd review FOLDER` writes verdicts.jsonl."
            )
        if read_tasks(path) is None:
            found += read_verdicts(path)
            continue
        export = read_export(path)
        found += export.verdicts
        for reason, count in export.refused.items():
            applied.refused[reason] = applied.refused.get(reason, 0) + count
    # One file is in the order in which its verdicts were given; of several their times tell it.
    return found if len(files) == 1 else sorted(found, key=lambda one: one.time)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What becomes of a row: a verdict, by whom."""

    verdict: str
    who: str
    messages: tuple[str, ...] = ()


class _Decisions:
    """What becomes of each row, once the rows have been looked at."""

    def __init__(self, judged: Mapping[str, Mapping[str, Verdict]], rule: str, applied: Applied) -> None:
        self._judged, self._rule, self._applied = judged, rule, applied
        self._decided: dict[str, _Decision] = {}

    def look_at(self, stored: StoredFolder) -> None:
        """Decide for every row of a folder that has a verdict, and count the verdicts of all others."""
        seen: Counter[str] = Counter()
        rows = 0
        for shard in stored.shards:
            for group, count in enumerate(shard.groups):
                ids = shard.read([group], ["id"])["id"].to_pylist()
                rows += count
                wanted = [place for place, one in enumerate(ids) if one in self._judged]
                seen.update(ids[place] for place in wanted)
                if wanted:
                    table = shard.read([group], stored_columns(shard)).take(wanted)
                    for row in conformed(table).to_pylist():
                        self._decide(row)
            shard.forget()
        for name, count in seen.items():
            if count > 1:
                self._decided.pop(name, None)
                self._not_applied("several rows have the id", name)
        for name in self._judged:
            if name not in seen:
                self._not_applied("there is no such row", name)
        counts = Counter(one.verdict for one in self._decided.values())
        applied = self._applied
        applied.accepted, applied.edited, applied.rejected = (
            counts[verdict] for verdict in ("accept", "edit", "reject")
        )
        applied.unjudged = rows - sum(counts.values())

    def _not_applied(self, reason: str, name: str) -> None:
        names = self._applied.not_applied.setdefault(reason, [])
        if name not in names[-1:]:
            names.append(name)

    def _decide(self, row: Mapping[str, Any]) -> None:
        digest = text_digest(row["messages"])
        current = [one for one in self._judged[row["id"]].values() if one.text == digest]
        if len(current) < len(self._judged[row["id"]]):
            self._not_applied("the text was changed since", row["id"])
        usable = []
        for one in current:
            problem = ""
            if one.verdict == "edit":
                problem = find_refusal(row["messages"], one.messages) or why_not_editable(row, one.messages)
            if problem:
                self._not_applied(f"the edit cannot be taken: {problem}", row["id"])
            else:
                usable.append(one)
        if usable:
            decision = self._settle(row["id"], usable)
            if decision is not None:
                self._decided[row["id"]] = decision

    def _settle(self, name: str, verdicts: list[Verdict]) -> _Decision | None:
        who = ",".join(sorted(one.reviewer for one in verdicts))
        if len({one.outcome for one in verdicts}) == 1:
            return _Decision(verdicts[0].verdict, who, verdicts[0].messages)
        chosen = [one for one in verdicts if self._rule == f"by:{one.reviewer}"]
        self._not_applied(DISAGREED, name)
        if chosen:
            return _Decision(chosen[0].verdict, chosen[0].reviewer, chosen[0].messages)
        return _Decision("reject", who) if self._rule == "leave-out" else None

    def identity(self) -> str:
        """Of everything that decides the result."""
        values = {name: asdict(one) for name, one in sorted(self._decided.items())}
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def edit(self, row: dict[str, Any]) -> dict[str, Any] | str:
        """A row as it is to be, or why it is left out."""
        decision = self._decided.get(row["id"])
        if decision is None or decision.verdict == "accept":
            return row
        if decision.verdict == "reject":
            return REJECTED
        columns = after_edit(row, decision.messages)
        messages, corrections = [], list(columns.get("corrections", row["corrections"] or ()))
        for index, (message, text) in enumerate(zip(row["messages"], decision.messages, strict=True)):
            if text != message["content"]:
                corrections.append(
                    {"issue": EDITED, "field": f"messages[{index}].content", "value": message["content"]}
                )
            messages.append({**message, "content": text})
        changed = {**row, **columns, "messages": messages, "corrections": corrections}
        if "origin" in row:
            people = [*(row["origin"] or "").partition("human:")[2].split(","), *decision.who.split(",")]
            changed["origin"] = f"human:{','.join(dict.fromkeys(filter(None, people)))}"
        return changed
