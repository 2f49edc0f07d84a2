"""The frame check: which frames are possible for the numbers of a file, and which one the evidence names.

Numbers alone rarely prove their frame. The check reports what can be counted, the share of boxes that each
frame allows, and names a frame only when the others are contradicted:

- The **scale** (0-1, 0-100, 0-1000, pixels) follows from which ranges hold the boxes and which they fill.
- **Padded square or not** shows only on images that are not square. A box that lies in the padding of the
square cannot
  have been counted on it. The other way round, boxes that reach both borders of the unpadded area and never
  cross them speak for the square. Boxes that keep away from these borders say nothing, however many there
  are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from irtd_datasets.boxes.frames import Boxes, Frame, axis_maps, convert
from irtd_datasets.errors import BoxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["FrameReport", "check_frames"]

_LIMITS = {Frame.UNIT: 1.0, Frame.SQUARE_UNIT: 1.0, Frame.PER_MILLE: 1000.0, Frame.SQUARE_PER_MILLE: 999.0}
_PERCENT = "percent"  # no frame of ours; in the report so that the scale is named
_SLACK = 1e-9  # float arithmetic
_MOST = 0.99  # annotations overflow: a frame is possible when it allows this share of the boxes
_FILLED = 0.85  # of a scale: boxes of a scale come this near to its end, or they speak for no scale
_FEW_BOXES = 10  # with fewer boxes, how far they fill a scale says nothing
_NEAR_BORDER = 0.02  # of the square: what counts as reaching a border
_WHOLLY_IN_PADDING = 0.001  # share of boxes wholly in the padding that no annotation error explains
_PARTLY_IN_PADDING = 0.02  # the same for boxes that reach into it
_TOLERATED = 0.005  # share of boxes reaching into the padding that annotation errors do explain
_UNLIKELY, _VERY_UNLIKELY = -3.0, -6.0  # decimal logarithms of a chance
_MAX_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What the numbers of a file say about their frame.

    Example:
        >>> boxes = [[0.0, 0.02, 0.3, 0.2], [0.5, 0.9, 0.6, 0.99], [0.1, 0.01, 0.2, 0.05]]
        >>> print(check_frames(boxes, (640, 512)))
        verdict: unit
        1 of 3 boxes on images that are not square lie wholly in the padding of a square
        3 boxes, 12 numbers
        0.0 to 0.99, decimals needed: 0: 1, 1: 7, 2: 4
        0 of zero size, 0 not finite
        0 on square images
        pixel            allows 100.0 %
        unit             allows 100.0 %
        per_mille        allows 100.0 %
        square_unit      allows 100.0 %, 0.0 % inside the unpadded area
        square_per_mille allows 100.0 %, 0.0 % inside the unpadded area
        percent          allows 100.0 %
    """

    verdict: str
    """The name of a frame, or a sentence that begins with ``undecidable:`` or ``unknown:``."""
    frame: Frame | None
    """The frame named by the verdict."""
    evidence: tuple[str, ...]
    """Why, in sentences."""
    boxes: int
    numbers: int
    on_square_images: int
    """Boxes whose image is square: they cannot tell the padded square from the image."""
    minimum: float
    maximum: float
    """Of the finite numbers; NaN when there is none."""
    decimals: dict[int, int]
    """How many numbers need so many decimals; 7 stands for more than 6."""
    zero_size: int
    """Boxes and polygons without area or with exchanged corners."""
    not_finite: int
    """Boxes with NaN or infinity; they count nowhere else."""
    legal: dict[str, float]
    """Share of boxes in the range of the frame, by its name, and of 0 to 100 (``"percent"``)."""
    inside: dict[str, float]
    """Share of boxes inside the unpadded area, give or take the rounding, if they were in that frame."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        values = asdict(self)
        values["frame"] = None if self.frame is None else self.frame.value
        return values

    def __str__(self) -> str:
        decimals = ", ".join(f"{digits}: {count}" for digits, count in self.decimals.items())
        lines = [
            f"verdict: {self.verdict}",
            *self.evidence,
            f"{self.boxes} boxes, {self.numbers} numbers",
            f"{self.minimum} to {self.maximum}, decimals needed: {decimals}",
            f"{self.zero_size} of zero size, {self.not_finite} not finite",
            f"{self.on_square_images} on square images",
        ]
        for name, share in self.legal.items():
            line = f"{name:<16} allows {share:.1%}".replace("%", " %")
            if name.startswith("square"):
                line += f", {self.inside[name]:.1%} inside the unpadded area".replace("%", " %")
            lines.append(line)
        return "\n".join(lines)


class _Verdict(NamedTuple):
    text: str
    frame: Frame | None
    evidence: tuple[str, ...]


class _Extents(NamedTuple):
    """The enclosing rectangles of N finite boxes, in the unknown frame, and their images."""

    boxes: Floats  # (N, 4)
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    step: float  # half of the last digit


def check_frames(boxes: ArrayLike | Sequence[Sequence[float]], sizes: ArrayLike) -> FrameReport:
    """Tell which frames are possible for the numbers of a file.

    Args:
        boxes: N rows of 4 (box), 8 (corners) or 2 (point) numbers, in one unknown frame; rows of different
            lengths may be mixed. Rows with NaN are counted and left out.
        sizes: Width and height of the image of each row, shape (N, 2), or one pair for all.

    Returns:
        Counts, shares, and a verdict: the name of a frame, ``"unknown: ..."`` for numbers that fit none (0 to
        100 is named), or ``"undecidable: ..."`` with the reason.

    Raises:
        BoxError: Rows of other lengths, or sizes that do not fit.

    Example:
        >>> check_frames([[0.1, 0.2, 0.3, 0.4]], (800, 800)).verdict
        'undecidable: all images are square'
    """
    rows, widths, heights = _as_rows(boxes, sizes)
    extents: list[Floats] = []
    order: list[NDArray[np.int64]] = []
    zero_size = numbers = 0
    values: list[Floats] = []
    for length in (2, 4, 8):
        index = np.array([i for i, row in enumerate(rows) if len(row) == length], dtype=np.int64)
        table = np.array([rows[i] for i in index], dtype=np.float64).reshape(len(index), length)
        finite = np.isfinite(table).all(axis=1)
        index, table = index[finite], table[finite]
        group = Boxes(table, Frame.PIXEL, 1, 1)
        zero_size += int(group.degenerate().sum())
        extents.append(group.enclosing().coordinates)
        order.append(index)
        values.append(table.ravel())
        numbers += table.size
    kept = np.concatenate(order)
    flat = np.concatenate(values)
    decimals = _count_decimals(flat)
    found = _Extents(np.concatenate(extents), widths[kept], heights[kept], _half_step(decimals))
    legal = _legal_shares(found)
    verdict = _decide(found, legal)
    return FrameReport(
        verdict=verdict.text,
        frame=verdict.frame,
        evidence=verdict.evidence,
        boxes=len(rows),
        numbers=numbers,
        on_square_images=int((found.width == found.height).sum()),
        minimum=float(flat.min()) if flat.size else float("nan"),
        maximum=float(flat.max()) if flat.size else float("nan"),
        decimals=decimals,
        zero_size=zero_size,
        not_finite=len(rows) - len(kept),
        legal=legal,
        inside={frame.value: _share(_inside(found, frame)) for frame in Frame},
    )


def _as_rows(
    boxes: ArrayLike | Sequence[Sequence[float]], sizes: ArrayLike
) -> tuple[Sequence[Any], NDArray[np.int64], NDArray[np.int64]]:
    rows: Any = boxes if isinstance(boxes, (list, tuple)) else np.asarray(boxes, dtype=np.float64)
    for index, row in enumerate(rows):
        if np.ndim(row) != 1 or len(row) not in (2, 4, 8):
            raise BoxError(
                f"found {row!r:.100}, expected 2, 4 or 8 numbers",
                where=f"row {index}",
                remedy="Pass one row for each box; leave out what `parse_boxes` could not read.",
            )
    table = np.asarray(sizes)
    if table.ndim == 1 and table.shape == (2,):
        table = np.broadcast_to(table, (len(rows), 2))
    if table.shape != (len(rows), 2) and len(rows):
        raise BoxError(
            f"sizes have shape {table.shape} for {len(rows)} boxes",
            remedy="Pass (width, height) for each box, or one pair for all.",
        )
    table = table.reshape(-1, 2)
    # Checked by the class that knows the rules for sizes.
    checked = Boxes(np.zeros((len(table), 4)), Frame.PIXEL, table[:, 0], table[:, 1])
    return rows, np.asarray(checked.width), np.asarray(checked.height)


def _count_decimals(values: Floats) -> dict[int, int]:
    needed = np.full(values.shape, _MAX_DECIMALS + 1)
    for digits in range(_MAX_DECIMALS, -1, -1):
        scaled = values * 10**digits
        needed[np.abs(scaled - np.rint(scaled)) < 1e-9 * np.maximum(1, np.abs(scaled))] = digits
    counts = np.bincount(needed.astype(np.int64), minlength=1)
    return {digits: int(count) for digits, count in enumerate(counts) if count}


def _half_step(decimals: dict[int, int]) -> float:
    """Half of the last digit that nearly all numbers are written with."""
    total, seen = sum(decimals.values()), 0
    for digits, count in decimals.items():
        seen += count
        if seen >= 0.999 * total:
            return 0.0 if digits > _MAX_DECIMALS else 0.5 * 10.0**-digits
    return 0.0


def _legal_shares(found: _Extents) -> dict[str, float]:
    shares = {Frame.PIXEL.value: _share(_inside(found, Frame.PIXEL))}
    for frame, limit in _LIMITS.items():
        shares[frame.value] = _share(_in_range(found, limit))
    shares = {frame.value: shares[frame.value] for frame in Frame}
    shares[_PERCENT] = _share(_in_range(found, 100.0))
    return shares


def _in_range(found: _Extents, limit: float) -> NDArray[np.bool_]:
    low, high = found.boxes.min(axis=1, initial=np.inf), found.boxes.max(axis=1, initial=-np.inf)
    mask: NDArray[np.bool_] = (low >= -_SLACK) & (high <= limit + _SLACK)
    return mask


def _inside(found: _Extents, frame: Frame) -> NDArray[np.bool_]:
    pixels = convert(found.boxes, frame, Frame.PIXEL, found.width, found.height)
    tolerance = _tolerance(found, frame)
    low = pixels[:, :2].min(axis=1, initial=np.inf) >= -tolerance
    mask: NDArray[np.bool_] = (
        low & (pixels[:, 2] <= found.width + tolerance) & (pixels[:, 3] <= found.height + tolerance)
    )
    return mask


def _tolerance(found: _Extents, frame: Frame) -> Floats:
    """Pixels by which rounding moves a coordinate of each box; only the borders of a square move at all."""
    if not frame.is_square:
        return np.full(len(found.boxes), _SLACK)
    maps = axis_maps(frame, found.width, found.height)
    # Numbers of the all-seeing family are cut, which moves them by a whole step.
    steps = 2 if frame is Frame.SQUARE_PER_MILLE else 1
    tolerance: Floats = np.asarray(maps.extent_x) * (steps * found.step / maps.base) + _SLACK
    return tolerance


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _undecidable(reason: str, *evidence: str) -> _Verdict:
    return _Verdict(f"undecidable: {reason}", None, evidence)


def _decide(found: _Extents, legal: dict[str, float]) -> _Verdict:
    if not len(found.boxes):
        return _undecidable("no boxes")
    if legal[Frame.UNIT] >= _MOST:
        if (found.boxes == np.rint(found.boxes)).all():
            return _undecidable("only the numbers 0 and 1 occur")
        return _square_or_not(found, Frame.UNIT, Frame.SQUARE_UNIT)
    return _decide_large(found, legal)


def _decide_large(found: _Extents, legal: dict[str, float]) -> _Verdict:
    """Decide between pixels, 0 to 1000 and 0 to 100."""
    count = len(found.boxes)
    pixel, mille, percent = (legal[name] >= _MOST for name in (Frame.PIXEL, Frame.PER_MILLE, _PERCENT))
    fills_pixel = pixel and _fills_images(found)
    fills_mille = mille and _fills(found, 1000.0)
    if percent and not fills_pixel and count >= _FEW_BOXES and _fills(found, 100.0):
        text = "unknown: a 0-100 scale, which is not a known frame"
        return _Verdict(text, None, ("Divide by 100 to get 0-1, then check again.",))
    if not mille:
        if pixel:
            return _Verdict(Frame.PIXEL.value, Frame.PIXEL, ("The numbers exceed every other frame.",))
        text = "unknown: no frame allows these numbers on images of these sizes"
        return _Verdict(text, None, ())
    if count < _FEW_BOXES:
        return _undecidable(f"only {count} boxes" if count > 1 else "only 1 box")
    if fills_pixel and _chance(found, 1000.0, below=True) < (_VERY_UNLIKELY if fills_mille else _UNLIKELY):
        reason = "The boxes fill the images and never exceed them; numbers up to 1000 would."
        return _Verdict(Frame.PIXEL.value, Frame.PIXEL, (reason,))
    if fills_mille and (not pixel or (not fills_pixel and _chance(found, 1000.0, below=False) < _UNLIKELY)):
        return _square_or_not(found, Frame.PER_MILLE, Frame.SQUARE_PER_MILLE)
    if not pixel:
        return _undecidable("too large for pixels, and far from filling 0 to 1000")
    return _undecidable("pixels and 0 to 1000 both allow these numbers")


def _fills(found: _Extents, limit: float) -> bool:
    legal = found.boxes[_in_range(found, limit)]
    return bool(legal.size and legal.max() >= _FILLED * limit)


def _fills_images(found: _Extents) -> bool:
    inside = _inside(found, Frame.PIXEL)
    across = (found.boxes[:, 2] / found.width)[inside].max(initial=0)
    down = (found.boxes[:, 3] / found.height)[inside].max(initial=0)
    return bool(min(across, down) >= _FILLED)


def _chance(found: _Extents, limit: float, *, below: bool) -> float:
    """Logarithm of the chance that boxes spread over one range all stay in the other.

    Args:
        found: The boxes.
        limit: The end of a scale.
        below: Whether they are spread over the scale and stay in the images, or the other way round.
    """
    sizes = np.stack([found.width, found.height]) / limit
    ratio = sizes if below else 1 / sizes
    return float(np.log10(np.minimum(ratio, 1)).sum())


def _square_or_not(found: _Extents, plain: Frame, square: Frame) -> _Verdict:
    """Decide between a frame of the image and the same scale on the padded square."""
    if square is Frame.SQUARE_PER_MILLE:
        over = int((found.boxes.max(axis=1) > _LIMITS[square] + _SLACK).sum())
        if over >= max(1, _WHOLLY_IN_PADDING * len(found.boxes)):
            return _Verdict(plain.value, plain, (f"{over} boxes reach 1000, which {square} cannot.",))
    maps = axis_maps(square, found.width, found.height)
    pads = np.maximum(np.asarray(maps.pad_x), np.asarray(maps.pad_y))
    telling = pads > _tolerance(found, square)
    if not telling.any():
        if (found.width == found.height).all():
            return _undecidable("all images are square")
        return _undecidable("the images are too nearly square for the decimals of the numbers")
    border = _look_at_border(
        _Extents(found.boxes[telling], found.width[telling], found.height[telling], found.step), square
    )
    return _judge_border(border, plain, square)


class _Border(NamedTuple):
    """What boxes of images that are not square do at the borders of the unpadded area, read as square."""

    boxes: int
    wholly: int  # in the padding
    partly: int
    over_long_side: int  # beyond the borders that have no padding, where only annotation errors lead
    reaches_both: bool
    chance: float  # logarithm, that boxes spread over the whole square avoid the padding


def _look_at_border(found: _Extents, square: Frame) -> _Border:
    pixels = convert(found.boxes, square, Frame.PIXEL, found.width, found.height)
    tolerance = _tolerance(found, square)
    is_wide = found.width > found.height
    across, down = pixels[:, 0::2], pixels[:, 1::2]
    short = np.where(is_wide[:, None], down, across)
    long = np.where(is_wide[:, None], across, down)
    short_side, side = np.minimum(found.width, found.height), np.maximum(found.width, found.height)
    wholly = (short[:, 1] < -tolerance) | (short[:, 0] > short_side + tolerance)
    crossing = (short[:, 0] < -tolerance) | (short[:, 1] > short_side + tolerance)
    over = (long[:, 0] < -tolerance) | (long[:, 1] > side + tolerance)
    reach = np.maximum(_NEAR_BORDER * side, tolerance)
    near_first, near_last = np.abs(short[:, 0]) <= reach, np.abs(short[:, 1] - short_side) <= reach
    return _Border(
        boxes=len(pixels),
        wholly=int(wholly.sum()),
        partly=int((crossing & ~wholly).sum()),
        over_long_side=int(over.sum()),
        reaches_both=bool(near_first.any() and near_last.any()),
        chance=float(np.log10(short_side / side).sum()),
    )


def _judge_border(border: _Border, plain: Frame, square: Frame) -> _Verdict:
    crossing = border.wholly + border.partly
    of = f"of {border.boxes} boxes on images that are not square"
    if border.wholly >= max(1, _WHOLLY_IN_PADDING * border.boxes):
        return _Verdict(plain.value, plain, (f"{border.wholly} {of} lie wholly in the padding of a square",))
    found = f"{crossing} {of} reach into the padding of a square, {border.over_long_side} over the long side"
    if crossing >= max(3, _PARTLY_IN_PADDING * border.boxes) and crossing > 3 * border.over_long_side:
        return _Verdict(plain.value, plain, (found,))
    if crossing > max(_TOLERATED * border.boxes, 3 * border.over_long_side):
        return _undecidable("some boxes reach into the padding, too few to exclude annotation errors", found)
    if border.chance >= _UNLIKELY:
        return _undecidable("too few boxes on images that are not square", found)
    if not border.reaches_both:
        return _undecidable("the boxes keep away from the borders that would tell", found)
    return _Verdict(square.value, square, (found, "They reach both borders of the unpadded area."))
