"""The image columns of one row group: each distinct picture once, in one buffer, and which row shows which.

Questions about one picture share its bytes here, so that a picture of 20 rows is held in memory once. Nothing
in this module decodes a picture.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from irtd_datasets.build.columns import boolean_array, int32_array, to_array
from irtd_datasets.errors import BuildError, ReleaseError, ReleaseNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["ImageBatch", "ImageColumn", "ImageReader", "check_columns"]

Bytes = bytes | bytearray | memoryview

# Arrow's `binary` type counts with 32-bit offsets.
_MAX_BUFFER = 2**31 - 1

# Bytes of a dictionary beyond its values: one more page header (about 30), an offset in the footer.
_DICTIONARY_OVERHEAD = 48


@dataclass(frozen=True, slots=True, eq=False)
class ImageBatch:
    """Encoded pictures, one after another in one buffer.

    Args:
        data: The bytes of all pictures; only the part that ``offsets`` covers is used.
        offsets: int32, shape (N + 1,): picture ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
        paths: The name of each picture, stored beside its bytes; shape (N,), entries may be None.

    Example:
        >>> batch = ImageBatch.from_images([b"one", b"three"], ["1.jpg", "3.jpg"])
        >>> len(batch), batch.sizes.tolist(), bytes(batch[1])
        (2, [3, 5], b'three')
    """

    data: Bytes
    offsets: NDArray[np.int32]
    paths: tuple[str | None, ...]

    def __post_init__(self) -> None:
        # The offsets go to native code, which trusts them: a wrong one would read foreign memory.
        offsets, size = self.offsets, memoryview(self.data).nbytes
        if offsets.dtype != np.int32 or offsets.ndim != 1 or not len(offsets):
            raise ValueError(
                f"offsets must be int32 of shape (N + 1,), got {offsets.dtype} of {offsets.shape}"
            )
        if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > size:
            raise ValueError(f"offsets must not decrease and must stay within the buffer of {size} bytes")
        if len(self.paths) != len(self):
            raise ValueError(f"{len(self.paths)} paths for {len(self)} pictures")

    @classmethod
    def from_images(cls, images: Sequence[Bytes], paths: Sequence[str | None] | None = None) -> ImageBatch:
        """Join pictures that are in memory (one copy).

        Args:
            images: The encoded bytes of each picture.
            paths: The name of each picture; None for pictures without names.

        Raises:
            BuildError: If they have more than 2**31 - 1 bytes together.
        """
        offsets = _offsets([len(image) for image in images])
        return cls(b"".join(images), offsets, tuple(paths) if paths is not None else (None,) * len(images))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each picture, shape (N,)."""
        return np.diff(self.offsets).astype(np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> memoryview:
        return memoryview(self.data)[self.offsets[index] : self.offsets[index + 1]]

    def to_arrow(self) -> pa.Array:
        """The pictures as a ``binary`` array over the same memory, shape (N,)."""
        buffers = [None, pa.py_buffer(np.ascontiguousarray(self.offsets)), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.binary(), len(self), buffers)


@dataclass(frozen=True, slots=True, eq=False)
class ImageColumn:
    """What an image column shows in each row of a row group.

    Args:
        images: The pictures; those that no row shows are not written, equal ones are written once.
        rows: For each row the index of its picture in ``images``, -1 where it has none; int32, shape (rows,).

    Example:
        Two questions about the first picture, one about the second, one without a picture:

        >>> column = ImageColumn.of(ImageBatch.from_images([b"one", b"three"]), [0, 0, 1, -1])
        >>> column.decoded_bytes
        11
        >>> column.to_arrow(dictionary=False).to_pylist()[2:]
        [{'bytes': b'three', 'path': None}, None]
    """

    images: ImageBatch
    rows: NDArray[np.int32]

    @classmethod
    def of(
        cls, images: ImageBatch | Sequence[Bytes], rows: Sequence[int] | NDArray[Any] | None = None
    ) -> ImageColumn:
        """Make a column from pictures and the picture of each row.

        Args:
            images: The pictures, joined already or as a list of their bytes.
            rows: The index of each row's picture, -1 for none; by default row ``i`` shows picture ``i``.

        Raises:
            BuildError: If an index names no picture.
        """
        batch = images if isinstance(images, ImageBatch) else ImageBatch.from_images(images)
        index = np.arange(len(batch), dtype=np.int32) if rows is None else np.asarray(rows, dtype=np.int32)
        if index.ndim != 1:
            raise BuildError(
                f"the index of the pictures has shape {index.shape}, expected one number per row",
                remedy="Pass one picture index per row, -1 for a row without a picture.",
            )
        if len(index) and (index.min() < -1 or index.max() >= len(batch)):
            wrong = int(np.flatnonzero((index < -1) | (index >= len(batch)))[0])
            raise BuildError(
                f"the index is {index[wrong]}, expected -1 (no picture) to {len(batch) - 1}",
                where=f"row {wrong} of the row group",
                remedy="Give each row the position of its picture in the list of pictures.",
            )
        return cls(batch, index)

    @classmethod
    def null(cls, rows: int) -> ImageColumn:
        """A column without a picture in any of its rows."""
        return cls.of([], np.full(rows, -1, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the pictures as a reader holds them: once for every row."""
        return int(self.images.sizes[self.rows[self.rows >= 0]].sum())

    def distinct(self) -> ImageColumn:
        """The same column with each picture once, in the order of first use, and none that no row shows.

        Parquet writers give up a dictionary that holds a value twice, and two names of one picture are
        common; the first of the names is kept.
        """
        batch = self.images
        used, first = np.unique(self.rows[self.rows >= 0], return_index=True)
        in_order = used[np.argsort(first)]
        sizes = batch.sizes[in_order]
        kept: list[int] = in_order.tolist()
        position = np.full(len(batch) + 1, -1, dtype=np.int32)  # the last entry is where index -1 looks
        position[in_order] = np.arange(len(in_order))
        if len(np.unique(sizes)) < len(sizes):
            kept, position = _without_copies(batch, kept, position)
        if kept == list(range(len(batch))):
            return self
        parts = [batch[index] for index in kept]
        images = ImageBatch.from_images(parts, [batch.paths[index] for index in kept])
        return ImageColumn(images, position[self.rows])

    def dictionary_gain(self) -> int:
        """Bytes that a dictionary saves in a file; negative where every row shows its own picture."""
        distinct = self.distinct()
        count = len(distinct.images)
        values = int(distinct.images.sizes.sum()) + 4 * count
        index_bits = max(count - 1, 0).bit_length()
        encoded = values + len(self) * index_bits // 8 + _DICTIONARY_OVERHEAD
        return self.decoded_bytes + 4 * int((self.rows >= 0).sum()) - encoded

    def to_arrow(self, *, dictionary: bool) -> pa.StructArray:
        """The column as ``struct<bytes, path>``, shape (rows,).

        Args:
            dictionary: Give ``bytes`` as a dictionary array that holds each picture once, else as ``binary``.
        """
        missing = self.rows < 0
        holes = missing if missing.any() else None
        if dictionary:
            distinct = self.distinct()
            values = pa.DictionaryArray.from_arrays(
                int32_array(distinct.rows, holes), distinct.images.to_arrow()
            )
        elif holes is None and np.array_equal(self.rows, np.arange(len(self.images))):
            values = self.images.to_arrow()
        elif missing.all():
            values = pa.nulls(len(self), pa.binary())
        else:
            values = self.images.to_arrow().take(int32_array(self.rows, holes))
        names = self.images.paths
        paths = to_array([names[i] if i >= 0 else None for i in self.rows.tolist()], pa.string())
        mask = None if holes is None else boolean_array(holes)
        return pa.StructArray.from_arrays([values, paths], names=["bytes", "path"], mask=mask)


class ImageReader:
    """Reads picture files one behind another into one buffer, which it uses again for the next row group.

    Spares the copy and the fresh memory that ``open(file).read()`` takes for each file.

    Args:
        limit: The most bytes that the pictures of a row group may have together; no more is allocated.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.jpg").write_bytes(b"bytes of a")
        >>> batch = ImageReader().read([folder / "a.jpg"])
        >>> bytes(batch[0]), batch.paths
        (b'bytes of a', ('a.jpg',))
    """

    def __init__(self, limit: int = _MAX_BUFFER) -> None:
        self._limit = min(limit, _MAX_BUFFER)
        self._buffer = np.empty(0, dtype=np.uint8)

    def read(
        self, files: Sequence[str | os.PathLike[str]], paths: Sequence[str | None] | None = None
    ) -> ImageBatch:
        """Read files as a whole.

        Args:
            files: The files of one row group.
            paths: The names to store; by default the last part of each file's path.

        Returns:
            The pictures, valid until the next call.

        Raises:
            ReleaseNotFoundError: If a file is missing.
            ReleaseError: If a file cannot be read, or shrinks while it is read.
            BuildError: If the files have more than ``limit`` bytes together.
        """
        names = paths if paths is not None else [os.path.basename(file) for file in files]  # noqa: PTH119  half the time
        ends = [0]
        file: str | os.PathLike[str] = ""
        try:
            for file in files:
                ends.append(self._read_one(file, ends[-1]))
        except FileNotFoundError as error:
            raise ReleaseNotFoundError(
                "the picture does not exist", where=str(file), remedy="Check that the release is complete."
            ) from error
        except BuildError:
            raise
        except OSError as error:
            raise ReleaseError(
                f"the picture cannot be read ({error.strerror or error})",
                where=str(file),
                remedy="Check that it is a file and that you may read it.",
            ) from error
        return ImageBatch(self._buffer.data, np.asarray(ends, dtype=np.int32), tuple(names))

    def _read_one(self, file: str | os.PathLike[str], start: int) -> int:
        """Read a file to the buffer's byte ``start``; return where it ends."""
        with FileIO(file) as stream:
            end = start + os.fstat(stream.fileno()).st_size
            if end > len(self._buffer):
                self._grow(end, start, file)
            view = self._buffer.data
            position = start
            while position < end:
                count = stream.readinto(view[position:end])
                if not count:
                    raise ReleaseError(
                        f"the file ended {end - position} bytes before its size of {end - start}",
                        where=str(file),
                        remedy="Leave the release alone while it is read, and check the disk.",
                    )
                position += count
        return end

    def _grow(self, size: int, used: int, file: str | os.PathLike[str]) -> None:
        if size > self._limit:
            raise BuildError(
                f"with this picture the row group has {size} bytes, expected at most {self._limit}",
                where=str(file),
                remedy="Put fewer pictures into a row group.",
            )
        # By halves, so that a row group of n pictures does not move its buffer n times.
        grown = np.empty(min(size + size // 2, self._limit), dtype=np.uint8)
        grown[:used] = self._buffer[:used]
        self._buffer = grown


def _without_copies(
    batch: ImageBatch, indices: Sequence[int], position: NDArray[np.int32]
) -> tuple[list[int], NDArray[np.int32]]:
    """The pictures that differ from all before them, and for each picture its place among these."""
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
            remedy="Pass one ImageColumn for each; ImageColumn.null(rows) where there are no pictures.",
        )
    for name, column in images.items():
        if len(column) != rows:
            raise BuildError(
                f"column {name!r} shows pictures for {len(column)} rows, the other columns have {rows}",
                where=where,
                remedy="Give one picture index per row, -1 for a row without a picture.",
            )


def _offsets(sizes: Sequence[int]) -> NDArray[np.int32]:
    """Where each of the pictures begins and ends, int32 of shape (N + 1,)."""
    ends = np.cumsum(np.asarray([0, *sizes], dtype=np.int64))
    if ends[-1] > _MAX_BUFFER:
        raise BuildError(
            f"{len(sizes)} pictures have {ends[-1]} bytes together, expected at most {_MAX_BUFFER}",
            remedy="Put fewer pictures into a row group.",
        )
    return ends.astype(np.int32)
