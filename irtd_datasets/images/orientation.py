"""Where coordinates lie once EXIF has turned an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["orientation_matrix", "turn_boxes", "turn_points"]


def orientation_matrix(
    orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """The affine map from the stored pixels to the upright image.

    Coordinates lie between pixels: x runs from 0 at the left edge to the width at the right edge, y
    downwards.

    Args:
        orientation: EXIF orientation, 1 to 8 (EXIF 2.32, tag 0x0112).
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (3, 3); multiplies column vectors (x, y, 1).

    Raises:
        BoxError: `orientation` is not in 1 to 8.

    Example:
        >>> orientation_matrix(6, 60, 40).tolist()
        [[0.0, -1.0, 40.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if orientation not in _AXES:
        raise BoxError(
            f"no EXIF orientation {orientation!r}, expected 1 to 8",
            remedy="Pass ImageInfo.orientation of the image.",
        )
    swap, flip_x, flip_y = _AXES[orientation]
    width, height = (stored_height, stored_width) if swap else (stored_width, stored_height)
    matrix = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) if swap else np.eye(3)
    flip = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0])
    flip[0, 2] = width if flip_x else 0.0
    flip[1, 2] = height if flip_y else 0.0
    turned: npt.NDArray[np.float64] = flip @ matrix
    return turned + 0.0  # no negative zeros


# Transpose first, then flip left to right, flip top to bottom.
_AXES = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turn_points(
    points: npt.ArrayLike, orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """Where points on the stored pixels lie on the upright image.

    Corners of half-open boxes and polygons and other positions between pixels are turned as they are; the
    index of a pixel stands for its centre, half a pixel to the right and below.

    Args:
        points: Shape (..., 2), x and y in pixels of the image as stored.
        orientation: EXIF orientation, 1 to 8.
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (..., 2), x and y in pixels of the upright image.

    Raises:
        BoxError: The last axis has not 2 numbers, or `orientation` is not in 1 to 8.

    Example:
        >>> turn_points([[0, 0], [10, 5]], 6, 60, 40).tolist()
        [[40.0, 0.0], [35.0, 10.0]]
    """
    array = np.asarray(points, np.float64)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise BoxError(
            f"points of shape {array.shape}, expected (..., 2)",
            remedy="Use turn_boxes for boxes, reshape polygons.",
        )
    matrix = orientation_matrix(orientation, stored_width, stored_height)
    turned: npt.NDArray[np.float64] = array @ matrix[:2, :2].T + matrix[:2, 2]
    return turned


def turn_boxes(
    boxes: npt.ArrayLike, orientation: int, stored_width: float, stored_height: float
) -> npt.NDArray[np.float64]:
    """Where boxes on the stored pixels lie on the upright image.

    Args:
        boxes: Shape (..., 4), x_min, y_min, x_max, y_max in pixels of the image as stored, half-open.
        orientation: EXIF orientation, 1 to 8.
        stored_width: Pixels, as they lie in the file.
        stored_height: Pixels, as they lie in the file.

    Returns:
        Shape (..., 4), x_min, y_min, x_max, y_max in pixels of the upright image, half-open.

    Raises:
        BoxError: The last axis has not 4 numbers, or `orientation` is not in 1 to 8.

    Example:
        >>> turn_boxes([0, 0, 10, 5], 6, 60, 40).tolist()
        [35.0, 0.0, 40.0, 10.0]
    """
    array = np.asarray(boxes, np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise BoxError(
            f"boxes of shape {array.shape}, expected (..., 4)", remedy="Use turn_points for polygons."
        )
    corners = turn_points(array.reshape(*array.shape[:-1], 2, 2), orientation, stored_width, stored_height)
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)
