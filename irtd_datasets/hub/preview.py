"""A preview of a dataset folder: one HTML page that needs no server, no network and no library.

It shows a seeded sample of rows, balanced over tasks and sources, with boxes, oriented boxes and points drawn over the
images, and counts of all rows. Only the row groups of chosen rows are read with their images.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from irtd_datasets.catalog import dataset_names, spec
from irtd_datasets.errors import AnnotationError, BuildError, ImageError, ReleaseNotFoundError
from irtd_datasets.folder.contact_sheet import contact_sheet
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.row_groups import config_names
from irtd_datasets.hub.preview_page import PageFacts, ShownImage, page, render_card
from irtd_datasets.hub.sampling import choose, read_chosen, survey
from irtd_datasets.images.pairs.partner import squares_in_turn
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import IMAGE_FIELDS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from irtd_datasets.hub.sampling import Chosen, Survey

__all__ = ["MAX_PAGE_BYTES", "MAX_ROWS", "PreviewReport", "write_contact_sheet", "write_preview"]

MAX_PAGE_BYTES = 32 << 20
"""Size that a page is kept below, by smaller thumbnails; a browser opens it in an instant and a mail still takes it."""

MAX_ROWS = 2_000
"""Most rows of a page."""

SIDE = 560
"""Longest side of a thumbnail in pixels."""

_LEAST_SHARE = 14 << 10
_STEPS = ((1.0, 82), (0.75, 78), (0.55, 70), (0.4, 60), (0.25, 50), (0.12, 40))


@dataclass(frozen=True, slots=True)
class PreviewReport:
    """What a preview shows.

    Attributes:
        out: The file.
        rows: Rows of the chosen configs and splits.
        shown: Rows shown.
        not_shown: Images of these that cannot be decoded.
        row_groups: Row groups of the chosen configs and splits.
        row_groups_read: Row groups that were read with their images.
        bytes: Size of the file.
        by_task: Rows shown by task.
    """

    out: Path
    rows: int
    shown: int
    not_shown: int
    row_groups: int
    row_groups_read: int
    bytes: int
    by_task: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "out": str(self.out)}


def write_preview(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    configs: Sequence[str] = (),
    splits: Sequence[str] = (),
    rows: int = 120,
    seed: int = 0,
) -> PreviewReport:
    """Write the page.

    The same folder, options and version of Pillow give the same bytes.

    Args:
        folder: A dataset folder.
        out: The HTML file; one that is there is replaced.
        configs: Its configs; none means all.
        splits: Its splits; none means all.
        rows: Rows to show, at most `MAX_ROWS`.
        seed: Of the choice.

    Raises:
        ReleaseNotFoundError: There is no dataset folder, files are missing, or there are no rows.
        UnknownNameError: There is no such config or split.
        AnnotationError: A file is damaged or has other columns.
        BuildError: The page cannot be written.
    """
    rows = max(1, min(rows, MAX_ROWS))
    found, chosen = _chosen(folder, configs, splits, rows, seed)
    facts = _facts(Path(folder), found, configs, seed)
    share = max(MAX_PAGE_BYTES // len(chosen), _LEAST_SHARE)
    cards: list[str] = [""] * len(chosen)
    colours: dict[str, int] = {}
    tasks: list[str] = [""] * len(chosen)
    not_shown = 0
    for position, row in read_chosen(chosen):
        images = _images(row, share)
        not_shown += sum(not image.jpeg for _, image in images)
        cards[position] = render_card(
            row,
            images,
            chosen[position].split,
            meanings=facts.meanings,
            colours=colours,
            text_limit=min(6_000, share // 8),
            place_limit=min(400, share // 512),
        )
        tasks[position] = chosen[position].task
    file = Path(out)
    size = _write(file, page(facts, cards, len(cards)))
    return PreviewReport(
        out=file,
        rows=found.rows,
        shown=len(chosen),
        not_shown=not_shown,
        row_groups=found.row_groups,
        row_groups_read=len({one.group for one in chosen}),
        bytes=size,
        by_task={task: tasks.count(task) for task in sorted(set(tasks))},
    )


def write_contact_sheet(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    configs: Sequence[str] = (),
    splits: Sequence[str] = (),
    rows: int = 24,
    seed: int = 0,
) -> PreviewReport:
    """Draw the same choice of rows as a PNG or JPEG.

    Args:
        folder: A dataset folder.
        out: The image; its suffix decides its format.
        configs: As `write_preview`.
        splits: As `write_preview`.
        rows: As `write_preview`.
        seed: As `write_preview`.

    Raises:
        ReleaseNotFoundError: As `write_preview`.
        UnknownNameError: As `write_preview`.
        AnnotationError: As `write_preview`.
        ImageError: No chosen image can be decoded.
        BuildError: The image cannot be written.
    """
    found, chosen = _chosen(folder, configs, splits, max(1, min(rows, MAX_ROWS)), seed)
    sheet = contact_sheet(row for _, row in read_chosen(chosen))
    file = Path(out)
    try:
        sheet.save(file)
    except (OSError, ValueError) as error:
        raise BuildError(
            str(error), where=str(file), remedy="Name a .png or .jpg file in a folder that exists."
        ) from error
    tasks = [one.task for one in chosen]
    return PreviewReport(
        out=file,
        rows=found.rows,
        shown=len(chosen),
        not_shown=0,
        row_groups=found.row_groups,
        row_groups_read=len({one.group for one in chosen}),
        bytes=file.stat().st_size,
        by_task={task: tasks.count(task) for task in sorted(set(tasks))},
    )


def _chosen(
    folder: str | os.PathLike[str], configs: Sequence[str], splits: Sequence[str], rows: int, seed: int
) -> tuple[Survey, list[Chosen]]:
    found = survey(folder, configs, splits=splits, rows=rows, seed=seed)
    chosen = choose(found, rows)
    if not chosen:
        raise ReleaseNotFoundError("there are no rows", where=str(folder), remedy="Build the dataset first.")
    return found, chosen


def _images(row: dict[str, Any], share: int) -> list[tuple[str, ShownImage]]:
    present = [name for name in IMAGE_FIELDS if row[name] is not None or name == "image"]
    # Base64 takes a third more, and texts and marks up to a quarter of the share.
    room = share * 9 // 16 // (len(present) + (len(present) > 1))
    shown = [(name, _image(row, name, room)) for name in present]
    board = _checkerboard([image for _, image in shown], room) if len(shown) > 1 else None
    return shown if board is None else [*shown, ("checkerboard", board)]


def _checkerboard(pair: Sequence[ShownImage], room: int) -> ShownImage | None:
    """Squares of both images in turn; None where one cannot be shown."""
    if not all(image.jpeg for image in pair):
        return None
    first, second = (Image.open(io.BytesIO(image.jpeg)) for image in pair)
    board = squares_in_turn(first, second)
    for quality in (_STEPS[0][1], 40, 20):
        file = io.BytesIO()
        board.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= room:
            break
    return ShownImage(
        file.getvalue(), *board.size, "squares of both images in turn: edges run on where they fit"
    )


def _image(row: dict[str, Any], name: str, room: int) -> ShownImage:
    data = (row[name] or {}).get("bytes")
    size = (row["width"] or 4, row["height"] or 3)
    if not data:
        return ShownImage(b"", *size, "there is no image")
    try:
        seen = viewable(data, SIDE, row["id"])
    except ImageError as error:
        return ShownImage(b"", *size, error.problem)
    for scale, quality in _STEPS:
        width, height = (max(1, round(side * scale)) for side in seen.image.size)
        image = seen.image if scale == 1 else seen.image.resize((width, height))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= room:
            break
    return ShownImage(file.getvalue(), width, height, seen.note)


def _facts(folder: Path, found: Survey, configs: Sequence[str], seed: int) -> PageFacts:
    manifest = _manifest(folder)
    declared = (
        spec(manifest.dataset) if manifest is not None and manifest.dataset in dataset_names() else None
    )
    details = [f"version {manifest.version}"] if manifest is not None else []
    shown = list(configs) or config_names(folder)
    details.append(
        shown[0] if len(shown) == 1 else f"{len(shown)} configs" if not configs else ", ".join(shown)
    )
    details.append(f"seed {seed}")
    strata: dict[tuple[str, str], int] = {}
    for stratum, count in found.strata.items():
        key = stratum.task, stratum.source
        strata[key] = strata.get(key, 0) + count
    return PageFacts(
        title=declared.title if declared else folder.resolve().name,
        summary=declared.summary if declared else "",
        details=tuple(details),
        terms=f"{declared.licence} {declared.terms}" if declared else "",
        rows=found.rows,
        counts={
            **{what: found.counts(what) for what in ("task", "source", "split")},
            "modality": found.modalities,
            "issue": found.issues,
        },
        strata=strata,
        meanings={issue.code: issue.meaning for issue in declared.issues} if declared else {},
    )


def _manifest(folder: Path) -> Manifest | None:
    """What the folder says about its making; None where it was not made by a build, or says nothing that is whole."""
    try:
        return Manifest.read(folder)
    except (ReleaseNotFoundError, AnnotationError):
        return None


def _write(file: Path, pieces: Iterator[str]) -> int:
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(pieces)
        temporary.replace(file)
        return file.stat().st_size
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BuildError(
            error.strerror or str(error),
            where=str(error.filename or file),
            remedy="Name a file in a folder that exists and can be written.",
        ) from error
