"""Damages a sample release in one known way, to try what a loader makes of it.

Only folders with a ``SAMPLE_RELEASE.txt`` are touched, so that a mistaken path cannot harm a real release.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from irtd_datasets.errors import ReleaseNotFoundError, UnknownNameError
from irtd_datasets.testing.archives import read_members, replace_file, write_zip
from irtd_datasets.testing.irtd_text import PREFIX
from irtd_datasets.testing.samples import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Damage", "DamageKind", "damage"]


class DamageKind(str, Enum):
    """The ways in which `damage` can spoil a sample release."""

    TRUNCATED_ZIP = "truncated-zip"
    """``json_sft.zip`` ends in its middle."""
    ZIP_BOMB = "zip-bomb"
    """``json_sft/Location.json`` inflates from about 0.5 MB to 512 MiB of blanks."""
    HTML_ZIP = "html-zip"
    """``json_sft.zip`` is the error page of a download site."""
    TRUNCATED_LAST_PART = "truncated-last-part"
    """The last part of the caption archive lacks its second half."""
    MISSING_PART = "missing-part"
    """A middle part of the caption archive is gone."""
    SWAPPED_PARTS = "swapped-parts"
    """Two middle parts of the caption archive have each other's name."""
    JSON_CUT = "json-cut"
    """``Location.json`` ends in the middle of a record."""
    EMPTY_FILE = "empty-file"
    """``Recognition.json`` has no byte."""
    UNKNOWN_TASK_FILE = "unknown-task-file"
    """``Tracking.json`` stands beside the task files."""
    WRONG_TYPES = "wrong-types"
    """Four records of ``Location.json`` have an id, image, conversation or value of another type."""
    NO_IMAGE = "no-image"
    """The second record of ``Location.json`` has an empty image list."""
    TWO_IMAGES = "two-images"
    """The second record of ``Location.json`` has two images."""
    DUPLICATE_IDS = "duplicate-ids"
    """The second record of ``Location.json`` has the id of the first."""
    DOTDOT_PATH = "dotdot-path"
    """The image of the second record of ``Location.json`` climbs out of the release with ``..``."""
    FOREIGN_PATH = "foreign-path"
    """The image of the second record of ``Location.json`` is an absolute path without the authors' prefix."""
    SYMLINK = "symlink"
    """An image is a symbolic link to a good image outside the release, in ``<folder>-outside``."""
    HTML_IMAGE = "html-image"
    """An image is the error page of a download site."""
    ZERO_BYTE_IMAGE = "zero-byte-image"
    """An image has no byte."""
    TRUNCATED_IMAGE = "truncated-image"
    """An image ends in its middle."""
    HUGE_IMAGE = "huge-image"
    """The header of an image declares 65,000 x 65,000 pixels."""
    MISSING_IMAGE = "missing-image"
    """An image is gone."""
    CMYK_IMAGE = "cmyk-image"
    """An image is a CMYK JPEG."""
    PALETTE_IMAGE = "palette-image"
    """An image is a palette PNG (same stem, ``.png``)."""
    GREY16_IMAGE = "grey16-image"
    """An image is a 16-bit grey PNG (same stem, ``.png``) with values above 255."""
    WRONG_EXTENSION = "wrong-extension"
    """An image is a PNG under the name of a JPEG."""
    MPO_IMAGE = "mpo-image"
    """An image is an MPO container of two frames; the first is the image."""
    EXIF_1 = "exif-1"
    """An image is stored turned, with the EXIF orientation that makes it upright; 1 to 8."""
    EXIF_2 = "exif-2"
    EXIF_3 = "exif-3"
    EXIF_4 = "exif-4"
    EXIF_5 = "exif-5"
    EXIF_6 = "exif-6"
    EXIF_7 = "exif-7"
    EXIF_8 = "exif-8"


