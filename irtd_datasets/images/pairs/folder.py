"""Crops all pairs of a folder: partners are found by name; crops, checkerboards and a report are written."""

from __future__ import annotations

import io
import json
import multiprocessing
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from irtd_datasets.errors import (
    AnnotationError,
    BoxError,
    BuildError,
    ImageError,
    IrtdDatasetsError,
    ReleaseNotFoundError,
    summarize,
)
from irtd_datasets.images.pairs.cropping import PairCrop, crop_pair
from irtd_datasets.images.pairs.partner import squares_in_turn
from irtd_datasets.images.values import shown_range
from irtd_datasets.releases.paths import safe_name
from irtd_datasets.releases.resolve import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "CropRules",
    "PairNames",
    "PairsReport",
    "checkerboard",
    "crop_folder",
    "find_pairs",
    "read_labels",
]

REPORT_NAME = "pairs.jsonl"
_MARKER = ".pairs.json"  # stands in the folder from the first moment: a run that was stopped is known by it
_MADE_BY = {"made_by": "irtd pairs"}
_SIDES = ("infrared", "visible", "checkerboards")
_MODALITY = re.compile(
    r"(?:^|(?<=[_\-. /]))(?:ir|nir|swir|lwir|tir|infrared|thermal|thermo|vi|vis|visible|rgb|color|colour|"
    r"optical|co|a|b)(?=$|[_\-. /])|crop(?=infrared|visible)",
    re.IGNORECASE,
)
_BOARD = 640  # pixels of its longer side, at most


@dataclass(frozen=True, slots=True)
class PairNames:
    """One pair by its files.

    Attributes:
        name: What the two names have in common, with ``/``; unique in the folder.
        infrared: Path of the infrared image.
        visible: Path of the visible image.
    """

    name: str
    infrared: Path
    visible: Path


@dataclass(frozen=True, slots=True)
class CropRules:
    """What `crop_pair` is told about every pair; see there.

    Attributes:
        method: ``auto``, ``labels`` or ``images``.
        region: ``view`` or ``objects``.
        margin: Room around the objects, or share cut off at the borders of the other image.
        min_size: Least width and height in pixels.
    """

    method: str = "auto"
    region: str = "view"
    margin: float = 0.0
    min_size: int = 32


@dataclass(frozen=True, slots=True)
class PairsReport:
    """What became of the pairs of a folder.

    Attributes:
        counts: Pairs by status: ``aligned``, ``cropped``, ``refused``, ``failed``.
        reasons: Refused and failed pairs by reason.
        examples: Up to three names for each reason.
        lone: Images without a partner.
        records: One mapping for each pair, as in ``pairs.jsonl``.
        out: The folder written.
    """

    counts: Counter[str]
    reasons: Counter[str]
    examples: Mapping[str, list[str]]
    lone: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    out: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "counts": dict(self.counts),
            "reasons": dict(self.reasons),
            "lone": list(self.lone),
            "pairs": list(self.records),
            "out": str(self.out),
        }


