"""The image columns of one row group: each distinct image once, in one buffer, and which row shows which.

Questions about one image share its bytes here, so that an image of 20 rows is held in memory once. In the buffer
each image stands behind its length in four bytes, little-endian: that is how Parquet stores it, so that what was read
from the disk is written as it lies. Nothing in this module decodes an image.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from irtd_datasets.arrow import bit_buffer, to_array
from irtd_datasets.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["FRAME", "ImageBatch", "ImageBuffer", "ImageColumn", "check_columns"]

Bytes = bytes | bytearray | memoryview

# Readers of Arrow's `binary` type count with 32-bit offsets.
_MAX_BUFFER = 2**31 - 1

# A buffer's first size, and the largest that is kept: a row group has more only where a single image has.
_FIRST_BUFFER = 8 << 20
_KEPT_BUFFER = 80 << 20

_PATH = pa.struct([("path", pa.string())])

FRAME = 4
"""Bytes of the number before each image."""

# Bytes of a dictionary beyond its values: one more page header (about 30), an offset in the footer.
_DICTIONARY_OVERHEAD = 48


@dataclass(frozen=True, slots=True, eq=False)
class ImageBatch:
    r"""Encoded images, one after another in one buffer, each behind its length in four bytes.

    Args:
        data: The lengths and bytes of all images; only the part that ``offsets`` covers is used.
        offsets: int32, shape (N + 1,): image ``i`` with its length is ``data[offsets[i]:offsets[i + 1]]``.
        paths: The name of each image, stored beside its bytes; shape (N,), entries may be None.

    Example:
        >>> batch = ImageBatch.from_images([b"one", b"three"], ["1.jpg", "3.jpg"])
        >>> len(batch), batch.sizes.tolist(), bytes(batch[1]), bytes(batch.framed(0))
        (2, [3, 5], b'three', b'\x03\x00\x00\x00one')
    """

    data: Bytes
    offsets: NDArray[np.int32]
    paths: tuple[str | None, ...]

    def __post_init__(self) -> None:
        # Offsets and lengths go into the file, whose readers trust them: a wrong one would break it.
        offsets, size = self.offsets, memoryview(self.data).nbytes
        if offsets.dtype != np.int32 or offsets.ndim != 1 or not len(offsets):
            raise ValueError(
                f"offsets must be int32 of shape (N + 1,), got {offsets.dtype} of {offsets.shape}"
            )
        if offsets[0] < 0 or (np.diff(offsets) < FRAME).any() or offsets[-1] > size:
            raise ValueError(
                f"offsets must leave {FRAME} bytes for each length and stay within the buffer of {size} bytes"
            )
        if len(self.paths) != len(self):
            raise ValueError(f"{len(self.paths)} paths for {len(self)} images")
        found = np.frombuffer(self.data, np.uint8)[offsets[:-1, None] + np.arange(FRAME)].copy()
        if not np.array_equal(found.view("<u4")[:, 0], self.sizes):
            raise ValueError("an image does not stand behind its length, so the offsets are wrong")

    @classmethod
    def from_images(cls, images: Sequence[Bytes], paths: Sequence[str | None] | None = None) -> ImageBatch:
        """Join images that are in memory.

        Args:
            images: The encoded bytes of each image.
            paths: The name of each image; None for images without names.

        Raises:
            BuildError: If they have more than 2**31 - 1 bytes together.
        """
        buffer = ImageBuffer()
        for image in images:
            buffer.append(image)
        return buffer.batch(paths if paths is not None else [None] * len(images))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each image, shape (N,)."""
        return np.diff(self.offsets).astype(np.int64) - FRAME

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> memoryview:
        return memoryview(self.data)[self.offsets[index] + FRAME : self.offsets[index + 1]]

    def framed(self, index: int | None = None) -> memoryview:
        """An image behind its length, or all of them."""
        first, last = (0, -1) if index is None else (index, index + 1)
        return memoryview(self.data)[self.offsets[first] : self.offsets[last]]


_NO_IMAGES = ImageBatch(b"", np.zeros(1, dtype=np.int32), ())


