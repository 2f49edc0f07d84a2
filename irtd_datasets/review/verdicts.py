"""Verdicts of people on rows: a file of JSON lines that is only appended to, and what it comes to.

A line is for example::

    {"id": "irtd/pretrain/...", "text": "9f86d08...", "verdict": "edit", "reviewer": "anna",
     "time": "2025-11-30T18:00:00Z", "messages": ["Describe ...", "The image shows ..."], "reason": ""}

``text`` is the digest of the text that was judged (`text_digest`), so that a verdict never falls on another text than
the reviewer saw. Of several verdicts of one reviewer on one row the last counts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.annotations.conversations import IMAGE_TOKEN
from irtd_datasets.appended import LineFile, read_lines
from irtd_datasets.captioning.validate import CONTROL
from irtd_datasets.documents import parse_json
from irtd_datasets.errors import UnknownNameError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "LIMIT",
    "VERDICTS",
    "Agreement",
    "Verdict",
    "VerdictFile",
    "agreements",
    "check_name",
    "find_refusal",
    "kappa",
    "latest",
    "read_verdicts",
    "text_digest",
]

VERDICTS = ("accept", "edit", "reject")

LIMIT = 100_000
"""Most characters of the texts of a row after an edit; the longest released row has a fraction of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one person says of one row.

    Attributes:
        id: Of the row.
        text: Digest of the text that was judged.
        verdict: One of `VERDICTS`.
        reviewer: Who.
        time: When, in UTC, as ISO 8601.
        messages: With ``edit``: the contents of all messages of the row, as they are to be.
        reason: What the reviewer adds.
    """

    id: str
    text: str
    verdict: str
    reviewer: str
    time: str = ""
    messages: tuple[str, ...] = ()
    reason: str = ""

    @property
    def outcome(self) -> tuple[str, tuple[str, ...]]:
        """What it comes to: two verdicts with the same outcome agree."""
        return self.verdict, self.messages


def text_digest(messages: Iterable[Mapping[str, str]]) -> str:
    """32 hexadecimal digits that change with any role or content of a row's messages.

    Example:
        >>> text_digest([{"role": "user", "content": "What is it?"}])
        'b6ff6dfc754d5bf97b1c411452fd3f39'
    """
    turns = [[one["role"], one["content"]] for one in messages]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()[:32]


def find_refusal(messages: Sequence[Mapping[str, str]], texts: Sequence[Any]) -> str:
    r"""Why texts cannot take the place of those of a row; empty where they can.

    Args:
        messages: Those of the row.
        texts: As many contents.

    Example:
        >>> find_refusal([{"role": "assistant", "content": "A car."}], ["\x1b[31mA car."])
        'it has the control character U+001B, which a text cannot have'
    """
    if len(texts) != len(messages) or not all(isinstance(text, str) for text in texts):
        return f"expected {len(messages)} texts, one for each message"
    if sum(map(len, texts)) > LIMIT:
        return f"it has {sum(map(len, texts)):,} characters, at most {LIMIT:,} are taken"
    for text in texts:
        found = CONTROL.search(text)
        if found:
            return f"it has the control character U+{ord(found[0]):04X}, which a text cannot have"
        if not text.strip():
            return "a message would be empty; reject the row instead"
        if IMAGE_TOKEN in text:
            return f"it has {IMAGE_TOKEN}, which stands for the image and is no text"
    return ""


def check_name(name: str) -> str:
    """The name of a reviewer, without blanks around it.

    Raises:
        UnknownNameError: It is empty, too long, or has something in it that a name cannot have.
    """
    name = name.strip()
    if not name or len(name) > 64 or CONTROL.search(name) or not name.isprintable():
        raise UnknownNameError(
            f"{name!r:.80} is no name of a reviewer",
            remedy="Give --reviewer a name of 1 to 64 printable characters.",
        )
    return name


def _verdict(line: bytes, where: str) -> Verdict:
    values = parse_json(line, where, "Take that line out; the other verdicts stay good.")
    row, text, verdict, reviewer = (values[key].text() for key in ("id", "text", "verdict", "reviewer"))
    more = {key: found for key in ("time", "messages", "reason") if (found := values.get(key)) is not None}
    if verdict not in VERDICTS:
        values.refuse(f"the verdict is {verdict!r:.40}, expected {', '.join(VERDICTS)}")
    messages = tuple(more["messages"].texts()) if "messages" in more else ()
    if (verdict == "edit") != bool(messages):
        values.refuse("an edit has messages, and no other verdict has")
    try:
        check_name(reviewer)
    except UnknownNameError as error:
        values.refuse(error.problem)
    time, reason = (more[key].text() if key in more else "" for key in ("time", "reason"))
    return Verdict(row, text, verdict, reviewer, time, messages, reason)


def read_verdicts(path: str | os.PathLike[str]) -> Iterator[Verdict]:
    """The verdicts of a file in the order in which they were given; no file is no verdicts.

    A last line without its end, which a kill leaves, is passed over.

    Raises:
        AnnotationError: A line is no verdict; it names the line.
    """
    for line in read_lines(Path(path), _verdict):
        yield _verdict(line, str(path))


class VerdictFile(LineFile):
    """A file of verdicts, open for more; several processes may append to one at the same time.

    Args:
        path: The file; made when there is none.

    Raises:
        BuildError: It cannot be written.
        AnnotationError: A line of it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Path(path), _verdict, shared=True)
        self._seen = 0

    def fresh(self) -> list[Verdict]:
        """The verdicts that came since this was last asked, by whomever; at first all that are in the file.

        Raises:
            AnnotationError: A line is damaged.
        """
        found = []
        with self.path.open("rb") as file:
            file.seek(self._seen)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # another process is writing it, or was killed while it did
                self._seen += len(line)
                if line.strip():
                    found.append(_verdict(line, f"{self.path} before byte {self._seen}"))
        return found

    def add(self, verdict: Verdict) -> None:
        """Write a verdict with the time; it is on disk when this returns.

        Raises:
            BuildError: The disk is full or gone. The verdict is part of the message, so that it is not lost.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        values = {**asdict(verdict), "time": verdict.time or now}
        kept = {name: value for name, value in values.items() if value or name in ("id", "text")}
        self.append(json.dumps(kept, ensure_ascii=True), "a verdict")


def latest(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """The verdicts that count: for each row, by its id, the last of each reviewer."""
    found: dict[str, dict[str, Verdict]] = {}
    for one in verdicts:
        found.setdefault(one.id, {})[one.reviewer] = one
    return found


def kappa(pairs: Iterable[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters; None where it is not defined: no pair, or both only ever gave one and the same.

    Cohen, A coefficient of agreement for nominal scales, 1960: (p_o - p_e) / (1 - p_e), with the agreement that was
    observed and the one that is to be expected from how often each rater gives each verdict.

    Example:
        >>> kappa([("accept", "accept"), ("accept", "reject"), ("reject", "reject"), ("reject", "reject")])
        0.5
    """
    counted = Counter(pairs)
    total = sum(counted.values())
    if not total:
        return None
    first, second = Counter[str](), Counter[str]()
    for (one, other), count in counted.items():
        first[one] += count
        second[other] += count
    observed = sum(count for (one, other), count in counted.items() if one == other) / total
    expected = sum(first[name] * second[name] for name in first) / total**2
    return None if expected >= 1 else (observed - expected) / (1 - expected)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two reviewers agree on the rows that both have judged.

    Attributes:
        reviewers: Their names.
        rows: Rows with the same text that both have judged.
        same: Of these, with the same verdict.
        kappa: Cohen's kappa; None where it is not defined.
    """

    reviewers: tuple[str, str]
    rows: int
    same: int
    kappa: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "reviewers": list(self.reviewers)}


def agreements(judged: Mapping[str, Mapping[str, Verdict]]) -> list[Agreement]:
    """The agreement of each two reviewers with a row in common.

    Args:
        judged: As `latest` gives it.
    """
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for by_reviewer in judged.values():
        for one, other in combinations(sorted(by_reviewer), 2):
            first, second = by_reviewer[one], by_reviewer[other]
            if first.text == second.text:
                pairs.setdefault((one, other), []).append((first.verdict, second.verdict))
    return [
        Agreement(names, len(found), sum(one == other for one, other in found), kappa(found))
        for names, found in sorted(pairs.items())
    ]
