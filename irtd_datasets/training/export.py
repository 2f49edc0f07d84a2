"""Exports of a dataset folder for programs that do not read it: other layouts, boxes in the frame of the model."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from irtd_datasets.errors import AnnotationError, BoxError, BuildError, ImageError, UnknownNameError
from irtd_datasets.folder.row_groups import config_files, config_names, read_groups
from irtd_datasets.images.viewable import viewable
from irtd_datasets.schema import TASKS
from irtd_datasets.training.examples import (
    LAYOUTS,
    REASONS,
    Example,
    LeftOut,
    conversation,
    has_objects,
    messages_row,
    prepare,
    swift_row,
)
from irtd_datasets.training.files import (
    ImageFiles,
    JsonList,
    Lines,
    ParquetParts,
    RowSink,
    SortedLines,
    Table,
    image_suffix,
)
from irtd_datasets.training.targets import MAX_PIXELS, MIN_PIXELS, Style, find_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["ExportOptions", "ExportReport", "clear", "export", "export_rows", "staged", "write_json"]

_COLUMNS = ("id", "task", "image", "messages", "box_frame", "width", "height", "bit_depth")
_EXAMPLES = 5
_MARKER = "export.json"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export is to be.

    Attributes:
        target: The model family: ``llava``, ``qwen2-vl``, ``qwen2.5-vl``, ``qwen3-vl``, ``internvl``, ``paligemma``.
        layout: ``jsonl``, ``json``, ``ms-swift``, ``llama-factory`` or ``vlmevalkit``.
        images: ``files`` (original bytes, each distinct image once) or ``parquet`` (inside Parquet; ``ms-swift`` and
            ``llama-factory`` only, since the others read images from paths).
        markup: ``model`` for the model's own markup, ``released`` to change the numbers and nothing else.
        decimals: Digits after the point, for ``llava`` only; None is 3.
        min_pixels: Least pixels after the resize of Qwen2.5-VL; must be what the training run uses.
        max_pixels: Most pixels, likewise.
        absolute_paths: Write image paths from the root of the file system; by default they begin at the export.
        partners: Give the visible partner of a row as a second image, behind the infrared one, with a token of its own;
            places are in the first. Rows without a partner have one image.
        without: Called with a row; rows for which it is false are left out (see `irtd_datasets.not_in`).

    Raises:
        UnknownNameError: A name is none of these, or two of them do not go together.
        BoxError: A number is out of range.
    """

    target: str = "llava"
    layout: str = "jsonl"
    images: str = "files"
    markup: str = "model"
    decimals: int | None = None
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    absolute_paths: bool = False
    without: Callable[[Mapping[str, Any]], bool] | None = None
    partners: bool = False

    def __post_init__(self) -> None:
        target = find_target(self.target)
        for name, value, known in (
            ("layout", self.layout, tuple(LAYOUTS)),
            ("images", self.images, ("files", "parquet")),
            ("markup", self.markup, ("model", "released")),
        ):
            if value not in known:
                raise UnknownNameError(f"{name} is {value!r}", remedy=f"It can be {', '.join(known)}.")
        if self.images == "parquet" and self.layout not in ("ms-swift", "llama-factory"):
            raise UnknownNameError(
                f"the layout {self.layout} names images by path and cannot name one inside Parquet",
                remedy="Use images='files', or the layout ms-swift or llama-factory.",
            )
        if self.partners and self.layout == "vlmevalkit":
            raise UnknownNameError(
                "the layout vlmevalkit has one image a row",
                remedy="Leave the partners out, or use another layout.",
            )
        if self.decimals is not None and not (target.decimals and 1 <= self.decimals <= 12):
            raise BoxError(
                f"decimals is {self.decimals} for {self.target}",
                remedy="llava takes 1 to 12 decimals; the numbers of the other models are whole.",
            )
        if not 1 <= self.min_pixels <= self.max_pixels:
            raise BoxError(f"min_pixels is {self.min_pixels} and max_pixels {self.max_pixels}")

    def style(self) -> Style:
        """How places are written."""
        limits = (self.min_pixels, self.max_pixels)
        return Style(find_target(self.target), self.decimals, self.markup, limits)


