"""How far `crop_pair` is from the truth on real pairs, and whether aligned pairs come back unchanged.

    python benchmarks/pairs_error.py DIR                # a folder with the sets named below, as they are handed out
    python benchmarks/pairs_error.py DIR --boards OUT   # draws a checkerboard of each pair that is cut
    python benchmarks/pairs_error.py DIR --only roadscene

The sets, each skipped where it is not there:

- ``multimodal-matching``: pairs with 20 points that people marked in both images (read from
  ``_derived/landmarks.json``). By images: the distance between marked infrared points and marked visible points as
  moved. By labels: half of the points are given as labels, the other half are measured.
- ``vtuav-hmft``: a video with a box for each modality in every tenth frame. By labels: the boxes of all frames but one
  as objects of one image (the rig does not change), the box that is left is measured.
- ``roadscene``: raw infrared frames beside their visible partner; the authors' own crop, found in the raw frame, is the
  truth, where it is found for certain.
- ``llvip``, ``vifb``, ``tno-fusiongan``, ``m3fd``, and the crops of ``roadscene``: aligned by their authors, so a cut
  is a mistake; a refusal is an honest answer. And with six made boxes as labels of both, once as they are and once with
  the visible ones all shifted by 6 to 12 % of the sides, as if they were of another moment.

All distances are in infrared pixels, and as a share of the infrared diagonal.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.images.pairs import crop_pair
from irtd_datasets.images.pairs.folder import checkerboard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irtd_datasets.images.pairs import PairCrop, PairTransform

SURE = 0.95
"""Correlation from which on the authors' crop is taken as found in the raw frame."""

TOLERATED = 0.013
"""Share of the infrared diagonal beyond which a result that was not refused counts as wrong: what a box tolerates.

A box of 32 x 32 pixels, where COCO's medium objects begin, that is moved by a third of its side overlaps the object
that it was made for by half, as detection asks. That is 10.7 pixels, 1.3 % of the diagonal of 640 x 512. A caption,
which names thirds of the image, would tolerate ten times as much."""


