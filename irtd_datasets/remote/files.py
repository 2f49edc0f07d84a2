"""Files below a URL: what they are, and any stretch of their bytes.

A web server is asked through the session that streams have, every other place through fsspec. A read gives the bytes
asked for or an error; a file that was replaced meanwhile is such an error. Secrets of a URL are kept apart from it and
never shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import html.parser
import os
import posixpath
import re
import socket
import time
import urllib.parse
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from irtd_datasets.errors import IrtdDatasetsError, ReleaseError, ReleaseNotFoundError, ShardChangedError
from irtd_datasets.remote.answers import asked_wait, chain, error_status
from irtd_datasets.remote.retry import Retry
from irtd_datasets.remote.session import answer, plain_session
from irtd_datasets.remote.urls import full_url, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Files", "RemoteFile", "hub_file", "open_answer", "open_files", "pieces"]

_T = TypeVar("_T")
_ASK = Retry(4, 0.5)  # for a server that nothing has come from: its name may be wrong
_READ = Retry(8, 0.5)
_TIMEOUT = 30.0
_PIECE = 256 << 10  # stays in the processor's cache
_LEAST_RATE = 1024  # bytes a second, over half a minute
_FIRST_PIECES = (
    ".0",
    ".00",
    ".000",
    "00",
    ".aa",
    "aa",
    ".part0",
    ".part00",
    ".partaa",
    ".1",
    ".01",
    ".001",
    ".part1",
)
_LISTING_LIMIT = 16 * 2**20  # bytes of a page that lists a folder
_OF_URLS = "%/:?#[]@!$&'()*+,;=~"  # what a URL may have, and the sign of what is quoted already
_MARKS = (
    "ETag",
    "etag",
    "blob_id",
    "version_id",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
_CLIENTS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_HUB_FILES = re.compile(r"hf://((?:datasets|spaces)/[^/@]+/[^/@]+|[^/@]+/[^/@]+)(?:@([^/]+))?(/.*)?")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What a server says of a file or a folder.

    Attributes:
        name: Relative to the URL.
        size: Bytes; None for a folder.
        mark: Changes when the file is replaced; empty where the server says nothing of the kind.
        sha256: Where the server knows it; else empty.
    """

    name: str
    size: int | None
    mark: str = ""
    sha256: str = ""

    @property
    def stamp(self) -> int:
        """The mark as a number of 63 bits."""
        return int.from_bytes(hashlib.blake2b(self.mark.encode(), digest_size=8).digest(), "little") >> 1


def open_files(url: str, options: Mapping[str, Any] | None = None) -> Files:
    """The files below a URL.

    Args:
        url: Such as ``hf://datasets/OWNER/NAME``, ``https://host/folder`` or ``s3://bucket/folder``.
        options: For fsspec's file system, such as credentials, and what `without_secrets` took out of the URL.
    """
    shown, secrets = without_secrets(url)
    known = {**dict(options or {}), **secrets}
    if shown.lower().startswith(("http://", "https://")):
        return _WebFiles(shown, known)
    return _FsspecFiles(shown, known)


