"""The exceptions of the library.

Every exception that a user can cause says what went wrong, where, and what to do next, and inherits the built-in
that it refines, so that code that knows nothing of this library still catches it::

    IrtdDatasetsError
    ├── UnknownNameError (LookupError)          a dataset, config, task or field that does not exist
    ├── ReleaseError
    │   ├── ReleaseNotFoundError (FileNotFoundError)
    │   ├── ArchiveError (OSError)              truncated, missing part, not an archive, too large
    │   ├── ShardChangedError (OSError)         a file that was replaced while it was being read
    │   └── UnsafePathError (ValueError)        a name from outside that leaves its folder
    ├── AnnotationError (ValueError)            a record or an annotation file that cannot be read
    ├── AmbiguousImageError (LookupError)       two candidates for one image name
    ├── ImageError (ValueError)                 a file that is no usable image
    ├── BoxError (ValueError)                   coordinates that are malformed or in the wrong frame
    ├── EndpointError (ConnectionError)         a model's endpoint that refuses or does not answer
    ├── ArrayError (ValueError)                 numbers given by the caller that do not fit
    ├── StateError (ValueError)                 a saved state of other data, another order, or an incomplete one
    ├── TransformError (RuntimeError)           a function of the caller's that failed on a row
    ├── DefectError (ValueError)                a defect that the caller asked to stop at, or a wrong defect count
    ├── BuildError (OSError)                    the output cannot be written
    └── PublishError (ValueError)               a folder or a repository that is not fit for publishing
        └── HubError (OSError)                  the Hub refuses, fails or cannot be reached
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AmbiguousImageError",
    "AnnotationError",
    "ArchiveError",
    "ArrayError",
    "BoxError",
    "BuildError",
    "DefectError",
    "EndpointError",
    "HubError",
    "ImageError",
    "IrtdDatasetsError",
    "PublishError",
    "ReleaseError",
    "ReleaseNotFoundError",
    "ShardChangedError",
    "StateError",
    "TransformError",
    "UnknownNameError",
    "UnsafePathError",
    "did_you_mean",
    "summarize",
    "system_remedy",
    "without_passwords",
]

_USER = re.compile(
    r"(?<=:/)(/?)[^\s'\"/@]*(?::(?!\d*/)[^\s'\"@]*)?@"
)  # of a URL, its second slash perhaps lost
_LOGIN = re.compile(r"(?<![\w/:.])[^\s'\"/\\@:,]+:[^\s'\"/\\@:]+@(?=[\w.\[])")  # the same without a scheme
_QUERY = re.compile(
    r"([?&][^\s'\"=&]*(?:token|pass|secret|key|sig|credential|auth)[^\s'\"=&]*=)[^\s'\"&]+", re.IGNORECASE
)


class IrtdDatasetsError(Exception):
    """Base of all exceptions that this library raises on purpose; none shows the password of a URL.

    Args:
        problem: What went wrong, with the value found and the value expected.
        where: File, and record or row, in which it was found.
        remedy: What the user can do next.

    Example:
        >>> print(IrtdDatasetsError("x_max is 641", where="Detection.json record 1842", remedy="Clip it."))
        Detection.json record 1842: x_max is 641
        Clip it.
    """

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        self.problem, self.where, self.remedy = map(without_passwords, (problem, where, remedy))
        super().__init__(self.problem)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}\n{self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries; the default would call the class with `args` alone.
        return _rebuild, (type(self), self.problem, self.where, self.remedy, self.__dict__)


def without_passwords(text: str) -> str:
    """A text without users and passwords of URLs, and without the values of keys in their queries.

    Example:
        >>> without_passwords("no such file: 's3://me:secret@host/data?token=x'")
        "no such file: 's3://host/data?token=...'"
    """
    if "@" in text:
        text = _LOGIN.sub("", _USER.sub(r"\1", text))
    return _QUERY.sub(r"\1...", text) if "?" in text else text


def _rebuild(
    cls: type[IrtdDatasetsError], problem: str, where: str, remedy: str, state: dict[str, object]
) -> IrtdDatasetsError:
    error = cls.__new__(cls, problem)
    IrtdDatasetsError.__init__(error, problem, where=where, remedy=remedy)
    error.__dict__.update(state)
    return error


class UnknownNameError(IrtdDatasetsError, LookupError):
    """A dataset, config, task or field name that does not exist; the message lists those that do."""


class ReleaseError(IrtdDatasetsError):
    """Something is wrong with a release as it lies on disk."""


class ReleaseNotFoundError(ReleaseError, FileNotFoundError):
    """No release where one was expected."""


class ArchiveError(ReleaseError, OSError):
    """An archive that is truncated, incomplete, out of order, too large, or not an archive at all."""


class ShardChangedError(ReleaseError, OSError):
    """A file that is not, or no longer, the one that an index, a state or the running epoch was made for."""


class UnsafePathError(ReleaseError, ValueError):
    """A name from an annotation or an archive that would leave the folder it belongs to."""


class AnnotationError(IrtdDatasetsError, ValueError):
    """An annotation file or one of its records that cannot be read."""


class AmbiguousImageError(IrtdDatasetsError, LookupError):
    """Two candidates for one image name."""


class ImageError(IrtdDatasetsError, ValueError):
    """A file that cannot be used as an image.

    Args:
        problem: What is wrong with it.
        code: Short reason used in the ledger, such as ``image-empty`` or ``image-truncated``.
        where: Name of the image.
        remedy: What to do next.
    """

    def __init__(
        self, problem: str, *, code: str = "image-unreadable", where: str = "", remedy: str = ""
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.code = code


class BoxError(IrtdDatasetsError, ValueError):
    """Coordinates that are malformed, degenerate or in another frame than declared."""


class ArrayError(IrtdDatasetsError, ValueError):
    """Numbers given by the caller whose shape or values do not fit what they are for."""


class StateError(IrtdDatasetsError, ValueError):
    """A saved state that does not belong to these rows in this order, or of which a part is missing."""


class TransformError(IrtdDatasetsError, RuntimeError):
    """A function of the caller's that raised an error on a row, or gave no row; the error is its ``__cause__``."""


