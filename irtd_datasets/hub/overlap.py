"""What two datasets share: the same files, the same pixels, images that look the same, the same sources.

MMRS-1M and RS-GPT4V share nine sources, and MMRS-1M has the test images of RSICD: whoever mixes them, or tests on
one after training on the other, has to know. Matches of the first two kinds are certain. A perceptual match is a
reason to look: neighbouring frames of a video match, too.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irtd_datasets.errors import AnnotationError, BuildError, ImageError, UnknownNameError
from irtd_datasets.folder.row_groups import RowGroupRef, config_files, config_names, read_groups
from irtd_datasets.hub.image_hash import FLAT, look, near_pairs, pixel_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "KINDS",
    "MAX_DISTANCE",
    "NotIn",
    "Overlap",
    "ScannedImages",
    "SharedSource",
    "Side",
    "find_overlap",
    "not_in",
    "scan_images",
]

KINDS = {
    "bytes": "the same file, by SHA-256",
    "pixels": "the same decoded pixels in another encoding, by SHA-256",
    "similar": "looks the same by perceptual hash: not certain",
}
"""Kinds of match, the most certain first."""

MAX_DISTANCE = 6
"""Bits of 64 by which two images may differ and count as similar.

Tried on real images: re-encoding, halving and brightening by 15 % change at most 6 bits, except where faint small
targets are all there is (up to 22); neighbouring video frames differ in 2 to 8, two images of different sets in
10 or more. See ``docs/overlap.md``.
"""

_REENCODED = (
    6  # bits by which decoding at full size and at an eighth can differ, with room: at most 4 were seen
)
_BATCH = 100
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("kind", pa.string()),
        ("distance", pa.int32()),
        ("other_id", pa.string()),
        ("source", pa.string()),
        ("other_source", pa.string()),
    ]
)


@dataclass(slots=True)
class Side:
    """One of the two datasets.

    Attributes:
        name: As the caller named it.
        rows: Rows.
        images: Distinct images, by their bytes.
        without_image: Rows that have none.
        undecodable: Images that only their bytes were compared of.
        featureless: Images of one colour, nearly: too little to tell them apart, so not compared by their look.
    """

    name: str
    rows: int = 0
    images: int = 0
    without_image: int = 0
    undecodable: int = 0
    featureless: int = 0


@dataclass(frozen=True, slots=True)
class SharedSource:
    """A source that both datasets name.

    Attributes:
        source: Its name in the first.
        other_source: Its name in the second, which may be spelt otherwise.
        rows: Rows of it in the first.
        other_rows: Rows of it in the second.
        matched: Rows of it in the first whose image is in the second.
    """

    source: str
    other_source: str
    rows: int
    other_rows: int
    matched: int


@dataclass(slots=True)
class Overlap:
    """What the first dataset shares with the second.

    Attributes:
        a: The first.
        b: The second.
        rows: Rows of the first whose image is in the second, by kind.
        images: Distinct images of the first that are in the second, by kind.
        distances: Of the similar images, by bits.
        sources: Sources that both name.
        table: A line for each such row: ``id``, ``kind``, ``distance`` (bits; 0 where certain), ``other_id`` (a row of
            the second with the nearest image), ``source``, ``other_source``.
    """

    a: Side
    b: Side
    rows: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    distances: Counter[int] = field(default_factory=Counter)
    sources: list[SharedSource] = field(default_factory=list)
    table: pa.Table = field(default_factory=_SCHEMA.empty_table)

    def keep(self, kinds: Collection[str] = tuple(KINDS), max_distance: int | None = None) -> NotIn:
        """A predicate that is true for the rows of the first dataset that the second does not have.

        Args:
            kinds: Kinds of match that count.
            max_distance: Bits at most for similar images; None takes all that were found.
        """
        return NotIn(_chosen(self.table, kinds, max_distance))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet, or as CSV where the name ends so; `not_in` reads both.

        Raises:
            BuildError: It cannot be written.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            if path.suffix == ".csv":
                with temporary.open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow(_SCHEMA.names)
                    for batch in self.table.to_batches(max_chunksize=10_000):
                        writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            else:
                with temporary.open("wb") as binary:  # pyarrow takes some names for URLs
                    pq.write_table(self.table, binary)
            temporary.replace(path)
        except OSError as error:
            raise BuildError(error.strerror or str(error), where=str(path)) from error

    def as_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Plain values.

        Args:
            limit: Lines of the table at most; None gives all.
        """
        table = self.table if limit is None else self.table.slice(0, limit)
        return {
            "a": asdict(self.a),
            "b": asdict(self.b),
            "rows": {kind: self.rows[kind] for kind in KINDS},
            "images": {kind: self.images[kind] for kind in KINDS},
            "distances": {str(bits): count for bits, count in sorted(self.distances.items())},
            "sources": [asdict(source) for source in self.sources],
            "matches": table.to_pylist(),
        }


