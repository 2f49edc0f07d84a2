"""The images of a dataset folder: whether they decode, whether the viewer can show them, what else they tell."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irtd_datasets.errors import ImageError
from irtd_datasets.hub.check_shards import PAGE_ROWS, image_columns
from irtd_datasets.images.files import inspect_image
from irtd_datasets.images.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from irtd_datasets.hub.check_card import ConfigFiles
    from irtd_datasets.hub.check_files import Shard
    from irtd_datasets.hub.findings import Findings

__all__ = ["check_images", "is_viewable"]

_ELSEWHERE = 64
"""Row groups from which the sample takes an image beside those of the preview."""
_GPS = 0x8825


class _Image(NamedTuple):
    """What was learnt of one image."""

    problems: tuple[tuple[str, str], ...]
    size: tuple[int, int] | None


@lru_cache(maxsize=64)
def is_viewable(mode: str) -> bool:
    """Whether the installed Pillow saves images of a mode as JPEG or PNG, which is what the viewer tries.

    Example:
        >>> [is_viewable(mode) for mode in ("L", "RGBA", "I;16", "F")]
        [True, True, True, False]
    """
    for form in ("JPEG", "PNG"):
        try:
            Image.new(mode, (1, 1)).save(io.BytesIO(), form)
        except (OSError, ValueError, KeyError):
            continue
        return True
    return False


def check_images(
    shards: Sequence[Shard],
    configs: ConfigFiles,
    findings: Findings,
    *,
    which: Literal["sample", "all"],
    workers: int,
    progress: Callable[[str], None],
) -> int:
    """Decode images and tell of those that cannot be read, shown, or published as they are.

    Args:
        shards: The Parquet files.
        configs: Files of each config and split.
        findings: Takes what is found.
        which: ``sample``: the first 100 rows of each split, which the viewer previews, and an image of up to 64 other
            row groups; ``all``: every image.
        workers: Threads that decode.
        progress: Told the name of each file.

    Returns:
        Number of distinct images decoded.
    """
    keep_freed_memory()
    known: dict[bytes, _Image] = {}
    wanted = _all_groups(shards) if which == "all" else _sample(shards, configs)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for shard in shards:
            columns = image_columns(shard)
            if not columns or shard.name not in wanted:
                continue
            progress(shard.name)
            firsts = _first_rows(shard)
            sizes = [name for name in ("width", "height") if name in shard.schema.names]
            try:
                with pq.ParquetFile(shard.path) as parquet:
                    for index, rows in sorted(wanted[shard.name].items()):
                        table = parquet.read_row_group(index, columns=[*columns, *sizes]).slice(0, rows)
                        for column in columns:
                            _check_column(shard, table, column, firsts[index], known, pool, findings)
            except (pa.ArrowException, OSError, ValueError) as error:
                findings.add("shard-unreadable", str(error).partition("\n")[0], shard.name)
    return len(known)


def _first_rows(shard: Shard) -> list[int]:
    firsts, row = [], 0
    for index in range(shard.metadata.num_row_groups):
        firsts.append(row)
        row += shard.metadata.row_group(index).num_rows
    return firsts


def _all_groups(shards: Iterable[Shard]) -> dict[str, dict[int, int]]:
    return {
        shard.name: {
            index: shard.metadata.row_group(index).num_rows for index in range(shard.metadata.num_row_groups)
        }
        for shard in shards
    }


def _sample(shards: Sequence[Shard], configs: ConfigFiles) -> dict[str, dict[int, int]]:
    """Row groups by shard, each with the number of its first rows that are looked at."""
    by_name = {shard.name: shard for shard in shards}
    wanted: dict[str, dict[int, int]] = defaultdict(dict)
    splits = [names for splits in configs.values() for names in splits.values()] or [
        [name] for name in by_name
    ]
    for names in splits:
        left = PAGE_ROWS
        for name in names:
            if name not in by_name:
                continue
            metadata = by_name[name].metadata
            for index in range(metadata.num_row_groups):
                if left <= 0:
                    break
                rows = min(left, metadata.row_group(index).num_rows)
                wanted[name][index] = max(rows, wanted[name].get(index, 0))
                left -= rows
    groups = [(shard.name, index) for shard in shards for index in range(shard.metadata.num_row_groups)]
    step = max(1, len(groups) // _ELSEWHERE)
    for name, index in groups[::step]:
        wanted[name].setdefault(index, 1)
    return wanted


def _check_column(  # noqa: PLR0917 - what stands around one column
    shard: Shard,
    table: pa.Table,
    column: str,
    first: int,
    known: dict[bytes, _Image],
    pool: ThreadPoolExecutor,
    findings: Findings,
) -> None:
    values = table[column].combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    data, paths = values.field("bytes"), values.field("path")
    # Equal neighbours are one image: its rows stand together.
    fresh: dict[bytes, tuple[Any, str]] = {}
    digests: list[bytes | None] = []
    last: tuple[Any, bytes] | None = None
    for row in range(len(values)):
        image = data[row].as_buffer() if values[row].is_valid and data[row].is_valid else None
        if image is None or not image.size:
            digests.append(None)
            if column == "image" or image is not None:
                findings.add("image-null", f"column {column!r} has no bytes", shard.name, row=first + row)
            continue
        if last is not None and last[0].equals(image):
            digests.append(last[1])
            continue
        digest = hashlib.blake2b(image, digest_size=16).digest()
        last = (image, digest)
        digests.append(digest)
        if digest not in known and digest not in fresh:
            fresh[digest] = (image, str(paths[row].as_py() or ""))
    known.update(zip(fresh, pool.map(_look, fresh.values()), strict=True))
    _tell(shard, table, column, first, digests, known, findings)


def _tell(  # noqa: PLR0917 - the same
    shard: Shard,
    table: pa.Table,
    column: str,
    first: int,
    digests: Sequence[bytes | None],
    known: Mapping[bytes, _Image],
    findings: Findings,
) -> None:
    sized = column == "image" and {"width", "height"} <= set(table.schema.names)
    widths, heights = (table[name].to_pylist() if sized else [] for name in ("width", "height"))
    told: set[bytes] = set()
    for row, digest in enumerate(digests):
        if digest is None:
            continue
        image = known[digest]
        for rule, message in image.problems if digest not in told else ():
            findings.add(rule, f"{column}: {message}", shard.name, row=first + row)
        told.add(digest)
        if sized and image.size is not None and image.size != (widths[row], heights[row]):
            found = f"{image.size[0]}x{image.size[1]}"
            findings.add(
                "image-size",
                f"width and height are {widths[row]}x{heights[row]}, the image is {found}",
                shard.name,
                row=first + row,
            )


def _look(item: tuple[Any, str]) -> _Image:
    buffer, name = item
    data = memoryview(buffer)
    problems: list[tuple[str, str]] = []
    try:
        info = inspect_image(data, name or "the image", verify="decode")
    except ImageError as error:
        rule = "image-too-large" if error.code == "image-too-large" else "image-unreadable"
        return _Image(((rule, f"{name}: {error.problem}"),), None)
    if not is_viewable(info.mode):
        problems.append(
            ("image-not-viewable", f"{name}: mode {info.mode}, {info.bit_depth} bits per channel")
        )
    if _has_place(data):
        problems.append(("image-gps", f"{name}: EXIF with a GPS position"))
    return _Image(tuple(problems), (info.width, info.height))


def _has_place(data: memoryview) -> bool:
    """Whether the EXIF has a GPS directory with a position in it."""
    head = bytes(data[: 1 << 16])
    if b"Exif" not in head and b"eXIf" not in bytes(data) and head[:4] not in {b"II*\0", b"MM\0*"}:
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            place = image.getexif().get_ifd(_GPS)
    except Exception:  # noqa: BLE001 - damaged EXIF brings out anything; the image itself has been decoded
        return False
    return any(tag in place for tag in (2, 4))  # latitude, longitude
