"""Whatever a partner is, finding out how it fits ends with a status that says so, and with an image that fits."""

import io

import numpy as np
import pytest
from pair_scenes import as_infrared, encoded, scene
from PIL import Image

from irtd_datasets.images.pairs.partner import cut_image, fit_partner

VIEW = scene(3, (480, 384))
INFRARED = encoded(as_infrared(3, VIEW))
VISIBLE = VIEW.clip(0, 255).astype(np.uint8)


def changed(change):
    return encoded(np.ascontiguousarray(change(VISIBLE)))


def tiff(values):
    file = io.BytesIO()
    Image.fromarray(values.astype(np.float32)).save(file, "TIFF")
    return file.getvalue()


def with_hole(values):
    values = values.astype(np.float32)
    values[7, 9] = np.nan
    return values


@pytest.mark.parametrize(
    ("partner", "status"),
    [
        (encoded(VISIBLE), "aligned"),
        (encoded(np.stack([VISIBLE] * 3, 2), "JPEG"), "aligned"),
        (encoded(VISIBLE.astype(np.uint16) * 200), "aligned"),
        (tiff(with_hole(VISIBLE)), "aligned"),
        (encoded(scene(4, (480, 384)).clip(0, 255).astype(np.uint8)), "refused-not-sure"),
        (changed(lambda image: image[:, ::-1]), "refused-not-sure"),
        (changed(lambda image: image[::-1]), "refused-not-sure"),
        (changed(np.rot90), "refused-not-sure"),
        (encoded(np.zeros((384, 480), np.uint8)), "refused-not-sure"),
        (tiff(np.full((384, 480), np.nan)), "refused-not-sure"),
        (encoded(np.zeros((1, 1), np.uint8)), "refused-too-small"),
        (b"", "refused-image-empty"),
        (b"<html>404</html>", "refused-image-not-an-image"),
    ],
    ids=[
        *("grey", "colour", "16-bit", "nan-pixel", "other-scene", "mirrored", "upside-down", "90-degrees"),
        *("black", "all-nan", "1x1", "empty", "html"),
    ],
)
def test_every_partner_has_a_status(partner, status):
    """A partner of another scene, mirrored, upside down, turned, tiny, without pixels or no image at all is refused."""
    found = fit_partner(INFRARED, partner, "v.png")
    assert found["status"] == status
    assert found["partner"] == "v.png"
    assert (found["visible_box"] == []) == status.startswith("refused")


def test_labels_of_both_tell_and_one_wrong_is_outvoted():
    """Labels of both modalities give the transform, one wrong among them changes nothing; of one, the edges tell."""
    places = np.array(
        [[40, 50, 90, 120], [200, 60, 260, 110], [320, 250, 400, 300], [120, 280, 150, 350]], float
    )
    names = ["person", "car", "car", "bike"]
    wrong = places.copy()
    wrong[3] += 90
    for visible in (places, wrong):
        labels = {
            "infrared_boxes": places,
            "visible_boxes": visible,
            "infrared_labels": names,
            "visible_labels": names,
        }
        found = fit_partner(INFRARED, encoded(VISIBLE), "v.png", "unaligned", labels=labels)
        assert (found["status"], found["method"]) == ("aligned", "labels")
    found = fit_partner(INFRARED, encoded(VISIBLE), "v.png", labels={"infrared_boxes": places})
    assert (found["status"], found["method"]) == ("aligned", "images")


def test_a_cut_says_how_it_is_stored():
    """A part of a JPEG is a JPEG of high quality where that is asked for, any other is exact, a whole is itself."""
    colour = np.stack([VISIBLE, VISIBLE // 2, VISIBLE // 3], 2)
    file = encoded(colour, "JPEG", quality=95)
    assert cut_image(file, (0, 0, 480, 384), "v") is file
    exact = Image.open(io.BytesIO(cut_image(file, (10, 20, 300, 200), "v")))
    small = Image.open(io.BytesIO(cut_image(file, (10, 20, 300, 200), "v", store="as-file")))
    assert (exact.format, small.format, exact.size) == ("PNG", "JPEG", (290, 180))
    away = np.abs(np.asarray(exact).astype(int) - np.asarray(small).astype(int))
    assert away.mean() < 2