@dataclass(slots=True)
class ExportReport:
    """What became of every row.

    Attributes:
        out: The folder.
        rows: Rows written, by split.
        left_out: Rows not written, by reason; the reasons are explained in `irtd_datasets.training.examples.REASONS`.
        examples: Ids of the first rows left out for each reason.
        places: Places rewritten, by kind: ``box``, ``polygon``, ``point``.
        clipped: Places that reached out of their image and were moved to its edge.
        collapsed: Boxes and polygons that have no area after rounding.
        images: Distinct images written as files; 0 when they stay in Parquet.
        deep_images: Rows whose image has more than 8 bits a channel, which the named programs do not scale.
        paired: Rows whose visible partner is not part of the export.
        pairs: Rows exported with their visible partner.
    """

    out: Path
    rows: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    places: Counter[str] = field(default_factory=Counter)
    clipped: int = 0
    collapsed: int = 0
    images: int = 0
    deep_images: int = 0
    paired: int = 0
    pairs: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        values.update(out=str(self.out), left_out=dict(self.left_out), places=dict(self.places))
        return values

    def _leave_out(self, row_id: str, reason: str) -> None:
        self.left_out[reason] += 1
        known = self.examples.setdefault(reason, [])
        if len(known) < _EXAMPLES:
            known.append(row_id)


def export(
    folder: str | os.PathLike[str],
    config: str | None,
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    splits: Sequence[str] | None = None,
) -> ExportReport:
    """Export a config of a dataset folder.

    Rows are read one row group at a time. The export appears under its name when it is complete; a run that was
    killed leaves nothing there, and the next one takes over the images it had written.

    Args:
        folder: A dataset folder.
        config: Its config; None takes the default one.
        out: The folder to make; it must be new or empty.
        options: What is wanted; None is LLaVA's form.
        splits: Splits to export; None takes all of the config.

    Raises:
        ReleaseNotFoundError: There is no dataset folder, or files are missing.
        UnknownNameError: There is no such config or split.
        AnnotationError: A file is damaged or has other columns.
        BuildError: The output cannot be written.
    """
    files = config_files(folder, config)
    for split in splits or ():
        if split not in files:
            raise UnknownNameError(
                f"there is no split {split!r}", remedy=f"The splits are {', '.join(files)}."
            )
    chosen = {split: paths for split, paths in files.items() if splits is None or split in splits}
    name = f"{Path(folder).resolve().name}_{config or config_names(folder)[0]}"
    options = options or ExportOptions()
    columns = (*_COLUMNS, "visible" if options.partners else "visible.path")
    sources = {split: _rows(paths, columns) for split, paths in chosen.items()}
    return _run(sources, Path(out), options, name)


def export_rows(
    rows: Iterable[Mapping[str, Any]],
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    split: str = "train",
    name: str = "rows",
) -> ExportReport:
    """Export rows from anywhere, such as an interleaved stream.

    Args:
        rows: With ``id``, ``messages``, ``box_frame``, ``width``, ``height`` and an ``image`` of ``{bytes, path}`` (in
            `datasets`: ``Image(decode=False)``).
        out: As `export`.
        options: As `export`.
        split: Name of the split they make.
        name: Name of the dataset in LLaMA-Factory's ``dataset_info.json``.

    Raises:
        AnnotationError: A row has no such image.
        BuildError: As `export`.
    """
    return _run({split: rows}, Path(out), options or ExportOptions(), name)


def _rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for _, table in read_groups(files, columns):
        for batch in table.to_batches(max_chunksize=16):
            yield from batch.to_pylist()