def main() -> None:
    """Measure all sets that are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--boards", type=Path, help="folder for checkerboards")
    parser.add_argument("--only", help="one set")
    options = parser.parse_args()
    wrong = 0
    for name, measure in (
        ("multimodal-matching", landmarks),
        ("vtuav-hmft", video),
        ("roadscene", roadscene),
    ):
        if options.only in {None, name} and (options.folder / name).is_dir():
            print(f"\n{name}")
            print(f"  {'pair':34} {'answer':28} {'mean':>6} {'most':>6} {'share':>7} {'best':>6}")
            for line in measure(options.folder / name, options.boards):
                wrong += line
    for name, pairs in (
        ("llvip", _mirrored("FusionGAN/*_LLVIP_vi/*", "_vi", "_ir")),
        ("vifb", _mirrored("input/VI/*", "VI", "IR")),
        ("tno-fusiongan", _mirrored("Train_vi/*", "_vi", "_ir")),
        ("m3fd", _mirrored("vi/*", "vi", "ir")),
        ("roadscene", _mirrored("crop_LR_visible/*", "crop_LR_visible", "cropinfrared")),
    ):
        if options.only in {None, name} and (options.folder / name).is_dir():
            wrong += aligned(options.folder / name, pairs)
    print(f"\nanswers that are wrong and were not refused: {wrong}")


def _show(name: str, result: PairCrop, error: np.ndarray | None, best: float | None, diagonal: float) -> int:
    """Print a line; 1 where the answer is wrong and was not refused."""
    answer = f"{result.status} {result.reason or result.model}"
    if error is None:
        print(f"  {name:34} {answer:28}")
        return 0
    share = error.mean() / diagonal
    known = f"{best:6.2f}" if best is not None else ""
    wrong = bool(result) and share > TOLERATED
    print(
        f"  {name:34} {answer:28} {error.mean():6.2f} {error.max():6.2f} {share:7.2%} {known} "
        f"{'WRONG' if wrong else ''}"
    )
    return int(wrong)


def landmarks(folder: Path, boards: Path | None) -> Iterator[int]:
    """Pairs with marked points."""
    known = json.loads((folder / "_derived/landmarks.json").read_text())
    for key, value in known.items():
        stem = folder / key.removesuffix(".mat").replace("VIS_IR_", "VI_")
        files = [next(iter(stem.parent.glob(f"{stem.name}*{side}.png"))) for side in ("a", "b")]
        # Marked in MATLAB, where the first pixel's centre is 1; here it is 0.5. The first image is the fixed one.
        points = [np.array(value[side]) - 0.5 for side in ("LMfix", "LMmov")]
        if stem.parent.name in {"VIS_IR", "RGB_NIR"}:  # the visible image comes first
            files.reverse()
            points.reverse()
        infrared, visible = points
        with Image.open(files[0]) as opened:
            diagonal = float(np.hypot(*opened.size))
        best = _residual(visible, infrared)
        seen = crop_pair(*files, method="images")
        yield _show(
            f"{stem.name}, images", seen, _distance(seen.transform, visible, infrared), best, diagonal
        )
        _draw(seen, boards, f"{stem.name}-images")
        marked = crop_pair(
            *files, infrared_boxes=infrared[::2], visible_boxes=visible[::2], method="labels",
            infrared_labels=range(10), visible_labels=range(10),
        )  # fmt: skip
        error = _distance(marked.transform, visible[1::2], infrared[1::2])
        yield _show(f"{stem.name}, 10 labelled points", marked, error, best, diagonal)
        unnamed = crop_pair(*files, infrared_boxes=infrared[::2], visible_boxes=visible[::2], method="labels")
        error = _distance(unnamed.transform, visible[1::2], infrared[1::2])
        yield _show(f"{stem.name}, 10 points of one class", unnamed, error, best, diagonal)


def video(folder: Path, boards: Path | None) -> Iterator[int]:
    """A video with a box for each modality in every tenth frame."""
    sequence = next(iter(folder.rglob("rgb.txt"))).parent
    tables = [np.loadtxt(sequence / f"{band}.txt") for band in ("ir", "rgb")]
    frames = min(map(len, tables))
    infrared, visible = (
        np.hstack([table[:frames, :2], table[:frames, :2] + table[:frames, 2:]]) for table in tables
    )
    for path in sorted((sequence / "rgb").glob("*.jpg")):
        number = int(path.stem) // 10
        pair = (sequence / "ir_gray" / path.name, path)
        rest = np.arange(frames) != number
        result = crop_pair(
            *pair, infrared_boxes=infrared[rest], visible_boxes=visible[rest], method="labels",
            infrared_labels=np.flatnonzero(rest).tolist(), visible_labels=np.flatnonzero(rest).tolist(),
        )  # fmt: skip
        truth = (visible[number : number + 1].reshape(2, 2), infrared[number : number + 1].reshape(2, 2))
        diagonal = float(np.hypot(1920, 1080))
        error = _distance(result.transform, *truth)
        yield _show(
            f"frame {path.stem}, {rest.sum()} boxes", result, error, _distance_unmoved(*truth), diagonal
        )
        one = crop_pair(*pair, infrared_boxes=infrared[~rest], visible_boxes=visible[~rest], method="labels")
        yield _show(
            f"frame {path.stem}, its box alone", one, _distance(one.transform, *truth), None, diagonal
        )
        seen = crop_pair(*pair, method="images")
        yield _show(f"frame {path.stem}, images", seen, _distance(seen.transform, *truth), None, diagonal)
        _draw(seen, boards, f"vtuav-{path.stem}")


def roadscene(folder: Path, boards: Path | None) -> Iterator[int]:
    """Raw infrared frames and the visible image of the authors' crop."""
    unsure = []
    for path in sorted((folder / "infrared").glob("*.png")):
        crop = folder / "cropinfrared" / f"{path.stem}.jpg"
        visible = folder / "crop_HR_visible" / f"{path.stem}.jpg"
        visible = visible if visible.is_file() else folder / "crop_LR_visible" / visible.name
        if not (crop.is_file() and visible.is_file()):
            continue
        with Image.open(path) as raw, Image.open(crop) as cut, Image.open(visible) as seen:
            place, fit = _search(raw.convert("L"), cut.convert("L"))
            corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float)
            truth = (corners * seen.size, place[:2] + corners * (place[2:] - place[:2]))
            diagonal = float(np.hypot(*raw.size))
        if fit < SURE:
            unsure.append(path.stem)
            continue
        result = crop_pair(path, visible, method="images")
        yield _show(path.stem, result, _distance(result.transform, *truth), None, diagonal)
        _draw(result, boards, f"roadscene-{path.stem}")
    print(f"  no truth: the authors' crop is not found for certain in {len(unsure)} raw frames")


def aligned(folder: Path, pattern: tuple[str, str, str]) -> int:
    """Pairs that their authors aligned; the number of answers that say otherwise."""
    files, old, new = pattern
    answers: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    rng = np.random.default_rng(3)
    others = []
    for visible in sorted(folder.glob(files)):
        here = visible.relative_to(folder).as_posix()
        beside = next(iter((folder / here.replace(old, new, 1)).parent.glob(f"{visible.stem}.*")), None)
        if beside is None:
            continue
        try:
            result = crop_pair(beside, visible)
        except IrtdDatasetsError as error:
            answers["error"] += 1
            others.append(f"{visible.name}: {error}")
            continue
        answers[result.status if result else f"refused {result.reason}"] += 1
        if result.status == "aligned":
            assert result.infrared.source.data == beside.read_bytes()
            assert result.visible.source.data == visible.read_bytes()
            assert result.infrared.is_whole
            assert result.visible.is_whole
        if result.status == "cropped":
            others.append(f"{visible.name}: {result.model} {result.transform} {result.quality}")
        for name, shifted in (("right labels", False), ("shifted labels", True)):
            moved = crop_pair(beside, visible, **made_labels(rng, result, shifted=shifted), method="labels")
            labelled[f"{name}: {moved.reason or moved.status}"] += 1
    print(f"\n{folder.name}, aligned by its authors: {dict(answers)}; {dict(labelled)}")
    for other in others:
        print(f"  {other}")
    return answers["cropped"]


