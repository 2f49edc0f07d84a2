"""Small infrared-like images with known objects, drawn from a seed.

An image is planned first (`street_scene`, `single_scene`, `aerial_scene`, `crowd_scene`, `mosaic_scene`:
boxes only, cheap) and drawn later (`render_scene`), so that text can be written without drawing. Grey level
stands for temperature: nothing in the background is brighter than `BACKGROUND_MAX`, and the middle of each
object is at least `WARM_MIN`, which makes a golden-pixel test possible: a point that was flipped, swapped or
scaled wrongly lands on a cold pixel.

Convention:
    Boxes are ``(x_min, y_min, x_max, y_max)`` in pixels, half-open; arrays are ``(height, width)``.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw

from irtd_datasets.testing.samples import SampleObject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "BACKGROUND_MAX",
    "WARM_MIN",
    "Scene",
    "aerial_scene",
    "colour_scene",
    "crowd_scene",
    "mosaic_scene",
    "render_scene",
    "single_scene",
    "street_scene",
    "view_scene",
    "with_border",
]

BACKGROUND_MAX = 172
"""No background pixel is brighter than this before compression."""

WARM_MIN = 205
"""The middle of each object is at least this bright before compression."""

SceneKind = Literal["street", "single", "aerial", "crowd", "mosaic", "view"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A planned image.

    Args:
        kind: Which background is drawn.
        width: Width in pixels.
        height: Height in pixels.
        objects: What is drawn, far ones first.
        key: Seeds the drawing; scenes with the same key and size have the same background.
        frame: Number of the video frame; it moves the sensor noise only.
    """

    kind: SceneKind
    width: int
    height: int
    objects: tuple[SampleObject, ...]
    key: str
    frame: int = 0


# --------------------------------------------------------------------------------------------------- planning

_ASPECT = {  # width / height
    "car": (1.15, 1.9),
    "person": (0.34, 0.46),
    "bike": (1.2, 1.6),
    "sign": (0.5, 0.7),
    "dog": (1.3, 1.6),
}
_HEIGHT = {"car": (14, 150), "person": (20, 190), "bike": (14, 100), "sign": (24, 120), "dog": (10, 60)}


