"""How fast a dataset folder is read here: rows per second, where the time goes, and what would change it.

Every figure is measured on the rows of the folder that is named, on this machine, in seconds: nothing is estimated from
another machine. What is proposed is what was tried and was faster.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from irtd_datasets.errors import ImageError, IrtdDatasetsError, UnknownNameError
from irtd_datasets.images.files import inspect_image
from irtd_datasets.remote.line import rounds_by_place
from irtd_datasets.schema import MODALITIES
from irtd_datasets.training.batching import batches
from irtd_datasets.training.bench_far import FarFigures, far_part, measure_far
from irtd_datasets.training.decode import Decoder, has_fast_decoder
from irtd_datasets.training.streams import Stream, choose_columns, open_sources
from irtd_datasets.training.tables import Table
from irtd_datasets.training.text_cache import cache_folder
from irtd_datasets.training.transforms import row_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from irtd_datasets.training.decode import Mode
    from irtd_datasets.training.source import Source
    from irtd_datasets.training.streams import Data

__all__ = ["STEPS", "Advice", "BenchReport", "Way", "bench_stream"]

STEPS = {
    "read": "image bytes from where the folder lies",
    "text": "the other columns",
    "decode": "images to arrays",
    "collate": "arrays to one array of the batch",
}
"""The steps between a folder and a batch."""

_IMAGES = 512
_IMAGE_BYTES = 64 << 20
_GAIN = 1.2  # of a proposal: less is noise
_SEEN_SIDE = 640  # images are rarely shown to a model at more
_IMAGE = "image"


@dataclass(frozen=True)
class Way:
    """One way of reading, measured.

    Attributes:
        name: What was done.
        rows: Rows that came.
        seconds: Time that they took.
        bytes: Image bytes as stored, of these rows.
    """

    name: str
    rows: int
    seconds: float
    bytes: int = 0

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "rows_per_second": round(self.rate, 1)}


@dataclass(frozen=True)
class Advice:
    """A change that was faster when it was tried, or a property of the folder that slows any reader.

    Attributes:
        change: What to do.
        why: What was measured.
        gain: How many times as fast that was; None where it was not tried.
    """

    change: str
    why: str
    gain: float | None = None


@dataclass
class BenchReport:
    """What `bench_stream` found.

    Attributes:
        name: What was read, as named.
        rows: Rows of the config.
        shards: Its shards.
        units: Row groups, or pieces of large ones: what ranks and workers divide.
        remote: Whether it lies on another machine.
        first_row: Seconds from the call of `stream` to the first row.
        rounds: How many requests up to it followed one another, each after the answer of the one before; 0 on a disk.
        ways: The ways measured.
        milliseconds: Of each step of `STEPS`, for one row in one thread; those that do not apply are missing.
        advice: What to change, the largest gain first.
        images: Formats and sizes of the images looked at, the most frequent first.
        notes: What could not be measured, and why.
        unreadable: Images that could not be decoded, among those looked at.
        far: Round trip, bandwidth, requests and bytes, where it lies on another machine.
    """

    name: str
    rows: int
    shards: int
    units: int
    remote: bool
    first_row: float = 0.0
    rounds: int = 0
    ways: list[Way] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    advice: list[Advice] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unreadable: int = 0
    far: FarFigures | None = None

    def way(self, name: str) -> Way | None:
        """A way by name; None where it was not measured."""
        return next((way for way in self.ways if way.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "ways": [way.as_dict() for way in self.ways],
        }


def bench_stream(  # noqa: PLR0913 - what a training script says in one place
    data: Data,
    *,
    split: str | None = None,
    decode: Mode | str = "auto",
    max_side: int | None = None,
    batch_size: int = 8,
    threads: int | None = None,
    seconds: float = 2.0,
    storage_options: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure reading, decoding and collating of one config here.

    Args:
        data: As for `stream`.
        split: As for `stream`.
        decode: As for `stream`; what the script will use.
        max_side: Likewise.
        batch_size: Rows of a batch.
        threads: Threads to try; None takes the processors that this process may use.
        seconds: Time of each way; eight to twelve ways are tried.
        storage_options: As for `stream`.
        tell: Called with the name of each way when it begins.

    Returns:
        What was measured.

    Raises:
        UnknownNameError: There are no rows, or a number that is not positive.
        ReleaseNotFoundError: There is no such folder.
    """
    given = {"batch_size": batch_size, "seconds": seconds, "threads": 1 if threads is None else threads}
    for name, value in given.items():
        if not value > 0:
            raise UnknownNameError(f"{name} is {value}, expected more than 0")
    plain = Decoder(cast("Mode", decode), max_side)  # a wrong name is found before anything is read
    tell("opening")
    before = rounds_by_place()
    start = time.perf_counter()
    sources, _ = open_sources(data, split=split, options=storage_options, prime=True)
    columns = choose_columns(sources, None)
    first = next(iter(Stream(sources, columns=columns)), None)
    first_row = time.perf_counter() - start
    after = rounds_by_place()
    report = BenchReport(
        ", ".join(source.name for source in sources),
        sum(len(source) for source in sources),
        sum(len(source.shards) for source in sources),
        sum(len(source.units.counts) for source in sources),
        any(source.storage.remote for source in sources),
        first_row,
        max((count - before.get(place, 0) for place, count in after.items()), default=0),
    )
    if first is None:
        raise UnknownNameError("there are no rows to read", where=report.name)
    bench = _Bench(report, sources, columns, seconds, tell)
    sample = bench.read()
    if sample and bench.decode(sample, plain, threads or _processors()):
        bench.together(plain, batch_size, threads or _processors())
    if report.remote:
        tell("the network")
        fastest = [way.rate for way in report.ways if way.name.startswith("decode,")]
        report.far = measure_far(sources, columns, seconds, max(fastest, default=None))
    bench.advise(plain, batch_size, threads or _processors())
    return report


