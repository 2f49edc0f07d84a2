"""Images as arrays, and rows that follow their images.

An infrared image that was saved as a colour JPEG carries nothing in its colour: decoding its luminance alone takes
half the time or less and a third of the memory. An image that a model sees at 448 pixels need not be decoded at
4,000. And an image of more than 8 bits has to be mapped to 8 in a declared way: Pillow's own conversion cuts off
everything above 255. All that is decided here, in one place, and boxes, points and texts follow.

Pillow decodes by default. With the extra ``fast`` JPEG files are decoded by libjpeg-turbo through simplejpeg, which
gives the same pixels and leaves the interpreter free for another thread meanwhile.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from irtd_datasets.boxes import rewrite_boxes
from irtd_datasets.boxes.frames import as_frame
from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.images.files import inspect_image
from irtd_datasets.images.memory import keep_freed_memory
from irtd_datasets.schema import BOX_FRAMES, MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from irtd_datasets.boxes import Frame

__all__ = ["Decoded", "Decoder", "FixedRange", "Percentile", "decode_row", "has_fast_decoder"]

Pixels = npt.NDArray[np.uint8]
Mode = Literal["auto", "luminance", "rgb"]

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Percentile:
    """Map each image of more than 8 bits by its own percentiles: contrast at the price of comparable values.

    Attributes:
        low: Percentile that becomes 0.
        high: Percentile that becomes 255.
    """

    low: float = 1.0
    high: float = 99.0

    def limits(self, pixels: npt.NDArray[Any]) -> tuple[float, float]:
        """Values that become 0 and 255."""
        low, high = np.percentile(pixels, (self.low, self.high))
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class FixedRange:
    """Map all images of more than 8 bits by the same range, so that a value means the same temperature in each.

    Attributes:
        low: Value that becomes 0.
        high: Value that becomes 255.
    """

    low: float
    high: float

    def limits(self, pixels: npt.NDArray[Any]) -> tuple[float, float]:  # noqa: ARG002 - as in Percentile
        """Values that become 0 and 255."""
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as an array.

    Attributes:
        pixels: uint8, (height, width) for luminance, (height, width, 3) for RGB; upright.
        width: Of the stored image, upright, before it was made smaller.
        height: Likewise.
    """

    pixels: Pixels
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the array."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Decoder:
    """How images are decoded. Can be pickled, so that workers get it.

    Attributes:
        mode: ``luminance`` gives one channel, ``rgb`` three, ``auto`` one for infrared and SAR, three for optical.
        max_side: Longest side in pixels; larger images are made smaller with their shape kept, smaller ones stay.
        wide: How images of more than 8 bits become 8.
        backend: ``pillow``, ``simplejpeg`` (of the extra ``fast``), or ``auto``, which is simplejpeg where it is
            installed.
        threads: Threads of `decode_many`.

    Raises:
        UnknownNameError: An unknown mode or backend, or simplejpeg is asked for and not installed.
        ImageError: ``max_side`` or ``threads`` is not positive, or a range is empty.
    """

    mode: Mode = "auto"
    max_side: int | None = None
    wide: Percentile | FixedRange = Percentile()
    backend: Literal["auto", "pillow", "simplejpeg"] = "pillow"
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the settings before the first image."""
        if self.mode not in {"auto", "luminance", "rgb"}:
            raise UnknownNameError(
                f"unknown decoding {self.mode!r}",
                remedy="It is auto, luminance or rgb; None keeps the bytes.",
            )
        if self.backend not in {"auto", "pillow", "simplejpeg"}:
            raise UnknownNameError(
                f"unknown decoder {self.backend!r}", remedy="It is auto, pillow or simplejpeg."
            )
        if self.backend == "simplejpeg" and not has_fast_decoder():
            raise UnknownNameError(
                "simplejpeg is not installed",
                remedy="pip install simplejpeg, or take backend='pillow'.",
            )
        if self.max_side is not None and self.max_side < 1:
            raise ImageError(f"max_side is {self.max_side}, expected at least 1")
        if self.threads < 1:
            raise ImageError(f"threads is {self.threads}, expected at least 1")
        if not self.wide.low < self.wide.high:
            raise ImageError(f"{self.wide} is an empty range")

    def decode(
        self,
        data: bytes | memoryview,
        modality: str | None = None,
        *,
        name: str = "image",
        out: Pixels | None = None,
    ) -> Decoded:
        """Decode one image.

        Args:
            data: The whole file.
            modality: ``infrared``, ``optical`` or ``sar``, for the mode ``auto``; None counts as optical.
            name: Name of the image for messages.
            out: Contiguous array to decode into; taken where it has the image's shape, else passed over.

        Returns:
            Its pixels, upright.

        Raises:
            ImageError: It cannot be decoded.
        """
        keep_freed_memory()
        grey = self.mode == "luminance" or (self.mode == "auto" and modality in {"infrared", "sar"})
        try:
            found = None
            if self._is_fast and bytes(data[:3]) == _JPEG:
                found = self._decode_fast(data, name, out, grey=grey)
            if found is None:
                found = self._decode_pillow(data, grey=grey)
        except ImageError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(
                f"the image cannot be decoded: {error}",
                where=name,
                remedy="Leave its row out (on_error='skip'), or build the dataset again from a whole file.",
            ) from error
        if out is None or found.pixels is out or found.pixels.shape != out.shape:
            return found
        out[...] = found.pixels
        return Decoded(out, found.width, found.height)

    def decode_many(
        self, images: Sequence[bytes | memoryview], modalities: Sequence[str | None] | None = None
    ) -> list[Decoded]:
        """Decode several images, in `threads` threads; results are in their order.

        Raises:
            ImageError: The first that cannot be decoded.
        """
        kinds = modalities or [None] * len(images)
        if self.threads == 1 or len(images) < 2:
            return [self.decode(data, kind) for data, kind in zip(images, kinds, strict=True)]
        return list(_pool(self.threads).map(self.decode, images, kinds))

    @property
    def _is_fast(self) -> bool:
        return self.backend != "pillow" and has_fast_decoder()

    def _decode_fast(
        self, data: bytes | memoryview, name: str, out: Pixels | None, *, grey: bool
    ) -> Decoded | None:
        """Decode a plain JPEG by libjpeg-turbo; None for one that needs more than decoding (turned, CMYK, damaged)."""
        import simplejpeg

        info = inspect_image(data, name)
        if info.orientation != 1 or info.mode not in {"L", "RGB"}:
            return None
        target = _fit(info.width, info.height, self.max_side)
        shape = (target[1], target[0]) if grey else (target[1], target[0], 3)
        # Only an image that needs no second step can be decoded to where it is wanted.
        fits = out is not None and out.shape == shape and target == (info.width, info.height)
        try:
            pixels = simplejpeg.decode_jpeg(
                data,
                colorspace="GRAY"
                if grey
                else "RGB",  # of a grey file, too: libjpeg writes its values three times
                min_width=target[0] if self.max_side else 0,
                min_height=target[1] if self.max_side else 0,
                buffer=out if fits else None,
            )
        except ValueError:
            return None  # Pillow tells what is wrong with it, or is more patient
        if fits and out is not None:
            return Decoded(out, info.width, info.height)
        if grey:
            pixels = pixels.reshape(pixels.shape[:2])
        if (pixels.shape[1], pixels.shape[0]) != target:
            pixels = np.asarray(
                Image.fromarray(pixels).resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
            )
        return Decoded(pixels, info.width, info.height)

    def _decode_pillow(self, data: bytes | memoryview, *, grey: bool) -> Decoded:
        with Image.open(io.BytesIO(data)) as opened:
            turned = _is_turned(opened)
            stored = opened.size[::-1] if turned and turned > 4 else opened.size
            target = _fit(stored[0], stored[1], self.max_side)
            wanted = target[::-1] if turned and turned > 4 else target
            if opened.format == "JPEG" and opened.mode in {"L", "RGB", "YCbCr"}:
                # libjpeg decodes at 1/2, 1/4 or 1/8 and leaves the colour out where it is not needed.
                opened.draft("L" if grey else "RGB", wanted if self.max_side else None)
            image: Image.Image = ImageOps.exif_transpose(opened) if turned else opened
            if image.mode.startswith(("I", "F")):
                image = Image.fromarray(_to_8_bit(np.asarray(image), self.wide))
            image = _converted(image, grey=grey)
        if image.size != target:
            image = image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
        return Decoded(np.asarray(image), *stored)


def decode_row(
    row: Mapping[str, Any],
    decoder: Decoder,
    *,
    box_frame: Frame | str | None = None,
    columns: Sequence[str] = ("image", "visible"),
    out: Pixels | None = None,
) -> dict[str, Any]:
    """Decode the images of a row and let its places follow.

    ``objects`` are scaled to the decoded image, ``width`` and ``height`` are its sides, and the numbers inside
    ``messages`` are brought to ``box_frame``, or to the new size where they are pixels. A text whose frame is unknown
    stays as it is.

    Args:
        row: A row with ``image`` as ``{"bytes": ..., "path": ...}`` or as bytes; ``modality`` and ``box_frame`` as
            positions or names. Columns that are missing are left out.
        decoder: How.
        box_frame: Frame wanted for the numbers in the text; None keeps that of the row.
        columns: Columns with images.
        out: As for `Decoder.decode`, for the column ``image``.

    Returns:
        A new row with arrays in place of the images' bytes; `Decoded.pixels` of each.

    Raises:
        ImageError: An image cannot be decoded.
        BoxError: No such frame.
    """
    made = dict(row)
    modality = _name(row.get("modality"), MODALITIES)
    main: Decoded | None = None
    for column in columns:
        data = _bytes(row.get(column))
        if data is None:
            continue
        kind = "optical" if column == "visible" else modality
        found = decoder.decode(
            data, kind, name=str(row.get("id", column)), out=out if column == "image" else None
        )
        made[column] = found.pixels
        if column == "image":
            main = found
    if main is None:
        return made
    source = _name(row.get("box_frame"), BOX_FRAMES)
    if row.get("messages") and source is not None and source != "unknown":
        wanted = as_frame(box_frame or source)
        made["messages"] = rewrite_boxes(
            row["messages"], source, wanted, main.width, main.height, resized=main.size
        ).messages
        made["box_frame"] = (
            BOX_FRAMES.index(wanted.value) if isinstance(row["box_frame"], int) else wanted.value
        )
    if row.get("objects"):
        made["objects"] = _scaled(row["objects"], main)
    sides = {"width": main.size[0], "height": main.size[1]}
    return made | {name: side for name, side in sides.items() if name in row}


def has_fast_decoder() -> bool:
    """Whether simplejpeg, of the extra ``fast``, is installed."""
    import importlib.util

    return importlib.util.find_spec("simplejpeg") is not None


def _name(value: int | str | None, names: Sequence[str]) -> str | None:
    return names[value] if isinstance(value, int) else value


def _bytes(value: Any) -> bytes | memoryview | None:  # noqa: ANN401 - a struct, bytes, or nothing
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, (bytes, memoryview)) and len(value) else None


def _scaled(objects: Mapping[str, Any], image: Decoded) -> dict[str, Any]:
    scale = (image.size[0] / image.width, image.size[1] / image.height)
    if scale == (1.0, 1.0):
        return dict(objects)
    out = dict(objects)
    for kind in ("box", "polygon", "point"):
        if objects.get(kind):
            out[kind] = [
                [float(value) * scale[index % 2] for index, value in enumerate(place)]
                for place in objects[kind]
            ]
    return out


def _fit(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Size of an image whose longest side may be so long; never larger, never 0."""
    longest = max(width, height)
    if max_side is None or longest <= max_side:
        return width, height
    return max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))


def _converted(image: Image.Image, *, grey: bool) -> Image.Image:
    """An image as luminance or RGB; what is so already is not copied, as Pillow's ``convert`` does."""
    image.load()
    if image.mode == ("L" if grey else "RGB"):
        return image
    if image.mode == "L":
        return Image.merge("RGB", (image, image, image))  # a third of the time of ``convert``
    return image.convert("L" if grey else "RGB")


def _is_turned(image: Image.Image) -> int:
    """The EXIF orientation where it asks for a turn; 0 otherwise."""
    orientation = image.getexif().get(0x0112, 1)
    return orientation if orientation in range(2, 9) else 0


def _to_8_bit(pixels: npt.NDArray[Any], mapping: Percentile | FixedRange) -> Pixels:
    values = np.asarray(pixels, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, values[finite].min() if finite.any() else 0)
    low, high = mapping.limits(values)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0, 255), np.uint8)


_POOLS: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    """A pool of this process; a forked worker makes its own, since threads do not survive a fork."""
    key = os.getpid(), threads
    if key not in _POOLS:
        _POOLS[key] = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    return _POOLS[key]
