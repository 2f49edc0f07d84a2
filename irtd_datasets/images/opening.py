"""Opening images with Pillow, strictly, and what is said of a file that is none."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, UnidentifiedImageError

from irtd_datasets.errors import ImageError
from irtd_datasets.images.bands import unread
from irtd_datasets.images.info import JPEG_START, PILLOW_DEPTHS, PNG_START, TURNS, Doubt, ImageInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BoundedFile", "ask_pillow", "opened", "refuse_foreign", "refuse_large"]


# What a release may hold and `datasets` can decode. Left out on purpose: formats whose reading starts another
# program (EPS) or whose pixels lie in another file. MPO is opened as JPEG.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_LFS_START = b"version https://git-lfs.github.com/spec/"
_GET_AGAIN = (
    "Copy, extract or download the file again; where the release itself has it so, leave its records out."
)
# Beginnings of what Pillow may read, longest first per format; a file that has one and fails is a broken
# image.
_OTHER_STARTS = (
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)
_ARCHIVE_STARTS = {
    b"PK\x03\x04": "a ZIP archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB 5.0": "a MATLAB file",
}
_MARKUP_STARTS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<head": "an HTML page",
    b"<body": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML document",
}


_PLAIN_STARTS = frozenset({b"P1", b"P2", b"P3"})
_MOST_COMMENTS = 1000  # in a PPM of digits, where Pillow copies a megabyte for each
_MOST_READS = 8192
_MOST_READS_OF_PIXELS = 1 << 18


class BoundedFile(io.BytesIO):
    """The bytes of an image as a file that gives up a reader who takes them in crumbs.

    Pillow looks for the next segment of a JPEG, block of a GIF, box of a JPEG 2000 or number of a PPM byte by byte,
    for as long as the file is. A header of a real image takes some tens of reads, hundreds with a large colour profile.

    Args:
        data: The file.
        name: For messages.
    """

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        super().__init__(data)
        self._name = name
        self.reads_left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file.

        Raises:
            ImageError: There were too many reads.
        """
        self.reads_left -= 1
        if self.reads_left < 0:
            raise _unending(self._name, f"after {self.tell():,} bytes in small pieces there is no image yet")
        return super().read(size)


def _unending(name: str, what: str) -> ImageError:
    return ImageError(
        f"its header makes no sense: {what}", code="image-unreadable", where=name, remedy=_GET_AGAIN
    )


class _StrictPillow:
    """Make Pillow refuse cut files and keep its warnings to itself, for as long as one thread is inside.

    Training programs set ``LOAD_TRUNCATED_IMAGES``, with which a half-downloaded image decodes to one with
    a grey bottom. That flag and the warning filters belong to the whole process: threads share one change of
    them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changes = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._changes.callback(
                    setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES
                )
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                # Which writes to standard error about every TIFF of many bands.
                logger = logging.getLogger("PIL.TiffImagePlugin")
                self._changes.callback(setattr, logger, "disabled", logger.disabled)
                logger.disabled = True
                self._changes.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._changes.close()


_strict_pillow = _StrictPillow()


@contextlib.contextmanager
def opened(view: bytes | memoryview, name: str, doubt: Doubt) -> Iterator[Image.Image]:
    """Open with Pillow; whatever Pillow raises while the file is open comes out as an `ImageError`."""
    if bytes(view[:2]) in _PLAIN_STARTS and bytes(view).count(b"#") > _MOST_COMMENTS:
        raise _unending(name, "it has thousands of comments")
    try:
        file = BoundedFile(view, name)
        with _strict_pillow, Image.open(file, formats=_FORMATS) as image:
            file.reads_left = _MOST_READS_OF_PIXELS
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(str(error), name) from error
    except (
        Exception
    ) as error:  # damaged bytes bring out anything in Pillow's plugins, from KeyError to zlib.error
        raise _refusal(view, name, doubt, error) from error


def ask_pillow(view: bytes | memoryview, name: str, doubt: Doubt, max_pixels: int) -> ImageInfo:
    """What Pillow says of a file, decoded where the doubt or its own header asks for it."""
    with opened(view, name, doubt) as image:
        container = str(image.format)
        mode, channels = image.mode, len(image.getbands())
        width, height = _stored_size(image)
        refuse_large(width, height, name, max_pixels)
        decode = doubt.decode or _looks_cut(image, view)
        if decode and container == "PNG":
            image.load()  # metadata may stand behind the pixels
        # The plugin's own getexif decodes every PNG without EXIF; what stands before the pixels is known
        # already.
        orientation = Image.Image.getexif(image).get(0x0112, 1)
        orientation = int(orientation) if orientation in TURNS else 1
        bit_depth = _bit_depth(image, view, mode)
        if decode:
            image.load()
    upright = (height, width) if orientation >= 5 else (width, height)
    return ImageInfo(container, mode, *upright, width, height, orientation, bit_depth, channels, doubt.notes)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    tags = getattr(image, "tag_v2", None)
    if (
        image.format == "TIFF" and tags is not None
    ):  # Pillow announces the size of an upright TIFF before turning it
        return int(tags[256]), int(tags[257])
    return image.size


def _bit_depth(image: Image.Image, view: bytes | memoryview, mode: str) -> int:
    depth = PILLOW_DEPTHS.get(mode, 8)
    if depth == 8 and image.format == "PNG":
        return max(8, view[24])
    if depth == 8 and image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return 16 if max(bits) == 16 else 8
    return depth


def _looks_cut(image: Image.Image, view: bytes | memoryview) -> bool:
    """Whether the header promises more bytes than there are, or says too little to tell without decoding."""
    size = len(view)
    if image.format == "BMP":
        return int.from_bytes(view[2:6], "little") > size
    if image.format == "GIF":
        return view[-1] != 0x3B
    if image.format == "WEBP":
        return int.from_bytes(view[4:8], "little") + 8 > size
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        offsets = tags.get(273) or tags.get(324) or ()
        counts = tags.get(279) or tags.get(325) or ()
        ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
        return len(offsets) != len(counts) or not ends or max(ends) > size
    return image.format in {"PPM", "JPEG2000"}


def refuse_large(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise `ImageError` for an image of too many pixels."""
    if width * height > max_pixels:
        raise _too_large(
            f"{width}x{height} are {width * height:,} pixels, at most {max_pixels:,} are read", name
        )


