"""Records set aside in a file, so that memory holds their places and not the records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from irtd_datasets.examples.reading import Scanned, parse, with_suffix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irtd_datasets.examples.draft import Draft
    from irtd_datasets.examples.release import AnnotationFile, Release
    from irtd_datasets.examples.tally import Tally

__all__ = ["Place", "RecordSpool"]

Place: TypeAlias = "tuple[int, int]"
"""Offset and length of a record in the file."""


class RecordSpool:
    """Records of one part in the order in which they were read.

    Args:
        file: Open for what is done with it: writing, reading, or both. It stays the caller's.

    Attributes:
        size: Bytes written so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def add(self, number: int, scanned: Scanned) -> Place:
        """Append a record of the part's annotation file ``number``; returns where it stands."""
        entry = [number, scanned.index, scanned.image, scanned.suffix, scanned.record]
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        place = (self.size, len(line))
        self.size += len(line)
        return place

    def draft(self, release: Release, files: Sequence[AnnotationFile], place: Place) -> Draft:
        """The draft of a record that was added before.

        Raises:
            RecordError: As `Release.draft`.
        """
        number, scanned = self._read(place)
        return with_suffix(release.draft(files[number], scanned.record, scanned.index), scanned.suffix)

    def parse(
        self, release: Release, files: Sequence[AnnotationFile], place: Place, tally: Tally
    ) -> Draft | None:
        """The same; None when the record cannot be used, which is counted in ``tally``."""
        number, scanned = self._read(place)
        return parse(release, files[number], scanned, tally)

    def _read(self, place: Place) -> tuple[int, Scanned]:
        offset, length = place
        self._file.seek(offset)
        number, index, image, suffix, record = json.loads(self._file.read(length))
        return number, Scanned(index, record, image, suffix)
