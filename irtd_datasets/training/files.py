"""The files of an export: images by content, JSON lines, Parquet with images inside."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self

__all__ = [
    "ImageFiles",
    "JsonList",
    "Lines",
    "ParquetParts",
    "RowSink",
    "SortedLines",
    "Table",
    "image_suffix",
]

_SIGNATURES = (
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (0, b"BM", ".bmp"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (4, b"jP  ", ".jp2"),
    (0, b"P5", ".pgm"),
    (0, b"P6", ".ppm"),
)

SHARD_BYTES = 500 << 20
"""Image bytes after which a new Parquet file begins."""


def image_suffix(data: bytes) -> str:
    r"""The file suffix that fits an image's first bytes, whatever its released name says.

    Example:
        >>> image_suffix(b"\x89PNG\r\n\x1a\n...")
        '.png'
    """
    for offset, signature, suffix in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return suffix
    return ".img"


class ImageFiles:
    """Writes each distinct image once, byte for byte, under a name made from its SHA-256.

    Released names are listed beside the files in ``images.csv``: they can repeat, climb and collide, a digest cannot.

    Args:
        folder: The export's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table = (folder / "images.csv").open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._table, lineterminator="\n")
        self._writer.writerow(("file", "sha256", "released_name"))
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        """Distinct images added."""
        return len(self._names)

    def add(self, data: bytes, released: str | None, folder: str = "") -> str:
        """Write an image unless it is there, and return its path inside the export.

        Args:
            data: Its bytes.
            released: The name that the release gives it.
            folder: Where to put it; by default into one of 256 folders below ``images``.
        """
        digest = hashlib.sha256(data).hexdigest()
        relative = f"{folder or f'images/{digest[:2]}'}/{digest[:32]}{image_suffix(data)}"
        if relative not in self._names:
            self._names.add(relative)
            self._write(self._folder / relative, data)
            self._writer.writerow((relative, digest, released or ""))
        return relative

    def _write(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size == len(data):
            return  # an earlier run got this far; files appear under their name only when complete
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)

    def close(self) -> None:
        """Complete ``images.csv``."""
        self._table.close()

    def prune(self) -> None:
        """Remove images that an earlier, unfinished run left here and this one did not need."""
        for path in self._folder.glob("images/*/*"):
            if path.relative_to(self._folder).as_posix() not in self._names:
                path.unlink()
                with contextlib.suppress(OSError):  # others stand in the same folder
                    path.parent.rmdir()


class RowSink(Protocol):
    """Takes the rows of one split."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


class Lines:
    """JSON lines, UTF-8."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._file.write(_line(row) + "\n")


class JsonList:
    """One JSON list, a record a line, written without holding it in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._file.write("[")
        self._separator = "\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.write("\n]\n")
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._file.write(self._separator + _line(row))
        self._separator = ",\n"


class Table:
    """The table of VLMEvalKit: tab-separated, a line for each round, each distinct image once.

    A later line with the same image has the index of the first one in its place, as VLMEvalKit reads it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, delimiter="\t", lineterminator="\n")
        self._writer.writerow(("index", "id", "round", "task", "image", "question", "answer"))
        self._images: dict[bytes, int] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add the rounds of a row, whose image is bytes."""
        for number, (question, answer) in enumerate(row["rounds"]):
            first = self._images.setdefault(hashlib.sha256(row["image"]).digest(), self._count)
            image = base64.b64encode(row["image"]).decode() if first == self._count else str(first)
            self._writer.writerow((self._count, row["id"], number, row["task"], image, question, answer))
            self._count += 1


_NO_OBJECTS = b', "objects": {"ref": [], "bbox": []}}\n'


class SortedLines:
    """JSON lines with the rows that have class names first, then those with boxes, then the others.

    Every line has ``objects``, or none has, when nothing is placed.

    `datasets` guesses the types of a JSON file from its first 10 MB and fails at the first row that does not fit: a
    list that has been empty so far becomes a list of nulls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = [path.with_name(f".{path.name}.{index}.tmp") for index in range(3)]
        self._files = [part.open("w", encoding="utf-8", newline="\n") for part in self._parts]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()
        placed = any(part.stat().st_size for part in self._parts[:2])
        with self._path.open("wb") as whole:
            for part in self._parts[:2]:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, 1 << 20)
            with self._parts[2].open("rb") as source:
                for line in source:
                    whole.write(line[: -len(b"}\n")] + _NO_OBJECTS if placed else line)
        for part in self._parts:
            part.unlink()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        objects = row["objects"]
        if not objects["bbox"]:
            row = {key: value for key, value in row.items() if key != "objects"}
        self._files[0 if objects["ref"] and objects["bbox"] else 1 if objects["bbox"] else 2].write(
            _line(row) + "\n"
        )