@dataclass(frozen=True, slots=True, eq=False)
class ImageColumn:
    """What an image column shows in each row of a row group.

    Args:
        images: The images; those that no row shows are not written, equal ones are written once.
        rows: For each row the index of its image in ``images``, -1 where it has none; int32, shape (rows,).

    Example:
        Two questions about the first image, one about the second, one without an image:

        >>> column = ImageColumn.of(ImageBatch.from_images([b"one", b"three"]), [0, 0, 1, -1])
        >>> column.decoded_bytes
        11
        >>> column.names()
        [None, None, None, None]
    """

    images: ImageBatch
    rows: NDArray[np.int32]

    @classmethod
    def of(
        cls, images: ImageBatch | Sequence[Bytes], rows: Sequence[int] | NDArray[Any] | None = None
    ) -> ImageColumn:
        """Make a column from images and the image of each row.

        Args:
            images: The images, joined already or as a list of their bytes.
            rows: The index of each row's image, -1 for none; by default row ``i`` shows image ``i``.

        Raises:
            BuildError: If an index names no image.
        """
        batch = images if isinstance(images, ImageBatch) else ImageBatch.from_images(images)
        index = np.arange(len(batch), dtype=np.int32) if rows is None else np.asarray(rows, dtype=np.int32)
        if index.ndim != 1:
            raise BuildError(
                f"the index of the images has shape {index.shape}, expected one number per row",
                remedy="Pass one image index per row, -1 for a row without an image.",
            )
        if len(index) and (index.min() < -1 or index.max() >= len(batch)):
            wrong = int(np.flatnonzero((index < -1) | (index >= len(batch)))[0])
            raise BuildError(
                f"the index is {index[wrong]}, expected -1 (no image) to {len(batch) - 1}",
                where=f"row {wrong} of the row group",
                remedy="Give each row the position of its image in the list of images.",
            )
        return cls(batch, index)

    @classmethod
    def null(cls, rows: int) -> ImageColumn:
        """A column without an image in any of its rows."""
        return cls(_NO_IMAGES, np.full(rows, -1, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def in_order(self) -> bool:
        """Whether row ``i`` shows image ``i``, and there are no others."""
        return len(self.images) == len(self) and np.array_equal(self.rows, np.arange(len(self)))

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the images as a reader holds them: once for every row."""
        if not len(self.images):
            return 0
        return int(self.images.sizes[self.rows[self.rows >= 0]].sum())

    def distinct(self) -> ImageColumn:
        """The same column with each image once, in the order of first use, and none that no row shows.

        Parquet writers give up a dictionary that holds a value twice, and two names of one image are
        common; the first of the names is kept.
        """
        batch = self.images
        # Not `numpy.unique`, which imports all of `numpy.ma`: a thirtieth of a second for each worker.
        kept = list(dict.fromkeys(row for row in self.rows.tolist() if row >= 0))
        sizes = batch.sizes[kept].tolist()
        position = np.full(len(batch) + 1, -1, dtype=np.int32)  # the last entry is where index -1 looks
        position[kept] = np.arange(len(kept))
        if len(set(sizes)) < len(sizes):
            kept, position = _without_copies(batch, kept, position)
        if kept == list(range(len(batch))):
            return self
        parts = [batch[index] for index in kept]
        images = ImageBatch.from_images(parts, [batch.paths[index] for index in kept])
        return ImageColumn(images, position[self.rows])

    def repeated(self) -> ImageColumn | None:
        """The distinct images, where a dictionary of them takes fewer bytes in a file than an image for each row."""
        if not len(self.images):
            return None
        if self.in_order and len(set(self.images.sizes.tolist())) == len(self):
            return None  # nearly always: no image is shown twice, and no two can be equal
        distinct = self.distinct()
        count = len(distinct.images)
        if not count:
            return None
        values = int(distinct.images.sizes.sum()) + FRAME * count
        index_bits = (count - 1).bit_length()
        encoded = values + len(self) * index_bits // 8 + _DICTIONARY_OVERHEAD
        plain = self.decoded_bytes + FRAME * int((self.rows >= 0).sum())
        return distinct if encoded < plain else None

    def names(self) -> list[str | None]:
        """The name of the image of each row; None also where it has none."""
        paths = (*self.images.paths, None)  # the last entry is where index -1 looks
        return [paths[index] for index in self.rows.tolist()]

    def to_array(self) -> pa.StructArray:
        """The column as a reader sees it, ``struct<bytes, path>``, shape (rows,); null where a row has no image."""
        images = [None if index < 0 else self.images[index] for index in self.rows.tolist()]
        fields = [pa.array(images, pa.binary()), pa.array(self.names(), pa.string())]
        return pa.StructArray.from_arrays(fields, ["bytes", "path"], mask=pa.array(self.rows < 0))

    def paths_array(self) -> pa.StructArray:
        """The column without its bytes, ``struct<path>``, shape (rows,)."""
        missing = self.rows < 0
        bitmap = bit_buffer(~missing) if missing.any() else None
        # Not `StructArray.from_arrays`, which imports all of pyarrow.compute: a tenth of a second for each worker.
        paths = to_array(self.names(), pa.string())
        return pa.Array.from_buffers(_PATH, len(self), [bitmap], children=[paths])


class ImageBuffer:
    """Memory in which the images of one row group come to lie as Parquet stores them; used again and again.

    An image is read into the place that `room` gives and stays there when it is appended, so that its bytes are
    copied once between the file that they come from and the one that they go to. Any other bytes are copied in.

    Example:
        >>> buffer = ImageBuffer()
        >>> place = buffer.room(3)
        >>> place[:] = b"one"
        >>> buffer.append(place)
        >>> buffer.append(b"three")
        >>> batch = buffer.batch(["1.jpg", "3.jpg"])
        >>> bytes(batch[0]), bytes(batch[1])
        (b'one', b'three')
    """

    __slots__ = ("_data", "_lent", "_offsets")

    def __init__(self) -> None:
        self._data = memoryview(b"")
        self._offsets = [0]
        self._lent: memoryview | None = None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> memoryview:
        return self._data[self._offsets[index] + FRAME : self._offsets[index + 1]]

    def room(self, size: int) -> memoryview:
        """Where an image of so many bytes may be put; valid until the next call of any method.

        Raises:
            BuildError: The images would have more than 2**31 - 1 bytes together.
        """
        start = self._offsets[-1] + FRAME
        end = start + size
        if end > len(self._data):
            self._grow(end)
        self._lent = self._data[start:end]
        return self._lent

    def append(self, image: Bytes) -> None:
        """Keep an image: what was just put into the `room` given, or any other bytes."""
        place = image if image is self._lent else self.room(len(image))
        if place is not image:
            place[:] = image
        start = self._offsets[-1]
        self._data[start : start + FRAME] = len(image).to_bytes(FRAME, "little")
        self._offsets.append(start + FRAME + len(image))
        self._lent = None

    def frames(self, sizes: Sequence[int]) -> memoryview:
        """Room for images that come with their lengths before them, one after another; they are kept as they come."""
        start = self._offsets[-1]
        ends = np.cumsum(np.array(sizes, np.int64) + FRAME) + start
        self.room(int(ends[-1]) - start - FRAME)
        self._offsets += ends.tolist()
        self._lent = None
        return self._data[start : int(ends[-1])]

    def batch(self, paths: Sequence[str | None]) -> ImageBatch:
        """The images with their names, valid until `clear`."""
        return ImageBatch(self._data, np.asarray(self._offsets, dtype=np.int32), tuple(paths))

    def clear(self) -> None:
        """Make ready for the next row group."""
        self._offsets = [0]
        self._lent = None
        if len(self._data) > _KEPT_BUFFER:
            self._data = memoryview(b"")

    def _grow(self, size: int) -> None:
        if size > _MAX_BUFFER:
            raise BuildError(
                f"the images of a row group have {size} bytes together, expected at most {_MAX_BUFFER}",
                remedy="Leave out the largest image.",
            )
        used = self._offsets[-1]
        # Memory of its own: what is never used takes none, and the system has it back as soon as nobody uses it.
        grown = memoryview(mmap.mmap(-1, min(max(2 * size, _FIRST_BUFFER), _MAX_BUFFER)))
        grown[:used] = self._data[:used]
        self._data = grown


def _without_copies(
    batch: ImageBatch, indices: Sequence[int], position: NDArray[np.int32]
) -> tuple[list[int], NDArray[np.int32]]:
    """The images that differ from all before them, and for each image its place among these."""
    kept: list[int] = []
    alike: dict[tuple[int, bytes], list[int]] = {}
    for index in indices:
        image = batch[index]
        # Same length and same middle are a cheap sieve; what passes is compared in full.
        group = alike.setdefault((len(image), bytes(image[len(image) // 2 :][:32])), [])
        same = next((other for other in group if batch[kept[other]] == image), None)
        if same is None:
            same = len(kept)
            group.append(same)
            kept.append(index)
        position[index] = same
    return kept, position


def check_columns(images: Mapping[str, ImageColumn], expected: Sequence[str], rows: int, where: str) -> None:
    """Hold the image columns of a row group against the schema.

    Raises:
        BuildError: If a column is missing, unknown, or has another number of rows than the table.
    """
    if set(images) != set(expected):
        raise BuildError(
            f"the image columns are {sorted(images)}, the schema has {sorted(expected)}",
            where=where,
            remedy="Pass one ImageColumn for each; ImageColumn.null(rows) where there are no images.",
        )
    for name, column in images.items():
        if len(column) != rows:
            raise BuildError(
                f"column {name!r} shows images for {len(column)} rows, the other columns have {rows}",
                where=where,
                remedy="Give one image index per row, -1 for a row without an image.",
            )
