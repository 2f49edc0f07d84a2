"""What a file is, by its first bytes; its extension proves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irtd_datasets.errors import ArchiveError, ReleaseNotFoundError
from irtd_datasets.releases.places import RemotePlace, as_place
from irtd_datasets.releases.tar_headers import is_tar_header

if TYPE_CHECKING:
    import os

    from irtd_datasets.releases.places import Place

__all__ = ["HEAD_SIZE", "no_archive", "read_head", "sniff"]

HEAD_SIZE = 1024
"""Bytes that tell all kinds apart: a tar header has 512, web pages may begin with blank lines."""

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # a zip without members
    (b"PK\x07\x08", "zip"),  # the first volume of a split zip
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"version https://git-lfs.github.com/spec/", "lfs-pointer"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<?xml version")
_JSON_ERRORS = (b'{"err', b'{"message"', b'{"code"', b'{"detail"', b'{"status"')

_WRONG = {
    "empty": ("it is empty (0 bytes)", "Download it again: the transfer ended before the first byte."),
    "html": (
        "a web page, not an archive: the download host answered with HTML",
        "Open it in a browser to see what the host asks for (a login, a quota), then download it again.",
    ),
    "json-error": (
        "a JSON message, not an archive: the download host answered with an error",
        "Open it as text to see what the host says, then download it again.",
    ),
    "lfs-pointer": (
        "a git-lfs pointer, not the file it stands for",
        "Fetch the content: run `git lfs pull` in the clone, or download the file from the web page.",
    ),
    "bzip2": ("bzip2-compressed, which is not read", "Decompress it once: `bunzip2 FILE`."),
    "xz": ("xz-compressed, which is not read", "Decompress it once: `unxz FILE`."),
    "zstd": ("zstd-compressed, which is not read", "Decompress it once: `unzstd FILE`."),
    "7z": ("a 7z archive, which is not read", "Unpack it once: `7z x FILE`, then pass the folder."),
    "rar": ("a rar archive, which is not read", "Unpack it once: `unrar x FILE`, then pass the folder."),
    "zeros": (
        "it begins with zero bytes only",
        "Download it again: the space was reserved and the content never arrived.",
    ),
}


def sniff(head: bytes) -> str:
    r"""Return the kind of a file from its first bytes.

    Args:
        head: The first :data:`HEAD_SIZE` bytes, or the whole of a shorter file.

    Returns:
        ``zip``, ``gzip``, ``tar``, ``bzip2``, ``xz``, ``zstd``, ``7z``, ``rar``, ``html``, ``json-error``,
        ``lfs-pointer``, ``zeros``, ``empty`` or ``unknown``.

    Example:
        >>> sniff(b"\x1f\x8b\x08"), sniff(b"<!DOCTYPE html><title>Quota exceeded</title>")
        ('gzip', 'html')
    """
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if is_tar_header(head[:512]):
        return "tar"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if text.startswith(_HTML):
        return "html"
    if text.startswith(_JSON_ERRORS):
        return "json-error"
    if len(head) >= 512 and not head.strip(b"\0"):
        return "zeros"
    return "unknown"


def read_head(path: str | os.PathLike[str] | Place) -> bytes:
    """Return the first :data:`HEAD_SIZE` bytes of a file.

    Raises:
        ReleaseNotFoundError: There is no such file.
        ArchiveError: It cannot be read, or is no regular file.

    Example:
        >>> len(read_head(__file__))
        1024
    """
    path = as_place(path)
    try:
        if not path.exists():
            raise ReleaseNotFoundError("no such file", where=str(path), remedy="Check the path.")
        if not path.is_file():  # a pipe would block
            raise ArchiveError(
                "neither a file nor a folder", where=str(path), remedy="Pass an archive or a folder."
            )
        if isinstance(path, RemotePlace):
            return path.head(HEAD_SIZE)
        with path.open("rb") as file:
            return file.read(HEAD_SIZE)
    except OSError as error:
        if isinstance(error, (ArchiveError, ReleaseNotFoundError)):
            raise
        raise ArchiveError(f"cannot be read: {error.strerror}", where=str(path)) from error


def no_archive(kind: str, where: str, expected: str) -> ArchiveError:
    """Return the error for a file of a kind that cannot be used where ``expected`` was wanted.

    Example:
        >>> print(no_archive("html", "json_sft.zip", "a zip"))
        json_sft.zip: a web page, not an archive: the download host answered with HTML
        Open it in a browser to see what the host asks for (a login, a quota), then download it again.
    """
    problem, remedy = _WRONG.get(kind, (f"not an archive: expected {expected}", "Check what was downloaded."))
    if kind in ("zip", "tar", "gzip"):
        problem, remedy = f"a {kind} file, expected {expected}", "Pass the file that was meant."
    return ArchiveError(problem, where=where, remedy=remedy)
