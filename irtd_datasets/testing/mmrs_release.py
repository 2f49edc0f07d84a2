"""Writes an MMRS-1M sample release: drawn images, true boxes, and every trap of the real one that is known."""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from irtd_datasets.boxes import Frame
from irtd_datasets.boxes.frames import convert
from irtd_datasets.errors import UnknownNameError
from irtd_datasets.spec import read_table
from irtd_datasets.testing.archives import CutArchive
from irtd_datasets.testing.samples import (
    PlantedDefect,
    SampleImage,
    SampleObject,
    SampleRecord,
    SampleRelease,
    known_defects,
    start_sample,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["COLOURS", "MMRS_DEFECTS", "write_mmrs_sample"]

MMRS_DEFECTS = known_defects("mmrs_1m")
"""Traps of the real release that a sample repeats, by code."""

COLOURS = {
    "ship": (240, 60, 60),
    "plane": (250, 220, 40),
    "large vehicle": (60, 120, 250),
    "small vehicle": (60, 230, 240),
    "person": (240, 90, 240),
}
"""Fill of each class in colour images; grey images have their objects at `BRIGHT`."""

BRIGHT = 250
_DARK = 120  # no background is brighter
_TINTS = ((70, _DARK, 60), (_DARK, 100, 70), (50, 90, 115))
_PLURAL = {"person": "persons"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_FOLLOWS = "Texts follow the\nrelease of MMRS-1M (EarthGPT), so that programs can be tested without it."
_REMARK = b"Synthetic sample of irtd_datasets.testing; no real data."

Form = Literal["zip", "folder", "flat", "doubled"]
Annotations = Literal["files", "total", "both"]


@dataclass(frozen=True, slots=True)
class _Source:
    """A component of the sample: where its images and its texts go, and what they are."""

    folder: str
    json: str
    kind: str
    sizes: tuple[tuple[int, int], ...]
    look: str
    suffix: str
    below: str


def _source(row: dict[str, str]) -> _Source:
    sizes = [size.split("x") for size in row.pop("sizes").split("|")]
    return _Source(sizes=tuple((int(width), int(height)) for width, height in sizes), **row)


# Sizes are those of the real sets, made smaller; sides differ by odd numbers in some.
_SOURCES = tuple(map(_source, read_table("irtd_datasets.testing", "mmrs_sources.csv")))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A planned image.

    Attributes:
        polygons: Corners of its objects in pixels, x and y in turns.
        labels: Class of each.
    """

    name: str
    source: _Source
    width: int
    height: int
    labels: tuple[str, ...]
    polygons: tuple[tuple[int, ...], ...]
    special: str = ""

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """Enclosing boxes of the objects."""
        return [
            (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
            for polygon in self.polygons
        ]

    def text(self, polygons: Iterable[Sequence[float]]) -> str:
        """Boxes or polygons in pixels as the release writes them."""
        rows = [list(polygon) for polygon in polygons]
        numbers = convert(rows, Frame.PIXEL, Frame.SQUARE_UNIT, self.width, self.height)
        return ";".join(",".join(f"{value:.2f}" for value in row) for row in numbers.tolist())


@dataclass
class _Plan:
    """Records and images of a sample before anything is written."""

    images: dict[str, _Drawn] = field(default_factory=dict)
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    truth: dict[str, list[SampleRecord]] = field(default_factory=dict)
    defects: list[PlantedDefect] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    def add(
        self,
        file: str,
        drawn: _Drawn,
        rounds: Sequence[tuple[str, str]],
        *defects: str,
        **changes: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Append a record of an image and note what is wrong with it."""
        turns = [
            {"from": role, "value": text}
            for one in rounds
            for role, text in zip(("human", "gpt"), one, strict=True)
        ]
        record: dict[str, Any] = {"image": f"data/{drawn.name}", "conversations": turns, **changes}
        records = self.files.setdefault(file, [])
        index = str(len(records))
        records.append(record)
        self.images[drawn.name] = drawn
        objects = tuple(
            SampleObject.at(label, box) for label, box in zip(drawn.labels, drawn.boxes, strict=True)
        )
        question, answer = rounds[0] if rounds else ("", "")
        self.truth.setdefault(file, []).append(
            SampleRecord(f"json/{file}", index, drawn.name, question, answer, objects)
        )
        self.defects += [PlantedDefect(code, f"json/{file}", index, drawn.name) for code in defects]
        return record


def write_mmrs_sample(  # noqa: PLR0913 - each is one independent property of the release
    folder: str | Path,
    *,
    rows: int = 200,
    seed: int = 0,
    form: Form = "zip",
    annotations: Annotations = "files",
    traps: bool = True,
    images: bool = True,
    parts: int = 7,
    overwrite: bool = False,
) -> SampleRelease:
    """Write a seeded sample of the MMRS-1M release.

    The same arguments give byte-identical files on the same versions of Pillow, NumPy and zlib.

    Args:
        folder: New or empty folder to write into.
        rows: Records in all, about; at least two of each component.
        seed: Seed of all choices.
        form: ``zip``: one gzip tar cut into pieces, as on the Hub; ``folder``: the tree below ``data/``; ``flat``: the
            same without ``data/``; ``doubled``: below ``data/data/``.
        annotations: ``files``: one JSON file for most components; ``total``: ``total.json`` only; ``both``.
        traps: Whether to plant the defects of `MMRS_DEFECTS`.
        images: False writes the texts only.
        parts: Pieces of the archive.
        overwrite: Replace ``folder`` if it holds an earlier sample.

    Returns:
        What was written, with the truth about every image. Where ``annotations`` is ``total``, records are listed
        under the files that they would stand in.

    Raises:
        BuildError: ``folder`` is not empty and is no sample that may be replaced.
        UnknownNameError: ``form`` or ``annotations`` does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_mmrs_sample(folder, rows=80, form="folder", images=False)
        ...     (sample.folder / "data" / "json" / "detection" / "sar" / "HRISD_OBB.json").is_file()
        True
    """
    if annotations not in ("files", "total", "both"):
        raise UnknownNameError(f"unknown annotations {annotations!r}", remedy="Known: files, total, both.")
    folder, _ = start_sample(
        "mmrs_1m",
        folder,
        _FOLLOWS,
        overwrite=overwrite,
        forms=("zip", "folder", "flat", "doubled"),
        rows=rows,
        seed=seed,
        form=form,
        annotations=annotations,
        traps=traps,
        images=images,
        parts=parts,
    )
    plan = _plan(rows, seed, traps=traps)
    base = {"zip": "data", "folder": "data", "flat": "", "doubled": "data/data"}[form]
    members = dict(_json_members(plan, annotations, traps=traps))
    drawn = [name for name in sorted(plan.images) if images and name not in plan.absent]
    paths: dict[str, str] = {}
    archives: tuple[Path, ...] = ()
    if form == "zip":
        whole = CutArchive(folder, "data.tar.gz.", parts, Random(f"mmrs_1m/{seed}/cuts"))  # noqa: S311
        with whole as archive:
            # Annotation files stand in the middle of the archive, so that a reader cannot count on having them first.
            for name in drawn[: len(drawn) // 2]:
                archive.add(f"data/{name}", _encoded(plan.images[name], seed))
            for name, content in members.items():
                archive.add(f"data/{name}", content)
            for name in drawn[len(drawn) // 2 :]:
                archive.add(f"data/{name}", _encoded(plan.images[name], seed))
        archives = tuple(
            path.rename(path.with_name(f"data.tar.gz.{i}")) for i, path in enumerate(whole.paths)
        )
        paths = {name: f"data.tar.gz!data/{name}" for name in drawn}
    else:
        for name, content in members.items():
            _write(folder / base / name, content)
        for name in drawn:
            _write(folder / base / name, _encoded(plan.images[name], seed))
        paths = {name: f"{base}/{name}".lstrip("/") for name in drawn}
    return SampleRelease(
        name="mmrs_1m",
        folder=folder,
        image_folder=folder,
        seed=seed,
        records={f"json/{file}": tuple(records) for file, records in plan.truth.items()},
        images={name: _sample_image(image, paths.get(name)) for name, image in plan.images.items()},
        defects=tuple(plan.defects),
        image_dirs={} if form == "zip" else {one.folder: folder / base / one.folder for one in _SOURCES},
        archives=archives,
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --------------------------------------------------------------------------------------------------- planning


def _plan(rows: int, seed: int, *, traps: bool) -> _Plan:
    plan = _Plan()
    each = max(2, round(rows / (len(_SOURCES) + 1)))  # RSVG has two records an image
    for source in _SOURCES:
        random = Random(f"mmrs_1m/{seed}/{source.folder}")  # noqa: S311
        for number in range(each):
            image = _image(source, number, random)
            for rounds in _RECORDS[source.kind](image, random):
                plan.add(source.json, image, rounds)
    if traps:
        _plant(plan, seed)
    return plan


def _image(source: _Source, number: int, random: Random, special: str = "") -> _Drawn:
    width, height = source.sizes[number % len(source.sizes)]
    if source.kind in ("caption", "vqa", "class"):
        labels, polygons = _objects(source, width, height, 1, random)
    else:
        labels, polygons = _objects(source, width, height, random.randint(2, 5), random)
    below = source.below
    if source.kind == "class":
        below = f"{below}/{_class_of(number)}"
    name = f"{number + 1:05d}{special.replace('image', '')}{source.suffix}"
    return _Drawn(
        "/".join(filter(None, (source.folder, below, name))), source, width, height, labels, polygons, special
    )


def _class_of(number: int) -> str:
    return ("cargo", "harbor", "airport")[number % 3]


def _objects(
    source: _Source, width: int, height: int, count: int, random: Random
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Objects in cells of a grid, so that none overlap."""
    columns = math.ceil(math.sqrt(count * width / height)) + 1
    rows = math.ceil(count / columns) + 1
    cells = random.sample([(x, y) for x in range(columns) for y in range(rows)], count)
    classes = ("ship",) if source.look == "sar" else tuple(COLOURS)
    labels, polygons = [], []
    for column, row in cells:
        cell_width, cell_height = width / columns, height / rows
        wide = random.uniform(0.35, 0.8) * cell_width
        high = random.uniform(0.35, 0.8) * cell_height
        x = cell_width * column + (cell_width - wide) * random.random()
        y = cell_height * row + (cell_height - high) * random.random()
        if source.kind == "obb":
            corners = _turned(x + wide / 2, y + high / 2, wide * 0.7, high * 0.3, random.uniform(-0.6, 0.6))
        else:
            corners = (x, y, x + wide, y, x + wide, y + high, x, y + high)
        labels.append(random.choice(classes))
        polygons.append(tuple(round(value) for value in corners))
    return tuple(labels), tuple(polygons)


def _turned(x: float, y: float, wide: float, high: float, angle: float) -> tuple[float, ...]:
    cosine, sine = math.cos(angle), math.sin(angle)
    corners: list[float] = []
    for dx, dy in ((-wide, -high), (wide, -high), (wide, high), (-wide, high)):
        corners += (x + (dx * cosine - dy * sine) / 2, y + (dx * sine + dy * cosine) / 2)
    return tuple(corners)


_Rounds = list[tuple[str, str]]

_CAPTION = "Please provide a one-sentence caption for the provided remote sensing image in details."
_SHORT = "Answer the question using a single word or phrase."


def _captions(image: _Drawn, random: Random) -> list[_Rounds]:
    label = image.labels[0]
    sentences = [
        f"There is a {label} in the picture.",
        f"A {label} stands on bare ground.",
        f"The image shows a {label} from above.",
    ]
    return [[(_CAPTION, sentence) for sentence in sentences[: random.randint(2, 3)]]]


def _questions(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001 - one signature for all
    label = image.labels[0]
    other = next(name for name in COLOURS if name != label)
    return [
        [
            (f"Is there a {label} in the image? {_SHORT}", "yes"),
            (f"Is there a {other} in the image? {_SHORT}", "no"),
            (f"How many {_many(label)} are there? {_SHORT}", "1"),
        ]
    ]


def _classes(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001
    question = (
        f"What is the category of this remote sensing image? {_SHORT} "
        "Reference categories include cargo, harbor, airport"
    )
    return [[(question, image.name.split("/")[-2])]]


def _horizontal(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001
    return [_detection(image, oriented=False)]


def _oriented(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001
    return [_detection(image, oriented=True)]


def _both(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001
    return [_detection(image, oriented=False), _detection(image, oriented=True)]


def _detection(image: _Drawn, *, oriented: bool) -> _Rounds:
    kind = "oriented" if oriented else "horizontal"
    rounds = [
        (
            f"Detect all objects shown in the remote sensing image and describe using {kind} bounding boxes.",
            "There are "
            + " ".join(_group(image, label, oriented=oriented) for label in sorted(set(image.labels))),
        )
    ]
    for label in sorted(set(image.labels)):
        name = _many(label).replace(" ", "-") if oriented else _many(label)
        rounds.append(
            (
                f"Detect all {name} shown in the image and describe using {kind} bounding boxes.",
                f"There are {_group(image, label, oriented=oriented)} in the image.",
            )
        )
    return rounds


def _group(image: _Drawn, label: str, *, oriented: bool, tagged: bool = True) -> str:
    shapes: list[tuple[int, ...]] = [
        image.polygons[i] if oriented else image.boxes[i]
        for i, name in enumerate(image.labels)
        if name == label
    ]
    name = _many(label) if len(shapes) != 1 else label
    if oriented:
        name = name.replace(" ", "-")
    said = f"{_NUMBERS[len(shapes)]} {name}"
    return f"{f'<p>{said}</p>' if tagged else said}[{image.text(shapes)}]"


def _many(label: str) -> str:
    return _PLURAL.get(label, f"{label}s")


def _grounding(image: _Drawn, random: Random) -> list[_Rounds]:  # noqa: ARG001
    described, boxes = [], []
    for label, box in zip(image.labels, image.boxes, strict=True):
        phrase = f"The {label} at {box[0]}, {box[1]}"
        described.append((_TO_BOX + phrase, f"[{image.text([box])}]"))
        boxes.append((f"{_TO_TEXT}[{image.text([box])}]", phrase))
    return [boxes, described]


_TO_BOX = "Please provide the horizontal bounding box coordinate of the region which is described as:"
_TO_TEXT = "Please provide a short description for this region in this remote sensing image :"

_RECORDS = {
    "caption": _captions,
    "vqa": _questions,
    "class": _classes,
    "hbb": _horizontal,
    "obb": _oriented,
    "both": _both,
    "rsvg": _grounding,
}


# --------------------------------------------------------------------------------------------------- traps


def _plant(plan: _Plan, seed: int) -> None:
    random = Random(f"mmrs_1m/{seed}/traps")  # noqa: S311
    by_folder = {one.folder: one for one in _SOURCES}
    numbers = dict.fromkeys(by_folder, 900)

    def fresh(folder: str, special: str = "") -> _Drawn:
        numbers[folder] += 1
        return _image(by_folder[folder], numbers[folder], random, special)

    for folder, defects, changed in (
        ("classification/DCSR", ("folder-by-alias",), "data/classification/DSCR"),
        ("caption/syndney_caption", ("folder-by-alias",), "data/caption/sydney_caption"),
        ("caption/ucm_caption", ("no-data-prefix",), "caption/ucm_caption"),
        ("caption/nwpu_caption", ("doubled-data-prefix",), "data/data/caption/nwpu_caption"),
    ):
        image = fresh(folder)
        (rounds,) = _RECORDS[image.source.kind](image, random)
        plan.add(image.source.json, image, rounds, *defects, image=image.name.replace(folder, changed, 1))
    _plant_turns(plan, fresh, random)
    _plant_boxes(plan, fresh)
    _plant_images(plan, fresh, random)
    plan.defects += [
        PlantedDefect("json-not-an-array", "json/detection/far1m/FAR1M.json"),
        PlantedDefect("unknown-json", "json/detection/new/newset.json"),
        PlantedDefect("merged-json", "json/detection/ir/ir_total.json"),
    ]


def _plant_turns(plan: _Plan, fresh: Any, random: Random) -> None:  # noqa: ANN401 - a function of `_plant`
    image = fresh("VQA/floodnet")
    (rounds,) = _questions(image, random)
    record = plan.add(image.source.json, image, rounds, "image-path-key")
    record["image_path"] = record.pop("image")
    image = fresh("VQA/floodnet")
    record = plan.add(image.source.json, image, rounds, "turn-odd")
    record["conversations"].append({"from": "human", "value": "Is it flooded?"})
    record = plan.add(image.source.json, fresh("VQA/floodnet"), rounds, "turn-order")
    record["conversations"].insert(2, {"from": "human", "value": "Is it flooded?"})
    record = plan.add(image.source.json, fresh("VQA/floodnet"), rounds, "empty-answer")
    record["conversations"][3]["value"] = " "
    plan.add(image.source.json, fresh("VQA/floodnet"), [(rounds[0][0], "")], "empty-answer-only")
    record = plan.add(image.source.json, fresh("VQA/floodnet"), rounds, "no-image-key")
    del record["image"]
    plan.add("VQA/MQVQA_train.json", fresh("VQA/MQVQA_dataset"), [rounds[0], rounds[0]], "duplicate-round")
    token = [(f"<image>\n{rounds[0][0]}", rounds[0][1])]
    plan.add("VQA/MQVQA_train.json", fresh("VQA/MQVQA_dataset"), token, "image-token")
    plan.add("VQA/sydney_vqa.json", fresh("detection/HRRSD"), rounds[:1], "other-task-image")


def _plant_boxes(plan: _Plan, fresh: Any) -> None:  # noqa: ANN401
    ask = "Detect all objects shown in the RS image and describe using horizontal bounding boxes."
    image = fresh("detection/HIT-UAV")
    sound = _group(image, image.labels[0], oriented=False)
    json_name = image.source.json
    plan.add(
        json_name,
        image,
        [(ask, f"There are {sound} <p>a plane</p>[0.10,0.20,0.30,0.40,0.50]")],
        "box-malformed",
    )
    image = fresh("detection/HIT-UAV")
    x, y = image.boxes[0][:2]
    collapsed = image.text([(x, y, x, y + 1)])
    plan.add(json_name, image, [(ask, f"There is <p>one person</p>[{collapsed}]")], "box-degenerate")
    image = fresh("detection/HIT-UAV")
    # Above the image, below the edge of the square: legal numbers of a place that does not exist.
    inside_padding = image.text([(40, -25, 90, -8)])
    plan.add(json_name, image, [(ask, f"There is <p>one person</p>[{inside_padding}]")], "box-off-image")
    image = fresh("detection/VisDrone")
    boxes = image.text(image.boxes[:2])
    plan.add(
        image.source.json, image, [(ask, f"There are <p>three persons</p>[{boxes}]")], "box-count-mismatch"
    )
    image = fresh("detection/dior")
    shown = [_group(image, label, oriented=False, tagged=False) for label in sorted(set(image.labels))]
    plan.add(
        image.source.json, image, [(ask, f"There are {' and '.join(shown)} in the image.")], "figure-form"
    )
    image = fresh("RSVG/DIOR_RSVG")
    boxes, described = _grounding(image, Random(0))  # noqa: S311 - not used
    plan.add(image.source.json, image, [described[0], boxes[1]], "mixed-round")


def _plant_images(plan: _Plan, fresh: Any, random: Random) -> None:  # noqa: ANN401
    for folder, code in (
        ("caption/rsicd", "image-missing"),
        ("VQA/MQVQA_dataset", "image-12-bands"),
        ("detection/SARV2", "image-16-bit"),
        ("VQA/rsvqa_high", "image-size-unexpected"),
    ):
        image = fresh(folder, code)
        rounds = _RECORDS[image.source.kind](image, random)[0]
        plan.add(image.source.json, image, rounds, code)
        if code == "image-missing":
            plan.absent.add(image.name)


# --------------------------------------------------------------------------------------------------- files


def _json_members(plan: _Plan, annotations: Annotations, *, traps: bool) -> Iterable[tuple[str, bytes]]:
    files: dict[str, list[dict[str, Any]]] = dict(plan.files)
    if traps and annotations != "total":
        # The merged file of the infrared folder repeats HIT-UAV and is the only one that has the oceanic ships.
        merged = "detection/ir/ir_total.json"
        files[merged] = [*files["detection/ir/HIT-UAV.json"], *files[merged]]
        files["detection/new/newset.json"] = [
            {
                "image": "data/detection/NEWSET/1.jpg",
                "conversations": [{"from": "human", "value": "A ship?"}, {"from": "gpt", "value": "no"}],
            }
        ]
    if annotations != "total":
        for name in sorted(files):
            broken = traps and name == "detection/far1m/FAR1M.json"
            yield f"json/{name}", _as_json(files[name], broken=broken)
    if annotations != "files":
        everything = [record for name in sorted(plan.files) for record in plan.files[name]]
        yield "json/total.json", _as_json(everything)


def _as_json(records: Sequence[Mapping[str, Any]], *, broken: bool = False) -> bytes:
    if broken:
        return "".join(json.dumps(record) + ",\n" for record in records).encode("ascii")
    return json.dumps(records).encode("ascii")


def _sample_image(image: _Drawn, path: str | None) -> SampleImage:
    objects = tuple(SampleObject.at(label, box) for label, box in zip(image.labels, image.boxes, strict=True))
    return SampleImage(image.name, path, image.width, image.height, 0, objects)


def _encoded(image: _Drawn, seed: int) -> bytes:
    if image.special == "image-12-bands":
        return _tiff_of_bands(12, image.width, image.height)
    drawn = _draw(image, seed)
    if image.special == "image-size-unexpected":
        drawn = drawn.resize((512, 512))
    if image.special == "image-16-bit":
        drawn = Image.fromarray(np.asarray(drawn, np.uint16) * 257)
    target = io.BytesIO()
    suffix = image.source.suffix
    if suffix == ".jpg":
        drawn.save(target, "JPEG", quality=92, subsampling=0, comment=_REMARK)
    elif suffix == ".png":
        drawn.save(target, "PNG", compress_level=1)
    else:
        drawn.save(target, "TIFF", description=_REMARK.decode())
    return target.getvalue()


def _draw(image: _Drawn, seed: int) -> Image.Image:
    generator = np.random.default_rng([seed, zlib.crc32(image.name.encode())])
    shape = (image.height, image.width)
    if image.source.look == "optical":
        # Patches of field and water: one brightness with a tint, a cell every 16 pixels.
        cells = generator.uniform(0.35, 1, (image.height // 16 + 1, image.width // 16 + 1, 1))
        coarse = (cells * np.array(_TINTS[int(generator.integers(len(_TINTS)))])).astype(np.uint8)
        page = Image.fromarray(coarse).resize((image.width, image.height), Image.Resampling.BICUBIC)
    elif image.source.look == "sar":
        page = Image.fromarray(np.minimum(generator.exponential(25, shape), _DARK).astype(np.uint8))
    else:
        slope = np.linspace(30, 90, image.height)[:, None] + generator.normal(0, 4, shape)
        page = Image.fromarray(np.clip(slope, 0, _DARK).astype(np.uint8))
    pen = ImageDraw.Draw(page)
    for label, polygon in zip(image.labels, image.polygons, strict=True):
        fill: int | tuple[int, int, int] = COLOURS[label] if page.mode == "RGB" else BRIGHT
        # Half-open edges: the last pixel drawn is the one before the right and the lower edge.
        x_min, y_min, x_max, y_max = (
            min(polygon[::2]),
            min(polygon[1::2]),
            max(polygon[::2]),
            max(polygon[1::2]),
        )
        if image.source.kind == "obb":
            pen.polygon(list(zip(polygon[::2], polygon[1::2], strict=True)), fill=fill)
        else:
            pen.rectangle((x_min, y_min, x_max - 1, y_max - 1), fill=fill)
    return page


def _tiff_of_bands(bands: int, width: int, height: int) -> bytes:
    """An uncompressed TIFF with many bands, as multispectral sensors give; libraries for photographs refuse it."""
    pixels = bytes(width * height * bands)
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, bands),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, value)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + bytes(4)
