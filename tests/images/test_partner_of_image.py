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


def moved(image, count=3):
    """The scene at another time: some things have gone from where they were to other places."""
    later = image.copy()
    for number in range(count):
        x, y = 40 + 130 * number, 50 + 90 * number
        part = image[y : y + 70, x : x + 80].copy()
        later[y : y + 70, x : x + 80] = 105
        later[384 - y - 70 : 384 - y, x + 30 : x + 110] = part
    return later


def night(image):
    """The scene in the dark: noise, and the light of two lamps."""
    dark = np.random.default_rng(0).normal(6, 3, image.shape)
    for x, y in ((100, 80), (390, 300)):
        dark[y - 12 : y + 12, x - 12 : x + 12] = 240
    return dark.clip(0, 255).astype(np.uint8)


def dim(image):
    """The scene at dusk, a tenth as bright, with the noise of the sensor."""
    noise = np.random.default_rng(1).normal(0, 1, image.shape)
    return (image / 10 + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("later", "status"),
    [(moved, "aligned"), (dim, "aligned"), (night, "refused-not-sure")],
    ids=["moved objects", "dusk", "night"],
)
def test_a_partner_of_another_time(later, status):
    """The view tells while enough of it stays: what moved does not shift it, and what the dark hides is refused."""
    found = fit_partner(INFRARED, encoded(later(VISIBLE)), "v.png")
    assert found["status"] == status


def test_labels_that_moved_do_not_move_the_view():
    """Objects labelled at two times, each gone its own way, contradict each other: then the edges tell."""
    places = np.array([[40, 50, 90, 120], [200, 60, 260, 110], [320, 250, 400, 300]], float)
    steps = np.array([[60, 0], [-70, 90], [0, -120]], float)
    labels = {
        "infrared_boxes": places,
        "visible_boxes": places + np.tile(steps, 2),
        "infrared_labels": ["person", "car", "bike"],
        "visible_labels": ["person", "car", "bike"],
    }
    found = fit_partner(INFRARED, encoded(moved(VISIBLE)), "v.png", labels=labels)
    assert (found["status"], found["method"]) == ("aligned", "images")


@pytest.mark.parametrize("side", [16, 24, 31])
def test_images_too_small_to_tell_are_refused(side):
    """A crop of a few pixels is the same blurred edge many times over, which proves nothing."""
    small = Image.fromarray(VISIBLE).resize((side, side), Image.Resampling.BOX)
    infrared = Image.open(io.BytesIO(INFRARED)).resize((side, side), Image.Resampling.BOX)
    found = fit_partner(encoded(np.asarray(infrared)), encoded(np.asarray(small)), "v.png")
    assert found["status"] == "refused-too-small"


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