@dataclass(frozen=True, slots=True)
class Damage:
    """What was damaged.

    Args:
        kind: The way.
        path: File that was changed, made or removed, relative to the release; absolute if elsewhere.
        records: ``(file, id)`` of the records touched, in released order, ids as they were before. Empty when
            a whole file or archive is.
        image: Name of the image, as the records say it.
        detail: What exactly was done, in a few words.
    """

    kind: DamageKind
    path: str
    records: tuple[tuple[str, str], ...] = ()
    image: str | None = None
    detail: str = ""


_HTML = (
    b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head><body><p>Too many users have viewed or "
    b"downloaded this file recently. Please try again later.</p></body></html>\n"
)
_BOMB_SIZE = 512 << 20
_LOCATION = "json_sft/Location.json"

_Record = dict[str, Any]


def damage(
    folder: str | Path,
    kind: DamageKind | str,
    *,
    image: str | None = None,
    image_folder: str | Path | None = None,
) -> Damage:
    """Spoil a sample release in one way, in place.

    Args:
        folder: A folder written by `irtd_datasets.testing.write_sample_release`, in either form.
        kind: One of `DamageKind` or its value.
        image: Name of the image to spoil, as the records say it; by default that of Location record 0.
        image_folder: The folder below which the image directories stand, if not the release.

    Returns:
        What was damaged, with the file and the records it concerns.

    Raises:
        ReleaseNotFoundError: The folder is no sample release, or it lacks what this kind damages.
        UnknownNameError: There is no such kind.

    Example:
        >>> import tempfile
        >>> from irtd_datasets.testing import write_sample_release
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sample = write_sample_release("irtd", folder, rows=60, images=False, captions=0)
        ...     damage(folder, "two-images").records
        (('json_sft/Location.json', '1'),)
    """
    folder = Path(folder)
    try:
        kind = DamageKind(kind)
    except ValueError:
        known = ", ".join(known.value for known in DamageKind)
        raise UnknownNameError(f"unknown kind of damage {kind!r}", remedy=f"Kinds: {known}.") from None
    if not (folder / MARKER).is_file():
        raise ReleaseNotFoundError(
            f"there is no {MARKER}, so this is no sample release and is left alone",
            where=str(folder),
            remedy="Write one with irtd_datasets.testing.write_sample_release.",
        )
    if kind in _FILE_DAMAGES:
        return _FILE_DAMAGES[kind](folder, kind)
    if kind in _RECORD_DAMAGES:
        return _damage_records(folder, kind)
    root = folder if image_folder is None else Path(image_folder)
    return _damage_image(folder, root, kind, image)


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise ReleaseNotFoundError(
            f"this sample has no {what}", where=str(path), remedy="Write a sample that has it."
        )
    return path


# -------------------------------------------------------------------------------------------- whole files


