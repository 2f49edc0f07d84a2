"""Records and drafts set aside in a file, so that memory holds their places and not their texts.

What stands in such a file is written and read by one build: plain values in Python's own serialization, which takes
half the time of JSON and keeps tuples. Its version 2 gives equal values equal bytes, in every Python; later versions
note which of them are one object, and the identity of a shard is a hash of these bytes.
"""

from __future__ import annotations

import json
import marshal
import mmap
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from irtd_datasets.boxes import Frame
from irtd_datasets.rows.parsing import Scanned, parse
from irtd_datasets.rows.pending import Correction, PendingRow, Regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.rows.record_counts import RecordCounts
    from irtd_datasets.rows.release import AnnotationFile, Release

__all__ = [
    "PendingRowFile",
    "Place",
    "RecordFile",
    "pack_pending",
    "packed",
    "unpack_pending",
    "unpacked",
]

Place: TypeAlias = "tuple[int, int]"
"""Offset and length of an entry in the file."""


def packed(value: Any) -> bytes:  # noqa: ANN401 - any plain value
    """A value of texts, bytes, numbers, booleans, None, tuples, lists and mappings as bytes.

    Example:
        >>> unpacked(packed([("a", 1.5), {"b": None}]))
        [('a', 1.5), {'b': None}]
    """
    return marshal.dumps(value, 2)


unpacked = marshal.loads
"""The inverse of `packed`, for bytes that this process or its parent wrote."""


class _Entries:
    """Entries of a file, appended one by one and then read in any order.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._mapped: mmap.mmap | None = None

    def append(self, entry: bytes) -> Place:
        self._file.write(entry)
        place = (self._size, len(entry))
        self._size += len(entry)
        return place

    def __getitem__(self, place: Place) -> bytes:
        if self._mapped is None:
            # A seek in a buffered file throws its buffer away and reads another one, ten times what is asked for.
            self._file.flush()
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, length = place
        return self._mapped[offset : offset + length]


class RecordFile:
    """Records of one part in the order in which they were read.

    Args:
        file: Open for writing and reading. It stays the caller's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._entries = _Entries(file)

    def add(self, number: int, scanned: Scanned) -> Place:
        """Append a record of the part's annotation file ``number``; returns where it stands."""
        facts = (number, scanned.index, scanned.image, scanned.suffix)
        try:
            entry = packed((*facts, scanned.record))
        except ValueError:  # nested deeper than 2,000 levels, which JSON may be from Python 3.13 on
            entry = packed((*facts, json.dumps(scanned.record)))
        return self._entries.append(entry)

    def parse(
        self, release: Release, files: Sequence[AnnotationFile], place: Place, record_counts: RecordCounts
    ) -> PendingRow | None:
        """The pending row of a record added before; None when it cannot be used, which ``record_counts`` counts."""
        number, index, image, suffix, record = unpacked(self._entries[place])
        if isinstance(record, str):
            record = json.loads(record)
        return parse(release, files[number], Scanned(index, record, image, suffix), record_counts)


class PendingRowFile:
    """Drafts of one part: what a build takes from its records, so that none is parsed twice.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.

    Example:
        >>> import tempfile
        >>> turns = ({"role": "user", "content": "?"},)
        >>> pending = PendingRow("irtd/x/1", "a.jpg", "captioning", "infrared", None, turns)
        >>> with tempfile.TemporaryFile() as file:
        ...     spill = PendingRowFile(file)
        ...     spill.pending(spill.add(pending)) == pending
        True
    """

    def __init__(self, file: BinaryIO) -> None:
        self._entries = _Entries(file)

    def add(self, pending: PendingRow) -> Place:
        """Append a draft; returns where it stands."""
        return self._entries.append(pack_pending(pending))

    def pending(self, place: Place) -> PendingRow:
        """A draft that was added before."""
        return unpack_pending(self._entries[place])


_NAMES = tuple(field.name for field in fields(PendingRow))
_PLACES = _NAMES.index("regions")
_CORRECTIONS = _NAMES.index("corrections")
_values = attrgetter(*_NAMES)


def pack_pending(pending: PendingRow) -> bytes:
    """A draft as bytes for `unpack_pending`."""
    values = _values(pending)
    if pending.regions or pending.corrections:
        plain = list(values)
        plain[_PLACES] = tuple(
            [
                (p.kind, p.labels, p.numbers, p.frame.value, p.size, p.decimals, p.only_square)
                for p in pending.regions
            ]
        )
        plain[_CORRECTIONS] = tuple([(c.issue, c.field, c.value) for c in pending.corrections])
        values = tuple(plain)
    return packed(values)


def unpack_pending(data: bytes) -> PendingRow:
    """A draft from the bytes that `pack_pending` gave."""
    values = unpacked(data)
    if values[_PLACES] or values[_CORRECTIONS]:
        values = list(values)
        values[_PLACES] = tuple([_places(*regions) for regions in values[_PLACES]])
        values[_CORRECTIONS] = tuple([Correction(*correction) for correction in values[_CORRECTIONS]])
    return PendingRow(*values)


def _places(
    kind: Literal["box", "polygon", "point"],
    labels: tuple[str, ...],
    numbers: tuple[tuple[float, ...], ...],
    frame: str,
    *rest: Any,  # noqa: ANN401 - of several types
) -> Regions:
    return Regions(kind, labels, numbers, _FRAMES[frame], *rest)


_FRAMES = {frame.value: frame for frame in Frame}