def _run(
    sources: Mapping[str, Iterable[Mapping[str, Any]]], out: Path, options: ExportOptions, name: str
) -> ExportReport:
    with staged(out) as staging:
        return _write(sources, out.absolute(), staging, options, name)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder that gets the name ``out`` when the block is done; a killed run leaves it for the next one.

    Raises:
        BuildError: ``out`` is not empty, another run writes it, or the operating system refuses.
    """
    out = out.absolute()
    staging = out.with_name(f".{out.name}.partial")
    try:
        _refuse_full(out)
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(staging.with_name(f"{staging.name}.lock"), timeout=0):
            yield staging
            if out.is_dir():
                out.rmdir()
            staging.replace(out)
        staging.with_name(f"{staging.name}.lock").unlink(missing_ok=True)
    except Timeout:
        raise BuildError(
            "another export writes to this folder", where=str(out), remedy="Wait for it."
        ) from None
    except BuildError:
        raise
    except OSError as error:
        raise BuildError(
            error.strerror or str(error),
            where=str(error.filename or out),
            remedy="Nothing was put into place. Mend this and start the same command again.",
        ) from error


def _refuse_full(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise BuildError(
            "the folder is not empty", where=str(out), remedy="Give --out a new or empty folder."
        )


def _write(
    sources: Mapping[str, Iterable[Mapping[str, Any]]],
    out: Path,
    staging: Path,
    options: ExportOptions,
    name: str,
) -> ExportReport:
    report = ExportReport(out)
    clear(staging, keep=options.images == "files")
    images = ImageFiles(staging) if options.images == "files" and options.layout != "vlmevalkit" else None
    entries: dict[str, Any] = {}
    try:
        for split, rows in sources.items():
            file, sink = _sink(staging, _safe(split), options, name)
            report.rows[split] = 0
            with ExitStack() as stack:
                stack.enter_context(sink)
                for row in rows:
                    _one(row, split, sink, images, options, report)
            entries[_safe(f"{name}_{split}")] = _dataset_info(file)
    finally:
        if images is not None:
            images.close()
    if images is not None:
        images.prune()
        report.images = images.count
    if options.layout == "llama-factory":
        write_json(staging / "dataset_info.json", entries)
    settings = {key: value for key, value in asdict(options).items() if key != "without"}
    reasons = {reason: REASONS[reason] for reason in report.left_out}
    write_json(
        staging / _MARKER,
        {"options": settings, "report": {**report.as_dict(), "out": "."}, "reasons": reasons},
    )
    return report


def clear(staging: Path, *, keep: bool) -> None:
    """Remove what an unfinished run left, except complete images where they can be used again."""
    for path in staging.iterdir():
        if path.is_dir() and not (keep and path.name == "images"):
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()


def _sink(staging: Path, split: str, options: ExportOptions, name: str) -> tuple[str, RowSink]:
    if options.layout == "vlmevalkit":  # whose datasets are named by their files
        file = f"{_safe(name)}_{split}.tsv"
        return file, Table(staging / file)
    swift = has_objects(options.style(), options.layout)
    if options.images == "parquet":
        return split, ParquetParts(staging / split, objects=swift)
    if options.layout == "json":
        return f"{split}.json", JsonList(staging / f"{split}.json")
    path = staging / f"{split}.jsonl"
    return path.name, SortedLines(path) if swift else Lines(path)


def _one(
    row: Mapping[str, Any],
    split: str,
    sink: RowSink,
    images: ImageFiles | None,
    options: ExportOptions,
    report: ExportReport,
) -> None:
    try:
        _filter(row, options)
        image = _image(row)
        example = prepare(row, options.style(), options.layout)
        table = _rounds(row, example, image["bytes"]) if options.layout == "vlmevalkit" else {}
    except LeftOut as reason:
        report._leave_out(str(row.get("id")), str(reason))  # noqa: SLF001 - the report is ours
        return
    except (KeyError, TypeError) as error:
        raise AnnotationError(
            f"the row is not of this library's schema: {error!r}",
            where=f"row {row.get('id') if hasattr(row, 'get') else row!r}",
            remedy="Pass rows with id, image, messages, box_frame, width and height.",
        ) from error
    if table:
        sink.write(table)
    else:
        partner = _partner(row) if options.partners else None
        report.pairs += partner is not None
        given = [_given(one, example, images, options, report) for one in (image, partner) if one is not None]
        sink.write(_record(example, given, options))
    report.rows[split] += 1
    report.places.update(example.kinds)
    report.clipped += example.clipped
    report.collapsed += example.collapsed
    report.deep_images += (row.get("bit_depth") or 8) > 8
    report.paired += bool(row.get("visible")) and not options.partners


def _partner(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The visible image of a row, under a name that tells it from the infrared one's."""
    visible = row.get("visible")
    if not isinstance(visible, dict) or visible.get("bytes") is None:
        return None
    return {"bytes": visible["bytes"], "path": f"visible/{visible.get('path') or row.get('id')}"}


