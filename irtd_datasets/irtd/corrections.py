"""Right values for wrong labels of the released records, where other released records make them certain.

``corrections.csv`` lists the 211 Grounding records that ask for an object "to the left of" another and give the box of
that other, with the centre of the object they ask for. It is derived from the release alone: in each of these pictures
Location.json names exactly one object that can be meant, and the box's own centre is the Location point of the
other. A test derives the table anew from the released files.
"""

from __future__ import annotations

from functools import lru_cache

from irtd_datasets.examples.draft import Correction, as_json
from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.spec import read_table

__all__ = ["ISSUE", "target_centre"]

ISSUE = "label-reference-object"


def target_centre(image: str, box: tuple[float, ...]) -> Correction | None:
    """The centre of the object that a wrong Grounding record asks for, in pixels of the 640x512 frame.

    Args:
        image: Released name of the picture.
        box: The released box, x_min, y_min, x_max, y_max.

    Returns:
        The correction; None for a record that is not one of the release's.

    Example:
        >>> target_centre("63-FLIR_ADAS/training/PreviewData/FLIR_00400.jpeg", (612, 160, 639, 234)).value
        '[[432.0, 200.704]]'
    """
    point = _table().get((image, *(int(number) for number in box)))
    if point is None:
        return None
    width, height = FRAME_SIZE
    centre = [point[0] * width / 1000, point[1] * height / 1000]
    return Correction(ISSUE, "objects.point", as_json([centre]))


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str | int, ...], tuple[int, int]]:
    return {
        (row["image"], *(int(row[corner]) for corner in ("x_min", "y_min", "x_max", "y_max"))): (
            int(row["target_x"]),
            int(row["target_y"]),
        )
        for row in read_table("irtd_datasets.irtd", "corrections.csv")
    }