class Files(ABC):
    """The files below a URL; can be pickled.

    Attributes:
        url: As it may be shown, without a slash at its end.
        options: Credentials and the like; never shown.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url if url.endswith("://") else url.rstrip("/")
        self.options = dict(options)
        self._listed: dict[str, dict[str, RemoteFile] | None] = {}
        self._known: dict[str, RemoteFile | None] = {}

    def __repr__(self) -> str:
        return f"open_files({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return open_files, (self.url, self.options)

    def full(self, name: str) -> str:
        """The URL of a file as it is asked for, secrets included."""
        return full_url(f"{self.url}/{urllib.parse.quote(name)}" if name else self.url, self.options)

    def asking(self, action: Callable[[], _T], name: str) -> _T:
        """What an action gives that asks for a file, tried again while its failure passes.

        Raises:
            ReleaseError: It failed for good.
        """
        return self._try(action, name, _READ)

    def told(self, error: Exception, name: str) -> IrtdDatasetsError:
        """The error to show in place of one of a library, whose text may have secrets."""
        return self._told(error, self.where(name))

    def where(self, name: str) -> str:
        """The URL of a file as it may be shown."""
        return f"{self.url}/{name}" if name else self.url

    def listing(self, folder: str = "") -> dict[str, RemoteFile] | None:
        """Files and folders directly in a folder by their own name; None where there is none, or no server lists it."""
        if folder not in self._listed:
            self._listed[folder] = self._try(lambda: self._list(folder), folder)
        return self._listed[folder]

    def expect(self, names: Iterable[str], stems: Iterable[str] = ()) -> None:  # noqa: B027 - who lists has no need of it
        """Say which files may lie directly below the URL, for a server that lists none.

        Args:
            names: Their names.
            stems: Names of archives that may have been cut into pieces, which have a number or letters behind.
        """

    def find(self, name: str) -> RemoteFile | None:
        """What there is under a name; None where there is nothing."""
        if name not in self._known:
            folder, _, last = name.rpartition("/")
            listed = self._listed.get(folder)  # never lists anything: it may be long
            self._known[name] = (
                listed.get(last) if listed and name else self._try(lambda: self._find(name), name)
            )
        return self._known[name]

    def read(self, name: str, start: int, stop: int, mark: str = "") -> bytes:
        """The bytes from ``start`` up to ``stop`` of a file.

        Args:
            name: The file.
            start: First byte.
            stop: Byte behind the last, not beyond the file's end.
            mark: As `find` gave it, where a replaced file must not be read.

        Raises:
            ShardChangedError: The file is not the one of the mark.
            ReleaseNotFoundError: It is gone.
            ReleaseError: It cannot be read, after having tried for about two minutes.
        """

        def once() -> bytes:
            data = self._read(name, start, stop, mark)
            if len(data) != stop - start:
                raise EOFError(f"{len(data):,} bytes came of {stop - start:,}")
            return data

        return self._try(once, name, _READ) if stop > start else b""

    @abstractmethod
    def _list(self, folder: str) -> dict[str, RemoteFile] | None:
        """Ask for what lies directly in a folder."""

    @abstractmethod
    def _find(self, name: str) -> RemoteFile | None:
        """Ask what there is under a name."""

    @abstractmethod
    def _read(self, name: str, start: int, stop: int, mark: str) -> bytes:
        """Ask for a stretch of a file, once."""

    def _try(self, action: Callable[[], _T], name: str, retry: Retry = _ASK) -> _T:
        where = self.where(name)
        try:
            return retry.call(action)
        except IrtdDatasetsError:
            raise
        except Exception as error:  # noqa: BLE001 - any library's; its text, and those of its causes, may have secrets
            raise self._told(error, where) from None

    def _told(self, error: Exception, where: str) -> IrtdDatasetsError:
        status = error_status(error)
        if status in (401, 403) or isinstance(error, PermissionError):
            return ReleaseError(
                f"access was refused{f' (status {status})' if status else ''}",
                where=where,
                remedy="Log in (`hf auth login`, the store's own credentials, or user and password in the URL), and "
                "accept the terms on the data's page where it has a form.",
            )
        asked = asked_wait(error)
        if asked is not None:
            return ReleaseError(
                f"the server asks to wait {asked:,.0f} s (status {status})",
                where=where,
                remedy="Start the same again later, or take another mirror.",
            )
        if isinstance(error, FileNotFoundError) or status in (404, 410):
            return ReleaseNotFoundError(
                "there is nothing at this URL, or it may not be seen",
                where=where,
                remedy="Check the URL; for what is private, log in first.",
            )
        if isinstance(error, ImportError):
            scheme = self.url.partition("://")[0]
            return ReleaseError(
                f"{scheme}:// needs a library that is not installed here",
                where=where,
                remedy=f"`pip install {_CLIENTS.get(scheme, scheme)}`.",
            )
        if any("Credentials" in type(link).__name__ for link in chain(error)):
            return ReleaseError(
                "the credentials for it are missing",
                where=where,
                remedy="Set the store's own environment variables or profile; for a public bucket give the option "
                "anon=true (`--release-option anon=true`).",
            )
        if any(isinstance(link, socket.gaierror) for link in chain(error)):
            return ReleaseError(
                "the server's name is not known here",
                where=where,
                remedy="Check the URL, and that this machine reaches the network.",
            )
        kinds = dict.fromkeys(type(link).__name__ for link in chain(error))
        return ReleaseError(
            f"it cannot be read: {', '.join(kinds)}{f' (status {status})' if status else ''}",
            where=where,
            remedy="Check the URL and the connection, then start the same again.",
        )


class _FsspecFiles(Files):
    """Files of any place that fsspec knows."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        super().__init__(url, options)
        self._system: Any = None
        self._root = ""
        self._pid = 0

    def _open(self) -> tuple[Any, str]:
        """The file system, made anew in each process: its event loop does not survive a fork."""
        if self._system is None or self._pid != os.getpid():
            import fsspec

            options = {key: value for key, value in self.options.items() if key not in {"userinfo", "query"}}
            url = full_url(self.url, self.options)
            try:
                system, root = fsspec.core.url_to_fs(url, **options)
            except (ValueError, TypeError) as error:
                problem = (
                    "no such protocol" if "rotocol not known" in str(error) else "its options do not fit"
                )
                raise ReleaseError(
                    f"the place cannot be opened: {problem}",
                    where=self.url,
                    remedy=f"Check the URL and the options (given: {', '.join(options) or 'none'}).",
                ) from None
            self._root = _pinned(url, root, options)
            self._system, self._pid = system, os.getpid()
        return self._system, self._root

    def root(self) -> str:
        """The path that fsspec knows the URL by."""
        return self._open()[1]

    def _list(self, folder: str) -> dict[str, RemoteFile] | None:
        system, root = self._open()
        path = posixpath.join(root, folder) if folder else root
        try:
            entries = system.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = {}
        for entry in entries:
            last = str(entry["name"]).rstrip("/").rpartition("/")[2]
            inner = f"{folder}/{last}" if folder else last
            if str(entry["name"]).rstrip("/") != path.rstrip("/"):  # some stores list a folder's own mark
                found[last] = _described(inner, entry)
            elif entry.get("type") == "file" and entry.get("size"):
                return None  # a file lists itself
        return found or None

    def _find(self, name: str) -> RemoteFile | None:
        system, root = self._open()
        try:
            return _described(name, system.info(posixpath.join(root, name) if name else root))
        except FileNotFoundError:
            return None

    def _read(self, name: str, start: int, stop: int, mark: str) -> bytes:
        system, root = self._open()
        path = posixpath.join(root, name) if name else root
        if getattr(system, "async_impl", False):
            data: bytes = system.cat_file(path, start=start, end=stop)
        else:  # the others read ahead, of which nothing is wanted here
            with system.open(path, "rb", cache_type="none") as file:
                file.seek(start)
                data = file.read(stop - start)
        if len(data) != stop - start and mark:
            found = self._find(name)
            if found is None or found.mark != mark:
                raise _replaced(self.where(name))
        return data


