"""Where a dataset folder lies, and reading byte ranges of its files: a disk, the Hub, a web server, a bucket.

Everything that reads for training goes through the two classes here. They retry what passes (a stalled or cut
connection, too many requests, a server that restarts), refuse what does not (a file that is gone or was replaced, a
token that is no longer valid), and never return fewer bytes than were asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import urllib.parse
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irtd_datasets.errors import (
    IrtdDatasetsError,
    ReleaseError,
    ReleaseNotFoundError,
    ShardChangedError,
    UnknownNameError,
)
from irtd_datasets.remote import Retry, error_status, passes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FileFacts", "LocalStorage", "RemoteStorage", "Storage", "open_storage", "split_name"]

GAP = 256 << 10
"""Ranges of remote files that are no further apart are fetched by one request: a request costs about as much time."""

_THREADS = 16
_RENEWALS = 3
_LEAST_RATE = 1024  # bytes a second of an answer, over all of it and behind the first `patience` seconds
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?\Z")
_OF_URLS = "%/:?#[]@!$&'()*+,;=~"  # what a URL may have, and the sign of what is quoted already


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
    scheme, separator, rest = name.rpartition("://")
    place, colon, config = rest.rpartition(":")
    drive = not separator and len(place) == 1 and config[:1] in ("\\", "/")
    port = separator and "/" not in place and config.partition("/")[0].isdigit()
    if not colon or not place or "/" in config or "\\" in config or drive or port:
        return name, None
    return f"{scheme}{separator}{place}", config


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
        return HttpStorage(text.rstrip("/"), dict(options or {}))
    return RemoteStorage(text.rstrip("/"), dict(options or {}))


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

    @abstractmethod
    def files(self) -> dict[str, FileFacts]:
        """All files below the folder, by name."""

    @abstractmethod
    def facts(self, name: str) -> FileFacts:
        """What identifies a file now."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None, *, size: int | None = None) -> bytes:
        """Read a part of a file; ``size`` is that of the whole file, if it is known."""

    def where(self, name: str) -> str:
        """The file as a user would write it."""
        return f"{self.place}/{name}"

    def read_ranges(
        self, name: str, ranges: Sequence[tuple[int, int]], size: int
    ) -> Sequence[bytes | memoryview]:
        """Read several parts of a file at once.

        Ranges that lie near each other are fetched by one request, the requests side by side.

        Args:
            name: The file.
            ranges: First byte and the byte behind the last of each part, in any order.
            size: Bytes of the whole file.
        """
        order = sorted(range(len(ranges)), key=lambda index: ranges[index])
        joined: list[tuple[int, int, list[int]]] = []
        for index in order:
            start, stop = ranges[index]
            if joined and start - joined[-1][1] <= GAP:
                first, end, members = joined[-1]
                joined[-1] = (first, max(end, stop), [*members, index])
            else:
                joined.append((start, stop, [index]))
        found: list[bytes | memoryview] = [b""] * len(ranges)
        blocks = self._side_by_side([(name, start, stop, size) for start, stop, _ in joined])
        for (first, _, members), block in zip(joined, blocks, strict=True):
            for index in members:
                start, stop = ranges[index]
                found[index] = memoryview(block)[start - first : stop - first]
        return found

    def _side_by_side(self, asked: Sequence[tuple[str, int, int, int]]) -> Sequence[bytes]:
        if len(asked) == 1:
            name, start, stop, size = asked[0]
            return [self.read(name, start, stop, size=size)]
        with ThreadPoolExecutor(min(_THREADS, max(len(asked), 1)), "irtd-read") as pool:
            futures = [
                pool.submit(self.read, name, start, stop, size=size) for name, start, stop, size in asked
            ]
            return [future.result() for future in futures]


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
            raise _gone(self.where(name)) from error
        return FileFacts(name, found.st_size, "", f"{found.st_mtime_ns} inode {found.st_ino}")

    def read(self, name: str, start: int = 0, stop: int | None = None, *, size: int | None = None) -> bytes:
        """Bytes of a file."""
        del size
        try:
            with open(self.path(name), "rb", buffering=0) as file:  # noqa: PTH123 - without a Path for each range
                file.seek(start)
                data = file.read() if stop is None else file.read(stop - start)
        except OSError as error:
            raise _gone(self.where(name)) from error
        if data is None or (stop is not None and len(data) != stop - start):
            raise changed(self.where(name), f"it ends before byte {stop}")
        return data


