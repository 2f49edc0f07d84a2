"""A folder in an object store, or in anything else that fsspec knows by a URL.

All that a build asks of a store goes through one class: an object appears whole or not at all, what passes (a cut
connection, too many requests) is tried again, and what does not (no bucket, no permission) becomes a message with a
remedy. Credentials come from the store's own configuration or from the options; neither is ever shown.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from irtd_datasets.errors import BuildError, IrtdDatasetsError, UnknownNameError
from irtd_datasets.remote import Retry, error_status, passes
from irtd_datasets.remote.urls import shown_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = ["Store", "parse_storage_options"]

_T = TypeVar("_T")
_ATTEMPTS = 4
_BATCH = 500
_SECRET = re.compile(r"key|secret|token|pass|credential|sas|account", re.IGNORECASE)
_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "ProfileNotFound", "DefaultCredentialsError")
_HUB = (
    "Build into a folder or a bucket, and then run `irtd publish FOLDER OWNER/NAME`: it uploads everything and shows "
    "it in one commit. Through hf:// each shard would be a commit of its own."
)
_READ_ONLY = frozenset(
    {"http", "https", "github", "zip", "tar", "data", "git", "libarchive", "filecache", "simplecache"}
)
_MARKS = ("ETag", "etag", "md5Hash", "content_md5")  # of S3; of Google, Azure and HTTP
_CLIENTS = {"s3": "s3fs", "s3a": "s3fs"}


def parse_storage_options(items: Iterable[str]) -> dict[str, Any]:
    """Options of a store from ``KEY=VALUE``; a value may be JSON, and a number where the name is no secret's.

    Raises:
        UnknownNameError: An item has no name or no value; the value is not shown.

    Example:
        >>> parse_storage_options(["anon=false", "key=0123", 'client_kwargs={"verify": false}'])
        {'anon': False, 'key': '0123', 'client_kwargs': {'verify': False}}
    """
    import json

    options: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise UnknownNameError(
                f"--storage-option {name!r} has no value", remedy="Write it as KEY=VALUE, such as anon=true."
            )
        if name in options:
            raise UnknownNameError(
                f"--storage-option is given twice for {name!r}", remedy="Give each name once."
            )
        options[name] = value
        number = value.isdecimal() and len(value) < 10 and not _SECRET.search(name)
        if number or value in {"true", "false", "null"} or value[:1] in {"{", "["}:
            with contextlib.suppress(ValueError):
                options[name] = json.loads(value)
    return options


@dataclass(frozen=True, slots=True)
class Store:
    """A folder by URL; small and picklable, so that workers open it themselves.

    Attributes:
        url: Its URL without a slash at the end.
        options: For the file system, such as credentials; never shown.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Store({shown_url(self.url)!r})"  # also in what a worker logs of a task that failed

    @property
    def shown(self) -> str:
        """What may be printed of the URL."""
        return shown_url(self.url)

    @property
    def protocol(self) -> str:
        """The URL's scheme."""
        return self.url.partition("://")[0].lower()

    def check(self) -> None:
        """Refuse a URL that cannot be built into, before anything is read.

        Raises:
            UnknownNameError: Nothing can be written there, or its library is not installed.
        """
        if self.protocol == "hf":
            raise UnknownNameError("a build does not write to the Hub", where=self.shown, remedy=_HUB)
        if self.protocol in _READ_ONLY:
            raise UnknownNameError(
                f"{self.protocol}:// can only be read",
                where=self.shown,
                remedy="Give --out a folder, or a bucket such as s3://bucket/folder.",
            )
        if not self.url.partition("://")[2].strip("/"):
            raise UnknownNameError(
                "the URL names no bucket", where=self.shown, remedy="Write it as s3://bucket/folder."
            )
        self._open()

    def _open(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url, **self.options)
        except ImportError as error:
            install = f"pip install {_CLIENTS.get(self.protocol, 'what it names')}"
            raise UnknownNameError(
                f"{self.protocol}:// needs a library that is not installed here: {error}",
                where=self.shown,
                remedy=f"`{install}`, here and on every worker.",
            ) from error
        except (ValueError, TypeError) as error:
            # The text may repeat the options; their names are enough.
            known = ", ".join(self.options) or "none"
            problem = "no such protocol" if "rotocol not known" in str(error) else "its options do not fit"
            raise UnknownNameError(
                f"the store cannot be opened: {problem}",
                where=self.shown,
                remedy=f"Check the URL and the storage options (given: {known}).",
            ) from None
        system.invalidate_cache()  # others write there, too: what was listed before may be gone, or lack something
        return system, str(root).rstrip("/")

    def where(self, name: str = "") -> str:
        """The URL of an object as it may be shown."""
        return f"{self.shown}/{name}" if name else self.shown

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """An object, or a stretch of it; None when there is none."""

        def get(system: Any, root: str) -> bytes | None:  # noqa: ANN401 - fsspec has no types
            try:
                return bytes(system.cat_file(f"{root}/{name}", start=start, end=end))
            except FileNotFoundError:
                return None

        return self._try(get, name)

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Objects by name, fetched side by side; those that are not there are left out."""
        wanted = list(names)

        def get(system: Any, root: str, some: list[str]) -> dict[str, Any]:  # noqa: ANN401
            found = system.cat([f"{root}/{name}" for name in some], on_error="return")
            if not isinstance(found, dict):  # of a single one
                return {some[0]: found}
            by_path = {path.lstrip("/"): value for path, value in found.items()}
            return {name: by_path.get(f"{root}/{name}".lstrip("/")) for name in some}

        whole: dict[str, bytes] = {}
        for first in range(0, len(wanted), _BATCH):
            some = wanted[first : first + _BATCH]
            for name, value in self._try(partial(get, some=some), some[0]).items():
                # One that failed among many is asked for again by itself.
                data = value if isinstance(value, bytes) else self.read(name)
                if data is not None:
                    whole[name] = data
        return whole

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""

        def put(system: Any, root: str) -> None:  # noqa: ANN401
            self._make_parent(system, f"{root}/{name}")
            system.pipe_file(f"{root}/{name}", data)

        self._try(put, name)

    def upload(self, file: Path, name: str) -> str:
        """Send a file; returns when the store has all of it.

        Returns:
            The store's mark of these bytes, see `mark`.

        Raises:
            BuildError: The store has another number of bytes afterwards.
        """
        size = file.stat().st_size

        def put(system: Any, root: str) -> str:  # noqa: ANN401
            path = f"{root}/{name}"
            self._make_parent(system, path)
            system.put_file(str(file), path)
            system.invalidate_cache(path)
            found = system.info(path)
            if found["size"] != size:
                raise ConnectionError(f"{found['size']:,} of {size:,} bytes arrived")
            return _mark(found)

        return self._try(put, name)

    def mark(self, name: str) -> str:
        """What the store itself tells the bytes of an object by, such as its ETag; empty where it has nothing."""
        return self._try(lambda system, root: _mark(system.info(f"{root}/{name}")), name)

    def listing(self, folder: str = "", *, attempts: int = _ATTEMPTS) -> dict[str, int]:
        """Sizes of all objects below a folder, by name relative to the store's.

        Args:
            folder: Relative to the store's; empty for all.
            attempts: How often to try. Libraries of stores try some times by themselves, too, so that once is enough
                for the first question, where a wrong endpoint should be told soon.
        """

        def find(system: Any, root: str) -> dict[str, int]:  # noqa: ANN401
            system.invalidate_cache()
            top = f"{root}/{folder}" if folder else root
            try:
                found = system.find(top, detail=True)
            except FileNotFoundError:
                return {}
            start = root.lstrip("/") + "/"
            sizes = {}
            for path, facts in found.items():
                name = path.lstrip("/").removeprefix(start)
                if name and name != path.lstrip("/") and facts.get("type", "file") == "file":
                    sizes[name] = int(facts["size"] or 0)
            return sizes

        return self._try(find, folder, attempts)

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store, which sends nothing."""

        def do(system: Any, root: str) -> None:  # noqa: ANN401
            self._make_parent(system, f"{root}/{target}")
            system.cp_file(f"{root}/{source}", f"{root}/{target}")
            system.invalidate_cache()

        self._try(do, target)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""
        some = list(names)

        def do(system: Any, root: str) -> None:  # noqa: ANN401
            for first in range(0, len(some), _BATCH):
                paths = [f"{root}/{name}" for name in some[first : first + _BATCH]]
                try:
                    system.rm(paths)
                except FileNotFoundError:
                    for path in paths:
                        with contextlib.suppress(FileNotFoundError):
                            system.rm_file(path)
            system.invalidate_cache()

        if some:
            self._try(do, some[0])

    def remove_folder(self, folder: str) -> None:
        """Remove all objects below a folder, and the folder where the store has such things."""
        self.remove(self.listing(folder))

        def do(system: Any, root: str) -> None:  # noqa: ANN401
            if system.isdir(f"{root}/{folder}"):
                system.rm(f"{root}/{folder}", recursive=True)

        with contextlib.suppress(IrtdDatasetsError, OSError):
            self._try(do, folder)

    def open(self, name: str) -> Any:  # noqa: ANN401 - a file of fsspec
        """An object open for reading at any place."""
        return self._try(lambda system, root: system.open(f"{root}/{name}", "rb"), name)

    @staticmethod
    def _make_parent(system: Any, path: str) -> None:  # noqa: ANN401
        # Buckets have no folders, and asking for one would ask for a bucket.
        if "s3" not in _protocols(system) and "gs" not in _protocols(system):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _try(self, action: Callable[[Any, str], _T], name: str, attempts: int = _ATTEMPTS) -> _T:
        """Do something with the file system; again after a pause where that may help."""
        system, root = self._open()
        try:
            return Retry(attempts).call(lambda: action(system, root))
        except IrtdDatasetsError:
            raise
        except Exception as error:  # noqa: BLE001 - what a library of a store raises has no common base
            raise self.failed(error, name) from None

    def failed(self, error: BaseException, name: str = "") -> BuildError:
        """The error for what a store's library raised, with its remedy and without any secret."""
        text = _told(error)
        kind = type(error).__name__
        if any(word in kind for word in _NO_CREDENTIALS) or "Unable to locate credentials" in text:
            problem = "no credentials"
            remedy = (
                "Give the store's own variables (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile), or "
                "--storage-option; workers on other machines need them, too."
            )
        elif isinstance(error, PermissionError) or error_status(error) in {401, 403}:
            problem = f"the store refuses: {text}"
            remedy = "Check the credentials, and that they may read, write, list and delete there."
        elif isinstance(error, FileNotFoundError):
            problem = f"there is no such bucket or object: {text}"
            remedy = "Make the bucket first, and check its name and the endpoint."
        elif isinstance(error, TypeError):
            # Options go down to the library of the store, which finds out late that it does not know one.
            problem = f"the store cannot be opened: {text}"
            remedy = f"Check the storage options (given: {', '.join(self.options) or 'none'})."
        elif passes(error):
            problem = f"the store cannot be reached or does not answer: {text}"
            remedy = "Check the network and the endpoint, and start the same command again: finished shards are kept."
        else:
            problem = f"the store failed: {kind}: {text}"
            remedy = "Start the same command again: finished shards are kept."
        return BuildError(problem, where=self.where(name), remedy=remedy)


def _mark(facts: Mapping[str, Any]) -> str:
    return str(next((facts[key] for key in _MARKS if facts.get(key)), ""))


def _protocols(system: Any) -> tuple[str, ...]:  # noqa: ANN401
    found = system.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def _told(error: BaseException) -> str:
    """The first line of an error's text, at most 200 characters, without anything that may be a query or a user."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = re.sub(r"\?[^\s\"']+", "", lines[0])
    return re.sub(r"://[^/\s@]+@", "://", text)[:200]
