"""Where a dataset folder lies, and reading byte ranges of its files: a disk, the Hub, a web server, a bucket.

Everything that reads for training goes through the two classes here. They retry what passes (a stalled or cut
connection, too many requests, a server that restarts), refuse what does not (a file that is gone or was replaced, a
token that is no longer valid), and never return fewer bytes than were asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import urllib.parse
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from irtd_datasets.errors import (
    AnnotationError,
    IrtdDatasetsError,
    ReleaseError,
    ReleaseNotFoundError,
    ShardChangedError,
    UnknownNameError,
)
from irtd_datasets.remote import Line, Retry, Transfer, crew, error_status, joined, line_to, passes
from irtd_datasets.remote.answers import chain
from irtd_datasets.remote.urls import full_url, is_url, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from irtd_datasets.remote import Crew
    from irtd_datasets.remote.arriving import Arriving

__all__ = ["FileFacts", "LocalStorage", "RemoteStorage", "Storage", "open_storage", "readers", "split_name"]

GAP = 256 << 10
"""Ranges of remote files that are further apart are never fetched by one request; see `joined`."""

BEGIN = 12 << 10
"""As much of a file as comes in one round trip over a new connection: no more is asked for where that is enough."""

LEAST_RATE = 4096
"""Bytes a second; an answer that comes slower for as long as a server may be silent is asked for anew."""

LONGEST_ANSWER = 900.0
"""Seconds that one answer may take."""

LONGEST_OUTAGE = 120.0
"""Seconds for which a server that does not answer at all is asked again; the option ``outage`` says otherwise."""

_READERS = 20  # requests of a process at a time: httpx keeps so many connections
_RENEWALS = 3
_LOOKS = 3
_NO_HOST = 10.0  # seconds for which a host that nobody knows is looked for
_T = TypeVar("_T")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?\Z")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What identifies a file as it is now.

    Attributes:
        name: Relative to the dataset folder, with slashes.
        size: Its bytes.
        sha256: If the place where it lies tells; else empty.
        token: Changes when the file is replaced: ``ETag`` of a web server or bucket, time and inode on a disk.
    """

    name: str
    size: int
    sha256: str = ""
    token: str = ""


def split_name(name: str) -> tuple[str, str | None]:
    """Divide what a user writes into the place of a folder and the config.

    Args:
        name: ``./irtd``, ``./irtd:instruct``, ``you/irtd:instruct``, ``you/irtd@v1.0``, ``s3://bucket/irtd:instruct``.

    Example:
        >>> split_name("./irtd:instruct"), split_name("http://localhost:8000/irtd"), split_name("you/irtd@v1:all")
        (('./irtd', 'instruct'), ('http://localhost:8000/irtd', None), ('you/irtd@v1', 'all'))
    """
    shown, secrets = without_secrets(name) if is_url(name) else (name, {})
    scheme, separator, rest = shown.rpartition("://")
    place, colon, config = rest.rpartition(":")
    drive = not separator and len(place) == 1 and config[:1] in ("\\", "/")
    port = separator and "/" not in place and config.partition("/")[0].isdigit()
    address = separator and place.startswith("[") and config.endswith("]")
    if not colon or not place or "/" in config or "\\" in config or drive or port or address:
        return name, None
    return full_url(f"{scheme}{separator}{place}", secrets), config