@dataclass
class RemoteStorage(Storage):
    """A folder that fsspec reaches, such as a bucket.

    Args:
        place: Its URL.
        options: For fsspec's file system.
        retries: How often a request is tried again.
        patience: Seconds after which a read that gives nothing is tried again, where the file system can tell.
    """

    place: str
    options: dict[str, Any] = field(default_factory=dict)
    retries: int = 8
    patience: float = 30.0
    _fs: Any = field(default=None, repr=False, compare=False)
    _pid: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.retries = int(self.options.pop("retries", self.retries))
        self.patience = float(self.options.pop("patience", self.patience))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fs": None, "_pid": 0}

    @property
    def fs(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """The file system, made anew in each process: its event loop does not survive a fork."""
        if self._fs is None or self._pid != os.getpid():
            import fsspec

            self._fs, _ = fsspec.core.url_to_fs(self.place, skip_instance_cache=True, **self.options)
            self._pid = os.getpid()
        return self._fs

    def files(self) -> dict[str, FileFacts]:
        """All files of the folder, by name."""
        root = self.fs._strip_protocol(self.place).rstrip("/")  # noqa: SLF001 - fsspec's way to name paths
        found = self._try(lambda: self.fs.find(root, detail=True), self.place)
        return {
            name.removeprefix(root).lstrip("/"): _facts(name.removeprefix(root).lstrip("/"), info)
            for name, info in sorted(found.items())
        }

    def facts(self, name: str) -> FileFacts:
        """Size and identity of a file as the file system tells it."""
        url = self.where(name)
        return _facts(name, self._try(lambda: self.fs.info(url), url))

    def read(self, name: str, start: int = 0, stop: int | None = None, *, size: int | None = None) -> bytes:
        """Bytes of a file."""
        url = self.where(name)

        def once() -> bytes:
            data: bytes = self._get(name, start, stop)
            if stop is not None and len(data) != stop - start:
                if size is not None and len(data) == size:
                    return data[start:stop]  # a server that knows no ranges
                raise EOFError(f"{len(data)} bytes came of {stop - start}")
            return data

        result: bytes = self._try(once, url)
        return result

    def _get(self, name: str, start: int, stop: int | None) -> bytes:
        url = self.where(name)
        whole = stop is None and not start
        # By name: some file systems have another argument before these two.
        data: bytes = self.fs.cat_file(url) if whole else self.fs.cat_file(url, start=start, end=stop)
        return data

    def _try(self, action: Any, url: str) -> Any:  # noqa: ANN401 - returns what the action returns
        """Call until it succeeds, with growing pauses, while the failure is one that passes."""
        renewals = iter(range(_RENEWALS))

        def passing(error: BaseException) -> bool:
            return passes(error) or (self._link_ran_out(error) and next(renewals, None) is not None)

        try:
            return Retry(self.retries + 1, 0.25).call(action, passing=passing)
        except IrtdDatasetsError:
            raise
        except Exception as error:
            status = error_status(error)
            if status in (401, 403) or isinstance(error, PermissionError):
                raise _refused(url, status) from error
            if isinstance(error, FileNotFoundError) or status in (404, 410):
                raise _gone(url) from error
            if status == 416:
                raise changed(url, "it ends before the bytes that were asked for") from error
            raise ReleaseError(
                f"it cannot be read: {type(error).__name__}: {error}"[:500],
                where=url,
                remedy="Check the connection and start again from the last state: no row is lost.",
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


@dataclass
class HttpStorage(RemoteStorage):
    """A folder on a web server, which cannot list it, by the standard library alone.

    Attributes:
        headers: In ``options``: sent with each request, for example ``{"Authorization": "Bearer ..."}``.
    """

    _marks: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def files(self) -> dict[str, FileFacts]:
        return {}

    def facts(self, name: str) -> FileFacts:
        def once() -> FileFacts:
            with self._open(name, "bytes=0-0") as response:
                whole = response.headers.get("Content-Range", "")
                if response.status == 206:
                    check_range(whole, 0, 1)
                whole = whole.rpartition("/")[2]
                size = whole or response.headers.get("Content-Length", "")
                return _facts(name, {"size": int(size) if size.isdigit() else None, "ETag": _mark(response)})

        found: FileFacts = self._try(once, self.where(name))
        self._marks[name] = found.token
        return found

    def _get(self, name: str, start: int, stop: int | None) -> bytes:
        wanted = f"bytes={start}-{'' if stop is None else stop - 1}" if start or stop is not None else ""
        with self._open(name, wanted) as response:
            mark = _mark(response)
            if self._marks.setdefault(name, mark) != mark:
                raise changed(self.where(name), f"it is {mark} now, {self._marks[name]} before")
            if wanted and response.status == 206:
                check_range(response.headers.get("Content-Range", ""), start, stop)
            data = self._receive(response)
            expected = response.headers.get("Content-Length", "")
            if expected.isdigit() and len(data) != int(expected):
                raise EOFError(f"{len(data)} bytes came of {expected}")
            return data

    def _receive(self, response: Any) -> bytes:  # noqa: ANN401
        """All of an answer, as long as it comes faster than a server that only keeps the connection open."""
        begun, data = time.monotonic(), bytearray()
        while piece := response.read1(1 << 18):
            data += piece
            if time.monotonic() - begun > self.patience + len(data) / _LEAST_RATE:
                raise TimeoutError(f"{len(data)} bytes came in {time.monotonic() - begun:.0f} s")
        return bytes(data)

    def _open(self, name: str, wanted: str) -> Any:  # noqa: ANN401 - what urlopen gives
        import urllib.error
        import urllib.request

        headers = dict(self.options.get("headers", {}))
        if wanted:
            headers["Range"] = wanted
        url = f"{urllib.parse.quote(self.place, safe=_OF_URLS)}/{urllib.parse.quote(name)}"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http or https, see open_storage
        try:
            return urllib.request.urlopen(request, timeout=self.patience)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection; status and headers stay
            raise


def _mark(response: Any) -> str:  # noqa: ANN401
    return str(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")


def changed(where: str, what: str) -> ShardChangedError:
    """The error for a file that is not the one that was opened first."""
    return ShardChangedError(
        f"the file was replaced since the run or its index began: {what}",
        where=where,
        remedy="Bring back the file, or start a new epoch with the new data; a state of the old data does not fit it.",
    )


def _gone(where: str) -> ReleaseNotFoundError:
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


def check_range(header: str, start: int, stop: int | None) -> None:
    """Compare what a server says that it sends with what was asked for.

    Raises:
        EOFError: It is another part of the file, or not said: asking again may give the right one.
    """
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", header.strip())
    if found is None or int(found[1]) != start or (stop is not None and int(found[2]) != stop - 1):
        raise EOFError(
            f"bytes {start} to {stop} were asked for, the server sent {header or 'what it does not say'!r}"
        )


def _facts(name: str, info: Mapping[str, Any]) -> FileFacts:
    size = info.get("size")
    if not isinstance(size, int):
        raise UnknownNameError("the server does not tell its size", where=name, remedy="Use another server.")
    mark = next(
        (info[key] for key in ("ETag", "etag", "Last-Modified", "LastModified", "mtime") if info.get(key)), ""
    )
    return FileFacts(name, size, "", str(mark))