def _pinned(url: str, root: str, options: Mapping[str, Any]) -> str:
    """The path of a repository of the Hub at the commit that its revision has now, so that a push changes nothing."""
    match = _HUB_FILES.fullmatch(url)
    if match is None:
        return str(root).rstrip("/")
    from huggingface_hub import HfApi

    *kind, owner, name = match[1].split("/")
    revision = (match[2] or "main").replace("%2F", "/")
    info = HfApi(options.get("endpoint"), options.get("token")).repo_info(
        f"{owner}/{name}",
        repo_type=(kind or ["models"])[0].removesuffix("s"),
        revision=revision,
        timeout=_TIMEOUT,
    )
    return f"{match[1]}@{info.sha}{match[3] or ''}".rstrip("/")


def hub_file(files: Files, name: str) -> tuple[str, str, str, str] | None:
    """Repository, its kind, commit and path of a file on the Hub; None for a file elsewhere."""
    if not isinstance(files, _FsspecFiles) or not files.url.startswith("hf://"):
        return None
    match = _HUB_FILES.fullmatch(f"hf://{files.asking(files.root, name)}/{name}".rstrip("/"))
    if match is None:
        return None
    *kind, owner, repo = match[1].split("/")
    return f"{owner}/{repo}", (kind or ["models"])[0].removesuffix("s"), match[2], (match[3] or "").strip("/")


