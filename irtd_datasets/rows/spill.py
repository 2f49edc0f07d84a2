"""Pending rows set aside in a file, so that memory holds their places and not their texts.

What stands in such a file is written and read by one build: plain values in Python's own serialization, which takes
half the time of JSON and keeps tuples. Its version 2 gives equal values equal bytes, in every Python; later versions
note which of them are one object, and the identity of a shard is a hash of these bytes.
"""

from __future__ import annotations

import marshal
import mmap
from dataclasses import fields
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from irtd_datasets.boxes import Frame
from irtd_datasets.rows.order import RowOrder, image_key
from irtd_datasets.rows.pending import Correction, PendingRow, Regions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "PendingRowFile",
    "Place",
    "pack_pending",
    "packed",
    "unpack_pending",
    "unpacked",
]

Place: TypeAlias = "tuple[int, int]"
"""Offset and length of an entry in the file."""

_LENGTH = 4  # bytes that tell how many a name has


def packed(value: Any) -> bytes:  # noqa: ANN401 - any plain value
    """A value of texts, bytes, numbers, booleans, None, tuples, lists and mappings as bytes.

    Example:
        >>> unpacked(packed([("a", 1.5), {"b": None}]))
        [('a', 1.5), {'b': None}]
    """
    return marshal.dumps(value, 2)


unpacked = marshal.loads
"""The inverse of `packed`, for bytes that this process or its parent wrote."""


class PendingRowFile:
    """The pending rows of one part, set aside as they come and read back in the order of the rows.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.

    Example:
        >>> import tempfile
        >>> turns = ({"role": "user", "content": "?"},)
        >>> with tempfile.TemporaryFile() as file:
        ...     rows = PendingRowFile(file)
        ...     rows.extend(PendingRow(f"irtd/x/{n}", n + ".jpg", "captioning", "sar", None, turns) for n in "aba")
        ...     [(image, len(entries)) for image, entries in rows.units("by-image")]
        [('a.jpg', 2), ('b.jpg', 1)]
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._order = RowOrder()
        self._mapped: mmap.mmap | bytes = b""

    def extend(self, pending_rows: Iterable[PendingRow]) -> None:
        """Append rows."""
        for pending in pending_rows:
            # The name goes along in the file: what waits in memory is a key of eight bytes.
            name = pending.image.encode("utf-8", "surrogatepass")
            entry = b"".join((len(name).to_bytes(_LENGTH, "little"), name, pack_pending(pending)))
            self._order.add(int.from_bytes(image_key(pending.image), "big"), self._file.write(entry))

    def units(self, order: str) -> Iterator[tuple[str, list[bytes]]]:
        """Rows of one image together, in the order of the subset.

        Args:
            order: ``by-image`` or ``as-released``; in the latter only neighbours share a unit.

        Yields:
            Images in order, each with its rows for `unpack_pending`.
        """
        for places in self._order.groups(order):
            found = [self._entry(*place) for place in places.tolist()]
            names = [name for name, _ in found]
            if names.count(names[0]) == len(names):
                yield _text(names[0]), [pending for _, pending in found]
                continue
            if order == "by-image":  # two images with one key
                found.sort(key=itemgetter(0))
            for name, same in groupby(found, key=itemgetter(0)):
                yield _text(name), [pending for _, pending in same]

    def waiting(self) -> dict[str, list[Place]]:
        """Images in the order in which they were first named, each with the places of its rows for `pending`."""
        images: dict[str, list[Place]] = {}
        for places in self._order.groups("as-released"):
            for offset, length in places.tolist():
                images.setdefault(_text(self._entry(offset, length)[0]), []).append((offset, length))
        return images

    def pending(self, place: Place) -> PendingRow:
        """A row that was added before, by this object or another one of the file."""
        return unpack_pending(self._entry(*place)[1])

    def _entry(self, offset: int, length: int) -> tuple[bytes, bytes]:
        if not self._mapped:
            # A seek in a buffered file throws its buffer away and reads another one, ten times what is asked for.
            self._file.flush()
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        entry = self._mapped[offset : offset + length]
        end = _LENGTH + int.from_bytes(entry[:_LENGTH], "little")
        return entry[_LENGTH:end], entry[end:]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


_NAMES = tuple(field.name for field in fields(PendingRow))
_PLACES = _NAMES.index("regions")
_CORRECTIONS = _NAMES.index("corrections")
_values = attrgetter(*_NAMES)


def pack_pending(pending: PendingRow) -> bytes:
    """A pending row as bytes for `unpack_pending`."""
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
    """A pending row from the bytes that `pack_pending` gave."""
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