def _given(
    image: Mapping[str, Any],
    example: Example,
    images: ImageFiles | None,
    options: ExportOptions,
    report: ExportReport,
) -> Any:  # noqa: ANN401 - a path or bytes
    if images is None:
        name = _stored_name(example.id, image["bytes"])
        return {"bytes": image["bytes"], "path": name}
    relative = images.add(image["bytes"], image["path"])
    return str(report.out / relative) if options.absolute_paths else relative


def _rounds(row: Mapping[str, Any], example: Example, data: bytes) -> dict[str, Any]:
    if (row.get("bit_depth") or 8) > 8:  # which VLMEvalKit would show as white
        try:
            image = viewable(data, max(example.width, example.height, 1), example.id).image
        except ImageError:
            raise LeftOut("image-unreadable") from None
        file = io.BytesIO()
        image.save(file, "PNG")
        data = file.getvalue()
    task = row.get("task")
    turns = [text for role, text in example.turns if role != "system"]
    rounds = list(zip(turns[::2], turns[1::2], strict=True))
    name = TASKS[task] if isinstance(task, int) else task or ""
    if name == "captioning" and len({question for question, _ in rounds}) == 1:
        rounds = rounds[:1]  # several captions of one image are asked for once
    return {"id": example.id, "task": name, "image": data, "rounds": rounds}


def _filter(row: Mapping[str, Any], options: ExportOptions) -> None:
    if options.without is not None and not options.without(row):
        raise LeftOut("filtered")


def _image(row: Mapping[str, Any]) -> dict[str, Any]:
    image = row["image"]
    if image is None or (isinstance(image, dict) and image.get("bytes") is None):
        raise LeftOut("image-missing")
    if not isinstance(image, dict):
        raise AnnotationError(
            f"the image is a {type(image).__name__}, expected its bytes",
            where=f"row {row.get('id')}",
            remedy='Cast the column first: ds.cast_column("image", datasets.Image(decode=False)).',
        )
    return {"bytes": image["bytes"], "path": image.get("path")}


def _record(example: Example, images: list[Any], options: ExportOptions) -> dict[str, Any]:
    if options.layout in ("jsonl", "json"):
        return conversation(example, images if len(images) > 1 else images[0])
    grounded = has_objects(options.style(), options.layout)
    count = len(images)
    base = swift_row(example, count) if grounded else messages_row(example, count)
    return {**base, "images": images}


def _stored_name(row_id: str, data: bytes) -> str:
    """A name without a folder: readers that find no file under it fall back to the bytes."""
    return _safe(row_id)[-100:] + image_suffix(data)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip(".") or "_"


def _dataset_info(file: str) -> dict[str, Any]:
    """The entry of LLaMA-Factory's ``dataset_info.json`` (its data/README.md, "Sharegpt Format", "OpenAI Format")."""
    return {
        "file_name": file,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Write a value as JSON."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