class NotIn:
    """True for rows whose id is not listed; goes through pickle, so that ``Dataset.filter(num_proc=...)`` takes it.

    Takes a row, or an id (``input_columns=["id"]``, which spares decoding the images).

    Args:
        ids: Ids of the rows to leave out.

    Example:
        >>> keep = NotIn(["irtd/instruct/grounding/4"])
        >>> keep({"id": "irtd/instruct/grounding/5"}), keep("irtd/instruct/grounding/4")
        (True, False)
    """

    __slots__ = ("_ids",)

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = frozenset(ids)

    def __call__(self, row: Mapping[str, Any] | str) -> bool:
        """Whether the row, or the row of that id, is to be kept."""
        return (row if isinstance(row, str) else row["id"]) not in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __reduce__(self) -> tuple[type[NotIn], tuple[tuple[str, ...]]]:
        # In one order whatever the run's hash seed, so that `datasets` recognises the filter in its cache.
        return NotIn, (tuple(sorted(self._ids)),)


def not_in(
    path: str | os.PathLike[str], kinds: Collection[str] = tuple(KINDS), max_distance: int | None = None
) -> NotIn:
    r"""Read a filter that ``irtd overlap --out`` wrote.

    Args:
        path: The Parquet or CSV file.
        kinds: Kinds of match that count: ``bytes`` and ``pixels`` are certain, ``similar`` is not.
        max_distance: Bits at most for similar images; None takes all that were found.

    Returns:
        A predicate for ``Dataset.filter`` and for exports.

    Raises:
        AnnotationError: The file is no such filter.
        UnknownNameError: There is no such kind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "filter.csv"
        >>> _ = path.write_text("id,kind,distance\nx/1,bytes,0\nx/2,similar,4\n")
        >>> list(map(not_in(path, kinds=["bytes", "pixels"]), ["x/1", "x/2"]))
        [False, True]
    """
    path = Path(path)
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            columns = {
                "id": [line["id"] for line in lines],
                "kind": [line["kind"] for line in lines],
                "distance": [int(line["distance"]) for line in lines],
            }
            table = pa.table(columns)
        else:
            table = pq.read_table(path, columns=["id", "kind", "distance"])
        return NotIn(_chosen(table, kinds, max_distance))
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise AnnotationError(
            f"it is no filter: {error}",
            where=str(path),
            remedy="Write one with `irtd overlap A B --out FILE`.",
        ) from error


def _chosen(table: pa.Table, kinds: Collection[str], max_distance: int | None) -> list[str]:
    wanted = {kinds} if isinstance(kinds, str) else set(kinds)
    if unknown := wanted - set(KINDS):
        raise UnknownNameError(
            f"there is no kind of match {min(unknown)!r}", remedy=f"The kinds are {', '.join(KINDS)}."
        )
    limit = 64 if max_distance is None else max_distance
    columns = (table[name].to_pylist() for name in ("id", "kind", "distance"))
    return [row_id for row_id, kind, bits in zip(*columns, strict=True) if kind in wanted and bits <= limit]