def _too_large(problem: str, name: str) -> ImageError:
    return ImageError(
        problem,
        code="image-too-large",
        where=name,
        remedy="If the image is really this large, cut it into tiles: by default readers refuse it too.",
    )


def refuse_foreign(view: bytes | memoryview, name: str) -> None:
    """Say what a file is that is neither JPEG nor PNG, where its first bytes tell, before Pillow sees it."""
    if not len(view):
        raise ImageError("the file is empty (0 bytes)", code="image-empty", where=name, remedy=_GET_AGAIN)
    head = bytes(view[:512])
    if head.startswith(_LFS_START):
        raise ImageError(
            f"not the image but a Git LFS pointer to it, beginning with {_quote(head)}",
            code="image-lfs-pointer",
            where=name,
            remedy="Run `git lfs pull` in the repository that the file comes from.",
        )
    if JPEG_START.startswith(head) or PNG_START.startswith(head):
        raise ImageError(
            f"it ends after {len(head)} bytes", code="image-truncated", where=name, remedy=_GET_AGAIN
        )
    markup = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, what in _MARKUP_STARTS.items():
        if markup.startswith(start):
            if what == "an HTML page":
                remedy = "It is probably the error page of a failed download; get the file again."
            else:
                remedy = "See whether the file name is right; the release may hold the image beside it."
            raise _not_an_image(what, head, name, remedy)
    for start, what in _ARCHIVE_STARTS.items():
        if head.startswith(start):
            raise _not_an_image(
                what, head, name, "See whether it has to be unpacked, or the file name is wrong."
            )


def _refusal(view: bytes | memoryview, name: str, doubt: Doubt, error: Exception) -> ImageError:
    """The error for what Pillow refused."""
    head = bytes(view[:512])
    if isinstance(error, UnidentifiedImageError) and not head.startswith(
        (JPEG_START, PNG_START, *_OTHER_STARTS)
    ):
        if not head.strip(b"\0"):
            return _not_an_image("zero bytes", head, name, _GET_AGAIN)
        what = "a text" if _is_text(head) else "data of no known image format"
        return _not_an_image(what, head, name, "See whether the file name is right; then get the file again.")
    cause = "" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
    why = "; ".join(part for part in (doubt.reason, cause) if part) or "no decoder takes it"
    whole = unread(view) if head[:2] in {b"II", b"MM"} else ""
    if whole:
        return ImageError(
            f"{whole}, which Pillow cannot read ({why})",
            code="image-unreadable",
            where=name,
            remedy="Its file has all its bytes: convert it to a TIFF of 32-bit floats or 16-bit whole numbers "
            "without compression, or to PNG.",
        )
    if doubt.cut or "truncated" in cause.lower():
        return ImageError(
            f"the image is cut off ({why})", code="image-truncated", where=name, remedy=_GET_AGAIN
        )
    return ImageError(
        f"Pillow cannot read it ({why})", code="image-unreadable", where=name, remedy=_GET_AGAIN
    )


def _not_an_image(what: str, head: bytes, name: str, remedy: str) -> ImageError:
    return ImageError(
        f"not an image but {what}, beginning with {_quote(head)}",
        code="image-not-an-image",
        where=name,
        remedy=remedy,
    )


def _quote(head: bytes) -> str:
    return repr(head[:40].decode("latin-1"))


def _is_text(head: bytes) -> bool:
    # The last character may be cut in two.
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) > len(head) - 4 and all(
        letter.isprintable() or letter in "\t\r\n" for letter in text
    )