class DefectError(IrtdDatasetsError, ValueError):
    """A defect that the caller asked to stop at, or a count that differs from the table of known defects."""


class BuildError(IrtdDatasetsError, OSError):
    """The output of a build cannot be written or does not fit what stands there."""


class EndpointError(IrtdDatasetsError, ConnectionError):
    """An endpoint of a model that refuses, cannot be reached, or answers with something else.

    Args:
        problem: What it did.
        where: Model and address.
        remedy: What to do next.
        again: Whether the same question may be answered later.
        wait: Seconds that the server asked to wait.
        fatal: Whether every other question would fail in the same way.
        status: HTTP status, where one came back.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str = "",
        remedy: str = "",
        again: bool = False,
        wait: float | None = None,
        fatal: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.again = again
        self.status = status
        self.wait = wait
        self.fatal = fatal


class PublishError(IrtdDatasetsError, ValueError):
    """A dataset folder, or a repository as it is on the Hub, that cannot be published or published to."""


class HubError(PublishError, OSError):
    """The Hub refuses, fails, or cannot be reached.

    Args:
        problem: What was asked for and what came back, without any secret.
        status: HTTP status; None where no answer came.
        where: The repository.
        remedy: What to do next.
    """

    def __init__(self, problem: str, *, status: int | None = None, where: str = "", remedy: str = "") -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.status = status


_SYSTEM = {
    errno.EMFILE: "Raise the limit of open files (`ulimit -n 4096`), or use fewer workers.",
    errno.ENFILE: "Raise the limit of open files (`ulimit -n 4096`), or use fewer workers.",
    errno.ENOSPC: "Free some space, or write to another disk.",
    getattr(errno, "EDQUOT", -1): "The quota is used up: free some space, or write to another disk.",
    errno.EROFS: "The file system is read-only: write to another place.",
    errno.EACCES: "Change the permissions of this path, or take another place.",
    errno.EPERM: "Change the permissions of this path, or take another place.",
    errno.ENOENT: "Check the path: there is nothing there.",
    errno.ENOTDIR: "Check the path: a part of it is a file.",
    errno.EISDIR: "Name a file: this is a folder.",
    errno.ENAMETOOLONG: "Use a shorter name or path.",
    errno.EIO: "The disk or its network share fails: look at the system's log, and copy the data to another disk.",
}
_NETWORK = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT})


def system_remedy(error: OSError, otherwise: str) -> str:
    """What to do when the operating system refuses something, by the reason that it gives; ``otherwise`` without one.

    Example:
        >>> system_remedy(OSError(errno.ENOSPC, "No space left on device"), "Check the path.")
        'Free some space, or write to another disk.'
        >>> system_remedy(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Check the path.")
        'Check the network, the address and any proxy, and start the same command again.'
    """
    if isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _NETWORK:
        return "Check the network, the address and any proxy, and start the same command again."
    return _SYSTEM.get(error.errno or 0, otherwise)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the known name that is most like one that is not known; empty where none is like it.

    Case, and what stands between words, count for nothing.

    Example:
        >>> did_you_mean("instruct-Grounding", ["pretrain", "instruct-grounding"])
        "Did you mean 'instruct-grounding'? "
        >>> did_you_mean("mmrs1m", ["irtd", "mmrs_1m"]), did_you_mean("coco", ["irtd", "mmrs_1m"])
        ("Did you mean 'mmrs_1m'? ", '')
    """
    import difflib

    def plain(text: str) -> str:
        return "".join(filter(str.isalnum, text.lower()))

    by_plain: dict[str, str] = {}
    for one in known:
        by_plain.setdefault(plain(one), one)
    found = difflib.get_close_matches(plain(name), by_plain, n=1, cutoff=0.6)
    return f"Did you mean {by_plain[found[0]]!r}? " if found else ""


def summarize(lines: Iterable[str], limit: int = 10) -> str:
    r"""Join messages, one a line, and say how many were left out after ``limit``.

    Example:
        >>> print(summarize(["a", "b", "c"], limit=2))
        a
        b
        ... and 1 more
    """
    items = list(lines)
    shown = items[:limit]
    if len(items) > limit:
        shown.append(f"... and {len(items) - limit} more")
    return "\n".join(shown)