def find_overlap(
    a: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    b: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    parts: tuple[str | None, str | None] = (None, None),
    max_distance: int = MAX_DISTANCE,
    workers: int = 1,
) -> Overlap:
    """Find the rows of one dataset whose image is in another.

    Memory holds about 200 bytes for each row and each distinct image; images themselves only one row group at a
    time.

    Args:
        a: A dataset folder, or rows with ``id`` and an ``image`` of ``{bytes, path}`` (and ``source``).
        b: Likewise.
        parts: For folders, ``config`` or ``config/split`` of each; None takes all configs.
        max_distance: Bits of 64 by which two images may differ and count as similar, 0 to 15.
        workers: Threads that decode.

    Raises:
        ReleaseNotFoundError: There is no dataset folder.
        UnknownNameError: There is no such config or split.
        AnnotationError: A file or a row cannot be read.
    """
    first, second = (scan_images(source, part, workers) for source, part in zip((a, b), parts, strict=True))
    matches = _match(first, second, max_distance, workers)
    return _report(first, second, matches)


class ScannedImages:
    """The distinct images of one dataset and which row shows which.

    Attributes:
        bits: The perceptual hash of each distinct image.
        usable: Whether it has one: it can be decoded, and is not of one colour.
        first_row: The first row that shows it.
        row_image: For the rows as they were added, the position of their image; -1 where a row has none.
    """

    def __init__(self, name: str) -> None:
        self.side = Side(name)
        self.index: dict[bytes, int] = {}
        self.bits: list[int] = []
        self.usable: list[bool] = []
        self.first_row: list[int] = []
        self.place: list[tuple[RowGroupRef, int] | None] = []
        self.pixels: dict[int, bytes] = {}
        self.ids: list[pa.Array] = []
        self.sources: list[str] = []
        self._source_codes: dict[str, int] = {}
        self.row_source: list[NDArray[np.int32]] = []
        self.row_image: list[NDArray[np.int32]] = []

    def add(
        self,
        ids: Sequence[str],
        images: Sequence[bytes | None],
        sources: Sequence[str | None],
        ref: RowGroupRef | None,
        run: Callable[..., Iterator[Any]],
        *,
        pixels: bool = True,
    ) -> None:
        """Add rows; ``run`` is ``map``, or that of a pool; without ``pixels`` nobody will ask for their digest."""
        distinct = np.full(len(ids), -1, np.int32)
        new: list[tuple[int, bytes]] = []
        for row, data in enumerate(images):
            if data is None:
                self.side.without_image += 1
                continue
            digest = hashlib.sha256(data).digest()
            position = self.index.get(digest)
            if position is None:
                position = self.index[digest] = len(self.index)
                self.first_row.append(self.side.rows + row)
                self.place.append((ref, row) if ref else None)
                new.append((position, data))
            distinct[row] = position
        data_of_new = [data for _, data in new]
        for found in run(_look, data_of_new):
            self._describe(found)
        if ref is None and pixels:  # these rows will not come again
            self._keep_pixels((position for position, _ in new), run(_digest, data_of_new))
        codes = [self._code(source or "") for source in sources]
        self.side.rows += len(ids)
        self.side.images = len(self.index)
        self.ids.append(pa.array(ids, pa.string()))
        self.row_image.append(distinct)
        self.row_source.append(np.array(codes, np.int32))

    def _describe(self, found: Any) -> None:  # noqa: ANN401 - a Look or None, through a pool
        flat = found is not None and found.contrast < FLAT
        self.side.undecodable += found is None
        self.side.featureless += flat
        self.bits.append(0 if found is None else found.bits)
        self.usable.append(found is not None and not flat)

    def _code(self, source: str) -> int:
        if source not in self._source_codes:
            self._source_codes[source] = len(self.sources)
            self.sources.append(source)
        return self._source_codes[source]

    def digest_pixels(self, wanted: Iterable[int], run: Callable[..., Iterator[Any]]) -> None:
        """Decode images once more, in full, for the digest of their pixels."""
        groups: dict[RowGroupRef, list[tuple[int, int]]] = {}
        for position in wanted:
            place = self.place[position]
            if place is not None and position not in self.pixels:
                groups.setdefault(place[0], []).append((place[1], position))
        for ref, members in groups.items():
            column = ref.read(["image.bytes"])["image"].combine_chunks().field("bytes")
            data = [column[row].as_py() for row, _ in members]
            self._keep_pixels((position for _, position in members), run(_digest, data))

    def _keep_pixels(self, positions: Iterable[int], digests: Iterable[bytes | None]) -> None:
        for position, digest in zip(positions, digests, strict=True):
            if digest is not None:
                self.pixels[position] = digest

    def row_ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Ids of rows."""
        ids = pa.chunked_array(self.ids, pa.string())
        found: list[str] = ids.take(pa.array(rows)).to_pylist()
        return found


def _look(data: bytes) -> Any:  # noqa: ANN401 - a Look, or None
    try:
        return look(data)
    except ImageError:
        return None


def _digest(data: bytes) -> bytes | None:
    try:
        return pixel_digest(data)
    except ImageError:
        return None


def scan_images(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]], part: str | None, workers: int
) -> ScannedImages:
    """Hash all images of a dataset folder, or of rows; see `find_overlap`."""
    with ThreadPoolExecutor(workers) as pool:
        run: Callable[..., Iterator[Any]] = pool.map if workers > 1 else map
        if isinstance(source, str | os.PathLike):
            distinct = ScannedImages(os.fspath(source) + (f" ({part})" if part else ""))
            for ref, table in read_groups(_files(source, part), ("id", "image.bytes", "source")):
                images = table["image"].combine_chunks().field("bytes").to_pylist()
                distinct.add(table["id"].to_pylist(), images, table["source"].to_pylist(), ref, run)
            return distinct
        distinct = ScannedImages("rows")
        rows = iter(source)
        while batch := list(islice(rows, _BATCH)):
            images = [_image_bytes(row) for row in batch]
            ids = [str(row.get("id")) for row in batch]
            distinct.add(ids, images, [row.get("source") for row in batch], None, run)
        return distinct


def _image_bytes(row: Mapping[str, Any]) -> bytes | None:
    image = row.get("image")
    if image is None or (isinstance(image, Mapping) and "bytes" in image):
        return image["bytes"] if image else None
    raise AnnotationError(
        f"the image is a {type(image).__name__}, expected its bytes",
        where=f"row {row.get('id')}",
        remedy='Cast the column first: ds.cast_column("image", datasets.Image(decode=False)).',
    )


def _files(folder: str | os.PathLike[str], part: str | None) -> list[Path]:
    """The files of a part; of all configs together each once, since configs share files."""
    config, _, split = (part or "").partition("/")
    names = [config] if config else config_names(folder)
    files: dict[Path, None] = {}
    for name in names:
        splits = config_files(folder, name)
        if split and split not in splits:
            raise UnknownNameError(
                f"config {name!r} has no split {split!r}",
                where=os.fspath(folder),
                remedy=f"The splits are {', '.join(splits)}.",
            )
        for found in [splits[split]] if split else splits.values():
            files.update(dict.fromkeys(found))
    return list(files)


@dataclass(slots=True)
class _Matches:
    """For each distinct image of the first dataset: what it is in the second; -1 where nothing."""

    other: NDArray[np.int64]
    kind: NDArray[np.int8]
    distance: NDArray[np.int32]


def _match(first: ScannedImages, second: ScannedImages, max_distance: int, workers: int) -> _Matches:
    count = len(first.index)
    result = _Matches(np.full(count, -1, np.int64), np.full(count, -1, np.int8), np.full(count, 65, np.int32))
    kinds = list(KINDS)
    near_a, near_b = _similar(first, second, max_distance, result, kinds.index("similar"))
    with ThreadPoolExecutor(workers) as pool:
        run: Callable[..., Iterator[Any]] = pool.map if workers > 1 else map
        certain = {position for digest, position in first.index.items() if digest in second.index}
        first.digest_pixels((int(i) for i in near_a if int(i) not in certain), run)
        second.digest_pixels(map(int, near_b), run)
    by_pixels = {digest: position for position, digest in reversed(second.pixels.items())}
    for position, digest in first.pixels.items():
        if digest in by_pixels:
            _set(result, position, by_pixels[digest], kinds.index("pixels"))
    for digest, position in first.index.items():
        if digest in second.index:
            _set(result, position, second.index[digest], kinds.index("bytes"))
    return result


def _set(result: _Matches, position: int, other: int, kind: int) -> None:
    result.other[position], result.kind[position], result.distance[position] = other, kind, 0


def _similar(
    first: ScannedImages, second: ScannedImages, max_distance: int, result: _Matches, kind: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Enter the nearest image of each, and return those that may have the same pixels."""
    positions = [np.flatnonzero(np.array(side.usable, bool)) for side in (first, second)]
    hashes, groups = [], []
    for side, usable in zip((first, second), positions, strict=True):
        # Equal hashes are compared once: a video can have thousands of them.
        values, inverse = np.unique(np.array(side.bits, np.uint64)[usable], return_inverse=True)
        hashes.append(values)
        groups.append(inverse.ravel())
    best = np.full(len(hashes[0]), 65, np.int32)
    nearest = np.full(len(hashes[0]), -1, np.int64)
    near = [np.zeros(len(values), bool) for values in hashes]
    for a, b, distances in near_pairs(hashes[0], hashes[1], max(max_distance, _REENCODED)):
        near[0][a[distances <= _REENCODED]] = True
        near[1][b[distances <= _REENCODED]] = True
        order = np.lexsort((b, distances))[::-1]  # the last write wins: the smallest distance, then position
        a, b, bits = a[order], b[order], distances[order].astype(np.int32)  # noqa: PLW2901
        closest = np.full(len(best), 65, np.int32)
        np.minimum.at(closest, a, bits)
        better = (bits == closest[a]) & (bits < best[a])
        nearest[a[better]], best[a[better]] = b[better], bits[better]
    representative = np.full(len(hashes[1]), -1, np.int64)
    representative[groups[1][::-1]] = positions[1][::-1]
    own = best[groups[0]]
    found = own <= max_distance
    result.other[positions[0][found]] = representative[nearest[groups[0][found]]]
    result.distance[positions[0][found]] = own[found]
    result.kind[positions[0][found]] = kind
    return positions[0][near[0][groups[0]]], positions[1][near[1][groups[1]]]