def find_pairs(
    folder: str | os.PathLike[str], infrared: str, visible: str
) -> tuple[list[PairNames], tuple[str, ...]]:
    """Find the pairs of a folder by the names of their files.

    Args:
        folder: The folder.
        infrared: Subfolder with the infrared images, searched to its depths, or a pattern such as ``*_ir.png``.
        visible: Likewise.

    Returns:
        The pairs in the order of their names, and the images without a partner. Names fit when they are equal without
        suffix, or equal once words for a modality (``_ir``, ``_co``, ``rgb/``, ``_a`` and ``_b``) are left out.

    Raises:
        ReleaseNotFoundError: There is no such folder, or no image in it.
        AnnotationError: Two images of one modality have the same name.
        UnsafePathError: A pattern leads out of the folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReleaseNotFoundError("there is no such folder", where=str(root))
    sides = [_images(root, pattern) for pattern in (infrared, visible)]
    exact = [_by_key(side, lambda name: name, root) for side in sides]
    pairs = {key: (exact[0][key], exact[1][key]) for key in exact[0].keys() & exact[1].keys()}
    taken = {path for pair in pairs.values() for path in pair}
    rest = [
        _by_key({path: name for path, name in side.items() if path not in taken}, _without_modality, root)
        for side in sides
    ]
    pairs |= {key: (rest[0][key], rest[1][key]) for key in rest[0].keys() & rest[1].keys()}
    taken = {path for pair in pairs.values() for path in pair}
    lone = sorted(path.relative_to(root).as_posix() for side in sides for path in side if path not in taken)
    if not pairs:
        raise ReleaseNotFoundError(
            f"no infrared image has a visible partner: {len(sides[0])} and {len(sides[1])} images, such as "
            f"{_first(sides[0], root)} and {_first(sides[1], root)}",
            where=str(root),
            remedy="Name the two subfolders, or patterns such as '*_ir.png' and '*_co.png'.",
        )
    return [PairNames(key, *pairs[key]) for key in sorted(pairs)], tuple(lone)


def _first(side: Mapping[Path, str], root: Path) -> str:
    return min(path.relative_to(root).as_posix() for path in side)


def _images(root: Path, pattern: str) -> dict[Path, str]:
    """Images with the name that they are matched by: below the subfolder, or below the root for a pattern."""
    base = root / safe_name(pattern.rstrip("/"))
    found = sorted(base.rglob("*")) if base.is_dir() else sorted(root.glob(safe_name(pattern)))
    start = base if base.is_dir() else root
    images = {
        path: path.relative_to(start).with_suffix("").as_posix()
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    }
    if not images:
        raise ReleaseNotFoundError(
            f"no image in {pattern!r}",
            where=str(root),
            remedy="Name a subfolder with images, or a pattern such as '*_ir.png'.",
        )
    return images


def _by_key(side: Mapping[Path, str], key_of: Any, root: Path) -> dict[str, Path]:  # noqa: ANN401 - a function
    found: dict[str, Path] = {}
    twice = []
    for path, name in side.items():
        key = key_of(name)
        if key in found:
            twice.append(f"{found[key].relative_to(root)} and {path.relative_to(root)}")
        found.setdefault(key, path)
    if twice:
        raise AnnotationError(
            f"images of one modality have one name:\n{summarize(twice, 5)}",
            where=str(root),
            remedy="Name a narrower subfolder or pattern, one modality at a time.",
        )
    return found


def _without_modality(name: str) -> str:
    parts = (re.sub(r"^[_\-. ]+|[_\-. ]+$", "", _MODALITY.sub("", part)) for part in name.split("/"))
    return re.sub(r"([_\-.])\1+", r"\1", "/".join(part for part in parts if part)) or name


def read_labels(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Labels by image, from JSON lines.

    Args:
        path: One object a line: ``image`` (its path below the folder of the pairs, with or without suffix), ``boxes``
            or ``points`` or ``polygons``, and if wanted ``labels`` and ``frame`` (``pixel`` by default).

    Raises:
        AnnotationError: A line is no such object, or names an image again; up to ten are told.
        ReleaseNotFoundError: There is no such file.
    """
    file = Path(path)
    found: dict[str, dict[str, Any]] = {}
    problems = []
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    problem = _take_label(line, found)
                    if problem:
                        problems.append(f"line {number}: {problem}")
    except FileNotFoundError:
        raise ReleaseNotFoundError("there is no such file", where=str(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"it cannot be read as UTF-8 text: {error}", where=str(file)) from error
    if problems:
        raise AnnotationError(
            summarize(problems, 10),
            where=str(file),
            remedy='Write one object a line: {"image": "ir/1.png", "boxes": [[10, 20, 30, 40]], "labels": ["car"]}.',
        )
    return found


def _take_label(line: str, found: dict[str, dict[str, Any]]) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return f"{line.strip()[:60]!r} is no JSON object"
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return "there is no text under 'image'"
    places = [key for key in ("boxes", "points", "polygons") if key in value]
    if len(places) != 1:
        return "there must be one of 'boxes', 'points' and 'polygons'"
    labels = value.get("labels")
    if labels is not None and not (isinstance(labels, list) and len(labels) == len(value[places[0]])):
        return f"'labels' must be a list as long as {places[0]!r}"
    name = Path(value["image"].replace("\\", "/")).with_suffix("").as_posix()
    if name in found:
        return f"{value['image']!r} occurs before"
    found[name] = {"boxes": value[places[0]], "labels": labels, "frame": value.get("frame", "pixel")}
    return ""


def checkerboard(result: PairCrop) -> Image.Image:
    """Squares of the two crops in turn: edges that run on from square to square are aligned.

    Returns:
        An 8-bit image of at most 640 pixels; the infrared crop is stretched to its 1st and 99th percentile.
    """
    width, height = result.infrared.width, result.infrared.height
    scale = min(1.0, _BOARD / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return squares_in_turn(
        *(_eight_bits(crop.image()).resize(size) for crop in (result.infrared, result.visible))
    )


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in {"L", "RGB"}:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        valid, low, high = shown_range(values, (1, 99))
        shown = np.where(valid, values, np.float32(low))
        return Image.fromarray(np.clip((shown - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8))
    return image.convert("RGB")


@dataclass(frozen=True, slots=True)
class _Job:
    pair: PairNames
    root: Path
    out: Path
    rules: CropRules
    labels: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    board: bool = True


def crop_folder(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    infrared: str,
    visible: str,
    labels: str | os.PathLike[str] | None = None,
    rules: CropRules | None = None,
    checkerboards: int = 100,
    workers: int = 1,
) -> PairsReport:
    """Crop all pairs of a folder.

    Written are ``infrared/``, ``visible/`` and ``checkerboards/`` with one file for each pair that is aligned or
    cropped, and ``pairs.jsonl`` with what was found for every pair. Images of aligned pairs are copied byte for byte.
    One pair is in memory at a time in each process. Each file appears by rename when it is whole; after a stop the same
    call, or one with other rules, starts again in the same folder and removes crops that it did not make itself.

    Args:
        folder: Where the pairs are.
        out: New or empty folder, or one that this wrote before.
        infrared: Subfolder or pattern of the infrared images.
        visible: Subfolder or pattern of the visible images.
        labels: File of `read_labels`.
        rules: How pairs are cropped.
        checkerboards: Draw at most so many, the first by name.
        workers: Processes.

    Raises:
        ReleaseNotFoundError: As for `find_pairs`.
        AnnotationError: As for `find_pairs` and `read_labels`.
        BuildError: The folder cannot be written, or has other files.
    """
    root, target = Path(folder), Path(out)
    pairs, lone = find_pairs(root, infrared, visible)
    marks = read_labels(labels) if labels is not None else {}
    _check_target(target, root)
    unused = _check_used(marks, pairs, root, labels)
    try:
        _replace(target / _MARKER, json.dumps(_MADE_BY).encode())
        (target / REPORT_NAME).unlink(missing_ok=True)
        jobs = [
            _Job(
                pair,
                root,
                target,
                rules or CropRules(),
                _labels_of(pair, root, marks),
                number < checkerboards,
            )
            for number, pair in enumerate(pairs)
        ]
        records = list(_run_all(jobs, workers))
        _remove_others(target, records)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        _replace(target / REPORT_NAME, lines.encode())
    except OSError as error:
        if isinstance(error, IrtdDatasetsError):
            raise
        raise BuildError(f"it cannot be written: {error.strerror or error}", where=str(target)) from error
    counts, reasons = Counter(record["status"] for record in records), Counter[str]()
    examples: dict[str, list[str]] = {}
    for record in records:
        if record["reason"]:
            reasons[record["reason"]] += 1
            examples.setdefault(record["reason"], []).append(record["name"])
    return PairsReport(
        counts,
        reasons,
        {key: names[:3] for key, names in examples.items()},
        (*lone, *unused),
        tuple(records),
        target,
    )


def _check_target(target: Path, root: Path) -> None:
    if target.resolve() == root.resolve():
        raise BuildError(
            "the crops would lie among the images", where=str(target), remedy="Name another folder."
        )
    if target.is_dir() and not _is_ours(target) and any(target.iterdir()):
        raise BuildError(
            "the folder has files of another origin", where=str(target), remedy="Name a new or empty folder."
        )


def _is_ours(target: Path) -> bool:
    """Whether a folder was begun here: by its marker, whole or half written, or by a whole report."""
    entries = {path.name for path in target.iterdir()}
    if entries <= {_MARKER, _part(Path(_MARKER)).name}:
        return True
    try:
        return bool(json.loads((target / _MARKER).read_bytes()) == _MADE_BY)
    except (OSError, ValueError, RecursionError):
        return (target / REPORT_NAME).is_file()


def _remove_others(target: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Remove crops of an earlier run that this one did not make: of pairs refused now, or half written."""
    made = {record[key] for record in records for key in _WRITTEN if key in record}
    for side in _SIDES:
        for path in sorted((target / side).rglob("*")):
            if path.is_file() and path.relative_to(target).as_posix() not in made:
                path.unlink()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.part")


def _replace(path: Path, data: bytes) -> None:
    """Write a file that appears by rename once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _part(path)
    temporary.write_bytes(data)
    temporary.replace(path)


def _names(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _labels_of(pair: PairNames, root: Path, marks: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    sides = {"infrared": pair.infrared, "visible": pair.visible}
    return {side: marks[_names(path, root)] for side, path in sides.items() if _names(path, root) in marks}


def _check_used(
    marks: Mapping[str, Any], pairs: Iterable[PairNames], root: Path, labels: str | os.PathLike[str] | None
) -> tuple[str, ...]:
    """Labels of images that no pair has; an error where that is all of them."""
    names = {_names(path, root) for pair in pairs for path in (pair.infrared, pair.visible)}
    unused = [name for name in marks if name not in names]
    if marks and len(unused) == len(marks):
        raise AnnotationError(
            f"none of its {len(marks)} images is one of a pair, such as {unused[0]!r}",
            where=str(labels),
            remedy=f"Name images by their path below {root}, such as {min(names)!r}.",
        )
    return tuple(f"labels of {name}" for name in unused)


def _run_all(jobs: list[_Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1 or len(jobs) <= 1:
        yield from map(_run, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap(_run, jobs, chunksize=4)


def _run(job: _Job) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": job.pair.name,
        "infrared_file": job.pair.infrared.relative_to(job.root).as_posix(),
        "visible_file": job.pair.visible.relative_to(job.root).as_posix(),
    }
    given: dict[str, Any] = {}
    frames = {marks["frame"] for marks in job.labels.values()} or {"pixel"}
    for side, marks in job.labels.items():
        given[f"{side}_boxes"], given[f"{side}_labels"] = marks["boxes"], marks["labels"]
    rules = job.rules
    try:
        if len(frames) > 1:
            raise BoxError(f"the labels of its two images count in {' and '.join(sorted(map(str, frames)))}")
        result = crop_pair(
            job.pair.infrared,
            job.pair.visible,
            **given,
            frame=frames.pop(),
            method=rules.method,  # type: ignore[arg-type]
            region=rules.region,  # type: ignore[arg-type]
            margin=rules.margin,
            min_size=rules.min_size,
        )
        written = _write(result, job) if result else {}
    except IrtdDatasetsError as error:
        if isinstance(error, BuildError):
            raise
        told = "labels-malformed" if job.labels else "not-sure"
        code = error.code if isinstance(error, ImageError) else told
        return record | {"status": "failed", "reason": code, "detail": str(error).partition("\n")[0]}
    return record | result.as_dict() | written


_WRITTEN = ("infrared_crop", "visible_crop", "checkerboard")


def _write(result: PairCrop, job: _Job) -> dict[str, Any]:
    files = [
        (side, *crop.encode()) for side, crop in zip(_SIDES, (result.infrared, result.visible), strict=False)
    ]
    if job.board:
        board = io.BytesIO()
        checkerboard(result).save(board, "PNG")
        files.append((_SIDES[2], board.getvalue(), ".png"))
    written = {}
    for key, (side, data, suffix) in zip(_WRITTEN, files, strict=False):
        path = job.out / side / f"{job.pair.name}{suffix}"
        _replace(path, data)
        written[key] = path.relative_to(job.out).as_posix()
    return written
