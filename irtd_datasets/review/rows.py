"""The rows that a reviewer is shown: chosen by task, doubt, sample and reviewer, and read by number."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from irtd_datasets.captioning.validate import CaptionLimits, find_faults
from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.review.verdicts import text_digest
from irtd_datasets.rows.seeded import draw_key
from irtd_datasets.schema import FIELDS, FILE_FIELDS, IMAGE_FIELDS, MODALITIES, TASKS
from irtd_datasets.spec import issue_codes
from irtd_datasets.training.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from irtd_datasets.training.tables import Table

__all__ = ["Choice", "ReviewRows", "doubts_of"]

_TEXTS = tuple(name for name in FIELDS if name not in FILE_FIELDS)
_KEPT = 12  # rows whose images are kept
_LIMITS = CaptionLimits(min_words=1, max_words=400)
_DESCRIBED = frozenset(
    {"captioning", "detailed_description", "conversation", "reasoning", "region_captioning"}
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are shown.

    Attributes:
        tasks: Only rows of these tasks.
        doubts: Only rows with one of these doubts, ``any`` for any but caveats; see `doubts_of`.
        sample: At most so many, the first by a keyed hash of their ids.
        seed: Of that hash, and of how rows are given to reviewers.
        among: Reviewers that the rows are divided among; empty gives all rows to everybody.
        twice: Share of the rows that are given to two of them, to see whether they agree.
        split: None takes ``train``, or the only one.
    """

    tasks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    among: tuple[str, ...] = ()
    twice: float = 0.1
    split: str | None = None

    def is_for(self, row: str, reviewer: str) -> bool:
        """Whether a row, by its id, is given to a reviewer."""
        if not self.among:
            return True
        key = draw_key(self.seed, "reviewer", row)
        first = int.from_bytes(key[:4], "big") % len(self.among)
        chosen = [self.among[first]]
        if int.from_bytes(key[4:8], "big") < self.twice * (1 << 32):
            chosen.append(self.among[(first + 1) % len(self.among)])
        return reviewer in chosen


def doubts_of(row: dict[str, Any]) -> list[str]:
    """What there is to look at in a row: its issues, and what the validator of captions has against its texts.

    Args:
        row: Columns of the schema as stored, with ``messages``, ``issues``, ``task`` and ``modality``.

    Example:
        >>> talk = [{"role": "assistant", "content": "The sky is blue."}]
        >>> doubts_of({"messages": talk, "issues": [], "task": 0, "modality": 0})
        ['colour: blue']
    """
    found = list(row["issues"] or ())
    if TASKS[row["task"]] in _DESCRIBED:
        infrared = MODALITIES[row["modality"]] == "infrared"
        said = [one["content"] for one in row["messages"] if one["role"] == "assistant"]
        for text in said:
            found += [
                fault
                for fault in find_faults(text, _LIMITS)
                if infrared or fault.partition(":")[0] not in {"colour", "light", "visible"}
            ]
    return list(dict.fromkeys(found))


class ReviewRows:
    """The rows of a config that were chosen, by position.

    Text comes from mapped Arrow files and images by their place in the shards (`irtd_datasets.training.tables`), so
    that a row of 100,000 is as near as the first.

    Args:
        folder: A dataset folder of this machine.
        config: Its config; None takes the default one.
        choice: Which rows.
        reviewer: For whom.

    Raises:
        ReleaseNotFoundError: There is no such folder, or no row is chosen.
        UnknownNameError: There is no such config, split, task or reviewer.
    """

    def __init__(self, folder: Path, config: str | None, choice: Choice, reviewer: str) -> None:
        if choice.among and reviewer not in choice.among:
            raise UnknownNameError(
                f"{reviewer!r} is not among the reviewers that the rows are divided among",
                remedy=f"Give --reviewer one of {', '.join(choice.among)}.",
            )
        self.folder, self.config, self.choice = Path(folder), config, choice
        data = f"{folder}:{config}" if config else str(folder)
        options = {"split": choice.split, "tasks": choice.tasks or None}
        self._rows: Table = table(data, **options)  # type: ignore[arg-type]
        self._texts: Table = table(data, columns=self._present(), **options)  # type: ignore[arg-type]
        self._guard = Lock()
        # A caveat stands in every row that was made in some way, and doubts none of them.
        self._caveats = {code for code, one in issue_codes().items() if one.kind == "caveat"}
        ids = [one for source in self._rows.sources for one in source.column("id").to_pylist()]
        numbers = [number for number, one in enumerate(ids) if choice.is_for(one, reviewer)]
        if choice.doubts:
            numbers = [number for number in numbers if self._is_doubted(number)]
        if choice.sample is not None and choice.sample < len(numbers):
            drawn = sorted(numbers, key=lambda number: draw_key(choice.seed, "sample", ids[number]))
            numbers = sorted(drawn[: choice.sample])
        if not numbers:
            raise ReleaseNotFoundError(
                "no row is chosen", where=data, remedy="Leave out --task, --doubt or --among."
            )
        self._numbers = numbers
        self.ids = [ids[number] for number in numbers]
        self._kept: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def _present(self) -> list[str]:
        return [name for name in _TEXTS if name in self._rows.columns]

    def _is_doubted(self, number: int) -> bool:
        found = {one.partition(":")[0] for one in doubts_of(self._texts[number])}
        if "any" in self.choice.doubts:
            return bool(found - self._caveats)
        return bool(found & set(self.choice.doubts))

    def __len__(self) -> int:
        return len(self._numbers)

    def text(self, position: int) -> dict[str, Any]:
        """The columns of a row but its images."""
        with self._guard:
            return self._texts[self._numbers[position]]

    def image(self, position: int, name: str) -> bytes | None:
        """The stored bytes of an image of a row; None where it has none."""
        found = self._images(position).get(name)
        return None if found is None else found["bytes"]

    def images(self, position: int) -> list[str]:
        """Names of the images that a row has."""
        row = self._images(position)
        return [name for name in IMAGE_FIELDS if row.get(name) is not None]

    def _images(self, position: int) -> dict[str, Any]:
        """A row with its images; the last ones are kept, since each image is asked for by itself."""
        with self._guard:
            if position not in self._kept:
                self._kept[position] = self._rows[self._numbers[position]]
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[position]

    def digests(self, positions: Sequence[int]) -> Iterator[str]:
        """The digest of the text of each of some rows."""
        for position in positions:
            yield text_digest(self.text(position)["messages"])