def made_labels(rng: np.random.Generator, pair: PairCrop, *, shifted: bool) -> dict[str, np.ndarray]:
    """Six boxes of one view in both images; the visible ones all shifted, if wanted."""
    sizes = np.array([pair.infrared.source.size, pair.visible.source.size], float)
    low = rng.uniform(0.12, 0.75, (6, 2))
    boxes = np.hstack([low, low + rng.uniform(0.03, 0.12, (6, 2))])
    away = rng.choice([-1, 1], 2) * rng.uniform(0.06, 0.12, 2) if shifted else np.zeros(2)
    noise = rng.normal(0, 0.002, boxes.shape)
    return {
        "infrared_boxes": boxes * np.tile(sizes[0], 2),
        "visible_boxes": (boxes + noise + np.tile(away, 2)) * np.tile(sizes[1], 2),
    }


def _mirrored(files: str, old: str, new: str) -> tuple[str, str, str]:
    return files, old, new


def _distance(
    transform: PairTransform | None, visible: np.ndarray, infrared: np.ndarray
) -> np.ndarray | None:
    return None if transform is None else np.linalg.norm(transform.apply(visible) - infrared, axis=1)


def _distance_unmoved(visible: np.ndarray, infrared: np.ndarray) -> float:
    return float(np.linalg.norm(visible - infrared, axis=1).mean())


def _residual(visible: np.ndarray, infrared: np.ndarray) -> float:
    """Mean distance that the best scale and shift for each axis leave: turns and distortions of the lenses."""
    moved = np.empty_like(infrared)
    for axis in (0, 1):
        scale, shift = np.polyfit(visible[:, axis], infrared[:, axis], 1)
        moved[:, axis] = visible[:, axis] * scale + shift
    return float(np.linalg.norm(moved - infrared, axis=1).mean())


def _search(raw: Image.Image, cut: Image.Image) -> tuple[np.ndarray, float]:
    """Where the authors' crop, which they stretched, lies in the raw frame as a box, and the correlation there."""
    half, small = np.asarray(raw.reduce(2), float), cut.reduce(2)
    best = max(_fit(half, small, scale, scale) for scale in np.arange(0.8, 1.5, 0.04))
    moves = np.arange(-3, 4) * 0.02
    best = max(_fit(half, small, best[1] + x, best[2] + y) for x in moves for y in moves)
    moves = np.arange(-1, 2) * 0.008
    whole = np.asarray(raw, float)
    fit, scale_x, scale_y, left, top = max(
        _fit(whole, cut, best[1] + x, best[2] + y) for x in moves for y in moves
    )
    return np.array([left, top, left + cut.width * scale_x, top + cut.height * scale_y]), fit


def _fit(
    whole: np.ndarray, cut: Image.Image, scale_x: float, scale_y: float
) -> tuple[float, float, float, int, int]:
    size = round(cut.width * scale_x), round(cut.height * scale_y)
    if size[0] > whole.shape[1] or size[1] > whole.shape[0]:
        return 0.0, scale_x, scale_y, 0, 0
    left, top, fit = _locate(whole, np.asarray(cut.resize(size), float))
    return fit, scale_x, scale_y, left, top


def _locate(whole: np.ndarray, part: np.ndarray) -> tuple[int, int, float]:
    """Left and upper edge of a part in a whole, and the correlation there, by normalised correlation."""
    height, width = part.shape
    centred = part - part.mean()
    shape = (whole.shape[0] + height, whole.shape[1] + width)
    spectrum = np.fft.rfft2(whole, shape)
    product = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(centred, shape)), shape)
    sums = [np.pad(np.cumsum(np.cumsum(power, 0), 1), ((1, 0), (1, 0))) for power in (whole, whole**2)]
    rows, columns = whole.shape[0] - height + 1, whole.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return 0, 0, 0.0
    first, second = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
        for table in sums
    )
    spread = np.sqrt(np.maximum(second - first**2 / part.size, 1e-9) * (centred**2).sum())
    found = product[:rows, :columns] / spread
    top, left = np.unravel_index(int(found.argmax()), found.shape)
    return int(left), int(top), float(found.max())


def _draw(result: PairCrop, boards: Path | None, name: str) -> None:
    if boards is not None and result.status == "cropped":
        boards.mkdir(parents=True, exist_ok=True)
        checkerboard(result).save(boards / f"{name}.png")


if __name__ == "__main__":
    main()