def street_scene(
    random: Random,
    labels: Sequence[str],
    key: str,
    *,
    width: int = 640,
    height: int = 512,
    unlabelled: Sequence[str] = (),
) -> Scene:
    """Plan a street seen from a car, with the given objects from left to right.

    Each object has a column of its own, so that no two overlap and their order by x is that of ``labels``.

    Args:
        random: Source of all choices.
        labels: Class words from left to right (``car``, ``person``, ``bike``, ``sign``, ``dog``).
        key: Seed text of the drawing.
        width: Width in pixels.
        height: Height in pixels.
        unlabelled: More objects, put among the others, that the annotation does not know.
    """
    queue: list[tuple[str, bool]] = [(label, True) for label in labels]
    for label in unlabelled:
        queue.insert(random.randrange(len(queue) + 1), (label, False))
    weights = [random.uniform(0.7, 1.5) * (2.0 if label == "car" else 1.0) for label, _ in queue]
    scale = width / sum(weights) if weights else 0.0
    horizon = _horizon(height)
    objects = []
    left = 0.0
    for (label, annotated), weight in zip(queue, weights, strict=True):
        right = left + weight * scale
        room = right - left - 4
        depth = random.random() ** 1.6  # 0 at the horizon, 1 at the bumper; most objects are far
        low, high = _HEIGHT[label]
        tall = (low + (high - low) * depth) * height / 512
        wide = tall * random.uniform(*_ASPECT[label])
        if wide > room:
            tall, wide = tall * room / wide, room
            depth = min(depth, max(0.0, (tall * 512 / height - low) / (high - low)))
        box_width, box_height = max(5, round(wide)), max(9, round(tall))
        x_min = round(random.uniform(left + 2, max(left + 2, right - 2 - box_width)))
        y_max = round(horizon + 14 * height / 512 + depth * (height - horizon) * 0.66 + random.uniform(0, 10))
        if box_height < height / 6 and random.random() < 0.02:  # on a hillside or a bridge, in the top third
            y_max = box_height + round(random.uniform(0.12, 0.2) * height)
        y_max = min(height - 2, max(y_max, box_height + 62 * height // 512))
        x_min = min(max(x_min, 0), width - box_width)
        objects.append(
            SampleObject.at(label, (x_min, y_max - box_height, x_min + box_width, y_max), annotated=annotated)
        )
        left = right
    return Scene("street", width, height, tuple(sorted(objects, key=lambda item: item.box[3])), key)


def single_scene(random: Random, label: str, key: str, *, width: int = 640, height: int = 480) -> Scene:
    """Plan a tracking frame with one object near the middle."""
    wide, tall = _silhouette(label).aspect, 1.0
    size = random.uniform(0.22, 0.42) * min(width / max(wide, 1.0), height)
    box_width, box_height = max(12, round(wide * size)), max(12, round(tall * size))
    x_min = round((width - box_width) * random.uniform(0.25, 0.75))
    y_min = round((height - box_height) * random.uniform(0.35, 0.75))
    box = (x_min, y_min, x_min + box_width, y_min + box_height)
    return Scene("single", width, height, (SampleObject.at(label, box),), key)


def aerial_scene(random: Random, count: int, key: str, *, width: int = 640, height: int = 512) -> Scene:
    """Plan a view from above with ``count`` parked or moving cars."""
    return Scene(
        "aerial", width, height, _in_cells(random, "car", count, width, height, (22, 46), square=True), key
    )


def crowd_scene(random: Random, count: int, key: str, *, width: int = 640, height: int = 480) -> Scene:
    """Plan a square with ``count`` pedestrians."""
    return Scene(
        "crowd", width, height, _in_cells(random, "person", count, width, height, (12, 44), square=False), key
    )


def mosaic_scene(random: Random, answer: int, key: str, *, cell: tuple[int, int] = (128, 256)) -> Scene:
    """Plan a 2x4 mosaic of persons; slots 1 (top left) and ``answer`` (2..8, row by row) show the same one.

    The pose of slot 1 is its own, so that the matching crops are not the same pixels.
    """
    cell_width, cell_height = cell
    identities = list(range(1, 8))
    slots = [0, *random.sample(identities, 7)]
    slots[answer - 1] = 0
    objects = []
    for index, identity in enumerate(slots):
        row, column = divmod(index, 4)
        box_height = round(cell_height * random.uniform(0.78, 0.94))
        box_width = round(min(cell_width - 6, box_height * random.uniform(0.34, 0.44)))
        x_min = column * cell_width + round((cell_width - box_width) * random.uniform(0.3, 0.7))
        y_min = row * cell_height + round((cell_height - box_height) * random.uniform(0.3, 0.7))
        box = (x_min, y_min, x_min + box_width, y_min + box_height)
        objects.append(SampleObject.at("person", box, identity=identity))
    return Scene("mosaic", 4 * cell_width, 2 * cell_height, tuple(objects), key)


def view_scene(key: str, *, width: int = 640, height: int = 480) -> Scene:
    """Plan an image with a background only."""
    return Scene("view", width, height, (), key)


def _in_cells(
    random: Random, label: str, count: int, width: int, height: int, limits: tuple[int, int], *, square: bool
) -> tuple[SampleObject, ...]:
    """Place objects in the cells of a grid with room for all, jittered inside their cells."""
    if count == 0:
        return ()
    room = max(count * 1.35, 24)
    shape = 1.0 if square else 0.5  # width / height of a cell
    rows = max(1, math.ceil(math.sqrt(room * height / width * shape)))
    columns = max(1, math.ceil(room / rows))
    cell_width, cell_height = width / columns, height / rows
    low, high = limits
    objects = []
    for cell in sorted(random.sample(range(rows * columns), count)):
        row, column = divmod(cell, columns)
        size = random.uniform(0.6, 0.92) * min(cell_height, high)
        wide = size * (random.uniform(0.5, 1.0) if square else random.uniform(0.38, 0.5))
        if square and random.random() < 0.5:
            size, wide = wide, size
        box_height = max(min(low // 2 if square else low, int(cell_height) - 1), round(size))
        box_width = max(4, round(min(cell_width - 1, wide)))
        x_min = int(column * cell_width + random.random() * max(0.0, cell_width - 1 - box_width))
        y_min = int(row * cell_height + random.random() * max(0.0, cell_height - 1 - box_height))
        x_min, y_min = min(x_min, width - box_width), min(y_min, height - box_height)
        objects.append(SampleObject.at(label, (x_min, y_min, x_min + box_width, y_min + box_height)))
    return tuple(objects)


def _horizon(height: int) -> int:
    return round(0.4 * height)


# ------------------------------------------------------------------------------------------------ silhouettes

_SIDE = 192  # of the square on which a silhouette is drawn, before it is cut to its extent


@dataclass(frozen=True, slots=True)
class _Silhouette:
    """Grey level and coverage of one class, cut to its extent."""

    level: Image.Image
    alpha: Image.Image

    @property
    def aspect(self) -> float:
        return self.level.width / self.level.height


class _Pencil:
    """Draws on a unit square, on level and coverage at once."""

    def __init__(self) -> None:
        self.level = Image.new("L", (_SIDE, _SIDE), 215)
        self.alpha = Image.new("L", (_SIDE, _SIDE), 0)
        self._pens = (ImageDraw.Draw(self.level), ImageDraw.Draw(self.alpha))

    def polygon(self, level: int, *points: tuple[float, float]) -> None:
        scaled = [(x * _SIDE, y * _SIDE) for x, y in points]
        self._pens[0].polygon(scaled, fill=level)
        self._pens[1].polygon(scaled, fill=255)

    def ellipse(self, level: int, x_min: float, y_min: float, x_max: float, y_max: float) -> None:
        box = (x_min * _SIDE, y_min * _SIDE, x_max * _SIDE, y_max * _SIDE)
        self._pens[0].ellipse(box, fill=level)
        self._pens[1].ellipse(box, fill=255)

    def line(self, level: int, thickness: float, *points: tuple[float, float]) -> None:
        scaled = [(x * _SIDE, y * _SIDE) for x, y in points]
        width = max(1, round(thickness * _SIDE))
        self._pens[0].line(scaled, fill=level, width=width, joint="curve")
        self._pens[1].line(scaled, fill=255, width=width, joint="curve")

    def ring(
        self, level: int, thickness: float, x_min: float, y_min: float, x_max: float, y_max: float
    ) -> None:
        box = (x_min * _SIDE, y_min * _SIDE, x_max * _SIDE, y_max * _SIDE)
        width = max(1, round(thickness * _SIDE))
        self._pens[0].ellipse(box, outline=level, width=width)
        self._pens[1].ellipse(box, outline=255, width=width)

    def cut(self, angle: float = 0.0) -> _Silhouette:
        level, alpha = self.level, self.alpha
        if angle:
            level = level.rotate(angle, Image.Resampling.BICUBIC, fillcolor=215)
            alpha = alpha.rotate(angle, Image.Resampling.BICUBIC)
        extent = alpha.point(lambda value: 255 if value > 127 else 0).getbbox()
        return _Silhouette(level.crop(extent), alpha.crop(extent))


def _draw_car(pen: _Pencil) -> None:
    pen.polygon(
        218,
        (0.02, 0.52),
        (0.1, 0.42),
        (0.24, 0.2),
        (0.7, 0.2),
        (0.86, 0.42),
        (0.98, 0.5),
        (0.98, 0.8),
        (0.02, 0.8),
    )
    pen.polygon(196, (0.24, 0.2), (0.7, 0.2), (0.72, 0.25), (0.22, 0.25))
    pen.polygon(112, (0.2, 0.4), (0.28, 0.26), (0.45, 0.26), (0.45, 0.4))
    pen.polygon(118, (0.5, 0.4), (0.5, 0.26), (0.68, 0.26), (0.78, 0.4))
    pen.polygon(236, (0.02, 0.68), (0.98, 0.68), (0.98, 0.8), (0.02, 0.8))
    for x in (0.14, 0.68):
        pen.ellipse(250, x, 0.66, x + 0.2, 0.9)
        pen.ellipse(170, x + 0.06, 0.73, x + 0.14, 0.83)


def _draw_car_rear(pen: _Pencil) -> None:
    pen.polygon(
        216,
        (0.08, 0.5),
        (0.2, 0.16),
        (0.3, 0.12),
        (0.7, 0.12),
        (0.8, 0.16),
        (0.92, 0.5),
        (0.92, 0.84),
        (0.08, 0.84),
    )
    pen.polygon(115, (0.22, 0.42), (0.3, 0.2), (0.7, 0.2), (0.78, 0.42))
    pen.polygon(238, (0.08, 0.74), (0.92, 0.74), (0.92, 0.84), (0.08, 0.84))
    pen.polygon(190, (0.36, 0.6), (0.64, 0.6), (0.64, 0.68), (0.36, 0.68))
    for x in (0.1, 0.74):
        pen.ellipse(252, x, 0.76, x + 0.16, 0.94)
        pen.ellipse(244, x, 0.5, x + 0.14, 0.58)


def _draw_person(pen: _Pencil) -> None:
    pen.polygon(216, (0.36, 0.17), (0.64, 0.17), (0.7, 0.3), (0.64, 0.56), (0.36, 0.56), (0.3, 0.3))
    pen.line(224, 0.06, (0.34, 0.2), (0.27, 0.4), (0.31, 0.54))
    pen.line(224, 0.06, (0.66, 0.2), (0.73, 0.4), (0.68, 0.54))
    pen.polygon(211, (0.36, 0.5), (0.5, 0.5), (0.45, 0.97), (0.33, 0.97))
    pen.polygon(211, (0.5, 0.5), (0.64, 0.5), (0.69, 0.95), (0.58, 0.97))
    pen.ellipse(248, 0.41, 0.0, 0.59, 0.18)


def _draw_bike(pen: _Pencil) -> None:
    pen.ring(225, 0.05, 0.02, 0.42, 0.42, 0.82)
    pen.ring(225, 0.05, 0.58, 0.42, 0.98, 0.82)
    pen.polygon(222, (0.22, 0.62), (0.36, 0.36), (0.72, 0.36), (0.54, 0.64))
    pen.line(235, 0.05, (0.78, 0.62), (0.68, 0.26), (0.78, 0.22))
    pen.line(235, 0.06, (0.28, 0.26), (0.42, 0.26))
    pen.line(230, 0.04, (0.36, 0.26), (0.5, 0.62))


def _draw_sign(pen: _Pencil) -> None:
    pen.polygon(222, (0.3, 0.02), (0.7, 0.02), (0.7, 0.55), (0.3, 0.55))
    pen.polygon(200, (0.36, 0.1), (0.64, 0.1), (0.64, 0.2), (0.36, 0.2))
    pen.line(210, 0.06, (0.5, 0.5), (0.5, 0.98))


def _draw_animal(pen: _Pencil) -> None:
    pen.ellipse(220, 0.14, 0.3, 0.78, 0.66)
    pen.ellipse(236, 0.72, 0.12, 0.96, 0.4)
    pen.polygon(226, (0.62, 0.34), (0.8, 0.2), (0.86, 0.36), (0.72, 0.52))
    for x in (0.2, 0.32, 0.6, 0.7):
        pen.line(214, 0.07, (x, 0.55), (x + 0.01, 0.92))
    pen.line(215, 0.04, (0.16, 0.42), (0.04, 0.6))


def _draw_bird(pen: _Pencil) -> None:
    pen.polygon(218, (0.0, 0.28), (0.3, 0.3), (0.5, 0.46), (0.72, 0.3), (1.0, 0.3), (0.62, 0.6), (0.38, 0.6))
    pen.ellipse(232, 0.4, 0.34, 0.6, 0.72)


def _draw_airplane(pen: _Pencil) -> None:
    pen.ellipse(222, 0.02, 0.42, 0.98, 0.58)
    pen.polygon(214, (0.4, 0.5), (0.58, 0.5), (0.72, 0.86), (0.62, 0.86))
    pen.polygon(214, (0.4, 0.5), (0.58, 0.5), (0.7, 0.2), (0.62, 0.2))
    pen.polygon(225, (0.86, 0.5), (0.96, 0.26), (1.0, 0.26), (0.98, 0.5))


def _draw_helicopter(pen: _Pencil) -> None:
    pen.ellipse(224, 0.1, 0.36, 0.66, 0.74)
    pen.polygon(214, (0.56, 0.48), (0.98, 0.42), (0.98, 0.5), (0.58, 0.6))
    pen.line(216, 0.03, (0.02, 0.3), (0.76, 0.3))
    pen.line(216, 0.03, (0.38, 0.3), (0.38, 0.4))
    pen.line(212, 0.03, (0.16, 0.82), (0.64, 0.82))


def _draw_boat(pen: _Pencil) -> None:
    pen.polygon(214, (0.02, 0.56), (0.98, 0.5), (0.84, 0.8), (0.16, 0.8))
    pen.polygon(230, (0.3, 0.28), (0.62, 0.28), (0.68, 0.58), (0.28, 0.58))
    pen.line(220, 0.03, (0.46, 0.1), (0.46, 0.3))


def _draw_cycle(pen: _Pencil) -> None:
    _draw_bike(pen)
    pen.polygon(238, (0.3, 0.4), (0.66, 0.36), (0.62, 0.68), (0.36, 0.68))


def _draw_top_car(pen: _Pencil) -> None:
    pen.polygon(
        214,
        (0.05, 0.36),
        (0.1, 0.3),
        (0.9, 0.3),
        (0.95, 0.36),
        (0.95, 0.64),
        (0.9, 0.7),
        (0.1, 0.7),
        (0.05, 0.64),
    )
    pen.polygon(246, (0.68, 0.33), (0.92, 0.35), (0.92, 0.65), (0.68, 0.67))
    pen.polygon(130, (0.6, 0.34), (0.67, 0.33), (0.67, 0.67), (0.6, 0.66))
    pen.polygon(140, (0.16, 0.34), (0.22, 0.35), (0.22, 0.65), (0.16, 0.66))


_SHAPES: dict[str, tuple[Callable[[_Pencil], None], ...]] = {
    "car": (_draw_car, _draw_car_rear),
    "truck": (_draw_car,),
    "bus": (_draw_car,),
    "tank": (_draw_car,),
    "person": (_draw_person,),
    "bike": (_draw_bike,),
    "motobike": (_draw_cycle,),
    "tricycle": (_draw_cycle,),
    "sign": (_draw_sign,),
    "bird": (_draw_bird,),
    "bat": (_draw_bird,),
    "goose": (_draw_bird,),
    "airplane": (_draw_airplane,),
    "drone": (_draw_helicopter,),
    "helicopter": (_draw_helicopter,),
    "boat": (_draw_boat,),
}
_TOP_ANGLES = (0, 20, 45, 70, 90, 110, 135, 160)
_SKY_LABELS = frozenset({"bird", "bat", "goose", "airplane", "drone", "helicopter"})


@cache
def _silhouette(label: str, variant: int = 0, view: str = "side") -> _Silhouette:
    pen = _Pencil()
    if view == "top":
        _draw_top_car(pen)
        return pen.cut(_TOP_ANGLES[variant % len(_TOP_ANGLES)])
    shapes = _SHAPES.get(label, (_draw_animal,))
    shapes[(variant // 2) % len(shapes)](pen)
    silhouette = pen.cut()
    if variant % 2:
        flip = Image.Transpose.FLIP_LEFT_RIGHT
        return _Silhouette(silhouette.level.transpose(flip), silhouette.alpha.transpose(flip))
    return silhouette


def _top_variant(aspect: float, variant: int) -> int:
    """Return the heading that fits a box of this aspect best; ``variant`` chooses between mirrored ones."""
    angles = sorted(
        range(len(_TOP_ANGLES)), key=lambda index: abs(_silhouette("car", index, "top").aspect - aspect)
    )
    return angles[variant % 2]


# -------------------------------------------------------------------------------------------------- rendering

_TILE = 1024


@lru_cache(maxsize=1)
def _noise_tile() -> NDArray[np.int8]:
    """Sensor noise, one tile for all images: drawing it anew for each would take longer than all else."""
    return np.clip(np.rint(np.random.default_rng(20250724).normal(0.0, 2.6, (_TILE, _TILE))), -8, 8).astype(
        np.int8
    )


@lru_cache(maxsize=1)
def _leaf_tile() -> NDArray[np.int8]:
    """Clumpy texture at three scales for foliage and ground, one tile for all images."""
    generator = np.random.default_rng(20251016)
    total = np.zeros((_TILE, _TILE), np.float32)
    for cells, amplitude in ((64, 18.0), (170, 14.0), (400, 9.0)):
        coarse = Image.fromarray(generator.normal(0.0, 1.0, (cells, cells)).astype(np.float32))
        total += amplitude * np.asarray(coarse.resize((_TILE, _TILE), Image.Resampling.BICUBIC))
    return np.clip(total, -60, 60).astype(np.int8)


def _cutout(
    tile: NDArray[np.int8], generator: np.random.Generator, height: int, width: int
) -> NDArray[np.int8]:
    rows = -(-height // _TILE)
    columns = -(-width // _TILE)
    if rows > 1 or columns > 1:
        tile = np.tile(tile, (rows, columns))
    y = int(generator.integers(0, tile.shape[0] - height + 1))
    x = int(generator.integers(0, tile.shape[1] - width + 1))
    piece = tile[y : y + height, x : x + width]
    return piece[:, ::-1] if generator.random() < 0.5 else piece


def render_scene(scene: Scene, seed: int = 0) -> Image.Image:
    """Draw a planned image.

    Args:
        scene: The plan.
        seed: Seed of the release; the same plan and seed give the same pixels on the same Pillow and NumPy.

    Returns:
        A grey image of mode ``L`` and size ``(scene.width, scene.height)``.

    Example:
        >>> from random import Random
        >>> scene = street_scene(Random(1), ["person", "car"], "demo")
        >>> image = render_scene(scene)
        >>> image.size, image.mode
        ((640, 512), 'L')
        >>> all(image.getpixel((int(x), int(y))) > 190 for x, y in (item.centre for item in scene.objects))
        True
    """
    generator = np.random.default_rng([seed, zlib.crc32(scene.key.encode())])
    level = _background(scene, generator)
    np.clip(level, 6, BACKGROUND_MAX - 8, out=level)
    image = Image.fromarray(level.astype(np.uint8))
    offset = float(generator.uniform(-4, 12))
    for index, item in enumerate(scene.objects):
        variant = int(generator.integers(0, 8))
        if item.identity is not None:
            _paste_identity(image, item, scene.key, index)
        else:
            _paste(image, item, variant, offset, "top" if scene.kind == "aerial" else "side")
    # The noise comes last: a real sensor adds it to objects and background alike.
    noise_generator = np.random.default_rng([seed, zlib.crc32(scene.key.encode()), scene.frame])
    noisy = np.asarray(image).astype(np.int16)
    noisy += _cutout(_noise_tile(), noise_generator, scene.height, scene.width)
    np.clip(noisy, 0, 255, out=noisy)
    return Image.fromarray(noisy.astype(np.uint8))


def _background(scene: Scene, generator: np.random.Generator) -> NDArray[np.int16]:
    height, width = scene.height, scene.width
    if scene.kind in {"aerial", "crowd"}:
        return _ground_from_above(generator, height, width, roofs=scene.kind == "aerial")
    if scene.kind == "mosaic":
        return _mosaic_background(scene, generator)
    airborne = any(item.label in _SKY_LABELS for item in scene.objects)
    horizon = round(height * 0.93) if airborne else _horizon(height)
    return _landscape(generator, height, width, horizon, road=scene.kind == "street")


def _landscape(
    generator: np.random.Generator, height: int, width: int, horizon: int, *, road: bool
) -> NDArray[np.int16]:
    """Dark sky, tree line, and ground that grows brighter towards the camera."""
    y = np.arange(height, dtype=np.float32)[:, None]
    sky = 22 + 26 * (y / horizon) ** 2
    ground_level = float(generator.uniform(96, 122))
    ground = ground_level + 34 * (y - horizon) / max(1, height - horizon)
    level = np.where(y < horizon, sky, ground).astype(np.int16)
    level = np.repeat(level, width, axis=1)
    texture = _cutout(_leaf_tile(), generator, height, width)
    level[horizon:] += texture[horizon:] // 4
    level[:horizon] += texture[:horizon] // 10
    # The tree line: smooth random heights, one for each column.
    knots = generator.uniform(0.02, 0.2 if road else 0.12, 12) * height
    trees = np.interp(np.arange(width), np.linspace(0, width, 12), knots)
    trees += _cutout(_leaf_tile(), generator, 1, width)[0] / 6
    top = horizon - int(np.max(trees, initial=1)) - 1
    band = slice(max(0, top), horizon)
    wooded = y[band] > (horizon - trees)[None, :]
    leaves = 104 + texture[band].astype(np.int16)
    level[band] = np.where(wooded, leaves, level[band])
    if road:
        _lay_road(level, generator, horizon)
    return level


def _lay_road(level: NDArray[np.int16], generator: np.random.Generator, horizon: int) -> None:
    """Draw buildings and a road with lane marks over a landscape, in place."""
    height, width = level.shape
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    vanish = width * float(generator.uniform(0.4, 0.6))
    near = width * float(generator.uniform(0.36, 0.5))
    pen.polygon(
        [
            (vanish - 6, horizon),
            (vanish + 6, horizon),
            (width / 2 + near, height),
            (width / 2 - near, height),
        ],
        fill=10,
    )
    for index in range(7):
        far_end, near_end = (index / 7) ** 2, ((index + 0.5) / 7) ** 2
        x0, x1 = (vanish + (width / 2 - vanish) * part for part in (far_end, near_end))
        y0, y1 = (horizon + (height - horizon) * part for part in (far_end, near_end))
        pen.polygon(
            [(x0 - 1, y0), (x0 + 1, y0), (x1 + 1 + 4 * near_end, y1), (x1 - 1 - 4 * near_end, y1)], fill=28
        )
    for side in (-1, 1):
        if generator.random() < 0.65:
            wide = float(generator.uniform(0.1, 0.24)) * width
            tall = float(generator.uniform(0.1, 0.26)) * height
            x = 0.0 if side < 0 else width - wide
            pen.rectangle((x, horizon - tall, x + wide, horizon + 6), fill=66)
            for column in np.arange(x + 8, x + wide - 12, 26):
                for row in np.arange(horizon - tall + 8, horizon - 12, 28):
                    pen.rectangle((column, row, column + 11, row + 14), fill=38)
    drawn = np.asarray(canvas)
    level[drawn == 10] -= 16
    level[drawn == 28] += 14
    level[drawn == 66] = 142
    level[drawn == 38] = 84
    level[drawn >= 38] += 6


def _ground_from_above(
    generator: np.random.Generator, height: int, width: int, *, roofs: bool
) -> NDArray[np.int16]:
    level = np.full((height, width), int(generator.integers(84, 104)), np.int16)
    level += _cutout(_leaf_tile(), generator, height, width) // 3
    canvas = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(generator.integers(1, 4))):
        ends = [tuple(float(value) for value in generator.uniform(-0.1, 1.1, 2)) for _ in range(2)]
        line = [(x * width, y * height) for x, y in ends]
        pen.line(line, fill=1, width=int(generator.integers(40, 90)))
        pen.line(line, fill=2, width=2)
    for _ in range(int(generator.integers(1, 5)) if roofs else 0):
        x, y = generator.uniform(0, 0.85, 2)
        wide, tall = generator.uniform(0.1, 0.28, 2)
        pen.rectangle((x * width, y * height, (x + wide) * width, (y + tall) * height), fill=3)
    drawn = np.asarray(canvas)
    level[drawn == 1] += 34
    level[drawn == 2] += 52
    level[drawn == 3] = 58
    return level


def _mosaic_background(scene: Scene, generator: np.random.Generator) -> NDArray[np.int16]:
    level = np.zeros((scene.height, scene.width), np.int16)
    tall, wide = scene.height // 2, scene.width // 4
    for index in range(8):
        row, column = divmod(index, 4)
        cell = level[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        floor = np.linspace(generator.uniform(50, 90), generator.uniform(90, 130), tall).astype(np.int16)
        cell += floor[:, None] + _cutout(_leaf_tile(), generator, tall, wide) // 3
    return level


def _paste(image: Image.Image, item: SampleObject, variant: int, offset: float, view: str) -> None:
    x_min, y_min, x_max, y_max = item.box
    size = (x_max - x_min, y_max - y_min)
    if view == "top":
        variant = _top_variant(size[0] / size[1], variant)
    silhouette = _silhouette(item.label, variant, view)
    level = silhouette.level.resize(size, Image.Resampling.BILINEAR)
    if offset >= 1:
        shift = int(offset)
        level = level.point([min(255, value + shift) if value > 180 else value for value in range(256)])
    image.paste(level, (x_min, y_min), silhouette.alpha.resize(size, Image.Resampling.BILINEAR))


def _paste_identity(image: Image.Image, item: SampleObject, key: str, index: int) -> None:
    """Draw a person whose clothes have the levels of the identity; the pose differs from slot to slot."""
    x_min, y_min, x_max, y_max = item.box
    wide, tall = x_max - x_min, y_max - y_min
    look = Random(f"{key}/{item.identity}")  # noqa: S311
    pose = Random(f"{key}/slot {index}")  # noqa: S311
    shirt, trousers, sleeve = look.randint(206, 250), look.randint(120, 235), look.randint(150, 250)
    bag = look.random() < 0.5
    pen = _Pencil()
    lean = pose.uniform(-0.03, 0.03)
    stride = pose.uniform(0.02, 0.1)
    pen.line(sleeve, 0.07, (0.35, 0.22), (0.24 + lean, 0.4), (0.28 + lean, 0.54))
    pen.line(sleeve, 0.07, (0.65, 0.22), (0.76 + lean, 0.4), (0.72 + lean, 0.54))
    pen.polygon(trousers, (0.36, 0.5), (0.51, 0.5), (0.46 - stride, 0.98), (0.34 - stride, 0.98))
    pen.polygon(trousers, (0.49, 0.5), (0.64, 0.5), (0.66 + stride, 0.96), (0.54 + stride, 0.98))
    pen.polygon(shirt, (0.36, 0.17), (0.64, 0.17), (0.68, 0.3), (0.64, 0.54), (0.36, 0.54), (0.32, 0.3))
    if bag:
        pen.polygon(140, (0.64, 0.24), (0.76, 0.26), (0.76, 0.44), (0.66, 0.44))
    pen.ellipse(246, 0.41 + lean, 0.0, 0.59 + lean, 0.18)
    silhouette = pen.cut()
    level = silhouette.level.resize((wide, tall), Image.Resampling.BILINEAR)
    image.paste(level, (x_min, y_min), silhouette.alpha.resize((wide, tall), Image.Resampling.BILINEAR))


def with_border(image: Image.Image, border: int) -> Image.Image:
    """Return the image inside a white border, as DroneVehicle distributes it (100 px on each side)."""
    width, height = image.size
    framed = Image.new("L", (width + 2 * border, height + 2 * border), 255)
    framed.paste(image, (border, border))
    return framed


def colour_scene(image: Image.Image) -> Image.Image:
    """Return the image in false colours, brighter for brighter, as RGBT-CC distributes it."""
    grey = range(256)
    red = [min(255, round(value * 1.35)) for value in grey]
    green = [round(255 * (value / 255) ** 1.3) for value in grey]
    blue = [
        round(110 * math.sin(math.pi * value / 255) + 255 * max(0.0, value / 255 - 0.75) * 3.2)
        for value in grey
    ]
    bands = [image.point([min(255, value) for value in table]) for table in (red, green, blue)]
    return Image.merge("RGB", bands)
