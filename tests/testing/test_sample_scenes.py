"""Drawn images show what their plan says."""

import io
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from PIL import Image

from irtd_datasets.testing.irtd_release import encode_image
from irtd_datasets.testing.irtd_text import RECOGNITION_COUNTS
from irtd_datasets.testing.scenes import (
    BACKGROUND_MAX,
    aerial_scene,
    colour_scene,
    crowd_scene,
    mosaic_scene,
    render_scene,
    single_scene,
    street_scene,
    view_scene,
    with_border,
)

STREET = ["car", "person", "bike", "car", "person", "person"]


def plans():
    random = Random(11)
    return [
        street_scene(random, STREET, "street", unlabelled=["sign", "dog"]),
        street_scene(random, ["person"] * 30, "queue"),
        aerial_scene(random, 20, "aerial"),
        aerial_scene(random, 141, "car park"),
        crowd_scene(random, 50, "crowd"),
        crowd_scene(random, 701, "dense crowd"),
        mosaic_scene(random, 5, "mosaic"),
        *(single_scene(random, label, label) for label in RECOGNITION_COUNTS),
    ]


def opened(scene_image):
    with Image.open(io.BytesIO(encode_image(scene_image))) as image:
        return np.asarray(image)


@pytest.mark.parametrize("scene", plans(), ids=lambda scene: scene.key)
def test_centres_are_warm_and_background_is_cold(scene):
    """The middle of each object is warm after JPEG, and nothing outside the boxes is."""
    scene_image = render_scene(scene, seed=3)
    pixels = opened(scene_image)
    background = np.ones(pixels.shape, bool)
    for item in scene.objects:
        x_min, y_min, x_max, y_max = item.box
        assert pixels[int(item.centre[1]), int(item.centre[0])] > 188, item
        background[y_min:y_max, x_min:x_max] = False
    assert np.asarray(scene_image)[background].max() <= BACKGROUND_MAX


@pytest.mark.parametrize("scene", plans(), ids=lambda scene: scene.key)
def test_boxes_lie_inside_their_image_and_are_filled(scene):
    """Boxes have an area, stay inside the frame, and warm pixels reach into each half of them."""
    pixels = np.asarray(render_scene(scene, seed=3))
    for item in scene.objects:
        x_min, y_min, x_max, y_max = item.box
        assert 0 <= x_min < x_max <= scene.width
        assert 0 <= y_min < y_max <= scene.height
        warm = pixels[y_min:y_max, x_min:x_max] > BACKGROUND_MAX + 10
        rows, columns = np.nonzero(warm)
        assert rows.min() <= (y_max - y_min) * 0.25
        # Cold trousers, and legs thinner than a pixel, keep it from reaching further down.
        assert rows.max() >= (y_max - y_min) * 0.5
        assert columns.min() <= (x_max - x_min) * 0.3
        assert columns.max() >= (x_max - x_min) * 0.7 - 1


def test_street_objects_keep_their_order_and_do_not_overlap():
    """Labels stand from left to right as asked for, each in columns of its own."""
    for seed in range(20):
        scene = street_scene(Random(seed), STREET, "order")
        ordered = sorted(scene.objects, key=lambda item: item.centre)
        assert [item.label for item in ordered] == STREET
        assert all(one.box[2] <= two.box[0] for one, two in pairwise(ordered))


def test_mosaic_has_one_match_of_the_query():
    """Slot 1 and the slot of the answer show one identity; the other six all differ."""
    for answer in range(2, 9):
        identities = [item.identity for item in mosaic_scene(Random(answer), answer, "m").objects]
        assert identities[answer - 1] == identities[0]
        assert len(set(identities)) == 7


def test_border_shifts_the_image_by_its_width():
    """A bordered image is white outside and unchanged inside."""
    scene_image = render_scene(aerial_scene(Random(0), 3, "a"))
    framed = with_border(scene_image, 100)
    assert framed.size == (840, 712)
    assert framed.getpixel((99, 300)) == framed.getpixel((740, 300)) == 255
    assert framed.crop((100, 100, 740, 612)).tobytes() == scene_image.tobytes()


def test_false_colours_keep_warm_above_cold():
    """False colours are brighter for brighter grey, so that warm stays warm after going back."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    colours = colour_scene(ramp)
    grey = np.asarray(colours.convert("L")).astype(int)[0]
    assert (np.diff(grey) >= -1).all()
    assert grey[205] > grey[BACKGROUND_MAX] + 10
    assert np.asarray(colours).std(axis=2).max() > 40


def test_next_frame_differs_by_noise_only():
    """Two frames of one scene differ a little everywhere and strongly nowhere."""
    first = view_scene("v")
    second = view_scene("v")
    a, b = (np.asarray(render_scene(s)).astype(int) for s in (first, replace(second, frame=1)))
    assert (a != b).mean() > 0.5
    assert abs(a - b).max() <= 24


def test_images_have_the_size_of_real_ones():
    """Compressed streets are about as large as real thermal frames, neither blank nor noise."""
    scenes = [street_scene(Random(n), STREET, f"{n}") for n in range(10)]
    assert all(25_000 < len(encode_image(render_scene(scene))) < 70_000 for scene in scenes)
