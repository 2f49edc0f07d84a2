"""The check that every image passes on its way from a release into a Parquet shard.

`datasets` copies image bytes without opening them, so that an HTML error page named ``.jpg`` is counted,
published, and fails at the first read. Here each file's header is read before it is stored. Clean JPEG and
PNG, which are nearly all files of the three releases, are read with `struct` alone; whatever is unusual about
a file is left to Pillow, so that the answer is Pillow's (and with it that of `datasets`) in every case.
Pixels are decoded only where the header cannot tell whether they are whole.

The released bytes are kept as they are, with three exceptions that a row's note states: pixels that EXIF says
to turn are turned (boxes made on the file would no longer fit what `datasets` shows), a copy in another layout
than the released one is brought to it by one of `PIXEL_TRANSFORMS`, and a file that no viewer shows (floats, many
bands) is kept beside an 8-bit preview of it.
"""

from __future__ import annotations

from irtd_datasets.images.encoding import encode_lossless, without_metadata
from irtd_datasets.images.headers import read_size
from irtd_datasets.images.info import MAX_PIXELS, ImageInfo
from irtd_datasets.images.inspection import inspect_image
from irtd_datasets.images.orientation import orientation_matrix, turn_boxes, turn_points
from irtd_datasets.images.preparation import PreparedImage, prepare_image, viewable_image
from irtd_datasets.images.transforms import PIXEL_TRANSFORMS

__all__ = [
    "MAX_PIXELS",
    "PIXEL_TRANSFORMS",
    "ImageInfo",
    "PreparedImage",
    "encode_lossless",
    "inspect_image",
    "orientation_matrix",
    "prepare_image",
    "read_size",
    "turn_boxes",
    "turn_points",
    "viewable_image",
    "without_metadata",
]