_STRING = {"dtype": "string", "_type": "Value"}
_FEATURES: dict[str, Any] = {
    "id": _STRING,
    "messages": [{"role": _STRING, "content": _STRING}],
    "images": [{"_type": "Image"}],
}
_OBJECTS = {"ref": [_STRING], "bbox": [[{"dtype": "float64", "_type": "Value"}]]}
_IMAGE_COLUMN = "images.list.element.bytes"
_ROWS = 100
_ROW_GROUP_BYTES = 32 << 20


class ParquetParts:
    """Parquet files with the columns ``id``, ``messages``, ``images`` (and ``objects``), images inside.

    ``images`` is a list of ``{bytes, path}``, which `datasets` shows as images and which LLaMA-Factory and ms-swift
    take as they are. The bytes of an image that several rows of a row group share are stored once.

    Args:
        folder: Where ``part-00000.parquet`` and so on go.
        objects: Whether rows have ms-swift's ``objects``.
    """

    def __init__(self, folder: Path, *, objects: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        features = {**_FEATURES, "objects": _OBJECTS} if objects else _FEATURES
        self._schema = _schema(objects=objects).with_metadata(
            {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        )
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0
        self._shard_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
            if not self._count:  # a reader needs the columns, also of nothing
                self._open()
        if self._writer is not None:
            self._writer.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        size = sum(len(image["bytes"]) for image in row["images"])
        if self._rows and (len(self._rows) == _ROWS or self._bytes + size > _ROW_GROUP_BYTES):
            self._flush()
        self._rows.append(row)
        self._bytes += size

    def _open(self) -> pq.ParquetWriter:
        if self._writer is not None:
            self._writer.close()
        path = self._folder / f"part-{self._count:05d}.parquet"
        self._count += 1
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression=dict.fromkeys(_leaves(self._schema), "SNAPPY") | {_IMAGE_COLUMN: "NONE"},
            use_dictionary=[_IMAGE_COLUMN],
            write_statistics=["id"],
            dictionary_pagesize_limit=1 << 30,
        )
        return self._writer

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None or self._shard_bytes + self._bytes > SHARD_BYTES:
            self._open()
            self._shard_bytes = 0
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        if self._writer is not None:
            self._writer.write_table(table, row_group_size=len(self._rows))
        self._shard_bytes += self._bytes
        self._rows = []
        self._bytes = 0


def _schema(*, objects: bool) -> pa.Schema:
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("id", pa.string()), ("messages", pa.list_(message)), ("images", pa.list_(image))]
    if objects:
        boxes = pa.list_(pa.list_(pa.float64()))
        fields.append(("objects", pa.struct([("ref", pa.list_(pa.string())), ("bbox", boxes)])))
    return pa.schema(fields)


def _leaves(schema: pa.Schema) -> list[str]:
    """Paths of the columns as Parquet names them."""
    paths: list[str] = []

    def walk(kind: pa.DataType, path: str) -> None:
        if pa.types.is_list(kind):
            walk(kind.value_type, f"{path}.list.element")
        elif pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                walk(kind.field(index).type, f"{path}.{kind.field(index).name}")
        else:
            paths.append(path)

    for entry in schema:
        walk(entry.type, entry.name)
    return paths
