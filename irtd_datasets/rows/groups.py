"""Row groups: rows with their images, each image once, cut within limits; and how they become Arrow columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from irtd_datasets.errors import BuildError
from irtd_datasets.rows.image_column import ImageBatch, ImageBuffer, ImageColumn
from irtd_datasets.schema import FIELDS, FILE_FIELDS, MAY_BE_MISSING, arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "GROUP_BYTES",
    "GROUP_ROWS",
    "ORIGINAL",
    "GroupCutter",
    "RowGroup",
    "text_columns",
    "to_table",
]

GROUP_ROWS = 100
"""Most rows in a row group: the Hub's viewer shows pages of 100."""
GROUP_BYTES = 32 << 20
"""Most bytes in a row group once repeated images are written out; a single row may have more."""

ORIGINAL = "original"
"""Key by which a row carries the file that its image is a preview of, until a row group takes it."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The rows of one row group.

    Args:
        rows: One mapping per row with exactly the columns of the schema other than images; or these columns.
        images: For each image column of the schema, its images and which row shows which.
    """

    rows: Sequence[Mapping[str, Any]] | pa.RecordBatch
    images: Mapping[str, ImageColumn] = field(default_factory=dict)


class GroupCutter:
    """Cuts a sequence of images with their rows into row groups within the limits, one image at a time.

    Images lie in two buffers in turn: while the row group of one is written, that of the other is filled. So what
    `add` yields is valid until it has yielded the row group after the next.
    """

    def __init__(self) -> None:
        self._images, self._other = ImageBuffer(), ImageBuffer()
        self._partners, self._other_partners = ImageBuffer(), ImageBuffer()
        self._begin()

    def _begin(self) -> None:
        self._images, self._other = self._other, self._images
        self._images.clear()
        self._partners, self._other_partners = self._other_partners, self._partners
        self._partners.clear()
        self._partner_names: list[str] = []
        self._partner_of: list[int] = []
        self._rows: list[dict[str, Any]] = []
        self._names: list[str] = []
        self._image_of: list[int] = []
        self._originals: dict[int, bytes] = {}  # by position of an image; nearly always none
        self._bytes = 0

    def room(self, size: int) -> memoryview:
        """Where the next image may be put, so that it need not be copied; see `ImageBuffer.room`."""
        return self._images.room(size)

    def partner_room(self, size: int) -> memoryview:
        """Where the partner of the next image may be put."""
        return self._partners.room(size)

    def add(
        self,
        name: str,
        rows: Sequence[dict[str, Any]],
        data: bytes | memoryview,
        partner: tuple[str, bytes | memoryview] | None = None,
    ) -> Iterator[RowGroup]:
        """Take an image with its released name and its rows; yields the row groups that are full.

        Args:
            name: Its name.
            rows: Its rows.
            data: Its bytes.
            partner: Name and bytes of its visible partner; None without one.
        """
        position = place = -1
        more = 0 if partner is None else len(partner[1])
        for row in rows:
            original = row.pop(ORIGINAL, None)
            size = len(data) + more + len(original or b"") + _text_bytes(row)
            if self._rows and (len(self._rows) >= GROUP_ROWS or self._bytes + size > GROUP_BYTES):
                yield from self.rest()  # before memory is asked for the next one
                position = -1
            if position < 0:
                position = len(self._names)
                self._images.append(data)
                self._names.append(name)
                if original is not None:
                    self._originals[position] = original
                if partner is not None:
                    place = len(self._partner_names)
                    self._partners.append(partner[1])
                    self._partner_names.append(partner[0])
            self._partner_of.append(place)
            self._rows.append(row)
            self._image_of.append(position)
            self._bytes += size

    def rest(self) -> Iterator[RowGroup]:
        """Yield the last row group, if there is one."""
        if not self._rows:
            return
        nothing = ImageColumn.null(len(self._rows))
        original = nothing
        if self._originals:
            place = {image: index for index, image in enumerate(self._originals)}
            batch = ImageBatch.from_images(
                list(self._originals.values()), [self._names[image] for image in self._originals]
            )
            original = ImageColumn.of(batch, [place.get(image, -1) for image in self._image_of])
        image = ImageColumn.of(self._images.batch(self._names), self._image_of)
        visible = nothing
        if self._partner_names:
            visible = ImageColumn.of(self._partners.batch(self._partner_names), self._partner_of)
        yield RowGroup(self._rows, {"image": image, "visible": visible, "original": original})
        self._begin()


def _text_bytes(row: dict[str, Any]) -> int:
    """At least the bytes of a row without its image. Question, answer and objects repeat parts of the messages."""
    return 2048 + 4 * sum([len(message["content"]) for message in row["messages"]])


def text_columns(
    rows: Sequence[Mapping[str, Any]] | pa.RecordBatch, schema: pa.Schema, where: str
) -> pa.RecordBatch:
    """The columns other than images, in the order and the types of a schema.

    Args:
        rows: A mapping for each row, or the columns themselves.
        schema: Columns without metadata.
        where: What a user knows the row group as, for messages.

    Raises:
        BuildError: A row has other columns (those of `MAY_BE_MISSING` are null where it has none), or a value is not
            of its column's type.
    """
    if isinstance(rows, pa.RecordBatch):
        if not rows.schema.equals(schema):
            raise BuildError(
                f"the columns differ from the schema: {rows.schema.names}, expected {schema.names}",
                where=where,
                remedy="Give every column of the schema except the images, in its order and of its type.",
            )
        return rows
    names = set(schema.names)
    for index, row in enumerate(rows):
        if row.keys() != names:
            missing, unknown = sorted(names - set(row) - MAY_BE_MISSING), sorted(set(row) - names)
            if not missing and not unknown:
                continue
            raise BuildError(
                f"the columns differ from the schema: missing {missing}, unknown {unknown}",
                where=f"{where}, row {index}",
                remedy="Give every column of the schema except the images; None where there is no value.",
            )
    try:
        return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(list(schema))))
    except _NO_VALUES:
        for entry in schema:
            _check_column([row.get(entry.name) for row in rows], entry, where)
        raise


_NO_VALUES = (pa.ArrowException, TypeError, ValueError, OverflowError)


def _check_column(values: Sequence[Any], entry: pa.Field, where: str) -> None:
    try:
        pa.array(values, entry.type)
    except _NO_VALUES as error:
        raise BuildError(
            f"column {entry.name!r} cannot be written as {entry.type}: {error}",
            where=where,
            remedy="Check the values of this column in these rows.",
        ) from error


def to_table(group: RowGroup) -> pa.Table:
    """A row group as an Arrow table of the schema, repeated images written out."""
    schema = arrow_schema(metadata=False)
    others = pa.schema([entry for entry in schema if entry.name not in FILE_FIELDS])
    texts = text_columns(group.rows, others, "a row group")
    columns = [
        group.images[name].to_array() if name in FILE_FIELDS else texts.column(name) for name in FIELDS
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema())
