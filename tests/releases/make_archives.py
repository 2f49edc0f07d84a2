"""Small archives with known content, and with known damage."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONTENT = {
    "readme.txt": b"read me",
    "a/1.jpg": random.Random(1).randbytes(700),
    "a/2.jpg": b"",
    "a/b/3.jpg": random.Random(2).randbytes(5000),
    "a.txt": b"sorts between a/ and b",
    "红外/图 1.jpg": "图".encode(),
}


def write_folder(folder: Path, content: Mapping[str, bytes] = CONTENT) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path: Path, content: Mapping[str, bytes] = CONTENT, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tar_bytes(
    members: Iterable[tuple[str, bytes] | tarfile.TarInfo], tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def write_tar(path: Path, content: Mapping[str, bytes] = CONTENT) -> Path:
    path.write_bytes(tar_bytes(content.items()))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def central_record(data: bytes, name: str) -> int:
    """Return the place of a member's record in the directory of a zip."""
    # Looked for from record to record: the name alone may also stand in a time or a checksum.
    at = data.index(b"PK\x01\x02")
    while data[at + 46 : at + 46 + int.from_bytes(data[at + 28 : at + 30], "little")] != name.encode():
        at = data.index(b"PK\x01\x02", at + 4)
    return at


def patch(path: Path, offset: int, layout: str, *values: object) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, offset, *values)
    path.write_bytes(bytes(data))