def _report(first: ScannedImages, second: ScannedImages, matches: _Matches) -> Overlap:
    overlap = Overlap(first.side, second.side)
    kinds = list(KINDS)
    empty = np.array([], np.int32)
    row_image = np.concatenate([empty, *first.row_image])
    row_source = np.concatenate([empty, *first.row_source])
    other_source = np.concatenate([empty, *second.row_source])
    row_kind = np.where(row_image >= 0, matches.kind[row_image] if len(matches.kind) else -1, -1)
    rows = np.flatnonzero(row_kind >= 0)
    for position, kind in enumerate(kinds):
        overlap.rows[kind] = int((row_kind == position).sum())
        overlap.images[kind] = int((matches.kind == position).sum())
    similar = matches.kind == kinds.index("similar")
    overlap.distances = Counter(matches.distance[similar].tolist())
    others = matches.other[row_image[rows]]
    other_rows = np.array(second.first_row, np.int64)[others] if len(others) else others
    columns = [
        first.row_ids(rows) if len(rows) else [],
        [kinds[kind] for kind in row_kind[rows]],
        matches.distance[row_image[rows]],
        second.row_ids(other_rows) if len(rows) else [],
        [first.sources[code] or None for code in row_source[rows]],
        [second.sources[code] or None for code in other_source[other_rows]],
    ]
    overlap.table = pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA
    )
    overlap.sources = _shared_sources(first, second, (row_source, other_source), row_source[rows])
    return overlap


def _shared_sources(
    first: ScannedImages,
    second: ScannedImages,
    codes: tuple[NDArray[np.int32], NDArray[np.int32]],
    matched: NDArray[np.int32],
) -> list[SharedSource]:
    named = {_key(source): code for code, source in enumerate(second.sources) if source}
    shared = []
    for code, source in enumerate(first.sources):
        other = named.get(_key(source)) if source else None
        if other is not None:
            counts = (int((rows == wanted).sum()) for rows, wanted in zip(codes, (code, other), strict=True))
            rows, other_rows = counts
            hits = int((matched == code).sum())
            shared.append(SharedSource(source, second.sources[other], rows, other_rows, hits))
    return sorted(shared, key=lambda entry: (-entry.rows, entry.source))


def _key(source: str) -> str:
    """Releases spell one source DIOR-RSVG, DIOR_RSVG and dior rsvg."""
    return re.sub(r"[^a-z0-9]", "", source.lower())
