"""Objects moved with their image, and cut at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from irtd_datasets.images.files import turn_boxes, turn_points

if TYPE_CHECKING:
    from irtd_datasets.annotations.labelled import LabelledObject

__all__ = ["cut", "moved", "turned"]


def cut(item: LabelledObject, width: int, height: int) -> tuple[str, LabelledObject | None]:
    """What is wrong with an object's place, and the object as it can be kept."""
    if item.box is None:
        point = item.point
        inside = point is None or (0 <= point[0] <= width and 0 <= point[1] <= height)
        return ("", item) if inside else ("box-outside", None)
    x_min, y_min, x_max, y_max = item.box
    if not (x_max > x_min and y_max > y_min):
        return "box-empty", None
    if x_min >= 0 and y_min >= 0 and x_max <= width and y_max <= height:
        return "", item
    if x_min >= width or y_min >= height or x_max <= 0 or y_max <= 0:
        return "box-outside", None
    box = max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(width)), min(y_max, float(height))
    if max(abs(a - b) for a, b in zip(box, item.box, strict=True)) <= 0.01:  # by rounding alone
        return "", replace(item, box=box)
    return "box-clipped", replace(item, box=box, attributes=item.attributes | {"clipped"})


def moved(item: LabelledObject, dx: float, dy: float) -> LabelledObject:
    """An object some pixels to the right and down."""
    box = item.box and (item.box[0] + dx, item.box[1] + dy, item.box[2] + dx, item.box[3] + dy)
    polygon = item.polygon and tuple(
        value + (dy if place % 2 else dx) for place, value in enumerate(item.polygon)
    )
    point = item.point and (item.point[0] + dx, item.point[1] + dy)
    return replace(item, box=box, polygon=polygon, point=point)


def turned(item: LabelledObject, orientation: int, width: int, height: int) -> LabelledObject:
    """An object on the upright image; sizes are those of the stored one."""
    box: Any = item.box and tuple(turn_boxes(item.box, orientation, width, height).tolist())
    point: Any = item.point and tuple(turn_points(item.point, orientation, width, height).tolist())
    polygon: Any = item.polygon
    if polygon:
        pairs = [polygon[place : place + 2] for place in range(0, len(polygon), 2)]
        polygon = tuple(turn_points(pairs, orientation, width, height).ravel().tolist())
    return replace(item, box=box, polygon=polygon, point=point)
