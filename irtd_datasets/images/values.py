"""Values of images that are more than 8 bits: which of them are measured, and which range is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["measured", "shown_range"]

_SHARE = 0.005
"""Share of the pixels from which one extreme value can be a mark for pixels without data."""
_FAR = 2.0
"""How many times the range of all other values it must be away from the nearest of them."""
_LEAST_VALUES = 8
"""Different values that an image has at least beside the mark; what has fewer is a mask or a drawing."""


def measured(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are measured: finite, and no mark for pixels without data.

    A mark (-9999, -32768, 3.4e38, 0 in raw counts) is one extreme value of many pixels, far from all others.

    Args:
        values: Any shape.

    Example:
        >>> int(measured(np.array([*range(20, 30), np.nan, -9999.0, -9999.0])).sum())
        10
    """
    valid: NDArray[np.bool_] = np.isfinite(values)
    for _ in range(2):  # one at each end
        known = values[valid].astype(np.float64)
        if not known.size:
            break
        for mark in (known.min(), known.max()):
            rest = known[known != mark]
            if rest.size < _LEAST_VALUES or known.size - rest.size < max(1, _SHARE * known.size):
                continue
            low, high = float(rest.min()), float(rest.max())
            away = max(low - mark, mark - high)
            outside = mark == 0 or abs(mark) > max(abs(low), abs(high))
            if outside and away > _FAR * (high - low) and len(np.unique(rest)) >= _LEAST_VALUES:
                valid &= values != mark
                break
        else:
            break
    return valid


def shown_range(
    values: NDArray[Any], percentiles: tuple[float, float]
) -> tuple[NDArray[np.bool_], float, float]:
    """Which values are shown, and those that become black and white: percentiles of the measured ones.

    Args:
        values: Any shape.
        percentiles: Least and greatest; where they are equal, the extremes are taken.
    """
    valid = measured(values)
    known = values[valid]
    if not known.size:
        return valid, 0.0, 0.0
    low, high = (float(value) for value in np.percentile(known, percentiles))
    if high <= low:  # nearly all pixels are equal: the few others are what there is to see
        low, high = float(known.min()), float(known.max())
    return valid, low, high
