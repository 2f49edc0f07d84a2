"""Records and drafts set aside in a file, so that memory holds their places and not their texts."""

from __future__ import annotations

import json
import mmap
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from irtd_datasets.boxes import Frame
from irtd_datasets.examples.draft import Correction, Draft, Places, json_encoder
from irtd_datasets.examples.reading import Scanned, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.examples.release import AnnotationFile, Release
    from irtd_datasets.examples.tally import Tally

__all__ = [
    "DraftSpool",
    "Place",
    "RecordSpool",
    "draft_from_json",
    "draft_line",
    "json_from_line",
    "json_line",
]

Place: TypeAlias = "tuple[int, int]"
"""Offset and length of a line in the file."""

_decode = json.JSONDecoder().raw_decode


json_line = json_encoder(",", ":")
"""A value as JSON in one line of ASCII, without blanks."""


def json_from_line(line: bytes) -> Any:  # noqa: ANN401 - any value
    """The inverse of `json_line`, for a line that this process or its parent wrote."""
    return _decode(line.decode("ascii"))[0]


class _Lines:
    """Lines of a file, appended one by one and then read in any order.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._mapped: mmap.mmap | None = None

    def append(self, line: bytes) -> Place:
        self._file.write(line + b"\n")
        place = (self._size, len(line))
        self._size += len(line) + 1
        return place

    def __getitem__(self, place: Place) -> bytes:
        if self._mapped is None:
            # A seek in a buffered file throws its buffer away and reads another one, ten times what is asked for.
            self._file.flush()
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, length = place
        return self._mapped[offset : offset + length]


class RecordSpool:
    """Records of one part in the order in which they were read.

    Args:
        file: Open for writing and reading. It stays the caller's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _Lines(file)

    def add(self, number: int, scanned: Scanned) -> Place:
        """Append a record of the part's annotation file ``number``; returns where it stands."""
        entry = [number, scanned.index, scanned.image, scanned.suffix, scanned.record]
        return self._lines.append(json_line(entry).encode())

    def parse(
        self, release: Release, files: Sequence[AnnotationFile], place: Place, tally: Tally
    ) -> Draft | None:
        """The draft of a record that was added before; None when it cannot be used, which is counted in ``tally``."""
        number, index, image, suffix, record = json_from_line(self._lines[place])
        return parse(release, files[number], Scanned(index, record, image, suffix), tally)


class DraftSpool:
    """Drafts of one part: what a build takes from its records, so that none is parsed twice.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.

    Example:
        >>> import tempfile
        >>> draft = Draft("irtd/x/1", "a.jpg", "captioning", "infrared", None, ({"role": "user", "content": "?"},))
        >>> with tempfile.TemporaryFile() as file:
        ...     spool = DraftSpool(file)
        ...     spool.draft(spool.add(draft)) == draft
        True
    """

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _Lines(file)

    def add(self, draft: Draft) -> Place:
        """Append a draft; returns where it stands."""
        return self._lines.append(draft_line(draft).encode())

    def draft(self, place: Place) -> Draft:
        """A draft that was added before."""
        return draft_from_json(json_from_line(self._lines[place]))


_NAMES = tuple(field.name for field in fields(Draft))
_TUPLES = tuple(index for index, field in enumerate(fields(Draft)) if str(field.type).startswith("tuple"))
_PLACES = _NAMES.index("places")
_CORRECTIONS = _NAMES.index("corrections")
_values = attrgetter(*_NAMES)
_places_values = attrgetter(*(field.name for field in fields(Places)))


def draft_line(draft: Draft) -> str:
    """A draft as JSON for `draft_from_json`, without a line end."""
    values = list(_values(draft))
    if draft.places:
        values[_PLACES] = list(map(_places_values, draft.places))
    if draft.corrections:
        values[_CORRECTIONS] = [(c.issue, c.field, c.value) for c in draft.corrections]
    return json_line(values)


def draft_from_json(values: list[Any]) -> Draft:
    """A draft from the parsed JSON of a `DraftSpool`."""
    if values[_PLACES]:
        values[_PLACES] = [_places(*places) for places in values[_PLACES]]
    if values[_CORRECTIONS]:
        values[_CORRECTIONS] = [Correction(*correction) for correction in values[_CORRECTIONS]]
    for index in _TUPLES:
        if values[index] is not None:
            values[index] = tuple(values[index])
    return Draft(*values)


def _places(kind: str, labels: list[str], numbers: list[list[float]], frame: str, *rest: Any) -> Places:  # noqa: ANN401
    size, *others = rest
    return Places(
        kind,  # type: ignore[arg-type]  # as it was put in
        tuple(labels),
        tuple(map(tuple, numbers)),
        Frame(frame),
        None if size is None else tuple(size),
        *others,
    )
