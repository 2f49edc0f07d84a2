"""What other released records tell about a Grounding record: right values for wrong labels, phrases that fit several.

``corrections.csv`` lists the 211 Grounding records that ask for an object "to the left of" another and give the box of
that other, with the centre of the object they ask for. It is derived from the release alone: in each of these images
Location.json names exactly one object that can be meant, and the box's own centre is the Location point of the
other.

``ambiguous.csv`` lists the 282 records that ask for "the <class> located at the <cell> of the image" where two to five
Location points of the class lie in that cell of the image; nothing in the record tells which object is meant.

Tests derive both tables anew from the released files.
"""

from __future__ import annotations

from functools import lru_cache

from irtd_datasets.irtd.spec import FRAME_SIZE
from irtd_datasets.rows.pending import Correction, as_json
from irtd_datasets.spec import read_table

__all__ = ["AMBIGUOUS", "ISSUE", "fits_several", "target_centre"]

ISSUE = "label-reference-object"
AMBIGUOUS = "phrase-ambiguous"

_CORNERS = ("x_min", "y_min", "x_max", "y_max")


def target_centre(image: str, box: tuple[float, ...]) -> Correction | None:
    """The centre of the object that a wrong Grounding record asks for, in pixels of the 640x512 frame.

    Args:
        image: Released name of the image.
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


def fits_several(image: str, box: tuple[float, ...]) -> bool:
    """Whether the phrase of a released Grounding record fits two objects of its image, or more.

    Args:
        image: Released name of the image.
        box: The released box, x_min, y_min, x_max, y_max.

    Example:
        >>> fits_several("63-FLIR_ADAS/training/PreviewData/FLIR_02410.jpeg", (500, 223, 512, 238))
        True
    """
    return (image, *(int(number) for number in box)) in _ambiguous()


@lru_cache(maxsize=1)
def _ambiguous() -> frozenset[tuple[str | int, ...]]:
    return frozenset(
        (row["image"], *(int(row[corner]) for corner in _CORNERS))
        for row in read_table("irtd_datasets.irtd", "ambiguous.csv")
    )


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str | int, ...], tuple[int, int]]:
    return {
        (row["image"], *(int(row[corner]) for corner in _CORNERS)): (
            int(row["target_x"]),
            int(row["target_y"]),
        )
        for row in read_table("irtd_datasets.irtd", "corrections.csv")
    }
