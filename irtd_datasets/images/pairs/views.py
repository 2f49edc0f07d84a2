"""An image of a pair, from whatever it comes: its upright size at once, its pixels when they are asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from irtd_datasets.errors import ImageError
from irtd_datasets.images.files import (
    ImageInfo,
    encode_lossless,
    inspect_image,
    prepare_image,
    without_metadata,
)
from irtd_datasets.images.memory import keep_freed_memory

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    ImageLike: TypeAlias = bytes | str | os.PathLike[str] | Image.Image | NDArray[np.generic]
    Rectangle: TypeAlias = tuple[int, int, int, int]

__all__ = ["CroppedImage", "PairImage", "open_image"]

_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "WEBP": ".webp",
}


@dataclass(slots=True)
class PairImage:
    """One image with its upright size.

    Attributes:
        name: For messages.
        width: Pixels, upright.
        height: Pixels, upright.
    """

    name: str
    width: int
    height: int
    _data: bytes | None = None
    _info: ImageInfo | None = None
    _pixels: Image.Image | NDArray[np.generic] | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self.width, self.height

    @property
    def data(self) -> bytes | None:
        """The bytes of the file, where the image came as one."""
        return self._data

    @property
    def suffix(self) -> str:
        """The file name suffix that fits the container, ``.png`` where the image came without one."""
        return _SUFFIXES.get(self._info.format, ".png") if self._info else ".png"

    @property
    def loses_depth(self) -> bool:
        """Whether Pillow would cut the pixels to 8 bits: 16-bit colour."""
        return self._info is not None and self._info.bit_depth == 16 and self._info.mode in {"RGB", "RGBA"}

    def pixels(self) -> Image.Image | NDArray[np.generic]:
        """The upright pixels: the array that was given, else a Pillow image; decoded once.

        Raises:
            ImageError: The file's pixels cannot be decoded.
        """
        if self._pixels is None:
            assert self._data is not None
            assert self._info is not None
            keep_freed_memory()
            data = self._data
            if self._info.orientation != 1:
                data = bytes(prepare_image(data, self.name).data)
            try:
                image = Image.open(io.BytesIO(data))
                image.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise ImageError(
                    f"its pixels cannot be decoded: {error}",
                    where=self.name,
                    remedy="Get the file again, or leave the pair out.",
                ) from error
            self._pixels = image
        return self._pixels

    def forget(self) -> None:
        """Let go of decoded pixels that can be decoded again."""
        if self._data is not None:
            self._pixels = None

    def grey(self) -> NDArray[np.float32]:
        """Brightness as float32, shape (H, W), in whatever range the image has."""
        pixels = self.pixels()
        if isinstance(pixels, np.ndarray):
            values = pixels.astype(np.float32)
            return values if values.ndim == 2 else values[..., :3].mean(axis=2, dtype=np.float32)
        if pixels.mode.startswith("I") or pixels.mode == "F":
            return np.asarray(pixels).astype(np.float32)
        if pixels.mode not in {"L", "RGB"}:
            pixels = pixels.convert("RGB")
        return np.asarray(pixels.convert("L"), dtype=np.float32)


def open_image(source: ImageLike, name: str) -> PairImage:
    """Take an image as bytes, path, Pillow image or array.

    Args:
        source: The bytes of a file; its path; a Pillow image, which is turned upright if its EXIF says so; or an array
            of shape (H, W) or (H, W, channels).
        name: For messages, where the source has no name of its own.

    Raises:
        ImageError: The file is no usable image, or the array has another shape.
    """
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3) or 0 in source.shape:
            raise ImageError(
                f"an array of shape {source.shape}, expected (H, W) or (H, W, channels)", where=name
            )
        return PairImage(name, source.shape[1], source.shape[0], _pixels=source)
    if isinstance(source, Image.Image):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(source)
        return PairImage(name, upright.width, upright.height, _pixels=upright)
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        name = str(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ImageError(
                f"it cannot be read: {error.strerror or error}", code="image-missing", where=name
            ) from error
    info = inspect_image(data, name)
    return PairImage(name, info.width, info.height, data, info)


@dataclass(frozen=True, slots=True)
class CroppedImage:
    """A part of an image, cut when it is asked for.

    Attributes:
        source: The whole image.
        rectangle: x_min, y_min, x_max, y_max in whole pixels of the upright image, half-open.
    """

    source: PairImage
    rectangle: Rectangle

    @property
    def width(self) -> int:
        """Pixels."""
        return self.rectangle[2] - self.rectangle[0]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.rectangle[3] - self.rectangle[1]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.rectangle == (0, 0, *self.source.size)

    def pixels(self) -> Image.Image | NDArray[np.generic]:
        """The pixels: a view of the array that was given, else a Pillow image in the mode of the file.

        Raises:
            ImageError: The file's pixels cannot be decoded, or would lose depth.
        """
        pixels = self.source.pixels()
        if self.is_whole:
            return pixels
        x_min, y_min, x_max, y_max = self.rectangle
        if isinstance(pixels, np.ndarray):
            part: NDArray[np.generic] = pixels[y_min:y_max, x_min:x_max]
            return part
        return pixels.crop(self.rectangle)

    def image(self) -> Image.Image:
        """The pixels as a Pillow image."""
        pixels = self.pixels()
        return Image.fromarray(np.ascontiguousarray(pixels)) if isinstance(pixels, np.ndarray) else pixels

    def encode(self) -> tuple[bytes, str]:
        """The bytes of a file and the suffix of its name.

        A whole image that came as a file gives the very bytes of that file. A part is encoded without loss, as PNG,
        or as TIFF where PNG cannot hold the mode; the colour profile is kept, other metadata is not.
        """
        if self.is_whole and self.source.data is not None:
            return self.source.data, self.source.suffix
        pixels = self.source.pixels()
        profile = None if isinstance(pixels, np.ndarray) else pixels.info.get("icc_profile")
        data, container = encode_lossless(without_metadata(self.image()), profile)
        return data, ".png" if container == "PNG" else ".tif"