class _Bench:
    """The ways, one after another, and what follows from them."""

    def __init__(
        self,
        report: BenchReport,
        sources: list[Source],
        columns: list[str],
        seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._report = report
        self._sources = sources
        self._columns = columns
        self._seconds = seconds
        self._tell = tell
        self._best = Decoder()
        self._sides: list[int] = []
        self._grey = 0.0

    # Reading --------------------------------------------------------------------------------------------------------

    def read(self) -> list[tuple[bytes, str | None]]:
        """Read bytes and text in the ways there are; some images and the modality of each, for decoding."""
        report = self._report
        sample: list[tuple[bytes, str | None]] = []
        held = 0

        def keep(row: dict[str, Any]) -> None:
            nonlocal held
            data = _image(row)
            if data is not None and len(sample) < _IMAGES and held < _IMAGE_BYTES:
                sample.append((data, _modality(row)))
                held += len(data)

        # The first pass finds the files as the machine has them, later ones find them in memory.
        # From afar rows come when their row groups are there, so that only all rows of some tell a rate.
        far = report.remote
        sources = [far_part(source, self._columns, self._seconds) for source in self._sources]
        epochs = _once if far else _epochs
        how: dict[str, Any] = {"whole": True} if far else {}
        stream = Stream(sources, columns=self._columns, seed=1)
        self._time("stream, bytes, first pass", _once(stream), keep, **how)
        again = self._time("stream, bytes", epochs(stream), **how)
        texts = [name for name in self._columns if name not in self._images()]
        alone = self._time("stream, text only", epochs(Stream(sources, columns=texts, seed=1)), **how)
        self._shuffled(again)
        whole = 1000 / again.rate
        report.milliseconds["text"] = min(
            1000 / alone.rate, whole
        )  # noise may make a part longer than the whole
        report.milliseconds["read"] = whole - report.milliseconds["text"]
        if not sample:
            report.notes.append("no row that was read has an image: decoding was not measured")
        return sample

    def _images(self) -> set[str]:
        return {name for source in self._sources if source.shards for name in source.open(0).image_names}

    def _shuffled(self, stream: Way) -> None:
        try:
            table = Table(self._sources, columns=self._columns, cache=cache_folder())
            order = table.sampler(seed=1)
            if self._report.remote:
                rows = (row for numbers in _chunks(order, 8) for row in table.__getitems__(numbers))
            else:
                table[0]  # the text of a shard is written to the cache when it is opened first
                rows = (table[number] for _ in iter(int, 1) for number in order)
            way = self._time("table, bytes, shuffled over all rows", rows)
        except IrtdDatasetsError as error:
            self._report.notes.append(f"table: {error.problem}")
            return
        if way.rate > _GAIN * stream.rate:
            gain = way.rate / stream.rate
            self._advise(
                "read by `table` with a sampler, which also shuffles over all rows",
                f"{way.rate:,.0f} rows/s of bytes, the stream {stream.rate:,.0f}",
                gain if self._report.remote else None,
            )

    # Decoding -------------------------------------------------------------------------------------------------------

    def decode(self, sample: list[tuple[bytes, str | None]], plain: Decoder, threads: int) -> bool:
        """Decode images that are in memory, by each decoder and number of threads there is; False if none can be."""
        sample = self._readable(sample, plain)
        if not sample:
            self._report.notes.append("no image that was read can be decoded")
            return False
        pillow = self._decoded("decode, Pillow", sample, plain)
        self._report.milliseconds["decode"] = 1000 / pillow.rate
        self._best = plain
        found = {plain: pillow}
        tried = [replace(plain, threads=threads)] if threads > 1 else []
        if has_fast_decoder():
            fast = replace(plain, backend="simplejpeg")
            tried += [fast, replace(fast, threads=threads)] if threads > 1 else [fast]
        for decoder in tried:
            found[decoder] = self._decoded(_decoder_name(decoder), sample, decoder)
        self._best = max(found, key=lambda decoder: found[decoder].rate)
        long = statistics.median(self._sides)
        if plain.max_side is None and long > _GAIN * _SEEN_SIDE:
            small = self._decoded(
                f"decode, Pillow, max_side={_SEEN_SIDE}", sample, replace(plain, max_side=_SEEN_SIDE)
            )
            self._advise(
                f"decode at the size that the model sees, such as max_side={_SEEN_SIDE}",
                f"the images' longer side is {long:,.0f} at the median; decoding {small.rate:,.0f} rows/s "
                f"instead of {pillow.rate:,.0f}",
                small.rate / pillow.rate,
            )
        if plain.mode == "rgb" and self._grey > 0.5:
            grey = self._decoded("decode, Pillow, luminance", sample, replace(plain, mode="luminance"))
            self._advise(
                'decode infrared and SAR as luminance (decode="auto")',
                f"{grey.rate:,.0f} rows/s instead of {pillow.rate:,.0f}",
                grey.rate / pillow.rate,
            )
        self._collate(sample, plain)
        return True

    def _readable(
        self, sample: list[tuple[bytes, str | None]], plain: Decoder
    ) -> list[tuple[bytes, str | None]]:
        """Those that can be decoded; formats and sizes are counted on the way."""
        kinds: Counter[str] = Counter()
        good: list[tuple[bytes, str | None]] = []
        end = time.perf_counter() + self._seconds
        for data, modality in sample:
            if good and time.perf_counter() > end:
                break
            try:
                info = inspect_image(data, "image")
                plain.decode(data, modality)
            except ImageError:
                self._report.unreadable += 1
                continue
            good.append((data, modality))
            kinds[f"{info.format} {info.width}x{info.height} {info.mode}"] += 1
            self._sides.append(max(info.width, info.height))
        self._grey = sum(modality in {"infrared", "sar"} for _, modality in good) / max(len(good), 1)
        self._report.images = dict(kinds.most_common(5))
        return good

    def _decoded(self, name: str, sample: list[tuple[bytes, str | None]], decoder: Decoder) -> Way:
        def rows() -> Iterator[Any]:
            while True:
                for start in range(0, len(sample), 16):
                    images, kinds = zip(*sample[start : start + 16], strict=True)
                    yield from decoder.decode_many(images, kinds)

        return self._time(name, rows())

    def _collate(self, sample: list[tuple[bytes, str | None]], plain: Decoder) -> None:
        arrays = [plain.decode(data, kind).pixels for data, kind in sample[:8]]
        shape, _ = Counter(array.shape for array in arrays).most_common(1)[0]
        same = [array for array in arrays if array.shape == shape]

        def rows() -> Iterator[Any]:
            while True:
                yield from np.stack(same)

        self._report.milliseconds["collate"] = 1000 / self._time("collate", rows(), share=0.25).rate

    # All steps ------------------------------------------------------------------------------------------------------

    def together(self, plain: Decoder, batch_size: int, threads: int) -> None:
        """What a training loop gets: batches of arrays, in one thread and in the best way found."""
        decoding = Stream(
            self._sources, columns=self._columns, seed=1, transform=row_transform(plain), on_error="skip"
        )
        self._time("stream, decoded in one thread", _stacked(_epochs(decoding), batch_size))
        best = replace(self._best, threads=threads)
        bytes_only = Stream(self._sources, columns=self._columns, seed=1)

        def rows() -> Iterator[Any]:
            empty = False
            while not empty:
                empty = True
                for batch in batches(
                    bytes_only, batch_size=batch_size, decoder=best, on_error="skip", recycle=False
                ):
                    empty = False
                    yield from batch["image"]

        self._time(f"batches, {_backend_name(best)}, {threads} threads", rows())

    # What follows ---------------------------------------------------------------------------------------------------

    def advise(self, plain: Decoder, batch_size: int, threads: int) -> None:
        """What to change, from what was measured."""
        report = self._report
        one = report.way("stream, decoded in one thread")
        many = next((way for way in report.ways if way.name.startswith("batches")), None)
        if one is not None and many is not None and many.rate > _GAIN * one.rate:
            backend = ', backend="auto"' if self._best.backend != "pillow" else ""
            self._advise(
                f"batches(rows, batch_size={batch_size}, decoder=Decoder({plain.mode!r}{backend}, threads={threads}))",
                f"{many.rate:,.0f} rows/s as batches, {one.rate:,.0f} in one thread",
                many.rate / one.rate,
            )
        slow = report.way(_decoder_name(plain))
        fast = report.way(_decoder_name(replace(plain, backend="simplejpeg"))) if has_fast_decoder() else None
        if slow is not None and fast is not None and fast.rate > _GAIN * slow.rate:
            self._advise(
                'Decoder(..., backend="auto"): simplejpeg is installed',
                f"{fast.rate:,.0f} images/s in one thread, Pillow {slow.rate:,.0f}",
                fast.rate / slow.rate,
            )
        jpeg = sum(count for kind, count in report.images.items() if kind.startswith("JPEG"))
        if jpeg and not has_fast_decoder():
            self._advise(
                'pip install simplejpeg, and Decoder(..., backend="auto")',
                "the images are JPEG files, and libjpeg-turbo is not installed; run this again after",
            )
        self._advise_place()
        self._advise_shape()
        report.advice.sort(key=lambda advice: -(advice.gain or 0))

    def _advise_place(self) -> None:
        report = self._report
        first, again = report.way("stream, bytes, first pass"), report.way("stream, bytes")
        spent = report.milliseconds
        waiting = sum(spent.get(step, 0.0) for step in ("read", "text"))
        working = sum(spent.get(step, 0.0) for step in ("decode", "collate"))
        if report.remote and waiting > 0.25 * working:
            rate = again.bytes / again.seconds / 1e6 if again else 0.0
            self._advise(
                "copy the folder to a disk of this machine (`hf download`), or `table(..., cache_bytes=...)`",
                f"it lies elsewhere and comes at {rate:,.1f} MB/s; a row waits {waiting:.1f} ms for it",
            )
        elif first is not None and again is not None and again.rate > 2 * first.rate and waiting:
            self._advise(
                "a faster disk, or files that stay in memory between epochs",
                f"the first pass gave {first.rate:,.0f} rows/s, later ones {again.rate:,.0f}",
            )

    def _advise_shape(self) -> None:
        report = self._report
        largest = max(
            (size for source in self._sources for ref in source.shards for size in ref.group_bytes or ()),
            default=0,
        )
        if report.units < 16 and report.rows > 1000:
            self._advise(
                "smaller row groups: build the folder again with `irtd build`",
                f"{report.units} row groups: a stream shuffles little, and ranks read parts of the same ones",
            )
        elif largest > 256 << 20:
            self._advise(
                "smaller row groups: build the folder again with `irtd build`",
                f"the largest row group has {largest / 1e6:,.0f} MB",
            )
        if any(not ref.index for source in self._sources for ref in source.shards):
            self._advise(
                "an index beside the data, which `irtd build` writes",
                "without it each shard is searched for its images when `table` opens it",
            )
        if report.unreadable:
            self._advise(
                'on_error="skip", and build the folder again from whole files',
                f"{report.unreadable} of the images that were looked at cannot be decoded",
            )

    def _advise(self, change: str, why: str, gain: float | None = None) -> None:
        if gain is None or gain > _GAIN:
            self._report.advice.append(Advice(change, why, None if gain is None else round(gain, 2)))

    def _time(
        self,
        name: str,
        rows: Iterable[Any],
        each: Callable[[Any], None] = lambda _: None,
        *,
        share: float = 1.0,
        whole: bool = False,
    ) -> Way:
        """Take rows until the time of a way is over, at least one; or all of them."""
        self._tell(name)
        count = size = 0
        iterator = iter(rows)
        start = time.perf_counter()
        end = start + self._seconds * share
        for row in iterator:
            count += 1
            if isinstance(row, dict):
                size += len(_image(row) or b"")
                each(row)
            if not whole and time.perf_counter() > end:
                break
        way = Way(name, count, max(time.perf_counter() - start, 1e-9), size)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        self._report.ways.append(way)
        return way


def _once(stream: Stream) -> Iterator[dict[str, Any]]:
    yield from stream


def _epochs(stream: Stream) -> Iterator[dict[str, Any]]:
    while True:
        empty = True
        for row in stream:
            empty = False
            yield row
        if empty:
            return
        stream.set_epoch(stream.epoch + 1)


def _stacked(rows: Iterable[dict[str, Any]], batch_size: int) -> Iterator[Any]:
    for batch in _chunks(rows, batch_size):
        images = [row[_IMAGE] for row in batch if isinstance(row.get(_IMAGE), np.ndarray)]
        if len({image.shape for image in images}) == 1:
            np.stack(images)
        yield from batch


def _chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _image(row: Mapping[str, Any]) -> bytes | None:
    value = row.get(_IMAGE)
    data = value.get("bytes") if isinstance(value, dict) else None
    return data if isinstance(data, bytes) and data else None


def _modality(row: Mapping[str, Any]) -> str | None:
    value = row.get("modality")
    if isinstance(value, int):
        return MODALITIES[value] if 0 <= value < len(MODALITIES) else None
    return value if isinstance(value, str) else None


def _backend_name(decoder: Decoder) -> str:
    return "Pillow" if decoder.backend == "pillow" else "simplejpeg"


def _decoder_name(decoder: Decoder) -> str:
    threads = f", {decoder.threads} threads" if decoder.threads > 1 else ""
    return f"decode, {_backend_name(decoder)}{threads}"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