def _described(name: str, info: Mapping[str, Any]) -> RemoteFile:
    if info.get("type") == "directory":
        return RemoteFile(name, None)
    size, lfs = info.get("size"), info.get("lfs")
    if not isinstance(size, int):
        raise ReleaseError("the server does not tell its size", where=name, remedy="Download it first.")
    sha256 = str(lfs.get("sha256", "") if isinstance(lfs, dict) else getattr(lfs, "sha256", "") or "")
    mark = sha256 or next((str(info[key]) for key in _MARKS if info.get(key)), "")
    return RemoteFile(name, size, mark, sha256)


def _replaced(where: str) -> ShardChangedError:
    return ShardChangedError(
        "the file was replaced while it was being read", where=where, remedy="Start the same again."
    )


class _WebFiles(Files):
    """Files of a web server."""

    _names: tuple[str, ...] = ()
    _stems: tuple[str, ...] = ()

    def expect(self, names: Iterable[str], stems: Iterable[str] = ()) -> None:
        self._names, self._stems = tuple(names), tuple(stems)

    def listing(self, folder: str = "") -> dict[str, RemoteFile] | None:
        found = super().listing(folder)
        if found is None and not folder and (self._names or self._stems):
            found = self._listed[""] = {one.name: one for one in self._probed()} or None
        return found

    def _probed(self) -> Iterator[RemoteFile]:
        """The files that are there of those that may be."""
        for name in self._names:
            one = self._file(name)
            if one is not None:
                yield one
        for stem in self._stems:
            one = self._file(stem)
            if one is not None:
                yield one
                continue
            for first in _FIRST_PIECES:
                piece = self._file(f"{stem}{first}")
                suffix = first
                while piece is not None:
                    yield piece
                    suffix = _next_piece(suffix)
                    piece = self._file(f"{stem}{suffix}")
                if suffix != first:
                    break

    def _file(self, name: str) -> RemoteFile | None:
        """A file; None also where the server has a page for whatever is asked."""
        one = self.find(name)
        if one is None or not one.size:
            return None
        head = self.read(name, 0, min(one.size, 64), one.mark).lstrip().lower()
        return None if head.startswith((b"<!doctype", b"<html")) else one

    def _list(self, folder: str) -> dict[str, RemoteFile] | None:
        try:
            with contextlib.closing(self._ask(f"{folder}/" if folder else "", "", slash=True)) as answer:
                if "html" not in answer.headers.get("Content-Type", ""):
                    return None
                page, base = answer.read(_LISTING_LIMIT).decode("utf-8", "replace"), answer.url
        except Exception as error:
            if error_status(error) in (401, 403, 404, 405, 410):
                return None
            raise
        reader = _Links()
        reader.feed(page)
        found: dict[str, RemoteFile] = {}
        here = base.partition("?")[0].rpartition("/")[0] + "/"
        for link in reader.links:
            target = urllib.parse.urljoin(here, link.partition("#")[0].partition("?")[0])
            last = urllib.parse.unquote(target.removeprefix(here).rstrip("/"))
            if not target.startswith(here) or not last or "/" in last:
                continue
            inner = f"{folder}/{last}" if folder else last
            # What a page lists has no size; a file is asked for it when it is wanted.
            found[last] = RemoteFile(inner, None if target.endswith("/") else -1)
        return found or None

    def find(self, name: str) -> RemoteFile | None:
        if name not in self._known:
            self._known[name] = self._try(lambda: self._find(name), name)
        return self._known[name]

    def _find(self, name: str) -> RemoteFile | None:
        try:
            opened = self._ask(name, "bytes=0-0")
        except Exception as error:
            if error_status(error) in (404, 410):
                return None
            if error_status(error) == 416:  # an empty file has no first byte
                return RemoteFile(name, 0)
            raise
        with contextlib.closing(opened) as answer:
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 206:
                answer.read(2)  # to its end, so that the connection is kept
            else:
                whole = answer.headers.get("Content-Length", "")
            page = "html" in answer.headers.get("Content-Type", "")
            if page and not posixpath.splitext(urllib.parse.urlsplit(answer.url).path)[1]:
                return RemoteFile(name, None)
            if not whole.isdigit():
                raise ReleaseError(
                    "the server does not tell its size", where=self.where(name), remedy="Download it first."
                )
            return RemoteFile(name, int(whole), answer.mark)

    def _read(self, name: str, start: int, stop: int, mark: str) -> bytes:
        with contextlib.closing(self._ask(name, f"bytes={start}-{stop - 1}")) as answer:
            if mark and answer.mark != mark:
                raise _replaced(self.where(name))
            if answer.status != 206:
                raise ReleaseError(
                    "the server gives whole files only, no ranges",
                    where=self.where(name),
                    remedy="Download it first (`irtd fetch DATASET --from URL --to FOLDER`), and name that folder.",
                )
            sent = answer.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {start}-"):
                raise EOFError(f"bytes {start} to {stop} were asked for, the server sent {sent!r}")
            return b"".join(pieces(answer))[: stop - start]

    def _ask(self, name: str, wanted: str, *, slash: bool = False) -> _Opened:
        url = full_url(f"{self.url}/", self.options) if slash and not name else self.full(name)
        return open_answer(url, {"Range": wanted} if wanted else {})


