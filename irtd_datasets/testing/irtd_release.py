"""Writes an IR-TD sample release in the layouts of the real one."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal

from irtd_datasets.errors import UnknownNameError
from irtd_datasets.testing.archives import CutArchive, write_zip
from irtd_datasets.testing.irtd_plan import (
    AERIAL_DIR,
    CROWD_DIR,
    FLIR_DIR,
    MOSAIC_DIRS,
    RELEASED,
    SCENE_DIR,
    TRACKING_DIR,
    Names,
    Plan,
    plan_captions,
    plan_tasks,
)
from irtd_datasets.testing.irtd_text import file_text
from irtd_datasets.testing.samples import MARKER, SampleImage, SampleRelease, known_defects, start_sample
from irtd_datasets.testing.scenes import Scene, colour_scene, render_scene, with_border

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from PIL import Image

__all__ = ["CAPTION_ROOT", "IRTD_DEFECTS", "Layout", "write_irtd_sample"]

CAPTION_ROOT = "Data4MLLM/IR-TD-version250724"
"""Root folder inside the caption archive; ``image_path`` of a caption is relative to it."""

CAPTION_ARCHIVE = "IR-TD-version250724.tar.gz"
CAPTION_FILE = "new_relative.json"
MOSAIC_ARCHIVE = "reid_datasets.zip"

IRTD_DEFECTS = known_defects("irtd")
"""What each code of `SampleRelease.defects` means."""

_FOLLOWS = """File names, layouts, wording and known defects
follow the real release of IR-TD (IRGPT), so that programs can be tested without it."""
_COMMENT = b"Synthetic sample of irtd_datasets.testing; no real data."

_JPEG_QUALITY = 87  # gives 40 to 60 kB for 640x512, as the real frames have
_BORDER = 100
_MEMBER_DATE = (2025, 1, 7, 5, 40, 0)

Form = Literal["zip", "folder"]


class Layout(str, Enum):
    """Other layouts in which users have the same images."""

    FLIR_V13 = "flir-v1.3"
    """``63-FLIR_ADAS/train/thermal_8_bit/FLIR_xxxxx.jpeg`` in place of ``training/PreviewData``."""
    RGBT_CC = "rgbt-cc"
    """``<n>_T.jpg`` in false colours in place of the grey ``<n>_Grey.jpg``."""
    DRONEVEHICLE = "dronevehicle"
    """``14-VisDrone-DroneVehicle/train/trainimgr``, 840x712 with a white border, in place of ``4-VEDAI``."""
    PNG = "png"
    """``.png`` in place of the extension that the records name (Re-ID mosaics excepted)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where and how one image is written."""

    path: str
    border: int = 0
    colour: bool = False


def write_irtd_sample(  # noqa: PLR0913 - each is one independent property of the release
    folder: str | Path,
    *,
    rows: int = 200,
    seed: int = 0,
    form: Form = "zip",
    images: bool = True,
    layouts: Iterable[Layout | str] = (),
    captions: int | None = None,
    parts: int = 5,
    benchmark: bool = False,
    image_folder: str | Path | None = None,
    overwrite: bool = False,
) -> SampleRelease:
    """Write a seeded sample of the IR-TD release.

    The same arguments give byte-identical files on the same versions of Pillow, NumPy and zlib. Names inside
    ``reid_datasets.zip``, folders below `CAPTION_ROOT` and all of ``benchmark`` are inferred; none is public.

    Args:
        folder: New or empty folder to write into.
        rows: Records of the eight task files together, in the released proportions, at least three of each;
            40,200 gives the released counts.
        seed: Seed of all choices.
        form: ``zip`` writes ``json_sft.zip``, ``reid_datasets.zip`` and the cut caption archive as released;
            ``folder`` writes all three unpacked.
        images: False writes the texts only.
        layouts: Layouts in which images are written instead of the one that the records name.
        captions: Records of ``new_relative.json``; a tenth of ``rows``, at least 12, by default; 0 for none.
        parts: Number of parts of the caption archive.
        benchmark: Also write ``benchmark/`` with task files, one for Scene among them, on other images.
        image_folder: Folder for the image directories, if they are not to stand in the release.
        overwrite: Replace ``folder`` if it holds an earlier sample.

    Returns:
        What was written, with the truth about every image.

    Raises:
        BuildError: ``folder`` is not empty and is no sample that may be replaced.
        UnknownNameError: ``form`` or a layout does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_irtd_sample(folder, rows=60, captions=0, images=False)
        ...     sorted(path.name for path in sample.folder.iterdir())
        ['SAMPLE_RELEASE.txt', 'json_sft.zip']
    """
    chosen = _layouts(layouts)
    captions = max(12, rows // 10) if captions is None else captions
    folder, marker = start_sample(
        "irtd",
        folder,
        _FOLLOWS,
        overwrite=overwrite,
        forms=("zip", "folder"),
        rows=rows,
        seed=seed,
        form=form,
        images=images,
        layouts=sorted(layout.value for layout in chosen),
        captions=captions,
        parts=parts,
        benchmark=benchmark,
    )
    root = folder if image_folder is None else Path(image_folder)
    plan = _plan(rows, seed, captions, benchmark=benchmark)
    _write_task_files(plan, folder, form)
    if benchmark:
        (folder / "benchmark" / MARKER).write_bytes(marker)
    caption_names = {record.image for record in plan.records.get(CAPTION_FILE, ())}
    places = {name: _place(name, chosen) for name in plan.scenes if name not in caption_names}
    archives: list[Path] = [folder / "json_sft.zip"] if form == "zip" else []
    paths: dict[str, str] = {}
    if images:
        mosaics = [name for name in places if _is_mosaic(name)]
        paths |= _write_images(
            plan, {n: p for n, p in places.items() if form == "folder" or n not in set(mosaics)}, root, seed
        )
        if form == "zip":
            write_zip(
                folder / MOSAIC_ARCHIVE, _mosaics(plan, mosaics, seed), date=_MEMBER_DATE, compress=False
            )
            archives.append(folder / MOSAIC_ARCHIVE)
            paths |= {name: f"{MOSAIC_ARCHIVE}!{name}" for name in mosaics}
        if captions:
            cut, found = _write_caption_images(plan, sorted(caption_names), folder, seed, form, parts)
            archives += cut
            paths |= found
    return SampleRelease(
        name="irtd",
        folder=folder,
        image_folder=root,
        seed=seed,
        records={file: tuple(records) for file, records in plan.records.items()},
        images={name: _image(name, plan, paths.get(name), places.get(name)) for name in plan.scenes},
        defects=tuple(plan.defects),
        image_dirs=_image_dirs(places, root, folder, form) if images else {},
        archives=tuple(archives),
    )


def _layouts(layouts: Iterable[Layout | str]) -> frozenset[Layout]:
    try:
        return frozenset(Layout(layout) for layout in layouts)
    except ValueError as error:
        known = ", ".join(layout.value for layout in Layout)
        raise UnknownNameError(f"unknown layout: {error}", remedy=f"Layouts: {known}.") from None


def _plan(rows: int, seed: int, captions: int, *, benchmark: bool) -> Plan:
    plan = Plan()
    # Each part has a source of its own, so that asking for one more part leaves the others as they are.
    names = Names(Random(f"irtd/{seed}/names"))  # noqa: S311
    plan_tasks(plan, Random(f"irtd/{seed}/json_sft"), names, rows, "json_sft")  # noqa: S311
    if benchmark:
        source = Random(f"irtd/{seed}/benchmark")  # noqa: S311
        plan_tasks(plan, source, names, rows // 5, "benchmark", scene_rows=max(3, rows // 50))
    if captions:
        plan_captions(plan, Random(f"irtd/{seed}/captions"), captions, CAPTION_FILE)  # noqa: S311
    return plan


def _write_task_files(plan: Plan, folder: Path, form: Form) -> None:
    texts = {
        file: file_text(file.rpartition("/")[2], records).encode("ascii")
        for file, records in plan.records.items()
        if file != CAPTION_FILE
    }
    zipped = (
        [(f"json_sft/{name}", texts.pop(f"json_sft/{name}")) for name in RELEASED] if form == "zip" else []
    )
    if zipped:
        write_zip(folder / "json_sft.zip", zipped, folders=["json_sft"], date=_MEMBER_DATE)
    for file, content in texts.items():
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    if CAPTION_FILE in plan.records:
        listed = [
            {"image_path": record.image, "description": record.answer}
            for record in plan.records[CAPTION_FILE]
        ]
        (folder / CAPTION_FILE).write_bytes((json.dumps(listed, indent=4) + "\n").encode("ascii"))


def _is_mosaic(name: str) -> bool:
    return name.rpartition("/")[0] in MOSAIC_DIRS


def _place(name: str, layouts: frozenset[Layout]) -> _Place:
    """Return where an image of the task files is written.

    Example:
        >>> _place("23-RGBTCrowdCounting/train/7_Grey.jpg", frozenset({Layout.RGBT_CC})).path
        '23-RGBTCrowdCounting/train/7_T.jpg'
    """
    path, border, colour = name, 0, False
    if Layout.FLIR_V13 in layouts:
        path = path.replace(FLIR_DIR, "63-FLIR_ADAS/train/thermal_8_bit")
    if Layout.RGBT_CC in layouts and name.startswith(CROWD_DIR):
        path, colour = path.replace("_Grey.", "_T."), True
    if Layout.DRONEVEHICLE in layouts and name.startswith(AERIAL_DIR):
        path, border = path.replace(AERIAL_DIR, "14-VisDrone-DroneVehicle/train/trainimgr"), _BORDER
    if Layout.PNG in layouts and not _is_mosaic(name):
        path = path[: path.rindex(".")] + ".png"
    return _Place(path, border, colour)


def _write_images(plan: Plan, places: dict[str, _Place], root: Path, seed: int) -> dict[str, str]:
    made: set[Path] = set()
    for name, place in places.items():
        path = root / place.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(_encoded(plan.scenes[name], seed, place))
    return {name: place.path for name, place in places.items()}


def _mosaics(plan: Plan, names: Iterable[str], seed: int) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, _encoded(plan.scenes[name], seed, _Place(name))


def _write_caption_images(
    plan: Plan, names: list[str], folder: Path, seed: int, form: Form, parts: int
) -> tuple[tuple[Path, ...], dict[str, str]]:
    if form == "folder":
        places = {name: _Place(f"{CAPTION_ROOT}/{name}") for name in names}
        return (), _write_images(plan, places, folder, seed)
    with CutArchive(folder, CAPTION_ARCHIVE, parts, Random(f"irtd/{seed}/cuts")) as archive:  # noqa: S311
        for name in names:
            archive.add(f"{CAPTION_ROOT}/{name}", _encoded(plan.scenes[name], seed, _Place(name)))
    return archive.paths, {name: f"{CAPTION_ARCHIVE}!{CAPTION_ROOT}/{name}" for name in names}


def _encoded(scene: Scene, seed: int, place: _Place) -> bytes:
    image = render_scene(scene, seed)
    if place.border:
        image = with_border(image, place.border)
    if place.colour:
        image = colour_scene(image)
    return encode_image(image, png=place.path.endswith(".png"))


def encode_image(image: Image.Image, *, png: bool = False) -> bytes:
    """Return an image as JPEG (or PNG) bytes that carry a remark that they are synthetic."""
    target = io.BytesIO()
    if png:
        from PIL.PngImagePlugin import PngInfo

        remark = PngInfo()
        remark.add_text("Comment", _COMMENT.decode())
        image.save(target, "PNG", compress_level=1, pnginfo=remark)
    else:
        image.save(target, "JPEG", quality=_JPEG_QUALITY, comment=_COMMENT)
    return target.getvalue()


def _image(name: str, plan: Plan, path: str | None, place: _Place | None) -> SampleImage:
    scene = plan.scenes[name]
    border = 0 if place is None else place.border
    return SampleImage(
        name, path, scene.width, scene.height, border, scene.objects, plan.near_duplicates.get(name)
    )


def _image_dirs(places: dict[str, _Place], root: Path, folder: Path, form: Form) -> dict[str, Path]:
    """Return where each directory that the records name has its images."""
    found: dict[str, Path] = {}
    for name, place in places.items():
        if _is_mosaic(name):
            directory = name.rpartition("/")[0]
            found.setdefault(directory, folder / MOSAIC_ARCHIVE if form == "zip" else root / directory)
        elif name.startswith(TRACKING_DIR):
            directory = name[: name.index("/", len(TRACKING_DIR) + 1)]
            found.setdefault(directory, root / directory)
        elif name.startswith(SCENE_DIR):
            found.setdefault(SCENE_DIR, root / SCENE_DIR)
        else:
            found.setdefault(name.rpartition("/")[0], root / place.path.rpartition("/")[0])
    return found