def _truncated_zip(folder: Path, kind: DamageKind) -> Damage:
    path = _existing(folder / "json_sft.zip", "json_sft.zip; it needs form='zip'")
    content = path.read_bytes()
    replace_file(path, content[: len(content) * 3 // 5])
    return Damage(kind, path.name, detail=f"cut from {len(content)} to {len(content) * 3 // 5} bytes")


def _html_zip(folder: Path, kind: DamageKind) -> Damage:
    path = _existing(folder / "json_sft.zip", "json_sft.zip; it needs form='zip'")
    replace_file(path, _HTML)
    return Damage(kind, path.name, detail="replaced by an HTML page")


def _zip_bomb(folder: Path, kind: DamageKind) -> Damage:
    path = _existing(folder / "json_sft.zip", "json_sft.zip; it needs form='zip'")
    members = read_members(path)
    blanks = b" " * (1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            if name != _LOCATION:
                archive.writestr(zipfile.ZipInfo(name, (2025, 1, 7, 5, 40, 0)), content)
        entry = zipfile.ZipInfo(_LOCATION, (2025, 1, 7, 5, 40, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.file_size = _BOMB_SIZE
        with archive.open(entry, "w") as member:
            for _ in range(_BOMB_SIZE // len(blanks)):
                member.write(blanks)
    return Damage(kind, path.name, detail=f"{_LOCATION} inflates to {_BOMB_SIZE} bytes")


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("IR-TD-version*.tar.gz*"))
    if len(parts) < 4:
        raise ReleaseNotFoundError(
            f"this sample has {len(parts)} parts of a caption archive, four or more are needed",
            where=str(folder),
            remedy="Write it with form='zip', captions and images.",
        )
    return parts


def _truncated_last_part(folder: Path, kind: DamageKind) -> Damage:
    last = _parts(folder)[-1]
    content = last.read_bytes()
    replace_file(last, content[: len(content) // 2])
    return Damage(kind, last.name, detail=f"cut from {len(content)} to {len(content) // 2} bytes")


def _missing_part(folder: Path, kind: DamageKind) -> Damage:
    parts = _parts(folder)
    gone = parts[len(parts) // 2]
    gone.unlink()
    return Damage(kind, gone.name, detail="removed")


def _swapped_parts(folder: Path, kind: DamageKind) -> Damage:
    first, second = _parts(folder)[1:3]
    contents = first.read_bytes(), second.read_bytes()
    replace_file(first, contents[1])
    replace_file(second, contents[0])
    return Damage(kind, first.name, detail=f"swapped with {second.name}")


def _json_cut(folder: Path, kind: DamageKind) -> Damage:
    _edit_file(
        folder, _LOCATION, lambda content: content[: content.index(b'"value"', len(content) // 2) + 12]
    )
    return Damage(kind, _LOCATION, detail="ends inside a string in its second half")


def _empty_file(folder: Path, kind: DamageKind) -> Damage:
    _edit_file(folder, "json_sft/Recognition.json", lambda _: b"")
    return Damage(kind, "json_sft/Recognition.json", detail="0 bytes")


def _unknown_task_file(folder: Path, kind: DamageKind) -> Damage:
    name = "json_sft/Tracking.json"
    record = {"id": "0", "image": [PREFIX + "6-LSOTB-TIR/a.jpg"], "conversations": []}
    _edit_file(folder, name, lambda _: json.dumps([record], indent=4).encode(), new=True)
    return Damage(kind, name, detail="added, with one record")


_FILE_DAMAGES: dict[DamageKind, Callable[[Path, DamageKind], Damage]] = {
    DamageKind.TRUNCATED_ZIP: _truncated_zip,
    DamageKind.ZIP_BOMB: _zip_bomb,
    DamageKind.HTML_ZIP: _html_zip,
    DamageKind.TRUNCATED_LAST_PART: _truncated_last_part,
    DamageKind.MISSING_PART: _missing_part,
    DamageKind.SWAPPED_PARTS: _swapped_parts,
    DamageKind.JSON_CUT: _json_cut,
    DamageKind.EMPTY_FILE: _empty_file,
    DamageKind.UNKNOWN_TASK_FILE: _unknown_task_file,
}


def _edit_file(folder: Path, name: str, edit: Callable[[bytes], bytes], *, new: bool = False) -> None:
    """Change one task file, in the zip or in the folder, whichever the sample has."""
    archive = folder / "json_sft.zip"
    if not archive.is_file():
        path = folder / name
        replace_file(path, edit(b"" if new else _existing(path, name).read_bytes()))
        return
    members = dict(read_members(archive))
    members[name] = edit(b"" if new else members[name])
    temporary = archive.with_name(".json_sft.writing")
    write_zip(temporary, members.items(), folders=["json_sft"])
    temporary.replace(archive)


def _read_file(folder: Path, name: str) -> bytes:
    archive = folder / "json_sft.zip"
    if archive.is_file():
        return read_members(archive)[name]
    return _existing(folder / name, name).read_bytes()


def _task_files(folder: Path) -> dict[str, list[_Record]]:
    """Return the records of all task files of a sample, ``Detection.json`` repaired."""
    archive = folder / "json_sft.zip"
    if archive.is_file():
        contents = dict(read_members(archive))
    else:
        contents = {
            f"json_sft/{path.name}": path.read_bytes()
            for path in sorted((folder / "json_sft").glob("*.json"))
        }
    for path in sorted((folder / "benchmark").glob("*.json")):
        contents[f"benchmark/{path.name}"] = path.read_bytes()
    return {name: _records(content) for name, content in contents.items()}


def _records(content: bytes) -> list[_Record]:
    stripped = content.decode().strip()
    if not stripped.startswith("["):
        stripped = f"[{stripped.rstrip(',')}]"
    records: list[_Record] = json.loads(stripped)
    return records


# ------------------------------------------------------------------------------------------------ records


def _damage_records(folder: Path, kind: DamageKind) -> Damage:
    records = _records(_read_file(folder, _LOCATION))
    changes = _RECORD_DAMAGES[kind]
    touched = tuple((_LOCATION, str(records[index]["id"])) for index in range(1, 1 + len(changes)))
    image = records[1]["image"][0].removeprefix(PREFIX)
    for index, change in enumerate(changes, start=1):
        change(records[index])
    _edit_file(folder, _LOCATION, lambda _: json.dumps(records, indent=4).encode())
    return Damage(kind, _LOCATION, touched, image, f"now {json.dumps(records[1])[:160]}")


def _set(key: str, value: object) -> Callable[[_Record], None]:
    def change(record: _Record) -> None:
        record[key] = value

    return change


def _retype_id(record: _Record) -> None:
    record["id"] = int(record["id"])


def _retype_image(record: _Record) -> None:
    record["image"] = record["image"][0]


def _retype_conversations(record: _Record) -> None:
    record["conversations"] = {turn["from"]: turn["value"] for turn in record["conversations"]}


def _retype_value(record: _Record) -> None:
    record["conversations"][1]["value"] = None


def _second_image(record: _Record) -> None:
    record["image"] = record["image"] * 2


_RECORD_DAMAGES: dict[DamageKind, tuple[Callable[[_Record], None], ...]] = {
    DamageKind.WRONG_TYPES: (_retype_id, _retype_image, _retype_conversations, _retype_value),
    DamageKind.NO_IMAGE: (_set("image", []),),
    DamageKind.TWO_IMAGES: (_second_image,),
    DamageKind.DUPLICATE_IDS: (_set("id", "0"),),
    DamageKind.DOTDOT_PATH: (_set("image", [PREFIX + "63-FLIR_ADAS/../../../secret/FLIR_00001.jpeg"]),),
    DamageKind.FOREIGN_PATH: (_set("image", ["/home/someone/images/FLIR_00001.jpeg"]),),
}


# ----------------------------------------------------------------------------------------------- images

# How an upright image is stored, so that a reader who applies the orientation sees it upright again.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTATION = 0x0112


def _damage_image(folder: Path, root: Path, kind: DamageKind, image: str | None) -> Damage:
    files = _task_files(folder)
    name = image or files[_LOCATION][0]["image"][0].removeprefix(PREFIX)
    touched = tuple(
        (file, record["id"])
        for file, records in files.items()
        for record in records
        if record["image"] == [PREFIX + name]
    )
    path = _image_path(root, name)
    if not touched or path is None:
        raise ReleaseNotFoundError(
            f"there is no image {name!r}" if touched else f"no record is about an image {name!r}",
            where=str(root),
            remedy="Give image= the name of an image that is a file of its own, not inside an archive.",
        )
    target, detail = _spoil(path, kind, folder)
    shown = target.relative_to(folder).as_posix() if target.is_relative_to(folder) else str(target)
    return Damage(kind, shown, touched, name, detail)


def _image_path(root: Path, name: str) -> Path | None:
    """Find the file of an image in the layout that the sample has."""
    folder, _, stem = name.rpartition("/")
    stem = stem.rpartition(".")[0]
    folders = (
        folder,
        folder.replace("training/PreviewData", "train/thermal_8_bit"),
        folder.replace("4-VEDAI", "14-VisDrone-DroneVehicle"),
    )
    for candidate in folders:
        for other in (stem, stem.replace("_Grey", "_T")):
            for extension in (".jpeg", ".jpg", ".png"):
                path = root / candidate / (other + extension)
                if path.is_file():
                    return path
    return None


def _spoil(path: Path, kind: DamageKind, folder: Path) -> tuple[Path, str]:
    """Change one image; return the file that now stands for it and a remark."""
    content = path.read_bytes()
    if kind is DamageKind.MISSING_IMAGE:
        path.unlink()
        return path, "removed"
    if kind is DamageKind.SYMLINK:
        outside = folder.absolute().with_name(folder.absolute().name + "-outside") / path.name
        outside.parent.mkdir(exist_ok=True)
        shutil.move(path, outside)
        path.symlink_to(outside)
        return path, f"links to {outside.name} outside the release"
    if kind in _RAW_IMAGES:
        spoilt, detail = _RAW_IMAGES[kind](content)
        replace_file(path, spoilt)
        return path, detail
    image = Image.open(io.BytesIO(content))
    image.load()
    suffix, spoilt, detail = _recoded(image, kind)
    target = path.with_suffix(suffix or path.suffix)
    if target != path:
        path.unlink()
    replace_file(target, spoilt)
    return target, detail


def _declare_huge(content: bytes) -> tuple[bytes, str]:
    """Write 65,000 x 65,000 into the header of a JPEG or PNG."""
    if content.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", 65000, 65000) + content[24:29]
        from zlib import crc32

        return content[:12] + header + struct.pack(">I", crc32(header)) + content[
            33:
        ], "declares 65000x65000 pixels"
    position = 2
    while content[position + 1] not in {0xC0, 0xC1, 0xC2}:  # start of frame: baseline, extended, progressive
        position += 2 + struct.unpack(">H", content[position + 2 : position + 4])[0]
    size = struct.pack(">HH", 65000, 65000)
    return content[: position + 5] + size + content[position + 9 :], "declares 65000x65000 pixels"


_RAW_IMAGES: dict[DamageKind, Callable[[bytes], tuple[bytes, str]]] = {
    DamageKind.HTML_IMAGE: lambda _: (_HTML, "replaced by an HTML page"),
    DamageKind.ZERO_BYTE_IMAGE: lambda _: (b"", "0 bytes"),
    DamageKind.TRUNCATED_IMAGE: lambda content: (
        content[: len(content) // 2],
        f"cut to {len(content) // 2} bytes",
    ),
    DamageKind.HUGE_IMAGE: _declare_huge,
}


def _recoded(image: Image.Image, kind: DamageKind) -> tuple[str, bytes, str]:
    """Return extension (empty for the old one), bytes and a remark of an image stored in another way."""
    target = io.BytesIO()
    if kind is DamageKind.CMYK_IMAGE:
        image.convert("RGB").convert("CMYK").save(target, "JPEG", quality=90)
        return "", target.getvalue(), "CMYK JPEG"
    if kind is DamageKind.PALETTE_IMAGE:
        image.convert("L").convert("P").save(target, "PNG")
        return ".png", target.getvalue(), "palette PNG"
    if kind is DamageKind.GREY16_IMAGE:
        counts = (
            np.asarray(image.convert("L")).astype(np.uint16) * 24 + 7000
        )  # raw counts of a thermal camera
        Image.fromarray(counts).save(target, "PNG")
        return ".png", target.getvalue(), "16-bit grey PNG, 7000 + 24 times the grey level"
    if kind is DamageKind.WRONG_EXTENSION:
        image.save(target, "PNG", compress_level=1)
        return "", target.getvalue(), "PNG bytes under the old name"
    if kind is DamageKind.MPO_IMAGE:
        other = image.convert("RGB").resize((320, 256))
        image.convert("RGB").save(target, "MPO", save_all=True, append_images=[other], quality=90)
        return "", target.getvalue(), "MPO of two frames"
    orientation = int(kind.value.rpartition("-")[2])
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    stored = image.transpose(_STORED[orientation]) if orientation in _STORED else image
    stored.save(target, "JPEG", quality=95, exif=exif)
    return "", target.getvalue(), f"stored {stored.width}x{stored.height} with EXIF orientation {orientation}"
