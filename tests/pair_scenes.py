"""Scenes as two cameras see them: rich in edges, so that they can be registered."""

import io

import numpy as np
from PIL import Image

SCALE = 1.25  # visible pixels to one infrared pixel
LEFT, TOP = 60, 40  # infrared pixels that the visible camera sees beyond the infrared one


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def scene(seed, size=(960, 720)):
    """A grey scene of many rectangles."""
    draw = np.random.default_rng(seed)
    image = np.full((size[1], size[0]), 110.0) + np.linspace(-30, 30, size[0])
    for _ in range(160):
        x, y = draw.integers(0, size[0]), draw.integers(0, size[1])
        width, height = draw.integers(15, 110, 2)
        image[y : y + height, x : x + width] = draw.uniform(0, 255)
    return image


def as_infrared(seed, image):
    """Another sensor: other levels for the same things, some of them reversed, with noise."""
    draw = np.random.default_rng(seed)
    curve = np.interp(np.arange(256), [0, 60, 120, 180, 255], draw.permutation([0, 70, 130, 190, 255]))
    seen = curve[np.clip(image, 0, 255).astype(int)] + draw.normal(0, 5, image.shape)
    return np.clip(seen, 0, 255).astype(np.uint8)


def wide_pair(seed, size=(640, 512)):
    """An infrared image, and a visible one that sees more to all sides: PNG and JPEG."""
    width, height = size
    whole = (width + 2 * LEFT, height + 2 * TOP)
    visible = scene(seed, (round(whole[0] * SCALE), round(whole[1] * SCALE)))
    small = np.asarray(Image.fromarray(visible.astype(np.float32)).resize(whole, Image.Resampling.BOX))
    infrared = as_infrared(seed, small[TOP : TOP + height, LEFT : LEFT + width])
    colour = np.stack([visible, visible * 0.9, visible * 0.8], 2).clip(0, 255).astype(np.uint8)
    return encoded(infrared), encoded(colour, "JPEG", quality=92)
