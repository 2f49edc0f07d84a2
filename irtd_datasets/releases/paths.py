"""Names that come from outside, and the folder that they may not leave."""

from __future__ import annotations

import os
from pathlib import Path

from irtd_datasets.errors import UnsafePathError

__all__ = ["NAME_LIMIT", "allowed_roots", "inside", "safe_name", "within"]

NAME_LIMIT = 4096
"""Longest name in UTF-8 bytes: Linux's PATH_MAX, above which no file can be opened."""

_COMPONENT_LIMIT = 255  # NAME_MAX of every common file system, in bytes
_SHOWN = 200  # characters of a refused name that an error repeats


def safe_name(name: str) -> str:
    r"""Normalise a name from an annotation or an archive to a relative POSIX name.

    Backslashes become slashes; ``./``, doubled and trailing slashes go. A name that could lead out of the
    folder it is meant for is refused, also where its ``..`` would stay inside: no released file needs one.

    Args:
        name: The name as it was found.

    Returns:
        Components joined by ``/``, at least one, none of them ``.`` or ``..``.

    Raises:
        UnsafePathError: The name is empty, absolute, has a Windows drive, a ``..``, a NUL or a lone
            surrogate, or is longer than any file system takes (255 bytes a component, 4096 in all).

    Example:
        >>> safe_name(r".\63-FLIR_ADAS//training/FLIR_02410.jpeg")
        '63-FLIR_ADAS/training/FLIR_02410.jpeg'
        >>> safe_name("images/../../etc/passwd")
        Traceback (most recent call last):
        ...
        irtd_datasets.errors.UnsafePathError: name 'images/../../etc/passwd': it climbs with '..'
        Names must stay inside their folder: correct the name in the annotation or the archive.
    """
    # Nearly all of a release's names take this branch, which must cost well under a microsecond.
    if (
        name
        and len(name) <= _COMPONENT_LIMIT
        and name.isascii()
        and name[0] not in "./"
        and name[-1] != "/"
        and "\\" not in name
        and "//" not in name
        and "/." not in name
        and "\0" not in name
        and ":" not in name
    ):
        return name
    return _checked(name)


def _checked(name: str) -> str:
    if "\0" in name:
        raise _refused(name, "it holds a NUL byte")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _refused(name, "it is no valid Unicode (a lone surrogate)") from None
    if size > NAME_LIMIT:
        raise _refused(name, f"it has {size} bytes, at most {NAME_LIMIT} fit")
    slashed = name.replace("\\", "/")
    if slashed.startswith("/"):
        raise _refused(name, "it is absolute")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if not parts:
        raise _refused(name, "it names no file")
    if parts[0][1:2] == ":" and parts[0][0].isascii() and parts[0][0].isalpha():
        raise _refused(name, "it names a Windows drive")
    for part in parts:
        if part.rstrip(" .") == "" and part.startswith(".."):  # Windows drops trailing blanks and dots
            raise _refused(name, "it climbs with '..'")
        if len(part.encode()) > _COMPONENT_LIMIT:
            raise _refused(name, f"one of its components has more than {_COMPONENT_LIMIT} bytes")
    return "/".join(parts)


def _refused(name: str, problem: str) -> UnsafePathError:
    shown = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}... ({len(name)} characters)"
    return UnsafePathError(
        problem,
        where=f"name {shown}",
        remedy="Names must stay inside their folder: correct the name in the annotation or the archive.",
    )


def inside(root: str | os.PathLike[str], name: str) -> Path:
    """Return the real path of ``name`` below ``root``, with every symbolic link followed.

    The root itself may be a link, and a snapshot in the Hugging Face cache may link to the blobs of its own
    repository; any other link that leads out is refused. The file need not exist. The check is made once: it
    protects from a release that came with such links, not from a program that swaps them while it is read.

    Args:
        root: The folder that the name belongs to.
        name: A name from an annotation or an archive; see :func:`safe_name`.

    Raises:
        UnsafePathError: The name is unsafe, or a link on its way leads out of the root or in a circle.

    Example:
        >>> from pathlib import Path
        >>> inside("release", "a/b.jpg") == Path("release").resolve() / "a" / "b.jpg"
        True
    """
    return Path(within(allowed_roots(root), safe_name(name)))


def allowed_roots(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the real path of ``root`` and of the folders that links below it may lead to.

    The second one, when there is one, is the ``blobs`` folder of a Hugging Face cache, whose
    ``snapshots/<commit>`` folders hold nothing but links into it.

    Example:
        >>> len(allowed_roots("."))
        1
    """
    real = os.path.realpath(root)
    for snapshot in (Path(real), *Path(real).parents):
        if snapshot.parent.name == "snapshots":
            blobs = snapshot.parent.parent / "blobs"
            if blobs.is_dir():
                return real, os.path.realpath(blobs)
    return (real,)


def within(roots: tuple[str, ...], name: str) -> str:
    """Return the real path of a safe ``name`` below ``roots[0]``, which must end in one of ``roots``.

    Args:
        roots: From :func:`allowed_roots`.
        name: From :func:`safe_name`; ``""`` is the root itself.

    Raises:
        UnsafePathError: A link leads elsewhere, or in a circle.

    Example:
        >>> roots = allowed_roots(".")
        >>> within(roots, "") == roots[0]
        True
    """
    path = f"{roots[0]}{os.sep}{name}" if name else roots[0]
    real = os.path.realpath(path)
    if not any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots):
        raise UnsafePathError(
            f"a symbolic link leads out of the release, to {real!r}",
            where=path,
            remedy="Replace the link by the files, or name the folder it points to (--images NAME=PATH).",
        )
    if os.path.islink(real):  # noqa: PTH114 - realpath gives up on circles and leaves a link behind
        raise UnsafePathError("symbolic links lead in a circle", where=path, remedy="Remove the link.")
    return real
