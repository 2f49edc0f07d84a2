"""Bringing an image into the form in which it is stored: upright, in the released layout, and fit to be shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from irtd_datasets.errors import ImageError, UnknownNameError
from irtd_datasets.images.bands import preview, read_directory
from irtd_datasets.images.encoding import encode_lossless, without_metadata
from irtd_datasets.images.info import MAX_PIXELS, PILLOW_DEPTHS, TURNS, Doubt, ImageInfo
from irtd_datasets.images.inspection import inspect_image
from irtd_datasets.images.opening import opened
from irtd_datasets.images.transforms import PIXEL_TRANSFORMS, unexpected_layout

__all__ = ["PreparedImage", "prepare_image", "viewable_image"]


class PreparedImage(NamedTuple):
    """An image as it goes into a shard.

    Attributes:
        data: The file's bytes; the very object that was passed in when nothing had to be changed.
        width: Pixels, of the upright image.
        height: Pixels, of the upright image.
        bit_depth: Bits per channel: 1, 8, 16 or 32.
        mode: Pillow mode of `data`.
        note: What was changed, such as ``exif-orientation-6 applied, stored as PNG``; empty when nothing was.
        released: The header of the file as released. Its orientation and stored size are what `turn_points`
            needs for coordinates that were made on the stored pixels.
        original: The released file where `data` is a preview of it; else None.
    """

    data: bytes | memoryview
    width: int
    height: int
    bit_depth: int
    mode: str
    note: str
    released: ImageInfo
    original: bytes | memoryview | None = None


def prepare_image(
    data: bytes | memoryview,
    name: str,
    *,
    transform: str | None = None,
    verify: Literal["header", "decode"] = "header",
    max_pixels: int = MAX_PIXELS,
) -> PreparedImage:
    """Check an image and bring it into the form in which it is stored: upright, and in the released layout.

    Pixels that have to be turned or transformed are stored without loss: as PNG, or as TIFF where PNG cannot
    hold the mode (CMYK, 32-bit). The colour profile is kept, other metadata (EXIF with its place and camera)
    is not. Of a file with several frames the first is kept, as that is what `datasets` shows, and the note
    says so. 16-bit colour cannot be turned without loss in Pillow; such a file is left as it is, to be turned
    by the reader (`datasets` does), and the note says so. The same input gives the same bytes on the same
    Pillow.

    Args:
        data: The whole file.
        name: Name of the file for messages.
        transform: A name of `PIXEL_TRANSFORMS`, applied after turning the image upright.
        verify: As for `inspect_image`.
        max_pixels: As for `inspect_image`.

    Returns:
        The image to store, with sizes of the stored form.

    Raises:
        ImageError: As for `inspect_image`, and ``image-unexpected-layout`` from a transform.
        UnknownNameError: `transform` is no name of `PIXEL_TRANSFORMS`.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> exif = Image.Exif()
        >>> exif[0x0112] = 6
        >>> Image.new("L", (60, 40)).save(file, "JPEG", exif=exif)
        >>> prepared = prepare_image(file.getvalue(), "DJI_0001.jpg")
        >>> prepared.width, prepared.height, prepared.note
        (40, 60, 'exif-orientation-6 applied, stored as PNG')
    """
    if transform is not None and transform not in PIXEL_TRANSFORMS:
        known = ", ".join(sorted(PIXEL_TRANSFORMS))
        raise UnknownNameError(f"no pixel transform {transform!r}", where=name, remedy=f"There are: {known}.")
    info = inspect_image(data, name, verify=verify, max_pixels=max_pixels)
    if transform is None and info.orientation == 1:
        return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, "", info)
    return _change_pixels(data, name, info, transform)


def viewable_image(
    data: bytes | memoryview,
    name: str,
    *,
    transform: str | None = None,
    verify: Literal["header", "decode"] = "header",
    max_pixels: int = MAX_PIXELS,
) -> PreparedImage:
    """Prepare an image as `prepare_image` does, and see to it that it can be shown.

    What neither JPEG nor PNG can hold is shown nowhere, and one such image takes the preview of a whole dataset
    away. Of 32-bit floats, and of a TIFF of many bands, the stored image is an 8-bit preview, and `original` has the
    file. 32-bit whole numbers that fit are stored as 16-bit PNG, without loss.

    Args:
        data: The whole file.
        name: Name of the file for messages.
        transform: As for `prepare_image`.
        verify: As for `inspect_image`.
        max_pixels: As for `inspect_image`; of a TIFF of many bands, pixels times bands.

    Raises:
        ImageError: As for `prepare_image`.
        UnknownNameError: As for `prepare_image`.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.fromarray(np.linspace(20, 30, 64, dtype=np.float32).reshape(8, 8)).save(file, "TIFF")
        >>> prepared = viewable_image(file.getvalue(), "radiance.tif")
        >>> prepared.mode, prepared.bit_depth, prepared.original == file.getvalue()
        ('L', 8, True)
    """
    try:
        prepared = prepare_image(data, name, transform=transform, verify=verify, max_pixels=max_pixels)
    except ImageError as error:
        shown = _preview_of_bands(data, name, max_pixels) if error.code == "image-unreadable" else None
        if shown is None:
            raise
        if transform is not None:
            raise unexpected_layout(f"a TIFF of {shown.released.channels} bands", name, transform) from error
        return shown
    return _with_preview(prepared, data, name) if prepared.mode in _UNSHOWN else prepared


def _change_pixels(
    data: bytes | memoryview, name: str, info: ImageInfo, transform: str | None
) -> PreparedImage:
    if info.bit_depth == 16 and PILLOW_DEPTHS.get(info.mode, 8) == 8:
        if transform is not None:
            raise unexpected_layout(f"16-bit {info.mode} would be cut to 8 bits", name, transform)
        note = f"exif-orientation-{info.orientation} left to the reader (16-bit colour)"
        return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, note, info)
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    with opened(view, name, Doubt("")) as image:
        upright: Image.Image = image
        if info.orientation != 1:
            image.load()
            # A TIFF turns itself while it is loaded.
            upright = image.copy() if info.format == "TIFF" else image.transpose(TURNS[info.orientation])
        changed = upright if transform is None else PIXEL_TRANSFORMS[transform](upright, name)
        if changed is image:
            return PreparedImage(data, info.width, info.height, info.bit_depth, info.mode, "", info)
        profile = image.info.get("icc_profile") if changed.mode == image.mode else None
        plain = without_metadata(changed)
        stored, container = encode_lossless(plain, profile)
        steps = []
        if info.orientation != 1:
            steps.append(f"exif-orientation-{info.orientation} applied")
        if changed is not upright:
            steps.append(f"{transform} applied")
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            steps.append(f"first of {frames} frames")
        note = ", ".join([*steps, f"stored as {container}"])
        bit_depth = PILLOW_DEPTHS.get(plain.mode, 8)
    return PreparedImage(stored, *plain.size, bit_depth, plain.mode, note, info)


# Modes that Pillow saves neither as JPEG nor as PNG, which is what the Hub's viewer tries; a test asks Pillow.
_UNSHOWN = frozenset({"F", "I", "LAB", "HSV", "PA", "La", "RGBa"})


def _with_preview(prepared: PreparedImage, data: bytes | memoryview, name: str) -> PreparedImage:
    """An image that can be shown in place of one that cannot."""
    with opened(prepared.data, name, Doubt("", decode=True)) as image:
        if prepared.mode in {"F", "I"}:
            values = np.asarray(image)
            if prepared.mode == "I" and values.min() >= 0 and values.max() <= 0xFFFF:
                stored, _ = encode_lossless(Image.fromarray(values.astype(np.uint16)), None)
                note = ", ".join(
                    part for part in (prepared.note, "32-bit whole numbers stored as 16-bit PNG") if part
                )
                return prepared._replace(data=stored, bit_depth=16, mode="I;16", note=note)
            pixels, what = preview(values)
            shown = Image.fromarray(pixels)
        else:
            shown, what = _to_rgb(image), f"8-bit preview of mode {prepared.mode}"
        stored, _ = encode_lossless(shown, None)
    note = ", ".join(part for part in (prepared.note, f"{what}; the file is in original") if part)
    return prepared._replace(data=stored, bit_depth=8, mode=shown.mode, note=note, original=data)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return ImageCms.profileToProfile(  # type: ignore[return-value]  # None only with inPlace
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return image.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


def _preview_of_bands(data: bytes | memoryview, name: str, max_pixels: int) -> PreparedImage | None:
    """A preview of a TIFF of many bands; None when it is none, or not one that can be read."""
    view = data if isinstance(data, bytes) else memoryview(data).cast("B")
    bands = read_directory(view, max_pixels)
    if bands is None:
        return None
    images = []
    try:
        for file in bands.as_grey(view):
            with opened(file, name, Doubt("", decode=True)) as image:
                images.append(np.asarray(image))
        pixels, what = preview(bands.assemble(images))
    except (ImageError, ValueError):
        return None
    shown = Image.fromarray(pixels)
    stored, _ = encode_lossless(shown, None)
    depth = 8 * int(bands.dtype[1])
    size = (bands.width, bands.height)
    info = ImageInfo("TIFF", f"{bands.bands} bands", *size, *size, 1, depth, bands.bands)
    return PreparedImage(stored, *size, 8, shown.mode, f"{what}; the file is in original", info, data)