def open_storage(place: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Storage:
    """Find out where a dataset folder lies.

    Args:
        place: A folder, a URL that fsspec knows, or the name of a dataset repository on the Hub, with ``@revision``.
        options: For the file system of a URL; ``token``, ``endpoint`` and ``revision`` for the Hub.

    Raises:
        ReleaseNotFoundError: There is no such folder, and the name cannot be one of the Hub.
    """
    text = os.fspath(place)
    if "://" not in text:
        path = local_folder(text)
        if path.is_dir():
            return LocalStorage(str(path.resolve()))
        if not _HUB_NAME.match(text) or text.startswith(("./", "../", ".\\", "~")) or path.is_absolute():
            raise ReleaseNotFoundError(
                "there is no such folder",
                where=text,
                remedy="Name a dataset folder, a repository on the Hub (owner/name), or a URL.",
            )
        text = f"hf://datasets/{text}"
    if text.startswith("file://"):
        path = Path(text.removeprefix("file://"))
        if not path.is_dir():  # a URL by the rules, in which a space is %20
            path = Path(urllib.parse.unquote(str(path)))
        return LocalStorage(str(path.resolve()))
    if text.startswith("hf://"):
        from irtd_datasets.training.hub_storage import HubStorage

        return HubStorage.open(text, dict(options or {}))
    if text.startswith(("http://", "https://")):
        from irtd_datasets.training.http_storage import HttpStorage

        return HttpStorage(text.rstrip("/"), dict(options or {}))
    return RemoteStorage(text.rstrip("/"), dict(options or {}))


def readers() -> Crew:
    """The threads of this process that read ranges; what one of them does waits for no other of them."""
    return crew("read", _READERS)


def local_folder(text: str) -> Path:
    """A path as it is written, if something lies there; else with ``~`` as a home."""
    path = Path(text)
    if not path.exists():
        with contextlib.suppress(RuntimeError):  # there is no such user
            return path.expanduser()
    return path


class Storage(ABC):
    """A dataset folder somewhere; can be pickled, and is opened anew in each process."""

    place: str
    remote = True
    compares = False
    """Whether each answer is compared with what the file was when it was first seen."""

    @abstractmethod
    def files(self) -> dict[str, FileFacts]:
        """All files below the folder, by name."""

    @abstractmethod
    def facts(self, name: str) -> FileFacts:
        """What identifies a file now."""

    @abstractmethod
    def read(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
        *,
        size: int | None = None,
        into: Arriving | None = None,
    ) -> bytes | memoryview:
        """Read a part of a file; ``size`` is that of the whole file, if it is known.

        From afar, the bytes can be taken out of ``into`` while they come.
        """

    def where(self, name: str) -> str:
        """The file as a user would write it."""
        return f"{self.place}/{name}"

    def opening(self, limits: Mapping[str, int]) -> tuple[dict[str, FileFacts], dict[str, bytes]]:
        """The listing, and some small files of the folder, all at once; those that are not there are left out.

        Args:
            limits: Most bytes of each of the small files that are read.
        """
        files = self.files()
        return files, {
            name: bytes(self.read(name, 0, min(files[name].size, limit)))
            for name, limit in limits.items()
            if name in files
        }

    def read_start(self, name: str, limit: int) -> bytes:
        """A file from its beginning, or so many bytes of it."""
        return bytes(self.read(name)[:limit])

    def prime(self, names: Sequence[str]) -> None:  # noqa: B027 - most have nothing to do
        """Begin what has to be done before some files are read, without waiting for it."""

    def read_ranges(
        self,
        name: str,
        ranges: Sequence[tuple[int, int]],
        size: int,
        walls: Sequence[int] = (),
    ) -> Sequence[bytes | memoryview]:
        """Read several parts of a file at once.

        Neighbours are fetched by one request, the requests side by side, and no byte is asked for twice.

        Args:
            name: The file.
            ranges: First byte and the byte behind the last of each part, in any order.
            size: Bytes of the whole file.
            walls: Places in order that are not fetched between two parts; see `joined`.
        """
        return read_many([(self, name, ranges, size, walls)])[0]


def read_many(
    asked: Sequence[tuple[Storage, str, Sequence[tuple[int, int]], int, Sequence[int]]],
) -> list[list[bytes | memoryview]]:
    """Parts of several files as `Storage.read_ranges` gives them, over all files at once."""
    together = [joined(ranges, GAP, walls) for _, _, ranges, _, walls in asked]
    plan = [
        partial(storage.read, name, start, stop, size=size)
        for (storage, name, _, size, _), spans in zip(asked, together, strict=True)
        for start, stop in spans
    ]
    remote = any(storage.remote for storage, *_ in asked)
    blocks = iter(readers().map(lambda read: read(), plan) if remote else [read() for read in plan])
    return [
        _parts(ranges, [(start, next(blocks)) for start, _ in spans])
        for (_, _, ranges, _, _), spans in zip(asked, together, strict=True)
    ]


def _parts(
    ranges: Iterable[tuple[int, int]], blocks: Sequence[tuple[int, bytes]]
) -> list[bytes | memoryview]:
    """Parts of a file out of the blocks that hold them, without a copy."""
    firsts = [first for first, _ in blocks]
    found: list[bytes | memoryview] = []
    for start, stop in ranges:
        first, block = blocks[bisect_right(firsts, start) - 1]
        found.append(memoryview(block)[start - first : stop - first])
    return found


@dataclass(frozen=True)
class LocalStorage(Storage):
    """A folder on a disk.

    Args:
        place: The folder, absolute.
    """

    place: str
    remote = False

    def files(self) -> dict[str, FileFacts]:
        """All files of the folder, by name."""
        root = Path(self.place)
        names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        return {name: self.facts(name) for name in sorted(names)}

    def path(self, name: str) -> str:
        """The file's path."""
        return f"{self.place}/{name}"

    def facts(self, name: str) -> FileFacts:
        """Size and identity of a file on the disk."""
        try:
            found = os.stat(self.path(name))  # noqa: PTH116 - called for each block of a stream
        except OSError as error:
            raise gone(self.where(name)) from error
        return FileFacts(name, found.st_size, "", f"{found.st_mtime_ns} inode {found.st_ino}")

    def read(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
        *,
        size: int | None = None,
        into: Arriving | None = None,
    ) -> bytes | memoryview:
        """Bytes of a file."""
        del size, into
        try:
            with open(self.path(name), "rb", buffering=0) as file:  # noqa: PTH123 - without a Path for each range
                file.seek(start)
                data = file.read() if stop is None else file.read(stop - start)
        except OSError as error:
            raise gone(self.where(name)) from error
        if data is None or (stop is not None and len(data) != stop - start):
            raise changed(self.where(name), f"it ends before byte {stop}")
        return data


@dataclass
class RemoteStorage(Storage):
    """A folder that fsspec reaches, such as a bucket.

    Args:
        place: Its URL.
        options: For fsspec's file system. Taken out of them: ``retries``, how often a request is tried again;
            ``patience``, seconds after which a read that gives nothing is tried again; ``outage``, seconds for which a
            server that does not answer is asked again (`LONGEST_OUTAGE`, or none where ``retries`` is given).
    """

    place: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    retries: int = 8
    patience: float = 30.0
    outage: float = LONGEST_OUTAGE
    # What each file was when it was first seen: another answer later is another file.
    _marks: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.place, secrets = without_secrets(self.place)
        self.options.update(secrets)
        if "retries" in self.options:
            self.outage = 0.0
        self.retries = int(self.options.pop("retries", self.retries))
        self.patience = float(self.options.pop("patience", self.patience))
        self.outage = float(self.options.pop("outage", self.outage))

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether each answer is compared with what the file was when it was first seen."""
        return self.place.startswith(("s3://", "s3a://"))

    @property
    def line(self) -> Line:
        """What is known of the way to the server."""
        return line_to(self._server() or self.place.partition("://")[0])

    @property
    def fs(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """The file system: one for all folders of a process with the same options, so that they share connections."""
        from irtd_datasets.training.buckets import file_system

        options = {key: value for key, value in self.options.items() if key not in {"userinfo", "query"}}
        return file_system(full_url(self.place, self.options), options, self.patience)

    def files(self) -> dict[str, FileFacts]:
        """All files of the folder, by name; none where the server lists none."""
        from irtd_datasets.training.buckets import listing

        try:
            with self.line.transfer(0) as transfer:
                found = self._try(lambda: listing(self.fs, self.place), self.place)
                transfer.answered()
        except ReleaseError as error:
            if isinstance(error, ReleaseNotFoundError) or error_status(error) not in {401, 403}:
                raise
            return {}  # a bucket without permission to list: the manifest says what is there
        root = self.fs._strip_protocol(self.place).rstrip("/")  # noqa: SLF001 - fsspec's way to name paths
        files = {}
        for path, info in sorted(found.items()):
            name = path.removeprefix(root).lstrip("/")
            files[name] = facts_of(name, info)
            self._marks[name] = files[name].token
        return files

    def facts(self, name: str) -> FileFacts:
        """Size and identity of a file as the file system tells it."""
        from irtd_datasets.training.buckets import information

        url = self.where(name)
        return facts_of(name, self._try(lambda: information(self.fs, url), url))

    def opening(self, limits: Mapping[str, int]) -> tuple[dict[str, FileFacts], dict[str, bytes]]:
        """The listing, and some small files of the folder, all at once."""

        def small(name: str) -> bytes | None:
            try:
                return self.read_start(name, limits[name])
            except ReleaseError as error:
                # A bucket that may not be listed does not tell what is not there from what may not be seen.
                if isinstance(error, ReleaseNotFoundError) or (
                    error_status(error) == 403 and name != next(iter(limits))
                ):
                    return None
                raise

        files, *found = readers().map(
            lambda task: task(), [self.files, *(partial(small, name) for name in limits)]
        )
        return files, {name: data for name, data in zip(limits, found, strict=True) if data is not None}

    def read_start(self, name: str, limit: int) -> bytes:
        """A file from its beginning, or so many bytes of it."""
        found: bytes = self._try(lambda: self._once(name, 0, None, None, limit), self.where(name))
        return found

    def read(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
        *,
        size: int | None = None,
        into: Arriving | None = None,
    ) -> bytes | memoryview:
        """Bytes of a file."""
        result: bytes | memoryview = self._try(
            lambda: self._once(name, start, stop, size, None, into), self.where(name)
        )
        return result

    def _once(
        self,
        name: str,
        start: int,
        stop: int | None,
        size: int | None,
        limit: int | None,
        into: Arriving | None = None,
    ) -> bytes | memoryview:
        expected = stop - start if stop is not None else (size or 0)
        with self.line.transfer(expected, into) as transfer:
            data = self._get(name, start, stop, size, limit, transfer)
        if stop is not None and len(data) != stop - start:
            raise EOFError(f"{len(data)} bytes came of {stop - start}")
        return data

    def _get(
        self,
        name: str,
        start: int,
        stop: int | None,
        size: int | None,
        limit: int | None,
        transfer: Transfer,
    ) -> bytes | memoryview:
        """Ask once."""
        from irtd_datasets.training.buckets import read_range

        wanted = Wanted(self.where(name), start, stop, size, limit, self._marks.get(name, ""))
        data, mark = read_range(self.fs, wanted, self.patience, transfer)
        self.remember(name, mark)
        return data

    def remember(self, name: str, mark: str) -> None:
        """Note what a server says that a file is.

        Raises:
            ShardChangedError: It said something else before.
        """
        if mark and self._marks.setdefault(name, mark) != mark:
            raise changed(self.where(name), f"it is {mark} now, {self._marks[name]} before")

    def _try(self, action: Any, url: str) -> Any:  # noqa: ANN401 - returns what the action returns
        """Call until it succeeds, with growing pauses, while the failure is one that passes."""
        renewals, begun = iter(range(_RENEWALS)), time.monotonic()

        def passing(error: BaseException) -> bool:
            if _is_no_host(error) and not self.line.requests and time.monotonic() - begun > _NO_HOST:
                return False  # more likely a name that was written wrong than a network that is down
            return passes(error) or (self._link_ran_out(error) and next(renewals, None) is not None)

        try:
            return Retry(self.retries + 1, 0.25, self.outage).call(action, passing=passing)
        except IrtdDatasetsError:
            raise
        except Exception as error:
            status = error_status(error)
            login = "Authentication" in type(error).__name__  # of paramiko, which has no status
            if status in (401, 403) or login or isinstance(error, PermissionError):
                raise _refused(url, status) from error
            if isinstance(error, FileNotFoundError) or status in (404, 410):
                raise gone(url) from error
            if status == 416:
                raise changed(url, "it ends before the bytes that were asked for") from error
            if status == 412:
                raise changed(url, "it is not what it was when it was first seen") from error
            tried = getattr(error, "tried", "")
            raise ReleaseError(
                f"it cannot be read{f' ({tried})' if tried else ''}: {type(error).__name__}: {error}"[:500],
                where=url,
                remedy="Check the connection and start again from the last state: no row is lost. The storage option "
                "`outage` is how many seconds a server that does not answer is waited for.",
            ) from error

    def _link_ran_out(self, error: BaseException) -> bool:
        """Whether a file store refuses, to which a server sends with signed links: asking again gives another link."""
        url = str(getattr(getattr(error, "response", None), "url", "") or getattr(error, "url", "") or "")
        return (
            error_status(error) == 403 and bool(url) and urllib.parse.urlsplit(url).netloc != self._server()
        )

    def _server(self) -> str:
        """Host and port of the server that signs links."""
        return urllib.parse.urlsplit(self.place).netloc


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of a file that is asked for.

    Attributes:
        url: The file.
        start: First byte.
        stop: Byte behind the last; None for all that follow.
        size: Bytes of the whole file, if known.
        limit: Most bytes that are taken, where nobody knows how many there are.
        mark: What its server said that it is; empty for nothing.
    """

    url: str
    start: int
    stop: int | None
    size: int | None
    limit: int | None
    mark: str

    @property
    def header(self) -> str:
        """It as the header ``Range``; empty for a whole file."""
        last = (self.limit if self.limit and self.limit <= BEGIN else 0) if self.stop is None else self.stop
        return f"bytes={self.start}-{last - 1 if last else ''}" if self.start or last else ""

    def check(self, header: str) -> None:
        """Compare what a server says that it sends with this.

        Raises:
            EOFError: It is another part of the file, or not said: asking again may give the right one.
            ShardChangedError: The file has another size than it had.
        """
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", header.strip())
        if found and self.size is not None and found[3] != "*" and int(found[3]) != self.size:
            raise changed(self.url, f"it has {found[3]} bytes, {self.size} were expected")
        last = None if self.stop is None else self.stop - 1
        if found is None or int(found[1]) != self.start or (last is not None and int(found[2]) != last):
            raise EOFError(
                f"bytes {self.start} to {self.stop} were asked for, the server sent "
                f"{header or 'what it does not say'!r}"
            )


def read_again(storage: Storage, action: Callable[[], _T]) -> _T:
    """What is made of bytes of a storage; from afar a few times, where they cannot be right.

    A server, or a cache before it, that sends other bytes than it says is noticed only by what is in them.

    Raises:
        Exception: The last error of the action.
    """
    left = _LOOKS if storage.remote else 1
    while True:
        left -= 1
        try:
            return action()
        except (AnnotationError, ShardChangedError, pa.ArrowException, OSError) as error:
            # What `read` raises it has tried often enough; pyarrow says OSError for content, too.
            final = isinstance(error, IrtdDatasetsError) and not isinstance(
                error, (AnnotationError, ShardChangedError)
            )
            if final or not left:
                raise


class Pace:
    """Whether an answer comes fast enough, so that a server that only keeps a connection open does not hold a run.

    Args:
        patience: Seconds over which its rate is looked at.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._begun = self._since = time.monotonic()
        self._bytes = self._all = 0

    def came(self, count: int) -> None:
        """Note bytes that came.

        Raises:
            TimeoutError: They come too slowly, or take too long in all.
        """
        now = time.monotonic()
        self._bytes += count
        self._all += count
        if now - self._since >= self._patience:
            slow = self._bytes < LEAST_RATE * (now - self._since)
            if slow or now - self._begun > LONGEST_ANSWER:
                raise TimeoutError(f"{self._all} bytes came in {now - self._begun:.0f} s")
            self._since, self._bytes = now, 0


def changed(where: str, what: str) -> ShardChangedError:
    """The error for a file that is not the one that was opened first."""
    return ShardChangedError(
        f"the file was replaced since the run or its index began: {what}",
        where=where,
        remedy="Bring back the file, or start a new epoch with the new data; a state of the old data does not fit it.",
    )


def page_error(where: str) -> EOFError:
    """The error for a web page in place of what was asked for; it passes, since somebody may log in."""
    return EOFError(
        f"{where} sent a web page in place of the file: perhaps the page of a proxy at which to log in"
    )


def gone(where: str) -> ReleaseNotFoundError:
    return ReleaseNotFoundError(
        "the file is not there, or may not be seen",
        where=where,
        remedy="Check the name and, for a private repository or bucket, the token.",
    )


def _refused(where: str, status: int | None) -> ReleaseError:
    return ReleaseError(
        f"access was refused{f' (status {status})' if status else ''}",
        where=where,
        remedy="The token is missing, has expired, or does not reach this folder: log in again (`hf auth login`) and "
        "go on from the last state.",
    )


def _is_no_host(error: BaseException) -> bool:
    return any(isinstance(link, socket.gaierror) and link.errno != socket.EAI_AGAIN for link in chain(error))


def facts_of(name: str, info: Mapping[str, Any]) -> FileFacts:
    """What a listing says of a file."""
    size = info.get("size")
    if not isinstance(size, int):
        raise UnknownNameError("the server does not tell its size", where=name, remedy="Use another server.")
    mark = next(
        (info[key] for key in ("ETag", "etag", "Last-Modified", "LastModified", "mtime") if info.get(key)), ""
    )
    return FileFacts(name, size, "", str(mark))