def _next_piece(suffix: str) -> str:
    """The end of the next piece's name.

    Example:
        >>> _next_piece(".9"), _next_piece("09"), _next_piece(".az")
        ('.10', '10', '.ba')
    """
    digits = re.search(r"\d+$", suffix)
    if digits:
        return f"{suffix[: digits.start()]}{int(digits[0]) + 1:0{len(digits[0])}d}"
    head, last = suffix[:-2], suffix[-2:]
    number = (ord(last[0]) - 97) * 26 + ord(last[1]) - 97 + 1
    return f"{head}{chr(97 + number // 26)}{chr(97 + number % 26)}"


class _Links(html.parser.HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


class _Opened:
    """An answer whose body is read like a file."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        url = urllib.parse.quote(url, safe=_OF_URLS)
        sent = {"User-Agent": "irtd-datasets", **headers}
        self._stack = contextlib.ExitStack()
        self._answer = self._stack.enter_context(answer(plain_session(), url, sent, timeout=timeout))
        with contextlib.ExitStack() as closing:
            closing.callback(self.close)
            self._answer.check()
            closing.pop_all()
        self._pieces, self._rest = self._answer.pieces(), b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - `status`, `headers`, `url`, `moved` and `mark`
        return getattr(self._answer, name)

    def close(self) -> None:
        """Give the connection back, or up where not all was read."""
        self._stack.close()

    def read1(self, most: int) -> bytes:
        """Some bytes of the body; none at its end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:most], self._rest[most:]
        return found

    def read(self, most: int) -> bytes:
        """So many bytes of the body, or all that there are."""
        found = bytearray()
        while len(found) < most and (piece := self.read1(most - len(found))):
            found += piece
        return bytes(found)


def open_answer(url: str, headers: Mapping[str, str], timeout: float = _TIMEOUT) -> _Opened:
    """The answer of a web server, whose body is read from it; user and password of the URL go into a header.

    Raises:
        Exception: The HTTP library's, for a status of 400 or more.
    """
    return _Opened(url, headers, timeout)


def pieces(answer: _Opened) -> Iterator[bytes]:
    """The body of an answer as it comes.

    Raises:
        TimeoutError: The server keeps the connection open and sends next to nothing.
    """
    since, seen = time.monotonic(), 0
    while piece := answer.read1(_PIECE):
        seen += len(piece)
        spent = time.monotonic() - since
        if spent > _TIMEOUT:
            if seen < _LEAST_RATE * spent:
                raise TimeoutError(f"{seen:,} bytes came in {spent:.0f} s")
            since, seen = time.monotonic(), 0
        yield piece
